"""Progress bars: one per step, only on a terminal; and the context of work that keeps nothing."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from backfill.cli.session import Session
from backfill.escape import escaped

if TYPE_CHECKING:
    from tqdm import tqdm  # type: ignore[import-untyped]  # it has no types

    from backfill.cli.interrupts import Interrupts
    from backfill.pipeline.context import RunContext
    from backfill.records import RunStore

#: A bar is drawn at most this often, in seconds.
REDRAW_SECONDS = 0.2
MEGABYTE = 1_000_000
#: How many characters of a job's name are shown.
NAME_CHARACTERS = 16
#: Of a terminal that does not tell its width.
COLUMNS = 80
#: Room is left for this.
LONGEST_TIME = "0:00:00"
#: tqdm's fields; counts are whole, as they are everywhere else.
FORM = "{desc}: {percentage:3.0f}%|{bar}| {n:,.0f}/{total:,.0f} {unit} [{remaining} left{postfix}]"
FORM_OF_UNKNOWN = "{desc}: {n:,.0f} {unit} [{elapsed}{postfix}]"


class ProgressBars:
    """The pipeline's progress, drawn with tqdm on stderr: how much, calls/s, MB/s, time left."""

    def __init__(self, session: Session, *, shown: bool, name: str = "") -> None:
        """Bars of the job of that name, where it is given."""
        self.session = session
        self.name = escaped(name if len(name) <= NAME_CHARACTERS else f"{name[: NAME_CHARACTERS - 1]}…")
        self.shown = shown and sys.stderr.isatty() and not (session.json_logs or session.quiet)
        self.bar: tqdm | None = None
        self.began = 0.0

    def begin(self, step: str, total: int | None, unit: str) -> None:
        """A step starts: `total` things of `unit` are expected, None where that is not known."""
        self.end()
        if not self.shown or total == 0:  # of nothing a bar would stay at 0%
            return
        from tqdm import tqdm

        self.began = time.monotonic()
        self.bar = tqdm(
            desc=f"{self.name} {step}".lstrip(),
            total=total,
            unit=unit,
            bar_format=FORM_OF_UNKNOWN if total is None else FORM,
            mininterval=REDRAW_SECONDS,
            file=sys.stderr,
            dynamic_ncols=True,
            leave=True,
        )
        self.session.writer = lambda text: tqdm.write(text, file=sys.stderr)

    def advance(self, done: int, size: int) -> None:
        """How much of the step is done: things and bytes, both counted from the step's beginning."""
        bar = self.bar
        if bar is None:
            return
        elapsed = max(time.monotonic() - self.began, 1e-9)
        speeds = [f"{done / elapsed:,.0f} {bar.unit}/s"] if bar.unit != "B" else []
        speeds.append(f"{size / MEGABYTE / elapsed:.1f} MB/s")
        while speeds and room_beside(bar, done) < sum(len(f", {speed}") for speed in speeds):
            speeds.pop()
        bar.set_postfix_str(", ".join(speeds), refresh=False)
        bar.update(done - bar.n)

    def end(self) -> None:
        """The step is over."""
        if self.bar is not None:
            self.bar.close()
            self.bar = None
            self.session.writer = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end()


def room_beside(bar: tqdm, done: int) -> int:
    """The characters that the terminal's line leaves beside a bar without speeds; tqdm cuts what is longer."""
    try:
        columns = os.get_terminal_size(sys.stderr.fileno()).columns or COLUMNS
    except OSError:
        columns = COLUMNS
    if bar.total is None:
        return columns - len(f"{bar.desc}: {done:,} {bar.unit} [{LONGEST_TIME}]")
    return columns - len(f"{bar.desc}: 100%|##| {bar.total:,.0f}/{bar.total:,.0f} {bar.unit} [{LONGEST_TIME} left]")


def sample_context(
    session: Session, interrupts: Interrupts, *, shown: bool, store: RunStore | None = None
) -> RunContext:
    """The surroundings of work that keeps nothing; of a state directory it reads at most."""
    from backfill.pipeline.context import RunContext
    from backfill.state import open_store

    return RunContext(
        store=store or open_store(Path(os.devnull)),
        stop=interrupts.stop,
        abort=interrupts.abort,
        staging=interrupts.staging,
        progress=ProgressBars(session, shown=shown),
        say=session.say,
    )
