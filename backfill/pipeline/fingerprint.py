"""What a run was prepared from, and how that differs from what there is now, by name.

A module of its own, since whatever only compares loads nothing that prepares.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from backfill.frozen import frozen
from backfill.job.formats import live_format
from backfill.records import RunStatus, SnapshotRecord, SourceFile

#: How many differences are named; the rest are counted.
NAMED = 5
_MISSING = object()
#: Fields of a job that make no other calls: they are no part of its fingerprint.
_NO_CALLS = ("gates", "mask")


@frozen
class Fingerprint:
    """What a run was prepared from: the job's YAML data as written, and the files of its source."""

    job: str  # SHA-256 of the canonical JSON of `data`
    data: Mapping[str, Any]
    files: tuple[SourceFile, ...]

    @property
    def is_live(self) -> bool:
        """The source is a live database, of which a fingerprint says what is asked, not what is in it."""
        return any(live_format(file.path) for file in self.files)

    def differences(self, now: Fingerprint) -> list[str]:
        """How `now` differs from this, as sentences that name a field or a file; empty where it does not."""
        then, today = (
            {name: part for name, part in one.items() if name not in _NO_CALLS} for one in (self.data, now.data)
        )
        found = [] if self.job == now.job else list(field_differences(then, today))
        if self.job != now.job and not found:
            found = ["the job file was changed"]
        return found + list(file_differences(self.files, now.files))


def fingerprint_then(status: RunStatus, snapshot: SnapshotRecord) -> Fingerprint:
    """The fingerprint that a run was prepared from, as its ledger has it."""
    return Fingerprint(status.record.job_fingerprint, json.loads(status.record.job_data), snapshot.files)


def file_differences(before: Sequence[SourceFile], now: Sequence[SourceFile]) -> Iterator[str]:
    """What became of each file: gone, new, or other bytes. Names are what counts, their folders may have moved."""
    old, new = by_key(before), by_key(now)
    for key, file in old.items():
        if key not in new:
            yield f"{file.name} is no longer there"
        elif new[key].sha256 != file.sha256:
            grown = new[key].bytes - file.bytes
            yield f"{new[key].name} was changed" + (f" ({grown:+,} bytes)" if grown else " (same size, other bytes)")
    for key, file in new.items():
        if key not in old:
            yield f"{file.name} is new"


def by_key(files: Sequence[SourceFile]) -> dict[tuple[str, int], SourceFile]:
    """The files by key and, where several folders have a file of that key, by their order among those."""
    seen: Counter[str] = Counter()
    found: dict[tuple[str, int], SourceFile] = {}
    for file in files:
        seen[file.key] += 1
        found[file.key, seen[file.key]] = file
    return found


def field_differences(before: object, now: object, path: str = "") -> Iterator[str]:
    """The fields that were changed, added or removed, each by its path in the job file."""
    if isinstance(before, Mapping) and isinstance(now, Mapping):
        for name in [*before, *(name for name in now if name not in before)]:
            inner = f"{path}.{name}" if path else str(name)
            yield from field_differences(before.get(name, _MISSING), now.get(name, _MISSING), inner)
    elif isinstance(before, list) and isinstance(now, list) and len(before) == len(now):
        for place, (one, other) in enumerate(zip(before, now, strict=True)):
            yield from field_differences(one, other, f"{path}[{place}]")
    elif before is _MISSING:
        yield f"{path} was added"
    elif now is _MISSING:
        yield f"{path} was removed"
    elif before != now or type(before) is not type(now):
        yield f"{path} was changed"


def list_differences(differences: Sequence[str]) -> str:
    """The first differences as one phrase, and how many more there are."""
    rest = len(differences) - NAMED
    return "; ".join(differences[:NAMED]) + (f"; and {rest} more" if rest > 0 else "")
