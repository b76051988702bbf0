"""What a value says of its own shape (trim, lower, normalize, lookup, hash), written as the SQL that does it.

There is one engine: a value with a shape is an SQL expression like those that people write, with the same checks,
problems and place in a snapshot. The steps are taken in the order above, whatever the order they are written in.
"""

from __future__ import annotations

import csv
import hashlib
import io
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from backfill.document import Faults
from backfill.errors import counted
from backfill.job.models import ColumnValue, Lookup, ShapedValue, SqlValue

#: Entries of one lookup; more are the business of a `query` that joins another file.
MAX_ENTRIES = 5_000
#: How the text begins whose cast to a number fails a row that has no entry.
NO_ENTRY = "no entry in `lookup` for the value"
_SHAPES = ("trim", "lower", "normalize", "lookup", "hash")
#: Where the digits of scripts are: those behind ASCII's, before what Unicode has no more of.
_DIGITS_WITHIN = range(0x0660, 0x20000)
_BLANKS_AROUND = r"^[\s\pZ]+|[\s\pZ]+$"


@dataclass(slots=True, repr=False, eq=False)
class Shaping:
    """Writes shapes as SQL; `faults` takes what is wrong with them, `files` what was read for them: path -> SHA-256."""

    faults: Faults
    folder: Path
    files: dict[str, str] = field(default_factory=dict)

    def value(self, form: ColumnValue | SqlValue, path: str) -> ColumnValue | SqlValue:
        """The value as an expression, where it states a shape; else as it is."""
        if not any(getattr(form, name) for name in _SHAPES):
            return form
        column = form.column if isinstance(form, ColumnValue) else ""
        of = _name(column) if column else f"({getattr(form, 'sql', '')}\n)"
        text = _text(of) if column else f"CAST({of} AS VARCHAR)"
        if form.trim:
            text = _trimmed(text)
        if form.lower:
            text = f"lower({text})"
        if form.normalize is not None:
            text = _email(text) if form.normalize == "email" else _phone(text)
        if form.lookup is not None:
            text = self._looked_up(text, form.lookup, f"{path}.lookup")
        if form.hash is not None:
            text = f"sha256({text})"
        made = ShapedValue(
            sql=text, column=column, of=of, shape=_in_words(form), nulls=form.nulls, as_=form.as_, on_bad=form.on_bad
        )
        return made if form.hash is None else made.model_copy(update={"hashed": True})

    def _looked_up(self, text: str, lookup: Lookup, path: str) -> str:
        entries = self._entries(lookup, path)
        kinds = {type(value) for value in entries.values() if value is not None}
        if len(entries) > MAX_ENTRIES:
            hint = "join it in a `query`, as one of `files`"
            self.faults.add(path, f"has {len(entries):,} entries; at most {MAX_ENTRIES:,} are wanted", hint)
        elif len(kinds) > 1 or not kinds <= {str, int, float, bool}:
            self.faults.add(f"{path}.values", "are not of one type: text, numbers, or true and false")
        elif lookup.unknown == "keep" and kinds - {str}:
            self.faults.add(f"{path}.unknown", "would keep text among values that are none", "say reject or null")
        cases = " ".join(f"WHEN {_literal(key)} THEN {_constant(value)}" for key, value in entries.items())
        other = {"keep": text, "reject": None}.get(lookup.unknown or "null", "NULL")
        if other is None:  # a text that is never a number, so that the attempt of the row fails
            other = f"CASE WHEN {text} IS NOT NULL THEN CAST({_literal(NO_ENTRY)} || ' ' || {text} AS INTEGER) END"
            other = f"CAST({other} AS VARCHAR)" if kinds <= {str} else other
        return f"CASE {text} {cases or 'WHEN NULL THEN NULL'} ELSE {other} END"

    def _entries(self, lookup: Lookup, path: str) -> Mapping[str, Any]:
        if (lookup.values is None) == (lookup.file is None):
            self.faults.add(path, "wants exactly one of `values` and `file`")
            return {}
        if lookup.file is None:
            return lookup.values or {}
        try:
            data = (self.folder / Path(lookup.file).expanduser()).read_bytes()
            rows = list(_csv_rows(data.decode("utf-8-sig")))[1:]
        except FileNotFoundError:
            self.faults.add(f"{path}.file", f"{lookup.file} does not exist", "it is sought from the job file's folder")
            return {}
        except (OSError, UnicodeDecodeError, csv.Error) as error:
            self.faults.add(f"{path}.file", f"cannot be read as CSV: {error}")
            return {}
        self.files[lookup.file] = hashlib.sha256(data).hexdigest()
        found: dict[str, str | None] = {}
        for line, row in rows:
            key, *values = row
            if key is None or key in found or len(values) != 1:
                what = "no key" if key is None else f"{key!r} twice"
                what = what if len(values) == 1 else f"{counted(len(row), 'field', 'fields')}, not two"
                self.faults.add(f"{path}.file", f"{lookup.file}:{line} has {what}")
                return {}
            found[key] = values[0]
        return found


def _csv_rows(text: str) -> Iterator[tuple[int, list[str | None]]]:
    """The rows that are not blank, each with its first line; as in other CSV, what is empty without quotes is null.

    The library does not tell quotes: of the first and the last field the text of the row does, and there are but two.
    """
    taken: list[str] = []

    def lines() -> Iterator[str]:
        for line in io.StringIO(text, newline=""):
            taken.append(line)
            yield line

    reader = csv.reader(lines(), strict=True)
    for row in reader:
        written = "".join(taken).rstrip("\r\n")
        fields: list[str | None] = [*row]
        if fields and not row[0] and not written.startswith('"'):
            fields[0] = None
        if fields and not row[-1] and not written.endswith('"'):
            fields[-1] = None
        if fields:
            yield reader.line_num - len(taken) + 1, fields
        taken.clear()


def _in_words(form: ColumnValue | SqlValue) -> str:
    """The steps of a shape in their order, for people: the SQL of a trimmed lookup says the trimming at every turn."""
    said = [name for name in ("trim", "lower") if getattr(form, name)]
    said += [f"normalize: {form.normalize}"] if form.normalize is not None else []
    if form.lookup is not None:
        of = form.lookup.file or counted(len(form.lookup.values or {}), "value", "values")
        unknown = {"keep": "kept", "reject": "rejected"}.get(form.lookup.unknown or "", "null")
        said.append(f"lookup in {of} (others: {unknown})")
    said += [f"hash: {form.hash}"] if form.hash is not None else []
    return ", ".join(said)


def _name(column: str) -> str:
    return '"' + column.replace('"', '""') + '"'


def _text(of: str) -> str:
    """SQL: the text of a column's value; of a JSON string without quotes and escapes, of JSON null none."""
    text = f"CAST({of} AS VARCHAR)"
    string = f"typeof({of}) = 'JSON' AND {text}[1] IN ('\"', 'n')"
    return f"CASE WHEN {string} THEN to_json({of}) ->> '$' ELSE {text} END"


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _constant(value: str | float | None) -> str:
    if value is None:
        return "NULL"
    return _literal(value) if isinstance(value, str) else str(value).lower()


def _trimmed(text: str) -> str:
    return f"regexp_replace({text}, {_literal(_BLANKS_AROUND)}, '', 'g')"


def _email(text: str) -> str:
    """In lower case, without blanks around it; null where nothing is left, so that no two people share a hash."""
    return f"nullif(lower({_trimmed(text)}), '')"


def _phone(text: str) -> str:
    """Its digits, behind a plus where it begins with one; null where nothing is left."""
    digits = [chr(place) for place in _DIGITS_WITHIN if chr(place).isdecimal()]
    plain = "".join(str(int(digit)) for digit in digits)
    text = f"replace({text}, '\uff0b', '+')"  # the plus of full width
    made = f"translate({text}, {_literal(''.join(digits))}, {_literal(plain)})"  # slow, so asked where it is needed
    text = f"CASE WHEN regexp_matches({text}, '[^0-9\\P{{Nd}}]') THEN {made} ELSE {text} END"
    plus = f"CASE WHEN starts_with({_trimmed(text)}, '+') THEN '+' ELSE '' END"
    return f"nullif(nullif({plus} || regexp_replace({text}, '[^0-9]', '', 'g'), ''), '+')"
