"""The paper that pictures of an explanation are drawn on: one time axis for all of them, and the colours.

Signed values run from blue over near-white to orange (Okabe and Ito's, told apart with any colour vision) in even
steps of CIELAB; a map that failed its test is grey and hatched. The ground is white on light and dark pages alike,
and letters are large enough for a picture that is scaled down to a phone's 390 px.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.font_manager import findfont
from matplotlib.patches import Rectangle
from PIL import ImageFont

WIDTH_PX = 1000
LEFT_PX, RIGHT_PX = 172, 970  # of the time axis
BREAK_PX = 22  # blank, for the time between windows that do not touch
FONT_PX = 24
TOP_PX, HEADLINE_PX, AXIS_PX, LEGEND_PX = 12, 40, 42, 52
INK = "#1a1a1a"
_SCALE_PX = 430, 610  # left and right of the legend's scale
_TICK_STEPS_S = (0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120)
_DPI = 72  # a point is a pixel


@dataclass(frozen=True)
class TimeSpan:
    """A stretch of a picture's time axis; left and right are fractions of the picture's width."""

    left: float
    right: float
    start_s: float
    end_s: float


@dataclass(frozen=True)
class Colours:
    """How values in [-1, 1] look."""

    scale: ListedColormap  # against .. nothing .. for manipulation
    strongest: float  # share of a photograph that the strongest value covers

    def over(self, photo: np.ndarray, values: np.ndarray) -> np.ndarray:
        """A photograph [H, W, 3] in grey, covered the more by a value's [H, W] colour the stronger it is. uint8."""
        grey = photo.astype(np.float32).mean(axis=-1, keepdims=True).repeat(3, axis=-1)
        signed = np.nan_to_num(np.clip(values, -1, 1))
        ends = self.scale(np.where(signed > 0, 1.0, 0.0))[..., :3] * 255
        cover = self.strongest * np.abs(signed)[..., None]
        return (grey * (1 - cover) + ends * cover).round().astype(np.uint8)


def _even_scale(low: str, middle: str, high: str) -> ListedColormap:
    points = np.array([[int(c[i:i + 2], 16) / 255 for i in (1, 3, 5)] for c in (low, middle, high)], np.float32)
    lab = cv2.cvtColor(points[None], cv2.COLOR_RGB2LAB)[0]
    at = np.linspace(0, 2, 257)
    steps = np.stack([np.interp(at, [0, 1, 2], lab[:, i]) for i in range(3)], axis=1).astype(np.float32)
    return ListedColormap(np.clip(cv2.cvtColor(steps[None], cv2.COLOR_LAB2RGB)[0], 0, 1))


BELIEVED = Colours(_even_scale("#0072B2", "#F7F7F7", "#D55E00"), 0.85)
GREYED = Colours(_even_scale("#D0D0D0", "#F7F7F7", "#585858"), 0.6)


class Sheet:
    """A figure of several rows on one time axis; a row has one panel for each run of windows."""

    def __init__(self, runs_s: Sequence[tuple[float, float]], rows_px: Sequence[int], gap_px: int,
                 headline: str = "") -> None:
        top_px = TOP_PX + (HEADLINE_PX if headline else 0)
        self.height_px = top_px + sum(rows_px) + gap_px * (len(rows_px) - 1) + AXIS_PX + LEGEND_PX
        self.figure = Figure(figsize=(WIDTH_PX / _DPI, self.height_px / _DPI), dpi=_DPI, facecolor="white")
        FigureCanvasAgg(self.figure)
        self.axis = time_axis(runs_s)
        self.figure.text(LEFT_PX / WIDTH_PX, 1 - top_px / 2 / self.height_px, headline, fontsize=FONT_PX, color=INK,
                         fontweight="bold", va="center")
        tops_px = top_px + np.concatenate([[0], np.cumsum([r + gap_px for r in rows_px])])
        self.rows = [[self._panel(span, top, high) for span in self.axis] for top, high in zip(tops_px, rows_px)]

    def _panel(self, span: TimeSpan, top_px: float, high_px: float) -> Axes:
        bottom = 1 - (top_px + high_px) / self.height_px
        axes = self.figure.add_axes((span.left, bottom, span.right - span.left, high_px / self.height_px))
        axes.set_xlim(span.start_s, span.end_s)
        axes.set_xticks([])
        axes.set_yticks([])
        axes.tick_params(labelsize=FONT_PX, labelcolor=INK, color=INK, length=7, width=1.5, pad=4)
        return axes

    def name_row(self, row: int, name: str) -> None:
        self.rows[row][0].set_ylabel(name, fontsize=FONT_PX, color=INK, rotation=0, ha="right", va="center",
                                     labelpad=12)

    def tick_seconds(self) -> None:
        """A round step for all runs; the unit stands on the left."""
        for axes, span in zip(self.rows[-1], self.axis):
            room_px = (span.right - span.left) * WIDTH_PX
            step = next((s for s in _TICK_STEPS_S if (span.end_s - span.start_s) / s * 70 <= room_px), 300)
            first = np.ceil(span.start_s / step - 1e-6) * step + 0.0  # never −0, which would be written so
            ticks = np.arange(first, span.end_s + 1e-6, step)
            axes.set_xticks(ticks, [f"{t:.{1 if step < 1 else 0}f}" for t in ticks])
            axes.tick_params(axis="x", bottom=True)
        self.unit()

    def unit(self) -> None:
        self.figure.text((LEFT_PX - 42) / WIDTH_PX, (LEGEND_PX + AXIS_PX / 2 - 2) / self.height_px, "seconds",
                         fontsize=FONT_PX, color=INK, ha="right", va="center")

    def legend(self, colours: Colours, low: str, high: str) -> None:
        """The scale, with words at either end."""
        middle = (LEGEND_PX / 2 - 4) / self.height_px
        strip = self.figure.add_axes((_SCALE_PX[0] / WIDTH_PX, middle - 10 / self.height_px,
                                      (_SCALE_PX[1] - _SCALE_PX[0]) / WIDTH_PX, 20 / self.height_px))
        strip.imshow(np.linspace(0, 1, 256)[None], cmap=colours.scale, aspect="auto", vmin=0, vmax=1)
        strip.set_xticks([])
        strip.set_yticks([])
        for x_px, text, side in ((_SCALE_PX[0] - 12, low, "right"), (_SCALE_PX[1] + 12, high, "left")):
            self.figure.text(x_px / WIDTH_PX, middle, text, fontsize=FONT_PX, color=INK, ha=side, va="center")

    def hatch(self, row: int) -> None:
        for axes in self.rows[row]:
            axes.add_patch(Rectangle((0, 0), 1, 1, transform=axes.transAxes, fill=False, hatch="/", linewidth=0,
                                     edgecolor="#00000059"))

    def png(self) -> bytes:
        held = io.BytesIO()
        self.figure.savefig(held, format="png", dpi=_DPI)
        return held.getvalue()


def time_axis(runs_s: Sequence[tuple[float, float]]) -> tuple[TimeSpan, ...]:
    """The runs side by side, as wide as they are long, with a blank between them."""
    room_px = RIGHT_PX - LEFT_PX - BREAK_PX * (len(runs_s) - 1)
    per_s = room_px / sum(end - start for start, end in runs_s)
    spans, at_px = [], float(LEFT_PX)
    for start, end in runs_s:
        wide_px = (end - start) * per_s
        spans.append(TimeSpan(at_px / WIDTH_PX, (at_px + wide_px) / WIDTH_PX, start, end))
        at_px += wide_px + BREAK_PX
    return tuple(spans)


def hatched(picture: np.ndarray) -> np.ndarray:
    """A picture [H, W, 3] under thin dark diagonals."""
    y, x = np.indices(picture.shape[:2])
    return np.where(((x + y) % 36 < 2)[..., None], picture // 2, picture)


@lru_cache(maxsize=8)
def letters(size_px: int) -> ImageFont.FreeTypeFont:
    """The sheets' own type, for pictures that move."""
    return ImageFont.truetype(findfont("DejaVu Sans"), size_px)
