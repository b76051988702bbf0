"""What is said of a run that is moved, or was: two ledgers of it would send everything twice."""

from __future__ import annotations

from backfill.errors import UsageError


def barred(run: str, to: str) -> UsageError:
    """The error that a run is gone on with elsewhere."""
    return UsageError(
        f"{run} is being moved to {to}: it is gone on with there, and not here",
        hint=f"finish that first: `backfill state copy` with the same FROM and {to}",
    )
