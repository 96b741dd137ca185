"""The stages of a running analysis, in words with the time each took."""

from __future__ import annotations

from ui import texts
from ui.markup import escape

# The container keeps its role while its content changes, so that screen readers announce each new stage. The
# running seconds are counted in the page and hidden from screen readers, which would read every tick aloud.
JS = """
element.setAttribute('role', 'status');
element.setAttribute('aria-live', 'polite');
setInterval(() => {
  const running = element.querySelector('[data-running]');
  if (!running) return;
  running.dataset.running = +running.dataset.running + 1;
  running.textContent = running.dataset.running + ' s';
}, 1000);
"""


def stages_html(done: list[tuple[str, float]], now: str | None = None, now_s: float = 0) -> str:
    """The finished stages with their seconds, and the one under way."""
    items = [
        f'<li class="tt-done"><span>{escape(text)}</span> <span class="tt-seconds">{seconds:.1f} s</span></li>'
        for text, seconds in done
    ]
    if now is not None:
        items.append(
            f'<li class="tt-now"><span>{escape(now)} …</span> '
            f'<span class="tt-seconds" aria-hidden="true" data-running="{now_s:.0f}"></span></li>'
        )
    return f'<ol class="tt-stages">{"".join(items)}</ol>'


def message_html(sentence: str, kind: str = "note") -> str:
    """One sentence in the place of the stages. kind: note | problem."""
    return f'<p class="tt-message tt-{kind}">{escape(sentence)}</p>'


def finished_html(done: list[tuple[str, float]], seconds: float) -> str:
    return (
        message_html(texts.FINISHED.format(seconds=f"{seconds:.1f}"))
        + f"<details class='tt-took'><summary>{escape(texts.STAGES)}</summary>{stages_html(done)}</details>"
    )
