"""The function that is explained, and what stands in for what is taken away."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from captum.attr import IntegratedGradients

from detectors.contract import Inputs
from explain.baselines import blurred, mean_of_window, neutral
from explain.layout import blocks
from explain.sound import spectrum
from explain.target import Cancelled, Target
from tests.explain.tiny_detectors import SPEC, Camera, Spots, TinyDetector, a_target, an_input


def everything(target, value):
    layout = blocks(target)
    return layout.spread([value * there for there in layout.ones(target)])


def test_all_there_is_the_recording_and_nothing_there_is_the_replacement():
    target = a_target(Spots(both=1.0), an_input(n=2))
    told = target.detector.logits(target.inputs)["whole"]
    assert torch.equal(target.logit({}, target.rows), told)
    torch.testing.assert_close(target.logit(everything(target, 1.0), target.rows), told)

    inputs, base = target.inputs, target.baseline
    audio = torch.istft(base.spectra.transpose(1, 2), 512, 160, 400, torch.hann_window(400), length=16000)
    replaced = target.detector.logits(Inputs(base.faces, base.lips, audio))["whole"]
    torch.testing.assert_close(target.logit(everything(target, 0.0), target.rows), replaced, rtol=1e-3, atol=1e-3)
    assert (told - replaced > 1).all() and inputs.faces is target.inputs.faces


def test_rows_may_come_in_any_order_and_number():
    target = a_target(Spots(), an_input(n=3))
    told = target.logit({}, target.rows)
    torch.testing.assert_close(target.logit({}, torch.tensor([2, 0, 2])), told[[2, 0, 2]])


def test_attribution_to_presence_is_attribution_to_pixels_summed_over_colours():
    """The claim of target.py, against Captum on the pixels themselves."""
    target = a_target(Camera(), an_input(lips=False, audio=False))
    ask = lambda faces: target.detector.logits(Inputs(faces))["whole"]  # noqa: E731
    by_pixel = IntegratedGradients(ask).attribute(target.inputs.faces, target.baseline.faces, n_steps=8).sum(2)
    by_presence = IntegratedGradients(lambda p: target.logit({"face": p}, torch.zeros(len(p), dtype=torch.int64)))
    found = by_presence.attribute(torch.ones(1, SPEC.frames, 32, 32), torch.zeros(1, SPEC.frames, 32, 32), n_steps=8)
    torch.testing.assert_close(found, by_pixel.to(found.dtype), atol=1e-5, rtol=1e-4)
    assert found.abs().sum() > 0.1


def test_someone_who_no_longer_wants_it_stops_it_before_the_next_pass():
    target = a_target(Spots(), should_stop=lambda: True)
    with pytest.raises(Cancelled):
        target.logit({}, target.rows)


def test_moments_follow_the_clip_where_a_short_one_is_stretched():
    inputs = an_input()
    target = Target(TinyDetector(Spots()), inputs, "whole", blurred(inputs), np.array([0.0]), np.array([0.5]))
    assert target.moments_s("face").tolist() == [0.0, 0.125, 0.25, 0.375]
    sound_s = target.moments_s("audio")
    np.testing.assert_allclose(sound_s[[0, 49, 50, 75]], [0.0, 0.49, 0.0, 0.25], atol=1e-9)  # repeated sound


def test_a_blurred_picture_keeps_its_brightness_and_loses_its_spot():
    inputs = an_input()
    soft = blurred(inputs).faces
    assert soft.shape == inputs.faces.shape
    assert abs(float(soft.mean() - inputs.faces.mean())) < 0.01
    assert float(soft[0, 2, :, 24:28, 14:18].mean()) < 0.75 < float(inputs.faces[0, 2, :, 24:28, 14:18].mean())


def test_the_mean_face_leaves_out_frames_without_the_face():
    faces = torch.stack([torch.full((3, 4, 4), v) for v in (0.2, 0.4, 0.9)])[None]
    inputs = Inputs(faces=faces, face_seen=torch.tensor([[True, True, False]]))
    torch.testing.assert_close(mean_of_window(inputs).faces, torch.full_like(faces, 0.3))


def test_a_neutral_moment_stands_in_as_it_is_and_its_gaps_are_blurred():
    inputs, moment = an_input(n=2), an_input(seed=5)._replace(face_seen=torch.tensor([[True, True, True, False]]))
    base = neutral(inputs, moment, 7.25)
    torch.testing.assert_close(base.faces[1, :3], moment.faces[0, :3])
    torch.testing.assert_close(base.faces[:, 3], blurred(inputs).faces[:, 3])
    torch.testing.assert_close(base.spectra[1], spectrum(moment.audio)[0])
    assert "7.2 s" in base.words
