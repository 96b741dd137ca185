"""Losses worked out by hand on tiny pictures and sounds."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from training.forge.learnt.objectives import (
    FeatureDifference,
    MelDifference,
    critic_loss,
    dissimilarity,
    edge_difference,
    persuasion_loss,
    spectral_difference,
    weighted_mean,
)


def test_structure_is_0_for_the_same_and_near_1_for_the_opposite():
    picture = torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    assert dissimilarity(picture, picture).abs().max() < 1e-5
    assert dissimilarity(picture, 1 - picture).mean() > 0.8
    flat = torch.full_like(picture, 0.5)  # two flat greys: (1 - (2ab + c1) / (a^2 + b^2 + c1)) / 2
    assert dissimilarity(flat, flat / 2).mean() == pytest.approx((1 - 0.2501 / 0.3126) / 2, abs=1e-4)


def test_edges_pay_for_blur_and_not_for_brightness():
    stripes = (torch.arange(8) % 2).float().expand(1, 1, 8, 8)
    assert edge_difference(stripes + 0.3, stripes) == pytest.approx(0, abs=1e-6)
    assert edge_difference(torch.zeros_like(stripes), stripes) == pytest.approx(0.5)  # across 1, down 0


def test_a_weighted_mean_counts_what_it_is_told_to():
    values = torch.tensor([[1.0, 2.0], [3.0, 4.0]])[None, None]
    weights = torch.tensor([[0.0, 1.0], [0.0, 3.0]])[None, None]
    assert weighted_mean(values, weights) == pytest.approx(3.5)
    assert weighted_mean(values.expand(2, 3, 2, 2), weights) == pytest.approx(3.5)


def test_features_are_the_same_for_the_same_picture_and_stay_frozen():
    features = FeatureDifference().train()
    picture = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    assert features(picture, picture) == 0 and features(picture.flip(3), picture) > 0.1
    assert not features.training and not any(p.requires_grad for p in features.parameters())


def test_half_as_loud_is_half_away_in_convergence_and_a_log_2_in_magnitude():
    sound = torch.randn(1, 4096, generator=torch.Generator().manual_seed(0)) * 0.1
    assert spectral_difference(sound, sound) == pytest.approx(0, abs=1e-6)
    assert spectral_difference(sound / 2, sound) == pytest.approx(0.5 + 0.6931, abs=2e-3)
    assert MelDifference()(sound / 2, sound) == pytest.approx(0.6931, abs=2e-3)


class _Mean(nn.Module):
    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        return [x.mean(dim=1), 2 * x.mean(dim=1)]


def test_the_hinge_stops_where_the_critic_is_sure():
    made, true = torch.full((1, 4), -0.5), torch.full((1, 4), 2.0)
    # first verdicts: -0.5 and 2 -> 0.5 + 0; second: -1 and 4 -> 0 + 0
    assert critic_loss(_Mean(), made, true) == pytest.approx(0.25)
    assert persuasion_loss(_Mean(), made) == pytest.approx(0.75)


def test_a_critic_s_own_loss_does_not_reach_the_generator():
    made = torch.zeros(1, 4, requires_grad=True)
    assert not critic_loss(_Mean(), made, torch.ones(1, 4)).requires_grad
    assert persuasion_loss(_Mean(), made).requires_grad
