"""Frames that the face encoder is tuned on: a fake beside its original at the same moment; what learns and what not."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import yaml

from detectors.checkpoint import save_checkpoint
from detectors.encoders import FaceEncoder
from training import recipe as recipes
from training.lessons import face_encoder as lessons
from training.lessons.face_encoder import FaceEncoderLesson, FaceEncoderRecipe, read_frames
from training.pretrained import load_face_encoder
from training.sampling import read_samples

RECIPES = recipes.__file__.replace("recipe.py", "recipes/debug.yaml")


@pytest.fixture
def make_lesson(monkeypatch, write_samples):
    """make(*lines, **changes of the recipe): the lesson of a random encoder of small faces, shown as they are."""
    monkeypatch.setattr(lessons, "degrade_faces", lambda faces, rng: faces)
    monkeypatch.setattr(lessons, "published_face_encoder", lambda: FaceEncoder(32))

    def make(*lines: dict, **changes) -> FaceEncoderLesson:
        with open(RECIPES, encoding="utf-8") as file:
            values = next(v for v in yaml.safe_load_all(file) if v["detector"] == "face_encoder")
        for name, value in changes.items():
            (values["lesson"] if name in values["lesson"] else values)[name] = value
        torch.manual_seed(0)
        return FaceEncoderLesson(FaceEncoderRecipe.model_validate(values), read_samples(write_samples(*lines)))

    return make


def genuine(**more) -> dict:
    return {"video_fake": 0.0, "shade": 60, **more}


def forged(**more) -> dict:
    """A version of the first line."""
    return {"video_fake": 1.0, "shade": 160, "forged": "some", "group": "0.mp4", "pair": "0.mp4", **more}


def published(**more) -> dict:
    return {"video_fake": 1.0, "shade": 200, **more}


def test_a_forgery_stands_beside_its_original_at_the_same_moment(make_lesson):
    batch = make_lesson(genuine(), forged(), forged_share=1.0, batch=16).batch(0, 0, 1)
    assert batch["faces"].shape == (16, 3, 32, 32) and batch["faces"].dtype == torch.uint8
    brightness = batch["faces"].float().mean((1, 2, 3)).unflatten(0, (8, 2))  # counts up with time
    assert batch["pair"].all()
    assert torch.allclose(brightness[:, 1] - brightness[:, 0], torch.tensor(100.0), atol=2)
    assert len(brightness[:, 0].round().unique()) > 1


def test_a_published_fake_without_its_original_is_no_pair(make_lesson):
    batch = make_lesson(genuine(), published(), forged_share=0.0, batch=8).batch(0, 0, 1)
    assert not batch["pair"].any()


def test_of_a_partial_forgery_only_frames_inside_are_fake(make_lesson):
    lesson = make_lesson(genuine(), forged(spans=[["video", 0.5, 1.5]]), forged_share=1.0, frames=8)
    frames = read_frames(lesson.samples[1], 8, 32)
    inside = (frames.times_s >= 0.5) & (frames.times_s + 0.04 <= 1.5)
    assert frames.fake[inside].all() and 0 < inside.sum() < len(inside)
    assert not frames.fake[(frames.times_s + 0.04 <= 0.5) | (frames.times_s >= 1.5)].any()
    shown = torch.cat([lesson.batch(step, 0, 1)["faces"][1::2] for step in range(10)]).float().mean((1, 2, 3))
    expected = torch.tensor([face.mean() for face, fake in zip(frames.faces, frames.fake) if fake == 1]).float()
    assert all(torch.isclose(expected, b, atol=0.6).any() for b in shown)


def test_a_batch_depends_on_the_step_alone_and_processes_share_it(make_lesson):
    lesson = make_lesson(genuine(), forged(), genuine(source="t"), published(source="t"), batch=8)
    whole, again = lesson.batch(3, 0, 1)["faces"], lesson.batch(3, 0, 1)["faces"]
    assert torch.equal(whole, again) and not torch.equal(whole, lesson.batch(4, 0, 1)["faces"])
    first, second = (lesson.batch(3, rank, 2)["faces"] for rank in (0, 1))
    assert torch.equal(whole.unflatten(0, (4, 2))[::2].flatten(0, 1), first)
    assert torch.equal(whole.unflatten(0, (4, 2))[1::2].flatten(0, 1), second)


@pytest.mark.parametrize(("pair", "ranking"), [([True, False], math.log(2)), ([False, False], 0.0)])
def test_an_untrained_head_loses_a_bit_for_each_question(make_lesson, pair, ranking):
    lesson = make_lesson(genuine(), forged(), ranking=0.5)
    loss, terms = lesson({"faces": torch.zeros(4, 3, 32, 32, dtype=torch.uint8), "pair": torch.tensor(pair)})
    assert terms["entropy"].item() == pytest.approx(math.log(2))
    assert terms["ranking"].item() == pytest.approx(ranking)
    assert loss.item() == pytest.approx(math.log(2) + 0.5 * ranking)


def test_late_stages_learn_and_early_ones_and_norms_do_not(make_lesson):
    lesson = make_lesson(genuine(shade=None), forged(shade=None), frozen_stages=4)
    torch.nn.init.normal_(lesson.model.head.weight)  # from zero on, the first step would move the head alone
    figures = {name: value.clone() for name, value in lesson.model.trunk.named_buffers()}
    lesson.train()
    lesson(lesson.batch(0, 0, 1))[0].backward()
    learning = {name for name, p in lesson.model.trunk.named_parameters() if p.grad is not None and p.grad.any()}
    assert learning and all(name.startswith(("blocks.4", "blocks.5", "blocks.6")) for name in learning)
    assert all(torch.equal(value, figures[name]) for name, value in lesson.model.trunk.named_buffers())


def test_what_it_writes_is_a_face_encoder(make_lesson, monkeypatch, tmp_path):
    lesson = make_lesson(genuine(), forged())
    save_checkpoint(tmp_path / "best.safetensors", lesson.weights(lesson.model), lesson.card())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("training.pretrained.FaceEncoder", lambda: FaceEncoder(32))
        again = load_face_encoder(tmp_path / "best.safetensors")
    faces = torch.rand(2, 3, 32, 32)
    assert torch.allclose(again.tuned(faces), lesson.model.trunk(faces), atol=0.02)  # rounded to half precision


def test_held_out_frames_are_scored_one_by_one(make_lesson):
    lesson = make_lesson(genuine(), forged(spans=[["video", 0.5, 1.5]]), genuine(faces=0))
    with torch.no_grad():
        lesson.model.head.bias.fill_(1.0)
    scored = lesson.scores(lesson.model, lesson.samples, 4)
    assert [sample.key for sample, _ in scored] == [s.key for s in lesson.samples[:2]]
    for _, scores in scored:
        assert len(scores.video) == 4 and np.allclose(scores.video, 1 / (1 + math.exp(-1)), atol=1e-6)
        assert scores.audio is None and np.allclose(scores.end_s - scores.start_s, 0.04)


def test_a_missing_class_is_said(make_lesson):
    with pytest.raises(ValueError, match="no fake sample with a face"):
        make_lesson(genuine(), genuine(source="t"))
