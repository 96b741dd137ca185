"""The pictures and the sound of a file once more, for those who write them anew: a variant, an annotated copy.

Decoded in a process apart and within the process's default limits, as prepare() does.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from media import isolation
from media.crops import Picture
from media.limits import default_limits


def pictures(path: str | Path, start_s: float = 0.0,
             end_s: float = float("inf")) -> Iterator[tuple[float, Picture]]:
    """(seconds on the clip's clock, picture) of all pictures from start_s on and before end_s, in order of time.

    Raises: MediaError.
    """
    asked = {"path": str(path), "start_s": start_s, "end_s": end_s}
    for record in isolation.read("pictures", asked, default_limits()):
        with isolation.believed_nothing():
            shown = float(record.facts["time_s"]), Picture.received(record)
        yield shown


def sound(path: str | Path, rate_hz: int) -> Iterator[np.ndarray]:
    """Pieces [1 or 2 channels, samples] float32, one after another from the clip's time 0 on; gaps are silence.

    Raises: MediaError.
    """
    for record in isolation.read("sound", {"path": str(path), "rate_hz": rate_hz}, default_limits()):
        with isolation.believed_nothing():
            piece = record.arrays[0].view(np.float32).reshape(min(int(record.facts["channels"]), 2), -1)
        yield piece
