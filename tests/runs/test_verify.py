"""`verify`: a run that is as it should be is equal; each of many corruptions is found, and named."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import zlib
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from backfill.records import CALL_RECORD, plan_digest
from backfill.sandbox import FaultScript, Sandbox
from backfill.sources.snapshot import NAME
from backfill.state.folder import StateFolder
from tests.support.processes import STARTED
from tests.support.projects import Project, Result, backfill
from tests.support.reruns import reruns
from tests.support.waiting import until

ROWS, BAD, REFUSED = 700, 20, "u000003"


@dataclass
class Kept:
    """A run that was stopped after its canary, of which the target refused one call; every file of it."""

    project: Project
    job: Path
    folder: Path

    @property
    def spool(self) -> Path:
        """Its spool."""
        return self.folder / "spool"

    def verify(self, *options: str) -> Result:
        """What `verify` says of it."""
        return backfill("verify", self.job, "--output", "json", *options)

    def sql(self, *statements: str) -> None:
        """Change the ledger behind the program's back."""
        with closing(sqlite3.connect(self.folder / "ledger.sqlite3", isolation_level=None)) as ledger:
            for statement in statements:
                ledger.execute(statement)

    def sign_plan(self) -> None:
        """Let the ledger's digests fit what its tables say, as a careful forger would."""
        (run,) = StateFolder(self.project.state).runs()
        with run.read() as reader:
            digest = plan_digest(reader.shards().values())
        self.sql(f"UPDATE run SET plan_digest = '{digest}'")

    def flip(self, name: str, place: int) -> None:
        """Flip a bit of one byte of a file."""
        path = self.spool / name
        content = bytearray(path.read_bytes())
        content[place] ^= 1
        path.write_bytes(content)

    def calls(self, change: Callable[[Any], Any]) -> None:
        """Change the records of the calls file."""
        path = self.spool / "000000.calls"
        records = np.frombuffer(path.read_bytes(), CALL_RECORD).copy()
        path.write_bytes(change(records).tobytes())

    def rows(self, change: Callable[[pl.DataFrame], pl.DataFrame], *, forged: bool = True) -> None:
        """Change the rows of the snapshot; `forged`: with the digests that its description has."""
        folder = self.folder / "snapshot"
        described = json.loads((folder / NAME).read_text("utf-8"))
        (part,) = described["parts"]
        path = folder / part["path"]
        change(pl.read_parquet(path)).write_parquet(path)
        if forged:
            described["digests"][part["path"]] = hashlib.sha256(path.read_bytes()).hexdigest()
            del described["digest"]
            described["digest"] = hashlib.sha256(json.dumps(described, sort_keys=True).encode()).hexdigest()
            (folder / NAME).write_text(json.dumps(described), "utf-8")

    def duplicates(self, record: pl.Expr) -> None:
        """Change which records are listed as duplicates."""
        path = self.spool / "duplicates.parquet"
        pl.read_parquet(path).with_columns(record=record.cast(pl.UInt64)).write_parquet(path)

    def lose_snapshot(self) -> None:
        """As after the end of a run."""
        shutil.rmtree(self.folder / "snapshot")


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Kept:
    """The run as it should be."""
    project = Project(tmp_path_factory.mktemp("verify"))
    job = project.people(ROWS, bad=[BAD], text="x" * 1_500)
    with (project.folder / "people.csv").open("a", encoding="utf-8") as source:
        source.write(f"u000005,{'x' * 1_500}5@example.org,2023-05-06 10:00:00,5\n")  # as it is there already
    with (
        Sandbox(faults=FaultScript.parse([f"status=400,holding={REFUSED}"])) as sandbox,
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setenv("SEGMENT_WRITE_KEY", "a-key")
        backfill("run", job, "--target", "segment", "--endpoint", sandbox.endpoint, "--yes", "--canary")
    (run,) = StateFolder(project.state).runs()
    return Kept(project, job, run.path)


@pytest.fixture
def kept(original: Kept, tmp_path: Path) -> Iterator[Kept]:
    """The same to be corrupted; it is put back after the test."""
    copy = tmp_path / "copy"
    shutil.copytree(original.project.folder, copy)
    yield original
    shutil.rmtree(original.project.folder)
    shutil.copytree(copy, original.project.folder)


def test_a_run_as_it_should_be(original: Kept) -> None:
    """Every call is made again and compared by its very bytes; nothing is found, and the exit code is 0."""
    found = original.verify()
    told = found.object
    assert (found.code, told["equal"], told["counts"]) == (0, True, dict.fromkeys(told["counts"], 0)), told["findings"]
    assert (told["rows_from"], told["sample"], told["notes"]) == ("snapshot", 100, [])
    assert told["compared"] == {
        "rows": ROWS + 1,
        "calls": ROWS - 1,
        "by_bytes": ROWS - 1,
        "by_digest": 0,
        "by_id_alone": 0,
        "rejected": 1,
        "not_judged": 0,
    }


def swap_ids(records: Any) -> Any:
    """The ids of two calls, the one for the other."""
    records["id_bytes"][[100, 101]] = records["id_bytes"][[101, 100]]
    return records


def forge_call(kept: Kept) -> None:
    """Another id in the calls file, and every digest of the ledger fitting."""
    kept.calls(swap_ids)
    digest = hashlib.sha256((kept.spool / "000000.calls").read_bytes()).hexdigest()
    kept.sql(f"UPDATE shards SET calls_sha256 = '{digest}'")
    kept.sign_plan()


def forge_hashes(kept: Kept) -> None:
    """Another hash of a call, and the checksum of the file fitting."""
    path = kept.spool / "000000.hashes"
    content = bytearray(path.read_bytes()[:-4])
    content[8 * 50] ^= 1
    check = zlib.crc32(content).to_bytes(4, "little")
    path.write_bytes(bytes(content) + check)


def shorten_rejects(kept: Kept) -> None:
    """The list of rejected rows without its last row."""
    path = kept.spool / "000000.rejects.parquet"
    pl.read_parquet(path)[:-1].write_parquet(path)


def lengthen_duplicates(kept: Kept) -> None:
    """The list of duplicates with one of them twice."""
    path = kept.spool / "duplicates.parquet"
    rows = pl.read_parquet(path)
    pl.concat([rows, rows]).write_parquet(path)


def edit_files(column: str, change: str) -> Callable[[Kept], None]:
    """A column of the ledger's table of files with another value."""
    return lambda kept: kept.sql(f"UPDATE files SET {column} = {change}")


def edit_source(kept: Kept) -> None:
    """A row of the source that is another one now, where the snapshot is gone."""
    path = kept.project.folder / "people.csv"
    path.write_bytes(
        path.read_bytes().replace(b"8@example.org,2023-05-09 10:00:00,8", b"8@example.org,2023-05-09 10:00:00,9", 1)
    )
    kept.lose_snapshot()


def edit_row(rows: pl.DataFrame) -> pl.DataFrame:
    """One of the rows another one."""
    return rows.with_columns(email=pl.when(pl.col("id") == "u000042").then(pl.lit("y")).otherwise("email"))


def cut(name: str, size: int) -> Callable[[Kept], None]:
    """A file that ends early."""
    return lambda kept: os.truncate(kept.spool / name, size)


#: Leaves of the tree of batches that a condition holds of.
LEAF = "id = (SELECT min(id) FROM batches WHERE {})"
CORRUPTIONS: dict[str, tuple[Callable[[Kept], object], int, str]] = {
    "a flipped byte in a segment": (lambda kept: kept.flip("000000.segment", 5_000), 3, "segment of shard 0"),
    "a segment cut short": (cut("000000.segment", 9_000), 3, "segment of shard 0"),
    "a flipped byte in a calls file": (
        lambda kept: kept.flip("000000.calls", 25 * 60 + 3),
        3,
        "people.csv 62 messageId",
    ),
    "two ids swapped": (lambda kept: kept.calls(swap_ids), 3, "people.csv 102 messageId"),
    "a calls file shortened": (cut("000000.calls", 25 * 690), 3, "missing people.csv 700"),
    "a record of a call twice": (lambda kept: kept.calls(lambda r: np.insert(r, 7, r[7])), 3, "surplus people.csv 8"),
    "another size of a call": (lambda kept: kept.flip("000000.calls", 25 * 60 + 20), 3, "people.csv 62"),
    "another row of a call": (lambda kept: kept.flip("000000.calls", 25 * 698 + 17), 3, "surplus"),
    "ids forged, digests and all": (forge_call, 3, "people.csv 102 messageId"),
    "a flipped byte in the hashes": (lambda kept: kept.flip("000000.hashes", 99), 3, "hashes of shard 0"),
    "hashes forged, checksum and all": (forge_hashes, 3, "calls or hashes of shard 0"),
    "a batch's row dropped": (
        lambda kept: kept.sql(
            "PRAGMA foreign_keys = OFF", f"DELETE FROM batches WHERE {LEAF.format('parent IS NULL AND ordinal = 1')}"
        ),
        3,
        "shard 0: batches stand for",
    ),
    "a part's row dropped": (
        lambda kept: kept.sql(
            "DELETE FROM batches WHERE id = (SELECT min(id) FROM batches WHERE parent IS NOT NULL AND attempts = 0)"
        ),
        3,
        "in no batch",
    ),
    "a batch's row doubled": (
        lambda kept: kept.sql(
            "INSERT INTO batches (shard, ordinal, state, calls, bytes, offset, length, crc32, first_call)"
            " SELECT shard, ordinal, state, calls, bytes, offset, length, crc32, first_call FROM batches"
            " WHERE ordinal = 1"
        ),
        3,
        "there twice",
    ),
    "a batch's offset moved": (
        lambda kept: (kept.sql("UPDATE batches SET offset = offset + 1 WHERE ordinal = 1"), kept.sign_plan()),
        3,
        "the offset of batch 1",
    ),
    "a batch's checksum edited": (
        lambda kept: (kept.sql("UPDATE batches SET crc32 = crc32 + 1 WHERE ordinal = 1"), kept.sign_plan()),
        3,
        "segment of shard 0",
    ),
    "counts of a shard edited": (
        lambda kept: kept.sql("UPDATE shards SET duplicate = 2, planned = planned + 1"),
        3,
        "plan's digest",
    ),
    "counts of rows edited": (lambda kept: kept.sql("UPDATE snapshot SET read = read + 1"), 3, "counts do not add up"),
    "refused turned to delivered": (
        lambda kept: kept.sql(
            "UPDATE batches SET state = 'delivered', status = NULL, detail = NULL WHERE state = 'rejected'"
        ),
        3,
        "is delivered, by no attempt (5 refused)",
    ),
    "pending turned to delivered": (
        lambda kept: kept.sql("UPDATE batches SET state = 'delivered' WHERE parent IS NULL AND ordinal = 1"),
        3,
        "is delivered, by no attempt (none)",
    ),
    "another scope of the ids": (
        lambda kept: kept.sql("UPDATE run SET id_scope = 'other'"),
        3,
        "people.csv 2 messageId",
    ),
    "a rejects file shortened": (shorten_rejects, 3, "0 rejected and unreadable rows are listed"),
    "a rejects file cut": (cut("000000.rejects.parquet", 100), 3, "000000.rejects.parquet"),
    "a duplicates file gone": (
        lambda kept: (kept.spool / "duplicates.parquet").unlink(),
        3,
        "kept duplicates 0 duplicates are listed, the ledger counts 1",
    ),
    "a duplicates file cut": (cut("duplicates.parquet", 100), 3, "kept duplicates.parquet it cannot be read"),
    "a duplicates file with a row more": (lengthen_duplicates, 3, "2 duplicates are listed, the ledger counts 1"),
    "a duplicate that is another row": (
        lambda kept: kept.duplicates(pl.col("record") + 1),
        3,
        "kept duplicates record 702 of people.csv is listed",
    ),
    "a duplicate that is a row which was sent": (
        lambda kept: kept.duplicates(pl.lit(6, pl.UInt64)),
        3,
        "kept duplicates record 6 of people.csv is listed for its identify call, which is not that of another row",
    ),
    **{
        f"another {column} of a file in the ledger": (edit_files(column, change), 3, f"{told} of people.csv is not as")
        for column, change, told in (
            ("sha256", "'0' || substr(sha256, 2)", "SHA-256"),
            ("bytes", "bytes + 1", "size"),
            ("key", "key || 'x'", "key"),
            ("name", "name || 'x'", "name"),
            ("path", "path || 'x'", "path"),
        )
    },
    "a file dropped from the ledger": (lambda kept: kept.sql("DELETE FROM files"), 3, "it has 0 files of the source"),
    "a row of the snapshot edited": (lambda kept: kept.rows(edit_row, forged=False), 3, "snapshot"),
    "a row of the snapshot edited, digests and all": (
        lambda kept: kept.rows(edit_row),
        3,
        "people.csv 43 traits.email",
    ),
    "a row of the snapshot dropped": (lambda kept: kept.rows(lambda rows: rows[:-1]), 3, "shard 0 has 701 rows"),
    "a row of the source edited": (edit_source, 6, "people.csv was changed (same size, other bytes)"),
}


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_each_corruption_is_found_and_named(kept: Kept, name: str) -> None:
    """Whatever was done to ledger, spool, snapshot or source: the exit code says so, and a finding where it is."""
    corrupt, code, named = CORRUPTIONS[name]
    corrupt(kept)
    found = kept.verify()
    told = found.object
    listed = [
        " ".join(str(part) for part in (one["kind"], one["file"], one["record"], one["field"], one["detail"]) if part)
        for one in told["findings"]
    ]
    listed += told["source_changes"]
    assert found.code == code, (found.err, listed)
    assert any(named in one for one in listed), listed
    assert not told["equal"]


def test_duplicates_that_no_version_listed(kept: Kept) -> None:
    """Versions before plans had profiles need not have listed duplicates: that is said, and it is no fault."""
    (kept.spool / "duplicates.parquet").unlink()
    kept.sql("UPDATE shards SET profile = x''")
    found = kept.verify()
    (note,) = found.object["notes"]
    assert (found.code, found.object["findings"]) == (0, [])
    assert note == "1 row is a duplicate: which was not kept by the version that prepared the run"


@pytest.fixture
def workers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Calls are made in processes of their own, whatever the number of rows, in pieces of a hundred."""
    monkeypatch.setattr("backfill.verify.workers.LEAST_ROWS", 0)
    monkeypatch.setattr("backfill.verify.workers.processors", lambda: 2)
    monkeypatch.setattr("backfill.verify.rows.ROWS", 100)


@pytest.mark.usefixtures("workers")
def test_processes_come_to_the_same_result(kept: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is compared, found and sampled is the same where calls are made in processes of their own."""
    for corrupt, options in (
        (lambda _: None, []),
        (CORRUPTIONS["ids forged, digests and all"][0], ["--sample", "40%"]),
        (lambda kept: kept.rows(edit_row), []),
    ):
        corrupt(kept)
        apart = kept.verify(*options)
        with monkeypatch.context() as patch:
            patch.setattr("backfill.verify.workers.LEAST_ROWS", 1_000)
            assert apart == kept.verify(*options)
    assert {one["field"] for one in apart.object["findings"]} >= {"messageId", "traits.email"}


@pytest.mark.usefixtures("workers")
def test_a_process_that_dies_is_told(original: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither a hang nor a result."""
    monkeypatch.setattr("backfill.verify.workers.Maker.__reduce__", lambda _: (os._exit, (9,)), raising=False)
    found = original.verify()
    assert (found.code, found.out) == (1, "")
    assert "a process that made calls a second time has died; nothing is said of the run" in found.err
    assert "Traceback" not in found.err


SLOW = """\
import os, pathlib, sys, time
from backfill.verify import plan, rows, workers

class Slow(workers.Maker):
    def make(self, frame):
        pathlib.Path("made").touch()
        time.sleep(0.1)
        return super().make(frame)

if __name__ == "__main__":
    from backfill.__main__ import main
    plan.Maker, workers.LEAST_ROWS, workers.processors, rows.ROWS = Slow, 0, lambda: 2, 1
    sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGKILL, -signal.SIGKILL)])
def test_no_process_outlives_the_first_one(original: Kept, tmp_path: Path, number: int, code: int) -> None:
    """Ctrl-C, which a terminal sends to all, ends them without a word; when the first one is killed, the rest end."""
    (tmp_path / "slow.py").write_text(SLOW, "utf-8")
    process = subprocess.Popen(
        [sys.executable, tmp_path / "slow.py", "verify", original.job],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).resolve().parents[2])},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    STARTED.append(process)
    until((tmp_path / "made").exists, process)
    os.killpg(process.pid, number) if number == signal.SIGINT else process.kill()
    _, err = process.communicate(timeout=60)  # returns when the last process has let go of stdout and stderr
    assert process.returncode == code, err
    assert "Traceback" not in err


def test_a_sample_is_said_to_be_one(original: Kept) -> None:
    """The rows of a sample are the same each time, fewer than all, and the result says what it is."""
    one, other = (original.verify("--sample", "40%").object for _ in range(2))
    assert one == other
    assert 0 < one["compared"]["rows"] < ROWS
    assert (one["sample"], one["equal"]) == (40, True)
    assert "equal in a sample of 40% of the rows" in backfill("verify", original.job, "--sample", "40").out
    assert backfill("verify", original.job, "--sample", "0%").code == 2


@pytest.mark.parametrize("name", ["01", "02", "03", "04", "05", "06", "07"])
def test_no_job_of_the_repository_is_accused(repository: Path, tmp_path: Path, name: str) -> None:
    """CSV, NDJSON, Parquet, SQLite and SQL: what they make is made again, byte for byte, and rejected by both alike."""
    (job,) = (repository / "jobs").glob(f"{name}-*.yaml")
    state = ("--state-dir", tmp_path / "state", "--output", "json")
    planned = backfill("dry-run", job, *state).object
    found = backfill("verify", job, "--dry-run", *state)
    told = found.object
    assert (found.code, told["findings"], told["rows_from"]) == (0, [], "snapshot")
    calls = planned["calls"]
    assert told["compared"]["by_digest"] == told["compared"]["calls"] == calls["pending"]
    assert told["compared"]["rejected"] + planned["problems"].get("BF113", 0) == calls["rejected"]


def test_a_source_read_in_place_that_was_changed(tmp_path: Path) -> None:
    """Rows that are no copy are compared only where their file is as it was; else that is said, and nothing else."""
    rows = pl.DataFrame({"id": ["a", "b"], "at": ["2024-01-01T00:00:00Z"] * 2})
    rows.write_parquet(tmp_path / "rows.parquet")
    job = tmp_path / "job.yaml"
    job.write_text(
        "version: 1\nname: placed\nsource: {path: rows.parquet}\ncalls:\n"
        "  - {type: track, event: {value: Seen}, userId: id, message_key: [id],\n"
        '     timestamp: {value: "2024-01-01T00:00:00Z"}, properties: {"*": {}}, integrations: {All: false}}\n',
        "utf-8",
    )
    backfill("dry-run", job)
    assert backfill("verify", job).code == 0
    rows[::-1].write_parquet(tmp_path / "rows.parquet")
    found = backfill("verify", job)
    assert found.code == 6
    assert "  source    rows.parquet was changed" in found.out
    assert "not compared, as the source is another than it was; what is kept agrees with itself" in found.out


@pytest.mark.usefixtures("key")
def test_what_other_runs_delivered_is_not_missing(tmp_path: Path) -> None:
    """Calls that `--only-new` left out are known by the archive; where that is gone, it is said, and that is all."""
    with reruns(tmp_path) as bench:
        bench.members([(number, 30) for number in range(40)])
        assert bench.run().code == 0
        bench.members([(number, 30) for number in range(45)])
        assert bench.run("--only-new").object["calls"]["already_delivered"] == 40
        found = bench.ask("verify", str(bench.job), "--output", "json")
        assert (found.code, found.object["compared"]["calls"], found.object["notes"]) == (0, 5, [])
        shutil.rmtree(bench.project.state / "delivered")
        found = bench.ask("verify", str(bench.job), "--output", "json")
        assert (found.code, found.object["notes"]) == (
            0,
            ["40 calls were left out as delivered before: the archive that knew is gone"],
        )


def test_json_merged_with_members_is_compared_as_what_it_says(tmp_path: Path) -> None:
    """In which order merged members stand no document says: of their bytes what they mean is compared, else the id."""
    rows = [
        {"id": f"u{number}", "props": {"a": {"z": number, "y": [1, None]}, "city": "é", "n": 1.10}}
        for number in range(30)
    ]
    (tmp_path / "rows.ndjson").write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    job = tmp_path / "merged.yaml"
    job.write_text(
        "version: 1\nname: merged\nsource: {path: rows.ndjson, columns: {props: json}}\ncalls:\n"
        "  - {type: track, event: {value: Seen}, userId: id, message_key: [id],\n"
        '     timestamp: {value: "2024-01-01T00:00:00Z"}, integrations: {All: false},\n'
        "     properties: {column: props, a.x: id, city: {value: other}}}\n",
        "utf-8",
    )
    backfill("dry-run", job)
    told = backfill("verify", job, "--output", "json").object
    assert (told["findings"], told["compared"]["by_id_alone"]) == ([], 30)
    backfill("run", job, "--target", "sandbox", "--keep-spool", "--yes")
    told = backfill("verify", job, "--output", "json").object
    assert (told["findings"], told["compared"]["by_bytes"]) == ([], 30)
