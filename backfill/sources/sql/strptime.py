"""strptime patterns as grammars: a text is exactly of its pattern, or a bad value.

DuckDB's try_strptime alone takes more: white space before, behind and doubled, the word `epoch`, day 366 of any year
(as the next one's first), a weekday that is not the day's, 11 PM where 24 hours are read, an offset of 25 hours.

Rules
1) What stands between directives is literal, white space too; a directive takes the digits it has, and no others.
2) A number may lack leading zeros where no digit is its neighbour: 1/5/2023, but never 2023105 for %Y%m%d.
3) `%.f` is a point and up to nine digits, of which those after the sixth are cut; or nothing.
4) A word such as UTC in a pattern says what zone the text is in (backfill.job.times).
5) Where a pattern says more than a moment needs, all that the text says has to agree with the moment that is read.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from backfill.job.times import says_utc
from backfill.sources.sql.engine import literal

#: What DuckDB's short forms stand for.
_SHORT_FORMS = {"%c": "%Y-%m-%d %H:%M:%S", "%x": "%Y-%m-%d", "%X": "%H:%M:%S"}
_TOKEN = re.compile(r"%\.f|%-?[A-Za-z%]|[^%]+|%")
_DAYS = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday"
_MONTHS = "January February March April May June July August September October November December"
_WORDS = {
    "a": [day[:3] for day in _DAYS.split()],
    "A": _DAYS.split(),
    "b": [month[:3] for month in _MONTHS.split()],
    "B": _MONTHS.split(),
    "p": ["AM", "PM"],
}
#: Directives of numbers: their most digits.
_DIGITS = {**dict.fromkeys("ymdHIMSUWV", 2), **dict.fromkeys("YG", 4), "j": 3, "w": 1, "u": 1, "f": 6, "g": 3, "n": 9}
#: Of these all digits are wanted; a fraction of a second may have fewer, for closing zeros.
_WHOLE = frozenset("YGy")
_FRACTIONS = frozenset("fgn")
OFFSET = "(?:[Zz]|[+-](?:[01][0-9]|2[0-3])(?::?[0-5][0-9])?)"
#: Directives that say again what others say, or from which DuckDB goes over into another year.
_REDUNDANT = frozenset("aAwujUWGV")
_SAME = {"y": "Y", "b": "m", "B": "m", "I": "H", "p": "H", "g": "f", "n": "f"}
_OPTIONAL = "%.f"
_WHITE = literal(" \t\n\v\f\r")


def parsed(text: str, pattern: str) -> str:
    """SQL: the TIMESTAMP (of a text that says its zone: TIMESTAMPTZ), NULL where it is not exactly of the pattern."""
    tokens = _tokens(pattern)
    if _OPTIONAL in tokens:
        place = tokens.index(_OPTIONAL)
        before, behind = tokens[:place], tokens[place + 1 :]
        cut = f"^({_grammar(before)}[.][0-9]{{6}})[0-9]{{1,3}}({_grammar(behind)})$"
        fraction = parsed(f"regexp_replace({text}, {literal(cut)}, '\\1\\2')", "".join([*before, ".%f", *behind]))
        return f"coalesce({parsed(text, ''.join([*before, *behind]))}, {fraction})"
    value = _read(_without_z(text, tokens), tokens)
    if _may_disagree(tokens):
        wall = value if "%z" not in tokens else _read(*_without_offset(text, tokens))
        value = f"CASE WHEN {_said(text, tokens)} = {_meant(wall, tokens)} THEN {value} END"
    if "%z" not in tokens and says_utc(pattern):
        value = f"({value}) AT TIME ZONE 'UTC'"
    return f"CASE WHEN regexp_full_match({text}, {literal(_grammar(tokens))}) THEN {value} END"


def _tokens(pattern: str) -> list[str]:
    """The pattern's directives and the literals between them, short forms written out."""
    whole = "".join(_SHORT_FORMS.get(token, token) for token in _TOKEN.findall(pattern))
    return _TOKEN.findall(whole)


def _read(text: str, tokens: Sequence[str]) -> str:
    """SQL: DuckDB's reading of a text that has passed the grammar. A pattern that begins with a space reads nothing."""
    pattern = "".join(tokens)
    bare = pattern.strip()
    subject = text if bare == pattern else f"trim({text}, {_WHITE})"
    return f"CAST(try_strptime({subject}, {literal(bare)}) AS {'TIMESTAMPTZ' if '%z' in tokens else 'TIMESTAMP'})"


def _without_z(text: str, tokens: Sequence[str]) -> str:
    """SQL: the text with an offset in digits where it has a Z, which DuckDB does not read."""
    if "%z" not in tokens:
        return text
    place = tokens.index("%z")
    if place == len(tokens) - 1:
        return f"regexp_replace({text}, '[Zz]$', '+00:00')"
    before, behind = _grammar(tokens, stop=place), _grammar(tokens, start=place + 1)
    return f"regexp_replace({text}, {literal(f'^({before})[Zz]({behind})$')}, '\\1+00:00\\2')"


def _without_offset(text: str, tokens: Sequence[str]) -> tuple[str, list[str]]:
    """SQL: the text without its offset, and the pattern that reads that."""
    place = tokens.index("%z")
    before, behind = _grammar(tokens, stop=place), _grammar(tokens, start=place + 1)
    local = f"regexp_replace({text}, {literal(f'^({before}){OFFSET}({behind})$')}, '\\1\\2')"
    return local, [*tokens[:place], *tokens[place + 1 :]]


def _may_disagree(tokens: Sequence[str]) -> bool:
    """The pattern says something twice, or in a way from which DuckDB goes over into another year."""
    names = [name for name in map(_name, tokens) if name and name != "%"]
    fields = [_SAME.get(name, name) for name in names if name != "p" or "I" not in names]
    return not _REDUNDANT.isdisjoint(names) or len(set(fields)) < len(fields)


def _said(text: str, tokens: Sequence[str]) -> str:
    """SQL: all that the text says, each part as strftime would write it, in lower case."""
    compared = [place for place, token in enumerate(tokens) if _is_compared(token)]
    names = literal([f"g{place}" for place in compared])
    widths = [(f"part.g{place}", _DIGITS.get(_name(tokens[place]))) for place in compared]
    parts = [f"lpad({part}, {width}, '0')" if width else part for part, width in widths]
    groups = f"regexp_extract({text}, {literal(f'^{_grammar(tokens, groups=compared)}$')}, {names})"
    return f"list_transform([{groups}], lambda part: lower(concat_ws(':', {', '.join(parts)})))[1]"


def _meant(wall: str, tokens: Sequence[str]) -> str:
    """SQL: the same of the moment that was read."""
    pattern = ":".join(f"%{_name(token)}" for token in tokens if _is_compared(token))
    return f"lower(strftime({wall}, {literal(pattern)}))"


def _is_compared(token: str) -> bool:
    name = _name(token)
    return name in _WORDS or (name in _DIGITS and name not in _FRACTIONS)


def _name(token: str) -> str:
    """A directive's letter, or nothing for a literal."""
    return token[-1] if token[0] == "%" and len(token) > 1 else ""


def _grammar(tokens: Sequence[str], start: int = 0, stop: int | None = None, groups: Sequence[int] = ()) -> str:
    """The regular expression (RE2) of all texts of the tokens from start to stop, with groups for some of them."""
    parts = [(place, _part(tokens, place)) for place in range(len(tokens))[start:stop]]
    return "".join(f"({part})" if place in groups else part for place, part in parts)


def _part(tokens: Sequence[str], place: int) -> str:
    """The regular expression of one token."""
    token, name = tokens[place], _name(tokens[place])
    if name in ("", "%"):
        return re.escape(token if not name else "%")
    if name in _WORDS:
        return f"(?i:{'|'.join(_WORDS[name])})"
    if name not in _DIGITS:
        return OFFSET if name == "z" else re.escape(token)
    digits = _DIGITS[name]
    crowded = any(_is_digit(tokens, beside) for beside in (place - 1, place + 1))
    whole = (name in _WHOLE and "-" not in token) or (crowded and name not in _FRACTIONS)
    return f"[0-9]{{{digits}}}" if whole else f"[0-9]{{1,{digits}}}"


def _is_digit(tokens: Sequence[str], place: int) -> bool:
    """The token there, if there is one, gives digits or is one."""
    token = tokens[place] if 0 <= place < len(tokens) else " "
    return _name(token) in _DIGITS if _name(token) else token[0].isdigit() or token[-1].isdigit()
