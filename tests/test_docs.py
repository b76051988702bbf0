"""What the documents say is so: README's commands run, every verb and option is documented, links lead somewhere."""

from __future__ import annotations

import gzip
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from backfill.cli import backfill as program
from backfill.sandbox import Sandbox

#: Exit codes that README's commands are to end with, by verb: its job has one broken row, its canary stops.
CODES = {"check": 0, "preview": 0, "dry-run": 3, "run": 5, "resume": 3, "rejects": 0, "status": 0}


@pytest.fixture
def readme(repository: Path) -> str:
    """README's text."""
    return (repository / "README.md").read_text("utf-8")


@pytest.fixture
def sandbox(tmp_path: Path) -> Iterator[Sandbox]:
    """Stands for Segment at a loopback address."""
    with Sandbox(tmp_path / "sandbox") as running:
        yield running


def blocks(text: str, language: str) -> list[str]:
    """The fenced blocks of a language."""
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def commands(text: str) -> list[str]:
    """The `backfill` commands of the console blocks, without their comments."""
    lines = [line for block in blocks(text, "console") for line in block.splitlines()]
    return [line[2:].split("#")[0].strip() for line in lines if line.startswith("$ backfill")]


def write_project(folder: Path, job: str) -> None:
    """README's job with an export that it fits: thirty orders, of which one cannot be sent."""
    rows = [
        f"{number:05d},c{number % 7},{number}.50,2021-0{1 + number % 9}-03 10:00:{number:02d},WELCOME"
        for number in range(30)
    ]
    rows[4] = "00004,c4,4.50,never,WELCOME"
    text = "\n".join(["order_id,customer_id,total,ordered_at,coupon", *rows, ""])
    (folder / "orders.csv.gz").write_bytes(gzip.compress(text.encode()))
    (folder / "orders.yaml").write_text(job, "utf-8")


def test_readme_commands_run(readme: str, sandbox: Sandbox, tmp_path: Path) -> None:
    """README's job and its commands, in their order, in one folder; only the endpoint is another than Segment's."""
    folder = tmp_path / "project"
    folder.mkdir()
    (job,) = blocks(readme, "yaml")
    write_project(folder, job)
    environment = os.environ | {"SEGMENT_WRITE_KEY": "readme-key", "NO_COLOR": "1"}
    ran = []
    for command in commands(readme):
        words = shlex.split(command)[1:]
        live = [f"--endpoint={sandbox.endpoint}", "--yes"] if words[0] == "run" else []
        live = ["--yes"] if words[0] == "resume" else live
        end = subprocess.run(
            [sys.executable, "-m", "backfill", *words, *live],
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert end.returncode == CODES[words[0]], f"{command}\n{end.stdout}\n{end.stderr}"
        ran.append(words[0])
    assert ran == ["check", "preview", "dry-run", "run", "resume", "rejects"]
    assert sandbox.stats()["accepted"] == 29
    assert "never" in (folder / "bad.csv").read_text("utf-8")


def said(word: str, text: str) -> bool:
    """Whether an option stands in a text as a word of its own."""
    return re.search(rf"(?<![\w-]){re.escape(word)}(?![\w-])", text) is not None


def test_every_verb_and_option_is_documented(repository: Path) -> None:
    """docs/cli.md names all that --help does."""
    page = (repository / "docs" / "cli.md").read_text("utf-8")
    context = program.make_context("backfill", [], resilient_parsing=True)
    missing = []
    for name in program.list_commands(context):
        verb = program.get_command(context, name)
        assert verb is not None
        options = [each for each in verb.params if each.opts[0].startswith("-")]
        pages = page + (repository / "docs" / "sandbox.md").read_text("utf-8") if name == "sandbox" else page
        missing += [f"{name} {each.opts}" for each in options if not any(said(word, pages) for word in each.opts)]
        missing += [] if f"`{name}" in page else [name]
    assert missing == []


def test_links_lead_somewhere(repository: Path) -> None:
    """Every relative link of every document is that of a file in the repository."""
    pages = [*repository.glob("*.md"), *(repository / "docs").rglob("*.md"), *repository.glob("*/README.md")]
    broken = [
        f"{page.relative_to(repository)}: {target}"
        for page in pages
        for target in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text("utf-8"))
        if "://" not in target and not (page.parent / target).exists()
    ]
    assert broken == []


def test_every_document_is_on_the_map(repository: Path) -> None:
    """docs/index.md leads to all the others."""
    text = (repository / "docs" / "index.md").read_text("utf-8")
    pages = sorted(page.name for page in (repository / "docs").glob("*") if page.name != "index.md")
    assert [page for page in pages if f"({page})" not in text] == []


@pytest.mark.parametrize("target", ["demo", "test", "lint", "check", "bench"])
def test_the_targets_of_make_are_there(repository: Path, target: str) -> None:
    """What README and CONTRIBUTING tell people to type exists."""
    end = subprocess.run(["make", "-n", target], cwd=repository, capture_output=True, text=True, check=False)
    assert end.returncode == 0, end.stderr
