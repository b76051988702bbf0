"""One run on several machines, each killed in its turn and gone with what was on its disk but for the ledger."""

import json
import shutil
from collections import Counter
from pathlib import Path

import pytest

from backfill.shared import files
from tests.support.buckets import BUCKET, Asked, Fault, Store
from tests.support.postgres import Postgres
from tests.support.projects import Project, backfill
from tests.support.stand_ins.server import Asked as Request
from tests.support.stand_ins.server import Said, StandIn
from tests.support.waiting import until

ROWS = 70_000  # three shards


def lose_the_disk(state: Path, database: str) -> None:
    """The machine is gone with all that it had, but for a ledger that is no database's."""
    if database:
        shutil.rmtree(state)
        return
    shutil.rmtree(state / "cache")
    for folder in state.glob("runs/*/snapshot"):
        shutil.rmtree(folder)
    kept = {path.name.split("-")[0] for path in state.glob("runs/*/*")}
    assert kept <= {"ledger.sqlite3", "shared.json", "lines.json", "problems_shown", "work"}, kept


@pytest.fixture
def long(project: Project, key: str) -> Path:
    """A job of several shards, some rows of which are rejected."""
    return project.people(ROWS, bad=[7, 40_000])


@pytest.fixture(params=["a volume", "a database"])
def database(request: pytest.FixtureRequest) -> str:
    """The URL of the database that has the ledgers; empty where they are on a volume that outlives the machines."""
    if request.param == "a volume":
        return ""
    server: Postgres = request.getfixturevalue("postgres")
    return server.url(server.new_database())


def test_two_kills_and_three_machines(
    project: Project, long: Path, in_bucket: Store, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SIGKILL while a shard is put, then while calls are sent: each call arrives once, but for those in doubt."""
    monkeypatch.setattr(files, "LATE", (0.01,))
    state = ("--state", database or str(project.state))
    words = ("--target", "prod", "--yes", "--spool-cache", "1 MB", *state)
    killed: list[int] = []

    segments: set[str] = set()

    def second_segment(asked: Asked) -> Fault | None:
        if asked.method == "PUT" and ".segment." in asked.key:
            segments.add(asked.key)
            if len(segments) == 2 and not killed:
                first.kill()
                killed.append(first.wait())
                return Fault(503, "SlowDown")
        return None

    def answer(_: Request) -> Said:
        if len(there.asked) == 4 and len(killed) == 1:
            second.kill()
            killed.append(second.wait())
        return Said(body='{"success": true}')

    in_bucket.script = second_segment
    with StandIn(answer) as there:
        profile = f"{{kind: segment, endpoint: '{there.url}', rate: unlimited}}"
        (project.folder / "targets.yaml").write_text(f"version: 1\ntargets:\n  prod: {profile}\n", "utf-8")
        first = project.process("run", long, "--spool", f"s3://{BUCKET}/spool", *words)
        assert first.wait(60) == -9, first.communicate()
        until(lambda: killed)
        assert there.asked == []
        lose_the_disk(project.state, database)
        second = project.process("run", long, *words)
        assert second.wait(60) == -9, second.communicate()
        until(lambda: len(killed) == 2)
        assert any("/snapshot/" in asked.key for asked in in_bucket.gets())  # else it was read from the source again
        lose_the_disk(project.state, database)
        (project.folder / "people.csv").unlink()
        ended = backfill("resume", long, *words, "--output", "json")
        assert ended.code == 3, ended.err
        batches = [json.loads(asked.body)["batch"] for asked in there.asked]
    sent = Counter(json.dumps(call) for batch in batches for call in batch)
    assert len(sent) == ROWS - 2
    in_doubt = [batch for batch in batches if sent[json.dumps(batch[0])] > 1]
    assert len(in_doubt) <= 4  # two requests at once, each sent again
    assert sum(sent.values()) - len(sent) == sum(map(len, in_doubt)) / 2
    rejects = backfill("rejects", long, *state)
    assert rejects.out.count("BF117") == 2, rejects
    left = sorted({key.split("/")[-1].split(".")[1] for key in in_bucket.objects})
    assert left == ["calls", "hashes", "rejects", "txt"], left
