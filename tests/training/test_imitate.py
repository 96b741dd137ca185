"""The teacher is the published network, and the loss is the share of it that a linear map cannot tell."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from torch import nn

from training.imitate import TEACHER_WIDTHS, Imitation, load_lite0


@pytest.fixture(scope="module")
def imitation():
    torch.manual_seed(0)
    return Imitation(TEACHER_WIDTHS)


def test_the_teacher_has_seen_imagenet():
    """Weights under wrong names would give nonsense: no other net takes a drawn dial for a clock."""
    dial = np.full((224, 224, 3), 240, np.uint8)
    cv2.circle(dial, (112, 112), 95, (20, 20, 20), 6)
    for angle in np.arange(12) * np.pi / 6:
        outward = np.array([np.sin(angle), -np.cos(angle)])
        cv2.line(dial, *((112 + radius * outward).astype(int).tolist() for radius in (80, 90)), (0, 0, 0), 4)
    for hand in ((112, 50), (155, 130)):
        cv2.line(dial, (112, 112), hand, (0, 0, 0), 5)
    picture = torch.from_numpy(dial).permute(2, 0, 1)[None].float() / 255
    with torch.inference_mode():
        probability = load_lite0()(2 * picture - 1).softmax(1)[0]
    assert int(probability.argmax()) == 409 and probability.max() > 0.5  # "analog clock"


def test_maps_that_are_the_teachers_own_leave_nothing_untold(imitation):
    faces = torch.rand(4, 3, 64, 64)
    targets = imitation._targets(faces)
    assert [tuple(t.shape) for t in targets] == [(4, 40, 8, 8), (4, 112, 4, 4), (4, 320, 2, 2)]
    for adapter, target in zip(imitation.adapters, targets):
        with torch.no_grad():
            mean, std = target.mean((0, 2, 3)), (target.var((0, 2, 3), correction=0) + 1e-5).sqrt()
            adapter.weight.copy_(torch.diag(1 / std)[:, :, None, None])
            adapter.bias.copy_(-mean / std)
    assert imitation.train()(faces, targets) < 1e-6


def test_a_student_that_tells_nothing_misses_everything(imitation):
    for adapter in imitation.adapters:
        nn.init.zeros_(adapter.weight)
        nn.init.zeros_(adapter.bias)
    faces = torch.rand(8, 3, 64, 64)
    nothing = [torch.zeros(8, w, s, s) for w, s in zip(TEACHER_WIDTHS, (8, 4, 2))]
    loss = imitation.train()(faces, nothing)
    assert loss.item() == pytest.approx(1.0, abs=0.08)  # the means' variance is the unbiased one: 7/8 over


def test_only_the_linear_maps_learn(imitation):
    learning = [name for name, p in imitation.named_parameters() if p.requires_grad]
    assert learning and all(name.startswith("adapters.") for name in learning)
    assert not imitation.train().teacher.training
