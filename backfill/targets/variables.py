"""`${VAR}` inside the values of a profile."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

_VARIABLE: Final = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
_OPENING: Final = re.compile(r"\$\{")


def variables_in(text: str) -> list[str]:
    """Names of the variables that a text refers to, in order."""
    return _VARIABLE.findall(text)


def is_one_variable(text: str) -> bool:
    """Whether the text is a single `${VAR}` and nothing else."""
    return _VARIABLE.fullmatch(text) is not None


def is_torn(text: str) -> bool:
    """Whether a `${` begins that is no `${VAR}`: a default, a name with odd characters, no closing brace."""
    return len(_OPENING.findall(text)) != len(variables_in(text))


def filled_in(text: str, environ: Mapping[str, str]) -> str:
    """The text with the variables' values, which are not looked into again."""
    return _VARIABLE.sub(lambda match: environ[match[1]], text)
