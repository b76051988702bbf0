"""A disk that is full, too small or read-only at writes of stage, spool and ledger: exit 5, what to do, and go on."""

from __future__ import annotations

import random
import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.no_room import no_file_above
from tests.support.projects import Project, backfill
from tests.torture.cases import CSV, DATABASE
from tests.torture.kinds import filled, limited, refused, small_disk
from tests.torture.trial import Bench, benches
from tests.torture.zygote import Zygote

#: One operation of each kind of file.
PARTS = ("ledger.sqlite3.tmp", "duckdb COPY", "snapshot.json.tmp", ".segment.tmp", "rejects.parquet.tmp", "send end")


@pytest.fixture(scope="module")
def bench(zygote: Zygote, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    """A job of which every file is written."""
    with benches(zygote, tmp_path_factory.mktemp("disk"), CSV) as (one,):
        yield one


def point_of(bench: Bench, part: str, chance: random.Random) -> str:
    """Some point of that kind."""
    return chance.choice([point for point in bench.points if part in point and point.endswith("before")])


@pytest.mark.parametrize("act", ["full", "readonly"])
def test_every_kind_of_file_refuses(bench: Bench, act: str) -> None:
    """From some point on, the system takes no change of any file from the program's own hand."""
    chance = random.Random(act)
    for part in PARTS[::2] if act == "full" else PARTS[1::2]:
        refused(bench, chance, point_of(bench, part, chance), act)


def test_really_full(bench: Bench, tmp_path: Path) -> None:
    """A small file system is filled while the program works on it: SQLite, DuckDB and polars find out by themselves."""
    chance = random.Random(1)
    with small_disk(tmp_path / "disk") as disk:
        if disk is None:
            pytest.skip("nobody may mount a tmpfs here")
        for part, spare in zip(("duckdb COPY", ".segment.tmp", "rejects.", "send endp"), (0, 4096, 0, 0), strict=True):
            assert filled(bench, chance, disk, point_of(bench, part, chance), spare), part


@pytest.mark.parametrize("size", [6_000, 60_000])
def test_files_may_not_grow(bench: Bench, size: int) -> None:
    """The limit of `ulimit -f`, which SQLite, DuckDB and polars meet, too."""
    assert limited(bench, random.Random(1), size)


def test_read_only_state(zygote: Zygote, tmp_path: Path) -> None:
    """A state directory, or a ledger, that may not be written: said, and gone on with once it may."""
    with benches(zygote, tmp_path, DATABASE) as (bench,):
        trial = bench.trial()
        at = next(point for point in bench.points if point.startswith("send endpoint #3 "))
        assert trial.run(trial.plan(at, "kill")).code == -9
        ledger = next(trial.state.glob("runs/*/ledger.sqlite3"))
        lock = next(trial.state.glob("locks/*.lock"))
        for path, modes in ((ledger, (0o400, 0o600)), (lock, (0o400, 0o600))):
            path.chmod(modes[0])
            ended = trial.run(weak=True)
            path.chmod(modes[1])
            assert ended.code in {1, 5}, ended
            assert "Error: " in ended.err, ended
            assert "Hint: " in ended.err, ended
            trial.look()
        trial.finish()


@pytest.mark.parametrize("what", ["rejects", "unreadable", "export"])
def test_what_need_not_last(tmp_path: Path, what: str) -> None:
    """The rejects of a dry run, the unreadable records before its --limit, an export: exit 5, with a hint."""
    project = Project(tmp_path)
    job = project.people(3)
    words = [secrets.token_urlsafe(200) for _ in range(5_000)]
    lines = [f"{word},a,b,c,d,e" if what == "unreadable" else f"{word},a,b,old" for word in words]
    table = (tmp_path / "people.csv").read_text().splitlines()
    (tmp_path / "people.csv").write_text("\n".join([table[0], *lines, *table[1:], ""]))
    assert backfill("dry-run", job).code == 3  # which leaves a snapshot
    again = ["dry-run", job, *["--limit", "2"] * (what == "unreadable")]
    if what == "export":
        assert backfill("run", job, "--target", "sandbox", "--yes").code == 3
        again = ["rejects", "--state-dir", project.state, "--export", tmp_path / "rejects.csv"]
    with no_file_above(500_000):
        ended = backfill(*again)
    assert ended.code == 5, ended.err
    assert "File too large" in ended.err
    assert "Hint: " in ended.err
