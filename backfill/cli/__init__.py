"""The command line: one module per verb, one error handler, nothing heavy imported before a verb runs."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from backfill.cli.group import backfill
from backfill.cli.handler import run_reporting_errors
from backfill.cli.session import Session

#: The verbs that look at the first thousand rows at most.
FEW_ROWS = ("check", "guess", "preview")
#: Files and folders made by this process are their owner's alone.
PRIVATE_UMASK = 0o077


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns its exit code (docs/cli.md).

    `arguments` are the words after the program's name, by default those of this process.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    # Preparing encodes in four threads of its own; with more of polars' memory grows with the machine, and nothing goes
    # faster (docs/performance.md). Over a few rows threads wait for each other longer than they work.
    os.environ.setdefault("POLARS_MAX_THREADS", "1" if words[:1] and words[0] in FEW_ROWS else "4")
    # Arrow's own allocator keeps what a reader of files gave back: 70 MB, while others prepare beside it.
    os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")
    # numpy's linear algebra is not used; starting its threads would cost 0.25 CPU seconds.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    # Nor are plugins of pydantic: it would look through every package that is installed for one.
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
    session = Session()
    # What is written is customers' data, also where a library writes it (DuckDB's snapshot and spill, an export).
    before = os.umask(PRIVATE_UMASK)
    try:
        return run_reporting_errors(
            session, lambda: backfill.main(words, prog_name="backfill", standalone_mode=False, obj=session)
        )
    finally:
        os.umask(before)
