"""Detectors whose truth is known, behind the contract, and clips for them."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from detectors.contract import Inputs, InputSpec
from explain.baselines import blurred
from explain.target import Target
from media import AUDIO_HZ, ClipInfo, FaceTrack, PreparedClip, Quality

SPEC = InputSpec(window_s=1.0, hop_s=0.5, frames=4, face_px=32, audio_hz=AUDIO_HZ, modalities=("video", "audio"),
                 lips=8, lips_px=16)
CARD = {"checkpoint": "sha256:00", "thresholds": {"manipulated": 0.8, "suspicious": 0.6}}


class Spots(nn.Module):
    """logit = bias + face + lips + audio + face x audio, where face is the brightness of one square of the face in some
    frames, lips that of the lip crops' centre, audio the loudness of a band in a span."""

    def __init__(self, face=8.0, lips=0.0, audio=0.5, both=0.0, bias=0.0, rows=slice(24, 28), columns=slice(14, 18),
                 frames=slice(2, 3), band_hz=(3000, 5000), span_s=(0.5, 0.75)):
        super().__init__()
        self.weights = nn.Parameter(torch.tensor([face, lips, audio, both]))
        self.bias = bias
        self.place = (frames, rows, columns)
        self.band_hz, self.span_s = band_hz, span_s

    def forward(self, faces, lips, audio):
        seen = 0.0 if faces is None else self.brightness(faces)
        spoken = 0.0 if lips is None else lips[..., 4:12, 4:12].mean((1, 2, 3, 4))
        heard = 0.0 if audio is None else self.loudness(audio)
        face, lip, sound, both = self.weights
        return self.bias + face * seen + lip * spoken + sound * heard + both * seen * heard

    def brightness(self, faces):
        frames, rows, columns = self.place
        return faces[:, frames, :, rows, columns].mean((1, 2, 3, 4))

    def loudness(self, audio):
        begin, end = (round(s * AUDIO_HZ) for s in self.span_s)
        power = torch.fft.rfft(audio[:, begin:end]).abs().square()
        hz = torch.fft.rfftfreq(end - begin, 1 / AUDIO_HZ)
        return power[:, (hz >= self.band_hz[0]) & (hz < self.band_hz[1])].mean(1)


class Camera(nn.Module):
    """Bright squares of 4 x 4 pixels, found by a convolution, in frames that are folded into the batch."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 1, 4, stride=4, bias=False)
        nn.init.constant_(self.conv.weight, 1 / 48)
        self.unread = nn.Conv1d(1, 1, 400, stride=160)  # of the sound; no head asks for it

    def forward(self, faces, lips, audio):
        if audio is not None:
            self.unread(audio[:, None])
        squares = (self.conv(faces.flatten(0, 1)) - 0.6).relu()  # BT 1 8 8
        return 10 * squares.unflatten(0, (len(faces), -1)).sum((1, 2, 3, 4))


class Recurrent(nn.Module):
    """A small network of every kind that makes trouble: batch norm, dropout, a recurrent layer."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Sequential(nn.Conv2d(3, 4, 3, stride=2), nn.BatchNorm2d(4), nn.ReLU(inplace=True))
        self.gru = nn.GRU(4, 5, batch_first=True, bidirectional=True)
        self.drop, self.head = nn.Dropout(0.5), nn.Linear(10, 1)

    def forward(self, faces, lips, audio):
        maps = self.conv(faces.flatten(0, 1)).mean((2, 3)).unflatten(0, (len(faces), -1))
        return 5 * self.head(self.drop(self.gru(maps)[0][:, -1]))[:, 0]


class TinyDetector:
    id = "tiny"

    def __init__(self, model: nn.Module, spec: InputSpec = SPEC, heads=("video", "whole")):
        self.model, self.spec, self.card, self.heads = model.eval(), spec, CARD, heads

    def logits(self, inputs: Inputs) -> dict[str, torch.Tensor]:
        logit = self.model(inputs.faces, inputs.lips, inputs.audio)
        return dict.fromkeys(self.heads, logit)


def an_input(n=1, seed=0, faces=True, lips=True, audio=True) -> Inputs:
    """Grey noise with a bright square at the mouth in frame 2, and noise with a tone of 4 kHz from 0.5 to 0.75 s."""
    rng = np.random.default_rng(seed)
    pictures = rng.uniform(0.2, 0.4, (n, SPEC.frames, 3, 32, 32)).astype(np.float32)
    pictures[:, 2, :, 24:28, 14:18] = 0.95
    mouths = rng.uniform(0.2, 0.4, (n, SPEC.lips, 3, 16, 16)).astype(np.float32)
    mouths[:, 4:6, :, 6:10, 6:10] = 0.9
    sound = rng.normal(0, 1e-3, (n, AUDIO_HZ)).astype(np.float32)
    time_s = np.arange(AUDIO_HZ) / AUDIO_HZ
    sound += np.where((time_s >= 0.5) & (time_s < 0.75), 0.05 * np.sin(2 * np.pi * 4000 * time_s), 0).astype(np.float32)
    pick = lambda wanted, array: torch.from_numpy(array) if wanted else None  # noqa: E731
    return Inputs(pick(faces, pictures), pick(lips, mouths), pick(audio, sound))


def a_target(model: nn.Module, inputs: Inputs | None = None, spec: InputSpec = SPEC, **given) -> Target:
    inputs = an_input() if inputs is None else inputs
    n = len(next(t for t in inputs if t is not None))
    starts_s = np.arange(n) * spec.window_s
    return Target(TinyDetector(model, spec), inputs, given.pop("head", "whole"), given.pop("baseline", blurred(inputs)),
                  starts_s, starts_s + spec.window_s, **given)


def a_clip(duration_s=4.0, bright_s=(1.0, 2.0), sound=True) -> PreparedClip:
    """A grey face whose mouth is bright for a while, and noise."""
    rng = np.random.default_rng(1)
    times_s = np.round(np.arange(0, duration_s, 0.04), 2)
    faces = rng.integers(50, 100, (len(times_s), 32, 32, 3), np.uint8)
    faces[(times_s >= bright_s[0]) & (times_s < bright_s[1]), 24:28, 14:18] = 242
    lips = rng.integers(50, 100, (len(times_s), 16, 16, 3), np.uint8)
    track = FaceTrack(0, times_s, np.zeros((len(times_s), 4), np.float32), np.zeros((len(times_s), 5, 2), np.float32),
                      np.ones(len(times_s)))
    waveform = rng.normal(0, 1e-3, round(duration_s * AUDIO_HZ)).astype(np.float32) if sound else None
    info = ClipInfo("x.mp4", "0" * 64, 1, "mp4", duration_s, video_codec="h264", audio_codec="aac")
    return PreparedClip(info, (track,), {0: faces}, {0: lips}, waveform, ((0.0, duration_s),), Quality((), {}))
