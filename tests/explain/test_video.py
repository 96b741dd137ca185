"""The annotated video: as long as the clip, with its sound, changed where something is drawn and nowhere else."""

from __future__ import annotations

import av
import numpy as np
import pytest

from explain.footer import letter_px, title, wrapped
from explain.sheet import letters
from explain.target import Cancelled
from explain.video import annotate
from media import AUDIO_HZ, ClipInfo, FaceTrack, PreparedClip, Quality
from media.crops import TEMPLATE
from tests.explain.hand_made import FAILED, fine, told

BOX = (50, 30, 90, 80)
TONE_HZ = 1000
THRESHOLDS = {"manipulated": 0.8, "suspicious": 0.6, "segment_on": 0.7, "segment_off": 0.5}
ANSWER = {"verdict": "SUSPICIOUS", "provisional": True, "detectors": {"tiny": {
    "segments": [{"start_s": 1.0, "end_s": 2.0, "score": 0.9, "modality": "video", "track": 0}],
    "windows": [{"track": 0, "start_s": [0.0], "end_s": [2.0], "video": [0.9], "audio": [None], "sync": None,
                 "whole": None}],
    "thresholds": THRESHOLDS}}}


def a_tone(duration_s=2.0) -> np.ndarray:
    return (0.3 * np.sin(2 * np.pi * TONE_HZ * np.arange(round(duration_s * AUDIO_HZ)) / AUDIO_HZ)).astype(np.float32)


@pytest.fixture
def made(make_clip):
    """(path, PreparedClip): 2 s of plain green, a face said to be at BOX, and a tone."""
    path = make_clip(np.full((50, 120, 160, 3), (60, 120, 60), np.uint8), a_tone())
    times_s = np.round(np.arange(50) / 25, 2)
    landmarks = np.tile((TEMPLATE * 40 + (50, 35)).astype(np.float32), (50, 1, 1))  # its crop is 50-90 x 35-75
    track = FaceTrack(0, times_s, np.tile(np.array(BOX, np.float32), (50, 1)), landmarks, np.ones(50))
    info = ClipInfo(str(path), "0" * 64, 1, "mp4", 2.0, video_codec="h264", width_px=160, height_px=120, fps=25.0,
                    audio_codec="aac")
    crops = np.zeros((50, 32, 32, 3), np.uint8)
    return path, PreparedClip(info, (track,), {0: crops}, {0: crops[:, :16, :16]}, a_tone(), ((0.0, 2.0),),
                              Quality((), {}))


def decoded(path):
    """frames [n, H, W, 3] int, sound [samples] at 48 kHz, seconds of the video stream."""
    with av.open(str(path)) as container:
        frames = [f.to_ndarray(format="rgb24").astype(int) for f in container.decode(video=0)]
        length_s = float(container.streams.video[0].duration * container.streams.video[0].time_base)
    with av.open(str(path)) as container:
        sound = np.concatenate([f.to_ndarray().mean(axis=0) for f in container.decode(audio=0)])
    return np.stack(frames), sound, length_s


def test_the_video_is_the_clip_with_a_box_words_and_its_sound(made, tmp_path):
    path, clip = made
    out = annotate(path, clip, ANSWER, tmp_path / "out.mp4")
    frames, sound, length_s = decoded(out)
    assert length_s == pytest.approx(2.0, abs=0.05) and frames.shape[1] > 120 and frames.shape[2] == 160
    power = np.abs(np.fft.rfft(sound[4800:-4800]))
    assert power.argmax() * 48_000 / len(sound[4800:-4800]) == pytest.approx(TONE_HZ, abs=5)
    assert np.sqrt(np.mean(sound[4800:-4800] ** 2)) == pytest.approx(0.3 / np.sqrt(2), rel=0.1)

    before, during = frames[10, :120], frames[40, :120]
    plain = np.array([60, 120, 60])
    near = np.zeros((120, 160), bool)
    near[8:90, 40:] = True  # the box with its border, and the words above it
    for picture in (before, during):
        assert np.abs(picture[~near] - plain).max() < 16, "nothing is drawn elsewhere"
        assert np.abs(picture[40:70, 60:80] - plain).max() < 16, "nor inside the box"
    orange = (during[..., 0] > 150) & (during[..., 2] < 90)
    assert orange.sum() > 100 and not ((before[..., 0] > 150) & (before[..., 2] < 90)).any()
    assert (during[8:28, 50:90].max(axis=2) < 60).any(), "black ground of the words"


def test_the_cursor_moves_and_what_was_not_judged_is_striped(made, tmp_path):
    path, clip = made
    frames, _, _ = decoded(annotate(path, clip, ANSWER, tmp_path / "out.mp4"))
    title_px = 16 * len(wrapped(title(ANSWER), letter_px(160), 160 - 12))
    lanes = frames[:, 120 + title_px + 34:120 + title_px + 78]  # below two lines of words, above the legend
    changed = [np.abs(lanes[k] - lanes[0]).max(axis=(0, 2)) > 100 for k in (15, 30, 45)]
    places = [np.flatnonzero(c).max() for c in changed]
    assert places[0] < places[1] < places[2]
    sound = lanes[2, 18:26, places[2] - 60:places[0]]  # the lane in the middle: no score there
    assert (sound > 230).any() and (sound < 190).any() and np.ptp(sound, axis=2).max() < 20


def test_every_frame_says_who_answers_what_and_by_what_weights(made, tmp_path):
    assert title(ANSWER) == "Telltale: Some signs of manipulation. Demonstration weights."
    assert title({**ANSWER, "provisional": False}) == "Telltale: Some signs of manipulation."
    lines = wrapped(title(ANSWER), letter_px(160), 148)
    assert " ".join(lines) == title(ANSWER) and max(letters(letter_px(160)).getlength(line) for line in lines) <= 148
    path, clip = made
    frames, _, _ = decoded(annotate(path, clip, ANSWER, tmp_path / "out.mp4"))
    for strip in frames[:, 120:120 + 16 * len(lines)]:
        assert (strip < 90).mean() > 0.02 and np.abs(strip - frames[0, 120:120 + len(strip)]).mean() < 3, "on all alike"


def test_a_map_greys_the_face_while_its_window_runs(made, tmp_path):
    path, clip = made
    frames, _, _ = decoded(annotate(path, clip, ANSWER, tmp_path / "out.mp4", told(fine(), starts_s=(0.0,))))
    during, after = frames[12, 45:65, 60:80], frames[40, 45:65, 60:80]
    assert np.ptp(frames[12, 66:72, 55:60].mean(axis=(0, 1))) < 12 < np.ptp(after.mean(axis=(0, 1)))
    assert (during[..., 0] - during[..., 2]).max() > 30, "orange in the middle of the face"
    assert np.abs(frames[12, 100:118, 5:40] - (60, 120, 60)).max() < 16


def test_a_map_that_failed_is_not_shown(made, tmp_path):
    path, clip = made
    failed = told(fine(), starts_s=(0.0,), tests=FAILED)
    frames, _, _ = decoded(annotate(path, clip, ANSWER, tmp_path / "out.mp4", failed))
    assert np.abs(frames[12, 45:65, 60:80] - (60, 120, 60)).max() < 16


def test_sound_alone_gets_a_card(make_clip, tmp_path):
    path = make_clip(None, a_tone(1.0), "tone.ogg")
    info = ClipInfo(str(path), "0" * 64, 1, "ogg", 1.0, audio_codec="opus")
    clip = PreparedClip(info, (), {}, {}, a_tone(1.0), ((0.0, 1.0),), Quality((), {}))
    answer = {"verdict": "CANNOT_EVALUATE", "detectors": {}}
    frames, sound, length_s = decoded(annotate(path, clip, answer, tmp_path / "out.mp4"))
    assert length_s == pytest.approx(1.0, abs=0.15) and len(sound) >= 47_000
    assert (frames[5, 100:140, 400].max() < 120) and (frames[5, 40, :] > 200).mean() > 0.9  # a wave on white


def test_stopping_leaves_nothing(made, tmp_path):
    path, clip = made
    asked = iter([False] * 40 + [True] * 1000)
    with pytest.raises(Cancelled):
        annotate(path, clip, ANSWER, tmp_path / "out.mp4", should_stop=lambda: next(asked))
    assert not (tmp_path / "out.mp4").exists()
