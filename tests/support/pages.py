"""A page of the documentation as what it is to its reader: files to write, commands to type, and what they answer."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from doctest import ELLIPSIS, OutputChecker
from io import StringIO
from pathlib import Path

from backfill.cli import main
from tests.support.servers import free_ports
from tests.support.waiting import until

REPOSITORY = Path(__file__).resolve().parents[2]
#: What a page's commands may use of the repository, as they are in a checkout.
_GIVEN = ("sample_data", "jobs", "targets.yaml")
#: In the place of a plan's id, of which a page can only show an example.
_PLAN = re.compile(r"\b[0-9a-f]{12}\b")
_TOLD_PLAN = re.compile(r"^  plan +([0-9a-f]{12})", re.MULTILINE)
_INTO = re.compile(r" > (?P<file>\S+)$")
#: A port that a page names; pages are followed at the same time, and each gets one of its own.
_PORT = "8888"
_FENCE = re.compile(
    r"(?:^<!-- (?P<mark>[^\n]*?) -->\n\n?)?^```(?P<language>\w*)[^\n]*\n(?P<text>.*?)^```", re.MULTILINE | re.DOTALL
)
_NAMED = re.compile(r"^(?:#|//|--) (?:file: )?(?P<path>[\w./-]+\.\w+)\n")
#: What differs from one time to the next: how long it took, how small gzip made it, when it was, which digest it has.
_PASSING = [
    (re.compile(r"\b\d[\d.,]* (?:s|ms|minutes?|hours?)\b"), "# s"),
    (re.compile(r"\b[\d.,]+ [KM]?B sent\b"), "# sent"),
    (re.compile(r"\b20\d\d-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:\.\d+)?Z"), "#Z"),
    (re.compile(r"\b[0-9a-f]{12}\b"), "#"),
    (re.compile(r"\b[\d,]+ calls/s\b"), "# calls/s"),
]


@dataclass(frozen=True)
class Block:
    """A fenced block: its language, its text, and the mark that stands above it, such as `not run: ...`."""

    page: str
    line: int
    language: str
    text: str
    mark: str

    @property
    def not_run(self) -> str:
        """Why it is not run; empty where it is."""
        return self.mark.removeprefix("not run: ") if self.mark.startswith("not run: ") else ""

    @property
    def file(self) -> str:
        """The name of the file that it is, as its first line says; empty where it says none."""
        named = _NAMED.match(self.text)
        return named["path"] if named else ""


@dataclass(frozen=True)
class Command:
    """What is typed at a prompt, the exit code and the text that the page says it ends with."""

    where: str
    typed: str
    code: int
    shown: str
    interrupted: bool


def blocks(page: Path) -> list[Block]:
    """The fenced blocks of a page."""
    text = page.read_text("utf-8")
    return [
        Block(
            page.name, text.count("\n", 0, found.start("text")), found["language"], found["text"], found["mark"] or ""
        )
        for found in _FENCE.finditer(text)
    ]


def commands(block: Block) -> Iterator[Command]:
    """The commands of a block of the language `console`, each with the lines below it."""
    for part in re.split(r"^(?=\$ )", block.text.replace("\\\n", " "), flags=re.MULTILINE):
        if not part.startswith("$ "):
            continue
        first, _, shown = part[2:].partition("\n")
        typed, _, comment = first.partition(" #")
        code = re.match(r" *exit (\d+)", comment)
        interrupted = shown.startswith("^C")
        where = f"{block.page}:{block.line}: {typed.strip()}"
        yield Command(where, typed.strip(), int(code[1]) if code else 0, shown.removeprefix("^C"), interrupted)


def same(shown: str, told: str) -> bool:
    """Whether a text is the one that the page shows, passing things and line breaks aside; `...` is anything."""
    shown, told = " ".join(shown.split()), " ".join(told.split())
    for pattern, word in _PASSING:
        shown, told = pattern.sub(word, shown), pattern.sub(word, told)
    return OutputChecker().check_output(f"{shown}\n", f"{told}\n", ELLIPSIS)


@dataclass
class Reader:
    """Does what a page says, in a folder that is a checkout to it: writes files, types commands, compares answers.

    `set_variable` and `go_to` are the environment's and the current directory's, since `export` and `cd` outlive a
    command; `endpoint` is where runs to any other target than the sandbox go.
    """

    folder: Path
    set_variable: Callable[[str, str], None]
    go_to: Callable[[Path], None]
    endpoint: str
    ran: int = 0
    plan: str = ""  # the last one that was told
    port: int = 0  # of the server that the page has started
    servers: list[subprocess.Popen[str]] = field(default_factory=list)

    def follow(self, page: Path) -> None:
        """Everything on the page, from top to bottom.

        Raises:
            AssertionError: A command ended otherwise, or answered something else, than the page says.
        """
        self.folder.mkdir()
        self.go_to(self.folder)
        for name in _GIVEN:
            given = REPOSITORY / name
            (shutil.copytree if given.is_dir() else shutil.copy)(given, self.folder / name)
        for block in blocks(page):
            if block.not_run:
                continue
            if block.file:
                path = Path.cwd() / block.file
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(block.text, "utf-8")
            for command in commands(block) if block.language == "console" else ():
                self.type(command)

    def type(self, command: Command) -> None:
        """One command, in this process where it is one of ours alone."""
        code, told = self.answer(command)
        assert code == command.code, f"{command.where}: exit {code}\n{told}"
        if command.shown.strip():
            assert same(command.shown, told), f"{command.where}\n--- shown\n{command.shown}\n--- told\n{told}"
        self.ran += 1

    def answer(self, command: Command) -> tuple[int, str]:
        """The exit code of a command, and all that it prints."""
        typed = _PLAN.sub(self.plan, command.typed) if self.plan else command.typed
        code, told = self._run(typed.replace(_PORT, str(self.port)), interrupted=command.interrupted)
        self.plan = (_TOLD_PLAN.findall(told) or [self.plan])[-1]
        return code, told

    def stop(self) -> None:
        """End the servers that the page has started."""
        for server in self.servers:
            server.send_signal(signal.SIGINT)
            server.communicate(timeout=60)

    def _run(self, typed: str, *, interrupted: bool) -> tuple[int, str]:
        into = _INTO.search(typed) if typed.startswith("backfill") else None
        words = shlex.split(typed[: into.start()] if into else typed)
        if words[0] == "cd":
            self.go_to(Path.cwd() / words[1])
        elif words[0] == "export":
            for word in words[1:]:
                self.set_variable(*os.path.expandvars(word).split("=", 1))
        elif words[-1] == "&":
            self._serve(words[:-1])
        elif words[0] != "backfill" or re.search(
            r"[|<>;*$]|&&", re.sub(r"'[^']*'|\"[^\"]*\"", "", typed.removesuffix(into[0] if into else ""))
        ):
            return _shell(typed)
        else:
            return self._ours(words, Path(into["file"]) if into else None, interrupted=interrupted)
        return 0, ""

    def _ours(self, words: list[str], into: Path | None, *, interrupted: bool) -> tuple[int, str]:
        if "--target" in words and "sandbox" not in words and words[1] in ("run", "dry-run"):
            words += [f"--endpoint={self.endpoint}"]
        words += ["--yes"] if words[1] in ("run", "resume") and "--yes" not in words else []
        if interrupted:
            return _interrupted(words)
        told, out = StringIO(), StringIO()
        with redirect_stdout(out if into else told), redirect_stderr(told):
            code = main(words[1:])
        if into:
            into.write_text(out.getvalue(), "utf-8")
        return code, told.getvalue()

    def _serve(self, words: list[str]) -> None:
        """Start a server, and wait until its port takes connections."""
        (self.port,) = free_ports(1)
        words = [str(self.port) if word in (_PORT, "0") else word for word in words]
        command = [sys.executable, "-m", *words]
        environment = os.environ | {"PYTHONPATH": str(REPOSITORY)}
        server = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        self.servers.append(server)
        until(lambda: _listens(self.port), server)


def _listens(port: int) -> bool:
    with socket.socket() as asking:
        return asking.connect_ex(("127.0.0.1", port)) == 0


def _shell(typed: str) -> tuple[int, str]:
    assert not re.search(r"backfill (run|resume)\b(?!.*--target sandbox)", typed), "nothing here may leave the machine"
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = os.environ | {"PATH": path, "PYTHONPATH": str(REPOSITORY)}
    end = subprocess.run(
        ["bash", "-c", typed],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        stdin=subprocess.DEVNULL,
        text=True,
        timeout=120,
        check=False,
    )
    return end.returncode, end.stdout


def _delivered() -> int:
    """How many calls the runs below the current directory have delivered."""
    total = 0
    for path in Path.cwd().glob(".backfill/runs/*/ledger.sqlite3"):
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as ledger:
            try:
                ((delivered,),) = ledger.execute("SELECT delivered FROM v_counts").fetchall()
            except sqlite3.Error:  # it is being made
                continue
            total += delivered or 0
    return total


def _interrupted(words: list[str]) -> tuple[int, str]:
    """Ctrl-C once calls were delivered, further ones where some had been before."""
    before = _delivered()
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY)}
    process = subprocess.Popen(
        [sys.executable, "-m", *words], env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    try:
        until(lambda: _delivered() > before or process.poll() is not None, seconds=60)
        process.send_signal(signal.SIGINT)
        told, _ = process.communicate(timeout=60)
    finally:
        process.kill()
        process.wait()
    return process.returncode, told
