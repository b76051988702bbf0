"""The recipes for vendors' exports: each sends the expected calls, which stand in tests/golden/recipes."""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.support.postgres import Postgres
from tests.support.projects import backfill

REPOSITORY = Path(__file__).parents[2]
RECIPES = sorted(path.stem for path in (REPOSITORY / "jobs" / "recipes").glob("*.yaml"))
#: What the sandbox, or the run, adds to a call.
ADDED = ("sentAt", "receivedAt", "originalTimestamp")


def held(state: Path) -> Iterator[dict[str, Any]]:
    """The calls that the sandbox holds, in the order of their arrival."""
    (file,) = (state / "sandbox").rglob("*.sqlite3")
    with closing(sqlite3.connect(file)) as connection:
        texts = connection.execute("SELECT json FROM calls ORDER BY number").fetchall()
    for (text,) in texts:
        call = {name: value for name, value in json.loads(text).items() if name not in ADDED}
        assert call["context"].pop("library")["name"] == "backfill"
        yield call


@pytest.mark.parametrize("recipe", RECIPES)
def test_what_a_recipe_sends(
    tmp_path: Path, repository: Path, recipe: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Checked and run against the sandbox, a recipe makes of its sample the calls that are expected, ids included."""
    if recipe == "postgres":
        server: Postgres = request.getfixturevalue("postgres")
        made = (repository / "sample_data" / "recipes" / "postgres" / "shop.sql").read_text("utf-8")
        monkeypatch.setenv("SHOP_DATABASE", server.url(server.new_database(made)))
    for name in ("jobs", "sample_data"):
        shutil.copytree(repository / name / "recipes", tmp_path / name / "recipes")
    job = tmp_path / "jobs" / "recipes" / f"{recipe}.yaml"
    checked = backfill("check", job)
    assert checked.code == 0, checked.err
    run = backfill("run", job, "--target", "sandbox", "--output", "json")
    assert run.code == 0, run.err
    assert run.object["problems"] == {}
    expected = (repository / "tests" / "golden" / "recipes" / f"{recipe}.ndjson").read_text("utf-8").splitlines()
    assert list(held(job.parent / ".backfill")) == list(map(json.loads, expected))


def test_every_recipe_is_described(repository: Path) -> None:
    """The page has each recipe, and each says what the vendor's export gets wrong."""
    page = (repository / "docs" / "recipes.md").read_text("utf-8")
    for recipe in RECIPES:
        _, found, section = page.partition(f"(../jobs/recipes/{recipe}.yaml)")
        assert found, recipe
        assert "Known to go wrong" in section.partition("\n## ")[0], recipe
    assert len(RECIPES) > 9
