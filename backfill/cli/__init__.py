"""The command line: one module per verb, one error handler, nothing heavy imported before a verb runs."""

from __future__ import annotations

import os
from collections.abc import Sequence

from backfill.cli.group import backfill
from backfill.cli.handler import handled
from backfill.cli.session import Session


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns its exit code (docs/cli.md).

    `arguments` are the words after the program's name, by default those of this process.
    """
    # Preparing encodes in four threads of its own; polars needs as many, or they wait for each other in its pool, and
    # no more, or memory grows with the machine (docs/performance.md).
    os.environ.setdefault("POLARS_MAX_THREADS", "4")
    session = Session()
    words = None if arguments is None else list(arguments)
    return handled(session, lambda: backfill.main(words, prog_name="backfill", standalone_mode=False, obj=session))
