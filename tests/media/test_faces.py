"""Faces over time: smoothing, gaps, and who is who, on detections whose motion is known."""

from __future__ import annotations

import numpy as np
import pytest

from media import faces
from media.faces import BRIDGE_S, REJOIN_S, Detection, FaceFollower, Track, _best_pairs, find_again, find_faces

STEP_S = 0.2  # between looks
FACE = np.array([[30, 40], [70, 40], [50, 60], [35, 80], [65, 80]], np.float32)  # inside a box of 100 x 100
SCENE = np.full((90, 160, 3), 90, np.uint8)


def face_at(x: float, y: float = 0.0, size: float = 100.0) -> Detection:
    shift = np.array([x, y], np.float32)
    box = np.concatenate([shift, shift + size]).astype(np.float32)
    return Detection(box, FACE * size / 100 + shift, 0.99)


def track_of(*points: tuple[float, float]) -> Track:
    """(time, x) pairs."""
    track = Track(0)
    for time_s, x in points:
        track.add(time_s, face_at(x))
    return track


class Script:
    """Stands where the face finder stands: says which faces each look holds, and notes how it was asked."""

    def __init__(self, monkeypatch, *looks: list[Detection]) -> None:
        self.asked: list[float | str] = []  # the smallest face searched for, or "again" for a look at known places
        self._looks, self._seen = looks, -1
        monkeypatch.setattr(faces, "find_faces", self._find_faces)
        monkeypatch.setattr(faces, "find_again", self._find_again)

    def watch(self, images=None, step_s: float = STEP_S) -> list[Track]:
        follower = FaceFollower()
        for i in range(len(self._looks)):
            self._seen = i
            follower.see(SCENE if images is None else images[i], 1.0, i * step_s)
        return follower.tracks

    def _find_faces(self, image, smallest_px):
        self.asked.append(pytest.approx(smallest_px))
        return self._looks[self._seen]

    def _find_again(self, image, boxes):
        """A face is found again within half its width."""
        self.asked.append("again")
        return [d for d in self._looks[self._seen]
                if (np.abs(d.box[:2] - boxes[:, :2]).max(axis=1) < 0.5 * (d.box[2] - d.box[0])).any()]


def follow(monkeypatch, looks: list[list[Detection]], images=None, step_s: float = STEP_S) -> list[Track]:
    return Script(monkeypatch, *looks).watch(images, step_s)


# ---- smoothing ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("time_s", [0.0, 0.04, 0.5, 0.9, 1.33, 2.0])
def test_a_steady_motion_is_followed_without_lag(time_s):
    track = track_of(*((i * STEP_S, 100 * i * STEP_S) for i in range(11)))
    box, landmarks, confidence = track.at(time_s)
    np.testing.assert_allclose(box, face_at(100 * time_s).box, atol=1e-3)
    np.testing.assert_allclose(landmarks, face_at(100 * time_s).landmarks, atol=1e-3)
    assert confidence == pytest.approx(0.99)


def test_a_steady_motion_is_followed_between_uneven_looks():
    track = track_of(*((t, 50 * t) for t in (0.0, 0.2, 0.24, 0.6, 1.0, 1.12)))
    for time_s in (0.1, 0.3, 0.8, 1.1):
        assert track.at(time_s)[0][0] == pytest.approx(50 * time_s, abs=1e-3)


def test_the_line_is_not_carried_on_outside():
    track = track_of(*((i * STEP_S, 100 * i * STEP_S) for i in range(6)))
    assert track.at(-0.2)[0][0] == pytest.approx(0, abs=1e-3)
    assert track.at(1.2)[0][0] == pytest.approx(100, abs=1e-3)


def test_jitter_of_single_looks_is_smoothed():
    rng = np.random.default_rng(0)
    noisy = track_of(*((i * STEP_S, 10 + rng.normal(0, 4)) for i in range(60)))
    inner = [noisy.at(t)[0][0] for t in np.arange(1, 11, 0.04)]
    assert np.std(inner) < 0.7 * 4
    assert np.mean(inner) == pytest.approx(10, abs=1.5)


def test_one_look_speaks_for_the_moments_up_to_the_next():
    track = track_of((1.0, 30))
    np.testing.assert_array_equal(track.at(1.0)[0], face_at(30).box)
    np.testing.assert_allclose(track.at(0.8)[1], face_at(30).landmarks, atol=1e-4)
    assert track.at(0.76) is None and track.at(1.24) is None


# ---- gaps -----------------------------------------------------------------------------------------------------


def test_a_short_gap_is_bridged_on_the_line_between():
    track = track_of((0.0, 0), (0.2, 10), (0.8, 40), (1.0, 50))  # 0.6 s without a face
    assert track.at(0.5)[0][0] == pytest.approx(25, abs=1e-3)


def test_a_longer_gap_is_left_open():
    gap_s = BRIDGE_S + 0.05
    track = track_of((0.0, 0), (0.2, 10), (0.2 + gap_s, 40), (0.4 + gap_s, 50))
    assert track.at(0.2 + gap_s / 2) is None
    assert track.at(0.2 + 0.12) is None  # past half a step from the last look
    assert track.at(0.2 + 0.08) is not None
    assert track.at(0.2 + gap_s - 0.08) is not None


def test_nothing_from_beyond_an_open_gap_pulls_on_the_face():
    track = track_of((0.0, 0), (0.2, 0), (0.2 + 0.9, 500), (0.4 + 0.9, 500))
    assert track.at(0.2)[0][0] == pytest.approx(0, abs=1e-3)
    assert track.at(1.1)[0][0] == pytest.approx(500, abs=1e-3)


# ---- who is who -----------------------------------------------------------------------------------------------


def test_two_people_who_move_are_kept_apart(monkeypatch):
    """They walk towards each other side by side; the finder lists the larger one first, which changes midway."""
    looks = []
    for i in range(20):
        left, right = face_at(10.0 * i, size=100 - i), face_at(500 - 10.0 * i, size=90 + i)
        looks.append(sorted([left, right], key=lambda d: d.box[0] - d.box[2]))
    one, two = follow(monkeypatch, looks)
    assert [d.box[0] for d in one.found] == pytest.approx([10 * i for i in range(20)])
    assert [d.box[0] for d in two.found] == pytest.approx([500 - 10 * i for i in range(20)])


def test_a_face_that_jumps_elsewhere_is_another_track(monkeypatch):
    tracks = follow(monkeypatch, [[face_at(0)], [face_at(10)], [face_at(300)], [face_at(310)]])
    assert [t.times_s for t in tracks] == [pytest.approx([0.0, 0.2]), pytest.approx([0.4, 0.6])]


@pytest.mark.parametrize("shift, tracks", [(58, 1), (62, 2)])
def test_overlap_decides_at_one_quarter(monkeypatch, shift, tracks):
    """Boxes 100 wide shifted by s overlap by (100 - s) / (100 + s): 0.266 at 58, 0.235 at 62."""
    assert len(follow(monkeypatch, [[face_at(0)], [face_at(shift)]])) == tracks


@pytest.mark.parametrize("missed, tracks", [(9, 1), (10, 2)])
def test_a_face_that_comes_back_in_its_place_is_the_same_for_two_seconds(monkeypatch, missed, tracks):
    """After 9 missed looks 2.0 s have passed since the last one, after 10 it is 2.2 s."""
    assert pytest.approx(2.0) == REJOIN_S
    found = follow(monkeypatch, [[face_at(0)], *([[]] * missed), [face_at(5)]], step_s=0.1999)
    assert len(found) == tracks


def test_a_hard_cut_ends_every_track(monkeypatch):
    bright = np.full_like(SCENE, 90 + 46)
    tracks = follow(monkeypatch, [[face_at(0)], [face_at(0)], [face_at(0)]], [SCENE, SCENE, bright])
    assert [len(t.found) for t in tracks] == [2, 1]


def test_a_change_of_light_is_no_cut(monkeypatch):
    brighter = np.full_like(SCENE, 90 + 44)
    [track] = follow(monkeypatch, [[face_at(0)], [face_at(0)]], [SCENE, brighter])
    assert len(track.found) == 2


def test_a_picture_of_another_size_is_a_cut(monkeypatch):
    other = np.full((70, 100, 3), 90, np.uint8)
    assert len(follow(monkeypatch, [[face_at(0)], [face_at(0)]], [SCENE, other])) == 2


def test_only_the_largest_faces_are_followed(monkeypatch):
    crowd = [face_at(150.0 * i, size=100 - i) for i in range(7)]
    tracks = follow(monkeypatch, [crowd, crowd])
    assert sorted(t.found[0].box[0] for t in tracks) == [0, 150, 300, 450]


def test_detections_are_scaled_to_display_pixels(monkeypatch):
    monkeypatch.setattr(faces, "find_faces", lambda image, smallest_px: [face_at(20)])
    follower = FaceFollower()
    follower.see(SCENE, 2.5, 0.0)
    detection = follower.tracks[0].found[0]
    np.testing.assert_allclose(detection.box, [50, 0, 300, 250])
    np.testing.assert_allclose(detection.landmarks, face_at(20).landmarks * 2.5)


def test_a_face_that_stays_is_searched_for_once_a_second(monkeypatch):
    """Every tenth look and the one after a cut search from the smallest face on, every fifth from 0.4 of the known."""
    bright = np.full_like(SCENE, 200)
    script = Script(monkeypatch, *([[face_at(0)]] * 13))
    script.watch([SCENE] * 12 + [bright])
    assert script.asked == [24, *["again"] * 4, 40, *["again"] * 4, 24, "again", 24]


def test_while_a_face_is_missing_the_whole_picture_is_searched(monkeypatch):
    both, one = [face_at(0), face_at(300, size=60)], [face_at(0)]
    script = Script(monkeypatch, both, both, one, one, both, both)
    left, right = script.watch()
    assert script.asked == [24, "again", "again", 24, "again", 24, "again", 24]  # 0.4 of 60 is 24
    assert len(left.found) == 6 and len(right.found) == 4


def test_a_face_that_jumped_away_is_searched_for_at_once(monkeypatch):
    script = Script(monkeypatch, [face_at(0)], [face_at(300)])
    assert [len(t.found) for t in script.watch()] == [1, 1]
    assert script.asked == [24, "again", 40]


# ---- the finder itself ----------------------------------------------------------------------------------------


def test_the_face_of_the_demo_clip_is_found_with_its_parts_in_order(talking_clip):
    import av

    with av.open(str(talking_clip)) as container:
        image = next(container.decode(video=0)).to_ndarray(format="rgb24")
    [face] = find_faces(image)
    left_eye, right_eye, nose, mouth_left, mouth_right = face.landmarks
    assert left_eye[0] < nose[0] < right_eye[0] and mouth_left[0] < mouth_right[0]
    assert max(left_eye[1], right_eye[1]) < nose[1] < min(mouth_left[1], mouth_right[1])
    assert (face.landmarks > face.box[:2]).all() and (face.landmarks < face.box[2:]).all()
    assert face.confidence > 0.99


def test_it_finds_what_facenet_pytorch_finds(talking_clip):
    """The same networks and stages, resized and averaged by other means."""
    import av
    import torch
    from facenet_pytorch import MTCNN

    with av.open(str(talking_clip)) as container:
        image = next(container.decode(video=0)).to_ndarray(format="rgb24")
    boxes, _, landmarks = MTCNN(min_face_size=60, device=torch.device("cpu")).detect(image, landmarks=True)
    [box], [points] = boxes.astype(float), landmarks.astype(float)
    [face] = find_faces(image, 60)
    eyes_px = np.linalg.norm(points[0] - points[1])
    assert np.linalg.norm(face.landmarks - points, axis=1).mean() < 0.04 * eyes_px
    assert np.abs(face.box - box).max() < 0.15 * eyes_px


def test_a_face_is_found_again_where_it_was_also_when_it_has_moved_a_little(talking_clip):
    import av

    with av.open(str(talking_clip)) as container:
        image = next(container.decode(video=0)).to_ndarray(format="rgb24")
    [face] = find_faces(image)
    eyes_px = np.linalg.norm(face.landmarks[0] - face.landmarks[1])
    width = face.box[2] - face.box[0]
    for shift in ((0, 0), (0.12, 0), (-0.1, 0.1)):
        [again] = find_again(image, (face.box + np.tile(shift, 2) * width)[None].astype(np.float32))
        assert np.linalg.norm(again.landmarks - face.landmarks, axis=1).mean() < 0.04 * eyes_px
        assert again.confidence > 0.99
    assert find_again(image, np.array([[0, 0, 40, 40]], np.float32)) == []  # nobody was there


@pytest.mark.parametrize("shape", [(120, 160, 3), (23, 400, 3), (1, 1, 3)])
def test_no_face_is_found_in_a_grey_wall_however_small(shape):
    assert find_faces(np.full(shape, 128, np.uint8)) == []


@pytest.mark.parametrize("overlap, pairs", [
    ([[0.9, 0.8], [0.85, 0.1]], {(0, 1), (1, 0)}),  # the highest first would leave 0.1 for the other
    ([[0.2, 0.7, 0.1]], {(0, 1)}), ([[0.2], [0.7]], {(1, 0)}), ([[0.0]], {(0, 0)}),
])
def test_faces_go_to_the_tracks_with_the_highest_overlap_in_all(overlap, pairs):
    assert set(zip(*map(np.ndarray.tolist, _best_pairs(np.array(overlap))))) == pairs
