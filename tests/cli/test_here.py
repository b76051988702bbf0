"""What messages tell to type works where the user stands; runs are found by their job file; places are told."""

from __future__ import annotations

import gzip
import re
import shlex
from pathlib import Path

import pytest

from backfill.cli.here import COMMAND, Here, display_path, display_source
from backfill.sandbox import Sandbox
from backfill.state.folder import StateFolder
from tests.support.projects import Project, Result, backfill


@pytest.fixture
def below(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    """A project in jobs/, whose state directory is in there; the user stands above, beside another state directory."""
    StateFolder(tmp_path / ".backfill").make_usable()
    (tmp_path / "jobs").mkdir()
    monkeypatch.chdir(tmp_path)
    return Project(tmp_path / "jobs")


def typed(result: Result, verb: str) -> list[str]:
    """The words of the command of that verb which was told."""
    told = [found[0] for found in COMMAND.finditer(result.err + result.out) if found[1] == verb]
    assert told, result.err + result.out
    return shlex.split(told[0].strip("`"))[1:]


def test_resume_after_a_canary(below: Project, endpoint: str, key: str) -> None:
    """The hint of a canary is a command that sends the rest from where the user stands."""
    job = below.people(60)
    canary = backfill("run", display_path(job), "--target", "segment", "--endpoint", endpoint, "--yes", "--canary")
    assert canary.code == 5
    resume = typed(canary, "resume")
    assert "--state-dir" in resume
    rest = backfill(*resume, "--yes")
    assert rest.code == 0, rest.err
    assert "60 received" in rest.out


def test_sandbox_after_a_canary(below: Project) -> None:
    """The sandbox that a canary's hint tells to look in is the one that has the calls."""
    canary = backfill("run", display_path(below.people(60)), "--target", "sandbox", "--yes", "--canary")
    assert typed(canary, "sandbox") == ["sandbox", "--store", "jobs/.backfill/sandbox"]
    assert Path("jobs/.backfill/sandbox").is_dir()


@pytest.mark.parametrize("verb", ["status", "rejects", "resume"])
def test_runs_by_their_job_file(below: Project, endpoint: str, key: str, verb: str) -> None:
    """Verbs that take RUN take its job file, and look for the state beside that."""
    job = below.people(60, bad=[3])
    backfill("run", job, "--target", "segment", "--endpoint", endpoint, "--yes", "--canary")
    result = backfill(verb, "jobs/people.yaml", *(["--yes"] if verb == "resume" else []))
    assert result.code == (3 if verb == "resume" else 0), result.err
    assert "people" in result.out
    nothing = backfill(verb, "jobs/other.yaml")
    assert nothing.code == 2
    assert "jobs/other.yaml" in nothing.err


@pytest.mark.parametrize("verb", ["status", "rejects", "resume"])
def test_the_place_is_told_where_nothing_is_found(below: Project, endpoint: str, key: str, verb: str) -> None:
    """Nothing found says where it was looked for and which state directory there is instead; that option works."""
    job = below.people(60, bad=[3])
    backfill("run", job, "--target", "segment", "--endpoint", endpoint, "--yes", "--canary")
    nothing = backfill(verb)
    assert ".backfill" in nothing.err
    assert "--state-dir jobs/.backfill" in nothing.err
    assert backfill("status", "--state-dir", "jobs/.backfill").out


@pytest.mark.parametrize("words", [["status", "jobs/people.yaml"], ["resume", "jobs/people.yaml"], ["resume"]])
def test_the_hint_is_of_the_place_that_was_named(below: Project, words: list[str]) -> None:
    """Where --state-dir was said it is not asked for, and the runs of no other place are offered."""
    backfill("run", below.people(5), "--target", "sandbox")
    StateFolder(Path("named")).make_usable()
    begun = backfill(*words, "--state-dir", "named")
    assert "no run was begun there yet" in begun.err
    nothing = backfill(*words, "--state-dir", "nowhere")
    assert "nowhere is no state directory" in nothing.err
    for told in (begun, nothing):
        assert told.code == 2
        assert "--state-dir" not in told.err
        assert "jobs/.backfill" not in told.err


def test_the_place_is_told_when_it_is_made(below: Project) -> None:
    """The first verb that makes a state directory says where; no later one does."""
    job = below.people(5)
    for verb in (["dry-run"], ["run", "--target", "sandbox"]):
        first = backfill(*verb, job)
        assert ("Runs are kept in jobs/.backfill" in first.err) is (verb == ["dry-run"])


@pytest.mark.parametrize(
    ("told", "completed"),
    [
        ("`backfill resume` goes on", "`backfill resume people-g1 --state-dir 'my state' --targets t.yaml` goes on"),
        ("`backfill resume -q`", "`backfill resume people-g1 -q --state-dir 'my state' --targets t.yaml`"),
        ("`backfill rejects RUN`", "`backfill rejects people-g1 --state-dir 'my state'`"),
        ("`backfill status`", "`backfill status --state-dir 'my state'`"),
        ("`backfill run JOB -q`", "`backfill run a/b.yaml -q --state-dir 'my state' --target prod --targets t.yaml`"),
        (
            "`backfill run JOB --target sandbox`",
            "`backfill run a/b.yaml --target sandbox --state-dir 'my state' --targets t.yaml`",
        ),
        ("`backfill sandbox`", "`backfill sandbox --store 'my state/sandbox'`"),
        ("`backfill sandbox --store DIR`", "`backfill sandbox --store DIR`"),
        ("`generation: 2` in the job", "`generation: 2` in the job"),
    ],
)  # fmt: skip
def test_commands_are_completed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, told: str, completed: str) -> None:
    """A quoted command gets the run, the job, and the options without which it would look elsewhere."""
    monkeypatch.chdir(tmp_path)
    given = {"--state-dir": "my state", "--target": "prod", "--targets": "t.yaml"}
    here = Here(given, tmp_path / "my state", "people-g1", "a/b.yaml")
    assert here.completed(told) == completed


def test_the_usual_place_needs_no_option(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the state directory is found by itself it is not named."""
    monkeypatch.chdir(tmp_path)
    here = Here({}, tmp_path / ".backfill", "people-g1")
    assert here.completed("`backfill resume`") == "`backfill resume people-g1`"


def test_rejects_never_say_that_all_was_sent(below: Project, endpoint: str, key: str) -> None:
    """While calls are pending, or the source was not read, `rejects` says so; the counts it tells add up."""
    job = below.people(60)
    backfill("run", job, "--target", "segment", "--endpoint", endpoint, "--yes", "--canary")
    pending = backfill("rejects", job)
    assert "no row was rejected" in pending.err
    assert "60 planned, 10 delivered, 50 pending" in pending.err
    broken = below.people(5, name="broken")
    (below.folder / "broken.csv").write_bytes(b"")
    assert backfill("run", broken, "--target", "sandbox").code == 9
    unread = backfill("rejects", broken)
    assert "was sent" not in unread.err + pending.err
    assert unread.code == 2 or "nothing is known" in unread.err


def test_rejects_of_a_dry_run(below: Project) -> None:
    """A dry run's id is shown; its rejects and status are found by the id, by the job file, and after a preview."""
    job = below.people(20, bad=[7])
    dry = backfill("dry-run", job)
    (run_id,) = set(re.findall(r"people-dry-g1-[0-9a-f]{8}", dry.out))
    assert backfill(*typed(dry, "status")).out.startswith("DRY RUN")
    assert backfill("preview", job, "-n", "2").code == 0
    state = ["--state-dir", below.state]
    for words in ([run_id, *state], [job, "--dry-run"], ["--dry-run", *state]):
        rejects = backfill("rejects", *words)
        assert rejects.code == 0, rejects.err
        assert "BF117 jobs/people.csv:9 (record 8): identify" in rejects.out
        assert "1 rejected, 19 to send" in rejects.err
        assert backfill("status", *words).code == 0
    assert "There are dry runs" in backfill("rejects", *state).err


def test_files_are_told_from_the_current_directory(below: Project) -> None:
    """`preview` and problems tell a file alike, and `calls --record` takes it as told, as named in the job, whole."""
    job = below.people(20, bad=[7])
    previewed = backfill("preview", job, "-n", "8")
    assert "--- jobs/people.csv, record 8\n" in previewed.out
    backfill("dry-run", job)
    for file in ("jobs/people.csv", "./jobs/people.csv", "people.csv", below.folder / "people.csv"):
        found = backfill("calls", job, "--record", f"{file}:3")
        assert (found.code, found.out.count("--- ")) == (0, 1), found.err
    other = backfill("calls", job, "--record", "jobs/person.csv:3")
    assert other.code == 2
    assert "there are jobs/people.csv" in other.err


def test_export_of_several_runs_says_which(below: Project) -> None:
    """Each line of a mixed export has its run."""
    for name in ("one", "two"):
        backfill("run", below.people(20, bad=[7], name=name), "--target", "sandbox")
    backfill("rejects", "--state-dir", below.state, "--export", "bad.ndjson")
    lines = Path("bad.ndjson").read_text("utf-8").splitlines()
    assert sorted(re.findall(r'"run":"(\w+)-sandbox', "".join(lines))) == ["one", "two"]


def test_embedded_store_is_used_by_one(below: Project) -> None:
    """The hint of a store in use names commands that exist."""
    store = below.folder / "store"
    with Sandbox(store):
        told = backfill("sandbox", "--port", "0", "--store", store)
    assert told.code == 7
    assert "`backfill sandbox --store DIR`" in told.err


@pytest.mark.parametrize(
    ("path", "content", "said"),
    [
        ("none.csv", None, "Error: data/none.csv does not exist"),
        ("*.csv", None, "Error: no file matches data/*.csv"),
        ("a.csv", b"", "Error: data/a.csv is empty"),
        ("a.csv.gz", gzip.compress(b"id\nu1\n", mtime=0)[:-9], "Error: data/a.csv.gz is truncated or corrupt"),
    ],
)
@pytest.mark.parametrize("verb", [("check",), ("dry-run",), ("run", "--target", "sandbox")])
def test_sources_are_told_from_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, verb: tuple[str, ...], path: str, content: bytes | None, said: str
) -> None:
    """A job file names them from its own folder; messages say where they are from the current one."""
    monkeypatch.chdir(tmp_path)
    for folder in ("data", "jobs"):
        (tmp_path / folder).mkdir()
    job = Project(tmp_path / "jobs").people(1)
    job.write_text(job.read_text("utf-8").replace("people.csv", f'"../data/{path}"', 1), "utf-8")
    if content is not None:
        (tmp_path / "data" / path).write_bytes(content)
    result = backfill(verb[0], "jobs/people.yaml", *verb[1:])
    assert (result.code, said in result.err) == (9, True), result.err


@pytest.mark.parametrize(
    ("path", "shown"),
    [
        ("postgresql:///shop?host=%2Ftmp%2Fserver", "postgresql:shop"),
        ("mysql://host:3306/shop", "mysql:shop"),
        ("postgresql://host", "postgresql:host"),
        ("s3://bucket/shop.csv", "s3://bucket/shop.csv"),
        ("shop.csv", "shop.csv"),
    ],
)
def test_a_server_is_named_in_short(path: str, shown: str) -> None:
    """The URL of a server would be the most of each problem's line; that of an object names a file."""
    assert display_source(path) == shown
