"""Text files of MySQL and MariaDB (INTO OUTFILE, --tab, Workbench): every value is the server's own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.sources.test_mysqldump import CREATE, NASTY, literal
from tests.support.mariadb import MariaDb
from tests.support.sourcing import job_over, staged

TEXTS = [*NASTY, None, "a\rb", "\r", "end\r", "\\N", "\\r", "r\\", "\x0e\x01", "x" * 5000] * 3
#: Of files without header, as the server writes them.
USUAL: dict[str, Any] = {"header": False, "escape": "\\", "c_escapes": True, "null_values": ("\\N",), "line_end": "lf"}
WAYS: list[tuple[str, dict[str, Any]]] = [
    ("", {"delimiter": "\t", "quote": ""}),
    ("FIELDS TERMINATED BY ','", {"delimiter": ",", "quote": ""}),
    ("FIELDS TERMINATED BY ',' OPTIONALLY ENCLOSED BY '\"'", {"delimiter": ",", "quote": '"'}),
    ("FIELDS TERMINATED BY ';' ENCLOSED BY '\"'", {"delimiter": ";", "quote": '"'}),
]


@pytest.mark.parametrize(("options", "csv"), WAYS, ids=[options for options, _ in WAYS])
def test_outfile(mariadb: MariaDb, tmp_path: Path, options: str, csv: dict[str, Any]) -> None:
    """SELECT ... INTO OUTFILE, whatever encloses its fields."""
    database, path = _table(mariadb), mariadb.folder / f"{tmp_path.name}.txt"
    mariadb.sql(f"SELECT * FROM t ORDER BY id INTO OUTFILE '{path}' CHARACTER SET utf8mb4 {options}", database)
    _holds_the_texts(path, csv, tmp_path)


def test_tab(mariadb: MariaDb, tmp_path: Path) -> None:
    """Mysqldump --tab."""
    database = _table(mariadb)
    folder = mariadb.folder / database
    folder.mkdir()
    mariadb.dump(f"--tab={folder}", "--default-character-set=utf8mb4", database)
    _holds_the_texts(folder / "t.txt", WAYS[0][1], tmp_path)


def _table(mariadb: MariaDb) -> str:
    rows = ", ".join(f"({place}, {literal(text)})" for place, text in enumerate(TEXTS))
    return mariadb.new_database(f"{CREATE} INSERT INTO t VALUES {rows}")


def _holds_the_texts(path: Path, csv: dict[str, Any], folder: Path) -> None:
    columns = {"id": "integer", "text": "text"}
    result = staged(job_over(path, format="tsv", columns=columns, csv=USUAL | csv), folder / "state")
    assert [(one["original"][:60], one["message"]) for one in result.rejects] == []
    assert result.column("id") == list(range(len(TEXTS)))
    assert result.column("text") == TEXTS


def test_workbench(tmp_path: Path) -> None:
    """The CSV of MySQL Workbench: NULL without quotes is null."""
    path = tmp_path / "rows.csv"
    path.write_text('id,text\n1,NULL\n2,"NULL"\n3,"say ""hi"", twice"\n4,\n')
    result = staged(job_over(path, csv={"null_values": ("NULL",)}), tmp_path / "state")
    assert result.column("text") == [None, "NULL", 'say "hi", twice', ""]


def test_a_cr_is_text(tmp_path: Path) -> None:
    """With `line_end: lf` a CR is text, also in what is unreadable; bytes that are no UTF-8 are told as ever."""
    path = tmp_path / "rows.csv"
    path.write_bytes(b"id,text\n1,a\r\n2,\rb\r\r\n3,\xfe\n4\r\n5,'\r'\n")
    result = staged(job_over(path, csv={"line_end": "lf"}), tmp_path / "state")
    assert result.rows == [("1", "a\r"), ("2", "\rb\r\r"), ("5", "'\r'")]
    found = [(one["record"], one["line"], one["code"], one["original"]) for one in result.rejects]
    assert found == [(3, 4, "BF004", "3,\ufffd"), (4, 5, "BF001", "4\r")]
