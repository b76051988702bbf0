"""What several processes that deliver one run at once are promised by its ledger, in PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from backfill.errors import ExitCode, LedgerError, LockedError, StoppedError
from backfill.ledger.postgres import Database, leases
from backfill.ledger.postgres.database import PostgresConnection
from backfill.ledger.postgres.schema import RUN_VERSION
from backfill.ledger.reader import SqlReader
from backfill.ledger.transfer import contents, fill
from backfill.records import BatchState, DeliveryStep, RunState, RunStore, RunWriter, SharedDelivery, StoredRun
from backfill.state import open_store
from tests.support.cutting_proxy import CuttingProxy
from tests.support.ledgers import ACCEPTED, RECORD, SPLIT, parts_of, shard_plan
from tests.support.postgres import Postgres
from tests.support.stores import delivering_run
from tests.support.waiting import until

RUN = RECORD.run_id
BATCHES = 12


class Machines:
    """A run in a database, and processes that deliver it: here each is a store of its own."""

    def __init__(self, url: str, folder: Path) -> None:
        self.url, self._folder = url, folder
        self._held = ExitStack()
        self.stores: list[RunStore] = []

    def store(self, url: str = "") -> RunStore:
        """The runs, as one more process has them."""
        made = open_store(self._folder / f"m{len(self.stores)}", database=url or self.url)
        made.make_usable()
        self.stores.append(made)
        return made

    def prepare(self) -> None:
        """Plan the run."""
        store = self.store()
        with store.lock(RUN):
            run = store.run(RUN)
            run.make()
            delivering_run(run, [shard_plan(0, (2,) * BATCHES)]).close()

    def join(self, url: str = "") -> tuple[RunWriter, SharedDelivery]:
        """One more process that delivers it."""
        store = self.store(url)
        self._held.enter_context(store.lock(RUN, together=True))
        ledger = self._held.enter_context(store.run(RUN).open())
        assert ledger.together is not None
        return ledger, ledger.together

    def rows(self, query: str) -> list[tuple[object, ...]]:
        """What a query of the run gives."""
        connection = Database(self.url).connect(self.schema, writes=True)
        try:
            return [tuple(row) for row in connection.execute(query).fetchall()]
        finally:
            connection.close()

    @property
    def schema(self) -> str:
        """The schema of the run."""
        ((schema,),) = Database(self.url).rows("SELECT schema FROM backfill.runs")
        return str(schema)

    def forget(self, token: int) -> None:
        """As if that deliverer had not been heard of for long."""
        self.rows(f"UPDATE deliverers SET expires = '-infinity' WHERE token = {token} RETURNING token")

    @property
    def run(self) -> StoredRun:
        """The run, as anybody sees it."""
        return self.stores[0].run(RUN)

    def close(self) -> None:
        """End all that go on."""
        self._held.close()


@pytest.fixture
def machines(postgres: Postgres, tmp_path: Path) -> Iterator[Machines]:
    """A run that is planned, in a database of its own."""
    made = Machines(postgres.url(postgres.new_database()), tmp_path)
    made.prepare()
    yield made
    made.close()


def deliver(ledger: RunWriter, limit: int = BATCHES) -> list[int]:
    """Send what is handed out, up to so many batches; returns their ids."""
    sent: list[int] = []
    while len(sent) < limit and (batches := ledger.next_batches(1)):
        ledger.record_answer(batches[0], ledger.mark_sent(batches[0], 1.0), ACCEPTED)
        sent.append(batches[0].id)
    ledger.flush()
    return sent


def test_each_batch_is_handed_to_one(machines: Machines) -> None:
    """In plan order; and who has how many is told."""
    (one, _), (two, _) = machines.join(), machines.join()
    first, second = one.next_batches(3), two.next_batches(2)
    assert [batch.id for batch in [*first, *second]] == sorted(batch.id for batch in [*first, *second])
    assert len({batch.id for batch in [*first, *second]}) == 5
    assert [holder.batches for holder in machines.run.holders()] == [3, 2]
    assert str(machines.run.holders()[0]).endswith("Z, has 3 batches")
    taken = {batch.id for ledger in (one, two) for _ in range(BATCHES) for batch in ledger.next_batches(64)}
    assert len(taken) == BATCHES - 5
    assert one.next_batches(1) == []


def test_parts_stay_with_whoever_split_the_batch(machines: Machines) -> None:
    """Also the first batch, of which nothing was sent; once he leaves they are anybody's."""
    (one, leaving), (two, _) = machines.join(), machines.join()
    (cut,) = one.next_batches(1)
    made = one.record_cut(cut, parts_of(cut, [(1, BatchState.PLANNED), (1, BatchState.PLANNED)]))
    (split,) = one.next_batches(1)
    one.record_parts(
        split, one.mark_sent(split, 1.0), SPLIT, parts_of(split, [(1, BatchState.DELIVERED), (1, BatchState.PLANNED)])
    )
    parts = {part.id for part in made}
    others = [batch.id for _ in range(BATCHES) for batch in two.next_batches(1)]
    assert len(others) == BATCHES - 2
    leaving.leave(ExitCode.INTERRUPTED, "asked to")
    free = [batch.id for _ in range(BATCHES) for batch in two.next_batches(1)]
    assert len(free) == 3
    assert parts < set(free)
    assert two.reader.status().state is RunState.DELIVERING


def test_the_first_batch_goes_alone(machines: Machines) -> None:
    """The others wait for its verdict; where its sender leaves without one, another takes its place."""
    (_, one), (second, two), (_, three) = machines.join(), machines.join(), machines.join()
    assert [one.next_step(), two.next_step(), three.next_step()] == ["first", "wait", "wait"]
    one.leave(ExitCode.TERMINATED, "asked to")
    assert [three.next_step(), two.next_step()] == ["first", "wait"]
    three.leave(ExitCode.TERMINATED, "asked to")
    assert two.next_step() is DeliveryStep.FIRST
    deliver(second, 1)
    assert two.next_step() is DeliveryStep.SEND


def test_one_of_them_ends_the_run(machines: Machines) -> None:
    """Nobody does while another has something in hand; the others learn of it."""
    (first, one), (second, two) = machines.join(), machines.join()
    assert one.next_step() is DeliveryStep.FIRST
    deliver(first, 1)
    assert two.next_step() is DeliveryStep.SEND
    deliver(second)
    assert two.next_step() is DeliveryStep.WAIT  # the other may have something in hand
    assert one.next_step() is DeliveryStep.END
    assert two.next_step() is DeliveryStep.WAIT
    first.finish(0)
    two.begin()
    assert [two.next_step(), one.next_step()] == ["over", "over"]
    assert [state for _, state, _, _ in first.reader.history()].count(RunState.FINISHED) == 1


def test_whoever_ends_it_may_die(machines: Machines) -> None:
    """Then another does."""
    (first, one), (_, two) = machines.join(), machines.join()
    assert one.next_step() is DeliveryStep.FIRST
    deliver(first)
    assert [one.next_step(), two.next_step()] == ["end", "wait"]
    machines.forget(1)
    assert two.next_step() is DeliveryStep.END
    with pytest.raises(LockedError):
        first.finish(0)
    with pytest.raises(LockedError):
        first.close()


def test_one_that_hangs_while_it_decides(machines: Machines) -> None:
    """The others wait, and end it once it is late, though its transaction has the lock under which they decide."""
    (late, one), (_, two) = machines.join(), machines.join()
    assert one.next_step() is DeliveryStep.FIRST
    hanging = Database(machines.url).connect(machines.schema, writes=True)
    hanging.script("BEGIN; SELECT 1 FROM mark FOR UPDATE")
    assert one.next_step() is DeliveryStep.WAIT
    machines.forget(1)
    hanging.script("UPDATE deliverers SET commits = commits WHERE token = 1")
    until(lambda: two.next_step() is DeliveryStep.FIRST)
    hanging.close()
    assert machines.rows("SELECT token FROM deliverers WHERE ended IS NULL") == [(2,)]
    with pytest.raises(LockedError):
        late.close()


def test_the_last_to_leave_stops_the_run(machines: Machines) -> None:
    """For its own reason; not one before it."""
    (first, one), (second, two) = machines.join(), machines.join()
    one.leave(ExitCode.INTERRUPTED, "the first")
    assert second.reader.status().state is RunState.DELIVERING
    two.leave(ExitCode.STOPPED, "the second")
    status = first.reader.status()
    assert (status.state, status.exit_code, status.detail) == (RunState.STOPPED, 5, "the second")


def test_what_a_stopped_run_has_is_not_handed_out(machines: Machines) -> None:
    """One that stops for all is heard by all; of several that do, the first does; who begins lets it go on."""
    (first, one), (second, two), (_, three) = machines.join(), machines.join(), machines.join()
    one.next_step()
    deliver(first, 1)
    one.leave(ExitCode.TARGET_REFUSED, "the target refused us", for_all=True)
    assert second.next_batches(1) == []
    assert two.next_step() is DeliveryStep.OVER
    two.leave(ExitCode.TARGET_REFUSED, "and us", for_all=True)
    for _ in range(2):
        three.begin()
    assert three.next_step() is DeliveryStep.SEND
    history = [(str(state), detail) for _, state, _, detail in second.reader.history()]
    assert history[-3:] == [("delivering", ""), ("stopped", "the target refused us"), ("delivering", "")]


def test_whoever_is_late_writes_nothing_more(machines: Machines) -> None:
    """What it had in flight is in doubt, what it had in hand is another's, and it learns so."""
    (late, _), (other, _) = machines.join(), machines.join()
    first, second = late.next_batches(2)
    late.mark_sent(first, 1.0)
    machines.forget(1)
    late.mark_sent(second, 2.0)  # nobody has noticed
    machines.forget(1)
    assert other.together is not None
    other.together.next_step()
    assert [batch.id for batch in other.in_doubt()] == [first.id, second.id]
    late.record_answer(first, 1, ACCEPTED)
    for use in (late.flush, lambda: late.mark_sent(second, 3.0), late.close):
        with pytest.raises(LockedError, match="taken over"):
            use()
    (again, *_) = other.next_batches(2)
    assert (again.id, again.first_unknown_at, other.mark_sent(again, 4.0)) == (first.id, 1.0, 2)
    assert machines.rows("SELECT outcome FROM attempts ORDER BY batch, number")[0] == ("unknown",)


def test_one_process_alone_and_several_keep_each_other_out(machines: Machines) -> None:
    """While one of them is heard of; whoever comes after the last has what they left in flight in doubt."""
    (first, one), (second, _) = machines.join(), machines.join()
    batch, *_ = first.next_batches(2)
    first.mark_sent(batch, 1.0)
    store = machines.store()
    with pytest.raises(LockedError, match="2 other processes"), store.lock(RUN):
        pass
    one.leave(ExitCode.INTERRUPTED, "asked to")
    with pytest.raises(LockedError, match="another process"), store.lock(RUN):
        pass
    doubted, *_ = second.next_batches(1)
    second.mark_sent(doubted, 2.0)
    Database(machines.url).transaction(lambda held: held.execute("UPDATE backfill.leases SET expires = '-infinity'"))
    with store.lock(RUN), store.run(RUN).open() as ledger:
        assert ledger.together is None
        assert len(ledger.in_doubt()) == 1  # the same one, sent again
        assert machines.run.holders()[0].batches is None
        with pytest.raises(LockedError, match="taken over"):
            second.mark_sent(doubted, 3.0)
        with pytest.raises(LockedError), machines.store().lock(RUN, together=True):
            pass
        assert len(ledger.next_batches(64)) == BATCHES
    with pytest.raises(LockedError):
        second.close()


def test_cut_at_each_statement(machines: Machines, postgres: Postgres) -> None:
    """Whether the server had the statement or not: each claim, mark and answer is there once, none is missing."""
    with CuttingProxy(postgres.port) as proxy:
        ledger, together = machines.join(machines.url.replace(f":{postgres.port}/", f":{proxy.port}/"))
        assert together.next_step() is DeliveryStep.FIRST
        assert together.change_pace(lambda text, _: (text, 7)) == 7
        for message in range(1, 6):
            for passed_on in (False, True):
                proxy.cut(message, passed_on=passed_on)
                (batch,) = ledger.next_batches(1)
                proxy.cut(message, passed_on=passed_on)
                assert ledger.mark_sent(batch, 1.0) == 1
                ledger.record_answer(batch, 1, ACCEPTED)
                proxy.cut(message, passed_on=passed_on)
                assert together.change_pace(lambda text, _: (text, 7)) == 7
                ledger.flush()
        assert proxy.cuts >= 10
    assert machines.rows("SELECT count(*), count(DISTINCT batch), count(outcome) FROM attempts") == [(10, 10, 10)]
    assert machines.rows("SELECT delivered, requests FROM v_counts") == [(20, 10)]
    ledger.close()


def test_commits_that_are_lost_are_missed(machines: Machines) -> None:
    """Of a deliverer of this machine, by whoever opens the ledger here: another server may lack them."""
    ledger, _ = machines.join()
    deliver(ledger, 3)
    machines.rows("UPDATE deliverers SET commits = commits - 2 WHERE token = 1 RETURNING token")
    with pytest.raises(LedgerError, match="has lost its newest"):
        deliver(ledger, 1)
    with pytest.raises(LedgerError):
        machines.close()
    store = machines.stores[1]
    with store.lock(RUN), pytest.raises(LedgerError, match="has lost its newest"):
        store.run(RUN).open()


@pytest.mark.parametrize("cut", [False, True])
def test_a_deliverer_of_whom_a_server_knows_nothing(machines: Machines, postgres: Postgres, *, cut: bool) -> None:
    """Another one took over that lacks even that it came: that is told, also where its connection broke by it."""
    with CuttingProxy(postgres.port) as proxy:
        _, together = machines.join(machines.url.replace(f":{postgres.port}/", f":{proxy.port}/"))
        together.begin()
        machines.rows("DELETE FROM deliverers RETURNING token")
        if cut:
            proxy.cut(1, passed_on=False)
        with pytest.raises(LedgerError, match="has lost its newest"):
            together.next_step()
        with pytest.raises(LedgerError):
            machines.close()


def test_a_lease_is_renewed_where_no_more_connections_are_to_be_had(
    postgres: Postgres, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The one for that is there from the beginning: others that come later do not cost a process its lease."""
    monkeypatch.setattr(leases, "LEASE_SECONDS", 1.0)
    database = postgres.new_database()
    user = f"few_{database}"
    postgres.sql(f"CREATE ROLE {user} LOGIN; GRANT ALL ON DATABASE {database} TO {user}")
    machines = Machines(postgres.url(database, user), tmp_path)
    machines.prepare()
    machines.join()
    schema = machines.schema
    postgres.sql(f"ALTER ROLE {user} CONNECTION LIMIT 1")
    with pytest.raises(StoppedError, match="too many connections"):
        machines.join()
    until(lambda: postgres.sql(f"SELECT renewed > acquired FROM {schema}.deliverers", database).split() == ["t"])
    machines.close()


def test_the_time_of_the_pace_is_the_server_s(machines: Machines) -> None:
    """Read once nobody else can change it; what one keeps the others find."""
    (_, one), (_, two) = machines.join(), machines.join()
    times = [each.change_pace(lambda text, now: (f"{text}x", (text, now))) for each in (one, two, one)]
    assert [text for text, _ in times] == ["", "x", "xx"]
    assert [now for _, now in times] == sorted(now for _, now in times)
    machines.close()
    _, later = machines.join()
    assert later.change_pace(lambda text, _: (text, text)) == ""  # the pace of a delivery ends with it
    ((now,),) = Database(machines.url).rows("SELECT extract(epoch FROM clock_timestamp())::float8")
    assert times[0][1] <= times[-1][1] <= now


def test_a_run_of_an_earlier_version(machines: Machines, repository: Path) -> None:
    """It is read as it is, and brought to this version by whoever delivers it; an older program refuses it then."""
    old = (repository / "tests" / "golden" / "postgres_v3.sql").read_text("utf-8")
    schema = machines.schema
    with machines.run.read() as reader:
        assert isinstance(reader, SqlReader)
        held, before = contents(reader), reader.counts()

    def rebuild(connection: PostgresConnection) -> None:
        connection.script(f"DROP SCHEMA {schema} CASCADE; CREATE SCHEMA {schema}; {old}")
        fill(connection, held)
        connection.execute("SELECT setval(pg_get_serial_sequence('batches', 'id'), max(id)) FROM batches")

    for alone in (True, False):
        Database(machines.url).transaction(rebuild, schema)
        with machines.run.read() as reader:
            assert (reader.counts(), list(reader.shards())) == (before, [0])
        assert machines.rows("SELECT version FROM mark") == [(3,)]
        store = machines.store()
        with store.lock(RUN, together=not alone), store.run(RUN).open() as ledger:
            assert len(deliver(ledger, 2)) == 2
            assert ledger.reader.counts().delivered == 4
        assert machines.rows("SELECT version FROM mark") == [(RUN_VERSION,)]
    Database(machines.url).transaction(lambda one: one.script("UPDATE mark SET version = 2"), schema)
    with pytest.raises(LedgerError, match="has version 2; this backfill knows version"):
        machines.run.read()
