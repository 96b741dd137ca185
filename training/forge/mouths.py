"""Forged mouths: taken from another moment, or drawn again as lip-sync tools draw them.

Each is a Forgery (footage.py). Lengths among the recorded parameters are shares of the patch's side (patch.py).
"""

from __future__ import annotations

from dataclasses import asdict, replace

import cv2
import numpy as np

from training.forge.footage import Footage, Truth, Unsuitable
from training.forge.masks import BROWS, LEFT_EYE, NOSE, RIGHT_EYE, draw_masks, draw_outline
from training.forge.patch import FacePatch, step_s
from training.forge.render import coarser_than, draw_rendering, matching_colours, shifted_colours
from training.forge.sound import voice_of

LEAST_SHIFT_S = 0.4  # a mouth from a nearer moment would still fit the sound
_SHIFTS_TRIED = 12
_STILL = tuple(dict.fromkeys(NOSE + LEFT_EYE + RIGHT_EYE + BROWS))  # what speaking does not move


def transplant_mouth(footage: Footage, rng: np.random.Generator) -> tuple[Footage, Truth]:
    """The mouth of another moment of the same clip, at least LEAST_SHIFT_S away, from which it plays on.

    Of a few such moments it is the one from which on the head is held most alike. The mouth is brought into place by
    what speaking does not move (nose, eyes, brows). Where a voice speaks, picture and sound no longer belong together:
    then the truth also holds "sync" spans.
    """
    patch = FacePatch.of(footage)
    shortest = int(np.ceil(LEAST_SHIFT_S / step_s(footage)))
    if len(patch.at) < 2 * shortest:
        raise Unsuitable(f"a face is seen in {len(patch.at)} frames; {2 * shortest} are needed to take a mouth from "
                         "another moment")
    shift = _draw_shift(patch, shortest, rng)
    moments = (np.arange(len(patch.at)) + shift) % len(patch.at)
    outline = draw_outline(rng, ("mouth", "mouth", "lower_face"), ("hull", "ellipse"), grow=(0.0, 0.15),
                           feather=(0.03, 0.12))
    rendering = draw_rendering(rng, (110, 500), (0, 0.5), sharpen=(0.0, 0.5), jpeg=0.1)
    colours = ("mean", "deviation")[rng.integers(2)]

    masks = draw_masks(patch.points, patch.side_px, outline)
    crops = np.stack([rendering(_brought(patch.crops[j], patch.points[j], points))
                      for j, points in zip(moments, patch.points)])
    for crop, recolour in zip(crops, matching_colours(crops, patch.crops, masks, colours)):
        crop[:] = cv2.transform(crop, recolour)
    drawn = {"outline": asdict(outline), "rendering": asdict(rendering), "shift_frames": shift, "colours": colours}
    forged, truth = patch.put_back(crops, masks, "transplant_mouth", drawn)
    try:
        voice_of(footage)
    except Unsuitable:  # nobody speaks: there is nothing that the mouth could belong to
        return forged, truth
    return forged, replace(truth, spans=truth.spans + tuple(replace(s, modality="sync") for s in truth.spans))


def rerender_mouth(footage: Footage, rng: np.random.Generator) -> tuple[Footage, Truth]:
    """The mouth that was there, as a lip-sync tool would have drawn it: soft or sharpened, in a feathered box or hull.

    Such tools draw the lower half of the face at 96 px or so, average over what the mouth might look like, bring it
    up, some restore it by a second network, and paste it, always in the same way (Prajwal et al., "A Lip Sync Expert
    Is All You Need", 2020, arXiv 2008.10010). The sound still belongs to it.
    """
    patch = FacePatch.of(footage)
    outline = draw_outline(rng, ("mouth", "lower_face", "jaw"), ("hull", "box", "box", "ellipse"), grow=(-0.05, 0.12),
                           feather=(0.008, 0.12), wobble=0.01)
    rendering = draw_rendering(rng, coarser_than(patch.face_px, 56, 192), (0.0, 1.0), grid=0.02, sharpen=(0.3, 1.2),
                               jpeg=0.2)
    lag = round(rng.uniform(0, 0.5), 3)  # share of the neighbouring frames in a frame
    colours = {"tint": tuple((1 + rng.uniform(-0.03, 0.03, 3)).round(4).tolist()),
               "contrast": round(rng.uniform(0.92, 1.04), 4), "saturation": round(rng.uniform(0.88, 1.06), 4),
               "offset": round(rng.uniform(-5, 5), 2)}
    recolour = shifted_colours(**colours)
    last = len(patch.crops) - 1
    crops = []
    for i, crop in enumerate(patch.crops):
        around = cv2.addWeighted(patch.crops[max(i - 1, 0)], 0.5, patch.crops[min(i + 1, last)], 0.5, 0)
        crops.append(cv2.transform(rendering(cv2.addWeighted(crop, 1 - lag, around, lag, 0)), recolour))
    drawn = {"outline": asdict(outline), "rendering": asdict(rendering), "lag": lag, "colours": colours}
    return patch.put_back(np.stack(crops), draw_masks(patch.points, patch.side_px, outline), "rerender_mouth", drawn)


def _draw_shift(patch: FacePatch, shortest: int, rng: np.random.Generator) -> int:
    """Frames; of the drawn shifts the one between whose moments the head turns least, large turns counting most."""
    shifts = rng.integers(shortest, len(patch.at) - shortest + 1, _SHIFTS_TRIED)
    still = patch.points[:, list(_STILL)]
    return int(min(shifts, key=lambda shift: float(((np.roll(still, -shift, axis=0) - still) ** 2).mean())))


def _brought(crop: np.ndarray, points: np.ndarray, aim: np.ndarray) -> np.ndarray:
    """crop [s, s, 3] moved by the affine map that fits the still part of its landmarks [468, 2] to that of aim."""
    still = list(_STILL)
    matrix = np.linalg.lstsq(np.column_stack([points[still], np.ones(len(still))]).astype(np.float64),
                             aim[still].astype(np.float64), rcond=None)[0].T  # [2, 3]
    return cv2.warpAffine(crop, matrix, crop.shape[1::-1], flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
