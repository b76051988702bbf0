"""The pages in Chromium: a run is watched arriving, paused, filtered, opened, compared, by mouse and by keyboard.

Nothing is said on the console, nothing is asked of any other address, and no page is wider than the screen.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import httpx
import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

from backfill.sandbox import Sandbox
from tests.support.sandbox_calls import KEY, call, client_of

expect.set_options(timeout=60_000)
CHROMIUM = shutil.which("chromium")
EVIL = '<img src=x onerror="document.title=1">\''
pytestmark = pytest.mark.skipif(
    CHROMIUM is None, reason="chromium is not there: nobody has looked at the pages in a browser"
)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """The browser of all tests."""
    with sync_playwright() as playwright:
        arguments = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
        running = playwright.chromium.launch(executable_path=CHROMIUM, args=arguments)
        yield running
        running.close()


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    """A sandbox in memory, which nobody has sent anything."""
    with Sandbox() as running:
        yield running


@pytest.fixture
def client(sandbox: Sandbox) -> Iterator[httpx.Client]:
    """Sends to it."""
    with client_of(sandbox.endpoint, auth=KEY) as one:
        yield one


def send(client: httpx.Client, run: str, calls: list[object]) -> None:
    """One batch of a run."""
    assert client.post("/v1/batch", json={"batch": calls}, headers={"Backfill-Run": run}).status_code == 200


def opened(context: BrowserContext, endpoint: str, said: list[str]) -> Page:
    """A page that notes what is said on its console, what fails, and what is asked of other addresses."""
    page = context.new_page()
    page.set_default_timeout(60_000)
    page.on("console", lambda message: said.append(f"console: {message.text}"))
    page.on("pageerror", lambda error: said.append(f"error: {error}"))
    page.on("request", lambda asked: None if asked.url.startswith((endpoint, "data:")) else said.append(asked.url))
    return page


def test_a_run_is_watched_filtered_opened_and_compared(
    browser: Browser, sandbox: Sandbox, client: httpx.Client
) -> None:
    """From the empty page to two rehearsals compared."""
    said: list[str] = []
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    page = opened(context, sandbox.endpoint, said)
    page.goto(sandbox.endpoint)
    rows = page.locator("ol.calls > li")
    expect(page.get_by_text("No call has come yet")).to_be_visible()
    expect(page.get_by_role("status")).to_have_text("Watching.")
    send(client, "first", [call("m1", userId="ann"), call("m2", userId="bob", event=EVIL)])
    expect(rows).to_have_count(2)
    expect(rows.first).to_contain_text(EVIL)
    expect(page.locator("[data-count=accepted]")).to_have_text("2")
    expect(page.get_by_text("No call has come yet")).to_have_count(0)

    page.get_by_role("button", name="Pause").press("Enter")
    send(client, "first", [call("m1", userId="ann"), {"type": "track", "userId": "ann"}])
    expect(page.get_by_role("button", name="Go on")).to_have_attribute("aria-pressed", "true")
    expect(rows).to_have_count(2)
    page.get_by_role("button", name="Go on").press("Space")
    expect(rows).to_have_count(4)
    expect(rows.filter(has_text="dropped: event_not_defined")).to_have_count(1)

    page.get_by_role("textbox", name="User").fill("ann")
    page.get_by_label("Outcome").select_option("accepted")
    page.get_by_label("Outcome").press("Tab")
    page.keyboard.press("Enter")
    expect(rows).to_have_count(1)
    send(client, "second", [call("m3", userId="bob"), call("m4", userId="ann")])
    expect(rows).to_have_count(2)
    rows.first.get_by_role("link").first.click()
    expect(page.get_by_label("The call as JSON")).to_contain_text('"messageId": "m4"')
    page.get_by_role("link", name="ann").click()
    expect(rows).to_have_count(4)
    page.get_by_role("link", name="Drops").click()
    page.get_by_role("link", name="event_not_defined").click()
    expect(rows).to_have_count(1)
    page.get_by_role("link", name="Runs").click()
    page.get_by_role("button", name="Compare").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Two runs compared")
    expect(page.locator(".outcome", has_text="gone")).to_have_count(2)
    expect(page.locator(".outcome", has_text="added")).to_have_count(2)
    context.close()
    assert said == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_pages_fit_the_screen(
    browser: Browser, sandbox: Sandbox, client: httpx.Client, width: int, scheme: str
) -> None:
    """No page scrolls sideways, however long the names, and every link and control has a name."""
    for run in ("shop-orders-sandbox of 2026-11-29 13:00:00", "x" * 200):
        long = [
            call(f"m{n}", userId="u" * (1 + 90 * n), event="E" * (1 + 60 * n), properties={"long": "y" * 400})
            for n in range(4)
        ]
        send(client, run, [*long, call(f"{run[:5]}"), {"type": "page" * 20}, {"type": "track", "userId": "a b"}])
    said: list[str] = []
    context = browser.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme)
    page = opened(context, sandbox.endpoint, said)
    for path in (
        "/",
        "/call?number=4",
        "/call?number=6",
        "/user?of=4",
        "/counts",
        "/dropped",
        "/runs",
        "/run?number=2",
        "/compare?before=1&after=2",
    ):
        page.goto(f"{sandbox.endpoint}{path}")
        wide, seen = page.evaluate("[document.documentElement.scrollWidth, document.documentElement.clientWidth]")
        assert wide <= seen, path
        nameless = page.evaluate(
            """[...document.querySelectorAll("a[href], button, input, select, summary")].filter(one =>
            !(one.textContent.trim() || one.labels?.length || one.getAttribute("aria-label"))).length"""
        )
        assert nameless == 0, path
        paper, ink = page.evaluate("(s => [s.backgroundColor, s.color])(getComputedStyle(document.body))")
        assert (paper == "rgb(255, 255, 255)") is (scheme == "light"), (paper, ink)
    context.close()
    assert said == []


def test_by_keyboard(browser: Browser, sandbox: Sandbox, client: httpx.Client) -> None:
    """TAB goes through the page in its order, begins with the way to its content, and is seen where it is."""
    send(client, "first", [call("m1")])
    context = browser.new_context()
    page = opened(context, sandbox.endpoint, [])
    page.goto(sandbox.endpoint)
    stops = []
    for _ in range(16):
        page.keyboard.press("Tab")
        stops.append(
            page.evaluate("document.activeElement.textContent.trim().slice(0, 20) || document.activeElement.name")
        )
        if len(stops) > 1 and stops[-1] not in {"", None}:
            outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
            assert outline != "none" or page.evaluate("document.activeElement === document.body"), stops[-1]
    assert stops[:5] == ["To the content", "Calls", "Counts", "Drops", "Runs"]
    assert "Pause" in stops
    assert "Order Completed" in stops
    context.close()
