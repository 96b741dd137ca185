"""A still picture: shown as it came, judged by who can judge one frame, and no word of what needs time."""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path

import av
import pytest

from tests.browser.test_answer_page import serious
from tests.browser.test_journeys import BEYOND_WINDOW, downloaded
from tests.browser.visiting import QUICK, Visit

pytestmark = pytest.mark.browser

STILLS = "SS-AVD"  # looks at faces one by one


@pytest.fixture(scope="module")
def photo(talking_clip, tmp_path_factory) -> Path:
    """One frame of the talking clip."""
    path = tmp_path_factory.mktemp("stills") / "face.jpg"
    with av.open(str(talking_clip)) as container:
        next(container.decode(video=0)).to_image().save(path, quality=95)
    return path


@pytest.fixture(scope="module")
def answer(new_visit, photo) -> Visit:
    with new_visit() as visit:
        visit.open().only(QUICK, STILLS).choose(photo)
        visit.page.locator("#picture img").wait_for()
        yield visit.analyse()


def test_the_verdict_abstains_and_says_why(answer, photo):
    page, result = answer.page, downloaded(answer)
    assert result["sha256"] == hashlib.sha256(photo.read_bytes()).hexdigest(), "the picture was changed on its way"
    assert result["verdict"] == "CANNOT_EVALUATE" and result["score"] is None
    verdict = page.locator("#verdict").inner_text()
    assert "cannot be judged" in page.locator("#verdict h2").inner_text() and "%" not in verdict
    assert f"{result['consensus']['video']:.2f}" in verdict, "what SS-AVD says of the picture is told"
    reasons = page.locator("#verdict .tt-reasons").inner_text()
    assert QUICK in reasons and STILLS in reasons and "use at least a second of the video" in reasons


def test_the_picture_is_shown_and_what_needs_time_is_not(answer, photo):
    page = answer.page
    shown = page.locator("#player img")
    assert shown.get_attribute("alt") == "Your picture, the original file"
    served = page.evaluate("""async (img) => {
      const bytes = new Uint8Array(await (await fetch(img.src)).arrayBuffer());
      return btoa(Array.from(bytes, (b) => String.fromCharCode(b)).join(''));
    }""", shown.element_handle())
    assert base64.b64decode(served) == photo.read_bytes()
    for gone in ("#player video", "#timeline .tt-timeline", "#mouth .tt-mouth", "#explain:visible", "#probe:visible"):
        assert page.locator(gone).count() == 0, gone


def test_every_tab_of_the_answer_has_something_to_say(answer):
    page = answer.page
    for tab in ("Spans", "Each detector", "Quality and file", "Compare", "Scores"):
        answer.open_tab(tab, "#detail-tabs")
        assert page.locator("#detail-tabs [role=tabpanel]:visible").inner_text().strip(), tab
    assert serious(answer) == []
    assert answer.foreign == [] and answer.errors == []


@pytest.mark.parametrize("visit", [(390, 844)], indirect=True)
def test_a_picture_on_a_phone_that_is_none_gets_a_sentence(visit, tmp_path):
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"this is no picture" * 50)
    visit.open().only(STILLS).choose(broken).analyse()
    assert "cannot be judged" in visit.page.locator("#verdict h2").inner_text()
    assert visit.page.locator("#verdict .tt-reasons p").inner_text().strip()
    assert visit.page.evaluate(BEYOND_WINDOW) == []
