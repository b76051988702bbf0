"""Reading a ledger: beside its writer, after its end or its death, and where nothing may be written; never an error."""

import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from backfill.errors import LedgerError
from backfill.ledger import Ledger, LedgerReader
from backfill.records import RefusedBatch, RunState
from tests.support.ledgers import ACCEPTED, RECORD, REFUSED, REJECTED, delivering, shard_plan

# A run from its first moment to its last, closed and opened again every few batches: a kill may strike anywhere.
RUN = """
import os, sys
from pathlib import Path
from backfill.ledger import Ledger
from backfill.records import RunState
from tests.support.ledgers import ACCEPTED, RECORD, REJECTED, shard_plan, snapshot_of

path = Path(sys.argv[1])
plans = [shard_plan(shard, (1,) * 250) for shard in range(4)]

def say(text):
    os.write(1, text.encode() + b"\\n")

say("begun")
ledger = Ledger.open(path) if path.exists() else Ledger.create(path, RECORD)
if ledger.reader.status().state is RunState.STAGING:
    ledger.record_snapshot(snapshot_of(plans), calls_per_row=1)
if ledger.reader.status().state is RunState.PREPARING:
    done = ledger.prepared_shards()
    for plan in plans:
        if plan.shard not in done:
            ledger.record_shard(plan)
            say("shard")
    ledger.record_plan()
ledger.set_state(RunState.DELIVERING)
while batches := ledger.next_batches(7):
    for batch in batches:
        number = ledger.mark_sent(batch, 1.0)
        ledger.record_answer(batch, number, REJECTED if batch.id % 9 == 0 else ACCEPTED)
        say("sent")
    ledger.close()
    ledger = Ledger.open(path)
ledger.close()
"""

# What `backfill status` reads, again and again, half the time beside a reader that stays. Ends with its standard input.
POLL = """
import select, sys
from contextlib import ExitStack
from pathlib import Path
from backfill.ledger import LedgerReader
from backfill.report.runs import read_run_view
from backfill.state.run import RunFolder

path = Path(sys.argv[1])

def progress(counts, history):
    return counts.mapped, counts.planned, counts.requests, counts.delivered, counts.rejected, len(history)

def check(before, now):
    assert all(old <= new for old, new in zip(before, now, strict=True)), (before, now)
    return now

print("ready", flush=True)
seen, polls = (0,) * 6, 0
with ExitStack() as stack:
    staying = None
    while not select.select([sys.stdin], [], [], 0)[0]:
        if path.exists():
            if polls % 20 == 0:
                stack.close()
                staying = stack.enter_context(LedgerReader(path)) if polls % 40 else None
            standing = read_run_view(RunFolder(path.parent))
            seen = check(seen, progress(standing.counts, standing.history))
            if staying is not None:
                seen = check(seen, progress(staying.counts(), staying.history()))
            polls += 1
print(polls, *seen)
"""

# Reads as somebody who may not write to the folder: for root that takes giving up a capability, and another program.
READ = """
import ctypes, os, sys
from pathlib import Path

path = Path(sys.argv[1])
if os.access(path.parent, os.W_OK) and "again" not in sys.argv:
    drop_from_bounding_set, dac_override = 24, 1  # prctl(2), capabilities(7)
    ctypes.CDLL(None).prctl(drop_from_bounding_set, dac_override, 0, 0, 0)
    os.execv(sys.executable, [sys.executable, "-c", sys.argv[2], str(path), sys.argv[2], "again"])

from backfill.errors import LedgerError
from backfill.ledger import LedgerReader

if os.access(path.parent, os.W_OK):
    print("writable")
else:
    try:
        with LedgerReader(path) as reader:
            print(reader.counts().pending, reader.status().state)
    except LedgerError as error:
        print(error, "--", error.hint)
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the ledger of a test is, in a folder of its own."""
    folder = tmp_path / "run"
    folder.mkdir(mode=0o700)
    return folder / "ledger.sqlite3"


def left_by_a_kill(path: Path, repository: Path) -> None:
    """A ledger whose writer was killed with 5 calls pending: log and index stand beside it."""
    program = (
        "import os, sys; from pathlib import Path; from tests.support.ledgers import delivering, shard_plan\n"
        "ledger = delivering(Path(sys.argv[1]), [shard_plan(0)]); os.kill(os.getpid(), 9)"
    )
    ended = subprocess.run([sys.executable, "-c", program, path], cwd=repository, check=False)
    assert ended.returncode == -signal.SIGKILL
    assert names(path) == ["", "-mark", "-shm", "-wal"]


def names(path: Path) -> list[str]:
    """What stands in the ledger's folder, by what its name has more than the ledger's."""
    return sorted(file.name.removeprefix(path.name) for file in path.parent.iterdir())


def read_without_writing(path: Path, repository: Path) -> str:
    """What a reader says who may read the folder and all in it, but write nothing there."""
    before = {file.name: file.read_bytes() for file in path.parent.iterdir()}
    for file in path.parent.iterdir():
        file.chmod(0o400)
    path.parent.chmod(0o500)
    try:
        ended = subprocess.run(
            [sys.executable, "-c", READ, path, READ], cwd=repository, check=True, capture_output=True, text=True
        )
    finally:
        path.parent.chmod(0o700)
        for file in path.parent.iterdir():
            file.chmod(0o600)
    if ended.stdout == "writable\n":
        pytest.skip("this user may write everywhere")
    assert {file.name: file.read_bytes() for file in path.parent.iterdir()} == before
    return ended.stdout.strip()


def in_wal_mode(path: Path) -> bool:
    """Whether the file says so itself (https://www.sqlite.org/fileformat.html#file_format_version_numbers)."""
    return path.read_bytes()[18:20] == b"\x02\x02"


def test_polled_while_its_writers_are_killed(path: Path, repository: Path) -> None:
    """Ten kills after a few steps or many, and a run to the end: the poller meets no error and sees nothing undone."""
    poll = [sys.executable, "-c", POLL, str(path)]
    with subprocess.Popen(
        poll, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=repository, text=True
    ) as poller:
        assert poller.stdout is not None
        assert poller.stdout.readline() == "ready\n"
        for steps in (1, 2, 3, 4, 5, 7, 12, 20, 30, 31):
            with subprocess.Popen([sys.executable, "-c", RUN, path], stdout=subprocess.PIPE, cwd=repository) as writer:
                assert writer.stdout is not None
                for _ in range(steps):
                    writer.stdout.readline()
                writer.kill()
                writer.stdout.read()
            assert poller.poll() is None, poller.communicate()
            assert not path.exists() or in_wal_mode(path)
        subprocess.run([sys.executable, "-c", RUN, path], stdout=subprocess.DEVNULL, cwd=repository, check=True)
        said, failed = poller.communicate("enough\n")
    assert (failed, poller.returncode) == ("", 0)
    polls, *_ = map(int, said.split())
    assert polls > 10
    with LedgerReader(path) as reader:
        counts = reader.counts()
    assert counts.faults() == []
    assert (counts.in_doubt, counts.pending) == (0, 0)
    assert counts.delivered + counts.rejected == 1000 + 4


def test_in_wal_mode_from_first_to_last(path: Path) -> None:
    """Before anybody can see it, while it is written, at rest, opened again; a copy in another mode is put right."""
    ledger = Ledger.create(path, RECORD)
    assert in_wal_mode(path)
    ledger.close()
    assert in_wal_mode(path)
    assert names(path) == [""]
    with Ledger.open(path) as again:
        again._commits.submit(lambda connection: connection.execute("SELECT 1"))
        assert again.reader._connection.execute("PRAGMA journal_mode").fetchone()[0] == "wal"
    copy = path.with_name("copy.sqlite3")
    with LedgerReader(path) as reader:
        reader._connection.execute("VACUUM INTO ?", (str(copy),))
    assert not in_wal_mode(copy)
    with LedgerReader(copy) as reader:
        assert reader.status().state is RunState.STAGING
    Ledger.open(copy).close()
    assert in_wal_mode(copy)


def test_reading_changes_nothing(path: Path, repository: Path) -> None:
    """After a kill and at rest the file and its log have the same bytes and times, however often they are read."""

    def standing() -> dict[str, tuple[bytes, int]]:
        kept = [file for file in path.parent.iterdir() if not file.name.endswith("-shm")]
        return {file.name: (file.read_bytes(), file.stat().st_mtime_ns) for file in kept if file.stat().st_size}

    left_by_a_kill(path, repository)
    for state in ("killed", "without an index", "at rest"):
        if state == "without an index":
            path.with_name(path.name + "-shm").unlink()
        if state == "at rest":
            Ledger.open(path).close()
        before = standing()
        for _ in range(3):
            with LedgerReader(path) as reader:
                assert reader.counts().pending == 5
                assert reader.status().state is RunState.DELIVERING
        assert standing() == before


def test_at_rest_it_reads_where_nothing_can_be_written(path: Path, repository: Path) -> None:
    """One file in a folder that is closed: no log, no index, and none can be made; nor with an empty log there."""
    delivering(path, [shard_plan(0)]).close()
    assert names(path) == [""]
    assert read_without_writing(path, repository) == "5 delivering"
    path.with_name(path.name + "-wal").touch()
    assert read_without_writing(path, repository) == "5 delivering"


def test_beside_its_writer_it_reads_where_nothing_can_be_written(path: Path, repository: Path) -> None:
    """The writer's index serves a reader that could not make one, with the newest commit."""
    with delivering(path, [shard_plan(0)]) as ledger:
        (batch, *_) = ledger.next_batches(1)
        ledger.record_answer(batch, ledger.mark_sent(batch, 1.0), ACCEPTED)
        ledger.flush()
        path.parent.chmod(0o500)
        try:
            said = subprocess.run(
                [sys.executable, "-c", READ, path, READ], cwd=repository, check=True, capture_output=True, text=True
            ).stdout
        finally:
            path.parent.chmod(0o700)
        if said == "writable\n":
            pytest.skip("this user may write everywhere")
        assert said == "2 delivering\n"
        assert ledger.reader.counts().pending == 2


def test_after_a_kill_it_reads_where_nothing_can_be_written(path: Path, repository: Path) -> None:
    """With log and index: all that was committed. With the log alone it is refused, never read without its log."""
    left_by_a_kill(path, repository)
    assert read_without_writing(path, repository) == "5 delivering"
    path.with_name(path.name + "-shm").unlink()
    refusal = read_without_writing(path, repository)
    assert "its newest commits stand in ledger.sqlite3-wal" in refusal
    assert "copy the folder" in refusal
    copied = path.parent.with_name("copied")
    shutil.copytree(path.parent, copied)
    with LedgerReader(copied / path.name) as reader:
        assert reader.counts().pending == 5


def test_a_log_without_its_ledger_is_not_taken_for_the_next_ones(path: Path, repository: Path) -> None:
    """Somebody removed a ledger and left what stood beside it; a making that was cut short left its own."""
    left_by_a_kill(path, repository)
    temporary = path.with_name(path.name + ".tmp")
    for suffix in ("", "-wal", "-shm"):
        shutil.copyfile(path.with_name(path.name + suffix), temporary.with_name(temporary.name + suffix))
    path.unlink()
    with Ledger.create(path, RECORD) as ledger:
        assert ledger.reader.status().state is RunState.STAGING
        assert ledger.reader.counts().planned == 0
    assert names(path) == [""]
    with Ledger.open(path) as ledger:
        assert ledger.reader.status().state is RunState.STAGING


def test_an_idle_reader_keeps_no_commit_from_the_file(path: Path) -> None:
    """Closing beside a reader that is connected empties the log: the file alone is the whole ledger."""
    ledger = delivering(path, [shard_plan(0)])
    with LedgerReader(path) as reader:
        assert reader.counts().pending == 5
        ledger.close()
        assert path.with_name(path.name + "-wal").stat().st_size == 0
        alone = path.with_name("alone.sqlite3")
        shutil.copyfile(path, alone)
        with LedgerReader(alone) as copy:
            assert copy.counts() == reader.counts()
            assert copy.status() == reader.status()


def test_refused_batches_and_their_answers(path: Path) -> None:
    """Those refused for good, in plan order, each with the answer of its last attempt; no others."""
    with delivering(path, [shard_plan(0, (3, 2)), shard_plan(1, (1, 4))]) as ledger:
        assert ledger.reader.refused() == []
        first, second, third, fourth = ledger.next_batches(4)
        for batch, answers in ((fourth, [REFUSED, REJECTED]), (second, [REJECTED]), (first, [ACCEPTED])):
            for answer in answers:
                ledger.record_answer(batch, ledger.mark_sent(batch, 1.0), answer)
        ledger.record_answer(third, ledger.mark_sent(third, 1.0), REFUSED)
        ledger.flush()
        refused = ledger.reader.refused()
        assert [one.batch.id for one in refused] == [second.id, fourth.id]
        assert [one.batch.attempts for one in refused] == [1, 2]
        assert [(one.batch.offset, one.batch.crc32) for one in refused] == [(100, 7), (100, 7)]
        assert all(isinstance(one, RefusedBatch) for one in refused)
        assert {(one.status, one.detail) for one in refused} == {(400, "said the target")}


# The folder of a run that is begun, put away and begun again, as a run is whose first process was killed early.
PUT_AWAY = """
import shutil, sys
from pathlib import Path
from backfill.ledger import Ledger
from tests.support.ledgers import RECORD

path = Path(sys.argv[1])
while True:
    path.parent.mkdir()
    Ledger.create(path, RECORD).close()
    path.parent.rename(path.parent.with_name("away"))
    shutil.rmtree(path.parent.with_name("away"))
"""


def test_a_ledger_that_is_put_away(repository: Path, tmp_path: Path) -> None:
    """While it is opened: then there is none, and nothing is wrong with the disk."""
    path = tmp_path / "run" / "ledger.sqlite3"
    read = 0
    said: set[str] = set()
    with subprocess.Popen([sys.executable, "-c", PUT_AWAY, path], cwd=repository) as writer:
        try:
            until = time.monotonic() + 60
            while read < 700 and time.monotonic() < until:
                try:
                    with LedgerReader(path) as reader:
                        assert reader.status().state is RunState.STAGING
                        read += 1
                except LedgerError as error:
                    said.add(error.message)
        finally:
            writer.kill()
    assert read
    assert said <= {f"there is no ledger at {path}"}


def test_a_mark_is_looked_at_again(path: Path, repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is read while it is being written is no damage: it is whole a moment later."""
    left_by_a_kill(path, repository)
    mark = path.with_name(path.name + "-mark")
    whole = mark.read_bytes()
    mark.write_bytes(whole[:-2])

    def written_meanwhile(seconds: float) -> None:
        if seconds > 0:
            mark.write_bytes(whole)

    monkeypatch.setattr("backfill.ledger.sqlite_file.time.sleep", written_meanwhile)
    with LedgerReader(path) as reader:
        assert reader.status().state is RunState.DELIVERING
