"""Sources of a given shape: `python -m bench.scale_data FORMAT FOLDER ROWS COLUMNS FILES CELL DEPTH`.

Each value is a function of its place. Runs as a process of its own, so that the bench itself stays small (process.py).
"""

import csv
import itertools
import json
import sqlite3
import sys
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import bson
import fastavro
import openpyxl
import pyarrow as pa  # type: ignore[import-untyped] # it has no types
import pyarrow.parquet as pq  # type: ignore[import-untyped]
from pyarrow import orc

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


def rows_of(shape: Shape, file: int) -> Iterator[list[str]]:
    """The rows of a file, all of text."""
    return ([value if isinstance(value, str) else json.dumps(value) for value in row] for row in shape.of_file(file))


def tables(shape: Shape, file: int) -> Iterator[Any]:
    """The rows of a file as tables of Arrow."""
    rows, size = rows_of(shape, file), max(1, 8_000_000 // (shape.columns * (shape.cell + 12)))
    while some := list(itertools.islice(rows, size)):
        columns = [list(column) for column in zip(*some, strict=True)]
        yield pa.table(dict(zip(shape.names, columns, strict=True)))


def write_arrow(shape: Shape, folder: Path) -> None:
    """Arrow files."""
    for number in range(shape.files):
        found = tables(shape, number)
        first = next(found)
        with pa.ipc.new_file(folder / f"{number:06}.arrow", first.schema) as file:
            for table in itertools.chain([first], found):
                file.write_table(table)


def write_orc(shape: Shape, folder: Path) -> None:
    """ORC files."""
    for number in range(shape.files):
        with orc.ORCWriter(str(folder / f"{number:06}.orc"), compression="zstd") as file:
            for table in tables(shape, number):
                file.write(table)


def write_avro(shape: Shape, folder: Path) -> None:
    """Avro files."""
    fields = [{"name": name, "type": "string"} for name in shape.names]
    schema = {"type": "record", "name": "row", "fields": fields}
    for number in range(shape.files):
        rows = (dict(zip(shape.names, row, strict=True)) for row in rows_of(shape, number))
        with (folder / f"{number:06}.avro").open("wb") as file:
            fastavro.writer(file, schema, rows, codec="deflate")


def write_json(shape: Shape, folder: Path) -> None:
    """One JSON array, printed."""
    for number in range(shape.files):
        with (folder / f"{number:06}.json").open("w", encoding="utf-8") as file:
            for place, row in enumerate(rows_of(shape, number)):
                file.write("[\n" if place == 0 else ",\n")
                file.write(json.dumps(dict(zip(shape.names, row, strict=True)), indent=1))
            file.write("\n]\n")


def write_bson(shape: Shape, folder: Path) -> None:
    """What mongodump writes."""
    for number in range(shape.files):
        with (folder / f"{number:06}.bson").open("wb") as file:
            for row in rows_of(shape, number):
                file.write(bson.encode(dict(zip(shape.names, row, strict=True))))


def write_excel(shape: Shape, folder: Path) -> None:
    """Workbooks."""
    for number in range(shape.files):
        book = openpyxl.Workbook(write_only=True)
        sheet = book.create_sheet("rows")
        sheet.append(shape.names)
        for row in rows_of(shape, number):
            sheet.append(row)
        book.save(folder / f"{number:06}.xlsx")


def write_pg_dump(shape: Shape, folder: Path) -> None:
    """A plain dump of PostgreSQL."""
    columns = ",\n".join(f"    {name} text" for name in shape.names)
    with (folder / "rows.sql").open("w", encoding="utf-8") as file:
        file.write("--\n-- PostgreSQL database dump\n--\n\nSET client_encoding = 'UTF8';\n")
        file.write("SET standard_conforming_strings = on;\n\n")
        file.write(f"CREATE TABLE public.rows (\n{columns}\n);\n\n")
        file.write(f"COPY public.rows ({', '.join(shape.names)}) FROM stdin;\n")
        for row in itertools.chain.from_iterable(rows_of(shape, number) for number in range(shape.files)):
            file.write("\t".join(value.replace("\\", "\\\\") for value in row) + "\n")
        file.write("\\.\n\n\n--\n-- PostgreSQL database dump complete\n--\n\n")


def write_mysqldump(shape: Shape, folder: Path) -> None:
    """A dump of MySQL, several rows a statement."""
    columns = ",\n".join(f"  `{name}` longtext" for name in shape.names)
    with (folder / "rows.sql").open("w", encoding="utf-8") as file:
        file.write("-- MySQL dump 10.13\n\n/*!40101 SET NAMES utf8mb4 */;\n")
        file.write(f"CREATE TABLE `rows` (\n{columns}\n);\n\nLOCK TABLES `rows` WRITE;\n")
        rows = itertools.chain.from_iterable(rows_of(shape, number) for number in range(shape.files))
        at_once = max(1, 1_000_000 // (shape.columns * (shape.cell + 4)))
        while some := list(itertools.islice(rows, at_once)):
            texts = (
                ",".join("'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'" for value in row) for row in some
            )
            file.write(f"INSERT INTO `rows` VALUES {','.join(f'({text})' for text in texts)};\n")
        file.write("UNLOCK TABLES;\n\n-- Dump completed\n")


WRITERS: dict[str, Callable[[Shape, Path], None]] = {
    "csv": write_csv,
    "ndjson": write_ndjson,
    "parquet": write_parquet,
    "sqlite": write_sqlite,
    "arrow": write_arrow,
    "avro": write_avro,
    "bson": write_bson,
    "excel": write_excel,
    "json": write_json,
    "mysqldump": write_mysqldump,
    "orc": write_orc,
    "pg_dump": write_pg_dump,
}


if __name__ == "__main__":
    WRITERS[sys.argv[1]](Shape(*map(int, sys.argv[3:])), Path(sys.argv[2]))
