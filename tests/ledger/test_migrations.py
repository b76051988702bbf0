"""Ledgers of the version before: read as they are, brought to this version by whoever opens them to write."""

import json
import sqlite3
import zlib
from contextlib import closing
from pathlib import Path

import pytest

from backfill.errors import LedgerError
from backfill.job import load_job
from backfill.ledger import Ledger, LedgerReader, migrations, sqlite_file
from backfill.ledger.schema import SCHEMA_VERSION
from backfill.pipeline.new_run import job_facts
from backfill.records import CallFacts, JobFacts, RunState
from tests.support.ledgers import ACCEPTED

GOLDEN = Path(__file__).parents[1] / "golden" / "ledger_v1.sql"
FACTS = JobFacts(
    (
        CallFacts("order", 2),
        CallFacts("identify", 1, by_content=True),
        CallFacts("group", 2),
        CallFacts("page", 1, given_id=True),
        CallFacts("alias", 1),
    ),
    ordered=True,
    has_query=True,
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A ledger that version 1 has written: of three batches one is delivered, one in doubt, one planned."""
    path = tmp_path / "ledger.sqlite3"
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(GOLDEN.read_text(encoding="utf-8"))
        connection.execute("PRAGMA journal_mode = WAL")
    return path


@pytest.fixture
def path_of_version_2(path: Path) -> Path:
    """The same run as version 2 has written it: without profiles."""
    Ledger.open(path).close()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("ALTER TABLE shards DROP COLUMN profile")
        connection.execute("PRAGMA user_version = 2")
        schema = connection.execute(sqlite_file._SCHEMA).fetchall()
        connection.execute("UPDATE mark SET schema = ?", (zlib.crc32("\n".join(sql for (sql,) in schema).encode()),))
        connection.commit()
    return path


def test_a_plan_without_profiles(path_of_version_2: Path, tmp_path: Path) -> None:
    """What version 2 has prepared is read, opened and delivered; what its calls hold is not known."""
    path = path_of_version_2
    with LedgerReader(path) as reader:
        assert reader.profile() is None
        with Ledger.open(path) as ledger:
            assert version(path) == SCHEMA_VERSION
            assert ledger.reader.profile() is None
            assert ledger.reader.status().record.facts == FACTS
        assert reader.profile() is None


def version(path: Path) -> int:
    """The version that the file says it has."""
    with closing(sqlite3.connect(path)) as connection:
        return int(connection.execute("PRAGMA user_version").fetchone()[0])


def test_read_as_it_is(path: Path) -> None:
    """A reader has the facts of the job, the target's envelope apart from the job's data, and changes nothing."""
    before = path.read_bytes()
    with LedgerReader(path) as reader:
        record, counts = reader.status().record, reader.counts()
    assert record.facts == FACTS
    assert record.envelope == '"historical_migration":true'
    assert set(json.loads(record.job_data)) == {"version", "name", "ordered", "source", "defaults", "calls"}
    assert (counts.planned, counts.delivered, counts.in_doubt, counts.pending) == (11, 3, 2, 4)
    assert path.read_bytes() == before
    assert version(path) == 1


def test_brought_to_this_version_by_its_writer(path: Path) -> None:
    """Everything is told as before, also by a reader that was there, and the run goes on."""
    with LedgerReader(path) as reader:
        told = reader.status(), reader.counts(), reader.shards(), reader.history(), reader.doubts()
        with Ledger.open(path) as ledger:
            assert version(path) == SCHEMA_VERSION
            assert (reader.status(), reader.counts(), reader.shards(), reader.history(), reader.doubts()) == told
            ledger.set_state(RunState.DELIVERING)
            for batch in ledger.next_batches(2):
                ledger.record_answer(batch, ledger.mark_sent(batch, 1_700_000_200.0), ACCEPTED)
            ledger.finish(0)
    with LedgerReader(path) as reader:
        assert reader.status().record == told[0].record
        assert reader.counts().delivered == 9
    with closing(sqlite3.connect(path)) as connection:
        assert not connection.execute("SELECT * FROM v_accounting WHERE NOT holds").fetchall()


def test_the_same_tables_as_a_new_one(path: Path, tmp_path: Path) -> None:
    """After it, a ledger of version 1 has the columns and views of one that begins now."""
    with Ledger.open(path) as ledger:
        record = ledger.reader.status().record
    Ledger.create(tmp_path / "new.sqlite3", record).close()

    def shape(path: Path) -> dict[str, list[tuple[object, ...]]]:
        with closing(sqlite3.connect(path)) as connection:
            names = [name for (name,) in connection.execute("SELECT name FROM sqlite_schema WHERE type <> 'index'")]
            return {name: connection.execute(f"PRAGMA table_info({name})").fetchall() for name in names}

    assert shape(path) == shape(tmp_path / "new.sqlite3")


def test_a_process_that_dies_in_between(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was not committed leaves a ledger of version 1, with which the next process goes on."""

    def die(connection: sqlite3.Connection) -> None:
        migrations.migrate(connection)
        raise LedgerError("killed")

    with monkeypatch.context() as patch:
        patch.setattr(sqlite_file, "migrate", die)
        with pytest.raises(LedgerError, match="killed"):
            Ledger.open(path)
    assert version(path) == 1
    with Ledger.open(path) as ledger:
        assert ledger.reader.status().record.facts == FACTS


def test_facts_of_a_job_and_of_its_data(repository: Path) -> None:
    """What is made up for an old ledger from the job's data is what a new one is told of the job itself."""
    jobs = sorted((repository / "jobs").glob("*.yaml"))
    assert jobs
    for path in jobs:
        job = load_job(path)
        data, envelope, facts = migrations.split_job_data(json.dumps(job.raw))
        assert (json.loads(data), envelope, facts) == (job.raw, "", job_facts(job)), path.name
