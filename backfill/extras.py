"""Libraries that only some jobs need: the extras of the package."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
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
            hint=how_to_install(f"'backfill[{extra}]'"),
        ) from error


def how_to_install(package: str) -> str:
    """The command that brings a package into the environment of this program, whoever made that: pipx, uv or venv.

    Each leaves what is there, and takes the backfill that is installed for the one that is asked for.
    """
    here = Path(sys.prefix)
    if (here / "pipx_metadata.json").is_file():  # https://pipx.pypa.io/stable/docs/: one in each of its environments
        return f"pipx runpip {here.name} install {package}"
    uv = (here / "uv-receipt.toml").is_file() or (find_spec("pip") is None and shutil.which("uv"))
    if uv:  # an environment of `uv tool`, or one that uv has made without pip
        return f"uv pip install --python {shlex.quote(str(here))} {package}"
    own = os.environ.get("VIRTUAL_ENV") == str(here)
    return f"pip install {package}" if own else f"{shlex.quote(sys.executable)} -m pip install {package}"
