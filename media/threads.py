"""A thread for networks so small that several threads would wait for one another longer than they work."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import torch

_lock = threading.Lock()
_open = 0
_usual = 0  # threads that torch computes with while none is open


@contextmanager
def lone_thread() -> Iterator[ThreadPoolExecutor]:
    """One thread in which torch computes without others: what it finds depends on no number of cores.

    Half of torch's arithmetic counts its threads per thread, the other half for the whole process, so while one is open
    the rest of the process may compute with fewer as well.
    """
    global _open, _usual
    with _lock:
        if not _open:
            _usual = torch.get_num_threads()
        _open += 1
    try:
        with ThreadPoolExecutor(1, "alone", torch.set_num_threads, (1,)) as pool:
            yield pool
    finally:
        with _lock:
            _open -= 1
            if not _open:
                torch.set_num_threads(_usual)
