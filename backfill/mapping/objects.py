"""properties, traits, context: objects put together from members, a whole column, and `"*"`."""

from __future__ import annotations

import polars as pl

from backfill import encode
from backfill.errors import JobError
from backfill.job.leaves import named_columns
from backfill.job.models import ColumnValue, ListValue, ObjectSpec, ObjectValue, Value
from backfill.limits import PROPERTIES, UNIFY_PROPERTIES
from backfill.mapping.binder import Binder
from backfill.mapping.merge import member_count
from backfill.mapping.template import BoundValue, Facts, ObjectTemplate, Part, joined, never_null, nullable
from backfill.records import INTERNAL_PREFIX, Column, Kind


def bind_object(binder: Binder, spec: ObjectSpec | None, used: frozenset[str] = frozenset()) -> ObjectTemplate:
    """The members of an object; `used` are the columns taken as id, time or name, or hashed, which `"*"` leaves out."""
    template = ObjectTemplate()
    if spec is None:
        return template
    expanded = _from_column(binder, spec.column, template) if spec.column is not None else []
    for path, value in spec.members:
        template.put(path, bind_value(binder, value, used))
    for name in _starred(binder, spec, used) if spec.star is not None else ():
        if name not in template.members:
            template.put((name,), binder.value(ColumnValue(column=name)))
    inside = set(map(id, template.bound_values()))
    for bound, code, mask, column in expanded:
        if id(bound) in inside:  # what a member took the place of is not sent, so it cannot be wrong
            binder.check(code, column.name, mask, binder.shown(column))
    return template


def bind_value(binder: Binder, value: Value, used: frozenset[str] = frozenset()) -> ObjectTemplate | BoundValue:
    """Bind any value: lists and objects with all that is in them."""
    if isinstance(value, ObjectValue):
        template = bind_object(binder, value.object, used)
        template.replaces = True
        return template
    if isinstance(value, ListValue):
        return _list(binder, value, used)
    return binder.value(value)


def _list(binder: Binder, value: ListValue, used: frozenset[str]) -> BoundValue:
    """A JSON array; its elements stay, nulls as null and objects without members as {}."""
    parts: list[Part] = []
    for item in value.list:
        bound = bind_value(binder, item, used)
        text = (
            joined(bound.braced(Facts()), skip_nulls=True)
            if isinstance(bound, ObjectTemplate)
            else bound.text.fill_null("null")
        )
        parts += [",", text]
    return never_null("[", *parts[1:], "]")


#: A field of a struct with what may be wrong with it.
ExpandedField = tuple[BoundValue, str, pl.Expr, Column]


def _from_column(binder: Binder, value: ColumnValue, template: ObjectTemplate) -> list[ExpandedField]:
    """Put a struct column's fields into the template, or the template over the objects of a JSON column or a map."""
    column = binder.column(value.column)
    dtype = binder.schema[column.name]
    if column.kind is Kind.NESTED and isinstance(dtype, pl.Struct):
        return _expand_struct(binder, binder.read(column.name), dtype, template, column, ())
    if column.kind not in (Kind.JSON, Kind.NESTED, Kind.NULL):
        message = f"column {value.column!r} holds {column.kind.value}; a whole object is a struct, a map or JSON"
        raise JobError(message, hint="map its members one by one, or declare the column as `json`")
    text = binder.value(value).text
    no_object = ~text.str.contains(r"^\s*\{")
    omit = value.on_bad == "omit"
    binder.check("BF117", value.column, no_object, binder.shown(column), omit=omit, detail="an object is wanted")
    template.from_column = pl.when(~no_object).then(text) if omit else text
    return []


def _expand_struct(
    binder: Binder, struct: pl.Expr, dtype: pl.Struct, template: ObjectTemplate, column: Column, above: tuple[int, ...]
) -> list[ExpandedField]:
    """Put a struct's fields into the template, at every depth, so that a member can take any one's place."""
    found: list[ExpandedField] = []
    for place, (name, inner) in enumerate(_fields(dtype).items()):
        field = encode.field(struct, dtype, place)
        if isinstance(inner, pl.Struct) and encode.tag_of(inner) is None:
            below = ObjectTemplate()
            template.members[name] = below
            found += _expand_struct(binder, field, inner, below, column, (*above, place))
            continue
        path = ".".join(map(str, (*above, place)))
        text = binder.derive(f"__bf_field:{path}:{column.name}", encode.nested(field, inner, binder.local_times).text)
        encoded = encode.marked(text)
        bound = BoundValue(encoded.text, encoded.text, Kind.NESTED, column.name)
        template.members[name] = bound
        found += [(bound, code, mask, column) for code, mask in encoded.bad]
    return found


def _fields(dtype: pl.Struct) -> dict[str, pl.DataType]:
    return {field.name: field.dtype for field in dtype.fields}  # type: ignore[misc]


def _starred(binder: Binder, spec: ObjectSpec, used: frozenset[str]) -> list[str]:
    left_out = named_columns(spec) | used | set(spec.star.exclude if spec.star else ())
    return [name for name in binder.columns if name not in left_out and not name.startswith(INTERNAL_PREFIX)]


def _present(value: ObjectTemplate | BoundValue) -> pl.Expr:
    """Whether a member is sent; of a scalar column its nulls say so, without a text that is made to be counted."""
    if isinstance(value, BoundValue) and value.source and value.kind not in (Kind.NESTED, Kind.JSON):
        return pl.col(value.source).is_not_null()
    return nullable(value, Facts()).is_not_null()


def check_size(binder: Binder, field_name: str, template: ObjectTemplate) -> None:
    """Add the checks of how many members an object has; none where it cannot have that many.

    A whole object and its overrides are counted apart and added: a member in both counts twice. The documented limits
    are of properties and of traits, so `context` is not counted.
    """
    whole = template.from_column
    if len(template.members) <= UNIFY_PROPERTIES and whole is None:
        return
    present = [_present(value) for value in template.members.values()]
    own = pl.sum_horizontal(present) if present else pl.lit(0)
    count = own + (member_count(whole).fill_null(0) if whole is not None else 0)
    shown = count.cast(pl.String)
    binder.check("BF108", field_name, (count > UNIFY_PROPERTIES) & (count <= PROPERTIES), shown)
    binder.check("BF109", field_name, count > PROPERTIES, shown)
