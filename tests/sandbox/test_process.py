"""The sandbox as a process: its store, its address, its end."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from backfill.errors import LedgerError, LockedError, UsageError
from backfill.sandbox import Sandbox
from tests.support.sandbox_calls import KEY, call, client_of, post
from tests.support.waiting import when


def test_a_store_is_continued(tmp_path: Path) -> None:
    """A later sandbox on the same folder goes on: ids, counts and calls."""
    for turn in range(3):
        with Sandbox(tmp_path / "store") as sandbox, client_of(sandbox.endpoint, auth=KEY) as client:
            post(client, [call("every"), call(f"m{turn}"), {"type": "track"}])
            assert len(client.get("/calls").json()["calls"]) == turn + 2
    stats = sandbox_stats(tmp_path / "store")
    assert (stats["requests"], stats["accepted"], stats["duplicate"]) == (3, 4, 2)
    assert stats["dropped"] == {"no_user_anon_id": 3}
    assert (tmp_path / "store").stat().st_mode & 0o777 == 0o700
    assert {file.stat().st_mode & 0o777 for file in (tmp_path / "store").iterdir()} == {0o600}


def sandbox_stats(folder: Path) -> dict[str, object]:
    """The statistics of a store that nobody has open."""
    with Sandbox(folder) as sandbox:
        return sandbox.stats()


def test_one_store_one_sandbox(tmp_path: Path) -> None:
    """A folder in use is refused, and free again afterwards."""
    with Sandbox(tmp_path), pytest.raises(LockedError, match="in use"), Sandbox(tmp_path):
        pass
    with Sandbox(tmp_path):
        pass


@pytest.mark.parametrize("content", [b"this is no database" * 100, None])
def test_a_file_that_is_not_ours_is_refused(tmp_path: Path, content: bytes | None) -> None:
    """Another kind of file, or a store of a later version, is left alone; and the lock is given back."""
    file = tmp_path / "sandbox.sqlite3"
    if content is None:
        sandbox_stats(tmp_path)
        subprocess.run(
            [
                sys.executable,
                "-c",
                f"import sqlite3; sqlite3.connect({str(file)!r}).execute('PRAGMA user_version = 9')",
            ],
            check=True,
        )
    else:
        file.write_bytes(content)
    for _ in range(2):
        with pytest.raises(LedgerError), Sandbox(tmp_path):
            pass


def test_a_folder_that_cannot_be(tmp_path: Path) -> None:
    """A file where the folder should be is a fault of the command line."""
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError), Sandbox(tmp_path / "file"):
        pass


@pytest.mark.parametrize("host", ["0.0.0.0", "192.0.2.1", "::", "example.com", ""])
def test_only_loopback(host: str) -> None:
    """Any address but loopback is refused before anything listens."""
    with pytest.raises(UsageError):
        Sandbox(host=host)


def test_a_port_in_use() -> None:
    """Two cannot have one port, and nothing outside 0 to 65535 is one."""
    with Sandbox() as first, pytest.raises(UsageError, match="cannot listen"):
        Sandbox(port=int(first.endpoint.rpartition(":")[2])).__enter__()
    with pytest.raises(UsageError, match="cannot listen"):
        Sandbox(port=70_000).__enter__()


SERVE = """
import json, sys
from pathlib import Path
from backfill.sandbox import serve
print(json.dumps(serve(Path(sys.argv[1]), port=0, ready=lambda endpoint: print(endpoint, flush=True))), flush=True)
"""


Start = Callable[[Path], tuple[subprocess.Popen[str], str]]


@pytest.fixture
def standalone(repository: Path) -> Iterator[Start]:
    """Starts `serve` in a process, and gives it with its endpoint."""
    running: list[subprocess.Popen[str]] = []

    def start(folder: Path) -> tuple[subprocess.Popen[str], str]:
        process = subprocess.Popen(
            [sys.executable, "-c", SERVE, str(folder)],
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(repository)},
        )
        running.append(process)
        assert process.stdout is not None
        return process, process.stdout.readline().strip()

    yield start
    for process in running:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGTERM])
def test_serve_ends_cleanly(standalone: Start, tmp_path: Path, end: signal.Signals) -> None:
    """Either signal ends it with its last statistics and exit 0, an open connection or not."""
    process, endpoint = standalone(tmp_path)
    with client_of(endpoint, auth=KEY) as client:
        post(client, [call("m1")])
        process.send_signal(end)
        output, _ = process.communicate(timeout=30)
    assert process.returncode == 0
    assert json.loads(output)["accepted"] == 1


def test_sigkill_loses_nothing_that_was_answered(standalone: Start, tmp_path: Path) -> None:
    """Killed three times under load: every id answered 200 is there, and what is re-sent is a duplicate."""
    answered: list[str] = []
    for turn in range(3):
        process, endpoint = standalone(tmp_path)
        enough = len(answered) + 400 * (turn + 1)
        when(lambda enough=enough: len(answered) > enough, process.kill)
        with ThreadPoolExecutor(4) as pool:
            for lane in range(4):
                pool.submit(_send_until_it_dies, endpoint, f"{turn}-{lane}", answered)
        process.wait()
    assert answered
    with Sandbox(tmp_path) as sandbox, client_of(sandbox.endpoint, auth=KEY) as client:
        held = set(sandbox.ids())
        assert set(answered) <= held
        before = sandbox.stats()
        assert (before["accepted"], before["distinct_ids"]) == (len(held), len(held))
        post(client, [call(one) for one in answered[:100]])
        assert sandbox.stats()["duplicate"] == len(answered[:100])


def _send_until_it_dies(endpoint: str, lane: str, answered: list[str]) -> None:
    deadline = time.monotonic() + 30
    with client_of(endpoint, auth=KEY) as client:
        for n in range(100_000):
            ids = [f"{lane}-{n}-{k}" for k in range(20)]
            try:
                answer = post(client, [call(one) for one in ids])
            except httpx.TransportError:
                return
            assert answer.status_code == 200
            answered += ids
            assert time.monotonic() < deadline
