"""What can be done with one answer, on one page that stays open: zoom, mouth, compare, probe, report. And axe-core.

Two detectors and a short clip, so that the whole file waits for three analyses.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator

import pytest
from axe_playwright_python.sync_playwright import Axe

from tests.browser.visiting import ANSWER_MS, QUICK, Visit

pytestmark = pytest.mark.browser

OTHER = "MMMS-BA"
DETAILS = ("Scores", "Spans", "Each detector", "Quality and file", "Compare")


@pytest.fixture(scope="module")
def answer(new_visit, short_clip) -> Iterator[Visit]:
    with new_visit() as visit:
        visit.open().only(QUICK, OTHER).choose(short_clip).analyse()
        visit.page.wait_for_selector("#scores .js-plotly-plot")
        yield visit


def serious(visit: Visit) -> list[str]:
    """What axe-core finds on the page as it is, without what is minor."""
    # Colours are read once Gradio's fading has ended.
    visit.page.wait_for_function("""() => document.getAnimations().every(
      (a) => a.playState !== 'running' || a.effect.getTiming().iterations === Infinity)""")
    found = Axe().run(visit.page).response["violations"]
    return [f"{v['id']}: {n['target']} {n['failureSummary']}"
            for v in found if v["impact"] in ("serious", "critical") for n in v["nodes"]]


def result_of(visit: Visit) -> dict:
    href = visit.page.locator("#download").get_by_role("link", name="JSON").get_attribute("href")
    return json.loads(base64.b64decode(href.split(",", 1)[1]))


# ---- accessibility ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_axe_finds_nothing_on_the_tabs(visit, dark):
    visit.open(f"?__theme={'dark' if dark else 'light'}").only(QUICK)
    assert serious(visit) == []
    visit.open_tab("Many clips").page.wait_for_selector("#batch-words")
    assert serious(visit) == []
    visit.open_tab("Detectors").page.wait_for_selector(".tt-detectors")
    visit.page.evaluate("document.querySelectorAll('.tt-detectors details').forEach((d) => (d.open = true))")
    assert serious(visit) == []


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_axe_finds_nothing_on_an_answer(answer, dark):
    answer.paint(dark)
    try:
        for tab in DETAILS:
            answer.open_tab(tab, "#detail-tabs")
            assert serious(answer) == [], tab
    finally:
        answer.paint(False)


# ---- timeline ---------------------------------------------------------------------------------------------------


def lane_width(page) -> float:
    """Of what a lane holds, in widths of the lane."""
    return page.evaluate("""() => {
      const lane = document.querySelector('#timeline .tt-lane');
      return lane.querySelector('.tt-track').getBoundingClientRect().width / lane.getBoundingClientRect().width;
    }""")


def test_the_timeline_zooms_by_buttons_and_keys(answer):
    page, view = answer.page, answer.page.locator("#timeline .tt-view")
    duration = result_of(answer)["duration_s"]
    assert view.inner_text() == "whole clip" and lane_width(page) == pytest.approx(1, abs=0.02)
    page.get_by_role("button", name="Zoom in").first.click()
    assert lane_width(page) == pytest.approx(2, abs=0.03)
    assert view.inner_text() == f"0:00.0 – 0:0{duration / 2:.1f}"
    page.get_by_role("button", name="Later").first.click()
    page.get_by_role("button", name="Later").first.click()
    assert view.inner_text() == f"0:0{duration / 2:.1f} – 0:0{duration:.1f}"
    ticks = page.locator("#timeline .tt-tick:visible")
    ticks.first.focus()  # at 0:00, out of view
    assert view.inner_text() == f"0:00.0 – 0:0{duration / 2:.1f}", "what has the focus comes into view"
    page.keyboard.press("0")
    assert view.inner_text() == "whole clip"
    page.keyboard.press("+")
    assert lane_width(page) == pytest.approx(2, abs=0.03)
    page.get_by_role("button", name="Show the whole clip").first.click()


def test_one_cursor_runs_through_all_lanes(answer):
    page = answer.page
    page.evaluate("document.querySelector('#player video').currentTime = 1.5")
    page.wait_for_selector("#timeline .tt-now-time:has-text('0:01.5')")
    shares = page.evaluate("""() => [...document.querySelectorAll('#timeline .tt-lane')].map((lane) => {
      const box = lane.querySelector('.tt-track').getBoundingClientRect();
      const cursor = lane.querySelector('.tt-cursor').getBoundingClientRect();
      return ((cursor.left + cursor.right) / 2 - box.left) / box.width;
    })""")
    assert len(shares) == 6
    assert shares == pytest.approx([1.5 / result_of(answer)["duration_s"]] * 6, abs=0.01)


def test_captions_and_table_say_what_the_timeline_marks(answer):
    marked = [s for d in result_of(answer)["detectors"].values() for s in d["segments"]]
    cues = answer.page.evaluate("document.querySelector('#player video').textTracks[0]?.cues.length ?? 0")
    assert cues == len(marked) == answer.page.locator("#timeline .tt-segment").count()
    answer.open_tab("Spans", "#detail-tabs")
    assert answer.page.locator("#segments tbody tr").count() == len(marked)


def test_the_mouth_of_a_chosen_moment_plays_and_can_be_paused(answer):
    page = answer.page
    page.locator("#timeline .tt-tick:visible").nth(1).click()
    moving, still = page.locator("#mouth .tt-moving"), page.locator("#mouth .tt-still")
    moving.wait_for()
    assert moving.get_attribute("alt").startswith("The mouth from ") and not still.is_visible()
    assert page.evaluate("document.querySelector('#mouth .tt-moving').naturalWidth") == 96
    page.get_by_role("button", name="Pause or play").click()
    assert still.is_visible() and not moving.is_visible()
    page.get_by_role("button", name="Pause or play").click()
    page.emulate_media(reduced_motion="reduce")
    try:
        page.locator("#timeline .tt-tick:visible").nth(2).click()
        page.wait_for_selector("#mouth figure:not(.tt-playing) .tt-still:visible")
        assert not moving.is_visible()
    finally:
        page.emulate_media(reduced_motion="no-preference")


# ---- compare, file, report, history -----------------------------------------------------------------------------


def test_two_detectors_stand_side_by_side(answer):
    page = answer.open_tab("Compare", "#detail-tabs").page
    result = result_of(answer)
    heads = page.locator("#comparison thead").first.inner_text()
    assert QUICK in heads and OTHER in heads and "Together" in heads
    scores = page.locator("#comparison tr:has(th:text-is('Whole clip'))").inner_text()
    assert all(f"{d['score']:.2f}" in scores for d in result["detectors"].values())
    assert page.locator("#comparison .tt-said li").count() >= 1
    assert page.locator("#comparison .tt-matrix").count() == 1


def test_two_clips_stand_side_by_side(answer, examples_dir):
    page = answer.open_tab("Compare", "#detail-tabs").page
    page.get_by_text("Two clips, one detector").click()
    page.locator("#clips-detector").get_by_text(QUICK).click()
    page.locator("#second-clip input[type=file]").set_input_files(str(examples_dir / "speech_only.ogg"))
    page.locator("#second-clip").get_by_text("speech_only").first.wait_for()
    page.click("#compare-clips")
    page.wait_for_selector("#two-clips-answer table", timeout=ANSWER_MS)
    names = page.locator("#two-clips-answer tr:has(th:text-is('Name'))").inner_text()
    assert "short.mp4" in names and "speech_only.ogg" in names
    assert page.locator("#two-clips-answer .tt-said li").count() >= 1


def test_the_hash_can_be_read_and_copied(answer):
    page = answer.open_tab("Quality and file", "#detail-tabs").page
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.get_by_role("button", name="Copy the SHA-256").click()
    page.wait_for_selector("#file-facts [role=status]:has-text('Copied'), #file-facts button:has-text('Copied')")
    assert page.evaluate("navigator.clipboard.readText()") == result_of(answer)["sha256"]


def test_the_report_is_one_file_that_opens_by_itself(answer, browser, tmp_path):
    with answer.page.expect_download() as saving:
        answer.page.locator("#download").get_by_role("link", name="report").click()
    path = tmp_path / saving.value.suggested_filename
    saving.value.save_as(path)
    assert path.suffix == ".html"
    page = browser.new_page()
    asked, errors = [], []
    page.on("request", lambda r: r.url.startswith(("http", "file")) and asked.append(r.url))
    page.on("pageerror", lambda e: errors.append(str(e)))
    page.goto(path.as_uri())
    result, words = result_of(answer), page.locator("body").inner_text()
    assert result["sha256"] in words and answer.page.locator("#verdict h2").inner_text() in words
    assert asked == [path.as_uri()] and errors == []
    page.close()


def test_the_answer_stands_among_this_session_s(answer):
    page = answer.open_tab("Many clips").page
    page.wait_for_selector("#batch-table tr:has-text('short.mp4')")
    answer.open_tab("One clip")


# ---- last, for it changes the answer ----------------------------------------------------------------------------


def test_copies_are_tried_and_told(answer):
    page = answer.page
    before = result_of(answer)
    page.click("#probe")
    page.wait_for_selector("#probe-table table", timeout=ANSWER_MS)
    after = result_of(answer)
    assert page.locator("#probe-table tbody tr").count() == 1 + len(after["probe"]["variants"])
    assert after["probe"]["summary"] in page.locator("#probe-table").inner_text()
    severity = ["CANNOT_EVALUATE", "NO_SIGNS", "SUSPICIOUS", "MANIPULATED"]
    assert severity.index(after["verdict"]) <= severity.index(before["verdict"])
    assert answer.foreign == [] and answer.errors == []
