"""From a folder with manifests to training samples; a second run finds nothing left to do."""

from __future__ import annotations

import json

import numpy as np
import pytest
from safetensors.numpy import load_file

from media import prepare
from tests.media.corpus import ffmpeg
from training import prepare as training_prepare
from training.records import read_manifests
from training.sampling import read_samples

VIDEO = """file,split,family,method,label,repo,identity,pair,video_fake,audio_fake,has_audio
real.mp4,train,real,,real,site,ann,p1,0,0,1
broken.mp4,train,lip_sync,x,fake,site,ann,p1,1,0,1
mute.mp4,val,lip_sync,x,fake,site,ben,,1,,0
"""


@pytest.fixture(scope="module")
def made(talking_clip, examples_dir, tmp_path_factory):
    """(manifest folder, samples folder, what the first run printed last)."""
    root, out = tmp_path_factory.mktemp("manifest"), tmp_path_factory.mktemp("out")
    ffmpeg("-t", "1.2", "-i", str(talking_clip), "-c", "copy", str(root / "real.mp4"))
    mute = examples_dir / "unaltered_face_no_sound.mp4"
    ffmpeg("-t", "1", "-i", str(mute), "-an", "-c", "copy", str(root / "mute.mp4"))
    (root / "broken.mp4").write_bytes(b"not a film" * 50)
    (root / "video.csv").write_text(VIDEO)
    summary = training_prepare.prepare_all(read_manifests(root), root, out, jobs=1)
    return root, out, summary


def lines_of(out) -> dict[str, dict]:
    return {line["file"]: line for line in map(json.loads, (out / "index.jsonl").read_text().splitlines())}


def test_the_summary_counts_samples_and_skipped_clips(made):
    summary = made[2]
    assert (summary["clips"], summary["samples"], summary["skipped"]) == (3, 2, 1)
    assert summary["hours"] == 0.001  # 2.2 seconds


def test_a_sample_holds_every_third_face_and_the_whole_sound(made):
    root, out, _ = made
    clip = prepare(root / "real.mp4")
    tensors = load_file(out / "samples" / f"{lines_of(out)['real.mp4']['sample']}.safetensors")
    rows = [i for i, t in enumerate(clip.tracks[0].times_s) if round(t * 25) % 3 == 0]
    np.testing.assert_array_equal(tensors["faces"], clip.faces[0][rows])
    np.testing.assert_allclose(tensors["times_s"], np.arange(len(rows)) * 0.12, atol=1e-9)
    np.testing.assert_allclose(tensors["waveform"] / 32767, clip.waveform, atol=0.6 / 32767)


def test_the_index_says_what_was_found_and_keeps_the_labels(made):
    lines = lines_of(made[1])
    assert lines["real.mp4"]["faces"] == pytest.approx(10, abs=1) and lines["real.mp4"]["samples"] > 16_000
    assert lines["real.mp4"]["identity"] == "ann" and lines["real.mp4"]["audio_fake"] == 0
    assert lines["mute.mp4"]["samples"] == 0 and np.isnan(lines["mute.mp4"]["audio_fake"])
    assert "NO_AUDIO" in lines["mute.mp4"]["reasons"]


def test_a_broken_clip_is_skipped_in_words_and_leaves_no_file(made):
    _, out, _ = made
    broken = lines_of(out)["broken.mp4"]
    assert "not accepted" in broken["skipped"] or "not valid" in broken["skipped"]
    assert len(list((out / "samples").iterdir())) == 2 and not list(out.rglob("*.partial"))


def test_the_loader_reads_what_was_written(made):
    samples = read_samples(made[1])
    assert {s.file for s in samples} == {"real.mp4", "mute.mp4"}
    assert all(s.path.is_file() for s in samples)


def test_a_second_run_does_no_work(made, capsys):
    """The clips themselves are gone: whatever reads them again fails."""
    root, out, first = made
    index = (out / "index.jsonl").read_bytes()
    stamps = {p: p.stat().st_mtime_ns for p in (out / "samples").iterdir()}
    clips = {p: p.read_bytes() for p in root.glob("*.mp4")}
    try:
        for path in clips:
            path.unlink()
        assert training_prepare.main(["manifest", str(root), "--out", str(out), "--jobs", "1", "--json"]) == 0
    finally:
        for path, data in clips.items():
            path.write_bytes(data)
    summary = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert {k: summary[k] for k in ("clips", "samples", "skipped", "hours")} == {
        k: first[k] for k in ("clips", "samples", "skipped", "hours")}
    assert (out / "index.jsonl").read_bytes() == index
    assert {p: p.stat().st_mtime_ns for p in (out / "samples").iterdir()} == stamps


def test_a_folder_without_manifests_is_refused_in_words(tmp_path, capsys):
    with pytest.raises(SystemExit) as stop:
        training_prepare.main(["manifest", str(tmp_path), "--out", str(tmp_path / "out")])
    assert stop.value.code == 2 and "holds neither video.csv nor speech.csv" in capsys.readouterr().err
