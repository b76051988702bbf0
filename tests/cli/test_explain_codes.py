"""`explain CODE`: every code has its page, words find it, and what is wrong is told with what is near."""

from __future__ import annotations

import re
import subprocess
import sys
from importlib.resources import files
from pathlib import Path

import pytest

from backfill.errors import ExitCode
from backfill.explain import Page, all_pages, search
from backfill.explain.search import SAID_ELSE
from backfill.rules import CODES
from backfill.verdict import PROXY_REFUSED, REJECTED, TARGET_REFUSED, Patience, verdict
from tests.support.projects import Project, backfill

PAGES = all_pages()


@pytest.mark.parametrize("page", PAGES.values(), ids=lambda page: page.subject)
def test_every_page_is_whole(page: Page) -> None:
    """It says why, what to do, and of codes an example that fits eighty columns."""
    assert page.title
    assert page.why.endswith((".", "it"))
    assert page.mend.endswith((".", "`"))
    if not page.subject.endswith("Error"):
        assert page.example
        assert max(map(len, page.example.splitlines())) <= 76 or page.subject.startswith("exit")


def test_every_code_has_a_page() -> None:
    """Problem codes, exit codes and kinds of errors; a code without one fails when the pages are read."""
    assert set(CODES) <= set(PAGES)
    assert {f"exit {int(code)}" for code in ExitCode} <= set(PAGES)
    assert {"UsageError", "JobError", "LedgerError", "ConnectionLostError", "StopAskedError"} <= set(PAGES)


def test_every_answer_has_a_page() -> None:
    """Those that are judged one by one, and the usual ones of the others; each is told as it is judged."""
    answers = {int(subject[5:]): page for subject, page in PAGES.items() if subject.startswith("HTTP ")}
    assert {*REJECTED, *TARGET_REFUSED, PROXY_REFUSED, 408, 410, 429, 460, 500, 502, 503, 504, 301, 200} <= set(answers)
    for status, page in answers.items():
        judged = verdict(status, {}, calls=1, attempt=1, elapsed=0, now=0, patience=Patience())
        words = {"accepted": "delivered", "retry": "tried again", "rejected": "halved", "stop": "stops"}
        assert words[judged.action.value] in page.kind, status


@pytest.mark.parametrize("file", ["problems.toml", "exits.toml"])
def test_every_page_has_a_code(file: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that is left over, or missing, is told."""
    import backfill.explain.pages as module

    entries = module._entries
    monkeypatch.setattr(module, "_entries", lambda name: entries(name) | ({"BF999": {}} if name == file else {}))
    with pytest.raises(LookupError, match=r"without a code: \['BF999'\]"):
        all_pages()


def test_exit_codes_are_told_alike(repository: Path) -> None:
    """docs/cli.md has the lines of the pages, word for word."""
    document = (repository / "docs" / "cli.md").read_text("utf-8").replace("\\|", "|")
    for code in ExitCode:
        line = f"{PAGES[f'exit {int(code)}'].kind} |\n"
        assert re.search(rf"^\| (?:\d+, )?{int(code)}(?:, \d+)? \| {re.escape(line)}", document, re.MULTILINE), code


@pytest.mark.parametrize(
    ("asked", "subject"),
    [
        ("BF113", "BF113"), ("bf113", "BF113"), ("bf 113", "BF113"), ("6", "exit 6"), ("exit 6", "exit 6"),
        ("exit code 06", "exit 6"), ("143", "exit 143"), ("429", "HTTP 429"), ("http 400", "HTTP 400"),
        ("HTTP 599", ""), ("lockederror", "LockedError"), ("too few", "BF001"),
        ("to few feilds", "BF001"), ("same message id", "BF113"), ("placeholder", "BF105"),
        ("canary", "StopAskedError"),
        ("clocks back", "BF205"), ("daylight", "BF205"), ("dst", "BF205"), ("dedup", "BF113"),
        ("deduplication", "BF113"), ("dupes", "BF113"), ("throttled", "HTTP 429"), ("timeout", "HTTP 408"),
        ("unauthorized", "HTTP 401"),
        ("number NaN", "BF111"), ("another process", "exit 7"),
        ("gzip checksum", "exit 9"), ("undated", "BF201"), ("BF999", ""), ("exit 77", ""), ("qwxz", ""),
    ],
)  # fmt: skip
def test_what_is_meant_is_found_first(asked: str, subject: str) -> None:
    """By code, words, mistyped words; what is like nothing finds nothing."""
    found = search(asked, PAGES)
    assert (found[0].subject if found else "") == subject


def test_what_is_said_else_stands_for_a_word_of_the_pages() -> None:
    """Of what begins so no page has a word in its title, which would be missed; its own word finds a page."""
    words = re.findall(r"[a-z0-9_]+", " ".join(f"{page.subject} {page.title}" for page in PAGES.values()).casefold())
    for said, own in SAID_ELSE.items():
        assert [word for word in words if word.startswith(said)] == [], said
        assert search(own, PAGES), own


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (["BF113"], 0, "add a column to `message_key`"),
        (["exit", "6"], 0, "--only-new"),
        (["too few"], 0, "BF001: too few fields\nerror, no job can lower that\n"),
        (["too", "few"], 0, "https://www.rfc-editor.org/rfc/rfc4180"),
        (["timestamp"], 0, "  BF202  unparsable timestamp\n"),
        ([], 0, "  exit 130                  interrupted\n"),
        (["BF1113"], 2, "did you mean BF113"),
        (["qwxz"], 2, "nothing here explains 'qwxz'"),
        (["jbo.yaml"], 2, "'jbo.yaml' does not exist"),
    ],
)
def test_what_is_said(words: list[str], code: int, told: str) -> None:
    """A page, a list of pages, or what was meant."""
    result = backfill("explain", *words)
    assert result.code == code
    assert told in result.out + result.err


def test_a_path_that_is_there_is_a_job(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever its name is."""
    project.people(1).rename(project.folder / "BF113")
    monkeypatch.chdir(project.folder)
    assert "calls[0]: identify" in backfill("explain", "BF113").out


def test_samples_name_the_verb(project: Project) -> None:
    """After problems were shown, once."""
    result = backfill("run", project.people(5, bad=[1]), "--target", "sandbox")
    assert result.err.count("`backfill explain CODE`") == 1


def test_pages_are_in_the_package() -> None:
    """They are read as data of the package, and load no library for data."""
    names = {file.name for file in files("backfill.explain").iterdir()}
    assert {"problems.toml", "exits.toml"} <= names
    heavy = "{'polars', 'duckdb', 'pyarrow', 'numpy', 'pydantic', 'ruamel', 'httpx'} & set(sys.modules)"
    code = f"import sys; from backfill.cli import main; main(['explain', 'BF113']); sys.exit(bool({heavy}))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=False).returncode == 0
