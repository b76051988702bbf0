"""One contract for every format and every way its bytes come: the same rows and numbers, or exit 9 before anything."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
from collections.abc import Callable, Iterator
from io import BytesIO
from itertools import pairwise
from pathlib import Path

import cramjam
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

from backfill.errors import SourceError
from backfill.job.models import Job
from backfill.sources import inspect, stage
from backfill.sources.origins.framed import SNAPPY_MAGIC
from tests.support.projects import JOB, Project, backfill
from tests.support.sourcing import job_over, staged

COUNT = 400
ROWS = [(f"k{number}", f"text {number}, of " + "é" * (number % 7)) for number in range(COUNT)]


def csv_of(delimiter: str) -> bytes:
    """The rows as delimited text, one of them quoted over two lines."""
    lines = [delimiter.join(("id", "text")), *(f'{one}{delimiter}"{two}"' for one, two in ROWS)]
    return "\n".join([*lines, ""]).encode()


def ndjson() -> bytes:
    """The rows as JSON, an empty line among them."""
    lines = [json.dumps({"id": one, "text": two}) for one, two in ROWS]
    return "\n".join([*lines[:9], "", *lines[9:], ""]).encode()


def parquet() -> bytes:
    """The rows as Parquet of several row groups."""
    file = BytesIO()
    table = pa.table({"id": [one for one, _ in ROWS], "text": [two for _, two in ROWS]})
    pq.write_table(table, file, row_group_size=150)
    return file.getvalue()


TEXTS = {"csv": csv_of(","), "tsv": csv_of("\t"), "ndjson": ndjson()}
PACK: dict[str, Callable[[bytes], bytes]] = {
    "gz": gzip.compress,
    "zst": zstandard.ZstdCompressor(write_checksum=True).compress,
    "bz2": bz2.compress,
    "xz": lzma.compress,
    "lz4": lambda data: bytes(cramjam.lz4.compress(data)),
    "sz": lambda data: bytes(cramjam.snappy.compress(data)) or SNAPPY_MAGIC,
}
PADDED = ("gz", "xz")


def whole(pack: Callable[[bytes], bytes], plain: bytes, packing: str) -> Iterator[tuple[str, bytes]]:
    """Files that hold all of the rows."""
    yield "one", pack(plain)
    cuts = [0, 1, len(plain) // 3, len(plain) - 1, len(plain)]
    yield "members", b"".join(pack(plain[low:high]) for low, high in pairwise(cuts))
    yield "empty members", pack(b"") + pack(plain) + pack(b"")
    if packing in PADDED:
        yield "padded", pack(plain) + bytes(512)
        yield "padded within", pack(plain[:99]) + bytes(64) + pack(plain[99:])


def damaged(pack: Callable[[bytes], bytes], plain: bytes) -> Iterator[tuple[str, bytes]]:
    """Files that do not."""
    one, two = pack(plain), pack(plain[:200]) + pack(plain[200:])
    for tenth in range(10):
        yield f"{tenth}/10", one[: len(one) * tenth // 10]
    yield "a byte short", one[:-1]
    yield "a byte short of two", two[:-1]
    yield "garbage behind", one + b"garbage"
    yield "a line behind", one + b"k1,x\n"


def refused_alike(job: Job, folder: Path) -> str:
    """What is said of a file, by a look and by staging; nothing is left of the latter."""
    said = []
    for look in (inspect, lambda job: stage(job, folder)):
        with pytest.raises(SourceError) as caught:
            look(job)
        said.append(caught.value.message)
    assert len(set(said)) == 1, said
    assert not (folder / "snapshot.json").exists()
    return said[0]


@pytest.mark.parametrize("packing", PACK)
@pytest.mark.parametrize("kind", TEXTS)
def test_the_same_rows_or_none(tmp_path: Path, kind: str, packing: str) -> None:
    """Whole in any shape: the plain file's rows and record numbers. Damaged in any way: refused, at the first look."""
    path = tmp_path / f"rows.{kind}.{packing}"
    pack, plain = PACK[packing], TEXTS[kind]
    for shape, content in whole(pack, plain, packing):
        path.write_bytes(content)
        found = staged(job_over(path), tmp_path / "state" / shape)
        assert (found.rows, found.records) == (ROWS, [*range(1, COUNT + 1)]), shape
        assert [column.name for column in inspect(job_over(path)).columns][:2] == ["id", "text"]
    for shape, content in damaged(pack, plain):
        path.write_bytes(content)
        assert path.name in refused_alike(job_over(path), tmp_path / "none"), shape


@pytest.mark.parametrize("in_place", [True, False])
def test_parquet_whole_or_none(tmp_path: Path, *, in_place: bool) -> None:
    """Parquet, which has no outer packing: cut, or followed by anything, it is refused at the first look."""
    path = tmp_path / "rows[1].parquet"
    decoy = tmp_path / "rows1.parquet"
    pq.write_table(pa.table({"id": [1]}), decoy)
    job = job_over(path, where=None if in_place else "true")
    path.write_bytes(parquet())
    found = staged(job, tmp_path / "state")
    assert found.snapshot.in_place == in_place
    assert (found.rows, found.records) == (ROWS, [*range(1, COUNT + 1)])
    for shape, content in damaged(bytes, parquet()):
        path.write_bytes(content)
        assert path.name in refused_alike(job, tmp_path / "none"), shape


@pytest.mark.parametrize("kind", ["csv", "ndjson", "parquet"])
def test_numbers_begin_anew_in_every_file(tmp_path: Path, kind: str) -> None:
    """Many files of one source: rows in order of the names, each with its file's own numbers."""
    content = {**TEXTS, "parquet": parquet()}[kind]
    for index in range(40):
        packed = kind != "parquet" and index % 2
        name = f"part-{index:02}.{kind}" + (".gz" if packed else "")
        (tmp_path / name).write_bytes(gzip.compress(content) if packed else content)
    found = staged(job_over(tmp_path / "part-*", sql=("1",)), tmp_path / "state")
    assert found.column("id") == [one for one, _ in ROWS] * 40
    assert found.records == [*range(1, COUNT + 1)] * 40
    assert [Path(name).name[:7] for name in found.files[::COUNT]] == [f"part-{index:02}" for index in range(40)]


@pytest.mark.parametrize("verb", ["check", "preview", "dry-run", "run"])
def test_every_verb_says_the_same(tmp_path: Path, verb: str) -> None:
    """Exit code 9 and the file's name, whichever verb meets it."""
    plain = Project(tmp_path).rows(20, name="good").read_bytes()
    for packing, pack in PACK.items():
        (tmp_path / f"cut.csv.{packing}").write_bytes(pack(plain)[:-5])
        job = tmp_path / "people.yaml"
        job.write_text(JOB.format(name="people", source=f"cut.csv.{packing}"), encoding="utf-8")
        result = backfill(verb, job, *(["--target", "sandbox"] if verb == "run" else []))
        assert result.code == 9, result.err
        assert f"cut.csv.{packing}" in result.err
