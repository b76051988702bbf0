"""How single values are written, in plain Python: the value table of docs/job-file.md, one value at a time.

Values are Python's own: str, int, float, Decimal, bool, date, time, datetime, list, dict (a struct, all its fields).
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

from backfill.limits import SAFE_INTEGER


def compact(value: object) -> str:
    """JSON as it is sent."""
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def members(pairs: list[tuple[str, str | None]]) -> str:
    """An object of those members that are there."""
    return "{" + ",".join(f"{compact(name)}:{text}" for name, text in pairs if text is not None) + "}"


def pruned(value: object) -> object:
    """A constant without null members, at any depth; an object that is empty then stays, since the job wrote it."""
    if isinstance(value, list):
        return [pruned(inner) for inner in value]
    if isinstance(value, dict):
        return {name: pruned(inner) for name, inner in value.items() if inner is not None}
    return value


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


def is_finite(value: object) -> bool:
    """Whether it is anything but NaN and the infinities."""
    return not isinstance(value, float) or value - value == 0


def overflows(value: object) -> bool:
    """Whether a number in what JSON text says is beyond doubles, at any depth."""
    if isinstance(value, dict | list):
        return any(map(overflows, value.values() if isinstance(value, dict) else value))
    return not is_finite(value)


@dataclass(frozen=True)
class Writer:
    """Writes values; `zone` is the source's, for wall clocks inside nested values."""

    float_text: Callable[[float], str]
    zone: str | None

    def json_of(self, value: object, bad: set[str]) -> str | None:  # noqa: PLR0911  one a type
        """The JSON text of a value; None where it is left out. What is wrong goes to `bad`."""
        match value:
            case None:
                return None
            case bool():
                return compact(value)
            case int():
                bad |= {"BF110"} if abs(value) > SAFE_INTEGER else set()
                return str(value)
            case float():
                bad |= set() if is_finite(value) else {"BF111"}
                return self.float_text(value) if is_finite(value) else None
            case Decimal():
                return f"{value:f}"
            case list():
                return f"[{','.join(self.element(item, bad) for item in value)}]"
            case dict():
                text = members([(name, self.json_of(item, bad)) for name, item in value.items()])
                return None if text == "{}" else text
            case datetime():
                return self.inner_instant(value, bad)
            case _:
                return compact(self.plain_of(value))

    def element(self, value: object, bad: set[str]) -> str:
        """The JSON text of a list's element: it stays, whatever it is."""
        return self.json_of(value, bad) or ("null" if value is None else "{}")

    def inner_instant(self, value: datetime, bad: set[str]) -> str | None:
        """The JSON text of a timestamp inside a nested value: the source's zone and the strict policy."""
        if value.tzinfo is not None:
            return compact(milliseconds(value.astimezone(UTC)))
        assert self.zone is not None
        instant, wrong = localised(value, self.zone, "error", "error")
        bad |= wrong
        return None if instant is None else compact(milliseconds(instant))

    def plain_of(self, value: object) -> str:  # noqa: PLR0911  one a type
        """The text of a value as an id or a key has it."""
        match value:
            case bool():
                return compact(value)
            case float():
                return self.float_text(value)
            case Decimal():
                return f"{value:f}"
            case datetime():
                return value.replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"
            case date() | time():
                return value.isoformat()
            case list() | dict():
                return self.json_of(value, set()) or ""
            case _:
                return str(value)
