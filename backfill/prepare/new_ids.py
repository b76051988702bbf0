"""What each shard adds to the ids of a plan, so that all together store few sketches, however many shards there are."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from backfill.records.profile import IDS, SKETCH, TWINS, PlanProfile, Sketch


class NewIds:
    """The ids of all shards so far, so that each stores only what it adds to them."""

    def __init__(self, profile: PlanProfile) -> None:
        self._known = {name: _hashes(getattr(profile, name)) for name in IDS}
        self._alike = dict.fromkeys(TWINS, True)
        self._note(profile)

    def only(self, profile: PlanProfile) -> PlanProfile:
        """The shard's profile with the hashes that are new; the shards come one after the other."""
        self._note(profile)
        new: dict[str, npt.NDArray[np.uint64]] = {}
        for name in IDS:
            if self._alike.get(name):
                twin = TWINS[name]
                self._known[name], new[name] = self._known[twin], new[twin]
            else:
                new[name] = self._add(name, _hashes(getattr(profile, name)))
        sketches: dict[str, Any] = {name: Sketch(hashes.tobytes()) for name, hashes in new.items()}
        return replace(profile, **sketches)

    def _note(self, profile: PlanProfile) -> None:
        for name, twin in TWINS.items():
            self._alike[name] = self._alike[name] and getattr(profile, name) == getattr(profile, twin)

    def _add(self, name: str, hashes: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
        known = self._known[name]
        if len(known) >= SKETCH:
            hashes = hashes[: np.searchsorted(hashes, known[-1])]
        places = np.searchsorted(known, hashes)
        if len(known):
            new = known[np.minimum(places, len(known) - 1)] != hashes
            hashes, places = hashes[new], places[new]
        self._known[name] = np.insert(known, places, hashes)[:SKETCH]
        return hashes


def _hashes(sketch: Sketch) -> npt.NDArray[np.uint64]:
    return np.frombuffer(sketch.hashes, "<u8")
