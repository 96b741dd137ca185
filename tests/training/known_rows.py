"""Rows as training.evaluate measures them, with what a test does not ask about filled in."""

from __future__ import annotations

from training.results import Row


def row(file: str, score: float | None, fake: float | None, **changes) -> Row:
    """A clip of which the picture alone is known, and judged."""
    usual = {"detector": "d", "family": "swap" if fake else "real", "method": "", "source": "s", "identity": file,
             "pair": "", "audio_fake": None, "sync_fake": None, "spans": (), "crf": None,
             "facts": {"fps": 25.0, "bits_per_s": 1e5}, "duration_s": 10.0, "video": score, "score": score,
             "verdict": "CANNOT_EVALUATE" if score is None else "MANIPULATED" if score >= 0.8 else "NO_SIGNS"}
    return Row(**{**usual, "file": file, "video_fake": fake, **changes})
