"""The Dockerfile: what it copies is there and let through, and its steps, taken without Docker, make what they say."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
import sysconfig
import tomllib
from fnmatch import fnmatch
from pathlib import Path

import pytest

from tests.project.test_hints import refused
from tests.support.pages import blocks

INSTRUCTIONS = {"FROM", "WORKDIR", "RUN", "COPY", "ENV", "VOLUME", "USER", "ENTRYPOINT", "CMD"}
#: In place of a new environment's pip: what an index would give is what the tests run with; a wheel is installed.
PIP = """#!/bin/sh
case "$*" in
  *--require-hashes*) echo {site} > {venv}/lib/python{python}/site-packages/locked.pth ;;
  *) for wheel in "$@"; do :; done
     exec {interpreter} -m uv pip install --quiet --offline --no-deps --no-cache --python {venv}/bin/python "$wheel" ;;
esac
"""
HATCHLING = "#!{venv}/bin/python\nfrom hatchling.cli import hatchling\nhatchling()\n"


def instructions(repository: Path) -> list[tuple[str, str]]:
    """Each instruction with its arguments."""
    text = re.sub(r"^#.*\n", "", (repository / "Dockerfile").read_text("utf-8"), flags=re.MULTILINE)
    lines = text.replace("\\\n", " ").splitlines()
    return [(word, rest) for word, _, rest in (line.partition(" ") for line in lines if line.strip())]


def new_environment(folder: Path) -> None:
    """What `python -m venv` makes, with the pip above."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    filling = {
        "site": sysconfig.get_path("purelib"),
        "venv": folder,
        "python": f"{sys.version_info[0]}.{sys.version_info[1]}",
        "interpreter": sys.executable,
    }
    for name, text in (("pip", PIP), ("hatchling", HATCHLING)):
        path = folder / "bin" / name
        path.write_text(text.format(**filling), "utf-8")
        path.chmod(0o755)


@pytest.fixture(scope="module")
def image(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the first stage of the Dockerfile makes, below a folder that stands for the root."""
    root = tmp_path_factory.mktemp("image")
    first = instructions(repository)
    for word, rest in first[1 : [word for word, _ in first].index("FROM", 1)]:
        if word == "COPY":
            *sources, target = rest.split()
            for source in sources:
                there = root / "src" / target / source if target == "./" else root / "src" / target
                there.parent.mkdir(parents=True, exist_ok=True)
                path = repository / source
                (shutil.copytree if path.is_dir() else shutil.copy)(path, there)
        elif word == "RUN":
            for made in re.findall(r"python -m venv (/\S+)", rest):
                new_environment(root / made[1:])
            step = re.sub(r"python -m venv /\S+", "true", rest).replace("/opt/", f"{root}/opt/")
            end = subprocess.run(["sh", "-c", step], cwd=root / "src", capture_output=True, text=True, check=False)
            assert end.returncode == 0, f"{rest}\n{end.stderr}"
        else:
            (root / "src").mkdir(exist_ok=True)
    return root / "opt" / "backfill"


def test_what_the_image_holds_runs(image: Path, repository: Path, tmp_path: Path) -> None:
    """Its ENTRYPOINT is in its PATH, and from an empty folder guesses by a recipe and sends."""
    found = dict(instructions(repository))  # the last of each
    assert shlex.split(found["ENV"])[0].startswith("PATH=/opt/backfill/bin:")
    assert (found["ENTRYPOINT"], found["WORKDIR"], found["VOLUME"]) == ('["backfill"]', "/work", "/work")
    environment = {"PATH": f"{image / 'bin'}:{os.environ['PATH']}", "HOME": str(tmp_path)}
    shutil.copytree(repository / "sample_data" / "recipes" / "amplitude", tmp_path / "data")
    for command in ("guess data -o job.yaml", "run job.yaml --target sandbox"):
        end = subprocess.run(
            ["backfill", *command.split()],
            cwd=tmp_path,
            env=environment,
            executable=image / "bin" / "backfill",
            capture_output=True,
            text=True,
            check=False,
        )
        assert end.returncode == 0, end.stderr
    assert "4 read, 4 mapped" in end.stdout


def test_the_wheel_holds_the_whole_package(image: Path, repository: Path) -> None:
    """Templates, styles and scripts of the sandbox's pages as well, and tables: whatever is no bytecode."""
    (installed,) = image.glob("lib/python*/site-packages/backfill")
    package = repository / "backfill"
    files = {path.relative_to(package) for path in package.rglob("*") if path.is_file() and path.suffix != ".pyc"}
    assert {"sandbox/pages/templates/base.html", "sandbox/pages/page.js", "py.typed"} <= set(map(str, files))
    assert sorted(path for path in files if not (installed / path).is_file()) == []


def test_what_is_copied_is_there(repository: Path) -> None:
    """Each file, also where the ignore file is asked; what the wheel takes from elsewhere is among them."""
    found = instructions(repository)
    assert {word for word, _ in found} <= INSTRUCTIONS
    copied = [source for word, rest in found if word == "COPY" and "--from" not in rest for source in rest.split()[:-1]]
    assert [source for source in copied if not (repository / source).exists()] == []
    let_through = re.findall(r"^!(\S+)", (repository / ".dockerignore").read_text("utf-8"), re.MULTILINE)
    assert [source for source in copied if not any(fnmatch(source, one) for one in let_through)] == []
    assert "jobs/recipes" in copied
    for name in re.findall(r"-r (\S+)", (repository / "Dockerfile").read_text("utf-8")):
        text = (repository / name).read_text("utf-8")
        pins = re.findall(r"^[a-z0-9._-]+==[^\n]*\n(.*)", text, re.MULTILINE)
        assert pins
        assert [line for line in pins if "--hash=sha256:" not in line] == []


def test_the_locks_agree(repository: Path) -> None:
    """What is offline and in the image is what the suite ran with."""
    pins = {
        name: set(re.findall(r"^[a-z0-9._-]+==[^ ;]+", (repository / name).read_text("utf-8"), re.MULTILINE))
        for name in ("requirements.lock", "requirements-all.lock", "requirements-dev.lock")
    }
    assert pins["requirements.lock"] < pins["requirements-all.lock"] < pins["requirements-dev.lock"]


def test_each_extra_is_told(repository: Path) -> None:
    """The table of docs/install.md has those of pyproject.toml."""
    project = tomllib.loads((repository / "pyproject.toml").read_text("utf-8"))["project"]
    section = (repository / "docs" / "install.md").read_text("utf-8").partition("## Extras")[2].partition("\n## ")[0]
    named = {
        name for line in re.findall(r"^\| (`.*?) \|", section, re.MULTILINE) for name in re.findall("`(.*?)`", line)
    }
    assert named == set(project["optional-dependencies"])


def test_what_is_typed_for_the_image_is_taken(repository: Path) -> None:
    """Behind `docker run ... backfill` stands a verb with options that it takes."""
    typed = []
    for page in (repository / "docs").rglob("*.md"):
        text = "\n".join(block.text.replace("\\\n", " ") for block in blocks(page))
        typed += re.findall(r"docker run [^\n]*? (backfill [^\n#]+)", text)
    assert typed
    assert {command: why for command in typed if (why := refused(command))} == {}
