"""The proof that one delivered call is in a receipt: its place, and its audit path."""

from __future__ import annotations

import re
from collections.abc import Iterator
from hashlib import sha256
from typing import Any, Final
from uuid import UUID

from backfill.errors import UsageError
from backfill.receipt.content import leaves_of, with_digest
from backfill.receipt.merkle import MerkleTree, audit_path, root_of_path
from backfill.records import StoredRun

FORM: Final = "backfill-proof-v1"
_UUID: Final = re.compile("[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")


def id_bytes(message_id: str) -> bytes:
    """The sixteen bytes of a message id: a UUID's own, where it is one in lower case, else of its SHA-256."""
    return UUID(message_id).bytes if _UUID.fullmatch(message_id) else sha256(message_id.encode()).digest()[:16]


def proof_of(run: StoredRun, message_id: str) -> dict[str, Any]:
    """The proof that a call was delivered by a run.

    Raises:
        UsageError: The run has delivered no call of that id.
        LedgerError: Ledger or calls files are gone or damaged.
    """
    wanted, found = id_bytes(message_id), -1
    tree = MerkleTree()
    for identity in _delivered(run):
        if identity == wanted and found < 0:
            found = tree.size
        tree.add(identity)
    if found < 0:
        raise UsageError(
            f"{run.run_id} has delivered no call of the id {message_id}",
            hint="`backfill status --message-id ID` looks through all runs",
        )
    path = audit_path(_delivered(run), found, tree.size)
    return with_digest(
        {
            "form": FORM,
            "run_id": run.run_id,
            "message_id": message_id,
            "index": found,
            "count": tree.size,
            "path": [each.hex() for each in path],
            "root": tree.root.hex(),
        }
    )


def _delivered(run: StoredRun) -> Iterator[bytes]:
    """The ids of all delivered calls, in plan order."""
    with run.read() as reader:
        for _, ids in leaves_of(run, reader):
            yield from ids


def path_faults(proof: dict[str, Any]) -> list[str]:
    """What is wrong with the path of a proof of the right form."""
    leaf = id_bytes(proof["message_id"])
    root = root_of_path(leaf, proof["index"], proof["count"], [bytes.fromhex(each) for each in proof["path"]])
    return [] if root is not None and root.hex() == proof["root"] else ["its path does not lead to its root"]
