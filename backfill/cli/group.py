"""The group of verbs. A verb's module is imported when the verb is asked for, and imports what it uses when it runs."""

from __future__ import annotations

from difflib import get_close_matches
from importlib import import_module

import click

from backfill import __version__

#: Verb -> module below backfill.cli; in the order in which a user meets them.
VERBS = {
    "init": "init",
    "guess": "guess",
    "check": "check",
    "explain": "explain",
    "preview": "preview",
    "dry-run": "dry_run",
    "run": "run",
    "prepare": "prepare",
    "resume": "resume",
    "deliver": "deliver",
    "status": "status",
    "rejects": "rejects",
    "calls": "calls",
    "diff": "diff",
    "report": "report",
    "verify": "verify",
    "receipt": "receipt",
    "undo": "undo",
    "reconcile": "reconcile",
    "rehearse": "rehearse",
    "sandbox": "sandbox",
    "state": "state",
    "doctor": "doctor",
    "schema": "schema",
    "completion": "completion",
}

EPILOG = """\b
Exit codes: 0 all delivered, 2 usage or job file, 3 some rows rejected,
4 gate, 5 stopped and resumable, 6 refused (source, mapping or key changed),
7 locked, 8 the target refused us, 9 source unreadable, 130/143 interrupted,
1 unexpected.
"""


class Verbs(click.Group):
    """A group that imports a verb's module only when that verb is named."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 (click's signature)
        """The verbs, in the order of their first use."""
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """The verb's command, or None where there is no such verb."""
        module = VERBS.get(cmd_name)
        if module is None:
            return None
        command: click.Command = import_module(f"backfill.cli.{module}").command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The verb that is meant.

        Raises:
            click.UsageError: There is none of that name.
        """
        name = args[0]
        if name not in VERBS and not name.startswith("-") and not ctx.resilient_parsing:
            raise click.UsageError(f"there is no verb {name!r}: {meant(name)}", ctx)
        return super().resolve_command(ctx, args)


def meant(word: str) -> str:
    """What may have been meant by a word that stands in the place of a verb."""
    if word.endswith((".yaml", ".yml")):
        return f"say what to do with the job, `backfill check {word}` or `backfill run {word}`"
    close = get_close_matches(word.lower().replace("_", "-"), VERBS, n=1)
    return f"did you mean {close[0]}?" if close else f"there are {', '.join(VERBS)}"


@click.group(
    name="backfill",
    cls=Verbs,
    epilog=EPILOG,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(__version__, prog_name="backfill")
def backfill() -> None:
    """Move historical customer data into Twilio Segment: every row accounted for, nothing sent twice.

    \b
    backfill run jobs/01-users.yaml --target sandbox
        stages, prepares and delivers a job to an endpoint inside this process:
        no account needed
    """  # noqa: D301 (\b is click's mark for lines kept as they are)
