"""The lesson of MIS-AVoiDD on tiny encoded samples: what a batch is, and that the features are those of the app."""

from __future__ import annotations

import json
from dataclasses import replace
from math import nan
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from detectors.encoders import FaceEncoder, SpeechEncoder, to_half
from detectors.mis_avoidd import SHIPPED_SPEC, load_detector
from detectors.scoring import to_inputs
from detectors.windows import cut_windows
from training.encode import ENCODERS, describe, encode_sample
from training.lessons import mis_avoidd as lessons
from training.lessons.mis_avoidd import MISAVoiDDLesson, MISAVoiDDRecipe, cut_features, read_clip, to_features
from training.metrics import auc
from training.sampling import read_samples
from training.shards import Packed, pack_pictures, write_shard

COMMITTED = Path(lessons.__file__).parent.parent / "recipes" / "mis_avoidd.yaml"
TINY = {"steps": 4, "batch": 8, "seed": 3}
USUAL = {
    "split": "train", "family": "real", "method": "", "source": "s", "identities": ["i"], "pair": "", "spans": [],
    "video_fake": 0.0, "audio_fake": 0.0, "sync_fake": 0.0, "forged": "", "blocks": [], "duration_s": 5.12,
}


pytestmark = pytest.mark.usefixtures("one_thread_one_seed")


@pytest.fixture(scope="module")
def encoders():
    """Weights are random, and such as half precision holds."""
    torch.manual_seed(0)
    pair = FaceEncoder().eval(), SpeechEncoder().eval()
    for encoder in pair:
        encoder.load_state_dict(to_half(encoder.state_dict()))
    return pair


@pytest.fixture
def write_encoded(tmp_path, encoders, monkeypatch):
    """write(line, ...) -> samples. Features are noise of the sample's own, around `shade` in the faces."""
    monkeypatch.setattr(lessons, "published_encoders", lambda: encoders)

    def write(*lines: dict):
        folder = tmp_path / "encoded"
        folder.mkdir()
        packed = []
        for number, given in enumerate(lines):
            shade, seen = given.pop("shade", 0.0), given.pop("face", True)
            line = USUAL | {"file": f"{number}.mp4", "group": f"{number}.mp4", "key": f"{number:016x}-0"} | given
            length_s = line["duration_s"]
            line = {"voice_s": [[0.0, length_s]], "faces": 25 * length_s * seen, "samples": round(16_000 * length_s),
                    **line}
            line["speech_s"] = sum(end_s - start_s for start_s, end_s in line["voice_s"])
            line |= {name: None for name in ("video_fake", "audio_fake", "sync_fake") if line[name] != line[name]}
            packed.append(Packed(line, features(line, shade, np.random.default_rng(number))))
        write_shard(folder / "tiny-000000.tar", packed)
        (folder / ENCODERS).write_text(json.dumps(describe(*encoders)))
        return read_samples(folder)

    return write


def features(line: dict, shade: float, rng: np.random.Generator) -> dict[str, np.ndarray]:
    tensors = {}
    if line["faces"]:
        steps = np.arange(int(line["duration_s"] / 0.32))
        times_s = np.arange(int(line["faces"])) / 25
        lips = rng.integers(0, 256, (len(times_s), 16, 16, 3), dtype=np.uint8)
        tensors |= {"face_times_s": steps * 0.32, "times_s": times_s, **pack_pictures("lips", lips, "jpeg"),
                    "faces": (shade + rng.standard_normal((len(steps), FaceEncoder.rows, FaceEncoder.dim))).astype(
                        "f2")}
    if line["samples"]:
        tensors |= {"waveform": rng.integers(-3000, 3000, line["samples"]).astype(np.int16),
                    "speech": rng.standard_normal((line["samples"] // 320, SpeechEncoder.dim)).astype("f2")}
    return tensors


def group(source: str, **fake) -> list[dict]:
    """A genuine clip and what was forged from it."""
    of = {"source": source, "group": source}
    return [{**of}, {**of, "forged": "f", "sync_fake": nan, **fake}]


def four_kinds() -> list[dict]:
    return [*group("a", video_fake=1.0, shade=1.0), *group("b", audio_fake=1.0),
            *group("c", video_fake=1.0, audio_fake=1.0, shade=1.0)]


def make(samples, kind: str = "", lesson: dict | None = None, **changes) -> MISAVoiDDLesson:
    """The lesson of the committed recipe, made tiny; with batches of one kind where it is given."""
    given = yaml.safe_load(COMMITTED.read_text()) | TINY | changes
    given["lesson"] |= {"encoders": None, "forged_share": 1.0, **(lesson or {})}
    if kind:
        given["lesson"]["presence"] = {"picture": 0.0, "sound": 0.0, "both": 0.0} | {kind: 1.0}
    return MISAVoiDDLesson(MISAVoiDDRecipe.model_validate(given), samples)


@pytest.fixture(autouse=True)
def few_components(monkeypatch):
    monkeypatch.setattr(lessons, "SHIPPED", replace(lessons.SHIPPED, face_components=3, speech_components=3))


# ---- features -------------------------------------------------------------------------------------------------


def test_cached_features_are_what_the_model_encodes_of_the_same_window(tmp_path, encoders):
    """From the same prepared sample, a short one: cut and encoded as in the app, or encoded and cut as in training."""
    rng, duration_s = np.random.default_rng(0), 2.1
    frames, samples = int(25 * duration_s), int(16_000 * duration_s)
    shades = rng.integers(0, 256, (frames, 4, 4, 3), dtype=np.uint8).repeat(8, axis=1).repeat(8, axis=2)
    shown = np.arange(frames) % 40 < 30  # the face is lost for a while
    prepared = {"times_s": np.arange(frames)[shown] / 25, **pack_pictures("faces", shades[shown], "jpeg"),
                **pack_pictures("lips", shades[shown][:, :16, :16], "jpeg"),
                "waveform": rng.integers(-3000, 3000, samples).astype(np.int16)}
    line = USUAL | {"file": "x", "group": "x", "key": "0-0", "duration_s": duration_s, "faces": int(shown.sum()),
                    "samples": samples, "speech_s": duration_s, "voice_s": [[0.0, duration_s]]}
    for name, tensors in (("plain", prepared), ("encoded", None)):
        (tmp_path / name).mkdir()
        with torch.inference_mode():
            tensors = encode_sample(prepared, *encoders) if tensors is None else tensors
        write_shard(tmp_path / name / "x.tar", [Packed(line, tensors)])
    [plain], [encoded] = (read_samples(tmp_path / name) for name in ("plain", "encoded"))

    spec = replace(SHIPPED_SPEC, lips=6, lips_px=12)
    windows = cut_windows(plain.clip(), spec, np.array([0.0]))[0]
    assert windows.has_face[0] and windows.has_audio[0] and not windows.face_seen.all()
    model = lessons.MISAVoiDD(replace(lessons.SHIPPED, lips=6, lips_px=12), encoders[0], encoders[1])
    with torch.inference_mode():
        expected = model.eval().encode(to_inputs(windows, np.array([0]), torch.device("cpu")))
        clip = read_clip(encoded, model.bank, model.cfg)
        told = to_features(cut_features([(clip, 0)], spec, "both"))
        places = clip.places(np.array([0]), spec)
        assert places.has_face[0] and places.has_voice[0]
        assert torch.equal(told.face_seen, expected.face_seen) and torch.equal(told.lips_seen, expected.lips_seen)
        assert torch.equal(told.bands_seen, expected.bands_seen)
        seen = told.face_seen[..., None]
        torch.testing.assert_close(told.faces.float() * seen, expected.faces * seen, atol=5e-3, rtol=5e-3)
        inside = told.bands_seen[..., None]
        torch.testing.assert_close(told.bands.float() * inside, expected.bands * inside, atol=2e-2, rtol=1e-3)
        torch.testing.assert_close(told.speech.float(), expected.speech, atol=5e-3, rtol=5e-3)
        torch.testing.assert_close(told.lips, expected.lips)
        torch.testing.assert_close(model.tell(told).whole, model.tell(expected).whole, atol=2e-2, rtol=2e-2)


def test_a_window_holds_what_lies_in_it(write_encoded):
    [sample] = write_encoded({"duration_s": 6.4})
    spec, bank = SHIPPED_SPEC, lessons.filter_bank("linear", 64)
    clip = read_clip(sample, bank, lessons.SHIPPED)
    cut = cut_features([(clip, 0), (clip, 8)], spec, "both")
    assert cut["faces"].dtype == cut["bands"].dtype == cut["speech"].dtype == torch.float16 and cut["lips"] is None
    assert torch.equal(cut["faces"][1], torch.from_numpy(clip.faces[8:20]))
    assert torch.equal(cut["speech"][1], torch.from_numpy(clip.speech[128:320]))
    sound = torch.from_numpy(sample.tensors()["waveform"][8 * 5120:][:spec.samples].astype(np.float32) / 32767)
    torch.testing.assert_close(cut["bands"][1].float(), lessons.log_bands(sound[None], bank)[0], atol=2e-2, rtol=1e-3)
    assert clip.all_starts(spec).tolist() == list(range(9))  # (6.4 - 3.84) / 0.32 + 1


def test_windows_without_face_or_voice_are_not_judged(write_encoded):
    silent, faceless, blocked = write_encoded({"voice_s": [[0.0, 0.6]], "duration_s": 6.4}, {"face": False},
                                              {"blocks": ["video"]})
    bank = lessons.filter_bank("linear", 64)
    places = read_clip(silent, bank, lessons.SHIPPED).places(np.array([0, 1, 2]), SHIPPED_SPEC)
    assert places.has_voice.tolist() == [True, False, False]  # 0.6, 0.28 and 0 s of voice
    assert places.has_face.all()
    for sample in (faceless, blocked):
        places = read_clip(sample, bank, lessons.SHIPPED).places(np.array([0]), SHIPPED_SPEC)
        assert not places.has_face[0] and places.has_voice[0]


# ---- batches --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["picture", "sound", "both"])
def test_a_batch_shows_what_its_kind_has_and_nothing_of_the_rest(write_encoded, kind):
    batch = make(write_encoded(*four_kinds()), kind).batch(0, 0, 1)
    picture, sound = kind != "sound", kind != "picture"
    assert (batch["faces"] is not None) == picture and (batch["bands"] is not None) == (batch["speech"] is not None)
    assert (batch["bands"] is not None) == sound and batch["lips"] is None
    if picture:
        assert batch["faces"].shape == (8, 12, 4 * 144)
    assert batch["video_fake"].isnan().all() == (not picture) and batch["audio_fake"].isnan().all() == (not sound)
    genuine = torch.arange(8) % 2 == 0
    shown = [batch[f"{name}_fake"] for name, there in (("video", picture), ("audio", sound)) if there]
    assert ((torch.stack(shown) == 0).all(0) == genuine).all() and ((torch.stack(shown) == 1).any(0) != genuine).all()
    assert (batch["sync_fake"][genuine] == 0).all() if kind == "both" else batch["sync_fake"].isnan().all()


def test_a_fake_stands_beside_its_original_at_the_same_moment(write_encoded):
    samples = write_encoded(*[line | {"duration_s": 9.6} for line in four_kinds()])
    lesson, starts = make(samples, "picture"), set()
    for seed in range(30):
        (real, real_start), (fake, fake_start) = lesson._pools["picture"].draw_pair(np.random.default_rng(seed), 1.0)
        assert real.group == fake.group and real.video_fake == 0 and fake.video_fake == 1 and real_start == fake_start
        starts.add(fake_start)
    assert len(starts) > 5 and max(starts) <= 18  # all over the clip, and inside


def test_a_window_of_a_partial_fake_holds_what_is_fake(write_encoded):
    samples = write_encoded(*(line | {"duration_s": 12.8} for line in group("a", video_fake=1.0,
                                                                          spans=[["video", 8.0, 9.6]])))
    lesson = make(samples, "picture")
    for step in range(5):
        batch = lesson.batch(step, 0, 1)
        assert batch["video_fake"].tolist() == [0.0, 1.0] * 4
    drawn = {lesson._pools["picture"].draw_pair(np.random.default_rng(seed), 1.0)[1][1] for seed in range(60)}
    least_s = 0.25 * 3.84  # of the window must be fake
    assert min(drawn) * 0.32 + 3.84 >= 8.0 + least_s and max(drawn) * 0.32 <= 9.6 - least_s


def test_borrowed_sound_is_no_genuine_clip_of_both(write_encoded):
    borrowed = {"source": "z", "forged": "swapped_sound", "sync_fake": 1.0}
    samples = write_encoded(*group("a", video_fake=1.0), *[borrowed] * 3)
    lesson = make(samples, "both")
    for seed in range(20):
        assert lesson._pools["both"].draw_pair(np.random.default_rng(seed), 1.0)[0][0].sync_fake == 0


def test_published_fakes_and_forgeries_come_in_their_shares(write_encoded):
    published = {"source": "p", "video_fake": 1.0, "sync_fake": nan}
    pools = make(write_encoded(*group("a", video_fake=1.0), published), "picture")._pools["picture"]
    drawn = [pools.draw_pair(np.random.default_rng(seed), 0.25)[1][0].forged for seed in range(400)]
    assert drawn.count("f") / 400 == pytest.approx(0.25, abs=0.07)
    assert all(pools.draw_pair(np.random.default_rng(seed), 0.0)[1][0].forged == "" for seed in range(10))


def same(a: dict, b: dict) -> bool:
    def known(value):
        return torch.zeros(0) if value is None else value.float().nan_to_num(-1)

    return a.keys() == b.keys() and all(torch.equal(known(a[k]), known(b[k])) for k in a)


def test_a_step_gives_the_same_batch_again_and_processes_share_it(write_encoded):
    samples = write_encoded(*[line | {"duration_s": 9.6} for line in four_kinds()])
    lesson = make(samples)
    batches = [lesson.batch(step, 0, 1) for step in range(6)]
    again = make(samples)
    assert all(same(again.batch(step, 0, 1), batches[step]) for step in reversed(range(6)))
    assert not same(make(samples, seed=4).batch(0, 0, 1), batches[0])
    for step, batch in enumerate(batches):
        parts = [lesson.batch(step, rank, 2) for rank in (0, 1)]
        for name, whole in batch.items():
            assert (whole is None) == (parts[0][name] is None)
            if whole is not None:  # pairs 0 and 2 go to the first process, 1 and 3 to the second
                woven = torch.stack([p[name].unflatten(0, (2, 2)) for p in parts], dim=1).flatten(0, 2)
                assert torch.equal(woven.float().nan_to_num(-1), whole.float().nan_to_num(-1))


def test_lips_are_read_where_the_recipe_asks_for_them(write_encoded):
    lesson = make(write_encoded(*four_kinds()), "both", lesson={"lips": 4})
    batch = lesson.batch(0, 0, 1)
    assert batch["lips"].shape == (8, 4, 3, 48, 48) and batch["lips"].dtype == torch.uint8
    assert batch["lips_seen"].all()
    loss, _ = lesson.loss(batch)
    loss.backward()
    assert (lesson.model.lip_net.near[0].weight.grad != 0).any()


# ---- what is refused ------------------------------------------------------------------------------------------


def test_what_does_not_fit_is_refused_in_words(write_encoded):
    samples = write_encoded(*group("a", video_fake=1.0))
    with pytest.raises(ValueError, match="no fake window with audio"):
        make(samples, "sound")
    path = samples[0].folder / ENCODERS
    path.write_text(json.dumps(json.loads(path.read_text()) | {"face": "sha256:other"}))
    with pytest.raises(ValueError, match="other encoders"):
        make(samples, "picture")
    path.unlink()
    with pytest.raises(ValueError, match="training.encode"):
        make(samples, "picture")


# ---- training -------------------------------------------------------------------------------------------------


def test_features_are_whitened_by_drawn_windows(write_encoded):
    lesson = make(write_encoded(*group("a", video_fake=1.0, shade=1.0),
                                *group("c", video_fake=1.0, audio_fake=1.0, shade=1.0)))
    mean = lesson.model.whiten_faces.mean
    assert mean.shape == (4 * 144,)
    assert mean.mean().item() == pytest.approx(0.5, abs=0.05)  # half of the faces lie around 1, half around 0
    assert (lesson.model.whiten_speech.scale != 1).any()


def test_it_learns_what_tells_fakes_apart_and_its_checkpoint_says_the_same(write_encoded):
    """Faces around 1 are fake. Scores of encoded clips, and what a loaded checkpoint tells, are those of the model."""
    held = [{"source": "h"}, {"source": "h", "video_fake": 1.0, "shade": 1.0}, {"source": "h", "duration_s": 2.0},
            {"source": "h", "face": False}, {"source": "h", "face": False, "voice_s": []}]
    samples = write_encoded(*four_kinds(), *held)
    lesson = make(samples[:6], "picture", lesson={"feature_dropout": 0.0})
    optimizer = torch.optim.AdamW([p for p in lesson.parameters() if p.requires_grad], lr=5e-3)
    lesson.train()
    assert not lesson.model.face_encoder.training
    for step in range(12):
        loss, parts = lesson(lesson.batch(step, 0, 1))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert parts.keys() == {"whole", "video", "orthogonal"} and all(not part.requires_grad for part in parts.values())

    told = lesson.scores(lesson.model, samples[6:], windows=2)
    assert [sample.key for sample, _ in told] == [s.key for s in samples[6:10]]  # the last one has nothing to judge
    (_, real), (_, fake), (_, short), (_, heard) = told
    assert auc(np.concatenate([real.video, fake.video]), np.array([0.0] * 2 + [1.0] * 2)) == 1.0
    assert len(short.start_s) == 1 and short.end_s[0] == 2.0
    assert np.isfinite([short.video, short.audio, short.whole]).all()
    assert np.isnan(heard.video).all() and np.isfinite(heard.audio).all() and np.isfinite(heard.whole).all()

    state = lesson.weights(lesson.model)
    assert {v.dtype for k, v in state.items() if k.startswith("face_encoder") and v.is_floating_point()} == {torch.half}
    assert state["absent"].dtype == torch.float32
    detector = load_detector(state, json.loads(json.dumps(lesson.card())))
    assert detector.spec == lesson.spec
    features = to_features(lesson.batch(0, 0, 1))
    assert torch.equal(detector.model.tell(features).whole, lesson.detector(lesson.model).model.tell(features).whole)
    assert fake.whole[0] == pytest.approx(detector.model.tell(to_features(cut_features(
        [(lesson._clip(samples[7]), 0)], lesson.spec, "both"))).whole.sigmoid().item(), abs=1e-5)


def test_the_committed_recipe_is_valid():
    recipe = MISAVoiDDRecipe.model_validate(yaml.safe_load(COMMITTED.read_text()))
    assert recipe.detector == "mis_avoidd" and recipe.lesson.losses.pull == "genuine"
    assert sum(share for _, share in recipe.lesson.presence) == pytest.approx(1)
