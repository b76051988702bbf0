"""What `guess` reads from beside files: buckets, folders of files that differ, sheets, dumps, documents."""

from __future__ import annotations

import json
import os
import sqlite3
import zipfile
from contextlib import closing
from pathlib import Path

import openpyxl
import polars as pl
import pytest

from backfill.errors import JobError, UsageError
from backfill.guess import Asked, guess
from backfill.guess.propose import stem_of
from backfill.guess.source import Described
from backfill.job.formats import SUFFIXES
from tests.support.buckets import credentials, served
from tests.support.projects import backfill

ROWS = b"order_id;user_id;at\n" + b"".join(b"o%d;u%d;2024-01-02T00:00:00Z\n" % (one, one % 7) for one in range(5_000))


def test_object_of_a_bucket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its beginning tells the dialect, the URL stays in the job file, and it is fetched no more than needed."""
    for name in [name for name in os.environ if name.startswith(("AWS_", "GOOGLE_", "AZURE_"))]:
        monkeypatch.delenv(name)
    with served() as store:
        for name, value in credentials(store).items():
            monkeypatch.setenv(name, value)
        store.objects["exports/orders.csv"] = ROWS
        found = guess(Asked(data=("s3://shop/exports/*.csv",)), tmp_path / "job.yaml", "s3://shop/exports/*.csv")
    assert '  path: "s3://shop/exports/*.csv"\n' in found.text
    assert 'delimiter: ";"' in found.text
    assert "message_key: [order_id]" in found.text


def test_files_whose_columns_differ_are_united(tmp_path: Path) -> None:
    """The job file says so."""
    (tmp_path / "1.csv").write_text("id,user_id\n1,u\n", "utf-8")
    (tmp_path / "2.csv").write_text("id,user_id,gift\n2,u,x\n", "utf-8")
    text = guess(Asked(data=(str(tmp_path / "*.csv"),)), tmp_path / "job.yaml", "*.csv").text
    assert "  union: by_name" in text
    assert "    gift: text" in text


def test_every_kind_of_column(tmp_path: Path) -> None:
    """Nested and binary values, columns without any, and names that polars takes for patterns are all listed."""
    rows = 3
    table = {"id": range(rows), "*": ["x"] * rows, "^a$": [1.5] * rows, "b": [b"\x00"] * rows, "l": [[1]] * rows}
    frame = pl.DataFrame(table | {"s": [{"a": 1}] * rows, "none": [None] * rows, "user_id": ["u"] * rows})
    frame.write_parquet(tmp_path / "a.parquet")
    text = guess(Asked(data=(str(tmp_path / "a.parquet"),)), tmp_path / "job.yaml", "a.parquet").text
    assert "  #   b: binary - 100%, 1 different: 1 byte\n" in text
    assert '      "\\\\*": {column: "*"}\n      "^a$": "^a$"\n      l: l\n' in text


def test_records_within_a_document(tmp_path: Path) -> None:
    """The only list of objects of a document is where its records are."""
    rows = [{"id": one, "user_id": f"u{one}"} for one in range(3)]
    (tmp_path / "a.json").write_text(json.dumps({"page": 1, "data": {"items.v2": rows}}), "utf-8")
    text = guess(Asked(data=(str(tmp_path / "a.json"),)), tmp_path / "job.yaml", "a.json").text
    assert '  records: "data.items\\\\.v2"' in text
    assert "userId: user_id" in text


def test_what_has_several_tables(tmp_path: Path) -> None:
    """Of a dump the table has to be said, of a workbook the sheet; both are in the job file then."""
    book = openpyxl.Workbook()
    book.create_sheet("Orders").append(["id", "user_id"])
    book["Orders"].append(["1", "u"])
    book.save(tmp_path / "a.xlsx")
    dump = "-- PostgreSQL database dump\n\nCREATE TABLE public.orders (\n    id integer\n);\n"
    (tmp_path / "a.sql").write_text(f"--\n{dump}", "utf-8")
    text = guess(Asked(data=(str(tmp_path / "a.xlsx"),), table="Orders"), tmp_path / "job.yaml", "a.xlsx").text
    assert "  excel: {sheet: Orders}" in text
    with pytest.raises(UsageError) as caught:
        guess(Asked(data=(str(tmp_path / "a.sql"),)), tmp_path / "job.yaml", "a.sql")
    assert "public.orders" in caught.value.hint


def test_query_of_a_database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The query is in the job file, its columns are measured, and the job passes `check` once its blanks are filled."""
    monkeypatch.chdir(tmp_path)
    with closing(sqlite3.connect("shop.db")) as shop:
        shop.execute("CREATE TABLE orders (order_id TEXT, user_id TEXT, at TEXT)")
        shop.executemany("INSERT INTO orders VALUES (?, 'u1', '2024-01-02T03:04:05Z')", [("o1",), ("o2",)])
        shop.commit()
    query = "SELECT order_id, user_id, at, 1.5 AS total FROM orders"
    done = backfill("guess", "--database", "sqlite:///shop.db", "--query", query, "-o", "job.yaml")
    assert done.code == 0, done.err
    text = Path("job.yaml").read_text("utf-8")
    for part in (f'  query: "{query}"', "name: shop ", "message_key: [order_id]", "userId: user_id", "timestamp: at"):
        assert part in text, text
    Path("job.yaml").write_text(text.replace("value: CHOOSE", "value: Order Completed"), "utf-8")
    assert backfill("check", "job.yaml").code == 0


@pytest.mark.parametrize("suffix", [*SUFFIXES, ".csv.gz", ".ndjson.zst", ".tar.gz", ".tgz", ".duckdb", ".ARROW"])
def test_the_name_has_no_suffix(suffix: str) -> None:
    """A job is called as its file, without what tells the format and the packing."""
    assert stem_of(Described({"path": f"in/v1.2/shop.2024{suffix}"})) == "shop.2024"


def test_other_tables_in_an_archive(tmp_path: Path) -> None:
    """Tables that cannot be one are no fault of a column's name: it says that one of them may be meant, and which."""
    with zipfile.ZipFile(tmp_path / "shop.zip", "w") as archive:
        for name, header in (("orders.csv", "id,Rank"), ("users.csv", "id,rank,name")):
            archive.writestr(f"shop/{name}", f"{header}\n1,2{',3' if 'name' in header else ''}\n")
    with pytest.raises(JobError, match="two columns that SQL cannot tell apart") as caught:
        guess(Asked(data=(str(tmp_path / "shop.zip"),)), tmp_path / "job.yaml", "shop.zip")
    assert "guess from one of them, such as shop.zip/shop/orders.csv" in caught.value.hint
