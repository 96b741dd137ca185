"""What the file itself tells of its making: container facts, traces of editing, Content Credentials.

A trace is not a sign of manipulation: nearly every clip on the web was encoded again by somebody. Each trace says what
it means and what it does not prove. All texts from the file go through media.plain.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from pathlib import Path

import av
import numpy as np

from media import isolation
from media.boxes import Movie, Track, read_movie
from media.clip import ClipInfo, MediaError
from media.container import audio_stream, open_container, video_stream
from media.credentials import NOT_READ, Credentials, Failure, read_credentials
from media.isolation import Record
from media.limits import Limits, default_limits
from media.plain import plain

TRUST_ANCHORS = "TELLTALE_TRUST_ANCHORS"
_MOST_PACKETS = 200_000
_HEAD_PACKETS = 8  # of each stream that are searched for an encoder's signature
_GAP_S = 0.25  # a step between pictures that is longer, and five times the usual one, is a gap
_SOUND_GAP_S = 0.06
_APART_S = 0.3  # picture and sound that start or end further apart do not fit together
_LATER_S = 120.0  # beyond the clip's length: writing a recording to the disk takes no longer
_CUT_S = 0.25  # encoders hide up to some 0.1 s of their own delay by an edit list

# Names that programs write into the tags of a file. The first that fits is told.
_EDITORS = ("CapCut", "Premiere", "After Effects", "Adobe Media Encoder", "Adobe", "Final Cut", "DaVinci", "Blackmagic",
            "iMovie", "InShot", "KineMaster", "Filmora", "Camtasia", "VEGAS", "Avidemux", "Kdenlive", "Shotcut",
            "OpenShot", "Movavi", "Clipchamp", "Canva", "VLLO", "YouCut", "VideoShow", "VivaVideo", "Kapwing", "VEED")
_GENERATORS = ("Sora", "Veo", "Runway", "Kling", "Pika", "Synthesia", "HeyGen", "D-ID", "DeepFaceLab", "FaceFusion",
               "Reface", "Deepswap", "ComfyUI", "Stable Diffusion")
_CONVERTERS = ("HandBrake", "Lavf", "Lavc", "FFmpeg", "GPAC", "mkvmerge", "MP4Box", "LAME",
               "GStreamer", "VLC", "MEncoder", "Avisynth", "OBS", "Bento4", "Shaka", "moviepy", "Windows Media")
_PLATFORMS = {"produced by Google": "YouTube or Google", "Twitter": "Twitter/X", "vork muxer": "Twitter/X",
              "Facebook": "Facebook", "Instagram": "Instagram", "WhatsApp": "WhatsApp", "TikTok": "TikTok",
              "bytedance": "TikTok", "Telegram": "Telegram", "Snapchat": "Snapchat", "Vimeo": "Vimeo",
              "bilibili": "Bilibili"}
_LABELS = {"Lavf": "FFmpeg", "Lavc": "FFmpeg"}
_TYPED_BY_PEOPLE = {"title", "comment", "description", "synopsis", "artist", "author", "album", "album_artist", "genre",
                    "lyrics", "show", "copyright", "keywords", "composer", "grouping"}  # they may mention any program
_DEVICE_KEYS = ("make", "model", "com.apple.quicktime.make", "com.apple.quicktime.model", "com.android.manufacturer",
                "com.android.model", "device", "camera")
_ANDROID = "com.android.version"  # its value is a number alone
_X26X = re.compile(rb"x26[45][ -][\x20-\x7e]{4,2000}")
_LAVC = re.compile(rb"Lavc[0-9][0-9.]{2,20}")
_QUALITY = re.compile(r"\b(?:crf|bitrate)=[0-9.]+")


@dataclass(frozen=True)
class EditingTrace:
    code: str
    message: str  # what was found
    means: str
    does_not_prove: str

    def to_json(self) -> dict:
        return asdict(self)


@dataclass(frozen=True)
class Provenance:
    sha256: str  # of the original bytes
    facts: tuple[tuple[str, str], ...]  # (name, value) in words
    traces: tuple[EditingTrace, ...]
    credentials: Credentials
    not_checked: tuple[str, ...]  # in sentences

    def to_json(self) -> dict:
        return {
            "sha256": self.sha256,
            "facts": dict(self.facts),
            "traces": [t.to_json() for t in self.traces],
            "credentials": self.credentials.to_json(),
            "not_checked": list(self.not_checked),
        }


    @staticmethod
    def from_json(told: dict) -> Provenance:
        """Raises: KeyError, TypeError, ValueError."""
        credentials = dict(told["credentials"])
        failures = tuple(Failure(**f) for f in credentials.pop("failures"))
        lists = {name: tuple(credentials.pop(name)) for name in ("actions", "ingredients")}
        return Provenance(told["sha256"], tuple((str(k), str(v)) for k, v in told["facts"].items()),
                          tuple(EditingTrace(**t) for t in told["traces"]),
                          Credentials(**credentials, **lists, failures=failures), tuple(told["not_checked"]))


def read_provenance(path: str | Path, info: ClipInfo, limit_s: float = 10.0) -> Provenance:
    """Facts and traces of a file that prepare() accepted. info: its ClipInfo.

    Read in a process apart (media.isolation). Never raises for such a file. Timestamps and credentials are read for at
    most limit_s each; what was left out is said in not_checked. Signers are trusted whose certificates lie in the PEM
    file that the environment names in TRUST_ANCHORS.
    """
    trust_anchors, unread = _read_trust_anchors()
    asked = {"path": str(path), "info": asdict(info), "trust_anchors": trust_anchors, "limit_s": limit_s}
    try:
        record = isolation.read_one("provenance", asked, default_limits(), patience_s=2 * limit_s + 10)
        with isolation.believed_nothing():
            found = Provenance.from_json(record.facts)
    except MediaError:
        found = Provenance(info.sha256, tuple(_facts(info, _Streams(), None)), (), NOT_READ,
                           ("What the file tells of its making could not be read.",))
    return replace(found, not_checked=(*found.not_checked, *unread))


def _read_trust_anchors() -> tuple[str | None, tuple[str, ...]]:
    """Certificates, None where no list is named or it cannot be read; and a sentence in the second case."""
    path = os.environ.get(TRUST_ANCHORS)
    if not path:
        return None, ()
    try:
        return Path(path).read_text(encoding="utf-8"), ()
    except (OSError, ValueError):
        return None, (f"The list of trusted signers that {TRUST_ANCHORS} names could not be read.",)


def examine(path: str, info: dict, trust_anchors: str | None, limit_s: float, limits: Limits) -> Iterator[Record]:
    """One record, Provenance.to_json. Runs in a worker."""
    yield Record("provenance", _look(path, ClipInfo(**info), trust_anchors, limit_s, limits).to_json())


def _look(path: str, info: ClipInfo, trust_anchors: str | None, limit_s: float, limits: Limits) -> Provenance:
    not_checked: list[str] = []
    try:
        streams = _Streams(_tags(info)) if info.still else _read_streams(path, limit_s, limits)
    except (MediaError, av.FFmpegError, OSError, ValueError, MemoryError):
        streams = _Streams()
        not_checked.append("The timestamps and tags of the streams could not be read.")
    if not streams.complete:
        not_checked.append("The file was too large to look at all its timestamps.")
    movie = None
    if info.container.startswith("mov"):
        with suppress(OSError):
            movie = read_movie(path)
    credentials = read_credentials(path, info.container, trust_anchors, limit_s)
    if credentials.state == "unread":
        not_checked.append(credentials.message)
    traces = (*_writers(streams, movie), *_times(info, movie), *_cuts(movie), *_several(streams),
              *_timing(info, streams), *_devices(streams))
    return Provenance(info.sha256, tuple(_facts(info, streams, movie)), traces, credentials, tuple(not_checked))


# ---- reading --------------------------------------------------------------------------------------------------


@dataclass
class _Timing:
    """Presentation times of one stream's packets, in order of presentation."""

    start_s: np.ndarray = field(default_factory=lambda: np.zeros(0))  # [packets]
    length_s: np.ndarray = field(default_factory=lambda: np.zeros(0))  # [packets]
    backward: int = 0  # decoding times that are earlier than the one before

    @property
    def end_s(self) -> float:
        return float((self.start_s + self.length_s).max())


@dataclass
class _Streams:
    tags: list[tuple[str, str]] = field(default_factory=list)  # (key, value) of container and streams
    signatures: list[str] = field(default_factory=list)  # of encoders, inside the data
    videos: int = 0
    audios: int = 0
    video: _Timing = field(default_factory=_Timing)
    audio: _Timing = field(default_factory=_Timing)
    complete: bool = True


def _tags(info: ClipInfo) -> list[tuple[str, str]]:
    """What the EXIF data of a still picture tell."""
    return [(plain(key, 60), plain(value)) for key, value in info.metadata.items()]


def _read_streams(path: str | Path, limit_s: float, limits: Limits) -> _Streams:
    """One pass over the packets, without decoding."""
    found = _Streams()
    stop_at = time.monotonic() + limit_s
    with open_container(path, limits) as container:
        for holder in (container, *list(container.streams)[:16]):
            found.tags += [(plain(k, 60), plain(v)) for k, v in list(holder.metadata.items())[:50]]
        found.audios = len(container.streams.audio)
        video, audio = video_stream(container), audio_stream(container)
        found.videos = sum(1 for s in container.streams.video if _moves(s))
        chosen = {s.index: ([], []) for s in (video, audio) if s is not None}  # presentation, decoding
        packets = container.demux([s for s in (video, audio) if s is not None]) if chosen else iter(())
        for count in range(_MOST_PACKETS):
            try:
                packet = next(packets, None)
            except av.FFmpegError:  # broken data: prepare() has said so
                break
            if packet is None:
                break
            if count % 64 == 0 and time.monotonic() > stop_at:
                found.complete = False
                break
            presented, decoded = chosen[packet.stream.index]
            if len(decoded) < _HEAD_PACKETS and packet.size:
                found.signatures += _signatures(packet)
            base = packet.time_base or 0
            if packet.dts is not None:
                decoded.append(float(packet.dts * base))
            if packet.pts is not None and not packet.is_discard:
                presented.append((float(packet.pts * base), float((packet.duration or 0) * base)))
        else:
            found.complete = False
        if video is not None:
            found.video = _timing_of(*chosen[video.index])
        if audio is not None:
            found.audio = _timing_of(*chosen[audio.index])
    return found


def _moves(stream: av.VideoStream) -> bool:
    """Cover art is a stream of one picture."""
    return not stream.disposition & (av.stream.Disposition.attached_pic | av.stream.Disposition.still_image)


def _timing_of(presented: list[tuple[float, float]], decoded: list[float]) -> _Timing:
    if not presented:
        return _Timing()
    ordered = np.array(sorted(presented))
    backward = int((np.diff(decoded) < -1e-6).sum()) if len(decoded) > 1 else 0
    return _Timing(ordered[:, 0], ordered[:, 1], backward)


def _signatures(packet: av.Packet) -> Iterator[str]:
    head = bytes(packet)[:4096]
    for pattern in (_X26X, _LAVC):
        if match := pattern.search(head):
            yield match[0].decode("ascii", "replace")


# ---- facts ----------------------------------------------------------------------------------------------------


def _facts(info: ClipInfo, streams: _Streams, movie: Movie | None) -> Iterator[tuple[str, str]]:
    yield "Size", f"{info.size_bytes:,} bytes"
    yield "Container", plain(info.container)
    if brand := dict(streams.tags).get("major_brand"):
        yield "Brand", brand
    if info.video_codec:
        rate = f", {info.fps:.2f} pictures a second{' on average' if info.variable_fps else ''}" if info.fps else ""
        turned = f", turned by {info.rotation_deg}°" if info.rotation_deg else ""
        yield "Picture", f"{plain(info.video_codec)}, {info.width_px} × {info.height_px}{rate}{turned}"
    if info.audio_codec:
        yield "Sound", f"{plain(info.audio_codec)}, {info.audio_hz} Hz, {info.audio_channels} channel(s)"
    if written_by := _named_writers(streams, movie):
        yield "Written by", "; ".join(written_by)
    if device := _device(streams):
        yield "Recording device", device
    if movie is not None:
        for name, moment in (("Created", movie.created), ("Modified", movie.modified)):
            if moment is not None:
                yield name, _utc(moment)
    for key, value in streams.tags:
        if key.lower() in ("creation_time", "com.apple.quicktime.creationdate", "date"):
            yield f"Tag {key}", value
            break


def _utc(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%d %H:%M:%S UTC")


def _named_writers(streams: _Streams, movie: Movie | None) -> list[str]:
    keys = ("encoder", "encoded_by", "writing_application", "software", "com.apple.quicktime.software", "handler_name",
            "muxer", "vendor_id", "tool", "creation_tool", "compatible_app")
    usual = {"videohandler", "soundhandler", "ffmp", "[0][0][0][0]", "videohandle", "soundhandle"}
    named = [v for k, v in streams.tags if k.lower() in keys and v.lower() not in usual]
    if movie is not None and movie.creator_tool:
        named.append(plain(movie.creator_tool))
    named += [plain(s.split(" - H.")[0], 60) for s in streams.signatures]
    return list(dict.fromkeys(named))[:8]


# ---- traces ---------------------------------------------------------------------------------------------------


def _writers(streams: _Streams, movie: Movie | None) -> Iterator[EditingTrace]:
    texts = [f"{k}: {v}" for k, v in streams.tags if k.lower() not in _TYPED_BY_PEOPLE] + streams.signatures
    texts += [plain(movie.creator_tool)] if movie is not None and movie.creator_tool else []
    if hit := _first_word(texts, _GENERATORS):
        yield EditingTrace(
            "GENERATOR_NAMED", f"The file names “{hit}”, which is also the name of a program that makes or changes "
            "pictures or voices.", "The file may have been made or changed with it.",
            "Anybody can write such a name into a file.")
    if hit := _first_word(texts, _EDITORS):
        yield EditingTrace(
            "EDITOR_NAMED", f"The file names the editing program “{hit}”.", "It was exported from that program.",
            "Cutting, captions and brightness are edits too: this does not say that a face or a voice was changed.")
    platform = next((label for word, label in _PLATFORMS.items() if any(word.lower() in t.lower() for t in texts)),
                    None)
    if platform:
        yield EditingTrace(
            "PLATFORM_COPY", f"The file says that {platform} wrote it.", "It is a copy that the platform encoded, not "
            "the original recording; traces of what came before are weaker in it.",
            "It says nothing about what was uploaded there.")
    if hit := _first_word(texts, _CONVERTERS):
        yield EditingTrace(
            "CONVERTER_NAMED", f"The file says that “{_LABELS.get(hit, hit)}” wrote it, a converter or a library that "
            "many programs use.",
            "It is an encoded or repackaged copy; most cameras and phones do not write this themselves.",
            "Downloading, messaging and cutting leave the same trace in genuine clips.")
    settings = next((s for s in streams.signatures if s.startswith("x26")), None)
    if settings:
        quality = ", ".join(dict.fromkeys(_QUALITY.findall(settings)))
        detail = f" ({plain(quality, 60)})" if quality else ""
        yield EditingTrace(
            "ENCODER_SETTINGS", f"The picture data hold the settings of the software encoder {settings[:4]}{detail}.",
            "The picture was encoded by software, after it was recorded.",
            "It does not say why: every video site and many messengers encode with it.")


def _first_word(texts: list[str], names: tuple[str, ...]) -> str | None:
    for name in names:
        word = re.compile(rf"(?<![A-Za-z]){re.escape(name)}(?![a-z])", re.IGNORECASE)
        if any(word.search(text) for text in texts):
            return name
    return None


def _times(info: ClipInfo, movie: Movie | None) -> Iterator[EditingTrace]:
    if movie is None or movie.created is None or movie.modified is None:
        return
    later_s = (movie.modified - movie.created).total_seconds()
    if later_s > info.duration_s + _LATER_S:
        yield EditingTrace(
            "MODIFIED_LATER", f"Its header was created on {_utc(movie.created)} and modified on "
            f"{_utc(movie.modified)}.", "The file was written again after it was recorded.",
            "Trimming, favourites and copying by a phone's gallery set this time as well, and a clock can be wrong.")
    elif later_s < -1:
        yield EditingTrace(
            "MODIFIED_BEFORE_CREATED", f"Its header says modified on {_utc(movie.modified)}, before it was created on "
            f"{_utc(movie.created)}.", "One of the two times was set by hand or by a program that copies tags.",
            "It does not say that picture or sound were changed.")


def _cuts(movie: Movie | None) -> Iterator[EditingTrace]:
    names = {"vide": "picture", "soun": "sound"}
    for track in movie.tracks if movie is not None else ():
        if track.kind not in names or not track.edits or track.media_s <= 0:
            continue
        shown = [e for e in track.edits if e.media_start_s is not None and e.length_s > 0]
        hidden_s = track.media_s - sum(e.length_s for e in shown) if shown else 0.0
        if len(shown) > 1 or hidden_s > _CUT_S:
            yield EditingTrace(
                "EDIT_LIST", f"An edit list plays {_pieces(shown, track)} of the recorded {names[track.kind]} "
                f"({track.media_s:.2f} s).", "The clip was trimmed or put together without encoding it again; what is "
                "left out may still be in the file.",
                "Phones trim like this, and a trimmed clip can be genuine throughout.")


def _pieces(shown: list, track: Track) -> str:
    played_s = sum(e.length_s for e in shown)
    pieces = f"{len(shown)} pieces, together " if len(shown) > 1 else ""
    start = f" from {shown[0].media_start_s:.2f} s on" if len(shown) == 1 and shown[0].media_start_s > _CUT_S else ""
    return f"{pieces}{played_s:.2f} s{start}"


def _several(streams: _Streams) -> Iterator[EditingTrace]:
    for count, what, code in ((streams.videos, "video", "SEVERAL_VIDEO_STREAMS"),
                              (streams.audios, "sound", "SEVERAL_SOUND_STREAMS")):
        if count > 1:
            yield EditingTrace(
                code, f"The file holds {count} {what} streams; one of them was judged.",
                "Players choose one of them: different people may see or hear different things.",
                "Several cameras, languages and commentaries are stored in this way too.")


def _timing(info: ClipInfo, streams: _Streams) -> Iterator[EditingTrace]:
    video, audio = streams.video, streams.audio
    if (gap := _longest_gap(video)) is not None:
        yield _gap_trace("PICTURE_GAP", "pictures", *gap)
    if (gap := _longest_sound_gap(audio)) is not None:
        yield _gap_trace("SOUND_GAP", "sound", *gap)
    backward = video.backward + audio.backward
    if backward:
        yield EditingTrace(
            "TIMESTAMPS_JUMP_BACK", f"The timestamps jump back ({backward} times).",
            "Pieces of different recordings may have been put together without care.",
            "Broadcasts and broken downloads have such jumps as well.")
    if info.variable_fps:
        yield EditingTrace(
            "VARIABLE_FRAME_RATE", "The pictures are not evenly spaced in time.",
            "Pictures were dropped or held, by the device or by a program.",
            "Phones, web cameras and screen recorders do this all the time.")
    if len(video.start_s) and len(audio.start_s) and streams.complete:
        starts_apart_s = float(audio.start_s[0] - video.start_s[0])
        ends_apart_s = audio.end_s - video.end_s
        if max(abs(starts_apart_s), abs(ends_apart_s)) > _APART_S:
            yield EditingTrace(
                "LENGTHS_DIFFER", f"The sound starts {_apart(starts_apart_s)} and ends {_apart(ends_apart_s)} the "
                "picture.", "Picture and sound may come from different recordings, or one of them was cut.",
                "Converters and interrupted downloads cut one of the two as well.")


def _longest_gap(timing: _Timing) -> tuple[float, float] | None:
    """(start, length) in seconds of the longest step between pictures, where it is a gap."""
    steps_s = np.diff(timing.start_s)
    if not len(steps_s):
        return None
    longest = int(np.argmax(steps_s))
    if steps_s[longest] <= max(_GAP_S, 5 * float(np.median(steps_s))):
        return None
    return float(timing.start_s[longest] - timing.start_s[0]), float(steps_s[longest])


def _longest_sound_gap(timing: _Timing) -> tuple[float, float] | None:
    """(start, length) in seconds of the longest span without sound data between packets."""
    if len(timing.start_s) < 2 or not timing.length_s.any():
        return None
    usual_s = float(np.median(timing.length_s[timing.length_s > 0]))
    ends_s = timing.start_s + np.where(timing.length_s > 0, timing.length_s, usual_s)
    gaps_s = timing.start_s[1:] - ends_s[:-1]
    longest = int(np.argmax(gaps_s))
    if gaps_s[longest] <= _SOUND_GAP_S:
        return None
    return float(ends_s[longest] - timing.start_s[0]), float(gaps_s[longest])


def _gap_trace(code: str, what: str, start_s: float, length_s: float) -> EditingTrace:
    return EditingTrace(
        code, f"There is a gap of {length_s:.2f} s without {what}, {start_s:.2f} s after the start.",
        "Something may have been taken out there, or the recording paused.",
        "Weak connections and busy devices leave gaps as well.")


def _apart(seconds: float) -> str:
    if abs(seconds) < 0.01:
        return "together with"
    return f"{abs(seconds):.2f} s {'after' if seconds > 0 else 'before'}"


def _device(streams: _Streams) -> str | None:
    named = [v for k, v in streams.tags if k.lower() in _DEVICE_KEYS and v]
    named += [f"(Android {v})" for k, v in streams.tags if k.lower() == _ANDROID]
    return " ".join(dict.fromkeys(named)) or None


def _devices(streams: _Streams) -> Iterator[EditingTrace]:
    if _device(streams) is None:
        yield EditingTrace(
            "NO_DEVICE_NAMED", "The file names no recording device.",
            "It is not the untouched file of most phones, which write their make and model.",
            "Messengers, platforms and converters remove such tags from genuine clips, and web cameras write none.")

