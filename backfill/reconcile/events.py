"""Events as numbers: records hold those, and a bounded table their names."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

#: As many events are told apart; all further ones are one.
MOST: Final = 5_000
OTHERS: Final = "(further events)"


class Events:
    """Names of events by number."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self._numbers: dict[str, int] = {}

    def number(self, name: str) -> int:
        """The number of a name; of those beyond MOST that of OTHERS."""
        known = self._numbers.get(name)
        if known is not None:
            return known
        if len(self.names) >= MOST and name != OTHERS:
            return self.number(OTHERS)
        self.names.append(name)
        return self._numbers.setdefault(name, len(self.names) - 1)

    def numbers(self, names: list[str]) -> npt.NDArray[np.uint32]:
        """The numbers of some names."""
        return np.fromiter((self.number(name) for name in names), np.uint32, len(names))
