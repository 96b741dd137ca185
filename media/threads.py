"""A thread for networks so small that several threads would wait for one another longer than they work."""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

import torch

_lock = threading.Lock()


@contextmanager
def lone_thread() -> Iterator[ThreadPoolExecutor]:
    """One thread in which torch computes without others, so that what it finds depends on no number of cores. All other
    threads compute with as many as before."""
    with ThreadPoolExecutor(1, "alone") as pool:
        with _lock:
            usual = torch.get_num_threads()
            pool.submit(_compute_alone).result()
            torch.set_num_threads(usual)  # here, and where torch is used for the first time after this
        try:
            yield pool
        finally:
            torch.set_num_threads(usual)  # again: what is loaded in the thread (silero-vad) may have set it


def _compute_alone() -> None:
    """In this thread. PyTorch counts threads for each thread; the MKL in it counts them for the process, unless it is
    asked for what no function of torch asks."""
    torch.get_num_threads()  # at its first use a thread takes over the process's number, and not later
    torch.set_num_threads(1)
    with suppress(OSError, AttributeError):  # a torch without MKL
        ctypes.CDLL(str(Path(torch.__file__).parent / "lib" / "libtorch_cpu.so")).MKL_Set_Num_Threads_Local(1)
