"""What was never learnt from is noticed, widens the band, and far out is not judged; what is usual is left alone."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from detectors import BUILDERS, Verdict, analyse, load
from detectors.analysis import analyse_clip
from detectors.consensus import together, widen
from detectors.contract import Thresholds
from detectors.familiarity import (
    COMPONENTS,
    MEASURES,
    MOST_WINDOWS,
    SPEC,
    Familiarity,
    as_unusual_as,
    is_unusual,
    judge_familiarity,
    limits,
    measure_distances,
)
from detectors.guests import Guests
from media import AUDIO_HZ, PreparedClip, Quality, Reason, prepare
from tests.detectors.test_guests import Calm
from tests.explain.tiny_detectors import a_clip

RNG = np.random.default_rng(0)


@pytest.fixture(scope="module")
def clip(request) -> PreparedClip:
    examples = request.getfixturevalue("examples_dir")
    return prepare(examples / "voice_resynthesised.mp4")


def with_faces(clip: PreparedClip, change) -> PreparedClip:
    changed = {track: np.stack([change(face) for face in faces]) for track, faces in clip.faces.items()}
    return replace(clip, faces=changed)


@pytest.fixture(scope="module")
def two_faces(clip) -> PreparedClip:
    """The clip, and in it a second face of noise."""
    first = clip.tracks[0]
    noise = RNG.integers(0, 256, clip.faces[first.track_id].shape, np.uint8)
    return replace(clip, tracks=(first, replace(first, track_id=99)), faces={**clip.faces, 99: noise},
                   lips={**clip.lips, 99: clip.lips[first.track_id]})


def only(measures: dict) -> dict:
    return {name: measures[name] for name in MEASURES.values() if name in measures}


class TestDistance:
    def test_it_is_the_component_that_is_farthest_out(self):
        model = Familiarity()  # whitens nothing yet: components are the first so many values
        summaries = torch.zeros(2, model.beside.whiten_sound.mean.numel())
        summaries[0, 3], summaries[0, 5], summaries[1, COMPONENTS] = 2.0, -3.5, 7.0
        assert model.deviations("audio", summaries).tolist() == [3.5, 0.0]

    def test_each_face_has_its_own(self, clip, two_faces):
        alone = replace(two_faces, tracks=two_faces.tracks[1:])
        near, far, both = [measure_distances(one)["video"] for one in (clip, alone, two_faces)]
        assert both == pytest.approx(near + far, abs=0.01) and near[0] < limits("video")["usual"] < far[0]

    def test_a_long_clip_takes_no_more_windows(self, monkeypatch):
        seen = []
        for of in ("_face", "_sound"):
            told = getattr(Familiarity, of)
            monkeypatch.setattr(Familiarity, of, lambda self, windows, rows, told=told, of=of: seen.append(
                (of, len(rows))) or told(self, windows, rows))
        measure_distances(a_clip(duration_s=120.0))
        assert seen == [("_face", MOST_WINDOWS), ("_sound", MOST_WINDOWS)]

    def test_faces_and_voice_are_looked_for_where_they_are(self, clip):
        """A face that is seen in a few windows of a long clip, and a voice in others, are compared nevertheless."""
        track, duration_s = clip.tracks[0], 20 * SPEC.window_s
        seen = replace(track, times_s=track.times_s + 3 * SPEC.window_s)
        sound = np.tile(clip.waveform, 20)[:round(duration_s * AUDIO_HZ)]
        long = replace(clip, info=replace(clip.info, duration_s=duration_s), tracks=(seen,), waveform=sound,
                       speech_s=((9 * SPEC.window_s, 10 * SPEC.window_s),))
        assert measure_distances(long).keys() == {"video", "audio"}
        assert measure_distances(long)["video"] == pytest.approx(measure_distances(clip)["video"], abs=0.5)

    def test_a_face_that_is_often_missing_is_compared(self, clip):
        track = clip.tracks[0]
        some = (track.times_s * AUDIO_HZ).round() % (SPEC.window_s * AUDIO_HZ) < AUDIO_HZ  # a second of each window
        part = replace(track, **{name: getattr(track, name)[some]
                                 for name in ("times_s", "boxes_px", "landmarks_px", "confidence")})
        often = replace(clip, tracks=(part,), faces={track.track_id: np.asarray(clip.faces[track.track_id])[some]})
        assert measure_distances(often)["video"][0] == pytest.approx(measure_distances(clip)["video"][0], abs=1.0)

    def test_what_cannot_be_judged_has_none(self, clip):
        assert measure_distances(replace(clip, waveform=None, speech_s=())).keys() == {"video"}
        assert measure_distances(replace(clip, tracks=(), faces={}, lips={})).keys() == {"audio"}
        assert measure_distances(replace(clip, info=replace(clip.info, still=True))) == {}

    def test_the_same_clip_has_the_same(self, clip):
        assert measure_distances(clip) == measure_distances(clip)


class TestFindings:
    @pytest.mark.parametrize("name", ["unaltered_face_no_sound.mp4", "speech_only.ogg", "mouth_redrawn.mp4"])
    def test_a_usual_clip_is_left_alone(self, examples_dir, name):
        judged = judge_familiarity(prepare(examples_dir / name))
        assert Reason.UNLIKE_TRAINING not in judged.quality.reasons
        measured = only(judged.quality.measures)
        assert measured and all(0 < value < 3.6 for value in measured.values())

    @pytest.mark.parametrize("change", [
        lambda face: RNG.integers(0, 256, face.shape, np.uint8),
        lambda face: np.zeros_like(face),
        lambda face: face[::16, ::16].repeat(16, 0).repeat(16, 1),
    ], ids=["noise", "black", "blocks"])
    def test_a_face_that_is_none_is_not_judged_and_the_sound_is(self, clip, change):
        judged = judge_familiarity(with_faces(clip, change))
        [finding] = [f for f in judged.quality.findings if f.reason == Reason.UNLIKE_TRAINING]
        assert finding.blocks == {"video"} and "do not judge the picture" in finding.message
        analysis = analyse_clip(judged, load("ss_avd", "cpu"))
        assert analysis.video is None and analysis.sync is None and analysis.score == analysis.audio is not None
        assert analysis.thresholds.manipulated == 1, "more noise does not bring back what less of it took"

    def test_beside_a_usual_face_one_that_is_none_blocks_nothing_and_widens_the_band(self, two_faces):
        judged = judge_familiarity(two_faces)
        [finding] = [f for f in judged.quality.findings if f.reason == Reason.UNLIKE_TRAINING]
        assert not finding.blocks and finding.message.startswith("A face looks unlike")
        assert judged.quality.measures["face_distance"] > limits("video")["known"]
        analysis = analyse_clip(judged, load("ss_avd", "cpu"))
        assert analysis.video is not None and analysis.thresholds.manipulated == 1

    def test_judging_twice_says_it_once(self, two_faces):
        judged = judge_familiarity(two_faces)
        assert judge_familiarity(judged).quality == judged.quality

    @pytest.mark.parametrize("change", [
        lambda t: RNG.normal(0, 0.1, len(t)), lambda t: 0.3 * np.sin(2 * np.pi * 440 * t),
    ], ids=["noise", "a tone"])
    def test_a_sound_that_is_no_voice_is_unlike_training(self, clip, change):
        t = np.arange(len(clip.waveform)) / AUDIO_HZ
        judged = judge_familiarity(replace(clip, waveform=change(t).astype(np.float32)))
        assert Reason.UNLIKE_TRAINING in judged.quality.reasons
        assert judged.quality.measures["sound_distance"] > limits("audio")["usual"]

    def test_copies_are_as_unusual_as_their_clip(self, clip):
        strange, usual = judge_familiarity(with_faces(clip, np.zeros_like)), judge_familiarity(clip)
        assert as_unusual_as(usual, strange).quality.findings == strange.quality.findings
        assert as_unusual_as(strange, usual).quality.findings == usual.quality.findings

    def test_limits_are_in_order(self):
        for modality in SPEC.modalities:
            assert 1 < limits(modality)["usual"] < limits(modality)["known"]


@pytest.fixture
def narrow(monkeypatch, clip):
    """Limits between which the picture of `clip` lies."""
    [distance] = measure_distances(clip)["video"]
    told = {"video": {"usual": distance - 0.1, "known": distance + 0.1}, "audio": limits("audio")}
    monkeypatch.setattr("detectors.familiarity.limits", told.__getitem__)


class TestBand:
    def test_it_reaches_up_to_certainty(self):
        assert widen(Thresholds(manipulated=0.8, suspicious=0.6)) == Thresholds(manipulated=1.0, suspicious=0.6)

    def test_scores_stay_and_nothing_is_called_manipulated(self, examples_dir, narrow):
        path = examples_dir / "voice_resynthesised.mp4"
        answer = analyse(path, device="cpu")
        assert answer["score"] > 0.8 and answer["verdict"] == "SUSPICIOUS"
        assert "UNLIKE_TRAINING" in answer["reasons"] and answer["consensus"]["thresholds"]["manipulated"] == 1
        assert {d["verdict"] for d in answer["detectors"].values()} <= {"SUSPICIOUS", "NO_SIGNS"}
        assert max(d["score"] for d in answer["detectors"].values()) > 0.8

    def test_without_it_the_clip_is_called_manipulated(self, examples_dir):
        answer = analyse(examples_dir / "voice_resynthesised.mp4", device="cpu")
        assert answer["verdict"] == "MANIPULATED" and answer["consensus"]["thresholds"]["manipulated"] < 1
        assert only(answer["media"]["measures"]).keys() == set(MEASURES.values())

    def test_detectors_from_outside_judge_as_they_do(self, clip, narrow):
        judged = judge_familiarity(clip)
        assert is_unusual(judged.quality.findings)
        guest = Calm("cpu")
        guest.card = {**Calm.card, "checkpoint": "none", "provisional": False, "added": "by a test",
                      "thresholds": {"manipulated": 0.5, "suspicious": 0.4}}
        blocked = replace(judged.quality.findings[-1], blocks=frozenset({"video"}))
        black = replace(judged, quality=Quality((blocked,), {}))
        for shown in (judged, black):
            analysis = analyse_clip(shown, guest)
            assert (analysis.video, analysis.verdict) == (0.6, Verdict.MANIPULATED)
            assert Reason.UNLIKE_TRAINING not in {f.reason for f in analysis.findings}
        assert together([analyse_clip(judged, guest)]).verdict == Verdict.MANIPULATED

    def test_who_asks_only_a_detector_from_outside_reads_nothing_of_it(self, examples_dir, narrow, monkeypatch):
        guests = Guests(taken=tuple(BUILDERS))
        monkeypatch.setattr("detectors.GUESTS", guests)
        answer = analyse(examples_dir / "voice_resynthesised.mp4", ["tests.detectors.test_guests:Calm"], "cpu")
        assert answer["score"] == 0.6 and "UNLIKE_TRAINING" not in answer["reasons"]
        answer = analyse(examples_dir / "voice_resynthesised.mp4", ["calm", "ss_avd"], "cpu")
        assert "UNLIKE_TRAINING" in answer["reasons"]
