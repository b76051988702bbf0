"""A Segment-compatible HTTP endpoint on loopback that stores what Segment would hold, and says why it drops a call."""

from backfill.sandbox.drops import REASONS
from backfill.sandbox.faults import FaultScript
from backfill.sandbox.pages import new_token
from backfill.sandbox.server import DEFAULT_PORT, KEEP_CALLS, LENIENT, Sandbox, serve
from backfill.sandbox.statistics import SERVER_HEADER, SERVER_NAME

__all__ = [
    "DEFAULT_PORT",
    "KEEP_CALLS",
    "LENIENT",
    "REASONS",
    "SERVER_HEADER",
    "SERVER_NAME",
    "FaultScript",
    "Sandbox",
    "new_token",
    "serve",
]
