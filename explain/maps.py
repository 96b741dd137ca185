"""Where and when: Captum's attributions of the logit, on the grid of blocks or of readable cells (layout.py).

Every method sees the same function, from the presence of cells to a logit, so that maps can be compared and tested
alike. Positive values speak for manipulation.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from captum.attr import FeatureAblation, IntegratedGradients, LayerGradCam, NoiseTunnel, Saliency
from torch import Tensor

from explain.layout import Layout, blocks, cells
from explain.state import borrowed
from explain.target import Target

ROWS, GRADIENT_ROWS = 8, 2  # windows per forward pass, alone or with the way back: bounds the memory
IG_STEPS = 16  # Gauss-Legendre nodes
SMOOTH_SAMPLES, SMOOTH_NOISE = 12, 0.15  # noise on presence, which is 1 where the clip is as recorded


Cells = tuple[Tensor, ...] | None  # presence per group [n, steps, places] to start from; None: all there


class NoMap(Exception):
    """This method cannot answer for this detector; the message says why."""


@dataclass(frozen=True)
class Map:
    method: str
    layout: Layout
    values: dict[str, np.ndarray]  # group -> [n, steps, places]
    in_logits: bool = True  # values of all groups share the logit's unit; False: they compare within a group only
    delta: float | None = None  # |sum of the values - (logit - logit with all replaced)|, mean over the windows

    def to_json(self) -> dict:
        return {
            "method": self.method, "in_logits": self.in_logits,
            "convergence_delta": None if self.delta is None else round(self.delta, 4),
            "groups": {
                name: {"steps_s": np.round(group.steps_s, 3).tolist(), "places": list(group.places),
                       "values": np.round(self.values[name], 5).tolist()}
                for name, group in self.layout.groups.items()
            },
        }


def ablate(target: Target, there: Cells = None) -> Map:
    """The readable map: what the logit loses when one cell is replaced, cell by cell (Captum's FeatureAblation).

    Cells may add up to more or less than the whole, where parts of the evidence stand in for each other.
    """
    layout = cells(target)
    values = _attribute(target, layout, there, lambda ask, there: FeatureAblation(ask).attribute(
        there, additional_forward_args=(target.rows,), perturbations_per_eval=_per_eval(target)))
    return Map("ablation", layout, values)


def integrate_gradients(target: Target, there: Cells = None, steps: int = IG_STEPS) -> Map:
    """The fine map: integrated gradients (Sundararajan et al. 2017) from all replaced to all as recorded, over
    pictures and spectrogram at once. The values add up to the difference of the two logits but for `delta`."""
    layout = blocks(target)
    deltas = []

    def integrate(ask, there):
        values, delta = IntegratedGradients(ask).attribute(
            there, additional_forward_args=(target.rows,), n_steps=steps,
            internal_batch_size=max(GRADIENT_ROWS, len(target)), return_convergence_delta=True)
        deltas.append(float(delta.abs().mean()))
        return values

    values = _attribute(target, layout, there, integrate)
    return Map("integrated_gradients", layout, values, delta=deltas[0])


def smooth_gradients(target: Target, there: Cells = None, samples: int = SMOOTH_SAMPLES) -> Map:
    """SmoothGrad (Smilkov et al. 2017): the gradient at the recording, averaged over small changes of presence."""
    layout = blocks(target)
    values = _attribute(target, layout, there, lambda ask, there: NoiseTunnel(Saliency(ask)).attribute(
        there, nt_type="smoothgrad", nt_samples=samples, nt_samples_batch_size=_per_eval(target, GRADIENT_ROWS),
        stdevs=SMOOTH_NOISE, additional_forward_args=(target.rows,), abs=False))
    return Map("smooth_grad", layout, values, in_logits=False)


def grad_cam(target: Target, there: Cells = None) -> Map:
    """Grad-CAM (Selvaraju et al. 2017), signed, in the layer that the detector names for a modality.

    detector.camera_layers: {"face" | "lips" | "audio": module} with maps (n, C, H, W), (n·T, C, H, W) with the frames
    folded into the batch, or (n, C, T, H, W) for pictures; (n, C, T) or (n, C, frequency, T) for sound. Each
    modality's map is scaled to a sum of absolute values of 1. Modalities without a named layer have no map.
    Raises: NoMap where the detector names no layer for anything that the clip has.
    """
    named = {part: layer for part, layer in getattr(target.detector, "camera_layers", {}).items()
             if part in target.parts}
    if not named:
        raise NoMap("This detector has no convolution whose map could be shown.")
    layout = blocks(target)
    unread_is_zero = {"allow_unused": True, "materialize_grads": True}  # a head need not read every named layer
    fields = {}
    for part, group in layout.groups.items():
        if part not in named:
            fields[part] = np.zeros((len(target), *group.shape))
            continue
        camera = _attribute(target, layout, there, lambda ask, there, layer=named[part]: LayerGradCam(
            ask, layer).attribute(tuple(t.requires_grad_() for t in there), grad_kwargs=unread_is_zero,
                                  additional_forward_args=(target.rows,)), by_group=False)
        field = _fit(camera, part, layout, len(target))
        fields[part] = (field / field.abs().sum().clamp_min(1e-12)).cpu().numpy()
    return Map("grad_cam", layout, fields, in_logits=False)


METHODS: dict[str, Callable[..., Map]] = {
    "ablation": ablate,
    "integrated_gradients": integrate_gradients,
    "grad_cam": grad_cam,
    "smooth_grad": smooth_gradients,
}


def on_blocks(found: Map, target: Target) -> Map:
    """The same map on the grid of blocks: a cell's value lies evenly over its pixels and bins."""
    fine = blocks(target)
    if set(found.values) == set(fine.groups):
        return found
    device = target.device
    ones = {part: torch.ones(1, len(w.when), *w.where.shape, device=device) for part, w in found.layout.wires.items()}
    areas = found.layout.gather(ones)
    density = [torch.from_numpy(found.values[name]).float().to(device) / areas[name].clamp_min(1)
               for name in found.layout.groups]
    sums = fine.gather(found.layout.spread(density, uncovered=0.0))
    return Map(found.method, fine, {part: v.cpu().numpy() for part, v in sums.items()}, found.in_logits, found.delta)


def _attribute(target: Target, layout: Layout, there: Cells, method: Callable, by_group: bool = True):
    """Runs a Captum method on the layout's function. Arrays per group, or the method's own tensor."""
    with borrowed(target.detector.model):
        found = method(layout.function(target), layout.ones(target) if there is None else there)
    if not by_group:
        return found.detach()
    return {name: values.detach().cpu().numpy() for name, values in zip(layout.groups, found)}


def _per_eval(target: Target, rows: int = ROWS) -> int:
    return max(rows // len(target), 1)


def _fit(camera: Tensor, part: str, layout: Layout, n: int) -> Tensor:
    """A layer's map, as grad_cam describes, resized to the part's blocks. -> [n, steps, places]."""
    steps, places = layout.groups[part].shape
    if part == "audio":
        plane = camera if camera.ndim == 4 else camera[:, :, None]  # n 1 frequency T
        bands = F.interpolate(plane.float(), (places, steps), mode="bilinear")
        return bands[:, 0].transpose(1, 2)
    side = round(places ** 0.5)
    if camera.ndim == 4:
        camera = camera.unflatten(0, (n, -1)).transpose(1, 2)  # n 1 T H W
    volume = F.interpolate(camera.float(), (steps, side, side), mode="trilinear")
    return volume[:, 0].flatten(2)
