"""Instants as columns, against the standard library's calendar and `zoneinfo`."""

from datetime import UTC, date, datetime, time, timedelta
from fractions import Fraction
from zoneinfo import ZoneInfo

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backfill import timestamps

# One hour, half an hour, two hours, none; north and south; gaps at midnight; a skipped day; fractions of an hour.
ZONES = [
    "America/New_York",
    "America/Sao_Paulo",
    "America/St_Johns",
    "Antarctica/Troll",
    "Asia/Kathmandu",
    "Australia/Lord_Howe",
    "Europe/Dublin",
    "Europe/London",
    "Pacific/Apia",
    "UTC",
]
FIRST = datetime(1, 1, 1)  # noqa: DTZ001  naive UTC, as polars has it
EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001  naive UTC, as polars has it
LAST = datetime(9999, 12, 31, 23, 59, 59, 999_999)  # noqa: DTZ001
#: Polars' zone rules are written out up to here; from 2100 on its clocks stay on standard time.
RULES_END = datetime(2099, 12, 30)  # noqa: DTZ001

walls = st.datetimes(EPOCH + timedelta(days=1), RULES_END)
instants = st.datetimes()


def readings(wall: datetime, zone: str) -> list[datetime]:
    """The instants (naive UTC, ascending) at which clocks in the zone show that time: none, one or two of them."""
    place = ZoneInfo(zone)
    found = set()
    for fold in (0, 1):
        offset = wall.replace(tzinfo=place, fold=fold).utcoffset()
        assert offset is not None
        instant = wall - offset
        if instant.replace(tzinfo=UTC).astimezone(place).replace(tzinfo=None, fold=0) == wall:
            found.add(instant)
    return sorted(found)


def after_gap(wall: datetime, zone: str) -> datetime:
    """The first whole second at which the zone's clocks are past a time that they never showed, by looking at each."""
    place = ZoneInfo(zone)
    at = wall - timedelta(hours=30)
    for step in (timedelta(hours=1), timedelta(minutes=1), timedelta(seconds=1)):
        at = at.replace(minute=0, second=0, microsecond=0) if step == timedelta(hours=1) else at
        while (at + step).replace(tzinfo=UTC).astimezone(place).replace(tzinfo=None) < wall:
            at += step
    return at + timedelta(seconds=1)


def changes(zone: str, years: range) -> list[datetime]:
    """Wall-clock times around every change of the zone's offset in those years, to the half hour."""
    place = ZoneInfo(zone)
    near: list[datetime] = []
    for year in years:
        day = datetime(year, 1, 1)  # noqa: DTZ001
        while day.year == year:
            following = day + timedelta(days=1)
            if day.replace(tzinfo=place).utcoffset() != following.replace(tzinfo=place).utcoffset():
                near += [day + timedelta(minutes=30 * step) for step in range(-8, 56)]
            day = following
    return near


def converted(moments: list[datetime], zone: str, ambiguous: str, nonexistent: str) -> list[datetime | None]:
    """What `to_utc` makes of some wall-clock times."""
    frame = pl.DataFrame({"wall": moments}, schema={"wall": pl.Datetime("us")})
    expression = timestamps.to_utc(pl.col("wall"), zone, ambiguous, nonexistent)
    return frame.select(expression).to_series().to_list()


def expected(wall: datetime, zone: str, ambiguous: str, nonexistent: str) -> datetime | None:
    """What it should make of one."""
    found = readings(wall, zone)
    if not found:
        return after_gap(wall, zone) if nonexistent == "shift_forward" else None
    if len(found) == 1:
        return found[0]
    return {"earliest": found[0], "latest": found[1], "error": None}[ambiguous]


@pytest.mark.parametrize("zone", ZONES)
@pytest.mark.parametrize("nonexistent", ["error", "shift_forward"])
@pytest.mark.parametrize("ambiguous", ["earliest", "latest", "error"])
def test_policies_around_every_change(zone: str, ambiguous: str, nonexistent: str) -> None:
    """Near each change of the clocks, every policy gives what `zoneinfo` says, in all zones."""
    moments = changes(zone, range(2009, 2013)) + changes(zone, range(2096, 2099)) + changes(zone, range(2101, 2103))
    made = converted(moments, zone, ambiguous, nonexistent)
    assert made == [expected(wall, zone, ambiguous, nonexistent) for wall in moments]


@given(st.lists(walls, min_size=1, max_size=30), st.sampled_from(ZONES))
def test_any_wall_clock(moments: list[datetime], zone: str) -> None:
    """Any wall clock to the microsecond, from 1970 to 2099, is the instant that `zoneinfo` says."""
    made = converted(moments, zone, "earliest", "error")
    assert made == [expected(wall, zone, "earliest", "error") for wall in moments]
    frame = pl.DataFrame({"wall": moments}, schema={"wall": pl.Datetime("us")})
    never = frame.select(timestamps.is_nonexistent(pl.col("wall"), zone)).to_series().to_list()
    assert never == [not readings(wall, zone) for wall in moments]


def test_a_skipped_day() -> None:
    """Samoa had no 30 December 2011: all of it moves to the midnight after, 10:00 UTC."""
    moments = [datetime(2011, 12, 30, hour, 1, 2) for hour in range(24)]  # noqa: DTZ001
    assert set(converted(moments, "Pacific/Apia", "error", "shift_forward")) == {datetime(2011, 12, 30, 10)}  # noqa: DTZ001
    assert set(converted(moments, "Pacific/Apia", "error", "error")) == {None}


def test_nulls_stay_null() -> None:
    """A null is neither an instant nor a time that never was."""
    frame = pl.DataFrame({"wall": [None, datetime(2024, 3, 10, 2, 30)]}, schema={"wall": pl.Datetime("us")})  # noqa: DTZ001
    made = frame.select(
        timestamps.to_utc(pl.col("wall"), "America/New_York", "earliest", "shift_forward").alias("shifted"),
        timestamps.is_nonexistent(pl.col("wall"), "America/New_York").alias("never"),
        timestamps.iso_milliseconds(pl.col("wall")).alias("iso"),
        timestamps.iso_key(pl.col("wall")).alias("key"),
    )
    assert made.row(0) == (None, False, None, None)
    assert made.row(1) == (datetime(2024, 3, 10, 7), True, "2024-03-10T02:30:00.000Z", "2024-03-10T02:30:00.000000Z")  # noqa: DTZ001


@pytest.mark.parametrize("unit", ["ms", "us", "ns"])
def test_units_keep_their_digits(unit: str) -> None:
    """Wall clocks of any unit convert without losing digits."""
    wall = pl.Series("wall", [1_710_054_000_123_456_789 // {"ms": 10**6, "us": 10**3, "ns": 1}[unit]]).cast(
        pl.Datetime(unit)  # type: ignore[arg-type]
    )
    zone, column = "America/New_York", pl.col("wall")
    below = timestamps.nanoseconds(column, zone) if unit == "ns" else None
    made = wall.to_frame().select(timestamps.iso_key(timestamps.to_utc(column, zone, "error", "error"), below))
    digits = {"ms": "123000", "us": "123456", "ns": "123456789"}[unit]
    assert made.item() == f"2024-03-10T11:00:00.{digits}Z"


@given(st.lists(instants, min_size=1, max_size=30))
def test_iso_forms(moments: list[datetime]) -> None:
    """From year 1 to 9999: milliseconds are cut, keys have six digits, zone-aware columns say the same."""
    frame = pl.DataFrame({"at": moments}, schema={"at": pl.Datetime("us")})
    aware = pl.col("at").dt.replace_time_zone("UTC")
    made = frame.select(
        timestamps.iso_milliseconds(pl.col("at")).alias("iso"),
        timestamps.iso_milliseconds(aware).alias("aware"),
        timestamps.iso_key(pl.col("at")).alias("key"),
    )
    assert made["iso"].to_list() == [f"{at.isoformat(timespec='microseconds')[:-3]}Z" for at in moments]
    assert made["aware"].equals(made["iso"])
    assert made["key"].to_list() == [f"{at.isoformat(timespec='microseconds')}Z" for at in moments]


@given(st.lists(st.integers(-(2**62), 2**62), min_size=1, max_size=30))
def test_nanosecond_keys(counts: list[int]) -> None:
    """Keys show nine digits only where the last three are not all zero, before 1970 too."""
    frame = pl.DataFrame({"at": pl.Series(counts).cast(pl.Datetime("ns"))})
    made = frame.select(timestamps.iso_key(pl.col("at")).alias("key"), timestamps.iso_milliseconds(pl.col("at")))
    for count, (key, iso) in zip(counts, made.rows(), strict=True):
        micros, rest = divmod(count, 1000)
        text = (EPOCH + timedelta(microseconds=micros)).isoformat(timespec="microseconds")
        assert key == (f"{text}{rest:03d}Z" if rest else f"{text}Z")
        assert iso == f"{text[:-3]}Z"


@given(st.lists(st.times(), min_size=1, max_size=30))
def test_times_of_day(times: list[time]) -> None:
    """A time of day has six digits of fraction, or none."""
    made = pl.DataFrame({"at": times}).select(timestamps.iso_time(pl.col("at"))).to_series().to_list()
    assert made == [at.isoformat() for at in times]


UNITS = {"epoch_s": 10**6, "epoch_ms": 10**3, "epoch_us": 1, "epoch_ns": Fraction(1, 1000)}


def in_calendar(micros: int) -> datetime | None:
    """The instant that many microseconds after 1970; None where no calendar date is."""
    try:
        return EPOCH + timedelta(microseconds=micros)
    except OverflowError:
        return None


def from_epoch(numbers: list[int] | list[float], unit: str, dtype: type[pl.DataType]) -> list[datetime | None]:
    """What is made of some numbers of that type."""
    frame = pl.DataFrame({"number": numbers}, schema={"number": dtype})
    read = timestamps.from_float_epoch if dtype is pl.Float64 else timestamps.from_epoch
    return frame.select(read(pl.col("number"), unit)).to_series().to_list()


@given(st.lists(st.integers(-(2**63), 2**63 - 1) | st.integers(0, 2**41), min_size=1), st.sampled_from(list(UNITS)))
def test_whole_epochs(numbers: list[int], unit: str) -> None:
    """Whole numbers of any unit are exact, cut to the microsecond below; no date at all where the calendar ends."""
    expected_instants = [in_calendar(int(number * UNITS[unit] // 1)) for number in numbers]
    assert from_epoch(numbers, unit, pl.Int64) == expected_instants


@pytest.mark.parametrize("dtype", [pl.Int64, pl.Float64])
@pytest.mark.parametrize(
    ("unit", "last"),
    [("epoch_s", 253_402_300_799), ("epoch_ms", 253_402_300_799_999), ("epoch_us", 253_402_300_799_999_999)],
)
def test_the_ends_of_the_calendar(unit: str, last: int, dtype: type[pl.DataType]) -> None:
    """The year 9999 still is one, the year 10000 is null, also where doubles are too coarse to tell the two apart."""
    beyond = last + 1 if last < 2**53 else last + 64
    made = from_epoch([last if last < 2**53 else last - 64, beyond], unit, dtype)
    assert made[0] is not None
    assert made[0].date() == date(9999, 12, 31)
    assert made[1] is None


@given(
    st.lists(st.floats(-6e10, 2.5e11) | st.floats(-2, 2) | st.just(-5e-324), min_size=1, max_size=30),
    st.sampled_from(list(UNITS)),
)
def test_fractional_epochs(numbers: list[float], unit: str) -> None:
    """Doubles are cut to the microsecond below, or are the next ones to the microsecond that they are read as."""
    made = from_epoch(numbers, unit, pl.Float64)
    for number, instant in zip(numbers, made, strict=True):
        exact = Fraction(number) * UNITS[unit]
        if in_calendar(int(exact // 1)) is None or in_calendar(int(exact // 1) + 1) is None:
            continue
        assert instant is not None
        beyond = (instant - EPOCH) // timedelta(microseconds=1) - exact
        assert -1 - abs(exact) / 2**52 < beyond <= abs(exact) / 2**51


@given(st.integers(-(10**13), 10**13))
def test_microseconds_that_doubles_tell_apart(micros: int) -> None:
    """Seconds with six decimal places are those microseconds, though no double is 1.1."""
    assert from_epoch([micros / 1_000_000], "epoch_s", pl.Float64) == [in_calendar(micros)]


@given(
    st.lists(st.from_regex(r"[+-]?[0-9]{1,21}(\.[0-9]{1,12})?", fullmatch=True), min_size=1, max_size=30),
    st.sampled_from(list(UNITS)),
)
def test_epochs_in_text(texts: list[str], unit: str) -> None:
    """Digits are read exactly, however many, and cut to the microsecond below: nothing before 1970 gets into it."""
    made = pl.DataFrame({"text": texts}).select(timestamps.from_epoch_text(pl.col("text"), unit)).to_series()
    assert made.to_list() == [in_calendar(int(Fraction(text) * UNITS[unit] // 1)) for text in texts]


@pytest.mark.parametrize("text", ["", "1e5", " 1", "1.", ".5", "--1", "0x1", "١"])
def test_text_that_is_no_epoch(text: str) -> None:
    """Anything else is null."""
    assert pl.DataFrame({"text": [text]}).select(timestamps.from_epoch_text(pl.col("text"), "epoch_s")).item() is None


def test_numbers_that_are_no_epoch() -> None:
    """NaN, infinities and numbers beyond the calendar are null, never an instant and never a crash."""
    assert from_epoch([float("nan"), float("inf"), -float("inf"), 1e300], "epoch_ms", pl.Float64) == [None] * 4


def test_an_instant_beyond_the_calendar_is_null() -> None:
    """The last hours of 9999 in New York lie in the year 10000, which ISO 8601's four digits cannot say."""
    assert converted([LAST], "America/New_York", "earliest", "shift_forward") == [None]
    assert converted([FIRST], "Asia/Kathmandu", "earliest", "shift_forward") == [None]


@given(
    st.lists(st.none() | st.integers(0, 3 * 86_400_000), max_size=40),
    st.datetimes() | st.sampled_from([FIRST, EPOCH, LAST - timedelta(days=4)]),
    st.sampled_from(["ms", "us", "ns"]),
)
def test_many_instants_of_few_days(parts: list[int | None], start: datetime, unit: str) -> None:
    """Instants that lie close together are written as each alone would be, in any unit, nulls among them."""
    start = min(start, LAST - timedelta(days=4))
    start = min(max(start, datetime(1700, 1, 1)), datetime(2200, 1, 1)) if unit == "ns" else start  # noqa: DTZ001
    whole = [None if part is None else start + timedelta(milliseconds=part) for part in parts]
    dtype = pl.Datetime(unit)  # type: ignore[arg-type]
    frame = pl.DataFrame({"x": pl.Series(whole, dtype=pl.Datetime("us")).cast(dtype)})
    expected = [None if value is None else f"{value.isoformat(timespec='milliseconds')}Z" for value in whole]
    for column in (pl.col("x"), pl.col("x").dt.replace_time_zone("UTC")):
        assert frame.select(timestamps.iso_milliseconds(column))["x"].to_list() == expected


def test_days_too_far_apart_for_a_table() -> None:
    """One instant of the year 1 and one of 9999 among others of one day."""
    many = [EPOCH + timedelta(milliseconds=7 * number) for number in range(1_000)]
    values = [FIRST, *many, LAST]
    made = pl.DataFrame({"x": values}).select(timestamps.iso_milliseconds(pl.col("x")))["x"].to_list()
    assert made == [f"{value.isoformat(timespec='milliseconds')}Z" for value in values]
