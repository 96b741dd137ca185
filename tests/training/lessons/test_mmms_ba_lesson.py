"""The lesson of MMMS-BA: what it draws, what it calls fake, and that cached features are those of the app."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from detectors import mmms_ba
from detectors.checkpoint import save_checkpoint
from detectors.encoders import FaceEncoder, SpeechEncoder, to_half
from detectors.mmms_ba import SHIPPED, Features
from detectors.sync import SyncConfig, SyncPair
from detectors.windows import cut_windows
from training import recipe as recipes
from training.encode import ENCODERS, describe, encode_sample
from training.lessons.mmms_ba import PICTURE, MMMSBALesson, MMMSBARecipe, cut_clip, levelled
from training.pretrained import load_encoders
from training.recipe import read_recipes
from training.sampling import read_samples
from training.shards import Packed, pack_pictures, write_shard

RECIPE = Path(recipes.__file__).parent / "recipes" / "mmms_ba.yaml"
SEQUENCES, WINDOW_S = 6, 1.92
NAN = float("nan")
USUAL = {"split": "train", "family": "", "method": "", "source": "a", "identities": ["i"], "pair": "", "forged": "",
         "video_fake": 0.0, "audio_fake": 0.0, "sync_fake": 0.0, "spans": [], "blocks": [], "reasons": []}


class TinyLesson(MMMSBALesson):
    shipped = replace(SHIPPED, sequences=SEQUENCES, hidden=4, dense=4, components=6, dropout=0.0, input_dropout=0.0)


pytestmark = pytest.mark.usefixtures("one_thread_one_seed")


@pytest.fixture(scope="module")
def encoders(tmp_path_factory) -> Path:
    """A folder with three encoders of random weights."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("encoders")
    for name, encoder in (("face", FaceEncoder()), ("speech", SpeechEncoder())):
        save_checkpoint(folder / f"{name}_encoder.safetensors", to_half(encoder.state_dict()), {})
    pair = SyncPair(SyncConfig(lip_widths=(4, 4, 4, 4), sound_widths=(4, 4, 4), dim=4))
    architecture = {"lip_widths": [4, 4, 4, 4], "sound_widths": [4, 4, 4], "dim": 4}
    save_checkpoint(folder / "sync.safetensors", pair.state_dict(), {"architecture": architecture})
    return folder


def recipe(encoders: Path, **changes) -> MMMSBARecipe:
    values = yaml.safe_load(RECIPE.read_text())
    values["lesson"] |= {"encoders": str(encoders), "pair": str(encoders / "sync.safetensors")}
    for name, value in {"batch": 8, **changes}.items():
        (values["lesson"] if name in values["lesson"] else values)[name] = value
    return MMMSBARecipe.model_validate(values)


def write_encoded(encoders: Path, folder: Path, *lines: dict) -> Path:
    """Encoded shards of these index lines: random faces and speech, noise, and lips of one grey each."""
    packed = []
    for number, given in enumerate(lines):
        name, duration_s = f"{number}.mp4", given.get("duration_s", 3.2)
        line = {**USUAL, "duration_s": duration_s, "file": name, "group": name, "key": str(number), **given}
        line = {"faces": round(25 * duration_s), "samples": round(16_000 * duration_s), "speech_s": duration_s,
                "voice_s": [[0.0, duration_s]], **line}
        rng = np.random.default_rng(number)
        tensors = {}
        if line["faces"]:
            steps = np.arange(line["faces"])
            lips = np.broadcast_to(rng.integers(0, 256, (len(steps), 1, 1, 1), np.uint8), (len(steps), 48, 48, 3))
            times_s = np.arange(0, duration_s, 0.32)
            tensors |= {"times_s": steps / 25, **pack_pictures("lips", lips, "jpeg"), "face_times_s": times_s,
                        "faces": rng.normal(size=(len(times_s), FaceEncoder.rows, FaceEncoder.dim)).astype(np.float16)}
        if line["samples"]:
            tensors |= {"waveform": rng.integers(-3000, 3000, line["samples"]).astype(np.int16),
                        "speech": rng.normal(size=(line["samples"] // 320, 200)).astype(np.float16)}
        packed.append(Packed(line, tensors))
    folder.mkdir()
    write_shard(folder / "tiny-000000.tar", packed)
    (folder / ENCODERS).write_text(json.dumps(describe(*load_encoders(encoders))))
    return folder


SILENT, FACELESS = {"samples": 0, "speech_s": 0.0, "voice_s": []}, {"faces": 0, "blocks": ["video"]}
SWAP = {"forged": "swap", "video_fake": 1.0, "spans": [["video", 1.0, 2.0]]}
SHIFT = {"forged": "shifted_sound", "sync_fake": 1.0, "spans": [["sync", 0.0, 3.2]]}


@pytest.fixture(scope="module")
def taught(encoders, tmp_path_factory):
    """A lesson: a genuine clip with a swap and a shift made of it, two without sound, two without a face."""
    folder = write_encoded(
        encoders, tmp_path_factory.mktemp("samples") / "encoded",
        {"group": "g"}, {"group": "g", **SWAP}, {"group": "g", **SHIFT},
        {"source": "b", **SILENT}, {"source": "b", "video_fake": 1.0, **SILENT},
        {"source": "c", "video_fake": None, **FACELESS},
        {"source": "c", "video_fake": None, "audio_fake": 1.0, **FACELESS})
    torch.manual_seed(0)
    return TinyLesson(recipe(encoders), read_samples(folder))


def test_the_committed_recipe_is_valid():
    [found] = read_recipes(RECIPE, MMMSBARecipe)
    assert found.detector == "mmms_ba"


@pytest.mark.parametrize("part, value", [
    ("shares", {"forged": 1.0, "published": 0.5, "sound": 0.0}), ("attention", "none"),
    ("hiding", {"face": 0.5, "lips": 0.6, "picture": 0.0, "audio": 0.0, "seconds": 0.0})])
def test_senseless_recipes_are_refused(encoders, part, value):
    with pytest.raises(ValueError):
        recipe(encoders, **{part: value})


# --- batches


def test_batches_follow_from_seed_step_and_rank(taught):
    whole = taught.batch(3, 0, 1)
    torch.testing.assert_close(whole, taught.batch(3, 0, 1), rtol=0, atol=0, equal_nan=True)
    assert not torch.equal(whole["face"], taught.batch(4, 0, 1)["face"])
    shared = [taught.batch(3, rank, 2) for rank in (0, 1)]
    assert whole["face"].shape == (8, SEQUENCES, 4 * 144) and whole["face"].dtype == torch.float16
    for name, value in whole.items():  # rank 0 has pairs 0 and 2, rank 1 pairs 1 and 3; genuine ones come first
        together = torch.stack([shared[rank][name][row] for row in range(4) for rank in (0, 1)])
        torch.testing.assert_close(together, value, equal_nan=True)


def test_half_of_a_batch_is_genuine_and_lacks_what_its_fakes_lack(taught):
    seen = set()
    for step in range(20):
        batch = taught.batch(step, 0, 1)
        assert not (batch["true_whole"][:4] == 1).any()
        there = [tuple(bool(batch[f"{part}_there"][row].any()) for part in ("face", "lips", "audio"))
                 for row in range(8)]
        assert there[:4] == there[4:]
        seen |= set(there)
    assert {(True, True, True), (True, True, False), (False, False, True)} <= seen
    assert (False, False, False) not in seen


def test_of_two_unequal_windows_only_what_both_have_is_left(taught):
    talk, silent, faceless = (taught._cut(taught.samples[row], 0.0) for row in (0, 3, 5))
    for other, gone, kept in ((silent, "audio", "face"), (faceless, "face", "audio")):
        for window in levelled([talk, other]):
            assert not window[f"{gone}_there"].any() and window[f"{kept}_there"].all()
    assert talk["audio_there"].all() and talk["face_there"].all()  # left as it was
    assert not any(mask.any() for window in levelled([silent, faceless])
                   for name, mask in window.items() if name.endswith("_there"))


def test_hiding_is_alike_and_leaves_something(taught):
    for part, gone in (("face", {"face"}), ("lips", {"lips", "lip_steps"}), ("picture", set(PICTURE)),
                       ("audio", {"audio"})):
        taught_here = with_hiding(taught, part)
        both = [taught._cut(taught.samples[row], 0.0) for row in (0, 1)]
        left = taught_here._hide(both, np.random.default_rng(0))
        for window, before in zip(left, both):
            for name in ("face", "lips", "lip_steps", "audio"):
                expected = np.zeros_like(before[f"{name}_there"]) if name in gone else before[f"{name}_there"]
                np.testing.assert_array_equal(window[f"{name}_there"], expected)
    silent = [taught._cut(taught.samples[row], 0.0) for row in (3, 4)]
    assert with_hiding(taught, "picture")._hide(silent, np.random.default_rng(0)) is silent


def with_hiding(lesson: TinyLesson, part: str) -> TinyLesson:
    """The same lesson, which hides this part every time."""
    other = object.__new__(TinyLesson)
    other.__dict__.update(lesson.__dict__)
    chances = dict.fromkeys(("face", "lips", "picture", "audio", "seconds"), 0.0) | {part: 1.0}
    hiding = type(lesson.recipe.lesson.hiding)(**chances)
    other.recipe = lesson.recipe.model_copy(
        update={"lesson": lesson.recipe.lesson.model_copy(update={"hiding": hiding})})
    return other


def test_seconds_without_a_face_are_one_run(taught):
    lesson = with_hiding(taught, "seconds")
    for seed in range(5):
        [left] = lesson._hide([taught._cut(taught.samples[0], 0.0)], np.random.default_rng(seed))
        lost = np.flatnonzero(~left["face_there"])
        assert 0 < len(lost) < SEQUENCES and len(lost) == lost[-1] - lost[0] + 1
        assert not left["lips_there"][lost].any() and left["audio_there"].all()


# --- truth


def test_truth_of_a_partial_fake(taught):
    window = taught._cut(taught.samples[1], 0.64)
    truth = taught._targets(taught.samples[1], 0.64, window)
    # Sequences from 0.64 on. Fake from 1.0 to 2.0: the first is cut (0.28 of 0.32 s are too short), then three whole
    # ones, then 1.92 to 2.24 holds 0.08 s.
    np.testing.assert_array_equal(truth["true_whole"], [0, NAN, 1, 1, NAN, 0])
    np.testing.assert_array_equal(truth["true_video"], truth["true_whole"])
    assert not truth["true_audio"].any()
    np.testing.assert_allclose(truth["true_spans"][2:4], [[0.36, 1.36]] * 2, atol=1e-6)
    assert np.isnan(truth["true_spans"][[0, 1, 4, 5]]).all()


def test_what_is_not_there_does_not_make_a_clip_fake(taught):
    swap, shift = taught.samples[1], taught.samples[2]
    window = taught._cut(swap, 0.64)
    unseen = window | {f"{part}_there": np.zeros_like(window[f"{part}_there"]) for part in PICTURE}
    truth = taught._targets(swap, 0.64, unseen)
    assert not truth["true_whole"].any() and np.isnan(truth["true_spans"]).all()
    assert taught._targets(shift, 0.0, taught._cut(shift, 0.0))["true_whole"].all()
    unheard = taught._cut(shift, 0.0) | {"audio_there": np.zeros(SEQUENCES, bool)}
    assert not taught._targets(shift, 0.0, unheard)["true_whole"].any()
    unheard |= {f"{part}_there": np.zeros_like(unheard[f"{part}_there"]) for part in PICTURE}
    assert np.isnan(taught._targets(shift, 0.0, unheard)["true_whole"]).all()


def test_a_fake_without_spans_is_one_span_as_long_as_the_window(taught):
    published = taught.samples[4]
    truth = taught._targets(published, 1.28, taught._cut(published, 1.28))
    assert truth["true_whole"].tolist() == [1] * 6
    np.testing.assert_allclose(truth["true_spans"], [[0.0, WINDOW_S]] * 6, atol=1e-6)


def test_windows_without_voice_are_without_sound(taught):
    mute = replace(taught.samples[0], voice_s=((0.0, 0.2),))
    assert taught._cut(taught.samples[0], 0.0)["audio_there"].all()
    assert not taught._cut(mute, 0.0)["audio_there"].any()


def test_after_the_end_of_a_clip_nothing_is_there(taught):
    window = cut_clip(taught.clip(taught.samples[0]), 8, SEQUENCES)
    assert window["face_there"].tolist() == window["audio_there"].tolist() == [True, True] + [False] * 4
    assert not window["face"][2:].any()


# --- learning


def test_a_step_moves_the_network_and_not_the_encoders(taught):
    taught.train()
    taught.zero_grad()
    loss, parts = taught(taught.batch(0, 0, 1))
    loss.backward()
    assert {"class", "boundary", "video", "audio"} <= parts.keys() and loss.isfinite()
    moved = {name for name, p in taught.model.named_parameters() if p.grad is not None and p.grad.any()}
    assert {"head_class.weight", "head_boundary.weight", "contexts.face.ahead.weight_ih_l0"} <= moved
    assert not any(name.startswith("encoder.") for name in moved)
    taught.zero_grad()


def test_features_are_whitened(taught):
    face = taught.model.contexts["face"].whiten
    assert face.mean.any() and face.scale.mean() == pytest.approx(1.0, abs=0.2)  # they were drawn from N(0, 1)
    known = np.concatenate([taught.clip(s)["face"][taught.clip(s)["face_there"]] for s in taught.samples])
    assert abs(face(torch.from_numpy(known).float()).mean()) < 0.1


def test_variants_and_subsets_learn_from_the_same_samples(encoders, taught):
    lesson = TinyLesson(recipe(encoders, attention="ms-sa", parts=["face", "lips"]), taught.samples)
    batch = lesson.batch(0, 0, 1)
    assert "audio" not in batch and lesson.loss(batch)[0].isfinite()
    assert lesson.config.attention == "ms-sa" and not lesson.config.agreement


def test_one_class_alone_teaches_nothing(encoders, taught):
    with pytest.raises(ValueError, match="no fake sample"):
        TinyLesson(recipe(encoders), [taught.samples[0]])


# --- what comes of it


def test_the_checkpoint_is_the_detector(taught):
    weights = taught.weights(taught.model)
    assert weights["encoder.face.conv_stem.weight"].dtype == torch.float16
    assert weights["head_class.weight"].dtype == torch.float32
    card = json.loads(json.dumps({**taught.card(), "recipe": taught.recipe.model_dump()}))
    judge = mmms_ba.load_detector(weights, card)
    for name, value in judge.model.state_dict().items():
        tolerance = 1e-3 if name.startswith("encoder.") else 0.0
        assert torch.allclose(value, taught.model.state_dict()[name], atol=tolerance, rtol=tolerance), name


def test_held_out_clips_are_scored_from_their_features(taught):
    scored = taught.scores(taught.model, taught.samples, windows=2)
    assert [sample.key for sample, _ in scored] == [sample.key for sample in taught.samples]
    talk, faceless = scored[0][1], scored[5][1]
    assert talk.start_s[0] == 0 and np.isfinite(talk.whole).all() and talk.proposals is not None
    assert np.isnan(faceless.video).all() and np.isfinite(faceless.audio).all()


def test_cached_features_are_those_of_the_app(encoders, taught, tmp_path):
    """A clip shorter than the window, encoded by training.encode and read here, against the network's own encoders."""
    rng = np.random.default_rng(0)
    frames, samples, duration_s = 40, 25_600, 1.6
    crops = [rng.integers(0, 256, (frames, side, side, 3), np.uint8) for side in (160, 48)]
    crops[0][:] = crops[0][::8].repeat(8, axis=0)
    line = {**USUAL, "duration_s": duration_s, "file": "x", "group": "x", "key": "x", "faces": frames,
            "samples": samples, "speech_s": duration_s, "voice_s": [[0.0, duration_s]]}
    tensors = {"times_s": np.arange(frames) / 25, **pack_pictures("faces", crops[0], "jpeg"),
               **pack_pictures("lips", crops[1], "jpeg"),
               "waveform": (rng.normal(size=samples) * 3000).astype(np.int16)}
    encoder = taught.model.encoder
    with torch.inference_mode():
        encoded = encode_sample(tensors, encoder.face, encoder.speech)
    for name, content in (("shards", tensors), ("encoded", encoded)):
        (tmp_path / name).mkdir()
        write_shard(tmp_path / name / "one-000000.tar", [Packed(line, content)])
    [sample], [cached] = read_samples(tmp_path / "shards"), read_samples(tmp_path / "encoded")

    [windows] = cut_windows(sample.clip(), taught.spec)
    inputs = mmms_ba.to_inputs(windows, np.array([0]), torch.device("cpu"))
    with torch.no_grad():
        of_app = taught.model.encode(inputs)
    for name, kept in taught.clip(cached).items():
        theirs = getattr(of_app, name)[0].float().numpy()
        rows = slice(0, 6 if name.endswith("_there") else 5)  # what stands where nothing is does not matter
        np.testing.assert_allclose(kept[rows].astype(np.float32), theirs[rows], atol=0.02, rtol=0.01, err_msg=name)
    assert of_app.audio_there.tolist() == [[True] * 5 + [False]]
    assert set(taught.clip(cached)) == set(Features._fields)
    detector = taught.detector(taught.model)
    [(_, from_cache)] = taught.scores(taught.model, [cached], windows=1)
    np.testing.assert_allclose(from_cache.whole, detector.score(windows).whole, atol=0.02)
