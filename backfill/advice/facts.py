"""The facts: read from destinations.toml, which says what each field is."""

from __future__ import annotations

from datetime import date
from functools import cache
from typing import Any

from backfill.frozen import frozen


@frozen
class Source:
    """A public page, and the day on which it was looked up."""

    title: str
    url: str
    looked_up: date


@frozen
class Fact:
    """One thing that a destination does with history."""

    says: str  # in a few words; the destination is the subject
    means: str  # for a backfill
    source: Source
    names: tuple[str, ...]  # of the destination, as integrations have it
    calls: tuple[str, ...] = ()  # types; none: all
    older_than_hours: int | None = None  # than the time of sending
    within_hours: int | None = None  # before it
    before: date | None = None
    instead: str = ""  # of turning the destination off


@frozen
class Way:
    """What a destination does to be rid of what it got, or does not."""

    says: str  # in a few words; the destination is the subject
    source: Source
    calls: tuple[str, ...] = ()  # types; none: all


@frozen
class Destination:
    """A destination by all its names, with what is known of it."""

    key: str
    title: str
    names: tuple[str, ...]  # as Segment says them
    written: tuple[str, ...]  # as people write them in their place
    also: tuple[str, ...]  # words that mean its page
    whenever_named: bool  # its facts hold whatever is said beside its name
    facts: tuple[Fact, ...]
    undo: tuple[Way, ...] = ()


@cache
def destinations() -> tuple[Destination, ...]:
    """Every destination of which something is known, in the order of the file.

    Raises:
        LookupError, TypeError: A fact lacks a field, or has one that there is not.
    """
    import tomllib  # noqa: PLC0415 (as the next, for who asks for facts, which few jobs do)
    from importlib.resources import files  # noqa: PLC0415

    entries = tomllib.loads((files("backfill.advice") / "destinations.toml").read_text("utf-8"))
    return tuple(_destination(key, entry) for key, entry in entries.items())


def _destination(key: str, entry: dict[str, Any]) -> Destination:
    names = tuple(entry["names"])
    facts = tuple(_fact(fact, names) for fact in entry["facts"])
    written, also = (tuple(entry.get(name, ())) for name in ("written", "also"))
    undo = tuple(
        Way(way["says"], Source(**way["source"]), tuple(way.get("calls", ()))) for way in entry.get("undo", ())
    )
    return Destination(key, entry["title"], names, written, also, entry.get("whenever_named", False), facts, undo)


def _fact(entry: dict[str, Any], names: tuple[str, ...]) -> Fact:
    own = {"names": tuple(entry.get("names", names)), "calls": tuple(entry.get("calls", ()))}
    return Fact(**(entry | own | {"source": Source(**entry["source"])}))


def fact_text(fact: Fact, destination: Destination) -> str:
    """A fact with what it means, in sentences that want the destination before them."""
    about = [f"{', '.join(fact.calls)} calls"] if fact.calls else []
    about += [f"as {' or '.join(fact.names)}"] if fact.names != destination.names else []
    said = f"{fact.says} ({'; '.join(about)})" if about else fact.says
    return f"{said}. {fact.means}"


def source_text(source: Source) -> str:
    """A page by its title and address, with the day on which it was looked up."""
    return f"{source.title}, {source.url}, looked up on {source.looked_up.isoformat()}"
