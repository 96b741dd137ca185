"""What a run is worth on held-out sources: by hand, and of a run of a small lesson."""

from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np
import pytest

from detectors.contract import WindowScores
from training import crossval as module
from training.crossval import Scored, score_held, summarise
from training.sampling import read_samples


def scored(fake: float, score: float, source: str = "a", group: str = "", forged: str = "", head: str = "video",
           shortcut: float = 0.5, coded: str = "") -> Scored:
    sample = SimpleNamespace(source=source, identity=f"{source}/{group}/{score}", group=group or f"{source}{score}",
                             folder="shards", forged=forged, coded=coded)
    return Scored(sample, head, fake, score, shortcut)


def test_a_site_that_tells_the_class_helps_the_auc_and_not_within_it():
    """Site b has fakes alone, which score high; within site a the one fake lies below both genuine clips."""
    table = summarise([scored(0, 0.2), scored(0, 0.3), scored(1, 0.1), scored(1, 0.8, "b"), scored(1, 0.9, "b")])
    video = table["published"]["video"]
    assert video["auc"] == pytest.approx(4 / 6) and video["within"] == 0 and video["clips"] == 5
    assert video["shortcut"] == 0.5 and not table["forged"]


def test_forgeries_stand_beside_their_own_originals_and_apart_from_published_fakes():
    rows = [scored(0, 0.2, group="x"), scored(1, 0.3, group="x", forged="self_blend"),
            scored(0, 0.6, group="y"), scored(1, 0.5, group="y", forged="swap"),
            scored(0, 0.1, "b"), scored(1, 0.9, "b")]
    table = summarise(rows)
    assert table["forged"]["video"]["clips"] == 4 and table["forged"]["video"]["within"] == 0.5
    assert table["forged"]["video"]["auc"] == 0.5  # 0.3 and 0.5 beat 0.2 alone
    published = table["published"]["video"]
    assert (published["auc"], published["clips"], published["interval"]) == (1.0, 2, None)  # two people are too few
    assert set(table["forged"]) == {"video"}  # a head that nobody told of is left out


def test_copies_through_a_codec_are_told_apart():
    rows = [scored(0, 0.2), scored(1, 0.9), scored(0, 0.8, coded="opus"), scored(1, 0.7, coded="opus")]
    table = summarise(rows)
    assert [table[name]["video"]["auc"] for name in ("published", "coded")] == [1.0, 0.0] and not table["forged"]


def test_alarms_are_told_of_the_source_that_has_most_of_them():
    """Of 40 genuine clips two may alarm: both are of the five of site b."""
    genuine = [scored(0, i / 100, "a") for i in range(35)] + [scored(0, s, "b") for s in (0.1, 0.2, 0.3, 0.8, 0.9)]
    video = summarise([*genuine, scored(1, 0.95)])["published"]["video"]
    assert video["alarms"] == pytest.approx(2 / 5) and video["alarms_source"] == "b"


class Knowing:
    """A lesson whose network says what the file's name says."""

    def __init__(self, recipe, samples, noises):
        self.sources = {s.source for s in samples}
        self.model = SimpleNamespace(load_state_dict=lambda state, strict: None)

    def scores(self, model, samples, windows):
        assert not self.sources & {s.source for s in samples}, "it learnt from what it is measured on"
        return [(s, WindowScores(np.zeros(1), np.ones(1), np.array([int(s.file[0]) / 8]), None, None, None))
                for s in samples]


def test_every_fold_is_measured_on_the_sources_that_it_held_out(monkeypatch, tmp_path, write_samples, capsys):
    lines = [{"source": source, "video_fake": float(n % 2), "facts": {"fps": 25.0 + n}} for n, source in
             enumerate("aabbccdd")]
    samples = read_samples(write_samples(*lines))
    recipe = SimpleNamespace(detector="ss_avd", folds=2, seed=0)
    monkeypatch.setitem(module.LESSONS, "ss_avd", Knowing)
    monkeypatch.setattr(module, "recipe_of", lambda card: recipe)
    monkeypatch.setattr(module, "trained_weights", lambda run: run)
    card = {"fold": None, "recipe": {"detector": "ss_avd", "folds": 2}}
    monkeypatch.setattr(module, "read_checkpoint", lambda path: ({}, card))
    found = score_held(tmp_path / "run", samples)
    assert sorted(s.sample.file for s in found if s.head == "video") == [f"{n}.mp4" for n in range(8)]
    assert module.main([str(tmp_path / "run"), "--samples", str(samples[0].folder), "--json"]) == 0
    told = capsys.readouterr().out.splitlines()
    video = json.loads(told[-1])[str(tmp_path / "run")]["published"]["video"]
    assert video["clips"] == 8 and video["auc"] == 10 / 16  # odd files are fake: 1 beats 0; 3 beats 0, 2; ...
    assert any("published video" in line for line in told)
