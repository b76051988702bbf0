"""How much disk a run will need, told before and while it is written."""

from __future__ import annotations

from collections.abc import Sequence

from backfill.records import SourceFile

# Measured on 1 M rows of 13 columns: 115 MB as CSV, 25 MB as CSV.gz, 31 MB as Parquet, all staged; the spool is 84 MB.
#: Bytes of snapshot and spool for each byte of source, by what the source is.
PER_TEXT_BYTE = 1.0
PER_COMPRESSED_BYTE = 4.6
PER_PARQUET_BYTE = 3.7
COMPRESSED = (".gz", ".zst")
#: Never fill the disk to the last byte: the ledger and everybody else need some.
RESERVE_BYTES = 64_000_000


def forecast_bytes(files: Sequence[SourceFile]) -> int:
    """About how many bytes staging and preparing these files will take; the shards tell more as they come."""
    needed = 0.0
    for file in files:
        factor = PER_PARQUET_BYTE if file.path.endswith(".parquet") else PER_TEXT_BYTE
        needed += file.bytes * (PER_COMPRESSED_BYTE if file.path.endswith(COMPRESSED) else factor)
    return int(needed) + RESERVE_BYTES


def spool_bytes(*, rows_left: int, rows_done: int, bytes_done: int) -> int:
    """About how many bytes the rest of preparing will take, going by the shards done."""
    return rows_left * bytes_done // max(rows_done, 1) + RESERVE_BYTES
