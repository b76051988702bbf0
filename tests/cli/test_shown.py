"""The command line: what is shown before, while and after something is sent, and what is not."""

from __future__ import annotations

import json
import logging
import socket

import pytest

from backfill.cli.session import Session, set_up_logs
from backfill.cli.showing import SHOWN_FILE
from backfill.sandbox import Sandbox
from tests.support.endpoints import faulty, wait_for_request
from tests.support.projects import KEY, Project, backfill


def test_live_confirmation_shows_everything(project: Project, endpoint: str, key: str) -> None:
    """Before a live run: where, how much, of when, how fast, how long, and where the state is; never the key."""
    options = ["--target", "segment", "--endpoint", endpoint, "--yes", "--rate", "2000/s"]
    result = backfill("run", project.people(600, bad=[3]), *options)
    assert result.code == 3
    for text in ("segment", endpoint, "599", "2023-05-01 to 2023-05-28", "2,000 calls/s", str(project.state), "0.3 s"):
        assert text in result.err
    assert result.err.index("people.csv:5 (record 4)") < result.err.index("LIVE: this leaves your machine")
    assert result.err.count("people.csv:5 (record 4)") == 1
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


def test_a_target_that_cannot_be_reached(project: Project, key: str) -> None:
    """What failed and when it is tried next is said without -v; the last line of the summary is why it stopped."""
    with socket.socket() as unheard:
        unheard.bind(("127.0.0.1", 0))
        endpoint = f"http://127.0.0.1:{unheard.getsockname()[1]}"
        options = ["--target", "segment", "--endpoint", endpoint, "--yes", "--attempts", "2"]
        result = backfill("run", project.people(30), *options)
        again = backfill("status", "--state-dir", project.state, "--output", "json")
    assert result.code == 5
    refused = f"{endpoint}/v1/batch: no connection could be made: Connection refused; it is tried again in 0."
    assert refused in result.err
    assert result.out.splitlines()[-1].endswith("no connection could be made: Connection refused")
    assert "0 requests;" in result.out
    assert "Segment" not in result.out, "nothing was received that Segment could have ingested"
    assert (again.object["requests"], again.object["retries"], again.object["bytes"]["wire"]) == (0, 0, 0)


@pytest.mark.parametrize("kind", ["compatible", "rudderstack", "segment"])
def test_a_canary_is_no_error(project: Project, endpoint: str, key: str, kind: str) -> None:
    """What was asked for is news; and a target that is not Segment's is not spoken of as if it were."""
    profile = f"{{kind: {kind}, endpoint: '{endpoint}', write_key: '${{SEGMENT_WRITE_KEY}}'}}"
    (project.folder / "targets.yaml").write_text(f"version: 1\ntargets:\n  prod: {profile}\n", encoding="utf-8")
    options = [project.people(30), "--target", "prod", "--canary", "--yes"]
    first, second = backfill("run", *options), backfill("run", *options)
    assert (first.code, second.code) == (5, 5)
    assert "Stopped after the canary, as asked: 10 calls were received" in first.err
    assert "calls were sent before" in second.err
    for result in (first, second):
        assert "Error" not in result.err + result.out
        assert ("Segment" in result.err + result.out) == (kind == "segment")


def test_sandbox_summary_says_so(project: Project) -> None:
    """A rehearsal's summary begins with where nothing went."""
    result = backfill("run", project.people(5), "--target", "sandbox")
    assert result.out.startswith("SANDBOX: nothing left this machine\n")
    assert "\x1b[" not in result.out + result.err


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
    assert result.code == 3, result.err
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


def test_quiet_keeps_the_warnings_of_libraries(capsys: pytest.CaptureFixture[str]) -> None:
    """-q is about progress: that something is wrong is said, whoever says it."""
    session = Session()
    for verbose in (0, 2):
        set_up_logs(session, verbose=verbose, quiet=True, log_format="text")
        logging.getLogger("backfill.pipeline.run").info("a step")
        logging.getLogger("backfill.pipeline.run").warning("an archive is made again")
        assert capsys.readouterr().err == "an archive is made again\n"


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
@pytest.mark.parametrize("told", [True, False])
def test_samples_of_a_killed_process(project: Project, verb: str, told: bool) -> None:
    """They are told before the first request; what a process killed earlier could not tell, the next one does, once."""
    job = project.people(3000, bad=[3])
    text = job.read_text(encoding="utf-8").replace("age: age", "age: {column: age, on_bad: omit}")
    job.write_text(text, encoding="utf-8")
    with Sandbox() as sandbox:
        options = ["--target", "sandbox", "--endpoint", sandbox.endpoint]
        process = project.process("run", job, *options, "--rate", "100/s")
        wait_for_request(sandbox, process)
        process.kill()
        _, first = process.communicate(timeout=30)
        assert "people.csv:5 (record 4): identify" in first
        if not told:
            next(project.state.rglob(SHOWN_FILE)).unlink()
        words = ["run", job, *options] if verb == "run" else ["resume", "--state-dir", project.state]
        second = project.process(*words)
        _, then = second.communicate(timeout=60)
        assert second.returncode == 0, then
        _, again = project.process("run", job, *options).communicate(timeout=60)
    assert ("people.csv:5 (record 4): identify" in then) is not told
    assert "record 4" not in again


def test_sandbox_tells_duplicates(project: Project) -> None:
    """A rehearsal that begins afresh says how much of it the sandbox had already."""
    job = project.people(20)
    assert "duplicates" not in backfill("run", job, "--target", "sandbox").out
    project.rows(25)
    again = backfill("run", job, "--target", "sandbox")
    assert "20 of the calls sent were duplicates" in again.out
