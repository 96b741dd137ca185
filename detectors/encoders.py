"""Two frozen encoders that small data sets build on: what a face and a voice look like to networks that saw far more.

    faces (n, 3, 160, 160) ─ EfficientNet-Lite0 ─ maps at 5 depths ─ mean over 5 regions of the crop ─► (n, 5, 192)

    waveform (n, samples) ─ spectrogram, magnitudes to the power .3 ─ 6 convolutions ─ 6 layers ─► (n, 50 a second, 200)

FaceEncoder is EfficientNet-Lite0 as timm builds it, trained on ImageNet, up to its fourth stage: the later ones tell a
clock from a dog, and of faces they tell whose they are and which site they come from; what tells a forged mouth is in
the maps before (training.search, docs/experiments.md). A mean over the whole crop would drown the mouth in the cheeks;
the crops are aligned, so fixed regions do.

SpeechEncoder is DistillMOS (Stahl and Gamper, "Distillation and Pruning for Scalable Self-Supervised
Representation-Based Speech Quality Assessment", arXiv 2502.05356) up to its sixth of seven transformer layers. It was
trained to hear how natural speech sounds. The last layer and the pooling that gives the score are left out.

Both are frozen: no parameter asks for a gradient, and train() leaves them in evaluation mode. Gradients still reach
their input, for explanations. Their weights are part of every checkpoint that uses them, in half precision (to_half),
and lie beside the shipped ones once (detectors.checkpoint); load_state_dict takes them strictly and computes in single
precision.

While a clip is analysed, what they told of a face or of a piece of sound is remembered (detectors.recall), so that
windows that overlap and detectors that read the same encoder share the work.

COST, a multiplication and an addition being two operations: 0.16 GFLOP a face, 14.9 GFLOP per 3.84 s of sound, of
which the convolutions are 13.9.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from functools import cached_property
from itertools import pairwise

import timm
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from detectors.recall import Encoder, recall, recall_around
from media import AUDIO_HZ
from media.crops import TEMPLATE

REGIONS = ("eyes", "nose", "mouth", "skin", "border")
INNER = REGIONS[:4]  # the border shows no forged face, but the site's own
WIDTHS = (32, 16, 24, 40, 80, 112, 192, 320)  # of Lite0's maps: the stem's and those of its seven stages
STAGES = 4  # that are run; later ones know things, not textures
RUN_DEPTHS, TEXTURES = (0, STAGES + 1), (2, STAGES + 1)  # first and last + 1 of WIDTHS that are read
STEP_S = 0.32  # detectors that read both encoders take one face and 16 rows of speech per step
FACE_PX = 160
AT_ONCE = 16  # faces: more take more memory and hardly less time
PIECE_S = 3.84  # sound that the speech encoder hears at once
PIECES_AT_ONCE = 2  # as AT_ONCE
ROW_SAMPLES = 320  # 20 ms, a row of what it tells
_EDGE = 0.12  # softness of a region's edge, as a share of its half axes
_QUIET = 1e-7  # magnitudes below are rounding; the power of .3 would make their gradient boundless


class _Frozen(Encoder):
    """A network that nobody trains: call freeze() once it is built."""

    def freeze(self) -> None:
        self.requires_grad_(False)
        self.eval()

    def train(self, mode: bool = True) -> _Frozen:
        return super().train(False)


def to_half(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The state for a checkpoint: floating numbers in half precision, counters as they are.

    Raises: ValueError when a number does not fit into half precision.
    """
    # Plus nothing, as an average of weights does it: -0 becomes 0, and the same encoder the same file.
    half = {name: value.half() + 0 if value.is_floating_point() else value for name, value in state.items()}
    for name, value in half.items():
        if not torch.isfinite(value).all():
            raise ValueError(f"{name} holds a number that half precision cannot")
    return half


# ------------------------------------------------------------------------------------------- faces


def region_shares(side: int) -> Tensor:
    """(len(REGIONS), side, side) in [0, 1]: how far each place of an aligned crop belongs to each region; sums to 1.

    Ellipses with soft edges around media.crops.TEMPLATE's eyes, nose and mouth. Skin is the rest of the face's oval;
    border is what lies outside of it: jaw line, hair, ears, background.
    """
    left_eye, right_eye, nose, left_lip, right_lip = TEMPLATE
    face = _ellipse(side, (0.5, 0.53), (0.36, 0.46))
    eyes = torch.maximum(*(_ellipse(side, (x, y - 0.02), (0.14, 0.10)) for x, y in (left_eye, right_eye)))
    ridge = (nose + (left_eye + right_eye) / 2) / 2  # halfway down from between the eyes to the tip
    inner = torch.stack([
        eyes,
        _ellipse(side, (ridge[0], ridge[1] + 0.04), (0.10, 0.14)),
        _ellipse(side, (left_lip + right_lip) / 2, (0.20, 0.11)),
    ])
    inner = inner / inner.sum(0).clamp_min(1)
    rest = (1 - inner.sum(0)).clamp_min(0)
    return torch.cat([face * inner, (face * rest)[None], (1 - face)[None]])


def _ellipse(side: int, centre: Sequence[float], half_axes: tuple[float, float]) -> Tensor:
    """(side, side): 1 inside, 0 outside, 0.5 on the edge. Centre and half axes (x, y) in shares of the crop."""
    middles = (torch.arange(side) + 0.5) / side
    x = (middles[None] - float(centre[0])) / half_axes[0]
    y = (middles[:, None] - float(centre[1])) / half_axes[1]
    return torch.sigmoid((1 - torch.hypot(x, y)) / _EDGE * 2)


class FaceEncoder(_Frozen):
    """EfficientNet-Lite0's maps after the stem and each stage, averaged over the regions of an aligned crop."""

    FOLLOWS = (*_Frozen.FOLLOWS, "_folded")
    rows, dim = len(REGIONS), sum(WIDTHS[:STAGES + 1])

    def __init__(self, face_px: int = FACE_PX, stages: int = STAGES) -> None:
        """face_px: side of the crops. The weights are random until load_state_dict; they fit any side."""
        super().__init__()
        lite0 = timm.create_model("tf_efficientnet_lite0")
        self.conv_stem, self.bn1, self.blocks = lite0.conv_stem, lite0.bn1, lite0.blocks[:stages]
        self.face_px, self.dim = face_px, sum(WIDTHS[:stages + 1])
        shares = region_shares(face_px)
        for side in {math.ceil(face_px / stride) for stride in (2, 4, 8, 16, 32)}:
            weights = F.adaptive_avg_pool2d(shares, side).flatten(1)  # R side²
            self.register_buffer(f"weights_{side}", weights / weights.sum(1, keepdim=True), persistent=False)
        self.freeze()

    @property
    def camera_layer(self) -> nn.Module:
        """For Grad-CAM: the last stage, maps of 10 by 10 for faces of 160 px."""
        return self.blocks[-1]

    def forward(self, faces: Tensor) -> Tensor:
        """faces (n, 3, face_px, face_px) RGB in [0, 1] -> (n, rows, dim).

        Raises: ValueError for faces of another size.
        """
        if faces.shape[1:] != (3, self.face_px, self.face_px):
            raise ValueError(f"faces must be (n, 3, {self.face_px}, {self.face_px}), not {tuple(faces.shape)}")
        # With gradients all maps are kept anyhow, and Grad-CAM reads those of a single pass.
        at_once = max(len(faces), 1) if torch.is_grad_enabled() else AT_ONCE
        return recall(self, faces, lambda new: torch.cat([self._look(some) for some in new.split(at_once)]))

    def _look(self, faces: Tensor) -> Tensor:
        """As forward."""
        return self.over_regions(self.maps(faces))

    def maps(self, faces: Tensor) -> list[Tensor]:
        """faces as forward has them -> the maps of the stem and of each stage, (n, C, side, side): sides of a half, a
        half, a quarter, an eighth and a sixteenth of face_px, rounded up."""
        pixels = (2 * faces - 1).contiguous(memory_format=torch.channels_last)  # a third faster on a CPU
        as_loaded = nn.Sequential(self.conv_stem, self.bn1), self.blocks
        stem, stages = as_loaded if torch.is_grad_enabled() else self._folded
        told = [stem(pixels)]
        for stage in stages:
            told.append(stage(told[-1]))
        return told

    @cached_property
    def _folded(self) -> tuple[nn.Sequential, nn.Sequential]:
        """Stem and stages, each norm folded into the convolution before it: the same in four fifths of the time.
        Gradients and Grad-CAM go through the layers as they are."""
        with torch.inference_mode(False):
            stem, stages = copy.deepcopy((nn.Sequential(self.conv_stem, self.bn1), self.blocks))
            for part in (stem, *stages.modules()):
                for (conv_name, conv), (norm_name, norm) in pairwise(list(part.named_children())):
                    if isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                        setattr(part, conv_name, fuse_conv_bn_eval(conv, norm))
                        setattr(part, norm_name, norm.act)
            return stem, stages

    def over_regions(self, maps: Sequence[Tensor]) -> Tensor:
        """What `maps` gave -> its means by region (n, rows, dim)."""
        return torch.cat([self.get_buffer(f"weights_{x.shape[-1]}") @ x.permute(0, 2, 3, 1).flatten(1, 2)
                          for x in maps], dim=2)  # channels are last in memory: nothing is copied


def part_of(told: Tensor, regions: Sequence[str] = REGIONS, depths: tuple[int, int] = RUN_DEPTHS) -> Tensor:
    """Some regions and maps of what FaceEncoder tells, (..., rows, dim) -> (..., values). Works on arrays, too.

    depths: the first and the last + 1 of WIDTHS.
    """
    first, last = (sum(WIDTHS[:depth]) for depth in depths)
    some = told[..., [REGIONS.index(name) for name in regions], first:last]
    return some.reshape(*some.shape[:-2], some.shape[-2] * some.shape[-1])


# ------------------------------------------------------------------------------------------- speech


class _Layer(nn.Module):
    """A transformer layer with its norms after the sums (Vaswani et al. 2017): attention, then two linear maps."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.attend, self.merge = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)
        self.widen, self.narrow = nn.Linear(dim, 2 * dim), nn.Linear(2 * dim, dim)
        self.norm1, self.norm2 = nn.LayerNorm(dim), nn.LayerNorm(dim)

    def forward(self, x: Tensor) -> Tensor:
        """(n, T, dim) -> (n, T, dim)"""
        query, key, value = self.attend(x).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)  # each n heads T d
        seen = F.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2)
        x = self.norm1(x + self.merge(seen))
        return self.norm2(x + self.narrow(self.widen(x).relu()))


class SpeechEncoder(_Frozen):
    """DistillMOS' convolutions and first six transformer layers.

    Every row depends on all that is heard with it, and on its place in there. On four clips of 7.68 s, hearing a half
    by itself moved its rows by 0.4 to 0.8 of their standard deviation; followed by as much silence, as DistillMOS pads
    short sound, by 0.8 to 1.1. So sound is heard in pieces of one length, in training as in use, and what a window is
    padded with is not heard at all.
    """

    dim = 200
    hz = AUDIO_HZ // ROW_SAMPLES

    def __init__(self, piece_s: float = PIECE_S) -> None:
        """piece_s: sound heard at once, at most 7.68 s, as in training of DistillMOS; a multiple of 20 ms.

        The weights are random until load_state_dict; they fit any piece_s.
        """
        super().__init__()
        widths = (2, 64, 64, 128, 256, 256, 256)
        strides = ((1, 1), (2, 1), (2, 1), (2, 1), (2, 1), (2, 2))  # of frequency and time
        self.convs = nn.ModuleList(nn.Conv2d(before, after, 3, stride, padding=(0, 1))
                                   for before, after, stride in zip(widths, widths[1:], strides))
        self.project = nn.Linear(256 * 4, self.dim)  # 161 frequencies have become 4
        self.layers = nn.ModuleList(_Layer(self.dim, heads=8) for _ in range(6))
        self.piece_s = piece_s
        self.register_buffer("window", torch.hann_window(320), persistent=False)
        positions = _positions(384, self.dim)[:round(piece_s * self.hz)]
        self.register_buffer("positions", positions, persistent=False)
        self.freeze()

    def forward(self, waveform: Tensor, lengths: Tensor | None = None) -> Tensor:
        """waveform (n, samples) at 16 kHz, of any level -> (n, T, 200), a row per 20 ms: T = rows_of(samples).

        lengths [n] int: samples that are sound, where the rest is padding; rows of the padding are zero. None: all.
        Sound is heard in pieces of piece_s, each brought to a peak of 1 by itself. The last one ends with the sound,
        so it begins inside the one before, whose rows stand. Sound shorter than a piece is heard alone.
        """
        if lengths is None:
            return self._hear_all(waveform)
        told = waveform.new_zeros(len(waveform), rows_of(waveform.shape[1]), self.dim)
        for length in lengths.unique().tolist():
            same = lengths == length
            told[same, :rows_of(length)] = self._hear_all(waveform[same, :length])
        return told

    def _hear_all(self, waveform: Tensor) -> Tensor:
        """(n, samples) -> (n, T, dim), piece by piece"""
        rows, most = rows_of(waveform.shape[1]), len(self.positions)
        told = [waveform.new_zeros(len(waveform), 0, self.dim)]
        for first in range(0, rows, most):
            begin = max(min(first, rows - most), 0)
            piece = waveform[:, begin * ROW_SAMPLES:][:, :most * ROW_SAMPLES]
            told.append(recall(self, piece, self._hear)[:, first - begin:])
        return torch.cat(told, dim=1)

    def _hear(self, piece: Tensor) -> Tensor:
        """(n, samples), a piece at most -> (n, T, dim)"""
        piece = piece / (piece.abs().amax(1, keepdim=True) + 1e-8)
        x = recall_around(self, self._spectrogram(piece), self._convolve, stride=2, reach=len(self.convs))
        x = self.project(x.transpose(1, 2))  # n T dim
        x = x + self.positions[:x.shape[1]]
        for layer in self.layers:
            x = layer(x)
        return x

    def _convolve(self, spectrogram: Tensor) -> Tensor:
        """(n, 2, 161, 2·T) -> (n, 256·4, T). The last of the six alone halves time, so six frames either way count."""
        told = []
        for x in spectrogram.split(PIECES_AT_ONCE):
            for conv in self.convs:
                x = F.leaky_relu(conv(x), 0.1)
            told.append(x.flatten(1, 2))
        return torch.cat(told)

    def _spectrogram(self, piece: Tensor) -> Tensor:
        """(n, samples) -> (n, 2, 161, T): real and imaginary parts, their magnitude raised to the power of 0.3."""
        piece = F.pad(piece[:, None], (80, 80), mode="reflect")[:, 0]
        spectrum = torch.stft(piece, 320, 160, window=self.window, center=False, return_complex=True)
        parts = torch.view_as_real(spectrum).permute(0, 3, 1, 2)
        power = parts.square().sum(1, keepdim=True).clamp_min(_QUIET**2)
        return parts * power ** ((0.3 - 1) / 2)


def rows_of(samples: int) -> int:
    """Rows that the speech encoder tells of so much sound: one per 20 ms, none below 10 ms."""
    return (samples // 160 + 1) // 2


def _positions(length: int, dim: int) -> Tensor:
    """(length, dim): sines and cosines in turn, the longest wave 2 * length * 2 pi rows (Vaswani et al. 2017)."""
    rates = torch.exp(torch.arange(0, dim, 2) * (-math.log(2 * length) / dim))
    angles = torch.arange(length)[:, None] * rates
    return torch.stack([angles.sin(), angles.cos()], dim=2).flatten(1)
