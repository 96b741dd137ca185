"""Frozen features, reduced to a few numbers of equal spread: what a small network can read without learning its clips
by heart."""

from __future__ import annotations

import torch
from torch import Tensor, nn

FARTHEST = 8.0  # deviations; what lies farther out is cut off
FLATTEST = 1e-2  # of the first component's spread; directions that vary less are not blown up to the same


class Whiten(nn.Module):
    """(..., D) -> (..., components): standardised, then principal components, each with deviation 1.

    All of it are figures of the training features, which a checkpoint holds. Without components, standardised only.
    Starts as the identity (or the first so many features).
    """

    def __init__(self, dim: int, components: int = 0):
        super().__init__()
        self.components, self.out_dim = components, components or dim
        self.register_buffer("mean", torch.zeros(dim))
        self.register_buffer("scale", torch.ones(dim))
        self.register_buffer("basis", torch.eye(dim, components) if components else None)

    @torch.no_grad()
    def fit(self, x: Tensor) -> None:
        """Take the figures of x (n, D). A value that never changes keeps the scale 1.

        The components are found by a randomised decomposition (Halko et al., 2011), which draws from torch's generator.
        Raises: ValueError where x has no more rows than there are components.
        """
        self.mean.copy_(x.mean(0))
        deviation = x.std(0, correction=0)
        self.scale.copy_(torch.where(deviation > 1e-6, deviation, 1.0))
        if self.basis is None:
            return
        if len(x) <= self.components:
            raise ValueError(f"{len(x)} training windows are too few for {self.components} principal components")
        standard = self._standard(x)
        _, strength, directions = torch.svd_lowrank(standard, q=min(self.components + 8, *standard.shape), niter=6)
        spread = strength[:self.components] / len(x) ** 0.5
        self.basis.copy_(directions[:, :self.components] / spread.clamp_min(FLATTEST * max(spread[0].item(), 1.0)))

    def forward(self, x: Tensor) -> Tensor:
        standard = self._standard(x)
        return standard if self.basis is None else standard @ self.basis

    def _standard(self, x: Tensor) -> Tensor:
        return ((x - self.mean) / self.scale).clamp(-FARTHEST, FARTHEST)
