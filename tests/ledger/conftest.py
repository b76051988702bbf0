"""The subjects of the contract suites: each of them is run with every implementation there is."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from backfill.records import RunStore, StoredRun
from tests.support.ledgers import RECORD
from tests.support.postgres import Postgres
from tests.support.stores import FOLDER, store_in


@pytest.fixture(params=[FOLDER, "postgresql"])
def kind(request: pytest.FixtureRequest) -> str:
    """What keeps the runs of a test: `folder`, or the URL of a database without any."""
    if request.param == FOLDER:
        return FOLDER
    server: Postgres = request.getfixturevalue("postgres")
    return server.url(server.new_database())


@pytest.fixture
def store(kind: str, tmp_path: Path) -> RunStore:
    """A store without runs."""
    store = store_in(kind, tmp_path / ".backfill")
    store.make_usable()
    return store


@pytest.fixture
def run(store: RunStore) -> Iterator[StoredRun]:
    """A run that has not begun, whose lock is held."""
    run = store.run(RECORD.run_id)
    with store.lock(run.run_id):
        run.make()
        yield run
