"""Whole runs of a source in a bucket: fetched once, drift told by name, nothing of it left."""

from __future__ import annotations

import gzip
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.buckets import Fault, Store, credentials, served
from tests.support.projects import backfill

JOB = """\
version: 1
name: people
source:
  path: s3://shop/people/*.csv.gz
calls:
  - type: identify
    message_key: [id]
    userId: id
    timestamp: {value: "2024-01-01T00:00:00Z"}
    traits: {"*": {}}
    integrations: {All: false}
"""


def rows(first: int, count: int = 500) -> bytes:
    """So many people, gzipped."""
    return gzip.compress(("id,name\n" + "".join(f"u{n},Ada {n}\n" for n in range(first, first + count))).encode())


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    """A bucket of 12 objects, to which the environment leads."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    with served() as one:
        for name, value in credentials(one).items():
            monkeypatch.setenv(name, value)
        one.objects |= {f"people/{number:02}.csv.gz": rows(1000 * number) for number in range(12)}
        yield one


@pytest.fixture
def job(tmp_path: Path) -> Path:
    """A job over it."""
    path = tmp_path / "people.yaml"
    path.write_text(JOB)
    return path


def test_fetched_once(store: Store, job: Path) -> None:
    """A dry run fetches each object once, the run after it and a finished run again none; looks at eight aside."""
    dry = backfill("dry-run", job, "--output", "json")
    assert dry.object["rows"]["read"] == 6_000, dry.err
    unseen = [f"people/{number:02}.csv.gz" for number in range(8, 12)]  # by looks
    assert {one.key for one in store.gets()} == set(store.objects)
    assert len(store.gets()) <= 12 + 8
    run = backfill("run", job, "--target", "sandbox", "--output", "json")
    assert (run.code, run.object["calls"]["delivered"]) == (0, 6_000), run.err
    again = backfill("run", job, "--target", "sandbox", "--output", "json")
    assert (again.code, again.object["requests"]) == (0, 0)
    assert [len(store.gets(key)) for key in unseen] == [1] * 4
    assert len(store.gets()) <= 12 + 8 * 3
    assert not list(job.parent.rglob("objects"))


def test_looks_are_bounded(store: Store, job: Path) -> None:
    """`check` and `preview` fetch of some objects only, and agree with the dry run."""
    store.objects["people/00.csv.gz"] = rows(0, 400_000)
    checked = backfill("check", job)
    assert checked.code == 0, checked.err
    shown = backfill("preview", job, "-n", "1")
    assert '"userId": "u0"' in shown.out, shown.err
    assert {one.key for one in store.gets()} <= {f"people/{number:02}.csv.gz" for number in range(8)}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"people/03.csv.gz": rows(3000, 501)}, "s3://shop/people/03.csv.gz was changed"),
        ({"people/99.csv.gz": rows(99_000)}, "s3://shop/people/99.csv.gz is new"),
        ({"people/05.csv.gz": None}, "s3://shop/people/05.csv.gz is no longer there"),
    ],
)
def test_drift(store: Store, job: Path, change: dict[str, bytes | None], said: str) -> None:
    """A changed, a new and a missing object are told by name; a live run would be refused for it."""
    assert backfill("run", job, "--target", "sandbox").code == 0
    store.objects |= {key: body for key, body in change.items() if body is not None}
    for key in [key for key, body in change.items() if body is None]:
        del store.objects[key]
    again = backfill("run", job, "--target", "sandbox", "--only-new")
    assert said in again.err


def test_object_replaced_while_read(store: Store, job: Path) -> None:
    """Exit 9, and nothing was sent."""
    key = "people/04.csv.gz"
    store.script = lambda asked: (
        Fault(cut=100, then=lambda: store.objects.update({key: rows(7)}))
        if asked.key == key and asked.method == "GET" and "range" not in {name.lower() for name in asked.headers}
        else None
    )
    result = backfill("run", job, "--target", "sandbox")
    assert result.code == 9
    assert f"s3://shop/{key} was changed while it was read: nothing was sent" in result.err


def test_export_asks_no_store(store: Store, job: Path) -> None:
    """Rejected rows are exported from what the run kept, though other jobs beside it have sources in buckets."""
    store.objects["people/00.csv.gz"] = gzip.compress(b"id,name\n,Nobody\nu1,Ada\n")
    assert backfill("run", job, "--target", "sandbox").code == 3
    (job.parent / "other.yaml").write_text(JOB.replace("name: people", "name: other"))
    asked = len(store.asked)
    result = backfill("rejects", "--export", job.parent / "bad.csv", "--state-dir", job.parent / ".backfill")
    assert result.code == 0, result.err
    assert "Nobody" in (job.parent / "bad.csv").read_text()
    assert len(store.asked) == asked


def test_credentials_are_not_shown(store: Store, job: Path) -> None:
    """What is refused says so without the secret, whoever asks."""
    store.always(Fault(403, "SignatureDoesNotMatch", "<StringToSign>tHeSeCrEtOfNobody</StringToSign>"))
    for verb in ("check", "preview", "dry-run"):
        result = backfill(verb, job)
        assert result.code == 9
        assert "tHeSeCrEt" not in result.err + result.out
        assert "does not know these credentials (SignatureDoesNotMatch)" in result.err


def test_two_jobs_of_one_command(store: Store, job: Path) -> None:
    """Each fetches what it reads once, and what was fetched for one is gone before the other is read."""
    job.with_name("others.yaml").write_text(JOB.replace("name: people", "name: others", 1))
    run = backfill("run", job, job.with_name("others.yaml"), "--target", "sandbox", "--output", "json")
    assert [one["calls"]["delivered"] for one in run.objects] == [6_000, 6_000], run.err
    assert [len(store.gets(f"people/{number:02}.csv.gz")) for number in range(8, 12)] == [2] * 4
    assert not list(job.parent.rglob("objects"))
