"""Footage is what a player would show."""

from __future__ import annotations

import numpy as np
import pytest

from media import MediaError, Reason
from training.forge.read import read_footage, read_pieces


def stepping(frames: int, height: int, width: int) -> np.ndarray:
    """Frame i is flat grey of brightness 40 + 10 i."""
    shade = (40 + 10 * np.arange(frames)).astype(np.uint8)
    return np.broadcast_to(shade[:, None, None, None], (frames, height, width, 3)).copy()


def test_frames_times_and_sound_come_whole_and_in_order(make_clip):
    tone = 0.3 * np.sin(2 * np.pi * 440 * np.arange(16_000) / 16_000).astype(np.float32)
    footage = read_footage(make_clip(stepping(10, 48, 64), tone[:6_400], fps=20), "a clip")
    assert footage.clip_id == "a clip" and footage.frames.shape == (10, 48, 64, 3) and footage.landmarks is None
    np.testing.assert_allclose(footage.frames.mean(axis=(1, 2, 3)), 40 + 10 * np.arange(10), atol=3)
    np.testing.assert_allclose(footage.times_s, np.arange(10) / 20, atol=0.002)
    assert len(footage.sound) / 16_000 == pytest.approx(0.4, abs=0.1)
    assert np.abs(footage.sound).max() == pytest.approx(0.3, abs=0.05)


def test_large_pictures_are_reduced_and_odd_sizes_made_even(make_clip):
    footage = read_footage(make_clip(stepping(2, 100, 130), None, name="large.mp4"), long_px=65)
    assert footage.frames.shape == (2, 50, 64, 3)
    assert footage.clip_id == "large" and footage.sound is None


def test_sound_alone_is_footage_too(examples_dir):
    footage = read_footage(examples_dir / "speech_only.ogg")
    assert footage.frames is None and footage.times_s is None and footage.sound.dtype == np.float32
    assert len(footage.sound) > 16_000


def test_more_than_15_s_is_refused(make_clip):
    with pytest.raises(MediaError) as refused:
        read_footage(make_clip(stepping(17, 16, 16), None, fps=1))
    assert refused.value.finding.reason is Reason.TOO_LONG


def test_a_long_clip_comes_in_pieces_that_count_from_their_own_start(make_clip):
    ramp = np.linspace(0, 0.9, 34 * 16_000, dtype=np.float32)
    path = make_clip(stepping(17, 16, 16), ramp[::2], fps=1)  # 17 s
    pieces = list(read_pieces(path))
    assert [start_s for start_s, _ in pieces] == [0.0, 15.0]
    first, second = (footage for _, footage in pieces)
    np.testing.assert_allclose(first.times_s, np.arange(15), atol=0.002)
    np.testing.assert_allclose(second.times_s, [0, 1], atol=0.002)
    np.testing.assert_allclose(second.frames.mean(axis=(1, 2, 3)), [190, 200], atol=4)
    assert len(first.sound) == 15 * 16_000 and len(second.sound) / 16_000 == pytest.approx(2, abs=0.1)


def test_a_clip_gives_few_pieces_and_no_short_rest(make_clip):
    path = make_clip(stepping(21, 16, 16), None, fps=1)
    assert [start_s for start_s, _ in read_pieces(path, piece_s=4.0)] == [0.0, 4.0, 8.0, 12.0]  # MOST_PIECES
    assert [start_s for start_s, _ in read_pieces(path, piece_s=4.0, most=1)] == [0.0]
    rest = make_clip(stepping(9, 16, 16), None, fps=1, name="rest.mp4")
    assert [start_s for start_s, _ in read_pieces(rest, piece_s=4.0)] == [0.0, 4.0]  # one frame is left over


def test_what_is_no_clip_is_refused(tmp_path):
    (tmp_path / "not.mp4").write_bytes(b"no clip at all")
    with pytest.raises(MediaError):
        read_footage(tmp_path / "not.mp4")
