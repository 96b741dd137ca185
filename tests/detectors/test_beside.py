"""What stands beside the papers' features: summaries of the inner face and of a sound that trembles, and heads that
start from them."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from detectors import joint_av, ss_avd
from detectors.beside import Beside, start_head
from detectors.encoders import REGIONS, FaceEncoder


def test_textures_of_the_inner_face_alone_are_summarised():
    beside = Beside(4)
    regions = torch.rand(2, 3, FaceEncoder.rows, FaceEncoder.dim)
    told = beside.summaries(regions, None)
    assert told.keys() == {"faces"} and told["faces"].shape == (2, 4 * 144)
    elsewhere = regions.clone()
    elsewhere[:, :, REGIONS.index("border")] += 1.0  # hair and room
    elsewhere[:, :, :, :48] += 1.0  # pixels: the maps before stage 2
    torch.testing.assert_close(beside.summaries(elsewhere, None)["faces"], told["faces"])
    elsewhere[:, 0, REGIONS.index("mouth")] += 3.0  # one face of three
    torch.testing.assert_close(beside.summaries(elsewhere, None)["faces"][:, 2 * 144:3 * 144],
                               told["faces"][:, 2 * 144:3 * 144] + 1.0)


def test_whitening_is_fitted_to_the_summaries_that_there_are():
    beside = Beside(4).eval()
    faces = 3 + 2 * torch.randn(50, 4 * 144)
    beside.fit({"faces": faces})
    told = beside({"faces": faces})["faces"]
    torch.testing.assert_close(told.mean(0), torch.zeros(4), atol=1e-3, rtol=0)
    assert beside.whiten_sound.mean.abs().sum() == 0


@pytest.mark.parametrize("fake", [0, 1])
def test_a_head_starts_as_it_is_told(fake):
    head = nn.Linear(5, 2)
    start_head(head, [1, 4], torch.tensor([2.0, -1.0]), fake)
    x = torch.tensor([[9.0, 3.0, 9.0, 9.0, 5.0]])
    logits = head(x)[0]
    assert (logits[fake] - logits[1 - fake]).item() == pytest.approx(2 * 3 - 5)


@pytest.mark.parametrize("build", [
    lambda: ss_avd.SSAVD(ss_avd.replace(ss_avd.SHIPPED, beside=3)),
    lambda: joint_av.JointAV(joint_av.replace(joint_av.SHIPPED, beside=3, pair=None)),
], ids=["ss_avd", "joint_av"])
def test_heads_of_the_networks_start_from_what_stands_beside(build):
    """Face first where a head reads both; what the networks' own features say has no part in it yet."""
    torch.manual_seed(0)
    network = build().eval()
    faces, audio = (torch.rand(2, *x.shape[1:]) for x in (ss_avd if isinstance(network, ss_avd.SSAVD) else joint_av)
                    .example(network.cfg)[:2])
    with torch.no_grad():
        told = network.beside(network.summaries(network.look(faces), audio))
    sides = {"video": told["faces"], "audio": told["sound"], "whole": torch.cat([told["faces"], told["sound"]], dim=1)}
    for name, x in sides.items():
        weights = torch.arange(1.0, x.shape[1] + 1)
        network.start_head(name, weights)
        with torch.no_grad():
            torch.testing.assert_close(getattr(network(faces, audio), name), x @ weights, rtol=1e-3, atol=1e-3)
