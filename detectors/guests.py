"""Detectors from outside: a class that keeps the contract joins the list, by entry point or by name.

    [project.entry-points."telltale.detectors"]        scan.py CLIP --detectors all,package.module:Class
    flicker = "package.module:Flicker"                 app.py --detectors package.module:Class

Importing a class runs its module's code with the rights of whoever runs Telltale: add what you trust.
`python -m detectors check package.module:Class` tries the whole contract; what is tried here is what the list needs.
"""

from __future__ import annotations

import hashlib
import importlib
import inspect
import os
import re
import sys
import traceback
from dataclasses import MISSING, asdict, dataclass, fields, replace
from functools import cached_property
from importlib.metadata import entry_points
from pathlib import Path

import numpy as np

from detectors.contract import MODALITIES, Detector, InputSpec, Thresholds, Windows, WindowScores
from media import AUDIO_HZ, FACE_PX, Finding, Reason

GROUP = "telltale.detectors"  # of entry points
POLARITY = "P(fake)"  # what a card states: 0 = no signs, 1 = manipulated
HEADS = (*MODALITIES, "whole")


class GuestError(ValueError):
    """A class that cannot join the list; the message says why and what to do."""


@dataclass(frozen=True)
class Guest:
    """A class from outside, and where it is from."""

    reference: str  # "package.module:Class"
    build: type

    @property
    def id(self) -> str:
        return self.build.id

    @cached_property
    def card(self) -> dict:
        """The class' own card, completed by what can be read off the class.

        Raises: OSError where its weights cannot be read.
        """
        return {
            "provisional": True,
            **self.build.card,
            "input_spec": asdict(self.build.spec),
            "checkpoint": _fingerprint(self.build),
            "added": self.reference,
            "explainable": hasattr(self.build, "logits"),
        }

    def load(self, device: str) -> Detector:
        """Raises: GuestError where the class cannot be built."""
        try:
            detector = self.build(device)
        except Exception as error:
            raise GuestError(f"it cannot be loaded: {_place(error)}") from error
        detector.card = self.card
        return detector


class Unloadable:
    """Stands in the list for a guest that cannot be built: it gives no scores, and says why."""

    def __init__(self, guest: Guest, error: GuestError):
        self.id, self.spec, self.card = guest.id, guest.build.spec, guest.card
        self._error = error

    def score(self, windows: Windows) -> WindowScores:
        raise self._error


def is_reference(name: str) -> bool:
    return ":" in name


def import_guest(reference: str) -> Guest:
    """The class behind "package.module:Class". Modules are looked for in the current folder too, last.

    Raises: GuestError.
    """
    module_name, _, class_name = reference.partition(":")
    if not re.fullmatch(r"[\w.]+:\w+", reference):
        raise GuestError(f"{reference!r} is no package.module:Class")
    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())
    try:
        module = importlib.import_module(module_name)
    except Exception as error:  # whatever a stranger's module does when it is imported
        raise GuestError(f"{module_name} cannot be imported: {_told(error)}. Run it from the folder that holds it, or "
                         "install its package.") from error
    build = getattr(module, class_name, None)
    if not inspect.isclass(build):
        raise GuestError(f"{module_name} has no class {class_name}")
    return Guest(reference, build)


def check_declaration(build: type) -> list[str]:
    """What the class fails to say of itself, in sentences. None of it needs an instance."""
    faults = []
    if not re.fullmatch(r"[a-z][a-z0-9_]{0,39}", str(getattr(build, "id", ""))):
        faults.append('Give it an id of small letters, digits and _: id = "my_detector".')
    spec = getattr(build, "spec", None)
    faults += _spec_faults(spec) if isinstance(spec, InputSpec) else ["Give it spec = InputSpec(...): what it sees."]
    if not callable(getattr(build, "score", None)):
        faults.append("Give it score(self, windows: Windows) -> WindowScores.")
    card = getattr(build, "card", None)
    return faults + (_card_faults(card) if isinstance(card, dict) else ["Give it a card: a dict with its name."])


def _spec_faults(spec: InputSpec) -> list[str]:
    faults = []
    if not spec.modalities or not set(spec.modalities) <= {"video", "audio"}:
        faults.append('spec.modalities is ("video",), ("audio",) or ("video", "audio").')
    if spec.audio_hz != AUDIO_HZ:
        faults.append(f"spec.audio_hz is {AUDIO_HZ}: clips are prepared at that rate. Resample in score().")
    if not (spec.window_s > 0 and 0 < spec.hop_s <= spec.window_s):
        faults.append("spec.hop_s is positive and no longer than spec.window_s, or moments would be left out.")
    if "video" in spec.modalities and not (spec.frames >= 1 and 8 <= spec.face_px <= 4 * FACE_PX):
        faults.append(f"spec.frames is at least 1 and spec.face_px from 8 to {4 * FACE_PX}.")
    if spec.lips and not spec.lips_px:
        faults.append("spec.lips_px says how large the lip crops are.")
    return faults


def _card_faults(card: dict) -> list[str]:
    faults = []
    if card.get("polarity") != POLARITY:
        faults.append(f'Say card["polarity"] = "{POLARITY}": 0 = no signs, 1 = manipulated. If yours is P(real), '
                      "return 1 - score.")
    if not (isinstance(card.get("name"), str) and card["name"].strip()):
        faults.append('Give card["name"], as it shall stand on the page.')
    points = card.get("thresholds")
    needed = {f.name for f in fields(Thresholds) if f.default is MISSING}
    known = {f.name for f in fields(Thresholds)}
    if not isinstance(points, dict) or not needed <= points.keys() <= known:
        optional = ", ".join(sorted(known - needed))
        return [*faults, f'Give card["thresholds"] with {" and ".join(sorted(needed))}; {optional} may be left out.']
    thresholds = Thresholds(**points)
    if not 0 < thresholds.suspicious <= thresholds.manipulated < 1:
        faults.append("Thresholds are scores: 0 < suspicious <= manipulated < 1.")
    if not 0 < thresholds.segment_off <= thresholds.segment_on <= 1:
        faults.append("A span closes no higher than it opens: 0 < segment_off <= segment_on <= 1.")
    return faults


def score_faults(scores: object, windows: Windows) -> list[str]:
    """What in scores of these windows breaks the contract, in sentences."""
    if not isinstance(scores, WindowScores):
        return [f"score() returns WindowScores, not {type(scores).__name__}."]
    try:
        starts_s, ends_s = (np.asarray(x, float) for x in (scores.start_s, scores.end_s))
    except (TypeError, ValueError):
        return ["start_s and end_s are arrays of seconds."]
    if starts_s.ndim != 1 or starts_s.shape != ends_s.shape:
        return ["start_s and end_s have the same length."]
    if not (starts_s <= ends_s).all():  # nor is NaN
        return ["Each span ends after it starts, at a known second."]
    n, faults = len(starts_s), []
    for head in HEADS:
        values = getattr(scores, head)
        if values is None:
            continue
        try:
            values = np.asarray(values, float)
        except (TypeError, ValueError):
            faults.append(f"{head} is an array of numbers.")
            continue
        if values.shape != (n,):
            faults.append(f"{head} has one number for each of the {n} spans, not the shape {values.shape}.")
        elif np.isinf(values).any() or (values < 0).any() or (values > 1).any():
            faults.append(f"{head} has scores outside of 0 to 1: squash them, for example with a sigmoid.")
        elif np.isfinite(values).any() and _lacks(head, windows):
            faults.append(f"{head} is told though these windows lack what it needs: give NaN, not a made-up score.")
    last_s = float(windows.end_s.max())
    for segment in scores.proposals or ():
        if not (0 <= segment.start_s < segment.end_s <= last_s + 0.5 and 0 <= segment.score <= 1
                and segment.modality in MODALITIES):
            faults.append(f"Proposed segments lie inside the clip, with a score from 0 to 1 and a modality: {segment}.")
            break
    return faults


def score_checked(detector: Detector, windows: Windows) -> WindowScores:
    """What a guest says of windows, held to the contract, as arrays.

    Raises: GuestError where it breaks it; whatever the guest raises.
    """
    scores = detector.score(windows)
    if faults := score_faults(scores, windows):
        raise GuestError(f"its scores break the contract. {faults[0]}")
    return replace(scores, **{name: np.asarray(value, float) for name in ("start_s", "end_s", *HEADS)
                              if (value := getattr(scores, name)) is not None})


def _lacks(head: str, windows: Windows) -> bool:
    """True where no window has what a head needs."""
    seen, heard = windows.has_face.any(), windows.has_audio.any()
    return {"video": not seen, "audio": not heard, "sync": not (seen and heard), "whole": not (seen or heard)}[head]


def failure(detector: Detector, error: Exception) -> Finding:
    """What went wrong inside a guest, as a reason. Kind and place only: messages often hold the file's name."""
    what = str(error) if isinstance(error, GuestError) else f"it failed with {_place(error)}"
    return Finding(Reason.DETECTOR_FAILED, f"{detector.card['name']} gave no answer: {what}",
                   "The other detectors are not touched by it. Its author can find the fault with: "
                   f"python -m detectors check {detector.card['added']}")


def _place(error: Exception) -> str:
    last = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__} in {Path(last.filename).name}, line {last.lineno}."


def _told(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".strip().rstrip(".: ")


def _fingerprint(build: type) -> str:
    """SHA-256 of what answers: the file of its weights, where the class names one, else its own source."""
    path = getattr(build, "weights", None) or inspect.getsourcefile(build)
    return "sha256:" + hashlib.sha256(Path(path).read_bytes()).hexdigest()


class Guests:
    """The guests of this process."""

    def __init__(self, taken: tuple[str, ...]):
        """taken: ids that belong to others."""
        self.problems: dict[str, str] = {}  # reference of an entry point that could not join -> why
        self._taken = taken
        self._guests: dict[str, Guest] = {}
        self._have_read = False  # the entry points

    def all(self) -> dict[str, Guest]:
        """id -> guest: those of entry points, and those that joined."""
        if not self._have_read:
            self._have_read = True
            self._read_entry_points()
        return dict(self._guests)

    def join(self, reference: str) -> str:
        """The id under which the class is now listed.

        Raises: GuestError in a sentence.
        """
        self.all()
        guest = import_guest(reference)
        if faults := check_declaration(guest.build):
            raise GuestError(f"{reference} cannot join the list. {' '.join(faults)}")
        holder = self._guests.get(guest.id)
        if guest.id in self._taken or (holder is not None and holder.build is not guest.build):
            raise GuestError(f"{reference} has the id {guest.id!r} of another detector. Give it one of its own.")
        try:
            guest.card["checkpoint"]
        except (OSError, TypeError) as error:
            raise GuestError(f"{reference} cannot join the list: no file of its weights or source can be read "
                             f"({_told(error)}).") from error
        self._guests[guest.id] = guest
        return guest.id

    def _read_entry_points(self) -> None:
        for point in entry_points(group=GROUP):
            try:
                self.join(f"{point.module}:{point.attr}")
            except GuestError as error:
                self.problems[point.value] = str(error)
