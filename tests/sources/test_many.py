"""Many small CSV files, parsed together: the same rows, numbers and rejects as of each file alone."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.examples import examples
from tests.support.sourcing import Staged, job_over, staged

MANY = 12
COLUMNS: dict[str, Any] = {"n": "integer"}
#: What a file may hold; `{}` is its number.
CONTENTS = [
    "id,n\n{}a,1\n{}b,2\n",
    "id,n\n{}a,1\n{}b,2\n{}c,x",
    "n,id\n7,{}a\n",
    "id,n\n",
    "",
    "\n\nid,n\n{}a,1\n",
    "id,n\n{}a,1\n\n{}b,2\n",
    'id,n\n"{}\nb",1\n{}c,2\n',
    "id,n\n{}a,1\n{}b\n{}c,3\n",
    'id,n\n{}a,1\n{}b,"2\n',
    "id,n\r\n{}a,1\r\n",
    "id,n\n{}a,1\r\n{}b,2\r",
    "id,n\n{}a,1,2\n",
]


def write(folder: Path, kinds: list[int], zipped: set[int]) -> list[Path]:
    """The files, in byte order of their names."""
    folder.mkdir()
    paths = []
    for number, kind in enumerate(kinds):
        data = CONTENTS[kind].replace("{}", str(number)).encode()
        path = folder / f"{number:03}.csv{'.gz' if number in zipped else ''}"
        path.write_bytes(gzip.compress(data) if number in zipped else data)
        paths.append(path)
    return paths


def seen(result: Staged) -> list[tuple[Any, ...]]:
    """The rows, each with its file and record."""
    rows = result.frame.select("id", "n", pl.coalesce("__bf_raw:n", pl.col("n").cast(pl.String))).rows()
    names = [Path(name).name for name in result.files]
    return [(name, record, *row) for name, record, row in zip(names, result.records, rows, strict=True)]


def rejected(result: Staged) -> list[tuple[Any, ...]]:
    """The unreadable records."""
    names = ("record", "line", "code", "message", "original")
    return [(Path(one["file"]).name, *(one[name] for name in names)) for one in result.rejects]


@settings(max_examples=examples(10), suppress_health_check=[HealthCheck.too_slow])
@given(
    kinds=st.lists(st.integers(0, len(CONTENTS) - 1) | st.just(0), min_size=1, max_size=4),
    zipped=st.sets(st.integers(0, 40), max_size=6),
    where=st.sampled_from([None, "n <> 1"]),
)
def test_together_and_alone(
    tmp_path_factory: pytest.TempPathFactory, kinds: list[int], zipped: set[int], where: str | None
) -> None:
    """Whatever stands between them."""
    folder = tmp_path_factory.mktemp("many")
    padded = [0, *kinds, 0, 0, *kinds[::-1], 2, 0]
    paths = write(folder / "in", padded, zipped)
    together = staged(job_over(folder / "in", columns=COLUMNS, where=where), folder / "state")
    assert len(together.snapshot.parts) == 1
    rows, rejects = [], []
    for path, kind in zip(paths, padded, strict=True):
        if kind == 0:
            found = [(path.name, n, f"{int(path.name[:3])}{'ab'[n - 1]}", n, str(n)) for n in (1, 2)]
            rows += found[1:] if where else found
        elif CONTENTS[kind]:
            alone = staged(job_over(path, columns=COLUMNS, where=where), folder / f"alone-{path.name}")
            rows += seen(alone)
            rejects += rejected(alone)
    assert seen(together) == rows
    assert rejected(together) == rejects


def test_a_query_over_many_files(tmp_path: Path) -> None:
    """A value that a query cannot read is of its file and record there."""
    write(tmp_path / "in", [0] * MANY + [1, 4, 0], set())
    job = job_over(tmp_path / "in", columns=COLUMNS, query="SELECT count(*) AS rows, sum(n) AS total FROM source")
    result = staged(job, tmp_path / "state")
    assert [tuple(map(int, row)) for row in result.rows] == [(2 * (MANY + 2), 3 * (MANY + 2))]
    assert rejected(result) == [
        (f"{MANY:03}.csv", 3, 0, "BF007", result.rejects[0]["message"], f'{{"id":"{MANY}c","n":"x"}}')
    ]


def test_names_with_wildcards(tmp_path: Path) -> None:
    """Names that could be taken for patterns are read as themselves."""
    paths = write(tmp_path / "in", [0] * (MANY + 2), set())
    paths[3].rename(tmp_path / "in" / "003[0-9].csv")
    result = staged(job_over(tmp_path / "in", columns=COLUMNS), tmp_path / "state")
    assert len(result.rows) == 2 * (MANY + 2)
    assert [name for name in result.files if "[" in name] == [result.files[6], result.files[7]]
