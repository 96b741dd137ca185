"""What SS-AVD is shown: pairs of the same moment, degraded alike, with labels of that moment; and the same again."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from math import nan

import numpy as np
import pytest
import torch

from detectors.encoders import FaceEncoder
from detectors.ss_avd import build, load_detector
from tests.training.tiny_lesson import TinySSAVD
from training.lessons import ss_avd as lessons
from training.sampling import read_samples

PICTURE, SOUND, BOTH = ({"picture": p, "sound": s, "both": b} for p, s, b in ((1, 0, 0), (0, 1, 0), (0, 0, 1)))


@pytest.fixture
def make_lesson(monkeypatch, recipe, write_samples):
    """make(*lines, **changes of the recipe): the lesson of a tiny network, with faces and sound left as they are."""
    monkeypatch.setattr(lessons, "degrade_faces", lambda faces, rng: faces)
    monkeypatch.setattr(lessons, "degrade_sound", lambda sound, rng, noises: sound)

    def make(*lines: dict, **changes) -> TinySSAVD:
        usual = {"batch": 8, "steps": 40}
        return TinySSAVD(recipe(**usual | changes), read_samples(write_samples(*lines)))

    return make


def clip(source: str = "s", video_fake: float = 0.0, audio_fake: float = 0.0, **more) -> dict:
    return {"source": source, "video_fake": video_fake, "audio_fake": audio_fake, **more}


def forged(original: int, video_fake: float = 0.0, audio_fake: float = 0.0, **more) -> dict:
    """A version of the original with this number, which shares its group and its pair."""
    return clip(video_fake=video_fake, audio_fake=audio_fake, forged="some", group=f"{original}.mp4",
                pair=f"{original}.mp4", **more)


def corpus() -> list[dict]:
    """Of each of two sources: genuine, false face, false voice, both false, picture alone, sound alone."""
    return [line for source in "ab" for line in (
        clip(source), clip(source), clip(source, 1, 0), clip(source, 0, 1), clip(source, 1, 1),
        clip(source, nan, 0, faces=0), clip(source, nan, 1, faces=0),
        clip(source, 0, nan, samples=0, speech_s=0.0), clip(source, 1, nan, samples=0, speech_s=0.0))]


def same(a: dict, b: dict) -> bool:
    def known(value: torch.Tensor | None) -> torch.Tensor:
        return torch.zeros(0) if value is None else value.nan_to_num(-1)

    return a.keys() == b.keys() and all(torch.equal(known(a[k]), known(b[k])) for k in a)


# ---- what a batch is --------------------------------------------------------------------------------------------


def test_a_picture_batch_has_no_sound_and_no_labels_for_it(make_lesson):
    batch = make_lesson(*corpus(), presence=PICTURE).batch(0, 0, 1)
    assert batch["audio"] is None and batch["audio_fake"].isnan().all()
    assert batch["video"].shape == (8, 4, 3, 32, 32) and batch["video"].dtype == torch.uint8
    assert batch["video_fake"].tolist() == [0] * 4 + [1] * 4


def test_a_sound_batch_has_no_picture_and_no_labels_for_it(make_lesson):
    batch = make_lesson(*corpus(), presence=SOUND).batch(0, 0, 1)
    assert batch["video"] is None and batch["video_fake"].isnan().all()
    assert batch["audio"].shape == (8, 16_000) and batch["audio"].dtype == torch.float32
    assert batch["audio_fake"].tolist() == [0] * 4 + [1] * 4


def test_a_batch_of_both_keeps_unknown_labels_unknown(make_lesson):
    """A false face whose sound nobody labelled: its sound is shown, but teaches nothing."""
    batch = make_lesson(clip("a"), clip("b"), clip("a", 1, nan), clip("b", 1, nan), presence=BOTH).batch(0, 0, 1)
    assert batch["video"] is not None and batch["audio"] is not None
    assert batch["video_fake"].tolist() == [0] * 4 + [1] * 4
    assert batch["audio_fake"][:4].tolist() == [0] * 4 and batch["audio_fake"][4:].isnan().all()


def test_presence_comes_in_its_shares(make_lesson):
    lesson = make_lesson(*corpus(), presence={"picture": 0.5, "sound": 0.3, "both": 0.2})
    presence = lesson.recipe.lesson.presence
    counts = Counter(presence.draw(lesson.recipe.seed, step) for step in range(1000))
    assert [counts[kind] / 1000 for kind in ("picture", "sound", "both")] == pytest.approx([0.5, 0.3, 0.2], abs=0.05)


def test_a_fake_and_its_original_show_the_same_moment(make_lesson):
    """Faces are as bright as their number: the moment can be read off them. The forgery is 50 brighter."""
    lesson = make_lesson(clip(duration_s=4.0, shade=0), forged(0, 1, 0, duration_s=4.0, shade=50),
                         clip(duration_s=4.0, shade=0), presence=PICTURE)
    moments = []
    for step in range(5):
        shade = lesson.batch(step, 0, 1)["video"][:, 0, 0, 16, 16].int()
        assert (shade[4:] - shade[:4] - 50).abs().max() <= 2  # JPEG
        moments += shade[:4].tolist()
    assert len(set(moments)) > 10


def test_picture_and_sound_of_a_window_are_of_the_same_moment(make_lesson):
    """Sound counts up in steps of 10 ms, as integers of 16 bits; faces in steps of 40 ms."""
    lesson = make_lesson(clip(duration_s=4.0, shade=10), clip("s", 1, 1, duration_s=4.0, shade=10), presence=BOTH)
    batch = lesson.batch(0, 0, 1)
    face_s = (batch["video"][:, 0, 0, 16, 16].float() - 10) / 25
    sound_s = batch["audio"][:, 0] * 32767 / 100
    assert (face_s - sound_s).abs().max() < 0.1


def test_windows_of_a_partial_forgery_are_cut_around_what_is_fake(make_lesson):
    lines = [clip(duration_s=8.0), forged(0, 1, 0, duration_s=8.0, spans=[["video", 6.0, 6.5]])]
    lesson = make_lesson(*lines, presence=PICTURE)
    assert all(lesson.batch(step, 0, 1)["video_fake"].tolist() == [0] * 4 + [1] * 4 for step in range(4))


def test_what_is_forged_elsewhere_in_the_clip_leaves_the_moment_genuine(make_lesson):
    """The picture is fake from 0 s to 1 s, the sound from 5 s to 6 s."""
    lines = [clip(duration_s=8.0), forged(0, 1, 1, duration_s=8.0, spans=[["video", 0.0, 1.0], ["audio", 5.0, 6.0]])]
    lesson = make_lesson(*lines, presence=BOTH)
    told = Counter()
    for step in range(6):
        batch = lesson.batch(step, 0, 1)
        told.update(zip(batch["video_fake"][4:].tolist(), batch["audio_fake"][4:].tolist()))
    assert set(told) == {(1.0, 0.0), (0.0, 1.0)}


@pytest.mark.parametrize("share, expected", [(0.0, {0.0}), (1.0, {1.0}), (0.5, {0.0, 1.0})])
def test_so_many_fakes_are_forged(make_lesson, share, expected):
    """Published fakes are darker than any other clip."""
    lines = [clip(shade=100), forged(0, 1, shade=100), clip("s", 1, shade=0)]
    lesson = make_lesson(*lines, presence=PICTURE, forged_share=share)
    shades = torch.cat([lesson.batch(step, 0, 1)["video"][4:, 0, 0, 16, 16] for step in range(4)])
    assert set((shades >= 95).float().tolist()) == expected


def test_where_nothing_was_forged_published_fakes_serve(make_lesson):
    lesson = make_lesson(clip(), clip("s", 1), presence=PICTURE, forged_share=1.0)
    assert lesson.batch(0, 0, 1)["video_fake"].tolist() == [0] * 4 + [1] * 4


def test_a_class_that_is_missing_is_named(make_lesson):
    with pytest.raises(ValueError, match="no fake sample with audio"):
        make_lesson(clip(), clip("s", 1), presence=SOUND)


def test_clips_without_one_window_to_judge_end_in_words(make_lesson):
    """The voice spans say that there is none, whatever the index promises."""
    lesson = make_lesson(clip(voice_s=[]), clip("s", 0, 1, voice_s=[]), presence=SOUND)
    with pytest.raises(ValueError, match="none had a window that can be judged"):
        lesson.batch(0, 0, 1)


def test_a_pair_is_degraded_alike_and_two_pairs_are_not(make_lesson, monkeypatch):
    draws = []
    lesson = make_lesson(clip(), forged(0, 1), presence=PICTURE)
    monkeypatch.setattr(lessons, "degrade_faces", lambda faces, rng: draws.append(rng.random()) or faces)
    lesson.batch(0, 0, 1)
    assert sorted(Counter(draws).values()) == [2, 2, 2, 2]


def test_a_share_of_the_pairs_is_degraded(make_lesson, monkeypatch):
    draws = []
    lesson = make_lesson(clip(), forged(0, 1), presence=PICTURE, degraded_share=0.25, batch=400)
    monkeypatch.setattr(lessons, "degrade_faces", lambda faces, rng: draws.append(rng) or faces)
    lesson.batch(0, 0, 1)
    assert 0.15 < len(draws) / 400 < 0.35


# ---- what is fitted before the first step -----------------------------------------------------------------------


def test_heads_start_from_a_fit_of_what_stands_beside(make_lesson, monkeypatch):
    """Planted: fakes are bright. Before any step the picture's head tells them; the sound's, which saw no fake, stays
    as it was made."""
    monkeypatch.setattr(lessons, "published_face_encoder", lambda: FaceEncoder(128))
    tiny = TinySSAVD.config
    monkeypatch.setattr(TinySSAVD, "config", replace(tiny, textures=True, beside=4, face_px=128))
    monkeypatch.setattr(TinySSAVD, "spec", replace(TinySSAVD.spec, face_px=128))
    lesson = make_lesson(*(clip("s", fake, shade=(20, 150)[fake] + 5 * number, side_px=128)
                           for fake in (0, 1) for number in range(6)), presence=PICTURE)
    model, batch = lesson.model.eval(), lesson.batch(0, 0, 1)
    with torch.no_grad():
        logit = model(batch["video"].float() / 255, None).video
    assert logit[4:].min() > 0 > logit[:4].max()
    assert model.head_audio.weight[:, :4].abs().sum() > 0


# ---- the same again ---------------------------------------------------------------------------------------------


def test_a_step_gives_the_same_batch_whatever_was_drawn_before_it(make_lesson):
    lesson = make_lesson(*corpus(), presence={"picture": 0.4, "sound": 0.3, "both": 0.3})
    forward = [lesson.batch(step, 0, 1) for step in range(4)]
    backward = [lesson.batch(step, 0, 1) for step in reversed(range(4))][::-1]
    assert all(same(a, b) for a, b in zip(forward, backward)) and not same(forward[0], forward[1])


@pytest.mark.parametrize("presence", [PICTURE, BOTH])
def test_processes_share_the_batch_that_one_alone_would_draw(make_lesson, presence):
    lesson = make_lesson(*corpus(), presence=presence)
    alone, shares = lesson.batch(3, 0, 1), [lesson.batch(3, rank, 2) for rank in range(2)]
    assert all(share["video_fake"].shape == (4,) for share in shares)
    pairs = torch.stack([share["video"].unflatten(0, (2, 2)) for share in shares], dim=2)  # class, pair, rank
    assert torch.equal(pairs.flatten(0, 2), alone["video"])


# ---- loss and checkpoint ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("presence, terms", [(PICTURE, {"video"}), (SOUND, {"audio"}),
    (BOTH, {"video", "audio", "whole"})])
def test_the_loss_reaches_what_the_batch_holds(make_lesson, presence, terms):
    lesson = make_lesson(*corpus(), presence=presence, train_filters=True).train()
    loss, parts = lesson(lesson.batch(0, 0, 1))
    loss.backward()
    assert parts.keys() == terms and torch.isfinite(loss)
    for name in ("video", "audio"):
        reached = getattr(lesson.model, f"head_{name}").weight.grad is not None
        assert reached == (name in terms)


def test_filters_that_are_kept_do_not_learn(make_lesson):
    lesson = make_lesson(*corpus(), presence=SOUND, train_filters=False).train()
    lesson(lesson.batch(0, 0, 1))[0].backward()
    assert all(p.grad is None for p in lesson.model.front_end.parameters())


def test_what_a_checkpoint_holds_is_what_the_detector_loads(make_lesson, write_samples):
    lesson = make_lesson(*corpus())
    state, card = lesson.weights(lesson.model), lesson.card()
    assert build(card).state_dict().keys() == state.keys()
    loaded, ours = load_detector(state, card), lesson.detector(lesson.model)
    assert loaded.spec == ours.spec == TinySSAVD.spec
    scored = lesson.scores(lesson.model, lesson.samples[:3], 1)
    again = [loaded.score(window) for window in (lessons.cut_window(s, TinySSAVD.spec, scores.start_s)
                                                 for s, scores in scored)]
    for (_, scores), other in zip(scored, again, strict=True):
        np.testing.assert_allclose(scores.video, other.video, rtol=1e-5)
        np.testing.assert_allclose(scores.whole, other.whole, rtol=1e-5)


def test_a_recipe_can_change_the_architecture(make_lesson):
    changed = make_lesson(*corpus(), fusion="concat", window=2, widths=(4, 8, 8, 8))
    assert (changed.config.fusion, changed.config.window, changed.config.widths) == ("concat", 2, (4, 8, 8, 8))
    assert changed.config.depths == TinySSAVD.config.depths and changed.card()["architecture"]["fusion"] == "concat"
    assert build(changed.card()).cfg == changed.config
