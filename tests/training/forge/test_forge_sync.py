"""Forgeries of what belongs together: the offset, the donor and the drift are those that the truth tells."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from media.sound import level_dbfs
from training.forge import sound as forge_sound
from training.forge.chain import draw_chain, retime
from training.forge.footage import JOIN_S, Footage, Truth, Unsuitable, within
from training.forge.sync import edges_to_cut, shift_sound, stretch_sound, swap_sound

HZ = 16_000
SEEDS = range(12)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def noise(seconds: float, seed: int = 0) -> np.ndarray:
    """Noise whose level waves three times a second: no two moments are alike."""
    time_s = np.arange(round(seconds * HZ)) / HZ
    return (0.1 * (0.01 + np.sin(3 * np.pi * time_s) ** 2) * rng(seed).normal(size=len(time_s))).astype(np.float32)


@pytest.fixture
def clip(monkeypatch) -> Footage:
    monkeypatch.setattr(forge_sound, "find_speech", lambda sound: ((0.2, len(sound) / HZ - 0.2),))
    return Footage("c", np.zeros((100, 2, 2, 3), np.uint8), np.arange(100) / 25, noise(4))


def test_a_shifted_sound_is_late_or_early_by_what_the_step_says(clip):
    offsets = []
    for seed in SEEDS:
        forged, truth = shift_sound(clip, rng(seed))
        _, drawn = truth.steps[0]
        offset = round(drawn["offset_s"] * HZ)
        assert 0.2 <= abs(drawn["offset_s"]) <= 1.0
        join = round(JOIN_S * HZ) + 2
        if offset > 0:
            np.testing.assert_array_equal(forged.sound[offset + join:], clip.sound[join:len(clip.sound) - offset])
        else:
            np.testing.assert_array_equal(forged.sound[:offset - join], clip.sound[-offset:-join])
        begin, end = (round(at_s * HZ) for at_s in drawn["filler_s"])
        filler = forged.sound[begin:end]
        assert abs(len(filler) - abs(offset)) == round(JOIN_S * HZ)
        assert -70 < level_dbfs(filler) < level_dbfs(clip.sound) - 6 and not (filler[400:-400] == 0).any()
        assert [(s.start_s, s.end_s, s.modality) for s in truth.spans] == [(0.0, 4.0, "sync")]
        offsets.append(offset > 0)
    assert 0 < sum(offsets) < len(SEEDS)
    np.testing.assert_array_equal(clip.sound, noise(4))


def test_the_chain_cuts_the_filler_from_both_versions(clip):
    for seed in SEEDS:
        forged, truth = shift_sound(clip, rng(seed))
        chain = replace(draw_chain(clip, rng(seed), edges_to_cut(clip, Truth("c"), truth)), lead_s=0.0)
        (real, _), (fake, late) = retime(chain, clip, Truth("c")), retime(chain, forged, truth)
        offset = round(truth.steps[0][1]["offset_s"] * HZ)
        assert len(real.sound) == len(fake.sound) >= 2.9 * HZ and late.labels["sync"] == 1
        head = round(chain.head_s * HZ)
        recorded = clip.sound[head - offset:][:len(fake.sound)]
        np.testing.assert_allclose(fake.sound[:len(recorded)], recorded, atol=1e-6)  # no filler is left


def test_edges_by_hand(clip):
    late = Truth("c", steps=(("shift", {"offset_s": 0.5, "filler_s": [0.0, 0.52]}),))
    early = Truth("c", steps=(("shift", {"offset_s": -0.3, "filler_s": [3.68, 4.0]}),))
    assert edges_to_cut(clip, Truth("c")) == (0.0, 0.0)
    assert edges_to_cut(clip, late, early) == (0.52, pytest.approx(0.32))
    longer = replace(clip, frames=np.zeros((110, 2, 2, 3), np.uint8), times_s=np.arange(110) / 25)
    assert edges_to_cut(longer, early) == (0.0, pytest.approx(0.72))  # the sound ends 0.4 s before the picture
    assert edges_to_cut(clip, within(lambda footage, rng: (footage, late), 1.0, 2.0)(clip, rng())[1]) == (0.0, 0.0)


def test_a_swapped_sound_is_a_stretch_of_the_donor_s(clip):
    donor = Footage("d", None, None, noise(6, seed=1))
    firsts = set()
    for seed in SEEDS:
        forged, truth = swap_sound(donor, "somebody")(clip, rng(seed))
        _, drawn = truth.steps[0]
        first = round(drawn["from_s"] * HZ)
        np.testing.assert_array_equal(forged.sound, donor.sound[first:first + 4 * HZ])
        assert truth.identities == ("somebody",) and truth.labels == {"video": 0.0, "audio": 0.0, "sync": 1.0}
        firsts.add(first)
    assert len(firsts) > 6
    for other in (replace(donor, sound=donor.sound[:3 * HZ]), replace(donor, clip_id="c")):
        with pytest.raises(Unsuitable):
            swap_sound(other, "somebody")(clip, rng())


def test_a_stretched_sound_drifts_by_what_the_step_says_and_comes_back(clip):
    """A tone that rises by 200 Hz a second: the frequency at a moment tells which moment of the original is heard."""
    time_s = np.arange(4 * HZ) / HZ
    rising = replace(clip, sound=(0.3 * np.sin(2 * np.pi * (400 * time_s + 100 * time_s**2))).astype(np.float32))
    signs = set()
    for seed in SEEDS:
        forged, truth = stretch_sound(rising, rng(seed))
        _, drawn = truth.steps[0]
        audio, sync = truth.spans
        assert (audio.modality, sync.modality) == ("audio", "sync")
        outside = (time_s < audio.start_s) | (time_s >= audio.end_s)
        np.testing.assert_array_equal(forged.sound[outside], rising.sound[outside])
        middle = round((audio.start_s + audio.end_s) / 2 * HZ)
        piece = forged.sound[middle - 1600:middle + 1600] * np.hanning(3200)
        heard_hz = np.abs(np.fft.rfft(piece, HZ)).argmax()
        # Before the middle it drifts away and after it back: on average of 0.2 s it is 50 ms of it short.
        assert (heard_hz - 400) / 200 == pytest.approx(middle / HZ + drawn["drift_s"], abs=0.05)
        ramp_s = (audio.end_s - audio.start_s) / 2
        assert sync.start_s == pytest.approx(audio.start_s + ramp_s * 0.08 / abs(drawn["drift_s"]), abs=1e-3)
        assert sync.end_s - sync.start_s > 0.5 * (audio.end_s - audio.start_s)
        assert abs(drawn["drift_s"]) / ramp_s <= 0.2 + 1e-3  # the pace lies between 0.8 and 1.2
        signs.add(drawn["drift_s"] > 0)
    assert signs == {True, False}


@pytest.mark.parametrize("forgery", [shift_sound, stretch_sound, swap_sound(Footage("d", None, None, noise(6)), "d")])
def test_the_same_seed_gives_the_same_and_silent_or_blind_clips_are_unsuitable(clip, forgery):
    assert forgery(clip, rng(4))[0].sound.tobytes() == forgery(clip, rng(4))[0].sound.tobytes()
    for missing in ({"sound": None}, {"frames": None, "times_s": None}):
        with pytest.raises(Unsuitable, match="no (sound|picture)"):
            forgery(replace(clip, **missing), rng())


def test_short_clips_are_unsuitable(clip):
    short = replace(clip, sound=clip.sound[:HZ])
    for forgery in (stretch_sound, lambda c, r: [shift_sound(c, rng(seed)) for seed in SEEDS]):
        with pytest.raises(Unsuitable, match="too short|speaks for less"):
            forgery(short, rng())
