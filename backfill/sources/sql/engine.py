"""DuckDB, locked down: a connection that reaches the snapshot's own folder, and nothing else.

See https://duckdb.org/docs/stable/operations_manual/securing_duckdb/overview for the settings used. The lock keeps
the job file's SQL from other files, the network, extensions, Python variables and the settings themselves.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeoutError
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self, TypeVar

import duckdb

from backfill.errors import InterruptedRunError, JobError, StoppedError
from backfill.memory import HEAVIEST_GROUP_BYTES, ROW_GROUP_ROWS
from backfill.sources.origins.content import POLL_SECONDS, never

Result = TypeVar("Result")
#: How every Parquet file of a snapshot is written: read as fast as LZ4, at three fifths of its bytes.
_PARQUET = (
    "FORMAT parquet, COMPRESSION zstd, COMPRESSION_LEVEL 1, "
    f"ROW_GROUP_SIZE_BYTES {HEAVIEST_GROUP_BYTES}, ROW_GROUP_SIZE "
)
PARQUET = f"{_PARQUET}{ROW_GROUP_ROWS}"
#: A row group is held in memory until it is written: that is what one may weigh where rows turn out heavier by a few
#: times than the first ones, and the fewest rows that DuckDB puts into one.
ROW_GROUP_BYTES, FEWEST_ROWS = 16 * 2**20, 2_048
#: What DuckDB takes for a pattern in the name of a file to read.
_PATTERN_SIGN = re.compile(r"([*?\[])")
#: What the system says where it has no room (ENOSPC, EDQUOT, EFBIG), as DuckDB quotes it.
NO_ROOM = ("No space left", "Disk quota exceeded", "File too large")


def parquet_for(row_bytes: float) -> str:
    """How a Parquet file is written whose rows weigh so much."""
    fitting = int(ROW_GROUP_BYTES / max(row_bytes, 1)) // FEWEST_ROWS * FEWEST_ROWS
    return f"{_PARQUET}{min(max(fitting, FEWEST_ROWS), ROW_GROUP_ROWS)}"


def quoted(name: str) -> str:
    """The name as an SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def literal(value: str | float | Iterable[Any]) -> str:
    """The value as an SQL literal: text, number, boolean or a list of those."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return str(value)
    if isinstance(value, str):
        return "'" + value.replace("'", "''") + "'"
    return "[" + ", ".join(literal(item) for item in value) + "]"


def path_literal(path: Path | str) -> str:
    """The path of one file to read as an SQL literal: signs of patterns in it stand for themselves."""
    return literal(_as_pattern(path))


def own_parquet(paths: Sequence[Path], *options: str) -> str:
    """SQL: the rows of Parquet files of a snapshot, and of no others; nothing is read out of their paths."""
    names = ", ".join(map(path_literal, paths))
    return f"read_parquet([{names}], {', '.join(['hive_partitioning = false', *options])})"


def _as_pattern(path: Path | str) -> str:
    """The pattern that matches the path alone."""
    return _PATTERN_SIGN.sub(r"[\1]", str(path))


@dataclass(slots=True, repr=False, eq=False)
class Engine:
    """One locked connection. Not for use by several threads at once.

    `stopping` is asked ten times a second while a statement runs; once true, the statement is interrupted and
    InterruptedRunError raised.
    """

    connection: duckdb.DuckDBPyConnection
    stopping: Callable[[], bool] = never
    _pool: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(1, "stage"))
    _ended: bool = False

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        """All rows of a small result."""
        return self.connection.execute(sql).fetchall()

    def run(self, sql: str, watch: Callable[[float], None] | None = None) -> list[tuple[Any, ...]]:
        """Run a statement that may take long; `watch` gets the share done, 0 to 1, and may raise to end it."""
        return self.call(lambda: self.rows(sql), watch)

    def call(self, work: Callable[[], Result], watch: Callable[[float], None] | None = None) -> Result:
        """Do work with the connection that may take long, as `run` does; it has to ask `go_on` now and then."""
        self._refuse_stop()
        future = self._pool.submit(work)
        while True:
            try:
                return future.result(POLL_SECONDS)
            except FutureTimeoutError:
                if future.done():
                    raise
            try:
                self._refuse_stop()
                if watch is not None:
                    watch(min(max(self.connection.query_progress(), 0.0), 100.0) / 100)
            except BaseException:
                self._ended = True
                self.connection.interrupt()
                future.exception()  # the connection is of no use to anybody before the statement has ended
                raise

    def go_on(self) -> None:
        """Raise InterruptedRunError where whoever waits for the work does so no more."""
        if self._ended:
            raise InterruptedRunError("staging was stopped")

    def _refuse_stop(self) -> None:
        if self.stopping():
            raise InterruptedRunError("staging was stopped", hint="run the same command again: nothing was sent yet")

    def close(self) -> None:
        """Close the connection and its thread."""
        self._pool.shutdown()
        self.connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def open_engine(
    folder: Path | None,
    *,
    memory_bytes: int | None = None,
    threads: int | None = None,
    stopping: Callable[[], bool] = never,
    timezone: str | None = None,
) -> Engine:
    """A connection that may read and write below `folder`, with its temporary files there; a source is streamed to it.

    `timezone` is the zone that SQL's clock faces show, such as hour() of an instant; UTC where none is stated.

    Raises:
        JobError: DuckDB does not know that zone.
    """
    connection = duckdb.connect()
    try:
        connection.execute(f"SET TimeZone = {literal(timezone or 'UTC')}")
    except duckdb.Error as error:
        connection.close()
        raise JobError(f"source.timezone: {reason(error)}", hint="state a zone by its usual IANA name") from error
    settings: dict[str, str | int | bool | list[str]] = {
        "autoinstall_known_extensions": False,
        "autoload_known_extensions": False,
        "python_enable_replacements": False,
        "preserve_insertion_order": True,
        "disabled_optimizers": UNSAFE_OPTIMIZERS,
    }
    if folder is not None:
        settings["allowed_directories"] = [str(folder), _as_pattern(folder)]  # asked of both before and after matching
        settings["temp_directory"] = str(folder / "spill")
    if memory_bytes is not None:
        settings["memory_limit"] = f"{max(memory_bytes // 2**20, 64)}MiB"
    if threads is not None:
        settings["threads"] = threads
    settings["enable_external_access"] = False
    settings["lock_configuration"] = True
    with suppress(duckdb.InvalidInputException):  # in a notebook DuckDB draws its bars by ipywidgets, or has none
        connection.execute("SET enable_progress_bar = true")
        connection.execute("SET enable_progress_bar_print = false")
    for name, value in settings.items():
        connection.execute(f"SET {name} = {literal(value)}")
    return Engine(connection, stopping)


def storage_failure(error: duckdb.Error) -> StoppedError | None:
    """The error to raise where a statement failed for want of disk or memory, else None."""
    text = str(error)
    if any(words in text for words in NO_ROOM):
        return StoppedError("the disk is full", hint="free some space and run the same command again")
    if "Read-only file system" in text:
        return StoppedError(f"staging cannot write: {reason(error)}", hint="make it possible, or name a --state-dir")
    if isinstance(error, duckdb.OutOfMemoryException):
        return StoppedError(
            "staging ran out of memory", hint="end other programs, or run it on a machine with more memory"
        )
    return None


def reason(error: duckdb.Error) -> str:
    """DuckDB's reason in one line."""
    text = str(error).partition("\n")[0]
    return text.partition("Error: ")[2] or text


#: Never true, and DuckDB cannot know that. It works out what expressions have in common beforehand, out of reach of
#: TRY, but leaves the branches of a CASE alone; and a CASE whose condition is constant is no CASE.
_NEVER = "random() > 2"
#: A pass of DuckDB's optimizer that takes long IN lists out of their expressions, and so out of reach of TRY.
UNSAFE_OPTIMIZERS = "in_clause"


def attempt(value: str, skip: Sequence[str] = ()) -> str:
    """SQL: a struct of the `value` and whether it `failed`; neither where any of `skip` holds, which cannot fail."""
    return (
        f"CASE WHEN {' OR '.join([*skip, _NEVER])} THEN struct_pack(value := NULL, failed := false) "
        f"ELSE coalesce(TRY(struct_pack(value := {value}, failed := false)), "
        "struct_pack(value := NULL, failed := true)) END"
    )
