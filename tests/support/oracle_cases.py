"""Made-up jobs for the comparison of the columnar code with the recipe of `verify`, and the comparison itself."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl
from hypothesis import strategies as st

from backfill import prepare
from backfill.job.models import (
    Call,
    ColumnSpec,
    ColumnValue,
    ConstantValue,
    Job,
    ListValue,
    ObjectSpec,
    ObjectValue,
    Source,
    SqlValue,
    Star,
    TimestampSpec,
)
from backfill.limits import SEGMENT
from backfill.records import FILE_COLUMN, RECORD_COLUMN, Kind, Severity, Snapshot, SnapshotPart, SourceFile
from backfill.verify.calls import Recipe, make
from backfill.verify.columns import Columns
from tests.support.oracle_made_rows import DESCRIBED, ISO, OWN, SQL, frame_of, good_texts, json_values, mostly

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
ZONE = "America/New_York"
FILE_KEY = "2024/é/rows.parquet"

# -----------------------------------------------------------------------------------------------------------------
# Jobs
# -----------------------------------------------------------------------------------------------------------------

NAMES = st.sampled_from(["city", "revenue", "total", "a", "b", "a.b", 'k"\\é', "address", "text", ""])


def columns(*kinds: Kind) -> st.SearchStrategy[str]:
    """The names of columns of those kinds, or of any."""
    return st.sampled_from([name for name in OWN if not kinds or DESCRIBED[name].kind in kinds])


def column(name: str, as_: str | None = None, nulls: str = "omit", on_bad: str = "reject") -> ColumnValue:
    """The value of a column."""
    return ColumnValue.model_validate({"column": name, "as": as_, "nulls": nulls, "on_bad": on_bad})


def expression(as_: str | None = None, nulls: str = "omit", on_bad: str = "reject") -> SqlValue:
    """The value of an expression."""
    return SqlValue.model_validate({"sql": "total / declared", "as": as_, "nulls": nulls, "on_bad": on_bad})


forms = {
    "as_": st.sampled_from([None, None, None, "text", "number"]),
    "nulls": st.sampled_from(["omit", "omit", "keep"]),
    "on_bad": st.sampled_from(["omit", "omit", "reject"]),
}
slots = st.builds(column, columns(), **forms) | st.builds(column, columns(), **forms) | st.builds(expression, **forms)
constants = st.builds(lambda value: ConstantValue(value=value), json_values)
paths = st.lists(NAMES, min_size=1, max_size=2).map(tuple)


def members() -> st.SearchStrategy[Any]:
    """The value of a member: mostly a column's, or a list, or an object again."""
    lists = st.builds(lambda values: ListValue(list=tuple(values)), st.lists(st.deferred(members), max_size=3))
    inner = st.builds(lambda spec: ObjectValue(object=spec), objects(whole=False))
    return st.one_of(slots, slots, constants, lists, inner)


@st.composite
def objects(draw: st.DrawFn, *, whole: bool = True) -> ObjectSpec:
    """Any object of a call, or one inside it; no path is a part of another one, as loading a job makes sure."""
    found: dict[tuple[str, ...], Any] = {}
    for path, value in draw(st.lists(st.tuples(paths, st.deferred(members)), max_size=3)):
        if not any(path[: len(other)] == other or other[: len(path)] == path for other in found):
            found[path] = value
    said = draw(st.sampled_from([None, None, "address", "payload"])) if whole else None
    if said == "payload":  # what an emptied object among JSON becomes is left open
        found = {path: value for path, value in found.items() if len(path) == 1}
    star = draw(st.none() | st.builds(lambda names: Star(exclude=tuple(names)), st.lists(columns(), min_size=20)))
    return ObjectSpec(
        column=None if said is None else column(said, on_bad="omit"),
        members=tuple(found.items()),
        star=None if said else star,
    )


scalar_kinds = [Kind.TEXT, Kind.INTEGER, Kind.DECIMAL, Kind.BOOLEAN, Kind.DATE, Kind.TIME, Kind.TIMESTAMP, Kind.JSON]
words = st.builds(lambda value: ConstantValue(value=value), good_texts)
good_ids = st.just(column("plain")) | words
ids = mostly(good_ids, st.builds(column, columns(*scalar_kinds, Kind.NUMBER)))
key_values = mostly(good_ids, st.builds(column, columns(*scalar_kinds)))
timestamps = st.one_of(
    st.builds(
        lambda name, ambiguous, nonexistent, zone: TimestampSpec(
            column=name, ambiguous=ambiguous, nonexistent=nonexistent, timezone=zone
        ),
        columns(Kind.TIMESTAMP),
        st.sampled_from([None, "earliest", "latest", "error"]),
        st.sampled_from([None, "error", "shift_forward"]),
        st.sampled_from([None, "Europe/London", "Australia/Lord_Howe"]),
    ),
    st.just(TimestampSpec(column="at")),
    st.just(TimestampSpec(column="date")),
    st.just(TimestampSpec(column="text", format="iso8601")),
    st.just(TimestampSpec(value="2024-02-29T12:00:00+02:00")),
)


INSIDE = ObjectValue(object=ObjectSpec(members=((("deep",), column("json", None, "omit", "omit")),)))
FROM_ROW = {
    "All": False,
    "Amplitude": ObjectValue(
        object=ObjectSpec(
            members=(
                (("session_id",), column("plain")),
                (("list",), ListValue(list=(column("boolean"), ConstantValue(value=[None, 1])))),
                (("inner",), INSIDE),
                (("version",), ConstantValue(value="1")),
            )
        )
    ),
    "Mixpanel": ObjectValue(object=ObjectSpec(members=((("id",), column("boolean")),))),
}


@st.composite
def calls(draw: st.DrawFn, label: str) -> Call:
    """A call of any type, with the fields that its type has."""
    kind = draw(st.sampled_from(["identify", "track", "page", "screen", "group", "alias"]))
    fields: dict[str, Any] = {"userId": draw(ids), "context": draw(st.none() | objects())}
    if kind == "alias":
        fields["previousId"] = draw(ids)
    else:
        fields["anonymousId"] = draw(st.none() | ids)
        fields["traits" if kind in ("identify", "group") else "properties"] = draw(objects())
    if kind == "group":
        fields["groupId"] = draw(ids)
    if kind == "track":
        fields["event"] = draw(ids)
    if kind in ("page", "screen"):
        fields |= {"name": draw(st.none() | ids), "category": draw(st.none() | ids)}
    keys: Any = st.sampled_from(["content", "row"]) | st.lists(key_values, min_size=1, max_size=3).map(tuple)
    found = Call(
        type=kind,
        label=label,
        when=draw(st.sampled_from([None, None, None, "birthday < text"])),
        message_key=draw(keys),
        timestamp=draw(timestamps),
        integrations=draw(st.sampled_from([None, {"All": False, "Actions é": True}, FROM_ROW])),
        **fields,
    )
    if rewritten(found) and found.message_key == "content":
        return found.model_copy(update={"message_key": "row"})
    if draw(st.integers(0, 9)) == 0:
        return found.model_copy(update={"message_key": None, "message_id": column("text")})
    return found


class FixedJob(Job):
    """A job whose expressions and parsed texts stand in fixed columns of the made-up snapshot."""

    def expressions(self) -> dict[str, str]:
        """Every expression there is."""
        return SQL

    def time_columns(self) -> dict[tuple[str, str], str]:
        """Every parsed text there is."""
        return ISO


def job_of(calls: Sequence[Call], rules: dict[str, Any] | None = None) -> Job:
    """A job of some calls over the made-up columns."""
    declared = {"at": ColumnSpec(type="timestamp", format="epoch_ms")}
    declared |= {"wall": ColumnSpec(type="timestamp", ambiguous="latest", nonexistent="shift_forward")}
    source = Source(path=("rows.parquet",), timezone=ZONE, columns=declared)
    return FixedJob(version=1, name="job é", generation=3, source=source, calls=tuple(calls), rules=rules or {})


def call_of(**fields: Any) -> Call:
    """A track call that nothing is wrong with, and what a test changes of it."""
    good = {
        "type": "track",
        "message_key": "row",
        "timestamp": TimestampSpec(value="2024-02-29T12:00:00Z"),
        "userId": ConstantValue(value="u1"),
        "event": ConstantValue(value="Seen"),
    }
    return Call(**(good | fields))


jobs = st.builds(
    job_of,
    st.one_of(st.tuples(calls("one")), st.tuples(calls("one"), calls("two"))),
    st.sampled_from(
        [
            {},
            {},
            {"BF105": "warn", "BF203": "ignore", "BF204": "warn", "BF207": "warn"},
            {"BF114": "error", "BF108": "error"},
        ]
    ),
)

# -----------------------------------------------------------------------------------------------------------------
# The comparison
# -----------------------------------------------------------------------------------------------------------------

#: A value that is bad in one of these ways leaves its field empty; whether that is said as well is left open.
BAD_VALUES = {"BF110", "BF111", "BF117", "BF123", "BF202", "BF205", "BF206", "BF207"}
MISSING = {"BF101", "BF102", "BF104", "BF106", "BF112", "BF116"}


@dataclass(frozen=True)
class Expected:
    """What one row is to become as one call. `message_id` and `json` are None where it is not sent."""

    state: str  # ok, skipped, rejected
    codes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    message_id: str | None = None
    json: str | None = None


def snapshot_of(rows: list[dict[str, Any]], folder: Path) -> Snapshot:
    """The rows as a Parquet file read in place."""
    path = folder / "rows.parquet"
    path.unlink(missing_ok=True)
    frame_of(rows).write_parquet(path)
    file = SourceFile(str(path), "rows.parquet", FILE_KEY, 1, "", 1, 1, 1)
    part = SnapshotPart(path, len(rows))
    return Snapshot((part,), tuple(DESCRIBED.values()), (file,), len(rows), 0, 0, in_place=True)


def mapped(job: Job, snapshot: Snapshot, frame_rows: int) -> Iterator[tuple[int, int, Expected]]:
    """What the columnar code makes of the rows: row, call, and what became of it."""
    frame = prepare.map_rows(
        job, snapshot, id_scope="scope", library_version="1.2.3", now=NOW.timestamp(), frame_rows=frame_rows
    )
    for row, call, state, codes, warnings, message_id, text, _ in frame.iter_rows():
        yield row, call, Expected(state, tuple(codes), tuple(warnings), message_id, text)


def wanted(job: Job, call: int, frame: pl.DataFrame) -> list[Expected]:
    """What the recipe says of each row."""
    recipe = Recipe("scope", "1.2.3", NOW.timestamp(), SEGMENT.call_bytes)
    numbers = frame.with_columns(
        pl.lit(0).alias(FILE_COLUMN), pl.int_range(1, pl.len() + 1, dtype=pl.UInt64).alias(RECORD_COLUMN)
    )
    made = make(job.calls[call], Columns(job, DESCRIBED, numbers), recipe, [FILE_KEY])
    found = []
    for row, (message_id, text) in enumerate(zip(made.ids, made.texts, strict=True)):
        warnings = [code for code, level in made.problems.get(row, ()) if level is Severity.WARNING]
        errors = made.errors(row)
        state = "skipped" if row in made.skipped else "rejected" if errors else "ok"
        found.append(Expected(state, tuple(errors), tuple(sorted(warnings)), message_id, text))
    return found


def settled(found: Expected) -> Expected:
    """What is said of a call, without the missing fields that follow from bad values."""
    if not BAD_VALUES & {*found.codes, *found.warnings}:
        return found
    return replace(found, codes=tuple(code for code in found.codes if code not in MISSING))


def rewritten(call: Call) -> bool:
    """Whether a JSON column is put together with other members: its text is then written anew, in an own order."""
    attributes = [spec for spec in (call.properties, call.traits) if spec is not None and spec.members]
    pending: list[Any] = [*attributes, call.context]
    while pending:
        spec = pending.pop()
        if isinstance(spec, ListValue):
            pending += spec.list
        elif isinstance(spec, ObjectValue):
            pending.append(spec.object)
        elif isinstance(spec, ObjectSpec):
            if spec.column is not None and DESCRIBED[spec.column.column].kind is Kind.JSON:
                return True
            pending += [value for _, value in spec.members]
    return False


def parsed(found: Expected) -> Expected:
    """The same with the JSON parsed, members in order of their names."""
    return replace(found, json=found.json and json.dumps(json.loads(found.json), sort_keys=True))


def difference(made: Expected, expected: Expected, call: Call, row: dict[str, Any]) -> str:
    """What differs, for what call, and the row's values that are not null."""
    fields = [
        field
        for field in ("state", "codes", "warnings", "message_id", "json")
        if getattr(made, field) != getattr(expected, field)
    ]
    said = [f"{field}: made {getattr(made, field)}\n{field}: want {getattr(expected, field)}" for field in fields]
    return "\n".join([*said, repr(call), repr({name: value for name, value in row.items() if value is not None})])


def is_json(text: str) -> bool:
    """Whether the text is JSON by RFC 8259, which has no NaN and no infinities."""

    def refuse(constant: str) -> None:
        raise ValueError(constant)

    try:
        json.loads(text, parse_constant=refuse)
    except ValueError:
        return False
    return True


def compare(job: Job, rows: list[dict[str, Any]], folder: Path, frame_rows: int = 5) -> None:
    """Assert that both agree on every row and call (of warnings, no more than five are listed a frame)."""
    frame = frame_of(rows)
    rows = frame.to_dicts()
    found = list(mapped(job, snapshot_of(rows, folder), frame_rows))
    expected = [wanted(job, call, frame) for call in range(len(job.calls))]
    assert [(row, call) for row, call, _ in found] == [(r, c) for r in range(len(rows)) for c in range(len(job.calls))]
    differences = []
    for row, call, made in found:
        both = settled(made), settled(expected[call][row])
        if rewritten(job.calls[call]) and (made.json is None or is_json(made.json)):
            both = parsed(both[0]), parsed(both[1])
        if both[0] != both[1]:
            differences.append(difference(*both, job.calls[call], rows[row]))
        if made.json is not None and not is_json(made.json):
            differences.append(f"no JSON: {made.json}\n{job.calls[call]}\n{rows[row]}")
    assert not differences, f"{len(differences)} of {len(found)} calls differ\n" + "\n\n".join(differences[:3])
