"""What statements of a dump define: tables with their columns, and what PostgreSQL adds to them."""

from __future__ import annotations

import re
from collections.abc import Iterator

from backfill.frozen import frozen

Name = tuple[str, ...]  # schema and table, or the table alone

_QUOTED = r'"(?:[^"]|"")*"|`(?:[^`]|``)*`|\[[^\]]+\]'
_BARE = r"(?:[^\W\d]|[\udc80-\udcff])[\w$\udc80-\udcff]*"  # the latter stand for bytes that are no UTF-8
#: A name of one part, and of several.
PART = f"(?:{_QUOTED}|{_BARE})"
NAME = rf"{PART}(?:\s*\.\s*{PART})*"
_PARTS = re.compile(PART)
_TABLE = re.compile(
    rf"CREATE\s+(?:(?:GLOBAL|LOCAL|TEMP|TEMPORARY|UNLOGGED|FOREIGN|VIRTUAL)\s+)*TABLE\s+(?:IF\s+NOT\s+EXISTS\s+)?"
    rf"(?P<name>{NAME})\s*(?:PARTITION\s+OF\s+(?P<parent>{NAME})\s*)?(?P<body>\(.*)?",
    re.IGNORECASE | re.DOTALL,
)
_INHERITS = re.compile(
    rf"\)\s*INHERITS\s*\((?P<parents>{NAME}(?:\s*,\s*{NAME})*)\)\s*(?:\Z|(?:USING|WITH|TABLESPACE)\b)", re.IGNORECASE
)
_EACH = re.compile(NAME)
_ATTACH = re.compile(
    rf"ALTER\s+TABLE\s+(?:ONLY\s+)?(?P<parent>{NAME})\s+ATTACH\s+PARTITION\s+(?P<name>{NAME})", re.IGNORECASE
)
_TYPE = re.compile(rf"CREATE\s+TYPE\s+(?P<name>{NAME})\s+AS\s+(?P<what>ENUM|RANGE|\()", re.IGNORECASE)
_DOMAIN = re.compile(rf"CREATE\s+DOMAIN\s+(?P<name>{NAME})\s+AS\s+(?P<rest>.*)", re.IGNORECASE | re.DOTALL)
_PIECE = re.compile(rf"'(?:[^']|'')*'|{_QUOTED}|--[^\n]*|/\*.*?\*/|[(),]|[^'\"`(),/-]+|.", re.DOTALL)
#: What a column's type ends before.
_AFTER_TYPE = re.compile(
    r"\b(?:AS|AUTOINCREMENT|AUTO_INCREMENT|CHARACTER\s+SET|CHECK|COLLATE|COMMENT|COMPRESSION|CONSTRAINT|DEFAULT|"
    r"GENERATED|NOT|NULL|ON|OPTIONS|PRIMARY|REFERENCES|STORAGE|UNIQUE)\b",
    re.IGNORECASE,
)
_NO_COLUMN = re.compile(
    r"(?:CONSTRAINT|PRIMARY\s+KEY|UNIQUE|CHECK|FOREIGN\s+KEY|EXCLUDE|LIKE|KEY|INDEX|FULLTEXT|SPATIAL)\b", re.IGNORECASE
)
_COMPUTED = re.compile(r"\bAS\s*\(", re.IGNORECASE)


@frozen
class DefinedColumn:
    """A column of a table."""

    name: str
    type: str  # as written
    computed: bool = False  # by the server, so that no dump holds its values


@frozen
class Definition:
    """A table as its CREATE TABLE says."""

    name: Name
    columns: tuple[DefinedColumn, ...]
    parent: Name | None = None
    inherits: tuple[Name, ...] = ()  # PostgreSQL's: their columns are columns of this one, before its own


def names(written: str, *, fold: bool) -> Name:
    """The parts of a name as it is written; with `fold` those without quotes are in lower case, as in PostgreSQL."""
    return tuple(_unquoted(part, fold=fold) for part in _PARTS.findall(written))


def _unquoted(part: str, *, fold: bool) -> str:
    if part[0] in '"`[':
        return part[1:-1].replace(part[0] * 2, part[0]) if part[0] != "[" else part[1:-1]
    return part.lower() if fold else part


def table_of(statement: str, *, fold: bool) -> Definition | None:
    """The table that a statement creates; None for any other statement."""
    found = _TABLE.match(statement)
    if found is None:
        return None
    parent = names(found["parent"], fold=fold) if found["parent"] else None
    columns = tuple(_columns(found["body"] or "", fold=fold)) if parent is None else ()
    above = _INHERITS.search(statement)
    inherits = tuple(names(one, fold=fold) for one in _EACH.findall(above["parents"])) if above else ()
    return Definition(names(found["name"], fold=fold), columns, parent, inherits)


def _columns(body: str, *, fold: bool) -> Iterator[DefinedColumn]:
    for item in _items(body):
        found = None if _NO_COLUMN.match(item) else _PARTS.match(item)
        if found is None:
            continue
        rest = item[found.end() :]
        after = _AFTER_TYPE.search(rest)
        kind = rest[: after.start()] if after else rest
        computed = after is not None and _COMPUTED.search(_without_texts(rest[after.start() :])) is not None
        yield DefinedColumn(_unquoted(found[0], fold=fold), " ".join(kind.split()), computed)


def _items(body: str) -> Iterator[str]:
    """What stands between the commas of a list in parentheses, comments left out."""
    depth, item = 0, ""
    for piece in _PIECE.findall(body):
        if piece[:2] in ("--", "/*"):
            continue
        depth += (piece == "(") - (piece == ")")
        if depth == 0 or (depth == 1 and piece == ","):
            yield item.strip()
            item = ""
            if depth == 0:
                return
        elif not (piece == "(" and depth == 1):
            item += piece


def _without_texts(text: str) -> str:
    return re.sub(rf"'(?:[^']|'')*'|{_QUOTED}", "''", text)


def attached(statement: str) -> tuple[Name, Name] | None:
    """The table and the partition that a statement attaches to it; None for any other statement."""
    found = _ATTACH.match(statement)
    return (names(found["parent"], fold=True), names(found["name"], fold=True)) if found else None


def type_of(statement: str) -> tuple[Name, str] | None:
    """A type that PostgreSQL is told of: its name and what it is; None for any other statement.

    That is `enum`, `range`, `composite`, or the type below a domain.
    """
    if found := _TYPE.match(statement):
        return names(found["name"], fold=True), {"(": "composite"}.get(found["what"], found["what"].lower())
    if found := _DOMAIN.match(statement):
        after = _AFTER_TYPE.search(found["rest"])
        kind = found["rest"][: after.start()] if after else found["rest"]
        return names(found["name"], fold=True), " ".join(kind.split())
    return None
