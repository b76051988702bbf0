"""Message ids: the golden vectors, the standard library, and the snippets that the documentation gives away."""

import hashlib
import json
import re
import shutil
import subprocess
import sys
import uuid
from pathlib import Path
from typing import Any

import duckdb
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backfill import identity

GOLDEN: list[dict[str, Any]] = json.loads((Path(__file__).parents[1] / "golden" / "ids.json").read_text("utf-8"))

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)


def documented(repository: Path, language: str) -> str:
    """The one code block of docs/message-ids.md in that language."""
    page = (repository / "docs" / "message-ids.md").read_text("utf-8")
    (block,) = re.findall(rf"^```{language}\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
    return str(block)


def by_hand(space: uuid.UUID, name: str) -> uuid.UUID:
    """A version-5 UUID as RFC 9562, section 5.5 describes it, without the standard library's own."""
    octets = bytearray(hashlib.sha1(space.bytes + name.encode()).digest()[:16])
    octets[6] = octets[6] & 0x0F | 0x50
    octets[8] = octets[8] & 0x3F | 0x80
    return uuid.UUID(bytes=bytes(octets))


@pytest.mark.parametrize("vector", GOLDEN, ids=lambda vector: vector["about"].replace("\\", ""))
def test_golden_vectors(vector: dict[str, Any]) -> None:
    """Ids never change: those written down are those computed, and those of the standard library."""
    space = identity.namespace(vector["id_scope"], vector["job"], vector["call"], vector["generation"])
    assert identity.message_id(space, vector["key"]) == vector["message_id"]

    said = [vector["id_scope"], vector["job"], vector["call"], str(vector["generation"])]
    root = uuid.uuid5(uuid.NAMESPACE_URL, "urn:backfill:message-id:v1")
    own = uuid.uuid5(root, json.dumps(said, ensure_ascii=False, separators=(",", ":")))
    assert (
        str(uuid.uuid5(own, json.dumps(vector["key"], ensure_ascii=False, separators=(",", ":"))))
        == (vector["message_id"])
    )


def test_golden_vectors_are_distinct() -> None:
    """No two vectors share an id, so each tells something of its own."""
    assert len({vector["message_id"] for vector in GOLDEN}) == len(GOLDEN)


@given(st.lists(texts, min_size=1, max_size=4), st.lists(texts, min_size=1, max_size=4))
def test_different_keys_have_different_ids(one: list[str], other: list[str]) -> None:
    """An id stands for one key: where values are cut, and how many there are, counts."""
    space = identity.namespace("sandbox", "job", "track", 1)
    assert (identity.message_id(space, one) == identity.message_id(space, other)) == (one == other)


@given(texts, texts, texts, st.integers(1, 99), st.lists(texts, min_size=1, max_size=3))
def test_ids_are_version_5_uuids(scope: str, job: str, call: str, generation: int, key: list[str]) -> None:
    """Every id is the RFC's version-5 UUID of its canonical name, 36 characters in lower case."""
    space = identity.namespace(scope, job, call, generation)
    made = identity.message_id(space, key)
    assert made == str(by_hand(space, identity.canonical(key)))
    assert re.fullmatch(r"[0-9a-f]{8}-[0-9a-f]{4}-5[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}", made)


@given(st.lists(texts, max_size=4))
def test_canonical_reads_back(values: list[str]) -> None:
    """The canonical form loses nothing, and holds no character that its escapes could have spared."""
    text = identity.canonical(values)
    assert json.loads(text) == values
    assert not re.search(r"\\u(?!00[01][0-9a-f])", text.replace("\\\\", ""))


def test_documented_python(repository: Path) -> None:
    """The Python of docs/message-ids.md prints the first golden id."""
    code = documented(repository, "python")
    done = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == GOLDEN[0]["message_id"]


def test_documented_sql(repository: Path) -> None:
    """The SQL of docs/message-ids.md gives the first golden id."""
    with duckdb.connect() as database:
        assert database.execute(documented(repository, "sql")).fetchall() == [(GOLDEN[0]["message_id"],)]


def test_documented_sql_on_every_vector(repository: Path) -> None:
    """The SQL agrees on every golden key but those with U+000B and its like, as the documentation says."""
    macro = documented(repository, "sql").partition(";")[0]
    canonical = "CAST(to_json(?::VARCHAR[]) AS VARCHAR)"
    query = f"SELECT uuid5(uuid5(uuid5(?, ?), {canonical}), {canonical})"
    with duckdb.connect() as database:
        database.execute(macro)
        for vector in GOLDEN:
            if re.search(r"[\x00-\x07\x0b\x0e-\x1f]", "".join(vector["key"])):
                continue
            space = [vector["id_scope"], vector["job"], vector["call"], str(vector["generation"])]
            given_values = [str(uuid.NAMESPACE_URL), "urn:backfill:message-id:v1", space, vector["key"]]
            assert database.execute(query, given_values).fetchall() == [(vector["message_id"],)], vector["about"]


@pytest.mark.skipif(shutil.which("node") is None, reason="Node.js is not installed")
def test_documented_javascript(repository: Path) -> None:
    """The JavaScript of docs/message-ids.md gives every golden id."""
    calls = "".join(
        f"console.log(messageId({', '.join(json.dumps(vector[part]) for part in ('id_scope', 'job', 'call'))},"
        f" {vector['generation']}, {json.dumps(vector['key'])}));\n"
        for vector in GOLDEN
    )
    code = documented(repository, "javascript") + calls
    done = subprocess.run(["node", "-e", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == [vector["message_id"] for vector in (GOLDEN[0], *GOLDEN)]
