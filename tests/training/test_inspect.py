"""Counts by hand, leaks that were planted, clips that would spoil something."""

from __future__ import annotations

import json

import cv2
import pytest

from training.inspect import count, find_leaks, find_unfit, main
from training.shards import read_index


def lines(folder) -> list[dict]:
    return [line for line in read_index(folder) if "skipped" not in line]


def test_everything_is_counted(write_samples, capsys):
    folder = write_samples({"identities": ["ann"]},
                           {"identities": ["ann", "ben"], "family": "face_swap", "video_fake": 1},
                           {"split": "val", "source": "t", "identities": ["cem"]}, {"skipped": "no face"})
    assert main([str(folder), "--json"]) == 0
    summary = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (summary["samples"], summary["skipped"], summary["clips"]) == (3, 1, 3)
    assert (summary["identities"], summary["sources"]) == (3, 2)
    assert summary["hours"] == pytest.approx(6 / 3600, abs=1e-3)
    assert summary["families"] == {"train:face_swap": 1, "train:real": 1, "val:real": 1}
    assert not any(summary["leaks"].values())


@pytest.mark.parametrize("kind, key, value", [
    ("identities", "identities", ["ann"]), ("sources", "source", "tube"), ("methods", "method", "wav2lip"),
    ("pairs", "pair", "p7")])
def test_what_two_splits_share_is_found(write_samples, kind, key, value):
    usual = {"identities": [], "source": "", "method": "", "pair": ""}
    folder = write_samples({**usual, "split": "train", key: value}, {**usual, "split": "val", key: value})
    assert find_leaks(lines(folder)) == {"identities": [], "sources": [], "methods": [], "pairs": [],
                                         kind: [value if isinstance(value, str) else value[0]]}


def test_forge_families_are_in_every_split_and_no_leak(write_samples):
    usual = {"identities": [], "source": "", "forged": "jitter", "method": "forge:jitter"}
    assert not any(find_leaks(lines(write_samples({**usual, "split": "train"}, {**usual, "split": "val"}))).values())


def test_genuine_clips_without_voice_or_steady_face_are_named(write_samples):
    folder = write_samples({"speech_s": 0.3}, {"faces": 30}, {}, {"speech_s": 0.1, "video_fake": 1.0},
                           {"faces": 0, "facts": {}})
    assert find_unfit(lines(folder)) == {"sound": ["0.mp4"], "picture": ["1.mp4"], "sync": ["0.mp4", "1.mp4"]}


def test_the_sheet_has_a_row_for_every_family(write_samples, tmp_path):
    folder = write_samples({"shade": 10}, {"family": "face_swap", "shade": 90}, {"faces": 0})
    main([str(folder), "--sheet", str(tmp_path / "sheet.png")])
    assert cv2.imread(str(tmp_path / "sheet.png")).shape == (2 * 112, 8 * 112, 3)


def test_a_folder_without_shards_is_refused_in_words(tmp_path, capsys):
    with pytest.raises(SystemExit) as stop:
        main([str(tmp_path)])
    assert stop.value.code == 2 and "training.prepare" in capsys.readouterr().err


def test_hours_and_bytes_add_up(write_samples):
    folder = write_samples({"duration_s": 3.0}, {"duration_s": 1.5})
    summary = count(read_index(folder))
    assert summary["bytes"] == sum(line["bytes"] for line in lines(folder)) > 0
