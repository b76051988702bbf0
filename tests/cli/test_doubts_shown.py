"""Batches in doubt as they are listed."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from backfill.records import Doubt, DoubtSpan
from backfill.report import held_back_lines
from backfill.report.doubts import SHOWN_AS_JSON


@pytest.mark.parametrize(("batches", "more"), [(10, None), (13, "  and 3 more"), (2_000, "  and at least 990 more")])
def test_how_many_more(batches: int, more: str | None) -> None:
    """Ten are listed; beyond what is read of them it is not known how many there are."""
    doubts = [Doubt(number, 0, 0, 5, 1, None, False, None, "") for number in range(batches)]
    reader = SimpleNamespace(
        clock_mark=lambda: None, doubt_span=DoubtSpan, doubts=lambda most: doubts[: min(most, SHOWN_AS_JSON)]
    )
    lines = held_back_lines(reader)  # type: ignore[arg-type]
    assert lines[10:] == ([more] if more else [])
    assert len(lines) == min(batches, 11 if more else 10)
