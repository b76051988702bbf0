"""One run prepared by several processes: what comes out is what one makes, whoever dies on the way."""

import shutil
from pathlib import Path
from sqlite3 import connect

import pytest

from backfill.errors import ExitCode
from backfill.pipeline import parts
from backfill.prepare import frames, settled
from backfill.records.shard_form import shard_bytes, shard_of
from backfill.shared import files
from backfill.state import open_store
from tests.support.buckets import BUCKET, Asked, Fault, Store
from tests.support.postgres import Postgres
from tests.support.projects import Project, Result, backfill
from tests.support.waiting import until

#: Of the ledger what preparing has put there.
TABLES = ("shards", "batches", "problems", "samples", "days")
SAMPLES = sorted(path.name for path in (Path(__file__).resolve().parents[2] / "jobs").glob("*.yaml"))
#: A source of which every kind of thing is in several shards: repeated ids, in conflict too, ids that differ in case.
ODD = """\
version: 1
name: odd
source: {path: odd.csv, timezone: UTC, columns: {age: integer}}
calls:
  - type: identify
    message_key: [id]
    userId: id
    timestamp: {column: joined, format: "%Y-%m-%d %H:%M:%S"}
    traits: {email: email, age: age}
    integrations: {All: false}
  - type: track
    when: age > 10
    message_key: [id]
    userId: id
    timestamp: {column: joined, format: "%Y-%m-%d %H:%M:%S"}
    event: {value: Joined}
    integrations: {All: false}
"""


@pytest.fixture
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    """A few rows make several shards."""
    monkeypatch.setattr(frames, "SHARD_ROWS", 100)
    monkeypatch.setattr(parts, "SHARD_ROWS", 100)
    monkeypatch.setattr(files, "LATE", (0.01,))


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory, repository: Path) -> Path:
    """The sample jobs, their data, and one of oddities."""
    folder = tmp_path_factory.mktemp("samples")
    for name in ("jobs", "sample_data"):
        shutil.copytree(repository / name, folder / name)
    (folder / "jobs" / "odd.yaml").write_text(ODD, "utf-8")
    rows = [f"u{row},{row}@example.org,2023-05-{1 + row % 28:02} 10:00:00,{row % 90}" for row in range(400)]
    rows[70:70] = [*rows[:5], "U7,7@example.org,2023-05-08 10:00:00,7", "u9,other@example.org,2023-05-10 10:00:00,9"]
    rows[200] = rows[200].replace(",", ",,", 1)
    rows[300:300] = [*rows[65:75], "u3,3@example.org,2023-05-04 10:00:00,old"]
    (folder / "jobs" / "odd.csv").write_text("\n".join(["id,email,joined,age", *rows]) + "\n", "utf-8")
    return folder


def prepared(state: Path, spool: Path) -> tuple[dict[str, list[object]], list[str]]:
    """What preparing has left: rows of the ledger, and the names of the shared files, which have their digests."""
    (run,) = open_store(state).runs()
    with connect(f"file:{run.ledger}?mode=ro", uri=True) as ledger:
        told = {table: ledger.execute(f"SELECT * FROM {table}").fetchall() for table in TABLES}
        told["plan"] = ledger.execute("SELECT state, plan_digest FROM run").fetchall()
    ledger.close()
    (place,) = (spool / "runs").iterdir()
    found = sorted(path.relative_to(place).as_posix() for path in place.rglob("*") if path.is_file())
    return told, [name for name in found if not name.startswith("snapshot/")]


def part(job: Path, state: Path, spool: Path, *options: str) -> Result:
    """One process of those that prepare the job."""
    words = ("--target", "segment", "--state-dir", state, "--spool", spool, "--output", "json")
    return backfill("prepare", job, *words, *options)


@pytest.mark.parametrize("name", [*SAMPLES, "odd.yaml"])
def test_what_several_make_is_what_one_makes(
    small_shards: None, samples: Path, name: str, key: str, tmp_path: Path
) -> None:
    """Every sample job by two processes and by five: ids, batches, digests, problems, rejects; nothing is left over."""
    job = samples / "jobs" / name
    alone = part(job, tmp_path / "alone", tmp_path / "one")
    assert alone.object["state"] == "prepared", alone.err
    expected = prepared(tmp_path / "alone", tmp_path / "one")
    assert len(expected[0]["shards"]) > 1
    for of in (2, 5):
        state, spool = tmp_path / f"state{of}", tmp_path / f"spool{of}"
        ends = [part(job, state, spool, "--shards", f"{number}/{of}") for number in reversed(range(of))]
        assert [end.object["state"] for end in ends] == ["preparing"] * (of - 1) + ["prepared"], ends
        assert ends[-1].code == alone.code
        assert prepared(state, spool) == expected


def people(project: Project, tmp_path: Path) -> tuple[Path, Path, Path]:
    """A job of ten shards, and where its run and its bytes are to be."""
    return project.people(1_000, bad=[7, 700]), tmp_path / "state", tmp_path / "spool"


def test_a_plain_prepare_takes_what_is_there(small_shards: None, project: Project, key: str, tmp_path: Path) -> None:
    """It prepares the rest alone and completes the plan; a part that comes after that finds it complete."""
    job, state, spool = people(project, tmp_path)
    first = part(job, state, spool, "--shards", "0/3")
    assert first.object["shards"] == {"own": 4, "made": 4, "prepared": 4, "of": 10}
    (made,) = spool.rglob("000003.segment.*")
    before = made.stat()
    whole = part(job, state, spool)
    assert (whole.code, whole.object["state"], whole.object["calls"]["planned"]) == (
        ExitCode.REJECTS,
        "prepared",
        1_000,
    )
    assert made.stat() == before
    late = part(job, state, spool, "--shards", "1/3")
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
    part(job, state, spool, "--shards", "0/2")
    (file,) = spool.glob(f"runs/*/{what}")
    whole = file.read_bytes()
    file.unlink()
    if change == "other bytes":
        file.write_bytes(whole[:-1])
    again = part(job, state, spool, "--shards", "0/2")
    assert again.object["shards"] == {"own": 5, "made": 1, "prepared": 5, "of": 10}
    assert part(job, state, spool, "--shards", "1/2").object["state"] == "prepared"
    left = [path.read_bytes() for path in spool.glob(f"runs/*/{what}")]
    assert left == ([] if what.startswith("work/") else [whole])


def test_a_run_goes_by_what_began_it(
    small_shards: None, project: Project, key: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process of another version, or with other limits, prepares none of its shards; a changed job begins afresh."""
    job, state, spool = people(project, tmp_path)
    part(job, state, spool, "--shards", "0/2")
    with monkeypatch.context() as other:
        other.setattr(settled, "__version__", "0.0.1")
        refused = part(job, state, spool, "--shards", "1/2")
    assert refused.code == ExitCode.USAGE
    assert "0.0.1 here" in refused.err
    job.write_text(job.read_text("utf-8").replace("age: age", "years: age"), "utf-8")
    afresh = part(job, state, spool, "--shards", "1/2")
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


def test_a_shard_as_bytes(small_shards: None, project: Project, key: str, tmp_path: Path) -> None:
    """It comes back as it was, samples, days and profile included."""
    job, state, spool = people(project, tmp_path)
    part(job, state, spool, "--shards", "0/2")
    for file in spool.rglob("work/shard-*"):
        stored = file.read_bytes()
        plan = shard_of(stored)
        assert plan.profile.users.count == plan.rows - len(plan.samples)
        assert shard_bytes(plan) == stored
