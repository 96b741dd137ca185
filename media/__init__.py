"""A file becomes a PreparedClip. Knows nothing of detectors."""

import os

# Before torch loads: its idle OpenMP threads would spin, and on two busy cores take 20 times the processor's time.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

from media.clip import (
    AUDIO_HZ,
    FACE_PX,
    GRID_HZ,
    LIPS_PX,
    ClipInfo,
    FaceTrack,
    Finding,
    MediaError,
    PreparedClip,
    Quality,
    Reason,
)
from media.limits import Limits, set_default_limits
from media.prepare import OnStage, forget, forget_file, forget_gone, prepare

__all__ = [
    "AUDIO_HZ", "FACE_PX", "GRID_HZ", "LIPS_PX", "ClipInfo", "FaceTrack", "Finding", "Limits", "MediaError",
    "OnStage", "PreparedClip", "Quality", "Reason", "forget", "forget_file", "forget_gone",
    "prepare", "set_default_limits",
]
