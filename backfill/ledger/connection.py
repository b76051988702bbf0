"""What the statements of the ledger need of a connection, SQLite's own or PostgreSQL's (`postgres.connection`).

The statements are written once, in the words that both databases have, with `?` for a value.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

#: A row, told by place and by name.
Row = Any


class Rows(Protocol):
    """What a statement gave. Each row is told by place and by name, as sqlite3.Row is."""

    @property
    def description(self) -> Any:  # noqa: ANN401 (the columns, each with its name first: DB-API 2.0)
        """The columns, each a sequence that begins with its name."""

    def fetchone(self) -> Any:  # noqa: ANN401 (a row, or None)
        """The next row; None behind the last."""

    def fetchall(self) -> list[Any]:
        """The rows that are left."""

    def __iter__(self) -> Iterator[Any]:
        """The rows that are left, one by one."""


class Connection(Protocol):
    """A connection in the transaction of a group, or one that reads."""

    def execute(self, query: str, values: Sequence[Any] = ..., /) -> Rows:
        """Run a statement with these values."""

    def executemany(self, query: str, values: Iterable[Sequence[Any]], /) -> object:
        """Run a statement once for each of these."""


class Transactions(Protocol):
    """Where groups are committed. Used by one thread."""

    @property
    def name(self) -> str:
        """The ledger, for messages."""

    def errors(self) -> AbstractContextManager[None]:
        """Turns the errors of the database into ours."""

    def commit(self, perform: Callable[[Connection], None]) -> None:
        """Do what `perform` does in one transaction, durable on return. `perform` may be called more than once.

        Raises:
            BackfillError: Nothing of it is durable, and nothing will be.
        """

    def close(self) -> None:
        """Let go of the database; what was committed stays."""
