"""A tracking plan as it was read: JSON Schemas by type of call, event name and version."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from backfill.frozen import frozen

#: Types of calls that rules are of, as Segment's Public API has them in capitals; alias has none.
CALL_TYPES: Final = ("track", "identify", "group", "page", "screen")
#: The rule that holds for every call (Segment's "common JSON schema").
COMMON: Final = "common"

#: Under this name a job's data has the rules of its tracking plan: a change of them names the event and keyword.
JOB_DATA: Final = "tracking plan"

Schema = Mapping[str, Any]


@frozen
class TrackingPlan:
    """Type of call (or COMMON) -> event name ("" where the rule has none) -> version -> schema of the whole call.

    The versions are text, as keys of JSON are, since `rules` is what a job's fingerprint is made of.
    """

    rules: Mapping[str, Mapping[str, Mapping[str, Schema]]]

    @property
    def common(self) -> tuple[Schema, ...]:
        """The schemas that hold for every call."""
        return tuple(self.rules.get(COMMON, {}).get("", {}).values())

    def names(self, kind: str) -> tuple[str, ...]:
        """The names of the events, pages or screens that have a rule, in the order of the file."""
        return tuple(name for name in self.rules.get(kind, {}) if name)

    def schema(self, kind: str, name: str, version: int | None = None) -> Schema | None:
        """The schema of calls of that type and name; None where the plan has none.

        Names are compared exactly, as Segment does. Without a version, or with one that the plan does not have, it is
        the oldest: Segment takes version 1 where `context.protocols.event_version` is not sent
        (https://www.twilio.com/docs/segment/protocols/tracking-plan/create, "Tracking Plan event versioning").
        """
        named = self.rules.get(kind, {})
        versions = named.get(name) or named.get("") or {}
        if version is not None and str(version) in versions:
            return versions[str(version)]
        return versions[min(versions, key=int)] if versions else None

    def schemas(self) -> Iterator[tuple[str, str, Schema]]:
        """Each schema with its type and name."""
        for kind, named in self.rules.items():
            for name, versions in named.items():
                for schema in versions.values():
                    yield kind, name, schema


def lists_all(schema: Schema) -> bool:
    """Whether a schema of an object lists properties, and describes no others by a pattern or a schema for all.

    What is not listed is then unplanned, which Segment tells also where `additionalProperties` is not false.
    """
    if "patternProperties" in schema or schema.get("additionalProperties"):
        return False
    return bool(schema.get("properties")) or schema.get("additionalProperties") is False


def planned_properties(schema: Schema, field: str) -> dict[str, Any]:
    """The properties (or traits: `field`) that a schema of a call lists, where it lists them all; else none."""
    inner = schema.get("properties", {}).get(field, {})
    return dict(inner.get("properties", {})) if isinstance(inner, Mapping) and lists_all(inner) else {}
