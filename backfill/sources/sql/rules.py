"""The rules for the job file's SQL, asked before anything runs.

Rules
1) `where`, `when` and `sql` are each exactly one expression over the row's columns: no subquery, no aggregate, no
   window, no star, no alias, nothing before or behind it.
2) `query` is exactly one SELECT over `source` and the names under `files`, nothing else.
3) No function may answer differently from one run to the next.
4) Names with backfill's own prefix are its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from difflib import get_close_matches

from backfill.records import INTERNAL_PREFIX
from backfill.sources.sql import syntax
from backfill.sources.sql.engine import Engine
from backfill.sources.sql.syntax import Node, SqlRefusal

#: Functions that read the clock.
CLOCKS = frozenset({
    "ago", "current_date", "current_localtime", "current_localtimestamp", "current_time", "current_timestamp",
    "get_current_time", "get_current_timestamp", "localtime", "localtimestamp", "now", "pg_conf_load_time",
    "pg_postmaster_start_time", "today", "transaction_timestamp",
})  # fmt: skip
#: Functions that tell of the connection or its settings.
SESSION = frozenset({
    "current_catalog", "current_database", "current_role", "current_schema", "current_schemas", "current_setting",
    "current_user", "getvariable", "in_search_path", "session_user", "txid_current", "user",
})  # fmt: skip
#: Macros over functions that DuckDB holds for volatile.
MACROS = frozenset({"assert_true", "pg_sleep"})
#: Macros over aggregates.
AGGREGATES = frozenset({"geomean", "json_group_array", "json_group_object", "variant_group_array", "weighted_avg"})
#: With one argument these read the clock.
CLOCKS_ALONE = frozenset({"age"})
#: Words that DuckDB takes for calls where no column is so named.
WORDS = frozenset({
    "current_date", "current_time", "current_timestamp", "localtime", "localtimestamp", "current_user", "session_user",
    "user", "current_role", "current_catalog", "current_schema", "current_database",
})  # fmt: skip
#: Make other than one row of each: a row would be doubled or vanish behind the back of every count.
SET_RETURNING = frozenset({"unnest", "unlist", "generate_subscripts", "regexp_split_to_table"})
#: Table functions that make rows out of their arguments alone.
TABLE_FUNCTIONS = frozenset({"unnest", "range", "generate_series", "json_each", "json_tree", "repeat", "repeat_row"})
PREFIX = "SELECT "


def check_expression(engine: Engine, text: str, columns: Sequence[str]) -> tuple[str, ...]:
    """The columns that an expression reads, in their own spelling and order.

    Raises:
        SqlRefusal: the text is not one expression, or not an allowed one.
    """
    shift = len(PREFIX)
    try:
        expression = syntax.only_expression(syntax.parse(engine, PREFIX + text))
        _check_nodes(engine, expression, PREFIX + text, columns, aggregates=False)
    except SqlRefusal as refusal:
        offset = None if refusal.offset is None else max(refusal.offset - shift, 0)
        raise SqlRefusal(refusal.message, offset, refusal.candidates) from None
    for inner in syntax.walk(expression):
        place = syntax.place(inner, text, shift)
        if syntax.kind(inner) in ("SUBQUERY", "STAR"):
            what = "a subquery" if syntax.kind(inner) == "SUBQUERY" else "a star"
            raise SqlRefusal(f"{what} has no place in an expression; it may stand in `query`", place)
        if syntax.column_path(inner) == ["source"]:
            raise SqlRefusal("`source` as a whole row has no place in an expression", place)
    read = set(_column_parts(expression))
    return tuple(column for column in columns if column.lower() in read)


def check_query(engine: Engine, text: str, tables: Iterable[str], columns: Sequence[str]) -> tuple[str, ...]:
    """The columns of `source` that a query may read: all of them where it has a star or the like.

    Raises:
        SqlRefusal: the text is not one SELECT over the named tables, or calls what is not allowed.
    """
    root = syntax.parse(engine, text)
    known = {name.lower() for name in tables}
    for node in syntax.walk(root):
        known.update(syntax.named_subqueries(node))
    for node in syntax.walk(root):
        _check_table(node, text, known)
    _check_nodes(engine, root, text, columns, aggregates=True)
    return columns_read(engine, text, columns)


def columns_read(engine: Engine, text: str, columns: Sequence[str]) -> tuple[str, ...]:
    """Those of a table's columns that a query may read: all of them where it has a star or the like.

    Raises:
        SqlRefusal: the text is not one SELECT.
    """
    root = syntax.parse(engine, text)
    nodes = list(syntax.walk(root))
    made = {name for node in nodes for name in syntax.named_subqueries(node)}
    tables = [node for node in nodes if (path := syntax.table(node)) and path[0].lower() not in made]
    whole_rows = [[syntax.table_alias(node)] for node in tables]
    if any(syntax.reads_unnamed(node) or syntax.column_path(node) in whole_rows for node in nodes):
        return tuple(columns)
    words = {word.lower() for word in syntax.words(root)}
    return tuple(column for column in columns if column.lower() in words)


def _check_nodes(engine: Engine, root: Node, text: str, columns: Iterable[str], *, aggregates: bool) -> None:
    """Refuse functions that are not steady, parameters, internal names and (unless allowed) aggregates, windows."""
    named = {column.lower() for column in columns}
    for node in syntax.walk(root):
        path = syntax.column_path(node)
        if syntax.kind(node) == "PARAMETER":
            message = "a parameter has no place here: nothing gives it a value"
        elif syntax.kind(node) == "WINDOW" and not aggregates:
            message = "a window function has no place in an expression; it may stand in `query`"
        elif any(name.startswith(INTERNAL_PREFIX) for name in path):
            message = f"names that start with {INTERNAL_PREFIX} are backfill's own"
        elif path and path[0] in WORDS - named:
            message = f"{path[0]} may differ at each run, so its result cannot be repeated"
        else:
            message = _call_refused(engine, node, aggregates=aggregates)
        if message:
            raise SqlRefusal(message, syntax.place(node, text))


def _call_refused(engine: Engine, node: Node, *, aggregates: bool) -> str:
    """Why what a node calls is refused; nothing where it is not, or calls nothing."""
    name = syntax.called(node)
    if not is_steady(engine, name, syntax.arguments(node)):
        return f"{name}() may answer differently at each run, so its result cannot be repeated"
    if not aggregates and name in SET_RETURNING:
        return f"{name}() makes other than one row of a row: it may stand in `query`"
    if not aggregates and (name in AGGREGATES or name in syntax.aggregates(engine)):
        return f"{name}() is an aggregate: it may stand in `query`, not in an expression"
    return ""


def is_steady(engine: Engine, name: str, arguments: int) -> bool:
    """A function of that name answers the same at each run."""
    unsteady = name in CLOCKS or name in SESSION or name in MACROS or name in syntax.volatile(engine)
    return not unsteady and not (name in CLOCKS_ALONE and arguments == 1)


def _check_table(node: Node, text: str, known: set[str]) -> None:
    """Refuse tables and table functions other than the named ones, and samples."""
    place = syntax.place(node, text)
    path, function = syntax.table(node), syntax.table_function(node)
    if node.get("sample"):
        raise SqlRefusal("a sample differs from run to run", place)
    if path is not None and (len(path) != 1 or path[0].lower() not in known):
        name = ".".join(path)
        message = f"{name} is not a table of this job: there are {', '.join(sorted(known))}"
        raise SqlRefusal(message, place, tuple(get_close_matches(name.lower(), known)))
    if node.get("type") == "SHOW_REF":
        raise SqlRefusal("only SELECT is allowed here", place)
    if function is not None and function not in TABLE_FUNCTIONS:
        raise SqlRefusal(f"{function}() reads what the job does not name", place)


def _column_parts(root: Node) -> Iterator[str]:
    """The part of each column reference that names the column, in lower case."""
    for node in syntax.walk(root):
        path = syntax.column_path(node)
        yield from path[:1]
        if path[:1] == ["source"]:
            yield from path[1:2]
