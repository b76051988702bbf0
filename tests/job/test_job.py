"""Job files: short forms written out, nothing guessed."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backfill.job import fingerprint, load_job
from backfill.job.expand import split_name
from backfill.job.file import CallForm, JobForm, SourceForm
from backfill.job.leaves import member_name
from backfill.job.models import (
    ColumnValue,
    ConstantValue,
    CsvSpec,
    ListValue,
    ObjectValue,
    SqlValue,
    Star,
    TimestampSpec,
)
from tests.support.job_texts import WHOLE, job_text, load

# -- what is read ----------------------------------------------------------------------------------------------------


def test_the_whole_format(tmp_path: Path) -> None:
    """Every short form of the format is written out, and defaults reach the calls whose type has them."""
    job = load(tmp_path, WHOLE)
    track, identify = job.calls
    assert (job.name, job.generation, job.where) == ("orders-2019-2024", 2, "status IS DISTINCT FROM 'test'")
    assert job.path == str(tmp_path / "job.yaml")
    assert job.source.path == ("../sample_data/orders*.csv.gz",)
    assert job.source.columns["total"].type == "number"
    assert job.source.columns["ordered_at"].format == "%Y-%m-%d %H:%M:%S"
    assert track.message_key == (ColumnValue(column="order_id"),)
    assert track.userId == identify.userId == ColumnValue(column="customer_id")
    assert track.timestamp == identify.timestamp == TimestampSpec(column="ordered_at")
    assert track.event == ConstantValue(value="Order Completed")
    assert track.integrations == {"All": False, "Actions Amplitude": True}
    assert track.properties is not None
    assert track.properties.star == Star(exclude=("internal_note",))
    assert identify.properties is None
    assert identify.traits is not None
    assert identify.traits.column == ColumnValue(column="payload")
    assert [path for path, _ in identify.traits.members] == [("plan",)]
    assert (track.scope, identify.scope) == ("order", "identify")


def test_members_keep_their_order_and_forms(tmp_path: Path) -> None:
    """Members come in file order, their names split at dots, each value in its long form."""
    job = load(tmp_path, WHOLE)
    assert job.calls[0].properties is not None
    members = dict(job.calls[0].properties.members)
    assert list(members)[5:7] == [("shipping", "city"), ("with.dot",)]
    assert members["discount_rate",] == SqlValue(sql="discount / nullif(total, 0)")
    assert members["coupon",] == ColumnValue(column="coupon", nulls="keep")
    assert members["zip",] == ColumnValue(column="zip", as_="text")
    assert members["age",] == ColumnValue(column="age", on_bad="omit")
    assert members["tags",] == ListValue(list=(ColumnValue(column="first"), ConstantValue(value=2)))
    nested = members["nested",]
    assert isinstance(nested, ObjectValue)
    assert nested.object.star == Star()


@pytest.mark.parametrize(
    ("written", "key"),
    [
        ("content", "content"),
        ("row", "row"),
        ("order_id", (ColumnValue(column="order_id"),)),
        ("[content]", (ColumnValue(column="content"),)),
        (
            "[a, {sql: lower(b)}, {value: x}]",
            (ColumnValue(column="a"), SqlValue(sql="lower(b)"), ConstantValue(value="x")),
        ),
        ("{sql: lower(b)}", (SqlValue(sql="lower(b)"),)),
    ],
)
def test_message_keys(tmp_path: Path, written: str, key: object) -> None:
    """A word is a word, a list is a list: `[content]` is a column of that name."""
    assert load(tmp_path, job_text(f"message_key: {written}")).calls[0].message_key == key


def test_defaults_are_merged_member_by_member(tmp_path: Path) -> None:
    """A call's own fields win; objects and integrations are merged; what the type lacks is left out."""
    job = load(
        tmp_path,
        """\
        version: 1
        name: test
        source: {path: [a.csv, b.csv]}
        defaults:
          timestamp: {column: at, format: iso8601}
          message_key: id
          userId: u
          event: {value: Default}
          context: {app.name: {value: x}, device: {value: d}, locale: l}
          integrations: {All: false, Slack: true}
        calls:
          - type: track
            context: {device.type: t, app: {value: {name: y}}}
            integrations: {Slack: false}
          - {type: page, message_id: mid, userId: other, event: {value: x}}
        """.replace(", event: {value: x}}", "}"),
    )
    track, page = job.calls
    assert track.context is not None
    assert [path for path, _ in track.context.members] == [("locale",), ("device", "type"), ("app",)]
    assert track.integrations == {"All": False, "Slack": False}
    assert page.event is None
    assert page.userId == ColumnValue(column="other")
    assert (page.message_key, page.message_id) == (None, ColumnValue(column="mid"))
    assert job.source.path == ("a.csv", "b.csv")


@pytest.mark.parametrize("written", ["{}", "true"])
def test_star_forms(tmp_path: Path, written: str) -> None:
    """`"*"` may stand alone."""
    job = load(tmp_path, job_text(f'properties: {{"*": {written}}}'))
    assert job.calls[0].properties is not None
    assert job.calls[0].properties.star == Star()


@pytest.mark.parametrize("kind", ["identify", "track", "page", "screen", "group", "alias"])
def test_every_type_needs_little(tmp_path: Path, kind: str) -> None:
    """The least that a call of each type has is enough."""
    assert load(tmp_path, job_text(kind=kind)).calls[0].type == kind


@given(
    st.lists(st.text(min_size=1).filter(lambda part: part not in ("*", "column")), min_size=1, max_size=4).map(tuple)
)
def test_names_of_members_can_be_written_back(parts: tuple[str, ...]) -> None:
    r"""Any path can be written as a key: `\.` keeps a dot, a backslash elsewhere is itself or doubled."""
    written = ".".join(part.replace("\\", "\\\\").replace(".", "\\.") for part in parts)
    assert split_name(written) == parts


@pytest.mark.parametrize(
    ("written", "path"),
    [
        ("a.b", ("a", "b")),
        (r"a\.b", ("a.b",)),
        (r"a\b", ("a\\b",)),
        (r"a\\.b", ("a\\", "b")),
        (r"\*", ("*",)),
        (r"\column", ("column",)),
    ],
)
def test_escapes_in_names(written: str, path: tuple[str, ...]) -> None:
    """The escapes, one by one; the simple ones are also how a fault's path shows them."""
    assert split_name(written) == path
    if "\\\\" not in written:
        assert member_name(path) == written


def test_the_fingerprint_is_of_the_data(tmp_path: Path) -> None:
    """Comments, order of keys and layout are no difference; any value is."""
    job = load(tmp_path, job_text("label: x"))
    same = load(
        tmp_path, "# a comment\n" + job_text("label: 'x'").replace("version: 1\nname: test", "name: test\nversion: 1")
    )
    other = load(tmp_path, job_text("label: y"))
    assert fingerprint(job) == fingerprint(same)
    assert fingerprint(job) != fingerprint(other)
    assert len(fingerprint(job)) == 64


@pytest.mark.parametrize("name", sorted(path.name for path in (Path(__file__).parents[2] / "jobs").glob("*.yaml")))
def test_shipped_jobs_load(repository: Path, name: str) -> None:
    """Every job in jobs/ is sound."""
    assert load_job(repository / "jobs" / name).calls


def test_examples_of_the_reference_load(tmp_path: Path, repository: Path) -> None:
    """The example on top of docs/job-file.md is a sound job, and every field of the format is in the reference."""
    text = (repository / "docs" / "job-file.md").read_text(encoding="utf-8")
    assert load(tmp_path, text.split("```yaml\n")[1].split("```")[0]).name == "orders-2019-2024"
    names = [name for form in (JobForm, SourceForm, CsvSpec, CallForm) for name in form.field_names()]
    assert [name for name in names if f"`{name}`" not in text] == []
