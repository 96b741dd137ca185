"""How versions of a clip are drawn, and that every family keeps the contract on a real face and a real voice."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from training.forge import families
from training.forge.families import FAMILIES, Family, Materials, draw_versions, suits
from training.forge.footage import Footage, Span, Truth, Unsuitable
from training.forge.landmarks import find_landmarks
from training.forge.read import read_footage

HZ = 16_000
LENGTH_S = 4.0


@pytest.fixture(scope="module")
def talker(talking_clip) -> Footage:
    """The committed talking clip at 240 px and every fourth frame: the voice is needed long, the picture is not."""
    whole = read_footage(talking_clip, clip_id="talker", long_px=240)
    kept = slice(0, int(LENGTH_S * 25), 4)
    footage = replace(whole, frames=whole.frames[kept], times_s=whole.times_s[kept],
                      sound=whole.sound[:int(LENGTH_S * HZ)])
    return replace(footage, landmarks=find_landmarks(footage.frames))


@pytest.fixture
def marks(monkeypatch):
    """Three made-up families that leave a mark, and one that never suits."""

    def mark(name: str, modality: str):
        def forge(footage, rng):
            return (replace(footage, sound=footage.sound + 0.1),
                    Truth(footage.clip_id, (Span(0.0, footage.duration_s, modality),), steps=((name, {}),)))
        return lambda materials, rng: forge

    def never(materials, rng):
        def forge(footage, rng):
            raise Unsuitable("not this one")
        return forge

    made = {
        "look": Family("video", families.FACE, mark("look", "video"), limitable=False),
        "tone": Family("audio", families.VOICE, mark("tone", "audio")),
        "never": Family("audio", families.VOICE, never),
        "asks": Family("audio", families.VOICE, mark("asks", "audio"), asks="vocoder"),
    }
    monkeypatch.setattr(families, "FAMILIES", made)
    monkeypatch.setattr(families, "TWOFOLD_SHARE", 0.0)
    return made


def nobody(kind, rng):
    raise Unsuitable("nobody")


def names(versions) -> list[str]:
    return sorted(v.family for v in versions)


def test_a_clip_offers_what_it_holds(talker):
    assert suits(talker) == {"face", "voice"}
    assert suits(replace(talker, sound=None)) == {"face"} and suits(replace(talker, landmarks=None)) == {"voice"}
    assert suits(replace(talker, landmarks=None, sound=np.zeros(2 * HZ, np.float32))) == set()


def test_no_family_twice_and_none_that_lacks_what_it_needs(talker, marks):
    for seed in range(8):
        assert names(draw_versions(talker, Materials(nobody), 9, np.random.default_rng(seed))) == ["look", "tone"]
    faceless = replace(talker, frames=None, times_s=None, landmarks=None)
    assert names(draw_versions(faceless, Materials(nobody), 9, np.random.default_rng(0))) == ["tone"]
    assert len(draw_versions(talker, Materials(nobody), 1, np.random.default_rng(0))) == 1


def test_only_what_is_asked_for_is_forged(talker, marks):
    for modalities, found in ((("video",), ["look"]), (("audio",), ["tone"]), (("sync",), [])):
        assert names(draw_versions(talker, Materials(nobody), 9, np.random.default_rng(0), modalities)) == found


def test_a_generator_that_is_there_joins_in(talker, marks):
    with_vocoder = Materials(nobody, vocoder=object())
    assert names(draw_versions(talker, with_vocoder, 9, np.random.default_rng(0))) == ["asks", "look", "tone"]


@pytest.mark.parametrize("asked, least, most", [({}, 0.2, 0.5), ({"partial": 0.0}, 0, 0), ({"partial": 1.0}, 1, 1)])
def test_a_share_is_forged_for_a_short_span_only(talker, marks, monkeypatch, asked, least, most):
    monkeypatch.setattr(families, "PARTIAL_S", (0.3, 0.8))
    spans = [v.truth.spans[0] for seed in range(60)
             for v in draw_versions(talker, Materials(nobody), 9, np.random.default_rng(seed), **asked)
             if v.family == "tone"]
    short = [s for s in spans if s.end_s - s.start_s < 2.1]
    assert least <= len(short) / len(spans) <= most
    assert all(0.29 <= s.end_s - s.start_s <= 0.81 and s.start_s >= 0 and s.end_s <= LENGTH_S + 0.01 for s in short)


def test_the_same_seed_draws_the_same(talker, marks):
    first, second = (draw_versions(talker, Materials(nobody), 9, np.random.default_rng(5)) for _ in range(2))
    assert [(v.family, v.truth.spans) for v in first] == [(v.family, v.truth.spans) for v in second]


PLAIN = [name for name, family in FAMILIES.items() if not family.asks]


@pytest.mark.parametrize("name", PLAIN)
def test_every_family_keeps_the_contract(talker, name):
    def donate(kind, rng):
        """The same person, mirrored and later: enough of another one for the contract."""
        return replace(talker, clip_id="other", frames=talker.frames[:, :, ::-1],
                       landmarks=find_landmarks(np.ascontiguousarray(talker.frames[:, :, ::-1]))
                       if kind == "face" else None, sound=np.roll(talker.sound, HZ // 2)), "somebody"

    materials, family = Materials(donate), FAMILIES[name]
    before = (talker.frames.copy(), talker.sound.copy())
    forged, truth = family.build(materials, np.random.default_rng(1))(talker, np.random.default_rng(2))
    again, truth_again = family.build(materials, np.random.default_rng(1))(talker, np.random.default_rng(2))

    assert (talker.frames == before[0]).all() and (talker.sound == before[1]).all()  # the input is left alone
    assert forged.frames.shape == talker.frames.shape and len(forged.sound) == len(talker.sound)
    assert forged.sound.dtype == np.float32 and np.abs(forged.sound).max() <= 1.0 + 1e-6
    assert truth.pair == "talker" and truth.steps and truth.labels[family.modality] == 1
    assert all(0 <= s.start_s < s.end_s <= talker.duration_s + 1e-6 for s in truth.spans)
    changed = (forged.frames != talker.frames).any(axis=-1)
    assert bool(truth.labels["video"]) == changed.any()
    if changed.any():
        assert truth.region.shape == changed.shape and not changed[truth.region == 0].any()
    assert (again.frames == forged.frames).all() and (again.sound == forged.sound).all()
    assert truth_again.spans == truth.spans


def test_what_is_left_out_is_said_in_words():
    told = families.left_out_of(Materials(nobody, vocoder=object()))
    assert any(sentence.startswith("learnt_swap is left out for lack of a trained swapper") for sentence in told)
    assert not any("neural_copy" in sentence or "self_blend" in sentence for sentence in told)
