"""The standard streams, whatever the shell has made of them: closed, full, gone, or of an encoding without our letters.

What happens to them never changes what a verb does: a reader that goes away (`| head`) is no error, and where
the standard output takes no more, that is said and is exit 5, after all has been recorded.
"""

from __future__ import annotations

import errno
import faulthandler
import os
import re
import sys
import tempfile
from typing import IO, Any, TextIO, cast

from backfill.errors import StoppedError
from backfill.escape import ESCAPING

#: The reader went away: `| head`, a terminal that was closed.
GONE = (errno.EPIPE, errno.EIO)
#: Lines of a panic of Rust that name code, never a value.
_NATIVE_LINE = re.compile(r"thread '.*' (?:\(\d+\) )?panicked at [\w./:-]+|\s+\d+: .*|\s+at /.*")
_NATIVE_BYTES = 100_000
_native: IO[bytes] | None = None


class SafeStream:
    """A standard stream of which no failure ends a run; `needed`: that it takes no more has to be told."""

    def __init__(self, stream: TextIO, *, needed: bool) -> None:
        self.stream = stream
        self.needed = needed

    def write(self, text: str) -> int:
        """Write; where that fails, all that follows goes nowhere.

        Raises:
            StoppedError: The stream is needed and takes no more, and not because its reader went away.
        """
        if not isinstance(text, str):
            raise TypeError("text is written here")  # which is how click tells streams of text from others
        try:
            if text:  # click writes nothing, too, and would swallow what that raises
                self.stream.write(text)
        except OSError as error:
            self._lost(error)
        return len(text)

    def flush(self) -> None:
        """Flush; raises as `write` does."""
        try:
            self.stream.flush()
        except OSError as error:
            self._lost(error)

    def _lost(self, error: OSError) -> None:
        silence(self.stream)
        if self.needed and error.errno not in GONE:
            raise StoppedError(
                f"the standard output takes no more: {error.strerror}",
                hint="nothing that was recorded is lost: the same command, or `backfill status`, shows it again",
            ) from error

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 (whatever a library asks a stream for)
        return getattr(self.stream, name)


def set_up_streams() -> None:
    """Make the standard streams of this process such that anything may be written to them at any time."""
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:  # closed: the next file that is opened, a ledger say, would take its place
            os.open(os.devnull, os.O_RDWR)
    sys.stdin = sys.stdin or open(0, closefd=False)  # noqa: SIM115 (for as long as the process lives)
    for name, descriptor in (("stdout", 1), ("stderr", 2)):
        stream = getattr(sys, name) or open(descriptor, "w", closefd=False)  # noqa: SIM115
        stream.reconfigure(errors=ESCAPING)
        setattr(sys, name, cast("TextIO", SafeStream(stream, needed=name == "stdout")))


def keep_native_words() -> None:
    """Let what libraries write to descriptor 2 by themselves, such as Rust's panics, go where `native_words` reads it.

    `sys.stderr` goes on to write to where the descriptor led; Python tells there where a library ends the process.
    Called once, after `set_up_streams`. Where no file can be made for them, they go where they went.
    """
    global _native  # noqa: PLW0603 (descriptor 2 is the process's own, too)
    try:
        _native = tempfile.TemporaryFile()  # noqa: SIM115 (for as long as the process lives)
    except OSError:
        return
    safe = cast("SafeStream", sys.stderr)
    shown = os.dup(2)
    stream = open(shown, "w", buffering=1, encoding=safe.stream.encoding, errors=ESCAPING)  # noqa: PTH123, SIM115
    safe.stream = stream
    faulthandler.enable(shown, all_threads=False)
    os.dup2(_native.fileno(), 2)


def native_words() -> list[str]:
    """Where Rust panicked, by the lines of its code and of its backtrace, which hold no data; none if it did not."""
    if _native is None:
        return []
    _native.seek(0)
    lines = _native.read(_NATIVE_BYTES).decode(errors="replace").splitlines()
    return [line for line in lines if _NATIVE_LINE.fullmatch(line)]


def silence(stream: TextIO) -> None:
    """Let whatever is written to a standard stream, by whomever, go nowhere from here on."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)
