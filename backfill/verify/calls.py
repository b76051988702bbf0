"""One call of a job made of some rows at once: its fields checked, its id, its JSON."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from hashlib import sha256
from typing import Any, Final

from backfill.advice import destinations
from backfill.frozen import frozen
from backfill.job.fields import OWN_BLOCK
from backfill.job.models import Call, ColumnValue, ListValue, ObjectSpec, ObjectValue, SqlValue
from backfill.limits import CALL_DEPTH, MESSAGE_ID_CHARACTERS, PROPERTIES, SAFE_INTEGER, UNIFY_PROPERTIES
from backfill.records import FILE_COLUMN, RECORD_COLUMN, Kind, Severity
from backfill.rules import MONEY_PROPERTIES
from backfill.verify.columns import Columns
from backfill.verify.ids import faults_of_id, is_uuid_4, message_ids, namespace_of, suspects
from backfill.verify.json_text import too_deep
from backfill.verify.objects import Objects, joined
from backfill.verify.planned import PlannedCalls
from backfill.verify.times import timestamps
from backfill.verify.values import Texts, braced, compact, millisecond_texts, pruned, string

#: Columns that staging adds: whether what `where` reads is bad, and whether it failed.
_WHERE_BAD, _WHERE_FAILED = "__bf_where_bad", "__bf_where_failed"
_EMPTY: Final = re.compile(r"\s*\{\s*\}\s*")
_IDS: Final = ("userId", "anonymousId", "groupId", "previousId")
_ATTRIBUTES: Final = {"identify": "traits", "group": "traits", "alias": ""}


@frozen
class Recipe:
    """What the calls of a plan depend on beside job and rows."""

    id_scope: str
    library_version: str
    now: float  # POSIX seconds: what is an hour later is in the future
    call_bytes: int | None  # the most that a call may have; None: not known


@frozen
class Made:
    """What some rows are to become as one call. `ids` and `texts` are None where it is not made, or rejected."""

    ids: Texts
    texts: Texts  # the JSON, as it is sent
    skipped: set[int]
    problems: dict[int, set[tuple[str, Severity]]]

    def errors(self, row: int) -> list[str]:
        """The codes of the errors of a row's call."""
        return sorted(code for code, level in self.problems.get(row, ()) if level is Severity.ERROR)


def make(call: Call, columns: Columns, recipe: Recipe, file_keys: Sequence[str]) -> Made:
    """The call of each row; `file_keys` are of the source's files, by their numbers."""
    return _CallOfRows(call, columns).make(recipe, file_keys)


def is_rewritten(call: Call, columns: Columns) -> bool:
    """Whether JSON or a map is put together with other members: in which order they then stand is not documented."""
    objects = Objects(call, columns)
    attributes = [spec for spec in (call.properties, call.traits) if spec is not None and spec.members]
    pending: list[Any] = [*attributes, call.context, *(call.integrations or {}).values()]
    while pending:
        spec = pending.pop()
        if isinstance(spec, ListValue):
            pending += spec.list
        elif isinstance(spec, ObjectValue):
            pending.append(spec.object)
        elif isinstance(spec, ObjectSpec):
            if objects.is_whole(spec):
                return True
            pending += [value for _, value in spec.members]
    return False


class _CallOfRows(Objects):
    """The fields of one call."""

    def make(self, recipe: Recipe, file_keys: Sequence[str]) -> Made:
        call, columns = self.call, self.columns
        skipped = self._skipped()
        self._check_where()
        fields = [
            ("timestamp", _quoted(millisecond_texts(timestamps(self, call.timestamp, recipe.now)))),
            *self._ids(),
            *self._names(),
            *self._attributes(),
        ]
        own = self._context()
        last: list[tuple[str, Texts]] = [] if call.integrations is None else [("integrations", self._integrations())]
        library = compact({"name": "backfill", "version": recipe.library_version})
        context: Texts = [f'{{"library":{library}{each}}}' for each in own]
        head = f'{{"type":{compact(call.type)}'
        if call.message_id is not None:
            ids = self.text_of(call.message_id)
            odd = [row for row, each in enumerate(ids) if not 1 <= len(each or "") <= MESSAGE_ID_CHARACTERS]
            self.flag("BF116", odd)
        else:
            bare: Texts = [braced(each) if each else None for each in own]
            content = [*fields, ("context", bare), *last]
            space = namespace_of(recipe.id_scope, columns.job.name, call.scope, columns.job.generation)
            ids = message_ids(space, self._keys(head, content, file_keys))
        rest = joined([*fields, ("context", context), *last], self.rows)
        plain = call.message_id is None
        named = [f'"{each}"' if plain else string(each or "") for each in ids]
        texts: Texts = [f'{head},"messageId":{name}{each}}}' for name, each in zip(named, rest, strict=True)]
        return self._judged(ids, texts, skipped, recipe)

    def _judged(self, ids: Texts, texts: Texts, skipped: set[int], recipe: Recipe) -> Made:
        """The calls that nothing is wrong with, the texts and ids of others taken out."""
        for row in skipped:
            self.problems.pop(row, None)
        gone = {row for row, found in self.problems.items() if any(level is Severity.ERROR for _, level in found)}
        gone |= skipped
        for row, text in enumerate(texts):
            if row in gone or text is None:
                continue
            most = recipe.call_bytes
            if most is not None and len(text) * 4 > most and len(text.encode()) > most:
                self.flag("BF107", [row])
                gone.add(row)
            if len(text) > 2 * CALL_DEPTH and row not in gone and too_deep(text, CALL_DEPTH):
                self.flag("BF117", [row])
                gone.add(row)
        planned = PlannedCalls(self.columns.job, self.call)
        for row, text in enumerate(texts) if planned.rejects else ():
            if row not in gone and text is not None and (codes := planned.errors(text)):
                for code in sorted(codes):
                    self.flag(code, [row])
                gone.add(row)
        if gone:
            ids = [None if row in gone else each for row, each in enumerate(ids)]
            texts = [None if row in gone else each for row, each in enumerate(texts)]
        return Made(ids, texts, skipped, self.problems)

    def _skipped(self) -> set[int]:
        """The rows that do not make this call; a bad value that `when` reads is found out by making it."""
        if self.call.when is None:
            return set()
        column = self.columns.described[self.columns.expressions[self.call.when]]
        misfits, failures, unclear = (
            self.columns.misfits(column),
            self.columns.failures(column),
            self.columns.unclear(column),
        )
        self.flag("BF117", misfits)
        self.flag("BF130", failures)
        self.flag_all(unclear)
        told = misfits | failures | set(unclear)
        return {row for row, made in enumerate(self.columns.raw(column.name)) if not made and row not in told}

    def _check_where(self) -> None:
        for name, code in ((_WHERE_BAD, "BF118"), (_WHERE_FAILED, "BF130")):
            column = self.columns.described.get(name)
            if column is None:
                continue
            failed = set() if column.failed is None else self.columns.failures(column)
            if name == _WHERE_BAD:
                failed = {row for row, bad in enumerate(self.columns.raw(name)) if bad}
            self.flag(code, failed)

    def _ids(self) -> list[tuple[str, Texts]]:
        alias, found = self.call.type == "alias", []
        for name in _IDS:
            if (value := getattr(self.call, name)) is None:
                continue
            texts = self.text_of(value)
            code = "BF106" if alias else ("BF104" if name == "groupId" else "BF101")
            needed = alias or name == "groupId"
            if "" in texts or (needed and None in texts):
                self.flag(code, [row for row, text in enumerate(texts) if text == "" or (text is None and needed)])
            self._check_id(name, value, texts)
            if name == "anonymousId" and self._goes_to_mixpanel():
                self.flag("BF125", [row for row, text in enumerate(texts) if text and not is_uuid_4(text)])
            found.append((name, texts))
        if not alias:
            self._check_anybody(dict(found))
        return [(name, _strings(texts)) for name, texts in found]

    def _goes_to_mixpanel(self) -> bool:
        """Whether the job sends the call to Mixpanel."""
        on = {name for name, options in (self.call.integrations or {}).items() if options is not False}
        return any(one.key == "mixpanel" and on.intersection(one.names) for one in destinations())

    def _check_anybody(self, ids: dict[str, Texts]) -> None:
        """Flag the rows without a user; where a bad value is why, that is told already."""
        present = [ids[name] for name in ("userId", "anonymousId") if name in ids]
        if present and all(None not in texts for texts in present[:1]):
            return
        told: set[int] = set()
        for value in (self.call.userId, self.call.anonymousId):
            if isinstance(value, ColumnValue | SqlValue) and value.on_bad == "reject":
                told |= self.columns.misfits(self.columns.of(value))
        nobody = [row for row in range(self.rows) if row not in told and all(texts[row] is None for texts in present)]
        self.flag("BF101", nobody)

    def _check_id(self, name: str, value: Any, texts: Texts) -> None:  # noqa: ANN401 (a value of the job)
        """Flag what is wrong with ids that are there."""
        from_float = isinstance(value, ColumnValue | SqlValue) and self.columns.of(value).kind is Kind.NUMBER
        own = self.columns.job.placeholders
        found = ((text, faults_of_id(text, name, own, from_float=from_float)) for text in suspects(texts, own))
        odd = {text: codes for text, codes in found if codes}
        if odd:
            for row, text in enumerate(texts):
                for code in odd.get(text or "", ()):
                    self.flag(code, [row])
        if from_float:
            numbers = self.columns.read(value).values
            lost = [row for row, each in enumerate(numbers) if each is not None and SAFE_INTEGER < abs(each) < math.inf]
            self.flag("BF120", lost)

    def _names(self) -> list[tuple[str, Texts]]:
        found = []
        for name, code in (("event", "BF102"), ("name", "BF103"), ("category", "BF103")):
            if (value := getattr(self.call, name)) is None:
                continue
            texts = self.text_of(value)
            needed = name == "event"
            if "" in texts or (needed and None in texts):
                self.flag(code, [row for row, text in enumerate(texts) if text == "" or (text is None and needed)])
            found.append((name, _strings(texts)))
        return found

    def _attributes(self) -> list[tuple[str, Texts]]:
        """Properties or traits, whichever the type has; always there."""
        name = _ATTRIBUTES.get(self.call.type, "properties")
        if not name:
            return []
        spec: ObjectSpec | None = getattr(self.call, name)
        if name == "properties" and spec is not None:
            self._check_money(spec)
        if spec is not None and self.is_whole(spec):
            objects = self.whole_of(spec)
            self._count([len(each) for each in objects])
            if spec.column is not None and not spec.members:  # untouched: as it stands, unless a bad value is omitted
                stored = self.columns.json_texts(spec.column).values
                kept = zip(stored, objects, strict=True)
                return [(name, [text if text and (each or _EMPTY.fullmatch(text)) else "{}" for text, each in kept])]
            return [
                (name, [braced("".join(f",{string(key)}:{text}" for key, text in each.items())) for each in objects])
            ]
        fields = self.fields_of(spec)
        if len(fields) > UNIFY_PROPERTIES:
            self._count(
                [sum(text is not None for text in texts) for texts in zip(*(each for _, each in fields), strict=True)]
            )
        return [(name, [braced(each) for each in joined(fields, self.rows)])]

    def _count(self, counts: Sequence[int]) -> None:
        self.flag("BF109", [row for row, count in enumerate(counts) if count > PROPERTIES])
        self.flag("BF108", [row for row, count in enumerate(counts) if UNIFY_PROPERTIES < count <= PROPERTIES])

    def _check_money(self, spec: ObjectSpec) -> None:
        """Flag amounts that are sent as text."""
        tree: dict[str, Any] = {path[0]: value for path, value in spec.members if len(path) == 1}
        if spec.star is not None:
            named = {path[0] for path, _ in spec.members}
            tree |= {name: ColumnValue(column=name) for name in self.starred(spec) if name not in named}
        for value in (tree[name] for name in sorted(MONEY_PROPERTIES & set(tree))):
            if isinstance(value, ColumnValue | SqlValue):
                text = self.columns.of(value).kind is Kind.TEXT and value.as_ != "number"
                if text or value.as_ == "text":
                    there = self.columns.read(value).values
                    self.flag("BF114", [row for row, each in enumerate(there) if each is not None])

    def _context(self) -> list[str]:
        """The members of the job's own context, each with a comma before it."""
        spec = self.call.context
        if spec is not None and self.is_whole(spec):
            members = ({key: text for key, text in each.items() if key != "library"} for each in self.whole_of(spec))
            return ["".join(f",{string(key)}:{text}" for key, text in each.items()) for each in members]
        return joined(self.fields_of(spec), self.rows)

    def _integrations(self) -> Texts:
        """The integrations, the row's own and options from the row filled in; a destination is there without any."""
        stated = self.call.integrations or {}
        own = stated.get(OWN_BLOCK)
        fields: list[tuple[str, Texts]] = []
        for name, options in stated.items():
            if name == OWN_BLOCK and isinstance(own, ObjectValue):
                continue
            literal = not isinstance(options, ObjectValue)
            texts = [compact(pruned(options))] * self.rows if literal else self.member_of(options)
            fields.append((name, [text or "{}" for text in texts]))
        if not isinstance(own, ObjectValue) or own.object.column is None:
            return [braced(each) for each in joined(fields, self.rows)]
        if len(stated) == 1:
            stored = self.columns.raw(own.object.column.column)
            self.flag("BF117", [row for row, each in enumerate(stored) if each is None])
        objects = self.whole_of(own.object) if self.is_whole(own.object) else []
        if not objects:
            return [braced(each) for each in joined([*self.fields_of(own.object), *fields], self.rows)]
        for name, texts in fields:
            for each, text in zip(objects, texts, strict=True):
                each[name] = text or "{}"
        return [braced("".join(f",{string(key)}:{text}" for key, text in each.items())) for each in objects]

    def _keys(self, head: str, content: list[tuple[str, Texts]], file_keys: Sequence[str]) -> Texts:
        """The canonical text of each message key; None where it is no key."""
        key = self.call.message_key
        if key == "content":
            texts = joined(content, self.rows)
            return [f'["{sha256(f"{head}{each}}}".encode()).hexdigest()}"]' for each in texts]
        if key == "row":
            names = [string(file_keys[number]) for number in self.columns.raw(FILE_COLUMN)]
            records = self.columns.raw(RECORD_COLUMN)
            return [f'[{name},"{record}"]' for name, record in zip(names, records, strict=True)]
        values = [self.text_of(value, single=False) for value in key or ()]
        missing = {row for texts in values if None in texts for row, text in enumerate(texts) if text is None}
        if all("" in texts for texts in values):
            missing |= {row for row, texts in enumerate(zip(*values, strict=True)) if not any(texts)}
        self.flag("BF112", missing)
        made = zip(*map(_strings, values), strict=True)
        return [None if row in missing else f"[{','.join(texts)}]" for row, texts in enumerate(made)]


def _strings(texts: Texts) -> Texts:
    if None in texts:
        return [None if text is None else string(text) for text in texts]
    return [string(text) for text in texts]  # type: ignore[arg-type]


def _quoted(texts: Texts) -> Texts:
    return [None if text is None else f'"{text}"' for text in texts]
