"""A sheet has a row for the genuine clip and one for each family, even for one that the clip does not suit."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from tests.training.forge.drawn_face import drawn_footage
from training.forge.contact_sheet import LABEL_PX, TILE_PX, draw_sheet, picture_families
from training.forge.footage import Unsuitable
from training.forge.learnt import SHIPPED
from training.forge.patch import FacePatch


def whiten(footage, rng):
    patch = FacePatch.of(footage)
    masks = np.zeros(patch.crops.shape[:3], np.float32)
    masks[:, 40:80, 40:80] = 1
    return patch.put_back(np.full_like(patch.crops, 255), masks, "whiten", {})


def refuse(footage, rng):
    raise Unsuitable("nothing to do here")


def test_rows_tiles_and_what_they_show():
    sheet = draw_sheet(drawn_footage(12), {"whiten": whiten, "refuse": refuse}, frames=3)
    assert sheet.shape == (3 * TILE_PX, LABEL_PX + 5 * TILE_PX, 3) and sheet.dtype == np.uint8
    centre = TILE_PX // 2
    forged = [sheet[TILE_PX + centre, LABEL_PX + k * TILE_PX + centre] for k in range(3)]
    assert (np.array(forged) > 250).all()
    region, genuine = (sheet[row + centre, LABEL_PX + column * TILE_PX + centre].astype(int)
                       for row, column in ((TILE_PX, 3), (0, 1)))
    assert region[2] - genuine[2] > region[0] - genuine[0] + 40  # blue over what was there
    assert (sheet[2 * TILE_PX:, LABEL_PX:] == 255).all() and (sheet[2 * TILE_PX:, :LABEL_PX] < 100).any()


def test_a_donor_adds_the_swap():
    assert set(picture_families(drawn_footage(12))) - set(picture_families(None)) == {"swap_identity"}


def test_generators_that_come_with_the_project_are_shown_too():
    assert set(picture_families(None, SHIPPED)) - set(picture_families(None)) == {"learnt_swap", "learnt_rerender"}
    voiced = replace(drawn_footage(12), sound=np.zeros(16_000, np.float32))
    assert "learnt_lip_sync" in picture_families(voiced, SHIPPED)
