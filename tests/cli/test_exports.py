"""Files that verbs write: none that somebody needs is ever overwritten, under whatever name it is asked for."""

from __future__ import annotations

import hashlib
import os
import sqlite3
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from backfill.state.folder import StateFolder
from tests.support.projects import Project, backfill


def unlike(folder: Path) -> dict[str, str]:
    """Every file below the folder, by its path, and a digest of its bytes; databases at work aside."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file() and "ledger.sqlite3" not in path.name
    }


def linked(make: Callable[[Path, Path], None], wanted: str) -> Callable[[Project], Path]:
    """An export's name that is a link to a file of the project."""

    def place(project: Project) -> Path:
        link = project.folder / "out.csv"
        make(project.folder / wanted, link)
        return link

    return place


def in_state(name: str) -> Callable[[Project], Path]:
    """A name inside the state directory."""
    return lambda project: project.state / name


def by_link(project: Project) -> Path:
    """A name below a link to the state directory."""
    (project.folder / "inside").symlink_to(project.state)
    return project.folder / "inside" / "out.csv"


def rejects_of_run(project: Project) -> Path:
    """The run's own file of rejects."""
    (run,) = StateFolder(project.state).runs()
    return next(run.spool_folder.glob("*.rejects.parquet"))


def soft(there: Path, link: Path) -> None:
    """A symbolic link."""
    link.symlink_to(there)


NEVER: dict[str, Callable[[Project], Path]] = {
    "the source": lambda project: project.folder / "people.csv",
    "the source by a way around": lambda project: project.folder / "more" / ".." / "people.csv",
    "a link to the source": linked(soft, "people.csv"),
    "a hard link to the source": linked(os.link, "people.csv"),
    "a link to the job": linked(soft, "people.yaml"),
    "a hard link to the job": linked(os.link, "people.yaml"),
    "a link to targets": linked(soft, "targets.yaml"),
    "a hard link to targets": linked(os.link, "targets.yaml"),
    "a new file of the state directory": in_state("out.csv"),
    "a new file beside the runs": in_state("runs/out.csv"),
    "the state directory by a link": by_link,
    "a run's own rejects": rejects_of_run,
    "a folder": lambda project: project.folder / "more.csv",
    "a pipe": lambda project: project.folder / "pipe.csv",
}


@pytest.mark.parametrize("force", [False, True], ids=["plain", "force"])
@pytest.mark.parametrize("place", NEVER.values(), ids=NEVER.keys())
def test_export_never_overwrites(project: Project, place: Callable[[Project], Path], *, force: bool) -> None:
    """Sources, job and targets files, the state directory: not even with --force, and not through a link."""
    job = project.people(20, bad=[7])
    (project.folder / "targets.yaml").write_text("version: 1\ntargets: {}\n", encoding="utf-8")
    (project.folder / "more").mkdir()
    (project.folder / "more.csv").mkdir()
    os.mkfifo(project.folder / "pipe.csv")
    assert backfill("run", job, "--target", "sandbox").code == 3
    export = place(project)
    before = unlike(project.folder)
    options = ["--force"] if force else []
    result = backfill("rejects", "--state-dir", project.state, "--export", export, *options)
    assert result.code == 2, result.out + result.err
    assert "--export" in result.err
    assert unlike(project.folder) == before


def test_export_over_another_file(project: Project) -> None:
    """Any other file that is there is overwritten only where that is asked for; nothing else is left beside it."""
    backfill("run", project.people(20, bad=[7]), "--target", "sandbox")
    export = project.folder / "bad.csv"
    export.write_text("mine\n", encoding="utf-8")
    words = ["rejects", "--state-dir", project.state, "--export", export]
    refused = backfill(*words)
    assert refused.code == 2
    assert "--force" in refused.err
    assert export.read_text(encoding="utf-8") == "mine\n"
    assert backfill(*words, "--force").code == 0
    assert "BF117" in export.read_text(encoding="utf-8")
    assert {path.name for path in project.folder.iterdir()} == {".backfill", "people.csv", "people.yaml", "bad.csv"}


def test_export_is_whole_or_not_at_all(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """An export that fails half way leaves the file that was there, and no other."""
    backfill("run", project.people(20, bad=[7]), "--target", "sandbox")
    export = project.folder / "bad.csv"
    export.write_text("mine\n", encoding="utf-8")

    def half(_frame: object, path: Path) -> None:
        path.write_text("half", encoding="utf-8")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pl.LazyFrame, "sink_csv", half)
    assert backfill("rejects", "--state-dir", project.state, "--export", export, "--force").code == 5
    assert export.read_text(encoding="utf-8") == "mine\n"
    assert len(list(project.folder.iterdir())) == 4


def test_store_of_the_sandbox_takes_no_folder_in_use(project: Project) -> None:
    """`sandbox --store` puts nothing into a folder that holds other things, and alters no database of others."""
    project.people(3)
    before = unlike(project.folder)
    assert backfill("sandbox", "--port", "0", "--store", project.folder).code == 2
    assert unlike(project.folder) == before
    other = project.folder / "other"
    other.mkdir()
    with sqlite3.connect(other / "sandbox.sqlite3") as database:
        database.execute("CREATE TABLE mine (id)")
    database.close()
    before = unlike(project.folder)
    assert backfill("sandbox", "--port", "0", "--store", other).code == 1
    after = unlike(project.folder)
    assert {name: after[name] for name in before} == before


def test_export_over_the_source_of_another_state(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sources of runs that are kept elsewhere, and of jobs that never ran, are as safe."""
    monkeypatch.chdir(project.folder)
    for name in ("jobs", "more"):
        (project.folder / name).mkdir()
    ran = Project(project.folder / "jobs").people(9, bad=[3], name="ran")
    backfill("run", ran, "--target", "sandbox")
    Project(project.folder / "more").people(9, name="never")
    mine = Project(project.folder / "mine")
    mine.folder.mkdir()
    backfill("run", mine.people(9, bad=[3]), "--target", "sandbox")
    before = unlike(project.folder)
    for source in ("jobs/ran.csv", "more/never.csv", "mine/people.csv"):
        result = backfill("rejects", "--state-dir", mine.state, "--export", source, "--force")
        assert result.code == 2, source
        assert "a source of" in result.err
    assert unlike(project.folder) == before
