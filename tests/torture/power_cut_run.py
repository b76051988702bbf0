"""A run of the real program recorded, its power cut at any instant, and the real program judged on what is left."""

from __future__ import annotations

import csv
import os
import random
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from tests.support.delivery_fakes import Endpoint, Seen, Step
from tests.support.projects import JOB, KEY, Project, Result, backfill
from tests.torture.power_cut import Disk, Image, Survival
from tests.torture.power_cut_replay import Replayer, Said
from tests.torture.power_cut_trace import CALLS, Call, calls_of
from tests.torture.power_cut_wire import Fingerprint, Request, batch_of, calls_in, requests, together

REPOSITORY = Path(__file__).resolve().parent.parent.parent
SCOPE = "power-cut"
#: The endpoint refuses every body with this person, so that a call is rejected by the target as well.
POISON = b"@poison.example.org"
#: Rows: two shards, the second one short.
ROWS = 34_000


def strace() -> str | None:
    """Where strace is; None where there is none, or where it may not trace."""
    found = shutil.which("strace")
    if found is None or subprocess.run([found, "-qq", "-o", "/dev/null", "true"], check=False).returncode:
        return None
    return found


class Target(Endpoint):
    """A stand-in that answers 400 to a body that holds the poison, and by its script else."""

    def _answer(self, connection: object, reader: BinaryIO, step: Step) -> bool:
        if POISON in self.seen[-1].plain:
            step = Step(400, body=b'{"success":false,"message":"poison"}')
        return super()._answer(connection, reader, step)  # type: ignore[arg-type]


@dataclass
class Recording:
    """What one or more processes did, one after the other, and where."""

    project: Project
    job: Path
    target: Target
    files: dict[Path, bytes]  # before the first of them
    calls: list[Call] = field(default_factory=list)
    processes: list[list[Call]] = field(default_factory=list)

    def words(self, verb: str) -> list[str | Path]:
        """The command line of `run` or `resume`."""
        endpoint = f"http://127.0.0.1:{self.target.port}"
        words = ["--target", "prod", "--endpoint", endpoint, "--yes", "--no-progress", "--rate", "unlimited"]
        return [verb, *([self.job] if verb == "run" else ["--state-dir", self.project.state]), *words]

    def record(self, *arguments: str | Path) -> int:
        """Run the program under strace; returns its exit code."""
        trace = self.project.folder.parent / "trace"
        command = [
            *("strace", "-f", "--seccomp-bpf", "-qq", "-xx", "-s", "40000000", "-e", "signal=none"),
            *("-e", "trace=" + ",".join(CALLS), "-o", str(trace), sys.executable, "-m", "backfill"),
        ]
        environ = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE")}
        environ |= {"PYTHONPATH": str(REPOSITORY), **self.project.environ}
        done = subprocess.run(
            [*command, *map(str, arguments)],
            cwd=self.project.folder,
            env=environ,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode in (0, 3, 5), done.stderr
        with trace.open(encoding="ascii") as lines:
            self.processes.append(calls_of(lines, start=self.calls[-1].at + 2 if self.calls else 0))
        self.calls.extend(self.processes[-1])
        trace.unlink()
        return done.returncode

    def replay(self, until: int) -> tuple[Disk, list[Said]]:
        """The disk after the first `until` calls, and what was said."""
        disk = Disk(self.project.folder, self.files)
        said: list[Said] = []
        left = until
        for process in self.processes:
            replayer = Replayer(disk, self.project.folder, self.target.port, said)
            for call in process[:left]:
                replayer.apply(call)
            left -= len(process)
            if left <= 0:
                break
        return disk, said


def project_in(folder: Path, port: int, rows: int = ROWS) -> tuple[Project, Path]:
    """A job over a source with rows of every fate: read, unreadable, rejected by us, and one the target will refuse."""
    (folder / "targets.yaml").write_text(
        f"version: 1\ntargets:\n  prod: {{kind: segment, endpoint: 'http://127.0.0.1:{port}', id_scope: {SCOPE},"
        " write_key: '${SEGMENT_WRITE_KEY}'}\n",
        encoding="utf-8",
    )
    project = Project(folder, {"SEGMENT_WRITE_KEY": KEY})
    source = project.rows(rows, bad=(3, rows - 1))
    lines = source.read_text(encoding="utf-8").splitlines()
    lines[20] = lines[20].replace("@example.org", POISON.decode())
    lines.insert(rows // 2, "too,few")
    source.write_text("\n".join(lines) + "\n", encoding="utf-8")
    job = folder / "people.yaml"
    job.write_text(JOB.format(name="people", source=source.name), encoding="utf-8")
    return project, job


@dataclass(frozen=True)
class Cut:
    """One power cut: after how many calls, what became of the rest, and the seed of its chances."""

    after: int
    survival: Survival
    seed: int


@dataclass
class Judge:
    """Cuts the power of a recorded run and lets the real program go on."""

    recording: Recording

    def __post_init__(self) -> None:
        """The whole recording is the reference: what went over the wire, and what should."""
        disk, said = self.recording.replay(len(self.recording.calls))
        real = {path: path.read_bytes() for path in self.recording.project.folder.rglob("*") if path.is_file()}
        image = disk.after_cut(Survival.KEPT, random.Random(0))
        wrong = [path for path in image.files.keys() | real.keys() if image.files.get(path) != real.get(path)]
        wrong = [path for path in wrong if not path.name.endswith("-shm")]  # written through a mapping, and made anew
        assert not wrong, f"the model of the disk is not what is on the disk: {wrong}"
        self.requests = requests(said)
        self.accepted = together([one.calls for one in self.requests if one.status == 200])
        restore(image, self.recording.project.folder)
        self.rejected = self.rejected_rows()

    def cuts(self, count: int, seed: int) -> Iterator[Cut]:
        """Random cuts: half of them anywhere, half beside a call that makes something durable or visible."""
        chance = random.Random(seed)
        calls = self.recording.calls
        borders = {"fsync", "fdatasync", "rename", "unlink", "unlinkat", "rmdir", "mkdir", "sendto", "recvfrom", "link"}
        near = [place for place, call in enumerate(calls) if call.name in borders]
        first = next(place for place, call in enumerate(calls) if call.name == "mkdir")
        for number in range(count):
            anywhere = chance.randint(first, len(calls))
            after = anywhere if number % 2 else chance.choice(near) + chance.randint(0, 1)
            survival = chance.choice((*Survival, Survival.STRICT, Survival.SCATTERED))
            yield Cut(after, survival, chance.randrange(2**32))

    def image(self, cut: Cut) -> Image:
        """What the disk holds when the power comes back."""
        disk, _ = self.recording.replay(cut.after)
        return disk.after_cut(cut.survival, random.Random(cut.seed))

    def try_cut(self, cut: Cut) -> str:
        """Cut the power, look at the ledger, go on to the end, look at what was received; returns a word on it."""
        now = self.recording.calls[cut.after - 1].at
        restore(self.image(cut), self.recording.project.folder)
        left = {one.batch for one in self.requests if one.began <= now}
        gone = [one for one in self.requests if one.gone <= now]
        answered = [one for one in self.requests if one.answered is not None and one.answered <= now]
        accepted = {one.batch for one in answered if one.status == 200}
        refused = {one.batch for one in answered if one.status == 400}
        state, batches = self.ledger()
        self.tells_the_truth(state, batches, left, accepted, refused)
        before = len(self.recording.target.seen)
        self.go_on(state)
        received = {batch_of(seen) for seen in self.recording.target.seen[before:]}
        assert not received & {one for one, how in batches.items() if how == "delivered"}, "delivered, and sent again"
        again = received & left
        assert all(batches.get(one) == "sent" for one in again), "sent again, though it was not in doubt"
        self.all_there(gone, self.recording.target.seen[before:])
        return f"{state or 'nothing':<10} {len(left):>3} left, {len(received):>3} after it, {len(again)} of them again"

    def ledger(self) -> tuple[str, dict[Fingerprint, str]]:
        """The run's state and that of its batches; empty where there is no ledger."""
        found = [*self.recording.project.state.glob("runs/*/ledger.sqlite3")]
        if not found:
            return "", {}
        with closing(sqlite3.connect(found[0])) as connection:
            (state,) = connection.execute("SELECT state FROM run").fetchone()
            # The first batch is cut before it is sent: split, without an attempt.
            cut = "CASE WHEN state = 'split' AND attempts = 0 THEN 'cut' ELSE state END"
            rows = connection.execute(f"SELECT crc32, bytes, {cut} FROM batches").fetchall()
            assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        return state, {(crc32, size): how for crc32, size, how in rows}

    def tells_the_truth(
        self,
        state: str,
        batches: dict[Fingerprint, str],
        left: set[Fingerprint],
        accepted: set[Fingerprint],
        refused: set[Fingerprint],
    ) -> None:
        """No batch has left that the ledger takes for planned; none is delivered or refused that got no such answer."""
        marked = {batch for batch, how in batches.items() if how not in ("planned", "cut")}
        assert left <= marked, f"{len(left - marked)} batches left without a durable mark, in the state {state!r}"
        told = {
            how: {batch for batch, one in batches.items() if one == how} for how in ("delivered", "rejected", "split")
        }
        assert told["delivered"] <= accepted, "delivered, without an answer that said so"
        assert told["rejected"] | told["split"] <= refused, "refused, without an answer that said so"

    def go_on(self, state: str) -> None:
        """What a user does: look, resume, or run again where there is no plan to resume."""
        status = self.program("status", "--state-dir", self.recording.project.state)
        assert status.code == 0, status.err
        done = self.program(*self.recording.words("resume"))
        if done.code == 2:
            assert state in ("", "staging", "preparing", "finished"), done.err
            done = self.program(*self.recording.words("run"))
        assert done.code == 3, done.err
        again = self.program(*self.recording.words("run"))
        assert again.code == 3, again.err
        told = self.rejected_rows()
        wrong = [*set(told) ^ set(self.rejected)]
        assert told == self.rejected, (
            f"{len(told)} rejects are told, {len(self.rejected)} there are: {sorted(wrong)[:2]}"
        )

    def rejected_rows(self) -> list[str]:
        """What `rejects` exports, sorted; without the run, which may be another one, and without the lines.

        A restored source is not asked for those.
        """
        export = self.recording.project.folder / "rejects.csv"
        done = self.program("rejects", "--state-dir", self.recording.project.state, "--export", export, "--force")
        assert done.code == 0, done.err
        with export.open(encoding="utf-8", newline="") as file:
            return sorted(repr([row[1:3], row[4:]]) for row in csv.reader(file))

    def program(self, *arguments: str | Path) -> Result:
        """The real program, in this process."""
        return backfill(*arguments)

    def all_there(self, gone: Sequence[Request], after: Sequence[Seen]) -> None:
        """What the endpoint holds, of before and after the cut, are the calls of the whole recording, byte for byte."""
        taken = [calls_in(seen) for seen in after if POISON not in seen.plain]
        held = together([*(one.calls for one in gone if one.status == 200), *taken])
        assert held.keys() == self.accepted.keys(), f"{len(held)} calls are held, {len(self.accepted)} should be"
        assert held == self.accepted, "other bytes than in a run without a cut"


def restore(image: Image, folder: Path) -> None:
    """Empty the folder and make the image in it."""
    for path in folder.iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    image.write_to(folder)
