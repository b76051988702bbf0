"""The command line: every exit code, what goes where, and what it refuses before anything is read."""

from __future__ import annotations

import gzip
import json
import signal
import sqlite3
import subprocess
import time
import zlib
from collections.abc import Iterator
from pathlib import Path
from stat import S_IMODE

import click
import polars as pl
import pytest

from backfill.cli.group import VERBS
from backfill.cli.group import backfill as cli
from backfill.cli.handler import handled
from backfill.cli.session import Session
from backfill.sandbox import FaultScript, Sandbox
from backfill.state import StateFolder
from tests.projects import KEY, Project, backfill

KEYS_OF_JSON = [
    "schema_version",
    "run_id",
    "job",
    "target",
    "live",
    "state",
    "rows",
    "calls",
    "batches",
    "requests",
    "retries",
    "bytes",
    "seconds",
    "problems",
]


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """An empty project."""
    return Project(tmp_path, {"SEGMENT_WRITE_KEY": KEY})


@pytest.fixture
def endpoint() -> Iterator[str]:
    """An endpoint that takes everything, for live runs."""
    with Sandbox() as sandbox:
        yield sandbox.endpoint


@pytest.fixture
def key(monkeypatch: pytest.MonkeyPatch) -> str:
    """The write key in the environment."""
    monkeypatch.setenv("SEGMENT_WRITE_KEY", KEY)
    return KEY


def faulty(*rules: str) -> Sandbox:
    """An endpoint with scripted faults."""
    return Sandbox(faults=FaultScript.parse(list(rules)))


def identities_hold(summary: dict[str, object]) -> bool:
    """Whether the accounting of a JSON summary adds up, one call a row."""
    rows, calls = summary["rows"], summary["calls"]
    assert isinstance(rows, dict)
    assert isinstance(calls, dict)
    ended = sum(calls[name] for name in calls if name not in ("planned", "skipped"))
    return (
        rows["read"] == rows["filtered"] + rows["unreadable"] + rows["mapped"]
        and rows["mapped"] == calls["planned"] + calls["skipped"]
        and calls["planned"] == ended
    )


# ------------------------------------------------------------------------------------------------------------- help


@pytest.mark.parametrize("verb", VERBS)
def test_help_begins_with_an_example(verb: str) -> None:
    """After the usage line every verb's help shows a command that works, then says what it does."""
    result = backfill(verb, "--help")
    assert result.code == 0
    usage, first = result.out.split("\n\n", 1)
    assert usage.startswith(f"Usage: backfill {verb}")
    assert first.lstrip().startswith(f"backfill {verb}")


def test_help_lists_every_verb() -> None:
    """`backfill --help` names all verbs and the exit codes."""
    result = backfill("--help")
    assert result.code == 0
    assert all(f"  {verb} " in result.out for verb in VERBS)
    assert "130/143" in result.out


@pytest.mark.parametrize("verb", VERBS)
def test_documentation_names_every_option(repository: Path, verb: str) -> None:
    """docs/cli.md names each verb and each option that has a long name; the sandbox has a page of its own."""
    page = "sandbox.md" if verb == "sandbox" else "cli.md"
    text = (repository / "docs" / page).read_text(encoding="utf-8")
    command = cli.get_command(click.Context(cli), verb)
    assert command is not None
    options = [name for parameter in command.params for name in parameter.opts if name.startswith("--")]
    shared = {"--verbose", "--quiet", "--log-format", "--rows"}
    assert f"`{verb}" in text or f"backfill {verb}" in text
    assert [name for name in options if name not in text and name not in shared] == []


# ------------------------------------------------------------------------------------------------------- exit codes


def test_0_everything_delivered(project: Project) -> None:
    """A run of good rows into the embedded sandbox is 0, and its JSON is the promised object."""
    result = backfill("run", project.people(500), "--target", "sandbox", "--output", "json")
    assert result.code == 0, result.err
    summary = result.object
    assert list(summary) == KEYS_OF_JSON
    assert summary["state"] == "finished"
    assert summary["calls"]["delivered"] == summary["rows"]["read"] == 500
    assert summary["live"] is False
    assert summary["requests"] >= 2
    assert identities_hold(summary)


def test_0_again_without_a_request(project: Project) -> None:
    """A finished run sends nothing when run again, and gives its exit code again."""
    job = project.people(300)
    backfill("run", job, "--target", "sandbox")
    again = backfill("run", job, "--target", "sandbox", "--output", "json")
    assert again.code == 0
    assert again.object["requests"] == again.object["bytes"]["wire"] == 0
    assert again.object["calls"]["delivered"] == 300


def test_1_unexpected_failure_leaves_a_report(tmp_path: Path) -> None:
    """A defect of ours is exit 1 with a report of versions and places in the code, without values."""
    session = Session(state_folder=tmp_path)

    def broken() -> None:
        secret = "ada@example.org"
        raise ValueError(f"cannot handle {secret}")

    assert handled(session, broken) == 1
    (report,) = (tmp_path / "crashes").iterdir()
    text = report.read_text(encoding="utf-8")
    assert "ValueError" in text
    assert "polars" in text
    assert "in broken" in text
    assert "ada@example.org" not in text
    assert S_IMODE(report.stat().st_mode) == 0o600


def test_1_damaged_ledger(project: Project) -> None:
    """A ledger that is none is told as such, with a hint, not as a crash."""
    job = project.people(10)
    backfill("run", job, "--target", "sandbox")
    (run,) = StateFolder(project.state).runs()
    run.ledger.write_bytes(b"this is no database at all, whatever its name says" * 100)
    result = backfill("run", job, "--target", "sandbox")
    assert result.code == 1
    assert "ledger.sqlite3" in result.err
    assert "crash" not in result.err


def test_1_status_of_lost_commits(project: Project) -> None:
    """A ledger that is behind its mark is not shown as if nothing had happened since."""
    job = project.people(40)
    assert backfill("run", job, "--target", "sandbox", "--canary").code == 5
    ledger = StateFolder(project.state).runs()[0].ledger
    number = f"{1_000_000:020}"
    mark = ledger.with_name(f"{ledger.name}-mark")
    mark.write_text(f"{number} {zlib.crc32(number.encode()):08x}\n", encoding="ascii")
    for verb in ("status", "rejects"):
        result = backfill(verb, "--state-dir", project.state)
        assert result.code == 1
        assert "has lost its newest" in result.err
        assert "ledger.sqlite3-wal is damaged or gone" in result.err
    mark.unlink()
    assert backfill("status", "--state-dir", project.state).code == 0


def test_2_faults_of_a_job_all_at_once(project: Project) -> None:
    """Every fault is shown with its line; of several jobs one faulty one keeps all from running."""
    good, bad = project.people(10), project.people(10, name="bad")
    bad.write_text(bad.read_text(encoding="utf-8").replace("userId: id", "userid: id\n    evnt: x"), encoding="utf-8")
    result = backfill("run", good, bad, "--target", "sandbox")
    assert result.code == 2
    assert "bad.yaml:" in result.err
    assert "userId" in result.err
    assert "evnt" in result.err
    assert not project.state.exists()


def test_2_column_that_is_not_there(project: Project) -> None:
    """A column the source does not have is found before anything runs, with what was probably meant."""
    job = project.people(10)
    job.write_text(job.read_text(encoding="utf-8").replace("email: email", "email: emial"), encoding="utf-8")
    for verb in ("check", "dry-run"):
        result = backfill(verb, job)
        assert result.code == 2, verb
        assert "emial" in result.err
        assert "email" in result.err


def test_2_target_has_to_be_said_without_a_terminal(project: Project) -> None:
    """`run` does not guess where to send when nobody watches."""
    result = backfill("run", project.people(10))
    assert result.code == 2
    assert "--target" in result.err


def test_2_live_without_terminal_and_yes(project: Project, endpoint: str, key: str) -> None:
    """Nobody could confirm a live run: nothing is read, nothing is made."""
    result = backfill("run", project.people(10), "--target", "segment", "--endpoint", endpoint)
    assert result.code == 2
    assert "--yes" in result.err
    assert not project.state.exists()


def test_2_live_without_integrations(project: Project, endpoint: str, key: str) -> None:
    """A live run wants every call to say which destinations it may reach."""
    job = project.people(10)
    job.write_text(job.read_text(encoding="utf-8").replace("    integrations: {All: false}\n", ""), encoding="utf-8")
    result = backfill("run", job, "--target", "segment", "--endpoint", endpoint, "--yes")
    assert result.code == 2
    assert "integrations" in result.err
    assert backfill("run", job, "--target", "sandbox").code == 0


def test_2_live_without_a_key(project: Project, endpoint: str) -> None:
    """A missing write key is told by the name of its variable."""
    result = backfill("run", project.people(10), "--target", "segment", "--endpoint", endpoint, "--yes")
    assert result.code == 2
    assert "SEGMENT_WRITE_KEY" in result.err


def test_2_sandbox_elsewhere(project: Project) -> None:
    """The sandbox takes only loopback endpoints at which a sandbox of ours answers."""
    job = project.people(10)
    assert backfill("run", job, "--target", "sandbox", "--endpoint", "https://api.segment.io").code == 2
    nobody = backfill("run", job, "--target", "sandbox", "--endpoint", "http://127.0.0.1:9")
    assert nobody.code == 2
    assert "no sandbox" in nobody.err


def test_2_nothing_to_resume(project: Project) -> None:
    """`resume` without an unfinished run, and with a name that is no run's."""
    job = project.people(10)
    assert backfill("resume", "--state-dir", project.state).code == 2
    backfill("run", job, "--target", "sandbox")
    assert backfill("resume", "--state-dir", project.state).code == 2
    assert backfill("resume", "nothing", "--state-dir", project.state).code == 2


@pytest.mark.parametrize(
    "arguments",
    [
        ["run", "--no-such-option"],
        ["run", "missing.yaml"],
        ["run"],
        ["nonsense"],
    ],
    ids=" ".join,
)
def test_2_usage(arguments: list[str]) -> None:
    """Words the command line does not know are exit 2."""
    assert backfill(*arguments).code == 2


@pytest.mark.parametrize("options", [["--rate", "fast"], ["--max-rejects", "many"], ["--max-rejects", "101%"]])
def test_2_values_of_options(project: Project, options: list[str]) -> None:
    """Values that are none are refused with what would be one."""
    result = backfill("run", project.people(10), "--target", "sandbox", *options)
    assert result.code == 2
    assert options[1].rstrip("%") in result.err


def test_3_rejected_rows(project: Project) -> None:
    """Some rows rejected: the rest is delivered, a sample of each problem is on stderr, the run is finished."""
    job = project.people(100, bad=range(20, 28))
    result = backfill("run", job, "--target", "sandbox", "--output", "json")
    assert result.code == 3
    assert result.object["calls"]["rejected"] == 8
    assert result.object["calls"]["delivered"] == 92
    assert result.object["problems"] == {"BF117": 8}
    assert identities_hold(result.object)
    assert result.err.count("= 'old'") == 5
    assert "people.csv" in result.err
    assert backfill("run", job, "--target", "sandbox").code == 3


def test_3_unreadable_rows(project: Project) -> None:
    """A record with a field too many is unreadable, counted, and told with its line."""
    job = project.people(50)
    source = project.folder / "people.csv"
    source.write_text(source.read_text(encoding="utf-8") + "u9,x@example.org,2023-05-01 10:00:00,5,more\n")
    result = backfill("run", job, "--target", "sandbox", "--output", "json")
    assert result.code == 3
    assert result.object["rows"] == {"read": 51, "filtered": 0, "unreadable": 1, "mapped": 50}
    assert identities_hold(result.object)
    assert "BF002" in result.err
    assert "people.csv:52" in result.err


@pytest.mark.parametrize(("gate", "code"), [("7", 4), ("8", 3), ("7.9%", 4), ("8%", 3)])
@pytest.mark.parametrize("verb", ["run", "dry-run"])
def test_4_gate(project: Project, verb: str, gate: str, code: int) -> None:
    """--max-rejects lets exactly so many pass, as a number or a share; beyond it nothing is sent."""
    job = project.people(100, bad=range(8))
    result = backfill(verb, job, "--target", "sandbox", "--max-rejects", gate, "--output", "json")
    assert result.code == code
    if code == 4:
        assert result.object["requests"] == result.object["calls"]["delivered"] == 0
        assert "--max-rejects" in result.err


def test_4_then_a_higher_gate(project: Project) -> None:
    """What a gate held back is sent as it was prepared once the gate lets it pass."""
    job = project.people(100, bad=range(8))
    assert backfill("run", job, "--target", "sandbox", "--max-rejects", "0").code == 4
    result = backfill("run", job, "--target", "sandbox", "--output", "json")
    assert result.code == 3
    assert result.object["calls"]["delivered"] == 92


def test_5_canary_then_resume(project: Project, endpoint: str, key: str) -> None:
    """--canary stops after ten calls; `resume` finds the run, its endpoint and its rest by itself."""
    job = project.people(400)
    first = backfill("run", job, "--target", "segment", "--endpoint", endpoint, "--yes", "--canary", "--output", "json")
    assert first.code == 5, first.err
    assert first.object["calls"]["delivered"] == 10
    assert first.object["state"] == "stopped"
    assert "resume" in first.err
    rest = backfill("resume", "--yes", "--output", "json", "--state-dir", project.state)
    assert rest.code == 0, rest.err
    assert rest.object["calls"]["delivered"] == 400
    assert rest.object["live"] is True


def test_5_answer_that_is_neither(project: Project, key: str) -> None:
    """An answer that is neither success nor retry nor refusal stops the run, resumable."""
    job = project.people(100)
    with faulty("status=501,first=1") as sandbox:
        options = ["--target", "segment", "--endpoint", sandbox.endpoint, "--yes", "--output", "json"]
        stopped = backfill("run", job, *options)
        assert stopped.code == 5
        assert "501" in stopped.err
        assert identities_hold(stopped.object)
        assert backfill("run", job, *options).code == 0


def test_6_changed_mapping(project: Project, endpoint: str, key: str) -> None:
    """An edited job is refused for a live run, naming the field and the ways on; a comment is no edit."""
    job = project.people(20)
    options = ["--target", "segment", "--endpoint", endpoint, "--yes"]
    assert backfill("run", job, *options).code == 0
    text = job.read_text(encoding="utf-8")
    job.write_text("# a remark\n" + text, encoding="utf-8")
    assert backfill("run", job, *options).code == 0
    job.write_text(text.replace("age: age", "years: age"), encoding="utf-8")
    result = backfill("run", job, *options)
    assert result.code == 6
    assert "calls[0].traits.years" in result.err
    assert "generation: 2" in result.err


def test_6_changed_source(project: Project, endpoint: str, key: str) -> None:
    """A source with other bytes is refused by the name of its file, grown or of the same size; a touched one is not."""
    job = project.people(20)
    source = project.folder / "people.csv"
    options = ["--target", "segment", "--endpoint", endpoint, "--yes"]
    assert backfill("run", job, *options).code == 0
    source.touch()
    assert backfill("run", job, *options).code == 0
    source.write_bytes(source.read_bytes().replace(b"u000007", b"u000077"))
    same_size = backfill("run", job, *options)
    assert same_size.code == 6
    assert "people.csv" in same_size.err
    project.rows(21)
    assert backfill("run", job, *options).code == 6


def test_6_another_key(project: Project, endpoint: str, key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a key rotation the ids would be others: refused, with the id_scope to state."""
    job = project.people(20)
    options = ["--target", "segment", "--endpoint", endpoint, "--yes"]
    assert backfill("run", job, *options).code == 0
    monkeypatch.setenv("SEGMENT_WRITE_KEY", "another")
    result = backfill("run", job, *options)
    assert result.code == 6
    assert "id_scope" in result.err
    assert "another" not in result.err


def test_6_abandon(project: Project, endpoint: str, key: str) -> None:
    """--abandon gives up what a changed run has not sent; what it delivered stays left out."""
    job = project.people(30, bad=[1])
    options = ["--target", "segment", "--endpoint", endpoint, "--yes", "--output", "json"]
    assert backfill("run", job, *options, "--max-rejects", "0").code == 4
    project.rows(30)
    assert backfill("run", job, *options).code == 6
    assert backfill("run", job, *options, "--abandon", "--canary").code == 5
    given_up = backfill("run", job, *options, "--abandon")
    assert given_up.code == 0
    assert (given_up.object["calls"]["delivered"], given_up.object["calls"]["already_delivered"]) == (20, 10)


def test_sandbox_begins_afresh(project: Project) -> None:
    """For the sandbox a changed job is no refusal: it is prepared again."""
    job = project.people(20)
    backfill("run", job, "--target", "sandbox")
    project.rows(25)
    result = backfill("run", job, "--target", "sandbox", "--output", "json")
    assert result.code == 0
    assert result.object["calls"]["delivered"] == 25
    assert "people.csv was changed" in result.err


def test_7_run_is_held(project: Project) -> None:
    """Another process holds the run: exit 7 at once, naming it."""
    job = project.people(20)
    backfill("run", job, "--target", "sandbox")
    state = StateFolder(project.state)
    (run,) = state.runs()
    with state.lock(run.run_id):
        result = backfill("run", job, "--target", "sandbox")
    assert result.code == 7
    assert run.run_id in result.err


@pytest.mark.parametrize("status", [401, 403, 404])
def test_8_target_refuses(project: Project, key: str, status: int) -> None:
    """401, 403 and 404 stop the run at its first call."""
    with faulty(f"status={status}") as sandbox:
        options = ["--target", "segment", "--endpoint", sandbox.endpoint, "--yes", "--output", "json"]
        result = backfill("run", project.people(100), *options)
    assert result.code == 8
    assert result.object["requests"] == 1
    assert result.object["calls"]["delivered"] == 0


def test_8_then_the_right_key(project: Project, key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a wrong key nothing has arrived: the run can be given up for one with the right key."""
    job = project.people(100)
    with faulty("status=401") as sandbox:
        wrong = ["--target", "segment", "--endpoint", sandbox.endpoint, "--yes"]
        assert backfill("run", job, *wrong).code == 8
        monkeypatch.setenv("SEGMENT_WRITE_KEY", "theRightOne")
        refused = backfill("run", job, *wrong)
        assert refused.code == 6
        assert "--abandon" in refused.err
        assert backfill("run", job, *wrong, "--abandon").code == 8


@pytest.mark.parametrize("verb", ["check", "dry-run", "run"])
def test_9_source_is_missing(project: Project, verb: str) -> None:
    """A source that is not there."""
    job = project.people(5)
    (project.folder / "people.csv").unlink()
    options = ["--target", "sandbox"] if verb != "check" else []
    result = backfill(verb, job, *options)
    assert result.code == 9
    assert "people.csv" in result.err


def test_9_source_is_cut_off(project: Project) -> None:
    """A truncated compressed file is found before anything is sent."""
    job = project.people(2000)
    job.write_text(job.read_text(encoding="utf-8").replace("people.csv", "people.csv.gz"), encoding="utf-8")
    packed = gzip.compress((project.folder / "people.csv").read_bytes())
    (project.folder / "people.csv.gz").write_bytes(packed[:-100])
    result = backfill("run", job, "--target", "sandbox", "--output", "json")
    assert result.code == 9
    assert result.object["requests"] == 0


def test_precedence_over_several_jobs(project: Project) -> None:
    """A job that cannot be read does not keep the next from running; the graver code stands for both."""
    broken, good = project.people(5, name="a"), project.people(5, name="b", bad=[1])
    (project.folder / "a.csv").unlink()
    result = backfill("run", broken, good, "--target", "sandbox", "--output", "json")
    assert result.code == 9
    assert [one["state"] for one in result.objects] == ["failed", "finished"]
    assert [list(one) for one in result.objects] == [KEYS_OF_JSON, KEYS_OF_JSON]


def test_folder_runs_in_byte_order(project: Project) -> None:
    """`run DIR` takes the job files by the bytes of their names, capitals first."""
    for name in ("b", "a", "B", "a1"):
        project.people(3, name=name)
    result = backfill("run", project.folder, "--target", "sandbox", "--output", "json")
    assert result.code == 0
    assert [one["job"] for one in result.objects] == ["B", "a", "a1", "b"]


def test_two_jobs_of_one_name(project: Project) -> None:
    """Two files with one name would be one run: refused."""
    one, two = project.people(3, name="one"), project.people(3, name="two")
    two.write_text(two.read_text(encoding="utf-8").replace("name: two", "name: one"), encoding="utf-8")
    assert backfill("run", one, two, "--target", "sandbox").code == 2


# ---------------------------------------------------------------------------------------------------------- signals


def wait_for_request(sandbox: Sandbox, process: subprocess.Popen[str]) -> None:
    """Wait until the endpoint has stored some calls."""
    while sandbox.stats()["received"] < 10:
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_130_and_143_interrupted(project: Project, number: signal.Signals, code: int) -> None:
    """A signal in the middle of a delivery ends the process cleanly; the rest is sent by `resume`, nothing twice."""
    job = project.people(3000)
    with Sandbox() as sandbox:
        options = ["--target", "segment", "--endpoint", sandbox.endpoint, "--yes"]
        process = project.process("run", job, *options, "--rate", "100/s", "--output", "json")
        wait_for_request(sandbox, process)
        process.send_signal(number)
        out, err = process.communicate(timeout=30)
        assert process.returncode == code, err
        assert "backfill resume" in err
        summary = json.loads(out)
        assert summary["state"] == "stopped"
        assert identities_hold(summary)
        rest = project.process("resume", "--yes", "--rate", "unlimited", "--output", "json")
        out, err = rest.communicate(timeout=60)
        assert rest.returncode == 0, err
        assert json.loads(out)["calls"]["delivered"] == 3000
        stats = sandbox.stats()
        assert stats["distinct_ids"] == stats["accepted"] == 3000
        assert stats["duplicate"] == 0


SLOW_QUERIES = {
    "many rows": ("path: people.csv", "SELECT a.id, a.joined FROM source a, source b, source c ORDER BY hash(b.id)"),
    "one row": ("path: people.csv", "SELECT id, joined, list_sum([x % 7 FOR x IN range(40000000)]) AS s FROM source"),
    "SQLite": ("database: sqlite:///one.db", "SELECT 'u' AS id, '2024-01-01 00:00:00' AS joined, count(*) AS n FROM n"),
}


@pytest.mark.parametrize("name", SLOW_QUERIES)
def test_130_in_a_long_statement(project: Project, name: str) -> None:
    """One Ctrl-C ends a statement of the database that runs for minutes, also one that takes no heed of it."""
    source, query = SLOW_QUERIES[name]
    if name == "SQLite":
        endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 2000000000)"
        query = f"{endless} {query}"
        sqlite3.connect(project.folder / "one.db").execute("CREATE TABLE t(x)").connection.close()
    job = project.people(3000)
    text = job.read_text(encoding="utf-8").replace("path: people.csv", f'{source}\n  query: "{query}"')
    text = text.replace("{email: email, age: age}", "{}").replace("  columns: {age: integer}\n", "")
    job.write_text(text, encoding="utf-8")
    process = project.process("run", job, "--target", "sandbox")
    while not list(project.state.glob("runs/*/snapshot")):
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 130, err
    assert "run the same command again" in err


def test_130_twice_ends_at_once(project: Project) -> None:
    """The second Ctrl-C does not wait for an answer that does not come; the ledger tells that it is in doubt."""
    job = project.people(200)
    with faulty("delay=60,after=1") as sandbox:
        options = ["--target", "segment", "--endpoint", sandbox.endpoint, "--yes"]
        process = project.process("run", job, *options, "--rate", "unlimited")
        wait_for_request(sandbox, process)
        time.sleep(0.3)
        process.send_signal(signal.SIGINT)
        time.sleep(0.3)
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=20)
        assert process.returncode == 130
        status = backfill("status", "--state-dir", project.state, "--output", "json").object
        assert status["calls"]["delivered"] == 10
        assert status["calls"]["in_doubt"] == 190
        assert identities_hold(status)


# ------------------------------------------------------------------------------------------------- what is shown


def test_live_confirmation_shows_everything(project: Project, endpoint: str, key: str) -> None:
    """Before a live run: where, how much, of when, how fast, how long, and where the state is; never the key."""
    options = ["--target", "segment", "--endpoint", endpoint, "--yes", "--rate", "2000/s"]
    result = backfill("run", project.people(600, bad=[3]), *options)
    assert result.code == 3
    for text in ("segment", endpoint, "599", "2023-05-01 to 2023-05-28", "2,000 calls/s", str(project.state), "0.3 s"):
        assert text in result.err
    assert KEY not in result.err + result.out
    assert "received" in result.out
    assert "Delivery Overview" in result.out
    assert "SANDBOX" not in result.out


def test_no_key_in_anything_written(project: Project, key: str) -> None:
    """Neither state directory nor logs hold the key or the payloads of what failed, at -vv and after a failure."""
    with faulty("status=501,after=1") as sandbox:
        options = ["--target", "segment", "--endpoint", sandbox.endpoint, "--yes", "-vv", "--log-format", "json"]
        result = backfill("run", project.people(300), *options)
    assert result.code == 5
    for line in result.err.splitlines():
        assert {"time", "level", "message"} <= set(json.loads(line))
    written = b"".join(path.read_bytes() for path in project.state.rglob("*") if path.is_file())
    assert KEY.encode() not in written + (result.err + result.out).encode()
    assert "@example.org" not in result.err + result.out


def test_sandbox_summary_says_so(project: Project) -> None:
    """A rehearsal's summary begins with where nothing went."""
    result = backfill("run", project.people(5), "--target", "sandbox")
    assert result.out.startswith("SANDBOX: nothing left this machine\n")
    assert "\x1b[" not in result.out + result.err


def test_dry_run_sends_and_promises_nothing(project: Project) -> None:
    """A dry run gives the run's counts, leaves nothing to resume, and says whose ids it made."""
    job = project.people(120, bad=[5])
    dry = backfill("dry-run", job, "--output", "json")
    assert dry.code == 3
    assert dry.object["state"] == "dry run"
    assert dry.object["calls"]["pending"] == 119
    assert dry.object["requests"] == 0
    assert identities_hold(dry.object)
    assert "sandbox" in dry.err
    assert backfill("resume", "--state-dir", project.state).code == 2
    run = backfill("run", job, "--target", "sandbox", "--output", "json").object
    assert run["calls"]["delivered"] == 119
    assert run["bytes"]["json"] == dry.object["bytes"]["json"]


def test_dry_run_limit(project: Project) -> None:
    """--limit judges the first rows only, and counts as if there were no others."""
    result = backfill("dry-run", project.people(120, bad=[5, 50]), "--limit", "10", "--output", "json")
    assert result.object["rows"] == {"read": 10, "filtered": 0, "unreadable": 0, "mapped": 10}
    assert result.object["calls"]["rejected"] == 1
    assert identities_hold(result.object)


def test_dry_run_limit_counts_unreadable_rows(project: Project) -> None:
    """Unreadable rows count where they stand before the last of the first N; `where` leaves out without counting."""
    job = project.people(40)
    source = project.folder / "people.csv"
    lines = source.read_text(encoding="utf-8").splitlines()
    lines[3:3], lines[30:30] = ["too,few"], ["too,few"]
    source.write_text("\n".join(lines) + "\n", encoding="utf-8")
    job.write_text(job.read_text(encoding="utf-8").replace("calls:", "where: age <> 1\ncalls:"), encoding="utf-8")
    first = backfill("dry-run", job, "--limit", "10", "--output", "json").object
    assert first["rows"] == {"read": 11, "filtered": 0, "unreadable": 1, "mapped": 10}
    assert first["problems"] == {"BF001": 1}
    whole = backfill("dry-run", job, "--limit", "100", "--output", "json").object
    assert whole["rows"] == {"read": 42, "filtered": 1, "unreadable": 2, "mapped": 39}


def test_check_of_standard_input(project: Project) -> None:
    """What standard input holds is not known to `check`, which says so."""
    job = project.people(1)
    job.write_text(job.read_text(encoding="utf-8").replace("path: people.csv", "path: '-'\n  format: csv"))
    assert "not checked: standard input" in backfill("check", job).out


def test_declared_column_that_is_not_there(project: Project) -> None:
    """It is told with its line and what was meant, beside every other fault."""
    job = project.people(5)
    text = job.read_text(encoding="utf-8").replace("{age: integer}", "{agee: integer, joind: date}")
    job.write_text(text.replace("email: email", "email: emial"), encoding="utf-8")
    result = backfill("check", job)
    assert result.code == 2
    assert "people.yaml:6:" in result.err
    for name in ("agee", "joind", "emial"):
        assert f'"{name}"' in result.err
    assert "did you mean" in result.err


def test_faults_of_a_query_are_told_once(project: Project) -> None:
    """One fault is one message."""
    job = project.people(5)
    text = job.read_text(encoding="utf-8").replace("  timezone: UTC\n", "  timezone: UTC\n  query: SELEC 1\n")
    job.write_text(text, encoding="utf-8")
    for verb in ("check", "preview", "dry-run"):
        result = backfill(verb, job)
        assert result.code == 2
        assert result.err.count("source.query") == 1, result.err


def test_check_and_schema(project: Project) -> None:
    """`check` finds nothing wrong with a good job; `schema` is JSON."""
    result = backfill("check", project.people(5))
    assert result.code == 0, result.err
    assert "nothing wrong" in result.out
    assert json.loads(backfill("schema").out)["type"] == "object"
    assert not project.state.exists()


def test_preview(project: Project) -> None:
    """Rows in, calls out, and the reason where there is none."""
    result = backfill("preview", project.people(50, bad=[1]), "-n", "2")
    assert result.code == 0, result.err
    assert '"userId": "u000000"' in result.out
    assert "BF117" in result.out
    assert "u000002" not in result.out


def test_verbose_and_quiet(project: Project) -> None:
    """-v tells what each step does, -q only what is wrong."""
    loud = backfill("run", project.people(30, name="loud"), "--target", "sandbox", "-v")
    assert "30 rows staged" in loud.err
    assert "digest" in loud.err
    quiet = project.people(30, name="quiet")
    assert backfill("run", quiet, "--target", "sandbox", "-q").err == ""
    assert backfill("run", quiet, "--target", "sandbox", "-q").err == ""


def test_status(project: Project) -> None:
    """A table of all runs, and one run in full by the beginning of its id."""
    backfill("run", project.people(5, name="first"), "--target", "sandbox")
    backfill("run", project.people(6, name="second"), "--target", "sandbox")
    table = backfill("status", "--state-dir", project.state)
    assert [line.split()[0].split("-")[0] for line in table.out.splitlines()] == ["RUN", "second", "first"]
    one = backfill("status", "first", "--state-dir", project.state)
    assert "finished (exit 0)" in one.out
    assert backfill("status", "--state-dir", project.folder / "nowhere").code == 0


@pytest.mark.parametrize("suffix", ["csv", "parquet", "ndjson"])
def test_rejects_export(project: Project, suffix: str) -> None:
    """Rejected and unreadable rows with reason, place and original columns, by the suffix of the file."""
    job = project.people(50, bad=[7])
    source = project.folder / "people.csv"
    source.write_text(source.read_text(encoding="utf-8") + "u9,x\n", encoding="utf-8")
    backfill("run", job, "--target", "sandbox")
    file = project.folder / f"rejects.{suffix}"
    assert backfill("rejects", "--state-dir", project.state, "--export", file).code == 0
    read = {"csv": pl.read_csv, "parquet": pl.read_parquet, "ndjson": pl.read_ndjson}[suffix]
    rejects = read(file)
    assert rejects["code"].to_list() == ["BF001", "BF117"]
    assert rejects["record"].to_list() == [51, 8]
    assert rejects["line"].to_list() == [52, 9]
    assert rejects["age"].to_list() == [None, "old"]
    assert [None if text is None else text.strip() for text in rejects["original"]] == ["u9,x", None]


def test_rejects_export_can_be_a_source(project: Project) -> None:
    """What is exported, mended and run as a job of another name arrives; columns of the row keep their names."""
    source, job = project.folder / "orders.csv", project.folder / "orders.yaml"
    source.write_text("code,at,total\na1,2023-05-01,1.10\na2,2023-05-02,much\n", encoding="utf-8")
    text = (
        "version: 1\nname: orders\nsource: {path: orders.csv, timezone: UTC, columns: {at: date, total: decimal}}\n"
        "calls:\n  - {type: track, message_key: [code], userId: code, event: {value: Ordered}, timestamp: at,"
        " properties: {total: total}}\n"
    )
    job.write_text(text, encoding="utf-8")
    assert backfill("run", job, "--target", "sandbox").code == 3
    file = project.folder / "rejects.csv"
    assert backfill("rejects", "--state-dir", project.state, "--export", file).code == 0
    rejects = pl.read_csv(file, infer_schema=False)
    assert rejects.select("reject_code", "call", "code", "total").rows() == [("BF117", "track", "a2", "much")]
    rejects.with_columns(total=pl.lit("2.50")).write_csv(file)
    mended = project.folder / "mended.yaml"
    mended.write_text(text.replace("name: orders", "name: mended").replace("orders.csv", "rejects.csv"))
    assert backfill("run", mended, "--target", "sandbox").code == 0


def test_rejects_export_keeps_every_digit(project: Project) -> None:
    """Numbers of typed sources are exported digit for digit, also inside what is nested."""
    pl.DataFrame(
        {"id": [1, 2], "at": ["2023-05-01", "never"], "total": ["748.30", "0.10"], "items": [[1, 2], [30, 40]]}
    ).with_columns(pl.col("total").cast(pl.Decimal(20, 2))).write_parquet(project.folder / "orders.parquet")
    job = project.folder / "orders.yaml"
    job.write_text(
        "version: 1\nname: orders\nsource: {path: orders.parquet, timezone: UTC}\ncalls:\n  - {type: track,"
        " message_key: [id], userId: id, event: {value: Ordered}, timestamp: {column: at, format: '%Y-%m-%d'},"
        " properties: {total: total, items: items}}\n",
        encoding="utf-8",
    )
    assert backfill("run", job, "--target", "sandbox").code == 3
    file = project.folder / "rejects.parquet"
    assert backfill("rejects", "--state-dir", project.state, "--export", file).code == 0
    (row,) = pl.read_parquet(file).select("id", "total", "items").rows()
    assert row == ("2", "0.10", "[30,40]")
    assert '"total": 748.30' in backfill("preview", job, "-n", "1").out


def test_rejects_prefers_the_run(project: Project) -> None:
    """The beginning of an id that a dry run and a run share means the run."""
    job = project.people(20, bad=[7])
    backfill("dry-run", job)
    alone = backfill("status", "people", "--state-dir", project.state)
    assert alone.out.startswith("DRY RUN")
    assert "only dry runs: people-dry" in backfill("status", "--state-dir", project.state).err
    backfill("run", job, "--target", "sandbox")
    assert backfill("rejects", "people", "--state-dir", project.state).out.startswith("people-sandbox")


def test_rows_of_a_query(project: Project) -> None:
    """With a query a rejected call is told by its row of the query, never by a line of the file."""
    job = project.people(20, bad=[])
    text = job.read_text(encoding="utf-8").replace(
        "  timezone: UTC\n", "  timezone: UTC\n  query: SELECT * FROM source ORDER BY id DESC\n"
    )
    job.write_text(text.replace("userId: id", "userId: {sql: \"CASE WHEN id = 'u000004' THEN '' ELSE id END\"}"))
    result = backfill("run", job, "--target", "sandbox")
    assert result.code == 3, result.err
    assert "    row 16 of the query: identify" in result.err
    assert "people.csv:" not in result.err
    file = project.folder / "rejects.parquet"
    assert backfill("rejects", "--state-dir", project.state, "--export", file).code == 0
    assert pl.read_parquet(file).select("file", "record", "line").row(0) == ("the query", 16, 0)
    assert "--- row 1 of the query" in backfill("preview", job, "-n", "1").out


def test_more_warnings_are_not_said_to_be_listed(project: Project) -> None:
    """`rejects` lists what was not sent: it is no place to look for warnings."""
    job = project.people(20, bad=range(9))
    text = job.read_text(encoding="utf-8").replace("age: age", "age: {column: age, on_bad: omit}")
    job.write_text(text, encoding="utf-8")
    warned = backfill("run", job, "--target", "sandbox")
    assert warned.code == 0
    assert "and 4 more\n" in warned.err
    rejected = backfill("run", project.people(20, bad=range(9), name="bad"), "--target", "sandbox")
    assert "and 4 more: `backfill rejects bad-sandbox" in rejected.err


def test_samples_once(project: Project, endpoint: str, key: str) -> None:
    """Problems are told by the process that found them, not again at every stop and resume."""
    options = ["--target", "segment", "--endpoint", endpoint, "--yes"]
    first = backfill("run", project.people(100, bad=[3]), *options, "--canary")
    assert "people.csv:5 (record 4)" in first.err
    assert "10 of 99 to send now" in first.err
    rest = backfill("resume", "--yes", "--state-dir", project.state)
    assert rest.code == 3, rest.err
    assert "record 4" not in rest.err
    assert "BF117 1" in rest.out


@pytest.mark.parametrize("verb", ["run", "resume"])
def test_samples_of_a_killed_process(project: Project, verb: str) -> None:
    """What a killed process could not tell, the next one does, warnings too; and no later one again."""
    job = project.people(3000, bad=[3])
    text = job.read_text(encoding="utf-8").replace("age: age", "age: {column: age, on_bad: omit}")
    job.write_text(text, encoding="utf-8")
    with Sandbox() as sandbox:
        options = ["--target", "segment", "--endpoint", sandbox.endpoint, "--yes"]
        live = Project(project.folder, {"SEGMENT_WRITE_KEY": KEY})
        process = live.process("run", job, *options, "--rate", "100/s")
        wait_for_request(sandbox, process)
        process.kill()
        process.communicate(timeout=30)
        words = ["run", job, *options] if verb == "run" else ["resume", "--yes", "--state-dir", project.state]
        second = live.process(*words)
        _, told = second.communicate(timeout=60)
        assert second.returncode == 0, told
        _, again = live.process("run", job, *options).communicate(timeout=60)
    assert "people.csv:5 (record 4): identify" in told
    assert "record 4" not in again


def test_sandbox_tells_duplicates(project: Project) -> None:
    """A rehearsal that begins afresh says how much of it the sandbox had already."""
    job = project.people(20)
    assert "duplicates" not in backfill("run", job, "--target", "sandbox").out
    project.rows(25)
    again = backfill("run", job, "--target", "sandbox")
    assert "20 of the calls sent were duplicates" in again.out


def test_7_sandbox_store_is_held(project: Project) -> None:
    """A store in use is found out before anything is staged, and leaves no run behind."""
    job = project.people(20)
    state = StateFolder(project.state)
    state.prepare()
    with Sandbox(project.state / "sandbox"):
        result = backfill("run", job, "--target", "sandbox")
    assert result.code == 7
    assert "--endpoint http://127.0.0.1:" in result.err
    assert state.runs() == []


def test_status_of_a_killed_run(project: Project) -> None:
    """A run whose process was killed is told from one under way."""
    job = project.people(3000)
    with Sandbox() as sandbox:
        options = ["--target", "segment", "--endpoint", sandbox.endpoint, "--yes"]
        process = project.process("run", job, *options, "--rate", "100/s")
        wait_for_request(sandbox, process)
        assert "(no process)" not in backfill("status", "--state-dir", project.state).out
        process.kill()
        process.communicate(timeout=30)
    assert "delivering (no process)" in backfill("status", "--state-dir", project.state).out
    one = backfill("status", "people", "--state-dir", project.state)
    assert "none is at work on it" in one.out


def test_rejects_table(project: Project) -> None:
    """The table names the place and the value; another suffix is refused with those there are."""
    backfill("run", project.people(50, bad=[7]), "--target", "sandbox")
    table = backfill("rejects", "--state-dir", project.state)
    assert "BF117" in table.out
    assert "old" in table.out
    bad = backfill("rejects", "--state-dir", project.state, "--export", project.folder / "rejects.xlsx")
    assert bad.code == 2
    assert ".parquet" in bad.err


# --------------------------------------------------------------------------------------------------- standard input


def test_standard_input(project: Project) -> None:
    """A source of `-` is read once, and compared at the next run: equal bytes send nothing, others are told."""
    job = project.people(300)
    job.write_text(
        job.read_text(encoding="utf-8").replace("path: people.csv", 'path: "-"\n  format: csv'), encoding="utf-8"
    )
    source = project.folder / "people.csv"
    words = ["run", job, "--target", "sandbox", "--output", "json"]

    def piped() -> dict[str, object]:
        with source.open("rb") as file:
            process = project.process(*words, stdin=file)
            out, err = process.communicate(timeout=60)
        assert process.returncode == 0, err
        found: dict[str, object] = json.loads(out)
        return found

    assert piped()["calls"]["delivered"] == 300  # type: ignore[index]
    assert piped()["requests"] == 0
    project.rows(301)
    assert piped()["calls"]["delivered"] == 301  # type: ignore[index]
    assert not [path for path in project.state.rglob("stdin") if path.is_file()]


def test_rejects_of_the_target(project: Project, key: str) -> None:
    """A call that the target refuses is rejected with its answer; its row is exported like any other reject."""
    job = project.people(3000, bad=[7])
    with faulty("status=400,holding=234@") as sandbox:
        options = ["--target", "segment", "--endpoint", sandbox.endpoint, "--yes", "--rate", "unlimited"]
        result = backfill("run", job, *options, "--concurrency", "1", "--output", "json")
        held = set(sandbox.ids())
    assert result.code == 3
    refused = result.object["calls"]["rejected"] - 1
    assert refused == 3
    assert identities_hold(result.object)
    assert f"refused by the target: {refused:,} calls: 400" in result.err
    file = project.folder / "rejects.parquet"
    assert backfill("rejects", "--state-dir", project.state, "--export", file).code == 0
    rejects = pl.read_parquet(file).filter(pl.col("code") == "HTTP400")
    assert len(rejects) == refused
    assert not held & set(rejects["message_id"])
    assert len(held) + refused == 2999
    first = rejects.row(0, named=True)
    assert first["line"] == first["record"] + 1
    assert first["id"] == f"u{first['record'] - 1:06}"
