"""Odd but valid files, and broken or hostile ones, made on demand for the tests.

Each case is a file name and a recipe: FFmpeg arguments (the FFmpeg that ships with imageio-ffmpeg, so none needs
to be installed) or a function that writes bytes. Nothing is committed, everything is tiny, and a file is built
the first time that a test asks for it.
"""

from __future__ import annotations

import io
import os
import random
import shlex
import struct
import subprocess
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import imageio_ffmpeg

SECONDS = 1.2
PICTURE = f"-f lavfi -i testsrc=s=160x120:r=25:d={SECONDS}"
SOUND = f"-f lavfi -i sine=f=330:r=16000:d={SECONDS}"
H264 = "-c:v libx264 -preset ultrafast -pix_fmt yuv420p"
BOTH = f"{PICTURE} {SOUND} {H264}"
STEREO = f"-f lavfi -i sine=f=330:r=48000:d={SECONDS} -ac 2"


@dataclass(frozen=True)
class Case:
    """One file. `{name}` in the arguments stands for the path of another case; the output path comes last.

    `facts` are attributes of ClipInfo that a valid file must show; `reasons` the codes that a hostile one may be
    refused with (None: it may also be accepted).
    """

    id: str
    name: str
    recipe: str | Callable[[Corpus, Path], None]
    facts: dict = field(default_factory=dict)
    reasons: tuple[str, ...] | None = None

    def __str__(self) -> str:
        return self.id


class Corpus:
    """Builds cases under one folder, each in a folder of its own, at most once."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._built: dict[str, Path] = {}
        self._cases = {case.id: case for case in (*VALID, *HOSTILE)}

    def __getitem__(self, case_id: str) -> Path:
        if case_id not in self._built:
            case = self._cases[case_id]
            path = self.root / case.id / case.name
            path.parent.mkdir(parents=True)
            if callable(case.recipe):
                case.recipe(self, path)
            else:
                words = [w.format_map(_Paths(self)) for w in shlex.split(case.recipe)]
                ffmpeg(*words, f"file:{path}")
            self._built[case_id] = path
        return self._built[case_id]


class _Paths(dict):
    def __init__(self, corpus: Corpus) -> None:
        self._corpus = corpus

    def __missing__(self, case_id: str) -> str:
        return str(self._corpus[case_id])


def ffmpeg(*args: str, stdout=None) -> None:
    subprocess.run(
        [imageio_ffmpeg.get_ffmpeg_exe(), "-nostdin", "-loglevel", "error", "-y", "-threads", "1", *args],
        check=True, timeout=60, stdout=stdout,
    )


# ---- recipes that need more than one command ---------------------------------------------------------------


def _piped(arguments: str):
    """Through a pipe the muxer cannot go back, so durations and indexes stay unwritten."""

    def build(corpus: Corpus, path: Path) -> None:
        with open(path, "wb") as file:
            ffmpeg(*shlex.split(arguments), "pipe:1", stdout=file)

    return build


def _joined(*case_ids: str):
    def build(corpus: Corpus, path: Path) -> None:
        path.write_bytes(b"".join(corpus[i].read_bytes() for i in case_ids))

    return build


def _copied(case_id: str):
    return _joined(case_id)


def _linked(case_id: str):
    def build(corpus: Corpus, path: Path) -> None:
        path.symlink_to(corpus[case_id])

    return build


def _bytes(content: bytes | str):
    def build(corpus: Corpus, path: Path) -> None:
        path.write_bytes(content.encode() if isinstance(content, str) else content)

    return build


def _cut(case_id: str, share: float):
    """Only the first part of the file, as an interrupted download leaves it."""

    def build(corpus: Corpus, path: Path) -> None:
        data = corpus[case_id].read_bytes()
        path.write_bytes(data[: max(1, int(len(data) * share))])

    return build


def _flipped(case_id: str, after: float = 0.0, share: float = 0.004):
    """A few bytes replaced, from a point of the file on; the same ones in every run."""

    def build(corpus: Corpus, path: Path) -> None:
        data = bytearray(corpus[case_id].read_bytes())
        rng = random.Random(case_id)
        first = int(len(data) * after)
        for _ in range(max(8, int((len(data) - first) * share))):
            data[rng.randrange(first, len(data))] = rng.randrange(256)
        path.write_bytes(data)

    return build


def _patched(case_id: str, *patches: tuple[bytes, int, bytes]):
    """Bytes overwritten at an offset after every occurrence of a mark."""

    def build(corpus: Corpus, path: Path) -> None:
        data = bytearray(corpus[case_id].read_bytes())
        for mark, offset, content in patches:
            at = data.find(mark)
            assert at >= 0, f"{mark!r} is not in {case_id}"
            while at >= 0:
                data[at + offset : at + offset + len(content)] = content
                at = data.find(mark, at + 4)
        path.write_bytes(data)

    return build


def _with_neighbour(script: str):
    """A text that names another clip in its own folder, as a shared upload folder would hold it."""

    def build(corpus: Corpus, path: Path) -> None:
        (path.parent / "neighbour.mp4").write_bytes(corpus["plain"].read_bytes())
        path.write_text(script)

    return build


def _zip(corpus: Corpus, path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("clip.mp4", corpus["plain"].read_bytes())


def _wav(rate: int = 16_000, channels: int = 1, bits: int = 16, samples: bytes = bytes(3200),
         claimed: int | None = None) -> bytes:
    """A wave file whose header says whatever it is told to."""
    size = len(samples) if claimed is None else claimed
    block = channels * bits // 8
    fmt = struct.pack("<HHIIHH", 1, channels, rate, rate * block & 0xFFFFFFFF, block & 0xFFFF, bits)
    body = b"WAVEfmt " + struct.pack("<I", 16) + fmt + b"data" + struct.pack("<I", size) + samples
    return b"RIFF" + struct.pack("<I", (size + 36) & 0xFFFFFFFF) + body


def _box(kind: bytes, content: bytes = b"") -> bytes:
    return struct.pack(">I", len(content) + 8) + kind + content


def _nested_boxes(depth: int) -> bytes:
    data = b""
    for _ in range(depth):
        data = _box(b"moov", data)
    return _box(b"ftyp", b"isom\0\0\0\0isom") + data


def _many_streams(corpus: Corpus, path: Path) -> None:
    maps = ["-map", "0:a"] * 40
    ffmpeg(*shlex.split(SOUND), *maps, "-c:a", "pcm_s16le", "-t", "0.2", f"file:{path}")


def _cover(corpus: Corpus, path: Path) -> None:
    ffmpeg("-f", "lavfi", "-i", "color=red:s=300x300:r=1:d=1", "-frames:v", "1", f"file:{path}")


_HOUR_MS = struct.pack(">I", 3_600_000)  # in the header's usual time scale of 1/1000 s
_PLAYLIST = (
    "#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-TARGETDURATION:5\n#EXT-X-MEDIA-SEQUENCE:0\n#EXTINF:5,\n{}\n#EXT-X-ENDLIST\n"
)
_DASH = """<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static"
mediaPresentationDuration="PT5S" profiles="urn:mpeg:dash:profile:isoff-on-demand:2011"><Period><AdaptationSet
mimeType="video/mp4"><Representation id="1" bandwidth="1"><BaseURL>neighbour.mp4</BaseURL></Representation>
</AdaptationSet></Period></MPD>"""


# ---- odd but valid ------------------------------------------------------------------------------------------

_SILENT_PICTURE = {"audio_codec": None}
_SOUND_ONLY = {"video_codec": None, "width_px": None, "frames": 0, "duration_s": SECONDS}
_USUAL = {"width_px": 160, "height_px": 120, "duration_s": SECONDS}

VALID = (
    Case("plain", "plain.mp4", BOTH, _USUAL | {"fps": 25, "frames": 30, "audio_hz": 16000, "audio_channels": 1,
                                               "rotation_deg": 0, "variable_fps": False, "audio_streams": 1}),
    # geometry
    Case("rotated_90", "phone.mp4", "-display_rotation 90 -i {plain} -c copy",
         {"width_px": 120, "height_px": 160}),
    Case("rotated_180", "phone.mp4", "-display_rotation 180 -i {plain} -c copy",
         {"width_px": 160, "height_px": 120, "rotation_deg": 180}),
    Case("rotated_270", "phone.mov", "-display_rotation 270 -i {plain} -c copy",
         {"width_px": 120, "height_px": 160}),
    Case("portrait", "portrait.mp4", f"-f lavfi -i testsrc=s=90x160:r=25:d={SECONDS} {H264}",
         {"width_px": 90, "height_px": 160}),
    Case("odd_dimensions", "odd.webm", f"-f lavfi -i testsrc=s=161x121:r=25:d={SECONDS} -c:v libvpx -b:v 200k",
         {"width_px": 161, "height_px": 121}),
    Case("wide_pixels", "sar.mp4", f"-f lavfi -i testsrc=s=120x120:r=25:d={SECONDS} -vf setsar=4/3 {H264}",
         {"width_px": 160, "height_px": 120}),
    Case("very_small", "dot.mp4", f"-f lavfi -i testsrc=s=16x16:r=25:d={SECONDS} {H264}",
         {"width_px": 16, "height_px": 16}),
    Case("very_wide", "strip.mp4", f"-f lavfi -i testsrc=s=1280x32:r=25:d={SECONDS} {H264}",
         {"width_px": 1280, "height_px": 32}),
    Case("resized_in_the_middle", "call.ts", _joined("transport_stream", "transport_stream_larger"), {}),
    # pixel formats
    Case("ten_bit_hdr", "hdr.mp4", f"{PICTURE} -c:v libx265 -preset ultrafast -x265-params log-level=none "
         "-pix_fmt yuv420p10le -color_primaries bt2020 -color_trc smpte2084 -colorspace bt2020nc -tag:v hvc1",
         _USUAL | {"video_codec": "hevc"}),
    Case("ten_bit_h264", "high10.mkv", f"{PICTURE} -c:v libx264 -preset ultrafast -pix_fmt yuv420p10le",
         _USUAL),
    Case("alpha", "alpha.webm", f"{PICTURE} -vf format=yuva420p -c:v libvpx-vp9 -deadline realtime -cpu-used 8",
         _USUAL),
    Case("grey", "grey.mp4", f"{PICTURE} -c:v libx264 -preset ultrafast -pix_fmt gray", _USUAL),
    Case("yuv444", "full_colour.mp4", f"{PICTURE} -c:v libx264 -preset ultrafast -pix_fmt yuv444p", _USUAL),
    Case("rgb", "rgb.mkv", f"{PICTURE} -c:v libx264rgb -preset ultrafast -pix_fmt rgb24", _USUAL),
    Case("full_range", "webcam.avi", f"{PICTURE} -c:v mjpeg -pix_fmt yuvj420p", _USUAL),
    Case("uncompressed", "raw.avi", f"{PICTURE} -c:v rawvideo -pix_fmt bgr24", _USUAL),
    Case("interlaced", "tv.mpg", f"{PICTURE} {SOUND} -ar 48000 -c:v mpeg2video -vf setfield=tff -flags +ildct+ilme",
         {"width_px": 160, "height_px": 120}),
    # containers and codecs
    Case("matroska", "talk.mkv", f"{BOTH} -c:a libopus", _USUAL),
    Case("avi", "talk.avi", f"{PICTURE} {SOUND} -c:v mpeg4 -c:a libmp3lame", _USUAL),
    Case("mov", "talk.mov", f"{PICTURE} {SOUND} -c:v prores_ks -c:a pcm_s16le", _USUAL),
    Case("webm_live", "recorder.webm", _piped(f"{PICTURE} {SOUND} -c:v libvpx -b:v 200k -c:a libopus -live 1 -f webm"),
         _USUAL),
    Case("matroska_piped", "stream.mkv", _piped(f"{BOTH} -f matroska"), _USUAL),
    Case("transport_stream", "talk.ts", f"{BOTH} -f mpegts", _USUAL),
    Case("transport_stream_larger", "big.ts", f"-f lavfi -i testsrc=s=320x240:r=25:d={SECONDS} {SOUND} {H264} "
         "-output_ts_offset 1.2 -f mpegts", {"width_px": 320, "height_px": 240, "duration_s": SECONDS}),
    Case("flash", "talk.flv", f"{PICTURE} {SOUND} -ar 44100 -c:v flv -c:a libmp3lame", _USUAL),
    Case("windows_media", "talk.wmv", f"{PICTURE} {SOUND} -ar 44100 -c:v wmv2 -c:a wmav2", {"width_px": 160}),
    Case("old_phone", "talk.3gp", "-f lavfi -i testsrc=s=176x144:r=15:d=1.2 "
         f"-f lavfi -i sine=f=330:r=8000:d={SECONDS} -c:v h263 -c:a libopencore_amrnb -ar 8000 -ac 1",
         {"width_px": 176, "height_px": 144, "audio_hz": 8000}),
    Case("av1", "talk_av1.mp4", f"{PICTURE} -c:v libsvtav1 -preset 12 -svtav1-params lp=1",
         _USUAL | {"video_codec": "av1"}),
    Case("fragmented", "dash_like.mp4", f"{BOTH} -movflags frag_keyframe+empty_moov+default_base_moof -g 10",
         _USUAL),
    Case("index_last", "camera.mp4", f"{BOTH} -movflags 0", _USUAL),
    Case("index_first", "web.mp4", f"{BOTH} -movflags +faststart", _USUAL),
    Case("long_gop", "b_frames.mp4", f"{PICTURE} -c:v libx264 -preset fast -bf 8 -g 250 -pix_fmt yuv420p",
         _USUAL),
    # which streams there are
    Case("no_audio", "mute.mp4", f"{PICTURE} {H264}", _USUAL | _SILENT_PICTURE),
    Case("two_audio_streams", "dubbed.mkv", f"{PICTURE} {SOUND} -f lavfi -i sine=f=880:r=48000:d={SECONDS} "
         f"-map 0 -map 1 -map 2 {H264} -c:a aac -disposition:a:0 0 -disposition:a:1 default",
         _USUAL | {"audio_streams": 2, "audio_hz": 48000}),
    Case("subtitles_and_data", "captioned.mov", "-i {plain} -i {srt_text} -map 0:v -map 0:a -map 1 -c copy "
         "-c:s mov_text -timecode 00:00:00:00", _USUAL | {"audio_streams": 1}),
    Case("video_with_cover", "film.mp4", "-i {plain} -i {cover} -map 1 -map 0 -c copy -c:v:0 mjpeg "
         "-disposition:v:0 attached_pic", _USUAL),
    Case("chapters_and_tags", "tags.mkv", BOTH + " -metadata title='<script>alert(1)</script>' "
         "-metadata comment='{{constructor}}' -metadata artist=\"'; DROP TABLE clips; --\"", _USUAL),
    # sound only
    Case("wav", "talk.wav", SOUND, _SOUND_ONLY | {"audio_hz": 16000}),
    Case("mp3", "talk.mp3", f"{STEREO} -c:a libmp3lame", _SOUND_ONLY | {"audio_channels": 2}),
    Case("flac", "talk.flac", SOUND, _SOUND_ONLY),
    Case("ogg_vorbis", "talk.ogg", f"{STEREO} -c:a libvorbis", _SOUND_ONLY),
    Case("opus", "talk.opus", f"{SOUND} -c:a libopus", _SOUND_ONLY),
    Case("m4a", "talk.m4a", f"{STEREO} -c:a aac", _SOUND_ONLY),
    Case("adts", "talk.aac", f"{STEREO} -c:a aac", _SOUND_ONLY),
    Case("mp3_with_cover", "song.mp3", "-i {mp3} -i {cover} -map 0 -map 1 -c copy -c:v mjpeg "
         "-disposition:v attached_pic",
         _SOUND_ONLY),
    Case("m4a_with_cover", "song.m4a", "-i {m4a} -i {cover} -map 0 -map 1 -c copy -c:v png -disposition:v attached_pic",
         _SOUND_ONLY),
    Case("flac_with_cover", "song.flac", "-i {flac} -i {cover} -map 0 -map 1 -c:a copy -c:v png "
         "-disposition:v attached_pic", _SOUND_ONLY),
    Case("telephone", "call.wav", f"-f lavfi -i sine=f=330:r=8000:d={SECONDS} -c:a pcm_mulaw",
         _SOUND_ONLY | {"audio_hz": 8000, "audio_channels": 1}),
    Case("studio", "master.wav", f"-f lavfi -i sine=f=330:r=96000:d={SECONDS} -c:a pcm_f32le", _SOUND_ONLY),
    Case("surround", "cinema.mp4", f"{PICTURE} -f lavfi -i sine=f=330:r=48000:d={SECONDS} "
         f"-af pan=5.1|FL=c0|FR=c0|FC=c0|LFE=c0|BL=c0|BR=c0 {H264} -c:a ac3", _USUAL | {"audio_channels": 6}),
    Case("silent_audio", "silence.mp4", f"{PICTURE} -f lavfi -i anullsrc=r=48000:cl=stereo -t {SECONDS} {H264}",
         _USUAL | {"audio_channels": 2}),
    Case("opposite_phase", "phase.wav", f"-f lavfi -i sine=f=330:r=16000:d={SECONDS} -af pan=stereo|c0=c0|c1=-1*c0",
         _SOUND_ONLY | {"audio_channels": 2}),
    Case("wav_piped", "stream.wav", _piped(f"{SOUND} -f wav"), _SOUND_ONLY),
    Case("blip", "blip.wav", "-f lavfi -i sine=f=330:r=16000:d=0.05", {"duration_s": 0.05}),
    # time
    Case("variable_frame_rate", "screen.mkv", f"{PICTURE} -vf \"select='lt(n,10)+not(mod(n,4))'\" -fps_mode vfr {H264}",
         {"variable_fps": True, "duration_s": SECONDS}),
    Case("slow", "timelapse.mp4", f"-f lavfi -i testsrc=s=160x120:r=1:d=5 {H264}",
         {"frames": 5, "fps": 1, "duration_s": 5}),
    Case("fast", "slow_motion.mp4", f"-f lavfi -i testsrc=s=160x120:r=120:d=0.5 {H264}",
         {"frames": 60, "fps": 120, "duration_s": 0.5}),
    Case("ntsc", "tv.mp4", f"-f lavfi -i testsrc=s=160x120:r=30000/1001:d={SECONDS} {H264}", {"fps": 29.97}),
    Case("single_frame", "still.mp4", f"{PICTURE} -frames:v 1 {H264}", {"frames": 1}),
    Case("starts_late", "broadcast.ts", f"{BOTH} -output_ts_offset 500 -f mpegts", _USUAL),
    Case("starts_before_zero", "cut.mkv", f"{BOTH} -output_ts_offset -0.4 -avoid_negative_ts disabled",
         {"width_px": 160, "height_px": 120}),
    Case("cut_by_edit_list", "trimmed.mp4", "-ss 0.5 -i {long_gop_with_sound} -c copy", {"width_px": 160}),
    Case("long_gop_with_sound", "gop.mp4", f"{PICTURE} {SOUND} -c:v libx264 -preset fast -g 250 -pix_fmt yuv420p",
         _USUAL),
    Case("sound_starts_later", "late_sound.mp4", f"{PICTURE} -itsoffset 0.5 {SOUND} {H264}",
         {"duration_s": 1.7}),
    Case("picture_starts_later", "late_picture.mp4", f"-itsoffset 0.5 {PICTURE} {SOUND} {H264}",
         {"duration_s": 1.7}),
    Case("sound_longer", "podcast.mp4", f"{PICTURE} -f lavfi -i sine=f=330:r=16000:d=2.5 {H264}",
         {"duration_s": 2.5}),
    Case("picture_longer", "outro.mp4", f"-f lavfi -i testsrc=s=160x120:r=25:d=2.5 {SOUND} {H264}",
         {"duration_s": 2.5}),
    # names
    Case("name_unicode", "речь 話す 🎤 – ünï.mp4", _copied("plain"), _USUAL),
    Case("name_markup", "<img src=x onerror=alert(1)>.mp4", _copied("plain"), _USUAL),
    Case("name_shell", "'; rm -rf $HOME; `id`.mp4", _copied("plain"), _USUAL),
    Case("name_protocol", "concat:a|b.mp4", _copied("plain"), _USUAL),
    Case("name_web_address", "http:example.org.mp4", _copied("plain"), _USUAL),
    Case("name_pattern", "clip%03d*?.mp4", _copied("plain"), _USUAL),
    Case("name_option", "-i.mp4", _copied("plain"), _USUAL),
    Case("name_newline", "two\nlines.mp4", _copied("plain"), _USUAL),
    Case("name_without_suffix", "clip", _copied("plain"), _USUAL),
    Case("name_wrong_suffix", "clip.webm", _copied("plain"), _USUAL),
    Case("name_sound_as_video", "voice.mp4", _copied("mp3"), _SOUND_ONLY),
    Case("name_link", "link.mp4", _linked("plain"), _USUAL),
    # still pictures, whatever their names say
    Case("png", "picture.mp4", "-f lavfi -i testsrc=s=160x120 -frames:v 1 -c:v png -f image2pipe",
         {"still": True, "width_px": 160, "height_px": 120}),
    Case("jpeg", "photo.mp4", "-f lavfi -i testsrc=s=160x120 -frames:v 1 -c:v mjpeg -f image2pipe",
         {"still": True, "width_px": 160, "height_px": 120}),
)

# ---- broken or hostile --------------------------------------------------------------------------------------

_UNREADABLE = ("DECODE_FAILED", "UNSUPPORTED_FORMAT")
_FOREIGN = _UNREADABLE  # a file of another kind
_TOO_MUCH = ("TOO_LARGE", "TOO_LONG")

HOSTILE = (
    # not media
    Case("empty", "empty.mp4", _bytes(b""), reasons=("DECODE_FAILED",)),
    Case("one_byte", "one.mp4", _bytes(b"\0"), reasons=_UNREADABLE),
    Case("zeros", "zeros.mp4", _bytes(bytes(50_000)), reasons=_UNREADABLE),
    Case("random", "random.mp4", _bytes(random.Random(1).randbytes(100_000)), reasons=_UNREADABLE),
    Case("random_mp3", "random.mp3", _bytes(random.Random(2).randbytes(100_000))),
    Case("text", "notes.mp4", _bytes("I am not a video.\n" * 500), reasons=_FOREIGN),
    Case("html", "page.mp4", _bytes("<!doctype html><title>403</title><h1>Forbidden</h1>" * 20),
         reasons=_FOREIGN),
    Case("svg", "drawing.mp4", _bytes("<svg xmlns='http://www.w3.org/2000/svg'><image href='file:///etc/passwd'/></svg>"),
         reasons=_FOREIGN),
    Case("pdf", "paper.mp4", _bytes(b"%PDF-1.4\n1 0 obj<</Type/Catalog>>endobj\ntrailer<</Root 1 0 R>>\n%%EOF"),
         reasons=_FOREIGN),
    Case("pickle", "weights.mp4", _bytes(b"\x80\x04cos\nsystem\n\x8c\x02id\x85R."), reasons=_FOREIGN),
    Case("zip", "archive.mp4", _zip, reasons=_FOREIGN),
    Case("gif", "animation.gif", "-f lavfi -i testsrc=s=160x120:d=0.5", reasons=_FOREIGN),
    Case("raw_h264", "elementary.mp4", f"{PICTURE} {H264} -f h264", reasons=_FOREIGN),
    Case("y4m", "raw.y4m", f"{PICTURE} -pix_fmt yuv420p", reasons=_FOREIGN),
    # texts that name other files or hosts
    Case("hls_neighbour", "list.mp4", _with_neighbour(_PLAYLIST.format("neighbour.mp4")), reasons=_FOREIGN),
    Case("hls_absolute", "list.m3u8", _bytes(_PLAYLIST.format("file:///etc/passwd")), reasons=_FOREIGN),
    Case("hls_http", "list.mp4", _bytes(_PLAYLIST.format("http://127.0.0.1:9/segment.ts")), reasons=_FOREIGN),
    Case("concat_neighbour", "talk.mp4", _with_neighbour("ffconcat version 1.0\nfile neighbour.mp4\n"),
         reasons=_FOREIGN),
    Case("concat_unversioned", "talk.ffconcat", _with_neighbour("file 'neighbour.mp4'\nduration 1\n"),
         reasons=_FOREIGN),
    Case("dash", "talk.mpd", _with_neighbour(_DASH), reasons=_FOREIGN),
    Case("sdp", "talk.sdp", _bytes("v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\n"
                                     "m=audio 5004 RTP/AVP 0\n"),
         reasons=_FOREIGN),
    Case("imf", "talk.xml", _bytes("<?xml version='1.0'?><!DOCTYPE a [<!ENTITY x SYSTEM 'file:///etc/passwd'>]><a>&x;</a>"),
         reasons=_FOREIGN),
    Case("srt_text", "captions.srt", _bytes("1\n00:00:00,000 --> 00:00:01,000\nHello\n"), reasons=_FOREIGN),
    Case("ffmetadata", "meta.mp4", _bytes(";FFMETADATA1\ntitle=x\n"), reasons=_FOREIGN),
    Case("external_reference", "reference.mov", _patched("mov", (b"url ", 4, bytes(4)))),
    # files that are not files
    Case("folder", "folder.mp4", lambda corpus, path: path.mkdir(), reasons=("DECODE_FAILED",)),
    Case("missing", "missing.mp4", lambda corpus, path: None, reasons=("DECODE_FAILED",)),
    Case("link_loop", "loop.mp4", lambda corpus, path: path.symlink_to(path), reasons=("DECODE_FAILED",)),
    Case("link_nowhere", "nowhere.mp4", lambda corpus, path: path.symlink_to("gone"),
         reasons=("DECODE_FAILED",)),
    Case("pipe", "pipe.mp4", lambda corpus, path: os.mkfifo(path), reasons=("DECODE_FAILED",)),
    Case("device", "zero.mp4", lambda corpus, path: path.symlink_to("/dev/zero"), reasons=("DECODE_FAILED",)),
    # cut off
    *(Case(f"cut_at_{percent}_percent", "cut.mp4", _cut("index_first", percent / 100))
      for percent in (1, 5, 20, 50, 80, 97)),
    Case("no_index", "cut.mp4", _cut("index_last", 0.6), reasons=_UNREADABLE),
    Case("header_only", "header.mp4", _bytes(_box(b"ftyp", b"isom\0\0\2\0isomiso2mp41")),
         reasons=_UNREADABLE),
    Case("no_samples", "nothing.mp4", f"{PICTURE} {H264} -frames:v 0", reasons=_UNREADABLE),
    Case("wav_header_only", "header.wav", _bytes(_wav(samples=b"")), reasons=_UNREADABLE),
    Case("cut_mkv", "cut.mkv", _cut("matroska", 0.5)),
    Case("cut_webm", "cut.webm", _cut("webm_live", 0.3)),
    Case("cut_ts", "cut.ts", _cut("transport_stream", 0.5)),
    Case("cut_mp3", "cut.mp3", _cut("mp3", 0.5)),
    Case("cut_fragmented", "cut.mp4", _cut("fragmented", 0.6)),
    # damaged
    *(Case(f"flipped_{kind}", f"flipped.{kind}", _flipped(case_id)) for kind, case_id in (
        ("mkv", "matroska"), ("webm", "webm_live"), ("avi", "avi"), ("mov", "mov"), ("ts", "transport_stream"),
        ("mpg", "interlaced"), ("flv", "flash"), ("wmv", "windows_media"), ("wav", "wav"), ("mp3", "mp3"),
        ("flac", "flac"), ("ogg", "ogg_vorbis"), ("opus", "opus"), ("m4a", "m4a"), ("aac", "adts"))),
    Case("flipped_index", "flipped.mp4", _flipped("index_first", 0.0, 0.01)),
    Case("flipped_data", "flipped.mp4", _flipped("index_last", 0.4, 0.01)),
    Case("damaged_sound", "noisy.mkv", f"{BOTH} -c:a aac -bsf:a noise=amount=1"),
    Case("damaged_picture", "noisy.mkv", f"{BOTH} -c:a aac -bsf:v noise=amount=2"),
    Case("encrypted", "protected.mp4", f"{BOTH} -encryption_scheme cenc-aes-ctr "
         "-encryption_key 76a6c65c5ea762046bd749a2e632ccbb -encryption_kid a7e61c373e219033c21091fa607bf3b8"),
    # too much
    Case("huge_picture", "huge.mp4", "-f lavfi -i color=black:s=8192x8192:r=1:d=1 -c:v libx264 -preset ultrafast "
         "-pix_fmt yuv420p", reasons=_TOO_MUCH),
    Case("huge_later", "grows.ts", _joined("transport_stream", "huge_ts"), reasons=_TOO_MUCH),
    Case("huge_ts", "huge.ts", "-i {huge_picture} -c copy -output_ts_offset 1.2 -f mpegts",
         reasons=_TOO_MUCH),
    Case("thousand_a_second", "bomb.mp4", f"-f lavfi -i color=black:s=16x16:r=1000:d=3 {H264}",
         reasons=_TOO_MUCH),
    Case("thousand_a_second_unannounced", "bomb.mkv", f"-f lavfi -i color=black:s=16x16:r=1000:d=3 {H264}",
         reasons=_TOO_MUCH),
    Case("an_hour", "hour.mp4", f"-f lavfi -i color=black:s=16x16:r=1/100:d=3600 {H264}", reasons=_TOO_MUCH),
    Case("an_hour_unannounced", "hour.mkv",
         _piped(f"-f lavfi -i color=black:s=16x16:r=1/100:d=3600 {H264} -f matroska"),
         reasons=_TOO_MUCH),
    Case("hour_of_sound", "hour.flac", "-f lavfi -i anullsrc=r=8000:cl=mono -t 3600", reasons=_TOO_MUCH),
    Case("eleven_minutes_of_sound", "long.ogg", "-f lavfi -i anullsrc=r=8000:cl=mono -t 640 -c:a libopus -b:a 6k",
         reasons=_TOO_MUCH),
    Case("many_streams", "streams.mkv", _many_streams, reasons=("UNSUPPORTED_FORMAT", "TOO_LARGE")),
    Case("far_future", "future.mkv", f"{PICTURE} {H264} -output_ts_offset 1000000000"),
    Case("two_far_frames", "gap.mkv", f"-f lavfi -i testsrc=s=160x120:r=1/500:d=1000 {H264}"),
    Case("deep_boxes", "deep.mp4", _bytes(_nested_boxes(20_000)), reasons=_UNREADABLE),
    Case("endless_box", "endless.mp4", _bytes(_box(b"ftyp", b"isom\0\0\0\0isom") + struct.pack(">I", 1) + b"moov"
                                             + struct.pack(">Q", 2**62)), reasons=_UNREADABLE),
    # headers that lie
    Case("says_an_hour", "lies.mp4", _patched("plain", (b"mvhd", 20, _HOUR_MS), (b"tkhd", 24, _HOUR_MS))),
    Case("says_nothing", "lies.mp4", _patched("plain", (b"mvhd", 20, bytes(4)), (b"tkhd", 24, bytes(4)))),
    Case("says_zero_size", "lies.mp4", _patched("plain", (b"avc1", 28, bytes(4)))),
    Case("says_giant_size", "lies.mp4", _patched("plain", (b"avc1", 28, b"\xff\xff\xff\xff"))),
    Case("says_many_samples", "lies.mp4", _patched("plain", (b"stsz", 12, b"\x7f\xff\xff\xff"))),
    Case("wav_says_4_gb", "lies.wav", _bytes(_wav(claimed=0xFFFFFFFF))),
    Case("wav_0_hz", "lies.wav", _bytes(_wav(rate=0))),
    Case("wav_1_hz", "lies.wav", _bytes(_wav(rate=1))),
    Case("wav_4_ghz", "lies.wav", _bytes(_wav(rate=0xFFFFFFFF))),
    Case("wav_0_channels", "lies.wav", _bytes(_wav(channels=0))),
    Case("wav_255_channels", "lies.wav", _bytes(_wav(channels=255, samples=bytes(51_000)))),
    Case("wav_not_a_number", "nan.wav", lambda corpus, path: _float_wav(path, float("nan"))),
    Case("wav_infinite", "inf.wav", lambda corpus, path: _float_wav(path, float("inf"))),
    # a cover for the songs above
    Case("cover", "cover.png", _cover),  # a still picture, which may be analysed by itself
)


def _float_wav(path: Path, value: float) -> None:
    out = io.BytesIO()
    samples = struct.pack("<f", value) * 16_000
    fmt = struct.pack("<HHIIHH", 3, 1, 16_000, 64_000, 4, 32)
    out.write(b"RIFF" + struct.pack("<I", len(samples) + 36) + b"WAVEfmt " + struct.pack("<I", 16) + fmt)
    out.write(b"data" + struct.pack("<I", len(samples)) + samples)
    path.write_bytes(out.getvalue())
