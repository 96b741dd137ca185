"""A checkpoint is a safetensors file whose metadata is its card. Strict, never unpickles, never downloads.

Encoders that several detectors hold lie beside the checkpoints that are shipped, once, in files named by their
content: the checkpoint names them with their SHA-256, and is refused without exactly these.
"""

from __future__ import annotations

import hashlib
import json
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load, save, save_file
from torch import Tensor

CHECKPOINTS = Path(__file__).resolve().parent.parent / "assets" / "checkpoints"

# How the names of an encoder's tensors begin in detectors that hold it -> what its own file is called.
SHARED = {"face_encoder.": "face_encoder", "encoder.face.": "face_encoder",
          "speech_encoder.": "speech_encoder", "encoder.speech.": "speech_encoder"}
_PARTS = "parts"  # of the metadata's card; not shown to those who read the card


@dataclass(frozen=True)
class Part:
    """Tensors of a checkpoint that lie in another file of its folder, there without the prefix."""

    prefix: str
    file: str
    sha256: str


class CheckpointError(Exception):
    """A checkpoint that is missing, damaged or not the architecture that its card names."""


def save_checkpoint(path: Path, state: dict[str, Tensor], card: dict) -> None:
    """All of it in one file."""
    _save(path, state, card, ())


def ship_checkpoint(path: Path, state: dict[str, Tensor], card: dict) -> None:
    """SHARED encoders go to files of their own; those that no checkpoint of the folder names any more are deleted."""
    parts = tuple(_save_part(path.parent, prefix, name, state) for prefix, name in SHARED.items()
                  if any(key.startswith(prefix) for key in state))
    elsewhere = tuple(part.prefix for part in parts)
    _save(path, {name: value for name, value in state.items() if not name.startswith(elsewhere)}, card, parts)
    named = set()
    for checkpoint in path.parent.glob("*.safetensors"):
        with suppress(SafetensorError, KeyError):  # no checkpoint: it names nothing
            named.update(checkpoint_files(checkpoint)[1:])
    for name in set(SHARED.values()):
        for file in set(path.parent.glob(f"{name}-*.safetensors")) - named:
            file.unlink()


def _save(path: Path, state: dict[str, Tensor], card: dict, parts: tuple[Part, ...]) -> None:
    if parts:
        card = {**card, _PARTS: [asdict(part) for part in parts]}
    # One entry alone: safetensors writes several in an order that changes, and the file's hash with it.
    save_file(_plain(state), path, metadata={"card": json.dumps(card, sort_keys=True)})
    path.chmod(0o644)  # safetensors leaves it to its owner alone


def _save_part(folder: Path, prefix: str, name: str, state: dict[str, Tensor]) -> Part:
    content = save(_plain({key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}),
                   metadata={"card": "{}"})
    sha256 = hashlib.sha256(content).hexdigest()
    part = Part(prefix, f"{name}-{sha256[:8]}.safetensors", sha256)
    file = folder / part.file
    if not file.is_file() or file.read_bytes() != content:  # others may be reading it
        file.write_bytes(content)
    return part


def _plain(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: value.detach().cpu().contiguous() for name, value in state.items()}


def read_checkpoint(path: Path) -> tuple[dict[str, Tensor], dict]:
    """Weights, those of its parts included, and card.

    Raises: CheckpointError when a file is missing, damaged, not the one that was shipped with the checkpoint, or
    holds a value that is not finite.
    """
    try:
        with safe_open(path, framework="pt") as file:
            card, parts = _card_and_parts(file.metadata())
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
        for part in parts:
            state |= _read_part(path, part)
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{path.name} cannot be read as a Telltale checkpoint: {error}. "
                              "Train one with python -m training.train, or restore the shipped file.") from error
    broken = [name for name, value in state.items() if value.is_floating_point() and not torch.isfinite(value).all()]
    if broken:
        raise CheckpointError(f"{path.name} holds values that are not finite, in {broken[0]}.")
    return state, card


def _card_and_parts(metadata: dict[str, str] | None) -> tuple[dict, tuple[Part, ...]]:
    card = json.loads((metadata or {})["card"])
    return card, tuple(Part(**part) for part in card.pop(_PARTS, ()))


def _read_part(path: Path, part: Part) -> dict[str, Tensor]:
    content = path.with_name(part.file).read_bytes()  # with_name refuses to leave the folder
    if hashlib.sha256(content).hexdigest() != part.sha256:
        raise CheckpointError(f"{part.file} is not the file that {path.name} was shipped with. Restore both.")
    return {part.prefix + name: value for name, value in load(content).items()}


def checkpoint_files(path: Path) -> list[Path]:
    """The checkpoint's own file, then those of its parts."""
    with safe_open(path, framework="pt") as file:
        _, parts = _card_and_parts(file.metadata())
    return [path, *(path.with_name(part.file) for part in parts)]


def read_card(path: Path) -> dict:
    """The card alone: reads the header, not the weights."""
    with safe_open(path, framework="pt") as file:
        return _card_and_parts(file.metadata())[0]


def weights_hash(state: dict[str, Tensor], calibration: dict) -> str:
    """Of what decides the scores: it stays when results are added to a card, and the file's own hash does not."""
    digest = hashlib.sha256(json.dumps(calibration, sort_keys=True).encode())
    for name, value in sorted(_plain(state).items()):
        digest.update(name.encode() + value.numpy().tobytes())
    return "sha256:" + digest.hexdigest()


def checkpoint_hash(path: Path) -> str:
    """Of the file, which names its parts by their own hashes."""
    return "sha256:" + hashlib.sha256(path.read_bytes()).hexdigest()
