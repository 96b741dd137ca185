"""One record per clip, whatever corpus it comes from; labels may be unknown (NaN), never guessed."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from math import inf, isnan
from pathlib import Path

logger = logging.getLogger(__name__)

MODALITIES = ("video", "audio")


@dataclass(frozen=True, kw_only=True)
class Record:
    """A clip as its corpus describes it; the file itself was not opened.

    Labels and spans together say how much of the clip is fake, see `extent`.
    """

    file: str  # relative to the data set's root
    dataset: str  # key of DATASETS
    split: str = ""  # "train", "dev", "val", "test", "eval" ... as the corpus calls it; "" where it has none
    family: str = ""  # "real", "face_swap", "lip_sync", "dubbed_speech", ..., "real_speech", "fake_speech"; "" unknown
    method: str = ""  # the generator's name; "" for genuine clips, and where the corpus does not say
    source: str = ""  # repository, page or part of the corpus: what a shortcut would learn instead of the manipulation
    identities: tuple[str, ...] = ()  # everybody whose face or voice went in; first the person of the genuine clip
    pair: str = ""  # shared by a genuine clip and the fakes made from it; "" when none
    video_fake: float  # 0, 1 or NaN
    audio_fake: float  # 0, 1 or NaN
    spans: tuple[tuple[str, float, float], ...] = ()  # (modality, start_s, end_s), known ones; end_s inf: to the end

    @property
    def identity(self) -> str:
        return self.identities[0] if self.identities else ""

    def extent(self, modality: str) -> str:
        """How much of "video" or "audio" is fake: "none", "whole", "partial" (`spans` has the seconds), or "unknown":
        the label is missing, or it says fake and nobody says where."""
        label = getattr(self, f"{modality}_fake")
        spans = [(start_s, end_s) for name, start_s, end_s in self.spans if name == modality]
        if isnan(label) or (label == 1 and not spans):
            return "unknown"
        if label == 0:
            return "none"
        return "whole" if spans == [(0.0, inf)] else "partial"


def whole_spans(video_fake: float, audio_fake: float) -> tuple[tuple[str, float, float], ...]:
    """Spans of a clip whose fake modalities are fake from beginning to end."""
    return tuple((name, 0.0, inf) for name, label in zip(MODALITIES, (video_fake, audio_fake)) if label == 1)


def keep_present(records: list[Record], root: Path) -> list[Record]:
    """Each file once, and only those on disk; how many were left out, and one of them, is logged as a warning.

    Raises: FileNotFoundError when none is there.
    """
    listed: dict[str, Record] = {}
    for record in records:
        listed.setdefault(record.file, record)
    absent = [file for file in listed if not (root / file).is_file()]
    if len(absent) == len(listed):
        example = f", for example {root / absent[0]}" if absent else ""
        raise FileNotFoundError(f"{root}: none of the {len(listed)} listed clips is on disk{example}")
    if absent:
        logger.warning("%s: %d of %d listed clips are not on disk and were left out, for example %s",
                       root, len(absent), len(listed), absent[0])
    for file in absent:
        del listed[file]
    return list(listed.values())


def find_first(root: Path, names: tuple[str, ...], corpus: str) -> Path:
    """The first of these files or folders of a corpus that exists.

    Raises: FileNotFoundError, saying what was expected where.
    """
    for name in names:
        if (root / name).exists():
            return root / name
    raise FileNotFoundError(f"{root} does not look like {corpus}: expected {' or '.join(names)} in it")
