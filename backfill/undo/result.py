"""What an undo has found and written."""

from __future__ import annotations

from backfill.advice import UndoNote
from backfill.frozen import frozen
from backfill.records import RunStatus


@frozen
class TableRows:
    """A table of the warehouse, and how many rows of the run it may hold."""

    name: str
    delivered: int  # calls that have a row there, if the warehouse has all
    in_doubt: int  # calls that may have one


@frozen
class UndoUsers:
    """The users of a run's calls, counted."""

    user_ids: int = 0
    anonymous_ids: int = 0
    alone: int = 0  # userIds that no other run kept here has; 0 where that is not known
    requests: int = 0  # files of requests for these
    unknown: tuple[str, ...] = ()  # the other runs whose users are not known any more: then no request is written


@frozen
class Undo:
    """A run and what was written to take it back."""

    run_id: str
    status: RunStatus
    delivered: int = 0
    in_doubt: int = 0
    types: tuple[str, ...] = ()  # of the calls that were sent
    tables: tuple[TableRows, ...] = ()
    no_table: int = 0  # track calls whose event has no letter or digit that a table could be named by
    users: UndoUsers = UndoUsers()
    notes: tuple[UndoNote, ...] = ()
    schema: str = ""  # of the warehouse; empty where it was not said
    regulation: str = ""  # regulationType of the requests
    next_generation: int = 0  # by which all calls have ids that no run had
    files: tuple[str, ...] = ()  # in the folder

    @property
    def empty(self) -> bool:
        """Whether there is nothing to undo."""
        return not self.delivered + self.in_doubt
