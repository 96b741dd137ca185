"""The Compare panel: several detectors side by side on one clip, and two clips side by side with one detector."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import gradio as gr

from explain.answer import MODALITIES, detector_name, offset_words, several_faces, verdict_rule, verdict_words
from ui import agreement, progress, quality, texts, timeline
from ui.agreement import HEAD_NAMES, HEADS, Pair, Stance
from ui.holds import Holds
from ui.markup import escape, table
from ui.result import part_name
from ui.runs import LIGHT, Runs
from ui.scoring import Run
from ui.verdict import probability_words

TAB = "Compare"
NOTHING_YET = "The comparison appears here after an analysis."
NO_ANSWER = "There is no answer to compare: the clip could not be read."
ONE_ALONE = "Only one detector has judged this clip. Tick more of them under “{settings}” to compare."
WORDS_HEADING = "What they agree on, and what not"
SLIVERS = "Edges of spans that lie less than half a second apart are taken as one."

TABLE_CAPTION = "Score of each part by each detector, 0 to 1 (1 = manipulated), with the spans that it marks."
PART, DETECTOR, CONSENSUS = "Part", "Detector", "Together"
ROWS = {"verdict": "Verdict", "offset": quality.OFFSET, "weight": "Weight in the score", "time": "Time",
        "memory": "Memory"}
MEMORY = "+{rise} MB while scoring"
MEMORY_WEIGHTS = "{weights} MB of weights, {rise}"
MEMORY_RULE = {
    "card": "Memory: the weights, and the highest that PyTorch took on the graphics card while scoring.",
    "process": (
        "Memory: the weights, and how far the memory of the whole process rose while scoring. What earlier work had "
        "left free does not show in it, and what ran beside it does: it orders sizes and is no budget."
    ),
}
NOT_USED = "not used here"
MARKS = "marks {spans}"
MORE = "and {count} more"
MOST_SPANS = 3  # in one cell of the table
PREPARED = "{total} s in all; {prepare} s of it for reading the clip, once for all"
AFTER_PROBE = "Verdicts are those that the robustness probe left."
CONSENSUS_RULE = (
    "“{together}”: under each score stands whose scores it is made of, and how much each counts. Its verdict: {rule} "
    "One alarm among several accuses nobody."
)

LINES_HEADING = "All detectors under one axis"
LINES_HINT = "Press a marked span, or a second on the axis, and the player jumps there. The table above has the times."
COUNT_LANE = "How many mark"
SPAN_LABEL = "{name}: {part}, {start} to {end} s, score {score}"
LEGEND_COUNT = "of those who judge it, so many mark it"

MATRIX_CAPTION = (
    "Each two detectors: do their verdicts agree, and do their scores rise and fall at the same moments? 1 = always, "
    "0 = not at all, below 0 = one rises where the other falls."
)
MATRIX_NOTE = (
    "Windows overlap, so over a short clip two curves can move together by chance. Detectors that learnt from the "
    "same clips can also be wrong together."
)
SAME_VERDICT = {True: "same verdict", False: "different verdicts", None: "a verdict is missing"}
NO_CORRELATION = "cannot be told: too short, or a score that never moves"
NOTHING_SHARED = "no part that both judge"

CLIPS_HEADING = "Two clips, one detector"
CLIPS_HINT = (
    "Compare what may be the original with what may be an edit of it. Both are judged alike, on their own: a higher "
    "score says that more signs were found, not that one was made from the other."
)
FIRST_LABEL = f"First clip (empty: the one chosen under {texts.TAB_ANALYSE})"
SECOND_LABEL = "Second clip"
DETECTOR_LABEL = "Judged by"
START = "Compare the two clips"
NO_FIRST = f"Choose the first clip, here or under {texts.TAB_ANALYSE}."
NO_SECOND = "Choose the second clip."
ORDER = ("First clip", "Second clip")
CLIPS_CAPTION = "The two files and their scores by {detector}, 0 to 1 (1 = manipulated)."
CLIPS_ROWS = {"clip": "Name", "sha256": "SHA-256", "size": "Size", "duration": "Duration", "picture": "Picture",
              "sound": "Sound", "verdict": "Verdict"}
CLIPS_WORDS = "How they differ"
CLIPS_LINES = "Both under one axis"
CLIPS_LINES_HINT = "Each begins at its own first second. If one was cut, the same moment stands elsewhere in the other."
SCORES_MOVE = "A copy that was only saved again can score otherwise too: small differences mean little."


# ---- several detectors, one clip --------------------------------------------------------------------------------


def comparison_html(result: dict, cards: dict[str, dict]) -> str:
    """Everything about one clip: words, table, timelines, matrix. `cards`: detectors.available()."""
    if result.get("error") or not result.get("detectors"):
        return progress.message_html(NO_ANSWER)
    parts = [words_html(result, cards), scores_html(result, cards), timelines_html(result, cards),
             matrix_html(result, cards)]
    return f'<div class="tt-compare">{"".join(parts)}</div>'


def words_html(result: dict, cards: dict[str, dict]) -> str:
    said = agreement.sentences(result, cards)
    if not said:
        return progress.message_html(ONE_ALONE.format(settings=texts.SETTINGS))
    items = "".join(f"<li>{escape(sentence)}</li>" for sentence in said)
    return (f'<section class="tt-card"><h3>{escape(WORDS_HEADING)}</h3><ul class="tt-said">{items}</ul>'
            f'<p class="tt-hint">{escape(SLIVERS)}</p></section>')


def scores_html(result: dict, cards: dict[str, dict]) -> str:
    """All of them together, who come first so that a narrow page shows them, then a column per detector."""
    answers = result["detectors"]
    together = {"score": result.get("score"), **(result.get("consensus") or {})}
    rows = [(ROWS["verdict"], escape(verdict_words(result)[0]),
             *(_verdict_cell(a.get("verdict")) for a in answers.values()))]
    for head in HEADS:
        made = agreement.weights_words(result, head, cards) if len(answers) > 1 else ""
        rows.append((escape(HEAD_NAMES[head]), _with(_number_cell(together.get(head)), made),
                     *(_score_cell(a, head) for a in answers.values())))
    if any(a.get("offset_s") is not None for a in answers.values()):
        rows.append((ROWS["offset"], "", *(_offset_cell(a.get("offset_s")) for a in answers.values())))
    if len(answers) > 1:
        shares = agreement.weights(result, "score")
        rows.append((ROWS["weight"], "", *(_share_cell(a, shares.get(d)) for d, a in answers.items())))
    timings_s = result.get("timings_s") or {}
    rows.append((ROWS["time"], _total_cell(timings_s), *(_seconds_cell(timings_s.get(d)) for d in answers)))
    memory = result.get("memory") or {}
    if memory:
        rows.append((ROWS["memory"], "", *(_memory_cell(memory.get(d)) for d in answers)))
    headers = (PART, CONSENSUS, *(detector_name(d, cards) for d in answers))
    html = table(TABLE_CAPTION, headers, rows, row_headers=True)
    for of in dict.fromkeys(m["of"] for m in memory.values()):
        html += f'<p class="tt-hint">{escape(MEMORY_RULE[of])}</p>'
    if len(answers) == 1:
        return html
    how = verdict_rule(result.get("consensus") or {}, cards)
    rule = CONSENSUS_RULE.format(together=CONSENSUS, rule=f"{how[0].lower()}{how[1:]}")
    return f'{html}<p class="tt-hint">{escape(f"{rule} {AFTER_PROBE}" if result.get("probe") else rule)}</p>'


def _verdict_cell(verdict: str | None) -> str:
    return escape(texts.VERDICTS[verdict][0]) if verdict in texts.VERDICTS else escape(texts.NOT_JUDGED)


def _with(cell: str, note: str) -> str:
    return f'{cell}<br><span class="tt-muted">{escape(note).replace(" %", "&nbsp;%")}</span>' if note else cell


def _number_cell(score: float | None) -> str:
    if score is None:
        return f'<span class="tt-muted">{escape(texts.NOT_JUDGED)}</span>'
    return f"<strong>{score:.2f}</strong> {escape(probability_words(score))}"


def _score_cell(answer: dict, head: str) -> str:
    spans = [] if head == "score" else agreement.marked_spans(answer, head, None)
    return _number_cell(answer.get(head)) + (f"<br>{escape(_spans_words(spans))}" if spans else "")


def _spans_words(spans: list[tuple[float, float]]) -> str:
    told = [f"{a:.1f} to {b:.1f} s" for a, b in sorted(spans)[:MOST_SPANS]]
    if len(spans) > MOST_SPANS:
        told.append(MORE.format(count=len(spans) - MOST_SPANS))
    return MARKS.format(spans=", ".join(told))


def _offset_cell(offset_s: float | None) -> str:
    if offset_s is None:
        return ""
    return escape(offset_words(offset_s)[0])


def _share_cell(answer: dict, share: float | None) -> str:
    if share is not None:
        return f"{share * 100:.0f} %"
    return f'<span class="tt-muted">{escape(texts.NOT_JUDGED if answer.get("score") is None else NOT_USED)}</span>'


def _seconds_cell(seconds: float | None) -> str:
    return "" if seconds is None else f"{seconds:.1f} s"


def _memory_cell(memory: dict | None) -> str:
    if memory is None:
        return ""
    rise = MEMORY.format(rise=f"{memory['rise_mb']:.0f}")
    if memory["weights_mb"] is None:
        return rise
    return MEMORY_WEIGHTS.format(weights=f"{memory['weights_mb']:.0f}", rise=rise)


def _total_cell(timings_s: dict) -> str:
    if "total" not in timings_s:
        return ""
    return PREPARED.format(total=f"{timings_s['total']:.1f}", prepare=f"{timings_s.get('prepare', 0):.1f}")


def matrix_html(result: dict, cards: dict[str, dict]) -> str:
    """The agreement of each two detectors, in words; each pair once."""
    answers = list(result["detectors"])
    if len(answers) < 2:
        return ""
    cells = {(p.first, p.second): _pair_cell(p) for p in agreement.pairs(result)}
    rows = [
        (escape(detector_name(row, cards)), *(cells.get((column, row), "") for column in answers[:-1]))
        for row in answers[1:]
    ]
    html = table(MATRIX_CAPTION, (DETECTOR, *(detector_name(d, cards) for d in answers[:-1])), rows, row_headers=True)
    return f'<div class="tt-matrix">{html}</div><p class="tt-hint">{escape(MATRIX_NOTE)}</p>'


def _pair_cell(pair: Pair) -> str:
    lines = [f"<strong>{escape(SAME_VERDICT[pair.same_verdict])}</strong>"]
    for modality, r in pair.correlations.items():
        words = NO_CORRELATION if r is None else f"{r:.2f}, {agreement.correlation_words(r)}"
        lines.append(f"{escape(texts.MODALITIES[modality])}: {escape(words)}")
    if not pair.correlations:
        lines.append(escape(NOTHING_SHARED))
    kind = {True: "same", False: "differ", None: "unknown"}[pair.same_verdict]
    return f'<div class="tt-pair tt-pair-{kind}">{"<br>".join(lines)}</div>'


# ---- timelines --------------------------------------------------------------------------------------------------


def timelines_html(result: dict, cards: dict[str, dict]) -> str:
    """Part after part, the detectors that judge it under one another, all on the clip's one axis."""
    duration = result.get("duration_s")
    if not duration:
        return ""
    several, stances = several_faces(result), agreement.stances(result)
    opens = {detector: agreement.opening_level(result, detector) for detector in result["detectors"]}
    groups = ""
    for modality in MODALITIES:
        asked = agreement.judges(result, modality)
        for track in agreement.tracks(result, modality) if asked else ():
            part = part_name(modality, track, several)
            groups += f'<h4 class="tt-group">{escape(part)}</h4>'
            for detector in asked:
                name = detector_name(detector, cards)
                groups += _lane(name, result["detectors"][detector], modality, track, duration, opens[detector], part,
                                seeks=True)
            marked = [s for s in stances if (s.modality, s.track) == (modality, track)]
            if marked and len(asked) > 1:
                groups += _count_lane(marked, duration)
    counted = [("tt-key-count", LEGEND_COUNT)] if "tt-counts" in groups else []
    return timeline.card_html(LINES_HEADING, LINES_HINT, groups, duration, counted, spans=bool(stances),
                              note=timeline.proposers_html(opens, cards))


def _lane(name: str, answer: dict, modality: str, track: int | None, duration: float, opens: float | None, part: str,
          seeks: bool) -> str:
    def label(segment: dict) -> str:
        start, end, score = (segment[k] for k in ("start_s", "end_s", "score"))
        return SPAN_LABEL.format(name=name, part=part, start=f"{start:.1f}", end=f"{end:.1f}", score=f"{score:.2f}")

    return timeline.lane_html(name, answer, modality, track, duration, opens, label, seeks, low=True)


def _count_lane(stances: list[Stance], duration: float) -> str:
    """Over each marked span, how many of its judges mark it. The sentences say the same, so it is a picture alone."""
    marks = "".join(
        f'<span class="tt-count{" tt-count-all" if len(s.marks) == s.judges else ""}" '
        f'style="{timeline.place(s.start_s, s.end_s, duration)}"><span>{len(s.marks)}/{s.judges}</span></span>'
        for s in stances
    )
    return (f'<div class="tt-row tt-counts" aria-hidden="true"><span class="tt-lane-name tt-muted">'
            f'{escape(COUNT_LANE)}</span><div class="tt-lane-count"><div class="tt-track">{marks}</div></div></div>')


# ---- two clips, one detector ------------------------------------------------------------------------------------


def two_clips_html(first: dict, second: dict, detector: str, cards: dict[str, dict]) -> str:
    """Two results of the same detector: differences in words, a table, timelines under one another."""
    said = "".join(f"<li>{escape(s)}</li>" for s in agreement.clip_differences(first, second, detector))
    return (
        f'<div class="tt-compare"><section class="tt-card"><h3>{escape(CLIPS_WORDS)}</h3>'
        f'<ul class="tt-said">{said}</ul><p class="tt-hint">{escape(SCORES_MOVE)}</p></section>'
        f"{_clips_table(first, second, detector, cards)}{_clips_lines(first, second, detector)}</div>"
    )


def _clips_table(first: dict, second: dict, detector: str, cards: dict[str, dict]) -> str:
    clips = (first, second)
    answers = [(clip.get("detectors") or {}).get(detector) or {} for clip in clips]
    cells: dict[str, Callable[[dict], str]] = {
        "clip": lambda clip: escape(clip.get("clip") or ""),
        "sha256": lambda clip: f"<code>{escape(clip.get('sha256') or '–')}</code>",
        "size": lambda clip: escape(_size(clip.get("media") or {})),
        "duration": lambda clip: "–" if clip.get("duration_s") is None else f"{clip['duration_s']:.2f} s",
        "picture": lambda clip: escape(_picture(clip.get("media") or {})),
        "sound": lambda clip: escape(_sound(clip.get("media") or {})),
        "verdict": lambda clip: _verdict_cell(clip.get("verdict")),
    }
    rows = [(escape(CLIPS_ROWS[key]), *(cell(clip) for clip in clips)) for key, cell in cells.items()]
    rows += [(escape(HEAD_NAMES[head]), *(_score_cell(a, head) for a in answers)) for head in HEADS]
    if any(clip.get("error") for clip in clips):
        rows.append(("", *(escape(clip.get("error") or "") for clip in clips)))
    caption = CLIPS_CAPTION.format(detector=detector_name(detector, cards))
    return table(caption, (PART, *ORDER), rows, row_headers=True)


def _size(media: dict) -> str:
    return "–" if media.get("size_bytes") is None else f"{media['size_bytes']:,} bytes"


def _picture(media: dict) -> str:
    if not media.get("video_codec"):
        return "none"
    size = f", {media['width_px']} × {media['height_px']} px" if media.get("width_px") else ""
    return f"{media['video_codec']}{size}"


def _sound(media: dict) -> str:
    if not media.get("audio_codec"):
        return "none"
    return f"{media['audio_codec']}" + (f", {media['audio_hz']} Hz" if media.get("audio_hz") else "")


def _clips_lines(first: dict, second: dict, detector: str) -> str:
    clips = [(name, clip) for name, clip in zip(ORDER, (first, second))
             if clip.get("duration_s") and detector in (clip.get("detectors") or {})]
    if len(clips) < 2:
        return ""
    duration = max(clip["duration_s"] for _, clip in clips)
    groups = ""
    for modality in MODALITIES:
        if not any(agreement.judges(clip, modality) for _, clip in clips):
            continue
        groups += f'<h4 class="tt-group">{escape(texts.MODALITIES[modality])}</h4>'
        for order, clip in clips:
            for track in agreement.tracks(clip, modality):
                face = track is not None and several_faces(clip)
                name = texts.TIMELINE_LANE_FACE.format(part=order, number=track + 1) if face else order
                groups += _lane(name, clip["detectors"][detector], modality, track, duration,
                                agreement.opening_level(clip, detector), texts.MODALITIES[modality], seeks=False)
    return timeline.card_html(CLIPS_LINES, CLIPS_LINES_HINT, groups, duration, seeks=False)


# ---- components -------------------------------------------------------------------------------------------------


def build(cards: dict[str, dict], holds: Holds, runs: Runs, video: gr.Video, audio: gr.Audio, kind: gr.State,
          device: gr.Component, **queueing) -> gr.HTML:
    """Builds the panel inside the current gr.Blocks and returns the component that takes comparison_html(result, cards)
    after each analysis.

    cards: detectors.available(). runs: of all sessions, which the Analyse panel stops when a page is closed. video,
    audio, kind ("video" | "audio") and device: the Analyse panel's inputs, from which the first clip comes where none
    is given here. queueing: of the inference events, shared with Analyse.
    """
    comparison = gr.HTML(progress.message_html(NOTHING_YET), js_on_load=timeline.JS, elem_id="comparison")
    with gr.Accordion(CLIPS_HEADING, open=False, elem_id="two-clips"):
        gr.HTML(f'<p class="tt-small">{escape(CLIPS_HINT)}</p>')
        with gr.Row():
            files = [gr.File(label=label, file_count="single", height=150, elem_id=f"{name}-clip")
                     for name, label in (("first", FIRST_LABEL), ("second", SECOND_LABEL))]
        paths = [gr.State(None), gr.State(None)]
        ticket = gr.State("")
        detector = gr.Radio(choices=[(detector_name(d, cards), d) for d in cards], value=next(iter(cards), None),
                            label=DETECTOR_LABEL, elem_id="clips-detector")
        with gr.Row():
            start = gr.Button(START, variant="primary", elem_id="compare-clips", scale=3)
            stop = gr.Button(texts.STOP, interactive=False, elem_id="compare-stop", scale=1)
        status = gr.HTML("", js_on_load=progress.JS, elem_id="compare-status", label=texts.STATUS_LABEL)
        outcome = gr.HTML("", elem_id="two-clips-answer")

    def keep(upload: dict | None, request: gr.Request) -> str | None:
        return holds.claim_upload(request.session_hash, upload)

    def begin(request: gr.Request):
        return [runs.draw(request.session_hash), progress.stages_html([], texts.WAITING),
                gr.Button(interactive=False), gr.Button(interactive=True), ""]

    def work(first: str | None, second: str | None, video_path: str | None, audio_path: str | None, active: str,
             by: str, on: str, turn: str, request: gr.Request) -> Iterator[list]:
        chosen = (audio_path or video_path) if active == "audio" else (video_path or audio_path)
        first = first or chosen
        missing = [words for path, words in ((first, NO_FIRST), (second, NO_SECOND)) if not path]
        gone = [texts.UPLOAD_GONE for path in (first, second) if path and not Path(path).is_file()]
        if missing or gone or by not in cards:
            yield [progress.message_html(" ".join(missing) or texts.UPLOAD_GONE, "problem"), ""]
            return
        answers, done = [], []
        for order, path in zip(ORDER, (first, second)):
            holds.claim(request.session_hash, path)
            run = Run(path, [by], on)
            with runs.under(turn, run):
                for _ in run.stages():
                    yield [progress.stages_html(done + _named(order, run.done), f"{order}: {run.now}"), gr.skip()]
            done += _named(order, run.done)
            if run.result is None:
                break
            answers.append(run.result)
        if run.fault is not None:
            yield [progress.message_html(texts.CRASHED.format(kind=Path(path).suffix or "?"), "problem"), ""]
        elif len(answers) < 2:
            yield [progress.message_html(texts.STOPPED), ""]
        else:
            yield [progress.finished_html(done, sum(seconds for _, seconds in done)),
                   two_clips_html(*answers, by, cards)]

    def end():
        return [gr.Button(interactive=True), gr.Button(interactive=False)]

    def halt(turn: str):
        runs.stop(turn)
        return [progress.message_html(texts.STOPPED), *end()]

    for file, path in zip(files, paths):
        # Not preprocessed: gr.File would leave an empty file of its own in the upload folder at every call.
        file.change(keep, file, path, preprocess=False, **LIGHT)
    start.click(begin, None, [ticket, status, start, stop, outcome], trigger_mode="once", **LIGHT).then(
        work,
        [*paths, video, audio, kind, detector, device, ticket],
        [status, outcome],
        show_progress="hidden",
        api_visibility="private",
        **queueing,
    ).then(end, None, [start, stop], **LIGHT)
    stop.click(halt, ticket, [status, start, stop], **LIGHT)
    return comparison


def _named(order: str, done: list[tuple[str, float]]) -> list[tuple[str, float]]:
    return [(f"{order}: {text}", seconds) for text, seconds in done]
