"""H.265 by ffmpeg's own program (of imageio-ffmpeg): within PyAV, x265 corrupts memory at some sizes."""

from __future__ import annotations

import subprocess
from pathlib import Path

import av
import imageio_ffmpeg


def encode_hevc(lossless: Path, target: Path, crf: int, ticks_hz: int, timeout_s: float | None = None) -> None:
    """The picture of a file of our own making as H.265 in an MP4 or MOV file; frames keep their times, sound is copied.

    crf: on x265's scale, 0 to 51. ticks_hz: of the target's clock. On one thread: clips run in parallel, not frames.
    Raises: TimeoutError; av.FFmpegError where the file cannot be made; OSError where the program cannot be run.
    """
    try:
        done = subprocess.run(
            [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-y", "-i", f"file:{lossless}", "-c:a", "copy",
             "-c:v", "libx265", "-crf", str(crf), "-preset", "ultrafast",
             "-x265-params", "log-level=none:pools=none:frame-threads=1", "-tag:v", "hvc1",
             "-fps_mode", "passthrough", "-enc_time_base:v", "demux", "-video_track_timescale", str(ticks_hz),
             "-fflags", "+bitexact", "-flags:v", "+bitexact", f"file:{target}"],
            stdin=subprocess.DEVNULL, capture_output=True, timeout=timeout_s)
    except subprocess.TimeoutExpired as error:
        raise TimeoutError from error
    if done.returncode:
        raise av.error.ExternalError(0, done.stderr.decode(errors="replace")[-300:], str(target))
