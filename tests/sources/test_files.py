"""Which files make a source, and what they are known by."""

from __future__ import annotations

import gzip
import hashlib
import io
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import zstandard

from backfill.errors import InterruptedRunError, JobError, LedgerError, SourceError
from backfill.job.models import Job
from backfill.sources import load_snapshot, locate, resolve, stage, unchanged
from backfill.sources.origins.content import PIECE, LocalFile, plain_pieces
from tests.support.projects import JOB, Project
from tests.support.sourcing import job_over, staged
from tests.support.waiting import until


@pytest.fixture
def exports(tmp_path: Path) -> Path:
    """A folder of exports."""
    for name in ("2023/b.csv", "2023/a.csv", "2024/a.csv", "2024/B.csv", ".hidden.csv", "_SUCCESS"):
        path = tmp_path / "exports" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"x\n{name}\n")
    return tmp_path / "exports"


def keys(job: Job) -> list[str]:
    """The files' keys, in order."""
    return [file.key for file in resolve(job)]


def test_patterns_folders_and_lists(exports: Path) -> None:
    """One file, a list, a pattern, a folder: in byte order of their names, each once."""
    assert keys(job_over(exports / "2024" / "a.csv")) == ["a.csv"]
    assert keys(job_over(exports / "2024" / "*.csv")) == ["B.csv", "a.csv"]
    assert keys(job_over(exports / "*" / "a.csv")) == ["2023/a.csv", "2024/a.csv"]
    assert keys(job_over(exports)) == ["2023/a.csv", "2023/b.csv", "2024/B.csv", "2024/a.csv"]
    assert keys(job_over(exports / "**" / "*.csv"))[-4:] == ["2023/a.csv", "2023/b.csv", "2024/B.csv", "2024/a.csv"]
    assert keys(job_over(exports / "2024" / "a.csv", exports / "2024" / "*.csv")) == ["B.csv", "a.csv"]
    with pytest.raises(SourceError, match="no file matches"):
        keys(job_over(exports / "*.parquet"))


def test_name_with_a_wildcard_in_it(tmp_path: Path) -> None:
    """A file that is called like a pattern is itself."""
    (tmp_path / "rows[1].csv").write_text("x\n1\n")
    assert keys(job_over(tmp_path / "rows[1].csv")) == ["rows[1].csv"]


def test_relative_to_the_job_file(exports: Path) -> None:
    """Paths are relative to the job file, and shown so."""
    job = job_over("2024/a.csv").model_copy(update={"path": str(exports / "job.yaml")})
    file = resolve(job)[0]
    assert (file.path, file.name) == (str(exports / "2024" / "a.csv"), "2024/a.csv")


def test_row_keys_need_names_that_differ(exports: Path) -> None:
    """Two files of one key cannot make ids of their record numbers."""
    job = job_over(exports / "2023" / "a.csv", exports / "2024" / "a.csv")
    call = job.calls[0].model_copy(update={"message_key": "row"})
    assert len(resolve(job)) == 2
    with pytest.raises(JobError, match="both called"):
        resolve(job.model_copy(update={"calls": (call,)}))


def test_stamps(exports: Path) -> None:
    """A file is what its SHA-256 says; `locate` does not read it."""
    path = exports / "2024" / "a.csv"
    file = resolve(job_over(path))[0]
    assert file.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert locate(job_over(path))[0].sha256 == ""
    assert unchanged(file)
    path.write_text("x\nother\n")
    assert not unchanged(file)
    path.unlink()
    assert not unchanged(file)


def test_formats(tmp_path: Path) -> None:
    """The format is told by the suffix, or stated; several formats in one source are refused."""
    (tmp_path / "rows.txt").write_text("x\n1\n")
    with pytest.raises(JobError, match=r"source\.format"):
        stage(job_over(tmp_path / "rows.txt"), tmp_path / "state")
    assert staged(job_over(tmp_path / "rows.txt", format="csv"), tmp_path / "state").rows == [("1",)]
    (tmp_path / "rows.ndjson").write_text('{"x":1}\n')
    (tmp_path / "rows.csv").write_text("x\n1\n")
    with pytest.raises(JobError, match="several formats") as caught:
        stage(job_over(tmp_path / "rows.[nc]*"), tmp_path / "other")
    assert caught.value.hint == "make a job of each format"


def test_standard_input(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What stands on standard input is copied once, whatever it is packed in, and read from there."""
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(gzip.compress(b"x\n1\n"))))
    job = job_over("-", format="csv")
    files = resolve(job, folder=tmp_path / "intake")
    assert [(file.name, file.key) for file in files] == [("-", "-")]
    assert staged(job, tmp_path / "state", files=files).rows == [("1",)]
    assert resolve(job, folder=tmp_path / "intake") == files


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"PK\x03\x04rest", "the standard input is truncated or corrupt: the directory"),
        (gzip.compress(b"x\n1\n")[:-3], "the standard input is truncated or corrupt"),
        (gzip.compress(b"x\n1\n") + b"junk\n", "something else follows what is whole in it"),
    ],
    ids=["zip", "cut", "followed"],
)
def test_standard_input_that_is_no_source(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes, said: str
) -> None:
    """Judged as a file is, and called what it is."""
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))
    with pytest.raises(SourceError, match=said):
        resolve(job_over("-", format="csv"), folder=tmp_path / "intake")


def test_standard_input_cut_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C ends what writes to the pipe as well: what came till then is not taken for the whole."""
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"x\n1\n")))
    asked = iter([False, True])
    with pytest.raises(InterruptedRunError):
        resolve(job_over("-", format="csv"), folder=tmp_path / "intake", stopping=lambda: next(asked))
    assert not (tmp_path / "intake" / "stdin").exists()


def test_ctrl_c_while_nothing_arrives(tmp_path: Path) -> None:
    """A standard input that says nothing more does not keep the program from stopping."""
    job = tmp_path / "people.yaml"
    job.write_text(JOB.format(name="people", source='"-"\n  format: csv'), encoding="utf-8")
    with Project(tmp_path).process("run", job, "--target", "sandbox", stdin=subprocess.PIPE) as process:
        until(lambda: list(tmp_path.glob(".backfill/intake/*/stdin.part")), process)
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=10) == 130
        assert process.stderr is not None
        assert "run the same command again" in process.stderr.read()


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("rows.csv", b"", "rows.csv is empty: not even a header is in it"),
        ("rows.csv", b"\n\n", "rows.csv is empty: not even a header is in it"),
        ("rows.ndjson", b"", "rows.ndjson is empty"),
        ("-", b"", "the standard input is empty: not even a header is in it"),
    ],
)
def test_nothing_in_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, content: bytes, said: str) -> None:
    """What is said of an empty source is true of its format."""
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))
    if name != "-":
        (tmp_path / name).write_bytes(content)
    job = job_over(name, format="csv" if name == "-" else None)
    with pytest.raises(SourceError) as caught:
        stage(job.model_copy(update={"path": str(tmp_path / "job.yaml")}), tmp_path / "state")
    assert caught.value.message == said


PACKED = {"gz": lambda data: gzip.compress(data, 1), "zst": zstandard.ZstdCompressor(write_checksum=True).compress}


@pytest.mark.parametrize("suffix", ["", *PACKED])
def test_hashing_can_be_stopped(tmp_path: Path, suffix: str) -> None:
    """Asked to stop, hashing stops at the next piece; how far it is is told till then."""
    data = b"a,b\n" * (2 * PIECE)
    path = tmp_path / f"rows.csv.{suffix}".rstrip(".")
    path.write_bytes(PACKED[suffix](data) if suffix else data)
    told: list[tuple[int, int]] = []
    resolve(job_over(path), progress=lambda *done: told.append(done))
    assert told[-1] == (0, path.stat().st_size + (len(data) if suffix else 0))
    told.clear()
    with pytest.raises(InterruptedRunError):
        resolve(job_over(path), progress=lambda *done: told.append(done), stopping=lambda: bool(told))
    assert len(told) == 1


@pytest.mark.parametrize("suffix", PACKED)
@pytest.mark.parametrize("damage", ["cut", "flipped", "junk"])
def test_damaged_compressed_files(tmp_path: Path, suffix: str, damage: str) -> None:
    """Truncated, altered or followed by something else: an error before anything is read of it."""
    data = b"".join(b"%d,%d\n" % (index, index * index) for index in range(20_000))
    packed = bytearray(PACKED[suffix](b"a,b\n" + data))
    if damage == "cut":
        del packed[-9:]
    elif damage == "junk":
        packed += b"junk behind the end"
    else:
        packed[len(packed) // 2] ^= 0x40
    path = tmp_path / f"rows.csv.{suffix}"
    path.write_bytes(bytes(packed))
    with pytest.raises(SourceError, match="truncated or corrupt"):
        resolve(job_over(path))


@pytest.mark.parametrize("suffix", PACKED)
def test_several_members(tmp_path: Path, suffix: str) -> None:
    """Files packed piece by piece are one file, for the checksums and for DuckDB."""
    path = tmp_path / f"rows.csv.{suffix}"
    pieces = [b"a,b\n", *(b"%d,x\n" % index for index in range(50))]
    path.write_bytes(b"".join(map(PACKED[suffix], pieces)))
    assert b"".join(plain_pieces(LocalFile(str(path), path.name))) == b"".join(pieces)
    assert staged(job_over(path), tmp_path / "state").column("a") == [str(index) for index in range(50)]


@pytest.mark.parametrize("suffix", PACKED)
def test_pieces_of_what_packs_well(tmp_path: Path, suffix: str) -> None:
    """No piece is much larger than a megabyte: a few bytes of zstd give tens of them, and so lines over the maximum."""
    path, plain = tmp_path / f"rows.csv.{suffix}", bytes(6 * PIECE + 1)
    path.write_bytes(PACKED[suffix](plain))
    pieces = list(plain_pieces(LocalFile(str(path), path.name)))
    assert b"".join(pieces) == plain
    assert max(map(len, pieces)) < 2 * PIECE


def test_a_name_that_lies(tmp_path: Path) -> None:
    """Whether a file is packed is told by its first bytes."""
    (tmp_path / "a.csv").write_bytes(gzip.compress(b"x\n1\n"))
    (tmp_path / "b.csv.gz").write_bytes(b"x\n2\n")
    assert staged(job_over(tmp_path / "*.csv*"), tmp_path / "state").column("x") == ["1", "2"]


def test_snapshots_that_are_none(tmp_path: Path) -> None:
    """No snapshot, a damaged one, one of another version, one without its parts: an error, never a wrong read."""
    with pytest.raises(LedgerError, match="no finished snapshot"):
        load_snapshot(tmp_path)
    (tmp_path / "rows.csv").write_text("x\n1\n")
    staged(job_over(tmp_path / "rows.csv"), tmp_path / "state")
    description = tmp_path / "state" / "snapshot.json"
    whole = description.read_text()
    for text, said in (
        (whole[:-5], "damaged"),
        ("[]", "another version"),
        (whole.replace('"kind"', '"kin"'), "damaged"),
    ):
        description.write_text(text)
        with pytest.raises(LedgerError, match=said):
            load_snapshot(tmp_path / "state")
    description.write_text(whole)
    (tmp_path / "state" / "part-00000.parquet").unlink()
    with pytest.raises(LedgerError, match="is gone"):
        load_snapshot(tmp_path / "state")


@pytest.mark.parametrize("paths", [["*.csv"], ["."], ["2024-01.csv", "latest.csv"], ["latest.csv", "2024*"]])
@pytest.mark.parametrize(("hard", "how"), [(False, "a link"), (True, "a hard link")])
def test_one_file_by_two_names(tmp_path: Path, paths: list[str], hard: bool, how: str) -> None:
    """Refused, with both names: its rows would be sent twice. The name of a link alone is fine."""
    real, link = tmp_path / "2024-01.csv", tmp_path / "latest.csv"
    real.write_text("x\n1\n")
    link.hardlink_to(real) if hard else link.symlink_to(real.name)
    for find in (resolve, locate):
        with pytest.raises(SourceError, match=f"one file, by {how}") as caught:
            find(job_over(*(tmp_path / path for path in paths)))
        assert real.name in caught.value.message
        assert link.name in caught.value.message
    assert keys(job_over(link)) == ["latest.csv"]
    assert keys(job_over(link, tmp_path / "lat*", link)) == ["latest.csv"]
