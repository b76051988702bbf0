"""Whether a receipt, or a proof, is what it says: by itself, and beside the run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from backfill.errors import UsageError
from backfill.receipt import proof
from backfill.receipt.content import FORM, OF_THE_MOMENT, canonical, digest_of, receipt_of
from backfill.receipt.signature import signature_fault
from backfill.records import StoredRun

#: The members of a receipt, which all have to be there, and no others.
_MEMBERS = {
    *("form", "notices", "run", "job", "source", "plan_digest", "counts", "accounting", "in_doubt", "batches"),
    *("delivered", "made_at", "made_by", "digest"),
}


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
    except ValueError:
        return {}, ["it is no JSON"]
    if not isinstance(found, dict) or found.get("form") not in (FORM, proof.FORM):
        return {}, ["it is neither a receipt nor a proof"]
    faults = [] if content == again else ["it is not written as canonical JSON, and so was altered"]
    if found["form"] == proof.FORM:
        fault = proof.proof_fault(found)
        return found, faults + ([fault] if fault else [])
    return found, faults + _faults(found)


def _faults(receipt: dict[str, Any]) -> list[str]:
    """What is wrong with a receipt by itself."""
    faults = []
    if set(receipt) - {"signature"} != _MEMBERS:
        faults.append("members are missing, or there are others")
    if receipt.get("digest") != digest_of(receipt):
        faults.append("its digest is another: something was altered")
    if "signature" in receipt and (fault := signature_fault(receipt)):
        faults.append(fault)
    try:
        broken = [one["identity"] for one in receipt["accounting"] if one["whole"] != one["parts"]]
    except (KeyError, TypeError):
        broken = ["accounting"]
    return faults + [f"it does not hold that {each}" for each in broken]


def differences_from_run(receipt: dict[str, Any], run: StoredRun) -> list[str]:
    """How a receipt, or a proof, differs from what the run says now; raises as `receipt_of` does."""
    now = receipt_of(run, now=0)
    if receipt["form"] == proof.FORM:
        delivered = now["delivered"]
        same = receipt.get("root") == delivered["root"] and receipt.get("count") == delivered["count"]
        return [] if same else ["the run has delivered other calls"]
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
    """Why a proof is of none of some receipts; empty where it is of one, or there is none."""
    if not receipts:
        return ""
    tree = {"root": found.get("root"), "count": found.get("count")}
    return "" if any(one.get("delivered") == tree for one in receipts) else "it is of none of the receipts beside it"
