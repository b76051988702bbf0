"""Text that comes from data made safe to show: what steers a terminal or cannot be seen is written out.

The one place for it: everything that is said or printed goes through `escaped` (`cli.session`). It is written as JSON
writes it, so that JSON on the standard output stays the same JSON.
"""

from __future__ import annotations

import codecs
import json
import re

#: Controls; marks of direction, of no width and of where lines end; halves of characters; tags. The joiners that
#: scripts and emoji need (U+200C, U+200D) are not among them.
_HIDDEN = (
    "\x00-\x1f\x7f-\x9f\xad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f"
    "\ud800-\udfff\ufeff\ufff9-\ufffb\U000e0000-\U000e007f"
)
_STEERING = re.compile(f"[{_HIDDEN}]")
_STEERING_LINES = re.compile(f"(?!\n)[{_HIDDEN}]")
#: How a stream writes characters that its encoding does not have (`errors=`).
ESCAPING = "backfill-escape"


def escaped(text: str, *, lines: bool = False) -> str:
    r"""The text with every such character written out, as \\u001b say; `lines`: its line ends are our own, and stay."""
    return (_STEERING_LINES if lines else _STEERING).sub(lambda found: written(found[0]), text)


def written(text: str) -> str:
    """The characters as JSON writes them in ASCII."""
    return json.dumps(text)[1:-1]


def _unencodable(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return written(error.object[error.start : error.end]), error.end


codecs.register_error(ESCAPING, _unencodable)
