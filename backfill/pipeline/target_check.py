"""The target of a run: how it is reached, whether it is what it is to be, and where its source is looked at."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from http import HTTPStatus
from pathlib import Path

from backfill.deliver import TargetAccess
from backfill.deliver.transport import get
from backfill.errors import UsageError
from backfill.pipeline.context import Options
from backfill.targets import Target, TargetKind
from backfill.verdict import Failure

SANDBOX_FOLDER = "sandbox"
#: What `backfill.sandbox.app` reads it from; that module is imported only where a sandbox is served.
RUN_HEADER = "Backfill-Run"
HEALTH_SECONDS = 5.0
#: Reaches a target for the runs of a state folder, and returns it as it can be sent to.
Reach = Callable[[Target, Path], Target]


def target_access(target: Target, options: Options, envelope: str, run: str = "") -> TargetAccess:
    """How to reach the target, with what the command line says of it; `envelope` is what the run was prepared with.

    A sandbox, and nobody else, is told the `run`: its pages show calls by it.

    Raises:
        UsageError: There is no write key.
    """
    if target.write_key is None:
        raise UsageError(f"there is no write key for {target.name}")
    return TargetAccess(
        batch_url=target.batch_url,
        write_key=target.write_key.reveal(),
        gzip=target.gzip if options.gzip is None else options.gzip,
        rate=rate_of(target, options),
        requests=target.requests,
        body_limit=target.limits.body_bytes,
        envelope=envelope,
        headers=dict(target.headers) | ({RUN_HEADER: run} if run and not target.live else {}),
        auth=target.auth,
        auth_header=target.auth_header,
        answers=target.answers,
        source=source_in_words(target),
    )


def source_in_words(target: Target) -> str:
    """Where people look whether calls arrived: the source is named by its key's place and digest, never by the key."""
    if not target.live:
        return "the sandbox (`backfill sandbox` serves what it holds)"
    place = "the Source Debugger of the Segment source" if target.kind is TargetKind.SEGMENT else "the source"
    region = f", region {target.region}" if target.region else ""
    key = f"whose write key is in {target.key_origin} (its SHA-256 begins with {target.key_digest})"
    return f"{place} {key}, at {target.endpoint}{region},"


def rate_of(target: Target, options: Options) -> float | None:
    """Calls a second; None for as fast as the target takes them."""
    return None if options.unlimited else options.rate or target.rate


@contextmanager
def connect_targets() -> Iterator[Reach]:
    """Gives what reaches a target: with a sandbox inside this process for one without an endpoint, one for each store.

    What is given raises UsageError where the target is to be a sandbox, but none of ours answers there, and
    LockedError where another process runs a sandbox on the same store.
    """
    endpoints: dict[Path, str] = {}
    with ExitStack() as running:

        def reach(target: Target, state_folder: Path) -> Target:
            if target.live or target.endpoint:
                refuse_stranger(target)
                return target
            if state_folder not in endpoints:
                from backfill.sandbox import Sandbox  # noqa: PLC0415 (a web server that live runs need not load: 60 ms)

                endpoints[state_folder] = running.enter_context(Sandbox(state_folder / SANDBOX_FOLDER)).endpoint
            return target.at(endpoints[state_folder])

        yield reach


def duplicates_held(target: Target) -> int | None:
    """How many duplicates the sandbox at a target has counted so far; None of a live target, or where it does not say.

    A sandbox run may send again what the sandbox's store has already: its calls count as delivered, since
    the answer is 200, as Segment's would be.
    """
    if target.live:
        return None
    answer = get(f"{target.batch_url.rpartition('/v1/')[0]}/stats", HEALTH_SECONDS)
    if answer.end != HTTPStatus.OK:
        return None
    try:
        return int(json.loads(answer.body)["duplicate"])
    except (ValueError, KeyError, TypeError):
        return None


def refuse_stranger(target: Target) -> None:
    """Raise UsageError where the target is a sandbox at an endpoint at which none of ours answers.

    Loopback alone proves little: a tunnel on it may lead to a live service.
    """
    if target.live or not target.endpoint:
        return
    from backfill.sandbox import SERVER_NAME  # noqa: PLC0415 (as above)

    endpoint = target.endpoint
    answer = get(f"{endpoint}/health", HEALTH_SECONDS)
    if isinstance(answer.end, Failure):
        raise UsageError(
            f"no sandbox answers at {endpoint}: {answer.why or answer.end}",
            hint="`backfill sandbox` starts one; or leave --endpoint out",
        )
    if not answer.headers.get("server", "").startswith(SERVER_NAME):
        raise UsageError(
            f"what answers at {endpoint} is not a sandbox of backfill",
            hint="for a real target say --target segment or a profile's name",
        )
