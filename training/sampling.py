"""Prepared samples: what a shard holds of a clip, the clip as the app sees it, and who is drawn when."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from detectors.contract import Detector, InputSpec, Windows, WindowScores
from detectors.windows import cut_windows, window_starts
from media import GRID_HZ, ClipInfo, FaceTrack, Finding, PreparedClip, Quality, Reason, prepare
from training.datasets.splits import Clip, source_folds
from training.shards import read_index, read_tensors, unpack_pictures

LEAST_SPEECH_S = 0.5  # a sample with less voice does not teach about sound
LEAST_FACE_S = 1.5  # nor one with less of a face about the picture
_LABELS = ("video_fake", "audio_fake", "sync_fake")


@dataclass(frozen=True)
class Sample:
    """One prepared clip: its labels, and where its tensors lie."""

    folder: Path
    shard: str
    offset: int
    bytes: int
    key: str
    family: str
    method: str
    source: str
    identities: tuple[str, ...]
    pair: str  # shared with the genuine clip, or the fakes, that it is to be compared with; "" where there is none
    group: str  # shared by a clip and what was forged from it: all of them went through the same final chain
    forged: str  # family of training.forge that made it, or two joined by " + "; "" for clips of the corpus
    video_fake: float  # 0, 1 or NaN, as the next two
    audio_fake: float
    sync_fake: float
    spans: tuple[tuple[str, float, float], ...]  # (modality, start_s, end_s) that are fake, where it is known
    faces: int  # crops, 25 a second
    samples: int
    speech_s: float
    voice_s: tuple[tuple[float, float], ...]  # where there is a voice
    blocks: tuple[str, ...]  # modalities that the clip's quality does not allow to judge
    duration_s: float
    split: str
    file: str
    coded: str = ""  # the codec that its sound went through once more, of training.coded; "" for sound as it was found

    @property
    def identity(self) -> str:
        return self.identities[0] if self.identities else ""

    @property
    def shows_face(self) -> bool:
        return self.faces >= LEAST_FACE_S * GRID_HZ and "video" not in self.blocks

    @property
    def has_voice(self) -> bool:
        return self.samples > 0 and self.speech_s >= LEAST_SPEECH_S and "audio" not in self.blocks

    @property
    def has_picture(self) -> bool:
        """It shows a face and is known to be genuine or fake in it; has_sound likewise."""
        return self.shows_face and not math.isnan(self.video_fake)

    @property
    def has_sound(self) -> bool:
        return self.has_voice and not math.isnan(self.audio_fake)

    def shares_chain(self, other: Sample) -> bool:
        """Whether both are versions of one clip that went through one final chain: moment for moment the same."""
        return (self.folder, self.group) == (other.folder, other.group)

    def tensors(self) -> dict[str, np.ndarray]:
        """As training.shards lists them."""
        return read_tensors(self.folder, self.shard, self.offset, self.bytes)

    def clip(self) -> PreparedClip:
        """As media.prepare gave it, of its first face: detectors.windows.cut_windows cuts the windows of the app.

        Crops are decoded when they are asked for, one by one. Boxes, landmarks and confidence are not kept (NaN).
        """
        tensors = self.tensors()
        tracks, faces, lips = (), {}, {}
        if "times_s" in tensors:
            count = len(tensors["times_s"])
            nothing = np.full((count, 5, 2), np.nan, np.float32)
            tracks = (FaceTrack(0, tensors["times_s"], nothing[:, :2].reshape(count, 4), nothing, nothing[:, 0, 0]),)
            faces, lips = {0: Crops(tensors, "faces")}, {0: Crops(tensors, "lips")}
        waveform = tensors["waveform"].astype(np.float32) / 32767 if "waveform" in tensors else None
        findings = tuple(Finding(_BLOCKED[name], f"This clip's {name} cannot be judged.", "", frozenset({name}))
                         for name in self.blocks)
        info = ClipInfo(self.file, sha256="", size_bytes=0, container="", duration_s=self.duration_s)
        return PreparedClip(info, tracks, faces, lips, waveform, self.voice_s, Quality(findings, {}))


# A shard keeps which modalities are blocked, and of the reasons only the codes: one code stands for all.
_BLOCKED = {"video": Reason.NO_FACE, "audio": Reason.NO_SPEECH}


class Crops:
    """The crops of one track [n, H, W, 3] uint8, each decoded when it is asked for: crops[row] is [H, W, 3]."""

    def __init__(self, tensors: dict[str, np.ndarray], name: str) -> None:
        """name: "faces" or "lips"."""
        self._tensors, self._name = tensors, name

    def __len__(self) -> int:
        return len(self._tensors["times_s"])

    def __getitem__(self, row: int) -> np.ndarray:
        if not 0 <= row < len(self):
            raise IndexError(f"crop {row} of {len(self)}")
        return unpack_pictures(self._tensors, self._name, [row])[0]


def read_samples(*folders: Path) -> list[Sample]:
    """The usable samples of one or several folders of shards.

    Raises: FileNotFoundError when one holds no finished shard.
    """
    return [_sample(folder, line) for folder in folders for line in read_index(folder) if "skipped" not in line]


def read_training_samples(*folders: Path) -> list[Sample]:
    """Those of the training split. Raises: FileNotFoundError, as read_samples."""
    return [sample for sample in read_samples(*folders) if sample.split == "train"]


def _sample(folder: Path, line: dict) -> Sample:
    given = {name: line[name] for name in Sample.__dataclass_fields__.keys() & line.keys()}
    return Sample(**given | {
        "folder": folder, "identities": tuple(line["identities"]), "blocks": tuple(line["blocks"]),
        "spans": tuple((name, start_s, math.inf if end_s is None else end_s) for name, start_s, end_s in line["spans"]),
        "voice_s": tuple((start_s, end_s) for start_s, end_s in line["voice_s"]),
        **{name: math.nan if line[name] is None else line[name] for name in _LABELS},
    })


def without_forged(samples: Iterable[Sample]) -> list[Sample]:
    """Those of groups in which training.forge made nothing: no forgeries, and no originals that went through their
    chain."""
    samples = list(samples)
    forged = {(s.folder, s.group) for s in samples if s.forged}
    return [s for s in samples if (s.folder, s.group) not in forged]


def load_noises(folder: Path | None) -> list[np.ndarray]:
    """The .ogg recordings of a folder, [samples] float32 at 16 kHz."""
    return [prepare(path).waveform for path in sorted(folder.glob("*.ogg"))] if folder else []


# ---- windows ----------------------------------------------------------------------------------------------------


def spread_starts(sample: Sample, spec: InputSpec, most: int | None = None) -> np.ndarray:
    """Where the app's windows of a sample start, or at most so many of them, evenly spread."""
    starts_s = window_starts(sample.duration_s, spec)
    if most and len(starts_s) > most:
        starts_s = starts_s[np.linspace(0, len(starts_s) - 1, 2 * most + 1).astype(int)[1::2]]
    return starts_s


def cut_evenly(sample: Sample, spec: InputSpec, most: int | None = None) -> Windows:
    """The windows of spread_starts."""
    return cut_windows(sample.clip(), spec, spread_starts(sample, spec, most))[0]


def window_scores(detector: Detector, samples: Iterable[Sample],
                     most: int | None = None) -> list[tuple[Sample, WindowScores]]:
    """Scores of prepared samples, of all their windows or of so many: the app's path, but for one face alone.
    Samples of which no window can be judged are left out."""
    cut = ((sample, cut_evenly(sample, detector.spec, most)) for sample in samples)
    return [(sample, detector.score(windows)) for sample, windows in cut
            if windows.has_face.any() or windows.has_audio.any()]


def draw_start(sample: Sample, window_s: float, rng: np.random.Generator, modality: str = "") -> float:
    """Where a window may start: anywhere, or so that it holds a random fake moment of this modality."""
    last_s = max(sample.duration_s - window_s, 0.0)
    spans = [(start_s, min(end_s, sample.duration_s)) for name, start_s, end_s in sample.spans if name == modality]
    share, place = rng.random(2)  # drawn alike with and without spans: a fake and its original keep in step
    if not spans:
        return float(place * last_s)
    lengths_s = np.array([end_s - start_s for start_s, end_s in spans])
    edges_s = np.concatenate([[0.0], lengths_s.cumsum()])
    at_s = share * edges_s[-1]  # this far into what is fake of the clip
    number = min(int(np.searchsorted(edges_s, at_s, side="right")) - 1, len(spans) - 1)
    moment_s = spans[number][0] + at_s - edges_s[number]
    return float(np.clip(moment_s - place * window_s, 0.0, last_s))


def cut_window(sample: Sample, spec: InputSpec, starts_s: Iterable[float]) -> Windows | None:
    """The first of these windows (n = 1) that has all modalities of the spec; None where none of them does."""
    clip = sample.clip()
    for start_s in starts_s:
        windows = cut_windows(clip, spec, np.array([start_s]))[0]
        if ("video" not in spec.modalities or windows.has_face[0]) and (
                "audio" not in spec.modalities or windows.has_audio[0]):
            return windows
    return None


# ---- who is drawn -----------------------------------------------------------------------------------------------


class Pool:
    """Samples to draw from: a source with the square root of its size as weight, so that neither one page nor one
    clip dominates; then a group of it, then one of the group."""

    def __init__(self, samples: Iterable[Sample]) -> None:
        groups: dict[str, dict[str, list[Sample]]] = defaultdict(lambda: defaultdict(list))
        for sample in samples:
            groups[sample.source][sample.group].append(sample)
        self._groups = [[groups[source][group] for group in sorted(groups[source])] for source in sorted(groups)]
        weights = np.sqrt([sum(map(len, source)) for source in self._groups])
        self._weights = weights / max(weights.sum(), 1e-9)

    def __bool__(self) -> bool:
        return bool(self._groups)

    def draw(self, rng: np.random.Generator) -> Sample:
        """Raises: ValueError for an empty pool."""
        if not self:
            raise ValueError("there is no sample of this kind to draw")
        source = self._groups[rng.choice(len(self._groups), p=self._weights)]
        group = source[rng.integers(len(source))]
        return group[rng.integers(len(group))]


class Counterparts:
    """The genuine sample that a fake is to be compared with: of its group, else of its pair, else any; those of the
    same folder first, so that what a preparation does to its clips tells nothing."""

    def __init__(self, genuine: Iterable[Sample]) -> None:
        known: dict[tuple, list[Sample]] = defaultdict(list)
        for sample in genuine:
            for key in self._keys(sample):
                known[key].append(sample)
        self._pools = {key: Pool(samples) for key, samples in known.items()}

    def draw(self, fake: Sample, rng: np.random.Generator) -> Sample:
        """Raises: ValueError where there is no genuine sample at all."""
        return next((self._pools[key] for key in self._keys(fake) if key in self._pools), Pool([])).draw(rng)

    @staticmethod
    def _keys(sample: Sample) -> list[tuple]:
        pair = [("pair", sample.pair, sample.folder), ("pair", sample.pair)] if sample.pair else []
        return [("group", sample.group, sample.folder), *pair, ("any", sample.folder), ("any",)]


def split_fold(samples: Sequence[Clip], folds: int, fold: int | None, seed: int) -> tuple[list[Clip], list[Clip]]:
    """(to learn from, held out): the sources are dealt into so many folds, and one is held out; None: none is.

    Raises: ValueError for a fold that there is not, or fewer sources than folds.
    """
    if fold is None:
        return list(samples), []
    if not 0 <= fold < folds:
        raise ValueError(f"the recipe has folds 0 to {folds - 1}; there is no fold {fold}")
    return source_folds(samples, folds, repeats=1, seed=seed)[fold]
