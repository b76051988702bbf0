"""Dumps of MySQL and MariaDB: every value is the server's own, or a problem; what is cut or no dump is refused."""

from __future__ import annotations

import gzip
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backfill.errors import JobError, SourceError
from backfill.job.models import ColumnSpec
from backfill.sources import inspect, resolve, stage
from backfill.sources.dumps.mysql.script import Insert, Script, Table, View
from backfill.sources.formats import line_of
from backfill.sources.origins.content import origin_of, plain_pieces
from tests.support.examples import examples
from tests.support.mariadb import MariaDb
from tests.support.sourcing import Staged, job_over, staged

CREATE = "CREATE TABLE `t` (`id` int(11), `text` longtext);\n"
#: Texts that look like what stands around them.
NASTY = [
    "", "NULL", "it's", "''", "\\", "\\'", "\\\\'", "),(", "');\n", "a,b", "(", ")", '"', "`", "%_\\%\\_",
    "\t\r\n\0\x1a\b",     "-- no comment", "/*!40101 x */", "# x", ";", "DELIMITER ;;", "_binary 'x'", "0x41",
    " x ", "é", "東京 🫖", "\u2028", "\x7f",
]  # fmt: skip


def over(path: Path, table: str = "t", **options: Any) -> Any:
    """A job over a table of a dump."""
    return job_over(path, format="mysqldump", table=table, **options)


def dump_of(path: Path, text: str | bytes, table: str = "t", **options: Any) -> Staged:
    """Write a dump and stage it."""
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return staged(over(path, table, **options), path.parent / f"state-{path.name}")


def literal(value: str | None) -> str:
    """A text in the server's own form, made by other means than a dump: of hexadecimal digits."""
    return "NULL" if value is None else f"CONVERT(x'{value.encode().hex()}' USING utf8mb4)"


def held(mariadb: MariaDb, database: str, columns: Sequence[str], table: str = "t") -> list[tuple[str | None, ...]]:
    """What the server holds, as text, by hexadecimal digits."""
    values = ", ".join(f"ifnull(concat('x', hex(CONVERT(`{name}` USING utf8mb4))), 'n')" for name in columns)
    lines = mariadb.sql(f"SELECT {values} FROM `{table}` ORDER BY id", database).splitlines()
    return [
        tuple(None if one == "n" else bytes.fromhex(one[1:]).decode() for one in line.split("\t")) for line in lines
    ]


WAYS = [
    ("--opt",),
    ("--skip-extended-insert",),
    ("--complete-insert", "--hex-blob"),
    ("--compact",),
    ("--skip-opt", "--quick", "--replace"),
    ("--compatible=ansi", "--skip-comments", "--default-character-set=utf8mb4"),
    ("--insert-ignore", "--skip-tz-utc", "--net-buffer-length=4096"),
    ("--default-character-set=utf8mb3",),
]


@pytest.mark.parametrize("way", WAYS, ids=" ".join)
def test_texts_are_the_servers(mariadb: MariaDb, tmp_path: Path, way: tuple[str, ...]) -> None:
    """Whatever the options of the dump, each text and null is what the server holds."""
    texts = [*NASTY, None, "x" * 70_000] * 3
    if "utf8mb3" in way[-1]:
        texts = [text for text in texts if text is None or "🫖" not in text]
    rows = ", ".join(f"({place}, {literal(text)})" for place, text in enumerate(texts))
    database = mariadb.new_database(f"{CREATE} INSERT INTO t VALUES {rows}")
    result = dump_of(tmp_path / "t.sql", mariadb.dump(*way, database, "t"))
    assert result.column("id") == list(range(len(texts)))
    assert result.column("text") == texts
    assert [(text,) for text in texts] == held(mariadb, database, ["text"])
    assert result.records == list(range(1, len(texts) + 1))


@settings(max_examples=examples(25))
@given(
    rows=st.lists(
        st.tuples(st.none() | st.text(), st.binary(max_size=20), st.none() | st.sampled_from(NASTY)), min_size=1
    )
)
def test_made_up_rows(mariadb: MariaDb, tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[Any, ...]]) -> None:
    """Rows of any text and bytes: the dump read is what the server says."""
    folder = tmp_path_factory.mktemp("made")
    values = ", ".join(
        f"({place}, {literal(text)}, x'{data.hex()}', {literal(other)})"
        for place, (text, data, other) in enumerate(rows)
    )
    create = "CREATE OR REPLACE TABLE t (id int, text longtext, data blob, other varchar(200)) CHARACTER SET utf8mb4;"
    mariadb.sql(f"CREATE DATABASE IF NOT EXISTS made; USE made; {create} INSERT INTO t VALUES {values}")
    result = dump_of(folder / "t.sql", mariadb.dump("made", "t"))
    assert result.rows == [(place, *row) for place, row in enumerate(rows)]


#: Type, literals, and what becomes of each: a value; BAD for one that is told as bad and costs what reads it.
BAD = object()
VALUES: list[tuple[str, list[tuple[str, Any]]]] = [
    ("tinyint(1)", [("0", 0), ("1", 1), ("-128", -128), ("127", 127)]),
    ("bigint", [("-9223372036854775808", -(2**63)), ("9223372036854775807", 2**63 - 1)]),
    ("bigint unsigned", [("0", 0), ("18446744073709551615", 2**64 - 1)]),
    ("int(6) zerofill", [("42", 42)]),
    ("decimal(10,2)", [("1.5", "1.50"), ("-99999999.99", "-99999999.99")]),
    ("decimal(38,0)", [("9" * 38, "9" * 38)]),
    ("decimal(10,2) zerofill", [("1.5", "1.50")]),
    ("double zerofill", [("1.5", 1.5)]),
    ("decimal(65,30)", [("9" * 35 + "." + "9" * 30, "9" * 35 + "." + "9" * 30)]),
    ("double", [("0.1", 0.1), ("1.7976931348623157e308", 1.7976931348623157e308), ("-5e-324", -5e-324)]),
    ("float", [("0.5", 0.5)]),
    ("date", [("'2024-02-29'", "2024-02-29"), ("'0000-00-00'", BAD), ("'9999-12-31'", "9999-12-31")]),
    ("datetime", [("'2024-02-29 23:59:59'", "2024-02-29 23:59:59"), ("'0000-00-00 00:00:00'", BAD)]),
    ("datetime(6)", [("'1000-01-01 00:00:00.000001'", "1000-01-01 00:00:00.000001")]),
    ("timestamp null", [("'2024-06-01 12:00:00'", "2024-06-01 17:00:00+00:00"), ("'0000-00-00'", BAD)]),
    ("timestamp(3) null", [("'2038-01-18 12:00:00.123'", "2038-01-18 17:00:00.123000+00:00")]),
    ("time(2)", [("'-838:59:59'", "-838:59:59.00"), ("'25:00:00'", "25:00:00.00")]),
    ("year", [("2024", 2024), ("0", 0)]),
    ("enum('a','b''c')", [("'b''c'", "b'c")]),
    ("set('x','y','w')", [("'x,w'", "x,w"), ("''", "")]),
    ("json", [("'{\"a\": [1.10, \"\\\\\"x\"]}'", '{"a": [1.10, "\\"x"]}')]),
    ("bit(1)", [("b'1'", 1), ("b'0'", 0)]),
    ("bit(64)", [("18446744073709551615", 2**64 - 1), ("39", 39), ("10023", 10023)]),
    ("binary(3)", [("'a\\0'", b"a\0\0")]),
    ("varbinary(9)", [("x'00ff275c2c'", b"\0\xff'\\,"), ("''", b"")]),
    ("inet6", [("'::1'", "::1")]),
    ("char(5) character set latin1", [("'é€'", "é€")]),
]  # fmt: skip


@pytest.mark.parametrize("way", [(), ("--hex-blob",), ("--complete-insert",)], ids=str)
def test_values_by_type(mariadb: MariaDb, tmp_path: Path, way: tuple[str, ...]) -> None:
    """Each edge of each type is exact, or told as a bad value; null is null."""
    columns = ", ".join(f"c{place} {kind}" for place, (kind, _) in enumerate(VALUES))
    most = max(len(cases) for _, cases in VALUES)
    rows = []
    for row in range(most + 1):
        cells = [cases[row][0] if row < len(cases) else "NULL" for _, cases in VALUES]
        rows.append(f"INSERT INTO t VALUES ({row}, {', '.join(cells)});")
    database = mariadb.new_database(f"CREATE TABLE t (id int, {columns}) CHARACTER SET utf8mb4; {' '.join(rows)}")
    result = dump_of(tmp_path / "t.sql", mariadb.dump(*way, database, "t"))
    for place, (kind, cases) in enumerate(VALUES):
        values = result.column(f"c{place}")
        for row, (_, meant) in enumerate(cases):
            if meant is BAD:
                assert values[row] is None, kind
                assert result.column(f"__bf_raw:c{place}")[row].startswith("0000-00-00"), kind
            elif isinstance(meant, str):
                assert str(values[row]) == meant, kind
            else:
                assert values[row] == meant, kind
        assert values[len(cases) :] == [None] * (most + 1 - len(cases)), kind


def test_tables_of_several_databases(mariadb: MariaDb, tmp_path: Path) -> None:
    """A table is told by its database too; views, triggers, routines and events are passed over."""
    tricky = "CREATE TRIGGER g BEFORE INSERT ON t FOR EACH ROW BEGIN /* don't; */ SET NEW.text = 'a;b'; -- it's\nEND"
    text = f"{CREATE}INSERT INTO t VALUES (1, 'one'), (2, NULL); CREATE VIEW v AS SELECT * FROM t;\nDELIMITER $$\n"
    text += f"{tricky}$$\nDELIMITER ;\n"
    one, two = mariadb.new_database(text), mariadb.new_database(CREATE)
    path = tmp_path / "all.sql.gz"
    path.write_bytes(gzip.compress(mariadb.dump("--databases", one, two, "--routines", "--events", "--triggers")))
    assert staged(over(path, f"{one}.t"), tmp_path / "one").rows == [(1, "one"), (2, None)]
    assert staged(over(path, f"{two}.t"), tmp_path / "two").rows == []
    with pytest.raises(JobError, match=f"{one}.t and {two}.t"):
        stage(over(path), tmp_path / "both")
    for table, said in (("v", "a view"), ("no", "has no table no")):
        with pytest.raises(SourceError, match=said):
            stage(over(path, table), tmp_path / "none")


HEAD = "-- MySQL dump 10.13\n/*!40101 SET NAMES utf8mb4 */;\n"
ROWS = "INSERT INTO `t` VALUES (1,'a'),(2,'b');\n"
TAIL = "-- Dump completed on 2024-01-01\n"
#: Dumps by other hands, and the rows in them.
WRITTEN: list[tuple[str, str, list[Any]]] = [
    (
        "phpMyAdmin",
        f"{CREATE}INSERT INTO `t` (`id`, `text`) VALUES\n(1, 'a, (b)'),\n(2, 'it''s');\n",
        [(1, "a, (b)"), (2, "it's")],
    ),
    ("blanks", f"{CREATE}INSERT INTO t VALUES ( 1 ,\t'a b'\n) , (2, NULL) ;", [(1, "a b"), (2, None)]),
    ("two blocks", f"{CREATE}{ROWS}-- more\n{ROWS}UNLOCK TABLES;\n", [(1, "a"), (2, "b")] * 2),
    ("columns in another order", f"{CREATE}INSERT INTO t (text, id) VALUES ('a',1);", [(1, "a")]),
    ("quoted names", 'CREATE TABLE "t" ("id" int, "text" text);INSERT INTO "t" VALUES (1,\'a\');', [(1, "a")]),
    ("database in the name", f"USE shop;{CREATE}INSERT INTO `shop`.`t` VALUES (1,'a');", [(1, "a")]),
    (
        "generated column left out",
        "CREATE TABLE t (`id` int, `g` int AS (`id` + 1) VIRTUAL, text text);INSERT INTO t VALUES (1,'a');",
        [(1, "a")],
    ),
    (
        "_binary",
        ("CREATE TABLE t (id int, text blob);"
        "INSERT INTO t VALUES (1,_binary 'a\\0\\'\xff'),(2,NULL),(3,0xFF),(4,''),(5,x'0a');"),
        [(1, b"a\0'\xc3\xbf"), (2, None), (3, b"\xff"), (4, b""), (5, b"\n")],
    ),
    (
        "bits",
        "CREATE TABLE t (id int, text bit(9));INSERT INTO t VALUES (1,b'100000001'),(2,NULL),(3,'\\0a');",
        [(1, 257), (2, None), (3, 97)],
    ),
    (
        "no escapes",
        f"SET SQL_MODE='NO_BACKSLASH_ESCAPES';{CREATE}INSERT INTO t VALUES (1,'C:\\'),(2,'a''\n');",
        [(1, "C:\\"), (2, "a'\n")],
    ),
    (
        "mode restored",
        f"SET sql_mode='NO_BACKSLASH_ESCAPES';SET sql_mode=@old;{CREATE}INSERT INTO t VALUES (1,'C\\\\');",
        [(1, "C\\")],
    ),
    ("empty", CREATE, []),
]  # fmt: skip


@pytest.mark.parametrize(("text", "rows"), [one[1:] for one in WRITTEN], ids=[one[0] for one in WRITTEN])
def test_written_by_others(tmp_path: Path, text: str, rows: list[Any]) -> None:
    """What other tools write, and the two ways to quote."""
    result = dump_of(tmp_path / "t.sql", text)
    assert result.frame.select("id", "text").rows() == rows


@pytest.mark.parametrize("table", ["`t`", "`t` (`id`,`text`)"])
def test_without_create_table(tmp_path: Path, table: str) -> None:
    """A dump without CREATE TABLE takes its names from the INSERT or the job, and text stays text."""
    text = f"INSERT INTO {table} VALUES (007,'a'),(8,NULL);\n"
    columns = {} if "(" in table else {"id": "text", "text": "text"}
    result = dump_of(tmp_path / "t.sql", text, columns=columns)
    assert result.rows == [("007", "a"), ("8", None)]
    if columns:
        with pytest.raises(JobError, match="does not tell the columns"):
            inspect(over(tmp_path / "t.sql"))


def test_declared_columns(tmp_path: Path) -> None:
    """A declaration wins over the table's type: tinyint(1) as boolean; not over bytes and instants."""
    create = "CREATE TABLE t (ok tinyint(1), at varchar(30), b blob, ts timestamp, n int);"
    path = tmp_path / "t.sql"
    row = "(1,'2024-01-01','x','2024-01-01 00:00:00',07)"
    text = f"/*!40103 SET TIME_ZONE='+00:00' */;{create}INSERT INTO t VALUES {row};"
    result = dump_of(path, text, columns={"ok": "boolean", "at": "date", "ts": "timestamp", "n": "text"})
    assert [str(value) for value in result.rows[0]] == [
        "True",
        "2024-01-01",
        "b'x'",
        "2024-01-01 00:00:00+00:00",
        "07",
    ]
    for name, kind in (("b", "integer"), ("ts", {"type": "timestamp", "format": "%Y"})):
        spec = ColumnSpec(**kind) if isinstance(kind, dict) else kind
        with pytest.raises(JobError, match=f"source.columns.{name}: "):
            inspect(over(path, columns={name: spec}))


def test_time_zone(tmp_path: Path) -> None:
    """TIMESTAMP is UTC where the dump says so, else local; DATETIME has no zone."""
    text = (
        "CREATE TABLE t (d datetime, s timestamp);INSERT INTO t VALUES ('2024-01-01 00:00:00','2024-01-01 00:00:00');"
    )
    for head, zone in (("", "naive"), ("SET TIME_ZONE='+00:00';", "utc")):
        snapshot = dump_of(tmp_path / f"{zone}.sql", head + text).snapshot
        found = {column.name: column.zone.value for column in snapshot.columns}
        assert (found["d"], found["s"]) == ("naive", zone)


def test_encodings(tmp_path: Path) -> None:
    """One-byte encodings are read by their own table; bytes that are none cost their row; others are refused."""
    text = f"SET NAMES latin1;{CREATE}INSERT INTO t VALUES (1,'caf\\é €'),(2,'plain');".replace("\\", "")
    assert dump_of(tmp_path / "a.sql", text.encode("cp1252")).column("text") == ["café €", "plain"]
    result = dump_of(tmp_path / "b.sql", f"{CREATE}INSERT INTO t VALUES (1,'ok'),\n(2,'".encode() + b"\xff'),(3,'ok');")
    assert result.column("id") == [1, 3]
    assert [(one["record"], one["line"], one["code"], one["column"]) for one in result.rejects] == [
        (2, 3, "BF004", "text")
    ]
    with pytest.raises(SourceError, match="gbk"):
        dump_of(tmp_path / "c.sql", f"SET NAMES gbk;{CREATE}{ROWS}")


def test_values_of_no_type(tmp_path: Path) -> None:
    """A value that its column's type does not have is an unreadable row with its place."""
    result = dump_of(tmp_path / "t.sql", f"{CREATE}INSERT INTO t VALUES (1,'a'),\n(1.5,'b'),\n(3,0x41),(4,'d');")
    assert result.records == [1, 4]
    assert [(one["record"], one["line"], one["code"], one["column"]) for one in result.rejects] == [
        (2, 3, "BF009", "id"),
        (3, 4, "BF009", "text"),
    ]


CUT = f"{HEAD}{CREATE}LOCK TABLES `t` WRITE;\n{ROWS}{ROWS}UNLOCK TABLES;\n"


def test_every_cut_is_noticed(tmp_path: Path) -> None:
    """A dump that ends anywhere before its last line is truncated: no end of it is a shorter dump."""
    whole = CUT + TAIL
    for end in range(len(HEAD), len(whole) - len("-- Dump completed on 2024-01-01\n")):
        path = tmp_path / "t.sql"
        path.write_text(whole[:end])
        with pytest.raises(SourceError, match=r"truncated|no table|does not tell"):
            list(_all(path))
    path.write_text(whole)
    assert len(list(_all(path))) == 2


def _all(path: Path) -> Any:
    """What a script tells, its rows passed over."""
    file = resolve(over(path))[0]
    return Script(file.name, plain_pieces(origin_of(file))).statements()


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ("INSERT INTO t VALUES (1,'a'),(2);", "another number of values"),
        ("INSERT INTO t VALUES (1,now());", "something else than literal values"),
        ("INSERT INTO t VALUES (1,DEFAULT);", "something else than literal values"),
        ("INSERT INTO t VALUES (1,'a' 'b');", "a text beside a text"),
        ("INSERT INTO t VALUES (1,_utf8mb4 'b');", "something else than literal values"),
        ("INSERT INTO t VALUES (1,'b') ON DUPLICATE KEY UPDATE id=1;", "neither a comma nor a semicolon"),
        ("INSERT INTO t SELECT 1, 2;", "without literal rows"),
        ("INSERT INTO t VALUES (1,2,3);", "another number of values"),
        ("INSERT INTO t VALUES (1,,3);", "another number of values"),
        ("INSERT INTO t VALUES (1,);", "something else than literal values"),
        ("INSERT INTO t (id, text) VALUES (1,'a');INSERT INTO t (id) VALUES (2);", "different columns: text"),
    ],
)
def test_what_is_no_literal(tmp_path: Path, rows: str, said: str) -> None:
    """Rows that have to be computed, or are none, are refused as a whole, with their line."""
    with pytest.raises(SourceError, match=said):
        dump_of(tmp_path / "t.sql", f"{CREATE}{rows}\n")


@settings(max_examples=examples(40))
@given(size=st.integers(1, 60))
def test_pieces_of_any_size(size: int) -> None:
    """Wherever the pieces of a file end, the same is found."""
    nasty = "".join(f",({place},'{text}')" for place, text in enumerate(["\\\\", "\\'),(", "''", "a;\\n--", "x" * 50]))
    text = (
        f"{HEAD}{CREATE}/* ' */ INSERT INTO `t` VALUES (0,'a'){nasty};\nINSERT INTO `t` VALUES (9,'z');\n# it's\n{TAIL}"
    )
    whole, cut = (
        _told(iter([data[start : start + step] for start in range(0, len(data), step)]))
        for data, step in ((text.encode(), len(text) + 1), (text.encode(), size))
    )
    assert whole == cut


def _told(pieces: Any) -> list[Any]:
    found: list[Any] = []
    script = Script("t.sql", pieces)
    for statement in script.statements():
        if isinstance(statement, Insert):
            for block in statement.blocks():
                starts = block.starts().tolist()
                ends = block.signs[block.closes].tolist()
                found += [block.text[start : end + 1] for start, end in zip(starts, ends, strict=True)]
        elif isinstance(statement, Table | View):
            found.append(statement)
    return [*found, script.line]


def test_several_files(mariadb: MariaDb, tmp_path: Path) -> None:
    """Files without CREATE TABLE take it from an earlier one, as dumps with a file for the tables are written."""
    database = mariadb.new_database(f"{CREATE}{ROWS}")
    (tmp_path / "a.sql").write_bytes(mariadb.dump("--no-data", database))
    for name in ("b.sql", "c.sql"):
        (tmp_path / name).write_bytes(mariadb.dump("--no-create-info", database))
    result = staged(over(tmp_path / "*.sql"), tmp_path / "state")
    assert result.rows == [(1, "a"), (2, "b")] * 2
    assert [Path(file).name for file in result.files] == ["b.sql"] * 2 + ["c.sql"] * 2
    assert result.records == [1, 2] * 2
    assert line_of(resolve(over(tmp_path / "*.sql"))[1], over(tmp_path / "*.sql"), [2]).keys() == {2}


def test_json_is_as_it_stands(tmp_path: Path) -> None:
    """JSON of MySQL and of MariaDB, which is text with a check, keeps its digits."""
    create = "CREATE TABLE t (a json, b longtext CHECK (json_valid(`b`)));"
    result = dump_of(tmp_path / "t.sql", f"{create}INSERT INTO t VALUES ('{{\\\"n\\\": 1.10}}','[1e400]'),(NULL,'no');")
    assert result.rows == [('{"n": 1.10}', "[1e400]"), (None, None)]
    assert (result.kind("a"), result.kind("b")) == ("json", "json")
    assert json.loads(result.rows[0][0]) == {"n": 1.1}


def test_query_over_a_dump(tmp_path: Path) -> None:
    """DuckDB's SQL over the rows, as over any file."""
    (tmp_path / "t.sql").write_text(f"{CREATE}INSERT INTO t VALUES (1,'a'),(2,'a'),(3,'b');\n")
    job = over(tmp_path / "t.sql", query="SELECT text, max(id) AS last FROM source GROUP BY text ORDER BY text")
    assert staged(job, tmp_path / "state").rows == [("a", 2), ("b", 3)]


def test_a_table_far_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the table is not among the first bytes, a look at the dump knows nothing, and staging does."""
    path = tmp_path / "t.sql"
    path.write_text(f"{'-- x' * 20}\n{CREATE}{ROWS}")
    monkeypatch.setattr("backfill.sources.dumps.mysql.reader.LOOK_BYTES", 20)
    schema = inspect(over(path))
    assert (schema.columns, schema.complete) == ((), False)
    assert staged(over(path), tmp_path / "state").rows == [(1, "a"), (2, "b")]


def test_files_that_differ(tmp_path: Path) -> None:
    """Files of other columns are refused, or united, as those of any format."""
    (tmp_path / "a.sql").write_text(f"{CREATE}{ROWS}")
    (tmp_path / "b.sql").write_text("CREATE TABLE t (id int);INSERT INTO t VALUES (3);")
    with pytest.raises(SourceError, match="lacks text"):
        stage(over(tmp_path / "*.sql"), tmp_path / "no")
    united = staged(over(tmp_path / "*.sql", union="by_name"), tmp_path / "state")
    assert united.rows == [(1, "a"), (2, "b"), (3, None)]
    (tmp_path / "b.sql").write_text("CREATE TABLE t (id text, text text);INSERT INTO t VALUES ('3','x');")
    with pytest.raises(SourceError, match="the column id is string here, int64 there"):
        stage(over(tmp_path / "*.sql"), tmp_path / "no")


def test_the_end_of_a_large_statement(tmp_path: Path) -> None:
    """A dump whose last statement is larger than any piece, and has nothing behind it, is whole; cut, it is not."""
    rows = ",".join(f"({place},'{'x' * 900}')" for place in range(6000))
    text = f"{CREATE}INSERT INTO t VALUES {rows};"
    assert len(dump_of(tmp_path / "whole.sql", text).rows) == 6000
    with pytest.raises(SourceError, match="truncated"):
        dump_of(tmp_path / "cut.sql", text[:-1])
