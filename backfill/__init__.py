"""Historical customer data into Twilio Segment: every row accounted for, nothing sent twice, any run resumable.

`from backfill import Job, dry_run, run, plans, runs` is the program as a library (docs/api.md).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from backfill.lazy import lazily

if TYPE_CHECKING:
    from backfill.api import Job, Outcome, dry_run, plans, run, runs

__version__ = "0.1.0"

__all__ = ["Job", "Outcome", "__version__", "dry_run", "plans", "run", "runs"]

__getattr__ = lazily(__name__, {"api": ("Job", "Outcome", "dry_run", "plans", "run", "runs")})
