"""The ledger in SQLite: its file and its views, and that it refuses what it cannot trust."""

import os
import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from backfill.errors import LedgerError, StoppedError
from backfill.ledger import Ledger, LedgerReader
from backfill.records import Batch, Counts, Decision, RunState, plan_digest
from tests.support.ledgers import (
    ACCEPTED,
    RECORD,
    UNKNOWN,
    delivering,
    shard_plan,
)

PLANS = [shard_plan(0), shard_plan(1, (4, 1, 1), rejected=0, duplicate=0), shard_plan(2, (), rejected=0, duplicate=0)]
CALLS = 11  # in the batches of PLANS
VIEWS = (
    "v_accounting",
    "v_attempts",
    "v_batches",
    "v_calls_per_day",
    "v_counts",
    "v_decisions",
    "v_history",
    "v_in_doubt",
    "v_problems",
    "v_run",
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the ledger of a test is."""
    return tmp_path / "ledger.sqlite3"


def test_its_file_is_private_and_readers_cannot_write(path: Path) -> None:
    """Mode 0600 from the beginning; a reader's connection refuses to write."""
    with Ledger.create(path, RECORD), LedgerReader(path) as reader:
        assert path.stat().st_mode & 0o777 == 0o600
        with pytest.raises(sqlite3.OperationalError, match="readonly"):
            reader._connection.execute("UPDATE run SET state = 'finished'")


def test_a_fault_inside_an_operation_reaches_who_waits(path: Path) -> None:
    """A value that SQLite cannot hold ends the use of the ledger, not the patience of its callers."""
    ledger = delivering(path, PLANS)
    with pytest.raises(LedgerError, match="OverflowError"):
        ledger.mark_sent(Batch(2**70, 0, 1, 1, 0, 1, 0), 1.0)
    with pytest.raises(LedgerError, match="OverflowError"):
        ledger.flush()
    with pytest.raises(LedgerError, match="OverflowError"):
        ledger.close()


def test_counts_are_over_leaves(path: Path) -> None:
    """The calls of a halved batch count through its parts; the batches and their bytes are those planned."""
    with delivering(path, PLANS) as ledger:
        before = ledger.reader.counts()
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("UPDATE batches SET state = 'split', attempts = 1 WHERE id = 3")
        for state, calls, first in (("delivered", 1, 0), ("planned", 3, 1)):
            connection.execute(
                "INSERT INTO batches (parent, shard, ordinal, state, calls, bytes, offset, length, crc32, first_call)"
                " VALUES (3, 1, 0, ?, ?, ?, 0, 100, 7, ?)",
                (state, calls, 400 * calls, first),
            )
    with Ledger.open(path) as ledger:
        counts = ledger.reader.counts()
        assert (counts.delivered, counts.pending, counts.faults()) == (1, CALLS - 1, [])
        assert (counts.batches, counts.split) == (before.batches, 1)
        assert counts.json_bytes == before.json_bytes
        assert ledger.prepared_shards()[1] == PLANS[1]
        assert [(batch.shard, batch.first_call) for batch in ledger.next_batches(9)][2] == (1, 1)


def test_at_rest_it_is_one_file(path: Path) -> None:
    """A closed ledger can be copied."""
    with delivering(path, PLANS):
        assert len(list(path.parent.iterdir())) > 1
    assert list(path.parent.iterdir()) == [path]


def test_a_reader_does_not_hold_up_the_end(path: Path) -> None:
    """Closing beside an open reader leaves a ledger as true, in more than one file."""
    ledger = delivering(path, PLANS)
    with LedgerReader(path) as reader:
        assert reader.counts().pending == CALLS
        ledger.close()
        assert reader.counts().pending == CALLS
    with LedgerReader(path) as reader:
        assert reader.counts().pending == CALLS


def test_there_is_one_or_none(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A ledger whose making was interrupted is not there; the next attempt makes it whole."""

    def fail(descriptor: int) -> None:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fail)
        with pytest.raises(OSError, match="Input/output"):
            Ledger.create(path, RECORD)
    assert not path.exists()
    with pytest.raises(LedgerError, match="there is no ledger"):
        Ledger.open(path)
    Ledger.create(path, RECORD).close()
    with pytest.raises(LedgerError, match="exists already"):
        Ledger.create(path, RECORD)


def test_a_later_version_is_refused(path: Path) -> None:
    """Neither read nor written by a program that does not know it."""
    delivering(path, PLANS).close()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA user_version = 4")
    for opened in (Ledger.open, LedgerReader):
        with pytest.raises(LedgerError, match="has version 4; this backfill knows version 3") as refusal:
            opened(path)
        assert "later" in refusal.value.hint
        assert refusal.value.exit_code == 1


def test_another_database_is_refused(path: Path) -> None:
    """A file of SQLite that is none of ours, an empty one, and one of something else."""
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE things (name)")
    with pytest.raises(LedgerError, match="not a ledger"):
        Ledger.open(path)
    path.write_bytes(b"")
    with pytest.raises(LedgerError, match="not a ledger"):
        LedgerReader(path)
    path.write_bytes(b"version: 1\nname: orders\n" * 100)
    with pytest.raises(LedgerError, match="is damaged"):
        LedgerReader(path)


@pytest.mark.parametrize("kept", [0.3, 0.6, 0.9])
def test_a_truncated_ledger_is_refused(path: Path, kept: float) -> None:
    """Whatever is missing, the run is not resumed on it."""
    delivering(path, [shard_plan(shard, (1,) * 50) for shard in range(8)]).close()
    os.truncate(path, int(path.stat().st_size * kept))
    with pytest.raises(LedgerError, match="is damaged") as refusal:
        Ledger.open(path)
    assert refusal.value.exit_code == 1


def test_pages_overwritten_are_found(path: Path) -> None:
    """Damage in the middle is found before resuming, wherever it is."""
    delivering(path, [shard_plan(shard, (1,) * 50) for shard in range(8)]).close()
    whole = path.read_bytes()
    page = 4096
    for start in range(page, len(whole), page):
        path.write_bytes(whole[:start] + b"\x5a" * page + whole[start + page :])
        with pytest.raises(LedgerError):
            Ledger.open(path)


def test_a_full_disk_stops_and_loses_nothing_acknowledged(path: Path) -> None:
    """SQLite out of pages is exit 5; with room again, the ledger goes on from what it acknowledged."""
    plans = [shard_plan(0, (1,) * 400)]
    ledger = delivering(path, plans)
    pages = ledger._commits.submit(lambda connection: connection.execute("PRAGMA page_count").fetchone()[0])
    ledger._commits.submit(lambda connection: connection.execute(f"PRAGMA max_page_count = {pages + 1}").fetchone())
    acknowledged = 0

    def send_all() -> None:
        nonlocal acknowledged
        for batch in ledger.next_batches(400):
            ledger.mark_sent(batch, 1.0)
            acknowledged += 1

    with pytest.raises(StoppedError, match="no space left for the ledger") as stop:
        send_all()
    assert stop.value.exit_code == 5
    with pytest.raises(StoppedError):
        ledger.close()
    assert 0 < acknowledged < 400
    with Ledger.open(path) as again:
        assert again.orphans == acknowledged
        assert again.reader.counts().faults() == []


def test_every_view_reads(path: Path) -> None:
    """The documented views are all there are, and each answers; doubts show their time."""
    with delivering(path, PLANS) as ledger:
        (batch,) = ledger.next_batches(1)
        ledger.record_answer(batch, ledger.mark_sent(batch, 86_400.5), UNKNOWN)
        ledger.flush()
        ledger.decide(ledger.in_doubt(), Decision.RESEND, 86_400.5)
        ledger.set_state(RunState.STOPPED, exit_code=5, detail="retries spent")
    with closing(sqlite3.connect(path)) as connection:
        names = connection.execute("SELECT name FROM sqlite_schema WHERE type = 'view' ORDER BY name").fetchall()
        assert tuple(name for (name,) in names) == VIEWS
        for name in VIEWS:
            assert connection.execute(f"SELECT * FROM {name}").fetchall(), name
        doubts = connection.execute("SELECT batch, calls, first_unknown_at FROM v_in_doubt").fetchall()
        assert doubts == [(1, 3, "1970-01-02T00:00:00.500Z")]
        assert connection.execute("SELECT holds FROM v_accounting").fetchall() == [(1,)] * 3
        assert connection.execute("SELECT state, exit_code, detail FROM v_run").fetchall() == [
            ("stopped", 5, "retries spent")
        ]


def test_documented_columns_are_the_views(path: Path, repository: Path) -> None:
    """docs/ledger.md lists every view with exactly its columns, in order."""
    delivering(path, PLANS).close()
    text = (repository / "docs" / "ledger.md").read_text(encoding="utf-8")
    with closing(sqlite3.connect(path)) as connection:
        for view in VIEWS:
            columns = [row[1] for row in connection.execute(f"PRAGMA table_info({view})")]
            assert f"| `{view}` | {', '.join(f'`{column}`' for column in columns)} |" in text, (view, columns)


def test_documented_questions_have_answers(path: Path, repository: Path) -> None:
    """Every SQL statement in docs/ledger.md runs."""
    with delivering(path, PLANS) as ledger:
        for batch in ledger.next_batches(3):
            ledger.record_answer(batch, ledger.mark_sent(batch, 86_400.5), ACCEPTED)
    text = (repository / "docs" / "ledger.md").read_text(encoding="utf-8")
    questions = [block.partition("```")[0] for block in text.split("```sql\n")[1:]]
    assert len(questions) == 4
    with closing(sqlite3.connect(path)) as connection:
        for question in questions:
            connection.execute(question).fetchall()


#: Counts that add up, no two of a sum alike.
SOUND = Counts(
    read=111,
    filtered=10,
    unreadable=1,
    mapped=100,
    calls_per_row=2,
    planned=197,
    skipped=3,
    delivered=128,
    rejected=1,
    duplicate=2,
    already_delivered=4,
    in_doubt=18,
    pending=44,
    batches=5,
    requests=6,
    retries=1,
    json_bytes=70_000,
    wire_bytes=9_000,
    first_sent_at=-1.0,  # a moment, and no count
    last_ended_at=None,
)
READ = "read = filtered + unreadable + mapped"
MAPPED = "mapped x calls = planned + skipped"
PLANNED = "planned = delivered + rejected + duplicate + already_delivered + in_doubt + pending"


@pytest.mark.parametrize(
    ("name", "faults"),
    [
        ("read", [f"{READ}: 112 is not 111"]),
        ("filtered", [f"{READ}: 111 is not 112"]),
        ("unreadable", [f"{READ}: 111 is not 112"]),
        ("mapped", [f"{READ}: 111 is not 112", f"{MAPPED}: 202 is not 200"]),
        ("calls_per_row", [f"{MAPPED}: 300 is not 200"]),
        ("planned", [f"{MAPPED}: 200 is not 201", f"{PLANNED}: 198 is not 197"]),
        ("skipped", [f"{MAPPED}: 200 is not 201"]),
        *((name, [f"{PLANNED}: 197 is not 198"]) for name in ("delivered", "rejected", "duplicate")),
        *((name, [f"{PLANNED}: 197 is not 198"]) for name in ("already_delivered", "in_doubt", "pending")),
        ("batches", []),
    ],
)
def test_each_count_is_in_its_identities(name: str, faults: list[str]) -> None:
    """One more of any is told, with the identity that does not hold and both its sides."""
    assert SOUND.faults() == []
    assert replace(SOUND, **{name: getattr(SOUND, name) + 1}).faults() == faults


def test_no_count_is_negative() -> None:
    """Also where it is in no identity, or where two make up for each other."""
    assert replace(SOUND, retries=-1).faults() == ["retries is -1"]
    assert replace(SOUND, retries=0).faults() == []
    assert replace(SOUND, in_doubt=-2, pending=64).faults() == ["in_doubt is -2"]


def test_the_digest_of_a_plan_stays_what_it_is() -> None:
    """It is in ledgers and in what people wrote down of dry runs. Of the bytes planned, in the order of the shards."""
    assert (
        plan_digest(reversed(PLANS))
        == plan_digest(PLANS)
        == "bcc686d3e00cdc38e7f643c7ef923aee2771819e3a34eec1abd2e100c1a38cd5"
    )
    late = [replace(PLANS[0], already_delivered=1), *PLANS[1:]]
    assert plan_digest(late) == "8f194801de60dc0eaec0011c4d0700db622aae3c8b5e782c97d7390cf39bfe76"
    assert plan_digest([]) == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
