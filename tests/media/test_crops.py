"""Crops: exact alignment, right colours, no aliasing, and nothing left on disk."""

from __future__ import annotations

from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from media import FACE_PX, LIPS_PX
from media.crops import (
    LIPS_SPAN,
    TEMPLATE,
    CropRoll,
    Picture,
    alignment,
    display_size,
    face_and_lips,
    let_go,
    lips_alignment,
)

BT709, BT601, UNTAGGED = 1, 5, 2
LIMITED, FULL = 1, 2


def similarity(angle_deg: float, scale: float, shift: tuple[float, float]) -> np.ndarray:
    c, s = scale * np.cos(np.radians(angle_deg)), scale * np.sin(np.radians(angle_deg))
    return np.array([[c, -s, shift[0]], [s, c, shift[1]]])


def through(matrix: np.ndarray, points: np.ndarray) -> np.ndarray:
    return points @ matrix[:, :2].T + matrix[:, 2]


def yuv_frame(y: np.ndarray, u: np.ndarray, v: np.ndarray, space: int = UNTAGGED, levels: int = 0) -> av.VideoFrame:
    packed = np.concatenate([plane.reshape(-1) for plane in (y, u, v)]).astype(np.uint8)
    frame = av.VideoFrame.from_ndarray(packed.reshape(y.shape[0] * 3 // 2, y.shape[1]), format="yuv420p")
    frame.colorspace, frame.color_range = space, levels
    return frame


def flat_frame(yuv: tuple[int, int, int], size: tuple[int, int] = (64, 48), **tags: int) -> av.VideoFrame:
    width, height = size
    planes = [np.full((height >> bool(i), width >> bool(i)), value, np.uint8) for i, value in enumerate(yuv)]
    return yuv_frame(*planes, **tags)


def luma_picture(y: np.ndarray) -> Picture:
    """A grey picture of full range: RGB equals the luma."""
    grey = np.full((y.shape[0] // 2, y.shape[1] // 2), 128, np.uint8)
    return Picture.of(yuv_frame(y, grey, grey, BT601, FULL))


# ---- alignment ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("angle_deg, scale, shift", [
    (0, 1.0, (0, 0)), (0, 3.7, (120, -40)), (30, 0.2, (-10, 500)), (-135, 1.9, (33, 44)), (180, 1.0, (900, 900)),
])
def test_alignment_undoes_a_known_similarity_exactly(angle_deg, scale, shift):
    landmarks = through(similarity(angle_deg, scale, shift), TEMPLATE * 100)
    matrix = alignment(landmarks.astype(np.float64), 224)
    np.testing.assert_allclose(through(matrix, landmarks), TEMPLATE * 224, atol=1e-6)
    turn = similarity(-angle_deg, 2.24 / scale, (0, 0))[:, :2]
    np.testing.assert_allclose(matrix[:, :2], turn, atol=1e-9)


def test_alignment_of_an_uneven_face_is_the_nearest_similarity():
    """No other similarity lands nearer, and it is a similarity: equal scales, no shear, no mirror."""
    rng = np.random.default_rng(3)
    landmarks = TEMPLATE * 80 + rng.normal(0, 3, (5, 2)) + 50
    matrix = alignment(landmarks, 224)
    (a, b), (c, d) = matrix[:, :2]
    assert a == pytest.approx(d) and b == pytest.approx(-c) and np.linalg.det(matrix[:, :2]) > 0

    def miss(m: np.ndarray) -> float:
        return float(np.square(through(m, landmarks) - TEMPLATE * 224).sum())

    for _ in range(50):
        change = similarity(rng.normal(0, 1), 1 + rng.normal(0, 0.01), tuple(rng.normal(0, 1, 2)))
        moved = np.column_stack([change[:, :2] @ matrix[:, :2], change[:, :2] @ matrix[:, 2] + change[:, 2]])
        assert miss(moved) > miss(matrix)


def test_lips_crop_is_centred_between_the_mouth_corners_at_half_the_span():
    landmarks = through(similarity(17, 1.3, (60, 20)), TEMPLATE * 100)
    matrix = lips_alignment(landmarks, 96)
    np.testing.assert_allclose(through(matrix, landmarks[3:5].mean(axis=0)), (48, 48), atol=1e-9)
    face = alignment(landmarks, 96)
    np.testing.assert_allclose(matrix[:, :2], face[:, :2] / LIPS_SPAN, atol=1e-9)
    assert (np.abs(through(matrix, landmarks[3:5]) - 48) < 40).all()  # both corners inside, with room


def test_points_on_one_spot_give_a_finite_crop():
    assert np.isfinite(alignment(np.full((5, 2), 7.0), 224)).all()


# ---- colours --------------------------------------------------------------------------------------------------

RED, GREEN, BLUE, WHITE, BLACK = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255), (0, 0, 0)
COLOURS = [  # the textbook codes of each colour
    (BT601, LIMITED, (81, 90, 240), RED),
    (BT601, LIMITED, (145, 54, 34), GREEN),
    (BT601, LIMITED, (41, 240, 110), BLUE),
    (BT601, LIMITED, (235, 128, 128), WHITE),
    (BT601, LIMITED, (16, 128, 128), BLACK),
    (BT709, LIMITED, (63, 102, 240), RED),
    (BT709, LIMITED, (173, 42, 26), GREEN),
    (BT709, LIMITED, (32, 240, 118), BLUE),
    (BT601, FULL, (76, 85, 255), RED),
    (BT601, FULL, (150, 44, 21), GREEN),
    (BT601, FULL, (29, 255, 107), BLUE),
    (BT709, FULL, (54, 99, 255), RED),
    (BT709, FULL, (182, 30, 12), GREEN),
    (BT709, FULL, (18, 255, 116), BLUE),
    (BT709, FULL, (255, 128, 128), WHITE),
    (BT709, FULL, (0, 128, 128), BLACK),
]


@pytest.mark.parametrize("space, levels, yuv, rgb", COLOURS)
def test_known_colours_come_out_right(space, levels, yuv, rgb):
    picture = Picture.of(flat_frame(yuv, space=space, levels=levels))
    crop = picture.crop(np.eye(2, 3), 32)
    assert np.abs(crop.astype(int) - rgb).max() <= 3
    image, factor = picture.reduced(32)
    assert np.abs(image.astype(int) - rgb).max() <= 3 and factor == 2


@pytest.mark.parametrize("size, space", [((640, 480), BT601), ((1280, 720), BT709), ((720, 1280), BT709)])
def test_untagged_pictures_are_bt709_from_720_lines_on(size, space):
    codes = {BT601: (81, 90, 240), BT709: (63, 102, 240)}
    picture = Picture.of(flat_frame(codes[space], size))
    assert np.abs(picture.crop(np.eye(2, 3), 16).astype(int) - RED).max() <= 3


@pytest.mark.parametrize("pixel_format", ["rgb24", "bgr24", "gbrp", "yuv444p", "yuv422p", "yuv420p10le"])
def test_other_pixel_formats_keep_their_colours(pixel_format):
    image = np.zeros((48, 64, 3), np.uint8)
    image[:] = (200, 60, 30)
    frame = av.VideoFrame.from_ndarray(image, format="rgb24").reformat(format=pixel_format)
    assert np.abs(Picture.of(frame).crop(np.eye(2, 3), 32).astype(int) - (200, 60, 30)).max() <= 4


def smooth_image(width: int, height: int) -> np.ndarray:
    x, y = np.meshgrid(np.arange(width), np.arange(height))
    waves = [128 + 90 * np.sin(2 * np.pi * (x / a + y / b)) for a, b in ((97, 211), (150, 83), (240, 120))]
    return np.stack(waves, axis=2).round().astype(np.uint8)


@pytest.mark.parametrize("matrix", [
    similarity(0, 1.0, (-40, -30)), similarity(20, 1.6, (-50, -120)), similarity(-35, 0.7, (30, 90)),
    similarity(10, 0.3, (20, 10)),
])
def test_a_crop_equals_the_crop_of_the_whole_picture_in_rgb(matrix):
    frame = av.VideoFrame.from_ndarray(smooth_image(400, 300), format="rgb24").reformat(format="yuv420p")
    whole = frame.to_ndarray(format="rgb24")
    expected = cv2.warpAffine(whole, matrix, (96, 96), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    difference = np.abs(Picture.of(frame).crop(matrix, 96).astype(int) - expected)[4:-4, 4:-4]
    assert difference.mean() < 2.5 and np.quantile(difference, 0.99) < 12  # FFmpeg's own conversion is off by 2


# ---- sampling -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scale, ripple", [(0.12, 3), (0.25, 3), (0.45, 3), (0.3, 16)])
def test_a_checkerboard_shrinks_to_grey_instead_of_a_pattern(scale, ripple):
    """Areas of 3 x 3 hold 4 or 5 white squares of 9: a ripple of 14 is left of 128."""
    board = (np.indices((480, 640)).sum(axis=0) % 2 * 255).astype(np.uint8)
    crop = luma_picture(board).crop(similarity(0, scale, (-5.0, -3.0)), 48)
    assert np.abs(crop.astype(int) - 127).max() <= ripple


@pytest.mark.parametrize("angle_deg, scale", [(0, 2.0), (0, 0.6), (25, 0.25), (-70, 0.18)])
def test_a_spot_lands_where_the_matrix_says(angle_deg, scale):
    """Half-size filtering must not shift the picture: centre of light against the mapped centre, in crop pixels."""
    y = np.zeros((480, 640), np.float32)
    cv2.circle(y, (300, 200), 40, 255, -1)
    y = cv2.GaussianBlur(y, (0, 0), 6).astype(np.uint8)
    matrix = similarity(angle_deg, scale, (0, 0))
    matrix[:, 2] = 60 - matrix[:, :2] @ (300, 200)
    light = luma_picture(y).crop(matrix, 121)[..., 0].astype(np.float64)
    rows, columns = np.indices(light.shape)
    centre = np.array([(columns * light).sum(), (rows * light).sum()]) / light.sum()
    np.testing.assert_allclose(centre, (60, 60), atol=0.15)


def test_colour_and_brightness_stay_on_the_same_place():
    """A red disc: chroma has half the resolution, and its centre of mass must be that of the luma."""
    image = np.full((300, 400, 3), 90, np.uint8)
    cv2.circle(image, (201, 151), 50, (220, 40, 40), -1)
    picture = Picture.of(av.VideoFrame.from_ndarray(image, format="rgb24").reformat(format="yuv420p"))
    for scale in (2.0, 0.9, 0.4):
        matrix = similarity(0, scale, (100 - 201 * scale, 100 - 151 * scale))
        crop = picture.crop(matrix, 201).astype(np.float64)
        redness = np.maximum(crop[..., 0] - crop[..., 1] - 20, 0)
        rows, columns = np.indices(redness.shape)
        centre = ((columns * redness).sum() / redness.sum(), (rows * redness).sum() / redness.sum())
        np.testing.assert_allclose(centre, (100, 100), atol=0.6)


def test_outside_of_the_picture_the_border_goes_on():
    y = np.full((100, 100), 50, np.uint8)
    y[:, -10:] = 200
    crop = luma_picture(y).crop(similarity(0, 1, (-80, 0)), 60)
    assert np.abs(crop[20, 25:].astype(int) - 200).max() <= 1


def test_face_and_lips_come_from_the_landmarks():
    """A white dot on each of the five points is white at the template's places."""
    landmarks = through(similarity(12, 1.5, (80, 40)), TEMPLATE * 120)
    y = np.full((360, 400), 30, np.uint8)
    for point in landmarks:
        cv2.circle(y, tuple(point.round().astype(int)), 5, 255, -1)
    face, lips = face_and_lips(luma_picture(y), landmarks)
    assert face.shape == (FACE_PX, FACE_PX, 3) and lips.shape == (LIPS_PX, LIPS_PX, 3)
    for x, row in (TEMPLATE * FACE_PX).round().astype(int):
        assert face[row, x, 0] > 200
    assert lips[LIPS_PX // 2, LIPS_PX // 2, 0] < 60
    row, column = np.argwhere(lips[24:, :, 0] > 200).mean(axis=0)  # above them is the tip of the nose
    assert (row + 24, column) == pytest.approx((LIPS_PX / 2, LIPS_PX / 2), abs=1.5)


def test_a_large_picture_is_reduced_and_landmarks_still_fit():
    landmarks = through(similarity(0, 6.0, (700, 500)), TEMPLATE * 120)
    y = np.full((2160, 2880), 30, np.uint8)
    for point in landmarks:
        cv2.circle(y, tuple(point.round().astype(int)), 30, 255, -1)
    picture = luma_picture(y)
    assert picture.scale == 2 and picture.size_px == (1440, 1080)
    face, _ = face_and_lips(picture, landmarks)
    for x, row in (TEMPLATE * FACE_PX).round().astype(int):
        assert face[row, x, 0] > 200


@pytest.mark.parametrize("pixel_aspect, expected", [
    (1.0, (64, 48)), (4 / 3, (85, 48)), (0.5, (64, 96)), (1.005, (64, 48)), (0.0, (64, 48)), (50.0, (64, 48)),
])
def test_pixel_aspect_only_ever_enlarges_and_absurd_values_are_ignored(pixel_aspect, expected):
    frame = flat_frame((100, 128, 128))
    assert display_size(frame, pixel_aspect) == expected
    assert Picture.of(frame, pixel_aspect).size_px == expected


@pytest.mark.parametrize("size", [(63, 47), (2, 2), (17, 16)])
def test_odd_sizes_can_be_cropped(size):
    frame = av.VideoFrame(*size, "yuv420p")
    for plane in frame.planes:
        plane.update(bytes([128]) * plane.buffer_size)
    crop = Picture.of(frame).crop(similarity(0, 0.2, (0, 0)), 32)
    assert crop.shape == (32, 32, 3) and np.ptp(crop) <= 1


# ---- the roll -------------------------------------------------------------------------------------------------


def test_the_roll_gives_back_what_was_added_and_leaves_no_visible_file(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    crops = np.random.default_rng(0).integers(0, 256, (5, 8, 8, 3), dtype=np.uint8)
    roll = CropRoll(8)
    for crop in crops:
        roll.add(crop)
        assert not list(tmp_path.iterdir())
    stored = roll.finish()
    assert not list(tmp_path.iterdir())
    np.testing.assert_array_equal(stored, crops)
    with pytest.raises(ValueError, match="read-only"):
        stored[0] = 0
    del roll
    np.testing.assert_array_equal(stored, crops)


@pytest.mark.skipif(not Path("/proc/self/smaps").exists(), reason="memory is read as Linux tells it")
def test_crops_that_are_let_go_leave_memory_and_stay_what_they_are(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    roll = CropRoll(64)
    for value in range(200):
        roll.add(np.full((64, 64, 3), value, np.uint8))
    stored = roll.finish()
    assert stored.max() == 199 and held_kb(tmp_path) > 2000
    let_go(stored[50:])  # a part is as good as the whole
    assert held_kb(tmp_path) == 0
    assert stored[:, 0, 0, 0].tolist() == list(range(200))
    let_go(np.zeros(3))


def held_kb(folder: Path) -> int:
    """Of the unlinked files of a folder, what this process has in memory."""
    held, ours = 0, False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        if "-" in line.split(" ")[0]:
            ours = str(folder) in line
        elif ours and line.startswith("Rss:"):
            held += int(line.split()[1])
    return held


def test_an_empty_roll_is_an_empty_array():
    assert CropRoll(8).finish().shape == (0, 8, 8, 3)
