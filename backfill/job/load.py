"""Reading a job file: shape, meaning, and the frozen job that the stages work from."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from backfill.document import Faults, Positions, read_document, validate
from backfill.errors import Fault, UsageError
from backfill.job.blanks import note_blanks
from backfill.job.checks import check_call, check_job, check_own_fields, check_required, check_scopes
from backfill.job.expand import ShortForms, merge, split_name
from backfill.job.fields import fields_of
from backfill.job.file import CallForm, GatesForm, JobForm, PlaceholdersForm, SourceForm
from backfill.job.gates import Gates, parse_gate
from backfill.job.models import Call, ColumnSpec, ColumnValue, CsvSpec, ExcelSpec, Job, Placeholders, Source
from backfill.job.shapes import Shaping
from backfill.tracking.model import JOB_DATA, TrackingPlan

KIND = "job file"
_LOOKUPS = "lookup files"
#: Calls that tell who somebody is: they come first, so that what people did finds them known.
_PEOPLE = {"identify", "group", "alias"}
#: What stands in for required parts that are missing or faulty while the rest is checked; none of it is kept.
_STAND_INS: dict[str, Any] = {
    "version": 1,
    "name": "stand-in",
    "source": {"path": "-"},
    "calls": [],
    "calls[]": {"type": "track"},
}

#: What other tools call the types of columns.
MEANT = {
    **dict.fromkeys(("string", "str", "varchar", "char", "uuid", "object"), "text"),
    **dict.fromkeys(("int", "int32", "int64", "bigint", "smallint", "long"), "integer"),
    **dict.fromkeys(("float", "float32", "float64", "double", "real"), "number"),
    **dict.fromkeys(("numeric", "money"), "decimal"),
    **dict.fromkeys(("bool", "bit"), "boolean"),
    **dict.fromkeys(("datetime", "datetime64", "timestamptz", "instant", "epoch"), "timestamp"),
    **dict.fromkeys(("struct", "map", "list", "array", "jsonb", "variant"), "json"),
}


def load_job(path: Path, known_rules: Mapping[str, bool] | None = None) -> Job:
    """The job in that file, short forms written out and defaults applied.

    `known_rules` says of each rule's code whether `rules` may lower it; without it `rules` is taken as it stands.

    Raises:
        JobError: with every fault of the file at once, each with its place, field and hint.
    """
    source_text = positions(path)
    faults = Faults(source_text)
    note_blanks(faults)
    form = validate(JobForm, faults, _STAND_INS, MEANT)
    job = None if form is None else build(form, faults, path, known_rules)
    if faults.found or job is None:
        raise source_text.refuse(KIND, faults.found, full=faults.full)
    return job


def load_kept_job(data: str, path: Path) -> Job:
    """The job that a ledger has the data of (`Job.raw` as JSON), whatever its file `path` says by now.

    Tables of lookups are read again from where they are: where one has changed, the fingerprint is another. The
    tracking plan is as it was.

    Raises:
        JobError: It cannot be a job any more, of another version for one.
    """
    kept = json.loads(data)
    content = {name: value for name, value in kept.items() if name not in (_LOOKUPS, JOB_DATA)}
    with TemporaryDirectory(prefix="backfill-") as folder:
        file = Path(folder) / path.name
        file.write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")
        source_text = positions(file)  # JSON is YAML
    faults = Faults(source_text)
    form = validate(JobForm, faults, _STAND_INS, MEANT)
    tracking = TrackingPlan(kept[JOB_DATA]) if JOB_DATA in kept else None
    job = None if form is None else build(form, faults, path, None, tracking)
    if faults.found or job is None:
        raise source_text.refuse(KIND, faults.found, full=faults.full)
    return job


def positions(path: Path) -> Positions:
    """Where each field of a job file stands; raises JobError where it cannot be read as YAML at all."""
    return read_document(path, KIND)


def fault_at(path: Path, field: str, message: str, hint: str = "", offset: int | None = None) -> Fault:
    """A fault found later (by a schema or an SQL binder) with its place in the job file.

    `offset` counts characters of the field's own text, an SQL expression's for one.
    """
    return positions(path).fault(field, message, hint, offset=offset)


def fingerprint(job: Job) -> str:
    """SHA-256 in hex of the job's YAML data as written: comments, layout and the order of keys make no difference."""
    content = {name: value for name, value in job.raw.items() if name not in ("gates", "mask")}  # same calls
    canonical = json.dumps(content, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()


def build(
    form: JobForm,
    faults: Faults,
    path: Path,
    known_rules: Mapping[str, bool] | None,
    tracking: TrackingPlan | None = None,
) -> Job | None:
    """The job, every fault of meaning noted; None where there was any fault at all.

    The tracking plan is read from where the job names it, unless one is given.
    """
    check_job(faults, form, known_rules)
    shaping = Shaping(faults, path.parent)
    short_forms = ShortForms(faults, shaping)
    defaults = short_forms.fields(form.defaults, "defaults") if form.defaults else {}
    sound = [(place, call) for place, call in enumerate(form.calls) if not faults.is_broken(f"calls[{place}]")]
    check_scopes(faults, sound)
    types = {call.type for _, call in sound}
    if len(sound) == len(form.calls) and sound:
        for name in sorted(set(defaults) - frozenset().union(*(fields_of(kind) for kind in types))):
            faults.add(f"defaults.{name}", "no call of this job has this field", "remove it", key=True)
    calls = [build_call(form, call, place, defaults, short_forms) for place, call in sound]
    gates = build_gates(faults, form.gates)
    if form.tracking_plan is not None and tracking is None:
        tracking = build_tracking(faults, form.tracking_plan, path.parent)
    if faults.found:
        return None
    return Job(
        version=1,
        name=form.name,
        generation=form.generation,
        source=build_source(form.source),
        where=form.where,
        explode=form.explode,
        latest=form.latest,
        calls=tuple(call for call in calls if call),
        rules=form.rules,
        placeholders=build_placeholders(form.placeholders),
        gates=gates,
        mask=form.mask if form.mask == "all" else tuple(form.mask or ()),
        tracking_plan=form.tracking_plan,
        tracking=tracking,
        ordered=form.ordered,
        phase=form.phase if form.phase is not None else int(bool(types - _PEOPLE)) + 1,
        path=str(path.resolve()),
        raw=_content(faults.positions.data, shaping.files, tracking),
    )


def build_tracking(faults: Faults, stated: str, folder: Path) -> TrackingPlan:
    """The tracking plan of the job, each fault of it noted with its file and JSON pointer.

    Raises:
        UsageError: The extra that judges by it is not installed.
    """
    from backfill.tracking.reading import read_tracking_plan  # noqa: PLC0415 (few jobs have one)

    def complain(place: str, message: str, hint: str) -> None:
        faults.add("tracking_plan", f"{place} {message}", hint)

    return read_tracking_plan(stated, folder, complain)


def build_gates(faults: Faults, form: GatesForm | None) -> Gates:
    """The gates, each fault of theirs noted."""
    stated = {} if form is None else form.model_dump(exclude_none=True)
    sound: dict[str, object] = {}
    for name, value in stated.items():
        try:
            parse_gate(name, value)
            sound[name] = value
        except UsageError as error:
            faults.add(f"gates.{name}", error.message, error.hint)
    return Gates.of(sound)


def _content(data: Mapping[str, Any], lookups: Mapping[str, str], tracking: TrackingPlan | None) -> dict[str, Any]:
    """What the fingerprint is made of: another phase makes no other calls, another table of a lookup does.

    So does another tracking plan, as its violations may reject calls: its rules are kept whole, so that a change names
    the event and the keyword.
    """
    content = {name: value for name, value in data.items() if name != "phase"}
    if lookups:
        content[_LOOKUPS] = dict(lookups)
    if tracking is not None:
        content[JOB_DATA] = tracking.rules
    return content


def build_call(
    job: JobForm, form: CallForm, place: int, defaults: Mapping[str, Any], short_forms: ShortForms
) -> Call | None:
    """One call with the defaults that its type has; None where a required field is missing."""
    path, faults = f"calls[{place}]", short_forms.faults
    check_own_fields(faults, form, path)
    fields = merge(defaults, short_forms.fields(form, path), fields_of(form.type))
    check_required(faults, fields, form.type, path)
    if "timestamp" not in fields:
        return None
    known = {name: value for name, value in fields.items() if name in fields_of(form.type)}
    call = Call(type=form.type, label=form.label, when=form.when, **known)
    check_call(faults, call, path, job.source)
    return call if job.explode is None else _with_position(faults, call, path, f"{job.explode}_position")


def _with_position(faults: Faults, call: Call, path: str, position: str) -> Call:
    """The call of an exploded row: where the element stands is part of its key."""
    if call.message_key == "row":
        hint = "name columns, or `content`: the element's position is added"
        faults.add(f"{path}.message_key", "`row` does not go with `explode`: one record makes several rows", hint)
    if not isinstance(call.message_key, tuple) or any(
        isinstance(value, ColumnValue) and value.column == position for value in call.message_key
    ):
        return call
    return call.model_copy(update={"message_key": (*call.message_key, ColumnValue(column=position))})


def build_placeholders(form: PlaceholdersForm | None) -> Placeholders:
    """The job's own placeholders, in lower case as they are compared."""
    if form is None:
        return Placeholders()
    return Placeholders(
        add=tuple(text.strip().lower() for text in form.add), allow=tuple(text.strip().lower() for text in form.allow)
    )


def build_source(form: SourceForm) -> Source:
    """The source with its short forms written out."""
    paths = () if form.path is None else (form.path,) if isinstance(form.path, str) else tuple(form.path)
    columns = {
        name: declared if isinstance(declared, ColumnSpec) else ColumnSpec(type=declared)
        for name, declared in form.columns.items()
    }
    return Source(
        path=paths,
        format=form.format,
        members=()
        if form.members is None
        else (form.members,)
        if isinstance(form.members, str)
        else tuple(form.members),
        csv=form.csv or CsvSpec.model_construct(),
        excel=form.excel or ExcelSpec.model_construct(),
        version=form.version,
        fixed_width=form.fixed_width,
        timezone=form.timezone,
        columns=columns,
        query=form.query,
        files=form.files,
        union=form.union,
        database=form.database,
        records=() if form.records is None else split_name(form.records),
        table=form.table,
        partition_on=form.partition_on,
        partitions=form.partitions or 1,
    )
