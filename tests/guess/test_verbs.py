"""The verbs `init` and `guess` as they are typed: what they write, say and refuse."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.support.projects import backfill


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def run(*words: str) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of a command."""
    end = backfill(*words)
    return end.code, end.out, end.err


def test_init_makes_a_folder_that_works_at_once(tmp_path: Path) -> None:
    """The first job passes check and runs; a second init touches nothing, whatever was edited."""
    code, out, err = run("init", "shop")
    assert (code, len(out.splitlines())) == (0, 5)
    assert "backfill run shop/jobs/orders.yaml --target sandbox" in err
    assert run("check", "shop/jobs")[0] == 0
    code, out, _ = run("run", "shop/jobs/orders.yaml", "--target", "sandbox", "--output", "json")
    assert (code, json.loads(out)["calls"]["delivered"]) == (0, 8)
    job = tmp_path / "shop" / "jobs" / "orders.yaml"
    job.write_text("# mine\n", "utf-8")
    (tmp_path / "shop" / "targets.yaml").unlink()
    code, out, _ = run("init", "shop")
    assert [line.split() for line in out.splitlines()][:2] == [
        ["made", "shop/targets.yaml"],
        ["there", "shop/.gitignore"],
    ]
    assert job.read_text("utf-8") == "# mine\n"
    schema = json.loads((tmp_path / "shop" / "job.schema.json").read_text("utf-8"))
    assert schema["properties"]["calls"]["minItems"] == 1


def test_guess_writes_says_and_is_refused_by_check(tmp_path: Path) -> None:
    """The file is new, its blanks are named, check refuses them, and again nothing is changed."""
    run("init")
    code, out, err = run("guess", "data/orders.csv", "-o", "jobs/mine.yaml")
    assert (code, out) == (0, "")
    assert "1 blank to fill" in err
    text = (tmp_path / "jobs" / "mine.yaml").read_text("utf-8")
    assert text.startswith("# yaml-language-server: $schema=../job.schema.json\n")
    code, _, err = run("check", "jobs/mine.yaml")
    assert code == 2
    assert "calls[0].event.value: is still to be chosen" in err
    assert "is as it was" in run("guess", "data/orders.csv", "-o", "jobs/mine.yaml")[2]
    assert (tmp_path / "jobs" / "mine.yaml").read_text("utf-8") == text


@pytest.mark.parametrize("kind", ["identify", "track", "page", "screen", "group", "alias"])
def test_the_type_that_is_asked_for(tmp_path: Path, kind: str) -> None:
    """A call of each type has what it needs, or a blank for it, and fits its source once that is filled."""
    rows = "id,user_id,group_id,old_id,at\n1,u1,g1,o1,2024-01-01T00:00:00Z\n2,u1,g1,o2,2024-01-02T00:00:00Z\n"
    (tmp_path / "rows.csv").write_text(rows, "utf-8")
    assert run("guess", "rows.csv", "--type", kind, "-o", "job.yaml")[0] == 0
    job = tmp_path / "job.yaml"
    text = job.read_text("utf-8")
    assert f"- type: {kind}" in text
    text = text.replace("message_key: CHOOSE", "message_key: content").replace("value: CHOOSE", "value: Done")
    job.write_text(text.replace(": CHOOSE", ": id"), "utf-8")
    assert run("check", "job.yaml")[0] == 0


def test_names_that_would_end_a_line(tmp_path: Path) -> None:
    """A name with a line break, as workbooks have them, and hostile values stay within their line of the job file."""
    rows = '"id","user_id","Order\nDate","- x: *y # z"\n' + "".join(
        f'{n},u{n % 3},2024-01-0{n} 03:04:05,"a: [\nb\u2028c\x1b[31m"\n' for n in range(1, 9)
    )
    (tmp_path / "rows.csv").write_text(rows, "utf-8")
    assert run("guess", "rows.csv", "-o", "job.yaml")[0] == 0
    text = (tmp_path / "job.yaml").read_text("utf-8")
    assert "\x1b" not in text
    assert "\u2028" not in text
    filled = text.replace("timezone: CHOOSE", "timezone: UTC").replace("value: CHOOSE", "value: Done")
    (tmp_path / "job.yaml").write_text(filled, "utf-8")
    code, out, err = run("check", "job.yaml")
    assert code == 0, err
    assert "its 8 records" in out


WHO = [
    ("id,customer_id,user id (metadata)", "userId: CHOOSE"),  # two could be
    ("id,user_id,referrer_user_id", "userId: user_id"),
    ("id,customer name,amount", "userId: CHOOSE"),
]


@pytest.mark.parametrize(("header", "said"), WHO)
def test_who_the_user_is(tmp_path: Path, header: str, said: str) -> None:
    """Where two columns could be, or none is called so, it is left open."""
    (tmp_path / "rows.csv").write_text(
        "\n".join([header, *(f"{n},a{n % 2},b{n % 3}" for n in range(9))]) + "\n", "utf-8"
    )
    assert f"    {said} " in run("guess", "rows.csv")[1]


COLUMNS = [  # its values, what is said
    ("age", ["17", "18"] * 49 + ["17.5", "22.25"], "age: decimal   "),
    ("age", ["17", "18"] * 49 + ["1e-7", "22.25"], "age: number   "),
    ("age", ["17", "18"] * 50, "age: integer   "),
    ("date", [str(day) for day in range(19580301, 19580330)], 'date: {type: timestamp, format: "%Y%m%d"}'),
    ("age", [f"{n}.5" for n in range(100)], "unique is only age, perhaps by chance: name several"),
    ("age", ["17"] * 100, "no column is unique: "),
]  # fmt: skip


@pytest.mark.parametrize(("name", "values", "said"), COLUMNS)
def test_what_a_column_is(tmp_path: Path, name: str, values: list[str], said: str) -> None:
    """The type takes every value that another one would; what is unique and still no key is not denied."""
    (tmp_path / "rows.csv").write_text(f"{name},b\n" + "".join(f"{value},x\n" for value in values), "utf-8")
    shown = run("guess", "rows.csv")[1]
    assert said in shown, shown


@pytest.mark.parametrize("name", ["Fiscal Year", "yearID"])
def test_a_year_alone(tmp_path: Path, name: str) -> None:
    """No column holds times, but one the year: what is proposed for it is accepted as it stands."""
    (tmp_path / "rows.csv").write_text(f"{name},b\n1959,x\n2009,y\n", "utf-8")
    text = run("guess", "rows.csv")[1]
    (proposed,) = re.findall(f"timestamp: CHOOSE +# of {name}" + r" its first day is (\{.*\})", text)
    text = re.sub("timestamp: CHOOSE.*", lambda _: f"timestamp: {proposed}", text)
    text = text.replace("message_key: CHOOSE", "message_key: row").replace("userId: CHOOSE", "userId: b")
    (tmp_path / "job.yaml").write_text(text.replace("value: CHOOSE", "value: E"), "utf-8")
    code, out, err = run("preview", "job.yaml", "-n", "2")
    assert code == 3, err  # 1959 is before 1970
    assert '"timestamp": "2009-01-01T00:00:00.000Z"' in out


REFUSED = [
    (["-"], 2, "save it to a file"),
    ([], 2, "nothing is named"),
    (["none.csv"], 9, "does not exist"),
    (["a.pdf"], 2, "a PDF"),
    (["a.csv", "--database", "sqlite:///x.db"], 2, "either files or a `--database`"),
]


@pytest.mark.parametrize(("words", "code", "said"), REFUSED)
def test_what_cannot_be_guessed_from(tmp_path: Path, words: list[str], code: int, said: str) -> None:
    """It is refused with a word on what to do."""
    (tmp_path / "a.pdf").write_bytes(b"%PDF-1.7")
    (tmp_path / "a.csv").write_text("a\n1\n", "utf-8")
    found, _, err = run("guess", *words)
    assert (found, said in err) == (code, True), err
