"""The job file's JSON Schema: of the forms themselves, current in docs/, and right about what a job looks like."""

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from backfill.job import job_schema, positions

VALIDATOR = jsonschema.Draft202012Validator(job_schema())


def accepts(data: Any) -> bool:
    """Whether the schema takes the data."""
    return bool(VALIDATOR.is_valid(data))


@pytest.fixture
def job() -> dict[str, Any]:
    """The least job."""
    call = {"type": "track", "userId": "u", "timestamp": "t", "message_key": "k", "event": {"value": "e"}}
    return {"version": 1, "name": "x", "source": {"path": "a.csv"}, "calls": [call]}


def test_it_is_a_schema() -> None:
    """The schema is itself valid by its dialect."""
    jsonschema.Draft202012Validator.check_schema(job_schema())


@pytest.mark.parametrize("name", sorted(path.name for path in (Path(__file__).parents[2] / "jobs").glob("*.yaml")))
def test_shipped_jobs_are_valid(repository: Path, name: str) -> None:
    """Every job in jobs/ is valid, as editors will check it."""
    jsonschema.validate(positions(repository / "jobs" / name).data, job_schema(), jsonschema.Draft202012Validator)


def test_the_copy_in_docs_is_current(repository: Path) -> None:
    """docs/job.schema.json is what `backfill schema` prints."""
    assert json.loads((repository / "docs" / "job.schema.json").read_text(encoding="utf-8")) == job_schema()


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("message_key", ["a", {"sql": "b"}]),
        ("message_key", {"column": "a"}),
        ("timestamp", {"column": "t", "format": "epoch_ms"}),
        ("properties", "payload"),
        ("properties", {"column": "p", "*": True, "a.b": {"list": ["a", {"object": {"c": {"value": None}}}]}}),
        ("properties", {"*": {"exclude": ["a"]}}),
        ("integrations", {"All": False, "Slack": {"channel": "x"}}),
        ("userId", {"column": "u", "as": "text"}),
    ],
)
def test_short_and_long_forms_are_valid(job: dict[str, Any], field: str, value: Any) -> None:
    """What the loader takes, the schema takes."""
    job["calls"][0][field] = value
    assert accepts(job)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("message_key", 5),
        ("timestamp", None),
        ("timestamp", {"colunm": "t"}),
        ("properties", {"a": 5}),
        ("properties", {"a": {"column": "b", "nulls": "never"}}),
        ("integrations", {"All": "no"}),
        ("userID", "u"),
        ("type", "trak"),
    ],
)
def test_mistakes_are_seen_by_editors(job: dict[str, Any], field: str, value: Any) -> None:
    """What the loader refuses because of its shape, the schema refuses."""
    job["calls"][0][field] = value
    assert not accepts(job)


def test_every_field_is_described() -> None:
    """An editor has something to say about each field."""
    schema = job_schema()
    for form in (schema, *schema["$defs"].values()):
        for name, field in form.get("properties", {}).items():
            assert field.get("description"), name
