"""`backfill state copy`: runs go from a folder to a database and back, whole, and can be gone on with there."""

import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from backfill.errors import ExitCode, LedgerError
from backfill.ledger.transfer import contents
from backfill.records import RunStore
from backfill.state import open_store
from backfill.state.copying import movable
from backfill.state.database_run import DatabaseRun
from backfill.state.database_store import DatabaseStore
from backfill.state.folder import StateFolder
from tests.support.postgres import Postgres
from tests.support.projects import KEY, Project, backfill


def held(store: RunStore) -> dict[str, object]:
    """Everything that the ledgers hold, and the rows that are not sent."""
    found: dict[str, object] = {}
    for run in (*store.runs(), *store.earlier()):
        with movable(store).kept(run.run_id).read() as reader:
            found[run.run_id] = contents(reader), [path.read_bytes() for path in run.rejects().files()]
    return found


def test_there_and_back(
    project: Project, endpoint: str, postgres: Postgres, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A finished run, one before it and one that is under way; interrupted in the middle, and gone on with."""
    url = postgres.url(postgres.new_database())
    monkeypatch.setenv("SEGMENT_WRITE_KEY", KEY)
    (project.folder / "targets.yaml").write_text(
        f"version: 1\ntargets:\n  prod: {{kind: compatible, endpoint: '{endpoint}', insecure: true, id_scope: a,"
        " write_key: '${SEGMENT_WRITE_KEY}'}\n"
    )
    live = ("--target", "prod", "--yes", "--no-progress")
    done = project.people(30, bad=[4], name="done")
    assert backfill("run", done, *live).code == ExitCode.REJECTS
    project.rows(40, bad=[4], name="done")
    assert backfill("run", done, *live, "--only-new").code == ExitCode.REJECTS
    half = project.people(25, name="half")
    assert backfill("run", half, *live, "--canary").code == ExitCode.STOPPED
    before = held(open_store(project.state))
    assert len(before) == 3

    here = ("--state-dir", tmp_path / "here")
    whole, calls = DatabaseRun.begin_with, []

    def dies(self: DatabaseRun, *words: object) -> None:
        calls.append(self.run_id)
        if len(calls) == 2:
            raise LedgerError("the machine died")
        whole(self, *words)  # type: ignore[arg-type]

    with monkeypatch.context() as patched:
        patched.setattr(DatabaseRun, "begin_with", dies)
        assert backfill("state", "copy", project.state, url, *here).code == ExitCode.UNEXPECTED
    moved = backfill("state", "copy", project.state, url, *here)
    assert moved.code == ExitCode.DELIVERED, moved.err
    assert moved.err.count("which nothing reads now") == 2
    assert open_store(project.state).runs() == []
    there = open_store(tmp_path / "here", database=url)
    assert held(there) == before

    place = ("--state", url, *here)
    resumed = backfill("resume", "--yes", "--no-progress", *place, "--output", "json")
    assert (resumed.code, resumed.object["calls"]["delivered"]) == (ExitCode.DELIVERED, 25)
    again = backfill("run", done, *live, *place, "--output", "json")
    assert (again.code, again.object["requests"]) == (ExitCode.REJECTS, 0)

    now = held(there)
    with there.lock(there.runs()[0].run_id):
        assert backfill("state", "copy", url, tmp_path / "back", *here).code == ExitCode.LOCKED
    back = backfill("state", "copy", url, tmp_path / "back", *here)
    assert back.code == ExitCode.DELIVERED, back.err
    assert held(open_store(tmp_path / "back")) == now
    assert there.runs() == []
    assert backfill("run", half, *live, "--state-dir", tmp_path / "back", "--output", "json").object["requests"] == 0
    nothing = backfill("state", "copy", url, tmp_path / "back", *here)
    assert (nothing.code, "There are no runs in" in nothing.err) == (ExitCode.DELIVERED, True)
    assert backfill("state", "copy", url, tmp_path / "back", "no-such-run", *here).code == ExitCode.USAGE


def test_what_came_of_a_run(
    project: Project, endpoint: str, postgres: Postgres, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A replay of its rejects, and a requeue that is sent there by `deliver`: all is told as before."""
    url = postgres.url(postgres.new_database())
    monkeypatch.setenv("SEGMENT_WRITE_KEY", KEY)
    (project.folder / "targets.yaml").write_text(
        f"version: 1\ntargets:\n  prod: {{kind: compatible, endpoint: '{endpoint}', insecure: true, id_scope: a,"
        " write_key: '${SEGMENT_WRITE_KEY}'}\n"
    )
    job, mended = project.people(30, bad=[4]), tmp_path / "mended.csv"
    live, folder = ("--target", "prod", "--yes", "--no-progress"), ("--state-dir", project.state)
    assert backfill("run", job, *live).code == ExitCode.REJECTS
    (run,) = (one.run_id for one in open_store(project.state).runs())
    ids = httpx.get(f"{endpoint}/ids").text.split()
    assert backfill("rejects", job, "--export", mended).code == ExitCode.DELIVERED
    mended.write_text(mended.read_text("utf-8").replace("old", "44"), "utf-8")
    assert backfill("run", job, *live, "--replay-rejects", mended).code == ExitCode.DELIVERED
    (tmp_path / "there.csv").write_text("id\n" + "\n".join(ids[2:]), "utf-8")
    against = ("--against", tmp_path / "there.csv", "--late", "0s", "--requeue", "--output", "json")
    requeue = backfill("reconcile", run, *folder, *against).object["requeue"]["run_id"]

    def told(*where: str | Path) -> dict[str, Any]:
        return backfill("status", run, *where, "--output", "json").object

    before, contents_before = told(*folder), held(open_store(project.state))
    (replay,) = before["replays"]
    assert (set(contents_before), str(requeue) in json.dumps(before)) == ({run, replay, requeue}, True)
    here = ("--state-dir", tmp_path / "here")
    assert backfill("state", "copy", project.state, url, *here).code == ExitCode.DELIVERED
    assert held(open_store(tmp_path / "here", database=url)) == contents_before
    assert told("--state", url, *here) == before
    sent = backfill("deliver", requeue, "--yes", "--no-progress", "--state", url, *here, "--output", "json")
    assert (sent.code, sent.object["calls"]["delivered"]) == (ExitCode.DELIVERED, 2), sent.err
    after, contents_after = told("--state", url, *here), held(open_store(tmp_path / "here", database=url))
    assert backfill("state", "copy", url, tmp_path / "back", *here).code == ExitCode.DELIVERED
    assert held(open_store(tmp_path / "back")) == contents_after
    assert told("--state-dir", tmp_path / "back") == after != before


@pytest.mark.parametrize("back", [False, True])
def test_an_interruption_leaves_one_that_sends(
    project: Project, endpoint: str, postgres: Postgres, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, back: bool
) -> None:
    """Killed once the copy is there: the first place goes on with nothing, and the same command ends it."""
    url = postgres.url(postgres.new_database())
    monkeypatch.setenv("SEGMENT_WRITE_KEY", KEY)
    (project.folder / "targets.yaml").write_text(
        f"version: 1\ntargets:\n  prod: {{kind: compatible, endpoint: '{endpoint}', insecure: true, id_scope: a,"
        " write_key: '${SEGMENT_WRITE_KEY}'}\n"
    )
    live, here = ("--target", "prod", "--yes", "--no-progress"), ("--state-dir", tmp_path / "here")
    places = {str(project.state): ("--state-dir", project.state), url: ("--state", url, *here)}
    (source, old), (goal, new) = reversed(places.items()) if back else places.items()
    job = project.people(25)
    assert backfill("run", job, *live, *old, "--canary").code == ExitCode.STOPPED
    if not back:
        anew = backfill("run", job, *live, "--state", url, "--state-dir", project.state)
        assert (anew.code, "would send them again" in anew.err) == (ExitCode.USAGE, True), anew.err

    def dies(*_: object) -> str:
        raise LedgerError("the machine died")

    store = DatabaseStore if back else StateFolder
    with monkeypatch.context() as patched:
        patched.setattr(store, "retire", dies)
        assert backfill("state", "copy", source, goal, *here).code == ExitCode.UNEXPECTED
    for words in (("resume",), ("run", job, "--target", "prod")):
        refused = backfill(*words, "--yes", "--no-progress", *old)
        assert (refused.code, "is being moved to" in refused.err) == (ExitCode.USAGE, True), refused.err
    resumed = backfill("resume", "--yes", "--no-progress", *new, "--output", "json")
    assert (resumed.code, resumed.object["calls"]["delivered"]) == (ExitCode.DELIVERED, 25)
    again = backfill("state", "copy", source, goal, *here)
    assert again.code == ExitCode.DELIVERED, again.err
    assert "no runs" in backfill("status", *old).err
