"""Whitening against numbers worked out by hand."""

from __future__ import annotations

import pytest
import torch

from detectors.whitening import Whiten


def test_without_components_features_are_standardised():
    whiten, x = Whiten(2), torch.tensor([[1.0, 5.0], [3.0, 5.0]])
    whiten.fit(x)
    torch.testing.assert_close(whiten(x), torch.tensor([[-1.0, 0.0], [1.0, 0.0]]))
    assert set(whiten.state_dict()) == {"mean", "scale"}


def test_what_lies_far_out_is_cut_off():
    whiten = Whiten(1)
    whiten.fit(torch.tensor([[-1.0], [1.0]]))
    assert whiten(torch.tensor([[1000.0], [-9.0], [3.0]]))[:, 0].tolist() == [8.0, -8.0, 3.0]


def test_the_first_component_is_where_the_features_spread():
    # Standardised, these are 0, 1.414, -1.414 and 0 in both columns: all of the spread lies along the diagonal.
    whiten = Whiten(2, 1)
    whiten.fit(torch.tensor([[7.0, 10.0], [9.0, 30.0], [5.0, -10.0], [7.0, 10.0]]))
    along, centre, across = whiten(torch.tensor([[9.0, 30.0], [7.0, 10.0], [8.0, 0.0]]))[:, 0].tolist()
    assert (abs(along), centre, across) == pytest.approx((2 ** 0.5, 0.0, 0.0), abs=1e-4)


def test_components_have_equal_spread_and_none_of_another():
    torch.manual_seed(0)
    x = torch.randn(400, 12) @ torch.randn(12, 12) * 3 + 5
    whiten = Whiten(12, 4)
    whiten.fit(x)
    torch.testing.assert_close(torch.cov(whiten(x).T, correction=0), torch.eye(4), atol=0.05, rtol=0)


def test_directions_that_do_not_vary_stay_small():
    torch.manual_seed(0)
    whiten = Whiten(6, 3)
    whiten.fit(torch.randn(50, 1) @ torch.randn(1, 6) + 1e-5 * torch.randn(50, 6))
    assert whiten(torch.randn(50, 1) @ torch.ones(1, 6) * 1e-3).abs().max() < 5


def test_features_that_never_change_tell_nothing():
    whiten = Whiten(5, 2)
    whiten.fit(torch.full((20, 5), 3.0))
    assert torch.equal(whiten(torch.full((1, 5), 3.0)), torch.zeros(1, 2))
    assert whiten.basis.isfinite().all()


def test_too_few_rows_are_refused():
    with pytest.raises(ValueError, match="too few"):
        Whiten(4, 3).fit(torch.randn(3, 4))
