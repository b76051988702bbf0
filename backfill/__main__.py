"""The door: `python -m backfill` and the console script `backfill` both come in here."""

import gc
import logging
import os
import signal
import sys
from collections.abc import Sequence
from typing import NoReturn

#: Objects made before the collector looks for garbage. Loading libraries makes hundreds of thousands, and no garbage.
GARBAGE_OBJECTS = 150_000


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code (`errors.ExitCode` lists them).

    `arguments` are the words after the program's name, by default those of this process.
    """
    gc.set_threshold(GARBAGE_OBJECTS)
    try:
        from backfill.cli import main as command_line

        return command_line(arguments)
    except KeyboardInterrupt:  # before anything was begun: while it is imported
        return 130
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # all is done: at exit, Python would answer with a traceback


def program(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command line and end the process with its exit code; `arguments` as of `main`.

    At once: all that is to last is durable by now, and Python's own end would look through every library for garbage
    once more, which takes 0.2 seconds.
    """
    try:
        from backfill.cli.streams import keep_native_words, set_up_streams

        set_up_streams()
        keep_native_words()
    except KeyboardInterrupt:
        os._exit(130)
    code = main(arguments)
    from backfill.disk import TEMPORARY_FOLDERS

    TEMPORARY_FOLDERS.remove()
    logging.shutdown()
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(code)


if __name__ == "__main__":
    program()
