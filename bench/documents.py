"""The benchmark's orders as JSON objects: `python -m bench.documents FORMAT ROWS FILE` writes that many in a format.

`json` is one array in one line, so that nothing but its brackets parts its records; `mongoexport` writes relaxed
extended JSON, `bson` is as mongodump writes it, `dynamodb` lines of an export to S3.
"""

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import bson
from bson import json_util

from bench.data import orders

Row = dict[str, Any]
#: Rows that are held at a time.
ROWS_AT_ONCE = 50_000


def plain(row: Row) -> bytes:
    """A row as most programs write it."""
    return json.dumps(with_text(row), ensure_ascii=False, separators=(",", ":")).encode()


def extended(row: Row) -> bytes:
    """A row as mongoexport writes it."""
    return json_util.dumps(row, json_options=json_util.RELAXED_JSON_OPTIONS, ensure_ascii=False).encode() + b"\n"


def item(row: Row) -> bytes:
    """A row as DynamoDB writes it."""
    return json.dumps({"Item": {name: attribute(value) for name, value in with_text(row).items()}}).encode() + b"\n"


def attribute(value: object) -> Row:
    """A value with its type."""
    if value is None:
        return {"NULL": True}
    if isinstance(value, bool):
        return {"BOOL": value}
    return {"N": str(value)} if isinstance(value, int | float) else {"S": str(value)}


def with_text(row: Row) -> Row:
    """The row with its instant as text."""
    return row | {"ordered_at": row["ordered_at"].strftime("%Y-%m-%dT%H:%M:%S.%fZ")}


WRITERS: dict[str, Callable[[Row], bytes]] = {
    "json": plain,
    "mongoexport": extended,
    "bson": bson.encode,
    "dynamodb": item,
}


def written(form: str, rows: int) -> Iterator[bytes]:
    """The parts of the file."""
    between = b"[" if form == "json" else b""
    for frame in orders(rows).collect().iter_slices(ROWS_AT_ONCE):
        for row in frame.iter_rows(named=True):
            yield between
            yield WRITERS[form](row)
            between = b"," if form == "json" else b""
    yield b"]" if form == "json" else b""


if __name__ == "__main__":
    with Path(sys.argv[3]).open("wb") as file:
        file.writelines(written(sys.argv[1], int(sys.argv[2])))
