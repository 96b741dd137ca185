"""Drives the real app with demo clips and writes the README's pictures to assets/screenshots/.

    python assets/make_screenshots.py [--clip assets/examples/mouth_redrawn.mp4] [--wide | --phone]

Needs a chromium (TELLTALE_CHROMIUM, on the path, or Playwright's own).
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from pathlib import Path

from playwright.sync_api import Browser, Page, sync_playwright

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
EXAMPLES = ROOT / "assets" / "examples"
OUT = ROOT / "assets" / "screenshots"
MORE_CLIPS = ("unaltered_face_no_sound.mp4", "speech_only.ogg", "no_face.mp4")  # of the table of many
ANSWER_MS = 600_000


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clip", type=Path, default=EXAMPLES / "mouth_redrawn.mp4")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--wide", action="store_true", help="only those of a wide window")
    which.add_argument("--phone", action="store_true", help="only those of a phone")
    args = parser.parse_args()

    import app

    blocks = app.create_app()
    url = app.launch(blocks, "127.0.0.1", None)
    OUT.mkdir(exist_ok=True)
    names = ("chromium", "chromium-browser", "google-chrome")
    path = os.environ.get("TELLTALE_CHROMIUM") or next(filter(None, map(shutil.which, names)), None)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-gpu"])
        if not args.phone:
            take_wide(browser, url, args.clip)
        if not args.wide:
            take_phone(browser, url, args.clip)
        browser.close()
    blocks.close(verbose=False)
    return 0


def take_wide(browser: Browser, url: str, clip: Path) -> None:
    page = opened(browser, url, clip, 1440, 1400)
    shoot(page, "result.png")
    paint(page, dark=True)
    shoot(page, "result-dark.png")
    paint(page, dark=False)

    page.locator("#detail-tabs").get_by_role("tab", name="Compare", exact=True).click()
    page.locator("#comparison .tt-matrix").wait_for()
    page.locator("#comparison").screenshot(path=OUT / "compare.png")

    page.click("#explain")
    page.wait_for_selector("#explain-status:has-text('Finished')", timeout=ANSWER_MS)
    page.locator("#why").screenshot(path=OUT / "why.png")

    page.locator("#pages > .tab-wrapper").get_by_role("tab", name="Detectors").click()
    first = page.locator(".tt-detectors details").first
    first.evaluate("(details) => (details.open = true)")
    shoot(page, "detectors.png")

    page.locator("#pages > .tab-wrapper").get_by_role("tab", name="Many clips").click()
    page.locator("#batch-files input[type=file]").set_input_files([str(EXAMPLES / name) for name in MORE_CLIPS])
    page.locator("#batch-files").get_by_text(Path(MORE_CLIPS[-1]).stem).first.wait_for()
    page.click("#batch-start")
    page.wait_for_selector("#batch-status:has-text('Finished: ')", timeout=ANSWER_MS)
    page.locator("#batch-table thead button", has_text="Score").click()
    page.set_viewport_size({"width": 1440, "height": 760})
    shoot(page, "many-clips.png")
    page.close()


def take_phone(browser: Browser, url: str, clip: Path) -> None:
    page = opened(browser, url, clip, 390, 844)
    shoot(page, "phone.png", whole=True)
    paint(page, dark=True)
    shoot(page, "phone-dark.png", whole=True)
    page.close()


def opened(browser: Browser, url: str, clip: Path, width: int, height: int) -> Page:
    """A page with the clip's answer, at its first marked span."""
    page = browser.new_page(viewport={"width": width, "height": height})
    page.set_default_timeout(120_000)
    page.goto(f"{url}/?__theme=light")
    page.locator("#clip input[type=file]").set_input_files(str(clip))
    page.locator("#clip video").wait_for()
    page.click("#analyse")
    page.wait_for_selector("#verdict h2", timeout=ANSWER_MS)
    page.wait_for_selector("#scores .js-plotly-plot")
    marked = page.locator("#timeline .tt-segment")
    (marked.first if marked.count() else page.locator("#timeline .tt-tick:visible").nth(2)).click()
    page.locator("#mouth img:visible").wait_for()
    page.mouse.move(0, 0)
    return page


def paint(page: Page, dark: bool) -> None:
    page.evaluate("(dark) => document.body.classList.toggle('dark', dark)", dark)


def shoot(page: Page, name: str, whole: bool = False) -> None:
    page.wait_for_timeout(1500)  # the seek and the smooth scrolling come to rest
    page.evaluate("scrollTo(0, 0)")
    page.wait_for_timeout(500)
    page.screenshot(path=OUT / name, full_page=whole)


if __name__ == "__main__":
    sys.exit(main())
