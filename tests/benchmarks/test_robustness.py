"""The robustness grid: a detector that hears treble on real copies of a real voice, and its figures by hand."""

from __future__ import annotations

import json

import numpy as np
import pytest

import detectors
from benchmarks import robustness
from benchmarks.robustness import GRID, Answers, choose_copies, choose_records, measure, read_rows, summarise
from detectors.contract import InputSpec, WindowScores
from detectors.guests import Guests
from detectors.probe import Reading
from media import AUDIO_HZ
from media.variants import VARIANTS
from tests.media.corpus import ffmpeg
from training.datasets import Record


class Treble:
    """P(fake) is high where the sound has something above 4.5 kHz: what a telephone takes away."""

    id = "treble"
    spec = InputSpec(window_s=1.0, hop_s=1.0, frames=2, face_px=8, audio_hz=AUDIO_HZ, modalities=("audio",))
    card = {"name": "Treble", "polarity": "P(fake)", "thresholds": {"manipulated": 0.8, "suspicious": 0.6}}

    def __init__(self, device):
        pass

    def score(self, windows):
        audio = np.full(len(windows.start_s), np.nan)
        if windows.has_audio.any():
            power = np.abs(np.fft.rfft(windows.audio[windows.has_audio])) ** 2
            share = power[:, 4500:].sum(1) / power.sum(1)  # 1 Hz a bin
            audio[windows.has_audio] = np.where(share > 1e-5, 0.9, 0.1)
        return WindowScores(windows.start_s, windows.end_s, None, audio, None, None, windows.track_id)


@pytest.fixture
def treble(monkeypatch):
    monkeypatch.setattr(detectors, "GUESTS", Guests(taken=tuple(detectors.BUILDERS)))
    detectors._load.cache_clear()
    yield f"{__name__}:Treble"
    detectors._load.cache_clear()


@pytest.fixture
def folder(tmp_path, examples_dir):
    """A genuine voice, and a file that nobody can read."""
    (tmp_path / "real" / "ann").mkdir(parents=True)
    ffmpeg("-t", "3", "-i", str(examples_dir / "speech_only.ogg"), "-ac", "1", "-ar", "16000",
           str(tmp_path / "real" / "ann" / "voice.wav"))
    (tmp_path / "real" / "ann" / "zero.wav").write_bytes(b"\0" * 100)
    return tmp_path


def reading(score: float | None) -> Reading:
    verdict = "CANNOT_EVALUATE" if score is None else "MANIPULATED" if score >= 0.8 else "NO_SIGNS"
    return Reading(score, detectors.Verdict(verdict), unusual=score == 0.3)


def answers(file: str, fake: float | None, score: float | None, copy: float | None | str) -> Answers:
    told = copy if isinstance(copy, str) else {"d": reading(copy)}
    checkpoints = {"d": "sha256:0", "familiarity": "sha256:f"}
    return Answers(file, fake, file, 3.0, checkpoints, {"d": reading(score)}, {"crf_35": told})


def test_every_copy_of_the_grid_changes_one_thing_under_a_name_of_its_own():
    assert GRID[:len(VARIANTS)] == VARIANTS and len({v.id for v in GRID}) == len(GRID) >= 30
    assert len({v.doing for v in GRID}) == len(GRID)
    for copy in GRID[len(VARIANTS):]:
        changed = [name for name, usual in (("scale", 1.0), ("frame_hz", None), ("blur_px", 0.0), ("grain", 0.0),
                                            ("recaptured", False), ("snr_db", None), ("sound_kbps", None))
                   if getattr(copy, name) != usual]
        compressed = copy.crf not in (None, 18) or (copy.sound_codec, copy.sound_hz) == ("pcm", 8000)
        assert len(changed) + compressed == 1, copy.id
    assert {v.video_codec for v in GRID} == {"h264", "hevc", "vp9"}
    assert {v.sound_codec for v in GRID} == {"aac", "opus", "amr", "pcm"}


def test_a_telephone_takes_away_what_the_detector_hears(folder, treble, tmp_path, capsys):
    arguments = ["folder", str(folder), "--detectors", treble, "--copies", "sound_8khz,opus_16k,noise_0db,crf_35",
                 "--rows", str(tmp_path / "rows.jsonl"), "--json"]
    assert robustness.main(arguments) == 0
    figures = json.loads(capsys.readouterr().out.splitlines()[-1])["treble"]
    copies = figures["copies"]
    assert figures["unchanged"]["clips"] == figures["unchanged"]["false_alarms"] == 1  # it is genuine
    assert copies["sound_8khz"]["flip_rate"] == 1 and copies["sound_8khz"]["false_alarms"] == 0
    assert copies["opus_16k"]["clips"] == 1 and copies["crf_35"]["clips"] == 0  # there is no picture
    assert copies["crf_35"]["flip_rate"] is None and copies["noise_0db"]["before"]["false_alarms"] == 1
    assert figures["determinism"]["same"] == figures["determinism"]["same_on_one_thread"] == 1
    lines = (tmp_path / "rows.jsonl").read_text().splitlines()
    assert len(lines) == 2
    assert robustness.main(arguments) == 0  # nothing is measured again
    assert (tmp_path / "rows.jsonl").read_text().splitlines() == lines
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["treble"] == figures


def test_figures_by_hand():
    """Two genuine clips and two fakes, ranked perfectly; the copies turn one of each kind, and lose a third clip."""
    told = [answers("a", 0, 0.1, 0.9), answers("b", 0, 0.2, 0.2), answers("c", 1, 0.9, 0.3), answers("e", 1, 0.8, None),
            answers("f", None, 0.9, 0.9), answers("g", 1, 0.9, "The sound of this clip is not judged.")]
    figures = summarise(told, "d", [robustness.choose_copies("crf_35")[0]])
    copy = figures["copies"]["crf_35"]
    assert copy["clips"] == 5 and figures["unchanged"]["clips"] == 6
    assert copy["auc"] == 0.5 and copy["before"]["auc"] == 1  # 0.3 above 0.2 and below 0.9
    assert copy["false_alarms"] == 0.5 and copy["before"]["false_alarms"] == 0
    assert copy["flip_rate"] == 0.5 and copy["lost_rate"] == 0.2  # of the four that are judged; of five
    assert copy["unusual_rate"] == 0.25 and figures["unchanged"]["unusual_rate"] == 0
    assert copy["ece"] == pytest.approx((0.9 + 0.2 + 0.7) / 3, abs=1e-4)  # each clip is a bin
    assert figures["auc"] == copy["auc"] and figures["flip_rate"] == 0.5  # there is one copy
    curve = figures["risk_coverage"]
    assert curve["clips"] == 5 and curve["risk_at"]["1"] == 0 and curve["verdicts"] == {"coverage": 1.0, "risk": 0.0}
    json.dumps(figures, allow_nan=False)


def test_answers_go_through_the_file_unchanged(tmp_path):
    told = answers("a", None, None, 0.25)
    (tmp_path / "rows").write_text(json.dumps(told.to_json()) + "\n" + '{"file": "b", "fa')
    assert read_rows(tmp_path / "rows") == [told]
    assert (tmp_path / "rows").read_text().count("\n") == 1  # what was cut off is gone, the next line begins anew
    assert read_rows(tmp_path / "none") == []


def test_an_interrupted_run_goes_on_and_a_new_checkpoint_is_measured_again(tmp_path, monkeypatch):
    records = [Record(file=name, dataset="x", video_fake=0.0, audio_fake=0.0) for name in ("a", "b", "c")]
    copies, seen, checkpoint, familiarity = choose_copies("crf_35"), [], "sha256:0", "sha256:f"

    class Card:
        id = "d"

        @property
        def card(self):
            return {"checkpoint": checkpoint}

    def measure_one(record, root, detectors, copies):
        seen.append(record.file)
        if len(seen) == 2:
            raise KeyboardInterrupt
        return answers(record.file, 0, 0.1, 0.2)

    monkeypatch.setattr(robustness, "load", lambda name, device: Card())
    monkeypatch.setattr(robustness, "checkpoint_hash", lambda path: familiarity)
    monkeypatch.setattr(robustness, "measure_clip", measure_one)
    run = [records, tmp_path, ["d"], copies, 1, tmp_path / "runs" / "rows"]
    with pytest.raises(KeyboardInterrupt):
        measure(*run)
    assert [a.file for a in measure(*run)] == ["a", "b", "c"] and seen == ["a", "b", "b", "c"]
    run[3] = choose_copies("crf_35,half_size")  # a copy that was not measured
    measure(*run)
    run[3], checkpoint = copies, "sha256:1"
    measure(*run)
    checkpoint, familiarity = "sha256:0", "sha256:1"  # what tells unlike training is another
    measure(*run)
    assert seen[4:] == ["a", "b", "c"] * 3


def test_every_nth_clip_comes_with_its_pair(monkeypatch):
    records = [Record(file=f"{n}", dataset="x", split="val", pair=pair, video_fake=0.0, audio_fake=0.0)
               for n, pair in enumerate("aabbcc")]
    monkeypatch.setattr(robustness, "read_dataset", lambda name, root: records)
    assert [r.file for r in choose_records("x", None, "val", 2)] == ["0", "1", "4", "5"]
    with pytest.raises(ValueError, match="no clip"):
        choose_records("x", None, "test", 1)


@pytest.mark.parametrize("arguments, words", [
    (["folder", "nowhere"], "not a folder"), (["folder", ".", "--copies", "sepia"], "there are: half_size"),
    (["folder", ".", "--every", "0"], "1 or more"), (["folder", ".", "--detectors", "magic"], "ss_avd"),
])
def test_bad_usage_is_status_2(capsys, arguments, words):
    with pytest.raises(SystemExit) as stop:
        robustness.main(arguments)
    assert stop.value.code == 2 and words in capsys.readouterr().err
