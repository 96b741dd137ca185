"""A PreparedClip cut to a detector's InputSpec: sliding windows over the whole clip, one set per face track."""

from __future__ import annotations

import cv2
import numpy as np

from detectors.contract import InputSpec, Windows
from media import AUDIO_HZ, GRID_HZ, FaceTrack, PreparedClip

LEAST_FACE_SHARE = 0.8  # of a window's frames that must show the face
NEAREST_FACE_S = 0.25  # a missing frame may be stood in for by one at most this far away
LEAST_SPEECH_S = 0.3  # voice that a window must hold for its sound to be judged


def window_starts(duration_s: float, spec: InputSpec) -> np.ndarray:
    """[n] seconds: every hop, and one more that ends with the clip. A clip shorter than a window has one."""
    last_s = max(duration_s - spec.window_s, 0.0)
    starts = np.arange(0.0, last_s + 1e-6, spec.hop_s)
    return np.append(starts, last_s) if last_s - starts[-1] > 0.2 * spec.hop_s else starts


def cut_windows(clip: PreparedClip, spec: InputSpec) -> tuple[Windows, ...]:
    """One Windows per face track, or a single one without a track when no face can be judged.

    A modality that the clip's quality blocks is left out altogether, not filled with zeros.
    """
    starts = window_starts(clip.duration_s, spec)
    ends = np.minimum(starts + spec.window_s, clip.duration_s)
    audio, has_audio = _cut_audio(clip, spec, starts, ends)
    tracks = () if clip.quality.blocks("video") or "video" not in spec.modalities else clip.tracks
    if not tracks:
        return (Windows(starts, ends, None, np.zeros(len(starts), bool), audio, has_audio),)
    return tuple(
        Windows(starts, ends, *_cut_faces(clip, track, spec, starts, ends), audio, has_audio, track.track_id)
        for track in tracks
    )


def _cut_faces(clip: PreparedClip, track: FaceTrack, spec: InputSpec, starts: np.ndarray,
               ends: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """faces [n, frames, px, px, 3] uint8 and has_face [n].

    Frame i of a window lies at start + i * length / frames, as in the papers' uniform sampling; a clip shorter
    than the window is sampled more densely over what there is.
    """
    crops = clip.faces[track.track_id]
    faces = np.zeros((len(starts), spec.frames, spec.face_px, spec.face_px, 3), np.uint8)
    has_face = np.zeros(len(starts), bool)
    for n, (start_s, end_s) in enumerate(zip(starts, ends)):
        wanted_s = start_s + np.arange(spec.frames) * (end_s - start_s) / spec.frames
        wanted_s = np.round(wanted_s * GRID_HZ) / GRID_HZ
        after = np.clip(np.searchsorted(track.times_s, wanted_s), 1, max(len(track.times_s) - 1, 1))
        after = np.minimum(after, len(track.times_s) - 1)
        before = np.maximum(after - 1, 0)
        nearer = np.where(wanted_s - track.times_s[before] < track.times_s[after] - wanted_s, before, after)
        distance_s = np.abs(track.times_s[nearer] - wanted_s)
        has_face[n] = np.mean(distance_s < 1.5 / GRID_HZ) >= LEAST_FACE_SHARE and distance_s.max() <= NEAREST_FACE_S
        if has_face[n]:
            faces[n] = [_resized(crops[i], spec.face_px) for i in nearer]
    return faces, has_face


def _resized(crop: np.ndarray, side_px: int) -> np.ndarray:
    if crop.shape[0] == side_px:
        return crop
    return cv2.resize(crop, (side_px, side_px), interpolation=cv2.INTER_AREA)


def _cut_audio(clip: PreparedClip, spec: InputSpec, starts: np.ndarray,
               ends: np.ndarray) -> tuple[np.ndarray | None, np.ndarray]:
    """audio [n, samples] float32 and has_audio [n]; None when the clip's sound cannot be judged."""
    if spec.audio_hz != AUDIO_HZ:
        raise ValueError(f"clips are prepared at {AUDIO_HZ} Hz; the detector asks for {spec.audio_hz}")
    has_audio = np.zeros(len(starts), bool)
    if clip.waveform is None or clip.quality.blocks("audio") or "audio" not in spec.modalities:
        return None, has_audio
    audio = np.zeros((len(starts), spec.samples), np.float32)
    for n, (start_s, end_s) in enumerate(zip(starts, ends)):
        first = round(start_s * AUDIO_HZ)
        part = clip.waveform[first:first + min(spec.samples, round((end_s - start_s) * AUDIO_HZ))]
        voiced_s = sum(max(min(end_s, e) - max(start_s, s), 0.0) for s, e in clip.speech_s)
        has_audio[n] = voiced_s >= LEAST_SPEECH_S and len(part) >= 0.5 * AUDIO_HZ
        if has_audio[n]:
            audio[n] = fill(part, spec.samples)
    return audio, has_audio


def fill(part: np.ndarray, samples: int) -> np.ndarray:
    """Sound shorter than a window is repeated, not padded: silence must not tell the length or the class."""
    return np.resize(part, samples)
