"""Memory that a network's layers free stays at hand for the next ones, and goes back when nobody computes.

Activations of a hundred MB come and go with every layer. glibc hands blocks that large back to the system at once and
asks for them again, and touching them anew costs the processor's time, the more where several processes compete.
Elsewhere than on glibc nothing changes.
"""

from __future__ import annotations

import ctypes
import ctypes.util
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from typing import TypeVar

_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -3, -8  # of mallopt(3)
_LARGEST = 2**31 - 1
TIDIED_S = 20.0  # it takes some 50 ms
Part = TypeVar("Part")


@cache
def keep_freed_memory() -> None:
    """From now on, for the whole process. Threads to come share one arena: others cannot hold blocks above 64 MB."""
    if (libc := _glibc()) is not None:
        libc.mallopt(_TRIM_THRESHOLD, _LARGEST)
        libc.mallopt(_MMAP_THRESHOLD, _LARGEST)
        libc.mallopt(_ARENA_MAX, 1)


def return_freed_memory() -> None:
    """What is kept goes back to the system."""
    if (libc := _glibc()) is not None:
        libc.malloc_trim(0)


def tidied(parts: Iterable[Part], end_s: Callable[[Part], float]) -> Iterator[Part]:
    """The parts of a clip in their order; after each TIDIED_S of a long one, and at its end, freed memory goes back:
    scattered between answers that are kept, it would pile up. end_s: where a part ends in the clip."""
    reached = 0
    for part in parts:
        yield part
        if (now := int(end_s(part) / TIDIED_S)) != reached:
            return_freed_memory()
            reached = now
    if reached:
        return_freed_memory()


@cache
def _glibc() -> ctypes.CDLL | None:
    name = ctypes.util.find_library("c")
    libc = None if name is None else ctypes.CDLL(name)  # Windows has none of that name
    return libc if hasattr(libc, "mallopt") and hasattr(libc, "malloc_trim") else None
