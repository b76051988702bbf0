"""The users of a run's calls beside those of other runs, joined by DuckDB, which spills what memory does not hold."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import duckdb
import polars as pl

from backfill.memory import DIFF_MEMORY_BYTES
from backfill.undo.result import UndoUsers

USERS_FILE: Final = "users.csv"
REQUESTS_FOLDER: Final = "deletion-requests"
#: Subjects of one request at most: https://www.twilio.com/docs/segment/privacy/user-deletion-and-suppression.
SUBJECTS: Final = 5_000
DELETE, SUPPRESS = "DELETE_ONLY", "SUPPRESS_WITH_DELETE"
#: Rows put into the tables, or taken out, at a time.
_AT_ONCE: Final = 100_000
_JOINED: Final = """
SELECT s.kind, s.id, s.calls, k.id IS NULL AS alone
FROM (SELECT kind, id, sum(calls)::BIGINT AS calls FROM sent GROUP BY kind, id) s
LEFT JOIN (SELECT DISTINCT id FROM known) k ON k.id = s.id
ORDER BY s.kind DESC, s.id"""


class UserTables:
    """Ids of users, of the run and of others. Close it; used by one thread."""

    def __init__(self, folder: Path) -> None:
        settings: dict[str, str | bool | int | float | list[str]] = {
            "memory_limit": f"{DIFF_MEMORY_BYTES // 10**6}MB",
            "temp_directory": str(folder),
            "threads": 2,
        }
        self._engine = duckdb.connect(str(folder / "users.duckdb"), config=settings)
        self._engine.execute("CREATE TABLE sent (kind VARCHAR, id VARCHAR, calls BIGINT)")
        self._engine.execute("CREATE TABLE known (kind VARCHAR, id VARCHAR, calls BIGINT)")
        self._waiting: dict[str, list[pl.DataFrame]] = {"sent": [], "known": []}

    def close(self) -> None:
        """Let go of the file."""
        self._engine.close()

    def add(self, table: str, calls: pl.DataFrame, columns: tuple[str, ...]) -> None:
        """Add the ids in these columns of calls to `sent` or `known`."""
        for name in columns:
            ids = calls.filter(pl.col(name).is_not_null()).group_by(pl.col(name).alias("id")).len("calls")
            self._waiting[table].append(ids.select(pl.lit(name).alias("kind"), "id", pl.col("calls").cast(pl.Int64)))
        if sum(map(len, self._waiting[table])) > _AT_ONCE:
            self._flush(table)

    def _flush(self, table: str) -> None:
        if self._waiting[table]:
            self._engine.register("added", pl.concat(self._waiting[table]).to_arrow())
            self._engine.execute(f"INSERT INTO {table} SELECT * FROM added")  # noqa: S608 (one of two constants)
            self._engine.unregister("added")
            self._waiting[table] = []

    def write(self, folder: Path, unknown: tuple[str, ...], regulation: str) -> UndoUsers:
        """Write users and requests for those that `sent` alone has; none where users of other runs are `unknown`."""
        counts = {"userId": 0, "anonymousId": 0}
        alone, requests = 0, 0
        waiting: list[str] = []
        with (folder / USERS_FILE).open("wb") as file:
            file.write(b"kind,id,calls,only_this_run\n")
            for frame in self._joined():
                told = "unknown" if unknown else pl.when("alone").then(pl.lit("yes")).otherwise(pl.lit("no"))
                own = pl.lit(told) if isinstance(told, str) else told
                frame.select("kind", "id", "calls", own.alias("only_this_run")).write_csv(file, include_header=False)
                for kind, number in frame.group_by("kind").len().iter_rows():
                    counts[kind] += number
                if not unknown:
                    waiting += frame.filter((pl.col("kind") == "userId") & pl.col("alone"))["id"].to_list()
                while len(waiting) >= SUBJECTS:
                    alone, requests = alone + SUBJECTS, requests + 1
                    _write_request(folder, requests, waiting[:SUBJECTS], regulation)
                    waiting = waiting[SUBJECTS:]
        if waiting:
            alone, requests = alone + len(waiting), requests + 1
            _write_request(folder, requests, waiting, regulation)
        return UndoUsers(counts["userId"], counts["anonymousId"], alone, requests, unknown=unknown)

    def _joined(self) -> Iterator[pl.DataFrame]:
        for table in self._waiting:
            self._flush(table)
        for batch in self._engine.sql(_JOINED).to_arrow_reader(_AT_ONCE):
            frame = pl.from_arrow(batch)
            assert isinstance(frame, pl.DataFrame)
            yield frame


def _write_request(folder: Path, number: int, ids: list[str], regulation: str) -> None:
    """The body of one POST /regulations of Segment's Public API."""
    place = folder / REQUESTS_FOLDER
    place.mkdir(exist_ok=True)
    body = {"regulationType": regulation, "subjectType": "USER_ID", "subjectIds": ids}
    (place / f"{number:04}.json").write_text(json.dumps(body, ensure_ascii=False, indent=1) + "\n", "utf-8")
