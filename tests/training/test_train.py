"""One short run of the shipped network: it writes what it promises, and a broken-off run ends up the same."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from training import train as training
from training.sampling import Batches


def state_of(out: Path) -> dict:
    return torch.load(out / "last.pt", weights_only=True)


def test_a_run_that_breaks_off_ends_up_like_one_that_never_stopped(recipe, four_kinds, tmp_path, monkeypatch,
                                                                   assert_same):
    # After two steps a network's scores are chance or not even numbers; that the best is kept must not hang on it.
    monkeypatch.setattr(training, "modality_auc", lambda scored: {"video": 0.75, "audio": len(scored) / 8})
    straight, resumed = tmp_path / "straight", tmp_path / "resumed"
    summary = training.train(recipe(), four_kinds, straight, resume=False)
    assert summary["steps"] == 2 and summary["best_val_auc"] == 0.625 and 0 <= summary["data_wait_share"] <= 1

    real_item = Batches.__getitem__

    def breaks_at_one(self, step):
        if step == 1:
            raise RuntimeError("the machine goes down")
        return real_item(self, step)

    with monkeypatch.context() as patched, pytest.raises(RuntimeError, match="the machine goes down"):
        patched.setattr(Batches, "__getitem__", breaks_at_one)
        training.train(recipe(), four_kinds, resumed, resume=False)
    assert state_of(resumed)["step"] == 1
    training.train(recipe(), four_kinds, resumed, resume=True)

    assert_same(state_of(straight), state_of(resumed))
    assert_same(load_file(straight / "best.safetensors"), load_file(resumed / "best.safetensors"))

    # The average follows the weights at a distance.
    state = state_of(straight)
    weights = {k.removeprefix("0."): v for k, v in state["learners"].items() if k.startswith("0.")}
    assert weights.keys() == state["ema"].keys() and all(torch.isfinite(v).all() for v in weights.values())
    assert any(not torch.equal(v, state["ema"][k]) for k, v in weights.items())
    for name in ("straight", "resumed"):
        with open(tmp_path / name / "log.csv", newline="") as file:
            rows = list(csv.reader(file))
        assert rows == [["2", "dev_video_auc", "0.75"], ["2", "dev_audio_auc", "0.5"]]  # four clips were scored
    assert not list(tmp_path.rglob("*.partial"))


def test_a_finished_run_is_not_trained_further(recipe, four_kinds, tmp_path, monkeypatch):
    out = tmp_path / "run"
    once = {"steps": 1, "warmup_steps": 0, "presence": {"picture": 0.0, "sound": 1.0, "both": 0.0}}
    training.train(recipe(**once), four_kinds, out, resume=False)
    before = (out / "last.pt").read_bytes()

    def no_more(self, step):
        raise AssertionError(f"step {step} was drawn again")

    monkeypatch.setattr(Batches, "__getitem__", no_more)
    assert training.train(recipe(**once), four_kinds, out, resume=True)["steps"] == 1
    assert (out / "last.pt").read_bytes() == before


def test_a_bad_recipe_is_refused_in_words(tmp_path, capsys):
    path = tmp_path / "recipe.yaml"
    path.write_text("detector: ss_avd\nstpes: 3\n")
    with pytest.raises(SystemExit) as stop:
        training.main([str(path), "--samples", str(tmp_path)])
    assert stop.value.code == 2 and "stpes: Extra inputs are not permitted" in capsys.readouterr().err


def test_a_folder_without_shards_is_refused_in_words(tmp_path, capsys):
    recipe = Path(training.__file__).parent / "recipes" / "debug.yaml"
    with pytest.raises(SystemExit) as stop:
        training.main([str(recipe), "--samples", str(tmp_path), "--out", str(tmp_path / "run")])
    assert stop.value.code == 2 and "holds no shards" in capsys.readouterr().err
