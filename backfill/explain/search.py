"""Which page is meant: by its code, by words of its text, and by words that are nearly those."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from difflib import get_close_matches

from backfill.explain.pages import Page

#: No more pages are offered.
MOST = 8
#: Words that say nothing of what is looked for.
EMPTY_WORDS = frozenset(
    {*("a", "an", "the", "of", "in", "is", "it", "to", "and", "or", "no", "not", "that", "with", "for"), "what", "mean"}
)
#: What people say of a thing, by how such words begin, and the word that the pages have for it.
SAID_ELSE = {
    **dict.fromkeys(("dedup", "dupe"), "duplicate"),
    **dict.fromkeys(("daylight", "dst", "summertime"), "clocks"),
    **dict.fromkeys(("throttl", "ratelimit"), "429"),
    **dict.fromkeys(("unauthori", "credential"), "401"),
    "forbidden": "403",
    "timeout": "408",
    "separator": "delimiter",
}
#: What a word in a title counts, beside one of the text.
_TITLE_WEIGHT = 4
#: What is written as a code, whether there is one or not.
_CODE = re.compile(r"bf\d+|exit \d+|http \d+")
#: How alike a mistyped word has to be (difflib's ratio): one or two letters of six.
_ALIKE = 0.75


def search(asked: str, pages: Mapping[str, Page]) -> list[Page]:
    """The pages that a code, or words, mean, the best first; none where nothing is like them."""
    subject = _subject(asked)
    exact = [page for page in pages.values() if subject in map(str.casefold, (page.subject, *page.also))]
    if exact or _CODE.fullmatch(subject):
        return exact
    titled = [page for page in pages.values() if asked.strip().casefold() in page.title.casefold()]
    return titled[:MOST] or _by_words(_words(asked), list(pages.values()))


def near(asked: str, pages: Iterable[str]) -> list[str]:
    """The subjects that are most like what was asked for."""
    by_name = {name.casefold(): name for name in pages}
    return [by_name[name] for name in get_close_matches(_subject(asked), by_name, n=3)]


def _subject(asked: str) -> str:
    """How a page's subject would be written that is asked for as `bf 113`, `6`, `exit code 6`, `429`, `LedgerError`."""
    text = " ".join(asked.casefold().split())
    if number := re.fullmatch(r"(?:http ?)?([2-5]\d\d)", text):
        return f"http {number[1]}"
    if number := re.fullmatch(r"(?:exit(?: code)? )?(\d+)", text):
        return f"exit {int(number[1])}"
    return re.sub(r"^bf ?(\d)", r"bf\1", text)


def _by_words(asked: list[str], pages: list[Page]) -> list[Page]:
    titles = [frozenset(_words(f"{page.subject} {page.title} {' '.join(page.also)}")) for page in pages]
    texts = [frozenset(_words(f"{page.kind} {page.why} {page.mend} {page.example}")) for page in pages]
    known = sorted(frozenset[str]().union(*titles, *texts))
    meant = [_nearest(word, known) for word in asked]
    scores = [
        sum(_TITLE_WEIGHT * _has(title, word) + _has(text, word) for word in meant)
        for title, text in zip(titles, texts, strict=True)
    ]
    every = [all(_has(title | text, word) for word in meant) for title, text in zip(titles, texts, strict=True)]
    ranked = sorted(range(len(pages)), key=lambda place: (not every[place], -scores[place], place))
    return [pages[place] for place in ranked if scores[place] and (every[place] or not any(every))][:MOST]


def _nearest(word: str, known: Iterable[str]) -> str:
    """The pages' own word for it; as it is, where a page has one that begins so; else the one most like it."""
    words = list(known)
    if own := next((own for said, own in SAID_ELSE.items() if word.startswith(said)), ""):
        return own
    if any(each.startswith(word) for each in words):
        return word
    return next(iter(get_close_matches(word, words, n=1, cutoff=_ALIKE)), word)


def _has(words: frozenset[str], word: str) -> bool:
    return word in words or any(each.startswith(word) for each in words)


def _words(text: str) -> list[str]:
    found = re.findall(r"[a-z0-9_]+", text.casefold())
    return [word for word in found if word not in EMPTY_WORDS] or found
