"""The verdict card: the answer in words, the probability on its band, the parts, the reasons, the limits."""

from __future__ import annotations

from itertools import pairwise

from explain.answer import (
    MODALITIES,
    agreement_words,
    band_edges,
    band_words,
    detector_name,
    has_strong_band,
    listed,
    modality_scores,
    more_alarmed,
    thresholds,
    verdict_words,
    was_lowered,
    why_not_judged,
)
from explain.words import NO_STRONG_BAND
from ui import agreement, texts
from ui.markup import escape, percent
from ui.record import read_record, record_words


def verdict_html(result: dict, cards: dict[str, dict]) -> str:
    """The card of one result object. `cards`: detectors.available(), for names and for what was not chosen."""
    verdict = result["verdict"]
    heading, meaning = verdict_words(result)
    if result.get("error"):
        meaning = ""  # the one finding says it all
    elif was_lowered(result):
        meaning = texts.LOWERED[verdict]
    parts = [
        f'<section class="tt-card tt-verdict tt-{verdict.lower()}" aria-labelledby="tt-verdict-heading">',
        _badge(result, cards),
        _added(result, cards),
        _subject(result),
        f'<h2 id="tt-verdict-heading">{escape(heading)}</h2>',
        f'<p class="tt-meaning">{escape(meaning)}</p>' if meaning else "",
        _probability(result, cards),
        _record(result),
        _own_scales(result, cards),
        _modalities(result),
        _reasons(result),
        _number(result, cards),
        _not_checked(result, cards),
        "</section>",
    ]
    return "".join(parts)


def _subject(result: dict) -> str:
    """Which file this is the answer to: another one may have been chosen since."""
    name, sha256 = result.get("clip") or "?", result.get("sha256")
    known = (f' <span class="tt-muted" title="{escape(sha256)}">{escape(texts.SUBJECT_HASH.format(sha256=sha256[:12]))}'
             "</span>" if sha256 else "")
    return f'<p class="tt-subject">{escape(texts.SUBJECT)} <strong>{escape(name)}</strong>{known}</p>'


def probability_words(score: float) -> str:
    return next(words for below, words in texts.PROBABILITY_WORDS if score < below)


def _badge(result: dict, cards: dict[str, dict]) -> str:
    """Of the weights that come with Telltale; those of others speak for themselves."""
    if not result.get("provisional") or result.get("error"):
        return ""
    if all(cards.get(d, {}).get("added") for d, a in result["detectors"].items() if a.get("provisional")):
        return ""
    return (
        f'<p class="tt-provisional"><strong>{escape(texts.PROVISIONAL_BADGE)}.</strong> '
        f"{escape(texts.PROVISIONAL)}</p>"
    )


def _added(result: dict, cards: dict[str, dict]) -> str:
    """Which of the detectors are from outside."""
    names = [detector_name(d, cards) for d in result.get("detectors", {}) if cards.get(d, {}).get("added")]
    if not names:
        return ""
    words = texts.ADDED[len(names) > 1].format(names=listed(names))
    return f'<p class="tt-provisional"><strong>{escape(texts.ADDED_BADGE)}.</strong> {escape(words)}</p>'


def _probability(result: dict, cards: dict[str, dict]) -> str:
    score = result.get("score")
    if score is None:
        return ""
    if was_lowered(result):
        return _lowered(result)
    sentence = texts.PROBABILITY.format(percent=percent(score), words=probability_words(score))
    more = "".join(f'<p>{escape(words)}</p>' for words in more_alarmed(result, cards))
    return (
        f'<p class="tt-probability">{sentence} <span class="tt-muted">({texts.PROBABILITY_SCALE})</span>. '
        f"{escape(agreement_words(result, cards))}</p>{more}{band_html(score, thresholds(result))}{_held(result)}"
    )


def _held(result: dict) -> str:
    """What the probe says of an answer that stays as it is."""
    probe = result.get("probe")
    return f'<p class="tt-held">{escape(probe["summary"])}</p>' if probe else ""


def _record(result: dict) -> str:
    """How often answers like this one are right: of several detectors whose scores were put together by a fit."""
    if result.get("score") is None or not (result.get("consensus") or {}).get("fitted"):
        return ""
    judged = [d for d, answer in result["detectors"].items() if answer.get("score") is not None]
    words = record_words(read_record(), judged)
    return f'<p class="tt-record">{escape(words)}</p>' if words else ""


def _lowered(result: dict) -> str:
    """Why the verdict was lowered, in the place of a probability that nobody should rely on."""
    outcome = result["probe"]["consensus"]
    why = "".join(f"<li><p>{escape(outcome['sentences'][v])}</p></li>" for v in (*outcome["flips"], *outcome["lost"]))
    before = texts.LOWERED_BEFORE.format(before=texts.VERDICTS[outcome["verdict_before"]][0].lower())
    spread = texts.SPREAD.format(lowest=percent(outcome["lowest"]), highest=percent(outcome["highest"]))
    return (
        f"<p>{escape(before)}</p><ul class='tt-reasons'>{why}</ul>"
        f'<p class="tt-probability">{spread} <span class="tt-muted">({texts.PROBABILITY_SCALE})</span>.</p>'
        f"{spread_html(outcome, thresholds(result))}"
    )


def band_html(score: float, points: dict | None) -> str:
    """A 0 to 100 scale with the three bands, their thresholds, and this clip's mark. Words carry the meaning,
    colour and pattern only repeat it."""
    if points is None:
        return ""
    alt = f"{texts.SCALE_ALT} {band_words(points)} {texts.THIS_CLIP.format(percent=percent(score))}"
    return _scale(points, alt, _pointer(score))


def spread_html(outcome: dict, points: dict | None) -> str:
    """The same scale with the span from the lowest to the highest score of the clip and its copies; "" where there are
    none. outcome: of detectors.probe, as JSON."""
    lowest, highest, score = outcome["lowest"], outcome["highest"], outcome["clip"]["score"]
    if points is None or score is None:
        return ""
    told = texts.SPREAD_ALT.format(lowest=percent(lowest), highest=percent(highest), percent=percent(score))
    alt = f"{texts.SCALE_ALT} {band_words(points)} {told}"
    bar = f'<span class="tt-spread" style="left:{lowest * 100:.2f}%;width:{(highest - lowest) * 100:.2f}%"></span>'
    return _scale(points, alt, bar + _pointer(score))


def _own_scales(result: dict, cards: dict[str, dict]) -> str:
    """A scale per detector, where they have different bands, so that none could stand for all."""
    judged = {name: d for name, d in result.get("detectors", {}).items()
              if d.get("score") is not None and d.get("thresholds")}
    if len(judged) < 2 or thresholds(result) is not None or was_lowered(result):
        return ""
    rows = "".join(
        f'<li class="tt-part"><span class="tt-part-name">{escape(detector_name(name, cards))}</span>'
        f'{_small_scale(answer["score"], answer["thresholds"])}'
        f'<span class="tt-part-value">{percent(answer["score"])} %</span>'
        f'<span class="tt-part-why">{escape(texts.SHORT_VERDICTS[answer["verdict"]])}</span></li>'
        for name, answer in judged.items()
    )
    return (
        f'<h3>{escape(texts.OWN_HEADING)}</h3><ul class="tt-parts tt-own">{rows}</ul>'
        f'<p class="tt-small">{escape(texts.OWN_HINT)}</p>'
    )


def _small_scale(score: float, points: dict) -> str:
    """The bands and the mark alone; number and verdict stand beside it."""
    alt = f"{texts.SCALE_ALT} {band_words(points)} {texts.THIS_CLIP.format(percent=percent(score))}"
    bands = "".join(f'<span class="tt-band tt-band-{k}" style="width:{(end - begin) * 100:.2f}%"></span>'
                    for k, (begin, end) in enumerate(pairwise(band_edges(points))))
    return (
        f'<span class="tt-small-scale" role="img" aria-label="{escape(alt)}"><span class="tt-bands">{bands}</span>'
        f'<span class="tt-pointer" style="left:{score * 100:.2f}%"></span></span>'
    )


def _pointer(score: float) -> str:
    flip = " tt-flip" if score > 0.75 else ""  # the number stays inside the card
    return f'<span class="tt-pointer{flip}" style="left:{score * 100:.2f}%"><b>{percent(score)} %</b></span>'


def _scale(points: dict, alt: str, mark: str) -> str:
    edges = band_edges(points)
    bands = "".join(
        f'<span class="tt-band tt-band-{k}" style="width:{(end - begin) * 100:.2f}%">'
        f"<span>{escape(label)}</span></span>"
        for k, ((begin, end), label) in enumerate(zip(pairwise(edges), texts.BAND_LABELS))
    )
    marks = "".join(f'<span class="tt-edge" style="left:{e * 100:.2f}%">{round(e * 100)}</span>' for e in edges)
    return (
        f'<div class="tt-scale" role="img" aria-label="{escape(alt)}">'
        f'{mark}<div class="tt-bands">{bands}</div><div class="tt-edges">{marks}</div></div>'
        + ("" if has_strong_band(points) else f'<p class="tt-small">{escape(NO_STRONG_BAND)}</p>')
    )


def _modalities(result: dict) -> str:
    if not result.get("detectors"):
        return ""
    rows = []
    for modality, score in modality_scores(result).items():
        name = escape(texts.MODALITIES[modality])
        if score is None:
            reason = escape(why_not_judged(result, modality))
            rows.append(
                f'<li class="tt-part"><span class="tt-part-name">{name}</span>'
                f'<span class="tt-bar tt-hatched" aria-hidden="true"></span>'
                f'<span class="tt-part-value">{escape(texts.NOT_JUDGED)}</span>'
                f'<span class="tt-part-why">{reason}</span></li>'
            )
        else:
            value, why = f"{percent(score)} %", probability_words(score)
            if (result.get("media") or {}).get("still"):  # nobody calibrated it
                value, why = f"{score:.2f}", texts.STILL_SCORE
            rows.append(
                f'<li class="tt-part"><span class="tt-part-name">{name}</span>'
                f'<span class="tt-bar tt-fill-{modality}" aria-hidden="true">'
                f'<span style="width:{score * 100:.1f}%"></span></span>'
                f'<span class="tt-part-value">{value}</span><span class="tt-part-why">{escape(why)}</span></li>'
            )
    return f"<h3>{escape(texts.MODALITIES_HEADING)}</h3><ul class='tt-parts'>{''.join(rows)}</ul>"


def _reasons(result: dict) -> str:
    findings = result.get("findings", [])
    if not findings:
        return f"<p>{escape(texts.REASON_MISSING)}</p>" if result.get("score") is None else ""
    heading = texts.REASONS_HEADING_NONE if result.get("score") is None else texts.REASONS_HEADING
    items = "".join(
        f"<li><p>{escape(f['message'])} {escape(f['remedy'])}</p><code>{escape(f['code'])}</code></li>"
        for f in findings
    )
    return f"<h3>{escape(heading)}</h3><ul class='tt-reasons'>{items}</ul>"


def _number(result: dict, cards: dict[str, dict]) -> str:
    """What the probability is made of and what it assumes, for who wants to know."""
    if result.get("score") is None:
        return ""
    made = agreement.weights_words(result, "score", cards)
    items = [texts.NUMBER_MADE.format(made=made), *texts.NUMBER]
    return _folded(texts.NUMBER_HEADING, items)


def _not_checked(result: dict, cards: dict[str, dict]) -> str:
    if result.get("error"):
        return ""
    scores = modality_scores(result)
    items = [
        texts.NOT_CHECKED_PART.format(part=texts.MODALITIES[m], reason=why_not_judged(result, m))
        for m in MODALITIES
        if scores[m] is None
    ]
    left_out = [detector_name(d, cards) for d in cards if d not in result.get("detectors", {})]
    if left_out and result.get("detectors"):
        items.append(texts.NOT_CHECKED_DETECTORS.format(names=", ".join(left_out)))
    return _folded(texts.NOT_CHECKED_HEADING, [*items, *texts.NOT_CHECKED_ALWAYS])


def _folded(heading: str, items: list[str]) -> str:
    bullets = "".join(f"<li>{escape(item)}</li>" for item in items)
    return f'<details class="tt-details"><summary>{escape(heading)}</summary><ul>{bullets}</ul></details>'
