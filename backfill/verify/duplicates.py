"""Rows that are listed as duplicates, held against those whose calls were made again and are not planned of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from hashlib import blake2b
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa  # type: ignore[import-untyped]
import pyarrow.parquet as pq  # type: ignore[import-untyped]

from backfill.verify.findings import Findings

#: Rows that are looked at together.
_ROWS: Final = 1_000_000
_KEY_BYTES: Final = 8

Keys = npt.NDArray[np.uint64]
#: A row as it is listed: its file by name, its record there, its call by label or type.
Listed = tuple[str, int, str]


def key_of(file: str, record: int, call: str) -> bytes:
    """What tells a call of a row, in eight bytes."""
    return blake2b(f"{file}\0{record}\0{call}".encode(), digest_size=_KEY_BYTES).digest()


def check_duplicates(
    files: Iterable[Path], absent: Callable[[], Iterator[Keys]], findings: Findings, check_stop: Callable[[], None]
) -> None:
    """Find rows that are listed, more often than their calls are absent: those of other rows were to be there.

    `absent` gives the keys of all calls that are made and not planned of their rows, from the first each time. Files
    that cannot be read are told elsewhere.
    """
    for rows in _listed(files):
        keys = np.frombuffer(b"".join(key_of(*row) for row in rows), np.uint64)
        different, places, counts = np.unique(keys, return_index=True, return_counts=True)
        left = counts.astype(np.int64)
        for some in absent():
            check_stop()
            at = np.minimum(np.searchsorted(different, some), len(different) - 1)
            left -= np.bincount(at[different[at] == some], minlength=len(different))
        for place in np.flatnonzero(left > 0).tolist():
            file, record, call = rows[int(places[place])]
            said = f"record {record} of {file} is listed for its {call} call, which is not that of another row"
            findings.kept("duplicates", said if counts[place] == 1 else f"{said}, or is listed twice")


def _listed(files: Iterable[Path]) -> Iterator[list[Listed]]:
    for path in files:
        try:
            with pq.ParquetFile(path) as file:
                for page in file.iter_batches(_ROWS, columns=["file", "record", "call"]):
                    columns = (page[name].to_pylist() for name in ("file", "record", "call"))
                    if rows := list(zip(*columns, strict=True)):
                        yield rows
        except (OSError, KeyError, pa.ArrowException):
            continue
