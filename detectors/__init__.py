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
from detectors.guests import GuestError, Guests, Unloadable, is_reference
from detectors.heap import keep_freed_memory

# id -> module of one paper: its configurations, network, losses, and load_detector. This is the whole zoo.
MODULES: dict[str, ModuleType] = {
    "ss_avd": ss_avd,
    "mis_avoidd": mis_avoidd,
    "mmms_ba": mmms_ba,
    "joint_av": joint_av,
}
# id -> builder of a Detector from (state dict, card, device)
BUILDERS = {name: module.load_detector for name, module in MODULES.items()}
GUESTS = Guests(taken=tuple(BUILDERS))  # detectors from outside, by entry point or by name
keep_freed_memory()  # here, as threads that are older have arenas of their own

__all__ = [
    "BUILDERS", "GUESTS", "MODULES", "Analysis", "CheckpointError", "Detector", "GuestError", "InputSpec", "Inputs",
    "Segment", "Thresholds", "Verdict", "WindowScores", "Windows", "analyse", "analyse_clip", "available", "choose",
    "known_id", "load", "resolve_device", "shipped",
]


def known_id(name: str) -> str:
    """The id of a detector: of an id itself, and of "package.module:Class", which then joins the list.

    Raises: KeyError listing the choices for an unknown id; GuestError for a class that cannot join.
    """
    if is_reference(name):
        return GUESTS.join(name)
    known = (*BUILDERS, *GUESTS.all())
    if name not in known:
        raise KeyError(f"unknown detector {name!r}; there are: {', '.join(known)}")
    return name


def choose(words: str) -> list[str]:
    """The ids that a list with commas of ids, "all" and "package.module:Class" stands for, each once.

    Raises: KeyError, GuestError, as known_id.
    """
    names = [name.strip() for name in words.split(",")]
    ids = [id_ for name in names for id_ in (available() if name == "all" else [known_id(name)])]
    return list(dict.fromkeys(ids))


def load(name: str, device: str = "auto") -> Detector:
    """A detector with its checkpoint. Loaded once per device and shared: scoring does not change it.

    One from outside that cannot be built is loaded all the same, and says so when it is asked for scores.

    Raises: KeyError listing the choices for an unknown id; CheckpointError; GuestError; ValueError for a bad device.
    """
    name = known_id(name)
    try:
        return _load(name, str(resolve_device(device)))
    except GuestError as error:
        return Unloadable(GUESTS.all()[name], error)


@lru_cache(maxsize=16)
def _load(name: str, device: str) -> Detector:
    if name not in BUILDERS:
        return GUESTS.all()[name].load(device)
    path = CHECKPOINTS / f"{name}.safetensors"
    state, card = read_checkpoint(path)
    return BUILDERS[name](state, {**card, "checkpoint": checkpoint_hash(path)}, device)


def shipped() -> dict[str, dict]:
    """id -> card of every detector of the project whose checkpoint is there."""
    paths = {name: CHECKPOINTS / f"{name}.safetensors" for name in BUILDERS}
    return {name: read_card(path) for name, path in paths.items() if path.is_file()}


def available() -> dict[str, dict]:
    """id -> card of every detector: of the project's own that are there, and of those from outside."""
    return shipped() | {name: guest.card for name, guest in GUESTS.all().items()}
