"""The snapshot's columns as one call reads them: expressions, what is wrong with their values, how those are shown."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import polars as pl

from backfill import encode
from backfill.errors import JobError
from backfill.job.models import ColumnSpec, Job
from backfill.job.shapes import NO_ENTRY
from backfill.mapping.calls import Check, RareMatch
from backfill.records import Column, Kind, Severity, frame_name
from backfill.rules import severity


@dataclass(slots=True, repr=False, eq=False)
class ColumnReader:
    """Reads columns for one call. Collects the checks, the columns read and the columns to derive on the way."""

    job: Job
    columns: Mapping[str, Column]
    schema: Mapping[str, pl.DataType]
    expressions: Mapping[str, str]  # SQL text -> snapshot column
    reads: set[str] = field(default_factory=set)
    derived: dict[str, pl.Expr] = field(default_factory=dict)
    rare_matches: dict[str, RareMatch] = field(default_factory=dict)
    checks: list[Check] = field(default_factory=list)

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

    def derive(self, name: str, value: pl.Expr) -> pl.Expr:
        """The value as a column of its own, computed once a frame."""
        self.derived.setdefault(name, value.alias(name))
        return pl.col(name)

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

    def failed(self, column: Column, label: str, *, omit: bool = False) -> pl.Expr | None:
        """True where the column's SQL expression failed, with a check that shows what it read; None: on no row."""
        if column.failed is None:
            return None
        read = [self.columns[name] for name in column.reads if name in self.columns]
        values = [self._as_read(each) for each in read]
        named = [pl.lit(f"{each.name}=") + value for each, value in zip(read, values, strict=True)]
        mask = self.read(column.failed)
        if column.reason == NO_ENTRY and label in self.columns:  # of a column nothing but its lookup can fail
            self.check("BF135", label, mask, values[0], omit=omit)
            return mask
        shown = pl.concat_str(named, separator=", ", ignore_nulls=True) if named else pl.lit("")
        self.check("BF130", label, mask, shown, omit=omit, detail=column.reason or None)
        return mask

    def shown(self, column: Column) -> pl.Expr:
        """The value as people may see it in a problem: the text as read where there is one, or what SQL made of it."""
        bad = [self.columns[name] for name in column.reads if name in self.columns and self.columns[name].raw]
        misfits = [pl.when(self.read(each.name).is_null()).then(self.read(each.raw or "")) for each in bad]
        raws = [self.read(each.raw or "").cast(pl.String) for each in bad]
        own = [self.read(column.raw).cast(pl.String)] if column.raw else []
        return pl.coalesce(*(misfit.cast(pl.String) for misfit in misfits), *own, self.display(column), *raws)

    def _as_read(self, column: Column) -> pl.Expr:
        """The text as read, or the value where it prints as that."""
        value = self.display(column)
        return pl.coalesce(self.read(column.raw).cast(pl.String), value) if column.raw else value

    def display(self, column: Column) -> pl.Expr:
        """The value itself as text."""
        dtype = self.schema[column.name]
        if column.kind in (Kind.BINARY, Kind.INTERVAL, Kind.NULL):
            return pl.lit("")
        if column.kind is Kind.NESTED:
            return encode.nested(self.read(column.name), dtype, encode.AS_THEY_ARE).text
        return encode.shown(self.read(column.name), column.kind, dtype)

    def declared_as(self, column: Column) -> str:
        """What a value has to be that does not fit: its declared type, or the types of what its expression reads."""
        if column.raw is not None:
            return f"it is declared as {column.kind}"
        read = [self.columns[name] for name in column.reads if name in self.columns and self.columns[name].raw]
        return ", ".join(f"{each.name} is declared as {each.kind}" for each in read)

    def declared_spec(self, column: Column) -> ColumnSpec:
        """What the job says of the column; of a column of `query`'s result it says nothing, whatever its name."""
        source = self.job.source
        own = source.query is None or source.database is not None
        spec = source.columns.get(column.name) if own else None
        return spec or ColumnSpec(type="timestamp")
