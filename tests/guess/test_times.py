"""How times are told from texts and numbers, and what stays open."""

from __future__ import annotations

from typing import Any

import polars as pl
import pytest

from backfill.guess.times import of_numbers, of_text

TEXTS: list[tuple[list[str], Any, Any, bool]] = [  # values, format, the other one, wall clock
    (["2024-01-02T03:04:05Z", "2024-01-02 03:04:05.123+02:00"], None, None, False),
    (["2024-01-02 03:04", "2024-01-03 03:04:05"], None, None, True),
    (["1/2/2009 0:00:00", "1/13/2009 0:00:00"], "%m/%d/%Y %H:%M:%S", None, True),
    (["1/2/2009", "13/2/2009"], "%d/%m/%Y", None, True),
    (["1/2/2009", "3/4/2009"], "%d/%m/%Y", "%m/%d/%Y", True),
    (["1.2.2009", "3.4.2009"], "%d.%m.%Y", None, True),
    (["23/01/02", "24/03/04"], "%d/%m/%y", "%y/%m/%d", True),
    (["01/02/24", "28/03/24"], "%d/%m/%y", None, True),
    (["Jan 2, 2024", "Feb 13, 2024"], "%b %d, %Y", None, True),
    (["Tue, 02 Jan 2024 03:04:05 +0100"], "%a, %d %b %Y %H:%M:%S %z", None, False),
    ([" 22 Apr 2017 15:11:58 -0500"], " %d %b %Y %H:%M:%S %z", None, False),
    ([" 1/2/2009", " 3/4/2009"], " %d/%m/%Y", " %m/%d/%Y", True),
    (["2024/01/02 03:04:05 UTC", "2024/01/02 03:04:05.5 UTC"], "%Y/%m/%d %H:%M:%S%.f UTC", None, False),
    (["2024/01/02", "2024/01/02 03:04"], ("%Y/%m/%d", "%Y/%m/%d %H:%M"), None, True),
]


@pytest.mark.parametrize(("values", "pattern", "other", "naive"), TEXTS)
def test_texts(values: list[str], pattern: Any, other: Any, naive: bool) -> None:
    """The pattern is that of all values; day and month are in the order that they say, else both stay open."""
    found = of_text(pl.Series(values))
    assert found is not None
    assert (found.format, found.other, found.naive) == (pattern, other, naive)


NO_TIMES = [["2024-01-02 03:04 PST"], ["13/14/2024"], ["Dinner", "Lunch"], ["1/2/2024", "1/2/2024 03:04Z"], ["12.5"]]


@pytest.mark.parametrize("values", NO_TIMES)
def test_texts_that_are_no_times(values: list[str]) -> None:
    """An abbreviation of a zone, a thirteenth month, words, and a mixture with and without zone are left alone."""
    assert of_text(pl.Series(values)) is None


NUMBERS = [
    ("created_at", [1_700_000_000, 1_700_000_100], "epoch_s", False),
    ("ts", [1_700_000_000_000, 1_700_000_100_000], "epoch_ms", False),
    ("column_9", [1_700_000_000, 1_700_000_100], "epoch_s", True),
    ("order date", [44928, 44929], "excel", False),
    ("txn_date", [20240131, 20231201], "%Y%m%d", False),
    ("date", [19580329, 18991231], "%Y%m%d", False),
    ("load_time", [44928, 44929], None, False),  # milliseconds, as likely as days
    ("date", [20241301, 20249999], None, False),
    ("total", [44928, 44929], None, False),
    ("created_at", [1_700_000_000, 1_700_000_100_000], None, False),  # two units
]


@pytest.mark.parametrize(("name", "values", "pattern", "asked"), NUMBERS)
def test_numbers(name: str, values: list[int], pattern: str | None, asked: bool) -> None:
    """Numbers are times by a plausible year, and by the name; by the value alone it is only asked."""
    found = of_numbers(pl.Series(values).cast(pl.Float64), name, whole=True)
    assert (found and found.format, bool(found and found.of_numbers)) == (pattern, asked)
