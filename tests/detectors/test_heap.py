"""Freed blocks stay with the process until it is told to return them. In a process of its own: it lasts for good."""

from __future__ import annotations

import subprocess
import sys

import pytest

from detectors import heap

PROGRAM = """
import resource, threading
import psutil, torch
from detectors.heap import return_freed_memory
resident = psutil.Process().memory_info
def touched():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(5):
        torch.ones(30_000_000)  # 120 MB, 29,000 pages
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
def work():
    touched()
    again, kept = touched(), resident().rss
    return_freed_memory()
    print(again, kept - resident().rss)
thread = threading.Thread(target=work)
thread.start()
thread.join()
"""


@pytest.mark.skipif(heap._glibc() is None, reason="not on glibc")
def test_blocks_are_touched_once_and_returned_when_asked():
    told = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True).stdout
    again, returned = map(int, told.split())
    assert again < 1_000 and returned > 100_000_000


def test_elsewhere_nothing_happens(monkeypatch):
    monkeypatch.setattr(heap, "_glibc", lambda: None)
    heap.keep_freed_memory.__wrapped__()
    heap.return_freed_memory()


def test_where_no_c_library_has_a_name_nothing_is_done(monkeypatch):
    monkeypatch.setattr(heap.ctypes.util, "find_library", lambda name: None)
    heap._glibc.cache_clear()
    try:
        assert heap._glibc() is None
        heap.return_freed_memory()
    finally:
        heap._glibc.cache_clear()


def test_of_a_long_clip_memory_goes_back_on_the_way(monkeypatch):
    returned = []
    monkeypatch.setattr(heap, "return_freed_memory", lambda: returned.append(taken[-1]))
    taken = []
    for end_s in heap.tidied((10.0, 19.9, 20.0, 35.0, 65.0, 70.0), lambda end_s: end_s):
        taken.append(end_s)
    assert taken == [10.0, 19.9, 20.0, 35.0, 65.0, 70.0]
    assert returned == [20.0, 65.0, 70.0]
    assert list(heap.tidied((5.0, 10.0), lambda end_s: end_s)) == [5.0, 10.0] and len(returned) == 3
