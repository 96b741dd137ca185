"""What takes the place of a part of a clip that is taken away. Removing pixels can itself look fake, so nothing is
ever blacked out or silenced, and every explanation says which replacement it used.

blur     a face and a mouth without detail: a Gaussian as wide as an eye. Sound: each frequency at its median level
         over the window, the phase kept.
mean     the window's mean face and mean mouth: nothing moves. Sound as in blur.
neutral  picture and sound of another moment of the same clip, which the detector finds least suspicious: the same
         person, camera and codec.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torchvision.transforms.functional import gaussian_blur

from detectors.contract import Inputs
from explain.sound import median_spectrum, spectrum

REPLACEMENTS = ("blur", "mean", "neutral")
BLUR_SPAN = 1 / 12  # standard deviation of the blur as a share of a face crop's side
LIPS_BLUR_SPAN = 2 * BLUR_SPAN  # a lip crop shows half of the face's width


@dataclass(frozen=True)
class Baseline:
    """The replacement for n windows, in the shapes of their Inputs; None where the modality is missing."""

    name: str  # one of REPLACEMENTS
    words: str  # "Removed parts are replaced by ...", for people
    faces: Tensor | None  # [n, frames, 3, px, px]
    lips: Tensor | None  # [n, lips, 3, px, px]
    spectra: Tensor | None  # complex [n, T, BINS]


def blurred(inputs: Inputs) -> Baseline:
    return Baseline("blur", "Removed parts are replaced by a blurred picture and by the median level of the sound.",
                    _blur(inputs.faces, BLUR_SPAN), _blur(inputs.lips, LIPS_BLUR_SPAN), _median(inputs.audio))


def mean_of_window(inputs: Inputs) -> Baseline:
    return Baseline("mean", "Removed parts are replaced by the mean picture and the median level of the sound.",
                    _mean(inputs.faces, inputs.face_seen), _mean(inputs.lips, inputs.lips_seen),
                    _median(inputs.audio))


def neutral(inputs: Inputs, moment: Inputs, moment_s: float) -> Baseline:
    """moment: one window of the same clip, with the same modalities, that begins at moment_s. Frames that it lacks
    are blurred ones of the explained window."""
    soft = blurred(inputs)
    return Baseline(
        "neutral", f"Removed parts are replaced by the same clip's unsuspicious moment from {moment_s:.1f} s on.",
        _swapped(soft.faces, moment.faces, moment.face_seen), _swapped(soft.lips, moment.lips, moment.lips_seen),
        None if inputs.audio is None else spectrum(moment.audio).expand(len(inputs.audio), -1, -1),
    )


def _blur(pictures: Tensor | None, span: float) -> Tensor | None:
    if pictures is None:
        return None
    sigma_px = span * pictures.shape[-1]
    reach_px = min(int(3 * sigma_px), pictures.shape[-1] // 2 - 1)  # the padding by reflection allows no more
    flat = gaussian_blur(pictures.flatten(0, 1), 2 * max(reach_px, 1) + 1, sigma_px)
    return flat.view_as(pictures)


def _mean(pictures: Tensor | None, seen: Tensor | None) -> Tensor | None:
    if pictures is None:
        return None
    weight = torch.ones(pictures.shape[:2], device=pictures.device) if seen is None else seen.float()
    weight = weight / weight.sum(dim=1, keepdim=True).clamp_min(1)  # [n, frames]
    return torch.einsum("nt,ntchw->nchw", weight, pictures)[:, None].expand_as(pictures)


def _median(waveform: Tensor | None) -> Tensor | None:
    return None if waveform is None else median_spectrum(spectrum(waveform))


def _swapped(soft: Tensor | None, pictures: Tensor | None, seen: Tensor | None) -> Tensor | None:
    if soft is None or seen is None:
        return None if soft is None else pictures.expand_as(soft)
    return torch.where(seen[:, :, None, None, None], pictures, soft)
