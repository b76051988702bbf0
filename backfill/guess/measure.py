"""What the columns of a sample hold: type, fill, different values, examples; each column once, by polars."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import field, replace
from typing import TYPE_CHECKING, Any

import polars as pl

from backfill.errors import counted
from backfill.escape import escaped
from backfill.frozen import frozen
from backfill.guess.names import CODES, KEYS, YEARS, has_word, last_word
from backfill.guess.sample import Sample
from backfill.guess.times import NEARLY, Reading, of_numbers, of_text
from backfill.job.models import ColumnSpec
from backfill.limits import SAFE_INTEGER
from backfill.records import Column, Kind, Zone
from backfill.sources.origins.content import never
from backfill.sources.sql.casts import DECIMAL, INTEGER, NUMBER, cast_of
from backfill.sources.sql.kept import KeptEngine

if TYPE_CHECKING:
    import duckdb

#: Texts that stand for nothing where a column's other values are of a type.
NULL_WORDS = ("NULL", "null", "NA", "N/A", "NaN", "nan", "-", "\\N", "#N/A")
#: Characters of an example, and how many there are of a column.
_SHOWN, _EXAMPLES = 24, 2
_BOOLEAN = "(?i)true|false"
#: A share of rows with a value of their own from which on a column tells rows apart: rows of several lines are far off.
_EACH = 0.99
_NESTED = r"(?s)\s*[\[{].*[\]}]\s*"
#: Digits in groups of three, which are thousands or a fraction of three places: only other values tell.
_EITHER = r"[+-]?[1-9]\d{0,2}[.,]\d{3}"
_WITH_COMMA = (
    r"[+-]?(?:\d+|\d{1,3}(?:[. \u00a0\u202f']\d{3})+),\d+|[+-]?\d{1,3}(?:\.\d{3}){2,}|[+-]?\d{1,3}(?:\.\d{3})+,\d+"
)
_WITH_POINT = r"[+-]?\d{1,3}(?:,\d{3})+\.\d+|[+-]?\d{1,3}(?:,\d{3}){2,}"
_NUMERIC = frozenset({Kind.INTEGER, Kind.NUMBER, Kind.DECIMAL})


@frozen
class Facts:
    """One column as measured."""

    column: Column
    rows: int
    filled: int
    different: int  # values; 0 where they are nested
    examples: tuple[str, ...]
    type: str  # of the job file's types, or what the source says
    spec: dict[str, Any] = field(default_factory=dict)  # beside `type`, where the column is to be declared
    blanks: dict[str, str] = field(default_factory=dict)  # of the declaration: what there is to choose from
    reading: Reading | None = None  # as a time
    note: str = ""
    phrases: bool = False  # most values have blanks inside
    large: int = 0  # the largest integer, whatever its sign

    @property
    def name(self) -> str:
        """The column's name."""
        return self.column.name

    @property
    def fill(self) -> float:
        """The share of rows that have a value."""
        return self.filled / self.rows if self.rows else 0.0

    @property
    def unique(self) -> bool:
        """Nearly every row has a value, and one of its own."""
        return self.rows > 1 and min(self.fill, self.different / self.rows) >= _EACH

    @property
    def declared(self) -> dict[str, Any]:
        """The declaration in the job file."""
        return {"type": self.type, **self.spec}


def measure(sample: Sample, delimiter: str, kept: KeptEngine) -> tuple[list[Facts], dict[str, list[str]]]:
    """The facts of each column; and the words for null in those of a type, with the columns of text they are in too."""
    frame = sample.frame.unique(maintain_order=True) if _hashable(sample.frame) else sample.frame
    facts, nulls = [], dict[str, list[str]]()
    with kept.lent(never) as engine:
        for column in sample.columns:
            values, words = _bare(_values(frame, column), column)
            found = _facts(values, column, engine.connection, delimiter)
            nulls |= {word: [] for word in words if found.type != "text"}
            facts.append(found)
        for place, one in enumerate(facts):  # of text, those words are null alone that are it elsewhere
            if one.type == "text" and one.column.kind is Kind.TEXT:
                values, words = _bare(_values(frame, one.column), one.column, tuple(nulls))
                facts[place] = _counted(values, one.column)
                for word in words:
                    nulls[word].append(one.name)
    return _agreed(facts), nulls


def _values(frame: pl.DataFrame, column: Column) -> pl.Series:
    """A column's values, under a name that polars takes for no pattern."""
    return frame[column.name].rename("values")


def _hashable(frame: pl.DataFrame) -> bool:
    return not any(dtype.is_nested() for dtype in frame.dtypes)


def _bare(values: pl.Series, column: Column, null_words: Sequence[str] = NULL_WORDS) -> tuple[pl.Series, list[str]]:
    """A column's values with words for null made null, and those of the words that are there."""
    if column.kind is not Kind.TEXT:
        return values, []
    words = values.filter(values.is_in(list(null_words))).unique(maintain_order=True).to_list()
    return (values.set(values.is_in(words), None), words) if words else (values, [])


def _counted(values: pl.Series, column: Column) -> Facts:
    """What is counted of a column, whatever it holds."""
    known, nested = values.drop_nulls(), values.dtype.is_nested()
    different = 0 if nested else known.n_unique()
    first = (known if nested else known.unique(maintain_order=True)).head(_EXAMPLES)
    kind = column.kind.value
    quotes = column.kind is Kind.TEXT
    examples = tuple(shortened(value, quotes=quotes) for value in first.to_list())
    phrases = column.kind is Kind.TEXT and len(known) > 0 and float(known.str.contains(r"\S\s+\S").mean() or 0) > 1 / 2  # type: ignore[arg-type]
    return Facts(column, len(values), len(known), different, examples, kind, phrases=phrases)


def _facts(values: pl.Series, column: Column, connection: duckdb.DuckDBPyConnection, delimiter: str) -> Facts:
    known, facts = values.drop_nulls(), _counted(values, column)
    if not len(known):
        return replace(facts, type="text" if column.kind is Kind.TEXT else column.kind.value)
    if column.kind is Kind.TEXT:
        return _text(facts, known, connection, delimiter)
    if column.kind is Kind.JSON:
        return _json(facts, known)
    if column.kind in _NUMERIC:
        number = known.cast(pl.Float64, strict=False)
        reading = of_numbers(number, column.name, whole=column.kind is Kind.INTEGER)
        large = int(known.cast(pl.Int128).abs().max() or 0) if column.kind is Kind.INTEGER else 0  # type: ignore[arg-type]
        return replace(facts, reading=reading, large=large)
    if column.kind in (Kind.TIMESTAMP, Kind.DATE):
        naive = column.kind is Kind.DATE or column.zone is not Zone.UTC
        return replace(facts, reading=Reading(naive=naive, days=column.kind is Kind.DATE, why="the source's own type"))
    return facts


def shortened(value: Any, *, quotes: bool = True) -> str:  # noqa: ANN401
    """A value as comments show it."""
    if isinstance(value, list | dict):
        return "a list" if isinstance(value, list) else "an object"
    if isinstance(value, bytes):
        return counted(len(value), "byte", "bytes")
    text = str(value).lower() if isinstance(value, bool) else str(value)
    is_json = text.startswith(("{", "["))
    short = text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…"
    return escaped(json.dumps(short, ensure_ascii=False) if quotes and not is_json else short)


def _json(facts: Facts, known: pl.Series) -> Facts:
    """JSON values of a document: numbers stay what they are, which are times is told by them."""
    if _share(known, NUMBER) < NEARLY:
        return replace(facts, type="boolean" if _share(known, _BOOLEAN) >= NEARLY else "json")
    whole = _share(known, INTEGER) >= NEARLY
    reading = of_numbers(known.cast(pl.Float64, strict=False).drop_nulls(), facts.name, whole=whole)
    return replace(facts, type="integer" if _narrowest(known) == "integer" else "number", reading=reading)


def _text(facts: Facts, known: pl.Series, connection: duckdb.DuckDBPyConnection, delimiter: str) -> Facts:
    """Text by its grammar: of the types it could be, the narrowest that nearly all values are of."""
    for kind, grammar in (("json", _NESTED), ("boolean", _BOOLEAN)):
        if _share(known, grammar) >= NEARLY or (kind == "json" and facts.column.json_text):
            return _as(facts, known, {"type": kind}, connection)
    if max(_share(known, NUMBER), _share(known, INTEGER)) >= NEARLY:
        return _number(facts, known, connection, delimiter)
    if _share(known, f"{_WITH_COMMA}|{_WITH_POINT}|{_EITHER}|{INTEGER}") >= NEARLY and not _is_code(facts, known):
        return _grouped(facts, known, connection)
    return _time(facts, known, connection)


def _time(facts: Facts, known: pl.Series, connection: duckdb.DuckDBPyConnection) -> Facts:
    reading = of_text(known)
    if reading is None:
        return replace(facts, type="text")
    if reading.days and reading.format is None:
        found = _as(facts, known, {"type": "date"}, connection)
    else:
        patterns = {} if reading.format is None else {"format": reading.format}
        found = _as(facts, known, {"type": "timestamp", **patterns}, connection)
    if found.type == "text":
        return found
    blanks = (
        {"format": f"{_quoted(reading.format)} or {_quoted(reading.other)}: {reading.why}"} if reading.other else {}
    )
    return replace(
        found,
        reading=reading,
        blanks=blanks,
        note=_joined(found.note, reading.why if reading.format and not blanks else ""),
    )


def _number(facts: Facts, known: pl.Series, connection: duckdb.DuckDBPyConnection, delimiter: str) -> Facts:
    whole = _share(known, INTEGER) >= NEARLY
    numbers = known.cast(pl.Float64, strict=False).drop_nulls()
    reading = of_numbers(numbers, facts.name, whole=whole)
    if reading is not None and not reading.of_numbers:
        if whole or reading.format == "excel":
            found = _as(facts, known, {"type": "timestamp", "format": reading.format}, connection)
            return replace(found, reading=reading, note=_joined(found.note, reading.why))
        return replace(facts, type="number", reading=reading, note=reading.why)
    if _is_code(facts, known) or (whole and (numbers.abs().max() or 0) > SAFE_INTEGER):  # type: ignore[operator]
        return replace(facts, type="text", reading=reading)
    if delimiter == ";" and _share(known, _EITHER) >= NEARLY:
        return _grouped(facts, known, connection)
    kind = _narrowest(known)
    return replace(_as(facts, known, {"type": kind}, connection), reading=reading)


def _narrowest(known: pl.Series) -> str:
    """The narrowest type of numbers that leaves out no value which another one takes: such rows would be rejected."""
    grammars = {"integer": INTEGER, "decimal": DECIMAL, "number": NUMBER}
    return max(grammars, key=lambda kind: _share(known, grammars[kind]))


def _grouped(facts: Facts, known: pl.Series, connection: duckdb.DuckDBPyConnection) -> Facts:
    """Numbers with a decimal comma or thousands in groups; which sign is which stays open where no value tells."""
    told = known.filter(~known.str.contains(f"^(?:{_EITHER}|{INTEGER})$"))
    comma, point = (int(told.str.contains(f"^(?:{sign})$").sum()) for sign in (_WITH_COMMA, _WITH_POINT))
    if not comma and not point:
        blank = f'"," or ".": {facts.examples[0]} may be thousands or a fraction'
        return replace(facts, type="decimal", spec={"decimal": ","}, blanks={"decimal": blank})
    sign = "," if comma >= point else "."
    kind = "decimal" if bool(known.str.contains(rf"[{sign}]").any()) else "integer"
    return _as(facts, known, {"type": kind, "decimal": sign}, connection)


def _as(facts: Facts, known: pl.Series, spec: dict[str, Any], connection: duckdb.DuckDBPyConnection) -> Facts:
    """The facts with that type, where nearly all values are of it by the very cast of a run; else they stay text."""
    form = ColumnSpec.model_validate({**spec, "format": _lines(spec.get("format"))})
    value = cast_of("v", form, read_by_sql=False).value
    sql = f"SELECT v FROM (SELECT unnest(?::VARCHAR[]) AS v) WHERE ({value}) IS NULL"  # noqa: S608 (a cast of our own)
    bad = [text for (text,) in connection.execute(sql, [known.to_list()]).fetchall()]
    if len(bad) > (1 - NEARLY) * len(known):
        return replace(facts, type="text")
    kind = spec["type"]
    note = f"{len(bad):,} {'does' if len(bad) == 1 else 'do'} not fit: {shortened(bad[0])}" if bad else ""
    return replace(facts, type=kind, spec={name: one for name, one in spec.items() if name != "type"}, note=note)


def _lines(patterns: Any) -> Any:  # noqa: ANN401
    return list(patterns) if isinstance(patterns, tuple) else patterns


def _is_code(facts: Facts, known: pl.Series) -> bool:
    """Digits that are no quantity: by the last word of the name, or since some begin with a zero; no years."""
    if has_word(facts.name, YEARS) and _share(known, r"(1[5-9]|20)\d\d") == 1:
        return False
    if last_word(facts.name) in CODES or has_word(facts.name, CODES - KEYS):
        return True
    return bool(known.str.contains(r"^[+-]?0\d").any())


def _share(values: pl.Series, grammar: str) -> float:
    return float(values.str.contains(f"^(?:{grammar})$").mean() or 0)  # type: ignore[arg-type]


def _quoted(patterns: str | tuple[str, ...] | None) -> str:
    return json.dumps(_lines(patterns) if isinstance(patterns, tuple) else patterns)


def _joined(*notes: str) -> str:
    return "; ".join(note for note in notes if note)


def _agreed(facts: Sequence[Facts]) -> list[Facts]:
    """What one column's values decide of signs and of day and month, the others of one file are taken to share."""
    orders = {one.reading.format for one in facts if one.reading and one.reading.format and not one.blanks}
    signs = {one.spec["decimal"] for one in facts if "decimal" in one.spec and not one.blanks}
    settled = []
    for one in facts:
        reading = one.reading
        if "format" in one.blanks and reading is not None and {reading.format, reading.other} & orders:
            choice = reading.format if reading.format in orders else reading.other
            other = next(
                each.name for each in facts if each is not one and each.reading and each.reading.format == choice
            )
            one = replace(  # noqa: PLW2901
                one, spec={**one.spec, "format": choice}, blanks={}, note=f"as in {other}",
                reading=replace(reading, format=choice, other=None),
            )  # fmt: skip
        if "decimal" in one.blanks and len(signs) == 1:
            one = replace(one, spec={**one.spec, "decimal": next(iter(signs))}, blanks={}, note="as the others")  # noqa: PLW2901
        settled.append(one)
    return settled
