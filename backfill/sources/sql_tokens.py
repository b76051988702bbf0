"""SQL text cut into tokens, of DuckDB's SQL or a database's own: what it ends with, and what in it is no bare word."""

from __future__ import annotations

import re

#: Texts and quoted names, as all SQL writes them.
TEXT = r"'(?:[^']|'')*'"
NAME = r'"(?:[^"]|"")*"'
_REST = r"(?P<comment>--[^\n]*|/\*.*?{end})|(?P<blank>[\s;])|."


def tokens(*strings: str, end: str) -> re.Pattern[str]:
    """A pattern of SQL tokens, of which only strings, quoted names and comments are whole; `end` ends a comment."""
    return re.compile(f"{'|'.join(strings)}|{_REST.format(end=end)}", re.DOTALL)


#: https://duckdb.org/docs/stable/sql/data_types/literal_types
_DUCKDB = tokens(r"[eE]'(?:[^'\\]|\\.|'')*'", TEXT, NAME, r"\$(?P<tag>\w*)\$.*?\$(?P=tag)\$", end=r"\*/")
#: Strings, quoted names and comments of DuckDB's SQL: what stands in them is no bare word.
NOT_BARE = re.compile(rf"{TEXT}|{NAME}|--[^\n]*|/\*.*?\*/", re.DOTALL)


def without_end(text: str, dialect: re.Pattern[str] = _DUCKDB) -> str:
    """The text without the semicolons, comments and blanks at its end, which have no place inside brackets.

    `dialect` is what `tokens` made for the SQL in question.
    """
    end = 0
    for token in dialect.finditer(text):
        if token["comment"] is None and token["blank"] is None:
            end = token.end()
    return text[:end]
