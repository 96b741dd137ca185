"""A file becomes Footage: every frame as shown on a display, its time, and the sound."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np

from media import AUDIO_HZ, Limits, Reason
from media.container import audio_stream, check_file, check_header, open_container, video_stream
from media.crops import Picture
from media.limits import refusal
from media.waveform import WaveformBuilder
from training.forge.footage import Footage

PIECE_S = 15.0  # footage lies in memory whole
MOST_PIECES = 4  # of one clip: a minute of one person and camera; more would only repeat them
LEAST_PIECE_S = 2.0  # a shorter rest at the end is left out
LONG_PX = 960  # larger pictures are reduced to this long side


def read_footage(path: str | Path, clip_id: str | None = None, long_px: int = LONG_PX) -> Footage:
    """A clip of at most PIECE_S, without landmarks. clip_id: the file's name without its ending unless given.

    Raises: MediaError where the file is refused, too long, or holds neither picture nor sound.
    """
    (_, footage), = read_pieces(path, clip_id, long_px, Limits(duration_s=PIECE_S))
    return footage


def read_pieces(path: str | Path, clip_id: str | None = None, long_px: int = LONG_PX, limits: Limits | None = None,
                piece_s: float = PIECE_S, most: int = MOST_PIECES) -> Iterator[tuple[float, Footage]]:
    """(start_s, footage) of each successive piece_s of a clip, so many at most; a piece counts time from its start.

    Frames are RGB, rotated and in square pixels as a player shows them, no longer than long_px, with an even number
    of rows and columns (one is cut off where it is odd).
    Raises: MediaError where the file is refused, too long, or holds neither picture nor sound.
    """
    limits = limits or Limits()
    check_file(path, limits)
    clip_id = clip_id or Path(path).stem
    waveform = _read_sound(path, limits)
    pictures = _read_pictures(path, limits, long_px)
    number, ahead = 0, next(pictures, None)
    while number < most:
        start_s, end_s = number * piece_s, (number + 1) * piece_s
        frames, times_s = [], []
        while ahead is not None and ahead[0] < end_s:
            times_s.append(ahead[0] - start_s)
            frames.append(ahead[1])
            ahead = next(pictures, None)
        sound = None if waveform is None else waveform[round(start_s * AUDIO_HZ):round(end_s * AUDIO_HZ)]
        if sound is not None and not len(sound):
            sound = None
        length_s = max(times_s[-1] if times_s else 0.0, 0.0 if sound is None else len(sound) / AUDIO_HZ)
        if number and length_s < LEAST_PIECE_S:
            return
        if not frames and sound is None:
            raise refusal(Reason.DECODE_FAILED, "The file holds neither picture nor sound.", "Leave it out.")
        yield start_s, Footage(clip_id, np.stack(frames) if frames else None, np.array(times_s) if frames else None,
                               sound)
        number += 1


def _read_pictures(path: str | Path, limits: Limits, long_px: int) -> Iterator[tuple[float, np.ndarray]]:
    """(time_s, [H, W, 3] uint8) of every frame that a player would show."""
    last_s = -1.0
    for time_s, frame, aspect in _decode(path, limits, "video"):
        if time_s is not None and time_s > last_s:  # others are never shown
            limits.check_duration(time_s)
            image, _ = Picture.of(frame, aspect).reduced(long_px)
            yield time_s, image[: image.shape[0] // 2 * 2, : image.shape[1] // 2 * 2]
            last_s = time_s


def _read_sound(path: str | Path, limits: Limits) -> np.ndarray | None:
    sound = WaveformBuilder()
    for time_s, frame, _ in _decode(path, limits, "audio"):
        limits.check_duration(sound.end_s)
        sound.add(frame, time_s)
    return sound.finish()


def _decode(path: str | Path, limits: Limits, kind: str) -> Iterator[tuple[float | None, av.frame.Frame, float]]:
    """(time_s on the clip's clock, frame, pixel aspect) of the "video" or "audio" stream; nothing where it has none."""
    with open_container(path) as container:
        check_header(container, limits)
        streams = {"video": video_stream(container), "audio": audio_stream(container)}
        starts_s = [float(s.start_time * s.time_base) for s in streams.values() if s and s.start_time is not None]
        zero_s = min(starts_s, default=0.0)
        if (stream := streams[kind]) is None:
            return
        aspect = float(stream.sample_aspect_ratio or 1) if kind == "video" else 1.0
        for packet in container.demux(stream):
            for frame in packet.decode():
                yield None if frame.time is None else frame.time - zero_s, frame, aspect
