"""A timestamp that is not exactly of its strptime pattern is a bad value, whatever DuckDB alone would make of it."""

from __future__ import annotations

import datetime as dt
import itertools
import re

import duckdb
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from backfill.job.models import ColumnSpec
from backfill.sources.sql.casts import cast_of
from tests.support.examples import examples

PATTERNS = [
    "%Y-%m-%d %H:%M:%S",
    "%Y-%j",
    "%Y%m%d%H%M%S",
    "%d/%m/%y",
    "%-d.%-m.%Y",
    "%a, %d %b %Y %H:%M:%S %z",
    "%A %d %B %Y",
    "%m/%d/%Y %I:%M %p",
    "%Y-%U-%w",
    "%G-W%V-%u",
    "%Y-%m-%dT%H:%M:%S.%f%z",
    "%z %Y-%m-%d",
    "%x %X",
    "100%% %Y-%m-%d",
    " %Y-%m-%d\t",
    "%Y-%m-%d %Y",
]


@pytest.fixture(scope="module")
def connection() -> duckdb.DuckDBPyConnection:
    """A connection with the clock that staging has."""
    connection = duckdb.connect()
    connection.execute("SET TimeZone = 'UTC'")
    return connection


def read(connection: duckdb.DuckDBPyConnection, pattern: str, texts: list[str]) -> list[dt.datetime | None]:
    """What the texts are read as, naive (UTC, where they have an offset)."""
    value = cast_of("v", ColumnSpec(type="timestamp", format=pattern), read_by_sql=False).value
    if "%z" in pattern.replace("%%", ""):
        value = f"({value}) AT TIME ZONE 'UTC'"
    rows = connection.execute(f"SELECT {value} FROM (SELECT unnest(?::VARCHAR[]) AS v)", [texts]).fetchall()
    return [moment for (moment,) in rows]


def written(moment: dt.datetime, pattern: str) -> str:
    """Python's text of a moment with offset; its short forms are the C library's, DuckDB's are ISO's."""
    iso = pattern.replace("%x", "%Y-%m-%d").replace("%X", "%H:%M:%S").replace("%Y", f"{moment.year:04}")
    return moment.strftime(iso.replace("%G", f"{moment.isocalendar().year:04}"))


def loosened(text: str) -> str:
    """The text with what may differ taken out: zeros that lead a number, closing ones of a fraction, case, Z."""
    text = re.sub(r"(\.[0-9]*?)0+(?![0-9])", r"\1", text)
    text = re.sub(r"[+-]00:?00$|[+-]00$|Z$|z$", "+0000", text)
    text = re.sub(r"([+-][0-9]{2}):([0-9]{2})", r"\1\2", text)
    return re.sub(r"(?<![0-9.])0+(?=[0-9])", "", text.lower())


MOMENTS = st.datetimes(dt.datetime(1, 1, 2), dt.datetime(9999, 12, 30))  # noqa: DTZ001
OFFSETS = st.integers(-1439, 1439).map(lambda minutes: dt.timezone(dt.timedelta(minutes=minutes)))


@settings(max_examples=examples(150), deadline=None)
@given(
    pattern=st.sampled_from(PATTERNS),
    moment=MOMENTS | st.sampled_from([dt.datetime(2023, 12, 31), dt.datetime(2024, 12, 31)]),  # noqa: DTZ001
    zone=OFFSETS,
    place=st.integers(0, 40),
    change=st.sampled_from(["", " ", "\t", "\n", "0", "1", "3", "6", "9", ":", "drop", "double"]),
)
def test_what_is_read_was_written(
    connection: duckdb.DuckDBPyConnection,
    pattern: str,
    moment: dt.datetime,
    zone: dt.timezone,
    place: int,
    change: str,
) -> None:
    """A text that is read is the text of what is read; a well-formed text is read."""
    aware = moment.replace(tzinfo=zone) if "%z" in pattern else moment
    if "%y" in pattern:
        aware = aware.replace(year=1970 + moment.year % 98, day=min(aware.day, 28))
    text = written(aware, pattern)
    place %= len(text)
    changed = {
        "": text,
        "drop": text[:place] + text[place + 1 :],
        "double": text[:place] + text[place] + text[place:],
    }.get(change, text[:place] + change + text[place + (len(change) if change.isdigit() else 0) :])
    assume("0000" not in changed)  # a year that Python does not have
    found, again = read(connection, pattern, [text, changed])
    assert found is not None
    assert loosened(written(_back(found, aware), pattern)) == loosened(text)
    if again is not None:
        offset = _offset(changed) if "%z" in pattern else None
        meant = again if offset is None else again.replace(tzinfo=dt.UTC).astimezone(offset)
        assert loosened(written(meant, pattern)) == loosened(changed)


def _back(found: dt.datetime, aware: dt.datetime) -> dt.datetime:
    """A UTC moment in the zone of the one written, where that has one."""
    return found if aware.tzinfo is None else found.replace(tzinfo=dt.UTC).astimezone(aware.tzinfo)


def _offset(text: str) -> dt.timezone:
    """The offset that a text names."""
    said = re.search(r"(?:^|[ 0-9])([+-])([0-9]{2}):?([0-9]{2})?(?: |$)", text)
    assert said is not None
    minutes = int(said[2]) * 60 + int(said[3] or 0)
    return dt.timezone(dt.timedelta(minutes=-minutes if said[1] == "-" else minutes))


@pytest.mark.parametrize(
    ("pattern", "text", "expected"),
    [
        ("%Y-%j", "2023-366", None),
        ("%Y-%j", "2024-366", "2024-12-31"),
        ("%Y-%j", "2024-060", "2024-02-29"),
        ("%Y-%m-%d", "2023-01-05\t", None),
        ("%Y-%m-%d", "\t2023-01-05", None),
        ("%Y-%m-%d", "2023-01-05\n", None),
        ("%Y-%m-%d", "023-01-05", None),
        ("%Y-%m-%d", "2023-1-5", "2023-01-05"),
        ("%Y-%m-%d", "2023-02-29", None),
        ("%Y-%m-%d", "epoch", None),
        ("%Y-%m-%d %H:%M", "2023-01-05  10:00", None),
        ("%Y-%m-%d %H:%M", "2023-01-05\t10:00", None),
        ("%Y%m%d", "2023105", None),
        ("%-m%d%Y", "1122023", None),
        ("%d/%m/%Y", "5/1/2023", "2023-01-05"),
        (" %Y-%m-%d ", " 2023-01-05 ", "2023-01-05"),
        (" %Y-%m-%d ", "2023-01-05", None),
        (" %Y-%m-%d ", "  2023-01-05 ", None),
        ("%a %d %b %Y", "thu 05 JAN 2023", "2023-01-05"),
        ("%a %d %b %Y", "Fri 05 Jan 2023", None),
        ("%Y-%m-%d %j", "2023-01-05 006", None),
        ("%Y-%m-%d %H:%M %p", "2023-01-05 11:59 PM", None),
        ("%Y-%U-%w", "2023-53-6", None),
        ("%G-W%V-%u", "2023-W53-1", None),
        ("%G-W%V-%u", "2020-W53-1", "2020-12-28"),
        ("%Y-%m-%d%z", "2023-01-05+25:00", None),
        ("%Y-%m-%d%z", "2023-01-05+02:99", None),
        ("%Y-%m-%d%z", "2023-01-05+00:00:30", None),
        ("%Y-%m-%d%%z", "2023-01-05%z", "2023-01-05"),
        ("%z %Y-%m-%d", "Z 2023-01-05", "2023-01-05"),
        ("%Y-%m-%d.%f", "2023-01-05.1234567", None),
    ],
)
def test_examples(connection: duckdb.DuckDBPyConnection, pattern: str, text: str, expected: str | None) -> None:
    """What is exactly of the pattern, by example."""
    wanted = dt.datetime.fromisoformat(expected) if expected else None
    assert read(connection, pattern, [text]) == [wanted]


def test_every_pair_of_neighbours_reads_what_it_writes(connection: duckdb.DuckDBPyConnection) -> None:
    """Directives that touch, or stand beside literal digits: DuckDB's own text is read as the moment it was made of."""
    moments = [dt.datetime(2023, 1, 5, 3, 4, 9), dt.datetime(2024, 12, 31, 23, 59, 59)]  # noqa: DTZ001
    for first, second in itertools.permutations(["%m", "%-d", "%H", "%M", "%S", "%j", "7"], 2):
        pattern = f"{first}{second} %Y-%m-%d %H:%M:%S"
        for moment in moments:
            text = connection.execute("SELECT strftime(?::TIMESTAMP, ?)", [moment, pattern]).fetchone()
            assert text is not None
            found = read(connection, pattern, [text[0]])[0]
            assert found == moment or ("%-d" in pattern and moment.day < 10), (pattern, text)
