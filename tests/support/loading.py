"""Which modules a verb loads."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path


def loaded(folder: Path, words: Sequence[str], among: set[str]) -> set[str]:
    """Which of those modules a verb loads in a process of its own, in that folder."""
    code = f"import sys; from backfill.cli import main; main({words!r}); print(sorted({among!r} & set(sys.modules)))"
    unmeasured = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")}
    environ = unmeasured | {"PYTHONPATH": str(Path(__file__).resolve().parents[2])}  # measuring loads modules as well
    end = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, env=environ, capture_output=True, text=True, check=True
    )
    return set(ast.literal_eval(end.stdout.splitlines()[-1]))
