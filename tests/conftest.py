"""What every test starts from: an environment without the developer's own settings, and hypothesis profiles."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests.processes import all_ended

# No deadline: a shared machine makes single examples slow without making them wrong. In CI the examples are the same
# at each run, so that a red build is red again; at a desk they differ, so that they find new things.
settings.register_profile("desk", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("ci", settings.get_profile("desk"), derandomize=True, print_blob=True)
settings.load_profile("ci" if os.environ.get("CI") else "desk")


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No write key, option, proxy or taste in colours of the shell reaches a test or a process that it starts."""
    for name in list(os.environ):
        ours = name.startswith(("BACKFILL_", "SEGMENT_")) or name in ("NO_COLOR", "FORCE_COLOR")
        if ours or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)


@pytest.fixture(autouse=True)
def _no_process_stays() -> Iterator[None]:
    """A failing test leaves no process behind that is another one's warning."""
    with all_ended():
        yield


@pytest.fixture(scope="session")
def repository() -> Path:
    """The top folder of the checkout: jobs/, sample_data/ and docs/ are below it."""
    return Path(__file__).resolve().parent.parent
