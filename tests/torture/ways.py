"""Other ways than `run` and `run` again: `resume`, `dry-run`, a run that comes after one, the embedded sandbox.

Each is a bench, with what is tormented and how it is gone on with. The calls that arrive, their bytes and the counts at
the end are those of the same way undisturbed.
"""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

from tests.torture.points import Plan
from tests.torture.trial import CONCURRENCY, Bench, Held, Trial
from tests.torture.zygote import Ended

#: Exit codes. After the first two nothing was done: the command is wrong as things stand, or what is prepared is not
#: what is asked for. After the last the run is to be resumed.
WRONG, REFUSED, STOPPED = 2, 6, 5
#: States in which a run has no whole plan: None where there is no run.
WITHOUT_PLAN = {None, "staging", "preparing"}


class Later(Bench):
    """A bench whose trials begin with what an earlier process has left."""

    def begin_with(
        self, *words: str | Path, code: int, plan: dict[str, str] | None = None, poison: tuple[bytes, ...] = ()
    ) -> dict[str, Any]:
        """Run the program in the state directory that each trial begins with; returns what `status` says then."""
        self.base = self.folder / "base"
        self.receiver.forget()
        self.receiver.poison = poison
        first = Trial(self, self.base)
        ended = first.run(first.plan(**plan) if plan else None, words=list(words))
        assert ended.code == code, ended
        said = first.verb("status", "--output", "json").out
        found: dict[str, Any] = first.ends[-1].object if said else {}
        self.before = found.get("calls", {})
        return found


class ResumedRun(Bench):
    """`run` is tormented, `resume RUN` goes on; which says so where there is no whole plan, and then `run` does."""

    def go_on(self, trial: Trial, plan: Plan | None = None) -> Ended:
        """Resume, or run."""
        ended = trial.run(plan, words=self.command("resume", self.counts["run_id"], trial.state))
        if ended.code != WRONG:
            return ended
        assert (trial.seen or {}).get("state") in WITHOUT_PLAN, (trial.seen, ended)
        return trial.run(plan)


class Resume(Later):
    """`resume RUN` is tormented, after a canary, and goes on."""

    def prepare(self) -> None:
        """The first batch is sent."""
        super().prepare()
        self.run_id = self.begin_with(*self.command("run", self.job, self.folder / "base", "--canary"), code=STOPPED)[
            "run_id"
        ]

    def words(self, state: Path) -> list[str | Path]:
        """Resume."""
        return self.command("resume", self.run_id, state)


class DryRun(Bench):
    """`dry-run` is tormented; then `run` sends all."""

    def words(self, state: Path) -> list[str | Path]:
        """The dry run. Its ids are the live ones."""
        target = ["--target", "prod", "--endpoint", self.receiver.url, "--output", "json"]
        return ["dry-run", self.job, *target, "--state-dir", state]

    def keep(self, trial: Trial, ended: Ended) -> None:
        """Nothing was sent; then it is."""
        assert trial.look() is None
        assert ended.object["calls"]["pending"] > 0
        self.rehearsed = ended.object
        super().keep(trial, self.go_on(trial))

    def go_on(self, trial: Trial, plan: Plan | None = None) -> Ended:
        """Run."""
        return trial.run(plan, words=self.command("run", self.job, trial.state))


class DryRunAgain(DryRun):
    """`dry-run` is tormented; then it is made again, to its end, and `run` sends all."""

    def go_on(self, trial: Trial, plan: Plan | None = None) -> Ended:
        """The dry run again, which finds what it would have found, and the run."""
        arrived = self.held(trial.state).arrivals
        ended = trial.run(plan)
        if plan is not None and ended.code != self.code:
            return ended
        assert ended.code == self.code, ended
        for name in ("rows", "calls", "batches", "problems"):
            assert ended.object[name] == self.rehearsed[name], (name, ended.object[name], self.rehearsed[name])
        assert self.held(trial.state).arrivals == arrived, "a dry run has sent something"
        left = [str(path) for path in trial.state.rglob("dry-runs/**/*") if path.suffix in {".tmp", ".part"}]
        assert not left, left
        return super().go_on(trial, plan)


class Rehearsed(Later):
    """`run` is tormented that finds the snapshot of a dry run."""

    def prepare(self) -> None:
        """The dry run."""
        super().prepare()
        self.begin_with("dry-run", self.job, "--target", "prod", "--state-dir", self.folder / "base", code=self.code)


class Embedded(Bench):
    """The sandbox inside the process is the target: its store dies with the process, and has to be as true."""

    def command(self, verb: str, subject: str | Path, state: Path, *more: str) -> list[str | Path]:
        """The same for the sandbox."""
        words: list[str | Path] = [verb, subject, "--target", "sandbox", "--rate", "unlimited"]
        words += ["--concurrency", str(CONCURRENCY), "--output", "json", "--state-dir", state]
        return [*words, *self.case.options, *more]

    def check(self) -> None:
        """Nothing came to the other endpoint."""
        assert not self.receiver.calls
        assert self.counts["batches"] >= 2 * CONCURRENCY, self.counts

    def held(self, state: Path) -> Held:
        """What the store holds; its counts are those of its rows. A copy is read: reading changes what a kill left."""
        if not (state / "sandbox" / "sandbox.sqlite3").exists():
            return Held({}, 0)
        copy = self.folder / "store"
        shutil.copytree(state / "sandbox", copy)
        try:
            with closing(sqlite3.connect(copy / "sandbox.sqlite3")) as connection:
                return store_held(connection)
        finally:
            shutil.rmtree(copy)


def store_held(connection: sqlite3.Connection) -> Held:
    """What is in a sandbox's store."""
    tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")}
    if not tables:  # the process was killed before it had made them
        return Held({}, 0)
    ids = [one for (one,) in connection.execute("SELECT message_id FROM ids")]
    calls = {one: text.encode() for one, text in connection.execute("SELECT message_id, json FROM calls")}
    counts = dict(connection.execute("SELECT name, value FROM counts").fetchall())
    drops = connection.execute("SELECT reason, count(*) FROM drops GROUP BY reason").fetchall()
    (kept,) = connection.execute("SELECT count(*) FROM calls").fetchone()
    assert len(ids) == len(set(ids)) == kept == len(calls), (len(ids), kept, len(calls))
    assert calls.keys() == set(ids)
    assert len(ids) == counts.get("distinct_ids", 0) == counts.get("accepted", 0), counts
    assert counts.get("received", 0) == len(ids) + counts.get("duplicate", 0), counts
    assert dict(drops) == ({"duplicate": counts["duplicate"]} if counts.get("duplicate") else {}), (drops, counts)
    return Held(calls, counts.get("received", 0))
