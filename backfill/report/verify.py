"""What `verify` tells: what was compared with what, and what is not as it is to be."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from backfill.errors import counted
from backfill.report.summary import run_json
from backfill.verify.findings import KINDS, Finding
from backfill.verify.result import WHOLE, Verified

#: How many findings people are shown.
SHOWN = 20
_FROM = {"snapshot": "the kept snapshot", "source": "the source, staged again", "nothing": "nothing"}


def verify_json(run_id: str, result: Verified) -> dict[str, Any]:
    """The object of `--output json`; its keys are a promise (docs/proof.md)."""
    return {
        **run_json(run_id, result.status),
        "plan_digest": result.status.plan_digest,
        "equal": not result.exit_code,
        "sample": result.sample,
        "rows_from": result.rows_from,
        "source_changes": list(result.source_changes),
        "compared": asdict(result.compared) | {"not_judged": result.not_judged},
        "counts": {kind: result.findings.counts[kind] for kind in KINDS},
        "findings": [asdict(finding) for finding in result.findings.ordered],
        "notes": list(result.notes),
    }


def verify_text(run_id: str, result: Verified) -> str:
    """The same for people, in 80 columns."""
    sandbox = [] if result.status.record.live else ["SANDBOX: nothing of this run left this machine"]
    compared = _compared_lines(result) if not result.source_changes else []
    changes = [f"  source    {change}" for change in result.source_changes]
    findings = result.findings.ordered
    lines = [*sandbox, f"{run_id}: {verdict(result)}", *changes, *compared]
    lines += [f"  note      {note}" for note in result.notes]
    lines += [_finding_text(finding) for finding in findings[:SHOWN]]
    rest = sum(result.findings.counts.values()) - min(SHOWN, len(findings))
    return "\n".join([*lines, f"  and {rest:,} more; `--output json` has 100 of each kind"] if rest else lines)


def verdict(result: Verified) -> str:
    """What came out, in one sentence that says no more than was looked at."""
    counts = result.findings.counts
    if result.source_changes:
        kept = "what is kept agrees with itself" if not counts else f"of what is kept, {counts['kept']:,} faults"
        return f"not compared, as the source is another than it was; {kept}"
    of = "" if result.sample >= WHOLE else f" in a sample of {result.sample:g}% of the rows"
    if not counts:
        return f"equal{of}"
    told = ", ".join(f"{counts[kind]:,} {kind}" for kind in KINDS if counts[kind])
    return f"not equal{of}: {told}"


def _compared_lines(result: Verified) -> list[str]:
    """How much was compared, and by what."""
    compared = result.compared
    lines = [
        f"  rows      {compared.rows:,} of {_FROM[result.rows_from]}",
        f"  calls     {compared.calls:,} planned and made again, {compared.rejected:,} rejected by both",
    ]
    ways = (
        (compared.by_bytes, "by their very bytes, which are kept"),
        (compared.by_digest, "by hash or checksum: their bytes are not kept"),
        (compared.by_id_alone, "by id alone: nothing else of them is kept, or known"),
    )
    lines += [f"            {count:,} {way}" for count, way in ways if count]
    if result.not_judged:
        lines.append(f"  rejected  {counted(result.not_judged, 'call', 'calls')} for what only preparing can see")
    return lines


def _finding_text(finding: Finding) -> str:
    """One finding: what, where, which id, which field."""
    where = f"{finding.file}:{finding.record}" if finding.record else finding.file
    batch = f"batch {finding.batch}" if finding.batch and not finding.record else ""
    parts = [where or batch, finding.call, finding.message_id, finding.field and f"field {finding.field}"]
    return f"{finding.kind:<10}{' '.join(filter(None, parts))}: {finding.detail}"
