"""Forgeries of the sound: resynthesised, converted, replaced by synthetic speech, spliced.

What each of them leaves alone (room, level, noise floor, length) is taken from the clip itself, so that no silence
and no loudness tells. Every one raises Unsuitable where the clip has no sound or too little voice.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
import torchaudio
from scipy.signal import fftconvolve, resample

from media import AUDIO_HZ
from media.sound import find_speech, level_dbfs
from training.forge.footage import JOIN_S, Footage, Forgery, Span, Truth, Unsuitable
from training.forge.speech import EDGE_S, Engine

LEAST_VOICE_S = 0.5
PARTIAL_S = (0.3, 2.0)  # length of a forged stretch within genuine speech
SPOKEN_PER_S = 18.0  # characters: the usual pace of the engines, to choose a text of about the right length
TEXT_S = 12.0  # no text is longer: an engine's sound is read like footage, which has a limit
AROUND_S = 0.08  # where speech is replaced, its faint first and last sounds go as well
PHRASE_S = (0.5, 2.0)  # the shortest phrases need half a second
_GRAIN = 1024  # samples, 64 ms
_FFT = 1024
_SILENT = 1e-10  # mean square below which a frame is digital silence
_WOBBLE_S = 0.06  # how far an edge may move to a quieter moment

COPIES = ("world", "griffin_lim", "mel")
CONVERSIONS = ("world", "resample")
STRETCHES = ("wsola", "phase")


# ---- what the sound is like -----------------------------------------------------------------------------------


def voice_of(footage: Footage) -> tuple[np.ndarray, tuple[tuple[float, float], ...]]:
    """The sound [samples] and the spans (start_s, end_s) in which somebody speaks.

    Raises: Unsuitable without sound or with less than LEAST_VOICE_S of voice.
    """
    if footage.sound is None:
        raise Unsuitable(f"{footage.clip_id} has no sound")
    voice = find_speech(footage.sound) if len(footage.sound) >= LEAST_VOICE_S * AUDIO_HZ else ()
    if sum(end_s - start_s for start_s, end_s in voice) < LEAST_VOICE_S:
        raise Unsuitable(f"{footage.clip_id} has less than {LEAST_VOICE_S} s of voice")
    return footage.sound, voice


def voiced_stretch(sound: np.ndarray, voice: tuple[tuple[float, float], ...], rng: np.random.Generator,
                   length_s: tuple[float, float] = PARTIAL_S) -> tuple[int, int]:
    """[start, end) in samples: a random stretch of speech whose edges lie at quiet moments, near word boundaries.

    Raises: Unsuitable where nobody speaks for so long at a time.
    """
    spans = [span for span in voice if span[1] - span[0] >= length_s[0]]
    if not spans:
        raise Unsuitable(f"nobody speaks for {length_s[0]} s at a time")
    weights = np.array([end_s - start_s for start_s, end_s in spans])
    begin_s, end_s = spans[rng.choice(len(spans), p=weights / weights.sum())]
    chosen_s = rng.uniform(length_s[0], min(length_s[1], end_s - begin_s))
    start_s = rng.uniform(begin_s, end_s - chosen_s)
    start, end = (quiet_moment(sound, round(at_s * AUDIO_HZ)) for at_s in (start_s, start_s + chosen_s))
    return start, max(end, start + round(0.5 * length_s[0] * AUDIO_HZ))


def quiet_moment(sound: np.ndarray, near: int) -> int:
    """The sample within _WOBBLE_S of this one around which 10 ms are quietest."""
    reach, half = round(_WOBBLE_S * AUDIO_HZ), AUDIO_HZ // 200
    first = int(np.clip(near - reach, 0, max(len(sound) - 2 * half, 0)))
    power = np.convolve(sound[first:near + reach + 2 * half] ** 2, np.ones(2 * half), "valid")
    return first + half + int(power.argmin()) if len(power) else near


def noise_floor(sound: np.ndarray) -> np.ndarray:
    """Where [n] (first samples) the quietest tenth of the sound's grains begin. Digital silence before the first
    and after the last sample is padding, not the room."""
    loud = np.flatnonzero(np.abs(sound) > np.sqrt(_SILENT))
    first, last = (int(loud[0]), int(loud[-1]) + 1) if len(loud) else (0, len(sound))
    starts = np.arange(first, max(last - _GRAIN, first) + 1, _GRAIN // 4)
    power = np.array([np.mean(sound[s:s + _GRAIN] ** 2) for s in starts])
    return starts[np.argsort(power, kind="stable")[:max(len(starts) // 10, 4)]]


def room_tone(sound: np.ndarray, samples: int, rng: np.random.Generator) -> np.ndarray:
    """[samples] float32: the clip's own background without end, of grains from its quietest tenth, each at a random
    place. Grains overlap by half under sine windows, which keeps the power of noise even."""
    starts, hop = noise_floor(sound), _GRAIN // 2
    window = np.sin(np.pi * (np.arange(_GRAIN) + 0.5) / _GRAIN)
    out = np.zeros(samples + 2 * _GRAIN, np.float32)
    for at in range(0, samples + _GRAIN, hop):
        grain = sound[(start := int(rng.choice(starts))):start + _GRAIN]
        out[at:at + len(grain)] += window[:len(grain)] * grain
    return out[hop:hop + samples]


def settle(changed: np.ndarray, sound: np.ndarray, voice: tuple[tuple[float, float], ...],
           rng: np.random.Generator) -> np.ndarray:
    """changed with the sound's level where it speaks, no less noise than the sound has where it does not, and silent
    where the sound is."""
    speaking = np.zeros(len(sound), bool)
    for start_s, end_s in voice:
        speaking[round(start_s * AUDIO_HZ):round(end_s * AUDIO_HZ)] = True
    changed = changed * 10 ** ((level_dbfs(sound[speaking]) - level_dbfs(changed[speaking])) / 20)
    floor = noise_floor(sound)
    wanted, there = (np.median([np.mean(s[at:at + _GRAIN] ** 2) for at in floor]) for s in (sound, changed))
    if there < wanted:
        changed = changed + np.sqrt(1 - there / wanted) * room_tone(sound, len(sound), rng)
    changed = np.clip(changed, -1, 1).astype(np.float32)
    for start, end in digital_silence(sound):
        changed[start:end] = 0
    return changed


def digital_silence(sound: np.ndarray) -> np.ndarray:
    """[n, 2]: where, in samples, the sound is silent to the last bit for 10 ms or more: padding, or a noise gate."""
    loud = np.flatnonzero(np.abs(sound) > np.sqrt(_SILENT))
    bounds = np.concatenate([[-1], loud, [len(sound)]])
    gaps = np.flatnonzero(np.diff(bounds) > AUDIO_HZ // 100)
    return np.stack([bounds[gaps] + 1, bounds[gaps + 1]], axis=1)


def paste(sound: np.ndarray, piece: np.ndarray, start: int) -> np.ndarray:
    """A copy of the sound with the piece from `start` on, faded in and out over JOIN_S within the piece."""
    distance = np.minimum(np.arange(len(piece)) + 1, len(piece) - np.arange(len(piece)))
    share = np.clip(distance / (JOIN_S * AUDIO_HZ), 0, 1)
    out, inside = sound.copy(), slice(start, start + len(piece))
    out[inside] = np.clip(sound[inside] + share * (piece - sound[inside]), -1, 1)
    return out


def has_world() -> bool:
    """Whether the WORLD vocoder is installed (package pyworld-prebuilt)."""
    return importlib.util.find_spec("pyworld") is not None


# ---- stretching -----------------------------------------------------------------------------------------------


def warp_time(sound: np.ndarray, source: np.ndarray, method: str) -> np.ndarray:
    """[n] float32: the sound at another pace with its pitch kept; source [n] rises and says which sample of `sound`
    is heard at each of the new ones.

    wsola: pieces of the waveform, each chosen to continue the one before (Verhelst & Roelands, ICASSP 1993).
    phase: a phase vocoder (Flanagan & Golden 1966): magnitudes between frames, phases that advance as they did.
    """
    return {"wsola": _wsola, "phase": _phase_vocoder}[method](sound, source)


def _wsola(sound: np.ndarray, source: np.ndarray) -> np.ndarray:
    size, hop, reach = 512, 256, 160  # 32, 16 and 10 ms
    window = np.sin(np.pi * (np.arange(size) + 0.5) / size) ** 2  # sums to one at half overlap
    pad = size + reach
    padded = np.pad(sound, pad)
    out = np.zeros(len(source) + 2 * size, np.float32)
    follow = None  # where the piece before would go on
    for at in range(0, len(source) + hop, hop):
        wanted = round(float(source[min(at, len(source) - 1)])) + pad - hop
        wanted = int(np.clip(wanted, reach, len(padded) - size - reach))
        start = wanted
        if follow is not None:
            around = padded[wanted - reach:wanted + reach + size]
            energy = np.convolve(around.astype(np.float64) ** 2, np.ones(size), "valid")
            alike = np.correlate(around, padded[follow:follow + size], "valid") / np.sqrt(energy + 1e-9)
            start += int(alike.argmax()) - reach
        out[at:at + size] += window * padded[start:start + size]
        follow = min(start + hop, len(padded) - size)
    return out[hop:hop + len(source)]


def _phase_vocoder(sound: np.ndarray, source: np.ndarray) -> np.ndarray:
    hop, window = _FFT // 4, torch.hann_window(_FFT)
    spectrum = torch.stft(torch.from_numpy(sound), _FFT, hop, window=window, pad_mode="constant",
                          return_complex=True)  # [bins, frames]
    last = spectrum.shape[1] - 2
    at = torch.from_numpy(np.append(source[::hop], source[-1]).astype(np.float32) / hop).clamp(0, last + 0.999)
    left = at.long()
    between = (at - left)[None]
    magnitude = (1 - between) * spectrum[:, left].abs() + between * spectrum[:, left + 1].abs()
    # From one frame of the result to the next passes one hop, as between two frames of the sound.
    advance = (spectrum[:, left + 1] * spectrum[:, left].conj()).angle()
    phase = spectrum[:, left[:1]].angle() + torch.nn.functional.pad(advance[:, :-1].double().cumsum(1), (1, 0))
    made = torch.istft(torch.polar(magnitude, phase.float()), _FFT, hop, window=window, length=len(source)).numpy()
    # Bins that no longer agree about a tone's phase cancel each other out in part.
    there = sound[max(int(source[0]), 0):int(source[-1]) + 1]
    return made * np.float32(10 ** ((level_dbfs(there) - level_dbfs(made)) / 20))


# ---- resynthesis ----------------------------------------------------------------------------------------------


def copy_synthesise(method: str) -> Forgery:
    """The same words of the same voice, out of a vocoder; method is one of COPIES.

    world: WORLD (Morise et al. 2016), f0, envelope and aperiodicity. griffin_lim: phases found anew for the linear
    spectrum (Griffin & Lim 1984, fast variant of Perraudin 2013). mel: the same from 80 mel bands, as a synthesiser
    without a neural vocoder does. Lips still fit: only the audio label is set.
    """
    _check(method, COPIES)

    def forge(footage: Footage, rng: np.random.Generator) -> tuple[Footage, Truth]:
        sound, voice = voice_of(footage)
        if method == "world":
            changed, drawn = _world(sound, 1.0, 1.0), {}
        else:
            iterations = int(rng.integers(16, 49))
            spectrum = _power_spectrum(sound)
            changed = _griffin_lim(_through_mel(spectrum) if method == "mel" else spectrum, len(sound), iterations, rng)
            drawn = {"iterations": iterations}
        changed = settle(changed, sound, voice, rng)
        return _whole(footage, changed, "copy_synthesis", {"method": method, **drawn})

    return forge


def convert_voice(method: str) -> Forgery:
    """The same words in the voice of nobody; method is one of CONVERSIONS.

    world: f0 scaled by 1 to 7 semitones and the spectral envelope stretched by 5 to 15 %, up or down each.
    resample: pitch and formants moved together by 2 to 6 semitones, as simple voice changers do.
    """
    _check(method, CONVERSIONS)

    def forge(footage: Footage, rng: np.random.Generator) -> tuple[Footage, Truth]:
        sound, voice = voice_of(footage)
        if method == "world":
            pitch = float(2 ** (rng.choice([-1, 1]) * rng.uniform(1, 7) / 12))
            formants = float(1 + rng.choice([-1, 1]) * rng.uniform(0.05, 0.15))
            changed, drawn = _world(sound, pitch, formants), {"formants": round(formants, 4)}
        else:
            pitch = float(2 ** (rng.choice([-1, 1]) * rng.uniform(2, 6) / 12))
            stretch = str(rng.choice(STRETCHES))
            slower = warp_time(sound, np.arange(round(len(sound) * pitch)) / pitch, stretch)
            changed, drawn = resample(slower, len(sound)), {"stretch": stretch}
        changed = settle(changed, sound, voice, rng)
        return _whole(footage, changed, "voice_conversion", {"method": method, "pitch": round(pitch, 4), **drawn})

    return forge


def _world(sound: np.ndarray, pitch: float, formants: float) -> np.ndarray:
    """Analysis and synthesis by WORLD with f0 times `pitch` and the envelope's frequencies times `formants`."""
    if not has_world():
        raise Unsuitable("WORLD is not installed: pip install -r requirements-forge.txt")
    import pyworld

    wave = sound.astype(np.float64)
    f0, times_s = pyworld.dio(wave, AUDIO_HZ)
    f0 = pyworld.stonemask(wave, f0, times_s, AUDIO_HZ)
    envelope = pyworld.cheaptrick(wave, f0, times_s, AUDIO_HZ)  # [frames, bins]
    aperiodicity = pyworld.d4c(wave, f0, times_s, AUDIO_HZ)
    if formants != 1.0:
        bins = np.arange(envelope.shape[1])
        envelope = np.exp(np.stack([np.interp(bins / formants, bins, row) for row in np.log(envelope)]))
    made = pyworld.synthesize(f0 * pitch, envelope, aperiodicity, AUDIO_HZ)
    return np.pad(made, (0, max(len(sound) - len(made), 0)))[:len(sound)].astype(np.float32)


def _power_spectrum(sound: np.ndarray) -> torch.Tensor:
    """[bins, frames] at a hop of 16 ms."""
    return torch.stft(torch.from_numpy(sound), _FFT, _FFT // 4, window=torch.hann_window(_FFT),
                      return_complex=True).abs() ** 2


def _through_mel(spectrum: torch.Tensor, bands: int = 80) -> torch.Tensor:
    """The power spectrum that is left after 80 mel bands: their minimum-norm inverse, never below zero."""
    banks = torchaudio.functional.melscale_fbanks(_FFT // 2 + 1, 0.0, AUDIO_HZ / 2, bands, AUDIO_HZ)  # [bins, bands]
    return (torch.linalg.pinv(banks.T) @ (banks.T @ spectrum)).clamp_min(0)


def _griffin_lim(spectrum: torch.Tensor, samples: int, iterations: int, rng: np.random.Generator) -> np.ndarray:
    with torch.random.fork_rng(devices=[]):  # its first phases are drawn from torch's own generator
        torch.manual_seed(int(rng.integers(2**31)))
        made = torchaudio.functional.griffinlim(
            spectrum, torch.hann_window(_FFT), _FFT, _FFT // 4, _FFT, power=2.0, n_iter=iterations, momentum=0.99,
            length=samples, rand_init=True)
    return made.numpy()


# ---- other words ----------------------------------------------------------------------------------------------


def replace_speech(engine: Engine, texts: Sequence[str], partial: bool = False) -> Forgery:
    """Synthetic speech in place of the clip's: all of it, or one stretch of PHRASE_S (partial).

    It starts where the speech started, at its level, in its band and with some of a room's echo, over the clip's own
    background; where the clip pauses, its sound stays. The picture stays too, so lips do not fit: audio and sync.
    """

    def forge(footage: Footage, rng: np.random.Generator) -> tuple[Footage, Truth]:
        sound, voice = voice_of(footage)
        speaker = str(rng.choice(engine.voices))
        places = [voiced_stretch(sound, voice, rng, PHRASE_S)] if partial else _places(voice, sound)
        onset = 0 if partial else round((AROUND_S - EDGE_S) * AUDIO_HZ)
        echo_s, echo = rng.uniform(0.1, 0.4), rng.uniform(0.0, 0.3)
        background = room_tone(sound, len(sound), rng)
        changed, spoken, spans = sound, [], []
        for start, end in places:
            text = choose_text(texts, (end - start) / AUDIO_HZ, rng)
            speech = engine.say(text, speaker, rng)
            if not len(speech):
                raise Unsuitable(f"{engine.name} says nothing to {text!r}")
            speech = _in_room(_fit(speech, end - start - onset), echo_s, echo, rng)
            speech = match_spectrum(speech, sound[start:end])
            piece = background[start:end].copy()
            # The original's level holds its background too.
            power = max(np.mean(sound[start:end] ** 2) - np.mean(piece**2), 0.1 * np.mean(sound[start:end] ** 2))
            piece[onset:onset + len(speech)] += speech * np.sqrt(power / max(np.mean(speech**2), 1e-12))
            changed = paste(changed, piece, start)
            spoken.append(text)
            spans.append((start, end))
        drawn = {"engine": engine.name, "voice": speaker, "text": spoken, "partial": partial,
                 "echo_s": round(echo_s, 3), "echo": round(echo, 3)}
        return replace(footage, sound=changed), Truth(
            footage.clip_id, _spans(spans, footage), steps=(("replaced_speech", drawn),),
            identities=(f"{engine.name}:{speaker}",))

    return forge


def choose_text(texts: Sequence[str], length_s: float, rng: np.random.Generator) -> str:
    """Sentences that take about length_s to say: random ones, and to end with one that fills what is left."""
    left, chosen = min(length_s, TEXT_S) * SPOKEN_PER_S, []
    longest = max(len(text) for text in texts)
    while left > longest:
        chosen.append(texts[rng.integers(len(texts))])
        left -= len(chosen[-1]) + 1
    nearest = sorted(texts, key=lambda text: abs(len(text) - left))[:8]
    if not chosen or left > 0.5 * SPOKEN_PER_S:
        chosen.append(nearest[rng.integers(len(nearest))])
    return " ".join(chosen)


def match_spectrum(speech: np.ndarray, sound: np.ndarray) -> np.ndarray:
    """speech with the long-term spectrum of the sound, in bands of 250 Hz, changed by -40 to +24 dB."""
    size = 2 ** int(np.ceil(np.log2(max(len(speech), len(sound)))))
    hz = np.fft.rfftfreq(size, 1 / AUDIO_HZ)
    band = np.minimum((hz / 250).astype(int), 31)
    spectrum, wanted = np.fft.rfft(speech, size), np.fft.rfft(sound, size)
    power = [np.bincount(band, np.abs(s) ** 2) / n for s, n in ((spectrum, len(speech)), (wanted, len(sound)))]
    gain_db = np.clip(10 * np.log10((power[1] + 1e-12) / (power[0] + 1e-12)), -40, 24)
    gain = 10 ** (np.interp(hz, 125 + 250 * np.arange(32), gain_db) / 20)
    return np.fft.irfft(spectrum * gain, size)[:len(speech)].astype(np.float32)


def _places(voice: tuple[tuple[float, float], ...], sound: np.ndarray) -> list[tuple[int, int]]:
    """[start, end) of what is spoken at a stretch: pauses under half a second join, AROUND_S is taken too, but no
    digital silence before the first and after the last sound."""
    joined: list[list[float]] = []
    for start_s, end_s in voice:
        if joined and start_s - joined[-1][1] < 0.5:
            joined[-1][1] = end_s
        else:
            joined.append([start_s, end_s])
    first, last = (int(loud) for loud in np.flatnonzero(np.abs(sound) > np.sqrt(_SILENT))[[0, -1]])
    return [(max(round((start_s - AROUND_S) * AUDIO_HZ), first), min(round((end_s + AROUND_S) * AUDIO_HZ), last + 1))
            for start_s, end_s in joined]


def _fit(speech: np.ndarray, most: int) -> np.ndarray:
    """At most so many samples: said faster by up to a quarter where it is longer, then cut at a quiet moment."""
    if len(speech) > most:
        rate = min(len(speech) / most, 1.25)
        speech = warp_time(speech, np.arange(int(len(speech) / rate)) * rate, "wsola")
    if len(speech) > most:
        speech = speech[:min(quiet_moment(speech, most - AUDIO_HZ // 20), most)].copy()
        faded = min(AUDIO_HZ // 100, len(speech))
        speech[len(speech) - faded:] *= np.linspace(1, 0, faded)
    return speech


def _in_room(speech: np.ndarray, echo_s: float, echo: float, rng: np.random.Generator) -> np.ndarray:
    """speech and, at the share `echo` of its level, its echo of decaying noise (60 dB in echo_s)."""
    after_s = np.arange(round(echo_s * AUDIO_HZ)) / AUDIO_HZ
    tail = rng.normal(size=len(after_s)) * 10 ** (-3 * after_s / echo_s)
    reflected = fftconvolve(speech, tail / np.sqrt(np.sum(tail**2)))[:len(speech)]
    return (speech + echo * reflected).astype(np.float32)


def splice(footage: Footage, rng: np.random.Generator) -> tuple[Footage, Truth]:
    """A stretch of speech is covered by what the same person says at another moment: audio and sync."""
    sound, voice = voice_of(footage)
    spoken_s = sum(end_s - start_s for start_s, end_s in voice)
    longest_s = max(min(PARTIAL_S[1], 0.4 * spoken_s), PARTIAL_S[0])  # something else must be left to take
    start, end = voiced_stretch(sound, voice, rng, (PARTIAL_S[0], longest_s))
    length = end - start
    starts = [np.arange(round(begin_s * AUDIO_HZ), round(end_s * AUDIO_HZ) - length + 1, AUDIO_HZ // 100)
              for begin_s, end_s in voice]
    starts = np.concatenate([at[(at + length <= start) | (at >= end)] for at in starts])
    if not len(starts):
        raise Unsuitable(f"nothing else is said for {length / AUDIO_HZ:.2f} s")
    tried = rng.choice(starts, min(len(starts), 16), replace=False)
    half = AUDIO_HZ // 100
    edges = [sum(np.mean(sound[max(at - half, 0):at + half] ** 2) for at in (s, s + length)) for s in tried]
    taken = int(tried[int(np.argmin(edges))])  # between words, as far as these moments allow
    piece = sound[taken:taken + length]
    gain_db = float(np.clip(level_dbfs(sound[start:end]) - level_dbfs(piece), -6, 6))
    drawn = {"from_s": taken / AUDIO_HZ, "to_s": start / AUDIO_HZ, "length_s": length / AUDIO_HZ,
             "gain_db": round(gain_db, 2)}
    return (replace(footage, sound=paste(sound, piece * 10 ** (gain_db / 20), start)),
            Truth(footage.clip_id, _spans([(start, end)], footage), steps=(("splice", drawn),)))


def _spans(places: list[tuple[int, int]], footage: Footage) -> tuple[Span, ...]:
    """audio, and sync where there is a picture."""
    modalities = ("audio",) if footage.frames is None else ("audio", "sync")
    return tuple(Span(start / AUDIO_HZ, end / AUDIO_HZ, modality) for modality in modalities for start, end in places)


def _whole(footage: Footage, changed: np.ndarray, family: str, drawn: dict) -> tuple[Footage, Truth]:
    span = Span(0.0, len(changed) / AUDIO_HZ, "audio")
    return replace(footage, sound=changed), Truth(footage.clip_id, (span,), steps=((family, drawn),))


def _check(method: str, known: tuple[str, ...]) -> None:
    if method not in known:
        raise ValueError(f"{method!r} is none of {', '.join(known)}")
