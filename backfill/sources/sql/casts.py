"""Declared column types as SQL: each type has a grammar, and text outside it is a bad value, never a nearest guess.

Rules
1) A cast is guarded by the grammar's regular expression: DuckDB's own TRY_CAST takes 12.5 for the integer 13, 0x1F
   for 31 and 'infinity' for a date.
2) A cast gives NULL exactly where the text is outside the grammar or does not fit; so a value is bad where the text
   is not null and the cast is.
3) Nothing here can fail at run time, whatever the text.
"""

from __future__ import annotations

from backfill.frozen import frozen
from backfill.job.models import ColumnSpec
from backfill.job.times import EXCEL, has_offset
from backfill.records import Kind, Zone
from backfill.sources.sql import strptime
from backfill.sources.sql.engine import literal

INTEGER = "[+-]?[0-9]+"
#: RFC 8259, section 6, with an optional plus.
NUMBER = r"[+-]?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?"
DECIMAL = r"[+-]?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?"
#: What of DECIMAL fits DECIMAL(38, 9) without rounding; asked for only where SQL reads the column.
SQL_DECIMAL = r"[+-]?(?:0|[1-9][0-9]{0,28})(?:\.[0-9]{1,9}0*)?"
DECIMAL_PLACES = 9
SQL_DECIMAL_TYPE = f"DECIMAL(38, {DECIMAL_PLACES})"
#: What stands between groups of thousands; the blanks are those that do not break a line, too.
_GROUPING = (".", ",", " ", "\u00a0", "\u202f", "'", "\u2019")
DATE = "[0-9]{4}-[0-9]{2}-[0-9]{2}"
_TIME = "(?:[01][0-9]|2[0-3]):[0-5][0-9](?::[0-5][0-9](?:[.,][0-9]{1,9})?)?"
_OFFSET = "(?:[Zz]|[+-](?:[01][0-9]|2[0-3])(?::?[0-5][0-9])?)"
#: A date, optionally with a time, that optionally with an offset. Digits after a second's sixth are cut, not rounded.
ISO8601 = f"{DATE}(?:[T ]{_TIME}{_OFFSET}?)?"
_SERIAL = r"[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?"
#: JSON that DuckDB takes and RFC 8259 does not: NaN, Infinity in any case, and a comma before a closing bracket.
LENIENT_JSON = r"(?i)nan|inf|,\s*[\]}]"
JSON_STRING = r'"(?:[^"\\]|\\.)*"'


@frozen
class Cast:
    """A declared column in SQL: `value` is what the snapshot holds, `in_sql` what expressions see (see seen_by_sql)."""

    kind: Kind
    zone: Zone
    value: str
    in_sql: str
    utc_flag: str | None = None


def matches(text: str, grammar: str) -> str:
    """SQL: the whole of the text matches the grammar."""
    return f"regexp_full_match({text}, {literal(grammar)})"


def cast_of(text: str, spec: ColumnSpec, *, read_by_sql: bool) -> Cast:
    """The cast of an SQL text value to a declared type other than `text`."""
    if spec.type == "timestamp":
        return timestamp_cast(text, spec.format or "iso8601")
    kind = Kind(spec.type)
    if spec.decimal is not None:
        text = plain_number(text, spec.decimal)
    if spec.type == "decimal":
        grammar = SQL_DECIMAL if read_by_sql else DECIMAL
        value = f"CASE WHEN {matches(text, grammar)} THEN ltrim({text}, '+') END"
        return Cast(kind, Zone.UTC, value, f"CAST({value} AS {SQL_DECIMAL_TYPE})" if read_by_sql else value)
    value = {
        "integer": f"CASE WHEN {matches(text, INTEGER)} THEN TRY_CAST({text} AS BIGINT) END",
        "number": f"CASE WHEN {matches(text, NUMBER)} AND isfinite(TRY_CAST({text} AS DOUBLE)) "
        f"THEN TRY_CAST({text} AS DOUBLE) END",
        "boolean": f"CASE WHEN lower({text}) IN ('true', 't', '1') THEN true "
        f"WHEN lower({text}) IN ('false', 'f', '0') THEN false END",
        "date": f"CASE WHEN {matches(text, DATE)} THEN TRY_CAST({text} AS DATE) END",
        "json": f"CASE WHEN {strict_json(text)} THEN {text} END",
    }[spec.type]
    return Cast(kind, Zone.UTC, value, value)


def plain_number(text: str, sign: str) -> str:
    """SQL: a number written with that sign before its fraction, and perhaps its thousands in groups, as JSON has it."""
    number = f"[+-]?(?:[0-9]+|{'|'.join(_groups_by(mark) for mark in _GROUPING if mark != sign)})"
    grammar = f"{number}(?:[{sign}][0-9]+)?(?:[eE][+-]?[0-9]+)?"
    bare = f"regexp_replace({text}, {literal('[^0-9eE+' + sign + '-]')}, '', 'g')"
    return f"(CASE WHEN {matches(text, grammar)} THEN replace({bare}, '{sign}', '.') END)"


def _groups_by(mark: str) -> str:
    return f"[0-9]{{1,3}}(?:[{mark}][0-9]{{3}})+"


def strict_json(text: str) -> str:
    """SQL: the text is JSON by RFC 8259. The dear second look is taken only where the cheap one finds something."""
    without_strings = f"regexp_replace({text}, {literal(JSON_STRING)}, '\"\"', 'g')"
    # CASE, since DuckDB works out both sides of AND and OR where their value is asked for.
    return (
        f"(CASE WHEN NOT coalesce(json_valid({text}), false) THEN false "
        f"WHEN regexp_matches({text}, {literal(LENIENT_JSON)}) "
        f"THEN NOT regexp_matches({without_strings}, {literal(LENIENT_JSON)}) ELSE true END)"
    )


def json_loses_digits(text: str) -> str:
    """SQL: JSON text has a number with a point or an exponent and more digits than a double keeps."""
    numbers = f"regexp_extract_all(regexp_replace({text}, {literal(JSON_STRING)}, '\"\"', 'g'), '-?[0-9][0-9.eE+-]*')"
    printed = _digits("CAST(TRY_CAST(n AS DOUBLE) AS VARCHAR)")
    lost = f"list_filter({numbers}, lambda n: regexp_matches(n, '[.eE]') AND {_digits('n')} <> {printed})"
    return f"(CASE WHEN regexp_matches({text}, '[0-9.]{{17}}') THEN len({lost}) > 0 ELSE false END)"


def _digits(number: str) -> str:
    """SQL: the digits of a number's text that count, whatever the exponent and wherever the point is."""
    return f"trim(regexp_replace(regexp_replace({number}, '[eE].*', ''), '[-.]', '', 'g'), '0')"


def timestamp_cast(text: str, pattern: str) -> Cast:
    """The cast of text to TIMESTAMP by `iso8601`, an epoch's unit, or patterns of which the first that fits is taken.

    With a pattern that reads an offset or says UTC the result is UTC, with any other wall clock; with `iso8601` a row's
    flag says which, as files mix both.
    """
    if pattern == "iso8601":
        return iso8601_cast(text)
    if pattern.startswith("epoch_"):
        return epoch_cast(text, pattern)
    readings = [excel_serial(text) if one == EXCEL else strptime.parsed(text, one) for one in pattern.split("\n")]
    value = readings[0] if len(readings) == 1 else f"coalesce({', '.join(readings)})"
    return Cast(Kind.TIMESTAMP, Zone.UTC if has_offset(pattern) else Zone.NAIVE, value, value)


def excel_serial(text: str) -> str:
    """SQL: the wall clock of a spreadsheet's days since the end of 1899, to the millisecond, which is all they hold.

    Null before day 61: there, Excel counts a 29 February 1900 that never was.
    """
    days = f"CASE WHEN {matches(text, _SERIAL)} THEN TRY_CAST({text} AS DOUBLE) END"
    from backfill.timestamps import EXCEL_EPOCH_DAYS, FIRST_SERIAL, LAST_SERIAL  # polars

    wall = f"make_timestamp((CAST(round(({days}) * 86400000) AS BIGINT) - {EXCEL_EPOCH_DAYS * 86_400_000}) * 1000)"
    return f"CASE WHEN ({days}) >= {FIRST_SERIAL} AND ({days}) < {LAST_SERIAL} THEN {wall} END"


def instants_in_sql(spec: ColumnSpec, zone: str | None) -> bool:
    """Whether SQL is to see a declared timestamp as an instant made of its wall clock (see seen_by_sql).

    A column by `iso8601` is always instants: its type must not depend on the rows.
    """
    pattern = spec.format or "iso8601"
    if has_offset(pattern):
        return False
    return pattern == "iso8601" or (spec.timezone or zone) is not None


def seen_by_sql(value: str, spec: ColumnSpec, zone: str | None, *, utc_flag: str) -> str:
    """SQL: a declared timestamp of `instants_in_sql` as SQL is to see it, made of the cast's value and flag.

    That is the instant, by the column's own policy, and NULL where that says error. A time without offset is NULL where
    no zone is known: neither the column's nor `zone`, the source's.

    Raises:
        JobError: There is no clock for the zone.
    """
    own = spec.timezone or zone
    if own is None:
        local = "CAST(NULL AS TIMESTAMPTZ)"
    else:
        from backfill.sources.sql.local_time import local_instant  # polars, which tells the changes of a zone's clocks

        local = local_instant(value, own, spec.ambiguous, spec.nonexistent)
    if (spec.format or "iso8601") != "iso8601":
        return local
    return f"CASE WHEN {utc_flag} THEN make_timestamptz(epoch_us({value})) ELSE {local} END"


def iso8601_cast(text: str) -> Cast:
    """Date, optionally a time (seconds and their fraction optional), optionally an offset or Z.

    DuckDB's own casts are asked first, as they take a fifth of the time: in the grammar they give the same, or NULL.
    """
    clock_on = f"substr({text}, 12)"
    zoned = [f"contains({clock_on}, '{sign}')" for sign in "+-"] + [f"ends_with({text}, '{sign}')" for sign in "Zz"]
    flag = f"({' OR '.join(zoned)})"
    instant = f"make_timestamp(epoch_us(TRY_CAST({text} AS TIMESTAMPTZ)))"
    quick = f"CASE WHEN {flag} THEN {instant} ELSE TRY_CAST({text} AS TIMESTAMP) END"
    value = f"CASE WHEN {matches(text, ISO8601)} THEN coalesce({quick}, {_any_iso8601(text)}) END"
    return Cast(Kind.TIMESTAMP, Zone.MIXED, value, value, utc_flag=f"CASE WHEN ({value}) IS NOT NULL THEN {flag} END")


def _any_iso8601(text: str) -> str:
    """SQL: a text of the grammar taken apart: also with a comma, a small z, or an offset that no clock has."""
    clock = f"regexp_extract({text}, {literal('^[^+Zz]{10}[^+Zz-]*')})"
    cut = f"replace(left({clock}, 26), ',', '.')"
    wall = f"TRY_CAST({cut} AS TIMESTAMP)"
    offset = f"regexp_extract({text}, {literal('([+-])([0-9]{2}):?([0-9]{2})?$')}"
    minutes = (
        f"(CASE {offset}, 1) WHEN '-' THEN -1 ELSE 1 END * (60 * TRY_CAST({offset}, 2) AS INTEGER) "
        f"+ coalesce(TRY_CAST(nullif({offset}, 3), '') AS INTEGER), 0)))"
    )
    shifted = f"regexp_matches({text}, {literal('^.{10}[T ].*[+-][0-9:]+$')})"
    return f"CASE WHEN {shifted} THEN {wall} - to_minutes({minutes}) ELSE {wall} END"


def epoch_cast(text: str, pattern: str) -> Cast:
    """Whole numbers of s, ms, us or ns since 1970-01-01T00:00:00Z."""
    number = f"CAST(TRY_CAST({text} AS BIGINT) AS HUGEINT)"
    factor = {"epoch_s": 1_000_000, "epoch_ms": 1_000, "epoch_us": 1}.get(pattern)
    # `//` cuts towards zero, and so would move what lies before 1970 into it.
    micros = f"({number} * {factor})" if factor else f"(({number} - (({number} % 1000) + 1000) % 1000) // 1000)"
    fits = f"{micros} BETWEEN -62135596800000000 AND 253402300799999999"
    instant = f"make_timestamp(CAST({micros} AS BIGINT)) AT TIME ZONE 'UTC'"
    value = f"CASE WHEN {matches(text, INTEGER)} AND {fits} THEN {instant} END"
    return Cast(Kind.TIMESTAMP, Zone.UTC, value, value)
