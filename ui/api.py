"""The typed endpoint /analyse: a file and detector ids in, the object of scan.py out."""

from __future__ import annotations

import uuid
from pathlib import Path

import gradio as gr

from ui import texts
from ui.holds import Holds
from ui.scoring import analyse, log_fault


def add_endpoint(cards: dict[str, dict], holds: Holds, **queueing) -> None:
    """Adds /analyse to the current gr.Blocks."""

    def analyse_endpoint(file: gr.FileData, detectors: list[str] | None = None) -> dict:
        """Analyse one clip of someone talking.

        Parameters:
            file: the clip, video or sound.
            detectors: ids of the detectors to run; none means all.
        Returns:
            The result object: verdict, score, segments, reasons, media facts. Scores are P(fake) in [0, 1].
        """
        path = str((file or {}).get("path") or "")
        # Arguments come from anybody: only what was uploaded with the call may be read.
        if not holds.owns(path):
            raise gr.Error(texts.FOREIGN_FILE, print_exception=False)
        call = uuid.uuid4().hex
        holds.claim(call, path)
        try:
            unknown = [str(d) for d in detectors or [] if d not in cards]
            if unknown:
                raise gr.Error(
                    texts.UNKNOWN_DETECTOR.format(names=", ".join(unknown), choices=", ".join(cards)),
                    print_exception=False,
                )
            return analyse(path, detectors)
        except gr.Error:
            raise
        except Exception as fault:
            log_fault(fault)
            raise gr.Error(texts.CRASHED.format(kind=Path(path).suffix or "?"), print_exception=False) from None
        finally:
            holds.release(call)

    gr.api(analyse_endpoint, api_name="analyse", **queueing)
