"""Runs after others: only what is new, abandoned, refused and tried again, in doubt for long. Benches as in `ways`."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from tests.torture.points import Plan
from tests.torture.trial import Bench, Trial
from tests.torture.ways import REFUSED, STOPPED, Later
from tests.torture.zygote import Ended

#: What the source holds before it grows: one of so many parts of its rows.
FIRST_PART = 3
DAY_SECONDS = 86_400


class Grown(Later):
    """The source has grown since it was delivered, and `run --only-new` is tormented."""

    option = "--only-new"
    first: tuple[str, ...] = ()
    first_code: int | None = None  # None: that of the job

    def prepare(self) -> None:
        """A part of the source is delivered, then it grows."""
        self.job = self.case.make(self.folder, self.case.name, self.case.rows // FIRST_PART)
        words = self.command("run", self.job, self.folder / "base", *self.first)
        self.begin_with(*words, code=self.code if self.first_code is None else self.first_code)
        self.sent_first = set(self.receiver.calls)
        assert len(self.sent_first) == self.before["delivered"] > 0
        super().prepare()

    def check(self) -> None:
        """Exactly what was delivered is left out."""
        calls = self.counts["calls"]
        assert calls["already_delivered"] == len(self.sent_first), self.counts
        assert calls["delivered"] == calls["planned"] - calls["rejected"] - calls["duplicate"] - len(self.sent_first)
        assert not self.sent_first & self.calls.keys()
        super().check()

    def words(self, state: Path) -> list[str | Path]:
        """Only what is new."""
        return self.command("run", self.job, state, self.option)

    def go_on(self, trial: Trial, plan: Plan | None = None) -> Ended:
        """The run goes on without its option once it has begun; before, that is refused."""
        ended = trial.run(plan, words=self.command("run", self.job, trial.state))
        return trial.run(plan) if ended.code == REFUSED else ended


class Abandoned(Grown):
    """An unfinished run whose source has grown is given up: `run --abandon` is tormented."""

    option = "--abandon"
    first = ("--canary",)
    first_code = STOPPED


def people(ids: Sequence[str]) -> tuple[bytes, ...]:
    """What stands in the calls of these people only."""
    return tuple(f'"userId":"{one}"'.encode() for one in ids)


class Refusing(Bench):
    """The target refuses some calls: batches are halved while `run` is tormented."""

    refused = ("u000005", "u000700", "u000701", "u002599")

    def prepare(self) -> None:
        """What is refused."""
        super().prepare()
        self.poison = people(self.refused)
        self.code = 3

    def check(self) -> None:
        """These, and no others, are rejected."""
        assert self.counts["calls"]["rejected"] == len(self.refused), self.counts
        assert not any(poison in call for call in self.calls.values() for poison in self.poison)
        super().check()


class RetryRejected(Later):
    """The target has refused calls and takes them now: `resume RUN --retry-rejected` is tormented."""

    refused = (*Refusing.refused, "u001000", "u001001", "u001500", "u002000")

    def prepare(self) -> None:
        """A run of which these are refused."""
        super().prepare()
        found = self.begin_with(
            *self.command("run", self.job, self.folder / "base"), code=3, poison=people(self.refused)
        )
        assert found["calls"]["rejected"] == len(self.refused), found
        self.run_id = found["run_id"]

    def words(self, state: Path) -> list[str | Path]:
        """Try them again."""
        return self.command("resume", self.run_id, state, "--retry-rejected")

    def check(self) -> None:
        """These, and no others, are sent."""
        assert len(self.calls) == len(self.refused)
        assert all(any(one in call for call in self.calls.values()) for one in people(self.refused))


class InDoubt(Later):
    """Calls are in doubt for longer than the target remembers ids: `run --in-doubt resend` is tormented."""

    decision = "resend"

    def prepare(self) -> None:
        """A process is killed while it waits for answers, two days ago."""
        super().prepare()
        run = self.command("run", self.job, self.folder / "base")
        plan = {"at": "recv endpoint #4 after", "act": "kill"}
        self.begin_with(*run, code=-9, plan=plan)
        (ledger,) = (self.folder / "base").glob("runs/*/ledger.sqlite3")
        with closing(sqlite3.connect(ledger)) as connection, connection:
            connection.execute("UPDATE attempts SET sent_at = sent_at - ?", (2 * DAY_SECONDS,))
        assert all(self.before[name] > 0 for name in ("delivered", "in_doubt", "pending")), self.before
        trial = self.trial()
        asked = trial.run(words=self.command("run", self.job, trial.state, "--canary"))
        assert asked.code == STOPPED, asked
        trial.clear()

    def words(self, state: Path) -> list[str | Path]:
        """With the decision."""
        return self.command("run", self.job, state, "--in-doubt", self.decision)

    def check(self) -> None:
        """What was not delivered is sent, what was in doubt, too."""
        assert len(self.calls) == self.before["in_doubt"] + self.before["pending"]
        assert self.counts["calls"]["delivered"] == self.counts["calls"]["planned"]


class LeftInDoubt(InDoubt):
    """The same with `--in-doubt skip`: they stay in doubt for good, exit 5."""

    decision = "skip"

    def prepare(self) -> None:
        """The same, with another end."""
        super().prepare()
        self.code = STOPPED

    def check(self) -> None:
        """What was in doubt is not sent."""
        assert len(self.calls) == self.before["pending"]
        assert self.counts["calls"]["in_doubt"] == self.before["in_doubt"]
