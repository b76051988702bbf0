"""How delimited text is written, by its first bytes; and whose recipe an export is."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from backfill.errors import UsageError
from backfill.guess import Asked, guess
from backfill.guess.dialect import dialect_of
from backfill.guess.source import Described
from backfill.guess.vendors import VENDORS, Vendor, recipe
from tests.support.projects import backfill

CASES = [
    ("a,b\n1,2\n", {}, ()),
    ("a;b\n1,5;2\n3,5;4\n", {"delimiter": ";"}, ()),
    ("Report\n\na|b|c\n1|2|3\n4|5|6\n", {"delimiter": "|", "skip_lines": 2}, ()),
    ("u1,2024-01-02,3.5\nu2,2024-01-03,4.5\n", {"header": False}, ("column_1", "column_2", "column_3")),
    ('"",a,A\n1,2,3\n', {"header": False, "skip_lines": 1}, ("column_1", "a", "A_3")),
    ('a,"x\ny",A\n1,2,3\n', {"header": False, "skip_lines": 2}, ("a", "x\ny", "A_3")),
    ("country,2019,2020\nNO,1,2\n", {}, ()),
]


@pytest.mark.parametrize(("text", "csv", "names"), CASES)
def test_dialect(text: str, csv: dict[str, object], names: tuple[str, ...]) -> None:
    """Delimiter, lines before the header, and names where a header has none that can be used."""
    found = dialect_of(text.encode(), cut=False, usual=",")
    assert (found.csv, found.names) == (csv, names)


DOUBTS = [
    ("id,1.5,1\nu1,a,b\nu2,c,d\n", "header", "true if the first line is names, false if it is a row: 1.5 is in it", ()),
    ("country,1/22/20,1/23/20\nNO,1,2\nSE,3,4\n", "header", "1/22/20 is in it", ()),
    ("id,12345\n1,2\n3,4\n", "header", "12345 is in it", ()),
    ("u1,2024-01-02,n/a\nu2,2024-01-03,4.5\nu3,2024-01-03,4.5\n", "header", "2024-01-02 is in it", ()),
    ("x\n\n,1.5\nu1,a\nu2,b\n", "skip_lines", "3 if the first line is names, 2 if it is a row", ("column_1", "1.5")),
]


@pytest.mark.parametrize(("text", "setting", "said", "names"), DOUBTS)
def test_a_first_line_of_either_kind_is_asked_for(text: str, setting: str, said: str, names: tuple[str, ...]) -> None:
    """Values that are not like those below them: as a row it might be lost, as names it might be sent."""
    found = dialect_of(text.encode(), cut=False, usual=",")
    assert said in found.blanks[setting]
    assert (found.names, found.made_up) == (names, False)


@pytest.mark.parametrize(("chosen", "rows"), [("true", 2), ("false", 3)])
def test_both_readings_of_a_first_line_work(tmp_path: Path, chosen: str, rows: int) -> None:
    """Whichever is chosen, the columns are those that the guess lists."""
    (tmp_path / "a.csv").write_text("id,1.5,user_id\nk1,a,u\nk2,c,v\n", "utf-8")
    job = tmp_path / "job.yaml"
    text = guess(Asked(data=(str(tmp_path / "a.csv"),)), job, "a.csv").text
    assert "header: CHOOSE" in text
    text = text.replace("header: CHOOSE", f"header: {chosen}").replace(
        "timestamp: CHOOSE", 'timestamp: {value: "2024-01-01T00:00:00Z"}'
    )
    job.write_text(text.replace("event: {value: CHOOSE}", "event: {value: E}"), "utf-8")
    result = backfill("dry-run", job, "--output", "json")
    assert result.object["rows"]["read"] == rows, result.err


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ('18.0   8   307.0   70  1\t"chevelle"\n15.0   8   350.0   70  1\t"skylark"\n', ("column_1",)),
        ("8.3     70   10.3\n8.6     65   10.3\n", ("column_1",)),
        (" Girth Height Volume\n   8.3     70   10.3\n   8.6     65   10.3\n", ()),
    ],
)
def test_aligned_columns_are_asked_for(text: str, names: tuple[str, ...]) -> None:
    """What divides them is left open, also where a tab stands behind them; a first line of values is no header."""
    found = dialect_of(text.encode(), cut=False, usual=",")
    assert "fixed_width" in found.blanks["delimiter"]
    assert (found.names, found.csv.get("header", True)) == (names, not names)


def test_encoding_is_asked_for() -> None:
    """Bytes that are no UTF-8 are shown as each encoding reads them; one damaged line among others is a problem."""
    found = dialect_of("name\nMüller\n".encode("cp1252"), cut=False, usual=",")
    assert 'cp1252 reads "Müller"' in found.blanks["encoding"]
    damaged = "name\n" + "Müller\n" * 5
    assert dialect_of(damaged.encode() + b"M\xfcller\n", cut=False, usual=",").blanks == {}


@pytest.mark.parametrize("vendor", VENDORS, ids=lambda one: one.recipe)
def test_recipes_have_what_is_left_open(vendor: Vendor) -> None:
    """What a vendor's line of the table replaces stands in its recipe."""
    text = recipe(vendor, Described({"path": "x/*.gz"}))
    assert "\n  path: x/*.gz\n" in text
    assert ("CHOOSE" in text) == bool(vendor.open[0])


def test_a_recipe_loses_what_no_record_has(tmp_path: Path) -> None:
    """Calls whose needed columns are in no record of the whole archive are left out, and it is said."""
    record = {
        "type": "track", "messageId": "m", "userId": "u", "anonymousId": "a", "event": "E",
        "properties": {}, "context": {},
        "integrations": {}, "timestamp": "2024-01-01T00:00:00Z", "originalTimestamp": "2024-01-01T00:00:00Z",
    }  # fmt: skip
    (tmp_path / "a.ndjson").write_text(json.dumps(record) + "\n", "utf-8")
    text = guess(Asked(data=(str(tmp_path / "a.ndjson"),)), tmp_path / "job.yaml", "a.ndjson").text
    assert "# Left out of the recipe, as no record has it:" in text
    assert "type: group" not in text
    assert "traits" not in text.split("calls:")[1]


def test_passwords_stay_out_of_job_files(tmp_path: Path) -> None:
    """A URL with a password is refused before anything is connected to."""
    asked = Asked(database="postgresql://ada:secret@localhost/shop", table="orders")
    with pytest.raises(UsageError, match="password") as caught:
        guess(asked, tmp_path / "job.yaml", "shop")
    assert "secret" not in str(caught.value)
