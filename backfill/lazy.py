"""Packages whose names are imported when they are first asked for (PEP 562), so that a verb loads only what it uses."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any


def lazily(package: str, homes: Mapping[str, tuple[str, ...]]) -> Callable[[str], Any]:
    """The `__getattr__` of a package: `homes` has the names that each of its modules gives."""
    home_of = {name: module for module, names in homes.items() for name in names}

    def get(name: str) -> Any:  # noqa: ANN401 (whatever the module has)
        if name not in home_of:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        home = import_module(f"{package}.{home_of[name]}")
        for given in homes[home_of[name]]:  # all of them: the module may have the name of one, and has just taken it
            setattr(sys.modules[package], given, getattr(home, given))
        return getattr(home, name)

    return get
