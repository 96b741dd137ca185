"""Do these lips belong to this sound, and by how much does the sound come late? Learnt from genuine clips alone.

    lips  (n, T, 3, 48, 48) 25 Hz ─ grey ─ 5 pictures x 5 x 5 convolution ─ 3 strided ones ─ 3 steps ─┐ unit vectors
    sound (n, T·640)       16 kHz ─ log-mel 100 Hz ─ 3 convolutions, two of stride 2 ──────── 3 steps ─┘ (n, T, dim)

A step is 40 ms: one picture, 640 samples. similarity[o, t] = lips[t] · sound[t + o]; where the sound comes k steps
after the picture, it is highest at o = +k. The pair is trained by InfoNCE over the offsets of the same clip (as
"Perfect match", Chung et al., ICASSP 2019, which draws its negatives from the same clip), not over other people's
clips: a voice and a face must not be matched by sex or loudness.

- Evidence is how far the agreement at one offset lies above the best one beyond NEAR steps. The offset is the track's
  own best, but within NEAR: files are muxed carelessly, and a free search among all offsets finds a peak in anything.
  On validation talk of 4 s this lead told shifted sound from genuine with an AUC of .97 and swapped sound with .95;
  the lead over the mean of the other offsets .94 and .93; the agreement itself, by an earlier pair, .83 against .93.
- It is evidence of MISMATCH alone: shifted, swapped or badly dubbed sound. Faces that were driven by the sound fit it
  better than genuine ones do (as a detector of fakes, mismatch had an AUC of .35 on lip-sync and .40 on talking heads),
  so good sync says nothing, neither for nor against.
- No face or no voice, no answer (None or NaN). Who calls has to know that there is a voice.
- Position must not leak: a convolution that is padded sees the ends of what it is given, in both modalities at the
  same steps, and "both at the end" would pass for agreement. Steps within EDGE of an end, or of a step that is not
  known, are therefore never compared. Levels are absolute (no mean over the window), so that what lies elsewhere in
  a window changes nothing either.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
import torchaudio.functional as AF
from torch import Tensor, nn

from detectors.checkpoint import read_checkpoint
from detectors.contract import Windows
from detectors.heap import tidied
from detectors.recall import Encoder, recall_neighbours

STEP_HZ = 25
AUDIO_HZ = 16_000
STEP_SAMPLES = AUDIO_HZ // STEP_HZ
MOST = 15  # steps: offsets that are compared, 0.6 s either way
NEAR = 6  # steps: offsets that a file may have and still count as in sync
IGNORE = 2  # steps around an offset that are neither it nor something else: speech changes slowly
EDGE = 3  # steps at either end whose vectors have seen padding
SPAN = 100  # steps over which mismatch is told, where there are as many
LEAST = 20  # compared steps below which nothing is told
CONTEXT = 5  # pictures that the first lip layer sees at once
FRAME, HOP, FFT = 400, 160, 512  # samples: 25 ms every 10 ms
PIECE = 500  # steps of a track that are encoded at once


@dataclass(frozen=True)
class SyncConfig:
    """The architecture. JSON-able by `dataclasses.asdict`, read back by `build`."""

    dim: int = 64
    lips_px: int = 48
    lip_widths: tuple[int, int, int, int] = (16, 32, 64, 96)
    sound_widths: tuple[int, int, int] = (64, 96, 128)
    bands: int = 40


# ------------------------------------------------------------------------------------------- the network


class SyncPair(Encoder):
    """Lip and sound encoders with one space in common."""

    def __init__(self, cfg: SyncConfig | None = None):
        super().__init__()
        self.cfg = cfg = cfg or SyncConfig()
        first, *widths = cfg.lip_widths
        self.lip_layers = nn.Sequential(
            _unit2d(CONTEXT, first, kernel=5),
            *(_unit2d(n_in, n_out, kernel=3) for n_in, n_out in zip((first, *widths), widths)), nn.Flatten())
        side = math.ceil(cfg.lips_px / 2 ** len(cfg.lip_widths))
        self.lip_head = _head(widths[-1] * side**2, widths[-1], cfg.dim)
        a, b, c = cfg.sound_widths
        self.sound_layers = nn.Sequential(_unit1d(cfg.bands, a, 3, 1), _unit1d(a, b, 4, 2), _unit1d(b, c, 4, 2))
        self.sound_head = _head(c, widths[-1], cfg.dim)
        self.register_buffer("mel", mel_filters(cfg.bands), persistent=False)
        # The inverse temperatures of the frame and the segment loss, as logarithms.
        self.log_sharpness = nn.Parameter(torch.tensor([2.0, 3.0]))
        # Of `mismatch_logit`, fitted after training: slope, middle, chance, half.
        self.register_buffer("calibration", torch.tensor([20.0, 0.15, 0.0, 50.0]))

    def forward(self, lips: Tensor, audio: Tensor) -> tuple[Tensor, Tensor]:
        """Unit vectors of both, (n, T, dim) each."""
        return self.encode_lips(lips), self.encode_sound(audio)

    def encode_lips(self, lips: Tensor) -> Tensor:
        """(n, T, 3 or 1, px, px) in [0, 1], 25 a second -> unit vectors (n, T, dim). A black picture is no picture.

        Other sizes than lips_px are averaged down to it.
        """
        n, steps = lips.shape[:2]
        grey = lips.flatten(0, 1)
        if grey.shape[1] == 3:
            grey = torch.einsum("nchw,c->nhw", grey, grey.new_tensor([0.299, 0.587, 0.114]))[:, None]
        if grey.shape[-1] != self.cfg.lips_px:
            grey = F.interpolate(grey, size=(self.cfg.lips_px, self.cfg.lips_px), mode="area")
        grey = grey - grey.mean((2, 3), keepdim=True)  # light does not count, contrast does not count
        grey = grey / (grey.square().mean((2, 3), keepdim=True) + 1e-4).sqrt()
        pictures = grey.unflatten(0, (n, steps)).squeeze(2)  # n T px px
        return self._unit(recall_neighbours(self, pictures, CONTEXT, self.lip_layers), self.lip_head)

    def encode_sound(self, audio: Tensor) -> Tensor:
        """(n, T·640) 16 kHz -> unit vectors (n, T, dim). Raises: ValueError for another length."""
        if audio.shape[1] % STEP_SAMPLES:
            raise ValueError(f"sound must be a multiple of {STEP_SAMPLES} samples, not {audio.shape[1]}")
        return self._unit(self.sound_layers(self.log_mel(audio)).transpose(1, 2), self.sound_head)

    def log_mel(self, audio: Tensor) -> Tensor:
        """(n, T·640) -> (n, bands, 4·T), roughly within -2 to 2. Frame i is centred on sample 160 i + 80."""
        return ((band_energies(audio, self.mel) + 1e-5).log10() / 2).transpose(1, 2)

    @staticmethod
    def _unit(features: Tensor, head: nn.Module) -> Tensor:
        return F.normalize(head(features.transpose(1, 2)).transpose(1, 2), dim=2)

    def mismatch_logit(self, evidence: Tensor, steps: Tensor) -> Tensor:
        """Logit of "this sound does not belong to these lips" from the evidence (...) over so many steps (...).

        slope · n / (n + half) · (middle - chance / √n - evidence). Two normal distributions whose variance has a part
        from the clip and one that falls with the number of steps give the first two factors: fewer steps say less.
        The best of many offsets is ahead by chance, the more the fewer steps there are: so the middle moves.
        NaN below LEAST steps.
        """
        slope, middle, chance, half = self.calibration
        logit = slope * steps / (steps + half) * (middle - chance / steps.clamp(min=1).sqrt() - evidence)
        return torch.where((steps >= LEAST) & evidence.isfinite(), logit, torch.nan)

    def mismatch(self, lips: Tensor, sound: Tensor, known: Tensor | None = None) -> Tensor:
        """Logit of mismatch of each whole span, at its own best offset within NEAR: vectors (n, T, dim), known (n, T)
        -> (n,)."""
        alike, there = compare(lips, sound, known)
        agree = agreement(alike, there)
        return self.mismatch_logit(*evidence_at(agree, there.sum(-1), best_offset(agree, NEAR)))

    def mismatch_curve(self, lips: Tensor, sound: Tensor, known: Tensor | None = None,
                       span: int = SPAN) -> Tensor:
        """Logit of mismatch around each step of one track: vectors (T, dim), known (T,) -> (T,).

        Step t is told from the steps within span / 2 of it, at the track's own best offset within NEAR.
        """
        alike, there = compare(lips, sound, known)
        offset = best_offset(agreement(alike, there), NEAR)
        sums = F.pad(torch.stack([alike * there, there.to(alike)]).double().cumsum(2), (1, 0))  # 2 K T+1
        at = torch.arange(len(lips), device=lips.device)
        first, last = (at - span // 2).clamp(min=0), (at + (span + 1) // 2).clamp(max=len(lips))
        total, count = (sums[..., last] - sums[..., first]).to(alike).transpose(1, 2)  # T K each
        agree = torch.where(count > 0, total / count.clamp(min=1), -torch.inf)
        return self.mismatch_logit(*evidence_at(agree, count, offset))


def build(card: dict) -> SyncPair:
    """The pair that card["architecture"], `asdict` of a SyncConfig, describes; weights still random."""
    return SyncPair(read_config(card["architecture"]))


def load_pair(path: Path) -> tuple[SyncPair, dict]:
    """A pretrained pair, in eval mode, and its card. Raises: CheckpointError."""
    state, card = read_checkpoint(path)
    pair = build(card)
    pair.load_state_dict(state)
    return pair.eval(), card


def read_config(architecture: dict) -> SyncConfig:
    """From `asdict` of a SyncConfig, JSON's lists being tuples again."""
    return SyncConfig(**{k: tuple(v) if isinstance(v, list) else v for k, v in architecture.items()})


def _unit2d(n_in: int, n_out: int, kernel: int) -> nn.Sequential:
    conv = nn.Conv2d(n_in, n_out, kernel, stride=2, padding=kernel // 2, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(n_out), nn.ReLU())


def _unit1d(n_in: int, n_out: int, kernel: int, stride: int) -> nn.Sequential:
    conv = nn.Conv1d(n_in, n_out, kernel, stride, padding=1, bias=False)
    return nn.Sequential(conv, nn.BatchNorm1d(n_out), nn.ReLU())


def _head(n_in: int, width: int, dim: int) -> nn.Sequential:
    """(n, n_in, T) -> (n, dim, T): one step, then three steps at once."""
    return nn.Sequential(
        nn.Conv1d(n_in, width, 1, bias=False), nn.BatchNorm1d(width), nn.ReLU(), nn.Conv1d(width, dim, 3, padding=1))


def band_energies(audio: Tensor, filters: Tensor) -> Tensor:
    """Power in bands, 100 frames a second: (n, T·640), filters (FFT / 2 + 1, bands) -> (n, 4·T, bands).

    Frame i is 25 ms long and centred on sample 160 i + 80, so that four frames make a step.
    """
    frames = F.pad(audio, ((FRAME - HOP) // 2,) * 2).unfold(1, FRAME, HOP)  # n 4T FRAME
    spectrum = torch.fft.rfft(frames * torch.hann_window(FRAME, device=audio.device), n=FFT)
    return torch.view_as_real(spectrum).square().sum(-1) @ filters


def mel_filters(bands: int) -> Tensor:
    """(FFT / 2 + 1, bands): triangles from 80 to 7600 Hz, evenly spaced in mel."""
    with torch.device("cpu"):  # torchaudio looks at the numbers, which "meta" does not have
        filters = AF.melscale_fbanks(FFT // 2 + 1, 80.0, 7600.0, bands, AUDIO_HZ)
    return filters.to(torch.get_default_device())


# ------------------------------------------------------------------------------------------- agreement over offsets


def similarity(lips: Tensor, sound: Tensor, most: int = MOST) -> Tensor:
    """lips[t] · sound[t + o] for o from -most to most: (..., T, dim) twice -> (..., 2 most + 1, T).

    0 where t + o lies outside.
    """
    around = F.pad(sound, (0, 0, most, most)).unfold(-2, 2 * most + 1, 1)  # ... T dim 2most+1, no copy
    pieces = zip(lips.split(PIECE, -2), around.split(PIECE, -3))  # the sum copies what it is over
    return torch.cat([torch.einsum("...td,...tdo->...ot", here, near) for here, near in pieces], -1)


def trusted(known: Tensor) -> Tensor:
    """(..., T) bool: known, and all within EDGE of it too: other vectors have seen padding."""
    return F.pad(known, (EDGE, EDGE)).unfold(-1, 2 * EDGE + 1, 1).all(-1)


def compared(lips_known: Tensor, sound_known: Tensor, most: int = MOST) -> Tensor:
    """Where step t of the lips and step t + o of the sound can both be trusted: (..., T) bool twice ->
    (..., 2 most + 1, T)."""
    around = F.pad(trusted(sound_known), (most, most)).unfold(-1, 2 * most + 1, 1)  # ... T 2most+1
    return trusted(lips_known)[..., None, :] & around.transpose(-1, -2)


def compare(lips: Tensor, sound: Tensor, known: Tensor | None = None, most: int = MOST) -> tuple[Tensor, Tensor]:
    """similarity, and where it counts, both (..., 2 most + 1, T). known (..., T): steps that have lips and sound."""
    if known is None:
        known = torch.ones(lips.shape[:-1], dtype=torch.bool, device=lips.device)
    return similarity(lips, sound, most), compared(known, known, most)


def agreement(alike: Tensor, there: Tensor) -> Tensor:
    """Mean similarity at each offset over what is there: (..., K, T) twice -> (..., K); -inf where nothing is."""
    count = there.sum(-1)
    return torch.where(count > 0, (alike * there).sum(-1) / count.clamp(min=1), -torch.inf)


def best_offset(agreement: Tensor, within: int) -> Tensor:
    """(..., 2 most + 1) -> steps (...) int64 by which the sound comes late, at most `within` either way."""
    most = agreement.shape[-1] // 2
    within = min(within, most)
    return agreement[..., most - within:most + within + 1].argmax(-1) - within


def evidence_at(agree: Tensor, count: Tensor, offset: Tensor) -> tuple[Tensor, Tensor]:
    """The lead of the agreement at an offset over the best one beyond NEAR, and the steps that it rests on, (...) both.

    agree (..., 2 most + 1), from so many steps each: count likewise; offset (...) or one for all.
    """
    most = agree.shape[-1] // 2
    near = torch.arange(-most, most + 1, device=agree.device).abs() <= NEAR
    place = (offset + most).expand(agree.shape[:-1])[..., None]
    lead = agree.gather(-1, place).squeeze(-1) - agree.masked_fill(near, -torch.inf).amax(-1)
    return lead, count.gather(-1, place).squeeze(-1)


@torch.no_grad()
def estimate_offset_s(lips: Tensor, sound: Tensor, known: Tensor | None = None, most: int = MOST) -> float | None:
    """Seconds by which the sound of one track comes after its picture: vectors (T, dim), known (T,).

    Negative: the sound comes first. None where fewer than LEAST steps can be compared at offset 0.
    """
    alike, there = compare(lips, sound, known, most)
    if there[most].sum() < LEAST:
        return None
    return best_offset(agreement(alike, there), most).item() / STEP_HZ


# ------------------------------------------------------------------------------------------- whole tracks


@dataclass(frozen=True)
class Strip:
    """The windows of one track put back in their places: steps from 0 s on."""

    windows: Windows
    places: np.ndarray  # [T, 2] int: the window that shows the lips of a step, and where in it; -1 where none does
    heard: np.ndarray  # [n, 2] int: first and one past the last sample that each window lets hear
    known: np.ndarray  # [T] bool: lips are seen and there is sound

    def lips(self, begin: int, end: int) -> np.ndarray:
        """[end - begin, px, px, 3] uint8 of these steps; black where none are seen."""
        window, row = self.places[begin:end].T
        shown = window >= 0
        cut = np.zeros((end - begin, *self.windows.lips.shape[2:]), np.uint8)
        cut[shown] = self.windows.lips[window[shown], row[shown]]
        return cut

    def audio(self, begin: int, end: int) -> np.ndarray:
        """[(end - begin)·640] float32 of these steps; 0 where nothing is heard."""
        first, last = begin * STEP_SAMPLES, end * STEP_SAMPLES
        cut = np.zeros(last - first, np.float32)
        for n in np.flatnonzero((self.heard[:, 0] < last) & (self.heard[:, 1] > first)):
            begins, ends = np.clip(self.heard[n], first, last)
            cut[begins - first:ends - first] = self.windows.audio[n][begins - self.heard[n, 0]:ends - self.heard[n, 0]]
        return cut


def stitch(windows: Windows) -> Strip | None:
    """Lips at 25 a second and sound of overlapping windows; None where there are no lips or no sound.

    A window that is shorter than its lips say (the clip ended) counts as far as it goes: its lips must be padded, not
    stretched.
    """
    if windows.lips is None or windows.audio is None:
        return None
    steps = math.ceil(round(windows.end_s.max() * STEP_HZ, 6))
    places = np.full((steps, 2), -1)
    samples = np.zeros((len(windows.start_s), 2), int)
    heard = np.zeros(steps * STEP_SAMPLES, bool)
    for n, (start_s, end_s) in enumerate(zip(windows.start_s, windows.end_s)):
        if windows.has_face[n]:
            rows = np.flatnonzero(windows.lips_seen[n])
            rows = rows[rows + round(start_s * STEP_HZ) < steps]
            places[rows + round(start_s * STEP_HZ)] = np.stack([np.full(len(rows), n), rows], axis=1)
        if windows.has_audio[n]:
            first = round(start_s * AUDIO_HZ)
            last = min(round(end_s * AUDIO_HZ), len(heard))
            if windows.heard_s is not None:  # after the sound's end come repetitions of it
                last = min(last, first + round(windows.heard_s[n] * AUDIO_HZ))
            samples[n] = first, max(first, last)
            heard[first:last] = True
    return Strip(windows, places, samples, (places[:, 0] >= 0) & heard.reshape(steps, STEP_SAMPLES).all(1))


@dataclass(frozen=True)
class TrackSync:
    """What is told of one track."""

    offset_s: float | None  # by which the sound comes after the picture; None: too little to tell
    logit: np.ndarray  # [T] of mismatch around each step from 0 s on; NaN where nothing is told

    def around(self, start_s: np.ndarray, end_s: np.ndarray) -> np.ndarray:
        """The logit at the middles of spans [n]."""
        middle = ((start_s + end_s) / 2 * STEP_HZ).astype(int)
        return self.logit[np.clip(middle, 0, len(self.logit) - 1)]


@torch.inference_mode()
def judge_track(pair: SyncPair, windows: Windows) -> TrackSync | None:
    """Offset and mismatch of a track over all its windows; None where there are no lips or no sound."""
    strip = stitch(windows)
    if strip is None:
        return None
    device = pair.mel.device
    pieces = []
    for first in tidied(range(0, len(strip.known), PIECE), lambda first: (first + PIECE) / STEP_HZ):
        begin, end = max(first - EDGE, 0), min(first + PIECE + EDGE, len(strip.known))
        lips = torch.from_numpy(strip.lips(begin, end)).to(device).permute(0, 3, 1, 2).float() / 255
        audio = torch.from_numpy(strip.audio(begin, end)).to(device)
        pieces.append([vectors[0, first - begin:][:PIECE] for vectors in pair(lips[None], audio[None])])
    lips, sound = map(torch.cat, zip(*pieces))
    known = torch.from_numpy(strip.known).to(device)
    return TrackSync(estimate_offset_s(lips, sound, known),
                     pair.mismatch_curve(lips, sound, known).double().cpu().numpy())


# ------------------------------------------------------------------------------------------- training


def frame_loss(alike: Tensor, there: Tensor, sharpness: Tensor | float) -> Tensor:
    """InfoNCE of every step over the offsets of its own clip: -log softmax(sharpness · alike) at offset 0.

    alike, there (n, K, T). Offsets of 1 to IGNORE steps take no part, and steps that lack offset 0 none either.
    """
    taking = there & _rivals(alike)
    logits = (sharpness * alike).masked_fill(~taking, -torch.inf)
    known = there[:, alike.shape[1] // 2]
    return -F.log_softmax(logits.transpose(1, 2)[known], dim=1)[:, alike.shape[1] // 2].mean()


def segment_loss(alike: Tensor, there: Tensor, sharpness: Tensor | float) -> Tensor:
    """The same of each clip's mean similarity per offset. Clips that lack offset 0 take no part."""
    zero = alike.shape[1] // 2
    alike, there = (x[there[:, zero].any(1)] for x in (alike, there))
    mean, taking = agreement(alike, there), there.any(2) & _rivals(alike)[:, 0]
    # Masked twice: the slope in `sharpness` of a product with -inf would be NaN.
    logits = (sharpness * mean.masked_fill(~taking, 0)).masked_fill(~taking, -torch.inf)
    return -F.log_softmax(logits, dim=1)[:, zero].mean()


def _rivals(alike: Tensor) -> Tensor:
    """(K, 1) bool: offset 0 and those that it has to beat. Shaped to broadcast over (n, K, T)."""
    most = alike.shape[-2] // 2
    distance = torch.arange(-most, most + 1, device=alike.device).abs()
    return ((distance == 0) | (distance > IGNORE))[:, None]


def sync_loss(pair: SyncPair, lips: Tensor, sound: Tensor,
              known: Tensor | None = None) -> tuple[Tensor, dict[str, Tensor]]:
    """frame_loss + segment_loss of vectors (n, T, dim) of genuine, aligned clips, and both (detached)."""
    alike, there = compare(lips, sound, known)
    frame_sharpness, segment_sharpness = pair.log_sharpness.exp()
    parts = {"frame": frame_loss(alike, there, frame_sharpness),
             "segment": segment_loss(alike, there, segment_sharpness)}
    return sum(parts.values()), {name: part.detach() for name, part in parts.items()}
