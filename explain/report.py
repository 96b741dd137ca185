"""The report: one answer as one HTML file that asks nobody for anything, and prints on paper.

Everything is in the file: the style, the timelines as SVG with a text twin, pictures as data, the answer as JSON. All
texts are escaped, and a content policy in the file itself forbids scripts and every request.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Sequence
from datetime import datetime, timezone
from html import escape as _escape
from itertools import count
from pathlib import Path, PurePath

from detectors import available
from explain import words
from explain.answer import (
    MODALITIES,
    Window,
    agreement_words,
    band_edges,
    band_words,
    detector_name,
    detector_verdict_words,
    explained_score,
    follow_from_curve,
    gaps,
    has_strong_band,
    judged_windows,
    lanes,
    marked,
    modality_scores,
    more_alarmed,
    offset_words,
    segments,
    several_faces,
    thresholds,
    unbroken,
    verdict_words,
    was_lowered,
    why_not_judged,
)
from explain.pictures import Picture

_STYLE = Path(__file__).with_name("report.css")
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'"
_MEDIA_TYPES = ("image/png", "image/jpeg")
_LONGEST_NAME = 120  # bytes of UTF-8; file systems allow 255 with what is added
# A lane in units of its drawing: the plot between the names on the left and the edge on the right.
_WIDTH, _LEFT, _TOP, _LANE, _AXIS = 760, 8, 14, 60, 18
_PLOT = _WIDTH - 2 * _LEFT
_DASHES = {"video": "none", "audio": "7 3", "sync": "2 3"}
_PATTERNS = (
    '<svg class="patterns" aria-hidden="true" width="0" height="0"><defs>'
    '<pattern id="not-judged" width="6" height="6" patternUnits="userSpaceOnUse" patternTransform="rotate(-45)">'
    '<rect width="6" height="6" fill="#f2f2f2"/><line x1="0" y1="0" x2="0" y2="6" stroke="#8a8a8a"/></pattern>'
    '<pattern id="marked" width="8" height="8" patternUnits="userSpaceOnUse" patternTransform="rotate(45)">'
    '<rect width="8" height="8" fill="#fbe3d3"/><line x1="0" y1="0" x2="0" y2="8" stroke="#d55e00" '
    'stroke-width="3"/></pattern></defs></svg>'
)


def report_html(answer: dict, cards: dict[str, dict], *, pictures: Sequence[Picture] = (),
                made: datetime | None = None) -> str:
    """The report on one answer (the object of scan.py, its error form included).

    cards: detectors.available(), for names, training and measured results. pictures: those with a detector stand with
    its explanation. made: when, now when None.
    Raises: ValueError for a picture that is neither PNG nor JPEG.
    """
    sections = (
        _verdict(answer, cards),
        _parts(answer),
        _detectors(answer, cards),
        _timelines(answer, cards),
        _segments(answer, cards),
        _explanations(answer, cards, pictures),
        _pictures(pictures, answer),
        _quality(answer),
        _probe(answer),
        _file(answer),
        _method(answer, cards),
        _limits(answer, cards),
        _machine_readable(answer),
    )
    moment = (made or datetime.now(timezone.utc)).astimezone(timezone.utc).strftime("%Y-%m-%d %H:%M:%S UTC")
    told = words.MADE.format(moment=moment, version=answer.get("telltale") or "?")
    title = escape(f"{words.REPORT}: {answer.get('clip') or '?'}")
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{escape(_POLICY)}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{title}</title><style>{_STYLE.read_text(encoding='utf-8')}</style></head>\n<body>{_PATTERNS}"
        f"<header><h1>{title}</h1><p>{escape(told)}</p></header>\n<main>{chr(10).join(filter(None, sections))}</main>"
        "</body></html>\n"
    )


def report_name(answer: dict) -> str:
    """A file name from the clip's: letters, digits, dots, dashes and underscores, never hidden, not too long."""
    clip = PurePath(str(answer.get("clip") or "").replace("\\", "/")).name
    kept = "".join(c if c.isalnum() or c in "._-" else "_" for c in clip)
    kept = kept.encode()[:_LONGEST_NAME].decode(errors="ignore").strip(".")
    return f"telltale-{kept or 'clip'}.html"


def write_report(answer: dict, folder: str | Path, cards: dict[str, dict] | None = None, *,
                 pictures: Sequence[Picture] = ()) -> Path:
    """Writes the report into the folder, which is made where it is missing, and returns its path.

    An earlier report is never overwritten: the name gets a number. Raises: OSError.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    page = report_html(answer, available() if cards is None else cards, pictures=pictures)
    name = PurePath(report_name(answer))
    for number in count(1):
        path = folder / (name.name if number == 1 else f"{name.stem}-{number}{name.suffix}")
        try:
            with open(path, "x", encoding="utf-8") as file:
                file.write(page)
            return path
        except FileExistsError:
            continue
    raise AssertionError("numbers do not end")


def escape(text: object) -> str:
    """Text on its way into HTML, attributes included. A lone surrogate, which no file can hold, becomes "?"."""
    return _escape(str(text).encode("utf-8", "replace").decode(), quote=True)


# ---- the answer -----------------------------------------------------------------------------------------------


def _verdict(answer: dict, cards: dict[str, dict]) -> str:
    heading, meaning = verdict_words(answer)
    lowered = was_lowered(answer)
    parts = [f'<p class="answer">{escape(heading)}</p>']
    if answer.get("provisional") and not answer.get("error"):
        badge = f"<strong>{escape(words.PROVISIONAL_BADGE)}.</strong>"
        parts.append(f'<p class="notice">{badge} {escape(words.PROVISIONAL)}</p>')
    parts.append(f"<p>{escape(answer.get('error') or (words.LOWERED[answer['verdict']] if lowered else meaning))}</p>")
    parts.append(_lowered(answer["probe"]) if lowered else _probability(answer, cards))
    lines = [*words.MEANS_NOT, *([] if answer.get("score") is None else [words.NUMBER_RESTS])]
    limits = "".join(f"<li>{escape(line)}</li>" for line in lines)
    parts.append(f"<h3>{escape(words.MEANS_NOT_HEADING)}</h3><ul>{limits}</ul>")
    return _section(words.VERDICT, "".join(parts))


def _probability(answer: dict, cards: dict[str, dict]) -> str:
    score = answer.get("score")
    if score is None:
        return f"<p>{escape(words.NO_PROBABILITY)}</p>"
    told = words.PROBABILITY.format(percent=_percent(score), words=_probability_words(score))
    agreement = " ".join([agreement_words(answer, cards), *more_alarmed(answer, cards)])
    held = f"<p>{escape(answer['probe']['summary'])}</p>" if answer.get("probe") else ""
    return f"<p><strong>{escape(told)}</strong> {escape(agreement)}</p>{_band(score, thresholds(answer))}{held}"


def _lowered(probe: dict) -> str:
    """The range over the clip and its copies, in the place of a probability that nobody should rely on."""
    outcome = probe["consensus"]
    before = words.LOWERED_BEFORE.format(before=words.VERDICTS[outcome["verdict_before"]][0].lower())
    spread = words.SPREAD.format(lowest=_percent(outcome["lowest"]), highest=_percent(outcome["highest"]))
    return f"<p>{escape(probe['summary'])} {escape(before)}</p><p><strong>{escape(spread)}</strong></p>"


def _probability_words(score: float) -> str:
    return next(text for below, text in words.PROBABILITY_WORDS if score < below)


def _percent(probability: float) -> int:
    """Never 0 or 100, which would claim a certainty that no detector has."""
    return min(99, max(1, round(probability * 100)))


def _band(score: float, points: dict | None) -> str:
    """The scale from 0 to 100 with its three bands, and the same as a sentence."""
    if points is None:
        return f"<p>{escape(words.BANDS_DIFFER)}</p>"
    edges = band_edges(points)
    told = f"{band_words(points)} {words.THIS_CLIP.format(percent=_percent(score))}"
    fills = ("#fff", "#ddd", "#aaa")
    bands = "".join(
        f'<rect x="{_x(a, 1)}" y="22" width="{_PLOT * (b - a):.1f}" height="24" fill="{fill}" stroke="#000"/>'
        f'<text x="{_x((a + b) / 2, 1)}" y="38" text-anchor="middle">{escape(label)}</text>'
        for a, b, fill, label in zip(edges, edges[1:], fills, words.BAND_LABELS)
    )
    anchor, aside = ("end", -6) if score > 0.8 else ("start", 6)
    pointer = (
        f'<line x1="{_x(score, 1)}" x2="{_x(score, 1)}" y1="4" y2="50" stroke="#000" stroke-width="3"/>'
        f'<text x="{float(_x(score, 1)) + aside:.1f}" y="15" text-anchor="{anchor}" font-weight="bold">'
        f"{_percent(score)} %</text>"
    )
    return f"<figure>{_svg(54, told, bands + pointer)}<figcaption>{escape(told)}</figcaption></figure>"


def _parts(answer: dict) -> str:
    if not answer.get("detectors"):
        return ""
    rows = [(escape(words.MODALITIES[m]), _score(score), escape(_part_words(answer, m, score)))
            for m, score in modality_scores(answer).items()]
    return _section(words.PARTS, _table(words.PARTS_CAPTION, words.PARTS_HEADERS, rows))


def _part_words(answer: dict, modality: str, score: float | None) -> str:
    if score is None:
        return why_not_judged(answer, modality)
    still = (answer.get("media") or {}).get("still")  # nobody calibrated its score
    return words.STILL_SCORE if still else _probability_words(score)


def _detectors(answer: dict, cards: dict[str, dict]) -> str:
    detectors = answer.get("detectors", {})
    rows = [
        (escape(detector_name(name, cards)), escape(detector_verdict_words(answer, name)),
         *(_score(d.get(k)) for k in ("score", *MODALITIES)))
        for name, d in detectors.items()
    ]
    if not rows:
        return ""
    offsets = "".join(f"<p>{escape(_offset(detector_name(name, cards), d['offset_s']))}</p>"
                      for name, d in detectors.items() if d.get("offset_s") is not None)
    return _section(words.DETECTORS, _table(words.DETECTORS_CAPTION, words.DETECTORS_HEADERS, rows) + offsets)


def _offset(detector: str, offset_s: float) -> str:
    offset, meaning = offset_words(offset_s)
    return words.OFFSET.format(detector=detector, offset=offset, meaning=meaning)


def _segments(answer: dict, cards: dict[str, dict]) -> str:
    if not answer.get("detectors"):
        return ""
    rows = [
        (f"{s['start_s']:.1f}", f"{s['end_s']:.1f}",
         escape(_lane_name(answer, s["modality"], s.get("track"))), f"{s['score']:.2f}",
         escape(detector_name(name, cards)))
        for name, s in segments(answer)
    ]
    table = _table(words.SEGMENTS_CAPTION, words.SEGMENTS_HEADERS, rows)
    return _section(words.SEGMENTS, table if rows else f"<p>{escape(words.SEGMENTS_NONE)}</p>")


def _explanations(answer: dict, cards: dict[str, dict], pictures: Sequence[Picture]) -> str:
    """What each detector reacted to, in words and figures, with its pictures where there are any."""
    told = "".join(
        f"<h3>{escape(detector_name(e['detector'], cards))}</h3>{_explanation(e, answer)}"
        + _figures([p for p in pictures if p.detector == e["detector"]])
        for e in answer.get("explanations") or []
    )
    told += "".join(
        f"<h3>{escape(detector_name(name, cards))}</h3><p>{escape(words.NOT_EXPLAINED.format(reason=reason))}</p>"
        for name, reason in (answer.get("not_explained") or {}).items()
    )
    return _section(words.EXPLANATIONS, f"<p>{escape(words.EXPLANATIONS_NOTE)}</p>{told}", page=True) if told else ""


def _explanation(explanation: dict, answer: dict) -> str:
    spans = ", ".join(_span(start, end) for start, end in explanation["windows_s"])
    head = words.EXPLAINED_HEADS.get(explanation["head"], explanation["head"])
    lines = [words.EXPLAINED.format(head=head, spans=spans, score=explained_score(explanation, answer)),
             *explanation["sentences"], explanation["replacement_words"], *explanation["notes"]]
    told = "".join(f"<li>{escape(line)}</li>" for line in lines)
    tables = ""
    if share := explanation["share"]:
        rows = [(escape(words.SHARES_PARTS.get(part, part)), f"{value:+.2f}", f"{100 * share['of_total'][part]:.0f} %")
                for part, value in share["values"].items()]
        tables += _table(words.SHARES_CAPTION, words.SHARES_HEADERS, rows)
    rows = [(escape(words.MAPS.get(method, method)),
             escape(words.PASSED[bool(test["passed"])].format(sentence=test["sentence"])))
            for method, test in explanation["faithfulness"].items()]
    if rows:
        tables += _table(words.TESTS_CAPTION, words.TESTS_HEADERS, rows)
    return f"<ul>{told}</ul>{tables}"


def _pictures(pictures: Sequence[Picture], answer: dict) -> str:
    """Those that stand with no explanation."""
    explained = {e["detector"] for e in answer.get("explanations") or []}
    figures = _figures([p for p in pictures if p.detector not in explained])
    return _section(words.PICTURES, figures) if figures else ""


def _figures(pictures: Sequence[Picture]) -> str:
    figures = ""
    for picture in pictures:
        if picture.media_type not in _MEDIA_TYPES:
            raise ValueError(f"a picture is one of {', '.join(_MEDIA_TYPES)}, not {picture.media_type!r}")
        data = base64.b64encode(picture.data).decode()
        figures += (f'<figure><img src="data:{picture.media_type};base64,{data}" alt="{escape(picture.alt)}">'
                    f"<figcaption>{escape(picture.caption)}</figcaption></figure>")
    return figures


# ---- timelines ------------------------------------------------------------------------------------------------


def _timelines(answer: dict, cards: dict[str, dict]) -> str:
    duration_s = answer.get("duration_s")
    if not duration_s or not answer.get("detectors"):
        return ""
    figures = f"<p>{escape(words.TIMELINES_HINT)}</p>"
    for name, detector in answer["detectors"].items():
        figures += f"<h3>{escape(detector_name(name, cards))}</h3>"
        opens = _opens(detector, duration_s)
        for modality, track in lanes(answer, detector):
            figures += _lane(answer, detector, modality, track, duration_s, opens)
    return _section(words.TIMELINES, figures)


def _opens(detector: dict, duration_s: float) -> float | None:
    """The score at which a span opens; None where the curves open none."""
    known = detector.get("thresholds") and follow_from_curve(detector, duration_s)
    return detector["thresholds"]["segment_on"] if known else None


def _lane(answer: dict, detector: dict, modality: str, track: int | None, duration_s: float,
          opens: float | None) -> str:
    name = _lane_name(answer, modality, track)
    windows = judged_windows(detector, modality, track)
    spans = marked(detector, modality, track)
    told = lane_words(name, windows, spans, opens, duration_s)
    alt = words.LANE_ALT.format(name=name, duration=f"{duration_s:.1f}")
    drawing = _svg(_TOP + _LANE + _AXIS, alt, lane_svg(modality, windows, spans, opens, duration_s))
    return f"<figure><p><strong>{escape(name)}</strong></p>{drawing}<figcaption>{escape(told)}</figcaption></figure>"


def lane_words(name: str, windows: list[Window], spans: list[dict], opens: float | None, duration_s: float) -> str:
    """What a lane shows, for who cannot see it."""
    told = [words.LANE_ALT.format(name=name, duration=f"{duration_s:.1f}")]
    if not windows:
        return " ".join([*told, words.LANE_NONE])
    scores = [(score, start, end) for start, end, score in windows]
    high, start, end = max(scores)
    told.append(words.LANE_RANGE.format(low=f"{min(scores)[0]:.2f}", high=f"{high:.2f}",
                                        at=f"{(start + end) / 2:.1f}"))
    if opens is not None:
        told.append(words.LANE_OPENS.format(level=f"{opens:.2f}"))
    found = "; ".join(f"{_span(s['start_s'], s['end_s'])} ({s['score']:.2f})" for s in spans)
    told.append(words.LANE_MARKED.format(spans=found) if found else words.LANE_UNMARKED)
    if missing := gaps([(a, b) for a, b, _ in windows], duration_s):
        told.append(words.LANE_GAPS.format(spans=", ".join(_span(a, b) for a, b in missing)))
    return " ".join(told)


def lane_svg(modality: str, windows: list[Window], spans: list[dict], opens: float | None, duration_s: float) -> str:
    """The shapes of one lane. Nothing in it comes from a file's texts."""
    bottom = _TOP + _LANE

    def y(score: float) -> str:
        return f"{bottom - score * _LANE:.1f}"

    def box(start: float, end: float, look: str) -> str:
        left, right = float(_x(max(0.0, start), duration_s)), float(_x(min(end, duration_s), duration_s))
        return f'<rect x="{left}" y="{_TOP}" width="{max(1.0, right - left):.1f}" height="{_LANE}" {look}/>'

    shapes = [f'<rect x="{_LEFT}" y="{_TOP}" width="{_PLOT}" height="{_LANE}" fill="#fff" stroke="#000"/>']
    shapes += [box(a, b, 'fill="url(#not-judged)"') for a, b in gaps([(a, b) for a, b, _ in windows], duration_s)]
    shapes += [box(s["start_s"], s["end_s"], 'fill="url(#marked)" stroke="#000" stroke-width="2"') for s in spans]
    if opens is not None and windows:
        shapes.append(f'<line x1="{_LEFT}" x2="{_LEFT + _PLOT}" y1="{y(opens)}" y2="{y(opens)}" stroke="#555" '
                      'stroke-dasharray="5 4"/>')
    for run in unbroken(windows):
        # Level from the first window's start to its middle, and from the last one's middle to its end.
        points = [(run[0][0], run[0][2]), *(((a + b) / 2, s) for a, b, s in run), (run[-1][1], run[-1][2])]
        joined = " ".join(f"{_x(min(t, duration_s), duration_s)},{y(score)}" for t, score in points)
        shapes.append(f'<polyline points="{joined}" fill="none" stroke="#000" stroke-width="2" '
                      f'stroke-dasharray="{_DASHES[modality]}"/>')
    shapes += [f'<text x="{_x(max(0.0, s["start_s"]), duration_s)}" y="{_TOP - 3}">{s["score"]:.2f}</text>'
               for s in spans]
    shapes += list(_ticks(duration_s, bottom))
    return "".join(shapes)


def _ticks(duration_s: float, bottom: int) -> Iterator[str]:
    step = next((s for s in (0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300) if duration_s / s <= 10), 600)
    for k in range(int(duration_s / step) + 1):
        yield (f'<line x1="{_x(k * step, duration_s)}" x2="{_x(k * step, duration_s)}" y1="{bottom}" '
               f'y2="{bottom + 4}" stroke="#000"/>'
               f'<text x="{_x(k * step, duration_s)}" y="{bottom + 15}" text-anchor="middle">{k * step:g}</text>')


def _x(value: float, full: float) -> str:
    return f"{_LEFT + value / full * _PLOT:.1f}"


def _svg(height: int, alt: str, shapes: str) -> str:
    return f'<svg viewBox="0 0 {_WIDTH} {height}" role="img" aria-label="{escape(alt)}">{shapes}</svg>'


def _lane_name(answer: dict, modality: str, track: int | None) -> str:
    name = words.MODALITIES[modality]
    if modality == "audio" or track is None or not several_faces(answer):
        return name
    return words.LANE_FACE.format(part=name, number=track + 1)


def _span(start_s: float, end_s: float) -> str:
    return words.SPAN.format(start=f"{start_s:.1f}", end=f"{end_s:.1f}")


# ---- quality and probe ----------------------------------------------------------------------------------------


def _quality(answer: dict) -> str:
    findings = "".join(
        f"<li>{escape(f['message'])} {escape(f['remedy'])} <code>{escape(f['code'])}</code></li>"
        for f in answer.get("findings") or []
    )
    told = f"<ul>{findings}</ul>" if findings else f"<p>{escape(words.QUALITY_NONE)}</p>"
    measures = (answer.get("media") or {}).get("measures") or {}
    rows = [(escape(words.MEASURES.get(name, name)), escape(f"{value:g}")) for name, value in measures.items()]
    return _section(words.QUALITY, told + (_table(words.MEASURES_CAPTION, (), rows) if rows else ""))


def _probe(answer: dict) -> str:
    probe = answer.get("probe")
    if not probe:
        return "" if answer.get("error") else _section(words.PROBE, f"<p>{escape(words.PROBE_NONE)}</p>")
    start_s, end_s = probe["span_s"]
    rows = []
    for trial in probe["variants"]:
        reading = trial.get("consensus")
        if reading is None:
            rows.append((escape(trial["doing"]), "–", escape(trial.get("not_tried") or "–")))
        else:
            rows.append((escape(trial["doing"]), _score(reading["score"]),
                         escape(words.VERDICTS[reading["verdict"]][0])))
    told = words.PROBE_SPAN.format(start=f"{start_s:.1f}", end=f"{end_s:.1f}")
    return _section(words.PROBE, f"<p><strong>{escape(probe['summary'])}</strong> {escape(told)}</p>"
                    + _table(words.PROBE_CAPTION, words.PROBE_HEADERS, rows))


# ---- the file -------------------------------------------------------------------------------------------------


def _file(answer: dict) -> str:
    media, provenance = answer.get("media") or {}, answer.get("provenance") or {}
    rows = [(escape(words.FILE_NAME), escape(answer.get("clip") or "?"))]
    if answer.get("sha256"):
        rows.append((escape(words.FILE_HASH), f"<code>{escape(answer['sha256'])}</code>"))
    if answer.get("duration_s"):
        rows.append((escape(words.FILE_DURATION), f"{answer['duration_s']:.2f} s"))
    rows += [(escape(name), escape(value)) for name, value in (provenance.get("facts") or {}).items()]
    if faces := media.get("faces"):
        rows.append((escape(words.FILE_FACES), "<br>".join(
            escape(words.FILE_FACE.format(number=f["track"] + 1, start=f"{f['start_s']:.1f}",
                                          end=f"{f['end_s']:.1f}", width=round(f["face_px"]))) for f in faces)))
    if speech := media.get("speech_s"):
        rows.append((escape(words.FILE_SPEECH), escape(", ".join(_span(a, b) for a, b in speech))))
    note = f"<p>{escape(words.FILE_HASH_NOTE)}</p>" if answer.get("sha256") else ""
    return _section(words.FILE, _table(words.FILE_CAPTION, (), rows) + note + _provenance(provenance), page=True)


def _provenance(provenance: dict) -> str:
    if not provenance:
        return ""
    traces = "".join(
        f"<li>{escape(t['message'])}<br>{escape(words.TRACE_MEANS.format(means=t['means']))}<br>"
        f"{escape(words.TRACE_NOT.format(limit=t['does_not_prove']))}</li>"
        for t in provenance.get("traces") or []
    )
    told = f"<ul>{traces}</ul>" if traces else f"<p>{escape(words.TRACES_NONE)}</p>"
    return (f"<h3>{escape(words.TRACES)}</h3><p>{escape(words.TRACES_NOTE)}</p>{told}"
            + _credentials(provenance.get("credentials") or {}))


def _credentials(credentials: dict) -> str:
    if not credentials:
        return ""
    rows = [
        (escape(words.CREDENTIALS_INTACT),
         escape(words.CREDENTIALS_STATES.get(credentials["state"], credentials["state"]))),
        (escape(words.CREDENTIALS_TRUSTED), escape(words.CREDENTIALS_TRUST.get(
            credentials.get("signer_trusted"), words.CREDENTIALS_TRUST["unknown"]))),
    ]
    for key, name in words.CREDENTIALS_ROWS.items():
        if value := credentials.get(key):
            rows.append((escape(name), escape("; ".join(value) if isinstance(value, list) else value)))
    failures = "".join(
        f"<li>{escape(words.CREDENTIALS_FAILURE.format(words=f['words'], code=f['code']))}</li>"
        for f in credentials.get("failures") or []
    )
    return (f"<h3>{escape(words.CREDENTIALS)}</h3><p>{escape(credentials['message'])} "
            f"{escape(credentials.get('limit') or '')}</p>"
            + (_table(words.CREDENTIALS, (), rows) if credentials["state"] not in ("none", "unread") else "")
            + (f"<ul>{failures}</ul>" if failures else ""))


# ---- method and limits ----------------------------------------------------------------------------------------


def _method(answer: dict, cards: dict[str, dict]) -> str:
    told = _table(words.METHOD_VERSIONS, (), [("Telltale", escape(answer.get("telltale") or "?"))])
    for name, detector in answer.get("detectors", {}).items():
        rows = [(escape(words.METHOD_ROWS[key]), escape(value))
                for key, value in _method_facts(detector, cards.get(name, {})) if value]
        told += _table(detector_name(name, cards), (), rows)
    if timings := answer.get("timings_s"):
        told += _table(words.TIMINGS_CAPTION, (), [(escape(detector_name(step, cards)), escape(f"{seconds:g}"))
                                                   for step, seconds in timings.items()])
    return _section(words.METHOD, told, page=True)


def _method_facts(detector: dict, card: dict) -> Iterator[tuple[str, str]]:
    """(key of words.METHOD_ROWS, value) of one detector; what its card lacks is left out."""
    yield "checkpoint", str(detector.get("checkpoint") or "")
    yield "paper", str(card.get("paper") or "")
    yield "weights", words.WEIGHTS[bool(detector.get("provisional"))]
    yield "commit", str(card.get("commit") or "")
    if spec := card.get("input_spec"):
        yield "window", words.WINDOW.format(window=spec["window_s"], hop=spec["hop_s"])
    if points := detector.get("thresholds"):
        rounded = {key: f"{value:.2f}" for key, value in points.items()}
        yield "bands", words.POINTS[has_strong_band(points)].format(**rounded)
        yield "spans", words.HYSTERESIS.format(**rounded)
    if training := (card.get("data") or {}).get("training"):
        yield "training", words.TRAINING.format(clips=training["clips"], hours=training["hours"])
    results = card.get("results") or {}
    if results.get("auc") is not None:
        low, high = results.get("auc_95") or (None, None)
        interval = "" if low is None else words.INTERVAL.format(low=f"{low:.2f}", high=f"{high:.2f}")
        yield "measured", words.MEASURED.format(auc=f"{results['auc']:.2f}", interval=interval,
                                                clips=results.get("clips", "?"))


def _limits(answer: dict, cards: dict[str, dict]) -> str:
    if answer.get("error"):
        return ""
    lines = [words.LIMIT_PART.format(part=words.MODALITIES[m], reason=why_not_judged(answer, m))
             for m, score in modality_scores(answer).items() if score is None]
    if left_out := [detector_name(name, cards) for name in cards if name not in answer.get("detectors", {})]:
        lines.append(words.LIMIT_DETECTORS.format(names=", ".join(left_out)))
    if not answer.get("probe"):
        lines.append(words.LIMIT_PROBE)
    provenance = answer.get("provenance")
    lines += [words.LIMIT_PROVENANCE] if not provenance else provenance.get("not_checked") or []
    lines += words.LIMITS_ALWAYS
    return _section(words.LIMITS, "<ul>" + "".join(f"<li>{escape(line)}</li>" for line in lines) + "</ul>")


def _machine_readable(answer: dict) -> str:
    """The answer as JSON, once for programs that read this file and once to save. Inside a script element only "<"
    could end it, and "&" and ">" go with it."""
    text = json.dumps(answer, indent=1)
    inside = text.translate({ord(c): f"\\u{ord(c):04x}" for c in "<>&"})
    data = base64.b64encode(text.encode()).decode()
    name = PurePath(report_name(answer)).with_suffix(".json").name
    return _section(
        words.JSON,
        f"<p>{escape(words.JSON_NOTE)}</p>"
        f'<p><a download="{escape(name)}" href="data:application/json;base64,{data}">{escape(words.JSON_DOWNLOAD)}</a>'
        f'</p><script type="application/json" id="telltale-answer">{inside}</script>',
    )


# ---- markup ---------------------------------------------------------------------------------------------------


def _section(heading: str, inside: str, page: bool = False) -> str:
    """page: begins on a new page where it is printed."""
    opening = '<section class="page">' if page else "<section>"
    return f"{opening}<h2>{escape(heading)}</h2>{inside}</section>"


def _table(caption: str, headers: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Cells are HTML already: the caller escapes. The first of a row names it. A table without headers holds facts,
    some of them long words without a space, such as hashes."""
    head = "".join(f'<th scope="col">{escape(h)}</th>' for h in headers)
    body = "".join(f'<tr><th scope="row">{first}</th>' + "".join(f"<td>{cell}</td>" for cell in rest) + "</tr>"
                   for first, *rest in rows)
    thead = f"<thead><tr>{head}</tr></thead>" if head else ""
    look = "" if head else ' class="facts"'
    return (f'<div class="table"><table{look}><caption>{escape(caption)}</caption>{thead}<tbody>{body}</tbody></table>'
            "</div>")


def _score(value: float | None) -> str:
    return escape(words.NOT_JUDGED) if value is None else f"{value:.2f}"
