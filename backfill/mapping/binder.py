"""Binding of values (columns, SQL results, constants) to the snapshot: what each one's text is, and when it is bad."""

from __future__ import annotations

from dataclasses import dataclass, replace

import polars as pl

from backfill import encode
from backfill.job.leaves import label_of
from backfill.job.models import ColumnValue, ConstantValue, SqlValue
from backfill.mapping.instants import InstantReader
from backfill.mapping.template import BoundValue, Part, constant
from backfill.records import Column, Kind, Zone, frame_name
from backfill.rules import severity
from backfill.timestamps import iso_key, nanoseconds

#: Digits with an optional sign, leading zeros to be dropped: an integer too long for its column, from its raw text.
_LONG_INTEGER = r"^\+?(-?)0*([0-9]+)$"
#: Kinds whose plain text is of digits, signs and ASCII letters: nothing in it needs escaping.
_BARE = (Kind.INTEGER, Kind.NUMBER, Kind.DECIMAL, Kind.BOOLEAN, Kind.DATE, Kind.TIME, Kind.TIMESTAMP)


@dataclass(slots=True, repr=False, eq=False)
class Binder(InstantReader):
    """Binds the values of one call."""

    def value(self, value: ColumnValue | SqlValue | ConstantValue) -> BoundValue:
        """Bind a value that holds no others; its checks are added. Lists and objects: `objects.bind_value`."""
        return constant(value.value) if isinstance(value, ConstantValue) else self._bind(value)

    def text(self, value: ColumnValue | SqlValue | ConstantValue, *, single: bool = True) -> BoundValue:
        """Bind an id, a name or a part of a key: always text, so an integer may have any length.

        With `single` an object or array in a JSON column is a problem; in a key it is as good as any text.
        """
        if isinstance(value, ConstantValue):
            bound = constant(value.value)
            if isinstance(value.value, str) or value.value is None:
                return replace(bound, kind=Kind.TEXT)
            return replace(constant(encode.literal(value.value)), kind=Kind.TEXT)
        name = self.expressions[value.sql] if isinstance(value, SqlValue) else value.column
        kind = self.column(name).kind
        if kind is Kind.TEXT:
            return self._bind(value)
        bound = self._bind(value.model_copy(update={"as_": "text"}))
        if kind is Kind.JSON and single:
            bound = self._single(value, self.read(name), bound)
        source = f"__bf_text:{name}"
        plain = self.derive(source, bound.plain)  # once a frame: checks, key and members all read it
        bare = kind in _BARE
        text = encode.quoted(plain) if bare else encode.string(plain)
        return BoundValue(text, plain, Kind.TEXT, bound.column, source, ('"', plain, '"'), escapes=not bare)

    def _single(self, value: ColumnValue | SqlValue, read: pl.Expr, bound: BoundValue) -> BoundValue:
        """The bound value, with a check that it holds no object and no array."""
        whole = read.str.contains(r"^\s*[\[{]")
        if not self.check("BF123", bound.column, whole, bound.plain, omit=value.on_bad == "omit"):
            return bound
        return replace(bound, plain=pl.when(~whole).then(bound.plain))

    def _bind(self, value: ColumnValue | SqlValue) -> BoundValue:
        name = self.expressions[value.sql] if isinstance(value, SqlValue) else value.column
        column = self.column(name)
        label = label_of(value)
        omit = value.on_bad == "omit"
        kind, dtype = column.kind, self.schema[column.name]
        expr = self._resolved(column, omit=omit, label=label)
        if column.json_text and value.as_ is None:
            self.check("BF132", label, expr.is_not_null(), expr)
        if value.as_ == "text":
            encoded, plain = self._as_text(column, expr, dtype)
        elif value.as_ == "number" and kind in (Kind.TEXT, Kind.JSON):
            encoded = encode.number_from_text(encode.scalar_text(expr) if kind is Kind.JSON else expr)
            plain, kind = encoded.text, Kind.NUMBER
        else:
            encoded = self.encoded(column, expr, dtype)
            plain = self._plain(column, expr) if kind is not Kind.NESTED else encoded.text
        bad = self._bad(column, label, encoded, value, expr)
        text = encoded.text if bad is None or not omit else pl.when(~bad).then(encoded.text)
        plain = plain if bad is None or not omit else pl.when(~bad).then(plain)
        shown_kind = Kind.TEXT if value.as_ == "text" else kind
        if value.nulls == "keep":
            kept = text.fill_null("null")
            return BoundValue(
                kept if bad is None or not omit else pl.when(~bad).then(kept), plain, shown_kind, label, kept=True
            )
        if text is not encoded.text or value.as_ is not None:
            return BoundValue(text, plain, shown_kind, label)
        localised = kind is Kind.TIMESTAMP and column.zone is not Zone.UTC
        source = expr.meta.root_names()[0] if localised else frame_name(column.name)
        direct = (text,) if column.numbers else _direct(kind, expr, text)
        return BoundValue(text, plain, kind, label, source, direct, escapes=kind is Kind.TEXT)

    def encoded(self, column: Column, value: pl.Expr, dtype: pl.DataType) -> encode.Encoded:
        """The JSON form of a column's value; what is nested is walked, and JSON looked through, once a frame."""
        if column.numbers:
            return encode.Encoded(value, ())
        if column.kind is Kind.JSON and isinstance(dtype, pl.String):
            doubtful = self.derive(f"__bf_doubtful:{column.name}", encode.doubtful(value))
            return encode.Encoded(value, encode.not_json(doubtful))
        if column.kind is not Kind.NESTED:
            return encode.encode(value, column.kind, dtype, self.local_times)
        text = encode.nested(value, dtype, self.local_times).text
        return encode.marked(self.derive(f"__bf_json:{column.name}", text))

    def _resolved(self, column: Column, *, omit: bool, label: str) -> pl.Expr:
        if column.kind is Kind.TIMESTAMP:
            return self.instant(column, omit=omit, label=label)
        value = self.read(column.name)
        return encode.json_plain(value) if column.kind is Kind.JSON and not column.numbers else value

    def _as_text(self, column: Column, expr: pl.Expr, dtype: pl.DataType) -> tuple[encode.Encoded, pl.Expr]:
        plain = self._plain(column, expr)
        if column.kind is Kind.NESTED:
            whole = self.encoded(column, expr, dtype)
            return encode.Encoded(encode.string(whole.text), whole.bad), whole.text
        if column.kind is Kind.INTEGER and column.raw is not None:
            long = self.read(column.raw).str.replace(_LONG_INTEGER, "$1$2")
            plain = pl.coalesce(plain, pl.when(self._long_integer(column)).then(long))
        bad = (
            encode.encode(expr, column.kind, dtype, self.local_times).bad
            if column.kind in (Kind.NUMBER, Kind.DATE, Kind.TIME)
            else ()
        )
        return encode.Encoded(encode.string(plain), bad), plain

    def _plain(self, column: Column, expr: pl.Expr) -> pl.Expr:
        """The plain text; instants made of local times get back the nanoseconds that shifting them cut off."""
        dtype = self.schema[column.name]
        zone = self.declared_spec(column).timezone or self.job.source.timezone
        local = column.kind is Kind.TIMESTAMP and column.zone is not Zone.UTC and zone is not None
        if local and isinstance(dtype, pl.Datetime) and dtype.time_unit == "ns":
            return iso_key(expr, nanoseconds(self.read(column.name), zone or ""))
        return encode.plain(expr, column.kind)

    def _long_integer(self, column: Column) -> pl.Expr:
        raw = self.read(column.raw or column.name)
        return raw.str.contains(_LONG_INTEGER) & self.read(column.name).is_null()

    def _bad(
        self, column: Column, label: str, encoded: encode.Encoded, value: ColumnValue | SqlValue, expr: pl.Expr
    ) -> pl.Expr | None:
        """Where the value is bad in any way, with a check for each; None where it cannot be."""
        omit, shown = value.on_bad == "omit", self.shown(column)
        found = list(encoded.bad)
        found += encode.computed_json(expr if column.kind is Kind.JSON else encoded.text) if column.computed else ()
        found += [("BF133", mask) for mask in self._rounded(column, encoded)]
        misfit = self.misfit(column)
        if misfit is not None and column.kind is Kind.INTEGER and column.raw is not None:
            long = self._long_integer(column)
            found += [] if value.as_ == "text" else [("BF110", misfit & long)]
            misfit = misfit & ~long
        found += [("BF117", misfit)] if misfit is not None else []
        for code, mask in found:
            self.check(code, label, mask, shown, omit=omit, detail=self._wanted(code, column, value))
        masks = [mask for _, mask in found]
        if column.kind is Kind.TIMESTAMP:  # its checks: BF202, BF205, BF206, see `instant`
            masks.append(expr.is_null() & self.read(column.name).is_not_null())
        masks += [
            mask
            for mask in (self.unclear(column, omit=omit), self.failed(column, label, omit=omit))
            if mask is not None
        ]
        return pl.any_horizontal(masks).fill_null(value=False) if masks else None

    def _wanted(self, code: str, column: Column, value: ColumnValue | SqlValue) -> str | None:
        """What a value had to be that does not fit."""
        if code != "BF117":
            return None
        if column.raw is None and value.as_ == "number":
            return "a number is wanted"
        return self.declared_as(column) or None

    def _rounded(self, column: Column, encoded: encode.Encoded) -> list[pl.Expr]:
        """Where a number lost digits on its way out of JSON; nothing where it cannot have."""
        if not column.takes_json or severity("BF133", dict(self.job.rules)) is None:
            return []
        if column.kind not in (Kind.TEXT, Kind.JSON, Kind.DECIMAL, Kind.NESTED):
            return []
        read = [self.columns[name] for name in column.reads if name in self.columns]
        sources = [self.read(each.name) for each in read if each.kind in (Kind.JSON, Kind.TEXT)]
        return [encode.rounded(encoded.text, sources)] if sources else []


def _direct(kind: Kind, value: pl.Expr, text: pl.Expr) -> tuple[Part, ...]:
    """The parts of a column's text where the column has no null; none where the text may be null all the same."""
    if kind in (Kind.NESTED, Kind.JSON, Kind.NULL):
        return ()
    inside = encode.inside_quotes(value, kind)
    return (text,) if inside is None else ('"', inside, '"')
