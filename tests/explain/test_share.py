"""Modality shares: exact Shapley values."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from explain.sentences import tell_share
from explain.share import Share, share_modalities
from tests.explain.tiny_detectors import Spots, a_target, an_input


@torch.no_grad()
def terms(target):
    """Brightness and loudness, as recorded and as replaced."""
    model, inputs = target.detector.model, target.inputs
    silent = target.logit({"audio": torch.zeros(1, 101, 257)}, target.rows)
    face = [float(model.brightness(f)) for f in (inputs.faces, target.baseline.faces)]
    weight = model.weights[2] + model.weights[3] * face[0]
    loud = float(model.loudness(inputs.audio))
    return face, [loud, loud - float((target.logit({}, target.rows) - silent) / weight)]


def test_where_modalities_just_add_up_each_gets_its_own_difference():
    target = a_target(Spots(face=8.0, lips=3.0, audio=0.5))
    share = share_modalities(target)
    (face, face_0), (loud, loud_0) = terms(target)
    mouths = [p[..., 4:12, 4:12].mean() for p in (target.inputs.lips, target.baseline.lips)]
    assert share.values["face"] == pytest.approx(8 * (face - face_0), rel=1e-4)
    assert share.values["lips"] == pytest.approx(3 * float(mouths[0] - mouths[1]), rel=1e-3)
    assert share.values["audio"] == pytest.approx(0.5 * (loud - loud_0), rel=1e-3)
    assert share.complete and sum(share.of_total.values()) == pytest.approx(1)


def test_what_two_modalities_do_only_together_is_halved_between_them():
    target = a_target(Spots(face=0.0, audio=0.0, both=2.0), an_input(lips=False))
    share = share_modalities(target)
    (f, f0), (a, a0) = terms(target)
    assert share.values["face"] == pytest.approx(2 * (f - f0) * (a0 + a) / 2, rel=1e-3)
    assert share.values["audio"] == pytest.approx(2 * (a - a0) * (f0 + f) / 2, rel=1e-3)
    assert share.recorded - share.replaced == pytest.approx(2 * (f * a - f0 * a0), rel=1e-3)


def test_values_add_up_to_the_difference_of_the_logits():
    share = share_modalities(a_target(Spots(lips=2.0, both=1.0), an_input(n=2)))
    assert sum(share.values.values()) == pytest.approx(share.recorded - share.replaced, abs=1e-4) and share.complete


def test_an_incomplete_sum_is_seen():
    share = share_modalities(a_target(Spots()))
    wrong = replace(share, values={**share.values, "audio": share.values["audio"] + 0.1})
    assert not wrong.complete and wrong.residual == pytest.approx(-0.1, abs=1e-3)


def test_a_missing_modality_is_no_player():
    assert set(share_modalities(a_target(Spots(), an_input(audio=False, lips=False))).values) == {"face"}


def test_the_sentence_names_what_speaks_most_for_manipulation():
    def told(score: float, **spots: float) -> str:
        return tell_share(share_modalities(a_target(Spots(audio=0.0, **spots))), score, suspicious=0.6)

    assert told(0.9).startswith("The face speaks most for manipulation: it raises the score from ")
    assert "No part" in told(0.1, face=-8.0)


def test_what_raises_a_low_score_does_not_speak_for_manipulation():
    told = tell_share(Share({"face": -0.2, "audio": 1.82}, 0.0, -1.62), 0.5, suspicious=0.6)
    assert told == ("The sound raises the score most, from 0.14 to 0.50 (+1.82 in log-odds; the face -0.20), which by "
                    "itself is still no sign of manipulation.")
