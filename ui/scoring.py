"""The core call as the app makes it: in a thread, stage by stage, stoppable, on a lent GPU where there is one."""

from __future__ import annotations

import logging
import os
import queue
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Sequence

import detectors as core
from ui import texts

try:
    import spaces
except ImportError:
    spaces = None

Stage = Callable[[str, float], None]
log = logging.getLogger("telltale")


class Stopped(BaseException):
    """The person pressed Stop. Not an Exception: no handler on the way may take it for a fault of the clip."""


def on_lent_gpu() -> bool:
    """True on a ZeroGPU Space, where scoring runs in a forked worker that is lent a GPU for seconds."""
    return spaces is not None and os.environ.get("SPACES_ZERO_GPU") is not None


def _granted(path: str, detectors: list[str] | None, device: str) -> dict:
    """What the forked worker runs. Only plain values go in and out, so no stage callback."""
    return core.analyse(path, detectors=detectors, device=device)


if spaces is not None:
    _granted = spaces.GPU(_granted)


def analyse(path: str, detectors: Sequence[str] | None, device: str = "auto", on_stage: Stage | None = None) -> dict:
    """The result object of one clip. An empty choice of detectors means all."""
    chosen = list(detectors) if detectors else None
    if on_lent_gpu():
        if on_stage:
            on_stage(texts.GPU, 0.0)
        return _granted(path, chosen, device)
    return core.analyse(path, detectors=chosen, device=device, on_stage=on_stage)


def log_fault(fault: Exception) -> None:
    """Kind and place only: the message of an exception often holds the file's name, and no log may."""
    frame = traceback.extract_tb(fault.__traceback__)[-1]
    log.error("analysis failed: %s in %s, line %d", type(fault).__name__, frame.filename, frame.lineno or 0)


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

    def _work(self, path: str, detectors: Sequence[str] | None, device: str) -> None:
        try:
            self.result = analyse(path, detectors, device, self._on_stage)
        except Stopped:
            pass
        except Exception as fault:  # the page has to say something, and go on working
            log_fault(fault)
            self.fault = fault
        finally:
            self._events.put(None)
