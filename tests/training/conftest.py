"""A folder of tiny prepared samples, as training.prepare writes them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import yaml
from safetensors.numpy import save_file

from training import recipe as recipes
from training.prepare import FRAMES_HZ
from training.recipe import Recipe

AUDIO_HZ = 16_000
USUAL = {
    "split": "train", "family": "real", "method": "", "source": "s", "identity": "i", "pair": "", "video_fake": 0.0,
    "audio_fake": 0.0, "speech_s": 1.5, "duration_s": 2.0, "reasons": [],
}


DEBUG = Path(recipes.__file__).parent / "recipes" / "debug.yaml"


@pytest.fixture
def recipe():
    """recipe(**changes): recipes/debug.yaml, shorter still."""

    def change(**changes) -> Recipe:
        tiny = {"steps": 2, "batch": 4, "warmup_steps": 1, "evaluate_every": 2, "save_every_s": 1e-6, "threads": 1,
                "seed": 10, "presence": {"picture": 0.5, "sound": 0.5, "both": 0.0}}  # this seed: sound, then picture
        return Recipe.model_validate(yaml.safe_load(DEBUG.read_text()) | tiny | changes)

    return change


@pytest.fixture
def four_kinds(write_samples):
    """All four kinds of clip from one source, and again from another one: one of them becomes the development set."""
    return write_samples(*(
        {"source": source, "video_fake": video, "audio_fake": audio, "side_px": 128, "duration_s": 1.7}
        for source in ("a", "b") for video in (0.0, 1.0) for audio in (0.0, 1.0)
    ))


@pytest.fixture
def write_samples(tmp_path):
    """write(line, ...) -> folder. A line holds index keys, and `side_px` and `shade` of its faces (None: random)."""

    def write(*lines: dict) -> Path:
        folder = tmp_path / "samples_folder"
        (folder / "samples").mkdir(parents=True)
        with open(folder / "index.jsonl", "w") as index:
            for number, given in enumerate(lines):
                given = dict(given)
                side_px, shade = given.pop("side_px", 32), given.pop("shade", None)
                line = {**USUAL, "file": f"{number}.mp4", "sample": f"{number:016d}", **given}
                index.write(json.dumps(_with_tensors(folder, line, side_px, shade)) + "\n")
        return folder

    return write


def _with_tensors(folder: Path, line: dict, side_px: int, shade: int | None) -> dict:
    """Faces count up in brightness with time where a shade is given; the sound counts up in 10 ms steps."""
    if "skipped" in line:
        return line
    frames = line.setdefault("faces", int(line["duration_s"] * FRAMES_HZ))
    samples = line.setdefault("samples", int(line["duration_s"] * AUDIO_HZ))
    rng = np.random.default_rng(int(line["sample"]))
    tensors = {}
    if frames:
        if shade is None:
            tensors["faces"] = rng.integers(0, 256, (frames, side_px, side_px, 3), dtype=np.uint8)
        else:
            ramp = (shade + np.arange(frames)).astype(np.uint8)
            tensors["faces"] = np.broadcast_to(ramp[:, None, None, None], (frames, side_px, side_px, 3)).copy()
        tensors["times_s"] = np.arange(frames) / FRAMES_HZ
    if samples:
        noise = rng.integers(-3000, 3000, samples)
        tensors["waveform"] = (np.arange(samples) // 160 if shade is not None else noise).astype(np.int16)
    save_file(tensors, folder / "samples" / f"{line['sample']}.safetensors")
    return line
