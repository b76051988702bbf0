"""Wall clocks and instants in slow plain Python: what the code that reads times is compared with."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo


def instants_of(wall: datetime, zone: str) -> list[datetime]:
    """The instants (naive UTC) at which clocks in the zone show that time: none, one, or two of them in order."""
    found = set()
    for fold in (0, 1):
        try:
            instant = wall.replace(tzinfo=ZoneInfo(zone), fold=fold).astimezone(UTC)
        except OverflowError:  # before the year 1 or after 9999
            continue
        if instant.astimezone(ZoneInfo(zone)).replace(tzinfo=None, fold=0) == wall:
            found.add(instant.replace(tzinfo=None))
    return sorted(found)


def end_of_gap(wall: datetime, zone: str) -> datetime:
    """The first instant after the gap that swallowed that time (gaps end on whole minutes)."""
    at = wall.replace(second=0, microsecond=0) - timedelta(hours=30)
    while at.replace(tzinfo=UTC).astimezone(ZoneInfo(zone)).replace(tzinfo=None) < wall:
        at += timedelta(minutes=1)
    return at


def localised(wall: datetime, zone: str, ambiguous: str, nonexistent: str) -> tuple[datetime | None, set[str]]:
    """The UTC instant of a wall clock by a policy, and the problem where there is none."""
    found = instants_of(wall, zone)
    if not found and wall.year in (1, 9999):
        return None, {"BF202"}
    if not found:
        return (end_of_gap(wall, zone), set()) if nonexistent == "shift_forward" else (None, {"BF206"})
    if len(found) > 1 and ambiguous == "error":
        return None, {"BF205"}
    return found[-1 if ambiguous == "latest" else 0], set()


def milliseconds(instant: datetime) -> str:
    """ISO 8601 with milliseconds, finer digits cut."""
    return instant.replace(tzinfo=None).isoformat(timespec="milliseconds") + "Z"
