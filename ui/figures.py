"""Plotly figures of a result object. Pure functions; colours stand on light and dark ground alike."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from explain.answer import MODALITIES, detector_name, judged_windows, lanes, several_faces, unbroken
from ui import agreement, texts
from ui.result import part_name

PANEL_PX, AROUND_PX = 150, 110
# Okabe-Ito, at least 3:1 on the light and on the dark ground. Dashes, symbols and names repeat what colour says.
COLOURS = ("#0072B2", "#B5669A", "#009E73", "#D55E00", "#808080")
DASHES = ("solid", "dash", "dot", "dashdot", "longdash")
SYMBOLS = ("circle", "square", "diamond", "triangle-up", "cross")
GREY = "#808080"


@dataclass(frozen=True)
class Curve:
    """A detector's part along the middles of its windows, with a None where the line breaks."""

    detector: str
    modality: str
    part: str  # in words
    times_s: Sequence[float | None]
    scores: Sequence[float | None]


def curves(result: dict) -> list[Curve]:
    """Part after part, each detector's line."""
    found = []
    several = several_faces(result)
    for detector, answer in result.get("detectors", {}).items():
        for modality, track in lanes(result, answer):
            windows = judged_windows(answer, modality, track)
            if not windows:
                continue
            times: list[float | None] = []
            scores: list[float | None] = []
            for run in unbroken(windows):
                times += [*((a + b) / 2 for a, b, _ in run), None]
                scores += [*(s for _, _, s in run), None]
            found.append(Curve(detector, modality, part_name(modality, track, several), times[:-1], scores[:-1]))
    return sorted(found, key=lambda curve: MODALITIES.index(curve.modality))


def scores_figure(result: dict, cards: dict[str, dict]) -> go.Figure:
    """Score of each window over time: a panel per part, a line per detector. One alone is drawn as in the timeline,
    with the levels at which a span opens and closes."""
    drawn = curves(result)
    parts = list(dict.fromkeys(curve.part for curve in drawn))
    detectors = list(result.get("detectors", {}))
    figure = make_subplots(rows=max(len(parts), 1), cols=1, shared_xaxes=True, vertical_spacing=0.09,
                           subplot_titles=parts)
    named = set()
    for curve in drawn:
        name = detector_name(curve.detector, cards)
        alone = len(detectors) == 1
        kind = MODALITIES.index(curve.modality) if alone else detectors.index(curve.detector) % len(COLOURS)
        figure.add_trace(
            go.Scatter(
                x=curve.times_s,
                y=curve.scores,
                name=name,
                legendgroup=curve.detector,
                showlegend=curve.detector not in named,
                mode="lines+markers",
                line={"color": COLOURS[kind], "dash": DASHES[kind], "width": 2},
                marker={"size": 6, "symbol": SYMBOLS[kind]},
                hovertemplate="%{x:.1f} s: %{y:.2f}<extra>" + f"{name}: {curve.part}</extra>",
            ),
            row=parts.index(curve.part) + 1,
            col=1,
        )
        named.add(curve.detector)
    if len(detectors) == 1 and agreement.opening_level(result, detectors[0]) is not None:
        _add_levels(figure, result["detectors"][detectors[0]]["thresholds"])
    axis = {"gridcolor": "rgba(128,128,128,.25)", "zeroline": False, "fixedrange": True}
    figure.update_xaxes(**axis, range=[0, result.get("duration_s") or 1])
    figure.update_yaxes(**axis, range=[0, 1.05], tickvals=[0, 0.5, 1])
    figure.update_xaxes(title={"text": texts.FIGURE_X}, row=max(len(parts), 1), col=1)
    figure.update_annotations(font={"size": 12}, x=0, xanchor="left")
    figure.update_layout(
        height=AROUND_PX + PANEL_PX * max(len(parts), 1),
        margin={"l": 36, "r": 12, "t": 64, "b": 44},
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        font={"family": "system-ui, sans-serif", "size": 12, "color": GREY},
        legend={"orientation": "h", "yref": "container", "y": 1, "yanchor": "top", "x": 0},
        showlegend=len(detectors) > 1,
    )
    return figure


def _add_levels(figure: go.Figure, points: dict) -> None:
    for key, text, dash in (("segment_on", texts.FIGURE_ON, "dash"), ("segment_off", texts.FIGURE_OFF, "dot")):
        if key in points:
            figure.add_hline(y=points[key], line={"color": GREY, "width": 1, "dash": dash},
                             annotation={"text": text, "font": {"size": 11}, "x": 1, "xanchor": "right"})


def figure_alt(result: dict, cards: dict[str, dict]) -> str:
    """What the figure shows, in a sentence per line, for who cannot see it."""
    many = len(result.get("detectors", {})) > 1
    parts = []
    for curve in curves(result):
        known = [(s, t) for s, t in zip(curve.scores, curve.times_s) if s is not None]
        high, at = max(known)
        name = f"{detector_name(curve.detector, cards)}: {curve.part}" if many else curve.part
        parts.append(
            texts.FIGURE_ALT_PART.format(name=name, low=f"{min(known)[0]:.2f}", high=f"{high:.2f}", at=f"{at:.1f}")
        )
    duration = f"{result.get('duration_s') or 0:.1f}"
    return texts.FIGURE_ALT.format(duration=duration, parts=" ".join(parts) or texts.FIGURE_ALT_NONE)
