"""Zip and tar: members are files of their own, by name, in order; what is cut, corrupt or cannot be read is refused."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import sys
import tarfile
import zipfile
from collections.abc import Callable
from contextlib import suppress
from hashlib import sha256
from pathlib import Path

import cramjam
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from backfill.disk import TEMPORARY_FOLDERS
from backfill.errors import BackfillError, JobError, SourceError
from backfill.pipeline.disk_forecast import forecast
from backfill.sources import inspect, locate, resolve, stage, unchanged
from backfill.sources.origins.archives import container
from backfill.sources.origins.content import origin_of, plain_pieces
from tests.support.examples import examples
from tests.support.projects import JOB, Project
from tests.support.projects import backfill as run_program
from tests.support.sourcing import job_over, staged

MAY = b"id,text\n1,one\n2,two\n"
JUNE = b"id,text\n3,three\n"
FILES = {"2024/b.csv": JUNE, "2024/a.csv": MAY, "README.md": b"# no data\n"}


def zip_of(files: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED, *, streamed: bool = False) -> bytes:
    """A zip; `streamed` as a program writes it that cannot seek, sizes behind the data."""
    target: io.BytesIO = Unseekable() if streamed else io.BytesIO()
    with zipfile.ZipFile(target, "w", method) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return target.getvalue()


class Unseekable(io.BytesIO):
    """A pipe."""

    def seekable(self) -> bool:
        """Not so."""
        return False

    def tell(self) -> int:
        """Nor this."""
        raise io.UnsupportedOperation

    def seek(self, offset: int, whence: int = 0, /) -> int:
        """Nor this."""
        raise io.UnsupportedOperation


def tar_of(files: dict[str, bytes], form: int = tarfile.PAX_FORMAT, *others: tarfile.TarInfo) -> bytes:
    """A tar, with a folder's entry before each file."""
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w", format=form) as archive:
        for name, content in files.items():
            folder = tarfile.TarInfo(name.rpartition("/")[0] or ".")
            folder.type = tarfile.DIRTYPE
            archive.addfile(folder)
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
        for other in others:
            archive.addfile(other)
    return target.getvalue()


def refused(path: Path, of: type[BackfillError] = SourceError, **source: object) -> BackfillError:
    """What a look and a run say, which is the same."""
    said: list[BackfillError] = []
    state = next(above for above in path.parents if above.is_dir()) / "state"
    for look in (inspect, lambda job: stage(job, state)):
        with pytest.raises(of) as caught:
            look(job_over(path, **source))
        said.append(caught.value)
    assert said[0].message == said[1].message
    return said[0]


SHAPES: dict[str, tuple[str, Callable[[dict[str, bytes]], bytes]]] = {
    "deflated": ("zip", zip_of),
    "stored": ("zip", lambda files: zip_of(files, zipfile.ZIP_STORED)),
    "bzip2": ("zip", lambda files: zip_of(files, zipfile.ZIP_BZIP2)),
    "lzma": ("zip", lambda files: zip_of(files, zipfile.ZIP_LZMA)),
    "data descriptors": ("zip", lambda files: zip_of(files, streamed=True)),
    "without a name that says so": ("export", zip_of),
    "pax": ("tar", tar_of),
    "gnu": ("tar", lambda files: tar_of(files, tarfile.GNU_FORMAT)),
    "ustar": ("tar", lambda files: tar_of(files, tarfile.USTAR_FORMAT)),
    "tar.gz": ("tar.gz", lambda files: gzip.compress(tar_of(files))),
    "tgz": ("tgz", lambda files: gzip.compress(tar_of(files))),
    "tar.bz2": ("tar.bz2", lambda files: bz2.compress(tar_of(files))),
    "tar.xz": ("tar.xz", lambda files: lzma.compress(tar_of(files))),
    "tar.zst": ("tar.zst", lambda files: zstandard.compress(tar_of(files))),
    "tar.lz4": ("tar.lz4", lambda files: bytes(cramjam.lz4.compress(tar_of(files)))),
    "tar without a name": ("dat", lambda files: gzip.compress(tar_of(files))),
}


@pytest.mark.parametrize("shape", SHAPES)
def test_members_are_files_of_their_own(tmp_path: Path, shape: str) -> None:
    """In order of their names, each with its own numbers, name and key; alike in every kind of archive."""
    suffix, pack = SHAPES[shape]
    path = tmp_path / f"export.{suffix}"
    path.write_bytes(pack(FILES))
    job = job_over(path, members=("*.csv",))
    found = staged(job, tmp_path / "state")
    assert found.rows == [("1", "one"), ("2", "two"), ("3", "three")]
    assert found.records == [1, 2, 1]
    assert list(map(os.path.abspath, found.files)) == [f"{path}/2024/a.csv"] * 2 + [f"{path}/2024/b.csv"]
    files = resolve(job)
    assert [(file.key, file.bytes) for file in files] == [
        (f"export.{suffix}/2024/a.csv", len(MAY)),
        (f"export.{suffix}/2024/b.csv", len(JUNE)),
    ]
    assert [file.sha256 for file in resolve(job, trusted=files)] == [file.sha256 for file in files]
    assert [column.name for column in inspect(job).columns][:2] == ["id", "text"]
    assert all(map(unchanged, files))
    path.write_bytes(pack(FILES | {"2024/a.csv": JUNE}))
    assert not any(map(unchanged, files))


@pytest.mark.parametrize("kind", ["zip", "tar", "tar.gz", "tar.zst"])
def test_cut_and_corrupt(tmp_path: Path, kind: str) -> None:
    """Cut anywhere or followed by anything: exit 9, at the first look. Zip: whatever byte is flipped."""
    path = tmp_path / f"export.{kind}"
    whole = {"zip": zip_of, "tar": tar_of, "tar.gz": SHAPES["tgz"][1], "tar.zst": SHAPES["tar.zst"][1]}[kind](FILES)
    path.write_bytes(whole)
    digests = [file.sha256 for file in resolve(job_over(path, members=("*.csv",)))]
    end = len(whole) if kind != "tar" else len(whole.rstrip(b"\0")) + 400
    for length in [*range(1, end, max(end // 40, 1)), end - 1]:
        path.write_bytes(whole[: min(length, end - 1)])
        assert path.name in refused(path, members=("*.csv",)).message, length
    for tail in (b"x", b"PK\x05\x06", whole):
        path.write_bytes(whole + tail)
        assert path.name in refused(path, members=("*.csv",)).message
    for place in range(0, len(whole) if kind == "zip" else 0, 5):
        flipped = bytearray(whole)
        flipped[place] ^= 0x08
        path.write_bytes(bytes(flipped))
        with suppress(SourceError):
            assert {file.sha256 for file in resolve(job_over(path, members=("*",)))} >= set(digests)


@pytest.mark.parametrize("shape", ["deflated", "pax", "gnu", "tgz"])
def test_long_names(tmp_path: Path, shape: str) -> None:
    """Beyond the hundred bytes that tar's header has for a name, and of any script."""
    suffix, pack = SHAPES[shape]
    names = [f"{'folder/' * 20}{'名' * 40}.csv", f"{'n' * 180}.csv"]
    (tmp_path / f"e.{suffix}").write_bytes(pack(dict.fromkeys(names, MAY)))
    found = locate(job_over(tmp_path / f"e.{suffix}", members=("*.csv",)))
    assert [file.key.removeprefix(f"e.{suffix}/") for file in found] == names


PATTERNS = {
    ("*.csv",): ["a.csv", "x/b.csv", "x/y/c.csv"],
    ("x/*.csv",): ["x/b.csv"],
    ("x/**",): ["x/b.csv", "x/y/c.csv"],
    ("**/y/*",): ["x/y/c.csv"],
    ("**",): ["a.csv", "q[1].tsv", "x/b.csv", "x/y/c.csv"],
    ("a.csv", "x/y/*"): ["a.csv", "x/y/c.csv"],
    ("q[1].tsv",): ["q[1].tsv"],
    (".h/*",): [".h/d.csv"],
}


@pytest.mark.parametrize("patterns", PATTERNS)
def test_patterns(tmp_path: Path, patterns: tuple[str, ...]) -> None:
    """A pattern without a slash is for the name, with one for the path; what macOS adds is no member."""
    names = ["a.csv", "x/b.csv", "x/y/c.csv", "q[1].tsv", ".h/d.csv", "__MACOSX/a.csv", "x/._b.csv", "__MACOSX/._a.csv"]
    path = tmp_path / "e.zip"
    path.write_bytes(zip_of({"x/": b"", **dict.fromkeys(names, MAY)}))
    found = [file.key.removeprefix("e.zip/") for file in locate(job_over(path, members=patterns))]
    assert found == PATTERNS[patterns]


def test_the_one_data_file(tmp_path: Path) -> None:
    """Without `members`: taken where only one can be meant, else asked for with what there is."""
    path = tmp_path / "e.zip"
    for files, source in (
        ({"rows.csv": MAY, "README.md": b"x", "__MACOSX/._rows.csv": b"x"}, {}),
        ({"rows.csv.gz": gzip.compress(MAY)}, {}),
        ({"rows.csv": MAY, "rows.ndjson": b"{}"}, {"format": "csv"}),
        ({"rows.dat": MAY}, {"format": "csv"}),
    ):
        path.write_bytes(zip_of(files))
        assert staged(job_over(path, **source), tmp_path / "state").rows == [("1", "one"), ("2", "two")]
    path.write_bytes(zip_of(FILES))
    error = refused(path, of=JobError)
    assert "several may be meant" in error.message
    assert 'members: "*.csv"' in error.hint
    assert "2024/a.csv, 2024/b.csv" in error.hint
    path.write_bytes(zip_of({"README.md": b"x"}))
    assert "none may be meant" in refused(path, of=JobError).message


def test_what_matches_nothing(tmp_path: Path) -> None:
    """The error lists some of what there is; a file that is no archive has no members."""
    path = tmp_path / "e.zip"
    path.write_bytes(zip_of({f"{number}.csv": MAY for number in range(9)}))
    error = refused(path, members=("*.json",))
    assert "no member of" in error.message
    assert "0.csv, 1.csv, 2.csv, 3.csv, 4.csv and 4 more" in error.hint
    (tmp_path / "e.csv").write_bytes(MAY)
    assert "neither a zip nor a tar" in refused(tmp_path / "e.csv", members=("*",)).message


def test_several_archives_of_packed_members(tmp_path: Path) -> None:
    """As Amplitude exports: a zip for each day, gzipped JSON for each hour in it; also from the standard input."""
    for day in (2, 1):
        files = {f"7/7_2024-01-0{day}_{hour}#0.json.gz": gzip.compress(b'{"h":%d}\n' % hour) for hour in (1, 0)}
        (tmp_path / f"0{day}.zip").write_bytes(zip_of(files, zipfile.ZIP_STORED))
    found = staged(job_over(tmp_path / "*.zip", members=("*.json.gz",)), tmp_path / "state")
    assert found.column("h") == ["0", "1", "0", "1"]
    assert [Path(name).name for name in found.files] == [
        f"7_2024-01-0{day}_{hour}#0.json.gz" for day in (1, 2) for hour in (0, 1)
    ]


def test_a_member_by_its_path(tmp_path: Path) -> None:
    """A path may go on into an archive, also that of a further input; where nothing is, what there is gets listed."""
    path = tmp_path / "e.zip"
    path.write_bytes(zip_of(FILES))
    query = "SELECT source.id, more.text FROM source JOIN more ON more.id = source.id || ''"
    job = job_over(path / "2024/a.csv", query=query, files={"more": str(path / "2024/a.csv")})
    assert sorted(staged(job, tmp_path / "state").rows) == [("1", "one"), ("2", "two")]
    error = refused(path / "2024/c.csv")
    assert "e.zip/2024/c.csv does not exist" in error.message
    assert "2024/a.csv, 2024/b.csv" in error.hint
    (tmp_path / "plain.csv").write_bytes(MAY)
    assert "plain.csv is neither a zip" in refused(tmp_path / "plain.csv" / "x.csv").hint
    path.write_bytes(zip_of(FILES)[:-30])
    assert "truncated or corrupt" in refused(path / "2024/a.csv").message


def test_standard_input(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An archive may come by a pipe."""
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(zip_of(FILES))))
    found = staged(job_over("-", members=("*.csv",)), tmp_path / "state")
    assert found.column("id") == ["1", "2", "3"]
    assert found.files[0] == "-/2024/a.csv"


@pytest.mark.parametrize("suffix", ["zip", "tgz"])
def test_formats_that_seek(tmp_path: Path, suffix: str) -> None:
    """A member is copied to the folder of the run; it is not read in place, as the copy does not stay."""
    target = io.BytesIO()
    pq.write_table(pa.table({"id": [1, 2], "text": ["one", "two"]}), target)
    path = tmp_path / f"e.{suffix}"
    path.write_bytes(SHAPES["deflated" if suffix == "zip" else "tgz"][1]({"y=7/rows.parquet": target.getvalue()}))
    found = staged(job_over(path), tmp_path / "state")
    assert not found.snapshot.in_place
    assert found.rows == [(1, "one", "7"), (2, "two", "7")]
    assert not list(tmp_path.rglob("backfill-unpacked-*"))
    assert [column.name for column in inspect(job_over(path)).columns][:3] == ["id", "text", "y"]


@pytest.mark.parametrize("verb", ["preview", "run"])
def test_nothing_stays_of_what_was_unpacked(tmp_path: Path, verb: str) -> None:
    """Neither a command's own, after an error or not, nor what a killed one left; what another has stays."""
    project = Project(tmp_path, {"TMPDIR": str(tmp_path / "temporary")})
    (tmp_path / "temporary").mkdir()
    killed = tmp_path / "temporary" / "backfill-unpacked-killed"
    killed.mkdir()
    (killed / "lock").touch()
    used = TEMPORARY_FOLDERS.make(tmp_path / "temporary")
    job = tmp_path / "job.yaml"
    job.write_text(JOB.format(name="packed", source="people.tgz"))
    people = b"id,email,joined,age\nu1,a@example.org,2023-05-01 10:00:00,7\n"
    packed = gzip.compress(tar_of({"people.csv": people}))
    for content, code in ((packed, 0), (packed[:-9], 9)):
        (tmp_path / "people.tgz").write_bytes(content)
        process = project.process(verb, job, "--target", "sandbox")
        out, err = process.communicate(timeout=60)
        assert process.returncode == code, out + err
        assert list(tmp_path.rglob("backfill-unpacked-*")) == [used]
    TEMPORARY_FOLDERS.remove()


def link(name: str, kind: bytes) -> tarfile.TarInfo:
    """A link or device in a tar."""
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, "2024/a.csv"
    return info


def patched(archive: bytes, method: int = 8, flags: int = 0) -> bytes:
    """A zip of one member whose headers say another method or flags."""
    data = bytearray(archive)
    directory = archive.index(b"PK\x01\x02")
    for flag_at, method_at in ((6, 8), (directory + 8, directory + 10)):
        data[flag_at] |= flags
        data[method_at] = method
    return bytes(data)


def linked_zip() -> bytes:
    """A zip with a link, as `zip -y` keeps it: its bytes are the name of another file."""
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        info = zipfile.ZipInfo("z.csv")
        info.create_system, info.external_attr = 3, 0o120777 << 16
        archive.writestr(info, "a.csv")
    return target.getvalue()


REFUSED = {
    "link in a zip": (linked_zip(), "z.csv is a link"),
    "encrypted": (patched(zip_of({"a.csv": MAY}), flags=1), "is encrypted"),
    "deflate64": (patched(zip_of({"a.csv": MAY}), method=9), "is compressed by deflate64"),
    "zstd": (patched(zip_of({"a.csv": MAY}), method=93), "is compressed by zstd"),
    "symbolic link": (
        tar_of(FILES, tarfile.PAX_FORMAT, link("z.csv", tarfile.SYMTYPE)),
        "z.csv is a link to 2024/a.csv",
    ),
    "hard link": (tar_of(FILES, tarfile.PAX_FORMAT, link("z.csv", tarfile.LNKTYPE)), "z.csv is a link to 2024/a.csv"),
    "device": (tar_of(FILES, tarfile.PAX_FORMAT, link("z.csv", tarfile.FIFOTYPE)), "z.csv is no file"),
    "twice": (tar_of({"a.csv": MAY, "./a.csv": JUNE}), "a.csv is there twice"),
    "outside": (zip_of({"../a.csv": MAY}), "a place outside of the archive"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_members_that_cannot_be_read(tmp_path: Path, kind: str) -> None:
    """Refused by name; a pattern that leaves them out leaves the others readable."""
    content, said = REFUSED[kind]
    path = tmp_path / "e.export"
    path.write_bytes(content)
    assert said in refused(path, members=("*.csv",)).message
    if kind.endswith("link"):
        assert staged(job_over(path, members=("2024/*",)), tmp_path / "kept").column("id") == ["1", "2", "3"]


def test_sparse_files(tmp_path: Path) -> None:
    """GNU tar writes only the parts of a sparse file that hold something: refused, not read as if that were all."""
    info = tarfile.TarInfo("a.csv")
    info.pax_headers = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.realsize": "9"}
    body = b"1\n0\n512\n".ljust(512, b"\0") + MAY.ljust(512, b"\0")
    info.size = len(body)
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w", format=tarfile.PAX_FORMAT) as archive:
        archive.addfile(info, io.BytesIO(body))
    (tmp_path / "e.tar").write_bytes(target.getvalue())
    assert "is a sparse file" in refused(tmp_path / "e.tar", members=("*",)).message


def test_large_sizes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Zip64, as archives beyond 4 GB and of more than 65,535 files have it."""
    monkeypatch.setattr(zipfile, "ZIP64_LIMIT", 10)
    monkeypatch.setattr(zipfile, "ZIP_FILECOUNT_LIMIT", 1)
    content = zip_of(FILES)
    monkeypatch.undo()
    assert b"PK\x06\x06" in content
    (tmp_path / "e.zip").write_bytes(content)
    assert staged(job_over(tmp_path / "e.zip", members=("*.csv",)), tmp_path / "state").column("id") == ["1", "2", "3"]


def test_a_bomb_is_streamed(tmp_path: Path) -> None:
    """A member is handed on in pieces of a megabyte, and forecast by its own size, however few bytes it lies in."""
    (tmp_path / "e.zip").write_bytes(zip_of({"a.csv": bytes(50 << 20)}))
    job = job_over(tmp_path / "e.zip")
    (file,) = locate(job)
    assert file.bytes == 50 << 20
    assert forecast(job, [file]).spool > 30 << 20
    assert max(map(len, plain_pieces(origin_of(file)))) == 1 << 20


def test_a_file_is_no_member(tmp_path: Path) -> None:
    """What exists is itself; what does not exist and lies below no file is missing."""
    (tmp_path / "e.zip").mkdir()
    (tmp_path / "e.zip" / "a.csv").write_bytes(MAY)
    assert staged(job_over(tmp_path / "e.zip"), tmp_path / "state").column("id") == ["1", "2"]
    assert container(f"{tmp_path}/nothing/a.csv") == f"{tmp_path}/nothing/a.csv"
    (tmp_path / "f.zip").write_bytes(zip_of(FILES))
    assert container(f"{tmp_path}/f.zip/2024/a.csv") == f"{tmp_path}/f.zip"


def test_a_run_of_an_archive(tmp_path: Path) -> None:
    """From check to a second run: problems name the member, and nothing is sent twice."""
    rows = Project(tmp_path).rows(3, name="part").read_bytes()
    path = tmp_path / "e.zip"
    path.write_bytes(zip_of({"a.csv": rows, "sub/b.csv": rows.replace(b"\nu", b"\nv") + b"broken\n"}))
    job = tmp_path / "people.yaml"
    job.write_text(JOB.format(name="people", source='e.zip\n  members: "*.csv"'), encoding="utf-8")
    for verb in ("check", "preview", "dry-run"):
        result = run_program(verb, job)
        assert result.code == (0 if verb == "preview" else 3), (verb, result.err)
        assert "e.zip/" in result.err + result.out
    first = run_program("run", job, "--target", "sandbox", "--output", "json")
    assert first.code == 3, first.err
    assert first.object["calls"]["delivered"] == 6
    again = run_program("run", job, "--target", "sandbox", "--output", "json")
    assert again.object["requests"] == 0
    assert run_program("rejects", "--export", path, job).code == 2  # would write over the source


NAMES = ["a.csv", "b.csv", "x/a.csv", "x/y/é.csv", "x/._a.csv", ".h.csv", "_z.csv", "n.txt", f"{'l' * 150}.csv"]
MEMBERS = st.dictionaries(st.sampled_from(NAMES), st.integers(0, 40), min_size=1)


@settings(max_examples=examples(25), deadline=None)
@given(members=MEMBERS, shape=st.sampled_from(sorted(SHAPES)), cut=st.floats(0, 1), flip=st.integers(0, 7))
def test_made_up_archives(
    tmp_path_factory: pytest.TempPathFactory, members: dict[str, int], shape: str, cut: float, flip: int
) -> None:
    """The members that another program would take, in byte order, with all of their rows; or, cut, an error."""
    folder = tmp_path_factory.mktemp("made")
    suffix, pack = SHAPES[shape]
    path = folder / f"e.{suffix}"
    members = {name: rows for name, rows in members.items() if shape != "ustar" or len(name) < 100} or {"a.csv": 1}
    files = {name: b"id\n" + b"".join(b"%d\n" % row for row in range(rows)) for name, rows in members.items()}
    whole = pack(files)
    path.write_bytes(whole)
    wanted = sorted((name for name in files if name.endswith(".csv") and Path(name).name[0] != "."), key=os.fsencode)
    job = job_over(path, members=("*.csv",))
    if wanted:
        found = resolve(job)
        assert [(file.key.removeprefix(f"{path.name}/"), file.bytes) for file in found] == [
            (name, len(files[name])) for name in wanted
        ]
        assert [b"".join(plain_pieces(origin_of(file))) for file in found] == [files[name] for name in wanted]
    damaged = bytearray(whole[: int(len(whole) * cut)])
    if flip and damaged:
        damaged[len(damaged) * flip // 8] ^= 1 << flip
    path.write_bytes(bytes(damaged))
    sound = {sha256(content).hexdigest() for content in files.values()}
    with suppress(SourceError):
        found = resolve(job)
        if suffix != "tar":  # whose bytes have no checksum
            assert {file.sha256 for file in found} <= sound
