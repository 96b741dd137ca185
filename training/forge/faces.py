"""Forged faces: blended onto themselves, swapped for another person's, passed through a bottleneck, blended unsteadily.

Each is a Forgery (footage.py) that changes the picture only. Its parameters are drawn once for the clip and recorded;
lengths among them are shares of the patch's side (patch.py), in which the eyes are 0.19 apart.
"""

from __future__ import annotations

from dataclasses import asdict

import cv2
import numpy as np
from scipy.interpolate import RBFInterpolator
from scipy.signal import lfilter

from training.forge.footage import Footage, Forgery, Truth, Unsuitable
from training.forge.masks import BROWS, INNER_LIPS, LEFT_EYE, LIPS, NOSE, OVAL, RIGHT_EYE, draw_masks, draw_outline
from training.forge.patch import FacePatch
from training.forge.render import (
    coarser_than,
    draw_rendering,
    fitting_fields,
    matching_colours,
    shifted_colours,
    to_pixels,
)

_HANDLES = tuple(dict.fromkeys(OVAL[::2] + BROWS[::2] + LEFT_EYE[::2] + RIGHT_EYE[::2] + NOSE + LIPS))
_EXPRESSION = LIPS + INNER_LIPS + LEFT_EYE + RIGHT_EYE + NOSE + OVAL
_WARP_NODES = 33  # the warp is smooth: it is solved at so many places a side
_STIFFNESS = 1e-4  # of the warp: the landmarks' tremor must not fold it
_EIGENFACE_PX = 112
_SWITCH_COST = 0.012  # a donor's moment must fit better by this mean distance before another one is turned to
_FARTHEST = 0.016  # mean distance of landmarks over a clip, beyond which another's pose is too different to be warped
_SWITCH_FRAMES = 8  # moments that are this far apart cost all of it


def self_blend(footage: Footage, rng: np.random.Generator) -> tuple[Footage, Truth]:
    """A slightly moved, recoloured and redrawn copy of the face on the face itself.

    After Shiohara and Yamasaki, "Detecting Deepfakes with Self-Blended Images", 2022, arXiv 2204.08376; there each
    image for itself, here with one draw for the clip, so that nothing but the blending gives it away.
    """
    patch = FacePatch.of(footage)
    outline = draw_outline(rng, ("face", "inner_face", "eyes_nose", "lower_face"), ("hull", "hull", "ellipse"),
                           opacities=(0.5, 0.75, 1.0, 1.0))
    rendering = draw_rendering(rng, (60, 360), (0, 0.9), sharpen=(0.2, 1.0), jpeg=0.25)
    move = _draw_move(rng, shift=0.012, angle_deg=2.5, scale=0.035)
    colours = _draw_colours(rng, 1.0)
    recolour = shifted_colours(**colours)
    crops = np.stack([cv2.transform(rendering(_moved(c, **move)), recolour) for c in patch.crops])
    drawn = {"outline": asdict(outline), "rendering": asdict(rendering), "move": move, "colours": colours}
    return patch.put_back(crops, draw_masks(patch.points, patch.side_px, outline), "self_blend", drawn)


def swap_identity(donor: Footage, identity: str = "") -> Forgery:
    """The face of another person on this one, frame by frame, as tools do that warp, recolour and blend.

    Of the donor's moments those are taken whose expression fits, with few changes between them; each is warped to the
    landmarks of the frame (thin-plate spline), softened as by a generator, given the frame's colours and blended in,
    with a feathered edge or Poisson's way. Truth.identities names the donor: identity, or else its clip_id.
    Raises, when called, Unsuitable also where the donor looks another way: about every second pair of clips.
    """

    def forge(footage: Footage, rng: np.random.Generator) -> tuple[Footage, Truth]:
        patch = FacePatch.of(footage)
        other = FacePatch.of(donor, patch.side_px)
        moments, apart = _fitting_moments(patch.points, other.points, patch.side_px)
        if apart > _FARTHEST:
            raise Unsuitable(f"the faces of {footage.clip_id} and {donor.clip_id} look different ways")
        outline = draw_outline(rng, ("face", "inner_face"), grow=(-0.1, 0.0), feather=(0.02, 0.09), wobble=0.02)
        rendering = draw_rendering(rng, (64, 256), (0, 0.8), grid=0.02, sharpen=(0.2, 0.8), jpeg=0.15)
        fidelity = round(rng.uniform(0.75, 1.0), 3)  # 1: the donor takes on this face's shape wholly
        colours = ("mean", "deviation", "covariance")[rng.integers(3)]
        # Where the mask touches the background, Poisson's way would spread that over the face.
        blending = "feather" if outline.region == "face" else ("feather", "poisson")[rng.integers(2)]

        masks = draw_masks(patch.points, patch.side_px, outline)
        aims = fidelity * patch.points + (1 - fidelity) * other.points[moments]
        sources = np.stack([rendering(_warped(other.crops[j], other.points[j], aim))
                            for j, aim in zip(moments, aims)])
        for source, recolour in zip(sources, matching_colours(sources, patch.crops, masks, colours)):
            source[:] = cv2.transform(source, recolour)
        if blending == "poisson":
            for source, field in zip(sources, fitting_fields(sources, patch.crops, masks)):
                source[:] = to_pixels(source + cv2.resize(field, source.shape[:2], interpolation=cv2.INTER_LINEAR))
        drawn = {"outline": asdict(outline), "rendering": asdict(rendering), "fidelity": fidelity,
                 "colours": colours, "blending": blending, "donor": donor.clip_id}
        return patch.put_back(sources, masks, "swap_identity", drawn, (identity or donor.clip_id,))

    return forge


def resynthesise(footage: Footage, rng: np.random.Generator) -> tuple[Footage, Truth]:
    """The same face as a network with a bottleneck gives it back: soft, with its grid, with fewer expressions.

    Half of the time the bottleneck is also one of expression: frames are combinations of a few eigenfaces of the clip,
    as a linear autoencoder of that width would reconstruct them.
    """
    patch = FacePatch.of(footage)
    outline = draw_outline(rng, ("face", "inner_face"), ("hull", "hull", "ellipse"), feather=(0.01, 0.12))
    rendering = draw_rendering(rng, coarser_than(patch.face_px, 64, 160), (0.0, 0.7), grid=0.04, sharpen=(0.3, 1.2),
                               jpeg=0.3)
    components = int(rng.integers(6, 25)) if rng.random() < 0.5 else 0
    colours = _draw_colours(rng, 0.4)
    recolour = shifted_colours(**colours)
    masks = draw_masks(patch.points, patch.side_px, outline)
    crops = patch.crops
    if components:
        crops = _few_components(crops, masks.mean(axis=0), components)
    crops = np.stack([cv2.transform(rendering(c), recolour) for c in crops])
    drawn = {"outline": asdict(outline), "rendering": asdict(rendering), "components": components, "colours": colours}
    return patch.put_back(crops, masks, "resynthesise", drawn)


def jitter(footage: Footage, rng: np.random.Generator) -> tuple[Footage, Truth]:
    """A self-blended face whose mask, place and colour tremble from frame to frame, as with tools that forget."""
    patch = FacePatch.of(footage)
    outline = draw_outline(rng, ("face", "inner_face", "lower_face"), opacities=(0.75, 1.0))
    rendering = draw_rendering(rng, (90, 400), (0, 0.6), sharpen=(0.2, 0.8))
    memory = round(rng.uniform(0, 0.7), 3)  # correlation of one frame's tremor with the next one's
    move = _draw_move(rng, shift=0.006, angle_deg=1.0, scale=0.02)
    colours = _draw_colours(rng, 0.6)
    tremor = {"shift": round(rng.uniform(0.001, 0.006), 4), "angle_deg": round(rng.uniform(0.1, 0.8), 3),
              "grow": round(rng.uniform(0.01, 0.06), 4), "offset": round(rng.uniform(0.5, 4.0), 2),
              "tint": round(rng.uniform(0.002, 0.015), 4)}

    def series(amplitude: float, width: int) -> np.ndarray:
        """[m, width]: noise of that standard deviation, correlated from frame to frame."""
        white = rng.normal(0, amplitude * np.sqrt(1 - memory**2), (len(patch.at), width))
        return lfilter([1.0], [1.0, -memory], white, axis=0)

    shifts, angles, grows, offsets, tints = (series(tremor[k], w) for k, w in
                                             (("shift", 2), ("angle_deg", 1), ("grow", 1), ("offset", 1), ("tint", 3)))
    centre = patch.points.mean(axis=1, keepdims=True)
    masks = draw_masks(centre + (patch.points - centre) * (1 + grows[:, None]), patch.side_px, outline)
    crops = []
    for crop, shift, angle, offset, tint in zip(patch.crops, shifts, angles, offsets, tints):
        there = {**move, "shift": tuple(np.add(move["shift"], shift)), "angle_deg": move["angle_deg"] + angle.item()}
        recolour = shifted_colours(**{**colours, "tint": np.add(colours["tint"], tint),
                                      "offset": colours["offset"] + offset.item()})
        crops.append(cv2.transform(rendering(_moved(crop, **there)), recolour))
    drawn = {"outline": asdict(outline), "rendering": asdict(rendering), "move": move, "colours": colours,
             "memory": memory, "tremor": tremor}
    return patch.put_back(np.stack(crops), masks, "jitter", drawn)


def _draw_move(rng: np.random.Generator, shift: float, angle_deg: float, scale: float) -> dict:
    return {"shift": tuple(rng.uniform(-shift, shift, 2).round(5).tolist()),
            "angle_deg": round(rng.uniform(-angle_deg, angle_deg), 3),
            "scale": round(1 + rng.uniform(-scale, scale), 4)}


def _draw_colours(rng: np.random.Generator, strength: float) -> dict:
    """Arguments of shifted_colours, at strength 1 as far off as a careless tool leaves them."""
    return {"tint": tuple((1 + strength * rng.uniform(-0.06, 0.06, 3)).round(4).tolist()),
            "contrast": round(1 + strength * rng.uniform(-0.12, 0.12), 4),
            "saturation": round(1 + strength * rng.uniform(-0.25, 0.2), 4),
            "offset": round(strength * rng.uniform(-9, 9), 2)}


def _moved(crop: np.ndarray, shift: tuple[float, float], angle_deg: float, scale: float) -> np.ndarray:
    side_px = crop.shape[0]
    turn = cv2.getRotationMatrix2D(((side_px - 1) / 2, (side_px - 1) / 2), angle_deg, scale)
    turn[:, 2] += np.multiply(shift, side_px)
    return cv2.warpAffine(crop, turn, (side_px, side_px), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT)


def _fitting_moments(points: np.ndarray, candidates: np.ndarray, side_px: int) -> tuple[np.ndarray, float]:
    """[m] index of the candidate [k, 468, 2] for each of points [m, 468, 2], and how far they are apart, as a share.

    Near in shape, with few jumps: the cheapest path through the candidates over time (Viterbi), where a moment costs
    the mean distance of its landmarks along x and y, as a share of the side, and every jump a little more.
    """
    here, there = (p[:, list(_EXPRESSION)].reshape(len(p), -1) / side_px for p in (points, candidates))
    apart = np.stack([np.abs(there - h).mean(axis=1) for h in here])  # [m, k]
    order = np.arange(len(candidates))
    jump = _SWITCH_COST * np.clip((np.abs(order[:, None] - order) - 1) / _SWITCH_FRAMES, 0, 1)  # [from, to]
    cost, back = apart[0], []
    for distance in apart[1:]:
        total = cost[:, None] + jump
        back.append(total.argmin(axis=0))
        cost = total.min(axis=0) + distance
    path = [int(cost.argmin())]
    for step in reversed(back):
        path.append(int(step[path[-1]]))
    moments = np.array(path[::-1])
    return moments, float(apart[np.arange(len(points)), moments].mean())


def _warped(crop: np.ndarray, points: np.ndarray, aim: np.ndarray) -> np.ndarray:
    """crop [s, s, 3] with its landmarks [468, 2] moved to aim, by a thin-plate spline between."""
    side_px = crop.shape[0]
    handles = list(_HANDLES)
    spline = RBFInterpolator(aim[handles] / side_px, points[handles] / side_px, kernel="thin_plate_spline",
                             smoothing=_STIFFNESS)
    nodes = (np.arange(_WARP_NODES) + 0.5) / _WARP_NODES - 0.5 / side_px
    grid = np.stack(np.meshgrid(nodes, nodes), axis=-1).reshape(-1, 2)
    coarse = (spline(grid) * side_px).reshape(_WARP_NODES, _WARP_NODES, 2).astype(np.float32)
    return cv2.remap(crop, cv2.resize(coarse, (side_px, side_px), interpolation=cv2.INTER_CUBIC), None,
                     cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)


def _few_components(crops: np.ndarray, weight: np.ndarray, components: int) -> np.ndarray:
    """crops [m, s, s, 3] at _EIGENFACE_PX as combinations of so many principal components, brought back to s.

    The components are those of the clip under weight [s, s].
    """
    side_px = crops.shape[1]
    px = min(_EIGENFACE_PX, side_px)
    small = np.stack([cv2.resize(c, (px, px), interpolation=cv2.INTER_AREA) for c in crops]).astype(np.float32)
    mean = small.mean(axis=0)
    apart = (small - mean).reshape(len(crops), -1)
    weights = np.repeat(cv2.resize(weight, (px, px), interpolation=cv2.INTER_AREA).ravel(), 3)
    vectors = np.linalg.eigh((apart * weights) @ (apart * weights).T)[1][:, -components:]  # [m, components], strongest
    few = mean + (vectors @ (vectors.T @ apart)).reshape(small.shape)  # each frame from all
    return np.stack([cv2.resize(to_pixels(f), (side_px, side_px), interpolation=cv2.INTER_CUBIC) for f in few])
