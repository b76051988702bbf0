"""Avro object container files, https://avro.apache.org/docs/1.12.0/specification/: each read once, by fastavro.

fastavro makes Python values of each record, which no other reader does exactly: polars' panics at maps and
enumerations. A block is held whole. That a file is whole is seen by the marker behind its last block; how many records
it should have, it does not say.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, BinaryIO, Final

import pyarrow as pa  # type: ignore[import-untyped]

from backfill.errors import SourceError
from backfill.extras import required
from backfill.job.models import Job
from backfill.memory import BATCH_BYTES
from backfill.records import SourceFile
from backfill.sources.arrow_reader import MOST_ROWS, Head, TypedFiles
from backfill.sources.arrow_records import Field, field_of, refuse_names
from backfill.sources.origins.content import origin_of

_PLAIN: Final = {
    "null": pa.null(),
    "boolean": pa.bool_(),
    "int": pa.int32(),
    "long": pa.int64(),
    "float": pa.float32(),
    "double": pa.float64(),
    "bytes": pa.binary(),
    "string": pa.string(),
    "enum": pa.string(),
}
_LOGICAL: Final = {
    ("int", "date"): pa.date32(),
    ("int", "time-millis"): pa.time32("ms"),
    ("long", "time-micros"): pa.time64("us"),
    **{
        ("long", f"{local}timestamp-{name}"): pa.timestamp(unit, None if local else "UTC")
        for local in ("", "local-")
        for name, unit in (("millis", "ms"), ("micros", "us"), ("nanos", "ns"))
    },
}
#: What a column of several types may hold to become JSON: what JSON has itself.
_JSON_TYPES: Final = frozenset(("null", "boolean", "int", "long", "float", "double", "string", "enum"))
_MIXED: Final = Field(pa.binary(), refused="a union of types that JSON has not")
_RECORDS: Final = ("record", "error")
_NAMED: Final = (*_RECORDS, "enum", "fixed")
_SYNC_BYTES: Final = 16
#: Bytes of Python values for each stored one, about.
_UNPACKED: Final = 4


class AvroFiles(TypedFiles):
    """How Avro files are opened."""

    def head(self, file: SourceFile) -> Head:
        """What the schema in the file's header says."""
        with _blocks(file) as (_, blocks):
            types = _types(file, blocks.writer_schema)
            refuse_names(file, list(types))
            return Head({name: _MIXED if kind is None else field_of(kind) for name, kind in types.items()})

    def batches(self, file: SourceFile, head: Head) -> Iterator[pa.RecordBatch]:
        """The file's records; raises SourceError also where it does not end behind a block."""
        del head
        with _blocks(file) as (content, blocks):
            marker, types = content.last, _types(file, blocks.writer_schema)
            for records in _together(blocks):
                columns = [_values([record[name] for record in records], kind, name) for name, kind in types.items()]
                yield pa.RecordBatch.from_arrays(columns, list(types))
            if content.last != marker:
                raise EOFError("it ends within a block")


class _BeyondPrecisionError(Exception):
    """A decimal does not fit its schema; the message is the field's name."""


def _together(blocks: Any) -> Iterator[list[Any]]:  # noqa: ANN401
    """The records of all blocks, about BATCH_BYTES at a time: a block may hold one, or more than is wanted at once."""
    held: list[Any] = []
    size = 0.0
    for block in blocks:
        each = block.size * _UNPACKED / max(block.num_records, 1)
        for record in block:
            held.append(record)
            size += each
            if size >= BATCH_BYTES or len(held) == MOST_ROWS:
                yield held
                held, size = [], 0.0
    if held:
        yield held


@dataclass(slots=True)
class _Counted:
    """A file whose last bytes that were read are known: behind the header and behind each block, its marker."""

    file: BinaryIO
    last: bytes = b""
    place: int = 0

    def tell(self) -> int:
        """How many bytes were read."""
        return self.place

    def read(self, size: int = -1) -> bytes:
        """The next bytes."""
        data = self.file.read(size)
        self.place += len(data)
        self.last = (self.last + data[-_SYNC_BYTES:])[-_SYNC_BYTES:]
        return data


@contextmanager
def _blocks(file: SourceFile) -> Iterator[tuple[_Counted, Any]]:
    """The file, and what fastavro reads of it; raises SourceError for what it says, also while it is read."""
    fastavro = required("fastavro", "avro", "Avro files")
    for kind, logical in _LOGICAL:  # the numbers as they are: Python's own types end in the year 9999
        fastavro.read.LOGICAL_READERS[f"{kind}-{logical}"] = _unchanged
    fastavro.read.LOGICAL_READERS["string-uuid"] = _unchanged
    try:
        with origin_of(file).open() as stored:
            content = _Counted(stored)
            yield content, fastavro.block_reader(content)
    except SourceError:
        raise
    except _BeyondPrecisionError as error:
        raise SourceError(
            f'{file.name}: the field "{error}" holds a decimal of more digits than the precision that its schema says',
            hint="export it with a schema of a larger precision; nothing was sent",
        ) from error
    except Exception as error:  # fastavro has no error of its own: damage shows as any of Python's
        said = str(error).partition("\n")[0].rstrip(".") or type(error).__name__
        raise SourceError(
            f"{file.name} is truncated or corrupt: {said}", hint="fetch or export the file again; nothing was sent"
        ) from error


def _unchanged(data: object, *_: object) -> object:
    return data


def _types(file: SourceFile, schema: Any) -> dict[str, pa.DataType | None]:  # noqa: ANN401
    """The Arrow types of the records' fields, None for one that is refused.

    Raises:
        SourceError: the file holds no records, but values of another type.
    """
    if not isinstance(schema, dict) or schema.get("type") != "record":
        raise SourceError(f"{file.name} holds no records: its Avro schema is of another type")
    named: dict[str, Any] = {}
    _note_names(schema, named)
    return {field["name"]: _column_type(field["type"], named) for field in schema["fields"]}


def _note_names(schema: Any, named: dict[str, Any]) -> None:  # noqa: ANN401
    """Fill in the named types inside a schema, which fastavro gives with their full names."""
    if isinstance(schema, list):
        for branch in schema:
            _note_names(branch, named)
    elif isinstance(schema, dict):
        if schema["type"] in _NAMED:
            named[schema["name"]] = schema
        for field in schema.get("fields", ()):
            _note_names(field["type"], named)
        for inner in ("items", "values", "type"):
            if isinstance(schema.get(inner), dict | list):
                _note_names(schema[inner], named)


def _column_type(schema: Any, named: Mapping[str, Any]) -> pa.DataType | None:  # noqa: ANN401
    """The Arrow type of a column, None for none: JSON where values of several types JSON has itself are mixed in it."""
    found = _type(schema, named, frozenset())
    if found is not None:
        return found
    return pa.json_() if _JSON_TYPES.issuperset(_scalars(schema, named, set())) else None


def _type(schema: Any, named: Mapping[str, Any], within: frozenset[str]) -> pa.DataType | None:  # noqa: ANN401
    """The Arrow type; None where several types are mixed, or one of the named types holds itself."""
    if isinstance(schema, list):
        branches = [branch for branch in schema if branch != "null"]
        return _type(branches[0], named, within) if len(branches) == 1 else None if branches else pa.null()
    if isinstance(schema, str):
        return _PLAIN[schema] if schema in _PLAIN else _type(named[schema], named, within)
    kind = schema["type"]
    if not isinstance(kind, str):
        return _type(kind, named, within)
    if kind in _RECORDS:
        return None if schema["name"] in within else _struct(schema, named, within | {schema["name"]})
    if kind not in ("array", "map"):
        return _scalar(schema, kind)
    inner = _type(schema.get("items", schema.get("values")), named, within)
    return None if inner is None else pa.list_(inner) if kind == "array" else pa.map_(pa.string(), inner)


def _struct(schema: Any, named: Mapping[str, Any], within: frozenset[str]) -> pa.DataType | None:  # noqa: ANN401
    fields = [(field["name"], _type(field["type"], named, within)) for field in schema["fields"]]
    return None if any(found is None for _, found in fields) else pa.struct(fields)


def _scalar(schema: Mapping[str, Any], kind: str) -> pa.DataType:
    logical = schema.get("logicalType", "")
    if logical == "decimal" and kind in ("bytes", "fixed"):
        precision, scale = schema["precision"], schema.get("scale", 0)
        return pa.decimal128(precision, scale) if precision <= 38 else pa.decimal256(precision, scale)  # noqa: PLR2004
    if kind == "fixed":
        return pa.uuid() if logical == "uuid" else pa.binary(schema["size"])
    return _LOGICAL.get((kind, logical)) or _PLAIN[kind]


def _scalars(schema: Any, named: Mapping[str, Any], seen: set[str]) -> Iterator[str]:  # noqa: ANN401
    """The scalar types inside, logical ones by their logical names, each named type looked into once."""
    if isinstance(schema, list):
        for branch in schema:
            yield from _scalars(branch, named, seen)
    elif isinstance(schema, str) and schema in named:
        if schema not in seen:
            seen.add(schema)
            yield from _scalars(named[schema], named, seen)
    elif isinstance(schema, str):
        yield schema
    elif "logicalType" in schema:
        yield schema["logicalType"]
    elif schema["type"] in _RECORDS:
        for field in schema["fields"]:
            yield from _scalars(field["type"], named, seen)
    elif schema["type"] in ("array", "map"):
        yield from _scalars(schema.get("items", schema.get("values")), named, seen)
    else:
        yield schema["type"]


def _values(values: Sequence[Any], kind: pa.DataType | None, name: str) -> pa.Array:
    """A field's values; raises _BeyondPrecisionError for decimals of more digits than its schema says."""
    if kind is None:
        return pa.nulls(len(values))
    try:
        if not isinstance(kind, pa.BaseExtensionType):
            return pa.array(values, kind)
        if kind.extension_name == "arrow.json":
            values = [None if value is None else json.dumps(value, ensure_ascii=False) for value in values]
        return pa.ExtensionArray.from_storage(kind, pa.array(values, kind.storage_type))
    except pa.ArrowInvalid as error:
        if "ecimal" not in str(error):
            raise
        raise _BeyondPrecisionError(name) from error


def open_files(job: Job) -> AvroFiles:
    """How the files of a job are opened."""
    del job
    return AvroFiles()
