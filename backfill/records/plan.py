"""What preparing a shard gives, and where it puts the batches."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import field
from typing import Any, Protocol

from backfill.frozen import frozen
from backfill.records.problems import Problem
from backfill.records.profile import PlanProfile

#: Rows of one shard: fixed, since packing is local to shards and must not depend on the machine.
SHARD_ROWS = 32_768


@frozen
class PlannedBatch:
    """One batch in a shard's segment file. Its plain bytes are `{"batch":[` + calls joined by commas, no more.

    The body sent is these bytes + `],"sentAt":"..."}`. In the segment they stand as a raw deflate stream that ends
    on a byte boundary with a sync flush, so that a gzip body is made without compressing again.
    """

    ordinal: int  # from 0, within the shard
    calls: int
    bytes: int  # plain bytes, without the envelope's tail
    offset: int  # of the deflate stream in the segment file
    length: int  # of the deflate stream
    crc32: int  # of the plain bytes
    first_call: int  # index of its first call in the shard's calls file


@frozen
class ShardPlan:
    """What preparing one shard gave."""

    shard: int  # from 0
    rows: int
    planned: int  # calls: batched + rejected + duplicate + already_delivered
    skipped: int  # calls left out by `when`
    rejected: int
    duplicate: int
    batches: tuple[PlannedBatch, ...]
    problems: Mapping[tuple[str, str], int]  # (code, severity) -> count
    samples: tuple[Problem, ...]  # at most five of each code
    days: Mapping[tuple[str, str], int]  # (call label, YYYY-MM-DD of the timestamp) -> calls batched
    json_bytes: int  # sum of batch bytes
    segment_bytes: int
    segment_sha256: str  # of the segment file; of no bytes where the shard has no batch
    calls_sha256: str  # of the calls file
    already_delivered: int = 0  # calls planned but left out: earlier runs delivered their ids
    profile: PlanProfile = field(default_factory=PlanProfile)  # of the calls batched


#: dtype of one record of a shard's calls file (little endian, packed, 25 bytes), in the order of the batches.
#: id_bytes: 16 bytes: the UUID's own where the message id is one in lower case, else the first 16 of its SHA-256.
CALL_RECORD = [("id_bytes", "V16"), ("row", "<u4"), ("bytes", "<u4"), ("call", "u1")]
CALL_RECORD_BYTES = 25


#: dtype of what tells the bytes of two calls apart: XXH3 (64 bits, https://xxhash.com) of a call's JSON and a comma.
CALL_HASH = "<u8"


class ShardSink(Protocol):
    """Where prepare puts a shard's batches: the spool of a run, or the scales of a dry run."""

    def open(self, shard: int) -> ShardWriter:
        """A writer for one shard; used by one thread."""


class ShardWriter(Protocol):
    """Takes one shard's batches in order."""

    def add(self, plain: memoryview, calls: int) -> None:
        """Append one batch: its plain bytes (see PlannedBatch), and how many calls they hold."""

    def finish(
        self, calls: bytes, rejects: Iterable[Any] | None, hashes: bytes = b""
    ) -> tuple[tuple[PlannedBatch, ...], int, str, str]:
        """Make segment, calls file (CALL_RECORD records) and rejects (polars frames, one after the other) durable.

        `hashes` (CALL_HASH of each call) tell later on whether calls are the same: they are kept, and may be lost.
        Returns the batches, the segment's size in bytes, its SHA-256 and that of the calls file.
        """
