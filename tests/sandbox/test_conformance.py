"""The documented rules of the HTTP API, asked of the sandbox as of any endpoint; and that a breach of them is seen."""

import re
from collections.abc import Iterator

import httpx
import pytest

from backfill.limits import Limits
from backfill.sandbox import REASONS, FaultScript, Sandbox
from tests.conformance.__main__ import WIDTH, is_loopback, main
from tests.conformance.check import Check, Finding
from tests.conformance.lookup import lookup_of
from tests.conformance.rules import RULES, TOPICS
from tests.support.batch_server import BatchServer
from tests.support.code_pages import SANDBOX, sandbox_document
from tests.support.sandbox_calls import client_of
from tests.support.servers import free_ports
from tests.support.stand_ins.server import StandIn
from tests.support.stand_ins.services import Segment


@pytest.fixture(scope="module")
def findings() -> Iterator[dict[str, Finding]]:
    """What was found of each rule, by its name; on a sandbox that has other calls, too."""
    with Sandbox() as sandbox, client_of(sandbox.endpoint) as client:
        client.post("/v1/batch", json={"batch": [{"type": "track"}, "no call"]})
        check = Check(client, RULES, key="a-key", run="conformance-x", seconds=100)
        yield {finding.rule.name: finding for finding in check.findings()}
        stats = sandbox.stats()
        assert stats["received"] == stats["accepted"] + stats["duplicate"] + sum(stats["dropped"].values())


@pytest.mark.parametrize("name", [rule.name for rule in RULES])
def test_the_sandbox_keeps_each_rule(findings: dict[str, Finding], name: str) -> None:
    """Each is answered as the table says, and its calls end as it says."""
    finding = findings[name]
    assert (finding.verdict, finding.why, finding.unseen) == ("holds", (), False)


def test_the_table_is_whole() -> None:
    """Each reason of a drop is somewhere in it; a name is one rule's, and a source says when it was looked up."""
    words = {word for rule in RULES for fate in rule.fates.values() for word in fate.split()}
    words |= {reason for rule in RULES for reason in rule.unnamed}
    assert words == {"held", "duplicate", *REASONS}
    assert len({rule.name for rule in RULES}) == len(RULES)
    assert all(rule.source.url.startswith("https://") and rule.source.looked_up for rule in RULES)


def test_the_page_is_current() -> None:
    """docs/sandbox.md is what the table makes of it, and counts its rules and requests right."""
    text = SANDBOX.read_text("utf-8")
    assert text == sandbox_document(), "make pages"
    assert f"{len(RULES)} rules: {len(RULES)} holds." in text
    assert f"the {sum(len(rule.asks) for rule in RULES)} requests" in text


def test_a_sandbox_passes(sandbox: Sandbox, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit 0, and a table that fits a terminal."""
    assert main([f"{sandbox.endpoint}/v1/"]) == 0
    out = capsys.readouterr().out
    assert f"{len(RULES)} rules: {len(RULES)} holds." in out
    assert max(map(len, out.splitlines())) <= WIDTH
    assert all(topic in out for topic in TOPICS)


BREACHES = {
    "limits": ({"limits": Limits(body_bytes=600_000, call_bytes=40_000, batch_calls=2_600)},
               {"call-limit", "body-limit", "over_batch_limit", "oversize_call"}),
    "small": ({"limits": Limits(body_bytes=400_000, call_bytes=20_000, batch_calls=2_000)},
              {"call-limit", "body-limit", "count", "over_batch_limit", "oversize_call"}),
    "no window": ({"window_seconds": 0}, {"again"}),
    "an answer": ({"faults": FaultScript.parse(["status=500,after=7,first=1"])}, {"import"}),
    "a cut": ({"faults": FaultScript.parse(["lost,after=7,first=1"])}, {"import"}),
    "a loss": ({"faults": FaultScript.parse(["status=200,after=7,first=1"])}, {"import"}),
}  # fmt: skip


@pytest.mark.parametrize("name", BREACHES)
def test_a_breach_is_seen(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """An endpoint that breaks documented rules fails just these, and the exit code is 1."""
    settings, broken = BREACHES[name]
    with Sandbox(**settings) as sandbox:  # type: ignore[arg-type] # some of its keywords
        assert main([sandbox.endpoint]) == 1
    failed = re.findall(r"^  (\S+) .*FAILS$", capsys.readouterr().out, re.MULTILINE)
    assert set(failed) == broken


def test_what_is_nowhere_documented_breaks_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    """A sandbox that reads a KB as 1,000 differs in what is unconfirmed, and fails nothing."""
    with Sandbox(limits=Limits()) as sandbox:
        assert main([sandbox.endpoint]) == 0
    out = capsys.readouterr().out
    assert re.findall(r"^  (\S+) \* .*DIFFERS$", out, re.MULTILINE) == ["call-1024", "body-1024"]


def test_of_another_endpoint_only_answers_are_seen(capsys: pytest.CaptureFixture[str]) -> None:
    """It is asked the same; what becomes of calls is said to be unseen, never to be well."""
    with StandIn(Segment("a-key")) as stand_in:
        code = main([stand_in.url, "--key", "a-key"])
    out = capsys.readouterr().out
    assert code == 1, "the stand-in knows only one path"
    assert re.search(r"^  basic +200 +not seen holds$", out, re.MULTILINE)
    assert re.search(r"^  over_batch_limit +200 +not seen holds$", out, re.MULTILINE)
    told = [rule for rule in RULES if rule.tells_of_calls]
    assert f"what became of the calls of {len(told)} rules" in " ".join(out.split())


def test_only_a_loopback_host_is_asked_unasked(capsys: pytest.CaptureFixture[str]) -> None:
    """Another wants --yes; what is no address is said before anything is sent."""
    for url in ("https://api.segment.io", "http://192.0.2.1/v1", "127.0.0.1:8888", "http://", "ftp://127.0.0.1"):
        with pytest.raises(SystemExit) as ended:
            main([url])
        assert ended.value.code == 2
    said = " ".join(capsys.readouterr().err.split())
    assert said.count("say --yes to send them") == 2
    assert said.count("is not the address of an endpoint") == 3
    assert [is_loopback(host) for host in ("127.0.0.1", "::1", "localhost", "127.0.0.1.example", "10.0.0.1")] == [
        *(True, True, True, False, False)
    ]


def test_nobody_there_and_no_time(sandbox: Sandbox, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit 4, and nothing is called well that was not asked."""
    (port,) = free_ports(1)
    assert main([f"http://127.0.0.1:{port}"]) == 4
    assert "does not answer" in capsys.readouterr().err
    assert main([sandbox.endpoint, "--seconds", "0"]) == 4
    assert f"{len(RULES)} rules: {len(RULES)} not asked." in capsys.readouterr().out
    assert sandbox.stats()["requests"] == 0


def test_who_only_looks_like_a_sandbox_is_none() -> None:
    """A server whose /health says something else has no lookup."""

    class Other(BatchServer):
        def answer(self, path: str, headers: dict[str, str], body: bytes) -> tuple[int | None, bytes]:
            raise AssertionError

    with Other() as other, httpx.Client(base_url=other.url) as client:
        assert lookup_of(client) is None
