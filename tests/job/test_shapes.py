"""Shapes of values: each compiles to SQL that gives what Python gives; faults of one are told with their places."""

from __future__ import annotations

import csv
import hashlib
import re
import unicodedata
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from backfill.job import fingerprint
from backfill.job.leaves import expression_columns, named_columns, used_columns
from backfill.job.models import ShapedValue
from backfill.job.shapes import NO_ENTRY
from tests.support.job_texts import faults, job_text, load
from tests.support.projects import backfill
from tests.support.sourcing import staged

TEXTS = [
    " Ann@Example.COM ",
    "\u00a0Zoë\t",
    "ÄÖ'x",
    "+1 (555) 123",
    " +49 ",
    "0049 30",
    "",
    "  ",
    None,
    "us",
    "东京",
    "＋８１ ３-1",
    "٠٥٠ ۱२",
    "+৩০ 𝟗\u00a0๔",
]


def blank(text: str) -> str:
    """The text without white space around it."""
    return text.strip()


def phone(text: str) -> str | None:
    """Its digits, with the plus."""
    text = "".join(str(unicodedata.digit(sign, sign)) for sign in text).replace("＋", "+")
    digits = re.sub("[^0-9]", "", text)
    return ("+" if text.strip().startswith("+") else "") + digits if digits else None


def sha256(text: str | None) -> str | None:
    """Its hash."""
    return None if text is None else hashlib.sha256(text.encode()).hexdigest()


SHAPES: list[tuple[str, Any]] = [
    ("trim: true", blank),
    ("lower: true", str.lower),
    ("lower: true, trim: true", lambda text: text.strip().lower()),
    ("normalize: email", lambda text: text.strip().lower() or None),
    ("normalize: phone", phone),
    ("hash: sha256", sha256),
    ("hash: sha256, normalize: email", lambda text: sha256(text.strip().lower() or None)),
    ('lookup: {values: {us: 1, "ÄÖ\'x": 2}, unknown: null}', {"us": 1, "ÄÖ'x": 2}.get),
    ("lookup: {values: {us: United States}, unknown: keep}", lambda text: {"us": "United States"}.get(text, text)),
    ("trim: true, lookup: {values: {us: U}, unknown: reject}", lambda text: {"us": "U"}.get(text.strip())),
]


@pytest.mark.parametrize(("shape", "expected"), SHAPES)
def test_shape_is_what_python_gives(tmp_path: Path, shape: str, expected: Any) -> None:
    """The same for every text, and null for null; only a lookup that rejects fails, and says so."""
    (tmp_path / "rows.csv").write_text(
        "id,text\n"
        + "".join(f"{at},{'' if text is None else f'{chr(34)}{text}{chr(34)}'}\n" for at, text in enumerate(TEXTS))
    )
    job = load(tmp_path, job_text(f"properties: {{a: {{column: text, {shape}}}}}", source="path: rows.csv"))
    result = staged(job, tmp_path / "state")
    (column,) = expression_columns(job).values()
    assert result.column(column) == [None if text is None else expected(text) for text in TEXTS]
    described = result.snapshot.column(column)
    assert described is not None
    assert (described.failed is not None) == ("reject" in shape)
    assert described.reason == (NO_ENTRY if "reject" in shape else "")


def test_a_value_without_entry_is_told(tmp_path: Path) -> None:
    """With its column, the value once, and what to do; by `preview` as by `check`, and of an expression too."""
    (tmp_path / "rows.csv").write_text("u,id,country\n1,1,us\n2,2,xx\n")
    call = "timestamp: {value: '2024-01-01T00:00:00Z'}, properties: {a: {column: country, lookup: {values: {us: U}, "
    call += "unknown: reject}}}"
    hint = "add it to the lookup, or say `unknown: keep` or `null`"
    load(tmp_path, job_text(call, source="path: rows.csv"))
    checked, shown = backfill("check", tmp_path / "job.yaml"), backfill("preview", tmp_path / "job.yaml")
    told = "value without an entry in `lookup`: country = 'xx'"
    assert "BF135 (error) value without an entry in `lookup`: 1\n" in checked.err
    assert "track: country = 'xx'\n" in checked.err
    assert f"BF135 {told}\n        Hint: {hint}" in shown.out
    assert hint in checked.err
    load(tmp_path, job_text(call.replace("column: country", "sql: lower(country)"), source="path: rows.csv"))
    shown = backfill("preview", tmp_path / "job.yaml")
    assert "BF130 an SQL expression fails on the row: no entry in `lookup` for the value: " in shown.out
    assert hint in shown.out


def test_places_of_a_shape(tmp_path: Path) -> None:
    """Ids, keys and members take one, of a column or of an expression; `"*"` does not send such a column as it is."""
    email = "{column: email, normalize: email}"
    call = f"userId: {email}, message_key: [{email}], properties: {{a: {{sql: b || c, hash: sha256}}, '*': {{}}}}"
    job = load(tmp_path, job_text(call))
    (made,) = job.calls
    assert isinstance(made.userId, ShapedValue)
    assert made.message_key == (made.userId,)
    assert used_columns(made) == {"email", "at"}
    assert made.properties is not None
    hashed = load(tmp_path, job_text("properties: {a: {column: email, hash: sha256}, '*': {}}")).calls[0].properties
    assert hashed is not None
    assert named_columns(hashed) == {"email"}


HASH = "{column: email, normalize: email, hash: sha256}"


@pytest.mark.parametrize(
    "calls",
    [
        ["context: {traits.h: %s}, traits: {'*': {}}"],
        ["message_key: [%s], traits: {'*': {}}"],
        ["traits: {h: %s}", "label: second, traits: {'*': {}}"],
        ["traits: {'*': {}}, context: {inner: {object: {'*': {}}}, h: {list: [%s]}}"],
        ["label: second, traits: {'*': {}}", "traits: {h: {sql: 'lower(email)', hash: sha256}}"],
    ],
)
def test_a_hashed_column_is_sent_by_no_star(tmp_path: Path, calls: list[str]) -> None:
    """Wherever in the job it is hashed; what is not hashed is sent, and so is what a member names."""
    (tmp_path / "rows.csv").write_text("u,id,email,plan\n1,1,ann@example.com,pro\n")
    texts = [job_text(call.replace("%s", HASH), source="path: rows.csv",
                      kind="identify").replace("timestamp: at", "timestamp: {value: '2024-01-01T00:00:00Z'}")
             for call in calls]  # fmt: skip
    whole = "".join([texts[0], *(f"  - {text.split('  - ', 1)[1]}" for text in texts[1:])])
    load(tmp_path, whole)
    told = backfill("preview", tmp_path / "job.yaml")
    assert told.code == 0, told
    assert told.out.count("ann@example.com") == 1  # in the row as it was read
    assert told.out.count('"plan": "pro"') >= 2
    load(tmp_path, whole.replace("'*': {}", "'*': {}, raw: email"))
    assert '"raw": "ann@example.com"' in backfill("preview", tmp_path / "job.yaml").out


@pytest.mark.parametrize("shape", ["hash: sha256", "lookup: {values: {'2': two}, unknown: null}", "normalize: phone"])
@pytest.mark.parametrize("kind", ["csv", "parquet", "sql"])
def test_floats_take_no_shape(tmp_path: Path, kind: str, shape: str) -> None:
    """The text of one is not the source's, so what it stands for would not be found."""
    pl.DataFrame({"u": ["1"], "id": ["1"], "n": [2.0]}).write_parquet(tmp_path / "rows.parquet")
    (tmp_path / "rows.csv").write_text("u,id,n\n1,1,2\n")
    source = "path: rows.parquet" if kind != "csv" else "path: rows.csv, columns: {n: number}"
    value = "sql: n * 2" if kind == "sql" else "column: n"
    call = f"timestamp: {{value: '2024-01-01T00:00:00Z'}}, properties: {{a: {{{value}, {shape}}}}}"
    load(tmp_path, job_text(call, source=source))
    told = backfill("check", tmp_path / "job.yaml")
    assert told.code == 2
    assert "holds number" in told.err
    assert "declare it as text or integer" in told.err
    load(tmp_path, job_text(call, source=source.replace("number", "text")))
    assert backfill("check", tmp_path / "job.yaml").code == (0 if kind == "csv" else 2)


TIME = "{column: at, hash: sha256}"
SCALED = "12.50 would be 12.500000000"


@pytest.mark.parametrize(
    ("source", "value", "told"),
    [
        ("path: rows.csv, columns: {n: decimal}", "{column: n, trim: true}", SCALED),
        ("path: rows.csv, columns: {n: decimal}", "{sql: n * 2, lookup: {values: {a: b}, unknown: keep}}", SCALED),
        ("path: rows.csv, columns: {n: {type: decimal, decimal: '.'}}", "{column: n, normalize: phone}", SCALED),
        ("path: rows.csv, columns: {n: decimal}, query: SELECT * FROM source", "{column: n, hash: sha256}", SCALED),
        ("path: rows.csv, columns: {at: timestamp}", TIME, "the database's own"),
        ("path: rows.csv, columns: {at: {type: timestamp, timezone: UTC}}", TIME, "the database's own"),
        ("path: rows.parquet", TIME, "the database's own"),
        ("path: rows.csv", "{column: n, trim: true}", "12.50"),
        ("path: rows.csv, columns: {n: decimal}", "{sql: 'CAST(n AS DECIMAL(9, 2))', trim: true}", "12.50"),
        ("path: rows.csv, columns: {n: decimal}", "{sql: 'CAST(n AS DECIMAL(9, 2))::TEXT', trim: true}", "12.50"),
        ("path: rows.parquet", "{column: n, trim: true}", "12.50"),
        ("path: rows.parquet, query: SELECT * FROM source", "{column: n, trim: true}", "12.50"),
        ("path: rows.csv, columns: {day: date}", "{column: day, trim: true}", "2024-01-31"),
        ("path: rows.parquet", "{column: day, trim: true}", "2024-01-31"),
        ("path: rows.csv, columns: {id: integer}", "{column: id, trim: true}", "32"),
    ],
)  # fmt: skip
def test_a_shape_sees_the_text_of_the_source(tmp_path: Path, source: str, value: str, told: str) -> None:
    """Of every type whose text in SQL is the source's; of others the job is refused, in ids, keys, members."""
    at = datetime(2024, 1, 31, 12, tzinfo=UTC)
    row = {"u": "1", "id": 32, "n": Decimal("12.50"), "at": at, "day": at.date()}
    pl.DataFrame([row]).write_parquet(tmp_path / "rows.parquet")
    (tmp_path / "rows.csv").write_text("u,id,n,at,day\n1,32,12.50,2024-01-31T12:00:00Z,2024-01-31\n")
    call = f"timestamp: {{value: '2024-01-01T00:00:00Z'}}, userId: {value}"
    load(tmp_path, job_text(f"{call}, message_key: {value}, properties: {{a: {value}}}", source=source))
    if told[0].isdigit() and told != SCALED:
        shown = backfill("preview", tmp_path / "job.yaml")
        assert shown.code == 0, shown
        assert [f'"{name}": "{told}"' in shown.out for name in ("userId", "a")] == [True, True]
    else:
        checked = backfill("check", tmp_path / "job.yaml")
        assert checked.code == 2
        assert checked.err.count(told) == checked.err.count("declare it as text") == 3


def test_a_shape_of_json_sees_what_a_string_says(tmp_path: Path) -> None:
    """In a column of strings and other values a string is JSON: its quotes are not part of what it says."""
    values = ['" Us "', "12", "1.50", "true", '"a\\u0041"', "null", '{"k":1}']
    (tmp_path / "rows.ndjson").write_text(
        "".join(f'{{"id": "{at}", "v": {value}}}\n' for at, value in enumerate(values)), encoding="utf-8"
    )
    job = load(tmp_path, job_text("properties: {a: {column: v, trim: true}}", source="path: rows.ndjson"))
    (column,) = expression_columns(job).values()
    expected = ["Us", "12", "1.50", "true", "aA", None, '{"k":1}']
    assert staged(job, tmp_path / "state").column(column) == expected


@pytest.mark.parametrize(
    ("sql", "told"),
    [("n || '-' || id", True), ("concat(source.N, id)", True), ("n::TEXT", True), ("'a' || CAST(n AS VARCHAR)", True),
     ("n", False), ("n + 1", False), ("CAST(n AS DECIMAL(18, 2)) || id", False), ("id || 'n'", False),
     ("rtrim(rtrim(CAST(n AS VARCHAR), '0'), '.') || id", False)],
)  # fmt: skip
def test_text_of_a_declared_decimal_is_warned_of(tmp_path: Path, sql: str, told: bool) -> None:
    """It has nine places in SQL, so an id made of it is another one than the source's."""
    (tmp_path / "rows.csv").write_text("u,id,n\n1,1,12.50\n")
    call = f"timestamp: {{value: '2024-01-01T00:00:00Z'}}, userId: {{sql: \"{sql}\"}}"
    load(tmp_path, job_text(call, source="path: rows.csv, columns: {n: decimal}"))
    checked = backfill("check", tmp_path / "job.yaml")
    assert (checked.code, "has nine places" in checked.err) == (0, told), checked


@pytest.mark.parametrize(
    ("shape", "words"),
    [
        ("lookup: {values: {a: b}}", "is missing it can be reject or keep or null"),
        ("lookup: {unknown: keep}", "exactly one of `values` and `file`"),
        ("lookup: {values: {a: b}, file: x.csv, unknown: keep}", "exactly one"),
        ("lookup: {values: {a: 1}, unknown: keep}", "would keep text"),
        ("lookup: {values: {a: 1, b: c}, unknown: reject}", "not of one type"),
        ("lookup: {file: none.csv, unknown: reject}", "none.csv does not exist"),
        ("lookup: {file: keyless.csv, unknown: reject}", "keyless.csv:4 has no key"),
        ("lookup: {file: twice.csv, unknown: reject}", "twice.csv:3 has 'a' twice"),
        ("lookup: {file: wide.csv, unknown: reject}", "wide.csv:2 has 3 fields, not two"),
        ("hash: md5", "sha256"),
        ("normalize: name", "phone"),
        ("trim: yes", "true"),
    ],
)
def test_what_is_wrong_with_a_shape(tmp_path: Path, shape: str, words: str) -> None:
    """One fault, with its place."""
    (tmp_path / "twice.csv").write_text("k,v\na,1\na,2\n")
    (tmp_path / "keyless.csv").write_text('k,v\n"a\nb",1\n,2\n')
    (tmp_path / "wide.csv").write_text("k,v,w\na,1,2\n")
    (fault,) = faults(tmp_path, job_text(f"properties: {{a: {{column: text, {shape}}}}}"))
    assert words in f"{fault.message} {fault.hint} {fault.path}"
    assert fault.path.startswith("calls[0].properties.a")
    assert fault.line


def test_a_lookups_file_is_csv(tmp_path: Path) -> None:
    """Quoted fields keep their line ends, others what only Python takes for one; a broken quote is told."""
    rows = [("k", "v"), ("a", "one\r\ntwo\n"), ("b", "x\u2028y\x0bz\x85"), ("c", '"'), ("d\ne", "e")]
    with (tmp_path / "table.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    (tmp_path / "rows.csv").write_text('id,text\n1,a\n2,b\n3,c\n4,"d\ne"\n')
    text = job_text(
        "properties: {a: {column: text, lookup: {file: table.csv, unknown: reject}}}", source="path: rows.csv"
    )
    job = load(tmp_path, text)
    (column,) = expression_columns(job).values()
    assert staged(job, tmp_path / "state").column(column) == [value for _, value in rows[1:]]
    (tmp_path / "table.csv").write_text('k,v\r\na,\r\n\r\nb,""\r\nc,x\r\n"d\ne",1\r\n"",2')
    job = load(tmp_path, text)
    (column,) = expression_columns(job).values()
    assert staged(job, tmp_path / "nulls").column(column) == [None, "", "x", "1"]
    (tmp_path / "table.csv").write_text('k,v\na,"b" c\n')
    (fault,) = faults(tmp_path, text)
    assert "cannot be read as CSV" in fault.message


def test_a_lookups_file_is_part_of_the_job(tmp_path: Path) -> None:
    """Another table is another job."""
    (tmp_path / "table.csv").write_text("k,v\na,1\n")
    text = job_text("properties: {a: {column: text, lookup: {file: table.csv, unknown: reject}}}")
    before = fingerprint(load(tmp_path, text))
    assert fingerprint(load(tmp_path, text)) == before
    (tmp_path / "table.csv").write_text("k,v\na,2\n")
    assert fingerprint(load(tmp_path, text)) != before
