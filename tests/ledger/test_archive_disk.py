"""Delivered ids on a disk that is full: a stop with a way on at whatever byte, and nothing lost."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from backfill.archive import Archive
from backfill.errors import StoppedError
from backfill.records import ArchivedRun, DeliveredCalls
from tests.support.no_room import no_file_above
from tests.torture.kinds import small_disk

RECORDS = 2_000
IDS = np.random.default_rng(5).integers(0, 256, (RECORDS, 16), np.uint8)
RUN = ArchivedRun("run", 1.0, RECORDS)
#: Of the three columns, the longest.
LONGEST = 12 * RECORDS


def archive_in(folder: Path, memory_records: int) -> Archive:
    """An archive that sorts so many records at once."""
    return Archive(folder, "job", "segment https://example.org", "scope", memory_records=memory_records)


def delivered() -> Iterator[DeliveredCalls]:
    """All ids, in order of their calls."""
    yield DeliveredCalls(0, IDS, np.arange(RECORDS))


def add_at_last(archive: Archive) -> None:
    """With room again, all ids are archived."""
    archive.add(RUN, delivered())
    reader = archive.open()
    assert reader is not None
    assert reader.delivered(IDS).all()


@pytest.mark.parametrize("memory_records", [RECORDS, 300], ids=["at once", "in pieces"])
@pytest.mark.parametrize("size", [0, 1, 2_000, 3_000, 4_095, 9_000, LONGEST - 1])
def test_no_file_may_grow(tmp_path: Path, memory_records: int, size: int) -> None:
    """What is written at once, and what waits in a buffer until its file is closed."""
    archive = archive_in(tmp_path, memory_records)
    with no_file_above(size), pytest.raises(StoppedError, match="File too large"):
        archive.add(RUN, delivered())
    add_at_last(archive)


@pytest.mark.parametrize("memory_records", [RECORDS, 300], ids=["at once", "in pieces"])
def test_a_full_disk(tmp_path: Path, memory_records: int) -> None:
    """A file system of its own, with room for some pages only."""
    with small_disk(tmp_path / "disk") as disk:
        if disk is None:
            pytest.skip("nobody may mount a tmpfs here")
        for pages in range(12):
            folder = disk / str(pages)
            folder.mkdir()
            filler = disk / "filler"
            fill(filler, pages)
            archive = archive_in(folder, memory_records)
            with pytest.raises(StoppedError, match="no space left"):
                archive.add(RUN, delivered())
            filler.unlink()
            add_at_last(archive)


def fill(filler: Path, pages: int) -> None:
    """Fill the disk but for so many pages."""
    with filler.open("wb", buffering=0) as file:
        try:
            while file.write(bytes(65_536)):
                pass
        except OSError:
            pass
        file.truncate((file.tell() // 4096 - pages) * 4096)
