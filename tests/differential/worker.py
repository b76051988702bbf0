"""Runs one version of the program on many cases: started by that version's interpreter, it imports it once, and forks.

Orders come on standard input, one JSON object a line: the `folder` to run in, the `steps` (the words of a command line,
or two names of files of which the first takes the second's place) and the file for the `result`. Each is answered with
the exit code of the process forked for it. Of the program only `backfill.cli.main` is named here.
"""

from __future__ import annotations

import importlib
import json
import os
import pkgutil
import sys
import traceback
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any


def load_program() -> str:
    """Import all of the program; returns where it was found."""
    import backfill

    for module in pkgutil.walk_packages(backfill.__path__, "backfill."):
        if module.name != "backfill.__main__":
            importlib.import_module(module.name)
    return str(backfill.__file__)


def run_command(words: list[str]) -> dict[str, Any]:
    """One command line: its exit code and what it said."""
    from backfill.cli import main

    out, err = StringIO(), StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        try:
            code: Any = main(words)
        except BaseException as error:  # noqa: BLE001 - whatever ends it is its result
            code = repr(error)
            traceback.print_exc()
    return {"words": words, "code": code, "out": out.getvalue(), "err": err.getvalue()}


def obey(order: dict[str, Any]) -> None:
    """Take the steps of a case and write down their results."""
    os.chdir(order["folder"])
    with Path("said").open("w") as said:
        os.dup2(said.fileno(), 1)
        os.dup2(said.fileno(), 2)
    results = []
    for step in order["steps"]:
        if "replace" in step:
            old, new = step["replace"]
            Path(new).replace(old)
        else:
            results.append(run_command(step["words"]))
    Path(order["result"]).write_text(json.dumps(results))


def main() -> None:
    """Take orders until there are no more."""
    talk = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    print(json.dumps(load_program()), file=talk, flush=True)
    for line in sys.stdin:
        child = os.fork()
        if not child:
            try:
                obey(json.loads(line))
            finally:
                os._exit(0)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), file=talk, flush=True)


if __name__ == "__main__":
    main()
