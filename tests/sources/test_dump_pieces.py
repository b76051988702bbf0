"""Dumps come in pieces that may end anywhere: the rows, their lines and faults are the same wherever that is."""

from __future__ import annotations

import random
from collections.abc import Iterator
from itertools import chain
from typing import Any

import pytest

from backfill.errors import BackfillError
from backfill.sources.dumps.postgres import PostgresDump
from backfill.sources.dumps.sqlite import SqliteDump
from tests.support.examples import TIMES, examples

POSTGRES = r"""--
-- PostgreSQL database dump
--
\restrict abc

SET client_encoding = 'UTF8';
SET standard_conforming_strings = on;
/* a comment; with 'a quote /* and another */ inside */
CREATE FUNCTION public.f() RETURNS text LANGUAGE plpgsql AS $_$ BEGIN
COPY public.t (id) FROM stdin;
\.
INSERT INTO public.t VALUES (1); $1 'x; END $_$;
CREATE TABLE public.other (id integer, note text DEFAULT 'a;''b'::text, "q;'" text);
CREATE TABLE public.t (
    id integer NOT NULL,
    note text DEFAULT E'it\'s;',
    more text
);
COMMENT ON TABLE public.t IS 'it''s; -- no comment';
COPY public.other (id, note, "q;'") FROM stdin;
1	;	'
\\.	\\	\n
\.


COPY public.t (id, note, more) FROM stdin;
1	it's	\N
2	\\.	tab\tline\nback\\\\
3
4	東京 🫖	\N
5	a\qb	c
\.

INSERT INTO public.other VALUES (1, 'INSERT INTO public.t VALUES (9, ''a'', NULL);', 'x');
INSERT INTO public.other VALUES (2, ';', ''';');
INSERT INTO public.t VALUES (6, 'it''s; -- (no, comment)', NULL);
INSERT INTO public.t VALUES (7, ''');
INSERT INTO public.t VALUES (8, ', NULL), (9, 'two
lines', E'b\'\\s');
INSERT INTO public.t (more, id) VALUES
	('only', 10),
	(NULL, 11),
	('', 12, 13);
INSERT INTO public.t VALUES (14, now(), NULL);
INSERT INTO u VALUES (1);
ALTER TABLE ONLY public.t ADD CONSTRAINT t_pkey PRIMARY KEY (id);
--
-- PostgreSQL database dump complete
--

\unrestrict abc
"""
SQLITE = """PRAGMA foreign_keys=OFF;
BEGIN TRANSACTION;
CREATE TABLE other(a INTEGER, b TEXT);
INSERT INTO other VALUES(1,'INSERT INTO t VALUES(1,''x'');');
INSERT INTO other VALUES(2,replace('a;\\nb','\\n',char(10)));
CREATE TABLE [t] ( -- it's; (a comment
  id INTEGER, `note` TEXT /* ); */, more TEXT);
CREATE TRIGGER tr AFTER INSERT ON t BEGIN INSERT INTO t VALUES(3,'x','y'); END;
INSERT INTO t VALUES(1,'it''s; --','a
b');
INSERT INTO t VALUES(2,replace('a\\nb''c','\\n',char(10)),NULL);
INSERT INTO t VALUES(3,X'00ff','x');
INSERT INTO t VALUES(-4,'','');
INSERT INTO u VALUES(5,6,7);
CREATE INDEX i ON t(id);
COMMIT;
"""
Found = tuple[list[dict[str, Any]], list[tuple[Any, ...]], list[int]]


class Sink:
    """Keeps what is unreadable."""

    def __init__(self) -> None:
        self.found: list[tuple[Any, ...]] = []

    def add(self, record: Any) -> None:
        """Note one."""
        self.found.append((record.record, record.line, record.code, record.original))


def read(kind: type, data: bytes, sizes: Iterator[int]) -> Found:
    """The rows of the table `t`, what is unreadable, and the lines of all records."""
    rows: list[dict[str, Any]] = []
    sink, lines, first = Sink(), [], 1
    for found in kind(_pieces(data, sizes), "dump.sql", ("t",)).rows(frozenset(("id", "note", "more"))):
        found.report(sink, 0, first, with_lines=True)
        first += len(found.starts)
        lines += found.lines(range(len(found.starts))).tolist()
        columns = {name: values.to_pylist() for name, values in found.columns()}
        rows += [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
    return rows, sink.found, lines


def same(size: int) -> Iterator[int]:
    """Pieces of one size."""
    while True:
        yield size


def by_chance(seed: int) -> Iterator[int]:
    """Pieces of any size."""
    chance = random.Random(seed)
    while True:
        yield chance.randrange(1, chance.choice((4, 40, 400)))


@pytest.mark.parametrize(("kind", "text"), [(PostgresDump, POSTGRES), (SqliteDump, SQLITE)])
@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
def test_wherever_pieces_end(kind: type, text: str, line_end: str) -> None:
    """One byte at a time, a few, or by chance; with the line ends of Windows as well."""
    data = text.replace("\n", line_end).encode()
    whole = read(kind, data, same(len(data)))
    for size in (1, 2, 3, 5, 17, 64):
        assert read(kind, data, same(size)) == whole, size
    for seed in range(40):
        assert read(kind, data, by_chance(seed)) == whole, seed


def test_what_is_read_of_them() -> None:
    """What the dumps above hold."""
    rows, unreadable, lines = read(PostgresDump, POSTGRES.encode(), same(10**6))
    assert [row["id"] for row in rows] == ["1", "2", "4", "6", "7", "9", "10", "11"]
    assert [row.get("more") for row in rows] == [None, "tab\tline\nback\\\\", None, None, None, "b'\\s", "only", None]
    assert rows[4]["note"] == "');\nINSERT INTO public.t VALUES (8, "
    assert [(record, code) for record, _, code, _ in unreadable] == [
        (3, "BF001"), (5, "BF003"), (11, "BF002"), (12, "BF009")
    ]  # fmt: skip
    told = POSTGRES.split("\n")
    assert told[lines[0] - 1].startswith("1\tit's")
    assert all(str(row["id"]) in told[line - 1] for row, line in zip(rows[-2:], lines[-4:-2], strict=True))
    rows, unreadable, _ = read(SqliteDump, SQLITE.encode(), same(10**6))
    assert rows == [
        {"id": "1", "note": "it's; --", "more": "a\nb"},
        {"id": "2", "note": "a\nb'c", "more": None},
        {"id": "-4", "note": "", "more": ""},
    ]
    assert [record for record, *_ in unreadable] == [3]


#: What damage puts in.
BITS = (
    *(b"'", b'"', b"\\", b"\n", b"\t", b";", b"(", b")", b"$$", b"E'", b"--", b"/*", b"\\.\n", b",", b"\xff", b"\0"),
    *(b"INSERT INTO t VALUES (", b"COPY public.t (id) FROM stdin;\n", b"CREATE TABLE t (", b"NULL"),
)


def damaged(data: bytes, chance: random.Random) -> bytes:
    """The dump with a few bytes other, lost, put in or doubled, and cut now and then."""
    found = bytearray(data)
    for _ in range(chance.randrange(1, 6)):
        place, other = chance.randrange(len(found)), chance.randrange(len(found))
        length = chance.randrange(1, 60)
        match chance.randrange(4):
            case 0:
                found[place] = chance.randrange(256)
            case 1:
                del found[place : place + length]
            case 2:
                found[place:place] = chance.choice(BITS)
            case _:
                found[place:place] = found[other : other + length]
    return bytes(found[: chance.randrange(len(found))] if chance.random() < 0.2 else found)


def read_or_refused(kind: type, data: bytes, sizes: Iterator[int]) -> Found | str:
    """What `read` gives, or the kind of the error that it is refused with."""
    try:
        return read(kind, data, sizes)
    except BackfillError as error:
        return type(error).__name__


@pytest.mark.parametrize(("kind", "text"), [(PostgresDump, POSTGRES), (SqliteDump, SQLITE)])
def test_damage_is_read_alike_or_refused(kind: type, text: str) -> None:
    """Whatever a dump has become, it is read to the same rows wherever pieces end, or refused; nothing else happens."""
    chance = random.Random(7 if TIMES == 1 else None)
    for turn in range(examples(250)):
        data = damaged(text.encode(), chance)
        whole = read_or_refused(kind, data, same(len(data) + 1))
        assert read_or_refused(kind, data, by_chance(turn)) == whole, data


@pytest.mark.parametrize("name", ["a;b", "a);", "(a", ")(", "a,b", "VALUES (1);"])
@pytest.mark.parametrize("kind", [PostgresDump, SqliteDump])
def test_names_with_signs(kind: type, name: str) -> None:
    """A name may have what ends a statement or a row; a text may spell the words of the statement."""
    words = f'INSERT INTO "t" ("id", "{name}") VALUES '
    text = f"{words}(1, '{words}(');"
    create = f'CREATE TABLE "t" ("id" text, "{name}" text);'
    begun, ended = ("PRAGMA foreign_keys=OFF;\nBEGIN TRANSACTION;", "COMMIT;") if kind is SqliteDump else ("", "")
    data = "\n".join([begun, create, text, text, f"{words}(2, ';'), (3, '');", ended, ""]).encode()
    for sizes in (same(1), same(7), same(1_000), by_chance(1)):
        dump = kind(_pieces(data, sizes), "dump.sql", ("t",))
        found = [column.to_pylist() for rows in dump.rows(frozenset(("id", name))) for _, column in rows.columns()]
        assert list(chain.from_iterable(found[::2])) == ["1", "1", "2", "3"]
        assert list(chain.from_iterable(found[1::2])) == [f"{words}("] * 2 + [";", ""]


def _pieces(data: bytes, sizes: Iterator[int]) -> Iterator[bytes]:
    place = 0
    while place < len(data):
        size = next(sizes)
        yield data[place : place + size]
        place += size
