"""The tree of exceptions, each with its exit code and a hint.

BackfillError
├── UsageError            2   the command line asks for something that cannot be
├── JobError              2   a job or targets file is wrong; carries every fault found
├── GateError             4   the plan does not keep to a gate: nothing was sent
├── StoppedError          5   stopped and resumable: outage, retries spent, disk full
│   └── StopAskedError    5   as it was asked to: --canary
├── RefusedError          6   source, mapping, target or key differ from the run's
├── LockedError           7   another process holds the run
├── TargetRefusedError    8   the target refused us: 401, 403, 404
├── SourceError           9   the source cannot be read: missing, corrupt, truncated
│   └── ConnectionLostError 9 a database went away while it was read: reading it may begin again
├── LedgerError           1   the ledger or spool is damaged or of another version
├── LibraryError          1   a library failed where it should not: with a crash report
└── InterruptedRunError   130 or 143   stopped by a signal, cleanly

Bad data is never one of these: it is a `records.Problem`. One handler, in `cli`, prints them.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum

from backfill.frozen import frozen


class ExitCode(IntEnum):
    """Every exit code of the program; the command line documents them."""

    DELIVERED = 0
    UNEXPECTED = 1
    USAGE = 2
    REJECTS = 3
    GATE = 4
    STOPPED = 5
    REFUSED = 6
    LOCKED = 7
    TARGET_REFUSED = 8
    SOURCE = 9
    INTERRUPTED = 130
    TERMINATED = 143


#: Of several exit codes the first of these is given; 2 and 7 come before anything is read.
PRECEDENCE = (
    ExitCode.USAGE,
    ExitCode.LOCKED,
    ExitCode.UNEXPECTED,
    ExitCode.INTERRUPTED,
    ExitCode.TERMINATED,
    ExitCode.TARGET_REFUSED,
    ExitCode.SOURCE,
    ExitCode.REFUSED,
    ExitCode.STOPPED,
    ExitCode.GATE,
    ExitCode.REJECTS,
    ExitCode.DELIVERED,
)


def counted(count: int, one: str, many: str) -> str:
    """A count with its noun, as messages have it: 1 request, 2 requests, 3,000 requests."""
    return f"{count:,} {one if count == 1 else many}"


def worst(codes: list[ExitCode]) -> ExitCode:
    """The one exit code that stands for several jobs; DELIVERED where there are none."""
    return min(codes, key=PRECEDENCE.index, default=ExitCode.DELIVERED)


class BackfillError(Exception):
    """What happened, and what to do next. Raised only through its subclasses."""

    exit_code = ExitCode.UNEXPECTED
    #: It ended as somebody wanted it to: that is told as news, not as an error.
    asked = False

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class UsageError(BackfillError):
    """The command line asks for something that cannot be."""

    exit_code = ExitCode.USAGE


@frozen
class Fault:
    """One fault of a job or targets file: where it is, what is wrong, what to do."""

    file: str
    line: int  # from 1; 0 where the file as a whole is meant
    column: int  # from 1; 0 where the line as a whole is meant
    path: str  # the field's path, such as calls[0].properties.revenue; empty for the whole file
    message: str
    hint: str = ""

    def __str__(self) -> str:
        """One fault as `file:line:column: path: message`, the hint left out."""
        where = ":".join([self.file, *(str(n) for n in (self.line, self.column) if n)])
        return f"{where}: {self.path}: {self.message}" if self.path else f"{where}: {self.message}"


class JobError(BackfillError):
    """A job or targets file is wrong; `faults` holds all that was found, in file order."""

    exit_code = ExitCode.USAGE

    def __init__(self, message: str, faults: tuple[Fault, ...] = (), *, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.faults = faults


def joined(errors: Sequence[JobError]) -> JobError:
    """The one error that stands for several, with every fault."""
    if len(errors) == 1:
        return errors[0]
    faults: list[Fault] = []
    for error in errors:
        faults += error.faults or (Fault("", 0, 0, "", error.message, error.hint),)
    return JobError(f"{len(errors)} job files are wrong: nothing was run", tuple(faults))


@frozen
class GateHit:
    """One gate that a plan does not keep to."""

    gate: str  # as the job's `gates` has it
    allowed: str
    found: int | str
    message: str


class GateError(BackfillError):
    """The plan does not keep to gates of the job or of the command line, `hits`; nothing was sent."""

    exit_code = ExitCode.GATE

    def __init__(self, message: str, hits: tuple[GateHit, ...] = (), *, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.hits = hits


class StoppedError(BackfillError):
    """The run stopped and can be resumed."""

    exit_code = ExitCode.STOPPED


class StopAskedError(StoppedError):
    """The run stopped as it was asked to, by --canary, and can be resumed."""

    asked = True


class RefusedError(BackfillError):
    """Source, mapping, target or key differ from those the run was prepared with."""

    exit_code = ExitCode.REFUSED


class LockedError(BackfillError):
    """Another process holds this run."""

    exit_code = ExitCode.LOCKED


class TargetRefusedError(BackfillError):
    """The target answered 401, 403 or 404: the key, the source or the endpoint is wrong."""

    exit_code = ExitCode.TARGET_REFUSED


class SourceError(BackfillError):
    """The source cannot be read: missing, corrupt, truncated or a lone empty file; nothing was sent.

    The message names files from the job file; `name` is the one in it whose whole path or URL is `path`.
    """

    exit_code = ExitCode.SOURCE

    def __init__(self, message: str, *, hint: str = "", name: str = "", path: str = "") -> None:
        super().__init__(message, hint=hint)
        self.name = name
        self.path = path


class ConnectionLostError(SourceError):
    """The connection to a database broke, or the database ended the query, for no fault of the query's."""


class LedgerError(BackfillError):
    """A ledger, spool or snapshot is damaged or of a version this program does not know."""

    exit_code = ExitCode.UNEXPECTED


class LibraryError(BackfillError):
    """A library below failed where no data should make it fail; `__cause__` is what it raised."""

    exit_code = ExitCode.UNEXPECTED


class InterruptedRunError(BackfillError):
    """Stopped by a signal, cleanly, or by a no to the question; exit code 130, for SIGTERM 143."""

    exit_code = ExitCode.INTERRUPTED
    asked = True

    def __init__(self, message: str, *, exit_code: ExitCode = ExitCode.INTERRUPTED, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.exit_code = exit_code


def barred(run: str, to: str) -> UsageError:
    """The error of a run that is being moved, and gone on with elsewhere: two ledgers of it would send all twice."""
    return UsageError(
        f"{run} is being moved to {to}: it is gone on with there, and not here",
        hint=f"finish that first: `backfill state copy` with the same FROM and {to}",
    )
