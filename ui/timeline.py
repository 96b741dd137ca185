"""The timeline: a lane per detector and part over the clip's seconds. Marked spans are real buttons.

Everything is positioned in per cent of the clip, so it needs no script to draw; the script only moves the
player and the cursor.
"""

from __future__ import annotations

from explain.answer import MODALITIES, detector_name, gaps, judged_windows, lanes, several_faces, unbroken
from ui import texts
from ui.markup import clock, escape
from ui.result import part_name

MAX_TICKS = 7  # each is a button with its time on it, on a phone too
STEPS_S = (0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300)

# Moves the player to a pressed button's time. Clicks are taken at the container, which outlives every new content.
SEEK_JS = """
const media = () => document.querySelector('#player video, #player audio');
const seek = (time) => {
  const player = media();
  if (!player) return;
  player.currentTime = time;
  const calm = matchMedia('(prefers-reduced-motion: reduce)').matches;
  player.scrollIntoView({ block: 'nearest', behavior: calm ? 'auto' : 'smooth' });
};
element.addEventListener('click', (event) => {
  const button = event.target.closest('[data-start]');
  if (button) seek(+button.dataset.start);
});
"""
# A press on a lane's empty place seeks too; the cursor follows the player. Media events do not bubble, hence the
# capturing listeners on the document: the player comes and goes with each analysis.
JS = SEEK_JS + """
element.addEventListener('click', (event) => {
  const lane = event.target.closest('[data-duration]');
  if (!lane || event.target.closest('[data-start]')) return;
  const box = lane.getBoundingClientRect();
  seek(((event.clientX - box.left) / box.width) * lane.dataset.duration);
});
const clock = (time) => Math.floor(time / 60) + ':' + (time % 60).toFixed(1).padStart(4, '0');
let following = 0;
const follow = () => {
  cancelAnimationFrame(following);
  const player = media();
  const timeline = element.querySelector('.tt-timeline');
  if (!player || !timeline) return;
  const share = Math.min(1, player.currentTime / timeline.dataset.seconds);
  timeline.style.setProperty('--tt-cursor', share * 100 + '%');
  timeline.querySelector('.tt-now-time').textContent = clock(player.currentTime);
  if (!player.paused && !player.ended) following = requestAnimationFrame(follow);
};
for (const name of ['play', 'pause', 'seeked', 'timeupdate', 'loadedmetadata']) {
  document.addEventListener(name, follow, true);
}
"""


def timeline_html(result: dict, cards: dict[str, dict], planted: dict | None = None) -> str:
    """Heading, legend, lanes and axis of one result object. `planted`: modality -> spans that are known to be
    changed, for a demo clip."""
    duration = result.get("duration_s")
    if not duration or not result.get("detectors"):
        return ""
    any_segment = any(d.get("segments") for d in result["detectors"].values())
    hint = texts.TIMELINE_HINT if any_segment else texts.TIMELINE_NO_SEGMENTS
    several = len(result["detectors"]) > 1
    groups = ""
    for detector, answer in result["detectors"].items():
        if several:
            groups += f'<h4 class="tt-group">{escape(detector_name(detector, cards))}</h4>'
        for modality, track in lanes(result, answer):
            groups += _lane(result, answer, modality, track, (planted or {}).get(modality, []))
    return (
        f'<section class="tt-card"><h3>{escape(texts.TIMELINE_HEADING)}</h3>'
        f'<p class="tt-hint">{escape(hint)}</p>{_planted_html(planted)}'
        f'<div class="tt-timeline" data-seconds="{duration}">{groups}{_axis(duration)}</div>'
        f"{_legend(planted)}</section>"
    )


def tick_step_s(duration: float) -> float:
    """The shortest round step that needs at most MAX_TICKS ticks after zero."""
    return next((s for s in STEPS_S if duration / s <= MAX_TICKS), STEPS_S[-1])


def _lane(result: dict, answer: dict, modality: str, track: int | None, planted: list) -> str:
    duration = result["duration_s"]
    several = several_faces(result)
    windows = judged_windows(answer, modality, track)
    hatched = "".join(
        f'<span class="tt-gap tt-hatched" style="{_place(a, b, duration)}" '
        f'title="{escape(texts.LEGEND_HATCHED)}: {clock(a)} to {clock(b)}"></span>'
        for a, b in gaps([(s, e) for s, e, _ in windows], duration)
    )
    empty = "" if windows else f'<span class="tt-lane-none">{escape(texts.TIMELINE_LANE_NONE)}</span>'
    buttons = "".join(
        _segment(s, duration, several)
        for s in answer.get("segments", [])
        if s["modality"] == modality and (modality == "audio" or s.get("track") == track or track is None)
    )
    truth = "".join(f'<span class="tt-planted" style="{_place(a, b, duration)}"></span>' for a, b in planted)
    name = escape(part_name(modality, track, several))
    opens = (answer.get("thresholds") or {}).get("segment_on")
    return (
        f'<div class="tt-row"><span class="tt-lane-name">{name}</span>'
        f'<div class="tt-lane tt-lane-{modality}" data-duration="{duration}">{hatched}{empty}'
        f'{_curve(windows, duration, opens)}{buttons}{truth}<span class="tt-cursor" aria-hidden="true"></span>'
        "</div></div>"
    )


def _curve(windows: list[tuple[float, float, float]], duration: float, opens: float | None) -> str:
    """The score as a line through the windows' middles, drawn behind the buttons; broken where nothing was judged."""
    if not windows:
        return ""
    lines = ""
    for run in unbroken(windows):
        # Level from the first window's start to its middle, and from the last one's middle to its end.
        points = [(run[0][0], run[0][2]), *(((a + b) / 2, s) for a, b, s in run), (run[-1][1], run[-1][2])]
        joined = " ".join(f"{t / duration * 1000:.1f},{100 - score * 100:.1f}" for t, score in points)
        lines += f'<polyline points="{joined}"/>'
    level = ""
    if opens is not None:
        y = 100 - opens * 100
        level = f'<line x1="0" x2="1000" y1="{y:.1f}" y2="{y:.1f}"/>'
    return f'<svg viewBox="0 0 1000 100" preserveAspectRatio="none" aria-hidden="true">{level}{lines}</svg>'


def _segment(segment: dict, duration: float, several: bool) -> str:
    score = f"{segment['score']:.2f}"
    label = texts.TIMELINE_SEGMENT.format(
        part=part_name(segment["modality"], segment.get("track"), several),
        start=f"{segment['start_s']:.1f}",
        end=f"{segment['end_s']:.1f}",
        score=score,
    )
    return (
        f'<button type="button" class="tt-segment" data-start="{float(segment["start_s"])}" '
        f'style="{_place(segment["start_s"], segment["end_s"], duration)}" aria-label="{escape(label)}" '
        f'title="{escape(label)}"><span aria-hidden="true">{score}</span></button>'
    )


def _axis(duration: float) -> str:
    step = tick_step_s(duration)
    ticks = "".join(
        f'<button type="button" class="tt-tick" data-start="{k * step:g}" '
        f'style="left:{k * step / duration * 100:.3f}%" '
        f'aria-label="{escape(texts.TIMELINE_TICK.format(time=clock(k * step)))}">{clock(k * step)}</button>'
        for k in range(int(duration / step) + 1)
        if k * step <= duration - step * 0.3  # a tick at the very end would hang over the edge
    )
    return (
        f'<div class="tt-row"><span class="tt-lane-name tt-muted">{escape(texts.TIMELINE_CURSOR)} '
        f'<output class="tt-now-time" aria-live="off">0:00.0</output></span><div class="tt-axis">{ticks}</div></div>'
    )


def _legend(planted: dict | None) -> str:
    entries = [
        ("tt-key-marked", texts.LEGEND_MARKED),
        ("tt-key-score", texts.LEGEND_SCORE),
        ("tt-key-threshold", texts.LEGEND_THRESHOLD),
        ("tt-key-gap tt-hatched", texts.LEGEND_HATCHED),
    ]
    if any((planted or {}).values()):
        entries.append(("tt-key-planted", texts.LEGEND_PLANTED))
    items = "".join(f'<li><span class="{c}" aria-hidden="true"></span>{escape(t)}</li>' for c, t in entries)
    return f'<ul class="tt-legend">{items}</ul>'


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


def _place(start: float, end: float, duration: float) -> str:
    left = max(0.0, start / duration * 100)
    return f"left:{left:.3f}%;width:{min(100.0, end / duration * 100) - left:.3f}%"
