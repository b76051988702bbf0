"""Tracking plans: what calls a team has agreed to send, as Segment Protocols keeps it, read from files."""

from backfill.tracking.model import CALL_TYPES, COMMON, TrackingPlan

__all__ = ["CALL_TYPES", "COMMON", "TrackingPlan"]
