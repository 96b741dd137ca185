"""A patch holds the face at the picture's own resolution, and its truth names the frames that changed."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from media.crops import TEMPLATE
from tests.training.forge.drawn_face import FACE_PX, drawn_footage
from training.forge.align import five_points
from training.forge.footage import Span, Unsuitable
from training.forge.patch import MOST_PX, ROOM, FacePatch, frame_spans


def test_the_patch_has_the_picture_s_resolution_with_the_face_in_the_middle():
    patch = FacePatch.of(drawn_footage(12))
    assert patch.crops.shape == (12, FACE_PX * ROOM, FACE_PX * ROOM, 3)
    expected = ((TEMPLATE - 0.5) / ROOM + 0.5) * patch.side_px
    np.testing.assert_allclose(five_points(patch.points)[5], expected, atol=0.05)
    np.testing.assert_allclose(np.linalg.det(patch.matrices[:, :, :2]), 1, atol=1e-3)


def test_a_large_face_is_reduced():
    footage = drawn_footage(12)
    large = replace(footage, landmarks=footage.landmarks * 5)
    assert FacePatch.of(large).side_px == MOST_PX


def test_only_frames_with_a_face_are_in_it_and_only_they_are_changed():
    footage = drawn_footage(20, away=(0, 1, 9))
    patch = FacePatch.of(footage)
    assert patch.at.tolist() == [i for i in range(20) if i not in (0, 1, 9)]
    white = np.full_like(patch.crops, 255)
    forged, truth = patch.put_back(white, np.ones(patch.crops.shape[:3]), "white", {"a": 1}, ("somebody",))
    changed = (forged.frames != footage.frames).any(axis=(1, 2, 3))
    assert np.flatnonzero(~changed).tolist() == [0, 1, 9]
    assert truth.spans == (Span(0.08, 0.36, "video"), Span(0.4, 0.8, "video"))
    assert truth.steps == (("white", {"a": 1}),) and truth.identities == ("somebody",) and truth.pair == "clip0"
    assert truth.region.shape == footage.frames.shape[:3] and truth.labels == {"video": 1, "audio": 0, "sync": 0}


def test_an_empty_mask_is_no_forgery():
    patch = FacePatch.of(drawn_footage(12))
    with pytest.raises(Unsuitable, match="outside"):
        patch.put_back(patch.crops, np.zeros(patch.crops.shape[:3]), "nothing", {})


@pytest.mark.parametrize("spoil, words", [
    (lambda f: replace(f, frames=None, times_s=None, sound=np.zeros(16000, np.float32)), "no picture"),
    (lambda f: replace(f, landmarks=np.full_like(f.landmarks, np.nan)), "0.0 s only"),
    (lambda f: replace(f, landmarks=f.landmarks * np.where(np.arange(12) < 5, 1, np.nan)[:, None, None]), "0.2 s only"),
    (lambda f: replace(f, landmarks=f.landmarks / 4), "6 px apart"),
])
def test_footage_without_a_face_to_work_on_says_why(spoil, words):
    with pytest.raises(Unsuitable, match=words):
        FacePatch.of(spoil(drawn_footage(12)))


def test_spans_follow_presentation_times():
    footage = replace(drawn_footage(12), times_s=np.arange(12) ** 2 / 100)
    changed = np.zeros(12, bool)
    changed[[0, 1, 5]] = True
    assert frame_spans(footage, changed) == (Span(0.0, 0.04, "video"), Span(0.25, 0.36, "video"))
    changed[:] = [False] * 11 + [True]
    (last,) = frame_spans(footage, changed)
    assert last.start_s == 1.21 and last.end_s == pytest.approx(1.21 + np.median(np.diff(footage.times_s)))
