"""Quality and file: measures against limits, traces, credentials; words that stay true, text that stays text."""

from __future__ import annotations

import copy
import re

import pytest

from detectors import familiarity
from explain import words as said
from media import prepare
from media.provenance import read_provenance
from media.quality import LEAST_SHARPNESS, SMALLEST_FACE_PX
from tests.strict_html import Page
from tests.ui.test_html import PAYLOADS
from ui import quality, texts
from ui.details import file_html
from ui.quality import credentials_html, panel_html, quality_html, traces_html


def words(html: str) -> str:
    return " ".join(Page(html).words.split())


def row(html: str, name: str) -> str:
    """The words of the table row that begins with `name`."""
    (found,) = [r for r in re.findall(r"<tr>(.*?)</tr>", html) if re.match(rf'<th scope="row">{name}<', r)]
    return words(f"<table>{found}</table>")


def hostile(value: object, payload: str, place: str = "") -> object:
    """Every text of a JSON value replaced, each by another one, and the name of a tag too."""
    if isinstance(value, dict):
        kept = {k: value[k] for k in ("state", "signer_trusted") if k in value}
        return {payload if k == "Tag date" else k: hostile(v, payload, f"{place}.{k}") for k, v in value.items()} | kept
    if isinstance(value, list):
        return [hostile(v, payload, f"{place}.{k}") for k, v in enumerate(value)]
    return payload + place if isinstance(value, str) else value


@pytest.mark.parametrize("payload", PAYLOADS)
@pytest.mark.parametrize("state", ["none", "intact", "broken", "elsewhere", "unread"])
def test_text_from_the_file_never_becomes_markup(result, cards, payload, state):
    told = result["provenance"]["credentials"]
    told["state"] = state
    told["failures"] = [{"code": "assertion.bmffHash.mismatch", "assertion": "c2pa.hash", "words": "they differ"}]
    clean = Page(panel_html(result, cards))
    dirty = copy.deepcopy(result)
    dirty["clip"], dirty["provenance"] = payload, hostile(result["provenance"], payload)
    found = Page(panel_html(dirty, cards))
    assert [(t, sorted(a)) for t, a in found.tags] == [(t, sorted(a)) for t, a in clean.tags]
    assert found.words.count(payload) >= 10


def test_measures_stand_beside_their_limits(result, cards):
    html = quality_html(result, cards)
    assert row(html, "Face size") == f"Face size 120 pixels wide at least {SMALLEST_FACE_PX} pixels large enough"
    assert "9" in row(html, "Sharpness of the face") and "blurred" in row(html, "Sharpness of the face")
    assert row(html, "Voice").endswith("3.8 s, 38 % of the clip at least 0.5 s enough to judge")
    assert quality.NOT_MEASURED in row(html, "Voice above noise and music")


@pytest.mark.parametrize("sharpness, word", [(LEAST_SHARPNESS, "sharp enough"), (LEAST_SHARPNESS - 0.1, "blurred")])
def test_the_limit_itself_is_enough(result, cards, sharpness, word):
    result["media"]["measures"]["face_sharpness"] = sharpness
    assert word in row(quality_html(result, cards), "Sharpness of the face")


def test_what_was_not_measured_says_why(result, cards):
    result["media"]["measures"] = {"duration_s": 3.0, "decode_errors": 2.0}
    html = quality_html(result, cards)
    assert quality.NO_FACE in row(html, "Face size") and quality.NO_SOUND in row(html, "Loudness")
    assert "2 parts could not be decoded" in row(html, "Reading")


@pytest.mark.parametrize("out, blocks, word", [
    (1.2, None, "like what"), (3.3, [], "no score strong signs"), (9.0, ["video"], "do not judge it"),
    (9.0, [], "no score strong signs"),  # of two faces one is usual
    (9.0, None, "none of them was asked"),  # a guest judges alone
])
def test_how_far_a_clip_is_from_training_is_told(result, cards, out, blocks, word, monkeypatch):
    monkeypatch.setattr(familiarity, "limits", lambda modality: {"usual": 3.0, "known": 4.5})
    result["media"]["measures"]["face_distance"] = out
    if blocks is not None:
        result["findings"] = [{"code": "UNLIKE_TRAINING", "message": "", "remedy": "", "blocks": blocks}]
    html = quality_html(result, cards)
    told = row(html, "Face, compared with those learnt from")
    assert f"{out:.2f} deviations" in told and "usual: up to 3.00; judged: up to 4.50" in told and word in told
    assert quality.NO_DISTANCE in row(html, "Sound, compared with that learnt from")


@pytest.mark.parametrize("offset_s, told, judged", [
    (0.0, "sound and picture come together", said.OFFSET_USUAL),
    (-0.004, "sound and picture come together", said.OFFSET_USUAL),
    (0.12, "the sound comes 0.12 s after the picture", said.OFFSET_USUAL),
    (-0.24, "the sound comes 0.24 s before the picture", said.OFFSET_USUAL),
    (0.28, "the sound comes 0.28 s after the picture", said.OFFSET_LARGE),
    (-0.6, "no match within 0.6 s either way", said.OFFSET_NOT_FOUND[1]),
    (None, quality.OFFSET_NONE, quality.OFFSET_NONE_WHY),
])
def test_the_offset_is_told_as_an_estimate(result, cards, offset_s, told, judged):
    result["detectors"]["ss_avd"]["offset_s"] = offset_s
    line = row(quality_html(result, cards), quality.OFFSET)
    assert told in line and line.endswith(judged)
    assert ("as SS-AVD estimates" in line) == (offset_s is not None)


def test_each_detector_tells_its_own_offset(result, cards):
    result["detectors"]["ss_avd"]["offset_s"] = 0.04
    result["detectors"]["joint_av"] = {**result["detectors"]["ss_avd"], "offset_s": -0.08}
    told = words(quality_html(result, cards))
    assert "0.04 s after the picture, as SS-AVD" in told and "0.08 s before the picture, as Joint AV" in told


def test_the_hash_can_be_copied(result):
    tags = Page(file_html(result)).tags
    (button,) = [a for t, a in tags if t == "button"]
    assert button["data-copy"] == result["sha256"] and button["aria-label"] == texts.COPY_LABEL
    assert [a for t, a in tags if a.get("role") == "status"], "that it was copied is said"


def test_facts_come_from_the_file_and_are_shown_once(result):
    told = words(file_html(result))
    assert "1,234 bytes" in told and told.count("h264") == 1 and "0:10 (10.00 s)" in told


def test_a_trace_says_what_it_means_and_what_it_does_not_prove(result):
    told = words(traces_html(result))
    for part in (quality.MEANS, "exported from that program", quality.DOES_NOT_PROVE, "Cutting is an edit too.",
                 quality.TRACES_NOTE, "too large to look at"):
        assert part in told
    result["provenance"]["traces"] = []
    assert quality.TRACES_NONE in words(traces_html(result))


@pytest.mark.parametrize("state, trusted, intact_word, trusted_word", [
    ("intact", "yes", "Yes", "Yes, the signer is on"),
    ("intact", "unknown", "Yes", "given no list"),
    ("intact", "no", "Yes", "No, the signer is not"),
    ("broken", "yes", "No", "Yes, the signer is on"),
    ("none", "unknown", "There are none", quality.NOBODY_SIGNED),
    ("unread", "unknown", "Not known", quality.NOBODY_SIGNED),
    ("elsewhere", "unknown", "Not known", quality.NOBODY_SIGNED),
])
def test_intact_and_trusted_are_two_facts(result, state, trusted, intact_word, trusted_word):
    told = result["provenance"]["credentials"]
    told.update(state=state, signer_trusted=trusted)
    html = credentials_html(result)
    assert row(html, r"Intact\?").removeprefix("Intact? ").startswith(intact_word)
    assert trusted_word in row(html, r"Signer trusted\?")
    assert told["limit"] in words(html)


def test_what_the_signer_states_is_listed(result):
    html = credentials_html(result)
    assert "A camera maker" in row(html, "Signed by")
    assert "captured by a camera" in row(html, "What the signer says was done")
    assert quality.CREDENTIALS_ROWS["failures"] not in words(html)


def test_a_file_that_could_not_be_read_has_no_measures_and_says_so(error, cards):
    told = words(panel_html(error, cards))
    assert quality.TRACES_UNREAD in told and quality.CREDENTIALS not in told


def test_what_a_real_file_tells_is_shown(result, cards, examples_dir):
    path = examples_dir / "speech_only.ogg"
    found = read_provenance(path, prepare(path).info)
    assert found.facts and found.traces
    result["provenance"] = found.to_json()
    told = words(panel_html(result, cards))
    assert all(value in told for _, value in found.facts)
    assert all(t.message in told and t.does_not_prove in told for t in found.traces)
    assert found.credentials.state in ("none", "unread") and "proves nothing" in told.split(quality.CREDENTIALS)[1]


def test_no_word_calls_a_file_genuine_or_fake(result, cards):
    told = words(panel_html(result, cards)).lower()
    assert not re.search(r"\b(real|fake|authentic)\b", told)
