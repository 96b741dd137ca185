"""Scoring on another worker: clips are cut to windows where they were prepared, the networks run where a GPU is.

What travels is windows and scores, never a clip. Everything else of an analysis stays the same code.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from detectors.analysis import analyse_clip
from detectors.contract import Analysis, Detector, Windows, WindowScores
from detectors.recall import remembering
from detectors.windows import in_memory
from media import PreparedClip

if TYPE_CHECKING:
    from ray.actor import ActorHandle

BATCH = 64  # windows in one forward pass


class Scorer:
    """What runs there, as an actor of Ray."""

    def __init__(self, device: str):
        self._device = device

    def score(self, name: str, windows: Windows) -> WindowScores:
        from detectors import load  # the registry imports this module's neighbours

        with remembering():
            return load(name, self._device).score(windows, batch_size=BATCH)


class RemoteDetector:
    """Stands in for a detector of the project here: the same id, spec and card, but a Scorer does the work."""

    def __init__(self, detector: Detector, scorer: ActorHandle):
        self.id, self.spec, self.card = detector.id, detector.spec, detector.card
        self._scorer = scorer

    def score(self, windows: Windows) -> WindowScores:
        import ray

        return ray.get(self._scorer.score.remote(self.id, in_memory(windows)))


def score_remotely(clip: PreparedClip, detectors: Sequence[str], device: str, stage: Callable[[str], None], *,
                   scorer: ActorHandle) -> list[Analysis]:
    """What detectors.analysis.score_clip tells, from a Scorer. Detectors from outside run here, on the device named."""
    from detectors import load  # the registry imports this module's neighbours

    analyses = []
    for detector in [load(name, device) for name in detectors]:
        stage(f"Scoring with {detector.card['name']}")
        analyses.append(analyse_clip(clip, detector if "added" in detector.card else RemoteDetector(detector, scorer)))
    return analyses
