"""Checkpoints: round trip, and every way of being wrong said in words."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import save_file

from detectors.checkpoint import CheckpointError, checkpoint_hash, read_card, read_checkpoint, save_checkpoint


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
