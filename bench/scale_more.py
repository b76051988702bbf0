"""Writers of the formats beside those that everybody has, for scale_data: text alone, what is nested as JSON text."""

import itertools
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import bson
import fastavro
import openpyxl
import pyarrow as pa  # type: ignore[import-untyped] # it has no types
from pyarrow import orc

if TYPE_CHECKING:
    from bench.scale_data import Shape


def rows_of(shape: "Shape", file: int) -> Iterator[list[str]]:
    """The rows of a file, all of text."""
    return ([value if isinstance(value, str) else json.dumps(value) for value in row] for row in shape.of_file(file))


def tables(shape: "Shape", file: int) -> Iterator[Any]:
    """The rows of a file as tables of Arrow."""
    rows, size = rows_of(shape, file), max(1, 8_000_000 // (shape.columns * (shape.cell + 12)))
    while some := list(itertools.islice(rows, size)):
        columns = [list(column) for column in zip(*some, strict=True)]
        yield pa.table(dict(zip(shape.names, columns, strict=True)))


def write_arrow(shape: "Shape", folder: Path) -> None:
    """Arrow files."""
    for number in range(shape.files):
        found = tables(shape, number)
        first = next(found)
        with pa.ipc.new_file(folder / f"{number:06}.arrow", first.schema) as file:
            for table in itertools.chain([first], found):
                file.write_table(table)


def write_orc(shape: "Shape", folder: Path) -> None:
    """ORC files."""
    for number in range(shape.files):
        with orc.ORCWriter(str(folder / f"{number:06}.orc"), compression="zstd") as file:
            for table in tables(shape, number):
                file.write(table)


def write_avro(shape: "Shape", folder: Path) -> None:
    """Avro files."""
    fields = [{"name": name, "type": "string"} for name in shape.names]
    schema = {"type": "record", "name": "row", "fields": fields}
    for number in range(shape.files):
        rows = (dict(zip(shape.names, row, strict=True)) for row in rows_of(shape, number))
        with (folder / f"{number:06}.avro").open("wb") as file:
            fastavro.writer(file, schema, rows, codec="deflate")


def write_json(shape: "Shape", folder: Path) -> None:
    """One JSON array, printed."""
    for number in range(shape.files):
        with (folder / f"{number:06}.json").open("w", encoding="utf-8") as file:
            for place, row in enumerate(rows_of(shape, number)):
                file.write("[\n" if place == 0 else ",\n")
                file.write(json.dumps(dict(zip(shape.names, row, strict=True)), indent=1))
            file.write("\n]\n")


def write_bson(shape: "Shape", folder: Path) -> None:
    """What mongodump writes."""
    for number in range(shape.files):
        with (folder / f"{number:06}.bson").open("wb") as file:
            for row in rows_of(shape, number):
                file.write(bson.encode(dict(zip(shape.names, row, strict=True))))


def write_excel(shape: "Shape", folder: Path) -> None:
    """Workbooks."""
    for number in range(shape.files):
        book = openpyxl.Workbook(write_only=True)
        sheet = book.create_sheet("rows")
        sheet.append(shape.names)
        for row in rows_of(shape, number):
            sheet.append(row)
        book.save(folder / f"{number:06}.xlsx")


def write_pg_dump(shape: "Shape", folder: Path) -> None:
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


def write_mysqldump(shape: "Shape", folder: Path) -> None:
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


MORE: dict[str, Callable[["Shape", Path], None]] = {
    "arrow": write_arrow,
    "avro": write_avro,
    "bson": write_bson,
    "excel": write_excel,
    "json": write_json,
    "mysqldump": write_mysqldump,
    "orc": write_orc,
    "pg_dump": write_pg_dump,
}
