"""Where the user stands: paths as they can be opened from there, commands as they can be typed there."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from backfill.job.formats import live_format

if TYPE_CHECKING:
    from backfill.records import SourceFile

#: A command as messages quote it; RUN and JOB in it stand for the run and the job file at hand.
COMMAND = re.compile(r"`backfill ([a-z][a-z-]*)((?: [^`]*)?)`")
#: Verbs that take a run, and look for its state directory from the current one upward.
OF_RUNS = ("resume", "deliver", "status", "rejects", "calls", "verify", "receipt", "undo", "reconcile")
#: Verbs that take a job file, beside which they look for its state directory.
OF_JOBS = ("preview", "dry-run", "run")
#: Where `backfill sandbox` keeps its calls in a state directory, if --store does not say another place.
SANDBOX = "sandbox"
#: A relative path that begins so tells less than the whole one.
FAR = "../../.."


def display_path(path: Path | str) -> str:
    """The path from the current directory where it is near, else whole; a URL as it is."""
    if "://" in str(path):
        return str(path)
    whole = os.path.abspath(path)  # noqa: PTH100 (links are the user's own names, and stay)
    relative = os.path.relpath(whole)
    return whole if relative.startswith(FAR) else relative


def display_source(path: Path | str) -> str:
    """What a problem's place begins with: a file as `display_path` has it, a database by its kind and name alone."""
    scheme, _, rest = str(path).partition("://")
    if live_format(str(path)) is None or not rest:
        return display_path(path)
    return f"{scheme}:{rest.partition('?')[0].partition('/')[2] or rest.partition('?')[0]}".rstrip(":")


def shown_files(files: Iterable[SourceFile]) -> dict[str, str]:
    """Files of a source, by their names in problems, as they can be opened from where the user stands."""
    return {file.name: display_source(file.path) for file in files if file.name != "-"}


@dataclass(slots=True, repr=False, eq=False)
class Here:
    """What the command line was told, and what it is at work on."""

    given: Mapping[str, str] = field(default_factory=dict)  # options of places and targets as they were typed
    state: Path | None = None  # the state directory
    run_id: str = ""
    job: str = ""  # the job file
    database: str | None = None  # the URL of the one that has the ledgers

    def completed(self, text: str) -> str:
        """The text with each quoted command as it has to be typed here: its run or job, its state directory, target."""
        return COMMAND.sub(lambda found: f"`{self._command(found[1], found[2].split())}`", text)

    def _command(self, verb: str, words: list[str]) -> str:
        filled = [{"RUN": self.run_id, "JOB": shell_word(self.job)}.get(word) or word for word in words]
        if verb in OF_RUNS:
            if verb == "resume" and self.run_id and (not filled or filled[0].startswith("-")):
                filled.insert(0, self.run_id)
            if self.state is not None and self.state != usual_state():
                filled += ["--state-dir", shell_word(display_path(self.state))]
            filled += self._typed("--state")
            filled += self._typed("--targets") if verb == "resume" else []
        elif verb == "sandbox" and "--store" not in filled:
            if self.state is not None and self.state != usual_state():
                filled += ["--store", shell_word(display_path(self.state / SANDBOX))]
        elif verb in OF_JOBS:
            for option in (*(("--state-dir", "--state") if verb != "preview" else ()), *self._target_options(filled)):
                filled += self._typed(option)
            filled += self._typed("--replay-rejects") if verb != "preview" else []
        return " ".join(["backfill", verb, *filled])

    def _target_options(self, words: list[str]) -> tuple[str, ...]:
        """The options of the target that a command lacks; where it names another, the endpoint is not that one's."""
        if "--target" not in words:
            return ("--target", "--targets", "--endpoint")
        named = words[words.index("--target") + 1]
        return ("--targets", "--endpoint") if named == self.given.get("--target", "sandbox") else ("--targets",)

    def _typed(self, option: str) -> list[str]:
        return [option, shell_word(self.given[option])] if option in self.given else []


def usual_state() -> Path:
    """The state directory that is found from the current one without being named."""
    from backfill.state import state_folder_from

    return state_folder_from(Path.cwd())


def shell_word(word: str) -> str:
    """The word as a shell takes it; nothing stays nothing."""
    return shlex.quote(word) if word else ""
