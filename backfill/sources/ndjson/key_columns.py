"""The members of objects that have the same keys, key by key: where each value stands, and columns made of them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa  # type: ignore[import-untyped]

from backfill.frozen import frozen
from backfill.sources.ndjson.members import NULL, STRING, Cells, Form, Integers, formed, slices, with_plain

Booleans = npt.NDArray[np.bool_]


@frozen
class KeyColumns:
    """For each key, in the order of the objects' members, and each object: its value."""

    text: npt.NDArray[np.uint8]
    names: tuple[str, ...]
    objects: int
    depth: int  # of the deepest object
    present: Booleans  # by key and object: there is a value
    start: Integers  # from ...
    end: Integers  # ... to
    kind: npt.NDArray[np.uint8]  # NULL where there is none
    escaped: Booleans | None  # strings with backslashes (and some more, of no interest); None where there are none

    @property
    def is_empty(self) -> bool:
        """There is no member at all."""
        return not self.present.any()

    def first_names(self) -> tuple[str, ...]:
        """The keys of the first object that has any."""
        first = int(self.present.any(axis=0).argmax())
        return tuple(name for name, is_there in zip(self.names, self.present[:, first], strict=True) if is_there)

    def kinds(self) -> dict[str, int]:
        """The kinds of each key's values, as bits."""
        held = np.bitwise_or.reduce(self.kind, axis=1).tolist()
        return {self.names[key]: held[key] for key in np.flatnonzero(self.present.any(axis=1))}

    def cells(self) -> Cells:
        """The same members, object by object."""
        chosen = np.flatnonzero(self.present.T)
        row, name = np.divmod(chosen, len(self.names))
        return Cells(
            text=self.text,
            objects=self.objects,
            depth=self.depth,
            escapes=self.escaped is not None,
            names=self.names,
            row=row,
            name=name,
            start=self.start.T.ravel()[chosen],
            end=self.end.T.ravel()[chosen],
            kind=self.kind.T.ravel()[chosen],
        )

    def arrays(self, names: Sequence[str], forms: Sequence[Form], first: int, last: int) -> list[pa.Array]:
        """Columns of the objects from `first` to `last`; all null for a name that no key has."""
        places = {name: place for place, name in enumerate(self.names)}
        known = [place for place, name in enumerate(names) if name in places]
        made = self._made([places[names[place]] for place in known], [forms[place] for place in known], first, last)
        found = dict(zip(known, made, strict=True))
        return [
            found[place] if place in found else formed(pa.nulls(last - first, pa.string()), form)
            for place, form in enumerate(forms)
        ]

    def _made(self, keys: list[int], forms: Sequence[Form], first: int, last: int) -> list[pa.Array]:
        """Columns of some keys: all texts are taken at once and then parted."""
        rows, text = last - first, self.text
        kind = self.kind[keys, first:last]
        inner = (kind == STRING) & np.array([[form is not Form.JSON] for form in forms], np.bool_).reshape(-1, 1)
        start = (self.start[keys, first:last] + inner).ravel()
        end = (self.end[keys, first:last] - inner).ravel()
        if self.escaped is not None:
            escaped = np.flatnonzero(self.escaped[keys, first:last] & inner)
            if len(escaped):
                text, start[escaped], end[escaped] = with_plain(text, start[escaped], end[escaped])
        made = slices(text, start, end, np.where((kind != NULL).ravel(), np.arange(len(start)), -1))
        return [formed(made.slice(index * rows, rows), form) for index, form in enumerate(forms)]
