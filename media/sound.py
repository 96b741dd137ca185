"""Sound: the spectra of a waveform, and where a voice is."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
import torchaudio

from media.clip import AUDIO_HZ
from media.waveform import level_dbfs

MEL_HOP = 160  # samples: 10 ms
MEL_WINDOW = 400  # samples: 25 ms
VOICE_PIECE = 512  # samples: what silero-vad judges at 16 kHz
_PIECES_AT_ONCE = 512  # 16 s: bounds the memory


@lru_cache(maxsize=4)
def _mel_transform(n_mels: int) -> torchaudio.transforms.MelSpectrogram:
    return torchaudio.transforms.MelSpectrogram(
        AUDIO_HZ, n_fft=512, win_length=MEL_WINDOW, hop_length=MEL_HOP, n_mels=n_mels, f_min=20.0, f_max=7600.0
    )


def log_mel(waveform: np.ndarray, n_mels: int = 80) -> torch.Tensor:
    """Natural-log mel spectrogram, [n_mels, 1 + samples // MEL_HOP], floor 1e-6."""
    return _mel_transform(n_mels)(torch.from_numpy(waveform)).clamp_min(1e-6).log()


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
    spans = silero_vad.get_speech_timestamps_from_probs(_voice_probabilities(model._model, waveform), AUDIO_HZ,
                                                        audio_length_samples=len(waveform))
    return tuple((s["start"] / AUDIO_HZ, s["end"] / AUDIO_HZ) for s in spans)


@torch.inference_mode()
def _voice_probabilities(network: torch.jit.ScriptModule, waveform: np.ndarray) -> list[float]:
    """Of each piece of VOICE_PIECE samples. The library calls the network for one piece after the other, which takes
    ten times as long: only what it remembers goes from piece to piece, its convolutions see each by itself."""
    before = network.context_size_samples  # that a piece is seen with
    sound = torch.nn.functional.pad(torch.from_numpy(waveform), (before, -len(waveform) % VOICE_PIECE))
    pieces = sound.unfold(0, before + VOICE_PIECE, VOICE_PIECE)  # n before+512
    remembered, probabilities = torch.zeros(0), []
    for block in pieces.split(_PIECES_AT_ONCE):
        for seen in network.encoder(network.run_extractors(block)).split(1):  # 1 128 1
            probability, remembered = network.decoder(seen, remembered)
            probabilities.append(probability)
    return torch.cat(probabilities).flatten().tolist()


def speech_to_noise_db(waveform: np.ndarray, speech_s: tuple[tuple[float, float], ...]) -> float | None:
    """Level of the voiced spans over the level between them; None when either lasts under 0.3 s."""
    voiced = np.zeros(len(waveform), bool)
    for start_s, end_s in speech_s:
        voiced[int(start_s * AUDIO_HZ):int(end_s * AUDIO_HZ)] = True
    if min(voiced.sum(), (~voiced).sum()) < 0.3 * AUDIO_HZ:
        return None
    return level_dbfs(waveform[voiced]) - level_dbfs(waveform[~voiced])
