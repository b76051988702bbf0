"""Endpoints for live runs on the command line."""

from __future__ import annotations

import subprocess
import time

from backfill.sandbox import FaultScript, Sandbox


def faulty(*rules: str) -> Sandbox:
    """An endpoint with scripted faults."""
    return Sandbox(faults=FaultScript.parse(list(rules)))


def wait_for_request(sandbox: Sandbox, process: subprocess.Popen[str]) -> None:
    """Wait until the endpoint has stored some calls."""
    while sandbox.stats()["received"] < 10:
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)
