"""Kinds of target, each against a stand-in written from its documentation, through the whole program."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from backfill.ledger import LedgerReader
from backfill.limits import RUDDERSTACK
from backfill.wire import HEAD
from tests.support.fast_clock import deliver_fast
from tests.support.projects import KEY, Project, Result, backfill
from tests.support.stand_ins.server import Asked, Said, StandIn
from tests.support.stand_ins.services import CustomerIo, Indexed, Jitsu, RudderStack, Segment, Service

ROWS = 40
#: So much faster pass the waits between two attempts.
SCALE = 50.0


@dataclass(frozen=True)
class Kind:
    """A service, and what its profile says besides endpoint and key."""

    service: type[Service]
    profile: str
    wrong_key: int  # the exit code of a run with another key
    disabled: int  # and of one to a source that is turned off
    poison: int  # the status with which it refuses a call


KINDS = {
    "segment": Kind(Segment, "kind: segment", 0, 0, 400),
    "rudderstack": Kind(RudderStack, "kind: rudderstack", 8, 8, 400),
    "jitsu": Kind(Jitsu, "kind: compatible, gzip: true, answers: jitsu", 8, 8, 200),
    "jitsu-header": Kind(Jitsu, "kind: compatible, answers: jitsu, auth: plain, auth_header: X-Write-Key", 8, 8, 200),
    "indexed": Kind(Indexed, "kind: compatible, auth: bearer, answers: indexed, limits: {batch_calls: 25}", 8, 8, 200),
    "customer.io": Kind(CustomerIo, "kind: compatible, headers: {X-Strict-Mode: '1'}", 8, 8, 400),
}


@dataclass
class Field:
    """A project whose target is a stand-in."""

    project: Project
    profile: str

    def run(self, there: StandIn, *options: str, rows: int = ROWS, text: str = "") -> Result:
        """Run the job with the target; again where it has been run."""
        path = "/api/s/s2s/batch" if isinstance(there.service, Jitsu) and "auth" not in self.profile else ""
        profile = f"{{{self.profile}, endpoint: '{there.url}{path}', write_key: '${{THERE_KEY}}', rate: unlimited}}"
        (self.project.folder / "targets.yaml").write_text(f"version: 1\ntargets:\n  there: {profile}\n")
        if not (job := self.project.folder / "people.yaml").exists():
            job = self.project.people(rows, text=text)
        return backfill("run", job, "--target", "there", "--yes", "--output", "json", *options)

    def rejects(self) -> list[dict[str, str]]:
        """Every call that was refused."""
        path = self.project.folder / "rejects.ndjson"
        assert backfill("rejects", "--state-dir", self.project.state, "--export", path).code == 0
        return [json.loads(line) for line in path.read_text().splitlines()]

    def ledger(self) -> LedgerReader:
        """The ledger of the only run."""
        (path,) = self.project.state.glob("runs/*/ledger.sqlite")
        return LedgerReader(path)


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> Kind:
    """One of the kinds."""
    return KINDS[request.param]


@pytest.fixture
def field(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Field]:
    """Makes a project for a profile; what its runs wait for passes on a fast clock."""
    monkeypatch.setenv("THERE_KEY", KEY)
    deliver_fast(monkeypatch, SCALE)
    return lambda profile: Field(Project(tmp_path), profile)


def user(call: dict[str, Any], *numbers: int) -> bool:
    """Whether a call is of one of these rows."""
    return call["userId"] in {f"u{number:06}" for number in numbers}


def balanced(counts: dict[str, Any]) -> bool:
    """Whether every row and call is accounted for."""
    rows, calls = counts["rows"], counts["calls"]
    ends = ("delivered", "rejected", "duplicate", "already_delivered", "in_doubt", "pending")
    planned: int = calls["planned"]
    return rows["read"] == sum(rows.values()) - rows["read"] and planned == sum(calls[end] for end in ends)


def test_everything_arrives_once(kind: Kind, field: Callable[[str], Field]) -> None:
    """Each service keeps every call once, and a run of it again asks it nothing."""
    service = kind.service(KEY)
    here = field(kind.profile)
    with StandIn(service) as there:
        result = here.run(there)
        assert result.code == 0, result.err
        requests = len(there.asked)
        assert here.run(there).code == 0
    assert "Warning" not in result.err
    assert "body" not in result.err
    assert len(service.taken) == len(set(service.taken)) == ROWS == result.object["calls"]["delivered"]
    assert len(there.asked) == requests


def test_a_wrong_key(kind: Kind, field: Callable[[str], Field]) -> None:
    """Whoever says so stops the run at once; Segment does not, so nothing is known but that it was received."""
    service = kind.service("another")
    with StandIn(service) as there:
        result = field(kind.profile).run(there)
    assert result.code == kind.wrong_key, result.err
    assert service.taken == []
    assert KEY not in result.out + result.err
    if result.code:
        assert len(there.asked) == 1
        assert result.object["calls"]["pending"] == ROWS


def test_a_source_turned_off_and_on_again(kind: Kind, field: Callable[[str], Field]) -> None:
    """404 (or 401, 403) stops the run with the service's words; resumed once it is on, everything arrives."""
    service = kind.service(KEY, enabled=False)
    here = field(kind.profile)
    with StandIn(service) as there:
        result = here.run(there)
        assert result.code == kind.disabled, result.err
        service.enabled = True
        again = here.run(there)
    assert again.code == 0, again.err
    assert len(service.taken) == (ROWS if kind.disabled else 0)


@pytest.mark.parametrize("status", [429, 503])
def test_too_much_at_once(kind: Kind, field: Callable[[str], Field], status: int) -> None:
    """429 is waited out. After a 503 nobody knows: only a target that drops ids it has seen is asked again."""
    service = kind.service(KEY)
    here = field(kind.profile)
    with StandIn(service, first=[Said(status, "Max Requests Limit reached\n", kind="text/plain")]) as there:
        result = here.run(there)
        remembers = "segment" in kind.profile
        assert result.code == (0 if status == 429 or remembers else 5), result.err
    if result.code:
        assert "dedup_window" in result.err
        assert (result.object["calls"]["in_doubt"], result.object["calls"]["delivered"]) == (10, ROWS - 10)
    else:
        assert (there.said[0], len(service.taken)) == (status, ROWS)


def test_a_target_that_remembers_nothing(field: Callable[[str], Field]) -> None:
    """What is in doubt there is sent again only where somebody says so, and then until it is through."""
    service = RudderStack(KEY)
    here = field("kind: rudderstack")
    with StandIn(service, first=[Said(503)]) as there:
        assert here.run(there).code == 5
        assert here.run(there).code == 5
        assert len(service.taken) == ROWS - 10
        there.first += [Said(503), Said(502)]
        result = here.run(there, "--in-doubt", "resend")
    assert result.code == 0, result.err
    assert sorted(service.taken) == sorted(set(service.taken))
    assert len(service.taken) == ROWS


def test_a_window_that_the_profile_states(field: Callable[[str], Field]) -> None:
    """A RudderStack server with deduplication turned on is asked again within its window."""
    service = RudderStack(KEY)
    with StandIn(service, first=[Said(503)]) as there:
        result = field("kind: rudderstack, dedup_window: 1h").run(there)
    assert result.code == 0, result.err
    assert (there.said[:2], len(service.taken)) == ([503, 200], ROWS)


def test_calls_that_it_refuses(kind: Kind, field: Callable[[str], Field]) -> None:
    """They, and only they, are rejected, with the service's words; by halves, or as the answer names them."""
    bad = (3, 17, 18, 39)
    service = kind.service(KEY, refuses=lambda call: user(call, *bad))
    here = field(kind.profile)
    with StandIn(service) as there:
        result = here.run(there)
    assert result.code == 3, result.err
    counts = result.object
    assert balanced(counts)
    assert (counts["calls"]["delivered"], counts["calls"]["rejected"]) == (ROWS - len(bad), len(bad))
    assert len(service.taken) == len(set(service.taken)) == ROWS - len(bad)
    rejects = here.rejects()
    assert sorted(one["id"] for one in rejects) == [f"u{number:06}" for number in bad]
    assert {one["code"] for one in rejects} == {f"HTTP{kind.poison}"}
    assert all(one["message_id"] not in service.taken for one in rejects)


def test_a_jitsu_answer_costs_no_further_request(field: Callable[[str], Field]) -> None:
    """What the answer names need not be found by halves: two batches, two requests."""
    service = Jitsu(KEY, refuses=lambda call: user(call, 20))
    here = field(KINDS["jitsu"].profile)
    with StandIn(service) as there:
        assert here.run(there).code == 3
    assert len(there.asked) == 2
    assert [one["message"] for one in here.rejects()] == ["refused by the target: event error"]


def test_a_long_answer_about_single_calls(field: Callable[[str], Field]) -> None:
    """Room is made for the words on many calls: more than is read of answers that are about none."""

    class Wordy(Indexed):
        def answer(self, asked: Asked) -> Said:
            errors = [{"index": index, "message": "no " * 2_000} for index in range(len(self.calls(asked)))]
            return Said(200, json.dumps({"errors": errors[1:]}))

    with StandIn(Wordy(KEY)) as there:
        result = field("kind: compatible, answers: indexed").run(there)
    assert result.code == 3, result.err
    assert (result.object["calls"]["delivered"], result.object["calls"]["rejected"]) == (2, ROWS - 2)


@pytest.mark.parametrize(
    ("profile", "answer", "says"),
    [
        ("answers: jitsu", '{"ok":false,"errors":["Message ID: 12', "is not JSON"),
        ("answers: jitsu", "", "is empty"),
        ("answers: jitsu", '{"ok":false}', "names no call"),
        ("answers: jitsu", '{"ok":false,"errors":["Message ID: other: event error"]}', "name no call"),
        ("answers: jitsu", '{"ok":true,"okEvents":3}', "counts 3 good calls"),
        ("answers: indexed", '{"errors":{"3":"no"}}', "no list"),
        ("answers: indexed", '{"errors":[{"index":4000},{"index":true}]}', "name no call"),
        ("answers: indexed", "[]", "no JSON object"),
    ],
)
def test_an_answer_that_cannot_be_read(field: Callable[[str], Field], profile: str, answer: str, says: str) -> None:
    """The batch was received and is not sent again, for that could double its calls; what is not known is said."""
    with StandIn(lambda _: Said(200, answer)) as there:
        result = field(f"kind: compatible, {profile}").run(there, rows=10)
    assert result.code == 0, result.err
    assert result.object["calls"]["delivered"] == 10
    assert says in result.err


def test_bodies_of_rudderstack_s_size(field: Callable[[str], Field]) -> None:
    """A batch may be eight times as large as Segment's, and none is larger than the limit."""
    service = RudderStack(KEY)
    with StandIn(service) as there:
        result = field("kind: rudderstack, limits: {batch_calls: 20000}").run(there, rows=1_500, text="x" * 6_000)
    assert result.code == 0, result.err
    sizes = [len(asked.body) for asked in there.asked]
    assert max(sizes) <= RUDDERSTACK.body_bytes
    assert max(sizes) > 0.97 * RUDDERSTACK.body_bytes
    assert len(service.taken) == 1_500


def test_a_server_with_a_smaller_limit(field: Callable[[str], Field]) -> None:
    """413: halves that fit are taken, and nothing is lost."""

    class Small(RudderStack):
        BODY = 20_000

    service = Small(KEY)
    with StandIn(service) as there:
        result = field("kind: rudderstack").run(there, rows=400)
    assert result.code == 0, result.err
    assert 413 in there.said
    assert len(service.taken) == len(set(service.taken)) == 400


def test_customer_io_without_strict_mode(field: Callable[[str], Field]) -> None:
    """The header is why its errors are seen: without it a wrong key is a 200."""
    service = CustomerIo("another")
    with StandIn(service) as there:
        assert field("kind: compatible").run(there).code == 0
    assert service.taken == []


class TestRequest:
    """What a profile says of requests is on the wire."""

    def test_limits_headers_and_plain_bodies(self, field: Callable[[str], Field]) -> None:
        """Batches hold no more calls than the profile allows; its headers are on each request."""
        with StandIn(Segment(KEY)) as there:
            profile = "kind: compatible, headers: {X-Strict-Mode: '1'}, limits: {batch_calls: 7, body_bytes: 33000}"
            assert field(profile).run(there).code == 0
        assert {asked.headers["x-strict-mode"] for asked in there.asked} == {"1"}
        assert max(len(json.loads(asked.wire)["batch"]) for asked in there.asked) == 7
        assert all(asked.wire.startswith(HEAD) for asked in there.asked)

    @pytest.mark.parametrize(
        ("auth", "name", "value"),
        [
            ("auth: bearer", "authorization", f"Bearer {KEY}"),
            ("auth: plain", "authorization", KEY),
            ("auth: plain, auth_header: X-Write-Key", "x-write-key", KEY),
        ],
    )
    def test_how_the_key_is_carried(self, field: Callable[[str], Field], auth: str, name: str, value: str) -> None:
        """As the profile says, and in that header alone."""
        with StandIn(Segment(KEY)) as there:
            assert field(f"kind: compatible, {auth}").run(there).code == 0
        assert there.asked[0].headers[name] == value
        assert [other for other, text in there.asked[0].headers.items() if KEY in text] == [name]


class TestCanary:
    """After --canary people are told where to look, and the key itself is not among it."""

    @pytest.mark.parametrize("name", ["segment", "rudderstack"])
    def test_it_names_the_source(self, field: Callable[[str], Field], name: str) -> None:
        """By the variable that holds its key, the key's digest and the endpoint."""
        service = KINDS[name].service(KEY)
        with StandIn(service) as there:
            result = field(KINDS[name].profile).run(there, "--canary")
        assert (result.code, len(service.taken)) == (5, 10)
        hint = next(line for line in result.err.splitlines() if "write key" in line and "Hint" in line)
        assert "the variable THERE_KEY" in hint
        assert there.url in hint
        assert ("Source Debugger" in hint) == (name == "segment")
        assert "SHA-256 begins with" in hint
        assert KEY[:4] not in result.err

    def test_the_sandbox(self, tmp_path: Path) -> None:
        """A rehearsal says how the sandbox is looked into."""
        result = backfill("run", Project(tmp_path).people(20), "--target", "sandbox", "--canary")
        assert result.code == 5
        assert "backfill sandbox" in result.err


class TestAttempts:
    """How long to go on is an option."""

    @pytest.mark.parametrize("attempts", [1, 3])
    def test_they_are_counted(self, field: Callable[[str], Field], attempts: int) -> None:
        """So many answers of 429, and the run stops: exit 5, and resumable."""
        service = Segment(KEY)
        here = field("kind: segment")
        with StandIn(service, first=[Said(429)] * attempts) as there:
            result = here.run(there, "--attempts", str(attempts))
            assert result.code == 5, result.err
            assert "all attempts" in result.err
            assert there.said == [429] * attempts
            assert here.run(there).code == 0
        assert len(service.taken) == ROWS

    @pytest.mark.parametrize("attempts", ["0", "-1", "many"])
    def test_what_is_no_number_of_them(self, field: Callable[[str], Field], attempts: str) -> None:
        """It is a usage error."""
        with StandIn(Segment(KEY)) as there:
            assert field("kind: segment").run(there, "--attempts", attempts).code == 2
