"""Evidence made for one detector, at a known place: where its maps must point.

A weak detector may not notice a planted artefact (planted.py) at all, and then there is nothing to point at. So the
input is changed by gradient ascent on the logit, inside one region or band and span alone, until the detector is
sure: whatever the logit rises by comes from there. Such patterns are not what forgeries look like. They test the
map, not the detector.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from detectors.contract import Inputs
from explain.baselines import Baseline
from explain.layout import Layout, blocks
from explain.planted import Plant, truth_on
from explain.sound import resynthesised, spectrum
from explain.state import borrowed
from explain.target import Target

RISE = 2.0  # logits that are enough
STEPS = 16
PIXEL_STEP, PIXEL_MOST = 4 / 255, 32 / 255
SOUND_STEP = 0.1  # root mean square of a step, relative to the window's


def plant_evidence(target: Target, what: Plant, baseline: Callable[[Inputs], Baseline]) -> tuple[Target, float]:
    """The target with evidence for manipulation at `what`'s place, and by how much its logit rose (mean over the
    windows). Its replacements are those that `baseline` makes of the changed inputs."""
    layout = blocks(target)
    there = {group: torch.from_numpy(mask).float().to(target.device)
             for group, mask in truth_on(layout, target, what).items()}
    place = Layout({g: layout.groups[g] for g in there}, {g: layout.wires[g] for g in there}).spread(
        list(there.values()))
    names = {"face": "faces", "lips": "lips", "audio": "audio"}
    clean = target.inputs
    now = {names[part]: getattr(clean, names[part]).clone() for part in place}
    best, highest = now, -float("inf")
    with borrowed(target.detector.model):
        first = float(target.recorded().mean())
        for _ in range(STEPS):
            live = {name: t.detach().requires_grad_() for name, t in now.items()}
            logit = target.detector.logits(clean._replace(**live))[target.head].mean()
            if float(logit.detach()) > highest:
                best, highest = now, float(logit.detach())
            if highest - first >= RISE or not logit.requires_grad:
                break
            slopes = torch.autograd.grad(logit, list(live.values()), allow_unused=True)
            now = {name: t if slope is None else _climb(part, getattr(clean, name), t, slope, mask)
                   for (part, mask), (name, t), slope in zip(place.items(), now.items(), slopes)}
    inputs = clean._replace(**best)
    return replace(target, inputs=inputs, baseline=baseline(inputs)), highest - first


def _climb(part: str, clean: Tensor, now: Tensor, slope: Tensor, mask: Tensor) -> Tensor:
    """One step up, inside the mask."""
    if part != "audio":
        moved = now + PIXEL_STEP * slope.sign() * mask[:, :, None]
        return torch.clamp(torch.clamp(moved, clean - PIXEL_MOST, clean + PIXEL_MOST), 0, 1)
    slopes = spectrum(slope)
    even = slopes / slopes.abs().clamp_min(1e-12) * mask  # all bins alike: the sign of a complex number
    step = resynthesised(torch.zeros_like(now), even)
    loudness = clean.square().mean(1, keepdim=True).sqrt()
    return now + SOUND_STEP * loudness * step / step.square().mean(1, keepdim=True).sqrt().clamp_min(1e-12)
