"""Ids that exports break: what is found, by whom, and what a job says of it."""

import re
import unicodedata
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backfill import placeholders
from backfill.errors import JobError
from backfill.job.models import ColumnValue, Placeholders
from backfill.placeholders import PLACEHOLDERS, is_placeholder
from backfill.verify.ids import is_unseen
from tests.support.job_texts import faults, job_text, load
from tests.support.oracle_cases import call_of, column, compare, job_of, mapped, snapshot_of

#: An id -> the code of its problem; "" where it is an id like any other.
IDS = {
    **dict.fromkeys(PLACEHOLDERS, "BF105"),
    r"\N": "BF105",
    "NaN": "BF105",
    "<NA>": "BF105",
    "NaT": "BF105",
    "[object Object]": "BF105",
    "#N/A": "BF105",
    "(Not Set)": "BF105",
    "0": "BF105",
    "000": "BF105",
    "0-0": "BF105",
    "\u00a0": "BF105",
    "   ": "BF105",
    "\u200b": "BF119",
    "u\u200b1": "BF119",
    "u1\x00": "BF119",
    "\ufeffu1": "BF119",
    "u\t1": "BF119",
    "u\n1": "BF119",
    "u1\n": "BF119",
    '="00123"': "BF119",
    "1.23457E+15": "BF120",
    "1.23457e15": "BF120",
    "1,23457E+15": "BF120",
    "1E+15": "BF120",
    "123.0": "BF115",
    "-1.00": "BF115",
    "u1 ": "BF121",
    "\u00a0u1": "BF121",
    "ada@example.org": "BF124",
    "+44 20 7946-0018": "BF124",
    **dict.fromkeys(
        [
            "1",
            "00123",
            "@ada",
            "a@b",
            "+1",
            "4420794600",
            "00a",
            "-1-",
            "12e4",
            "1e10",
            "nulls",
            "u 1",
            "ſ",
            "=1",
            '"',
            "v123.0",
            ".0",
            "123.50",
            "É",
        ],
        "",
    ),
}


@pytest.mark.parametrize("frame_rows", [1, 7, 1_000])
def test_what_each_id_is(tmp_path: Path, frame_rows: int) -> None:
    """Each odd id is found, with its own code, alone in a frame and among others; ids proper are not."""
    job = job_of([call_of(userId=column("text"))])
    rows = [{"text": text} for text in IDS]
    found = {
        text: (*made.codes, *made.warnings)
        for text, (_, _, made) in zip(IDS, mapped(job, snapshot_of(rows, tmp_path), frame_rows), strict=True)
    }
    assert {text: codes[:1] for text, codes in found.items()} == {
        text: ((code,) if code else ()) for text, code in IDS.items()
    }


@pytest.mark.parametrize("field", ["userId", "anonymousId", "groupId", "previousId"])
def test_the_oracle_agrees(tmp_path: Path, field: str) -> None:
    """Every id field is judged so, and a job's own table is heard."""
    kind = {"groupId": "group", "previousId": "alias"}.get(field, "identify")
    call = call_of(**{"type": kind, "event": None, field: column("text")})
    job = job_of([call]).model_copy(
        update={"placeholders": Placeholders(add=("nobody", "a.b|c"), allow=("guest", "0", "-1"))}
    )
    own = ["Nobody", "a.b|c", "axb", "GUEST", "0", "00", " -1 "]
    compare(job, [{"text": text} for text in (*IDS, *own)], tmp_path, 1_000)


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=5) | st.sampled_from(list(IDS)))
def test_rust_and_python_read_the_patterns_alike(text: str) -> None:
    """Polars finds with each pattern what Python finds."""
    patterns = [
        placeholders.placeholder_pattern(["nobody", "a.b|c"]),
        placeholders.HIDDEN_PATTERN,
        placeholders.FLOAT_ID_PATTERN,
        placeholders.LOST_DIGITS_PATTERN,
        placeholders.BLANK_END_PATTERN,
    ]
    for pattern in patterns:
        python = re.search(pattern.replace("$", r"\Z"), text) is not None
        assert pl.Series([text]).str.contains(pattern).item() is python, pattern


def test_the_classes_are_those_of_unicode() -> None:
    """What counts as blank and as unseen is what Unicode calls space, control and format characters."""
    characters = [chr(code) for code in range(0x10000) if unicodedata.category(chr(code)) != "Cs"]
    blank = [character for character in characters if unicodedata.category(character) == "Zs"]
    for pattern, wanted in (
        (placeholders.HIDDEN_PATTERN, [*filter(is_unseen, characters)]),
        (f"^{placeholders.BLANK}$", blank),
    ):
        found = pl.Series(characters).to_frame("c").filter(pl.col("c").str.contains(pattern))["c"].to_list()
        unlike = sorted(set(found) ^ set(wanted))
        assert [f"U+{ord(character):04X}" for character in unlike] == []


def test_placeholders_are_lower_case() -> None:
    """They are compared with text in lower case, so an upper-case one would never be found."""
    assert [word.lower() for word in PLACEHOLDERS] == list(PLACEHOLDERS)
    assert all(map(is_placeholder, PLACEHOLDERS))


def test_the_table_is_documented(repository: Path) -> None:
    """docs/problems.md has every placeholder of the table and no other, in its order."""
    page = (repository / "docs" / "problems.md").read_text("utf-8")
    (table,) = re.findall(r"<!-- placeholders -->(.*?)<!-- end -->", page, re.DOTALL)
    expected = [word.replace(r"\n", r"\N") for word in PLACEHOLDERS]
    assert re.findall(r"`([^`]+)`", table) == expected, ", ".join(f"`{word}`" for word in expected)


def test_a_job_adds_and_allows(tmp_path: Path) -> None:
    """The table is extended and cut per job, whatever the case it is written in."""
    job = load(tmp_path, job_text(top="placeholders: {add: [' Nobody '], allow: [Guest, '0']}"))
    assert job.placeholders == Placeholders(add=("nobody",), allow=("guest", "0"))


@pytest.mark.parametrize(
    ("text", "path", "words"),
    [
        ("{add: ['']}", "placeholders.add[0]", "is empty"),
        ('{add: ["a\\tb"]}', "placeholders.add[0]", "control characters"),
        ("{allow: [gest]}", "placeholders.allow[0]", 'did you mean "guest"?'),
        ("{allow: [u1]}", "placeholders.allow[0]", "an id anyway"),
        ("{add: [x], allow: [guest, X]}", "placeholders.allow[1]", "an id anyway"),
        ("[guest]", "placeholders", "a mapping is wanted"),
        ("{ad: [x]}", "placeholders.ad", 'did you mean "add"?'),
    ],
)
def test_faults_of_a_jobs_table(tmp_path: Path, text: str, path: str, words: str) -> None:
    """What a job says of placeholders makes sense, or is refused."""
    (fault,) = faults(tmp_path, job_text(top=f"placeholders: {text}"))
    assert fault.path == path
    assert words in f"{fault.message} {fault.hint}"


def test_json_objects_are_no_ids(tmp_path: Path) -> None:
    """An object or array in an id, a name or a message id is a problem of its row; in a key it is text like any."""
    texts = ['{"a": 1}', " [1]", "[]", "{}", '"u1"', "7", "null", '"{"', '"[x"', "true"]
    calls = [
        call_of(userId=column("json"), label="id"),
        call_of(event=column("json"), label="event"),
        call_of(type="page", event=None, name=column("json", None, "omit", "omit"), label="name"),
        call_of(message_key=None, message_id=column("json"), label="message id"),
        call_of(message_key=(ColumnValue(column="json"),), label="key"),
    ]
    job = job_of(calls)
    rows = [{"json": text} for text in texts]
    compare(job, rows, tmp_path)
    found = list(mapped(job, snapshot_of(rows, tmp_path), 5))
    assert [made.state for row, call, made in found if row == 0] == ["rejected", "rejected", "ok", "rejected", "ok"]
    assert ["BF123" in made.codes for row, call, made in found if call == 0] == [True] * 4 + [False] * 6


def test_a_word_of_the_job_is_no_pattern(tmp_path: Path) -> None:
    """Text of a job that means something in regular expressions is taken as text."""
    hostile = ["(", "[", "\\", "a|b", "^", "$", ".*", "(?i)", "\\d", "{1}", "é", "x y", "#", "~", "&&"]
    job = job_of([call_of(userId=column("text"))])
    job = job.model_copy(update={"placeholders": Placeholders(add=tuple(hostile))})
    rows = [{"text": text} for text in (*hostile, "a", "zz", "5")]
    codes = [made.codes for _, _, made in mapped(job, snapshot_of(rows, tmp_path), 100)]
    assert codes == [("BF105",)] * len(hostile) + [()] * 3


def test_a_faulty_job_is_refused(tmp_path: Path) -> None:
    """A text that is added and allowed is decided by nobody."""
    with pytest.raises(JobError, match="fault"):
        load(tmp_path, job_text(top="placeholders: {add: [guest], allow: [guest]}"))
