"""A job and a snapshot's columns, compiled once to polars expressions: rows in, calls out."""

from backfill.mapping.calls import Check, CompiledCall
from backfill.mapping.compile import compile_job

__all__ = ["Check", "CompiledCall", "compile_job"]
