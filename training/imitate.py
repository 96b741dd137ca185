"""A teacher for the picture's maps: EfficientNet-Lite0, which has seen ImageNet, watched while a detector trains.

A thousand clips hold a thousand bits of "real or fake", too little to learn from pixels what an edge, an eye or a
blurred mouth is. So the maps of the young network also have to tell, through one linear map per stage, what a frozen
Lite0 sees at the same place (FitNets, Romero et al., ICLR 2015, arXiv 1412.6550). Teacher and linear maps are left
behind after training.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from training.pretrained import load_lite0

# Lite0's blocks after which its maps are 1/8, 1/16 and 1/32 of the picture, as after stages 1, 2 and 3 of SS-AVD.
TEACHER_BLOCKS = (2, 4, 6)
TEACHER_WIDTHS = (40, 112, 320)


class Imitation(nn.Module):
    """How much of the teacher's maps a linear map cannot tell from the student's. 1: all of it; 0: none."""

    def __init__(self, widths: tuple[int, ...]) -> None:
        """widths: channels of the student's maps at 1/8, 1/16 and 1/32 of the picture."""
        super().__init__()
        self.teacher = load_lite0()
        self.adapters = nn.ModuleList(nn.Conv2d(w, t, 1) for w, t in zip(widths, TEACHER_WIDTHS, strict=True))
        self.norms = nn.ModuleList(nn.BatchNorm2d(t, affine=False) for t in TEACHER_WIDTHS)

    def forward(self, faces: Tensor, maps: tuple[Tensor, ...]) -> Tensor:
        """faces (N, 3, H, W) RGB in [0, 1]; maps: the student's of the same N faces (N, C, H/8, W/8), ... -> scalar.

        Mean over stages of two unexplained shares of variance: at each place, and of the means over the picture,
        which are what a global pool reads.
        """
        losses = []
        for target, student, adapter, norm in zip(self._targets(faces), maps, self.adapters, self.norms):
            target = norm(target)  # each channel counts alike
            told = adapter(student)
            pooled = target.mean((2, 3))
            losses.append(F.mse_loss(told, target))
            losses.append(F.mse_loss(told.mean((2, 3)), pooled) / pooled.var(0).mean().clamp_min(1e-3))
        return torch.stack(losses).mean()

    def train(self, mode: bool = True) -> Imitation:
        super().train(mode)
        self.teacher.eval()
        return self

    @torch.no_grad()
    def _targets(self, faces: Tensor) -> list[Tensor]:
        x = self.teacher.bn1(self.teacher.conv_stem(2 * faces - 1))
        found = []
        for index, block in enumerate(self.teacher.blocks):
            x = block(x)
            if index in TEACHER_BLOCKS:
                found.append(x)
        return found
