"""Every reason just inside and just outside its limit, what it blocks, and its measured value in words."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from media import AUDIO_HZ, GRID_HZ, ClipInfo, FaceTrack, Quality, Reason
from media.quality import judge_quality

INFO = ClipInfo("clip.mp4", "0" * 64, 1000, "mp4", 4.0, video_codec="h264", width_px=320, height_px=240, fps=25.0,
                frames=100, audio_codec="aac", audio_hz=16_000, audio_channels=1, audio_streams=1)
VIDEO, AUDIO = frozenset({"video"}), frozenset({"audio"})


def face_track(times_s=None, width_px: float = 80.0, track_id: int = 0) -> FaceTrack:
    times_s = np.arange(100) / GRID_HZ if times_s is None else np.asarray(times_s)
    boxes = np.tile(np.array([10, 10, 10 + width_px, 10 + width_px], np.float32), (len(times_s), 1))
    return FaceTrack(track_id, times_s, boxes, np.zeros((len(times_s), 5, 2), np.float32), np.ones(len(times_s)))


def face_picture(mean: float = 120.0, swing: float = 20.0) -> np.ndarray:
    """A pattern of 2-pixel stripes around a mean: the swing sets its sharpness."""
    stripes = np.where(np.arange(224) // 2 % 2, mean + swing, mean - swing)
    return np.broadcast_to(stripes[None, :, None], (224, 224, 3)).round().astype(np.uint8)


def voice_and_noise(voice: float = 0.1, noise: float = 0.001) -> np.ndarray:
    """4 s of noise with a louder second half."""
    waveform = np.random.default_rng(0).normal(0, 1, 4 * AUDIO_HZ).astype(np.float32)
    waveform[: 2 * AUDIO_HZ] *= noise
    waveform[2 * AUDIO_HZ:] *= voice
    return waveform


def judge(info: ClipInfo = INFO, tracks=None, picture=None, waveform="usual", speech_s=((2.0, 4.0),), errors: int = 0,
          lost: frozenset[str] = frozenset(), announced_s: float = 0.0) -> Quality:
    tracks = [face_track()] if tracks is None else tracks
    picture = face_picture() if picture is None else picture
    faces = {t.track_id: np.broadcast_to(picture, (len(t.times_s), *picture.shape)) for t in tracks}
    waveform = voice_and_noise() if isinstance(waveform, str) else waveform
    return judge_quality(info, tracks, faces, waveform, speech_s, errors, lost, announced_s)


def only(quality: Quality, reason: Reason):
    """The one finding there is."""
    assert quality.reasons == (reason,)
    return quality.findings[0]


def test_a_good_clip_has_no_findings_and_blocks_nothing():
    quality = judge()
    assert quality.findings == ()
    assert not quality.blocks("video") and not quality.blocks("audio")
    assert quality.measures["duration_s"] == 4.0
    assert quality.measures["faces"] == 1
    assert quality.measures["face_px"] == 80
    assert quality.measures["face_coverage"] == 1
    assert quality.measures["face_light"] == pytest.approx(120, abs=0.5)
    assert quality.measures["speech_s"] == 2 and quality.measures["speech_ratio"] == 0.5
    assert quality.measures["snr_db"] == pytest.approx(40, abs=0.2)


# ---- the whole clip -------------------------------------------------------------------------------------------


def test_too_short_below_one_second():
    tracks = [face_track(np.arange(25) / GRID_HZ)]
    assert Reason.TOO_SHORT not in judge(replace(INFO, duration_s=1.0), tracks, speech_s=((0.0, 0.9),)).reasons
    finding = only(judge(replace(INFO, duration_s=0.99), tracks), Reason.TOO_SHORT)
    assert "0.99 s" in finding.message and "1 s" in finding.message
    assert finding.blocks == {"video", "audio"}


def test_parts_that_could_not_be_decoded_are_counted():
    quality = judge(errors=3)
    finding = only(quality, Reason.PARTLY_DECODED)
    assert "errors: 3" in finding.message and not finding.blocks
    assert quality.measures["decode_errors"] == 3


@pytest.mark.parametrize("duration_s, announced_s, short", [
    (9.01, 10.0, False), (8.99, 10.0, True),  # a tenth of a long clip
    (1.0, 1.19, False), (1.0, 1.21, True),  # 0.2 s of a short one
    (4.0, 0.0, False), (4.0, 3.0, False),  # no word in the header, or too small a one
])
def test_a_clip_that_ends_before_its_header_says_is_partly_decoded(duration_s, announced_s, short):
    tracks = [face_track(np.arange(round(duration_s * GRID_HZ)) / GRID_HZ)]
    quality = judge(replace(INFO, duration_s=duration_s), tracks, announced_s=announced_s)
    assert quality.reasons == ((Reason.PARTLY_DECODED,) if short else ())
    assert ("announced_s" in quality.measures) == short


def test_both_numbers_of_a_cut_clip_are_told_beside_the_lost_parts():
    tracks = [face_track(np.arange(153) / GRID_HZ)]
    quality = judge(replace(INFO, duration_s=6.12), tracks, errors=2, announced_s=10.0)
    message = only(quality, Reason.PARTLY_DECODED).message
    assert "errors: 2" in message and message.endswith("The file says 10.0 s, 6.1 s could be decoded.")


# ---- the picture ----------------------------------------------------------------------------------------------


def test_no_video_blocks_the_picture_only():
    finding = only(judge(replace(INFO, video_codec=None), []), Reason.NO_VIDEO)
    assert finding.blocks == VIDEO


def test_a_picture_that_cannot_be_decoded_is_not_called_absent():
    finding = only(judge(replace(INFO, video_codec=None), [], lost=VIDEO), Reason.DECODE_FAILED)
    assert finding.blocks == VIDEO and "picture" in finding.message


def test_no_face_blocks_the_picture_and_tells_how_much_was_seen():
    quality = judge(tracks=[])
    finding = only(quality, Reason.NO_FACE)
    assert finding.blocks == VIDEO and "100 frames" in finding.message and quality.measures["faces"] == 0


@pytest.mark.parametrize("width_px, reasons", [(36.0, ()), (35.4, (Reason.FACE_TOO_SMALL,))])
def test_face_too_small_below_36_pixels(width_px, reasons):
    quality = judge(tracks=[face_track(width_px=width_px)])
    assert quality.reasons == reasons
    for finding in quality.findings:
        assert "35 pixels" in finding.message and "36" in finding.message and finding.blocks == VIDEO


def test_one_face_that_is_large_enough_is_enough():
    tracks = [face_track(width_px=20), face_track(width_px=60, track_id=1)]
    assert Reason.FACE_TOO_SMALL not in judge(tracks=tracks).reasons


@pytest.mark.parametrize("rows, reasons", [(range(10, 90), ()), (range(11, 90), (Reason.FACE_LOST,))])
def test_face_lost_below_80_percent(rows, reasons):
    quality = judge(tracks=[face_track(np.array(rows) / GRID_HZ)])
    assert quality.reasons == reasons
    for finding in quality.findings:
        assert "79%" in finding.message and not finding.blocks
    assert quality.measures["face_coverage"] == len(rows) / 100


@pytest.mark.parametrize("missing, reasons", [(range(100, 124), ()), (range(100, 125), (Reason.FACE_LOST,))])
def test_face_lost_in_a_gap_of_more_than_a_second(missing, reasons):
    """Rows 99 and 124 are 1.0 s apart, rows 99 and 125 are 1.04 s."""
    rows = np.setdiff1d(np.arange(250), missing)
    quality = judge(replace(INFO, duration_s=10.0, frames=250), [face_track(rows / GRID_HZ)])
    assert quality.reasons == reasons
    for finding in quality.findings:
        assert "longest gap 1.0 s, from 4.0 s on" in finding.message


def test_a_late_entrance_is_a_gap_from_zero():
    rows = np.arange(50, 300)
    quality = judge(replace(INFO, duration_s=12.0, frames=300), [face_track(rows / GRID_HZ)])
    assert "longest gap 2.0 s, from 0.0 s on" in only(quality, Reason.FACE_LOST).message


def test_several_faces_are_counted_and_block_nothing():
    finding = only(judge(tracks=[face_track(), face_track(track_id=1), face_track(track_id=2)]), Reason.SEVERAL_FACES)
    assert finding.message.startswith("3 faces") and not finding.blocks


@pytest.mark.parametrize("mean, reasons", [(41.0, ()), (39.0, (Reason.DARK,))])
def test_dark_below_a_mean_of_40(mean, reasons):
    quality = judge(picture=face_picture(mean))
    assert quality.reasons == reasons
    for finding in quality.findings:
        assert "39 of 255" in finding.message and not finding.blocks


@pytest.mark.parametrize("swing, reasons", [(2, ()), (1, (Reason.BLURRED,))])
def test_blurred_below_a_sharpness_of_12(swing, reasons):
    """Stripes two pixels wide and 2 * swing apart: the Laplacian is +-2 * swing everywhere, its variance 4 * swing²."""
    quality = judge(picture=face_picture(swing=swing))
    assert quality.measures["face_sharpness"] == pytest.approx(4 * swing**2, rel=0.02)
    assert quality.reasons == reasons
    for finding in quality.findings:
        assert "sharpness 4; from 12 on" in finding.message and not finding.blocks


# ---- the sound ------------------------------------------------------------------------------------------------


def test_no_audio_blocks_the_sound_only():
    finding = only(judge(waveform=None, speech_s=()), Reason.NO_AUDIO)
    assert finding.blocks == AUDIO


def test_sound_that_cannot_be_decoded_is_not_called_absent():
    finding = only(judge(waveform=None, speech_s=(), lost=AUDIO), Reason.DECODE_FAILED)
    assert finding.blocks == AUDIO and "sound" in finding.message


def test_several_audio_streams_are_counted_and_block_nothing():
    finding = only(judge(replace(INFO, audio_streams=3)), Reason.SEVERAL_AUDIO_STREAMS)
    assert "3 sound tracks" in finding.message and not finding.blocks


@pytest.mark.parametrize("level_dbfs, reason", [(-59.6, Reason.NO_SPEECH), (-60.6, Reason.SILENT)])
def test_silent_below_60_dbfs(level_dbfs, reason):
    """Without any voice: silence is the more exact reason of the two, and the only one given."""
    waveform = np.full(4 * AUDIO_HZ, 10 ** (level_dbfs / 20), np.float32)
    quality = judge(waveform=waveform, speech_s=())
    finding = only(quality, reason)
    assert finding.blocks == AUDIO
    assert quality.measures["level_dbfs"] == pytest.approx(level_dbfs, abs=0.01)
    if reason is Reason.SILENT:
        assert "-61 dBFS" in finding.message and "more than -60" in finding.message


@pytest.mark.parametrize("voice_s, reasons", [(0.5, ()), (0.44, (Reason.NO_SPEECH,))])
def test_no_speech_below_half_a_second(voice_s, reasons):
    speech_s = ((2.0, 2.0 + voice_s / 2), (3.0, 3.0 + voice_s / 2))
    quality = judge(speech_s=speech_s, waveform=voice_and_noise(noise=1e-4, voice=0.1))
    assert [r for r in quality.reasons if r is not Reason.TOO_NOISY] == list(reasons)
    for finding in quality.findings:
        if finding.reason is Reason.NO_SPEECH:
            assert "0.4 s" in finding.message and "0.5 s" in finding.message and finding.blocks == AUDIO


@pytest.mark.parametrize("snr_db, reasons", [(5.5, ()), (4.4, (Reason.TOO_NOISY,))])
def test_too_noisy_below_5_db(snr_db, reasons):
    quality = judge(waveform=voice_and_noise(voice=0.01 * 10 ** (snr_db / 20), noise=0.01))
    assert quality.reasons == reasons
    assert quality.measures["snr_db"] == pytest.approx(snr_db, abs=0.1)
    for finding in quality.findings:
        assert "only 4 dB" in finding.message and not finding.blocks


def test_every_finding_says_what_to_do():
    info = replace(INFO, duration_s=0.5, audio_streams=2)
    findings = [
        *judge(info, [face_track(np.arange(8) / GRID_HZ, 20), face_track(track_id=1, width_px=20)],
               face_picture(20, 1), errors=1).findings,
        *judge(tracks=[], waveform=None, speech_s=()).findings,
        *judge(replace(INFO, video_codec=None), [], waveform=np.zeros(64_000, np.float32), speech_s=()).findings,
    ]
    assert {Reason.TOO_SHORT, Reason.PARTLY_DECODED, Reason.FACE_TOO_SMALL, Reason.FACE_LOST, Reason.DARK,
            Reason.BLURRED, Reason.SEVERAL_FACES, Reason.NO_FACE, Reason.NO_AUDIO, Reason.NO_VIDEO, Reason.SILENT,
            Reason.SEVERAL_AUDIO_STREAMS} <= {f.reason for f in findings}
    for finding in findings:
        assert finding.message.endswith(".") and finding.remedy.endswith(".")
        assert set(finding.to_json()) == {"code", "message", "remedy", "blocks"}
