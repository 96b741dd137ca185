"""The same frames of a clip, genuine and forged by every family, to look at with your own eyes.

    python -m training.forge.contact_sheet CLIP [--donor CLIP] [--learnt DIR] [--out PNG] [--frames N] [--seed S]
"""

from __future__ import annotations

import argparse
import textwrap
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np

from media import MediaError
from training.forge.align import cut
from training.forge.faces import jitter, resynthesise, self_blend, swap_identity
from training.forge.footage import Footage, Forgery, Unsuitable
from training.forge.landmarks import find_landmarks
from training.forge.learnt import SHIPPED, load
from training.forge.learnt.inpainter import lip_sync, rerender
from training.forge.learnt.swapper import swap
from training.forge.mouths import rerender_mouth, transplant_mouth
from training.forge.patch import FacePatch
from training.forge.read import read_footage

TILE_PX = 168
LABEL_PX = 150
_BLUE = (40, 120, 255)


def draw_sheet(footage: Footage, forgeries: dict[str, Forgery], seed: int = 0, frames: int = 6) -> np.ndarray:
    """[rows * TILE_PX, width, 3] uint8 RGB: one row for the genuine clip, then one for each family.

    A row shows the face in `frames` moments spread over the clip, then, in the middle moment, the replaced region in
    blue and what the forgery changed, three times enlarged around grey. A family that the clip does not suit says why.
    Raises Unsuitable where the clip shows no face.
    """
    patch = FacePatch.of(footage, TILE_PX)
    shown = patch.at[np.linspace(0, len(patch.at) - 1, frames).round().astype(int)]
    matrices = patch.matrices[np.searchsorted(patch.at, shown)]
    genuine = cut(footage.frames[shown], matrices, TILE_PX)
    blank = np.full((TILE_PX, TILE_PX, 3), 255, np.uint8)
    middle = frames // 2
    rows = [np.hstack([_label("genuine"), *genuine, blank, blank])]
    for number, (name, forgery) in enumerate(forgeries.items()):
        try:
            forged, truth = forgery(footage, np.random.default_rng([seed, number]))
        except Unsuitable as reason:
            rows.append(np.hstack([_label(name, str(reason)), *[blank] * (frames + 2)]))
            continue
        tiles = cut(forged.frames[shown], matrices, TILE_PX)
        (share,) = cut(truth.region[shown[middle]][None], matrices[middle][None], TILE_PX)
        share = share.astype(np.float32)[..., None] / 255 * 0.6
        region = genuine[middle] * (1 - share) + share * np.array(_BLUE, np.float32)
        change = 128 + 3 * (tiles[middle].astype(np.float32) - genuine[middle])
        rows.append(np.hstack([_label(name), *tiles, region.astype(np.uint8),
                               np.clip(change, 0, 255).astype(np.uint8)]))
    return np.vstack(rows)


def picture_families(donor: Footage | None, generators: Path | None = None, seed: int = 0) -> dict[str, Forgery]:
    """The families that forge pictures: those that need another clip where there is one, and those of the trained
    generators in a folder. The seed draws whose face the swapper puts on."""
    families: dict[str, Forgery] = {"self_blend": self_blend, "resynthesise": resynthesise, "jitter": jitter,
                                    "transplant_mouth": transplant_mouth, "rerender_mouth": rerender_mouth}
    if donor is not None:
        families["swap_identity"] = swap_identity(donor)
    learnt = {name: load(name, generators) for name in ("swapper", "inpainter")} if generators else {}
    if swapper := learnt.get("swapper"):
        people = swapper.identities
        families["learnt_swap"] = swap(swapper, people[np.random.default_rng(seed).integers(len(people))])
    if inpainter := learnt.get("inpainter"):
        families["learnt_rerender"] = rerender(inpainter)
        if donor is not None and donor.sound is not None:
            families["learnt_lip_sync"] = lip_sync(inpainter, donor.sound)
    return families


def _label(name: str, note: str = "") -> np.ndarray:
    tile = np.full((TILE_PX, LABEL_PX, 3), 255, np.uint8)
    lines = [(name, 24, 0.45)] + [(part, 50 + 16 * i, 0.33) for i, part in enumerate(textwrap.wrap(note, 26))]
    for text, y, scale in lines:
        cv2.putText(tile, text, (6, y), cv2.FONT_HERSHEY_SIMPLEX, scale, (0, 0, 0), 1, cv2.LINE_AA)
    return tile


def _read(path: Path) -> Footage:
    footage = read_footage(path)
    return footage if footage.frames is None else replace(footage, landmarks=find_landmarks(footage.frames))


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m training.forge.contact_sheet", description=__doc__.split("\n")[0])
    parser.add_argument("clip", type=Path, help="a clip of a face, at most 15 s long")
    parser.add_argument("--donor", type=Path, help="a clip of another person, for swaps of identity")
    parser.add_argument("--learnt", type=Path, default=SHIPPED, metavar="DIR",
                        help="folder of generators that training.forge.learnt.train wrote (assets/generators)")
    parser.add_argument("--out", type=Path, default=Path("contact_sheet.png"))
    parser.add_argument("--frames", type=int, default=6)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    try:
        footage, donor = _read(args.clip), None if args.donor is None else _read(args.donor)
        sheet = draw_sheet(footage, picture_families(donor, args.learnt, args.seed), args.seed, args.frames)
    except (MediaError, Unsuitable) as reason:
        parser.exit(3, f"{reason}\n")
    cv2.imwrite(str(args.out), cv2.cvtColor(sheet, cv2.COLOR_RGB2BGR))
    print(args.out)


if __name__ == "__main__":
    main()
