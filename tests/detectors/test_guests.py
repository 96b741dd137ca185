"""Detectors from outside: how they join, and that their faults stay theirs."""

from __future__ import annotations

import json
import re
import sys
from dataclasses import replace
from importlib.metadata import EntryPoint
from types import ModuleType, SimpleNamespace

import jsonschema
import numpy as np
import pytest

import detectors
import scan
from detectors import GuestError, available, choose, known_id, load
from detectors import guests as guest_module
from detectors.analysis import analyse_clip
from detectors.contract import InputSpec, Segment, Verdict, WindowScores
from detectors.guests import Guests, score_checked, score_faults
from detectors.windows import cut_windows
from media import AUDIO_HZ
from tests.explain.tiny_detectors import a_clip
from tests.test_contract import ANSWER

SPEC = InputSpec(window_s=1.0, hop_s=0.5, frames=4, face_px=16, audio_hz=AUDIO_HZ, modalities=("video", "audio"))


class Calm:
    """Finds every face a little suspicious."""

    id, spec = "calm", SPEC
    card = {"name": "Calm", "polarity": "P(fake)", "thresholds": {"manipulated": 0.9, "suspicious": 0.5}}

    def __init__(self, device):
        self.device = device

    def score(self, windows):
        video = np.where(windows.has_face, 0.6, np.nan)
        return WindowScores(windows.start_s, windows.end_s, video, None, None, None, windows.track_id)


class Heard(Calm):
    id = "heard"

    def score(self, windows):
        audio = np.where(windows.has_audio, 0.3, np.nan)
        return WindowScores(windows.start_s, windows.end_s, None, audio, None, None, windows.track_id)


class Crash(Calm):
    id = "crash"

    def score(self, windows):
        raise RuntimeError(f"cannot read {windows.start_s}")


class Wild(Calm):
    id = "wild"

    def score(self, windows):
        return replace(super().score(windows), video=np.full(len(windows.start_s), 7.0))


class Broken(Calm):
    id = "broken"

    def __init__(self, device):
        raise FileNotFoundError("weights.pt")


class Nameless(Calm):
    id, card = "nameless", {"polarity": "P(fake)"}


class Taken(Calm):
    id = "ss_avd"


class Looker(Calm):
    id, spec = "looker", replace(SPEC, stills=True)


class Measured(Looker):
    id, card = "measured", {**Calm.card, "calibrated_for_stills": True}


@pytest.fixture
def registry(monkeypatch):
    """An empty list of guests, and a module that holds the classes above."""
    module = ModuleType("outside")
    for kind in (Calm, Heard, Crash, Wild, Broken, Nameless, Taken, Looker, Measured):
        setattr(module, kind.__name__, kind)
    monkeypatch.setitem(sys.modules, "outside", module)
    monkeypatch.setattr(guest_module, "entry_points", lambda group: [])
    guests = Guests(taken=tuple(detectors.BUILDERS))
    monkeypatch.setattr(detectors, "GUESTS", guests)
    detectors._load.cache_clear()
    yield guests
    detectors._load.cache_clear()


def test_a_class_joins_by_its_reference_and_its_card_is_completed(registry):
    assert known_id("outside:Calm") == "calm" == known_id("outside:Calm") == known_id("calm")
    card = available()["calm"]
    assert card["added"] == "outside:Calm" and re.fullmatch("sha256:[0-9a-f]{64}", card["checkpoint"])
    assert card["provisional"] is True and card["explainable"] is False and card["input_spec"]["frames"] == 4
    assert load("calm", "cpu").device == "cpu" and load("calm", "cpu") is load("outside:Calm", "cpu")
    assert choose("all,outside:Calm")[-1] == "calm" and choose("ss_avd, outside:Calm") == ["ss_avd", "calm"]


def test_entry_points_join_and_the_bad_ones_are_left_out_with_the_reason(registry, monkeypatch):
    points = [EntryPoint("a", "outside:Calm", "telltale.detectors"), EntryPoint("b", "outside:Nameless", "x"),
              EntryPoint("c", "nowhere.at.all:Class", "x"), EntryPoint("d", "outside:Taken", "x")]
    asked = []
    monkeypatch.setattr(guest_module, "entry_points", lambda group: asked.append(group) or points)
    assert list(registry.all()) == ["calm"] and list(registry.all()) == ["calm"] and asked == ["telltale.detectors"]
    assert list(registry.problems) == ["outside:Nameless", "nowhere.at.all:Class", "outside:Taken"]
    assert "thresholds" in registry.problems["outside:Nameless"]
    assert "cannot be imported" in registry.problems["nowhere.at.all:Class"]
    assert "of another detector" in registry.problems["outside:Taken"]


@pytest.mark.parametrize("reference, words", [
    ("outside:Nobody", "has no class Nobody"), ("outside:Nameless", 'card["name"]'), ("outside:Taken", "of its own"),
    ("a b:C", "no package.module:Class"), (":", "no package.module:Class"),
])
def test_what_cannot_join_is_refused_in_a_sentence(registry, reference, words):
    with pytest.raises(GuestError) as refused:
        known_id(reference)
    assert words in str(refused.value)


def test_a_threshold_of_certainty_is_refused(registry, monkeypatch):
    """1 stands for "never", as of clips unlike training."""
    monkeypatch.setattr(Calm, "card", {**Calm.card, "thresholds": {"manipulated": 1.0, "suspicious": 0.5}})
    with pytest.raises(GuestError, match="manipulated < 1"):
        known_id("outside:Calm")


def test_its_answer_is_like_any_other(registry):
    known_id("outside:Calm")
    answer = analyse_clip(a_clip(), load("calm", "cpu"))
    assert answer.score == pytest.approx(0.6) and answer.verdict == Verdict.SUSPICIOUS and answer.findings == ()
    assert answer.memory.weights_mb is None and answer.memory.of == "process"


@pytest.mark.parametrize("name, words", [
    ("Crash", "RuntimeError in test_guests.py, line "), ("Wild", "outside of 0 to 1"), ("Broken", "cannot be loaded"),
])
def test_what_goes_wrong_inside_it_is_a_reason_and_tells_no_content(registry, name, words):
    answer = analyse_clip(a_clip(), load(known_id(f"outside:{name}"), "cpu"))
    assert answer.score is None and answer.verdict == Verdict.CANNOT_EVALUATE and answer.windows == ()
    (finding,) = answer.findings
    assert finding.reason == "DETECTOR_FAILED" and words in finding.message and "cannot read" not in finding.message
    assert f"detectors check outside:{name}" in finding.remedy


def test_the_others_go_on_and_the_answer_keeps_its_schema(registry, examples_dir, capsys):
    names = "outside:Crash,outside:Heard"
    assert scan.main([str(examples_dir / "speech_only.ogg"), "--detectors", names, "--device", "cpu"]) == 0
    answer = json.loads(capsys.readouterr().out)
    jsonschema.validate(answer, ANSWER)
    assert answer["score"] == answer["detectors"]["heard"]["score"] == 0.3 and answer["consensus"]["of"] == 1
    assert list(answer["detectors"]) == ["crash", "heard"] and list(answer["memory"]) == ["heard"]
    assert answer["reasons"] == answer["detectors"]["crash"]["reasons"] == ["NO_VIDEO", "DETECTOR_FAILED"]


@pytest.mark.parametrize("name, video, score, verdict, reasons", [
    ("Calm", None, None, "CANNOT_EVALUATE", ["NEEDS_MOVEMENT"]),
    ("Looker", 0.6, None, "CANNOT_EVALUATE", ["STILLS_NOT_CALIBRATED"]),
    ("Measured", 0.6, 0.6, "SUSPICIOUS", []),
])
def test_a_still_picture_gets_a_verdict_only_where_that_was_calibrated(registry, name, video, score, verdict, reasons):
    clip = a_clip(duration_s=0.04, sound=False)
    clip = replace(clip, info=replace(clip.info, duration_s=0.0, still=True))
    answer = analyse_clip(clip, load(known_id(f"outside:{name}"), "cpu"))
    assert (answer.video, answer.score, str(answer.verdict)) == (video, score, verdict)
    assert [str(f.reason) for f in answer.findings] == reasons and answer.segments == ()
    assert all(len(f.remedy) > 30 for f in answer.findings)


@pytest.mark.parametrize("changes, words", [
    ({"video": np.array([0.5])}, "one number for each"), ({"video": np.full(7, -0.1)}, "0 to 1"),
    ({"video": np.full(7, np.inf)}, "0 to 1"), ({"audio": np.array(["a"] * 7)}, "array of numbers"),
    ({"end_s": np.zeros(3)}, "same length"), ({"end_s": np.full(7, np.nan)}, "known second"),
    ({"start_s": np.full(7, 99.0)}, "known second"), ({"start_s": ["a"] * 7}, "arrays of seconds"),
    ({"proposals": (Segment(1.0, 99.0, 0.5, "video"),)}, "inside the clip"),
    ({"proposals": (Segment(1.0, 2.0, 0.5, "mouth"),)}, "a modality"),
])
def test_faults_of_scores_are_named(changes, words):
    (windows,) = cut_windows(a_clip(), SPEC)
    good = Calm("cpu").score(windows)
    assert len(windows.start_s) == 7 and score_faults(good, windows) == []
    assert words in " ".join(score_faults(replace(good, **changes), windows))
    assert "WindowScores" in score_faults(0.5, windows)[0]


def test_lists_become_arrays():
    (windows,) = cut_windows(a_clip(), SPEC)
    told = Calm("cpu").score(windows)
    lists = SimpleNamespace(score=lambda windows: replace(told, video=told.video.tolist(), end_s=list(told.end_s)))
    checked = score_checked(lists, windows)
    assert isinstance(checked.video, np.ndarray) and isinstance(checked.end_s, np.ndarray)


def test_a_score_of_what_is_missing_is_a_fault():
    (windows,) = cut_windows(a_clip(sound=False), SPEC)
    told = replace(Calm("cpu").score(windows), audio=np.full(7, 0.5), sync=np.full(7, np.nan))
    assert "audio is told though" in " ".join(score_faults(told, windows))
