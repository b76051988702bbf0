"""`doctor`: each finding with its fix and exit code, nothing stored anywhere, no key shown."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import pytest

from backfill.clock import Clock
from backfill.doctor import Finding, Level, end_of, look_at_state, look_at_target
from backfill.sandbox import Sandbox
from backfill.state import open_store
from backfill.targets import Target, load_target
from tests.support.projects import KEY, Project, Result, backfill
from tests.support.stand_ins.proxy import Proxy
from tests.support.stand_ins.server import Asked, Said, StandIn


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty folder."""
    monkeypatch.chdir(tmp_path)


def write_targets(profile: str, name: str = "prod") -> None:
    """A profile."""
    Path("targets.yaml").write_text(f"version: 1\ntargets:\n  {name}: {{{profile}}}\n", "utf-8")


def doctor(profile: str = "", *options: str, name: str = "prod") -> tuple[Result, dict[str, dict[str, Any]]]:
    """What it says of a profile, by what it is about: of several findings the worst."""
    if profile:
        write_targets(profile, name)
        options = ("--target", name, *options)
    result = backfill("doctor", *options, "--output", "json")
    found: dict[str, dict[str, Any]] = {}
    for one in result.object["findings"]:
        if one["about"] not in found or one["level"] != "ok":
            found[one["about"]] = one
    assert result.object["exit_code"] == result.code
    assert KEY not in result.out + result.err
    return result, found


def test_nothing_is_wrong(key: str, sandbox: Sandbox) -> None:
    """All is looked at, the key by its digest alone, and what was asked stored nothing."""
    profile = f"kind: segment, endpoint: '{sandbox.endpoint}'"
    result, found = doctor(profile)
    assert result.code == 0, found
    assert [*found] == [
        *(
            "versions",
            "state directory",
            "file system",
            "disk",
            "runs",
            "target",
            "write key",
            "region",
            "proxy",
            "DNS",
        ),
        *("request", "clock"),
    ]
    assert "its SHA-256 begins with" in found["write key"]["message"]
    assert "a batch without calls was answered with 200" in found["request"]["message"]
    stats = sandbox.stats()
    assert (stats["requests"], stats["received"], stats["accepted"]) == (1, 0, 0)
    assert list(Path().iterdir()) == [Path("targets.yaml")]


def test_bodies_are_those_of_runs(key: str) -> None:
    """With the key, packed or plain, and no call in it; a compatible target is asked without a key."""
    with StandIn(lambda _: Said(body='{"success": true}')) as there:
        for gzip in ("true", "false"):
            doctor(f"kind: segment, endpoint: '{there.url}', gzip: {gzip}")
        assert [json.loads(asked.body)["batch"] for asked in there.asked] == [[], []]
        assert {asked.user for asked in there.asked} == {KEY}
        doctor(f"kind: compatible, endpoint: '{there.url}', write_key: '${{SEGMENT_WRITE_KEY}}'")
        assert (there.asked[-1].path, there.asked[-1].user, there.asked[-1].wire) == ("/", None, b"")


@pytest.mark.parametrize(
    ("kind", "status", "code", "level", "said"),
    [
        ("segment", 200, 0, "ok", "Segment answers so to a wrong key, too"),
        ("rudderstack", 400, 0, "ok", "the key was taken"),
        ("rudderstack", 401, 8, "error", "answered with 401"),
        ("segment", 404, 8, "error", "answered with 404"),
        ("segment", 503, 3, "warning", "answered with 503"),
        ("segment", 429, 3, "warning", "answered with 429"),
        ("segment", 301, 5, "error", "answered with 301"),
        ("compatible", 404, 0, "ok", "a request without the key was answered with 404"),
    ],
)
def test_answers(key: str, kind: str, status: int, code: int, level: str, said: str) -> None:
    """What an answer to nothing means."""
    with StandIn(lambda _: Said(status, body="{}", headers={"Location": "/v2"})) as there:
        result, found = doctor(f"kind: {kind}, endpoint: '{there.url}', write_key: '${{SEGMENT_WRITE_KEY}}'")
    assert (result.code, found["request"]["level"]) == (code, level)
    assert said in found["request"]["message"]
    assert bool(found["request"]["fix"]) == (level != "ok")


@pytest.mark.parametrize(
    ("profile", "name", "about", "code", "said"),
    [
        ("kind: segment, write_key: '${NONE}'", "prod", "write key", 2, "NONE is not set"),
        ("kind: segment, write_key_file: none.key", "prod", "write key", 2, "No such file"),
        ("kind: segment, write_key: abc", "prod", "target", 2, "targets.prod.write_key"),
        ("kind: segment, region: us", "shop-eu", "region", 3, "us, though the target is called shop-eu"),
        ("kind: compatible, endpoint: api.segment.io, write_key: '${SEGMENT_WRITE_KEY}'", "prod", "region", 3,
         "api.segment.io is Segment's"),
        ("kind: segment, endpoint: 'https://nowhere.invalid'", "prod", "DNS", 5, "nowhere.invalid"),
        ("kind: segment, endpoint: 'http://127.0.0.1:9'", "prod", "request", 5, "no connection could be made"),
        ("kind: sandbox, endpoint: 'http://127.0.0.1:9'", "prod", "request", 2, "no sandbox answers"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_target(
    key: str, monkeypatch: pytest.MonkeyPatch, profile: str, name: str, about: str, code: int, said: str
) -> None:
    """Each fault by its name; a name is not asked of the network but where that is the test."""
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("NO_PROXY", "nowhere.invalid")
    result, found = doctor(profile, name=name)
    assert said in found[about]["message"]
    assert found[about]["level"] == ("warning" if code == 3 else "error")
    assert result.code == (code if code != 3 else 5)  # the proxy does not answer


def test_a_proxy(key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is named without its password, and refuses what it does not know."""
    with Proxy({}) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy.url.replace("//", "//user:secret@"))
        result, found = doctor("kind: segment")
        assert proxy.asked == ["CONNECT api.segment.io:443 HTTP/1.1"]
    assert found["proxy"]["message"] == proxy.url
    assert result.code == 5
    assert "through the proxy" in found["request"]["message"]
    assert "secret" not in result.out
    monkeypatch.setenv("HTTPS_PROXY", "socks5://127.0.0.1:1")
    assert doctor("kind: segment")[1]["proxy"]["level"] == "error"


@pytest.mark.parametrize(
    ("ahead", "level", "code", "said"),
    [(0, "ok", 0, "to a few seconds"), (-4, "ok", 0, "to a few seconds"), (61, "warning", 3, "ahead of"),
     (-61, "warning", 3, "61 s behind"), (400, "error", 5, "400 s ahead of"), (-400, "error", 5, "behind")],
)  # fmt: skip
def test_clocks(key: str, sandbox: Sandbox, ahead: int, level: str, code: int, said: str) -> None:
    """Ours against the answer's Date, by the bounds at which a run warns and stops."""

    def load(need_key: bool) -> Target:
        return load_target("segment", targets_file=None, endpoint=sandbox.endpoint, environ=os.environ)

    found = list(look_at_target(load, Clock(now=lambda: time.time() + ahead)))
    assert found[-1].about == "clock"
    assert said in found[-1].message.replace("399", "400").replace("60 s", "61 s")
    assert (found[-1].level, end_of(found)) == (level, code)


def test_a_target_that_does_not_tell_its_time(key: str) -> None:
    """It is no fault."""

    def nothing(_: Asked) -> Said:
        return Said(headers={"Date": "-"})

    with StandIn(nothing) as there:
        assert doctor(f"kind: segment, endpoint: '{there.url}'")[1]["clock"]["message"].endswith(
            "does not tell its time"
        )


def test_the_embedded_sandbox() -> None:
    """There is nothing to reach."""
    result, found = doctor("", "--target", "sandbox")
    assert result.code == 0
    assert "a sandbox needs none" in found["write key"]["message"]
    assert "request" not in found


def test_runs_that_wait(tmp_path: Path) -> None:
    """An unfinished run without a process is a warning with its way on; a state directory that is used is tried."""
    assert backfill("run", Project(tmp_path).people(30), "--target", "sandbox", "--canary").code == 5
    result, found = doctor()
    assert result.code == 3
    assert "no process is at work on people-sandbox-g1-" in found["runs"]["message"]
    assert found["runs"]["fix"].startswith("`backfill resume ")
    assert "No target was looked at" in backfill("doctor").err


def test_places_that_take_nothing() -> None:
    """It is told before a run meets it; /proc takes nothing from root either."""
    found = list(look_at_state(open_store(Path("/proc/state"))))
    assert (found[0].level, found[0].exit_code) == (Level.ERROR, 2)
    assert "takes nothing" in found[0].message


def test_a_small_disk_and_a_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both are told, with what to do."""
    monkeypatch.setattr("backfill.doctor.machine.SMALL_DISK_BYTES", 1 << 62)
    mounts = f"1 0 0:1 / {tmp_path.resolve()} rw - nfs4 server:/x rw\n"
    monkeypatch.setattr(Path, "read_text", lambda *_, **__: mounts)
    found = {one.about: one for one in look_at_state(open_store(tmp_path / "state"))}
    assert found["disk"].level is Level.WARNING
    assert found["file system"].level is Level.ERROR
    assert "nfs4" in found["file system"].message


def test_the_worst_decides() -> None:
    """Errors by the order of exit codes, then warnings."""
    warning = Finding("a", "b", Level.WARNING, "c")
    assert end_of([]) == 0
    assert end_of([Finding("a", "b"), warning]) == 3
    assert end_of([warning, Finding("a", "b", Level.ERROR, "c", exit_code=end_of([warning]).STOPPED)]) == 5
