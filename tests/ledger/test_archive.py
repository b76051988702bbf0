"""The archive of delivered ids: exact whatever the ids and however little memory, whole or as before after a crash."""

from __future__ import annotations

import os
import shutil
import threading
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from stat import S_IMODE

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backfill.archive import Archive, ArchiveReader
from backfill.archive.archive import read_manifest, to_merge
from backfill.errors import InterruptedRunError, LedgerError
from backfill.records import ArchivedRun, DeliveredCalls

#: Few different halves, so that ids share one; and arbitrary ones.
HALF = st.sampled_from([bytes(8), b"\xff" * 8, b"\0" * 7 + b"\1", b"\x80" + bytes(7)]) | st.binary(
    min_size=8, max_size=8
)
ID = st.builds(lambda high, low: high + low, HALF, HALF)
#: The ids of one run: those of its shards, in the order of their calls.
SHARDS = st.lists(st.lists(ID, max_size=12), max_size=4)


def archive_in(folder: Path, memory_records: int = 1_000) -> Archive:
    """An archive in a state folder."""
    return Archive(folder, "orders", "segment https://api.segment.io", "scope", memory_records=memory_records)


def sixteen(ids: Iterable[bytes]) -> np.ndarray:
    """Ids as rows of sixteen bytes."""
    return np.frombuffer(b"".join(ids), np.uint8).reshape(-1, 16)


def delivered(shards: list[list[bytes]]) -> Iterator[DeliveredCalls]:
    """The calls of a run."""
    for shard, ids in enumerate(shards):
        yield DeliveredCalls(shard, sixteen(ids), np.arange(len(ids)))


def run_of(name: str, shards: list[list[bytes]]) -> ArchivedRun:
    """A run as the manifest has it."""
    return ArchivedRun(name, 1.5, sum(map(len, shards)))


def add(archive: Archive, name: str, shards: list[list[bytes]]) -> None:
    """Archive a run."""
    archive.add(run_of(name, shards), delivered(shards))


def random_ids(seed: int, count: int) -> list[bytes]:
    """So many ids."""
    return [row.tobytes() for row in np.random.default_rng(seed).integers(0, 256, (count, 16), np.uint8)]


def holds(reader: ArchiveReader | None, ids: list[bytes]) -> list[bool]:
    """Which of the ids it has."""
    return [False] * len(ids) if reader is None else reader.delivered(sixteen(ids)).tolist()


# ---------------------------------------------------------------------------------------------------------- exactness


@given(st.lists(SHARDS, max_size=6), st.lists(ID, max_size=10), st.integers(1, 40))
def test_answers_are_those_of_a_set(
    tmp_path_factory: pytest.TempPathFactory, runs: list[list[list[bytes]]], others: list[bytes], memory: int
) -> None:
    """Whatever was archived, in however many runs, with however little memory: the ids and their places, no others."""
    archive = archive_in(tmp_path_factory.mktemp("state"), memory)
    places: dict[bytes, set[tuple[str, int, int]]] = defaultdict(set)
    for number, shards in enumerate(runs):
        add(archive, f"run{number}", shards)
        for shard, ids in enumerate(shards):
            for call, identity in enumerate(ids):
                places[identity].add((f"run{number}", shard, call))
    reader = archive.open()
    asked = [*others, *places]
    assert holds(reader, asked) == [identity in places for identity in asked]
    for identity in asked:
        found = [] if reader is None else reader.find(identity)
        assert {(place.run.run_id, place.shard, place.call) for place in found} == places.get(identity, set())
        assert len(found) == len(places.get(identity, ()))


def test_more_than_memory_holds(tmp_path: Path) -> None:
    """Sorted pieces on disk and their merge give what one sort in memory gives."""
    ids = random_ids(1, 50_000)
    shards = [ids[start : start + 7_001] for start in range(0, len(ids), 7_001)]
    small, large = archive_in(tmp_path / "small", 2_000), archive_in(tmp_path / "large", 10**6)
    for archive in (small, large):
        add(archive, "run", shards)
    assert small.manifest().files[0].checks == large.manifest().files[0].checks
    assert small.manifest().records == len(ids)
    assert not list(small.folder.glob("work"))


def test_ids_are_in_byte_order(tmp_path: Path) -> None:
    """The columns on disk are the sorted ids: anybody may read them."""
    archive = archive_in(tmp_path)
    ids = [*random_ids(2, 500), bytes(16), b"\xff" * 16]
    add(archive, "run", [ids])
    (file,) = archive.manifest().files
    high, low = (np.fromfile((archive.folder / file.name).with_suffix(name), "<u8") for name in (".high", ".low"))
    assert [
        int(one).to_bytes(8, "big") + int(other).to_bytes(8, "big") for one, other in zip(high, low, strict=True)
    ] == sorted(ids)


# ------------------------------------------------------------------------------------------------- many runs, few files


@given(st.lists(st.integers(0, 10**9), min_size=1, max_size=80))
def test_files_stay_few(sizes: list[int]) -> None:
    """Merging by size: after each run every file is more than twice as large as all behind it."""
    files: list[int] = []
    for size in sizes:
        files.append(size)
        taken = to_merge(files)
        files[-taken:] = [sum(files[-taken:])]
        assert all(files[place] > 2 * sum(files[place + 1 :]) for place in range(len(files) - 1))
    assert len(files) <= 2 + np.log2(1 + sum(sizes))


def test_many_small_runs(tmp_path: Path) -> None:
    """Forty runs of one job leave a few files, every id and every run."""
    archive = archive_in(tmp_path)
    ids = random_ids(3, 400)
    for number in range(40):
        add(archive, f"run{number}", [ids[number * 10 : number * 10 + 10]])
    manifest = archive.manifest()
    assert (len(manifest.runs), manifest.records) == (40, 400)
    assert len(manifest.files) <= 6
    assert len(list(archive.folder.glob("*.high"))) == len(manifest.files)
    assert all(holds(archive.open(), ids))
    reader = archive.open()
    assert reader is not None
    assert [place.run.run_id for place in reader.find(ids[237])] == ["run23"]


def test_reader_outlives_a_merge(tmp_path: Path) -> None:
    """What was opened before a later run was archived answers as before."""
    archive = archive_in(tmp_path)
    old, new = random_ids(4, 100), random_ids(5, 100)
    add(archive, "one", [old])
    reader = archive.open()
    add(archive, "two", [new])
    assert holds(reader, old + new) == [True] * 100 + [False] * 100
    assert all(holds(archive.open(), old + new))


# ----------------------------------------------------------------------------------------------------- again, and more


def test_again_changes_nothing(tmp_path: Path) -> None:
    """A run that is covered is not read again."""
    archive = archive_in(tmp_path)
    shards = [random_ids(6, 20)]
    add(archive, "run", shards)
    before = archive.manifest()

    def unread() -> Iterator[DeliveredCalls]:
        yield from ()
        raise AssertionError

    archive.add(run_of("run", shards), unread())
    assert archive.manifest() == before


def test_a_run_that_went_on(tmp_path: Path) -> None:
    """A run that has delivered more since is archived again, under its number; each place is told once."""
    archive = archive_in(tmp_path)
    ids = random_ids(7, 60)
    add(archive, "run", [ids[:20]])
    add(archive, "other", [random_ids(8, 5)])
    add(archive, "run", [ids])
    assert [(run.run_id, run.calls) for run in archive.manifest().runs] == [("run", 60), ("other", 5)]
    reader = archive.open()
    assert reader is not None
    assert all(holds(reader, ids))
    assert [(place.shard, place.call) for place in reader.find(ids[3])] == [(0, 3)]


def test_runs_of_one_id(tmp_path: Path) -> None:
    """Two runs of the same id, begun at different times, are two."""
    archive = archive_in(tmp_path)
    one, two = random_ids(9, 2)
    archive.add(ArchivedRun("run", 1.0, 1), delivered([[one]]))
    archive.add(ArchivedRun("run", 2.0, 1), delivered([[two]]))
    reader = archive.open()
    assert reader is not None
    assert [reader.find(identity)[0].run.created_at for identity in (one, two)] == [1.0, 2.0]


def test_archives_are_apart(tmp_path: Path) -> None:
    """Another job, target or scope has another archive; forgetting one leaves the others."""
    (identity,) = random_ids(10, 1)
    archives = [
        Archive(tmp_path, *names)
        for names in [
            ("a", "segment x", "s"),
            ("b", "segment x", "s"),
            ("a", "segment y", "s"),
            ("a", "segment x", "t"),
        ]
    ]
    add(archives[0], "run", [[identity]])
    assert [holds(archive.open(), [identity]) for archive in archives] == [[True], [False], [False], [False]]
    archives[1].forget()
    assert holds(archives[0].open(), [identity]) == [True]
    archives[0].forget()
    assert archives[0].open() is None
    assert not list(archives[0].folder.glob("*.high"))


def test_several_at_once(tmp_path: Path) -> None:
    """Runs of several generations that end together are archived one after the other, and all of them."""
    ids = random_ids(11, 160)
    threads = [
        threading.Thread(target=add, args=(archive_in(tmp_path), f"run{number}", [ids[number * 20 : number * 20 + 20]]))
        for number in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(holds(archive_in(tmp_path).open(), ids))
    assert len(archive_in(tmp_path).manifest().runs) == 8


def test_waiting_can_be_given_up(tmp_path: Path) -> None:
    """A signal ends the wait for another process."""
    begun, go_on = threading.Event(), threading.Event()

    def slow() -> Iterator[DeliveredCalls]:
        begun.set()
        go_on.wait(30)
        yield from delivered([random_ids(12, 1)])

    thread = threading.Thread(target=archive_in(tmp_path).add, args=(ArchivedRun("slow", 0.0, 1), slow()))
    thread.start()
    assert begun.wait(30)
    try:
        hasty = Archive(tmp_path, "orders", "segment https://api.segment.io", "scope", stopping=lambda: True)
        with pytest.raises(InterruptedRunError):
            add(hasty, "hasty", [random_ids(13, 1)])
    finally:
        go_on.set()
        thread.join()


def test_archiving_can_be_given_up(tmp_path: Path) -> None:
    """A signal in the middle leaves the archive as it was."""
    old, new = random_ids(20, 10), random_ids(21, 40)
    add(archive_in(tmp_path, 8), "one", [old])
    asked: list[None] = []

    def third_time() -> bool:
        asked.append(None)
        return len(asked) > 2

    hasty = Archive(
        tmp_path, "orders", "segment https://api.segment.io", "scope", memory_records=8, stopping=third_time
    )
    with pytest.raises(InterruptedRunError):
        add(hasty, "two", [new])
    assert holds(archive_in(tmp_path).open(), [old[0], new[0]]) == [True, False]
    add(archive_in(tmp_path), "two", [new])
    assert all(holds(archive_in(tmp_path).open(), old + new))


# ---------------------------------------------------------------------------------------------------- crash and damage


def crashes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, work: Callable[[], None], folder: Path) -> list[Path]:
    """Copies of a folder as a crash at each step of some work would leave it: before each change that is forced."""
    copies: list[Path] = []

    def taken(act: Callable[..., object]) -> Callable[..., object]:
        def acting(*arguments: object, **named: object) -> object:
            copies.append(tmp_path / f"crash{len(copies)}")
            shutil.copytree(folder, copies[-1])
            return act(*arguments, **named)

        return acting

    with monkeypatch.context() as watched:
        for name in ("fsync", "unlink", "rename", "replace"):
            watched.setattr(os, name, taken(getattr(os, name)))
        work()
    return copies


def test_killed_at_any_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a crash at any step the archive is that of before or of after; archiving again makes it whole."""
    state = tmp_path / "state"
    old, new = random_ids(14, 40), random_ids(15, 40)
    add(archive_in(state, 16), "one", [old])
    copies = crashes(tmp_path, monkeypatch, lambda: add(archive_in(state, 16), "two", [new]), state)
    assert len(copies) > 6
    seen = set()
    for copy in copies:
        seen.add(tuple(holds(archive_in(copy).open(), [old[0], new[0]])))
        assert all(holds(archive_in(copy).open(), old))
        add(archive_in(copy, 16), "two", [new])
        again = archive_in(copy)
        assert all(holds(again.open(), old + new))
        assert again.manifest().records == 80
        assert len(list(again.folder.glob("*.low"))) == len(again.manifest().files)
    assert seen == {(True, False), (True, True)}


@pytest.mark.parametrize("column", [".high", ".low"])
@pytest.mark.parametrize("damage", ["flipped", "cut", "gone"])
def test_damage_is_told(tmp_path: Path, column: str, damage: str) -> None:
    """A flipped bit, a file cut short or gone: never a wrong answer to whoever leaves calls out."""
    archive = archive_in(tmp_path)
    add(archive, "run", [random_ids(16, 100)])
    (path,) = archive.folder.glob(f"*{column}")
    plain = bytearray(path.read_bytes())
    plain[333] ^= 4
    if damage == "gone":
        path.unlink()
    else:
        path.write_bytes(plain if damage == "flipped" else plain[:-8])
    with pytest.raises(LedgerError, match=column if damage != "gone" else "No such file"):
        archive.open()


def test_places_beyond_the_manifest(tmp_path: Path) -> None:
    """A damaged place is not told; whoever finds nothing looks elsewhere."""
    archive = archive_in(tmp_path)
    (identity,) = random_ids(17, 1)
    add(archive, "run", [[identity]])
    (path,) = archive.folder.glob("*.places")
    path.write_bytes(b"\xff" * 12)
    reader = archive.open()
    assert reader is not None
    assert reader.find(identity) == []


@pytest.mark.parametrize("text", ["", "{", '{"version": 1', '{"version": 2}'])
def test_manifest_that_is_none(tmp_path: Path, text: str) -> None:
    """A damaged manifest, and one of a later version, are refused."""
    archive = archive_in(tmp_path)
    add(archive, "run", [random_ids(18, 3)])
    (archive.folder / "manifest.json").write_text(text, encoding="utf-8")
    with pytest.raises(LedgerError, match=r"manifest\.json"):
        archive.open()
    with pytest.raises(LedgerError):
        read_manifest(archive.folder)


def test_modes(tmp_path: Path) -> None:
    """Nobody else can read it."""
    archive = archive_in(tmp_path / "state", 8)
    add(archive, "run", [random_ids(19, 50)])
    for path in [archive.folder, *archive.folder.rglob("*")]:
        assert S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path
