"""Timestamp and date columns as UTC instants, with the checks of local times that are no one instant."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import polars as pl

from backfill import encode
from backfill.errors import JobError
from backfill.mapping.columns import ColumnReader
from backfill.records import Column, Kind, Severity, Zone
from backfill.rules import severity
from backfill.timestamps import (
    EPOCH_MICROSECONDS,
    date_in_calendar,
    in_calendar,
    in_first_year,
    is_ambiguous,
    is_nonexistent,
    to_utc,
)

#: Of a time without an offset among others that have one, where no zone is stated.
NO_OFFSET: Final = "it carries no offset, and no `timezone` is stated"


@dataclass(slots=True, repr=False, eq=False)
class InstantReader(ColumnReader):
    """Reads columns, and makes instants of those that hold times."""

    def instant(
        self,
        column: Column,
        *,
        wall: pl.Expr | None = None,
        zone: str | None = None,
        ambiguous: str | None = None,
        nonexistent: str | None = None,
        omit: bool = False,
        label: str = "",
    ) -> pl.Expr:
        """The UTC instants of a timestamp or date column, derived once; checks for hours that are not or are twice.

        `wall` are the local times of a column that holds something else.
        Where no zone is stated, times without offset are problems if others have one, else the job is at fault.
        Problems name the column by its label.
        """
        label, spec = label or column.name, self.declared_spec(column)
        zone = zone or spec.timezone or self.job.source.timezone
        policy = (ambiguous or spec.ambiguous, nonexistent or spec.nonexistent)
        value = self.read(column.name)
        local = wall is not None or column.kind is Kind.DATE
        if wall is None:
            wall = date_in_calendar(value).cast(pl.Datetime("us")) if column.kind is Kind.DATE else value
        if not local and column.zone is Zone.UTC:
            zoned = _zoned(self.schema[column.name])
            instant = in_calendar(value.dt.convert_time_zone("UTC").dt.replace_time_zone(None) if zoned else value)
            self.check("BF202", label, instant.is_null() & value.is_not_null(), pl.lit(""), omit=omit)
            return (
                self._of_epoch(column, instant, omit=omit, label=label)
                if spec.format in EPOCH_MICROSECONDS
                else instant
            )
        if zone is None and column.utc_flag:
            flag = self.read(column.utc_flag).fill_null(value=False)
            instant = self.derive(f"__bf_instant:{column.name}", pl.when(flag).then(in_calendar(wall)))
            shown, bad = self.shown(column), instant.is_null() & value.is_not_null()
            self.check("BF202", label, bad & ~flag, shown, omit=omit, detail=NO_OFFSET)
            self.check("BF202", label, bad & flag, shown, omit=omit)
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
        gap = self.derive(f"{name}:gap", is_nonexistent(odd, zone))
        twice = self.derive(f"{name}:twice", is_ambiguous(odd, zone))
        for code, mask in (("BF202", odd.is_not_null() & ~gap & ~twice), ("BF205", twice), ("BF206", gap)):
            self.check(code, label, mask, self.shown(column), omit=omit)
        return pl.col(name)

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

    def check_epochs_read(self, column: Column) -> None:
        """Add the checks of the declared epochs that an expression reads."""
        for name in column.reads:
            read = self.columns.get(name)
            if (
                read is not None
                and read.kind is Kind.TIMESTAMP
                and self.declared_spec(read).format in EPOCH_MICROSECONDS
            ):
                self.instant(read)

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


def _zoned(dtype: pl.DataType) -> bool:
    return getattr(dtype, "time_zone", None) is not None
