"""A live target for jobs that are run again and again: what of it was sent when, by message id."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from backfill import identity
from backfill.ledger import LedgerReader
from backfill.sandbox import FaultScript, Sandbox
from backfill.state.folder import StateFolder
from tests.support.projects import Project, Result, backfill
from tests.support.wiretap import Wiretap

SCOPE = "reruns"
TARGETS = """\
version: 1
targets:
  prod: {{kind: segment, endpoint: "{url}", write_key: "${{SEGMENT_WRITE_KEY}}", id_scope: {scope}}}
"""
JOB = """\
version: 1
name: members
generation: {generation}
source: {{path: members.csv, timezone: UTC, columns: {{age: integer}}}}
calls:
  - type: identify
    {key}
    userId: id
    timestamp: {{column: joined, format: "%Y-%m-%d"}}
    traits: {{{trait}: age}}
    integrations: {{All: false}}
"""

#: A member: number and age; an age that is no integer makes the row a reject.
Member = tuple[int, int | str]


@dataclass
class Reruns:
    """A job, its source and its target."""

    project: Project
    tap: Wiretap

    @property
    def job(self) -> Path:
        """The job file."""
        return self.project.folder / "members.yaml"

    @property
    def state(self) -> StateFolder:
        """The state folder."""
        return StateFolder(self.project.state)

    def members(self, rows: Sequence[Member]) -> None:
        """Write the source anew."""
        text = "".join(f"u{number},2023-05-01,{age}\n" for number, age in rows)
        (self.project.folder / "members.csv").write_text(f"id,joined,age\n{text}", encoding="utf-8")

    def mapping(self, *, trait: str = "age", generation: int = 1, key: str = "message_key: [id]") -> None:
        """Write the job file anew."""
        self.job.write_text(JOB.format(trait=trait, generation=generation, key=key), encoding="utf-8")

    def scope(self, scope: str) -> None:
        """Write the target anew."""
        text = TARGETS.format(url=self.tap.url, scope=scope)
        (self.project.folder / "targets.yaml").write_text(text, encoding="utf-8")

    def run(self, *options: str, verb: str = "run") -> Result:
        """Run the job."""
        words = ["--yes", "--rate", "unlimited"] if verb == "run" else []
        return backfill(verb, self.job, "--target", "prod", "--output", "json", *words, *options)

    def ask(self, *words: str) -> Result:
        """A verb that has to do with runs, not with the job."""
        return backfill(*words, "--state-dir", self.project.state)

    def sent(self, since: int = 0) -> list[str]:
        """The message ids of the calls that were taken, in the order of the requests behind so many."""
        return [one.decode() for heard in self.tap.heard[since:] if heard.status == 200 for one in heard.ids]

    @property
    def requests(self) -> int:
        """How many requests there were."""
        return len(self.tap.heard)

    def run_id(self) -> str:
        """The id of the only run."""
        (folder,) = self.state.runs()
        return folder.run_id

    def states(self) -> list[str]:
        """The states of the earlier runs, the oldest first, and of the present one."""
        found = []
        for folder in [*self.state.earlier(), *self.state.runs()]:
            with LedgerReader(folder.ledger) as reader:
                found.append(str(reader.status().state))
        return found


def id_of(number: int, *, scope: str = SCOPE, generation: int = 1) -> str:
    """The message id of a member, by the standard library."""
    return identity.message_id(identity.namespace(scope, "members", "identify", generation), [f"u{number}"])


@contextmanager
def reruns(folder: Path, *faults: str) -> Iterator[Reruns]:
    """A project with the job and its target, which has faults by script."""
    with Sandbox(faults=FaultScript.parse(list(faults))) as sandbox, Wiretap(sandbox.endpoint) as tap:
        bench = Reruns(Project(folder), tap)
        bench.mapping()
        bench.scope(SCOPE)
        yield bench
