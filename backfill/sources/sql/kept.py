"""One DuckDB for several looks at the source of one job, one after the other: to make one takes 15 ms."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from backfill.disk import TEMPORARY_FOLDERS
from backfill.memory import STAGING_MEMORY_BYTES

if TYPE_CHECKING:
    from backfill.sources.sql.engine import Engine


class KeptEngine:
    """An engine that is made when it is first asked for.

    `folder` holds all that it may read and write, `timezone` is the zone of the job's source.
    """

    def __init__(self, folder: Path, timezone: str | None) -> None:
        self.folder = folder
        self.timezone = timezone
        self._engine: Engine | None = None

    @contextmanager
    def lent(self, stopping: Callable[[], bool]) -> Iterator[Engine]:
        """The engine, whose statements end once `stopping` is true; raises JobError as `open_engine` does."""
        from backfill.sources.sql.engine import open_engine

        if self._engine is None:
            self._engine = open_engine(self.folder, memory_bytes=STAGING_MEMORY_BYTES, timezone=self.timezone)
        self._engine.stopping = stopping
        yield self._engine

    def close(self) -> None:
        """Close the engine where one was made."""
        if self._engine is not None:
            self._engine.close()


@contextmanager
def kept_engine(timezone: str | None) -> Iterator[KeptEngine]:
    """One in a folder of its own, outside of any state directory; gone with all in it afterwards."""
    with TEMPORARY_FOLDERS.opened() as folder:
        kept = KeptEngine(folder, timezone)
        try:
            yield kept
        finally:
            kept.close()
