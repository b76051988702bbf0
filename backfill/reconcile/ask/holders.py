"""What can be asked: which of some ids are there, with their dates; or how many calls of each event were received."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Protocol

from backfill.frozen import frozen


class Holder(Protocol):
    """Has the rows of a run's calls, and tells them by their ids."""

    @property
    def what(self) -> str:
        """It, in words, without a secret."""

    @property
    def columns(self) -> Sequence[str]:
        """What a row has: `message_id`, and some of original_timestamp, timestamp, received_at, sent_at and event."""

    def rows(self, ids: Iterable[Sequence[str]]) -> Iterator[Sequence[Mapping[str, Any]]]:
        """What it has of these ids, which come some at a time, and of no others unless it cannot choose.

        The values of a row are texts, or None. An id that is there twice has two rows.

        Raises:
            TargetRefusedError: The token is not taken, or there is no such source or project.
            SourceError: It does not answer, or not as it is documented to.
            InterruptedRunError: A signal came.
        """

    @property
    def notes(self) -> list[str]:
        """What it cannot tell, to be read once all rows were."""


@frozen
class Received:
    """Calls that were received in some time, by one of their fields."""

    field: str  # type or event
    counts: Mapping[str, int]  # by its value


@frozen
class Counted:
    """What was received in some time, as far as a destination counts it."""

    begin: float  # POSIX seconds
    end: float
    received: Sequence[Received]
    failed: Mapping[str, int]  # by why
    total: int | None = None  # received, where that is told


class Counter(Protocol):
    """Counts what it has received, and knows no ids."""

    @property
    def what(self) -> str:
        """It, in words, without a secret."""

    @property
    def by_receipt(self) -> bool:
        """Whether it counts by the time of receiving; else by the time at which calls are dated."""

    def count(self, begin: float, end: float) -> Counted:
        """What it has received between these instants (POSIX seconds), or in a somewhat longer time.

        Raises:
            UsageError: It does not keep counts for so long.
            TargetRefusedError, SourceError, InterruptedRunError: As `Holder.rows`.
        """

    @property
    def notes(self) -> list[str]:
        """What it cannot tell."""
