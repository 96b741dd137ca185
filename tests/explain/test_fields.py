"""A map at a moment and at a pixel, by hand."""

from __future__ import annotations

import numpy as np
import pytest

from explain.fields import (
    covered,
    mouth_group,
    on_face,
    on_mouth,
    runs,
    scaled,
    step_edges,
    strongest_cells,
    values_at,
)
from explain.regions import REGIONS, face_regions, lip_crop_regions
from tests.explain.hand_made import fine, narrow, readable


def test_windows_that_touch_are_one_run():
    assert runs(np.array([5.0, 0.0, 1.0]), np.array([6.0, 1.2, 2.0])) == [(0.0, 2.0), (5.0, 6.0)]


def test_overlapping_windows_are_averaged_and_between_them_nothing_is_known():
    found = readable(windows=2)
    found.values["picture"][1, :, 0] = 4.0  # windows at 0-1 and 0.5-1.5 s, steps of 0.5 s
    at = values_at(found, "picture", np.array([0.0, 0.5]), np.array([1.0, 1.5]), np.array([0.2, 0.7, 1.2, 3.0]))
    assert at[:3, 0].tolist() == [2.0, (0.0 + 4.0) / 2, 4.0]
    assert np.isnan(at[3]).all()
    assert step_edges(found, "picture", np.array([0.0, 0.5]), np.array([1.0, 1.5])).tolist() == [0, 0.5, 1, 1.5]


def test_groups_with_one_unit_share_the_scale():
    shades, limit = scaled(readable())
    assert limit == 2.0 and shades.values["picture"].max() == 1.0 and shades.values["sound"].min() == -0.5
    mark = strongest_cells(readable()).values
    assert mark["picture"].sum() == 1 and mark["picture"][0, 0, REGIONS.index("lips")] == 1
    assert not mark["sound"].any(), "nothing there speaks for manipulation"


def test_a_region_lies_where_its_pixels_are():
    lips = np.eye(6)[REGIONS.index("lips")]
    assert np.array_equal(on_face("picture", lips, 64) > 0, face_regions(64) == REGIONS.index("lips"))
    assert np.array_equal(on_mouth("picture", lips, 64) > 0, lip_crop_regions(64) == REGIONS.index("lips"))


def test_the_mouth_of_a_face_map_is_where_the_lip_crop_shows_it():
    values = (face_regions(16) == REGIONS.index("lips")).astype(float).ravel()
    shown, lips = on_mouth("face", values, 96) > 0.5, lip_crop_regions(96) == REGIONS.index("lips")
    assert (shown & lips).sum() / (shown | lips).sum() > 0.7  # blocks of a sixteenth of the face are coarse


def test_a_block_peaks_at_its_own_place():
    picture = on_face("face", fine().values["face"][0, 1], 160)
    assert np.unravel_index(picture.argmax(), picture.shape) == (pytest.approx(84, abs=1), pytest.approx(84, abs=1))


def test_the_mouth_is_told_by_the_close_up_unless_the_head_does_not_read_it():
    found = fine()
    assert mouth_group(found) == "face"  # all zero in the close-up
    found.values["lips"][0, 0, 0] = -0.1
    assert mouth_group(found) == "lips" and mouth_group(readable()) == "picture"


def test_a_readable_map_speaks_of_no_more_than_it_looked_at():
    found = narrow()  # steps from 0.25 to 0.75 s of its window
    starts_s, ends_s = np.array([2.0]), np.array([3.0])
    at = values_at(found, "picture", starts_s, ends_s, np.array([2.2, 2.3, 2.7, 2.8]))
    assert np.isnan(at).all(axis=1).tolist() == [True, False, False, True]
    assert [float(edge[0]) for edge in covered(found, starts_s, ends_s)] == [2.25, 2.75]
    assert [float(edge[0]) for edge in covered(fine(), starts_s, ends_s)] == [2.0, 3.0]
