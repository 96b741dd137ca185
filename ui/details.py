"""The tables beside the timeline: marked spans, detectors, facts of the file, and the result as a download."""

from __future__ import annotations

import json
from pathlib import PurePath

from explain.answer import detector_name, detector_verdict_words, segments, several_faces
from explain.report import report_html, report_name
from ui import texts
from ui.markup import clock, download_link, escape, table
from ui.result import part_name


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
                escape(detector_verdict_words(result, detector)),
                *(_score(answer.get(k)) for k in ("score", "video", "audio", "sync")),
                f"<code>{escape(str(answer.get('checkpoint', ''))[:19])}</code>",
            )
        )
    return table(texts.DETECTOR_CAPTION, texts.DETECTOR_HEADERS, rows, row_headers=True) if rows else ""


def file_html(result: dict) -> str:
    """Facts of the file, and the hash of the received bytes with a button that copies it (quality.JS)."""
    media = result.get("media") or {}
    duration_s, sha256 = result.get("duration_s"), result.get("sha256")
    faces = "; ".join(
        f"{f['track'] + 1}: {clock(f['start_s'])} to {clock(f['end_s'])}, {f['face_px']:.0f} px wide"
        for f in media.get("faces") or []
    )
    speech = ", ".join(f"{clock(a)} to {clock(b)}" for a, b in media.get("speech_s") or [])
    names = texts.FILE_ROWS
    rows = [
        (names["clip"], escape(result.get("clip") or "")),
        (names["sha256"], _hash(sha256) if sha256 else ""),
        (names["duration_s"], f"{clock(duration_s)} ({duration_s:.2f} s)" if duration_s else ""),
        *((escape(name), escape(value)) for name, value in _facts(result).items()),
        (names["faces"], faces),
        (names["speech"], speech),
        (names["telltale"], escape(result.get("telltale") or "")),
    ]
    note = f'<p class="tt-hint">{escape(texts.FILE_HASH_NOTE)}</p>' if sha256 else ""
    return table(texts.FILE_CAPTION, (), [row for row in rows if row[1]], row_headers=True) + note


def _facts(result: dict) -> dict[str, str]:
    """Of container and codecs, in words (not escaped); none of a file that could not be read."""
    return result["provenance"]["facts"] if result.get("provenance") else {}


def _hash(sha256: str) -> str:
    return (
        f'<code>{escape(sha256)}</code> <button type="button" class="tt-jump" data-copy="{escape(sha256)}" '
        f'data-copied="{escape(texts.COPIED)}" aria-label="{escape(texts.COPY_LABEL)}">{escape(texts.COPY)}</button> '
        '<span role="status"></span>'
    )


def downloads_html(result: dict, cards: dict[str, dict]) -> str:
    """The answer to save: as a report and as JSON."""
    name = f"{PurePath(result.get('clip') or 'clip').stem}.telltale.json"
    report = download_link(texts.DOWNLOAD_REPORT, report_name(result), "text/html", report_html(result, cards))
    plain = download_link(texts.DOWNLOAD_JSON, name, "application/json",
                          json.dumps(result, indent=2, ensure_ascii=False))
    return f'<p class="tt-downloads">{report}{plain}</p>'


def _score(value: float | None) -> str:
    return escape(texts.NOT_JUDGED) if value is None else f"{value:.2f}"
