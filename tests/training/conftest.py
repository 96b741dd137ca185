"""A folder of tiny shards, as training.prepare writes them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from training import recipe as recipes
from training.lessons.ss_avd import SSAVDPart, SSAVDRecipe
from training.shards import Packed, pack_pictures, write_shard

AUDIO_HZ, GRID_HZ = 16_000, 25
USUAL = {
    "split": "train", "family": "real", "method": "", "source": "s", "identities": ["i"], "pair": "",
    "video_fake": 0.0, "audio_fake": 0.0, "sync_fake": 0.0, "spans": [], "speech_s": 1.5, "duration_s": 2.0,
    "reasons": [], "blocks": [], "version": 0, "forged": "", "facts": {"fps": 25.0},
}


DEBUG = Path(recipes.__file__).parent / "recipes" / "debug.yaml"


@pytest.fixture
def recipe():
    """recipe(**changes): SS-AVD's of recipes/debug.yaml, shorter still; changes of the lesson's part as well."""

    def change(**changes) -> SSAVDRecipe:
        values = next(v for v in yaml.safe_load_all(DEBUG.read_text()) if v["detector"] == "ss_avd")
        tiny = {"steps": 2, "batch": 4, "schedule": {"warmup_steps": 1, "shape": "linear", "final": 0.1},
                "evaluate_every": 2, "evaluate_clips": 8, "save_every_s": 1e-6, "threads": 1, "workers": 0,
                "presence": {"picture": 0.5, "sound": 0.5, "both": 0.0}}
        for name, value in {**tiny, **changes}.items():
            (values["lesson"] if name in SSAVDPart.model_fields else values)[name] = value
        return SSAVDRecipe.model_validate(values)

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
    """write(line, ...) -> folder. A line holds index keys, `side_px` and `shade` of its faces (no shade:
    random ones)."""

    def write(*lines: dict) -> Path:
        folder = tmp_path / "shards"
        folder.mkdir()
        packed, left_out = [], []
        for number, given in enumerate(lines):
            given = {name: None if isinstance(value, float) and np.isnan(value) else value
                     for name, value in given.items()}
            side_px, shade = given.pop("side_px", 32), given.pop("shade", None)
            line = {**USUAL, "file": f"{number}.mp4", "group": f"{number}.mp4", "key": f"{number:016x}-0", **given}
            line.setdefault("voice_s", [[0.0, line["duration_s"]]])
            if "skipped" in line:
                left_out.append(line)
            else:
                packed.append(Packed(line, _tensors(line, number, side_px, shade)))
        write_shard(folder / "tiny-000000.tar", packed, left_out)
        return folder

    return write


def _tensors(line: dict, number: int, side_px: int, shade: int | None) -> dict[str, np.ndarray]:
    """Faces count up in brightness with time where a shade is given; the sound counts up in 10 ms steps."""
    frames = line.setdefault("faces", int(line["duration_s"] * GRID_HZ))
    samples = line.setdefault("samples", int(line["duration_s"] * AUDIO_HZ))
    rng = np.random.default_rng(number)
    tensors = {}
    if frames:
        faces = rng.integers(0, 256, (frames, side_px, side_px, 3), dtype=np.uint8)
        if shade is not None:
            faces[:] = (shade + np.arange(frames)).astype(np.uint8)[:, None, None, None]
        tensors |= {**pack_pictures("faces", faces, "jpeg"), **pack_pictures("lips", faces[:, :16, :16], "jpeg"),
                    "times_s": np.arange(frames) / GRID_HZ}
    if samples:
        noise = rng.integers(-3000, 3000, samples)
        tensors["waveform"] = (np.arange(samples) // 160 if shade is not None else noise).astype(np.int16)
    return tensors


@pytest.fixture(scope="session")
def assert_same():
    """assert_same(a, b): nested states of training are equal to the bit."""

    def compare(a, b) -> None:
        if isinstance(a, torch.Tensor):
            assert torch.equal(a, b)
        elif isinstance(a, dict):
            assert a.keys() == b.keys()
            for key in a:
                compare(a[key], b[key])
        elif isinstance(a, (list, tuple)):
            assert len(a) == len(b)
            for one, other in zip(a, b):
                compare(one, other)
        else:
            assert a == b

    return compare
