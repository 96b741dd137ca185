"""A PreparedClip cut to a detector's InputSpec: sliding windows over the whole clip, one set per face track."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np

from detectors.contract import InputSpec, Windows
from media import AUDIO_HZ, GRID_HZ, FaceTrack, PreparedClip
from media.crops import let_go

NEAREST_FACE_S = 0.25  # a missing frame may be stood in for by one at most this far away
LEAST_SPEECH_S = 0.3  # voice that a window must hold for its sound to be judged
MOST_BYTES = 64 * 2**20  # of crops that are cut at once: a minute of joint_av's windows; ten would take a gigabyte
MOST_SAMPLES = 4 * 2**20  # of sound, likewise: two minutes of windows that overlap by half


class Crops:
    """Crops of many windows, cut when they are asked for: indexed like an array [n, count, side, side, 3] uint8, by its
    first two axes."""

    def __init__(self, crops: np.ndarray, rows: np.ndarray, wanted: np.ndarray, side_px: int):
        self.shape = (*rows.shape, side_px, side_px, 3)
        self._crops, self._rows, self._wanted = crops, rows, wanted

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, index) -> np.ndarray:
        return _cut_crops(self._crops, self._rows[index], self._wanted[index], self.shape[2])

    def __array__(self, dtype: np.dtype | None = None, copy: bool | None = None) -> np.ndarray:
        return np.asarray(self[:], dtype)


class Sounds:
    """Sound of many windows, cut when it is asked for: indexed by its first axis like an array [n, samples] float32."""

    def __init__(self, parts: list[np.ndarray], samples: int, stretch: bool):
        """parts: of each window what there is of it, at most so many samples."""
        self.shape = (len(parts), samples)
        self._parts, self._stretch = parts, stretch

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, index) -> np.ndarray:
        rows = np.arange(len(self))[index]
        cut = np.zeros((*rows.shape, self.shape[1]), np.float32)
        for row, place in zip(rows.ravel(), cut.reshape(-1, self.shape[1])):
            part = self._parts[row]
            place[:len(part)] = part
            if self._stretch and len(part):
                place[:] = fill(part, len(place))
        return cut

    def __array__(self, dtype: np.dtype | None = None, copy: bool | None = None) -> np.ndarray:
        return np.asarray(self[:], dtype)


def window_starts(duration_s: float, spec: InputSpec) -> np.ndarray:
    """[n] seconds: every hop, and one more that ends with the clip. A clip shorter than a window has one."""
    last_s = max(duration_s - spec.window_s, 0.0)
    starts = np.arange(0.0, last_s + 1e-6, spec.hop_s)
    return np.append(starts, last_s) if last_s - starts[-1] > 0.2 * spec.hop_s else starts


def cut_windows(clip: PreparedClip, spec: InputSpec, starts_s: np.ndarray | None = None) -> tuple[Windows, ...]:
    """One Windows per face track, or a single one without a track when no face can be judged.

    Windows start at window_starts, or at starts_s [n]. A modality that the clip's quality blocks is left out
    altogether, not filled with zeros. A still picture is one window: it stands in all places where the spec stretches,
    else in the first alone, and the others are masked.
    """
    starts = window_starts(clip.duration_s, spec) if starts_s is None else starts_s
    shown_s = 1 / GRID_HZ if clip.info.still else clip.duration_s  # as if the picture were one of a video's
    ends = np.minimum(starts + spec.window_s, shown_s)
    audio, has_audio, heard_s = _cut_audio(clip, spec, starts, ends)
    tracks = () if clip.quality.blocks("video") or "video" not in spec.modalities else clip.tracks
    if not tracks:
        return (Windows(starts, ends, None, np.zeros(len(starts), bool), audio, has_audio, heard_s=heard_s),)
    return tuple(replace(_cut_track(clip, track, spec, starts, ends), audio=audio, has_audio=has_audio,
                         heard_s=heard_s) for track in tracks)


def _cut_track(clip: PreparedClip, track: FaceTrack, spec: InputSpec, starts: np.ndarray, ends: np.ndarray) -> Windows:
    """What is seen of the face; no sound."""
    rows, seen, has_face = _find_crops(track, spec, spec.frames, starts, ends)
    faces = _crops(clip.faces[track.track_id], rows, has_face[:, None] & (rows >= 0), spec.face_px)
    lips = lips_seen = None
    if spec.lips:
        lip_rows, lips_seen, _ = _find_crops(track, spec, spec.lips, starts, ends)
        lips = _crops(clip.lips[track.track_id], lip_rows, has_face[:, None] & (lip_rows >= 0), spec.lips_px)
        lips_seen &= has_face[:, None]
    return Windows(starts, ends, faces, has_face, None, np.zeros(len(starts), bool), track.track_id,
                   face_seen=seen & has_face[:, None], lips=lips, lips_seen=lips_seen)


def _find_crops(track: FaceTrack, spec: InputSpec, count: int, starts: np.ndarray,
                ends: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """rows [n, count] of the crops nearest to the wanted moments (-1: none near), seen [n, count], has_face [n].

    Moment i of a window lies at start + i * length / count, as in the papers' uniform sampling. Where the spec
    stretches, a clip shorter than the window is sampled more densely over what there is. Where it does not, moments
    are multiples of the time between them: the last window, which ends with the clip, shares its crops with the others.
    """
    length_s = (ends - starts)[:, None] if spec.stretch else spec.window_s
    wanted_s = starts[:, None] + np.arange(count) * length_s / count  # [n, count]
    if not spec.stretch:
        every_s = spec.window_s / count
        wanted_s = np.round(wanted_s / every_s) * every_s
    wanted_s = np.round(wanted_s * GRID_HZ) / GRID_HZ
    after = np.clip(np.searchsorted(track.times_s, wanted_s), 1, max(len(track.times_s) - 1, 1))
    after = np.minimum(after, len(track.times_s) - 1)
    before = np.maximum(after - 1, 0)
    rows = np.where(wanted_s - track.times_s[before] < track.times_s[after] - wanted_s, before, after)
    distance_s = np.abs(track.times_s[rows] - wanted_s)
    seen = (distance_s < 1.5 / GRID_HZ) & (wanted_s < ends[:, None] + 0.5 / GRID_HZ)
    inside = wanted_s < ends[:, None]
    share = (seen & inside).sum(axis=1) / np.maximum(inside.sum(axis=1), 1)
    has_face = share >= spec.least_face_share
    if spec.stretch:
        has_face &= distance_s.max(axis=1) <= NEAREST_FACE_S
        return rows, seen, has_face
    return np.where(seen, rows, -1), seen, has_face & seen.any(axis=1)


def in_memory(windows: Windows) -> Windows:
    """The same with plain arrays, for those who cannot be asked to take Crops and Sounds."""
    return replace(windows, **{name: np.asarray(cut) for name in ("faces", "lips", "audio")
                               if (cut := getattr(windows, name)) is not None})


def _crops(crops: np.ndarray, rows: np.ndarray, wanted: np.ndarray, side_px: int) -> np.ndarray | Crops:
    cut = Crops(crops, rows, wanted, side_px)
    return cut if np.prod(cut.shape) > MOST_BYTES else cut[:]


def _cut_crops(crops: np.ndarray, rows: np.ndarray, wanted: np.ndarray, side_px: int) -> np.ndarray:
    """[n, count, side, side, 3] uint8, zero where a crop is not wanted. Windows overlap: each crop is read once."""
    cut = np.zeros((*rows.shape, side_px, side_px, 3), np.uint8)
    if wanted.any():
        read, place = np.unique(rows[wanted], return_inverse=True)
        cut[wanted] = np.stack([_resized(crops[row], side_px) for row in read])[place]
    let_go(crops)
    return cut


def _resized(crop: np.ndarray, side_px: int) -> np.ndarray:
    if crop.shape[0] == side_px:
        return crop
    return cv2.resize(crop, (side_px, side_px), interpolation=cv2.INTER_AREA)


def _cut_audio(clip: PreparedClip, spec: InputSpec, starts: np.ndarray,
               ends: np.ndarray) -> tuple[np.ndarray | Sounds | None, np.ndarray, np.ndarray | None]:
    """audio [n, samples] float32, has_audio [n] and heard_s [n]; None when the clip's sound cannot be judged."""
    if spec.audio_hz != AUDIO_HZ:
        raise ValueError(f"clips are prepared at {AUDIO_HZ} Hz; the detector asks for {spec.audio_hz}")
    has_audio = np.zeros(len(starts), bool)
    if clip.waveform is None or clip.quality.blocks("audio") or "audio" not in spec.modalities:
        return None, has_audio, None
    heard_s = np.clip(len(clip.waveform) / AUDIO_HZ - starts, 0.0, ends - starts)
    parts = []
    for n, (start_s, end_s) in enumerate(zip(starts, ends)):
        first = round(start_s * AUDIO_HZ)
        part = clip.waveform[first:first + min(spec.samples, round((end_s - start_s) * AUDIO_HZ))]
        voiced_s = sum(max(min(end_s, e) - max(start_s, s), 0.0) for s, e in clip.speech_s)
        has_audio[n] = voiced_s >= LEAST_SPEECH_S and len(part) >= 0.5 * AUDIO_HZ
        parts.append(part if has_audio[n] else part[:0])
    audio = Sounds(parts, spec.samples, spec.stretch)
    return audio if np.prod(audio.shape) > MOST_SAMPLES else audio[:], has_audio, heard_s


def fill(part: np.ndarray, samples: int) -> np.ndarray:
    """Sound shorter than a window is repeated, not padded: silence must not tell the length or the class."""
    return np.resize(part, samples)
