"""Limits are of sources that the fit did not see, and what was made is what the app reads."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from detectors.checkpoint import read_card, read_checkpoint
from detectors.familiarity import CHECKPOINT, COMPONENTS, Familiarity
from training import familiarity


@pytest.mark.parametrize("share, limit", [(0.5, 2.0), (0.6, 3.0), (0.75, 3.0), (0.76, 4.0), (1.0, 4.0)])
def test_a_limit_is_the_least_within_which_the_share_lies(share, limit):
    assert familiarity.limit_at(np.array([4.0, 1, 3, 2]), np.ones(4), share) == limit


def test_clips_count_as_they_are_told_to():
    """Of eight parts the first clip counts five."""
    distances, counts = np.array([1.0, 2, 3, 4]), np.array([5.0, 1, 1, 1])
    assert familiarity.limit_at(distances, counts, 0.6) == 1.0
    assert familiarity.limit_at(distances, counts, 0.7) == 2.0


class Clip(SimpleNamespace):
    """As splits reads a sample."""

    __hash__ = object.__hash__


def test_a_source_of_its_own_kind_is_far_out_while_it_is_held_out():
    """Its clips differ from all others in one value; a fit that had seen them would find nothing unusual."""
    rng = torch.Generator().manual_seed(0)
    dim = Familiarity().beside.whiten_sound.mean.numel()
    clips = [(Clip(source=f"s{n % 12}", pair="", identity="", identities=(), file=f"{n}.mp4", group=f"{n}"),
              torch.randn(dim, generator=rng)) for n in range(180)]
    odd = [clip for clip, _ in clips if clip.source == "s0"]
    for clip, summary in clips:
        if clip.source == "s0":
            summary += 6.0
    found, counts = familiarity.held_out_distances({"audio": clips})["audio"]
    assert len(found) == 3 * len(clips) == len(counts)
    far = sorted(found)[-3 * len(odd):]
    near = sorted(found)[:-3 * len(odd)]
    assert min(far) > 1.2 * max(near)
    model = Familiarity()
    familiarity.fit(model, {"audio": clips})
    seen = model.deviations("audio", torch.stack([s for c, s in clips if c in odd]))
    assert seen.max() < min(far)


class TestCommand:
    @pytest.fixture
    def shards(self, write_samples):
        return write_samples(*({"source": f"s{n % 6}", "duration_s": 4.0, "side_px": 64, "speech_s": 4.0}
                               for n in range(2 * COMPONENTS)))

    def test_it_writes_what_the_app_reads(self, shards, tmp_path, capsys):
        out = tmp_path / CHECKPOINT.name
        assert familiarity.main(["--samples", str(shards), "--out", str(out)]) == 0
        state, card = read_checkpoint(out)
        Familiarity().load_state_dict(state)
        for limits in card["limits"].values():
            assert 0 < limits["usual"] <= limits["known"]
        assert card["data"] == {m: {"clips": 2 * COMPONENTS, "sources": 6} for m in ("video", "audio")}
        assert "limits" in capsys.readouterr().out

    def test_the_same_shards_give_the_same_file(self, shards, tmp_path):
        for name in ("a", "b"):
            (tmp_path / name).mkdir()
            familiarity.main(["--samples", str(shards), "--out", str(tmp_path / name / CHECKPOINT.name)])
        files = [sorted(p.name for p in (tmp_path / name).iterdir()) for name in ("a", "b")]
        assert files[0] == files[1] and len(files[0]) == 2
        for file in files[0]:
            assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()

    def test_too_little_to_measure_with_is_refused(self, write_samples, tmp_path, capsys):
        few = write_samples({"source": "a"}, {"source": "b"})
        with pytest.raises(SystemExit):
            familiarity.main(["--samples", str(few), "--out", str(tmp_path / "x.safetensors")])
        assert "folds" in capsys.readouterr().err


def test_the_shipped_card_says_how_it_came_about():
    card = read_card(CHECKPOINT)
    assert card["commands"][-1].startswith("python -m training.familiarity") and card["components"] == COMPONENTS
    assert card["data"]["audio"]["clips"] > card["data"]["video"]["clips"] > 500
