"""The way on from SQL that DuckDB does not take, with the names that the user wrote."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping

from backfill.sources.sql_tokens import NOT_BARE

#: A name that SQL takes without quotes, unless it is one of its words.
PLAIN_NAME = re.compile(r"[A-Za-z_]\w*", re.ASCII)
#: A text that begins like a path and is none.
_NO_PATH = re.compile(r"'\$(?P<key>[^.\[\"'$*][^'\"]*)'")
_PARAMETER = re.compile(r"\$(?P<key>\w+)")
_DOUBLE_QUOTED = re.compile(r'"(?P<name>[^"]+)"')
_UNKNOWN = re.compile(r'column "(?P<name>[^"]+)" not found')
_ARROW = re.compile(r"->>?\s*(?P<path>'[^']*'|\w+)\s*(?:=|<|>|!|\b(?:is|in|like)\b)", re.IGNORECASE)


def advise(text: str, said: str, types: Mapping[str, str], parses: Callable[[str], bool]) -> str:
    """What to write instead, or nothing; `said` is DuckDB's reason, `types` the columns' types in DuckDB's words."""
    return next(filter(None, _advice(text, said, types, parses)), "")


def _advice(text: str, said: str, types: Mapping[str, str], parses: Callable[[str], bool]) -> Iterator[str]:
    several = [name for name in types if not PLAIN_NAME.fullmatch(name)]
    if "syntax error" in said:
        yield _unquoted(text, types, parses)
    elif unknown := _UNKNOWN.search(said):
        yield _unquoted(text, [name for name in several if unknown["name"].lower() in name.lower()], parses)
    else:  # `order total` is a column with an alias, `user-id` takes something from the name of the database's user
        yield _unquoted(text, several, parses)
    yield _path(text, said)
    if "parameter" in said:
        yield _parameter(text, types)
    if "not found" in said:
        yield _quotes(text, said, types)
    if "No function matches" in said or "Cannot compare" in said or "Cannot mix" in said:
        yield _arrow(text, said) or _text(text, types)


def _unquoted(text: str, names: Iterable[str], parses: Callable[[str], bool]) -> str:
    """A column's name that is a word of SQL, or not one word, by trying; a name that holds another one first."""
    for name in sorted(names, key=len, reverse=True):
        quoted = _bare_words(text, name)
        if quoted != text and parses(quoted):
            what = "is a word of SQL" if PLAIN_NAME.fullmatch(name) else "is not one word of letters"
            return f'the column "{name}" has a name that {what}: put it in double quotes, as in {quoted}'
    return ""


def _bare_words(text: str, name: str) -> str:
    """The text with the name in double quotes wherever it is a word outside of strings and quotes."""
    word = re.compile(
        rf"{NOT_BARE.pattern}|(?<![\w.$])(?P<word>{re.escape(name)})(?![\w$(])", re.IGNORECASE | re.DOTALL
    )
    return word.sub(lambda found: f'"{name}"' if found["word"] else found[0], text)


def _path(text: str, said: str) -> str:
    found = _NO_PATH.search(text)
    if not found or not ("JSON path" in said or "json_extract" in said):
        return ""
    key = found["key"]
    return (
        f'{found[0]} would be a path, as it begins with $: the key "${key}" is \'$."${key}"\', '
        f"the key \"{key}\" is '$.{key}'"
    )


def _parameter(text: str, types: Mapping[str, str]) -> str:
    found = _PARAMETER.search(text)
    if found is None:
        return ""
    known = f"${found['key']}" in types
    return f'put the name in double quotes: "{found[0]}"' if known else "a name with $ in it is put in double quotes"


def _quotes(text: str, said: str, types: Mapping[str, str]) -> str:
    for found in _DOUBLE_QUOTED.finditer(text):
        if found["name"].lower() not in (name.lower() for name in types) and found[0] in said:
            return f"double quotes are for names; a text is put in single ones: '{found['name']}'"
    return ""


def _arrow(text: str, said: str) -> str:
    found = _ARROW.search(text) if "json_extract" in said else None
    return f"put brackets around what stands before and behind {found[0][:2]}: comparisons bind first" if found else ""


def _text(text: str, types: Mapping[str, str]) -> str:
    texts = [name for name, kind in types.items() if kind == "VARCHAR" and _bare_words(text, name) != text]
    texts += [name for name, kind in types.items() if kind == "VARCHAR" and f'"{name}"' in text]
    if not texts:
        return ""
    return f'the column "{texts[0]}" is text: declare its type under `columns`, or CAST it'
