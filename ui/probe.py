"""The robustness probe: a button below the verdict, and what copies of the clip do to the answer."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import gradio as gr

import detectors as core
from detectors.probe import LIMIT_S
from explain.answer import detector_name, thresholds, was_lowered
from media.variants import VARIANTS
from ui import progress, texts
from ui.markup import clock, escape, table
from ui.runs import Runs
from ui.scoring import Run, on_lent_gpu
from ui.verdict import spread_html

START = "Does it hold? Try copies of this clip"
HINT = (
    "Telltale makes up to {count} copies of your clip (half the size, strongly compressed, with poor sound, with the "
    "sound moved by two frames) and judges each. A verdict that a copy turns is never raised: it becomes “some signs” "
    "at most, or “cannot be judged”. After {minutes:.0f} minutes no further copy is begun. The copies are deleted at "
    "once."
)
STOPPED = "Stopped. The answer stays as it was."
HEADING = "Does the answer hold?"
LOWERED = "The verdict above was lowered because of it."
PART = "Probed were {start} to {end}, around the most suspicious moment: longer clips are not tried as a whole."
SPREAD = "Scores over the clip and its copies: {lowest} to {highest}. The clip itself: {own}."
CAPTION = "Each row is one copy of the clip with one thing changed. Scores are estimated probabilities of manipulation."
CHANGED, TOGETHER, VERDICT, CHANGE = "What was changed", "Together", "Verdict", "Change"
NOTHING_CHANGED = "Nothing: the clip itself"
NOTHING_CHANGED_PART = "Nothing: this part of the clip itself"
HOLDS, TURNS = "{change}, holds", "{change}, turns the answer"
LOST = "cannot be judged any more: {parts} lost"
LOST_ALL = "cannot be judged any more"
NOT_TRIED = "not tried"
NONE = "–"


def probe_html(result: dict, cards: dict[str, dict]) -> str:
    """The sentence, the spread and the table of copies; "" where no copies were tried for this answer."""
    probe = result.get("probe")
    if not probe:
        return ""
    outcome = probe["consensus"]
    notes = [probe["summary"], *([LOWERED] if was_lowered(result) else [])]
    if _is_part(result):
        start, end = probe["span_s"]
        notes.append(PART.format(start=clock(start), end=clock(end)))
    spread = ""
    if outcome["tried"] and outcome["clip"]["score"] is not None:
        words = SPREAD.format(own=_score(outcome["clip"]), **{k: f"{outcome[k]:.2f}" for k in ("lowest", "highest")})
        # A lowered verdict's card shows the scale already.
        picture = "" if was_lowered(result) else spread_html(outcome, thresholds(result))
        spread = f'<p class="tt-hint">{escape(words)}</p>{picture}'
    said = "".join(f"<p>{escape(note)}</p>" for note in notes)
    return (
        f'<section class="tt-card tt-probe"><h3>{escape(HEADING)}</h3>{said}{spread}</section>'
        f"{_variants_table(result, cards)}"
    )


def _variants_table(result: dict, cards: dict[str, dict]) -> str:
    probe = result["probe"]
    names = list(probe["detectors"])
    several = len(names) > 1
    columns = names if several else []  # one alone is what stands under TOGETHER
    headers = (CHANGED, TOGETHER if several else detector_name(names[0], cards), VERDICT, CHANGE,
               *(detector_name(n, cards) for n in columns))
    own = probe["consensus"]["clip"]
    nothing = NOTHING_CHANGED_PART if _is_part(result) else NOTHING_CHANGED
    rows = [(nothing, *_outcome(own), NONE, *(_own_reading(probe["detectors"][n]["clip"]) for n in columns))]
    for variant in probe["variants"]:
        if variant["not_tried"] is not None:
            rows.append((variant["doing"], NONE, NOT_TRIED, variant["not_tried"], *[NONE] * len(columns)))
        else:
            rows.append((variant["doing"], *_outcome(variant["consensus"]), change_words(own, variant["consensus"]),
                         *(_own_reading(variant["detectors"][n]) for n in columns)))
    escaped = [tuple(escape(cell) for cell in row) for row in rows]
    return f'<div class="tt-copies">{table(CAPTION, headers, escaped, row_headers=True)}</div>'


def _outcome(consensus: dict) -> tuple[str, str]:
    """Score and verdict of all detectors together."""
    return _score(consensus), texts.SHORT_VERDICTS[consensus["verdict"]]


def _own_reading(reading: dict) -> str:
    """One detector's score with its own verdict."""
    verdict = "" if reading["score"] is None else f", {texts.SHORT_VERDICTS[reading['verdict']]}"
    return _score(reading) + verdict


def change_words(clip: dict, copy: dict) -> str:
    """What a copy does to the answer about the clip: readings of detectors.probe, as JSON."""
    if clip["score"] is None:
        return NONE
    if copy["score"] is None:
        parts = " and ".join(texts.MODALITIES[m].lower() for m in copy["lost"])
        return LOST.format(parts=parts) if parts else LOST_ALL
    change = copy["score"] - clip["score"]
    sign = "±" if round(change, 2) == 0 else "+" if change > 0 else "−"
    words = HOLDS if copy["verdict"] == clip["verdict"] else TURNS
    return words.format(change=f"{sign}{abs(change):.2f}")


def _is_part(result: dict) -> bool:
    start, end = result["probe"]["span_s"]
    return end - start < result["duration_s"] - 0.05


def _score(reading: dict) -> str:
    return texts.NOT_JUDGED if reading["score"] is None else f"{reading['score']:.2f}"


class ProbeRun(Run):
    """The analysis once more, copies included: the same call as scan.py --probe. What was prepared is reused."""

    def _answer(self, path: str, detectors: list[str], device: str) -> dict:
        # Making copies is the processor's work: on a lent GPU most of the grant would be wasted.
        on = "cpu" if on_lent_gpu() else device
        return core.analyse(path, detectors=detectors, device=on, on_stage=self._on_stage, probe=True)


class ProbePanel:
    """Button, progress and table, made inside the current gr.Blocks. `components` take what offered() gives."""

    def __init__(self) -> None:
        self.subject = gr.State(None)  # what the answer on the page is about: path, detectors, device
        with gr.Column(visible=False, elem_id="probe-panel") as self.column:
            with gr.Row(elem_id="probe-actions"):
                self.start = gr.Button(START, variant="secondary", elem_id="probe", scale=3)
                self.stop = gr.Button(texts.STOP, variant="secondary", interactive=False, elem_id="probe-stop", scale=1)
            hint = HINT.format(count=len(VARIANTS), minutes=LIMIT_S / 60)
            gr.HTML(f'<p class="tt-small">{escape(hint)}</p>')
            self.status = gr.HTML("", js_on_load=progress.JS, elem_id="probe-status", label=texts.STATUS_LABEL)
            self.table = gr.HTML("", elem_id="probe-table")
        self.components = [self.subject, self.column, self.start, self.stop, self.status, self.table]

    def connect(self, runs: Runs, ticket: gr.State, cards: dict[str, dict], changed: list,
                render: Callable[[dict], list], queueing: dict, light: dict) -> None:
        """Wires the buttons. `changed`: the components elsewhere whose values render(result) gives anew; `ticket`: of
        the session's latest run, so that another run ends this one."""
        buttons = [self.start, self.stop]

        def begin(last: str, request: gr.Request):
            runs.stop(last)
            return [runs.draw(request.session_hash), progress.stages_html([], texts.WAITING), "", *_busy(True)]

        def work(subject: dict | None, turn: str) -> Iterator[list]:
            quiet = [gr.skip()] * (1 + len(changed))
            if not subject or not Path(subject["path"]).is_file():
                yield [progress.message_html(texts.UPLOAD_GONE, "problem"), *quiet]
                return
            run = ProbeRun(**subject)
            with runs.under(turn, run):
                for _ in run.stages():
                    yield [progress.stages_html(run.done, run.now), *quiet]
            if run.fault is not None:
                sentence = texts.CRASHED.format(kind=Path(subject["path"]).suffix or "?")
                yield [progress.message_html(sentence, "problem"), *quiet]
            elif run.result is None:
                yield [progress.message_html(STOPPED), *quiet]
            elif run.result.get("error"):
                yield [progress.message_html(run.result["error"], "problem"), *quiet]
            else:
                finished = texts.FINISHED.format(seconds=f"{run.seconds:.1f}")
                yield [progress.message_html(finished), probe_html(run.result, cards), *render(run.result)]

        def halt(turn: str):
            runs.stop(turn)
            return [progress.message_html(STOPPED), *_busy(False)]

        working = self.start.click(
            begin, ticket, [ticket, self.status, self.table, *buttons], trigger_mode="once", **light
        ).then(
            work, [self.subject, ticket], [self.status, self.table, *changed],
            show_progress="hidden", api_visibility="private", **queueing,
        )  # fmt: skip
        working.then(lambda: _busy(False), None, buttons, **light)
        self.stop.click(halt, ticket, [self.status, *buttons], **light)


def offered(result: dict | None, path: str = "", device: str = "auto") -> list:
    """Values of ProbePanel.components for a new answer: only one with a score can be probed. None: no answer yet."""
    can = bool(result) and result.get("score") is not None
    subject = {"path": path, "detectors": list(result["detectors"]), "device": device} if can else None
    return [subject, gr.Column(visible=can), *_busy(False), "", ""]


def _busy(running: bool) -> list:
    """Start and Stop."""
    return [gr.Button(interactive=not running), gr.Button(interactive=running)]
