"""A browser for the tests, and a page that notes what a visitor should never see."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import pytest
from find_browser import chromium_on_path

ARGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--use-fake-device-for-media-stream",  # a green picture and a beep, for the recording test
    "--use-fake-ui-for-media-stream",
]
MUST_HAVE = os.environ.get("CI") == "true" or os.environ.get("TELLTALE_REQUIRE_BROWSER") == "1"
ANSWER_MS = 180_000  # two shared processor cores, first run loads the models


@dataclass
class Visit:
    """An open page with what it asked other hosts for and what it complained about."""

    page: object
    url: str
    foreign: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    def open(self, query: str = "") -> Visit:
        self.page.goto(self.url + "/" + query)
        self.page.wait_for_selector("#analyse")
        return self

    def choose(self, path) -> Visit:
        """Uploads a file through the input of its kind and waits until the page holds it."""
        sound = str(path).endswith((".wav", ".ogg", ".mp3"))
        if sound:
            self.page.get_by_role("tab", name="Sound only").click()
        box = self.page.locator("#sound" if sound else "#clip")
        box.locator("input[type=file]").set_input_files(str(path))
        box.locator("input[type=file]").wait_for(state="detached")
        return self

    def analyse(self) -> Visit:
        self.page.evaluate("document.querySelectorAll('#verdict h2').forEach((h) => (h.dataset.old = 1))")
        self.page.click("#analyse")
        self.page.wait_for_selector("#verdict h2:not([data-old])", timeout=ANSWER_MS)
        return self

    def media_time(self) -> float:
        return self.page.evaluate("document.querySelector('#player video, #player audio').currentTime")


@pytest.fixture(scope="session")
def browser():
    try:
        from playwright.sync_api import Error, sync_playwright
    except ImportError:
        _without_browser("playwright is not installed (pip install -r requirements-dev.txt)")
    path = chromium_on_path()
    with sync_playwright() as playwright:
        try:
            # Without a path: Playwright's own chromium, where `playwright install chromium` put one.
            opened = playwright.chromium.launch(executable_path=path, args=ARGS)
        except Error as error:
            _without_browser(f"no chromium could be started ({str(error).splitlines()[0]})")
        yield opened
        opened.close()


@pytest.fixture
def visit(browser, served_app, request) -> Iterator[Visit]:
    """A fresh page; a test may mark its size: @pytest.mark.parametrize("visit", [(390, 844)], indirect=True)."""
    width, height = getattr(request, "param", (1440, 900))
    context = browser.new_context(
        viewport={"width": width, "height": height}, permissions=["camera", "microphone"]
    )
    page = context.new_page()
    url = served_app[0]
    host = urlsplit(url).netloc
    visit = Visit(page, url)
    page.on(
        "request",
        lambda r: r.url.startswith("http") and urlsplit(r.url).netloc != host and visit.foreign.append(r.url),
    )
    page.on("pageerror", lambda e: visit.errors.append(str(e)))
    page.on("console", lambda m: m.type == "error" and visit.errors.append(m.text))
    yield visit
    context.close()


def _without_browser(why: str) -> None:
    if MUST_HAVE:
        pytest.fail(f"Browser tests must run here, but {why}.", pytrace=False)
    pytest.skip(f"Browser tests need a chromium, and {why}. Set TELLTALE_CHROMIUM or run playwright install chromium.")
