"""Joint Audio-Visual Deepfake Detection: two streams, and a third one that follows both in time (ICCV 2021).

    faces (n, 32, 3, px, px) ─ video stream ─ v1 ── v2 ── v3 ── v4 ─ mean ─ video head
                                              │     │     │     │
                               sync-stream    s1 ─► s2 ─► s3 ─► s4 ─ attention between v4 and a4 ─ mean ─ whole head
                                              │     │     │     │
    sound (n, 20480) ───────── audio stream ─ a1 ── a2 ── a3 ── a4 ─ mean ─ audio head

Both streams have four stages with the same number of time steps: 32, 32, 16, 8. At each of them the sync-stream joins
what both say at the same moment and adds what it made of the finer stage before it. At the end the steps of each
modality attend to themselves and to the other's. Three two-class heads with a label each, trained together: is the
picture manipulated, is the sound, is either of them.

What is built. The paper's text could not be read for this file and there is no official code. [abstract] marks what
its abstract says: the two streams with a label each, a third stream that aligns their representations from coarse to
fine with the label "any modality", joint training. That attention between the modalities takes part is what surveys
say. Everything else is INFERRED: 32 frames at 25 a second, R(2+1)D for the picture (Tran et al., CVPR 2018), a
residual network on the waveform for the sound, all widths, the 1:1:1 sum of the losses. So `PAPER` is our
reconstruction, and no number of it is the paper's.

Departures of `SHIPPED`:
- Small: faces of 96 pixels, a stem of stride 4, a block per stage, up to 128 channels and no more of them between
  space and time. It has to learn from some thousand clips, on a processor.
- The sound comes as log energies in linear bands, which keep the upper octaves apart where vocoders leave their
  traces; the waveform would need far more material. The window's mean and deviation are taken away: gain tells nothing.
- Beside what the streams learn, the heads read what no learning changes: how frozen EfficientNet-Lite0 sees the inner
  face (every fourth picture) and how restless the sound is (detectors.beside). Learnt from pixels alone, the streams
  were at chance on sources never seen.
- It carries a lip-sound pair (detectors.sync), pretrained on genuine clips and frozen here. The pair gives the score
  `sync`: the sound does not belong to these lips. It counts as evidence of mismatch alone. Faces driven by sound are
  in better sync than genuine ones, so its silence means nothing. It is told from about 4 s around each window, at the
  offset of the whole track.

MISSING MODALITY. A missing stream is not computed, and nothing stands in for it. Its logit is None, and so is `whole`,
which reads both streams; the detector then tells the logit of the modality that is there as `whole`. Sync needs lips
and a voice.

POLARITY. Classes are 0 = real and 1 = fake (INFERRED). Logits are fake minus real: higher is more fake.

What it cannot see: manipulations that are finer than the 96 pixels of its faces, and, in 1.28 s, mismatch of anything
that is not speech. A silent face has no sync.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
import torchaudio.functional as AF
from torch import Tensor, nn

from detectors.beside import Beside, start_head
from detectors.contract import Inputs, InputSpec, Windows, WindowScores
from detectors.encoders import FACE_PX, FaceEncoder
from detectors.scoring import calibrated, score_windows
from detectors.ss_avd import either_fake, smoothed_bce
from detectors.sync import FFT, STEP_SAMPLES, SyncConfig, SyncPair, band_energies, judge_track, read_config

NAME, CITATION = "Joint AV", "ICCV 2021, Zhou & Lim"
REAL, FAKE = 0, 1  # class order of the two-class heads, INFERRED
AUDIO_HZ = 16_000
SPEC = InputSpec(  # INFERRED
    window_s=1.28, hop_s=0.64, frames=32, face_px=112, audio_hz=AUDIO_HZ, modalities=("video", "audio")
)
SHIPPED_SPEC = replace(SPEC, face_px=96, lips=32, lips_px=48)
LOOKED_AT = 4  # every so manieth face is looked at by the frozen encoder
TIME_STRIDES = (1, 1, 2, 2)  # of the stages, the same for both streams
DECIBELS_80 = 8 * math.log(10)


@dataclass(frozen=True)
class JointAVConfig:
    """The architecture. JSON-able by `dataclasses.asdict`, read back by `build`."""

    frames: int = 32
    face_px: int = 112
    samples: int = 20_480
    widths: tuple[int, int, int, int] = (64, 128, 256, 512)  # of the video stream's stages
    depths: tuple[int, int, int, int] = (2, 2, 2, 2)  # residual blocks of the stages, of both streams
    stem_stride: int = 2  # of the pixels
    lean: bool = False  # no more channels between space and time than after them; False: as many as Tran et al.
    sound: str = "waveform"  # or "bands"
    sound_widths: tuple[int, int, int, int] = (64, 128, 256, 512)
    bands: int = 64  # linear, 0 to 8 kHz; where the sound comes as bands
    sync_width: int = 256
    attention_heads: int = 4
    dropout: float = 0.0  # before the heads
    fusion: str = "sync"  # "late": no sync-stream, the pooled streams together; "independent": no third head
    beside: int = 0  # components of frozen textures, and of how the sound changes, that the heads read as well
    beside_dropout: float = 0.0  # share of them that is dropped in training
    pair: SyncConfig | None = None  # the lip-sound pair, ours

    def __post_init__(self):
        if self.fusion not in ("sync", "late", "independent"):
            raise ValueError(f"fusion is 'sync', 'late' or 'independent', not {self.fusion!r}")
        if self.sound not in ("waveform", "bands"):
            raise ValueError(f"sound is 'waveform' or 'bands', not {self.sound!r}")
        if self.samples != self.frames * STEP_SAMPLES or self.frames % math.prod(TIME_STRIDES):
            raise ValueError(f"{self.frames} frames are a multiple of {math.prod(TIME_STRIDES)}, with "
                             f"{STEP_SAMPLES} samples each, not {self.samples} in all")


PAPER = JointAVConfig()
SHIPPED = replace(
    PAPER, face_px=96, widths=(16, 32, 64, 128), depths=(1, 1, 1, 1), stem_stride=4, lean=True, sound="bands",
    sound_widths=(64, 64, 96, 128), sync_width=64, dropout=0.3, beside=64, beside_dropout=0.2, pair=SyncConfig(),
)


class Output(NamedTuple):
    """Logits of P(fake), (n,); None where the modality is missing or the configuration has no such head."""

    video: Tensor | None
    audio: Tensor | None
    whole: Tensor | None
    sync: Tensor | None  # of the pair: the sound does not belong to the lips; NaN where too few steps are known


# ------------------------------------------------------------------------------------------- video stream


class TimeConv(nn.Conv2d):
    """Kernel 3 over time alone: (n, C, T, H, W) -> (n, n_out, T / stride, H, W). As a 2-D convolution over time and
    all places in a row, which CPUs do several times sooner than the same in 3-D."""

    def __init__(self, n_in: int, n_out: int, stride: int = 1):
        super().__init__(n_in, n_out, (3, 1), (stride, 1), (1, 0), bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.flatten(3)).unflatten(3, x.shape[3:])


class FactoredConv(nn.Sequential):
    """(2+1)D: a convolution over space, then one over time. (n, C, T, H, W) -> (n, n_out, T', H', W')."""

    def __init__(self, n_in: int, n_out: int, between: int, space: int = 3, stride: int = 1, time_stride: int = 1):
        super().__init__(
            nn.Conv3d(n_in, between, (1, space, space), (1, stride, stride), (0, space // 2, space // 2), bias=False),
            nn.BatchNorm3d(between), nn.ReLU(inplace=True), TimeConv(between, n_out, time_stride))


def channels_between(n_in: int, n_out: int) -> int:
    """Channels between space and time that give the parameters of the full 3-D kernel [Tran et al. 2018, 3.5]."""
    return 27 * n_in * n_out // (9 * n_in + 3 * n_out)


class VideoBlock(nn.Module):
    """Residual block of two (2+1)D convolutions."""

    def __init__(self, n_in: int, n_out: int, stride: int, time_stride: int, lean: bool):
        super().__init__()
        first, second = (n_out, n_out) if lean else (channels_between(n_in, n_out), channels_between(n_out, n_out))
        self.layers = nn.Sequential(
            FactoredConv(n_in, n_out, first, stride=stride, time_stride=time_stride), nn.BatchNorm3d(n_out),
            nn.ReLU(inplace=True), FactoredConv(n_out, n_out, second), nn.BatchNorm3d(n_out))
        self.shortcut = nn.Identity() if n_in == n_out and stride == time_stride == 1 else nn.Sequential(
            nn.Conv3d(n_in, n_out, 1, (time_stride, stride, stride), bias=False), nn.BatchNorm3d(n_out))

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.layers(x) + self.shortcut(x))


class VideoStream(nn.Module):
    """Faces (n, T, 3, px, px) in [0, 1] -> features of the four stages, averaged over the picture: (n, C_k, T_k)."""

    def __init__(self, cfg: JointAVConfig):
        super().__init__()
        first = cfg.widths[0]
        between = first if cfg.lean else 45 * first // 64  # 45 of 64, as in R(2+1)D-18
        self.stem = nn.Sequential(FactoredConv(3, first, between, space=7, stride=cfg.stem_stride),
                                  nn.BatchNorm3d(first), nn.ReLU(inplace=True))
        self.stages = nn.ModuleList(
            nn.Sequential(VideoBlock(n_in, n_out, 1 if k == 0 else 2, TIME_STRIDES[k], cfg.lean),
                          *(VideoBlock(n_out, n_out, 1, 1, cfg.lean) for _ in range(cfg.depths[k] - 1)))
            for k, (n_in, n_out) in enumerate(zip((first, *cfg.widths), cfg.widths)))

    def forward(self, faces: Tensor) -> list[Tensor]:
        x = self.stem(faces.transpose(1, 2) * 4 - 2)
        told = []
        for stage in self.stages:
            x = stage(x)
            told.append(x.mean((3, 4)))
        return told


# ------------------------------------------------------------------------------------------- audio stream


class AudioBlock(nn.Module):
    """Residual block of two convolutions over time. (n, C, T) -> (n, n_out, T / time_stride)."""

    def __init__(self, n_in: int, n_out: int, time_stride: int):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv1d(n_in, n_out, 3, time_stride, padding=1, bias=False), nn.BatchNorm1d(n_out),
            nn.ReLU(inplace=True), nn.Conv1d(n_out, n_out, 3, padding=1, bias=False), nn.BatchNorm1d(n_out))
        self.shortcut = nn.Identity() if n_in == n_out and time_stride == 1 else nn.Sequential(
            nn.Conv1d(n_in, n_out, 1, time_stride, bias=False), nn.BatchNorm1d(n_out))

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.layers(x) + self.shortcut(x))


class WaveformStem(nn.Module):
    """(n, samples) -> (n, width, samples / 640): five strided convolutions."""

    strides = (5, 4, 4, 4, 2)  # their product is a picture's share of the samples

    def __init__(self, width: int):
        super().__init__()
        self.layers = nn.Sequential(*(
            nn.Sequential(nn.Conv1d(1 if k == 0 else width, width, 2 * stride + stride % 2, stride,
                                    padding=(stride + 1) // 2, bias=False),
                          nn.BatchNorm1d(width), nn.ReLU(inplace=True))
            for k, stride in enumerate(self.strides)))

    def forward(self, audio: Tensor) -> Tensor:
        return self.layers(audio[:, None])


class BandStem(nn.Module):
    """(n, samples) -> (n, width, samples / 640): log energies in linear bands, 100 a second, then two convolutions
    over time and frequency. Their maps keep the frequencies apart until all are joined per step."""

    maps = (16, 32)

    def __init__(self, bands: int, width: int):
        super().__init__()
        with torch.device("cpu"):  # torchaudio looks at the numbers, which "meta" does not have
            filters = AF.linear_fbanks(FFT // 2 + 1, 0.0, AUDIO_HZ / 2, bands, AUDIO_HZ)
        self.register_buffer("filters", filters.to(torch.get_default_device()), persistent=False)
        first, second = self.maps
        self.layers = nn.Sequential(
            nn.Conv2d(1, first, 5, 2, padding=2, bias=False), nn.BatchNorm2d(first), nn.ReLU(inplace=True),
            nn.Conv2d(first, second, 3, 2, padding=1, bias=False), nn.BatchNorm2d(second), nn.ReLU(inplace=True))
        self.join = nn.Sequential(nn.Conv1d(second * -(-bands // 4), width, 1, bias=False), nn.BatchNorm1d(width),
                                  nn.ReLU(inplace=True))

    def log_bands(self, audio: Tensor) -> Tensor:
        """(n, samples) -> (n, bands, samples / 160), mean 0 and deviation 1 over the window.

        What lies more than 80 dB under the loudest point is raised to that: digital silence tells the coder.
        """
        x = (band_energies(audio, self.filters) + 1e-10).log().transpose(1, 2)
        x = torch.maximum(x, x.amax((1, 2), keepdim=True) - DECIBELS_80)
        x = x - x.mean((1, 2), keepdim=True)
        return x / (x.square().mean((1, 2), keepdim=True) + 1e-4).sqrt()

    def forward(self, audio: Tensor) -> Tensor:
        x = self.layers(self.log_bands(audio)[:, None])  # n maps bands/4 T
        return self.join(x.flatten(1, 2))


class AudioStream(nn.Module):
    """Sound (n, samples) -> features of the four stages: (n, A_k, T_k), with the steps of the video stream."""

    def __init__(self, cfg: JointAVConfig):
        super().__init__()
        widths = cfg.sound_widths
        self.stem = WaveformStem(widths[0]) if cfg.sound == "waveform" else BandStem(cfg.bands, widths[0])
        self.stages = nn.ModuleList(
            nn.Sequential(AudioBlock(n_in, n_out, stride), *(AudioBlock(n_out, n_out, 1) for _ in range(depth - 1)))
            for n_in, n_out, stride, depth in zip((widths[0], *widths), widths, TIME_STRIDES, cfg.depths))

    def forward(self, audio: Tensor) -> list[Tensor]:
        x = self.stem(audio)
        told = []
        for stage in self.stages:
            x = stage(x)
            told.append(x)
        return told


# ------------------------------------------------------------------------------------------- sync-stream


class Attend(nn.Module):
    """Steps of one modality attend to those of another, or to their own. (n, T, d), (n, S, d) -> (n, T, d)."""

    def __init__(self, dim: int, heads: int):
        super().__init__()
        self.attention = nn.MultiheadAttention(dim, heads, batch_first=True)
        self.norm = nn.LayerNorm(dim)

    def forward(self, query: Tensor, other: Tensor) -> Tensor:
        return self.norm(query + self.attention(query, other, other, need_weights=False)[0])


class SyncStream(nn.Module):
    """v_k (n, C_k, T_k) and a_k (n, A_k, T_k) of all stages -> (n, 3·width).

    s_k = ReLU(W_k [v_k; a_k] + s_{k-1} averaged to T_k steps): moments stay aligned from the first stage to the last.
    Then v_4 and a_4, as steps of `width`, attend to themselves and after that to each other; the means over time of
    both and of s_4 are the feature.
    """

    def __init__(self, cfg: JointAVConfig):
        super().__init__()
        width, heads = cfg.sync_width, cfg.attention_heads
        self.join = nn.ModuleList(nn.Sequential(nn.Conv1d(c + a, width, 1, bias=False), nn.BatchNorm1d(width))
                                  for c, a in zip(cfg.widths, cfg.sound_widths))
        self.video_steps, self.audio_steps = (nn.Linear(w[-1], width) for w in (cfg.widths, cfg.sound_widths))
        steps = cfg.frames // math.prod(TIME_STRIDES)
        self.moment = nn.Parameter(torch.randn(steps, width) * 0.02)  # the same for both: "when"
        self.video_self, self.audio_self, self.video_cross, self.audio_cross = (
            Attend(width, heads) for _ in range(4))

    def forward(self, video: list[Tensor], audio: list[Tensor]) -> Tensor:
        s = None
        for join, v, a in zip(self.join, video, audio):
            joined = join(torch.cat([v, a], dim=1))
            s = F.relu(joined if s is None else joined + F.adaptive_avg_pool1d(s, joined.shape[2]))
        v = self.video_steps(video[-1].transpose(1, 2)) + self.moment
        a = self.audio_steps(audio[-1].transpose(1, 2)) + self.moment
        v, a = self.video_self(v, v), self.audio_self(a, a)
        v, a = self.video_cross(v, a), self.audio_cross(a, v)
        return torch.cat([v.mean(1), a.mean(1), s.mean(2)], dim=1)


# ------------------------------------------------------------------------------------------- the network


class JointAV(nn.Module):
    def __init__(self, cfg: JointAVConfig = PAPER):
        super().__init__()
        self.cfg = cfg
        self.video, self.audio = VideoStream(cfg), AudioStream(cfg)
        v, a = cfg.widths[-1], cfg.sound_widths[-1]
        self.video_head, self.audio_head = nn.Linear(v + cfg.beside, 2), nn.Linear(a + cfg.beside, 2)
        self.sync = SyncStream(cfg) if cfg.fusion == "sync" else None
        if cfg.fusion != "independent":
            self.whole_head = nn.Linear((3 * cfg.sync_width if self.sync else v + a) + 2 * cfg.beside, 2)
        self.face_encoder = FaceEncoder() if cfg.beside else None
        self.beside = Beside(cfg.beside, cfg.beside_dropout) if cfg.beside else None
        self.drop = nn.Dropout(cfg.dropout)
        self.pair = None if cfg.pair is None else SyncPair(cfg.pair).requires_grad_(False).eval()

    def train(self, mode: bool = True) -> JointAV:
        """The pair is pretrained and stays as it is."""
        super().train(mode)
        if self.pair is not None:
            self.pair.eval()
        return self

    def forward(self, faces: Tensor | None, audio: Tensor | None, lips: Tensor | None = None,
                lips_known: Tensor | None = None) -> Output:
        """faces (n, T, 3, px, px) in [0, 1], audio (n, samples), lips (n, T, 3, 48, 48). A missing one is None.

        lips_known (n, T) bool: lips that are seen, at 25 a second; None: all. `sync` is told from each window alone.
        Raises: ValueError for sizes other than the configuration's, or without faces and sound.
        """
        self._check(faces, audio)
        seen = None if faces is None else self.video(faces)
        heard = None if audio is None else self.audio(audio)
        video, sound = (None if told is None else told[-1].mean(2) for told in (seen, heard))  # n C
        summaries = self.summaries(None if faces is None else self.look(faces), audio)
        beside = self.beside(summaries) if summaries else {}
        video_logit = None if video is None else self._tell(self.video_head, video, beside, "faces")
        audio_logit = None if sound is None else self._tell(self.audio_head, sound, beside, "sound")
        whole = sync = None
        if video is not None and sound is not None and self.cfg.fusion != "independent":
            joined = torch.cat([video, sound], dim=1) if self.sync is None else self.sync(seen, heard)
            whole = self._tell(self.whole_head, joined, beside, "faces", "sound")
        if self.pair is not None and lips is not None and audio is not None:
            sync = self.pair.mismatch(*self.pair(lips, audio), lips_known)
        return Output(video_logit, audio_logit, whole, sync)

    def look(self, faces: Tensor) -> Tensor | None:
        """What the frozen encoder tells of every LOOKED_AT-th face, at the size that it knows: (n, T / LOOKED_AT, rows,
        dim)."""
        if self.face_encoder is None:
            return None
        some = faces[:, ::LOOKED_AT]
        large = F.interpolate(some.flatten(0, 1), size=(FACE_PX, FACE_PX), mode="bilinear", antialias=False)
        with torch.set_grad_enabled(torch.is_grad_enabled() and faces.requires_grad):
            return self.face_encoder(large).unflatten(0, some.shape[:2])

    def summaries(self, seen: Tensor | None, audio: Tensor | None) -> dict[str, Tensor]:
        """What stands beside the streams, before it is whitened, as Beside.summaries has it. seen: of `look`."""
        return {} if self.beside is None else self.beside.summaries(seen, audio)

    def start_head(self, name: str, weights: Tensor) -> None:
        """Let a head ("video", "audio" or "whole") say these log-odds of what stands beside, whatever the streams tell:
        weights (beside,), or (2 * beside,) with those of the face first."""
        if name != "whole" or self.cfg.fusion != "independent":
            head = getattr(self, f"{name}_head")
            start_head(head, list(range(head.in_features - len(weights), head.in_features)), weights, FAKE)

    def _tell(self, head: nn.Linear, feature: Tensor, beside: dict[str, Tensor], *names: str) -> Tensor:
        """The logit of a stream's feature, and of these `beside` where there are any."""
        return fake_logit(head(torch.cat([self.drop(feature), *(beside[name] for name in names if beside)], dim=1)))

    def _check(self, faces: Tensor | None, audio: Tensor | None) -> None:
        cfg = self.cfg
        if faces is None and audio is None:
            raise ValueError("neither faces nor sound")
        shape = (cfg.frames, 3, cfg.face_px, cfg.face_px)
        if faces is not None and faces.shape[1:] != shape:
            raise ValueError(f"faces must be (n, {', '.join(map(str, shape))}), not {tuple(faces.shape)}")
        if audio is not None and audio.shape[1:] != (cfg.samples,):
            raise ValueError(f"audio must be (n, {cfg.samples}), not {tuple(audio.shape)}")


def fake_logit(two_class: Tensor) -> Tensor:
    """(..., 2) class logits -> log-odds of fake (...)."""
    return two_class[..., FAKE] - two_class[..., REAL]


def build(card: dict) -> JointAV:
    """The network that card["architecture"], `asdict` of a config, describes; weights still random."""
    architecture = {k: tuple(v) if isinstance(v, list) else v for k, v in card["architecture"].items()}
    pair = architecture.get("pair")
    return JointAV(JointAVConfig(**{**architecture, "pair": None if pair is None else read_config(pair)}))


def example(config: JointAVConfig) -> tuple[Tensor, ...]:
    """One window of zeros, as `forward` takes it, on torch's default device."""
    faces = torch.zeros(1, config.frames, 3, config.face_px, config.face_px)
    lips = () if config.pair is None else (torch.zeros(1, config.frames, 3, config.pair.lips_px, config.pair.lips_px),)
    return faces, torch.zeros(1, config.samples), *lips


# ------------------------------------------------------------------------------------------- training


@dataclass(frozen=True)
class LossWeights:
    """The sum is INFERRED: the abstract says that the three labels are learnt together."""

    video: float = 1.0
    audio: float = 1.0
    whole: float = 1.0
    smoothing: float = 0.0


def joint_av_loss(out: Output, video_fake: Tensor, audio_fake: Tensor, mismatched: Tensor | None = None,
                  weights: LossWeights = LossWeights()) -> tuple[Tensor, dict[str, Tensor]]:
    """Weighted sum of the heads' two-class cross-entropies, and its unweighted parts (detached).

    video_fake, audio_fake: (n,) float, 1 fake, 0 real, NaN unknown; unknown ones are left out of every term. `whole`
    is fake where either is. mismatched (n,) bool: rows whose sound was shifted or is another clip's; they are fake to
    the sync-stream, and say nothing about picture or sound alone (ours).
    """
    whole_fake = either_fake(video_fake, audio_fake)
    if mismatched is not None:
        video_fake, audio_fake = (fake.masked_fill(mismatched, torch.nan) for fake in (video_fake, audio_fake))
        whole_fake = whole_fake.masked_fill(mismatched, 1.0)
    parts = {name: smoothed_bce(logit, fake, weights.smoothing)
             for name, logit, fake in (("video", out.video, video_fake), ("audio", out.audio, audio_fake),
                                       ("whole", out.whole, whole_fake)) if logit is not None}
    total = sum(getattr(weights, name) * part for name, part in parts.items())
    return total, {name: part.detach() for name, part in parts.items()}


# ------------------------------------------------------------------------------------------- the detector


class JointAVDetector:
    """A loaded network behind the contract of detectors/contract.py.

    card["calibration"] may hold {"video" | "audio" | "sync" | "whole": {"scale": a, "bias": b}}: sigmoid(a·logit + b).
    """

    id = "joint_av"

    def __init__(self, model: JointAV, card: dict, spec: InputSpec = SHIPPED_SPEC, device: str | torch.device = "cpu"):
        self.model = model.to(device).eval()
        self.card, self.spec, self.device = card, spec, torch.device(device)
        # Grad-CAM reads these maps. The frozen encoder sees every fourth face, at more detail than the stream.
        encoder = self.model.face_encoder
        self.camera_layers = {"face": self.model.video.stages[-1] if encoder is None else encoder.camera_layer,
                              "audio": self.model.audio.stages[-1]}

    def score(self, windows: Windows, batch_size: int = 4) -> WindowScores:
        """P(fake) per window: video and audio NaN where the window lacks them, whole where it lacks both.

        sync: the sound does not belong to the lips in the 4 s around a window, at the offset of the whole track; NaN
        where a window lacks either, None without a pair. A single window is told as by `logits`.
        """
        scores = score_windows(windows, self._stream_logits, ("video", "audio", "whole"), batch_size, self.device)
        sync, offset_s = (None, None) if self.model.pair is None else self._judge_sync(windows)
        return WindowScores(windows.start_s, windows.end_s, scores["video"], scores["audio"], sync, scores["whole"],
                            windows.track_id, offset_s=offset_s)

    def logits(self, inputs: Inputs) -> dict[str, Tensor]:
        """Of the heads whose modality is there. With one modality alone, whole is that one's own logit.

        sync is told from each window alone, without its neighbours, and is NaN where too little of it is known.
        """
        known = inputs.lips_seen
        if inputs.lips is not None and inputs.length_s is not None:  # a shorter clip is stretched: its lips are slow
            full = (inputs.length_s > self.spec.window_s - 1e-3)[:, None].expand(inputs.lips.shape[:2])
            known = full if known is None else known & full
        return self._calibrated(self.model(inputs.faces, inputs.audio, inputs.lips, known))

    def _stream_logits(self, inputs: Inputs) -> dict[str, Tensor]:
        """All but sync, which score() tells from more than a window."""
        return self._calibrated(self.model(inputs.faces, inputs.audio))

    def _calibrated(self, out: Output) -> dict[str, Tensor]:
        told = {name: logit for name, logit in out._asdict().items() if logit is not None}
        told = calibrated(self.card, told)
        if "whole" not in told:  # that of the only modality, or the higher one of two independent streams
            told["whole"] = torch.stack([told[name] for name in ("video", "audio") if name in told]).amax(0)
        return told

    def _judge_sync(self, windows: Windows) -> tuple[np.ndarray, float | None]:
        """P(mismatch) [n], and the offset in seconds."""
        full = (windows.end_s - windows.start_s > self.spec.window_s - 1e-3).all()
        track = judge_track(self.model.pair, windows) if full else None
        if track is None:
            return np.full(len(windows.start_s), np.nan), None
        logit = torch.from_numpy(track.around(windows.start_s, windows.end_s))
        score = calibrated(self.card, {"sync": logit})["sync"].sigmoid().numpy()
        return np.where(windows.has_face & windows.has_audio, score, np.nan), track.offset_s


def load_detector(state: dict[str, Tensor], card: dict, device: str | torch.device = "cpu") -> JointAVDetector:
    """The detector of a checkpoint. Strict: every weight must be there, and no other.

    Raises: RuntimeError when the weights are not those of the card's architecture.
    """
    model = build(card)
    model.load_state_dict(state, strict=True)
    return JointAVDetector(model, card, InputSpec(**{**card["input_spec"], "modalities": ("video", "audio")}), device)
