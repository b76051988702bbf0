"""`run --open` and `sandbox --host`: the sandbox's page from the command line."""

from __future__ import annotations

import re
import signal

import httpx
import pytest

from backfill.sandbox import Sandbox
from tests.support.projects import Project, backfill
from tests.support.waiting import until


@pytest.mark.parametrize("before", [False, True])
def test_the_page_is_served_until_ctrl_c(project: Project, *, before: bool) -> None:
    """It has the run's calls, also of a run that was finished before; the exit code is that of the run."""
    job = project.people(12, bad=[3])
    if before:
        assert backfill("run", job, "--target", "sandbox").code == 3
    running = project.process("run", job, "--target", "sandbox", "--open")
    assert running.stderr is not None
    said = ""
    while "until Ctrl-C" not in said:
        line = running.stderr.readline()
        assert line, said
        said += line
    (endpoint,) = re.findall(r"http://127\.0\.0\.1:\d+", said)
    page = httpx.get(f"{endpoint}/?type=identify&outcome=accepted").text
    assert page.count('<a class="what"') == 11
    assert "people-sandbox" in httpx.get(f"{endpoint}/runs").text
    running.send_signal(signal.SIGINT)
    until(lambda: running.poll() is not None)
    assert running.returncode == 3
    out, err = running.communicate()
    assert "Stopping" not in err
    assert "11" in out


def test_a_live_target_has_no_page(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is refused before anything is read."""
    monkeypatch.setenv("SEGMENT_WRITE_KEY", "key")
    refused = backfill("run", project.people(1), "--target", "segment", "--open", "--yes")
    assert refused.code == 2
    assert "--open shows the page of a sandbox, and segment is none" in refused.err


def test_elsewhere_than_on_loopback_a_token_is_wanted(project: Project) -> None:
    """It is printed once, in the address; with it the page is shown, without it nothing is."""
    running = project.process("sandbox", "--host", "0.0.0.0", "--port", "0", "--store", project.folder / "store")
    assert running.stderr is not None
    said = ""
    while "may send" not in said:
        line = running.stderr.readline()
        assert line, said
        said += line
    ((port, token),) = re.findall(r"http://0\.0\.0\.0:(\d+)/\?token=([\w-]{40,})", " ".join(said.split()))
    endpoint = f"http://127.0.0.1:{port}"
    assert httpx.get(f"{endpoint}/").status_code == httpx.get(f"{endpoint}/stats").status_code == 401
    with httpx.Client(follow_redirects=True) as client:
        shown = client.get(f"{endpoint}/?token={token}")
        assert shown.status_code == 200
        assert str(shown.url) == f"{endpoint}/"
    running.send_signal(signal.SIGINT)
    until(lambda: running.poll() is not None)
    assert running.returncode == 0
    assert backfill("sandbox", "--host", "no-address").code == 2


def test_rehearsals_have_names_and_live_targets_are_told_none(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A job that is changed and sent again is another run to a sandbox; a live target is told the program alone."""
    monkeypatch.setenv("SEGMENT_WRITE_KEY", "key")
    job = project.people(6)
    with Sandbox() as sandbox:
        where = ("--endpoint", sandbox.endpoint)
        assert backfill("run", job, "--target", "sandbox", *where).code == 0
        job.write_text(job.read_text().replace("email: email", "email: {value: changed}"))
        assert backfill("run", job, "--target", "sandbox", *where).code == 0
        assert backfill("run", job, "--target", "segment", *where, "--yes").code == 0
        names = re.findall(r'<a class="what"[^>]*>\d+ · ([^<]+)</a>', httpx.get(f"{sandbox.endpoint}/runs").text)
        compared = httpx.get(f"{sandbox.endpoint}/compare?before=1&after=2").text
    assert len(set(names)) == 3
    assert sum(name.startswith("people-sandbox") for name in names) == 2
    assert [name for name in names if name.startswith("backfill/")]
    assert re.findall(r"<b>(\d+)</b><span>(?:<a [^>]*>)?(\w+)", compared) == [
        ("0", "same"),
        ("0", "added"),
        ("0", "gone"),
        ("6", "changed"),
    ]
