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


@pytest.mark.parametrize("windows", [1, 3])
@pytest.mark.parametrize("name", shipped())
def test_a_shipped_detector_s_own_layers_give_a_map(name, windows):
    """Of several windows, too, whose faces are more than an encoder looks at at once."""
    detector = load(name, "cpu")
    spec, draw = detector.spec, torch.Generator().manual_seed(0)
    faces = torch.rand(windows, spec.frames, 3, spec.face_px, spec.face_px, generator=draw)
    lips = torch.rand(windows, spec.lips, 3, spec.lips_px, spec.lips_px, generator=draw) if spec.lips else None
    inputs = Inputs(faces, lips, 0.1 * torch.randn(windows, spec.samples, generator=draw))
    starts_s = spec.hop_s * np.arange(windows)
    target = Target(detector, inputs, "whole", blurred(inputs), starts_s, starts_s + spec.window_s)
    found = grad_cam(target)
    assert "face" in detector.camera_layers
    for part in detector.camera_layers:
        assert np.abs(found.values[part]).sum() == pytest.approx(1, abs=1e-4)
        assert found.values[part].std() > 0
