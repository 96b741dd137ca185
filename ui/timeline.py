"""The timeline: a lane per detector and part over the clip's seconds. Marked spans are real buttons.

Everything is positioned in per cent of the clip, so it needs no script to draw; the script moves the player and the
cursor, and zooms: it widens every lane alike and slides them along.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from explain.answer import (
    MODALITIES,
    detector_name,
    gaps,
    judged_windows,
    lanes,
    listed,
    marked,
    several_faces,
    unbroken,
)
from ui import agreement, texts
from ui.markup import clock, escape
from ui.result import part_name

MAX_TICKS = 7  # each is a button with its time on it, on a phone too
STEPS_S = (0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300)
ZOOMS = (1, 2, 4, 8)
LEAST_VIEW_S = 1.0  # nobody zooms in further

# Moves the player to a pressed button's time, and tells the page of it: the mouth loop listens. Clicks are taken at the
# container, which outlives every new content.
SEEK_JS = """
const media = () => document.querySelector('#player video, #player audio');
const seek = (time, track = null) => {
  document.dispatchEvent(new CustomEvent('tt-moment', { detail: { time, track } }));
  const player = media();
  if (!player) return;
  player.currentTime = time;
  const calm = matchMedia('(prefers-reduced-motion: reduce)').matches;
  player.scrollIntoView({ block: 'nearest', behavior: calm ? 'auto' : 'smooth' });
};
element.addEventListener('click', (event) => {
  const button = event.target.closest('[data-start]');
  if (button) seek(+button.dataset.start, button.dataset.track ?? null);
});
"""
# A press on a lane's empty place seeks too; the cursor follows the player. Media events do not bubble, hence the
# capturing listeners on the document: the player comes and goes with each analysis. What is in view is told by two
# numbers at the timeline, the zoom and the share of the clip at its left edge.
JS = SEEK_JS + """
element.addEventListener('click', (event) => {
  const lane = event.target.closest('.tt-lane[data-duration]');
  if (!lane || event.target.closest('[data-start]')) return;
  const box = lane.querySelector('.tt-track').getBoundingClientRect();
  seek(((event.clientX - box.left) / box.width) * lane.dataset.duration);
});
const clock = (time) => Math.floor(time / 60) + ':' + (time % 60).toFixed(1).padStart(4, '0');
const line = () => element.querySelector('.tt-timeline');
let following = 0;
const follow = () => {
  cancelAnimationFrame(following);
  const player = media();
  const timeline = line();
  if (!player || !timeline) return;
  const share = Math.min(1, player.currentTime / timeline.dataset.seconds);
  timeline.style.setProperty('--tt-cursor', share * 100 + '%');
  timeline.querySelector('.tt-now-time').textContent = clock(player.currentTime);
  if (!player.paused && !inView(share)) show(zoom(), share);
  if (!player.paused && !player.ended) following = requestAnimationFrame(follow);
};
for (const name of ['play', 'pause', 'seeked', 'timeupdate', 'loadedmetadata']) {
  document.addEventListener(name, follow, true);
}
const zoom = () => +(line().dataset.zoom || 1);
const from = () => +(line().dataset.from || 0);
const levels = () => JSON.parse(line().dataset.zooms || '[1]');
const inView = (share) => share >= from() && share <= from() + 1 / zoom();
const show = (level, left) => {
  const timeline = line();
  const start = Math.max(0, Math.min(1 - 1 / level, left));
  timeline.dataset.zoom = level;
  timeline.dataset.from = start;
  timeline.style.setProperty('--tt-zoom', level);
  timeline.style.setProperty('--tt-from', start);
  const tools = element.querySelector('.tt-zoom');
  if (!tools) return;
  const seconds = +timeline.dataset.seconds;
  const view = tools.querySelector('.tt-view');
  view.textContent = level === 1 ? view.dataset.all
    : clock(start * seconds) + ' – ' + clock((start + 1 / level) * seconds);
  const allowed = {
    in: level < levels().at(-1), out: level > 1, all: level > 1, span: true,
    earlier: start > 0.001, later: start + 1 / level < 0.999,
  };
  // aria-disabled keeps the focus where it is, which disabled would lose
  for (const button of tools.querySelectorAll('[data-zoom]')) {
    button.setAttribute('aria-disabled', !allowed[button.dataset.zoom]);
  }
};
const around = (level, middle) => show(level, middle - 0.5 / level);
const toSpan = () => {
  const seconds = +line().dataset.seconds;
  const spans = [...line().querySelectorAll('[data-start][data-end]')];
  const chosen = spans.find((s) => s.classList.contains('tt-chosen')) || spans[0];
  if (!chosen) return;
  const [start, end] = [+chosen.dataset.start / seconds, +chosen.dataset.end / seconds];
  const level = levels().filter((l) => (end - start) * 1.1 <= 1 / l).at(-1) || 1;
  around(level, (start + end) / 2);
};
const step = (by) => {
  const known = levels();
  const level = known[Math.max(0, Math.min(known.length - 1, known.indexOf(zoom()) + by))];
  const cursor = parseFloat(line().style.getPropertyValue('--tt-cursor') || 0) / 100;
  around(level, inView(cursor) ? cursor : from() + 0.5 / zoom());
};
const move = {
  in: () => step(1), out: () => step(-1), all: () => show(1, 0), span: toSpan,
  earlier: () => show(zoom(), from() - 0.5 / zoom()), later: () => show(zoom(), from() + 0.5 / zoom()),
};
// Every zoom has ticks of its own: where the one with the focus is gone, the nearest of the new ones gets it.
const keepFocus = (held) => {
  if (held.offsetParent) return;
  const away = (tick) => Math.abs(tick.dataset.start - held.dataset.start);
  const ticks = [...line().querySelectorAll('.tt-tick')].filter((tick) => tick.offsetParent);
  ticks.sort((a, b) => away(a) - away(b))[0]?.focus();
};
const keys = { '+': 'in', '=': 'in', '-': 'out', 0: 'all', s: 'span', '<': 'earlier', '>': 'later' };
element.addEventListener('click', (event) => {
  const button = event.target.closest('.tt-zoom [data-zoom]');
  if (button && button.getAttribute('aria-disabled') !== 'true') move[button.dataset.zoom]();
  const span = event.target.closest('[data-start][data-end]');
  if (!span) return;
  element.querySelectorAll('.tt-chosen').forEach((s) => s.classList.remove('tt-chosen'));
  span.classList.add('tt-chosen');
});
element.addEventListener('keydown', (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || !keys[event.key]) return;
  if (!event.target.closest('.tt-zoom, .tt-timeline') || !element.querySelector('.tt-zoom')) return;
  event.preventDefault();
  move[keys[event.key]]();
  keepFocus(event.target);
});
element.addEventListener('focusin', (event) => {
  const button = event.target.closest('.tt-timeline [data-start]');
  if (!button) return;
  const seconds = +line().dataset.seconds;
  const share = +button.dataset.start / seconds;
  const end = +(button.dataset.end ?? button.dataset.start) / seconds;
  if (end < from() || share > from() + 1 / zoom()) show(zoom(), share);
});
"""


def timeline_html(result: dict, cards: dict[str, dict], planted: dict | None = None) -> str:
    """Heading, legend, lanes and axis of one result object. `planted`: modality -> spans that are known to be
    changed, for a demo clip."""
    duration = result.get("duration_s")
    if not duration or not result.get("detectors"):
        return ""
    any_segment = any(d.get("segments") for d in result["detectors"].values())
    hint = texts.TIMELINE_HINT if any_segment else texts.TIMELINE_NO_SEGMENTS
    opens = {detector: agreement.opening_level(result, detector) for detector in result["detectors"]}
    several = several_faces(result)
    groups = ""
    for detector, answer in result["detectors"].items():
        if len(opens) > 1:
            groups += f'<h4 class="tt-group">{escape(detector_name(detector, cards))}</h4>'
        for modality, track in lanes(result, answer):
            groups += lane_html(
                part_name(modality, track, several), answer, modality, track, duration, opens[detector],
                label=lambda s: _segment_words(s, several), planted=(planted or {}).get(modality, ()),
            )  # fmt: skip
    more = [("tt-key-planted", texts.LEGEND_PLANTED)] if any((planted or {}).values()) else []
    return card_html(texts.TIMELINE_HEADING, hint, groups, duration, more, spans=any_segment,
                     note=proposers_html(opens, cards) + _planted_html(planted))


def proposers_html(opens: dict[str, float | None], cards: dict[str, dict]) -> str:
    """Who finds its spans otherwise than by the level that the others' lines have to cross. opens: by detector, what
    agreement.opening_level says."""
    names = [detector_name(detector, cards) for detector, level in opens.items() if level is None]
    if not names:
        return ""
    return f'<p class="tt-hint">{escape(texts.TIMELINE_PROPOSES[len(names) > 1].format(names=listed(names)))}</p>'


def _segment_words(segment: dict, several: bool) -> str:
    return texts.TIMELINE_SEGMENT.format(
        part=part_name(segment["modality"], segment.get("track"), several),
        start=f"{segment['start_s']:.1f}",
        end=f"{segment['end_s']:.1f}",
        score=f"{segment['score']:.2f}",
    )


# ---- pieces that Compare draws with too -------------------------------------------------------------------------


def card_html(heading: str, hint: str, groups: str, duration: float, more: Sequence[tuple[str, str]] = (),
              seeks: bool = True, spans: bool = False, note: str = "") -> str:
    """Lanes (HTML) under one axis, with zoom and legend. seeks: a player is beside it. spans: some are marked. more:
    (class, words) of the legend. note: HTML."""
    kinds = [
        ("tt-key-marked", texts.LEGEND_MARKED),
        ("tt-key-score", texts.LEGEND_SCORE),
        *([("tt-key-threshold", texts.LEGEND_THRESHOLD)] if "<line " in groups else []),
        ("tt-key-gap tt-hatched", texts.LEGEND_HATCHED),
        *more,
    ]
    legend = "".join(f'<li><span class="{c}" aria-hidden="true"></span>{escape(t)}</li>' for c, t in kinds)
    zooms = [z for z in ZOOMS if z == 1 or duration / z >= LEAST_VIEW_S] if seeks else [1]
    return (
        f'<section class="tt-card"><h3>{escape(heading)}</h3><p class="tt-hint">{escape(hint)}</p>{note}'
        f'{_zoom_html(spans) if len(zooms) > 1 else ""}'
        f'<div class="tt-timeline" data-seconds="{duration:g}" data-zooms="{zooms}" data-zoom="1">'
        f'{groups}{_axis(duration, zooms, seeks)}</div><ul class="tt-legend">{legend}</ul></section>'
    )


def lane_html(name: str, answer: dict, modality: str, track: int | None, duration: float, opens: float | None,
              label: Callable[[dict], str], seeks: bool = True, low: bool = False,
              planted: Sequence[tuple[float, float]] = ()) -> str:
    """One detector's score of one part over the clip's seconds, with its marked spans: buttons where `seeks`.
    opens: agreement.opening_level. label(segment): a span in words."""
    windows = judged_windows(answer, modality, track)
    hatched = "".join(
        f'<span class="tt-gap tt-hatched" style="{place(a, b, duration)}" '
        f'title="{escape(texts.LEGEND_HATCHED)}: {clock(a)} to {clock(b)}"></span>'
        for a, b in gaps([(s, e) for s, e, _ in windows], duration)
    )
    empty = "" if windows else f'<span class="tt-lane-none">{escape(texts.TIMELINE_LANE_NONE)}</span>'
    spans = "".join(_span(s, label(s), duration, seeks) for s in marked(answer, modality, track))
    truth = "".join(f'<span class="tt-planted" style="{place(a, b, duration)}"></span>' for a, b in planted)
    cursor = '<span class="tt-cursor" aria-hidden="true"></span>' if seeks else ""
    length = f' data-duration="{duration:g}"' if seeks else ""
    return (
        f'<div class="tt-row"><span class="tt-lane-name">{escape(name)}</span>'
        f'<div class="tt-lane{" tt-lane-low" if low else ""} tt-lane-{modality}"{length}>{empty}'
        f'<div class="tt-track">{hatched}{_curve(windows, duration, opens)}{spans}{truth}{cursor}</div></div></div>'
    )


def place(start: float, end: float, duration: float) -> str:
    left = min(100.0, max(0.0, start / duration * 100))
    return f"left:{left:.3f}%;width:{max(0.0, min(100.0, end / duration * 100) - left):.3f}%"


def tick_step_s(duration: float) -> float:
    """The shortest round step that needs at most MAX_TICKS ticks after zero."""
    return next((s for s in STEPS_S if duration / s <= MAX_TICKS), STEPS_S[-1])


def _span(segment: dict, label: str, duration: float, seeks: bool) -> str:
    start, end = float(segment["start_s"]), float(segment["end_s"])
    words = f'aria-label="{escape(label)}" title="{escape(label)}"'
    shared = f'class="tt-segment" style="{place(start, end, duration)}" {words}'
    number = f'<span aria-hidden="true">{segment["score"]:.2f}</span>'
    if not seeks:
        return f'<span {shared} role="img">{number}</span>'
    track = "" if segment.get("track") is None else f' data-track="{int(segment["track"])}"'
    return f'<button type="button" {shared} data-start="{start:g}" data-end="{end:g}"{track}>{number}</button>'


def _curve(windows: list[tuple[float, float, float]], duration: float, opens: float | None) -> str:
    """The score as a line through the windows' middles, drawn behind the buttons; broken where nothing was judged,
    over the level that opens a span."""
    if not windows:
        return ""
    lines = ""
    if opens is not None:
        level = f"{100 - opens * 100:.1f}"
        lines = f'<line x1="0" x2="1000" y1="{level}" y2="{level}"/>'
    for run in unbroken(windows):
        # Level from the first window's start to its middle, and from the last one's middle to its end.
        points = [(run[0][0], run[0][2]), *(((a + b) / 2, s) for a, b, s in run), (run[-1][1], run[-1][2])]
        joined = " ".join(f"{t / duration * 1000:.1f},{100 - score * 100:.1f}" for t, score in points)
        lines += f'<polyline points="{joined}"/>'
    return f'<svg viewBox="0 0 1000 100" preserveAspectRatio="none" aria-hidden="true">{lines}</svg>'


def _axis(duration: float, zooms: Sequence[int], seeks: bool) -> str:
    """Ticks for every zoom; the style sheet shows those of the present one."""
    ticks = "".join(
        f'<div class="tt-track tt-ticks-{zoom}">{_ticks(duration, tick_step_s(duration / zoom), seeks)}</div>'
        for zoom in zooms
    )
    now = f'{escape(texts.TIMELINE_CURSOR)} <output class="tt-now-time" aria-live="off">0:00.0</output>'
    return (
        f'<div class="tt-row"><span class="tt-lane-name tt-muted">{now if seeks else ""}</span>'
        f'<div class="tt-axis">{ticks}</div></div>'
    )


def _ticks(duration: float, step: float, seeks: bool) -> str:
    times = [k * step for k in range(int(duration / step) + 1)]
    times = [t for t in times if t <= duration - step * 0.3]  # one at the very end would hang over the edge
    left = [f'style="left:{t / duration * 100:.3f}%"' for t in times]
    if not seeks:
        return "".join(f'<span class="tt-tick" {at}>{clock(t)}</span>' for t, at in zip(times, left))
    return "".join(
        f'<button type="button" class="tt-tick" data-start="{t:g}" {at} '
        f'aria-label="{escape(texts.TIMELINE_TICK.format(time=clock(t)))}">{clock(t)}</button>'
        for t, at in zip(times, left)
    )


def _zoom_html(spans: bool) -> str:
    """Buttons; keys do the same while the focus is in the timeline."""
    wanted = [k for k in texts.ZOOM_BUTTONS if spans or k != "span"]
    buttons = "".join(
        f'<button type="button" data-zoom="{key}" aria-label="{escape(label)}" title="{escape(label)}" '
        f'aria-disabled="{"false" if key in ("in", "span") else "true"}">{escape(sign)}</button>'
        for key, (sign, label) in ((k, texts.ZOOM_BUTTONS[k]) for k in wanted)
    )
    return (
        f'<div class="tt-zoom" role="group" aria-label="{escape(texts.ZOOM_LABEL)}">{buttons}'
        f'<output class="tt-view" data-all="{escape(texts.ZOOM_ALL)}">{escape(texts.ZOOM_ALL)}</output></div>'
    )


def _planted_html(planted: dict | None) -> str:
    """What is known of a demo clip, in words."""
    if planted is None:
        return ""
    spans = [
        texts.PLANTED_SPAN.format(part=texts.MODALITIES[m].lower(), start=f"{a:.1f}", end=f"{b:.1f}")
        for m in MODALITIES
        for a, b in planted.get(m, [])
    ]
    sentence = texts.PLANTED.format(spans=", ".join(spans) or texts.PLANTED_NONE)
    return f'<p class="tt-hint">{escape(sentence)}</p>'
