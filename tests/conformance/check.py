"""Ask an endpoint each rule, and judge its answers and, where it tells, what became of the calls."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import datetime
from typing import Any, Literal

import httpx

from backfill.frozen import frozen
from tests.conformance.asked import Ask, Ids, Rule
from tests.conformance.lookup import Seen, lookup_of

#: Seconds for one answer.
ANSWER_SECONDS = 20.0
#: holds; fails: a documented rule does not hold; differs: one does not that is nowhere documented; not asked: no time.
Verdict = Literal["holds", "fails", "differs", "not asked"]


@frozen
class Finding:
    """What was found of one rule."""

    rule: Rule
    verdict: Verdict
    answers: tuple[str, ...]  # the status of each request, or why there is none
    unseen: bool  # it says what becomes of calls, and the endpoint does not tell that
    why: tuple[str, ...] = ()  # it does not hold


class Check:
    """All rules asked of one endpoint, one request at a time; `run` is what its message ids begin with."""

    def __init__(self, client: httpx.Client, rules: tuple[Rule, ...], *, key: str, run: str, seconds: float) -> None:
        self._client = client
        self._rules = rules
        self._ids = {rule.name: Ids(f"{run}-{n}", key) for n, rule in enumerate(rules, 1)}
        self._run = run
        self._ends = time.monotonic() + seconds

    def findings(self) -> list[Finding]:
        """What was found of each rule, in their order.

        Raises:
            httpx.TransportError: nobody is there.
        """
        lookup = lookup_of(self._client)
        answers = {rule.name: tuple(self._answers(rule)) for rule in self._rules}
        seen = lookup.seen(self._run) if lookup else None
        return [self._finding(rule, answers[rule.name], seen) for rule in self._rules]

    def _answers(self, rule: Rule) -> Iterator[str]:
        for ask in rule.asks:
            if time.monotonic() > self._ends:
                return
            yield self._answer(ask, self._ids[rule.name])

    def _answer(self, ask: Ask, ids: Ids) -> str:
        headers = dict(ask.headers)
        if ask.authorization is not None:
            headers["Authorization"] = ask.authorization or ids.basic()
        try:
            answer = self._client.request(ask.method, f"/v1/{ask.path}", content=ask.body(ids), headers=headers)
        except httpx.TransportError as error:
            return type(error).__name__
        return str(answer.status_code)

    def _finding(self, rule: Rule, answers: tuple[str, ...], seen: Seen | None) -> Finding:
        unseen = seen is None and rule.tells_of_calls
        if len(answers) < len(rule.asks):
            return Finding(rule, "not asked", answers, unseen)
        why = [
            f"request {n}: {answer} instead of {ask.status}"
            for n, (ask, answer) in enumerate(zip(rule.asks, answers, strict=True), 1)
            if answer != str(ask.status)
        ]
        why += _calls_wrong(rule, self._ids[rule.name], seen) if seen else []
        if why:
            return Finding(rule, "fails" if rule.certain else "differs", answers, unseen, tuple(why))
        return Finding(rule, "holds", answers, unseen)


def _calls_wrong(rule: Rule, ids: Ids, seen: Seen) -> Iterator[str]:
    """What became of a rule's calls, as far as it is something else than the rule says."""
    for name, fate in rule.fates.items():
        found = " ".join(seen.fates.get(ids(name), ["nowhere"]))
        if found != fate:
            yield f"call {name}: {found} instead of {fate}"
    yield from (f"no call dropped as {reason}" for reason in rule.unnamed if not seen.unnamed[reason])
    for name, moment in rule.moments.items():
        call = seen.calls.get(ids(name))
        expected = _moment(call, moment) if call else "a call that is kept"
        if call is None or call["timestamp"] != expected:
            yield f"call {name}: the timestamp {call and call['timestamp']} instead of {expected}"
    for name, members in rule.members.items():
        held = seen.calls.get(ids(name), {}).get("call", {})
        yield from (
            f"call {name}: {member} is {held.get(member)}" for member in members if held.get(member) != members[member]
        )


def _moment(call: dict[str, Any], moment: str) -> str:
    """The timestamp that a call is to be stored with, by what is known of it."""
    received = datetime.fromisoformat(call["receivedAt"])
    if moment == "received":
        return _text(received)
    original = datetime.fromisoformat(f"{call['originalTimestamp'].removesuffix('Z')}+00:00")
    if moment == "original":
        return _text(original)
    return _text(received - (datetime.fromisoformat(call["sentAt"]) - original))


def _text(moment: datetime) -> str:
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
