"""The explanations' benchmark on a detector whose truth is known. The times are not tested, the pointing is."""

from __future__ import annotations

import json

import numpy as np
import pytest
from torch import nn

from benchmarks import explain as benchmark
from detectors.contract import InputSpec
from explain.planted import Plant
from media import AUDIO_HZ, ClipInfo, FaceTrack, PreparedClip, Quality

SPEC = InputSpec(window_s=2.0, hop_s=1.0, frames=6, face_px=64, audio_hz=AUDIO_HZ, modalities=("video", "audio"))


class SeesTint(nn.Module):
    """The logit is how red the picture is beside its green: the plant's tint raises it, wherever it is."""

    def forward(self, faces):
        return 400 * (faces[:, :, 0] - faces[:, :, 1]).relu().mean((1, 2, 3))


class TintDetector:
    id, spec = "tint", SPEC
    card = {"checkpoint": "sha256:00", "thresholds": {"manipulated": 0.8, "suspicious": 0.6}}

    def __init__(self):
        self.model = SeesTint()

    def logits(self, inputs):
        return {"video": self.model(inputs.faces), "audio": 0 * inputs.audio.sum(1)}


@pytest.fixture(scope="module")
def clip():
    times_s = np.round(np.arange(0, 5, 0.04), 2)
    faces = np.repeat(np.random.default_rng(0).integers(100, 140, (len(times_s), 64, 64, 1), np.uint8), 3, axis=3)
    track = FaceTrack(0, times_s, np.zeros((len(times_s), 4), np.float32), np.zeros((len(times_s), 5, 2), np.float32),
                      np.ones(len(times_s)))
    info = ClipInfo("x.mp4", "0" * 64, 1, "mp4", 5.0)
    sound = np.random.default_rng(0).normal(0, 0.01, 5 * AUDIO_HZ).astype(np.float32)
    return PreparedClip(info, (track,), {0: faces}, {}, sound, ((0.0, 5.0),), Quality((), {}))


def test_a_detector_that_sees_tint_is_pointed_at_it_and_cannot_hear(clip):
    methods = ("ablation", "integrated_gradients")
    figures = benchmark.measure(clip, TintDetector(), count=2, replacement="blur", methods=methods)
    assert (figures["planted"], figures["artefacts"], figures["evidence"]) == (2, 1, 0)  # the one in the picture
    for row in figures["methods"].values():
        assert row["pointing"] > 0.9 > 0.2 > row["random_pointing"] > 0 and row["faithful_share"] == 1
        assert row["seconds"] > 0 and row["forwards"] > 1
    assert figures["default"]["pointing"] > 0.9
    benchmark.show("tint", figures)
    json.dumps(figures, allow_nan=False)


def test_a_method_that_does_not_beat_random_is_not_the_default():
    good = {"pointing": 0.6, "random_pointing": 0.1, "faithful_share": 0.5}
    chance = {"pointing": 0.1, "random_pointing": 0.1, "faithful_share": 1.0}
    assert benchmark.choose_default({"a": good, "b": {**good, "faithful_share": 0.7}}) == "b"
    assert benchmark.choose_default({"a": good, "b": chance}) == "a"
    assert benchmark.choose_default({"b": chance}) is None and benchmark.choose_default({}) is None


def test_artefacts_take_turns_and_lie_inside_the_clip(clip):
    plants = benchmark.artefacts(clip, 12)
    assert {p.region for p in plants if p.region} == {"lips", "eyes", "nose", "skin", "border", "background"}
    assert len({p.band_hz for p in plants}) == 5 and all(p.span_s[0] > 0 and p.span_s[1] < 5 for p in plants)
    assert plants == benchmark.artefacts(clip, 12) and isinstance(plants[0], Plant)


@pytest.mark.parametrize(("asked", "choice"), [("--detectors", "ss_avd"), ("--methods", "grad_cam")])
def test_an_unknown_name_is_bad_usage(asked, choice, capsys):
    with pytest.raises(SystemExit) as stop:
        benchmark.main([asked, "magic"])
    assert stop.value.code == 2 and choice in capsys.readouterr().err
