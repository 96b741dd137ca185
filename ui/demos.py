"""The demo clips: what was done to each is known, and said."""

from __future__ import annotations

import json
from pathlib import Path

from ui import texts
from ui.markup import escape

FOLDER = Path(__file__).resolve().parent.parent / "assets" / "examples"
SOUND_SUFFIXES = {".wav", ".mp3", ".m4a", ".flac", ".ogg", ".opus", ".aac"}

JS = """
element.addEventListener('click', (event) => {
  const button = event.target.closest('[data-demo]');
  if (button) trigger('pick', { demo: +button.dataset.demo });
});
"""


def read_demos(folder: Path = FOLDER) -> list[dict]:
    """The clips that are there, each with its absolute path."""
    index = folder / "examples.json"
    if not index.is_file():
        return []
    entries = json.loads(index.read_text(encoding="utf-8"))
    return [{**e, "path": str(folder / e["file"])} for e in entries if (folder / e["file"]).is_file()]


def is_sound(path: str) -> bool:
    return Path(path).suffix.lower() in SOUND_SUFFIXES


def planted(result: dict, demos: list[dict]) -> dict | None:
    """What is known to be changed in this very file; None for a clip that is no demo."""
    return next((d["manipulated"] for d in demos if d.get("sha256") == result.get("sha256")), None)


def demos_html(demos: list[dict]) -> str:
    """A grid of cards: a button with the title, and the text that says what the clip is."""
    if not demos:
        return ""
    cards = "".join(
        f'<li><button type="button" data-demo="{k}" aria-describedby="tt-demo-{k}">{escape(d["title"])}</button>'
        f'<p id="tt-demo-{k}">{escape(d["what"])}</p></li>'
        for k, d in enumerate(demos)
    )
    return (
        f'<section class="tt-demos"><h2>{escape(texts.DEMO_HEADING)}</h2>'
        f'<p class="tt-hint">{escape(texts.DEMO_HINT)}</p><ul>{cards}</ul></section>'
    )
