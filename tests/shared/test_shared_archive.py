"""The archive of delivered ids that several machines write: nothing of any is lost, whoever is faster."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from backfill.archive import Archive, SharedArchive
from backfill.errors import LedgerError, StoppedError
from backfill.records import ArchivedRun, DeliveredCalls
from backfill.shared import open_place
from tests.support.shared_places import Behind

CALLS = 50


def on_a_machine(place: Behind, folder: Path) -> SharedArchive:
    """The archive as a machine has it."""
    there = open_place(place.url)
    there.make_usable()
    return SharedArchive(there, Archive(folder, "orders", "segment", "scope"))


def a_run(number: int) -> ArchivedRun:
    """One of many."""
    return ArchivedRun(f"run {number}", float(number), CALLS)


def delivered(number: int) -> list[DeliveredCalls]:
    """Its ids, which no other run has."""
    ids = np.zeros((CALLS, 16), np.uint8)
    ids[:, 0], ids[:, 15] = number, np.arange(CALLS)
    return [DeliveredCalls(0, ids, np.arange(CALLS))]


def all_there(archive: SharedArchive, *numbers: int) -> bool:
    """Whether the ids of these runs, and of no others, are in it."""
    ids = archive.open()
    asked = np.concatenate([one.ids for number in numbers for one in delivered(number)])
    return ids is not None and len(ids) == CALLS * len(numbers) and bool(ids.delivered(asked).all())


def test_two_machines_at_once(place: Behind, tmp_path: Path) -> None:
    """One makes a state while another is at it: that one begins again on top of it, and what it replaces goes."""
    first, second = (on_a_machine(place, tmp_path / name) for name in "ab")
    first.add(a_run(0), delivered(0))
    meanwhile = iter(range(2, 6))

    class Slow:
        """Gone through again each time that the other one was faster."""

        def __iter__(self) -> Iterator[DeliveredCalls]:
            for other in meanwhile:
                second.add(a_run(other), delivered(other))
                break
            return iter(delivered(1))

    first.add(a_run(1), Slow())
    third = on_a_machine(place, tmp_path / "c")
    for archive in (first, second, third):
        assert all_there(archive, 0, 1, 2, 3, 4, 5)
    assert {run.run_id for run in third.runs()} == {f"run {number}" for number in range(6)}
    assert len([name for name in place.names() if "/states/" in name]) == 1
    before = len(place.names())
    second.add(a_run(6), delivered(6))  # merged with smaller ones, whose files are named by no state any more
    assert len(place.names()) <= before + 3
    second.forget()
    assert (first.open(), third.runs()) == (None, ())


def test_a_copy_that_is_lost_or_damaged(place: Behind, tmp_path: Path) -> None:
    """Is fetched again; what was archived on this machine alone before is shared with the next run."""
    folder = tmp_path / "a"
    Archive(folder, "orders", "segment", "scope").add(a_run(0), delivered(0))
    archive = on_a_machine(place, folder)
    archive.add(a_run(0), delivered(0))
    assert all_there(on_a_machine(place, tmp_path / "b"), 0)
    for column in folder.rglob("*.high"):
        column.write_bytes(column.read_bytes()[::-1])
    assert all_there(archive, 0)
    for column in folder.rglob("*.low"):
        column.unlink()
    assert all_there(archive, 0)


def test_shared_files_that_a_stranger_changes(place: Behind, tmp_path: Path) -> None:
    """Are named; made again from the ledgers, it is whole."""
    on_a_machine(place, tmp_path / "a").add(a_run(0), delivered(0))
    for name in place.names():
        if "/files/" in name:
            place.write(name, b"another" + place.read(name))
    other = on_a_machine(place, tmp_path / "b")
    with pytest.raises(LedgerError, match="was changed"):
        other.open()
    other.forget()
    other.add(a_run(0), delivered(0))
    assert all_there(on_a_machine(place, tmp_path / "c"), 0)


def test_a_place_that_is_out_of_reach(place: Behind, tmp_path: Path) -> None:
    """Nothing counts as archived that is not there for all."""
    archive = on_a_machine(place, tmp_path / "a")
    back = place.refuse()
    with pytest.raises(StoppedError):
        archive.add(a_run(0), delivered(0))
    assert on_a_machine(place, tmp_path / "b").open() is None
    back()
    archive.add(a_run(0), delivered(0))
    assert all_there(on_a_machine(place, tmp_path / "b"), 0)
