"""Whether and when a call went out: by its message id, in every run there is or was."""

from __future__ import annotations

import hashlib
import re
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime

from backfill.errors import UsageError, counted
from backfill.frozen import frozen
from backfill.identity import message_id, namespace
from backfill.records import (
    CALL_RECORD,
    CALL_RECORD_BYTES,
    ArchivedRun,
    FoundCall,
    RunReader,
    RunRecord,
    RunState,
    RunStatus,
    RunStore,
    StoredRun,
)

_UUID = re.compile("[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_INSTANT = re.compile(
    r"(\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d(?::\d\d)?)(?:[.,](\d{1,9}))?([Zz]|[+-]\d\d(?::?\d\d)?)", re.ASCII
)
#: What to do where no call has a key.
KEY_HINT = (
    "--key takes values as they are in keys: decimals as the source prints them, timestamps in UTC, such as"
    " 2024-03-10T07:00:00.000000Z"
)
_CALL_NUMBER = CALL_RECORD_BYTES - 1  # the last byte of a record of a calls file
assert CALL_RECORD[-1] == ("call", "u1")


def id_key(identity: str) -> bytes:
    """The sixteen bytes that stand for a message id in calls files and archive (see records.CALL_RECORD)."""
    if _UUID.fullmatch(identity):
        return uuid.UUID(identity).bytes
    return hashlib.sha256(identity.encode("utf-8", "surrogatepass")).digest()[:16]


def key_forms(key: Sequence[str]) -> list[tuple[str, ...]]:
    """A key as it is given, then, where that is another, with its instants in the form that they have in keys.

    Which of them is meant depends on the type that a column had when the calls were made, which a run does not keep.
    """
    return list(dict.fromkeys([tuple(key), tuple(map(instant_in_key, key))]))


def instant_in_key(value: str) -> str:
    """The text of an ISO 8601 instant with a zone as keys have it (docs/message-ids.md); any other text as it is."""
    match = _INSTANT.fullmatch(value)
    if match is None:
        return value
    try:
        instant = datetime.fromisoformat(match[1] + match[3].upper()).astimezone(UTC)
    except (ValueError, OverflowError):
        return value
    digits = (match[2] or "").ljust(9, "0").removesuffix("000")
    return f"{instant.date()}T{instant:%H:%M:%S}.{digits}Z"


def ids_of_key(record: RunRecord, key: Sequence[str]) -> dict[str, str]:
    """The message id of that key for each of the run's calls whose keys have as many values, by label or type.

    Raises:
        UsageError: None has.
    """
    found, calls = {}, record.facts.calls
    for call in calls:
        if call.key_size == len(key):
            space = namespace(record.id_scope, record.job_name, call.scope, record.generation)
            found[call.scope] = key[0] if call.given_id else message_id(space, key)
    wanted = [f"{call.scope}: {call.key_size}" for call in calls]
    if not found:
        raise UsageError(
            f"no call of {record.job_name} has a key of {counted(len(key), 'value', 'values')} ({', '.join(wanted)})",
            hint="give --key once for each value, in the order of the job's message_key",
        )
    return found


def find_calls(state: RunStore, identity: str, run_id: str | None = None) -> list[FoundCall]:
    """Every call of that message id that a run has planned (a run of that id, where given), the latest run first.

    Answers from the archive where that covers a run, else from the run's own files; runs under way included. That
    there is no such call is said only after every run's own files were read.

    Raises:
        LedgerError: A ledger is damaged.
    """
    wanted = id_key(identity)
    known: dict[Incarnation, Archived] = {}
    for archive in state.archives():
        for run in archive.runs:
            known.setdefault((run.run_id, run.created_at), Archived(run, set()))
        for place in archive.find(wanted):
            known[place.run.run_id, place.run.created_at].places.add((place.shard, place.call))
    return calls_in_runs(state, wanted, run_id, known) or calls_in_runs(state, wanted, run_id, {})


#: What tells a run from those of the same id before and after it: the id, and when it was begun.
Incarnation = tuple[str, float]


@frozen
class Archived:
    """What the archive says of one id in one run."""

    run: ArchivedRun
    places: set[tuple[int, int]]  # shard, call


def calls_in_runs(
    state: RunStore, identity: bytes, run_id: str | None, archived: Mapping[Incarnation, Archived]
) -> list[FoundCall]:
    """Every call of an id that a run has planned, where `archived` is what the archive says of it."""
    found: list[tuple[float, FoundCall]] = []
    gone = dict(archived)
    for folder in [*state.runs(), *state.earlier()]:
        with folder.read() as reader:
            status = reader.status()
            known = gone.pop((status.record.run_id, status.record.created_at), None)
            if run_id in (None, status.record.run_id):
                calls = calls_in_run(reader, folder, status, identity, known)
                found += [(status.record.created_at, one) for one in calls]
    for known in gone.values():  # their ledgers are gone
        if known.places and run_id in (None, known.run.run_id):
            found.append((known.run.created_at, FoundCall(known.run.run_id, None, "", None, ())))
    return [one for _, one in sorted(found, key=lambda pair: -pair[0])]


def calls_in_run(
    reader: RunReader, folder: StoredRun, status: RunStatus, identity: bytes, archived: Archived | None
) -> list[FoundCall]:
    """What a run tells of an id; where the archive is wrong about it (it is damaged), by the run's own files."""
    places = set(places_in(reader, folder, identity, archived.run if archived else None))
    places |= archived.places if archived else set()
    found = [call_at(reader, folder, status, place, identity) for place in sorted(places)]
    if archived and None in found:
        return calls_in_run(reader, folder, status, identity, None)
    return [one for one in found if one is not None]


def places_in(
    reader: RunReader, folder: StoredRun, identity: bytes, archived: ArchivedRun | None
) -> Iterator[tuple[int, int]]:
    """Where a run has the id: (shard, call) of those calls that the archive does not cover."""
    leaves = reader.call_spans()
    covered = archived is not None and archived.calls == sum(leaf.calls for leaf in leaves if leaf.settled)
    for shard in sorted({leaf.shard for leaf in leaves if not (covered and leaf.settled)}):
        yield from ((shard, call) for call in calls_with(folder.spool().calls_of(shard), identity))


def calls_with(records: bytes, identity: bytes) -> Iterable[int]:
    """The indexes of the records of a calls file that begin with these bytes."""
    at = records.find(identity)
    while at >= 0:
        call, offset = divmod(at, CALL_RECORD_BYTES)
        if not offset:
            yield call
        at = records.find(identity, at + 1)


def call_at(
    reader: RunReader, folder: StoredRun, status: RunStatus, place: tuple[int, int], identity: bytes
) -> FoundCall | None:
    """What the ledger tells of a call; None where the place is not the id's, as a damaged archive may say."""
    shard, call = place
    calls = reader.span_of(shard, call)
    entry = b"" if calls is None else folder.spool().call_of(shard, call)
    if calls is None or not entry.startswith(identity):
        return None
    scope = status.record.facts.calls[entry[_CALL_NUMBER]].scope
    attempts = tuple(reader.attempts(calls.batch))
    given_up = status.state is RunState.ABANDONED
    return FoundCall(folder.run_id, status.record, scope, calls, attempts, given_up)
