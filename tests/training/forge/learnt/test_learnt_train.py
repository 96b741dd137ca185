"""One loop for three generators: what they learn from, exact resume, and files that load again."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from detectors.checkpoint import CheckpointError, read_card
from detectors.encoders import to_half
from training.forge import learnt
from training.forge.learnt import GENERATORS, load
from training.forge.learnt import train as training
from training.forge.learnt.genuine import NothingGenuine, read_genuine
from training.recipe import read_recipes

RECIPES = Path(learnt.__file__).parent / "recipes"
EXAMPLES = {
    "swapper": lambda: (torch.rand(2, 3, 32, 32), torch.tensor([0, 1])),
    "inpainter": lambda: (torch.rand(2, 3, 32, 32), torch.rand(2, 3, 32, 32), torch.randn(2, 80, 40)),
    "vocoder": lambda: (torch.randn(2, 80, 9),),
}
each_generator = pytest.mark.parametrize("name", GENERATORS)


@pytest.fixture
def samples(write_samples) -> Path:
    """Two people; side 40, so that faces are reduced."""
    return write_samples(*({"identities": [name], "side_px": 40} for name in ("ben", "anna")))


# ---- training -------------------------------------------------------------------------------------------------


@each_generator
def test_a_run_that_breaks_off_and_goes_on_ends_up_like_one_that_never_stopped(name, recipes, samples, tmp_path,
                                                                               monkeypatch, assert_same):
    recipe = recipes[name].model_copy(update={"save_every_s": 1e-9})
    straight, resumed = tmp_path / "straight", tmp_path / "resumed"
    summary = training.train(recipe, samples, straight, resume=False)
    assert summary["steps"] == 2 and summary["parameters"] > 0

    see = training.COURSES[name][0]
    usual_draw, drawn = see.draw, []

    def breaks_the_second_time(self, rng):
        drawn.append(1)
        if len(drawn) == 2:
            raise RuntimeError("the machine goes down")
        return usual_draw(self, rng)

    with monkeypatch.context() as patched, pytest.raises(RuntimeError, match="the machine goes down"):
        patched.setattr(see, "draw", breaks_the_second_time)
        training.train(recipe, samples, resumed, resume=False)
    assert not (resumed / f"{name}.safetensors").exists()
    training.train(recipe, samples, resumed, resume=True)

    states = [torch.load(out / f"{name}.last.pt", weights_only=True) for out in (straight, resumed)]
    assert states[0]["step"] == 2 and states[0]["critic"]
    assert_same(*states)
    assert_same(*(load_file(out / f"{name}.safetensors") for out in (straight, resumed)))
    with open(resumed / f"{name}.csv", newline="") as file:
        rows = list(csv.reader(file))
    assert [int(step) for step, key, _ in rows if key == "loss"] == [1, 2]
    assert [step for step, key, _ in rows if key == "critic"] == ["2"]  # the critic plays from step 1 on
    assert not list(tmp_path.rglob("*.partial"))


@each_generator
def test_a_trained_file_loads_and_gives_what_the_trained_network_gave(name, recipes, samples, tmp_path, assert_same):
    training.train(recipes[name], samples, tmp_path, resume=False)
    generator = load(name, tmp_path)
    assert not generator.training and not any(p.requires_grad for p in generator.parameters())
    card = read_card(tmp_path / f"{name}.safetensors")
    assert card["generator"] == name and card["step"] == 2 and card["recipe"] == recipes[name].model_dump(mode="json")
    lesson = torch.load(tmp_path / f"{name}.last.pt", weights_only=True)["lesson"]
    trained = GENERATORS[name].build(card).eval()
    state = {k.removeprefix("generator."): v for k, v in lesson.items() if k.startswith("generator.")}
    trained.load_state_dict(to_half(state))  # as precise as its file
    example = EXAMPLES[name]()
    with torch.inference_mode():
        assert_same(generator(*example), trained(*example))


def test_the_swapper_keeps_the_names_of_those_it_learnt(recipes, samples, tmp_path):
    training.train(recipes["swapper"].model_copy(update={"steps": 1}), samples, tmp_path, resume=False)
    assert load("swapper", tmp_path).identities == ["anna", "ben"]


# ---- loading --------------------------------------------------------------------------------------------------


@each_generator
def test_without_its_file_a_family_is_left_out_with_a_message(name, tmp_path, caplog):
    assert load(name, tmp_path) is None
    assert f"{name}.safetensors is missing: the family of the {name} is left out" in caplog.text


def test_another_s_file_is_refused(recipes, samples, tmp_path):
    training.train(recipes["vocoder"].model_copy(update={"steps": 1}), samples, tmp_path, resume=False)
    (tmp_path / "vocoder.safetensors").rename(tmp_path / "swapper.safetensors")
    with pytest.raises(CheckpointError, match="holds a vocoder, not a swapper"):
        load("swapper", tmp_path)


def test_a_file_without_a_card_is_refused(tmp_path):
    save_file({"a": torch.zeros(1)}, tmp_path / "vocoder.safetensors")
    with pytest.raises(CheckpointError, match="cannot be read"):
        load("vocoder", tmp_path)


# ---- what is learnt from --------------------------------------------------------------------------------------


def test_only_genuine_training_clips_are_learnt_from(write_samples):
    nan = float("nan")
    folder = write_samples(
        *({"identities": [name], **line} for name, line in {
        "genuine": {}, "held back": {"split": "val"}, "forged picture": {"video_fake": 1.0},
        "forged sound": {"audio_fake": 1.0}, "unknown sound": {"audio_fake": nan},
        "unknown picture": {"video_fake": nan}, "unreadable": {"skipped": "broken"}, "silent": {"speech_s": 0.1},
        "speech alone": {"faces": 0, "video_fake": nan}, "forged here": {"method": "forge:shifted_sound"},
    }.items()))
    every = {"most": 99, "seed": 0}
    both = read_genuine(folder, side_px=16, sound=True, **every)
    assert [t.identity for t in both] == ["genuine"]
    assert both[0].faces.shape == (16, 16, 16, 3)  # 2 s of 25 Hz, eight of each second
    np.testing.assert_allclose(both[0].times_s, np.ceil(np.arange(16) / 8 * 25) / 25)
    assert both[0].waveform.dtype == "float32" and len(both[0].waveform) == 32_000
    picture = read_genuine(folder, side_px=16, sound=False, **every)
    assert {t.identity for t in picture} == {"genuine", "forged sound", "unknown sound", "silent"}
    assert not any(len(t.waveform) for t in picture)
    sound = read_genuine(folder, side_px=None, sound=True, **every)
    assert {t.identity for t in sound} == {"genuine", "forged picture", "unknown picture", "speech alone"}
    assert not any(len(t.faces) for t in sound)


def test_no_more_clips_are_read_than_asked_for_and_the_same_ones_each_time(write_samples):
    folder = write_samples(*({"identities": [f"p{n}"]} for n in range(6)))

    def who(seed: int) -> list[str]:
        return [t.identity for t in read_genuine(folder, side_px=None, sound=True, most=3, seed=seed)]

    assert len(who(0)) == 3 and who(0) == who(0) and len({tuple(who(seed)) for seed in range(6)}) > 1


def test_a_folder_of_forgeries_teaches_nothing(write_samples):
    with pytest.raises(NothingGenuine, match="no training clip with genuine picture and sound"):
        read_genuine(write_samples({"video_fake": 1.0}), side_px=16, sound=True, most=9, seed=0)


# ---- recipes and usage ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", sorted(RECIPES.glob("*.yaml")), ids=lambda p: p.name)
def test_committed_recipes_are_valid(path):
    names = [r.generator for r in read_recipes(path, training.Recipe)]
    assert names == ([path.stem] if path.stem != "debug" else list(GENERATORS))


def test_the_rate_warms_up_and_falls_to_nothing(recipes):
    course = recipes["vocoder"].model_copy(update={"steps": 100, "warmup_steps": 9, "learning_rate": 0.01})
    assert course.rate_at(0) == pytest.approx(0.001)
    assert course.rate_at(50) == pytest.approx(0.005)
    assert course.rate_at(100) == pytest.approx(0.0)


@pytest.mark.parametrize("change, words", [
    ("stpes: 3", "vocoder.stpes: Extra inputs are not permitted"),
    ("steps: none", "vocoder.steps: Input should be a valid integer"),
    ("generator: painter", "does not match any of the expected tags"),
    ("network: {width: 16, blocks: 2}", "vocoder.network.expansion: Field required"),
])
def test_a_bad_recipe_is_refused_in_words(change, words, samples, tmp_path, capsys):
    key = change.split(":")[0]
    lines = (RECIPES / "vocoder.yaml").read_text().splitlines()
    path = tmp_path / "recipe.yaml"
    path.write_text("\n".join([line for line in lines if not line.startswith(f"{key}:")] + [change]))
    with pytest.raises(SystemExit) as stop:
        training.main([str(path), "--samples", str(samples), "--out", str(tmp_path / "out")])
    assert stop.value.code == 2 and words in capsys.readouterr().err


def test_a_folder_that_was_not_prepared_is_refused(tmp_path, capsys):
    with pytest.raises(SystemExit) as stop:
        training.main([str(RECIPES / "debug.yaml"), "--samples", str(tmp_path), "--out", str(tmp_path)])
    assert stop.value.code == 2 and "holds no shards" in capsys.readouterr().err
