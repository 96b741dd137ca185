"""The Analyse panel: choose a clip, watch the stages, read the answer."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import gradio as gr
import torch

from ui import batch, compare, details, explain, mouth, player, progress, quality, texts, timeline
from ui import demos as demo_clips
from ui.figures import figure_alt, scores_figure
from ui.holds import Holds
from ui.markup import escape
from ui.probe import ProbePanel, offered
from ui.runs import LIGHT, Runs
from ui.scoring import Run
from ui.verdict import verdict_html

INFERENCE = {"concurrency_id": "inference", "concurrency_limit": 1}  # one analysis at a time, UI and API together
# A file that the browser cannot play (HEVC, say) is no error here: our sentence instead of Gradio's alarm. And one that
# a tab does not take is told in words, where Gradio's notice names media types.
PREVIEW_JS = """
const note = element.querySelector('.tt-no-preview');
const inInput = (event) => event.target instanceof Element && event.target.closest('#clip, #sound');
window.addEventListener('error', (event) => {
  if (!inInput(event)) return;
  event.stopImmediatePropagation();
  note.hidden = false;
}, true);
for (const name of ['loadeddata', 'click']) {
  window.addEventListener(name, (event) => { if (inInput(event)) note.hidden = true; }, true);
}
const refusal = element.querySelector('[data-wrong-kind]').dataset.wrongKind;
new MutationObserver(() => {
  for (const notice of document.querySelectorAll('[data-testid="toast-text"]')) {
    if (notice.textContent.startsWith('Invalid file type')) notice.textContent = refusal;
  }
}).observe(document.body, { childList: true, subtree: true });
"""
# On a phone the answer comes below the input, and the demo clips below the answer.
_SCROLL = """(...values) => {
  const calm = matchMedia('(prefers-reduced-motion: reduce)').matches;
  const target = document.querySelector('%s');
  const box = target.getBoundingClientRect();
  if (box.top < 0 || box.top > innerHeight * 0.6)
    target.scrollIntoView({ block: 'start', behavior: calm ? 'auto' : 'smooth' });
  return values;
}"""
SHOW_VERDICT = _SCROLL % "#verdict"
SHOW_INPUT = _SCROLL % "#input-column"


def analyse_panel(cards: dict[str, dict], holds: Holds, histories: batch.Histories) -> None:
    """Builds the panel inside the current gr.Blocks. `cards`: detectors.available()."""
    demos = demo_clips.read_demos()
    runs = Runs()

    with gr.Row(equal_height=False, elem_id="columns"):
        with gr.Column(scale=4, min_width=300, elem_id="input-column"):
            kind = gr.State("video")
            ticket = gr.State("")
            asked = gr.State(None)  # path of the clip that the answer on the page, or the run under way, is about
            with gr.Tabs(elem_id="input-tabs") as tabs:
                with gr.Tab(texts.VIDEO_TAB, id="video") as video_tab:
                    video = gr.Video(
                        label=texts.VIDEO_LABEL,
                        sources=["upload", "webcam"],
                        format=None,  # this and the next two keep the received bytes: nothing is re-encoded
                        include_audio=True,
                        webcam_options=gr.WebcamOptions(mirror=False),
                        buttons=[],  # "share" would post the clip elsewhere
                        elem_id="clip",
                    )
                with gr.Tab(texts.AUDIO_TAB, id="audio") as audio_tab:
                    audio = gr.Audio(
                        label=texts.AUDIO_LABEL,
                        sources=["upload", "microphone"],
                        type="filepath",
                        format=None,
                        editable=False,
                        buttons=[],
                        elem_id="sound",
                    )
                with gr.Tab(texts.PICTURE_TAB, id="picture") as picture_tab:
                    picture = gr.Image(
                        label=texts.PICTURE_LABEL, sources=["upload"], type="filepath", buttons=[], elem_id="picture",
                    )  # fmt: skip
                    picture_path = gr.State(None)  # of the file as it came: gr.Image itself would open it
            gr.HTML(
                f'<p class="tt-message tt-no-preview" hidden>{escape(texts.NO_PREVIEW)}</p>'
                f'<p class="tt-small" data-wrong-kind="{escape(texts.WRONG_KIND)}">{escape(texts.LIMITS)}</p>',
                js_on_load=PREVIEW_JS,
            )
            with gr.Row(elem_id="actions"):
                start = gr.Button(texts.ANALYSE, variant="primary", elem_id="analyse", scale=3)
                stop = gr.Button(texts.STOP, variant="secondary", interactive=False, elem_id="stop", scale=1)
            status = gr.HTML("", js_on_load=progress.JS, elem_id="status", label=texts.STATUS_LABEL)
            with gr.Accordion(texts.SETTINGS, open=False):
                chosen = gr.CheckboxGroup(
                    choices=[(str(card.get("name") or name), name) for name, card in cards.items()],
                    value=list(cards),
                    label=texts.DETECTORS_LABEL,
                    info=texts.DETECTORS_INFO,
                    elem_id="detectors",
                )
                devices = ["auto", "cpu", *(["cuda"] if torch.cuda.is_available() else [])]
                device = gr.Radio(
                    choices=[(texts.DEVICES[d], d) for d in devices],
                    value="auto",
                    label=texts.DEVICE_LABEL,
                    elem_id="device",
                )
            gr.HTML(f'<p class="tt-small">{escape(texts.PRIVACY)}</p>')

        with gr.Column(scale=8, min_width=320, elem_id="result-column"):
            welcome = gr.HTML(_welcome_html(), elem_id="welcome")
            verdict = gr.HTML("", elem_id="verdict")
            probing = ProbePanel()
            with gr.Column(visible=False, elem_id="evidence") as evidence:
                with gr.Row(elem_id="watch"):
                    clip_player = gr.HTML("", js_on_load=player.JS, elem_id="player")
                    mouthing = mouth.MouthPanel()
                spans = gr.HTML("", js_on_load=timeline.JS, elem_id="timeline")
                why = explain.WhyPanel()
                with gr.Tabs(elem_id="detail-tabs"):
                    with gr.Tab(texts.TAB_SCORES):
                        alt = gr.HTML("", elem_id="scores-alt")
                        scores = gr.Plot(show_label=False, container=False, elem_id="scores")
                    with gr.Tab(texts.TAB_SEGMENTS):
                        table = gr.HTML("", js_on_load=timeline.SEEK_JS, elem_id="segments")
                    with gr.Tab(texts.TAB_DETECTORS):
                        answers = gr.HTML("", elem_id="answers")
                    with gr.Tab(texts.TAB_FILE):
                        file_facts = gr.HTML("", js_on_load=quality.JS, elem_id="file-facts")
                    with gr.Tab(compare.TAB):
                        comparison = compare.build(cards, holds, runs, video, audio, kind, device, **INFERENCE)
            download = gr.HTML("", elem_id="download")

    picker = gr.HTML(demo_clips.demos_html(demos), js_on_load=demo_clips.JS, elem_id="demos")

    inputs = [video, audio, picture_path, kind]
    shown = [welcome, verdict, evidence, clip_player, spans, alt, scores, table, answers, file_facts, download,
             comparison, *probing.components, *mouthing.components, *why.components]
    buttons = [start, stop]

    def begin(video_path: str | None, audio_path: str | None, picture_path: str | None, active: str, last: str,
              request: gr.Request):
        """At once, before the queue: old answers go, a probe of the old clip ends, Stop works."""
        runs.stop(last)
        return [
            _chosen(video_path, audio_path, picture_path, active),
            runs.draw(request.session_hash),
            progress.stages_html([], texts.WAITING),
            gr.Button(interactive=False),
            gr.Button(interactive=True),
            *_nothing(),
        ]

    def work(
        video_path: str | None,
        audio_path: str | None,
        picture_path: str | None,
        active: str,
        detectors: list[str],
        on: str,
        turn: str,
        request: gr.Request,
    ) -> Iterator[list]:
        quiet = [gr.skip()] * len(shown)
        path = _chosen(video_path, audio_path, picture_path, active)
        if not path:
            yield [progress.message_html(texts.NO_CLIP, "problem"), *quiet]
            return
        if not Path(path).is_file():
            yield [progress.message_html(texts.UPLOAD_GONE, "problem"), *quiet]
            return
        holds.claim(request.session_hash, path)
        on = on if on in devices else "auto"
        run = Run(path, [d for d in detectors if d in cards], on)
        with runs.under(turn, run):
            for _ in run.stages():
                yield [progress.stages_html(run.done, run.now), *quiet]
        if run.fault is not None:
            sentence = texts.CRASHED.format(kind=Path(path).suffix or "?")
            yield [progress.message_html(sentence, "problem"), *quiet]
        elif run.result is None:
            yield [progress.message_html(texts.STOPPED), *quiet]
        else:
            histories.record(request.session_hash, run.result)
            answer = _answer(run.result, cards, path, on, demo_clips.planted(run.result, demos))
            yield [progress.finished_html(run.done, run.seconds), *answer]

    def end():
        return [gr.Button(interactive=True), gr.Button(interactive=False)]

    def halt(turn: str):
        runs.stop(turn)
        return [progress.message_html(texts.STOPPED), *end()]

    def pick(event: gr.EventData):
        demo = demos[event.demo]
        sound = demo_clips.is_sound(demo["path"])
        return [
            None if sound else demo["path"],
            demo["path"] if sound else None,
            gr.Tabs(selected="audio" if sound else "video"),
            "audio" if sound else "video",
            progress.message_html(texts.DEMO_LOADED.format(title=demo["title"])),
        ]

    def hold(video_path: str | None, audio_path: str | None, picture_path: str | None, active: str, about: str | None,
             turn: str, request: gr.Request):
        """Of what is chosen now: its file is held, and an answer to another clip goes, with the run that makes one."""
        for path in filter(None, (video_path, audio_path)):
            holds.claim(request.session_hash, path)
        path = _chosen(video_path, audio_path, picture_path, active)
        if about is None or path == about:
            return [gr.skip()] * (1 + len(shown))
        runs.stop(turn)
        is_demo = path in {demo["path"] for demo in demos}  # pick() has said that it is loaded
        return [gr.skip() if is_demo else "", *_nothing()]

    def keep(upload: dict | None, request: gr.Request) -> str | None:
        return holds.claim_upload(request.session_hash, upload)

    def leave(request: gr.Request) -> None:
        """The page was closed: nothing of the session stays."""
        session = request.session_hash
        runs.leave(session)
        why.kept.forget(session)
        holds.release(session)

    def probed(result: dict) -> list:
        return [verdict_html(result, cards), details.detectors_html(result, cards),
                details.downloads_html(result, cards), compare.comparison_html(result, cards)]

    working = start.click(
        begin, [*inputs, ticket], [asked, ticket, status, *buttons, *shown], trigger_mode="once", **LIGHT
    ).then(
        work,
        [*inputs, chosen, device, ticket],
        [status, *shown],
        show_progress="hidden",
        api_visibility="private",
        **INFERENCE,
    )
    finished = working.then(end, None, buttons, js=SHOW_VERDICT, **LIGHT)
    # No `cancels`: it would race with the last stage on its way to the page. The run ends itself at once.
    stop.click(halt, ticket, [status, *buttons], **LIGHT)
    probing.connect(runs, ticket, cards, [verdict, answers, download, comparison], probed, INFERENCE, LIGHT)
    why.connect(runs, ticket, cards, INFERENCE, LIGHT)
    holds.chores.append(why.kept.forget_old)
    picker.pick(pick, None, [video, audio, tabs, kind, status], js=SHOW_INPUT, **LIGHT)
    video_tab.select(lambda: "video", None, kind, **LIGHT)
    audio_tab.select(lambda: "audio", None, kind, **LIGHT)
    picture_tab.select(lambda: "picture", None, kind, **LIGHT)
    picture.change(keep, picture, picture_path, preprocess=False, **LIGHT)
    holding = {"fn": hold, "inputs": [*inputs, asked, ticket], "outputs": [status, *shown], **LIGHT}
    gr.on([video.change, audio.change, picture_path.change, kind.change], **holding)
    finished.then(**holding)  # its answer may have been on its way while another clip was chosen
    gr.context.Context.root_block.unload(leave)


def _chosen(video: str | None, audio: str | None, picture: str | None, active: str) -> str | None:
    """Path of the clip that Analyse takes: of the tab in front, else of the first tab that has one."""
    return {"video": video, "audio": audio, "picture": picture}.get(active) or video or audio or picture


def _nothing() -> list:
    """Empty values for every result component; the welcome text stays hidden from the first run on."""
    pending = f'<p class="tt-card tt-pending">{escape(texts.PENDING)}</p>'
    return [gr.HTML(visible=False), pending, gr.Column(visible=False), "", "", "", None, *[""] * 5, *offered(None),
            *mouth.offered(None), *explain.offered(None)]


def _answer(result: dict, cards: dict[str, dict], path: str, device: str, planted: dict | None) -> list:
    """Values of every result component for one result object."""
    judged = bool(result.get("detectors")) and not result.get("error")
    return [
        gr.HTML(visible=False),
        verdict_html(result, cards),
        gr.Column(visible=not result.get("error")),
        "" if result.get("error") else player.player_html(result, path),
        timeline.timeline_html(result, cards, planted),
        _figure_words(result, cards) if judged else "",
        scores_figure(result, cards) if judged else None,
        details.segments_html(result, cards),
        details.detectors_html(result, cards),
        quality.panel_html(result, cards),
        details.downloads_html(result, cards),
        compare.comparison_html(result, cards),
        *offered(result, path, device),
        *mouth.offered(result, path),
        *explain.offered(result, cards, path, device),
    ]


def _figure_words(result: dict, cards: dict[str, dict]) -> str:
    return (
        f'<p class="tt-hint">{escape(texts.FIGURE_HINT)}</p>'
        f'<details class="tt-took"><summary>{escape(texts.FIGURE_WORDS)}</summary>'
        f'<p class="tt-small">{escape(figure_alt(result, cards))}</p></details>'
    )


def _welcome_html() -> str:
    items = "".join(f"<li>{line}</li>" for line in texts.WELCOME)
    return (
        f'<section class="tt-card tt-welcome"><h2>{escape(texts.WELCOME_HEADING)}</h2><ul>{items}</ul>'
        f"<p>{escape(texts.WELCOME_LIMIT)}</p></section>"
    )
