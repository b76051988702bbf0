"""Time zones as people write them: IANA's names, and what other names probably mean."""

from __future__ import annotations

import re
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

from backfill.document import Faults, suggest

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
