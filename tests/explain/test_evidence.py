"""Evidence for one detector stays where it was put, and is found there."""

from __future__ import annotations

import torch

from explain.baselines import blurred
from explain.evidence import PIXEL_MOST, RISE, plant_evidence
from explain.faithfulness import pointing
from explain.layout import blocks
from explain.maps import integrate_gradients
from explain.planted import Plant, truth_on
from explain.regions import REGIONS, face_regions
from tests.explain.tiny_detectors import Spots, a_target, an_input


def test_the_picture_changes_inside_region_and_span_alone_until_the_logit_has_risen():
    what = Plant((0.5, 0.75), region="lips")
    target = a_target(Spots(face=60.0, audio=0.0, frames=slice(1, 4)))
    target.inputs.faces[:, 2] *= 0.5
    risen, rise = plant_evidence(target, what, blurred)
    change = (risen.inputs.faces - target.inputs.faces)[0].abs().amax(1)  # [frames, 32, 32]
    assert rise >= RISE and change.max() <= PIXEL_MOST + 1e-6
    assert not change[[0, 1, 3]].any() and change[2].any()
    assert not change[2][torch.from_numpy(face_regions(32) == REGIONS.index("eyes"))].any()
    assert torch.equal(risen.inputs.audio, target.inputs.audio)
    assert pointing(integrate_gradients(risen), truth_on(blocks(risen), risen, what)) == 1


def test_sound_changes_inside_its_band_and_span_but_for_the_transform_s_edges():
    what = Plant((0.5, 0.75), band_hz=(3000, 5000))
    target = a_target(Spots(face=0.0, audio=1.0), an_input())
    risen, rise = plant_evidence(target, what, blurred)
    change = (risen.inputs.audio - target.inputs.audio)[0]
    assert rise >= RISE and change[:7500].abs().max() == 0 == change[12500:].abs().max()
    power = torch.fft.rfft(change).abs().square()  # 1 Hz per bin
    assert power[2800:5200].sum() > 0.98 * power.sum()


def test_a_detector_that_does_not_look_there_does_not_rise():
    target = a_target(Spots(face=0.0, audio=1.0))
    _, rise = plant_evidence(target, Plant((0.5, 0.75), region="lips"), blurred)
    assert abs(rise) < 1e-4
