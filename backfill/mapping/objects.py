"""properties, traits, context: objects put together from members, a whole column, and `"*"`."""

from __future__ import annotations

import polars as pl

from backfill import encode
from backfill.errors import JobError
from backfill.job.models import ColumnValue, ListValue, ObjectSpec, ObjectValue, Value, inner_values
from backfill.limits import PROPERTIES, UNIFY_PROPERTIES
from backfill.mapping.cells import Binder
from backfill.mapping.merge import member_count, merged
from backfill.mapping.template import Cell, Facts, Node, Part, certain, nullable
from backfill.records import INTERNAL_PREFIX, Kind


def bind_object(binder: Binder, spec: ObjectSpec | None, used: frozenset[str]) -> tuple[Node, pl.Expr | None]:
    """The members of an object, and the whole object's JSON text where it comes from a column of JSON.

    `used` are the columns taken as id, time or name, which `"*"` leaves out.
    """
    node = Node()
    if spec is None:
        return node, None
    whole = _whole(binder, spec.column, node) if spec.column is not None else None
    for path, value in spec.members:
        node.put(path, bind_value(binder, value, used))
    if spec.star is not None:
        for name in _starred(binder, spec, used):
            node.put((name,), binder.value(ColumnValue(column=name)))
    return node, whole


def bind_value(binder: Binder, value: Value, used: frozenset[str] = frozenset()) -> Node | Cell:
    """Bind any value: lists and objects with all that is in them."""
    if isinstance(value, ObjectValue):
        return bind_object(binder, value.object, used)[0]
    if isinstance(value, ListValue):
        return _list(binder, value, used)
    return binder.value(value)


def _list(binder: Binder, value: ListValue, used: frozenset[str]) -> Cell:
    """A JSON array; its elements stay, nulls as null and objects without members as {}."""
    parts: list[Part] = []
    for item in value.list:
        bound = bind_value(binder, item, used)
        text = encode.braced(bound.text(Facts())) if isinstance(bound, Node) else bound.text.fill_null("null")
        parts += [",", text]
    return certain("[", *parts[1:], "]")


def _whole(binder: Binder, value: ColumnValue, node: Node) -> pl.Expr | None:
    """Spread a struct column's fields over the node; the text of a JSON column is returned instead."""
    column = binder.column(value.column)
    dtype = binder.schema[column.name]
    if column.kind is Kind.NESTED and isinstance(dtype, pl.Struct):
        struct = binder.read(column.name)
        for name, inner in _fields(dtype).items():
            encoded = encode.nested(struct.struct.field(name), inner, binder.inner_instant)
            for code, mask in encoded.bad:
                binder.check(code, column.name, mask, binder.shown(column))
            node.put((name,), Cell(encoded.text, encoded.text, Kind.NESTED, value.column))
        return None
    if column.kind in (Kind.JSON, Kind.NULL):
        cell = binder.value(value)
        binder.check("BF117", value.column, ~cell.text.str.starts_with("{"), binder.shown(column))
        return cell.text
    message = f"column {value.column!r} holds {column.kind.value}; a whole object needs a struct or JSON objects"
    raise JobError(message, hint="map its members one by one, or declare the column as `json`")


def _fields(dtype: pl.Struct) -> dict[str, pl.DataType]:
    return {field.name: field.dtype for field in dtype.fields}  # type: ignore[misc]


def _starred(binder: Binder, spec: ObjectSpec, used: frozenset[str]) -> list[str]:
    named = {
        inner.column for _, value in spec.members for inner in inner_values(value) if isinstance(inner, ColumnValue)
    }
    named |= {spec.column.column} if spec.column is not None else set()
    left_out = named | used | set(spec.star.exclude if spec.star else ())
    return [name for name in binder.columns if name not in left_out and not name.startswith(INTERNAL_PREFIX)]


def with_whole(node: Node, whole: pl.Expr | None) -> Node | Cell:
    """The object as it goes into the call: always present, and over the JSON column's object where there is one."""
    if whole is None:
        node.present = True
        return node
    filled = whole.fill_null("{}")
    text = merged(filled, encode.braced(node.text(Facts()))) if node.members else filled
    return Cell(text, text, Kind.JSON)


def check_size(binder: Binder, field_name: str, node: Node, whole: pl.Expr | None) -> None:
    """Add the checks of how many members an object has; none where it cannot have so many.

    A whole object and its overrides are counted apart and added: a member in both counts twice.
    """
    if len(node.members) <= UNIFY_PROPERTIES and whole is None:
        return
    present = [nullable(value, Facts()).is_not_null() for value in node.members.values()]
    own = pl.sum_horizontal(present) if present else pl.lit(0)
    count = own + (member_count(whole).fill_null(0) if whole is not None else 0)
    shown = count.cast(pl.String)
    binder.check("BF108", field_name, (count > UNIFY_PROPERTIES) & (count <= PROPERTIES), shown)
    binder.check("BF109", field_name, count > PROPERTIES, shown)
