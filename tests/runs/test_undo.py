"""`undo`: what it writes deletes exactly a run's rows, proposes only users of that run alone, and says what stays."""

from __future__ import annotations

import csv
import json
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import sqlglot
from sqlglot import exp

from backfill.ledger import LedgerReader
from backfill.pipeline.undo import read_fields
from backfill.sandbox import Sandbox
from backfill.undo.users import SUBJECTS, UserTables
from backfill.undo.warehouse import DIALECTS, event_table
from tests.support.members import people
from tests.support.postgres import Postgres
from tests.support.projects import Project, backfill
from tests.support.reruns import reruns
from tests.support.sandbox_calls import client_of

KEY = "a-write-key-of-nobody"
ROWS = 60
EVENTS = ("Order Completed", "orderRefunded", "注文")  # of the last no table is known
JOB = """\
version: 1
name: {name}
source: {{path: {name}.csv, timezone: UTC}}
defaults: {{message_key: [id], timestamp: {{column: at, format: "%Y-%m-%d"}}, integrations: {integrations}}}
calls:
  - {{type: identify, userId: user, traits: {{plan: plan}}}}
  - {{type: track, userId: user, event: {{column: what}}, properties: {{plan: plan}}}}
  - {{type: page, anonymousId: guest, name: {{value: Home}}}}
  - {{type: group, userId: user, groupId: plan}}
"""
#: Tables of a warehouse with the ids that they hold.
Warehouse = dict[str, set[str]]


@dataclass(frozen=True)
class Room:
    """Two live runs whose users overlap, what arrived of both, and what was written to undo the second."""

    folder: Path
    arrived: dict[str, list[dict[str, Any]]]  # by job
    told: str

    @property
    def undone(self) -> Path:
        """The folder of the second run."""
        return self.folder / "undone"


def write_job(folder: Path, name: str, users: range, integrations: str = "{All: false}") -> Path:
    """A job whose rows become four calls each."""
    with (folder / f"{name}.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "user", "guest", "at", "what", "plan"])
        for user in users:
            writer.writerow([f"{name}{user}", f'u"{user}, é', f"g{user % 7}", "2023-05-01", EVENTS[user % 3], "free"])
    job = folder / f"{name}.yaml"
    job.write_text(JOB.format(name=name, integrations=integrations), "utf-8")
    return job


@pytest.fixture(scope="module")
def room(tmp_path_factory: pytest.TempPathFactory) -> Room:
    """Made once."""
    folder = tmp_path_factory.mktemp("undo")
    jobs = {
        "first": write_job(folder, "first", range(20)),
        "second": write_job(folder, "second", range(10, ROWS), '{All: false, "Actions Amplitude": true}'),
    }
    arrived: dict[str, list[dict[str, Any]]] = {}
    with Sandbox(folder / "sandbox") as sandbox, pytest.MonkeyPatch.context() as patch:
        patch.setenv("SEGMENT_WRITE_KEY", KEY)
        patch.chdir(folder)
        after = 0
        for name, job in jobs.items():
            ran = backfill("run", job, "--target", "segment", "--endpoint", sandbox.endpoint, "--yes")
            assert ran.code == 0, ran.err
            with client_of(sandbox.endpoint) as client:
                page = client.get("/calls", params={"limit": 1000, "after": after}).json()
            after = page["next"]
            arrived[name] = [
                json.loads(one["call"]) if isinstance(one["call"], str) else one["call"] for one in page["calls"]
            ]
        rehearsed = write_job(folder, "rehearsed", range(30, ROWS))  # of which Segment knows nothing
        assert backfill("run", rehearsed, "--target", "sandbox").code == 0
        told = backfill("undo", jobs["second"], "-o", "undone", "--schema", "shop")
    assert told.code == 0, told.err
    return Room(folder, arrived, told.out)


def tables_of(call: dict[str, Any]) -> Iterator[str]:
    """The tables in which Segment writes a call."""
    yield {"identify": "identifies", "track": "tracks", "page": "pages", "group": "groups"}[call["type"]]
    if call["type"] == "track":
        yield {"Order Completed": "order_completed", "orderRefunded": "order_refunded", "注文": "_e6_b3"}[call["event"]]


def warehouse_of(calls: list[dict[str, Any]]) -> Warehouse:
    """The rows that calls become."""
    found: Warehouse = {}
    for call in calls:
        for table in tables_of(call):
            found.setdefault(table, set()).add(call["messageId"])
    return found


def load(postgres: Postgres, calls: list[dict[str, Any]]) -> str:
    """A database with the schema `shop` as Segment would have made it; returns its name."""
    text = "CREATE SCHEMA shop;"
    events = {call["messageId"]: list(tables_of(call))[-1] for call in calls}
    for table, rows in warehouse_of(calls).items():
        values = ", ".join(f"('{row}', '{events[row]}')" for row in rows)
        text += f"CREATE TABLE shop.{table} (id varchar(1024) PRIMARY KEY, event varchar(1024));"
        text += f"INSERT INTO shop.{table} VALUES {values};"
    return postgres.new_database(text)


def rows_in(postgres: Postgres, database: str, tables: Warehouse) -> Warehouse:
    """What the tables hold now."""
    return {table: set(postgres.sql(f"SELECT id FROM shop.{table}", database).split()) for table in tables}


def run_sql(postgres: Postgres, database: str, folder: Path, script: str) -> subprocess.CompletedProcess[str]:
    """Run a script as its first lines say."""
    psql = [postgres.bin / "psql", "-X", postgres.url(database), "-f", "-"]
    return subprocess.run(psql, input=script, text=True, capture_output=True, check=False, cwd=folder, encoding="utf-8")


def test_exactly_its_rows_vanish(room: Room, postgres: Postgres) -> None:
    """In a real PostgreSQL: nothing while a table is not named; with its lines all rows of the run, and no other."""
    both = [*room.arrived["first"], *room.arrived["second"]]
    tables = warehouse_of(both)
    database = load(postgres, both)
    script = (room.undone / "postgres.sql").read_text("utf-8")
    refused = run_sql(postgres, database, room.undone, script)
    assert refused.returncode == 3
    assert "division by zero" in refused.stderr
    assert "_e6_b3" in refused.stdout  # which the user is told to add
    assert rows_in(postgres, database, tables) == tables
    named = script.replace("'order_refunded')", "'order_refunded', '_e6_b3')")
    mended = named.replace(
        "COMMIT;", 'DELETE FROM "shop"."_e6_b3" WHERE id IN (SELECT message_id FROM backfill_undo);\nCOMMIT;'
    )
    done = run_sql(postgres, database, room.undone, mended)
    assert done.returncode == 0, done.stderr
    left = warehouse_of(room.arrived["first"])
    assert rows_in(postgres, database, tables) == {table: left.get(table, set()) for table in tables}


def test_another_count_deletes_nothing(room: Room, postgres: Postgres) -> None:
    """A row fewer than were delivered, and the script ends before it deletes."""
    calls = [call for call in room.arrived["second"] if call.get("event") != EVENTS[2]]
    tables = warehouse_of(calls)
    database = load(postgres, calls)
    gone = min(tables["pages"])
    postgres.sql(f"DELETE FROM shop.pages WHERE id = '{gone}'", database)
    ended = run_sql(postgres, database, room.undone, (room.undone / "postgres.sql").read_text("utf-8"))
    assert ended.returncode == 3
    assert rows_in(postgres, database, tables) == tables | {"pages": tables["pages"] - {gone}}


def test_ids_and_users(room: Room) -> None:
    """Each call that arrived and no other; users of the first run are not proposed; files are their owner's alone."""
    with (room.undone / "message_ids.csv").open(encoding="utf-8", newline="") as file:
        ids = list(csv.DictReader(file))
    assert {row["message_id"] for row in ids} == {call["messageId"] for call in room.arrived["second"]}
    assert {row["standing"] for row in ids} == {"delivered"}
    with (room.undone / "users.csv").open(encoding="utf-8", newline="") as file:
        users = {(row["kind"], row["id"]): (int(row["calls"]), row["only_this_run"]) for row in csv.DictReader(file)}
    known = {f'u"{user}, é' for user in range(20)}
    mine = {f'u"{user}, é' for user in range(10, ROWS)}
    own = {("userId", user): (3, "no" if user in known else "yes") for user in mine}
    assert {key: value for key, value in users.items() if key[0] == "userId"} == own
    assert {value[1] for key, value in users.items() if key[0] == "anonymousId"} == {"no"}
    (body,) = (room.undone / "deletion-requests").iterdir()
    request = json.loads(body.read_text("utf-8"))
    assert set(request.pop("subjectIds")) == mine - known
    assert request == {"regulationType": "DELETE_ONLY", "subjectType": "USER_ID"}
    modes = {path.stat().st_mode & 0o777 for path in room.undone.rglob("*") if path.is_file()}
    assert (modes, room.undone.stat().st_mode & 0o777) == ({0o600}, 0o700)
    assert {f"{kind}.sql" for kind in DIALECTS} <= {path.name for path in room.undone.iterdir()}


def test_what_is_said(room: Room) -> None:
    """What cannot be taken back, what destinations say, how to go on; in 80 columns, and the same in the folder."""
    assert max(map(len, room.told.splitlines())) <= 80
    said = " ".join(room.told.split())
    for part in (
        "A PROPOSAL: 1 body",
        "40 users, of every source. backfill cannot know whom others have sent",
        "traits that the calls overwrote",
        "Actions Amplitude deletes events by name and by the days",
        "the tables of 17 calls are not known",
        "state `generation: 2` in the job file",
        "--only-new",
    ):
        assert part in said
    assert "merged by alias" not in said
    assert "SANDBOX" not in said
    assert (room.undone / "README.txt").read_text("utf-8").split() == room.told.split()


def test_its_commands_name_the_place_once(room: Room) -> None:
    """Where the state directory has to be said, each command can be typed as it is told."""
    told = backfill(
        "undo", room.folder / "second.yaml", "-o", room.folder / "n", "--state-dir", room.folder / ".backfill"
    )
    commands = re.findall(r"`backfill run [^`]*`", told.out)
    assert [command.count("--state-dir") for command in commands] == [1, 1], told.out


def test_tables_of_events() -> None:
    """As Segment names them; never one of its own, in which other things stand under `id`."""
    names = ["Order Completed", "orderRefunded", "Users", "Tracks", "accounts", "注文", "Été 2"]
    assert [event_table(name) for name in names] == ["order_completed", "order_refunded", "", "", "", "", "t_2"]


def test_for_programs_and_never_over(room: Room) -> None:
    """JSON has the same; a folder that is there is not written to; --suppress makes other requests."""
    job = room.folder / "second.yaml"
    assert backfill("undo", job, "-o", room.folder / "quoted", "--schema", 'a"b').code == 2
    again = backfill("undo", job, "-o", room.undone)
    assert (again.code, "it exists" in again.err) == (2, True)
    told = backfill("undo", job, "-o", room.folder / "other", "--suppress", "--output", "json").object
    assert (told["delivered"], told["in_doubt"], told["live"]) == (4 * (ROWS - 10), 0, True)
    assert told["users"]["only_this_run"] == 40
    assert told["regulation_type"] == "SUPPRESS_WITH_DELETE"
    assert "YOUR_SCHEMA" in (room.folder / "other" / "bigquery.sql").read_text("utf-8")


def test_a_source_that_was_mended(room: Room, postgres: Postgres, tmp_path: Path) -> None:
    """Ids and SQL are written nevertheless, exactly; its users are not known, nor are they as those of another run."""
    source = room.folder / "second.csv"
    before = source.read_bytes()
    source.write_bytes(before.replace(b"free", b"paid"))
    try:
        told = backfill("undo", room.folder / "second.yaml", "-o", tmp_path / "gone", "--schema", "shop")
        other = backfill("undo", room.folder / "first.yaml", "-o", tmp_path / "first", "--output", "json")
    finally:
        source.write_bytes(before)
    assert told.code == 0, told.err
    assert "users        not known: " in told.out
    assert not (tmp_path / "gone" / "users.csv").exists()
    assert (
        (tmp_path / "gone" / "message_ids.csv")
        .read_text()
        .split(",delivered")[0]
        .endswith((room.undone / "message_ids.csv").read_text().splitlines()[1].split(",")[0])
    )
    calls = [call for call in room.arrived["second"] if call.get("event") != EVENTS[2]]
    both = [*calls, *(call for call in room.arrived["first"] if call.get("event") != EVENTS[2])]
    database = load(postgres, both)
    script = (tmp_path / "gone" / "postgres.sql").read_text("utf-8").replace("BETWEEN 50 AND 50", "BETWEEN 33 AND 50")
    done = run_sql(postgres, database, tmp_path / "gone", script)  # 17 tracks were left out above
    assert done.returncode == 0, done.stderr
    left = warehouse_of(room.arrived["first"])
    assert rows_in(postgres, database, warehouse_of(both)) == {
        table: left[table] - {call["messageId"] for call in room.arrived["first"] if call.get("event") == EVENTS[2]}
        for table in warehouse_of(both)
    }
    assert other.object["users"]["runs_not_known"]
    assert (other.object["users"]["only_this_run"], (tmp_path / "first" / "deletion-requests").exists()) == (
        None,
        False,
    )


@pytest.mark.usefixtures("key")
def test_in_doubt_is_told_apart(tmp_path: Path) -> None:
    """Of a run that stopped: delivered and in doubt each by id; the guard takes any number of those in doubt."""
    with reruns(tmp_path, "status=501,stored,after=1,first=1") as bench:
        bench.members(people(50))
        assert bench.run().code == 5
        bench.tap.forward, forward = (lambda *_: (None, b"")), bench.tap.forward  # type: ignore[method-assign]
        assert bench.run("--attempts", "1").code == 5
        bench.tap.forward = forward  # type: ignore[method-assign]
        folder = tmp_path / "undone"
        told = backfill("undo", bench.job, "-o", folder, "--state-dir", bench.state.path)
        with LedgerReader(bench.state.runs()[0].ledger) as reader:
            counts = reader.counts()
    assert told.code == 0, told.err
    assert f"{counts.delivered} delivered, {counts.in_doubt} in doubt" in told.out
    assert "this run is not finished" in told.out
    standings = [line.split(",")[1] for line in (folder / "message_ids.csv").read_text().splitlines()[1:]]
    assert (standings.count("delivered"), standings.count("in_doubt")) == (counts.delivered, counts.in_doubt)
    assert (
        f"BETWEEN {counts.delivered} AND {counts.delivered + counts.in_doubt}" in (folder / "redshift.sql").read_text()
    )


def test_sandbox_and_nothing_to_undo(tmp_path: Path) -> None:
    """A rehearsal is called one; where nothing was delivered there is nothing to undo, and no folder."""
    project = Project(tmp_path)
    job = project.people(3)
    assert backfill("run", job, "--target", "sandbox").code == 0
    assert backfill("undo", job, "-o", tmp_path / "undone").out.startswith("SANDBOX: ")
    none = project.people(3, name="unsent")
    assert backfill("prepare", none, "--target", "sandbox").code == 0
    told = backfill("undo", none, "-o", tmp_path / "nothing")
    assert (told.code, "nothing to undo" in told.out, (tmp_path / "nothing").exists()) == (0, True, False)
    assert backfill("undo", job, "-o", project.state / "inside").code == 2


def test_requests_are_of_five_thousand_at_most(tmp_path: Path) -> None:
    """And none is written where the users of another run are not known; calls with numbers of any size are read."""
    import polars as pl

    texts = pl.Series(
        "json", [f'{{"type":"page","userId":"u{n}","properties":{{"n":1{"0" * 400}}}}}' for n in range(2)]
    )
    assert read_fields(texts)["userId"].to_list() == ["u0", "u1"]
    for unknown, sizes in ((), [SUBJECTS, SUBJECTS, 1]), (("gone-g1",), []):
        work = tmp_path / f"work{len(unknown)}"
        (work / "out").mkdir(parents=True)
        users = UserTables(work)
        users.add("sent", pl.DataFrame({"userId": [f"u{n}" for n in range(2 * SUBJECTS + 1)]}), ("userId",))
        found = users.write(work / "out", unknown, "DELETE_ONLY")
        users.close()
        bodies = sorted((work / "out").glob("deletion-requests/*.json"))
        assert [len(json.loads(body.read_text())["subjectIds"]) for body in bodies] == sizes
        assert (found.requests, found.alone) == (len(sizes), sum(sizes))


#: What is no SQL in a script, but a command of the client that runs it.
_CLIENT = re.compile(r"^(?:\\.*|PUT .*;)$", re.MULTILINE)


@pytest.mark.parametrize("kind", DIALECTS)
def test_scripts_are_sql_of_their_warehouse(room: Room, kind: str) -> None:
    """By a parser of that dialect: whole statements, which delete by id from each table that is counted before."""
    script = _CLIENT.sub("", (room.undone / f"{kind}.sql").read_text("utf-8"))
    statements = [one for one in sqlglot.parse(script, read=kind) if one is not None]
    deleted = [one for one in statements if isinstance(one, exp.Delete)]
    counted = next(one for one in statements if isinstance(one, exp.Union))
    assert {one.this.name for one in deleted} == {table.name for table in counted.find_all(exp.Table)} - {
        "backfill_undo"
    }
    for one in deleted:
        condition = one.args["where"].this
        assert isinstance(condition, exp.In)
        assert (condition.this.name, condition.args["query"].this.find(exp.Table).name) == ("id", "backfill_undo")
    begun = next(place for place, one in enumerate(statements) if isinstance(one, exp.Transaction))
    ended = next(place for place, one in enumerate(statements) if isinstance(one, exp.Commit))
    guards = [place for place, one in enumerate(statements) if one.find(exp.Between) and begun < place]
    assert begun < statements.index(counted) < min(guards) < max(guards) < statements.index(deleted[0]) < ended
    assert len(guards) == len(deleted) + 1
