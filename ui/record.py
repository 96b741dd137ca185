"""How often the answer of all detectors together was right and wrong, as the card beside the checkpoints has it."""

from __future__ import annotations

import json
import math
from collections.abc import Collection
from pathlib import Path

from detectors.checkpoint import CHECKPOINTS
from detectors.consensus import FITS, fit_for
from ui import texts


def read_record(folder: Path = CHECKPOINTS) -> dict:
    """The card of all detectors together: "of" (their ids), "fit", "results". Empty where there is none, or where one
    of them has other weights by now, of which nothing was measured."""
    path = folder / FITS
    card = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    of, results = tuple(card.get("weights") or ()), card.get("results")
    fit = fit_for(of, folder) if isinstance(results, dict) else None
    return {} if fit is None else {"of": of, "fit": fit, "results": results}


def record_words(record: dict, of: Collection[str]) -> str:
    """The record in a sentence for an answer that these detectors gave; "" where it is not known. A choice of them has
    no record of its own, which is said."""
    results = record.get("results") or {}
    shares = {
        "strong": (results.get("genuine_called") or {}).get("MANIPULATED"),
        "some": (results.get("genuine_called") or {}).get("SUSPICIOUS"),
        "missed": (results.get("fake_called") or {}).get("NO_SIGNS"),
    }
    if not all(isinstance(share, (int, float)) and math.isfinite(share) for share in shares.values()):
        return ""
    told = texts.RECORD.format(**{name: f"{share * 100:.0f}" for name, share in shares.items()})
    return told if set(record["of"]) == set(of) else f"{texts.RECORD_OF_ALL} {told}"
