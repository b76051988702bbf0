"""Made-up rows and the files that hold them: CSV, NDJSON, Parquet and SQLite."""

from __future__ import annotations

import csv
import gzip
import io
import json
import random
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl

from tests.differential.cases import POISON

PLAN = ("pro", "free", "basic", None)
ODD_IDS = ("", None, "null", "\\N", "nan", "0", " u1 ", "U1", "1.23457E+15", "123.0", '="00123"', "u\u200b1", "guest")
ODD_NUMBERS = ("", None, "12.5.1", "1,250", "0x1F", "NaN", "9007199254740993", "-0.0", "1e400", "+7", "12.50")
WORDS = ("tea", "Ünïcode", 'quo"te', "back\\slash", "日本", "a,b", "x;y", "\u2028", "emoji 🦊", "", "tab\there")
LONG_CHARACTERS = 33_000

Row = dict[str, Any]


@dataclass(frozen=True)
class Source:
    """How a made-up source is written, and what is odd about its rows."""

    draw: random.Random
    format: str  # csv, ndjson, parquet, sqlite
    times: str  # iso, naive, epoch_s, epoch_ms, typed
    packing: str  # a suffix
    dialect: dict[str, Any]  # of CSV, as a job states it
    oddness: float  # the share of odd values in each column
    repeats: float  # the share of rows that were there before

    def rows(self, first: int, count: int, poison_rate: float) -> Iterator[Row]:
        """The source's rows; some are earlier ones again, the same or with another note."""
        draw = self.draw
        made: list[Row] = []
        for number in range(first, first + count):
            if made and draw.random() < self.repeats:
                row = dict(draw.choice(made if draw.random() < 0.5 else made[:50]))
                if draw.random() < 0.3:
                    row["note"] = "other"
            else:
                row = self.row(number)
            if draw.random() < poison_rate:
                row["note"] = POISON.decode() + str(number)
            made.append(row)
            yield row

    def row(self, number: int) -> Row:
        """One row of its own."""
        draw = self.draw
        odd = draw.random
        rate = self.oddness
        note = " ".join(draw.choices(WORDS, k=draw.randrange(6)))
        if odd() < rate / 10:
            note = "x" * LONG_CHARACTERS
        return {
            "id": draw.choice(ODD_IDS) if odd() < rate else f"k{number}",
            "user": draw.choice(ODD_IDS) if odd() < rate else f"u{number % 997}",
            "anon": None if odd() < 0.5 else f"a{number}",
            "at": self.moment(odd() < rate),
            "amount": draw.choice(ODD_NUMBERS) if odd() < rate else f"{draw.randrange(10**6) / 100:.2f}",
            "n": None if odd() < rate else draw.choice((number, -number, 2**53 + 1 if odd() < rate else 7)),
            "flag": draw.choice((True, False, None)),
            "payload": {"a": number, "b": draw.choice(WORDS), "c": [1, None, {"d": draw.choice(PLAN)}]},
            "plan": draw.choice(PLAN),
            "note": note,
        }

    def moment(self, odd: bool) -> Any:
        """A time as this source writes it."""
        draw = self.draw
        moment = datetime(2019, 1, 1, tzinfo=UTC) + timedelta(seconds=draw.randrange(150_000_000))
        if odd:
            moment = draw.choice(
                (
                    datetime(2021, 3, 14, 2, 30, tzinfo=UTC),  # an hour that New York does not have
                    datetime(2021, 11, 7, 1, 30, tzinfo=UTC),  # one that it has twice
                    datetime(1970, 1, 1, 5, tzinfo=UTC),
                    datetime(2150, 1, 1, tzinfo=UTC),
                    datetime(1960, 5, 5, tzinfo=UTC),
                )
            )
        bad = odd and draw.random() < 0.5
        match self.times:
            case "typed" if self.format == "parquet":
                return None if bad else moment.replace(tzinfo=None)
            case "epoch_s" | "epoch_ms":
                return None if bad else int(moment.timestamp() * (1 if self.times == "epoch_s" else 1000))
            case "iso" | "typed":
                return "soon" if bad else moment.isoformat().replace("+00:00", draw.choice(("Z", "+00:00", "+02:00")))
            case _:
                return "2021-02-30 00:00:00" if bad else f"{moment:%Y-%m-%d %H:%M:%S}"

    def suffix(self) -> str:
        """What the source's files end in."""
        return self.format + self.packing

    def file_name(self, place: int) -> str:
        """The name of one of the source's files."""
        return "rows.db" if self.format == "sqlite" else f"rows{place}.{self.suffix()}"

    def write(self, path: Path, rows: list[Row]) -> None:
        """Write rows as this source has them."""
        match self.format:
            case "csv":
                write_text(path, csv_text(rows, self.dialect), packed=bool(self.packing))
            case "ndjson":
                lines = [json.dumps(row, ensure_ascii=False) for row in rows]
                if self.oddness and rows:
                    lines.insert(len(lines) // 2, '{"id": "broken')
                write_text(path, "".join(line + "\n" for line in lines), packed=bool(self.packing))
            case "parquet":
                write_parquet(path, rows, self.times)
            case _:
                write_sqlite(path, rows)


def write_text(path: Path, text: str, *, packed: bool) -> None:
    """A text file, gzipped or not."""
    path.write_bytes(gzip.compress(text.encode(), 1, mtime=0) if packed else text.encode())


def as_text(value: Any) -> str:
    """A cell of a CSV file."""
    if isinstance(value, bool):
        return str(value).lower()
    return json.dumps(value, ensure_ascii=False) if isinstance(value, dict) else "" if value is None else str(value)


def csv_text(rows: list[Row], dialect: dict[str, Any]) -> str:
    """The rows as CSV; in the middle of many, a record with a field too few."""
    out = io.StringIO()
    writer = csv.writer(out, delimiter=dialect.get("delimiter", ","), lineterminator="\n")
    names = ["id", "user", "anon", "at", "amount", "n", "flag", "payload", "plan", "note"]
    writer.writerow(names)
    for place, row in enumerate(rows):
        writer.writerow([as_text(row[name]) for name in names])
        if place == 200:
            writer.writerow(["too", "few"])
    return out.getvalue()


def write_parquet(path: Path, rows: list[Row], times: str) -> None:
    """The rows as Parquet: amounts as decimals or doubles, the payload as a struct."""
    inner = pl.List(pl.Struct({"d": pl.String}))
    kinds: dict[str, Any] = {"id": pl.String, "user": pl.String, "anon": pl.String}
    kinds["at"] = pl.Datetime("us") if times == "typed" else pl.Int64 if times.startswith("epoch") else pl.String
    kinds |= {"amount": pl.String, "n": pl.Int64, "flag": pl.Boolean}
    kinds |= {"payload": pl.Struct({"a": pl.Int64, "b": pl.String, "c": inner}), "plan": pl.String, "note": pl.String}
    told = [row | {"payload": row["payload"] | {"c": row["payload"]["c"][2:]}} for row in rows]
    frame = pl.DataFrame(told, schema=kinds)
    amount = pl.Float64 if times == "naive" else pl.Decimal(20, 2)
    frame.with_columns(pl.col("amount").cast(amount, strict=False)).write_parquet(path, row_group_size=5_000)


def write_sqlite(path: Path, rows: list[Row]) -> None:
    """The rows as a table `t` of an SQLite file."""
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("CREATE TABLE t (id, user, anon, at, amount, n INTEGER, flag, payload, plan, note)")
        told = [row | {"payload": json.dumps(row["payload"])} for row in rows]
        connection.executemany(
            "INSERT INTO t VALUES (:id, :user, :anon, :at, :amount, :n, :flag, :payload, :plan, :note)", told
        )
