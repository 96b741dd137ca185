"""Pictures of explanations: the colour is at the right place and time, words say the same, failures are grey."""

from __future__ import annotations

import io

import cv2
import numpy as np
import pytest
from PIL import Image

from explain import words
from explain.pictures import draw, mouth_loop
from explain.sheet import BELIEVED, GREYED, HEADLINE_PX, WIDTH_PX, Sheet, time_axis
from tests.explain.hand_made import FAILED, PASSED, fine, narrow, readable, told
from tests.explain.tiny_detectors import a_clip


@pytest.fixture(scope="module")
def clip():
    return a_clip()


def pixels(picture) -> np.ndarray:
    return np.array(Image.open(io.BytesIO(picture.data)).convert("RGB")).astype(int)


def is_orange(image: np.ndarray) -> np.ndarray:
    return (image[..., 0] - image[..., 2] > 90) & (image[..., 0] > 150)


def time_of(column: np.ndarray, span) -> np.ndarray:
    return span.start_s + (column / WIDTH_PX - span.left) / (span.right - span.left) * (span.end_s - span.start_s)


def without_legend(image: np.ndarray) -> np.ndarray:
    return image[:-60]


@pytest.fixture(scope="module")
def drawn(clip):
    return {p.name: p for p in draw(clip, told(readable()), "ablation")}


def test_a_readable_map_has_strips_spectrogram_and_tables(drawn):
    assert list(drawn) == ["faces", "lips", "spectrogram", "regions", "bands"]
    for picture in drawn.values():
        image = pixels(picture)
        assert picture.media_type == "image/png" and image.shape[1] == WIDTH_PX and picture.detector == "tiny"
        assert (image[[0, 0, -1, -1], [0, -1, 0, -1]] == 255).all()  # an opaque, light ground
        assert picture.axis == drawn["faces"].axis, "one cursor runs through all"
        assert PASSED.sentence in picture.alt and PASSED.sentence in picture.caption


@pytest.mark.parametrize("name", ["faces", "lips", "regions"])
def test_the_evidence_is_coloured_when_it_was(drawn, name):
    image = without_legend(pixels(drawn[name]))
    (span,) = drawn[name].axis
    row, column = np.nonzero(is_orange(image))
    assert len(column) > 200
    assert time_of(column, span).max() <= 1.5 + 0.02 and time_of(column, span).min() >= 1.0 - 0.02


def test_words_name_place_time_and_value(drawn):
    assert "Most of the evidence in the picture is at the lips, 1.0–1.5 s." in drawn["faces"].alt
    assert "The strongest cell: lips, 1.0 to 1.5 s, +2.00." in drawn["regions"].alt
    assert "The sound as a whole does not raise the score." in drawn["spectrogram"].alt
    assert words.STRONGEST_NONE in drawn["bands"].alt


def test_a_fine_map_has_no_tables_and_says_what_the_test_takes(clip):
    pictures = draw(clip, told(fine()), "integrated_gradients")
    assert [p.name for p in pictures] == ["faces", "lips", "spectrogram"]
    assert words.READING[False] in pictures[0].caption
    row, column = np.nonzero(is_orange(without_legend(pixels(pictures[0]))))
    moments = time_of(column, pictures[0].axis[0])
    assert len(column) and moments.min() > 1.1 and moments.max() < 1.6  # frame 2 of 4 lasts from 1.25 to 1.5 s


def test_a_map_that_failed_is_grey_and_says_so(clip):
    for picture in draw(clip, told(readable(), tests=FAILED), "ablation")[2:]:  # strips show the clip in colour above
        image = pixels(picture)
        assert (image.max(axis=2) - image.min(axis=2)).max() <= 12
        assert "did not pass its test" in picture.caption and "So don't rely on this map." in picture.alt


def test_a_map_without_a_test_says_so(clip):
    (picture, *_) = draw(clip, told(fine(), tests=None), "integrated_gradients")
    assert words.NOT_TESTED in picture.alt and words.NOT_TESTED in picture.caption


def test_what_is_missing_is_not_drawn(clip):
    assert draw(clip, told(), "ablation") == [] and mouth_loop(clip, told(), "ablation") is None
    alone = told(readable(), track_id=None)
    assert [p.name for p in draw(clip, alone, "ablation")] == ["spectrogram", "regions", "bands"]
    assert mouth_loop(clip, alone, "ablation") is None
    assert "spectrogram" not in {p.name for p in draw(a_clip(sound=False), told(readable()), "ablation")}


def test_runs_share_the_width_by_their_length():
    first, second = time_axis([(0.0, 1.0), (10.0, 13.0)])
    assert (second.right - second.left) == pytest.approx(3 * (first.right - first.left))
    assert 0 < first.left < first.right < second.left < second.right < 1


def test_windows_apart_have_a_blank_between_them(clip):
    picture = draw(clip, told(readable(windows=2), starts_s=(0.0, 3.0)), "ablation")[2]
    first, second = picture.axis
    assert (first.start_s, first.end_s, second.start_s, second.end_s) == (0, 1, 3, 4)
    middle = round((first.right + second.left) / 2 * WIDTH_PX)
    assert (pixels(picture)[20:300, middle] == 255).all()


def test_colours_cover_a_grey_photograph():
    photo = np.full((1, 3, 3), (200, 100, 60), np.uint8)
    nothing, evidence, against = BELIEVED.over(photo, np.array([[0.0, 1.0, -1.0]]))[0].astype(int)
    assert nothing.tolist() == [120, 120, 120]
    assert evidence[0] > 180 > 60 > evidence[2] and against[2] > 150 > 60 > against[0]
    assert np.ptp(GREYED.over(photo, np.array([[1.0, -1.0, 0.3]])), axis=2).max() <= 2


def test_the_scale_has_even_steps_of_lightness():
    colours = BELIEVED.scale(np.arange(0, 257, 16))[None, :, :3].astype(np.float32)
    steps = np.diff(cv2.cvtColor(colours, cv2.COLOR_RGB2LAB)[0, :, 0])
    for half in (steps[:8], -steps[8:]):
        assert half.min() > 0 and half.max() < 1.15 * half.min()


def test_the_mouth_loops_beside_itself(clip):
    picture = mouth_loop(clip, told(readable()), "ablation")
    loop = Image.open(io.BytesIO(picture.data))
    assert picture.media_type == "image/webp" and len(picture.data) < 400_000 and loop.info["loop"] == 0
    seconds, coloured = 0.0, []
    for frame in range(loop.n_frames):
        loop.seek(frame)
        image = np.array(loop.convert("RGB")).astype(int)
        seconds += loop.info["duration"] / 1000
        coloured.append(is_orange(image[:, image.shape[1] // 2:]).mean() > 0.05)
    assert seconds <= 2.0 and coloured[0] and not coloured[-1]  # the first half of the window alone
    assert "lips, 1.0–1.5 s" in picture.alt


def test_a_map_of_part_of_a_window_is_drawn_over_that_part(clip):
    drawn = draw(clip, told(narrow(), starts_s=(1.0,)), "ablation")
    assert {p.name for p in drawn} == {"faces", "lips", "spectrogram", "regions", "bands"}
    assert all((p.axis[0].start_s, p.axis[-1].end_s) == (1.25, 1.75) for p in drawn)


def test_the_axis_begins_at_a_plain_zero():
    sheet = Sheet([(0.0, 1.0)], [100], 8, "")
    sheet.tick_seconds()
    assert sheet.rows[-1][0].get_xticklabels()[0].get_text() == "0.0"


def test_a_part_without_effect_says_so_above_it(clip, drawn):
    """In grey all over, it would be mistaken for one that failed."""
    silent = readable()
    silent.values["sound"][:] = 0.0
    taller = {p.name: len(pixels(p)) - len(pixels(drawn[p.name])) for p in draw(clip, told(silent), "ablation")}
    assert taller == {"faces": 0, "lips": 0, "spectrogram": HEADLINE_PX, "regions": 0, "bands": HEADLINE_PX}
