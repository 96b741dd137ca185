"""A checkpoint is one safetensors file whose metadata is its card. Strict, never unpickles, never downloads."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

CHECKPOINTS = Path(__file__).resolve().parent.parent / "assets" / "checkpoints"


class CheckpointError(Exception):
    """A checkpoint that is missing, damaged or not the architecture that its card names."""


def save_checkpoint(path: Path, state: dict[str, Tensor], card: dict) -> None:
    tensors = {name: value.detach().cpu().contiguous() for name, value in state.items()}
    save_file(tensors, path, metadata={"card": json.dumps(card, sort_keys=True)})


def read_checkpoint(path: Path) -> tuple[dict[str, Tensor], dict]:
    """Weights and card.

    Raises: CheckpointError when the file is missing, damaged, or holds a value that is not finite.
    """
    try:
        with safe_open(path, framework="pt") as file:
            card = json.loads((file.metadata() or {})["card"])
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
    except (OSError, SafetensorError, KeyError, json.JSONDecodeError) as error:
        raise CheckpointError(f"{path.name} cannot be read as a Telltale checkpoint: {error}. "
                              "Train one with python -m training.train, or restore the shipped file.") from error
    broken = [name for name, value in state.items() if value.is_floating_point() and not torch.isfinite(value).all()]
    if broken:
        raise CheckpointError(f"{path.name} holds values that are not finite, in {broken[0]}.")
    return state, card


def read_card(path: Path) -> dict:
    """The card alone: reads the header, not the weights."""
    with safe_open(path, framework="pt") as file:
        return json.loads(file.metadata()["card"])


def checkpoint_hash(path: Path) -> str:
    return "sha256:" + hashlib.sha256(path.read_bytes()).hexdigest()
