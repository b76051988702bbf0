"""What is named on the command line, with what a shell offers for it, and what was meant where there is none.

A shell waits for its TAB: nothing here loads a library for data or for YAML or judges what it offers, and but for the
ids of plans, which only ledgers have, nothing opens one.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import click
from click.shell_completion import CompletionItem

JOB_SUFFIXES = (".yaml", ".yml")
TARGETS_FILE = "targets.yaml"
BUILT_IN = ("sandbox", "segment", "segment-eu")
#: Names below `targets:`, as far as a look without a reader of YAML tells them: they are only offered.
_PROFILE = re.compile(r"^ +([A-Za-z0-9][A-Za-z0-9._-]*) *:", re.MULTILINE)


class PathType(click.Path):
    """A path that has to be there; where it is not, what there is of nearly that name is said."""

    def __init__(self, **kinds: Any) -> None:  # noqa: ANN401 (click's own)
        super().__init__(exists=True, path_type=Path, **kinds)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:  # noqa: ANN401
        """The path; raises click.BadParameter where it is not there, or of another kind."""
        try:
            return super().convert(value, param, ctx)
        except click.BadParameter as error:
            from backfill.pipeline.runs import near_file

            meant = "" if Path(value).exists() else near_file(Path(value))
            if not meant:
                raise
            raise click.BadParameter(f"{error.message} Did you mean {meant}?", ctx, param) from None


class JobType(PathType):
    """A job file, or where `folders` a folder of such."""

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:  # noqa: ARG002
        """The job files that begin so, in this folder and those right below it."""
        return _items(job_files(incomplete), incomplete)


class CodeType(JobType):
    """A code that is explained, or a job file."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:  # noqa: ANN401, ARG002
        """As it is: the verb judges it."""
        return value

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        """The problem codes with their titles, then the job files."""
        from backfill.rules import CODES

        codes = [CompletionItem(code, help=rule.title) for code, rule in CODES.items() if code.startswith(incomplete)]
        return [*codes, *super().shell_complete(ctx, param, incomplete)]


class RunType(click.types.StringParamType):
    """RUN or JOB: a run's id, the beginning of one, or a job file."""

    name = "run"

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:  # noqa: ARG002
        """The runs, the latest first, and the job files that begin so."""
        return _items([*run_ids(ctx.params.get("state_dir")), *job_files(incomplete)], incomplete)


class PlanType(click.types.StringParamType):
    """The id of a plan."""

    name = "id"

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:  # noqa: ARG002
        """The plans of the dry runs, the latest first, each with its job."""
        from backfill.api import plans
        from backfill.errors import BackfillError

        try:
            kept = plans(ctx.params.get("state_dir"))
        except (BackfillError, OSError):
            return []
        return [CompletionItem(one.plan, help=one.job) for one in kept if one.plan.startswith(incomplete)]


class TargetType(click.types.StringParamType):
    """The name of a target."""

    name = "name"

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:  # noqa: ARG002
        """The profiles of the nearest targets.yaml, then the targets that need none."""
        return _items([*profiles(Path.cwd()), *BUILT_IN], incomplete)


def _items(names: Iterable[str], incomplete: str) -> list[CompletionItem]:
    return [CompletionItem(name) for name in dict.fromkeys(names) if name.startswith(incomplete)]


def job_files(incomplete: str) -> Iterator[str]:
    """Paths of job files and of folders with such, written as `incomplete` begins them."""
    head = incomplete.rpartition("/")[0]
    folder = Path(head or ("/" if incomplete.startswith("/") else "."))
    written = incomplete[: incomplete.rfind("/") + 1]
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        if path.name.startswith("."):
            continue
        inside = [f"{path.name}/{one.name}" for one in sorted(path.glob("*")) if _is_job(one)] if path.is_dir() else []
        for name in [path.name, *inside] if inside or _is_job(path) else ():
            yield written + name


def _is_job(path: Path) -> bool:
    return path.suffix in JOB_SUFFIXES and path.name != TARGETS_FILE


def run_ids(state_dir: Path | None) -> list[str]:
    """The ids of the runs, the latest first; none where they cannot be read."""
    from backfill.errors import BackfillError
    from backfill.state import open_store, state_folder_from

    try:
        return [run.run_id for run in open_store(state_dir or state_folder_from(Path.cwd())).runs(lost=True)]
    except (BackfillError, OSError):
        return []


def profiles(start: Path) -> list[str]:
    """The names of profiles in the nearest targets.yaml."""
    for above in (start, *start.parents):
        file = above / TARGETS_FILE
        if file.is_file():
            text = file.read_text("utf-8", errors="replace").partition("\ntargets:")[2]
            names = list(_PROFILE.finditer(text))
            least = min((found.end(1) - len(found[1]) - found.start() for found in names), default=0)
            return [found[1] for found in names if found.end(1) - len(found[1]) - found.start() == least]
    return []
