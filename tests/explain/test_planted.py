"""Planted artefacts: changed where they say, and nowhere else."""

from __future__ import annotations

import numpy as np
import pytest

from explain import aim
from explain.layout import blocks, cells
from explain.planted import Plant, plant, truth_on
from explain.regions import REGIONS, face_regions, lip_crop_regions
from media import AUDIO_HZ
from tests.explain.tiny_detectors import Spots, TinyDetector, a_clip


def test_a_patch_changes_its_region_in_its_span_and_nothing_else():
    clip = a_clip()
    forged = plant(clip, Plant((1.0, 2.0), region="eyes"))
    changed = (forged.faces[0] != clip.faces[0]).any(axis=3)  # [N, 32, 32]
    times_s = clip.tracks[0].times_s
    during = (times_s >= 1.0) & (times_s < 2.0)
    eyes = face_regions(32) == REGIONS.index("eyes")
    assert not changed[~during].any() and not changed[:, ~eyes].any()
    assert changed[during][:, eyes].mean() > 0.8
    assert np.array_equal(forged.waveform, clip.waveform)
    lips = plant(clip, Plant((1.0, 2.0), region="lips")).lips[0]
    moved = (lips != clip.lips[0]).any(axis=3)
    assert not moved[:, lip_crop_regions(16) != 0].any() and moved[during].any()


def test_a_buzz_changes_its_band_in_its_span_and_nothing_else():
    clip = a_clip()
    change = plant(clip, Plant((1.0, 2.0), band_hz=(3000, 5000)), seed=1).waveform - clip.waveform
    assert not change[:AUDIO_HZ].any() and not change[2 * AUDIO_HZ:].any()
    power = np.abs(np.fft.rfft(change[AUDIO_HZ:2 * AUDIO_HZ])) ** 2  # 1 Hz per bin
    assert power[2900:5100].sum() > 0.97 * power.sum() > 0
    again = plant(clip, Plant((1.0, 2.0), band_hz=(3000, 5000)), seed=1).waveform
    assert np.array_equal(again - clip.waveform, change)


def test_the_truth_on_cells_and_blocks_is_where_it_was_planted():
    detector, clip = TinyDetector(Spots()), a_clip()
    target, _ = aim(clip, detector, (1.0, 2.0))
    table = truth_on(cells(target), target, Plant((1.5, 2.0), region="lips"))
    assert np.argwhere(table["picture"]).tolist() == [[0, 1, REGIONS.index("lips")]]
    fine = truth_on(blocks(target), target, Plant((1.5, 2.0), region="lips"))
    assert set(fine) == {"face", "lips"}
    assert not fine["face"][0, :2].any() and fine["face"][0, 2, 12 * 16 + 7]
    sound = truth_on(cells(target), target, Plant((1.0, 1.5), band_hz=(3057, 5020)))
    assert np.argwhere(sound["sound"]).tolist() == [[0, 0, 4]]


def test_what_a_clip_lacks_cannot_be_planted_into():
    with pytest.raises(ValueError, match="sound"):
        plant(a_clip(sound=False), Plant((1.0, 2.0), band_hz=(300, 900)))
    faceless = a_clip()
    faceless.tracks = ()
    with pytest.raises(ValueError, match="face"):
        plant(faceless, Plant((1.0, 2.0), region="lips"))
