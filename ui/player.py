"""The player of the original file.

Not gr.Video: as an output it may convert the file with ffmpeg, and what is heard and seen here has to be what
was judged. The browser's own controls also work by keyboard and with screen readers.
"""

from __future__ import annotations

import json
from urllib.parse import quote

from explain.answer import segments, several_faces
from ui import texts
from ui.markup import escape
from ui.result import part_name

# Captions are added as cues when the file's header is read; a format that the browser cannot play says so.
# Media events do not bubble, hence the capturing listeners.
JS = """
element.addEventListener('loadedmetadata', (event) => {
  const player = event.target;
  if (player.textTracks.length || !player.dataset.captions) return;
  const track = player.addTextTrack('captions', player.dataset.captionsLabel, 'en');
  for (const [start, end, text] of JSON.parse(player.dataset.captions)) {
    const cue = new VTTCue(start, end, text);
    cue.line = 0;
    track.addCue(cue);
  }
  track.mode = 'showing';
}, true);
element.addEventListener('error', () => {
  const note = element.querySelector('.tt-cannot-play');
  if (note) note.hidden = false;
}, true);
"""


def player_html(result: dict, path: str) -> str:
    """A video or audio element for the uploaded file at `path`, with the marked spans as captions. A still picture is
    shown."""
    media = result.get("media") or {}
    if media.get("still"):
        return f'<img src="gradio_api/file={escape(quote(path))}" alt="{escape(texts.PICTURE_ALT)}">'
    tag = "video" if media.get("video_codec") else "audio"
    captions = [[s["start_s"], s["end_s"], _caption(s, several_faces(result))] for _, s in segments(result)]
    return (
        f'<{tag} controls preload="auto" playsinline src="gradio_api/file={escape(quote(path))}" '
        f'aria-label="{escape(texts.PLAYER_LABEL)}" data-captions="{escape(json.dumps(captions))}" '
        f'data-captions-label="{escape(texts.PLAYER_CAPTIONS)}"></{tag}>'
        f'<p class="tt-message tt-cannot-play" hidden>{escape(texts.PLAYER_CANNOT)}</p>'
    )


def _caption(segment: dict, several: bool) -> str:
    part = part_name(segment["modality"], segment.get("track"), several)
    return texts.PLAYER_CAPTION.format(part=part.lower(), score=f"{segment['score']:.2f}")
