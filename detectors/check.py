"""Does a detector keep the contract? One outcome per check, with what to do where it fails.

The checks score made-up windows: smooth noise for faces, a buzz for the voice. They ask whether the answers are of the
right form and hang on nothing but the windows; whether they are true is a question for training.evaluate.
"""

from __future__ import annotations

import socket
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import torch

from detectors.analysis import analyse_clip
from detectors.contract import Detector, InputSpec, Windows, WindowScores
from detectors.guests import HEADS, GuestError, check_declaration, import_guest, score_faults
from detectors.scoring import to_inputs
from media import AUDIO_HZ, MediaError, prepare

NEAR = 1e-4  # scores that differ by less are the same: batches sum in another order
EQUAL = 1e-6
COUNT = 3  # windows that are scored together
CPU = torch.device("cpu")
CARD_PARTS = ("paper", "data", "results", "words", "licences")  # what the page tells beside what the list needs


@dataclass(frozen=True)
class Outcome:
    check: str
    passed: bool | None  # None: not tried
    words: str  # what was found, and what to do where it failed

    def __str__(self) -> str:
        return f"{'--' if self.passed is None else 'ok' if self.passed else 'FAIL':4}  {self.check:20}  {self.words}"


def check_reference(reference: str, device: str = "cpu", pair: tuple[Path, Path] | None = None) -> Iterator[Outcome]:
    """Everything about "package.module:Class". Later checks are left out where an earlier one makes them moot."""
    with watched_connections() as connections:
        try:
            guest = import_guest(reference)
        except GuestError as error:
            yield Outcome("import", False, f"{error}.")
            return
        yield Outcome("import", True, "The module is found and has the class.")
        faults = check_declaration(guest.build)
        yield Outcome("declaration", not faults, " ".join(faults) or "id, spec, score and card are there; polarity and "
                      "thresholds are stated.")
        if faults:
            return
        try:
            yield _card(guest.card)
            first, second = guest.load(device), guest.load(device)
        except (GuestError, OSError, TypeError) as error:
            yield Outcome("loading", False, f"{reference.partition(':')[2]}({device!r}): {error}")
            return
        yield Outcome("loading", True, "The class is built from a device alone.")
        yield from check_detector(first, second, pair)
    yield _connections(connections)


def check_detector(detector: Detector, twin: Detector | None = None,
                   pair: tuple[Path, Path] | None = None) -> Iterator[Outcome]:
    """The behaviour of a loaded detector. twin: the same one, loaded once more; pair: a genuine clip and a manipulated
    one that it has to tell apart."""
    windows = made_windows(detector.spec)
    try:
        told = detector.score(windows)
    except Exception as error:
        yield Outcome("scores", False, f"score() failed on windows of its own spec: {_told(error)}")
        return
    faults = score_faults(told, windows) or _silences(told)
    yield Outcome("scores", not faults, " ".join(faults) or f"From 0 to 1, told of: {', '.join(_heads(told))}.")
    if faults:
        return
    asked: list[tuple[str, Callable[[], Outcome]]] = [
        ("determinism", lambda: _determinism(detector, twin, windows, told)),
        ("inputs untouched", lambda: _untouched(detector)),
        ("batch = single", lambda: _batch(detector, windows, told)),
        ("missing modality", lambda: _missing(detector, windows)),
        ("nothing leaks", lambda: _leaks(detector, windows)),
        ("hostile windows", lambda: _hostile(detector, windows)),
        ("still picture", lambda: _still(detector, windows)),
        ("explanations", lambda: _logits(detector, windows, told)),
        ("polarity", lambda: _polarity(detector, pair)),
    ]
    for name, ask in asked:
        try:
            yield ask()
        except Exception as error:  # a stranger's code: its fault is the finding
            yield Outcome(name, False, f"It failed: {_told(error)}")


# ---- made-up windows --------------------------------------------------------------------------------------------


def made_windows(spec: InputSpec, count: int = COUNT, seed: int = 0) -> Windows:
    """Windows with everything that the spec asks for, one hop apart."""
    rng = np.random.default_rng(seed)
    start_s = np.arange(count) * spec.hop_s
    sees, hears = "video" in spec.modalities, "audio" in spec.modalities
    faces = _pictures(rng, count, spec.frames, spec.face_px) if sees else None
    lips = _pictures(rng, count, spec.lips, spec.lips_px) if sees and spec.lips else None
    return Windows(
        start_s, start_s + spec.window_s, faces, np.full(count, sees),
        _voices(rng, count, spec.samples) if hears else None, np.full(count, hears), track_id=0 if sees else None,
        face_seen=np.ones((count, spec.frames), bool) if sees else None, lips=lips,
        lips_seen=None if lips is None else np.ones((count, spec.lips), bool),
    )


def _pictures(rng: np.random.Generator, count: int, frames: int, side_px: int) -> np.ndarray:
    """[count, frames, side_px, side_px, 3] uint8: smooth colours that move a little."""
    coarse = rng.uniform(40, 215, (count, 1, 6, 6, 3)) + rng.normal(0, 8, (count, frames, 6, 6, 3))
    pictures = np.stack([cv2.resize(c, (side_px, side_px), interpolation=cv2.INTER_CUBIC)
                         for c in coarse.reshape(-1, 6, 6, 3)])
    return pictures.clip(0, 255).astype(np.uint8).reshape(count, frames, side_px, side_px, 3)


def _voices(rng: np.random.Generator, count: int, samples: int) -> np.ndarray:
    """[count, samples] float32: a buzz at the pitch of a voice, in syllables, and a little noise."""
    time_s = np.arange(samples) / AUDIO_HZ
    pitch_hz = rng.uniform(90, 220, (count, 1))
    buzz = sum(np.sin(2 * np.pi * k * pitch_hz * time_s) / k for k in range(1, 12))
    syllables = 0.5 - 0.5 * np.cos(2 * np.pi * 4 * time_s)
    return (0.1 * buzz * syllables + rng.normal(0, 1e-3, (count, samples))).astype(np.float32)


def without(windows: Windows, modality: str) -> Windows:
    """The same windows of a clip without a face ("video") or without a voice ("audio")."""
    none = np.zeros(len(windows.start_s), bool)
    if modality == "audio":
        return replace(windows, audio=None, has_audio=none)
    return replace(windows, faces=None, has_face=none, lips=None, face_seen=None, lips_seen=None, track_id=None)


def rows_of(windows: Windows, rows: Sequence[int]) -> Windows:
    """Some of the windows, as if there were no others."""
    names = ("start_s", "end_s", "faces", "has_face", "audio", "has_audio", "face_seen", "lips", "lips_seen")
    return replace(windows, **{name: values[list(rows)] for name in names
                               if (values := getattr(windows, name)) is not None})


# ---- checks -----------------------------------------------------------------------------------------------------


def _card(card: dict) -> Outcome:
    absent = [part for part in CARD_PARTS if not card.get(part)]
    return Outcome("card", True, "Complete." if not absent else
                   f"The page will say that these are missing: {', '.join(absent)}.")


def _silences(told: WindowScores) -> list[str]:
    if not _heads(told):
        return ["No head is told of windows that have all that the spec asks for."]
    return []


def _determinism(detector: Detector, twin: Detector | None, windows: Windows, told: WindowScores) -> Outcome:
    check = "determinism"
    detector.score(made_windows(detector.spec, 1, seed=1))  # something else in between
    if not _same(told, detector.score(windows), EQUAL):
        return Outcome(check, False, "The same windows got other scores the second time. Score in eval mode, under "
                       "torch.inference_mode(), and draw no random numbers.")
    if twin is not None and not _same(told, twin.score(windows), EQUAL):
        return Outcome(check, False, "A second instance gives other scores: its weights are not read from a file, or "
                       "not all of them.")
    return Outcome(check, True, "Equal the second time" + (", and from a second instance." if twin else "."))


def _untouched(detector: Detector) -> Outcome:
    windows = made_windows(detector.spec, seed=2)  # unlike the others, not read yet
    names = [n for n in ("faces", "lips", "audio", "face_seen", "lips_seen", "start_s", "end_s")
             if getattr(windows, n) is not None]
    copies = {n: getattr(windows, n).copy() for n in names}
    detector.score(windows)
    changed = [n for n in names if not np.array_equal(copies[n], getattr(windows, n))]
    return Outcome("inputs untouched", not changed, f"score() writes into {', '.join(changed)}: work on a copy, other "
                   "detectors read the same clip." if changed else "score() leaves the windows as they are.")


def _batch(detector: Detector, windows: Windows, told: WindowScores) -> Outcome:
    """Sync is left out: it may be told from the whole track."""
    check, worst = "batch = single", 0.0
    if hasattr(detector, "logits"):
        with torch.inference_mode():
            together = detector.logits(to_inputs(windows, np.arange(COUNT), _device(detector)))
            for row in range(COUNT):
                alone = detector.logits(to_inputs(windows, np.array([row]), _device(detector)))
                worst = max([worst, *(float((together[h][row] - v[0]).abs()) for h, v in alone.items() if h != "sync")])
    elif len(told.start_s) != COUNT:
        return Outcome(check, None, "Without logits(), spans that are finer than windows cannot be compared.")
    else:
        for row in range(COUNT):
            alone = detector.score(rows_of(windows, [row]))
            worst = max([worst, *(float(abs(getattr(told, h)[row] - getattr(alone, h)[0]))
                                  for h in _heads(told) if h != "sync")])
    return Outcome(check, worst <= NEAR, f"The largest difference is {worst:.1g}." if worst <= NEAR else
                   f"A window gets another score when others come with it (by {worst:.2g}): normalise each window by "
                   "itself, with batch norm in eval mode.")


def _missing(detector: Detector, windows: Windows) -> Outcome:
    check = "missing modality"
    if len(detector.spec.modalities) < 2:
        return Outcome(check, None, f"It sees {detector.spec.modalities[0]} alone; without it, it is not asked.")
    for modality in ("video", "audio"):
        bare = without(windows, modality)
        try:
            told = detector.score(bare)
        except Exception as error:
            return Outcome(check, False, f"Without {modality}, score() failed ({_told(error)}): leave the missing part "
                           "out and give NaN or None for it.")
        if faults := score_faults(told, bare):
            return Outcome(check, False, f"Without {modality}: {' '.join(faults)}")
    return Outcome(check, True, "What is missing gets no score, and what is there is still judged or left out.")


def _leaks(detector: Detector, windows: Windows) -> Outcome:
    """In a window marked as lacking a modality, what lies in its place must not count."""
    check = "nothing leaks"
    for modality, mark, part in (("video", "has_face", "faces"), ("audio", "has_audio", "audio")):
        if modality not in detector.spec.modalities or len(detector.spec.modalities) < 2:
            continue
        marks = getattr(windows, mark).copy()
        marks[1] = False
        empty, other = getattr(windows, part).copy(), getattr(windows, part).copy()
        empty[1], other[1] = 0, other[0]
        marked = replace(windows, **{mark: marks})
        if part == "faces" and windows.face_seen is not None:
            seen = windows.face_seen.copy()
            seen[1] = False
            marked = replace(marked, face_seen=seen)
        first, second = (detector.score(replace(marked, **{part: content})) for content in (empty, other))
        told = getattr(first, modality)
        if len(first.start_s) == COUNT and told is not None and np.isfinite(told[1]):
            return Outcome(check, False, f"A window marked {mark}=False got a {modality} score: give NaN there.")
        if not _same(first, second, NEAR):
            return Outcome(check, False, f"What stands in {part} of a window marked {mark}=False changes scores: skip "
                           "it.")
    if len(detector.spec.modalities) < 2:
        return Outcome(check, None, "It sees one modality alone.")
    return Outcome(check, True, "What is marked as missing changes nothing.")


def _hostile(detector: Detector, windows: Windows) -> Outcome:
    """Black faces and digital silence, white faces and full scale."""
    for shade, level in ((0, 0.0), (255, 1.0)):
        extreme = replace(
            windows, faces=None if windows.faces is None else np.full_like(windows.faces, shade),
            lips=None if windows.lips is None else np.full_like(windows.lips, shade),
            audio=None if windows.audio is None else np.full_like(windows.audio, level))
        faults = score_faults(detector.score(extreme), extreme)
        if faults:
            return Outcome("hostile windows", False, f"Pictures of shade {shade}, sound at {level}: {' '.join(faults)}")
    return Outcome("hostile windows", True, "Black, white, silence and full scale give scores from 0 to 1, or none.")


def _still(detector: Detector, windows: Windows) -> Outcome:
    check = "still picture"
    if not detector.spec.stills:
        return Outcome(check, None, "It does not judge still pictures (spec.stills is False), and will abstain.")
    seen = windows.face_seen.copy()
    faces = windows.faces.copy()
    if detector.spec.stretch:
        faces[:] = faces[:, :1]
    else:
        faces[:, 1:], seen[:, 1:] = 0, False
    still = rows_of(without(replace(windows, faces=faces, face_seen=seen), "audio"), [0])
    told = detector.score(replace(still, end_s=still.start_s + 0.04))
    faults = score_faults(told, still)
    if not faults and not (told.video is not None and np.isfinite(told.video).any()):
        faults = ["spec.stills is True, but a still picture gets no video score."]
    return Outcome(check, not faults, " ".join(faults) or "A still picture gets a score.")


def _logits(detector: Detector, windows: Windows, told: WindowScores) -> Outcome:
    check = "explanations"
    if not hasattr(detector, "logits"):
        return Outcome(check, None, "It has no logits(), so its answers cannot be explained.")
    inputs = to_inputs(windows, np.arange(COUNT), _device(detector))
    asked = {name: tensor.requires_grad_() for name, tensor in inputs._asdict().items()
             if name in ("faces", "lips", "audio") and tensor is not None}
    with torch.backends.cudnn.flags(enabled=False):
        logits = detector.logits(inputs._replace(**asked))
        if not logits:
            return Outcome(check, False, "logits() told of no head.")
        for head, logit in logits.items():
            if head not in HEADS or logit.shape != (COUNT,):
                return Outcome(check, False, f"logits()[{head!r}] has the shape {tuple(logit.shape)}: give one number "
                               f"a window, for a head of {', '.join(HEADS)}.")
            if not logit.requires_grad:
                return Outcome(check, False, f"logits()[{head!r}] has no gradient: leave inference_mode to score().")
    same_spans = len(told.start_s) == COUNT
    if same_spans:
        for head, logit in logits.items():
            values = getattr(told, head)
            if head == "sync" or values is None:
                continue
            off = float(np.abs(logit.detach().double().sigmoid().cpu().numpy() - values).max())
            if not off <= NEAR:
                return Outcome(check, False, f"sigmoid(logits) of {head} is not what score() tells (by {off:.2g}): the "
                               "same calibration, and the same polarity, go into both.")
    return Outcome(check, True, f"Logits are differentiable{', and say what score() says' if same_spans else ''}.")


def _polarity(detector: Detector, pair: tuple[Path, Path] | None) -> Outcome:
    check = "polarity"
    if pair is None:
        return Outcome(check, None, "Stated, not tried: --pair GENUINE MANIPULATED tries it on two clips of yours.")
    try:
        genuine, manipulated = (analyse_clip(prepare(path), detector) for path in pair)
    except MediaError as error:
        return Outcome(check, False, f"A clip of the pair cannot be read: {error}")
    if genuine.score is None or manipulated.score is None:
        why = " ".join(f.message for f in (genuine if genuine.score is None else manipulated).findings)
        return Outcome(check, False, f"A clip of the pair cannot be judged. {why}")
    higher = manipulated.score > genuine.score
    scores = f"{manipulated.score:.3f} for the manipulated clip, {genuine.score:.3f} for the genuine one"
    return Outcome(check, higher, f"{scores}." if higher else f"{scores}: higher must mean more manipulated. Is yours "
                   "P(real)? Then return 1 - score.")


def _connections(connections: Sequence[str]) -> Outcome:
    return Outcome("no connection", not connections, f"It tried to reach {', '.join(dict.fromkeys(connections))}: read "
                   "weights from files that come with the package." if connections else
                   "Nothing was fetched while it was imported, built and asked.")


# ---- pieces -----------------------------------------------------------------------------------------------------


def _heads(told: WindowScores) -> list[str]:
    return [h for h in HEADS if (v := getattr(told, h)) is not None and np.isfinite(v).any()]


def _same(first: WindowScores, second: WindowScores, near: float) -> bool:
    for head in HEADS:
        a, b = getattr(first, head), getattr(second, head)
        if (a is None) != (b is None):
            return False
        if a is not None and not (np.shape(a) == np.shape(b) and np.allclose(a, b, rtol=0, atol=near, equal_nan=True)):
            return False
    return True


def _device(detector: Detector) -> torch.device:
    model = getattr(detector, "model", None)
    parameter = next(model.parameters(), None) if isinstance(model, torch.nn.Module) else None
    return CPU if parameter is None else parameter.device


def _told(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"[:300]


_watching: list[list[str]] = []  # an audit hook stays for the life of the process; it is idle while this is empty
_hooked = False
_EVENTS = {"socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "socket.sendto", "urllib.Request"}


class Refused(OSError):
    """What code that reaches for the network gets while it is watched."""


@contextmanager
def watched_connections() -> Iterator[list[str]]:
    """Refuses and lists what Python code of this process wants to reach. Native libraries are not seen."""
    global _hooked
    if not _hooked:
        sys.addaudithook(_hook)
        _hooked = True
    tried: list[str] = []
    _watching.append(tried)
    try:
        yield tried
    finally:
        _watching.remove(tried)


def _hook(event: str, arguments: tuple) -> None:
    if not _watching or event not in _EVENTS:
        return
    if event in ("socket.connect", "socket.sendto"):
        holder, address = arguments[0], arguments[1]
        if getattr(holder, "family", None) not in (socket.AF_INET, socket.AF_INET6):
            return  # within this machine
        target = str(address[0]) if isinstance(address, tuple) else str(address)
    else:
        target = str(arguments[0])
    for tried in _watching:
        tried.append(target)
    raise Refused(f"no connection while the contract is checked: {target}")
