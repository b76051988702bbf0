"""`backfill sandbox`: the Segment-compatible endpoint in a process of its own."""

from __future__ import annotations

from pathlib import Path

import click

from backfill.cli.here import SANDBOX
from backfill.cli.options import FOLDER, voice_options
from backfill.cli.session import Session
from backfill.errors import UsageError, counted

DEFAULT_PORT = 8888
DEFAULT_KEEP = "10000"


@click.command("sandbox", short_help="A Segment-compatible endpoint on loopback.")
@click.option("--port", type=click.IntRange(0, 65535), default=DEFAULT_PORT, show_default=True, help="0: a free one.")
@click.option("--store", type=FOLDER, help="Keep what is received there [default: .backfill/sandbox here].")
@click.option(
    "--fault", "faults", multiple=True, metavar="SCRIPT", help="Misbehave, e.g. status=500,every=7. Repeatable."
)
@click.option(
    "--keep",
    metavar="N|all",
    default=DEFAULT_KEEP,
    show_default=True,
    help="How many calls are kept whole; the ids of all are kept.",
)
@voice_options
def command(session: Session, *, port: int, store: Path | None, faults: tuple[str, ...], keep: str) -> None:
    """\b
    backfill sandbox --port 8888
    backfill run jobs/01-users.yaml --target sandbox \\
        --endpoint http://127.0.0.1:8888
    curl http://127.0.0.1:8888/stats

    Serve an endpoint that answers, dedups and drops as Segment is documented to, and keeps what Segment would hold.
    """  # noqa: D205, D301, D415
    if keep != "all" and not keep.isdigit():
        raise UsageError(f"--keep {keep}: say a number of calls, or all")
    from backfill.sandbox import FaultScript, serve
    from backfill.state import open_store, state_folder_from

    if store is None:
        state = open_store(state_folder_from(Path.cwd()))
        if state.make_usable():
            session.tell_made(state.path)
        store = state.path / SANDBOX
    stats = serve(
        store,
        port=port,
        faults=FaultScript.parse(list(faults)),
        keep_calls=None if keep == "all" else int(keep),
        ready=lambda endpoint: session.say(f"Listening on {endpoint}, storing in {store}; Ctrl-C ends it."),
    )
    requests = counted(stats["requests"], "request", "requests")
    session.say(f"{requests}, {counted(stats['distinct_ids'], 'call', 'calls')} held.")
