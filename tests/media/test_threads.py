"""Small networks compute in one thread, and all else as before."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from media import forget, prepare
from media.threads import lone_thread


@pytest.fixture
def two_threads():
    usual = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(usual)


def new_thread() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(1)


def count_of(thread: ThreadPoolExecutor) -> int:
    """Threads that torch computes with in this one."""
    return thread.submit(torch.get_num_threads).result()


def test_one_thread_inside_and_as_many_as_before_elsewhere(two_threads):
    with lone_thread() as alone:
        assert count_of(alone) == 1
        meanwhile = new_thread()
        assert count_of(meanwhile) == 2 and torch.get_num_threads() == 2
        with lone_thread() as another:
            assert count_of(another) == 1
        assert count_of(alone) == 1
    assert count_of(meanwhile) == count_of(new_thread()) == torch.get_num_threads() == 2


def test_a_thread_that_opened_one_goes_on_as_before(two_threads):
    def open_one() -> int:
        with lone_thread() as alone:
            return count_of(alone)

    opener = new_thread()
    assert opener.submit(open_one).result() == 1
    assert count_of(opener) == count_of(new_thread()) == 2


def test_what_fails_or_sets_the_number_inside_leaves_as_many_as_before(two_threads):
    with pytest.raises(ZeroDivisionError), lone_thread() as alone:
        alone.submit(torch.set_num_threads, 1).result()
        alone.submit(lambda: 1 / 0).result()
    assert count_of(new_thread()) == torch.get_num_threads() == 2


def test_preparing_the_first_clip_leaves_as_many_as_before(examples_dir):
    """In a process of its own, where silero-vad is loaded for the first time: it sets torch's number."""
    program = (
        "import sys, media, torch; from concurrent.futures import ThreadPoolExecutor; torch.set_num_threads(2);"
        "clip = media.prepare(sys.argv[1]); assert clip.speech_s;"
        "print(torch.get_num_threads(), ThreadPoolExecutor(1).submit(torch.get_num_threads).result())"
    )
    told = subprocess.run([sys.executable, "-c", program, str(examples_dir / "unaltered_face_borrowed_voice.mp4")],
                          capture_output=True, text=True, check=True)
    assert told.stdout.split() == ["2", "2"]


def test_faces_do_not_depend_on_the_number_of_threads(two_threads, examples_dir):
    clip = examples_dir / "unaltered_face_borrowed_voice.mp4"

    def landmarks() -> np.ndarray:
        forget()
        return prepare(clip).tracks[0].landmarks_px

    with_two = landmarks()
    torch.set_num_threads(1)
    assert np.array_equal(landmarks(), with_two)
