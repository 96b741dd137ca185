"""The final chain: what a clip goes through between the camera or the editor and whoever judges it.

Every version of a pair, the genuine one too, runs through the same drawn Chain, so that container, codec, size,
frame rate, loudness, noise and the clip's first moments tell nothing about the class. It goes from "as good as the
material", which MILD_SHARE of the chains leave almost as it is, to a messenger's copy of a copy.
"""

from __future__ import annotations

import io
import tempfile
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np

from media import AUDIO_HZ
from media.degrade import make_noise
from media.hevc import encode_hevc
from training.forge.footage import JOIN_S, Footage, Span, Truth, join_spans
from training.forge.read import read_footage
from training.forge.sound import room_tone

SHORT_PX = (160, 400)
CRF = (18, 38)  # on H.264's scale
MILD_SHARE = 0.35  # of the chains encode the clip once more, well, and change nothing else but its first moments
MILD_CRF = (20, 27)
FRAME_RATES_HZ = (12.5, 15.0, 20.0, 24000 / 1001, 24.0, 25.0, 30000 / 1001, 30.0)
AUDIO_KBPS = (12, 64)
CUT_S = 0.4  # most that is cut from the head by chance
LEAD_S = 0.5  # longest silent start
LEAST_S = 1.0  # what cutting by chance always leaves
# (container, video codec, audio codec), as often as listed.
PACKAGES = (
    *(("mp4", "h264", "aac"),) * 5, ("mp4", "h264", "mp3"), ("mov", "h264", "aac"), ("matroska", "h264", "opus"),
    *(("webm", "vp9", "opus"),) * 2, ("mp4", "mpeg4", "aac"), ("matroska", "mpeg4", "mp3"), ("mov", "hevc", "aac"),
)
SUFFIXES = {"mp4": ".mp4", "mov": ".mov", "matroska": ".mkv", "webm": ".webm"}
_ENCODERS = {"h264": "libx264", "vp9": "libvpx-vp9", "mpeg4": "mpeg4", "ffv1": "ffv1",
             "aac": "aac", "mp3": "libmp3lame", "opus": "libopus"}
_TICKS_HZ = 48_000  # clock of the frames' times; MPEG-4 allows 65,535 at most


@dataclass(frozen=True)
class Chain:
    """One draw, JSON-able by dataclasses.asdict. In the order in which it is applied."""

    head_s: float = 0.0  # cut from the start of picture and sound
    tail_s: float = 0.0  # cut from their end
    short_px: int | None = None  # short side of the picture; None: as it is
    frame_hz: float | None = None  # constant frame rate; None: every frame at its own time
    gamma: float = 1.0
    gains: tuple[float, float, float] = (1.0, 1.0, 1.0)  # of red, green and blue
    saturation: float = 1.0
    lead_s: float = 0.0  # the sound starts with so much of its own room tone, or with digital silence
    lead_digital: bool = False
    gain_db: float = 0.0
    noise_dbfs: float | None = None  # level of added noise
    noise_tilt: float = 0.0  # its power falls with frequency to this power: 0 white, 1 pink
    noise_seed: int = 0
    earlier_crf: int | None = None  # an H.264 and AAC generation before the last one
    container: str = "mp4"
    video_codec: str = "h264"
    crf: int = 23
    preset: str = "veryfast"  # of H.264
    audio_codec: str = "aac"
    audio_kbps: int = 64
    audio_hz: int = 16_000

    @property
    def suffix(self) -> str:
        """Of the file that it makes."""
        return SUFFIXES[self.container]


def draw_chain(footage: Footage, rng: np.random.Generator, edges_s: tuple[float, float] = (0.0, 0.0)) -> Chain:
    """For all versions of a pair: it looks at size, frame times and length alone, which forgeries leave as they are.

    At least edges_s is cut from head and tail (training.forge.sync.edges_to_cut).
    """
    container, video_codec, audio_codec = PACKAGES[rng.integers(len(PACKAGES))]
    spare_s = max(footage.duration_s - sum(edges_s) - LEAST_S, 0.0)
    cut_s = rng.uniform(0, CUT_S) if rng.random() < 0.5 else 0.0
    lead_s = rng.uniform(0.02, LEAD_S) if rng.random() < 0.3 else 0.0
    lead_digital = rng.random() < 0.4
    crf, quality = int(rng.integers(CRF[0], CRF[1] + 1)), rng.random()
    short_px, frame_hz = rng.uniform(*SHORT_PX), float(rng.choice(FRAME_RATES_HZ))
    keeps_size, keeps_times = rng.random() < 0.3, rng.random() < 0.4
    if footage.frames is not None:
        there_px = min(footage.frames.shape[1:3])
        keeps_size |= there_px <= short_px
        keeps_times |= frame_hz > 0.98 / float(np.median(np.diff(footage.times_s)))
    audio_kbps = round(AUDIO_KBPS[0] * (AUDIO_KBPS[1] / AUDIO_KBPS[0]) ** quality)
    rates_hz = (48_000,) if audio_codec == "opus" else (16_000,) if audio_kbps < 32 else (16_000, 32_000, 44_100,
                                                                                         48_000)
    drawn = Chain(
        head_s=round(edges_s[0] + min(cut_s, spare_s), 4), tail_s=round(edges_s[1], 4),
        short_px=None if keeps_size else round(short_px), frame_hz=None if keeps_times else frame_hz,
        gamma=round(float(np.exp(rng.uniform(-0.3, 0.3))), 4),
        gains=tuple(round(float(g), 4) for g in rng.uniform(0.85, 1.15) * rng.uniform(0.95, 1.05, 3)),
        saturation=round(rng.uniform(0.6, 1.3), 4),
        lead_s=round(min(lead_s, spare_s), 4), lead_digital=bool(lead_digital),
        gain_db=round(rng.uniform(-12, 4), 2),
        noise_dbfs=round(rng.uniform(-80, -45), 2) if rng.random() < 0.5 else None,
        noise_tilt=round(rng.uniform(0, 1.5), 3), noise_seed=int(rng.integers(2**31)),
        earlier_crf=int(rng.integers(CRF[0], CRF[1] + 1)) if rng.random() < 0.35 else None,
        container=container, video_codec=video_codec, crf=crf,
        preset=str(rng.choice(("ultrafast", "veryfast", "medium"))),
        audio_codec=audio_codec, audio_kbps=audio_kbps, audio_hz=int(rng.choice(rates_hz)),
    )
    if rng.random() >= MILD_SHARE:
        return drawn
    return Chain(head_s=drawn.head_s, tail_s=drawn.tail_s, lead_s=drawn.lead_s, lead_digital=drawn.lead_digital,
                 noise_seed=drawn.noise_seed, crf=int(rng.integers(MILD_CRF[0], MILD_CRF[1] + 1)))


def run_chain(chain: Chain, footage: Footage, truth: Truth, path: Path) -> tuple[Truth, np.ndarray | None]:
    """Write the clip. (the truth, the times [n] of the frames) on the file's own clock, which starts with its first
    frame or sample.

    Spans of the picture begin and end with the frames that show them; what is cut off or silenced is no longer
    marked. The region has the new size and the new frames.
    Raises: OSError or av.FFmpegError where the file cannot be written.
    """
    footage, truth = retime(chain, footage, truth)
    footage = colour(chain, footage)
    footage = add_noise(chain, footage)
    if chain.earlier_crf is not None:
        footage = _another_generation(chain, footage)
    with open(path, "wb") as file:
        encode(chain, footage, file)
    return truth, footage.times_s


# ---- time and size --------------------------------------------------------------------------------------------


def retime(chain: Chain, footage: Footage, truth: Truth) -> tuple[Footage, Truth]:
    """Cut head and tail, take frames at the chain's rate, resize, silence the start; the truth goes along."""
    begin_s, end_s = chain.head_s, footage.duration_s - chain.tail_s
    if footage.sound is None:  # the file's clock starts with its first frame
        begin_s = float(footage.times_s[footage.times_s >= begin_s - 1e-6].min())
    spans = [Span(max(s.start_s - begin_s, 0.0), min(s.end_s, end_s) - begin_s, s.modality)
             for s in truth.spans if s.modality != "video"]
    frames = times_s = region = None
    if footage.frames is not None:
        rows, times_s = _taken_frames(chain, footage.times_s, begin_s, end_s)
        frames = _resized(footage.frames, rows, chain.short_px)
        region = None if truth.region is None else _resized(truth.region, rows, chain.short_px)
        ends_s = np.append(times_s[1:], end_s - begin_s)
        for span in truth.spans:
            if span.modality == "video":
                shown = (footage.times_s[rows] >= span.start_s - 1e-6) & (footage.times_s[rows] < span.end_s - 1e-6)
                spans += [Span(float(a), float(b), "video") for a, b in zip(times_s[shown], ends_s[shown])]
    sound = footage.sound
    if sound is not None:
        sound = sound[round(begin_s * AUDIO_HZ):round(end_s * AUDIO_HZ)]
        if chain.lead_s:
            sound = _silent_start(chain, sound)
            spans = [replace(s, start_s=max(s.start_s, chain.lead_s)) if s.modality != "video" else s for s in spans]
    kept = tuple(span for span in spans if span.end_s > span.start_s)
    if region is not None and not region.any():
        region = None
    return (replace(footage, frames=frames, times_s=times_s, sound=sound, landmarks=None),
            replace(truth, spans=join_spans(kept), region=region))


def _taken_frames(chain: Chain, times_s: np.ndarray, begin_s: float, end_s: float) -> tuple[np.ndarray, np.ndarray]:
    """Which frames are shown [n], and when [n]: the one nearest to each tick of a constant rate, or all."""
    inside = np.flatnonzero((times_s >= begin_s - 1e-6) & (times_s < end_s - 1e-6))
    if not len(inside):
        raise ValueError("the chain cuts off every frame")
    shown_s = np.maximum(times_s[inside] - begin_s, 0.0)
    if chain.frame_hz is None:
        return inside, shown_s
    step_s = float(np.median(np.diff(times_s)))
    first, end = np.ceil(shown_s[0] * chain.frame_hz - 1e-6), (shown_s[-1] + step_s) * chain.frame_hz - 1e-6
    ticks = np.arange(first, max(end, first + 0.5)) / chain.frame_hz
    nearest = np.abs(shown_s[None] - ticks[:, None]).argmin(axis=1)
    return inside[nearest], ticks


def _resized(pictures: np.ndarray, rows: np.ndarray, short_px: int | None) -> np.ndarray:
    """These rows of pictures [n, h, w(, 3)] with this short side, both sides even."""
    height, width = pictures.shape[1:3]
    if short_px is None:
        return pictures[rows]
    size = tuple(max(round(side * short_px / min(height, width) / 2) * 2, 2) for side in (width, height))
    return np.stack([cv2.resize(pictures[row], size, interpolation=cv2.INTER_AREA) for row in rows])


def _silent_start(chain: Chain, sound: np.ndarray) -> np.ndarray:
    """The sound whose first lead_s are silent; it sets in over JOIN_S before."""
    lead = min(round(chain.lead_s * AUDIO_HZ), len(sound))
    silence = np.zeros(lead, np.float32)
    if not chain.lead_digital:
        silence = room_tone(sound, lead, np.random.default_rng(chain.noise_seed))
    share = np.clip((np.arange(lead) - lead) / (JOIN_S * AUDIO_HZ) + 1, 0, 1).astype(np.float32)
    return np.concatenate([silence + share * (sound[:lead] - silence), sound[lead:]])


# ---- look and loudness ----------------------------------------------------------------------------------------


def colour(chain: Chain, footage: Footage) -> Footage:
    """Gamma and gain of each channel, then saturation about BT.601 grey."""
    if footage.frames is None:
        return footage
    level = np.arange(256) / 255
    curves = np.stack([np.clip(255 * gain * level**chain.gamma, 0, 255) for gain in chain.gains], axis=-1)
    curves = curves.round().astype(np.uint8)[None]  # [1, 256, 3]
    grey = np.array([0.299, 0.587, 0.114])
    mix = chain.saturation * np.eye(3) + (1 - chain.saturation) * np.tile(grey, (3, 1))
    return replace(footage, frames=np.stack([cv2.transform(cv2.LUT(f, curves), mix) for f in footage.frames]))


def add_noise(chain: Chain, footage: Footage) -> Footage:
    """Gain, then noise of the chain's own seed: the very same samples in every version of a pair."""
    if footage.sound is None:
        return footage
    sound = footage.sound * 10 ** (chain.gain_db / 20)
    if chain.noise_dbfs is not None:
        noise = make_noise(len(sound), chain.noise_tilt, np.random.default_rng(chain.noise_seed))
        noise *= 10 ** (chain.noise_dbfs / 20) / max(noise.std(), 1e-12)
        quiet = round(chain.lead_s * AUDIO_HZ) if chain.lead_digital else 0
        sound = sound + np.where(np.arange(len(sound)) < quiet, 0, noise)
    return replace(footage, sound=np.clip(sound, -1, 1).astype(np.float32))


def _another_generation(chain: Chain, footage: Footage) -> Footage:
    """Encoded and decoded once, as a clip that was downloaded before it was sent on."""
    earlier = Chain(container="matroska", crf=chain.earlier_crf)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"earlier{earlier.suffix}"
        with open(path, "wb") as file:
            encode(earlier, footage, file)
        again = read_footage(path, footage.clip_id, long_px=1 << 16)
    if footage.frames is not None and len(again.frames) != len(footage.frames):
        raise ValueError(f"{footage.clip_id}: {len(footage.frames)} frames became {len(again.frames)}")
    sound = footage.sound
    if sound is not None:
        sound = np.pad(again.sound, (0, max(len(sound) - len(again.sound), 0)))[:len(sound)]
    return replace(footage, frames=again.frames, sound=sound)


# ---- encoding -------------------------------------------------------------------------------------------------


def encode(chain: Chain, footage: Footage, file: io.BufferedIOBase) -> None:
    """Picture and sound of the footage into an open file, in the chain's container and codecs."""
    if chain.video_codec == "hevc" and footage.frames is not None:
        return _encode_hevc(chain, footage, file)
    bitexact = {"fflags": "+bitexact"}  # neither date nor random identifiers
    with av.open(file, "w", format=chain.container, container_options=bitexact) as container:
        video = None if footage.frames is None else _video_stream(chain, footage, container)
        audio = None if footage.sound is None else _audio_stream(chain, container)
        packets = []
        if video is not None:
            for picture, time_s in zip(footage.frames, footage.times_s):
                frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), "rgb24")
                frame.pts, frame.time_base = round(float(time_s) * _TICKS_HZ), Fraction(1, _TICKS_HZ)
                packets += video.encode(frame)
            packets += video.encode(None)
        if audio is not None:
            frame = av.AudioFrame.from_ndarray(footage.sound[None], "fltp", "mono")
            frame.sample_rate, frame.pts, frame.time_base = AUDIO_HZ, 0, Fraction(1, AUDIO_HZ)
            packets += audio.encode(frame) + audio.encode(None)
        container.mux(sorted(packets, key=lambda packet: packet.dts * packet.time_base))


def _encode_hevc(chain: Chain, footage: Footage, file: io.BufferedIOBase) -> None:
    """From a lossless copy."""
    with tempfile.TemporaryDirectory() as folder:
        lossless, made = Path(folder) / "lossless.mkv", Path(folder) / f"made{chain.suffix}"
        with open(lossless, "wb") as copy:
            encode(replace(chain, container="matroska", video_codec="ffv1"), footage, copy)
        encode_hevc(lossless, made, chain.crf, _TICKS_HZ)
        file.write(made.read_bytes())


def _video_stream(chain: Chain, footage: Footage, container: av.container.OutputContainer) -> av.VideoStream:
    steps_s = np.diff(footage.times_s)
    rate = Fraction(1 / float(np.median(steps_s)) if len(steps_s) else 25.0).limit_denominator(1001)
    stream = container.add_stream(_ENCODERS[chain.video_codec], rate=rate)
    stream.height, stream.width = footage.frames.shape[1:3]
    stream.pix_fmt = "yuv420p"
    context = stream.codec_context
    context.time_base, context.thread_count = Fraction(1, _TICKS_HZ), 1  # clips run in parallel, not frames
    if chain.video_codec == "vp9":  # its scale ends at 63 instead of 51
        context.bit_rate = 0
        context.options = {"crf": str(round(chain.crf * 63 / 51)), "deadline": "realtime", "cpu-used": "6"}
    elif chain.video_codec == "mpeg4":  # a constant quantiser of 2 to 31
        context.qmin = context.qmax = round(2 + (chain.crf - CRF[0]) * 0.8)
    elif chain.video_codec == "h264":
        context.options = {"crf": str(chain.crf), "preset": chain.preset}
    return stream


def _audio_stream(chain: Chain, container: av.container.OutputContainer) -> av.AudioStream:
    stream = container.add_stream(_ENCODERS[chain.audio_codec], rate=chain.audio_hz, layout="mono")
    stream.codec_context.bit_rate = chain.audio_kbps * 1000
    return stream
