"""The clip as an annotated video: the verdict, face boxes, what is marked in words, a map where one was believed, a
timeline.

Frames are decoded, drawn on and written one after another, on the clip's own presentation clock; none is kept. The
sound is the clip's own, encoded again.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from contextlib import ExitStack, closing
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
from moviepy import VideoClip

from detectors import available
from explain import words
from explain.answer import detector_name
from explain.explanation import Explanation
from explain.fields import on_face, scaled, values_at
from explain.footer import ORANGE, Footer, letter_px, paste, words_image
from explain.sheet import BELIEVED
from explain.target import Cancelled
from media import GRID_HZ, FaceTrack, PreparedClip, replay
from media.crops import alignment

HIGH_PX = 720  # at most
CARD_PX = (854, 200)  # of a clip without a picture
LEAST_HZ, MOST_HZ = 10.0, 30.0
SHADE_PX = 112
SOUND_HZ, SOUND_RATE = 48_000, 160_000  # bits per second


def annotate(path: str | Path, clip: PreparedClip, answer: dict, out: str | Path,
             explanation: Explanation | None = None, should_stop: Callable[[], bool] = lambda: False) -> Path:
    """Writes an MP4 beside which the original stays as it is: the picture at most HIGH_PX high, and a strip below.

    path: the file that the clip was prepared from; answer: the object of scan.py on it. Of an explanation the first map
    is shown that did not fail its test. should_stop is asked before every frame.
    Raises: Cancelled; ValueError for a still picture; MediaError where the file cannot be opened any more.
    """
    if clip.info.still:
        raise ValueError("a still picture has no video")
    with tempfile.TemporaryDirectory(prefix="telltale-") as folder, ExitStack() as stack:
        annotated = _Annotated(path, clip, answer, explanation, stack)

        def frame(time_s: float) -> np.ndarray:
            if should_stop():
                raise Cancelled
            return annotated.at(time_s)

        sound = None if clip.waveform is None else _copy_sound(path, Path(folder) / "sound.m4a", should_stop)
        made = Path(folder) / "annotated.mp4"
        VideoClip(frame, duration=clip.duration_s).write_videofile(
            str(made), fps=float(np.clip(clip.info.fps or 25, LEAST_HZ, MOST_HZ)), codec="libx264", preset="veryfast",
            audio=False if sound is None else str(sound), audio_codec="copy", threads=2, logger=None,
            ffmpeg_params=["-crf", "23", "-movflags", "+faststart"])
        return Path(shutil.move(made, out))


class _Annotated:
    """Draws the picture of any moment; moments must not go back."""

    def __init__(self, path: str | Path, clip: PreparedClip, answer: dict, explanation: Explanation | None,
                 stack: ExitStack) -> None:
        self._clip, self._answer = clip, answer
        self._source = _Frames(path, stack) if clip.info.width_px else None
        first = self._source.at(0.0) if self._source else None
        width, height = CARD_PX if first is None else (first.shape[1], first.shape[0])
        self._footer = Footer(answer, clip.duration_s, width)
        self._card = _waveform_card(clip, self._footer, width, height) if first is None else None
        self._scale = width / clip.info.width_px if clip.info.width_px else 1.0
        self._map = _Shade(explanation) if explanation is not None and _shown_method(explanation) else None

    def at(self, time_s: float) -> np.ndarray:
        """[H, W, 3] uint8 with even sides."""
        lines = [self._marked_line(time_s)]
        if self._source is None:
            picture = self._card.copy()
            self._footer.draw_cursor(picture, time_s)
        else:
            picture = self._source.at(time_s).copy()
            lines += self._draw_faces(picture, time_s)
        whole = np.concatenate([picture, self._footer.at(time_s, lines)])
        return np.pad(whole, ((0, len(whole) % 2), (0, whole.shape[1] % 2), (0, 0)), constant_values=255)

    def _draw_faces(self, picture: np.ndarray, time_s: float) -> list[str]:
        """In place. What the map is, where one is shown."""
        told = []
        for track in self._clip.tracks:
            row = int(np.abs(track.times_s - time_s).argmin())
            if abs(track.times_s[row] - time_s) > 1 / GRID_HZ:
                continue
            if self._map is not None and self._map.draw(picture, track, row, time_s, self._scale):
                told.append(self._map.words)
            parts = self._marked(time_s, track.track_id)
            box = np.round(track.boxes_px[row] * self._scale).astype(int)
            _draw_box(picture, box, parts, track.track_id + 1 if len(self._clip.tracks) > 1 else None)
        return told

    def _marked(self, time_s: float, track_id: int | None) -> list[str]:
        """Names of the parts that some detector marks then; of one face, those in its picture."""
        found = [s["modality"] for d in self._answer["detectors"].values() for s in d["segments"]
                 if s["start_s"] <= time_s < s["end_s"]
                 and (track_id is None or s["modality"] != "audio" and s.get("track") in (track_id, None))]
        return [name.lower() for part, name in words.MODALITIES.items() if part in found]

    def _marked_line(self, time_s: float) -> str:
        parts = self._marked(time_s, None)
        return words.NOW_MARKED.format(parts=", ".join(parts)) if parts else ""


class _Shade:
    """The map of an explanation over the face that it is about."""

    def __init__(self, told: Explanation) -> None:
        method = _shown_method(told)
        found = told.maps[method]
        wire = found.layout.wires["face"]
        self._told, self._group, (self._shades, _) = told, wire.group, scaled(found)
        pattern = words.NOW_MAP if method in told.faithfulness else words.NOW_MAP_UNTESTED
        self.words = pattern.format(detector=detector_name(told.detector, available()))

    def draw(self, picture: np.ndarray, track: FaceTrack, row: int, time_s: float, scale: float) -> bool:
        """In place, where the map speaks of this face and moment."""
        values = values_at(self._shades, self._group, self._told.start_s, self._told.end_s, np.array([time_s]))[0]
        if track.track_id != self._told.track_id or np.isnan(values).any():
            return False
        to_crop = alignment(track.landmarks_px[row] * scale, SHADE_PX)
        height, width = picture.shape[:2]
        back = cv2.WARP_INVERSE_MAP | cv2.INTER_LINEAR
        inside = cv2.warpAffine(np.ones((SHADE_PX, SHADE_PX), np.uint8), to_crop, (width, height),
                                flags=cv2.WARP_INVERSE_MAP | cv2.INTER_NEAREST).astype(bool)
        shade = cv2.warpAffine(on_face(self._group, values, SHADE_PX).astype(np.float32), to_crop, (width, height),
                               flags=back)
        picture[inside] = BELIEVED.over(picture[inside][None], shade[inside][None])[0]
        return True


class _Frames:
    """The pictures of a file, on the clip's clock."""

    def __init__(self, path: str | Path, stack: ExitStack) -> None:
        self._frames = stack.enter_context(closing(replay.pictures(path)))
        self._held = self._next = next(self._frames, None)
        self._drawn: np.ndarray | None = None

    def at(self, time_s: float) -> np.ndarray:
        """[h, w, 3] uint8: what is shown then. The first frame before it begins, the last one after it has ended."""
        while self._next is not None and self._next[0] <= time_s + 1e-6:
            self._held, self._next, self._drawn = self._next, next(self._frames, None), None
        if self._drawn is None:
            picture = self._held[1]
            width, height = picture.size_px
            self._drawn, _ = picture.reduced(max(round(max(width, height) * min(HIGH_PX / height, 1.0)), 1))
        return self._drawn


def _copy_sound(path: str | Path, out: Path, should_stop: Callable[[], bool]) -> Path | None:
    """The sound as AAC that begins at the clip's time 0, gaps as silence. None where the file has none."""
    with closing(replay.sound(path, SOUND_HZ)) as pieces, av.open(str(out), "w") as made:
        coded, written = None, 0
        for piece in pieces:
            if should_stop():
                raise Cancelled
            layout = "mono" if len(piece) == 1 else "stereo"
            if coded is None:
                coded = made.add_stream("aac", rate=SOUND_HZ, layout=layout)
                coded.bit_rate = SOUND_RATE
            frame = av.AudioFrame.from_ndarray(piece, "fltp", layout)
            frame.sample_rate, frame.pts, frame.time_base = SOUND_HZ, written, Fraction(1, SOUND_HZ)
            written += piece.shape[1]
            made.mux(coded.encode(frame))
        if coded is None:
            return None
        made.mux(coded.encode(None))
    return out


def _shown_method(told: Explanation) -> str | None:
    """The first map of a face that did not fail its test."""
    return next((method for method, found in told.maps.items() if "face" in found.layout.wires
                 and (method not in told.faithfulness or told.faithfulness[method].passed)), None)


def _draw_box(picture: np.ndarray, box: np.ndarray, parts: list[str], number: int | None) -> None:
    """In place. A thin white box; where something is marked, a striped one in orange, with the words."""
    x0, y0, x1, y1 = (int(v) for v in box)
    thin = max(round(picture.shape[0] / 240), 1)
    if parts:
        cv2.rectangle(picture, (x0, y0), (x1, y1), (0, 0, 0), 3 * thin)
        for start, end in (((x0, y0), (x1, y0)), ((x1, y0), (x1, y1)), ((x1, y1), (x0, y1)), ((x0, y1), (x0, y0))):
            _draw_dashes(picture, np.array(start), np.array(end), ORANGE, 3 * thin)
    else:
        cv2.rectangle(picture, (x0, y0), (x1, y1), (0, 0, 0), 2 * thin)
        cv2.rectangle(picture, (x0, y0), (x1, y1), (255, 255, 255), thin)
    told = [words.BOX_FACE.format(number=number)] if number is not None else []
    told += [words.BOX_MARKED.format(parts=", ".join(parts))] if parts else []
    if told:
        label = words_image("; ".join(told), letter_px(picture.shape[1]), "white", "black")
        top = y0 - len(label) - 2 * thin
        x = int(np.clip(x0 - thin, 0, max(picture.shape[1] - label.shape[1], 0)))
        paste(picture, label, x, top if top >= 0 else min(y1 + 2 * thin, picture.shape[0] - len(label)))


def _draw_dashes(picture: np.ndarray, start: np.ndarray, end: np.ndarray, colour: tuple[int, int, int],
                 thick_px: int) -> None:
    length = max(float(np.linalg.norm(end - start)), 1.0)
    dash_px = 5 * thick_px
    for at in np.arange(0, length, 1.6 * dash_px):
        a, b = (start + (end - start) * min(p / length, 1.0) for p in (at, at + dash_px))
        cv2.line(picture, tuple(a.round().astype(int).tolist()), tuple(b.round().astype(int).tolist()), colour,
                 thick_px)


def _waveform_card(clip: PreparedClip, footer: Footer, width_px: int, height_px: int) -> np.ndarray:
    """[height, width, 3]: the loudest sample of each column, over the footer's time axis."""
    card = np.full((height_px, width_px, 3), 255, np.uint8)
    letter = letter_px(width_px)
    paste(card, words_image(words.SOUND_ALONE, letter), 6, 4)
    left, right = footer.x_px(0.0), footer.x_px(clip.duration_s)
    pieces = np.array_split(np.abs(clip.waveform), max(right - left, 1))
    peaks = np.array([piece.max(initial=0.0) for piece in pieces])
    top = 2 * letter
    middle, reach = (height_px + top) // 2, (height_px - top) // 2 - 4
    for x, peak in enumerate(peaks / max(peaks.max(), 1e-6)):
        half = max(round(float(peak) * reach), 1)
        card[middle - half:middle + half, left + x] = 60
    return card
