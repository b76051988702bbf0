"""What bounds memory: every budget that decides how much of a source or a run is held at once.

Whatever the input, a run holds some of these at a time and nothing that grows with the number of rows:

    staging     DuckDB up to STAGING_MEMORY_BYTES; beside it the batches of the reader, each of BATCH_BYTES, in which no
                record is longer than MAX_RECORD_BYTES (CSV) or MAX_LINE_BYTES (NDJSON); a workbook whole, of
                LARGEST_WORKBOOK_BYTES at most
    preparing   MAX_WORKERS times a frame of FRAME_BYTES and about five times as much for what encoding makes of it; a
                row group of the snapshot is at most HEAVIEST_GROUP_BYTES, of a file read in place LARGEST_ROW_GROUP_*;
                repeated ids are found with MEMORY_HASHES at a time, spellings of ids compared among MAX_ID_FORMS,
                rejected rows written PAGE_BYTES at a time, duplicates described DUPLICATES_AT_ONCE
    delivering  the bodies in flight, one for each sender (`deliver.DeliveryOptions.concurrency`), at most the target's
                body limit each, and of an answer ANSWER_BYTES or ANSWER_BYTES_BY_CALL
    archiving   MEMORY_RECORDS at a time
    comparing   two plans joined by DuckDB up to DIFF_MEMORY_BYTES; of calls that have changed DIFF_TEXT_BYTES of JSON,
                and DIFF_CALLS, at a time
    reconciling both sides in partitions on disk, RECONCILE_RECORDS at a time; of the run's calls one of 256 is held

Each name is used in the module that keeps the bound: `grep -r NAME backfill`. What libraries keep for themselves is
bounded where the command line begins (`backfill.cli.main`: threads of polars, the allocator of Arrow).
"""

from __future__ import annotations

from typing import Final

#: What DuckDB may hold while staging: 8 M rows take 14 s with 300 MB, 6 s without bound (750 MB).
STAGING_MEMORY_BYTES: Final = 400_000_000
#: About as many bytes of raw columns a batch of a reader holds.
BATCH_BYTES: Final = 4 * 2**20
#: A CSV record longer than this is rejected as too long, as is a longer line of NDJSON.
MAX_RECORD_BYTES: Final = 4 * 2**20
MAX_LINE_BYTES: Final = 16 * 2**20
#: A workbook is held whole, at about one and a half times what its parts take unpacked; larger ones are refused.
LARGEST_WORKBOOK_BYTES: Final = 200_000_000
#: Rows of a Parquet row group in a snapshot: what prepare reads at once.
ROW_GROUP_ROWS: Final = 32_768
#: A row group that weighs as much is written whatever its rows: one of megabytes may come among light ones.
HEAVIEST_GROUP_BYTES: Final = 32 * 2**20
#: A file with a larger row group costs too much memory to be walked in slices, and is staged.
LARGEST_ROW_GROUP_ROWS: Final = 2**18
LARGEST_ROW_GROUP_BYTES: Final = 256 * 2**20
#: Bytes of column data one frame may hold; with what encoding makes of it, a worker needs about five times as much.
FRAME_BYTES: Final = 24_000_000
#: More threads than this do not make preparing faster: the spool is next.
MAX_WORKERS: Final = 4
#: Hashes of ids kept in memory before they go to disk: 10 MB, and two and a half times as much while they are sorted.
MEMORY_HASHES: Final = 1_250_000
#: Bytes of rejected rows that are described and written at a time: their text is held several times over.
PAGE_BYTES: Final = 6_000_000
#: How many of their columns are written to JSON together: polars holds what it makes of each until it has them all.
COLUMNS_AT_ONCE: Final = 250
#: Forms of ids that are compared for other spellings: 40 MB with what is known of each.
MAX_ID_FORMS: Final = 1_250_000
#: How many rows whose call another row had made are described at a time.
DUPLICATES_AT_ONCE: Final = 50_000
#: Of an answer's body no more is read, in bytes.
ANSWER_BYTES: Final = 64 * 1024
#: Where it names the calls that were refused: room for 2,500 of them with 400 bytes each.
ANSWER_BYTES_BY_CALL: Final = 1024 * 1024
#: Delivered ids sorted at once: 28 MB, and about three times as much while they are.
MEMORY_RECORDS: Final = 1_000_000
#: What DuckDB may hold while it joins two plans: 33 bytes of each call.
DIFF_MEMORY_BYTES: Final = 300_000_000
#: Calls that have changed, compared at a time: so many bytes of their JSON, and so many calls.
DIFF_TEXT_BYTES: Final = 16_000_000
DIFF_CALLS: Final = 20_000
#: Records of a side of `reconcile` held at a time, of 38 bytes; sorting takes as much again.
RECONCILE_RECORDS: Final = 500_000
