"""Variants of a clip: does an answer hold when the clip is halved, compressed, or shifted a little?

Each variant changes one thing. A variant of the picture is written to a file, prepared like any other clip, and joined
with the untouched sound; a variant of the sound the other way round. What was not changed stays the very same data.

    picture ── changed, encoded ──► file ──► prepare ──┐
                                                       ├─ join ──► PreparedClip
    sound ──── changed, encoded ──► file ──► prepare ──┘

VARIANTS are the few and cheap ones that the app tries; benchmarks.robustness has a whole grid of them.
"""

from __future__ import annotations

import time
from contextlib import closing
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np

from media import replay
from media.clip import AUDIO_HZ, GRID_HZ, ClipInfo, FaceTrack, PreparedClip
from media.crops import Picture
from media.degrade import add_grain, blur, make_music, make_noise, mix, recapture
from media.hevc import encode_hevc
from media.prepare import forget, prepare
from media.quality import SHORTEST_TRACK_S, SMALLEST_FACE_PX, judge_quality

_TICKS_HZ = 90_000
_BT601, _BT709, _FULL_RANGE, _LIMITED_RANGE = 6, 1, 2, 1  # as H.264 numbers them
# codec -> (encoder, container)
_SOUND = {"aac": ("aac", "mp4"), "opus": ("libopus", "matroska"), "amr": ("libopencore_amrnb", "3gp"),
          "mp3": ("libmp3lame", "mp3"), "mulaw": ("pcm_mulaw", "wav"), "pcm": ("pcm_s16le", "wav")}


@dataclass(frozen=True)
class Variant:
    """One change. Only the fields of what it changes differ from their defaults; how it is encoded comes with it."""

    id: str
    doing: str  # in words, the start of a sentence
    # of the picture
    crf: int | None = None  # constant rate factor on H.264's scale, 0 to 51; None: the picture is left as it is
    video_codec: str = "h264"  # or "hevc", "vp9"
    scale: float = 1.0  # of its sides
    frame_hz: float | None = None  # most frames a second
    blur_px: float = 0.0  # sigma
    grain: float = 0.0  # sigma of noise, of 255
    recaptured: bool = False  # as if a screen had been filmed
    # of the sound
    sound_kbps: float | None = None  # None: mulaw and pcm have no choice of it
    sound_codec: str = "aac"  # or "opus", "amr", "mp3", "mulaw", "pcm"
    sound_hz: int = AUDIO_HZ
    snr_db: float | None = None  # of the voice over what is mixed in behind it
    behind: str = "noise"  # or "music"
    delay_s: float = 0.0  # by which the sound is moved; positive: later

    @property
    def needs(self) -> tuple[str, ...]:
        """Modalities that must be judged in the clip for this variant to tell anything."""
        if self.delay_s:
            return "video", "audio"
        return ("audio",) if self.crf is None else ("video",)


VARIANTS = (
    Variant("half_size", "Halving the size of the picture", scale=0.5, crf=18),
    Variant("crf_35", "Compressing the picture strongly (H.264, CRF 35)", crf=35),
    Variant("sound_16k", "Compressing the sound to 16 kb/s", sound_kbps=16),
    Variant("sound_later", "Moving the sound two frames (80 ms) later", delay_s=2 / GRID_HZ),
    Variant("sound_earlier", "Moving the sound two frames (80 ms) earlier", delay_s=-2 / GRID_HZ),
)


def why_not(variant: Variant, clip: PreparedClip) -> str | None:
    """Why this variant would tell nothing about this clip, in a sentence; None where it would."""
    if clip.info.still:
        return "A still picture is not tried by copies."
    missing = {"video": clip.quality.blocks("video") or not clip.tracks,
               "audio": clip.quality.blocks("audio") or clip.waveform is None}
    for modality in variant.needs:
        if missing[modality]:
            return f"The {'picture' if modality == 'video' else 'sound'} of this clip is not judged."
    if variant.scale < 1 and clip.tracks:
        face_px = variant.scale * max(t.face_px for t in clip.tracks)
        if face_px < SMALLEST_FACE_PX:
            return f"The face would be {face_px:.0f} pixels wide; at least {SMALLEST_FACE_PX} are needed."
    return None


def vary(clip: PreparedClip, path: str | Path, start_s: float, variant: Variant, folder: Path,
         stop_at: float = float("inf")) -> PreparedClip:
    """The clip with one thing changed, of the same length. `clip` is what the file at `path` shows from start_s on.

    Files are written into `folder`, which the caller removes. stop_at: on the clock of time.monotonic.

    Raises: TimeoutError at stop_at; av.FFmpegError where the picture cannot be encoded; MediaError where the variant
    cannot be prepared.
    """
    if variant.delay_s:
        return join(clip, shift_sound(clip, variant.delay_s))
    target = folder / f"{variant.id}.mp4"
    if variant.crf is None:
        write_sound(behind_voice(clip, variant), target, variant)
        return join(clip, _prepare_once(target))
    write_picture(path, target, start_s, start_s + clip.duration_s, variant, stop_at)
    picture = _prepare_once(target)
    return join(replace(picture, info=replace(picture.info, duration_s=clip.duration_s)), clip)


def _prepare_once(path: Path) -> PreparedClip:
    clip = prepare(path)
    forget(clip.info.sha256)  # nobody will ask for it again
    return clip


# ---- clips from clips -----------------------------------------------------------------------------------------


def excerpt(clip: PreparedClip, start_s: float, end_s: float) -> PreparedClip:
    """The clip from start_s to end_s as if it were all there is. start_s lies on the grid of GRID_HZ."""
    length_s = min(end_s, clip.duration_s) - start_s
    kept: list[tuple[FaceTrack, slice]] = []
    for track in clip.tracks:
        first, last = np.searchsorted(track.times_s, [start_s - 1e-6, start_s + length_s - 1e-6])
        if last - first >= SHORTEST_TRACK_S * GRID_HZ:
            kept.append((_cut_track(track, slice(first, last), start_s), slice(first, last)))
    kept.sort(key=lambda pair: -len(pair[0].times_s))
    tracks = tuple(track for track, _ in kept)
    faces = {track.track_id: clip.faces[track.track_id][rows] for track, rows in kept}
    lips = {track.track_id: clip.lips[track.track_id][rows] for track, rows in kept}
    waveform = None
    if clip.waveform is not None:
        first = round(start_s * AUDIO_HZ)
        part = clip.waveform[first:first + round(length_s * AUDIO_HZ)]
        waveform = part if len(part) else None
    speech_s = _moved(clip.speech_s, -start_s, length_s)
    info = replace(clip.info, duration_s=length_s, frames=round(clip.info.frames * length_s / clip.duration_s))
    quality = judge_quality(info, tracks, faces, waveform, speech_s, 0)
    return PreparedClip(info, tracks, faces, lips, waveform, speech_s, quality)


def _cut_track(track: FaceTrack, rows: slice, start_s: float) -> FaceTrack:
    times_s = np.round((track.times_s[rows] - start_s) * GRID_HZ) / GRID_HZ
    return FaceTrack(track.track_id, times_s, track.boxes_px[rows], track.landmarks_px[rows], track.confidence[rows])


def shift_sound(clip: PreparedClip, delay_s: float) -> PreparedClip:
    """The sound comes delay_s later than it did; what it leaves empty is silent, what leaves the clip is cut off."""
    samples = round(delay_s * AUDIO_HZ)
    waveform = np.zeros_like(clip.waveform)
    if samples >= 0:
        waveform[samples:] = clip.waveform[:len(waveform) - samples]
    else:
        waveform[:samples] = clip.waveform[-samples:]
    return replace(clip, waveform=waveform, speech_s=_moved(clip.speech_s, delay_s, clip.duration_s))


def _moved(spans_s: tuple[tuple[float, float], ...], by_s: float, end_s: float) -> tuple[tuple[float, float], ...]:
    """Spans moved by by_s and cut to 0 .. end_s."""
    moved = ((max(start + by_s, 0.0), min(end + by_s, end_s)) for start, end in spans_s)
    return tuple((start, end) for start, end in moved if end > start)


def join(picture: PreparedClip, sound: PreparedClip) -> PreparedClip:
    """The picture of one clip with the sound of another, as long as the picture's clip; its quality is judged anew."""
    info: ClipInfo = replace(
        picture.info, audio_codec=sound.info.audio_codec, audio_hz=sound.info.audio_hz,
        audio_channels=sound.info.audio_channels, audio_streams=sound.info.audio_streams,
    )
    waveform, speech_s = sound.waveform, _moved(sound.speech_s, 0.0, info.duration_s)
    if waveform is not None:
        # An encoder may add a block of padding at the end.
        waveform = waveform[:round(info.duration_s * AUDIO_HZ)]
    quality = judge_quality(info, picture.tracks, picture.faces, waveform, speech_s, 0)
    return PreparedClip(info, picture.tracks, picture.faces, picture.lips, waveform, speech_s, quality)


# ---- writing --------------------------------------------------------------------------------------------------


def behind_voice(clip: PreparedClip, variant: Variant) -> np.ndarray:
    """The clip's sound [samples] with the noise (pink) or the music of the variant behind it, if it has one."""
    if variant.snr_db is None:
        return clip.waveform
    samples = len(clip.waveform)
    behind = make_music(samples) if variant.behind == "music" else make_noise(samples, 1.0, np.random.default_rng(0))
    return mix(clip.waveform, clip.speech_s, behind, variant.snr_db)


def write_sound(waveform: np.ndarray, target: Path, variant: Variant) -> None:
    """waveform [samples] float32 at 16 kHz in the variant's codec, bit rate and sampling rate.

    Raises: av.FFmpegError.
    """
    encoder, container = _SOUND[variant.sound_codec]
    with av.open(str(target), "w", format=container) as made:
        stream = made.add_stream(encoder, rate=variant.sound_hz, layout="mono")
        if variant.sound_kbps is not None:
            stream.codec_context.bit_rate = round(variant.sound_kbps * 1000)
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(waveform[None], np.float32), "fltp", "mono")
        frame.sample_rate, frame.pts, frame.time_base = AUDIO_HZ, 0, Fraction(1, AUDIO_HZ)
        made.mux(stream.encode(frame) + stream.encode(None))


def write_picture(source: str | Path, target: Path, start_s: float, end_s: float, variant: Variant,
                  stop_at: float = float("inf")) -> None:
    """The picture of `source` from start_s to end_s (on the clip's clock), changed and encoded as the variant says, in
    an MP4 file, its frames at their own times counted from start_s; turned, with square pixels, at most as large as
    media.crops reads it.

    Raises: TimeoutError at stop_at; MediaError; av.FFmpegError where nothing can be decoded or encoded.
    """
    if variant.video_codec == "hevc":
        lossless = target.with_suffix(".mkv")
        write_picture(source, lossless, start_s, end_s, replace(variant, video_codec="ffv1"), stop_at)
        left_s = None if stop_at == float("inf") else max(stop_at - time.monotonic(), 0.0)
        encode_hevc(lossless, target, variant.crf, _TICKS_HZ, left_s)
        lossless.unlink()
        return
    container = "matroska" if variant.video_codec == "ffv1" else "mp4"
    with closing(replay.pictures(source, start_s, end_s)) as shown, av.open(str(target), "w", format=container) as made:
        stream, next_s = None, 0.0
        for number, (clip_s, picture) in enumerate(shown):
            time_s = max(clip_s - start_s, 0.0)
            if time.monotonic() > stop_at:
                raise TimeoutError
            if time_s < next_s - 1e-6:
                continue
            if variant.frame_hz:  # the first frame after each tick
                next_s = (np.floor(time_s * variant.frame_hz + 1e-6) + 1) / variant.frame_hz
            if stream is None:
                width, height = (max(2 * round(side * variant.scale / 2), 2) for side in picture.size_px)
                stream = _picture_stream(made, picture, (width, height), variant)
                _mark_zero(made)
            planes = _scaled(picture, (width, height))
            encoded = _to_frame(_degraded(planes, variant, time_s, number))
            encoded.pts, encoded.time_base = round(time_s * _TICKS_HZ), Fraction(1, _TICKS_HZ)
            made.mux(stream.encode(encoded))
        if stream is None:
            raise av.error.InvalidDataError(0, "no picture in this span", str(source))
        made.mux(stream.encode(None))


def _picture_stream(made: av.container.OutputContainer, picture: Picture, size_px: tuple[int, int],
                    variant: Variant) -> av.VideoStream:
    encoder, options = {
        # x264's macroblock tree takes in stray memory: some copies would differ from run to run
        "h264": ("libx264", {"crf": str(variant.crf), "preset": "veryfast", "mbtree": "0"}),
        # its scale ends at 63 instead of 51
        "vp9": ("libvpx-vp9", {"crf": str(round(variant.crf * 63 / 51)), "deadline": "realtime", "cpu-used": "6"}),
        "ffv1": ("ffv1", {}),
    }[variant.video_codec]
    stream = made.add_stream(encoder, rate=25)
    stream.width, stream.height = size_px
    stream.pix_fmt = "yuv420p"
    context = stream.codec_context
    context.time_base, context.options = Fraction(1, _TICKS_HZ), options
    if variant.video_codec == "vp9":
        context.bit_rate = 0  # or the rate factor would not be constant
    # As media.crops reads the colours of the original: a smaller picture without tags would be read differently.
    context.colorspace = _BT709 if picture.bt709 else _BT601
    context.color_range = _FULL_RANGE if picture.full_range else _LIMITED_RANGE
    return stream


def _mark_zero(made: av.container.OutputContainer) -> None:
    """A moment of silence at 0: a clip's clock starts with its first stream, and the picture may come later."""
    stream = made.add_stream("aac", rate=AUDIO_HZ, layout="mono")
    frame = av.AudioFrame.from_ndarray(np.zeros((1, AUDIO_HZ // 10), np.float32), "fltp", "mono")
    frame.sample_rate, frame.pts, frame.time_base = AUDIO_HZ, 0, Fraction(1, AUDIO_HZ)
    made.mux(stream.encode(frame) + stream.encode(None))


def _scaled(picture: Picture, size_px: tuple[int, int]) -> list[np.ndarray]:
    width, height = size_px
    sizes = (size_px, (width // 2, height // 2), (width // 2, height // 2))
    return [cv2.resize(plane, size, interpolation=cv2.INTER_AREA)
            for plane, size in zip((picture.y, picture.u, picture.v), sizes)]


def _degraded(planes: list[np.ndarray], variant: Variant, time_s: float, number: int) -> list[np.ndarray]:
    if variant.blur_px:
        planes = blur(planes, variant.blur_px)
    if variant.grain:
        planes = add_grain(planes, variant.grain, number)
    return recapture(planes, time_s) if variant.recaptured else planes


def _to_frame(planes: list[np.ndarray]) -> av.VideoFrame:
    height, width = planes[0].shape
    stacked = np.concatenate([plane.ravel() for plane in planes]).reshape(height * 3 // 2, width)
    return av.VideoFrame.from_ndarray(stacked, "yuv420p")
