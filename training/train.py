"""One detector after another, trained from prepared samples as the recipe says. Resumes by step.

    python -m training.train training/recipes/ss_avd.yaml --samples SHARDS [SHARDS ...] [--fold K|all] [--resume]
    torchrun --nproc-per-node 2 -m training.train ...                              (several processes or GPUs)
    torchrun --nnodes 4 --nproc-per-node 8 --rdzv-endpoint HOST:29500 -m training.train ...    (several machines)

Sources are dealt into the recipe's folds. `--fold K` (0 if not given) holds fold K out and keeps the step whose
average ranks it best. `--fold all` does so for every fold, in RUN/fold-K, which measures the recipe, and then learns
from everything, up to the median of the folds' best steps. A run is a folder, RUNS/<detector>:

    best.safetensors   averaged weights of the best step, and their card
    last.pt            what resuming needs          log.csv, log.html   losses, AUC, samples/s, share of time waiting

Processes share a batch: the same recipe does the same on one or on several. (Batch norms see their own rows alone.)
"""

from __future__ import annotations

import argparse
import copy
import json
import math
import statistics
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator, DistributedDataParallelKwargs, PartialState
from accelerate.utils import broadcast_object_list
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, Subset

from detectors.checkpoint import save_checkpoint
from detectors.contract import WindowScores
from training.labels import labels_between, whole_label
from training.lessons import LESSONS, Batch, Lesson, read_lessons
from training.log import RunLog
from training.metrics import auc
from training.recipe import Recipe
from training.sampling import Sample, load_noises, read_training_samples, split_fold

LOG_EVERY = 10  # steps


@dataclass
class Progress:
    """How far a run has come."""

    step: int = 0
    best_step: int = 0
    best_auc: float = -1.0


def train(recipe: Recipe, samples: Sequence[Sample], out: Path, *, fold: int | None = 0, resume: bool = False,
          noises: Sequence[np.ndarray] = (), last_step: int | None = None, notes: dict | None = None) -> dict:
    """One run: with a fold held out to choose the step, or (None) on all samples up to last_step. `notes` go into the
    card. Gives a summary.

    Raises: ValueError where the samples do not hold what the recipe or the lesson asks for.
    """
    accelerator = Accelerator(cpu=not torch.cuda.is_available(),  # without it, processes on CPUs would not meet
                              kwargs_handlers=[DistributedDataParallelKwargs(find_unused_parameters=True)])
    rank, ranks, device = accelerator.process_index, accelerator.num_processes, accelerator.device
    if (recipe.batch // 2) % ranks:
        raise ValueError(f"{ranks} processes cannot share the {recipe.batch // 2} pairs of a batch evenly")
    torch.set_num_threads(recipe.threads)
    out.mkdir(parents=True, exist_ok=True)

    learn, held = split_fold(samples, recipe.folds, fold, recipe.seed)
    learn = [s for s in learn if recipe.learns_from(s)]
    sources = sorted({s.source for s in held}) if all(s.source for s in held) else []
    held = [held[i] for i in np.random.default_rng(recipe.seed).permutation(len(held))[:recipe.evaluate_clips]]
    torch.manual_seed(recipe.seed)
    lesson = LESSONS[recipe.detector](recipe, learn, noises).to(device)
    average = copy.deepcopy(lesson.model)
    learner = accelerator.prepare(lesson)
    trained = [p for p in lesson.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=recipe.learning_rate, weight_decay=recipe.weight_decay)
    parts = {"lesson": lesson, "average": average, "optimizer": optimizer}
    progress, last = Progress(), out / "last.pt"
    if resume and last.is_file():
        state = torch.load(last, map_location=device, weights_only=True)
        progress = Progress(**state.pop("progress"))
        for name, part in parts.items():
            part.load_state_dict(state[name])

    last_step = last_step or recipe.steps
    batches = iter(DataLoader(
        Subset(_Steps(lesson, rank, ranks), range(progress.step, last_step)), batch_size=None,
        num_workers=recipe.workers, prefetch_factor=4 if recipe.workers else None, pin_memory=device.type == "cuda"))
    log = RunLog(out / "log.csv", resume) if accelerator.is_main_process else None
    pace, saved = _Pace(progress.step, recipe.batch), time.perf_counter()
    while progress.step < last_step:
        with pace.waiting():
            batch = next(batches)
        # Every step seeds its own shuffles and dropped paths, so that a resumed run repeats what would have been.
        torch.manual_seed((recipe.seed * 1_000_003 + progress.step) * ranks + rank)
        for group in optimizer.param_groups:
            group["lr"] = recipe.rate_at(progress.step)
        learner.train()
        with torch.autocast(device.type, torch.bfloat16, enabled=recipe.precision == "bf16"):
            loss, terms = learner(_moved(batch, device))
        optimizer.zero_grad(set_to_none=True)
        accelerator.backward(loss)
        torch.nn.utils.clip_grad_norm_(trained, recipe.clip_norm)
        optimizer.step()
        progress.step += 1
        _follow(average, lesson.model, min(recipe.ema_decay, progress.step / (progress.step + 10)))

        is_last = progress.step == last_step
        if progress.step % LOG_EVERY == 0 or is_last:
            told = accelerator.reduce({"loss": loss.detach(), **terms}, "mean")
            if log:
                log.write(progress.step, **{name: value.item() for name, value in told.items()},
                          **pace.at(progress.step))
        if not accelerator.is_main_process:
            continue
        card = {**lesson.card(), "recipe": recipe.model_dump(), "step": progress.step, "processes": ranks,
                "noises": len(noises), "fold": fold, "held_sources": sources, **(notes or {})}
        if held and (progress.step % recipe.evaluate_every == 0 or is_last):
            aucs = head_aucs(lesson.scores(average, held, recipe.evaluate_windows))
            log.write(progress.step, **{f"dev_{head}_auc": value for head, value in aucs.items()})
            known = [value for value in aucs.values() if math.isfinite(value)]  # not: a class is missing
            if (mean := statistics.fmean(known) if known else 0.0) > progress.best_auc:
                progress.best_auc, progress.best_step = mean, progress.step
                save_checkpoint(out / "best.safetensors", lesson.weights(average), {**card, "dev_auc": aucs})
        if is_last and not held:
            save_checkpoint(out / "best.safetensors", lesson.weights(average), card)
        if is_last or time.perf_counter() - saved > recipe.save_every_s:
            saved = time.perf_counter()
            torch.save({"progress": asdict(progress), **{name: part.state_dict() for name, part in parts.items()}},
                       last.with_suffix(".partial"))
            last.with_suffix(".partial").rename(last)
    if log:
        log.close()
    [progress] = broadcast_object_list([progress])  # the main process alone knows the best step
    return {"best_val_auc": round(progress.best_auc, 4) if held else None, "best_step": progress.best_step,
            "steps": progress.step, **pace.at(progress.step)}


def cross_validate(recipe: Recipe, samples: Sequence[Sample], out: Path, **how) -> dict:
    """A run for each fold, and a last one on all samples for the median of their best steps; `how` as train takes it.

    That step is chosen, and its AUC measured, on sources that the run did not see; the last run itself is not measured.
    """
    folds = [train(recipe, samples, out / f"fold-{fold}", fold=fold, **how) for fold in range(recipe.folds)]
    told = {"best_val_auc": round(statistics.fmean(f["best_val_auc"] for f in folds), 4),
            "best_step": statistics.median_low(f["best_step"] for f in folds)}
    notes = {"cross_validation": {**told, "folds": [{k: f[k] for k in told} for f in folds]}}
    last = train(recipe, samples, out, fold=None, last_step=told["best_step"], notes=notes, **how)
    return {**last, **told}


def part_processes() -> None:
    """Ends what several processes of a run have open between them, once all are there. Its threads abort a process
    that ends before them. Of a single process nothing."""
    PartialState().wait_for_everyone()
    PartialState().destroy_process_group()


def head_aucs(scored: Sequence[tuple[Sample, WindowScores]]) -> dict[str, float]:
    """AUC of every head that tells something, over the windows of all samples whose label is known; NaN where they
    are all fake or all genuine."""
    found: dict[str, list[np.ndarray]] = {}
    for sample, scores in scored:
        labels = labels_between(sample, scores.start_s, scores.end_s)
        labels["whole"] = whole_label(sample, labels)
        for head, label in labels.items():
            if (score := getattr(scores, head)) is not None:
                known = np.isfinite(score) & np.isfinite(label)
                found.setdefault(head, []).append(np.stack([score[known], label[known]]))
    return {head: auc(*np.concatenate(rows, axis=1)) for head, rows in found.items()}


class _Steps(Dataset):
    """Item n is this process' share of the batch of step n."""

    def __init__(self, lesson: Lesson, rank: int, ranks: int) -> None:
        self.lesson, self.rank, self.ranks = lesson, rank, ranks

    def __len__(self) -> int:
        return self.lesson.recipe.steps

    def __getitem__(self, step: int) -> Batch:
        return self.lesson.batch(step, self.rank, self.ranks)


class _Pace:
    """Samples a second since the start, of all processes, and the share of the time that waits for batches."""

    def __init__(self, first_step: int, batch: int) -> None:
        self._first_step, self._batch = first_step, batch
        self._begin, self._waited_s = time.perf_counter(), 0.0

    @contextmanager
    def waiting(self) -> Iterator[None]:
        asked = time.perf_counter()
        yield
        self._waited_s += time.perf_counter() - asked

    def at(self, step: int) -> dict[str, float]:
        elapsed_s = max(time.perf_counter() - self._begin, 1e-9)
        return {"samples_per_s": round((step - self._first_step) * self._batch / elapsed_s, 2),
                "data_wait_share": round(self._waited_s / elapsed_s, 3)}


def _moved(batch: Batch, device: torch.device) -> Batch:
    return {name: value.to(device, non_blocking=True) if isinstance(value, Tensor) else value
            for name, value in batch.items()}


@torch.no_grad()
def _follow(average: nn.Module, model: nn.Module, decay: float) -> None:
    """Exponential moving average of the weights; counts and other integers are copied."""
    for target, source in zip(average.state_dict().values(), model.state_dict().values()):
        if target.dtype.is_floating_point:
            target.lerp_(source, 1 - decay)
        else:
            target.copy_(source)


def _fold(text: str) -> int | None:
    return None if text == "all" else int(text)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m training.train", description=__doc__.splitlines()[0])
    parser.add_argument("recipe", type=Path, help="one YAML file; of several documents, each is trained in turn")
    parser.add_argument("--detector", choices=list(LESSONS), help="of several documents, only this detector's")
    parser.add_argument("--samples", type=Path, required=True, nargs="+",
                        help="what training.prepare wrote, or training.encode for a lesson that reads features")
    parser.add_argument("--noise", type=Path, help="a folder of .ogg noises for augmentation")
    parser.add_argument("--out", type=Path, default=Path("runs"), metavar="RUNS",
                        help="each detector's run goes to RUNS/<detector> (runs)")
    parser.add_argument("--fold", "--folds", type=_fold, default=0, metavar="K|all",
                        help="hold out this fold of the sources (0), or measure all folds and learn from everything")
    parser.add_argument("--resume", action="store_true", help="go on from the last saved step")
    parser.add_argument("--json", action="store_true", help="print the summary as one JSON line, last")
    args = parser.parse_args(argv)
    try:
        recipes = [r for r in read_lessons(args.recipe) if args.detector in (None, r.detector)]
        if not recipes:
            raise ValueError(f"{args.recipe} holds no recipe for {args.detector}")
        samples = read_training_samples(*args.samples)
        how = {"resume": args.resume, "noises": load_noises(args.noise)}
        for recipe in recipes:
            out = args.out / recipe.detector
            if args.fold is None:
                summary = cross_validate(recipe, samples, out, **how)
            else:
                summary = train(recipe, samples, out, fold=args.fold, **how)
            summary = {"detector": recipe.detector, **summary}
            for key, value in summary.items():
                print(f"{key:16} {value}")
        part_processes()
    except (FileNotFoundError, ValueError) as error:
        parser.error(str(error))
    if args.json:
        print(json.dumps(summary))
    return 0


if __name__ == "__main__":
    sys.exit(main())
