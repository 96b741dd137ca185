"""A file becomes a PreparedClip. Knows nothing of detectors."""

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
from media.limits import Limits
from media.prepare import OnStage, forget, prepare

__all__ = [
    "AUDIO_HZ", "FACE_PX", "GRID_HZ", "LIPS_PX", "ClipInfo", "FaceTrack", "Finding", "Limits", "MediaError",
    "OnStage", "PreparedClip", "Quality", "Reason", "forget", "prepare",
]
