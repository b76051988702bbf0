"""The pages: of problem codes, exit codes and answers from the files beside this module, of errors from their classes.

Those of destinations are made of the facts in `advice`. Title, severity and hint of a problem code are those of
`rules`; problems.toml has what is said beyond them. A code without its page, or a page without its code, raises
LookupError when the pages are read.
"""

from __future__ import annotations

import re
import tomllib
from importlib.resources import files
from operator import itemgetter
from typing import Any

from backfill import errors
from backfill.advice import Destination, destinations, fact_text, source_text
from backfill.errors import BackfillError, ExitCode
from backfill.frozen import frozen
from backfill.rules import CODES, Rule


@frozen
class Page:
    """One thing explained. What is not told of it is empty."""

    subject: str  # BF113, `exit 6`, `HTTP 429`, LockedError, Amplitude
    title: str
    kind: str  # what it is: its severity and whether a job may change it, its exit code
    why: str
    example: str  # lines as they are
    mend: str
    sources: tuple[str, ...]  # addresses
    also: tuple[str, ...] = ()  # what else it is called


def all_pages() -> dict[str, Page]:
    """Every page by its subject: problem codes, exit codes, answers, kinds of errors, destinations; each in its order.

    Raises:
        LookupError: A code has no page, or a page no code.
    """
    pages = [*_problem_pages(), *_exit_pages(), *_answer_pages()]
    by_exit = {page.subject: page for page in pages}
    pages += [_error_page(error, by_exit) for error in _error_kinds(BackfillError)]
    pages += [_destination_page(destination) for destination in destinations()]
    return {page.subject: page for page in pages}


def _entries(name: str) -> dict[str, Any]:
    return tomllib.loads((files("backfill.explain") / name).read_text("utf-8"))


def _problem_pages() -> list[Page]:
    entries = _entries("problems.toml")
    links = entries.pop("sources")
    _check_same(set(CODES), set(entries))
    return [_problem_page(rule, entries[code], links) for code, rule in CODES.items()]


def _problem_page(rule: Rule, entry: dict[str, Any], links: dict[str, str]) -> Page:
    may = "a job may change that by `rules`" if rule.lowerable else "no job can lower that"
    hint = f"{rule.hint[0].upper()}{rule.hint[1:]}"
    more = f" {entry['more']}" if entry.get("more") else ""
    sources = tuple(links[name] for name in entry["sources"])
    return Page(
        *(rule.code, rule.title, f"{rule.severity}, {may}", entry["why"]),
        *(entry["example"].strip("\n"), f"{hint}.{more}", sources),
    )


def _exit_pages() -> list[Page]:
    entries = _entries("exits.toml")
    _check_same({str(int(code)) for code in ExitCode}, set(entries))
    return [
        Page(f"exit {code}", said["title"], said["means"], said["why"], said["example"], said["mend"], ())
        for code, said in entries.items()
    ]


def _answer_pages() -> list[Page]:
    said = _entries("answers.toml").values()
    return [
        Page(f"HTTP {status}", one["title"], one["kind"], one["why"], one["example"], one["mend"], ())
        for status, one in sorted(((status, one) for one in said for status in one["statuses"]), key=itemgetter(0))
    ]


def _destination_page(destination: Destination) -> Page:
    facts = destination.facts
    also = (*destination.names, *destination.written, *destination.also)
    off = "`integrations: {All: false}` keeps history out of it."
    instead = [fact.instead for fact in facts if fact.instead]
    sources = [*(fact.source for fact in facts), *(way.source for way in destination.undo)]
    undo = [f"Taken back: it {way.says}." for way in destination.undo]
    return Page(
        *(destination.title, "what it does with history", f"in integrations: {', '.join(destination.names)}"),
        "\n\n".join([*(f"It {fact_text(fact, destination)}" for fact in facts), *undo]),
        "\n".join(f"integrations: {block}" for block in _blocks(destination)),
        " ".join(dict.fromkeys(instead if destination.whenever_named else [off, *instead])),
        tuple(dict.fromkeys(source_text(one) for one in sources)),
        also,
    )


def _blocks(destination: Destination) -> list[str]:
    if destination.names == ("All",):
        return ["{All: true}    also where All is left out", "{All: false}   none of them"]
    return [f'{{All: false, "{name}": true}}' for name in destination.names]


def _error_kinds(kind: type[BackfillError]) -> list[type[BackfillError]]:
    return [each for one in kind.__subclasses__() for each in (one, *_error_kinds(one)) if _is_ours(each)]


def _is_ours(kind: type[BackfillError]) -> bool:
    return kind.__module__ == errors.__name__


def _error_page(kind: type[BackfillError], exits: dict[str, Page]) -> Page:
    first, *rest = re.split(r"\n\s*\n", (kind.__doc__ or "").strip())
    ends = exits[f"exit {int(kind.exit_code)}"]
    said = f"exit code {int(kind.exit_code)}: {ends.title}"
    return Page(kind.__name__, first.rstrip("."), said, " ".join([*rest, ends.why]).strip(), "", ends.mend, ())


def _check_same(codes: set[str], pages: set[str]) -> None:
    if codes != pages:
        raise LookupError(f"without a page: {sorted(codes - pages)}; without a code: {sorted(pages - codes)}")
