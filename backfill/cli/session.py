"""What one invocation of the program shares: where it speaks, and where a crash report would go."""

from __future__ import annotations

import errno
import json
import logging
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TextIO

import click

LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}
COLOURS = {"warning": "yellow", "error": "red", "good": "green"}


@dataclass(slots=True)
class Session:
    """The voice of one invocation. Everything it says goes to stderr; data goes to stdout by `data`."""

    level: int = logging.INFO  # messages below it are not shown; INFO is a plain run, WARNING is -q
    json_logs: bool = False
    state_folder: Path | None = None
    #: How a line reaches the terminal while a progress bar is on it.
    writer: Callable[[str], None] | None = field(default=None)

    def say(self, text: str, level: str = "info", **fields: object) -> None:
        """One message on stderr, with `fields` added where logs are JSON."""
        if LEVELS[level] < self.level:
            return
        if self.json_logs:
            entry = {"time": datetime.now(UTC).isoformat(timespec="milliseconds"), "level": level, "message": text}
            self._write(json.dumps(entry | fields, ensure_ascii=False, default=str))
        else:
            self._write(self.styled(text, level))

    def ask(self, text: str) -> None:
        """A question on stderr; the answer is typed behind it."""
        if self.json_logs:
            self.say(text.rstrip(), "warning")
        else:
            click.echo(self.styled(text, "warning"), err=True, nl=False, color=True if self.colours else None)

    def styled(self, text: str, style: str) -> str:
        """The text in the colour of its level, where stderr is a terminal and NO_COLOR is not set."""
        colour = COLOURS.get(style)
        return click.style(text, fg=colour) if colour and self.colours else text

    @property
    def quiet(self) -> bool:
        """Whether only what is wrong is said: -q."""
        return self.level > logging.INFO

    @property
    def colours(self) -> bool:
        """Whether stderr takes colours (https://no-color.org: NO_COLOR present and not empty turns them off)."""
        return sys.stderr.isatty() and not os.environ.get("NO_COLOR")

    def data(self, text: str) -> None:
        """One line (or block) of data on stdout.

        Where its reader went away (`| head`, a terminal that was closed), the exit code is that of the work.
        """
        try:
            click.echo(text)
        except OSError as error:
            if error.errno not in (errno.EPIPE, errno.EIO):
                raise
            silence(sys.stdout)

    def _write(self, text: str) -> None:
        try:
            if self.writer is not None:
                self.writer(text)
            else:
                click.echo(text, err=True, color=True if self.colours else None)
        except OSError:  # the terminal went away: nobody hears it, and a run does not end for that
            silence(sys.stderr)


def silence(stream: TextIO) -> None:
    """Let whatever is written to a standard stream, by whomever, go nowhere from here on."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)


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
    session.level = logging.WARNING if quiet else logging.INFO
    if verbose > 1:
        session.level = logging.DEBUG
    logger = logging.getLogger("backfill")
    for handler in [one for one in logger.handlers if isinstance(one, SessionLogs)]:
        logger.removeHandler(handler)
    logger.addHandler(SessionLogs(session))
    logger.propagate = False
    logger.setLevel([logging.WARNING, logging.INFO, logging.DEBUG][min(verbose, 2)] if not quiet else logging.ERROR)
    for name in ("httpx", "httpcore", "uvicorn", "asyncio"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
