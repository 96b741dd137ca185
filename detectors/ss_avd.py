"""SS-AVD: one stream in which sound and picture attend to each other (arXiv 2506.07358).

    video (B,10,3,224,224) ─ stem ─┐   ┌─────────── CAVL block x (2, 2, 6, 2) ───────────┐
                                   ├─► │ VPM on video ─► SAAVM on both ─► batch norms    │ ─► 3 heads:
    audio (B,48000) ─ sinc ─ conv ─┘   └─ 4 stages: 8, 16, 32, 64 channels, each halving ┘    video, audio, whole

What is built. The paper gives the idea; the network is spelt out by the first author's earlier public code, whose
small configuration has the paper's 0.48 M parameters. So this is the "LCL-AVD reference code, taken as SS-AVD"
[code], with the paper [paper] where it speaks, and INFERRED where neither does. `SSAVD(PAPER)` has exactly 483,402
parameters, 487,632 with the style heads that only training uses.

Departures:
- `SHIPPED` runs the sinc filters at stride 4 and the first audio convolution at stride 1, instead of 1 and 4: the
  same lengths, the same parameters, and a quarter of the cost of the filter bank, which is three quarters of the
  published network's (4.2 becomes 1.9 GMACs a window). That convolution then spans 1.8 ms instead of 0.4 ms, so
  weights do not carry over between the two.
- The picture of `SHIPPED` comes in at 1/16, as stages 2 to 4 of a frozen EfficientNet-Lite0 (detectors.encoders) tell
  it; the two stages before carry the sound alone. Learnt from pixels, a thousand clips teach which web site a face is
  from (docs/experiments.md). The border around the face, which tells the site too, is blank: 0 after the norm.
- Beside f_v stands in `SHIPPED` what Lite0 tells of the inner face, on average over the frames, and beside f_a how much
  the sound's linear cepstra change (detectors.beside). Heads start from a fit to these; what f_v and f_a add is learnt.
- `SHIPPED` reads faces of 128 pixels instead of 224: few faces in the training clips are wider. The maps (8, 4) are
  padded to multiples of t = 7 inside SAAVM; fewer tokens mean fewer position parameters.
- `SHIPPED` starts the frame fusion as the identity instead of at random. Random matrices in a row (24, or 16 where the
  picture comes in at 1/16) turn the frames into sums of random sign, and the mean over frames at the end keeps a
  quarter of what all of them have in common.
- `SHIPPED` has no style shuffle. The pooled feature is, but for the border, a linear map of each channel's mean, which
  is the very thing that the shuffle replaces by a mixture with another sample's while the label stays.
- `SHIPPED` starts the residual branches at 0.1 instead of 0.01. They hold nearly all of the network's non-linearity:
  at 0.01 it begins as averages of linear maps (of pixels: blind to everything but mean colour), and 86 steps moved
  the scales from 0.010 to 0.013 and no loss. At 0.5 it diverges in evaluation: VPM multiplies its maps with each other.
- `SHIPPED` cuts P off at 6 (as ReLU6 does). P times a convolution of P grows with the square of its input, and each
  block of twelve (here eight) squares it again: pictures a little outside of what the norms have seen (noise, at the
  start of training) came out as NaN.
- `SHIPPED` has a ReLU after each down-sampling of the sound. The front end takes each filter's mean over time away,
  so a linear path averages to nothing, and only SAAVM's few tokens are left to bend it (tried once, with branches at
  0.5, on one batch of 8 sounds: 25 steps bring the loss from 0.69 to 0.60 without and to 0.27 with it).
- Frames are folded into the batch, (B,C,T,H,W) as (B·T,C,H,W). Every convolution but the last is one frame deep, so
  this changes the time it takes and nothing else.
- A missing modality is a case of its own; the paper always has both.

MISSING MODALITY. A batch has both, only video, or only audio. A missing stream is not computed. SAAVM attends over
the tokens that are there, with their rows of the positions and of the token norm; nothing stands in for the others,
no zeros and no mean. The missing head's logit is None, and so is `whole`, which reads both streams.

STILLS. Each frame is looked at by itself, and frames are only mixed and averaged: a still picture, in the place of all
frames, is a case that it can judge. It learnt from moving faces and is not calibrated for stills. The other three
detectors ask for more frames than a still has, and were never tried on one.

POLARITY. Each head has two classes, 0 = fake and 1 = real [code]. What leaves this file is P(fake), and logits are
fake minus real: higher is more fake.

What it cannot see: the latent shuffle (LSA) teaches it to accept sound and picture of different clips, and 10 frames
in 3 s are too few to follow lips. It gives no evidence on lip-sync.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.func import functional_call

from detectors.beside import Beside, start_head
from detectors.contract import Inputs, InputSpec, Windows, WindowScores
from detectors.encoders import REGIONS, TEXTURES, WIDTHS, FaceEncoder, region_shares
from detectors.scoring import calibrated, score_windows

NAME, CITATION = "SS-AVD", "arXiv 2506.07358"
FAKE, REAL = 0, 1  # class order of the two-class heads [code]
AUDIO_HZ = 16_000
JOINS = 2  # the stage at which a picture of textures comes in: its maps are a sixteenth of the face, as Lite0's fourth
SPEC = InputSpec(
    window_s=3.0, hop_s=1.0, frames=10, face_px=224, audio_hz=AUDIO_HZ, modalities=("video", "audio"), stills=True
)


@dataclass(frozen=True)
class SSAVDConfig:
    """The architecture. JSON-able by `dataclasses.asdict`, read back by `build`."""

    widths: tuple[int, ...] = (8, 16, 32, 64)  # channels per stage, for video and audio alike: the small model
    depths: tuple[int, ...] = (2, 2, 6, 2)  # CAVL blocks per stage
    frames: int = 10  # uniformly spaced over the window; kept through all stages
    face_px: int = 224  # gives maps of 56, 28, 14, 7: multiples of the 7-pixel window
    samples: int = 48_000  # 3 s at 16 kHz
    window: int = 7  # SAAVM's t: a token is t x t pixels, or 1/frames of the sound pooled to t² values
    sinc_filters: int = 256  # half cosine, half sine phase; two learnt numbers (low, band) per pair
    sinc_kernel: int = 251  # 15.7 ms: resolves bands of about 130 Hz
    sinc_stride: int = 1  # 1, 2 or 4; the first audio convolution takes the rest of a total stride of 4
    fusion: str = "saavm"  # "concat" is the ablation without attention
    style_shuffle: bool = True  # MMSSA, in training only
    latent_shuffle: bool = True  # LSA, in training only
    residual_init: float = 1e-2  # start of the learnt scale per channel of every residual branch [code]
    rectify_audio: bool = False  # a ReLU after every down-sampling of the sound; [code] has none
    attention_cap: float | None = None  # P of VPM's attention is cut off here; [code] leaves it open
    fuse_identity: bool = False  # frame fusion starts as the identity; [code] starts at random
    drop_path: float = 0.1  # chance that a residual branch is skipped in training
    textures: bool = False  # the picture comes in as frozen maps, at stage JOINS; False: as pixels, at the first
    beside: int = 0  # components of the textures, and of how the sound changes, that stand beside f_v and f_a
    beside_dropout: float = 0.0  # share of them that is dropped in training
    faithful_unchunk: bool = True  # [code] puts tokens back interleaved, see `unchunk`; False: in place

    def __post_init__(self):
        if len(self.widths) != len(self.depths) or not self.widths:
            raise ValueError(f"widths {self.widths} and depths {self.depths} must name the same stages")
        if self.fusion not in ("saavm", "concat"):
            raise ValueError(f"fusion is 'saavm' or 'concat', not {self.fusion!r}")
        if self.sinc_stride not in (1, 2, 4):
            raise ValueError(f"sinc_stride is 1, 2 or 4, not {self.sinc_stride}")
        if self.sinc_filters % 2 or not self.sinc_kernel % 2:
            raise ValueError("sinc_filters must be even (cosine and sine) and sinc_kernel odd (symmetric)")
        if self.samples % (multiple := 4 * 2 ** (len(self.widths) - 1) * self.frames):
            raise ValueError(f"samples must be a multiple of {multiple}, for {self.frames} equal pieces in every "
                             f"stage, not {self.samples}")
        if self.beside and not self.textures:
            raise ValueError("what stands beside f_v comes from the frozen maps: it needs textures")

    @property
    def video_sizes(self) -> list[int]:
        """Side of the square map in each stage, in pixels."""
        return [math.ceil(self.face_px / 2 ** (i + 2)) for i in range(len(self.widths))]

    @property
    def enters(self) -> int:
        """The stage at which the picture comes in."""
        return JOINS if self.textures else 0


PAPER = SSAVDConfig()
FAST_SINC = replace(PAPER, sinc_stride=4)
SHIPPED = replace(FAST_SINC, face_px=128, residual_init=0.1, rectify_audio=True, attention_cap=6.0,
                  fuse_identity=True, style_shuffle=False, textures=True, beside=64, beside_dropout=0.2)
SHIPPED_SPEC = replace(SPEC, face_px=SHIPPED.face_px)
# Width study: the same network at about 0.5, 1 and 2 million parameters.
SIZES = {
    "0.5M": FAST_SINC,
    "1M": replace(FAST_SINC, widths=(12, 24, 56, 104)),
    "2M": replace(FAST_SINC, widths=(20, 40, 80, 168)),
}


class TrainingTerms(NamedTuple):
    """What only the losses need. Logits (B,), fake minus real; None where the part or the modality is off."""

    style_video: Tensor | None  # style heads on detached maps: trains the style heads alone
    style_audio: Tensor | None
    adversarial_video: Tensor | None  # frozen style heads on live maps: trains the shared layers alone
    adversarial_audio: Tensor | None
    shuffled: Tensor | None  # whole head on [f_v(i); f_a(partner(i))]
    partner: Tensor | None  # (B,) int64


class SSAVDOutput(NamedTuple):
    """Logits of P(fake), (B,), and features; None where the modality is missing."""

    video: Tensor | None
    audio: Tensor | None
    whole: Tensor | None
    f_v: Tensor | None  # (B, C + beside)
    f_a: Tensor | None  # (B, C + beside)
    z: Tensor | None  # (B, 2 (C + beside)) = [f_v; f_a]
    training: TrainingTerms | None = None  # only from a model in training mode


# ------------------------------------------------------------------------------------------- small parts


def xavier(layer: nn.Module) -> nn.Module:
    """Xavier-uniform, gain √2: [code] for 1-D and 3-D convolutions, which the folded ones here are."""
    nn.init.xavier_uniform_(layer.weight, gain=math.sqrt(2.0))
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer


def he(layer: nn.Conv2d) -> nn.Conv2d:
    """N(0, 2/fan_out): [code] for 2-D convolutions, the ones inside VPM."""
    fan_out = layer.kernel_size[0] * layer.kernel_size[1] * layer.out_channels // layer.groups
    nn.init.normal_(layer.weight, std=math.sqrt(2.0 / fan_out))
    nn.init.zeros_(layer.bias)
    return layer


def linear(n_in: int, n_out: int, bias: bool = False) -> nn.Linear:
    """Truncated normal, std .02 [code]."""
    layer = nn.Linear(n_in, n_out, bias=bias)
    nn.init.trunc_normal_(layer.weight, std=0.02)
    if bias:
        nn.init.zeros_(layer.bias)
    return layer


class DropPath(nn.Module):
    """Skips a residual branch for whole samples; `group` rows of the batch share one draw."""

    def __init__(self, p: float, group: int = 1):
        super().__init__()
        self.p, self.group = p, group

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.p == 0:
            return x
        keep = torch.rand(len(x) // self.group, device=x.device) >= self.p
        scale = keep.repeat_interleave(self.group) / (1 - self.p)
        return x * scale.view(-1, *[1] * (x.ndim - 1)).to(x.dtype)


class DilatedDepthwise(nn.Conv2d):
    """Depthwise 7 x 7, dilation 3, same size. (N,C,H,W) -> (N,C,H,W). The same sums, in the form that CPUs do fast.

    Dilation 3 never mixes pixels whose coordinates differ modulo 3, so a large map is 9 interleaved maps under an
    undilated kernel: 5 times sooner. A small map is one H·W x H·W matrix per channel: the backward pass of a
    convolution over thousands of 4 x 4 maps took a third of a training step.
    """

    SMALL = 14 * 14  # pixels

    def __init__(self, dim: int):
        super().__init__(dim, dim, 7, padding=9, dilation=3, groups=dim)

    def forward(self, x: Tensor) -> Tensor:
        if x.device.type != "cpu":
            return super().forward(x)
        return self._as_matrix(x) if x.shape[2] * x.shape[3] <= self.SMALL else self._interleaved(x)

    def _as_matrix(self, x: Tensor) -> Tensor:
        N, C, H, W = x.shape
        taps = F.pad(self.weight.flatten(1), (0, 1))  # C 50: the last is 0, for pixels out of the kernel's reach
        matrix = taps[:, _tap_of(H, W)]  # C HW(in) HW(out)
        flat = x.flatten(2).transpose(0, 1)  # C N HW
        out = torch.baddbmm(self.bias.view(C, 1, 1), flat, matrix)  # C N HW
        return out.transpose(0, 1).reshape(N, C, H, W)

    def _interleaved(self, x: Tensor) -> Tensor:
        N, C, H, W = x.shape
        h, w = -(-H // 3), -(-W // 3)
        x = F.pad(x, (0, 3 * w - W, 0, 3 * h - H)).permute(0, 2, 3, 1)  # N 3h 3w C
        x = x.unflatten(1, (h, 3)).unflatten(3, (w, 3))  # N h 3 w 3 C
        x = x.permute(0, 2, 4, 1, 3, 5).reshape(N * 9, h, w, C).permute(0, 3, 1, 2)  # 9N C h w
        x = F.conv2d(x, self.weight, self.bias, padding=3, groups=C)
        x = x.permute(0, 2, 3, 1).unflatten(0, (N, 3, 3)).permute(0, 3, 1, 4, 2, 5)  # N h 3 w 3 C
        return x.reshape(N, 3 * h, 3 * w, C)[:, :H, :W].permute(0, 3, 1, 2)


@lru_cache(maxsize=32)
def _tap_of(height: int, width: int) -> Tensor:
    """(HW, HW) int64: which of the 49 taps takes input pixel (row) to output pixel (column); 49 where none does."""
    with torch.inference_mode(False):  # it outlives the call: made while scoring, it must serve a backward pass too
        y, x = torch.arange(height).repeat_interleave(width), torch.arange(width).repeat(height)
        dy, dx = y[:, None] - y, x[:, None] - x
        reached = (dy % 3 == 0) & (dx % 3 == 0) & (dy.abs() <= 9) & (dx.abs() <= 9)
        return torch.where(reached, (dy // 3 + 3) * 7 + dx // 3 + 3, 49)


class MixDown(nn.Conv1d):
    """All channels to one, kernel 33, same length. (B,C,L) -> (B,1,L). Convolution with a kernel is transposed
    convolution with the mirrored kernel; CPUs take a tenth of the time for the latter."""

    def __init__(self, dim: int):
        super().__init__(dim, 1, 33, padding=16)

    def forward(self, x: Tensor) -> Tensor:
        return F.conv_transpose1d(x, self.weight.transpose(0, 1).flip(-1), self.bias, padding=16)


class LogMagnitude(torch.autograd.Function):
    """log(|x| + 1e-6) minus its mean over the last axis. Its own backward, as this is the widest map of the network:
    one copy is kept instead of four."""

    @staticmethod
    def forward(ctx, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        y = x.abs().add_(1e-6).log_()
        return y.sub_(y.mean(-1, keepdim=True))

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        grad = grad - grad.mean(-1, keepdim=True)
        return grad.mul_(x.sign()).div_(x.abs().add_(1e-6))


class SincFilters(nn.Module):
    """Band-pass filters with learnt edges, in cosine and sine phase. (B,1,L) -> (B,n_filters,L/stride).

    The mean of cos(2πft), or sin, over a band of width b around m is sinc(bt)·cos(2πmt), or sin. Limits and start
    as in asteroid-filterbanks' ParamSincFB: a low edge and a band of at least 50 Hz each, mel-spaced from 30 Hz.
    """

    min_low_hz = min_band_hz = 50.0

    def __init__(self, n_filters: int, kernel: int, stride: int):
        super().__init__()
        self.stride = stride
        top_hz = AUDIO_HZ / 2 - (self.min_low_hz + self.min_band_hz)
        mel_30, mel_top = (2595 * math.log10(1 + hz / 700) for hz in (30.0, top_hz))
        edges_hz = 700 * (10 ** (torch.linspace(mel_30, mel_top, n_filters // 2 + 1) / 2595) - 1)
        self.low_hz = nn.Parameter(edges_hz[:-1].clone())
        self.band_hz = nn.Parameter(edges_hz.diff())
        time_s = torch.arange(-(kernel // 2), kernel // 2 + 1) / AUDIO_HZ
        self.register_buffer("time_s", time_s, persistent=False)
        self.register_buffer("taper", torch.hamming_window(kernel, periodic=False), persistent=False)

    def filters(self) -> Tensor:
        """(n_filters, 1, kernel): the cosine half, then the sine half."""
        low = self.min_low_hz + self.low_hz.abs()
        high = (low + self.min_band_hz + self.band_hz.abs()).clamp(max=AUDIO_HZ / 2)
        middle, band = (low + high)[:, None] / 2, (high - low)[:, None]
        envelope = self.taper * torch.sinc(band * self.time_s)
        phase = 2 * math.pi * middle * self.time_s
        return torch.cat([envelope * phase.cos(), envelope * phase.sin()])[:, None]

    def forward(self, x: Tensor) -> Tensor:
        return F.conv1d(x, self.filters(), stride=self.stride, padding=len(self.time_s) // 2)


class AudioFrontEnd(nn.Module):
    """Waveform (B,L) -> log filter outputs, zero mean over time (B,sinc_filters,L/sinc_stride) [code]."""

    def __init__(self, cfg: SSAVDConfig):
        super().__init__()
        self.norm = nn.InstanceNorm1d(1, eps=1e-4, affine=True)
        self.sinc = SincFilters(cfg.sinc_filters, cfg.sinc_kernel, cfg.sinc_stride)

    def forward(self, x: Tensor) -> Tensor:
        before = torch.cat([x[:, 1:2], x[:, :-1]], dim=1)  # reflected at the left edge
        x = self.norm((x - 0.97 * before)[:, None])  # B 1 L
        return LogMagnitude.apply(self.sinc(x))  # B 256 L/stride


# ------------------------------------------------------------------------------------------- CAVL block


class FrameFusion(nn.Module):
    """One T x T matrix over the frames, shared by pixels and channels [paper]. (B·T,C,H,W) -> the same."""

    def __init__(self, frames: int, identity: bool = False):
        super().__init__()
        self.weight = nn.Parameter(torch.eye(frames))  # [to, from]
        if not identity:
            nn.init.xavier_uniform_(self.weight, gain=math.sqrt(2.0))

    def forward(self, x: Tensor) -> Tensor:
        T, (_, C, H, W) = len(self.weight), x.shape
        x = x.permute(0, 2, 3, 1).reshape(-1, T, H * W * C)  # a view where channels are last in memory
        return (self.weight @ x).view(-1, H, W, C).permute(0, 3, 1, 2)


class SpatialAttention(nn.Module):
    """h = BN(x), P = ReLU(W₁h), Q = P ⊗ W₂·DW7(DW5(P)), out = h + W₃Q. The paper adds P, [code] adds h."""

    def __init__(self, dim: int, cap: float | None = None):
        super().__init__()
        self.cap = cap
        self.norm = nn.BatchNorm2d(dim)
        self.proj_in = he(nn.Conv2d(dim, dim, 1))
        self.local = he(nn.Conv2d(dim, dim, 5, padding=2, groups=dim))
        self.wide = he(DilatedDepthwise(dim))
        self.mix = he(nn.Conv2d(dim, dim, 1))
        self.proj_out = he(nn.Conv2d(dim, dim, 1))

    def forward(self, x: Tensor) -> Tensor:
        h = self.norm(x)
        p = self.proj_in(h)
        p = p.relu() if self.cap is None else F.hardtanh(p, 0.0, self.cap)
        q = p * self.mix(self.wide(self.local(p)))
        return h + self.proj_out(q)


class MLP(nn.Sequential):
    """Four times wider, with a 3 x 3 look around."""

    def __init__(self, dim: int):
        super().__init__(
            nn.BatchNorm2d(dim),
            he(nn.Conv2d(dim, 4 * dim, 1)),
            he(nn.Conv2d(4 * dim, 4 * dim, 3, padding=1, groups=4 * dim)),
            nn.ReLU(inplace=True),
            he(nn.Conv2d(4 * dim, dim, 1)),
        )


class VPM(nn.Module):
    """Visual processing module: fuse frames, look within them, fuse back. (B·T,C,H,W) -> the same."""

    def __init__(self, dim: int, cfg: SSAVDConfig):
        super().__init__()
        self.fuse = FrameFusion(cfg.frames, cfg.fuse_identity)
        self.unfuse = FrameFusion(cfg.frames, cfg.fuse_identity)
        self.attention, self.mlp = SpatialAttention(dim, cfg.attention_cap), MLP(dim)
        self.alpha_attention = nn.Parameter(torch.full((dim, 1, 1), cfg.residual_init))
        self.alpha_mlp = nn.Parameter(torch.full((dim, 1, 1), cfg.residual_init))
        self.drop = DropPath(cfg.drop_path)  # a draw per fused frame [code]

    def forward(self, x: Tensor) -> Tensor:
        x = self.fuse(x)
        x = x + self.drop(self.alpha_attention * self.attention(x))
        x = x + self.drop(self.alpha_mlp * self.mlp(x))
        return self.unfuse(x)


def chunk(x: Tensor, frames: int, t: int) -> Tensor:
    """Maps (B·T,1,H,W) -> tokens (B, T·P·P, t·t), ordered (frame, row, column); zero-padded right and below to
    a multiple of t (INFERRED; nothing to pad for t = 7 at 224 px)."""
    pad_h, pad_w = -x.shape[2] % t, -x.shape[3] % t
    x = F.pad(x, (0, pad_w, 0, pad_h))[:, 0]  # BT Pt Pt
    x = x.unflatten(2, (-1, t)).unflatten(1, (-1, t)).transpose(2, 3)  # BT P P t t
    return x.reshape(len(x) // frames, -1, t * t)


def unchunk(tokens: Tensor, frames: int, size: int, t: int, faithful: bool) -> Tensor:
    """Tokens (B, T·P·P, t·t) -> maps (B·T,1,size,size), cropped of `chunk`'s padding.

    faithful=False undoes `chunk`. faithful=True is what [code] does: pixel (h, w) of token (p, q) goes to row
    h·P + p, column w·P + q, as in a pixel shuffle, so each token is spread over the whole frame.
    """
    P = -(-size // t)
    x = tokens.reshape(-1, P, P, t, t)  # BT p q h w
    x = x.permute(0, 3, 1, 4, 2) if faithful else x.permute(0, 1, 3, 2, 4)  # BT (h p | p h) (w q | q w)
    return x.reshape(-1, 1, P * t, P * t)[..., :size, :size]


class TokenAttention(nn.Module):
    """z + Linear(softmax(x xᵀ/√d) x) with x = LN(z + PE): one head, no query, key or value maps [code].

    The norm runs over the tokens, one feature at a time [code]: with a modality missing, over those present.
    """

    def __init__(self, n_video: int, n_audio: int, dim: int):
        super().__init__()
        self.n_video = n_video
        self.position = nn.Parameter(nn.init.xavier_normal_(torch.empty(n_video + n_audio, dim)))
        self.norm = nn.LayerNorm(n_video + n_audio)
        self.proj = linear(dim, dim)

    def forward(self, v: Tensor | None, a: Tensor | None) -> tuple[Tensor | None, Tensor | None]:
        """Video tokens (B,n_video,d) and audio tokens (B,n_audio,d), each or None -> the same."""
        z = torch.cat([tokens for tokens in (v, a) if tokens is not None], dim=1)  # B n d
        rows = slice(0 if v is not None else self.n_video, self.n_video if a is None else None)
        x = (z + self.position[rows]).transpose(1, 2)  # B d n
        x = F.layer_norm(x, x.shape[-1:], self.norm.weight[rows], self.norm.bias[rows]).transpose(1, 2)
        z = z + self.proj(F.scaled_dot_product_attention(x, x, x))
        return (None, z) if v is None else (z, None) if a is None else z.tensor_split([self.n_video], dim=1)


class FrameConcat(nn.Module):
    """The ablation (INFERRED): no attention; each token is concatenated with its frame's other modality.
    Video tokens see their frame's audio token, an audio token the mean of its frame's video tokens. A missing
    half takes no part: the columns that read it are left out."""

    def __init__(self, n_video: int, n_audio: int, dim: int):
        super().__init__()
        self.frames = n_audio
        self.video, self.audio = linear(2 * dim, dim), linear(2 * dim, dim)  # columns: own | other modality

    def forward(self, v: Tensor | None, a: Tensor | None) -> tuple[Tensor | None, Tensor | None]:
        """As TokenAttention."""
        (v_own, v_other), (a_own, a_other) = (m.weight.chunk(2, dim=1) for m in (self.video, self.audio))
        v_new = None if v is None else v + F.linear(v, v_own)
        a_new = None if a is None else a + F.linear(a, a_own)
        if v is not None and a is not None:
            by_frame = v.unflatten(1, (self.frames, -1))  # B T P² d
            v_new = v_new + F.linear(a, v_other).repeat_interleave(by_frame.shape[2], dim=1)
            a_new = a_new + F.linear(by_frame.mean(2), a_other)
        return v_new, a_new


class SAAVM(nn.Module):
    """Self-attention audio-visual module: both streams squeezed to one channel and cut into tokens of t²
    values, which attend to each other and are added back. Video (B·T,C,H,W), audio (B,C,L), each or None. Of size 0
    it has no video."""

    def __init__(self, dim: int, size: int, cfg: SSAVDConfig):
        super().__init__()
        self.frames, self.size, self.t, self.faithful = cfg.frames, size, cfg.window, cfg.faithful_unchunk
        if size:
            self.squeeze_video = nn.Sequential(
                xavier(nn.Conv2d(dim, dim, 3, padding=1, groups=dim)),
                nn.BatchNorm2d(dim),
                nn.ReLU(inplace=True),
                xavier(nn.Conv2d(dim, 1, 3, padding=1)),
            )
            self.expand_video = xavier(nn.Conv2d(1, dim, 3, padding=1))
            self.alpha_video = nn.Parameter(torch.full((dim, 1, 1), cfg.residual_init))
        self.squeeze_audio = nn.Sequential(
            xavier(nn.Conv1d(dim, dim, 3, padding=1)),
            nn.BatchNorm1d(dim),
            nn.ReLU(inplace=True),
            xavier(MixDown(dim)),
        )
        self.expand_audio = xavier(nn.Conv1d(1, dim, 33, padding=16))
        n_video = cfg.frames * math.ceil(size / cfg.window) ** 2
        fusion = TokenAttention if cfg.fusion == "saavm" else FrameConcat
        self.fusion = fusion(n_video, cfg.frames, cfg.window**2)
        self.alpha_audio = nn.Parameter(torch.full((dim, 1), cfg.residual_init))
        self.drop_video = DropPath(cfg.drop_path, group=cfg.frames)  # a draw per clip [code]
        self.drop_audio = DropPath(cfg.drop_path)

    def forward(self, video: Tensor | None, audio: Tensor | None) -> tuple[Tensor | None, Tensor | None]:
        v = a = None
        if video is not None:
            v = chunk(self.squeeze_video(video), self.frames, self.t)  # B TP² t²
        if audio is not None:
            a = self.squeeze_audio(audio).reshape(len(audio), self.frames, -1)  # B T L/T
            a = F.adaptive_avg_pool1d(a, self.t**2)  # B T t²
        v, a = self.fusion(v, a)
        if video is not None:
            v = unchunk(v, self.frames, self.size, self.t, self.faithful)  # BT 1 H W
            video = video + self.drop_video(self.alpha_video * self.expand_video(v))
        if audio is not None:
            a = F.interpolate(a, size=audio.shape[-1] // self.frames)  # B T L/T, nearest
            audio = audio + self.drop_audio(self.alpha_audio * self.expand_audio(a.flatten(1)[:, None]))
        return video, audio


class CAVL(nn.Module):
    """VPM on the video, then SAAVM on both, a batch norm after each [paper order, code details]. Of size 0: before the
    picture comes in, for the sound alone."""

    def __init__(self, dim: int, size: int, cfg: SSAVDConfig):
        super().__init__()
        self.saavm, self.norm_audio = SAAVM(dim, size, cfg), nn.BatchNorm1d(dim)
        if size:
            self.vpm, self.norm_vpm, self.norm_video = VPM(dim, cfg), nn.BatchNorm2d(dim), nn.BatchNorm2d(dim)

    def forward(self, video: Tensor | None, audio: Tensor | None) -> tuple[Tensor | None, Tensor | None]:
        if video is not None:
            video = self.norm_vpm(self.vpm(video))
        video, audio = self.saavm(video, audio)
        return None if video is None else self.norm_video(video), _each(self.norm_audio, audio)


class Stage(nn.Module):
    """Down-sampling, `depth` blocks, a batch norm. The first stage quarters the maps, the others halve. Where the
    picture comes in as textures, JOINS takes them in and the stages before have no picture."""

    def __init__(self, index: int, cfg: SSAVDConfig):
        super().__init__()
        dim, size = cfg.widths[index], cfg.video_sizes[index]
        before = cfg.widths[index - 1] if index else cfg.sinc_filters
        if cfg.textures and index <= JOINS:
            self.down_video = Textures(dim, size) if index == JOINS else None
        elif index == 0:
            self.down_video = nn.Sequential(
                xavier(nn.Conv2d(3, dim, 7, stride=2, padding=3, bias=False)),
                nn.BatchNorm2d(dim),
                nn.ReLU(inplace=True),
                nn.MaxPool2d(3, stride=2, padding=1),
            )
        else:
            self.down_video = nn.Sequential(
                xavier(nn.Conv2d(before, dim, 3, stride=2, padding=1)), nn.BatchNorm2d(dim)
            )
        audio = (nn.Conv1d(before, dim, 3, stride=2, padding=1) if index else
                 nn.Conv1d(before, dim, 7, stride=4 // cfg.sinc_stride, padding=3))
        rectify = [nn.ReLU(inplace=True)] if cfg.rectify_audio else []
        self.down_audio = nn.Sequential(xavier(audio), nn.BatchNorm1d(dim), *rectify)
        size = 0 if self.down_video is None else size
        self.blocks = nn.ModuleList(CAVL(dim, size, cfg) for _ in range(cfg.depths[index]))
        self.norm_video, self.norm_audio = nn.BatchNorm2d(dim) if size else None, nn.BatchNorm1d(dim)

    def forward(self, video: Tensor | None, audio: Tensor | None) -> tuple[Tensor | None, Tensor | None]:
        """video: maps, or for JOINS what a FaceEncoder's `maps` gave."""
        video, audio = _each(self.down_video, video), _each(self.down_audio, audio)
        for block in self.blocks:
            video, audio = block(video, audio)
        return _each(self.norm_video, video), _each(self.norm_audio, audio)


class Textures(nn.Module):
    """What a FaceEncoder's `maps` gave of N faces -> (N, dim, size, size), the border around the face blank."""

    def __init__(self, dim: int, size: int):
        super().__init__()
        width = sum(WIDTHS[slice(*TEXTURES)])
        self.norm = nn.BatchNorm2d(width, affine=False)
        self.mix, self.norm_mixed = xavier(nn.Conv2d(width, dim, 1, bias=False)), nn.BatchNorm2d(dim)
        inside = 1 - F.adaptive_avg_pool2d(region_shares(16 * size)[REGIONS.index("border")][None], size)
        self.register_buffer("inside", inside, persistent=False)

    def forward(self, maps: list[Tensor]) -> Tensor:
        side = self.inside.shape[-2:]
        x = torch.cat([F.adaptive_avg_pool2d(x, side) for x in maps[slice(*TEXTURES)]], dim=1)
        return self.norm_mixed(self.mix(self.norm(x) * self.inside))


def _each(layer: nn.Module, x: Tensor | None) -> Tensor | None:
    return None if x is None else layer(x)


# ------------------------------------------------------------------------------------------- the network


class StyleHead(nn.Module):
    """Depthwise convolution, global mean, two classes: tells real from fake by style alone, in training."""

    def __init__(self, conv: nn.Module, dim: int):
        super().__init__()
        self.conv, self.head = xavier(conv), linear(dim, 2, bias=True)

    def forward(self, x: Tensor) -> Tensor:
        return fake_logit(self.head(self.conv(x).flatten(2).mean(-1)))


class SSAVD(nn.Module):
    """The network. `style_heads=True` adds the 4,230 parameters that only MMSSA's adversarial part uses."""

    def __init__(self, cfg: SSAVDConfig = PAPER, style_heads: bool = False):
        super().__init__()
        self.cfg = cfg
        dim, told = cfg.widths[-1], cfg.widths[-1] + cfg.beside
        mean, std = torch.tensor([[0.485, 0.456, 0.406], [0.229, 0.224, 0.225]]).view(2, 3, 1, 1)  # ImageNet
        self.register_buffer("pixel_scale", 1 / std, persistent=False)
        self.register_buffer("pixel_shift", -mean / std, persistent=False)
        self.front_end = AudioFrontEnd(cfg)
        self.stages = nn.ModuleList(Stage(i, cfg) for i in range(len(cfg.widths)))
        self.pool_video = xavier(nn.Conv3d(dim, dim, 3, padding=1, groups=dim))
        self.pool_audio = xavier(nn.Conv1d(dim, dim, 31, padding=15, groups=dim))
        self.head_video, self.head_audio, self.head_whole = linear(told, 2), linear(told, 2), linear(2 * told, 2)
        self.face_encoder = FaceEncoder(cfg.face_px) if cfg.textures else None
        self.beside = Beside(cfg.beside, cfg.beside_dropout) if cfg.beside else None
        self.style_heads = None
        if style_heads:
            self.style_heads = nn.ModuleDict({
                "video": StyleHead(nn.Conv3d(dim, dim, 3, padding=1, groups=dim), dim),
                "audio": StyleHead(nn.Conv1d(dim, dim, 31, padding=15, groups=dim), dim),
                "unused": linear(dim, 2, bias=True),  # [code] builds it, never calls it; kept for the count
            })

    def forward(
        self, video: Tensor | None, audio: Tensor | None, generator: torch.Generator | None = None
    ) -> SSAVDOutput:
        """Score a batch.

        video: (B, frames, 3, face_px, face_px) RGB in [0, 1] or None. audio: (B, samples) at 16 kHz or None.
        generator: a CPU generator for the two shuffles of training mode (drop path uses the global one).
        Raises ValueError when both are missing or a shape is not the config's.
        """
        self._check(video, audio)
        seen = _each(self.look, video)
        summaries = self.summaries(seen, audio)
        audio, video = _each(self.front_end, audio), None  # B 256 L
        for index, stage in enumerate(self.stages):
            video = seen if index == self.cfg.enters else video
            if video is not None or audio is not None:
                video, audio = stage(video, audio)
        x = None if video is None else video.unflatten(0, (-1, self.cfg.frames)).transpose(1, 2)  # B C T H W
        y = audio  # B C L

        x_style = y_style = None
        if self.training and self.cfg.style_shuffle:
            if x is not None:
                x, x_style = style_shuffle(x, generator)
            if y is not None:
                y, y_style = style_shuffle(y, generator)
        f_v = None if x is None else self.pool_video(x).flatten(2).mean(-1)  # B C
        f_a = None if y is None else self.pool_audio(y).flatten(2).mean(-1)  # B C
        told = self.beside(summaries) if summaries else {}
        if "faces" in told:
            f_v = torch.cat([f_v, told["faces"]], dim=1)
        if "sound" in told:
            f_a = torch.cat([f_a, told["sound"]], dim=1)
        z = None if x is None or y is None else torch.cat([f_v, f_a], dim=1)
        training = None
        if self.training:
            training = self._training_terms(x_style, y_style, f_v, f_a, generator)
        logits = (
            None if f is None else fake_logit(head(f))
            for head, f in ((self.head_video, f_v), (self.head_audio, f_a), (self.head_whole, z))
        )
        return SSAVDOutput(*logits, f_v, f_a, z, training)

    def look(self, video: Tensor) -> Tensor | list[Tensor]:
        """What enters the stages: pixels (B·T,3,H,W), or the face encoder's maps."""
        faces = video.flatten(0, 1)  # BT 3 H W
        if self.face_encoder is None:
            pixels = torch.addcmul(self.pixel_shift, faces, self.pixel_scale)
            return pixels.contiguous(memory_format=torch.channels_last)
        with torch.set_grad_enabled(torch.is_grad_enabled() and video.requires_grad):
            return self.face_encoder.maps(faces)

    def summaries(self, seen: list[Tensor] | None, audio: Tensor | None) -> dict[str, Tensor]:
        """What stands beside f_v and f_a, before it is whitened, as Beside.summaries has it. seen: of `look`."""
        if self.beside is None:
            return {}
        regions = None if seen is None else self.face_encoder.over_regions(seen).unflatten(0, (-1, self.cfg.frames))
        return self.beside.summaries(regions, audio)

    def start_head(self, name: str, weights: Tensor) -> None:
        """Let a head ("video", "audio" or "whole") say these log-odds of what stands beside, whatever f_v and f_a are:
        weights (beside,), or (2 * beside,) with those of the face first."""
        own, told = self.cfg.widths[-1], self.cfg.widths[-1] + self.cfg.beside
        columns = [n for n in range(told * len(weights) // self.cfg.beside) if n % told >= own]
        start_head(getattr(self, f"head_{name}"), columns, weights, FAKE)

    def _training_terms(self, x_style, y_style, f_v, f_a, generator) -> TrainingTerms:
        style, adversarial = {}, {}
        for name, style_map in (("video", x_style), ("audio", y_style)):
            if self.style_heads is None or style_map is None:
                style[name] = adversarial[name] = None
                continue
            head = self.style_heads[name]
            frozen = {key: p.detach() for key, p in head.named_parameters()}
            style[name] = head(style_map.detach())
            adversarial[name] = functional_call(head, frozen, style_map)
        shuffled = partner = None
        if self.cfg.latent_shuffle and f_v is not None and f_a is not None:
            partner = torch.randperm(len(f_v), generator=generator).to(f_v.device)
            shuffled = fake_logit(self.head_whole(torch.cat([f_v, f_a[partner]], dim=1)))
        return TrainingTerms(*style.values(), *adversarial.values(), shuffled, partner)

    def inference_state_dict(self) -> dict[str, Tensor]:
        """The state without the style heads: what a checkpoint holds and `build(card)` loads strictly."""
        return {key: v for key, v in self.state_dict().items() if not key.startswith("style_heads.")}

    def _check(self, video: Tensor | None, audio: Tensor | None) -> None:
        cfg = self.cfg
        if video is None and audio is None:
            raise ValueError("SS-AVD needs video, audio or both; both are missing")
        if video is not None and video.shape[1:] != (cfg.frames, 3, cfg.face_px, cfg.face_px):
            raise ValueError(f"video must be (B, {cfg.frames}, 3, {cfg.face_px}, {cfg.face_px}), "
                             f"not {tuple(video.shape)}")
        if audio is not None and audio.shape[1:] != (cfg.samples,):
            raise ValueError(f"audio must be (B, {cfg.samples}), not {tuple(audio.shape)}")
        if video is not None and audio is not None and len(video) != len(audio):
            raise ValueError(f"video has {len(video)} windows and audio {len(audio)}; they must be the same")


def fake_logit(two_class: Tensor) -> Tensor:
    """(..., 2) class logits -> log-odds of fake (...)."""
    return two_class[..., FAKE] - two_class[..., REAL]


def example(config: SSAVDConfig) -> tuple[Tensor, Tensor]:
    """One window of nothing, as forward takes it."""
    return torch.zeros(1, config.frames, 3, config.face_px, config.face_px), torch.zeros(1, config.samples)


def build(card: dict) -> SSAVD:
    """The network that card["architecture"], `asdict` of a config, describes; weights still random."""
    architecture = {k: tuple(v) if isinstance(v, list) else v for k, v in card["architecture"].items()}
    return SSAVD(SSAVDConfig(**architecture))


# ------------------------------------------------------------------------------------------- training


def style_shuffle(x: Tensor, generator: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
    """MMSSA on maps (B, C, ...): mean and deviation of a channel over all positions are its style.

    Returns (styled, style_only), both with the labels of x. Styled: own content in the style α·own +
    (1-α)·partner's, one α for the batch. Style-only: own style, the partner's content.
    """
    partner = torch.randperm(len(x), generator=generator).to(x.device)
    alpha = torch.rand((), generator=generator).to(x.device)
    dims = tuple(range(2, x.ndim))
    mean = x.mean(dims, keepdim=True)
    std = (x.var(dims, correction=0, keepdim=True) + 1e-6).sqrt()
    content = (x - mean) / std
    styled = alpha * mean + (1 - alpha) * mean[partner] + (alpha * std + (1 - alpha) * std[partner]) * content
    return styled, mean + std * content[partner]


def either_fake(a: Tensor, b: Tensor) -> Tensor:
    """1 where either is fake, 0 where both are real, NaN where that cannot be known. (B,), (B,) -> (B,)."""
    return torch.where((a == 1) | (b == 1), 1.0, a + b)


def contrast_loss(features: Tensor, fake: Tensor, margin: float = 0.4) -> Tensor:
    """BinaryTokenContrastLoss: 1/N² [Σ_same (1 - cos) + Σ_different max(cos - margin, 0)] over all N² pairs of
    rows with a known label. features (B, C), fake (B,) in {0, 1, NaN}."""
    known = ~fake.isnan()
    if not known.any():
        return features.new_zeros(())
    f, fake = F.normalize(features[known], dim=1), fake[known]
    cos = f @ f.T
    return torch.where(fake[:, None] == fake[None], 1 - cos, (cos - margin).relu()).mean()


def smoothed_bce(logit: Tensor, fake: Tensor, smoothing: float) -> Tensor:
    """Two-class cross-entropy with label smoothing over the known labels, from the logit difference."""
    known = ~fake.isnan()
    if not known.any():
        return logit.new_zeros(())
    target = fake[known] * (1 - smoothing) + smoothing / 2
    return F.binary_cross_entropy_with_logits(logit[known], target)


@dataclass(frozen=True)
class LossWeights:
    """The paper sums classification, adversarial and contrast terms; the sum itself is INFERRED."""

    smoothing: float = 0.1  # [code]
    margin: float = 0.4  # [code]
    contrast: float = 1.0  # [code], per feature: f_v, f_a and z
    shuffle: float = 1.0  # INFERRED: as the author's sister project (RobustSpeechDetection)
    style: float = 1.0  # INFERRED; reaches the style heads alone
    adversarial: float = 0.5  # INFERRED: as the sister project; reaches the shared layers alone


def ss_avd_loss(
    out: SSAVDOutput, video_fake: Tensor, audio_fake: Tensor, weights: LossWeights = LossWeights()
) -> tuple[Tensor, dict[str, Tensor]]:
    """The training loss and its unweighted parts (detached) for one batch of a model in training mode.

    video_fake, audio_fake: (B,) float, 1 fake, 0 real, NaN unknown; unknown ones are left out of every term
    that has a label. Terms whose modality is missing or whose switch is off are absent from the parts.
    """
    fake = {"video": video_fake, "audio": audio_fake, "whole": either_fake(video_fake, audio_fake)}
    parts: dict[str, tuple[float, Tensor]] = {}
    for name, logit, feature in (("video", out.video, out.f_v), ("audio", out.audio, out.f_a),
                                 ("whole", out.whole, out.z)):
        if logit is not None:
            parts[name] = 1.0, smoothed_bce(logit, fake[name], weights.smoothing)
            parts[f"contrast_{name}"] = weights.contrast, contrast_loss(feature, fake[name], weights.margin)
    if (extra := out.training) is not None:
        if extra.shuffled is not None:  # LSA: real only if both parts are
            mixed = either_fake(video_fake, audio_fake[extra.partner])
            parts["shuffle"] = weights.shuffle, smoothed_bce(extra.shuffled, mixed, weights.smoothing)
        for name, style, adversarial in (("video", extra.style_video, extra.adversarial_video),
                                         ("audio", extra.style_audio, extra.adversarial_audio)):
            if style is not None:
                even = torch.full_like(adversarial, 0.5)  # -Σ ½ log p over both classes
                parts[f"style_{name}"] = weights.style, smoothed_bce(style, fake[name], weights.smoothing)
                parts[f"adversarial_{name}"] = weights.adversarial, smoothed_bce(adversarial, even, 0.0)
    total = sum(weight * part for weight, part in parts.values())
    return total, {name: part.detach() for name, (_, part) in parts.items()}


# ------------------------------------------------------------------------------------------- the detector


class SSAVDDetector:
    """A loaded network behind the contract of detectors/contract.py.

    card["calibration"] may hold {"video" | "audio" | "whole": {"scale": a, "bias": b}}: sigmoid(a·logit + b).
    """

    id = "ss_avd"

    def __init__(self, model: SSAVD, card: dict, spec: InputSpec = SPEC, device: str | torch.device = "cpu"):
        self.model = model.to(device).eval()
        self.card, self.spec, self.device = card, spec, torch.device(device)
        last, encoder = self.model.stages[-1], self.model.face_encoder
        # Grad-CAM reads these maps. All that is seen passes the frozen encoder, where there is one.
        self.camera_layers = {"face": last.norm_video if encoder is None else encoder.camera_layer,
                              "audio": last.norm_audio}

    def score(self, windows: Windows, batch_size: int = 4) -> WindowScores:
        """P(fake) per window: video and audio NaN where the window lacks them, whole where it lacks both."""
        scores = score_windows(windows, self.logits, ("video", "audio", "whole"), batch_size, self.device)
        # No sync score: LSA trains this network to accept sound and picture of different clips.
        return WindowScores(windows.start_s, windows.end_s, scores["video"], scores["audio"], None,
                            scores["whole"], windows.track_id)

    def logits(self, inputs: Inputs) -> dict[str, Tensor]:
        """Of the heads whose modality is there. With one modality alone, whole is that one's own logit."""
        out = self.model(inputs.faces, inputs.audio)
        told = {name: logit for name in ("video", "audio", "whole") if (logit := getattr(out, name)) is not None}
        told = calibrated(self.card, told)
        return {**told, "whole": told.get("whole", told.get("video", told.get("audio")))}


def load_detector(state: dict[str, Tensor], card: dict, device: str | torch.device = "cpu") -> SSAVDDetector:
    """The detector of a checkpoint. Strict: every weight must be there, and no other.

    Raises: RuntimeError when the weights are not those of the card's architecture.
    """
    model = build(card)
    model.load_state_dict(state, strict=True)
    told = {"stills": SPEC.stills, **card["input_spec"]}  # of the architecture; older cards do not say it
    return SSAVDDetector(model, card, InputSpec(**{**told, "modalities": ("video", "audio")}), device)
