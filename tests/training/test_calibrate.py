"""Scores become probabilities, and thresholds keep their promise on the clips they were drawn from."""

from __future__ import annotations

import math
from dataclasses import asdict, replace
from itertools import count
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from detectors import CheckpointError, Segment, WindowScores
from detectors.checkpoint import read_card, read_checkpoint, save_checkpoint
from detectors.ss_avd import SHIPPED, SHIPPED_SPEC, SSAVD
from training import calibrate as module
from training.calibrate import (
    FLOORS,
    _commands,
    as_found,
    calibrate,
    clip_logits,
    draw_thresholds,
    fit_heads,
    fit_platt,
    held_parts,
    highest_moment,
    main,
    own_whole,
    threshold_at,
    threshold_for_new_sources,
    trained_weights,
)
from training.labels import fake_of
from training.sampling import read_samples, split_fold

NAN = np.nan
KEYS = map(str, count())


def test_platt_finds_the_scale_and_the_bias_that_made_the_labels():
    rng = np.random.default_rng(0)
    logit = rng.normal(0, 2, 20_000)
    fake = (rng.random(20_000) < 1 / (1 + np.exp(-(1.7 * logit - 0.0)))).astype(float)
    fit = fit_platt(logit, fake)
    assert fit["scale"] == pytest.approx(1.7, abs=0.08) and fit["bias"] == pytest.approx(0, abs=0.08)


def test_classes_count_alike_however_many_there_are():
    logit = np.r_[np.full(900, -1.0), np.full(100, 1.0), np.full(90, 1.0), np.full(10, -1.0)]
    fake = np.r_[np.zeros(1000), np.ones(100)]
    fit = fit_platt(logit, fake)  # 9 of 10 on the right side in both classes: the odds at +1 are 9 to 1
    assert fit["bias"] == pytest.approx(0, abs=0.01) and fit["scale"] == pytest.approx(np.log(9), abs=0.05)


def test_calibration_never_turns_a_score_round():
    assert fit_platt(np.array([-1.0, -0.5, 0.5, 1.0]), np.array([1.0, 1.0, 0.0, 0.0]))["scale"] > 0


@pytest.mark.parametrize(("share", "reaching"), [(0.05, 1), (0.15, 3), (0.0, 0)])
def test_a_threshold_lets_at_most_its_share_of_genuine_clips_through(share, reaching):
    genuine = np.random.default_rng(1).random(20)
    threshold = threshold_at(genuine, share)
    assert (genuine >= threshold).sum() == reaching
    below = genuine[genuine < threshold].max()
    assert (genuine >= below).sum() == reaching + 1  # no lower threshold would do


def test_ties_do_not_break_the_promise():
    assert (np.full(20, 0.7) >= threshold_at(np.full(20, 0.7), 0.05)).sum() == 0


# ---- what heads are fitted to -----------------------------------------------------------------------------------


def told(video=None, audio=None, sync=None, whole=None, proposals=None) -> WindowScores:
    given = [None if values is None else np.array(values, float) for values in (video, audio, sync, whole)]
    n = max(len(values) for values in given if values is not None)
    return WindowScores(np.arange(n), np.arange(n) + 1.0, *given, proposals=proposals)


def sample(video=NAN, audio=NAN, sync=NAN, forged="") -> SimpleNamespace:
    return SimpleNamespace(video_fake=video, audio_fake=audio, sync_fake=sync, forged=forged, coded="", source="site",
                           folder="", key=next(KEYS), group=next(KEYS))


def answer(scores: WindowScores, score: float = 0.5) -> SimpleNamespace:
    return SimpleNamespace(windows=(scores,), score=score)


def test_the_whole_is_left_out_where_it_repeats_the_only_modality_there_is():
    scores = told(video=[0.1, 0.2, NAN], audio=[0.3, NAN, 0.4], whole=[0.7, 0.2, 0.4])
    assert own_whole(scores).tolist() == [0.7]
    assert own_whole(told(video=[0.1, 0.2], audio=[0.3, NAN], whole=[0.7, 0.6])).tolist() == [0.7, 0.6]
    assert own_whole(told(whole=[0.7])).tolist() == [0.7] and own_whole(told(video=[0.1])) is None


def test_a_clip_s_logit_is_of_its_higher_half_and_unknown_clips_do_not_count():
    scored = [(sample(video=1), answer(told(video=[0.2, 0.5]))), (sample(video=0), answer(told(video=[0.2]))),
              (sample(), answer(told(video=[0.9]))), (sample(video=0), answer(told(video=[NAN])))]
    logits, labels = clip_logits(scored, "video")
    assert logits == pytest.approx([0, math.log(0.25)]) and labels.tolist() == [1, 0]
    assert fit_heads(scored).keys() == {"video"}  # nobody tells the others
    assert fit_heads(scored[1:]) == {}  # and one class alone teaches nothing


def test_a_threshold_is_higher_where_few_sources_hold_the_alarms():
    """Ten clips of a hundred are loud. Spread evenly, a threshold for 10 % lies below them nearly always; when they are
    all of one of ten sources, that source is drawn twice or more in a quarter of the draws."""
    scores = np.r_[np.full(90, 0.2), np.full(10, 0.9)]
    evenly, together = [str(n % 10) for n in range(100)], [str(n // 10) for n in range(100)]
    assert threshold_for_new_sources(scores, evenly, 0.1) == pytest.approx(0.2)
    assert threshold_for_new_sources(scores, together, 0.1) == pytest.approx(0.9)
    assert threshold_for_new_sources(scores, ["one"] * 100, 0.1) == threshold_at(scores, 0.1)


def test_few_genuine_clips_look_mismatched():
    """Of a hundred genuine clips two may lie above an even chance, however the fakes lie."""
    genuine = [(sample(sync=0), answer(told(sync=[score]))) for score in np.linspace(0.01, 0.8, 100)]
    late = [(sample(sync=1, forged="shifted_sound"), answer(told(sync=[0.9])))] * 20
    logit = np.array([math.log(s / (1 - s)) for s in np.linspace(0.01, 0.8, 100)])
    for scored in (genuine, genuine + late):
        fit = fit_heads(scored)["sync"]
        assert fit["scale"] == 1 and (logit + fit["bias"] > 0).sum() == 2
    assert "sync" not in fit_heads(late)


def test_thresholds_hold_the_floors_and_the_promise():
    genuine = [(sample(), answer(told(video=[score, 0.1]), score)) for score in np.linspace(0.05, 1, 20)]
    thresholds = draw_thresholds(genuine)
    reached = np.array([a.score for _, a in genuine])
    assert (reached >= thresholds["manipulated"]).sum() == 1 and (reached >= thresholds["suspicious"]).sum() == 3
    assert thresholds["segment_on"] == pytest.approx(0.85, abs=1e-6)
    assert thresholds["segment_off"] == pytest.approx(0.70, abs=1e-6)
    low = draw_thresholds([(sample(), answer(told(video=[0.1]), 0.1))] * 20)
    assert {name: low[name] for name in FLOORS} == FLOORS
    with pytest.raises(ValueError, match="no genuine development clip"):
        draw_thresholds([])


def test_the_highest_moment_is_of_any_head_or_of_the_proposals():
    assert highest_moment([told(video=[0.2, NAN], sync=[0.6, NAN]), told(audio=[0.7])]) == 0.7
    proposals = (Segment(0, 1, 0.4, "video"),)
    assert highest_moment([told(video=[0.9], proposals=proposals)]) == 0.4
    assert highest_moment([told(video=[0.9], proposals=())]) == 0


# ---- from a run to a checkpoint ---------------------------------------------------------------------------------


@pytest.fixture
def run(tmp_path, four_kinds):
    """A run of SS-AVD that nobody trained, and its samples: two sources, one held out in each of two folds."""
    torch.manual_seed(0)
    card = {"architecture": asdict(SHIPPED), "input_spec": asdict(SHIPPED_SPEC), "fold": 1, "step": 4, "processes": 2,
            "recipe": {"detector": "ss_avd", "seed": 0, "folds": 2, "batch": 4}}
    save_checkpoint(tmp_path / "best.safetensors", SSAVD(SHIPPED).inference_state_dict(), card)
    return tmp_path, read_samples(four_kinds)


def test_a_run_is_calibrated_on_the_fold_that_it_held_out(run):
    folder, samples = run
    (folder / "log.csv").write_text("1,samples_per_s,3\n4,loss,1\n4,samples_per_s,2\n")
    state, card = calibrate(folder, samples)
    assert state.keys() == read_checkpoint(folder / "best.safetensors")[0].keys()
    assert all(fit["scale"] > 0 for fit in card["calibration"].values())
    assert card["calibration"].keys() == {"video", "audio", "whole"}
    thresholds = card["thresholds"]
    assert thresholds["manipulated"] >= FLOORS["manipulated"] and thresholds["suspicious"] >= FLOORS["suspicious"]
    assert thresholds["segment_off"] < thresholds["segment_on"]
    _, held = split_fold(samples, 2, 1, 0)
    assert card["data"]["development"]["clips"] == len(held) == 4 == card["data"]["training"]["clips"]
    assert card["name"] == "SS-AVD" and card["size"]["paper_parameters"] == 483_402
    assert card["hours"] == pytest.approx(4 * 4 / 2 / 3600, abs=0.005) and card["provisional"] is True
    assert any("torchrun --nproc-per-node 2" in line and "--fold 1" in line for line in card["commands"])


def test_the_commands_tell_what_came_before(run):
    folder, samples = run
    (samples[0].folder / "command.txt").write_text("python -m training.prepare folder DATA --out SHARDS\n")
    card = {"recipe": {"detector": "mis_avoidd", "folds": 2, "lesson": {"encoders": "there"}}, "fold": 1,
            "processes": 1}
    told = [line.split(" --")[0] for line in _commands(card, samples)]
    assert told == ["python -m training.prepare folder DATA", "python -m training.pretrained",
                    "python -m training.encode SHARDS", "python -m training.train training/recipes/mis_avoidd.yaml",
                    "python -m training.calibrate runs/mis_avoidd"]
    told = _commands({**card, "fold": None}, samples)
    assert told[1:3] == ["python -m training.pretrained --out there",
                         "python -m training.encode SHARDS --out ENCODED --encoders there"]
    assert any("--samples ENCODED " in line and line.endswith("--fold all") for line in told)
    looks = _commands({**card, "recipe": {**card["recipe"], "detector": "ss_avd"}}, samples)
    assert looks[1] == "python -m training.pretrained --out there" and not any("encode " in line for line in looks)
    assert any("training.train" in line and "--samples SHARDS " in line for line in looks)
    told = _commands(card, samples, clips=9)
    assert "python -m training.calibrate runs/mis_avoidd --samples SHARDS --clips 9" in told


@pytest.mark.parametrize(("detector", "noises", "told"), [("ss_avd", 3, True), ("ss_avd", 0, False),
                                                          ("mis_avoidd", 3, False)])
def test_noises_are_told_of_where_they_could_be_heard(run, detector, noises, told):
    """MIS-AVoiDD learns from what was encoded before."""
    card = {"recipe": {"detector": detector, "folds": 2, "lesson": {"encoders": "there"}}, "fold": 1, "processes": 1}
    assert any("--noise DATA/noise " in line for line in _commands({**card, "noises": noises}, run[1])) == told
    assert not any("--noise" in line for line in _commands(card, run[1]))


def test_a_run_that_learnt_from_everything_is_calibrated_by_its_folds(run):
    folder, samples = run
    state, card = read_checkpoint(folder / "best.safetensors")
    card = {**card, "fold": None}
    for fold in range(2):
        (folder / f"fold-{fold}").mkdir()
        save_checkpoint(folder / f"fold-{fold}" / "best.safetensors", state, {**card, "fold": fold})
    parts = held_parts(folder, card, samples)
    assert [part.checkpoint.parent.name for part in parts] == ["fold-0", "fold-1"]
    assert sorted(s.key for part in parts for s in part.held) == sorted(s.key for s in samples)
    (folder / "fold-1" / "best.safetensors").unlink()
    with pytest.raises(CheckpointError, match="fold-1 holds no best.safetensors"):
        held_parts(folder, card, samples)


def test_what_a_run_held_out_is_known_by_its_sources(run):
    """Other samples of the same sources, too: those that were dealt are not needed again."""
    folder, samples = run
    state, card = read_checkpoint(folder / "best.safetensors")
    held = sorted({s.source for s in split_fold(samples, 2, 1, 0)[1]})
    save_checkpoint(folder / "best.safetensors", state, {**card, "held_sources": held})
    more = [*samples, *(replace(s, key=f"{s.key}-again") for s in samples)]
    [part] = held_parts(folder, card, more)
    assert {s.source for s in part.held} == set(held)
    assert len(part.held) == 2 * sum(s.source in held for s in samples)


def test_a_limit_keeps_whole_groups_and_draws_the_same_again(run):
    folder, samples = run
    samples = [replace(s, group=f"{s.source}{k // 2}", sync_fake=float("nan")) for k, s in enumerate(samples)]
    card = read_card(folder / "best.safetensors")
    [part], [again] = (held_parts(folder, card, samples, clips=3) for _ in range(2))
    assert len(part.held) == 2 and len({s.group for s in part.held}) == 1 and part == again


def test_a_limit_keeps_what_lip_sync_is_calibrated_on(run):
    """Genuine clips with picture and sound, whichever are drawn beside them."""
    folder, samples = run
    card = read_card(folder / "best.safetensors")
    [everything], [part] = (held_parts(folder, card, samples, clips=clips) for clips in (None, 1))
    kept = [s for s in everything.held if s.sync_fake == 0 and s.shows_face and s.has_voice]
    assert kept and {s.key for s in kept} <= {s.key for s in part.held}
    silent = [replace(s, samples=0) for s in samples]
    [part] = held_parts(folder, card, silent, clips=1)
    assert len(part.held) <= 1


def test_a_run_without_weights_is_refused_in_words(run, tmp_path, capsys):
    folder, _ = run
    assert trained_weights(folder) == folder / "best.safetensors"
    with pytest.raises(SystemExit) as stopped:
        main([str(tmp_path / "nowhere"), "--samples", "x"])
    assert stopped.value.code == 2 and "holds no best.safetensors" in capsys.readouterr().err


def test_scores_are_calibrated_before_thresholds_are_drawn(run, monkeypatch):
    asked = []
    monkeypatch.setattr(module, "analyse_all", lambda parts, calibration, jobs: asked.append((parts, calibration)) or [
        (s, answer(told(video=[0.1 + 0.8 * s.video_fake]), 0.5)) for part in parts for s in part.held])
    monkeypatch.setattr(module, "measure_size", lambda paper: {})
    folder, samples = run
    _, card = calibrate(folder, samples)
    (_, first), (parts, second) = asked
    assert first == {} and second == card["calibration"] and second.keys() == {"video"}
    assert {fake_of(s) for part in parts for s in part.held} == {0}


def test_probabilities_are_about_clips_as_they_are_found(run):
    _, samples = run
    pair = [replace(samples[0], key="o", group="g"), replace(samples[0], key="f", group="g", forged="blend")]
    assert as_found([*samples, *pair]) == list(samples)
    genuine = [s for s in samples if fake_of(s) == 0]
    assert as_found([*genuine, *pair]) == [*genuine, *pair]  # nothing fake would be left


def test_log_odds_far_above_1_keep_their_share_of_alarms():
    genuine = np.array([5.0, 4.0, 3.0, 2.5, 1.0])
    assert (genuine >= threshold_at(genuine, 0.2)).sum() == 1
