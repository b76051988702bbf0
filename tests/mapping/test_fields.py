"""The table of a call's fields, what a job may write, and what is sent agree; so does a field that is added."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from backfill.frozen import frozen
from backfill.job import fields, file, leaves
from backfill.job.fields import CallField, Role
from backfill.job.models import Call, ConstantValue, ObjectSpec
from tests.support.oracle_cases import call_of, column, job_of, mapped, snapshot_of

TYPES = ("identify", "track", "page", "screen", "group", "alias")
#: What stands in a job about a call and is no member of it by that name.
NOT_SENT = (Role.KEY, Role.MESSAGE_ID)


def stated(role: Role) -> Any:
    """A value for a field of that role."""
    if role is Role.WHOLE:
        return ObjectSpec(members=((("a",), column("text")),))
    return {"All": False} if role is Role.OPTIONS else ConstantValue(value="one")


def sent(call: Call, folder: Path, row: dict[str, Any]) -> dict[str, Any]:
    """The call that is made of a row."""
    ((_, _, found),) = mapped(job_of([call]), snapshot_of([row], folder), 10)
    assert found.json, found
    return dict(json.loads(found.json))


def test_a_job_and_its_file_have_the_fields_of_the_table() -> None:
    """Each line of the table is a field of the job's model and of its file."""
    names = {one.name for one in fields.FIELDS}
    assert names == {one.name for one in dataclasses.fields(Call)} - {"type", "label", "when"}
    assert names == set(file.CallFields.model_fields)


@pytest.mark.parametrize("kind", TYPES)
def test_every_field_of_a_type_is_sent(kind: str, tmp_path: Path) -> None:
    """All that the table gives to a type stands in its call, in the table's order; nothing else does, but its head."""
    own = [one for one in fields.FIELDS if kind in one.types and one.role not in NOT_SENT]
    values = {one.name: stated(one.role) for one in own if one.role is not Role.TIME}
    call = sent(call_of(**{"event": None, "type": kind} | values), tmp_path, {"text": "x"})
    assert list(call) == ["type", "messageId", *(one.name for one in own)]
    for one in own:
        if one.role is Role.WHOLE:
            assert call[one.name]["a"] == "x"


@pytest.mark.parametrize("kind", TYPES)
def test_an_added_object_is_sent(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A whole object that is added to the table goes out with every type, beside properties or traits."""

    @frozen
    class Longer(Call):
        billing: ObjectSpec | None = None

    longer = (*fields.FIELDS, CallField("billing", Role.WHOLE))
    for module in (fields, leaves):
        monkeypatch.setattr(module, "FIELDS", longer)
    needed = {name: ConstantValue(value="one") for name in fields.needed_by(kind)}
    plain = Longer(**vars(call_of(**{"event": None, "type": kind} | needed)))
    assert "billing" not in sent(plain, tmp_path, {"text": "x"})
    call = plain.model_copy(update={"billing": stated(Role.WHOLE)})
    assert sent(call, tmp_path, {"text": "x"}) == sent(plain, tmp_path, {"text": "x"}) | {"billing": {"a": "x"}}
