"""One run prepared by several processes: what comes out is what one makes, whoever dies on the way."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from backfill.errors import ExitCode
from backfill.pipeline import parts
from backfill.pipeline.context import RunResult
from backfill.pipeline.machine_work import ShardTask
from backfill.pipeline.turns import JobRun
from backfill.prepare import settled
from backfill.records.shard_form import shard_bytes, shard_of
from backfill.sandbox import Sandbox
from backfill.shared import SharedFiles, files
from backfill.state import open_store
from bench import cluster_demo
from tests.support.buckets import BUCKET, Asked, Fault, Store
from tests.support.postgres import Postgres
from tests.support.preparing import JOBS, prepare, prepared, small_process
from tests.support.projects import Project, backfill
from tests.support.waiting import until


@pytest.mark.parametrize("name", JOBS)
def test_what_several_make_is_what_one_makes(
    small_shards: None, samples: Path, name: str, key: str, tmp_path: Path
) -> None:
    """Every sample job by two processes and by five: ids, batches, digests, problems, rejects; nothing is left over."""
    job = samples / name
    alone = prepare(job, tmp_path / "alone", tmp_path / "one")
    assert alone.object["state"] == "prepared", alone.err
    expected = prepared(tmp_path / "alone", tmp_path / "one")
    assert len(expected[0]["shards"]) > 1
    for of in (2, 5):
        state, spool = tmp_path / f"state{of}", tmp_path / f"spool{of}"
        ends = [prepare(job, state, spool, "--shards", f"{number}/{of}") for number in reversed(range(of))]
        assert [end.object["state"] for end in ends] == ["preparing"] * (of - 1) + ["prepared"], ends
        assert ends[-1].code == alone.code
        assert prepared(state, spool) == expected


def people(project: Project, tmp_path: Path) -> tuple[Path, Path, Path]:
    """A job of ten shards, and where its run and its bytes are to be."""
    return project.people(1_000, bad=[7, 700]), tmp_path / "state", tmp_path / "spool"


def test_a_plain_prepare_takes_what_is_there(small_shards: None, project: Project, key: str, tmp_path: Path) -> None:
    """It prepares the rest alone and completes the plan; a part that comes after that finds it complete."""
    job, state, spool = people(project, tmp_path)
    first = prepare(job, state, spool, "--shards", "0/3")
    assert first.object["shards"] == {"own": 4, "made": 4, "prepared": 4, "of": 10}
    assert "preparing (4 of 10 shards)" in backfill("status", "--state-dir", state).out
    assert "4 of 10 are there" in backfill("status", job, "--state-dir", state).out
    for verb in ("verify", "deliver"):  # neither can be of a plan that is not whole
        told = backfill(verb, job, *(["--yes"] if verb == "deliver" else []), "--state-dir", state)
        assert (told.out, "`backfill run " in told.err) == ("", True), told.err
    (made,) = spool.rglob("000003.segment.*")
    before = made.stat()
    whole = prepare(job, state, spool)
    assert (whole.code, whole.object["state"], whole.object["calls"]["planned"]) == (
        ExitCode.REJECTS,
        "prepared",
        1_000,
    )
    assert made.stat() == before
    late = prepare(job, state, spool, "--shards", "1/3")
    assert (late.code, late.object["state"], late.object["batches"]) == (
        whole.code,
        "prepared",
        whole.object["batches"],
    )
    assert not list(spool.rglob("work/*"))


@pytest.mark.parametrize("what", ["work/shard-000004.*", "spool/000004.segment.*", "spool/000004.calls.*"])
@pytest.mark.parametrize("change", ["other bytes", "gone"])
def test_what_is_damaged_is_prepared_again(
    small_shards: None, project: Project, key: str, tmp_path: Path, what: str, change: str
) -> None:
    """Run again a part takes what is whole, and makes the rest: so with a file of one shard that is not what it was."""
    job, state, spool = people(project, tmp_path)
    prepare(job, state, spool, "--shards", "0/2")
    (file,) = spool.glob(f"runs/*/{what}")
    whole = file.read_bytes()
    file.unlink()
    if change == "other bytes":
        file.write_bytes(whole[:-1])
    again = prepare(job, state, spool, "--shards", "0/2")
    assert again.object["shards"] == {"own": 5, "made": 1, "prepared": 5, "of": 10}
    assert prepare(job, state, spool, "--shards", "1/2").object["state"] == "prepared"
    left = [path.read_bytes() for path in spool.glob(f"runs/*/{what}")]
    assert left == ([] if what.startswith("work/") else [whole])


def test_whoever_is_last_makes_what_went_bad(small_shards: None, project: Project, key: str, tmp_path: Path) -> None:
    """Of the shards of others, which ended well and do not come again: the result is that of one process."""
    job, state, spool = people(project, tmp_path)
    prepare(job, state, spool, "--shards", "0/2")
    (described,) = spool.rglob("work/shard-000004.*")
    described.write_bytes(described.read_bytes()[:-1])
    (segment,) = spool.glob("runs/*/spool/000006.segment.*")
    segment.unlink()
    last = prepare(job, state, spool, "--shards", "1/2")
    assert (last.code, last.object["state"]) == (ExitCode.REJECTS, "prepared"), last.err
    prepare(job, tmp_path / "alone", tmp_path / "one")
    assert prepared(state, spool) == prepared(tmp_path / "alone", tmp_path / "one")


def in_a_process(project: Project, job: Path, state: Path, spool: Path) -> dict[str, int]:
    """What a process tells of the shards of the part 0/2, which it prepares."""
    words = ("prepare", job, "--target", "segment", "--state-dir", state, "--spool", spool, "--output", "json")
    out, err = small_process(project, *words, "--shards", "0/2").communicate(timeout=60)
    shards: dict[str, int] = json.loads(out)["shards"] if out else pytest.fail(err)
    return shards


def test_one_part_twice_at_once(
    small_shards: None, project: Project, key: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where it is started again too early: neither takes away the copies of the other, but those of a killed one."""
    job, state, spool = people(project, tmp_path)
    keep, first = SharedFiles.keep, iter([True])

    def after_another(shared: SharedFiles, name: str, stopping: Callable[[], bool]) -> None:
        if "segment" in name and next(first, False):
            killed = next((state / "cache").glob("*.0-of-2-*")).with_suffix(".0-of-2-killed") / "spool"
            killed.mkdir(parents=True)
            for left in (".lock", name):
                (killed / left).touch()
            others.append(in_a_process(project, job, state, spool)["prepared"])
        keep(shared, name, stopping)

    others: list[int] = []
    monkeypatch.setattr(SharedFiles, "keep", after_another)
    end = prepare(job, state, spool, "--shards", "0/2")
    assert end.object["shards"] == {"own": 5, "made": 5, "prepared": 5, "of": 10}, end.err
    assert others == [5]
    assert len(list((state / "cache").iterdir())) <= 1  # of the run; those of the parts are gone
    assert prepare(job, state, spool, "--shards", "1/2").object["state"] == "prepared"


def test_a_run_that_was_begun_anew_meanwhile(
    small_shards: None, project: Project, key: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While a part was prepared the job was changed, and another process began its run afresh: nothing is mixed."""
    job, state, spool = people(project, tmp_path)
    text, complete = job.read_text("utf-8"), parts.complete_together

    def late(one: JobRun, task: ShardTask) -> RunResult:
        monkeypatch.setattr(parts, "complete_together", complete)
        job.write_text(text.replace("age: age", "years: age"), "utf-8")
        assert in_a_process(project, job, state, spool)["prepared"] == 5
        return complete(one, task)

    monkeypatch.setattr(parts, "complete_together", late)
    refused = prepare(job, state, spool, "--shards", "0/1")
    assert (refused.code, "begun anew meanwhile" in refused.err) == (ExitCode.REFUSED, True), refused.err


def test_a_run_goes_by_what_began_it(
    small_shards: None, project: Project, key: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process of another version, or with other limits, prepares none of its shards; a changed job begins afresh."""
    job, state, spool = people(project, tmp_path)
    prepare(job, state, spool, "--shards", "0/2")
    with monkeypatch.context() as other:
        other.setattr(settled, "__version__", "0.0.1")
        refused = prepare(job, state, spool, "--shards", "1/2")
    assert refused.code == ExitCode.USAGE
    assert "0.0.1 here" in refused.err
    job.write_text(job.read_text("utf-8").replace("age: age", "years: age"), "utf-8")
    afresh = prepare(job, state, spool, "--shards", "1/2")
    assert afresh.object["shards"]["prepared"] == 5
    assert "begins afresh" in afresh.err


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--shards", "16/16"], "15/16"),
        (["--shards", "1"], "--shards 1"),
        (["--shards", "0/0"], "--shards 0/0"),
        (["--shards", "0/2", "--abandon"], "--abandon"),
        (["--shards", "0/2"], "--spool"),
    ],
)
def test_what_is_no_part(project: Project, key: str, words: list[str], told: str) -> None:
    """Each is the user's mistake, and nothing is begun."""
    end = backfill("prepare", project.people(3), "--target", "segment", *words)
    assert end.code == ExitCode.USAGE
    assert told in end.err
    assert not list(project.state.glob("runs/*"))


def test_only_one_job(project: Project, key: str, tmp_path: Path) -> None:
    """Each job has shards of its own."""
    jobs = [project.people(3), project.people(3, name="others")]
    end = backfill("prepare", *jobs, "--target", "segment", "--spool", tmp_path / "spool", "--shards", "0/2")
    assert (end.code, "--shards is of one job" in end.err) == (ExitCode.USAGE, True)


def test_machines_that_are_killed(
    project: Project, key: str, in_bucket: Store, postgres: Postgres, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SIGKILL while the second shard of a part is put: the first is there, for another machine that goes on with it."""
    monkeypatch.setattr(files, "LATE", (0.01,))
    job = project.people(70_000)  # three shards
    database, spool = postgres.url(postgres.new_database()), f"s3://{BUCKET}/spool"
    words = ("prepare", job, "--target", "segment", "--spool", spool, "--state", database, "--output", "json")
    killed: list[int] = []
    shards: set[str] = set()

    def second(asked: Asked) -> Fault | None:
        if asked.method == "PUT" and "work/shard-" in asked.key and not killed:
            shards.add(asked.key)
            if len(shards) < 2:
                return None
            first.kill()
            killed.append(first.wait())
            return Fault(503, "SlowDown")
        return None

    in_bucket.script = second
    first = project.process(*words, "--shards", "0/2", "--state-dir", tmp_path / "a")
    until(lambda: killed)
    in_bucket.script = lambda _: None
    other = ("--state-dir", tmp_path / "b")
    gone_on = backfill(*words, "--shards", "0/2", *other)
    assert gone_on.object["shards"] == {"own": 2, "made": 1, "prepared": 2, "of": 3}, gone_on.err
    last = backfill(*words, "--shards", "1/2", "--state-dir", tmp_path / "c")
    assert (last.code, last.object["calls"]["planned"]) == (ExitCode.DELIVERED, 70_000), last.err
    assert not [name for name in in_bucket.objects if "work/shard-" in name]


def test_all_at_once(project: Project, key: str, tmp_path: Path) -> None:
    """Three processes begin one run together: one stages, and whoever is the last completes the plan."""
    job = project.people(70_000)
    words = ("prepare", job, "--target", "segment", "--spool", tmp_path / "spool", "--output", "json")
    begun = [project.process(*words, "--shards", f"{number}/3") for number in range(3)]
    ends = [(process.communicate(timeout=60), process.returncode) for process in begun]
    assert [code for _, code in ends] == [ExitCode.DELIVERED] * 3, ends
    assert sum("which is new" in err for (_, err), _ in ends) <= 1
    assert any('"state": "prepared"' in out for (out, _), _ in ends)
    told = backfill("status", job, "--output", "json").object
    assert (told["state"], told["calls"]["planned"]) == ("prepared", 70_000)


def test_only_what_is_new(small_shards: None, project: Project, key: str, sandbox: Sandbox, tmp_path: Path) -> None:
    """Of a finished run whose source has grown: a part that finds another at work waits for what becomes of it."""
    job, state, spool = people(project, tmp_path)
    profile = f"{{kind: segment, endpoint: '{sandbox.endpoint}', rate: unlimited}}"
    (project.folder / "targets.yaml").write_text(f"version: 1\ntargets:\n  prod: {profile}\n", "utf-8")
    words = ("--target", "prod", "--state-dir", state, "--spool", spool, "--output", "json")
    assert backfill("run", job, "--yes", *words).object["calls"]["delivered"] == 998
    project.rows(1_300, bad=[7, 700])
    (run,) = open_store(state).runs()
    with open_store(state).lock(run.run_id):
        late = small_process(project, "prepare", job, *words, "--only-new", "--shards", "1/2")
        assert late.stderr is not None
        assert any("waits for another process" in line for line in late.stderr)
    out, err = late.communicate(timeout=60)
    assert json.loads(out)["shards"] == {"own": 6, "made": 6, "prepared": 6, "of": 13}, err
    first = backfill("prepare", job, *words, "--only-new", "--shards", "0/2")
    calls = first.object["calls"]
    assert (first.object["state"], calls["already_delivered"], calls["pending"]) == ("prepared", 998, 300), first.err


def test_a_shard_as_bytes(small_shards: None, project: Project, key: str, tmp_path: Path) -> None:
    """It comes back as it was, samples, days and profile included."""
    job, state, spool = people(project, tmp_path)
    prepare(job, state, spool, "--shards", "0/2")
    for file in spool.rglob("work/shard-*"):
        stored = file.read_bytes()
        plan = shard_of(stored)
        assert plan.profile.users.count == plan.rows - len(plan.samples)
        assert shard_bytes(plan) == stored


def test_the_demo(capsys: pytest.CaptureFixture[str]) -> None:
    """`make demo-cluster`, with fewer rows: two machines die, and each person's call is there once."""
    assert cluster_demo.main(["--rows", "99000"]) == 0
    told = capsys.readouterr().out
    assert told.count("was killed (SIGKILL)") == 2
    assert "machine 0 was killed (SIGKILL) while it put its second shard" in told
    assert "Every person's call is there, once." in told
