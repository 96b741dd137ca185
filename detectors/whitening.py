"""Frozen features, reduced to a few numbers of equal spread: what a small network can read without learning its clips
by heart."""

from __future__ import annotations

import torch
from torch import Tensor, nn

FARTHEST = 8.0  # deviations; what lies farther out is cut off
FLATTEST = 1e-2  # of the first component's spread; directions that vary less are not blown up to the same


class Whiten(nn.Module):
    """(..., D) -> (..., groups · components): standardised, then principal components, each with deviation 1.

    The features are so many groups of equal size, one after another, each with components of its own: what two networks
    tell of one picture stays apart. All of it are figures of the training features, which a checkpoint holds. Without
    components, standardised only. Starts as the identity (or the first so many features of each group).
    """

    def __init__(self, dim: int, components: int = 0, groups: int = 1):
        super().__init__()
        self.groups, self.components = groups, components
        self.out_dim = groups * components or dim
        self.register_buffer("mean", torch.zeros(dim))
        self.register_buffer("scale", torch.ones(dim))
        bases = torch.eye(dim // groups, components).repeat(groups, 1, 1) if components else None
        self.register_buffer("bases", bases)  # groups D/groups components

    @torch.no_grad()
    def fit(self, x: Tensor) -> None:
        """Take the figures of x (n, D). A value that never changes keeps the scale 1.

        The components are found by a randomised decomposition (Halko et al., 2011), which draws from torch's generator.
        Raises: ValueError where x has no more rows than there are components.
        """
        self.mean.copy_(x.mean(0))
        deviation = x.std(0, correction=0)
        self.scale.copy_(torch.where(deviation > 1e-6, deviation, 1.0))
        if self.bases is None:
            return
        if len(x) <= self.components:
            raise ValueError(f"{len(x)} training windows are too few for {self.components} principal components")
        for basis, part in zip(self.bases, self._standard(x).chunk(self.groups, dim=-1)):
            _, strength, directions = torch.svd_lowrank(part, q=min(self.components + 8, *part.shape), niter=6)
            spread = strength[:self.components] / len(x) ** 0.5
            basis.copy_(directions[:, :self.components] / spread.clamp_min(FLATTEST * max(spread[0].item(), 1.0)))

    def forward(self, x: Tensor) -> Tensor:
        standard = self._standard(x)
        if self.bases is None:
            return standard
        return torch.cat([part @ basis for part, basis in zip(standard.chunk(self.groups, dim=-1), self.bases)], dim=-1)

    def _standard(self, x: Tensor) -> Tensor:
        return ((x - self.mean) / self.scale).clamp(-FARTHEST, FARTHEST)
