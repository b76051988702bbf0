"""Where bytes come from: names, patterns, kinds of file, packings; what is not read is refused by its name."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
import os
import re
import socket
import struct
import subprocess
import sys
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path

import cramjam
import polars as pl
import pytest
import zstandard

import backfill as package
from backfill.errors import BackfillError, InterruptedRunError, JobError, SourceError, UsageError
from backfill.sources import inspect, locate, resolve, stage, while_unchanged
from backfill.sources.origins.compression import PIECE
from backfill.sources.origins.content import LocalFile, plain_pieces
from backfill.sources.origins.framed import SNAPPY_MAGIC
from tests.support.projects import JOB, Project
from tests.support.projects import backfill as run_program
from tests.support.sourcing import job_over, staged

ROWS = b"x\n1\n"


def keys(*written: Path | str) -> list[str]:
    """The keys of the files that a path stands for; both looks agree."""
    job = job_over(*written)
    found = [file.key for file in locate(job)]
    assert found == [file.key for file in resolve(job)]
    return found


def refusal(*written: Path | str, of: type[BackfillError] = SourceError, **source: object) -> BackfillError:
    """What both looks at a source say."""
    said = []
    for look in (locate, resolve):
        with pytest.raises(of) as caught:
            look(job_over(*written, **source))
        said.append(caught.value)
    assert said[0].message == said[1].message
    return said[0]


def made(folder: Path, *names: str) -> None:
    """Files of those names, the name in each."""
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(f"x\n{name}\n", encoding="utf-8")


# ------------------------------------------------------------------------------------------------------- patterns


STEMS = ("a[1]", "a1", "a*", "ab", "{a,b}", "a?", "[ab]", "b'", 'c"', "~", "%41", "a;b", "a b", "é", "-")


def test_every_name_is_itself(tmp_path: Path) -> None:
    """Names are expanded once, by us: no engine reads a file for another, or twice."""
    for stem in STEMS:
        (tmp_path / f"{stem}.ndjson").write_text(json.dumps({"x": stem}), encoding="utf-8")
    found = staged(job_over(tmp_path / "*.ndjson"), tmp_path / ".state")
    assert sorted(found.column("x")) == sorted(STEMS)
    assert [Path(name).stem for name in found.files] == found.column("x")
    for stem in STEMS:
        assert [Path(file.path).stem for file in locate(job_over(tmp_path / f"{stem}.ndjson"))] == [stem]


@pytest.mark.parametrize(
    ("pattern", "matched"),
    [
        ("a[1].csv", ["a[1].csv"]),
        ("d[[]1]/*.csv", ["d[1]/x.csv"]),
        ("d[1]/*.csv", ["x.csv"]),
        ("d1/*.csv", ["x.csv"]),
        ("?[1]*/x.csv", ["d1/x.csv", "d1.5/x.csv"]),
        ("**/x.csv", ["d1.5/x.csv", "d1/x.csv", "d[1]/x.csv", "e/f/x.csv"]),
        ("e/**", ["f/x.csv", "g.csv"]),
        ("e/**/*.csv", ["f/x.csv", "g.csv"]),
        ("**.csv", ["a1.csv", "a[1].csv"]),
        ("**/f/**/x.csv", ["e/f/x.csv"]),
        ("e/../a?.csv", ["a1.csv"]),
    ],
)
def test_patterns(tmp_path: Path, pattern: str, matched: list[str]) -> None:
    """What exists is itself, also as the beginning of a pattern; the rest is matched name by name."""
    root = tmp_path / "[z]"  # how the folders above are called is no matter
    made(
        root,
        "a[1].csv",
        "a1.csv",
        "d[1]/x.csv",
        "d1/x.csv",
        "d1.5/x.csv",
        "e/f/x.csv",
        "e/g.csv",
        ".hid/x.csv",
        "._a1.csv",
    )
    job = job_over(pattern).model_copy(update={"path": str(root / "job.yaml")})
    assert [file.key for file in locate(job)] == sorted(matched)


def test_a_folder_leaves_out_what_is_hidden(tmp_path: Path) -> None:
    """Hidden and underscored folders are other programs' own, our state directory too; partitions are not."""
    made(tmp_path, ".backfill/a.csv", "_temporary/a.csv", "_y=1/a.csv", "b/.c/a.csv", "b/_SUCCESS", "b/d.csv")
    assert keys(tmp_path) == ["_y=1/a.csv", "b/d.csv"]


def test_links_to_folders(tmp_path: Path) -> None:
    """A linked folder is read as part of the source, each folder once, and one above it not at all."""
    made(tmp_path, "data/2024/a.csv", "elsewhere/b.csv")
    data = tmp_path / "data"
    for name, target in (("2023", "2024"), ("linked", "../elsewhere"), ("again", "../elsewhere"), ("2024/up", "../..")):
        (data / name).symlink_to(target)
    assert keys(data) == ["2024/a.csv", "again/b.csv"]
    assert keys(data / "**" / "*.csv") == ["2024/a.csv", "again/b.csv"]
    assert keys(data / "linked") == ["b.csv"]
    with pytest.raises(SourceError, match=r"2023/a\.csv and .*2024/a\.csv are one file, by a link"):
        keys(data / "2*" / "a.csv")


def dangling(path: Path) -> None:
    """A link to nothing."""
    path.symlink_to("nothing")


def bound(path: Path) -> None:
    """A socket; its name is short, as the system wants it."""
    here = Path.cwd()
    os.chdir(path.parent)
    try:
        with socket.socket(socket.AF_UNIX) as listening:
            listening.bind(path.name)
    finally:
        os.chdir(here)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (dangling, "b.csv is a link that leads nowhere"),
        (os.mkfifo, "b.csv is a pipe"),
        (bound, "b.csv is a socket"),
        (lambda path: path.symlink_to("/dev/zero"), "b.csv is a device"),
        (lambda path: path.symlink_to(path.name), "b.csv"),
    ],
    ids=["dangling", "pipe", "socket", "device", "circle"],
)
@pytest.mark.parametrize("written", ["*.csv", "**/*.csv", "", "b.csv"])
def test_what_is_no_file(tmp_path: Path, make: Callable[[Path], None], said: str, written: str) -> None:
    """Met by a pattern, in a folder or named: refused by its name, and neither skipped nor waited for."""
    made(tmp_path, "a.csv")
    make(tmp_path / "b.csv")
    assert said in refusal(tmp_path / written).message


def test_folders_where_files_are_meant(tmp_path: Path) -> None:
    """As Spark writes them: not passed over."""
    made(tmp_path, "a.csv", "out.csv/part-0.csv", "_b.csv/part-0.csv")
    error = refusal(tmp_path / "*.csv")
    assert "out.csv is a folder" in error.message
    assert "out.csv/*" in error.hint
    assert keys(tmp_path / "**" / "*.csv") == ["_b.csv/part-0.csv", "a.csv", "out.csv/part-0.csv"]
    assert keys(tmp_path / "*.csv" / "*.csv") == ["_b.csv/part-0.csv", "out.csv/part-0.csv"]


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that other users reach: pytest's own are shut."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


@pytest.mark.parametrize(
    ("mode", "written", "said"),
    [
        (0o000, "", "shut cannot be read"),
        (0o000, "**/*.csv", "shut cannot be read"),
        (0o000, "*/b.csv", "b.csv cannot be read"),
        (0o000, "*/?.csv", "shut cannot be read"),
        (0o000, "shut/b.csv", "b.csv cannot be read"),
        (0o755, "shut/c.csv", "c.csv cannot be read"),
        (0o755, "shut/*.csv", "c.csv cannot be read"),
    ],
)
def test_what_may_not_be_read(open_folder: Path, repository: Path, mode: int, written: str, said: str) -> None:
    """Refused by its name, whatever finds it."""
    made(open_folder, "a.csv", "shut/b.csv", "shut/c.csv")
    (open_folder / "shut" / "c.csv").chmod(0)
    (open_folder / "shut").chmod(mode)
    try:
        assert said in unprivileged(repository, open_folder / written)
    finally:
        (open_folder / "shut").chmod(0o700)


LOOK = """
import os, sys
from backfill.errors import SourceError
from backfill.sources import inspect
from tests.support.sourcing import job_over
if os.getuid() == 0:
    os.setuid(65534)
try:
    inspect(job_over(sys.argv[1]))
except SourceError as error:
    print(error.message, error.hint, sep=" | ")
"""


def unprivileged(repository: Path, written: Path) -> str:
    """What a user who is not root is told of a source."""
    environ = os.environ | {"PYTHONPATH": str(repository), "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-c", LOOK, str(written)]
    ended = subprocess.run(command, cwd=repository, env=environ, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


def test_names_that_are_not_utf8(tmp_path: Path) -> None:
    """Neither a ledger nor a message id can hold such a name: refused by it."""
    path = os.fsencode(tmp_path) + b"/caf\xe9.csv"
    try:
        Path(os.fsdecode(path)).write_bytes(ROWS)
    except OSError:
        pytest.skip("this file system takes no such name")
    assert r"caf\xe9.csv" in refusal(tmp_path / "*.csv").message
    assert refusal(tmp_path).message.endswith("the name is not UTF-8")


def test_homes_and_further_inputs(tmp_path: Path) -> None:
    """A home that is not there is a fault of the job; a further input is judged as the source is."""
    with pytest.raises(JobError, match="no such home"):
        locate(job_over("~nobody-of-that-name/a.csv"))
    made(tmp_path, "a.csv")
    (tmp_path / "users").mkdir()
    further = {"files": {"users": str(tmp_path / "users")}, "query": "SELECT 1"}
    assert "users is a folder" in refusal(tmp_path / "a.csv", **further).message


# --------------------------------------------------------------------------------------------- kinds by their names


@pytest.mark.parametrize(
    ("name", "said", "hint"),
    [
        ("a.xlsb", "is a workbook", "save the sheet as CSV"),
        ("a.XLSB", "is a workbook", "save the sheet as CSV"),
        ("a.zip", "is an archive", "unpack it"),
        ("a.tgz", "is an archive", "unpack it"),
        ("a.sqlite", "is a SQLite database", "`database: sqlite:///"),
        ("a.duckdb", "is a DuckDB database", "COPY"),
        ("job.yaml", "is no table", "CSV, NDJSON or Parquet"),
        ("a.txt", "cannot be told by its name", "`format: csv`"),
        ("a", "cannot be told by its name", "`format: csv`"),
    ],
)
def test_suffixes_that_are_not_read(tmp_path: Path, name: str, said: str, hint: str) -> None:
    """Each is called what it is, with the way on."""
    (tmp_path / name).write_bytes(b"anything")
    with pytest.raises(JobError, match=said) as caught:
        inspect(job_over(tmp_path / name))
    assert name in caught.value.message
    assert hint in caught.value.hint
    assert ("format: csv" in caught.value.hint) == ("cannot be told" in said)


def zipped() -> bytes:
    """A zip archive, as workbooks are too."""
    file = BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("rows.csv", ROWS)
    return file.getvalue()


def tarred() -> bytes:
    """A tar archive."""
    file = BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        member = tarfile.TarInfo("rows.csv")
        member.size = len(ROWS)
        archive.addfile(member, BytesIO(ROWS))
    return file.getvalue()


FOREIGN = {
    "zip": (zipped(), "a zip archive or a workbook, not csv"),
    "tar": (tarred(), "an archive, not csv"),
    "tar.gz": (gzip.compress(tarred()), "an archive, not csv"),
    "zip.gz": (gzip.compress(zipped()), "a zip archive or a workbook, not csv"),
    "gz.gz": (gzip.compress(gzip.compress(ROWS)), "is compressed twice"),
    "xls": (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600), "is Excel, not csv"),
    "7z": (b"7z\xbc\xaf\x27\x1c" + bytes(60), "a 7z archive, not csv"),
    "sqlite": (b"SQLite format 3\0" + bytes(84), "a SQLite database, not csv"),
    "parquet": (b"PAR1\x15\x00\x15", "is Parquet, not csv"),
    "pdf": (b"%PDF-1.7\n", "a PDF, not csv"),
}


@pytest.mark.parametrize("kind", FOREIGN)
@pytest.mark.parametrize("suffix", ["csv", "csv.gz"])
def test_first_bytes_that_are_of_something_else(tmp_path: Path, kind: str, suffix: str) -> None:
    """A name that lies is found out before any byte is taken for text, by every look at the source."""
    content, said = FOREIGN[kind]
    path = tmp_path / f"rows.{suffix}"
    path.write_bytes(content)
    assert said in refusal(path).message
    assert said.removesuffix("csv") in refusal(path, format="ndjson").message


def test_parquet_in_gzip(tmp_path: Path) -> None:
    """Parquet that was packed once more has to be unpacked."""
    (tmp_path / "a.parquet.gz").write_bytes(gzip.compress(b"PAR1"))
    assert "compressed as a whole, by gzip" in refusal(tmp_path / "a.parquet.gz").message


def test_text_that_looks_like_magic(tmp_path: Path) -> None:
    """A header that begins with a format's letters is a header."""
    for index, header in enumerate(("PAR1", "PKs", "BZh91", "7z", "Obj", "ORC")):
        (tmp_path / "a.csv").write_text(f"{header},b\n1,2\n")
        assert staged(job_over(tmp_path / "a.csv"), tmp_path / f"state{index}").rows == [("1", "2")]


# -------------------------------------------------------------------------------------------------------- packings


PACKED: dict[str, Callable[[bytes], bytes]] = {
    "gz": lambda data: gzip.compress(data, 1),
    "zst": zstandard.ZstdCompressor(write_checksum=True).compress,
    "bz2": bz2.compress,
    "xz": lzma.compress,
    "lz4": lambda data: bytes(cramjam.lz4.compress(data)),
    "sz": lambda data: bytes(cramjam.snappy.compress(data)) if data else SNAPPY_MAGIC,
}
LINES = b"".join(b"%d,%d\n" % (index, index * index) for index in range(3_000))
OBJECTS = b"".join(b'{"a":"%d","b":"%d"}\n' % (index, index * index) for index in range(3_000))


@pytest.mark.parametrize("suffix", PACKED)
def test_every_cut_and_every_tail(tmp_path: Path, suffix: str) -> None:
    """The whole bytes, or an error: cut anywhere, followed by anything, flipped anywhere."""
    path = tmp_path / f"rows.csv.{suffix}"
    pack = PACKED[suffix]
    whole = pack(b"a,b\n" + LINES[:50])
    two = whole + pack(LINES[50:100])

    def read(content: bytes) -> bytes:
        path.write_bytes(content)
        resolve(job_over(path))
        return b"".join(plain_pieces(LocalFile(str(path), path.name)))

    assert read(whole) == b"a,b\n" + LINES[:50]
    assert read(two) == b"a,b\n" + LINES[:100]
    assert read(pack(b"") + two + pack(b"")) == b"a,b\n" + LINES[:100]
    between_chunks = (len(SNAPPY_MAGIC), len(whole) + len(SNAPPY_MAGIC)) if suffix == "sz" else ()  # has no end
    for length in range(len(two)):
        if length != len(whole) and length not in between_chunks:
            with pytest.raises(SourceError, match=r"truncated|is empty|holds no"):
                read(two[:length])
    for tail in (b"j", b"junk" * 10, whole[:1], whole[:7], whole[1:], b"\0\0\0\0junk", b"\n"):
        with pytest.raises(SourceError, match="truncated or corrupt"):
            read(whole + tail)
    for place in range(len(whole)):
        flipped = bytearray(whole)
        flipped[place] ^= 0x10
        path.write_bytes(bytes(flipped))
        try:
            resolve(job_over(path))
            assert b"".join(plain_pieces(LocalFile(str(path), path.name))) in (b"a,b\n" + LINES[:50], bytes(flipped))
        except SourceError:
            pass


@pytest.mark.parametrize(("suffix", "said"), [("snappy", "Hadoop"), ("sz", "Hadoop"), ("lz4", "lz4 -d")])
def test_frames_of_other_kinds(tmp_path: Path, suffix: str, said: str) -> None:
    """Hadoop's snappy and LZ4's old frames have the same suffixes: refused, never read as text."""
    (tmp_path / f"rows.csv.{suffix}").write_bytes(b"\0\0\0\x04\0\0\0\x06\x04\x0cx\n1\n")
    assert said in refusal(tmp_path / f"rows.csv.{suffix}").hint


def test_snappy_without_its_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error names the extra that brings it."""
    (tmp_path / "rows.csv").write_bytes(PACKED["sz"](ROWS))
    monkeypatch.setitem(sys.modules, "cramjam", None)
    assert "backfill[lz4]" in refusal(tmp_path / "rows.csv", of=UsageError).hint


@pytest.mark.parametrize("zeros", [1, 4, 511, 70_000, 3 * PIECE])
@pytest.mark.parametrize("suffix", PACKED)
def test_padding(tmp_path: Path, suffix: str, zeros: int) -> None:
    """Zeros behind or between members are no data where the format has padding; else they are damage."""
    path = tmp_path / f"rows.ndjson.{suffix}"
    one, other = PACKED[suffix](OBJECTS[:17]), PACKED[suffix](OBJECTS[17:])
    path.write_bytes(one + bytes(zeros) + other + bytes(zeros))
    if suffix in ("gz", "xz"):
        found = staged(job_over(path), tmp_path / "state")
        assert found.records == list(range(1, 3_001))
        assert found.column("b")[-1] == str(2_999**2)
        assert [column.name for column in inspect(job_over(path)).columns][:2] == ["a", "b"]
    else:
        assert "truncated or corrupt" in refusal_of_all(path)


def refusal_of_all(path: Path) -> str:
    """What check and a run say of a damaged file."""
    said = []
    for look in (inspect, resolve):
        with pytest.raises(SourceError) as caught:
            look(job_over(path))
        said.append(caught.value.message)
    assert said[0] == said[1]
    return said[0]


def test_headers_of_gzip(tmp_path: Path) -> None:
    """All that a header may hold: extra fields, name, comment, checksum of its own."""
    flags = 0x02 | 0x04 | 0x08 | 0x10
    header = b"\x1f\x8b\x08" + bytes((flags,)) + bytes(4) + b"\x00\x03" + struct.pack("<H", 3) + b"abc" + b"name\0why\0"
    header += struct.pack("<H", zlib.crc32(header) & 0xFFFF)
    path = tmp_path / "rows.csv.gz"
    path.write_bytes(header + gzip.compress(ROWS)[10:])
    assert b"".join(plain_pieces(LocalFile(str(path), path.name))) == ROWS


def test_frames_of_zstd(tmp_path: Path) -> None:
    """Frames to be skipped, as pzstd and seekable files have them, are; a window that is too large is called so."""
    path = tmp_path / "rows.ndjson.zst"
    skipped = b"\x50\x2a\x4d\x18" + struct.pack("<I", 4) + b"size"
    frame = zstandard.ZstdCompressor(write_checksum=True).compress
    path.write_bytes(skipped + frame(b"\n") + skipped + frame(OBJECTS) + skipped)
    assert staged(job_over(path), tmp_path / "state").records == list(range(1, 3_001))
    window = zstandard.ZstdCompressionParameters(window_log=28)
    wide = zstandard.ZstdCompressor(compression_params=window).compressobj()
    path.write_bytes(wide.compress(OBJECTS) + wide.flush())
    assert "more than 128 MiB of memory" in refusal_of_all(path)


@pytest.mark.parametrize("suffix", PACKED)
def test_bombs_are_handed_in_pieces(tmp_path: Path, suffix: str) -> None:
    """However much a file becomes, it is never held whole."""
    path = tmp_path / f"rows.csv.{suffix}"
    path.write_bytes(PACKED[suffix](bytes(100 * PIECE)))
    sizes = [len(piece) for piece in plain_pieces(LocalFile(str(path), path.name))]
    assert sum(sizes) == 100 * PIECE
    assert max(sizes) <= 70 * PIECE


# ------------------------------------------------------------------------------------------------- the command line


def project(folder: Path, source: str) -> Path:
    """A job over a source of that name."""
    job = folder / "people.yaml"
    job.write_text(JOB.format(name="people", source=source), encoding="utf-8")
    return job


@pytest.mark.parametrize("verb", ["check", "preview", "dry-run", "run"])
def test_every_verb_says_the_same(tmp_path: Path, verb: str) -> None:
    """Exit code 9 with the file's name, and nothing left behind."""
    Project(tmp_path).rows(20, name="good")
    plain = (tmp_path / "good.csv").read_bytes()
    sources = {
        "junk.csv.gz": gzip.compress(plain) + b"junk",
        "cut.csv.gz": gzip.compress(plain)[:-9],
        "cut.csv.zst": zstandard.compress(plain)[:-3],
        "sheet.csv": zipped(),
    }
    for name, content in sources.items():
        (tmp_path / name).write_bytes(content)
    os.mkfifo(tmp_path / "pipe.csv")
    (tmp_path / "link.csv").symlink_to("nothing")
    for name in (*sources, "pipe.csv", "link.csv", "absent.csv"):
        more = ["--target", "sandbox"] if verb == "run" else []
        result = run_program(verb, project(tmp_path, name), *more)
        assert result.code == 9, result.err
        assert name in result.err


AWKWARD = "a[1]*{b,c}? x=1 'q' é"


@pytest.mark.parametrize("query", [None, "SELECT source.*, u.n FROM source LEFT JOIN u USING (id)"])
def test_a_project_in_an_awkward_folder(tmp_path: Path, query: str | None) -> None:
    """However the folders above are called, all steps find their own files, and no column comes of that."""
    folder = tmp_path / AWKWARD / "y=2"
    folder.mkdir(parents=True)
    (folder / "a.csv").write_text("id,at\n1,2024-01-01\n2,2024-01-02T03:04:05Z\n3\n", encoding="utf-8")
    (folder / "u.ndjson").write_text('{"id":"1","n":"five"}\n', encoding="utf-8")
    text = f"""
version: 1
name: awkward
source:
  path: "*.csv"
  timezone: UTC
  columns: {{at: {{type: timestamp, format: iso8601}}}}
{f"  query: {query}" if query else ""}
{"  files: {u: u.ndjson}" if query else ""}
where: id <> '9'
calls:
  - type: identify
    message_key: [id]
    userId: id
    timestamp: at
    traits: {{"*": {{}}}}
    integrations: {{All: false}}
"""
    (folder / "job.yaml").write_text(text, encoding="utf-8")
    for verb in ("check", "preview", "dry-run"):
        assert run_program(verb, folder / "job.yaml").code in (0, 3), verb
    result = run_program("run", folder / "job.yaml", "--target", "sandbox", "--output", "json")
    assert result.code == 3, result.err
    assert result.object["rows"] == {"read": 3, "filtered": 0, "unreadable": 1, "mapped": 2}
    assert result.object["calls"]["delivered"] == 2
    assert run_program("rejects", folder / "job.yaml", "--export", folder / "out.csv").code == 0
    assert "BF001" in (folder / "out.csv").read_text(encoding="utf-8")


def test_engines_get_names_as_they_are() -> None:
    """No call of polars that opens Parquet expands the name that it is given."""
    calls = re.compile(r"\bpl\.(?:scan|read)_parquet(?:_schema)?\([^()]*(?:\([^()]*\)[^()]*)*\)")
    texts = {path: path.read_text(encoding="utf-8") for path in Path(package.__file__).parent.rglob("*.py")}
    found = {f"{path.name}: {call}" for path, text in texts.items() for call in calls.findall(text)}
    assert len(found) > 5
    assert not {call for call in found if "glob=False" not in call}


# ------------------------------------------------------------------------------------------ changed while it is read


def gone(path: Path) -> None:
    """The file is removed."""
    path.unlink()


def cut(path: Path) -> None:
    """Its end is cut off."""
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size // 2)


def other(path: Path) -> None:
    """It becomes something else."""
    path.write_bytes(b"nothing of the kind\n" * 100)


@pytest.mark.parametrize("change", [gone, cut, other])
@pytest.mark.parametrize("kind", ["csv", "ndjson", "ndjson.gz", "parquet"])
def test_changed_after_it_was_hashed(tmp_path: Path, kind: str, change: Callable[[Path], None]) -> None:
    """Whatever the change leads to, staging says that the file changed: exit code 9."""
    path = tmp_path / f"rows.{kind}"
    write_rows(path)
    for where in (None, "a <> '7'"):
        job = job_over(path, where=where)
        files = resolve(job)
        change(path)
        with pytest.raises(SourceError, match=r"rows\..* was (changed|removed) while it was read"):
            stage(job, tmp_path / "state", files=files)
        write_rows(path)


@pytest.mark.parametrize("change", [gone, cut, other])
def test_changed_while_it_is_prepared(tmp_path: Path, change: Callable[[Path], None]) -> None:
    """Parquet is read in place by preparing, too: the same."""
    path = tmp_path / "rows.parquet"
    write_rows(path)
    files = locate(job_over(path))
    change(path)
    with pytest.raises(SourceError, match="while it was read"), while_unchanged(files, "again"):
        pl.read_parquet(path, glob=False)
    with pytest.raises(SourceError, match="while it was read"), while_unchanged(files, "again"):
        raise AssertionError
    with pytest.raises(InterruptedRunError), while_unchanged(files, "again"):
        raise InterruptedRunError("stopped")


def write_rows(path: Path) -> None:
    """A thousand rows in the format that the suffix says."""
    if path.suffix == ".parquet":
        rows = [str(number) for number in range(1_000)]
        pl.DataFrame({"a": rows, "b": rows}).write_parquet(path)
    elif path.suffix == ".csv":
        path.write_bytes(b"a,b\n" + LINES)
    else:
        path.write_bytes(gzip.compress(OBJECTS) if path.suffix == ".gz" else OBJECTS)
