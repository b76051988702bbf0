"""Whether a receipt, or a proof, is what it says: by itself, and beside the run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from backfill.errors import UsageError
from backfill.receipt import proof
from backfill.receipt.content import FORM, OF_THE_MOMENT, accounting, canonical, digest_of, notices_of, receipt_of
from backfill.receipt.form import Proof, Receipt, faults_of_form
from backfill.receipt.signature import signature_fault
from backfill.records import Counts, StoredRun


def read(file: Path) -> tuple[dict[str, Any], list[str]]:
    """A receipt or proof, and what is wrong with it by itself; the object is empty where it is none.

    Raises:
        UsageError: The file cannot be read.
    """
    try:
        content = file.read_bytes()
    except OSError as error:
        raise UsageError(f"--check {file}: it cannot be read: {error.strerror}") from None
    try:
        found = json.loads(content)
        again = canonical(found) + b"\n"
    except (ValueError, RecursionError):
        return {}, ["it is no JSON that a receipt could be"]
    if not isinstance(found, dict) or found.get("form") not in (FORM, proof.FORM):
        return {}, ["it is neither a receipt nor a proof"]
    faults = [] if content == again else ["it is not written as canonical JSON, and so was altered"]
    is_proof = found["form"] == proof.FORM
    faults += faults_of_form(found, Proof if is_proof else Receipt)
    if found.get("digest") != digest_of(found):
        faults.append("its digest is another: something was altered")
    if "signature" in found and not is_proof and (fault := signature_fault(found)):
        faults.append(fault)
    if faults:  # of what has another form no more can be said
        return found, faults
    return found, proof.path_faults(found) if is_proof else _contradictions(found)


def _contradictions(receipt: dict[str, Any]) -> list[str]:
    """Where a receipt of the right form says one thing here and another there."""
    run, told = receipt["run"], receipt["counts"]
    faults = [
        f"it does not hold that {one['identity']}" for one in receipt["accounting"] if one["whole"] != one["parts"]
    ]
    try:
        counts = Counts(**told, first_sent_at=None, last_ended_at=None)
    except TypeError:
        return [*faults, "counts are missing, or there are others"]
    if receipt["accounting"] != accounting(counts):
        faults.append("its accounting is not of its counts")
    if receipt["delivered"]["count"] != counts.delivered:
        faults.append("it counts other calls as delivered than it has a root of")
    if receipt["in_doubt"]["calls"] != counts.in_doubt:
        faults.append("it counts other calls as in doubt than it lists")
    if receipt["notices"] != notices_of(run["state"], live=run["live"]):
        faults.append("its notices are not of its run")
    return faults


def differences_from_run(receipt: dict[str, Any], run: StoredRun) -> list[str]:
    """How a receipt, or a proof, differs from what the run says now; raises as `receipt_of` does."""
    now = receipt_of(run, now=0)
    if receipt["form"] == proof.FORM:
        delivered = now["delivered"]
        same = receipt["root"] == delivered["root"] and receipt["count"] == delivered["count"]
        faults = [] if same else ["the run has delivered other calls"]
        return faults if receipt["run_id"] == run.run_id else [*faults, "run_id is another"]
    return [f"{path} is another" for path in _different(receipt, now) if path.partition(".")[0] not in OF_THE_MOMENT]


def _different(one: Any, other: Any, path: str = "") -> list[str]:  # noqa: ANN401 (JSON)
    """The paths of members in which two objects differ."""
    if not (isinstance(one, dict) and isinstance(other, dict)):
        return [] if one == other else [path]
    names = [*one, *(name for name in other if name not in one)]
    return [
        found
        for name in names
        for found in _different(one.get(name), other.get(name), f"{path}.{name}" if path else name)
    ]


def fault_of_proof_beside(found: dict[str, Any], receipts: list[dict[str, Any]]) -> str:
    """Why a proof is of none of some receipts, which are valid; empty where it is of one, or there is none."""
    if not receipts:
        return ""
    wanted = (found.get("run_id"), {"root": found.get("root"), "count": found.get("count")})
    same = any((one["run"]["run_id"], one["delivered"]) == wanted for one in receipts)
    return "" if same else "it is of none of the receipts beside it"
