"""What Telltale is willing to open, checked from the header before decoding and again while decoding."""

from __future__ import annotations

from dataclasses import dataclass

import av

from media.clip import Finding, MediaError, Reason

# FFmpeg recognises playlists and concat scripts by content, whatever their name, and would open the files they
# name. Only self-contained containers are let in, and only from the file itself.
FORMATS = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,mpeg,flv,asf,wav,mp3,flac,ogg,aac,amr"
PROTOCOLS = "file"
ACCEPTED = ("Use a video (MP4, MOV, WebM, MKV, AVI), a sound file (WAV, MP3, M4A, FLAC, OGG) or a picture (JPEG, PNG, "
            "WebP).")


@dataclass(frozen=True)
class Limits:
    size_bytes: int = 500_000_000
    duration_s: float = 600.0
    pixels: int = 4096 * 2304  # 4K; a bomb of 8192 x 8192 in 200 kB takes 200 MB a frame
    still_pixels: int = 60_000_000  # phones take photos of 50 megapixels; one takes 240 MB for a moment
    fps: float = 130.0
    frames: int = 40_000  # ten minutes at 60 fps and a little more
    streams: int = 16
    # Of the process that decodes (media.isolation):
    memory_bytes: int = 512_000_000  # of address space beyond what its libraries take; 4K HEVC in 10 bits needs 220 MB
    patience_cpu_s: float = 30.0  # of work without a sign of life; on a busy machine that is many seconds more
    patience_s: float = 120.0  # of waiting for a sign of life
    decode_s: float = 600.0  # of waiting in all
    cpu_s: float = 1200.0  # of work in all, all its threads together

    def check_size(self, size_bytes: int) -> None:
        if size_bytes > self.size_bytes:
            raise refusal(
                Reason.TOO_LARGE,
                f"The file has {size_bytes / 1e6:.0f} MB; the limit is {self.size_bytes / 1e6:.0f} MB.",
                "Cut out the part that matters, without re-encoding it if you can, and try that.",
            )

    def check_duration(self, duration_s: float) -> None:
        if duration_s > self.duration_s:
            raise refusal(
                Reason.TOO_LONG,
                f"The clip runs for {duration_s:.0f} s; the limit is {self.duration_s:.0f} s.",
                "Cut out the part that matters, without re-encoding it if you can, and try that.",
            )

    def check_pixels(self, width_px: int, height_px: int) -> None:
        if width_px * height_px > self.pixels:
            raise self._too_many_pixels(f"{width_px} × {height_px} pixels")

    def check_undecoded(self, context: av.VideoCodecContext, error: Exception) -> None:
        """A picture was not decoded: was it because it is larger than the decoder was told to go (max_pixels)?"""
        self.check_pixels(context.width, context.height)
        if isinstance(error, av.ArgumentError) and not context.width * context.height:  # what FFmpeg leaves then
            raise self._too_many_pixels("too many pixels")

    def _too_many_pixels(self, found: str) -> MediaError:
        return refusal(
            Reason.TOO_LARGE,
            f"The picture has {found}; the limit is {self.pixels / 1e6:.1f} megapixels.",
            "Try a copy of at most 4K (3840 × 2160).",
        )

    def check_still_pixels(self, width_px: int, height_px: int) -> None:
        if width_px * height_px > self.still_pixels:
            raise refusal(
                Reason.TOO_LARGE,
                f"The picture has {width_px} × {height_px} pixels; the limit is {self.still_pixels / 1e6:.0f} "
                "megapixels.",
                "Try a smaller copy.",
            )

    def check_frames(self, frames: int, span_s: float) -> None:
        """`frames` pictures were found (or announced) within `span_s` seconds."""
        # The half second of grace lets bursts at the start of variable-rate recordings pass.
        if frames > self.frames or frames > self.fps * (span_s + 0.5):
            raise refusal(
                Reason.TOO_LARGE,
                f"The clip holds {frames} pictures in {span_s:.1f} s; the limits are {self.frames} pictures "
                f"and {self.fps:.0f} a second.",
                "Try a copy at 60 pictures a second or fewer.",
            )


_default = Limits()


def default_limits() -> Limits:
    """What this process keeps to where a call names no limits."""
    return _default


def set_default_limits(limits: Limits) -> None:
    """From now on, whatever this process reads of a file keeps to these."""
    global _default
    _default = limits


def refusal(reason: Reason, message: str, remedy: str) -> MediaError:
    return MediaError(Finding(reason, message, remedy, frozenset({"video", "audio"})))
