"""Many clips: several files at once, one of them broken; sort, filter, open, save."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import numpy as np
import pytest

from tests.browser.visiting import ANSWER_MS, QUICK

pytestmark = pytest.mark.browser


@pytest.fixture
def hum(make_clip) -> Path:
    """2 s of a tone: sound without a voice."""
    return make_clip(None, 0.1 * np.sin(np.arange(32_000) * 0.06).astype(np.float32), "hum.ogg")


def test_several_files_become_a_table(visit, examples_dir, hum, tmp_path):
    note = tmp_path / "note.mp4"
    note.write_text("A text file by another name.")
    visit.open().open_tab("Many clips")
    page = visit.page
    page.wait_for_selector("#batch-words")
    visit.only(QUICK, where="#batch-detectors")
    files = [examples_dir / "speech_only.ogg", note, hum]
    page.locator("#batch-files input[type=file]").set_input_files([str(f) for f in files])
    page.locator("#batch-files").get_by_text("hum").first.wait_for()
    page.click("#batch-start")
    page.wait_for_selector("#batch-status:has-text('Finished: ')", timeout=ANSWER_MS)
    rows = page.locator("#batch-table tbody tr")

    def names() -> list[str]:
        return rows.locator("th").all_inner_texts()

    assert names() == [f.name for f in files]
    assert "could not be read" in rows.nth(1).inner_text() and "cannot be judged" in rows.nth(2).inner_text()
    page.locator("#batch-table thead button", has_text="Score").click()
    page.wait_for_selector("#batch-table th[aria-sort=descending]")
    assert names()[0] == "speech_only.ogg"
    page.locator("#batch-table thead button", has_text="Clip").click()
    page.wait_for_selector("#batch-table tbody tr:first-child:has-text('hum.ogg')")
    assert names() == ["hum.ogg", "note.mp4", "speech_only.ogg"]

    page.locator("#batch-words input, #batch-words textarea").fill("note")
    page.wait_for_selector("text=1 of 3 shown")
    page.locator("#batch-words input, #batch-words textarea").fill("")
    page.wait_for_selector("text=3 of 3 shown")

    with page.expect_download() as saving:
        page.get_by_role("link", name="CSV").click()
    saved = list(csv.DictReader(io.StringIO(Path(saving.value.path()).read_text(encoding="utf-8-sig"))))
    assert [line["clip"] for line in saved] == names()
    score = float(next(line for line in saved if line["clip"] == "speech_only.ogg")["score"])
    assert f"{score:.2f}" in rows.nth(2).inner_text()

    page.get_by_role("button", name="Open the answer to speech_only.ogg").press("Enter")
    page.wait_for_selector("#batch-opened section h2")
    opened = page.locator("#batch-opened").inner_text()
    assert "speech_only.ogg" in opened and "not judged" in opened
    assert visit.foreign == [] and visit.errors == []
