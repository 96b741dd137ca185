"""Every data set has a name, and refuses a folder that is something else in words."""

from __future__ import annotations

import pytest

from training.datasets import DATASETS, read_dataset

EXPECTED = {
    "fakeavceleb": "meta_data.csv", "lav_df": "metadata.min.json", "av_deepfake1m": "train_metadata.json",
    "dfdc": "metadata.json", "dfdc_preview": "dataset.json", "df_timit": "higher_quality", "tvil": r"\*\.json",
    "kodf": "original_videos", "asvspoof2019_la": "ASVspoof2019_LA_cm_protocols",
    "asvspoof2021_la": "keys/LA/CM/trial_metadata.txt", "asvspoof2021_df": "keys/DF/CM/trial_metadata.txt",
    "in_the_wild": "meta.csv", "manifest": "video.csv nor speech.csv", "folder": "records.csv",
}


@pytest.mark.parametrize("name", DATASETS)
def test_a_folder_of_something_else_is_refused_with_what_was_expected(name, tree):
    with pytest.raises(FileNotFoundError, match=EXPECTED[name]):
        read_dataset(name, tree("notes.txt"))


def test_a_missing_folder_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere is not a folder"):
        read_dataset("folder", tmp_path / "nowhere")


def test_an_unknown_name_lists_the_choices(tmp_path):
    with pytest.raises(ValueError, match="'celebs'.*fakeavceleb, lav_df.*folder"):
        read_dataset("celebs", tmp_path)


def test_records_name_the_data_set_they_came_from(tree):
    assert [r.dataset for r in read_dataset("folder", tree("a.mp4"))] == ["folder"]
