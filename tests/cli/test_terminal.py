"""On a terminal: the sandbox by default, progress bars, colours, and the question before a live run."""

from __future__ import annotations

import re
import signal
from dataclasses import replace
from pathlib import Path

import pytest

from backfill.cli.confirm import confirmation_text
from backfill.cli.layout import wrap
from backfill.pipeline import Confirmation
from backfill.sandbox import Sandbox
from tests.support.projects import Project
from tests.support.terminals import Terminal


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """An empty project."""
    return Project(tmp_path)


def test_sandbox_by_default_with_bars(project: Project) -> None:
    """On a terminal `run JOB` alone rehearses in the sandbox, with a bar for each step."""
    code, text = Terminal(project, "run", project.people(40_000, bad=[3])).end()
    assert code == 3
    assert "SANDBOX: nothing left this machine" in text
    for step in ("stage", "prepare", "deliver"):
        assert f"people {step}:" in text
    assert "40,000/40,000 rows [" in text
    assert not re.findall(r"\d\.\d+/|\.\d+ rows", text), "counts are whole"
    staged = [int(found.replace(",", "")) for found in re.findall(r"people stage: ([\d,]+) rows", text)]
    assert staged[-1] == 40_000
    assert "calls/s" in text
    assert "MB/s" in text
    assert "\x1b[33m" in text


def test_no_bar_of_nothing(project: Project) -> None:
    """Where every row is rejected nothing is delivered, and no bar stays at 0%."""
    text = Terminal(project, "run", project.people(3, bad=[0, 1, 2])).end()[1]
    assert "3/3 rows [" in text
    assert "3 rejected" in text
    assert "people deliver:" not in text


def test_bars_fit_eighty_columns(project: Project) -> None:
    """No bar is cut; what does not fit is left out, the bytes a second first."""
    job = project.people(40_000, name="flights")
    code, text = Terminal(project, "dry-run", job, columns=80).end()
    assert code == 0
    bars = [line for line in re.split(r"[\r\n]+", text) if re.search(r"(stage|prepare): ", line)]
    assert any("40,000/40,000 rows [" in line for line in bars)
    assert any("rows/s" in line for line in bars)
    for line in bars:
        shown = re.sub(r"\x1b\[[\d;]*[A-Za-z]", "", line).rstrip()
        assert len(shown) <= 80
        assert shown.endswith("]"), shown


def test_no_colour_and_no_progress(project: Project) -> None:
    """NO_COLOR and --no-progress leave plain text."""
    environ = {"NO_COLOR": "1"}
    code, text = Terminal(project, "run", project.people(500, bad=[3]), "--no-progress", environ=environ).end()
    assert code == 3
    assert "\x1b[" not in text
    assert "MB/s" not in text


def test_quiet_draws_no_bars(project: Project) -> None:
    """-q leaves what is wrong, and a bar is not."""
    code, text = Terminal(project, "run", project.people(500), "-q").end()
    assert code == 0
    assert "MB/s" not in text


def test_confirmation_of_a_canary() -> None:
    """What goes now is told from what goes later, and rows that could not be read are not forgotten; in 80 columns."""
    asked = Confirmation(
        "job", "prod", "segment", "", "https://x", "abc", 5000, 10, 51, 1, "2023-01-01", "2023-01-02", 1.0, 1.0, Path()
    )
    text = confirmation_text(replace(asked, warning="earlier runs were sent with another key. " * 4))
    assert "10 of 5,000 to send now" in text
    assert "51 calls rejected by the checks, 1 row unreadable" in text
    assert max(map(len, text.splitlines())) > 80
    assert max(map(len, wrap(text, 80).splitlines())) <= 80


def test_confirmation_of_refused_calls() -> None:
    """What the checks rejected is told from what the target refused, and one of a kind is one."""
    asked = Confirmation(
        "job", "prod", "segment", "", "https://x", "abc", 1, 1, 1, 0, "2023-01-01", "2023-01-02", 1.0, 1.0, Path()
    )
    assert "1 call rejected by the checks\n" in confirmation_text(asked)
    text = confirmation_text(replace(asked, refused=1, unreadable=2, earlier=9, delivered_before=1))
    assert "1 call rejected by the checks, 1 call refused by the target before, 2 rows unreadable\n" in text
    assert "1 of this plan is among them and left out, 1 is new" in text


@pytest.mark.parametrize(("answer", "code", "delivered"), [("n", 130, 0), ("", 130, 0), ("y", 0, 200)])
def test_question_before_a_live_run(project: Project, answer: str, code: int, delivered: int) -> None:
    """Nothing is sent before somebody says yes; anything else keeps what was prepared for later."""
    with Sandbox() as sandbox:
        terminal = Terminal(
            project, "run", project.people(200), "--target", "segment", "--endpoint", sandbox.endpoint, "--no-progress"
        )
        terminal.read_until(lambda text: "[y/N]" in text)
        assert sandbox.stats()["requests"] == 0
        terminal.type(f"{answer}\n")
        ended, text = terminal.end()
        assert ended == code
        assert f"[y/N] {answer}\n" in re.sub(r"\x1b\[\d*m", "", text)
        assert sandbox.stats()["received"] == delivered
        assert "Error" not in text
        assert ("Nothing was sent, as the answer was no" in text) == (code != 0)


def test_ctrl_c_at_the_question(project: Project) -> None:
    """Ctrl-C while the question waits is a no, at once."""
    with Sandbox() as sandbox:
        options = ["--target", "segment", "--endpoint", sandbox.endpoint]
        terminal = Terminal(project, "run", project.people(200), *options)
        terminal.read_until(lambda text: "[y/N]" in text)
        terminal.process.send_signal(signal.SIGINT)
        code, text = terminal.end()
        assert code == 130
        assert "backfill resume" in text
        assert sandbox.stats()["requests"] == 0


def test_confirmation_without_days_or_rate() -> None:
    """An empty plan and an unlimited rate are told as what they are."""
    asked = Confirmation(
        "job", "prod", "segment", "eu", "https://x", "abc", 0, 0, 0, 0, "", "", None, None, Path("/state")
    )
    text = confirmation_text(asked)
    assert "0 to send\n" in text
    assert "region eu" in text
    assert "as fast as the target takes them" in text


def test_bars_of_several_jobs(project: Project) -> None:
    """Each bar says which job of how many it is of."""
    one, two = project.people(3_000, name="one"), project.people(3_000, name="two")
    code, text = Terminal(project, "run", one, two).end()
    assert code == 0
    assert "1/2 one prepare:" in text
    assert "2/2 two prepare:" in text
