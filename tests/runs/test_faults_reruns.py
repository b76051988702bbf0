"""Killed in runs that come after others: only what is new, abandoned, refused, tried again, in doubt."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.torture.kinds import killed_in
from tests.torture.scenarios import stage
from tests.torture.trial import Bench
from tests.torture.zygote import Zygote

#: Scenarios, and what stands in the names of the points at which one process after the other is killed.
KILLS = [
    ("only-new", ("delivered/", "rename runs/", "recv endpoint")),
    ("abandon", ("earlier", "UPDATE batches")),
    ("refusing", (".refused.parquet.tmp", "unlink")),
    ("retry-rejected", ("rename runs/", "UPDATE batches")),
    ("retry-rejected", ("/spool/000000.segment #",)),
    ("retry-rejected", ("/spool/000000.retried.parquet #",)),
    ("resend", ("INSERT INTO", "send endpoint")),
    ("skip", ("UPDATE batches", "unlink")),
]


@pytest.fixture(scope="module")
def bench(zygote: Zygote, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Bench]]:
    """Gives a scenario's bench."""
    with stage(zygote, tmp_path_factory.mktemp("reruns")) as made:
        yield made


@pytest.mark.parametrize(("name", "places"), KILLS, ids=[name for name, _ in KILLS])
def test_killed_and_gone_on_with(bench: Callable[[str], Bench], name: str, places: tuple[str, ...]) -> None:
    """What arrives, and what the ledger says of it, is that of the same way undisturbed."""
    assert killed_in(bench(name), name, places)
