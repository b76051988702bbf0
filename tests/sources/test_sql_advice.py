"""SQL that is not taken: the message names the way on, with the user's own names in it."""

from __future__ import annotations

from pathlib import Path

import duckdb
import pytest

from backfill.errors import JobError
from backfill.sources import inspect
from tests.support.sourcing import job_over


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    """Columns whose names are words of SQL, or have signs in them, and JSON with such a key."""
    path = tmp_path / "rows.parquet"
    duckdb.connect().execute(
        "COPY (SELECT 1 AS id, 2 AS \"when\", TIMESTAMP '2024-01-01' AS \"at\", 'a' AS \"order\", '5' AS total, "
        "'x' AS \"$insert_id\", {'$insert_id': 'x'}::JSON AS payload, 1 AS \"Net Amount\", 2 AS \"user-id\") "
        f"TO '{path}' (FORMAT parquet)"
    )
    return path


CASES = [
    # text, what the message and its hint must hold, what they must not
    ("when > 1", ['column "when"', '"when" > 1'], []),
    ("at > '2023-01-01'", ['column "at"', "\"at\" > '2023-01-01'"], []),
    ("id > 1 AND order = 'when'", ['column "order"', "\"order\" = 'when'"], ['"when"\'']),
    ("id > 1 AND", ["syntax error"], ["double quotes"]),
    ("payload->>'$insert_id' = 'x'", ["begins with $", "'$.\"$insert_id\"'", "'$.insert_id'"], []),
    ("json_extract_string(payload, '$insert_id') = 'x'", ["'$.\"$insert_id\"'"], []),
    ("payload->'$.id' = 'x'", ["brackets", "->"], []),
    ("$insert_id = 'x'", ['"$insert_id"'], []),
    ('total = "five"', ["single ones: 'five'"], []),
    ("totl = 'x'", ["did you mean", "total"], ["double quotes"]),
    ("total + 1 > 2", ['column "total" is text', "`columns`"], []),
    ("total", ["true or false is wanted"], []),
    ("Net Amount > 1", ['column "Net Amount"', "not one word", '"Net Amount" > 1'], ["word of SQL"]),
    ("Net Amount", ["put it in double quotes", '"Net Amount"'], ["did you mean"]),
    ("user-id > 1", ['column "user-id"', '"user-id" > 1'], []),
    ('"Net Amount" > 1 AND zip > 1', ["zip"], ['"Net Amount" > 1']),
    ("NetAmount > 1", ['did you mean "Net Amount"'], []),
    ("whe > 1", ['did you mean "when"'], []),
]


@pytest.mark.parametrize(("text", "must", "must_not"), CASES)
def test_the_way_on(rows: Path, text: str, must: list[str], must_not: list[str]) -> None:
    """In an expression."""
    (fault,) = inspect(job_over(rows, when=text)).faults
    said = f"{fault.message}: {fault.hint}"
    assert [words for words in must if words not in said] == []
    assert [words for words in must_not if words in said] == []


@pytest.mark.parametrize(("text", "must"), [(text, must) for text, must, _ in CASES if text != "total"])
def test_the_way_on_in_a_query(rows: Path, text: str, must: list[str]) -> None:
    """In a query."""
    with pytest.raises(JobError) as error:
        inspect(job_over(rows, query=f"SELECT id FROM source WHERE {text}"))
    said = f"{error.value.message}: {error.value.hint}"
    assert [words for words in must if words not in said] == []
