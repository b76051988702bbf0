"""Job files: every fault at once and in its place, whatever is wrong."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backfill.errors import Fault, JobError
from backfill.job import expression_paths, fault_at
from tests.support.examples import examples
from tests.support.job_texts import WHOLE, faults, job_text, load


def test_all_faults_at_once(tmp_path: Path) -> None:
    """One reading tells everything that is wrong, in file order, each in its place and with what was meant."""
    found = faults(
        tmp_path,
        """\
        version: 2
        name: ""
        source:
          pth: x
          timezone: America/New_Yrok
          columns: {total: nubmer, t: {type: timestamp, format: iso}}
        defaults: {userID: x, timestamp: {colunm: t}}
        rules: {BF106: warn, BF101: ignore}
        calls:
          - type: trak
          - type: track
            userId: 5
            event: {vlaue: 3}
            properties: {a: {sql: "1", nulls: kep}, b: 5, a.c: x, "*": {exclud: []}}
          - type: identify
            properties: {x: y}
            message_key: []
            messageId: x
            integrations: {All: "no"}
          - {type: group, message_key: row, userId: {column: u, nulls: keep}}
          - {type: identify, message_key: m, userId: u}
        """,
    )
    assert [(fault.line, fault.column, fault.path) for fault in found] == [
        (1, 10, "version"),
        (2, 7, "name"),
        (4, 3, "source.pth"),
        (5, 13, "source.timezone"),
        (6, 20, "source.columns.total"),
        (6, 57, "source.columns.t.format"),
        (7, 12, "defaults.userID"),
        (7, 35, "defaults.timestamp.colunm"),
        (8, 9, "rules.BF106"),
        (8, 29, "rules.BF101"),
        (10, 11, "calls[0].type"),
        (11, 5, "calls[1]"),
        (12, 13, "calls[1].userId"),
        (13, 13, "calls[1].event.vlaue"),
        (14, 39, "calls[1].properties.a.nulls"),
        (14, 48, "calls[1].properties.b"),
        (14, 51, "calls[1].properties.a.c"),
        (14, 65, "calls[1].properties.*.exclud"),
        (16, 5, "calls[2].properties"),
        (17, 18, "calls[2].message_key"),
        (18, 5, "calls[2].messageId"),
        (19, 25, "calls[2].integrations.All"),
        (20, 5, "calls[3]"),
        (20, 57, "calls[3].userId.nulls"),
        (21, 5, "calls[4]"),
    ]
    hints = {fault.path: fault.hint for fault in found}
    assert hints["source.pth"] == 'did you mean "path"?'
    assert hints["source.timezone"] == 'did you mean "America/New_York"?'
    assert hints["source.columns.total"] == 'did you mean "number"?'
    assert hints["defaults.userID"] == 'did you mean "userId"?'
    assert hints["rules.BF106"] == 'did you mean "BF105"?'
    assert hints["calls[0].type"] == 'did you mean "track"?'
    assert "message_key" in hints["calls[2].messageId"]
    assert str(found[0]) == f"{tmp_path / 'job.yaml'}:1:10: version: is the number 2; it can be 1"


def test_a_quoted_version(tmp_path: Path) -> None:
    """A text that looks like the number is told from it."""
    (found,) = faults(tmp_path, job_text().replace("version: 1", 'version: "1"'))
    assert found.message == 'is the text "1"; the number 1 is wanted'
    assert found.hint == "write it without quotes"


#: Codecs of Python that are of no file of text.
NO_ENCODINGS = ("utf-7", "unicode_escape", "raw_unicode_escape", "punycode", "idna", "rot13", "hex")
SOURCE_FAULTS = [
    ("path: a.csv, database: 'sqlite:///x', query: q", "source", "both `path` and `database`"),
    ("format: csv", "source", "neither `path` nor `database`"),
    ("path: ''", "source.path", "empty path"),
    ("path: []", "source.path", "empty list"),
    ("path: [a.csv, '-']", "source.path[1]", "stands alone"),
    ("path: 'hf://datasets/x.parquet'", "source.path", "hf:// cannot be read"),
    ("path: 's3:///x.csv'", "source.path", "names no bucket"),
    ("path: 's3://key:secret@bucket/x.csv'", "source.path", "holds credentials"),
    ("path: 'https://user:secret@host/x.csv'", "source.path", "holds credentials"),
    ("path: 'https://host/x.csv?X-Amz-Signature=1'", "source.path", "has a query"),
    ("path: 'http://host/x.csv'", "source.path", "without encryption"),
    ("path: 'https://host/folder/'", "source.path", "names no file"),
    ("path: 's3://bucket/a//x.csv'", "source.path", "empty folder name"),
    ("path: 5", "source.path", "a path or a list of paths"),
    ("path: a, format: cvs", "source.format", 'no format "cvs"'),
    ("path: a, csv: {delimiter: ';;'}", "source.csv.delimiter", "not one character"),
    ("path: a, csv: {delimiter: '\"'}", "source.csv.delimiter", "is the quote as well"),
    ("path: a, csv: {encoding: utf-88}", "source.csv.encoding", "no encoding"),
    ("path: a, csv: {encoding: base64}", "source.csv.encoding", "no encoding"),
    ('path: a, csv: {encoding: "a\\0"}', "source.csv.encoding", "no encoding"),
    *((f"path: a, csv: {{encoding: {name}}}", "source.csv.encoding", "no encoding") for name in NO_ENCODINGS),
    ("path: a, csv: {header: false}", "source.csv.header", "names the columns"),
    ("path: a, csv: {delimiter: '\\', escape: '\\'}", "source.csv.escape", "is the delimiter as well"),
    ("path: a, csv: {comment: '\"'}", "source.csv.comment", "is the quote as well"),
    ("path: a, csv: {escape: '\\', comment: '#'}", "source.csv.comment", "does not go with `escape`"),
    ("path: a, csv: {comment: '//'}", "source.csv.comment", "not one character"),
    ("path: a, csv: {delimiter: ''}", "source.csv.delimiter", "not one character"),
    ("path: a, csv: {c_escapes: true}", "source.csv.c_escapes", "goes with `escape`"),
    ("path: a, csv: {skip_lines: -1}", "source.csv.skip_lines", "0"),
    ("path: a, csv: {delimiter: ';', null_values: ['a;b']}", "source.csv.null_values[0]", "without quotes"),
    ("path: a, csv: {null_values: ['', '\"x\"']}", "source.csv.null_values[1]", "without quotes"),
    ("path: a, csv: {escape: '\\', null_values: ['x\\N']}", "source.csv.null_values[0]", "holds the escape"),
    ("path: a, format: parquet, csv: {}", "source.csv", "csv and tsv files only"),
    ("path: a, timezone: America", "source.timezone", "no time zone"),
    ("path: a, timezone: '+02:00'", "source.timezone", "no time zone"),
    ("path: a, query: ' '", "source.query", "empty query"),
    ("path: a, files: {b: b.csv}", "source.files", "read by nothing"),
    ("path: a, query: q, files: {Source: b.csv}", "source.files.Source", "it is taken"),
    ("path: a, columns: {__bf_x: text}", "source.columns.__bf_x", "does not begin with"),
    ("path: a, format: ndjson, records: a", "source.records", "is for JSON documents only"),
    ("path: a, format: json, records: a..b", "source.records", "has an empty key"),
    ("path: a, format: csv, table: t", "source.table", "is for dumps and databases"),
    ("path: a, format: pg_dump, table: ''", "source.table", "is an empty name"),
    ("path: a, columns: {Ab: text, aB: text}", "source.columns.aB", "differ in case only"),
    ("path: a, columns: {a: {type: integer, format: x}}", "source.columns.a.format", "only a timestamp"),
    ("path: a, columns: {a: {type: timestamp, format: '%Y-%m'}}", "source.columns.a.format", "year, month and day"),
    ("path: a, columns: {a: {type: timestamp, format: '%s'}}", "source.columns.a.format", "not a directive"),
    (
        "path: a, columns: {a: {type: timestamp, format: ['%Y%m%d', '%Y-%m']}}",
        "source.columns.a.format[1]",
        "year, month",
    ),
    ("path: a, columns: {a: {type: timestamp, format: ['%Y%m%d', iso8601]}}", "source.columns.a.format[1]", "alone"),
    ("path: a, columns: {a: {type: timestamp, format: ['%Y%m%d', '%Y%m%d %z']}}", "source.columns.a.format", "without"),
    ("path: a, columns: {a: {type: timestamp, format: []}}", "source.columns.a.format", "text"),
    ("path: a, members: ''", "source.members", "is empty"),
    ("path: a, members: []", "source.members", "is empty"),
    ("path: a, members: [a, '']", "source.members", "is empty"),
    ("path: a, columns: {a: {type: timestamp, format: '%Y%m%d%Q'}}", "source.columns.a.format", "%Q is not a"),
    ("path: a, columns: {a: {type: timestamp, format: '%m/%d/%Y %I:%M'}}", "source.columns.a.format", "no %p"),
    ("path: a, columns: {a: {type: timestamp, format: '%Y%m%d %Z'}}", "source.columns.a.format", "%Z is not taken"),
    ("database: 'sqlite:///x.db'", "source", "needs a `table` or a `query`"),
    ("database: 'snowflake://h/x', query: q", "source.database", "no reader of its own"),
    ("database: 'postgresql://h/x'", "source", "needs a `table` or a `query`"),
    ("database: 'postgresql://h/x', query: q, table: t", "source.table", "beside a `query`"),
    ("database: 'postgresql://h/x', table: ' '", "source.table", "empty name"),
    ("database: 'postgresql://h:x/x', table: t", "source.database", "not a database URL"),
    ("database: 'postgresql://u:hush@h/x', table: t", "source.database", "holds a password"),
    ("database: 'postgresql://h/x?password=hush', table: t", "source.database", "holds a password"),
    ("database: 'postgresql://h/${x-y}', table: t", "source.database", "begins no variable"),
    ("database: 'postgresql://h/x', table: t, partitions: 4", "source.partitions", "goes with `partition_on`"),
    ("database: 'sqlite:///x', table: t, partition_on: a, partitions: 4", "source.partition_on", "only PostgreSQL"),
    ("path: a.csv, table: t", "source.table", "is for dumps and databases"),
    ("path: a.csv, partitions: 4", "source.partitions", "goes with a live"),
    ("database: {driver: ../x, uri: y}, table: t", "source.database.driver", "not the name of a driver"),
    ("database: {driver: x, uri: 'u:hush@h'}, table: t", "source.database.uri", "holds a password"),
    ("database: {driver: x, options: {my.password: hush}}, table: t", "source.database.options.my.password", "secret"),
    ("database: {driver: x, options: {pin: 1}}, table: t", "source.database.options.pin", "is not text"),
    ("database: {driver: x, options: {dsn: 'Pwd=hush;'}}, table: t", "source.database.options.dsn", "password"),
    ("database: 'sqlit:///x', query: q", "source.database", 'no database "sqlit"'),
    ("database: 'x.db', query: q", "source.database", "not a database URL"),
    ("database: 'sqlite://host/x', query: q", "source.database", "has a host"),
    ("database: 'sqlite:///x', query: q, format: csv", "source.format", "goes with `path`"),
]


@pytest.mark.parametrize(
    "csv",
    [
        "{escape: '\\', null_values: ['\\N', '']}",
        "{quote: '', escape: '\\', c_escapes: true, delimiter: \"\\t\"}",
        "{escape: '\"'}",
        "{delimiter: ¦, quote: þ, comment: '#', skip_lines: 3}",
        "{encoding: ascii}",
    ],
)
def test_dialects_that_can_be(tmp_path: Path, csv: str) -> None:
    """Dialects of databases and tools are no faults."""
    assert load(tmp_path, job_text(source=f"path: a.csv, csv: {csv}")).source.csv


@pytest.mark.parametrize(("source", "path", "message"), SOURCE_FAULTS, ids=[case[0] for case in SOURCE_FAULTS])
def test_faults_of_the_source(tmp_path: Path, source: str, path: str, message: str) -> None:
    """What is wrong with the source is found before it is opened, and is the only fault."""
    (fault,) = faults(tmp_path, job_text(source=source))
    assert fault.path == path
    assert message in fault.message
    assert "hush" not in f"{fault} {fault.hint}"


CALL_FAULTS = [
    ("track", "label: ''", "label", "is empty"),
    ("track", 'label: "a\\u0007"', "label", "control characters"),
    ("track", "when: ''", "when", "empty expression"),
    ("track", "when: true", "when", "is true; text is wanted"),
    ("track", "userId: {column: ''}", "userId.column", "empty column name"),
    ("track", "userId: __bf_file", "userId", "backfill's own"),
    ("track", "userId: {list: [a]}", "userId", "not a list"),
    ("track", "userId: {value: 5}", "userId.value", "not empty text"),
    ("track", "userId: {column: u, as: number}", "userId.as", "always text"),
    ("track", "userId: {column: u, on_bad: omit}", "userId.on_bad", "cannot be left out"),
    ("track", "event: {value: ''}", "event.value", "not empty text"),
    ("track", "event: ~", "event", "is empty"),
    ("track", "event: {column: a, sql: b}", "event.sql", 'no field "sql"'),
    ("track", "traits: {a: a}", "traits", "no field `traits`"),
    ("identify", "event: e", "event", "no field `event`"),
    ("alias", "anonymousId: a", "anonymousId", "no field `anonymousId`"),
    ("track", "message_id: m, message_key: k", "message_id", "goes instead of `message_key`"),
    ("track", "message_key: []", "message_key", "empty list"),
    ("track", "message_key: [{value: x}]", "message_key", "same for every row"),
    ("track", "message_key: [{list: [a]}]", "message_key[0]", "single values"),
    ("track", "message_key: [{column: a, nulls: keep}]", "message_key[0].nulls", "never null"),
    ("track", "message_key: [{column: a, as: text}]", "message_key[0].as", "own form"),
    ("track", "message_key: [a, {value: 1.5}]", "message_key[1]", "a constant in a key"),
    ("track", "message_key: {value: x}", "message_key", "is a mapping"),
    ("track", "timestamp: {format: iso8601}", "timestamp", "none of them"),
    ("track", "timestamp: {column: a, sql: b}", "timestamp", "exactly one"),
    ("track", "timestamp: {column: a, format: iso}", "timestamp.format", 'no format "iso"'),
    ("track", "timestamp: {column: a, format: epoch_s, timezone: UTC}", "timestamp.timezone", "its own zone"),
    ("track", "timestamp: {column: a, timezone: Mars/Base}", "timestamp.timezone", "no time zone"),
    ("track", "timestamp: {column: a, ambiguous: first}", "timestamp.ambiguous", "earliest or latest or error"),
    ("track", "timestamp: {value: '2024-01-31T12:00:00'}", "timestamp.value", "has no zone"),
    ("track", "timestamp: {value: yesterday}", "timestamp.value", "not an ISO 8601"),
    ("track", "timestamp: {value: '1969-01-01T00:00:00Z'}", "timestamp.value", "before 1970"),
    ("track", "properties: [a]", "properties", "is a list"),
    ("track", "properties: {a: {city: x}}", "properties.a", "is not a value"),
    ("track", "properties: {a: true}", "properties.a", "true is not a value"),
    ("track", "properties: {a..b: x}", "properties.a..b", "empty part"),
    ("track", "properties: {a: x, a.b: y}", "properties.a.b", 'a value and, by "a.b"'),
    ("track", "properties: {a.b: x, a: y}", "properties.a", 'a value and, by "a.b"'),
    ("track", "properties: {a.b: x, 'a.b ': y, a.b.c: z}", "properties.a.b.c", "an object"),
    ("track", "properties: {a: {value: 9007199254740993}}", "properties.a.value", "beyond 2^53"),
    ("track", "properties: {a: {value: {b: [9007199254740993]}}}", "properties.a.value.b[0]", "beyond 2^53"),
    ("track", "properties: {'*': false}", "properties.*", "true or {exclude"),
    ("track", "context: {library: x}", "context", "set by backfill"),
    ("track", "integrations: {'': true}", "integrations", "empty name"),
    ("track", "userid: u", "userid", "no field"),
    ("track", "writeKey: abc", "writeKey", "no field"),
]


@pytest.mark.parametrize(("kind", "call", "path", "message"), CALL_FAULTS, ids=[case[1] for case in CALL_FAULTS])
def test_faults_of_a_call(tmp_path: Path, kind: str, call: str, path: str, message: str) -> None:
    """What is wrong with one field is named there, and is the only fault."""
    (fault,) = faults(tmp_path, job_text(call, kind=kind))
    assert fault.path == f"calls[0].{path}"
    assert message in fault.message
    assert fault.line == 6


@pytest.mark.parametrize(
    ("text", "path", "message"),
    [
        (job_text("message_key: row", source="path: a, query: SELECT 1"), "calls[0].message_key", "no record number"),
        (job_text(top="defaults: {groupId: g}"), "defaults.groupId", "no call of this job"),
        (job_text(top="defaults: {label: g}"), "defaults.label", 'no field "label"'),
        (job_text(top="generation: 0"), "generation", "at least 1"),
        (job_text(top="rules: {BF105: off}"), "rules.BF105", "error or warn or ignore"),
        (job_text(top="where: ''"), "where", "empty expression"),
        (job_text(top="ordered: 1"), "ordered", "true or false"),
        (
            job_text() + "  - {type: track, timestamp: t, message_key: k, userId: u, event: e}\n",
            "calls[1]",
            "second track",
        ),
        (
            job_text() + "  - {type: page, label: track, timestamp: t, message_key: k, userId: u}\n",
            "calls[1].label",
            "is taken by calls[0]",
        ),
        ("version: 1\nname: x\nsource: {path: a}\ncalls: []\n", "calls", "is empty"),
        ("version: 1\nname: ' x'\nsource: {path: a}\n" + job_text().split("\n\n")[1], "name", "with a space"),
    ],
)
def test_faults_of_the_job(tmp_path: Path, text: str, path: str, message: str) -> None:
    """What is wrong between the parts of a job is named where it can be mended."""
    (fault,) = faults(tmp_path, text)
    assert fault.path == path
    assert message in fault.message


def test_what_is_required(tmp_path: Path) -> None:
    """Nothing dangerous has a default: time, key and an id are asked for by name, as is what each type needs."""
    text = "version: 1\nname: x\nsource: {path: a}\ncalls:\n"
    text += "".join(f"  - {{type: {kind}}}\n" for kind in ("track", "group", "alias"))
    found = [(fault.path, fault.message) for fault in faults(tmp_path, text)]
    for place, needs in enumerate(("event", "groupId", "previousId")):
        messages = " ".join(message for path, message in found if path == f"calls[{place}]")
        for name in ("`timestamp` is missing", "`message_key` is missing", f"`{needs}`", "`userId`"):
            assert name in messages
    assert {path.split(".")[0] for path, _ in found} == {"calls[0]", "calls[1]", "calls[2]"}


def test_a_fault_hides_no_other(tmp_path: Path) -> None:
    """A misspelt or faulty required field is one fault, not also a missing one."""
    found = faults(tmp_path, job_text("timestmp: at, message_key: 5").replace(", timestamp: at", ""))
    assert [fault.path for fault in found] == ["calls[0].timestmp", "calls[0].message_key"]


def test_yaml_traps_are_reported_with_the_rest(tmp_path: Path) -> None:
    """What YAML tears apart is explained beside the faults of meaning."""
    found = faults(tmp_path, job_text("properties: {a: {sql: f(a, b)}}", top="generation: 0"))
    assert [(fault.path, "quotes" in fault.hint) for fault in found] == [
        ("generation", False),
        ("calls[0].properties.a", True),
    ]


def test_faults_of_aliases_are_those_of_each_place(tmp_path: Path) -> None:
    """A shared part is checked wherever it is used; what is right in one call may be wrong in another."""
    text = job_text("properties: &p {a: a}") + "  - {type: page, userId: u, timestamp: t, message_key: k, traits: *p}\n"
    (fault,) = faults(tmp_path, text)
    assert (fault.path, fault.line) == ("calls[1].traits", 7)


ATOMS = (
    st.none()
    | st.booleans()
    | st.integers(-3, 3)
    | st.sampled_from(["", "a", "track", "%Y", "row", "UTC", "*", "__bf_"])
)


NAMES = """version name source calls defaults rules type label message_key timestamp userId event properties column sql
value list object path columns * exclude format timezone context integrations a.b"""


FIELDS = st.sampled_from(NAMES.split())


WILD = st.recursive(
    ATOMS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(FIELDS, inner, max_size=4),
    max_leaves=15,
)


def graft(data: Any, places: list[int], what: Any) -> Any:
    """The data with one part replaced, found by walking down the choices."""
    if not places or not isinstance(data, dict | list) or not data:
        return what
    keys = list(data) if isinstance(data, dict) else list(range(len(data)))
    key = keys[places[0] % len(keys)]
    copy: Any = dict(data) if isinstance(data, dict) else list(data)
    copy[key] = graft(data[key], places[1:], what)
    return copy


@settings(max_examples=examples(150))
@given(st.lists(st.integers(0, 30), min_size=1, max_size=5), WILD)
def test_any_change_is_read_or_refused(tmp_path_factory: pytest.TempPathFactory, places: list[int], what: Any) -> None:
    """Whatever stands wherever in a job: it is a job, or it is refused with faults that have places."""
    folder = tmp_path_factory.mktemp("graft")
    raw = load(folder, WHOLE).raw
    try:
        found: tuple[Fault, ...] = ()
        calls = load(folder, json.dumps(graft(raw, places, what))).calls
    except JobError as error:
        calls, found = (), error.faults
    assert calls or found
    assert all(fault.line >= 1 and fault.column >= 1 and fault.message for fault in found)


def test_later_faults_have_places_too(tmp_path: Path) -> None:
    """A binder's complaint about an expression is shown inside that expression's text."""
    job = load(tmp_path, WHOLE)
    paths = expression_paths(job)
    assert paths == {
        "status IS DISTINCT FROM 'test'": "where",
        "total > 0": "calls[0].when",
        "discount / nullif(total, 0)": "calls[0].properties.discount_rate",
    }
    fault = fault_at(Path(job.path), "calls[0].properties.discount_rate", "no column total", "look", offset=18)
    assert (fault.line, fault.column, fault.hint) == (25, 47, "look")
    assert WHOLE.split("\n")[24][46:].startswith("total")
