"""From decoded frames of sound to one 16 kHz waveform on the clip's clock."""

from __future__ import annotations

from contextlib import suppress

import av
import numpy as np

from media.clip import AUDIO_HZ

_CANCELLED_DB = 20.0  # a mix this far below its louder channel: the channels are in opposite phase
JUMP_S = 0.06  # a smaller disagreement between timestamps and sample count is clock jitter, not a gap


class Resampler:
    """Frames of sound in, planar pieces at one rate out. Set up anew where a stream changes its rate or layout."""

    def __init__(self, rate_hz: int, channels: int | None = None) -> None:
        """channels: 1, 2, or None for 1 where the stream has 1, else 2."""
        self._rate_hz, self._channels = rate_hz, channels
        self._resampler: av.AudioResampler | None = None
        self._source: tuple[str, str, int] | None = None  # what the resampler was set up for

    def take(self, frame: av.AudioFrame) -> list[np.ndarray]:
        """Pieces [channels, samples] float32.

        Raises: av.FFmpegError.
        """
        frame.pts = None  # whoever asks aligns
        source = (frame.format.name, frame.layout.name, frame.sample_rate)
        if source != self._source:
            layout = "mono" if (self._channels or frame.layout.nb_channels) == 1 else "stereo"
            self._resampler = av.AudioResampler(format="fltp", layout=layout, rate=self._rate_hz)
            self._source = source
        return [piece.to_ndarray() for piece in self._resampler.resample(frame)]

    def rest(self) -> list[np.ndarray]:
        """What it held back; nothing where it could not be set up, as for 255 channels."""
        if self._resampler is None:
            return []
        with suppress(av.FFmpegError):
            return [piece.to_ndarray() for piece in self._resampler.resample(None)]
        return []


class WaveformBuilder:
    """Collects decoded audio frames into a mono 16 kHz waveform whose sample 0 is the clip's time 0."""

    def __init__(self) -> None:
        self._chunks: list[np.ndarray] = []  # [1 or 2 channels, samples]
        self._samples = 0
        self._resampler = Resampler(AUDIO_HZ)

    @property
    def end_s(self) -> float:
        return self._samples / AUDIO_HZ

    def add(self, frame: av.AudioFrame, time_s: float | None) -> None:
        pieces = self._resampler.take(frame)  # first: where it fails, no silence may stand in for the lost sound
        if time_s is not None:
            self._align(time_s)
        for piece in pieces:
            self._append(piece)

    def finish(self) -> np.ndarray | None:
        """[samples] float32 in [-1, 1], or None when nothing was decoded."""
        for piece in self._resampler.rest():
            self._append(piece)
        if not self._chunks:
            return None
        channels = max(len(c) for c in self._chunks)
        sides = np.concatenate([np.broadcast_to(c, (channels, c.shape[1])) for c in self._chunks], axis=1)
        self._chunks.clear()
        waveform = np.nan_to_num(_one_channel(sides), copy=False)  # in place: 10 minutes are 38 MB, and each copy again
        return np.clip(waveform, -1.0, 1.0, out=waveform)

    def _align(self, time_s: float) -> None:
        gap = round((time_s - self.end_s) * AUDIO_HZ)
        if gap > JUMP_S * AUDIO_HZ:  # a late start or a hole: silence, so that later sound keeps its time
            self._append(np.zeros((1, gap), np.float32))
        elif gap < -JUMP_S * AUDIO_HZ:  # overlap: the later packet wins
            keep = max(self._samples + gap, 0)
            while self._samples > keep:
                last = self._chunks.pop()
                self._samples -= last.shape[1]
                if self._samples < keep:
                    self._append(last[:, :keep - self._samples])

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


def level_dbfs(waveform: np.ndarray) -> float:
    """Root mean square level in dB relative to full scale; -120 for digital silence."""
    power = np.einsum("i,i", waveform, waveform, dtype=np.float64) / max(len(waveform), 1)
    return float(10 * np.log10(max(power, 1e-12)))
