"""ASVspoof: five columns in 2019; in 2021 more, two meanings of the fourth, and phases that are not scored."""

from __future__ import annotations

from math import isnan

import pytest

from training.datasets.asvspoof import read_asvspoof2019_la, read_asvspoof2021_df, read_asvspoof2021_la

PROTOCOLS = {
    "ASVspoof2019.LA.cm.train.trn.txt": "LA_0079 LA_T_1138215 - - bonafide\nLA_0079 LA_T_1000137 - A01 spoof\n",
    "ASVspoof2019.LA.cm.dev.trl.txt": "LA_0070 LA_D_1 - A05 spoof\n",
    "ASVspoof2019.LA.cm.eval.trl.txt": "LA_0039 LA_E_2834763 - A11 spoof\n\n",
}
FLAC = {"LA_T_1138215": "train", "LA_T_1000137": "train", "LA_D_1": "dev", "LA_E_2834763": "eval"}


@pytest.mark.parametrize("base", ["", "LA/"])
def test_2019(tree, base):
    root = tree(*(f"{base}ASVspoof2019_LA_{split}/flac/{name}.flac" for name, split in FLAC.items()),
                tables={f"{base}ASVspoof2019_LA_cm_protocols/{name}": text for name, text in PROTOCOLS.items()})
    records = read_asvspoof2019_la(root)
    assert [(r.split, r.audio_fake, r.method, r.identity) for r in records] == [
        ("train", 0, "", "LA_0079"), ("train", 1, "A01", "LA_0079"), ("dev", 1, "A05", "LA_0070"),
        ("eval", 1, "A11", "LA_0039")]
    assert records[0].file == f"{base}ASVspoof2019_LA_train/flac/LA_T_1138215.flac"
    assert [r.family for r in records[:2]] == ["real_speech", "fake_speech"]
    assert [r.extent("audio") for r in records[:2]] == ["none", "whole"] and all(isnan(r.video_fake) for r in records)


LA_2021 = """LA_0009 LA_E_9332881 alaw ita_tx A07 spoof notrim eval
LA_0010 LA_E_1 alaw ita_tx bonafide bonafide notrim eval
LA_0011 LA_E_2 none none A08 spoof notrim progress
LA_0012 LA_E_3 none none A08 spoof trim hidden
"""
DF_2021 = """LA_0043 DF_E_2000026 mp3m4a asvspoof A09 spoof notrim eval traditional_vocoder - - - -
VCC2SF1 DF_E_2 nocodec vcc2018 - bonafide notrim eval bonafide - - - -
LA_0043 DF_E_3 nocodec asvspoof A09 spoof notrim progress unknown - - - -
"""


def test_2021_la_keeps_unscored_phases_apart(tree):
    root = tree(*(f"ASVspoof2021_LA_eval/flac/LA_E_{n}.flac" for n in ("9332881", "1", "2", "3")),
                tables={"keys/LA/CM/trial_metadata.txt": LA_2021})
    records = read_asvspoof2021_la(root)
    assert [(r.split, r.audio_fake, r.method) for r in records] == [
        ("eval", 1, "A07"), ("eval", 0, ""), ("progress", 1, "A08"), ("hidden", 1, "A08")]
    assert {r.source for r in records} == {"VCTK"}


@pytest.mark.parametrize("folders", [
    ("ASVspoof2021_DF_eval", "ASVspoof2021_DF_eval"),
    ("ASVspoof2021_DF_eval_part00", "ASVspoof2021_DF_eval_part03"),
    ("ASVspoof2021_DF_eval_part00/ASVspoof2021_DF_eval", "ASVspoof2021_DF_eval_part01/ASVspoof2021_DF_eval"),
])
def test_2021_df_lies_in_parts_and_comes_from_several_corpora(tree, caplog, folders):
    files = f"{folders[0]}/flac/DF_E_2000026.flac", f"{folders[1]}/flac/DF_E_2.flac"
    records = read_asvspoof2021_df(tree(*files, tables={"DF-keys-full/keys/DF/CM/trial_metadata.txt": DF_2021}))
    assert [(r.file, r.source, r.audio_fake, r.identity) for r in records] == [
        (files[0], "asvspoof", 1, "LA_0043"), (files[1], "vcc2018", 0, "VCC2SF1")]
    assert "1 of 3" in caplog.text
