"""What arrived compared with what was planned, call by call: nothing lost, nothing else, twice only where it may be."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Final

from backfill.frozen import frozen

_DIGEST_BYTES: Final = 16
#: Ids of each kind that are named.
NAMED: Final = 5


def digest_of(call: bytes) -> bytes:
    """What tells the bytes of one call from those of another: 16 bytes of BLAKE2b."""
    return hashlib.blake2b(call, digest_size=_DIGEST_BYTES).digest()


@frozen
class Arrivals:
    """What a target has: of each call the digest of its bytes, and how often more than once it came."""

    calls: Mapping[str, bytes]  # by message id
    again: Mapping[str, int]  # by message id; ids that are in `calls` as a rule


@frozen
class Evidence:
    """What a comparison came to; each call planned is in one of `once`, `again`, `missing` and `altered`."""

    planned: int
    once: int
    again: int  # calls that came more than once
    arrivals_again: int  # how often altogether
    missing: tuple[str, ...]
    altered: tuple[str, ...]  # ids that came with other bytes than planned
    unknown: tuple[str, ...]  # ids that nobody planned
    unexplained: tuple[str, ...]  # ids that came more often than an earlier attempt without an answer explains

    @property
    def proven(self) -> bool:
        """Whether what arrived is the plan, exactly."""
        return not (self.missing or self.altered or self.unknown or self.unexplained)


def compare(planned: Mapping[str, bytes], arrived: Arrivals, doubted: Mapping[str, int]) -> Evidence:
    """Compare the digests of what was planned, by message id, with what arrived.

    `doubted` is how many attempts at a call, none of them answered with a success, may have arrived besides the last.
    """
    there = planned.keys() & arrived.calls.keys()
    altered = sorted(one for one in there if planned[one] != arrived.calls[one])
    again = [one for one in arrived.again if one in there]
    return Evidence(
        planned=len(planned),
        once=len(there - arrived.again.keys() - set(altered)),
        again=len(set(again) - set(altered)),
        arrivals_again=sum(arrived.again[one] for one in again),
        missing=tuple(sorted(planned.keys() - arrived.calls.keys())),
        altered=tuple(altered),
        unknown=tuple(sorted((arrived.calls.keys() | arrived.again.keys()) - planned.keys())),
        unexplained=tuple(sorted(one for one in again if arrived.again[one] > doubted.get(one, 0))),
    )


def arrivals(calls: Iterable[tuple[str, bytes]], again: Iterable[str]) -> Arrivals:
    """What arrived, of the first bytes of each call, and the ids of the calls that came once more."""
    return Arrivals({message_id: digest_of(call) for message_id, call in calls}, Counter(again))
