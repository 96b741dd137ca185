"""Which modality: exact Shapley values (Shapley 1953) over face, lips and audio, as far as the clip has them.

A modality's value is what it adds to the logit, averaged over all orders in which modalities can join:
phi_i = sum over S without i of |S|! (m - |S| - 1)! / m! * (v(S + i) - v(S)), where v(S) is the logit with the
modalities of S as recorded and the others replaced. The values add up to v(all) - v(none) exactly.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from math import factorial

import torch

from explain.layout import modalities
from explain.state import borrowed
from explain.target import Target

COMPLETE_WITHIN = 1e-4  # logits: what float32 leaves of an exact sum


@dataclass(frozen=True)
class Share:
    """Logits, the mean over the windows. A positive value speaks for manipulation."""

    values: dict[str, float]  # modality -> Shapley value
    recorded: float  # logit of the clip as it is
    replaced: float  # logit with every modality replaced

    @property
    def residual(self) -> float:
        """What the values leave unexplained of recorded - replaced."""
        return self.recorded - self.replaced - sum(self.values.values())

    @property
    def complete(self) -> bool:
        return abs(self.residual) <= COMPLETE_WITHIN * max(1.0, abs(self.recorded), abs(self.replaced))

    @property
    def of_total(self) -> dict[str, float]:
        """Modality -> its part of all that the modalities do, for and against. Sums to 1 where there is anything."""
        total = sum(abs(v) for v in self.values.values())
        return {part: abs(v) / total if total > 0 else 0.0 for part, v in self.values.items()}

    def to_json(self) -> dict:
        return {
            "values": {part: round(v, 4) for part, v in self.values.items()},
            "of_total": {part: round(v, 4) for part, v in self.of_total.items()},
            "logit": round(self.recorded, 4), "logit_replaced": round(self.replaced, 4),
            "residual": round(self.residual, 7), "complete": self.complete,
        }


def share_modalities(target: Target) -> Share:
    """2^m forward passes of the target's windows, for m modalities."""
    players = target.parts
    coalitions = [set(c) for size in range(len(players) + 1) for c in combinations(players, size)]
    ask = modalities(target).function(target)
    worth = {}
    with borrowed(target.detector.model), torch.no_grad():
        for coalition in coalitions:
            there = [torch.full((len(target), 1, 1), float(p in coalition), device=target.device) for p in players]
            worth[frozenset(coalition)] = float(ask(*there, target.rows).double().mean())
    return Share({p: _shapley(p, players, worth) for p in players},
                 recorded=worth[frozenset(players)], replaced=worth[frozenset()])


def _shapley(player: str, players: tuple[str, ...], worth: dict[frozenset, float]) -> float:
    m = len(players)
    return sum(
        factorial(len(s)) * factorial(m - len(s) - 1) / factorial(m) * (worth[s | {player}] - worth[s])
        for s in worth if player not in s
    )
