"""What the documents say is so: commands and SQL run, messages and options exist, links lead somewhere."""

from __future__ import annotations

import ast
import gzip
import os
import re
import shlex
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from backfill.cli import backfill as program
from backfill.errors import ExitCode
from backfill.ledger import Ledger
from backfill.sandbox import Sandbox
from tests.support.ledgers import RECORD
from tests.support.projects import KEY, Project, backfill

#: Exit codes that README's commands are to end with, by verb: its job has one broken row, its canary stops.
CODES = {"check": 3, "preview": 3, "dry-run": 3, "run": 5, "resume": 3, "rejects": 0, "status": 0}


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


def test_readme_shows_what_is_said(
    readme: str, repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The sample of the demo's words is its words, times and sizes of what was sent aside."""
    monkeypatch.chdir(repository)
    (job,) = Path("jobs").glob("*orders*.yaml")
    result = backfill("run", job, "--target", "sandbox", "--state-dir", tmp_path / "state", "--no-progress")
    told = (result.out + result.err).splitlines()
    shown = [line for line in blocks(readme, "text")[0].splitlines() if line and "batches" not in line]
    assert len(shown) > 9
    assert [line for line in shown if line not in told] == []


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


def documents(repository: Path) -> list[Path]:
    """Every document of the repository."""
    return [*repository.glob("*.md"), *(repository / "docs").rglob("*.md"), *repository.glob("*/README.md")]


def anchors(page: Path) -> set[str]:
    """What links into a page may name, as GitHub makes it of the headings."""
    text = re.sub(r"^```.*?^```", "", page.read_text("utf-8"), flags=re.MULTILINE | re.DOTALL)
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_links_lead_somewhere(repository: Path) -> None:
    """Every relative link of every document is that of a file in the repository, and its anchor one of its headings."""
    broken = []
    for page in documents(repository):
        for target, anchor in re.findall(r"\]\(([^)#\s]*)(?:#([^)\s]*))?\)", page.read_text("utf-8")):
            there = page.parent / target if target else page
            if "://" in target:
                continue
            if not there.exists() or (anchor and anchor not in anchors(there)):
                broken.append(f"{page.relative_to(repository)}: {target}#{anchor}")
    assert broken == []


def test_every_document_is_on_the_map(repository: Path) -> None:
    """docs/index.md leads to all the others, the README of a folder to what is in there."""
    docs = repository / "docs"
    missing = []
    for map_, folder in ((docs / "index.md", docs), *((path, path.parent) for path in docs.rglob("README.md"))):
        text = map_.read_text("utf-8")
        inside = sorted(f"{path.name}/README.md" if path.is_dir() else path.name for path in folder.glob("*"))
        missing += [name for name in inside if name != map_.name and f"({name})" not in text]
    assert missing == []


@pytest.mark.parametrize("page", ["cli.md", "operations.md"])
def test_every_exit_code_is_told(repository: Path, page: str) -> None:
    """The table of exit codes has each of them, and the run-book says what to do about it."""
    text = (repository / "docs" / page).read_text("utf-8")
    table = text[text.index("| exit |") :].split("\n\n")[0]
    told = {int(code) for row in table.splitlines()[2:] for code in re.findall(r"\d+", row.split("|")[1])}
    assert told == {int(code) for code in ExitCode}


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    """A ledger, as its readers see it."""
    path = tmp_path / "ledger.sqlite3"
    Ledger.create(path, RECORD).close()
    connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    yield connection
    connection.close()


@pytest.mark.parametrize("page", ["ledger.md", "operations.md"])
def test_sql_in_the_documents_runs(repository: Path, ledger: sqlite3.Connection, page: str) -> None:
    """Every query is one that the ledger answers, with the columns that its pasted answer has."""
    text = (repository / "docs" / page).read_text("utf-8")
    queries = list(re.finditer(r"^```sql\n(.*?)^```\n", text, re.MULTILINE | re.DOTALL))
    assert queries
    for query in queries:
        columns = [column[0] for column in ledger.execute(query[1]).description]
        if page == "operations.md":
            answer = re.search(r"^```text\n(.*?)\n", text[query.end() :], re.MULTILINE)
            assert answer is not None
            assert answer[1].split() == columns


def test_every_view_is_told(repository: Path, ledger: sqlite3.Connection) -> None:
    """docs/ledger.md has each view with its columns; each is used in the run-book, and no other is named anywhere."""
    views = {name for (name,) in ledger.execute("SELECT name FROM sqlite_master WHERE type = 'view'")}
    text = (repository / "docs" / "ledger.md").read_text("utf-8")
    table = {cells[1].strip(" `"): cells[2] for line in text.splitlines() if len(cells := line.split("|")) == 4}
    for view in views:
        columns = [column[0] for column in ledger.execute(f"SELECT * FROM {view}").description]
        assert re.findall(r"`(\w+)`", table[view]) == columns
    assert set(re.findall(r"FROM (v_\w+)", (repository / "docs" / "operations.md").read_text("utf-8"))) == views
    named = {name for page in documents(repository) for name in re.findall(r"\bv_\w+", page.read_text("utf-8"))}
    assert named - views == set()


def test_a_run_goes_on_elsewhere(sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The run-book's way to another machine: state directory and targets.yaml are copied, the old folder is gone."""
    monkeypatch.setenv("SEGMENT_WRITE_KEY", KEY)
    here, there = tmp_path / "here", tmp_path / "there"
    here.mkdir()
    job = Project(here).people(300)
    profile = f"prod: {{kind: segment, endpoint: '{sandbox.endpoint}', rate: unlimited}}"
    (here / "targets.yaml").write_text(f"version: 1\ntargets:\n  {profile}\n", "utf-8")
    assert backfill("run", job, "--target", "prod", "--canary", "--yes").code == ExitCode.STOPPED
    there.mkdir()
    shutil.copytree(here / ".backfill", there / ".backfill")
    for name in ("targets.yaml", "people.yaml", "people.csv"):
        shutil.copy(here / name, there)
    shutil.rmtree(here)
    state = ("--state-dir", there / ".backfill")
    assert backfill("resume", "--targets", there / "targets.yaml", "--yes", *state).code == ExitCode.DELIVERED
    again = backfill("run", there / "people.yaml", "--target", "prod", "--yes", "--output", "json")
    assert (again.code, again.object["requests"]) == (ExitCode.DELIVERED, 0)
    stats = sandbox.stats()
    assert (stats["accepted"], stats["duplicate"]) == (300, 0)


#: What a message is filled in with: places, ids, numbers, moments, statuses, and what a target answered.
FILLED = re.compile(r"https?://\S+|/\S+|\S+-g\d+-\S+|[+(]*\d\S*|HTTP|[0-9a-f]{12}|orders\.csv|\W+")


def templates(repository: Path) -> list[re.Pattern[str]]:
    """Every text in the code that says something, with anything in place of what is filled in."""
    found = set()
    for path in (repository / "backfill").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                pieces = re.split(r"\{\w+\}|%[.,\d]*[sdf]", node.value)  # for str.format, for logging
            elif isinstance(node, ast.JoinedStr):
                values = [part.value if isinstance(part, ast.Constant) else None for part in node.values]
                pieces = "".join("\0" if value is None else str(value) for value in values).split("\0")
            else:
                continue
            if len("".join(pieces).replace(" ", "")) >= 8:  # less fits anywhere
                found.add(".*?".join(map(re.escape, pieces)))
    return [re.compile(pattern) for pattern in found]


def foreign_words(message: str, patterns: list[re.Pattern[str]]) -> list[str]:
    """The words of a message that no text of the code holds, but for what it is filled in with."""
    own = re.sub(r': (\d+ )?\{".*\}$', "", message)  # a target's answer
    own = own.replace("Stopped after", "stopped after", 1)  # a message by itself begins with a capital
    held = {at for pattern in patterns for match in pattern.finditer(own) for at in range(match.start(), match.end())}
    words = re.finditer(r"\S+", own)
    return [word[0] for word in words if word.start() not in held and not FILLED.fullmatch(word[0])]


def test_messages_in_the_run_book_are_the_programs(repository: Path) -> None:
    """Each message that is quoted there can be found in the code, word for word."""
    text = (repository / "docs" / "operations.md").read_text("utf-8")
    text = text[text.index("## Run-book") :]
    quoted = [line.strip() for block in blocks(text, "text") for line in block.splitlines()]
    damaged = text[text.index("| the message |") :].split("\n\n")[0]
    quoted += [message for row in damaged.splitlines()[2:] for message in re.findall(r"`([^`]+)`", row.split("|")[1])]
    patterns = templates(repository)
    assert len(quoted) > 30
    foreign = {line: foreign_words(re.sub("^(Error|Hint): ", "", line), patterns) for line in quoted}
    # The last words of some are of others: what TLS, SQLite or a summary call it.
    assert {line: words for line, words in foreign.items() if len(words) > len(line.split()) / 4} == {}
    assert foreign_words("the run was begun from something different", patterns)


@pytest.mark.parametrize("target", ["demo", "test", "lint", "check", "bench"])
def test_the_targets_of_make_are_there(repository: Path, target: str) -> None:
    """What README and CONTRIBUTING tell people to type exists."""
    end = subprocess.run(["make", "-n", target], cwd=repository, capture_output=True, text=True, check=False)
    assert end.returncode == 0, end.stderr
