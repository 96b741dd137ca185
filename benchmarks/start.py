"""How long the app takes from its command to a page that shows something.

    python -m benchmarks.start [--repeats 3] [--json]

`import_s`: importing app.py in a fresh interpreter, less an empty one; `scan_import_s`: likewise scan.py. `page_s`:
from the command `python app.py` until the page is answered over HTTP; `paint_s`: from the page's request to the first
contentful paint in a chromium, None where playwright or a browser is missing. Medians; the first round, which reads
files from the disk, is not counted. A round imports PyTorch three times and Gradio twice: half a minute, and on a busy
machine many times that, so each one is told as it ends.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LIMIT_S = 600.0
CHROMIUM = ("chromium", "chromium-browser", "google-chrome")
FIGURES = ("import_s", "scan_import_s", "page_s", "paint_s")
FIRST_PAINT_MS = "performance.getEntriesByName('first-contentful-paint')[0]?.startTime"


def time_import(module: str) -> float:
    """Seconds of a fresh interpreter that imports it, less those of one that imports nothing."""
    return _run(f"import {module}") - _run("pass")


def _run(code: str) -> float:
    begin = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, timeout=LIMIT_S)
    return time.perf_counter() - begin


def time_page() -> tuple[float, float | None]:
    """Seconds until the page is answered, and from its request to the first paint in a browser.

    Raises: RuntimeError where the app ends before it answers.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    begin = time.perf_counter()
    app = subprocess.Popen([sys.executable, "app.py", "--no-browser", "--port", str(port)], cwd=ROOT,
                           stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    url = f"http://127.0.0.1:{port}/"
    try:
        while not _answers(url):
            if app.poll() is not None or time.perf_counter() - begin > LIMIT_S:
                raise RuntimeError("app.py did not answer")
            time.sleep(0.05)
        return time.perf_counter() - begin, time_paint(url)
    finally:
        app.terminate()
        app.wait(timeout=60)


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=30) as page:
            return page.status == 200
    except (urllib.error.URLError, OSError):
        return False


def time_paint(url: str) -> float | None:
    """Seconds; None without playwright or a browser."""
    try:
        from playwright.sync_api import Error, sync_playwright
    except ImportError:
        return None
    path = os.environ.get("TELLTALE_CHROMIUM") or next(filter(None, map(shutil.which, CHROMIUM)), None)
    with sync_playwright() as playwright:
        try:
            browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-gpu"])
        except Error:
            return None
        page = browser.new_page()
        page.goto(url, timeout=LIMIT_S * 1000)
        page.wait_for_function(FIRST_PAINT_MS, timeout=LIMIT_S * 1000)
        paint_s = page.evaluate(FIRST_PAINT_MS) / 1000
        browser.close()
    return paint_s


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.start", description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", action="store_true", help="print the figures as one JSON line, last")
    args = parser.parse_args(argv)
    if args.repeats < 1:
        parser.error("--repeats takes 1 or more")
    rounds = []
    for number in range(args.repeats + 1):
        rounds.append((time_import("app"), time_import("scan"), *time_page()))
        told = (f"{name} {spent:.1f}" for name, spent in zip(FIGURES, rounds[-1]) if spent is not None)
        print(f"round {number}{'' if number else ', not counted'}:", *told, flush=True)
    figures = {name: None if None in column else round(statistics.median(column), 3)
               for name, column in zip(FIGURES, zip(*rounds[1:]))}
    for key, value in figures.items():
        print(f"{key:14} {value}")
    if args.json:
        print(json.dumps(figures))
    return 0


if __name__ == "__main__":
    sys.exit(main())
