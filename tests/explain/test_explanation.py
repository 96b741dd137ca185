"""The whole explanation, step by step."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from detectors.contract import InputSpec, Segment, WindowScores
from explain import Cancelled, NothingToExplain, aim, default_method, explain, usual_methods
from media import AUDIO_HZ
from tests.explain.tiny_detectors import Spots, TinyDetector, a_clip

BRIGHT = Segment(1.0, 2.0, 0.9, "video", 0)


@pytest.fixture(scope="module")
def detector():
    return TinyDetector(Spots(face=12.0, audio=0.0, bias=-6.0, frames=slice(0, 4)))


@pytest.fixture(scope="module")
def steps(detector):
    return list(explain(a_clip(), detector, BRIGHT))


def test_it_grows_step_by_step_and_ends_complete(steps):
    assert [(s.share is not None, len(s.maps), len(s.faithfulness)) for s in steps] == [
        (True, 0, 0), (True, 1, 0), (True, 2, 0), (True, 2, 1), (True, 2, 2), (True, 2, 2)]
    assert [s.complete for s in steps] == [False] * 5 + [True]
    last = steps[-1]
    assert last.head == "video" and last.start_s.tolist() == [1.0] and last.score > 0.9
    assert any("at the lips, 1.0–2.0 s" in s for s in last.sentences)
    assert last.sentences[-1] == "The sound as a whole does not raise the score."
    assert all(test.passed for test in last.faithfulness.values())
    assert last.seconds["total"] == pytest.approx(sum(v for k, v in last.seconds.items() if k != "total"))


def test_its_json_is_plain_and_says_what_was_replaced(steps):
    told = json.loads(json.dumps(steps[-1].to_json(), allow_nan=False))
    assert told["replacement"] == "blur" and "blurred" in told["replacement_words"]
    assert told["faithfulness"]["ablation"]["passed"] is True
    picture = told["maps"]["ablation"]["groups"]["picture"]
    assert picture["places"][0] == "lips" and np.shape(picture["values"]) == (1, 2, 6)
    assert told["share"]["complete"] is True


def test_it_can_be_cancelled_between_passes(detector):
    asked = iter(range(10_000))
    steps = explain(a_clip(), detector, BRIGHT, should_stop=lambda: next(asked) > 12)
    next(steps)  # the share needs fewer
    with pytest.raises(Cancelled):
        list(steps)


def test_a_moment_is_explained_by_the_window_around_it(detector):
    told = next(explain(a_clip(), detector, moment_s=3.9))
    assert told.start_s.tolist() == [3.0] and told.head == "whole"


def test_a_longer_segment_has_windows_side_by_side(detector):
    target, _ = aim(a_clip(), detector, (0.5, 3.5))
    assert target.start_s.tolist() == [0.5, 1.5, 2.5]
    assert len(aim(a_clip(duration_s=9.0), detector, (0.0, 9.0))[0]) == 4


def test_a_neutral_moment_is_the_least_suspicious_one_elsewhere(detector):
    target, notes = aim(a_clip(), detector, (1.0, 2.0), replacement="neutral")
    assert target.baseline.name == "neutral" and notes == ()
    assert float(target.baseline.faces[0, :, :, 24:28, 14:18].max()) < 0.5  # without the spot


def test_known_scores_tell_where_a_neutral_moment_is_sought(detector):
    clip = a_clip(duration_s=12.0)
    late = WindowScores(np.array([0.0, 11.0]), np.array([1.0, 12.0]), None, None, None, np.array([0.9, 0.1]), 0)
    base = aim(clip, detector, (1.0, 2.0), replacement="neutral", scores=late)[0].baseline
    assert 8.0 <= float(base.words.split(" from ")[1].split()[0]) <= 11.0


def test_where_every_moment_is_suspicious_it_is_blur_and_said(detector):
    told = next(explain(a_clip(bright_s=(0.0, 4.0)), detector, BRIGHT, replacement="neutral"))
    assert told.replacement == "blur" and "No other moment" in told.notes[0]


@pytest.mark.parametrize("judged", [0, 1])
def test_a_moment_that_cannot_be_judged_never_stands_in(judged):
    """Moments of which the head tells NaN, all of them or all but one."""
    class Halting(TinyDetector):
        def logits(self, inputs):
            told = super().logits(inputs)
            if len(inputs.faces) > 1:  # the moments that are tried, not the explained window
                told["whole"] = told["whole"].clone()
                told["whole"][judged:] = torch.nan
            return told

    halting = Halting(Spots(face=12.0, audio=0.0, bias=-6.0, frames=slice(0, 4)))
    target, notes = aim(a_clip(), halting, (1.0, 2.0), head="whole", replacement="neutral")
    if judged:
        assert target.baseline.words.split(" from ")[1].startswith("0.0") and notes == ()
    else:
        assert target.baseline.name == "blur" and "No other moment" in notes[0]


def test_a_detector_from_outside_that_fails_or_shows_no_model_is_a_reason(detector):
    class Breaking(TinyDetector):
        def logits(self, inputs):
            raise KeyError("secret_name.mp4")

    breaking = Breaking(detector.model)
    with pytest.raises(KeyError):  # a fault of our own stays one
        next(explain(a_clip(), breaking, BRIGHT))
    breaking.card = {**breaking.card, "name": "Guest", "added": "guest:Guest"}
    with pytest.raises(NothingToExplain, match="Guest gave no answer: it failed with KeyError") as told:
        next(explain(a_clip(), breaking, BRIGHT))
    assert "secret" not in str(told.value)
    del breaking.model
    with pytest.raises(NothingToExplain, match="scores alone"):
        next(explain(a_clip(), breaking, BRIGHT))


def test_a_method_that_cannot_answer_is_a_note_not_an_end(detector):
    last = list(explain(a_clip(), detector, BRIGHT, methods=("grad_cam",)))[-1]
    assert last.complete and last.maps == {} and "no convolution" in last.notes[0]


def test_silence_is_explained_without_sound(detector):
    assert set(next(explain(a_clip(sound=False), detector, BRIGHT)).share.values) == {"face", "lips"}


def test_bad_wishes_are_errors_in_words(detector):
    with pytest.raises(NothingToExplain, match="not sync"):
        next(explain(a_clip(), detector, BRIGHT, head="sync"))
    with pytest.raises(ValueError, match="ablation"):
        next(explain(a_clip(), detector, BRIGHT, methods=("magic",)))
    with pytest.raises(ValueError, match="neutral"):
        next(explain(a_clip(), detector, BRIGHT, replacement="black"))
    with pytest.raises(NothingToExplain, match="no face 7"):
        next(explain(a_clip(), detector, BRIGHT, track_id=7))
    faceless = a_clip(sound=False)
    faceless.tracks = ()
    with pytest.raises(NothingToExplain, match="no face and no voice"):
        next(explain(faceless, detector, moment_s=1.0))


def test_the_map_that_is_shown_first_is_the_one_that_was_measured_to_point_best():
    assert default_method({}) == "ablation"
    assert default_method({"explanations": {"default": {"method": "integrated_gradients"}}}) == "integrated_gradients"
    assert default_method({"explanations": {"default": None}}) is None  # measured, and none beats random


def test_a_fine_map_is_made_where_one_was_measured_to_beat_random_before_long():
    def card(**pointing: float | None) -> dict:
        return {"explanations": {"methods": {name: {"pointing": share, "random_pointing": 0.1, "faithful_share": 0.5}
                                             for name, share in pointing.items()}}}

    assert usual_methods({}) == ("ablation", "integrated_gradients")
    assert usual_methods(card(ablation=0.9, integrated_gradients=0.05, grad_cam=0.2)) == ("ablation", "grad_cam")
    assert usual_methods(card(ablation=0.05, integrated_gradients=0.3, grad_cam=0.2)) == (
        "ablation", "integrated_gradients")
    assert usual_methods(card(ablation=0.9, integrated_gradients=0.1, smooth_grad=None)) == ("ablation",)
    long = card(ablation=0.9, integrated_gradients=0.8, grad_cam=0.2)
    long["explanations"]["times"] = {"integrated_gradients": {"cpu_seconds": 10.0}, "grad_cam": {"cpu_seconds": 1.0},
                                     "faithfulness of integrated_gradients": {"cpu_seconds": 5.1}}
    assert usual_methods(long) == ("ablation", "grad_cam")  # nobody waits for what nobody asked for


LONG = InputSpec(window_s=4.0, hop_s=2.0, frames=8, face_px=32, audio_hz=AUDIO_HZ, modalities=("video", "audio"),
                 lips=16, lips_px=16)


def test_a_readable_map_of_a_long_window_keeps_to_the_segment_and_says_so():
    detector = TinyDetector(Spots(face=12.0, audio=0.0, bias=-6.0, frames=slice(0, 8)), LONG)
    *_, told = explain(a_clip(), detector, span_s=(0.5, 1.0), head="whole", methods=["ablation"])
    [low, high] = told.maps["ablation"].layout.groups["picture"].steps_s[[0, -1], [0, 1]] + told.start_s[0]
    assert (low, high) == (0.0, 3.0)  # a short span with what is around it, inside the window
    assert any("0.0–3.0 s" in note and "4.0 s" in note for note in told.notes)


def test_a_moment_stands_for_its_whole_window():
    detector = TinyDetector(Spots(face=12.0, audio=0.0, bias=-6.0, frames=slice(0, 8)), LONG)
    *_, told = explain(a_clip(), detector, moment_s=2.0, methods=["ablation"])
    assert told.maps["ablation"].layout.groups["picture"].steps_s[-1, 1] == 4.0
    assert not any("4.0 s" in note for note in told.notes)
