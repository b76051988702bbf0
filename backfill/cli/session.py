"""What one invocation of the program shares: where it speaks, and where a crash report would go."""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TextIO

from backfill.cli.here import Here, display_path
from backfill.cli.layout import colour_label, wrap
from backfill.errors import Fault
from backfill.escape import escaped

LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}
#: SGR sequences (ECMA-48) of the labels of messages; what is only said has none.
COLOURS = {"warning": "\x1b[33m", "error": "\x1b[31m"}
#: Narrower than this, nothing is broken.
LEAST_COLUMNS = 40


@dataclass(slots=True, repr=False, eq=False)
class Session:
    """The voice of one invocation. Everything it says goes to stderr; data goes to stdout by `data` and `record`.

    What comes from data is escaped here, for all of it.
    """

    level: int = logging.INFO  # messages below it are not shown; INFO is a plain run, WARNING is -q
    json_logs: bool = False
    here: Here = field(default_factory=Here)
    said: set[str] = field(default_factory=set)  # by `say_once`
    notices: list[Fault] = field(default_factory=list)  # of job files, as they were said
    #: How a line reaches the terminal while a progress bar is on it.
    writer: Callable[[str], None] | None = field(default=None)

    @property
    def state_folder(self) -> Path | None:
        """The state directory, once it is known: a crash report goes there."""
        return self.here.state

    def say(self, text: str, level: str = "info", *, lines: bool = False, **fields: object) -> None:
        """One message on stderr, with `fields` added where logs are JSON; `lines`: its line ends are our own."""
        if LEVELS[level] < self.level:
            return
        told = self.here.completed(text)
        if self.json_logs:
            entry = {"time": datetime.now(UTC).isoformat(timespec="milliseconds"), "level": level, "message": told}
            self._write(escaped(json.dumps(entry | fields, ensure_ascii=False, default=str)))
        else:
            self._write(self.laid_out(escaped(told, lines=lines), level))

    def say_once(self, text: str, level: str = "info", *, lines: bool = False) -> None:
        """Say what is the same of several jobs, the first time."""
        if text not in self.said:
            self.said.add(text)
            self.say(text, level, lines=lines)

    def tell_made(self, folder: Path) -> None:
        """Say where runs are kept, once: when the place is made."""
        self.say(f"Runs are kept in {display_path(folder)}, which is new.")

    def ask(self, text: str) -> None:
        """A question on stderr; the answer is typed behind it."""
        if self.json_logs:
            self.say(text.rstrip(), "warning")
        else:
            sys.stderr.write(escaped(text))
            sys.stderr.flush()

    def laid_out(self, text: str, level: str) -> str:
        """The text broken to the width of the terminal that stderr is, its label in the colour of the level."""
        width = columns(sys.stderr)
        told = wrap(text, width) if width else text
        return colour_label(told, COLOURS[level]) if level in COLOURS and self.colours else told

    @property
    def quiet(self) -> bool:
        """Whether only what is wrong is said: -q."""
        return self.level > logging.INFO

    @property
    def colours(self) -> bool:
        """Whether stderr takes colours (https://no-color.org: NO_COLOR present and not empty turns them off)."""
        plain = os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb"
        return sys.stderr.isatty() and not plain

    def data(self, text: str, *, raw: bool = False) -> None:
        """Lines of data on stdout, broken between words on a terminal that is too narrow; `raw`: as they are.

        Raises:
            StoppedError: Stdout takes no more. Where its reader went away, nothing is raised.
        """
        told = escaped(text if raw else self.here.completed(text), lines=True)
        width = 0 if raw else columns(sys.stdout)
        self._out(wrap(told, width) if width else told)

    def record(self, entry: Mapping[str, object]) -> None:
        """One JSON object on a line of stdout; raises as `data` does."""
        self._out(escaped(json.dumps(entry, ensure_ascii=False)))

    def _out(self, text: str) -> None:
        sys.stdout.write(text + "\n")
        sys.stdout.flush()

    def _write(self, text: str) -> None:
        if self.writer is not None:
            self.writer(text)
        else:
            sys.stderr.write(text + "\n")
            sys.stderr.flush()


def columns(stream: TextIO) -> int:
    """How wide the terminal is that a stream leads to, by COLUMNS or its own word; 0 where it leads to none."""
    said = os.environ.get("COLUMNS", "")
    try:
        size = int(said) if said.isdecimal() else 0
        found = (size or os.get_terminal_size(stream.fileno()).columns) if stream.isatty() else 0
    except (OSError, ValueError):
        found = 0
    return found if found >= LEAST_COLUMNS else 0


class SessionLogs(logging.Handler):
    """Carries what the library's loggers say into the session's voice."""

    def __init__(self, session: Session) -> None:
        super().__init__()
        self.session = session

    def emit(self, record: logging.LogRecord) -> None:
        """Say the record at its own level."""
        level = next((name for name, number in LEVELS.items() if record.levelno <= number), "error")
        self.session.say(record.getMessage(), level, logger=record.name)


def set_up_logs(session: Session, *, verbose: int, quiet: bool, log_format: str) -> None:
    """Let `backfill`'s loggers speak through the session.

    -v adds what each step does, -vv what each request does; -q leaves warnings and errors. The loggers of httpx and
    its kin stay silent at any level: they print headers, and a header holds the write key.
    """
    session.json_logs = log_format == "json"
    session.level = logging.WARNING if quiet else logging.DEBUG if verbose > 1 else logging.INFO
    logger = logging.getLogger("backfill")
    for handler in [one for one in logger.handlers if isinstance(one, SessionLogs)]:
        logger.removeHandler(handler)
    logger.addHandler(SessionLogs(session))
    logger.propagate = False
    logger.setLevel(logging.WARNING if quiet else [logging.WARNING, logging.INFO, logging.DEBUG][min(verbose, 2)])
    for name in ("httpx", "httpcore", "uvicorn", "asyncio", "psycopg"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
