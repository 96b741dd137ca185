"""One's place in the queue, told on the page while something waits: how many come before, and for how long."""

from __future__ import annotations

import json
import time

import gradio as gr
from gradio.queueing import Queue

from ui import texts
from ui.markup import escape

ASK_MS = 2000
BEFORE_ONE, BEFORE = "One other is before you", "{count} others are before you"
ABOUT_S, ABOUT_MIN = "{before}, for about {seconds} s.", "{before}, for about {minutes} minutes."

# The words are put beside those of whatever panel waits: their list announces them to screen readers.
JS = """
const lines = () => [...document.querySelectorAll('.tt-now')].filter((line) => line.textContent.startsWith(WAITING));
setInterval(() => { if (lines().some((line) => line.offsetParent)) trigger('ask'); }, ASK_MS);
new MutationObserver(() => {
  for (const line of lines()) {
    let place = line.querySelector('.tt-place');
    if (!place) place = line.insertBefore(document.createElement('span'), line.children[1] || null);
    place.className = 'tt-place';
    place.textContent = element.textContent.trim();
  }
}).observe(element, { childList: true, subtree: true, characterData: true });
""".replace("WAITING", json.dumps(texts.WAITING)).replace("ASK_MS", str(ASK_MS))


def build(app: gr.Blocks, concurrency_id: str, **light) -> None:
    """Inside the current gr.Blocks, `app`. concurrency_id: of what people wait for. light: of events that do not."""
    place = gr.HTML("", js_on_load=JS, elem_id="place")

    def tell(request: gr.Request) -> str:
        found = place_of(app._queue, concurrency_id, request.session_hash)
        return f"<span>{escape(place_words(*found))}</span>" if found else ""

    place.ask(tell, None, place, **light)


def place_of(queue: Queue, concurrency_id: str, session: str) -> tuple[int, float | None] | None:
    """How many go before the first thing that a session waits for, and for how many seconds, as far as earlier runs
    tell; None where it waits for nothing."""
    line = queue.event_queue_per_concurrency_id.get(concurrency_id)
    events = list(line.queue) if line else []
    rank = next((k for k, event in enumerate(events) if event.session_hash == session), None)
    if rank is None:
        return None
    usual_s = {fn: spent.avg_time for fn, spent in list(queue.process_time_per_fn.items())}
    now = time.time()
    running = [(fn, begin) for fn, begins in list(line.start_times_per_fn.items()) for begin in list(begins)]
    ahead = [fn for fn, _ in running] + [event.fn for event in events[:rank]]
    if not all(fn in usual_s for fn in ahead):
        return len(ahead), None
    left_s = sum(max(usual_s[fn] - (now - begin), 0.0) for fn, begin in running)
    return len(ahead), left_s + sum(usual_s[event.fn] for event in events[:rank])


def place_words(count: int, seconds: float | None) -> str:
    """"2 others are before you, for about 40 s." Nothing where nobody is."""
    if not count:
        return ""
    before = BEFORE_ONE if count == 1 else BEFORE.format(count=count)
    if seconds is None:
        return f"{before}."
    if seconds < 90:
        return ABOUT_S.format(before=before, seconds=max(round(seconds / 5) * 5, 5))
    return ABOUT_MIN.format(before=before, minutes=round(seconds / 60))
