"""The rows of a run that are not sent, where every machine reaches them: `RejectFiles` in a cache of shared files."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from backfill.shared import SharedFiles
from backfill.state.reject_files import ASIDE, DUPLICATES_FILE, REFUSED, REJECTS, UNREADABLE_FILE, RejectFiles


class SharedRejects:
    """A `RunRejects` whose files every machine reaches."""

    def __init__(self, files: SharedFiles) -> None:
        self._files = files
        self._here = RejectFiles(files.folder)

    def files(self, *, duplicates: bool = False) -> list[Path]:
        """The unreadable records, then each shard's rejects, those by the target first; they stay here for now."""
        names = self._files.names(anew=True)
        if duplicates:
            wanted = [name for name in names if name == DUPLICATES_FILE]
        else:
            shards = [name for name in names if name.endswith((REJECTS, REFUSED))]
            wanted = [name for name in names if name == UNREADABLE_FILE] + shards
        return [self._files.bring(name) for name in wanted]

    def keep_unreadable(self, file: Path) -> None:
        """Share a copy of the file of unreadable records."""
        with self._files.writing(UNREADABLE_FILE):
            self._here.keep_unreadable(file)
            self._files.keep(UNREADABLE_FILE)

    def keep_duplicates(self, pages: Iterator[Any]) -> None:
        """Share these frames; no file where there is none."""
        with self._files.writing(DUPLICATES_FILE):
            (self._files.folder / DUPLICATES_FILE).unlink(missing_ok=True)
            self._here.keep_duplicates(pages)
            if (self._files.folder / DUPLICATES_FILE).exists():
                self._files.keep(DUPLICATES_FILE)

    def write_refused(self, shards: Iterable[tuple[int, Iterable[Any]]]) -> None:
        """Share what the target refused of these shards, then remove what it refused of others."""
        self._files.make_folder()
        for path in self._files.folder.glob(f"*{REFUSED}"):
            path.unlink()
        written = set()
        for shard, pages in shards:
            name = f"{shard:06d}{REFUSED}"
            with self._files.writing(name):
                self._here.write_one(shard, pages)
                self._files.keep(name)
            written.add(name)
        self._files.remove([name for name in self._files.names() if name.endswith(REFUSED) and name not in written])

    def set_aside(self) -> None:
        """Take what the target refused off the list, and keep it but where its shard has something aside already."""
        for name in [name for name in self._files.names() if name.endswith(REFUSED)]:
            kept = name.removesuffix(REFUSED) + ASIDE
            if not self._files.has(kept):
                with self._files.writing(kept), self._files.reading(name) as path:
                    (self._files.folder / kept).write_bytes(path.read_bytes())
                    self._files.keep(kept)
            self._files.remove([name])

    def aside_of(self, shard: int) -> Path | None:
        """The file set aside of a shard; None where there is none."""
        name = f"{shard:06d}{ASIDE}"
        return self._files.bring(name) if self._files.has(name) else None

    def has_aside(self) -> bool:
        """Whether anything is set aside."""
        return any(name.endswith(ASIDE) for name in self._files.names())

    def forget_aside(self) -> None:
        """Remove what is set aside."""
        self._files.remove([name for name in self._files.names() if name.endswith(ASIDE)])
