"""A small neural vocoder, from mel spectrogram to speech: it copies genuine speech, same words and same voice.

After Siuzdak, "Vocos", ICLR 2024, arXiv 2306.00814: ConvNeXt blocks at the rate of the mel frames, and a last layer
that tells magnitude and phase of a short-time Fourier transform, whose inverse is the sound.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from pydantic import Field
from scipy.ndimage import gaussian_filter1d
from torch import Tensor, nn

from media import AUDIO_HZ
from media.sound import MEL_HOP, level_dbfs, log_mel
from training.forge.footage import Footage, Forgery, Span, Truth, Unsuitable
from training.forge.learnt.genuine import Talk
from training.forge.learnt.objectives import Attempt, MelDifference, SpectrogramCritic, spectral_difference
from training.forge.learnt.recipe import Course, Section

MELS = 80
LOW_HZ, HIGH_HZ = 20.0, 7600.0  # the range of media.sound's mel bands
WINDOW = 4 * MEL_HOP  # samples of the inverse transform: 40 ms
QUIETEST_DBFS = -60.0  # below this there is nothing to copy
_ENVELOPE_BANDS = 4.0  # standard deviation of the blur over mel bands that takes the harmonics away


class VocoderShape(Section):
    width: int = Field(gt=0)
    blocks: int = Field(gt=0)
    expansion: int = Field(gt=0)


class VocoderLosses(Section):
    spectral: float = Field(ge=0)
    mel: float = Field(ge=0)


class VocoderRecipe(Course):
    generator: Literal["vocoder"]
    network: VocoderShape
    losses: VocoderLosses
    cut_frames: int = Field(gt=8)  # length of a training example in mel frames of 10 ms


# ---- the network --------------------------------------------------------------------------------------------------


class Vocoder(nn.Module):
    """Log-mel (N, 80, T) as media.sound.log_mel gives it -> sound (N, (T - 1) * MEL_HOP)."""

    def __init__(self, shape: VocoderShape) -> None:
        super().__init__()
        self.shape = shape
        self.enter = nn.Conv1d(MELS, shape.width, 7, padding=3)
        self.enter_norm = nn.LayerNorm(shape.width)
        self.blocks = nn.ModuleList(_ConvNeXt(shape.width, shape.expansion, 1 / shape.blocks)
                                    for _ in range(shape.blocks))
        self.norm = nn.LayerNorm(shape.width)
        self.tell = nn.Linear(shape.width, WINDOW + 2)  # log magnitude and angle of WINDOW / 2 + 1 bands
        self.register_buffer("window", torch.hann_window(WINDOW), persistent=False)

    @classmethod
    def build(cls, card: dict) -> Vocoder:
        return cls(VocoderShape.model_validate(card["network"]))

    @property
    def card(self) -> dict:
        return {"network": self.shape.model_dump()}

    def forward(self, mel: Tensor) -> Tensor:
        x = self.enter_norm(self.enter((mel + 6) / 4).transpose(1, 2))  # (N, T, width)
        for block in self.blocks:
            x = block(x)
        size, angle = self.tell(self.norm(x)).float().transpose(1, 2).chunk(2, dim=1)
        spectrum = torch.polar(size.exp().clamp(max=200.0), angle)  # (N, WINDOW / 2 + 1, T)
        return torch.istft(spectrum, WINDOW, MEL_HOP, window=self.window)


class _ConvNeXt(nn.Module):
    """(N, T, width): depth-wise over time, then two dense layers (Liu et al., CVPR 2022)."""

    def __init__(self, width: int, expansion: int, scale: float) -> None:
        super().__init__()
        self.mix = nn.Conv1d(width, width, 7, padding=3, groups=width)
        self.norm = nn.LayerNorm(width)
        self.widen, self.narrow = nn.Linear(width, expansion * width), nn.Linear(expansion * width, width)
        self.scale = nn.Parameter(torch.full((width,), scale))

    def forward(self, x: Tensor) -> Tensor:
        mixed = self.norm(self.mix(x.transpose(1, 2)).transpose(1, 2))
        return x + self.scale * self.narrow(F.gelu(self.widen(mixed)))


# ---- learning -----------------------------------------------------------------------------------------------------


class VocoderBatches:
    """Pieces of genuine speech at levels from loud to soft, clips by the root of their length."""

    @staticmethod
    def reads(_recipe: VocoderRecipe) -> dict:
        return {"side_px": None, "sound": True}

    def __init__(self, recipe: VocoderRecipe, talks: list[Talk]) -> None:
        self.size, self.samples = recipe.batch, (recipe.cut_frames - 1) * MEL_HOP
        self.waveforms = [t.waveform for t in talks]
        weights = np.sqrt([len(w) for w in self.waveforms])
        self.weights = weights / weights.sum()

    def draw(self, rng: np.random.Generator) -> dict[str, Tensor]:
        """sound (N, samples) float32, mel (N, 80, cut_frames) float32."""
        sounds = np.stack([self._piece(self.waveforms[n], rng)
                           for n in rng.choice(len(self.waveforms), self.size, p=self.weights)])
        return {"sound": torch.from_numpy(sounds), "mel": torch.stack([log_mel(s, MELS) for s in sounds])}

    def _piece(self, waveform: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """The louder of two random pieces (pauses teach little), peaking between -20 and -0.5 dBFS."""
        if len(waveform) < self.samples:
            waveform = np.pad(waveform, (0, self.samples - len(waveform)))
        starts = rng.integers(len(waveform) - self.samples + 1, size=2)
        piece = max((waveform[s:s + self.samples] for s in starts), key=level_dbfs)
        peak = 10 ** (rng.uniform(-20, -0.5) / 20)
        return (piece * (peak / max(float(np.abs(piece).max()), 1e-3))).astype(np.float32)


class VocoderLesson(nn.Module):
    def __init__(self, recipe: VocoderRecipe, batches: VocoderBatches) -> None:
        super().__init__()
        self.generator = Vocoder(recipe.network)
        self.mel_difference = MelDifference()

    @staticmethod
    def make_critic(width: int) -> nn.Module:
        return SpectrogramCritic(width)

    def forward(self, batch: dict[str, Tensor]) -> Attempt:
        true = batch["sound"]
        made = self.generator(batch["mel"])
        return Attempt(made, true, {"spectral": spectral_difference(made, true),
                                    "mel": self.mel_difference(made, true)})


# ---- the forgeries ------------------------------------------------------------------------------------------------


def copy_synthesise_neural(vocoder: Vocoder) -> Forgery:
    """The same speech, made again from its mel spectrogram. The forgery raises Unsuitable where it is silent."""

    def forge(footage: Footage, _rng: np.random.Generator) -> tuple[Footage, Truth]:
        return _with_speech(vocoder, footage, mel_of(footage), "learnt_copy", {})

    return forge


def shift_voice(vocoder: Vocoder, what: str) -> Forgery:
    """The same speech by a shifted voice: its mel spectrogram is stretched along frequency, then made sound again.

    what: "pitch" moves the harmonics and leaves the envelope, "timbre" the other way round, "both" moves all.
    The forgery raises Unsuitable where the footage is silent.
    """
    if what not in ("pitch", "timbre", "both"):
        raise ValueError(f"what is shifted is pitch, timbre or both, not {what!r}")

    def forge(footage: Footage, rng: np.random.Generator) -> tuple[Footage, Truth]:
        ratio = float(rng.uniform(1.06, 1.25)) ** float(rng.choice([-1, 1]))
        mel = shifted(mel_of(footage), what, ratio)
        return _with_speech(vocoder, footage, mel, "learnt_shift", {"what": what, "ratio": round(ratio, 4)})

    return forge


def shifted(mel: np.ndarray, what: str, ratio: float) -> np.ndarray:
    """Log-mel [80, T] with what lies at f moved to f * ratio: the envelope over frequency, what is finer, or both."""
    envelope = gaussian_filter1d(mel, _ENVELOPE_BANDS, axis=0, mode="nearest")
    fine = mel - envelope
    if what in ("timbre", "both"):
        envelope = _stretched(envelope, ratio)
    if what in ("pitch", "both"):
        fine = _stretched(fine, ratio)
    return (envelope + fine).astype(np.float32)


def band_centres_hz() -> np.ndarray:
    """Centres of media.sound's mel bands (HTK scale), [80]."""
    low, high = (2595 * np.log10(1 + hz / 700) for hz in (LOW_HZ, HIGH_HZ))
    return 700 * (10 ** (np.linspace(low, high, MELS + 2)[1:-1] / 2595) - 1)


def _stretched(mel: np.ndarray, ratio: float) -> np.ndarray:
    centres_hz = band_centres_hz()
    place = np.interp(centres_hz / ratio, centres_hz, np.arange(MELS))  # band that each band is read from
    below = np.minimum(place.astype(int), MELS - 2)
    share = (place - below)[:, None]
    return (1 - share) * mel[below] + share * mel[below + 1]


@torch.inference_mode()
def speak(vocoder: Vocoder, mel: np.ndarray, samples: int) -> np.ndarray:
    """Log-mel [80, T] -> its first samples, at most (T - 1) * MEL_HOP, float32 in [-1, 1]."""
    device = vocoder.window.device
    sound = vocoder(torch.from_numpy(mel)[None].to(device))[0].cpu().numpy()
    return np.clip(sound[:samples], -1, 1)


def mel_of(footage: Footage) -> np.ndarray:
    """Log-mel [80, T] of all of its sound. Raises: Unsuitable where it has none, or only silence."""
    if footage.sound is None or level_dbfs(footage.sound) < QUIETEST_DBFS:
        raise Unsuitable("there is nothing to hear")
    # Filled up to whole hops by its mirror image: else the copy would end in up to 10 ms of zeros, a mark of its own.
    filled = np.pad(footage.sound, (0, -len(footage.sound) % MEL_HOP), mode="reflect")
    return log_mel(filled, MELS).numpy()


def _with_speech(vocoder: Vocoder, footage: Footage, mel: np.ndarray, family: str,
                 drawn: dict) -> tuple[Footage, Truth]:
    sound = speak(vocoder, mel, len(footage.sound))
    span = Span(0.0, len(sound) / AUDIO_HZ, "audio")
    return replace(footage, sound=sound), Truth(footage.clip_id, (span,), steps=((family, drawn),))
