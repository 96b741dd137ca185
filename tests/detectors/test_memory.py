"""Memory: weights by hand, and a rise that a planted block of memory makes."""

from __future__ import annotations

import time

import numpy as np
import pytest
import torch
from torch import nn

from detectors.memory import Memory, MemoryWatch, weights_mb


def test_weights_are_parameters_and_buffers_in_their_own_width():
    model = nn.Sequential(nn.Linear(1000, 100), nn.BatchNorm1d(100))
    # 100,100 and 200 floats of 4 bytes; two buffers of 100 floats, and a counter of 8 bytes
    assert weights_mb(model) == pytest.approx((4 * (100_100 + 200 + 200) + 8) / 1e6)
    assert weights_mb(model.half()) == pytest.approx((2 * (100_100 + 200 + 200) + 8) / 1e6)


def test_a_block_that_is_taken_and_given_back_shows_as_a_rise():
    with MemoryWatch(nn.Linear(2, 2)) as watch:
        block = np.ones(100_000_000, np.uint8)
        time.sleep(0.1)  # several samples
        del block
    assert 80 < watch.memory.rise_mb < 400 and watch.memory.of == "process"
    with MemoryWatch(None) as idle:
        pass
    assert idle.memory.weights_mb is None and 0 <= idle.memory.rise_mb < 80


def test_a_fault_inside_ends_the_watch_too():
    watch = MemoryWatch(None)
    with pytest.raises(KeyError), watch:
        raise KeyError
    assert watch.memory is not None and not watch._sampler.is_alive()


def test_json_is_rounded():
    assert Memory(None, 1.26, "card").to_json() == {"weights_mb": None, "rise_mb": 1.3, "of": "card"}
    assert Memory(28.74, 0.0, "process").to_json()["weights_mb"] == 28.7


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA card")
def test_on_a_card_the_rise_is_the_peak_of_tensors():
    with MemoryWatch(nn.Linear(2, 2).cuda()) as watch:
        block = torch.ones(25_000_000, device="cuda")
        del block
    assert watch.memory.of == "card" and watch.memory.rise_mb == pytest.approx(100, rel=0.05)
