"""The table of questions in CONTRIBUTING.md: few places answer each, and they hold the names it gives."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

MOST_FILES, MOST_EDITS = 5, 3
QUESTIONS = (
    "What does a 429 do?",
    "How does a cell become JSON?",
    "How does a body get from columns to the socket?",
    "What is a plan, and are two the same?",
    "What does a tracking plan say of a call?",
    "Where is memory bounded?",
    "Where is what several machines reach?",
    "How do several processes prepare one run?",
    "How do several processes deliver one run?",
    "What happens on Ctrl-C?",
    "What does a plan know of its calls?",
    "What makes an id?",
    "How is a run proven?",
    "What is compared with a destination, and sent again?",
    "What does the sandbox keep and show?",
    "Add a problem code",
    "Add a problem code for a bad value",
    "Add a rule of the HTTP API",
    "Add a fact about a destination",
    "Add a format",
    "Name a kind of file that is not read",
    "Add a field of calls",
    "Add a verb",
)
PLACE = re.compile(r"\[(?P<shown>[^]]+)\]\((?P<path>[^)]+)\)(?: `(?P<names>[^`]+)`)?")


def table(repository: Path) -> dict[str, list[tuple[str, list[str]]]]:
    """Each question's places in the order of the table: the file's path and the names to look for."""
    text = (repository / "CONTRIBUTING.md").read_text("utf-8")
    rows = re.findall(r"^\| (?P<question>[^|]+?) \| (?P<places>\[[^|]+?) \|$", text, re.MULTILINE)
    return {
        question: [(place["path"], (place["names"] or "").split()) for place in PLACE.finditer(places)]
        for question, places in rows
    }


def defined(path: Path) -> set[str]:
    """Every name that a module defines: functions, classes, methods, fields and constants."""

    def names(node: ast.AST) -> Iterator[str]:
        for child in ast.walk(node):
            match child:
                case ast.FunctionDef(name=name) | ast.ClassDef(name=name):
                    yield name
                case ast.Name(id=name, ctx=ast.Store()):
                    yield name

    return set(names(ast.parse(path.read_text("utf-8"))))


def test_every_question_is_answered(repository: Path) -> None:
    """None is dropped when the code moves."""
    assert tuple(table(repository)) == QUESTIONS


@pytest.mark.parametrize("question", QUESTIONS)
def test_few_places_hold_the_answer(repository: Path, question: str) -> None:
    """At most five files to read and three to edit, all there, with the names that are told."""
    places = table(repository)[question]
    assert 1 <= len(places) <= (MOST_EDITS if question.startswith("Add") else MOST_FILES)
    for path, names in places:
        file = repository / path
        assert file.is_file(), path
        if file.suffix == ".py":
            assert names, f"{path}: what to look for there?"
            assert set(names) <= defined(file), (path, set(names) - defined(file))
        else:
            text = file.read_text("utf-8")
            assert [name for name in names if name not in text] == []
