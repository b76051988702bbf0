"""What a ledger in PostgreSQL promises while connections, servers and processes fail."""

import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Self

import pytest

from backfill.errors import ExitCode, LedgerError, LockedError, StoppedError, UsageError
from backfill.ledger.postgres import Database
from backfill.records import RunState, RunStore, RunWriter, StoredRun
from backfill.state import open_store
from tests.support.batch_server import BatchServer
from tests.support.cutting_proxy import CuttingProxy
from tests.support.ledgers import ACCEPTED, RECORD, shard_plan
from tests.support.postgres import Postgres, running_server
from tests.support.processes import STARTED
from tests.support.projects import Project
from tests.support.stores import delivering_run
from tests.support.waiting import until

PLANS = [shard_plan(0, (1,) * 40)]
RUN = RECORD.run_id


@pytest.fixture
def url(postgres: Postgres) -> str:
    """A database without runs."""
    return postgres.url(postgres.new_database())


@pytest.fixture
def store(url: str, tmp_path: Path) -> RunStore:
    """The runs in it, as this machine reaches them."""
    store = open_store(tmp_path / ".backfill", database=url)
    store.make_usable()
    return store


def begun(store: RunStore) -> StoredRun:
    """The run of RECORD, whose lock is held."""
    run = store.run(RUN)
    run.make()
    return run


def recorded(url: str, query: str) -> list[tuple[object, ...]]:
    """What a query of the only run in a database gives."""
    ((schema,),) = Database(url).rows("SELECT schema FROM backfill.runs")
    connection = Database(url).connect(schema, writes=False)
    try:
        return [tuple(row) for row in connection.execute(query).fetchall()]
    finally:
        connection.close()


def test_cut_at_each_statement(postgres: Postgres, url: str, tmp_path: Path) -> None:
    """Whether the server had the statement or not: each attempt and each answer is there once, none is missing."""
    with CuttingProxy(postgres.port) as proxy:
        through = open_store(tmp_path / ".backfill", database=url.replace(f":{postgres.port}/", f":{proxy.port}/"))
        through.make_usable()
        with through.lock(RUN), delivering_run(begun(through), PLANS) as ledger:
            batches = iter(ledger.next_batches(40))
            places = [(message, passed_on) for message in range(1, 5) for passed_on in (False, True)]
            for message, passed_on in places:
                batch = next(batches)
                proxy.cut(message, passed_on=passed_on)
                assert ledger.mark_sent(batch, 1.0) == 1
                ledger.record_answer(batch, 1, ACCEPTED)
                proxy.cut(message, passed_on=passed_on)
                ledger.flush()
            assert proxy.cuts >= 2 * (len(places) - 2)
        assert recorded(url, "SELECT count(*), count(DISTINCT batch), count(outcome) FROM attempts") == [(8, 8, 8)]
        assert recorded(url, "SELECT delivered, requests FROM v_counts") == [(8, 8)]


def test_a_lost_reader_asks_again(postgres: Postgres, url: str, tmp_path: Path) -> None:
    """Reading is repeated on a new connection."""
    with CuttingProxy(postgres.port) as proxy:
        through = open_store(tmp_path / ".backfill", database=url.replace(f":{postgres.port}/", f":{proxy.port}/"))
        through.make_usable()
        with through.lock(RUN), delivering_run(begun(through), PLANS), through.run(RUN).read() as reader:
            for passed_on in (False, True):
                proxy.cut(1, passed_on=passed_on)
                assert reader.counts().planned == 42
            assert proxy.cuts == 2


def test_a_transaction_that_the_server_undid_is_repeated(postgres: Postgres, store: RunStore, url: str) -> None:
    """A serialisation failure: the same group again, whole."""
    postgres.sql(f"ALTER DATABASE {url.rpartition('/')[2]} SET default_transaction_isolation = 'repeatable read'")
    with store.lock(RUN), delivering_run(begun(store), PLANS) as ledger:
        ((schema,),) = Database(url).rows("SELECT schema FROM backfill.runs")
        other = Database(url).connect(schema, writes=True)
        other.script("BEGIN; UPDATE mark SET version = version")
        numbers: list[int] = []
        (batch,) = ledger.next_batches(1)
        sender = threading.Thread(target=lambda: numbers.append(ledger.mark_sent(batch, 1.0)))
        sender.start()
        waiting = "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE 'UPDATE mark%'"
        until(lambda: postgres.sql(waiting))
        other.script("COMMIT")
        other.close()
        sender.join()
        assert numbers == [1]
    assert recorded(url, "SELECT count(*) FROM attempts") == [(1,)]


def test_commits_are_durable_whatever_the_default(postgres: Postgres, store: RunStore, url: str) -> None:
    """A database that would lose the last commits in a crash is asked not to."""
    postgres.sql(f"ALTER DATABASE {url.rpartition('/')[2]} SET synchronous_commit = off")
    connection = Database(url).connect(writes=True)
    assert connection.execute("SHOW synchronous_commit").fetchall() == [("on",)]
    connection.close()


def test_a_database_that_lacks_characters_is_refused(postgres: Postgres, tmp_path: Path) -> None:
    """Before anything is made: a run would stop at the first row that holds one."""
    for encoding, refused in (("LATIN1", True), ("SQL_ASCII", False)):
        name = postgres.new_database(options=f"ENCODING '{encoding}' LC_COLLATE 'C' LC_CTYPE 'C'")
        store = open_store(tmp_path / encoding, database=postgres.url(name))
        if refused:
            with pytest.raises(UsageError, match="encoded in LATIN1"):
                store.make_usable()
            assert not (tmp_path / encoding).exists()
            continue
        store.make_usable()
        with store.lock(RUN), begun(store).create(replace(RECORD, job_name="\u65e5\U0001f600")) as ledger:
            assert ledger.reader.status().record.job_name == "\u65e5\U0001f600"


def test_no_default_of_the_database_alters_a_run(postgres: Postgres, store: RunStore, url: str) -> None:
    """Times stay exact where numbers are shown short, and no statement is ended for its length."""
    database = url.rpartition("/")[2]
    postgres.sql(
        f"ALTER DATABASE {database} SET extra_float_digits = -10; ALTER DATABASE {database} SET statement_timeout = 25"
    )
    created = replace(RECORD, created_at=1_700_000_000.1239)
    with store.lock(RUN), begun(store).create(created) as ledger:
        assert ledger.reader.status().record == created
    assert recorded(url, "SELECT pg_sleep(0.05) IS NULL") == [(0,)]


class TestLease:
    """One process at a time writes, whatever clock it has and however long it slept."""

    def expire(self, url: str) -> None:
        """As if the holder had not been heard of for long."""
        Database(url).transaction(
            lambda connection: connection.execute("UPDATE backfill.leases SET expires = clock_timestamp()")
        )

    def test_whoever_lost_it_writes_nothing_more(self, store: RunStore, url: str, tmp_path: Path) -> None:
        """Neither a mark nor an answer, nor may it discard the run; the other goes on."""
        other = open_store(tmp_path / ".backfill", database=url)
        with ExitStack() as held:
            held.enter_context(store.lock(RUN))
            late = delivering_run(begun(store), PLANS)
            first, second, *_ = late.next_batches(3)
            late.mark_sent(first, 1.0)
            self.expire(url)
            late.mark_sent(second, 1.0)  # nobody has taken it
            self.expire(url)
            with other.lock(RUN), other.run(RUN).open() as ledger:
                assert ledger.orphans == 2
                late.record_answer(first, 1, ACCEPTED)
                with pytest.raises(LockedError, match="taken over") as refused:
                    late.flush()
                assert refused.value.exit_code is ExitCode.LOCKED
                with pytest.raises(LockedError):
                    late.mark_sent(second, 2.0)
                with pytest.raises(LockedError):
                    store.put_away(store.run(RUN))
                with pytest.raises(LockedError):
                    store.run(RUN).open()
                with pytest.raises(LockedError):
                    late.close()
                assert ledger.mark_sent(ledger.next_batches(1)[0], 3.0) == 2
            assert recorded(url, "SELECT outcome FROM attempts ORDER BY batch, number") == [
                ("unknown",),
                (None,),
                ("unknown",),
            ]

    def test_it_is_by_the_server_s_clock(
        self, store: RunStore, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A clock of ours that is a year wrong neither takes a lease nor loses one."""
        with store.lock(RUN):
            for wrong in (-3e7, 3e7):
                now = time.time
                with monkeypatch.context() as patched:
                    patched.setattr(time, "time", lambda now=now, wrong=wrong: now() + wrong)
                    with pytest.raises(LockedError, match=r"\(pid \d+, since 20\d\d-"):
                        open_store(tmp_path / ".backfill", database=url).lock(RUN).__enter__()

    def test_it_is_renewed(self, store: RunStore, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
        """Long before it ends."""
        monkeypatch.setattr("backfill.ledger.postgres.leases.LEASE_SECONDS", 0.3)
        with store.lock(RUN):
            asked = "SELECT renewed > acquired + interval '0.5 s', expires > renewed FROM backfill.leases"
            until(lambda: tuple(Database(url).rows(asked)[0]) == (True, True))


#: The program, with a lease that a test can wait for.
SHORT_LEASE = """
from backfill.__main__ import program
from backfill.ledger.postgres import leases
leases.LEASE_SECONDS = 1.0
program()
"""
#: The same, which soon takes a server for out of reach.
SHORT_PATIENCE = SHORT_LEASE.replace(
    "leases.LEASE", "from backfill.ledger.postgres import patience\npatience.REACH_SECONDS = 0.5\nleases.LEASE"
)
TARGETS = "version: 1\ntargets:\n  prod: {{kind: compatible, endpoint: '{url}', id_scope: a, write_key: '${{WK}}'}}\n"


class Counting(BatchServer):
    """A target that takes everything, and answers the third request and later ones once it is let."""

    requests = 0

    def __enter__(self) -> Self:
        """Listening."""
        self.let = threading.Event()
        return super().__enter__()

    def answer(self, path: str, headers: dict[str, str], body: bytes) -> tuple[int | None, bytes]:
        """Taken."""
        self.requests += 1
        if self.requests > 2:
            self.let.wait(60)
        return 200, b"{}"


def test_a_process_stopped_past_its_lease(project: Project, url: str, repository: Path) -> None:
    """Another takes over; let go on, it sends no further request, records nothing and says why, with exit code 7."""
    job = project.people(20_000, text="x" * 300)
    with Counting() as target:
        (project.folder / "targets.yaml").write_text(TARGETS.format(url=target.url))
        words = [*("run", str(job), "--target", "prod", "--yes", "--no-progress"), "--state", url, "--rate", "20000/s"]
        environ = os.environ | {"PYTHONPATH": str(repository), "WK": "w" * 20}
        paused = subprocess.Popen(
            [sys.executable, "-c", SHORT_LEASE, *words],
            cwd=project.folder, env=environ, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        STARTED.append(paused)
        until(lambda: target.requests > 2, paused)
        paused.send_signal(signal.SIGSTOP)
        sent = target.requests
        until(lambda: Database(url).rows("SELECT 1 FROM backfill.leases WHERE expires < clock_timestamp()"))
        store = open_store(project.state, database=url)
        (run,) = store.runs()
        with store.lock(run.run_id), run.open() as ledger:
            before = recorded(url, "SELECT commits FROM mark")
            target.let.set()
            paused.send_signal(signal.SIGCONT)
            _, said = paused.communicate(timeout=60)
            assert paused.returncode == ExitCode.LOCKED, said
            assert f"Error: the run {run.run_id} was taken over by another process" in said
            assert "Traceback" not in said
            assert target.requests <= sent + 2  # those in flight when it was stopped
            assert recorded(url, "SELECT commits FROM mark") == before
            assert ledger.reader.counts().faults() == []
            assert 0 < ledger.reader.counts().in_doubt == sum(one.calls for one in ledger.reader.in_doubt())


def test_a_process_whose_connections_are_swallowed(
    postgres: Postgres, project: Project, url: str, repository: Path
) -> None:
    """In a transaction, and TCP stays up: another takes over at once; the late one ends by itself, exit code 5."""
    job = project.people(20_000, text="x" * 300)
    with Counting() as target, CuttingProxy(postgres.port) as proxy:
        (project.folder / "targets.yaml").write_text(TARGETS.format(url=target.url))
        through = url.replace(f":{postgres.port}/", f":{proxy.port}/") + "?connect_timeout=2"
        words = [*("run", str(job), "--target", "prod", "--yes", "--no-progress"), "--state", through]
        environ = os.environ | {"PYTHONPATH": str(repository), "WK": "w" * 20}
        late = subprocess.Popen(
            [sys.executable, "-c", SHORT_PATIENCE, *words, "--rate", "20000/s"],
            cwd=project.folder, env=environ, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        STARTED.append(late)
        until(lambda: target.requests > 2, late)
        proxy.swallow(b"BEGIN\0")
        target.let.set()
        until(proxy.swallows.is_set, late)
        writing = (
            f"SELECT pid FROM pg_stat_activity WHERE datname = '{url.rpartition('/')[2]}' AND backend_xid IS NOT NULL"
        )
        assert postgres.sql(writing)
        until(lambda: Database(url).rows("SELECT 1 FROM backfill.leases WHERE expires < clock_timestamp()"))
        store = open_store(project.state, database=url)
        (run,) = store.runs()
        began = time.monotonic()
        with store.lock(run.run_id), run.open() as ledger:
            assert time.monotonic() - began < 10
            before = recorded(url, "SELECT commits FROM mark")
            late.send_signal(signal.SIGTERM)
            _, said = late.communicate(timeout=20)
            assert late.returncode == ExitCode.STOPPED, said
            assert "cannot be used" in said
            assert "Traceback" not in said
            assert "Pipeline" not in said  # psycopg's own log
            assert recorded(url, "SELECT commits FROM mark") == before
            assert ledger.reader.counts().faults() == []
            assert 0 < ledger.reader.counts().in_doubt == sum(one.calls for one in ledger.reader.in_doubt())


@pytest.fixture(scope="module")
def own() -> Iterator[Postgres]:
    """A server that a test may stop."""
    with running_server() as server:
        yield server


class TestServer:
    """The server itself goes away."""

    def ledger(self, own: Postgres, folder: Path, held: ExitStack) -> tuple[str, RunWriter]:
        """A run that is about to send there, in a database of its own."""
        url = own.url(own.new_database())
        store = open_store(folder / ".backfill", database=url)
        store.make_usable()
        held.enter_context(store.lock(RUN))
        return url, delivering_run(begun(store), PLANS)

    def test_restarted(self, own: Postgres, tmp_path: Path) -> None:
        """Killed and started again while it is written: what was told durable is there, and it goes on."""
        with ExitStack() as held:
            url, ledger = self.ledger(own, tmp_path, held)
            told: list[int] = []

            def send() -> None:
                while batches := ledger.next_batches(1):
                    told.append(ledger.mark_sent(batches[0], 1.0) and batches[0].id)
                    ledger.record_answer(batches[0], 1, ACCEPTED)

            senders = [threading.Thread(target=send) for _ in range(4)]
            for sender in senders:
                sender.start()
            until(lambda: len(told) > 4)
            own.stop(signal.SIGQUIT)
            own.start()
            for sender in senders:
                sender.join()
            ledger.finish(0)
            ledger.close()
            assert sorted(told) == list(range(1, 41))
            assert recorded(url, "SELECT delivered, requests, retries FROM v_counts") == [(40, 40, 0)]

    def test_a_primary_without_the_last_commits(self, own: Postgres, tmp_path: Path) -> None:
        """The process notices, and so does the next one on this machine: else what was sent would be sent again."""
        with ExitStack() as held:
            url, ledger = self.ledger(own, tmp_path, held)
            own.stop(signal.SIGINT)
            data = own.folder / "data"
            shutil.copytree(data, own.folder / "before", symlinks=True)
            for path in [own.folder / "before", *(own.folder / "before").rglob("*")]:
                shutil.chown(path, data.owner(), data.group())
            own.start()
            (batch,) = ledger.next_batches(1)
            ledger.record_answer(batch, ledger.mark_sent(batch, 1.0), ACCEPTED)
            ledger.flush()
            own.stop(signal.SIGQUIT)
            shutil.rmtree(data)
            (own.folder / "before").rename(data)
            own.start()
            with pytest.raises(LedgerError, match=r"lost its newest \d commits?: another server"):
                ledger.mark_sent(batch, 2.0)
            with pytest.raises(LedgerError):
                ledger.close()
        store = open_store(tmp_path / ".backfill", database=url)
        with store.lock(RUN), pytest.raises(LedgerError, match="lost its newest"):
            store.run(RUN).open()
        elsewhere = open_store(tmp_path / "elsewhere", database=url)
        with elsewhere.lock(RUN), elsewhere.run(RUN).open() as ledger:  # which knows nothing of them
            assert ledger.reader.status().state is RunState.DELIVERING

    def test_gone_for_good(self, own: Postgres, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """The run stops, and can be resumed."""
        monkeypatch.setattr("backfill.ledger.postgres.database.RECONNECT_SECONDS", 0.0)
        with ExitStack() as held:
            _, ledger = self.ledger(own, tmp_path, held)
            (batch,) = ledger.next_batches(1)
            own.stop(signal.SIGQUIT)
            with pytest.raises(StoppedError, match="cannot be used") as stopped:
                ledger.mark_sent(batch, 1.0)
            assert stopped.value.exit_code is ExitCode.STOPPED
            with pytest.raises(StoppedError):
                ledger.close()
            own.start()


class TestVersions:
    """What an older program does not know, it does not touch."""

    @pytest.mark.parametrize("table", ["backfill.version", "mark"])
    def test_a_later_one_is_refused(self, store: RunStore, url: str, table: str) -> None:
        """Of all runs, and of one; to be read and to be written."""
        with store.lock(RUN):
            delivering_run(begun(store), PLANS).close()
            ((schema,),) = Database(url).rows("SELECT schema FROM backfill.runs")
            Database(url).transaction(lambda one: one.script(f"UPDATE {table} SET version = version + 1"), schema)
            for use in (store.run(RUN).open, store.run(RUN).read):
                with pytest.raises(LedgerError, match=r"has version \d; this backfill knows version \d"):
                    use()

    def test_somebody_else_s_schema(self, postgres: Postgres, tmp_path: Path) -> None:
        """A schema of that name is not taken for ours."""
        url = postgres.url(postgres.new_database("CREATE SCHEMA backfill; CREATE TABLE backfill.runs (id int)"))
        with pytest.raises(UsageError, match="not of this program"):
            open_store(tmp_path / ".backfill", database=url).make_usable()


def test_bytes_on_another_machine(store: RunStore, url: str, tmp_path: Path) -> None:
    """The ledger is found, its bytes are named; nothing is made in their place."""
    with store.lock(RUN):
        delivering_run(begun(store), PLANS).close()
    elsewhere = open_store(tmp_path / "elsewhere", database=url)
    with elsewhere.run(RUN).read() as reader:
        assert reader.status().record == RECORD
    with pytest.raises(UsageError, match=re.escape(str(tmp_path / ".backfill"))):
        elsewhere.run(RUN).spool()
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.parametrize("made", ["cache", "bytes/cache"])
def test_a_machine_that_only_looked_can_work(url: str, tmp_path: Path, made: str) -> None:
    """What `verify` or `rejects` has fetched is not taken for a stranger's."""
    store = open_store(tmp_path / ".backfill", database=url)
    (store.path / made).mkdir(parents=True)
    assert store.make_usable() is True
    with store.lock(RUN):
        delivering_run(begun(store), PLANS).close()


def test_what_another_machine_discarded(store: RunStore, url: str, tmp_path: Path) -> None:
    """What is left of it here is neither taken for a run that lost its ledger nor kept."""
    with store.lock(RUN):
        delivering_run(begun(store), PLANS).close()
    folder = store.run(RUN).path
    (folder / "spool").mkdir()
    (folder / "spool" / "000000.segment").write_bytes(b"calls")
    other = open_store(tmp_path / "elsewhere", database=url)
    with other.lock(RUN):
        other.discard(other.run(RUN))
    assert not store.run(RUN).begun()
    assert store.runs(lost=True) == []
    store.make_usable()
    assert not folder.exists()


def test_bytes_of_a_run_that_the_database_does_not_know(store: RunStore, tmp_path: Path, postgres: Postgres) -> None:
    """Another database is an empty memory: to begin afresh would send again."""
    with store.lock(RUN):
        delivering_run(begun(store), PLANS).close()
    spool = store.run(RUN).path / "spool"
    spool.mkdir()
    (spool / "000000.segment").write_bytes(b"calls")
    other = open_store(tmp_path / ".backfill", database=postgres.url(postgres.new_database()))
    assert other.run(RUN).lost
    with pytest.raises(LedgerError, match="their ledger is gone from"):
        other.run(RUN).begun()
    assert [run.run_id for run in other.runs(lost=True)] == [RUN]
    assert not store.run(RUN).lost


VIEWS = (
    *("v_run", "v_history", "v_counts", "v_accounting", "v_batches", "v_attempts", "v_in_doubt", "v_decisions"),
    *("v_problems", "v_calls_per_day"),
)


def test_the_views_are_the_same(store: RunStore, url: str, tmp_path: Path, repository: Path) -> None:
    """Of the same run each view, and each question of the documentation, gives what it gives in SQLite."""
    import sqlite3
    from contextlib import closing

    from backfill.records import Decision
    from tests.support.ledgers import REJECTED, UNKNOWN

    folder = open_store(tmp_path / "folder")
    folder.make_usable()
    clock = iter(range(10_000))
    for one in (store, folder):
        clock = iter(range(10_000))
        with one.lock(RUN):
            begun(one).create(replace(RECORD, created_at=1_700_000_000.1239)).close()
            with one.run(RUN).open(clock=lambda clock=clock: 1_700_000_000.4567 + next(clock)) as ledger:
                fill(ledger)
                batches = ledger.next_batches(5)
                for at, answered in enumerate((ACCEPTED, REJECTED, UNKNOWN, UNKNOWN)):
                    ledger.record_answer(batches[at], ledger.mark_sent(batches[at], 900.0005 + at), answered)
                ledger.mark_sent(batches[4], 950.25)
                ledger.flush()
                ledger.decide([replace(batches[2], first_unknown_at=902.0005)], Decision.SKIP, 999.0)
    text = (repository / "docs" / "ledger.md").read_text("utf-8")
    questions = re.findall(r"```sql\n(.*?)```", text, re.DOTALL)
    assert len(questions) >= 4
    with closing(sqlite3.connect(folder.run(RUN).ledger)) as connection:
        for query in [*(f"SELECT * FROM {view}" for view in VIEWS), *questions]:
            expected = sorted(map(repr, connection.execute(query).fetchall()))
            assert sorted(map(repr, recorded(url, query))) == expected, query


def fill(ledger: RunWriter) -> None:
    """Record a plan, and begin to deliver."""
    from tests.support.ledgers import snapshot_of

    ledger.record_snapshot(snapshot_of(PLANS), calls_per_row=1, problems={("BF001", "error"): 2})
    for plan in PLANS:
        ledger.record_shard(plan)
    ledger.record_plan()
    ledger.set_state(RunState.DELIVERING)
