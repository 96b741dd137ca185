"""The layers that the shipped detectors name for Grad-CAM: each gives a map of every modality that it stands for."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from detectors import load, shipped
from detectors.contract import Inputs
from explain.baselines import blurred
from explain.maps import grad_cam
from explain.target import Target


@pytest.mark.parametrize("name", shipped())
def test_a_shipped_detector_s_own_layers_give_a_map(name):
    detector = load(name, "cpu")
    spec, draw = detector.spec, torch.Generator().manual_seed(0)
    faces = torch.rand(1, spec.frames, 3, spec.face_px, spec.face_px, generator=draw)
    lips = torch.rand(1, spec.lips, 3, spec.lips_px, spec.lips_px, generator=draw) if spec.lips else None
    inputs = Inputs(faces, lips, 0.1 * torch.randn(1, spec.samples, generator=draw))
    target = Target(detector, inputs, "whole", blurred(inputs), np.zeros(1), np.full(1, spec.window_s))
    found = grad_cam(target)
    assert "face" in detector.camera_layers
    for part in detector.camera_layers:
        assert np.abs(found.values[part]).sum() == pytest.approx(1, abs=1e-4)
        assert found.values[part].std() > 0
