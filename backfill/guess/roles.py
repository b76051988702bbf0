"""Which column is the user, the time, the key, and what call a row makes: measured first, by name second, else open."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import polars as pl

from backfill.errors import counted
from backfill.frozen import frozen
from backfill.guess.measure import Facts
from backfill.guess.names import (
    CODES,
    KEYS,
    LATER,
    NAMES,
    PEOPLE,
    SALES,
    TIMELY,
    YEARS,
    has_word,
    last_word,
    rank,
    words,
)
from backfill.guess.times import NEARLY
from backfill.job.fields import fields_of
from backfill.sources.sql.engine import quoted

_KEY_KINDS = frozenset({"text", "integer"})
_NO_KEY = "{}: name several, or `content` (the whole call), or `row` (its place)"
_LISTED = 6
#: A column with these words may be the user beside one of another name: `userId (metadata)` beside `Customer ID`.
_USER = "user id"
#: Fewer rows say nothing of what comes again.
_TELLING = 20


@frozen
class Choice:
    """One choice: the columns, or none where it stays open, and why."""

    columns: tuple[str, ...] = ()
    why: str = ""

    @property
    def column(self) -> str:
        """The only column; "" where there is none."""
        return self.columns[0] if self.columns else ""


@dataclass(slots=True)
class Roles:
    """What the columns of a source are."""

    type: str
    why: str
    fields: dict[str, Choice] = field(default_factory=dict)  # userId, timestamp, event ...: with a blank for a column
    key: Choice = field(default_factory=Choice)
    open_type: bool = False  # the type is to be chosen; `why` says from what

    def used(self) -> set[str]:
        """The columns that are ids, times or names: no properties."""
        return {choice.column for name, choice in self.fields.items() if name != "timestamp"} - {""}


def roles_of(facts: Sequence[Facts], frame: pl.DataFrame, stem: str, asked_type: str | None) -> Roles:
    """The roles of the columns; `stem` is what the source is called."""
    users = _users(facts)
    keys = _keys(facts, users, stem)
    kind, why = (asked_type, "as asked") if asked_type else _type(facts, users, keys)
    found = Roles(kind, why, open_type=why.startswith("group, since"))
    wanted = fields_of(kind)
    anonymous = _best("anonymous", facts)
    if kind == "identify" and _person(facts, users):
        users = Choice(_person(facts, users), "unique, in a table of people")
    if kind == "alias":
        found.fields["previousId"] = _single("previous", facts)
    if "groupId" in wanted and kind == "group":
        found.fields["groupId"] = _single("group", facts)
    _people(found, users, anonymous, facts)
    if kind == "track":
        found.fields["event"] = _single("event", facts)
    if kind == "screen":
        found.fields["name"] = _single("screen", facts)
    found.fields["timestamp"] = _time(facts)
    found.key = _key(found, users, keys, facts, frame)
    return found


def _best(role: str, facts: Sequence[Facts]) -> tuple[str, ...]:
    """The columns of the first group of names of that role that any has, and whose values do not speak against it."""
    fitting = [one for one in facts if one.filled and _may_be(role, one)]
    ranked = [(place, one.name) for one in fitting if (place := rank(role, one.name)) is not None]
    first = min((place for place, _ in ranked), default=0)
    return tuple(name for place, name in ranked if place == first)


def _may_be(role: str, one: Facts) -> bool:
    """Names of events come again and again, pages are no numbers, and ids have no blanks in them."""
    if role == "event":
        return one.type == "text" and (one.rows < _TELLING or not one.unique)
    if role in ("page", "screen"):
        return one.type == "text"
    return one.type in _KEY_KINDS | {"decimal"} and not one.phrases


def _single(role: str, facts: Sequence[Facts]) -> Choice:
    found = _best(role, facts)
    if len(found) == 1:
        return Choice(found, "by its name")
    return Choice((), " or ".join(found) if found else "no column is called so; a constant is {value: ...}")


def _users(facts: Sequence[Facts]) -> Choice:
    found = _best("user", facts)
    if not any(_USER in words(name) for name in found):
        found += tuple(one.name for one in facts if _USER in words(one.name) and one.filled)
    different = {one.name: one.different for one in facts}
    if len(found) == 1:
        return Choice(found, f"by its name; {counted(different[found[0]], 'different one', 'different ones')}")
    return Choice((), f"{' or '.join(found)}: more than one could be the user" if found else "")


def _person(facts: Sequence[Facts], users: Choice) -> tuple[str, ...]:
    """The id of a table of people, where no other column than an address says who: unique as the address is."""
    if (users.columns and rank("user", users.column) == 0) or any(has_word(one.name, SALES) for one in facts):
        return ()
    ids = [one.name for one in facts if rank("person", one.name) is not None and one.unique]
    people = [one for one in facts if words(one.name) in PEOPLE]
    addresses = [one for one in facts if one.name in users.columns]
    return tuple(ids) if len(ids) == 1 and people and all(one.unique for one in addresses) else ()


def _ids(facts: Sequence[Facts]) -> str:
    """The columns that are ids of something, as a question."""
    ids = [one.name for one in facts if last_word(one.name) == "id" and one.filled]
    return f"perhaps {' or '.join(ids[:_LISTED])}" if ids else ""


def _people(found: Roles, users: Choice, anonymous: tuple[str, ...], facts: Sequence[Facts]) -> None:
    """Who a row is about: the user, somebody not known, or both."""
    if users.columns or users.why or not anonymous:
        found.fields["userId"] = (
            users if users.why else Choice((), f"whose? {_ids(facts) or 'no column is called user_id or so'}")
        )
    if len(anonymous) == 1 and "anonymousId" in fields_of(found.type):
        found.fields["anonymousId"] = Choice(anonymous, "by its name")
    elif len(anonymous) > 1:
        found.fields["anonymousId"] = Choice((), " or ".join(anonymous))


def _type(facts: Sequence[Facts], users: Choice, keys: Sequence[Facts]) -> tuple[str, str]:
    """The type of the call that a row makes: the first that something speaks for."""
    by_name = {one.name: one for one in facts}
    unique = {one.name for one in facts if one.unique}
    people = any(words(one.name) in PEOPLE for one in facts) and not any(has_word(one.name, SALES) for one in facts)
    rivals = [key for key in keys if last_word(key.name) in KEYS or not people]  # last names are unique by chance
    alone = all(key.name == users.column for key in rivals)
    found: dict[str, tuple[str, ...]] = {
        "track": _best("event", facts),
        "alias": _best("previous", facts),
        "screen": _best("screen", facts),
        "group": tuple(name for name in _best("group", facts) if name in unique),
        "identify": _person(facts, users) or (users.columns if users.column in unique and alone else ()),
        "page": _best("page", facts) if users.columns or _best("anonymous", facts) else (),
    }
    said = {
        "track": "names an event",
        "alias": "is an id from before",
        "screen": "is a screen",
        "group": "is unique: a row is a group",
        "identify": "is unique: a row is a person",
        "page": "is a page's",
    }
    if found["group"] and users.column in unique:
        return (
            "group",
            f"group, since {found['group'][0]} is unique, or identify, since {users.column} is: without groupId",
        )
    kind = next((kind for kind, columns in found.items() if columns), None)
    if kind is None:
        return "track", "rows are neither people nor pages: things that happened"
    return kind, f"{by_name[found[kind][0]].name} {said[kind]}"


def _keys(facts: Sequence[Facts], users: Choice, stem: str) -> list[Facts]:
    """The columns that may be the key of a row, the better names alone where there are such."""
    no_key = {
        *users.columns,
        *_best("anonymous", facts),
        *(one.name for one in facts if rank("user", one.name) is not None),
    }
    fitting = [
        one for one in facts if one.type in _KEY_KINDS and not one.phrases and not has_word(one.name, CODES - KEYS)
    ]
    unique = [one for one in fitting if one.unique and one.name not in no_key]
    named = [one for one in unique if last_word(one.name) in KEYS]
    own = {f"{part} id" for part in (words(stem), words(stem).removesuffix("s"), words(stem).removesuffix("es"))}
    for better in (NAMES["message"][0], own, NAMES["message"][1]):
        best = [one for one in named if words(one.name) in better]
        if best:
            return best
    return named or [one for one in unique if one.type == "text"]


def _key(found: Roles, users: Choice, keys: Sequence[Facts], facts: Sequence[Facts], frame: pl.DataFrame) -> Choice:
    by_name = {one.name: one for one in facts}
    own = found.fields.get(
        {"group": "groupId", "alias": "previousId", "identify": "userId"}.get(found.type, ""), Choice()
    )
    if own.columns and by_name[own.column].unique:
        return Choice(own.columns, _measured(by_name[own.column]))
    if len(keys) == 1 and last_word(keys[0].name) in KEYS:
        return Choice((keys[0].name,), _measured(keys[0]))
    if keys:
        return Choice((), f"{' or '.join(one.name for one in keys[:_LISTED])}: unique in {_records(keys[0].rows)}")
    chosen = [
        one.column for one in (users, found.fields["timestamp"], found.fields.get("event", Choice())) if one.column
    ]
    some = list(dict.fromkeys(chosen))
    if len(some) > 1 and frame[some].n_unique() == len(frame):
        return Choice((), f"[{', '.join(some)}] is unique in {_records(len(frame))}; no single column is")
    # Measurements and times are so by chance. Facts are of rows that differ.
    unique = [one.name for one in facts if one.unique and one.different >= NEARLY * len(frame)]
    chance = f"unique is only {' or '.join(unique[:_LISTED])}, perhaps by chance"
    return Choice((), _NO_KEY.format(chance if unique else "no column is unique"))


def _records(count: int) -> str:
    return counted(count, "record", "records")


def _measured(one: Facts) -> str:
    lacking = one.rows - min(one.different, one.filled)
    there = f"unique in {_records(one.rows)}" if not lacking else f"{one.different:,} different in {_records(one.rows)}"
    return f"{there} of the sample"


def _time(facts: Sequence[Facts]) -> Choice:
    """The column that says when: by name where there are several."""
    times = [one for one in facts if one.reading is not None and one.filled and not one.reading.of_numbers]
    if not times:
        maybe = [one.name for one in facts if one.reading is not None and one.filled]
        if maybe:
            return Choice((), f"{' or '.join(maybe)}, whose numbers could be times; a constant is {{value: ...}}")
        texts = [one.name for one in facts if one.type == "text" and one.filled and has_word(one.name, TIMELY)]
        if texts:
            return Choice((), f"{' or '.join(texts[:_LISTED])}, of no known format; a constant is {{value: ...}}")
        years = [one.name for one in facts if one.type == "integer" and one.filled and has_word(one.name, YEARS)]
        if years:
            began = f"make_timestamp({quoted(years[0])}, 1, 1, 0, 0, 0)"
            return Choice((), f"of {years[0]} its first day is {{sql: '{began}', timezone: UTC}}")
        return Choice((), 'no column holds times; a constant is {value: "2024-01-31T00:00:00Z"}')
    first = [one for one in times if not has_word(one.name, LATER)]
    named = [(place, one.name) for one in first if (place := rank("time", one.name)) is not None]
    best = [name for place, name in named if place == min(named)[0]] or [one.name for one in first]
    full = [one.name for one in times if one.name in best and one.fill >= NEARLY]
    best = full if len(full) == 1 else best  # the thing has happened in every row
    if len(best) == 1:
        others = [one.name for one in times if one.name != best[0]]
        why = "the only time" if not others else f"rather than {', '.join(others[:_LISTED])}"
        return Choice((best[0],), why)
    return Choice((), " or ".join(best or [one.name for one in times]))
