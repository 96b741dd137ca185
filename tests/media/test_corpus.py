"""Whatever the file, `prepare` answers: a PreparedClip, or a MediaError that a person can act on."""

from __future__ import annotations

import time

import av
import numpy as np
import pytest

from media import MediaError, PreparedClip, Reason, forget, prepare
from media.container import open_container
from tests.media.corpus import HOSTILE, SECONDS, VALID, Corpus, ffmpeg

LIMIT_S = 30
pytestmark = pytest.mark.timeout(LIMIT_S, func_only=True)


@pytest.fixture(scope="session")
def corpus(tmp_path_factory):
    corpus = Corpus(tmp_path_factory.mktemp("corpus"))
    prepare(corpus["plain"])  # the models load once, outside the time limit of any single case
    return corpus


def check(clip: PreparedClip) -> None:
    """What holds for every prepared clip, however odd its file."""
    assert np.isfinite(clip.duration_s) and (clip.duration_s > 0 or clip.info.still)
    assert clip.info.size_bytes > 0 and len(clip.info.sha256) == 64
    if clip.info.video_codec is None:
        assert not clip.tracks and clip.info.width_px is None and clip.info.frames == 0
        assert {Reason.NO_VIDEO, Reason.DECODE_FAILED} & set(clip.quality.reasons)
        assert clip.quality.blocks("video")
    else:
        assert clip.info.width_px > 0 and clip.info.height_px > 0 and clip.info.frames > 0
    if clip.waveform is None:
        assert {Reason.NO_AUDIO, Reason.DECODE_FAILED, Reason.STILL_PICTURE} & set(clip.quality.reasons)
        assert clip.quality.blocks("audio")
    else:
        assert clip.waveform.dtype == np.float32 and clip.waveform.ndim == 1
        assert np.isfinite(clip.waveform).all() and np.abs(clip.waveform).max(initial=0) <= 1
        assert len(clip.waveform) / 16_000 <= clip.duration_s + 0.15
    for track in clip.tracks:
        assert len(track.times_s) == len(clip.faces[track.track_id]) == len(clip.lips[track.track_id])
    for finding in clip.quality.findings:
        assert finding.message and finding.remedy


def check_refusal(error: MediaError, path) -> None:
    finding = error.finding
    assert isinstance(finding.reason, Reason)
    assert finding.message.strip() and finding.remedy.strip()
    for words in (finding.message, finding.remedy):
        assert "Traceback" not in words and "Errno" not in words and str(path.parent) not in words


@pytest.mark.parametrize("case", VALID, ids=str)
def test_odd_but_valid(corpus, case):
    clip = prepare(corpus[case.id])
    check(clip)
    for fact, expected in case.facts.items():
        found = getattr(clip.info, fact)
        if isinstance(expected, float) or fact == "duration_s":
            assert found == pytest.approx(expected, abs=0.15), fact
        elif fact == "fps":
            assert found == pytest.approx(expected, rel=0.02), fact
        else:
            assert found == expected, fact
    assert Reason.PARTLY_DECODED not in clip.quality.reasons


@pytest.mark.parametrize("case", HOSTILE, ids=str)
def test_broken_or_hostile(corpus, case):
    path = corpus[case.id]
    begin = time.monotonic()
    try:
        clip = prepare(path)
    except MediaError as error:
        check_refusal(error, path)
        if case.reasons is not None:
            assert str(error.finding.reason) in case.reasons
    else:
        assert case.reasons is None, f"accepted: {clip.info}"
        check(clip)
    assert time.monotonic() - begin < LIMIT_S


def test_there_are_enough_of_each():
    assert len(VALID) >= 25 and len(HOSTILE) >= 25
    assert len({case.id for case in (*VALID, *HOSTILE)}) == len(VALID) + len(HOSTILE)


def test_name_with_a_nul_byte_or_too_long():
    for name in ("a\0b.mp4", "a" * 5000 + ".mp4", ""):
        with pytest.raises(MediaError) as error:
            prepare(name)
        assert error.value.finding.remedy


@pytest.mark.parametrize("case_id", ["concat_neighbour", "concat_unversioned", "hls_neighbour", "dash"])
def test_text_never_leads_to_the_neighbour(corpus, case_id):
    path = corpus[case_id]
    forget()
    prepare(path.parent / "neighbour.mp4")  # the neighbour itself is a good clip
    with pytest.raises(MediaError):
        prepare(path)


def test_sound_that_starts_later_keeps_its_place(corpus):
    waveform = prepare(corpus["sound_starts_later"]).waveform
    assert np.abs(waveform[: int(0.4 * 16_000)]).max() < 1e-3
    assert np.abs(waveform[int(0.6 * 16_000) : int(1.5 * 16_000)]).max() > 0.05


def test_sound_has_the_length_of_the_sound(corpus):
    assert len(prepare(corpus["sound_longer"]).waveform) / 16_000 == pytest.approx(2.5, abs=0.15)
    assert len(prepare(corpus["picture_longer"]).waveform) / 16_000 == pytest.approx(SECONDS, abs=0.15)


def test_default_sound_is_taken_and_the_others_are_mentioned(corpus):
    clip = prepare(corpus["two_audio_streams"])
    spectrum = np.abs(np.fft.rfft(clip.waveform))
    assert np.argmax(spectrum) / len(clip.waveform) * 16_000 == pytest.approx(880, abs=10)
    assert Reason.SEVERAL_AUDIO_STREAMS in clip.quality.reasons


def test_silence_is_called_silence(corpus):
    assert Reason.SILENT in prepare(corpus["silent_audio"]).quality.reasons


def test_opposite_phase_is_not_called_silence(corpus):
    clip = prepare(corpus["opposite_phase"])
    assert Reason.SILENT not in clip.quality.reasons
    assert clip.quality.measures["level_dbfs"] == pytest.approx(-21.07, abs=0.1)  # a sine of FFmpeg's amplitude 1/8


@pytest.mark.parametrize("case_id, extent_s", [("cut_at_50_percent", 0.4), ("cut_mkv", 0.5)])
def test_a_file_that_ends_early_says_how_much_is_missing(corpus, case_id, extent_s):
    [finding] = [f for f in prepare(corpus[case_id]).quality.findings if f.reason is Reason.PARTLY_DECODED]
    assert f"The file says 1.2 s, {extent_s} s could be decoded." in finding.message
    assert not finding.blocks


def test_lying_duration_is_corrected_by_decoding(corpus):
    try:
        clip = prepare(corpus["says_nothing"])
    except MediaError:
        return
    assert clip.duration_s == pytest.approx(SECONDS, abs=0.15)


@pytest.mark.parametrize("case_id, modality, absent", [
    ("damaged_picture", "video", Reason.NO_VIDEO),
    ("damaged_sound", "audio", Reason.NO_AUDIO),
])
def test_undecodable_stream_is_not_called_absent(corpus, case_id, modality, absent):
    quality = prepare(corpus[case_id]).quality
    assert absent not in quality.reasons and quality.blocks(modality)
    assert any(f.reason is Reason.DECODE_FAILED and f.blocks == {modality} for f in quality.findings)


def test_sound_that_no_resampler_accepts_is_refused(corpus):
    with pytest.raises(MediaError) as error:
        prepare(corpus["wav_255_channels"])
    check_refusal(error.value, corpus["wav_255_channels"])


@pytest.mark.parametrize("case_id", ["huge_later", "huge_ts"])
def test_a_picture_over_the_limit_is_not_even_decoded(corpus, case_id):
    """Neither while the header is read (which costs 200 MB), nor when the stream grows in the middle."""
    with open_container(corpus[case_id]) as container:
        stream = container.streams.video[0]
        failed = False
        for packet in container.demux(stream):
            try:
                assert all(frame.width < 8192 for frame in packet.decode())
            except av.FFmpegError:
                failed = True
        assert failed


@pytest.mark.parametrize("degrees, turn", [(90, "transpose=1"), (180, "hflip,vflip"), (270, "transpose=2")])
def test_face_stands_upright_after_rotation(talking_clip, tmp_path, degrees, turn):
    """The stored picture is turned one way, the display matrix turns it back, as phones do."""
    straight, turned, shown = (tmp_path / f"{name}.mp4" for name in ("straight", "turned", "shown"))
    for path, filters in ((straight, "null"), (turned, turn)):
        ffmpeg("-t", "1", "-i", str(talking_clip), "-vf", filters, "-preset", "ultrafast", str(path))
    ffmpeg("-display_rotation", str(degrees), "-i", str(turned), "-c", "copy", str(shown))
    clip = prepare(shown)
    assert (clip.info.width_px, clip.info.height_px) == (400, 300)
    [upright], [track] = prepare(straight).tracks, clip.tracks
    assert np.abs(track.landmarks_px[0] - upright.landmarks_px[0]).max() < 6
    assert len(track.times_s) == pytest.approx(25, abs=2)
