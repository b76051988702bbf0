"""Compiling a job's calls against the columns of a snapshot."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import polars as pl

from backfill import encode
from backfill.identity import namespace
from backfill.job.fields import IDS, NAMES, OWN_BLOCK, needed_by, objects_of
from backfill.job.leaves import expression_columns, used_columns
from backfill.job.models import (
    Call,
    ColumnValue,
    ConstantValue,
    Job,
    ListValue,
    ObjectSpec,
    ObjectValue,
    SqlValue,
    Value,
)
from backfill.job.references import hashed_columns
from backfill.limits import GROUP_ID_CHARACTERS, MESSAGE_ID_CHARACTERS
from backfill.mapping.binder import Binder
from backfill.mapping.calls import Check, CompiledCall, IdText, Key, PlannedCall, grouped
from backfill.mapping.objects import bind_object, bind_value, check_size
from backfill.mapping.template import BoundValue, ObjectTemplate, constant, never_null
from backfill.mapping.times import bind_timestamp
from backfill.mapping.user_ids import check_anonymous_id, check_id
from backfill.records import FILE_COLUMN, RECORD_COLUMN, Kind, Severity, Snapshot
from backfill.rules import MONEY_PROPERTIES, SERIAL_DAYS, is_date_name, severity
from backfill.timestamps import iso_milliseconds

#: Codes of bad values: what is null by that alone is not missing.
_BAD_VALUES = frozenset({"BF110", "BF111", "BF117", "BF130", "BF135", "BF202", "BF205", "BF206", "BF207"})
#: What a spreadsheet's serial day may be sent as, and how it is written.
_SERIALS = (Kind.TEXT, Kind.INTEGER, Kind.NUMBER, Kind.DECIMAL)
_SERIAL_PATTERN = r"^[345][0-9]{4}(?:\.[0-9]+)?$"
#: Boolean column that sources adds where `where` reads declared columns.
WHERE_COLUMN = "__bf_where_bad"
#: Boolean column that sources adds where there is a `where`: it failed on the row.
WHERE_FAILED_COLUMN = "__bf_where_failed"
#: The text of the file's key, joined to every frame: the first half of a `row` message key.
FILE_KEY_COLUMN = "__bf_file_key"


def compile_job(
    job: Job,
    snapshot: Snapshot,
    schema: Mapping[str, pl.DataType],
    *,
    id_scope: str,
    library_version: str,
    now: float,
) -> tuple[CompiledCall, ...]:
    """The job's calls as expressions over the snapshot's columns; `now` in POSIX seconds bounds future timestamps.

    Raises JobError where a value cannot be mapped at all (no such column, no time zone, no object).
    """
    columns = {column.name: column for column in snapshot.columns}
    expressions = expression_columns(job)
    compiled = []
    for index, call in enumerate(job.calls):
        binder = Binder(job, columns, schema, expressions)
        space = str(namespace(id_scope, job.name, call.scope, job.generation))
        compiled.append(_compile(binder, call, index, space, library_version, now))
    return tuple(compiled)


def _compile(binder: Binder, call: Call, index: int, space: str, library_version: str, now: float) -> CompiledCall:
    condition = _condition(binder, call)
    _check_where(binder)
    instant = bind_timestamp(binder, call.timestamp, now)
    top = ObjectTemplate()
    top.put(("timestamp",), never_null('"', iso_milliseconds(instant), '"'))
    ids = _ids(binder, call, top)
    _names(binder, call, top)
    left_out = used_columns(call) | hashed_columns(binder.job, binder.columns)
    _objects(binder, call, top, left_out)
    context = bind_object(binder, call.context, left_out)
    key, key_values = _key(binder, call)
    integrations = _integrations(binder, call)
    members = _with_context(top, context, integrations, library_version)
    content = _with_context(top, context, integrations, None) if key is Key.CONTENT else None
    return CompiledCall(
        index=index,
        type=call.type,
        scope=call.scope,
        namespace=space,
        reads=(
            *(name for name in binder.columns if name in binder.reads),
            *sorted(binder.reads - set(binder.columns)),
        ),
        derived=grouped(binder.derived.values()),
        rare_matches=binder.rare_matches,
        condition=condition,
        checks=tuple(_where_made(check, condition) for check in binder.checks),
        key=key,
        key_values=key_values,
        timestamp=instant,
        members=members,
        content=content,
        ids=ids,
        alike=severity("BF122", dict(binder.job.rules)),
        planned=_planned(binder.job, call, members),
    )


def _planned(job: Job, call: Call, members: ObjectTemplate) -> PlannedCall | None:
    """What the job's tracking plan says of a call with these members; None where it has none."""
    if job.tracking is None:
        return None
    from backfill.mapping.planned import plan_call  # noqa: PLC0415 (few jobs have one)

    return plan_call(job, call, members)


def _where_made(check: Check, condition: pl.Expr | None) -> Check:
    """The check with a mask that is never null, and false where the call is not made."""
    mask = check.mask.fill_null(value=False)
    return replace(check, mask=mask if condition is None else mask & condition)


def _text_member(bound: BoundValue) -> BoundValue:
    """An id or a name: always a JSON string, whatever the column holds."""
    if bound.kind is Kind.TEXT and bound.direct:
        return bound
    return BoundValue(encode.string(bound.plain), bound.plain, Kind.TEXT, bound.column)


def _condition(binder: Binder, call: Call) -> pl.Expr | None:
    if call.when is None:
        return None
    column = binder.column(binder.expressions[call.when])
    true = binder.read(column.name).cast(pl.Boolean).fill_null(value=False)
    misfit, unclear, failed = binder.misfit(column), binder.unclear(column), binder.failed(column, call.when)
    if misfit is not None:
        binder.check("BF117", call.when, misfit, binder.shown(column), detail=binder.declared_as(column))
    return pl.any_horizontal(true, *(mask for mask in (misfit, unclear, failed) if mask is not None))


def _check_where(binder: Binder) -> None:
    column = binder.columns.get(WHERE_COLUMN)
    if column is not None:
        read = ", ".join(column.reads) or "where"
        binder.check("BF118", read, binder.read(WHERE_COLUMN).fill_null(value=False), binder.shown(column))
    failed = binder.columns.get(WHERE_FAILED_COLUMN)
    if failed is not None:
        binder.failed(failed, binder.job.where or "where")


def _ids(binder: Binder, call: Call, top: ObjectTemplate) -> tuple[IdText, ...]:
    """The ids as text, and the checks that keep strangers apart; returns those that are not the same in every row."""
    found: list[IdText] = []
    present: list[pl.Expr] = []
    for name in IDS:
        value = getattr(call, name)
        if value is None:
            continue
        bound = binder.text(value)
        text = bound.plain
        top.put((name,), _text_member(bound))
        missing_code = "BF106" if call.type == "alias" else "BF104" if name == "groupId" else "BF101"
        required = name in needed_by(call.type)
        missing = text.is_null() | (text == "") if required else text == ""
        binder.check(missing_code, bound.column, missing, text)
        check_id(binder, name, value, bound)
        if name == "anonymousId":
            check_anonymous_id(binder, call, bound)
        if not isinstance(value, ConstantValue):
            found.append(IdText(name, text, bound.column))
        if name == "groupId":
            binder.check("BF104", bound.column, text.str.len_chars() > GROUP_ID_CHARACTERS, text)
        if name in ("userId", "anonymousId"):
            present.append(text.is_not_null())
    if call.type != "alias":
        fields = [value.column for value in (call.userId, call.anonymousId) if isinstance(value, ColumnValue)]
        nobody = ~pl.any_horizontal(present) if present else pl.lit(value=True)
        misfits = [_misfit_of(binder, value) for value in (call.userId, call.anonymousId)]
        for misfit in (mask for mask in misfits if mask is not None):
            nobody &= ~misfit  # BF117 has said why there is none
        binder.check("BF101", ", ".join(fields), nobody, pl.lit(""))
    return tuple(found)


def _misfit_of(binder: Binder, value: Value | None) -> pl.Expr | None:
    """True where an id is rejected as what it reads does not fit its declared type; None: it cannot be."""
    if not isinstance(value, ColumnValue | SqlValue) or value.on_bad == "omit":
        return None
    return binder.misfit(binder.column(binder.expressions[value.sql] if isinstance(value, SqlValue) else value.column))


def _names(binder: Binder, call: Call, top: ObjectTemplate) -> None:
    for name in NAMES:
        value, code = getattr(call, name), "BF102" if name in needed_by(call.type) else "BF103"
        if value is None:
            continue
        bound = binder.text(value)
        text = bound.plain
        top.put((name,), _text_member(bound))
        empty = text == ""
        binder.check(code, bound.column, (empty | text.is_null()) if code == "BF102" else empty, text)


def _objects(binder: Binder, call: Call, top: ObjectTemplate, left_out: frozenset[str]) -> None:
    """The whole objects that the type has, context aside; `left_out` are the columns that `"*"` does not take."""
    for one in objects_of(call.type):
        spec: ObjectSpec | None = getattr(call, one.name)
        if spec is None and not one.always:
            continue
        template = bind_object(binder, spec, left_out)
        template.present = one.always
        top.put((one.name,), template)
        check_size(binder, one.name, template)
        if one.name == "properties":
            _check_money(binder, template)
        _check_dates(binder, template)


def _check_money(binder: Binder, template: ObjectTemplate) -> None:
    for money in MONEY_PROPERTIES & set(template.members):
        value = template.members[money]
        if isinstance(value, BoundValue) and value.kind is Kind.TEXT:
            label = f"{money} (column {value.column})" if value.column not in ("", money) else money
            binder.check("BF114", label, value.plain.is_not_null(), value.plain)


def _check_dates(binder: Binder, template: ObjectTemplate) -> None:
    """Days as spreadsheets count them, among members that are named as dates."""
    for name, value in template.members.items():
        if not (isinstance(value, BoundValue) and is_date_name(name)) or value.kind not in _SERIALS:
            continue
        if value.kind is Kind.TEXT:
            serial = value.plain.str.contains(_SERIAL_PATTERN)
        else:
            number = pl.col(value.source) if value.source else value.plain
            serial = number.cast(pl.Float64, strict=False).is_between(*SERIAL_DAYS)
        label = f"{name} (column {value.column})" if value.column not in ("", name) else name
        binder.check("BF126", label, serial, value.plain)


def _integrations(binder: Binder, call: Call) -> ObjectTemplate | BoundValue | None:
    """The integrations: one text for all rows, but where the row's own are kept or options are taken from the row."""
    stated = call.integrations
    if stated is None or not any(isinstance(options, ObjectValue) for options in stated.values()):
        return None if stated is None else never_null(encode.literal(stated))
    template = _own_block(binder, stated)
    template.present = True
    for name, options in stated.items():
        if name == OWN_BLOCK:
            continue
        if isinstance(options, ObjectValue):
            inner = bind_value(binder, options)
            assert isinstance(inner, ObjectTemplate)
            inner.present = True  # without options the destination is switched on all the same
            template.put((name,), inner)
        else:
            template.put((name,), never_null(encode.literal(options)))
    return template


def _own_block(binder: Binder, stated: Mapping[str, Any]) -> ObjectTemplate:
    """The row's own integrations, where they are kept; a row without them is bad where nothing says what to do then."""
    own = stated.get(OWN_BLOCK)
    if not isinstance(own, ObjectValue) or own.object.column is None:
        return ObjectTemplate()
    if len(stated) == 1:  # nothing but theirs, and none would mean every destination
        column = binder.column(own.object.column.column)
        missing = binder.read(column.name).is_null()
        binder.check("BF117", column.name, missing, binder.shown(column), detail="the row has no integrations")
    return bind_object(binder, own.object)


def _with_context(
    top: ObjectTemplate,
    context: ObjectTemplate,
    integrations: ObjectTemplate | BoundValue | None,
    library_version: str | None,
) -> ObjectTemplate:
    """All members of the call after messageId; without context.library where no version is given."""
    whole = ObjectTemplate(dict(top.members))
    own = ObjectTemplate(present=library_version is not None, from_column=context.from_column)
    if context.from_column is not None and library_version is None:
        own.put(("library",), constant(None))  # takes the column's own out
    if library_version is not None:
        own.put(("library",), never_null(encode.literal({"name": "backfill", "version": library_version})))
    for name, value in context.members.items():
        own.put((name,), value)
    whole.put(("context",), own)
    if integrations is not None:
        whole.put(("integrations",), integrations)
    return whole


def _key(binder: Binder, call: Call) -> tuple[Key, tuple[BoundValue, ...]]:
    """Where the message id comes from, with the checks of its parts."""
    if call.message_id is not None:
        bound = binder.text(call.message_id)
        size = bound.plain.str.len_chars()
        bad = bound.plain.is_null() | ~size.is_between(1, MESSAGE_ID_CHARACTERS)
        binder.check("BF116", bound.column, bad, bound.plain)
        return Key.GIVEN, (bound,)
    if call.message_key == "content":
        return Key.CONTENT, ()
    if call.message_key == "row":
        binder.reads.update((FILE_COLUMN, RECORD_COLUMN, FILE_KEY_COLUMN))
        return Key.COLUMNS, (_own(FILE_KEY_COLUMN, escapes=True), _own(RECORD_COLUMN, escapes=False))
    values = call.message_key or ()
    parts = tuple(_part(binder, value) for value in values)
    empty = pl.all_horizontal([bound.plain.fill_null("") == "" for bound in parts])
    told = [_is_bad(binder, value, bound) for value, bound in zip(values, parts, strict=True)]
    for bound, is_bad in zip(parts, told, strict=True):
        binder.check("BF112", bound.column, _unless(is_bad, bound.plain.is_null()), bound.plain)
    if parts:
        alone = _unless([mask for masks in told for mask in masks], empty & parts[0].plain.is_not_null())
        binder.check("BF112", ", ".join(bound.column for bound in parts), alone, pl.lit(""))
    return Key.COLUMNS, parts


def _is_bad(binder: Binder, value: Value, bound: BoundValue) -> list[pl.Expr]:
    """Where a part of a key is null only since the value is bad, by the checks that say so."""
    columns = {bound.column}
    if isinstance(value, SqlValue):
        columns.update(binder.columns[binder.expressions[value.sql]].reads)
    told = (each for each in binder.checks if each.severity is Severity.ERROR and each.code in _BAD_VALUES)
    return [each.mask.fill_null(value=False) for each in told if each.column in columns]


def _unless(told: list[pl.Expr], mask: pl.Expr) -> pl.Expr:
    return mask & ~pl.any_horizontal(told) if told else mask


def _part(binder: Binder, value: Value) -> BoundValue:
    assert not isinstance(value, ListValue | ObjectValue)  # loading the job refuses them in a key
    return binder.text(value, single=False)


def _own(name: str, *, escapes: bool) -> BoundValue:
    """A part of a key that is a column of ours."""
    plain = pl.col(name).cast(pl.String)
    return BoundValue(encode.string(plain), plain, Kind.TEXT, source=name, escapes=escapes)
