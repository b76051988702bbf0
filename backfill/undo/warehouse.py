# ruff: noqa: S608 (the SQL is for people to read and run; names in it are quoted)
"""SQL that deletes the rows of a run from a Segment warehouse: counted first, and refused where the count is another.

The tables are those of https://www.twilio.com/docs/segment/connections/storage/warehouses/schema: `tracks` and a table
for each event, `pages`, `screens`, `identifies`, `groups`, `aliases`; in each the column `id` has the message id. The
tables `users` and `accounts` have one row for each user or group, of whichever call came last: nothing restores them.

Of each table the ids that are found have to be as many as were delivered, up to those in doubt beside them; of tables
of events that are not known call by call, up to as many as were planned. Else the script divides by zero (BigQuery:
ASSERT) before it deletes anything.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from backfill.frozen import frozen
from backfill.lint import snake_case
from backfill.undo.result import TableRows

#: The columns of the file of message ids, as it is loaded.
COLUMNS: Final = ("message_id", "standing", "type", "event_table")
IDS_FILE: Final = "message_ids.csv"
#: Stands for the schema or dataset where it was not said: no warehouse has it.
UNNAMED: Final = "YOUR_SCHEMA"
#: The table of each type of calls.
TABLES: Final = {
    "track": "tracks",
    "page": "pages",
    "screen": "screens",
    "identify": "identifies",
    "group": "groups",
    "alias": "aliases",
}
#: Segment's own tables, which a track call has no row in by its event's name, as far as is known.
_OWN_TABLES: Final = frozenset({*TABLES.values(), "users", "accounts"})
_IDS: Final = "backfill_undo"
_LOOK: Final = """\
-- Has to be empty: events of the run whose table has another name than is expected here. Add lines for each.
SELECT DISTINCT event FROM {tracks} WHERE {matched}{others};"""
_HEAD: Final = """\
-- Deletes what {run} wrote to a Segment warehouse in {engine}, and no other row.
-- Not restored: the tables users and accounts, which have the values of the last call only.
-- A table that the warehouse does not have (Selective Sync may leave it out) ends the script with nothing deleted:
-- take its lines out.
{how}
"""


@frozen
class Dialect:
    """How a warehouse is written to."""

    engine: str
    quoted: Callable[[str], str]  # a name
    how: str  # the script is run
    load: str  # statements that make the table of ids, before the transaction or in it
    begin: str
    guard: str  # a statement that fails where `counted` is not between `least` and `most`
    commit: str


def _double_quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _upper(name: str) -> str:
    return _double_quoted(name.upper())


def _backticked(name: str) -> str:
    return "`" + name.replace("`", "") + "`"


def _columns(kind: str) -> str:
    return ", ".join(f"{name} {kind}" for name in COLUMNS)


_DIVIDED: Final = """\
SELECT 1 / CASE WHEN count(DISTINCT id) BETWEEN {least} AND {most} THEN 1 ELSE 0 END AS {label}
FROM {table} WHERE id IN (SELECT message_id FROM {ids}){more};"""

DIALECTS: Final = {
    "postgres": Dialect(
        "PostgreSQL",
        _double_quoted,
        "-- In this folder: psql DATABASE -f postgres.sql",
        "\\set ON_ERROR_STOP on\nBEGIN;\n"
        f"CREATE TEMPORARY TABLE {{ids}} ({_columns('text')}) ON COMMIT DROP;\n"
        f"\\copy {{ids}} FROM '{IDS_FILE}' WITH (FORMAT csv, HEADER true)\n"
        "ANALYZE {ids};",
        "",
        _DIVIDED,
        "COMMIT;",
    ),
    "redshift": Dialect(
        "Redshift",
        _double_quoted,
        f"-- Put {IDS_FILE} into a bucket that the cluster reads, say which, then: psql DATABASE -f redshift.sql",
        "\\set ON_ERROR_STOP on\n"
        f"CREATE TEMPORARY TABLE {{ids}} ({_columns('varchar(2048)')});\n"
        f"COPY {{ids}} FROM 's3://YOUR_BUCKET/{IDS_FILE}' IAM_ROLE DEFAULT CSV IGNOREHEADER 1;",
        "BEGIN;",
        _DIVIDED,
        "COMMIT;",
    ),
    "snowflake": Dialect(
        "Snowflake",
        _upper,
        "-- Say the database first: snowsql -d DATABASE -o exit_on_error=true -f snowflake.sql",
        f"CREATE TEMPORARY TABLE {{ids}} ({_columns('VARCHAR')});\n"
        "CREATE TEMPORARY STAGE {ids}_files;\n"
        "PUT 'file://{folder}/" + IDS_FILE + "' @{ids}_files;\n"
        "COPY INTO {ids} FROM @{ids}_files\n"
        "FILE_FORMAT = (TYPE = CSV SKIP_HEADER = 1 FIELD_OPTIONALLY_ENCLOSED_BY = '\"');",
        "BEGIN;",
        _DIVIDED,
        "COMMIT;",
    ),
    "bigquery": Dialect(
        "BigQuery",
        _backticked,
        "-- First, in this folder:\n"
        f"--   bq load --source_format=CSV --skip_leading_rows=1 {{schema}}.{_IDS} {IDS_FILE} \\\n"
        "--     " + ",".join(f"{name}:STRING" for name in COLUMNS) + "\n"
        "-- then: bq query --use_legacy_sql=false < bigquery.sql",
        "",
        "BEGIN TRANSACTION;",
        "ASSERT (SELECT count(DISTINCT id) FROM {table} WHERE id IN (SELECT message_id FROM {ids}){more})\n"
        "BETWEEN {least} AND {most} AS 'not as many rows as expected: {label}';",
        "COMMIT TRANSACTION;\nDROP TABLE {ids};",
    ),
}


def event_table(event: str) -> str:
    """The table of an event; empty where it is not known: no letter or digit in ASCII, or the name of another table."""
    name = snake_case(event)
    return "" if name in _OWN_TABLES else name


def script(kind: str, run_id: str, tables: Sequence[TableRows], schema: str, folder: Path) -> str:
    """The script of a kind of warehouse (a key of DIALECTS) for these tables of a schema or dataset."""
    dialect = DIALECTS[kind]
    named = schema or UNNAMED

    def place(name: str) -> str:
        return f"{dialect.quoted(named)}.{dialect.quoted(name)}"

    ids = place(_IDS) if kind == "bigquery" else _IDS
    filled = {"ids": ids, "folder": str(folder), "schema": named}
    matched = f"id IN (SELECT message_id FROM {ids})"
    counts = "\nUNION ALL ".join(
        f"SELECT '{table.name}' AS warehouse_table, count(DISTINCT id) AS found, {table.least} AS at_least,"
        f" {table.most} AS at_most\nFROM {place(table.name)} WHERE {matched}"
        for table in tables
    )

    def guard(table: str, label: str, least: int, most: int, more: str = "") -> str:
        name = label if kind == "bigquery" else dialect.quoted(label)
        return dialect.guard.format(table=place(table), ids=ids, label=name, least=least, most=most, more=more)

    guards = [guard(one.name, one.name, one.least, one.most) for one in tables]
    look = ""
    if any(table.name == TABLES["track"] for table in tables):
        others = _other_events(tables)
        look = _LOOK.format(tracks=place(TABLES["track"]), matched=matched, others=others)
        guards.append(guard(TABLES["track"], "events_of_other_tables", 0, 0, others))
    parts = [
        _HEAD.format(run=run_id, engine=dialect.engine, how=dialect.how.format(**filled)),
        dialect.load.format(**filled),
        dialect.begin,
        f"-- 1. Counted: found has to be from at_least to at_most.\n{counts}\nORDER BY warehouse_table;",
        look,
        "\n".join(["-- 2. Ends here where it is not.", *guards]),
        "\n".join(
            ["-- 3. Deleted, all or nothing.", *(f"DELETE FROM {place(one.name)} WHERE {matched};" for one in tables)]
        ),
        dialect.commit.format(**filled),
    ]
    return "\n".join(filter(None, parts)) + "\n"


def _other_events(tables: Sequence[TableRows]) -> str:
    """The condition of rows of `tracks` whose event has another table than the script has."""
    named = ", ".join(f"'{table.name}'" for table in tables if table.name not in TABLES.values())
    return f" AND event NOT IN ({named})" if named else ""
