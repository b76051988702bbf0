"""Every format is read from every origin: a file, compressed, in an archive, from the standard input, out of a bucket.

What the contract says of a format alone is said in test_contract; here, that where the bytes come from changes nothing:
the same rows with the same numbers, and that what is cut or damaged on the way is an error and never other rows.
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cramjam
import pytest
import zstandard

from backfill.buckets import asking
from backfill.errors import SourceError
from backfill.job.models import Job
from backfill.sources import resolve
from backfill.sources.origins import objects
from tests.sources.test_contract import KINDS, Csv, Ndjson, Parquet
from tests.support.buckets import Fault, Store, credentials, served
from tests.support.contracts.sources import NASTY, Row
from tests.support.sourcing import Staged, staged

ROWS: list[Row] = [(f"{index:05}", text) for index, text in enumerate(NASTY * 4)]
TENTHS = range(10)


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    """A bucket, to which the environment leads."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setattr(asking, "PATIENCE", (0.01, 0.01))
    monkeypatch.setattr(objects, "CHUNK_BYTES", 64)  # so that what came before a cut is kept, of small objects too
    with served() as one:
        for name, value in credentials(one).items():
            monkeypatch.setenv(name, value)
        yield one


def zipped(data: bytes) -> bytes:
    """An archive of one file, whose name says nothing of its format: the job does."""
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("rows", data)
    return held.getvalue()


#: How a whole file is packed: what is added to its name, and the packing, which all have checksums.
PACKED: dict[str, tuple[str, Callable[[bytes], bytes]]] = {
    "gzip": (".gz", lambda data: gzip.compress(data, 1)),
    "members": (".gz", lambda data: gzip.compress(data[:999], 1) + gzip.compress(data[999:], 1)),
    "zstd": (".zst", zstandard.ZstdCompressor(level=1, write_checksum=True).compress),
    "bzip2": (".bz2", lambda data: bz2.compress(data, 1)),
    "xz": (".xz", lambda data: lzma.compress(data, preset=0)),
    "lz4": (".lz4", lambda data: bytes(cramjam.lz4.compress(data))),
}


def written(kind: type, folder: Path) -> tuple[bytes, Job]:
    """The plain bytes of the rows in that format, and a job over the file; `.gz` and the like taken off."""
    source: Any = kind()
    folder.mkdir()
    source.write(folder, ROWS)
    data = (folder / source.name).read_bytes()
    job: Job = source.job(folder)
    for suffix, unpack in ((".gz", gzip.decompress), (".xz", lzma.decompress), (".zst", zstandard.decompress)):
        if source.name.endswith(suffix):
            return unpack(data), over(job, folder / source.name.removesuffix(suffix))
    return data, job


def over(job: Job, path: Path | str, **source: Any) -> Job:
    """The job over another path."""
    return job.model_copy(update={"source": job.source.model_copy(update={"path": (str(path),), **source})})


def name_of(kind: type) -> str:
    """The format's name, which the standard input has to be told."""
    from backfill.sources.formats import format_of

    job: Job = kind().job(Path("/"))
    return format_of(job, job.source.path[0]).name


def is_exact(found: Staged) -> bool:
    """The rows are those that were written, with their numbers, none of them unreadable."""
    return found.rows == ROWS and found.records == list(range(1, len(ROWS) + 1)) and not found.snapshot.unreadable


#: Formats of files; those that compress their own pages are not packed as a whole.
FILES = [kind for kind in KINDS if kind().job(Path("/")).source.database is None]
WHOLE = [kind for kind in FILES if not issubclass(kind, Parquet)]
PAIRS = [(kind, packing) for kind in WHOLE for packing in PACKED if packing == "gzip" or kind in (Csv, Ndjson)]


@pytest.mark.parametrize(("kind", "packing"), PAIRS)
def test_packed(tmp_path: Path, kind: type, packing: str) -> None:
    """A compressed stream, and the one member of an archive."""
    data, job = written(kind, tmp_path / "data")
    suffix, pack = PACKED[packing]
    path = Path(f"{job.source.path[0]}{suffix}")
    path.write_bytes(pack(data))
    assert is_exact(staged(over(job, path, format=name_of(kind)), tmp_path / "state"))


@pytest.mark.parametrize("kind", FILES)
def test_member(tmp_path: Path, kind: type) -> None:
    """A file of an archive; those that are read by seeking are copied first."""
    data, job = written(kind, tmp_path / "data")
    path = tmp_path / "rows.zip"
    path.write_bytes(zipped(data))
    assert is_exact(staged(over(job, path, format=name_of(kind)), tmp_path / "state"))


@pytest.mark.parametrize("kind", FILES)
def test_standard_input(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: type) -> None:
    """What another program writes."""
    data, job = written(kind, tmp_path / "data")
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))
    job = over(job, "-", format=name_of(kind))
    files = resolve(job, folder=tmp_path / "intake")
    assert is_exact(staged(job, tmp_path / "state", files=files))


@pytest.mark.parametrize("kind", FILES)
def test_object(store: Store, tmp_path: Path, kind: type) -> None:
    """An object of a bucket, whose body is cut at every tenth on the way and taken up there."""
    data, job = written(kind, tmp_path / "data")
    name = Path(job.source.path[0]).name
    store.objects[f"a/{name}"] = data
    cuts = [Fault(cut=max(len(data) // 10, 1)) for _ in TENTHS]
    store.script = lambda asked: cuts.pop() if cuts and asked.method == "GET" and asked.key else None
    assert is_exact(staged(over(job, f"s3://shop/a/{name}"), tmp_path / "state"))


@pytest.mark.parametrize("kind", FILES)
def test_compressed_object(store: Store, tmp_path: Path, kind: type) -> None:
    """An object that is compressed, or compresses its own pages; found by a pattern."""
    data, job = written(kind, tmp_path / "data")
    packed = kind in WHOLE
    name = Path(job.source.path[0]).name + (".gz" if packed else "")
    store.objects[f"a/{name}"] = gzip.compress(data, 1) if packed else data
    assert is_exact(staged(over(job, f"s3://shop/**/{name[:4]}*", format=name_of(kind)), tmp_path / "state"))


@pytest.mark.parametrize("origin", ["file", "bucket"])
@pytest.mark.parametrize("packing", [name for name in PACKED if name != "members"])
def test_cut_and_damaged(store: Store, tmp_path: Path, packing: str, origin: str) -> None:
    """Cut or changed at every tenth, a packed file is an error; a change that means nothing gives the very rows."""
    plain, job = written(Csv, tmp_path / "data")
    suffix, pack = PACKED[packing]
    data = pack(plain)
    path = tmp_path / f"rows.csv{suffix}"
    job = over(job, path if origin == "file" else f"s3://shop/rows.csv{suffix}", format="csv")
    for tenth in TENTHS:
        place = len(data) * tenth // 10
        changed = data[:place] + bytes([data[place] ^ 0x55]) + data[place + 1 :]
        for number, body in enumerate((data[:place], changed)):
            path.write_bytes(body)
            store.objects[path.name] = body
            try:
                found = staged(job, tmp_path / f"state-{tenth}-{number}")
            except SourceError:
                continue
            assert number == 1, f"cut at {place} of {len(data)}"
            assert is_exact(found), f"changed at {place} of {len(data)}"


@pytest.mark.parametrize("kind", [kind for kind in FILES if issubclass(kind, Parquet)])
def test_cut_pages(store: Store, tmp_path: Path, kind: type) -> None:
    """A format with a footer, a mark at its end or blocks says that it is cut, wherever it lies."""
    data, job = written(kind, tmp_path / "data")
    name = Path(job.source.path[0]).name
    for tenth in TENTHS:
        store.objects[name] = data[: len(data) * tenth // 10]
        with pytest.raises(SourceError):
            staged(over(job, f"s3://shop/{name}"), tmp_path / f"state-{tenth}")
