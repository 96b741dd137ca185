"""Plotly figures of a result object. Pure functions; colours stand on light and dark ground alike."""

from __future__ import annotations

import plotly.graph_objects as go

from explain.answer import detector_name, judged_windows, lanes, several_faces, unbroken
from ui import texts
from ui.result import part_name

HEIGHT_PX = 300
# Okabe-Ito, at least 3:1 on the light and on the dark ground. Dashes and names repeat what colour says.
COLOURS = {"video": "#0072B2", "audio": "#B5669A", "sync": "#009E73"}
DASHES = {"video": "solid", "audio": "dash", "sync": "dot"}
GREY = "#808080"


Curve = tuple[str, str, list[float | None], list[float | None]]


def curves(result: dict, cards: dict[str, dict]) -> list[Curve]:
    """(name, modality, times, scores) of each line: a detector's part along the middles of its windows, with a None
    where the line breaks."""
    found = []
    several = several_faces(result)
    many = len(result.get("detectors", {})) > 1
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
            name = part_name(modality, track, several)
            if many:
                name = f"{detector_name(detector, cards)}: {name}"
            found.append((name, modality, times[:-1], scores[:-1]))
    return found


def scores_figure(result: dict, cards: dict[str, dict]) -> go.Figure:
    """Score of each window over time, with the levels at which a span opens and closes."""
    figure = go.Figure()
    for name, modality, times, scores in curves(result, cards):
        figure.add_trace(
            go.Scatter(
                x=times,
                y=scores,
                name=name,
                mode="lines+markers",
                line={"color": COLOURS[modality], "dash": DASHES[modality], "width": 2},
                marker={"size": 6},
                hovertemplate="%{x:.1f} s: %{y:.2f}<extra>" + name + "</extra>",
            )
        )
    points = [d.get("thresholds") for d in result.get("detectors", {}).values() if d.get("thresholds")]
    if points and all(p == points[0] for p in points):
        for key, text, dash in (
            ("segment_on", texts.FIGURE_ON, "dash"),
            ("segment_off", texts.FIGURE_OFF, "dot"),
        ):
            figure.add_hline(
                y=points[0][key],
                line={"color": GREY, "width": 1, "dash": dash},
                annotation={"text": text, "font": {"size": 11}},
                annotation_position="top right",
            )
    axis = {"gridcolor": "rgba(128,128,128,.25)", "zeroline": False, "fixedrange": True}
    figure.update_layout(
        height=HEIGHT_PX,
        margin={"l": 48, "r": 12, "t": 12, "b": 40},
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        font={"family": "system-ui, sans-serif", "size": 12, "color": GREY},
        xaxis={**axis, "title": {"text": texts.FIGURE_X}, "range": [0, result.get("duration_s") or 1]},
        yaxis={**axis, "title": {"text": texts.FIGURE_Y}, "range": [0, 1.02]},
        legend={"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0},
        showlegend=True,
    )
    return figure


def figure_alt(result: dict, cards: dict[str, dict]) -> str:
    """What the figure shows, in a sentence per line, for who cannot see it."""
    parts = []
    for name, _, times, scores in curves(result, cards):
        known = [(s, t) for s, t in zip(scores, times) if s is not None]
        high, at = max(known)
        parts.append(
            texts.FIGURE_ALT_PART.format(name=name, low=f"{min(known)[0]:.2f}", high=f"{high:.2f}", at=f"{at:.1f}")
        )
    duration = f"{result.get('duration_s') or 0:.1f}"
    return texts.FIGURE_ALT.format(duration=duration, parts=" ".join(parts) or texts.FIGURE_ALT_NONE)
