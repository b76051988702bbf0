"""What a job says of time: zones, formats, constants. All of it can be judged before a row is read."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

from backfill.document import Faults, suggest
from backfill.job.models import TimestampSpec

EPOCHS = ("epoch_s", "epoch_ms", "epoch_us", "epoch_ns")
#: Days since the end of 1899, their fraction the time of day: what a spreadsheet keeps where it shows a date.
EXCEL = "excel"
FORMATS = ("iso8601", *EPOCHS, EXCEL)
#: Directives of DuckDB's strptime (https://duckdb.org/docs/stable/sql/functions/dateformat). %Z is left out: an
#: abbreviation such as CST names several zones.
_DIRECTIVE = re.compile(r"%(\.f|-?.|$)")
#: Words that say UTC where they stand in a pattern as they are.
_UTC_WORD = re.compile(r"(?<![A-Za-z])(?:UTC|GMT|Z)(?![A-Za-z])")
_UTC = ("UTC", "GMT", "Etc/UTC", "Etc/GMT")
_DATE_PARTS = {
    "Y": "Ymd",
    "y": "Ymd",
    "m": "m",
    "-m": "m",
    "b": "m",
    "B": "m",
    "d": "d",
    "-d": "d",
    "j": "md",
    "-j": "md",
}
_KNOWN = {*"aAwdbBmyYHIpMSgfzjUWGVuxXcn%", ".f", "-d", "-m", "-y", "-H", "-I", "-M", "-S", "-j"}
_SOURCES = ("column", "sql", "value")
_NAMED = "zones have IANA names, such as America/New_York or UTC"
#: Files beside the database's that are a machine's own setting, or say that nothing was set.
_NO_ZONES = {"Factory", "localtime", "posixrules"}
_COPIES = ("posix/", "right/")
#: Zones of the database that are one offset all year: a place whose clocks have that name in winter, hours behind UTC.
_WITHOUT_SUMMER = {"EST": ("America/New_York", 5), "MST": ("America/Denver", 7)}
#: What abbreviations, and Windows' names, most often mean. Several zones share each, so that none is taken for it.
_MEANT = {
    **dict.fromkeys(("PST", "PDT", "PT", "PACIFIC"), "America/Los_Angeles"),
    **dict.fromkeys(("MDT", "MT", "MOUNTAIN"), "America/Denver"),
    **dict.fromkeys(("CST", "CDT", "CT", "CENTRAL"), "America/Chicago"),
    **dict.fromkeys(("EDT", "ET", "EASTERN"), "America/New_York"),
    **dict.fromkeys(("AKST", "AKDT"), "America/Anchorage"),
    "BST": "Europe/London",
    **dict.fromkeys(("CEST", "MEZ", "MESZ", "W. EUROPE", "CENTRAL EUROPE"), "Europe/Berlin"),
    "EEST": "Europe/Helsinki",
    "MSK": "Europe/Moscow",
    **dict.fromkeys(("IST", "INDIA"), "Asia/Kolkata"),
    **dict.fromkeys(("SGT", "SINGAPORE"), "Asia/Singapore"),
    "HKT": "Asia/Hong_Kong",
    **dict.fromkeys(("JST", "TOKYO"), "Asia/Tokyo"),
    **dict.fromkeys(("KST", "KOREA"), "Asia/Seoul"),
    **dict.fromkeys(("AEST", "AEDT", "AUS EASTERN"), "Australia/Sydney"),
    **dict.fromkeys(("NZST", "NZDT", "NEW ZEALAND"), "Pacific/Auckland"),
}


def check_format(faults: Faults, name: str | None, path: str) -> None:
    """Note a format that is neither one of the words nor a pattern, or several, that gives a whole date."""
    if name is None or name in FORMATS:
        return
    if "\n" in name:
        _check_patterns(faults, name.split("\n"), path)
    else:
        _check_pattern(faults, name, path)


def _check_patterns(faults: Faults, patterns: list[str], path: str) -> None:
    for place, pattern in enumerate(patterns):
        if pattern in FORMATS and pattern != EXCEL:
            faults.add(f"{path}[{place}]", f"{pattern} stands alone", "a list is of strptime patterns, and excel")
        elif pattern != EXCEL:
            _check_pattern(faults, pattern, f"{path}[{place}]")
    if len({has_offset(pattern) for pattern in patterns}) > 1:
        faults.add(path, "has patterns with an offset beside others without", "let all of them have one, or none")


def _check_pattern(faults: Faults, name: str, path: str) -> None:
    if "%" not in name:
        hint = suggest(name, FORMATS) or "a pattern has directives, such as %Y-%m-%d %H:%M:%S"
        faults.add(path, f'there is no format "{name}"', hint)
        return
    directives = [match[1] for match in _DIRECTIVE.finditer(name)]
    unknown = [directive for directive in directives if directive not in _KNOWN]
    if "s" in unknown:
        faults.add(path, "%s is not a directive here", "seconds since 1970 are the format epoch_s")
    elif "Z" in unknown:
        faults.add(path, "%Z is not taken: abbreviations name several zones", "use %z for offsets, or state `timezone`")
    elif unknown:
        faults.add(path, f"%{unknown[0]} is not a directive", "as in strptime: %Y %m %d %H %M %S %f %z ...")
    elif not gives_date(directives):
        faults.add(
            path,
            f'"{name}" does not give year, month and day',
            'what is missing can be said in SQL, such as `timestamp: {sql: "make_date(year, 1, 1)"}` of an integer',
        )
    elif {"I", "-I"} & set(directives) and "p" not in directives:
        faults.add(path, "%I is an hour of twelve, and no %p says which", "use %H for hours of 24, or add %p")


def gives_date(directives: list[str]) -> bool:
    """Whether the directives together name one day."""
    if {"c", "x"} & set(directives) or {"G", "V"} <= set(directives):
        return True
    if {"U", "W"} & set(directives) and {"Y", "y", "-y"} & set(directives):
        return True
    year = bool({"Y", "y", "-y"} & set(directives))
    parts = "".join(_DATE_PARTS.get(directive, "") for directive in directives if directive not in ("Y", "y"))
    return year and "m" in parts and "d" in parts


def has_offset(name: str | None) -> bool:
    """Whether every text of this format says its zone: by an offset or a word (an epoch is UTC by nature)."""
    return name in EPOCHS or (name is not None and ("%z" in name.replace("%%", "") or says_utc(name)))


def says_utc(pattern: str) -> bool:
    """Whether a pattern, or each of several, has the word UTC, GMT or Z in it, and so reads instants."""
    return all(_UTC_WORD.search(_DIRECTIVE.sub(" ", one)) for one in pattern.split("\n")) and pattern not in FORMATS


def check_timestamp(faults: Faults, spec: TimestampSpec, path: str) -> None:
    """Note what is wrong with a call's timestamp, whatever the source holds."""
    given = [name for name in _SOURCES if getattr(spec, name) is not None]
    if len(given) != 1 and not faults.is_broken(*(f"{faults.positions.written(path)}.{name}" for name in _SOURCES)):
        found = " and ".join(f"`{name}`" for name in given) or "none of them"
        faults.add(path, f"has {found}; exactly one of `column`, `sql` and `value` is wanted")
    check_format(faults, spec.format, f"{path}.format")
    check_zone(faults, spec.timezone, f"{path}.timezone")
    if spec.sql is not None and spec.format is not None and spec.format not in EPOCHS:
        hint = "make a timestamp of it in the expression: strptime(...), or CAST(... AS TIMESTAMP)"
        faults.add(f"{path}.format", "beside `sql` is for epochs only: an expression gives a timestamp", hint)
    stated_twice = spec.timezone in _UTC and spec.format is not None and says_utc(spec.format)
    if spec.timezone and not stated_twice and (has_offset(spec.format) or spec.value is not None):
        faults.add(f"{path}.timezone", "says nothing: the text carries its own zone", "leave it out")
    if spec.value is not None:
        check_constant(faults, spec, path)


def check_constant(faults: Faults, spec: TimestampSpec, path: str) -> None:
    """Note a constant that is not a timestamp, is before 1970, or has no zone."""
    inside = f"{path}.value"
    if spec.format not in (None, "iso8601"):
        faults.add(f"{path}.format", "a constant is ISO 8601", "leave `format` out")
    try:
        moment = datetime.fromisoformat(spec.value or "")
    except ValueError:
        faults.add(inside, f'"{spec.value}" is not an ISO 8601 timestamp', "write it as 2024-01-31T12:00:00Z")
        return
    if moment.tzinfo is None:
        faults.add(inside, "has no zone", "end it with Z or an offset such as +02:00")
    if moment.replace(tzinfo=moment.tzinfo or UTC).timestamp() < 0:
        faults.add(inside, "is before 1970, which targets do not always take in")


def check_zone(faults: Faults, zone: str | None, path: str) -> None:
    """Note a zone that is not in the IANA database, or that has no summer where its name's places have one."""
    if zone is None or faults.full:
        return
    if zone in _WITHOUT_SUMMER:
        place, behind = _WITHOUT_SUMMER[zone]
        hint = f"{place} has it; Etc/GMT+{behind} is {behind} hours behind UTC all year"
        faults.add(path, f'the zone "{zone}" has no daylight saving time', hint)
    elif not is_zone(zone):
        faults.add(path, f'there is no time zone "{zone}"', _hint(zone))


def _hint(zone: str) -> str:
    offset = re.fullmatch(r"(?:UTC|GMT)?([+-])(\d{1,2})(?::?00)?", zone)
    if offset and int(offset[2]):
        return f"write Etc/GMT{'-' if offset[1] == '+' else '+'}{int(offset[2])} (its sign is the other way round)"
    meant = _MEANT.get(zone.upper().removesuffix(" STANDARD TIME"))
    if meant:
        return f"write {meant}, if that is what is meant: {_NAMED}"
    return suggest(zone, available_timezones() - _NO_ZONES) or _NAMED


def is_zone(zone: str) -> bool:
    """Whether the IANA database has the zone, and it is one: not a machine's own, nor a copy of the database's."""
    if zone in _NO_ZONES or zone.startswith(_COPIES):
        return False
    try:
        ZoneInfo(zone)
    except (ZoneInfoNotFoundError, ValueError, OSError):  # OSError: a folder of zones, such as "America"
        return False
    return True
