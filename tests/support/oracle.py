"""The contract in slow plain Python: one row in, its calls out. What the columnar code is compared with.

No polars, no DuckDB, nothing of ours that computes: only the job's models, the column descriptions and the tables of
rules and limits. It is to be read beside docs/job-file.md; where it is slower or longer than it could be, it is
plainer. `oracle_row` has the values and objects of a row, `oracle_values` how one value is written.
"""

import math
import re
import unicodedata
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from hashlib import sha256
from typing import Any

from backfill.job.leaves import expression_columns
from backfill.job.models import ColumnValue, ObjectSpec, ObjectValue, SqlValue, TimestampSpec
from backfill.limits import GROUP_ID_CHARACTERS, MESSAGE_ID_CHARACTERS, PROPERTIES, SEGMENT, UNIFY_PROPERTIES
from backfill.placeholders import PLACEHOLDERS
from backfill.records import Kind, Severity
from backfill.rules import MONEY_PROPERTIES
from tests.support.oracle_row import Row
from tests.support.oracle_values import compact, members, milliseconds, pruned

EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001  instants are naive UTC here
#: White space but for control characters.
BLANKS = "".join(chr(code) for code in range(0x10000) if unicodedata.category(chr(code)) == "Zs")
#: Format characters that are seen: Arabic signs around numbers and text.
SEEN = {*range(0x600, 0x606), 0x6DD, 0x70F, 0x890, 0x891, 0x8E2}
MICROSECONDS = {"epoch_s": 10**6, "epoch_ms": 10**3, "epoch_us": 1, "epoch_ns": Fraction(1, 1000)}


def is_unseen(character: str) -> bool:
    """Whether it is a control character, or one without width, of the first 65,536."""
    code = ord(character)
    return unicodedata.category(character) in ("Cc", "Cf", "Zl", "Zp") and code < 0x10000 and code not in SEEN


def is_uuid_4(text: str) -> bool:
    """Whether a text is a UUID of version 4 as RFC 9562 writes them."""
    try:
        return str(uuid.UUID(text)) == text.lower() and uuid.UUID(text).version == 4
    except ValueError:
        return False


@dataclass(frozen=True)
class Expected:
    """What one row is to become as one call. `message_id` and `json` are None where it is not sent."""

    state: str  # ok, skipped, rejected
    codes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    message_id: str | None = None
    json: str | None = None


class RowAsCall(Row):
    """One row as one call: its fields, checked."""

    def timestamp(self, now: datetime) -> str | None:
        """The call's timestamp, checked."""
        spec = self.call.timestamp
        if spec.value is not None:
            instant: datetime | None = datetime.fromisoformat(spec.value).astimezone(UTC).replace(tzinfo=None)
        else:
            instant = self.timestamp_column(spec)
        if instant is None:
            return None
        if instant < EPOCH:
            self.flag("BF203")
        if instant > now + timedelta(hours=1):
            self.flag("BF204")
        return compact(milliseconds(instant))

    def timestamp_column(self, spec: TimestampSpec) -> datetime | None:
        """The instant that a column or an expression holds."""
        column = self.columns[expression_columns(self.job)[spec.sql] if spec.sql else (spec.column or "")]
        parsed = self.job.time_columns().get((spec.column or "", spec.format or ""))
        column = self.columns[parsed] if column.kind is Kind.TEXT and parsed in self.columns else column
        found = self.row[column.name]
        if self.misfits(column):
            self.flag("BF202")
            return None
        if found is None:
            self.flag("BF201")
            return None
        if spec.format in MICROSECONDS and column.kind not in (Kind.TIMESTAMP, Kind.DATE):
            return self.from_epoch(found, MICROSECONDS[spec.format])
        instant, bad = self.instant(column, found, spec)
        bad |= self.early(column, instant)
        for code in bad:
            self.flag(code)
        return instant  # type: ignore[no-any-return]

    def from_epoch(self, number: Any, unit: int | Fraction) -> datetime | None:
        """An epoch, exact and cut to the microsecond below; a double that is the next one to the next means that."""
        try:
            if isinstance(number, str) and not re.fullmatch(r"[+-]?[0-9]+(\.[0-9]+)?", number):
                number = "no number"
            exact = Fraction(number) * unit
            beyond = math.ceil(exact) - exact
            below = isinstance(number, float) and 0 < beyond <= abs(exact) / 2**52
            instant = EPOCH + timedelta(microseconds=math.ceil(exact) if below else exact // 1)
        except (ValueError, OverflowError):
            self.flag("BF202")
            return None
        if instant.year == 1970:
            self.flag("BF207")
        return instant

    def ids(self) -> list[tuple[str, str | None]]:
        """The ids, checked."""
        alias, found = self.call.type == "alias", []
        for name in ("userId", "anonymousId", "groupId", "previousId"):
            if (value := getattr(self.call, name)) is None:
                continue
            text = self.text_of(value)
            code = "BF106" if alias else ("BF104" if name == "groupId" else "BF101")
            if text == "" or (text is None and (alias or name == "groupId")):
                self.flag(code)
            if text:
                self.check_id(name, text, self.is_rounded(value))
            found.append((name, None if text is None else compact(text)))
        stated = [one for one in (self.call.userId, self.call.anonymousId) if isinstance(one, ColumnValue | SqlValue)]
        told = any(self.misfits(self.column_of(one)) for one in stated if one.on_bad == "reject")
        nobody = all(text is None for name, text in found if name in ("userId", "anonymousId"))
        if not alias and nobody and not told:
            self.flag("BF101")
        return found

    def is_rounded(self, value: Any) -> bool | None:
        """Whether an id from a column of floats is beyond what they tell apart; None of any other column."""
        if not isinstance(value, ColumnValue | SqlValue) or self.column_of(value).kind is not Kind.NUMBER:
            return None
        return 2**53 < abs(self.read(value)[0]) < math.inf

    def check_id(self, name: str, text: str, rounded: bool | None) -> None:
        """What an id that is there may be wrong with."""
        own, bare = self.job.placeholders, text.strip(BLANKS).lower()
        nobody = bare in (*PLACEHOLDERS, *own.add) or not bare.strip("0-")
        if nobody and bare not in own.allow:
            self.flag("BF105")
        if re.fullmatch(r"[+-]?[0-9]+\.0+", text):
            self.flag("BF115")
        formula = text.startswith('="') and text.endswith('"') and len(text) > 2 and "\n" not in text
        if formula or any(map(is_unseen, text)):
            self.flag("BF119")
        lost = re.fullmatch(r"[+-]?[0-9]([.,][0-9]+[eE][+-]?|[eE]\+)[0-9]+", text) is not None
        if lost if rounded is None else rounded:
            self.flag("BF120")
        if text != text.strip(BLANKS):
            self.flag("BF121")
        email = re.fullmatch(r"[^@\s]+@[^@\s]+\.[^@\s]+", text)
        if name != "groupId" and (email or re.fullmatch(r"\+[0-9][0-9 ().-]{6,}", text)):
            self.flag("BF124")
        if name == "groupId" and len(text) > GROUP_ID_CHARACTERS:
            self.flag("BF104")
        on = [each for each, options in (self.call.integrations or {}).items() if options is not False]
        if name == "anonymousId" and {"Mixpanel", "Mixpanel (Actions)"} & set(on) and not is_uuid_4(text):
            self.flag("BF125")

    def names(self) -> list[tuple[str, str | None]]:
        """Event, name and category, checked."""
        found = []
        for name, code in (("event", "BF102"), ("name", "BF103"), ("category", "BF103")):
            if (value := getattr(self.call, name)) is None:
                continue
            text = self.text_of(value)
            if text == "" or (text is None and name == "event"):
                self.flag(code)
            found.append((name, None if text is None else compact(text)))
        return found

    def attributes(self) -> list[tuple[str, str | None]]:
        """Its properties or traits, whichever the type has; always there."""
        name = {"identify": "traits", "group": "traits", "alias": ""}.get(self.call.type, "properties")
        if not name:
            return []
        spec: ObjectSpec | None = getattr(self.call, name)
        fields = self.fields_of(spec)
        count = sum(text is not None for text in fields.values())
        if count > UNIFY_PROPERTIES:
            self.flag("BF109" if count > PROPERTIES else "BF108")
        if name == "properties" and spec is not None:
            self.check_money(spec)
        text = members(list(fields.items()))
        if spec and spec.column and not spec.members and self.column_of(spec.column).kind is Kind.JSON and fields:
            text = self.row[spec.column.column]  # untouched: as it stands
        return [(name, text)]

    def check_money(self, spec: ObjectSpec) -> None:
        """Amounts that are sent as text."""
        tree: dict[str, Any] = {path[0]: value for path, value in spec.members if len(path) == 1}
        if spec.star is not None:
            named = {path[0] for path, _ in spec.members}
            tree |= {name: ColumnValue(column=name) for name in self.starred(spec) if name not in named}
        for value in (tree[name] for name in MONEY_PROPERTIES & set(tree)):
            if isinstance(value, ColumnValue | SqlValue):
                text = self.column_of(value).kind is Kind.TEXT and value.as_ != "number"
                if (text or value.as_ == "text") and self.read(value)[0] is not None:
                    self.flag("BF114")

    def key(self, file_key: str, record: int, content: str) -> str | None:
        """The canonical text of the message key; None where it is no key."""
        if self.call.message_key == "content":
            return compact([sha256(content.encode()).hexdigest()])
        if self.call.message_key == "row":
            return compact([file_key, str(record)])
        values = [self.text_of(value, single=False) for value in self.call.message_key or ()]
        if None in values or not any(values):
            self.flag("BF112")
            return None
        return compact(values)

    def made(self) -> bool:
        """Whether the row makes this call at all; a bad value that `when` reads is found out by making it."""
        if self.call.when is None:
            return True
        column = self.columns[expression_columns(self.job)[self.call.when]]
        if self.misfits(column):
            self.flag("BF117")
            return True
        return bool(self.row[column.name])


def integrations_of(row: RowAsCall, stated: dict[str, Any]) -> str:
    """The integrations, options from the row filled in; a destination is there though it has none."""
    found: list[tuple[str, str | None]] = []
    for name, options in stated.items():
        literal = not isinstance(options, ObjectValue)
        found.append((name, compact(pruned(options)) if literal else row.member_of(options) or "{}"))
    return members(found)


def expected(
    row: RowAsCall, *, id_scope: str, library_version: str, now: datetime, file_key: str, record: int
) -> Expected:
    """What a row is to become; `now` is naive UTC, `record` counts from 1."""
    if not row.made():
        return Expected("skipped")
    if row.row.get("__bf_where_bad"):
        row.flag("BF118")
    call, job = row.call, row.job
    head = [("type", compact(call.type))]
    middle = [("timestamp", row.timestamp(now)), *row.ids(), *row.names(), *row.attributes()]
    own = list(row.fields_of(call.context).items())
    library = ("library", compact({"name": "backfill", "version": library_version}))
    tail = [] if call.integrations is None else [("integrations", integrations_of(row, call.integrations))]

    def written(message_id: list[tuple[str, str | None]], context: str) -> str:
        inner: list[tuple[str, str | None]] = [("context", None if context == "{}" else context)]
        return members([*head, *message_id, *middle, *inner, *tail])

    if call.message_id is not None:
        message_id = row.text_of(call.message_id)
        if not 1 <= len(message_id or "") <= MESSAGE_ID_CHARACTERS:
            row.flag("BF116")
    else:
        key = row.key(file_key, record, written([], members(own)))
        root = uuid.uuid5(uuid.NAMESPACE_URL, "urn:backfill:message-id:v1")
        space = uuid.uuid5(root, compact([id_scope, job.name, call.label or call.type, str(job.generation)]))
        message_id = None if key is None else str(uuid.uuid5(space, key))
    text = written([("messageId", compact(message_id))], members([library, *own]))
    if len(text.encode()) > SEGMENT.call_bytes and not any(level is Severity.ERROR for _, level in row.problems):
        row.flag("BF107")  # there is no text to weigh where something is wrong with it
    errors = tuple(sorted(code for code, level in row.problems if level is Severity.ERROR))
    warnings = tuple(sorted(code for code, level in row.problems if level is Severity.WARNING))
    if errors:
        return Expected("rejected", errors, warnings)
    return Expected("ok", (), warnings, message_id, text)
