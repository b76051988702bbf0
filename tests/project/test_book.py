"""The documentation as its reader does it: each page's files are written, its commands typed, its answers compared."""

from __future__ import annotations

import contextlib
import gzip
import json
import os
import re
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from backfill.job import load_job
from backfill.sandbox import Sandbox
from backfill.targets.forms import ProfileForm
from backfill.targets.load import load_profiles
from tests.support.buckets import credentials, served
from tests.support.pages import REPOSITORY, Block, Reader, blocks, commands
from tests.support.projects import Project, backfill

#: Pages whose blocks of a language other tests run, and which.
ELSEWHERE = {
    ("README.md", "console"): "tests/project/test_docs.py",
    ("README.md", "yaml"): "tests/project/test_docs.py",
    ("api.md", "python"): "tests/project/test_api.py",
    ("exports.md", "yaml"): "tests/sources/test_warehouses.py",
    ("ledger.md", "python"): "tests/project/test_book.py",
    ("ledger.md", "sql"): "tests/ledger/test_ledger.py",
    ("message-ids.md", "javascript"): "tests/mapping/test_identity.py",
    ("message-ids.md", "python"): "tests/mapping/test_identity.py",
    ("message-ids.md", "sql"): "tests/mapping/test_identity.py",
    ("operations.md", "python"): "tests/project/test_book.py",
    ("operations.md", "sql"): "tests/project/test_docs.py",
    ("proof.md", "python"): "tests/runs/test_receipt.py",
    ("schedulers.md", "python"): "tests/cli/test_prepare.py",
    ("schedulers.md", "sh"): "tests/cli/test_prepare.py",
    ("schedulers.md", "yaml"): "tests/cli/test_prepare.py",
    ("proof.md", "sql"): "tests/runs/test_reconcile.py",
    ("problems.md", "yaml"): "tests/mapping/test_placeholders.py",
}
#: Pages whose blocks of a language are not for here, and why.
NOT_HERE = dict.fromkeys(
    [("exports.md", "sql"), ("exports.md", "sh"), ("exports.md", "python")], "typed in the warehouse that exports"
)
#: What shows something and is nothing to run.
SHOWN = {"text", "json"}


def pages() -> list[Path]:
    """The README and every page of the book."""
    return [REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").rglob("*.md"))]


def followed(page: Path) -> bool:
    """Whether the page has commands, and no other test types them."""
    console = any(block.language == "console" and not block.not_run for block in blocks(page))
    return console and (page.name, "console") not in ELSEWHERE


@pytest.fixture
def live(monkeypatch: pytest.MonkeyPatch) -> Iterator[Sandbox]:
    """What stands at the other end of a page's live target."""
    with Sandbox() as running:
        yield running


#: What `users` of how-to/postgres.md is in MariaDB.
USERS = "CREATE TABLE users (id bigint, email text, created_at datetime); INSERT INTO users VALUES "
USERS += "(1, 'ada@example.com', '2023-02-01 08:30:00'), (2, 'grace@example.com', '2023-03-26 01:59:59')"


@pytest.fixture
def servers(page: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The servers that a page is about, to which its variables lead."""
    with ExitStack() as opened:
        if page.stem == "postgres":
            postgres, mariadb = request.getfixturevalue("postgres"), request.getfixturevalue("mariadb")
            monkeypatch.setenv("SHOP_DATABASE", postgres.url(postgres.new_database()))
            monkeypatch.setenv("PATH", f"{postgres.bin}{os.pathsep}{os.environ['PATH']}")
            monkeypatch.setenv("SHOP_MYSQL", f"mysql://root@127.0.0.1:{mariadb.port}/{mariadb.new_database(USERS)}")
        if page.stem == "bucket":
            store = opened.enter_context(served())
            lines = (REPOSITORY / "sample_data" / "accounts.ndjson").read_bytes().splitlines(keepends=True)
            for hour in range(24):
                key = f"accounts/2024/01/02/{hour:02}.json.gz"
                store.objects[key] = gzip.compress(b"".join(lines[hour::24]), mtime=0)
            for name, value in credentials(store).items():
                monkeypatch.setenv(name, value)
        yield


@pytest.mark.parametrize("page", [page for page in pages() if followed(page)], ids=lambda page: page.stem)
def test_a_page_is_so(
    page: Path, servers: None, live: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From top to bottom, in a folder that is a checkout to it."""
    monkeypatch.setenv("NO_COLOR", "1")
    reader = Reader(tmp_path / "checkout", monkeypatch.setenv, monkeypatch.chdir, live.endpoint)
    try:
        reader.follow(page)
    finally:
        reader.stop()
    assert reader.ran


#: Languages of blocks that show something, and of those that are run by what follows a page.
RUNNABLE = {"console", "sh", "bash", "yaml", "sql", "python", "javascript", "dockerfile"}
TYPED = re.compile(r"^ *(?:\$ |(?:backfill|make|psql|sqlite3|cp|pip|docker|curl) )")


def every_block() -> Iterator[tuple[Path, Block]]:
    """All the fenced blocks of all pages."""
    return ((page, block) for page in pages() for block in blocks(page))


def test_what_is_not_run_says_why() -> None:
    """A mark is a sentence; a page that another test runs is named in that test, and is still there."""
    marked = [block for _, block in every_block() if block.mark]
    unclear = [f"{one.page}:{one.line}" for one in marked if len(one.not_run.split()) < 3]
    assert unclear == []
    for (page, language), test in ELSEWHERE.items():
        assert page in (REPOSITORY / test).read_text("utf-8"), (page, test)
        assert any(path.name == page and block.language == language for path, block in every_block()), page


def how_run(page: Path, block: Block) -> str:
    """What runs a block, or why nothing does; empty where that is neither said nor so."""
    kind = (page.name, block.language)
    if why := block.not_run or NOT_HERE.get(kind) or ELSEWHERE.get(kind):
        return why
    if block.language in SHOWN:
        return "" if TYPED.match(block.text) else "shown"
    if block.language == "console":
        return "followed" if list(commands(block)) and block.text.startswith("$ ") else ""
    if block.file:
        typed = " ".join(command.typed for one in blocks(page) if one.line > block.line for command in commands(one))
        return "followed" if {block.file, *Path(block.file).parts} & set(typed.split()) else ""
    return "a fragment of a job or targets file" if block.language == "yaml" else ""


def test_every_block_is_run() -> None:
    """Commands, job files, SQL and scripts on any page are run by a test, or say why they are not."""
    loose = [
        f"{page.name}:{block.line} ({block.language})" for page, block in every_block() if not how_run(page, block)
    ]
    assert loose == []


def test_no_command_hides() -> None:
    """What is typed stands in a block of the language `console`, not indented and not in one without a language."""
    hidden = []
    for page in pages():
        text = re.sub(r"^```.*?^```", "", page.read_text("utf-8"), flags=re.MULTILINE | re.DOTALL)
        hidden += [f"{page.name}: {line}" for line in text.splitlines() if line[:4] == "    " and TYPED.match(line)]
    assert hidden == []


def whole(text: str) -> dict[str, Any]:
    """A whole job or targets file around a fragment, which is of a source, a call, a profile, or at the margin."""
    found = YAML(typ="safe").load(text)
    call = {"type": "track", "event": {"value": "x"}, "userId": "u", "message_key": ["k"], "timestamp": "at"}
    if "targets" in found:
        return {"version": 1, **found}
    if set(found) <= set(ProfileForm.field_names()):
        profile = {"kind": "compatible", "endpoint": "https://x.example", "write_key": "${KEY}"}
        return {"version": 1, "targets": {"one": profile | found}}
    if "columns" in found:
        found = {"source": {"path": "x.csv", **found}}
    if "when" in found:
        found = {"calls": [call | found]}
    return {"version": 1, "name": "one", "source": {"path": "x.csv"}, "calls": [call], **found}


def fragments() -> list[tuple[str, str]]:
    """The YAML of the pages that no command uses; several sources in one block are one each."""
    found = []
    for page, block in every_block():
        if block.language != "yaml" or block.file or block.mark or (page.name, "yaml") in ELSEWHERE:
            continue
        one_each = re.findall(r"^source: \{.*", block.text, re.MULTILINE)
        found += [(f"{page.name}:{block.line}", text) for text in one_each or [block.text]]
    return found


@pytest.mark.parametrize(("where", "text"), fragments(), ids=lambda one: one if ".md" in one else "")
def test_a_fragment_is_sound(where: str, text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a page shows of a job or targets file is taken, every field by its name and value."""
    path = tmp_path / "file.yaml"
    path.write_text(json.dumps(whole(text), default=str), "utf-8")
    for name in re.findall(r"\$\{(\w+)\}", text):
        monkeypatch.setenv(name, "https://x.example/" if name.endswith(("URL", "URI")) else "key")
    if "targets" in whole(text):
        assert load_profiles(path)
    else:
        assert load_job(path).calls


def script(page: str, **names: str) -> str:
    """The Python of a page, with what stands for the reader's own."""
    (text,) = [block.text for block in blocks(REPOSITORY / "docs" / page) if block.language == "python"]
    for name, own in names.items():
        text = text.replace(name, own)
    return text


def test_scripts_over_a_run(project: Project, key: str, live: Sandbox, capsys: pytest.CaptureFixture[str]) -> None:
    """ledger.md counts the calls of each day; operations.md tells the first and the last id of a batch."""
    with contextlib.chdir(project.folder):
        job = project.people(3_000)
        assert backfill("run", job, "--target", "segment", "--endpoint", live.endpoint, "--canary", "--yes").code == 5
        (run,) = (path.name for path in Path(".backfill/runs").iterdir())
        exec(script("ledger.md", RUN=run), {})
        days = [line.split() for line in capsys.readouterr().out.splitlines()]
        assert sum(int(calls) for _, _, calls in days) == 3_000
        exec(script("operations.md", RUN=run), {})
        calls = backfill("calls", run, "-o", "ndjson").objects
        assert capsys.readouterr().out.split() == [calls[at]["messageId"] for at in (1432, 1432 + 1416 - 1)]
