"""What an undo has found and written."""

from __future__ import annotations

from backfill.advice import UndoNote
from backfill.frozen import frozen
from backfill.records import RunStatus


@frozen
class TableRows:
    """A table of the warehouse, and how many rows of the run it may hold."""

    name: str
    least: int  # of the calls that were delivered, if the warehouse has all
    most: int  # with those that may have one beside them: in doubt, or of an event that is not known call by call


@frozen
class UndoUsers:
    """The users of a run's calls, counted."""

    user_ids: int = 0
    anonymous_ids: int = 0
    alone: int = 0  # userIds that no other run kept here has; 0 where that is not known
    requests: int = 0  # files of requests for these
    gone: str = ""  # why the users of the run are not known any more; empty where they are
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
