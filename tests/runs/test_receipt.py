"""Receipts: what they say of a run, that nothing in them can be altered unseen, and that a stranger can check them."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from hypothesis import given
from hypothesis import strategies as st

from backfill.identity import message_id, namespace
from backfill.receipt.check import read
from backfill.receipt.content import canonical, with_digest
from backfill.receipt.merkle import MerkleTree, audit_path, root_of_path
from backfill.sandbox import FaultScript, Sandbox
from backfill.targets.secret import Secret
from tests.support.projects import Project, backfill

KEY, ROWS, REFUSED = "a-write-key-of-nobody", 300, "u000003"


def write_key(path: Path, encryption: KeySerializationEncryption | None = None) -> Ed25519PrivateKey:
    """A new private key in a file of mode 0600, its public one beside it."""
    key = Ed25519PrivateKey.generate()
    path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption or NoEncryption()))
    path.chmod(0o600)
    public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    path.with_suffix(".pub").write_bytes(public)
    return key


@dataclass(frozen=True)
class Room:
    """A finished live run of which one call was refused and a row rejected; its signed receipt, and a proof."""

    folder: Path
    job: Path

    @property
    def receipt(self) -> Path:
        """Signed."""
        return self.folder / "receipt.json"

    @property
    def proof(self) -> Path:
        """Of the call of u000008."""
        return self.folder / "proof.json"


def id_of(number: int) -> str:
    """The message id of a person."""
    return message_id(namespace(Secret(KEY).sha256[:12], "people", "identify", 1), [f"u{number:06}"])


@pytest.fixture(scope="module")
def room(tmp_path_factory: pytest.TempPathFactory) -> Room:
    """Made once."""
    folder = tmp_path_factory.mktemp("receipt")
    job = Project(folder).people(ROWS, bad=[20])
    made = Room(folder, job)
    write_key(folder / "key.pem")
    rules = [f"status=400,holding={REFUSED}"]
    with Sandbox(faults=FaultScript.parse(rules)) as sandbox, pytest.MonkeyPatch.context() as patch:
        patch.setenv("SEGMENT_WRITE_KEY", KEY)
        assert backfill("run", job, "--target", "segment", "--endpoint", sandbox.endpoint, "--yes").code == 3
    told = backfill("receipt", job, "-o", made.receipt, "--by", "Ada", "--sign", folder / "key.pem")
    assert told.code == 0, told.err
    assert backfill("receipt", job, "--prove", id_of(8), "-o", made.proof).code == 0
    return made


def test_what_it_says(room: Room) -> None:
    """Who, what and when, with counts that add up; no write key, no person, no call."""
    text = room.receipt.read_text("utf-8")
    told = json.loads(text)
    assert (told["notices"], told["made_by"]["by"], told["run"]["state"]) == ([], "Ada", "finished")
    assert told["run"]["live"] is True
    assert told["counts"]["delivered"] == told["delivered"]["count"] == ROWS - 2
    assert (told["counts"]["rejected"], told["counts"]["refused"]) == (2, 1)
    assert [one["whole"] == one["parts"] for one in told["accounting"]] == [True] * 3
    (source,) = told["source"]
    assert source["sha256"] == sha256((room.folder / "people.csv").read_bytes()).hexdigest()
    assert not re.search(f"{KEY}|example|u0000", text)


def test_a_check_by_itself_and_beside_the_run(room: Room) -> None:
    """It is valid alone, beside its run and by its key; not by another one's, nor beside a run that says otherwise."""
    public = room.folder / "key.pub"
    assert backfill("receipt", "--check", room.receipt, "--public-key", public).code == 0
    beside = backfill("receipt", room.job, "--check", room.receipt, "--check", room.proof)
    assert beside.code == 0
    assert "valid, and what people-segment-g1-" in beside.out
    assert f"{id_of(8)} is call 8 of {ROWS - 2:,} delivered" in beside.out
    write_key(room.folder / "other.pem")
    strange = backfill("receipt", "--check", room.receipt, "--public-key", room.folder / "other.pub")
    assert (strange.code, "it is not signed with that key" in strange.out) == (3, True)


def test_no_byte_can_be_altered(room: Room, tmp_path: Path) -> None:
    """A receipt or a proof of which any one byte is another is not valid; nor is one without its last."""
    for original in (room.receipt, room.proof):
        content = original.read_bytes()
        file = tmp_path / original.name
        unseen = []
        for place in range(len(content)):
            altered = bytearray(content)
            altered[place] ^= 1 << (place % 7)
            file.write_bytes(altered)
            if not read(file)[1]:
                unseen.append((place, content[place - 20 : place + 20]))
        file.write_bytes(content[:-1])
        assert read(file)[1]
        assert unseen == []


def test_a_signature_cannot_be_left_out_or_replaced(room: Room, tmp_path: Path) -> None:
    """Where a key is asked for, a receipt without a signature, or signed anew, is not valid."""
    told = json.loads(room.receipt.read_bytes())
    del told["signature"]
    bare = tmp_path / "bare.json"
    bare.write_text(json.dumps(told, sort_keys=True, separators=(",", ":")) + "\n", "utf-8")
    assert backfill("receipt", "--check", bare).code == 0
    assert backfill("receipt", "--check", bare, "--public-key", room.folder / "key.pub").code == 3


def test_keys_that_are_none(room: Room, tmp_path: Path) -> None:
    """A key that others may read, that has a password, or is none is refused, and the message says what to do."""
    key = tmp_path / "key.pem"
    write_key(key)
    key.chmod(0o644)
    assert f"Hint: chmod 600 {key}" in backfill("receipt", room.job, "--sign", key).err
    write_key(key, BestAvailableEncryption(b"secret"))
    assert "without a password" in backfill("receipt", room.job, "--sign", key).err
    key.write_text("none", "utf-8")
    assert backfill("receipt", room.job, "--sign", key).code == 2


def test_only_what_was_delivered_is_proven(room: Room) -> None:
    """The id of a refused call, of a rejected row or of nobody has no proof; a proof of another receipt is told."""
    for number in (3, 20, 999):
        found = backfill("receipt", room.job, "--prove", id_of(number))
        assert found.code == 2
        assert "has delivered no call of the id" in found.err


def test_the_strangers_program(room: Room, repository: Path, tmp_path: Path) -> None:
    """The program in docs/proof.md, of some sixty lines, finds receipt and proof valid, and altered ones not."""
    (program,) = re.findall(
        r"^```python\n(.*?)^```", (repository / "docs" / "proof.md").read_text("utf-8"), re.MULTILINE | re.DOTALL
    )
    script = tmp_path / "check.py"
    script.write_text(program, "utf-8")

    def ran(*files: Path) -> subprocess.CompletedProcess[str]:
        return subprocess.run([sys.executable, script, *files], capture_output=True, text=True, check=False)

    found = ran(room.receipt, room.proof)
    assert found.returncode == 0, found.stderr
    assert found.stdout.endswith(f"{ROWS - 2} delivered\n")
    assert len(program.splitlines()) < 70
    altered = tmp_path / "altered.json"
    altered.write_bytes(room.proof.read_bytes().replace(id_of(8).encode(), id_of(9).encode()))
    assert ran(room.receipt, altered).returncode == 1


def test_a_sandbox_and_a_run_that_goes_on(project: Project, tmp_path: Path) -> None:
    """A receipt says where nothing left the machine, and where calls may be sent yet; it is of no dry run."""
    job = project.people(50)
    backfill("run", job, "--target", "sandbox", "--canary")
    first = backfill("receipt", job, "-o", tmp_path / "first.json")
    assert "SANDBOX: nothing of this run left this machine" in first.err
    assert "UNFINISHED: calls may be sent yet" in first.err
    told = json.loads((tmp_path / "first.json").read_bytes())
    assert (told["run"]["state"], told["delivered"]["count"], told["counts"]["pending"]) == ("stopped", 10, 40)
    backfill("resume", job)
    beside = backfill("receipt", job, "--check", tmp_path / "first.json")
    assert beside.code == 3
    assert "the run has it otherwise: run.state is another" in beside.out
    assert json.loads(backfill("receipt", job).out)["notices"] == ["SANDBOX: nothing of this run left this machine"]
    other = project.people(5, name="other")
    backfill("dry-run", other)
    assert "is a dry run" in backfill("receipt", other).err


def plain_root(leaves: list[bytes]) -> bytes:
    """MTH of RFC 9162, section 2.1.1, as it is written there."""
    if not leaves:
        return sha256().digest()
    if len(leaves) == 1:
        return sha256(b"\x00" + leaves[0]).digest()
    middle = 1
    while middle * 2 < len(leaves):
        middle *= 2
    return sha256(b"\x01" + plain_root(leaves[:middle]) + plain_root(leaves[middle:])).digest()


@given(st.lists(st.binary(max_size=4), max_size=40), st.data())
def test_trees_are_those_of_the_standard(leaves: list[bytes], data: st.DataObject) -> None:
    """The root is MTH, however many leaves; each leaf's path leads to it, and to nothing from another place."""
    tree = MerkleTree()
    for leaf in leaves:
        tree.add(leaf)
    assert tree.root == plain_root(leaves)
    if leaves:
        index = data.draw(st.integers(0, len(leaves) - 1))
        path = audit_path(leaves, index, len(leaves))
        assert root_of_path(leaves[index], index, len(leaves), path) == tree.root
        assert root_of_path(leaves[index] + b"x", index, len(leaves), path) != tree.root
        assert root_of_path(leaves[index], index, len(leaves), [*path, b""]) is None
        assert len(path) <= len(leaves).bit_length()


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"delivered": {"count": ROWS, "root": "0" * 64}}, "it counts other calls as delivered than it has a root of"),
        ({"accounting": []}, "its accounting is not of its counts"),
        ({"counts": {}}, "counts are missing, or there are others"),
        ({"notices": ["SANDBOX: nothing of this run left this machine"]}, "its notices are not of its run"),
        ({"in_doubt": {"batches": 1, "calls": 5, "first": []}}, "it counts other calls as in doubt than it lists"),
        ({"delivered": None}, "delivered is not as the form has it"),
        ({"notices": 5}, "notices is not as the form has it"),
        ({"more": 1}, "more is not as the form has it"),
    ],
)
def test_a_receipt_that_contradicts_itself(room: Room, tmp_path: Path, change: dict[str, object], told: str) -> None:
    """Whoever makes the digest anew has to alter all that hangs together; what has no form is told, without a crash."""
    receipt = json.loads(room.receipt.read_bytes())
    del receipt["signature"]
    file = tmp_path / "receipt.json"
    file.write_bytes(canonical(with_digest(receipt | change)) + b"\n")
    found = backfill("receipt", "--check", file)
    assert (found.code, told in found.out) == (3, True), found.out + found.err


@pytest.mark.parametrize("change", [{"run_id": "another"}, {"note": "x"}, {"path": ["AA " * 32]}, {"index": True}])
def test_a_proof_that_says_more_than_it_proves(room: Room, tmp_path: Path, change: dict[str, object]) -> None:
    """A proof names the run of its receipt, and holds nothing that no path leads from."""
    file = tmp_path / "proof.json"
    file.write_bytes(canonical(with_digest(json.loads(room.proof.read_bytes()) | change)) + b"\n")
    assert backfill("receipt", "--check", room.receipt, "--check", file).code == 3
    assert backfill("receipt", room.job, "--check", file).code == 3


def test_json_without_end_is_no_receipt(tmp_path: Path) -> None:
    """JSON that is nested deeper than can be read is told, too."""
    file = tmp_path / "deep.json"
    file.write_text("[" * 200_000, "utf-8")
    assert (found := backfill("receipt", "--check", file)).code == 3
    assert "it is no JSON that a receipt could be" in found.out
