"""A file becomes Footage: every frame as shown on a display, its time, and the sound."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from media import Limits, Reason
from media.container import audio_stream, check_file, check_header, open_container, video_stream
from media.crops import Picture
from media.limits import refusal
from media.sound import WaveformBuilder
from training.forge.footage import Footage

LIMITS = Limits(duration_s=15.0)  # footage lies in memory whole; cut longer clips into pieces first
LONG_PX = 960  # larger pictures are reduced to this long side


def read_footage(path: str | Path, clip_id: str | None = None, long_px: int = LONG_PX) -> Footage:
    """A clip of at most 15 s, without landmarks. clip_id: the file's name without its ending unless given.

    Frames are RGB, rotated and in square pixels as a player shows them, no longer than long_px, with an even number
    of rows and columns (one is cut off where it is odd).
    Raises: MediaError where the file is refused, too long, or holds neither picture nor sound.
    """
    check_file(path, LIMITS)
    frames: list[np.ndarray] = []
    times_s: list[float] = []
    sound = WaveformBuilder()
    with open_container(path) as container:
        check_header(container, LIMITS)
        streams = [s for s in (video_stream(container), audio_stream(container)) if s is not None]
        starts_s = [float(s.start_time * s.time_base) for s in streams if s.start_time is not None]
        zero_s = min(starts_s, default=0.0)
        aspects = {s.index: float(s.sample_aspect_ratio or 1) for s in streams if s.type == "video"}
        for packet in container.demux(streams) if streams else ():
            for frame in packet.decode():
                time_s = None if frame.time is None else frame.time - zero_s
                if packet.stream.type == "audio":
                    LIMITS.check_duration(sound.end_s)
                    sound.add(frame, time_s)
                elif time_s is not None and (not times_s or time_s > times_s[-1]):  # others are never shown
                    LIMITS.check_duration(time_s)
                    image, _ = Picture.of(frame, aspects[packet.stream.index]).reduced(long_px)
                    frames.append(image[: image.shape[0] // 2 * 2, : image.shape[1] // 2 * 2])
                    times_s.append(time_s)
    waveform = sound.finish()
    if not frames and waveform is None:
        raise refusal(Reason.DECODE_FAILED, "The file holds neither picture nor sound.", "Leave it out.")
    return Footage(clip_id or Path(path).stem, np.stack(frames) if frames else None,
                   np.array(times_s) if frames else None, waveform)
