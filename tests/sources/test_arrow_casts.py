"""Arrow's casts of text against those of SQL: the same values, or none."""

from __future__ import annotations

import random
import re
from collections.abc import Sequence

import duckdb
import pyarrow as pa
import pytest

from backfill.job.models import ColumnSpec
from backfill.sources.arrow_casts import are_numbers, cast_text
from backfill.sources.sql.casts import cast_of

SPECS = [
    ColumnSpec(type="integer"),
    ColumnSpec(type="decimal"),
    ColumnSpec(type="boolean"),
    ColumnSpec(type="date"),
    ColumnSpec(type="timestamp"),
    ColumnSpec(type="timestamp", format="%Y-%m-%d %H:%M:%S"),
    ColumnSpec(type="timestamp", format="%Y-%m-%d %H:%M:%S%z"),
    ColumnSpec(type="timestamp", format="%d.%m.%Y"),
    ColumnSpec(type="number"),
    ColumnSpec(type="json"),
]
TEXTS = """
0|-0|+0|7|007|-7|+7|--7|7-|1-2|9223372036854775807|9223372036854775808|-9223372036854775808|0x1F|0X1f|1e5|1_000
 7|7 ||-|.|/|1.5|1.50|-1.5|+1.5|.5|1.|-.5|00.5|01.5|-01.5|-00|0.0|0.000000000000000000001|1.2.3|1/2|NaN|nan|inf
Infinity|-Infinity|1e400|123456789012345678901234567890123456789012345678901234567890.123456789|١|true|True|TRUE
t|T|f|F|false|1|yes|no|y|on|tr|TrUe|2024-01-31|2024-02-30|2024-02-29|2023-02-29|0000-01-01|0001-01-01|9999-12-31
10000-01-01|-001-01-01|2024-1-31|24-01-31|20240131|2024-01-31 00:00:00|2024-01-31T23:59:59|2024-01-31 24:00:00
2024-01-31 23:59:60|2024-01-31 12:30|2024-01-31 12|2024-01-31 123456|2024-01-31 12:30:15.1
2024-01-31 12:30:15.123456|2024-01-31 12:30:15.1234567|2024-01-31 12:30:15,5|2024-01-31 12:30:15.
2024-01-31 12:30:15Z|2024-01-31 12:30:15z|2024-01-31 12:30:15+05|2024-01-31 12:30:15-0530
2024-01-31 12:30:15+05:30|2024-01-31 12:30:15+24:00|2024-01-31 12:30:15+23:59|2024-01-31 12:30:15+00:60
2024-01-31 12+05:00|2024-01-31 12:30+05:00|2024-01-31 12:30:15 +05|2024-01-31  2:30:15|2024-01-31 12:30:15+00:00
2024-01-31T12:30:15+00:00|2024-01-31 12:30:15.5+00|0000-01-01 00:00:00|0001-01-01 00:00:00
0001-01-01 00:00:00+14:00|9999-12-31 23:59:59-14:00|9999-12-31 23:59:59.999999|infinity|-infinity|epoch
2024-01-31 BC|2024-01-31 12:30:15 BC|2024-01-31 12:30:15+05:30:15|1677-09-21 00:12:43|0044-03-15 12:00:00
31.01.2024|2024-01-31 12:30:15 UTC|12345-01-31 12:30:15|2024-01-31 1230:15|2024-01-31 12:3015|{"a":1}|null
2024-01-3١|é|2024-01-31 12:30:15.123|2024-01-31 12:30:15.123+00:00|2024-01-31 12:30:15-00:00|2024-01-31-12:30:15
2024-01-31 12:30:15+0
""".strip().replace("\n", "|").split("|")  # fmt: skip


def by_sql(texts: Sequence[str | None], spec: ColumnSpec) -> tuple[pa.Array, pa.Array | None]:
    """What SQL makes of the texts."""
    cast = cast_of("x", spec, read_by_sql=False)
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        connection.register("t", pa.table({"x": pa.array(texts, pa.string())}))
        made = connection.sql(f"SELECT {cast.value}, {cast.utc_flag or 'NULL'} FROM t").to_arrow_table()
    flags = made.column(1).combine_chunks() if cast.utc_flag else None
    return made.column(0).combine_chunks(), flags


def agree(several: Sequence[Sequence[str | None]], spec: ColumnSpec) -> list[bool]:
    """Of several columns: Arrow has an answer; then it is SQL's."""
    values, flags = by_sql([text for texts in several for text in texts], spec)
    sure, first = [], 0
    for texts in several:
        found = cast_text(pa.array(texts, pa.string()), spec)
        here, first = slice(first, first + len(texts)), first + len(texts)
        sure.append(found is not None)
        if found is None:
            continue
        assert found.values.cast(values.type).equals(values[here]), (texts, spec)
        assert not found.as_printed or found.values.cast(pa.string()).to_pylist() == texts, (texts, spec)
        assert (found.flags is None) == (flags is None)
        assert flags is None or found.flags.equals(flags[here]), (texts, spec)
    return sure


@pytest.mark.parametrize("spec", SPECS, ids=str)
def test_each_text_alone_is_what_sql_makes_of_it(spec: ColumnSpec) -> None:
    """Whatever the text."""
    agree([column for text in TEXTS for column in ([text], [None, text])], spec)


@pytest.mark.parametrize("spec", SPECS, ids=str)
def test_texts_together_are_what_sql_makes_of_them(spec: ColumnSpec) -> None:
    """Also where one alone would be sure; slices of a larger array too."""
    chosen = random.Random(7)
    sure = [text for text in TEXTS if cast_text(pa.array([text]), spec) is not None]
    columns: list[list[str | None]] = [
        [*chosen.choices(sure or TEXTS, k=4), chosen.choice([None, *TEXTS])] for _ in range(200)
    ]
    agree(columns, spec)
    for texts in columns:
        part = pa.array(["x", *texts, "y"], pa.string()).slice(1, len(texts))
        found, whole = cast_text(part, spec), cast_text(pa.array(texts, pa.string()), spec)
        assert (found is None) == (whole is None)
        assert found is None or whole is None or found.values.equals(whole.values)


@pytest.mark.parametrize(
    ("spec", "texts"),
    [
        (SPECS[0], ["1", None, "-20", "0"]),
        (SPECS[1], ["1.50", "-0.1", None, "12345678901234567890123456789012345678901234567890", "0"]),
        (SPECS[2], ["t", "f", None]),
        (SPECS[3], ["2024-02-29", None]),
        (SPECS[4], ["2020-01-01 00:01:00-05", None, "2020-01-01 00:01:00.5-05"]),
        (SPECS[4], ["2020-01-01 00:01:00", None]),
        (SPECS[5], ["2020-01-01 00:01:00", None]),
        (SPECS[6], ["2020-01-01 00:01:00+00:00", None]),
    ],
    ids=str,
)
def test_what_databases_print_is_sure(spec: ColumnSpec, texts: list[str | None]) -> None:
    """The usual text of each type takes the quick way; so does a column of nulls, and none at all."""
    assert all(agree([texts, [None, None], []], spec))


@pytest.mark.parametrize("spec", SPECS, ids=str)
def test_mutated_texts_are_what_sql_makes_of_them(spec: ColumnSpec) -> None:
    """Texts with one sign altered, added or taken away."""
    chosen, columns = random.Random(str(spec)), []
    for text in (each for each in TEXTS if each):
        for _ in range(20):
            place, sign = chosen.randrange(len(text)), chosen.choice("0123456789-+.:T Zz/x,eé")
            mutated = chosen.choice([text[:place] + text[place + 1 :], text[:place] + sign + text[place:],
                                     text[:place] + sign + text[place + 1 :]])  # fmt: skip
            columns.append([mutated])
    agree(columns, spec)


def test_numbers_that_any_reader_of_json_takes() -> None:
    """A column is plain numbers exactly where each of its texts is one by RFC 8259, without an exponent, and finite."""
    texts = [*TEXTS, "9" * 308, "9" * 309, "-" + "9" * 307, "0." + "0" * 306, "0." + "0" * 307, "true", "[1]", '"1"']
    plain = [bool(re.fullmatch(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?", text)) and len(text) <= 308 for text in texts]
    assert [are_numbers(pa.array([text, "-1.50", None], pa.string())) for text in texts] == plain
    assert are_numbers(pa.array([text for text, is_plain in zip(texts, plain, strict=True) if is_plain]))
    assert are_numbers(pa.array([None, None], pa.string()))
