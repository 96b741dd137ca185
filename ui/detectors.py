"""The Detectors tab: what each detector sees, on what it learnt, how often it is right and wrong, and what it costs.

Everything measured comes from the checkpoints' cards. Cards of different age carry different parts; what one does not
carry is named as missing, and no figure stands in for it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import gradio as gr

from explain.answer import MODALITIES, listed
from ui import texts
from ui.markup import escape, table
from ui.record import read_record, record_words

TAB = "Detectors"
HEADING = "The detectors and what is known of them"
INTRO = (
    "Figures of the detectors that come with Telltale are measured on clips whose people training never saw. AUC is "
    "the chance that a manipulated clip scores above a genuine one: 0.5 is a coin toss, 1 is never wrong. In brackets "
    "or as a bar: the 95 % interval."
)
NONE = "No detector has its weights here."
OVERVIEW = "All detectors: AUC with its 95 % interval, size and cost"
OVERVIEW_HEADERS = ("Detector", "Whole clip", "Picture", "Sound", "Lip-sync", "Parameters", "GFLOP a window")
MISSING = "not in its card"
NOT_MEASURED = "not measured"
HEADS = {"whole": "Whole clip", **texts.MODALITIES}

TOGETHER = "Together"
TOGETHER_IS = "the answer that stands first"
TOGETHER_WEIGHTS = (
    "Each detector’s score counts as much as it helped on clips that none of them had learnt from: {shares}. Where the "
    "lip-sync shows more surely that the sound does not belong to the picture, that decides instead."
)
TOGETHER_BLIND = "What none of the detectors can see, they cannot see together either."
HOW = "How it comes about"
SEES, DATA, MEASURED = "What it sees and tells", "What it learnt from", "How often it is right"
RELIABILITY, FAILURES, COST, LICENCES, MADE = (
    "Do its probabilities hold?", "Known failures", "What it costs", "Licences", "How it was made")

ADDED = (
    "It is the class {reference} of this machine, not a part of Telltale, which has not measured it: what stands here "
    "is its author’s word."
)
INPUT = "It sees {frames} aligned faces of {face_px} pixels{lips} and the sound of {window_s} s, every {hop_s} s."
LIPS = ", {lips} pictures of the lips of {lips_px} pixels"
DATA_CAPTION = "Clips that it learnt from, and clips of other sources that set its probabilities and thresholds"
DATA_HEADERS = ("Part", "Clips", "Sources", "Hours")
KINDS_CAPTION = "What these clips are: how many of each kind"
KIND = "Kind"
EVERY_KIND = "Every kind by itself"
EVERY_CAPTION = "How many clips of each single kind; “+”: both in one clip"
FIGURE_HEADERS = ("Part or kind", "AUC", "Drawn", "95 %", "File facts alone", "Manipulated", "Genuine")
MEASURED_CAPTION = (
    "AUC by part and by kind of manipulation. The bar is the interval on a scale from 0 to 1, the dashed line chance. "
    "“File facts alone” is what size, timing and border of the same clips tell without looking."
)
HARDER = "Harder questions"
HARDER_CAPTION = (
    "Within one source, or one pair of a genuine clip and its forgery, the look of a web site or a face cannot help. "
    "Then the same clips with something taken away, and by how strongly they are compressed."
)
VERDICTS_CAPTION = "What it called the clips"
VERDICTS_SENTENCE = "“{strong}” from a score of {manipulated} on, “{some}” from {suspicious} on."
UNUSUAL_SENTENCE = "A clip unlike those that it learnt from is called “{some}” at most."
SPANS_SENTENCE = "A span is marked from {segment_on} on."
MARKED_SENTENCE = "{share} of the genuine clips had a marked span."
WHERE = "Where a clip is manipulated: average precision at half overlap {ap}, recall of 20 proposals {ar}."
WHERE_NOT = "How well it tells where a clip is manipulated was not measured."
RELIABILITY_NOT = "A reliability diagram was not measured for this checkpoint."
ECE = "Expected calibration error {ece}: by so much its scores miss the share of manipulated clips, on average."
ECE_BY_CHANCE = (
    "On as many clips, scores that are exactly right would show {mean}, and in 95 of 100 cases up to {most}."
)
EVEN_PRIOR = "Scores assume as many manipulated as genuine clips; where manipulation is rare, they are too high."
RELIABILITY_CAPTION = "Clips sorted by score into groups: a probability that holds equals the share"
RELIABILITY_HEADERS = ("Mean score", "Manipulated", "Clips")
RELIABILITY_ALT = (
    "Share of manipulated clips over the mean score of each group. On the dashed diagonal, score and share are equal. "
    "Largest distance: {distance}, at score {score}. The table beside it has all the numbers."
)
CHANCE = "Cannot be told from chance: {items}."
WRONG_WAY = "Scores the wrong way round, manipulated clips below genuine ones: {items}."
SHORTCUT = "File facts alone do as well: {items}."
FEW = "Measured on fewer than {least} manipulated clips, so little is known: {items}."
FEW_CLIPS = 20
NEVER = "Never measured, for want of manipulated clips: {items}."
ALARMS = "Of the genuine clips, it called {strong} “{strong_words}” and {some} “{some_words}”."
MISSES = "Of the manipulated clips, it found no signs in {share}."
LIMITS = (
    "Faces under 36 pixels, sound without a voice, and generators and cameras unlike those above. It learnt from few "
    "sources, and part of what it learnt is their look."
)
SIZE = "{shipped} parameters and {gflops} GFLOP (billions of operations) a window, frozen encoders included."
SIZE_PAPER = "In the paper’s configuration, as far as it is known: {paper} parameters, {gflops} GFLOP."
SIZE_NOT = "Its size and cost are not in its card; python -m detectors counts them."
SECONDS = "On the clip that you analysed last ({duration} s): {seconds} s, beside {prepare} s for reading the clip."
SECONDS_NOT = "Seconds depend on the machine and the clip: each answer says what it took, under Compare."
ENCODER = "It holds a frozen {network}, trained on {trained_on}: {licence}."
OWN_LICENCE = "Its code and weights come with Telltale, under the MIT licence. Training clips are not part of them."
LICENCE_NOT = "Its card names no licence: ask who made it before you use it."

# Kinds of clips as the cards name them; the rest is shown with spaces for underscores. What a published data set
# calls fake speech and what was forged from the training clips are two kinds.
FAMILIES = {
    "real": "genuine", "real_speech": "genuine speech", "fake_speech": "synthetic speech", "": "unknown",
    "full_synthesis": "wholly synthetic face", "synthetic_speech": "synthetic speech in place of the speaker's",
    "synthetic_phrase": "a synthetic phrase", "neural_copy": "voice copied by a network",
    "neural_shift": "voice changed by a network", "copy_synthesis": "voice copied by a vocoder",
    "learnt_swap": "face swap by a trained network", "learnt_rerender": "mouth redrawn by a trained network",
    "learnt_lip_sync": "mouth redrawn to another sound by a trained network", "rerender_mouth": "mouth redrawn",
    "transplant_mouth": "mouth of another moment", "self_blend": "face blended onto itself",
    "swap_identity": "face of another person", "resynthesise": "face saved small and drawn again",
    "jitter": "trembling edge of the face", "splice": "words of another moment",
    "swapped_sound": "sound of another clip", "shifted_sound": "sound moved in time",
    "stretched_sound": "sound stretched", "talking_head": "still face made to talk",
    "reenactment": "face steered by another",
}
# The few plain kinds that those belong to; what is in none of them stands under OTHER_KIND.
KINDS = {
    "Genuine": ("real", "real_speech"),
    "Face swapped, changed or wholly made": (
        "face_swap", "full_synthesis", "reenactment", "talking_head", "learnt_swap", "swap_identity", "self_blend",
        "resynthesise", "jitter"),
    "Mouth redrawn": ("lip_sync", "learnt_lip_sync", "learnt_rerender", "rerender_mouth", "transplant_mouth"),
    "Voice made or changed": (
        "fake_speech", "synthetic_speech", "synthetic_phrase", "voice_conversion", "copy_synthesis", "neural_copy",
        "neural_shift", "splice", "dubbed_speech"),
    "Sound of another moment or clip": ("swapped_sound", "shifted_sound", "stretched_sound"),
}
BOTH_KINDS, OTHER_KIND = "Picture and sound both", "Other"
SPLITS = {"val": "that were kept out of training", "test": "that were kept back for the last measurement"}

_WHOLE = f"{HEADS['whole']}: "  # its kinds are those of the parts again


@dataclass(frozen=True)
class Words:
    """What is known of a detector beside its figures. A card's own "words" go before these."""

    tells: str
    blind: str
    encoders: tuple[dict, ...] = ()
    limits: str = LIMITS


_LITE0 = {"network": "EfficientNet-Lite0", "trained_on": "ImageNet",
          "licence": "Apache-2.0, Copyright (c) 2020 ML Illustrated"}
_DISTILL_MOS = {"network": "DistillMOS up to its sixth transformer layer",
                "trained_on": "scores of a speech quality model", "licence": "MIT, Copyright (c) Microsoft Corporation"}
WORDS = {
    "ss_avd": Words(
        "It tells how likely the picture, the sound and the clip as a whole were manipulated. Sound and picture "
        "attend to each other at four scales of one small network.",
        "Lip-sync: it is trained to accept sound and picture of different clips, so it has no objection to a borrowed "
        "voice.",
        (_LITE0,),
    ),
    "mmms_ba": Words(
        "For each third of a second it tells how likely picture and sound were manipulated, and whether lips and "
        "sound fit; it proposes where a manipulation begins and ends.",
        "Good sync says nothing: faces driven by the sound are in better sync than genuine ones, so its lip-sync "
        "score is evidence of a mismatch alone. It needs a voice and a face.",
        (_LITE0, _DISTILL_MOS),
    ),
    "joint_av": Words(
        "It tells how likely the picture and the sound were manipulated, and whether the sound belongs to these lips.",
        "What is finer than the pixels of its small faces. Lip-sync is evidence of a mismatch alone, and of speech "
        "only: a silent face has none.",
    ),
    "mis_avoidd": Words(
        "It tells how likely the clip as a whole, the picture and the sound were manipulated. It compares what each "
        "of them says on its own with what they say in common.",
        "Anything in time: it compares summaries of a few seconds, so sound that is late by half a second looks the "
        "same to it.",
        (_LITE0, _DISTILL_MOS),
    ),
}


def build(cards: dict[str, dict]) -> gr.HTML:
    """The tab's one component, inside the current gr.Blocks. It takes detectors_html(cards, result) after an analysis,
    for the seconds that it took."""
    return gr.HTML(detectors_html(cards), elem_id="detector-cards")


def detectors_html(cards: dict[str, dict], result: dict | None = None) -> str:
    """An overview and a card each, the first of all together. `cards`: detectors.available(); `result`: an answer, for
    the time it took."""
    if not cards:
        return f'<p class="tt-message">{escape(NONE)}</p>'
    record = read_record()
    if not set(record.get("of", ())) <= cards.keys():
        record = {}
    together = together_html(record, cards) if record else ""
    single = "".join(card_html(name, card, result, opened=len(cards) == 1) for name, card in cards.items())
    return (f'<div class="tt-detectors"><section class="tt-card"><h2>{escape(HEADING)}</h2><p>{escape(INTRO)}</p>'
            f"{_overview(cards, record)}{_sentence(record_words(record, record.get('of', ())))}</section>"
            f"{together}{single}</div>")


def together_html(record: dict, cards: dict[str, dict]) -> str:
    """The card of all detectors together. record: of ui.record.read_record."""
    fit = record["fit"]
    # It marks no spans of its own, so a share of clips with one would be none of its merits.
    results = {name: value for name, value in record["results"].items() if name != "genuine_marked"}
    card = {"thresholds": {"manipulated": fit.manipulated, "suspicious": fit.suspicious}}
    total = sum(fit.weights.values())
    shares = listed([f"{cards[name].get('name') or name} {_percent(fit.weights.get(name, 0.0) / total, 0)}"
                     for name in sorted(record["of"], key=list(cards).index)])
    return _folded_card(escape(TOGETHER), TOGETHER_IS, "", (
        (HOW, _sentence(TOGETHER_WEIGHTS.format(shares=shares))),
        (MEASURED, _measured(card, results)),
        (RELIABILITY, reliability_html(results)),
        (FAILURES, _bullets(failures(results, Words("", TOGETHER_BLIND, limits="")))),
    ))


def card_html(detector: str, card: dict, result: dict | None = None, opened: bool = False) -> str:
    """One detector's card, folded under its name."""
    results, words = _part(card, "results"), words_of(detector, card)
    sections = (
        (SEES, _sees(card, words)),
        (DATA, _data(card)),
        (MEASURED, _measured(card, results)),
        (RELIABILITY, reliability_html(results)),
        (FAILURES, _bullets(failures(results, words) or [f"They are {MISSING}."])),
        (COST, _cost(detector, card, result)),
        (LICENCES, _bullets(licences(detector, card, words))),
        (MADE, _made(card)),
    )
    badge = ""
    if card.get("added"):
        badge = _badge(texts.ADDED_BADGE, ADDED.format(reference=card["added"]))
    elif card.get("provisional"):
        badge = _badge(texts.PROVISIONAL_BADGE, texts.PROVISIONAL)
    return _folded_card(_name(detector, card), card.get("paper") or "", badge, sections, opened)


def _folded_card(name: str, note: str, badge: str, sections: Sequence[tuple[str, str]], opened: bool = False) -> str:
    """name, badge and the sections' bodies: HTML."""
    body = "".join(f"<h3>{escape(heading)}</h3>{html}" for heading, html in sections)
    return (f'<details class="tt-card tt-details"{" open" if opened else ""}><summary>{name} '
            f'<span class="tt-muted">{escape(note)}</span></summary>{badge}{body}</details>')


def _badge(name: str, words: str) -> str:
    return f'<p class="tt-provisional"><strong>{escape(name)}.</strong> {escape(words)}</p>'


def words_of(detector: str, card: dict) -> Words:
    known = WORDS.get(detector, Words("", "", limits=""))
    own = _part(card, "words")
    encoders = own.get("encoders")
    return Words(str(own.get("tells") or known.tells), str(own.get("blind") or known.blind),
                 tuple(e for e in encoders if isinstance(e, dict)) if isinstance(encoders, (list, tuple))
                 else known.encoders, known.limits)


# ---- figures ----------------------------------------------------------------------------------------------------


def heads(results: dict) -> dict[str, dict]:
    """Head ("whole", "video", ...) -> its figures."""
    whole = {"whole": results} if "auc" in results else {}
    return whole | {name: part for name in MODALITIES if (part := _part(results, name))}


def figures(results: dict) -> dict[str, dict]:
    """Name in words -> figures of each head and of each kind of manipulation."""
    families = {family_name(name): part for name, part in _part(results, "families").items() if isinstance(part, dict)}
    return {HEADS[name]: part for name, part in heads(results).items()} | families


def harder_figures(results: dict) -> dict[str, dict]:
    """Figures within a source and a pair, of controls and of compression; an older card has a bare AUC of the first."""
    found = {}
    for name, part in heads(results).items():
        if isinstance(part.get("within_source_auc"), float):
            found[f"{HEADS[name]}, within a source"] = {"auc": part["within_source_auc"]}
        for kind, words in (("within_source", "within a source"), ("within_pair", "within a pair")):
            if figure := _part(part, kind):
                found[f"{HEADS[name]}, {words}"] = figure
    for kind, suffix in (("controls", ""), ("compression", " compression")):
        found |= {family_name(name) + suffix: part for name, part in _part(results, kind).items()
                  if isinstance(part, dict)}
    return found


def family_name(name: str) -> str:
    """ "video:face_swap" -> "Picture: face swap" """
    head, colon, rest = str(name).rpartition(":")
    words = " + ".join(FAMILIES.get(part, part.replace("_", " ")) for part in rest.split(" + "))
    return f"{HEADS.get(head, head)}: {words}" if colon else words


def kind_name(family: str) -> str:
    """The plain kind that a family belongs to, one of KINDS, BOTH_KINDS and OTHER_KIND."""
    if " + " in family:
        return BOTH_KINDS
    return next((kind for kind, families in KINDS.items() if family in families), OTHER_KIND)


def kinds(families: dict) -> dict[str, int]:
    """Plain kind -> clips, in the order of KINDS."""
    counts = dict.fromkeys((*KINDS, BOTH_KINDS, OTHER_KIND), 0)
    for family, count in families.items():
        if is_number(count):
            counts[kind_name(str(family))] += count
    return {kind: count for kind, count in counts.items() if count}


def failures(results: dict, words: Words) -> list[str]:
    """What it cannot see by its making, and what the measured figures themselves show to be weak."""
    known = figures(results)
    told = {name: (_number(f.get("auc")), *interval(f)) for name, f in known.items() if is_number(f.get("auc"))}
    ends = {f"{name} (AUC {auc}, {_number(low)} to {_number(high)})": (low, high)
            for name, (auc, low, high) in told.items() if low is not None}
    chance = [name for name, (low, high) in ends.items() if low <= 0.5 <= high]
    wrong_way = [name for name, (_, high) in ends.items() if high < 0.5]
    shortcut = [name for name, f in known.items() if is_number(f.get("auc")) and is_number(f.get("shortcut_auc"))
                and f["shortcut_auc"] >= f["auc"]]
    counts = {name: f["fake"] for name, f in known.items() if isinstance(f.get("fake"), int)}
    few = [f"{name} ({n})" for name, n in counts.items() if 0 < n < FEW_CLIPS and not name.startswith(_WHOLE)]
    never = [name for name, n in counts.items() if n == 0]
    lines = [words.blind] if words.blind else []
    weak = ((WRONG_WAY, wrong_way), (CHANCE, chance), (SHORTCUT, shortcut), (FEW, few), (NEVER, never))
    lines += [sentence.format(items="; ".join(items), least=FEW_CLIPS) for sentence, items in weak if items]
    genuine, fake = _part(results, "genuine_called"), _part(results, "fake_called")
    if is_number(genuine.get("MANIPULATED")) and is_number(genuine.get("SUSPICIOUS")):
        strong, some = (texts.VERDICTS[v][0].lower() for v in ("MANIPULATED", "SUSPICIOUS"))
        lines.append(ALARMS.format(strong=_percent(genuine["MANIPULATED"]), strong_words=strong,
                                   some=_percent(genuine["SUSPICIOUS"]), some_words=some))
    if is_number(fake.get("NO_SIGNS")):
        lines.append(MISSES.format(share=_percent(fake["NO_SIGNS"])))
    return lines + ([words.limits] if words.limits else [])


def interval(figure: dict) -> tuple[float | None, float | None]:
    """The 95 % interval; (None, None) where there is none."""
    ends = figure.get("auc_95")
    if not isinstance(ends, (list, tuple)) or len(ends) != 2 or not all(is_number(e) for e in ends):
        return None, None
    return float(ends[0]), float(ends[1])


def is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _overview(cards: dict[str, dict], record: dict) -> str:
    rows = []
    if record:
        known = heads(record["results"])
        rows.append((escape(TOGETHER), *(escape(_auc_words(known.get(head))) for head in HEADS), "–", "–"))
    for detector, card in cards.items():
        known, size = heads(_part(card, "results")), _part(card, "size")
        rows.append((_name(detector, card), *(escape(_auc_words(known.get(head))) for head in HEADS),
                     _count(size.get("shipped_parameters")), _cost_number(size.get("gflops_per_window"))))
    return table(OVERVIEW, OVERVIEW_HEADERS, rows, row_headers=True)


def _auc_words(figure: dict | None) -> str:
    if figure is None or not is_number(figure.get("auc")):
        return NOT_MEASURED
    low, high = interval(figure)
    return _number(figure["auc"]) + ("" if low is None else f" ({_number(low)} to {_number(high)})")


# ---- sections ---------------------------------------------------------------------------------------------------


def _sees(card: dict, words: Words) -> str:
    spec = _part(card, "input_spec")
    keys = ("frames", "face_px", "window_s", "hop_s")
    if all(is_number(spec.get(k)) for k in keys):
        lips = LIPS.format(lips=spec["lips"], lips_px=spec.get("lips_px")) if spec.get("lips") else ""
        sees = INPUT.format(lips=lips, **{k: f"{spec[k]:g}" for k in keys})
    else:
        sees = f"What it sees is {MISSING}."
    return f"<p>{escape(sees)} {escape(words.tells or f'What it tells is {MISSING}.')}</p>"


def _data(card: dict) -> str:
    parts = {name: part for name, part in _part(card, "data").items() if isinstance(part, dict)}
    if not parts:
        return _sentence(f"What it learnt from is {MISSING}.")
    parts = dict(sorted(parts.items(), key=lambda item: item[0] != "training"))
    rows = [(escape(name), *(_count(part.get(k)) for k in ("clips", "sources")), _cost_number(part.get("hours")))
            for name, part in parts.items()]
    return table(DATA_CAPTION, DATA_HEADERS, rows, row_headers=True) + _kinds_html(parts)


def _kinds_html(parts: dict[str, dict]) -> str:
    """A few plain kinds, and folded below them every single one."""
    families = {name: _part(part, "families") for name, part in parts.items()}
    if not any(families.values()):
        return ""
    plain = _counts_table(KINDS_CAPTION, {name: kinds(told) for name, told in families.items()})
    single = _counts_table(EVERY_CAPTION, {name: {family_name(k): v for k, v in told.items()}
                                           for name, told in families.items()})
    return f"{plain}<details class='tt-details'><summary>{escape(EVERY_KIND)}</summary>{single}</details>"


def _counts_table(caption: str, counts: dict[str, dict[str, object]]) -> str:
    """A column per part of the data. counts: part -> kind in words -> clips."""
    found = dict.fromkeys(kind for told in counts.values() for kind in told)
    rows = [(escape(kind), *(_count(told.get(kind), "–") for told in counts.values())) for kind in found]
    return table(caption, (KIND, *(name.capitalize() for name in counts)), rows, row_headers=True)


def _measured(card: dict, results: dict) -> str:
    if not figures(results):
        return _sentence("No measured results are in its card.")
    harder = harder_figures(results)
    more = (f"<details class='tt-details'><summary>{escape(HARDER)}</summary>"
            f"{_figures_table(HARDER_CAPTION, harder)}</details>" if harder else "")
    return (_sentence(material(results)) + _figures_table(MEASURED_CAPTION, figures(results)) + more
            + _sentence(where(results)) + _verdicts(card, results))


def material(results: dict) -> str:
    """On what it was measured, as far as the card says it."""
    clips, made = results.get("clips"), _part(results, "material")
    if not isinstance(clips, int):
        return f"On how many clips it was measured is {MISSING}."
    words = f"Measured on {clips} clips"
    if split := SPLITS.get(str(made.get("split"))):
        words += f" {split}"
    every = made.get("every", results.get("every"))
    if isinstance(every, int) and every > 1:
        words += f", one in {every} of them"
    if made.get("route"):
        words += (", through the same path as the app" if made["route"] == "clips" else
                  ", from prepared clips, of which the first face alone is judged")
    return words + "."


def where(results: dict) -> str:
    told = _part(_part(results, "segments"), "any")
    if not is_number(told.get("ap_50")):
        return WHERE_NOT
    shown = {}
    for key, name in (("ap", "ap_50"), ("ar", "ar_20")):
        low, high = interval({"auc_95": told.get(f"{name}_interval")})
        shown[key] = _number(told.get(name)) + ("" if low is None else f" ({_number(low)} to {_number(high)})")
    return WHERE.format(**shown)


def _figures_table(caption: str, rows: dict[str, dict]) -> str:
    cells = [_figure_row(name, figure) for name, figure in rows.items()]
    return table(caption, FIGURE_HEADERS, cells, row_headers=True)


def _figure_row(name: str, figure: dict) -> tuple[str, ...]:
    low, high = interval(figure)
    auc = figure.get("auc")
    return (escape(name), escape(_number(auc) if is_number(auc) else NOT_MEASURED), _interval_bar(auc, low, high),
            "–" if low is None else f"{_number(low)} to {_number(high)}", _number(figure.get("shortcut_auc")),
            _count(figure.get("fake"), ""), _count(figure.get("genuine"), ""))


def _interval_bar(auc: object, low: float | None, high: float | None) -> str:
    """The interval drawn; the numbers stand beside it."""
    if not is_number(auc):
        return ""
    bar = "" if low is None else f'<i style="left:{_share(low)};width:{_share(high - low)}"></i>'
    return f'<div class="tt-interval" aria-hidden="true">{bar}<b style="left:{_share(auc)}"></b></div>'


def _verdicts(card: dict, results: dict) -> str:
    rows = [
        (words, *(_percent(called[v]) if is_number(called.get(v)) else "–" for v in texts.VERDICTS))
        for words, key in (("genuine clips", "genuine_called"), ("manipulated clips", "fake_called"))
        if (called := _part(results, key))
    ]
    points, sentences = _part(card, "thresholds"), []
    if all(is_number(points.get(k)) for k in ("manipulated", "suspicious")):
        sentences.append(VERDICTS_SENTENCE.format(
            strong=texts.VERDICTS["MANIPULATED"][0], some=texts.VERDICTS["SUSPICIOUS"][0],
            manipulated=_number(points["manipulated"]), suspicious=_number(points["suspicious"])))
    if "added" not in card:
        sentences.append(UNUSUAL_SENTENCE.format(some=texts.VERDICTS["SUSPICIOUS"][0]))
    if is_number(points.get("segment_on")):
        sentences.append(SPANS_SENTENCE.format(segment_on=_number(points["segment_on"])))
    if is_number(results.get("genuine_marked")):
        sentences.append(MARKED_SENTENCE.format(share=_percent(results["genuine_marked"])))
    html = table(VERDICTS_CAPTION, ("Clips", *(v[0] for v in texts.VERDICTS.values())), rows, True) if rows else ""
    return html + (_sentence(" ".join(sentences)) if sentences else "")


def bins(results: dict) -> list[dict]:
    """results["reliability"]: groups of clips with like scores, {"score": mean, "fake": share, "clips": count} each."""
    told = results.get("reliability")
    return sorted(
        (b for b in told if isinstance(b, dict) and is_number(b.get("score")) and is_number(b.get("fake"))),
        key=lambda b: b["score"],
    ) if isinstance(told, (list, tuple)) else []


def reliability_html(results: dict) -> str:
    """The diagram with its numbers beside it where the card has them; else that it was not measured."""
    groups = bins(results)
    ece = _calibration(results)
    words = _sentence(" ".join(filter(None, ("" if groups else RELIABILITY_NOT, *ece))))
    if not groups:
        return words
    rows = [(_number(b["score"]), _percent(b["fake"], 0), _count(b.get("clips"), "–")) for b in groups]
    numbers = table(RELIABILITY_CAPTION, RELIABILITY_HEADERS, rows)
    return f'<div class="tt-reliability">{_diagram(groups)}{numbers}</div>{words}'


def _calibration(results: dict) -> list[str]:
    """Sentences on the expected calibration error, where the card has it."""
    if not is_number(results.get("ece")):
        return []
    told, chance = [ECE.format(ece=_number(results["ece"]))], results.get("ece_by_chance")
    if isinstance(chance, list) and len(chance) == 2 and all(map(is_number, chance)):
        told.append(ECE_BY_CHANCE.format(mean=_number(chance[0]), most=_number(chance[1])))
    return [*told, EVEN_PRIOR]


def _diagram(groups: Sequence[dict]) -> str:
    far = max(groups, key=lambda b: abs(b["score"] - b["fake"]))
    alt = RELIABILITY_ALT.format(distance=_number(abs(far["score"] - far["fake"])), score=_number(far["score"]))
    points = [(30 + 160 * min(1, max(0, b["score"])), 170 - 160 * min(1, max(0, b["fake"]))) for b in groups]
    line = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    dots = "".join(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4"/>' for x, y in points)
    return (
        f'<svg viewBox="0 0 200 200" role="img" aria-label="{escape(alt)}">'
        '<path class="tt-axes" d="M30 10V170H190"/><path class="tt-ideal" d="M30 170L190 10"/>'
        f'<polyline points="{line}"/>{dots}'
        '<text x="26" y="14" text-anchor="end">1</text><text x="26" y="174" text-anchor="end">0</text>'
        '<text x="190" y="184" text-anchor="middle">1</text><text x="110" y="197" text-anchor="middle">score</text>'
        '<text x="14" y="90" text-anchor="middle" transform="rotate(-90 14 90)">share manipulated</text></svg>'
    )


def _cost(detector: str, card: dict, result: dict | None) -> str:
    size = _part(card, "size")
    lines = [SIZE_NOT]
    if is_number(size.get("shipped_parameters")) and is_number(size.get("gflops_per_window")):
        lines = [SIZE.format(shipped=_count(size["shipped_parameters"]), gflops=f"{size['gflops_per_window']:g}")]
        if is_number(size.get("paper_parameters")) and is_number(size.get("paper_gflops_per_window")):
            lines.append(SIZE_PAPER.format(paper=_count(size["paper_parameters"]),
                                           gflops=f"{size['paper_gflops_per_window']:g}"))
    timings = (result or {}).get("timings_s") or {}
    if is_number(timings.get(detector)) and is_number((result or {}).get("duration_s")):
        lines.append(SECONDS.format(duration=f"{result['duration_s']:.1f}", seconds=f"{timings[detector]:.1f}",
                                    prepare=f"{timings.get('prepare', 0):.1f}"))
    else:
        lines.append(SECONDS_NOT)
    return _bullets(lines)


def licences(detector: str, card: dict, words: Words) -> list[str]:
    """Of the weights and of what they hold. A card may name its own in "licences"."""
    own = card.get("licences")
    if isinstance(own, (list, tuple)) and own:
        lines = [str(line) for line in own]
    else:
        lines = [OWN_LICENCE if detector in WORDS else LICENCE_NOT]
    return lines + [ENCODER.format(**{k: e.get(k) or f"({MISSING})" for k in ("network", "trained_on", "licence")})
                    for e in words.encoders]


def _made(card: dict) -> str:
    lines = list(_made_lines(card))
    commands = card.get("commands")
    folded = ""
    if isinstance(commands, (list, tuple)) and commands:
        items = "".join(f"<li><code>{escape(c)}</code></li>" for c in commands)
        folded = f"<details class='tt-details'><summary>Commands</summary><ol>{items}</ol></details>"
    return (_sentence(" ".join(lines)) if lines else _sentence(f"How it was made is {MISSING}.")) + folded


def _made_lines(card: dict) -> Iterator[str]:
    if is_number(card.get("step")):
        yield f"{card['step']} steps of training."
    if is_number(card.get("hours")):
        yield f"{card['hours']:g} hours of training time."
    if card.get("commit"):
        yield f"Code as of commit {card['commit']}."


# ---- pieces -----------------------------------------------------------------------------------------------------


def _part(holder: dict, key: str) -> dict:
    """A nested part of a card, empty where it is missing or something else."""
    part = holder.get(key)
    return part if isinstance(part, dict) else {}


def _name(detector: str, card: dict) -> str:
    return escape(card.get("name") or detector)


def _number(value: object) -> str:
    return f"{value:.2f}" if is_number(value) else "–"


def _cost_number(value: object) -> str:
    return f"{value:g}" if is_number(value) else escape(MISSING)


def _count(value: object, missing: str = MISSING) -> str:
    return f"{value:,}" if is_number(value) else escape(missing)


def _share(value: float) -> str:
    return f"{min(1.0, max(0.0, value)) * 100:.1f}%"


def _percent(value: float, digits: int = 1) -> str:
    return f"{value * 100:.{digits}f} %"


def _sentence(words: str) -> str:
    return f"<p>{escape(words)}</p>" if words else ""


def _bullets(lines: Sequence[str]) -> str:
    return "<ul>" + "".join(f"<li>{escape(line)}</li>" for line in lines) + "</ul>"
