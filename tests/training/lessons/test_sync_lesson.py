"""Which clips teach sync, how they are aligned and cut, what is measured, and that mouths and voices are learnt."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from detectors.sync import STEP_SAMPLES, SyncConfig, SyncPair
from training.lessons import sync as lesson
from training.lessons.sync import SyncRecipe, Talk, Told

TINY = SyncConfig(dim=8, lips_px=16, lip_widths=(8, 8, 8, 8), sound_widths=(8, 8, 8), bands=10)
RECIPE = {"seed": 4, "steps": 4, "batch": 4, "cut_steps": 44, "realign_at": (2,), "folds": 2, "least_voice": 0.2,
          "least_face_s": 1.6, "learning_rate": 5e-3, "final_rate": 0.1, "warmup_steps": 1, "weight_decay": 0.0,
          "clip_norm": 1.0, "evaluate_every": 2, "save_every_s": 1e-6, "threads": 1}


pytestmark = pytest.mark.usefixtures("one_thread_one_seed")


def talk(number: int, steps: int = 120, late: int = 0, px: int = 16, told_late: int = 0) -> Talk:
    """A mouth that is as open as its voice is loud, `late` steps later."""
    rng = np.random.default_rng(number)
    loud = np.convolve(rng.random(steps + 4), np.ones(5) / 5, "valid")
    loud = (loud - loud.min()) / np.ptp(loud)
    rows = np.arange(px)[None, :, None]
    opening = np.abs(rows - px / 2) < 1 + loud[:, None, None] * px / 2.5  # dark between the lips
    lips = np.broadcast_to(np.where(opening, 40, 200), (steps, px, px)).astype(np.uint8)
    level = np.interp(np.arange(steps * STEP_SAMPLES) / STEP_SAMPLES - 0.5, np.arange(steps), np.roll(loud, late))
    waveform = rng.normal(0, 1, steps * STEP_SAMPLES) * 10 ** (2 * level) * 20
    return Talk(f"{number}.mp4", f"source {number}", "", f"person {number}", lips, np.ones(steps, bool),
                waveform.astype(np.int16), told_late)


def vectors(steps: int, seed: int) -> torch.Tensor:
    noise = torch.randn(steps + 4, 16, generator=torch.Generator().manual_seed(seed))
    return F.normalize(noise.unfold(0, 5, 1).mean(-1), dim=1)


def told(number: int, late: int = 0, steps: int = 200) -> Told:
    """Vectors that agree, the sound's `late` steps later."""
    lips = vectors(steps, number)
    sound = vectors(steps, 1000 + number)
    first, last = max(late, 0), steps + min(late, 0)
    sound[first:last] = lips[first - late:last - late]
    return Told(talk(number, 10), lips, sound, torch.ones(steps, dtype=torch.bool))


# --- material


@pytest.mark.parametrize("changes, taken", [
    ({}, True), ({"video_fake": 1.0}, False), ({"audio_fake": 1.0}, False), ({"audio_fake": None}, False),
    ({"forged": "shifted_sound"}, False), ({"blocks": ["audio"]}, False), ({"skipped": "too dark"}, False),
    ({"voice_s": [[0.0, 0.3]]}, False), ({"voice_s": [[0.0, 0.5], [1.0, 1.5]]}, True), ({"faces": 60}, False),
    ({"faces": 30, "duration_s": 1.2}, False),
])
def test_genuine_talk_with_a_steady_face_alone(changes, taken):
    line = {"video_fake": 0.0, "audio_fake": 0.0, "forged": "", "blocks": [], "voice_s": [[0.0, 3.0]],
            "duration_s": 4.0, "faces": 100}
    assert lesson.is_talk({**line, **changes}, least_voice=0.2, least_face_s=1.6) == taken


def test_talks_are_read_onto_the_grid(write_samples):
    folder = write_samples({"duration_s": 2.0, "shade": 10}, {"duration_s": 2.0, "video_fake": 1.0},
                           {"duration_s": 2.0, "split": "val"})
    [found] = lesson.read_talks(folder, "train", 0.2, 1.6, lips_px=8)
    assert found.lips.shape == (50, 8, 8) and found.known.all() and len(found.waveform) == 50 * STEP_SAMPLES
    np.testing.assert_allclose(found.lips[:, 4, 4], 10 + np.arange(50), atol=2)  # JPEG
    assert (found.file, found.source, found.late) == ("0.mp4", "s", 0)


@pytest.mark.parametrize("late", [0, 5, -4])
def test_cuts_are_aligned(late, monkeypatch):
    monkeypatch.setattr(lesson, "_jolted", lambda pictures, rng: pictures)
    one = talk(0, steps=60)
    one.lips[:], one.waveform[:] = 0, 0
    one.lips[30], one.waveform[(30 + late) * STEP_SAMPLES:(31 + late) * STEP_SAMPLES] = 255, 20_000
    lips, audio, known = lesson.draw_cuts([one], [late], size=8, steps=50, rng=np.random.default_rng(0))
    assert lips.shape == (8, 50, 1, 16, 16) and audio.shape == (8, 50 * STEP_SAMPLES) and known.all()
    flash = lips.mean((2, 3, 4)).argmax(1)
    bang = audio.unflatten(1, (50, -1)).square().mean(2).argmax(1)
    assert torch.equal(flash, bang) and len(flash.unique()) > 1


def test_short_talks_are_padded_and_masked():
    lips, audio, known = lesson.draw_cuts([talk(0, steps=30)], [2], 1, 50, np.random.default_rng(0))
    assert known[0].tolist() == [True] * 28 + [False] * 22
    assert lips[0, 28:].abs().sum() == 0 and audio[0, 28 * STEP_SAMPLES:].abs().sum() == 0


def test_talks_that_are_too_far_off_are_not_drawn(monkeypatch):
    monkeypatch.setattr(lesson, "_jolted", lambda pictures, rng: pictures)
    off = talk(0)
    off.lips[:] = 255
    lips, _, _ = lesson.draw_cuts([off, talk(1)], [None, 0], 6, 50, np.random.default_rng(0))
    assert (lips.flatten(1).amin(1) < 0.5).all()


def test_draws_depend_on_the_generator_alone():
    talks = [talk(n) for n in range(3)]
    first, again, other = (lesson.draw_cuts(talks, [0] * 3, 4, 50, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert all(torch.equal(a, b) for a, b in zip(first, again)) and not torch.equal(first[0], other[0])


# --- measuring


def test_own_offsets_are_found_and_far_ones_refused():
    assert lesson.own_offsets([told(1, 4), told(2, -3), told(3, 10)]) == [4, -3, None]


def test_shifted_sound_is_late_by_the_shift():
    lips, sound, known = lesson.shifted(told(1), 12)
    assert len(lips) == len(sound) == len(known) == 188
    torch.testing.assert_close(sound[12:], lips[:-12])  # what the mouth does now is heard 12 steps later


def test_spans_of_all_three_kinds():
    spans = lesson.find_spans([told(n) for n in range(4)], span_s=2.0, seed=0)
    genuine = spans.evidence[spans.kind == "genuine"]
    assert len(genuine) == 4 * 4 and len(set(spans.identity)) == 4
    for kind in lesson.KINDS:
        wrong = spans.evidence[spans.kind == kind]
        assert len(wrong) >= 4 * 3 and wrong.max() < genuine.min()


def test_calibration_puts_the_kinds_on_both_sides():
    pair = SyncPair(TINY)
    heard = [told(n) for n in range(6)]
    lesson.calibrate(pair, heard, seed=0)
    for span_s in lesson.SPANS_S:
        spans = lesson.find_spans(heard, span_s, seed=1)
        logit = pair.mismatch_logit(torch.from_numpy(spans.evidence), torch.from_numpy(spans.steps)).numpy()
        assert ((logit > 0) == (spans.kind != "genuine")).all()
    table = lesson.measure(pair, heard, seed=1)
    assert {(row["span_s"], row["kind"]) for row in table} == {(s, k) for s in lesson.SPANS_S for k in lesson.KINDS}
    assert all(row["auc"] == 1.0 for row in table)


def test_offset_shares():
    shares = lesson.offset_shares([told(1, 0), told(2, 2), told(3, -5), told(4, 9)])
    assert shares == {"within_1": 0.25, "within_2": 0.5, "within_6": 0.75}


# --- the run


@pytest.fixture
def planted(monkeypatch):
    """Talks instead of shards: 8 to learn from and to hold out, 4 of the split val."""
    talks = {"train": [talk(n) for n in range(8)], "val": [talk(100 + n) for n in range(4)]}
    monkeypatch.setattr(lesson, "read_talks", lambda folder, split, *_: talks[split])


def test_mouths_and_voices_are_learnt(planted, tmp_path):
    recipe = SyncRecipe(**{**RECIPE, "steps": 40, "evaluate_every": 40, "realign_at": (), "batch": 4})
    card = lesson.train(recipe, tmp_path, tmp_path / "run", resume=False, cfg=TINY)
    shifted = [row["auc"] for row in card["results"]["mismatch"] if row["span_s"] == 2.0]
    assert len(shifted) == 2 and min(shifted) > 0.8
    assert card["results"]["offset"]["within_2"] >= 0.75
    pair, stored = lesson.load_pair(tmp_path / "run" / "sync.safetensors")
    assert stored == json.loads(json.dumps(card)) and not pair.training and pair.cfg == TINY


def test_a_resumed_run_is_the_same(planted, tmp_path, monkeypatch, assert_same):
    recipe = SyncRecipe(**RECIPE)
    lesson.train(recipe, tmp_path, tmp_path / "straight", resume=False, cfg=TINY)
    draw, calls = lesson.draw_cuts, []

    def stop_at_the_fourth(*args):
        calls.append(args)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return draw(*args)

    monkeypatch.setattr(lesson, "draw_cuts", stop_at_the_fourth)
    with pytest.raises(KeyboardInterrupt):
        lesson.train(recipe, tmp_path, tmp_path / "cut", resume=False, cfg=TINY)
    lesson.train(recipe, tmp_path, tmp_path / "cut", resume=True, cfg=TINY)
    assert len(calls) == 5  # the first three steps were not repeated
    straight, cut = (torch.load(tmp_path / name / "last.pt", weights_only=True) for name in ("straight", "cut"))
    assert_same(straight, cut)


def test_too_few_talks_are_refused(planted, tmp_path):
    with pytest.raises(ValueError, match="too few"):
        lesson.train(SyncRecipe(**{**RECIPE, "batch": 16}), tmp_path, tmp_path / "run", resume=False, cfg=TINY)


def test_the_committed_recipe_is_valid():
    path = Path(lesson.__file__).parent.parent / "recipes" / "sync.yaml"
    recipe = lesson.read_sync_recipe(path)
    assert recipe.rate_at(recipe.warmup_steps) == pytest.approx(recipe.learning_rate)
    assert recipe.rate_at(recipe.steps) == pytest.approx(recipe.learning_rate * recipe.final_rate)
