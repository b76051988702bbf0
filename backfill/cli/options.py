"""The options that several verbs share, each written once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from functools import wraps
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from backfill.cli.named import JobType, PathType, PlanType, RunType, TargetType
from backfill.cli.session import Session, set_up_logs
from backfill.frozen import frozen

Command = Callable[..., Any]

FOLDER = click.Path(file_okay=False, path_type=Path)
FILE = PathType(dir_okay=False, readable=True)
JOB = JobType(dir_okay=False, readable=True)
RUN = RunType()
TARGET = TargetType()


def voice_options(command: Command) -> Command:
    """-v, -q and --log-format; sets up the session's voice before the verb runs."""

    @click.option("-v", "--verbose", count=True, help="Say what each step does; -vv: what each request does.")
    @click.option("-q", "--quiet", is_flag=True, help="Say only warnings and errors.")
    @click.option(
        "--log-format", type=click.Choice(["text", "json"]), default="text", help="How messages on stderr are written."
    )
    @wraps(command)
    def wrapped(session: Session, *, verbose: int, quiet: bool, log_format: str, **others: object) -> object:
        set_up_logs(session, verbose=verbose, quiet=quiet, log_format=log_format)
        session.here.given = typed_options()
        return command(session, **others)

    return click.pass_obj(wrapped)


def typed_options() -> dict[str, str]:
    """The options of this command line that say what is read, and where something is or goes, as they were typed."""
    context = click.get_current_context()
    names = {"--state-dir": "state_dir", "--target": "target", "--targets": "targets", "--endpoint": "endpoint"}
    names |= {"--replay-rejects": "replay_rejects", "--state": "state"}
    return {
        option: str(context.params[name])
        for option, name in names.items()
        if context.get_parameter_source(name) is ParameterSource.COMMANDLINE
        and (option != "--state" or "://" in context.params[name])  # a folder is told as --state-dir is
    }


def jobs_argument(command: Command) -> Command:
    """JOB [JOB...|DIR], as `jobs`."""
    return click.argument("jobs", nargs=-1, required=True, type=JobType(), metavar="JOB [JOB...|DIR]")(command)


def state_option(command: Command) -> Command:
    """--state-dir, as `state_dir`; --state is the same where it is a folder, and else goes to the session."""

    @click.option(
        "--state",
        metavar="URL|DIR",
        envvar="BACKFILL_STATE",
        help="Where runs are kept: a folder, as --state-dir, or postgresql://HOST/DATABASE, for many machines.",
    )
    @click.option(
        "--state-dir",
        type=FOLDER,
        help="Where runs are kept [default: .backfill beside the nearest targets.yaml, else beside the job file].",
    )
    @wraps(command)
    def wrapped(*parts: object, state: str | None, state_dir: Path | None, **others: object) -> object:
        if state is not None:
            from backfill.state.stated import checked_database, is_url

            if is_url(state):
                click.get_current_context().obj.here.database = checked_database(state, "--state")
            else:
                state_dir = state_dir or Path(state)
        return command(*parts, state_dir=state_dir, **others)

    return wrapped


def spool_option(command: Command) -> Command:
    """--spool."""
    return click.option(
        "--spool",
        metavar="URL|FOLDER",
        envvar="BACKFILL_SPOOL",
        help="Keep the bytes of runs that begin in s3://, gs://, az:// or a shared folder [default: the state"
        " directory].",
    )(command)


def spool_cache_option(command: Command) -> Command:
    """--spool-cache."""
    return click.option(
        "--spool-cache",
        metavar="SIZE",
        envvar="BACKFILL_SPOOL_CACHE",
        help="Of shared bytes keep so many on this machine (10 GB).",
    )(command)


def scheduler_option(command: Command) -> Command:
    """--scheduler."""
    return click.option(
        "--scheduler",
        metavar="ADDRESS",
        help="Prepare on the cluster of dask whose scheduler is at tcp://HOST:8786; needs --spool [default: here].",
    )(command)


def dry_option(command: Command) -> Command:
    """--dry-run."""
    told = "Look at dry runs instead: at all, or at that of JOB."
    return click.option("--dry-run", is_flag=True, help=told)(command)


def output_option(command: Command) -> Command:
    """--output."""
    return click.option(
        "--output", type=click.Choice(["text", "json"]), default="text", help="How the result is written."
    )(command)


def report_option(command: Command) -> Command:
    """--report FILE."""
    return click.option(
        "--report",
        type=click.Path(dir_okay=False, path_type=Path),
        metavar="FILE",
        help="Write how it ended as a page of HTML, as `backfill report` does.",
    )(command)


def progress_option(command: Command) -> Command:
    """--no-progress."""
    return click.option("--no-progress", is_flag=True, help="No progress bars (there are none without a terminal).")(
        command
    )


@frozen
class TargetOptions:
    """--target, --targets and --endpoint as given."""

    name: str  # empty where it is not given
    targets: Path | None = None
    endpoint: str | None = None


def _with_target(command: Command, *options: Command) -> Command:
    """The command with these options, which come to it as one: `target`, a TargetOptions."""

    @wraps(command)
    def wrapped(*, target: str | None, targets: Path | None, endpoint: str | None, **others: object) -> object:
        return command(target=TargetOptions(target or "", targets, endpoint), **others)

    verb: Command = wrapped
    for option in (
        click.option("--endpoint", metavar="URL", help="Send there instead of to the target's own endpoint."),
        *options,
    ):
        verb = option(verb)
    return verb


def target_options(command: Command) -> Command:
    """--target, --targets and --endpoint."""
    return _with_target(
        command,
        click.option("--targets", type=FILE, help="The profiles [default: the nearest targets.yaml upward]."),
        click.option(
            "--target",
            type=TARGET,
            metavar="NAME",
            envvar="BACKFILL_TARGET",
            help="A profile, or sandbox or segment [default: sandbox, on a terminal].",
        ),
    )


def run_target_options(command: Command) -> Command:
    """The same three of a verb that goes on with a run: what is said is compared with the run's own target.

    BACKFILL_TARGET says where *new* runs go; a run that is there has its target.
    """
    return _with_target(
        command,
        click.option(
            "--targets",
            type=FILE,
            help="The profiles [default: the nearest targets.yaml upward from where the job file was, else from the"
            " state directory or the current one].",
        ),
        click.option(
            "--target",
            type=TARGET,
            metavar="NAME",
            help="A profile that leads where the run's does [default: the run's].",
        ),
    )


def replay_option(command: Command) -> Command:
    """--replay-rejects."""
    told = "Instead of the source: mended rows that `rejects --export FILE` wrote, under the ids they would have had."
    return click.option("--replay-rejects", type=FILE, metavar="FILE", help=told)(command)


def gate_option(command: Command) -> Command:
    """--gate, and --max-rejects, which is one of them."""
    gate = click.option(
        "--gate",
        "gates",
        multiple=True,
        metavar="NAME=VALUE",
        help="Send nothing if the plan does not keep to it, as the job's `gates`: max_rejects, earliest, latest,"
        " min_calls, max_calls, max_bytes, max_events, max_users.",
    )
    rejects = click.option(
        "--max-rejects",
        metavar="N|P%",
        help="Send nothing if more rows than that are rejected or unreadable [default: no gate].",
    )
    verb: Command = gate(rejects(command))
    return verb


@frozen
class SendOptions:
    """What the options of a delivery say, their texts not read yet; None where one is not given."""

    rate: str | None
    concurrency: int | None
    attempts: int | None
    in_doubt: str | None
    gzip: bool | None
    canary: str | None
    canary_user: str | None
    keep_spool: bool
    yes: bool
    gates: tuple[str, ...]
    max_rejects: str | None
    plan: tuple[str, ...]

    @classmethod
    def nothing_said(cls, gates: tuple[str, ...], max_rejects: str | None) -> SendOptions:
        """Those of a verb that sends nothing, and has gates alone."""
        nothing = dict.fromkeys(
            ("rate", "concurrency", "attempts", "in_doubt", "gzip", "canary", "canary_user", "max_rejects")
        )
        return cls(**nothing | {"max_rejects": max_rejects}, keep_spool=False, yes=False, gates=gates, plan=())


#: `--canary` without a number.
FIRST_BATCH = "first"


class NumberOrNone(click.Option):
    """An option that takes the word behind it only where that is a number; else it stands alone."""

    def add_to_parser(self, parser: Any, ctx: click.Context) -> None:  # noqa: ANN401 (click's own)
        """Let the parser put back what is no number."""
        super().add_to_parser(parser, ctx)
        option = parser._long_opt[self.opts[0]]  # noqa: SLF001 (there is no other way to it)
        take = option.process

        def process(value: Any, state: Any) -> None:  # noqa: ANN401 (click's own)
            is_word = isinstance(value, str) and value != self.flag_value and not value.isdecimal()
            if is_word:
                state.rargs.insert(0, value)
            take(self.flag_value if is_word else value, state)

        option.process = process


def delivery_options(command: Command) -> Command:
    """The options of a verb that delivers; they come to it as one: `asked`, a SendOptions."""

    @wraps(command)
    def wrapped(**given: object) -> object:
        values: dict[str, Any] = {field.name: given.pop(field.name) for field in fields(SendOptions)}
        return command(asked=SendOptions(**values), **given)

    verb: Command = wrapped
    for option in (
        gate_option,
        click.option(
            "--plan",
            type=PlanType(),
            multiple=True,
            metavar="ID",
            help="Send only what is the very plan that a dry run showed; of several jobs each has its own.",
        ),
        click.option("--yes", is_flag=True, help="Do not ask before a live delivery."),
        click.option("--keep-spool", is_flag=True, help="Keep the prepared bytes after they are delivered."),
        click.option(
            "--canary-user", metavar="ID", help="A canary of this user's first calls, wherever they are in the plan."
        ),
        click.option(
            "--canary",
            cls=NumberOrNone,
            is_flag=False,
            flag_value=FIRST_BATCH,
            metavar="[N]",
            help="Stop after the first N calls [10] and list their ids; `resume` sends the rest.",
        ),
        click.option("--gzip/--no-gzip", default=None, help="Compress bodies [default: where the target takes it]."),
        click.option(
            "--in-doubt",
            type=click.Choice(["resend", "skip"]),
            help="Of batches in doubt for longer than the target remembers ids: send them again, though their calls may"
            " arrive twice, or never again [default: the run stops, exit 5].",
        ),
        click.option(
            "--attempts",
            type=click.IntRange(1, 1_000),
            help="Attempts at one batch before the run stops, not counting those that a Retry-After asks for"
            " [default: 30].",
        ),
        click.option("--concurrency", type=click.IntRange(1, 64), help="Requests in flight at once (2)."),
        click.option("--rate", metavar="1000/s|unlimited", help="Calls a second [default: the target's]."),
    ):
        verb = option(verb)
    return verb
