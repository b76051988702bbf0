"""The line: what is done once is not done again, what differs is list_differences, what is held back is held back."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backfill.errors import ExitCode, InterruptedRunError, SourceError, StoppedError, UsageError
from backfill.job import load_job
from backfill.job.gates import parse_share
from backfill.ledger import LedgerReader
from backfill.pipeline import (
    Confirmation,
    DryRunRequest,
    Options,
    RunContext,
    RunRequest,
    RunResult,
    dry_run_job,
    run_job,
)
from backfill.pipeline.disk_forecast import RESERVE_BYTES, Forecast, forecast, spool_bytes
from backfill.pipeline.fingerprint import Fingerprint, field_differences, list_differences
from backfill.records import Counts, RunState, SourceFile
from backfill.sandbox import FaultScript, Sandbox
from backfill.state import open_store
from backfill.targets import Target, load_target
from tests.support.projects import Project, backfill
from tests.support.sourcing import job_over

SHARD_ROWS = 32_768


class Watch:
    """A progress that notes the steps, and may act at one of its beats."""

    def __init__(self, act: Callable[[str, int], None] = lambda _step, _done: None) -> None:
        self.steps: list[str] = []
        self.act = act

    def begin(self, step: str, total: int | None, unit: str) -> None:
        """Note the step."""
        self.steps.append(step)
        self.act(step, 0)

    def advance(self, done: int, size: int) -> None:
        """Act, perhaps."""
        self.act(self.steps[-1], done)

    def end(self) -> None:
        """Nothing."""


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """An empty project."""
    return Project(tmp_path)


def sandbox_target() -> Target:
    """The sandbox inside the process."""
    return load_target("sandbox", targets_file=None, environ={})


def run(project: Project, job: Path, watch: Watch | None = None, stop: threading.Event | None = None) -> RunResult:
    """Run a job to the embedded sandbox."""
    around = RunContext(
        store=open_store(project.state),
        stop=stop or threading.Event(),
        progress=watch or Watch(),
        say=lambda _text: None,
    )
    return run_job(RunRequest(load_job(job), sandbox_target(), Options(), around))


def counts_of(end: RunResult) -> Counts:
    """The run's counts."""
    with LedgerReader(end.run.ledger) as reader:
        return reader.counts()


# -------------------------------------------------------------------------------------------------- steps, once each


def test_all_steps_then_none(project: Project) -> None:
    """A run stages, prepares and delivers; again, it does nothing, and what it needs no more is gone."""
    job = project.people(200)
    first, second = Watch(), Watch()
    end = run(project, job, first)
    assert first.steps == ["stage", "prepare", "deliver"]
    assert end.exit_code is ExitCode.DELIVERED
    assert not end.run.snapshot.exists()
    assert not list(end.run.spool_folder.glob("*.segment"))
    again = run(project, job, second)
    assert second.steps == []
    assert again.repeated
    assert again.totals.requests == 0


def test_dry_run_stages_for_the_run(project: Project) -> None:
    """A run uses the snapshot of a dry run of the same job and source, and stages anew where the source changed."""
    job = project.people(200)
    dry_run_job(DryRunRequest(load_job(job), RunContext(open_store(project.state))))
    watch = Watch()
    end = run(project, job, watch)
    assert watch.steps == ["prepare", "deliver"]
    assert counts_of(end).delivered == 200
    dry_run_job(DryRunRequest(load_job(job), RunContext(open_store(project.state))))
    project.rows(201)
    changed = Watch()
    assert counts_of(run(project, job, changed)).delivered == 201
    assert changed.steps == ["stage", "prepare", "deliver"]


def test_dry_run_plans_what_a_run_sends(project: Project) -> None:
    """The plan's digest, which covers every byte of every batch, is the same for a dry run and a run."""
    job = project.people(5_000, bad=range(100, 110))
    dry = dry_run_job(DryRunRequest(load_job(job), RunContext(open_store(project.state))))
    end = run(project, job)
    digests = set()
    for folder in (dry.run, end.run):
        with LedgerReader(folder.ledger) as reader:
            digests.add(reader.status().plan_digest)
    assert len(digests) == 1
    assert None not in digests


def test_interrupted_prepare_goes_on(project: Project) -> None:
    """Shards that were recorded before an interruption are not prepared again; the plan is that of an unbroken run."""
    rows = 6 * SHARD_ROWS + 100
    job = parquet_job(project, rows)
    stop = threading.Event()
    seen: list[int] = []

    def after_first_shard(step: str, done: int) -> None:
        if step == "prepare" and done >= SHARD_ROWS:
            stop.set()

    with pytest.raises(InterruptedRunError) as caught:
        run(project, job, Watch(after_first_shard), stop)
    assert "nothing was sent" in caught.value.message
    end = run(project, job, Watch(lambda step, done: seen.append(done) if step == "prepare" else None))
    assert seen[:2] == [0, SHARD_ROWS]
    assert counts_of(end).delivered == rows
    whole = dry_run_job(DryRunRequest(load_job(job), RunContext(open_store(project.state))))
    with LedgerReader(end.run.ledger) as one, LedgerReader(whole.run.ledger) as other:
        assert one.status().plan_digest == other.status().plan_digest


def test_interrupted_stage_begins_again(project: Project) -> None:
    """A signal while staging ends the run with nothing prepared; the next run stages and goes on."""
    job = project.people(1_000)
    stop = threading.Event()
    stop.set()
    with pytest.raises(InterruptedRunError):
        run(project, job, stop=stop)
    assert counts_of(run(project, job)).delivered == 1_000


def test_unfinished_beginning_is_no_drift(project: Project) -> None:
    """A job edited after an interruption before the plan was complete begins afresh: nothing was promised yet."""
    job = project.people(SHARD_ROWS + 10)
    stop = threading.Event()
    with pytest.raises(InterruptedRunError):
        run(project, job, Watch(lambda step, _done: stop.set() if step == "prepare" else None), stop)
    job.write_text(job.read_text(encoding="utf-8").replace("age: age", "years: age"), encoding="utf-8")
    assert counts_of(run(project, job)).delivered == SHARD_ROWS + 10


def test_source_in_place_that_changes(project: Project) -> None:
    """A Parquet source is read in place; one that changes while it is prepared is refused before anything is sent."""
    job = parquet_job(project, 1_000)
    source = project.folder / "orders.parquet"

    def touch(step: str, done: int) -> None:
        if step == "prepare" and done:
            source.write_bytes(source.read_bytes())

    with pytest.raises(SourceError, match=r"orders\.parquet was changed"):
        run(project, job, Watch(touch))
    assert counts_of(run(project, job)).delivered == 1_000


def test_refused_rows_of_a_source_that_is_gone(project: Project) -> None:
    """The run finishes, and lists the refused call by its id, without the row that nobody has any more."""
    job = parquet_job(project, 1_000)
    with Sandbox(project.folder / "other", faults=FaultScript.parse(['status=400,holding="order_id":700'])) as sandbox:
        there = ["--endpoint", sandbox.endpoint, "--state-dir", project.state]
        assert backfill("run", job, "--target", "sandbox", "--canary", *there).code == 5
        (project.folder / "orders.parquet").unlink()
        assert backfill("resume", *there).code == 3
        held = set(sandbox.ids())
    file = project.folder / "rejects.ndjson"
    assert backfill("rejects", "--state-dir", project.state, "--export", file).code == 0
    (reject,) = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    assert (reject["code"], reject["original"]) == ("HTTP400", None)
    assert len(held) == 999
    assert reject["message_id"] not in held


def parquet_job(project: Project, rows: int) -> Path:
    """A job over a Parquet file that needs no staging."""
    orders = pl.DataFrame({"id": pl.int_range(1, rows + 1, eager=True)}).with_columns(
        customer=pl.format("c{}", pl.col("id") % 50),
        total=pl.col("id") * 1.25,
        at=pl.from_epoch(pl.col("id") * 100 + 1_600_000_000).dt.replace_time_zone("UTC"),
    )
    orders.write_parquet(project.folder / "orders.parquet")
    job = project.folder / "orders.yaml"
    job.write_text(
        "version: 1\nname: orders\nsource: {path: orders.parquet}\ncalls:\n  - type: track\n    message_key: [id]\n"
        "    userId: customer\n    event: {value: Order Completed}\n    timestamp: at\n"
        "    properties: {order_id: id, revenue: total}\n    integrations: {All: false}\n",
        encoding="utf-8",
    )
    return job


def test_too_small_a_disk_is_told_early(project: Project) -> None:
    """What will not fit is refused before it is written, resumable once there is room."""
    job = project.people(1_000)
    with pytest.MonkeyPatch.context() as disk:
        disk.setattr("shutil.disk_usage", lambda _path: SimpleNamespace(free=RESERVE_BYTES // 2))
        with pytest.raises(StoppedError, match="needed"):
            run(project, job)
    assert counts_of(run(project, job)).delivered == 1_000


def test_a_disk_that_fills_while_staging(project: Project) -> None:
    """The disk is looked at again while a source is staged, and a statement that runs for long is ended for it."""
    job = project.people(2_000)
    text = job.read_text(encoding="utf-8")
    count = "SELECT count(hash(b.id || c.id)) AS n FROM source b, source c, source d"
    slow = f"SELECT a.* FROM source a, ({count}) WHERE n > 0"
    job.write_text(text.replace("path: people.csv", f'path: people.csv\n  query: "{slow}"'), encoding="utf-8")
    free = iter([10**12])
    with pytest.MonkeyPatch.context() as disk:
        disk.setattr("shutil.disk_usage", lambda _path: SimpleNamespace(free=next(free, RESERVE_BYTES // 2)))
        with pytest.raises(StoppedError, match="needed"):
            run(project, job)
    job.write_text(text, encoding="utf-8")
    assert counts_of(run(project, job)).delivered == 2_000


def test_states_of_a_run(project: Project) -> None:
    """The ledger's history tells every step in its order."""
    end = run(project, project.people(50))
    with LedgerReader(end.run.ledger) as reader:
        states = [state for _, state, _, _ in reader.history()]
    expected = [RunState.STAGING, RunState.PREPARING, RunState.PREPARED, RunState.DELIVERING, RunState.FINISHED]
    assert states == expected


# ----------------------------------------------------------------------------------------------------- the pure parts


@given(st.integers(0, 10_500), st.integers(0, 10_500), st.integers(0, 10_500))
def test_gate_by_number(lost: int, whole: int, allowed: int) -> None:
    """A number lets exactly that many pass."""
    assert parse_share(str(allowed)).allows(lost, whole) == (lost <= allowed)


@pytest.mark.parametrize(
    ("text", "rejected", "passes"),
    [("0%", 0, True), ("0%", 1, False), ("0.1%", 1, True), ("0.1%", 2, False), ("100%", 1_000, True)],
)
def test_gate_by_share(text: str, rejected: int, passes: bool) -> None:
    """A share is of all calls planned, and lets exactly that share pass."""
    assert parse_share(text).allows(rejected, 1_000) == passes


@pytest.mark.parametrize("text", ["", "-1", "1.5", "101%", "%", "ten", "1e3", "5 %", "nan%"])
def test_gate_that_is_none(text: str) -> None:
    """What is neither a number nor a share is a usage error."""
    with pytest.raises(UsageError):
        parse_share(text)


def file(name: str, sha256: str = "0", size: int = 10) -> SourceFile:
    """A source file as a fingerprint knows it."""
    return SourceFile(f"/data/{name}", name, name, size, sha256, 0, 0, 0)


def test_files_that_differ_are_named() -> None:
    """A file that is gone, new, of other bytes; one that was only moved or touched is the same."""
    before = Fingerprint("j", {}, (file("a"), file("b"), file("c")))
    now = Fingerprint("j", {}, (replace(file("a"), path="/else/a", mtime_ns=5), file("b", "1", 12), file("d")))
    assert before.differences(now) == ["b was changed (+2 bytes)", "c is no longer there", "d is new"]
    assert before.differences(before) == []


def test_fields_that_differ_are_named() -> None:
    """Each field by its path: changed, added, removed, and values equal but of another type."""
    before = {"name": "x", "calls": [{"type": "track", "when": "a"}], "version": 1}
    now = {"name": "y", "calls": [{"type": "track", "label": "l"}], "version": True}
    assert sorted(field_differences(before, now)) == [
        "calls[0].label was added",
        "calls[0].when was removed",
        "name was changed",
        "version was changed",
    ]
    assert list_differences([str(number) for number in range(8)]) == "0; 1; 2; 3; 4; and 3 more"


DATA = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(min_size=1, max_size=5), inner, max_size=3),
    max_leaves=10,
)


@given(DATA, DATA)
def test_field_differences_are_complete(before: object, now: object) -> None:
    """There is a difference exactly where the canonical JSON differs."""
    same = json.dumps(before, sort_keys=True) == json.dumps(now, sort_keys=True)
    assert (list(field_differences({"job": before}, {"job": now})) == []) == same


def test_forecasts() -> None:
    """Forecasts grow with what is there, and a part done tells the rest."""
    plain = job_over("a.csv")
    declared = job_over("a.csv", columns={"n": "integer"})
    assert forecast(plain, []).bytes == RESERVE_BYTES
    assert forecast(plain, [file("a.csv", size=1000)]).bytes < forecast(plain, [file("a.csv.gz", size=1000)]).bytes
    assert forecast(plain, [file("a.csv", size=1000)]).bytes < forecast(declared, [file("a.csv", size=1000)]).bytes
    assert forecast(plain, [file("a.parquet", size=1000)]).snapshot == 0
    made = Forecast(snapshot=100, spool=1000)
    assert made.left(100) == 1000 + RESERVE_BYTES
    assert made.left(200) == 2000 + RESERVE_BYTES
    assert spool_bytes(rows_left=300, rows_done=100, bytes_done=1000) == 3000 + RESERVE_BYTES
    assert spool_bytes(rows_left=0, rows_done=0, bytes_done=0) == RESERVE_BYTES


def test_seconds_leave_out_the_thinking(project: Project, monkeypatch: pytest.MonkeyPatch, key: str) -> None:
    """Somebody who thinks for an hour about the question makes no slow run."""
    now = 0.0

    def confirm(_asked: Sequence[Confirmation]) -> bool:
        nonlocal now
        now += 3_600
        return True

    monkeypatch.setattr("backfill.pipeline.turns.time", SimpleNamespace(monotonic=lambda: now))
    with Sandbox() as sandbox:
        target = load_target(
            "segment", targets_file=None, endpoint=sandbox.endpoint, environ={"SEGMENT_WRITE_KEY": key}
        )
        around = RunContext(store=open_store(project.state), confirm=confirm)
        end = run_job(RunRequest(load_job(project.people(20)), target, Options(), around))
    assert (end.exit_code, end.seconds) == (ExitCode.DELIVERED, 0.0)


def test_a_disk_that_fills_up_while_staging(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is written is compared with what is free all the while, not only at the beginning."""
    job = project.people(40_000)
    free = [10**12]

    def fill(step: str, _done: int) -> None:
        if step == "stage":
            free[0] = 1_000

    monkeypatch.setattr("backfill.pipeline.stage.SPACE_SECONDS", -1.0)
    monkeypatch.setattr("backfill.state.place.shutil.disk_usage", lambda _folder: SimpleNamespace(free=free[0]))
    watch = Watch(fill)
    with pytest.raises(StoppedError, match="are free"):
        run(project, job, watch)
    assert watch.steps == ["stage"]


def test_a_disk_that_is_too_full_to_stage(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """What staging and preparing will take is compared with what is free before the first row is read."""
    job = project.people(40_000)
    monkeypatch.setattr("backfill.state.place.shutil.disk_usage", lambda _folder: SimpleNamespace(free=65_000_000))
    watch = Watch()
    with pytest.raises(StoppedError, match="are free"):
        run(project, job, watch)
    assert watch.steps == []
