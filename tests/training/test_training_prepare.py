"""From a folder with manifests to shards: pairs share their chain, labels and spans are what was done, and a second
run finds nothing left to do."""

from __future__ import annotations

import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from media import prepare
from tests.media.corpus import ffmpeg
from training import prepare as training_prepare
from training.datasets import Record, read_dataset
from training.forge.chain import Chain
from training.forge.footage import Footage, Span, Truth
from training.prepare import Plan, is_genuine, plan_units, prepare_all
from training.shards import read_index, read_tensors, unpack_pictures

VIDEO = """file,split,label,video_fake,audio_fake,family,method,repo,identity,pair,has_audio
real.mp4,train,real,0,0,real,,site,ann,p1,1
broken.mp4,train,fake,1,0,lip_sync,x,site,ann,p1,1
mute.mp4,val,fake,1,,lip_sync,x,site,ben,,0
"""


@pytest.fixture(scope="module")
def root(talking_clip, examples_dir, tmp_path_factory):
    folder = tmp_path_factory.mktemp("manifest")
    ffmpeg("-t", "2.2", "-i", str(talking_clip), "-c", "copy", str(folder / "real.mp4"))
    mute = examples_dir / "unaltered_face_no_sound.mp4"
    ffmpeg("-t", "1", "-i", str(mute), "-an", "-c", "copy", str(folder / "mute.mp4"))
    (folder / "broken.mp4").write_bytes(b"not a film" * 50)
    (folder / "video.csv").write_text(VIDEO)
    return folder


def plan(root, **changes) -> Plan:
    usual = {"root": root, "records": tuple(read_dataset("manifest", root)), "versions": 0, "as_is": True,
             "learnt": None, "seed": 0}
    return Plan(**usual | changes)


@pytest.fixture(scope="module")
def as_is(root, tmp_path_factory):
    out = tmp_path_factory.mktemp("as_is")
    return out, prepare_all(plan(root), out, "manifest", jobs=1)


@pytest.fixture(scope="module")
def forged(root, tmp_path_factory):
    """One genuine clip in three versions."""
    out = tmp_path_factory.mktemp("forged")
    prepare_all(plan(root, as_is=False, versions=2, records=plan(root).records[:1]), out, "manifest", jobs=1)
    return out, read_index(out)


def by_file(out) -> dict[str, dict]:
    return {line["file"]: line for line in read_index(out)}


def tensors(out, line: dict) -> dict[str, np.ndarray]:
    return read_tensors(out, line["shard"], line["offset"], line["bytes"])


def test_the_summary_counts_samples_and_skipped_clips(as_is):
    out, summary = as_is
    assert (summary["clips"], summary["samples"], summary["skipped"]) == (3, 2, 1)
    assert summary["hours"] == 0.001 and summary["bytes"] == sum(p.stat().st_size for p in out.glob("*.tar"))


def test_a_clip_as_it_is_holds_every_face_and_the_whole_sound(root, as_is):
    out, _ = as_is
    clip, line = prepare(root / "real.mp4"), by_file(out)["real.mp4"]
    held = tensors(out, line)
    faces = unpack_pictures(held, "faces", range(line["faces"]))
    assert faces.shape == clip.faces[0].shape
    assert np.abs(faces.astype(int) - clip.faces[0]).mean() < 1.5  # JPEG
    np.testing.assert_allclose(held["times_s"], clip.tracks[0].times_s)
    np.testing.assert_allclose(held["waveform"] / 32767, clip.waveform, atol=0.6 / 32767)
    assert unpack_pictures(held, "lips", [0]).shape == (1, 96, 96, 3)


def test_the_index_says_what_was_found_and_keeps_the_labels(as_is):
    lines = by_file(as_is[0])
    assert lines["real.mp4"]["identities"] == ["ann"] and lines["real.mp4"]["audio_fake"] == 0
    assert lines["real.mp4"]["facts"]["fps"] == pytest.approx(25, abs=1.5)  # cut without re-encoding
    assert lines["mute.mp4"]["samples"] == 0 and lines["mute.mp4"]["audio_fake"] is None
    assert "NO_AUDIO" in lines["mute.mp4"]["reasons"]
    assert "not accepted" in lines["broken.mp4"]["skipped"] or "not valid" in lines["broken.mp4"]["skipped"]


def test_versions_of_a_pair_went_through_the_same_chain(forged):
    _, lines = forged
    assert [line["version"] for line in lines] == [0, 1, 2]
    original, *fakes = lines
    assert all(line["chain"] == original["chain"] and line["pair"] == original["pair"] == "p1" for line in fakes)
    for fact in ("fps", "width_px", "height_px", "duration_s"):
        assert {line["facts"][fact] for line in lines} == {original["facts"][fact]}


def test_a_forgery_says_what_was_done_and_when(forged):
    out, (original, *fakes) = forged
    assert original["spans"] == [] and original["forged"] == ""
    assert (original["video_fake"], original["audio_fake"], original["sync_fake"]) == (0, 0, 0)
    for line in fakes:
        marked = {modality for modality, _, _ in line["spans"]}
        assert marked == {name for name in ("video", "audio", "sync") if line[f"{name}_fake"] == 1} != set()
        assert all(0 <= begin < end <= line["duration_s"] + 0.1 for _, begin, end in line["spans"])
        assert line["method"] == f"forge:{line['family']}" and line["steps"] and line["identities"][0] == "ann"
        assert ("region_png" in tensors(out, line)) <= bool(line["video_fake"])
    assert len({line["family"] for line in fakes}) == 2


def test_the_same_seed_gives_the_same_samples_however_they_are_shared_out(root, forged, tmp_path):
    _, lines = forged
    again = plan(root, as_is=False, versions=2, records=plan(root).records[:1])
    prepare_all(again, tmp_path, "other", jobs=1)
    told = ("key", "family", "spans", "steps", "chain", "duration_s", "faces", "facts")
    assert [[line[name] for name in told] for line in read_index(tmp_path)] == [
        [line[name] for name in told] for line in lines]


def test_the_region_lies_where_the_face_was_replaced():
    """A square of the picture around the nose, in frames 0.2 s apart, is the middle of the aligned crop."""
    points = np.array([[40, 40], [60, 40], [50, 52], [43, 62], [57, 62]], np.float32)  # eyes, nose, mouth
    track = SimpleNamespace(landmarks_px=np.stack([points] * 10), times_s=np.arange(10) / 25)
    clip = SimpleNamespace(tracks=[track], info=SimpleNamespace(width_px=200))
    region = np.zeros((2, 100, 100), np.uint8)  # half the size of the file's picture
    region[1, 22:30, 21:29] = 255
    aligned = training_prepare._aligned_region(region, np.array([0.0, 0.2]), clip)
    assert aligned.shape == (10, 56, 56) and not aligned[:2].any()  # up to 0.1 s the first frame is nearer
    row, column = (np.average(np.arange(56), weights=aligned[5].sum(axis=axis)) for axis in (1, 0))
    nose = training_prepare.alignment(points, 56) @ [50, 52, 1]
    assert (column, row) == (pytest.approx(nose[0], abs=1.5), pytest.approx(nose[1], abs=1.5))


def test_a_second_run_does_no_work(root, as_is, capsys):
    """The clips themselves are gone: whatever reads them again fails."""
    out, first = as_is
    stamps = {p: p.stat().st_mtime_ns for p in out.glob("manifest-*")}
    clips = {p: p.read_bytes() for p in root.glob("*.mp4")}
    try:
        for path in clips:
            path.unlink()
        assert training_prepare.main(["manifest", str(root), "--out", str(out), "--as-is", "--jobs", "1",
                                      "--json"]) == 0
    finally:
        for path, data in clips.items():
            path.write_bytes(data)
    summary = json.loads(capsys.readouterr().out.splitlines()[-1])
    same = ("clips", "samples", "skipped", "hours", "bytes")
    assert {k: summary[k] for k in same} == {k: first[k] for k in same}
    assert {p: p.stat().st_mtime_ns for p in out.glob("manifest-*")} == stamps


def test_shards_are_bounded_and_mixed_and_hold_every_clip_once(tmp_path):
    records = [Record(file=f"{i:03d}.mp4", dataset="x", video_fake=0.0, audio_fake=0.0) for i in range(50)]
    units = plan_units(records, tmp_path, "x", seed=0)
    assert [len(u.records) for u in units] == [8] * 6 + [2]
    assert sorted(r.file for u in units for r in u.records) == [r.file for r in records]
    assert [r.file for r in units[0].records] != [r.file for r in records[:8]]
    assert plan_units(records[::-1], tmp_path, "x", seed=0) == units  # the corpus' order does not matter


@pytest.mark.parametrize("video, audio, genuine", [
    (0, 0, True), (0, np.nan, True), (np.nan, 0, True), (1, 0, False), (0, 1, False), (np.nan, np.nan, False)])
def test_only_clips_known_to_be_genuine_are_forged(video, audio, genuine):
    assert is_genuine(Record(file="a", dataset="x", video_fake=video, audio_fake=audio)) is genuine


def test_donors_are_other_people_of_the_same_split(root, monkeypatch):
    def record(file, split, who, pair="", fake=0.0):
        return Record(file=file, dataset="x", split=split, identities=(who,), pair=pair, video_fake=fake,
                      audio_fake=fake)

    me = record("me", "train", "ann", "p")
    others = [record("same person", "train", "ann"), record("same pair", "train", "ben", "p"),
              record("fake", "train", "cem", fake=1.0), record("other split", "val", "dan"),
              record("good", "train", "eve")]
    read = []
    monkeypatch.setattr(training_prepare, "read_pieces", lambda path, clip_id, **how: iter([(
        0.0, read.append(clip_id) or Footage(clip_id, None, None, np.zeros(16_000, np.float32)))]))
    footage, who = training_prepare._donor(plan(root, records=(me, *others)), me, "voice", np.random.default_rng(0))
    assert read == ["good"] and who == "eve"


def test_a_later_piece_of_a_long_clip_is_a_group_of_its_own_with_its_share_of_the_spans():
    record = Record(file="a.mp4", dataset="x", video_fake=1.0, audio_fake=1.0,
                    spans=(("video", 12.0, 16.5), ("audio", 0.0, np.inf), ("video", 1.0, 2.0)))
    piece = Footage("a.mp4", None, None, np.zeros(5 * 16_000, np.float32))  # 15 to 20 s
    assert training_prepare._known_spans(record, piece, 15.0) == (Span(0.0, 1.5, "video"), Span(0.0, 5.0, "audio"))
    first, later = training_prepare._line(record, 0), training_prepare._line(record, 0, 15.0)
    assert (first["group"], later["group"]) == ("a.mp4", "a.mp4@15")
    assert first["key"] != later["key"] and first["pair"] == later["pair"] and first["file"] == later["file"]


def test_labels_of_a_forgery_keep_what_is_not_known():
    record = Record(file="a", dataset="x", split="train", identities=("ann",), video_fake=0.0, audio_fake=np.nan)
    version = training_prepare.Version("jitter", None, None)
    truth = Truth("a", (Span(0.5, 1.0, "video"),), steps=(("jitter", {}),), identities=("ben",))
    line = training_prepare._forged(record, version, truth)
    assert (line["video_fake"], line["audio_fake"], line["sync_fake"]) == (1.0, None, 0.0)
    assert line["identities"] == ["ann", "ben"] and line["spans"] == [["video", 0.5, 1.0]]
    both = replace(truth, spans=(*truth.spans, Span(0, 1, "audio")))
    assert training_prepare._forged(record, version, both)["audio_fake"] == 1.0


def test_only_the_files_that_are_asked_for_are_prepared(root, tmp_path, capsys):
    first, *_ = sorted(p.name for p in root.glob("*.mp4"))
    assert training_prepare.main(["manifest", str(root), "--out", str(tmp_path), "--as-is", "--jobs", "1",
                                  "--files", f"{first[:-5]}?.mp4"]) == 0
    assert {line["file"] for line in read_index(tmp_path)} == {first}
    with pytest.raises(SystemExit):
        training_prepare.main(["manifest", str(root), "--out", str(tmp_path), "--files", "nowhere/*"])
    assert "holds no such clip" in capsys.readouterr().err


def test_a_folder_without_manifests_is_refused_in_words(tmp_path, capsys):
    with pytest.raises(SystemExit) as stop:
        training_prepare.main(["manifest", str(tmp_path), "--out", str(tmp_path / "out")])
    assert stop.value.code == 2 and "holds neither video.csv nor speech.csv" in capsys.readouterr().err


@pytest.mark.timeout(240)
def test_a_ray_cluster_of_two_workers_writes_the_same_shards(root, tmp_path, monkeypatch):
    monkeypatch.setattr(training_prepare, "CLIPS_PER_SHARD", 1)  # three shards to share out
    local = prepare_all(plan(root), tmp_path / "local", "manifest", jobs=1)
    spread = prepare_all(plan(root), tmp_path / "spread", "manifest", jobs=2, engine="ray")
    assert {**spread, "clips_per_s": None} == {**local, "clips_per_s": None}
    written = sorted(p.name for p in (tmp_path / "local").iterdir())
    assert len(written) == 6 and written == sorted(p.name for p in (tmp_path / "spread").iterdir())
    for name in written:
        assert (tmp_path / "local" / name).read_bytes() == (tmp_path / "spread" / name).read_bytes(), name


def test_spans_that_a_corpus_gives_go_through_the_chain_with_the_clip(root, tmp_path, monkeypatch):
    """The chain cuts 0.3 s off the head: what was fake from 0.5 s on now is from 0.2 s on, and the first 0.2 s are
    gone, with their label."""
    fixed = Chain(head_s=0.3)
    monkeypatch.setattr(training_prepare, "draw_chain", lambda footage, rng, edges_s: fixed)
    record = Record(file="real.mp4", dataset="x", split="train", identities=("ann",), video_fake=1.0, audio_fake=1.0,
                    spans=(("video", 0.5, 1.0), ("audio", 0.0, 0.2)))
    [packed] = training_prepare._groups(record, plan(root, as_is=False, records=(record,)))
    [(modality, start_s, end_s)] = packed.line["spans"]
    assert modality == "video" and (start_s, end_s) == (pytest.approx(0.2, abs=0.09), pytest.approx(0.7, abs=0.09))
    assert (packed.line["video_fake"], packed.line["audio_fake"]) == (1.0, 0.0)


def test_labels_without_spans_survive_the_chain(root):
    record = Record(file="real.mp4", dataset="x", split="train", video_fake=1.0, audio_fake=np.nan)
    [packed] = training_prepare._groups(record, plan(root, as_is=False, records=(record,)))
    assert (packed.line["video_fake"], packed.line["audio_fake"], packed.line["spans"]) == (1.0, None, [])


@pytest.mark.parametrize("share", ["-0.1", "3", "nan"])
def test_a_share_beyond_its_bounds_is_refused_in_words(tmp_path, capsys, share):
    with pytest.raises(SystemExit):
        training_prepare.main(["manifest", str(tmp_path), "--out", str(tmp_path / "out"), "--partial", share])
    assert "--partial is a share, from 0 to 1" in capsys.readouterr().err
