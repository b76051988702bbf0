"""What was looked at, how it is, and what mends it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from enum import StrEnum
from typing import Any

from backfill.errors import BackfillError, ExitCode, JobError, worst
from backfill.frozen import frozen

_SCHEMA_VERSION = 1


class Level(StrEnum):
    """How bad a finding is."""

    OK = "ok"
    WARNING = "warning"  # a run would go, and something about it may surprise
    ERROR = "error"  # a run would end


@frozen
class Finding:
    """One thing that was looked at."""

    about: str  # what: clock, write key
    message: str
    level: Level = Level.OK
    fix: str = ""  # what to do; empty where all is well
    exit_code: ExitCode = ExitCode.DELIVERED  # of an error: that of a run that meets it


def error_finding(about: str, error: BackfillError) -> Finding:
    """What a run would end with, as a finding."""
    faults = error.faults if isinstance(error, JobError) else ()
    message = "; ".join(map(str, faults)) or error.message
    hint = error.hint or next((fault.hint for fault in faults if fault.hint), "")
    return Finding(about, message, Level.ERROR, hint, ExitCode(error.exit_code))


def end_of(findings: Iterable[Finding]) -> ExitCode:
    """The exit code: of errors the one that a run would end with first, 3 where there are warnings alone, else 0."""
    found = list(findings)
    warned = any(finding.level is Level.WARNING for finding in found)
    return worst([*(finding.exit_code for finding in found), *([ExitCode.REJECTS] if warned else [])])


def findings_text(findings: Sequence[Finding]) -> str:
    """A line for each finding, with its fix below it where it has one."""
    lines = []
    for finding in findings:
        lines.append(f"  {finding.level:<7}  {finding.about}: {finding.message}")
        if finding.fix:
            lines.append(f"  {'':<7}  fix: {finding.fix}")
    return "\n".join(lines)


def findings_json(findings: Sequence[Finding], target: str) -> dict[str, Any]:
    """The same as one JSON object; `target` is empty where none was looked at."""
    return {
        "schema_version": _SCHEMA_VERSION,
        "target": target,
        "exit_code": int(end_of(findings)),
        "findings": [
            {"about": one.about, "level": str(one.level), "message": one.message, "fix": one.fix} for one in findings
        ],
    }
