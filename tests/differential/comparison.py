"""What is different between two outcomes of one case.

Everything has to be the same but for moments, paths, the names of runs and the wording of problems. One difference is
allowed: how the calls of the shard that holds a run's first batch are cut into batches, since that batch is a short
one and the versions may pack what stands behind it anew or not. It has to be the same calls, byte for byte and in the
same order; and the first batch has to hold ten calls, or all where there are fewer, in both.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from itertools import groupby
from typing import Any

from tests.differential.cases import Case
from tests.differential.versions import Outcome
from tests.torture.receiver import split_calls

FIRST_CALLS = 10
RUN_ID = re.compile(r"\b[\w-]+-g\d+-[0-9a-f]{8}\b")
MESSAGE = re.compile(r'"message":"(?:[^"\\]|\\.)*",')
#: Members of a result that tell of moments, of this machine or of the way; further ones that follow from the cut.
ALWAYS_LEFT_OUT = {"seconds", "run_id", "wire", "job_file", "ledger", "state_at", "first_unknown_at", "delivery"}
LEFT_OUT_WHERE_CUT = {"batches", "requests", "retries", "bytes"}


def differences(case: Case, old: Outcome, new: Outcome) -> list[str]:
    """Each difference that is not allowed, in one sentence."""
    if old.ended or new.ended:
        return [] if old.ended == new.ended else [f"ended: {old.ended!r}, {new.ended!r}"]
    cuts = [[(views["leaves"], views["digest"]) for views in found.ledgers] for found in (old, new)]
    same_bodies = sorted(old.bodies) == sorted(new.bodies)
    same_cut = same_bodies and cuts[0] == cuts[1]
    return [
        *([] if same_bodies else other_bodies(case, old, new)),
        *other_results(old, new, set() if same_cut else LEFT_OUT_WHERE_CUT),
        *other_ledgers(case, old, new, same_cut=same_cut),
        *other_exports(old, new),
    ]


def other_exports(old: Outcome, new: Outcome) -> Iterator[str]:
    """Differences of the files that commands wrote."""
    for name in sorted({*old.exports, *new.exports}):
        texts = [MESSAGE.sub("", RUN_ID.sub("RUN", found.exports.get(name, "(none)"))) for found in (old, new)]
        if texts[0] != texts[1]:
            yield f"{name}: {first_difference(*(text.splitlines() for text in texts))}"


def other_bodies(case: Case, old: Outcome, new: Outcome) -> Iterator[str]:
    """What is wrong with bodies that are not the same."""
    calls = [[split_calls(body.decode()) for body in found.bodies] for found in (old, new)]
    flat = [[call for body in bodies for call in body] for bodies in calls]
    if Counter(flat[0]) != Counter(flat[1]):
        yield f"calls: {first_difference(*map(sorted, flat))}"
        return
    if case.in_order and flat[0] != flat[1]:
        yield f"order of calls: {first_difference(*flat)}"
    if case.in_order and (most := first_shard_calls(old)) is not None:
        cuts = [list(body_ends(bodies, most)) for bodies in calls]
        if cuts[0] != cuts[1]:
            yield f"batches behind the first shard: {first_difference(*cuts)}"
    if case.in_order and len({len(bodies[0]) for bodies in calls}) > 1:
        yield f"calls of the first batch: {[len(bodies[0]) for bodies in calls]}"


def first_shard_calls(found: Outcome) -> int | None:
    """The calls of the shard that is delivered first; None where there were several runs."""
    if len(found.ledgers) != 1:
        return None
    leaves = found.ledgers[0]["leaves"]
    return sum(leaf[2] for leaf in leaves if leaf[0] == leaves[0][0])


def body_ends(bodies: list[list[tuple[str, bytes]]], beyond: int) -> Iterator[int]:
    """After how many calls each body ends, of those that end behind so many."""
    count = 0
    for body in bodies:
        count += len(body)
        if count >= beyond:
            yield count


def other_results(old: Outcome, new: Outcome, left_out: set[str]) -> Iterator[str]:
    """Differences of exit codes and of JSON results."""
    for one, other in zip(old.results, new.results, strict=True):
        name = " ".join(one["words"][:2])
        if one["code"] != other["code"]:
            yield f"{name}: exit code {one['code']}, {other['code']}: {one['err'][-300:]!r}, {other['err'][-300:]!r}"
        if "json" not in one["words"]:
            continue
        objects = [
            [without(json.loads(line), ALWAYS_LEFT_OUT | left_out) for line in each["out"].splitlines()]
            for each in (one, other)
        ]
        if objects[0] != objects[1]:
            yield f"{name}: {first_difference(*(flattened(one) for one in objects))}"


def without(value: Any, names: set[str]) -> Any:
    """A JSON document without members of these names, wherever they are."""
    if isinstance(value, dict):
        return {name: without(inner, names) for name, inner in value.items() if name not in names}
    if isinstance(value, list):
        return [without(inner, names) for inner in value]
    return value


def flattened(value: Any, path: str = "") -> list[tuple[str, Any]]:
    """The leaves of a JSON document with their paths."""
    if isinstance(value, dict | list):
        pairs = value.items() if isinstance(value, dict) else enumerate(value)
        return [leaf for name, inner in pairs for leaf in flattened(inner, f"{path}/{name}")]
    return [(path, value)]


def other_ledgers(case: Case, old: Outcome, new: Outcome, *, same_cut: bool) -> Iterator[str]:
    """Differences of what the ledgers hold."""
    if len(old.ledgers) != len(new.ledgers):
        yield f"runs: {len(old.ledgers)}, {len(new.ledgers)}"
        return
    loose = {"leaves", "digest", "attempts"}
    for one, other in zip(old.ledgers, new.ledgers, strict=True):
        for name in one:
            if name == "attempts" and not case.in_order:
                continue
            if (same_cut or name not in loose) and one[name] != other[name]:
                yield f"ledger, {name}: {first_difference(one[name], other[name])}"
        if not same_cut:
            calls = [list(calls_of(views)) for views in (one, other)]
            if calls[0] != calls[1]:
                yield f"ledger, calls: {first_difference(*calls)}"
            rest = [list(groups_behind_first(views)) for views in (one, other)]
            if not case.poisoned and rest[0] != rest[1]:
                yield f"ledger, batches behind the first shard: {first_difference(*rest)}"


def calls_of(views: dict[str, list[tuple[Any, ...]]]) -> Iterator[tuple[Any, ...]]:
    """What the ledger says of each call: its shard, its place there, and what became of it."""
    for shard, first, calls, _, *rest in views["leaves"]:
        for place in range(calls):
            yield shard, first + place, *rest


def groups_behind_first(views: dict[str, list[tuple[Any, ...]]]) -> Iterator[list[tuple[Any, ...]]]:
    """The batches of each shard behind the first that has any."""
    shards = [list(group) for _, group in groupby(views["leaves"], key=lambda leaf: leaf[0])]
    yield from shards[1:]


def first_difference(one: list[Any], other: list[Any]) -> str:
    """Where two lists begin to differ, in a line."""
    for place, (left, right) in enumerate(zip(one, other, strict=False)):
        if left != right:
            return f"[{place}] {shortened(left)} | {shortened(right)}"
    place = min(len(one), len(other))
    return f"{len(one)} | {len(other)}; [{place}] {shortened([*one, *other][-1])}"


def shortened(value: object) -> str:
    """What is shown of a value."""
    text = repr(value)
    return text if len(text) < 400 else f"{text[:300]}...{text[-100:]}"
