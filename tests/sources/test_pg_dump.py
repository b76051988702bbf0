"""Plain dumps of PostgreSQL: what a real server holds comes through, however pg_dump writes it; cut dumps do not."""

from __future__ import annotations

import gzip
import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from backfill.errors import JobError, SourceError
from backfill.sources import inspect, resolve, stage
from backfill.sources.dumps.reader import open_dumps
from backfill.sources.files import locate
from backfill.sources.formats import line_of
from backfill.sources.staging import IgnoredRecords
from tests.support.examples import examples
from tests.support.postgres import Postgres
from tests.support.sourcing import job_over, staged

WAYS = (
    (),
    ("--inserts",),
    ("--column-inserts",),
    ("--rows-per-insert=3",),
    ("--load-via-partition-root",),
    ("--encoding=UTF8", "--on-conflict-do-nothing", "--inserts"),
)
TABLES = r"""
CREATE TYPE mood AS ENUM ('sad', 'ok');
CREATE DOMAIN positive AS integer CHECK (value > 0);
CREATE DOMAIN tiny AS positive;
CREATE SCHEMA other;
CREATE TABLE other.orders (id text);
CREATE TABLE "Order Items" (
    id bigint PRIMARY KEY GENERATED ALWAYS AS IDENTITY, note text DEFAULT 'x;)(', amount numeric(10,2),
    f double precision, ok boolean, d date, at timestamp, tz timestamptz, j jsonb, m mood, t tiny, tags text[], b bytea,
    i interval, span int4range, twice numeric GENERATED ALWAYS AS (amount * 2) STORED, "select" varchar(20),
    u uuid, bits bit(3)
);
INSERT INTO "Order Items" (note, amount, f, ok, d, at, tz, j, m, t, tags, b, i, span, "select", u, bits) VALUES
 (E'tab\tline\nback\\ \\. cr\r ''q'' "d"; --', 1.50, 1e22, true, '2024-01-02', '2024-01-02 03:04:05.123456',
  '2024-01-02 03:04:05+02', '{"a": [1, 2.50]}', 'sad', 3, '{a,"b c"}', '\x0102', '1 day', '[1,2)', 'x',
  '00000000-0000-0000-0000-000000000001', B'101'),
 (NULL, 'NaN', 'infinity', NULL, 'infinity', 'infinity', '0044-03-15 00:00:00 BC', NULL, NULL, NULL, NULL, NULL, NULL,
  NULL, NULL, NULL, NULL),
 ('', 0, -0.5, false, NULL, NULL, NULL, '"x"', 'ok', 1, '{}', '', NULL, NULL, '\N', NULL, NULL);
CREATE TABLE parts (id int, at date) PARTITION BY RANGE (at);
CREATE TABLE parts_1 PARTITION OF parts FOR VALUES FROM ('2024-01-01') TO ('2024-02-01');
CREATE TABLE parts_2 (at date, id int);
ALTER TABLE parts ATTACH PARTITION parts_2 FOR VALUES FROM ('2024-02-01') TO ('2024-03-01');
INSERT INTO parts VALUES (1, '2024-01-05'), (2, '2024-02-05'), (3, '2024-01-07');
CREATE TABLE empty (id int);
CREATE FUNCTION misleading() RETURNS text LANGUAGE plpgsql AS $body$ BEGIN /*
COPY public.parts (id) FROM stdin;
\.
*/ INSERT INTO public.parts VALUES (7, NULL); RETURN ';'; END $body$;
CREATE FUNCTION atomic() RETURNS text BEGIN ATOMIC INSERT INTO parts VALUES (8, '2024-01-01'); SELECT 'a;b'; END;
CREATE RULE twice AS ON UPDATE TO parts DO ALSO (INSERT INTO empty VALUES (1); INSERT INTO empty VALUES (2));
CREATE TABLE lines (id int, text text);
"""


@pytest.fixture(scope="module")
def database(postgres: Postgres) -> str:
    """A database of those tables."""
    return postgres.new_database(TABLES)


def dump(postgres: Postgres, database: str, path: Path, *options: str) -> Path:
    """Dump a database to a file."""
    subprocess.run([postgres.bin / "pg_dump", "-f", path, *options, postgres.url(database)], check=True)
    return path


@pytest.mark.parametrize("options", WAYS)
def test_values_of_every_type(postgres: Postgres, database: str, tmp_path: Path, options: Sequence[str]) -> None:
    """Each value is what its type says, or bad with its text; refused columns are named, and text where declared."""
    path = dump(postgres, database, tmp_path / "shop.sql", *options)
    job = job_over(path, format="pg_dump", table='"Order Items"', columns={"tags": "text", "b": "text"})
    result = staged(job, tmp_path / "state")
    assert result.records == [1, 2, 3]
    assert not result.rejects
    assert result.column("id") == [1, 2, 3]
    assert result.column("note") == ["tab\tline\nback\\ \\. cr\r 'q' \"d\"; --", None, ""]
    assert result.column("amount") == ["1.50", None, "0.00"]
    assert result.column("__bf_raw:amount") == [None, "NaN", None]
    assert result.column("f") == [1e22, None, -0.5]
    assert result.column("ok") == [True, None, False]
    assert [str(day) for day in result.column("d")] == ["2024-01-02", "None", "None"]
    assert result.column("__bf_raw:d") == ["2024-01-02", "infinity", None]
    assert str(result.column("at")[0]) == "2024-01-02 03:04:05.123456"
    assert str(result.column("tz")[0]) == "2024-01-02 01:04:05"
    assert result.column("__bf_raw:tz")[1].endswith(" BC")
    assert result.column("j") == ['{"a": [1, 2.50]}', None, '"x"']
    assert result.column("m") == ["sad", None, "ok"]
    assert result.column("t") == [3, None, 1]
    assert result.column("tags") == ['{a,"b c"}', None, "{}"]
    assert result.column("b") == ["\\x0102", None, "\\x"]
    assert result.column("select") == ["x", None, "\\N"]
    assert result.column("u")[0] == "00000000-0000-0000-0000-000000000001"
    assert result.column("bits")[0] == "101"
    assert "twice" not in result.frame.columns
    refused = {column.name: column.refused for column in result.snapshot.columns if column.refused}
    assert set(refused) == {"i", "span"}


@pytest.mark.parametrize("options", [(), ("--inserts",), ("--column-inserts",)])
def test_inherited_columns(postgres: Postgres, tmp_path: Path, options: Sequence[str]) -> None:
    """They are columns of the table, in the place that PostgreSQL gives them."""
    name = postgres.new_database(
        """CREATE TABLE a (p int, "q)" text DEFAULT ') INHERITS (a)'); CREATE SCHEMA s; CREATE TABLE s.b (z int, p int);
        CREATE TABLE c ("q)" text NOT NULL, r int) INHERITS (a, s.b) WITH (fillfactor=70);
        INSERT INTO c VALUES (1, 'x', 3, 4); CREATE TABLE d () INHERITS (c); INSERT INTO d VALUES (5, 'y', 7, 8);"""
    )
    path = dump(postgres, name, tmp_path / "shop.sql", *options)
    for table, values in (("c", (1, "x", 3, 4)), ("d", (5, "y", 7, 8)), ("a", None)):
        rows = staged(job_over(path, format="pg_dump", table=table), tmp_path / table).rows
        assert rows == ([] if values is None else [values])


def test_refused_column_says_how_to_have_it(postgres: Postgres, database: str, tmp_path: Path) -> None:
    """SQL over an array is refused with the way on."""
    path = dump(postgres, database, tmp_path / "shop.sql")
    job = job_over(path, format="pg_dump", table='public."Order Items"', sql=("tags || 'x'",))
    with pytest.raises(JobError, match="an array, unless `columns` declares it as text"):
        stage(job, tmp_path / "state")


@pytest.mark.parametrize("options", WAYS)
def test_partitions(postgres: Postgres, database: str, tmp_path: Path, options: Sequence[str]) -> None:
    """The rows of all partitions are the table's, whatever the order of their columns; one alone is one table."""
    path = dump(postgres, database, tmp_path / "shop.sql", *options)
    rows = staged(job_over(path, format="pg_dump", table="parts"), tmp_path / "all").rows
    assert sorted((row[0], str(row[1])) for row in rows) == [
        (1, "2024-01-05"), (2, "2024-02-05"), (3, "2024-01-07")
    ]  # fmt: skip
    if options != ("--load-via-partition-root",):
        alone = staged(job_over(path, format="pg_dump", table="public.parts_2"), tmp_path / "one").rows
        assert [(str(row[0]), row[1]) for row in alone] == [("2024-02-05", 2)]


def test_only_what_is_asked_for(postgres: Postgres, database: str, tmp_path: Path) -> None:
    """One table empty, one of the same name in another schema, none at all, two that may be meant."""
    path = dump(postgres, database, tmp_path / "shop.sql")
    assert staged(job_over(path, format="pg_dump", table="empty"), tmp_path / "empty").rows == []
    assert [c.name for c in inspect(job_over(path, format="pg_dump", table="other.orders")).columns] == ["id"]
    with pytest.raises(SourceError, match="holds no table nowhere"):
        inspect(job_over(path, format="pg_dump", table="nowhere"))
    twice = postgres.new_database("CREATE TABLE t (a int); CREATE SCHEMA s; CREATE TABLE s.t (b int)")
    path = dump(postgres, twice, tmp_path / "twice.sql")
    with pytest.raises(JobError, match=r"t may be (public|s)\.t or (public|s)\.t"):
        inspect(job_over(path, format="pg_dump", table="t"))
    path = dump(postgres, twice, tmp_path / "schema.sql", "--schema-only")
    with pytest.raises(SourceError, match=r"holds no rows of public\.t"):
        stage(job_over(path, format="pg_dump", table="public.t"), tmp_path / "none")


def test_rows_without_definitions(postgres: Postgres, database: str, tmp_path: Path) -> None:
    """Of rows alone the columns are known by name, and are text; without names they are refused."""
    path = dump(postgres, database, tmp_path / "data.sql", "--data-only")
    result = staged(job_over(path, format="pg_dump", table="parts_1", columns={"id": "integer"}), tmp_path / "state")
    assert result.rows == [(1, "2024-01-05"), (3, "2024-01-07")]
    path = dump(postgres, database, tmp_path / "inserts.sql", "--data-only", "--inserts")
    with pytest.raises(SourceError, match="does not say what the columns"):
        inspect(job_over(path, format="pg_dump", table="parts_1"))


@pytest.mark.parametrize("options", [(), ("--inserts",)])
@pytest.mark.parametrize("encoding", ["LATIN1", "WIN1252", "EUC_JP", "SJIS"])
def test_other_encodings(postgres: Postgres, tmp_path: Path, encoding: str, options: Sequence[str]) -> None:
    """The encoding that the dump says is the one it is read in, backslashes in the second byte included."""
    text = "東京 ソ表 | x" if encoding in ("EUC_JP", "SJIS") else "Zoë Ångström"
    name = postgres.new_database(f"CREATE TABLE t (id int, text text); INSERT INTO t VALUES (1, '{text}'), (2, 'b\\')")
    path = dump(postgres, name, tmp_path / "dump.sql", f"--encoding={encoding}", *options)
    assert staged(job_over(path, format="pg_dump", table="t"), tmp_path / "state").rows == [(1, text), (2, "b\\")]


def test_old_texts(tmp_path: Path, postgres: Postgres) -> None:
    """With standard_conforming_strings off a backslash escapes in every text."""
    rows = r"(1, 'a\b''c\\'), (2, E'\'')"
    name = postgres.new_database(f"CREATE TABLE t (id int, text text); INSERT INTO t VALUES {rows}")
    postgres.sql(f"ALTER DATABASE {name} SET standard_conforming_strings = off")
    path = dump(postgres, name, tmp_path / "dump.sql", "--inserts")
    assert "standard_conforming_strings = off" in path.read_text()
    result = staged(job_over(path, format="pg_dump", table="t"), tmp_path / "state")
    assert result.rows == [(1, "a\\b'c\\\\"), (2, "'")]
    path.write_text(r"""CREATE TABLE t (id int, text text);
INSERT INTO t VALUES (1, E'it\'s\n), (\u00eb\x41\101'), (2, 'E''');
""")
    result = staged(job_over(path, format="pg_dump", table="t"), tmp_path / "again")
    assert result.rows == [(1, "it's\n), (ëAA"), (2, "E'")]


texts = st.text(st.characters(exclude_characters="\0", exclude_categories=("Cs",)), max_size=12)
nasty = st.sampled_from(
    ["\\.", "\\N", "\n\\.\n", "', (1", ");\nINSERT INTO public.lines VALUES (1, '", "E'", "\t", "$$", "--"]
)
LINES = st.lists(st.none() | texts | nasty | st.lists(nasty, max_size=4).map("".join), max_size=40)


@settings(max_examples=examples(8), deadline=None, suppress_health_check=list(HealthCheck))
@given(lines=LINES)
def test_any_text_by_any_way(
    postgres: Postgres, database: str, tmp_path_factory: pytest.TempPathFactory, lines: list[str | None]
) -> None:
    """Whatever texts a server holds, each way to dump them gives them back, with their lines."""
    folder = tmp_path_factory.mktemp("dump")
    values = [
        f"({at}, {'NULL' if text is None else chr(39) + text.replace(chr(39), chr(39) * 2) + chr(39)})"
        for at, text in enumerate(lines)
    ]
    insert = f"INSERT INTO lines VALUES {', '.join(values)};" if values else ""
    postgres.sql(f"TRUNCATE lines;\n{insert}", database)
    for at, options in enumerate(WAYS[:4:2] + WAYS[3:4]):
        path = dump(postgres, database, folder / f"{at}.sql", "--table=lines", *options)
        job = job_over(path, format="pg_dump", table="lines")
        result = staged(job, folder / f"state-{at}")
        assert result.rows == list(enumerate(lines))
        known = line_of(resolve(job)[0], job, result.records)
        written = path.read_bytes().decode().split("\n")
        assert all(str(number - 1) in written[line - 1] for number, line in known.items())
        assert len(known) == len(lines)


@pytest.mark.parametrize("options", WAYS[:4])
def test_cut_anywhere(postgres: Postgres, database: str, tmp_path: Path, options: Sequence[str]) -> None:
    """A dump that ends too early is an error wherever that is."""
    whole = dump(postgres, database, tmp_path / "whole.sql", *options).read_bytes()
    path = tmp_path / "cut.sql"
    job = job_over(path, format="pg_dump", table="parts")
    end = whole.index(b"-- PostgreSQL database dump complete")
    for place in [*range(100, end, end // 25), end, end + 20]:
        path.write_bytes(whole[:place])
        with pytest.raises(SourceError, match=r"truncated|holds no table|does not say"):
            list(open_dumps("pg_dump", job, locate(job)).batches(IgnoredRecords()))


def test_rows_that_are_none(tmp_path: Path) -> None:
    """Too few or many fields, an escape that PostgreSQL does not write, bytes in no encoding: told with their lines."""
    path = tmp_path / "dump.sql"
    path.write_bytes(
        b"CREATE TABLE t (id integer, text text);\nCOPY t (id, text) FROM stdin;\n"
        b"1\ta\n2\n3\tb\tc\n4\t\\q\n5\t\xff\n6\ta\\Nb\n7\tend\n\\.\n"
    )
    result = staged(job_over(path, format="pg_dump", table="t"), tmp_path / "copied")
    assert result.rows == [(1, "a"), (7, "end")]
    found = [(each["record"], each["line"], each["code"]) for each in result.rejects]
    assert found == [(2, 4, "BF001"), (3, 5, "BF002"), (4, 6, "BF003"), (5, 7, "BF004"), (6, 8, "BF003")]
    path.write_bytes(
        b"CREATE TABLE t (id integer, text text);\n"
        b"INSERT INTO t VALUES (1, 'a');\nINSERT INTO t VALUES (2);\nINSERT INTO t VALUES (3, 'b\n', 'c');\n"
        b"INSERT INTO t VALUES (4, now());\nINSERT INTO t VALUES (5, '\xff');\nINSERT INTO t VALUES (6, NULL);\n"
    )
    result = staged(job_over(path, format="pg_dump", table="t"), tmp_path / "inserted")
    assert result.rows == [(1, "a"), (6, None)]
    found = [(each["record"], each["line"], each["code"]) for each in result.rejects]
    assert found == [(2, 3, "BF001"), (3, 4, "BF002"), (4, 6, "BF009"), (5, 7, "BF004")]


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO t SELECT 1, 'a'",
        "INSERT INTO t DEFAULT VALUES",
        "COPY t (id, text) FROM '/tmp/rows'",
        "COPY t (id, text) FROM stdin WITH (FORMAT csv)",
        "COPY t (id, more) FROM stdin",
    ],
)
def test_forms_that_are_not_read(tmp_path: Path, statement: str) -> None:
    """Rows of the table in a form that is not read are an error, never passed over."""
    path = tmp_path / "dump.sql"
    path.write_text(f"CREATE TABLE t (id integer, text text);\n{statement};\n1\ta\n\\.\n")
    with pytest.raises(SourceError, match="line"):
        stage(job_over(path, format="pg_dump", table="t"), tmp_path / "state")


@pytest.fixture
def pg_restore(postgres: Postgres, monkeypatch: pytest.MonkeyPatch) -> None:
    """The server's own pg_restore is the one that is found."""
    monkeypatch.setenv("PATH", f"{postgres.bin}:{os.environ['PATH']}")


@pytest.mark.usefixtures("pg_restore")
@pytest.mark.parametrize(
    "options", [("-Fc",), ("-Fc", "-Z0"), ("-Fd",), ("-Ft",), ("-Fc", "--load-via-partition-root")]
)
def test_archives(postgres: Postgres, database: str, tmp_path: Path, options: Sequence[str]) -> None:
    """Archives give what a script gives, types that they define and partitions included."""
    script = dump(postgres, database, tmp_path / "shop.sql")
    path = dump(postgres, database, tmp_path / "shop", *options)
    for at, table in enumerate(('"Order Items"', "parts", "empty", "other.orders")):
        jobs = [job_over(one, format="pg_dump", table=table) for one in (script, path)]
        expected, found = (staged(job, tmp_path / f"{at}-{kind}") for kind, job in enumerate(jobs))
        assert found.rows == expected.rows
        assert found.records == expected.records
        assert inspect(jobs[1]).columns == inspect(jobs[0]).columns
    assert line_of(resolve(jobs[1])[-1], jobs[1], [1]) == {}


@pytest.mark.usefixtures("pg_restore")
def test_archives_that_are_damaged(postgres: Postgres, database: str, tmp_path: Path) -> None:
    """What pg_restore says of a cut archive is an error; so is a file of a folder that is not there."""
    path = dump(postgres, database, tmp_path / "shop.dump", "-Fc")
    whole = path.read_bytes()
    job = job_over(path, format="pg_dump", table="parts")
    for place in range(6, len(whole) - 1, len(whole) // 12):
        path.write_bytes(whole[:place])
        with pytest.raises(SourceError, match=r"pg_restore|holds no table"):
            list(open_dumps("pg_dump", job, locate(job)).batches(IgnoredRecords()))
    folder = dump(postgres, database, tmp_path / "folder", "-Fd")
    for data in folder.glob("*.dat.gz"):
        data.unlink()
    with pytest.raises(SourceError, match="cannot be read by pg_restore"):
        stage(job_over(folder, format="pg_dump", table="parts"), tmp_path / "state")
    with pytest.raises(SourceError, match=r"toc\.dat is .*, not csv"):
        resolve(job_over(folder / "toc.dat", format="csv"))


@pytest.mark.usefixtures("pg_restore")
def test_tar_archives(postgres: Postgres, database: str, tmp_path: Path) -> None:
    """A tar that is cut anywhere is an error before it is read, one that is compressed is told as such."""
    path = dump(postgres, database, tmp_path / "shop.tar", "-Ft")
    job = job_over(path, format="pg_dump", table="parts")
    assert staged(job, tmp_path / "whole").rows
    whole = path.read_bytes()
    packed = tmp_path / "shop.tar.gz"
    packed.write_bytes(gzip.compress(whole))
    with pytest.raises(SourceError, match="a tar archive of pg_dump, compressed as a whole") as caught:
        resolve(job_over(packed, format="pg_dump", table="parts"))
    assert "unpack it" in caught.value.hint
    for place in range(6, len(whole) - 1, len(whole) // 12):
        path.write_bytes(whole[:place])
        with pytest.raises(SourceError):
            stage(job, tmp_path / "cut")


@pytest.mark.usefixtures("pg_restore")
def test_pg_restore_ends_with_us(postgres: Postgres, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stopped while it writes, staging ends it; without it the way on is said."""
    name = postgres.new_database("CREATE TABLE t AS SELECT repeat('text', 50) AS a FROM generate_series(1, 100000)")
    path = dump(postgres, name, tmp_path / "shop.dump", "-Fc", "-Z0")
    job = job_over(path, format="pg_dump", table="t")
    batches = open_dumps("pg_dump", job, locate(job)).batches(IgnoredRecords())
    next(batches)
    assert _children("pg_restore")
    batches.close()  # type: ignore[attr-defined]
    del batches
    assert not _children("pg_restore")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SourceError, match="there is no pg_restore") as caught:
        inspect(job)
    assert "postgresql-client" in caught.value.hint


def _children(name: str) -> list[str]:
    """The running processes of that name that this one has begun."""
    found = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    return [each for each in found if name in Path(f"/proc/{each}/comm").read_text()]


def test_psql_copy_as_csv(postgres: Postgres, database: str, tmp_path: Path) -> None:
    r"""`\copy ... csv header` is plain CSV, and COPY's text is CSV with the settings that the docs give."""
    columns = "id, note"
    for name, options in {"header.csv": "csv header", "plain.txt": ""}.items():
        postgres.sql(
            f'\\copy (SELECT {columns} FROM "Order Items" ORDER BY id) TO {tmp_path / name} {options}', database
        )
    expected = [("1", "tab\tline\nback\\ \\. cr\r 'q' \"d\"; --"), ("2", None), ("3", "")]
    assert staged(job_over(tmp_path / "header.csv"), tmp_path / "csv").rows == expected
    dialect = {
        "delimiter": "\t",
        "quote": "",
        "escape": "\\",
        "c_escapes": True,
        "null_values": ("\\N",),
        "header": False,
    }
    job = job_over(tmp_path / "plain.txt", format="csv", csv=dialect, columns={"id": "text", "note": "text"})
    assert staged(job, tmp_path / "text").rows == expected
