"""What a violation is called: its problem code by the keyword, and what the plan wants in a few words."""

from __future__ import annotations

import json
from typing import Any, Final

#: The codes of a tracking plan: an event, a property, a missing one, another type, any other keyword.
CODES: Final = ("BF140", "BF141", "BF142", "BF143", "BF144")
_CODES: Final = {"additionalProperties": "BF141", "required": "BF142", "type": "BF143"}
_LONGEST: Final = 60


def code_of(keyword: str) -> str:
    """The code of a violation of that keyword."""
    return _CODES.get(keyword, "BF144")


def wanted(keyword: str, value: Any) -> str:  # noqa: ANN401 (any JSON)
    """What a keyword wants: `minimum 0`, `a string`, `one of "a", "b"`."""
    match keyword:
        case "type":
            text = " or ".join([value] if isinstance(value, str) else value or ["another"]) + " is wanted"
        case "additionalProperties":
            text = "`additionalProperties` is false" if value is False else ""
        case "required":
            text = ""
        case "falseSchema":
            text = "it may not be there"
        case "enum" if isinstance(value, list):
            text = "one of " + ", ".join(json.dumps(each, ensure_ascii=False) for each in value)
        case _ if isinstance(value, str | int | float) and not isinstance(value, bool):
            text = f"{keyword} {value}"
        case _:
            text = f"`{keyword}`"
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."
