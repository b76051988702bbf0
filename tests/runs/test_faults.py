"""Whatever goes wrong on the way: where it ends in success, the endpoint holds the same calls as without faults."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from backfill import identity
from backfill.sandbox import FaultScript, Sandbox
from tests.support.fast_clock import deliver_fast
from tests.support.projects import KEY, Project, backfill

ROWS = 6_000
#: So much faster pass the waits between two attempts.
SCALE = 50.0
SCRIPTS = {
    "none": [],
    "errors": ["status=500,every=3"],
    "errors after storing": ["status=503,stored,every=3"],
    "busy": ["status=429,retry_after=1,after=1,first=2"],
    "busy until a date": ["status=503,retry_after=date+2,after=1,first=1"],
    "cut before": ["reset=before,every=3"],
    "cut after": ["reset=after,every=3"],
    "answer lost": ["lost,every=2"],
    "slow": ["delay=0.2"],
    "all at once": ["status=502,odds=1/6", "lost=1/6", "reset=after,odds=1/6", "status=408,odds=1/6"],
}


@pytest.mark.parametrize("script", SCRIPTS.values(), ids=list(SCRIPTS))
def test_same_ids_as_without_faults(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: list[str]) -> None:
    """Every id exactly once, and the accounting says all were delivered."""
    monkeypatch.setenv("SEGMENT_WRITE_KEY", KEY)
    deliver_fast(monkeypatch, SCALE)
    job = Project(tmp_path).people(ROWS)
    with Sandbox(faults=FaultScript.parse(script)) as sandbox:
        options = ["--target", "segment", "--endpoint", sandbox.endpoint, "--yes", "--rate", "unlimited"]
        result = backfill("run", job, *options, "--output", "json")
        assert result.code == 0, result.err
        held = list(sandbox.ids())
        stats = sandbox.stats()
    assert result.object["calls"]["delivered"] == ROWS
    assert result.object["retries"] == sum(stats["faults"].values()) - stats["faults"].get("delay", 0)
    space = identity.namespace(hashlib.sha256(KEY.encode()).hexdigest()[:12], "people", "identify", 1)
    assert sorted(held) == sorted(identity.message_id(space, [f"u{row:06}"]) for row in range(ROWS))
