"""What a failure of PostgreSQL means: the query's fault, the server's, or the connection's; in words without secrets.

Told by SQLSTATE (https://www.postgresql.org/docs/current/errcodes-appendix.html) where the driver hands it on. Of an
error in the middle of the rows it gives the words alone, and whether the server said them.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import adbc_driver_manager
import pyarrow as pa  # type: ignore[import-untyped]

from backfill.errors import BackfillError, ConnectionLostError, JobError, SourceError
from backfill.frozen import frozen
from backfill.job import fault_at
from backfill.job.models import Job
from backfill.sources.databases.address import Address

#: Of the server: it ends, was ended, or its standby needs the rows for something else.
_GONE = ("57P01", "57P02", "57P03", "57P05", "40001", "40P01")
_GONE_CLASSES = ("08",)
#: Classes of errors that the query makes on its way: values, syntax and names, what may not be done in it.
_OF_THE_QUERY = ("21", "22", "25", "2F", "42", "0A", "2B", "34", "XX")
_DENIED, _CANCELLED, _DAMAGED, _OF_VALUES = "42501", "57014", "58000", "22000"
#: How the driver marks what the server said, in the middle of the rows.
_SERVER_SAID = "[PGRES_FATAL_ERROR]: "
_DRIVER_SAID = (
    "IO: ", "[libpq] ", "Failed to connect: ", "FATAL:  ", "ERROR:  ", "PQgetCopyData() failed: ",
    "Failed to describe prepared statement: ",
)  # fmt: skip
_CANCELLED_WORDS = "statement timeout"
_GONE_WORDS = ("conflict with recovery", "terminating connection")
_DAMAGE_WORDS = (
    "could not ", "invalid page", "missing chunk", "unexpected chunk", "out of memory",
    "invalid memory", "No space left",
)  # fmt: skip
#: What libpq says while connecting -> what helps.
_CONNECTING = {
    "no password supplied": "set PGPASSWORD, or keep a line for the host in ~/.pgpass",
    "password authentication failed": "set PGPASSWORD, or correct the line for the host in ~/.pgpass",
    "no pg_hba.conf entry": "its pg_hba.conf lets nobody in from here; or it wants ?sslmode=require in the URL",
    "does not support SSL": "leave sslmode out of the URL, or give the server a certificate",
    "certificate": "?sslmode=verify-full&sslrootcert=FILE names the authority that is trusted",
    "Connection refused": "is the server running, and is this its host and port?",
    "could not translate host name": "is the host's name right?",
    "timeout expired": "does a firewall stand between? the URL's connect_timeout gives it longer",
    "does not exist": "`psql URL` shows whether the name is right",
    "definition of service": "is the service in ~/.pg_service.conf, or in the file that PGSERVICEFILE names?",
    "too many": "try again when others are done, or raise the role's connection limit",
}
_TABLE_HINT = "write it as it is called there, with its schema: public.orders"
#: By SQLSTATE: a syntax error, a table that is not there.
_QUERY_HINTS = {
    "42601": "one SELECT in PostgreSQL's own SQL is wanted",
    "42P01": "name it with its schema, in double quotes where it has capitals",
    "42703": "in double quotes, where it has capitals",
    "25006": "one SELECT is wanted, which only reads",
}
_POSITION = "PG_DIAG_STATEMENT_POSITION"


@frozen
class Failures:
    """Makes errors of ours of those of the driver."""

    job: Job
    address: Address

    @contextmanager
    def while_connecting(self) -> Iterator[None]:
        """Raises SourceError where there is no connection to be had."""
        try:
            yield
        except adbc_driver_manager.Error as error:
            said = self._said(error)
            hint = next((help_ for words, help_ in _CONNECTING.items() if words in said), "")
            raise SourceError(f"{self.address.shown} cannot be connected to: {said}", hint=hint) from None

    @contextmanager
    def while_asking(self, before: int = 0) -> Iterator[None]:
        """Raises as `while_reading` does; the query stands behind so many characters of the statement."""
        try:
            yield
        except adbc_driver_manager.Error as error:
            raise self._meaning(error, before) from None

    @contextmanager
    def while_reading(self) -> Iterator[None]:
        """Raises JobError where the query fails, ConnectionLostError where it may be begun again, else SourceError."""
        try:
            yield
        except (adbc_driver_manager.Error, pa.ArrowException, OSError) as error:
            raise self._meaning(error, None) from None

    def _meaning(self, error: Exception, before: int | None) -> BackfillError:
        said, shown = self._said(error), self.address.shown
        state = getattr(error, "sqlstate", None) or _state_by_words(str(error))
        if not state or state in _GONE or state[:2] in _GONE_CLASSES:
            return ConnectionLostError(
                f"the connection to {shown} broke: {said}", hint="run the same command again: nothing was sent yet"
            )
        if state == _DENIED:
            return SourceError(f"{shown} does not let this user read: {said}", hint="GRANT SELECT ON ... TO the user")
        if state == _CANCELLED:
            hint = "give the role a longer statement_timeout, or add ?options=-c%20statement_timeout%3D0 to the URL"
            return SourceError(f"{shown} ended the query: {said}", hint=hint if _CANCELLED_WORDS in said else "")
        if state[:2] in _OF_THE_QUERY:
            return self._of_the_query(error, said, before)
        return SourceError(f"{shown} cannot be read: {said}")

    def _of_the_query(self, error: Exception, said: str, before: int | None) -> JobError:
        """The job's error, at the place in its file that the server names."""
        path = "source.query" if self.job.source.query is not None else "source.table"
        hint = _QUERY_HINTS.get(getattr(error, "sqlstate", None) or "", "") if path == "source.query" else _TABLE_HINT
        position = _details(error).get(_POSITION, "")
        offset = int(position) - 1 - before if position.isdigit() and before is not None else None
        inside = offset is not None and 0 <= offset < len(self.job.source.query or "")
        if not self.job.path:
            return JobError(f"{path}: {said}", hint=hint)
        fault = fault_at(Path(self.job.path), path, said, hint, offset=offset if inside else None)
        return JobError(f"{path}: {said}", (fault,))

    def _said(self, error: Exception) -> str:
        """What the server or the driver said, in one line and without secrets."""
        text = _details(error).get("PG_DIAG_MESSAGE_PRIMARY") or str(error).partition("Query was:")[0]
        text = text.partition(_SERVER_SAID)[2] or text
        text = text.partition("\tThis probably means")[0]
        for words in _DRIVER_SAID:
            text = text.replace(words, "")
        return self.address.without_secrets(text)


def _state_by_words(text: str) -> str:
    """About the SQLSTATE of an error that came without one; nothing where it is not the server's."""
    if _SERVER_SAID not in text or any(words in text for words in _GONE_WORDS):
        return ""
    if _CANCELLED_WORDS in text:
        return _CANCELLED
    return _DAMAGED if any(words in text for words in _DAMAGE_WORDS) else _OF_VALUES


def _details(error: Any) -> dict[str, str]:  # noqa: ANN401
    """The server's own fields of an error, by their names in libpq."""
    pairs = getattr(error, "details", None) or ()
    return {_text(name): _text(value) for name, value in pairs}


def _text(value: bytes | str) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else value
