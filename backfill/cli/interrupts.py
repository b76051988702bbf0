"""Signals: the work runs in a thread, the main thread only waits, so that Ctrl-C is answered at once."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable
from types import FrameType
from typing import Generic, TypeVar, cast

from backfill.cli.session import Session
from backfill.disk import TEMPORARY_FOLDERS
from backfill.errors import ExitCode, InterruptedRunError

Result = TypeVar("Result")

#: After the second Ctrl-C, and after the first one while staging, the work has this many seconds to end by itself, then
#: the process ends without it. What the ledger holds stays true: it is a database written in transactions, and marks
#: are durable before a request leaves.
GRACE_SECONDS = 2.0
#: How long the main thread waits before it looks again; signals are handled in between.
WAIT_SECONDS = 0.1
IN_FLIGHT = "what is in flight is finished first. Once more to stop at once"
NOTHING_SENT = "this step has sent nothing"


class Interrupts:
    """What a signal asks for: `stop` after the first, `abort` after the second.

    These are the two words for it everywhere. Stop: begin nothing new, let what is in flight end; what works asks now
    and then whether it is `stopping`, and raises InterruptedRunError. Abort: wait for nothing, what is in flight stays
    in doubt. A delivery also stops by itself, and is `aborted` when a stop outlasts its grace time.

    The work sets `staging` while it stages: then one signal is as good as two, should a statement of the database not
    let itself be interrupted. It sets `sending` while requests may be in flight: only then is there one to wait for.
    """

    def __init__(self) -> None:
        self.stop = threading.Event()
        self.abort = threading.Event()
        self.staging = threading.Event()
        self.sending = threading.Event()
        self.serving = threading.Event()  # the work is over, but for a page that is shown until the signal
        self.exit_code = ExitCode.INTERRUPTED

    def on_signal(self, number: int) -> None:
        """Count a signal; SIGTERM and SIGHUP are answered like a first Ctrl-C, with an exit code of their own."""
        if self.stop.is_set():
            self.abort.set()
            return
        self.exit_code = ExitCode.INTERRUPTED if number == signal.SIGINT else ExitCode.TERMINATED
        self.stop.set()


class _Work(threading.Thread, Generic[Result]):
    """The work of a verb, in a thread; keeps its result or what it raised."""

    def __init__(self, work: Callable[[], Result]) -> None:
        super().__init__(name="backfill-work", daemon=True)
        self.work = work
        self.result: Result | None = None
        self.error: BaseException | None = None

    def run(self) -> None:
        """Do the work."""
        try:
            self.result = self.work()
        except BaseException as error:  # noqa: BLE001 (carried to the main thread and raised there)
            self.error = error


def run_interruptibly(session: Session, work: Callable[[Interrupts], Result]) -> Result:
    """Do the work in a thread while signals are heard here; returns its result, raises what it raised.

    The first signal sets `stop`, the second `abort`; if the work then does not end within GRACE_SECONDS, the process
    ends at once with the signal's exit code.
    """
    interrupts, told = Interrupts(), False

    def hear(number: int, _frame: FrameType | None) -> None:
        nonlocal told
        if not (told or interrupts.serving.is_set()):  # before the work can say how it ended
            told = (
                True  # first: the next signal may come while this is written, which no stream takes inside another text
            )
            session.say(f"Stopping: {IN_FLIGHT if interrupts.sending.is_set() else NOTHING_SENT}.", "warning")
        interrupts.on_signal(number)

    previous = {number: signal.signal(number, hear) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    thread = _Work(lambda: work(interrupts))
    try:
        thread.start()
        wait_for(session, thread, interrupts)
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
    if isinstance(thread.error, InterruptedRunError):
        raise InterruptedRunError(
            thread.error.message, exit_code=interrupts.exit_code, hint=thread.error.hint
        ) from thread.error
    if thread.error is not None:
        raise thread.error
    return cast("Result", thread.result)  # set, since there is no error


def wait_for(session: Session, thread: threading.Thread, interrupts: Interrupts) -> None:
    """Wait until the thread ends; end the process where it does not, though it was told to."""
    while thread.is_alive():
        thread.join(WAIT_SECONDS)
        if interrupts.abort.is_set() or (interrupts.stop.is_set() and interrupts.staging.is_set()):
            thread.join(GRACE_SECONDS)
            if thread.is_alive() and (interrupts.abort.is_set() or interrupts.staging.is_set()):
                session.say(
                    "Stopped at once. What was recorded stands: run the same command again to go on.", "warning"
                )
                sys.stderr.flush()
                TEMPORARY_FOLDERS.remove()
                os._exit(int(interrupts.exit_code))
