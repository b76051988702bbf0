"""`backfill prepare`: everything but the delivery, which another command does; and the manifests that call the two."""

import os
import re
import shlex
import signal
import subprocess
from pathlib import Path

import click
import kubernetes_validate
import pytest
from ruamel.yaml import YAML

from backfill.cli.group import Verbs
from backfill.errors import ExitCode
from backfill.sandbox import Sandbox
from tests.support.projects import Project, backfill


@pytest.fixture
def page(repository: Path) -> str:
    """What is said about schedulers."""
    return (repository / "docs" / "schedulers.md").read_text("utf-8")


def blocks(text: str, language: str) -> list[str]:
    """The fenced blocks of a language."""
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def test_prepared_here_and_sent_elsewhere(
    project: Project, key: str, sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is sent and nobody is asked, also where it is prepared already; `resume` sends it, and asks, once."""
    job = project.people(300, bad=[7])
    profile = f"{{kind: segment, endpoint: '{sandbox.endpoint}', rate: unlimited}}"
    (project.folder / "targets.yaml").write_text(f"version: 1\ntargets:\n  prod: {profile}\n", "utf-8")
    words = ("prepare", job, "--target", "prod", "--output", "json")
    gated = backfill(*words, "--max-rejects", "0")
    assert (gated.code, gated.object["state"]) == (ExitCode.GATE, "prepared")
    for _ in range(2):
        made = backfill(*words, "--spool", tmp_path / "shared")
        assert (made.code, made.object["state"], made.object["requests"]) == (ExitCode.REJECTS, "prepared", 0), made.err
        assert "backfill resume" in made.err
        assert "its bytes stay where they are, on this machine" in made.err.replace("\n", " ")
    assert sandbox.stats()["accepted"] == 0
    wrong = backfill(*words, "--spool-cache", "much")
    assert (wrong.code, "--spool-cache much" in wrong.err) == (ExitCode.USAGE, True)
    (project.folder / "people.csv").unlink()
    assert backfill("resume", job).code == ExitCode.USAGE  # without a terminal it has to be said
    sent = backfill("resume", job, "--yes", "--output", "json")
    assert (sent.code, sent.object["calls"]["delivered"]) == (ExitCode.REJECTS, 299), sent.err
    assert sandbox.stats()["accepted"] == 299
    project.rows(300, bad=[7])
    after = backfill(*words)
    assert (after.code, after.object["state"], "finished before" in after.err) == (ExitCode.REJECTS, "finished", True)
    assert "backfill resume" not in after.err  # nothing is left to be sent


def test_the_manifests_are_jobs(page: str) -> None:
    """As Kubernetes has them; a failure that is worth another try is not in the list of those that want a person."""
    manifests = [YAML(typ="safe").load(block) for block in blocks(page, "yaml")]
    assert len(manifests) == 4
    for manifest in manifests:
        kubernetes_validate.validate(manifest, kubernetes_validate.latest_version(), strict=True)
        (rule,) = manifest["spec"]["podFailurePolicy"]["rules"]
        tried = {ExitCode.STOPPED, ExitCode.LOCKED, ExitCode.INTERRUPTED, ExitCode.TERMINATED}
        good = {ExitCode.DELIVERED, ExitCode.REJECTS}
        assert {*rule["onExitCodes"]["values"]} == {*map(int, ExitCode)} - {*map(int, tried | good)}


def scripts(page: str) -> list[str]:
    """What the shell of each pod runs, and Slurm's."""
    manifests = [YAML(typ="safe").load(block) for block in blocks(page, "yaml")]
    pods = [one["spec"]["template"]["spec"]["containers"][0] for one in manifests]
    assert all(pod["command"] == ["/bin/sh", "-c"] for pod in pods)
    return [*(pod["args"][0] for pod in pods), *blocks(page, "sh")]


def in_shell(script: str, program: str, folder: Path) -> subprocess.Popen[str]:
    """The script, at work in a folder that has a job file; what it runs as `backfill` is the other script."""
    (folder / "jobs").mkdir(exist_ok=True)
    (folder / "jobs" / "05-orders.yaml").touch()
    stand_in = folder / "backfill"
    stand_in.write_text(f"#!/bin/sh\n{program}\n", "utf-8")
    stand_in.chmod(0o755)
    places = {"PATH": f"{folder}:{os.environ['PATH']}", "JOB_COMPLETION_INDEX": "0", "SLURM_ARRAY_TASK_ID": "1"}
    return subprocess.Popen(["/bin/sh", "-c", script], cwd=folder, env=places, stdout=subprocess.PIPE, text=True)


def test_a_script_ends_as_the_program_does(page: str, tmp_path: Path) -> None:
    """Else what is worth another try would count as what wants a person; only rejected rows are a good end."""
    for script in scripts(page):
        for code in ExitCode:
            with in_shell(script, f"exit {int(code)}", tmp_path) as shell:
                assert shell.wait() == (0 if code is ExitCode.REJECTS else code), script


def test_a_pod_that_is_moved_lets_the_delivery_end(page: str, tmp_path: Path) -> None:
    """A shell is the first process there: it passes SIGTERM on, and waits for what is in flight."""
    program = "trap 'kill $!; echo ended; exit 143' TERM\nsleep 60 >&2 &\necho begun\nwait"
    delivering = [script for script in scripts(page) if re.search(r"backfill (run|deliver)", script)]
    assert len(delivering) == 2
    for script in delivering:
        with in_shell(script, program, tmp_path) as shell:
            assert shell.stdout is not None
            assert shell.stdout.readline() == "begun\n"
            shell.send_signal(signal.SIGTERM)
            assert shell.stdout.read() == "ended\n", script
        assert shell.returncode == ExitCode.TERMINATED


def test_the_commands_are_the_programs(page: str) -> None:
    """Each that a manifest, a task or a script runs has a verb and options that there are."""
    fenced = "".join(re.findall(r"^```\w+\n.*?^```", page, re.MULTILINE | re.DOTALL))
    found = re.findall(r"backfill (?:prepare|run|resume|deliver)\b[^|&'`\n]*", fenced)
    assert len(found) >= 6
    assert any("deliver" in line for line in found)
    for line in found:
        typed = line.replace('"$job"', "x.yaml").replace('"$JOB_COMPLETION_INDEX/16"', "15/16")
        verb, *words = shlex.split(typed.rstrip('" '))[1:]
        command = Verbs().get_command(click.Context(Verbs()), verb)
        assert command is not None
        parser = command.make_parser(click.Context(command))
        parser.parse_args(words)


def test_the_airflow_file_is_python(page: str) -> None:
    """It compiles."""
    (program,) = blocks(page, "python")
    compile(program, "history.py", "exec")
