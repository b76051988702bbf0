"""The store against a tiny model: duplicates, windows, restarts, hashes that collide and a disk that fails."""

import errno
import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from threading import Event

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backfill.errors import LedgerError, StoppedError, UsageError
from backfill.sandbox import holdings
from backfill.sandbox.holdings import RequestRecord
from backfill.sandbox.ingest import HeldCall, ReceivedRequest
from backfill.sandbox.seen import SeenIds
from backfill.sandbox.store import Store, StoreError
from backfill.sandbox.tables import Tables, opening_failure
from tests.support.no_room import no_file_above

WINDOW = 100.0


def received(ids: list[str], received_ms: int = 0) -> ReceivedRequest:
    """A request of track calls of these ids."""
    held = [HeldCall("2020-01-01T00:00:00.000Z", None, None, f'{{"messageId":"{one}"}}') for one in ids]
    return ReceivedRequest(received_ms, ids, ["track"] * len(ids), held, [], 0, [""] * len(ids))


def counts(store: Store) -> dict[str, int]:
    """What the store has counted."""
    return store.ask(lambda tables: tables.counts()).result()


REQUESTS = st.lists(
    st.tuples(st.lists(st.sampled_from("abcdefgh"), unique=True, max_size=6), st.integers(-20_000, 80_000)), max_size=12
)


@settings(max_examples=60)
@given(requests=REQUESTS, keep=st.integers(0, 8), bits=st.sampled_from([0, 1, 2, 64]))
def test_duplicates_agree_with_a_model(requests: list[tuple[list[str], int]], keep: int, bits: int) -> None:
    """Any requests, at any times, with hashes good or bad, are judged as a dict of ids judges them."""
    accepted: dict[str, int] = {}
    duplicates, kept, now = 0, [], 1_000_000
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            holdings,
            "SeenIds",
            lambda: SeenIds(lambda one: hash(one) & ((1 << bits) - 1) if bits < 64 else hash(one)),
        )
        store = Store(None, keep_calls=keep, window_seconds=WINDOW)
        for ids, step in requests:
            now += step
            store.submit(RequestRecord(received(ids, now)))
            for one in ids:
                if one in accepted and accepted[one] > now - WINDOW * 1000:
                    duplicates += 1
                else:
                    accepted[one] = now
                    kept.append(one)
        found = counts(store)
        rows = store.ask(lambda tables: tables.page("calls", after=0, limit=100)).result()
        ids_held = store.ask(lambda tables: tables.ids(after=0, limit=100)).result()
        store.close()
    assert found.get("accepted", 0) == len(kept)
    assert found.get("duplicate", 0) == duplicates
    assert found.get("distinct_ids", 0) == len(accepted)
    assert ids_held == list(accepted)
    assert [row["message_id"] for row in rows] == kept[:keep]


@pytest.mark.parametrize("hash_of", [hash, lambda _one: 0, len, lambda one: -(hash(one) & 0xFFF)])
def test_seen_ids_finds_what_was_added(hash_of: Callable[[str], int]) -> None:
    """Through growth and collisions, an id's row is its candidate or among the strangers; a new one has neither."""
    size = 40_000 if hash_of is hash else 600
    seen = SeenIds(hash_of)
    ids = [f"{n:x}" * (n % 3 + 1) + "/" + str(n) for n in range(size)]
    for start in range(0, size, 100):
        seen.add(ids[start : start + 100], start + 1)
    rows = [seen.strangers.get(one, row) for one, row in zip(ids, seen.find(ids).tolist(), strict=True)]
    assert rows == list(range(1, size + 1))
    if hash_of is hash:
        assert not seen.find([f"new{n}" for n in range(1000)]).any()


def test_restarts_remember_everything(tmp_path: Path) -> None:
    """Opened again and again, a store counts on and knows every id."""
    for turn in range(3):
        store = Store(tmp_path, keep_calls=None, window_seconds=WINDOW)
        store.submit(RequestRecord(received(["every", f"m{turn}"]), {"requests": 1})).result()
        found = counts(store)
        store.close()
        assert (found["requests"], found["duplicate"], found["distinct_ids"]) == (turn + 1, turn, turn + 2)


def test_a_damaged_store_is_refused(tmp_path: Path) -> None:
    """A file whose middle is overwritten is named, and nobody waits for it."""
    store = Store(tmp_path, keep_calls=None, window_seconds=WINDOW)
    for turn in range(20):
        store.submit(RequestRecord(received([f"{turn}-{n}" for n in range(1000)]))).result()
    store.close()
    with (tmp_path / "sandbox.sqlite3").open("r+b") as file:
        file.seek(4096)
        file.write(b"\xff" * 400_000)
    with pytest.raises(LedgerError, match="cannot be used"):
        Store(tmp_path, keep_calls=None, window_seconds=WINDOW)


def test_a_failed_commit_is_told_and_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the disk fails nothing of that group is held, the sender is told, and the next one works."""
    store = Store(None, keep_calls=None, window_seconds=WINDOW)
    store.submit(RequestRecord(received(["a"]))).result()
    with monkeypatch.context() as patch:
        patch.setattr(Tables, "commit", _full)
        with pytest.raises(StoreError, match="full"):
            store.submit(RequestRecord(received(["b", "c"]))).result()
    store.submit(RequestRecord(received(["a", "b"]))).result()
    found = counts(store)
    assert (found["accepted"], found["duplicate"], found["distinct_ids"]) == (2, 1, 2)
    assert store.ask(lambda tables: tables.ids(after=0, limit=9)).result() == ["a", "b"]
    store.close()


@pytest.mark.parametrize("replaced", [False, True])
def test_a_file_that_is_removed_takes_nothing_more(tmp_path: Path, *, replaced: bool) -> None:
    """Nothing is confirmed that would be gone with the process; what is held is told still."""
    store = Store(tmp_path / "store", keep_calls=None, window_seconds=WINDOW)
    store.submit(RequestRecord(received(["a"]))).result()
    (tmp_path / "store" / "sandbox.sqlite3").rename(tmp_path / "elsewhere")
    if replaced:
        (tmp_path / "store" / "sandbox.sqlite3").touch()
    for _ in range(2):
        with pytest.raises(StoreError, match="was removed or replaced"):
            store.submit(RequestRecord(received(["b"]))).result()
    assert counts(store)["accepted"] == 1
    store.close()


@pytest.mark.parametrize("size", [0, 5_000, 30_000])
def test_a_disk_without_room_for_a_store(tmp_path: Path, size: int) -> None:
    """It is the disk that is told, to go on with once it has room: neither the store nor its file is at fault."""
    with no_file_above(size), pytest.raises(StoppedError, match=r"cannot be written: disk I/O error|File too large"):
        Store(tmp_path, keep_calls=None, window_seconds=WINDOW)
    Store(tmp_path, keep_calls=None, window_seconds=WINDOW).close()


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (sqlite3.SQLITE_FULL, StoppedError),
        (sqlite3.SQLITE_READONLY_DIRECTORY, StoppedError),
        (sqlite3.SQLITE_IOERR_SHORT_READ, LedgerError),
        (sqlite3.SQLITE_NOTADB, LedgerError),
    ],
)
def test_why_a_store_does_not_open(code: int, kind: type[Exception]) -> None:
    """The disk stops; a damaged or strange file is refused."""
    error = sqlite3.OperationalError("said")
    error.sqlite_errorcode = code
    assert type(opening_failure("store", error)) is kind


@pytest.mark.parametrize(("number", "kind"), [(errno.ENOSPC, StoppedError), (errno.EACCES, UsageError)])
def test_a_folder_that_takes_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, kind: type[Exception]
) -> None:
    """A full disk stops; a folder of somebody else is the wrong place."""
    really = os.open

    def refuse(path: Path, *how: int) -> int:
        if Path(path).name == "lock":
            raise OSError(number, os.strerror(number), str(path))
        return really(path, *how)

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(kind):
        Store(tmp_path, keep_calls=None, window_seconds=WINDOW)


def _full(_tables: Tables) -> None:
    raise sqlite3.OperationalError("database or disk is full")


def test_nobody_who_leaves_ends_the_store() -> None:
    """A browser that goes away while its page is asked for costs that answer, and nothing else."""
    with closing(Store(None, keep_calls=None, window_seconds=WINDOW)) as store:
        begun, leave = Event(), Event()
        store.ask(lambda _tables: begun.set() or leave.wait(20))
        assert begun.wait(20)
        assert not store.ask(lambda tables: tables.counts()).cancel()  # as asyncio does where a task is cancelled
        assert not store.submit(RequestRecord(received(["a"]))).cancel()
        leave.set()
        assert counts(store)["accepted"] == 1


def test_a_failed_read_is_told() -> None:
    """A page that cannot be read fails for its reader alone."""
    store = Store(None, keep_calls=None, window_seconds=WINDOW)
    with pytest.raises(StoreError):
        store.ask(lambda tables: tables.last_number("nothing")).result()
    store.submit(RequestRecord(received(["a"]))).result()
    store.close()


def test_a_closed_store_answers_nobody_for_ever() -> None:
    """What is asked after the end fails at once."""
    store = Store(None, keep_calls=None, window_seconds=WINDOW)
    store.close()
    with pytest.raises(StoreError, match="closed"):
        store.submit(RequestRecord(None)).result(timeout=20)
