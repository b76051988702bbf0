"""The bench of growth: what it makes, measures and flags."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from bench.scale import FORMATS, WAYS, Cost, Growth, Size, measure, sizes_of, watched
from bench.scale_data import WRITERS, Shape

GROWTH = Growth("csv", "rows", (10, 100), Cost(1.0, 100), Cost(1.5, 100), Cost(6.0, 200))


@pytest.mark.parametrize("form", FORMATS)
def test_a_small_shape(tmp_path: Path, form: str) -> None:
    """A source of any format is dry-run to its end, all of its rows."""
    files = 1 if form == "sqlite" else 3
    cost = measure(form, Size(rows=30, columns=4, files=files, depth=3), tmp_path, 100)
    assert not cost.failure, (tmp_path / "said.txt").read_text(encoding="utf-8")
    assert cost.cpu_seconds > 0
    assert cost.megabytes > 20
    assert "30 read, 30 mapped" in (tmp_path / "said.txt").read_text(encoding="utf-8")


def test_what_is_ten_times_as_large() -> None:
    """Each way alone grows; what a format does not have is left out."""
    for form in FORMATS:
        for way in WAYS:
            if (sizes := sizes_of(form, way)) is not None:
                (small, large), field = sizes, WAYS[way][0]
                assert getattr(large, field) == 10 * getattr(small, field)
                others = {"rows": large.rows} if field == "files" else {}
                assert replace(small, **{field: getattr(large, field)}, **others) == large
    assert sizes_of("sqlite", "files") is None


def test_a_row_s_own_weight(tmp_path: Path) -> None:
    """Cells are as long as they are to be, objects as deep."""
    WRITERS["ndjson"](Shape(2, 3, 1, 100, 4), tmp_path)
    first = json.loads((tmp_path / "000000.ndjson").read_text(encoding="utf-8").splitlines()[0])
    assert [len(first[name]) for name in ("c0001", "c0002")] == [100, 100]
    assert first["nest"] == {"n": 3, "o": {"n": 2, "o": {"n": 1, "o": {"n": 0, "o": "v0"}}}}


@pytest.mark.parametrize(
    ("growth", "faults"),
    [
        (GROWTH, []),
        (replace(GROWTH, large=Cost(9.0, 200)), ["above linear"]),
        (replace(GROWTH, large=Cost(6.0, 601)), ["above the stated memory"]),
        (replace(GROWTH, large=Cost(9.0, 601, "exit 1")), ["100: exit 1", "above the stated memory"]),
        (replace(GROWTH, small=Cost(1.0, 100), large=Cost(4.0, 100)), []),  # against noise, nothing grows
    ],
)
def test_what_is_flagged(growth: Growth, faults: list[str]) -> None:
    """More than linear, more than stated, and what did not come to its end."""
    assert list(growth.faults(600)) == faults
    assert growth.line(600).count("|") == 10


def test_bounds(tmp_path: Path) -> None:
    """What takes too long is ended."""
    cost = watched([sys.executable, "-c", "import time; time.sleep(60)"], tmp_path, 0.2)
    assert cost.failure == "out of time"
