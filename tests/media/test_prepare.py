"""From a file to a PreparedClip: times, facts, tracks, the cache, and what is said on the way."""

from __future__ import annotations

import gc
import shutil
import tempfile
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from media import GRID_HZ, Limits, MediaError, Reason, forget, prepare
from media.crops import CropRoll

SHADE_STEP = 5  # grey levels between the frames of a shaded clip


@pytest.fixture
def empty_cache():
    forget()
    yield
    forget()


def write_shades(path: Path, times_ms: list[int]) -> Path:
    """One grey picture per time; the shade says which one it is."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
        stream.codec_context.time_base = stream.time_base = Fraction(1, 1000)
        for i, time_ms in enumerate(times_ms):
            planes = np.full((96, 64), 128, np.uint8)  # 64 rows of luma, then the chroma
            planes[:64] = 16 + SHADE_STEP * i
            frame = av.VideoFrame.from_ndarray(planes, format="yuv420p")
            frame.pts, frame.time_base = time_ms, stream.codec_context.time_base
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def shades_seen(monkeypatch, path: Path) -> dict[int, int]:
    """Which picture of write_shades lies on each grid point: a face is planted everywhere, and its crop read."""
    from media import faces

    landmarks = np.array([[22, 26], [42, 26], [32, 37], [24, 48], [40, 48]], np.float32)
    planted = faces.Detection(np.array([12, 12, 52, 58], np.float32), landmarks, 0.99)
    monkeypatch.setattr(faces, "find_faces", lambda image, smallest_px: [planted])
    monkeypatch.setattr(faces, "find_again", lambda image, boxes: [planted])
    monkeypatch.setattr(faces.FaceFollower, "_is_cut", lambda self, image: False)
    clip = prepare(path)
    [track] = clip.tracks
    level = clip.faces[0].mean(axis=(1, 2, 3)) * 219 / 255 / SHADE_STEP
    return dict(zip(np.round(track.times_s * GRID_HZ).astype(int).tolist(), np.round(level).astype(int).tolist()))


# ---- time -----------------------------------------------------------------------------------------------------


def test_each_grid_point_shows_the_picture_nearest_in_presentation_time(monkeypatch, tmp_path):
    """Pictures at uneven times: 0, 40, 100, 500, 520 and 800 ms; grid points every 40 ms."""
    times_ms = [0, 40, 100, 500, 520, 800]
    seen = shades_seen(monkeypatch, write_shades(tmp_path / "vfr.mkv", times_ms))
    for grid, picture in seen.items():
        distances = [abs(40 * grid - t) for t in times_ms]
        assert distances[picture] == min(distances), f"{40 * grid} ms shows the picture of {times_ms[picture]} ms"
    assert list(seen) == list(range(24))  # the last picture stays as long as the average one: to 960 ms


@pytest.mark.parametrize("fps", [10, 25, 30, 50])
def test_the_grid_has_25_points_a_second_whatever_the_frame_rate(monkeypatch, tmp_path, fps):
    times_ms = [round(1000 * i / fps) for i in range(fps * 4 // 5)]  # 0.8 s
    seen = shades_seen(monkeypatch, write_shades(tmp_path / "cfr.mkv", times_ms))
    assert list(seen)[:20] == list(range(20)) and len(seen) <= 21
    for grid, picture in seen.items():
        is_last = picture == len(times_ms) - 1  # it is shown for a whole step
        assert abs(40 * grid - times_ms[picture]) <= (1000 if is_last else 500) / fps + 1


@pytest.mark.parametrize("fps, pictures, rows", [(50, 20, 10), (5, 2, 10)])
def test_in_a_very_short_clip_a_face_counts_by_time_not_by_pictures(monkeypatch, tmp_path, fps, pictures, rows):
    """0.4 s: less than a track needs elsewhere, but the face is there all the time."""
    path = write_shades(tmp_path / "short.mkv", [round(1000 * i / fps) for i in range(pictures)])
    assert len(shades_seen(monkeypatch, path)) == pytest.approx(rows, abs=1)


def test_pictures_that_start_later_leave_the_first_grid_points_empty(talking_clip, tmp_path, empty_cache):
    from tests.media.corpus import ffmpeg

    late = tmp_path / "late.mkv"
    ffmpeg("-itsoffset", "0.5", "-t", "1.5", "-i", str(talking_clip), "-t", "1.5", "-i", str(talking_clip),
           "-map", "0:v", "-map", "1:a", "-c", "copy", str(late))
    clip = prepare(late)
    assert clip.tracks[0].times_s[0] == pytest.approx(0.52, abs=0.041)
    assert len(clip.waveform) / 16_000 == pytest.approx(1.5, abs=0.1)


def test_a_fault_while_crops_are_cut_is_told(monkeypatch, tmp_path):
    """They are cut in a thread of their own."""
    def fail(roll, crop):
        raise OSError("no room")

    monkeypatch.setattr(CropRoll, "add", fail)
    with pytest.raises(OSError, match="no room"):
        shades_seen(monkeypatch, write_shades(tmp_path / "shades.mkv", [40 * i for i in range(30)]))


# ---- the demo clip --------------------------------------------------------------------------------------------


def test_facts_of_the_demo_clip(talking_clip):
    clip = prepare(talking_clip)
    info = clip.info
    assert (info.width_px, info.height_px, info.frames, info.rotation_deg) == (400, 300, 206, 0)
    assert (info.video_codec, info.audio_codec, info.audio_hz, info.audio_channels) == ("h264", "aac", 16_000, 1)
    assert info.fps == pytest.approx(25) and not info.variable_fps
    assert info.duration_s == pytest.approx(8.24, abs=0.07) and info.size_bytes == talking_clip.stat().st_size
    assert info.path == str(talking_clip) and "mp4" in info.container

    [track] = clip.tracks
    np.testing.assert_allclose(track.times_s, np.arange(206) / GRID_HZ, atol=1e-9)
    assert clip.faces[0].shape == (206, 224, 224, 3) and clip.lips[0].shape == (206, 96, 96, 3)
    assert clip.faces[0].dtype == clip.lips[0].dtype == np.uint8
    assert track.landmarks_px.shape == (206, 5, 2) and track.boxes_px.shape == (206, 4)
    assert (track.landmarks_px[..., 0] < 400).all() and (track.landmarks_px[..., 1] < 300).all()
    assert len(clip.waveform) / 16_000 == pytest.approx(8.24, abs=0.07)
    assert sum(end - start for start, end in clip.speech_s) > 4
    assert not clip.quality.blocks("video") and not clip.quality.blocks("audio")
    assert Reason.PARTLY_DECODED not in clip.quality.reasons
    assert set(clip.stage_s) == {"decode_and_faces", "sound_and_quality"} and min(clip.stage_s.values()) > 0


def test_the_face_stands_still_in_its_aligned_crops(talking_clip):
    """Neighbouring crops of a talking head differ little: nothing jumps between detections."""
    faces = prepare(talking_clip).faces[0][:, 60:180, 60:164].astype(np.int16)
    steps = np.abs(np.diff(faces, axis=0)).mean(axis=(1, 2, 3))
    assert steps.max() < 12 and np.median(steps) < 5


def test_stages_are_told_in_words_and_in_order(talking_clip, tmp_path, empty_cache):
    told = []
    short = tmp_path / "short.mp4"
    shutil.copy(talking_clip.parent / "no_face.mp4", short)
    prepare(short, on_stage=lambda words, seconds: told.append((words, seconds)))
    words, seconds = zip(*told)
    assert words == ("Checking the file", "Reading the clip and finding faces", "Listening for a voice")
    assert list(seconds) == sorted(seconds) and seconds[0] >= 0


def test_two_people_side_by_side_are_two_tracks(talking_clip, tmp_path, empty_cache):
    """The same man twice, the right one mirrored: two tracks of mirrored landmarks."""
    from tests.media.corpus import ffmpeg

    both = tmp_path / "both.mp4"
    ffmpeg("-t", "1.2", "-i", str(talking_clip), "-filter_complex", "[0:v]split[a][b];[b]hflip[c];[a][c]hstack",
           "-an", "-preset", "ultrafast", str(both))
    clip = prepare(both)
    assert len(clip.tracks) == 2 and Reason.SEVERAL_FACES in clip.quality.reasons
    left, right = sorted(clip.tracks, key=lambda t: t.boxes_px[0, 0])
    assert left.boxes_px[:, 2].max() < 400 < right.boxes_px[:, 0].min()
    assert {t.track_id for t in clip.tracks} == set(clip.faces) == set(clip.lips) == {0, 1}
    for track in clip.tracks:
        assert len(track.times_s) == len(clip.faces[track.track_id]) == 30
    nose_left, nose_right = left.landmarks_px[:, 2, 0], right.landmarks_px[:, 2, 0]
    np.testing.assert_allclose(nose_left, 800 - nose_right, atol=4)


# ---- the cache ------------------------------------------------------------------------------------------------


@pytest.fixture
def spoken(examples_dir, tmp_path) -> Path:
    path = tmp_path / "spoken.ogg"
    shutil.copy(examples_dir / "speech_only.ogg", path)
    return path


def test_the_second_call_takes_the_first_one_s_arrays(spoken, empty_cache):
    stages = []
    first = prepare(spoken)
    second = prepare(spoken, on_stage=lambda words, seconds: stages.append(words))
    assert second.waveform is first.waveform and second.quality is first.quality
    assert stages == ["Checking the file"]


def test_the_cache_knows_content_not_names(spoken, tmp_path, empty_cache):
    other = tmp_path / "another name.ogg"
    shutil.copy(spoken, other)
    first, second = prepare(spoken), prepare(other)
    assert second.waveform is first.waveform
    assert (first.info.path, second.info.path) == (str(spoken), str(other))
    assert first.info.sha256 == second.info.sha256


def test_new_content_under_the_same_name_is_read_anew(spoken, examples_dir, empty_cache):
    first = prepare(spoken)
    shutil.copy(examples_dir / "no_face.mp4", spoken)
    assert prepare(spoken).info.sha256 != first.info.sha256


def test_a_forgotten_clip_is_read_anew(spoken, empty_cache):
    first = prepare(spoken)
    forget("0" * 64)
    assert prepare(spoken).waveform is first.waveform
    forget(first.info.sha256)
    again = prepare(spoken)
    assert again.waveform is not first.waveform
    np.testing.assert_array_equal(again.waveform, first.waveform)


def test_a_refused_clip_is_not_remembered(spoken, empty_cache):
    for _ in range(2):
        with pytest.raises(MediaError):
            prepare(spoken, limits=Limits(duration_s=1.0))
    assert prepare(spoken).waveform is not None


def test_nothing_stays_in_the_temporary_folder(talking_clip, tmp_path, monkeypatch, empty_cache):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    short = tmp_path / "short.mp4"
    from tests.media.corpus import ffmpeg

    ffmpeg("-t", "1", "-i", str(talking_clip), "-c", "copy", str(short))
    clip = prepare(short)
    assert not list((tmp_path / "temporary").iterdir())  # nor while the crops are in use
    assert clip.faces[0].any()
    del clip
    forget()
    gc.collect()
    assert not list((tmp_path / "temporary").iterdir())
