"""`backfill sandbox`: the Segment-compatible endpoint in a process of its own."""

from __future__ import annotations

from ipaddress import ip_address
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
@click.option(
    "--host",
    metavar="ADDRESS",
    default="127.0.0.1",
    show_default=True,
    help="Listen there. Elsewhere than on loopback, who reads needs the token that is printed.",
)
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
def command(session: Session, *, port: int, host: str, store: Path | None, faults: tuple[str, ...], keep: str) -> None:
    """\b
    backfill sandbox --port 8888
    backfill run jobs/01-users.yaml --target sandbox \\
        --endpoint http://127.0.0.1:8888
    curl http://127.0.0.1:8888/stats

    Serve an endpoint that answers, dedups and drops as Segment is documented to, and keeps what Segment would hold;
    a browser shows it, call by call as they arrive.
    """  # noqa: D205, D301, D415
    if keep != "all" and not keep.isdigit():
        raise UsageError(f"--keep {keep}: say a number of calls, or all")
    from backfill.sandbox import FaultScript, new_token, serve
    from backfill.sandbox.server import listening_address
    from backfill.state import open_store, state_folder_from

    if store is None:
        state = open_store(state_folder_from(Path.cwd()))
        if state.make_usable():
            session.tell_made(state.path)
        store = state.path / SANDBOX
    anywhere = not ip_address(listening_address(host, anywhere=True)).is_loopback
    token = new_token() if anywhere else None
    stats = serve(
        store,
        host=host,
        port=port,
        token=token,
        faults=FaultScript.parse(list(faults)),
        keep_calls=None if keep == "all" else int(keep),
        ready=lambda endpoint: tell_address(session, endpoint, store, token),
    )
    requests = counted(stats["requests"], "request", "requests")
    session.say(f"{requests}, {counted(stats['distinct_ids'], 'call', 'calls')} held.")


def tell_address(session: Session, endpoint: str, store: Path, token: str | None) -> None:
    """Say where it listens, and where it shows what arrives: with the token, where one is wanted."""
    session.say(f"Listening on {endpoint}, storing in {store}; Ctrl-C ends it.")
    if token is None:
        session.say(f"What arrives is shown at {endpoint}/")
        return
    session.say(
        f"What arrives is shown at {endpoint}/?token={token}, to whoever has that token. It goes over the"
        " network as plain text, and anybody who reaches the port may send.",
        "warning",
    )
