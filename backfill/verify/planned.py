"""A call held against the job's tracking plan a second time: whole, by the validator, no part of it by columns."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from backfill.job.models import Call, Job
from backfill.job.tracked import NAME_FIELDS, event_version
from backfill.records import Severity
from backfill.rules import severity
from backfill.tracking.describe import CODES, code_of
from backfill.tracking.model import planned_properties
from backfill.tracking.schemas import compile_schema, violations


class PlannedCalls:
    """The calls of one kind, judged by their JSON; `rejects` says whether any of that could reject one."""

    def __init__(self, job: Job, call: Call) -> None:
        rules: dict[str, str] = dict(job.rules)
        self._plan, self._call = job.tracking, call
        self._codes = {code for code in CODES if severity(code, rules) is Severity.ERROR}
        self._validators: dict[int, Any] = {}
        self.rejects = job.tracking is not None and bool(self._codes)

    def errors(self, text: str) -> set[str]:
        """The codes by which the plan rejects the call of that JSON."""
        plan, kind = self._plan, self._call.type
        if plan is None:
            return set()
        value = json.loads(text)
        name = value.get(NAME_FIELDS.get(kind, ""), "")
        schema = plan.schema(kind, name, event_version(self._call))
        found = set().union(*(self._broken(each, value) for each in plan.common))
        if schema is None:
            found |= {"BF140"} if kind == "track" else set()
        else:
            found |= self._broken(schema, value)
            for field in ("properties", "traits"):
                listed = planned_properties(schema, field)
                found |= {"BF141"} if listed and value.get(field, {}).keys() - listed.keys() else set()
        return found & self._codes

    def _broken(self, schema: Mapping[str, Any], value: Any) -> set[str]:  # noqa: ANN401 (any JSON)
        validator = self._validators.get(id(schema))
        if validator is None:
            validator = self._validators[id(schema)] = compile_schema(schema)
        found = violations(validator, schema, value)
        return {code_of(one.keyword) for one in found if not one.is_added_later}
