"""Endpoints for live runs on the command line."""

from __future__ import annotations

import subprocess

from backfill.sandbox import FaultScript, Sandbox
from tests.support.waiting import until


def faulty(*rules: str) -> Sandbox:
    """An endpoint with scripted faults."""
    return Sandbox(faults=FaultScript.parse(list(rules)))


def wait_for_request(sandbox: Sandbox, process: subprocess.Popen[str]) -> None:
    """Wait until the endpoint has stored some calls."""
    until(lambda: sandbox.stats()["received"] >= 10, process)
