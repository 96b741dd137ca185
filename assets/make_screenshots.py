"""Drives the real app with demo clips and writes the README's pictures to assets/screenshots/.

    python assets/make_screenshots.py [--clip assets/examples/mouth_redrawn.mp4] [--only why phone ...]

Needs a chromium (TELLTALE_CHROMIUM, on the path, or Playwright's own).
"""

from __future__ import annotations

import argparse
import io
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
EXAMPLES = ROOT / "assets" / "examples"
OUT = ROOT / "assets" / "screenshots"
MORE_CLIPS = ("unaltered_face_no_sound.mp4", "speech_only.ogg", "no_face.mp4")  # of the table of many
ANSWER_MS = 600_000
WIDE, PHONE = (1440, 1400), (390, 844)
COLOURS = 256  # of each picture: a third of the bytes, and hardly a difference to see
# How long it took tells of the machine that takes the pictures, which may have much else to do.
WITHOUT_TIMES = """() => {
  document.querySelector('#status').style.visibility = 'hidden';
  for (const row of document.querySelectorAll('#comparison tr')) row.hidden = row.cells[0].innerText === 'Time';
}"""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clip", type=Path, default=EXAMPLES / "mouth_redrawn.mp4")
    parser.add_argument("--only", nargs="+", choices=TAKEN, default=list(TAKEN), help="only these")
    args = parser.parse_args()

    import app

    blocks = app.create_app()
    url = app.launch(blocks, "127.0.0.1", None)
    OUT.mkdir(exist_ok=True)
    names = ("chromium", "chromium-browser", "google-chrome")
    path = os.environ.get("TELLTALE_CHROMIUM") or next(filter(None, map(shutil.which, names)), None)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-gpu"])
        for name in args.only:
            TAKEN[name](browser, url, args.clip)
        browser.close()
    blocks.close(verbose=False)
    return 0


def take_result(browser: Browser, url: str, clip: Path) -> None:
    """The answer in light and dark, and its comparison."""
    page = opened(browser, url, *WIDE)
    answer(page, clip)
    shoot(page, "result.png")
    paint(page, dark=True)
    shoot(page, "result-dark.png")
    paint(page, dark=False)
    page.locator("#detail-tabs").get_by_role("tab", name="Compare", exact=True).click()
    page.locator("#comparison .tt-matrix").wait_for()
    write(page.locator("#comparison").screenshot(), "compare.png")
    page.close()


def take_why(browser: Browser, url: str, clip: Path) -> None:
    page = opened(browser, url, WIDE[0], 1700)
    answer(page, clip)
    page.click("#explain")
    page.wait_for_selector("#explain-status:has-text('Finished')", timeout=ANSWER_MS)
    page.locator("#why").evaluate("(panel) => panel.scrollIntoView()")
    page.wait_for_timeout(1000)
    box = page.locator("#why").bounding_box()
    height = min(box["height"], page.viewport_size["height"] - box["y"])
    write(page.screenshot(clip={**box, "height": height}), "why.png")
    page.close()


def take_detectors(browser: Browser, url: str, clip: Path) -> None:
    page = opened(browser, url, *WIDE)
    page.locator("#pages > .tab-wrapper").get_by_role("tab", name="Detectors").click()
    page.locator(".tt-detectors details").first.evaluate("(details) => (details.open = true)")
    shoot(page, "detectors.png")
    page.close()


def take_many(browser: Browser, url: str, clip: Path) -> None:
    page = opened(browser, url, WIDE[0], 760)
    page.locator("#pages > .tab-wrapper").get_by_role("tab", name="Many clips").click()
    clips = [str(clip), *(str(EXAMPLES / name) for name in MORE_CLIPS)]
    page.locator("#batch-files input[type=file]").set_input_files(clips)
    page.locator("#batch-files").get_by_text(Path(MORE_CLIPS[-1]).stem).first.wait_for()
    page.click("#batch-start")
    page.wait_for_selector("#batch-status:has-text('Finished: ')", timeout=ANSWER_MS)
    page.locator("#batch-table thead button", has_text="Score").click()
    page.wait_for_selector("#batch-table th[aria-sort=descending]")
    shoot(page, "many-clips.png")
    page.close()


def take_phone(browser: Browser, url: str, clip: Path) -> None:
    """The verdict in light, and player and timeline in dark."""
    page = opened(browser, url, *PHONE)
    answer(page, clip)
    for name, dark, first, after in (("phone.png", False, "#verdict", "#probe-panel"),
                                     ("phone-dark.png", True, "#watch", "#why")):
        paint(page, dark)
        top, bottom = (page.locator(s).evaluate("(e) => e.getBoundingClientRect().top") for s in (first, after))
        page.set_viewport_size({"width": PHONE[0], "height": round(bottom - top)})
        shoot(page, name, first)
    page.close()


TAKEN: dict[str, Callable[[Browser, str, Path], None]] = {
    "result": take_result, "why": take_why, "detectors": take_detectors, "many-clips": take_many, "phone": take_phone,
}


def opened(browser: Browser, url: str, width: int, height: int) -> Page:
    page = browser.new_page(viewport={"width": width, "height": height})
    page.set_default_timeout(120_000)
    page.goto(f"{url}/?__theme=light")
    page.wait_for_selector("#analyse")
    return page


def answer(page: Page, clip: Path) -> None:
    """The clip's answer, at its first marked span."""
    page.locator("#clip input[type=file]").set_input_files(str(clip))
    page.locator("#clip video").wait_for()
    page.click("#analyse")
    page.wait_for_selector("#verdict h2", timeout=ANSWER_MS)
    page.wait_for_selector("#scores .js-plotly-plot")
    marked = page.locator("#timeline .tt-segment")
    (marked.first if marked.count() else page.locator("#timeline .tt-tick:visible").nth(2)).click()
    page.locator("#mouth img:visible").wait_for()
    page.evaluate(WITHOUT_TIMES)
    page.mouse.move(0, 0)


def paint(page: Page, dark: bool) -> None:
    page.evaluate("(dark) => document.body.classList.toggle('dark', dark)", dark)


def shoot(page: Page, name: str, top: str = "body") -> None:
    """The window, with this element at its top."""
    page.wait_for_timeout(1500)  # the seek and the smooth scrolling come to rest
    page.locator(top).first.evaluate("(element) => element.scrollIntoView()")
    page.wait_for_timeout(500)
    write(page.screenshot(), name)


def write(png: bytes, name: str) -> None:
    picture = Image.open(io.BytesIO(png)).convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE)
    picture.save(OUT / name, optimize=True)


if __name__ == "__main__":
    sys.exit(main())
