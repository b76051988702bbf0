"""What every test starts from: an environment without the developer's own settings, and hypothesis profiles."""

import logging
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from hypothesis import HealthCheck, settings

from backfill.sandbox import Sandbox
from tests.support.delivery_fakes import Endpoint
from tests.support.lives import Life
from tests.support.mariadb import MariaDb, running_mariadb
from tests.support.postgres import Postgres, running_server
from tests.support.processes import all_ended
from tests.support.projects import KEY, Project
from tests.support.sandbox_calls import client_of

# No deadline: a shared machine makes single examples slow without making them wrong. In CI the examples are the same
# at each run, so that a red build is red again; at a desk they differ, so that they find new things.
# `make mutants` runs a test several times in one process, the second time as a method of another object.
OFF = [HealthCheck.too_slow, HealthCheck.differing_executors]
settings.register_profile("desk", deadline=None, suppress_health_check=OFF)
settings.register_profile("ci", settings.get_profile("desk"), derandomize=True, print_blob=True)
settings.load_profile("ci" if os.environ.get("CI") else "desk")

#: A file system in memory, and the bytes that have to be free there. Ledgers and spools force every write, which takes
#: a disk some milliseconds each time, and the suite minutes; what a disk keeps is tested with the writes recorded.
IN_MEMORY = Path("/dev/shm")
ROOM_BYTES = 2 * 2**30


def pytest_configure(config: pytest.Config) -> None:
    """The folders of the tests are in memory where there is room, unless pytest was told another place."""
    told = config.getoption("basetemp") or "PYTEST_DEBUG_TEMPROOT" in os.environ
    if not told and os.access(IN_MEMORY, os.W_OK) and shutil.disk_usage(IN_MEMORY).free >= ROOM_BYTES:
        os.environ["PYTEST_DEBUG_TEMPROOT"] = str(IN_MEMORY)


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No write key, option, server, proxy or taste in colours of the shell reaches a test or a process it starts."""
    for name in list(os.environ):
        ours = name.startswith(("BACKFILL_", "SEGMENT_", "PG")) or name in ("NO_COLOR", "FORCE_COLOR")
        if ours or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)


@pytest.fixture(autouse=True)
def _logs_as_in_a_new_process() -> Iterator[None]:
    """A test that ran the command line leaves our loggers as they were, so that the next one sees what is logged."""
    logger = logging.getLogger("backfill")
    before = (logger.propagate, logger.level, list(logger.handlers))
    yield
    logger.propagate = before[0]
    logger.setLevel(before[1])  # which also forgets what the loggers below it have worked out
    logger.handlers[:] = before[2]


@pytest.fixture(autouse=True)
def _no_process_stays() -> Iterator[None]:
    """A failing test leaves no process behind that is another one's warning."""
    with all_ended():
        yield


@pytest.fixture(scope="session")
def repository() -> Path:
    """The top folder of the checkout: jobs/, sample_data/ and docs/ are below it."""
    return Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A PostgreSQL server, one for each process of tests: a test makes a database of its own there."""
    with running_server() as server:
        yield server


@pytest.fixture(scope="session")
def mariadb() -> Iterator[MariaDb]:
    """A MariaDB server, one for each process of tests: a test makes a database of its own there."""
    with running_mariadb() as server:
        yield server


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """An empty project."""
    return Project(tmp_path, {"SEGMENT_WRITE_KEY": KEY})


@pytest.fixture
def key(monkeypatch: pytest.MonkeyPatch) -> str:
    """The write key in the environment."""
    monkeypatch.setenv("SEGMENT_WRITE_KEY", KEY)
    return KEY


@pytest.fixture
def endpoint() -> Iterator[str]:
    """An endpoint that takes everything, for live runs."""
    with Sandbox() as sandbox:
        yield sandbox.endpoint


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    """A sandbox in memory."""
    with Sandbox() as running:
        yield running


@pytest.fixture
def client(sandbox: Sandbox) -> Iterator[httpx.Client]:
    """A client of that sandbox, with a write key."""
    with client_of(sandbox.endpoint, auth=("a-key", "")) as one:
        yield one


@pytest.fixture
def far_from_utc(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A machine whose local time is another one than that of UTC."""
    with monkeypatch.context() as patch:
        patch.setenv("TZ", "America/New_York")
        time.tzset()
        yield
    time.tzset()


@pytest.fixture
def life(tmp_path: Path) -> Iterator[Life]:
    """A run about to be sent."""
    with Endpoint() as endpoint:
        yield Life(tmp_path / "ledger.sqlite3", endpoint)
