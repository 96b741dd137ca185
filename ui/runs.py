"""What runs, by the ticket of the button that started it; and how events beside the queue are answered."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager

from ui.scoring import Run

LIGHT = {"queue": False, "show_progress": "hidden", "api_visibility": "private"}  # of an event that is answered at once


class Runs:
    """The runs of all sessions. Each press of a button draws a ticket, so that Stop also reaches a run that waits."""

    def __init__(self) -> None:
        self._running: dict[str, Run] = {}
        self._stopped: set[str] = set()

    def draw(self, session: str) -> str:
        return f"{session}:{uuid.uuid4().hex}"

    @contextmanager
    def under(self, ticket: str, run: Run) -> Iterator[None]:
        """`run` can be stopped by its ticket in the meantime, and is at the end."""
        self._running[ticket] = run
        if ticket in self._stopped:
            run.stop()
        try:
            yield
        finally:
            run.stop()  # also when the page was closed while a stage was running
            self._running.pop(ticket, None)
            self._stopped.discard(ticket)

    def stop(self, ticket: str) -> None:
        self._stopped.add(ticket)
        if run := self._running.get(ticket):
            run.stop()

    def leave(self, session: str) -> None:
        """Stops and forgets everything of a session."""
        mine = f"{session}:"
        for run in [r for t, r in self._running.items() if t.startswith(mine)]:
            run.stop()
        self._stopped.difference_update([t for t in self._stopped if t.startswith(mine)])
