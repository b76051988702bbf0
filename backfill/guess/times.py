"""Which texts and numbers are times, and how they are written: by their values, never by the first that fits.

A text is taken apart into date, clock, fraction, half of the day and zone; what its columns' other values say decides
whether day or month comes first, and where none does, that stays open.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace

import polars as pl

from backfill.frozen import frozen
from backfill.guess.names import DATED, TIMELY, has_word
from backfill.job.times import has_offset
from backfill.sources.sql.casts import ISO8601
from backfill.timestamps import EXCEL_EPOCH_DAYS

#: A share of values from which on a column is what they are; the others will be problems, which is said.
NEARLY = 0.95
#: 1973 to 2100, in seconds: so no number is plausible in two units.
_EPOCH_RANGE = (94_694_400, 4_102_444_800)
_EPOCH_UNITS = {"epoch_s": 1, "epoch_ms": 10**3, "epoch_us": 10**6, "epoch_ns": 10**9}
#: Dates in digits, which tell themselves by their months and days: also those of births, and of old measurements.
_DATE_RANGE = (16_000_101, 21_001_231)
_DAY_SECONDS = 86_400
_MONTHS = 12
_MOST_SHAPES = 60  # of digits and letters, in one column of times
_CLOCK = r"(?P<gap>[T ]|, )(?P<clock>\d{1,2}:\d{2})(?P<seconds>:\d{2})?(?P<fraction>\.\d{1,9})?(?P<half> ?[AaPp][Mm])?"
_ZONE = r"(?P<zone> ?(?:Z|UTC|GMT|[+-]\d{2}:?\d{2}|[+-]\d{2}))?"
_DATE = (
    r"(?P<ymd>\d{4}(?P<s1>[-/.])\d{1,2}(?P=s1)\d{1,2})",
    r"(?P<dmy>\d{1,2}(?P<s2>[-/.])\d{1,2}(?P=s2)(?P<year>\d{4}|\d{2}))",
    r"(?P<digits>\d{8})",
    r"(?P<week>[A-Za-z]{3,9},? )?(?P<dmon>\d{1,2}(?P<s3>[- ])[A-Za-z]{3,9}(?P=s3)(?P<year2>\d{4}|\d{2}))",
    r"(?P<week2>[A-Za-z]{3,9},? )?(?P<mond>[A-Za-z]{3,9} \d{1,2},? \d{4})",
)
_TIMES = tuple(re.compile(f"{date}(?:{_CLOCK}{_ZONE})?") for date in _DATE)
#: What an offset or Z at the end looks like, in ISO 8601.
_OFFSET = r"(?:[Zz]|\d[+-]\d{2}(?::?\d{2})?)$"
_SHORT_NAME = 3


#: A strptime pattern, or several to be tried in order.
Patterns = str | tuple[str, ...]


@frozen
class Reading:
    """How a column's values are read as times."""

    format: Patterns | None = None  # None: a timestamp already, or ISO 8601
    naive: bool = False
    days: bool = False  # dates without a time
    other: Patterns | None = None  # with day and month the other way round, where nothing decides
    why: str = ""
    example: str = ""  # a text without zone
    of_numbers: bool = False  # the column holds numbers, and not times, by its name: to be confirmed


def of_text(values: pl.Series) -> Reading | None:
    """The reading of a column's texts (no nulls), None where they are no times."""
    iso = values.str.contains(f"^(?:{ISO8601})$")
    if _most(iso):
        offset = values.str.contains(_OFFSET) & (values.str.len_chars() > len("2024-01-02"))
        days = bool((values.filter(iso).str.len_chars() == len("2024-01-02")).all())
        said = int(offset.sum())
        why = "ISO 8601, with its offset" if said else "ISO 8601, no zone"
        why = f"ISO 8601, {said:,} of {len(values):,} with an offset" if 0 < said < iso.sum() else why
        local = values.filter(iso & ~offset)
        naive = len(local) > (1 - NEARLY) * len(values)  # of few, it is theirs to be problems
        return Reading(naive=naive, days=days, why=why, example=local[0] if len(local) else "")
    if len(values) and values[0].startswith(" ") and (values.str.head(1) == " ").all():  # behind a comma, say
        return _behind_blank(_by_shape(values.str.slice(1)))
    return _by_shape(values)


def _behind_blank(reading: Reading | None) -> Reading | None:
    """The reading of times before each of which stands a blank."""
    if reading is None or reading.format is None:
        return None
    one, other = (_formats(f" {each}" for each in _several(some)) for some in (reading.format, reading.other or ()))
    return replace(reading, format=one, other=other or None)


def _several(some: Patterns) -> tuple[str, ...]:
    return (some,) if isinstance(some, str) else some


def _by_shape(values: pl.Series) -> Reading | None:
    shapes = values.str.replace_all(r"\d", "0").str.replace_all("[A-Za-z]", "a")
    counted = pl.DataFrame({"shape": shapes, "value": values}).group_by("shape", maintain_order=True)
    found = counted.agg(pl.len().alias("n"), pl.col("value").unique(maintain_order=True).head(4))
    if len(found) > _MOST_SHAPES:
        return None
    patterns: dict[str, int] = {}
    for count, examples in zip(found["n"], found["value"], strict=True):
        written = {_pattern(one) for one in examples}
        for pattern in written - {None} if None not in written else ():
            patterns[str(pattern)] = patterns.get(str(pattern), 0) + int(count)
    if not patterns or sum(patterns.values()) < NEARLY * len(values):
        return None
    return _ordered(_merged(patterns), values)


def _pattern(text: str) -> str | None:
    """The strptime pattern of one text, with <1> and <2> for a day and a month in an order not known yet."""
    for known in _TIMES:
        match = known.fullmatch(text)
        if match is not None:
            return _written(match.groupdict())
    return None


def _written(part: dict[str, str | None]) -> str:
    year = "%Y" if len(part.get("year") or part.get("year2") or "0000") > len("24") else "%y"
    if part.get("ymd"):
        date = f"%Y{part['s1']}%m{part['s1']}%d"
    elif part.get("dmy"):
        date = f"<1>{part['s2']}<2>{part['s2']}{year}"
    elif part.get("digits"):
        date = "%Y%m%d"
    else:
        date = _with_names(part, year)
    clock = ""
    if part["clock"]:
        hour = "%I" if part["half"] else "%H"
        seconds = "%S%.f" if part["fraction"] else "%S" if part["seconds"] else ""
        half = "" if not part["half"] else " %p" if part["half"].startswith(" ") else "%p"
        clock = f"{part['gap']}{hour}:%M{':' if seconds else ''}{seconds}{half}{_zone(part['zone'] or '')}"
    return date + clock


def _with_names(part: dict[str, str | None], year: str) -> str:
    week = part.get("week") or part.get("week2") or ""
    day_name = re.sub("[A-Za-z]+", "%a" if len(week.rstrip(", ")) == _SHORT_NAME else "%A", week)
    text = part.get("dmon") or part.get("mond") or ""
    name = re.findall("[A-Za-z]+", text)[0]
    month = "%b" if len(name) == _SHORT_NAME else "%B"
    if part.get("dmon"):
        return f"{day_name}%d{part['s3']}{month}{part['s3']}{year}"
    return f"{day_name}{month} %d{',' if ',' in text else ''} %Y"


def _zone(text: str) -> str:
    return re.sub(r"[+-].*", "%z", text)


def _merged(patterns: dict[str, int]) -> list[str]:
    """The patterns, those that most values are of first; one whose fraction may be missing stands for both."""
    most = sorted(patterns, key=lambda one: (-patterns[one], one))
    return [one for one in most if "%.f" in one or "%S" not in one or one.replace("%S", "%S%.f") not in patterns]


def _ordered(patterns: list[str], values: pl.Series) -> Reading | None:
    """The reading by these patterns, day and month in the order that the values say."""
    zoned = {has_offset(one) for one in patterns}
    if len(zoned) > 1:
        return None  # some say a zone and others none: nothing reads both
    reading = Reading(naive=not zoned.pop(), days=not any("%H" in one or "%I" in one for one in patterns))
    if not any("<1>" in one for one in patterns):
        return replace(reading, format=_formats(patterns), why="of all values")
    day_first, month_first = (
        _formats(one.replace("<1>", a).replace("<2>", b) for one in patterns) for a, b in (("%d", "%m"), ("%m", "%d"))
    )
    return _decided(replace(reading, format=day_first, other=month_first), patterns, values)


def _decided(either: Reading, patterns: list[str], values: pl.Series) -> Reading | None:
    """The one of two readings, day first and month first, that the largest numbers say; without one, both."""
    day_first, month_first = replace(either, other=None), replace(either, format=either.other, other=None)
    numbers = values.str.extract_groups(r"^(?<one>\d{1,2})[-/.](?<two>\d{1,2})[-/.]").struct.unnest()
    first, second = (_largest(numbers[name]) for name in ("one", "two"))
    dots = all("<1>." in one for one in patterns)
    if min(first, second) > _MONTHS:
        return None
    if all("%y" in one for one in patterns) and _least(numbers["one"]) > _MONTHS:
        years = _formats(one.replace("%y", "%d").replace("<1>", "%y").replace("<2>", "%m") for one in patterns)
        return replace(either, other=years, why=f'"{values[0]}" may begin with its year')
    if first > _MONTHS or (dots and second <= _MONTHS):
        why = f"the first number goes to {first}: a day" if first > _MONTHS else "with dots, the day comes first"
        return replace(day_first, why=why)
    if second > _MONTHS:
        return replace(month_first, why=f"the second number goes to {second}: a day")
    return replace(either, why=f'"{values[0]}" may be either')


def _least(texts: pl.Series) -> int:
    return int(texts.cast(pl.Int64, strict=False).min() or 0)  # type: ignore[arg-type]


def _largest(texts: pl.Series) -> int:
    return int(texts.cast(pl.Int64, strict=False).max() or 0)  # type: ignore[arg-type]


def _formats(patterns: Iterable[str]) -> Patterns:
    found = tuple(patterns)
    return found[0] if len(found) == 1 else found


def of_numbers(values: pl.Series, name: str, *, whole: bool) -> Reading | None:
    """The reading of a column's numbers (Float64 or Int64, no nulls): an epoch, serial days, or a date in digits."""
    timely = has_word(name, TIMELY)
    for unit, factor in _EPOCH_UNITS.items():
        inside = values.is_between(_EPOCH_RANGE[0] * factor, _EPOCH_RANGE[1] * factor)
        if _most(inside) and (timely or values.n_unique() > 1):
            first, last = _years(values.filter(inside), factor)
            why = f"{unit[6:]} since 1970: {first} to {last}" if first != last else f"{unit[6:]} since 1970: {first}"
            return Reading(unit, why=why, of_numbers=not timely)
    if not timely:
        return None
    if whole and _most(values.is_between(*_DATE_RANGE)) and _most(_calendar(values)):
        return Reading("%Y%m%d", naive=True, days=True, why="a date in digits")
    if not has_word(name, DATED):
        return None
    serials = values.is_between(EXCEL_EPOCH_DAYS, EXCEL_EPOCH_DAYS + _EPOCH_RANGE[1] // _DAY_SECONDS)
    if _most(serials):
        days = values.filter(serials) - EXCEL_EPOCH_DAYS
        first, last = _years(days * _DAY_SECONDS, 1)
        return Reading("excel", naive=True, why=f"a spreadsheet's days: {first} to {last}")
    return None


def _calendar(values: pl.Series) -> pl.Series:
    return values.cast(pl.Int64, strict=False).cast(pl.String).str.to_date("%Y%m%d", strict=False).is_not_null()


def _years(values: pl.Series, factor: int) -> tuple[int, int]:
    seconds = (values / factor).cast(pl.Int64, strict=False)
    years = pl.DataFrame({"t": [seconds.min(), seconds.max()]}).select(pl.from_epoch("t").dt.year())["t"].to_list()
    return years[0], years[1]


def _most(mask: pl.Series) -> bool:
    return len(mask) > 0 and float(mask.mean() or 0) >= NEARLY  # type: ignore[arg-type]
