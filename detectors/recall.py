"""What frozen encoders told of a clip, remembered while the clip is analysed or explained.

Windows overlap, and two detectors read the same encoders: the same faces and the same sound would be encoded again and
again. Answers are found by content, so nobody has to know where a row was cut from.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Protocol

import torch
from cachetools import LRUCache
from torch import Tensor

from detectors.heap import return_freed_memory

MOST_BYTES = 256 * 2**20  # three faces and the sound of ten minutes


class Encoder(Protocol):
    weights_id: str  # the same for two encoders that tell the same


class Memory:
    """Answers by encoder and content. Its fingerprints cannot be foreseen, so no file can be made to collide."""

    def __init__(self) -> None:
        self.answers: LRUCache[tuple, Tensor] = LRUCache(MOST_BYTES, getsizeof=lambda answer: answer.nbytes)
        self._factors: dict[tuple, Tensor] = {}
        self._chance = torch.Generator().manual_seed(secrets.randbits(63))

    def keys(self, owner: Encoder, rows: Tensor) -> list[tuple]:
        """One per row of (n, ...): two sums of products modulo 2**64 of its numbers' bits, and whose it is."""
        bits = rows.float().contiguous().flatten(1).view(torch.int32).long()  # n k
        kind = (bits.shape[1], str(rows.device))
        if kind not in self._factors:
            drawn = torch.randint(-(2**63), 2**63 - 1, (2, bits.shape[1]), generator=self._chance)
            self._factors[kind] = drawn.to(rows.device)
        prints = torch.stack([(bits * factors).sum(1) for factors in self._factors[kind]], dim=1).tolist()
        return [(owner.weights_id, str(rows.device), *rows.shape[1:], *two) for two in prints]


_memory: ContextVar[Memory | None] = ContextVar("memory", default=None)


@contextmanager
def remembering(memory: Memory | None = None) -> Iterator[None]:
    """Inside, `recall` remembers, in the memory that is given: for whoever comes back with it. Without one, that of a
    `remembering` around this one serves, or else one of which nothing is left afterwards."""
    if memory is None and _memory.get() is not None:
        yield
        return
    token = _memory.set(Memory() if memory is None else memory)
    try:
        yield
    finally:
        _memory.reset(token)
        if memory is None:
            return_freed_memory()


def recall(owner: Encoder, rows: Tensor, encode: Callable[[Tensor], Tensor]) -> Tensor:
    """encode(rows) (n, ...), whose every row depends on that row alone; what is remembered is not encoded again.

    Outside of `remembering`, and where gradients are wanted, all rows are encoded.
    """
    memory = _memory.get()
    if memory is None or torch.is_grad_enabled() or not len(rows):
        return encode(rows)
    keys = memory.keys(owner, rows)
    known = {key: memory.answers[key] for key in keys if key in memory.answers}
    new = {key: row for row, key in enumerate(keys) if key not in known}
    if new:
        told = dict(zip(new, (answer.clone() for answer in encode(rows[list(new.values())]))))
        memory.answers.update(told)
        known |= told
    return torch.stack([known[key] for key in keys])
