"""The robustness probe: the rule on hand-made answers, and a stand-in detector on real copies of a real clip."""

from __future__ import annotations

import json
import tempfile
from dataclasses import replace

import av
import numpy as np
import pytest

from detectors import probe as probing
from detectors.analysis import analyse_clip
from detectors.contract import Analysis, InputSpec, Thresholds, Verdict, WindowScores
from detectors.probe import LONGEST_S, Reading, agree, probe, read, suspicious_span, weigh
from media import ClipInfo, MediaError, Reason, prepare
from media.limits import refusal
from media.variants import VARIANTS
from tests.media.corpus import ffmpeg

M, S, N, C = Verdict.MANIPULATED, Verdict.SUSPICIOUS, Verdict.NO_SIGNS, Verdict.CANNOT_EVALUATE
SCORES = {M: 0.83, S: 0.6, N: 0.2, C: None}
INFO = ClipInfo("clip.mp4", "0" * 64, 1, "mov", 4.0)
THRESHOLDS = Thresholds(manipulated=0.8, suspicious=0.5)


def reading(verdict: Verdict, score: float | None = None) -> Reading:
    return Reading(SCORES[verdict] if score is None else score, verdict)


def weighed(clip: Verdict, *variants: Verdict, before: Verdict | None = None):
    return weigh(before or clip, reading(clip), [(v, reading(r)) for v, r in zip(VARIANTS, variants)])


def analysis(name: str = "one", *, windows: tuple[WindowScores, ...] = (), verdict: Verdict = N,
             **scores: float | None) -> Analysis:
    told = {"score": 0.2, "video": None, "audio": None, "sync": None, **scores}
    return Analysis(INFO, name, "sha256:0", False, **told, verdict=verdict, segments=(), windows=windows,
                    findings=(), thresholds=THRESHOLDS, seconds=0.0)


# ---- the rule -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("clip, variants, after", [
    (M, [M, M, M, M, M], M), (S, [S, S], S), (N, [N, N, N], N),
    (M, [M, S, M, M, M], S), (M, [N, M, M, M, M], S), (M, [N, S, N, N, N], S),
    (S, [S, N, S], S), (S, [M, S, S], S), (S, [M, N, S], C),
    (N, [S, N], C), (N, [M, N], C),
    (M, [M, C], C), (S, [C, S], C), (N, [N, C], C), (M, [S, C], C),
    (M, [], M), (C, [M, M], C),
])
def test_a_flip_lowers_the_verdict_and_never_raises_it(clip, variants, after):
    outcome = weighed(clip, *variants)
    assert outcome.after == after and outcome.before == clip
    assert len(outcome.flips) == sum(v not in (clip, C) for v in variants if clip != C)


def test_what_is_found_in_the_probed_part_lowers_the_verdict_of_the_whole_clip():
    assert weighed(S, S, S, before=M).after == M
    assert weighed(S, N, S, before=M).after == S
    assert weighed(N, S, N, before=M).after == S
    assert weighed(N, S, N, before=N).after == C
    assert weighed(M, S, before=N).after == C
    assert weighed(M, C, before=S).after == C


def test_spread_and_sentences_with_numbers():
    outcome = weigh(M, reading(M), [(VARIANTS[0], reading(S, 0.55)), (VARIANTS[1], reading(M, 0.91)),
                                    (VARIANTS[2], reading(M, 0.8301)), (VARIANTS[3], Reading(None, C, ("video",)))])
    assert (outcome.lowest, outcome.highest, outcome.tried) == (0.55, 0.91, 4)
    assert (outcome.flips, outcome.lost, outcome.holds) == (("half_size",), ("sound_later",), False)
    assert outcome.sentences == {
        "half_size": "Halving the size of the picture changes the score from 0.83 to 0.55: the answer does not hold.",
        "crf_35": "Compressing the picture strongly (H.264, CRF 35) changes the score from 0.83 to 0.91: the answer "
                  "holds.",
        "sound_16k": "Compressing the sound to 16 kb/s leaves the score at 0.83: the answer holds.",
        "sound_later": "Moving the sound two frames (80 ms) later leaves the picture impossible to judge: the answer "
                       "does not hold.",
    }
    assert outcome.summary == ("The answer does not hold under 2 of 4 changes (scores from 0.55 to 0.91); the verdict "
                               "is lowered from “strong signs” to “cannot be judged”.")


def test_a_flip_by_a_hair_is_told_with_more_digits():
    outcome = weigh(M, reading(M, 0.8012), [(VARIANTS[0], reading(S, 0.7991))])
    assert "from 0.801 to 0.799: the answer does not hold" in outcome.sentences["half_size"]
    assert "under the one change that was tried" in outcome.summary


def test_summaries_of_answers_that_hold_stay_or_cannot_be_probed():
    assert weighed(M, M, M).summary == "The answer holds under all 2 changes (scores from 0.83 to 0.83)."
    assert "the verdict stays “some signs”" in weighed(S, N, S).summary
    unprobed, unjudged = weighed(M), weighed(C)
    assert unprobed.holds is unjudged.holds is None and "could be tried" in unprobed.summary
    assert "no answer to probe" in unjudged.summary


def test_a_modality_that_is_lost_makes_a_variant_unjudgeable():
    clip = analysis(score=0.9, video=0.9, audio=0.1, verdict=M)
    kept = analysis(score=0.85, video=0.85, audio=0.2, sync=0.1, verdict=M)
    assert replace(read(kept, clip), voice=None) == Reading(0.85, M)
    assert read(analysis(score=0.2, audio=0.2, verdict=N), clip) == Reading(None, C, ("video",))
    assert read(analysis(score=None, verdict=C), clip) == Reading(None, C, ("video", "audio"))


def test_the_consensus_is_that_of_those_that_judged():
    assert agree({"a": reading(M, 0.9), "b": reading(M, 0.8), "c": reading(N, 0.1)}) == \
        Reading(pytest.approx(0.6), M)
    assert agree({"a": reading(M, 0.9), "b": Reading(None, C, ("video",))}) == Reading(pytest.approx(0.9), M)
    assert agree({"a": Reading(None, C, ("video",)), "b": Reading(None, C, ("video", "sync"))}) == \
        Reading(None, C, ("video", "sync"))


# ---- where to probe -------------------------------------------------------------------------------------------


def curve(length_s: float, **heads: dict[int, float]) -> tuple[WindowScores, ...]:
    """One window a second, all at 0.1 but those given as second -> score."""
    start = np.arange(length_s)
    values = {h: np.array([heads[h].get(int(t), 0.1) for t in start]) if h in heads else None
              for h in ("video", "audio", "sync", "whole")}
    return (WindowScores(start, start + 1, **values, track_id=0),)


def test_a_short_clip_is_probed_whole():
    assert suspicious_span([analysis(windows=curve(12, video={3: 0.9}))], 12.0) == (0.0, 12.0)


@pytest.mark.parametrize("second, start_s", [(30, 23.0), (1, 0.0), (59, 45.0)])
def test_a_long_clip_is_probed_around_its_most_suspicious_moment(second, start_s):
    start, end = suspicious_span([analysis(windows=curve(60, video={}, audio={second: 0.9}))], 60.0)
    assert end - start == LONGEST_S and start == pytest.approx(start_s, abs=0.7) and end <= 60.0
    assert (start * 25) % 1 == pytest.approx(0, abs=1e-6)


def test_the_moment_is_that_of_the_mean_over_detectors():
    one = analysis("one", windows=curve(60, video={5: 0.9, 40: 0.8}))
    other = analysis("other", windows=curve(60, whole={40: 0.7}))
    start, end = suspicious_span([one, other], 60.0)
    assert start < 40 < end and start > 30
    assert suspicious_span([analysis(windows=())], 60.0) == (0.0, LONGEST_S)


# ---- on a real clip -------------------------------------------------------------------------------------------


class Sharpness:
    """Calls sharp faces manipulated, and sound that is not silent genuine: a detector that recompression turns."""

    id = "sharpness"
    spec = InputSpec(1.0, 0.5, 4, 224, 16_000, ("video", "audio"))
    card = {"name": "Sharpness", "checkpoint": "sha256:0", "provisional": True,
            "thresholds": {"manipulated": 0.8, "suspicious": 0.5}}

    def __init__(self, limit: float) -> None:
        self.limit = limit
        self.lengths_s: list[float] = []

    def score(self, windows) -> WindowScores:
        self.lengths_s.append(float(windows.end_s.max()))
        video = np.array([0.9 if detail(w) > self.limit else 0.6 for w in windows.faces])
        audio = np.array([0.1 if np.abs(w).max() > 0 else np.nan for w in windows.audio])
        return WindowScores(windows.start_s, windows.end_s, video, audio, None, None, windows.track_id)


def detail(faces: np.ndarray) -> float:
    """Mean difference of neighbouring pixels of faces [n, H, W, 3]."""
    return float(np.abs(np.diff(faces.astype(np.int16), axis=2)).mean())


@pytest.fixture(scope="module")
def short_clip(talking_clip, tmp_path_factory):
    path = tmp_path_factory.mktemp("probe") / "short.mp4"
    ffmpeg("-t", "1.4", "-i", str(talking_clip), "-c", "copy", str(path))
    return path


@pytest.fixture
def temporary(tmp_path, monkeypatch):
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


def test_a_real_clip_whose_answer_recompression_turns(short_clip, temporary):
    clip = prepare(short_clip)
    detector = Sharpness(0.96 * detail(np.asarray(clip.faces[0])))
    base = analyse_clip(clip, detector)
    assert base.verdict == M
    told = []
    found = probe(short_clip, [detector], [base], lambda words, seconds: told.append(words))
    outcome = found.detectors["sharpness"]
    assert set(outcome.flips) == {"half_size", "crf_35"} and outcome.after == S and outcome.lost == ()
    assert (outcome.lowest, outcome.highest) == (pytest.approx(0.6), pytest.approx(0.9))
    assert found.consensus.after == S and found.consensus.clip.score == pytest.approx(0.9)
    assert [t.variant.id for t in found.trials] == [v.id for v in VARIANTS]
    assert told[0] == "Probing: halving the size of the picture" and len(told) == len(VARIANTS)
    assert set(detector.lengths_s) == {detector.lengths_s[0]}  # all copies are as long as the clip
    answer = json.loads(json.dumps(found.to_json(), allow_nan=False))
    assert answer["verdict"] == "SUSPICIOUS" and answer["holds"] is False
    assert not list(temporary.iterdir())


def test_sound_alone_is_probed_by_its_sound(examples_dir, temporary):
    class Ear(Sharpness):
        def score(self, windows) -> WindowScores:
            return WindowScores(windows.start_s, windows.end_s, None, np.full(len(windows.start_s), 0.9), None, None)

    path, ear = examples_dir / "speech_only.ogg", Ear(0.0)
    found = probe(path, [ear], [analyse_clip(prepare(path), ear)])
    assert {t.variant.id for t in found.trials if t.not_tried is None} == {"sound_16k"}
    assert all("not judged" in t.not_tried for t in found.trials if t.not_tried)
    assert found.consensus.holds and found.consensus.after == M


@pytest.fixture
def copies(monkeypatch):
    """Variants without encoding: what vary() gives or raises, by variant id."""
    given = {}

    def vary(clip, path, start_s, variant, folder, stop_at):
        (folder / "left.mp4").write_bytes(b"x")
        what = given.get(variant.id, clip)
        if isinstance(what, BaseException):
            raise what
        return what

    monkeypatch.setattr(probing, "vary", vary)
    return given


def test_a_copy_that_cannot_be_prepared_is_unjudgeable_and_one_that_cannot_be_written_was_not_tried(
        short_clip, copies, temporary):
    detector = Sharpness(0.0)
    base = analyse_clip(prepare(short_clip), detector)
    copies["half_size"] = refusal(Reason.DECODE_FAILED, "Nothing could be decoded.", "Try another.")
    copies["crf_35"] = av.error.InvalidDataError(0, "no encoder")
    copies["sound_16k"] = TimeoutError()
    found = probe(short_clip, [detector], [base])
    reasons = {t.variant.id: t.not_tried for t in found.trials}
    assert reasons["half_size"] is None and "could not be written" in reasons["crf_35"] and "up" in reasons["sound_16k"]
    assert found.detectors["sharpness"].lost == ("half_size",) and found.consensus.after == C
    assert found.trials[0].readings["sharpness"].lost == ("video", "audio")
    assert not list(temporary.iterdir())


def test_nothing_stays_on_the_disk_after_an_error_or_a_stop(short_clip, copies, temporary):
    class Stopped(BaseException):
        pass

    detector = Sharpness(0.0)
    base = analyse_clip(prepare(short_clip), detector)
    for fault in (Stopped(), RuntimeError("a fault")):
        copies["half_size"] = fault
        with pytest.raises(type(fault)):
            probe(short_clip, [detector], [base])
        assert not list(temporary.iterdir())


def test_after_its_time_no_further_copy_is_begun(short_clip, copies):
    detector = Sharpness(0.0)
    found = probe(short_clip, [detector], [analyse_clip(prepare(short_clip), detector)], limit_s=-1.0)
    assert all("time set for the probe" in t.not_tried for t in found.trials)
    assert found.consensus.holds is None and found.consensus.after == M


def test_a_long_clip_is_held_against_the_same_part_of_itself(short_clip, copies, monkeypatch):
    monkeypatch.setattr(probing, "LONGEST_S", 1.0)
    detector = Sharpness(0.0)
    base = analyse_clip(prepare(short_clip), detector)
    detector.lengths_s.clear()
    found = probe(short_clip, [detector], [base])
    assert found.end_s - found.start_s == 1.0 and set(detector.lengths_s) == {1.0}
    assert found.consensus.holds and found.consensus.before == base.verdict


def test_bad_calls_are_named(short_clip, tmp_path):
    with pytest.raises(ValueError, match="sharpness"):
        probe(short_clip, [Sharpness(0.0)], [analysis("another")])
    (tmp_path / "broken.mp4").write_bytes(b"no clip")
    with pytest.raises(MediaError):
        probe(tmp_path / "broken.mp4", [], [])
