"""prepare(path): one forward decode, then nothing of the full frames is kept.

Frames wait in a short queue (about 0.6 s) until the faces around them are known; then the aligned crops are cut
and the frame is let go. Memory is bounded by that queue, whatever the clip's length.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
from cachetools import TTLCache

from media.clip import FACE_PX, GRID_HZ, LIPS_PX, ClipInfo, FaceTrack, PreparedClip, Reason
from media.container import (
    announced_end_s,
    audio_stream,
    check_file,
    check_header,
    open_container,
    sha256_of,
    video_stream,
)
from media.crops import CropRoll, Picture, display_size, face_and_lips
from media.faces import DETECT_HZ, DETECT_LONG_PX, LOOKAHEAD_S, FaceFollower
from media.limits import ACCEPTED, Limits, refusal
from media.quality import SHORTEST_TRACK_S, judge_quality
from media.sound import WaveformBuilder, find_speech
from media.still import is_still, read_still

OnStage = Callable[[str, float], None]  # what is done now, in words; seconds since preparing began

_MANY_ERRORS = 64  # a stream with more broken packets than this is given up
_DETECT_EVERY = round(GRID_HZ / DETECT_HZ)  # grid points
_CLIPS_KEPT, _KEPT_S = 4, 1800.0
_cache: TTLCache[tuple[str, Limits], PreparedClip] = TTLCache(_CLIPS_KEPT, _KEPT_S)
_cache_lock = threading.Lock()


def prepare(path: str | Path, *, on_stage: OnStage | None = None, limits: Limits | None = None) -> PreparedClip:
    """Read a clip once: faces, crops, sound and quality. Cached by content for half an hour.

    Raises: MediaError with one finding when the file is refused or cannot be read.
    """
    limits = limits or Limits()
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
    decoded = read_still(path, limits) if is_still(path) else _Decoder(path, limits).run()
    info = replace(decoded.info, path=str(path), sha256=sha256, size_bytes=size_bytes)
    decode_end = time.perf_counter()

    stage("Listening for a voice")
    waveform = decoded.waveform
    speech_s = find_speech(waveform) if waveform is not None and len(waveform) >= 512 else ()
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


def forget_file(path: str | Path) -> None:
    """Drop from the cache what was made from this file."""
    forget(sha256_of(path))


class _Decoder:
    """State of one forward decode."""

    def __init__(self, path: str | Path, limits: Limits) -> None:
        self._path, self._limits = path, limits
        self._follower = FaceFollower()
        self._sound = WaveformBuilder()
        self._queue: deque[tuple[int, Picture]] = deque()  # grid point, picture
        self._held: tuple[float, Picture] | None = None  # the latest frame, until it is known how long it shows
        self._next_grid = 0
        self._display_px: tuple[int, int] | None = None
        self._frame_times: list[float] = []
        self._rolls: dict[int, _TrackRolls] = {}
        self._rotation_deg = 0
        self._pixel_aspect = 1.0
        self.errors = 0
        self.lost: frozenset[str] = frozenset()  # "video", "audio": announced, but nothing of it could be decoded
        self.announced_s = 0.0  # the header's word on the clip's duration, where the data ends before it

    def run(self) -> _Decoder:
        with open_container(self._path) as container:
            check_header(container, self._limits)
            video, audio = video_stream(container), audio_stream(container)
            if video is None and audio is None:
                raise refusal(Reason.UNSUPPORTED_FORMAT, "The file holds neither video nor sound that can be decoded.",
                              ACCEPTED)
            streams = [s for s in (video, audio) if s is not None]
            zero_s = min((float(s.start_time * s.time_base) for s in streams if s.start_time is not None), default=0.0)
            if video is not None:
                video.thread_type = "AUTO"
                self._pixel_aspect = float(video.sample_aspect_ratio or 1)
            self._decode(container, streams, zero_s)
            self._finish(container, video, audio)
            announced_s = announced_end_s(container, streams) - max(zero_s, 0.0)
            if announced_s - self.info.duration_s > self._longest_step_s():  # the last picture may be shown that long
                self.announced_s = announced_s
        return self

    def _decode(self, container: av.container.InputContainer, streams: list, zero_s: float) -> None:
        packets = container.demux(streams)
        while self.errors <= _MANY_ERRORS:
            try:
                packet = next(packets, None)
                if packet is None:
                    break
                for frame in packet.decode():
                    self._take(frame, zero_s)
            except av.error.EOFError:
                break
            except (av.FFmpegError, ValueError, MemoryError):  # broken data: leave this packet out and go on
                self.errors += 1
        if self._held is not None:
            self._emit_held(self._held[0] + self._typical_step_s())
        self._cut_crops(float("inf"))

    def _take(self, frame: av.VideoFrame | av.AudioFrame, zero_s: float) -> None:
        time_s = None if frame.time is None else frame.time - zero_s
        if isinstance(frame, av.AudioFrame):
            self._limits.check_duration(self._sound.end_s)
            if time_s is not None:
                self._limits.check_duration(time_s)
            self._sound.add(frame, time_s)
            return
        if time_s is None:  # no timestamp: it follows the previous frame
            time_s = self._frame_times[-1] + self._typical_step_s() if self._frame_times else 0.0
        if self._frame_times and time_s <= self._frame_times[-1]:
            return  # a repeated or backward timestamp is never shown
        self._limits.check_duration(time_s)
        self._limits.check_pixels(frame.width, frame.height)
        self._frame_times.append(time_s)
        self._limits.check_frames(len(self._frame_times), time_s - self._frame_times[0])

        if self._held is not None:
            self._emit_held((self._held[0] + time_s) / 2)  # each grid point shows the frame nearest to it
        elif time_s > 0:
            self._next_grid = int(np.ceil(time_s * GRID_HZ - 1e-6))
        if self._display_px is None:
            self._rotation_deg = frame.rotation % 360
            width, height = display_size(frame, self._pixel_aspect)
            self._display_px = (height, width) if self._rotation_deg in (90, 270) else (width, height)
        self._held = (time_s, Picture.of(frame, self._pixel_aspect))

    def _typical_step_s(self) -> float:
        times = self._frame_times
        return float(np.clip((times[-1] - times[0]) / (len(times) - 1), 1e-3, 1.0)) if len(times) > 1 else 0.04

    def _longest_step_s(self) -> float:
        return float(np.diff(self._frame_times).max(initial=0.0))

    def _emit_held(self, until_s: float) -> None:
        picture = self._held[1]
        while self._next_grid / GRID_HZ < until_s - 1e-6:
            grid = self._next_grid
            self._next_grid += 1
            self._queue.append((grid, picture))
            if grid % _DETECT_EVERY == 0:
                image, factor = picture.reduced(DETECT_LONG_PX)
                self._follower.see(image, factor * picture.scale, grid / GRID_HZ)
                self._cut_crops(grid / GRID_HZ - LOOKAHEAD_S)

    def _cut_crops(self, settled_s: float) -> None:
        """Crop and release the waiting frames up to settled_s."""
        while self._queue and self._queue[0][0] / GRID_HZ <= settled_s:
            grid, picture = self._queue.popleft()
            for track in self._follower.tracks:
                if (state := track.at(grid / GRID_HZ)) is None:
                    continue
                if track.track_id not in self._rolls:
                    self._rolls[track.track_id] = _TrackRolls()
                self._rolls[track.track_id].add(grid / GRID_HZ, state, face_and_lips(picture, state[1]))

    def _finish(self, container: av.container.InputContainer, video, audio) -> None:
        self.waveform = self._sound.finish()
        times = self._frame_times
        if not times and self.waveform is None:
            raise refusal(Reason.DECODE_FAILED, "Nothing in the file could be decoded: its data is damaged or cut off.",
                          "Try the original file, or another download of it.")
        self.lost = frozenset(
            kind for kind, stream, empty in (("video", video, not times), ("audio", audio, self.waveform is None))
            if stream is not None and empty
        )
        if self.waveform is None:
            audio = None
        picture_end_s = times[-1] + self._typical_step_s() if times else 0.0
        sound_end_s = self._sound.end_s if self.waveform is not None else 0.0
        steps = np.diff(times) if len(times) > 2 else np.zeros(1)
        self.info = ClipInfo(
            path="", sha256="", size_bytes=0,
            container=container.format.name,
            duration_s=max(picture_end_s, sound_end_s),
            video_codec=video.codec_context.codec.canonical_name if times else None,
            width_px=self._display_px[0] if times else None,
            height_px=self._display_px[1] if times else None,
            fps=1 / self._typical_step_s() if len(times) > 1 else None,
            variable_fps=bool(steps.std() > 0.2 * max(steps.mean(), 1e-6)),
            rotation_deg=self._rotation_deg,
            frames=len(times),
            audio_codec=audio.codec_context.codec.canonical_name if audio is not None else None,
            audio_hz=audio.codec_context.sample_rate if audio is not None else None,
            audio_channels=audio.codec_context.channels if audio is not None else None,
            audio_streams=len(container.streams.audio),
            metadata={str(k)[:100]: str(v)[:1000] for k, v in list(container.metadata.items())[:50]},
        )
        kept = sorted(
            (i for i, rolls in self._rolls.items() if len(rolls.times_s) >= SHORTEST_TRACK_S * GRID_HZ
             or len(rolls.times_s) >= 0.8 * self._next_grid),  # or most of a very short clip
            key=lambda i: -len(self._rolls[i].times_s),
        )
        finished = [self._rolls[i].finish(new_id) for new_id, i in enumerate(kept)]
        self.tracks = tuple(track for track, _, _ in finished)
        self.faces = {track.track_id: faces for track, faces, _ in finished}
        self.lips = {track.track_id: lips for track, _, lips in finished}


class _TrackRolls:
    """What is collected for one face while the clip is decoded."""

    def __init__(self) -> None:
        self.times_s: list[float] = []
        self._states: list[tuple[np.ndarray, np.ndarray, float]] = []
        self._faces, self._lips = CropRoll(FACE_PX), CropRoll(LIPS_PX)

    def add(self, time_s: float, state: tuple[np.ndarray, np.ndarray, float],
            crops: tuple[np.ndarray, np.ndarray]) -> None:
        self.times_s.append(time_s)
        self._states.append(state)
        self._faces.add(crops[0])
        self._lips.add(crops[1])

    def finish(self, track_id: int) -> tuple[FaceTrack, np.ndarray, np.ndarray]:
        boxes, landmarks, confidence = zip(*self._states)
        track = FaceTrack(track_id, np.array(self.times_s), np.stack(boxes).astype(np.float32),
                          np.stack(landmarks).astype(np.float32), np.array(confidence, np.float32))
        return track, self._faces.finish(), self._lips.finish()
