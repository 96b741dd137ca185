"""Drives the real app with a demo clip and writes the README's pictures to assets/screenshots/.

    python assets/make_screenshots.py [--clip assets/examples/mouth_redrawn.mp4]

Needs a chromium (TELLTALE_CHROMIUM, on the path, or Playwright's own).
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from pathlib import Path

from playwright.sync_api import sync_playwright

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
OUT = ROOT / "assets" / "screenshots"
SHOTS = (  # file, width, height, theme, whole page
    ("result.png", 1440, 1400, "light", False),
    ("result-dark.png", 1440, 1400, "dark", False),
    ("phone.png", 390, 844, "light", True),
)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clip", type=Path, default=ROOT / "assets" / "examples" / "mouth_redrawn.mp4")
    args = parser.parse_args()

    import app

    blocks = app.create_app()
    url = app.launch(blocks, "127.0.0.1", None)
    OUT.mkdir(exist_ok=True)
    names = ("chromium", "chromium-browser", "google-chrome")
    path = os.environ.get("TELLTALE_CHROMIUM") or next(filter(None, map(shutil.which, names)), None)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-gpu"])
        for name, width, height, theme, whole in SHOTS:
            page = browser.new_page(viewport={"width": width, "height": height})
            page.goto(f"{url}/?__theme={theme}")
            page.locator("#clip input[type=file]").set_input_files(str(args.clip))
            page.locator("#clip video").wait_for()
            page.click("#analyse")
            page.wait_for_selector("#verdict h2", timeout=300_000)
            page.wait_for_selector("#scores .js-plotly-plot")
            marked = page.locator("#timeline .tt-segment")
            (marked.first if marked.count() else page.locator("#timeline .tt-tick").nth(2)).click()
            page.mouse.move(0, 0)
            page.wait_for_timeout(1500)  # the seek and the smooth scrolling come to rest
            page.evaluate("scrollTo(0, 0)")
            page.wait_for_timeout(500)
            page.screenshot(path=OUT / name, full_page=whole)
            page.close()
        browser.close()
    blocks.close(verbose=False)
    return 0


if __name__ == "__main__":
    sys.exit(main())
