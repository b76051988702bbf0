"""Binding of values (columns, SQL results, constants) to the snapshot: what each one's text is, and when it is bad."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import polars as pl

from backfill import encode
from backfill.errors import JobError
from backfill.job.models import ColumnSpec, ColumnValue, ConstantValue, Job, SqlValue
from backfill.mapping.calls import Check, RareMatch
from backfill.mapping.template import BoundValue, Part, constant
from backfill.records import Column, Kind, Severity, Zone, frame_name
from backfill.rules import severity
from backfill.timestamps import (
    EPOCH_MICROSECONDS,
    date_in_calendar,
    in_calendar,
    in_first_year,
    is_ambiguous,
    is_nonexistent,
    iso_key,
    iso_milliseconds,
    nanoseconds,
    to_utc,
)

#: Digits with an optional sign, leading zeros to be dropped: an integer too long for its column, from its raw text.
_LONG_INTEGER = r"^\+?(-?)0*([0-9]+)$"

#: Kinds whose plain text is of digits, signs and ASCII letters: nothing in it needs escaping.
_BARE = (Kind.INTEGER, Kind.NUMBER, Kind.DECIMAL, Kind.BOOLEAN, Kind.DATE, Kind.TIME, Kind.TIMESTAMP)


@dataclass(slots=True)
class Binder:
    """Binds values of one call. Collects the checks, the columns read and the columns to derive on the way."""

    job: Job
    columns: Mapping[str, Column]
    schema: Mapping[str, pl.DataType]
    expressions: Mapping[str, str]  # SQL text -> snapshot column
    reads: set[str] = field(default_factory=set)
    derived: dict[str, pl.Expr] = field(default_factory=dict)
    rare_matches: dict[str, RareMatch] = field(default_factory=dict)
    checks: list[Check] = field(default_factory=list)

    # -- columns ------------------------------------------------------------------------------------------------

    def column(self, name: str) -> Column:
        """The snapshot's column of that name; the job was checked against the source before."""
        if name not in self.columns:
            known = ", ".join(sorted(column for column in self.columns if not column.startswith("__bf_")))
            message = f"the source has no column {name!r}"
            raise JobError(message, hint=f"it has: {known}")
        return self.columns[name]

    def read(self, name: str) -> pl.Expr:
        """The column as an expression, noted as read."""
        self.reads.add(name)
        return pl.col(frame_name(name))

    def check(
        self, code: str, column: str, mask: pl.Expr, shown: pl.Expr, *, omit: bool = False, detail: str | None = None
    ) -> bool:
        """Add a check unless the job ignores its code; returns whether the value is then to be left out."""
        level = Severity.WARNING if omit else severity(code, dict(self.job.rules))
        known = any(
            (each.code, each.severity, each.column) == (code, level, column) and each.mask.meta.eq(mask)
            for each in self.checks
        )
        if level is not None and not known:
            self.checks.append(Check(code, level, column, mask, shown, detail))
        return omit

    def misfit(self, column: Column) -> pl.Expr | None:
        """True where the value, or one that its expression reads, did not fit its declared type; None: cannot be."""
        masks = []
        if column.raw is not None:
            masks.append(self.read(column.raw).is_not_null() & self.read(column.name).is_null())
        for name in column.reads:
            read = self.columns.get(name)
            inner = self.misfit(read) if read is not None else None
            if inner is not None:
                masks.append(inner)
        return pl.any_horizontal(masks) if masks else None

    def unclear(self, column: Column, *, omit: bool = False) -> pl.Expr | None:
        """True where a local time that its expression reads is no one instant, so that SQL saw none; None: cannot be.

        Checks are added that say of the column read what is wrong with it.
        """
        masks = []
        for name in column.reads:
            read, spec = self.columns.get(name), self.job.source.columns.get(name)
            if read is None or spec is None or read.kind is not Kind.TIMESTAMP or read.zone is Zone.UTC:
                continue
            stated = spec.timezone or self.job.source.timezone
            if read.raw is not None and (stated or (spec.format or "iso8601") == "iso8601"):
                masks.append(self.instant(read, omit=omit).is_null() & self.read(name).is_not_null())
        return pl.any_horizontal(masks) if masks else None

    def shown(self, column: Column) -> pl.Expr:
        """The value as people may see it in a problem: the text as read where there is one, or what SQL made of it."""
        bad = [self.columns[name] for name in column.reads if name in self.columns and self.columns[name].raw]
        misfits = [pl.when(self.read(each.name).is_null()).then(self.read(each.raw or "")) for each in bad]
        raws = [self.read(each.raw or "").cast(pl.String) for each in bad]
        own = [self.read(column.raw).cast(pl.String)] if column.raw else []
        return pl.coalesce(*(misfit.cast(pl.String) for misfit in misfits), *own, self.display(column), *raws)

    def declared_as(self, column: Column) -> str:
        """What a value has to be that does not fit: its declared type, or the types of what its expression reads."""
        if column.raw is not None:
            return f"it is declared as {column.kind}"
        read = [self.columns[name] for name in column.reads if name in self.columns and self.columns[name].raw]
        return ", ".join(f"{each.name} is declared as {each.kind}" for each in read)

    def failed(self, column: Column, label: str, *, omit: bool = False) -> pl.Expr | None:
        """True where the column's SQL expression failed, with a check that shows what it read; None: on no row."""
        if column.failed is None:
            return None
        read = [self.columns[name] for name in column.reads if name in self.columns]
        values = [self.read(each.raw).cast(pl.String) if each.raw else self.display(each) for each in read]
        named = [pl.lit(f"{each.name}=") + value for each, value in zip(read, values, strict=True)]
        mask = self.read(column.failed)
        shown = pl.concat_str(named, separator=", ", ignore_nulls=True) if named else pl.lit("")
        self.check("BF130", label, mask, shown, omit=omit)
        return mask

    def display(self, column: Column) -> pl.Expr:
        """The value itself as text."""
        dtype = self.schema[column.name]
        if column.kind in (Kind.BINARY, Kind.INTERVAL, Kind.NULL):
            return pl.lit("")
        if column.kind is Kind.NESTED:
            return encode.nested(self.read(column.name), dtype, encode.AS_THEY_ARE).text
        return encode.shown(self.read(column.name), column.kind, dtype)

    def derive(self, name: str, value: pl.Expr) -> pl.Expr:
        """The value as a column of its own, computed once a frame."""
        self.derived.setdefault(name, value.alias(name))
        return pl.col(name)

    # -- instants -----------------------------------------------------------------------------------------------

    def instant(
        self,
        column: Column,
        *,
        zone: str | None = None,
        ambiguous: str | None = None,
        nonexistent: str | None = None,
        omit: bool = False,
        label: str = "",
    ) -> pl.Expr:
        """The UTC instants of a timestamp or date column, derived once; checks for hours that are not or are twice.

        Where no zone is stated, times without offset are problems if others have one, else the job is at fault.
        Problems name the column by its label.
        """
        label, spec = label or column.name, self._declared(column)
        zone = zone or spec.timezone or self.job.source.timezone
        policy = (ambiguous or spec.ambiguous, nonexistent or spec.nonexistent)
        value = self.read(column.name)
        wall = date_in_calendar(value).cast(pl.Datetime("us")) if column.kind is Kind.DATE else value
        if column.kind is not Kind.DATE and column.zone is Zone.UTC:
            zoned = _zoned(self.schema[column.name])
            instant = in_calendar(value.dt.convert_time_zone("UTC").dt.replace_time_zone(None) if zoned else value)
            self.check("BF202", label, instant.is_null() & value.is_not_null(), pl.lit(""), omit=omit)
            return (
                self._of_epoch(column, instant, omit=omit, label=label)
                if spec.format in EPOCH_MICROSECONDS
                else instant
            )
        if zone is None and column.utc_flag:
            instant = self.derive(
                f"__bf_instant:{column.name}", pl.when(self.read(column.utc_flag)).then(in_calendar(wall))
            )
            self.check("BF202", label, instant.is_null() & value.is_not_null(), self.shown(column), omit=omit)
            return instant
        if zone is None:
            message = f"column {label!r} holds local times, and no time zone is stated"
            raise JobError(message, hint="state `timezone:` on the source, the column or the timestamp")
        return self._localised(column, wall, zone, policy, omit=omit, label=label)

    def _of_epoch(self, column: Column, instant: pl.Expr, *, omit: bool, label: str) -> pl.Expr:
        """The instants of a column that held epochs, with a check of those in 1970."""
        omit = omit and severity("BF207", dict(self.job.rules)) is Severity.ERROR
        early = in_first_year(instant)
        if self.check("BF207", label, early, self.shown(column), omit=omit):
            return pl.when(~early).then(instant)
        return instant

    def check_epochs_read(self, column: Column) -> None:
        """Add the checks of the declared epochs that an expression reads."""
        for name in column.reads:
            read = self.columns.get(name)
            if read is not None and read.kind is Kind.TIMESTAMP and self._declared(read).format in EPOCH_MICROSECONDS:
                self.instant(read)

    def _declared(self, column: Column) -> ColumnSpec:
        """What the job says of the column; of a column of `query`'s result it says nothing, whatever its name."""
        source = self.job.source
        own = source.query is None or source.database is not None
        spec = source.columns.get(column.name) if own else None
        return spec or ColumnSpec(type="timestamp")

    def _localised(
        self, column: Column, wall: pl.Expr, zone: str, policy: tuple[str, str], *, omit: bool, label: str
    ) -> pl.Expr:
        flag = self.read(column.utc_flag).fill_null(value=False) if column.utc_flag else pl.lit(value=False)
        name = f"__bf_instant:{column.name}:{zone}:{policy[0]}:{policy[1]}"
        if name not in self.derived:
            local = to_utc(pl.when(~flag).then(wall) if column.utc_flag else wall, zone, *policy)
            instant = pl.coalesce(local, pl.when(flag).then(in_calendar(wall))) if column.utc_flag else local
            self.derived[name] = instant.alias(name)
        odd = pl.when(pl.col(name).is_null()).then(wall)  # few: the costly questions are asked of these alone
        gap, twice = is_nonexistent(odd, zone), is_ambiguous(odd, zone)
        for code, mask in (("BF202", odd.is_not_null() & ~gap & ~twice), ("BF205", twice), ("BF206", gap)):
            self.check(code, label, mask, self.shown(column), omit=omit)
        return pl.col(name)

    # -- values -------------------------------------------------------------------------------------------------

    def value(self, value: ColumnValue | SqlValue | ConstantValue) -> BoundValue:
        """Bind a value that holds no others; its checks are added. Lists and objects: `objects.bind_value`."""
        return constant(value.value) if isinstance(value, ConstantValue) else self._slot(value)

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
            return self._slot(value)
        bound = self._slot(value.model_copy(update={"as_": "text"}))
        if kind is Kind.JSON and single:
            bound = self._single(value, self.read(name), bound)
        source = f"__bf_text:{name}"
        plain = self.derive(source, bound.plain)  # once a frame: checks, key and members all read it
        bare = kind in _BARE
        text = encode.quoted(plain) if bare else encode.string(plain)
        return BoundValue(text, plain, Kind.TEXT, bound.column, source, ('"', plain, '"'), escapes=not bare)

    def _single(self, value: ColumnValue | SqlValue, read: pl.Expr, bound: BoundValue) -> BoundValue:
        """The bound, with a check that it holds no object and no array."""
        whole = read.str.contains(r"^\s*[\[{]")
        if not self.check("BF123", bound.column, whole, bound.plain, omit=value.on_bad == "omit"):
            return bound
        return replace(bound, plain=pl.when(~whole).then(bound.plain))

    def _slot(self, value: ColumnValue | SqlValue) -> BoundValue:
        name = self.expressions[value.sql] if isinstance(value, SqlValue) else value.column
        column = self.column(name)
        label = value.sql if isinstance(value, SqlValue) else value.column
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
        return BoundValue(text, plain, kind, label, source, _direct(kind, expr, text), escapes=kind is Kind.TEXT)

    def encoded(self, column: Column, value: pl.Expr, dtype: pl.DataType) -> encode.Encoded:
        """The JSON form of a column's value; what is nested is walked once a frame."""
        if column.kind is not Kind.NESTED:
            return encode.encode(value, column.kind, dtype, self.local_times)
        text = encode.nested(value, dtype, self.local_times).text
        return encode.marked(self.derive(f"__bf_json:{column.name}", text))

    def _resolved(self, column: Column, *, omit: bool, label: str) -> pl.Expr:
        if column.kind is Kind.TIMESTAMP:
            return self.instant(column, omit=omit, label=label)
        value = self.read(column.name)
        return encode.json_plain(value) if column.kind is Kind.JSON else value

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
        zone = self._declared(column).timezone or self.job.source.timezone
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

    @property
    def local_times(self) -> encode.LocalTimePolicy:
        """Wall clocks inside nested values: the source's zone, and the default policy."""
        return encode.LocalTimePolicy(
            lambda wall: to_utc(wall, self._zone(), "error", "error"),
            lambda wall: is_nonexistent(wall, self._zone()),
            lambda wall: is_ambiguous(wall, self._zone()),
        )

    def _zone(self) -> str:
        zone = self.job.source.timezone
        if zone is None:
            message = "a nested value holds local times, and no time zone is stated"
            raise JobError(message, hint="state `timezone:` on the source")
        return zone


def _direct(kind: Kind, value: pl.Expr, text: pl.Expr) -> tuple[Part, ...]:
    """The parts of a column's text where the column has no null; none where the text may be null all the same."""
    match kind:
        case Kind.TEXT:
            return ('"', value, '"')
        case Kind.TIMESTAMP:
            return ('"', iso_milliseconds(value), '"')
        case Kind.NESTED | Kind.JSON | Kind.NULL:
            return ()
        case _:
            return (text,)


def _zoned(dtype: pl.DataType) -> bool:
    return getattr(dtype, "time_zone", None) is not None
