"""Lips and sound: planted offsets and mismatches, losses worked out by hand, and no leak of position."""

import math
from dataclasses import asdict, replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from detectors import sync
from detectors.contract import Windows
from detectors.sync import EDGE, MOST, STEP_SAMPLES, SyncConfig, SyncPair

TINY = SyncConfig(dim=8, lips_px=16, lip_widths=(4, 4, 4, 8), sound_widths=(8, 8, 8), bands=10)


pytestmark = pytest.mark.usefixtures("one_thread_one_seed")


def speech(steps: int, seed: int) -> torch.Tensor:
    """(steps, 16) unit vectors that change as slowly as speech does."""
    noise = torch.randn(steps + 4, 16, generator=torch.Generator().manual_seed(seed))
    return F.normalize(noise.unfold(0, 5, 1).mean(-1), dim=1)


def delayed(vectors: torch.Tensor, steps: int) -> torch.Tensor:
    """What was at step t is at t + steps; what moves in at the end is foreign."""
    moved = speech(len(vectors), seed=99)
    first, last = max(steps, 0), len(vectors) + min(steps, 0)
    moved[first:last] = vectors[first - steps:last - steps]
    return moved


@pytest.fixture
def pair() -> SyncPair:
    torch.manual_seed(0)
    return SyncPair(TINY).eval()


# --- similarity and offsets


def test_similarity_is_the_product_with_the_sound_that_many_steps_later():
    lips, sound = torch.randn(7, 3), torch.randn(7, 3)
    alike = sync.similarity(lips, sound, most=2)
    for offset in range(-2, 3):
        for t in range(7):
            expected = lips[t] @ sound[t + offset] if 0 <= t + offset < 7 else torch.tensor(0.0)
            torch.testing.assert_close(alike[offset + 2, t], expected)
    batch = sync.similarity(torch.stack([lips, sound]), torch.stack([sound, sound]), most=2)
    torch.testing.assert_close(batch[0], alike)


@pytest.mark.parametrize("steps", [-9, -1, 0, 4, 15])
def test_planted_offset_is_found_with_its_sign(steps):
    lips = speech(120, seed=1)
    assert sync.estimate_offset_s(lips, delayed(lips, steps)) == pytest.approx(steps / 25)


def test_no_offset_is_told_without_enough_to_compare():
    lips = speech(120, seed=1)
    known = torch.zeros(120, dtype=torch.bool)
    assert sync.estimate_offset_s(lips, lips, known) is None
    known[40:40 + sync.LEAST + 2 * EDGE] = True
    assert sync.estimate_offset_s(lips, lips, known) == 0.0
    known[40] = False
    assert sync.estimate_offset_s(lips, lips, known) is None


def test_compared_needs_both_steps_away_from_ends_and_gaps():
    known = torch.ones(20, dtype=torch.bool)
    lips_known = known.clone()
    lips_known[8] = False
    there = sync.compared(lips_known, known, most=2)
    for offset in range(-2, 3):
        for t in range(20):
            inside = EDGE <= t < 20 - EDGE and EDGE <= t + offset < 20 - EDGE
            assert there[offset + 2, t] == (inside and abs(t - 8) > EDGE)


def test_agreement_leaves_unknown_steps_out():
    alike = torch.tensor([[1.0, 5.0, 3.0], [2.0, 2.0, 2.0]])
    there = torch.tensor([[True, False, True], [False, False, False]])
    assert sync.agreement(alike, there).tolist() == [2.0, -math.inf]


def test_best_offset_stays_within_reach():
    curve = torch.zeros(2 * MOST + 1)
    curve[MOST + 10], curve[MOST - 3] = 0.9, 0.5
    assert sync.best_offset(curve, MOST) == 10
    assert sync.best_offset(curve, sync.NEAR) == -3


def test_evidence_is_the_lead_over_the_best_far_offset():
    agree = torch.full((2, 2 * MOST + 1), 0.1)
    agree[0, MOST + 3], agree[0, MOST + sync.NEAR], agree[0, MOST - sync.NEAR - 1] = 0.8, 9.0, 0.5
    agree[1, MOST - 2], agree[1, -1] = 0.2, 0.6
    count = torch.arange(2 * MOST + 1).expand(2, -1)
    lead, steps = sync.evidence_at(agree, count, torch.tensor([3, -2]))
    torch.testing.assert_close(lead, torch.tensor([0.8 - 0.5, 0.2 - 0.6]))
    assert steps.tolist() == [MOST + 3, MOST - 2]


# --- mismatch


def test_shifted_and_swapped_sound_score_higher(pair):
    lips = speech(200, seed=1)
    shifts = [delayed(lips, steps) for steps in (10, 14, -12)]
    belongs, slightly_late, *others, swapped = pair.mismatch(
        lips.expand(6, -1, -1), torch.stack([lips, delayed(lips, 4), *shifts, speech(200, seed=2)]))
    assert belongs < 0 and slightly_late < 0  # careless muxing is no manipulation
    for wrong in (*others, swapped):
        assert wrong > 0


def test_fewer_steps_say_less_and_too_few_nothing(pair):
    evidence = torch.full((3,), 0.9)
    few, many, none = pair.mismatch_logit(evidence, torch.tensor([25, 100, sync.LEAST - 1]))
    assert many < few < 0 and none.isnan()
    pair.calibration.copy_(torch.tensor([10.0, 0.3, 0.5, 60.0]))
    told = pair.mismatch_logit(torch.tensor(0.2), torch.tensor(100))
    assert told.item() == pytest.approx(10 * 100 / 160 * (0.3 - 0.5 / 10 - 0.2))


def test_mismatch_of_a_track_shows_where_the_sound_is_foreign(pair):
    lips = speech(500, seed=1)
    sound = delayed(lips, 2)
    sound[300:] = speech(200, seed=3)
    curve = pair.mismatch_curve(lips, sound)
    assert (curve[:240] < 0).all() and (curve[360:] > 0).all()
    # Step 150 is told from steps 100 to 199, at the offset of the whole track: 2.
    alike, there = (x[:, 100:200] for x in sync.compare(lips, sound))
    agree = sync.agreement(alike, there)
    far = [i for i in range(2 * MOST + 1) if abs(i - MOST) > sync.NEAR]
    expected = pair.mismatch_logit(agree[MOST + 2] - agree[far].max(), torch.tensor(100))
    torch.testing.assert_close(curve[150], expected)


def test_curve_is_silent_where_nothing_is_known(pair):
    lips = speech(300, seed=1)
    known = torch.ones(300, dtype=torch.bool)
    known[100:] = False
    curve = pair.mismatch_curve(lips, lips, known)
    assert curve[:120].isfinite().all() and curve[160:].isnan().all()


# --- whole tracks


def windows_of(lips: np.ndarray, audio: np.ndarray, starts_s, steps: int, **changes) -> Windows:
    """Windows of so many steps of lips [T, px, px, 3] and audio [T·640]."""
    starts = np.array(starts_s)
    first = np.round(starts * 25).astype(int)
    count = len(starts)
    given = {
        "start_s": starts, "end_s": starts + steps / 25, "faces": None, "has_face": np.ones(count, bool),
        "audio": np.stack([audio[f * 640:(f + steps) * 640] for f in first]), "has_audio": np.ones(count, bool),
        "lips": np.stack([lips[f:f + steps] for f in first]), "lips_seen": np.ones((count, steps), bool),
    }
    return Windows(**given | changes)


@pytest.fixture
def clip() -> tuple[np.ndarray, np.ndarray]:
    """Lips [100, 16, 16, 3] uint8 and audio of the same 4 s."""
    rng = np.random.default_rng(0)
    return (rng.integers(1, 256, (100, 16, 16, 3), dtype=np.uint8),
            rng.normal(0, 0.1, 100 * STEP_SAMPLES).astype(np.float32))


def test_stitching_puts_windows_back(clip):
    lips, audio = clip
    strip = sync.stitch(windows_of(lips, audio, [0.0, 0.64, 1.28, 1.92, 2.56, 2.72], steps=32))
    assert strip.known.all() and len(strip.known) == 100
    np.testing.assert_array_equal(strip.lips(0, 100), lips)
    np.testing.assert_array_equal(strip.lips(40, 50), lips[40:50])
    np.testing.assert_array_equal(strip.audio(0, 100), audio)
    np.testing.assert_array_equal(strip.audio(40, 50), audio[40 * 640:50 * 640])


def test_stitching_knows_its_gaps(clip):
    lips, audio = clip
    seen = np.ones((3, 32), bool)
    seen[0, 4] = False
    windows = windows_of(lips, audio, [0.0, 1.28, 2.56], 32, lips_seen=seen, has_audio=np.array([True, False, True]))
    expected = np.ones(96, bool)
    expected[4], expected[32:64] = False, False
    np.testing.assert_array_equal(sync.stitch(windows).known, expected)
    silent = sync.stitch(windows).audio(0, 96)
    assert not silent[32 * 640:64 * 640].any() and np.array_equal(silent[:32 * 640], audio[:32 * 640])
    assert sync.stitch(replace(windows, lips=None)) is None
    assert sync.stitch(replace(windows, audio=None)) is None


def test_sound_that_was_repeated_is_not_held_against_the_lips(clip):
    """Its own repetition fills the window after the sound's end."""
    lips, audio = clip
    windows = windows_of(lips, audio, [0.0, 1.28], 32, heard_s=np.array([1.28, 0.64]))
    assert sync.stitch(windows).known.tolist() == [True] * 48 + [False] * 16


def test_track_is_judged_as_one(pair, clip, monkeypatch):
    """However it was cut to windows, and however many steps are encoded at once."""
    lips, audio = clip
    whole = sync.judge_track(pair, windows_of(lips, audio, [0.0], steps=100))
    cut = windows_of(lips, audio, [0.0, 0.64, 1.28, 1.92, 2.56, 2.72], steps=32)
    monkeypatch.setattr(sync, "PIECE", 24)
    pieces = sync.judge_track(pair, cut)
    assert whole.offset_s == pieces.offset_s and np.isfinite(whole.logit).sum() > 50
    np.testing.assert_allclose(pieces.logit, whole.logit, atol=1e-4)
    np.testing.assert_array_equal(whole.around(np.array([0.0, 1.28]), np.array([1.28, 2.56])), whole.logit[[16, 48]])


def test_one_window_is_judged_as_by_its_vectors(pair, clip):
    lips, audio = clip
    windows = windows_of(lips, audio, [0.64], steps=32)
    told = sync.judge_track(pair, windows).around(windows.start_s, windows.end_s)
    with torch.no_grad():
        faces = torch.from_numpy(windows.lips).permute(0, 1, 4, 2, 3) / 255
        vectors = pair(faces, torch.from_numpy(windows.audio))
        np.testing.assert_allclose(told, pair.mismatch(*vectors), atol=1e-4)


# --- the network


def test_sizes():
    assert 0.25e6 < sum(p.numel() for p in SyncPair().parameters()) < 0.43e6
    lips, sound = SyncPair(TINY)(torch.rand(2, 9, 3, 16, 16), torch.randn(2, 9 * STEP_SAMPLES))
    assert lips.shape == sound.shape == (2, 9, TINY.dim)
    torch.testing.assert_close(lips.norm(dim=2), torch.ones(2, 9))
    torch.testing.assert_close(sound.norm(dim=2), torch.ones(2, 9))
    with pytest.raises(ValueError, match="multiple of 640"):
        SyncPair(TINY).encode_sound(torch.zeros(1, 1000))


def test_rebuilt_from_its_card():
    card = {"architecture": {**asdict(TINY), "lip_widths": list(TINY.lip_widths)}}  # JSON has no tuples
    assert sync.build(card).cfg == TINY


def test_position_does_not_leak(pair):
    """The vectors that are compared depend on what lies around a step, not on where in the window it is."""
    lips, audio = torch.rand(1, 60, 3, 16, 16), torch.randn(1, 60 * STEP_SAMPLES) * 0.1
    whole = pair(lips, audio)
    cut = pair(lips[:, 20:45], audio[:, 20 * STEP_SAMPLES:45 * STEP_SAMPLES])
    for inside, alone in zip(whole, cut):
        torch.testing.assert_close(alone[:, EDGE:-EDGE], inside[:, 20 + EDGE:45 - EDGE], atol=1e-5, rtol=0)
        assert (alone[:, 0] - inside[:, 20]).abs().max() > 1e-4  # the ends do see the padding
    quiet = torch.cat([audio, torch.zeros(1, 10 * STEP_SAMPLES)], dim=1)
    torch.testing.assert_close(pair.encode_sound(quiet)[:, :60 - EDGE], whole[1][:, :60 - EDGE], atol=1e-5, rtol=0)


def test_light_contrast_and_colour_do_not_count(pair):
    lips = torch.rand(1, 5, 3, 16, 16)
    grey = (lips * torch.tensor([0.299, 0.587, 0.114])[:, None, None]).sum(2, keepdim=True)
    torch.testing.assert_close(pair.encode_lips(lips * 0.5 + 0.2), pair.encode_lips(grey), atol=2e-2, rtol=0)


def test_larger_lips_are_averaged_down(pair):
    lips = torch.rand(1, 5, 3, 16, 16)
    large = lips.repeat_interleave(2, 3).repeat_interleave(2, 4)
    torch.testing.assert_close(pair.encode_lips(large), pair.encode_lips(lips))


def test_log_mel_frames_are_centred_on_their_time(pair):
    audio = torch.zeros(1, 10 * STEP_SAMPLES)
    audio[0, 160 * 17 + 80] = 1.0  # a click
    energy = pair.log_mel(audio).mean(1)[0]
    assert energy.shape == (40,) and energy.argmax() == 17


def test_mel_filters_answer_to_their_own_pitch(pair):
    time_s = torch.arange(10 * STEP_SAMPLES) / sync.AUDIO_HZ
    loudest = [pair.log_mel(0.1 * torch.sin(2 * math.pi * hz * time_s)[None]).mean(2)[0].argmax().item()
               for hz in (150, 600, 1500, 4000, 7000)]
    assert loudest == sorted(set(loudest))


# --- the losses


def test_frame_loss_by_hand():
    """Seven offsets, -3 to 3, of which those of 1 and 2 steps take no part."""
    alike = torch.zeros(1, 7, 2)  # offsets -3 to 3
    alike[0, :, 0] = torch.tensor([1.0, 9.0, 9.0, 2.0, 9.0, 9.0, 0.0])
    alike[0, :, 1] = torch.tensor([0.0, 9.0, 9.0, 1.0, 9.0, 9.0, 0.5])
    there = torch.ones(1, 7, 2, dtype=torch.bool)
    there[0, 6, 1] = False  # step 1 has one rival only
    first = -math.log(math.exp(4) / (math.exp(2) + math.exp(4) + math.exp(0)))
    second = -math.log(math.exp(2) / (math.exp(0) + math.exp(2)))
    assert sync.frame_loss(alike, there, 2.0).item() == pytest.approx((first + second) / 2, rel=1e-5)
    there[0, 3, 1] = False  # without offset 0 the step takes no part
    assert sync.frame_loss(alike, there, 2.0).item() == pytest.approx(first, rel=1e-5)


def test_segment_loss_by_hand():
    alike = torch.zeros(2, 7, 2)
    alike[0, 0], alike[0, 3], alike[0, 6] = torch.tensor([1.0, 0.0]), torch.tensor([2.0, 1.0]), torch.tensor([0.0, 4.0])
    there = torch.ones(2, 7, 2, dtype=torch.bool)
    there[0, 6, 1] = False
    there[1, 3] = False  # a clip without offset 0 takes no part
    expected = -math.log(math.exp(3) / (math.exp(1) + math.exp(3) + math.exp(0)))  # means .5, 1.5, 0, sharpness 2
    assert sync.segment_loss(alike, there, 2.0).item() == pytest.approx(expected, rel=1e-5)


def test_losses_fall_with_agreement_and_reach_every_weight():
    pair = SyncPair(TINY).train()
    lips, audio = torch.rand(2, 40, 3, 16, 16), torch.randn(2, 40 * STEP_SAMPLES) * 0.1
    known = torch.ones(2, 40, dtype=torch.bool)
    known[1, 20:] = False
    loss, parts = sync.sync_loss(pair, *pair(lips, audio), known)
    assert loss.item() == pytest.approx(sum(p.item() for p in parts.values()), rel=1e-5)
    loss.backward()
    for name, parameter in pair.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all(), name
        assert parameter.grad.abs().sum() > 0, name

    vectors = speech(60, seed=1)[None]
    right, wrong = (sync.sync_loss(pair, vectors, other)[0] for other in (vectors, speech(60, seed=2)[None]))
    assert right < wrong
