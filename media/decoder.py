"""Demuxing and decoding: what touches the bytes of somebody's file. Runs in a worker (media.worker), needs no torch.

Pictures leave as the planes that media.crops works on. Times are on the clip's clock: 0 is the earliest stream start.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import av
import numpy as np

from media.clip import GRID_HZ, Reason
from media.container import announced_end_s, audio_stream, check_header, open_container, video_stream
from media.crops import Picture, display_size
from media.isolation import Record
from media.limits import ACCEPTED, Limits, refusal
from media.waveform import JUMP_S, Resampler, WaveformBuilder

_MANY_ERRORS = 64  # a file with more broken packets than this is given up
_MOST_THREADS = 4  # each holds pictures of its own
_BROKEN = (av.FFmpegError, ValueError, MemoryError)  # what broken data raises


def decode_clip(path: str, limits: Limits) -> Iterator[Record]:
    """Everything that preparing a clip needs, in one forward decode.

    "picture" records: `first` and `count` of the grid points that show it, and what Picture.received reads.
    Last, one "clip" record: `info` for ClipInfo, `errors`, `lost`, `announced_s`, and the waveform [samples] float32.
    Raises: MediaError.
    """
    return _ClipDecoder(path, limits).run()


def decode_pictures(path: str, limits: Limits, start_s: float, end_s: float) -> Iterator[Record]:
    """"picture" records of all pictures from start_s to end_s, in order: `time_s`, and what Picture.received reads.

    Raises: MediaError.
    """
    with open_container(path, limits) as container:
        check_header(container, limits)
        if (video := video_stream(container)) is None:
            return
        zero_s = _zero_s([video, audio_stream(container)])
        pixel_aspect = _make_ready(video)
        if start_s > 0:
            container.seek(int((zero_s + start_s) * av.time_base))  # to the key frame before it
        last_s = start_s - 1e-3
        for count, frame in enumerate(_frames(container, [video], _Errors(limits)), 1):
            limits.check_frames(count, limits.duration_s)
            limits.check_pixels(frame.width, frame.height)
            time_s = last_s + 1 / GRID_HZ if frame.time is None else frame.time - zero_s
            if time_s >= end_s:
                return
            limits.check_duration(time_s)
            if time_s > last_s:
                last_s = time_s
                facts, planes = Picture.of(frame, pixel_aspect).sent()
                yield Record("picture", facts | {"time_s": time_s}, planes)


def decode_sound(path: str, limits: Limits, rate_hz: int) -> Iterator[Record]:
    """"sound" records of pieces [1 or 2 `channels`, samples] float32, one after another from time 0 on, at rate_hz;
    gaps are silence.

    Raises: MediaError.
    """
    with open_container(path, limits) as container:
        check_header(container, limits)
        if (audio := audio_stream(container)) is None:
            return
        zero_s = _zero_s([video_stream(container), audio])
        channels = 1 if audio.codec_context.channels == 1 else 2
        resampler, errors = Resampler(rate_hz, channels), _Errors(limits)
        samples = 0
        for frame in _frames(container, [audio], errors):
            time_s = samples / rate_hz if frame.time is None else frame.time - zero_s
            limits.check_duration(max(time_s, samples / rate_hz))
            try:
                pieces = resampler.take(frame)
            except _BROKEN as error:
                errors.add(error)
                continue
            gap = round(time_s * rate_hz) - samples
            if gap > JUMP_S * rate_hz:
                pieces.insert(0, np.zeros((channels, gap), np.float32))
            for piece in pieces:
                samples += piece.shape[1]
                yield Record("sound", {"channels": channels}, (piece,))
        for piece in resampler.rest():
            yield Record("sound", {"channels": channels}, (piece,))


class _ClipDecoder:
    """State of one forward decode."""

    def __init__(self, path: str, limits: Limits) -> None:
        self._path, self._limits = path, limits
        self._sound = WaveformBuilder()
        self._held: tuple[float, av.VideoFrame] | None = None  # the latest frame, until it is known how long it shows
        self._next_grid = 0
        self._display_px: tuple[int, int] | None = None
        self._frame_times: list[float] = []
        self._rotation_deg = 0
        self._pixel_aspect = 1.0
        self._errors = _Errors(limits)

    def run(self) -> Iterator[Record]:
        with open_container(self._path, self._limits) as container:
            check_header(container, self._limits)
            video, audio = video_stream(container), audio_stream(container)
            if video is None and audio is None:
                raise refusal(Reason.UNSUPPORTED_FORMAT, "The file holds neither video nor sound that can be decoded.",
                              ACCEPTED)
            streams = [s for s in (video, audio) if s is not None]
            zero_s = _zero_s(streams)
            if video is not None:
                self._pixel_aspect = _make_ready(video)
            yield from self._decode(container, streams, zero_s)
            announced_s = announced_end_s(container, streams) - max(zero_s, 0.0)
            info = self._stream_facts(container, video, audio)
        yield self._finish(info, announced_s)

    def _decode(self, container: av.container.InputContainer, streams: list, zero_s: float) -> Iterator[Record]:
        for frame in _frames(container, streams, self._errors):
            try:
                yield from self._take(frame, zero_s)
            except _BROKEN as error:
                self._errors.add(error)
        if self._held is not None:
            yield from self._show_held(self._held[0] + self._typical_step_s())

    def _take(self, frame: av.VideoFrame | av.AudioFrame, zero_s: float) -> Iterator[Record]:
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
            yield from self._show_held((self._held[0] + time_s) / 2)  # each grid point shows the frame nearest to it
        elif time_s > 0:
            self._next_grid = int(np.ceil(time_s * GRID_HZ - 1e-6))
        if self._display_px is None:
            self._rotation_deg = frame.rotation % 360
            width, height = display_size(frame, self._pixel_aspect)
            self._display_px = (height, width) if self._rotation_deg in (90, 270) else (width, height)
        self._held = (time_s, frame)

    def _typical_step_s(self) -> float:
        times = self._frame_times
        return float(np.clip((times[-1] - times[0]) / (len(times) - 1), 1e-3, 1.0)) if len(times) > 1 else 0.04

    def _show_held(self, until_s: float) -> Iterator[Record]:
        first = self._next_grid
        while self._next_grid / GRID_HZ < until_s - 1e-6:
            self._next_grid += 1
        if self._next_grid > first:
            facts, planes = Picture.of(self._held[1], self._pixel_aspect).sent()
            yield Record("picture", facts | {"first": first, "count": self._next_grid - first}, planes)

    def _stream_facts(self, container: av.container.InputContainer, video: av.VideoStream | None,
                      audio: av.AudioStream | None) -> dict:
        return {
            "container": container.format.name,
            "has_video": video is not None,
            "has_audio": audio is not None,
            "video_codec": video.codec_context.codec.canonical_name if video is not None else None,
            "audio_codec": audio.codec_context.codec.canonical_name if audio is not None else None,
            "audio_hz": audio.codec_context.sample_rate if audio is not None else None,
            "audio_channels": audio.codec_context.channels if audio is not None else None,
            "audio_streams": len(container.streams.audio),
            "metadata": {str(k)[:100]: str(v)[:1000] for k, v in list(container.metadata.items())[:50]},
        }

    def _finish(self, info: dict, announced_s: float) -> Record:
        """Once the container is closed: its frames and the sound need not lie in memory together."""
        self._held = None
        waveform = self._sound.finish()
        times = self._frame_times
        if not times and waveform is None:
            raise refusal(Reason.DECODE_FAILED, "Nothing in the file could be decoded: its data is damaged or cut off.",
                          "Try the original file, or another download of it.")
        lost = [kind for kind, announced, empty in (("video", info.pop("has_video"), not times),
                                                    ("audio", info.pop("has_audio"), waveform is None))
                if announced and empty]
        if not times:
            info["video_codec"] = None
        if waveform is None:
            info["audio_codec"] = info["audio_hz"] = info["audio_channels"] = None
        picture_end_s = times[-1] + self._typical_step_s() if times else 0.0
        duration_s = max(picture_end_s, self._sound.end_s if waveform is not None else 0.0)
        steps = np.diff(times) if len(times) > 2 else np.zeros(1)
        longest_step_s = float(np.diff(times).max(initial=0.0))  # the last picture may be shown that long
        facts = {
            "info": info | {
                "duration_s": duration_s,
                "width_px": self._display_px[0] if times else None,
                "height_px": self._display_px[1] if times else None,
                "fps": 1 / self._typical_step_s() if len(times) > 1 else None,
                "variable_fps": bool(steps.std() > 0.2 * max(steps.mean(), 1e-6)),
                "rotation_deg": self._rotation_deg,
                "frames": len(times),
            },
            "errors": self._errors.count,
            "lost": lost,  # "video", "audio": announced, but nothing of it could be decoded
            # The header's word on the clip's duration, where the data ends before it.
            "announced_s": announced_s if announced_s - duration_s > longest_step_s else 0.0,
        }
        return Record("clip", facts, () if waveform is None else (waveform,))


class _Errors:
    """Counts what could not be decoded."""

    def __init__(self, limits: Limits) -> None:
        self.count = 0
        self._limits = limits

    def add(self, error: Exception, stream: av.stream.Stream | None = None) -> None:
        """Raises: MediaError for a picture that is too large, MemoryError where it is not the data that lacks."""
        if stream is not None and stream.type == "video":
            self._limits.check_undecoded(stream.codec_context, error)
        self.count += 1
        if self.count > _MANY_ERRORS and isinstance(error, MemoryError):
            raise MemoryError from error


def _frames(container: av.container.InputContainer, streams: list, errors: _Errors) -> Iterator:
    """Frames of these streams, as they come; broken packets are left out and counted."""
    packets = container.demux(streams)
    while errors.count <= _MANY_ERRORS:
        packet, frames = None, []
        try:
            packet = next(packets, None)
            if packet is None:
                return
            frames = packet.decode()
        except av.error.EOFError:
            return
        except _BROKEN as error:
            errors.add(error, None if packet is None else packet.stream)
        yield from frames


def _zero_s(streams: list) -> float:
    """The clip's time 0 on the file's own clock. Streams may be None."""
    starts_s = [float(s.start_time * s.time_base) for s in streams if s is not None and s.start_time is not None]
    return min(starts_s, default=0.0)


def _make_ready(video: av.VideoStream) -> float:
    """Its pixels' aspect."""
    video.thread_type = "AUTO"
    video.codec_context.thread_count = min(os.cpu_count() or 1, _MOST_THREADS)
    return float(video.sample_aspect_ratio or 1)
