"""Fixed-width text: columns cut by characters, lines of another length, encodings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backfill.errors import SourceError
from backfill.sources import resolve
from backfill.sources.formats import line_of
from tests.support.sourcing import Staged, job_over, staged

WIDTHS = {"id": 5, "name": 8, "total": 7}


def job(path: Path, **options: Any) -> Any:
    """A job over the file."""
    return job_over(path, format="fixed_width", fixed_width=WIDTHS, **options)


def stage(path: Path, **options: Any) -> Staged:
    """What staging makes of it."""
    return staged(job(path, **options), path.parent / "state")


def line(key: str, name: str, total: str) -> str:
    """One line."""
    return f"{key:<5}{name:<8}{total:>7}"


def test_columns(tmp_path: Path) -> None:
    """Values lose the blanks around them; nothing but blanks is null, declared columns are cast."""
    path = tmp_path / "a.txt"
    path.write_text("\n".join((line("00123", "Zoë", "1.50"), line("x y", "", '"12"'))) + "\n", encoding="utf-8")
    assert stage(path).rows == [("00123", "Zoë", "1.50"), ("x y", None, '"12"')]
    found = stage(path, columns={"total": "decimal"})
    assert [str(value) for value in found.column("total")] == ["1.50", "None"]
    assert found.column("__bf_raw:total") == [None, '"12"']


def test_lines_of_another_length(tmp_path: Path) -> None:
    """A line that is shorter or longer is unreadable, with its line; so is one that was cut at the file's end."""
    path = tmp_path / "a.txt"
    good = line("1", "a", "1")
    path.write_text("\n".join((good, good[:-1], good + "x", "", good, good[:9])), encoding="utf-8")
    found = stage(path)
    assert found.records == [1, 5]
    said = [(reject["record"], reject["code"]) for reject in found.rejects]
    assert said == [(2, "BF001"), (3, "BF002"), (4, "BF001"), (6, "BF001")]
    assert found.rejects[0]["message"] == "the line is too short: 19 characters where the widths add up to 20"
    assert line_of(resolve(job(path))[0], job(path), [2, 6]) == {2: 2, 6: 6}


def test_a_line_with_the_sign_that_divides(tmp_path: Path) -> None:
    """U+001F is named as what is wrong with a line, also the first one."""
    path = tmp_path / "a.txt"
    good = line("1", "a", "1")
    path.write_text("\n".join((good[:3] + "\x1f" + good[4:], good)), encoding="utf-8")
    found = stage(path)
    assert found.records == [2]
    assert [(one["record"], one["code"], one["message"][:6]) for one in found.rejects] == [(1, "BF002", "U+001F")]


def test_encoding_and_skipped_lines(tmp_path: Path) -> None:
    """The characters count, not the bytes; lines before the first can be left out."""
    path = tmp_path / "a.txt"
    path.write_bytes("heading\r\n".encode("cp1252") + (line("é", "naïve €", "7") + "\r\n").encode("cp1252"))
    found = stage(path, csv={"encoding": "cp1252", "skip_lines": 1})
    assert found.rows == [("é", "naïve €", "7")]
    path.write_bytes(b"")
    with pytest.raises(SourceError, match="empty"):
        stage(path)


TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\r\n\x1f", exclude_categories=["Cs", "Zs"]), max_size=5)


@settings(max_examples=40, deadline=None)
@given(rows=st.lists(st.tuples(TEXT, TEXT, TEXT), min_size=1, max_size=8))
def test_against_slices(tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, str, str]]) -> None:
    """Every line is what Python's slices say."""
    path = tmp_path_factory.mktemp("fixed") / "a.txt"
    lines = [line(*row) for row in rows]
    path.write_bytes("".join(f"{text}\n" for text in lines).encode())
    expected = [tuple(text[a:b].strip(" ") or None for a, b in ((0, 5), (5, 13), (13, 20))) for text in lines]
    assert stage(path).rows == expected
