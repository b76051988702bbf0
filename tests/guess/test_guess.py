"""`guess` over exports of many shapes: nearly all right, nothing silently wrong, and sound once blanks are filled."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from backfill.document import read_document
from backfill.errors import JobError
from backfill.guess import Asked, Guess, guess
from backfill.job import load_job
from backfill.pipeline.check import check_job
from backfill.pipeline.context import RunContext
from backfill.state import open_store
from tests.support.guess_exports import BLANK, EXPORTS, Export

#: What fills a blank where an export says nothing else, by the end of its path.
FILLS = {
    "timezone": "Europe/Berlin",
    "event.value": "Something Done",
    "encoding": "cp1252",
    "decimal": '","',
    "message_key": "content",
}


def guessed(export: Export, folder: Path) -> tuple[Guess, Path]:
    """The guess, and the job file that it is in."""
    export.write(folder / export.name)
    job = folder / "job.yaml"
    found = guess(Asked(data=(str(folder / export.name),), **export.asked), job, export.name)
    job.write_text(found.text, "utf-8")
    return found, job


def said(job: Path) -> dict[str, Any]:
    """What the job file says of what matters, by the names that the table has for it."""
    data = read_document(job, "job file").data
    call = data.get("defaults", {}) | data["calls"][0]
    source = data["source"]
    found = {"zone": source.get("timezone"), "format": source.get("format")}
    found |= {name: source.get("csv", {}).get(name) for name in ("delimiter", "encoding")}
    found["header_row"] = source.get("excel", {}).get("header_row")
    found["nulls"] = source.get("csv", {}).get("null_values")
    for name, value in call.items():
        found[name] = value["value"] if isinstance(value, dict) and "value" in value else value
    for name, value in source.get("columns", {}).items():
        found[f"column {name}"] = value
        if isinstance(value, dict):
            found |= {f"column {name}.{setting}": one for setting, one in value.items()}
    return found


def verdicts(export: Export, job: Path) -> dict[str, str]:
    """Of each thing that matters whether it is right, open, or wrong."""
    found = said(job)
    out = {}
    for name, right in export.right.items():
        value = found.get(name)
        is_open = value == BLANK or (isinstance(value, dict) and f"'{BLANK}'" in str(value))
        out[name] = (
            "right" if value == right or (is_open and right == BLANK) else "open" if is_open else f"wrong: {value}"
        )
    return out


def fill(job: Path, fills: dict[str, str]) -> None:
    """Put values into the blanks, as whoever reads the file does."""
    try:
        load_job(job)
    except JobError as error:
        lines = job.read_text("utf-8").splitlines()
        for fault in error.faults:
            assert fault.message == "is still to be chosen", fault
            end = next((end for end in (*fills, *FILLS) if fault.path.endswith(end)), "")
            value = (fills | FILLS)[end] if end else "UTC"
            lines[fault.line - 1] = lines[fault.line - 1].replace(BLANK, value, 1)
        job.write_text("\n".join(lines) + "\n", "utf-8")


@pytest.fixture(scope="module")
def guesses(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Guess, Path]]:
    """The guess of each export, made once."""
    return {export.name: guessed(export, tmp_path_factory.mktemp("export")) for export in EXPORTS}


@pytest.mark.parametrize("export", EXPORTS, ids=lambda one: one.name)
def test_nothing_is_silently_wrong_and_it_passes_check(
    export: Export, guesses: dict[str, tuple[Guess, Path]], tmp_path: Path
) -> None:
    """Each thing is right or open; filled, the job fits its source and no record of it is rejected."""
    found, job = guesses[export.name]
    judged = verdicts(export, job)
    assert not {name: one for name, one in judged.items() if one not in ("right", "open")}
    lines = found.text.splitlines()
    assert [line for line, text in enumerate(lines, 1) if BLANK in text.split(" # ")[0] and text[0] != "#"] == list(
        found.blanks
    )
    filled = job.with_name("filled.yaml")
    filled.write_text(found.text, "utf-8")
    fill(filled, export.fill)
    job = filled
    checked = check_job(load_job(job), RunContext(open_store(tmp_path / "state")), lambda _slip: None)
    assert checked.counts is None or (checked.counts.rejected, checked.counts.unreadable) == (0, 0), checked.samples


def test_share_that_is_right(guesses: dict[str, tuple[Guess, Path]]) -> None:
    """Over all exports at least nine tenths are right; what is left open where the data decides is not."""
    right = [one == "right" for export in EXPORTS for one in verdicts(export, guesses[export.name][1]).values()]
    assert len(EXPORTS) >= 25
    assert sum(right) >= 0.9 * len(right), f"{sum(right)} of {len(right)}"


@pytest.mark.parametrize("vendor", ["amplitude", "ga4", "posthog"])
def test_a_recipe_over_its_own_sample_is_whole(vendor: str, repository: Path, tmp_path: Path) -> None:
    """What a recipe's query makes of the columns is not taken for a column that the export lacks."""
    sample = next((repository / "sample_data" / "recipes" / vendor).iterdir())
    job = tmp_path / "job.yaml"
    job.write_text(guess(Asked(data=(str(sample),)), job, sample.name).text, "utf-8")
    recipe = read_document(repository / "jobs" / "recipes" / f"{vendor}.yaml", "job file").data
    assert read_document(job, "job file").data["calls"] == recipe["calls"]
