"""Every verb with every kind of standard stream: what a shell has made of them never changes what a verb does."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from backfill.escape import ESCAPING, escaped
from backfill.ledger import LedgerReader
from backfill.records import RunState
from backfill.state.folder import StateFolder
from tests.support.projects import Project

#: Verb -> words and exit codes where nothing is wrong with the streams. Each leaves what the next reads.
VERBS = {
    "check": ("check people.yaml", (0, 3)),
    "preview": ("preview people.yaml -n 9", (3,)),
    "dry-run": ("dry-run people.yaml", (3,)),
    "run": ("run people.yaml --target sandbox --canary", (5,)),
    "resume": ("resume people.yaml", (3,)),
    "status": ("status", (0,)),
    "rejects": ("rejects", (0,)),
    "schema": ("schema", (0,)),
    "explain": ("explain people.yaml", (0,)),
    "completion": ("completion bash", (0,)),
    "doctor": ("doctor", (0, 3)),
    "sandbox": ("sandbox --store .", (2,)),
    "help": ("--help", (0,)),
    "usage": ("no-such-verb", (2,)),
}
#: Verbs that write data, so that a standard output that takes no more is told.
SPEAKING = {
    "check",
    "preview",
    "dry-run",
    "run",
    "resume",
    "status",
    "rejects",
    "schema",
    "explain",
    "completion",
    "doctor",
    "help",
}


@dataclass(frozen=True)
class Streams:
    """How a shell sets the streams up."""

    redirected: str
    encoding: str = ""
    full: bool = False  # the standard output takes nothing


KINDS = {
    "all closed": Streams("<&- >&- 2>&-"),
    "stdout closed": Streams(">&-"),
    "stderr closed": Streams("2>&-"),
    "nobody reads": Streams("> >(exec true) 2> >(exec true)"),
    "stdout full": Streams(">/dev/full", full=True),
    "stderr full": Streams("2>/dev/full"),
    "latin-1": Streams("", "latin-1"),
    "cp1252 and its errors strict": Streams("", "cp1252:strict"),
    "ascii": Streams("", "ascii"),
}


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """A job whose rows, good and bad, have letters of many scripts, and a control character."""
    project = Project(tmp_path)
    project.people(20, bad=[3], text="Ünï漢😀\x9b")
    source = tmp_path / "people.csv"
    source.write_text(source.read_text("utf-8").replace("old", "ält漢😀\x9b"), "utf-8")
    return project


@dataclass(frozen=True)
class Ended:
    """How a verb ended, and what it wrote."""

    code: int
    out: bytes
    err: bytes


def ran(project: Project, lines: Sequence[str], streams: Streams) -> Iterator[Ended]:
    """Each line, in a process that has the streams that a shell set up."""
    out, err, result = (project.folder / name for name in ("shown.out", "shown.err", "ended.json"))
    words = [sys.executable, "-m", "tests.torture.forks", *map(str, (result, out, err)), *lines]
    environ = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE")}
    environ["PYTHONPATH"] = str(Path(__file__).resolve().parents[2])
    if streams.encoding:
        environ |= {"PYTHONIOENCODING": streams.encoding}
    with out.open("ab") as out_file, err.open("ab") as err_file:
        command = ["/bin/bash", "-c", f"{shlex.join(words)} {streams.redirected}"]
        subprocess.run(
            command, cwd=project.folder, env=environ, stdout=out_file, stderr=err_file, timeout=120, check=True
        )
    out_from = err_from = 0
    for code, out_to, err_to in json.loads(result.read_text("ascii")):
        yield Ended(code, out.read_bytes()[out_from:out_to], err.read_bytes()[err_from:err_to])
        out_from, err_from = out_to, err_to


@pytest.mark.parametrize("streams", KINDS.values(), ids=KINDS.keys())
def test_every_verb(project: Project, streams: Streams) -> None:
    """The exit code is that of the work; no crash report, no traceback, and the run is finished."""
    lines = [words for words, _ in VERBS.values()]
    for (verb, (_, codes)), end in zip(VERBS.items(), ran(project, lines, streams), strict=True):
        expected = (5,) if streams.full and verb in SPEAKING else codes
        shown = end.out + end.err
        assert end.code in expected, (verb, shown)
        assert b"Traceback" not in shown
        assert b"nexpected failure" not in shown
        if streams.full and verb in SPEAKING:
            assert b"the standard output takes no more" in end.err, verb
            assert b".backfill" not in end.err.partition(b"takes no more")[2].partition(b"\n")[0]
        if streams.encoding and verb in ("preview", "rejects"):
            assert b"\\u6f22\\ud83d\\ude00" in end.out
    assert not list(project.folder.rglob("crash*"))
    (run,) = StateFolder(project.state).runs()
    with LedgerReader(run.ledger) as reader:
        assert reader.status().state is RunState.FINISHED
        assert reader.counts().delivered == 19


def test_json_in_a_narrow_encoding_is_the_same_json() -> None:
    """What an encoding does not have is written as JSON writes it, above the basic plane too."""
    text = json.dumps({"é": "漢😀 \x9b\u202e"}, ensure_ascii=False)
    for encoding in ("ascii", "latin-1", "cp1252"):
        assert json.loads(escaped(text).encode(encoding, ESCAPING).decode(encoding)) == json.loads(text)


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion(project: Project, shell: str) -> None:
    """A shell's completion gets its answers; nothing is said and nothing left behind."""
    words = {"COMP_WORDS": "backfill ru", "COMP_CWORD": "ru" if shell == "fish" else "1"}
    for instruction in ("source", "complete"):
        environ = os.environ | words | {"_BACKFILL_COMPLETE": f"{shell}_{instruction}", "TMPDIR": str(project.folder)}
        before = set(project.folder.rglob("*"))
        end = subprocess.run(
            [sys.executable, "-m", "backfill"], cwd=project.folder, env=environ | {
                "PYTHONPATH": str(Path(__file__).resolve().parents[2])
            }, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert "nexpected" not in end.stderr
        assert set(project.folder.rglob("*")) == before
    assert "run" in end.stdout


def test_crash_before_there_is_a_state_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The report is said, and nothing is left in the temporary folder."""
    from backfill.cli.handler import run_reporting_errors
    from backfill.cli.here import Here
    from backfill.cli.session import Session

    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))

    def broken() -> Iterator[None]:
        raise ValueError("cannot handle ada@example.org")

    assert run_reporting_errors(Session(here=Here(state=tmp_path / "not yet")), broken) == 1
    said = capsys.readouterr().err
    assert "in broken" in said
    assert "ada@example.org" not in said
    assert list(tmp_path.iterdir()) == []
