"""Constant fields of the envelope: from the profile into every body, counted, compared and confirmed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from backfill.deliver import EndKind
from backfill.limits import SEGMENT
from backfill.targets import TargetKind
from backfill.wire import ENVELOPE_BYTES, room_for_calls
from tests.support.delivery_fakes import Endpoint, Run, Shelf
from tests.support.ledgers import as_version_1
from tests.support.projects import KEY, Project, backfill
from tests.support.target_files import faults, load

PLACE = "kind: compatible, endpoint: x.example, write_key: '${SEGMENT_WRITE_KEY}'"
MEMBERS = '"historical_migration":true'


def test_in_a_target(tmp_path: Path) -> None:
    """The fields as JSON; a body has that much less room for calls, at any kind of target."""
    fields = "{historical_migration: true, origin: {of: é, at: [1, 2.5, null]}}"
    target = load(tmp_path, f"prod: {{{PLACE}, envelope: {fields}}}")
    assert json.loads(f"{{{target.envelope}}}") == {
        "historical_migration": True,
        "origin": {"of": "é", "at": [1, 2.5, None]},
    }
    added = len(f"{target.envelope},".encode())
    assert room_for_calls(target.limits) == SEGMENT.body_bytes - ENVELOPE_BYTES - added
    assert load(tmp_path, "prod: {kind: sandbox, envelope: {a: b}}").kind is TargetKind.SANDBOX
    for nothing in ("", ", envelope: {}"):
        plain = load(tmp_path, f"prod: {{{PLACE}{nothing}}}")
        assert (plain.envelope, plain.limits) == ("", SEGMENT)


@pytest.mark.parametrize(
    ("fields", "path", "message"),
    [
        ("{batch: []}", "envelope.batch", "not for a profile"),
        ("{sentAt: now}", "envelope.sentAt", "not for a profile"),
        ("{SENTAT: now}", "envelope.SENTAT", "not for a profile"),
        ("{writeKey: abc}", "envelope.writeKey", "not for a profile"),
        ("{messageId: abc}", "envelope.messageId", "not for a profile"),
        ("{a: .nan}", "envelope.a", "JSON has no number"),
        ("{a: {b: -.inf}}", "envelope.a.b", "JSON has no number"),
        ("{a: '${NAME}'}", "envelope", "not filled in"),
        ("{a: " + "x" * 8_000 + "}", "envelope", "larger than 8,000 bytes"),
        ("true", "envelope", ""),
        ("[1]", "envelope", ""),
    ],
)
def test_what_is_none(tmp_path: Path, fields: str, path: str, message: str) -> None:
    """What backfill writes itself cannot be overridden, nor anything be sent that is no JSON."""
    (fault,) = faults(tmp_path, f"prod: {{{PLACE}, envelope: {fields}}}")
    assert fault.path == f"targets.prod.{path}"
    assert message in fault.message


def test_with_the_limits(tmp_path: Path) -> None:
    """A call that is as large as a body leaves no room for them."""
    limits = "limits: {body_bytes: 32100, call_bytes: 32050}"
    assert load(tmp_path, f"prod: {{{PLACE}, {limits}}}")
    (fault,) = faults(tmp_path, f"prod: {{{PLACE}, {limits}, envelope: {{a: {'x' * 100}}}}}")
    assert "larger than a body" in fault.message


@pytest.mark.parametrize("gzip", [True, False])
def test_in_every_body(gzip: bool) -> None:
    """They stand beside the batch, whose bytes are the same as without."""
    with Endpoint() as endpoint:
        run = Run(Shelf(2), endpoint.url, access={"gzip": gzip, "envelope": MEMBERS})
        assert run.go().kind is EndKind.FINISHED
    for number, seen in enumerate(endpoint.seen, 1):
        body = json.loads(seen.plain)
        assert list(body) == ["batch", "historical_migration", "sentAt"]
        assert body["historical_migration"] is True
        assert seen.plain.startswith(run.shelf.contents[number])


class Profiled:
    """A project whose live target's profile can be changed."""

    def __init__(self, project: Project, endpoint: Endpoint) -> None:
        self.project = project
        self.endpoint = endpoint
        self.job = project.people(600)

    def run(self, envelope: str, *options: str, verb: str = "run") -> tuple[int, str]:
        """Run (or resume) with such an envelope."""
        profile = (
            f"kind: compatible, endpoint: 'http://127.0.0.1:{self.endpoint.port}', write_key: '${{SEGMENT_WRITE_KEY}}'"
        )
        text = f"version: 1\ntargets:\n  prod: {{{profile}, id_scope: x, rate: unlimited, envelope: {envelope}}}\n"
        (self.project.folder / "targets.yaml").write_text(text, encoding="utf-8")
        words = [self.job, "--target", "prod"] if verb == "run" else ["--state-dir", self.project.state]
        ended = backfill(verb, *words, "--yes", *options)
        return ended.code, ended.err

    def sent(self) -> list[object]:
        """What each body had of the field."""
        return [json.loads(seen.plain).get("a") for seen in self.endpoint.seen]


@pytest.fixture
def profiled(project: Project, monkeypatch: pytest.MonkeyPatch) -> Iterator[Profiled]:
    """A job of a few batches."""
    monkeypatch.setenv("SEGMENT_WRITE_KEY", KEY)
    with Endpoint() as endpoint:
        yield Profiled(project, endpoint)


def test_confirmed(profiled: Profiled) -> None:
    """It is shown before a live run, and in no way where there is none."""
    assert 'envelope  {"a":1} in every request' in profiled.run("{a: 1}", "--canary")[1]
    assert profiled.sent() == [1]


def test_of_a_run_begun_by_the_first_version(profiled: Profiled) -> None:
    """It is in the ledger of that version, is compared, and is sent with what is left when the run goes on."""
    profiled.run("{a: 1}", "--canary")
    (ledger,) = profiled.project.state.glob("runs/*/ledger.sqlite3")
    as_version_1(ledger)
    assert profiled.run("{a: 2}")[0] == 6
    as_version_1(ledger)
    assert profiled.run("{a: 1}")[0] == 0
    assert set(profiled.sent()) == {1}


def test_compared(profiled: Profiled) -> None:
    """Another one is refused by name, and `resume` finishes with the one that the run was prepared with."""
    profiled.run("{a: 1}", "--canary")
    for other, shown in (("{a: 2}", '{"a":2}'), ("{}", "{}")):
        code, said = profiled.run(other)
        assert code == 6
        assert f'the target\'s envelope was {{"a":1}}, now it is {shown}' in said
        assert "`backfill resume" in said
    assert profiled.run("{a: 2}", verb="resume")[0] == 0
    assert set(profiled.sent()) == {1}
    assert len(profiled.sent()) > 1
    assert profiled.run("{a: 2}")[0] == 6, "it would be another run's calls"
    assert profiled.run("{a: 1}")[0] == 0


def test_bodies_keep_their_limit(profiled: Profiled) -> None:
    """Packed with its bytes counted: as full as without, and not a byte too large."""
    profiled.job = profiled.project.people(3_000, text="x" * 800)
    code, said = profiled.run("{a: " + "y" * 7_000 + "}")
    assert code == 0, said
    sizes = [len(seen.plain) for seen in profiled.endpoint.seen]
    assert max(sizes) <= SEGMENT.body_bytes
    assert max(sizes) > 0.99 * SEGMENT.body_bytes
