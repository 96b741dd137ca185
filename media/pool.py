"""Memory that a worker shares with whoever asked it: pictures lie in it, and need not go through a socket.

The asking side makes it, of a fixed size, and hands it over. The worker writes each picture into a free place; the
place is free again when nobody on the asking side has the picture any more. A worker is believed nothing: where a
picture is said to lie is checked, and what it writes into the memory afterwards changes pixels alone.
"""

from __future__ import annotations

import mmap
import os
import select
import socket
import struct
import weakref
from collections.abc import Sequence
from contextlib import suppress

import numpy as np

try:
    import fcntl
except ImportError:  # Windows: nothing is shared there
    fcntl = None

BYTES = 128 << 20  # of which what is never written takes no memory
MOST_PLACES = 40  # pictures of 1920 x 1080 fill it; smaller ones need not be further ahead of who looks at them
LEAST_BYTES = 64 << 10  # what is smaller goes through the socket
WAIT_S = 0.5  # for a place
_PAGE = 4096
_PLACE = struct.Struct("<I")  # a place by its number


class Pool:
    """The asking side. Makes the memory; `handle` is for the worker, and closed by whoever hands it over."""

    def __init__(self, channel: socket.socket):
        """channel: to the worker, which is told on it what is free again.

        Raises: OSError, AttributeError where the system has no such memory.
        """
        self._channel = channel.dup()
        self.handle = os.memfd_create("telltale", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        os.ftruncate(self.handle, BYTES)
        # A worker that cut it short would end who reads.
        fcntl.fcntl(self.handle, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL)
        self._memory = mmap.mmap(self.handle, BYTES, prot=mmap.PROT_READ)

    def look(self, place: int, begin: int, length: int) -> np.ndarray:
        """[length] uint8, read-only. place: told to the worker when the last view of it has gone.

        Raises: ValueError, TypeError, struct.error for what cannot be.
        """
        told = _PLACE.pack(place)
        if not 0 <= begin <= begin + length <= BYTES:
            raise ValueError("outside of the memory")
        seen = np.frombuffer(self._memory, np.uint8, length, begin)
        weakref.finalize(seen, _tell, self._channel, told, os.getpid()).atexit = False
        return seen

    def close(self) -> None:
        """No more is told. What was seen stays as long as somebody has it."""
        self._channel.close()
        with suppress(BufferError):  # the last view takes the memory with it
            self._memory.close()


def _tell(channel: socket.socket, told: bytes, owner: int) -> None:
    if os.getpid() != owner:  # a fork of the asking process: that one may still look at the picture
        return
    with suppress(OSError):  # the worker is gone, or does not listen: then it has a place less
        channel.send(told, socket.MSG_DONTWAIT)


class PoolWriter:
    """The worker's side."""

    def __init__(self, handle: int, channel: socket.socket):
        self._memory, self._channel = mmap.mmap(handle, BYTES), channel
        self._place_bytes = 0  # as large as the first thing that is written
        self._free: list[int] = []
        self._waits = True  # until it waited in vain: then somebody keeps what he has

    def write(self, arrays: Sequence[np.ndarray]) -> tuple[int, int, int] | None:
        """What Pool.look takes; None where there is no place."""
        length = sum(array.nbytes for array in arrays)
        if length < LEAST_BYTES:
            return None
        if not self._place_bytes:
            self._place_bytes = -(-length // _PAGE) * _PAGE
            self._free = list(range(min(BYTES // self._place_bytes, MOST_PLACES)))[::-1]
        self._take_back()
        if not self._free or length > self._place_bytes:
            return None
        place = self._free.pop()  # the one that came back last: its memory is at hand
        begin = at = place * self._place_bytes
        for array in arrays:
            np.frombuffer(self._memory, array.dtype, array.size, at).reshape(array.shape)[...] = array
            at += array.nbytes
        return place, begin, length

    def _take_back(self) -> None:
        if not self._free and self._waits:
            self._waits = bool(select.select([self._channel], [], [], WAIT_S)[0])
        with suppress(BlockingIOError):
            while told := self._channel.recv(_PLACE.size * 64, socket.MSG_DONTWAIT):
                self._free += (place for place, in _PLACE.iter_unpack(told))
                self._waits = True
