"""The Detectors tab: cards of both ages, whole and in pieces, and nothing that a card does not say."""

from __future__ import annotations

import copy

import pytest

from detectors import MODULES, available
from tests.strict_html import Page
from tests.ui.test_html import PAYLOADS
from ui import detectors as tab
from ui.detectors import (
    bins,
    card_html,
    detectors_html,
    failures,
    family_name,
    kind_name,
    reliability_html,
    words_of,
)
from ui.record import read_record, record_words

FIGURES = {"auc": 0.913, "auc_95": [0.871, 0.954], "shortcut_auc": 0.744, "fake": 31, "genuine": 47}
WEAK = {"auc": 0.553, "auc_95": [0.419, 0.674], "shortcut_auc": 0.6, "fake": 6, "genuine": 169}
CALLED = {"MANIPULATED": 0.034, "SUSPICIOUS": 0.045, "NO_SIGNS": 0.9, "CANNOT_EVALUATE": 0.021}
NEW = {
    "name": "Joint AV", "paper": "ICCV 2021", "provisional": True, "step": 1800, "hours": 1.5, "commit": "0123456789",
    "commands": ["python -m one"], "input_spec": {"frames": 32, "face_px": 96, "window_s": 1.28, "hop_s": 0.64,
                                                  "lips": 32, "lips_px": 48},
    "size": {"paper_parameters": 483402, "shipped_parameters": 436482, "gflops_per_window": 2.74,
             "paper_gflops_per_window": 8.36},
    "data": {"training": {"clips": 1378, "sources": 76, "hours": 1.94, "families": {"real": 286, "fake_speech": 9}}},
    "thresholds": {"manipulated": 0.812, "suspicious": 0.633, "segment_on": 0.701},
    "results": {
        **FIGURES, "clips": 88, "ece": 0.061, "ece_by_chance": [0.05, 0.09], "genuine_called": CALLED,
        "fake_called": {**CALLED, "NO_SIGNS": 0.55},
        "genuine_marked": 0.11, "video": {**FIGURES, "auc": 0.777, "within_source": {**FIGURES, "auc": 0.66}},
        "families": {"video:face_swap": WEAK}, "compression": {"audio:heavy": FIGURES},
        "controls": {"whole:silence_only": {**FIGURES, "auc": 0.512}},
        "segments": {"any": {"clips": 20, "spans": 13, "ap_50": 0.25, "ar_20": 0.4, "ap_50_interval": [0.1, 0.42]}},
        "material": {"route": "clips", "dataset": "manifest", "split": "val", "every": 4, "controls": True},
    },
}
BINS = [{"score": 0.1, "fake": 0.15, "clips": 40}, {"score": 0.8, "fake": 0.5, "clips": 40}]


@pytest.fixture
def card() -> dict:
    return copy.deepcopy(NEW)


def words(html: str) -> str:
    return " ".join(Page(html).words.split())


def test_a_card_of_today_is_told_in_full(card):
    told = words(card_html("joint_av", card))
    assert "It sees 32 aligned faces of 96 pixels, 32 pictures of the lips of 48 pixels and the sound of 1.28 s" in told
    assert "Genuine 286 Voice made or changed 9" in told and "synthetic speech 9" in told
    assert "Measured on 88 clips that were kept out of training, one in 4 of them, through the same path" in told
    assert "Whole clip 0.91 0.87 to 0.95 0.74 31 47" in told and "Picture: face swap 0.55 0.42 to 0.67 0.60 6" in told
    assert "Picture, within a source 0.66" in told and "Sound: heavy compression 0.91" in told
    assert "Whole clip: silence only 0.51" in told
    assert "average precision at half overlap 0.25 (0.10 to 0.42), recall of 20 proposals 0.40." in told
    assert "436,482 parameters and 2.74 GFLOP" in told and "483,402 parameters, 8.36 GFLOP" in told
    assert "genuine clips 3.4 % 4.5 % 90.0 % 2.1 %" in told and "11.0 % of the genuine clips" in told
    assert "from a score of 0.81 on" in told and "python -m one" in told and "1800 steps" in told


def test_the_shipped_cards_are_told(card):
    told = words(detectors_html(available()))
    assert "SS-AVD" in told and "Known failures" in told and "error" in told


def test_an_empty_card_is_told_in_words_and_without_a_number():
    told = words(card_html("nobody", {}))
    assert tab.MISSING in told and "No measured results" in told and tab.RELIABILITY_NOT in told
    assert tab.LICENCE_NOT in told and tab.SIZE_NOT in told
    assert not any(c.isdigit() for c in told)


@pytest.mark.parametrize("key", list(NEW))
def test_any_missing_or_mistaken_part_is_borne(card, key):
    for broken in ({k: v for k, v in card.items() if k != key}, {**card, key: "x"}, {**card, key: None}):
        Page(detectors_html({"joint_av": broken}))


@pytest.mark.parametrize("key", list(NEW["results"]))
def test_any_missing_or_mistaken_result_is_borne(card, key):
    for value in (None, "x", {}, [None, None]):
        Page(card_html("joint_av", {**card, "results": {**card["results"], key: value}}))


def test_an_older_card_tells_what_it_has(card):
    for name in ("size", "hours"):
        del card[name]
    card["results"] = {"clips": 686, "auc": 0.6845, "auc_95": [0.6296, 0.736], "every": 1, "ece": 0.1492,
                       "video": {"auc": 0.5898, "auc_95": [0.5151, 0.6553], "within_source_auc": 0.6007}}
    told = words(card_html("ss_avd", card))
    assert "Picture, within a source 0.60" in told and "Measured on 686 clips." in told and tab.WHERE_NOT in told
    assert "calibration error 0.15" in told and tab.SIZE_NOT in told


def test_known_failures_come_from_the_figures_themselves(card):
    lines = failures(card["results"], words_of("joint_av", card))
    assert lines[0] == tab.WORDS["joint_av"].blind
    assert "Cannot be told from chance: Picture: face swap (AUC 0.55, 0.42 to 0.67)." in lines
    assert "File facts alone do as well: Picture: face swap." in lines
    assert "Measured on fewer than 20 manipulated clips, so little is known: Picture: face swap (6)." in lines
    assert ("Of the genuine clips, it called 3.4 % “strong signs of manipulation” and 4.5 % “some signs of "
            "manipulation”.") in lines
    assert "Of the manipulated clips, it found no signs in 55.0 %." in lines
    never = {"sync": {"auc": None, "auc_95": [None, None], "fake": 0}, "families": {"whole:face_swap": WEAK}}
    lines = failures({**card["results"], **never}, words_of("joint_av", card))
    assert "Never measured, for want of manipulated clips: Lip-sync." in lines
    assert not any("fewer than 20" in line for line in lines), "kinds of the whole clip repeat those of its parts"
    strong = {**card["results"], "families": {}}
    assert not any("chance" in line or "File facts" in line for line in failures(strong, words_of("joint_av", card)))


def test_worse_than_chance_is_not_called_chance(card):
    card["results"]["families"] = {"whole:dubbed_speech": {**WEAK, "auc": 0.29, "auc_95": [0.2, 0.41]}}
    lines = failures(card["results"], words_of("joint_av", card))
    assert ("Scores the wrong way round, manipulated clips below genuine ones: Whole clip: dubbed speech (AUC 0.29, "
            "0.20 to 0.41).") in lines
    assert not any("chance" in line for line in lines)


def test_clips_are_counted_by_a_few_plain_kinds_and_every_single_one_is_folded(card):
    card["data"] = {"training": {"families": {"real": 5, "real_speech": 2, "lip_sync": 3, "rerender_mouth": 4, "x": 1,
                                              "self_blend + voice_conversion": 6, "fake_speech": 7, "splice": "?"}},
                    "development": {"families": {"real": 8}}}
    html = card_html("joint_av", card)
    told = words(html)
    assert "Genuine 7 8 Mouth redrawn 7 – Voice made or changed 7 – Picture and sound both 6 – Other 1 –" in told
    assert "face blended onto itself + voice conversion 6 –" in told
    plain, single = html.split(f"<summary>{tab.EVERY_KIND}</summary>")
    assert "blended" not in plain and "blended" in single.split("</details>")[0], "folded away"


def test_every_kind_of_the_shipped_cards_has_a_plain_kind_and_a_name_of_its_own():
    families = {f for card in available().values() for part in card["data"].values() if isinstance(part, dict)
                for f in part.get("families", {})}
    assert families and not [f for f in families if kind_name(f) == tab.OTHER_KIND]
    assert len({family_name(f) for f in families}) == len(families), "two would stand under one name"


def test_all_together_have_a_row_and_a_card_with_the_record_of_the_shipped_file(card):
    record = read_record()
    assert record, "assets/checkpoints/consensus.json does not fit the weights beside it"
    cards, called = available(), record["results"]["genuine_called"]
    told = words(detectors_html(cards))
    assert told.split("GFLOP a window ")[1].startswith(f"{tab.TOGETHER} {record['results']['auc']:.2f} (")
    assert record_words(record, record["of"]) in told
    together = told.split(tab.TOGETHER_IS)[1].split(tab.SEES)[0]
    assert f"genuine clips {called['MANIPULATED'] * 100:.1f} % {called['SUSPICIOUS'] * 100:.1f} %" in together
    assert "had a marked span" not in together, "all together mark none"
    assert tab.TOGETHER_IS not in words(detectors_html({name: cards[name] for name in list(cards)[:2]}))
    assert tab.TOGETHER_IS not in words(detectors_html({"joint_av": card}))


def test_the_diagram_is_drawn_from_bins_alone_and_has_its_table(card):
    assert "<svg" not in reliability_html(card["results"]) and tab.RELIABILITY_NOT in reliability_html(card["results"])
    html = reliability_html({**card["results"], "reliability": BINS[::-1]})
    svg = next(a for t, a in Page(html).tags if t == "svg")
    assert "Largest distance: 0.30, at score 0.80." in svg["aria-label"]
    # Score 0.1 and share 0.15 on axes from 30 to 190 and from 170 to 10.
    assert 'points="46.0,146.0 158.0,90.0"' in html
    assert "0.10 15 % 40 0.80 50 % 40" in words(html) and tab.RELIABILITY_NOT not in html
    assert bins({"reliability": [{"score": "x", "fake": 1}, 3, None]}) == [] and bins({"reliability": "x"}) == []


def test_the_calibration_error_stands_beside_what_chance_makes_of_it(card):
    told = words(reliability_html(card["results"]))
    assert "error 0.06:" in told and "would show 0.05, and in 95 of 100 cases up to 0.09." in told
    old = {name: value for name, value in card["results"].items() if name != "ece_by_chance"}
    assert "error 0.06:" in words(reliability_html(old)) and "would show" not in words(reliability_html(old))


def test_seconds_are_those_of_the_last_answer(card):
    result = {"duration_s": 8.24, "timings_s": {"prepare": 2.5, "joint_av": 0.61}}
    assert "(8.2 s): 0.6 s, beside 2.5 s for reading" in words(card_html("joint_av", card, result))
    assert tab.SECONDS_NOT in words(card_html("joint_av", card))


def test_a_card_s_own_words_and_licences_go_first(card):
    card["words"] = {"blind": "Whispering.", "encoders": [{"network": "N", "trained_on": "T", "licence": "L"}]}
    card["licences"] = ["CC BY 4.0"]
    told = words(card_html("yours", card))
    assert "Whispering." in told and "CC BY 4.0" in told and "a frozen N, trained on T: L." in told
    assert tab.OWN_LICENCE not in told


def test_every_detector_of_the_house_has_words():
    assert MODULES.keys() <= tab.WORDS.keys()


@pytest.mark.parametrize("payload", PAYLOADS)
def test_a_hostile_card_never_becomes_markup(card, payload):
    def build(text):
        hostile = {**card, "name": text, "paper": text, "commit": text, "commands": [text], "licences": [text],
                   "words": {"tells": text, "blind": text, "encoders": [{"network": text}]},
                   "data": {text: {"clips": text, "families": {text: text}}}}
        hostile["results"] = {**card["results"], "families": {text: {**WEAK, "fake": text}, f"video:{text}": WEAK},
                              "material": {"split": text, "dataset": text, "route": text}, "reliability":
                              [{"score": 0.1, "fake": 0.1, "clips": text}]}
        return [(t, sorted(a)) for t, a in Page(detectors_html({text: hostile})).tags]

    assert build(payload) == build("harmless")


def test_words_never_say_real_or_fake(card):
    card["results"]["families"]["audio:fake_speech"] = card["results"]["families"]["video:real"] = FIGURES
    assert not {"real", "fake", "authentic"} & set(words(detectors_html({"joint_av": card})).lower().split())


def test_names_of_families_in_words():
    assert family_name("video:face_swap") == "Picture: face swap"
    assert family_name("audio:fake_speech") == "Sound: synthetic speech" and family_name("") == "unknown"
