"""What PostgreSQL's errors mean to a run: wait and resume, mend the database, or do not trust the ledger."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from backfill.errors import BackfillError, LedgerError, StoppedError
from backfill.ledger.schema import DAMAGED

if TYPE_CHECKING:
    import psycopg

#: SQLSTATE classes (https://www.postgresql.org/docs/current/errcodes-appendix.html) of what passes, or is mended
#: outside of the ledger: connection, resources, the operator's doing, a disk that fails; a server that only reads.
_PASSING = ("08", "53", "57", "58", "25006", "55P03")
_NOT_ALLOWED = "42501"
_MISSING = ("3F000", "42P01")  # schema, table
_AGAIN = ("40001", "40P01")  # serialisation failure, deadlock


def to_be_repeated(error: BaseException) -> bool:
    """Whether the transaction was undone by the server for the sake of another, and may be done again as it was."""
    return getattr(error, "sqlstate", None) in _AGAIN


def says(error: BaseException) -> str:
    """What the database says, on one line; libpq puts no password into it."""
    return " ".join(str(error).split()) or type(error).__name__


@contextmanager
def postgres_errors(name: str) -> Iterator[None]:
    """Turn the errors of psycopg into ours; `name` is the ledger or database."""
    try:
        yield
    except Exception as error:
        psycopg = sys.modules.get("psycopg")  # which is not imported for the sake of its errors
        if psycopg is None or not isinstance(error, psycopg.Error):
            raise
        raise ours(error, name) from error


def ours(error: psycopg.Error, name: str) -> BackfillError:
    """Our error for one of psycopg."""
    import psycopg  # noqa: PLC0415 (heavy, and only of those who keep runs in a database)

    state = error.sqlstate or ""
    if state == _NOT_ALLOWED:
        return StoppedError(f"{name}: {says(error)}", hint="let this user of the database do that, then go on")
    if state in _MISSING:
        return LedgerError(f"there is no ledger at {name}", hint="`backfill status` lists the runs there are")
    if state.startswith(_PASSING) or (isinstance(error, psycopg.OperationalError) and not state):
        return StoppedError(
            f"{name} cannot be used: {says(error)}",
            hint="see that the database can be reached and written to, then resume: what was recorded is kept",
        )
    if state.startswith("XX"):
        return LedgerError(f"{name} is damaged: {says(error)}", hint=DAMAGED)
    return LedgerError(f"{name}: {says(error)}", hint="nothing unrecorded was counted; resume when the cause is gone")
