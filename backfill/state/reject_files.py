"""The rows of a run that are not sent, as files beside its spool; named by shard, kept for good.

unreadable.parquet        records that are no rows
duplicates.parquet        rows whose call another row had made before
000000.rejects.parquet    what the rules refused (written with the shard: `spool`)
000000.refused.parquet    what the target refused
000000.retried.parquet    what it refused before, while that is tried again
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

from backfill.disk import fill_durably, make_folder, sync_folder

UNREADABLE_FILE, DUPLICATES_FILE = "unreadable.parquet", "duplicates.parquet"
REJECTS, REFUSED, ASIDE = ".rejects.parquet", ".refused.parquet", ".retried.parquet"


class RejectFiles:
    """A `RunRejects` in a folder, which need not exist."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def files(self, *, duplicates: bool = False) -> list[Path]:
        """The unreadable records, then each shard's rejects, those by the target before those by our rules.

        With `duplicates` those instead.
        """
        if duplicates:
            return [path for path in [self.folder / DUPLICATES_FILE] if path.exists()]
        shards = sorted([*self.folder.glob(f"*{REJECTS}"), *self.folder.glob(f"*{REFUSED}")])
        unreadable = self.folder / UNREADABLE_FILE
        return [unreadable, *shards] if unreadable.exists() else shards

    def keep_unreadable(self, file: Path) -> None:
        """Copy the file of unreadable records, durably."""
        make_folder(self.folder)
        fill_durably(self.folder / UNREADABLE_FILE, partial(shutil.copyfile, file))
        sync_folder(self.folder)

    def keep_duplicates(self, pages: Iterator[Any]) -> None:
        """Write these frames, durably; no file where there is none."""
        first = next(pages, None)
        if first is None:
            return
        from backfill.spool import fill_rejects  # noqa: PLC0415 (polars, where there is something to write)

        make_folder(self.folder)
        fill_durably(self.folder / DUPLICATES_FILE, partial(fill_rejects, chain([first], pages)))
        sync_folder(self.folder)

    def write_refused(self, shards: Iterable[tuple[int, Iterable[Any]]]) -> None:
        """Write what the target refused of these shards, and remove what it refused of others; durable after."""
        make_folder(self.folder)
        written = {self.write_one(shard, pages) for shard, pages in shards}
        for path in self.folder.glob(f"*{REFUSED}"):
            if path not in written:
                path.unlink()
        sync_folder(self.folder)

    def write_one(self, shard: int, pages: Iterable[Any]) -> Path:
        """Write what the target refused of one shard; returns the file, durable once its folder is forced."""
        from backfill.spool import fill_rejects  # noqa: PLC0415 (polars, where there is something to write)

        path = self._path(shard, REFUSED)
        fill_durably(path, partial(fill_rejects, pages))
        return path

    def set_aside(self) -> None:
        """Rename what the target refused, but where its shard has something aside already: that holds all of it."""
        for path in self.folder.glob(f"*{REFUSED}"):
            kept = path.with_name(path.name.removesuffix(REFUSED) + ASIDE)
            if kept.exists():
                path.unlink()
            else:
                path.rename(kept)

    def aside_of(self, shard: int) -> Path | None:
        """The file set aside of a shard; None where there is none."""
        path = self._path(shard, ASIDE)
        return path if path.exists() else None

    def has_aside(self) -> bool:
        """Whether anything is set aside."""
        return any(self.folder.glob(f"*{ASIDE}"))

    def forget_aside(self) -> None:
        """Remove what is set aside."""
        for path in self.folder.glob(f"*{ASIDE}"):
            path.unlink()

    def _path(self, shard: int, suffix: str) -> Path:
        return self.folder / f"{shard:06d}{suffix}"
