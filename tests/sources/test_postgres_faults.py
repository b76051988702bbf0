"""A PostgreSQL server that goes away, refuses, or takes too long: nothing half-read is used, and each is told."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from backfill.errors import ConnectionLostError, InterruptedRunError, JobError, SourceError
from backfill.sources import inspect, stage
from tests.support.postgres import Postgres, running_server
from tests.support.projects import Project, backfill
from tests.support.sourcing import job_over, staged
from tests.support.stand_ins.cutting import CuttingProxy
from tests.support.waiting import until, when

MANY = "SELECT i, repeat('x', 50) AS t FROM generate_series(1, 100000) AS i"
#: The driver connects twice each time, and a source is looked at before it is read: the fourth connection has the rows.
BEFORE = [10**12] * 3


def through(proxy: CuttingProxy) -> str:
    """The URL by way of the proxy."""
    return f"postgresql://postgres@127.0.0.1:{proxy.port}/postgres?sslmode=disable&gssencmode=disable"


@pytest.mark.parametrize("cut", [10, 400, 1_000, 3_000, 60_000, 2_500_000, 6_900_000])
def test_connections_that_are_cut(postgres: Postgres, tmp_path: Path, cut: int) -> None:
    """Wherever the connection breaks, no snapshot comes of it."""
    with CuttingProxy(postgres.port, [*BEFORE, cut]) as proxy, pytest.raises(SourceError, match="closed"):
        stage(job_over(database=through(proxy), query=MANY), tmp_path / "state")
    assert not (tmp_path / "state" / "snapshot.json").exists()


def test_reading_begins_again(postgres: Postgres, project: Project) -> None:
    """A run whose connection broke reads all again, says so, and has each row once."""
    with CuttingProxy(postgres.port, [*BEFORE, *BEFORE[:2], 500_000]) as proxy:  # the job is checked first
        job = project.folder / "job.yaml"
        job.write_text(JOB.format(url=through(proxy), query=MANY))
        process = project.process("dry-run", job)
        out, said = process.communicate(timeout=120)
    assert process.returncode == 0, said
    assert "100,000 read, 100,000 mapped" in out
    assert "It is read from its start again in 2 s." in said


JOB = """
version: 1
name: test
source: {{database: '{url}', query: "{query}"}}
calls:
  - type: track
    event: {{value: Seen}}
    userId: t
    timestamp: {{value: "2024-01-01T00:00:00Z"}}
    message_key: i
    properties: {{i: i}}
    integrations: {{All: false}}
"""


def test_a_server_that_is_killed(tmp_path: Path) -> None:
    """A crash of the server, and its end in order, are connections that broke."""
    with running_server() as server:
        for sign in (signal.SIGQUIT, signal.SIGINT):
            done = once(lambda sign=sign: server.stop(sign))

            def progress(rows: int, size: int, done: Callable[[], None] = done) -> None:
                if rows:
                    done()

            job = job_over(database=server.url(), query=MANY.replace("100000", "20000000"))
            with pytest.raises(ConnectionLostError):
                stage(job, tmp_path / "state", progress=progress)
            server.start()


def once(do: Callable[[], Any]) -> Callable[[], None]:
    """Do it at the first call."""
    left = [do]

    def call() -> None:
        if left:
            left.pop()()

    return call


@pytest.mark.parametrize("query", ["SELECT pg_sleep(60)::text AS t", "SELECT generate_series(1, 1000000000) AS i"])
def test_cancelling(postgres: Postgres, tmp_path: Path, query: str) -> None:
    """Whether the server is at work or sends, a stop ends the query there, and soon."""
    stopped = threading.Event()
    when(postgres.at_work, stopped.set)
    with pytest.raises(InterruptedRunError):
        stage(job_over(database=postgres.url(), query=query), tmp_path / "state", stopping=stopped.is_set)
    until(lambda: not postgres.at_work())


def test_cancelling_before_the_parts(postgres: Postgres, tmp_path: Path) -> None:
    """The question for the ends of the parts is ended as well, and its connection not closed while it is asked."""
    stopped = threading.Event()
    when(postgres.at_work, stopped.set)
    query = "SELECT i FROM generate_series(1, 9) AS i, pg_sleep(60)"
    job = job_over(database=postgres.url(), query=query, partition_on="i", partitions=2)
    before = time.monotonic()
    with pytest.raises(InterruptedRunError):
        stage(job, tmp_path / "state", stopping=stopped.is_set)
    assert not [thread for thread in threading.enumerate() if thread.name == "database"]
    assert time.monotonic() - before < 30


def test_a_sample_ends_the_query(postgres: Postgres, tmp_path: Path) -> None:
    """For the first rows the server works out no more than these."""
    job = job_over(database=postgres.url(), query="SELECT generate_series(1, 1000000000000) AS i")
    assert staged(job, tmp_path / "state", sample=10).snapshot.rows == 10


def test_a_statement_timeout(postgres: Postgres, tmp_path: Path) -> None:
    """A query that the server ends for its length is no fault of the job's, and the way on is told."""
    url = f"{postgres.url()}?options=-c%20statement_timeout%3D300"
    for query in ("SELECT pg_sleep(60)::text AS t", MANY.replace("100000", "100000000")):
        with pytest.raises(SourceError, match="statement timeout") as caught:
            stage(job_over(database=url, query=query), tmp_path / "state")
        assert "statement_timeout" in caught.value.hint
        assert not isinstance(caught.value, ConnectionLostError)


def test_permission_and_position(postgres: Postgres, tmp_path: Path) -> None:
    """What may not be read is the source's error; what is not there has its place in the job file."""
    name = postgres.new_database("CREATE TABLE secret AS SELECT 1 AS n; CREATE ROLE reader LOGIN")
    with pytest.raises(SourceError, match="permission denied for table secret"):
        inspect(job_over(database=postgres.url(name, "reader"), table="secret"))
    from backfill.job import load_job

    job = tmp_path / "job.yaml"
    job.write_text(JOB.format(url=postgres.url(name), query="SELECT n AS i, 'x' AS t FROM secrets"))
    with pytest.raises(JobError, match="secrets") as caught:
        inspect(load_job(job))
    (fault,) = caught.value.faults
    column = job.read_text().splitlines()[3].index("secrets") + 1
    assert (fault.path, fault.line, fault.column) == ("source.query", 4, column)


@pytest.mark.parametrize(
    ("url", "said", "hint"),
    [
        ("postgresql://postgres@127.0.0.1:1/x", "Connection refused", "is the server running"),
        ("postgresql://asks@127.0.0.1:{port}/postgres", "no password supplied", "PGPASSWORD"),
        ("postgresql://postgres@127.0.0.1:{port}/nowhere", "does not exist", "whether the name is right"),
        ("postgresql://postgres@127.0.0.1:{port}/postgres?sslmode=require", "does not support SSL", "sslmode"),
        ("postgresql:///?service=nowhere", "nowhere", "pg_service.conf"),
        ("postgresql://nowhere.invalid/x", "could not translate host name", "is the host's name right"),
    ],
)
def test_no_connection(postgres: Postgres, url: str, said: str, hint: str) -> None:
    """Why there is none is told, with what helps."""
    with pytest.raises(SourceError, match=said) as caught:
        inspect(job_over(database=url.format(port=postgres.port), query="SELECT 1 AS a"))
    assert hint in caught.value.hint


def test_passwords(postgres: Postgres, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A password of the environment, of a file, or of a URL that is a variable lets in."""
    place, whole = passwords(postgres)
    url = f"postgresql://asks@{place}/postgres"
    passfile = tmp_path / "passes"
    passfile.write_text(f"{place}:postgres:asks:{PASSWORD}\n")
    passfile.chmod(0o600)
    for written, name, value in (
        (url, "PGPASSWORD", PASSWORD),
        (url, "PGPASSFILE", str(passfile)),
        ("${SHOP}", "SHOP", whole),
        (url.replace("@", ":${SHOP}@"), "SHOP", PASSWORD),
    ):
        job = job_over(database=written, query="SELECT 1 AS a")
        with monkeypatch.context() as context:
            context.setenv(name, value)
            assert inspect(job).columns[0].name == "a"
    with pytest.raises(JobError, match="the environment has no SHOP"):
        inspect(job)


PASSWORD = "open sesame/1"


def passwords(postgres: Postgres) -> tuple[str, str]:
    """Where a role is that has to give PASSWORD, and the URL that does so."""
    postgres.sql(f"DROP ROLE IF EXISTS asks; CREATE ROLE asks LOGIN PASSWORD '{PASSWORD}'")
    place = f"127.0.0.1:{postgres.port}"
    return place, f"postgresql://asks:open%20sesame%2F1@{place}/postgres"


@pytest.mark.parametrize(
    ("old", "new", "code"),
    [("", "", 0), ("sesame", "wrong-sesame", 9), ("@", "@[", 2), ("%2F", "/", 2), ("%20", "#", 2)],
)
def test_passwords_are_not_told(postgres: Postgres, project: Project, old: str, new: str, code: int) -> None:
    """Whether it lets in, is wrong or breaks the URL: a password is in no message and in no file."""
    _, whole = passwords(postgres)
    one = Project(project.folder, {**project.environ, "SHOP": whole.replace(old, new)})
    (one.folder / "job.yaml").write_text(JOB.format(url="${SHOP}", query="SELECT 1 AS i, 'x' AS t"))
    process = one.process("dry-run", "job.yaml")
    out, said = process.communicate(timeout=60)
    assert process.returncode == code, said
    kept = b"".join(path.read_bytes() for path in one.folder.rglob("*") if path.is_file())
    assert "sesame" not in out + said
    assert b"sesame" not in kept


def test_a_first_row_that_takes_long(postgres: Postgres, project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """`check` does not wait for a database that works out all rows for the first: it says so, and ends the query."""
    monkeypatch.setattr("backfill.pipeline.check.SAMPLE_SECONDS", 1)
    job = project.folder / "job.yaml"
    job.write_text(JOB.format(url=postgres.url(), query="SELECT 1 AS i, pg_sleep(60)::text AS t"))
    done = backfill("check", job)
    assert done.code == 0, done.err
    assert "no row was judged, as the first ones take more than 1 seconds" in done.out + done.err
    assert postgres.sql("SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'COPY%' AND state = 'active'") == "0\n"


def test_rows_that_came_since(postgres: Postgres, project: Project) -> None:
    """A dry run reads the database each time, the run sends what it has read, and --only-new what has come since."""
    name = postgres.new_database("CREATE TABLE t AS SELECT i, 'u' || i AS t FROM generate_series(1, 3) AS i")
    job = project.folder / "job.yaml"
    job.write_text(JOB.format(url=postgres.url(name), query="SELECT i, t FROM t ORDER BY i"))

    def run(*arguments: str) -> dict[str, Any]:
        done = backfill(*arguments, job, "--output", "json")
        assert done.code == 0, done.err
        return done.object["calls"]

    assert run("dry-run")["planned"] == 3
    postgres.sql("INSERT INTO t VALUES (4, 'u4')", name)
    assert run("dry-run")["planned"] == 4
    postgres.sql("INSERT INTO t VALUES (5, 'u5')", name)
    assert run("run", "--target", "sandbox")["delivered"] == 4
    assert run("run", "--target", "sandbox")["delivered"] == 4
    calls = run("run", "--target", "sandbox", "--only-new")
    assert (calls["delivered"], calls["already_delivered"]) == (1, 4)
