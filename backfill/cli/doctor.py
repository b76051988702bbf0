"""`backfill doctor`: whether a run could be made here, and sent there."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from backfill.cli.options import TargetOptions, output_option, state_option, target_options, voice_options
from backfill.cli.session import Session

if TYPE_CHECKING:
    from backfill.doctor import Finding
    from backfill.targets import Target


@click.command("doctor", short_help="Whether runs can be kept here, and a target be reached.")
@target_options
@state_option
@output_option
@voice_options
def command(session: Session, *, target: TargetOptions, state_dir: Path | None, output: str) -> int:
    """\b
    backfill doctor
    backfill doctor --target segment

    Look at versions, the state directory, its disk, open runs and locks; with a target also at its key (which is never
    shown), region, proxy, DNS, TLS, its answer and its clock. Nothing is sent that could be stored.

    Exit code 0: all is well; 3: warnings; else that with which a run would end.
    """  # noqa: D205, D301, D415
    from backfill.cli.arguments import choose_state_folder, store_at
    from backfill.doctor import end_of, findings_json, findings_text, look_at_machine, look_at_state

    findings = [*look_at_machine(), *look_at_state(store_at(session, choose_state_folder(session, state_dir)))]
    if target.name or target.endpoint:
        findings += look_at(target)
    if output == "json":
        session.record(findings_json(findings, target.name))
    else:
        session.data(findings_text(findings))
        if not target.name:
            session.say("No target was looked at: `backfill doctor --target NAME` does.")
    return end_of(findings)


def look_at(options: TargetOptions) -> list[Finding]:
    """What there is to say of the target that is named."""
    from backfill.clock import Clock
    from backfill.doctor import look_at_target
    from backfill.targets import find_targets, load_target

    def load(need_key: bool) -> Target:
        return load_target(
            options.name or "sandbox",
            targets_file=options.targets or find_targets(Path.cwd()),
            endpoint=options.endpoint,
            environ=os.environ,
            need_key=need_key,
        )

    return list(look_at_target(load, Clock()))
