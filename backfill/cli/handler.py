"""The one place where exceptions become messages and exit codes."""

from __future__ import annotations

import platform
import traceback
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from tempfile import gettempdir

import click

from backfill import __version__
from backfill.cli.here import display_path
from backfill.cli.session import Session
from backfill.cli.streams import native_words
from backfill.disk import disk_stop
from backfill.errors import BackfillError, ExitCode, Fault, JobError, LibraryError, SourceError

#: Named in a crash report: the packages whose versions change behaviour.
PACKAGES = ("polars", "polars-hash", "duckdb", "httpx", "pydantic", "isal", "numpy", "adbc-driver-sqlite", "click")

#: Exceptions whose message names code, never a value of a row.
SAFE = (ImportError, NameError, AttributeError)


def run_reporting_errors(session: Session, command: Callable[[], object]) -> int:
    """Run the command; returns its exit code, whatever it raises."""
    try:
        result = command()
    except BaseException as error:  # noqa: BLE001 (the only place; polars raises its panics as a BaseException)
        return int(report_error(session, error))
    return int(result) if isinstance(result, int) else int(ExitCode.DELIVERED)


def report_error(session: Session, error: BaseException) -> ExitCode:
    """Say what went wrong; returns its exit code."""
    code = ExitCode.UNEXPECTED
    if isinstance(error, click.exceptions.Abort) and isinstance(error.__cause__ or error.__context__, EOFError):
        error = error.__cause__ or error.__context__ or error  # click takes any EOFError for the end of the terminal
    if isinstance(error, OSError):
        error = disk_stop(error, session.state_folder or Path(gettempdir())) or error  # else only samples are written
    if isinstance(error, BackfillError):
        explain(session, error)
        code = ExitCode(error.exit_code)
        if isinstance(error, LibraryError):
            report_crash(session, error)
    elif isinstance(error, click.exceptions.Abort | KeyboardInterrupt):
        session.say("Interrupted.", "error")
        code = ExitCode.INTERRUPTED
    elif isinstance(error, click.ClickException):
        tell_usage(session, error)
        code = ExitCode.USAGE
    elif isinstance(error, SystemExit):  # click's way out of the completion of a shell
        code = ExitCode.UNEXPECTED if error.code else ExitCode.DELIVERED
    else:
        report_crash(session, error)
    return code


def tell_usage(session: Session, error: click.ClickException) -> None:
    """Say what is wrong with the command line, below how the verb is used."""
    context = error.ctx if isinstance(error, click.UsageError) else None
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        session.say(error.format_message(), "error", lines=True)
        return
    if context is not None:
        session.say(context.get_usage(), "error", lines=True)
        if context.command_path != "backfill":
            session.say(f"Try `{context.command_path} --help`.", "error")
    session.say(f"Error: {error.format_message()}", "error", exit_code=int(ExitCode.USAGE))


def explain(session: Session, error: BackfillError) -> None:
    """Say what went wrong and what to do, for a job file every fault of it; what was asked for is no error."""
    level = "warning" if error.asked else "error"
    if isinstance(error, JobError) and error.faults:
        for fault in error.faults:
            there = replace(fault, file=display_path(fault.file)) if fault.file else fault
            session.say(str(there), "error", file=fault.file, line=fault.line, column=fault.column, path=fault.path)
            if fault.hint:
                session.say(f"    {fault.hint}", "error")
        if error.message not in {f"{fault.path}: {fault.message}" for fault in error.faults}:  # said already
            session.say(f"Error: {error.message}", "error")
    else:
        message = error.message
        if isinstance(error, SourceError) and error.path:
            message = message.replace(error.name, display_path(error.path), 1)
        text = message[:1].upper() + message[1:] if error.asked else f"Error: {message}"
        session.say(text, level, exit_code=int(error.exit_code))
    if error.hint:
        session.say(f"Hint: {error.hint}", level)


def tell_notice(session: Session, notice: Fault) -> None:
    """Say what is no fault of a job file, but looks like a slip."""
    session.notices.append(notice)
    session.say(f"Warning: {replace(notice, file=display_path(notice.file))}", "warning")
    if notice.hint:
        session.say(f"    Hint: {notice.hint}", "warning")


def report_crash(session: Session, error: BaseException) -> None:
    """Write the crash report and say where it is. Neither holds a value of a row, a local variable or a key.

    Where there is no state directory yet, nothing is left anywhere: the report is said.
    """
    moment = datetime.now(UTC)
    text = crash_text(error, moment)
    path = write_crash(text, session.state_folder, moment)
    where = f"The report is in {display_path(path)}" if path else "The report is this"
    session.say(f"Error: unexpected failure: {type(error).__name__}. {where}; it holds no data of yours.", "error")
    if path is None:
        session.say(text.rstrip(), "error", lines=True)
    session.say(
        "Hint: please send it with an issue; what was delivered is recorded, so that the same command is safe.", "error"
    )


def crash_text(error: BaseException, moment: datetime) -> str:
    """Versions, the kinds of exception in the chain, and where in the code; messages that may quote data left out."""
    lines = [
        f"backfill {__version__} crashed at {moment.isoformat(timespec='seconds')}",
        f"Python {platform.python_version()} on {platform.platform()}",
    ]
    from importlib.metadata import PackageNotFoundError, version

    for package in PACKAGES:
        try:
            lines.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            lines.append(f"{package} not installed")
    link: BaseException | None = error
    while link is not None:
        message = f": {link}" if isinstance(link, SAFE) else ""
        lines += ["", f"{type(link).__module__}.{type(link).__qualname__}{message}"]
        lines += [
            f"  {frame.filename}:{frame.lineno} in {frame.name}" for frame in traceback.extract_tb(link.__traceback__)
        ]
        link = link.__cause__ or link.__context__
    lines += ["", *native] if (native := native_words()) else []
    return "\n".join(lines) + "\n"


def write_crash(text: str, state_folder: Path | None, moment: datetime) -> Path | None:
    """Write the report into the state directory; None where there is none, or it cannot be written there."""
    if state_folder is None or not state_folder.is_dir():  # making one here would leave half of one
        return None
    folder = state_folder / "crashes"
    path = folder / f"crash-{moment:%Y%m%dT%H%M%S}-{moment.microsecond:06d}.txt"
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        path.touch(mode=0o600)
        path.write_text(text, encoding="utf-8")
    except OSError:
        return None
    return path
