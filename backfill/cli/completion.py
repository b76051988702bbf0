"""`backfill completion`: the script by which a shell completes verbs, options, targets, runs and job files."""

from __future__ import annotations

import os
from pathlib import PurePath

import click
from click.shell_completion import get_completion_class

from backfill.cli.options import voice_options
from backfill.cli.session import Session

SHELLS = ("bash", "zsh", "fish")


@click.command("completion", short_help="The script for completion in bash, zsh or fish.")
@click.argument("shell", type=click.Choice(SHELLS), required=False)
@voice_options
def command(session: Session, *, shell: str | None) -> None:
    """\b
    backfill completion fish > ~/.config/fish/completions/backfill.fish
    echo 'eval "$(backfill completion bash)"' >> ~/.bashrc
    echo 'eval "$(backfill completion zsh)"' >> ~/.zshrc

    Print the script with which a shell completes verbs, options, targets, runs and job files. Without a name it is that
    of $SHELL.
    """  # noqa: D205, D301, D415
    from backfill.cli.group import backfill
    from backfill.errors import UsageError

    name = shell or PurePath(os.environ.get("SHELL", "")).name
    kind = get_completion_class(name) if name in SHELLS else None
    if kind is None:
        raise UsageError("it is not known which shell", hint=f"name it: {', '.join(SHELLS)}")
    session.data(kind(backfill, {}, "backfill", "_BACKFILL_COMPLETE").source().strip(), raw=True)
