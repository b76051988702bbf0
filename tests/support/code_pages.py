"""docs/problems.md, destinations.md and sandbox.md as their tables have them: `make pages` writes them again.

What is written by hand stands above what is made.
"""

from __future__ import annotations

import re
from pathlib import Path
from textwrap import fill

from backfill.advice import Destination, destinations, fact_text, source_text
from backfill.explain import all_pages, page_markdown
from backfill.rules import CODES, Rule
from tests.conformance.asked import Rule as HttpRule
from tests.conformance.rules import RULES, TOPICS

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "problems.md"
DESTINATIONS = DOCUMENT.with_name("destinations.md")
#: Below it stand the pages.
HEADING = "## Code by code"
DESTINATIONS_HEADING = "## Destination by destination"
SANDBOX = DOCUMENT.with_name("sandbox.md")
SANDBOX_HEADING = "## Rule by rule"


def row(rule: Rule) -> str:
    """A code's line in the table of its kind."""
    may = "yes" if rule.lowerable else "no"
    return f"| {rule.code} | {rule.title} | {rule.severity} | {may} | {rule.hint[0].upper()}{rule.hint[1:]} |"


def document() -> str:
    """The document as it should be: the rows of its tables, and the pages below them."""
    head, _, rest = DOCUMENT.read_text("utf-8").partition(HEADING)
    for kind in ("BF0", "BF1", "BF2", "BF3"):
        rows = "".join(f"{row(rule)}\n" for code, rule in CODES.items() if code.startswith(kind))
        head = re.sub(rf"^(?:\| {kind}\d\d \|.*\n)+", lambda _, rows=rows: rows, head, flags=re.MULTILINE)  # type: ignore[misc]
    introduction = rest.partition("\n### ")[0].strip()
    pages = all_pages()
    return "\n\n".join([head + HEADING, introduction, *(page_markdown(pages[code]) for code in CODES)]) + "\n"


def destinations_document() -> str:
    """The same of destinations: a section of each."""
    head = DESTINATIONS.read_text("utf-8").partition(DESTINATIONS_HEADING)[0]
    return "\n\n".join([head + DESTINATIONS_HEADING, *map(section, destinations())]) + "\n"


def section(destination: Destination) -> str:
    """A destination: its names, and each fact with its source."""
    names = ", ".join(f"`{name}`" for name in destination.names)
    parts = [f"### {destination.title}", filled(f"In `integrations`: {names}")]
    for fact in destination.facts:
        more = f" Instead: {fact.instead}" if fact.instead else ""
        source = source_text(fact.source).replace(fact.source.url, f"<{fact.source.url}>")
        parts.append(filled(f"- It {fact_text(fact, destination)}{more} *Source:* {source}.", "  "))
    for way in destination.undo:
        source = source_text(way.source).replace(way.source.url, f"<{way.source.url}>")
        parts.append(filled(f"- Taken back: it {way.says}. *Source:* {source}.", "  "))
    return "\n\n".join(parts)


def sandbox_document() -> str:
    """The same of the sandbox: the introduction by hand, a table for each topic, and the sources."""
    head, _, rest = SANDBOX.read_text("utf-8").partition(SANDBOX_HEADING)
    tables = [f"### {topic}\n\n{rule_table(rules)}" for topic, rules in TOPICS.items()]
    sources = {rule.source.title: rule.source for rule in RULES}.values()
    lines = "\n".join(f"- {source.title}: <{source.url}>, looked up {source.looked_up}" for source in sources)
    introduction = rest.partition("\n### ")[0].strip()
    return "\n\n".join([head + SANDBOX_HEADING, introduction, *tables, f"### Their sources\n\n{lines}"]) + "\n"


def rule_table(rules: tuple[HttpRule, ...]) -> str:
    """A line for each rule: its name, what it says, what is answered, what becomes of the calls, and who says so."""
    rows = ["| rule | says | answer | calls | source |", "|---|---|---|---|---|"]
    for rule in rules:
        answers = ", ".join(map(str, sorted({ask.status for ask in rule.asks})))
        words = {word for name, fate in rule.fates.items() if name != "good" for word in fate.split()}
        words |= set(rule.unnamed)
        fates = {"held": "kept", "duplicate": "duplicate"}
        calls = ", ".join(
            dict.fromkeys(fates.get(word, "dropped") for word in sorted(words, key=lambda w: w != "held"))
        )
        source = rule.source.title if rule.certain else "unconfirmed"
        rows.append(f"| `{rule.name}` | {rule.says} | {answers} | {calls} | {source} |")
    return "\n".join(rows)


def filled(text: str, indent: str = "") -> str:
    """The text in lines of the document."""
    return fill(text, 120, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)


if __name__ == "__main__":
    DOCUMENT.write_text(document(), "utf-8")
    DESTINATIONS.write_text(destinations_document(), "utf-8")
    SANDBOX.write_text(sandbox_document(), "utf-8")
