"""One paper, one file. A PreparedClip becomes an Analysis."""

from __future__ import annotations

from functools import lru_cache
from types import ModuleType

import media  # noqa: F401 (first: it sets up OpenMP, which must be done before torch is loaded)
from detectors import joint_av, mis_avoidd, mmms_ba, ss_avd
from detectors.analysis import analyse, analyse_clip, resolve_device
from detectors.checkpoint import CHECKPOINTS, CheckpointError, checkpoint_hash, read_card, read_checkpoint
from detectors.contract import (
    Analysis,
    Detector,
    Inputs,
    InputSpec,
    Segment,
    Thresholds,
    Verdict,
    Windows,
    WindowScores,
)

# id -> module of one paper: its configurations, network, losses, and load_detector. This is the whole zoo.
MODULES: dict[str, ModuleType] = {
    "ss_avd": ss_avd,
    "mis_avoidd": mis_avoidd,
    "mmms_ba": mmms_ba,
    "joint_av": joint_av,
}
# id -> builder of a Detector from (state dict, card, device)
BUILDERS = {name: module.load_detector for name, module in MODULES.items()}

__all__ = [
    "BUILDERS", "MODULES", "Analysis", "CheckpointError", "Detector", "InputSpec", "Inputs", "Segment", "Thresholds",
    "Verdict", "WindowScores", "Windows", "analyse", "analyse_clip", "available", "check_known", "load",
    "resolve_device",
]


def check_known(name: str) -> None:
    """Raises: KeyError listing the choices for an unknown id."""
    if name not in BUILDERS:
        raise KeyError(f"unknown detector {name!r}; there are: {', '.join(BUILDERS)}")


def load(name: str, device: str = "auto") -> Detector:
    """A detector with its shipped checkpoint. Loaded once per device and shared: scoring does not change it.

    Raises: KeyError listing the choices for an unknown id; CheckpointError; ValueError for a bad device.
    """
    check_known(name)
    return _load(name, str(resolve_device(device)))


@lru_cache(maxsize=8)
def _load(name: str, device: str) -> Detector:
    path = CHECKPOINTS / f"{name}.safetensors"
    state, card = read_checkpoint(path)
    return BUILDERS[name](state, {**card, "checkpoint": checkpoint_hash(path)}, device)


def available() -> dict[str, dict]:
    """id -> card of every detector whose checkpoint is shipped."""
    paths = {name: CHECKPOINTS / f"{name}.safetensors" for name in BUILDERS}
    return {name: read_card(path) for name, path in paths.items() if path.is_file()}
