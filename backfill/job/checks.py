"""What a job's parts mean together: the faults that shape alone does not show."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from backfill.document import Faults, suggest
from backfill.job.fields import IDS, NAMES, fields_of, instead_of, needed_by
from backfill.job.file import CallForm, JobForm, PlaceholdersForm, SourceForm
from backfill.job.models import Call, ColumnValue, ConstantValue, ListValue, ObjectSpec, ObjectValue, SqlValue
from backfill.job.source_checks import check_source
from backfill.job.times import check_timestamp
from backfill.placeholders import PLACEHOLDERS, is_placeholder

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_LONGEST_NAME = 200


def check_job(faults: Faults, form: JobForm, known_rules: Mapping[str, bool] | None) -> None:
    """Note faults of the job's own fields and of its source."""
    check_name(faults, form.name, "name")
    check_source(faults, form.source)
    if form.where is not None and not form.where.strip():
        faults.add("where", "is an empty expression")
    if form.explode is not None and form.source.query is not None and form.source.database is None:
        faults.add("explode", "does not go with a `query` over files", "unnest the list in the query: unnest(items)")
    if not form.calls:
        faults.add("calls", "is empty: a job makes at least one call of each row")
    if known_rules is not None:
        check_rules(faults, form.rules, known_rules)
    if form.placeholders is not None:
        check_placeholders(faults, form.placeholders)


#: How codes begin of what is odd about all calls together: no call can be rejected for it.
OF_ALL_CALLS = "BF3"


def check_rules(faults: Faults, rules: Mapping[str, str], known_rules: Mapping[str, bool]) -> None:
    """Note rules that do not exist, and those that may not be lowered."""
    for code, severity in rules.items():
        if code not in known_rules:
            faults.add(f"rules.{code}", f"there is no rule {code}", suggest(code, known_rules), key=True)
        elif severity != "error" and not known_rules[code]:
            hint = "the API, or a tool behind it, enforces this rule: what breaks it would be lost in silence"
            faults.add(f"rules.{code}", "cannot be lowered", hint)
        elif severity == "error" and code.startswith(OF_ALL_CALLS):
            hint = "say warn or ignore; to stop on numbers of a plan, state `gates`"
            faults.add(f"rules.{code}", "is of all calls together, so none can be rejected for it", hint)


def check_placeholders(faults: Faults, form: PlaceholdersForm) -> None:
    """Note texts that are empty, and those that are not placeholders anyway."""
    for name in ("add", "allow"):
        for place, text in enumerate(getattr(form, name)):
            path = f"placeholders.{name}[{place}]"
            if not text.strip() or _CONTROL.search(text):
                faults.add(path, "is empty" if not text.strip() else "has control characters", "write the text itself")
            elif name == "allow" and not is_placeholder(text):
                hint = suggest(text, PLACEHOLDERS) or "docs/problems.md has the table; what is not in it needs no leave"
                faults.add(path, f'"{text}" is taken for an id anyway', hint)
            elif name == "allow" and text.strip().lower() in {each.strip().lower() for each in form.add}:
                faults.add(path, f'"{text}" is added as well', "keep one of the two")


def check_name(faults: Faults, name: str, path: str) -> None:
    """Note a name that could not stand in an id, a file or a table."""
    if not name:
        faults.add(path, "is empty")
    elif _CONTROL.search(name):
        faults.add(path, "has control characters")
    elif name != name.strip():
        faults.add(path, "begins or ends with a space")
    elif len(name) > _LONGEST_NAME:
        faults.add(path, f"is longer than {_LONGEST_NAME} characters")


def check_own_fields(faults: Faults, form: CallForm, path: str) -> None:
    """Note fields that a call of this type does not have."""
    for name in sorted(form.model_fields_set - {"type", "label", "when"} - fields_of(form.type)):
        hint = instead_of(form.type, name) or f"{form.type} has: {', '.join(sorted(fields_of(form.type)))}"
        faults.add(f"{path}.{name}", f"{form.type} has no field `{name}`", hint, key=True)
    if form.label is not None:
        check_name(faults, form.label, f"{path}.label")
    if form.when is not None and not form.when.strip():
        faults.add(f"{path}.when", "is an empty expression")


def check_scopes(faults: Faults, scopes: list[tuple[int, CallForm]]) -> None:
    """Note calls that ids could not tell apart: labels are unique, and needed where two calls have one type."""
    seen: dict[str, int] = {}
    for place, form in scopes:
        scope = form.label if form.label is not None else form.type
        first = seen.setdefault(scope, place)
        if first == place:
            continue
        path = f"calls[{place}]"
        if form.label is None:
            faults.add(
                path, f"is a second {form.type} call without a label", "give it a `label`: part of its message ids"
            )
        else:
            faults.add(
                f"{path}.label", f'"{scope}" is taken by calls[{first}]', "labels (and types without one) are unique"
            )


def check_required(faults: Faults, fields: Mapping[str, Any], kind: str, path: str) -> None:
    """Note required fields that neither the call nor `defaults` has."""

    def lacks(name: str, message: str, hint: str = "") -> None:
        if name not in fields and not (faults.is_broken(f"{path}.{name}") or faults.is_broken(f"defaults.{name}")):
            faults.add(path, message, hint)

    hint = (
        "map the column that says when it happened; it is never now. What has no date (users, say) takes a constant: "
    )
    lacks("timestamp", "`timestamp` is missing", hint + 'timestamp: {value: "2024-01-31T00:00:00Z"}')
    if "message_id" not in fields and not faults.is_broken(f"{path}.message_id"):
        hint = (
            "name the columns that make the call one of its kind, or say `content` (or `row`, for logs with true twins)"
        )
        lacks("message_key", "`message_key` is missing", hint)
    for name in needed_by(kind):
        lacks(name, f"{kind} needs `{name}`")
    if kind != "alias" and "anonymousId" not in fields and not faults.is_broken(f"{path}.anonymousId"):
        lacks("userId", "neither `userId` nor `anonymousId` is mapped", "calls without either are dropped in silence")


def check_call(faults: Faults, call: Call, path: str, source: SourceForm) -> None:
    """Note what is wrong with a call whose fields are all there, `defaults` included."""
    if call.message_key is not None and call.message_id is not None:
        faults.add(f"{path}.message_id", "goes instead of `message_key`, not with it", "keep one of the two")
    check_timestamp(faults, call.timestamp, f"{path}.timestamp")
    check_key(faults, call, path, source)
    for name in IDS:
        check_text_field(faults, getattr(call, name), f"{path}.{name}", is_id=True)
    for name in NAMES:
        check_text_field(faults, getattr(call, name), f"{path}.{name}", is_id=False)
    if call.message_id is not None:
        check_slot(faults, call.message_id, f"{path}.message_id", "an id")
    for members in [call.context.members] if call.context else []:
        if any(member[0] == "library" for member, _ in members):
            faults.add(
                f"{path}.context", "`library` is set by backfill: it names the program that sends", "leave it out"
            )
    if call.integrations is not None and "" in call.integrations:
        faults.add(f"{path}.integrations", "has an empty name")


def check_key(faults: Faults, call: Call, path: str, source: SourceForm) -> None:
    """Note keys that cannot tell calls apart or cannot be had."""
    key, inside = call.message_key, f"{path}.message_key"
    if key == "row" and (source.query is not None or source.database is not None):
        faults.add(
            inside, "`row` does not go with a `query`: its rows have no record number", "name columns, or `content`"
        )
    if not isinstance(key, tuple):
        return
    if not key:
        faults.add(inside, "is an empty list", "name at least one column")
    elif all(isinstance(value, ConstantValue) for value in key):
        faults.add(inside, "is the same for every row", "name at least one column")
    for place, value in enumerate(key):
        at = f"{inside}[{place}]"
        if isinstance(value, ListValue | ObjectValue):
            faults.add(at, "a key is made of single values", "name the columns one by one")
        elif isinstance(value, ConstantValue) and not isinstance(value.value, str | int):
            faults.add(at, "a constant in a key is text, an integer or true or false")
        elif isinstance(value, ColumnValue | SqlValue):
            check_slot(faults, value, at, "a key")


def check_slot(faults: Faults, value: ColumnValue | SqlValue, path: str, what: str) -> None:
    """Note what only a member of an object can say."""
    if value.nulls != "omit":
        faults.add(f"{path}.nulls", f"{what} is never null", "leave `nulls` out", key=True)
    if value.on_bad != "reject":
        faults.add(f"{path}.on_bad", f"{what} cannot be left out", "leave `on_bad` out", key=True)
    if value.as_ is not None:
        faults.add(f"{path}.as", f"{what} has its own form", "leave `as` out, or cast it in SQL", key=True)


def check_text_field(faults: Faults, value: Any, path: str, *, is_id: bool) -> None:  # noqa: ANN401
    """Note ids and names that could never be text."""
    if isinstance(value, ListValue | ObjectValue | ObjectSpec):
        faults.add(path, "is text, not a list or an object")
    elif isinstance(value, ConstantValue) and (not isinstance(value.value, str) or not value.value.strip()):
        faults.add(f"{path}.value", "is not empty text", "ids and names are text: quote numbers")
    elif isinstance(value, ColumnValue | SqlValue):
        if value.nulls == "keep":
            faults.add(f"{path}.nulls", "an id or name is never null", "leave `nulls` out", key=True)
        if value.as_ == "number":
            faults.add(f"{path}.as", "ids and names are always text", "leave `as` out", key=True)
        if is_id and value.on_bad == "omit":
            faults.add(f"{path}.on_bad", "an id cannot be left out", "leave `on_bad` out", key=True)
