"""What people do on the page, in a real browser with the real analysis."""

from __future__ import annotations

import base64
import hashlib
import json
import time

import pytest

from tests.browser.visiting import QUICK

pytestmark = pytest.mark.browser

PHONE = pytest.mark.parametrize("visit", [(390, 844)], indirect=True)
# Parts of the page that reach beyond the window; scrollWidth alone misses what a clipping parent hides. Gradio measures
# tabs in a hidden copy: what does not fit goes into its menu. Wide tables scroll by themselves.
BEYOND_WINDOW = """() => [...document.querySelectorAll('.gradio-container *')].filter((e) => {
  const box = e.getBoundingClientRect();
  return box.width && (box.right > innerWidth + 1 || box.left < -1)
    && !e.closest('[aria-hidden="true"]') && !e.parentElement.closest('.tt-table');
}).map((e) => e.tagName + '#' + e.id + '.' + e.className)"""


def downloaded(visit) -> dict:
    href = visit.page.get_by_role("link", name="JSON").get_attribute("href")
    return json.loads(base64.b64decode(href.split(",", 1)[1]))


def jump_target(page):
    """A marked span, or where the clip has none the third second button, with the time it stands for."""
    spans = page.locator("#timeline .tt-segment")
    button = spans.first if spans.count() else page.locator("#timeline .tt-tick").nth(2)
    return button, float(button.get_attribute("data-start"))


def reached(visit, seconds: float) -> bool:
    until = time.monotonic() + 20
    while time.monotonic() < until:
        if abs(visit.media_time() - seconds) < 0.05:
            return True
        visit.page.wait_for_timeout(50)
    return False


@pytest.fixture
def answered(visit, talking_clip):
    return visit.open().only(QUICK).choose(talking_clip).analyse()


def test_upload_answer_and_jump(answered, talking_clip):
    page = answered.page
    result = downloaded(answered)
    assert result["sha256"] == hashlib.sha256(talking_clip.read_bytes()).hexdigest(), "the clip was changed on its way"
    assert page.locator("#verdict h2").inner_text()
    assert "Finished" in page.locator("#status").inner_text()
    assert page.locator("#clip").get_by_role("button", name="trim").count() == 0, "it would hand in a re-encoded clip"

    button, seconds = jump_target(page)
    page.evaluate("document.querySelector('#player video').currentTime = 1.234")
    button.click(position={"x": 3, "y": 8})
    assert reached(answered, seconds)

    page.evaluate("document.querySelector('#player video').currentTime = 1.234")
    button.focus()
    page.keyboard.press("Enter")
    assert reached(answered, seconds)
    page.wait_for_selector(f".tt-now-time:has-text('{seconds:.1f}')")  # the cursor follows

    assert answered.foreign == []
    assert answered.errors == []


def test_progress_is_announced_in_words(visit, talking_clip):
    page = visit.open().only(QUICK).choose(talking_clip).page
    assert page.locator("#status [role=status]").get_attribute("aria-live") == "polite"
    page.click("#analyse")
    page.wait_for_selector("#status [role=status] .tt-now")
    page.wait_for_selector("#verdict h2", timeout=180_000)
    # A clip that was prepared before is not prepared again: then there is only the scoring.
    assert page.locator("#status [role=status] .tt-done").count() >= 1


def test_stop_ends_the_run_and_the_next_one_works(visit, talking_clip):
    page = visit.open().choose(talking_clip).page  # all detectors: one alone might have answered by then
    page.click("#analyse")
    page.locator("#stop:not([disabled])").click()
    page.wait_for_selector("text=Stopped.")
    assert page.locator("#verdict h2").all_inner_texts() == []
    visit.only(QUICK).analyse()


def test_bad_file_gets_a_sentence_and_the_page_goes_on(visit, tmp_path, talking_clip):
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"this is no clip" * 50)
    page = visit.open().only(QUICK).choose(broken).page
    page.wait_for_selector("text=Your browser cannot show this file here")
    visit.analyse()
    assert page.locator(".toast-body").count() == 0
    assert "cannot be judged" in page.locator("#verdict h2").inner_text()
    assert page.locator("#verdict .tt-reasons p").inner_text().strip()
    assert not page.locator("#player video").count()
    page.locator("#clip").get_by_label("Clear").click()
    visit.choose(talking_clip).analyse()
    assert page.locator("#player video").count() == 1


def test_no_clip_chosen(visit):
    page = visit.open().page
    page.click("#analyse")
    page.wait_for_selector("text=Choose a clip first")


def test_sound_alone(visit, examples_dir):
    visit.open().only(QUICK).choose(examples_dir / "speech_only.ogg").analyse()
    page = visit.page
    assert page.locator("#player audio").count() == 1
    button, seconds = jump_target(page)
    button.focus()
    page.keyboard.press("Enter")
    assert reached(visit, seconds)
    assert "not judged" in page.locator("#verdict").inner_text()


def test_demo_clip_by_keyboard(visit):
    page = visit.open().only(QUICK).page
    page.locator("#demos button").nth(1).focus()
    page.keyboard.press("Enter")
    page.wait_for_selector("text=Demo clip loaded")
    page.locator("#clip video").wait_for()
    page.locator("#analyse").focus()
    page.keyboard.press("Enter")
    page.wait_for_selector("#verdict h2", timeout=180_000)
    assert "Really changed: picture from" in page.locator("#timeline").inner_text()

    page.locator("#demos button").nth(2).click()  # no answer stays beside another clip
    page.locator("#verdict h2").wait_for(state="detached")


def test_hostile_file_name_is_only_text(visit, tmp_path, talking_clip):
    clip = tmp_path / "a<img src=x onerror=xe=1>${window.xe=2}{{xe}}.mp4"
    clip.write_bytes(talking_clip.read_bytes())
    page = visit.open().only(QUICK).choose(clip).analyse().page
    page.get_by_role("tab", name="File").click()
    page.wait_for_selector("#file-facts table")
    assert page.evaluate("window.xe") is None
    assert page.locator("#result-column img").count() == 0


def test_recording_keeps_picture_and_sound_as_recorded(visit):
    page = visit.open().only(QUICK).page
    box = page.locator("#clip")
    box.get_by_label("Capture from camera").click()
    box.get_by_text("Click to Access Webcam").click()
    box.get_by_text("Record", exact=True).click()
    page.wait_for_timeout(4000)
    box.get_by_text("Stop", exact=True).click()
    box.locator("video[src]").wait_for()
    visit.analyse()
    media = downloaded(visit)["media"]
    assert (media["audio_codec"], "webm" in media["container"]) == ("opus", True)


@PHONE
def test_phone_width_has_no_sideways_scroll(visit, talking_clip):
    page = visit.open().only(QUICK).page
    assert page.evaluate(BEYOND_WINDOW) == []
    visit.choose(talking_clip).analyse()
    page.wait_for_selector("#scores .js-plotly-plot")
    for tab in ("Scores", "Spans", "Each detector", "Quality and file", "Compare"):
        visit.open_tab(tab, "#detail-tabs")
        page.wait_for_timeout(300)
        assert page.evaluate(BEYOND_WINDOW) == [], tab
    small = page.evaluate(
        """() => [...document.querySelectorAll('#timeline button')].map((b) => b.getBoundingClientRect())
        .filter((b) => b.width && (b.width < 24 || b.height < 24)).length"""
    )
    assert small == 0
    rows = page.evaluate("""() => new Set([...document.querySelectorAll('#timeline .tt-zoom button')]
        .map((b) => Math.round(b.getBoundingClientRect().top))).size""")
    assert rows == 1, "the zoom's buttons stand in one row"
    for tab in ("Many clips", "Detectors"):
        visit.open_tab(tab)
        page.wait_for_timeout(300)
        page.evaluate("document.querySelectorAll('.tt-detectors details').forEach((d) => (d.open = true))")
        assert page.evaluate(BEYOND_WINDOW) == [], tab


@pytest.mark.parametrize(("theme", "dark"), [("dark", True), ("light", False)])
def test_theme_keeps_text_readable(visit, theme, dark):
    page = visit.open(f"?__theme={theme}").page
    lightness = """(selector) => {
      const style = getComputedStyle(document.querySelector(selector));
      const parse = (c) => c.match(/[\\d.]+/g).slice(0, 3).reduce((sum, v) => sum + +v, 0) / 765;
      return [parse(style.color), parse(style.backgroundColor)];
    }"""
    text, ground = page.evaluate(lightness, ".tt-welcome")
    assert (text > ground) == dark and abs(text - ground) > 0.6


def test_nothing_of_the_clip_stays_after_the_page_is_closed(visit, served_app, talking_clip):
    visit.open().only(QUICK).choose(talking_clip).analyse()
    folder = served_app[1].holds.folder
    assert list(folder.rglob("*.mp4"))
    visit.page.goto("about:blank")
    until = time.monotonic() + 30
    while (left := [p for p in folder.rglob("*") if p.is_file()]) and time.monotonic() < until:
        time.sleep(0.5)
    assert left == []
