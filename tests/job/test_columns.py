"""A job against the columns its source has: every use that cannot work is found before a row is read."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from backfill.errors import Fault
from backfill.job import check_columns, load_job, positions
from backfill.records import Column, Kind, Zone

COLUMNS = (
    Column("id", Kind.INTEGER),
    Column("User", Kind.TEXT),
    Column("at", Kind.TIMESTAMP, Zone.UTC),
    Column("local", Kind.TIMESTAMP, Zone.NAIVE),
    Column("mixed", Kind.TIMESTAMP, Zone.MIXED),
    Column("day", Kind.DATE),
    Column("total", Kind.NUMBER),
    Column("price", Kind.DECIMAL),
    Column("blob", Kind.BINARY),
    Column("lapse", Kind.INTERVAL),
    Column("payload", Kind.JSON),
    Column("items", Kind.NESTED),
    Column("text", Kind.TEXT),
    Column("paid", Kind.BOOLEAN),
    Column("nothing", Kind.NULL),
    Column("__bf_file", Kind.INTEGER),
    Column("a.b", Kind.TEXT),
)


def check(
    folder: Path,
    call: str,
    *,
    source: str = "path: a.parquet",
    columns: Sequence[Column] = COLUMNS,
    complete: bool = True,
) -> list[Fault]:
    """The faults of a job with that track call."""
    needs = {"userId": "User", "timestamp": "at", "message_key": "id", "event": "{value: e}"}
    given = ", ".join(
        f"{name}: {value}"
        for name, value in needs.items()
        if f"{name}:" not in call and not (name == "message_key" and "message_id:" in call)
    )
    path = folder / "job.yaml"
    path.write_text(f"version: 1\nname: x\nsource: {{{source}}}\ncalls:\n  - {{type: track, {given}, {call}}}\n")
    return check_columns(load_job(path), columns, positions(path), complete=complete)


@pytest.mark.parametrize(
    "call",
    [
        "properties: {a: total, b: items, c: payload, d: nothing, e: day, f: a.b}",
        "properties: payload",
        "properties: {column: items, x: text}",
        "message_key: [id, User, at, price, paid, day, payload, nothing]",
        "message_id: text",
        "timestamp: {column: text, format: epoch_ms}",
        "timestamp: {column: total, format: epoch_s}",
        "timestamp: {column: text, format: iso8601}",
        "timestamp: {column: text, format: '%Y-%m-%d %z'}",
        "timestamp: {column: text, format: '%Y-%m-%d', timezone: UTC}",
        "timestamp: {column: local, timezone: America/New_York}",
        "timestamp: mixed",
        "timestamp: nothing",
        'properties: {"*": {exclude: [blob, lapse, local]}}',
        'properties: {l: {list: [text, {object: {"*": {exclude: [blob, lapse, local]}}}]}}',
        "properties: {a: {column: text, as: number}}",
    ],
)
def test_what_works(tmp_path: Path, call: str) -> None:
    """Uses that can be mapped are no faults."""
    assert check(tmp_path, call) == []


@pytest.mark.parametrize(
    ("call", "path", "message", "hint"),
    [
        ("userId: user", "userId", 'no column "user"', 'it is written "User"'),
        ("properties: {a: totl}", "properties.a", 'no column "totl"', 'did you mean "total"?'),
        ("properties: {a: zzzzzz}", "properties.a", 'no column "zzzzzz"', "it has: id, User, at"),
        ("context: {ip: 1.2.3.4}", "context.ip", 'no column "1.2.3.4"', 'a constant is written {value: "1.2.3.4"}'),
        ("properties: {a: usre}", "properties.a", 'no column "usre"', "? A constant is written {value: usre}"),
        ("event: Order Completed", "event", 'no column "Order Completed"', "{value: Order Completed}"),
        ("properties: {a: payload.city}", "properties.a", 'no column "payload.city"', "payload->>'$.city'"),
        ("properties: {a: {list: [totl]}}", "properties.a.list[0]", "no column", "total"),
        ("properties: {a: {object: {b.c: totl}}}", "properties.a.object.b.c", "no column", "total"),
        ('properties: {"*": {exclude: [totl, blob, lapse, local]}}', "properties.*.exclude[0]", "no column", "total"),
        ("properties: {a: blob}", "properties.a", "holds binary", "hex(...)"),
        ("properties: {a: lapse}", "properties.a", "holds interval", "cast it in SQL"),
        ("properties: {a: local}", "properties.a", "no time zone is stated", "timezone"),
        ("timestamp: local", "timestamp", "no time zone is stated", "timezone"),
        ("timestamp: day", "timestamp", "no time zone is stated", "timezone"),
        ("timestamp: {column: text, format: '%Y-%m-%d'}", "timestamp", "no time zone is stated", "timezone"),
        ("timestamp: text", "timestamp", "holds text, not timestamps", "state its `format`"),
        ("timestamp: id", "timestamp", "holds integer, not timestamps", "epoch_s"),
        ("timestamp: {column: id, format: iso8601}", "timestamp", "holds integer", "epoch_s"),
        ("timestamp: {column: id, format: '%Y%m%d'}", "timestamp", "holds integer", "strptime(CAST("),
        ("timestamp: paid", "timestamp", "holds boolean", "make one of it in SQL"),
        ("timestamp: {column: at, format: epoch_s}", "timestamp.format", "a timestamp already", "leave"),
        ("message_key: [id, total]", "message_key[1]", "holds number", "a float prints"),
        ("message_key: items", "message_key[0]", "holds nested", ""),
        ("message_id: total", "message_id", "holds number", "text"),
        ("userId: items", "userId", "holds nested", "SQL"),
        ("properties: {column: text}", "properties.column", "will not do for a whole object", "json"),
        ("properties: text", "properties.column", "will not do for a whole object", "json"),
        ("properties: {a: {column: day, as: number}}", "properties.a.as", "not a number", ""),
    ],
)
def test_what_cannot_work(tmp_path: Path, call: str, path: str, message: str, hint: str) -> None:
    """Each use that cannot be mapped is one fault in its place, with what to do."""
    (fault,) = check(tmp_path, call)
    assert fault.path == f"calls[0].{path}"
    assert message in fault.message
    assert hint in fault.hint
    assert fault.line == 5


@pytest.mark.parametrize(
    ("written", "hint"),
    [("{column: id, format: '%Y%m%d'}", "declare it as text"), ("{column: id, format: iso8601}", "declare it as text"),
     ("id", "declare it as timestamp")],
)  # fmt: skip
def test_times_in_a_declared_column_of_numbers(tmp_path: Path, written: str, hint: str) -> None:
    """Whoever has stated a format is not told to state one."""
    (fault,) = check(tmp_path, f"timestamp: {written}", source="path: a.csv, columns: {id: integer}")
    assert fault.hint.startswith(hint)
    assert "state its `format`" not in fault.hint


def test_star_takes_no_column_that_json_lacks(tmp_path: Path) -> None:
    """`"*"` names every column it would take in and cannot."""
    found = check(tmp_path, 'properties: {"*": {}}')
    assert [fault.path for fault in found] == ["calls[0].properties.*"] * 3
    assert [fault.message.split('"')[1] for fault in found] == ["local", "blob", "lapse"]


def test_a_zone_anywhere_will_do(tmp_path: Path) -> None:
    """The source's zone holds for all its local times, a column's own for that column."""
    assert check(tmp_path, "timestamp: local", source="path: a.parquet, timezone: America/New_York") == []
    declared = "path: a.csv, columns: {local: {type: timestamp, timezone: UTC}}"
    assert check(tmp_path, "timestamp: local", source=declared) == []


def test_declared_columns_exist(tmp_path: Path) -> None:
    """A declared column that is not there is a fault, but for a query's source, whose columns are other ones."""
    (fault,) = check(tmp_path, "label: x", source="path: a.csv, columns: {ids: integer}")
    assert (fault.path, fault.line, fault.column) == ("source.columns.ids", 3, 33)
    assert check(tmp_path, "label: x", source="path: a.csv, columns: {ids: integer}, query: SELECT 1") == []


def test_a_sample_proves_no_absence(tmp_path: Path) -> None:
    """Where only a sample was read, a column may still come; what is known is judged all the same."""
    assert check(tmp_path, "properties: {a: later}", complete=False) == []
    assert len(check(tmp_path, "properties: {a: later, b: blob}", complete=False)) == 1


def test_results_of_expressions_are_judged(tmp_path: Path) -> None:
    """An expression's result is held to the same rules as a column, `when` to be a condition."""
    columns = (
        *COLUMNS,
        Column("__bf_sql_0", Kind.INTEGER),
        Column("__bf_sql_1", Kind.TEXT),
        Column("__bf_sql_2", Kind.INTERVAL),
        Column("__bf_sql_3", Kind.NUMBER),
    )
    call = "when: total, timestamp: {sql: text}, message_key: [{sql: total / 2}], properties: {a: {sql: at - at}}"
    found = check(tmp_path, call, columns=columns)
    assert {fault.path.removeprefix("calls[0].") for fault in found} == {
        "when",
        "timestamp",
        "message_key[0]",
        "properties.a",
    }


def test_a_time_read_from_text_is_judged_by_what_was_read(tmp_path: Path) -> None:
    """Where the snapshot has the parsed column, its own zone decides."""
    parsed = (*COLUMNS, Column("__bf_time_0", Kind.TIMESTAMP, Zone.NAIVE, raw="text"))
    (fault,) = check(tmp_path, "timestamp: {column: text, format: iso8601}", columns=parsed)
    assert "no time zone is stated" in fault.message


def test_faults_of_defaults_are_told_once(tmp_path: Path) -> None:
    """A field of `defaults` that several calls take is one fault, at `defaults`."""
    path = tmp_path / "job.yaml"
    path.write_text(
        "version: 1\nname: x\nsource: {path: a.parquet}\ndefaults: {userId: usr, timestamp: at, message_key: id}\n"
        "calls: [{type: page}, {type: identify}]\n"
    )
    (fault,) = check_columns(load_job(path), COLUMNS, positions(path))
    assert (fault.path, fault.line, fault.column) == ("defaults.userId", 4, 20)
