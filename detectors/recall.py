"""What frozen encoders told of a clip, remembered while the clip is analysed or explained.

Windows overlap, and two detectors read the same encoders: the same faces and the same sound would be encoded again and
again. Answers are found by content, so nobody has to know where a row was cut from. Where an explanation replaces a
second of sound, a convolution tells anew what it tells of that second alone (`recall_around`); where it replaces
nothing, all rows are one and the same (`encode_once`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cached_property
from typing import NamedTuple, TypeVar

import torch
import torch.nn.functional as F
from cachetools import LRUCache
from torch import Tensor, nn

from detectors.heap import return_freed_memory

MOST_BYTES = 256 * 2**20  # three faces and the sound of ten minutes
MOST_WHOLE = 8  # rows that are kept whole, to compare others with
WORTH = 0.7  # share of a row up to which its changes are told apart from the rest: more is sooner told anew


class Encoder(nn.Module):
    """A network whose answers can be remembered while its weights stay as they are.

    What follows from them is a cached_property named in FOLLOWS. It is found anew after train(), eval(), loading and a
    move to another device, so: once training is over.
    """

    FOLLOWS: tuple[str, ...] = ("weights_id",)

    @cached_property
    def weights_id(self) -> str:
        """The same for two encoders of one class with the same weights."""
        digest = hashlib.sha256(type(self).__name__.encode())
        for value in self.state_dict().values():
            digest.update(value.cpu().numpy().tobytes())
        return digest.hexdigest()

    def train(self, mode: bool = True) -> Encoder:
        self._forget()
        return super().train(mode)

    def _load_from_state_dict(self, *args) -> None:
        self._forget()
        super()._load_from_state_dict(*args)

    def _apply(self, *args, **kwargs) -> Encoder:
        self._forget()
        return super()._apply(*args, **kwargs)

    def _forget(self) -> None:
        for name in self.FOLLOWS:
            self.__dict__.pop(name, None)


class Memory:
    """Answers by encoder and content."""

    def __init__(self) -> None:
        self.answers: LRUCache[tuple, Tensor] = LRUCache(MOST_BYTES, getsizeof=lambda answer: answer.nbytes)
        self.whole: dict[tuple, list[tuple[Tensor, Tensor]]] = {}  # by encoder and shape: a row and its answer


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
    kind = _kind(owner, rows)
    return _answers(memory, [(*kind, content) for content in _contents(rows)], lambda new: encode(rows[new]))


def recall_neighbours(owner: Encoder, pictures: Tensor, count: int, encode: Callable[[Tensor], Tensor]) -> Tensor:
    """Pictures (n, T, h, w) -> encode (m, count, h, w) of each beside its neighbours, (n, T, ...); as recall has it.

    count is odd; beyond the ends, neighbours are black.
    """
    n, steps = pictures.shape[:2]
    padded = F.pad(pictures, (0, 0, 0, 0, count // 2, count // 2))
    around = padded.unfold(1, count, 1).movedim(-1, 2)  # n T count h w, no copy
    memory = _memory.get()
    if memory is None or torch.is_grad_enabled() or not n * steps:
        return encode(around.flatten(0, 1)).unflatten(0, (n, steps))
    kind, contents = _kind(owner, pictures), _contents(padded.flatten(0, 1))
    places = [(row, step) for row in range(n) for step in range(steps)]
    begins = [row * padded.shape[1] + step for row, step in places]
    keys = [(*kind, b"".join(contents[begin:begin + count])) for begin in begins]
    told = _answers(memory, keys, lambda new: encode(around[tuple(zip(*(places[key] for key in new)))]))
    return told.unflatten(0, (n, steps))


def _answers(memory: Memory, keys: list[tuple], encode: Callable[[list[int]], Tensor]) -> Tensor:
    """(len(keys), ...). encode: of the places of those that are not known."""
    known = {key: memory.answers[key] for key in keys if key in memory.answers}
    new = {key: place for place, key in enumerate(keys) if key not in known}
    if new:
        told = dict(zip(new, encode(list(new.values()))))
        memory.answers.update(told)
        known |= told
    return torch.stack([known[key] for key in keys])


def _kind(owner: Encoder, rows: Tensor) -> tuple:
    """What keys begin with: whose answers they are, and to what."""
    return owner.weights_id, str(rows.device), *rows.shape[1:]


def _contents(rows: Tensor) -> list[bytes]:
    """A digest per row of (n, ...). No file can be made to collide with another."""
    return [hashlib.sha256(row).digest() for row in rows.float().contiguous().flatten(1).cpu().numpy()]


Rows = TypeVar("Rows", bound=NamedTuple)  # of tensors (n, ...), or None


def encode_once(encode: Callable[[Rows], Rows], rows: Rows) -> Rows:
    """encode(rows), whose every row depends on that row alone. Where all of them are one that was expanded, that one is
    encoded and what it told expanded."""
    given = [tensor for tensor in rows if tensor is not None]
    if not given or len(given[0]) == 1 or any(tensor.stride(0) for tensor in given):
        return encode(rows)
    told = encode(type(rows)(*(None if tensor is None else tensor[:1] for tensor in rows)))
    return type(told)(*(None if tensor is None else tensor.expand(len(given[0]), *tensor.shape[1:]) for tensor in told))


def recall_around(owner: Encoder, rows: Tensor, encode: Callable[[Tensor], Tensor], stride: int,
                  reach: int) -> Tensor:
    """encode(rows) (n, ..., T) -> (n, C, T / stride), whose step t depends on steps stride·t - reach to
    stride·t + reach alone, as convolutions padded with zeros do. Of a row that is like a remembered one but for a
    part, only what depends on that part is encoded.

    Outside of `remembering`, and where gradients are wanted, all rows are encoded whole.
    """
    memory = _memory.get()
    if memory is None or torch.is_grad_enabled() or not len(rows):
        return encode(rows)
    known = memory.whole.setdefault(_kind(owner, rows), [])
    told: list[Tensor | None] = [None] * len(rows)
    for place, row in enumerate(rows):
        touched = [_touched(row, whole, stride, reach) for whole, _ in known]
        shares = [float(steps.float().mean()) for steps in touched]
        if shares and min(shares) <= WORTH:
            nearest = shares.index(min(shares))
            told[place] = _patched(row, known[nearest][1], touched[nearest], encode, stride, reach)
    new = [place for place, answer in enumerate(told) if answer is None]
    if new:
        for place, answer in zip(new, encode(rows[new])):
            told[place] = answer
            if len(known) < MOST_WHOLE:
                known.append((rows[place].clone(), answer.clone()))
    return torch.stack(told)


def _touched(row: Tensor, whole: Tensor, stride: int, reach: int) -> Tensor:
    """[T / stride] bool: the steps of the answer that depend on where the two rows (..., T) differ."""
    differs = (row != whole).flatten(0, -2).any(0)
    spread = F.max_pool1d(differs.float()[None], 2 * reach + 1, stride, reach)[0]
    return spread > 0


def _patched(row: Tensor, answer: Tensor, touched: Tensor, encode: Callable[[Tensor], Tensor], stride: int,
             reach: int) -> Tensor:
    """`answer` (C, T / stride), with the touched steps told from `row` (..., T)."""
    answer = answer.clone()
    edges = F.pad(touched.int(), (1, 1)).diff().nonzero()[:, 0].tolist()  # first and one past the last, by turns
    lead = -(-reach // stride) * stride  # a multiple of the stride, so that steps fall on the same places
    for first, end in zip(edges[::2], edges[1::2]):
        begin = max(stride * first - lead, 0)
        told = encode(row[None, ..., begin:stride * end + reach])[0]
        answer[:, first:end] = told[:, first - begin // stride:][:, :end - first]
    return answer
