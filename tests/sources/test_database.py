"""SQLite through ADBC: its own SQL, read only, and no value altered."""

from __future__ import annotations

import contextlib
import json
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backfill.errors import JobError, SourceError
from backfill.sources import inspect, stage
from tests.support.examples import examples
from tests.support.sourcing import Staged, job_over, staged


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """A database whose columns have no types of their own."""
    path = tmp_path / "shop.db"
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, late, mixed, number, long, data)")
    rows = [
        (i, "late" if i == 2999 else None, i if i % 2 else "x", 1 if i < 5 else 2.5, 2**62 + i, b"\x00\xff")
        for i in range(3000)
    ]
    connection.executemany("INSERT INTO t VALUES (?, ?, ?, ?, ?, ?)", rows)
    connection.commit()
    connection.close()
    return path


def of(shop: Path, query: str, **options: Any) -> Staged:
    """Stage a query."""
    return staged(job_over(database=f"sqlite:///{shop}", query=query, **options), shop.parent / "state")


def test_values(shop: Path) -> None:
    """Late values, long integers and integers among reals come through; the query's order holds."""
    result = of(shop, "SELECT id, late, number, long, data, NULL AS empty FROM t ORDER BY id DESC;")
    assert result.column("id") == list(range(2999, -1, -1))
    assert result.column("late") == ["late"] + [None] * 2999
    assert result.column("number")[-6:] == [2.5, 1.0, 1.0, 1.0, 1.0, 1.0]
    assert result.column("long")[0] == 2**62 + 2999
    assert [result.kind(name) for name in ("id", "late", "number", "data", "empty")] == [
        "integer",
        "text",
        "number",
        "binary",
        "text",
    ]


def test_mixed_columns(shop: Path) -> None:
    """A column that mixes text and numbers is refused, and so are integers that a double would round."""
    for query in ("SELECT mixed FROM t", "SELECT 9007199254740993 AS n UNION ALL SELECT 1.5"):
        with pytest.raises(SourceError, match="mixes values"):
            of(shop, query)


def test_all_mixed_columns_are_told(shop: Path) -> None:
    """With the reason where reals and integers are mixed, and where the cast is to be written."""
    rows = "SELECT 'x' AS b, 9007199254740993 AS a UNION ALL SELECT 2, 1.5 UNION ALL SELECT 'y', 2"
    with contextlib.closing(sqlite3.connect(shop)) as connection:
        connection.execute(f"CREATE TABLE mixtures AS {rows}")
        connection.commit()
    for source, where in ({"query": rows}, "in the query"), ({"table": "mixtures"}, "by a `query` in place of `table`"):
        job = job_over(database=f"sqlite:///{shop}", **source)
        for look in (inspect, lambda job: stage(job, shop.parent / "state")):
            with pytest.raises(SourceError) as caught:
                look(job)
            assert "'b' mixes values: 1 of type integer and 2 of type text;" in caught.value.message
            assert "'a' mixes values: 2 of type integer and 1 of type real (1 of the integers" in caught.value.message
            assert where in caught.value.hint
            assert 'CAST("b" AS TEXT) AS "b", CAST("a" AS TEXT) AS "a"' in caught.value.hint


def test_tables(shop: Path) -> None:
    """A table in place of a query is all its rows."""
    connection = sqlite3.connect(shop)
    connection.execute('CREATE TABLE "odd ""name" AS SELECT 7 AS n')
    connection.commit()
    connection.close()
    assert staged(job_over(database=f"sqlite:///{shop}", table='odd "name'), shop.parent / "state").rows == [(7,)]


def test_declared(shop: Path) -> None:
    """Text and integers can be declared; numbers cannot, as their text is not the database's."""
    result = of(
        shop,
        "SELECT id, '12.50' AS total FROM t LIMIT 3",
        columns={"id": "decimal", "total": "decimal"},
        where="total > id * 5",
    )
    assert result.column("id") == ["0", "1", "2"]
    with pytest.raises(JobError, match="cannot be declared"):
        of(shop, "SELECT number FROM t", columns={"number": "decimal"})


@pytest.mark.parametrize(
    "query",
    [
        "DELETE FROM t",
        "SELECT 1; SELECT 2",
        "SELECT 1) UNION SELECT (2",
        "ATTACH 'other.db' AS other",
        "PRAGMA table_info(t)",
        "SELECT load_extension('x')",
        "SELECT random() FROM t",
        "SELECT datetime('now')",
        "SELECT date()",
        "SELECT CURRENT_TIMESTAMP",
        "SELECT * FROM nowhere",
        "SELECT id, id FROM t",
        "VACUUM INTO 'copy.db'",
        "WITH x AS (SELECT 1) DELETE FROM t",
    ],
)
def test_refused_queries(shop: Path, query: str) -> None:
    """One steady SELECT that reaches nothing else, or it is an error of the job."""
    before = shop.read_bytes()
    for look in (inspect, lambda job: stage(job, shop.parent / "state")):
        with pytest.raises(JobError, match=r"source\.query"):
            look(job_over(database=f"sqlite:///{shop}", query=query))
    assert shop.read_bytes() == before
    assert sorted(path.name for path in shop.parent.iterdir()) in (["shop.db"], ["shop.db", "state"])


def test_not_a_database(tmp_path: Path) -> None:
    """Something else, or a damaged file, is an error of the source."""
    (tmp_path / "shop.db").write_bytes(b"not a database at all" * 100)
    with pytest.raises(SourceError):
        of(tmp_path / "shop.db", "SELECT 1")


def test_damaged_pages(shop: Path) -> None:
    """Damage inside the file is found when it is read."""
    data = bytearray(shop.read_bytes())
    data[4096 * 3 : 4096 * 6] = b"\xff" * (4096 * 3)
    shop.write_bytes(bytes(data))
    with pytest.raises(SourceError):
        of(shop, "SELECT * FROM t")


def test_changes_beside_the_file(shop: Path) -> None:
    """A write-ahead log that is not yet in the file means that rows would be missed."""
    writer = sqlite3.connect(shop)
    writer.execute("PRAGMA journal_mode = WAL")
    writer.execute("INSERT INTO t (id) VALUES (5000)")
    writer.commit()
    with pytest.raises(SourceError, match=r"shop\.db-wal"):
        of(shop, "SELECT id FROM t")
    writer.close()
    assert of(shop, "SELECT id FROM t").snapshot.rows == 3001


def test_other_databases(shop: Path) -> None:
    """Databases that are not read yet are named."""
    with pytest.raises(JobError, match="oracle"):
        inspect(job_over(database="oracle://host/db", query="SELECT 1"))
    with pytest.raises(JobError, match="query is missing"):
        inspect(job_over(database=f"sqlite:///{shop}", query=None))


ENDLESS = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 3000000)"


@pytest.mark.parametrize(
    ("query", "known"),
    [
        (f"{ENDLESS} SELECT i, CASE WHEN i > 20000 THEN i END AS late FROM n", ["i"]),
        (f"{ENDLESS} SELECT count(*) AS late FROM n a CROSS JOIN n b", []),
    ],
)
def test_inspect_takes_no_longer_than_it_needs(shop: Path, query: str, known: list[str]) -> None:
    """A long query, or one whose first row takes long, is looked at so far; nothing is said of what is unknown yet."""
    schema = inspect(job_over(database=f"sqlite:///{shop}", query=query, where="late + 1 > 2"))
    assert not schema.complete
    assert [column.name for column in schema.columns] == known
    assert schema.faults == ()


def test_inspect_of_all_there_is(shop: Path) -> None:
    """A short result is known whole, columns without any value included."""
    schema = inspect(job_over(database=f"sqlite:///{shop}", query="SELECT id, NULL AS empty FROM t"))
    assert schema.complete
    assert [(column.name, column.kind.value) for column in schema.columns] == [("id", "integer"), ("empty", "text")]


def test_what_a_writer_leaves_beside_a_file_behind_a_link(shop: Path, tmp_path: Path) -> None:
    """Journals stand beside the real file, and SQLite looks for them there."""
    folder = tmp_path / "links"
    folder.mkdir()
    (folder / "link.db").symlink_to(shop)
    writer = sqlite3.connect(shop)
    writer.execute("PRAGMA journal_mode = WAL")
    writer.execute("INSERT INTO t (id) VALUES (5000)")
    writer.commit()
    with pytest.raises(SourceError, match=r"shop\.db-wal"):
        of(folder / "link.db", "SELECT id FROM t")
    writer.close()
    assert of(folder / "link.db", "SELECT id FROM t").snapshot.rows == 3001
    (tmp_path / "shop.db-journal").write_bytes(b"\xd9\xd5\x05\xf9\x20\xa1\x63\xd7" + bytes(504))
    with pytest.raises(SourceError, match=r"shop\.db-journal"):
        of(folder / "link.db", "SELECT id FROM t")


def test_a_journal_that_is_kept_for_later(shop: Path) -> None:
    """With journal_mode=persist a journal stays, its header set to zero: nothing of it is missing."""
    writer = sqlite3.connect(shop)
    writer.execute("PRAGMA journal_mode = PERSIST")
    writer.execute("INSERT INTO t (id) VALUES (5000)")
    writer.commit()
    assert shop.with_name("shop.db-journal").stat().st_size
    assert of(shop, "SELECT id FROM t").snapshot.rows == 3001
    writer.execute("UPDATE t SET late = 'x'")  # in the writer's memory alone
    assert of(shop, "SELECT id FROM t WHERE late = 'x'").snapshot.rows == 0
    writer.rollback()
    writer.execute("PRAGMA cache_size = 2")
    writer.execute("UPDATE t SET late = hex(randomblob(50))")  # partly in the file
    with pytest.raises(SourceError, match="in use"):
        of(shop, "SELECT id FROM t")
    writer.close()


def test_a_writer_that_leaves_no_trace(shop: Path) -> None:
    """With journal_mode=memory half a change may stand in the file: the lock of its writer is seen."""
    writer = sqlite3.connect(shop, isolation_level=None)
    writer.execute("PRAGMA journal_mode = MEMORY")
    writer.execute("PRAGMA cache_size = 2")
    writer.execute("BEGIN")
    writer.execute("UPDATE t SET late = 'half of a change'")
    with pytest.raises(SourceError, match="in use"):
        of(shop, "SELECT id FROM t WHERE late IS NOT NULL")
    writer.execute("ROLLBACK")
    writer.close()
    assert of(shop, "SELECT id FROM t WHERE late IS NOT NULL").snapshot.rows == 1


def test_text_that_is_none(tmp_path: Path) -> None:
    """SQLite takes any bytes for text: a row with such a text is told, the others are read."""
    path = tmp_path / "shop.db"
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE t (id, v)")
    texts = [b"a", b"", b"\xff", "é".encode(), b"\xc3", b"", b"\xa9", b"z\xc3", b"\xa9", b"\xed\xa0\x80", b"\x00", None]
    for number, text in enumerate(texts):
        connection.execute("INSERT INTO t VALUES (?, CAST(? AS TEXT))", (number, text))
    connection.commit()
    connection.close()
    result = of(path, "SELECT id, v FROM t ORDER BY id")
    good = [number for number, text in enumerate(texts) if text is None or is_text(text)]
    assert result.column("id") == good
    assert result.column("v") == [None if texts[number] is None else texts[number].decode() for number in good]  # type: ignore[union-attr]
    assert result.records == [number + 1 for number in good]
    rejects = [(reject["code"], reject["record"], reject["column"]) for reject in result.rejects]
    assert rejects == [("BF004", number + 1, "v") for number in range(len(texts)) if number not in good]
    assert result.rejects[0]["value"] == r"\xff"
    assert json.loads(result.rejects[0]["original"]) == {"id": 2, "v": r"\xff"}


def is_text(text: bytes) -> bool:
    """Whether Python takes the bytes for UTF-8."""
    try:
        text.decode()
    except UnicodeDecodeError:
        return False
    return True


@pytest.mark.parametrize("columns", [399, 1_100, 1_900])
def test_wide_results(tmp_path: Path, columns: int) -> None:
    """As many columns as SQLite itself gives, nearly."""
    path = tmp_path / "shop.db"
    sqlite3.connect(path).close()
    values = ["NULL" if index % 7 == 0 else "1.5" if index % 7 == 1 else f"'{index}'" for index in range(columns)]
    named = ", ".join(f"{value} AS col{index}" for index, value in enumerate(values))
    nothing = ", ".join("NULL" for _ in values)
    path.write_bytes(empty_database(tmp_path))
    (first, second) = of(path, f"SELECT {named} UNION ALL SELECT {nothing}").rows
    assert first[:3] == (None, 1.5, "2")
    assert first[-1] == {"NULL": None, "1.5": 1.5}.get(values[-1], values[-1].strip("'"))
    assert set(second) == {None}


def empty_database(folder: Path) -> bytes:
    """A database of one empty table."""
    path = folder / "empty.db"
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE unused (x)")
    return path.read_bytes()


def test_too_wide(shop: Path) -> None:
    """More is refused in words of our own."""
    with pytest.raises(JobError, match=r"columns: 1,950"):
        of(shop, f"SELECT {', '.join(f'{index} AS c{index}' for index in range(1_950))}")


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ('SELECT 1 AS "true", 2 AS "column1", 3 AS "False"', ["true", "column1", "False"]),
        ('SELECT * FROM (SELECT id AS "a:1", 2 AS a FROM t)', ["a:1", "a"]),
        ("SELECT id AS column7, 1 AS rowid FROM t", ["column7", "rowid"]),
        ("SELECT id, 2 + 2, max(id) FROM t", ["id", "2 + 2", "max(id)"]),
        ("SELECT id /* the key */ FROM t; -- all", ["id"]),
        ("VALUES (1, 2)", ["column1", "column2"]),
    ],
)
def test_names_are_the_querys_own(shop: Path, query: str, names: list[str]) -> None:
    """SQLite gives other names to columns of a query inside another, and none of those is ever used."""
    assert [column.name for column in inspect(job_over(database=f"sqlite:///{shop}", query=query)).columns] == names
    assert of(shop, query).frame.columns[: len(names)] == names


def test_names_that_differ_in_case_only(shop: Path) -> None:
    """They are refused, also where SQLite would have renamed one."""
    with pytest.raises(JobError, match="two columns"):
        of(shop, "SELECT number, number + 1 AS Number FROM t")


CLOCKS = [
    "date('now')",
    "datetime('n' || 'ow')",
    "strftime('%Y')",
    "strftime('%Y', word)",
    "time(upper(word))",
    "julianday()",
    "unixepoch('subsec')",
]


@pytest.mark.parametrize("clock", CLOCKS)
@pytest.mark.parametrize("place", ["SELECT {} AS v FROM w", "SELECT 1 AS v FROM w WHERE {} > 0"])
def test_no_way_to_the_clock(tmp_path: Path, clock: str, place: str) -> None:
    """However the word comes about, as a constant, of pieces, or out of the data."""
    path = words(tmp_path)
    job = job_over(database=f"sqlite:///{path}", query=place.format(clock))
    for look in (inspect, lambda job: stage(job, tmp_path / "state")):
        with pytest.raises(JobError, match="clock"):
            look(job)


def words(folder: Path) -> Path:
    """A database that holds the word."""
    path = folder / "words.db"
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE w (word, day)")
        connection.execute("INSERT INTO w VALUES ('now', '2024-01-01')")
        connection.commit()
    return path


def test_the_word_alone_is_no_clock(tmp_path: Path) -> None:
    """As data, a name or a comment it is a word like others."""
    query = "SELECT word, 'now' AS \"'now'\", date(day, '+1 day') AS next FROM w WHERE word = 'now' -- date('now')"
    assert of(words(tmp_path), query).rows == [("now", "now", "2024-01-02")]


def test_a_query_that_fails_on_a_row(shop: Path) -> None:
    """What the query itself does wrong is told as the job's, not as the file's."""
    with pytest.raises(JobError, match=r"source\.query: "):
        of(shop, "SELECT abs(-9223372036854775807 - 1 + id) FROM t")


def test_a_sample_looks_at_no_more(shop: Path) -> None:
    """A mixture that comes later is not seen where fewer rows are wanted."""
    query = "SELECT id, CASE WHEN id < 5 THEN 1 ELSE 'x' END AS v FROM t ORDER BY id"
    job = job_over(database=f"sqlite:///{shop}", query=query)
    assert staged(job, shop.parent / "sample", sample=3).column("v") == [1, 1, 1]
    with pytest.raises(SourceError, match="mixes"):
        stage(job, shop.parent / "all")


def test_a_file_that_is_cut(shop: Path) -> None:
    """Of every length that is not the whole one nothing is read."""
    whole = shop.read_bytes()
    for size in (50, 4_096, 8_192, len(whole) - 4_096, len(whole) - 2_000, len(whole) - 1):
        shop.write_bytes(whole[:size])
        with pytest.raises(SourceError):
            of(shop, "SELECT * FROM t")


@settings(max_examples=examples(60), deadline=None)
@given(data=st.data())
def test_damage_is_told_or_does_no_harm(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    """A file that is cut, lengthened, or in which a structure was flipped gives the rows it had, or none."""
    folder = tmp_path_factory.mktemp("damage")
    path = folder / "shop.db"
    rows = [(number, "text" * (number % 40)) for number in range(400)]
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA page_size = 512")
        connection.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, v)")
        connection.executemany("INSERT INTO t VALUES (?, ?)", rows)
        connection.commit()
    whole = bytearray(path.read_bytes())
    if data.draw(st.booleans()):
        size = data.draw(st.integers(1, len(whole) + 1_024))
        path.write_bytes(bytes(whole[:size]).ljust(size, b"\0"))
    else:  # the type of a page, how many cells it has, or where they begin
        page = data.draw(st.integers(1, len(whole) // 512 - 1)) * 512
        place = page + data.draw(st.integers(0, 11))
        whole[place] ^= 1 << data.draw(st.integers(0, 7))
        path.write_bytes(bytes(whole))
    try:
        result = of(path, "SELECT id, v FROM t ORDER BY id")
    except (SourceError, JobError):
        return
    assert result.rows == rows


def test_json_that_goes_out_as_text(tmp_path: Path) -> None:
    """Text that is JSON throughout its column is warned of, unless the job says that text is meant."""
    path = tmp_path / "shop.db"
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE t (id INTEGER, j, long, some, odd, plain, empty)")
        rows = [
            (1, '{"a": 1}', '[{"a": "' + "x" * 5_000 + '"}]', "{}", "[1,]", "{not}", None),
            (2, None, None, "text", "{}", "[not]", None),
            (3, "[]", "{}", None, "[]", "{", None),
        ]
        connection.executemany("INSERT INTO t VALUES (?, ?, ?, ?, ?, ?, ?)", rows)
        connection.commit()
    result = of(path, "SELECT * FROM t", columns={"plain": "text"})
    assert [column.name for column in result.snapshot.columns if column.json_text] == ["j", "long"]
    declared = of(path, "SELECT j FROM t", columns={"j": "json"})
    assert [column.name for column in declared.snapshot.columns if column.json_text] == []


def test_a_state_folder_whose_name_is_a_pattern(shop: Path, tmp_path: Path) -> None:
    """No path handed to an engine is taken for a pattern, whatever stands beside it."""
    query = "SELECT id, '2024-01-01' AS day FROM t"
    for name, limit in (("state1", 7), ("state[1]", 5), ("state*", 3)):
        job = job_over(database=f"sqlite:///{shop}", query=f"{query} LIMIT {limit}", columns={"day": "timestamp"})
        assert stage(job, tmp_path / name).column("day").zone.value == "naive"  # type: ignore[union-attr]
    source = tmp_path / "rows[1].ndjson"
    source.write_text('{"a": 1}\n{"a": 2}\n')
    (tmp_path / "rows1.ndjson").write_text('{"a": 3}\n')
    for name in ("query1", "query[1]"):
        result = staged(job_over(source, query="SELECT a FROM source ORDER BY a"), tmp_path / name)
        assert [str(value) for value in result.column("a")] == ["1", "2"]
