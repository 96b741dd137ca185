"""What each part of a detector is worth, or each family of fakes: its recipe again, with one change at a time.

    python -m training.ablate RECIPE --samples SHARDS [SHARDS ...] [--families] [--steps N] [--fold K]
                              [--only NAME ...] [--resume]

Changes of the recipe's lesson have their names in training/recipes/ablations.yaml. The recipe as it is, and each
change of it, learn for so many steps by the same seed from the same samples, without fold K; the fold's clips are then
scored as training.crossval has it. Prints a Markdown table: AUC with its interval by identity, published fakes, coded
copies and forgeries apart. With --families, a change is to learn from one family of fake pictures alone, and the table
tells the picture's AUC for each family of published fakes. Runs lie in RUNS/<detector>/<name>; --resume goes on with
what is there.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import yaml

from training.crossval import MATERIALS, Scored, figures_of, score_held, summarise
from training.lessons import read_lessons
from training.recipe import Recipe
from training.sampling import Sample, load_noises, read_training_samples
from training.train import train

CHANGES = Path(__file__).parent / "recipes" / "ablations.yaml"
UNCHANGED = "as it is"
SHOWN = ("video", "audio", "sync", "whole")
Figures = dict[str, dict | None]  # by column, as crossval.figures_of has them


def variants(recipe: Recipe, steps: int | None = None) -> dict[str, Recipe]:
    """The recipe and its changes, by name. steps: instead of the recipe's own.

    Raises: ValueError for a change that the lesson does not know (pydantic's, in plain words).
    """
    changes = {UNCHANGED: {}, **yaml.safe_load(CHANGES.read_text(encoding="utf-8")).get(recipe.detector, {})}
    given = recipe.model_dump() | ({} if steps is None else {"steps": steps})
    return {name: type(recipe).model_validate({**given, "lesson": given["lesson"] | change})
            for name, change in changes.items()}


def of_families(recipe: Recipe, samples: Sequence[Sample], steps: int | None = None) -> dict[str, Recipe]:
    """The recipe, and that it learns from one family of fake pictures alone, by name."""
    given = recipe if steps is None else recipe.model_copy(update={"steps": steps})
    families = sorted({s.family for s in samples if s.video_fake == 1})
    return {UNCHANGED: given, **{f"{family} alone": given.model_copy(update={"picture_family": family})
                                 for family in families}}


def by_head(scored: Sequence[Scored]) -> Figures:
    table = summarise(scored)
    return {f"{material}, {head}": table[material].get(head) for material in MATERIALS for head in SHOWN}


def by_family(scored: Sequence[Scored]) -> Figures:
    """Each family of published fake pictures against all published genuine ones."""
    groups = {(s.sample.folder, s.sample.group) for s in scored if s.sample.forged}
    pictures = [s for s in scored if s.head == "video" and (s.sample.folder, s.sample.group) not in groups]
    families = sorted({s.sample.family for s in pictures if s.fake})
    return {family: figures_of([s for s in pictures if not s.fake or s.sample.family == family], "published")
            for family in families}


def ablate(recipes: Mapping[str, Recipe], samples: Sequence[Sample], fold: int, out: Path, resume: bool,
           noises: Sequence[np.ndarray], tell: Callable[[Sequence[Scored]], Figures]) -> str:
    """Trains and measures each, one after another. Gives the table, whose columns are what `tell` says of the fold's
    clips. What cannot be learnt is left out, and standard error says why.

    Raises: ValueError where that is all.
    """
    told = {}
    for name, recipe in recipes.items():
        run = out / recipe.detector / name.replace(" ", "-")
        try:
            train(recipe, samples, run, fold=fold, resume=resume, noises=noises)
        except ValueError as error:  # a family of silent clips, say, for a lesson that needs both modalities
            print(f"{name} is left out: {error}", file=sys.stderr)
            continue
        told[name] = tell(score_held(run, samples))
    if not told:
        raise ValueError("none of them could be learnt")
    columns = list(next(iter(told.values())))
    rows = [("", *columns), ("---",) * (1 + len(columns)),
            *((name, *(_cell(figures[column]) for column in columns)) for name, figures in told.items())]
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
    parser.add_argument("--families", action="store_true", help="learn from one family of fake pictures at a time")
    parser.add_argument("--steps", type=int, help="instead of the recipe's")
    parser.add_argument("--fold", type=int, default=0, metavar="K", help="that is held out (0)")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="of the changes")
    parser.add_argument("--noise", type=Path, help="a folder of .ogg noises for augmentation")
    parser.add_argument("--out", type=Path, default=Path("runs/ablations"), metavar="RUNS")
    parser.add_argument("--resume", action="store_true", help="go on from the last saved step of each")
    args = parser.parse_args(argv)
    try:
        samples = read_training_samples(*args.samples)
        for recipe in read_lessons(args.recipe):
            recipes = of_families(recipe, samples, args.steps) if args.families else variants(recipe, args.steps)
            if unknown := set(args.only or ()) - recipes.keys():
                raise ValueError(f"no change is called {', '.join(sorted(unknown))}; there are {', '.join(recipes)}")
            chosen = {name: recipes[name] for name in args.only or recipes}
            print(ablate(chosen, samples, args.fold, args.out, args.resume, load_noises(args.noise),
                         by_family if args.families else by_head))
    except (FileNotFoundError, ValueError) as error:
        parser.error(str(error))
    return 0


if __name__ == "__main__":
    sys.exit(main())
