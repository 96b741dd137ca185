"""The registry and its command: python -m detectors."""

from __future__ import annotations

import hashlib
import json

import pytest

from detectors import BUILDERS, load
from detectors.__main__ import main
from detectors.checkpoint import CHECKPOINTS


def test_the_command_prints_what_the_table_promises(capsys):
    assert main(["--json"]) == 0
    table = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert table.keys() == BUILDERS.keys()
    row = table["ss_avd"]
    assert row["paper_parameters"] == 483_402
    assert row["paper_gflops_per_window"] == pytest.approx(8.36, rel=0.01)  # 4.18 GMACs
    content = (CHECKPOINTS / "ss_avd.safetensors").read_bytes()
    [face_encoder] = CHECKPOINTS.glob("face_encoder-*.safetensors")  # which it shares with others
    assert row["checkpoint_bytes"] == len(content) + face_encoder.stat().st_size
    assert row["checkpoint_sha256"] == hashlib.sha256(content).hexdigest()
    assert row["shipped_parameters"] == 384_030 + 253_984  # learnt, and those of the frozen face encoder
    assert 0 < row["gflops_per_window"] < row["paper_gflops_per_window"]
    assert 0 <= row["val_auc"] <= 1


def test_a_detector_is_loaded_once_and_unknown_names_list_the_choices():
    assert load("ss_avd", "cpu") is load("ss_avd", "cpu")
    with pytest.raises(KeyError, match="unknown detector 'meso'; there are: ss_avd"):
        load("meso")
