"""Quality and file: what could be measured, what the file is, and what it tells of its making.

None of it says that a clip was manipulated, and every part says so where somebody may take it for that.
"""

from __future__ import annotations

from dataclasses import dataclass

from detectors import familiarity
from detectors.sync import NEAR, STEP_HZ
from explain.answer import detector_name, offset_words
from media import Reason
from media.quality import (
    DARKEST,
    LEAST_COVERAGE,
    LEAST_SHARPNESS,
    LEAST_SNR_DB,
    LEAST_SPEECH_S,
    SHORTEST_S,
    SILENCE_DBFS,
    SMALLEST_FACE_PX,
)
from ui.details import file_html
from ui.markup import escape, table

HEADING = "How good the clip is for judging"
CAPTION = "What was measured. A value beyond its limit makes scores less certain, or impossible."
HEADERS = ("Measure", "This clip", "Limit", "In words")
NOT_MEASURED = "not measured"
NO_FACE, NO_SOUND = "no face was found", "no sound could be read"
NO_NOISE = "too little voice, or no pause beside it to compare with"
DISTANCES = {"video": "Face, compared with those learnt from", "audio": "Sound, compared with that learnt from"}
DISTANCE, DISTANCE_LIMIT = "{:.2f} deviations out", "usual: up to {usual:.2f}; judged: up to {known:.2f}"
ALIKE = "like what Telltale's own detectors learnt from"
UNLIKE = "unlike what Telltale's own detectors learnt from"
NO_STRONG_SIGNS, NOT_JUDGED = "they call no score strong signs", "they do not judge it"
NONE_ASKED = "none of them was asked"
NO_DISTANCE = "too little of it to compare"
ERRORS_ROW = ("Reading", "{errors:.0f} parts could not be decoded", "none", "the clip is damaged; the rest was judged")
OFFSET = "Sound against picture"
OFFSET_LIMIT = f"usual: up to {NEAR / STEP_HZ:.2f} s either way"
OFFSET_NONE = "not estimated"
OFFSET_NONE_WHY = "no chosen detector estimates it, or there was too little face and voice together"
AS_ESTIMATED = "{offset}, as {detector} estimates"

TRACES = "Traces of editing"
TRACES_NOTE = (
    "A trace is not a sign of manipulation: nearly every clip that was ever sent or uploaded has some. They do not "
    "count in the answer."
)
TRACES_NONE = "None was found. That proves nothing either: traces are easily removed, and careful editing leaves none."
TRACES_UNREAD = "The file could not be read, so its traces were not looked for."
MEANS, DOES_NOT_PROVE, NOT_CHECKED = "What it means:", "What it does not prove:", "Not checked:"

CREDENTIALS = "Content Credentials (C2PA)"
CREDENTIALS_CAPTION = "Two separate facts: is what was signed unchanged, and is the signer somebody to trust?"
INTACT, TRUSTED = "Intact?", "Signer trusted?"
INTACT_WORDS = {
    "intact": "Yes, nothing was changed since signing.",
    "broken": "No, something was changed since signing, or the signing was faulty.",
    "none": "There are none in this file.",
    "elsewhere": "Not known: they are kept elsewhere, and Telltale fetches nothing.",
    "unread": "Not known: they were not read.",
}
TRUSTED_WORDS = {
    "yes": "Yes, the signer is on the list of trusted signers.",
    "no": "No, the signer is not on the list of trusted signers. Anybody can sign with a certificate of their own.",
    "unknown": "Not known: Telltale was given no list of trusted signers. Anybody can sign with a certificate of their "
    "own.",
}
NOBODY_SIGNED = "There is no signer that could be told."
CREDENTIALS_ROWS = {
    "signer": "Signed by",
    "signed_at": "Signed at",
    "generator": "Made with",
    "actions": "What the signer says was done",
    "ingredients": "What it was made from",
    "failures": "What does not hold",
}

# Without a secure context (http from another machine) a page has no clipboard; then the hash is selected for copying.
JS = """
element.addEventListener('click', async (event) => {
  const button = event.target.closest('[data-copy]');
  if (!button) return;
  const told = button.parentElement.querySelector('[role=status]');
  try {
    await navigator.clipboard.writeText(button.dataset.copy);
    told.textContent = button.dataset.copied;
  } catch {
    const range = document.createRange();
    range.selectNodeContents(button.parentElement.querySelector('code'));
    getSelection().removeAllRanges();
    getSelection().addRange(range);
    if (document.execCommand('copy')) told.textContent = button.dataset.copied;
  }
  setTimeout(() => { told.textContent = ''; }, 3000);
});
"""


@dataclass(frozen=True)
class Measure:
    """One measured value against the least that is needed."""

    key: str  # in media.measures
    name: str
    value: str  # format of the value
    least: float
    limit: str  # format of `least`
    enough: str
    too_little: str
    missing: str = NO_FACE  # why there is no value


MEASURES = (
    Measure("duration_s", "Length", "{:.1f} s", SHORTEST_S, "at least {:.0f} s", "long enough", "too short to judge"),
    Measure("face_px", "Face size", "{:.0f} pixels wide", SMALLEST_FACE_PX, "at least {:.0f} pixels", "large enough",
            "too small to judge"),
    Measure("face_coverage", "Face in view", "{:.0%} of the clip", LEAST_COVERAGE, "at least {:.0%}",
            "nearly always there", "often missing; those spans were not judged"),
    Measure("face_sharpness", "Sharpness of the face", "{:.0f}", LEAST_SHARPNESS, "usual from {:.0f} on",
            "sharp enough", "blurred: traces may be hidden, and blur can look like them"),
    Measure("face_light", "Light on the face", "mean brightness {:.0f} of 255", DARKEST, "at least {:.0f}",
            "bright enough", "dark: scores of the picture are less certain"),
    Measure("level_dbfs", "Loudness", "{:.0f} dBFS", SILENCE_DBFS, "above {:.0f} dBFS", "loud enough",
            "silent: there is nothing to judge", NO_SOUND),
    Measure("speech_s", "Voice", "{:.1f} s", LEAST_SPEECH_S, "at least {:.1f} s", "enough to judge",
            "too little to judge", NO_SOUND),
    Measure("snr_db", "Voice above noise and music", "{:.0f} dB", LEAST_SNR_DB, "at least {:.0f} dB", "clear enough",
            "noisy: the score of the sound is less certain", NO_NOISE),
)  # fmt: skip


def panel_html(result: dict, cards: dict[str, dict]) -> str:
    """The whole tab of one result object."""
    return (
        f'<div class="tt-stack">{quality_html(result, cards)}{file_html(result)}{traces_html(result)}'
        f"{credentials_html(result)}</div>"
    )


def quality_html(result: dict, cards: dict[str, dict]) -> str:
    """Measured values with their limits, in words; "" for a file that could not be read."""
    measures = (result.get("media") or {}).get("measures")
    if measures is None:
        return ""
    rows = [_measure_row(m, measures) for m in MEASURES]
    if measures.get("decode_errors"):
        rows.insert(1, tuple(cell.format(errors=measures["decode_errors"]) for cell in ERRORS_ROW))
    rows += [_distance_row(modality, result) for modality in DISTANCES] + _offset_rows(result, cards)
    escaped = [tuple(escape(cell) for cell in row) for row in rows]
    return f"<section><h3>{escape(HEADING)}</h3>{table(CAPTION, HEADERS, escaped, row_headers=True)}</section>"


def _measure_row(measure: Measure, measures: dict) -> tuple[str, ...]:
    limit = measure.limit.format(measure.least).replace("%", " %")  # as everywhere on the page
    value = measures.get(measure.key)
    if value is None:
        return measure.name, NOT_MEASURED, limit, measure.missing
    shown = measure.value.format(value)
    if measure.key == "speech_s" and "speech_ratio" in measures:
        shown += f", {measures['speech_ratio']:.0%} of the clip"
    shown = shown.replace("%", " %")
    return measure.name, shown, limit, measure.enough if value >= measure.least else measure.too_little


def _distance_row(modality: str, result: dict) -> tuple[str, ...]:
    """How far the clip is from all that the detectors learnt from."""
    name, limits = DISTANCES[modality], familiarity.limits(modality)
    value = result["media"]["measures"].get(familiarity.MEASURES[modality])
    if value is None:
        return name, NOT_MEASURED, DISTANCE_LIMIT.format(**limits), NO_DISTANCE
    unlike = [f for f in result["findings"] if f["code"] == Reason.UNLIKE_TRAINING]
    blocked = any(modality in f["blocks"] for f in unlike)
    so = NOT_JUDGED if blocked else NO_STRONG_SIGNS if unlike else NONE_ASKED
    words = ALIKE if value <= limits["usual"] else f"{UNLIKE}: {so}"
    return name, DISTANCE.format(value), DISTANCE_LIMIT.format(**limits), words


def _offset_rows(result: dict, cards: dict[str, dict]) -> list[tuple[str, ...]]:
    """By how much the sound comes after the picture: a row per detector that tells it."""
    rows = []
    for detector, answer in (result.get("detectors") or {}).items():
        offset_s = answer.get("offset_s")
        if offset_s is None:
            continue
        shown, words = offset_words(offset_s)
        told = AS_ESTIMATED.format(offset=shown, detector=detector_name(detector, cards))
        rows.append((OFFSET, told, OFFSET_LIMIT, words))
    return rows or [(OFFSET, OFFSET_NONE, OFFSET_LIMIT, OFFSET_NONE_WHY)]


def traces_html(result: dict) -> str:
    """Each trace with what it means and what it does not prove."""
    provenance = result.get("provenance")
    if provenance is None:
        return f'<section><h3>{escape(TRACES)}</h3><p class="tt-hint">{escape(TRACES_UNREAD)}</p></section>'
    items = "".join(
        f"<li><div><strong>{escape(t['message'])}</strong></div><div>{escape(MEANS)} {escape(t['means'])}</div>"
        f"<div>{escape(DOES_NOT_PROVE)} {escape(t['does_not_prove'])}</div></li>"
        for t in provenance["traces"]
    )
    found = f'<ul class="tt-traces">{items}</ul>' if items else f"<p>{escape(TRACES_NONE)}</p>"
    unread = provenance["credentials"]["message"]  # told with the credentials
    left_out = "".join(
        f'<p class="tt-small">{escape(NOT_CHECKED)} {escape(sentence)}</p>'
        for sentence in provenance["not_checked"]
        if sentence != unread
    )
    return (
        f'<section><h3>{escape(TRACES)}</h3><div class="tt-card"><p class="tt-hint">{escape(TRACES_NOTE)}</p>'
        f"{found}{left_out}</div></section>"
    )


def credentials_html(result: dict) -> str:
    """Intact and trusted as two facts, then what the signer states; "" for a file that could not be read."""
    provenance = result.get("provenance")
    if provenance is None:
        return ""
    told = provenance["credentials"]
    signed = told["state"] in ("intact", "broken")
    rows = [
        (escape(INTACT), escape(INTACT_WORDS[told["state"]])),
        (escape(TRUSTED), escape(TRUSTED_WORDS[told["signer_trusted"]] if signed else NOBODY_SIGNED)),
    ]
    for key, name in CREDENTIALS_ROWS.items():
        if value := told.get(key):
            rows.append((escape(name), _listed(value)))
    notes = (told["message"], told["limit"])  # the limit of absent ones: their absence proves nothing
    paragraphs = "".join(f'<p class="tt-hint">{escape(note)}</p>' for note in notes)
    return (
        f"<section><h3>{escape(CREDENTIALS)}</h3>{table(CREDENTIALS_CAPTION, (), rows, row_headers=True)}"
        f"{paragraphs}</section>"
    )


def _listed(value: str | list) -> str:
    """A text, or a list of texts or of failures, as HTML."""
    if isinstance(value, str):
        return escape(value)
    words = [f"{v['words']} ({v['code']})" if isinstance(v, dict) else v for v in value]
    return "".join(f"<div>{escape(w)}</div>" for w in words)
