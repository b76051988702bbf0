"""The benchmark's data: `python -m bench.data ROWS FILE` writes that many orders of 13 columns.

As CSV or NDJSON where the file's name ends so, else as Parquet.

Each value is a function of the row's number, so that the same rows come out on every machine; a call made of a row has
about 410 bytes of JSON. Runs as a process of its own, so that the benchmark itself stays small (see process.py).
"""

import sys
from pathlib import Path

import polars as pl
import polars_hash as plh

CITIES = ["Boston", "København", "São Paulo", "東京", "New York", "Kraków", "Mexico City", "Nairobi"]
PRODUCTS = ["Oolong 50 g", 'Teapot "Lotus"', "Pu-erh 普洱", "Darjeeling", "Thé vanille"]
FIRST_SECOND = 1_546_300_800  # 2019-01-01T00:00:00Z
SECONDS = 6 * 365 * 86_400
ISO_8601 = "%Y-%m-%dT%H:%M:%S%.6fZ"


def scattered(salt: int) -> pl.Expr:
    """A number below 2^31 that looks random: a multiplicative hash of the row's number (Knuth, TAOCP 6.4)."""
    number = pl.col("number")
    return ((number + salt) * 2_654_435_761 + (number * number) % 65_537 * 40_503) % 2_147_483_648


def anonymous_id() -> pl.Expr:
    """An identifier that looks random: twelve digits of the SHA-256 of the row's number."""
    return plh.col("number").cast(pl.String).chash.sha2_256().str.slice(0, 12)


def pick(words: list[str], salt: int) -> pl.Expr:
    """One of the words."""
    return (scattered(salt) // 7 % len(words)).replace_strict(dict(enumerate(words)), return_dtype=pl.String)


def orders(rows: int) -> pl.LazyFrame:
    """The orders: ids, times, text with non-ASCII and quotes, money, nulls in five columns."""
    cents = scattered(11) % 25_000 + 100
    chance = scattered(12) // 11 % 10
    microseconds = scattered(5) % SECONDS * 1_000_000 + scattered(6) % 1_000_000
    return pl.LazyFrame().select(number=pl.int_range(rows, dtype=pl.Int64)).select(
        order_id=pl.col("number") + 10_000_000,
        customer_id=(scattered(4) % 250_000 + 1).cast(pl.String).str.zfill(6),
        anonymous_id=anonymous_id(),
        ordered_at=(microseconds + FIRST_SECOND * 1_000_000).cast(pl.Datetime("us", "UTC")),
        currency=pick(["USD", "EUR", "JPY", "BRL"], 7),
        total=cents / 100,
        discount=pl.when(chance < 3).then((cents // 10) / 100),
        quantity=(scattered(8) % 9 + 1).cast(pl.Int32),
        product=pl.when(chance != 4).then(pick(PRODUCTS, 9)),
        city=pl.when(chance < 8).then(pick(CITIES, 10)),
        zip=(scattered(13) % 100_000).cast(pl.String).str.zfill(5),
        coupon=pl.when(chance > 7).then(pick(["SPRING", "TWO-FOR-1", "FRIEND"], 14)),
        gift=pl.when(chance < 6).then(scattered(15) % 2 == 0),
    )  # fmt: skip


def write(rows: int, path: Path) -> None:
    """Write the orders in the format of the name, Parquet in groups of 100,000 rows; whole or not at all."""
    unfinished = path.with_name(path.name + ".part")
    if path.suffix == ".csv":
        orders(rows).sink_csv(unfinished, datetime_format=ISO_8601)
    elif path.suffix == ".ndjson":
        orders(rows).with_columns(pl.col("ordered_at").dt.to_string(ISO_8601)).sink_ndjson(unfinished)
    else:
        orders(rows).sink_parquet(unfinished, compression="zstd", row_group_size=100_000)
    unfinished.rename(path)


if __name__ == "__main__":
    write(int(sys.argv[1]), Path(sys.argv[2]))
