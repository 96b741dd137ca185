"""Face regions of the aligned crops."""

from __future__ import annotations

import numpy as np
import pytest

from explain.regions import REGIONS, face_regions, lip_crop_regions
from media.crops import LIPS_SPAN, TEMPLATE


@pytest.mark.parametrize("side_px", [48, 128, 224])
def test_every_landmark_lies_in_its_own_region(side_px):
    regions = face_regions(side_px)
    names = [REGIONS[regions[int(y * side_px), int(x * side_px)]] for x, y in TEMPLATE]
    assert names == ["eyes", "eyes", "nose", "lips", "lips"]
    assert {REGIONS[i] for i in np.unique(regions)} == set(REGIONS)


def test_cheeks_are_skin_and_corners_are_background():
    regions = face_regions(100)
    assert REGIONS[regions[62, 30]] == REGIONS[regions[62, 70]] == "skin"
    assert {REGIONS[regions[y, x]] for y, x in ((2, 2), (2, 97), (97, 2), (97, 97))} == {"background"}
    assert REGIONS[regions[54, 12]] == "border"  # the cheek's edge


def test_faces_are_symmetric_about_the_nose_but_for_the_template_s_tilt():
    regions = face_regions(224)
    assert (regions == regions[:, ::-1]).mean() > 0.97


def test_a_lip_crop_shows_the_same_regions_larger():
    face, lips = face_regions(400), lip_crop_regions(200)  # both 400 pixels for the face's width
    left = round((TEMPLATE[3:5, 0].mean() - LIPS_SPAN / 2) * 400)
    top = round((TEMPLATE[3:5, 1].mean() - LIPS_SPAN / 2) * 400)
    height = 400 - top  # a lip crop may reach below the face crop
    assert (face[top:, left:left + 200] == lips[:height]).mean() > 0.98
    assert REGIONS[lips[100, 100]] == "lips"
