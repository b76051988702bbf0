"""What runs tell Prometheus, and `status --watch`: by the ledger, while a run is under way and after."""

import socket
from dataclasses import fields
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from backfill.cli import watching
from backfill.records import Counts
from backfill.report.speed import Speed, Speeds
from backfill.state import open_store
from tests.support.ledgers import ACCEPTED, RECORD, shard_plan
from tests.support.projects import KEY, Project, backfill
from tests.support.stand_ins.server import Asked, Said, StandIn
from tests.support.stores import delivering_run

Samples = dict[tuple[str, str], float]


def samples(text: str) -> Samples:
    """Each sample by its name and the one label beside those that tell the run, as Prometheus reads them."""
    found: Samples = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            assert sample.labels.pop("run").startswith("people-segment-g1-")
            if family.name != "backfill_readable":
                assert (sample.labels.pop("job"), sample.labels.pop("target")) == ("people", "prod")
            found[sample.name.removeprefix("backfill_"), *sample.labels.values() or [""]] = sample.value
    return found


def free_port() -> int:
    """A port that nobody listens at."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def test_a_run_tells_how_far_it_is(project: Project, key: str) -> None:
    """Asked within a request: accounts hold, what is in flight is in doubt; the file has the end."""
    port, texts = free_port(), list[str]()
    file = project.folder / "backfill.prom"

    def answer(_: Asked) -> Said:
        texts.append(httpx.get(f"http://127.0.0.1:{port}/metrics").text)
        return Said(body='{"success": true}')

    job = project.people(3_000, bad=[7])
    with StandIn(answer) as there:
        profile = f"{{kind: segment, endpoint: '{there.url}', rate: unlimited}}"
        (project.folder / "targets.yaml").write_text(f"version: 1\ntargets:\n  prod: {profile}\n", "utf-8")
        told = ("--metrics", str(port), "--metrics-file", file)
        ended = backfill("run", job, "--target", "prod", "--yes", "--concurrency", "1", *told)
    assert ended.code == 3, ended.err
    assert f"http://127.0.0.1:{port}/metrics" in ended.err
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"http://127.0.0.1:{port}/metrics")
    during, after = [samples(text) for text in texts], samples(file.read_text("utf-8"))
    for one in (*during, after):
        outcomes = ("delivered", "rejected", "duplicate", "already_delivered", "in_doubt", "pending")
        assert one["calls", "planned"] == 3_000 == sum(one["calls", outcome] for outcome in outcomes)
        assert one["rows", "read"] == one["rows", "mapped"] == 3_000
    assert (during[0]["calls", "in_doubt"], during[0]["state", "delivering"], during[0]["at_work", ""]) == (10, 1, 1)
    assert (after["calls", "delivered"], after["state", "finished"], after["at_work", ""]) == (2_999, 1, 0)
    assert (after["requests_total", ""], after["problems", "BF117"]) == (len(texts), 1)
    assert after["wire_bytes_total", ""] > 10_000
    assert not any(KEY in text or "@example.org" in text for text in texts)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--metrics", "http"), "no port"),
        (("--metrics", "70000"), "no port"),
        (("--metrics", "192.0.2.1:9108"), "--metrics 192.0.2.1:9108"),
        (("--metrics-file", "nowhere/backfill.prom"), "cannot be written"),
    ],
)
def test_what_cannot_be_told(project: Project, monkeypatch: pytest.MonkeyPatch, words: list[str], said: str) -> None:
    """Is said before anything is done."""
    monkeypatch.chdir(project.folder)
    ended = backfill("run", project.people(3), "--target", "sandbox", *words)
    assert (ended.code, said in ended.err) == (2, True), ended.err
    assert not (project.state / "runs").exists()


def test_watching(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each change is shown, with the speed and what is left; it ends with the process at work; metrics are served."""
    store = open_store(project.state)
    store.make_usable()
    run = store.run(RECORD.run_id)
    run.make()
    ledger = delivering_run(run, [shard_plan(0, (100, 100, 100))])
    seconds = iter(range(0, 1_000, 10))
    port, looks = free_port(), list[str]()

    def pass_time(_: float) -> None:
        looks.append(httpx.get(f"http://127.0.0.1:{port}/metrics").text)
        for batch in ledger.next_batches(1):
            attempt = ledger.mark_sent(batch, 1_700_000_000.0)
            ledger.record_answer(batch, attempt, ACCEPTED)
        ledger.flush()
        if len(looks) == 3:
            ledger.finish(0)

    monkeypatch.setattr(watching, "sleep", pass_time)
    monkeypatch.setattr(watching, "monotonic", lambda: float(next(seconds)))
    state = ("--state-dir", project.state)
    with store.lock(run.run_id), ledger:
        shown = backfill("status", "--watch", "--metrics", str(port), *state)
    assert shown.code == 0, shown.err
    assert "10 calls/s, 20.0 s left" in shown.out
    assert "finished" in shown.out
    assert 'outcome="delivered"' in looks[-1]
    alone = backfill("status", "--metrics", "9108", *state)
    assert (alone.code, "--watch" in alone.err) == (2, True)
    file = project.folder / "once.prom"
    assert backfill("status", "--metrics-file", file, *state).code == 0
    assert 'state="finished"' in file.read_text("utf-8")


def test_a_damaged_ledger_is_told(project: Project, tmp_path: Path) -> None:
    """As one that cannot be read; the others are."""
    backfill("run", project.people(3), "--target", "sandbox")
    (ledger,) = project.state.glob("runs/*/ledger.sqlite3")
    ledger.write_bytes(b"another file")
    file = tmp_path / "backfill.prom"
    assert backfill("status", "--metrics-file", file, "--state-dir", project.state).code == 0
    assert 'backfill_readable{run="people-sandbox' in file.read_text("utf-8")
    assert "} 0.0" in file.read_text("utf-8")


def counts(delivered: int, pending: int) -> Counts:
    """Those of a run under way."""
    names = [field.name for field in fields(Counts) if field.name not in ("first_sent_at", "last_ended_at")]
    return Counts(
        **dict.fromkeys(names, 0) | {"delivered": delivered, "pending": pending}, first_sent_at=None, last_ended_at=None
    )


def test_speed() -> None:
    """Over the last half minute; nothing is said of what is left where nothing moves."""
    speeds = Speeds()
    assert speeds.seen("a", counts(0, 1_000), 0.0) is None
    assert speeds.seen("a", counts(100, 900), 10.0) == Speed(10.0, 90.0)
    for second in range(20, 60, 10):
        found = speeds.seen("a", counts(100, 900), float(second))
    assert found == Speed(0.0, None)
    assert speeds.seen("b", counts(5, 5), 60.0) is None
