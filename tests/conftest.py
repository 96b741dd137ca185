"""Clips, and the running app, that tests share."""

from __future__ import annotations

import os
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

# Before torch is imported: idle OpenMP threads that spin take 20 times the processor time on a busy machine.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

ROOT = Path(__file__).resolve().parent.parent
EXAMPLES = ROOT / "assets" / "examples"


@pytest.fixture
def one_thread_one_seed():
    """Small networks are faster on one thread, and learn the same each time."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def examples_dir() -> Path:
    """The folder of the committed demo clips."""
    return EXAMPLES


@pytest.fixture(scope="session")
def talking_clip() -> Path:
    """A committed clip with one real, moving face and real speech (8.24 s, 400x300, 25 fps, 16 kHz mono)."""
    return EXAMPLES / "unaltered_face_borrowed_voice.mp4"


@pytest.fixture
def make_clip(tmp_path):
    """Writes a clip from arrays: frames [n, height, width, 3] uint8 and samples [n] at 16 kHz, either None."""
    from assets.make_examples import write_clip

    def make(frames: np.ndarray | None, waveform: np.ndarray | None, name: str = "clip.mp4", fps=25) -> Path:
        path = tmp_path / name
        write_clip(path, frames, Fraction(fps), waveform)
        return path

    return make


@pytest.fixture(scope="session")
def served_app():
    """The real app on a free port: (address, gr.Blocks). Started once for all tests that need it."""
    import app

    blocks = app.create_app()
    yield app.launch(blocks, "127.0.0.1", None), blocks
    blocks.close(verbose=False)
