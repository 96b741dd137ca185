"""The tables beside the timeline: marked spans, detectors, facts of the file, and the result as a download."""

from __future__ import annotations

import base64
import json
from pathlib import PurePath

from ui import texts
from ui.markup import clock, escape, table
from ui.result import detector_name, part_name, segments, several_faces


def segments_html(result: dict, cards: dict[str, dict]) -> str:
    """The timeline as a table. The start time is a button that moves the player."""
    found = segments(result)
    if not found:
        return f'<p class="tt-hint">{escape(texts.TABLE_EMPTY)}</p>'
    several = several_faces(result)
    rows = []
    for detector, s in found:
        part = part_name(s["modality"], s.get("track"), several)
        start = clock(s["start_s"])
        rows.append(
            (
                f'<button type="button" class="tt-jump" data-start="{float(s["start_s"])}" '
                f'aria-label="{escape(texts.TIMELINE_TICK.format(time=start))}">{start}</button>',
                clock(s["end_s"]),
                escape(part),
                f"{s['score']:.2f}",
                escape(detector_name(detector, cards)),
            )
        )
    return table(texts.TABLE_CAPTION, texts.TABLE_HEADERS, rows)


def detectors_html(result: dict, cards: dict[str, dict]) -> str:
    rows = []
    for detector, answer in result.get("detectors", {}).items():
        rows.append(
            (
                escape(detector_name(detector, cards)),
                escape(texts.VERDICTS[answer["verdict"]][0]),
                *(_score(answer.get(k)) for k in ("score", "video", "audio", "sync")),
                f"<code>{escape(str(answer.get('checkpoint', ''))[:19])}</code>",
            )
        )
    return table(texts.DETECTOR_CAPTION, texts.DETECTOR_HEADERS, rows, row_headers=True) if rows else ""


def file_html(result: dict) -> str:
    """Facts of the file and the hash of the received bytes."""
    media = result.get("media") or {}
    facts = {
        "clip": result.get("clip"),
        "sha256": result.get("sha256"),
        "duration_s": result.get("duration_s") and f"{clock(result['duration_s'])} ({result['duration_s']:.2f} s)",
        "container": media.get("container"),
        "picture": _picture(media),
        "sound": _sound(media),
        "faces": "; ".join(
            f"{f['track'] + 1}: {clock(f['start_s'])} to {clock(f['end_s'])}, {f['face_px']:.0f} px wide"
            for f in media.get("faces") or []
        ),
        "speech": ", ".join(f"{clock(a)} to {clock(b)}" for a, b in media.get("speech_s") or []),
        "telltale": result.get("telltale"),
    }
    rows = [
        (
            escape(texts.FILE_ROWS[key]),
            f"<code>{escape(value)}</code>" if key == "sha256" else escape(value),
        )
        for key, value in facts.items()
        if value
    ]
    note = f'<p class="tt-hint">{escape(texts.FILE_HASH_NOTE)}</p>' if result.get("sha256") else ""
    return table(texts.FILE_CAPTION, (), rows, row_headers=True) + note


def download_html(result: dict) -> str:
    """The JSON inside the page itself: no copy of the result is ever written to the server's disk."""
    data = base64.b64encode(json.dumps(result, indent=2, ensure_ascii=False).encode()).decode()
    name = f"{PurePath(result.get('clip') or 'clip').stem}.telltale.json"
    return (
        f'<a class="tt-download" download="{escape(name)}" href="data:application/json;base64,{data}">'
        f"{escape(texts.DOWNLOAD_JSON)}</a>"
    )


def _score(value: float | None) -> str:
    return escape(texts.NOT_JUDGED) if value is None else f"{value:.2f}"


def _picture(media: dict) -> str:
    if not media.get("video_codec"):
        return ""
    parts = [str(media["video_codec"])]
    if media.get("width_px"):
        parts.append(f"{media['width_px']} × {media['height_px']} px")
    if media.get("fps"):
        parts.append(f"{media['fps']:.2f} frames/s" + (", variable" if media.get("variable_fps") else ""))
    if media.get("rotation_deg"):
        parts.append(f"turned by {media['rotation_deg']}°")
    return ", ".join(parts)


def _sound(media: dict) -> str:
    if not media.get("audio_codec"):
        return ""
    parts = [str(media["audio_codec"])]
    if media.get("audio_hz"):
        parts.append(f"{media['audio_hz']} Hz")
    if media.get("audio_channels"):
        parts.append(f"{media['audio_channels']} channel" + ("s" if media["audio_channels"] != 1 else ""))
    return ", ".join(parts)
