"""Completion in real shells: verbs, options, targets, runs, job files and codes, from the script that is printed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from backfill import plans
from backfill.cli.group import VERBS
from tests.support.projects import Project, backfill

#: How each shell is asked what it would offer for a line; `@` stands for the words before the last, `^` for the last.
ASK = {
    "bash": """
        source <(backfill completion bash)
        COMP_WORDS=({words}) COMP_CWORD={place}
        _backfill_completion backfill && printf '%s\\n' "${{COMPREPLY[@]}}"
        """,
    "zsh": """
        autoload -U compinit && compinit -D -u
        eval "$(backfill completion zsh)"
        compadd() {{ print -rl -- "${{(@)completions}}" }}
        _describe() {{ print -rl -- "${{(@)completions_with_descriptions%%:*}}" }}
        words=({words}) CURRENT={place}+1
        _backfill_completion
        """,
    "fish": """
        backfill completion fish | source
        complete -C '{line}' | string split -f 1 \\t
        """,
}
START = {"bash": ["bash", "--norc", "-c"], "zsh": ["zsh", "-f", "-c"], "fish": ["fish", "--no-config", "-c"]}
LINES = [
    ("backfill stat", [verb for verb in VERBS if verb.startswith("stat")]),
    ("backfill re", [verb for verb in VERBS if verb.startswith("re")]),
    ("backfill run --tar", ["--target", "--targets"]),
    ("backfill run --target ", ["staging", "prod", "sandbox", "segment", "segment-eu"]),
    ("backfill run --in-doubt ", ["resend", "skip"]),
    ("backfill run peo", ["people.yaml"]),
    ("backfill run jo", ["jobs", "jobs/one.yaml", "jobs/two.yml"]),
    ("backfill check jobs/t", ["jobs/two.yml"]),
    ("backfill preview p", ["people.yaml"]),
    ("backfill status people-", ["RUN"]),
    ("backfill resume p", ["RUN", "people.yaml"]),
    ("backfill explain BF20", ["BF201", "BF202", "BF203", "BF204", "BF205", "BF206", "BF207"]),
    ("backfill run --plan ", ["PLAN"]),
    ("backfill completion f", ["fish"]),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with a run, and the program on the path."""
    place = tmp_path_factory.mktemp("completion")
    project = Project(place)
    assert backfill("run", project.people(3), "--target", "sandbox").code == 0
    assert backfill("dry-run", place / "people.yaml").code == 0
    (place / "targets.yaml").write_text(
        "version: 1\n# none of these: {kind: segment}\ntargets:\n"
        "  staging:\n    kind: segment\n    region: eu\n  prod: {kind: segment}\n"
    )
    (place / "jobs").mkdir()
    for name in ("one.yaml", "two.yml", "data.csv"):
        (place / "jobs" / name).touch()
    (place / "empty").mkdir()
    program = place / "bin" / "backfill"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m backfill "$@"\n')
    program.chmod(0o755)
    return place


def environment(folder: Path) -> dict[str, str]:
    """One in which the program is found, and a home that is empty."""
    root = str(Path(__file__).resolve().parents[2])
    return {"PATH": f"{folder / 'bin'}:{os.environ['PATH']}", "HOME": str(folder / "empty"), "PYTHONPATH": root}


@pytest.mark.parametrize("shell", ASK)
def test_a_shell_offers(folder: Path, shell: str) -> None:
    """Exactly what there is, for each line; all lines in one process of the shell."""
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not here: install Debian's `{shell}`")
    for line, expected in LINES:
        words = line.split(" ")
        quoted = " ".join(word or "''" for word in words)
        script = textwrap.dedent(ASK[shell]).format(words=quoted, place=len(words) - 1, line=line)
        end = subprocess.run(
            [*START[shell], script], cwd=folder, env=environment(folder), capture_output=True, text=True, check=False
        )
        (run,) = (folder / ".backfill" / "runs").iterdir()
        (plan,) = plans(folder / ".backfill")
        found = end.stdout.split()
        wanted = [{"RUN": run.name, "PLAN": plan.plan}.get(word, word) for word in expected]
        if shell == "fish":  # which sorts by itself
            found, wanted = sorted(found), sorted(wanted)
        assert found == wanted, (line, end.stderr)


def test_what_is_offered_costs_little(folder: Path) -> None:
    """No library for data or YAML is loaded for a TAB, whatever it completes."""
    heavy = {"polars", "duckdb", "pyarrow", "numpy", "pydantic", "ruamel", "httpx", "uvicorn"}
    for words in (
        "backfill run --target ",
        "backfill status ",
        "backfill run ",
        "backfill run --plan ",
        "backfill explain ",
        "backfill ",
    ):
        code = (
            "import sys, atexit; from backfill.cli import main\n"
            f"atexit.register(lambda: print(sorted({heavy!r} & set(sys.modules)), file=sys.stderr)); sys.exit(main())"
        )
        asked = {"COMP_WORDS": words, "COMP_CWORD": str(words.count(" ")), "_BACKFILL_COMPLETE": "bash_complete"}
        end = subprocess.run(
            [sys.executable, "-c", code], cwd=folder, env=environment(folder) | asked, capture_output=True, text=True,
            check=False,
        )  # fmt: skip
        assert end.stderr.strip() == "[]", words
        assert end.stdout


def test_the_shell_is_that_of_the_user(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a name by $SHELL; where that is another, it has to be named."""
    monkeypatch.setenv("SHELL", "/usr/bin/fish")
    assert "function _backfill_completion" in backfill("completion").out
    monkeypatch.setenv("SHELL", "/bin/dash")
    result = backfill("completion")
    assert (result.code, "bash, zsh, fish" in result.err) == (2, True)


def test_a_folder_without_anything(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is offered, nothing fails and nothing is left behind."""
    from backfill.cli.named import job_files, profiles, run_ids

    monkeypatch.chdir(tmp_path)
    assert (list(job_files("")), list(job_files("none/x")), profiles(tmp_path), run_ids(None)) == ([], [], [], [])
    (tmp_path / ".backfill" / "runs").mkdir(parents=True)
    assert run_ids(None) == []
    (tmp_path / "targets.yaml").write_text("version: 1\ntargets: {a: {kind: segment}}\n")
    assert profiles(tmp_path) == []
