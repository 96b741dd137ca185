"""What a file becomes: the data that every detector, figure and report reads.

Times are seconds on the clip's presentation clock (0 = the earliest stream start), never index / fps.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

import numpy as np

GRID_HZ = 25.0  # aligned crops lie on this grid: grid point k is k / 25 s
FACE_PX = 224
LIPS_PX = 96
AUDIO_HZ = 16_000


class Reason(str, Enum):
    """Why something could not be judged, or only with less certainty. Codes are part of the JSON contract."""

    DECODE_FAILED = "DECODE_FAILED"
    UNSUPPORTED_FORMAT = "UNSUPPORTED_FORMAT"
    TOO_LARGE = "TOO_LARGE"
    TOO_LONG = "TOO_LONG"
    TOO_SHORT = "TOO_SHORT"
    PARTLY_DECODED = "PARTLY_DECODED"
    NO_VIDEO = "NO_VIDEO"
    NO_AUDIO = "NO_AUDIO"
    NO_FACE = "NO_FACE"
    FACE_TOO_SMALL = "FACE_TOO_SMALL"
    FACE_LOST = "FACE_LOST"
    SEVERAL_FACES = "SEVERAL_FACES"
    BLURRED = "BLURRED"
    DARK = "DARK"
    SILENT = "SILENT"
    NO_SPEECH = "NO_SPEECH"
    TOO_NOISY = "TOO_NOISY"
    SEVERAL_AUDIO_STREAMS = "SEVERAL_AUDIO_STREAMS"
    UNLIKE_TRAINING = "UNLIKE_TRAINING"  # of what the project's detectors learnt from
    STILL_PICTURE = "STILL_PICTURE"
    NEEDS_MOVEMENT = "NEEDS_MOVEMENT"  # a detector that judges no still picture
    STILLS_NOT_CALIBRATED = "STILLS_NOT_CALIBRATED"  # a detector that looks at one, and gives no probability
    DETECTOR_FAILED = "DETECTOR_FAILED"  # one from outside

    def __str__(self) -> str:
        return self.value


@dataclass(frozen=True)
class Finding:
    """One reason with its measured value, and what the person can do about it."""

    reason: Reason
    message: str  # what was found, with the measured value and its limit
    remedy: str  # what to do next
    blocks: frozenset[str] = frozenset()  # modalities that cannot be judged because of it: "video", "audio"

    def to_json(self) -> dict:
        return {
            "code": str(self.reason),
            "message": self.message,
            "remedy": self.remedy,
            "blocks": sorted(self.blocks),
        }


class MediaError(Exception):
    """A file that cannot be read or is refused: one finding, never a traceback."""

    def __init__(self, finding: Finding):
        super().__init__(f"{finding.message} {finding.remedy}")
        self.finding = finding


@dataclass(frozen=True)
class ClipInfo:
    """Facts of the file, read from its header and corrected by what was decoded."""

    path: str
    sha256: str
    size_bytes: int
    container: str
    duration_s: float  # decoded extent where anything was decoded, not the header's word
    video_codec: str | None = None
    width_px: int | None = None  # as displayed: rotation and pixel aspect applied
    height_px: int | None = None
    fps: float | None = None  # average of the decoded presentation times
    variable_fps: bool = False
    rotation_deg: int = 0
    frames: int = 0
    audio_codec: str | None = None
    audio_hz: int | None = None
    audio_channels: int | None = None
    audio_streams: int = 0
    metadata: dict[str, str] = field(default_factory=dict)  # container tags: user text, escape before showing
    still: bool = False  # one picture without a duration: duration_s is 0


@dataclass(frozen=True)
class FaceTrack:
    """One person's face over time, on the 25 Hz grid points where it is present."""

    track_id: int
    times_s: np.ndarray  # [N] float64, multiples of 1 / GRID_HZ; gaps where the face is lost
    boxes_px: np.ndarray  # [N, 4] float32, x0 y0 x1 y1 in display pixels
    landmarks_px: np.ndarray  # [N, 5, 2] float32: left eye, right eye, nose, mouth left, mouth right
    confidence: np.ndarray  # [N] float32, the face finder's, in [0, 1]

    @property
    def face_px(self) -> float:
        """Median width of the face in display pixels."""
        return float(np.median(self.boxes_px[:, 2] - self.boxes_px[:, 0]))


@dataclass(frozen=True)
class Quality:
    findings: tuple[Finding, ...]
    measures: dict[str, float]

    @property
    def reasons(self) -> tuple[Reason, ...]:
        return tuple(f.reason for f in self.findings)

    def blocks(self, modality: str) -> bool:
        """True when some finding says that this modality ("video" or "audio") cannot be judged."""
        return any(modality in f.blocks for f in self.findings)


@dataclass
class PreparedClip:
    """A clip, decoded once: everything that scoring and explaining need, and nothing of the full frames."""

    info: ClipInfo
    tracks: tuple[FaceTrack, ...]  # longest-present first
    faces: dict[int, np.ndarray]  # track_id -> [N, 224, 224, 3] uint8 RGB, aligned; rows match the track's times
    lips: dict[int, np.ndarray]  # track_id -> [N, 96, 96, 3] uint8 RGB, aligned
    waveform: np.ndarray | None  # [samples] float32 in [-1, 1], 16 kHz mono, sample 0 at time 0
    speech_s: tuple[tuple[float, float], ...]  # spans with a voice
    quality: Quality
    stage_s: dict[str, float] = field(default_factory=dict)  # seconds spent per stage, for the benchmarks

    @property
    def duration_s(self) -> float:
        return self.info.duration_s
