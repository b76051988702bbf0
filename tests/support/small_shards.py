"""Loaded by each worker of dask before it works: a few rows make several shards there, as in the test's own process."""

from backfill.prepare import frames
from tests.support.preparing import SMALL_SHARD

frames.SHARD_ROWS = SMALL_SHARD
