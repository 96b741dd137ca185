"""Opening a file safely, and the facts of its header."""

from __future__ import annotations

import hashlib
import stat
from pathlib import Path

import av
from av.stream import Disposition

from media.clip import Reason
from media.limits import ACCEPTED, FORMATS, PROTOCOLS, Limits, refusal

# Their headers state how long the clip is. Of the others (MP3, AAC, MPEG-TS) FFmpeg guesses it from what is there.
_STATE_DURATION = {"mov", "matroska", "avi", "flv", "asf", "wav", "flac"}
_ANOTHER_COPY = "Try the original file, or another download of it."


def sha256_of(path: str | Path) -> str:
    with open(path, "rb") as file:
        digest = hashlib.sha256()
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def check_file(path: str | Path, limits: Limits) -> int:
    """Size in bytes of a regular, non-empty file within the limits.

    Raises: MediaError (DECODE_FAILED, TOO_LARGE).
    """
    try:
        status = Path(path).stat()
    except (OSError, ValueError) as error:  # ValueError: a NUL byte in the name
        raise refusal(Reason.DECODE_FAILED, "The file cannot be found or opened.",
                      "Check the path and that you may read it.") from error
    if not stat.S_ISREG(status.st_mode):  # a folder, a pipe, a device: reading it could hang
        raise refusal(Reason.DECODE_FAILED, "This is not a file.",
                      "Give the path of a video, a sound file or a picture.")
    if status.st_size == 0:
        raise refusal(Reason.DECODE_FAILED, "The file is empty (0 bytes).", _ANOTHER_COPY)
    limits.check_size(status.st_size)
    return status.st_size


def open_container(path: str | Path, limits: Limits = Limits()) -> av.container.InputContainer:  # noqa: B008 (frozen)
    """Open with the format and protocol whitelists. Pictures over the limit of pixels are not decoded: not while the
    header is read, where FFmpeg decodes one, and not in mid-stream, where their packets raise av.FFmpegError.

    Raises: MediaError (UNSUPPORTED_FORMAT, DECODE_FAILED).
    """
    most = {"max_pixels": str(limits.pixels)}
    try:
        container = av.open(
            f"file:{path}",  # a name such as "concat:a|b" must be a name, not a protocol
            metadata_errors="replace",
            options={"format_whitelist": FORMATS, "protocol_whitelist": PROTOCOLS} | most,
        )
        for stream in container.streams.video:
            if stream.codec_context is not None:
                stream.codec_context.options = most
        return container
    except av.ArgumentError as error:  # what FFmpeg says to a format outside the whitelist
        raise refusal(
            Reason.UNSUPPORTED_FORMAT,
            "This kind of file is not accepted.",
            ACCEPTED,
        ) from error
    except (av.FFmpegError, OSError, ValueError, UnicodeError) as error:
        raise refusal(Reason.DECODE_FAILED, "The file cannot be read as video or sound: its data is not valid.",
                      _ANOTHER_COPY) from error


def video_stream(container: av.container.InputContainer) -> av.VideoStream | None:
    """The moving picture: never the cover art of a song."""
    moving = [s for s in container.streams.video
              if not s.disposition & (Disposition.attached_pic | Disposition.still_image)
              and s.codec_context is not None and s.codec_context.name not in ("png", "bmp", "gif")]
    return max(moving, key=lambda s: s.codec_context.width * s.codec_context.height, default=None)


def audio_stream(container: av.container.InputContainer) -> av.AudioStream | None:
    """The sound that a player would play: the default one, else FFmpeg's best."""
    streams = [s for s in container.streams.audio if s.codec_context is not None]
    defaults = [s for s in streams if s.disposition & Disposition.default]
    return next(iter(defaults or streams), None)


def announced_end_s(container: av.container.InputContainer, streams: list[av.stream.Stream]) -> float:
    """Where the header says that these streams end, on the file's own clock; 0 where it does not say."""
    if container.format.name.split(",")[0] not in _STATE_DURATION:
        return 0.0
    ends_s = [float(s.duration * s.time_base) if s.duration is not None else float("inf") for s in streams]
    return min(max(ends_s), (container.duration or 0) / av.time_base)  # another stream, such as captions, may be longer


def check_header(container: av.container.InputContainer, limits: Limits) -> None:
    """Refuse from the header what would be too much to decode.

    Raises: MediaError (TOO_LARGE, TOO_LONG, UNSUPPORTED_FORMAT).
    """
    if len(container.streams) > limits.streams:
        raise refusal(Reason.UNSUPPORTED_FORMAT,
                      f"The file holds {len(container.streams)} streams; the limit is {limits.streams}.",
                      "Try a copy with one video and one sound stream.")
    duration_s = (container.duration or 0) / av.time_base
    limits.check_duration(duration_s)
    for stream in container.streams.video:
        if stream.codec_context is None:
            continue
        limits.check_pixels(stream.codec_context.width, stream.codec_context.height)
        if stream.frames > 1 and duration_s > 0:
            limits.check_frames(stream.frames, duration_s)
