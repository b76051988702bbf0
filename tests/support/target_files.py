"""Targets files, and what they are read as or refused with."""

import textwrap
from pathlib import Path

import pytest

from backfill.errors import Fault, JobError
from backfill.targets import Target, load_target

KEY = "aB3dE5fG7hI9jK1lM3nO5pQ7rS9tU1vW"
KEY_SHA256 = "774255bc3901"
ENVIRON = {"SEGMENT_WRITE_KEY": KEY}


def written(folder: Path, text: str) -> Path:
    """A targets file of that text, below `version` and `targets`."""
    path = folder / "targets.yaml"
    path.write_text("version: 1\ntargets:\n" + textwrap.indent(textwrap.dedent(text), "  "), encoding="utf-8")
    return path


def load(folder: Path, text: str, name: str = "prod", **options: object) -> Target:
    """The target `prod` of that file."""
    given: dict[str, object] = {"environ": ENVIRON} | options
    return load_target(name, targets_file=written(folder, text), **given)  # type: ignore[arg-type]


def faults(folder: Path, text: str) -> tuple[Fault, ...]:
    """What a file is refused with; nothing in it may be a key."""
    with pytest.raises(JobError) as caught:
        load(folder, text)
    assert KEY not in repr([caught.value.args, caught.value.faults])
    return caught.value.faults
