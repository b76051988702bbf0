"""The values and objects of one call, for some rows at once: what `{column: ...}`, `{list: ...}`, `"*"` give."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

import polars as pl

from backfill.job.models import (
    Call,
    ColumnValue,
    ConstantValue,
    ListValue,
    ObjectSpec,
    ObjectValue,
    ShapedValue,
    SqlValue,
)
from backfill.job.references import hashed_columns
from backfill.limits import SAFE_INTEGER
from backfill.records import INTERNAL_PREFIX, JSON_MEMBER, LONG_INTEGER_MEMBER, Kind, Severity
from backfill.rules import severity
from backfill.verify.columns import Bad, Columns
from backfill.verify.nested import writer_of
from backfill.verify.values import Texts, braced, compact, overflows, pruned, string

#: One object: its members by name, each an object again, a value of the job, or what gives the texts.
Tree = dict[str, Any]
Leaf = Callable[[], Texts]
_NUMBER: Final = re.compile(r"[+-]?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")
_WHOLE: Final = re.compile(r"[+-]?[0-9]+")


class Objects:
    """The values of one call over some rows, and the problems found so far: row -> (code, severity)."""

    def __init__(self, call: Call, columns: Columns) -> None:
        self.call = call
        self.columns = columns
        self.rows = columns.rows
        self.problems: dict[int, set[tuple[str, Severity]]] = {}
        self._rules: dict[str, str] = dict(columns.job.rules)

    def flag(self, code: str, rows: Iterable[int], *, omit: bool = False) -> None:
        """Note a problem of rows; `omit`: the value is left out instead, and the problem only counted."""
        level = Severity.WARNING if omit else severity(code, self._rules)
        if level is not None:
            for row in rows:
                self.problems.setdefault(row, set()).add((code, level))

    def flag_all(self, bad: Bad, *, omit: bool = False) -> set[int]:
        """Note what is wrong with values; returns the rows whose value is not to be had."""
        gone = set()
        for row, codes in bad.items():
            for code in codes:
                if code == "BF207" and severity(code, self._rules) is not Severity.ERROR:
                    self.flag(code, [row])
                    continue
                self.flag(code, [row], omit=omit)
                gone.add(row)
        return gone

    # -- single values ------------------------------------------------------------------------------------------

    def text_of(self, value: Any, *, single: bool = True) -> Texts:  # noqa: ANN401 (a value of the job)
        """The plain text of an id, a name or a key value; None where there is none. A key may be any JSON."""
        if isinstance(value, ConstantValue):
            constant = value.value
            return [constant if isinstance(constant, str | None) else compact(constant)] * self.rows
        omit, found = value.on_bad == "omit", self.columns.plain_texts(value)
        gone = self.flag_all(found.bad, omit=omit)
        if not omit:  # what is not finite has a text
            gone = {row for row in gone if found.bad[row] != {"BF111"}}
        if single and self.columns.of(value).kind is Kind.JSON:
            stored = self.columns.read(value).values
            whole = {row for row, text in enumerate(stored) if text and text.lstrip()[:1] in ("[", "{")}
            self.flag("BF123", whole, omit=omit)
            gone |= whole if omit else set()
        return found.values if not gone else [None if row in gone else text for row, text in enumerate(found.values)]

    def member_of(self, value: Any) -> Texts:  # noqa: ANN401 (a value of the job)
        """The JSON text of a member; None where it is left out."""
        if isinstance(value, ConstantValue):
            return [None if value.value is None else compact(pruned(value.value))] * self.rows
        if isinstance(value, ListValue):
            items = [self._element(item) for item in value.list]
            if not items:
                return ["[]"] * self.rows
            return [f"[{','.join(texts)}]" for texts in zip(*items, strict=True)]
        if isinstance(value, ObjectValue):
            return [None if text == "{}" else text for text in self.object_of(value.object)]
        return self._slot(value)

    def _element(self, value: Any) -> list[str]:  # noqa: ANN401
        """An element of a list: it stays."""
        empty = "{}" if isinstance(value, ObjectValue) else "null"
        return [text or empty for text in self.member_of(value)]

    def _slot(self, value: ColumnValue | SqlValue) -> Texts:
        """The JSON text of a column's value as the job wants it."""
        column = self.columns.of(value)
        if value.as_ == "text":
            texts, bad = self._as_text(value, column.kind)
        elif value.as_ == "number" and column.kind in (Kind.TEXT, Kind.JSON):
            texts, bad = self._as_number(value)
        else:
            found = self.columns.json_texts(value)
            texts, bad = found.values, found.bad
            if column.json_text and value.as_ is None:
                self.flag("BF132", [row for row, text in enumerate(texts) if text is not None])
        gone = self.flag_all(bad, omit=value.on_bad == "omit") if bad else set()
        if value.nulls == "keep":
            texts = ["null" if text is None else text for text in texts]
        return [None if row in gone else text for row, text in enumerate(texts)] if gone else texts

    def _as_text(self, value: ColumnValue | SqlValue, kind: Kind) -> tuple[Texts, Bad]:
        found = self.columns.plain_texts(value)
        if kind is Kind.NESTED:
            return [string(text) if text else None for text in found.values], found.bad
        return [None if text is None else string(text) for text in found.values], found.bad

    def _as_number(self, value: ColumnValue | SqlValue) -> tuple[Texts, Bad]:
        """Numbers that are text in the source: their digits as written, if a double can tell them from others."""
        found = self.columns.plain_texts(value)
        bad = {row: set(codes) for row, codes in found.bad.items()}
        texts: Texts = []
        for row, text in enumerate(found.values):
            code = "" if text is None else _fault_of_number(text)
            if code:
                bad.setdefault(row, set()).add(code)
            texts.append(text and text.removeprefix("+"))
        return texts, bad

    # -- objects ------------------------------------------------------------------------------------------------

    def object_of(self, spec: ObjectSpec | None) -> list[str]:
        """The JSON text of properties, traits, context or an inner object."""
        if spec is not None and self.is_whole(spec):
            return [_text_of(members) for members in self.whole_of(spec)]
        fields = self.fields_of(spec)
        return [braced(members) for members in joined(fields, self.rows)]

    def is_whole(self, spec: ObjectSpec) -> bool:
        """Whether the object comes from JSON or a map, so that each row may have other members."""
        if spec.column is None:
            return False
        column = self.columns.of(spec.column)
        return column.kind is not Kind.NESTED or not isinstance(self.columns.dtype(column), pl.Struct)

    def fields_of(self, spec: ObjectSpec | None) -> list[tuple[str, Texts]]:
        """The members in order, of an object that is not whole: a struct's, overridden, then the job's, then `*`."""
        if spec is None:
            return []
        tree: Tree = {}
        if spec.column is not None:
            column = self.columns.of(spec.column)
            dtype = self.columns.dtype(column)
            assert isinstance(dtype, pl.Struct)
            tree = self._struct(self.columns.read(spec.column).values, dtype)
        for path, value in spec.members:
            put(tree, path, value)
        for name in self.starred(spec) if spec.star is not None else ():
            tree.setdefault(name, ColumnValue(column=name))
        return [(name, self._rendered(value)) for name, value in tree.items()]

    def _struct(self, values: list[Any], dtype: pl.Struct) -> Tree:
        """The fields of a struct, at every depth, so that a member can take any one's place."""
        tree: Tree = {}
        for field in dtype.fields:
            inner = [None if value is None else value[field.name] for value in values]
            is_struct = isinstance(field.dtype, pl.Struct) and not _stands_for_another(field.dtype)
            tree[field.name] = (
                self._struct(inner, field.dtype)  # type: ignore[arg-type]
                if is_struct
                else self._field(inner, field.dtype)  # type: ignore[arg-type]
            )
        return tree

    def _field(self, values: list[Any], dtype: pl.DataType) -> Leaf:
        """What writes a field of a struct, and notes what is wrong with it."""

        def texts() -> Texts:
            write = writer_of(dtype, self.columns.local_times(self.columns.job.source.timezone))
            found: Texts = []
            for row, value in enumerate(values):
                wrong: set[str] = set()
                found.append(write(value, wrong))
                for code in wrong:
                    self.flag(code, [row])
            return found

        return texts

    def _rendered(self, value: Any) -> Texts:  # noqa: ANN401 (a node of the tree)
        if isinstance(value, dict):
            fields = [(name, self._rendered(inner)) for name, inner in value.items()]
            return [braced(members) if members else None for members in joined(fields, self.rows)]
        return value() if callable(value) else self.member_of(value)

    def whole_of(self, spec: ObjectSpec) -> list[dict[str, str]]:
        """The members of each row's object: those of the JSON or the map, the job's put over them."""
        assert spec.column is not None
        objects = self._parsed(spec.column)
        for path, value in spec.members:
            for row, text in enumerate(self.member_of(value)):
                _put_text(objects[row], path, text)
        return [{name: text for name, text in members.items() if text is not None} for members in objects]

    def _parsed(self, value: ColumnValue) -> list[dict[str, str | None]]:
        """The members of JSON objects, each as it stands in compact form; a problem where one is no object."""
        omit, found = value.on_bad == "omit", self.columns.json_texts(value)
        gone = self.flag_all(found.bad, omit=omit)
        wrong = {row for row, text in enumerate(found.values) if text is not None and not text.lstrip().startswith("{")}
        self.flag("BF117", wrong, omit=omit)
        gone |= wrong
        return [{} if text is None or row in gone else members_of(text) for row, text in enumerate(found.values)]

    def starred(self, spec: ObjectSpec) -> list[str]:
        """The columns of `*`: not named elsewhere in the object, nor used as id, time or name, excluded or hashed."""
        call, star = self.call, spec.star
        used = [call.userId, call.anonymousId, call.groupId, call.previousId, call.event, call.name, call.category]
        taken = {value.column for value in (*used, call.message_id) if isinstance(value, ColumnValue | ShapedValue)}
        taken |= {call.timestamp.column or "", *(star.exclude if star else ())} | columns_in(spec)
        taken |= hashed_columns(self.columns.job, self.columns.described)
        return [name for name in self.columns.described if name not in taken and not name.startswith(INTERNAL_PREFIX)]


def put(tree: Tree, path: tuple[str, ...], value: Any) -> None:  # noqa: ANN401 (a value of the job)
    """Set a member; inner objects are made on the way, a value in the way gives way."""
    name, *rest = path
    if not rest:
        tree[name] = value
        return
    inner = tree.get(name)
    tree[name] = inner if isinstance(inner, dict) else {}
    put(tree[name], tuple(rest), value)


def _put_text(members: dict[str, str | None], path: tuple[str, ...], text: str | None) -> None:
    """The same in an object of texts."""
    name, *rest = path
    if not rest:
        members[name] = text
        return
    there = members.get(name) or ""
    inner: dict[str, str | None] = members_of(there) if there.startswith("{") else {}
    _put_text(inner, tuple(rest), text)
    members[name] = _text_of({key: each for key, each in inner.items() if each is not None})
    if members[name] == "{}" and not there.startswith("{"):
        members[name] = None


def members_of(text: str) -> dict[str, str | None]:
    """The members of a JSON object, each in compact form."""
    return {name: compact(inner) for name, inner in json.loads(text).items()}


def _text_of(members: Mapping[str, str | None]) -> str:
    return braced("".join([f",{string(name)}:{text}" for name, text in members.items()]))


def joined(fields: list[tuple[str, Texts]], rows: int) -> list[str]:
    """`,"name":text` of each row's members that are there, one behind the other."""
    if not fields:
        return [""] * rows
    parts: list[list[str]] = []
    for name, texts in fields:
        key = f",{compact(name)}:"
        parts.append(
            ["" if text is None else key + text for text in texts] if None in texts else [key + text for text in texts]  # type: ignore[operator]
        )
    return list(map("".join, zip(*parts, strict=True)))


def columns_in(spec: ObjectSpec) -> set[str]:
    """Every column that an object names as a value, at any depth."""
    found = {spec.column.column} if spec.column else set()
    pending: list[Any] = [value for _, value in spec.members]
    while pending:
        value = pending.pop()
        if isinstance(value, ListValue):
            pending += value.list
        elif isinstance(value, ObjectValue):
            found |= columns_in(value.object)
        elif isinstance(value, ColumnValue | ShapedValue):
            found.add(value.column)
    return found


def _stands_for_another(dtype: Any) -> bool:  # noqa: ANN401 (a struct)
    return len(dtype.fields) == 1 and dtype.fields[0].name in (LONG_INTEGER_MEMBER, JSON_MEMBER)


def _fault_of_number(text: str) -> str:
    """The code of what is wrong with text that is to be a number; empty where nothing is."""
    if not _NUMBER.fullmatch(text):
        return "BF117"
    if _WHOLE.fullmatch(text):
        return "BF110" if abs(int(text)) > SAFE_INTEGER else ""
    return "BF111" if overflows(float(text)) else ""
