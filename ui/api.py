"""The typed endpoints: /analyse, a file and detector ids in, the object of scan.py out; /list_detectors."""

from __future__ import annotations

import uuid
from pathlib import Path

import gradio as gr

from detectors.checkpoint import CHECKPOINTS, checkpoint_hash
from explain.answer import detector_name
from ui import texts
from ui.holds import Holds
from ui.scoring import analyse, log_fault

NO_LIST = "detectors is a list of ids, or left out for all of them. Choose from: {choices}."


def add_endpoints(cards: dict[str, dict], holds: Holds, **queueing) -> None:
    """Adds the endpoints to the current gr.Blocks. cards: detectors.available()."""
    described = describe(cards)

    def analyse_endpoint(file: gr.FileData, detectors: list[str] | None = None) -> dict:
        """Look for signs of manipulation in one clip of someone talking.

        Parameters:
            file: the clip, video or sound, up to 100 MB and 10 minutes. It is deleted when the answer is made.
            detectors: ids of the detectors to run, as list_detectors tells them; left out or empty means all.
        Returns:
            The object that scan.py prints: verdict, score, reasons, each detector's scores, windows and marked spans,
            facts and traces of the file. Scores are estimated probabilities of manipulation in [0, 1]; null means not
            judged. A file that cannot be read is an answer with an error in words.
        """
        path = uploaded_path(file)
        # Arguments come from anybody: only what was uploaded with the call may be read.
        if path is None or not holds.owns(path):
            raise gr.Error(texts.FOREIGN_FILE, print_exception=False)
        call = uuid.uuid4().hex
        holds.claim(call, path)
        try:
            return analyse(path, chosen(detectors, cards))
        except gr.Error:
            raise
        except Exception as fault:
            log_fault(fault)
            raise gr.Error(texts.CRASHED.format(kind=Path(path).suffix or "?"), print_exception=False) from None
        finally:
            holds.release(call)

    def list_detectors() -> list[dict]:
        """List the detectors that this app has.

        Returns:
            For each detector its id, name and paper, what it sees, which of its scores are calibrated ("video",
            "audio", "sync", "whole"), whether its weights are for demonstration only, the SHA-256 of its checkpoint,
            its thresholds, and how it was measured (null where it was not).
        """
        return described

    gr.api(analyse_endpoint, api_name="analyse", **queueing)
    gr.api(list_detectors, api_name="list_detectors", queue=False)


def uploaded_path(file: object) -> str | None:
    """The path inside a FileData object; None for anything else. Whether it may be read, Holds.owns says."""
    path = file.get("path") if isinstance(file, dict) else None
    return path if isinstance(path, str) and path and "\0" not in path else None


def chosen(detectors: object, cards: dict[str, dict]) -> list[str]:
    """The detectors to run. Nothing chosen means all of them.

    Raises: gr.Error in a sentence with the choices, for what is no list of known ids.
    """
    choices = ", ".join(cards)
    if detectors is None:
        return list(cards)
    if not isinstance(detectors, list) or not all(isinstance(d, str) for d in detectors):
        raise gr.Error(NO_LIST.format(choices=choices), print_exception=False)
    if unknown := [d[:60] for d in detectors if d not in cards]:
        told = texts.UNKNOWN_DETECTOR.format(names=", ".join(unknown[:5]), choices=choices)
        raise gr.Error(told, print_exception=False)
    return list(dict.fromkeys(detectors)) or list(cards)


def describe(cards: dict[str, dict]) -> list[dict]:
    """What /list_detectors answers, from the cards."""
    return [
        {
            "id": name,
            "name": detector_name(name, cards),
            "paper": card.get("paper"),
            "sees": (card.get("input_spec") or {}).get("modalities") or [],
            "calibrated": sorted(card.get("calibration") or {}),
            "demonstration_weights": bool(card.get("provisional")),
            "checkpoint": _hash(name),
            "thresholds": card.get("thresholds"),
            "measured": {key: card["results"].get(key) for key in ("clips", "auc", "auc_95")}
            if card.get("results") else None,
        }
        for name, card in cards.items()
    ]


def _hash(name: str) -> str | None:
    path = CHECKPOINTS / f"{name}.safetensors"
    return checkpoint_hash(path) if path.is_file() else None
