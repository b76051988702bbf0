"""What DuckDB says of SQL text: its syntax tree, and which functions it holds for volatile or aggregate.

Neither the tree's keys nor the flags are promised from one version to the next, so everything that is read of them
stands here, `pyproject.toml` bounds DuckDB, and the tests run with the oldest and the newest version inside the bounds.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from backfill.sources.sql.engine import Engine, literal
from backfill.sources.sql_tokens import without_end

Node = dict[str, Any]
#: Texts parsed before in this process, of which each is asked several things.
_TREES: dict[str, Node] = {}
#: The volatile functions and the aggregates, once they were asked for.
_LISTED: list[tuple[frozenset[str], frozenset[str]]] = []
_JSON_MAKERS = frozenset({
    "array_to_json", "json_array", "json_group_array", "json_group_object", "json_object", "json_quote", "row_to_json",
    "to_json",
})  # fmt: skip
_TEXT_TYPES = frozenset({"VARCHAR", "TEXT", "STRING", "CHAR"})


class SqlRefusal(Exception):  # noqa: N818  (a value on its way to becoming a SqlFault, not an error of the program)
    """One piece of SQL is refused; caught where its path is known."""

    def __init__(self, message: str, offset: int | None = None, candidates: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.message, self.offset, self.candidates = message, offset, candidates


def enclosed(text: str) -> str:
    """The text in brackets, to stand inside other SQL."""
    return f"(\n{without_end(text)}\n)"


def parse(engine: Engine, text: str) -> Node:
    """The syntax tree of a text that is exactly one SELECT; offsets in it count from the text's start.

    Raises:
        SqlRefusal: it is not.
    """
    if text not in _TREES:
        _TREES[text] = _parsed(engine, text)
    return _TREES[text]


def _parsed(engine: Engine, text: str) -> Node:
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


def words(node: object) -> Iterator[str]:
    """Every text in a syntax tree; a name that is not among them is not used."""
    if isinstance(node, dict):
        for value in node.values():
            yield from words(value)
    elif isinstance(node, list):
        for item in node:
            yield from words(item)
    elif isinstance(node, str):
        yield node


def characters(text: str, offset: int) -> int:
    """A place given in bytes of UTF-8, as DuckDB counts, in characters."""
    return len(text.encode()[:offset].decode(errors="ignore"))


def place(node: Node, text: str, shift: int = 0) -> int | None:
    """Where a node stands in the text, in characters behind the shift, where it has a place."""
    at = node.get("query_location")
    if not isinstance(at, int) or not shift <= at <= len(text.encode()) + shift:
        return None
    return characters(text, at - shift)


def only_expression(node: Node) -> Node:
    """The one expression of `SELECT expression`.

    Raises:
        SqlRefusal: there is anything before or behind it.
    """
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


def kind(node: Node) -> str:
    """What an expression is, such as COLUMN_REF or WINDOW; nothing for any other node."""
    return str(node.get("class", ""))


def column_path(node: Node) -> list[str]:
    """The parts of a column reference, in lower case; none for any other node."""
    return [name.lower() for name in node["column_names"]] if kind(node) == "COLUMN_REF" else []


def called(node: Node) -> str:
    """The function or operator that a node calls, in lower case; nothing for a node that calls none."""
    return str(node.get("function_name", "")).lower()


def arguments(node: Node) -> int:
    """How many arguments a call has."""
    return len(node.get("arguments", ()))


def makes_json(root: Node) -> bool:
    """Whether SQL values become JSON text somewhere in the tree, other than by taking JSON apart."""
    return any(called(node) in _JSON_MAKERS or _casts_to_json(node) for node in walk(root))


def _casts_to_json(node: Node) -> bool:
    return kind(node) == "CAST" and "json" in (word.lower() for word in words(node.get("type_expr", node)))


def takes_json(root: Node) -> bool:
    """Whether something in the tree may take JSON apart: DuckDB prints the numbers anew then."""
    return any(
        called(node).endswith("json") or called(node).startswith(("json", "->", "from_json"))
        or node.get("type") in ("ARRAY_EXTRACT", "STRUCT_EXTRACT", "LAMBDA")
        or kind(node) == "CAST" or len(column_path(node)) > 1
        for node in walk(root)
    )  # fmt: skip


def made_text(root: Node) -> Iterator[Node]:
    """The columns that become text as they are: all that the expression is, or a piece of what is put together."""
    pieces = list(root.get("select_list", ()))
    for node in walk(root):
        if called(node) in ("||", "concat", "concat_ws"):
            pieces += [one["expression"] for one in node.get("arguments", ())]
    for piece in pieces:
        cast_to_text = kind(piece) == "CAST" and piece.get("type_expr", {}).get("type_name", "").upper() in _TEXT_TYPES
        inner = piece["child"] if cast_to_text else piece
        if kind(inner) == "COLUMN_REF" and (cast_to_text or piece not in root["select_list"]):
            yield inner


def named_subqueries(node: Node) -> list[str]:
    """The names that the node's WITH gives, in lower case."""
    return [entry["key"].lower() for entry in (node.get("cte_map") or {}).get("map", ())]


def table(node: Node) -> list[str] | None:
    """The parts of a table's name; None for any other node."""
    return list(node["qualified_name"]["path"]) if node.get("type") == "BASE_TABLE" else None


def table_alias(node: Node) -> str:
    """What a query calls a table, in lower case: alone, it is the table's whole row where no column is called so."""
    return str(node.get("alias") or node["qualified_name"]["path"][-1]).lower()


def table_function(node: Node) -> str | None:
    """The function that makes a table, in lower case; None for any other node."""
    return called(node["function"]) if node.get("type") == "TABLE_FUNCTION" else None


def reads_unnamed(node: Node) -> bool:
    """The node reads columns that it does not name, or gives those of a table other names."""
    renames = table(node) is not None and bool(node.get("column_name_alias"))
    unnamed = kind(node) in ("STAR", "POSITIONAL_REFERENCE") or node.get("type") == "PIVOT"
    return unnamed or node.get("ref_type") == "NATURAL" or renames


def volatile(engine: Engine) -> frozenset[str]:
    """The functions that DuckDB holds for volatile.

    What it calls consistent within a query is no guide: since 2.0.1 it says that of all that depends on the time zone,
    which is fixed and locked here.
    """
    return _functions(engine)[0]


def aggregates(engine: Engine) -> frozenset[str]:
    """The functions that are aggregates and nothing else."""
    return _functions(engine)[1]


def _functions(engine: Engine) -> tuple[frozenset[str], frozenset[str]]:
    """The volatile functions and the aggregates: DuckDB is slow to list them, so only the first engine is asked."""
    if not _LISTED:
        listed = "SELECT DISTINCT lower(function_name), function_type, stability FROM duckdb_functions()"
        rows = engine.rows(listed)
        by_kind = {kind: {name for name, found, _ in rows if found == kind} for kind in ("aggregate", "scalar")}
        changing = frozenset(name for name, _, stability in rows if stability == "VOLATILE")
        _LISTED.append((changing, frozenset(by_kind["aggregate"] - by_kind["scalar"])))
    return _LISTED[0]
