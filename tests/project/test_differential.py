"""The comparison of two versions (`make differential`): what it takes for a difference, and what not."""

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.differential.cases import Case
from tests.differential.comparison import differences
from tests.differential.made_jobs import made_case
from tests.differential.versions import Outcome, Version

CASE = Case("case", lambda folder: None, "job.yaml", [])
CALLS = [b'{"type":"track","messageId":"%d"}' % number for number in range(40)]
SHARD = 30  # calls in the first one


def outcome(*ends: int, calls: list[bytes] = CALLS) -> Outcome:
    """What a run comes to whose batches end after so many calls; the last ones are another shard's."""
    starts = [0, *ends[:-1]]
    bodies = [b'{"batch":[' + b",".join(calls[start:end]) for start, end in zip(starts, ends, strict=True)]
    leaves: list[tuple[Any, ...]] = []
    for start, end, body in zip(starts, ends, bodies, strict=True):
        shard, place = divmod(start, SHARD)
        leaves.append((shard, place, end - start, len(body), "delivered", "delivered", None, None))
    ledger: dict[str, list[tuple[Any, ...]]] = {"counts": [(len(calls),)], "leaves": leaves, "digest": [(str(ends),)]}
    result = {"words": ["run", "job.yaml", "json"], "code": 0, "err": "", "out": f'{{"batches": {len(ends)}}}\n'}
    return Outcome(results=[result], bodies=bodies, ledgers=[ledger])


def found(old: Outcome, new: Outcome, case: Case = CASE) -> list[str]:
    """What the differences are about."""
    return [one.partition(":")[0] for one in differences(case, old, new)]


BEFORE = outcome(10, 25, 30, 40)
OTHER_CALL = [*CALLS[:7], b'{"type":"page","messageId":"7"}', *CALLS[8:]]
OTHER_ORDER = [CALLS[1], CALLS[0], *CALLS[2:]]


def test_the_first_shard_may_be_cut_otherwise() -> None:
    """The same calls in the same order, in other batches, until the second shard begins."""
    assert found(BEFORE, BEFORE) == []
    assert found(BEFORE, outcome(10, 20, 30, 40)) == []


@pytest.mark.parametrize(
    ("new", "about"),
    [
        (outcome(10, 25, 30, 35, 40), ["batches behind the first shard", "ledger, batches behind the first shard"]),
        (outcome(12, 25, 30, 40), ["calls of the first batch"]),
        (outcome(10, 25, 30, 40, calls=OTHER_CALL), ["calls"]),
        (outcome(10, 25, 30, 40, calls=OTHER_ORDER), ["order of calls"]),
        (outcome(10, 25, 30, 39, calls=CALLS[:39]), ["calls", "ledger, counts", "ledger, calls"]),
        (replace(BEFORE, ended="killed"), ["ended"]),
        (replace(BEFORE, results=[BEFORE.results[0] | {"code": 3}]), ["run job.yaml"]),
        (replace(BEFORE, results=[BEFORE.results[0] | {"out": '{"batches": 5}\n'}]), ["run job.yaml"]),
        (replace(BEFORE, exports={"export.ndjson": "{}"}), ["export.ndjson"]),
    ],
)
def test_nothing_else_may_differ(new: Outcome, about: list[str]) -> None:
    """Each other difference is told."""
    assert [one for one in found(BEFORE, new) if one in about] == about


def test_a_version_is_not_different_from_itself(tmp_path: Path) -> None:
    """A made-up case through the real program, twice."""
    case = made_case(0)
    with Version(Path(sys.executable), tmp_path / "version") as version:
        one, other = (version.run(replace(case, name=name)) for name in ("one", "other"))
    assert one.results
    assert one.bodies
    assert found(one, other, case) == []
