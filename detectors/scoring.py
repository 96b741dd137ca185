"""Windows to tensors, logits to scores: what the detectors have in common around their networks."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor

from detectors.contract import Inputs, Windows
from detectors.heap import tidied


def calibrated(card: dict, logits: dict[str, Tensor]) -> dict[str, Tensor]:
    """Head -> scale * logit + bias of card["calibration"][head] (Platt); unchanged where the card has none."""
    fits = card.get("calibration", {})
    return {head: fits[head]["scale"] * logit + fits[head]["bias"] if head in fits else logit
            for head, logit in logits.items()}


def to_inputs(windows: Windows, rows: np.ndarray, device: torch.device) -> Inputs:
    """These windows as one batch. All of them must have the same modalities: row 0 tells which."""
    faces = audio = None
    lips = face_seen = lips_seen = None
    if windows.has_face[rows[0]]:
        faces = _pictures(windows.faces[rows], device)
        if windows.face_seen is not None:
            face_seen = torch.from_numpy(windows.face_seen[rows]).to(device)
        if windows.lips is not None:
            lips = _pictures(windows.lips[rows], device)
            lips_seen = torch.from_numpy(windows.lips_seen[rows]).to(device)
    if windows.has_audio[rows[0]]:
        audio = torch.from_numpy(windows.audio[rows]).float().to(device)
    length_s = torch.from_numpy(windows.end_s[rows] - windows.start_s[rows]).float().to(device)
    heard_s = None if windows.heard_s is None else torch.from_numpy(windows.heard_s[rows]).float().to(device)
    return Inputs(faces, lips, audio, face_seen, lips_seen, length_s, heard_s)


def _pictures(crops: np.ndarray, device: torch.device) -> Tensor:
    """uint8 [n, T, H, W, 3] -> float (n, T, 3, H, W) in [0, 1]."""
    return torch.from_numpy(crops).to(device).permute(0, 1, 4, 2, 3).float() / 255


def batches(windows: Windows, batch_size: int) -> Iterator[np.ndarray]:
    """Rows of windows that have the same modalities, at most batch_size at a time; windows without any are left out."""
    for face, sound in ((True, True), (True, False), (False, True)):
        group = np.flatnonzero((windows.has_face == face) & (windows.has_audio == sound))
        parts = (rows for rows in np.split(group, range(batch_size, len(group), batch_size)) if len(rows))
        yield from tidied(parts, lambda rows: windows.end_s[rows[-1]])


@torch.inference_mode()
def score_windows(windows: Windows, logits: Callable[[Inputs], dict[str, Tensor]], heads: tuple[str, ...],
                  batch_size: int, device: torch.device) -> dict[str, np.ndarray]:
    """Head -> P(fake) [n] of each window; NaN where a window lacks what the head needs. logits gives [rows] a head.

    The answer does not depend on the batch size.
    """
    scores = {head: np.full(len(windows.start_s), np.nan) for head in heads}
    for rows in batches(windows, batch_size):
        for head, logit in logits(to_inputs(windows, rows, device)).items():
            scores[head][rows] = logit.double().sigmoid().cpu().numpy()
    return scores
