"""The door: `python -m backfill` and the console script `backfill` both come in here."""

import sys
from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code (`errors.ExitCode` lists them).

    `arguments` are the words after the program's name, by default those of this process.
    """
    from backfill.cli import main as command_line

    return command_line(arguments)


if __name__ == "__main__":
    sys.exit(main())
