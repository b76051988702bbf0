"""What a comparison came to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from backfill.errors import ExitCode
from backfill.frozen import frozen
from backfill.records import RunStatus
from backfill.verify.findings import Findings

#: All of a plan, in percent of its rows.
WHOLE: Final = 100.0


@dataclass(slots=True)
class Compared:
    """How much of a plan was compared, and with what."""

    rows: int = 0
    calls: int = 0
    by_bytes: int = 0  # calls of which the very bytes are kept
    by_digest: int = 0  # of which a hash of each, or a checksum of its batch, is
    by_id_alone: int = 0  # of which neither is, or JSON was merged in an order that no document states
    rejected: int = 0  # rows x calls that the recipe rejects as well


@frozen
class Verified:
    """What a comparison came to."""

    status: RunStatus
    findings: Findings
    compared: Compared
    sample: float  # percent of the rows
    rows_from: str  # snapshot, source, or nothing
    source_changes: Sequence[str] = ()  # where the rows could not be had
    not_judged: int = 0  # calls rejected for what only preparing can see
    notes: Sequence[str] = field(default_factory=tuple)

    @property
    def exit_code(self) -> ExitCode:
        """6 where the source is another, 3 where anything differs."""
        if self.source_changes:
            return ExitCode.REFUSED
        return ExitCode.REJECTS if self.findings.counts else ExitCode.DELIVERED
