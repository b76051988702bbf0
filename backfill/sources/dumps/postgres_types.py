"""How a column of a PostgreSQL dump is read: the declared type that its own type comes to, or why it is not read.

A dump holds what PostgreSQL prints of each value. For numbers, dates, times and JSON that is exactly the text that
a declared column is read from, so a value that JSON has no word for (NaN, infinity, a year before Christ) is a bad
value, as it is in CSV. Arrays, rows, intervals and bytes have a form of their own: they are taken as text on request.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from backfill.job.models import ColumnSpec
from backfill.sources.dumps.definitions import Name, names

_SIMPLE = {
    **dict.fromkeys(("smallint", "integer", "bigint", "smallserial", "serial", "bigserial", "oid"), "integer"),
    **dict.fromkeys(("int2", "int4", "int8", "int"), "integer"),
    **dict.fromkeys(("real", "double precision", "float4", "float8"), "number"),
    **dict.fromkeys(("numeric", "decimal"), "decimal"),
    **dict.fromkeys(("boolean", "bool"), "boolean"),
    **dict.fromkeys(("json", "jsonb"), "json"),
    "date": "date",
    **dict.fromkeys(
        ("timestamp", "timestamp without time zone", "timestamp with time zone", "timestamptz"), "timestamp"
    ),
}
_REFUSED = {"bytea": "bytes", "interval": "an interval", "range": "a range", "composite": "a row of several values"}
_BUILTIN_RANGES = re.compile(r"(?:int4|int8|num|ts|tstz|date)(?:multi)?range")
_MODIFIER = re.compile(r"\s*\([^)]*\)")


def type_of_column(kind: str, known: Mapping[Name, str]) -> tuple[ColumnSpec | None, str]:
    """What to read a column as (None: text), and what it holds where it is refused.

    `known` are the types that the dump defines (see definitions.type_of).
    """
    plain = _MODIFIER.sub("", kind)
    for _ in range(len(known) + 1):
        if plain.endswith("]") or plain.lower().endswith(" array"):
            return None, "an array"
        name = plain.lower().removeprefix("pg_catalog.")
        if name in _SIMPLE:
            return ColumnSpec.model_validate({"type": _SIMPLE[name]}), ""
        if _BUILTIN_RANGES.fullmatch(name) or name.startswith("interval"):
            return None, _REFUSED["range" if "range" in name else "interval"]
        if name in _REFUSED:
            return None, _REFUSED[name]
        below = known.get(names(plain, fold=True))
        if below is None or below == "enum":
            return None, ""
        plain = _MODIFIER.sub("", below)
    return None, ""
