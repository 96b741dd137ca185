"""Generators trained here on genuine clips: a face swapper, a mouth inpainter and a vocoder.

training.forge.learnt.train trains them; `load` brings one back. SHIPPED holds those that come with the project.
"""

from __future__ import annotations

import logging
from pathlib import Path

import torch

from detectors.checkpoint import CheckpointError, read_checkpoint
from training.forge.learnt.inpainter import Inpainter
from training.forge.learnt.swapper import Swapper
from training.forge.learnt.vocoder import Vocoder

SHIPPED = Path(__file__).resolve().parents[3] / "assets" / "generators"
GENERATORS = {"swapper": Swapper, "inpainter": Inpainter, "vocoder": Vocoder}
log = logging.getLogger("telltale")


def load(name: str, folder: Path, device: str = "cpu") -> Swapper | Inpainter | Vocoder | None:
    """The trained generator in `folder`/NAME.safetensors, ready to forge with; None, and a message, where it is not.

    Raises: CheckpointError where the file is damaged or holds another generator; KeyError for an unknown name.
    """
    build, path = GENERATORS[name].build, folder / f"{name}.safetensors"
    if not path.is_file():
        log.warning("%s is missing: the family of the %s is left out. "
                    "python -m training.forge.learnt.train trains it.", path, name)
        return None
    state, card = read_checkpoint(path)
    if card.get("generator") != name:
        raise CheckpointError(f"{path} holds a {card.get('generator', 'detector')}, not a {name}.")
    generator = build(card)
    generator.load_state_dict(state)
    return generator.to(torch.device(device)).eval().requires_grad_(False)
