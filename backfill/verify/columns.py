"""The columns of some rows as plain lists, and what is wrong with their values."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import polars as pl

from backfill.job.leaves import expression_columns
from backfill.job.models import ColumnSpec, ColumnValue, Job, SqlValue
from backfill.job.shapes import NO_ENTRY
from backfill.limits import SAFE_INTEGER
from backfill.records import Column, Kind, Zone
from backfill.verify.json_text import faults_of_json, scalar_text
from backfill.verify.local_times import LocalTimes
from backfill.verify.nested import UNITS, Write, writer_of
from backfill.verify.values import DAY, FIRST, LAST, Texts, key_text, millisecond_texts, number_text, string

#: row -> codes.
Bad = dict[int, set[str]]
#: What is not finite, as databases and programs print it.
_WORDS: Final = {"nan": "NaN", "inf": "inf", "-inf": "-inf"}
_BOOLEANS: Final = {True: "true", False: "false"}
_LONG_INTEGER: Final = re.compile(r"\+?(-?)0*([0-9]+)")
#: 1971-01-01.
SECOND_YEAR: Final = 365 * DAY


@dataclass(slots=True)
class Reading:
    """The values of a column, one a row, None where there is none; and the codes of what is wrong, by row."""

    values: list[Any]
    bad: Bad = field(default_factory=dict)

    def add(self, code: str, rows: list[int] | set[int]) -> None:
        """Note a code of some rows."""
        for row in rows:
            self.bad.setdefault(row, set()).add(code)


class Columns:
    """The columns that a snapshot has, of some of its rows. What is asked for is worked out once."""

    def __init__(self, job: Job, described: Mapping[str, Column], frame: pl.DataFrame) -> None:
        """`frame` has the snapshot's columns under their own names."""
        self.job = job
        self.described = described
        self.frame = frame
        self.rows = len(frame)
        self.expressions = expression_columns(job)
        self.touched: set[str] = set()  # the columns that were asked for
        self._raw: dict[str, list[Any]] = {}
        self._readings: dict[str, Reading] = {}
        self._texts: dict[tuple[str, str], Reading] = {}
        self._local: dict[tuple[str, str, str], LocalTimes] = {}

    def of(self, value: ColumnValue | SqlValue) -> Column:
        """The column that holds a value."""
        return self.described[self.expressions[value.sql] if isinstance(value, SqlValue) else value.column]

    def raw(self, name: str) -> list[Any]:
        """What is stored, times as the numbers they are stored as."""
        if name not in self._raw:
            self.touched.add(name)
            self._raw[name] = self.frame[name].to_physical().to_list()
        return self._raw[name]

    def dtype(self, column: Column) -> pl.DataType:
        """The type that it is stored in."""
        return self.frame.schema[column.name]

    def misfits(self, column: Column) -> set[int]:
        """The rows whose text as read did not fit the declared type, here or where an expression reads."""
        found: set[int] = set()
        self.touched.update([column.raw] if column.raw else [])
        if column.raw is not None and None in (own := self.raw(column.name)):
            read = self.raw(column.raw)
            found = {row for row, value in enumerate(own) if value is None and read[row] is not None}
        for name in column.reads:
            if name in self.described:
                found |= self.misfits(self.described[name])
        return found

    def failures(self, column: Column) -> set[int]:
        """The rows on which its expression failed."""
        if column.failed is None:
            return set()
        return {row for row, failed in enumerate(self.raw(column.failed)) if failed}

    def declared(self, column: Column) -> ColumnSpec:
        """What the job says of a column; of one that `query` made it says nothing."""
        source = self.job.source
        own = source.query is None or source.database is not None
        return (source.columns.get(column.name) if own else None) or ColumnSpec(type="timestamp")

    def local_times(self, zone: str | None, ambiguous: str = "error", nonexistent: str = "error") -> LocalTimes | None:
        """What reads the wall clocks of a zone; None where none is stated."""
        if zone is None:
            return None
        key = (zone, ambiguous, nonexistent)
        if key not in self._local:
            self._local[key] = LocalTimes(*key)
        return self._local[key]

    # -- values ---------------------------------------------------------------------------------------------------

    def read(self, value: ColumnValue | SqlValue) -> Reading:
        """The values with wall clocks made instants, and what is wrong with each."""
        column = self.of(value)
        if column.name not in self._readings:
            self._readings[column.name] = self._read(column)
        return self._readings[column.name]

    def _read(self, column: Column) -> Reading:
        found = Reading(self.raw(column.name))
        misfits = self.misfits(column)
        long: dict[int, int] = {}
        if misfits and column.kind is Kind.INTEGER and column.raw is not None:
            long = self._long_integers(column, misfits)
        if column.kind is Kind.TIMESTAMP:
            found = self.instants(column)
        elif column.kind is Kind.JSON and "null" in found.values:
            found = Reading([None if value == "null" else value for value in found.values])
        if misfits or long:
            values = list(found.values)
            for row in misfits:
                values[row] = long.get(row)
            found = Reading(values, found.bad)
        found.add("BF117", misfits - set(long))
        unclear = self.unclear(column)
        for row, codes in unclear.items():
            found.bad.setdefault(row, set()).update(codes)
        code = "BF135" if column.reason == NO_ENTRY else "BF130"
        found.add(code, self.failures(column))
        return found

    def _long_integers(self, column: Column, misfits: set[int]) -> dict[int, int]:
        """The declared integers that are such, but too long for their column."""
        texts = self.raw(column.raw or "")
        found = ((row, _LONG_INTEGER.fullmatch(texts[row])) for row in misfits if isinstance(texts[row], str))
        return {row: int(match[1] + match[2]) for row, match in found if match}

    def unclear(self, column: Column) -> Bad:
        """What is wrong with the local times that an expression reads: SQL saw none there."""
        found: Bad = {}
        for name in column.reads:
            read, spec = self.described.get(name), self.job.source.columns.get(name)
            if read is None or spec is None or read.kind is not Kind.TIMESTAMP or read.zone is Zone.UTC:
                continue
            stated = spec.timezone or self.job.source.timezone
            if read.raw is None or not (stated or (spec.format or "iso8601") == "iso8601"):
                continue
            for row, codes in self.instants(read).bad.items():
                found.setdefault(row, set()).update(codes)
        return found

    def instants(
        self, column: Column, zone: str | None = None, ambiguous: str | None = None, nonexistent: str | None = None
    ) -> Reading:
        """The instants of a column of timestamps or dates, its wall clocks read by the policy stated."""
        spec = self.declared(column)
        local = self.local_times(
            zone or spec.timezone or self.job.source.timezone,
            ambiguous or spec.ambiguous,
            nonexistent or spec.nonexistent,
        )
        dtype, stored = self.dtype(column), self.raw(column.name)
        unit = UNITS[dtype.time_unit] if isinstance(dtype, pl.Datetime) else DAY
        values = [None if value is None else value * unit for value in stored]
        is_utc = column.kind is Kind.TIMESTAMP and column.zone is Zone.UTC
        flags = self.raw(column.utc_flag) if column.utc_flag else None
        found = Reading(values)
        if is_utc and all(FIRST <= edge <= LAST for edge in _edges(values)):
            self._note_early(column, found)
            return found
        for row, value in enumerate(values):
            if value is None:
                continue
            if is_utc or (flags is not None and flags[row]):
                if not FIRST <= value <= LAST:
                    values[row] = None
                    found.add("BF202", [row])
            else:
                values[row], code = (None, "BF202") if local is None else local.instant(value)
                if code:
                    found.add(code, [row])
        if is_utc:
            self._note_early(column, found)
        return found

    def _note_early(self, column: Column, found: Reading) -> None:
        """Of a column that is declared to hold epochs, the instants in 1970."""
        if not (self.declared(column).format or "").startswith("epoch_"):
            return
        early = [row for row, value in enumerate(found.values) if value is not None and 0 <= value < SECOND_YEAR]
        found.add("BF207", early)

    # -- texts ----------------------------------------------------------------------------------------------------

    def json_texts(self, value: ColumnValue | SqlValue) -> Reading:
        """The JSON text of each value, as the value table has it."""
        return self._cached("json", value)

    def plain_texts(self, value: ColumnValue | SqlValue) -> Reading:
        """The text of each value as an id, a key or with `as: text` has it."""
        return self._cached("plain", value)

    def _cached(self, form: str, value: ColumnValue | SqlValue) -> Reading:
        column = self.of(value)
        key = (form, column.name)
        if key not in self._texts:
            found = self.read(value)
            make = self._json if form == "json" else self._plain
            texts, wrong = make(column, found.values)
            bad = {row: set(codes) for row, codes in found.bad.items()}
            for row, codes in wrong.items():
                bad.setdefault(row, set()).update(codes)
            self._texts[key] = Reading(texts, bad)
        return self._texts[key]

    def _json(self, column: Column, values: list[Any]) -> tuple[Texts, Bad]:  # noqa: PLR0911 (one a kind)
        dtype = self.dtype(column)
        match column.kind:
            case Kind.TEXT:
                return [None if value is None else string(value) for value in values], {}
            case Kind.TIMESTAMP:
                texts = millisecond_texts(values)
                return [None if text is None else f'"{text}"' for text in texts], {}
            case Kind.JSON:
                return values, _faults(values, faults_of_json)
            case Kind.DECIMAL if isinstance(dtype, pl.String):
                return values, _faults(values, lambda text: faults_of_json(text) - {"BF117"})
            case Kind.INTEGER:
                return [None if each is None else str(each) for each in values], _large(values)
            case Kind.BOOLEAN:
                return list(map(_BOOLEANS.get, values)), {}
            case Kind.NUMBER if isinstance(dtype, pl.Float64):
                return _doubles(values)
            case Kind.NULL | Kind.BINARY | Kind.INTERVAL:
                return [None] * self.rows, {}
            case _:
                return _written(values, writer_of(dtype, self.local_times(self.job.source.timezone)))

    def _plain(self, column: Column, values: list[Any]) -> tuple[Texts, Bad]:  # noqa: PLR0911 (one a kind)
        match column.kind:
            case Kind.TEXT:
                return values, {}
            case Kind.TIMESTAMP:
                return [None if value is None else key_text(value) for value in values], {}
            case Kind.JSON:
                return [None if value is None else scalar_text(value) for value in values], {}
            case Kind.INTEGER:
                return [None if value is None else str(value) for value in values], {}
            case Kind.DECIMAL if isinstance(self.dtype(column), pl.String):
                return values, {}
            case Kind.NUMBER:  # what is not finite has a text too, as something may be wrong with that as an id
                texts, bad = self._json(column, values)
                return [text or _WORDS.get(str(value)) for text, value in zip(texts, values, strict=True)], bad
            case Kind.DATE | Kind.TIME:
                texts, bad = self._json(column, values)
                return [text and text[1:-1] for text in texts], bad
            case _:
                return self._json(column, values)


def _edges(values: list[Any]) -> tuple[Any, ...]:
    """The least and the greatest that is there."""
    known = [value for value in values if value is not None]
    return (min(known), max(known)) if known else ()


def _large(values: list[Any]) -> Bad:
    """The rows of integers that doubles do not tell apart."""
    if all(isinstance(edge, int) and abs(edge) <= SAFE_INTEGER for edge in _edges(values)):
        return {}
    large = (row for row, value in enumerate(values) if value is not None and abs(int(value)) > SAFE_INTEGER)
    return {row: {"BF110"} for row in large}


def _doubles(values: list[float | None]) -> tuple[Texts, Bad]:
    """The texts of doubles; most are as Python writes them."""
    texts: Texts = [None if value is None else repr(value) for value in values]
    bad: Bad = {}
    for row in [row for row, text in enumerate(texts) if text is not None and ("e" in text or "n" in text)]:
        value = values[row] or 0.0
        texts[row] = number_text(value) if math.isfinite(value) else None
        if texts[row] is None:
            bad[row] = {"BF111"}
    return texts, bad


def _written(values: list[Any], write: Write) -> tuple[Texts, Bad]:
    """The texts of values, and what was found wrong while each was written."""
    bad: Bad = {}
    wrong: set[str] = set()
    texts = []
    for row, value in enumerate(values):
        texts.append(write(value, wrong))
        if wrong:
            bad[row] = set(wrong)
            wrong.clear()
    return texts, bad


def _faults(values: list[Any], faults: Callable[[str], set[str]]) -> Bad:
    """What is wrong with each text that is there."""
    found = ((row, faults(value)) for row, value in enumerate(values) if value is not None)
    return {row: codes for row, codes in found if codes}
