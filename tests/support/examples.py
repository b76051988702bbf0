"""How many examples a property is tried with: as many as its test says, or so many times more (`make fuzz`)."""

import os

TIMES = int(os.environ.get("BACKFILL_TEST_TIMES", "1"))


def examples(count: int) -> int:
    """The number of examples of a test that is content with `count`."""
    return count * TIMES
