"""What kinds of evidence are worth, on a tiny folder: in every source, in some, or only of a source."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from training import evidence
from training import search as module
from training.sampling import read_samples
from training.search import as_table, search, source_weights


def test_each_source_weighs_the_same():
    weights = source_weights([SimpleNamespace(source=name) for name in "aaab"])
    assert weights == pytest.approx([2 / 3] * 3 + [2])


@pytest.fixture
def folders(write_samples):
    """Twelve sources, a pair of each: in even ones the fake is brighter, in all of them it is more restless."""
    lines = [{"source": f"site{i}", "video_fake": float(fake), "pair": f"p{i}", "identities": [f"p{i}"],
              "family": "lip_sync" if fake else "real", "side_px": 96, "facts": {"fps": 25.0 + fake * (i % 2)}}
             for i in range(12) for fake in (0, 1)]
    return write_samples(*lines)


def test_what_tells_in_every_source_is_worth_more_than_what_tells_a_source(folders, monkeypatch):
    samples = read_samples(folders)
    monkeypatch.setitem(module.EVIDENCE, "video", {
        module.CHOSEN["video"]: lambda m: np.array([m.sample.video_fake, 0.0]),
        "site": lambda m: np.array([float(int(m.sample.source[4:])), 0.0]),
        "wrong way": lambda m: np.array([m.sample.video_fake * (-1) ** int(m.sample.source[4:]), 1.0])})
    monkeypatch.setattr(module, "degraded", lambda m: np.array([m.sample.video_fake, 1.0]))
    found = search(samples, {s.key: s for s in samples}, "video", repeats=2)
    truth = module.CHOSEN["video"]
    assert found[truth]["auc"] == found[truth]["within"] == found[truth]["pairs"] == 1.0
    assert found["site"]["within"] == found["site"]["pairs"] == 0.5
    assert 0.2 < found["wrong way"]["pairs"] < 0.8
    ways = {f"{truth}; {way}"
            for way in ("each source alike", "fakes above their originals", "degraded copies as well")}
    assert set(found) == {truth, "site", "wrong way", *ways}
    assert all(found[way]["auc"] == 1.0 for way in ways)
    assert found[truth]["shortcut"] > 0.6, "half of the sources give the label away by their frame rate"
    table = as_table(found)
    assert table.startswith("24 clips") and f"| {truth} | 1.00 [" in table and "| shortcuts | " in table


def test_ranking_above_originals_learns_nothing_of_a_site(folders):
    """Planted: a number that tells the site, and by it most labels, beside one that tells a fake from its original."""
    samples = read_samples(folders)[:-1]  # the last site has no fake: its number alone says genuine
    fake = np.array([s.video_fake for s in samples])
    site = np.array([10.0 if s.source == "site11" else 0.0 for s in samples])
    x = np.stack([site, fake + np.random.default_rng(0).normal(0, 0.1, len(fake))], axis=1)
    everything = np.arange(len(samples))
    ranked = module.rank_by_folds(x, fake, [(everything, everything)], samples)
    assert module.stratified_auc(ranked, fake, [s.source for s in samples]) == 1.0


def test_other_views_are_learnt_from_and_never_asked_about(folders):
    samples = read_samples(folders)
    fake = np.array([s.video_fake for s in samples])
    half = np.arange(12), np.arange(12, 24)
    x, other = np.stack([fake, fake], axis=1), np.stack([1 - fake, 1 - fake], axis=1)
    alone = module.score_by_folds(x, fake, [half, half[::-1]])
    both = module.learn_from_both(x, other, fake, [half, half[::-1]])
    assert len(both) == 24 and alone[fake == 1].min() > alone[fake == 0].max()
    assert np.ptp(both) < 1e-6, "the second view says the opposite, so nothing is left to tell by"


def test_only_what_is_asked_for_is_read_and_the_unknown_refused(folders, monkeypatch):
    samples = read_samples(folders)
    monkeypatch.setitem(module.EVIDENCE, "video", {
        "truth": lambda m: np.array([m.sample.video_fake, 0.0]), "never": lambda m: pytest.fail("not asked for")})
    encoded = {s.key: s for s in samples}
    assert set(search(samples, encoded, "video", ["truth"], 1)) == {"truth"}
    with pytest.raises(ValueError, match="no evidence is called nonsense; there are truth, never"):
        search(samples, encoded, "video", ["nonsense"])
    with pytest.raises(ValueError, match="genuine and fake"):
        search([s for s in samples if not s.video_fake], encoded, "video")


def test_the_command_prints_a_table_of_real_evidence(folders, capsys, monkeypatch):
    monkeypatch.setattr(evidence, "MOMENTS", 2)
    assert module.main([str(folders), "--repeats", "1",
                        "--only", "noise residual", "frequencies", "frame differences"]) == 0
    out = capsys.readouterr().out
    assert "| noise residual | " in out and "| frame differences | " in out and "nan" not in out


def test_sound_without_encoded_samples_is_refused_in_words(folders, capsys):
    with pytest.raises(SystemExit):
        module.main([str(folders), "--head", "audio"])
    assert "sound needs --encoded" in capsys.readouterr().err
