"""Batches from tiny samples: who is in them, with which labels, and the same ones again."""

from __future__ import annotations

from collections import Counter
from itertools import count, product
from math import nan

import numpy as np
import pytest
import torch

from detectors.contract import InputSpec
from media import GRID_HZ
from training.sampling import Batches, load_window, read_samples, split_sources

SPEC = InputSpec(window_s=1.0, hop_s=0.5, frames=4, face_px=32, audio_hz=16_000, modalities=("video", "audio"))
_numbers = count()


def line(source: str = "s", video_fake: float = 0.0, audio_fake: float = 0.0, **more) -> dict:
    return {"source": source, "video_fake": video_fake, "audio_fake": audio_fake,
            "identities": [f"person {next(_numbers)}"], **more}


def corpus_lines() -> list[dict]:
    """From each of two sources: genuine, false face, false voice, both false, a pair, sound alone, picture alone."""
    lines = []
    for source in ("a", "b"):
        lines += [
            line(source), line(source), line(source, 1, 0), line(source, 0, 1), line(source, 1, 1),
            line(source, 0, 0, pair=f"{source}1"), line(source, 1, nan, pair=f"{source}1"),
            line(source, nan, 0, faces=0), line(source, nan, 1, faces=0),
            line(source, 0, nan, samples=0, speech_s=0.0), line(source, 1, nan, samples=0, speech_s=0.0),
        ]
    return lines


@pytest.fixture
def make_batches(write_samples):
    def make(*lines: dict, kind: str = "picture", size: int = 8, **changes) -> Batches:
        samples = read_samples(write_samples(*lines or corpus_lines()))
        presence = {"picture": 0.0, "sound": 0.0, "both": 0.0} | {kind: 1.0}
        options = {"size": size, "seed": 1, "forged_share": 0.5, "presence": presence, "steps": 30} | changes
        return Batches(samples, SPEC, **options)

    return make


def rows_of(batches: Batches, kind: str, draws: int = 20) -> list[list]:
    return [batches._draw(kind, np.random.default_rng(seed)) for seed in range(draws)]


def same(a: dict, b: dict) -> bool:
    def known(value: torch.Tensor | None) -> torch.Tensor:
        return torch.zeros(0) if value is None else value.nan_to_num(-1)

    return a.keys() == b.keys() and all(torch.equal(known(a[k]), known(b[k])) for k in a)


# ---- reading and splitting ------------------------------------------------------------------------------------


def test_skipped_clips_are_left_out(write_samples):
    folder = write_samples(line(), line(skipped="The file is empty (0 bytes)."), line())
    samples = read_samples(folder)
    assert [s.file for s in samples] == ["0.mp4", "2.mp4"]
    assert all(s.tensors().keys() >= {"times_s", "waveform"} for s in samples)


@pytest.mark.parametrize("changes, picture, sound", [
    ({}, True, True),
    ({"faces": 37}, False, True), ({"faces": 38}, True, True),  # one and a half seconds at 25 a second: 37.5
    ({"speech_s": 0.49}, True, False), ({"speech_s": 0.5}, True, True),
    ({"video_fake": nan}, False, True), ({"audio_fake": nan}, True, False),
])
def test_a_sample_serves_for_what_it_holds_and_is_labelled_for(write_samples, changes, picture, sound):
    [sample] = read_samples(write_samples({**line(), **changes}))
    assert (sample.has_picture, sample.has_sound) == (picture, sound)


@pytest.mark.parametrize("share, seed", product((0.25, 0.5, 0.75), range(5)))
def test_development_shares_no_source_and_no_pair_with_training(write_samples, share, seed):
    sources = list("abcdefgh")
    lines = [line(source, fake, pair=f"{source}{i}") for source in sources for i in range(3) for fake in (0, 1)]
    samples = read_samples(write_samples(*lines))
    learn, dev = split_sources(samples, share, seed)
    assert len(learn) + len(dev) == len(samples)
    assert not {s.source for s in learn} & {s.source for s in dev}
    assert not {s.pair for s in learn} & {s.pair for s in dev}
    assert len({s.source for s in dev}) == share * len(sources)
    assert split_sources(samples, share, seed) == (learn, dev)


def test_a_pair_across_two_sources_goes_to_development_as_a_whole(write_samples):
    lines = [line("a", 0, pair="p"), line("b", 1, pair="p"), line("b", 0), line("a", 1)]
    samples = read_samples(write_samples(*lines))
    for seed in range(6):
        learn, dev = split_sources(samples, 0.5, seed)
        assert len([s for s in dev if s.pair == "p"]) == 2
        assert learn == [s for s in samples if s not in dev and s.pair == ""]


# ---- windows --------------------------------------------------------------------------------------------------


def test_picture_and_sound_of_a_window_are_of_the_same_moment(write_samples):
    """Faces are as bright as their number, sound as high as its tenth of a hundredth of a second."""
    [sample] = read_samples(write_samples(line(duration_s=4.0, shade=10)))
    begins = []
    for seed in range(20):
        faces, waveform = load_window(sample, SPEC, np.random.default_rng(seed), True, True)
        assert faces.shape == (4, 32, 32, 3) and waveform.shape == (16_000,) and waveform.dtype == np.float32
        face_s = (faces[:, 0, 0, 0].astype(float) - 10) / GRID_HZ
        sound_s = waveform[0] * 32767 / 100
        assert face_s[0] == pytest.approx(sound_s, abs=0.5 / GRID_HZ + 0.02)
        np.testing.assert_allclose(np.diff(face_s), 0.25, atol=1 / GRID_HZ + 1e-6)
        begins.append(sound_s)
    assert min(begins) < 0.8 and max(begins) > 2.2 and max(begins) <= 3.0  # all over the clip, and inside


def test_a_clip_shorter_than_a_window_is_used_whole(write_samples):
    spec = InputSpec(3.0, 1.5, 6, 32, 16_000, ("video", "audio"))
    [sample] = read_samples(write_samples(line(duration_s=1.8, shade=10)))
    faces, waveform = load_window(sample, spec, np.random.default_rng(0), True, True)
    np.testing.assert_allclose(faces[:, 0, 0, 0], 10 + 45 / 6 * np.arange(6), atol=1.5)
    assert waveform.shape == (48_000,) and waveform[28_799] == pytest.approx(179 / 32767)


def test_only_what_is_asked_for_is_loaded(write_samples):
    [sample] = read_samples(write_samples(line()))
    rng = np.random.default_rng(0)
    assert load_window(sample, SPEC, rng, False, True)[0] is None
    assert load_window(sample, SPEC, rng, True, False)[1] is None


def test_faces_are_brought_to_the_size_that_the_detector_reads(write_samples):
    [sample] = read_samples(write_samples(line(side_px=64, shade=10)))
    faces, _ = load_window(sample, SPEC, np.random.default_rng(0), True, False)
    assert faces.shape == (4, 32, 32, 3) and np.ptp(faces, axis=(1, 2, 3)).max() <= 1


# ---- who is in a batch ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("forged_share, forged", [(0.0, 0), (0.5, 2), (1.0, 4)])
@pytest.mark.parametrize("kind", ["picture", "both"])
def test_half_is_genuine_and_half_fake_of_which_a_share_is_forged(make_batches, kind, forged_share, forged):
    batches = make_batches(kind=kind, forged_share=forged_share)
    for rows in rows_of(batches, kind):
        genuine = [s for s, forge in rows
                   if not forge and s.video_fake == 0 and (kind == "picture" or s.audio_fake == 0)]
        assert len(rows) == 8 and len(genuine) == 4
        originals = [s for s, forge in rows if forge]
        assert len(originals) == forged
        assert not Counter(s.file for s in originals) - Counter(s.file for s in genuine)  # each of this batch, once


def test_sound_is_never_forged_and_half_fake(make_batches):
    for rows in rows_of(make_batches(kind="sound"), "sound"):
        assert Counter(s.audio_fake for s, forge in rows) == {0.0: 4, 1.0: 4}
        assert not any(forge for s, forge in rows)


def test_each_published_fake_brings_the_genuine_clip_of_its_pair(make_batches):
    paired = 0
    for rows in rows_of(make_batches(), "picture", 40):
        fakes = Counter(s.pair for s, forge in rows if s.video_fake == 1 and s.pair)
        genuine = Counter(s.pair for s, forge in rows if s.video_fake == 0 and s.pair and not forge)
        assert not fakes - genuine
        paired += len(fakes)
    assert paired > 10


def test_only_samples_with_the_needed_modality_are_drawn(make_batches):
    batches = make_batches()
    for kind in ("picture", "sound", "both"):
        for rows in rows_of(batches, kind):
            assert all(s.faces for s, _ in rows) or kind == "sound"
            assert all(s.speech_s for s, _ in rows) or kind == "picture"


def test_a_large_source_weighs_by_the_square_root_of_its_size(make_batches):
    """16 genuine clips of one page against 1 of another: four to one, not sixteen to one."""
    lines = [line("large") for _ in range(16)] + [line("small"), line("small", 1)]
    drawn = Counter(s.source for rows in rows_of(make_batches(*lines, forged_share=1.0), "picture", 250)
                    for s, forge in rows if not forge)
    assert drawn["large"] / drawn["small"] == pytest.approx(4, rel=0.25)


# ---- the tensors ----------------------------------------------------------------------------------------------


def test_a_picture_batch_has_no_sound_and_no_labels_for_it(make_batches):
    batch = make_batches(kind="picture")[0]
    assert batch["audio"] is None and batch["audio_fake"].isnan().all()
    assert batch["video"].shape == (8, 4, 3, 32, 32) and batch["video"].dtype == torch.uint8
    assert batch["video_fake"].tolist() == [0] * 4 + [1] * 4


def test_a_sound_batch_has_no_picture_and_no_labels_for_it(make_batches):
    batch = make_batches(kind="sound")[0]
    assert batch["video"] is None and batch["video_fake"].isnan().all()
    assert batch["audio"].shape == (8, 16_000) and batch["audio"].dtype == torch.float32
    assert batch["audio_fake"].tolist() == [0] * 4 + [1] * 4


def test_a_batch_of_both_keeps_unknown_labels_unknown(make_batches):
    """A false face whose sound nobody labelled: its sound is shown, but teaches nothing."""
    lines = [line("a"), line("b"), line("a", 1, nan), line("b", 1, nan)]
    batch = make_batches(*lines, kind="both", forged_share=0.0)[0]
    assert batch["video"] is not None and batch["audio"] is not None
    assert batch["video_fake"].tolist() == [0] * 4 + [1] * 4
    assert batch["audio_fake"][:4].tolist() == [0] * 4 and batch["audio_fake"][4:].isnan().all()


def test_a_forged_face_is_fake_while_its_voice_stays_genuine(make_batches):
    batch = make_batches(kind="both", forged_share=1.0)[0]
    assert batch["video_fake"].tolist() == [0] * 4 + [1] * 4 and batch["audio_fake"].tolist() == [0] * 8


def test_presence_kinds_come_in_their_shares(make_batches):
    presence = {"picture": 0.5, "sound": 0.3, "both": 0.2}
    batches = make_batches(size=4, presence=presence, steps=60)
    kinds = Counter((b["video"] is not None, b["audio"] is not None) for b in map(batches.__getitem__, range(60)))
    assert set(kinds) == {(True, False), (False, True), (True, True)}
    assert kinds[True, False] > kinds[True, True]


# ---- the same again -------------------------------------------------------------------------------------------


def test_a_step_gives_the_same_batch_whatever_was_drawn_before_it(make_batches):
    batches = make_batches(presence={"picture": 0.4, "sound": 0.3, "both": 0.3})
    forward = [batches[step] for step in range(6)]
    backward = [batches[step] for step in reversed(range(6))][::-1]
    assert all(same(a, b) for a, b in zip(forward, backward))
    assert not same(forward[0], forward[1])


def test_another_seed_gives_other_batches(write_samples):
    samples = read_samples(write_samples(*corpus_lines()))
    options = {"size": 8, "forged_share": 0.5, "presence": {"picture": 1.0, "sound": 0.0, "both": 0.0}, "steps": 4}
    first, again, other = (Batches(samples, SPEC, seed=seed, **options)[2] for seed in (1, 1, 2))
    assert same(first, again) and not same(first, other)
    assert len(Batches(samples, SPEC, seed=1, **options)) == 4


def test_processes_that_train_together_get_one_presence_and_different_clips(make_batches):
    batches = make_batches(presence={"picture": 0.5, "sound": 0.5, "both": 0.0}, ranks=2, steps=10)
    assert len(batches) == 20
    for step in range(10):
        one, two = batches[2 * step], batches[2 * step + 1]
        assert (one["video"] is None) == (two["video"] is None)
        assert not same(one, two)
