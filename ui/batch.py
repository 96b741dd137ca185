"""Many clips: several files, judged one after the other, in a table; beside them what else this session was answered.

Answers are kept in memory, nowhere else, and go when the page is closed or has been idle for half an hour. A clip goes
as soon as it is judged.
"""

from __future__ import annotations

import csv
import io
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import gradio as gr

from explain.answer import detector_name, segments, several_faces, strongest_modality, verdict_words
from ui import details, progress, texts
from ui.holds import KEPT_S, Holds
from ui.markup import clock, download_link, escape, table
from ui.result import part_name
from ui.runs import LIGHT
from ui.scoring import Run
from ui.verdict import verdict_html

MOST_CLIPS = 20  # of one run: others wait for it
MOST_ANSWERS = 200  # of one session; the oldest go first
LONGEST_FILTER = 100  # characters

TAB = "Many clips"
FILES_LABEL = "Clips of people talking, video or sound"
LIMITS = (
    f"Up to {MOST_CLIPS} files at once. Each is deleted as soon as it is judged. For whole folders there is the "
    "command line, scan.py."
)
START, STOP, FORGET = "Analyse all", "Stop", "Forget these answers"
NO_CLIPS = "Choose clips first: drop files above."
TOO_MANY = f"Only the first {MOST_CLIPS} files were taken."
WORKING = "Clip {number} of {of}: {name}"
FINISHED = "Finished: {done} of {of} clips were judged."
STOPPED = "Stopped. The answers so far stay in the table."
FORGOTTEN = "The answers are forgotten."
FILTER_LABEL = "Show only names, states and reasons with"
VERDICT_LABEL = "Show only the answer"
ALL = "all"
CAPTION = (
    "Answers of this session, {shown} of {of} shown. They go when you close the page, or half an hour after you last "
    "used it."
)
CAPTION_SPANS = "Spans that a detector marks as manipulated"
EMPTY = f"No answers yet. Each clip that is judged here or under {texts.TAB_ANALYSE} will stand here."
NO_MATCH = "No answer fits what you asked to see."
STATES = {
    "working": "being judged", "waiting": "waiting", "done": "judged", "unreadable": "could not be read",
    "failed": "Telltale failed: try it once more", "gone": "deleted meanwhile: choose it again", "stopped": "stopped",
}
COLUMNS = {"clip": "Clip", "state": "State", "verdict": "Answer", "score": "Score", "strongest": "Highest part",
           "reasons": "Reasons"}
SORT = "Sort by {column}"
OPEN, OPEN_LABEL, OPEN_HEADER = "Open", "Open the answer to {name}", "Details"
DOWNLOAD_CSV = "Download the table (CSV)"
CSV_FIELDS = ("clip", "state", "verdict", "score", "picture", "sound", "lip_sync", "strongest_part", "marked_spans",
              "reasons", "demonstration_weights", "duration_s", "sha256", "telltale", "checkpoints")
_SEVERITY = ("NO_SIGNS", "SUSPICIOUS", "MANIPULATED")
_HIGHEST_FIRST = ("verdict", "score", "strongest")

# Presses go to Python. A table that is drawn again while somebody is on one of its buttons would drop the focus.
JS = """
element.addEventListener('click', (event) => {
  const button = event.target.closest('button[data-key]');
  if (!button) return;
  if (button.dataset.column) trigger('arrange', { column: button.dataset.column });
  if (button.dataset.entry) trigger('look', { entry: +button.dataset.entry });
});
let focused = null;
document.addEventListener('focusin', (event) => {
  focused = element.contains(event.target) ? event.target.dataset.key : null;
});
document.addEventListener('pointerdown', (event) => { if (!element.contains(event.target)) focused = null; });
new MutationObserver(() => {
  if (focused && document.activeElement === document.body)
    element.querySelector(`[data-key="${focused}"]`)?.focus({ preventScroll: true });
}).observe(element, { childList: true, subtree: true });
"""
SHOW_OPENED = """() => {
  const card = document.querySelector('#batch-opened section');
  if (!card) return;
  const calm = matchMedia('(prefers-reduced-motion: reduce)').matches;
  card.tabIndex = -1;
  card.focus({ preventScroll: true });
  card.scrollIntoView({ block: 'nearest', behavior: calm ? 'auto' : 'smooth' });
}"""


@dataclass
class Entry:
    """One clip of the table."""

    number: int
    name: str
    path: str | None = None  # None once nobody needs the file any more
    state: str = "waiting"  # a key of STATES
    stage: str = ""  # in words, while it is being judged
    answer: dict | None = None

    @property
    def verdict(self) -> str | None:
        return self.answer["verdict"] if self.answer else None

    @property
    def strongest(self) -> tuple[str, float] | None:
        return strongest_modality(self.answer) if self.answer else None

    @property
    def reasons(self) -> list[str]:
        return [str(r) for r in (self.answer or {}).get("reasons") or []]


@dataclass
class History:
    """What one session was answered, and how its table is arranged."""

    entries: list[Entry] = field(default_factory=list)
    column: str | None = None  # that the table is sorted by; None: in order of arrival
    descending: bool = False
    words: str = ""
    verdict: str = ALL
    _added: int = 0
    _run: Run | None = None

    def add(self, name: str, path: str | None = None, answer: dict | None = None) -> Entry:
        self._added += 1
        entry = Entry(self._added, name, path)
        if answer is not None:
            _close(entry, answer)
        self.entries.append(entry)
        settled = [e for e in self.entries if e.state not in ("waiting", "working")]
        for old in settled[:max(0, len(self.entries) - MOST_ANSWERS)]:
            self.entries.remove(old)
        return entry

    def find(self, number: object) -> Entry | None:
        return next((e for e in self.entries if e.number == number), None)

    def take(self) -> Entry | None:
        """The next clip that waits, from now on being judged."""
        entry = next((e for e in self.entries if e.state == "waiting"), None)
        if entry:
            entry.state = "working"
        return entry

    def judge(self, entry: Entry, detectors: list[str]) -> Iterator[Run]:
        """Judges an entry that was taken; yields whenever a stage begins."""
        if not entry.path or not Path(entry.path).is_file():
            entry.state = "gone"
            return
        self._run = run = Run(entry.path, detectors, "auto")
        try:
            for _ in run.stages():
                if entry.state == "stopped":
                    run.stop()
                entry.stage = run.now or ""
                yield run
        finally:
            run.stop()  # also when the page was closed while a stage was running
            self._run, entry.stage = None, ""
        if run.fault is not None:
            entry.state = "failed"
        elif run.result is None or entry.state == "stopped":
            entry.state = "stopped"
        else:
            _close(entry, run.result)

    def stop(self) -> None:
        for entry in self.entries:
            if entry.state in ("waiting", "working"):
                entry.state = "stopped"
        if self._run:
            self._run.stop()

    def forget(self) -> None:
        """Drops every answer; what waits or runs goes on."""
        self.entries = [e for e in self.entries if e.state in ("waiting", "working")]

    def arrange(self, column: object) -> None:
        """Sorts by a column; pressed again, the other way round. Unknown columns change nothing."""
        if not isinstance(column, str) or column not in COLUMNS:
            return
        self.descending = not self.descending if column == self.column else column in _HIGHEST_FIRST
        self.column = column

    def shown(self) -> list[Entry]:
        """The entries that the filter lets through, in the order of the table. What has no value comes last."""
        found = [e for e in self.entries if self._fits(e)]
        if self.column is None:
            return found
        keys = {e.number: _sort_key(e, self.column) for e in found}
        known = [e for e in found if keys[e.number] is not None]
        return (sorted(known, key=lambda e: keys[e.number], reverse=self.descending)
                + [e for e in found if keys[e.number] is None])

    def _fits(self, entry: Entry) -> bool:
        text = " ".join((entry.name, STATES[entry.state], *entry.reasons)).casefold()
        return self.words.casefold() in text and self.verdict in (ALL, entry.verdict)


class Histories:
    """The history of each session that is open and in use."""

    def __init__(self) -> None:
        self._of: dict[str, History] = {}
        self._used: dict[str, float] = {}  # when a session last did something

    def of(self, session: str) -> History:
        self._used[session] = time.monotonic()
        return self._of.setdefault(session, History())

    def record(self, session: str, answer: dict) -> None:
        """An answer that another panel gave. One that altered copies were tried for takes the place of the same
        clip's last one."""
        history = self.of(session)
        last = next((e for e in reversed(history.entries) if e.answer and e.answer["sha256"] == answer["sha256"]), None)
        if last and answer.get("probe"):
            _close(last, answer)
        else:
            history.add(str(answer.get("clip") or "?"), answer=answer)

    def drop(self, session: str) -> History:
        self._used.pop(session, None)
        return self._of.pop(session, History())

    def drop_idle(self, kept_s: float = KEPT_S) -> None:
        """Forgets the sessions that have done nothing for so long, unless one still waits for answers."""
        now = time.monotonic()
        for session, history in list(self._of.items()):
            if any(e.state in ("waiting", "working") for e in history.entries):
                self._used[session] = now
            elif now - self._used.get(session, now) > kept_s:
                self.drop(session)


def _close(entry: Entry, answer: dict) -> None:
    entry.answer = answer
    entry.name = str(answer.get("clip") or entry.name)
    entry.state = "unreadable" if answer.get("error") else "done"


def _sort_key(entry: Entry, column: str) -> object:
    """What a column is sorted by; None where the entry has nothing there."""
    if column == "clip":
        return entry.name.casefold()
    if column == "state":
        return list(STATES).index(entry.state)
    if column == "verdict":
        return _SEVERITY.index(entry.verdict) if entry.verdict in _SEVERITY else None
    if column == "score":
        return (entry.answer or {}).get("score")
    if column == "strongest":
        return entry.strongest[1] if entry.strongest else None
    return ", ".join(entry.reasons) or None


# ---- HTML and CSV ---------------------------------------------------------------------------------------------


def table_html(history: History) -> str:
    """The table with its sort buttons; a row for each entry that the filter lets through."""
    if not history.entries:
        return progress.message_html(EMPTY)
    shown = history.shown()
    head = "".join(_header(history, column) for column in COLUMNS)
    head += f'<th role="columnheader" scope="col">{escape(OPEN_HEADER)}</th>'
    body = "".join(_row(entry) for entry in shown)
    caption = CAPTION.format(shown=len(shown), of=len(history.entries))
    none = "" if shown else progress.message_html(NO_MATCH)
    # The roles are said again because on a phone the rows are laid out as blocks, which would take them away.
    return (
        f'<div class="tt-table tt-batch"><table role="table"><caption>{escape(caption)}</caption>'
        f'<thead role="rowgroup"><tr role="row">{head}</tr></thead>'
        f'<tbody role="rowgroup">{body}</tbody></table>{none}</div>'
    )


def _header(history: History, column: str) -> str:
    sorted_by = column == history.column
    direction = ("descending" if history.descending else "ascending") if sorted_by else "none"
    arrow = {"ascending": " ↑", "descending": " ↓", "none": ""}[direction]
    label = SORT.format(column=COLUMNS[column].lower())
    return (
        f'<th role="columnheader" scope="col" aria-sort="{direction}"><button type="button" class="tt-jump" '
        f'data-key="sort-{column}" data-column="{column}" title="{escape(label)}">{escape(COLUMNS[column])}'
        f'<span aria-hidden="true">{arrow}</span></button></th>'
    )


def _row(entry: Entry) -> str:
    score = (entry.answer or {}).get("score")
    judged = entry.answer is not None
    state = STATES[entry.state] + (f": {entry.stage}" if entry.stage else "")
    cells = {
        "state": escape(state),
        "verdict": escape(verdict_words(entry.answer)[0]) if judged else "",
        "score": f"{score:.2f}" if score is not None else "",
        "strongest": escape(_strongest_words(entry)),
        "reasons": " ".join(f"<code>{escape(r)}</code>" for r in entry.reasons),
    }
    opens = (
        f'<button type="button" class="tt-jump" data-key="open-{entry.number}" data-entry="{entry.number}" '
        f'aria-label="{escape(OPEN_LABEL.format(name=entry.name))}">{escape(OPEN)}</button>'
        if judged else ""
    )
    listed = "".join(f'<td role="cell" data-label="{escape(COLUMNS[c])}">{html}</td>' for c, html in cells.items())
    return (f'<tr role="row"><th role="rowheader" scope="row">{escape(entry.name)}</th>{listed}'
            f'<td role="cell">{opens}</td></tr>')


def _strongest_words(entry: Entry) -> str:
    if entry.strongest is None:
        return ""
    modality, score = entry.strongest
    return f"{texts.MODALITIES[modality]} {score:.2f}"


def opened_html(answer: dict, cards: dict[str, dict]) -> str:
    """One answer of the table: its verdict card, its spans, each detector's answer, and what can be saved."""
    # The Analyse panel's card has the same heading id, and both are in the page.
    card = verdict_html(answer, cards).replace("tt-verdict-heading", "tt-opened-heading")
    parts = [_spans_html(answer, cards), details.detectors_html(answer, cards)] if answer.get("detectors") else []
    return "".join((card, *parts, details.downloads_html(answer, cards)))


def _spans_html(answer: dict, cards: dict[str, dict]) -> str:
    """Without buttons: the clip is gone, there is no player to move."""
    several = several_faces(answer)
    rows = [
        (clock(s["start_s"]), clock(s["end_s"]), escape(part_name(s["modality"], s.get("track"), several)),
         f"{s['score']:.2f}", escape(detector_name(detector, cards)))
        for detector, s in segments(answer)
    ]
    if not rows:
        return f'<p class="tt-hint">{escape(texts.TABLE_EMPTY)}</p>'
    return table(CAPTION_SPANS, texts.TABLE_HEADERS, rows)


def csv_link(history: History) -> str:
    """The table as it is shown, to save; nothing while it is empty."""
    shown = history.shown()
    # Excel takes a CSV for UTF-8 by its byte order mark alone.
    return download_link(DOWNLOAD_CSV, "telltale.csv", "text/csv", "\ufeff" + csv_text(shown)) if shown else ""


def csv_text(entries: Iterable[Entry]) -> str:
    """CSV with a header line. Text that a spreadsheet would take for a formula starts with an apostrophe."""
    written = io.StringIO()
    writer = csv.writer(written)
    writer.writerow(CSV_FIELDS)
    for entry in entries:
        answer = entry.answer or {}
        consensus = answer.get("consensus") or {}
        writer.writerow([_no_formula(value) for value in (
            entry.name, entry.state, entry.verdict, answer.get("score"),
            consensus.get("video"), consensus.get("audio"), consensus.get("sync"),
            texts.MODALITIES[entry.strongest[0]] if entry.strongest else None,
            "; ".join(f"{s['modality']} {s['start_s']}-{s['end_s']} {s['score']} {detector}"
                      for detector, s in segments(answer)),
            " ".join(entry.reasons), answer.get("provisional"), answer.get("duration_s"), answer.get("sha256"),
            answer.get("telltale"),
            " ".join(f"{name}={d.get('checkpoint')}" for name, d in answer.get("detectors", {}).items()),
        )])
    return written.getvalue()


def _no_formula(value: object) -> object:
    suspect = isinstance(value, str) and (value.startswith(("\t", "\r", "\n")) or
                                          value.lstrip().startswith(("=", "+", "-", "@")))
    return f"'{value}" if suspect else value


# ---- the tab --------------------------------------------------------------------------------------------------


def uploaded_paths(payload: object) -> list[str]:
    """Paths of what the page says it uploaded. They come from anybody: Holds.owns decides."""
    files = payload if isinstance(payload, list) else [payload]
    return [f["path"] for f in files if isinstance(f, dict) and isinstance(f.get("path"), str)]


def build(cards: dict[str, dict], holds: Holds, histories: Histories, tab: gr.Tab, **queueing) -> None:
    """Builds the panel inside `tab` of the current gr.Blocks. queueing: of inference events, as the other panels'."""
    with gr.Row(equal_height=False, elem_id="batch-input"):
        with gr.Column(scale=4, min_width=300):
            files = gr.File(label=FILES_LABEL, file_count="multiple", height=180, elem_id="batch-files")
            gr.HTML(f'<p class="tt-small">{escape(LIMITS)}</p>')
        with gr.Column(scale=8, min_width=300):
            chosen = gr.CheckboxGroup(
                choices=[(detector_name(name, cards), name) for name in cards], value=list(cards),
                label=texts.DETECTORS_LABEL, info=texts.DETECTORS_INFO, elem_id="batch-detectors",
            )
            with gr.Row():
                start = gr.Button(START, variant="primary", elem_id="batch-start", scale=3)
                stop = gr.Button(STOP, interactive=False, elem_id="batch-stop", scale=1)
            status = gr.HTML("", js_on_load=progress.JS, elem_id="batch-status", label=texts.STATUS_LABEL)
    with gr.Row(elem_id="batch-filter"):
        words = gr.Textbox(label=FILTER_LABEL, max_length=LONGEST_FILTER, elem_id="batch-words")
        verdict = gr.Dropdown(choices=[(ALL, ALL), *((texts.VERDICTS[v][0], v) for v in texts.VERDICTS)], value=ALL,
                              label=VERDICT_LABEL, filterable=False, elem_id="batch-verdict")
    rows = gr.HTML(table_html(History()), js_on_load=JS, elem_id="batch-table")
    with gr.Row(elem_id="batch-save"):
        saved = gr.HTML("", elem_id="batch-csv")
        forget = gr.Button(FORGET, elem_id="batch-forget", scale=0, min_width=260)
    opened = gr.HTML("", elem_id="batch-opened")

    def drawn(history: History) -> list[str]:
        return [table_html(history), csv_link(history)]

    def hold(payload: object, request: gr.Request) -> None:
        for path in filter(holds.owns, uploaded_paths(payload)):
            holds.claim(_uploads(request.session_hash), path)

    def begin(payload: object, request: gr.Request) -> list:
        """At once, before the queue: the clips stand in the table and can be stopped there."""
        session = request.session_hash
        history = histories.of(session)
        paths = [p for p in uploaded_paths(payload) if holds.owns(p)]
        for path in paths[:MOST_CLIPS]:
            entry = history.add(Path(path).name, path)
            holds.claim(_row_of(session, entry), path)
        holds.release(_uploads(session))  # each clip now belongs to its row; what was too many goes
        if not paths:
            return [None, progress.message_html(NO_CLIPS, "problem"), gr.skip(), gr.skip(), *drawn(history)]
        told = progress.message_html(TOO_MANY, "problem") if len(paths) > MOST_CLIPS else ""
        return [None, told + progress.stages_html([], texts.WAITING), gr.Button(interactive=False),
                gr.Button(interactive=True), *drawn(history)]

    def work(detectors: list[str], request: gr.Request) -> Iterator[list]:
        session = request.session_hash
        history = histories.of(session)
        known = [d for d in detectors if d in cards]
        judged = []
        while entry := history.take():
            judged.append(entry)
            try:
                for run in history.judge(entry, known):
                    left = sum(e.state == "waiting" for e in history.entries)
                    told = WORKING.format(number=len(judged), of=len(judged) + left, name=entry.name)
                    yield [progress.message_html(told) + progress.stages_html(run.done, run.now), *drawn(history)]
            finally:
                holds.release(_row_of(session, entry))
                entry.path = None
            if entry.state == "stopped":  # what was added since has a turn of its own
                break
        if judged:
            yield [_outcome(judged), *drawn(history)]

    def halt(request: gr.Request) -> list:
        """Stops what runs; the clips that waited go."""
        history = histories.of(request.session_hash)
        waited = [e for e in history.entries if e.state == "waiting"]
        history.stop()
        for entry in waited:
            holds.release(_row_of(request.session_hash, entry))
            entry.path = None
        return [progress.message_html(STOPPED), *end(), *drawn(history)]

    def end() -> list:
        return [gr.Button(interactive=True), gr.Button(interactive=False)]

    def refresh(request: gr.Request) -> list:
        """Other panels may have added answers."""
        return drawn(histories.of(request.session_hash))

    def arrange(event: gr.EventData, request: gr.Request) -> list:
        history = histories.of(request.session_hash)
        history.arrange(event.column)
        return drawn(history)

    def narrow(text: str, answer: str, request: gr.Request) -> list:
        history = histories.of(request.session_hash)
        history.words, history.verdict = str(text or "").strip()[:LONGEST_FILTER], answer
        return drawn(history)

    def look(event: gr.EventData, request: gr.Request) -> str:
        entry = histories.of(request.session_hash).find(event.entry)
        return opened_html(entry.answer, cards) if entry and entry.answer else ""

    def clear(request: gr.Request) -> list:
        history = histories.of(request.session_hash)
        history.forget()
        return [progress.message_html(FORGOTTEN), "", *drawn(history)]

    def leave(request: gr.Request) -> None:
        """The page was closed: its answers and its clips go."""
        session = request.session_hash
        history = histories.drop(session)
        history.stop()
        for entry in history.entries:
            holds.release(_row_of(session, entry))
        holds.release(_uploads(session))

    shown = [rows, saved]
    files.upload(hold, files, None, preprocess=False, **LIGHT)
    start.click(begin, files, [files, status, start, stop, *shown], preprocess=False, trigger_mode="once",
                **LIGHT).then(
        work, chosen, [status, *shown], show_progress="hidden", api_visibility="private", **queueing,
    ).then(end, None, [start, stop], **LIGHT)
    stop.click(halt, None, [status, start, stop, *shown], **LIGHT)
    rows.arrange(arrange, None, shown, **LIGHT)
    rows.look(look, None, opened, **LIGHT).then(None, None, None, js=SHOW_OPENED, api_visibility="private")
    words.change(narrow, [words, verdict], shown, **LIGHT)
    verdict.change(narrow, [words, verdict], shown, **LIGHT)
    forget.click(clear, None, [status, opened, *shown], **LIGHT)
    tab.select(refresh, None, shown, **LIGHT)
    gr.context.Context.root_block.unload(leave)


def _uploads(session: str) -> str:
    """Holder of files that are chosen and not yet in the table."""
    return f"{session}:files"


def _row_of(session: str, entry: Entry) -> str:
    """Holder of the one file of a row."""
    return f"{session}:{entry.number}"


def _outcome(judged: list[Entry]) -> str:
    if any(e.state == "stopped" for e in judged):
        return progress.message_html(STOPPED)
    done = sum(e.state == "done" for e in judged)
    return progress.message_html(FINISHED.format(done=done, of=len(judged)))
