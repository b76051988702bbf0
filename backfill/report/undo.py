"""What `undo` tells: what was written, what nothing takes back, and how to go on; as text and for programs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from textwrap import wrap
from typing import Any, Final

from backfill.errors import counted
from backfill.escape import escaped
from backfill.records import RunState
from backfill.report.summary import run_json
from backfill.undo.result import TableRows, Undo
from backfill.undo.users import REQUESTS_FOLDER, SUPPRESS, USERS_FILE
from backfill.undo.warehouse import DIALECTS, IDS_FILE, UNNAMED

_WIDTH: Final = 80
#: Tables that people are shown; the SQL and the JSON have all.
SHOWN: Final = 12
_LABEL: Final = 13
_SANDBOX: Final = "SANDBOX: nothing of this run left this machine; what is written is a rehearsal"
_NOT_BACK: Final = (
    ((), "what destinations have done with the calls: messages sent, audiences entered, conversions told"),
    ((), "usage: Segment and destinations count users (MTU) and calls as they receive them"),
    (
        ("identify", "group"),
        (
            "traits that the calls overwrote, in profiles, destinations and the tables users and accounts: no earlier"
            " value is kept here. Sending the right ones again puts them back"
        ),
    ),
    (("alias",), "profiles that were merged by alias calls"),
)


def not_taken_back(found: Undo) -> list[str]:
    """What nothing written here takes back, for the types of calls that were sent."""
    return [said for types, said in _NOT_BACK if not types or set(types) & set(found.types)]


def ways_on(found: Undo) -> list[tuple[str, str]]:
    """How to send what is right: what each command does, and the command; JOB in it is the job at hand."""
    run = f"backfill run JOB --target {found.status.record.target_name}"
    other_ids = "All calls get other ids, so that nothing takes them for those taken back. Then"
    higher = f"state `generation: {found.next_generation}` in the job file"
    ways = [
        (
            f"to send all of it again, mended: {higher}. {other_ids}",
            f"`{run}`",
        ),
        (
            "to send only what this job never delivered; every call that was delivered is left out, taken back or not",
            f"`{run} --only-new`",
        ),
    ]
    if not found.status.over:
        ways.insert(
            0, ("this run is not finished: what it sends from now on is not in these files", "`backfill status RUN`")
        )
    return ways


def undo_json(found: Undo, folder: str) -> dict[str, Any]:
    """The object of `--output json`; its keys are a promise (docs/proof.md)."""
    users = found.users
    return {
        **run_json(found.run_id, found.status),
        "nothing_to_undo": found.empty,
        "folder": None if found.empty else folder,
        "files": list(found.files),
        "delivered": found.delivered,
        "in_doubt": found.in_doubt,
        "tables": [{"name": table.name, "at_least": table.least, "at_most": table.most} for table in found.tables],
        "calls_without_table": found.no_table,
        "users": {
            "user_ids": users.user_ids,
            "anonymous_ids": users.anonymous_ids,
            "only_this_run": None if users.unknown or users.gone else users.alone,
            "requests": users.requests,
            "not_known": users.gone,
            "runs_not_known": list(users.unknown),
        },
        "regulation_type": found.regulation,
        "destinations": [
            {
                "destination": note.destination,
                "says": note.way.says,
                "source": {"title": note.way.source.title, "url": note.way.source.url},
                "looked_up": note.way.source.looked_up.isoformat(),
            }
            for note in found.notes
        ],
        "not_taken_back": not_taken_back(found),
        "next_generation": found.next_generation,
    }


def undo_text(found: Undo, folder: str, completed: Callable[[str], str]) -> str:
    """The same for people, in 80 columns; `completed` makes commands such as can be typed."""
    sandbox = [] if found.status.record.live else [_SANDBOX]
    if found.empty:
        rest = "" if found.status.state is RunState.ABANDONED or found.status.over else "; it is not finished"
        return "\n".join([*sandbox, *_item(f"{found.run_id}: nothing to undo, as no call was delivered{rest}", 0, 0)])
    lines = [*sandbox, *_item(f"{found.run_id}: nothing was sent or deleted; what may be is in {folder}", 0, 2)]
    lines += _labelled("calls", _calls(found))
    lines += _labelled("users", _users(found))
    lines += _labelled("tables", _tables(found))
    lines += ["", "Files: mode 0600, as they hold message ids and ids of users"]
    for name, text in _files(found):
        lines += _labelled(name, text, 19)
    lines += ["", "What nothing takes back"]
    lines += [line for said in not_taken_back(found) for line in _item(f"- {said}")]
    lines += ["", "Destinations of the run, as they say themselves"]
    for note in found.notes:
        lines += _item(f"- {note.destination} {note.way.says} ({note.way.source.title})")
    first = found.notes[0].destination if found.notes else ""
    more = f'  `backfill explain "{escaped(first)}"` has the sources'
    lines += [more] if found.notes else _item("- nothing is known of them")
    lines += ["", "How to go on"]
    for said, command in ways_on(found):
        lines += [*_item(f"- {said}:"), f"      {completed(command)}"]
    return "\n".join(lines)


def _item(text: str, indent: int = 2, rest: int = 4) -> list[str]:
    """The text in lines; commands are broken as little as may be."""
    found = wrap(
        escaped(text), _WIDTH, initial_indent=" " * indent, subsequent_indent=" " * rest, break_on_hyphens=False,
        break_long_words=False,
    )  # fmt: skip
    return found or [""]


def _labelled(label: str, text: str, width: int = _LABEL) -> list[str]:
    first, *rest = wrap(escaped(text), _WIDTH - width - 2, break_on_hyphens=False, break_long_words=False)
    return [f"  {label:<{width}}{first}", *(f"  {'':<{width}}{line}" for line in rest)]


def _calls(found: Undo) -> str:
    doubt = f", {found.in_doubt:,} in doubt: they may have arrived" if found.in_doubt else ""
    return f"{found.delivered:,} delivered{doubt}"


def _users(found: Undo) -> str:
    users = found.users
    if users.gone:
        return f"not known: {users.gone}. The rest is written without them"
    anonymous = counted(users.anonymous_ids, "anonymousId", "anonymousIds")
    told = f"{counted(users.user_ids, 'userId', 'userIds')}, {anonymous}"
    if users.unknown:
        return f"{told}; whether others have sent them is not known: the calls of {', '.join(users.unknown)} are gone"
    return f"{told}; {users.alone:,} of the userIds are in no other run kept here"


def _tables(found: Undo) -> str:
    told = ", ".join(f"{table.name} {_range(table)}" for table in found.tables[:SHOWN])
    told += f" and {len(found.tables) - SHOWN:,} more" if len(found.tables) > SHOWN else ""
    if found.no_table:
        calls = counted(found.no_table, "call", "calls")
        told += f"; the tables of {calls} are not known by the names of their events: see the SQL"
    return told


def _range(table: TableRows) -> str:
    return f"{table.most:,}" if table.least == table.most else f"{table.least:,} to {table.most:,}"


def _files(found: Undo) -> Iterator[tuple[str, str]]:
    yield IDS_FILE, "each call that was sent, delivered or in_doubt, by its message id"
    if not found.users.gone:
        yield USERS_FILE, "each user of these calls, and whether no other run kept here has that id"
    engines = ", ".join(dialect.engine for dialect in DIALECTS.values())
    unnamed = f". Put the schema or dataset in place of {UNNAMED} first, or say --schema NAME"
    how = "counts first, then deletes exactly these rows in a transaction; nothing where the count is another"
    yield "*.sql", f"for {engines}: {how}{'' if found.schema else unnamed}"
    if found.users.requests:
        blocked = " and block what comes of them" if found.regulation == SUPPRESS else ""
        bodies = counted(found.users.requests, "body", "bodies")
        users = counted(found.users.alone, "user", "users")
        what = f"{bodies} for POST /regulations of Segment's Public API, to delete all data of {users}{blocked}"
        warning = "backfill cannot know whom others have sent: strike out whoever was known before"
        yield f"{REQUESTS_FOLDER}/", f"A PROPOSAL: {what}, of every source. {warning}"
