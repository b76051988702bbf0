"""`backfill receipt`: what a run has done, as one file that a stranger can check."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from backfill.cli.here import display_path
from backfill.cli.options import RUN, state_option, voice_options
from backfill.cli.session import Session
from backfill.errors import ExitCode, UsageError

if TYPE_CHECKING:
    from backfill.records import RunStore, StoredRun

SUFFIXES = (".json",)
FILE = click.Path(dir_okay=False, path_type=Path)


@click.command("receipt", short_help="What a run has done, as a file to be checked.")
@click.argument("run", required=False, type=RUN, metavar="[RUN|JOB]")
@click.option("-o", "--output", type=FILE, metavar="FILE", help="Where to write it [default: standard output].")
@click.option("--force", is_flag=True, help="Overwrite the file.")
@click.option("--by", metavar="NAME", default="", help="Who answers for it; stands in the receipt.")
@click.option("--sign", type=FILE, metavar="KEYFILE", help="Sign it with this Ed25519 key (PEM, mode 0600).")
@click.option(
    "--check", type=FILE, multiple=True, metavar="FILE", help="Check a receipt or proof, beside RUN if given."
)
@click.option("--public-key", type=FILE, metavar="FILE", help="With --check: it has to be signed with this one's key.")
@click.option("--prove", metavar="ID", help="Write the proof that the call of this message id is in the receipt.")
@state_option
@voice_options
def command(
    session: Session,
    *,
    run: str | None,
    output: Path | None,
    force: bool,
    by: str,
    sign: Path | None,
    check: tuple[Path, ...],
    public_key: Path | None,
    prove: str | None,
    state_dir: Path | None,
) -> int:
    """\b
    backfill receipt jobs/01-users.yaml -o receipt.json
    backfill receipt orders.yaml --prove 8691eca5-de14-5b21-bdc9-ffd8fb825661
    backfill receipt --check receipt.json

    Write who sent what when, and two Merkle roots, over batches and over delivered message ids. docs/proof.md has the
    form, and a program of sixty lines that checks it.
    """  # noqa: D205, D301, D415
    if check and (sign or prove or output or by):
        raise UsageError("--check goes with RUN and --public-key alone")
    if public_key is not None and not check:
        raise UsageError("--public-key goes with --check", hint="a receipt is signed with --sign KEYFILE")
    if run is None and not check:
        raise UsageError("a receipt is of a RUN or a JOB: name one", hint="`backfill status` lists the runs")
    found = _run_meant(session, run, state_dir) if run is not None else None
    if check:
        return checked(session, check, found[1] if found else None, public_key)
    assert found is not None
    store, folder = found
    write(session, store, _made(folder, by=by, sign=sign, prove=prove), output, force=force)
    return ExitCode.DELIVERED


def _run_meant(session: Session, named: str, state_dir: Path | None) -> tuple[RunStore, StoredRun]:
    """The run that is meant; raises UsageError where there is none."""
    from backfill.cli.arguments import open_state
    from backfill.pipeline.plan_calls import find_prepared

    state = open_state(session, named, state_dir)
    folder = find_prepared(state, named)
    session.here.run_id = folder.run_id
    return state, folder


def _made(folder: StoredRun, *, by: str, sign: Path | None, prove: str | None) -> dict[str, Any]:
    """The receipt, or the proof; raises as `receipt_of`, `signed` and `proof_of` do."""
    from backfill.receipt.content import receipt_of
    from backfill.receipt.proof import proof_of
    from backfill.receipt.signature import signed

    if prove is not None:
        if sign is not None or by:
            raise UsageError("--prove: a proof is not signed, the receipt is")
        return proof_of(folder, prove)
    receipt = receipt_of(folder, now=time.time(), by=by)
    return signed(receipt, sign) if sign is not None else receipt


def write(session: Session, store: RunStore, made: dict[str, Any], output: Path | None, *, force: bool) -> None:
    """Write it as canonical JSON, and say what it is of."""
    from backfill.disk import fill_beside
    from backfill.pipeline.export_place import export_place
    from backfill.receipt.content import canonical

    content = canonical(made)
    if output is None:
        session.data(content.decode(), raw=True)
        return
    place = export_place(output, store, force=force, option="-o", formats=SUFFIXES)
    fill_beside(place, lambda unfinished: unfinished.write_bytes(content + b"\n"))
    if "path" in made:
        session.say(f"The proof of {made['message_id']} is in {display_path(place)}.")
        return
    for notice in made["notices"]:
        session.say(notice)
    signed = "signed" if "signature" in made else "not signed"
    session.say(f"The receipt of {made['run']['run_id']}, {signed}, is in {display_path(place)}.")
    session.say(f"Its digest is {made['digest']}.")


def checked(session: Session, files: tuple[Path, ...], run: StoredRun | None, public_key: Path | None) -> int:
    """Check receipts and proofs, and say of each what came out; returns the exit code."""
    from backfill.receipt.check import differences_from_run, fault_of_proof_beside, read
    from backfill.receipt.content import FORM
    from backfill.receipt.signature import public_key_of

    wanted = public_key_of(public_key) if public_key is not None else None
    found = [(file, *read(file)) for file in files]
    receipts = [one for _, one, faults in found if not faults and one["form"] == FORM]
    code = ExitCode.DELIVERED
    for file, one, faults in found:
        told = list(faults)
        is_receipt = one.get("form") == FORM
        if one and not is_receipt and (fault := fault_of_proof_beside(one, receipts)):
            told.append(fault)
        if is_receipt and not told and wanted is not None and _signer(one) != wanted:
            told.append("it is not signed with that key")
        if one and not told and run is not None:
            told += [f"the run has it otherwise: {each}" for each in differences_from_run(one, run)]
        code = ExitCode.REJECTS if told else code
        session.data(
            "\n".join(
                [f"{display_path(file)}: {'NOT VALID' if told else _valid(one, run)}", *(f"  {each}" for each in told)]
            )
        )
        for notice in one.get("notices", []) if not told else ():
            session.data(f"  {notice}")
    return code


def _signer(receipt: dict[str, Any]) -> str:
    """The key that a valid receipt is signed with; empty where with none."""
    return str(receipt["signature"]["public_key"]) if "signature" in receipt else ""


def _valid(one: dict[str, Any], run: StoredRun | None) -> str:
    """What a check that found nothing has shown."""
    beside = f", and what {run.run_id} says" if run is not None else ""
    if "path" in one:
        return f"valid{beside}: {one['message_id']} is call {one['index'] + 1:,} of {one['count']:,} delivered"
    signed = f"signed by {_signer(one)}" if _signer(one) else "not signed"
    return f"valid{beside}: {one['delivered']['count']:,} delivered, {signed}"
