"""The job file: complete, each choice with its evidence as a comment, and blanks where there is none."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from backfill.errors import counted
from backfill.escape import escaped
from backfill.frozen import frozen
from backfill.guess.measure import Facts, shortened
from backfill.guess.names import TRAITS, rank, words
from backfill.guess.roles import Choice, Roles
from backfill.guess.source import Described
from backfill.guess.yaml_text import OPEN, member, with_comment, written
from backfill.job.blanks import BLANK
from backfill.job.fields import fields_of
from backfill.limits import SAFE_INTEGER
from backfill.records import Kind

#: The schema that `init` puts beside the jobs, looked for upward.
SCHEMA = "job.schema.json"
_NO_JSON = frozenset({Kind.BINARY, Kind.INTERVAL})
_UTC_NAME = re.compile(r"\b(utc|gmt)\b")
_LISTED = 4
_ZONES = "UTC, Europe/Berlin ..."


@frozen
class Evidence:
    """What a guess stands on."""

    facts: Sequence[Facts]
    rows: int
    whole: bool  # the sample is all there is
    unreadable: int
    nulls: Mapping[str, Sequence[str]]  # words for null, each with the columns of text that it is in too

    def facts_of(self, name: str) -> Facts:
        """Those of one column."""
        return next(one for one in self.facts if one.name == name)


def heading(shown: str, evidence: Evidence, path: Path, tool: str = "") -> Iterator[str]:
    """The lines before the job: the editor's schema, what it was guessed from, what is still to be done."""
    schema = next((folder / SCHEMA for folder in path.absolute().parents if (folder / SCHEMA).is_file()), None)
    if schema is not None:
        yield f"# yaml-language-server: $schema={os.path.relpath(schema, path.absolute().parent)}"
        yield "#"
    records = counted(evidence.rows, "record", "records")
    shown = escaped(shown)
    yield f"# Guessed from {'all' if evidence.whole else 'the first'} {records} of {shown}{tool and f': {tool}'}."
    if evidence.unreadable:
        yield f"# {counted(evidence.unreadable, 'record', 'records')} beside them cannot be read; `check` says which."
    yield f"# {BLANK} is a blank that the data does not fill: `check` refuses it, with what there is to choose from."


def job_text(name: str, source: Described, evidence: Evidence, roles: Roles) -> str:
    """The job, from `version` on."""
    lines = [
        "version: 1",
        with_comment(f"name: {written(name)}", "part of every message id: renaming sends all again"),
        "",
    ]
    lines += _source(source, evidence, roles)
    lines += ["", "calls:", with_comment(f"  - type: {OPEN if roles.open_type else roles.type}", roles.why)]
    lines += [with_comment(f"    {line}", comment) for line, comment in _call(evidence, roles)]
    return "\n".join(lines) + "\n"


def _source(source: Described, evidence: Evidence, roles: Roles) -> Iterator[str]:
    yield "source:"
    fields = dict(source.fields)
    if evidence.nulls:
        fields["csv"] = {**fields.get("csv", {}), "null_values": ["", *evidence.nulls]}
    for name, value in fields.items():
        if name == "csv":
            yield from _csv(value, source, evidence)
        elif name != "columns":
            yield with_comment(f"  {name}: {written(value)}", source.notes.get(name, ""))
    yield from _zone(evidence, roles)
    yield from _columns(source, evidence)


def _csv(value: dict[str, Any], source: Described, evidence: Evidence) -> Iterator[str]:
    yield "  csv:"
    for name, setting in value.items():
        at = f"csv.{name}"
        if at in source.blanks:
            yield with_comment(f"    {name}: {OPEN}", source.blanks[at])
        else:
            note = _nulls(evidence) if name == "null_values" else ""
            yield with_comment(f"    {name}: {written(setting)}", source.notes.get(at, note))


def _nulls(evidence: Evidence) -> str:
    """Why words mean null, and which text loses them with that."""
    texts = sorted({name for names in evidence.nulls.values() for name in names})
    also = f"; they are in {', '.join(texts[:_LISTED])} too, and null there" if texts else ""
    return f"in columns that have a type{also}"


def needs_zone(evidence: Evidence, roles: Roles) -> Facts | None:
    """The column, the call's own first, whose local times need a zone that nothing says."""
    when = roles.fields["timestamp"].column
    local = [
        one
        for one in evidence.facts
        if one.reading is not None and one.reading.naive and not says_utc(one) and not one.reading.of_numbers
        and (one.name == when or (one.declared["type"] == "timestamp" and one.column.kind is not Kind.DATE))
    ]  # fmt: skip
    return min(local, key=lambda one: one.name != when, default=None)


def says_utc(one: Facts) -> bool:
    """Whether the name of a column says that its times are UTC's."""
    return bool(_UTC_NAME.search(words(one.name))) and one.column.kind is Kind.TEXT and one.type == "timestamp"


def _zone(evidence: Evidence, roles: Roles) -> Iterator[str]:
    column = needs_zone(evidence, roles)
    if column is not None:
        example = column.reading.example if column.reading else ""
        says = f"{shortened(example) if example else column.examples[0]} in {column.name} says no zone"
        yield with_comment(f"  timezone: {OPEN}", f"{says}: {_ZONES}")


def declared_columns(source: Described, evidence: Evidence) -> list[Facts]:
    """The columns that stand under `columns`: all of a format that has text alone, else those that are to be cast."""
    all_named = source.format in ("csv", "tsv") or bool(source.fields.get("columns"))
    return [one for one in evidence.facts if _is_declared(one, all_named=all_named)]


def _columns(source: Described, evidence: Evidence) -> Iterator[str]:
    """Every column: declared where it is text, else as a comment, as the source types it."""
    declared = declared_columns(source, evidence)
    records = counted(evidence.rows, "record", "records")
    about = f"of {records}: how many have a value, how many different ones, some of them"
    if source.made_up:
        yield "  # The names of the columns are made up: give them better ones."
    if declared:
        yield with_comment("  columns:", about)
    for one in evidence.facts:
        if one in declared:
            yield with_comment(f"    {written(one.name)}: {written(declared_value(one))}", measured(one))
    others = [one for one in evidence.facts if one not in declared]
    if others:
        them = "other columns" if declared else "columns"
        yield f"  # The {them} as the source types them{'' if declared else f'; {about}'}:"
    for one in others:
        yield f"  #   {written(one.name)}: {one.column.refused or one.type} - {measured(one)}"


def _is_declared(one: Facts, *, all_named: bool) -> bool:
    if one.column.kind is Kind.TEXT:
        return all_named or one.declared["type"] != "text"
    return one.column.kind is Kind.JSON and one.type == "json"


def declared_value(one: Facts) -> Any:  # noqa: ANN401
    """A column's declaration, as data of the job file."""
    spec = {name: OPEN if name in one.blanks else value for name, value in one.declared.items()}
    if says_utc(one) and one.reading is not None and one.reading.naive:
        spec["timezone"] = "UTC"
    if isinstance(spec.get("format"), tuple):
        spec["format"] = list(spec["format"])
    return spec if len(spec) > 1 else str(spec["type"])


def measured(one: Facts) -> str:
    """What was measured of a column, for a comment; what there is to choose from comes first."""
    if not one.filled:
        return "no value in the sample"
    share = "100%" if one.filled == one.rows else f"{min(one.fill, 0.999):.1%}"
    different = f", {one.different:,} different" if one.different else ""
    said = [*one.blanks.values(), f"{share}{different}: {', '.join(one.examples)}", one.note]
    return "; ".join(text for text in said if text)


def _call(evidence: Evidence, roles: Roles) -> Iterator[tuple[str, str]]:
    """The lines of the call below its type, each with its comment."""
    yield f"message_key: {written(list(roles.key.columns)) if roles.key.columns else OPEN}", roles.key.why
    for name, choice in roles.fields.items():
        if name == "timestamp":
            yield f"timestamp: {_timestamp(choice, evidence)}", _when(choice, evidence)
        elif name == "event" and not choice.columns and " or " not in choice.why:
            yield f"event: {{value: {OPEN}}}", 'what happened, such as "Order Completed"'
        else:
            yield f"{name}: {_column(choice.column) if choice.columns else OPEN}", choice.why
    for whole in ("properties", "traits"):
        if whole in fields_of(roles.type):
            yield from ((line, "") for line in _members(whole, evidence, roles))
    yield "integrations: {All: false}", "to no destination; name those that are to have this history"


def _timestamp(choice: Choice, evidence: Evidence) -> str:
    if not choice.columns:
        return OPEN
    one = evidence.facts_of(choice.column)
    reading = one.reading
    if reading is None or reading.format is None or one.declared["type"] == "timestamp":
        return _column(one.name)
    if "%" in reading.format:
        name = one.name.replace('"', '""')
        return written({"sql": f"strptime(CAST(\"{name}\" AS VARCHAR), '{reading.format}')"})
    return written({"column": one.name, "format": reading.format})


def _when(choice: Choice, evidence: Evidence) -> str:
    reading = evidence.facts_of(choice.column).reading if choice.columns else None
    return f"{choice.why}; {reading.why}" if reading is not None and not reading.other else choice.why


def _column(name: str) -> str:
    return written({"column": name}) if name in ("*", "") else written(name)


def _members(whole: str, evidence: Evidence, roles: Roles) -> Iterator[str]:
    used = roles.used()
    if whole == "traits":  # an address that is the id is a trait all the same
        used = {name for name in used if rank("user", name) != 1}
    sent = [one for one in evidence.facts if one.name not in used and not _is_time_alone(one, roles)]
    members = [made for one in sent if (made := member_value(one, whole)) is not None]
    lines = [f"  {written(name)}: {written(value)}" for name, value in members]
    if not lines:
        yield f"{whole}: {{}}"
        return
    yield f"{whole}:"
    yield from lines


def _is_time_alone(one: Facts, roles: Roles) -> bool:
    """The call's own time is no property of it, but a trait where it says when somebody came."""
    return one.name == roles.fields["timestamp"].column and roles.type != "identify"


def member_value(one: Facts, whole: str) -> tuple[str, Any] | None:
    """A column as a property or trait: its name and value there; None for what has no form in JSON."""
    if one.column.kind in _NO_JSON or one.column.refused:
        return None
    name = TRAITS.get(words(one.name), "") if whole == "traits" else ""
    value: Any = one.name if one.name not in ("*", "") else {"column": one.name}
    if one.column.kind is Kind.INTEGER and one.large > SAFE_INTEGER:
        value = {"column": one.name, "as": "text"}
    if one.name == "sql":
        value = {"column": one.name}
    return name or member(one.name), value
