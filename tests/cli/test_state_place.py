"""--state: runs in a database, named on the command line, in the environment or in targets.yaml."""

import shutil
import sys
from pathlib import Path

import pytest

from backfill import Job, run
from backfill.errors import ExitCode
from backfill.ledger.postgres import Database
from tests.support.postgres import Postgres
from tests.support.projects import Project, backfill

SANDBOX = ("--target", "sandbox", "--yes", "--no-progress")


@pytest.fixture
def url(postgres: Postgres) -> str:
    """A database without runs."""
    return postgres.url(postgres.new_database())


def test_a_run_from_its_begin_to_its_report(
    project: Project, url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Run, look, run again; another machine sees it, and is told where its bytes are."""
    job = project.people(30, bad=[4])
    done = backfill("run", job, *SANDBOX, "--state", url, "--output", "json")
    assert done.code == ExitCode.REJECTS
    assert f"Runs are kept in {url}. The bytes of one that begins now are in" in done.err.replace("\n", " ")
    told = done.object
    assert (told["state"], told["calls"]["delivered"], told["calls"]["rejected"]) == ("finished", 29, 1)
    again = backfill("run", job, *SANDBOX, "--state", url, "--output", "json")
    assert (again.code, again.object["requests"]) == (ExitCode.REJECTS, 0), again.err
    assert not list(project.state.rglob("ledger.sqlite3"))
    one = backfill("status", told["run_id"], "--state", url)
    assert f"ledger    {url}, schema backfill_" in one.out
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BACKFILL_STATE", url)
    listed = backfill("status", "--output", "json")
    assert [run["run_id"] for run in listed.objects] == [told["run_id"]]
    assert listed.object["held_by"] is None
    rejects = backfill("rejects", told["run_id"], "--state-dir", project.state)
    assert "record 5" in rejects.out
    assert [tuple(row) for row in Database(url).rows("SELECT run_id, state FROM backfill.runs")] == [
        (told["run_id"], "finished")
    ]


def test_another_machine_goes_on(project: Project, url: str, tmp_path: Path) -> None:
    """With the ledger in a database and the bytes in a shared folder nothing of the first machine is needed."""
    job = project.people(40, bad=[7])
    places = ("--state", url, "--spool", tmp_path / "shared")
    begun = backfill("run", job, *SANDBOX, *places, "--canary", "--output", "json")
    assert (begun.code, begun.object["calls"]["delivered"]) == (ExitCode.STOPPED, 10)
    shutil.rmtree(project.state / "bytes")
    other = ("--state", url, "--state-dir", tmp_path / "other")
    done = backfill("resume", "--yes", "--no-progress", *other, "--output", "json")
    assert (done.code, done.object["calls"]["delivered"]) == (ExitCode.REJECTS, 39)
    assert "record 8" in backfill("rejects", done.object["run_id"], *other).out
    again = backfill("run", job, *SANDBOX, *other, "--output", "json")
    assert (again.code, again.object["requests"]) == (ExitCode.REJECTS, 0), again.err


def test_from_python(project: Project, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run of the library is the same run, whether the place is said or stands in targets.yaml."""
    job = project.people(5)
    done = run(Job.load(job), state=url)
    assert (done.run_id, done.counts.delivered) == (Database(url).rows("SELECT run_id FROM backfill.runs")[0][0], 5)
    (project.folder / "targets.yaml").write_text(f"version: 1\ntargets: {{}}\nstate: {url}\n")
    assert run(Job.load(job)).run_id == done.run_id
    assert backfill("run", job, *SANDBOX, "--output", "json").object["requests"] == 0
    assert not (project.state / "runs" / done.run_id).exists()


def test_who_holds_what_since_when(project: Project, url: str) -> None:
    """`status` and whoever comes second are told."""
    from backfill.state import open_store

    job = project.people(3)
    told = backfill("run", job, *SANDBOX, "--state", url, "--output", "json").object
    store = open_store(project.state, database=url)
    with store.lock(told["run_id"]):
        assert "at work: pid " in backfill("status", "--state", url).out
        one = backfill("status", told["run_id"], "--state", url)
        assert ", since 20" in one.out
        refused = backfill("run", job, *SANDBOX, "--state", url)
        assert refused.code == ExitCode.LOCKED
        assert "another process (pid " in refused.err


def test_targets_yaml_says_it(project: Project, url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A database, with variables; or a folder, from where the file is."""
    job = project.people(3)
    targets = project.folder / "targets.yaml"
    monkeypatch.setenv("RUNS", url.rpartition("/")[2])
    targets.write_text(f"version: 1\ntargets: {{}}\nstate: {url.rpartition('/')[0]}/${{RUNS}}\n")
    assert backfill("run", job, *SANDBOX).code == ExitCode.DELIVERED
    assert len(Database(url).rows("SELECT 1 FROM backfill.runs")) == 1
    targets.write_text("version: 1\ntargets: {}\nstate: kept/runs\n")
    monkeypatch.chdir(tmp_path)
    assert backfill("run", job, *SANDBOX).code == ExitCode.DELIVERED
    assert (project.folder / "kept" / "runs" / "runs").is_dir()
    assert backfill("run", job, *SANDBOX, "--state", project.folder / "other").code == ExitCode.DELIVERED
    assert (project.folder / "other" / "runs").is_dir()


@pytest.mark.parametrize(
    "place",
    [
        "postgresql://me:sEcReT@host/db",
        "postgresql://me%3AsEcReT@host/db",
        "postgresql://host/db?password=sEcReT",
        "postgresql://host/db?PassWord=sEcReT",
        "mysql://me:sEcReT@host/db",
        *("postgresql://me:sEcReT/x@host/db", "postgresql://me:sEcReT?x@host/db", "postgresql://me:sEcReT#x@host/db"),
        "postgresql://me@host:sEcReT/db",
        "postgresql:me:sEcReT@host/db",
        "host=here password=sEcReT",
    ],
)
def test_no_password_is_taken_or_shown(project: Project, place: str) -> None:
    """Neither from the command line nor from the file."""
    job = project.people(3)
    for words in (("run", job, *SANDBOX), ("status",), ("doctor",)):
        refused = backfill(*words, "--state", place)
        assert refused.code == ExitCode.USAGE
        assert "sEcReT" not in refused.err
    (project.folder / "targets.yaml").write_text(f"version: 1\ntargets: {{}}\nstate: {place}\n")
    refused = backfill("run", job, *SANDBOX)
    assert refused.code == ExitCode.USAGE
    assert "sEcReT" not in refused.err
    assert "`state` in" in refused.err


def test_the_password_comes_from_the_environment(
    postgres: Postgres, url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Or from files as psql has them; where it is missing or wrong, the run has not begun."""
    monkeypatch.chdir(tmp_path)
    database = url.rpartition("/")[2]
    postgres.sql(
        "DO $$ BEGIN IF to_regrole('keeps') IS NULL THEN CREATE ROLE keeps LOGIN; END IF; END $$;"
        f"ALTER ROLE keeps PASSWORD 'sEcReT'; GRANT CREATE ON DATABASE {database} TO keeps"
    )
    asked = postgres.url(database, "keeps")
    monkeypatch.delenv("PGPASSWORD", raising=False)
    for password, code in (("", ExitCode.STOPPED), ("wRoNg", ExitCode.STOPPED), ("sEcReT", ExitCode.DELIVERED)):
        monkeypatch.setenv("PGPASSWORD", password)
        looked = backfill("status", "--state", asked)
        assert looked.code == code, looked.err
        assert "password" in looked.err or not code
        assert "sEcReT" not in looked.err
        assert "wRoNg" not in looked.err
    monkeypatch.delenv("PGPASSWORD")
    passwords, services = tmp_path / "passwords", tmp_path / "services"
    passwords.write_text(f"127.0.0.1:{postgres.port}:{database}:keeps:sEcReT\n")
    passwords.chmod(0o600)
    services.write_text(f"[runs]\nhost=127.0.0.1\nport={postgres.port}\ndbname={database}\nuser=keeps\n")
    monkeypatch.setenv("PGPASSFILE", str(passwords))
    monkeypatch.setenv("PGSERVICEFILE", str(services))
    for place in (asked, "postgresql://?service=runs"):
        looked = backfill("status", "--state", place)
        assert (looked.code, "sEcReT" in looked.err) == (ExitCode.DELIVERED, False), looked.err


def test_without_the_extra(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error names what brings it."""
    monkeypatch.setitem(sys.modules, "psycopg", None)
    refused = backfill("run", project.people(3), *SANDBOX, "--state", "postgresql://127.0.0.1/runs")
    assert refused.code == ExitCode.USAGE
    assert " 'backfill[postgres]'" in refused.err


def test_doctor_looks_at_the_database(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether it can be reached, and keeps what it is told: the servers of tests do not force it to the disk."""
    monkeypatch.chdir(tmp_path)
    found = backfill("doctor", "--state", url)
    assert found.code == ExitCode.STOPPED
    assert "loses commits in a crash: fsync is off" in found.out.replace("\n", " ")
    monkeypatch.setattr("backfill.ledger.postgres.database.FSYNC", "off")
    found = backfill("doctor", "--state", url, "--output", "json")
    (said,) = [one["message"] for one in found.object["findings"] if one["about"] == "state database"]
    assert said.startswith(f"{url}: PostgreSQL ")
    assert said.endswith("a first run makes its tables")
    gone = backfill("doctor", "--state", "postgresql://127.0.0.1:1/runs")
    assert gone.code == ExitCode.STOPPED
