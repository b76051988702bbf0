"""Packing: greedy, on the real bytes, independent of how the stream is sliced."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from backfill.limits import SEGMENT, Limits
from backfill.pack import Packer
from backfill.wire import COMMA, ENVELOPE_BYTES


def batches(sizes: list[int], limits: Limits, *, step: int | None = None) -> list[list[int]]:
    """The sizes grouped into batches, fed in slices of `step`."""
    packer = Packer(limits)
    groups: list[list[int]] = [[]]
    for start in range(0, len(sizes), step or max(1, len(sizes))):
        part = sizes[start : start + (step or len(sizes))]
        low = 0
        for cut in packer.push(np.array(part, np.int64)):
            groups[-1].extend(part[low:cut])
            groups.append([])
            low = cut
        groups[-1].extend(part[low:])
    return [group for group in groups if group]


def body_bytes(group: list[int]) -> int:
    """The size of a body with those calls (each size counts its comma)."""
    return sum(group) - COMMA + ENVELOPE_BYTES


def test_the_envelope_is_what_is_sent() -> None:
    """ENVELOPE_BYTES is the size of a real body without calls."""
    assert len(json.dumps({"batch": [], "sentAt": "2024-01-01T00:00:00.000Z"}, separators=(",", ":"))) == ENVELOPE_BYTES


@given(
    sizes=st.integers(0, 200).flatmap(lambda count: st.lists(st.integers(2, 60), min_size=count, max_size=count)),
    room=st.integers(min_value=60, max_value=300),
    most=st.integers(min_value=1, max_value=12),
    step=st.integers(min_value=1, max_value=9),
)
@example(sizes=[30] * 8, room=60, most=12, step=1)
@example(sizes=[2] * 40, room=300, most=12, step=5)
def test_batches_are_full_and_never_too_full(sizes: list[int], room: int, most: int, step: int) -> None:
    """Nothing is lost or moved; no batch breaks a limit; none closes while the next call fits; slices are nothing."""
    limits = Limits(body_bytes=room + ENVELOPE_BYTES, call_bytes=60, batch_calls=most)
    groups = batches(sizes, limits, step=step)
    assert [size for group in groups for size in group] == sizes
    assert groups == batches(sizes, limits)
    for number, group in enumerate(groups):
        assert body_bytes(group) <= limits.body_bytes
        assert len(group) <= most
        if number + 1 < len(groups):
            following = [*group, groups[number + 1][0]]
            assert body_bytes(following) > limits.body_bytes or len(group) == most


@pytest.mark.parametrize(("over", "expected"), [(0, 1), (1, 2)])
def test_the_last_byte_counts(over: int, expected: int) -> None:
    """A body of exactly the limit is one batch; one byte more makes two."""
    half = (SEGMENT.body_bytes - ENVELOPE_BYTES + COMMA) // 2
    rest = SEGMENT.body_bytes - ENVELOPE_BYTES + COMMA - half + over
    assert len(batches([half, rest], SEGMENT)) == expected


def test_at_most_2500_calls() -> None:
    """The 2,501st call of small ones begins a batch: Segment drops beyond in silence."""
    assert [len(group) for group in batches([20] * 5001, SEGMENT)] == [2500, 2500, 1]


def test_no_calls_cut_nothing() -> None:
    """Nor do they close the open batch."""
    packer = Packer(SEGMENT)
    assert [packer.push(np.array(sizes, np.int64)) for sizes in ([], [300_000], [], [300_000])] == [[], [], [], [0]]


@pytest.mark.parametrize("size", [200, 405, 2_000, 10_000])
def test_batches_are_at_least_97_percent_full(size: int) -> None:
    """Promise 7: the average fill of all but the last batch."""
    rng = np.random.default_rng(size)
    sizes = rng.integers(int(size * 0.8), int(size * 1.2), 20_000).tolist()
    full = [group for group in batches(sizes, SEGMENT)[:-1] if len(group) < SEGMENT.batch_calls]
    assert full
    assert sum(map(body_bytes, full)) / len(full) >= 0.97 * SEGMENT.body_bytes
