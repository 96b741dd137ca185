"""Asking why, in a real browser with a real detector: share, maps, their tests; a jump, a phone, and Stop."""

from __future__ import annotations

import time

import pytest

from tests.browser.test_journeys import BEYOND_WINDOW, reached
from tests.browser.visiting import QUICK
from ui import explain

pytestmark = [pytest.mark.browser, pytest.mark.timeout(1500)]  # some hundred forward passes on shared processors

LONG_MS = 1_200_000
# Notes what the panel shows, whenever it changes: bars, maps, finished tests
WATCH = """() => {
  const panel = document.querySelector('#explanations');
  const count = (selector) => panel.querySelectorAll(selector).length;
  window.seen = [];
  new MutationObserver(() => {
    const now = [count('.tt-shares'), count('details.tt-map'), count('.tt-map-passed, .tt-map-failed, .tt-map-empty')];
    if (now.join() !== (window.seen.at(-1) || []).join()) window.seen.push(now);
  }).observe(panel, { childList: true, subtree: true });
}"""


@pytest.fixture
def answered(visit, talking_clip):
    return visit.open().only(QUICK).choose(talking_clip).analyse()


def about(page, moment_s: float) -> None:
    """Chooses a moment, by keyboard, as the dropdown of spans can be used."""
    page.locator("#why-about input").click()
    page.get_by_role("option", name=explain.MOMENT).click()
    box = page.locator("#why-moment input")
    box.wait_for()
    box.fill(str(moment_s))
    box.press("Tab")


def test_share_then_maps_then_their_tests(answered):
    page = answered.page
    about(page, 4.0)
    page.evaluate(WATCH)
    page.locator("#explain").focus()
    page.keyboard.press("Enter")
    page.wait_for_selector("#explain-status [role=status] .tt-now", timeout=LONG_MS)
    page.wait_for_selector("#explain-status:has-text('Finished')", timeout=LONG_MS)
    seen = page.evaluate("window.seen")
    assert seen[-1] == [1, 2, 2] and [1, 0, 0] in seen and [1, 2, 0] in seen
    assert all(a <= b for first, then in zip(seen, seen[1:]) for a, b in zip(first, then)), "nothing goes away again"

    panel = page.locator("#explanations")
    assert "around 4.0 s" in panel.locator("h4").inner_text()
    assert panel.locator(".tt-map-passed, .tt-map-failed, .tt-map-empty").locator("p > strong").count() == 2
    assert panel.locator(".tt-map-failed .tt-evidence:not(.tt-unreliable)").count() == 0
    for picture in panel.locator("img").all():
        assert len(picture.get_attribute("alt")) > 20
    closed = panel.locator("details:not([open]) > summary").filter(visible=True)
    while closed.count():
        closed.first.click()

    jump = panel.locator("button.tt-jump").first
    jump.focus()
    page.keyboard.press("Enter")
    assert reached(answered, float(jump.get_attribute("data-start")))
    shot = panel.locator(".tt-shot").first
    shot.locator(".tt-cursor:not([hidden])").wait_for(state="attached")
    left, right, start, end = page.evaluate("(e) => JSON.parse(e.dataset.axis)[0]", shot.element_handle())
    box = shot.bounding_box()
    shot.click(position={"x": (left + right) / 2 * box["width"], "y": box["height"] / 2})
    assert abs(answered.media_time() - (start + end) / 2) < 0.1

    page.set_viewport_size({"width": 390, "height": 844})
    assert page.evaluate(BEYOND_WINDOW.replace(".gradio-container", "#explanations")) == []
    page.click("#explain")
    page.wait_for_selector(f"#explain-status:has-text('{explain.KEPT_BEFORE[:20]}')")
    assert answered.foreign == [] and answered.errors == []


def test_stop_keeps_what_had_arrived_untested_and_grey(answered):
    page = answered.page
    about(page, 2.0)
    page.click("#explain")
    page.wait_for_selector("#explanations .tt-shares", timeout=LONG_MS)
    page.click("#explain-stop")
    page.wait_for_selector("#explain-status:has-text('Stopped')")
    page.locator("#explain:not([disabled])").wait_for()
    until = time.monotonic() + 60  # the forward pass under way ends first
    while page.locator("#explanations .tt-pending, #explanations .tt-map-testing").count() and time.monotonic() < until:
        page.wait_for_timeout(200)
    panel = page.locator("#explanations")
    assert panel.locator(".tt-shares").count() == 1 and not panel.locator(".tt-pending, .tt-map-testing").count()
    assert panel.locator("details.tt-map").count() == panel.locator(".tt-unreliable").count()
