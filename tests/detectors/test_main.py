"""python -m detectors: size and cost of any module that keeps the interface."""

from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from detectors.__main__ import count_parameters, gflops_per_window, main, measure_size


@dataclass(frozen=True)
class Config:
    width: int
    steps: int = 4


def module() -> SimpleNamespace:
    """A linear layer of 3 x width over so many steps, as detectors/*.py would offer it."""
    return SimpleNamespace(PAPER=Config(1000), SHIPPED=Config(10, steps=2),
                           build=lambda card: nn.Linear(3, card["architecture"]["width"]),
                           example=lambda config: (torch.zeros(1, config.steps, 3),))


def test_size_and_cost_by_hand():
    """Weights 3 · width and as many biases as width; 2 operations a weight and step."""
    assert count_parameters(module(), Config(10)) == 40
    assert gflops_per_window(module(), Config(10, steps=7)) == pytest.approx(2 * 3 * 10 * 7 / 1e9)


def test_both_configurations_are_told():
    assert measure_size(module()) == {"paper_parameters": 4000, "shipped_parameters": 40,
                                      "paper_gflops_per_window": 0.0, "gflops_per_window": 0.0}


def test_nothing_is_computed():
    """A network of 4 TB would not fit anywhere: it exists by shape alone."""
    assert gflops_per_window(module(), Config(10**12, steps=1)) == pytest.approx(2 * 3 * 1000)


def test_bad_usage_exits_with_2(capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["--jason"])
    assert stopped.value.code == 2 and "usage" in capsys.readouterr().err
