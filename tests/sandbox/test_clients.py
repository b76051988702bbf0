"""Libraries of others deliver through the sandbox: each is content, and each of its calls is held, once."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import httpx
import pytest
from rudderstack.analytics.client import Client as RudderStackClient
from segment.analytics.client import Client as SegmentClient

from backfill.sandbox import Sandbox

NODE = Path(__file__).parent / "node"
#: What npm says of a registry that it does not reach.
UNREACHED = ("ENOTFOUND", "EAI_AGAIN", "ECONNREFUSED", "ECONNRESET", "ETIMEDOUT", "ENETUNREACH")
#: What every library is given to send.
SENT = {"track": 300, "identify": 1, "page": 1, "screen": 1, "group": 1, "alias": 1}


def all_held(sandbox: Sandbox) -> None:
    """Each call of the library is in the sandbox, and nothing was refused, dropped or sent twice."""
    stats = sandbox.stats()
    assert stats["by_type"] == SENT
    assert (stats["accepted"], stats["duplicate"], stats["dropped"], stats["refused"]) == (305, 0, {}, {})


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("library", [SegmentClient, RudderStackClient], ids=["segment", "rudderstack"])
def test_libraries_for_python(sandbox: Sandbox, library: type[SegmentClient], packed: bool) -> None:
    """segment-analytics-python and rudder-sdk-python."""
    failures: list[object] = []
    client = library(
        "a-key",
        host=sandbox.endpoint,
        gzip=packed,
        on_error=lambda error, items: failures.append(error),
        sync_mode=False,
    )
    for n in range(300):
        client.track(f"u{n}", "Order Completed", {"text": "é" * 3000 if n % 50 == 0 else "x", "n": n})
    client.identify("u1", {"plan": "pro"})
    client.page("u1", "Shop", "Home")
    client.screen("u1", "App", "Start")
    client.group("u1", "g1", {"name": "Acme"})
    client.alias("a1", "u1")
    client.shutdown()
    assert failures == []
    all_held(sandbox)
    text = httpx.get(f"{sandbox.endpoint}/calls").text
    assert "a-key" not in text


@pytest.fixture(scope="module")
def node_packages() -> Path:
    """A folder with the packages of the lock file, installed once for each; skipped where that cannot be."""
    if not (shutil.which("node") and shutil.which("npm")):
        pytest.skip("Node.js and npm are not here: @segment/analytics-node was not tried")
    lock = (NODE / "package-lock.json").read_bytes()
    installed = Path(sys.prefix) / "node-clients" / hashlib.sha256(lock).hexdigest()[:16]
    if not installed.is_dir():
        installed.parent.mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory(dir=installed.parent) as folder:
            made = Path(folder) / "made"
            shutil.copytree(NODE, made)
            words = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
            end = subprocess.run(words, cwd=made, capture_output=True, text=True, timeout=240, check=False)
            if any(code in end.stderr for code in UNREACHED):
                pytest.skip("npm reaches no registry: @segment/analytics-node was not tried")
            assert end.returncode == 0, end.stderr
            made.replace(installed)
    return installed


def test_the_library_for_node(sandbox: Sandbox, node_packages: Path) -> None:
    """@segment/analytics-node, which is asynchronous, and sends several batches at once."""
    shutil.copy(NODE / "send.js", node_packages)
    words = ["node", "send.js", sandbox.endpoint]
    end = subprocess.run(
        words, cwd=node_packages, env=os.environ, capture_output=True, text=True, timeout=100, check=False
    )
    assert (end.returncode, end.stderr, json.loads(end.stdout or "null")) == (0, "", [])
    all_held(sandbox)


def test_the_lock_names_no_host() -> None:
    """Packages are known by their digests; where they come from is the machine's business."""
    packages = json.loads((NODE / "package-lock.json").read_text("utf-8"))["packages"]
    assert len(packages) > 5
    assert all("resolved" not in package for package in packages.values())
    assert all(package["integrity"].startswith("sha512-") for name, package in packages.items() if name)
