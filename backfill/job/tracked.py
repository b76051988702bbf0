"""What a job's tracking plan shows to be missing or unknown before a row is read. Said like other slips."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from backfill.document import suggest
from backfill.frozen import frozen
from backfill.job.leaves import named_columns, used_columns
from backfill.job.models import Call, ConstantValue, Job, ObjectSpec
from backfill.records import INTERNAL_PREFIX, Column
from backfill.tracking import TrackingPlan
from backfill.tracking.model import Schema, lists_all

#: The field whose value a rule of the plan is named by.
NAME_FIELDS: Final = {"track": "event", "page": "name", "screen": "name"}
_SHOWN: Final = 5
_LISTING: Final = "it has "


@frozen
class Slip:
    """What is odd, and the field that it is about."""

    path: str
    message: str
    hint: str = ""
    is_key: bool = False


def event_version(call: Call) -> int | None:
    """The version of its event that a call states in `context.protocols.event_version`."""
    for path, value in call.context.members if call.context is not None else ():
        if path == ("protocols", "event_version") and isinstance(value, ConstantValue) and isinstance(value.value, int):
            return value.value
    return None


def tracking_slips(job: Job, columns: Sequence[Column]) -> list[Slip]:
    """Events and properties that the plan does not have, required ones that nothing maps, words that are no keyword.

    `columns` are those of the source, as far as they are known. Of an event whose name comes from the row no more can
    be said.
    """
    plan = job.tracking
    if plan is None:
        return []
    names = [column.name for column in columns if not column.name.startswith(INTERNAL_PREFIX)]
    found = list(_odd(plan))
    for place, call in enumerate(job.calls):
        path = f"calls[{place}]"
        stated = getattr(call, NAME_FIELDS.get(call.type, ""), None)
        fixed = str(stated.value) if isinstance(stated, ConstantValue) else ""
        schema = plan.schema(call.type, fixed, event_version(call)) if fixed or stated is None else None
        if call.type == "track" and fixed and schema is None and job.rules.get("BF140") != "ignore":
            known = plan.names("track")
            hint = suggest(fixed, known) or _LISTING + _some(known)
            found.append(Slip(f"{path}.event", f'"{fixed}" is not in the tracking plan', hint))
        for one in [*([schema] if schema is not None else []), *plan.common]:
            found += _of_objects(job, call, path, one, names)
    return _listing_once(dict.fromkeys(found))


def _listing_once(found: Iterable[Slip]) -> list[Slip]:
    """The slips, each list of what the plan has told with the first one alone."""
    told: set[str] = set()
    slips = []
    for slip in found:
        slips.append(replace(slip, hint="") if slip.hint in told else slip)
        told |= {slip.hint} if slip.hint.startswith(_LISTING) else set()
    return slips


def _odd(plan: TrackingPlan) -> Iterator[Slip]:
    from backfill.tracking.schemas import odd_keywords  # noqa: PLC0415 (few jobs have a plan)

    for kind, name, schema in plan.schemas():
        for pointer, meant in odd_keywords(schema):
            of = f"{kind} {name!r}" if name else kind
            yield Slip("tracking_plan", f"{of}: {pointer} is no keyword and judges nothing", f'did you mean "{meant}"?')


def _of_objects(job: Job, call: Call, path: str, schema: Schema, columns: Sequence[str]) -> Iterator[Slip]:
    for name in ("properties", "traits", "context"):
        inner = schema.get("properties", {}).get(name, {})
        spec: ObjectSpec | None = getattr(call, name)
        if not isinstance(inner, Mapping) or "$ref" in inner or (spec is not None and spec.column is not None):
            continue
        stated = [member[0] for member, _ in spec.members] if spec is not None else []
        starred = _starred(call, spec, columns) if spec is not None and spec.star is not None else []
        yield from _missing(job, f"{path}.{name}", inner, [*stated, *starred])
        if name != "context" and lists_all(inner) and job.rules.get("BF141") != "ignore":
            yield from _unplanned(f"{path}.{name}", inner["properties"], stated, starred)


def _starred(call: Call, spec: ObjectSpec, columns: Sequence[str]) -> list[str]:
    excluded = {*named_columns(spec), *used_columns(call), *(spec.star.exclude if spec.star is not None else ())}
    return [name for name in columns if name not in excluded]


def _missing(job: Job, path: str, inner: Mapping[str, Any], mapped: Sequence[str]) -> Iterator[Slip]:
    if job.rules.get("BF142") == "ignore":
        return
    for name in inner.get("required", ()):
        if name not in mapped and not (path.endswith("context") and name == "library"):
            near = suggest(name, [each for each in mapped if each not in inner.get("properties", {})])
            yield Slip(path, f'the tracking plan requires "{name}", and nothing maps it', near)


def _unplanned(path: str, listed: Mapping[str, Any], stated: Sequence[str], starred: Sequence[str]) -> Iterator[Slip]:
    missing = [name for name in listed if name not in (*stated, *starred)]
    for name in dict.fromkeys(stated):
        if name not in listed:
            hint = suggest(name, missing) or suggest(name, listed) or _LISTING + _some(tuple(listed))
            yield Slip(f"{path}.{name}", f'"{name}" is not in the tracking plan', hint, is_key=True)
    others = tuple(name for name in starred if name not in listed)
    if others:
        message = f"takes columns that are not in the tracking plan: {_some(others)}"
        yield Slip(f"{path}.*", message, "leave them out by `exclude`")


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(f'"{name}"' for name in names[:_SHOWN]) + more if names else "none"
