"""The notebooks: every cell runs on real runs, and what they show is what those hold."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOKS = ("plan", "run")


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory, repository: Path) -> Path:
    """The state directory of two finished runs, of which one rejected rows."""
    folder = tmp_path_factory.mktemp("state")
    jobs = [str(repository / "jobs" / name) for name in ("01-users.yaml", "05-orders.yaml")]
    command = [sys.executable, "-m", "backfill", "run", *jobs, "--target", "sandbox", "--state-dir", str(folder)]
    own = {name: value for name, value in os.environ.items() if not name.startswith(("BACKFILL_", "SEGMENT_"))}
    environment = own | {"PYTHONPATH": str(repository)}
    done = subprocess.run(command, check=False, capture_output=True, encoding="utf-8", env=environment, cwd=folder)
    assert done.returncode == 3, done.stderr
    return folder


def executed(name: str, repository: Path, state: Path) -> tuple[str, list[str]]:
    """What a notebook prints and its charts' HTML, after all its cells ran; the first failing cell raises."""
    content = nbformat.read(repository / "notebooks" / f"{name}.ipynb", as_version=4)
    client = NotebookClient(content, timeout=120, kernel_name="python3", resources={"metadata": {"path": str(state)}})
    own = {"BACKFILL_STATE_DIR": str(state), "BACKFILL_JOB": str(state / "jobs" / "05-orders.yaml")}
    client.execute(env=os.environ | own | {"PYTHONWARNINGS": "ignore"})
    outputs = [output for cell in content.cells for output in cell.get("outputs", [])]
    shown = [output.get("data", {}).get("text/html", "") for output in outputs]
    return "".join(output.get("text", "") for output in outputs), [html for html in shown if "vega-embed" in html]


def test_a_run_is_audited(state: Path, repository: Path) -> None:
    """On ledgers of real runs the accounts add up, and the charts are drawn with their data."""
    printed, charts = executed("run", repository, state)
    assert "6 of 6 accounts add up; 0 calls are unaccounted for" in printed
    assert "0 batches are in doubt" in printed
    assert len(charts) == 2
    assert set(re.findall(r'"outcome": "(\w+)"', charts[0])) == {"accepted"}
    assert set(re.findall(r'"job": "([\w-]+)"', charts[1])) == {"shop-users", "shop-orders"}


def test_a_plan_is_explored(state: Path, repository: Path) -> None:
    """Nothing is sent: what would be is counted, drawn by month and property, and named for `--plan`."""
    for name in ("jobs", "sample_data"):
        shutil.copytree(repository / name, state / name)
    printed, charts = executed("plan", repository, state)
    assert "shop-orders: 1,825 calls would be sent, 10 rejected" in printed
    assert re.search(r"billed as 1,825 calls, [\d,]+ tracked users", printed)
    assert re.search(r"--plan [0-9a-f]{12}\n", printed)
    assert len(charts) == 2
    assert '"month": "2020-01"' in charts[0]
    assert '"property": "gift_note"' in charts[1]


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_notebooks_are_kept_without_outputs(repository: Path, name: str) -> None:
    """No output and no execution count in the repository: a diff of it shows what a person changed."""
    content = nbformat.read(repository / "notebooks" / f"{name}.ipynb", as_version=4)
    nbformat.validate(content)
    code = [cell for cell in content.cells if cell.cell_type == "code"]
    assert all(cell.outputs == [] and cell.execution_count is None for cell in code)
    assert any("from backfill import" in cell.source for cell in code)
