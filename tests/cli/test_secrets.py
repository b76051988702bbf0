"""What a failing run leaves behind: neither key nor payload, and nothing that others could read."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from base64 import b64encode
from collections.abc import Callable, Iterator
from pathlib import Path
from stat import S_IMODE

import pytest

from tests.support.projects import KEY, Project, Result, backfill
from tests.support.stand_ins.proxy import Proxy
from tests.support.stand_ins.server import Asked, Said, StandIn
from tests.support.stand_ins.services import Segment

MARKER = "4d41524b4552-of-one-row"
TOKEN = "tOkEnOfThePartner"
PASSWORD = "hunter2hunter2"
#: What holds the data by design: the source, its snapshot, the prepared bytes, rows kept with their reason.
DATA = ("people.csv", "snapshot", "spool", "sandbox")


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    """A job of ten people, whose rows hold the marker, and a profile with a key and another secret."""
    monkeypatch.setenv("THERE_KEY", KEY)
    monkeypatch.setenv("PARTNER_TOKEN", TOKEN)
    project = Project(tmp_path)
    project.people(20, text=MARKER)
    return project


def run(project: Project, url: str, *options: str, more: str = "") -> Result:
    """Run the job to an endpoint, saying all that can be said."""
    profile = f"{{kind: compatible, endpoint: '{url}', write_key: '${{THERE_KEY}}', rate: unlimited{more}}}"
    (project.folder / "targets.yaml").write_text(f"version: 1\ntargets:\n  there: {profile}\n")
    words = ("run", project.folder / "people.yaml", "--target", "there", "--yes", "-vv", *options)
    return backfill(*words)


def secrets() -> list[bytes]:
    """The key and the token in every form in which a request may carry them."""
    forms = [KEY, f"{KEY}:", f":{KEY}", TOKEN, PASSWORD, f"clerk:{PASSWORD}"]
    return [one.encode() for one in forms] + [b64encode(one.encode()).rstrip(b"=") for one in forms]


def written(project: Project, result: Result) -> Iterator[tuple[str, bytes]]:
    """Everything that a run has written: its name, and its bytes."""
    yield from (("stdout", result.out.encode()), ("stderr", result.err.encode()))
    for path in sorted(project.folder.rglob("*")):
        if path.is_file():
            yield str(path.relative_to(project.folder)), path.read_bytes()


def leaks(project: Project, result: Result) -> list[tuple[str, bytes]]:
    """Where a secret stands anywhere, or the payload where no data belongs."""
    found = [(name, one) for name, text in written(project, result) for one in secrets() if one in text]
    for name, text in written(project, result):
        if not any(part in DATA for part in Path(name).parts) and MARKER.encode() in text:
            found.append((name, MARKER.encode()))
    return found


def echo(asked: Asked) -> str:
    """All of a request, as some services repeat it where something is wrong."""
    return json.dumps({"error": "bad request", "headers": asked.headers, "body": json.loads(asked.body)})


def echo_text(asked: Asked) -> str:
    """The same as one text."""
    return json.dumps({"message": f"cannot read {asked.body.decode()} of {asked.headers}"})


def echo_calls(asked: Asked) -> str:
    """The calls alone."""
    return f"wrong: {json.dumps(json.loads(asked.body)['batch'][0], separators=(',', ':'))}"


def echo_key(asked: Asked) -> str:
    """Who asked."""
    return f"no such key {KEY}, {asked.headers['authorization']}, {asked.headers.get('x-partner')}"


@pytest.mark.parametrize("answer", [echo, echo_text, echo_calls, echo_key])
@pytest.mark.parametrize(("status", "code"), [(401, 8), (400, 5), (503, 5), (307, 5), (200, 0)])
def test_a_target_that_repeats_the_request(
    project: Project, answer: Callable[[Asked], str], status: int, code: int
) -> None:
    """Whatever an answer repeats of the request, nothing of it is kept or told."""
    headers = {"location": f"https://{KEY}@elsewhere.test/"} if status == 307 else {}
    with StandIn(lambda asked: Said(status, answer(asked), headers)) as there:
        result = run(project, there.url, "--attempts", "1", more=", headers: {X-Partner: '${PARTNER_TOKEN}'}")
    assert result.code == code, result.err
    assert there.asked[0].headers["x-partner"] == TOKEN
    assert leaks(project, result) == []


def test_words_about_single_calls(project: Project) -> None:
    """Nor of what an answer says of a call."""

    def refuse(asked: Asked) -> Said:
        call = json.dumps(json.loads(asked.body)["batch"][0], separators=(",", ":"))
        return Said(200, json.dumps({"errors": [{"index": 0, "message": f"{KEY} may not send {call}"}]}))

    with StandIn(refuse) as there:
        result = run(project, there.url, more=", answers: indexed")
    assert result.code == 3, result.err
    exported = project.folder / "rejects.ndjson"
    assert backfill("rejects", "--state-dir", project.state, "--export", exported).code == 0
    rejects = [json.loads(line) for line in exported.read_text().splitlines()]
    exported.unlink()  # a row is exported with its columns, as asked
    assert [one["message"] for one in rejects] == ["refused by the target: [write key] may not send [calls]"] * 2
    assert leaks(project, result) == []


def test_an_unexpected_failure(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """The crash report names code, not the data in the exception or around it."""

    def resolve(*_: object, **__: object) -> object:
        raise RuntimeError(f"{KEY} {MARKER} {b64encode(KEY.encode()).decode()}")

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    result = run(project, "https://ingest.test")
    assert result.code == 1, result.err
    (report,) = (project.state / "crashes").iterdir()
    assert "RuntimeError" in report.read_text()
    assert leaks(project, result) == []


def test_a_proxy_s_password(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """The proxy's user and password are in nothing that is written, whether it refuses or cannot be used at all."""
    with Proxy({}) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy.url.replace("//", f"//clerk:{PASSWORD}@"))
        result = run(project, "https://ingest.test", "--attempts", "1")
    assert result.code == 5, result.err
    assert leaks(project, result) == []
    monkeypatch.setenv("HTTPS_PROXY", f"gopher://clerk:{PASSWORD}@127.0.0.1:70")
    result = run(project, "https://ingest.test")
    assert result.code == 2, result.err
    assert leaks(project, result) == []


def test_the_search_finds(project: Project) -> None:
    """A key or a payload that were written somewhere would be found."""
    result = Result(5, "", "")
    assert leaks(project, result) == []
    (project.folder / "note").write_bytes(b"x" + b64encode(f"{KEY}:".encode()) + MARKER.encode())
    assert {one for _, one in leaks(project, result)} >= {MARKER.encode(), b64encode(f"{KEY}:".encode()).rstrip(b"=")}


# -- files ---------------------------------------------------------------------------------------------------------


def open_to_others(folder: Path) -> list[str]:
    """What below a folder, itself included, others may read, write or search, or its owner may not."""
    wrong = []
    for path in (folder, *folder.rglob("*")):
        mode = S_IMODE(path.lstat().st_mode)
        if mode != (0o700 if path.is_dir() else 0o600):
            wrong.append(f"{path.relative_to(folder.parent)} {mode:04o}")
    return wrong


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_the_state_directory_is_private(project: Project, umask: int) -> None:
    """Whatever the shell's umask, state is its owner's: stopped, killed, resumed, finished, rehearsed, crashed."""
    job = project.folder / "people.yaml"
    before = os.umask(umask)
    try:
        assert backfill("dry-run", job).code == 0
        assert open_to_others(project.state) == []
        service = Segment(KEY)
        with StandIn(service, first=[Said(429)]) as there:
            assert run(project, there.url, "--attempts", "1", "--keep-spool").code == 5
            assert open_to_others(project.state) == []
            assert killed_while_sending(project, there, umask) == -signal.SIGKILL
            assert open_to_others(project.state) == []
            assert backfill("resume", "--state-dir", project.state, "--yes", "--in-doubt", "resend").code == 0
        assert len(set(service.taken)) == 20
        assert open_to_others(project.state) == []
        assert backfill("run", job, "--target", "sandbox", "--keep-spool").code == 0
        assert open_to_others(project.state) == []
        assert {path.name for path in project.state.rglob("*") if path.is_dir()} >= {"runs", "sandbox", "spool"}
    finally:
        os.umask(before)


def killed_while_sending(project: Project, there: StandIn, umask: int) -> int:
    """Go on in a process of its own, which is killed when its request arrives; returns its exit status."""
    calm = there.service
    words = ["run", "people.yaml", "--target", "there", "--yes"]
    process = subprocess.Popen(
        [sys.executable, "-m", "backfill", *words],
        cwd=project.folder,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).resolve().parents[2])},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        umask=umask,
    )

    def kill(asked: Asked) -> Said:
        process.kill()
        return calm(asked)

    there.service = kill
    try:
        return process.wait(60)
    finally:
        process.kill()
        there.service = calm
