"""Text that somebody else wrote stays text, wherever the page and the report show it, and can reach no other host."""

from __future__ import annotations

import base64

import numpy as np
import pytest

from tests.browser.visiting import QUICK
from ui import scoring, texts, waiting

pytestmark = pytest.mark.browser

PAYLOAD = ("\"><img src=x class=planted onerror=\"window.planted=1\"><script>window.planted=2</script>"
           "${window.planted=3}{{window.planted=4}}`'&lt;b class=planted&gt;")
# Of an answer, what is no text: codes, and names of detectors and parts.
CODES = {"verdict", "code", "reasons", "modality", "blocks", "state", "signer_trusted", "sha256", "video_codec",
         "container"}


def with_planted_text(value: object, key: str = "") -> object:
    """A copy of an answer in which every text that comes from the file, or is told of it, holds the payload."""
    if isinstance(value, dict):
        return {k: with_planted_text(v, k) for k, v in value.items()}
    if isinstance(value, list):
        return [with_planted_text(v, key) for v in value]
    return f"{value} {PAYLOAD}" if isinstance(value, str) and key not in CODES else value


CREDENTIALS = {"state": "broken", "message": "", "limit": "", "signer_trusted": "no", "signer": "", "signed_at": "",
               "generator": "", "actions": [""], "ingredients": [""], "failures": [
                   {"code": "", "assertion": "", "words": ""}]}
TRACE = {"code": "EDITOR_NAMED", "message": "", "means": "", "does_not_prove": ""}
SPAN = {"start_s": 0.5, "end_s": 1.5, "score": 0.9, "modality": "audio", "track": None}


@pytest.fixture
def planted_answers(monkeypatch) -> None:
    """The app's answers carry the payload where real ones carry what others wrote. A file that cannot be read too:
    its error then ends like one that quotes ffmpeg."""
    real = scoring.core.analyse

    def analyse(path, **given):
        answer = real(path, **given)
        if not answer.get("error"):
            answer["provenance"] |= {"credentials": CREDENTIALS, "traces": [TRACE], "not_checked": [""]}
            for told in answer["detectors"].values():
                told["segments"] = [SPAN]
        return with_planted_text(answer)

    monkeypatch.setattr(scoring.core, "analyse", analyse)


def nothing_ran(page) -> bool:
    return page.evaluate("window.planted === undefined && !document.querySelector('.planted')")


def test_planted_text_is_shown_as_text_everywhere(visit, planted_answers, make_clip, tmp_path, browser, monkeypatch):
    tone = make_clip(None, 0.1 * np.sin(np.arange(32_000) * 0.06).astype(np.float32),
                     "a<img src=x class=planted onerror=planted=1>${window.planted=3}{{window.planted=4}}.mp4")
    page = visit.open().only(QUICK).choose(tone).analyse().page
    for tab in ("Scores", "Spans", "Each detector", "Quality and file", "Compare"):
        visit.open_tab(tab, "#detail-tabs")
        page.wait_for_timeout(200)
    assert "window.planted=3" in page.locator("#file-facts").inner_text(), "it is shown, as text"
    assert nothing_ran(page)

    href = page.get_by_role("link", name="report").first.get_attribute("href")
    report = tmp_path / "report.html"
    report.write_bytes(base64.b64decode(href.split(",", 1)[1]))
    context = browser.new_context()
    opened = context.new_page()
    opened.goto(report.as_uri())
    assert "window.planted=3" in opened.locator("body").inner_text() and nothing_ran(opened)
    context.close()

    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"this is no clip" * 50)
    visit.open_tab("Many clips")
    page.locator("#batch-files input[type=file]").set_input_files(str(broken))
    page.locator("#batch-files").get_by_text("broken").first.wait_for()
    page.click("#batch-start")
    page.wait_for_selector("#batch-status:has-text('Finished: ')", timeout=180_000)
    for button in page.locator("#batch-table button[data-entry]").all():
        button.click()
        page.wait_for_timeout(500)
        assert "window.planted=3" in page.locator("#batch-opened").inner_text()
    assert nothing_ran(page)

    # One's place in the queue is told where something waits.
    monkeypatch.setattr(waiting, "place_of", lambda *_: (2, 40.0))
    page.evaluate("""(words) => document.querySelector('#batch-status').insertAdjacentHTML(
        'beforeend', `<li class="tt-now"><span>${words} …</span> <span class="tt-seconds">1 s</span></li>`)""",
                  texts.WAITING)
    page.wait_for_selector("#batch-status:has-text('2 others are before you, for about 40 s.')")

    # Markup that got through all the same could send nothing to another host.
    sent = page.evaluate("fetch('https://example.org/').then(() => 'sent', () => 'blocked')")
    assert sent == "blocked" and visit.foreign == []
    assert all("example.org" in error for error in visit.errors), visit.errors


def test_the_payload_runs_where_nothing_escapes_it(browser):
    """That the test above can fail."""
    context = browser.new_context()
    page = context.new_page()
    page.set_content(f"<p>{PAYLOAD}</p>")
    page.wait_for_function("window.planted > 0")
    assert not nothing_ran(page)
    context.close()
