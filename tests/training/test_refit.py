"""What is fitted again is fitted to what it should be: norms to the mean of the stream, heads to what separates."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from detectors.checkpoint import read_checkpoint, save_checkpoint
from tests.training.tiny_lesson import TinySSAVD
from training import refit as refitting
from training.lessons import LESSONS
from training.refit import fit_head, refit, settle_norms
from training.sampling import read_samples


class OneNorm(nn.Module):
    """A network that is one batch norm, over the channels of both inputs' first axis after the batch."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(1)

    def forward(self, video, audio):
        return self.norm(audio)


def test_norm_statistics_become_the_plain_average_over_batches():
    batches = [{"video": None, "audio": torch.tensor([[0.0], [2.0]])},
               {"video": None, "audio": torch.tensor([[10.0], [14.0]])}]
    net = OneNorm()
    net.norm.running_mean.fill_(99.0)  # what a long run left behind
    settle_norms(net, batches.__getitem__, 2)
    assert net.norm.running_mean.item() == pytest.approx((1 + 12) / 2)
    assert net.norm.running_var.item() == pytest.approx((2 + 8) / 2)  # unbiased variances of the two batches
    assert not net.training


def rows(n: int, rng: np.random.Generator, direction: np.ndarray, sources: int = 5) -> list:
    fake = rng.integers(0, 2, n).astype(float)
    feature = rng.normal(size=(n, len(direction))) * [1.0, 50.0] + np.outer(2 * fake - 1, direction)
    return list(zip(feature, fake, [f"s{i % sources}" for i in range(n)]))


def test_a_head_finds_the_direction_that_tells_real_from_fake_whatever_its_scale():
    rng = np.random.default_rng(0)
    weights, measured = fit_head(rows(400, rng, np.array([2.0, 0.0])), rows(200, rng, np.array([2.0, 0.0])))
    assert measured > 0.97 and weights[0] > 0 and abs(weights[0]) > 50 * abs(weights[1])


def test_a_large_source_does_not_outvote_the_small_ones():
    """900 clips of one site are told by the second axis; 50 of 25 other sites by the first one only."""
    rng = np.random.default_rng(1)
    crowd = [(np.array([rng.normal(), 3 * sign + rng.normal()]), (1 + sign) / 2, "big")
             for sign in np.tile([-1, 1], 450)]
    others = [(np.array([3 * sign + rng.normal(), rng.normal()]), (1 + sign) / 2, f"s{i}")
              for i in range(25) for sign in (-1, 1)]
    by_source, _ = fit_head(crowd + others, others)
    one_source = [(feature, fake, "the only one") for feature, fake, _ in crowd + others]
    by_clip, _ = fit_head(one_source, others)
    assert by_source[0] / by_source[1] > 1.5 * by_clip[0] / by_clip[1]


@pytest.mark.timeout(240)
def test_a_run_is_fitted_again_on_the_fold_that_it_held_out(recipe, four_kinds, tmp_path, monkeypatch):
    """The first half of the samples is one source, the other half another one."""
    monkeypatch.setattr(refitting, "NORM_BATCHES", 1)
    monkeypatch.setattr(refitting, "extract_all", lambda samples, jobs, **how: refitting.extract(samples, **how))
    monkeypatch.setitem(LESSONS, "ss_avd", TinySSAVD)
    samples, values = read_samples(four_kinds), recipe(presence={"picture": 0.0, "sound": 0.0, "both": 1.0})
    lesson = TinySSAVD(values, samples)
    card = {**lesson.card(), "recipe": values.model_dump(), "fold": 0}
    save_checkpoint(tmp_path / "best.safetensors", lesson.weights(lesson.model), card)
    report = refit(tmp_path, samples, [], jobs=1)
    assert report.keys() == {"video", "audio", "whole"}
    before, (after, card) = (read_checkpoint(tmp_path / f"{name}.safetensors") for name in ("settled", "refit"))
    assert card["refit"] == report
    for head, told in report.items():
        changed = not torch.equal(before[0][f"head_{head}.weight"], after[f"head_{head}.weight"])
        assert changed == (told["after"] > told["before"])
    assert not torch.equal(after["stages.0.norm_video.running_mean"],
                           lesson.model.state_dict()["stages.0.norm_video.running_mean"])


def test_of_a_run_that_learnt_from_everything_the_norms_alone_are_settled(recipe, four_kinds, tmp_path, monkeypatch):
    monkeypatch.setattr(refitting, "NORM_BATCHES", 1)
    monkeypatch.setitem(LESSONS, "ss_avd", TinySSAVD)
    samples, values = read_samples(four_kinds), recipe(presence={"picture": 0.0, "sound": 0.0, "both": 1.0})
    lesson = TinySSAVD(values, samples)
    card = {**lesson.card(), "recipe": values.model_dump(), "fold": None}
    save_checkpoint(tmp_path / "best.safetensors", lesson.weights(lesson.model), card)
    assert refit(tmp_path, samples, [], jobs=1) == {}
    state, _ = read_checkpoint(tmp_path / "refit.safetensors")
    for head in ("video", "audio", "whole"):
        assert torch.equal(state[f"head_{head}.weight"], lesson.model.state_dict()[f"head_{head}.weight"])
