"""Libraries that only some jobs need: the extras of the package."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType

from backfill.errors import UsageError


def required(module: str, extra: str, what: str, *, made: str = "read") -> ModuleType:
    """The module, imported; `what` needs it, as the message begins: "LZ4 files" (are read with it, or `made`).

    Raises:
        UsageError: it is not installed; names the extra that brings it.
    """
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        if error.name != module.partition(".")[0] and error.name != module:
            raise
        raise UsageError(
            f"{what} are {made} with {module.partition('.')[0]}, which is not installed",
            hint=f"pip install 'backfill[{extra}]'",
        ) from error
