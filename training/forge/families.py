"""All forgeries under one roof: what each one needs, what it brings in, and how versions of a clip are drawn."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from training.forge import learnt
from training.forge.align import known
from training.forge.faces import jitter, resynthesise, self_blend, swap_identity
from training.forge.footage import Footage, Forgery, Truth, Unsuitable, compose, within
from training.forge.learnt.inpainter import Inpainter, lip_sync, rerender
from training.forge.learnt.swapper import Swapper, swap
from training.forge.learnt.vocoder import Vocoder, copy_synthesise_neural, shift_voice
from training.forge.mouths import rerender_mouth, transplant_mouth
from training.forge.sound import CONVERSIONS, COPIES, convert_voice, copy_synthesise, replace_speech, splice, voice_of
from training.forge.speech import Engine, find_engines, read_sentences
from training.forge.sync import shift_sound, stretch_sound, swap_sound

log = logging.getLogger("telltale")

SHARE = {"video": 0.5, "audio": 0.3, "sync": 0.2}  # of the versions, where a clip can serve for all three
PARTIAL_SHARE = 0.35  # of the versions are forged for a part of the time only
PARTIAL_S = (0.3, 2.0)
TWOFOLD_SHARE = 0.15  # of the versions with a forged picture have a forged sound as well
LEAST_FACE_S = 1.0
SWAP_TRIES = 4
NAMES = {"swapper": "a trained swapper", "inpainter": "a trained inpainter", "vocoder": "a trained vocoder",
         "engines": "a speech engine"}


@dataclass(frozen=True)
class Materials:
    """What forgeries may bring in. Made once per process.

    donate: another person's genuine footage of the same split, and who that is; "face" has landmarks, "voice" speaks.
    """

    donate: Callable[[str, np.random.Generator], tuple[Footage, str]]
    engines: dict[str, Engine] = field(default_factory=dict)
    sentences: tuple[str, ...] = ()
    swapper: Swapper | None = None
    inpainter: Inpainter | None = None
    vocoder: Vocoder | None = None


Build = Callable[[Materials, np.random.Generator], Forgery]


@dataclass(frozen=True)
class Family:
    modality: str  # what it manipulates first of all: "video", "audio" or "sync"
    needs: frozenset[str]  # of the clip: "face", "voice"
    build: Build
    limitable: bool = True  # within() makes a partial version of it
    asks: str = ""  # the field of Materials without which it is left out


FACE, VOICE, BOTH = frozenset({"face"}), frozenset({"voice"}), frozenset({"face", "voice"})


def _choose(rng: np.random.Generator, names):
    return names[int(rng.integers(len(names)))]


def _lip_sync(materials: Materials, rng: np.random.Generator) -> Forgery:
    donor, speaker = materials.donate("voice", rng)
    return lip_sync(materials.inpainter, donor.sound, speaker)


def _swap_with_any(materials: Materials) -> Forgery:
    """A swap with the first donor whose head looks the same way: about half of them do."""

    def forge(footage: Footage, rng: np.random.Generator) -> tuple[Footage, Truth]:
        for _ in range(SWAP_TRIES):
            try:
                return swap_identity(*materials.donate("face", rng))(footage, rng)
            except Unsuitable as reason:
                last = reason
        raise last

    return forge


def _speech(partial: bool) -> Build:
    return lambda materials, rng: replace_speech(
        materials.engines[_choose(rng, sorted(materials.engines))], materials.sentences, partial)


FAMILIES: dict[str, Family] = {
    "self_blend": Family("video", FACE, lambda m, rng: self_blend),
    "swap_identity": Family("video", FACE, lambda m, rng: _swap_with_any(m)),
    "resynthesise": Family("video", FACE, lambda m, rng: resynthesise),
    "jitter": Family("video", FACE, lambda m, rng: jitter),
    "transplant_mouth": Family("video", FACE, lambda m, rng: transplant_mouth),
    "rerender_mouth": Family("video", FACE, lambda m, rng: rerender_mouth),
    "learnt_swap": Family("video", FACE, lambda m, rng: swap(m.swapper, _choose(rng, m.swapper.identities)),
                          asks="swapper"),
    "learnt_rerender": Family("video", BOTH, lambda m, rng: rerender(m.inpainter), asks="inpainter"),
    "learnt_lip_sync": Family("video", BOTH, _lip_sync, limitable=False, asks="inpainter"),
    "copy_synthesis": Family("audio", VOICE, lambda m, rng: copy_synthesise(_choose(rng, COPIES))),
    "voice_conversion": Family("audio", VOICE, lambda m, rng: convert_voice(_choose(rng, CONVERSIONS))),
    "synthetic_speech": Family("audio", VOICE, _speech(partial=False), limitable=False, asks="engines"),
    "synthetic_phrase": Family("audio", VOICE, _speech(partial=True), limitable=False, asks="engines"),
    "splice": Family("audio", VOICE, lambda m, rng: splice, limitable=False),
    "neural_copy": Family("audio", VOICE, lambda m, rng: copy_synthesise_neural(m.vocoder), asks="vocoder"),
    "neural_shift": Family("audio", VOICE,
                           lambda m, rng: shift_voice(m.vocoder, _choose(rng, ("pitch", "timbre"))), asks="vocoder"),
    "shifted_sound": Family("sync", BOTH, lambda m, rng: shift_sound),
    "swapped_sound": Family("sync", BOTH, lambda m, rng: swap_sound(*m.donate("voice", rng))),
    "stretched_sound": Family("sync", BOTH, lambda m, rng: stretch_sound, limitable=False),
}


@dataclass(frozen=True)
class Version:
    """A clip as it was, or one forgery of it, before the final chain."""

    family: str  # key of FAMILIES, two joined by " + " where picture and sound were forged; "" genuine
    footage: Footage
    truth: Truth


def gather(donate: Callable[[str, np.random.Generator], tuple[Footage, str]], learnt_dir: Path | None,
           voices_dir: Path | None = None) -> Materials:
    """Engines that are installed, with further voices, and generators that were trained."""
    engines, _ = find_engines(voices_dir)
    generators = {name: learnt.load(name, learnt_dir) for name in learnt.GENERATORS} if learnt_dir else {}
    return Materials(donate, engines, tuple(read_sentences()), **generators)


def left_out_of(materials: Materials) -> list[str]:
    """A sentence for every family that needs what is not there, and for every speech engine that is missing."""
    absent = [f"{name} is left out for lack of {NAMES[family.asks]} (see docs/training-data.md)."
              for name, family in FAMILIES.items() if family.asks and not getattr(materials, family.asks)]
    return absent + [f"{sentence}." for sentence in find_engines()[1]]


def suits(footage: Footage) -> frozenset[str]:
    """What a clip offers to forgeries: "face" (a second of it, with landmarks) and "voice"."""
    offers = set()
    if footage.frames is not None and footage.landmarks is not None:
        seen = known(footage.landmarks)
        if seen.any() and seen.mean() * footage.duration_s >= LEAST_FACE_S:
            offers.add("face")
    try:
        voice_of(footage)
    except Unsuitable:
        return frozenset(offers)
    return frozenset(offers | {"voice"})


def draw_versions(footage: Footage, materials: Materials, count: int, rng: np.random.Generator,
                  modalities: Collection[str] = tuple(SHARE), partial: float = PARTIAL_SHARE) -> list[Version]:
    """Up to `count` forgeries of one clip, no family twice; fewer where the clip does not suit more of them.

    A modality is drawn first, of those given (SHARE), then a family of it that was not drawn yet; a forgery that finds
    the clip unsuitable after all makes room for another one. partial: the share that is forged for PARTIAL_S only, of
    those that can be.
    """
    offers = suits(footage)
    waiting = {name: f for name, f in FAMILIES.items()
               if f.modality in modalities and f.needs <= offers and (not f.asks or getattr(materials, f.asks))}
    versions: list[Version] = []
    while waiting and len(versions) < count:
        left = sorted({f.modality for f in waiting.values()})
        weights = np.array([SHARE[m] for m in left])
        modality = left[rng.choice(len(left), p=weights / weights.sum())]
        name = _choose(rng, [n for n, f in waiting.items() if f.modality == modality])
        try:
            versions.append(_forge(name, waiting.pop(name), footage, materials, offers, rng, partial))
        except Unsuitable as reason:
            log.debug("%s: no %s: %s", footage.clip_id, name, reason)
    return versions


def _forge(name: str, family: Family, footage: Footage, materials: Materials, offers: frozenset[str],
           rng: np.random.Generator, partial: float) -> Version:
    forgery = family.build(materials, rng)
    if family.modality == "video" and "voice" in offers and rng.random() < TWOFOLD_SHARE:
        second = _choose(rng, [n for n, f in FAMILIES.items() if f.modality == "audio" and f.limitable and not f.asks])
        name, forgery = f"{name} + {second}", compose(forgery, FAMILIES[second].build(materials, rng))
    if family.limitable and rng.random() < partial:
        forgery = within(forgery, *_draw_span(footage, family.needs, rng))
    forged, truth = forgery(footage, rng)
    if not truth.spans:
        raise Unsuitable("nothing was changed in the span")
    return Version(name, forged, truth)


def _draw_span(footage: Footage, needs: frozenset[str], rng: np.random.Generator) -> tuple[float, float]:
    """A span of PARTIAL_S around a moment at which the clip offers what the forgery needs."""
    if "face" in needs:
        moment_s = float(_choose(rng, footage.times_s[known(footage.landmarks)]))
    else:
        voice = voice_of(footage)[1]
        lengths_s = np.array([end_s - start_s for start_s, end_s in voice])
        start_s, end_s = voice[rng.choice(len(voice), p=lengths_s / lengths_s.sum())]
        moment_s = float(rng.uniform(start_s, end_s))
    length_s = float(rng.uniform(*PARTIAL_S))
    start_s = float(np.clip(moment_s - rng.random() * length_s, 0, max(footage.duration_s - length_s, 0)))
    return start_s, min(start_s + length_s, footage.duration_s)


