"""The fields of a call: what each is used for, which types of call have it, which need it. One line a field.

After https://www.twilio.com/docs/segment/connections/spec. A field is added in three places: a line here, one in
`models.Call` and one in `file.CallFields`. What is of the roles ID, NAME and WHOLE is then sent, too.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from enum import Enum
from typing import Final

from backfill.frozen import frozen


class Role(Enum):
    """What a value is used for; decides which kinds of column will do."""

    ID = "an id"
    NAME = "a name"
    KEY = "a message key"
    MESSAGE_ID = "a message id"
    TIME = "a timestamp"
    CONDITION = "a condition"
    LIST = "lists to explode"
    KIND = "what makes rows ones of a kind"
    ORDER = "what tells the newest"
    MEMBER = "a member"  # inside a whole object, or a destination's options
    OPTIONS = "options of destinations"
    WHOLE = "a whole object"


_ALL: Final = ("identify", "track", "page", "screen", "group", "alias")
_NOT_ALIAS: Final = _ALL[:-1]
_TO_CONTEXT: Final = "has `properties`; traits of the user go to context.traits"


@frozen
class CallField:
    """One field of calls; `instead` says, by type, what people mean who write it in a call that does not have it."""

    name: str
    role: Role
    types: tuple[str, ...] = _ALL
    needed: tuple[str, ...] = ()  # by these types, and not only one of several
    always: bool = False  # of a whole object: it is sent, empty, also where it has no members
    instead: Mapping[str, str] = field(default_factory=dict)


#: In the order in which they stand in a call's JSON.
FIELDS: Final = (
    CallField("timestamp", Role.TIME),
    CallField("message_key", Role.KEY),
    CallField("message_id", Role.MESSAGE_ID),
    CallField("userId", Role.ID, needed=("alias",)),
    CallField("anonymousId", Role.ID, _NOT_ALIAS,
              instead={"alias": "alias joins `previousId` (which may be an anonymous id) to `userId`"}),
    CallField("groupId", Role.ID, ("group",), needed=("group",),
              instead={"track": "the group of a track call is context.groupId"}),
    CallField("previousId", Role.ID, ("alias",), needed=("alias",)),
    CallField("event", Role.NAME, ("track",), needed=("track",),
              instead={"page": "the name of a page is its `name`", "screen": "the name of a screen is its `name`"}),
    CallField("name", Role.NAME, ("page", "screen"), instead={"track": "the name of a track call is its `event`"}),
    CallField("category", Role.NAME, ("page", "screen")),
    CallField("properties", Role.WHOLE, ("track", "page", "screen"), always=True,
              instead={"identify": "identify has `traits`", "group": "group has `traits`"}),
    CallField("traits", Role.WHOLE, ("identify", "group"), always=True,
              instead={kind: f"{kind} {_TO_CONTEXT}" for kind in ("track", "page", "screen")}),
    CallField("context", Role.WHOLE),
    CallField("integrations", Role.OPTIONS),
)  # fmt: skip


def of_role(*roles: Role) -> tuple[str, ...]:
    """The names of the fields of these roles."""
    return tuple(one.name for one in FIELDS if one.role in roles)


def objects_of(kind: str) -> list[CallField]:
    """The whole objects that a type of call has, context aside."""
    return [one for one in FIELDS if one.role is Role.WHOLE and one.name != "context" and kind in one.types]


IDS: Final = of_role(Role.ID)
NAMES: Final = of_role(Role.NAME)
OBJECTS: Final = of_role(Role.WHOLE)
#: Among integrations: those that the row has itself.
OWN_BLOCK: Final = "*"


def fields_of(kind: str) -> frozenset[str]:
    """The names of the fields that a type of call has."""
    return frozenset(one.name for one in FIELDS if kind in one.types)


def needed_by(kind: str) -> list[str]:
    """The names of the fields that a type of call cannot be without, time and key aside."""
    return sorted(one.name for one in FIELDS if kind in one.needed)


def instead_of(kind: str, name: str) -> str:
    """What is meant by a field that a type of call does not have; nothing where that is not known."""
    return next((one.instead.get(kind, "") for one in FIELDS if one.name == name), "")
