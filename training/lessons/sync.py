"""Pretraining of the lip-sound pair of detectors.sync, on genuine talk alone.

    python -m training.lessons.sync training/recipes/sync.yaml --samples SHARDS [--out runs/sync] [--resume]

1. Genuine training clips with a voice and a steady face, held in memory: grey lips of 48 px and the waveform.
2. Each is aligned first: by training.offsets at the start, which knows nothing of the pair, and later by the pair's
   own estimate. Clips whose best offset lies farther than NEAR teach nothing until it moves.
3. InfoNCE over the offsets of the same clip (detectors.sync.sync_loss), on random cuts.
4. On held-out sources: the mismatch logit is calibrated, and the best step kept. On the split `val`: AUC of shifted and
   of swapped sound at 2, 4 and 8 s, written into the card.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from pydantic import BaseModel, ConfigDict, Field
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from torch import Tensor

from detectors import sync
from detectors.checkpoint import save_checkpoint
from detectors.sync import LEAST, NEAR, STEP_HZ, STEP_SAMPLES, SyncConfig, SyncPair, load_pair
from training.metrics import auc, bootstrap_interval
from training.offsets import estimate_offsets, read_talk
from training.recipe import read_recipes
from training.sampling import split_fold
from training.shards import read_index, read_tensors, unpack_pictures

SPANS_S = (2.0, 4.0, 8.0)  # that AUC is told for
CALIBRATION_SPANS_S = (1.28, *SPANS_S)
SHIFTS = (10, 25)  # steps, from and to: 0.4 to 1 s
KINDS = ("shifted", "swapped")


class SyncRecipe(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)
    seed: int
    steps: int = Field(gt=0)
    batch: int = Field(gt=1)
    cut_steps: int = Field(gt=2 * sync.MOST)
    realign_at: tuple[int, ...]
    folds: int = Field(gt=1)
    least_voice: float = Field(ge=0, le=1)
    least_face_s: float = Field(gt=0)
    learning_rate: float = Field(gt=0)
    final_rate: float = Field(ge=0, le=1)
    warmup_steps: int = Field(ge=0)
    weight_decay: float = Field(ge=0)
    clip_norm: float = Field(gt=0)
    evaluate_every: int = Field(gt=0)
    save_every_s: float = Field(gt=0)
    threads: int = Field(gt=0)

    def rate_at(self, step: int) -> float:
        """Linear warm-up, then a cosine down to final_rate * learning_rate."""
        if step < self.warmup_steps:
            return self.learning_rate * (step + 1) / self.warmup_steps
        progress = (step - self.warmup_steps) / max(self.steps - self.warmup_steps, 1)
        return self.learning_rate * (self.final_rate + (1 - self.final_rate) * (1 + math.cos(math.pi * progress)) / 2)


# ------------------------------------------------------------------------------------------- material


@dataclass(frozen=True)
class Talk:
    """A genuine clip on the grid of 25 steps a second, from 0 s on."""

    file: str
    source: str
    pair: str
    identity: str
    lips: np.ndarray  # [n, px, px] uint8, grey; black without a face
    known: np.ndarray  # [n] bool: there is a face
    waveform: np.ndarray  # [n·640] int16
    late: int  # steps by which the sound comes late, estimated before training


def is_talk(line: dict, least_voice: float, least_face_s: float) -> bool:
    """A genuine picture with its genuine sound, of one who speaks and is seen steadily."""
    if "skipped" in line or line["video_fake"] != 0 or line["audio_fake"] != 0 or line["forged"] or line["blocks"]:
        return False
    voice_s = sum(end_s - start_s for start_s, end_s in line["voice_s"])
    return voice_s >= least_voice * line["duration_s"] and line["faces"] >= max(
        least_face_s * STEP_HZ, 0.8 * line["duration_s"] * STEP_HZ)


def read_talks(folder: Path, split: str, least_voice: float, least_face_s: float,
               lips_px: int = SyncConfig.lips_px) -> list[Talk]:
    """The talks of one split of a folder of shards, each with the offset that training.offsets tells of it."""
    found, for_offsets = [], []
    for line in read_index(folder):
        if line.get("split") != split or not is_talk(line, least_voice, least_face_s):
            continue
        tensors = read_tensors(folder, line["shard"], line["offset"], line["bytes"])
        times_s, waveform = tensors["times_s"], tensors["waveform"]
        lips = unpack_pictures(tensors, "lips", range(len(times_s)))
        for_offsets.append(read_talk(line["key"], times_s, lips, waveform.astype(np.float32) / 32767))
        steps = len(waveform) // STEP_SAMPLES
        rows = np.round(times_s * STEP_HZ).astype(int)
        inside = rows < steps
        small = np.zeros((steps, lips_px, lips_px), np.uint8)
        small[rows[inside]] = [_small_grey(picture, lips_px) for picture in lips[inside]]
        found.append((line, small, np.isin(np.arange(steps), rows), waveform[:steps * STEP_SAMPLES]))
    try:
        offsets = estimate_offsets(for_offsets)
    except ValueError:  # too few clips to tell
        offsets = {}
    late = {key: round(offset.offset_s * STEP_HZ) for key, offset in offsets.items() if offset.out_of_sync}
    return [Talk(line["file"], line["source"], line["pair"], (line["identities"] or [line["file"]])[0], *arrays,
                 late.get(line["key"], 0)) for line, *arrays in found]


def _small_grey(picture: np.ndarray, side_px: int) -> np.ndarray:
    return cv2.resize(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), (side_px, side_px), interpolation=cv2.INTER_AREA)


def draw_cuts(talks: Sequence[Talk], late: Sequence[int | None], size: int, steps: int,
              rng: np.random.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """One random cut each of `size` talks, aligned: lips (size, steps, 1, px, px) in [0, 1], audio (size, steps·640),
    known (size, steps) bool. late: steps by which each talk's sound comes late; None: it is not drawn.

    A talk that is shorter than the cut is padded and masked. Longer talks are drawn more often, as the root of
    their length. Lips are mirrored, shifted and zoomed a little, sound varies in level and gets some noise.
    """
    usable = [i for i, steps_late in enumerate(late) if steps_late is not None]
    weights = np.sqrt([talks[i].known.sum() for i in usable])
    drawn = rng.choice(usable, size, replace=len(usable) < size, p=weights / weights.sum())
    lips, audio, known = zip(*(_cut(talks[i], late[i], steps, rng) for i in drawn))
    return torch.stack(lips), torch.stack(audio), torch.stack(known)


def _cut(talk: Talk, late: int, steps: int, rng: np.random.Generator) -> tuple[Tensor, Tensor, Tensor]:
    first = max(-late, 0)  # picture step t belongs to sound step t + late
    last = len(talk.lips) - max(late, 0)
    start = first + int(rng.integers(max(last - first - steps, 0) + 1))
    end = min(start + steps, last)
    missing = steps - (end - start)
    pictures = torch.from_numpy(talk.lips[start:end]).float()[:, None] / 255
    sound = talk.waveform[(start + late) * STEP_SAMPLES:(end + late) * STEP_SAMPLES].astype(np.float32) / 32767
    sound = sound * 10 ** (rng.uniform(-12, 6) / 20)
    sound = sound + rng.normal(0, 10 ** (rng.uniform(-75, -45) / 20), sound.shape)
    return (F.pad(_jolted(pictures, rng), (0,) * 7 + (missing,)),
            F.pad(torch.from_numpy(sound.astype(np.float32)), (0, missing * STEP_SAMPLES)),
            F.pad(torch.from_numpy(talk.known[start:end]), (0, missing)))


def _jolted(pictures: Tensor, rng: np.random.Generator) -> Tensor:
    """(T, 1, px, px), all of them alike: mirrored or not, up to 6 % off, turned by 8 degrees, zoomed by 10 %."""
    angle, zoom = math.radians(rng.uniform(-8, 8)), rng.uniform(0.9, 1.1)
    mirror = -1.0 if rng.random() < 0.5 else 1.0
    dx, dy = rng.uniform(-0.12, 0.12, 2)  # of half the side
    turn = torch.tensor([[mirror * zoom * math.cos(angle), -zoom * math.sin(angle), dx],
                         [mirror * zoom * math.sin(angle), zoom * math.cos(angle), dy]], dtype=torch.float32)
    grid = F.affine_grid(turn[None], (1, *pictures.shape[1:]), align_corners=False)
    grid = grid.expand(len(pictures), -1, -1, -1)
    return F.grid_sample(pictures, grid, padding_mode="border", align_corners=False)


# ------------------------------------------------------------------------------------------- measuring


@dataclass(frozen=True)
class Told:
    """What the pair makes of one talk."""

    talk: Talk
    lips: Tensor  # (n, dim) unit vectors
    sound: Tensor  # (n, dim)
    known: Tensor  # (n,) bool


@torch.inference_mode()
def tell(pair: SyncPair, talks: Sequence[Talk]) -> list[Told]:
    pair.eval()
    told = []
    for talk in talks:
        lips = pair.encode_lips(torch.from_numpy(talk.lips)[None, :, None].float() / 255)[0]
        sound = pair.encode_sound(torch.from_numpy(talk.waveform.astype(np.float32))[None] / 32767)[0]
        told.append(Told(talk, lips, sound, torch.from_numpy(talk.known)))
    return told


def own_offsets(told: Sequence[Told]) -> list[int | None]:
    """Steps by which the sound of each talk comes late; None where that is farther than NEAR or cannot be told."""
    found = [sync.estimate_offset_s(t.lips, t.sound, t.known) for t in told]
    steps = [None if f is None else round(f * STEP_HZ) for f in found]
    return [s if s is not None and abs(s) <= NEAR else None for s in steps]


@dataclass(frozen=True)
class Spans:
    """Evidence of spans of one length, [k] each."""

    evidence: np.ndarray
    steps: np.ndarray
    kind: np.ndarray  # "genuine", "shifted" or "swapped"
    identity: np.ndarray


def find_spans(told: Sequence[Told], span_s: float, seed: int) -> Spans:
    """Every talk as it is, with its sound shifted by 0.4 to 1 s, and with another person's sound, cut to spans. A span
    counts where at least 0.6 of it can be compared, so that the last one of a talk may be shorter.

    The offset is each track's own best one within NEAR, as the detectors have it. In all three cases.
    """
    rng = np.random.default_rng((seed, round(1000 * span_s)))
    rows: list[tuple[float, int, str, str]] = []
    length = round(span_s * STEP_HZ)
    for this in told:
        shift = int(rng.integers(SHIFTS[0], SHIFTS[1] + 1)) * int(rng.choice([-1, 1]))
        others = [t for t in told if t.talk.identity != this.talk.identity]
        cases = [("genuine", this.lips, this.sound, this.known), ("shifted", *shifted(this, shift))]
        if others:
            other = others[rng.integers(len(others))]
            n = min(len(this.lips), len(other.sound))
            cases.append(("swapped", this.lips[:n], other.sound[:n], this.known[:n] & other.known[:n]))
        for kind, lips, sound, known in cases:
            alike, there = sync.compare(lips, sound, known)
            offset = sync.best_offset(sync.agreement(alike, there), NEAR)
            for first in range(0, len(lips), length):
                part = slice(first, first + length)
                agree, count = sync.agreement(alike[:, part], there[:, part]), there[:, part].sum(-1)
                evidence, steps = (x.item() for x in sync.evidence_at(agree, count, offset))
                if steps >= max(LEAST, 0.6 * length) and math.isfinite(evidence):
                    rows.append((evidence, steps, kind, this.talk.identity))
    columns = zip(*rows) if rows else ((), (), (), ())
    return Spans(*(np.array(column) for column in columns))


def shifted(told: Told, shift: int) -> tuple[Tensor, Tensor, Tensor]:
    """Lips, sound and what is known, the sound `shift` steps late (early where negative)."""
    n = len(told.lips) - abs(shift)
    seen, heard = (slice(first, first + n) for first in (max(shift, 0), max(-shift, 0)))
    return told.lips[seen], told.sound[heard], told.known[seen] & told.known[heard]


def calibrate(pair: SyncPair, told: Sequence[Told], seed: int) -> None:
    """Set the pair's calibration: the numbers under which the spans' labels are the likeliest."""
    spans = [s for s in (find_spans(told, span_s, seed) for span_s in CALIBRATION_SPANS_S) if len(s.kind)]
    evidence = np.concatenate([s.evidence for s in spans])
    steps = np.concatenate([s.steps for s in spans])
    fake = np.concatenate([s.kind for s in spans]) != "genuine"
    weight = np.where(fake, 0.5 / fake.mean(), 0.5 / (1 - fake.mean()))
    best = math.inf
    for half in (5.0, 10.0, 20.0, 40.0, 80.0, 160.0):
        trust = steps / (steps + half)
        x = np.stack([trust, -trust / np.sqrt(steps), -trust * evidence], axis=1)
        fit = LogisticRegression(C=1e4, fit_intercept=False).fit(x, fake, sample_weight=weight)
        loss = log_loss(fake, fit.predict_proba(x)[:, 1], sample_weight=weight)
        at_middle, by_chance, slope = fit.coef_[0]
        if loss < best and slope > 0:
            best = loss
            pair.calibration.copy_(torch.tensor([slope, at_middle / slope, by_chance / slope, half]))


def measure(pair: SyncPair, told: Sequence[Told], seed: int) -> list[dict]:
    """Rows of the table: AUC of mismatch against genuine, per length of span and kind, by identity intervals."""
    table = []
    for span_s in SPANS_S:
        spans = find_spans(told, span_s, seed)
        logit = pair.mismatch_logit(torch.from_numpy(spans.evidence), torch.from_numpy(spans.steps)).numpy()
        for kind in KINDS:
            rows = np.isin(spans.kind, ("genuine", kind)) if len(spans.kind) else np.zeros(0, bool)
            fake = (spans.kind[rows] == kind).astype(int)
            if 0 < fake.sum() < len(fake):
                low, high = bootstrap_interval(auc, logit[rows], fake, list(spans.identity[rows]), draws=300)
                table.append({"span_s": span_s, "kind": kind, "auc": round(auc(logit[rows], fake), 3),
                              "interval": [round(low, 3), round(high, 3)], "spans": int(rows.sum())})
    return table


def offset_shares(told: Sequence[Told]) -> dict[str, float]:
    """Share of talks whose estimated offset lies within so many steps of 0."""
    found = [sync.estimate_offset_s(t.lips, t.sound, t.known) for t in told]
    steps = np.array([abs(round(f * STEP_HZ)) for f in found if f is not None])
    return {f"within_{reach}": round(float((steps <= reach).mean()), 3) for reach in (1, 2, NEAR)} if len(steps) else {}


# ------------------------------------------------------------------------------------------- the run


def train(recipe: SyncRecipe, folder: Path, out: Path, resume: bool, cfg: SyncConfig | None = None) -> dict:
    """Writes OUT/sync.safetensors (best step on held-out sources), OUT/last.pt and OUT/log.jsonl; gives the card.

    Raises: FileNotFoundError without shards, ValueError with too few talks.
    """
    torch.set_num_threads(recipe.threads)
    out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(recipe.seed)
    pair = SyncPair(cfg)
    talks = read_talks(folder, "train", recipe.least_voice, recipe.least_face_s, pair.cfg.lips_px)
    learn, dev = split_fold(talks, recipe.folds, 0, recipe.seed)
    if len(learn) < recipe.batch or len(dev) < 2:
        raise ValueError(f"{len(learn)} talks to learn from and {len(dev)} to measure on are too few")
    optimizer = torch.optim.AdamW(pair.parameters(), lr=recipe.learning_rate, weight_decay=recipe.weight_decay)
    late: list[int | None] = [talk.late for talk in learn]
    step, best = 0, -1.0
    last = out / "last.pt"
    if resume and last.is_file():
        state = torch.load(last, weights_only=True)
        pair.load_state_dict(state["pair"])
        optimizer.load_state_dict(state["optimizer"])
        step, best, late = state["step"], state["best"], state["late"]
    card = {"architecture": asdict(pair.cfg), "recipe": recipe.model_dump(), "talks": len(learn),
            "minutes": round(sum(len(t.lips) for t in learn) / STEP_HZ / 60, 1)}
    print(f"{len(learn)} talks, {card['minutes']} minutes; {len(dev)} held out", file=sys.stderr, flush=True)

    begin = saved = time.perf_counter()
    with open(out / "log.jsonl", "a" if resume else "w", encoding="utf-8") as log:
        while step < recipe.steps:
            if step in recipe.realign_at:
                late = own_offsets(tell(pair, learn))
            cuts = draw_cuts(learn, late, recipe.batch, recipe.cut_steps, np.random.default_rng((recipe.seed, step)))
            for group in optimizer.param_groups:
                group["lr"] = recipe.rate_at(step)
            pair.train()
            loss, parts = sync.sync_loss(pair, *pair(*cuts[:2]), cuts[2])
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(pair.parameters(), recipe.clip_norm)
            optimizer.step()
            step += 1

            told = {"step": step, **{name: round(part.item(), 4) for name, part in parts.items()}}
            if step % recipe.evaluate_every == 0 or step == recipe.steps:
                heard = tell(pair, dev)
                calibrate(pair, heard, recipe.seed)
                told["dev"] = measure(pair, heard, recipe.seed)
                told["dev_auc"] = round(float(np.mean([row["auc"] for row in told["dev"]])), 4)
                told["left_out"] = late.count(None)
                told["seconds"] = round(time.perf_counter() - begin)
                print(json.dumps({k: v for k, v in told.items() if k != "dev"}), file=sys.stderr, flush=True)
                if told["dev_auc"] > best:
                    best = told["dev_auc"]
                    card |= {"step": step, "dev_auc": best}
                    save_checkpoint(out / "sync.safetensors", pair.state_dict(), card)
            log.write(json.dumps(told) + "\n")
            log.flush()
            if time.perf_counter() - saved > recipe.save_every_s or step == recipe.steps:
                saved = time.perf_counter()
                torch.save({"pair": pair.state_dict(), "optimizer": optimizer.state_dict(), "step": step,
                            "best": best, "late": late}, last.with_suffix(".partial"))
                last.with_suffix(".partial").rename(last)
    return finish(folder, out, recipe)


def finish(folder: Path, out: Path, recipe: SyncRecipe) -> dict:
    """Measure the best step on the split `val` and write the results into its card, which is given back."""
    pair, card = load_pair(out / "sync.safetensors")
    told = tell(pair, read_talks(folder, "val", recipe.least_voice, recipe.least_face_s, pair.cfg.lips_px))
    card["results"] = {"talks": len(told), "mismatch": measure(pair, told, recipe.seed), "offset": offset_shares(told)}
    save_checkpoint(out / "sync.safetensors", pair.state_dict(), card)
    return card


def read_sync_recipe(path: Path) -> SyncRecipe:
    """Raises: ValueError in plain words for a missing file, bad YAML or a bad value."""
    (recipe,) = read_recipes(path, SyncRecipe)
    return recipe


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m training.lessons.sync", description=__doc__.splitlines()[0])
    parser.add_argument("recipe", type=Path)
    parser.add_argument("--samples", type=Path, required=True, help="what training.prepare wrote")
    parser.add_argument("--out", type=Path, default=Path("runs/sync"))
    parser.add_argument("--resume", action="store_true", help="go on from the last saved step")
    args = parser.parse_args(argv)
    try:
        card = train(read_sync_recipe(args.recipe), args.samples, args.out, args.resume)
    except (FileNotFoundError, ValueError) as error:
        parser.error(str(error))
    for row in card["results"]["mismatch"]:
        low, high = row["interval"]
        print(f"{row['span_s']:.0f} s  {row['kind']:8}  AUC {row['auc']:.3f} [{low:.3f}-{high:.3f}], "
              f"{row['spans']} spans")
    print(f"offset of {card['results']['talks']} clips: {card['results']['offset']}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
