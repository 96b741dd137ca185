"""The contract's checks: the documented example passes them, and each planted fault is found."""

from __future__ import annotations

import re
import socket
import sys
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from detectors.__main__ import main
from detectors.check import check_detector, made_windows, rows_of, watched_connections, without
from detectors.contract import InputSpec, WindowScores
from detectors.scoring import score_windows
from media import AUDIO_HZ
from tests.media.corpus import ffmpeg

ROOT = Path(__file__).resolve().parents[2]
SPEC = InputSpec(window_s=1.0, hop_s=0.5, frames=4, face_px=16, audio_hz=AUDIO_HZ, modalities=("video", "audio"))


class Bright(torch.nn.Module):
    """Brightness of the faces and loudness of the sound."""

    def __init__(self):
        super().__init__()
        self.scale = torch.nn.Parameter(torch.tensor(4.0))

    def forward(self, inputs):
        told = {}
        if inputs.faces is not None:
            told["video"] = self.scale * (inputs.faces.mean((1, 2, 3, 4)) - 0.5)
        if inputs.audio is not None:
            told["audio"] = self.scale * inputs.audio.square().mean(1)
        return told


class Good:
    id, spec = "good", SPEC
    card = {"name": "Good", "polarity": "P(fake)", "thresholds": {"manipulated": 0.9, "suspicious": 0.7}}

    def __init__(self, device="cpu"):
        self.model = Bright().to(device).eval()

    def logits(self, inputs):
        return self.model(inputs)

    def score(self, windows):
        told = score_windows(windows, self.logits, ("video", "audio"), 8, torch.device("cpu"))
        return WindowScores(windows.start_s, windows.end_s, told["video"], told["audio"], None, None, windows.track_id)


class Scored(Good):
    """Without logits: the scores alone are looked at."""

    logits = property()

    def score(self, windows):
        with torch.inference_mode():
            told = score_windows(windows, self.model, ("video", "audio"), 8, torch.device("cpu"))
        return WindowScores(windows.start_s, windows.end_s, told["video"], told["audio"], None, None, windows.track_id)


class Percent(Good):
    def score(self, windows):
        told = super().score(windows)
        return replace(told, video=100 * told.video)


class Random(Good):
    def score(self, windows):
        told = super().score(windows)
        return replace(told, video=told.video * np.random.default_rng().uniform(0.5, 1, told.video.shape))


class Untrained(Good):
    def __init__(self, device="cpu"):
        super().__init__(device)
        torch.nn.init.normal_(self.model.scale, 4.0)


class Scribbler(Good):
    def score(self, windows):
        if windows.faces is not None:
            windows.faces[:, 0] = 0
        return super().score(windows)


class Joined(Scored):
    """Takes the mean of all windows away."""

    def score(self, windows):
        told = super().score(windows)
        return replace(told, video=told.video - told.video.mean() + 0.5)


class Inventor(Good):
    def score(self, windows):
        told = super().score(windows)
        return replace(told, audio=np.nan_to_num(told.audio, nan=0.5))


class Leaking(Scored):
    """Reads the sound that is marked as missing."""

    def score(self, windows):
        told = super().score(windows)
        loud = 0 if windows.audio is None else np.abs(windows.audio).mean(1)
        return replace(told, video=told.video * 0.5 + np.tanh(loud) * 0.5)


class Fragile(Good):
    def score(self, windows):
        told = super().score(windows)
        black = windows.faces is not None and windows.faces.max() == 0
        return replace(told, video=told.video / 0.0 if black else told.video)


class Flipped(Good):
    """Its logits are P(real)."""

    def logits(self, inputs):
        return {head: -logit for head, logit in self.model(inputs).items()}

    def score(self, windows):
        told = score_windows(windows, self.model, ("video", "audio"), 8, torch.device("cpu"))
        return WindowScores(windows.start_s, windows.end_s, told["video"], told["audio"], None, None, windows.track_id)


class Frozen(Good):
    @torch.inference_mode()
    def logits(self, inputs):
        return self.model(inputs)


class Still(Good):
    """Says that it judges stills, and needs two faces."""

    spec = replace(SPEC, stills=True, stretch=False)

    def score(self, windows):
        told = super().score(windows)
        return replace(told, video=np.where(windows.face_seen.sum(1) > 1, told.video, np.nan))


class Crash(Good):
    def score(self, windows):
        raise ZeroDivisionError("division by zero")


def outcomes(kind):
    return {o.check: o for o in check_detector(kind(), kind())}


def test_a_good_detector_passes_all_that_can_be_tried():
    told = outcomes(Good)
    assert {name for name, o in told.items() if o.passed is None} == {"still picture", "polarity"}
    assert all(o.passed in (True, None) for o in told.values()), told


@pytest.mark.parametrize("kind, check", [
    (Percent, "scores"), (Random, "determinism"), (Untrained, "determinism"), (Scribbler, "inputs untouched"),
    (Joined, "batch = single"), (Inventor, "missing modality"), (Leaking, "nothing leaks"),
    (Fragile, "hostile windows"), (Flipped, "explanations"), (Frozen, "explanations"), (Still, "still picture"),
    (Crash, "scores"),
])
def test_each_planted_fault_is_found_by_its_check_with_what_to_do(kind, check):
    with np.errstate(all="ignore"):
        told = outcomes(kind)[check]
    assert told.passed is False and len(told.words) > 30


def test_made_windows_have_what_the_spec_asks_for():
    windows = made_windows(replace(SPEC, lips=8, lips_px=12))
    assert windows.faces.shape == (3, 4, 16, 16, 3) and windows.lips.shape == (3, 8, 12, 12, 3)
    assert windows.audio.shape == (3, AUDIO_HZ) and 0.05 < np.abs(windows.audio).max() < 1
    assert (windows.faces[0] != windows.faces[1]).any() and windows.faces.std() > 10
    assert without(windows, "video").faces is without(windows, "video").lips is None
    assert not without(windows, "audio").has_audio.any()
    one = rows_of(windows, [2])
    assert one.start_s.tolist() == [1.0] and np.array_equal(one.audio[0], windows.audio[2])
    sound_alone = made_windows(replace(SPEC, modalities=("audio",)))
    assert sound_alone.faces is None and not sound_alone.has_face.any() and sound_alone.has_audio.all()


def test_connections_are_seen_even_where_their_failure_is_hidden():
    with watched_connections() as tried:
        with suppress(OSError):
            socket.create_connection(("127.0.0.1", 9), timeout=1)
        with pytest.raises(OSError, match="no connection"):
            socket.getaddrinfo("example.org", 443)
    assert "127.0.0.1" in tried and "example.org" in tried
    first, second = socket.socketpair()  # outside of the watch, and within this machine, nothing is refused
    first.close(), second.close()


# ---- the documented example, and the command ----------------------------------------------------------------------


@pytest.fixture
def flicker(tmp_path, monkeypatch):
    """The class of docs/your-own-detector.md as a module of its own."""
    text = (ROOT / "docs" / "your-own-detector.md").read_text(encoding="utf-8")
    code = re.search(r"```python\n(.*?)```", text, re.DOTALL).group(1)
    (tmp_path / "flicker.py").write_text(code, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    return "flicker:Flicker"


def test_the_documented_example_keeps_the_contract(flicker, capsys):
    assert main(["check", flicker]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert not [line for line in lines if line.startswith("FAIL")]
    assert any(line.startswith("ok") and "no connection" in line for line in lines)
    assert "missing: data, results, licences" in "".join(lines)


@pytest.mark.parametrize("change, words", [
    (('"polarity": "P(fake)",', ""), 'card["polarity"]'),
    (('id = "flicker"', 'id = "My Flicker"'), "small letters"),
    (('"suspicious": 0.9', '"suspicious": 0.99'), "suspicious <= manipulated"),
    (("audio_hz=16_000", "audio_hz=44_100"), "16000"),
    (("import numpy as np", "import numpy_of_nobody as np"), "cannot be imported"),
    (("        pass", "        open('weights.safetensors')"), "FileNotFoundError"),
    (("        pass", "        __import__('socket').getaddrinfo('example.org', 443)"), "Refused"),
    (("class Flicker:", "class Flickers:"), "has no class Flicker"),
])
def test_the_command_says_what_is_wrong_and_exits_with_1(flicker, tmp_path, monkeypatch, capsys, change, words):
    path = tmp_path / "flicker_broken.py"
    path.write_text((tmp_path / "flicker.py").read_text().replace(*change))
    monkeypatch.delitem(sys.modules, "flicker_broken", raising=False)
    assert main(["check", "flicker_broken:Flicker"]) == 1
    assert words in capsys.readouterr().out


def test_polarity_is_tried_on_two_clips(flicker, talking_clip, tmp_path, capsys):
    """A frozen face flickers less than the one that moves."""
    frozen = tmp_path / "frozen.mp4"
    first_held = "select=eq(n\\,0),loop=30:1:0,setpts=N/25/TB"
    ffmpeg("-i", str(talking_clip), "-t", "1.2", "-vf", first_held, "-r", "25", "-an", str(frozen))
    moving = tmp_path / "moving.mp4"
    ffmpeg("-t", "1.2", "-i", str(talking_clip), "-c", "copy", str(moving))
    assert main(["check", flicker, "--pair", str(frozen), str(moving)]) == 0
    assert main(["check", flicker, "--pair", str(moving), str(frozen)]) == 1
    assert "higher must mean more manipulated" in capsys.readouterr().out


@pytest.mark.parametrize("arguments", [["check"], ["check", "meso"], ["check", "a:B", "--pair", "one"]])
def test_bad_usage_of_the_check_exits_with_2(arguments, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    assert stopped.value.code == 2 and "usage" in capsys.readouterr().err
