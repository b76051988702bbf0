"""docs/problems.md as the program has its codes: `make pages` writes it again, below what is written by hand."""

from __future__ import annotations

import re
from pathlib import Path

from backfill.explain import all_pages, page_markdown
from backfill.rules import CODES, Rule

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "problems.md"
#: Below it stand the pages.
HEADING = "## Code by code"


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


if __name__ == "__main__":
    DOCUMENT.write_text(document(), "utf-8")
