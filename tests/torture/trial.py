"""A run through some faults, and the judgement: every call once, byte for byte, and a ledger that is true."""

from __future__ import annotations

import itertools
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from backfill.rehearse.arrivals import Arrivals, compare
from tests.torture.cases import Case
from tests.torture.points import ODD, Plan
from tests.torture.receiver import Receiver
from tests.torture.zygote import Child, Ended, Zygote

KEY = "wK4tTheKeyOfNobody"
TARGETS = "version: 1\ntargets:\n  prod: {kind: segment, write_key: '${SEGMENT_WRITE_KEY}', id_scope: torture}\n"
CONCURRENCY = 3
#: What becomes of planned calls; each of them has one of these ends.
ENDS = ("delivered", "rejected", "duplicate", "already_delivered", "in_doubt", "pending")
#: What must never be seen by a person.
UNSEEMLY = ("Traceback", "Unexpected failure", "Exception ignored", "Fatal Python error", "fault of backfill")


@dataclass(frozen=True)
class Held:
    """What the endpoint of a trial holds."""

    calls: dict[str, bytes]  # by message id
    arrivals: int  # of calls, those that arrived again included
    altered: int = 0  # ids that came with two contents


@dataclass
class Bench:
    """A job with what an undisturbed run of it sends, ready to be run again and again.

    What is tormented, what each trial begins with, how it is gone on with and where the calls arrive are methods that
    `scenarios` puts others in the place of.
    """

    zygote: Zygote
    receiver: Receiver
    case: Case
    folder: Path
    calls: dict[str, bytes] = field(default_factory=dict)
    arrivals: int = 0
    points: list[str] = field(default_factory=list)
    counts: dict[str, Any] = field(default_factory=dict)
    base: Path | None = None  # the state directory that each trial begins with a copy of; None: with none
    before: dict[str, int] = field(default_factory=dict)  # the calls of the run in it, as `status` counts them
    poison: tuple[bytes, ...] = ()  # what the endpoint refuses
    numbers: Iterator[int] = field(default_factory=itertools.count)

    def __post_init__(self) -> None:
        """Run it undisturbed, and keep what it sent and the points that it passed."""
        self.folder.mkdir()
        (self.folder / "targets.yaml").write_text(TARGETS, encoding="utf-8")
        self.code = self.case.code  # of an undisturbed end
        self.prepare()
        trial = self.trial()
        trace = self.folder / "trace"
        ended = trial.run(Plan(trace=str(trace), below=str(trial.state)))
        assert ended.code == self.code, ended
        self.points = trace.read_text(encoding="utf-8").splitlines()
        self.keep(trial, ended)

    def prepare(self) -> None:
        """Write source and job, and bring about what each trial begins with."""
        self.job = self.case.job(self.folder)

    def keep(self, trial: Trial, ended: Ended) -> None:
        """Keep what the undisturbed trial came to."""
        held = self.held(trial.state)
        self.calls, self.arrivals, self.counts = held.calls, held.arrivals, ended.object
        self.files = trial.files()
        already = self.before.get("delivered", 0)
        ours = self.counts["calls"]["delivered"] - (already if trial.same_run(self.counts) else 0)
        assert self.arrivals == len(self.calls) == ours > 0, self.counts
        self.check()

    def check(self) -> None:
        """See that it is the trial that it is meant to be."""
        assert bool(self.receiver.packed) is ("--gzip" in self.case.options)
        assert self.counts["batches"] >= 2 * CONCURRENCY or self.case.rows > 50_000, self.counts

    def trial(self, state: Path | None = None) -> Trial:
        """A run that has not begun, with an endpoint that has received nothing."""
        self.receiver.forget()
        self.receiver.poison = self.poison
        trial = Trial(self, state or self.folder / f"state{next(self.numbers)}")
        if self.base is not None:
            shutil.copytree(self.base, trial.state)
        return trial

    def command(self, verb: str, subject: str | Path, state: Path, *more: str) -> list[str | Path]:
        """A command line that delivers."""
        words: list[str | Path] = [verb, subject, "--target", "prod", "--endpoint", self.receiver.url, "--yes"]
        words += ["--rate", "unlimited", "--concurrency", str(CONCURRENCY), "--output", "json"]
        return [*words, "--state-dir", state, *self.case.options, *more]

    def words(self, state: Path) -> list[str | Path]:
        """The command line that is tormented."""
        return self.command("run", self.job, state)

    def go_on(self, trial: Trial, plan: Plan | None = None) -> Ended:
        """Go on after a torment, which leads to the end unless `plan` has another one begin."""
        return trial.run(plan)

    def held(self, state: Path) -> Held:
        """What has arrived at the endpoint of the trial in that state directory."""
        return Held(dict(self.receiver.calls), self.receiver.arrivals, len(self.receiver.altered))


@dataclass
class Trial:
    """One run of the job, in a state directory of its own."""

    bench: Bench
    state: Path
    in_doubt: int = 0  # calls that may have to be sent again, by what the ledger said after each fault
    doubled: int = 0  # calls that arrived again though no fault that was announced explains it
    ends: list[Ended] = field(default_factory=list)
    seen: dict[str, Any] | None = None  # what `look` saw last

    def start(self, plan: Plan | None = None, *, words: list[str | Path] | None = None, **options: Any) -> Child:
        """Start a process at it; `words`: with another command line than the one that is tormented."""
        options.setdefault("environ", {"SEGMENT_WRITE_KEY": KEY})
        arguments = words or self.bench.words(self.state)
        return self.bench.zygote.start(*arguments, cwd=self.bench.folder, plan=plan, **options)

    def run(self, plan: Plan | None = None, **options: Any) -> Ended:
        """Let a process work at it to its end, and see that it says nothing unseemly."""
        ended = self.start(plan, **options).wait()
        self.saw(ended)
        return ended

    def verb(self, *words: str) -> Ended:
        """Let another verb look at the state directory."""
        ended = self.bench.zygote.run(*words, "--state-dir", self.state, cwd=self.bench.folder)
        self.saw(ended)
        return ended

    def saw(self, ended: Ended) -> None:
        """Look at how a process ended."""
        self.ends.append(ended)
        report = re.search(r"The report is in (\S+\.txt)", ended.err)
        text = (self.bench.folder / report[1]).read_text(encoding="utf-8") if report else ""
        for word in UNSEEMLY:
            assert word not in ended.err, (word, ended, text)
        assert KEY not in ended.err + ended.out

    def plan(self, at: str, act: str, **more: Any) -> Plan:
        """What is to happen to the next process."""
        return Plan(at=at, act=act, below=str(self.state), **more)

    def same_run(self, found: dict[str, Any]) -> bool:
        """Whether counts are those of the run that the trial began with, not of one that came in its place."""
        return bool(found["calls"]["planned"] == self.bench.before.get("planned"))

    def look(self) -> dict[str, Any] | None:
        """What `status` says between two processes; None where no run has begun. It must be true."""
        ended = self.verb("status", "--output", "json")
        assert ended.code == 0, ended
        arrived = len(self.bench.held(self.state).calls)
        if not ended.out:
            assert not arrived, "calls were sent, and no ledger knows"
            self.seen = None
            return None
        self.seen = found = ended.object
        calls, before = found["calls"], self.bench.before if self.same_run(found) else {}
        delivered = calls["delivered"] - before.get("delivered", 0)
        # What counts as delivered has arrived, and what has arrived is delivered or in doubt.
        assert delivered <= arrived <= delivered + calls["in_doubt"], (arrived, calls, before)
        assert calls["planned"] == sum(calls[name] for name in ENDS), calls
        assert calls["in_doubt"] == 0 or found["state"] in {"delivering", "stopped"} or self.bench.code == 5, found
        self.in_doubt += calls["in_doubt"]
        return found

    def finish(self, *, twice: bool = False) -> Ended:
        """Go on undisturbed to the end, and judge; `twice`: and once more, when there is nothing left to do."""
        ended = self.bench.go_on(self)
        assert ended.code == self.bench.code, (ended, [end.code for end in self.ends])
        self.judge(ended.object)
        if twice:
            again = self.bench.go_on(self)
            assert again.code == self.bench.code, again
            self.judge(again.object)
        return ended

    def judge(self, counts: dict[str, Any]) -> None:
        """A run that says it is finished: all has arrived, nothing in vain, and the numbers are those of no fault."""
        bench, held = self.bench, self.bench.held(self.state)
        assert counts["state"] == "finished"
        assert not held.altered, f"{held.altered} ids came with two contents"
        found = compare(bench.calls, Arrivals(held.calls, {}), {})  # as `backfill rehearse` judges
        assert found.proven, (found.missing[:3], found.unknown[:3], found.altered[:3])
        assert held.arrivals <= bench.arrivals + self.in_doubt, (held.arrivals, bench.arrivals, self.in_doubt)
        for name in ("rows", "calls", "batches", "problems"):
            assert counts[name] == bench.counts[name], (name, counts[name], bench.counts[name])
        rows, calls = counts["rows"], counts["calls"]
        assert rows["read"] == rows["filtered"] + rows["unreadable"] + rows["mapped"]
        assert calls["planned"] == sum(calls[name] for name in ENDS)
        others = set(self.files()) ^ set(bench.files)
        assert not others, f"other files than an undisturbed run leaves: {sorted(others)}"

    def files(self) -> list[str]:
        """What is in the state directory, with names as the points have them.

        The archive of delivered ids is brought up to date when it is read, a dry run's folder by the next one, and the
        log of the sandbox's store when that is opened: what a killed process left there is in nobody's way.
        """
        found = (path.relative_to(self.state) for path in self.state.rglob("*") if path.is_file())
        mended_later = {"delivered", "dry-runs", "sandbox"}
        return sorted(ODD.sub("*", str(path)) for path in found if path.parts[0] not in mended_later)

    def clear(self) -> None:
        """Remove the state directory."""
        shutil.rmtree(self.state, ignore_errors=True)


@contextmanager
def benches(zygote: Zygote, folder: Path, *cases: Case, seconds: float = 0.0) -> Iterator[list[Bench]]:
    """A bench for each case; one endpoint for all."""
    with Receiver(seconds=seconds) as receiver:
        yield [Bench(zygote, receiver, case, folder / case.name) for case in cases]
