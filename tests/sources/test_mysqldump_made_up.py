"""Made-up dumps of MySQL: whatever is in the rows and stands around them, in pieces of any size; and damaged ones."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from backfill.errors import BackfillError
from backfill.sources import resolve
from backfill.sources.dumps.mysql.columns import columns_of
from backfill.sources.dumps.mysql.reader import DumpReader, open_dump
from backfill.sources.dumps.mysql.script import Insert, Script
from backfill.sources.dumps.mysql.types import reading, table_columns
from backfill.sources.dumps.mysql.values import fields_of
from backfill.sources.staging import IgnoredRecords
from tests.sources.test_mysqldump import NASTY, over
from tests.support.examples import examples

CREATE = "CREATE TABLE `t` (`id` int, `text` longtext, `data` blob);"
#: What may stand between statements.
BETWEEN = [
    "\n", "-- it's; (\n", '# "\n', "/* ' ; */", "/*!40000 ALTER TABLE `t` DISABLE KEYS */;\n", "SET @a = 'x;\\'';\n",
    "INSERT INTO `u` VALUES (1,'),(');\n", "DELIMITER ;;\nCREATE TRIGGER g BEGIN SET @a = ';'; END;;\nDELIMITER ;\n",
    "UNLOCK TABLES;\n", "INSERT INTO `u` (`a`) SELECT '(1,\\'';\n", "-- \n",
]  # fmt: skip
ROW = st.tuples(
    st.none() | st.integers(-(2**31), 2**31),
    st.none() | st.sampled_from(NASTY) | st.text(st.characters(exclude_categories=("Cs",)), max_size=30),
    st.none() | st.binary(max_size=12),
)
HEADS = ["INSERT INTO `t` VALUES ", 'REPLACE INTO "t" VALUES\n']
STYLES = st.fixed_dictionaries(
    {
        "escapes": st.booleans(),
        "hex": st.booleans(),
        "gap": st.sampled_from([",", ",\n", " , ", ",\r\n\t"]),
        "blank": st.sampled_from(["", " ", "\t"]),
        "head": st.sampled_from(HEADS),
        "rows": st.integers(1, 4),
        "between": st.lists(st.sampled_from(BETWEEN), max_size=3),
        "size": st.integers(1, 200),
    }
)
_MARKS = {0: b"\\0", 10: b"\\n", 13: b"\\r", 26: b"\\Z", 34: b'\\"', 39: b"\\'", 92: b"\\\\"}


def quoted(value: bytes, *, escapes: bool) -> bytes:
    """A text in quotes, as either mode of MySQL writes it."""
    inner = b"".join(_MARKS.get(byte, bytes([byte])) for byte in value) if escapes else value.replace(b"'", b"''")
    return b"'" + inner + b"'"


def written(row: tuple[Any, ...], style: dict[str, Any]) -> bytes:
    """A row."""
    number, text, data = row
    cells = [
        b"NULL" if number is None else str(number).encode(),
        b"NULL" if text is None else quoted(text.encode(), escapes=style["escapes"]),
        b"NULL" if data is None else b"0x" + data.hex().encode() if style["hex"] and data
        else b"_binary " + quoted(data, escapes=style["escapes"]),
    ]  # fmt: skip
    blank = style["blank"].encode()
    return b"(" + (b"," + blank).join(cells) + blank + b")"


def dump_of(rows: list[tuple[Any, ...]], style: dict[str, Any]) -> bytes:
    """A dump of them."""
    mode = "" if style["escapes"] else "SET sql_mode='NO_BACKSLASH_ESCAPES';\n"
    between = "".join(style["between"]).encode()
    if not style["escapes"]:
        between = between.replace(b"\\'", b"''")
    parts = [mode.encode(), CREATE.encode(), between]
    for start in range(0, len(rows), style["rows"]):
        some = [written(row, style) for row in rows[start : start + style["rows"]]]
        parts += [style["head"].encode(), style["gap"].encode().join(some), b";\n", between]
    return b"".join(parts)


def read(pieces: Iterator[bytes]) -> list[tuple[Any, ...]]:
    """The rows of a dump's pieces."""
    columns = table_columns(CREATE)
    readings = [reading(over(Path("t.sql")), column, is_utc=False) for column in columns]
    found: list[tuple[Any, ...]] = []
    for statement in Script("t.sql", pieces).statements():
        if isinstance(statement, Insert) and statement.name == "t":
            for block in statement.blocks():
                made, wrong = columns_of(fields_of(block, statement.head), readings, None)
                assert not wrong
                found += zip(*(values.to_pylist() for values in made), strict=True)
    return found


@settings(max_examples=examples(150))
@given(rows=st.lists(ROW, min_size=1, max_size=9), style=STYLES)
def test_made_up_dumps(rows: list[tuple[Any, ...]], style: dict[str, Any]) -> None:
    """The rows come out as they went in."""
    data = dump_of(rows, style)
    size = style["size"]
    assert read(iter([data[start : start + size] for start in range(0, len(data), size)])) == rows


@settings(max_examples=examples(100))
@given(rows=st.lists(ROW, min_size=1, max_size=5), style=STYLES, data=st.data())
def test_damaged_dumps(tmp_path_factory: Any, rows: list[tuple[Any, ...]], style: dict[str, Any], data: Any) -> None:
    """Whatever is put in or cut out somewhere: rows or problems, or an error of ours, and no other."""
    dump = dump_of(rows, style)
    place = data.draw(st.integers(0, len(dump) - 1))
    gone = data.draw(st.integers(0, 3))
    put = data.draw(st.sampled_from([b"", b"'", b"(", b")", b",", b";", b"\\", b"N", b"_", b"0x", b"\xff"]))
    dump = dump[:place] + put + dump[place + gone :]
    path = tmp_path_factory.getbasetemp() / "damaged.sql"
    path.write_bytes(dump or b"x")
    job = over(path)
    with contextlib.suppress(BackfillError):
        reader: DumpReader = open_dump(job, resolve(job), lambda _: None)
        for batch in reader.batches(IgnoredRecords()):
            assert isinstance(batch, pa.RecordBatch)
