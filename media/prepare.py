"""prepare(path): one forward decode, then nothing of the full frames is kept.

The file is decoded in a process apart (media.isolation); here arrive its pictures. They wait in a short queue (about
0.8 s) until the faces around them are known; then the aligned crops are cut and the picture is let go. Faces are looked
for in one thread and crops cut in another, while here the next picture is made small. Memory is bounded by that queue,
whatever the clip's length.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, fields, replace
from pathlib import Path

import numpy as np
from cachetools import TTLCache

from media import isolation
from media.clip import FACE_PX, GRID_HZ, LIPS_PX, ClipInfo, FaceTrack, PreparedClip
from media.container import check_file, sha256_of
from media.crops import CropRoll, Picture, face_and_lips
from media.faces import DETECT_HZ, DETECT_LONG_PX, LOOKAHEAD_S, MAX_FACES, FaceFollower, find_faces
from media.limits import Limits, default_limits
from media.quality import SHORTEST_TRACK_S, judge_quality
from media.sound import VOICE_PIECE, find_speech
from media.still import is_still
from media.threads import lone_thread

OnStage = Callable[[str, float], None]  # what is done now, in words; seconds since preparing began

STILL_LONG_PX = 960  # of a still picture that is searched; there is time for twice that of a video's frames
_DETECT_EVERY = round(GRID_HZ / DETECT_HZ)  # grid points
_MOST_UNCUT = 8  # faces that wait for the thread that cuts
_CLIPS_KEPT, _KEPT_S = 4, 1800.0
_cache: TTLCache[tuple[str, Limits], PreparedClip] = TTLCache(_CLIPS_KEPT, _KEPT_S)
_cache_lock = threading.Lock()


def prepare(path: str | Path, *, on_stage: OnStage | None = None, limits: Limits | None = None) -> PreparedClip:
    """Read a clip once: faces, crops, sound and quality. Cached by content for half an hour.

    limits: those of set_default_limits where none are given.
    Raises: MediaError with one finding when the file is refused or cannot be read.
    """
    limits = limits or default_limits()
    begin = time.perf_counter()

    def stage(words: str) -> None:
        if on_stage:
            on_stage(words, time.perf_counter() - begin)

    stage("Checking the file")
    size_bytes = check_file(path, limits)
    sha256 = sha256_of(path)
    with _cache_lock:
        known = _cache.get((sha256, limits))
    if known is not None:
        return replace(known, info=replace(known.info, path=str(path)))

    stage("Reading the clip and finding faces")
    with lone_thread() as alone:
        if is_still(path):
            decoded = alone.submit(_read_still, path, limits).result()
        else:
            decoded = _Reader(limits, alone).read(path)
        info = replace(decoded.info, path=str(path), sha256=sha256, size_bytes=size_bytes)
        decode_end = time.perf_counter()

        stage("Listening for a voice")
        waveform, speech_s = decoded.waveform, ()
        if waveform is not None and len(waveform) >= VOICE_PIECE:
            speech_s = alone.submit(find_speech, waveform).result()
    quality = judge_quality(info, decoded.tracks, decoded.faces, waveform, speech_s, decoded.errors, decoded.lost,
                            decoded.announced_s)
    clip = PreparedClip(
        info, decoded.tracks, decoded.faces, decoded.lips, waveform, speech_s, quality,
        {"decode_and_faces": decode_end - begin, "sound_and_quality": time.perf_counter() - decode_end},
    )
    with _cache_lock:
        _cache[(sha256, limits)] = clip
    return clip


def forget(sha256: str | None = None) -> None:
    """Drop a clip (or all clips) from the cache; its crops vanish with the last reference."""
    with _cache_lock:
        for key in [k for k in _cache if sha256 in (None, k[0])]:
            del _cache[key]


def forget_gone() -> None:
    """Drop from the cache the clips whose file is no longer there: one may have been prepared while its file went."""
    with _cache_lock:
        _cache.expire()  # what is too old leaves a TTLCache at its next use only
        for key in [key for key, clip in _cache.items() if not Path(clip.info.path).exists()]:
            del _cache[key]


def forget_file(path: str | Path) -> None:
    """Drop from the cache what was made from this file."""
    forget(sha256_of(path))


@dataclass
class _Decoded:
    """What was read of a file, before its sound is listened to."""

    info: ClipInfo  # without path, hash and size
    tracks: tuple[FaceTrack, ...]
    faces: dict[int, np.ndarray]  # track_id -> [N, 224, 224, 3] uint8 RGB
    lips: dict[int, np.ndarray]  # track_id -> [N, 96, 96, 3] uint8 RGB
    waveform: np.ndarray | None = None
    errors: int = 0
    lost: frozenset[str] = frozenset()  # "video", "audio": announced, but nothing of it could be decoded
    announced_s: float = 0.0  # the header's word on the clip's duration, where the data ends before it


def _read_still(path: str | Path, limits: Limits) -> _Decoded:
    """The faces of a picture.

    Raises: MediaError.
    """
    record = isolation.read_one("still", {"path": str(path)}, limits)
    with isolation.believed_nothing():
        info = _info(record.facts["info"] | {"frames": 1, "duration_s": 0.0, "still": True})
        picture = Picture.received(record)
    reduced, factor = picture.reduced(STILL_LONG_PX)
    factor *= picture.scale  # display pixels per pixel that was searched
    tracks, faces, lips = [], {}, {}
    for track_id, found in enumerate(find_faces(reduced)[:MAX_FACES]):
        landmarks = np.asarray(found.landmarks, np.float32) * factor  # [5, 2]
        tracks.append(FaceTrack(track_id, np.zeros(1), np.asarray(found.box, np.float32)[None] * factor,
                                landmarks[None], np.array([found.confidence], np.float32)))
        face, lip = face_and_lips(picture, landmarks)
        faces[track_id], lips[track_id] = face[None], lip[None]
    return _Decoded(info, tuple(tracks), faces, lips)


def _info(facts: dict) -> ClipInfo:
    """From a worker, which is believed nothing.

    Raises: KeyError, TypeError, ValueError.
    """
    kinds = {f.name: f.type for f in fields(ClipInfo)}
    casts = {"str": str, "int": int, "float": float, "bool": bool}
    known = {}
    for name, value in facts.items():
        cast = casts.get(kinds[name].split(" | ")[0])
        known[name] = None if value is None else cast(value) if cast else {str(k): str(v) for k, v in value.items()}
    return ClipInfo(path="", sha256="", size_bytes=0, **known)


class _Reader:
    """State of one forward reading: pictures on the grid of GRID_HZ in, crops out."""

    def __init__(self, limits: Limits, finder: ThreadPoolExecutor) -> None:
        """finder: one thread, in which faces are looked for."""
        self._limits = limits
        self._follower, self._finder = FaceFollower(), finder
        self._look: tuple[float, Future] | None = None  # the one under way, and its moment
        self._queue: deque[tuple[int, Picture]] = deque()  # grid point, picture
        self._next_grid = 0
        self._rolls: dict[int, _TrackRolls] = {}
        self._cutter = ThreadPoolExecutor(1, "crops")  # one thread: crops stay in order
        self._uncut: deque[Future] = deque()

    def read(self, path: str | Path) -> _Decoded:
        """Raises: MediaError."""
        with self._cutter:
            return self._read(path)

    def _read(self, path: str | Path) -> _Decoded:
        last = isolation.Record("")
        for last in isolation.read("clip", {"path": str(path)}, self._limits):
            if last.kind == "picture":
                with isolation.believed_nothing():
                    first, count, picture = int(last.facts["first"]), int(last.facts["count"]), Picture.received(last)
                    if not self._next_grid <= first < first + count <= self._limits.duration_s * GRID_HZ + 2 * GRID_HZ:
                        raise ValueError("grid points go forward and end")
                self._take(first, count, picture)
        self._finish_look()
        self._cut_crops(float("inf"))
        while self._uncut:
            self._uncut.popleft().result()
        with isolation.believed_nothing():
            facts = last.facts
            waveform = last.arrays[0].view(np.float32).copy() if facts["info"]["audio_codec"] is not None else None
            decoded = _Decoded(_info(facts["info"]), (), {}, {}, waveform, int(facts["errors"]),
                               frozenset(facts["lost"]) & {"video", "audio"}, float(facts["announced_s"]))
            if not np.isfinite([decoded.info.duration_s, np.sum(0.0 if waveform is None else waveform)]).all():
                raise ValueError("times and samples are numbers")
        self._add_tracks(decoded)
        return decoded

    def _take(self, first: int, count: int, picture: Picture) -> None:
        self._next_grid = first + count
        for grid in range(first, first + count):
            self._queue.append((grid, picture))
            if grid % _DETECT_EVERY == 0:
                image, factor = picture.reduced(DETECT_LONG_PX)
                self._finish_look()
                self._look = (grid / GRID_HZ, self._finder.submit(self._follower.see, image, factor * picture.scale,
                                                                  grid / GRID_HZ))

    def _finish_look(self) -> None:
        if self._look is not None:
            time_s, look = self._look
            look.result()
            self._cut_crops(time_s - LOOKAHEAD_S)

    def _cut_crops(self, settled_s: float) -> None:
        """Crop and release the waiting pictures up to settled_s."""
        while self._queue and self._queue[0][0] / GRID_HZ <= settled_s:
            grid, picture = self._queue.popleft()
            for track in self._follower.tracks:
                if (state := track.at(grid / GRID_HZ)) is None:
                    continue
                if track.track_id not in self._rolls:
                    self._rolls[track.track_id] = _TrackRolls()
                rolls = self._rolls[track.track_id]
                rolls.add(grid / GRID_HZ, state)
                self._uncut.append(self._cutter.submit(rolls.cut, picture, state[1]))
            while len(self._uncut) > _MOST_UNCUT:
                self._uncut.popleft().result()

    def _add_tracks(self, decoded: _Decoded) -> None:
        kept = sorted(
            (i for i, rolls in self._rolls.items() if len(rolls.times_s) >= SHORTEST_TRACK_S * GRID_HZ
             or len(rolls.times_s) >= 0.8 * self._next_grid),  # or most of a very short clip
            key=lambda i: -len(self._rolls[i].times_s),
        )
        finished = [self._rolls[i].finish(new_id) for new_id, i in enumerate(kept)]
        decoded.tracks = tuple(track for track, _, _ in finished)
        decoded.faces = {track.track_id: faces for track, faces, _ in finished}
        decoded.lips = {track.track_id: lips for track, _, lips in finished}


class _TrackRolls:
    """What is collected for one face while the clip is decoded."""

    def __init__(self) -> None:
        self.times_s: list[float] = []
        self._states: list[tuple[np.ndarray, np.ndarray, float]] = []
        self._faces, self._lips = CropRoll(FACE_PX), CropRoll(LIPS_PX)

    def add(self, time_s: float, state: tuple[np.ndarray, np.ndarray, float]) -> None:
        """Box, landmarks and confidence at a moment; its crops follow."""
        self.times_s.append(time_s)
        self._states.append(state)

    def cut(self, picture: Picture, landmarks: np.ndarray) -> None:
        """landmarks: [5, 2] of the next moment, in the file's display pixels."""
        for roll, crop in zip((self._faces, self._lips), face_and_lips(picture, landmarks)):
            roll.add(crop)

    def finish(self, track_id: int) -> tuple[FaceTrack, np.ndarray, np.ndarray]:
        boxes, landmarks, confidence = zip(*self._states)
        track = FaceTrack(track_id, np.array(self.times_s), np.stack(boxes).astype(np.float32),
                          np.stack(landmarks).astype(np.float32), np.array(confidence, np.float32))
        return track, self._faces.finish(), self._lips.finish()
