"""The mouth at a chosen moment, large and over and over, beside the player: to look for yourself. No finding."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import gradio as gr
import numpy as np
from PIL import Image

from media import GRID_HZ, MediaError, PreparedClip, prepare
from ui import texts
from ui.markup import escape

LOOP_S = 2.0
QUALITY = 80

# "tt-moment" is sent by whatever moves the player (ui/timeline.py). The still picture is there for who wants no motion.
JS = """
document.addEventListener('tt-moment', (event) => {
  if (element.querySelector('.tt-mouth')) trigger('moment', event.detail);
});
element.addEventListener('click', (event) => {
  const box = event.target.closest('button') && element.querySelector('.tt-mouth');
  if (!box) return;
  const moves = getComputedStyle(box.querySelector('.tt-moving')).display !== 'none';
  box.classList.toggle('tt-paused', moves);
  box.classList.toggle('tt-playing', !moves);
});
"""


@dataclass(frozen=True)
class Loop:
    """An animated WebP of the lips as recorded, and its first picture."""

    moving: bytes
    still: bytes
    start_s: float
    end_s: float


def lips_loop(clip: PreparedClip, moment_s: float, track_id: int | None = None) -> Loop | None:
    """LOOP_S of the lips from a moment on, at the speed of the clip and the size of the crops; nearer to its end, the
    last LOOP_S. track_id: whose lips; None: of whom most is to be seen. None where there is no face."""
    start_s = min(max(moment_s, 0.0), max(clip.duration_s - LOOP_S, 0.0))
    found = []
    for track in clip.tracks:
        if track_id in (None, track.track_id):
            inside = (track.times_s >= start_s - 1e-6) & (track.times_s < start_s + LOOP_S - 1e-6)
            found.append((int(inside.sum()), track, inside))
    count, track, inside = max(found, key=lambda item: item[0], default=(0, None, None))
    if not count:
        return None
    times_s, crops = track.times_s[inside], clip.lips[track.track_id][inside]
    frame_s = 1 / GRID_HZ
    return Loop(_webp(crops, frame_s), _webp(crops[:1], frame_s), float(times_s[0]), float(times_s[-1]) + frame_s)


def _webp(crops: Sequence[np.ndarray], frame_s: float) -> bytes:
    first, *rest = (Image.fromarray(crop) for crop in crops)
    held = io.BytesIO()
    first.save(held, format="WEBP", save_all=bool(rest), append_images=rest, loop=0, duration=round(frame_s * 1000),
               quality=QUALITY, method=2)
    return held.getvalue()


def waiting_html(result: dict) -> str:
    """Before a moment is chosen; "" for a clip without a face, and for a still picture."""
    media = result.get("media") or {}
    if result.get("error") or not media.get("faces") or media.get("still"):
        return ""
    return f'<div class="tt-mouth tt-card"><p class="tt-small">{escape(texts.MOUTH_WAITING)}</p></div>'


def loop_html(loop: Loop | None) -> str:
    if loop is None:
        return f'<div class="tt-mouth tt-card"><p class="tt-small" role="status">{escape(texts.MOUTH_NONE)}</p></div>'
    span = {"start": f"{loop.start_s:.1f}", "end": f"{loop.end_s:.1f}"}
    kinds = (("moving", loop.moving, texts.MOUTH_ALT), ("still", loop.still, texts.MOUTH_STILL_ALT))
    pictures = "".join(
        f'<img class="tt-{kind}" alt="{escape(words.format(**span))}" '
        f'src="data:image/webp;base64,{base64.b64encode(data).decode()}">'
        for kind, data, words in kinds
    )
    return (
        f'<figure class="tt-mouth tt-card">{pictures}<figcaption><p class="tt-small" role="status">'
        f'<strong>{escape(texts.MOUTH_CAPTION.format(**span))}</strong> {escape(texts.MOUTH_HINT)}</p>'
        f'<button type="button" class="tt-jump">{escape(texts.MOUTH_BUTTON)}</button></figcaption></figure>'
    )


class MouthPanel:
    """Made inside the current gr.Blocks. `components` take what offered() gives for each new answer."""

    def __init__(self) -> None:
        self.subject = gr.State(None)  # path of the clip that the answer on the page is about
        self.shown = gr.HTML("", js_on_load=JS, elem_id="mouth")
        self.components = [self.subject, self.shown]
        self.shown.moment(_answer_moment, self.subject, self.shown, show_progress="hidden", api_visibility="private",
                          trigger_mode="always_last", concurrency_id="mouth", concurrency_limit=2)


def offered(result: dict | None, path: str = "") -> list:
    """Values of MouthPanel.components for a new answer. None: no answer yet."""
    return [path, waiting_html(result)] if result else [None, ""]


def _answer_moment(path: str | None, event: gr.EventData) -> str:
    time_s, track = getattr(event, "time", None), getattr(event, "track", None)
    if not path or not Path(path).is_file() or not isinstance(time_s, (int, float)) or not math.isfinite(time_s):
        return loop_html(None)
    try:
        clip = prepare(path)  # kept from the analysis
    except MediaError:
        return loop_html(None)
    asked = int(track) if str(track).isdigit() else None
    return loop_html(lips_loop(clip, float(time_s), asked))
