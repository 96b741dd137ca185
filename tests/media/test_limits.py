"""Limits: the value at the limit passes, the next one is refused in words with both numbers."""

from __future__ import annotations

import pytest

from media import Limits, MediaError, Reason, limits, prepare, replay, set_default_limits
from media.provenance import read_provenance

SMALL = Limits(size_bytes=2_000_000, duration_s=60.0, pixels=640 * 480, fps=30.0, frames=1000, streams=2)


def refused(check, *values) -> str:
    with pytest.raises(MediaError) as error:
        check(*values)
    finding = error.value.finding
    assert finding.remedy and finding.blocks == {"video", "audio"}
    return f"{finding.reason}: {finding.message}"


def test_size_is_refused_above_the_limit_only():
    SMALL.check_size(2_000_000)
    assert refused(SMALL.check_size, 2_000_001) == "TOO_LARGE: The file has 2 MB; the limit is 2 MB."
    assert "has 73 MB" in refused(SMALL.check_size, 73_000_000)


def test_duration_is_refused_above_the_limit_only():
    SMALL.check_duration(60.0)
    assert refused(SMALL.check_duration, 61.4) == "TOO_LONG: The clip runs for 61 s; the limit is 60 s."


def test_picture_size_counts_pixels_whatever_the_shape():
    SMALL.check_pixels(640, 480)
    SMALL.check_pixels(480, 640)
    SMALL.check_pixels(1280, 240)
    assert "641 × 480 pixels; the limit is 0.3 megapixels" in refused(SMALL.check_pixels, 641, 480)


@pytest.mark.parametrize("frames, span_s", [(15, 0.0), (45, 1.0), (1000, 60.0)])
def test_frames_within_rate_and_number_pass(frames, span_s):
    """30 a second with half a second of grace: (0 + 0.5) * 30 = 15, (1 + 0.5) * 30 = 45."""
    SMALL.check_frames(frames, span_s)


@pytest.mark.parametrize("frames, span_s", [(16, 0.0), (46, 1.0), (1001, 60.0)])
def test_one_frame_more_is_refused(frames, span_s):
    message = refused(SMALL.check_frames, frames, span_s)
    assert message.startswith("TOO_LARGE") and f"{frames} pictures in {span_s:.1f} s" in message
    assert "1000 pictures and 30 a second" in message


def test_usual_clips_fit_the_default_limits():
    limits = Limits()
    limits.check_pixels(3840, 2160)
    limits.check_pixels(2160, 3840)
    limits.check_duration(600.0)
    limits.check_frames(round(600 * 60), 600.0)
    limits.check_frames(round(10 * 120), 10.0)


@pytest.mark.parametrize("limits, reason", [
    (Limits(size_bytes=200_000), Reason.TOO_LARGE),
    (Limits(duration_s=8.0), Reason.TOO_LONG),
    (Limits(pixels=400 * 299), Reason.TOO_LARGE),
    (Limits(fps=20.0), Reason.TOO_LARGE),
    (Limits(frames=200), Reason.TOO_LARGE),
    (Limits(streams=1), Reason.UNSUPPORTED_FORMAT),
])
def test_prepare_refuses_a_clip_over_any_limit_before_looking_for_faces(talking_clip, limits, reason):
    """The demo clip has 8.24 s, 400 x 300 pixels, 206 pictures at 25 a second, 2 streams and 242 kB."""
    stages = []
    with pytest.raises(MediaError) as error:
        prepare(talking_clip, limits=limits, on_stage=lambda words, seconds: stages.append(words))
    assert error.value.finding.reason is reason
    assert "Listening for a voice" not in stages


def test_a_clip_that_was_accepted_is_still_refused_under_tighter_limits(examples_dir):
    path = examples_dir / "speech_only.ogg"
    prepare(path)
    with pytest.raises(MediaError):
        prepare(path, limits=Limits(duration_s=1.0))


def test_a_process_sets_the_limits_of_clips_that_come_without(examples_dir, monkeypatch):
    monkeypatch.setattr(limits, "_default", Limits())  # whatever it sets here is undone
    path = examples_dir / "speech_only.ogg"
    set_default_limits(Limits(duration_s=1.0))
    with pytest.raises(MediaError) as error:
        prepare(path)
    assert error.value.finding.reason is Reason.TOO_LONG
    assert prepare(path, limits=Limits()).duration_s > 1
    set_default_limits(Limits(decode_s=0.0))
    with pytest.raises(MediaError) as error:
        prepare(path)
    assert error.value.finding.reason is Reason.DECODE_FAILED and "took too long" in error.value.finding.message


def test_reading_a_file_again_keeps_to_the_same_limits(examples_dir, monkeypatch):
    """For a copy of it, an annotated one, and for what it tells of its making."""
    path = examples_dir / "mouth_redrawn.mp4"
    info = prepare(path).info
    monkeypatch.setattr(limits, "_default", Limits())
    set_default_limits(Limits(decode_s=0.0))
    for read in (lambda: next(replay.pictures(path)), lambda: next(replay.sound(path, 16_000))):
        with pytest.raises(MediaError, match="took too long"):
            read()
    assert "What the file tells of its making could not be read." in read_provenance(path, info).not_checked
