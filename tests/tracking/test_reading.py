"""Tracking plans as teams keep them: each form is read into the same rules, each fault told by file and pointer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from backfill.tracking import TrackingPlan
from backfill.tracking.reading import read_tracking_plan
from backfill.tracking.schemas import judging_part, odd_keywords

PROPERTIES = {
    "type": "object",
    "properties": {"total": {"type": "number", "minimum": 0}, "regex property": {"type": "string"}},
    "required": ["total"],
}
WHOLE = {
    "$schema": "http://json-schema.org/draft-07/schema#",
    "type": "object",
    "properties": {"context": {}, "traits": {}, "properties": PROPERTIES},
}
TRAITS = {"type": "object", "properties": {"traits": {"type": "object", "required": ["email"]}}}
COMMON = {"type": "object", "properties": {"context": {"required": ["ip"]}}}
#: What Segment's Public API answers.
PUBLIC: dict[str, Any] = {
    "data": {
        "rules": [
            {"type": "TRACK", "key": "Order Completed", "version": 1, "jsonSchema": WHOLE},
            {"type": "IDENTIFY", "key": None, "version": 1, "jsonSchema": TRAITS},
            {"type": "COMMON", "key": None, "version": 1, "jsonSchema": COMMON},
        ],
        "pagination": {"current": "MA==", "totalEntries": 3},
    }
}
RULES: list[Any] = PUBLIC["data"]["rules"]
#: What Typewriter keeps in plan.json.
TYPEWRITER = {
    "id": "tp_1",
    "name": "Shop",
    "rules": [
        {
            "type": "TRACK", "key": "Order Completed", "version": 1,
            "jsonSchema": {**PROPERTIES, "$schema": WHOLE["$schema"], "labels": {},
                           "eventMetadata": {"name": "Order Completed", "type": "TRACK"}},
        }
    ],
}  # fmt: skip
#: What the Config API had.
CONFIG: dict[str, Any] = {
    "name": "workspaces/x/tracking-plans/rs_1",
    "display_name": "Shop",
    "rules": {
        "global": COMMON,
        "identify": TRAITS,
        "group": {},
        "identify_traits": [],
        "events": [{"name": "Order Completed", "version": 1, "description": "", "rules": WHOLE}],
    },
}
LEGACY = {"name": "Shop", "events": CONFIG["rules"]["events"]}  # type: ignore[index]


def read(folder: Path, document: Any, name: str = "plan.json") -> tuple[TrackingPlan, list[tuple[str, str, str]]]:
    """The plan, and what is complained of."""
    text = document if isinstance(document, str) else json.dumps(document)
    (folder / name).write_text(text, "utf-8")
    return read_at(folder, name)


def read_at(folder: Path, name: str) -> tuple[TrackingPlan, list[tuple[str, str, str]]]:
    """The plan at that path, and what is complained of."""
    faults: list[tuple[str, str, str]] = []
    return read_tracking_plan(name, folder, lambda *fault: faults.append(fault)), faults


@pytest.mark.parametrize("document", [PUBLIC, TYPEWRITER, CONFIG, LEGACY, {"trackingPlan": TYPEWRITER}])
def test_forms(tmp_path: Path, document: Any) -> None:
    """Every form gives the same schema of an event's call; the common and the identify one where the form has them."""
    plan, faults = read(tmp_path, document)
    assert faults == []
    schema = plan.schema("track", "Order Completed")
    assert schema is not None
    inner = {name: value for name, value in schema["properties"]["properties"].items() if name != "labels"}
    assert inner == PROPERTIES
    assert plan.schema("track", "order completed") is None
    full = document is PUBLIC or document is CONFIG
    assert plan.common == ((COMMON,) if full else ())
    assert plan.schema("identify", "") == (TRAITS if full else None)


def test_folder_of_schemas(tmp_path: Path) -> None:
    """A file an event, named by it, of the whole call or its properties; identify.json and common.json are theirs."""
    folder = tmp_path / "events"
    folder.mkdir()
    for name, schema in {"Order Completed": WHOLE, "Seen": PROPERTIES, "identify": TRAITS, "common": COMMON}.items():
        (folder / f"{name}.json").write_text(json.dumps(schema), "utf-8")
    (folder / "rule.json").write_text(json.dumps(RULES[0] | {"key": "By Rule"}), "utf-8")
    plan, faults = read_at(tmp_path, "events")
    assert faults == []
    assert set(plan.names("track")) == {"Order Completed", "Seen", "By Rule"}
    for name in plan.names("track"):
        assert plan.schema("track", name)["properties"]["properties"] == PROPERTIES  # type: ignore[index]
    assert plan.common == (COMMON,)


def test_versions(tmp_path: Path) -> None:
    """The oldest version holds, unless the call states one that there is."""
    rules = [
        {"type": "TRACK", "key": "Seen", "version": version, "jsonSchema": {"minProperties": version}}
        for version in (10, 2)
    ]
    plan, faults = read(tmp_path, {"rules": rules})
    assert faults == []
    assert [plan.schema("track", "Seen", version)["minProperties"] for version in (None, 10, 2, 7)] == [2, 10, 2, 2]  # type: ignore[index]


def rule(schema: Any, **fields: Any) -> dict[str, Any]:
    """A plan of one rule."""
    return {"rules": [{"type": "TRACK", "key": "a", "jsonSchema": schema, **fields}]}


LATER = {"$schema": "https://json-schema.org/draft/2020-12/schema"}
MISTYPED = {"properties": {"properties": {"type": "strin"}}}
FAULTS = [
    (rule({}, type="TRAK"), "#/rules/0/type", "'TRAK' is no type", '"track"'),
    (rule({}, key=None), "#/rules/0/key", "is not the name", "needs it"),
    ({"rules": [{"type": "TRACK", "key": "a", "jsonschema": {}}]}, "#/rules/0", "no `jsonSchema`", '"jsonschema"'),
    (rule({}, version=1.5), "#/rules/0", "version 1.5", "whole"),
    ({"rules": RULES, "pagination": {"next": "MQ=="}}, "#/pagination/next", "only a part", "pages"),
    ({"rules": [RULES[0]] * 2}, "#/rules/1/jsonSchema", "'Order Completed': there is", "keep one"),
    ({"rule": []}, "#", "has no `rules`", '"rule"'),
    ([], "#", "is no tracking plan", "folder"),
    (None, "#", "is no tracking plan", "folder"),
    ({"rules": None}, "#", "is no tracking plan", "folder"),
    ({"rules": {"events": {"name": "a", "rules": {}}}}, "#/rules/events", "is no list of events", "name"),
    ("name: rudder", "plan.json", "is no JSON", "rules as JSON"),
    ('{"rules": [], "\\u0072ules": []}', "#/rules", 'the key "rules" is given more than once', "keep one"),
    (
        '{"rules": [{"type": "TRACK", "key": "a", "jsonSchema": {"properties": {"a/~b": {"type": 1}, "a/~b": {}}}}]}',
        "#/rules/0/jsonSchema/properties/a~1~0b",
        'the key "a/~b" is given more than once',
        "keep one",
    ),
    ("[" * 1_010 + "]" * 1_010, "plan.json", "is nested too deeply", "a few levels"),
    (rule(MISTYPED), "#/rules/0/jsonSchema", 'at /properties/properties/type: "strin" is no type', '"string"'),
    (rule({"allOf": [{"$ref": "http://127.0.0.1:9/x"}]}), "#/rules/0/jsonSchema", "nothing is fetched", ""),
    (rule({"$ref": "file:///etc/passwd"}), "#/rules/0/jsonSchema", "nothing is fetched", ""),
    ({"events": [{"name": "a", "rules": LATER}]}, "#/events/0/rules", "not what Segment takes", "draft-07"),
]


@pytest.mark.parametrize(("document", "place", "message", "hint"), FAULTS)
def test_faults(tmp_path: Path, document: Any, place: str, message: str, hint: str) -> None:
    """Each fault says where it stands and what to do."""
    _, faults = read(tmp_path, document)
    (found,) = faults
    assert found[0] == (f"plan.json{place}" if place.startswith("#") else place)
    assert message in found[1]
    assert hint in found[2]


def test_files_that_are_none(tmp_path: Path) -> None:
    """A table is refused by name, a missing file answered with the one that is near, an empty folder told."""
    (tmp_path / "empty").mkdir()
    (tmp_path / "plan.json").write_text("{}")
    (tmp_path / "plan.csv").write_text("Event Name,Property Name\n")
    told = {name: read_at(tmp_path, name)[1] for name in ("plan.csv", "plam.json", "empty", "")}
    assert told[""][0][1] == "is empty"
    assert told["plan.csv"][0][1].startswith("is a table")
    assert "GET /tracking-plans/{id}/rules" in told["plan.csv"][0][2]
    assert told["plam.json"] == [("plam.json", "does not exist", 'did you mean "plan.json"?')]
    assert told["empty"][0][1] == "has no file *.json"


def test_words_that_are_no_keywords() -> None:
    """What looks like a keyword and is none is told, names of properties and what Segment writes beside are not."""
    schema = {
        "requird": ["a"], "labels": {"minimun": 1}, "eventMetadata": {}, "id": "/x",
        "properties": {"requird": {"mininum": 1, "enum": [{"typ": 1}]}}, "allOf": [{"paterns": 1}],
    }  # fmt: skip
    assert dict(odd_keywords(schema)) == {
        "/requird": "required",
        "/properties/requird/mininum": "minimum",
        "/allOf/0/paterns": "pattern",
    }


def test_what_is_kept_of_a_schema() -> None:
    """What judges; names of properties and values are left as they are, whatever they are called."""
    schema = {
        "$schema": "x", "title": "t", "labels": {}, "type": "object", "definitions": {"title": {"description": "d"}},
        "properties": {"description": {"type": "string", "description": "d", "enum": [{"title": 1}]}},
        "allOf": [{"required": ["title"], "examples": [1]}],
    }  # fmt: skip
    assert judging_part(schema) == {
        "type": "object", "definitions": {"title": {}},
        "properties": {"description": {"type": "string", "enum": [{"title": 1}]}},
        "allOf": [{"required": ["title"]}],
    }  # fmt: skip
