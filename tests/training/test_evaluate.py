"""Rows from clips by the app's own path, and the baseline and the command that make results of them."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from detectors import InputSpec, Thresholds, WindowScores
from media import AUDIO_HZ, ClipInfo, FaceTrack, PreparedClip, Quality
from tests.training.known_rows import row
from training import cards, evaluate
from training.evaluate import (
    Item,
    Material,
    chosen_detectors,
    command_for,
    exchange_halves,
    gather_items,
    judge_by_facts,
    keep_picture,
    keep_silence,
    keep_sound,
    main,
    measure_clip,
)
from training.results import summarise

THRESHOLDS = Thresholds(manipulated=0.8, suspicious=0.6)
DRAWS = 20


# ---- the baseline -----------------------------------------------------------------------------------------------


def line(fake: float, loudness_db: float, split: str = "train") -> dict:
    return {"split": split, "facts": {"loudness_db": loudness_db}, "video_fake": fake, "audio_fake": None,
            "sync_fake": None}


def test_the_baseline_learns_from_training_lines_and_stands_beside_each_figure():
    """In training, fakes are loud; here, half of the fakes are. Validation lines say the opposite and are not read."""
    rng = np.random.default_rng(0)
    lines = [line(k % 2, 20.0 * (k % 2) + rng.normal()) for k in range(60)]
    lines += [line(k % 2, -20.0 * (k % 2), "val") for k in range(60)]
    loud, quiet = {"loudness_db": 20.0, "bits_per_s": 1.0}, {"loudness_db": 0.0, "bits_per_s": 1.0}
    rows = [row("a", 0.1, 0, facts=quiet), row("b", 0.2, 0, facts=quiet), row("c", 0.3, 1, facts=loud),
            row("d", 0.4, 1, facts=quiet)]
    told = judge_by_facts(rows, lines)
    rows = [replace(r, shortcut=told[r.file]) for r in rows]
    assert rows[2].shortcut["video"] > rows[0].shortcut["video"] == rows[3].shortcut["video"]
    assert rows[0].shortcut.keys() == {"video", "score"}
    result = summarise(rows, THRESHOLDS, DRAWS)
    assert result["auc"] == 1 and result["shortcut_auc"] == result["video"]["shortcut_auc"] == 0.75
    assert result["families"]["video:swap"]["shortcut_auc"] == result["within_source"]["shortcut_auc"] == 0.75


# ---- from clips to rows -----------------------------------------------------------------------------------------

GENUINE = {"file": "c", "family": "real", "method": "", "source": "s", "identity": "i", "pair": "", "video_fake": 0.0,
           "audio_fake": None, "sync_fake": None, "spans": ()}


class Brightness:
    """P(fake) of the picture is its brightness, of the sound its loudness."""

    id = "brightness"
    spec = InputSpec(window_s=1.0, hop_s=1.0, frames=2, face_px=8, audio_hz=AUDIO_HZ, modalities=("video", "audio"))
    card = {"thresholds": {"manipulated": 0.8, "suspicious": 0.6}, "checkpoint": "", "provisional": True}

    def score(self, windows):
        n = len(windows.start_s)
        video = np.full(n, np.nan) if windows.faces is None else windows.faces.mean(axis=(1, 2, 3, 4)) / 255
        audio = np.full(n, np.nan) if windows.audio is None else np.abs(windows.audio).mean(axis=1)
        return WindowScores(windows.start_s, windows.end_s, np.where(windows.has_face, video, np.nan),
                            np.where(windows.has_audio, audio, np.nan), None, None, windows.track_id)


@pytest.fixture
def brightness(monkeypatch):
    monkeypatch.setattr(evaluate, "load", lambda name, device: Brightness())
    monkeypatch.setattr(evaluate, "judge_familiarity", lambda clip: clip)  # grey squares are like nothing that is known


def clip_of(shade: int = 204, level: float = 0.5) -> PreparedClip:
    """2 s: a voice in the second half, and a hum of a tenth of its level in the first."""
    times_s = np.arange(50) / 25
    track = FaceTrack(0, times_s, np.zeros((50, 4), np.float32), np.zeros((50, 5, 2), np.float32), np.ones(50))
    waveform = np.full(2 * AUDIO_HZ, level, np.float32)
    waveform[:AUDIO_HZ] /= 10
    return PreparedClip(ClipInfo("c", "", 0, "", 2.0), (track,), {0: np.full((50, 8, 8, 3), shade, np.uint8)},
                        {0: np.zeros((50, 8, 8, 3), np.uint8)}, waveform, ((1.0, 2.0),), Quality((), {}))


def test_controls_take_away_what_they_say_and_leave_the_clip_alone():
    clip = clip_of()
    sound, picture, silence = keep_sound(clip), keep_picture(clip), keep_silence(clip)
    assert sound.tracks == silence.tracks == () and sound.waveform is clip.waveform
    assert picture.waveform is None and picture.tracks == clip.tracks
    assert silence.waveform[:AUDIO_HZ] == pytest.approx(0.05) and not silence.waveform[AUDIO_HZ:].any()
    assert silence.speech_s == clip.speech_s and clip.waveform[-1] == 0.5
    assert keep_sound(sound) is sound and keep_picture(sound) is None
    assert keep_picture(picture) is picture and keep_silence(picture) is None


def test_moved_sound_is_the_same_sound_at_other_moments():
    """A voice from 1.5 to 3 s of 4: its last second comes first, its first half second last."""
    clip = replace(clip_of(), waveform=np.arange(4 * AUDIO_HZ, dtype=np.float32), speech_s=((1.5, 3.0),))
    moved = exchange_halves(clip)
    assert moved.waveform[0] == 2 * AUDIO_HZ and moved.waveform[2 * AUDIO_HZ] == 0 and clip.waveform[0] == 0
    assert moved.speech_s == ((0.0, 1.0), (3.5, 4.0)) and moved.tracks is clip.tracks
    assert exchange_halves(clip_of()) is None  # 2 s: its halves are too near
    assert exchange_halves(keep_sound(clip)) is None and exchange_halves(keep_picture(clip)) is None


def test_genuine_talk_is_judged_again_with_its_sound_moved(monkeypatch):
    """A detector that says how far from silence a window starts: the moved clip starts loud."""

    class Listener(Brightness):
        def score(self, windows):
            told = super().score(windows)
            return replace(told, sync=np.full(len(told.start_s), told.audio[0]))

    monkeypatch.setattr(evaluate, "load", lambda name, device: Listener())
    long = replace(clip_of(), waveform=np.repeat(clip_of().waveform, 2), speech_s=((0.0, 4.0),))
    long = replace(long, info=replace(long.info, duration_s=4.0))

    class Place:
        clip = staticmethod(lambda: long)

    [answer] = measure_clip(Item(place=Place, **GENUINE | {"sync_fake": 0.0}, facts={"fps": 25.0}), ["brightness"])
    assert (answer.sync, answer.moved_sync) == (pytest.approx(0.05), pytest.approx(0.5))
    [unknown] = measure_clip(Item(place=Place, **GENUINE | {"sync_fake": None}, facts={"fps": 25.0}), ["brightness"])
    assert unknown.moved_sync is None


def test_a_row_holds_what_the_app_would_say(brightness):
    class Place:
        clip = staticmethod(clip_of)

    item = Item(place=Place, **GENUINE, facts={"fps": 25.0})
    [answer] = measure_clip(item, ["brightness"])
    assert answer.video == pytest.approx(0.8, abs=1e-6) and answer.audio == pytest.approx(0.5)
    assert answer.sync is None and answer.score == answer.video and answer.verdict == "MANIPULATED"
    assert answer.segments[0][:3] == ("video", 0.0, 2.0) and answer.duration_s == 2.0
    assert {p[0] for p in answer.proposals} == {"video", "audio"}
    assert answer.controls["sound_only"] == {"video": None, "audio": answer.audio, "sync": None, "score": answer.audio}
    assert answer.controls["picture_only"]["score"] == answer.video and answer.controls["silence_only"]["audio"] == 0
    [quick] = measure_clip(item, ["brightness"], controls=False)
    assert quick == replace(answer, controls={})


def test_what_is_unlike_training_is_not_judged_as_in_the_app(monkeypatch):
    monkeypatch.setattr(evaluate, "load", lambda name, device: Brightness())

    class Place:
        clip = staticmethod(clip_of)

    [answer] = measure_clip(Item(place=Place, **GENUINE, facts={"fps": 25.0}), ["brightness"])
    assert answer.video is None and "UNLIKE_TRAINING" in answer.reasons and answer.verdict != "MANIPULATED"


def test_what_they_say_together_is_one_more_row(brightness, monkeypatch):
    monkeypatch.setattr(evaluate, "shipped", lambda: {"brightness": Brightness.card})

    class Place:
        clip = staticmethod(clip_of)

    item = Item(place=Place, **GENUINE, facts={"fps": 25.0})
    alone, common = measure_clip(item, ["brightness", "consensus"])
    assert (common.detector, common.score, common.verdict) == ("consensus", alone.score, "MANIPULATED")
    assert common.video is None and common.segments == () and common.controls == {}
    assert measure_clip(item, ["consensus"]) == [common]


def test_a_file_that_cannot_be_read_is_a_row_that_says_why(brightness, tmp_path):
    (tmp_path / "x.mp4").write_bytes(b"nothing")
    item = Item(place=tmp_path / "x.mp4", **GENUINE)
    [answer] = measure_clip(item, ["brightness"])
    assert answer.score is None and answer.verdict == "CANNOT_EVALUATE" and len(answer.reasons) == 1
    assert summarise([answer], THRESHOLDS, DRAWS)["clips"] == 1


USUAL = {"split": "val", "dataset": "tiny", "spans": [], "voice_s": [[0.0, 2.0]], "blocks": []}


def test_prepared_samples_are_items_and_groups_stay_together(write_samples, brightness):
    folder = write_samples(
        *({**USUAL, "group": group, "version": version, "forged": forged, "family": forged or "real",
           "sync_fake": sync, "video_fake": float(forged == "blend"), "shade": 100,
           "key": f"{group}-{version}"}
          for group in ("a", "b", "c") for version, forged, sync in ((0, "", 0.0), (1, "blend", 1.0),
                                                                     (2, "shifted_sound", 1.0))),
        {**USUAL, "split": "train"})
    items = gather_items(Material("prepared", "tiny", every=2), folder)
    assert [i.file for i in items] == ["a", "a#1", "a#2", "c", "c#1", "c#2"]
    assert [i.sync_fake for i in items[:3]] == [0.0, None, 1.0]  # a blend is no lesson in sync
    [answer] = measure_clip(items[1], ["brightness"])
    assert answer.video == pytest.approx((100 + 24) / 255, abs=0.06) and answer.video_fake == 1
    assert answer.facts == {"fps": 25.0}
    with pytest.raises(ValueError, match="no clip of the split 'test'"):
        gather_items(Material("prepared", "tiny", split="test"), folder)


def test_clips_of_a_data_set_are_items(tmp_path):
    (tmp_path / "video.csv").write_text(
        "file,split,label,video_fake,audio_fake,family,method,repo,identity,pair,has_audio\n"
        "v/a.mp4,val,real,0,0,real,,r,anna,,1\nv/b.mp4,val,fake,1,,swap,m,r,anna,v/a.mp4,1\n"
        "v/c.mp4,train,real,0,0,real,,r,ben,,1\n")
    first, second = gather_items(Material("clips", "manifest"), tmp_path)
    assert first.place == tmp_path / "v/a.mp4" and first.pair == second.pair == "v/a.mp4"
    assert (first.sync_fake, second.sync_fake, second.audio_fake) == (0.0, None, None)


# ---- the command ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("words", [
    [], ["ss_avd"], ["meso", "manifest", "x"], ["ss_avd", "manifest"], ["ss_avd", "nowhere", "x"],
    ["ss_avd", "--prepared", "no/such/folder"],
])
def test_bad_usage_exits_with_2(words, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(words)
    assert stopped.value.code == 2 and "usage" in capsys.readouterr().err


def test_all_means_every_detector_with_a_checkpoint():
    assert "ss_avd" in chosen_detectors(["all"]) and chosen_detectors(["ss_avd", "ss_avd"]) == ["ss_avd"]


def test_the_last_line_holds_the_keys_that_are_promised(monkeypatch, tmp_path, capsys):
    asked = {}

    def measured(items, detectors, jobs, controls):
        asked.update(items=items, controls=controls)
        return {name: [row("a", 0.1, 0), row("b", 0.9, 1, spans=(("video", 2.0, 4.0),))] for name in detectors}

    monkeypatch.setattr(evaluate, "measure", measured)
    monkeypatch.setattr(evaluate, "summarise", partial(summarise, draws=DRAWS))
    (tmp_path / "speech.csv").write_text("file,split,label,system,source,speaker\nx.ogg,val,real,,s,p\n")
    rows = tmp_path / "rows.jsonl"
    assert main(["ss_avd", "manifest", str(tmp_path), "--no-controls", "--json", "--rows", str(rows)]) == 0
    result = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert {"auc", "eer", "ap_50", "ar_20", "families", "pauc", "within_source", "segments"} <= result.keys()
    assert result["material"] == {"route": "clips", "dataset": "manifest", "split": "val", "every": 1,
                                  "controls": False}
    assert [i.file for i in asked["items"]] == ["x.ogg"] and asked["controls"] is False
    assert [json.loads(text)["file"] for text in rows.read_text().splitlines()] == ["a", "b"]


@pytest.mark.parametrize(("material", "shortcuts", "words"), [
    (Material("clips", "manifest"), False, "manifest DATA"),
    (Material("clips", "manifest", split="test"), True, "manifest DATA --split test --shortcuts SHARDS"),
    (Material("prepared", "tiny", every=3, controls=False), True,
     "--prepared SHARDS --every 3 --no-controls --shortcuts SHARDS"),
])
def test_what_was_measured_can_be_asked_for_again(material, shortcuts, words):
    assert command_for("ss_avd", material, shortcuts) == f"python -m training.evaluate ss_avd {words} --card"


def test_the_card_gets_the_results_and_the_command_that_gave_them(monkeypatch, write_samples):
    folder, stored = write_samples({**USUAL, "split": "val"}), {}
    monkeypatch.setattr(evaluate, "evaluate", lambda names, material, *_: {
        name: {"material": asdict(material)} for name in names})
    monkeypatch.setattr(evaluate, "_print_results", lambda name, results: None)
    monkeypatch.setattr(cards, "store_results", lambda path, results, command: stored.update({path.stem: command}))
    assert main(["ss_avd", "mmms_ba", "--prepared", str(folder), "--every", "2", "--jobs", "7", "--card"]) == 0
    assert stored == {name: f"python -m training.evaluate {name} --prepared SHARDS --every 2 --card"
                      for name in ("ss_avd", "mmms_ba")}


def test_prepared_clips_without_training_ones_take_the_baseline_from_other_shards(monkeypatch, write_samples):
    """As forged validation clips do: without the other shards they would have none."""
    loud, quiet = ({"loudness_db": level, "bits_per_s": 1.0} for level in (20.0, 0.0))
    here = write_samples({**USUAL, "split": "val"})
    monkeypatch.setattr(evaluate, "measure", lambda items, detectors, *_: {
        name: [row("a", 0.1, 0, facts=loud), row("b", 0.9, 1, facts=quiet)] for name in detectors})
    monkeypatch.setattr(evaluate, "summarise", partial(summarise, draws=DRAWS))
    lines = [line(k % 2, 20.0 * (1 - k % 2)) for k in range(40)]
    index = evaluate.read_index
    monkeypatch.setattr(evaluate, "read_index", lambda folder: lines if folder.name == "other" else index(folder))
    ask = partial(evaluate.evaluate, ["ss_avd"], Material("prepared", "tiny"), here, 1)
    assert ask()["ss_avd"]["shortcut_auc"] is None
    assert ask(shortcuts=Path("other"))["ss_avd"]["shortcut_auc"] == 1
