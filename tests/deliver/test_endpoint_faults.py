"""Every way in which an endpoint can fail, tried through the whole program: nothing lost, nothing doubled, no lie."""

from __future__ import annotations

import shutil
import sqlite3
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from backfill import identity
from backfill.deliver import DeliveryOptions, EndKind
from backfill.records import Outcome
from backfill.verdict import Patience
from tests.support.delivery_fakes import Run, Shelf
from tests.support.fast_clock import FastClock, deliver_fast
from tests.support.projects import KEY, Project, Result, backfill
from tests.support.waiting import until
from tests.torture.endpoint import OK, SUCCESS, ScriptedEndpoint, Step

#: Three batches: the first 10 calls, and two more.
ROWS = 3_000
SCOPE = "endpoint-faults"
#: The clock of the program runs so much faster, for what waits; sockets have real time.
SCALE = 200.0
#: Instead of the 30 seconds that a silent target is given.
READ_SECONDS = 0.25


@pytest.fixture
def hurry(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> FastClock:
    """The program delivers with a fast clock and little patience for silence, all else as it is."""
    monkeypatch.setenv("SEGMENT_WRITE_KEY", KEY)
    return deliver_fast(monkeypatch, getattr(request, "param", SCALE), read_seconds=READ_SECONDS, connect_seconds=1.0)


@dataclass
class Trial:
    """A job, the endpoint it is sent to, and the judgement."""

    project: Project
    endpoint: ScriptedEndpoint

    def go(self, verb: str = "resume", *more: str) -> Result:
        """Run or resume."""
        first = [self.project.folder / "people.yaml"] if verb == "run" else ["--state-dir", self.project.state]
        endpoint = f"http://127.0.0.1:{self.endpoint.port}"
        words = ["--target", "prod", "--endpoint", endpoint, "--yes", "--rate", "unlimited", "--output", "json"]
        done = backfill(verb, *first, *words, *more)
        self.judge()
        return done

    def finish(self, *more: str, first: str = "resume", codes: tuple[int, ...] = ()) -> list[Result]:
        """Resume until the end; every exit code on the way is one of these. All is there then, once."""
        done = [self.go(first, *more)]
        while done[-1].code and len(done) < 12:
            assert done[-1].code in codes, done[-1].err
            done.append(self.go("resume", *more))
        assert done[-1].code == 0, done[-1].err
        assert done[-1].object["calls"]["delivered"] == ROWS
        assert self.endpoint.held.keys() == expected_ids()
        assert not self.endpoint.other_bytes
        return done

    def judge(self) -> None:
        """What the ledger says of each batch is what the endpoint holds of it, or less; never more."""
        (ledger,) = self.project.state.glob("runs/*/ledger.sqlite3")
        with closing(sqlite3.connect(ledger)) as connection:
            assert all(holds for (holds,) in connection.execute("SELECT holds FROM v_accounting"))
            batches = connection.execute("SELECT id, crc32, state FROM batches").fetchall()
            outcomes: dict[int, list[str | None]] = {batch: [] for batch, _, _ in batches}
            for batch, outcome in connection.execute("SELECT batch, outcome FROM attempts ORDER BY batch, number"):
                outcomes[batch].append(outcome)
        for batch, crc32, state in batches:
            times = self.endpoint.stored[crc32]
            tried = outcomes[batch]
            if state == "delivered":
                assert times >= 1, f"batch {batch} counts as delivered, and was never stored"
                assert tried.count("accepted") == 1
                assert tried[-1] == "accepted", "sent again after it was accepted"
            # Each time but the last that it was stored, nobody could know: those are the documented window.
            assert times <= 1 + tried.count("unknown") + tried.count(None)
            if state == "planned":
                assert not times
                assert not tried


@contextmanager
def begun(folder: Path) -> Iterator[Trial]:
    """A small project, and its endpoint."""
    (folder / "targets.yaml").write_text(
        f"version: 1\ntargets:\n  prod: {{kind: segment, write_key: '${{SEGMENT_WRITE_KEY}}', id_scope: {SCOPE}}}\n",
        encoding="utf-8",
    )
    project = Project(folder)
    project.people(ROWS)
    with ScriptedEndpoint() as endpoint:
        yield Trial(project, endpoint)


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trial]:
    """A run whose first batch is delivered."""
    with begun(tmp_path_factory.mktemp("template")) as trial, pytest.MonkeyPatch.context() as patch:
        patch.setenv("SEGMENT_WRITE_KEY", KEY)
        assert trial.go("run", "--canary").code == 5
        yield trial


@pytest.fixture
def trial(tmp_path: Path, template: Trial, hurry: FastClock) -> Iterator[Trial]:
    """The same run, to go on with: prepared once, since that takes longer than a fault. Its script is yet to be set."""
    assert isinstance(hurry, FastClock)
    shutil.copytree(template.project.folder, tmp_path, dirs_exist_ok=True)
    endpoint = template.endpoint
    held, stored, requests = dict(endpoint.held), Counter(endpoint.stored), endpoint.requests
    try:
        yield Trial(Project(tmp_path), endpoint)
    finally:
        endpoint.hang_up()
        endpoint.listen()
        endpoint.script, endpoint.decide = (), None
        endpoint.held, endpoint.stored, endpoint.requests, endpoint.other_bytes = held, stored, requests, False


@pytest.fixture
def fresh(tmp_path: Path, hurry: FastClock) -> Iterator[Trial]:
    """A run that has not begun."""
    assert isinstance(hurry, FastClock)
    with begun(tmp_path) as trial:
        yield trial


def expected_ids() -> set[bytes]:
    """The ids of an unbroken run, by the standard library's uuid5."""
    space = identity.namespace(SCOPE, "people", "identify", 1)
    return {identity.message_id(space, [f"u{row:06}"]).encode() for row in range(ROWS)}


def answer(status: str, *headers: str, body: bytes = b"") -> bytes:
    """An answer, whole."""
    return "\r\n".join([f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers, "", ""]).encode() + body


HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 16\r\n\r\n"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
EARLY = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n"


def offsets(then: str) -> dict[str, Step]:
    """The connection breaks so at each class of place in the conversation."""
    return {
        f"{then} at once": Step((), "nothing", then=then),  # type: ignore[arg-type]
        f"{then} in the request's head": Step((), "some", then=then),  # type: ignore[arg-type]
        f"{then} after the request's head": Step((), "head", then=then),  # type: ignore[arg-type]
        f"{then} in the request's body": Step((), "half", then=then),  # type: ignore[arg-type]
        f"{then} before the answer, nothing stored": Step((), stored=False, then=then),  # type: ignore[arg-type]
        f"{then} before the answer": Step((), then=then),  # type: ignore[arg-type]
        f"{then} in the status line": Step((HEAD[:11],), then=then),  # type: ignore[arg-type]
        f"{then} after the status line": Step((HEAD[:17],), then=then),  # type: ignore[arg-type]
        f"{then} in a header": Step((HEAD[:28],), then=then),  # type: ignore[arg-type]
        f"{then} before the answer's body": Step((HEAD, 0.01), then=then),  # type: ignore[arg-type]
        f"{then} in the answer's body": Step((HEAD + SUCCESS[:5], 0.01), then=then),  # type: ignore[arg-type]
        f"{then} in a chunk": Step((CHUNKED + b"10\r\n" + SUCCESS[:5], 0.01), then=then),  # type: ignore[arg-type]
    }


#: What passes by itself: one run, exit 0.
PASSING = {
    **offsets("reset"),
    **offsets("close"),
    **offsets("stall"),
    "a slow answer": Step(tuple(part for byte in OK for part in (bytes([byte]), 0.001))),
    "a slow body": Step((HEAD, *(part for byte in SUCCESS for part in (0.02, bytes([byte]))))),
    "1xx first": Step((EARLY + OK,)),
    "1xx, and silence": Step((EARLY,), stored=False, then="stall"),
    "HTTP/1.0": Step((b"HTTP/1.0 200 OK\r\n\r\n" + SUCCESS,), then="close"),
    "connection: close": Step((answer("200 OK", "Connection: close", body=SUCCESS),), then="close"),
    "no length": Step((b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + SUCCESS,), then="close"),
    "chunked": Step((CHUNKED + b"7\r\n" + SUCCESS[:7] + b"\r\n9;x=y\r\n" + SUCCESS[7:] + b"\r\n0\r\nA: b\r\n\r\n",)),
    "a wrong chunk": Step((CHUNKED + b"no length\r\n",), then="close"),
    "two lengths": Step((b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n{}",), then="close"),
    "204, no body": Step((b"HTTP/1.1 204 No Content\r\n\r\n",)),
    "200, HTML": Step((answer("200 OK", "Content-Type: text/html", body=b"<html>well</html>"),)),
    "200, cut JSON": Step((answer("200 OK", body=b'{"success":'),)),
    "200, a body without end": Step((CHUNKED, *[b"8000\r\n" + b"x" * 0x8000 + b"\r\n"] * 20), then="close"),
    "garbage": Step((b"SSH-2.0-OpenSSH_9.2\r\n\r\n",), stored=False, then="close"),
    "garbage, stored": Step((b"\x15\x03\x01\x00\x02\x02P",), then="close"),
    "a header without end": Step((b"HTTP/1.1 200 OK\r\nX: ", *[b"x" * 0x8000] * 8), stored=False, then="close"),
    "HTTP/2 in clear": Step((b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",), stored=False, then="close"),
    "500": Step((answer("500 Oh", body=b"<html>"),), stored=False),
    "500, stored": Step((answer("500 Oh"),)),
    "503 before the body is read": Step((answer("503 Busy", "Connection: close"),), "head", then="close"),
    "503 before anything is read": Step((answer("503 Busy", "Connection: close"),), "nothing", then="close"),
    "408 on an idle connection": Step((answer("408 Idle", "Connection: close"),), "nothing", then="close"),
    "429": Step((answer("429 Slow"),), stored=False),
    "429, Retry-After": Step((answer("429 Slow", "Retry-After: 20"),), stored=False),
    "503, Retry-After": Step((answer("503 Busy", "Retry-After: 20"),)),
}


@pytest.mark.parametrize("fault", PASSING)
def test_it_passes(trial: Trial, fault: str) -> None:
    """One fault, after the first batch and on its second attempt again: the same process sends the rest, exit 0."""
    trial.endpoint.script = (PASSING[fault], PASSING[fault])
    before = trial.endpoint.requests
    (done,) = trial.finish()
    assert done.object["requests"] == trial.endpoint.requests - before


@pytest.mark.parametrize("fault", ["reset before the answer", "stall in the status line", "503, Retry-After"])
def test_the_first_batch(fresh: Trial, fault: str) -> None:
    """The batch that goes alone is no exception."""
    fresh.endpoint.script = (PASSING[fault],)
    fresh.finish(first="run")


class TestJunk:
    """What an endpoint says without being asked is nobody's answer."""

    @pytest.mark.parametrize(
        "junk",
        [OK, b"HTTP/1.1 200 OK\r\n\r\n", b"\r\n\r\n", b"x", answer("500 Oh")],
        ids=["200", "open", "n", "x", "500"],
    )
    def test_behind_an_answer(self, trial: Trial, junk: bytes) -> None:
        """What stands behind an answer is not taken for that of the next request, which was never stored."""
        lost = Step((), stored=False, then="reset")
        trial.endpoint.script = (Step((OK + junk,)), lost, lost)
        trial.finish("--concurrency", "1")

    @pytest.mark.parametrize("junk", [OK, b"x", answer("408 Idle", "Connection: close")], ids=["200", "x", "408"])
    def test_while_it_is_idle(self, trial: Trial, junk: bytes) -> None:
        """Nor is what comes before the next request leaves."""
        lost = Step((), stored=False, then="reset")
        trial.endpoint.script = (Step((OK, 0.02, junk)), lost, lost)
        trial.finish("--concurrency", "1", "--rate", f"{40 * SCALE / 200}/s")

    def test_before_the_body_has_left(self) -> None:
        """A 200 that comes while the body is still being sent, which then breaks off, is no answer to it."""
        early = Step((OK, 0.2), "head", then="reset")
        with ScriptedEndpoint((early,)) as endpoint:
            # More than all buffers on the way hold; and such that nothing makes it smaller.
            shelf = Shelf(1, calls=1, size=30_000_000)
            options = DeliveryOptions(concurrency=1, first_alone=False, patience=Patience(attempts=1))
            url = f"http://127.0.0.1:{endpoint.port}/v1/batch"
            end = Run(shelf, url, options=options, access={"gzip": False, "body_limit": 10**9}).go()
        assert end.kind is EndKind.STOPPED
        assert shelf.outcomes() == [Outcome.UNKNOWN]


class TestStops:
    """What waiting does not mend: exit 5 or 8, resumable."""

    @pytest.mark.parametrize("status", ["301 Moved", "302 Found", "303 See", "307 Temporary", "308 Permanent"])
    def test_redirects(self, trial: Trial, status: str) -> None:
        """Never followed: exit 5, and the place it leads to hears nothing, the key least of all."""
        with ScriptedEndpoint() as elsewhere:
            location = f"Location: http://127.0.0.1:{elsewhere.port}/v1/batch"
            trial.endpoint.script = (Step((answer(status, location),), stored=False),)
            trial.finish(codes=(5,))
            assert elsewhere.connections == 0

    @pytest.mark.parametrize(
        ("status", "code"), [("401 No", 8), ("403 No", 8), ("404 No", 8), ("501 What", 5), ("418 Tea", 5)]
    )
    def test_statuses(self, trial: Trial, status: str, code: int) -> None:
        """They end the run at once; the resume goes on."""
        trial.endpoint.script = (Step((answer(status),), stored=False),)
        done = trial.finish(codes=(code,))
        assert [one.code for one in done] == [code, 0]

    def test_another_protocol(self, trial: Trial) -> None:
        """101 is neither success nor worth a retry."""
        upgrade = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n"
        trial.endpoint.script = (Step((upgrade,), stored=False, then="close"),)
        trial.finish(codes=(5,))


class TestOutages:
    """A target that is away for longer."""

    @pytest.mark.parametrize("hurry", [5 * SCALE], indirect=True, ids=str)
    def test_nobody_listens(self, trial: Trial) -> None:
        """Connections are refused: nothing has left, nothing is in doubt; with the target comes the rest."""
        trial.endpoint.hang_up()
        done = trial.go()
        assert done.code == 5
        assert done.object["calls"]["pending"] == ROWS - 10
        trial.endpoint.listen()
        trial.finish()

    def test_flapping(self, trial: Trial, hurry: FastClock) -> None:
        """It goes and comes, in the middle of requests and between them, for minutes of the program's clock."""
        over = threading.Event()
        trial.endpoint.decide = lambda: Step((0.02, OK))

        def keep_for(seconds: float) -> None:
            end = hurry.passed() + seconds
            until(lambda: over.is_set() or hurry.passed() >= end)

        def flap() -> None:
            while not over.is_set():
                keep_for(30)
                trial.endpoint.hang_up()
                keep_for(20)
                trial.endpoint.listen()

        flapping = threading.Thread(target=flap)
        flapping.start()
        try:
            trial.finish(codes=(5,))
        finally:
            over.set()
            flapping.join()

    @pytest.mark.parametrize("hurry", [3 * SCALE], indirect=True, ids=str)
    @pytest.mark.parametrize("stored", [False, True], ids=["refused", "stored all the same"])
    def test_ten_minutes_of_500(self, trial: Trial, hurry: FastClock, stored: bool) -> None:
        """For ten minutes every request is answered 500, then all is well: nothing lost, and nobody has to resume."""
        well = hurry.passed() + 600

        def decide() -> Step:
            return Step() if hurry.passed() > well else Step((answer("500 Oh"),), stored=stored)

        trial.endpoint.decide = decide
        trial.finish()
        assert hurry.passed() > well
