"""What a failure of MySQL or MariaDB means: the query's fault, the server's, or the connection's; without secrets.

Told by the server's number (https://mariadb.com/kb/en/mariadb-error-code-reference/) or pymysql's own.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Final

from backfill.errors import BackfillError, ConnectionLostError, JobError, SourceError
from backfill.extras import how_to_install
from backfill.frozen import frozen
from backfill.job.models import Job
from backfill.sources.databases.address import Address

#: The connection broke, was ended by somebody, or the server goes down or wants the transaction again.
_GONE: Final = frozenset(
    (0, 1053, 1077, 1079, 1080, 1152, 1153, 1158, 1159, 1160, 1161, 1205, 1213, 1927, 2006, 2013, 2055, 4031)
)
#: The user may not.
_DENIED: Final = frozenset((1044, 1045, 1142, 1143, 1227, 1370, 1698))
#: The server ended the query: by KILL QUERY, or for the time that it took.
_ENDED: Final = frozenset((1317, 1969, 3024))
#: The server cannot: its disk, its memory, a damaged table.
_BROKEN: Final = frozenset((3, 5, 12, 23, 24, 28, 1021, 1030, 1034, 1035, 1037, 1038, 1041, 1194, 1195, 1877, 1932))
_HINTS: Final = {
    1045: "set MYSQL_PWD, or keep user and password under [client] in ~/.my.cnf",
    1698: "this user comes in by the server's socket only: add ?unix_socket=PATH, or name another user in the URL",
    1044: "GRANT SELECT ON the database to the user",
    1049: "the database's name stands behind the host in the URL",
    2003: "is the server running, and is this its host and port?",
    1040: "try again when others are done",
}
_ACCESS_DENIED: Final = 1045
_NO_SERVER: Final = 2003
#: How the server ends its message where it was given a password.
_WAS_GIVEN_ONE: Final = "(using password: YES)"
_REFUSED: Final = (
    "the password was refused: is it this user's, and may the user come from here? "
    "It is the URL's, else that in MYSQL_PWD, else that in ~/.my.cnf"
)
_QUERY_HINTS: Final = {
    1046: "name the database behind the host in the URL, or before the table: shop.orders",
    1060: "give one of the two another name, by AS",
    1064: "one SELECT in the database's own SQL is wanted",
    1146: "write it as it is called there, with its database: shop.orders",
    1792: "one SELECT is wanted, which only reads",
}


@frozen
class Failures:
    """Makes errors of ours of those of the driver."""

    job: Job
    address: Address

    @contextmanager
    def while_connecting(self, pymysql: ModuleType) -> Iterator[None]:
        """Raises SourceError where there is no connection to be had."""
        try:
            yield
        except (pymysql.Error, OSError, RuntimeError) as error:  # RuntimeError: for lack of a library to log in with
            number, said = self._said(error)
            hint = _HINTS.get(number, "")
            if number == _ACCESS_DENIED and _WAS_GIVEN_ONE in said:
                hint = _REFUSED
            if number == _NO_SERVER and "unix_socket=" in self.address.uri:
                hint = "is the server running, and is this its unix_socket?"
            if isinstance(error, RuntimeError) and "cryptography" in said:
                hint = f"{how_to_install('cryptography')}, or connect by TLS: ?ssl_ca=FILE"
            raise SourceError(f"{self.address.shown} cannot be connected to: {said}", hint=hint) from None

    @contextmanager
    def while_asking(self, pymysql: ModuleType) -> Iterator[None]:
        """Raises JobError where the query fails, ConnectionLostError where it may be begun again, else SourceError."""
        try:
            yield
        except (pymysql.Error, OSError) as error:
            raise self._meaning(error) from None

    #: The same while rows come.
    while_reading = while_asking

    def _meaning(self, error: Exception) -> BackfillError:
        number, said = self._said(error)
        shown = self.address.shown
        if number in _GONE or isinstance(error, OSError):
            return ConnectionLostError(
                f"the connection to {shown} broke: {said}", hint="run the same command again: nothing was sent yet"
            )
        if number in _DENIED:
            message = f"{shown} does not let this user read: {said}"
            return SourceError(message, hint="GRANT SELECT ON ... TO the user")
        if number in _ENDED:
            hint = "give it longer: max_statement_time of MariaDB, max_execution_time of MySQL"
            return SourceError(f"{shown} ended the query: {said}", hint=hint)
        if number in _BROKEN:
            return SourceError(f"{shown} cannot be read: {said}")
        path = "source.query" if self.job.source.query is not None else "source.table"
        return JobError(f"{path}: {said}", hint=_QUERY_HINTS.get(number, ""))

    def _said(self, error: Exception) -> tuple[int, str]:
        """The server's number, and what it said, in one line and without secrets."""
        number = error.args[0] if error.args and isinstance(error.args[0], int) else 0
        text = str(error.args[1]) if len(error.args) > 1 else str(error)
        return number, self.address.without_secrets(text)
