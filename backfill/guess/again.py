"""Guessing again over a job file that is there: what is new in the source is added, every edit and comment stays.

A column is new where the file names it nowhere, comments included: one that was taken out of `properties` on purpose is
still listed among the columns, and so stays out.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from backfill.disk import fill_beside, out_of_space
from backfill.document import read_document
from backfill.errors import JobError, UsageError
from backfill.guess.measure import Facts
from backfill.guess.propose import Guess
from backfill.guess.round_trip import dumped, parsed
from backfill.guess.write import declared_columns, declared_value, measured, member_value
from backfill.guess.yaml_text import written

_KIND = "job file"
_WRITABLE = "name a file in a folder that is there"
#: Keys whose texts are SQL.
_SQL = ("sql", "when", "where", "query")
#: An empty line is the last column's, for ruamel: what is added comes before it.
_AFTER_BLANK = re.compile(r"\n\n((?:    .*# new: .*\n)+)")


def added(found: Guess, path: Path) -> tuple[str, list[str]]:
    """The text of the job file with what is new in it, and the columns that are.

    Raises:
        JobError: The file is no YAML that could be a job, or an export's that has a recipe, which names no columns.
    """
    before = read_document(path, _KIND)
    if not isinstance(before.data.get("source"), dict) or not isinstance(before.data.get("calls"), list):
        raise JobError(f"{path} is there, and is no job file", hint="write to another file with -o")
    text = before.text
    named = _Named(text, set(before.data["source"].get("columns", {})))
    named.take({name: part for name, part in before.data.items() if name not in ("source", "name")})
    named.take({"query": before.data["source"].get("query")})
    new = [one for one in found.evidence.facts if not named.has(one.name)]
    if not new:
        return text, []
    document = parsed(text)
    declared = declared_columns(found.source, found.evidence)
    listed = [one for one in new if one not in declared]
    for one in new:
        if one in declared:
            _declare(document["source"], one)
        _send(document["calls"], one)
    after = dumped(document)
    return _with_comments(after, listed), [one.name for one in new]


def save(path: Path, text: str) -> None:
    """Write a file that is new, or another text in place of one that is there, whole or not at all.

    Raises:
        UsageError: The folder is not there, or takes no file.
        StoppedError: The disk is full.
    """
    try:
        if not path.exists():
            with out_of_space(path.parent), path.open("x", encoding="utf-8", newline="\n") as file:
                file.write(text)
            return
        mode = path.stat().st_mode
        before, lines = path.read_bytes(), text.replace("\r\n", "\n")
        if before.count(b"\n") == before.count(b"\r\n") > 0:  # as some editors end all lines
            lines = lines.replace("\n", "\r\n")
        fill_beside(path, lambda place: place.write_bytes(lines.encode()))
        path.chmod(mode)
    except OSError as error:
        raise UsageError(
            f"{path} cannot be written: {error.strerror}", hint="name a file in a folder that is there"
        ) from None


@dataclass(slots=True)
class _Named:
    """What a job file says of columns."""

    text: str
    columns: set[str] = field(default_factory=set)
    sql: list[str] = field(default_factory=list)

    def take(self, data: Any, key: str = "") -> None:  # noqa: ANN401
        """Take in a part of the file's data, which stands under that key."""
        if isinstance(data, dict):
            for name, inner in data.items():
                self.take(inner, name)
        elif isinstance(data, list):
            for inner in data:
                self.take(inner, key)
        elif isinstance(data, str) and key != "value":
            if key in _SQL:
                self.sql.append(data)
            else:
                self.columns.add(data)

    def has(self, name: str) -> bool:
        """Whether the column is declared, mapped, read by SQL, or listed in a comment."""
        word = rf"(?<!\w){re.escape(name)}(?!\w)"
        listed = rf"(?m)^\s*#\s+{re.escape(written(name))}: "
        return (
            name in self.columns or bool(re.search(listed, self.text)) or any(re.search(word, one) for one in self.sql)
        )


def _declare(source: Any, one: Facts) -> None:  # noqa: ANN401
    columns = source.setdefault("columns", {})
    columns[one.name] = declared_value(one)
    if hasattr(columns, "yaml_add_eol_comment"):
        columns.yaml_add_eol_comment(f"new: {measured(one)}", one.name)


def _send(calls: Any, one: Facts) -> None:  # noqa: ANN401
    """Put the column among the properties or traits of the first call that lists them one by one."""
    for call in calls:
        for whole in ("properties", "traits"):
            members = call.get(whole)
            if not isinstance(members, dict) or "*" in members or "column" in members:
                continue
            made = member_value(one, whole)
            if made is not None and made[0] not in members:
                members[made[0]] = made[1]
            return


def _with_comments(text: str, listed: list[Facts]) -> str:
    """The text with those columns that are not declared in a comment below `source:`."""
    lines = [f"  #   {written(one.name)}: {one.type} - new: {measured(one)}\n" for one in listed]
    text = _AFTER_BLANK.sub(r"\n\1\n", text)
    return re.sub(r"(?m)^source:.*\n", lambda found: found[0] + "".join(lines), text, count=1)
