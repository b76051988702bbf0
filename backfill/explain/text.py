"""A page as a terminal shows it, and as docs/problems.md has it."""

from __future__ import annotations

from collections.abc import Iterable
from textwrap import fill

from backfill.explain.pages import Page

_DOCUMENT_WIDTH = 120


def page_text(page: Page) -> str:
    """The page, each paragraph one line, to be broken to the width of a terminal."""
    lines = [f"{page.subject}: {page.title}", page.kind]
    for heading, paragraphs in (
        ("Why it matters", [page.why] if page.why else []),
        ("Example", [f"    {line}" for line in page.example.splitlines()]),
        ("What to do", [page.mend]),
        ("Source", list(page.sources)),
    ):
        if paragraphs:
            lines += ["", heading, *paragraphs]
    return "\n".join(lines)


def index_text(pages: Iterable[Page]) -> str:
    """The subjects with their titles, a line each."""
    listed = list(pages)
    width = max(len(page.subject) for page in listed)
    return "\n".join(f"  {page.subject:<{width}}  {page.title}" for page in listed)


def page_markdown(page: Page) -> str:
    """The page as a section of a document."""
    mend = f"*What to do:* {page.mend}"
    parts = [f"### {page.subject}: {page.title}", _filled(page.why), f"```text\n{page.example}\n```", _filled(mend)]
    if page.sources:
        parts.append(f"*Source:* {', '.join(f'<{source}>' for source in page.sources)}")
    return "\n\n".join(part for part in parts if part)


def _filled(paragraph: str) -> str:
    return fill(paragraph, _DOCUMENT_WIDTH, break_long_words=False, break_on_hyphens=False)
