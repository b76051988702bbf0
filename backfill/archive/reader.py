"""Asking the archive: which of these ids were delivered, and where one of them went."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from backfill.archive.columns import Piece, Sixteen, first_at_least, halves, mapped
from backfill.archive.manifest import Manifest, read_manifest
from backfill.errors import LedgerError
from backfill.records import ArchivedRun, DeliveredPlace

#: A reader that comes between two manifests finds the files of the second.
_TRIES = 5


class ArchiveReader:
    """The archive as it was when this was opened; what is added later is not seen. Thread-safe.

    It is memory-mapped: its own memory is that of the question.
    """

    def __init__(self, manifest: Manifest, pieces: Sequence[Piece]) -> None:
        self.manifest = manifest
        self._pieces = pieces

    @classmethod
    def open(cls, folder: Path) -> ArchiveReader | None:
        """The archive in that folder; None where there is none.

        Raises:
            LedgerError: A file is missing or cut short.
        """
        for attempt in range(_TRIES):
            manifest = read_manifest(folder)
            if manifest is None:
                return None
            try:
                return cls(manifest, [mapped(folder / file.name, file.records) for file in manifest.files])
            except (OSError, ValueError) as error:
                if attempt + 1 == _TRIES or read_manifest(folder) == manifest:
                    raise LedgerError(
                        f"{folder}: {error}", hint="`backfill run JOB --only-new` makes it again"
                    ) from error
        return None

    @property
    def runs(self) -> tuple[ArchivedRun, ...]:
        """The runs whose ids these are."""
        return self.manifest.runs

    def __len__(self) -> int:
        return self.manifest.records

    def delivered(self, ids: Sixteen) -> npt.NDArray[np.bool_]:
        """Which of the ids (sixteen bytes a row) are archived."""
        found = np.zeros(len(ids), np.bool_)
        if not len(ids):
            return found
        high, low = halves(ids)
        order = np.argsort(high)
        high, low = high[order], low[order]
        for piece in self._pieces:
            found[order] |= first_at_least(piece, high, low)[1]
        return found

    def find(self, identity: bytes) -> list[DeliveredPlace]:
        """Every place to which the id (its sixteen bytes) was delivered, the latest archived first."""
        high, low = halves(np.frombuffer(identity, np.uint8).reshape(1, 16))
        places: list[DeliveredPlace] = []
        for piece in reversed(self._pieces):
            at, here = first_at_least(piece, high, low)
            place = int(at[0])
            while here[0] and place < len(piece) and piece.high[place] == high[0] and piece.low[place] == low[0]:
                run, shard, call = piece.places[place].item()
                if run < len(self.manifest.runs):  # else a damaged column: whoever asks looks elsewhere, too
                    places.append(DeliveredPlace(self.manifest.runs[run], shard, call))
                place += 1
        return list(dict.fromkeys(places))
