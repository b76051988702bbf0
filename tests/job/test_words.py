"""What is said of a slip in a job file: the words that must be there, and those that must not."""

from __future__ import annotations

from pathlib import Path

import pytest

from backfill.job.leaves import expression_columns
from backfill.job.models import ColumnValue, ConstantValue, ObjectSpec, ObjectValue, SqlValue
from tests.support.job_texts import faults, job_text, load
from tests.support.projects import backfill

#: Call, source or top of a job -> words of its only fault, words it must not have.
CALLS = [
    ("properties: {address: {street: street}}", ["address.street", "{object: {street: ...}}"], ["number"]),
    ("properties: {a.b: {c: {d: x}}}", ["a.b.c", "{object:"], []),
    ("properties: {a: 5}", ["the number 5 is not a value", "{value: ...}"], ["dotted names"]),
    ("properties: {a: true}", ["{value: ...}"], []),
    ("properties: {a: {colum: x}}", ['did you mean "column"'], []),
    ('properties: "*"', ['"*": {}', '{column: "*"}'], []),
    ('properties: {a: "*"}', ['"*": {}', '{column: "*"}'], []),
    ('properties: {column: "*"}', ['"*": {}'], []),
    ('message_key: ["*"]', ['{column: "*"}'], []),
    ('properties: {"*": no}', ["write false"], []),
    ('properties: {"*": {exclud: [a]}}', ['did you mean "exclude"'], []),
    ("properties: {sql: total > 0}", ["called sql", "{its_name: {sql: ...}}"], []),
    ("properties: {column: {colum: x}}", ['did you mean "column"'], []),
    ("properties: {column: {column: x, exclude: [a..b]}}", ["empty part"], []),
    ("properties: {column: {column: x, exclude: [a]}, a.b: c}", ["excluded, and given"], []),
    ("properties: {column: 5}", ["{column: ..., exclude: [...]}"], []),
    ("integrations: {All: no}", ["write false", "YAML 1.2"], ["literal"]),
    ("integrations: {All: Yes}", ["write true", "YAML 1.2"], []),
    ("integrations: {All: 5}", ["true, false or", "{column: ...}"], []),
    ("integrations: {Amplitude: {column: session_id}}", ["{its_option: {column: ...}}"], []),
    ("integrations: {'*': true}", ["integrations are those of a column", "write {column: ...}"], []),
    ("message_id: 5", ["a column that holds message ids", "`message_key`"], []),
    ("message_id: {sq: x}", ['did you mean "sql"'], []),
    ("timestamp: {sql: x, format: '%Y-%m-%d'}", ["strptime(...)"], []),
    ("timestamp: {sql: x, format: iso8601}", ["CAST(... AS TIMESTAMP)"], []),
    ("timestamp: {column: a, timezone: PST}", ["America/Los_Angeles"], ["MST", "did you mean"]),
    ("timestamp: {column: a, fromat: x}", ['did you mean "format"'], []),
    ("timestmp: x", ['did you mean "timestamp"'], []),
    ("userID: x", ['did you mean "userId"'], []),
    ("messageId: x", ["message_key", "message_id"], []),
    ("event: {colum: x}", ['did you mean "column"'], []),
    ("message_key: [{colum: x}]", ['did you mean "column"'], []),
    ("properties: {a: {column: x, nul: keep}}", ['did you mean "nulls"'], []),
    ("properties: {a: {list: [{valu: 1}]}}", ['did you mean "value"'], []),
    ("properties: {a: {object: {b: {colum: x}}}}", ['did you mean "column"'], []),
]
SOURCES = [
    ("path: a, columns: {t: datetime}", ['did you mean "timestamp"'], ['"date"']),
    ("path: a, columns: {t: {type: datetime}}", ['did you mean "timestamp"'], ['"date"']),
    ("path: a, columns: {t: float}", ['did you mean "number"'], []),
    ("path: a, columns: {t: Double}", ['did you mean "number"'], []),
    ("path: a, columns: {t: int}", ['did you mean "integer"'], []),
    ("path: a, columns: {t: string}", ['did you mean "text"'], []),
    ("path: a, columns: {t: bool}", ['did you mean "boolean"'], []),
    ("path: a, columns: {t: numeric}", ['did you mean "decimal"'], []),
    ("path: a, columns: {t: struct}", ['did you mean "json"'], []),
    ("path: a, columns: {t: {typ: date}}", ['did you mean "type"'], []),
    ("path: a, columns: [t]", ["a mapping is wanted"], []),
    ("path: a, format: jsonl", ["write ndjson"], []),
    ("path: a, format: csv.gz", ["write csv"], []),
    ("path: a, format: xlsx", ["write excel"], []),
    ("path: a, format: sqlite", ["`database: sqlite:///"], []),
    ("path: a, format: thing", ["csv, tsv, parquet, ndjson, json, mongoexport, bson, dynamodb"], []),
    ("path: a, timezone: PST", ["America/Los_Angeles"], ["MST", "did you mean"]),
    ("path: a, timezone: pdt", ["America/Los_Angeles"], []),
    ("path: a, timezone: Pacific Standard Time", ["America/Los_Angeles"], []),
    ("path: a, timezone: CEST", ["Europe/Berlin"], []),
    ("path: a, timezone: EST", ["no daylight saving", "America/New_York", "Etc/GMT+5"], []),
    ("path: a, timezone: MST", ["no daylight saving", "America/Denver", "Etc/GMT+7"], []),
    ("path: a, timezone: America/New_Yrok", ['did you mean "America/New_York"'], []),
    ("path: a, timezone: '+02:00'", ["Etc/GMT-2"], []),
    ("path: a, csv: {header: no}", ["write false", "YAML 1.2"], []),
    ("path: a, csv: {delimeter: x}", ['did you mean "delimiter"'], []),
    ("pth: a", ['did you mean "path"'], []),
    ("path: a, colums: {a: text}", ['did you mean "columns"'], []),
]
TOPS = [
    ("ordered: yes", ["write true", "YAML 1.2"], []),
    ("rule: {BF105: warn}", ['did you mean "rules"'], []),
    ("rules: {BF105: warning}", ['did you mean "warn"'], []),
    ("generaton: 2", ['did you mean "generation"'], []),
    ("placeholder: {add: [x]}", ['did you mean "placeholders"'], []),
    ("defaults: {timestmp: x}", ['did you mean "timestamp"'], []),
]


def said(folder: Path, text: str) -> str:
    """What is said of the only fault."""
    (fault,) = faults(folder, text)
    return f"{fault.message} | {fault.hint}"


@pytest.mark.parametrize(("call", "words", "others"), CALLS, ids=[case[0] for case in CALLS])
def test_words_about_a_call(tmp_path: Path, call: str, words: list[str], others: list[str]) -> None:
    """A slip in a call is answered with the way on, in the file's own names."""
    found = said(tmp_path, job_text(call).replace(", timestamp: at", "" if "timestmp" in call else ", timestamp: at"))
    assert [word for word in words if word not in found] == [], found
    assert [word for word in others if word in found] == [], found


@pytest.mark.parametrize(("source", "words", "others"), SOURCES, ids=[case[0] for case in SOURCES])
def test_words_about_a_source(tmp_path: Path, source: str, words: list[str], others: list[str]) -> None:
    """A slip in a source is answered with the way on."""
    found = said(tmp_path, job_text(source=source))
    assert [word for word in words if word not in found] == [], found
    assert [word for word in others if word in found] == [], found


@pytest.mark.parametrize(("top", "words", "others"), TOPS, ids=[case[0] for case in TOPS])
def test_words_about_a_job(tmp_path: Path, top: str, words: list[str], others: list[str]) -> None:
    """A slip in the job's own fields is answered with the way on."""
    found = said(tmp_path, job_text(top=top))
    assert [word for word in words if word not in found] == [], found
    assert [word for word in others if word in found] == [], found


def test_a_date_for_those_without_one_is_explained(tmp_path: Path) -> None:
    """Where `timestamp` is asked for, the constant is named that users without a date take."""
    text = "version: 1\nname: x\nsource: {path: a}\ncalls:\n  - {type: identify, userId: u, message_key: [u]}\n"
    assert 'timestamp: {value: "2024-01-31T00:00:00Z"}' in said(tmp_path, text)
    stated = text.replace("message_key", 'timestamp: {value: "2024-01-31T00:00:00Z"}, message_key')
    assert load(tmp_path, stated).calls[0].timestamp.value == "2024-01-31T00:00:00Z"


def test_zones_that_are_good(tmp_path: Path) -> None:
    """Zones of the database are taken, also short ones that have a summer or never had one."""
    for zone in ("America/Los_Angeles", "UTC", "GMT", "CET", "EST5EDT", "Etc/GMT+5", "HST"):
        assert load(tmp_path, job_text(source=f"path: a, timezone: {zone}")).source.timezone == zone


@pytest.mark.parametrize("zone", ["Factory", "localtime", "posixrules", "posix/UTC", "right/UTC", "local"])
def test_names_that_are_no_zones(tmp_path: Path, zone: str) -> None:
    """Files beside the database's are a machine's own setting; none of them is named as what may be meant."""
    found = said(tmp_path, job_text(source=f"path: a, timezone: {zone}"))
    assert f'there is no time zone "{zone}"' in found
    assert "localtime" not in found.replace(f'"{zone}"', "")


def test_expressions_in_keys_and_ids(tmp_path: Path) -> None:
    """`message_key` and `message_id` may hold SQL; a column called like a form is written at length."""
    job = load(tmp_path, job_text("message_key: [shop, {sql: lower(id)}], properties: {sql: {column: sql}}"))
    assert job.calls[0].message_key == (ColumnValue(column="shop"), SqlValue(sql="lower(id)"))
    assert job.calls[0].properties == ObjectSpec(members=((("sql",), ColumnValue(column="sql")),))
    job = load(tmp_path, job_text("message_id: {sql: \"props->>'$insert_id'\"}"))
    assert job.calls[0].message_id == SqlValue(sql="props->>'$insert_id'")
    assert [*expression_columns(job)] == ["props->>'$insert_id'"]


def test_a_column_called_star(tmp_path: Path) -> None:
    """A column called `*` can be named wherever columns are."""
    call = "userId: {column: '*'}, message_key: [{column: '*'}], properties: {a: {column: '*'}, '*': {exclude: ['*']}}"
    job = load(tmp_path, job_text(call, source="path: a, columns: {'*': number}"))
    assert job.calls[0].userId == ColumnValue(column="*")
    assert job.calls[0].properties
    assert job.calls[0].properties.star
    assert job.calls[0].properties.star.exclude == ("*",)


def test_members_of_a_whole_object_are_excluded(tmp_path: Path) -> None:
    """`exclude` beside a column of whole objects takes members out, at any depth."""
    call = "properties: {column: {column: p, exclude: [a, b.c, 'd\\.e'], on_bad: omit}, x: y}"
    spec = load(tmp_path, job_text(call)).calls[0].properties
    assert spec
    assert spec.column == ColumnValue(column="p", on_bad="omit")
    gone = ConstantValue(value=None)
    members = (((("a",)), gone), (("b", "c"), gone), (("d.e",), gone), (("x",), ColumnValue(column="y")))
    assert spec.members == members


def test_options_from_the_row(tmp_path: Path) -> None:
    """A destination's options may be taken from the row, at any depth; all else is literal as it always was."""
    options = "{Amplitude: {session_id: {column: s}, groups: [{sql: 1}, x], a: {b: {column: c}}, d: {e: 1}}}"
    call = load(tmp_path, job_text(f"integrations: {options}", top="defaults: {integrations: {All: false}}")).calls[0]
    assert call.integrations
    assert call.integrations["All"] is False
    inner = ObjectValue(object=ObjectSpec(members=((("b",), ColumnValue(column="c")),)))
    assert isinstance(call.integrations["Amplitude"], ObjectValue)
    assert call.integrations["Amplitude"].object.members == (
        (("session_id",), ColumnValue(column="s")),
        (("groups",), ConstantValue(value=[{"sql": 1}, "x"])),
        (("a",), inner),
        (("d",), ConstantValue(value={"e": 1})),
    )


INTEGRATIONS = """\
version: 1
name: options
source: {{path: data.csv}}
calls:
  - type: track
    message_key: [id]
    userId: id
    timestamp: {{value: "2024-01-01T00:00:00Z"}}
    event: {{value: Seen}}
    integrations: {options}
"""


def test_options_from_the_row_are_sent(tmp_path: Path) -> None:
    """What is taken from the row is sent so; a column that is not there is a fault, a literal of its name is told."""
    (tmp_path / "data.csv").write_text("id,session_id\nu1,17\nu2,\n", "utf-8")
    job = tmp_path / "job.yaml"
    job.write_text(INTEGRATIONS.format(options="{All: false, Amplitude: {session_id: {column: session_id}}}"), "utf-8")
    shown = backfill("preview", job)
    bare = "".join(shown.out.split())
    assert '"integrations":{"All":false,"Amplitude":{"session_id":"17"}}' in bare
    assert '"integrations":{"All":false,"Amplitude":{}}' in bare
    assert "warning" not in shown.err.lower()
    job.write_text(INTEGRATIONS.format(options="{Amplitude: {session_id: {column: sesion_id}}}"), "utf-8")
    refused = backfill("check", job)
    assert refused.code == 2
    assert "calls[0].integrations.Amplitude.session_id" in refused.err
    assert 'did you mean "session_id"?' in refused.err


OWN = [
    ('{"*": {column: own}}', ['{"All":true,"Mixpanel":{"a":1.10}}', '{"All":false}', None]),
    ('{All: false, "*": {column: own}}', ['{"Mixpanel":{"a":1.10},"All":false}', '{"All":false}', '{"All":false}']),
    (
        '{"*": {column: own}, Mixpanel: false}',
        ['{"All":true,"Mixpanel":false}', '{"All":false,"Mixpanel":false}', '{"Mixpanel":false}'],
    ),
]


@pytest.mark.parametrize(("options", "sent"), OWN)
def test_the_own_integrations_of_rows(tmp_path: Path, options: str, sent: list[str | None]) -> None:
    """They are sent as they stand, but for those stated beside; a row without them is a problem where none are."""
    own = ['{"All": true, "Mixpanel": {"a": 1.10}}', '{"All": false}', "null"]
    lines = [f'{{"id": "u{place}", "own": {one}}}' for place, one in enumerate(own)]
    (tmp_path / "data.ndjson").write_text("\n".join(lines) + "\n", "utf-8")
    job = tmp_path / "job.yaml"
    text = INTEGRATIONS.replace("data.csv", "data.ndjson, columns: {{own: json}}")
    job.write_text(text.format(options=options), "utf-8")
    shown = backfill("preview", job)
    bare = "".join(shown.out.split())
    found = [bare.partition(f'"userId":"u{place}"')[2].partition('"integrations":')[2] for place in range(3)]
    for one, expected in zip(found, sent, strict=True):
        assert expected is None or one.startswith(expected), shown.out
    assert ("the row has no integrations" in shown.out + shown.err) == (None in sent)


@pytest.mark.parametrize("verb", ["check", "preview", "dry-run"])
def test_slips_are_told_by_every_verb(tmp_path: Path, verb: str) -> None:
    """A literal option of a column's name, and integrations that are not stated, are told before anything is sent."""
    (tmp_path / "data.csv").write_text("id,session_id\nu1,17\n", "utf-8")
    job = tmp_path / "job.yaml"
    job.write_text(INTEGRATIONS.format(options="{Amplitude: {session_id: session_id}}"), "utf-8")
    told = backfill(verb, job)
    assert told.code == 0
    assert 'sends the text "session_id" with every call' in told.err
    assert "{column: session_id}" in told.err
    job.write_text(INTEGRATIONS.format(options="{}").replace("    integrations: {}\n", ""), "utf-8")
    told = backfill(verb, job)
    assert told.code == 0
    assert "`integrations` is not stated: a live run refuses that" in told.err
