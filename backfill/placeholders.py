"""What exports write where an id should stand: the one table of it, and the patterns that find it.

The patterns are read alike by Rust's regular expressions (polars) and by Python's. Sources: Unify's suggested blocked
values (https://www.twilio.com/docs/segment/unify/product-limits); what databases, pandas, JavaScript, spreadsheets and
web analytics print for a value that is not there.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Final

#: Texts that stand for "nobody", in lower case; they are met in any case, and with blanks around them.
PLACEHOLDERS: Final = (
    "null",
    "none",
    "nil",
    "undefined",
    "n/a",
    r"\n",  # \N, of databases' own exports
    "nan",
    "nat",
    "<na>",
    "(null)",
    "<null>",
    "(none)",
    "(not set)",
    "[object object]",
    "{}",
    "[]",
    "?",
    "-1",
    "true",
    "false",
    "unknown",
    "guest",
    "anonymous",
    "#n/a",
    "#ref!",
    "#name?",
    "#value!",
    "#null!",
    "#num!",
    "#div/0!",
    "00000000-0000-0000-0000-000000000000",
)

#: White space that is no control character.
BLANK: Final = r"[ \u00a0\u1680\u2000-\u200a\u202f\u205f\u3000]"
#: Control characters but for the line feed, and characters without width.
_UNSEEN: Final = (
    r"\x00-\x09\x0b-\x1f\x7f-\x9f\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202e"
    r"\u2060-\u2064\u2066-\u206f\ufeff\ufff9-\ufffb"
)
#: An id in which something cannot be seen, or that is a spreadsheet's formula: ="00123".
HIDDEN_PATTERN: Final = rf'[\x0a{_UNSEEN}]|^=".*"$'
#: An integer that went through a float column.
FLOAT_ID_PATTERN: Final = r"^[+-]?[0-9]+\.0+$"
#: A long number as spreadsheets show it: its last digits are gone. (Hexadecimal ids such as 12e4 have no plus sign.)
LOST_DIGITS_PATTERN: Final = r"^[+-]?[0-9](?:[.,][0-9]+[eE][+-]?|[eE]\+)[0-9]+$"
#: An email address, or a telephone number with its country code.
ADDRESS_PATTERN: Final = r"^[^@\s]+@[^@\s]+\.[^@\s]+$|^\+[0-9][0-9 ().-]{6,}$"
#: A UUID of version 4 (RFC 9562), in either case.
UUID_4_PATTERN: Final = r"(?i)^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$"
#: Blanks at an end.
BLANK_END_PATTERN: Final = rf"^{BLANK}|{BLANK}$"


def placeholder_pattern(add: Collection[str] = ()) -> str:
    """What finds a placeholder: those of the table and of `add` in any case, text of zeros and hyphens, and no text."""
    words = "|".join(re.escape(word) for word in (*PLACEHOLDERS, *add))
    return rf"(?i)^{BLANK}*(?:{words}|[0-]*){BLANK}*$"


def odd_id_pattern(add: Collection[str] = (), *, lines: bool = False, addresses: bool = True) -> str:
    """What finds an id that any pattern of this module finds, in one scan; with `lines` in one of the lines of a text.

    A line feed inside an id is then no character of it: whoever joined ids into lines counts them.
    """
    unseen = rf'[{_UNSEEN}]|^=".*"$' if lines else HIDDEN_PATTERN
    rest = (unseen, FLOAT_ID_PATTERN, LOST_DIGITS_PATTERN, BLANK_END_PATTERN, *([ADDRESS_PATTERN] if addresses else []))
    return ("(?m)" if lines else "") + "|".join((placeholder_pattern(add), *rest))


def is_placeholder(text: str, add: Collection[str] = ()) -> bool:
    """Whether the text is one, as `placeholder_pattern` finds them."""
    return re.fullmatch(placeholder_pattern(add), text) is not None
