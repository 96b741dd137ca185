"""Cutting a clip to a detector's windows: which seconds, which frames, and nothing where there is nothing."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from detectors import windows as cutting
from detectors.contract import InputSpec
from detectors.windows import Crops, Sounds, cut_windows, fill, in_memory, window_starts
from media import AUDIO_HZ, ClipInfo, FaceTrack, Finding, PreparedClip, Quality, Reason

SPEC = InputSpec(window_s=3.0, hop_s=1.0, frames=10, face_px=16, audio_hz=AUDIO_HZ, modalities=("video", "audio"))


def a_clip(duration_s=6.0, face_times_s=None, speech_s=((0.0, 99.0),), sound=True, findings=()):
    """A clip whose face crops carry their own time (in hundredths of a second) and whose sound counts samples."""
    times = np.round(np.arange(0, duration_s, 0.04), 2) if face_times_s is None else np.asarray(face_times_s)
    tracks, faces, lips = (), {}, {}
    if len(times):
        n = len(times)
        tracks = (FaceTrack(0, times, np.zeros((n, 4), np.float32), np.zeros((n, 5, 2), np.float32), np.ones(n)),)
        faces = {0: np.broadcast_to((times * 25).round().astype(np.uint8)[:, None, None, None], (n, 16, 16, 3))}
        lips = faces
    waveform = np.arange(round(duration_s * AUDIO_HZ), dtype=np.float32) if sound else None
    info = ClipInfo("x.mp4", "0" * 64, 1, "mp4", duration_s, video_codec="h264", audio_codec="aac")
    return PreparedClip(info, tracks, faces, lips, waveform, speech_s, Quality(tuple(findings), {}))


def test_windows_follow_the_hop_and_the_last_ends_with_the_clip():
    assert window_starts(5.0, SPEC).tolist() == [0.0, 1.0, 2.0]
    assert window_starts(5.5, SPEC).tolist() == [0.0, 1.0, 2.0, 2.5]
    assert window_starts(5.1, SPEC).tolist() == [0.0, 1.0, 2.0]  # a tenth of a second is not worth a window
    assert window_starts(1.4, SPEC).tolist() == [0.0]


def test_frames_are_evenly_spaced_from_the_window_s_start():
    windows = cut_windows(a_clip(), SPEC)[0]
    grid = windows.faces[1, :, 0, 0, 0]  # the window that starts at 1 s: grid points 25 + 7.5 i, on the 25 Hz grid
    assert grid.tolist() == [25, 32, 40, 48, 55, 62, 70, 78, 85, 92]


def test_a_short_clip_spreads_its_frames_over_what_there_is():
    windows = cut_windows(a_clip(duration_s=1.6), SPEC)[0]
    assert windows.end_s.tolist() == [1.6]
    assert windows.faces[0, :, 0, 0, 0].tolist() == [0, 4, 8, 12, 16, 20, 24, 28, 32, 36]


def test_sound_comes_from_the_same_moment_and_short_sound_repeats():
    windows = cut_windows(a_clip(), SPEC)[0]
    assert windows.audio[2, 0] == 2 * AUDIO_HZ
    short = cut_windows(a_clip(duration_s=1.6), SPEC)[0]
    assert short.audio[0, round(1.6 * AUDIO_HZ)] == 0  # begins again, not silence
    assert fill(np.array([1.0, 2.0]), 5).tolist() == [1, 2, 1, 2, 1]


def test_a_spec_that_does_not_stretch_pads_a_short_clip_and_says_so():
    windows = cut_windows(a_clip(duration_s=1.6), replace(SPEC, stretch=False, frames=6))[0]
    assert windows.face_seen[0].tolist() == [True, True, True, True, False, False]  # at 0, 0.5, 1, 1.5 s; 2; 2.5 s
    assert windows.faces[0, :, 0, 0, 0].tolist() == [0, 12, 25, 38, 0, 0]
    assert windows.audio[0, round(1.6 * AUDIO_HZ) - 1] > 0 and not windows.audio[0, round(1.6 * AUDIO_HZ):].any()


def test_the_last_window_of_a_spec_that_does_not_stretch_shows_the_crops_of_the_others():
    spec = replace(SPEC, stretch=False, frames=6)  # a face every half a second
    windows = cut_windows(a_clip(duration_s=5.3), spec)[0]
    assert windows.start_s[-1] == pytest.approx(2.3)
    assert windows.faces[2, :, 0, 0, 0].tolist() == [50, 62, 75, 88, 100, 112]  # from 2.0 s on: every 12.5 grid points
    assert windows.faces[-1, :, 0, 0, 0].tolist() == [62, 75, 88, 100, 112, 125]
    assert windows.audio[-1, 0] == round(2.3 * AUDIO_HZ)  # sound is cut where the window begins


def test_a_face_lost_for_a_second_is_masked_frame_by_frame_where_few_faces_are_enough():
    face_times_s = np.concatenate([np.arange(0, 1, 0.04), np.arange(2, 6, 0.04)])
    spec = replace(SPEC, stretch=False, least_face_share=0.2, frames=6)
    windows = cut_windows(a_clip(face_times_s=face_times_s), spec)[0]
    assert windows.has_face.tolist() == [True] * 4
    assert windows.face_seen[0].tolist() == [True, True, True, False, True, True]  # a crop 40 ms away still counts
    assert not windows.faces[0, 3].any()
    assert cut_windows(a_clip(face_times_s=face_times_s), SPEC)[0].has_face.tolist() == [False, False, True, True]


def test_lips_have_their_own_rate_and_come_from_the_same_moments():
    windows = cut_windows(a_clip(), replace(SPEC, lips=75, lips_px=8))[0]
    assert windows.lips.shape == (4, 75, 8, 8, 3) and windows.lips_seen.all()
    assert windows.lips[1, :, 0, 0, 0].tolist() == list(range(25, 100))  # 25 Hz from 1 s on
    assert cut_windows(a_clip(), SPEC)[0].lips is None


def test_windows_may_start_where_they_are_asked_to():
    windows = cut_windows(a_clip(), SPEC, np.array([0.44, 2.0]))[0]
    assert windows.end_s.tolist() == [3.44, 5.0] and windows.faces[0, 0, 0, 0, 0] == 11


def test_windows_without_the_face_are_marked_and_stay_empty():
    windows = cut_windows(a_clip(face_times_s=np.arange(0, 3.2, 0.04)), SPEC)[0]
    assert windows.has_face.tolist() == [True, False, False, False]
    assert not windows.faces[1:].any()


def test_windows_without_a_voice_are_marked():
    windows = cut_windows(a_clip(speech_s=((0.0, 1.2),)), SPEC)[0]
    assert windows.has_audio.tolist() == [True, False, False, False]


def test_blocked_modalities_are_left_out_not_zeroed():
    blocked = Finding(Reason.FACE_TOO_SMALL, "small", "bigger", frozenset({"video"}))
    windows = cut_windows(a_clip(findings=[blocked]), SPEC)
    assert len(windows) == 1 and windows[0].faces is None and windows[0].track_id is None
    silent = cut_windows(a_clip(sound=False), SPEC)[0]
    assert silent.audio is None and not silent.has_audio.any() and silent.has_face.all()


def test_another_sample_rate_is_an_error_not_a_guess():
    spec = InputSpec(window_s=3.0, hop_s=1.0, frames=10, face_px=16, audio_hz=8000, modalities=("audio",))
    with pytest.raises(ValueError, match="8000"):
        cut_windows(a_clip(), spec)


def test_a_still_picture_stands_in_all_places_or_in_the_first_alone():
    clip = a_clip(duration_s=0.0, face_times_s=[0.0], sound=False)
    clip = replace(clip, info=replace(clip.info, still=True), faces={0: np.full((1, 16, 16, 3), 7, np.uint8)})
    (spread,) = cut_windows(clip, SPEC)
    assert spread.start_s.tolist() == [0.0] and spread.end_s.tolist() == [0.04] and spread.has_face.tolist() == [True]
    assert (spread.faces == 7).all() and spread.face_seen.all() and spread.audio is None
    (masked,) = cut_windows(clip, replace(SPEC, stretch=False))
    assert masked.face_seen[0].tolist() == [True] + [False] * 9
    assert (masked.faces[0, 0] == 7).all() and not masked.faces[0, 1:].any()


def test_crops_of_many_windows_are_cut_when_they_are_asked_for(monkeypatch):
    """Whoever indexes them gets what an array would have given, gaps included."""
    times_s = np.delete(np.arange(150) / 25, slice(60, 70))
    spec = replace(SPEC, lips=6, lips_px=8, least_face_share=0.3)
    (now,) = cut_windows(a_clip(face_times_s=times_s), spec)
    monkeypatch.setattr(cutting, "MOST_BYTES", 100)
    (later,) = cut_windows(a_clip(face_times_s=times_s), spec)
    for name in ("faces", "lips"):
        cut, crops = getattr(now, name), getattr(later, name)
        assert isinstance(crops, Crops) and crops.shape == cut.shape and len(crops) == len(cut) > 2
        for index in (0, slice(1, None), np.array([2, 0]), (1, np.array([0, 3])), (slice(None), 1)):
            np.testing.assert_array_equal(crops[index], cut[index])
        plain = getattr(in_memory(later), name)
        assert type(plain) is np.ndarray and np.array_equal(plain, cut)
    assert in_memory(now).faces is now.faces


@pytest.mark.parametrize("stretch", [True, False])
def test_sound_of_many_windows_is_cut_when_it_is_asked_for(monkeypatch, stretch):
    """A silent window, and one that outlasts the sound, included."""
    clip = a_clip(duration_s=7.5)
    clip = replace(clip, waveform=clip.waveform[:6 * AUDIO_HZ], speech_s=((0.0, 2.0), (5.0, 6.0)))
    (now,) = cut_windows(clip, replace(SPEC, stretch=stretch))
    monkeypatch.setattr(cutting, "MOST_SAMPLES", 100)
    (later,) = cut_windows(clip, replace(SPEC, stretch=stretch))
    assert isinstance(later.audio, Sounds) and later.audio.shape == now.audio.shape and not now.has_audio.all()
    for index in (0, slice(1, None), np.array([2, 0]), np.array([True, False] * len(now.audio))[:len(now.audio)]):
        np.testing.assert_array_equal(later.audio[index], now.audio[index])
    plain = in_memory(later).audio
    assert type(plain) is np.ndarray and np.array_equal(plain, now.audio)


def test_sound_that_ends_before_the_picture_says_where():
    clip = a_clip()
    clip = replace(clip, waveform=clip.waveform[:4 * AUDIO_HZ])
    windows = cut_windows(clip, replace(SPEC, stretch=False))[0]
    assert windows.end_s.tolist() == [3.0, 4.0, 5.0, 6.0] and windows.heard_s.tolist() == [3.0, 3.0, 2.0, 1.0]
    assert cut_windows(a_clip(sound=False), SPEC)[0].heard_s is None
