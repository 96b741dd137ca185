"""What a file tells without anybody looking at the face or listening to the voice.

A detector that only knew these would know nothing about manipulation. Whatever they tell about the label is a
shortcut that training data should not offer (training/shortcuts.py measures how much they do).
"""

from __future__ import annotations

import cv2
import numpy as np

from media import AUDIO_HZ, PreparedClip

FRAME_HOP = AUDIO_HZ // 50  # 20 ms
QUIET_DB = -40.0  # below the loudest 20 ms
BORDER = 0.12  # width of the ring around the aligned crop, as a share of its side
LOOKS = 8  # crops that are looked at


def clip_facts(clip: PreparedClip) -> dict[str, float]:
    """Name -> number; facts of a missing modality are left out."""
    info = clip.info
    facts = {"duration_s": info.duration_s, "bits_per_s": 8 * info.size_bytes / max(info.duration_s, 0.1)}
    if info.fps:
        facts |= {"fps": info.fps, "width_px": info.width_px, "height_px": info.height_px}
    if clip.tracks:
        facts |= _pose(clip) | _border(clip)
    if clip.waveform is not None and len(clip.waveform) >= 4 * FRAME_HOP:
        facts |= sound_facts(clip.waveform)
    return {name: round(float(value), 5) for name, value in facts.items()}


def sound_facts(waveform: np.ndarray) -> dict[str, float]:
    """Loudness, silence and spectral extent of [samples] float32 at 16 kHz."""
    frames = waveform[:len(waveform) // FRAME_HOP * FRAME_HOP].reshape(-1, FRAME_HOP).astype(np.float64)
    level_db = 10 * np.log10((frames**2).mean(axis=1) + 1e-10)
    quiet = level_db < level_db.max() + QUIET_DB
    loud = np.flatnonzero(~quiet)
    power = (np.abs(np.fft.rfft(frames * np.hanning(FRAME_HOP), axis=1))**2).mean(axis=0) + 1e-12
    hz = np.fft.rfftfreq(FRAME_HOP, 1 / AUDIO_HZ)
    share = power / power.sum()
    bands = {f"band_{low}_{high}_db": 10 * np.log10(share[(hz >= low) & (hz < high)].sum() + 1e-12)
             for low, high in ((0, 200), (200, 1000), (1000, 3000), (3000, 5000), (5000, 7000), (7000, 8001))}
    return {
        "lead_silence_s": loud[0] * 0.02, "tail_silence_s": (len(frames) - 1 - loud[-1]) * 0.02,
        "quiet_share": quiet.mean(), "loudness_db": np.percentile(level_db, 80),
        "floor_db": np.percentile(level_db, 5), "peak_db": level_db.max(),
        "digital_silence": (level_db < -95).mean(), "roll_off_hz": hz[np.searchsorted(share.cumsum(), 0.95)], **bands,
    }


def _pose(clip: PreparedClip) -> dict[str, float]:
    """Where the main face is, how large, and which way it looks: medians over time."""
    track = clip.tracks[0]
    centre = (track.boxes_px[:, :2] + track.boxes_px[:, 2:]) / 2
    eyes, nose, mouth = track.landmarks_px[:, :2], track.landmarks_px[:, 2], track.landmarks_px[:, 3:]
    span = np.linalg.norm(eyes[:, 1] - eyes[:, 0], axis=1) + 1e-6
    across = (eyes[:, 1] - eyes[:, 0]) / span[:, None]
    down = mouth.mean(axis=1) - eyes.mean(axis=1)
    yaw = ((nose - eyes.mean(axis=1)) * across).sum(axis=1) / span
    pitch = np.linalg.norm(nose - eyes.mean(axis=1), axis=1) / (np.linalg.norm(down, axis=1) + 1e-6)
    return {
        "face_px": track.face_px, "face_share": track.face_px / clip.info.width_px,
        "face_x": np.median(centre[:, 0]) / clip.info.width_px,
        "face_y": np.median(centre[:, 1]) / clip.info.height_px,
        "yaw": np.median(yaw), "yaw_spread": yaw.std(), "pitch": np.median(pitch),
        "roll": np.median(across[:, 1]), "motion": np.median(np.abs(np.diff(centre, axis=0))) / span.mean()
        if len(centre) > 1 else 0.0, "face_seconds": len(centre) / 25, "faces": len(clip.tracks),
    }


def _border(clip: PreparedClip) -> dict[str, float]:
    """Colour, sharpness and blocking of the outermost ring of the aligned crops: hair, neck and room."""
    crops = clip.faces[clip.tracks[0].track_id]
    side = crops.shape[1]
    ring = np.ones((side, side), bool)
    edge = round(BORDER * side)
    ring[edge:-edge, edge:-edge] = False
    looked = []
    for row in np.linspace(0, len(crops) - 1, min(LOOKS, len(crops))).astype(int):
        crop = crops[row]
        grey = cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY).astype(np.float32)
        fine = grey - cv2.GaussianBlur(grey, (0, 0), 1.0)
        coarse = cv2.GaussianBlur(grey, (0, 0), 1.0) - cv2.GaussianBlur(grey, (0, 0), 4.0)
        looked.append([*crop[ring].mean(axis=0), crop[ring].std(), np.log(fine[ring].std() + 0.1),
                       np.log(coarse[ring].std() + 0.1), np.log((np.abs(fine[ring]) ** 4).mean() + 0.1)])
    names = ("red", "green", "blue", "contrast", "fine", "coarse", "peaks")
    return {f"border_{name}": value for name, value in zip(names, np.mean(looked, axis=0))}
