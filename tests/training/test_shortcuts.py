"""A planted shortcut is found, noise is not, and a forgery is set against its own original."""

from __future__ import annotations

import json

import numpy as np
import pytest

from training.shortcuts import main, measure, score_by_facts


def clip(number: int, **changes) -> dict:
    return {"split": "train", "version": 0, "video_fake": 0.0, "audio_fake": 0.0, "forged": "", "family": "real",
            "group": f"{number}.mp4", "source": f"site {number % 20}", "facts": {}, **changes}


def forged(number: int, facts: dict, family: str = "jitter") -> dict:
    return clip(number, version=1, video_fake=1.0, forged=family, family=family, facts=facts)


def corpus(rng: np.random.Generator, louder_db: float) -> list[dict]:
    """60 pairs; a forgery is as loud as its original but for louder_db, and clips differ much among each other."""
    lines = []
    for number in range(60):
        loud = rng.normal(-20, 6)
        lines += [clip(number, facts={"loudness_db": loud + rng.normal(0, 0.5), "fps": 25.0}),
                  forged(number, {"loudness_db": loud + louder_db + rng.normal(0, 0.5), "fps": 25.0})]
    return lines


def test_a_fact_that_no_clip_of_a_fit_has_is_not_read():
    facts, fake = [{"x": float(n), "y": float("nan")} for n in range(8)], np.arange(8) >= 4
    told = score_by_facts(facts, fake, [{"x": 0.0, "y": 1.0, "z": 1.0}, {"x": 7.0}])
    assert told.keys() == {"linear", "trees"} and told["linear"][0] < 0.5 < told["linear"][1]


def test_alike_versions_are_not_told_apart():
    found = measure(corpus(np.random.default_rng(0), 0.0))
    assert found["forge:jitter"]["auc"] == pytest.approx(0.5, abs=0.12)
    assert found["forge:jitter"]["auc_95"][0] < 0.5 < found["forge:jitter"]["auc_95"][1]


def test_a_planted_shortcut_is_found():
    assert measure(corpus(np.random.default_rng(0), 25.0))["forge:jitter"]["auc"] > 0.9


def test_published_fakes_are_measured_on_sources_that_were_not_seen():
    """Each site's fakes differ from its genuine clips in a way of its own: nothing carries over to the next site."""
    rng = np.random.default_rng(1)
    lines = [clip(i, facts={"x": rng.normal() + 100 * (i % 20)}) for i in range(200)]
    lines += [clip(i, video_fake=1.0, family="lip_sync", facts={"x": rng.normal() + 100 * (i % 20)})
              for i in range(200)]
    assert measure(lines)["lip_sync"]["auc"] == pytest.approx(0.5, abs=0.1)
    for line in lines:
        line["facts"]["fps"] = 30.0 if line["video_fake"] else 25.0
    assert measure(lines)["lip_sync"]["auc"] > 0.95


def test_families_with_few_clips_and_other_splits_are_left_out():
    lines = corpus(np.random.default_rng(0), 0.0)
    assert not measure(lines, split="val")
    assert "forge:splice" not in measure([*lines, *(forged(i, {}, "splice") for i in range(9))])


def test_a_missing_fact_is_no_error_and_can_tell_too():
    lines = corpus(np.random.default_rng(0), 0.0)
    for line in lines:
        if line["forged"]:
            del line["facts"]["fps"]
    assert measure(lines)["forge:jitter"]["auc"] > 0.9  # that it is missing gives it away


def test_the_command_prints_every_family_and_the_worst(write_samples, capsys):
    folder = write_samples(*({**line, "faces": 0, "samples": 800} for line in corpus(np.random.default_rng(0), 25.0)))
    assert main([str(folder), "--json"]) == 0
    printed = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert printed["worst"] in ("forge:jitter", "forge:all") and printed["auc"]["forge:jitter"] > 0.9
