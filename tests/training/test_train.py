"""The loop, with a lesson of seven numbers: what is kept, what is resumed, which step is best, and who shares a batch.
And one run of a real network, that breaks off."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from detectors.checkpoint import read_card
from detectors.contract import WindowScores
from tests.training.tiny_lesson import TinyLesson, TinySSAVD, tiny_recipe
from training import train as training
from training.lessons import LESSONS, recipe_of
from training.log import read_log
from training.sampling import read_samples
from training.train import cross_validate, head_aucs, train

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def _tiny(monkeypatch):
    monkeypatch.setitem(LESSONS, "tiny", TinyLesson)


@pytest.fixture
def two_sources(write_samples):
    """A genuine and a fake clip from each of two sources: either of them is held out."""
    return read_samples(write_samples(*(
        {"source": source, "video_fake": fake, "side_px": 8} for source in "ab" for fake in (0.0, 1.0))))


def state_of(out: Path) -> dict:
    return torch.load(out / "last.pt", weights_only=True)


def breaks_at(monkeypatch, lesson: type, step: int) -> None:
    real = lesson.batch

    def batch(self, at, rank, ranks):
        if at == step:
            raise RuntimeError("the machine goes down")
        return real(self, at, rank, ranks)

    monkeypatch.setattr(lesson, "batch", batch)


# ---- resuming ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("broken_at", [1, 3, 5])
def test_a_run_that_breaks_off_ends_up_like_one_that_never_stopped(two_sources, tmp_path, monkeypatch, assert_same,
                                                                   broken_at):
    straight, resumed = tmp_path / "straight", tmp_path / "resumed"
    recipe = tiny_recipe(dropout=0.5)
    summary = train(recipe, two_sources, straight)
    with monkeypatch.context() as patched, pytest.raises(RuntimeError, match="the machine goes down"):
        breaks_at(patched, TinyLesson, broken_at)
        train(recipe, two_sources, resumed)
    assert state_of(resumed)["progress"]["step"] == broken_at
    again = train(recipe, two_sources, resumed, resume=True)
    assert_same(state_of(straight), state_of(resumed))
    assert_same(load_file(straight / "best.safetensors"), load_file(resumed / "best.safetensors"))
    told = ("best_val_auc", "best_step", "steps")
    assert [summary[k] for k in told] == [again[k] for k in told] == [1.0, 4, 6]
    assert not list(tmp_path.rglob("*.partial"))


def test_another_draw_would_have_been_noticed(two_sources, tmp_path):
    """The comparison above can fail: dropped numbers of another seed give other weights."""
    for seed in (3, 4):
        train(tiny_recipe(dropout=0.5, seed=seed), two_sources, tmp_path / str(seed))
    one, other = (load_file(tmp_path / str(seed) / "best.safetensors") for seed in (3, 4))
    assert not torch.equal(one["0.weight"], other["0.weight"])


def test_a_finished_run_is_not_trained_further(two_sources, tmp_path, monkeypatch):
    train(tiny_recipe(), two_sources, tmp_path)
    before = (tmp_path / "last.pt").read_bytes()
    monkeypatch.setattr(TinyLesson, "batch", None)
    assert train(tiny_recipe(), two_sources, tmp_path, resume=True)["steps"] == 6
    assert (tmp_path / "last.pt").read_bytes() == before


def test_a_real_network_resumes_with_its_norms_and_its_teacher(recipe, four_kinds, tmp_path, monkeypatch,
                                                                assert_same):
    monkeypatch.setitem(LESSONS, "ss_avd", TinySSAVD)
    monkeypatch.setattr(TinySSAVD, "scores", lambda self, model, samples, windows: [])
    straight, resumed = tmp_path / "straight", tmp_path / "resumed"
    samples = read_samples(four_kinds)
    assert train(recipe(), samples, straight)["best_val_auc"] == 0  # nothing was measured; a step is kept all the same
    with monkeypatch.context() as patched, pytest.raises(RuntimeError, match="the machine goes down"):
        breaks_at(patched, TinySSAVD, 1)
        train(recipe(), samples, resumed)
    train(recipe(), samples, resumed, resume=True)
    assert_same(state_of(straight), state_of(resumed))
    assert_same(load_file(straight / "best.safetensors"), load_file(resumed / "best.safetensors"))
    state = state_of(straight)
    assert {f"model.{name}" for name in state["average"]} <= state["lesson"].keys()


# ---- the step itself --------------------------------------------------------------------------------------------


def test_each_step_does_what_adamw_with_clipping_does(two_sources, tmp_path):
    """An independent formulation of three steps: gradient by hand, clipped, AdamW written out, average."""
    recipe = tiny_recipe(steps=3, evaluate_every=3, right_at=3)
    train(recipe, two_sources, tmp_path)
    torch.manual_seed(recipe.seed)
    lesson = TinyLesson(recipe, two_sources)
    weight = lesson.model[0].weight.detach().numpy()[0].astype(np.float64)
    bias = lesson.model[0].bias.detach().numpy().astype(np.float64)
    value = np.concatenate([weight, bias])
    first, second, average = np.zeros(4), np.zeros(4), value.copy()
    rates = [0.025, 0.05, 0.05]  # half, all; then the cosine begins at its top
    for step, rate in enumerate(rates):
        batch = lesson.batch(step, 0, 1)
        x = np.concatenate([batch["x"].numpy(), np.ones((8, 1))], axis=1)
        told = 1 / (1 + np.exp(-x @ value))
        gradient = (told - batch["fake"].numpy()) @ x / 8
        gradient *= min(1.0, recipe.clip_norm / (np.linalg.norm(gradient) + 1e-6))
        first, second = 0.9 * first + 0.1 * gradient, 0.999 * second + 0.001 * gradient**2
        value = value * (1 - rate * recipe.weight_decay)
        value -= rate * first / (1 - 0.9 ** (step + 1)) / (np.sqrt(second / (1 - 0.999 ** (step + 1))) + 1e-8)
        decay = min(recipe.ema_decay, (step + 1) / (step + 11))
        average = decay * average + (1 - decay) * value
    state = state_of(tmp_path)
    trained = torch.cat([state["lesson"]["model.0.weight"][0], state["lesson"]["model.0.bias"]])
    np.testing.assert_allclose(trained.numpy(), value, rtol=1e-5)
    kept = load_file(tmp_path / "best.safetensors")
    np.testing.assert_allclose(torch.cat([kept["0.weight"][0], kept["0.bias"]]).numpy(), average, rtol=1e-5)


@pytest.mark.parametrize("precision, dtype", [("fp32", torch.float32), ("bf16", torch.bfloat16)])
def test_precision_is_the_recipes(two_sources, tmp_path, monkeypatch, precision, dtype):
    seen = set()
    monkeypatch.setattr(TinyLesson, "precisions", property(lambda self: seen, lambda self, value: None), raising=False)
    train(tiny_recipe(precision=precision), two_sources, tmp_path)
    assert seen == {dtype}
    assert state_of(tmp_path)["lesson"]["model.0.weight"].dtype == torch.float32


def test_a_worker_process_draws_the_same_batches(two_sources, tmp_path, assert_same):
    for workers in (0, 1):
        train(tiny_recipe(workers=workers), two_sources, tmp_path / str(workers))
    assert_same(state_of(tmp_path / "0"), state_of(tmp_path / "1"))


# ---- what is kept -----------------------------------------------------------------------------------------------


def test_the_step_that_ranks_the_held_out_sources_best_is_kept(two_sources, tmp_path):
    summary = train(tiny_recipe(right_at=2), two_sources, tmp_path, fold=1)
    assert (summary["best_val_auc"], summary["best_step"], summary["steps"]) == (1.0, 2, 6)
    card = read_card(tmp_path / "best.safetensors")
    assert (card["step"], card["fold"], card["dev_auc"]) == (2, 1, {"video": 1.0})
    assert recipe_of(card) == tiny_recipe(right_at=2) and card["noises"] == 0


def test_the_card_says_how_many_noises_there_were_to_mix_in(two_sources, tmp_path):
    train(tiny_recipe(steps=2), two_sources, tmp_path, noises=[np.zeros(16_000, np.float32)] * 3)
    assert read_card(tmp_path / "best.safetensors")["noises"] == 3


def test_the_log_tells_losses_pace_and_measurements_and_is_drawn(two_sources, tmp_path):
    train(tiny_recipe(steps=12, evaluate_every=6), two_sources, tmp_path)
    curves = read_log(tmp_path / "log.csv")
    assert curves["dev_video_auc"] == {6: 0.0, 12: 0.0}
    assert list(curves["loss"]) == [10, 12] and curves["term"][10] == pytest.approx(2 * curves["loss"][10], rel=1e-3)
    assert all(0 <= share <= 1 for share in curves["data_wait_share"].values()) and curves["samples_per_s"][12] > 0
    page = (tmp_path / "log.html").read_text()
    assert "dev_video_auc" in page and "samples_per_s" in page and 'src="http' not in page


def test_a_fold_is_a_whole_source_and_every_source_is_held_out_once(two_sources, tmp_path, monkeypatch):
    held = []
    monkeypatch.setattr(training, "head_aucs", lambda scored: held.append({s.source for s, _ in scored}) or {})
    for fold in (0, 1):
        train(tiny_recipe(steps=2), two_sources, tmp_path / str(fold), fold=fold)
    assert sorted(map(sorted, held)) == [["a"], ["b"]]


def test_all_folds_choose_the_step_of_the_last_run(two_sources, tmp_path, monkeypatch):
    """Of best steps 2, 2 and 6 (the third fold is right at its end) the median is 2."""
    third = [replace(s, source="c") for s in two_sources[:2]]
    right_at = {"fold-0": 2, "fold-1": 2, "fold-2": 6}
    real = training.train

    def with_its_own_best(recipe, samples, out, **how):
        if out.name in right_at:
            recipe = tiny_recipe(folds=3, right_at=right_at[out.name])
        return real(recipe, samples, out, **how)

    monkeypatch.setattr(training, "train", with_its_own_best)
    run = tmp_path / "run"
    summary = cross_validate(tiny_recipe(folds=3), [*two_sources, *third], run)
    assert (summary["best_val_auc"], summary["best_step"], summary["steps"]) == (1.0, 2, 2)
    card = read_card(run / "best.safetensors")
    assert card["fold"] is None and card["step"] == 2 and card["held_sources"] == []
    assert [f["best_step"] for f in card["cross_validation"]["folds"]] == [2, 2, 6]
    # The last run goes the first steps of the same schedule, on all samples.
    assert sorted(p.name for p in run.iterdir()) == [
        "best.safetensors", "fold-0", "fold-1", "fold-2", "last.pt", "log.csv", "log.html"]


def test_auc_counts_windows_with_a_known_label_per_head(write_samples):
    """Of four windows of a clip that is fake from 2 s to 3 s, the second one is cut by the span's edge: no label."""
    fake, genuine = read_samples(write_samples(
        {"video_fake": 1.0, "audio_fake": 0.0, "spans": [["video", 2.0, 3.0]], "duration_s": 4.0},
        {"audio_fake": np.nan, "duration_s": 4.0}))
    start = np.array([0.0, 1.2, 2.0, 3.0])
    video = np.array([0.2, 0.9, 0.6, np.nan])  # the NaN: a window that could not be judged
    one = WindowScores(start, start + 1, video, None, None, video)
    two = WindowScores(start, start + 1, np.array([0.1, 0.7, 0.3, 0.4]), None, None, np.array([0.1, 0.7, 0.3, 0.4]))
    aucs = head_aucs([(fake, one), (genuine, two)])
    # fake: 0.6; genuine: 0.2, 0.1, 0.7, 0.3, 0.4. Four of five are below it.
    assert aucs == {"video": pytest.approx(0.8), "whole": pytest.approx(0.8)}
    assert np.isnan(head_aucs([(genuine, two)])["video"])


# ---- several processes ------------------------------------------------------------------------------------------


@pytest.mark.timeout(280)
def test_two_processes_do_what_one_does(tmp_path):
    together, alone = tmp_path / "together", tmp_path / "alone"
    script = Path(__file__).with_name("tiny_lesson.py")
    # The scripts need the project on their path, and must not take a free GPU each.
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run([sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2",
                           str(script), str(together), "10"], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    train(tiny_recipe(steps=10), [], alone, fold=None)
    both, one = (read_log(out / "log.csv") for out in (together, alone))
    assert both["loss"][10] == pytest.approx(one["loss"][10], rel=1e-4)
    assert both["term"][10] == pytest.approx(one["term"][10], rel=1e-4)
    assert (read_card(together / "best.safetensors")["processes"], read_card(alone / "best.safetensors")["processes"]
            ) == (2, 1)
    for name, value in state_of(alone)["lesson"].items():
        torch.testing.assert_close(state_of(together)["lesson"][name], value, rtol=1e-4, atol=1e-6)


# ---- the command line -------------------------------------------------------------------------------------------


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


@pytest.mark.parametrize("fold, words", [("2", "there is no fold 2"), ("some", "invalid")])
def test_a_fold_that_there_is_not_is_refused_in_words(two_sources, tmp_path, monkeypatch, capsys, fold, words):
    monkeypatch.setattr(training, "read_lessons", lambda path: [tiny_recipe()])
    with pytest.raises(SystemExit) as stop:
        training.main(["recipe.yaml", "--samples", str(two_sources[0].folder), "--out", str(tmp_path / "runs"),
                       "--fold", fold])
    assert stop.value.code == 2 and words in capsys.readouterr().err


def test_one_of_several_recipes_can_be_picked(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(training, "read_lessons", lambda path: [tiny_recipe()])
    with pytest.raises(SystemExit) as stop:
        training.main(["recipe.yaml", "--samples", str(tmp_path), "--detector", "ss_avd"])
    assert stop.value.code == 2 and "recipe.yaml holds no recipe for ss_avd" in capsys.readouterr().err


@pytest.mark.parametrize("fold", ["1", "all"])
def test_a_run_goes_to_a_folder_named_after_its_detector(two_sources, tmp_path, monkeypatch, capsys, fold):
    monkeypatch.setattr(training, "read_lessons", lambda path: [tiny_recipe(steps=2)])
    assert training.main(["recipe.yaml", "--samples", str(two_sources[0].folder), "--out", str(tmp_path / "runs"),
                          "--fold", fold, "--detector", "tiny", "--json"]) == 0
    assert (tmp_path / "runs" / "tiny" / "best.safetensors").is_file()
    assert '"detector": "tiny"' in capsys.readouterr().out.splitlines()[-1]
