"""The Why panel: what a detector's answer rests on, step by step, each map with its test. Pictures have words beside
them, and everything that a click does, a button does too."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import gradio as gr
import numpy as np

from explain import REPLACEMENTS, default_method, usual_methods
from explain.answer import decided_by_sync, detector_name
from explain.pictures import Picture
from ui import progress, texts, timeline
from ui.explaining import HEADS, LATEST_S, ExplainRun, Kept, Question, Told
from ui.markup import clock, escape, table
from ui.result import part_name
from ui.runs import Runs

HEADING = "Why?"
HINT = (
    "Ask a detector what its answer rests on: which part of the clip, where and when. Every map is then tested: is "
    "what it marks really what counts? One that fails, or was not tested, is shown in grey. It takes from seconds to "
    "minutes."
)
DETECTOR_LABEL = "Ask"
SPAN_LABEL = "About"
PEAKS = {  # by the score that peaks; None: of the whole
    None: "Its most suspicious moment, around {time} s",
    "sync": "Lip-sync at its most suspicious moment, around {time} s",
}
MOMENT = "A moment that I choose"
SECOND_LABEL = "Moment, in seconds"
FROM_PLAYER = "Take the player's"
MORE = "A second detector, another score, another replacement"
BESIDE_LABEL = "Side by side with"
NOBODY = "no other"
HEAD_LABEL = "Which of its scores"
HEAD_AUTO = "The one that the choice above is about, else the whole"
REPLACEMENT_LABEL = "What stands in for a part that is taken away"
REPLACEMENT_INFO = (
    "To see whether a part counts, it is replaced. Never by black or silence: a hole would itself look manipulated. "
    "Where two replacements tell different stories, rely on neither."
)
REPLACEMENT_NAMES = {
    "blur": "A blurred picture, sound at its median level",
    "mean": "The average picture, sound at its median level",
    "neutral": "An unsuspicious moment of this clip",
}
START = "Explain"
STOPPED = "Stopped. What had arrived stays below."
KEPT_BEFORE = "Explained before; nothing had to be computed again."
NO_MOMENT = "Give the moment in seconds, between 0 and the clip's {duration} s."
NOT_ASKED = "Choose a detector and what it shall explain."

HEAD_NAMES = {**texts.MODALITIES, "whole": "Whole clip"}
HEAD_WORDS = {"video": "the picture", "audio": "the sound", "sync": "lip-sync", "whole": "the whole"}
TITLE = "{detector} on {head}, {span}"
SPAN, AROUND = "{start} to {end} s", "around {start} s"
SCORE = "It looked at {spans} and gives {score} for {head}, from there alone (0 to 1, 1 = manipulated)."
PENDING, WAITING = "Being made …", "Waiting for its turn."
SHARE_HEADING = "Which part counts"
SHARE_HINT = (
    "In log-odds: +0.7 doubles the odds of manipulation, −0.7 halves them. Shapley values: what each part adds, on "
    "average over all orders in which the parts can join."
)
SHARE_ADDS_UP = "They add up to the difference between the clip and its replacement, {difference}."
SHARE_MISSES = "They miss the difference between the clip and its replacement, {difference}, by {residual}."
PARTS = {"face": "Face", "lips": "Mouth, close up", "audio": "Sound"}
FOR, AGAINST, HARDLY = "for manipulation", "against it", "hardly counts"
OF_TOTAL = "{words}, {share} % of all effects"
LEAST, FULL_BAR = 0.05, 0.7  # log-odds: a part below it hardly counts; a bar is never full below it

MAP_TITLES = {
    "ablation": "Regions, bands and moments",
    "integrated_gradients": "Fine map: single spots",
    "grad_cam": "Where the detector's layers look (Grad-CAM)",
    "smooth_grad": "Where small changes count (SmoothGrad)",
}
MAP_HINTS = {
    "ablation": "A region or band is replaced for part of a second. The number says how far the log-odds fall: above "
    "0, what was there spoke for manipulation.",
    "integrated_gradients": "The clip takes the place of its replacement little by little, and each spot is credited "
    "with what it adds (integrated gradients).",
    "grad_cam": "What the last layer with an extent reacts to, times how much that moves the score.",
    "smooth_grad": "How much the score follows small changes of each spot, averaged over noise.",
}
POINTING = (
    "Measured on evidence that was planted for this detector: the strongest spot of such a map lies in the right "
    "place {hits} % of the time; a random spot {chance} %."
)
NONE_BEATS_RANDOM = (
    "Measured on evidence that was planted for this detector, no kind of map found it more often than a random spot "
    "does. Look at the maps with that in mind."
)
STATES = {  # sign and words; the sign is hidden from screen readers
    "passed": ("✓", "passed its test"),
    "failed": ("✗", "failed its test"),
    "empty": ("○", "marks nothing"),
    "testing": ("…", "not tested yet"),
    "untested": ("○", "not tested: do not rely on it"),
}
TEST_FIGURES = (
    "{beats} % of {draws} random regions count less. With the marked region alone in place the score is {kept}; with "
    "a random one, {random_kept}."
)
TABLES = {
    "picture": "Picture: regions of the face by time, in log-odds. Press a time to jump there.",
    "sound": "Sound: frequencies by time, in log-odds. Press a time to jump there.",
}
FINE_TABLE = "The same map, added up by time, in log-odds. Press a time to jump there."
FINE_TABLE_UNITLESS = (
    "The same map, added up by time; 1 is the highest sum of its column. Press a time to jump there."
)
TIME = "Time, s"
PICTURE_TITLES = {
    "faces": "The face, moment by moment", "lips": "The mouth, moment by moment", "spectrogram": "The sound",
    "regions": "Regions of the face", "bands": "Bands of the sound", "mouth": "The mouth, large, in a loop",
}
READ_THEM = "How to read these pictures"
IN_NUMBERS = "In numbers"
PLACES = {"lips": "Lips", "eyes": "Eyes", "nose": "Nose", "skin": "Skin", "border": "Face's edge",
          "background": "Back\u00adground"}
NOTES_HEADING = "What could not be had"
ROWS, ROW_S = 12, 0.6  # of the fine map's table

# Details stay open while a fuller answer comes in; a cursor goes through all pictures; a press on one jumps there; a
# span that is pressed on the timeline is chosen here.
JS = timeline.SEEK_JS + """
const opened = new Map();
element.addEventListener('toggle', (event) => opened.set(event.target.dataset.key, event.target.open), true);
element.addEventListener('click', (event) => {
  const shot = event.target.closest('.tt-shot');
  if (!shot) return;
  const box = shot.getBoundingClientRect();
  const at = (event.clientX - box.left) / box.width;
  const span = JSON.parse(shot.dataset.axis).find(([left, right]) => at >= left && at <= right);
  if (span) seek(span[2] + ((at - span[0]) / (span[1] - span[0])) * (span[3] - span[2]));
});
let following = 0;
const follow = () => {
  cancelAnimationFrame(following);
  const player = media();
  const shots = element.querySelectorAll('.tt-shot');
  if (!player || !shots.length) return;
  for (const shot of shots) {
    const now = player.currentTime;
    const span = JSON.parse(shot.dataset.axis).find(([, , start, end]) => now >= start && now <= end);
    shot.querySelector('.tt-cursor').hidden = !span;
    if (!span) continue;
    const share = (now - span[2]) / (span[3] - span[2]);
    shot.style.setProperty('--tt-cursor', (span[0] + share * (span[1] - span[0])) * 100 + '%');
  }
  if (!player.paused && !player.ended) following = requestAnimationFrame(follow);
};
for (const name of ['play', 'pause', 'seeked', 'timeupdate', 'loadedmetadata']) {
  document.addEventListener(name, follow, true);
}
document.addEventListener('click', (event) => {
  const span = event.target.closest('#timeline .tt-segment[data-start]');
  if (span) trigger('choose', { label: span.getAttribute('aria-label'), start_s: +span.dataset.start });
});
new MutationObserver(() => {
  for (const box of element.querySelectorAll('details[data-key]')) {
    if (opened.has(box.dataset.key)) box.open = opened.get(box.dataset.key);
  }
  follow();
}).observe(element, { childList: true, subtree: true });
"""
PLAYER_TIME_JS = """() => {
  const player = document.querySelector('#player video, #player audio');
  return player ? Math.round(player.currentTime * 10) / 10 : 0;
}"""


# ---- what is asked ----------------------------------------------------------------------------------------------


def subject_of(result: dict, path: str, device: str) -> dict | None:
    """What can be explained of an answer: path, device and hash of the clip, the part whose score decided
    (`decided_by`; None: the whole), and per detector that score, all that it tells (`heads`), the spans that it marks
    and its most suspicious moment. None where nothing was judged."""
    decided_by = "sync" if decided_by_sync(result) else None
    detectors = {}
    for name, answer in result.get("detectors", {}).items():
        heads = [h for h in HEADS if any(s is not None for w in answer.get("windows", []) for s in w.get(h) or [])]
        if heads:
            detectors[name] = {"heads": heads, "segments": answer.get("segments", []),
                               "peak": _peak(answer, heads, decided_by),
                               "score": answer.get(decided_by or "score") or 0.0}
    if result.get("error") or not detectors or (result.get("media") or {}).get("still"):
        return None
    return {"path": path, "device": device, "sha256": result["sha256"], "duration_s": result["duration_s"],
            "several": len((result.get("media") or {}).get("faces") or []) > 1, "decided_by": decided_by,
            "detectors": detectors}


def _peak(answer: dict, heads: list[str], decided_by: str | None) -> dict:
    """Of the score that decided, where the detector tells it (`head`), else of the whole or what stands for it."""
    asked = decided_by if decided_by in heads else None
    head = asked or ("whole" if "whole" in heads else heads[0])
    scores = [(score, (start + end) / 2, w.get("track")) for w in answer["windows"]
              for start, end, score in zip(w["start_s"], w["end_s"], w.get(head) or []) if score is not None]
    _, at_s, track = max(scores, key=lambda found: found[0])
    return {"at_s": round(at_s, 2), "track": track, "head": asked}


def span_choices(subject: dict, detector: str) -> list[tuple[str, str]]:
    """(words, value) of everything that a detector can explain: its marked spans, its peak, a moment."""
    known = subject["detectors"][detector]
    marked = [
        (texts.TIMELINE_SEGMENT.format(part=part_name(s["modality"], s.get("track"), subject["several"]),
                                       start=f"{s['start_s']:.1f}", end=f"{s['end_s']:.1f}", score=f"{s['score']:.2f}"),
         f"segment {k}")
        for k, s in enumerate(known["segments"])
    ]
    peak = known["peak"]
    return [*marked, (PEAKS[peak["head"]].format(time=f"{peak['at_s']:.1f}"), "peak"), (MOMENT, "moment")]


def pressed_span(subject: dict, preferred: object, label: object, start_s: object) -> tuple[str, str] | None:
    """(detector, value of span_choices) of the marked span that was pressed on the timeline, by its words and start.
    Where several detectors mark the same, that of the preferred one."""
    found = [
        (name, value) for name, known in subject["detectors"].items()
        for (words, value), s in zip(span_choices(subject, name), known["segments"])
        if words == label and abs(s["start_s"] - start_s) < 0.01
    ]
    return next((f for f in found if f[0] == preferred), found[0] if found else None)


def first_detector(subject: dict) -> str:
    """Who is offered first: the most alarmed; where one part decided, of its judges, sooner one that marks it."""
    known, part = subject["detectors"], subject["decided_by"]
    judges = [name for name in known if part in known[name]["heads"]] or list(known)
    return max(judges, key=lambda name: (any(s["modality"] == part for s in known[name]["segments"]),
                                         known[name]["score"]))


def first_span(subject: dict, detector: str) -> str:
    """What is offered first: the marked span with the highest score, of the part that decided where one did; else the
    peak."""
    known = subject["detectors"][detector]
    part = known["peak"]["head"]
    spans = [(s["score"], k) for k, s in enumerate(known["segments"]) if part in (None, s["modality"])]
    return f"segment {max(spans, key=lambda span: span[0])[1]}" if spans else "peak"


def questions(subject: dict, detector: object, span: object, moment_s: object, head: object, replacement: object,
              beside: object) -> list[Question]:
    """One question per column. Raises: ValueError in words."""
    known = subject["detectors"].get(detector) if isinstance(detector, str) else None
    values = [value for _, value in span_choices(subject, detector)] if known else []
    if span not in values or replacement not in REPLACEMENTS:
        raise ValueError(NOT_ASKED)
    track, marked_head = None, None
    if span == "moment":
        duration_s = min(subject["duration_s"], LATEST_S)
        if not isinstance(moment_s, (int, float)) or not 0 <= moment_s <= duration_s:
            raise ValueError(NO_MOMENT.format(duration=f"{duration_s:.1f}"))
        span_s = (float(moment_s), float(moment_s))
    elif span == "peak":
        span_s, track, marked_head = (known["peak"]["at_s"],) * 2, known["peak"]["track"], known["peak"]["head"]
    else:
        segment = known["segments"][values.index(span)]
        span_s, track, marked_head = (segment["start_s"], segment["end_s"]), segment.get("track"), segment["modality"]
    head = marked_head if head == "auto" else head
    others = [beside] if beside in subject["detectors"] and beside != detector else []
    return [
        Question(name, *span_s, head if head in subject["detectors"][name]["heads"] else None, track, replacement)
        for name in (detector, *others)
    ]


# ---- what is told -----------------------------------------------------------------------------------------------


def explanations_html(asked: Sequence[Question], told: Mapping[Question, Told], cards: Mapping[str, dict],
                      running: bool) -> str:
    """A column per question, with what is known so far; `running`: more is to come."""
    columns = "".join(explanation_html(q, told.get(q, Told()), cards, running) for q in asked)
    return f'<div class="tt-why">{columns}</div>'


def explanation_html(question: Question, told: Told, cards: Mapping[str, dict], running: bool) -> str:
    title = TITLE.format(detector=detector_name(question.detector, cards), head=HEAD_WORDS[question.head or "whole"],
                         span=_span_words(question.start_s, question.end_s))
    if told.refusal is not None:
        inner = progress.message_html(told.refusal, "problem")
    elif told.answer is None:
        inner = f'<p class="tt-pending">{escape(WAITING)}</p>' if running else ""
    else:
        inner = _answer_html(question, told, cards[question.detector], running)
    return f'<section class="tt-card tt-why-one"><h4>{escape(title)}</h4>{inner}</section>'


def _answer_html(question: Question, told: Told, card: dict, running: bool) -> str:
    answer = told.answer
    windows_s = answer["windows_s"]
    *others, last = [_span_words(*w) for w in windows_s]
    spans = f"{', '.join(others)} and {last}" if others else last
    score = SCORE.format(spans=spans, score=f"{answer['score']:.2f}",
                         head=HEAD_WORDS[answer["head"]])
    wanted = usual_methods(card)
    best = default_method(card)
    order = [best, *(m for m in wanted if m != best)] if best else wanted
    waiting = running and not told.finished
    maps = "".join(
        map_html(method, answer, card, told.pictures.get(method, ()), key=f"{question.detector} {method}",
                 first=method == best, running=waiting)
        if method in answer["maps"] else _pending_map(method, waiting and not answer["faithfulness"])
        for method in order
    )
    warning = f'<p class="tt-message">{escape(NONE_BEATS_RANDOM)}</p>' if best is None else ""
    return (
        f"<p>{escape(score)} {escape(answer['replacement_words'])}</p>{share_html(answer)}{warning}{maps}"
        f"{_notes_html(answer['notes'])}"
    )


def share_html(answer: dict) -> str:
    """A bar per modality, to the right for manipulation and to the left against it, with the words."""
    share = answer["share"]
    if share is None:
        return ""
    widest = max(FULL_BAR, *(abs(v) for v in share["values"].values()))
    rows = ""
    for part, value in share["values"].items():
        words, side = (HARDLY, "none") if abs(value) < LEAST else (FOR, "for") if value > 0 else (AGAINST, "against")
        width = abs(value) / widest * 50
        left = 50 if value > 0 else 50 - width
        whole = OF_TOTAL.format(words=words, share=f"{share['of_total'][part] * 100:.0f}")
        rows += (
            f'<li><span class="tt-part-name">{escape(PARTS[part])}</span><span class="tt-share" aria-hidden="true">'
            f'<span class="tt-share-{side}" style="left:{left:.1f}%;width:{width:.1f}%"></span></span>'
            f'<span class="tt-part-value">{signed(value)}</span><span class="tt-part-why">{escape(whole)}</span></li>'
        )
    difference = share["logit"] - share["logit_replaced"]
    adds_up = (SHARE_ADDS_UP if share["complete"] else SHARE_MISSES).format(
        difference=signed(difference), residual=signed(share["residual"]))
    return (
        f"<h5>{escape(SHARE_HEADING)}</h5><p>{escape(answer['sentences'][0])}</p><ul class='tt-shares'>{rows}</ul>"
        f'<p class="tt-hint">{escape(SHARE_HINT)} {escape(adds_up)}</p>'
    )


def map_state(answer: dict, method: str, running: bool) -> str:
    """One of STATES."""
    test = answer["faithfulness"].get(method)
    if test is None:
        return "testing" if running else "untested"
    if test["marked"] == 0:
        return "empty"
    return "passed" if test["passed"] else "failed"


def map_html(method: str, answer: dict, card: dict, pictures: Sequence[Picture], key: str, first: bool,
             running: bool) -> str:
    """A collapsible: state and sentence, then pictures and table, which are grey where nobody should rely on them."""
    state = map_state(answer, method, running)
    sign, words = STATES[state]
    test = answer["faithfulness"].get(method)
    verdict = f"<p><strong>{escape(test['sentence'])}</strong></p>{_test_figures(test)}" if test else ""
    sentences = answer["sentences"][1:] if method == "ablation" else []
    said = "".join(f"<li>{escape(s)}</li>" for s in sentences)
    shown = "".join(picture_html(p, key, sentences) for p in pictures) + _captions_html(pictures, key)
    body = (f"<ul>{said}</ul>" if said else "") + shown + _tables_html(method, answer, key, folded=bool(shown))
    grey = " tt-unreliable" if state in ("failed", "untested") else ""
    return (
        f'<details class="tt-map tt-map-{state}" data-key="{escape(key)}"{" open" if first else ""}>'
        f"<summary>{escape(MAP_TITLES[method])} "
        f'<span class="tt-map-state"><span aria-hidden="true">{sign}</span> {escape(words)}</span></summary>'
        f'{verdict}<p class="tt-hint">{escape(MAP_HINTS[method])}{_pointing_words(card, method)}</p>'
        f'<div class="tt-evidence{grey}">{body}</div></details>'
    )


def _pending_map(method: str, coming: bool) -> str:
    if not coming:
        return ""
    return f'<p class="tt-map tt-pending">{escape(MAP_TITLES[method])}: {escape(PENDING.lower())}</p>'


def _test_figures(test: dict) -> str:
    if not test["draws"]:
        return ""
    words = TEST_FIGURES.format(beats=f"{test['beats'] * 100:.0f}", draws=test["draws"], kept=f"{test['kept']:.2f}",
                                random_kept=f"{test['random_kept']:.2f}")
    return f'<p class="tt-hint">{escape(words)}</p>'


def _pointing_words(card: dict, method: str) -> str:
    """How often such maps of this detector were right, where its card tells."""
    row = (card.get("explanations") or {}).get("methods", {}).get(method) or {}
    if row.get("pointing") is None:
        return ""
    words = POINTING.format(hits=f"{row['pointing'] * 100:.0f}", chance=f"{row['random_pointing'] * 100:.0f}")
    return f" {escape(words)}"


def picture_html(picture: Picture, key: str, said: Sequence[str] = ()) -> str:
    """A figure whose time axis the cursor follows. What moves by itself stays folded until somebody wants it.
    said: findings that need not be read again."""
    source = f"data:{picture.media_type};base64,{base64.b64encode(picture.data).decode()}"
    axis = json.dumps([[span.left, span.right, span.start_s, span.end_s] for span in picture.axis])
    image = f'<img src="{source}" alt="{escape(picture.alt)}">'
    if picture.axis:
        image += '<span class="tt-cursor" aria-hidden="true" hidden></span>'
        image = f'<div class="tt-shot" data-axis="{escape(axis)}">{image}</div>'
    title = PICTURE_TITLES[picture.name]
    finding = "" if picture.finding in said else picture.finding
    if picture.name == "mouth":
        return _folded(title, f"<figure>{image}<figcaption>{escape(finding)}</figcaption></figure>", f"{key} mouth")
    return f"<figure>{image}<figcaption><strong>{escape(title)}.</strong> {escape(finding)}</figcaption></figure>"


def _captions_html(pictures: Sequence[Picture], key: str) -> str:
    """The long captions of all pictures of a map, in one place."""
    listed = "".join(f"<li><strong>{escape(PICTURE_TITLES[p.name])}.</strong> {escape(p.caption)}</li>"
                     for p in pictures)
    return _folded(READ_THEM, f"<ul>{listed}</ul>", f"{key} captions") if listed else ""


def _folded(title: str, inner: str, key: str) -> str:
    return (f'<details class="tt-folded" data-key="{escape(key)}"><summary>{escape(title)}</summary>{inner}'
            "</details>")


def _tables_html(method: str, answer: dict, key: str, folded: bool) -> str:
    """The map in figures; folded away where pictures show the same."""
    found, windows_s = answer["maps"][method], answer["windows_s"]
    if method == "ablation":
        highest = max(np.abs(group["values"]).max() for group in found["groups"].values())
        tables = "".join(
            heat_table(TABLES[name], [PLACES.get(p, p) for p in group["places"]], *_rows(group, windows_s), highest)
            for name, group in found["groups"].items()
        )
    else:
        caption = FINE_TABLE if found["in_logits"] else FINE_TABLE_UNITLESS
        spans_s, sums = sums_by_time(found["groups"], windows_s)
        if not found["in_logits"]:
            sums = sums / np.maximum(np.abs(sums).max(axis=0), 1e-9)
        tables = heat_table(caption, [PARTS[part] for part in found["groups"]], spans_s, sums, np.abs(sums).max())
    return _folded(IN_NUMBERS, tables, f"{key} numbers") if folded else tables


def _rows(group: dict, windows_s: list) -> tuple[list[tuple[float, float]], np.ndarray]:
    """Spans of all windows' steps in seconds of the clip, and their values [rows, places]."""
    spans_s = [(start_s + a, start_s + b) for start_s, _ in windows_s for a, b in group["steps_s"]]
    return spans_s, np.reshape(group["values"], (len(spans_s), -1))


def sums_by_time(groups: dict[str, dict], windows_s: list) -> tuple[list[tuple[float, float]], np.ndarray]:
    """A fine map as a table [rows, groups]: what begins within a row's span is added up, over places and windows."""
    begin_s, end_s = windows_s[0][0], max(end for _, end in windows_s)
    count = min(max(round((end_s - begin_s) / ROW_S), 1), ROWS)
    edges_s = np.linspace(begin_s, end_s, count + 1)
    sums = np.zeros((count, len(groups)))
    for column, group in enumerate(groups.values()):
        spans_s, values = _rows(group, windows_s)
        row = np.searchsorted(edges_s, [a + 1e-6 for a, _ in spans_s], side="right") - 1
        np.add.at(sums[:, column], np.clip(row, 0, count - 1), values.sum(axis=1))
    return list(zip(edges_s[:-1].tolist(), edges_s[1:].tolist())), sums


def heat_table(caption: str, headers: Sequence[str], spans_s: Sequence[tuple[float, float]], values: np.ndarray,
               highest: float) -> str:
    """Numbers with their sign, shaded by size: the words and figures of a picture. values: [rows, columns]. highest:
    the absolute value with the full shade."""
    rows = [
        (_jump(*span), *(_heat_cell(v, abs(v) / max(highest, 1e-9)) for v in row))
        for span, row in zip(spans_s, values)
    ]
    return f'<div class="tt-heat-table">{table(caption, (TIME, *headers), rows, row_headers=True)}</div>'


def _heat_cell(value: float, heat: float) -> str:
    side = "for" if value > 0 else "against"
    return f'<span class="tt-heat tt-heat-{side}" style="--heat:{heat * 100:.0f}">{signed(value)}</span>'


def _jump(start_s: float, end_s: float) -> str:
    label = texts.TIMELINE_TICK.format(time=clock(start_s))
    return (f'<button type="button" class="tt-jump" data-start="{start_s:.3f}" aria-label="{escape(label)}">'
            f"{start_s:.1f}–{end_s:.1f}</button>")


def _notes_html(notes: Sequence[str]) -> str:
    if not notes:
        return ""
    items = "".join(f"<li>{escape(note)}</li>" for note in notes)
    return f"<h5>{escape(NOTES_HEADING)}</h5><ul>{items}</ul>"


def _span_words(start_s: float, end_s: float) -> str:
    words = AROUND if start_s == end_s else SPAN
    return words.format(start=f"{start_s:.1f}", end=f"{end_s:.1f}")


def signed(value: float) -> str:
    """+0.12, −0.12 or 0, with a real minus."""
    rounded = round(value, 2)
    return "0" if rounded == 0 else f"{rounded:+.2f}".replace("-", "−")


# ---- components -------------------------------------------------------------------------------------------------


class WhyPanel:
    """The controls and the answer, made inside the current gr.Blocks. `components` take what offered() gives."""

    def __init__(self) -> None:
        self.kept = Kept()
        self.subject = gr.State(None)
        with gr.Column(visible=False, elem_id="why") as self.column:
            gr.HTML(f'<section class="tt-why-head"><h3>{escape(HEADING)}</h3><p class="tt-hint">{escape(HINT)}</p>'
                    "</section>")
            self.detector = gr.Radio(label=DETECTOR_LABEL, elem_id="why-detector")
            with gr.Row(elem_id="why-span"):
                self.span = gr.Dropdown(label=SPAN_LABEL, filterable=False, scale=3, min_width=220,
                                        elem_id="why-about")
                self.moment = gr.Number(label=SECOND_LABEL, minimum=0, step=0.1, visible=False, scale=1, min_width=120,
                                        elem_id="why-moment")
                self.take = gr.Button(FROM_PLAYER, visible=False, scale=1, min_width=120, elem_id="why-take")
            with gr.Accordion(MORE, open=False, elem_id="why-more"):
                self.beside = gr.Radio(label=BESIDE_LABEL, elem_id="why-beside")
                self.head = gr.Radio(label=HEAD_LABEL, elem_id="why-head")
                self.replacement = gr.Radio(choices=[(REPLACEMENT_NAMES[r], r) for r in REPLACEMENTS],
                                            value=REPLACEMENTS[0], label=REPLACEMENT_LABEL, info=REPLACEMENT_INFO,
                                            elem_id="why-replacement")
            with gr.Row(elem_id="why-actions"):
                self.start = gr.Button(START, variant="secondary", elem_id="explain", scale=3)
                self.stop = gr.Button(texts.STOP, variant="secondary", interactive=False, elem_id="explain-stop",
                                      scale=1)
            self.status = gr.HTML("", js_on_load=progress.JS, elem_id="explain-status", label=texts.STATUS_LABEL)
            self.answer = gr.HTML("", js_on_load=JS, elem_id="explanations")
        self.choices = [self.detector, self.span, self.head, self.beside]
        self.components = [self.subject, self.column, *self.choices, self.start, self.stop, self.status, self.answer]

    def connect(self, runs: Runs, ticket: gr.State, cards: dict[str, dict], queueing: dict, light: dict) -> None:
        """Wires the controls. `ticket`: of the session's latest run, so that another run ends this one."""
        buttons = [self.start, self.stop]

        def begin(last: str, request: gr.Request):
            runs.stop(last)
            return [runs.draw(request.session_hash), progress.stages_html([], texts.WAITING), *_busy(True)]

        def work(subject: dict | None, detector: str, span: str, moment_s: float | None, head: str, replacement: str,
                 beside: str, turn: str, request: gr.Request) -> Iterator[list]:
            if not subject or not Path(subject["path"]).is_file():
                yield [progress.message_html(texts.UPLOAD_GONE, "problem"), gr.skip()]
                return
            try:
                asked = questions(subject, detector, span, moment_s, head, replacement, beside)
            except ValueError as refusal:
                yield [progress.message_html(str(refusal), "problem"), gr.skip()]
                return
            session, sha256 = request.session_hash, subject["sha256"]
            told = {q: known for q in asked if (known := self.kept.get(session, sha256, q))}
            if len(told) == len(asked):
                yield [progress.message_html(KEPT_BEFORE), explanations_html(asked, told, cards, running=False)]
                return
            run = ExplainRun(subject["path"], [q for q in asked if q not in told], subject["device"], cards)
            with runs.under(turn, run):
                for _ in run.stages():
                    shown = explanations_html(asked, told | run.told, cards, running=True)
                    yield [progress.stages_html(run.done, run.now), shown]
            told |= run.told
            finished = all(q in told and told[q].finished for q in asked)
            for question, answer in run.told.items():
                self.kept.put(session, sha256, question, answer)
            if run.fault is not None:
                said = progress.message_html(texts.CRASHED.format(kind=Path(subject["path"]).suffix or "?"), "problem")
            else:
                said = progress.finished_html(run.done, run.seconds) if finished else progress.message_html(STOPPED)
            yield [said, explanations_html(asked, told, cards, running=False)]

        def halt(turn: str):
            runs.stop(turn)
            return [progress.message_html(STOPPED), *_busy(False)]

        def choose(subject: dict | None, detector: str, pressed: gr.EventData) -> list:
            found = pressed_span(subject, detector, pressed.label, pressed.start_s) if subject else None
            return _choices(subject, cards, *found) if found else [gr.skip()] * len(self.choices)

        working = self.start.click(
            begin, ticket, [ticket, self.status, *buttons], trigger_mode="once", **light
        ).then(
            work,
            [self.subject, self.detector, self.span, self.moment, self.head, self.replacement, self.beside, ticket],
            [self.status, self.answer], show_progress="hidden", api_visibility="private", **queueing,
        )  # fmt: skip
        working.then(lambda: _busy(False), None, buttons, **light)
        self.stop.click(halt, ticket, [self.status, *buttons], **light)
        self.detector.input(lambda subject, detector: _choices(subject, cards, detector)[1:],
                            [self.subject, self.detector], self.choices[1:], **light)
        self.span.change(lambda span: [gr.Number(visible=span == "moment"), gr.Button(visible=span == "moment")],
                         self.span, [self.moment, self.take], **light)
        self.answer.choose(choose, [self.subject, self.detector], self.choices, **light)
        self.take.click(None, None, self.moment, js=PLAYER_TIME_JS, **light)


def offered(result: dict | None, cards: Mapping[str, dict] | None = None, path: str = "",
            device: str = "auto") -> list:
    """Values of WhyPanel.components for a new answer. None: no answer yet."""
    subject = subject_of(result, path, device) if result else None
    if subject is not None:  # a detector from outside may have nothing to explain it by
        known = {n: d for n, d in subject["detectors"].items() if (cards or {}).get(n, {}).get("explainable", True)}
        subject = {**subject, "detectors": known} if known else None
    choices = [gr.skip()] * 4 if subject is None else _choices(subject, cards)
    return [subject, gr.Column(visible=subject is not None), *choices, *_busy(False), "", ""]


def _choices(subject: dict, cards: Mapping[str, dict], detector: str | None = None, span: str | None = None) -> list:
    """Detector, span, head and second detector, with a first choice each."""
    known = subject["detectors"]
    if detector not in known:
        detector = first_detector(subject)
    named = [(detector_name(name, cards), name) for name in known]
    heads = [(HEAD_AUTO, "auto"), *((HEAD_NAMES[h], h) for h in known[detector]["heads"])]
    spans = span_choices(subject, detector)
    if span not in [value for _, value in spans]:
        span = first_span(subject, detector)
    others = [(NOBODY, ""), *((w, n) for w, n in named if n != detector)]
    return [
        gr.Radio(choices=named, value=detector),
        gr.Dropdown(choices=spans, value=span),
        gr.Radio(choices=heads, value="auto"),
        gr.Radio(choices=others, value="", visible=len(known) > 1),
    ]


def _busy(running: bool) -> list:
    """Explain and Stop."""
    return [gr.Button(interactive=not running), gr.Button(interactive=running)]
