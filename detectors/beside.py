"""What needs no learning, beside what a paper's network learns: frozen textures of a face, and how restless a sound is.

    regions (n, T, 5, 192) of a FaceEncoder ─ those inside the face, stages 2 to 4 ─ mean over T ─ whiten ─► (n, k)
    sound (n, samples) ─ cepstra ─ how much they change from moment to moment ──────────────────── whiten ─► (n, k)

On sources that nothing was learnt from, these tell manipulation better than what small networks learn of pixels and
samples (training.search; docs/experiments.md, 19). They stand beside the paper's features, and its heads read both.
Since they are frozen, a head can start from a fit to all training windows at once (start_head): steps would take far
too long to get there.
"""

from __future__ import annotations

import torch
import torchaudio.functional as AF
from torch import Tensor, nn

from detectors.encoders import INNER, TEXTURES, FaceEncoder, part_of
from detectors.restless import CEPSTRA, CEPSTRA_ORDERS, FILTERS, cepstra, filter_bank, log_bands, restlessness
from detectors.whitening import Whiten


class Beside(nn.Module):
    """Summaries of a window, and their whitening to so many components."""

    def __init__(self, components: int, dropout: float = 0.0):
        """dropout: share of the components that is dropped in training."""
        super().__init__()
        textures = part_of(torch.empty(0, FaceEncoder.rows, FaceEncoder.dim), INNER, TEXTURES).shape[1]
        self.whiten_faces = Whiten(textures, components)
        self.whiten_sound = Whiten(len(CEPSTRA_ORDERS) * CEPSTRA, components)
        self.drop = nn.Dropout(dropout)
        self.register_buffer("bank", filter_bank("linear", FILTERS), persistent=False)
        self.register_buffer("dct", AF.create_dct(CEPSTRA, FILTERS, "ortho"), persistent=False)

    def summaries(self, regions: Tensor | None, audio: Tensor | None) -> dict[str, Tensor]:
        """"faces" and "sound", those that are there, (n, D) each, before they are whitened. regions (n, T, rows, dim):
        what a FaceEncoder tells of T faces of each window; audio (n, samples)."""
        found = {}
        if regions is not None:
            found["faces"] = part_of(regions, INNER, TEXTURES).mean(1)
        if audio is not None:
            bands = log_bands(audio, self.bank)
            heard = torch.ones(bands.shape[:2], dtype=torch.bool, device=audio.device)
            found["sound"] = restlessness(cepstra(bands, heard, self.dct), heard, CEPSTRA_ORDERS)
        return found

    def whiten(self, name: str, summary: Tensor) -> Tensor:
        """(n, D) of `summaries` -> (n, components)."""
        return {"faces": self.whiten_faces, "sound": self.whiten_sound}[name](summary)

    def fit(self, summaries: dict[str, Tensor]) -> None:
        """Whiten by the figures of these `summaries` of training windows; what is not among them stays as it is."""
        for name, whiten in (("faces", self.whiten_faces), ("sound", self.whiten_sound)):
            if name in summaries:
                whiten.fit(summaries[name])

    def forward(self, summaries: dict[str, Tensor]) -> dict[str, Tensor]:
        """Name -> (n, components), for the heads."""
        return {name: self.drop(self.whiten(name, summary)) for name, summary in summaries.items()}


@torch.no_grad()
def start_head(head: nn.Linear, columns: list[int], weights: Tensor, fake: int) -> None:
    """Let a head of two classes say the log-odds of `weights` (k,) times its inputs `columns`, k of them, and nothing
    of its other inputs. fake: the class of manipulated windows."""
    head.weight.zero_()
    head.weight[fake, columns] = weights.to(head.weight) / 2
    head.weight[1 - fake, columns] = -head.weight[fake, columns]
    if head.bias is not None:
        head.bias.zero_()
