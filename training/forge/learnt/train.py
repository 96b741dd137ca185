"""Trains the learnt generators of a recipe, each on genuine training clips, and writes DIR/NAME.safetensors.

    python -m training.forge.learnt.train RECIPE.yaml --samples SHARDS --out DIR [--resume]
"""

from __future__ import annotations

import argparse
import csv
import sys
import time
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, Subset

from detectors.checkpoint import save_checkpoint
from detectors.encoders import to_half
from training.forge.learnt.genuine import NothingGenuine, read_genuine
from training.forge.learnt.inpainter import InpainterBatches, InpainterLesson, InpainterRecipe
from training.forge.learnt.objectives import critic_loss, persuasion_loss
from training.forge.learnt.swapper import SwapperBatches, SwapperLesson, SwapperRecipe
from training.forge.learnt.vocoder import VocoderBatches, VocoderLesson, VocoderRecipe
from training.recipe import read_recipes

Recipe = Annotated[SwapperRecipe | InpainterRecipe | VocoderRecipe, Field(discriminator="generator")]
COURSES = {  # what a generator is shown, and what it is asked for
    "swapper": (SwapperBatches, SwapperLesson),
    "inpainter": (InpainterBatches, InpainterLesson),
    "vocoder": (VocoderBatches, VocoderLesson),
}


class Steps(Dataset):
    """Item n is the batch of step n: the same for the same seed, whatever was drawn before it (exact resume)."""

    def __init__(self, batches: SwapperBatches | InpainterBatches | VocoderBatches, recipe: Recipe) -> None:
        self.batches, self.seed, self.steps = batches, recipe.seed, recipe.steps

    def __len__(self) -> int:
        return self.steps

    def __getitem__(self, step: int) -> dict[str, Tensor]:
        return self.batches.draw(np.random.default_rng((self.seed, step)))


def train(recipe: Recipe, shards: Path, out: Path, resume: bool) -> dict:
    """Trains one generator to its last step, and saves it. Returns a summary: steps, seconds, the last losses.

    Raises: NothingGenuine where the folder holds no clip to learn from, FileNotFoundError where it has no shards.
    """
    torch.set_num_threads(recipe.threads)
    torch.manual_seed(recipe.seed)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    out.mkdir(parents=True, exist_ok=True)

    see, learn = COURSES[recipe.generator]
    batches = see(recipe, read_genuine(shards, **see.reads(recipe), most=recipe.most_clips, seed=recipe.seed))
    lesson = learn(recipe, batches).to(device, memory_format=torch.channels_last)
    optimizer = _optimizer(lesson, recipe)
    critic = critic_optimizer = None
    if recipe.adversary:
        critic = lesson.make_critic(recipe.adversary.width).to(device)
        critic_optimizer = _optimizer(critic, recipe)
    parts = {"lesson": lesson, "optimizer": optimizer, "critic": critic, "critic_optimizer": critic_optimizer}
    parts = {name: part for name, part in parts.items() if part is not None}

    last, step = out / f"{recipe.generator}.last.pt", 0
    if resume and last.is_file():
        state = torch.load(last, map_location=device, weights_only=True)
        step = state.pop("step")
        for name, part in parts.items():
            part.load_state_dict(state[name])
    loader = DataLoader(Subset(Steps(batches, recipe), range(step, recipe.steps)), batch_size=None,
                        num_workers=recipe.workers, pin_memory=device.type == "cuda")
    weights = recipe.losses.model_dump()
    log = _Log(out / f"{recipe.generator}.csv", resume)
    first_step, begin, saved, losses = step, time.perf_counter(), time.perf_counter(), {}
    lesson.train()
    for batch in loader:
        torch.manual_seed(recipe.seed * 1_000_003 + step)
        batch = {name: value.to(device, non_blocking=True) for name, value in batch.items()}
        playing = critic is not None and step >= recipe.adversary.from_step
        with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
            attempt = lesson(batch)
            losses = dict(attempt.losses)
            loss = sum(weights[name] * value for name, value in losses.items())
            if playing:
                losses["persuasion"] = persuasion_loss(critic, attempt.made)
                loss = loss + recipe.adversary.weight * losses["persuasion"]
        _descend(loss, lesson, optimizer, recipe, step)
        if playing:
            with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
                losses["critic"] = critic_loss(critic, attempt.made, attempt.true)
            _descend(losses["critic"], critic, critic_optimizer, recipe, step)
        step += 1
        if step % recipe.log_every == 0 or step == recipe.steps:
            log.write(step, loss=loss.item(), **{name: value.item() for name, value in losses.items()},
                      steps_per_s=(step - first_step) / (time.perf_counter() - begin))
        if time.perf_counter() - saved > recipe.save_every_s or step == recipe.steps:
            saved = time.perf_counter()
            partial = last.with_suffix(".partial")
            torch.save({"step": step, **{name: part.state_dict() for name, part in parts.items()}}, partial)
            partial.rename(last)
    generator = lesson.generator
    save_checkpoint(out / f"{recipe.generator}.safetensors", to_half(generator.state_dict()),
                    {"generator": recipe.generator, **generator.card, "recipe": recipe.model_dump(), "step": step})
    return {"generator": recipe.generator, "parameters": sum(p.numel() for p in generator.parameters()),
            "steps": step, "seconds": round(time.perf_counter() - begin, 1),
            **{name: round(value.item(), 4) for name, value in losses.items()}}


def _optimizer(module: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    trained = [p for p in module.parameters() if p.requires_grad]
    return torch.optim.AdamW(trained, lr=recipe.learning_rate, betas=(0.8, 0.99), weight_decay=0.0)


def _descend(loss: Tensor, module: nn.Module, optimizer: torch.optim.Optimizer, recipe: Recipe, step: int) -> None:
    for group in optimizer.param_groups:
        group["lr"] = recipe.rate_at(step)
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    torch.nn.utils.clip_grad_norm_(module.parameters(), recipe.clip_norm)
    optimizer.step()


class _Log:
    """CSV: step, name, value. Appended to and flushed, so that a run can be watched."""

    def __init__(self, path: Path, resume: bool) -> None:
        self._file = open(path, "a" if resume else "w", newline="", encoding="utf-8")  # noqa: SIM115 (open all run)
        self._writer = csv.writer(self._file)

    def write(self, step: int, **values: float) -> None:
        self._writer.writerows([step, name, f"{value:.5g}"] for name, value in values.items())
        self._file.flush()
        print(f"{step:6d}  " + "  ".join(f"{k} {v:.4g}" for k, v in values.items()), file=sys.stderr, flush=True)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m training.forge.learnt.train", description=__doc__.splitlines()[0])
    parser.add_argument("recipe", type=Path, help="one generator, or several as documents of one file")
    parser.add_argument("--samples", type=Path, required=True, help="what training.prepare wrote")
    parser.add_argument("--out", type=Path, required=True, help="where the generators go; forge loads them from there")
    parser.add_argument("--resume", action="store_true", help="go on from the last saved step")
    args = parser.parse_args(argv)
    try:
        recipes = read_recipes(args.recipe, Recipe)
    except ValueError as error:
        parser.error(str(error))
    for recipe in recipes:
        try:
            summary = train(recipe, args.samples, args.out, args.resume)
        except (FileNotFoundError, NothingGenuine) as error:
            parser.error(str(error))
        for key, value in summary.items():
            print(f"{key:16} {value}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
