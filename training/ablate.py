"""What each part of a detector is worth: its recipe again, with one change at a time.

    python -m training.ablate RECIPE --samples SHARDS [SHARDS ...] [--steps N] [--fold K] [--only NAME ...] [--resume]

Changes of the recipe's lesson have their names in training/recipes/ablations.yaml. The recipe as it is, and each
change of it, learn for so many steps by the same seed from the same samples, without fold K; the fold's clips are then
scored as training.crossval has it. Prints a Markdown table: AUC with its interval by identity, published fakes and
forgeries apart. Runs lie in RUNS/<detector>/<name>; --resume goes on with what is there.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import yaml

from training.crossval import MATERIALS, score_held, summarise
from training.lessons import read_lessons
from training.recipe import Recipe
from training.sampling import load_noises
from training.train import read_training_samples, train

CHANGES = Path(__file__).parent / "recipes" / "ablations.yaml"
UNCHANGED = "as it is"
SHOWN = ("video", "audio", "sync", "whole")


def variants(recipe: Recipe, steps: int | None = None) -> dict[str, Recipe]:
    """The recipe and its changes, by name. steps: instead of the recipe's own.

    Raises: ValueError for a change that the lesson does not know (pydantic's, in plain words).
    """
    changes = {UNCHANGED: {}, **yaml.safe_load(CHANGES.read_text(encoding="utf-8")).get(recipe.detector, {})}
    given = recipe.model_dump() | ({} if steps is None else {"steps": steps})
    return {name: type(recipe).model_validate({**given, "lesson": given["lesson"] | change})
            for name, change in changes.items()}


def ablate(recipes: Mapping[str, Recipe], folders: Sequence[Path], fold: int, out: Path, resume: bool,
           noises: Sequence[np.ndarray]) -> str:
    """Trains and measures each, one after another. Gives the table."""
    samples = partial(read_training_samples, folders)
    columns = [(material, head) for material in MATERIALS for head in SHOWN]
    rows = [("", *(f"{material}, {head}" for material, head in columns)), ("---",) * (1 + len(columns))]
    for name, recipe in recipes.items():
        run = out / recipe.detector / name.replace(" ", "-")
        train(recipe, samples(fold), run, fold=fold, resume=resume, noises=noises)
        table = summarise(score_held(run, samples))
        rows.append((name, *(_cell(table[material].get(head)) for material, head in columns)))
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _cell(figures: dict | None) -> str:
    if figures is None:
        return "–"
    low_high = "" if figures["interval"] is None else " [{:.2f}–{:.2f}]".format(*figures["interval"])
    return f"{figures['auc']:.2f}{low_high}"


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m training.ablate", description=__doc__.splitlines()[0])
    parser.add_argument("recipe", type=Path)
    parser.add_argument("--samples", type=Path, required=True, nargs="+", help="as training.train takes them")
    parser.add_argument("--steps", type=int, help="instead of the recipe's")
    parser.add_argument("--fold", type=int, default=0, metavar="K", help="that is held out (0)")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="of the changes")
    parser.add_argument("--noise", type=Path, help="a folder of .ogg noises for augmentation")
    parser.add_argument("--out", type=Path, default=Path("runs/ablations"), metavar="RUNS")
    parser.add_argument("--resume", action="store_true", help="go on from the last saved step of each")
    args = parser.parse_args(argv)
    try:
        for recipe in read_lessons(args.recipe):
            recipes = variants(recipe, args.steps)
            if unknown := set(args.only or ()) - recipes.keys():
                raise ValueError(f"no change is called {', '.join(sorted(unknown))}; there are {', '.join(recipes)}")
            chosen = {name: recipes[name] for name in args.only or recipes}
            print(ablate(chosen, args.samples, args.fold, args.out, args.resume, load_noises(args.noise)))
    except (FileNotFoundError, ValueError) as error:
        parser.error(str(error))
    return 0


if __name__ == "__main__":
    sys.exit(main())
