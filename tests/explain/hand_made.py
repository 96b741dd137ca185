"""Explanations written by hand, on the clip of tiny_detectors: what a picture of them must show is known."""

from __future__ import annotations

import numpy as np

from explain.explanation import Explanation
from explain.faithfulness import Faithfulness
from explain.layout import blocks, cells
from explain.maps import Map
from explain.regions import REGIONS
from explain.share import Share
from tests.explain.tiny_detectors import Spots, a_target

PASSED = Faithfulness(0.1, "blur", draws=20, drop=0.4, logit_drop=2.0, random_drop=0.05, random_logit_drop=0.2,
                      beats=1.0)
FAILED = Faithfulness(0.1, "blur", draws=20, drop=0.1, logit_drop=0.5, random_drop=0.1, random_logit_drop=0.5,
                      beats=0.4)


def readable(windows=1) -> Map:
    """+2 at the lips in the first half of each window, -1 in its lowest band in the second half."""
    layout = cells(a_target(Spots()))
    values = {name: np.zeros((windows, *group.shape)) for name, group in layout.groups.items()}
    values["picture"][:, 0, REGIONS.index("lips")] = 2.0
    values["sound"][:, 1, 0] = -1.0
    return Map("ablation", layout, values)


def narrow() -> Map:
    """+1 at the lips from 0.25 to 0.75 s of a window, which is all that was looked at."""
    layout = cells(a_target(Spots(), asked_s=(0.25, 0.75)))
    values = {name: np.zeros((1, *group.shape)) for name, group in layout.groups.items()}
    values["picture"][0, 0, REGIONS.index("lips")] = 1.0
    return Map("ablation", layout, values)


def fine(windows=1) -> Map:
    """+1 in the middle block of the second face frame, nothing elsewhere."""
    layout = blocks(a_target(Spots()))
    values = {name: np.zeros((windows, *group.shape)) for name, group in layout.groups.items()}
    values["face"][:, 1, 8 * 16 + 8] = 1.0
    return Map("integrated_gradients", layout, values)


def told(*maps: Map, starts_s=(1.0,), tests: Faithfulness | None = PASSED, track_id=0, **given) -> Explanation:
    start_s = np.array(starts_s)
    return Explanation(
        "tiny", "sha256:00", "video", track_id, start_s, start_s + 1.0, 0.9, "blur", "Removed parts are blurred.",
        share=Share({"face": 2.0, "lips": 1.0, "audio": -0.5}, 2.5, 0.0), maps={m.method: m for m in maps},
        faithfulness={} if tests is None else {m.method: tests for m in maps}, sentences=("The face speaks.",), **given)
