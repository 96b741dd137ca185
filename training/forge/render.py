"""What face generators and compositors do to pixels: lose detail, leave a grid, sharpen, recolour, fit in."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from scipy.ndimage import gaussian_filter1d
from scipy.sparse import csc_matrix, diags
from scipy.sparse.linalg import splu

from training.forge.patch import FACE_SHARE

KERNELS = {"linear": cv2.INTER_LINEAR, "cubic": cv2.INTER_CUBIC, "lanczos": cv2.INTER_LANCZOS4}
COLOUR_FRAMES = 6.0  # colour maps are steadied over so many frames, as tools do against flicker
_STATISTICS_PX = 48  # colours are measured on crops of this size
_MEMBRANE_PX = 40  # the fitting field is smooth: it is solved on this grid


@dataclass(frozen=True)
class Rendering:
    """A generator's texture. Pixels are its own: those of a face that is face_px high."""

    face_px: int = 512  # the generator's resolution; detail beyond it is lost
    up: str = "cubic"  # kernel by which its output is brought to the clip's size, one of KERNELS
    blur_px: float = 0.0  # standard deviation; up to 0.2 there is none
    grid: float = 0.0  # amplitude, as a share, of the checkerboard that transposed convolutions leave
    jpeg: int = 0  # quality at which its output was stored between tools; 0: not
    sharpen: float = 0.0  # share of unsharp masking after it was brought up, as restoration nets do

    def __call__(self, crop: np.ndarray) -> np.ndarray:
        """Patch [s, s, 3] uint8 -> [s, s, 3] uint8 as this generator would have drawn it."""
        side_px = crop.shape[0]
        own_px = min(max(round(self.face_px / FACE_SHARE), 8), side_px)  # a finer generator loses nothing
        image = crop
        if own_px < side_px:
            image = cv2.resize(image, (own_px, own_px), interpolation=cv2.INTER_AREA)
        if self.blur_px > 0.2:
            image = cv2.GaussianBlur(image, (0, 0), self.blur_px)
        if self.grid:
            odd = np.indices((own_px, own_px)).sum(axis=0) % 2
            image = to_pixels(image * (1 + self.grid * (2 * odd - 1)).astype(np.float32)[..., None])
        if self.jpeg:
            coded = cv2.imencode(".jpg", image, (cv2.IMWRITE_JPEG_QUALITY, self.jpeg))[1]
            image = cv2.imdecode(coded, cv2.IMREAD_COLOR)
        if own_px < side_px:
            image = cv2.resize(image, (side_px, side_px), interpolation=KERNELS[self.up])
        if self.sharpen:
            soft = cv2.GaussianBlur(image, (0, 0), 0.006 * side_px + 0.5)
            image = cv2.addWeighted(image, 1 + self.sharpen, soft, -self.sharpen, 0)
        return image


def draw_rendering(rng: np.random.Generator, face_px: tuple[float, float], blur_px: tuple[float, float] = (0.0, 0.0),
                   grid: float = 0.0, sharpen: tuple[float, float] = (0.0, 0.0), jpeg: float = 0.0) -> Rendering:
    """A rendering drawn evenly from ranges (face_px in its logarithm).

    grid: the largest amplitude, used half of the time; sharpen: used half of the time; jpeg: probability.
    """
    return Rendering(
        round(float(np.exp(rng.uniform(*np.log(face_px))))), tuple(KERNELS)[rng.integers(len(KERNELS))],
        round(rng.uniform(*blur_px), 3),
        round(rng.uniform(0, grid), 4) if grid and rng.random() < 0.5 else 0.0,
        int(rng.integers(40, 90)) if rng.random() < jpeg else 0,
        round(rng.uniform(*sharpen), 3) if rng.random() < 0.5 else 0.0,
    )


def coarser_than(clip_face_px: float, low_px: float, high_px: float) -> tuple[float, float]:
    """The range of a generator's resolutions, brought down where the clip's own face has less, so that some is lost."""
    return min(low_px, 0.5 * clip_face_px), min(high_px, 0.85 * clip_face_px)


def shifted_colours(tint: tuple[float, ...], contrast: float, saturation: float, offset: float) -> np.ndarray:
    """[3, 4] affine map of RGB: gain per channel, contrast about mid-grey, saturation about luma, brightness."""
    luma = np.array([0.299, 0.587, 0.114])
    mix = saturation * np.eye(3) + (1 - saturation) * luma[None]
    matrix = contrast * np.diag(tint) @ mix
    return np.column_stack([matrix, np.full(3, 128 * (1 - contrast) + offset)])


def matching_colours(sources: np.ndarray, targets: np.ndarray, masks: np.ndarray, kind: str,
                     frames: float = COLOUR_FRAMES) -> np.ndarray:
    """[m, 3, 4]: affine maps of RGB that give each source [s, s, 3] the colours of its target under the mask [s, s].

    kind "mean" moves the mean; "deviation" also scales each channel (Reinhard et al. 2001, in RGB); "covariance" is the
    linear optimal transport between the two clouds of colours (Pitié and Kokaram 2007). The maps are steadied over
    time by a Gaussian of `frames`.
    """
    maps = np.stack([_matching(*(_small(x) for x in (source, target, mask)), kind)
                     for source, target, mask in zip(sources, targets, masks)])
    return gaussian_filter1d(maps, frames, axis=0, mode="nearest") if frames else maps


def _small(image: np.ndarray) -> np.ndarray:
    px = min(_STATISTICS_PX, image.shape[0])
    return cv2.resize(image.astype(np.float32), (px, px), interpolation=cv2.INTER_AREA)


def _matching(source: np.ndarray, target: np.ndarray, mask: np.ndarray, kind: str) -> np.ndarray:
    weight = (mask / max(float(mask.sum()), 1e-6)).ravel().astype(np.float64)
    (mean_s, cov_s), (mean_t, cov_t) = (_cloud(x.reshape(-1, 3).astype(np.float64), weight) for x in (source, target))
    if kind == "mean":
        matrix = np.eye(3)
    elif kind == "deviation":
        matrix = np.diag(np.clip(np.sqrt(np.diag(cov_t) / np.diag(cov_s)), 0.5, 2.0))
    else:
        root, back = _power(cov_s, 0.5), _power(cov_s, -0.5)
        matrix = back @ _power(root @ cov_t @ root, 0.5) @ back
    return np.column_stack([matrix, mean_t - matrix @ mean_s])


def _cloud(colours: np.ndarray, weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    mean = weight @ colours
    apart = colours - mean
    return mean, apart.T @ (apart * weight[:, None]) + 4.0 * np.eye(3)  # flat colours must not be blown up


def _power(matrix: np.ndarray, exponent: float) -> np.ndarray:
    values, vectors = np.linalg.eigh(matrix)
    return (vectors * np.maximum(values, 1e-6) ** exponent) @ vectors.T


def fitting_fields(sources: np.ndarray, targets: np.ndarray, masks: np.ndarray) -> np.ndarray:
    """[m, k, k, 3] float32, coarse: what must be added to the sources [m, s, s, 3] to meet the targets at the border.

    Added to them it gives Poisson blending (Pérez et al. 2003), whose result is the source plus the membrane that
    spans the difference to the target along the border; a membrane is smooth enough to be solved on a coarse grid. One
    border serves all frames, as patches are aligned: where the mean of the masks is half of their highest value.
    """
    px = _MEMBRANE_PX
    inside = cv2.resize(masks.mean(axis=0), (px, px), interpolation=cv2.INTER_AREA) > 0.5 * masks.max()
    inside[[0, -1]] = inside[:, [0, -1]] = False
    gap = np.stack([cv2.resize(t.astype(np.float32) - s, (px, px), interpolation=cv2.INTER_AREA)
                    for s, t in zip(sources, targets)])  # [m, px, px, 3]
    if inside.any():
        gap[:, inside] = _membrane(gap, inside)
    return gap


def to_pixels(image: np.ndarray) -> np.ndarray:
    """float -> uint8, rounded."""
    return np.clip(image, 0, 255).round().astype(np.uint8)


def _membrane(gap: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """Laplace's equation inside [px, px], with the values of gap [m, px, px, 3] around -> [m, cells inside, 3]."""
    cells = np.flatnonzero(inside)
    number = np.full(inside.size, -1)
    number[cells] = np.arange(len(cells))
    neighbours = cells[:, None] + np.array([-1, 1, -inside.shape[1], inside.shape[1]])  # [cells, 4]
    row, column = np.repeat(np.arange(len(cells)), 4), number[neighbours].ravel()
    within = column >= 0
    links = csc_matrix((np.ones(within.sum()), (row[within], column[within])), (len(cells), len(cells)))
    flat = gap.reshape(len(gap), -1, 3)
    around = (flat[:, neighbours] * (number[neighbours] < 0)[None, :, :, None]).sum(axis=2)  # [m, cells, 3]
    right = around.transpose(1, 0, 2).reshape(len(cells), -1).astype(np.float64)
    field = splu(csc_matrix(diags(np.full(len(cells), 4.0)) - links)).solve(right)
    return field.reshape(len(cells), len(gap), 3).transpose(1, 0, 2)
