"""A folder to begin in: targets, an ignore file, the editor's schema, and a first job over a small sample."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from backfill.errors import UsageError
from backfill.frozen import frozen
from backfill.guess.again import save
from backfill.guess.write import SCHEMA
from backfill.job import job_schema

_FILES = Path(__file__).parent / "starter"
#: The first job, which the next steps name.
FIRST_JOB = "jobs/orders.yaml"


@frozen
class Made:
    """What there is now: paths below the folder."""

    new: tuple[str, ...]
    there: tuple[str, ...]  # before, and left as they were


def starter_files() -> Iterator[tuple[str, str]]:
    """Each file of the folder and its text."""
    yield "targets.yaml", _text("targets.yaml")
    yield ".gitignore", _text("gitignore")
    yield SCHEMA, json.dumps(job_schema(), indent=2, ensure_ascii=False) + "\n"
    yield FIRST_JOB, _text("orders.yaml")
    yield "data/orders.csv", _text("orders.csv")


def make(folder: Path) -> Made:
    """Make the files that are not there; none that is there is touched.

    Raises:
        UsageError: A file stands where a folder is wanted, or nothing can be written there.
        StoppedError: The disk is full.
    """
    new, there = [], []
    for name, text in starter_files():
        path = folder / name
        if path.exists() or path.is_symlink():
            there.append(name)
            continue
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            reason = error.strerror or type(error).__name__
            raise UsageError(f"{path.parent} cannot be made: {reason}", hint="name another folder") from None
        save(path, text)
        new.append(name)
    return Made(tuple(new), tuple(there))


def _text(name: str) -> str:
    return (_FILES / name).read_text("utf-8")
