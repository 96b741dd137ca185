"""What goes into a shard comes out of it, by WebDataset's reader and by the index alike; a shard is whole or not."""

from __future__ import annotations

import json

import numpy as np
import pytest
import webdataset

from training.shards import Packed, pack_pictures, read_index, read_tensors, unpack_pictures, write_shard


def ramp(n: int, side_px: int) -> np.ndarray:
    return np.linspace(0, 255, n * side_px * side_px * 3).reshape(n, side_px, side_px, 3).astype(np.uint8)


def some_samples() -> list[Packed]:
    waveform = np.arange(-50, 50, dtype=np.int16)
    faces = pack_pictures("faces", ramp(5, 32), "jpeg")
    return [Packed({"key": "aa-0", "label": None}, {**faces, "waveform": waveform}),
            Packed({"key": "bb-0", "label": 1.0}, {"waveform": waveform[::-1].copy()})]


def test_any_sample_is_found_without_reading_the_others(tmp_path):
    write_shard(tmp_path / "a-000000.tar", some_samples(), [{"file": "x.mp4", "skipped": "no face"}])
    first, second, third = read_index(tmp_path)
    assert third == {"file": "x.mp4", "skipped": "no face"} and second["label"] == 1.0 and first["label"] is None
    tensors = read_tensors(tmp_path, second["shard"], second["offset"], second["bytes"])
    assert tensors.keys() == {"waveform"} and tensors["waveform"][0] == 49
    faces = unpack_pictures(read_tensors(tmp_path, first["shard"], first["offset"], first["bytes"]), "faces", [4, 0])
    assert np.abs(faces.astype(int) - ramp(5, 32)[[4, 0]]).max() <= 3


def test_webdataset_reads_the_same(tmp_path):
    write_shard(tmp_path / "a-000000.tar", some_samples())
    read = list(webdataset.WebDataset(str(tmp_path / "a-000000.tar"), shardshuffle=False))
    assert [r["__key__"] for r in read] == ["aa-0", "bb-0"]
    assert json.loads(read[1]["json"])["label"] == 1.0


def test_the_same_samples_give_the_same_bytes(tmp_path):
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        write_shard(tmp_path / folder / "a-000000.tar", some_samples())
    one, two = ((tmp_path / folder / "a-000000.tar").read_bytes() for folder in ("one", "two"))
    assert one == two


@pytest.mark.parametrize("pictures, extension, most", [
    (ramp(3, 16)[..., 1], "png", 0), (ramp(3, 16), "png", 0), (ramp(3, 16), "jpeg", 3)])
def test_pictures_come_back_in_any_order(pictures, extension, most):
    packed = pack_pictures("region", pictures, extension)
    again = unpack_pictures(packed, "region", [2, 0, 2])
    assert again.shape == (3, *pictures.shape[1:]) and again.dtype == np.uint8
    assert np.abs(again.astype(int) - pictures[[2, 0, 2]]).max() <= most


def test_a_shard_that_broke_off_does_not_count(tmp_path):
    def breaks_off():
        yield some_samples()[0]
        raise RuntimeError("the machine goes down")

    with pytest.raises(RuntimeError):
        write_shard(tmp_path / "a-000000.tar", breaks_off())
    assert not list(tmp_path.glob("*.tar")) and not list(tmp_path.glob("*.jsonl"))
    with pytest.raises(FileNotFoundError, match="training.prepare"):
        read_index(tmp_path)
    write_shard(tmp_path / "a-000000.tar", some_samples())
    assert len(read_index(tmp_path)) == 2 and not list(tmp_path.glob("*.partial"))


def test_clips_that_could_not_serve_are_known_when_the_samples_are_through(tmp_path):
    left_out: list[dict] = []

    def samples():
        yield some_samples()[0]
        left_out.append({"file": "broken.mp4", "skipped": "why"})

    lines = write_shard(tmp_path / "a-000000.tar", samples(), left_out)
    assert [line.get("skipped") for line in lines] == [None, "why"]
