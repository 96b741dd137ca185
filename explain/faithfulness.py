"""Can I believe this map? Take away what it marks, and see whether the score falls more than without its help.

Deletion and insertion (Petsiuk et al. 2018) against the same marked shape moved elsewhere at random: circularly in
time, and in the crop or over the bands. So random regions have the same size and shape, and only the place differs.
Captum's infidelity (Yeh et al. 2019) and max-sensitivity say how well the values predict such drops, and how much
they move when the input hardly does.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass

import numpy as np
import torch
from captum.metrics import infidelity, sensitivity_max
from torch import Tensor

from explain.layout import Layout
from explain.maps import METHODS, ROWS, Map, on_blocks
from explain.state import borrowed
from explain.target import Target

MARKED = 0.1  # share of the blocks that a map marks; each modality's blocks count alike
DRAWS, INSERTED_DRAWS = 20, 10
BETTER_THAN = 0.95  # a map passes when its region matters more than this share of the random ones
LEAST_DROP = 0.2  # log-odds, from a score of 0.50 to 0.45: what moves it less explains nothing, wherever it points


@dataclass(frozen=True)
class Faithfulness:
    """Drops and scores are of P(fake), the mean over the windows; `beats` compares logits, which do not saturate."""

    marked: float  # share of blocks that was marked: less than MARKED where fewer speak for manipulation
    replacement: str
    draws: int = 0
    drop: float = 0.0  # of the score when the marked region is replaced
    random_drop: float = 0.0  # mean over the draws
    logit_drop: float = 0.0
    random_logit_drop: float = 0.0
    beats: float = 0.0  # share of the draws in which the logit falls less than with the marked region
    kept: float = 0.0  # score with everything but the marked region replaced
    random_kept: float = 0.0
    beats_inserted: float = 0.0
    infidelity: float | None = None  # logits squared; 0 is perfect; None where the map's values are no logits
    max_sensitivity: float | None = None  # relative change of the map; None where it was not measured

    @property
    def passed(self) -> bool:
        return self.logit_drop >= LEAST_DROP and self.beats >= BETTER_THAN

    @property
    def sentence(self) -> str:
        if self.marked == 0:
            return "This map marks nothing that raises the score, so there is nothing to test."
        size = f"{100 * self.marked:.0f} %"
        return (f"Removing the marked {size} {_change('the score', self.drop, self.logit_drop)}; a random {size} "
                f"{_change('it', self.random_drop, self.random_logit_drop)} ({self.draws} draws).{self._advice}")

    @property
    def _advice(self) -> str:
        if self.passed:
            return ""
        if self.beats >= BETTER_THAN:
            return " That is too little to explain the score, so don't rely on this map."
        return " So don't rely on this map."

    def to_json(self) -> dict:
        rounded = {k: round(v, 4) if isinstance(v, float) else v for k, v in asdict(self).items()}
        return {**rounded, "passed": self.passed, "sentence": self.sentence}


def examine(found: Map, target: Target, *, draws: int = DRAWS, marked: float = MARKED, seed: int = 0,
            sensitivity: bool = False) -> Faithfulness:
    """Tests a map on its own windows, in 3 + draws + INSERTED_DRAWS forward passes, and two more maps for
    `sensitivity`. The same seed gives the same draws."""
    fine = on_blocks(found, target)
    mark = mark_highest(fine, marked)
    if not any(m.any() for m in mark.values()):
        return Faithfulness(marked=0.0, replacement=target.baseline.name)
    rng = np.random.default_rng(seed)
    moved = [move_at_random(mark, fine.layout, rng) for _ in range(draws)]
    with borrowed(target.detector.model, seed), torch.no_grad():
        recorded = _logits(target, fine.layout, [{part: np.zeros_like(m) for part, m in mark.items()}])
        without = _logits(target, fine.layout, [mark, *moved])  # [1 + draws, n]
        shown = (mark, *moved[:INSERTED_DRAWS])
        alone = _logits(target, fine.layout, [{part: ~m for part, m in one.items()} for one in shown])
    before, left, kept = (logit.sigmoid().mean(dim=1) for logit in (recorded, without, alone))
    falls = without.mean(dim=1)
    rises = alone.mean(dim=1)
    return Faithfulness(
        marked=float(np.mean([m.mean() for m in mark.values()])),
        replacement=target.baseline.name,
        draws=draws,
        drop=float(before[0] - left[0]),
        random_drop=float((before - left[1:]).mean()),
        logit_drop=float(recorded.mean() - falls[0]),
        random_logit_drop=float(recorded.mean() - falls[1:].mean()),
        beats=float((falls[0] < falls[1:]).double().mean()),
        kept=float(kept[0]),
        random_kept=float(kept[1:].mean()),
        beats_inserted=float((rises[0] > rises[1:]).double().mean()),
        infidelity=_infidelity(fine, moved, recorded, without[1:]) if found.in_logits else None,
        max_sensitivity=_max_sensitivity(found, target, seed) if sensitivity else None,
    )


def mark_highest(fine: Map, share: float) -> dict[str, np.ndarray]:
    """part -> [n, steps, places] bool: the blocks with the highest positive values for their size, up to `share`.

    A modality's blocks are its equal pieces, so density is value x number of blocks, and all modalities weigh alike.
    A map whose groups have no common unit marks `share` of each group by itself.
    """
    if not fine.in_logits:
        return {part: _highest({part: v}, share)[part] for part, v in fine.values.items()}
    return _highest(fine.values, share)


def _highest(values: dict[str, np.ndarray], share: float) -> dict[str, np.ndarray]:
    density = np.concatenate([(v * v.size).ravel() for v in values.values()])
    weight = np.concatenate([np.full(v.size, 1 / v.size / len(values)) for v in values.values()])
    order = np.argsort(-density, kind="stable")
    chosen = order[(np.cumsum(weight[order]) <= share + 1e-9) & (density[order] > 0)]
    flat = np.zeros(len(density), bool)
    flat[chosen] = True
    pieces = np.split(flat, np.cumsum([v.size for v in values.values()])[:-1])
    return {part: piece.reshape(v.shape) for (part, v), piece in zip(values.items(), pieces)}


def move_at_random(mark: dict[str, np.ndarray], layout: Layout, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """The same shape elsewhere: rolled in time, and in rows and columns or in bands. Never the same place."""
    moved = {}
    for part, mask in mark.items():
        if part == "audio":
            grid, axes = mask, (1, 2)
        else:
            side = round(len(layout.groups[part].places) ** 0.5)
            grid, axes = mask.reshape(*mask.shape[:2], side, side), (1, 2, 3)
        sizes = [grid.shape[axis] for axis in axes]
        shift = np.unravel_index(rng.integers(1, np.prod(sizes)), sizes)  # 0 would be no move at all
        moved[part] = np.roll(grid, shift, axes).reshape(mask.shape)
    return moved


def pointing(found: Map, truth: dict[str, np.ndarray]) -> float:
    """The pointing game (Zhang et al. 2018): 1 where the map's highest value lies in the truth, 0 where not.

    truth: group -> [n, steps, places] bool; the peak is sought in the groups that it names. Ties count in part.
    """
    density = np.concatenate([(found.values[g] * found.values[g].size).ravel() for g in truth])
    inside = np.concatenate([truth[g].ravel() for g in truth])
    return float(inside[density == density.max()].mean())


def temporal_pointing(found: Map, start_s: np.ndarray, spans_s: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """The pointing game over time alone, against known segments: (the map's result, that of a random moment).

    The peak is the step with the highest sum over places, of any group, for its length.
    """
    rates, hits, lengths, inside = [], [], [], []
    for group, values in found.values.items():
        for n, begin_s in enumerate(start_s):
            for (low, high), row in zip(found.layout.groups[group].steps_s + begin_s, values[n]):
                overlap = sum(max(0.0, min(high, e) - max(low, s)) for s, e in spans_s)
                rates.append(row.sum() / max(high - low, 1e-9))
                hits.append(overlap >= 0.5 * (high - low))
                lengths.append(high - low)
                inside.append(overlap)
    best = np.flatnonzero(np.array(rates) == max(rates))
    return float(np.mean(np.array(hits)[best])), float(sum(inside) / sum(lengths))


def _logits(target: Target, layout: Layout, removed: list[dict[str, np.ndarray]]) -> Tensor:
    """[len(removed), n] double, without the marked blocks."""
    ask, n = layout.function(target), len(target)
    per_pass = max(ROWS // n, 1)
    told = []
    for first in range(0, len(removed), per_pass):
        some = removed[first:first + per_pass]
        there = [torch.from_numpy(np.concatenate([~one[g] for one in some])).float().to(target.device)
                 for g in layout.groups]
        told.append(ask(*there, target.rows.repeat(len(some))).double().unflatten(0, (len(some), n)))
    return torch.cat(told)


def _infidelity(fine: Map, moved: list[dict[str, np.ndarray]], recorded: Tensor, without: Tensor) -> float:
    """Captum's, scaled (normalize), the mean over the windows; the perturbations are the moved shapes, whose logits
    [draws, n] are known already, so that no further pass is needed."""
    groups, n = tuple(fine.layout.groups), recorded.shape[1]
    gone = [{g: torch.from_numpy(one[g]).float() for g in groups} for one in moved]
    known = {(_key(1 - one[g][row] for g in groups), row): told[row]
             for one, told in zip(gone, without) for row in range(n)}
    known |= {(_key(torch.ones_like(gone[0][g][row]) for g in groups), row): recorded[0, row] for row in range(n)}

    def look_up(*cells_and_rows: Tensor) -> Tensor:
        *cells, rows = cells_and_rows
        return torch.stack([known[_key(c[i] for c in cells), int(row)] for i, row in enumerate(rows)]).cpu()

    def perturb(there: tuple[Tensor, ...] | Tensor):
        away = tuple(torch.stack([one[g] for one in gone], dim=1).flatten(0, 1) for g in groups)  # n * draws
        there = there if isinstance(there, tuple) else (there,)
        less = tuple(t - a for t, a in zip(there, away))
        return (away, less) if len(groups) > 1 else (away[0], less[0])

    found = infidelity(look_up, perturb, tuple(torch.ones_like(gone[0][g]) for g in groups),
                       tuple(torch.from_numpy(fine.values[g]).float() for g in groups),
                       additional_forward_args=(torch.arange(n),), n_perturb_samples=len(moved), normalize=True)
    return float(found.mean())


def _key(cells: Iterable[Tensor]) -> bytes:
    return b"".join((c > 0.5).numpy().tobytes() for c in cells)


def _max_sensitivity(found: Map, target: Target, seed: int) -> float:
    """Captum's: how far the map moves, relative to its norm, when presence changes by at most 0.02 everywhere."""
    def again(there: tuple[Tensor, ...] | Tensor) -> tuple[Tensor, ...]:
        there = there if isinstance(there, tuple) else (there,)
        return tuple(torch.from_numpy(v).float() for v in METHODS[found.method](target, there).values.values())

    with borrowed(target.detector.model, seed):
        moved = sensitivity_max(again, found.layout.ones(target), n_perturb_samples=1,
                                max_examples_per_batch=len(target))
    return float(moved.mean())


def _change(what: str, drop: float, logit_drop: float) -> str:
    """Log-odds are added where the score hides a change, near 0 and 1."""
    told = f"lowers {what} by {drop:.2f}" if drop >= 0 else f"raises {what} by {-drop:.2f}"
    return told if abs(drop) >= abs(logit_drop) / 20 else f"{told} ({abs(logit_drop):.2f} in log-odds)"
