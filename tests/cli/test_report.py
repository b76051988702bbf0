"""The report: one page that loads nothing, shows what was counted and no more, and holds in a real browser."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import shutil
import subprocess
import sys
from base64 import b64encode
from hashlib import sha256
from html.parser import HTMLParser
from pathlib import Path

import pytest

from backfill.records import SentAttempt
from backfill.report.charts import bars
from backfill.report.pace import STEPS, pace_of
from tests.cli.test_plan_contents import project
from tests.support.projects import backfill

CHROMIUM = shutil.which("chromium")
#: Pixels of a sheet of A4 between its margins.
PAPER = 718
LOOKS = [(which, width, False) for which in ("dry", "run") for width in (390, 1280)]
EVIL = "<img src=x onerror=alert(1)>\"'&"


class Page(HTMLParser):
    """The elements of a page: whether it is well formed, its tags and attributes, its text."""

    VOID = frozenset({"meta", "link", "img", "br", "rect", "path"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: list[tuple[str, str | None]] = []
        self.words: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note an element."""
        self.tags.add(tag)
        self.attributes += attrs

    def handle_data(self, data: str) -> None:
        """Note a text."""
        self.words.append(data)


@pytest.fixture(scope="module")
def reports(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The report of a dry run and of a run, whose names and values are hostile."""
    folder = tmp_path_factory.mktemp("report")
    job = project(folder)
    job.write_text(
        job.read_text(encoding="utf-8").replace(
            "always: {value: 1}", f"{json.dumps(EVIL)}: {json.dumps({'value': EVIL})}"
        ),
        encoding="utf-8",
    )
    dry, ran = folder / "dry.html", folder / "run.html"
    assert backfill("dry-run", job, "--report", dry).code == 3
    assert backfill("run", job, "--target", "sandbox", "--yes").code == 3
    assert backfill("report", job, "-o", ran).code == 0
    return {"dry": dry, "run": ran}


@pytest.mark.parametrize("which", ["dry", "run"])
def test_a_page_that_loads_nothing(reports: dict[str, Path], which: str) -> None:
    """No script, no handler, no address: its policy allows its own style by hash, and nothing else."""
    text = reports[which].read_text(encoding="utf-8")
    page = Page(text)
    assert not page.tags & {"script", "link", "img", "iframe", "object", "form", "base"}
    assert not [name for name, _ in page.attributes if name.startswith("on") or name in ("style", "src", "href")]
    style = re.search(r"<style>(.*?)</style>", text, re.DOTALL)
    assert style is not None
    digest = b64encode(sha256(style[1].encode()).digest()).decode()
    assert f"default-src 'none'; style-src 'sha256-{digest}'" in text
    assert "url(" not in style[1]
    assert "@import" not in style[1]
    assert EVIL in "".join(page.words)
    assert "<img" not in text


def test_what_it_shows(reports: dict[str, Path]) -> None:
    """The counts of the ledger, the identities with their numbers, masked samples, and no whole call."""
    words = " ".join(" ".join(Page(reports["dry"].read_text(encoding="utf-8")).words).split())
    assert "Dry run: nothing was sent" in words
    assert "to sandbox What a run of this job would send." in words
    assert "4 calls to send" in words
    assert "read 5 filtered 0 unreadable 0 mapped 5" in words
    assert "planned 5 delivered 0 rejected 1" in words
    assert "it adds up" in words
    assert "a...@...org" in words
    assert "ann@example.org" not in words
    assert '"messageId"' not in words
    run = " ".join(" ".join(Page(reports["run"].read_text(encoding="utf-8")).words).split())
    assert "4 delivered" in run
    assert "Calls accepted, a second" in run
    assert "finished (exit 3)" in run


def test_where_it_may_be_written(tmp_path: Path) -> None:
    """Never over a file that is there but with --force, never over what a run reads, and not for several jobs."""
    job = project(tmp_path)
    page = tmp_path / "page.html"
    assert backfill("dry-run", job, "--report", page).code == 3
    before = page.read_bytes()
    for arguments in (("report", job, "-o", page), ("dry-run", job, "--report", page)):
        refused = backfill(*arguments)
        assert refused.code == 2
        assert "it exists" in refused.err
    assert page.read_bytes() == before
    assert backfill("report", job, "-o", page, "--force").code == 0
    assert "the suffix says the format" in backfill("report", job, "-o", tmp_path / "page.txt").err
    (tmp_path / "more.yaml").write_text(job.read_text(encoding="utf-8").replace("name: orders", "name: more"), "utf-8")
    several = backfill("dry-run", job, tmp_path / "more.yaml", "--report", tmp_path / "two.html")
    assert several.code == 2
    assert "there are 2 jobs" in several.err


def test_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the libraries it is said how to have them, before anything is read."""
    monkeypatch.setitem(sys.modules, "pygal", None)
    refused = backfill("dry-run", project(tmp_path), "--report", tmp_path / "page.html")
    assert refused.code == 2
    assert "reports are made with pygal, which is not installed" in refused.err
    assert " 'backfill[report]'" in refused.err


def test_charts_are_escaped() -> None:
    """A name in a chart is text, and no script, style or tooltip of the library is left."""
    chart = bars({EVIL: 3, "b": 1}, label="Calls")
    assert "<script" not in chart
    assert "<style" not in chart
    assert "<img" not in chart
    assert "onerror" in chart
    assert 'aria-label="Calls"' in chart


def test_the_pace_of_a_delivery() -> None:
    """Calls, waits, requests under way and pauses, in steps; an attempt without an end counts in none."""
    attempts = [SentAttempt(100.0 + at, 101.0 + at, "accepted", 200, 50) for at in range(10)]
    attempts += [SentAttempt(130.0, 148.0, "unknown", 503, 50), SentAttempt(140.0, None, None, None, 50)]
    pace = pace_of(attempts)
    assert pace is not None
    assert (pace.began, pace.seconds) == (100.0, 48.0)
    assert pace.calls[1:10] == (50.0,) * 9
    assert pace.median[5] == 1.0
    assert pace.under_way[4] == pytest.approx(1.0)
    assert sum(pace.failed) == 1
    assert pace.pauses == ((110.0, 20.0),)
    assert len(pace.labels) == STEPS
    assert pace_of(attempts[-1:]) is None


def test_the_time_between_two_processes_is_left_out() -> None:
    """A day until somebody resumed is no pause, and takes no room in the charts."""
    day = 86_400.0
    first = [SentAttempt(100.0 + at, 101.0 + at, "accepted", 200, 50) for at in range(10)]
    second = [SentAttempt(one.sent_at + day, 101.0 + day + at, "accepted", 200, 50) for at, one in enumerate(first)]
    pace = pace_of([*first, *second], [99.0, day + 98.0])
    assert pace is not None
    assert pace.idle == ((110.0, day - 12.0),)
    assert (pace.seconds, pace.pauses) == (22.0, ((110.0, 2.0),))  # two seconds until the second sent
    assert sum(pace.calls) * pace.seconds / STEPS == pytest.approx(1000)
    assert max(one for one in pace.slowest if one is not None) == pytest.approx(1.0)


def test_a_bar_beside_a_large_one() -> None:
    """Of counts that differ much each has a bar to be seen, on an axis of powers of ten; others stay linear."""
    far = bars({"a": 1, "b": 125_000}, label="Problems", logarithmic=True)
    near = bars({"a": 1, "b": 12}, label="Problems", logarithmic=True)
    assert 'aria-label="Problems, logarithmic"' in far
    assert 'aria-label="Problems"' in near
    heights = [float(one) for one in re.findall(r'height="([\d.]+)" class="rect reactive', far)]
    assert len(heights) == 2
    assert min(heights) > max(heights) / 25


@pytest.mark.skipif(CHROMIUM is None, reason="chromium is not there: nobody has looked at the report in a browser")
@pytest.mark.parametrize(("which", "width", "paper"), [*LOOKS, ("run", PAPER, True)])
def test_in_a_browser(reports: dict[str, Path], tmp_path: Path, which: str, width: int, *, paper: bool) -> None:
    """Chromium has nothing to complain of, asks for no other address, and the page is as wide as the screen or paper.

    TAB goes from top to bottom, and to all that opens. What is closed on the screen is open on paper.
    """
    text = reports[which].read_text("utf-8")
    text = printed(text) if paper else text
    frame = tmp_path / "frame.html"
    inside = json.dumps(text).replace("</", "<\\/")
    frame.write_text(
        f"""<!doctype html><iframe width="{width}" height="800"></iframe><p id="told"></p><script>
        const frame = document.querySelector("iframe")
        frame.onload = () => {{
          const root = frame.contentDocument.documentElement, asked = frame.contentWindow.performance
          const resources = asked.getEntriesByType("resource").length
          const stops = [...root.querySelectorAll("a[href], button, input, summary, [tabindex]")]
          const tops = stops.map(stop => stop.getBoundingClientRect().top)
          const astray = stops.filter((stop, at) => stop.tabIndex !== 0 || at && tops[at] < tops[at - 1]).length
          const closed = [...root.querySelectorAll("details table")].filter(one => !one.checkVisibility(
            {{contentVisibilityAuto: true}}) || one.getBoundingClientRect().height === 0).length
          const told = `told ${{root.scrollWidth}} of ${{root.clientWidth}}, ${{resources}}, ${{stops.length}}`
            + ` stops, ${{astray}} astray, ${{closed}} closed`
          document.querySelector("#told").textContent = told
        }}
        frame.srcdoc = {inside}</script>""",
        encoding="utf-8",
    )
    assert CHROMIUM is not None
    command = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr", "--no-first-run"]
    command += [f"--user-data-dir={tmp_path / 'user'}", "--disable-background-networking", "--disable-component-update"]
    command += ["--host-resolver-rules=MAP * ~NOTFOUND", "--virtual-time-budget=3000", "--dump-dom", f"file://{frame}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    told = re.search(r"told (\d+) of (\d+), (\d+), (\d+) stops, (\d+) astray, (\d+) closed", done.stdout)
    assert told is not None, done.stderr[-2000:]
    assert int(told[1]) <= int(told[2])
    assert (told[3], told[5]) == ("0", "0")
    assert int(told[4]) == text.count("<summary") > 0
    assert told[6] == "0"
    assert "CONSOLE" not in done.stderr, done.stderr


def printed(text: str) -> str:
    """The page with what holds for paper on the screen, and nothing opened by hand."""
    (style,) = re.findall(r"<style>(.*?)</style>", text, re.DOTALL)
    other = style.replace("@media print", "@media screen")
    digests = [base64.b64encode(hashlib.sha256(one.encode()).digest()).decode() for one in (style, other)]
    return text.replace(style, other).replace(*digests).replace("<details open>", "<details>")


def test_contrast() -> None:
    """Texts and their grounds differ by 4.5 to 1 at least, light, dark and printed (WCAG 2.2, 1.4.3)."""
    style = (Path(__file__).parents[2] / "backfill/report/page.css").read_text("utf-8")
    themes = [dict(re.findall(r"--(\w+):(#\w+)", block)) for block in re.findall(r":root\{[^}]*\}", style)]
    assert len(themes) == 3
    for theme in themes:
        for ground in ("paper", "card"):
            for ink in ("ink", "soft", "accent", "second"):
                assert contrast(theme[ink], theme[ground]) >= 4.5, (ink, ground, theme)


def contrast(one: str, other: str) -> float:
    """The contrast ratio of two colours (WCAG 2.2)."""
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def luminance(colour: str) -> float:
    """Relative luminance of #rgb or #rrggbb."""
    digits = colour[1:] if len(colour) == 7 else "".join(2 * digit for digit in colour[1:])
    parts = [int(digits[at : at + 2], 16) / 255 for at in (0, 2, 4)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue
