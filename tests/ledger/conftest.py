"""The subjects of the contract suites: each of them is run with every implementation there is."""

from pathlib import Path

import pytest

from backfill.records import RunStore, StoredRun
from tests.support.stores import SHARING, STORES, run_in


@pytest.fixture(params=sorted({*STORES} - {*SHARING}))
def kind(request: pytest.FixtureRequest) -> str:
    """What keeps the runs of a test."""
    return str(request.param)


@pytest.fixture
def store(kind: str, tmp_path: Path) -> RunStore:
    """A store without runs."""
    store = STORES[kind](tmp_path / ".backfill")
    store.make_usable()
    return store


@pytest.fixture
def run(kind: str, tmp_path: Path) -> StoredRun:
    """A run that has not begun."""
    return run_in(kind, tmp_path / ".backfill")
