"""The job file's SQL, looked at as DuckDB parses it, before anything runs.

Rules
1) `where`, `when` and `sql` are each exactly one expression over the row's columns: no subquery, no aggregate, no
   window, no star, no alias, nothing before or behind it.
2) `query` is exactly one SELECT over `source` and the names under `files`, nothing else.
3) No function may answer differently from one run to the next.
4) Names with backfill's own prefix are its own.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from difflib import get_close_matches
from functools import cache
from typing import Any

import duckdb

from backfill.records import INTERNAL_PREFIX
from backfill.sources.engine import Engine, literal

Node = dict[str, Any]

#: Answers differ from run to run although DuckDB calls them CONSISTENT, or hides them in a macro.
UNSTEADY = frozenset({"current_localtime", "current_localtimestamp", "ago", "localtime", "localtimestamp"})
#: Of these the form with one argument reads the clock.
#: Make other than one row of each: a row would be doubled or vanish behind the back of every count.
SET_RETURNING = frozenset({"unnest", "unlist", "generate_subscripts", "regexp_split_to_table"})
UNSTEADY_ALONE = frozenset({"age"})
#: Words that DuckDB takes for calls where no column is so named.
CLOCK_WORDS = frozenset({
    "current_date", "current_time", "current_timestamp", "localtime", "localtimestamp", "current_user", "session_user",
    "user", "current_role", "current_catalog", "current_schema", "current_database",
})  # fmt: skip
#: Table functions that make rows out of their arguments alone.
TABLE_FUNCTIONS = frozenset({"unnest", "range", "generate_series", "json_each", "json_tree", "repeat", "repeat_row"})
PREFIX = "SELECT "


class SqlRefusal(Exception):  # noqa: N818  (a value on its way to becoming a SqlFault, not an error of the program)
    """One piece of SQL is refused; caught where its path is known."""

    def __init__(self, message: str, offset: int | None = None, candidates: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.message, self.offset, self.candidates = message, offset, candidates


def parse(engine: Engine, text: str) -> Node:
    """The syntax tree of a text that is exactly one SELECT; offsets in it count from the text's start.

    Raises:
        SqlRefusal: it is not.
    """
    tree = json.loads(engine.rows(f"SELECT CAST(json_serialize_sql({literal(text)}) AS VARCHAR)")[0][0])
    if tree["error"]:
        position = tree.get("position")
        message = tree["error_message"]
        if tree["error_type"] == "not implemented":
            message = "only one SELECT is allowed here"
        raise SqlRefusal(message, None if position is None else characters(text, int(position)))
    if len(tree["statements"]) != 1:
        raise SqlRefusal("exactly one statement is allowed here")
    node: Node = tree["statements"][0]["node"]
    return node


def characters(text: str, offset: int) -> int:
    """A place given in bytes of UTF-8, as DuckDB counts, in characters."""
    return len(text.encode()[:offset].decode(errors="ignore"))


def check_expression(engine: Engine, text: str, columns: Sequence[str]) -> tuple[str, ...]:
    """The columns that an expression reads, in their own spelling and order.

    Raises:
        SqlRefusal: the text is not one expression, or not an allowed one.
    """
    shift = len(PREFIX)
    try:
        node = parse(engine, PREFIX + text)
        expression = _only_expression(node)
        _check_nodes(expression, columns, aggregates=False)
    except SqlRefusal as refusal:
        offset = None if refusal.offset is None else max(refusal.offset - shift, 0)
        raise SqlRefusal(refusal.message, offset, refusal.candidates) from None
    for inner in walk(expression):
        if inner.get("class") in ("SUBQUERY", "STAR"):
            what = "a subquery" if inner["class"] == "SUBQUERY" else "a star"
            raise SqlRefusal(
                f"{what} has no place in an expression; it may stand in `query`", _offset(inner, text, shift)
            )
        if inner.get("class") == "COLUMN_REF" and [name.lower() for name in inner["column_names"]] == ["source"]:
            raise SqlRefusal("`source` as a whole row has no place in an expression", _offset(inner, text, shift))
    read = set(_column_parts(expression))
    return tuple(column for column in columns if column.lower() in read)


def check_query(engine: Engine, text: str, tables: Iterable[str], columns: Sequence[str]) -> tuple[str, ...]:
    """The columns of `source` that a query may read: all of them where it has a star or the like.

    Raises:
        SqlRefusal: the text is not one SELECT over the named tables, or calls what is not allowed.
    """
    node = parse(engine, text)
    known = {name.lower() for name in tables}
    for inner in walk(node):
        known.update(entry["key"].lower() for entry in (inner.get("cte_map") or {}).get("map", ()))
    for inner in walk(node):
        _check_table(inner, text, known)
    _check_nodes(node, columns, aggregates=True)
    if any(_reads_all(inner) for inner in walk(node)):
        return tuple(columns)
    words = {word.lower() for word in _words(node)}
    return tuple(column for column in columns if column.lower() in words)


def walk(node: object) -> Iterator[Node]:
    """Every object inside a syntax tree, outer ones first."""
    stack = [node]
    while stack:
        item = stack.pop()
        if isinstance(item, dict):
            yield item
            stack.extend(reversed(item.values()))
        elif isinstance(item, list):
            stack.extend(reversed(item))


def _only_expression(node: Node) -> Node:
    """The one expression of `SELECT expression`, with nothing behind it."""
    plain = (
        node["type"] == "SELECT_NODE"
        and not node["modifiers"]
        and not node["cte_map"]["map"]
        and node["from_table"]["type"] == "EMPTY"
        and not any(node.get(clause) for clause in ("where_clause", "group_expressions", "having", "sample", "qualify"))
        and len(node["select_list"]) == 1
        and not node["select_list"][0].get("alias")
    )
    if not plain:
        raise SqlRefusal("exactly one expression is allowed here, without alias, FROM or anything behind it")
    expression: Node = node["select_list"][0]
    return expression


def _check_nodes(root: Node, columns: Iterable[str], *, aggregates: bool) -> None:
    """Refuse functions that are not steady, parameters, internal names and (unless allowed) aggregates, windows."""
    named = {column.lower() for column in columns}
    kinds = _functions()
    for node in walk(root):
        offset = node.get("query_location")
        kind = node.get("class")
        if kind == "PARAMETER":
            raise SqlRefusal("a parameter has no place here: nothing gives it a value", offset)
        if kind == "WINDOW" and not aggregates:
            raise SqlRefusal("a window function has no place in an expression; it may stand in `query`", offset)
        if kind == "COLUMN_REF" and any(name.lower().startswith(INTERNAL_PREFIX) for name in node["column_names"]):
            raise SqlRefusal(f"names that start with {INTERNAL_PREFIX} are backfill's own", offset)
        if kind == "COLUMN_REF" and node["column_names"][0].lower() in CLOCK_WORDS - named:
            word = node["column_names"][0].lower()
            raise SqlRefusal(f"{word} may differ at each run, so its result cannot be repeated", offset)
        if "function_name" not in node:
            continue
        name = str(node["function_name"]).lower()
        found = kinds.get(name, frozenset())
        if "unsteady" in found or name in UNSTEADY or (name in UNSTEADY_ALONE and len(node["arguments"]) == 1):
            raise SqlRefusal(f"{name}() may answer differently at each run, so its result cannot be repeated", offset)
        if not aggregates and name in SET_RETURNING:
            raise SqlRefusal(f"{name}() makes other than one row of a row: it may stand in `query`", offset)
        if not aggregates and "aggregate" in found and "scalar" not in found:
            raise SqlRefusal(f"{name}() is an aggregate: it may stand in `query`, not in an expression", offset)


def _check_table(node: Node, text: str, known: set[str]) -> None:
    """Refuse tables and table functions other than the named ones, and samples."""
    kind = node.get("type")
    if node.get("sample"):
        raise SqlRefusal("a sample differs from run to run", _offset(node, text, 0))
    if kind == "BASE_TABLE":
        path = node["qualified_name"]["path"]
        if len(path) != 1 or path[0].lower() not in known:
            name = ".".join(path)
            raise SqlRefusal(
                f"{name} is not a table of this job: there are {', '.join(sorted(known))}",
                _offset(node, text, 0),
                tuple(get_close_matches(name.lower(), known)),
            )
    if kind == "SHOW_REF":
        raise SqlRefusal("only SELECT is allowed here", _offset(node, text, 0))
    if kind == "TABLE_FUNCTION":
        name = str(node["function"].get("function_name", "")).lower()
        if name not in TABLE_FUNCTIONS:
            raise SqlRefusal(f"{name}() reads what the job does not name", _offset(node, text, 0))


def _offset(node: Node, text: str, shift: int) -> int | None:
    """A node's place in the text, in characters, where it has one."""
    place = node.get("query_location")
    if not isinstance(place, int) or not shift <= place <= len(text.encode()) + shift:
        return None
    return characters(text, place - shift)


def _reads_all(node: Node) -> bool:
    """The node reads columns that it does not name."""
    return (
        node.get("class") == "STAR"
        or node.get("type") == "PIVOT"
        or node.get("ref_type") == "NATURAL"
        or (node.get("class") == "COLUMN_REF" and [name.lower() for name in node["column_names"]] == ["source"])
    )


def _column_parts(root: Node) -> Iterator[str]:
    """The part of each column reference that names the column, in lower case."""
    for node in walk(root):
        if node.get("class") == "COLUMN_REF":
            names = [name.lower() for name in node["column_names"]]
            yield names[0]
            if names[0] == "source" and len(names) > 1:
                yield names[1]


def _words(node: object) -> Iterator[str]:
    """Every text in a syntax tree; a column that is not among them is not read."""
    if isinstance(node, dict):
        for value in node.values():
            yield from _words(value)
    elif isinstance(node, list):
        for item in node:
            yield from _words(item)
    elif isinstance(node, str):
        yield node


@cache
def _functions() -> dict[str, frozenset[str]]:
    """Every function's types, plus `unsteady` where DuckDB says that its answer may change."""
    with duckdb.connect() as connection:
        rows = connection.execute(
            "SELECT lower(function_name), list(DISTINCT function_type), bool_or(coalesce(stability, '') IN "
            "('VOLATILE', 'CONSISTENT_WITHIN_QUERY')), any_value(macro_definition) FROM duckdb_functions() GROUP BY 1"
        ).fetchall()
    unsteady = {name for name, _, flag, _ in rows if flag}
    calls = re.compile(rf"\b(?:{'|'.join(sorted(unsteady | UNSTEADY | CLOCK_WORDS))})\b", re.IGNORECASE)
    unsteady |= {name for name, kinds, _, body in rows if body and "macro" in kinds and calls.search(body)}
    return {name: frozenset(kinds) | ({"unsteady"} if name in unsteady else frozenset()) for name, kinds, _, _ in rows}
