"""How much memory a detector takes, as far as it can be told.

Two numbers: the weights, which are counted, and the rise while it scored, which is measured. On a graphics card the
rise is exact: the peak of PyTorch's tensors over what there was before. On the processor only the whole process can be
looked at, every SAMPLE_S: memory that earlier work had freed and the process had kept does not show, and whatever else
the process does at the same time does. So a rise on the processor orders sizes; it is no budget.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from types import TracebackType

import psutil
import torch
from torch import nn

SAMPLE_S = 0.01
MB = 1e6


@dataclass(frozen=True)
class Memory:
    weights_mb: float | None  # parameters and buffers of the network; None where a detector shows none
    rise_mb: float
    of: str  # whose rise: "card" (tensors on the graphics card) or "process" (resident memory)

    def to_json(self) -> dict:
        weights_mb = None if self.weights_mb is None else round(self.weights_mb, 1)
        return {"weights_mb": weights_mb, "rise_mb": round(self.rise_mb, 1), "of": self.of}


def weights_mb(model: nn.Module) -> float:
    return sum(t.numel() * t.element_size() for t in (*model.parameters(), *model.buffers())) / MB


class MemoryWatch:
    """with MemoryWatch(model) as watch: ...; then watch.memory. model: None where there is none to look at."""

    def __init__(self, model: nn.Module | None):
        self.memory: Memory | None = None
        self._weights_mb = None if model is None else weights_mb(model)
        first = None if model is None else next(model.parameters(), None)
        self._card = first.device if first is not None and first.is_cuda else None
        self._process = psutil.Process()
        self._ended = threading.Event()
        self._sampler = threading.Thread(target=self._sample, daemon=True)

    def __enter__(self) -> MemoryWatch:
        if self._card is not None:
            torch.cuda.reset_peak_memory_stats(self._card)
            self._before = torch.cuda.memory_allocated(self._card)
        else:
            self._before = self._highest = self._process.memory_info().rss
            self._sampler.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        if self._card is not None:
            highest = torch.cuda.max_memory_allocated(self._card)
        else:
            self._ended.set()
            self._sampler.join()
            highest = max(self._highest, self._process.memory_info().rss)
        self.memory = Memory(self._weights_mb, (highest - self._before) / MB,
                             "process" if self._card is None else "card")

    def _sample(self) -> None:
        while not self._ended.wait(SAMPLE_S):
            self._highest = max(self._highest, self._process.memory_info().rss)
