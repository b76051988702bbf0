"""Repeated ids: exact over the whole job, in memory and on disk."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backfill.disk import out_of_space
from backfill.errors import StoppedError
from backfill.prepare.repeats import Collector, DropTable, DuplicateResolver, Resolution, among
from tests.support.no_room import no_file_above

#: A number that no float keeps.
FAR = np.uint64(2**63 + 1)


def sixteen(values: list[int]) -> np.ndarray:
    """Numbers as sixteen-byte rows."""
    return np.array([list(value.to_bytes(16, "big")) for value in values], np.uint8).reshape(-1, 16)


def expected(ids: list[int], contents: list[int]) -> list[Resolution]:
    """The rule, said row by row."""
    first: dict[int, int] = {}
    resolutions = []
    for identity, content in zip(ids, contents, strict=True):
        if identity not in first:
            first[identity] = content
            resolutions.append(Resolution.FIRST)
        else:
            resolutions.append(Resolution.DUPLICATE if first[identity] == content else Resolution.CONFLICT)
    return resolutions


@given(
    rows=st.lists(st.tuples(st.integers(0, 30), st.integers(0, 2)), max_size=120),
    collide=st.integers(1, 31),
    step=st.integers(1, 40),
)
@settings(max_examples=200)
def test_resolutions_are_those_of_the_rule(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[int, int]], collide: int, step: int
) -> None:
    """Whatever hashes collide and however the rows are sliced, every call's fate is the row-wise rule's."""
    ids = [identity for identity, _ in rows]
    contents = [content for _, content in rows]
    hashes = np.array([identity % collide for identity in ids], np.uint64) * np.uint64(2**58)
    folder = tmp_path_factory.mktemp("repeats")
    collector = Collector(folder, memory_hashes=50)
    for start in range(0, len(rows), step):
        collector.add(hashes[start : start + step])
    candidates = collector.candidates()
    values, counts = np.unique(hashes, return_counts=True)
    assert list(candidates) == list(values[counts > 1])
    resolver = DuplicateResolver(candidates, folder)
    resolutions: list[int] = []
    firsts: list[int] = []
    for start in range(0, len(rows), step):
        part = slice(start, start + step)
        asked = among(hashes[part], candidates)
        places = np.arange(len(ids), dtype=np.uint64)[part][asked]
        origins = np.column_stack([places, places * np.uint64(3) + FAR])
        found = resolver.resolve(
            hashes[part][asked], sixteen(ids[part])[asked], sixteen(contents[part])[asked], origins
        )
        decided = iter(found[0])
        assert (found[0].dtype, found[1].dtype) == (np.uint8, np.uint64)
        assert (found[1][:, 1] == found[1][:, 0] * np.uint64(3) + FAR).all()
        firsts.extend(found[1][:, 0].tolist())
        resolutions.extend(int(next(decided)) if each else Resolution.FIRST for each in asked)
    assert resolutions == expected(ids, contents)
    repeated = [identity for identity, each in zip(ids, among(hashes, candidates), strict=True) if each]
    assert firsts == [ids.index(identity) for identity in repeated]


def test_many_candidates_live_on_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond its memory the resolver keeps ids in mapped files, and answers the same."""
    monkeypatch.setattr("backfill.prepare.repeats.MEMORY_HASHES", 64)
    values = np.arange(1_000, dtype=np.uint64)
    folder = tmp_path / "deep" / "resolver"
    resolver = DuplicateResolver(values, folder)
    ids = sixteen(list(range(1_000)))
    origins = np.arange(5, 2_005, dtype=np.uint64).reshape(-1, 2)
    for resolution, asked in ((Resolution.FIRST, origins), (Resolution.DUPLICATE, origins * 2)):
        resolutions, firsts = resolver.resolve(values, ids, ids, asked)
        assert set(resolutions) == {resolution}
        assert firsts.tolist() == origins.tolist()
    assert (folder / "ids").stat().st_size == 16_000
    assert (folder / "origins").stat().st_size == 16_000
    assert not resolver._others  # in memory are the ids that share another one's hash, and no others


def test_few_candidates_live_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Up to the bound; its files come with the next one."""
    monkeypatch.setattr("backfill.prepare.repeats.MEMORY_HASHES", 64)
    for count, there in ((2, False), (3, True)):
        DuplicateResolver(np.arange(count, dtype=np.uint64), tmp_path / "resolver")
        assert (tmp_path / "resolver").exists() is there


@given(st.lists(st.tuples(st.integers(0, 3), st.sampled_from(Resolution)), max_size=60), st.integers(1, 20))
def test_the_drop_table_says_what_it_was_told(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[int, Resolution]], step: int
) -> None:
    """Of every call, in whatever slices it is told and asked; a call that it was not told of is to be sent."""
    told = np.cumsum([gap + 1 for gap, _ in steps], dtype=np.uint64)
    resolutions = np.array([resolution for _, resolution in steps], np.uint8)
    path = tmp_path_factory.mktemp("drop") / "table"
    path.write_bytes(bytes(8))  # of a process that was killed
    table = DropTable(path)
    for start in range(0, len(steps), step):
        table.add(told[start : start + step], resolutions[start : start + step])
    wanted = dict(zip(told.tolist(), resolutions.tolist(), strict=True))
    every = np.arange(int(told[-1]) + 2 if len(told) else 2, dtype=np.uint64)
    found = np.concatenate([table.resolve(part) for part in np.array_split(every, step)])
    assert found.tolist() == [wanted.get(place, Resolution.FIRST) for place in every.tolist()]
    assert table.empty is (set(wanted.values()) <= {Resolution.FIRST})
    assert table.resolve(every).dtype == np.uint8


def test_the_drop_table_makes_its_folder(tmp_path: Path) -> None:
    """Where a call is left out, and not before."""
    table = DropTable(tmp_path / "deep" / "work" / "table")
    table.add(np.array([1], np.uint64), np.array([Resolution.FIRST], np.uint8))
    assert not (tmp_path / "deep").exists()
    table.add(np.array([2], np.uint64), np.array([Resolution.CONFLICT], np.uint8))
    assert table.resolve(np.array([1, 2], np.uint64)).tolist() == [Resolution.FIRST, Resolution.CONFLICT]


def test_the_collector_keeps_its_bound(tmp_path: Path) -> None:
    """Hashes go to disk as soon as there are as many as may be in memory, into the buckets that they are of."""
    collector = Collector(tmp_path, memory_hashes=5)
    collector.add(np.arange(4, dtype=np.uint64))
    assert not (tmp_path / "repeats").exists()
    collector.add(np.array([2 << 56], np.uint64))
    assert sorted(path.name for path in (tmp_path / "repeats").iterdir()) == ["000", "002"]
    collector.add(np.array([3], np.uint64))  # and all that come after
    candidates = collector.candidates()
    assert candidates.tolist() == [3]
    assert not candidates.flags.writeable


def test_hashes_beyond_memory_go_to_disk(tmp_path: Path) -> None:
    """The candidates are those of all hashes, found again in the files they were put aside in, which are removed."""
    hashes = np.random.default_rng(3).integers(0, 2**64, 20_000, np.uint64)
    twice = np.sort(hashes[:70])
    collector = Collector(tmp_path, memory_hashes=1_000)
    for start in range(0, len(hashes), 300):
        collector.add(hashes[start : start + 300])
    assert len(list((tmp_path / "repeats").iterdir())) > 200
    collector.add(twice)
    assert np.array_equal(collector.candidates(), twice)
    assert [path.name for path in tmp_path.iterdir()] == ["repeats.candidates"]


def test_no_repeats_leave_no_candidates(tmp_path: Path) -> None:
    """On disk and in memory alike."""
    for most in (10, 10_000):
        collector = Collector(tmp_path / str(most), memory_hashes=most)
        collector.add(np.arange(100, dtype=np.uint64) << np.uint64(50))
        assert len(found := collector.candidates()) == 0
        assert found.dtype == np.uint64
    assert Collector(tmp_path).candidates().dtype == np.uint64


def test_room_on_disk_is_taken_before_it_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A mapped file without it would end the process with SIGBUS on a disk that is full by then."""
    monkeypatch.setattr("backfill.prepare.repeats.MEMORY_HASHES", 64)
    DuplicateResolver(np.arange(10_000, dtype=np.uint64), tmp_path)
    for name in ("ids", "digests"):
        assert (tmp_path / name).stat().st_blocks * 512 >= 160_000
    monkeypatch.delattr("os.posix_fallocate")  # as on macOS: zeros are written, in pages
    DuplicateResolver(np.arange(10_000, dtype=np.uint64), tmp_path)
    assert (tmp_path / "ids").stat().st_size == -(-160_000 // 4_096) * 4_096


def test_a_disk_that_takes_no_more_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the system's own error, of which the command line knows what it means: hashes, candidates and ids."""
    collector = Collector(tmp_path, memory_hashes=10_000)
    same = np.full(5_000, 7, np.uint64)
    collector.add(same)
    with no_file_above(8_192), pytest.raises(StoppedError), out_of_space(tmp_path):
        collector.add(same)
    many = Collector(tmp_path / "many", memory_hashes=1_000)
    for part in np.split(np.repeat(np.arange(20_000, dtype=np.uint64) << np.uint64(49), 2), 50):
        many.add(part)
    with no_file_above(8_192), pytest.raises(StoppedError), out_of_space(tmp_path):
        many.candidates()
    monkeypatch.setattr("backfill.prepare.repeats.MEMORY_HASHES", 64)
    with no_file_above(8_192), pytest.raises(StoppedError), out_of_space(tmp_path):
        DuplicateResolver(np.arange(10_000, dtype=np.uint64), tmp_path)
