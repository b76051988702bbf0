"""`pytest -p tests.support.cpu_times`: the CPU time of each test, which other work on the machine hardly alters.

What a test takes is that of the process of tests and of the children it waited for; the first test that uses a fixture
bears it, and the last one its end.
"""

from __future__ import annotations

import os
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

#: The variable that tells the processes of tests where to write.
FILE = "PYTEST_CPU_TIMES"
SHOWN = 40


def pytest_configure() -> None:
    """One file for all processes of tests."""
    if FILE not in os.environ:
        descriptor, os.environ[FILE] = tempfile.mkstemp(prefix="cpu-times-", suffix=".tsv")
        os.close(descriptor)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """Write down a test."""
    before = os.times()
    try:
        return (yield)
    finally:
        after = os.times()
        seconds = sum(after[:4]) - sum(before[:4])
        with Path(os.environ[FILE]).open("a", encoding="utf-8") as file:
            file.write(f"{seconds:.2f}\t{after.elapsed - before.elapsed:.2f}\t{item.nodeid}\n")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """All together, and what is dearest, the cases of a function as one."""
    spent: Counter[str] = Counter()
    for line in Path(os.environ[FILE]).read_text("utf-8").splitlines():
        seconds, _, name = line.split("\t", 2)
        spent[name.partition("[")[0]] += float(seconds)
    terminalreporter.section(f"{spent.total():.0f} seconds of CPU; each test: {os.environ[FILE]}")
    for name, seconds in spent.most_common(SHOWN):
        terminalreporter.write_line(f"{seconds:7.1f} {name}")
