"""Two plans compared, for people and programs."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import field
from typing import Any

from backfill.errors import counted
from backfill.frozen import frozen
from backfill.records import PlanFacts
from backfill.report.plan import plan_json
from backfill.report.summary import SCHEMA_VERSION, time_text

KINDS = ("changed", "added", "gone")
#: A value is shown up to so many characters.
VALUE_CHARACTERS = 30
#: How many fields people are shown.
FIELDS = 40


@frozen
class ChangedField:
    """A field of calls that have changed, and how it did in some of them: message id, before, after as JSON or None."""

    call: str
    path: str
    calls: int
    samples: Sequence[tuple[str, str | None, str | None]]


@frozen
class DiffView:
    """What is shown of two plans."""

    before: tuple[str, PlanFacts]  # the run's or dry run's id, and its plan
    after: tuple[str, PlanFacts]
    basis: Sequence[str]  # what differs in job and source
    calls: Mapping[str, int]  # before, after, same, changed, added, gone
    by_call: Mapping[str, Mapping[str, int]]  # label or type -> changed, added, gone
    compared: int  # of the calls that have changed, those whose fields were compared
    fields: Sequence[ChangedField]  # those of the most calls first
    samples: Mapping[str, Sequence[Mapping[str, Any]]]  # added, gone
    notes: Sequence[str] = field(default_factory=tuple)

    def as_json(self) -> dict[str, Any]:
        """The object of `--output json`; its keys are a promise (docs/cli.md)."""
        return {
            "schema_version": SCHEMA_VERSION,
            "before": {"run_id": self.before[0]} | plan_json(self.before[1]),
            "after": {"run_id": self.after[0]} | plan_json(self.after[1]),
            "basis": list(self.basis),
            "calls": dict(self.calls),
            "by_call": {call: {kind: counts.get(kind, 0) for kind in KINDS} for call, counts in self.by_call.items()},
            "compared": self.compared,
            "fields": [
                {
                    "call": one.call,
                    "field": one.path,
                    "calls": one.calls,
                    "samples": [
                        {"message_id": identity, "before": before, "after": after}
                        for identity, before, after in one.samples
                    ],
                }
                for one in self.fields
            ],
            "samples": {kind: list(calls) for kind, calls in self.samples.items()},
            "notes": list(self.notes),
        }


def diff_text(view: DiffView) -> str:
    """The same for people, in 80 columns."""
    counts = view.calls
    parts = [f"{counts['same']:,} the same", *(f"{counts[kind]:,} {kind}" for kind in KINDS if counts[kind])]
    lines = [
        _plan_line("before", *view.before),
        _plan_line("after", *view.after),
        f"  calls     {counts['before']:,} before, {counts['after']:,} after: {', '.join(parts)}",
    ]
    if len(view.by_call) > 1:
        for call, found in view.by_call.items():
            told = ", ".join(f"{found[kind]:,} {kind}" for kind in KINDS if found.get(kind))
            lines.append(f"            {call}: {told}")
    lines += [f"  basis     {difference}" for difference in view.basis]
    lines += _field_lines(view)
    for kind in ("added", "gone"):
        shown = view.samples.get(kind, ())
        if shown:
            of = f", {len(shown)} of {counts[kind]:,}" if len(shown) < counts[kind] else ""
            lines += [f"{kind}{of}", *(f"  {_sample_text(call)}" for call in shown)]
    return "\n".join([*lines, *(f"Note: {note}" for note in view.notes)])


def _plan_line(name: str, run_id: str, plan: PlanFacts) -> str:
    return f"{name:<8}{plan.plan_id}  {time_text(plan.record.created_at)}  {run_id}"


def _field_lines(view: DiffView) -> list[str]:
    """The fields that have changed, in how many calls, and how."""
    if not view.fields:
        return []
    of = f"the first {view.compared:,} of " if view.compared < view.calls["changed"] else ""
    lines = [f"fields, of {of}{counted(view.calls['changed'], 'changed call', 'changed calls')}"]
    for one in view.fields[:FIELDS]:
        name = f"{one.call}.{one.path}" if len(view.by_call) > 1 else one.path
        lines.append(f"  {name}: {counted(one.calls, 'call', 'calls')}")
        told = dict.fromkeys(f"      {value_text(before)} -> {value_text(after)}" for _, before, after in one.samples)
        lines += told if any(before != after for _, before, after in one.samples) else []
    rest = len(view.fields) - FIELDS
    return [*lines, f"  and {counted(rest, 'more field', 'more fields')}"] if rest > 0 else lines


def value_text(value: str | None) -> str:
    """A value as JSON, shortened; what is not there is said to be absent."""
    if value is None:
        return "(absent)"
    return value if len(value) <= VALUE_CHARACTERS else f"{value[: VALUE_CHARACTERS - 3]}..."


def _sample_text(call: Mapping[str, Any]) -> str:
    """One call, by what people know it by."""
    who = call.get("userId") or call.get("anonymousId") or ""
    parts = [call["call"], json.dumps(call["event"], ensure_ascii=False) if "event" in call else "", str(who)]
    parts.append(str(call.get("timestamp", "")).partition(".")[0])
    return " ".join([str(call["message_id"] or "(its id is the source's)"), *filter(None, parts)])
