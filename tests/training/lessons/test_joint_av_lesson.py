"""What Joint AV is shown: windows with labels of their moment, and genuine ones whose sound belongs elsewhere."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from detectors.checkpoint import save_checkpoint
from detectors.joint_av import SHIPPED_SPEC, JointAVConfig, load_detector
from detectors.sync import SyncConfig, SyncPair
from training import lessons
from training.lessons import joint_av as lesson
from training.lessons.joint_av import JointAVLesson, JointAVRecipe
from training.sampling import read_samples

PAIR = SyncConfig(dim=8, lips_px=16, lip_widths=(4, 4, 4, 8), sound_widths=(8, 8, 8), bands=10)
TINY = JointAVConfig(face_px=16, widths=(4, 4, 8, 8), depths=(1, 1, 1, 1), stem_stride=4, lean=True, sound="bands",
                     sound_widths=(4, 8, 8, 8), bands=12, sync_width=8, attention_heads=2)
COMMITTED = Path(lessons.__file__).parent.parent / "recipes" / "joint_av.yaml"
PICTURE, SOUND, BOTH = ({"picture": p, "sound": s, "both": b} for p, s, b in ((1, 0, 0), (0, 1, 0), (0, 0, 1)))


class Tiny(JointAVLesson):
    config, spec = TINY, replace(SHIPPED_SPEC, face_px=16, lips=0, lips_px=None)


pytestmark = pytest.mark.usefixtures("one_thread_one_seed")


def recipe(**changes) -> JointAVRecipe:
    values = yaml.safe_load(COMMITTED.read_text())
    usual = {"batch": 8, "steps": 20, "pair": None, "mismatch_share": 0.0}
    for name, value in {**usual, **changes}.items():
        (values["lesson"] if name in values["lesson"] else values)[name] = value
    return JointAVRecipe.model_validate(values)


@pytest.fixture
def make_lesson(monkeypatch, write_samples):
    """make(*lines, **changes of the recipe), with faces and sound left as they are."""
    monkeypatch.setattr("training.lessons.ss_avd.degrade_faces", lambda faces, rng: faces)
    monkeypatch.setattr("training.lessons.ss_avd.degrade_sound", lambda sound, rng, noises: sound)
    return lambda *lines, **changes: Tiny(recipe(**changes), read_samples(write_samples(*lines)))


def clip(source: str, video_fake: float = 0.0, audio_fake: float = 0.0, **more) -> dict:
    return {"source": source, "video_fake": video_fake, "audio_fake": audio_fake, "identities": [source],
            "duration_s": 4.0, "shade": 10, **more}


def corpus() -> list[dict]:
    return [line for source in "ab" for line in (clip(source), clip(source, 1, 0), clip(source, 0, 1))]


def moments_s(batch: dict) -> tuple[torch.Tensor, torch.Tensor]:
    """When face and sound of each row are from: faces get brighter 25 a second, sound counts up 100 a second."""
    return (batch["video"][:, 0, 0, 8, 8].float() - 10) / 25, batch["audio"][:, 0] * 32767 / 100


def test_the_committed_recipe_is_valid():
    assert recipe(pair="sync.safetensors").lesson.pair == "sync.safetensors"


def test_batches_without_mismatch_are_of_one_moment(make_lesson):
    batch = make_lesson(*corpus(), presence=BOTH).batch(0, 0, 1)
    assert batch["video"].shape == (8, 32, 3, 16, 16) and batch["audio"].shape == (8, 20_480)
    seen_s, heard_s = moments_s(batch)
    assert (seen_s - heard_s).abs().max() < 0.1 and not batch["mismatched"].any()


def test_a_mismatched_window_is_a_genuine_one_with_other_sound(make_lesson):
    batch = make_lesson(*corpus(), presence=BOTH, mismatch_share=1.0).batch(0, 0, 1)
    assert batch["mismatched"].tolist() == [False] * 4 + [True] * 4
    assert batch["video_fake"][:4].tolist() == batch["audio_fake"][:4].tolist() == [0.0] * 4
    assert batch["video_fake"][4:].isnan().all() and batch["audio_fake"][4:].isnan().all()
    assert torch.equal(batch["video"][:4], batch["video"][4:])
    seen_s, heard_s = moments_s(batch)
    assert (seen_s - heard_s)[:4].abs().max() < 0.1


def test_shifted_sound_is_off_by_what_the_recipe_of_mismatch_says(make_lesson):
    """One source alone: no other clip can lend its sound."""
    lesson_of_one = make_lesson(clip("a"), clip("a", 1, 1), presence=BOTH, mismatch_share=1.0)
    for step in range(3):
        seen_s, heard_s = moments_s(lesson_of_one.batch(step, 0, 1))
        shift_s = (heard_s - seen_s)[4:].abs()
        assert ((shift_s > lesson.SHIFT_S[0] - 0.05) & (shift_s < lesson.SHIFT_S[1] + 0.05)).all()


def test_clips_that_are_forged_out_of_sync_are_not_genuine(make_lesson):
    off = clip("b", sync_fake=1.0, forged="shifted_sound")
    drawn = make_lesson(clip("a"), clip("a", 1, 1), off, presence=BOTH)
    sources = {drawn._pools["both"].real.draw(np.random.default_rng(seed)).source for seed in range(10)}
    assert sources == {"a"}


@pytest.mark.parametrize("presence, heads", [
    (PICTURE, {"video"}), (SOUND, {"audio"}), (BOTH, {"video", "audio", "whole"}),
])
def test_loss_of_each_presence(make_lesson, presence, heads):
    tiny = make_lesson(*corpus(), presence=presence, mismatch_share=0.5)
    loss, terms = tiny(tiny.batch(0, 0, 1))
    loss.backward()
    assert terms.keys() == heads and loss.isfinite()


def test_draws_depend_on_seed_and_step_alone(make_lesson):
    tiny = make_lesson(*corpus(), presence=BOTH, mismatch_share=0.5)
    first, again, other = (tiny.batch(step, 0, 1) for step in (3, 3, 4))
    assert torch.equal(first["video"], again["video"]) and torch.equal(first["audio"], again["audio"])
    assert not torch.equal(first["audio"], other["audio"])
    halves = [tiny.batch(3, rank, 2) for rank in (0, 1)]
    drawn = {row.sum().item() for half in halves for row in half["audio"]}
    assert drawn == {row.sum().item() for row in first["audio"]}


def test_the_pair_is_carried_and_not_trained(make_lesson, tmp_path):
    pair = SyncPair(PAIR)
    save_checkpoint(tmp_path / "sync.safetensors", pair.state_dict(), {"architecture": asdict(PAIR)})
    tiny = make_lesson(*corpus(), presence=BOTH, pair=str(tmp_path / "sync.safetensors"))
    for (name, own), other in zip(tiny.model.pair.state_dict().items(), pair.state_dict().values()):
        assert torch.equal(own, other), name
    optimizer = torch.optim.SGD([p for p in tiny.parameters() if p.requires_grad], lr=0.1)
    tiny.train()
    tiny(tiny.batch(0, 0, 1))[0].backward()
    optimizer.step()
    assert all(torch.equal(a, b) for a, b in zip(tiny.model.pair.state_dict().values(), pair.state_dict().values()))
    card = tiny.card()
    assert card["input_spec"]["lips"] == 32 and card["input_spec"]["lips_px"] == 16
    loaded = load_detector(tiny.weights(tiny.model), card)
    [(sample, scores)] = tiny.scores(tiny.model, tiny.samples[:1], windows=2)
    assert sample.key == tiny.samples[0].key and scores.sync.shape == (2,)
    assert loaded.spec == tiny.detector(tiny.model).spec
