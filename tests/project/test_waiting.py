"""No test sleeps for a time that is thought to be enough: it waits for what is to happen, or turns its own clock."""

import ast
from collections.abc import Iterator
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]
#: Where time itself is what is tried, or the one way to look again: of each what for.
SLEEPERS = {
    "support/waiting.py": "looks again",
    "support/fast_clock.py": "a clock that runs faster",
    "deliver/test_transport.py": "a server that is slow",
    "deliver/test_memory.py": "looks at a process again and again",
}


def sleeps(path: Path) -> Iterator[int]:
    """The lines at which a file of tests sleeps, waits a moment, or has something done after a while.

    A `world` is the clock that tests turn themselves.
    """
    tree = ast.parse(path.read_text(encoding="utf-8"))
    modules = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and isinstance(node.func.value, ast.Name)
        ):
            called = f"{node.func.value.id}.{node.func.attr}"
            if called in {"time.sleep", "threading.Timer"} and node.func.value.id in modules:
                yield node.lineno
            if node.func.attr == "wait" and node.func.value.id != "world" and any(map(is_moment, node.args)):
                yield node.lineno


def is_moment(value: ast.expr) -> bool:
    """Whether it is written as less than a second: too short to be the longest that an event may take."""
    return isinstance(value, ast.Constant) and isinstance(value.value, int | float) and value.value < 1


def test_nobody_sleeps() -> None:
    """Outside the tools that put the program under load for hours."""
    found = {
        str(path.relative_to(TESTS))
        for path in TESTS.rglob("*.py")
        if "torture" not in path.parts and list(sleeps(path))
    }
    assert found == SLEEPERS.keys()
