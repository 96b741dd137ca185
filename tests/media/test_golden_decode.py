"""The committed clips decode to what they decoded to when they were committed: pictures to the bit, sound nearly.

H.264 decoders agree in every bit, as the standard demands: checksums of the planes. AAC and Opus are decoded in
floating point, whose last digits differ between builds and processors, and so does the resampler after them: levels
and projections of the sound, with a tolerance of a thousandth of its level.

    python -m tests.media.test_golden_decode     writes the figures anew, after a clip was changed on purpose
"""

from __future__ import annotations

import hashlib
import json
import zlib
from pathlib import Path

import numpy as np
import pytest

from media import AUDIO_HZ, Limits
from media.decoder import decode_clip

EXAMPLES = Path(__file__).resolve().parents[2] / "assets" / "examples"
CLIPS = sorted(p.name for p in EXAMPLES.iterdir() if p.suffix in (".mp4", ".ogg"))
GOLDEN = Path(__file__).with_name("golden_decode.json")
PIECE_S = 0.5
TOLERANCE = 1e-3  # of the level
QUIETEST = 1e-3  # a lower level counts as this one


def decoded(path: Path) -> dict:
    """sha256 of the file; facts of the clip; CRC-32 of each second of pictures; level and projections of the sound."""
    pictures: dict[str, int] = {}
    shown = 0
    for record in decode_clip(str(path), Limits()):
        if record.kind == "picture":
            second = str(record.facts["first"] // 25)
            for plane in record.arrays:
                pictures[second] = zlib.crc32(np.ascontiguousarray(plane), pictures.get(second, 0))
            shown += record.facts["count"]
    info = record.facts["info"]
    facts = {name: info[name] for name in ("frames", "width_px", "height_px", "video_codec", "audio_codec")}
    return {"sha256": hashlib.sha256(path.read_bytes()).hexdigest(), **facts, "grid_points": shown,
            "errors": record.facts["errors"], "pictures": pictures, **measured(*record.arrays)}


def measured(waveform: np.ndarray | None = None) -> dict:
    """Root mean square of each piece, and its projection on a fixed noise, which no shift or sign leaves alone."""
    if waveform is None:
        return {"samples": 0, "level": [], "projection": []}
    piece = int(PIECE_S * AUDIO_HZ)
    pieces = waveform[: len(waveform) // piece * piece].reshape(-1, piece).astype(np.float64)  # [pieces, samples]
    noise = np.random.default_rng(0).choice([-1.0, 1.0], piece)
    return {"samples": len(waveform), "level": np.sqrt((pieces**2).mean(axis=1)).round(7).tolist(),
            "projection": (pieces @ noise / np.sqrt(piece)).round(7).tolist()}


def assert_same_sound(found: dict, expected: dict) -> None:
    assert found["samples"] == pytest.approx(expected["samples"], abs=2)  # a resampler may round its last block
    level = np.maximum(expected["level"], QUIETEST)
    for name in ("level", "projection"):
        apart = np.abs(np.subtract(found[name], expected[name])) / level
        assert (apart < TOLERANCE).all(), f"{name} differs from {PIECE_S * apart.argmax()} s on"


@pytest.fixture(scope="module")
def golden() -> dict:
    return json.loads(GOLDEN.read_text())


def test_every_committed_clip_has_its_figures(golden):
    assert set(golden) == set(CLIPS) and len(CLIPS) >= 6


@pytest.mark.parametrize("name", CLIPS)
def test_a_committed_clip_decodes_as_it_did(golden, name):
    found, expected = decoded(EXAMPLES / name), golden[name]
    assert found["sha256"] == expected["sha256"], "the file was changed: write the figures anew"
    assert_same_sound(found, expected)
    sound = ("samples", "level", "projection")
    assert {k: v for k, v in found.items() if k not in sound} == {k: v for k, v in expected.items() if k not in sound}


@pytest.mark.parametrize("spoil", [
    lambda sound: np.roll(sound, 1), lambda sound: -sound, lambda sound: sound * 1.01, lambda sound: sound[100:],
    lambda sound: np.where(np.arange(len(sound)) // 400 == 40, 0, sound),  # 25 ms dropped
])
def test_the_tolerance_lets_no_fault_of_the_sound_pass(spoil):
    sound = np.random.default_rng(1).normal(0, 0.1, 3 * AUDIO_HZ).astype(np.float32)
    assert_same_sound(measured(sound * np.float32(1 + 1e-4)), measured(sound))
    with pytest.raises(AssertionError):
        assert_same_sound(measured(spoil(sound)), measured(sound))


if __name__ == "__main__":
    GOLDEN.write_text(json.dumps({name: decoded(EXAMPLES / name) for name in CLIPS}, indent=1) + "\n")
