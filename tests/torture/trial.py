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

from tests.torture.cases import Case
from tests.torture.points import Plan
from tests.torture.receiver import Receiver
from tests.torture.zygote import Child, Ended, Zygote

KEY = "wK4tTheKeyOfNobody"
TARGETS = "version: 1\ntargets:\n  prod: {kind: segment, write_key: '${SEGMENT_WRITE_KEY}', id_scope: torture}\n"
CONCURRENCY = 3
#: What must never be seen by a person.
UNSEEMLY = ("Traceback", "Unexpected failure", "Exception ignored", "Fatal Python error", "fault of backfill")


@dataclass
class Bench:
    """A job with what an undisturbed run of it sends, ready to be run again and again."""

    zygote: Zygote
    receiver: Receiver
    case: Case
    folder: Path
    calls: dict[str, bytes] = field(default_factory=dict)
    arrivals: int = 0
    points: list[str] = field(default_factory=list)
    counts: dict[str, Any] = field(default_factory=dict)
    numbers: Iterator[int] = field(default_factory=itertools.count)

    def __post_init__(self) -> None:
        """Run it undisturbed, and keep what it sent and the points that it passed."""
        self.folder.mkdir()
        (self.folder / "targets.yaml").write_text(TARGETS, encoding="utf-8")
        self.job = self.case.job(self.folder)
        trial = self.trial()
        trace = self.folder / "trace"
        ended = trial.run(Plan(trace=str(trace), below=str(trial.state)))
        assert ended.code == self.case.code, ended
        self.points = trace.read_text(encoding="utf-8").splitlines()
        self.calls, self.arrivals = dict(self.receiver.calls), self.receiver.arrivals
        self.counts = ended.object
        assert self.arrivals == len(self.calls) == self.counts["calls"]["delivered"] > 0
        assert bool(self.receiver.packed) is ("--gzip" in self.case.options)
        assert self.counts["batches"] >= 2 * CONCURRENCY or self.case.rows > 50_000, self.counts

    def trial(self, state: Path | None = None) -> Trial:
        """A run that has not begun, with an endpoint that has received nothing."""
        self.receiver.forget()
        return Trial(self, state or self.folder / f"state{next(self.numbers)}")


@dataclass
class Trial:
    """One run of the job, in a state directory of its own."""

    bench: Bench
    state: Path
    in_doubt: int = 0  # calls that may have to be sent again, by what the ledger said after each fault
    doubled: int = 0  # calls that arrived again though no fault that was announced explains it
    ends: list[Ended] = field(default_factory=list)

    @property
    def words(self) -> list[str | Path]:
        """The command line that runs it."""
        words: list[str | Path] = ["run", self.bench.job, "--target", "prod", "--endpoint", self.bench.receiver.url]
        words += ["--yes", "--rate", "unlimited", "--concurrency", str(CONCURRENCY), "--output", "json"]
        return [*words, "--state-dir", self.state, *self.bench.case.options]

    def start(self, plan: Plan | None = None, **options: Any) -> Child:
        """Start a process at it."""
        options.setdefault("environ", {"SEGMENT_WRITE_KEY": KEY})
        return self.bench.zygote.start(*self.words, cwd=self.bench.folder, plan=plan, **options)

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
        text = Path(report[1]).read_text(encoding="utf-8") if report else ""
        for word in UNSEEMLY:
            assert word not in ended.err, (word, ended, text)
        assert KEY not in ended.err + ended.out

    def plan(self, at: str, act: str, **more: Any) -> Plan:
        """What is to happen to the next process."""
        return Plan(at=at, act=act, below=str(self.state), **more)

    def look(self) -> dict[str, Any] | None:
        """What `status` says between two processes; None where no run has begun. It must be true."""
        ended = self.verb("status", "--output", "json")
        assert ended.code == 0, ended
        if not ended.out:
            assert not self.bench.receiver.calls, "calls were sent, and no ledger knows"
            return None
        found = ended.object
        calls = found["calls"]
        # What counts as delivered has arrived, and what has arrived is delivered or in doubt.
        assert calls["delivered"] <= len(self.bench.receiver.calls) <= calls["delivered"] + calls["in_doubt"], calls
        assert calls["in_doubt"] == 0 or found["state"] in {"delivering", "stopped"}, found
        self.in_doubt += calls["in_doubt"]
        return found

    def finish(self, *, twice: bool = False) -> Ended:
        """Go on undisturbed to the end, and judge; `twice`: and once more, when there is nothing left to do."""
        ended = self.run()
        assert ended.code == self.bench.case.code, (ended, [end.code for end in self.ends])
        self.judge(ended.object)
        if twice:
            again = self.run()
            assert again.code == self.bench.case.code, again
            self.judge(again.object)
        return ended

    def judge(self, counts: dict[str, Any]) -> None:
        """A run that says it is finished: all has arrived, nothing in vain, and the numbers are those of no fault."""
        receiver, bench = self.bench.receiver, self.bench
        assert counts["state"] == "finished"
        assert not receiver.altered, f"{len(receiver.altered)} ids came with two contents"
        assert receiver.calls.keys() == bench.calls.keys()
        assert receiver.calls == bench.calls, "other bytes than those of an undisturbed run"
        assert receiver.arrivals <= bench.arrivals + self.in_doubt, (receiver.arrivals, self.in_doubt)
        for name in ("rows", "calls", "batches", "problems"):
            assert counts[name] == bench.counts[name], (name, counts[name], bench.counts[name])
        rows, calls = counts["rows"], counts["calls"]
        assert rows["read"] == rows["filtered"] + rows["unreadable"] + rows["mapped"]
        ends = ("delivered", "rejected", "duplicate", "already_delivered", "in_doubt", "pending")
        assert calls["planned"] == sum(calls[name] for name in ends)
        # (The archive of delivered ids is brought up to date when it is read: what it began is not in anybody's way.)
        left = [path for path in self.state.rglob("*") if path.name.endswith((".tmp", ".part", ".numbered"))]
        leftovers = [path for path in left if "delivered" not in path.parts]
        assert not leftovers, leftovers
        kept = {path.suffix for path in self.state.glob("runs/*/spool/*")}
        assert (".segment" in kept) is ("--keep-spool" in bench.case.options), kept

    def clear(self) -> None:
        """Remove the state directory."""
        shutil.rmtree(self.state, ignore_errors=True)


@contextmanager
def benches(folder: Path, *cases: Case, seconds: float = 0.0) -> Iterator[list[Bench]]:
    """A bench for each case; one zygote and one endpoint for all."""
    with Zygote(folder) as zygote, Receiver(seconds=seconds) as receiver:
        yield [Bench(zygote, receiver, case, folder / case.name) for case in cases]
