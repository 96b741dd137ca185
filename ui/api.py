"""The typed endpoints: /analyse, a file and detector ids in, the object of scan.py out; /explain; /list_detectors."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import gradio as gr

from detectors.checkpoint import CHECKPOINTS, checkpoint_hash
from explain import REPLACEMENTS
from explain.answer import detector_name
from ui import texts
from ui.explaining import check_question, tell
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
        with received(file, holds) as path:
            return analyse(path, chosen(detectors, cards))

    def explain_endpoint(
        file: gr.FileData,
        detector: str,
        start_s: float | None = None,
        end_s: float | None = None,
        moment_s: float | None = None,
        head: str | None = None,
        replacement: str = REPLACEMENTS[0],
    ) -> dict:
        """Explain why a detector says what it says about a span of a clip: which part counts, where and when.

        Parameters:
            file: the clip, video or sound, up to 100 MB and 10 minutes. It is deleted when the answer is made.
            detector: id of the detector, as list_detectors tells it.
            start_s: where the span begins, in seconds; together with end_s, and without moment_s.
            end_s: where the span ends, in seconds.
            moment_s: a moment in seconds, in place of a span: the window around it is explained.
            head: which of the detector's scores, "video", "audio", "sync" or "whole"; left out: whole.
            replacement: what stands in for parts that are taken away, "blur", "mean" or "neutral".
        Returns:
            Shapley shares of face, lips and sound; maps over time and place, positive for manipulation, in log-odds;
            and for each map whether it passed the test of faithfulness, with a sentence. Don't rely on one that failed.
        """
        with received(file, holds) as path:
            try:
                question = check_question(detector, start_s, end_s, moment_s, head, replacement, cards)
            except ValueError as refusal:
                raise gr.Error(str(refusal), print_exception=False) from None
            *_, told = tell(path, question, pictured=False)
            if told.refusal is not None:
                raise gr.Error(told.refusal, print_exception=False)
            return told.answer

    def list_detectors() -> list[dict]:
        """List the detectors that this app has.

        Returns:
            For each detector its id, name and paper, what it sees, which of its scores are calibrated ("video",
            "audio", "sync", "whole"), whether its weights are for demonstration only, the SHA-256 of its checkpoint,
            its thresholds, and how it was measured (null where it was not).
        """
        return described

    analyse_endpoint.__name__, explain_endpoint.__name__ = "analyse", "explain"  # MCP calls a tool by its function
    gr.api(analyse_endpoint, api_name="analyse", **queueing)
    gr.api(explain_endpoint, api_name="explain", **queueing)
    gr.api(list_detectors, api_name="list_detectors", queue=False)


@contextmanager
def received(file: object, holds: Holds) -> Iterator[str]:
    """The path of the file that came with a call; it is deleted afterwards, whatever happens.

    Raises: gr.Error in a sentence, where no file came and in place of any other fault.
    """
    path = uploaded_path(file)
    # Arguments come from anybody: only what was uploaded with the call may be read.
    if path is None or not holds.owns(path):
        raise gr.Error(texts.FOREIGN_FILE, print_exception=False)
    call = uuid.uuid4().hex
    holds.claim(call, path)
    try:
        yield path
    except gr.Error:
        raise
    except Exception as fault:
        log_fault(fault)
        raise gr.Error(texts.CRASHED.format(kind=Path(path).suffix or "?"), print_exception=False) from None
    finally:
        holds.release(call)


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
            "checkpoint": card.get("checkpoint") or _hash(name),
            "thresholds": card.get("thresholds"),
            "measured": {key: card["results"].get(key) for key in ("clips", "auc", "auc_95")}
            if card.get("results") else None,
        }
        for name, card in cards.items()
    ]


def _hash(name: str) -> str | None:
    path = CHECKPOINTS / f"{name}.safetensors"
    return checkpoint_hash(path) if path.is_file() else None
