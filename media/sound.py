"""Sound: from decoded frames to one 16 kHz waveform on the clip's clock, its spectra, and where a voice is."""

from __future__ import annotations

from contextlib import suppress
from functools import lru_cache

import av
import numpy as np
import torch
import torchaudio

from media.clip import AUDIO_HZ

MEL_HOP = 160  # samples: 10 ms
MEL_WINDOW = 400  # samples: 25 ms
_CANCELLED_DB = 20.0  # a mix this far below its louder channel: the channels are in opposite phase
_JUMP_S = 0.06  # a smaller disagreement between timestamps and sample count is clock jitter, not a gap


class WaveformBuilder:
    """Collects decoded audio frames into a mono 16 kHz waveform whose sample 0 is the clip's time 0."""

    def __init__(self) -> None:
        self._chunks: list[np.ndarray] = []  # [1 or 2 channels, samples]
        self._samples = 0
        self._resampler: av.AudioResampler | None = None
        self._source: tuple[str, str, int] | None = None  # what the resampler was set up for

    @property
    def end_s(self) -> float:
        return self._samples / AUDIO_HZ

    def add(self, frame: av.AudioFrame, time_s: float | None) -> None:
        pieces = self._resample(frame)  # first: where it fails, no silence may stand in for the lost sound
        if time_s is not None:
            self._align(time_s)
        for piece in pieces:
            self._append(piece.to_ndarray())

    def finish(self) -> np.ndarray | None:
        """[samples] float32 in [-1, 1], or None when nothing was decoded."""
        if self._resampler is not None:
            # No tail to fetch where the resampler could not be set up, as for 255 channels.
            with suppress(av.FFmpegError):
                for piece in self._resampler.resample(None):
                    self._append(piece.to_ndarray())
        if not self._chunks:
            return None
        channels = max(len(c) for c in self._chunks)
        sides = np.concatenate([np.broadcast_to(c, (channels, c.shape[1])) for c in self._chunks], axis=1)
        self._chunks.clear()
        return np.clip(np.nan_to_num(_one_channel(sides)), -1.0, 1.0)

    def _align(self, time_s: float) -> None:
        gap = round((time_s - self.end_s) * AUDIO_HZ)
        if gap > _JUMP_S * AUDIO_HZ:  # a late start or a hole: silence, so that later sound keeps its time
            self._append(np.zeros((1, gap), np.float32))
        elif gap < -_JUMP_S * AUDIO_HZ:  # overlap: the later packet wins
            keep = max(self._samples + gap, 0)
            while self._samples > keep:
                last = self._chunks.pop()
                self._samples -= last.shape[1]
                if self._samples < keep:
                    self._append(last[:, :keep - self._samples])

    def _resample(self, frame: av.AudioFrame) -> list[av.AudioFrame]:
        frame.pts = None  # alignment is done above, once
        source = (frame.format.name, frame.layout.name, frame.sample_rate)
        if source != self._source:  # the first frame, or the stream changed its rate or layout midway
            layout = "mono" if frame.layout.nb_channels == 1 else "stereo"
            self._resampler = av.AudioResampler(format="fltp", layout=layout, rate=AUDIO_HZ)
            self._source = source
        return self._resampler.resample(frame)

    def _append(self, samples: np.ndarray) -> None:
        self._chunks.append(samples)
        self._samples += samples.shape[1]


def _one_channel(sides: np.ndarray) -> np.ndarray:
    """The mean of the channels [channels, samples], or the louder of them where they cancel each other out."""
    if len(sides) == 1:
        return sides[0]
    mix = sides.mean(axis=0)
    louder = max(sides, key=level_dbfs)
    return louder if level_dbfs(louder) - level_dbfs(mix) > _CANCELLED_DB else mix


@lru_cache(maxsize=4)
def _mel_transform(n_mels: int) -> torchaudio.transforms.MelSpectrogram:
    return torchaudio.transforms.MelSpectrogram(
        AUDIO_HZ, n_fft=512, win_length=MEL_WINDOW, hop_length=MEL_HOP, n_mels=n_mels, f_min=20.0, f_max=7600.0
    )


def log_mel(waveform: np.ndarray, n_mels: int = 80) -> torch.Tensor:
    """Natural-log mel spectrogram, [n_mels, 1 + samples // MEL_HOP], floor 1e-6."""
    return _mel_transform(n_mels)(torch.from_numpy(waveform)).clamp_min(1e-6).log()


@lru_cache(maxsize=4)
def _mfcc_transform(n_mfcc: int) -> torchaudio.transforms.MFCC:
    return torchaudio.transforms.MFCC(
        AUDIO_HZ, n_mfcc=n_mfcc, log_mels=True,
        melkwargs={"n_fft": 512, "win_length": MEL_WINDOW, "hop_length": MEL_HOP, "n_mels": 80},
    )


def mfcc(waveform: np.ndarray, n_mfcc: int = 40) -> torch.Tensor:
    """Mel-frequency cepstral coefficients, [n_mfcc, 1 + samples // MEL_HOP]."""
    return _mfcc_transform(n_mfcc)(torch.from_numpy(waveform))


@lru_cache(maxsize=1)
def _voice_model():
    threads = torch.get_num_threads()
    import silero_vad  # sets torch's thread count to 1 on import

    model = silero_vad.load_silero_vad()
    torch.set_num_threads(threads)
    return silero_vad, model


def find_speech(waveform: np.ndarray) -> tuple[tuple[float, float], ...]:
    """Spans (start_s, end_s) in which a voice speaks (silero-vad)."""
    silero_vad, model = _voice_model()
    spans = silero_vad.get_speech_timestamps(torch.from_numpy(waveform), model, sampling_rate=AUDIO_HZ)
    return tuple((s["start"] / AUDIO_HZ, s["end"] / AUDIO_HZ) for s in spans)


def level_dbfs(waveform: np.ndarray) -> float:
    """Root mean square level in dB relative to full scale; -120 for digital silence."""
    power = float(np.mean(np.square(waveform, dtype=np.float64))) if len(waveform) else 0.0
    return 10 * np.log10(max(power, 1e-12))


def speech_to_noise_db(waveform: np.ndarray, speech_s: tuple[tuple[float, float], ...]) -> float | None:
    """Level of the voiced spans over the level between them; None when either lasts under 0.3 s."""
    voiced = np.zeros(len(waveform), bool)
    for start_s, end_s in speech_s:
        voiced[int(start_s * AUDIO_HZ):int(end_s * AUDIO_HZ)] = True
    if min(voiced.sum(), (~voiced).sum()) < 0.3 * AUDIO_HZ:
        return None
    return level_dbfs(waveform[voiced]) - level_dbfs(waveform[~voiced])
