"""What the detectors learnt from, as a place to measure distances from: makes the checkpoint of detectors.familiarity.

    python -m training.familiarity --samples SHARDS [SHARDS ...] [--encoders DIR] [--out FILE]

SHARDS are those that the detectors learnt from, forgeries left out: clips as they are, and copies of training.coded.
The limits are distances of clips from sources that the fit did not see: five folds of the sources, dealt three times.
Clips of a source count together as the root of their number, as in training.start.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from detectors.checkpoint import ship_checkpoint
from detectors.encoders import to_half
from detectors.familiarity import CHECKPOINT, COMPONENTS, READ, Familiarity
from training.calibrate import commit
from training.datasets.splits import source_folds
from training.pretrained import MissingPackage, load_encoders, published_encoders
from training.sampling import Sample, read_training_samples, without_forged
from training.shards import read_command

SHARES = {"usual": 0.95, "known": 0.99}  # of training clips that lie within
Summaries = dict[str, list[tuple[Sample, Tensor]]]  # modality -> clips that show it, (D,) each


def summarise(model: Familiarity, samples: Sequence[Sample]) -> Summaries:
    told: Summaries = defaultdict(list)
    for sample in tqdm(samples, unit="clip", file=sys.stderr, mininterval=5):
        for modality, summaries in model.summaries(sample.clip()).items():
            told[modality].append((sample, summaries[0]))
    return told


def fit(model: Familiarity, told: Summaries) -> None:
    """Whitens by these clips."""
    model.beside.fit({READ[modality]: torch.stack([summary for _, summary in clips])
                      for modality, clips in told.items()})


def held_out_distances(told: Summaries, seed: int = 0) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Modality -> distances [n] of held-out clips from the others, and what each counts [n]."""
    found = {}
    for modality, clips in told.items():
        summary, size = dict(clips), Counter(s.source for s, _ in clips)
        distances, counts = [], []
        for learnt, held in source_folds([s for s, _ in clips], seed=seed):
            model = Familiarity()
            fit(model, {modality: [(s, summary[s]) for s in learnt]})
            distances += model.deviations(modality, torch.stack([summary[s] for s in held])).tolist()
            counts += [size[s.source] ** -0.5 for s in held]
        found[modality] = np.array(distances), np.array(counts)
    return found


def limit_at(distances: np.ndarray, counts: np.ndarray, share: float) -> float:
    """The least distance within which lies this share of clips [n], each counting as much as counts [n] says."""
    order = np.argsort(distances)
    within = np.cumsum(counts[order]) / counts.sum()
    return float(distances[order][np.searchsorted(within, share)])


def make(samples: Sequence[Sample], encoders: Path | None) -> tuple[dict[str, Tensor], dict]:
    """(weights, card).

    Raises: ValueError where there are too few clips or sources for the folds or the components.
    """
    torch.manual_seed(0)  # the components are found by drawing
    face_encoder, _ = published_encoders() if encoders is None else load_encoders(encoders)
    model = Familiarity()
    model.face_encoder.load_state_dict(face_encoder.state_dict())
    told = summarise(model, samples)
    distances = held_out_distances(told)
    fit(model, told)
    limits = {modality: {name: round(limit_at(*found, share), 2) for name, share in SHARES.items()}
              for modality, found in distances.items()}
    halved = to_half({name: value for name, value in model.state_dict().items() if name.startswith("face_encoder.")})
    card = {
        "name": "Familiarity", "components": COMPONENTS, "limits": limits, "commit": commit(),
        "commands": [*sorted({read_command(folder) for folder in {s.folder for s in samples}} - {""}),
                     "python -m training.familiarity --samples SHARDS"],
        "data": {modality: {"clips": len(clips), "sources": len({s.source for s, _ in clips})}
                 for modality, clips in told.items()},
    }
    return {**model.state_dict(), **halved}, card


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m training.familiarity", description=__doc__.splitlines()[0])
    parser.add_argument("--samples", type=Path, required=True, nargs="+", help="what training.prepare wrote")
    parser.add_argument("--encoders", type=Path, help="folder of training.pretrained (from the installed packages)")
    parser.add_argument("--out", type=Path, default=CHECKPOINT, help="default: the app's own")
    args = parser.parse_args(argv)
    try:
        state, card = make(without_forged(read_training_samples(*args.samples)), args.encoders)
    except (FileNotFoundError, MissingPackage, ValueError) as error:
        parser.error(str(error))
    ship_checkpoint(args.out, state, card)
    print(json.dumps({"limits": card["limits"], "data": card["data"]}, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
