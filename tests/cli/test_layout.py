"""What a terminal is given: nothing from data steers it, lines break between words, labels alone are in colour."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backfill.cli.layout import colour_label, display_width, wrap
from backfill.escape import escaped
from tests.support.projects import Project, backfill
from tests.support.terminals import Terminal

#: A sequence that sets a window's title, one that moves the cursor in a single character, and a mark of direction.
EVIL = "\x1b]0;owned\x07\x9b2J\u202e"
STEERING = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e]")


@pytest.fixture
def evil(tmp_path: Path) -> tuple[Project, Path]:
    """A job whose file, columns and values hold such sequences, one row bad and one record unreadable."""
    project = Project(tmp_path)
    name = f"people{EVIL}.csv"
    (tmp_path / name).write_text(
        f'id,at,"age{EVIL}"\nu1,2023-05-01,1\nu2,2023-05-02,"old{EVIL}"\n"u{EVIL}3",2023-05-03\n', "utf-8"
    )  # fmt: skip
    quoted = json.dumps
    job = tmp_path / f"job{EVIL}.yaml"
    job.write_text(
        f"version: 1\nname: people\nsource:\n  path: {quoted(name)}\n  timezone: UTC\n"
        f"  columns: {{{quoted('age' + EVIL)}: integer, at: date}}\n"
        "calls:\n  - {type: track, message_key: [id], userId: id, event: {value: Seen}, timestamp: at,"
        " properties: {'*': {}}}\n",
        "utf-8",
    )
    return project, job


def test_nothing_from_data_steers_the_terminal(evil: tuple[Project, Path]) -> None:
    """Names of files and columns, values, and what was typed reach the terminal written out, in text and as JSON."""
    project, job = evil
    state = ["--state-dir", project.state]
    wrong = project.folder / "wrong.yaml"
    wrong.write_text(job.read_text("utf-8").replace("userId: id", f"userId: {json.dumps('id' + EVIL)}"), "utf-8")
    for words in (
        ["check", job], ["check", wrong], ["preview", job], ["dry-run", job], ["dry-run", job, "--output", "json"],
        ["run", job, "--target", "sandbox"], ["run", job, "--target", "sandbox", "--log-format", "json"],
        ["rejects", *state], ["status", "people", *state], ["status", *state], ["rejects", f"x{EVIL}"],
        ["check", f"missing{EVIL}.yaml"], [f"verb{EVIL}"], ["run", job, "--rate", EVIL], ["run", job, f"--{EVIL}"],
    ):  # fmt: skip
        result = backfill(*words)
        assert STEERING.findall(result.out + result.err) == [], words
    shown = backfill("rejects", *state).out
    assert "age\\u001b]0;owned\\u0007\\u009b2J\\u202e" in shown
    assert "people\\u001b]0;owned\\u0007\\u009b2J\\u202e.csv" in shown


def test_a_line_end_in_data_makes_no_line(project: Project) -> None:
    """What a value holds cannot pass for a line of ours."""
    job = project.people(3)
    source = project.folder / "people.csv"
    source.write_text('id,email,joined,age\nu1,a,2023-05-01 10:00:00,"x\nError: no space left"\n', "utf-8")
    result = backfill("dry-run", job)
    assert "\nError: no space left" not in result.err
    assert "x\\nError: no space left" in result.err


@given(st.text())
def test_escaped_text_is_the_same_json(text: str) -> None:
    """Escaping what JSON holds does not change what it says."""
    assert json.loads(escaped(json.dumps(text, ensure_ascii=False))) == text


WORDS = st.lists(st.text(st.sampled_from("abcdefgé漢-"), min_size=1, max_size=12), min_size=1, max_size=40)


@given(WORDS, st.integers(min_value=40, max_value=120), st.sampled_from(["", "  ", "    ", "  calls     "]))
def test_lines_break_between_words(words: list[str], width: int, margin: str) -> None:
    """Every word is whole and in its place, and no line is wider than the terminal where words let it be."""
    lines = wrap(margin + " ".join(words), width).split("\n")
    assert " ".join(lines).split() == (margin + " ".join(words)).split()
    assert all(display_width(line) <= width or len(line.split()) == 1 for line in lines)


def test_a_quoted_command_is_not_broken() -> None:
    """It can be taken as it stands from the screen."""
    command = "`backfill resume orders-segment-g1-a7d8858d --state-dir jobs/.backfill`"
    text = f"Hint: once the target takes calls again, {command} goes on where it stopped"
    assert command in wrap(text, 80)
    assert all(len(line) <= 80 for line in wrap(text, 80).split("\n"))


@pytest.mark.parametrize(
    ("text", "painted"),
    [
        ("Error: it went wrong: badly", "Error"),
        ("Hint: do it", "Hint"),
        ("BF117 (error) value: 3", "BF117"),
        ("people.yaml:6:3: calls: wrong", "people.yaml:6:3"),
        ("DRY RUN: nothing was sent", "DRY RUN"),
        ("Stopping what is in flight", ""),
        ("    people.csv:9 (record 8): identify", ""),
    ],
)
def test_labels_alone_are_in_colour(text: str, painted: str) -> None:
    """The label of a message is painted, the rest is as it was."""
    expected = f"\x1b[31m{painted}\x1b[0m{text.removeprefix(painted)}" if painted else text
    assert colour_label(text, "\x1b[31m") == expected


def test_a_terminal_of_eighty_columns(project: Project) -> None:
    """Nothing that a dry run says is wider than the terminal, and its words are whole."""
    job = project.people(3000, bad=[3], name="people-of-a-name-that-is-rather-long-for-one")
    code, text = Terminal(project, "dry-run", job, "--no-progress", columns=80).end()
    assert code == 3
    plain = re.sub(r"\x1b\[\d*m", "", text)
    wide = [line for line in plain.splitlines() if len(line) > 80]
    assert all("`" in line or " " not in line.strip() for line in wide), wide
    assert re.findall(r"\x1b\[3\dm([^\x1b]*)\x1b\[0m", text) == ["BF117"]


def test_a_dumb_terminal_has_no_colours(project: Project) -> None:
    """TERM=dumb takes no sequences at all."""
    code, text = Terminal(project, "dry-run", project.people(300, bad=[3]), environ={"TERM": "dumb"}).end()
    assert code == 3
    assert "\x1b[3" not in text
