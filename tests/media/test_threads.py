"""Small networks compute in one thread, and the rest as before."""

from __future__ import annotations

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


def test_one_thread_inside_and_as_many_as_before_afterwards(two_threads):
    with lone_thread() as alone:
        assert alone.submit(torch.get_num_threads).result() == 1
        with lone_thread() as another:
            assert another.submit(torch.get_num_threads).result() == 1
        assert alone.submit(torch.get_num_threads).result() == 1
    assert torch.get_num_threads() == 2
    with lone_thread():
        pass
    assert torch.get_num_threads() == 2


def test_what_fails_inside_leaves_as_many_as_before(two_threads):
    with pytest.raises(ZeroDivisionError), lone_thread() as alone:
        alone.submit(lambda: 1 / 0).result()
    assert torch.get_num_threads() == 2


def test_faces_do_not_depend_on_the_number_of_threads(two_threads, examples_dir):
    clip = examples_dir / "unaltered_face_borrowed_voice.mp4"

    def landmarks() -> np.ndarray:
        forget()
        return prepare(clip).tracks[0].landmarks_px

    with_two = landmarks()
    torch.set_num_threads(1)
    assert np.array_equal(landmarks(), with_two)
