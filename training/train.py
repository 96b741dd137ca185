"""One detector, trained from prepared samples. Resumes by step; writes a checkpoint with its card.

    python -m training.train training/recipes/ss_avd.yaml --samples SAMPLES [--out runs/ss_avd] [--resume]
    torchrun --nproc-per-node 2 -m training.train ...    (several processes: each takes its own batches)
"""

from __future__ import annotations

import argparse
import csv
import ctypes
import ctypes.util
import json
import math
import os
import sys
import time
from dataclasses import asdict
from pathlib import Path

import torch
import torch.distributed as dist
from torch.utils.data import DataLoader, Subset

from detectors.checkpoint import save_checkpoint
from detectors.ss_avd import SHIPPED, SHIPPED_SPEC, SSAVD, LossWeights, SSAVDDetector, ss_avd_loss
from training.evaluate import modality_auc, window_scores
from training.imitate import Imitation
from training.recipe import Recipe, read_recipe
from training.sampling import Batches, read_samples, split_sources

FOLLOWED = ("video", "audio", "imitation")  # losses that the log keeps


def train(recipe: Recipe, samples_dir: Path, out: Path, resume: bool, noise_dir: Path | None = None) -> dict:
    torch.set_num_threads(recipe.threads)
    _keep_freed_memory()
    rank, ranks = _join()
    device = torch.device(f"cuda:{rank % torch.cuda.device_count()}" if torch.cuda.is_available() else "cpu")
    out.mkdir(parents=True, exist_ok=True)

    learn, dev = split_sources([s for s in read_samples(samples_dir) if s.split == "train"],
                               recipe.dev_share, recipe.seed)
    batches = Batches(learn, SHIPPED_SPEC, size=recipe.batch, seed=recipe.seed, forged_share=recipe.forged_share,
                      presence=recipe.presence.model_dump(), steps=recipe.steps,
                      ranks=ranks, noise_dir=noise_dir)
    torch.manual_seed(recipe.seed)
    model = SSAVD(SHIPPED, style_heads=True).to(device)
    model.front_end.requires_grad_(recipe.train_filters)
    weights = LossWeights(**recipe.losses.model_dump())
    ema = SSAVD(SHIPPED, style_heads=True).to(device)
    ema.load_state_dict(model.state_dict())
    imitation = Imitation(SHIPPED.widths[1:]).to(device) if recipe.imitation else None
    learners = torch.nn.ModuleList(m for m in (model, imitation) if m is not None)
    trained = [p for p in learners.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=recipe.learning_rate, weight_decay=recipe.weight_decay)
    step, best_auc = 0, -1.0
    last = out / "last.pt"
    if resume and last.is_file():
        state = torch.load(last, map_location=device, weights_only=True)
        learners.load_state_dict(state["learners"])
        ema.load_state_dict(state["ema"])
        optimizer.load_state_dict(state["optimizer"])
        step, best_auc = state["step"], state["best_auc"]

    mine = range(step * ranks + rank, recipe.steps * ranks, ranks)
    loader = iter(DataLoader(Subset(batches, mine), batch_size=None, num_workers=1, prefetch_factor=4))
    log = _Log(out / "log.csv", resume) if rank == 0 else None
    begin, saved = time.perf_counter(), time.perf_counter()
    waited_s, first_step = 0.0, step
    while step < recipe.steps:
        asked = time.perf_counter()
        batch = next(loader)
        waited_s += time.perf_counter() - asked

        # Every step seeds its own shuffles and dropped paths, so that a resumed run repeats what would have been.
        torch.manual_seed((recipe.seed * 1_000_003 + step) * ranks + rank)
        for group in optimizer.param_groups:
            group["lr"] = recipe.rate_at(step)
        learners.train()
        video = None if batch["video"] is None else batch["video"].to(device).float() / 255
        audio = None if batch["audio"] is None else batch["audio"].to(device)
        answer = model(video, audio)
        loss, parts = ss_avd_loss(answer, batch["video_fake"].to(device), batch["audio_fake"].to(device), weights)
        if imitation and video is not None:
            watched = torch.randint(video.shape[1], (recipe.imitated_frames,)).tolist()
            maps = tuple(m.unflatten(0, video.shape[:2])[:, watched].flatten(0, 1) for m in answer.training.maps[1:])
            parts["imitation"] = imitation(video[:, watched].flatten(0, 1), maps)
            loss = loss + recipe.imitation * parts["imitation"]
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        if ranks > 1:
            _average_gradients(trained, ranks)
        torch.nn.utils.clip_grad_norm_(trained, recipe.clip_norm)
        optimizer.step()
        step += 1
        _follow(ema, model, min(recipe.ema_decay, step / (step + 10)))

        if rank:
            continue
        elapsed_s = time.perf_counter() - begin
        done = (step - first_step) * ranks
        if step % 10 == 0:
            log.write(step, loss=loss.item(), **{k: v.item() for k, v in parts.items() if k in FOLLOWED},
                      samples_per_s=done * recipe.batch / elapsed_s, data_wait_share=waited_s / elapsed_s)
        if step % recipe.evaluate_every == 0 or step == recipe.steps:
            card = {"architecture": asdict(SHIPPED), "input_spec": asdict(SHIPPED_SPEC), "recipe": recipe.model_dump(),
                    "step": step, "processes": ranks}
            detector = SSAVDDetector(ema, card, SHIPPED_SPEC, device)
            measured = modality_auc(window_scores(detector, dev, windows=1))
            known = [value for value in measured.values() if math.isfinite(value)]  # not: a class is missing
            dev_auc = sum(known) / len(known) if known else 0.0
            log.write(step, dev_video_auc=measured["video"], dev_audio_auc=measured["audio"])
            if dev_auc > best_auc:
                best_auc = dev_auc
                save_checkpoint(out / "best.safetensors", ema.inference_state_dict(), card)
        if time.perf_counter() - saved > recipe.save_every_s or step == recipe.steps:
            saved = time.perf_counter()
            torch.save({"learners": learners.state_dict(), "ema": ema.state_dict(), "optimizer": optimizer.state_dict(),
                        "step": step, "best_auc": best_auc}, last.with_suffix(".partial"))
            last.with_suffix(".partial").rename(last)
    elapsed_s = max(time.perf_counter() - begin, 1e-9)
    return {"best_val_auc": round(best_auc, 4), "steps": step,
            "samples_per_s": round((step - first_step) * ranks * recipe.batch / elapsed_s, 2),
            "data_wait_share": round(waited_s / elapsed_s, 3)}


def _join() -> tuple[int, int]:
    """(rank, ranks) of this process: torchrun's, else (0, 1)."""
    if "WORLD_SIZE" not in os.environ:
        return 0, 1
    if not dist.is_initialized():
        dist.init_process_group("nccl" if torch.cuda.is_available() else "gloo")
    return dist.get_rank(), dist.get_world_size()


def _average_gradients(parameters: list[torch.nn.Parameter], ranks: int) -> None:
    """One all-reduce of all gradients; a missing one (its modality is not in the batch) counts as zero."""
    grads = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
    flat = torch.cat([g.flatten() for g in grads]) / ranks
    dist.all_reduce(flat)
    for p, mean in zip(parameters, flat.split([p.numel() for p in parameters])):
        if p.grad is not None:
            p.grad.copy_(mean.view_as(p))


def _keep_freed_memory() -> None:
    """On glibc, let malloc reuse large blocks instead of returning them: faulting 100 MB of activations in again
    at every step costs a third of the processor's time."""
    M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, largest = -1, -3, 2**31 - 1
    libc = ctypes.CDLL(ctypes.util.find_library("c"))
    if hasattr(libc, "mallopt"):
        libc.mallopt(M_MMAP_THRESHOLD, largest)
        libc.mallopt(M_TRIM_THRESHOLD, largest)


@torch.no_grad()
def _follow(ema: torch.nn.Module, model: torch.nn.Module, decay: float) -> None:
    """Exponential moving average of the weights; counts and other integers are copied."""
    for target, source in zip(ema.state_dict().values(), model.state_dict().values()):
        if target.dtype.is_floating_point:
            target.lerp_(source, 1 - decay)
        else:
            target.copy_(source)


class _Log:
    """CSV: step, name, value. Appended to and flushed, so that a run can be watched."""

    def __init__(self, path: Path, resume: bool) -> None:
        self._begin = time.perf_counter()
        self._file = open(path, "a" if resume else "w", newline="", encoding="utf-8")  # noqa: SIM115 (open all run)
        self._writer = csv.writer(self._file)

    def write(self, step: int, **values: float) -> None:
        for name, value in values.items():
            self._writer.writerow([step, name, f"{value:.5g}"])
        self._file.flush()
        line = "  ".join(f"{k} {v:.4g}" for k, v in values.items())
        print(f"{step:6d}  {time.perf_counter() - self._begin:7.0f} s  {line}", file=sys.stderr, flush=True)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m training.train", description=__doc__.splitlines()[0])
    parser.add_argument("recipe", type=Path)
    parser.add_argument("--samples", type=Path, required=True, help="what training.prepare wrote")
    parser.add_argument("--noise", type=Path, help="a folder of .ogg noises for augmentation")
    parser.add_argument("--out", type=Path, help="default: runs/<detector>")
    parser.add_argument("--resume", action="store_true", help="go on from the last saved step")
    parser.add_argument("--json", action="store_true", help="print the summary as one JSON line, last")
    args = parser.parse_args(argv)
    try:
        recipe = read_recipe(args.recipe)
    except ValueError as error:
        parser.error(str(error))
    try:
        summary = train(recipe, args.samples, args.out or Path("runs") / recipe.detector, args.resume, args.noise)
    except FileNotFoundError as error:
        parser.error(str(error))
    for key, value in summary.items():
        print(f"{key:16} {value}")
    if args.json:
        print(json.dumps(summary))
    return 0


if __name__ == "__main__":
    sys.exit(main())
