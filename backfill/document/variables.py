"""Variables of the environment in the two files people write: `${NAME}`, and no more than that.

A module of its own, since job and targets files share it and nothing else here reads the environment.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Final

#: What a `${` that is none of these should have been.
VARIABLE_HINT: Final = "a variable is ${NAME}: no default, no dash"
_VARIABLE: Final = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")


def variables_in(text: str) -> list[str]:
    """Names of the variables that a text refers to as `${NAME}`, in order."""
    return _VARIABLE.findall(text)


def is_one_variable(text: str) -> bool:
    """Whether the text is a single `${NAME}` and nothing else."""
    return _VARIABLE.fullmatch(text) is not None


def has_broken_variable(text: str) -> bool:
    """Whether a `${` in it does not begin a `${NAME}`: a default, a name with odd characters, no closing brace."""
    return text.count("${") != len(variables_in(text))


def fill_in(text: str, environ: Mapping[str, str], written: Callable[[str], str] = str) -> str:
    """The text with the variables' values, each as `written` writes it; they are not looked into again."""
    return _VARIABLE.sub(lambda match: written(environ[match[1]]), text)
