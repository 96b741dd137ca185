"""The core call as the app makes it: in a thread, stage by stage, stoppable, on a lent GPU where there is one."""

from __future__ import annotations

import logging
import math
import os
import queue
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Sequence

import detectors as core
from detectors.analysis import score_clip
from detectors.windows import window_starts
from media import PreparedClip
from ui import texts

try:
    import spaces
except ImportError:
    spaces = None

Stage = Callable[[str, float], None]
log = logging.getLogger("telltale")

# Of a lent GPU: seconds that are asked for. Less gives a better place in the queue; what runs over is cut off.
GRANT_S = 10  # to move weights and start CUDA
GRANT_WINDOW_S = 0.1  # a window (40 GFLOP at most) of one face by one detector: an estimate, on the safe side
LONGEST_GRANT_S = 120


class Stopped(BaseException):
    """The person pressed Stop. Not an Exception: no handler on the way may take it for a fault of the clip."""


def on_lent_gpu() -> bool:
    """True on a ZeroGPU Space, where scoring runs in a forked worker that is lent a GPU for seconds."""
    return spaces is not None and os.environ.get("SPACES_ZERO_GPU") is not None


def grant_s(clip: PreparedClip, detectors: Sequence[str], device: str) -> int:
    """Seconds of a lent GPU that scoring this clip may take: they grow with the windows, faces and detectors."""
    cards = core.available()
    specs = [core.InputSpec(**cards[name]["input_spec"]) for name in detectors]
    windows = sum(len(window_starts(clip.duration_s, spec)) for spec in specs)
    return min(GRANT_S + math.ceil(GRANT_WINDOW_S * windows * max(len(clip.tracks), 1)), LONGEST_GRANT_S)


def _granted(clip: PreparedClip, detectors: Sequence[str], device: str) -> list[core.Analysis]:
    """What the forked worker runs: all detectors in one grant. The clip goes in decoded; plain values and NumPy arrays
    come out, no tensor of the card and no callback."""
    return score_clip(clip, detectors, device)


if spaces is not None:
    _granted = spaces.GPU(_granted, duration=grant_s)


def _score_lent(clip: PreparedClip, detectors: Sequence[str], device: str,
                stage: Callable[[str], None]) -> list[core.Analysis]:
    stage(texts.GPU)
    return _granted(clip, detectors, device)


def load_ahead(names: Sequence[str]) -> None:
    """On a lent GPU, weights that are moved to the card before the first fork wait there; loaded later, each worker
    would spend its grant on them. Elsewhere they are loaded when they are first needed."""
    if on_lent_gpu():
        for name in names:
            core.load(name)


def analyse(path: str, detectors: Sequence[str] | None, device: str = "auto", on_stage: Stage | None = None) -> dict:
    """The result object of one clip. An empty choice of detectors means all. Decoding, faces and the file's traces are
    the processor's work everywhere; on a lent GPU scoring alone runs under the grant."""
    elsewhere = {"score": _score_lent} if on_lent_gpu() else {}
    return core.analyse(path, detectors=list(detectors) if detectors else None, device=device, on_stage=on_stage,
                        **elsewhere)


def log_fault(fault: Exception) -> None:
    """Kind and place only: the message of an exception often holds the file's name, and no log may."""
    frame = traceback.extract_tb(fault.__traceback__)[-1]
    log.error("failed: %s in %s, line %d", type(fault).__name__, frame.filename, frame.lineno or 0)


class Run:
    """One analysis in a thread of its own. Iterate over `stages()`; `result` holds the answer afterwards."""

    def __init__(self, path: str, detectors: Sequence[str] | None, device: str):
        self.done: list[tuple[str, float]] = []
        self.now: str | None = None
        self.result: dict | None = None
        self.fault: Exception | None = None
        self._began = self._stage_began = time.monotonic()
        self._events: queue.SimpleQueue[tuple[str, float] | None] = queue.SimpleQueue()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._work, args=(path, detectors, device), daemon=True)

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._began

    @property
    def stopped(self) -> bool:
        return self._stop.is_set()

    def stop(self) -> None:
        """The thread ends at its next stage; the caller need not wait for it."""
        self._stop.set()
        self._events.put(None)

    def stages(self) -> Iterator[None]:
        """Runs the analysis and yields whenever a stage begins. Nothing, when it was stopped before."""
        if self.stopped:
            return
        self._thread.start()
        while (event := self._events.get()) is not None:
            self._close_stage(event[1])
            self.now = event[0]
            yield
        self._close_stage(time.monotonic())
        self.now = None
        if self.stopped:
            self.result = None  # it may have come while Stop was on its way; the person has been told otherwise

    def _close_stage(self, at: float) -> None:
        if self.now is not None:
            self.done.append((self.now, at - self._stage_began))
        self._stage_began = at

    def _on_stage(self, text: str, _seconds: float) -> None:
        if self.stopped:
            raise Stopped
        self._events.put((text, time.monotonic()))

    def _answer(self, path: str, detectors: Sequence[str] | None, device: str) -> dict:
        return analyse(path, detectors, device, self._on_stage)

    def _work(self, path: str, detectors: Sequence[str] | None, device: str) -> None:
        try:
            self.result = self._answer(path, detectors, device)
        except Stopped:
            pass
        except Exception as fault:  # the page has to say something, and go on working
            log_fault(fault)
            self.fault = fault
        finally:
            self._events.put(None)
