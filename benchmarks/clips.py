"""The clip that speed is measured on: a demo clip at 1280 x 720, as long as is asked for, no two frames alike."""

from __future__ import annotations

import subprocess
from pathlib import Path

import imageio_ffmpeg

DEMO = Path(__file__).resolve().parent.parent / "assets" / "examples" / "unaltered_face_borrowed_voice.mp4"

# The demo clip is short and is repeated. A little noise in picture and sound keeps anything that remembers what it
# has seen (detectors.recall) from profiting by it.
_FILTERS = (
    "[0:v]fps=25,scale=960:720:flags=bicubic,noise=alls=4:allf=t,pad=1280:720:160:0[v];"
    "anoisesrc=a=0.001:r=16000:seed=1[n];[0:a][n]amix=inputs=2:duration=first:normalize=0[a]"
)


def make_720p(path: Path, seconds: float, mbit_s: float | None = None) -> None:
    """H.264 with AAC at 25 frames a second in an MP4 file, of so many Mbit/s or of as few as its picture needs.

    Raises: subprocess.CalledProcessError.
    """
    bits = ["-crf", "26"] if mbit_s is None else ["-b:v", f"{mbit_s:g}M"]
    subprocess.run(
        [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-y", "-stream_loop", "-1", "-i", str(DEMO),
         "-filter_complex", _FILTERS, "-map", "[v]", "-map", "[a]", "-t", f"{seconds:g}", "-c:v", "libx264",
         "-preset", "veryfast", *bits, "-pix_fmt", "yuv420p", "-c:a", "aac", "-b:a", "64k", str(path)],
        check=True, stdin=subprocess.DEVNULL)
