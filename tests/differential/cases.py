"""What a case is, the command lines that cases are made of, and the cases of jobs/."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).parent.parent.parent.absolute()
#: What the endpoint refuses; nothing of the program's own holds it.
POISON = b"p01s0n"

Step = dict[str, list[str]]


@dataclass(frozen=True)
class Case:
    """What is run: `make` fills a new folder, `steps` are command lines in which JOB and URL stand for those."""

    name: str
    make: Callable[[Path], None]
    job: str
    steps: Sequence[Step]
    one_sender: bool = True
    poisoned: bool = False
    resumed_after: int = 0  # steps, after which the run is stopped and the other version may go on with it; 0: none

    @property
    def in_order(self) -> bool:
        """Whether accepted calls arrive in the order of the plan."""
        return self.one_sender and not self.poisoned


def shipped_cases() -> Iterator[Case]:
    """The jobs of jobs/, to an endpoint of ours and to the embedded sandbox."""

    def make(folder: Path) -> None:
        folder.mkdir()
        for name in ("jobs", "sample_data"):
            shutil.copytree(REPOSITORY / name, folder / name)
        write_targets(folder, {})

    for path in sorted((REPOSITORY / "jobs").glob("*.yaml")):
        yield Case(path.stem, make, f"jobs/{path.name}", [*delivering(("--concurrency", "1"))])
        sandbox = [words("run", "JOB", "--target", "sandbox", "--output", "json", "--no-progress"), *looking()]
        yield Case(f"{path.stem}-sandbox", make, f"jobs/{path.name}", sandbox)


def words(*given: str) -> Step:
    """A command line as a step."""
    return {"words": list(given)}


def delivering(options: Sequence[str] = ()) -> Iterator[Step]:
    """Everything that leads to a delivery, and what is told of it."""
    yield words("check", "JOB")
    yield words("preview", "JOB", "-n", "3", "--target", "there", "--endpoint", "URL")
    yield words("dry-run", "JOB", "--target", "there", "--endpoint", "URL", "--output", "json", "--no-progress")
    yield run(*options)
    yield from looking()
    yield run(*options)


def run(*options: str, verb: str = "run") -> Step:
    """A delivery to the endpoint."""
    there = ("--target", "there", "--endpoint", "URL", "--yes", "--rate", "unlimited")
    return words(verb, "JOB", *there, "--output", "json", "--no-progress", *options)


def looking() -> Iterator[Step]:
    """What shows how a run stands."""
    yield words("status", "JOB", "--output", "json")
    yield words("rejects", "JOB", "--export", "export.ndjson", "--force")


def write_targets(folder: Path, limits: dict[str, int]) -> None:
    """The target `there`, whose endpoint each command line states."""
    there = {"kind": "compatible", "endpoint": "http://127.0.0.1:9", "id_scope": "differential", "dedup_window": "24h"}
    profile = there | {"write_key": "${SEGMENT_WRITE_KEY}", "limits": limits}
    text = json.dumps({"version": 1, "targets": {"there": profile}})
    (folder / "targets.yaml").write_text(text, encoding="utf-8")
