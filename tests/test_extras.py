"""What a missing extra is installed with: the command of whatever has made the environment."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from backfill.errors import UsageError
from backfill.extras import how_to_install, required


def test_the_command_is_that_of_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of pipx, of uv's tools, of one that uv made, of one that is active, of any other."""
    here = tmp_path / "my tools" / "backfill"
    here.mkdir(parents=True)
    monkeypatch.setattr(sys, "prefix", str(here))
    monkeypatch.setattr(sys, "executable", str(here / "bin" / "python"))
    monkeypatch.setattr("backfill.extras.find_spec", lambda _: object())
    monkeypatch.setenv("VIRTUAL_ENV", str(here))
    assert how_to_install("x") == "pip install x"
    monkeypatch.delenv("VIRTUAL_ENV")
    assert how_to_install("x") == f"'{here}/bin/python' -m pip install x"
    monkeypatch.setattr("backfill.extras.find_spec", lambda _: None)
    monkeypatch.setattr("backfill.extras.shutil.which", lambda name: f"/bin/{name}")
    assert how_to_install("x") == f"uv pip install --python '{here}' x"
    (here / "pipx_metadata.json").touch()
    assert how_to_install("x") == "pipx runpip backfill install x"
    (here / "pipx_metadata.json").rename(here / "uv-receipt.toml")
    assert how_to_install("x") == f"uv pip install --python '{here}' x"
    monkeypatch.setitem(sys.modules, "pygal", None)
    with pytest.raises(UsageError) as told:
        required("pygal", "report", "reports")
    assert told.value.hint == f"uv pip install --python '{here}' 'backfill[report]'"
