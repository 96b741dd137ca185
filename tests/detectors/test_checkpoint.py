"""Checkpoints: round trip, and every way of being wrong said in words."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import save_file

from detectors.checkpoint import (
    CheckpointError,
    checkpoint_files,
    checkpoint_hash,
    read_card,
    read_checkpoint,
    save_checkpoint,
    ship_checkpoint,
    weights_hash,
)


def test_weights_and_card_come_back_as_saved(tmp_path):
    path = tmp_path / "a.safetensors"
    state, card = {"w": torch.arange(6.0).reshape(2, 3).T}, {"name": "Ä", "thresholds": {"manipulated": 0.9}}
    save_checkpoint(path, state, card)
    loaded, loaded_card = read_checkpoint(path)
    assert torch.equal(loaded["w"], state["w"]) and loaded_card == card == read_card(path)


def test_the_hash_is_that_of_the_file(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b"abc")
    assert checkpoint_hash(path) == "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_the_hash_of_the_weights_knows_weights_and_calibration_alone():
    state = {"a": torch.arange(3.0), "b": torch.ones(2)}
    told = weights_hash(state, {"video": {"scale": 1.0}})
    assert told == weights_hash(dict(reversed(state.items())), {"video": {"scale": 1.0}})
    assert told != weights_hash(state, {"video": {"scale": 2.0}})
    assert told != weights_hash({**state, "b": torch.zeros(2)}, {"video": {"scale": 1.0}})


@pytest.mark.parametrize("content", [b"", b"\x80\x04 pickled?", b"\xff" * 64])
def test_a_damaged_file_is_refused_in_words(tmp_path, content):
    path = tmp_path / "bad.safetensors"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"bad\.safetensors cannot be read"):
        read_checkpoint(path)


def test_missing_files_missing_cards_and_nan_are_refused(tmp_path):
    with pytest.raises(CheckpointError, match="cannot be read"):
        read_checkpoint(tmp_path / "none.safetensors")
    save_file({"w": torch.ones(1)}, tmp_path / "bare.safetensors")
    with pytest.raises(CheckpointError, match="cannot be read"):
        read_checkpoint(tmp_path / "bare.safetensors")
    save_checkpoint(tmp_path / "nan.safetensors", {"w": torch.tensor([1.0, float("nan")])}, {})
    with pytest.raises(CheckpointError, match="not finite, in w"):
        read_checkpoint(tmp_path / "nan.safetensors")


# ---- encoders that detectors share ----------------------------------------------------------------------------

ENCODER = {"conv.weight": torch.arange(4.0).half(), "norm.count": torch.tensor(7)}
ONE = {"head": torch.ones(2), **{f"face_encoder.{name}": value for name, value in ENCODER.items()}}
TWO = {"head": torch.zeros(2), "encoder.pair.w": torch.ones(1),
       **{f"encoder.face.{name}": value for name, value in ENCODER.items()}}


def same(a, b) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) and a[k].dtype == b[k].dtype for k in a)


def test_an_encoder_of_two_detectors_is_shipped_once_and_both_come_back_whole(tmp_path):
    one, two = tmp_path / "one.safetensors", tmp_path / "two.safetensors"
    ship_checkpoint(one, ONE, {"name": "one"})
    ship_checkpoint(two, TWO, {"name": "two"})
    assert len(list(tmp_path.iterdir())) == 3
    assert checkpoint_files(one)[1:] == checkpoint_files(two)[1:] and len(checkpoint_files(one)) == 2
    for path, state in ((one, ONE), (two, TWO)):
        loaded, card = read_checkpoint(path)
        assert same(loaded, state) and card == {"name": path.stem} == read_card(path)


def test_shipping_again_changes_nothing_but_the_card(tmp_path):
    path = tmp_path / "one.safetensors"
    ship_checkpoint(path, ONE, {"results": 1})
    before = checkpoint_files(path), checkpoint_hash(path)
    state, card = read_checkpoint(path)
    ship_checkpoint(path, state, card)
    assert (checkpoint_files(path), checkpoint_hash(path)) == before
    ship_checkpoint(path, state, {"results": 2})
    assert checkpoint_files(path) == before[0] and read_card(path) == {"results": 2}


def test_a_new_encoder_of_one_leaves_the_other_whole_until_nobody_names_the_old(tmp_path):
    one, two = tmp_path / "one.safetensors", tmp_path / "two.safetensors"
    ship_checkpoint(one, ONE, {})
    ship_checkpoint(two, TWO, {})
    save_file({"w": torch.ones(1)}, tmp_path / "somebody_elses.safetensors")
    [old] = checkpoint_files(two)[1:]
    better = {**ONE, "face_encoder.conv.weight": torch.ones(4).half()}
    ship_checkpoint(one, better, {})
    assert same(read_checkpoint(one)[0], better) and same(read_checkpoint(two)[0], TWO)
    ship_checkpoint(two, {**TWO, "encoder.face.conv.weight": torch.ones(4).half()}, {})
    assert not old.exists() and checkpoint_files(one)[1:] == checkpoint_files(two)[1:]
    assert same(read_checkpoint(one)[0], better)


def test_an_encoder_that_is_missing_or_another_is_refused_in_words(tmp_path):
    path = tmp_path / "one.safetensors"
    ship_checkpoint(path, ONE, {})
    [_, part] = checkpoint_files(path)
    save_file({name: value + 1 for name, value in ENCODER.items()}, part)
    with pytest.raises(CheckpointError, match=r"face_encoder-\w+\.safetensors is not the file"):
        read_checkpoint(path)
    part.unlink()
    with pytest.raises(CheckpointError, match=r"one\.safetensors cannot be read"):
        read_checkpoint(path)


@pytest.mark.parametrize("file", ["../outside.safetensors", "/etc/passwd", ""])
def test_a_part_lies_in_the_folder_of_its_checkpoint(tmp_path, file):
    part = {"prefix": "face_encoder.", "file": file, "sha256": "0" * 64}
    save_file({"w": torch.ones(1)}, tmp_path / "a.safetensors", {"card": json.dumps({"parts": [part]})})
    with pytest.raises(CheckpointError, match=r"a\.safetensors cannot be read"):
        read_checkpoint(tmp_path / "a.safetensors")


def test_a_checkpoint_without_shared_encoders_is_one_file(tmp_path):
    ship_checkpoint(tmp_path / "a.safetensors", {"w": torch.ones(1)}, {})
    assert [f.name for f in tmp_path.iterdir()] == ["a.safetensors"]
