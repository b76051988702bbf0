"""A ledger that was damaged where SQLite does not see it: told, and left as it is."""

from __future__ import annotations

import random
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from backfill.errors import BackfillError, LedgerError
from backfill.ledger import Ledger, LedgerReader
from tests.support.ledgers import ACCEPTED, UNKNOWN, delivering, shard_plan

PLANS = [shard_plan(0, (6, 2, 9)), shard_plan(1, (4, 4))]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """The ledger of a run that has sent a batch, and whose process ended."""
    path = tmp_path / "ledger.sqlite3"
    with delivering(path, PLANS) as ledger:
        first, second, *_ = ledger.next_batches(9)
        ledger.record_answer(first, ledger.mark_sent(first, 1.0), ACCEPTED)
        ledger.record_answer(second, ledger.mark_sent(second, 2.0), UNKNOWN)
    return path


@pytest.fixture
def left(tmp_path: Path) -> Path:
    """What a killed process leaves: the same, with a log that holds the newest commits, and the mark."""
    path = tmp_path / "at work" / "ledger.sqlite3"
    path.parent.mkdir()
    with delivering(path, PLANS) as ledger:
        for batch in ledger.next_batches(9):
            ledger.record_answer(batch, ledger.mark_sent(batch, 1.0), ACCEPTED)
            ledger.flush()
        shutil.copytree(path.parent, tmp_path / "left", ignore=shutil.ignore_patterns("*-shm"))
    return tmp_path / "left" / path.name


def beside(path: Path, suffix: str) -> Path:
    """A file that belongs to the ledger."""
    return path.with_name(path.name + suffix)


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE batches SET calls = calls + 1 WHERE id = 3",
        "UPDATE batches SET bytes = bytes + 1 WHERE id = 3",
        "UPDATE batches SET crc32 = crc32 + 64 WHERE id = 3",
        "UPDATE batches SET first_call = 9 WHERE id = 3",
        "UPDATE batches SET shard = 1 WHERE id = 3",
        "DELETE FROM batches WHERE id = 5",
        "UPDATE shards SET planned = planned + 1, skipped = skipped - 1 WHERE shard = 1",
        "UPDATE shards SET calls_sha256 = replace(calls_sha256, 'c', 'a') WHERE shard = 1",
        "UPDATE batches SET state = 'split' WHERE id = 1",
        "UPDATE snapshot SET read = read + 1",
        "UPDATE run SET state = 'deliverinf'",
        "ALTER TABLE attempts RENAME COLUMN seconds TO secondr",
    ],
)
def test_a_plan_that_is_another(path: Path, change: str) -> None:
    """Neither batches nor counts can be others than those that were planned: nothing is sent by such a ledger."""
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("PRAGMA foreign_keys = OFF")
        connection.execute(change)
    with pytest.raises(LedgerError, match="is damaged") as told:
        Ledger.open(path)
    assert told.value.hint


def test_text_that_is_none(path: Path) -> None:
    """A byte that is no UTF-8 in what the views were made with: damage, told in one line, without that text."""
    content = path.read_bytes()
    assert b"= 'delivered'" in content
    path.write_bytes(content.replace(b"= 'delivered'", b"= 'delivere\xff'"))
    for opened in (Ledger.open, LedgerReader):
        with pytest.raises(LedgerError) as told:
            opened(path)
        assert told.value.message == f"{path} is damaged: it holds invalid text"


def judge_flips(path: Path, flips: list[tuple[int, int]]) -> int:
    """Flip each of these bits (place of the byte, bit) for itself; how many were told. The others change nothing."""

    def handed_out() -> list[tuple[object, ...]]:
        with Ledger.open(path) as ledger:
            return [(b.shard, b.calls, b.bytes, b.crc32, b.first_call, b.start) for b in ledger.next_batches(99)]

    content = path.read_bytes()
    expected = handed_out()
    told = 0
    for place, bit in flips:
        flipped = bytearray(content)
        flipped[place] ^= 1 << bit
        path.write_bytes(flipped)
        try:
            assert handed_out() == expected, (place, bit)
        except BackfillError:
            told += 1
        for suffix in ("-wal", "-shm", "-mark"):
            beside(path, suffix).unlink(missing_ok=True)
    return told


def test_any_flipped_bit(path: Path) -> None:
    """It is told, or what is handed out is what was planned."""
    places = [place for place, byte in enumerate(path.read_bytes()) if byte]  # few of the others are in use
    chance = random.Random(5)
    assert judge_flips(path, [(chance.choice(places), chance.randrange(8)) for _ in range(300)])


def test_any_flipped_bit_of_an_index(path: Path) -> None:
    """The index of what is still to be delivered: no batch is passed over, none comes in the place of another."""
    with closing(sqlite3.connect(path)) as connection:
        (size,) = connection.execute("PRAGMA page_size").fetchone()
        (page,) = connection.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'batches_to_deliver'").fetchone()
    assert judge_flips(path, [(page * size - back, bit) for back in range(1, 33) for bit in range(8)])


def flip(content: bytes) -> bytes:
    """One bit in the middle is another."""
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 4]) + content[middle + 1 :]


@pytest.mark.parametrize("damage", [flip, lambda content: content[:-5_000]], ids=["flip", "cut"])
def test_a_damaged_log_is_left_as_it_is(left: Path, damage: Callable[[bytes], bytes]) -> None:
    """It may hold what was delivered, which somebody may want to have of it: neither file changes."""
    log = beside(left, "-wal")
    log.write_bytes(damage(log.read_bytes()))
    before = left.read_bytes(), log.read_bytes()
    for _ in range(2):
        with pytest.raises(LedgerError, match="lost its newest"):
            Ledger.open(left)
        assert (left.read_bytes(), log.read_bytes()) == before
    beside(left, "-mark").unlink()
    with Ledger.open(left) as ledger:
        assert ledger.reader.counts().delivered < 25


def test_a_log_that_is_gone_is_told_to_readers(left: Path, tmp_path: Path) -> None:
    """An old state is not shown, nor taken for what was delivered; with the log back, all is."""
    log = beside(left, "-wal")
    log.rename(tmp_path / "log")
    for _ in range(2):
        with pytest.raises(LedgerError, match=r"lost its newest [0-9]+ commits") as told:
            LedgerReader(left)
        assert "put both back" in told.value.hint
    beside(left, "-shm").unlink(missing_ok=True)
    (tmp_path / "log").rename(log)
    with LedgerReader(left) as reader:
        assert reader.counts().delivered == 25


def test_a_whole_log(left: Path) -> None:
    """The same ledger unhurt, with a mark beside it, opens."""
    assert beside(left, "-mark").read_bytes()
    with Ledger.open(left) as ledger:
        assert ledger.reader.counts().delivered == 25


@pytest.mark.parametrize("place", range(30))
def test_a_damaged_mark(left: Path, place: int) -> None:
    """A mark of which a digit is another is told as that, not as lost commits."""
    mark = beside(left, "-mark")
    content = bytearray(mark.read_bytes())
    content[place] ^= 1
    mark.write_bytes(content)
    with pytest.raises(LedgerError, match="-mark is damaged") as told:
        Ledger.open(left)
    assert "remove ledger.sqlite3-mark" in told.value.hint
    mark.unlink()
    Ledger.open(left).close()


def test_a_mark_in_the_middle_of_its_writing(left: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A reader that comes upon half of it looks again, and once it is whole it is the mark."""
    mark = beside(left, "-mark")
    whole = mark.read_bytes()
    mark.write_bytes(whole[:19] + b"x" + whole[20:])
    slept: list[float] = []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        if len(slept) == 3:
            mark.write_bytes(whole)

    monkeypatch.setattr("backfill.ledger.sqlite_file.time.sleep", sleep)
    LedgerReader(left).close()
    assert len(slept) == 3


@pytest.mark.parametrize("content", [b"", bytes(30), bytes(4096)])
def test_a_mark_that_a_power_cut_left(left: Path, content: bytes) -> None:
    """It was never forced to the disk, so that it may be there without its content: that says nothing."""
    beside(left, "-mark").write_bytes(content)
    Ledger.open(left).close()
