"""What a comparison has found: counted all, shown some."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Final

from backfill.frozen import frozen

#: How many findings of each kind are told one by one.
SHOWN: Final = 100
#: In the order in which they are told. `kept`: what ledger and spool hold does not agree with itself.
KINDS: Final = ("missing", "surplus", "different", "kept")


@frozen
class Finding:
    """One thing that is not as it is to be."""

    kind: str  # of KINDS
    detail: str
    file: str = ""  # of the source, as problems name it; or what is kept: ledger, a file of the spool
    record: int = 0  # of that file, from 1
    call: str = ""  # label or type
    message_id: str = ""
    field: str = ""  # where that can be told
    batch: str = ""  # shard and batch, as SHARD/FIRST CALL


@dataclass(slots=True)
class Findings:
    """Everything found so far."""

    counts: Counter[str] = field(default_factory=Counter)
    shown: list[Finding] = field(default_factory=list)

    def add(self, finding: Finding) -> None:
        """Count it, and keep it where it is one of the first of its kind."""
        self.counts[finding.kind] += 1
        if self.counts[finding.kind] <= SHOWN:
            self.shown.append(finding)

    def kept(self, file: str, detail: str, batch: str = "") -> None:
        """Add a fault of what is kept."""
        self.add(Finding("kept", detail, file=file, batch=batch))

    @property
    def ordered(self) -> list[Finding]:
        """Those to be told, kind after kind."""
        return sorted(self.shown, key=lambda finding: KINDS.index(finding.kind))


def first_difference(before: Any, after: Any, path: str = "") -> str:  # noqa: ANN401 (JSON documents)
    """The path of the first member in which two JSON documents differ; empty where it is the whole, or none."""
    if isinstance(before, dict) and isinstance(after, dict):
        for name in [*before, *(name for name in after if name not in before)]:
            inside = f"{path}.{name}" if path else str(name)
            if name not in before or name not in after:
                return inside
            if before[name] != after[name]:
                return first_difference(before[name], after[name], inside)
    return path
