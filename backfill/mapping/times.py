"""A call's timestamp: from any column it may stand in, to a UTC instant, with the checks of section BF2xx."""

from __future__ import annotations

from datetime import UTC, datetime

import polars as pl

from backfill.errors import JobError
from backfill.job.models import TimestampSpec
from backfill.job.times import EXCEL
from backfill.mapping.binder import Binder
from backfill.records import Column, Kind
from backfill.timestamps import (
    EPOCH_MICROSECONDS,
    from_epoch,
    from_epoch_text,
    from_excel,
    from_float_epoch,
    in_first_year,
)

_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001  instants here are naive UTC, as in every derived column
#: Clocks of exporting machines run ahead by minutes, not by hours.
FUTURE_MICROSECONDS = 3_600_000_000
_NUMERIC = (Kind.INTEGER, Kind.NUMBER, Kind.DECIMAL, Kind.TEXT, Kind.JSON)


def bind_timestamp(binder: Binder, spec: TimestampSpec, now: float) -> pl.Expr:
    """The call's instant (naive UTC, null where there is none); `now` is in POSIX seconds."""
    if spec.value is not None:
        return pl.lit(_constant(spec.value))
    column, label = _column(binder, spec)
    source, misfit = binder.read(column.name), binder.misfit(column)
    shown = binder.shown(column)
    if spec.format in EPOCH_MICROSECONDS and column.kind in _NUMERIC:
        instant = _from_number(source, column, spec.format)
        unreadable = source.is_not_null() & instant.is_null()
        misfit = _either(misfit, unreadable)
        binder.check("BF207", label, in_first_year(instant), shown)
    else:
        serial = spec.format == EXCEL and column.kind in _NUMERIC
        wall = from_excel(source.cast(pl.Float64, strict=False)) if serial else None
        if wall is not None:
            misfit = _either(misfit, source.is_not_null() & wall.is_null())
        instant = binder.instant(
            column, wall=wall, zone=spec.timezone, ambiguous=spec.ambiguous, nonexistent=spec.nonexistent, label=label
        )
    if misfit is not None:
        binder.check("BF202", label, misfit, shown, detail=_wanted(binder, column, spec))
    known = [mask for mask in (misfit, binder.unclear(column), binder.failed(column, label)) if mask is not None]
    missing = source.is_null() & ~pl.any_horizontal(known) if known else source.is_null()
    binder.check("BF201", label, missing, pl.lit(""))
    binder.check("BF203", label, instant < pl.lit(_EPOCH), shown)
    binder.check_epochs_read(column)
    latest = datetime.fromtimestamp(now, UTC).replace(tzinfo=None)
    binder.check("BF204", label, instant > pl.lit(latest) + pl.duration(microseconds=FUTURE_MICROSECONDS), shown)
    return instant


def _either(known: pl.Expr | None, found: pl.Expr) -> pl.Expr:
    return found if known is None else known | found


def _column(binder: Binder, spec: TimestampSpec) -> tuple[Column, str]:
    """The snapshot's column to read, and how problems name it."""
    if spec.sql is not None:
        column, label = binder.column(binder.expressions[spec.sql]), spec.sql
    else:
        label = spec.column or ""
        column = binder.column(label)
        parsed = binder.job.time_columns().get((label, spec.format or ""))
        if column.kind is Kind.TEXT and parsed in binder.columns:
            column = binder.column(parsed or "")
    numeric = _NUMERIC if spec.format in (*EPOCH_MICROSECONDS, EXCEL) else ()
    if column.kind not in (Kind.TIMESTAMP, Kind.DATE, *numeric):
        message = f"the timestamp column {label!r} holds {column.kind.value}, not timestamps"
        hint = "state its `format`: iso8601, epoch_s, epoch_ms, epoch_us, epoch_ns, excel or a strptime pattern"
        raise JobError(message, hint=hint)
    return column, label


def _wanted(binder: Binder, column: Column, spec: TimestampSpec) -> str | None:
    """What a value had to be that is no instant: of its format, or of the types that its expression reads."""
    if spec.sql is not None or column.kind is Kind.DATE:
        return binder.declared_as(column) or None
    wanted = spec.format or binder.declared_spec(column).format or "iso8601"
    return f"it is not of {wanted.replace(chr(10), ', nor of ')}"


def _from_number(value: pl.Expr, column: Column, unit: str) -> pl.Expr:
    if column.kind is Kind.INTEGER:
        return from_epoch(value.cast(pl.Int64, strict=False), unit)
    if column.kind is Kind.NUMBER:
        return from_float_epoch(value.cast(pl.Float64), unit)
    return from_epoch_text(value.cast(pl.String), unit)  # exact: nanoseconds need more than a double holds


def _constant(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        message = f"{text!r} is not an ISO 8601 timestamp"
        raise JobError(message, hint="write YYYY-MM-DDTHH:MM:SSZ") from error
    if moment.tzinfo is None:
        message = f"the timestamp {text!r} has no time zone"
        raise JobError(message, hint="write YYYY-MM-DDTHH:MM:SSZ")
    return moment.astimezone(UTC).replace(tzinfo=None)
