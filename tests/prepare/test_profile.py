"""The profile of a plan: what a count of the very calls gives, one after the other, whatever shards and frames."""

from __future__ import annotations

import json
import random
import zlib
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from backfill.job import load_job
from backfill.job.models import Job
from backfill.limits import SEGMENT
from backfill.masking import SAMPLE_CHARACTERS, shortened
from backfill.prepare import frames, prepare
from backfill.prepare import profile as counting
from backfill.prepare.new_ids import NewIds
from backfill.records import Column, Kind, ShardPlan, Snapshot, profile
from backfill.records.profile import IDS, PlanProfile, merged, merged_sketch, packed, unpacked
from backfill.spool import Spool
from tests.prepare.test_prepare import as_batch, snapshot_of
from tests.support.profile_oracle import profile_of, tracked_users, without_digests

NOW = datetime(2026, 1, 1, tzinfo=UTC).timestamp()
ROWS = 400
HEAD = """version: 1
name: profiled
source: {path: rows.parquet}
defaults: {timestamp: at, integrations: {All: false, Amplitude: {session: 1}}}
calls:
"""
ONE = """
  - type: track
    message_key: [id]
    userId: user
    anonymousId: anonymous
    event: {value: Seen}
    properties: {"*": true}
"""
MANY = """
  - type: track
    message_key: [id]
    userId: user
    anonymousId: anonymous
    event: event
    properties:
      number: number
      text: text
      kept: {column: text, nulls: keep}
      digits: {column: number, as: text}
      source.kind: {value: import}
      source.flag: flag
      source.deep.day: day
      same: same
      list: {list: [{value: 1}, flag]}
      struct: struct
      mixed: mixed
      none: {value: null}
      revenue: number
      currency: text
"""
WHOLE = """
  - {type: page, message_key: [id], userId: user, name: event, properties: {column: payload}}
"""
OVER = """
  - type: group
    message_key: [id]
    anonymousId: anonymous
    groupId: user
    traits: {column: payload, text: text, inner.flag: flag}
"""
SOME = """
  - type: identify
    message_key: [user]
    userId: user
    traits: {plan: event, n: {column: text, as: number, on_bad: omit}}
  - type: track
    message_key: [id]
    anonymousId: anonymous
    event: event
    properties: {revenue: number, currency: {column: text, nulls: keep}}
  - {type: alias, message_key: [id], userId: user, previousId: anonymous}
"""
BUILT = {"source", "source.deep"}


def made_rows(seed: int, count: int = ROWS) -> pl.DataFrame:
    """Rows with all kinds of columns, many nulls, values that change their JSON type."""
    chance = random.Random(seed)

    def maybe(value: Any) -> Any:
        return value if chance.random() < 0.7 else None

    def payload(number: int) -> str:
        return json.dumps(
            {
                key: value
                for key, value in {
                    "a/b": chance.choice([1, "x", None, True, {"y": 1}]),
                    "~": "z" * chance.choice([1, 600]),
                    "ü": [1],
                    "revenue": chance.choice([1.5, None]),
                    "currency": chance.choice(["EUR", None]),
                    "inner": {"one": number},
                    f"key {chance.randrange(9)}": 1.5,
                }.items()
                if chance.random() < 0.8
            },
            ensure_ascii=False,
            separators=(",", ":"),
        )

    start = datetime(1969, 12, 30, tzinfo=UTC)
    return pl.DataFrame(
        {
            "id": [f"k{number}" for number in range(count)],
            "user": [f"u{chance.randrange(count // 3)}" for _ in range(count)],
            "anonymous": [f"a{chance.randrange(count)}" for _ in range(count)],
            "event": [chance.choice(["Seen", "Bought", "Left", f"e{chance.randrange(40)}"]) for _ in range(count)],
            "at": [start + timedelta(hours=chance.randrange(50_000)) for _ in range(count)],
            "number": [maybe(chance.randrange(-3, 3)) for _ in range(count)],
            "text": [maybe(chance.choice(["5", '"quoted"', "é" * 300, "mail: ann@example.org"])) for _ in range(count)],
            "flag": [maybe(chance.random() < 0.5) for _ in range(count)],
            "day": [maybe(start.date()) for _ in range(count)],
            "same": [maybe("one and the same") for _ in range(count)],
            "struct": [maybe({"x": 1, "y": None}) for _ in range(count)],
            "mixed": [maybe(chance.choice(["1", ' "text"', "null", "[1]", '{"a":1}', "true"])) for _ in range(count)],
            "payload": [payload(number) for number in range(count)],
        },
        schema_overrides={"at": pl.Datetime("ms", "UTC")},
    )


def job_and_snapshot(folder: Path, calls: str, rows: pl.DataFrame, more: str = "") -> tuple[Job, Snapshot]:
    """The job over those rows, of which two columns are JSON."""
    rows.write_parquet(folder / "rows.parquet")
    (folder / "job.yaml").write_text(HEAD.replace("calls:\n", f"{more}calls:\n") + calls, encoding="utf-8")
    snapshot = snapshot_of(folder / "rows.parquet")
    kinds = {"payload": Kind.JSON, "mixed": Kind.JSON}
    columns = tuple(Column(column.name, kinds.get(column.name, column.kind)) for column in snapshot.columns)
    return load_job(folder / "job.yaml"), Snapshot(snapshot.parts, columns, *_rest(snapshot))


def _rest(snapshot: Snapshot) -> tuple[Any, ...]:
    return snapshot.files, snapshot.read, snapshot.filtered, snapshot.unreadable, snapshot.in_place


def prepared(
    job: Job, snapshot: Snapshot, folder: Path, **options: Any
) -> tuple[list[ShardPlan], list[dict[str, Any]]]:
    """The shards of a job and the calls that would be sent."""
    found: list[ShardPlan] = []
    spool = Spool(folder / "spool")
    prepare(
        job, snapshot, spool, id_scope="test", library_version="0", now=NOW, limits=SEGMENT,
        work_folder=folder / "work", on_shard=found.append, done={}, stopping=lambda: False,
        **({"workers": 2} | options),
    )  # fmt: skip
    bodies = [spool.plain(as_batch(shard, batch)) for shard in found for batch in shard.batches]
    return found, [call for body in bodies for call in json.loads(body + b"]}")["batch"]]


@pytest.mark.parametrize("calls", [ONE, MANY, WHOLE, OVER, SOME], ids=["one", "many", "whole", "over", "some"])
@pytest.mark.parametrize("shard_rows", [3, 300, 10_000])
def test_the_profile_is_that_of_the_calls(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, calls: str, shard_rows: int
) -> None:
    """Counted row by row from the JSON that would be sent: the same, from however many shards it is merged."""
    rows = made_rows(shard_rows, 60 if shard_rows < 10 else ROWS)
    job, snapshot = job_and_snapshot(tmp_path, calls, pl.concat([rows, rows.head(20)]))
    monkeypatch.setattr(frames, "SHARD_ROWS", shard_rows)
    found, sent = prepared(job, snapshot, tmp_path)
    whole = merged([unpacked(packed(plan.profile)) for plan in found])
    wanted = profile_of(sent, BUILT if calls == MANY else ())
    told = without_digests(whole)
    assert told.calls == wanted.calls
    assert told.events == dict(wanted.events)
    assert told.unpriced == dict(wanted.unpriced)
    assert bool(told.unpriced) is (calls != ONE)
    assert {name: dict(sorted(kinds.items())) for name, kinds in told.properties.items()} == {
        name: dict(sorted(kinds.items())) for name, kinds in wanted.properties.items()
    }
    assert tuple(getattr(whole, name).count for name in IDS) == tracked_users(sent)
    assert whole.total == len(sent)


def test_frames_are_nothing(tmp_path: Path) -> None:
    """Frames of 1, 7 and all rows give the same profile, hashes and digests included."""
    job, snapshot = job_and_snapshot(tmp_path, MANY, made_rows(7, 80))
    found = [
        merged(plan.profile for plan in prepared(job, snapshot, tmp_path / str(size), frame_rows=size)[0])
        for size in (1, 7, 1_000)
    ]
    assert found[0] == found[1] == found[2]


@pytest.mark.parametrize("calls", [MANY, WHOLE], ids=["many", "whole"])
def test_what_is_kept_apart_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, calls: str) -> None:
    """Of more events and properties than are kept the same ones are, with exact counts, and it is said so."""
    for module in (profile, counting):
        monkeypatch.setattr(module, "EVENTS", 9)
    monkeypatch.setattr(profile, "PROPERTIES", 6)
    monkeypatch.setattr(profile, "PAIRS", 40)
    monkeypatch.setattr(frames, "SHARD_ROWS", 100)
    job, snapshot = job_and_snapshot(tmp_path, calls, made_rows(3))
    found, sent = prepared(job, snapshot, tmp_path)
    whole, wanted = merged(plan.profile for plan in found), profile_of(sent, BUILT if calls == MANY else ())
    assert whole.more_events
    assert whole.more_properties
    assert without_digests(whole) == wanted
    assert len(whole.events) == 9
    assert len(whole.properties) == 40
    assert 0 < whole.other_calls < len(sent) == whole.total
    assert 20 < whole.event_count < 90  # of 43; nine hashes tell no more


def test_any_split_is_the_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Parts merged in groups, groups merged, and shards that store only new ids: always the same."""
    monkeypatch.setattr(frames, "SHARD_ROWS", 20)
    job, snapshot = job_and_snapshot(tmp_path, SOME, made_rows(5, 300))
    parts = [plan.profile for plan in prepared(job, snapshot, tmp_path)[0]]
    whole = merged(parts)
    chance = random.Random(5)
    for _ in range(20):
        cuts = sorted({0, len(parts), *(chance.randrange(len(parts)) for _ in range(4))})
        assert merged(merged(parts[low:high]) for low, high in pairwise(cuts)) == whole
    new = NewIds(PlanProfile())
    lean = [new.only(part) for part in parts]
    assert merged(lean) == whole
    assert sum(len(part.users.hashes) for part in lean) == len(whole.users.hashes)
    again = NewIds(merged(lean[:7]))  # an interrupted prepare goes on
    assert [again.only(part) for part in parts[7:]] == lean[7:]


def test_many_ids_are_estimated() -> None:
    """Below 65,536 distinct ids the count is exact; above it is within a percent, however they are split."""
    texts = pl.Series([f"user {number}" for number in range(300_000)])
    parts = [counting._sketch([[hashed(texts[low : low + 30_000])]]) for low in range(0, 300_000, 25_000)]
    whole = merged_sketch(parts)
    assert not whole.exact
    assert abs(whole.count - 300_000) < 3_000
    assert whole == counting._sketch([[hashed(texts)]])
    assert merged_sketch(parts[:2]).count == 55_000
    new = NewIds(PlanProfile())
    lean = [new.only(PlanProfile(users=part)).users for part in parts]
    assert merged_sketch(lean) == whole
    assert sum(len(part.hashes) for part in lean) < 3 * len(whole.hashes)


def hashed(texts: pl.Series) -> pl.Series:
    """The hashes of texts."""
    return texts.to_frame("t").select(pl.col("t").nchash.xxhash64()).to_series()  # type: ignore[attr-defined]


def test_the_hash_never_changes() -> None:
    """XXH64 with seed 0, by its published values: sketches of two versions can be merged."""
    assert hashed(pl.Series(["", "a", None])).to_list() == [0xEF46DB3751D8E999, 0xD24EC4F1A98C6E5B, None]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Order Completed", "Order Completed"),
        ("ann.smith@mail.example.org", "a...@...org"),
        ("to Ann <ann@example.org>", "to Ann <a...@...org>"),
        ("+49 (170) 123-45 67", "49...67"),
        ("4111111111111111", "41...11"),
        ("2024-05-01", "2024-05-01"),
        ("2024-05-01T10:00:00.000Z", "2024-05-01T10:00:00.000Z"),
        ("20240501", "20...01"),
        ("12.75", "12.75"),
        ("34.0522342", "34.0522342"),
        ("-118.2436849", "-118.2436849"),
        ("POINT(34.05223 -118.24368)", "POINT(34.05223 -118.24368)"),
        ("0171.5551234", "01...34"),
        ("+49.1715551234", "49...34"),
        ("171.555.1234", "17...34"),
        ("49 171.5551234", "49...34"),
        ("123456", "123456"),
        ("550e8400-e29b-41d4-a716-446655440000", "550e..."),
        ("cus_9s6XKzkNRiz8i3", "cus_..."),
        ("x" * 100, "x" * (SAMPLE_CHARACTERS - 3) + "..."),
        ("a\n  b", "a b"),
    ],
)
def test_samples_are_masked(text: str, shown: str) -> None:
    """Emails, phone numbers and ids are told apart and not told; the rest is short."""
    assert shortened(text) == shown


@pytest.mark.parametrize("attached", [b"two8byte", b"another."])
def test_profiles_of_earlier_versions(attached: bytes) -> None:
    """They know nothing of who is identified, and so say it of all."""
    users, anonymous = profile.Sketch(b"one8byte"), profile.Sketch(b"two8byte")
    now = PlanProfile(users=users, anonymous=anonymous, attached=profile.Sketch(attached), identified=users)
    inflated = zlib.decompressobj()
    data = json.loads(inflated.decompress(packed(now)))
    for name in ("alike", "unpriced", "bad_values"):
        del data[name]
    then = zlib.compress(json.dumps(data).encode()) + inflated.unused_data
    assert unpacked(then) == now
