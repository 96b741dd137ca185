"""What a run tells while it goes: a CSV of step, name, value, and a page that draws it."""

from __future__ import annotations

import csv
import sys
import time
from collections import defaultdict
from pathlib import Path

import plotly.graph_objects as go
from plotly.subplots import make_subplots

PANELS = {"loss": "losses", "dev": "AUC on held-out sources", "pace": "pace"}  # of the page, from top to bottom
_PACE = ("samples_per_s", "data_wait_share", "learning_rate")


class RunLog:
    """Appended to and flushed, so that a run can be watched."""

    def __init__(self, path: Path, resume: bool) -> None:
        self._path, self._begin = path, time.perf_counter()
        self._file = open(path, "a" if resume else "w", newline="", encoding="utf-8")  # noqa: SIM115 (open all run)
        self._writer = csv.writer(self._file)

    def write(self, step: int, **values: float) -> None:
        self._writer.writerows([step, name, f"{value:.5g}"] for name, value in values.items())
        self._file.flush()
        line = "  ".join(f"{name} {value:.4g}" for name, value in values.items())
        print(f"{step:6d}  {time.perf_counter() - self._begin:7.0f} s  {line}", file=sys.stderr, flush=True)

    def close(self) -> None:
        """Draws the page beside the CSV, under the same name."""
        self._file.close()
        draw_log(self._path).write_html(self._path.with_suffix(".html"))


def read_log(path: Path) -> dict[str, dict[int, float]]:
    """Name -> step -> value. Of a step that was logged twice, before and after a resumption, the later word counts."""
    curves: dict[str, dict[int, float]] = defaultdict(dict)
    with open(path, newline="", encoding="utf-8") as file:
        for step, name, value in csv.reader(file):
            curves[name][int(step)] = float(value)
    return dict(curves)


def draw_log(path: Path) -> go.Figure:
    """Losses, AUC and pace of a run over its steps."""
    figure = make_subplots(rows=len(PANELS), cols=1, shared_xaxes=True, subplot_titles=list(PANELS.values()))
    for name, curve in read_log(path).items():
        panel = "pace" if name in _PACE else "dev" if name.startswith("dev_") else "loss"
        figure.add_trace(go.Scatter(x=list(curve), y=list(curve.values()), name=name, mode="lines+markers"),
                         row=list(PANELS).index(panel) + 1, col=1)
    figure.update_xaxes(title_text="step", row=len(PANELS))
    return figure.update_layout(height=900, title=str(path.parent.name))
