"""Sources of a given shape: `python -m bench.scale_data FORMAT FOLDER ROWS COLUMNS FILES CELL DEPTH`.

Each value is a function of its place. Runs as a process of its own, so that the bench itself stays small (process.py).
"""

import csv
import json
import sqlite3
import sys
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path

import pyarrow as pa  # type: ignore[import-untyped] # it has no types
import pyarrow.parquet as pq  # type: ignore[import-untyped]

from bench.scale_more import MORE

#: How much is made at once.
PARQUET_BYTES = 32_000_000


def nested(row: int, depth: int) -> object:
    """A value in so many objects, each with a number beside the next one."""
    value: object = f"v{row}"
    for level in range(depth):
        value = {"n": level, "o": value}
    return value


class Shape:
    """Rows of one shape, spread evenly over files."""

    def __init__(self, rows: int, columns: int, files: int, cell: int, depth: int) -> None:
        self.rows, self.columns, self.files, self.cell, self.depth = rows, columns, files, cell, depth

    @property
    def names(self) -> list[str]:
        """The columns' names."""
        return ["id", *(f"c{number:04}" for number in range(1, self.columns)), *(["nest"] if self.depth else [])]

    def of_file(self, file: int) -> Iterator[list[object]]:
        """The rows of one file; what is nested stays so."""
        for row in range(self.rows * file // self.files, self.rows * (file + 1) // self.files):
            values = [f"v{row * 31 + number}".ljust(self.cell, "x") for number in range(1, self.columns)]
            yield [f"u{row}", *values, *([nested(row, self.depth)] if self.depth else [])]


def flat(row: list[object]) -> list[str]:
    """What is nested as JSON text."""
    return [value if isinstance(value, str) else json.dumps(value) for value in row]


def write_csv(shape: Shape, folder: Path) -> None:
    """CSV with a header."""
    for number in range(shape.files):
        with (folder / f"{number:06}.csv").open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(shape.names)
            writer.writerows(flat(row) for row in shape.of_file(number))


def write_ndjson(shape: Shape, folder: Path) -> None:
    """One object a line."""
    names = shape.names
    for number in range(shape.files):
        with (folder / f"{number:06}.ndjson").open("w", encoding="utf-8") as file:
            file.writelines(json.dumps(dict(zip(names, row, strict=True))) + "\n" for row in shape.of_file(number))


def write_parquet(shape: Shape, folder: Path) -> None:
    """Row groups of some 32 MB; what is nested is a struct."""
    at_once = max(1, PARQUET_BYTES // (shape.columns * (shape.cell + 12)))
    for number in range(shape.files):
        rows = shape.of_file(number)
        first = table_of(shape, islice(rows, at_once))
        with pq.ParquetWriter(folder / f"{number:06}.parquet", first.schema) as writer:
            writer.write_table(first)
            while (table := table_of(shape, islice(rows, at_once))).num_rows:
                writer.write_table(table, row_group_size=at_once)


def table_of(shape: Shape, rows: Iterable[list[object]]) -> pa.Table:
    """Some rows as columns."""
    columns = [list(column) for column in zip(*rows, strict=True)] or [[] for _ in shape.names]
    return pa.table(dict(zip(shape.names, columns, strict=True)))


def write_sqlite(shape: Shape, folder: Path) -> None:
    """One table; what is nested is JSON text."""
    connection = sqlite3.connect(folder / "rows.db")
    names = shape.names
    with connection:
        connection.execute(f"CREATE TABLE rows ({', '.join(f'{name} TEXT' for name in names)})")
        slots = ", ".join("?" for _ in names)
        for number in range(shape.files):
            connection.executemany(f"INSERT INTO rows VALUES ({slots})", map(flat, shape.of_file(number)))
    connection.close()


WRITERS: dict[str, Callable[[Shape, Path], None]] = {
    "csv": write_csv,
    "ndjson": write_ndjson,
    "parquet": write_parquet,
    "sqlite": write_sqlite,
    **MORE,
}


if __name__ == "__main__":
    WRITERS[sys.argv[1]](Shape(*map(int, sys.argv[3:])), Path(sys.argv[2]))
