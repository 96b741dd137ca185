"""Does a detector's answer hold when a clip is compressed, shrunk, filmed from a screen, or played over the telephone?

    python -m benchmarks.robustness DATASET ROOT [--split val] [--every N] [--detectors all|ss_avd,...]
                                    [--copies all|crf_35,...] [--jobs N] [--rows FILE] [--json]

Each clip is prepared and scored, then every copy of GRID: one change a copy (media/variants.py), through the same path
as an upload. Of a clip longer than 15 s the first 15 s are used. What was measured goes to the file of rows, clip by
clip; an interrupted run goes on where it stopped, and a checkpoint that changed is measured again.

Per detector (and for their consensus) and copy, over the clips that were tried: `auc`, `ece` and `false_alarms` (the
share of genuine clips that are called MANIPULATED) beside what the same clips gave unchanged (`before`), `flip_rate`
(the share of judged answers whose verdict turns) and `lost_rate` (the share that can no longer be judged). Clips of
unknown label count in the last two alone. The figures of the detector itself are over all copies. `risk_coverage` is of
the unchanged clips: the share of wrong answers among the most certain ones. `determinism`: the first clips are analysed
twice, and once on one thread; the same bytes must give the same JSON on the processor.
"""

from __future__ import annotations

import argparse
import json
import math
import multiprocessing
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import media  # noqa: F401 (first: it sets up OpenMP, which must be done before torch is loaded)

# isort: split

import numpy as np
import torch
from tqdm import tqdm

from detectors import Detector, Verdict, analyse, analyse_clip, available, choose, load
from detectors.checkpoint import checkpoint_hash
from detectors.familiarity import CHECKPOINT, judge_familiarity
from detectors.probe import LONGEST_S, Reading, agree, try_variant
from detectors.recall import remembering
from media import MediaError, forget, prepare
from media.variants import VARIANTS, Variant, excerpt
from training.datasets import DATASETS, Record, read_dataset
from training.metrics import auc, bootstrap_interval, expected_calibration_error, risk_coverage

ROWS = Path("runs/robustness.jsonl")
DRAWS = 200  # of the bootstrap
CURVE = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)  # coverages at which the risk is told
REPEATED = 2  # clips, for determinism
CONSENSUS = "consensus"  # of all detectors, beside their ids


def _compressed(codec: str, name: str, crf: int) -> Variant:
    return Variant(f"{codec}_crf_{crf}", f"Compressing the picture with {name}, CRF {crf}", crf=crf, video_codec=codec)


def _mixed(behind: str, snr_db: int) -> Variant:
    return Variant(f"{behind}_{snr_db}db", f"Putting {behind} behind the voice, {snr_db} dB below it",
                   sound_codec="pcm", snr_db=float(snr_db), behind=behind)


# The app's own copies first; each of the others changes one thing too. A change of the picture that is no compression
# is encoded at CRF 18, so that little else changes.
GRID: tuple[Variant, ...] = (
    *VARIANTS,
    *(_compressed("h264", "H.264", crf) for crf in (23, 29, 40)),  # 35 is one of the app's
    *(_compressed("hevc", "H.265", crf) for crf in (23, 29, 35, 40)),
    *(_compressed("vp9", "VP9", crf) for crf in (23, 29, 35, 40)),
    Variant("quarter_size", "Quartering the size of the picture", crf=18, scale=0.25),
    *(Variant(f"grain_{grain}", f"Adding picture noise of {grain} of 255", crf=18, grain=float(grain))
      for grain in (5, 15)),
    *(Variant(f"blur_{blur}", f"Blurring the picture by {blur} pixels", crf=18, blur_px=float(blur))
      for blur in (1, 3)),
    *(Variant(f"{rate}_fps", f"Showing {rate} pictures a second at most", crf=18, frame_hz=float(rate))
      for rate in (15, 10)),
    Variant("recaptured", "Drawing the look of a filmed screen over it", crf=18, recaptured=True),
    Variant("opus_16k", "Compressing the sound with Opus, 16 kb/s", sound_kbps=16, sound_codec="opus"),
    Variant("opus_8k", "Compressing the sound with Opus, 8 kb/s", sound_kbps=8, sound_codec="opus"),
    Variant("amr_12k", "Sending the sound over a mobile phone (AMR, 12.2 kb/s)", sound_kbps=12.2, sound_codec="amr",
            sound_hz=8000),
    Variant("amr_5k", "Sending the sound over a bad mobile phone line (AMR, 4.75 kb/s)", sound_kbps=4.75,
            sound_codec="amr", sound_hz=8000),
    Variant("sound_8khz", "Sampling the sound at 8 kHz", sound_codec="pcm", sound_hz=8000),
    *(_mixed(behind, snr_db) for behind in ("noise", "music") for snr_db in (20, 10, 0)),
)


@dataclass(frozen=True)
class Answers:
    """One clip: what each detector says of it and of its copies. A line of the file of rows."""

    file: str
    fake: float | None  # 1, 0 or unknown
    person: str  # clips of one are drawn together
    duration_s: float
    checkpoints: dict[str, str]  # detector, and "familiarity" -> hash
    clip: dict[str, Reading]  # detector, and consensus -> its answer
    copies: dict[str, dict[str, Reading] | str]  # copy -> likewise, or why it was not tried

    def to_json(self) -> dict:
        told = {name: reading if isinstance(reading, str) else _to_json(reading)
                for name, reading in self.copies.items()}
        return {**self.__dict__, "clip": _to_json(self.clip), "copies": told}

    @staticmethod
    def from_json(line: dict) -> Answers:
        copies = {name: told if isinstance(told, str) else _from_json(told) for name, told in line["copies"].items()}
        return Answers(**{**line, "clip": _from_json(line["clip"]), "copies": copies})


def _to_json(readings: dict[str, Reading]) -> dict:
    return {name: {"score": r.score, "verdict": str(r.verdict), "lost": list(r.lost), "unusual": r.unusual}
            for name, r in readings.items()}


def _from_json(told: dict) -> dict[str, Reading]:
    return {name: Reading(r["score"], Verdict(r["verdict"]), tuple(r["lost"]),
                          unusual=r.get("unusual", False))
            for name, r in told.items()}


# ---- measuring --------------------------------------------------------------------------------------------------


def choose_records(dataset: str, root: Path, split: str, every: int) -> list[Record]:
    """Every N-th clip of the split, each with the other clips of its pair; all clips of a corpus without splits.

    Raises: FileNotFoundError and ValueError as read_dataset; ValueError when there is no such clip.
    """
    records = read_dataset(dataset, root)
    if any(r.split for r in records):
        records = [r for r in records if r.split == split]
    if not records:
        raise ValueError(f"there is no clip of the split {split!r}")
    groups: dict[str, list[Record]] = {}
    for record in records:
        groups.setdefault(record.pair or record.file, []).append(record)
    return [record for group in list(groups.values())[::every] for record in group]


def measure_clip(record: Record, root: Path, detectors: Sequence[str], copies: Sequence[Variant]) -> Answers:
    """One clip and its copies, each scored by every detector. One that cannot be read has no answers."""
    path, loaded = root / record.file, [load(name, "cpu") for name in detectors]
    known = {"file": record.file, "fake": _fake_of(record), "person": f"{record.source}/{record.identity}",
             "checkpoints": _checkpoints(loaded)}
    try:
        whole = prepare(path)
        clip = whole if whole.duration_s <= LONGEST_S else excerpt(whole, 0.0, LONGEST_S)
        with remembering(), tempfile.TemporaryDirectory(prefix="telltale-") as folder:
            clip = judge_familiarity(clip)
            heard = {d.id: analyse_clip(clip, d) for d in loaded}
            trials = [try_variant(copy, clip, path, 0.0, loaded, heard, Path(folder),
                                  judge=judge_familiarity) for copy in copies]
        readings = {name: Reading.of(a) for name, a in heard.items()}
        return Answers(**known, duration_s=clip.duration_s,
                       clip=readings | {CONSENSUS: agree(readings)},
                       copies={t.variant.id: t.not_tried or t.readings | {CONSENSUS: t.consensus} for t in trials})
    except MediaError as error:
        return Answers(**known, duration_s=0.0, clip={}, copies={copy.id: str(error) for copy in copies})
    finally:
        forget()


def _checkpoints(loaded: Sequence[Detector]) -> dict[str, str]:
    """Of these detectors, and of what tells which clips are unlike training: name -> hash."""
    return {**{d.id: d.card["checkpoint"] for d in loaded}, CHECKPOINT.stem: checkpoint_hash(CHECKPOINT)}


def _fake_of(record: Record) -> float | None:
    known = [label for label in (record.video_fake, record.audio_fake) if not math.isnan(label)]
    return max(known, default=None)


def measure(records: Sequence[Record], root: Path, detectors: Sequence[str], copies: Sequence[Variant], jobs: int,
            rows: Path) -> list[Answers]:
    """One of each clip, in order; those that the file of rows holds are taken from it, the others are appended."""
    checkpoints = _checkpoints([load(name, "cpu") for name in detectors])
    done = {a.file: a for a in read_rows(rows)
            if checkpoints == a.checkpoints and {c.id for c in copies} <= a.copies.keys()}
    todo = [record for record in records if record.file not in done]
    rows.parent.mkdir(parents=True, exist_ok=True)
    with open(rows, "a", encoding="utf-8") as file:
        for answers in tqdm(_answers(todo, root, detectors, copies, jobs), total=len(records),
                            initial=len(records) - len(todo), unit="clip", file=sys.stderr, mininterval=5):
            file.write(json.dumps(answers.to_json()) + "\n")
            file.flush()
            done[answers.file] = answers
    return [done[record.file] for record in records]


def _answers(records: Sequence[Record], root: Path, detectors: Sequence[str], copies: Sequence[Variant],
             jobs: int) -> Iterator[Answers]:
    work = partial(measure_clip, root=root, detectors=tuple(detectors), copies=tuple(copies))
    if jobs == 1 or not records:
        yield from map(work, records)
        return
    # spawn: a forked child would inherit torch's thread pool in an unusable state
    with multiprocessing.get_context("spawn").Pool(jobs, torch.set_num_threads, (1,)) as pool:
        yield from pool.imap_unordered(work, records)


def read_rows(path: Path) -> list[Answers]:
    """What earlier runs left; a last line that was cut off is left out (and out of the file)."""
    if not path.is_file():
        return []
    text = path.read_text(encoding="utf-8")
    whole = text[:text.rfind("\n") + 1]
    if whole != text:
        path.write_text(whole, encoding="utf-8")
    return [Answers.from_json(json.loads(line)) for line in whole.splitlines()]


# ---- determinism ------------------------------------------------------------------------------------------------


def measure_determinism(paths: Iterable[Path], detectors: Sequence[str]) -> dict[str, dict]:
    """Detector, and consensus -> how many clips give the same JSON twice, and on one thread as on all, or on two
    where only one is used; each time they are prepared afresh."""
    usual = torch.get_num_threads()
    threads = max(usual, 2)
    found = {name: {"clips": 0, "same": 0, "same_on_one_thread": 0, "threads": threads}
             for name in (*detectors, CONSENSUS)}
    for path in paths:
        torch.set_num_threads(threads)
        first, second = _answer_afresh(path, detectors), _answer_afresh(path, detectors)
        torch.set_num_threads(1)
        alone = _answer_afresh(path, detectors)
        torch.set_num_threads(usual)
        for name, counts in found.items():
            counts["clips"] += 1
            counts["same"] += first[name] == second[name]
            counts["same_on_one_thread"] += first[name] == alone[name]
    return found


def _answer_afresh(path: Path, detectors: Sequence[str]) -> dict[str, str]:
    """Detector, and consensus -> its own part of the JSON and all that they have in common."""
    forget()
    answer = analyse(path, list(detectors), "cpu")
    shared = {name: answer[name] for name in ("sha256", "duration_s", "findings", "media")}
    told = {**answer["detectors"], CONSENSUS: [answer["consensus"], answer["score"], answer["verdict"]]}
    return {name: json.dumps([shared, part]) for name, part in told.items()}


# ---- figures ----------------------------------------------------------------------------------------------------


def summarise(answers: Sequence[Answers], detector: str, copies: Sequence[Variant]) -> dict:
    """One detector's figures, JSON-able, None for what cannot be told."""
    read_clips = [a for a in answers if a.clip]
    pairs = {copy.id: [(a, a.clip[detector], a.copies[copy.id][detector]) for a in read_clips
                       if not isinstance(a.copies[copy.id], str)] for copy in copies}
    everything = [pair for part in pairs.values() for pair in part]
    own = [(a, a.clip[detector], a.clip[detector]) for a in read_clips]
    return {
        **_figures(everything),
        "unchanged": {name: value for name, value in _figures(own).items() if name not in ("before", "flip_rate",
                                                                                           "lost_rate")},
        "copies": {name: _figures(part) for name, part in pairs.items()},
        "risk_coverage": _curve(own),
    }


def _figures(pairs: Sequence[tuple[Answers, Reading, Reading]]) -> dict:
    """Of (clip, its own answer, the copy's answer)."""
    judged = [(before, after) for _, before, after in pairs if before.score is not None]
    kept = [(before, after) for before, after in judged if after.score is not None]
    return {
        "clips": len(pairs), **_quality([(a, after) for a, _, after in pairs]),
        "before": _quality([(a, before) for a, before, _ in pairs], intervals=False),
        "flip_rate": _share(before.verdict != after.verdict for before, after in kept),
        "lost_rate": _share(after.score is None for _, after in judged),
        "unusual_rate": _share(after.unusual for _, after in kept),
    }


def _quality(told: Sequence[tuple[Answers, Reading]], intervals: bool = True) -> dict:
    scored = [(a, r) for a, r in told if r.score is not None and a.fake is not None]
    score, fake = np.array([r.score for _, r in scored], float), np.array([a.fake for a, _ in scored], float)
    genuine = [r for a, r in told if a.fake == 0]
    found = {"auc": _rounded(auc(score, fake)), "ece": _rounded(expected_calibration_error(score, fake)),
             "false_alarms": _share(r.verdict == Verdict.MANIPULATED for r in genuine)}
    if intervals:
        interval = bootstrap_interval(auc, score, fake, [a.person for a, _ in scored], DRAWS)
        found["auc_95"] = [_rounded(value) for value in interval]
    return found


def _curve(own: Sequence[tuple[Answers, Reading, Reading]]) -> dict:
    """Risk at each coverage, and `verdicts`: what the app's own verdicts do, where SUSPICIOUS is no answer either."""
    scored = [(a.fake, r) for a, r, _ in own if r.score is not None and a.fake is not None]
    score, fake = np.array([r.score for _, r in scored], float), np.array([f for f, _ in scored], float)
    coverage, risk = risk_coverage(score, fake)
    at = {f"{share:g}": _rounded(risk[min(np.searchsorted(coverage, share - 1e-9), len(risk) - 1)])
          for share in CURVE} if len(risk) else {}
    answered = [(f, r.verdict) for f, r in scored if r.verdict in (Verdict.MANIPULATED, Verdict.NO_SIGNS)]
    return {"clips": len(scored), "risk_at": at,
            "verdicts": {"coverage": _rounded(len(answered) / max(len(scored), 1)),
                         "risk": _share((v == Verdict.MANIPULATED) != (f == 1) for f, v in answered)}}


def _share(told: Iterable[bool]) -> float | None:
    told = list(told)
    return round(sum(told) / len(told), 4) if told else None


def _rounded(value: float) -> float | None:
    return None if math.isnan(value) else round(float(value), 4)


# ---- the command ------------------------------------------------------------------------------------------------


def show(name: str, figures: dict) -> None:
    print(f"\n{name}\n{'copy':16} clips   AUC (before)  ECE (before)  false alarms (before)  flips   lost")
    for title, part in {"all copies": figures, **figures["copies"]}.items():
        before = part["before"]
        print(f"{title:16} {part['clips']:5} {_text(part['auc'])} ({_text(before['auc'])}) {_text(part['ece'])} "
              f"({_text(before['ece'])})         {_text(part['false_alarms'])} ({_text(before['false_alarms'])})  "
              f"{_text(part['flip_rate'])}  {_text(part['lost_rate'])}")
    curve = figures["risk_coverage"]
    print("wrong among the most certain: " + ", ".join(
        f"{float(share):.0%} of clips {_text(risk)}" for share, risk in curve["risk_at"].items()))
    same = figures["determinism"]
    print(f"the same JSON twice: {same['same']} of {same['clips']} clips; on one thread as on {same['threads']}: "
          f"{same['same_on_one_thread']}")


def _text(value: float | None) -> str:
    return "   – " if value is None else f"{value:5.3f}"


def choose_copies(words: str) -> tuple[Variant, ...]:
    """Raises: ValueError for an unknown copy, listing the choices."""
    by_id = {copy.id: copy for copy in GRID}
    if words == "all":
        return GRID
    names = [name.strip() for name in words.split(",")]
    if unknown := [name for name in names if name not in by_id]:
        raise ValueError(f"unknown copy {unknown[0]!r}; there are: {', '.join(by_id)}")
    return tuple(by_id[name] for name in names)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.robustness", description=__doc__.splitlines()[0])
    parser.add_argument("dataset", choices=list(DATASETS))
    parser.add_argument("root", type=Path)
    parser.add_argument("--split", default="val", help="of a corpus that has splits (val)")
    parser.add_argument("--every", type=int, default=1, metavar="N", help="only every N-th clip, with its pair (1)")
    parser.add_argument("--detectors", default="all", help="all, or a list with commas")
    parser.add_argument("--copies", default="all", help=f"all, or some of: {', '.join(c.id for c in GRID)}")
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="clips at the same time (1)")
    parser.add_argument("--rows", type=Path, default=ROWS, help=f"where each clip's answers are kept ({ROWS})")
    parser.add_argument("--json", action="store_true", help="print the figures as one JSON line, last")
    args = parser.parse_args(argv)
    if args.every < 1 or args.jobs < 1:
        parser.error("--every and --jobs take 1 or more")
    try:
        names, copies = choose(args.detectors), choose_copies(args.copies)
        # Worker processes find a detector from outside by its reference.
        references = [available().get(name, {}).get("added", name) for name in names]
        records = choose_records(args.dataset, args.root, args.split, args.every)
    except (KeyError, ValueError, FileNotFoundError) as error:
        parser.error(str(error.args[0]))
    begin = time.perf_counter()
    answers = measure(records, args.root, references, copies, args.jobs, args.rows)
    readable = [args.root / a.file for a in answers if a.clip]
    determinism = measure_determinism(readable[:REPEATED], names)
    figures = {name: {**summarise(answers, name, copies), "determinism": determinism[name]} for name in determinism}
    for name, told in figures.items():
        show(name, told)
    print(f"\n{len(answers)} clips, {time.perf_counter() - begin:.0f} s")
    if args.json:
        print(json.dumps(figures))
    return 0


if __name__ == "__main__":
    sys.exit(main())
