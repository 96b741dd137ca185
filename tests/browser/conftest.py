"""A browser for the tests, and a page that notes what a visitor should never see."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from fractions import Fraction
from pathlib import Path
from urllib.parse import urlsplit

import av
import numpy as np
import pytest

from tests.browser.find_browser import chromium_on_path
from tests.browser.visiting import Visit

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
SHORT_S = 3
STEP_MS = 90_000  # for one step of a visit, on a machine that has much else to do


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


@pytest.fixture(scope="session")
def new_visit(browser, served_app) -> Callable[..., AbstractContextManager[Visit]]:
    """Opens a page of its own: with new_visit(width, height) as visit."""
    url = served_app[0]
    host = urlsplit(url).netloc

    @contextmanager
    def opened(width: int = 1440, height: int = 900) -> Iterator[Visit]:
        context = browser.new_context(
            viewport={"width": width, "height": height}, permissions=["camera", "microphone"]
        )
        context.set_default_timeout(STEP_MS)
        page = context.new_page()
        visit = Visit(page, url)
        page.on(
            "request",
            lambda r: r.url.startswith("http") and urlsplit(r.url).netloc != host and visit.foreign.append(r.url),
        )
        page.on("pageerror", lambda e: visit.errors.append(str(e)))
        page.on("console", lambda m: m.type == "error" and visit.errors.append(m.text))
        yield visit
        context.close()

    return opened


@pytest.fixture
def visit(new_visit, request) -> Iterator[Visit]:
    """A fresh page; a test may mark its size: @pytest.mark.parametrize("visit", [(390, 844)], indirect=True)."""
    with new_visit(*getattr(request, "param", ())) as visit:
        yield visit


@pytest.fixture(scope="session")
def short_clip(talking_clip, tmp_path_factory) -> Path:
    """The first SHORT_S of the talking clip, encoded again: the same face and voice in a third of the time."""
    from assets.make_examples import write_clip

    with av.open(str(talking_clip)) as container:
        frames = [f.to_ndarray(format="rgb24") for f in container.decode(video=0) if f.time < SHORT_S]
    with av.open(str(talking_clip)) as container:
        resampler = av.AudioResampler("fltp", "mono", 16_000)
        pieces = [p.to_ndarray()[0] for f in container.decode(audio=0) for p in resampler.resample(f)]
    path = tmp_path_factory.mktemp("clips") / "short.mp4"
    write_clip(path, np.stack(frames), Fraction(25), np.concatenate(pieces)[:SHORT_S * 16_000])
    return path


def _without_browser(why: str) -> None:
    if MUST_HAVE:
        pytest.fail(f"Browser tests must run here, but {why}.", pytrace=False)
    pytest.skip(f"Browser tests need a chromium, and {why}. Set TELLTALE_CHROMIUM or run playwright install chromium.")
