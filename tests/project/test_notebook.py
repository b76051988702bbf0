"""The notebook: every cell runs on real ledgers, and what it shows is what they hold."""

import os
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOK = Path("notebooks") / "finished_run.ipynb"


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


def executed(notebook: Path, state: Path) -> nbformat.NotebookNode:
    """The notebook after all its cells ran, with that state directory; the first failing cell raises."""
    content = nbformat.read(notebook, as_version=4)
    client = NotebookClient(content, timeout=120, kernel_name="python3", resources={"metadata": {"path": str(state)}})
    client.execute(env=os.environ | {"BACKFILL_STATE_DIR": str(state), "PYTHONWARNINGS": "ignore"})
    return content


def test_every_cell_of_the_notebook_runs(state: Path, repository: Path) -> None:
    """On ledgers of real runs the accounts add up and both charts are drawn with their data."""
    content = executed(repository / NOTEBOOK, state)
    outputs = [output for cell in content.cells for output in cell.get("outputs", [])]
    printed = "".join(output.get("text", "") for output in outputs)
    assert "6 of 6 accounts add up" in printed
    charts = [html for output in outputs if "vega-embed" in (html := output.get("data", {}).get("text/html", ""))]
    assert len(charts) == 2
    assert set(re.findall(r'"call": "(\w+)"', charts[0])) == {"identify", "completed", "refunded"}
    assert set(re.findall(r'"job": "([\w-]+)"', charts[1])) == {"shop-users", "shop-orders"}
    assert {"BF107", "BF113"} <= set(re.findall(r'"code": "(\w+)"', charts[1]))


def test_the_notebook_is_kept_without_outputs(repository: Path) -> None:
    """No output and no execution count in the repository: a diff of it shows what a person changed."""
    content = nbformat.read(repository / NOTEBOOK, as_version=4)
    nbformat.validate(content)
    code = [cell for cell in content.cells if cell.cell_type == "code"]
    assert all(cell.outputs == [] and cell.execution_count is None for cell in code)
