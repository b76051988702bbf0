"""What SQL text ends with and means nothing: semicolons, comments and blanks, which have no place inside brackets."""

from __future__ import annotations

import re

_TEXT = r"'(?:[^']|'')*'"
_NAME = r'"(?:[^"]|"")*"'
_REST = r"(?P<comment>--[^\n]*|/\*.*?{end})|(?P<blank>[\s;])|."


def _tokens(*strings: str, end: str) -> re.Pattern[str]:
    """Tokens, of which only strings, quoted names and comments are whole; `end` is that of a comment."""
    return re.compile(f"{'|'.join(strings)}|{_REST.format(end=end)}", re.DOTALL)


#: https://duckdb.org/docs/stable/sql/data_types/literal_types
_DUCKDB = _tokens(r"[eE]'(?:[^'\\]|\\.|'')*'", _TEXT, _NAME, r"\$(?P<tag>\w*)\$.*?\$(?P=tag)\$", end=r"\*/")
#: https://www.sqlite.org/lang_keywords.html, https://www.sqlite.org/lang_comment.html
_SQLITE = _tokens(_TEXT, _NAME, r"\[[^\]]*\]", r"`(?:[^`]|``)*`", end=r"(?:\*/|\Z)")


#: Strings, quoted names and comments of DuckDB's SQL: what stands in them is no bare word.
NOT_BARE = re.compile(rf"{_TEXT}|{_NAME}|--[^\n]*|/\*.*?\*/", re.DOTALL)


def without_end(text: str, *, sqlite: bool = False) -> str:
    """The text up to its last token that means something, by DuckDB's tokens or SQLite's."""
    end = 0
    for token in (_SQLITE if sqlite else _DUCKDB).finditer(text):
        if token["comment"] is None and token["blank"] is None:
            end = token.end()
    return text[:end]
