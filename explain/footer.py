"""The strip below an annotated video: the verdict, and when which part is marked or was not judged, in words, stripes
and a cursor."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import cv2
import numpy as np
from PIL import Image, ImageDraw

from explain import words
from explain.answer import MODALITIES, gaps, judged_windows, marked, verdict_words
from explain.sheet import INK, letters

ORANGE, GREY = (213, 94, 0), (150, 150, 150)
_EDGE_PX = 6


class Footer:
    """What Telltale says of the clip, on every frame, as a frame may be cut out; below it lanes for picture, sound and
    lip-sync over the clip's seconds: what any detector of an answer marked."""

    def __init__(self, answer: dict, duration_s: float, width_px: int) -> None:
        self._duration_s, self._width_px = duration_s, width_px
        self._font_px = letter_px(width_px)
        self._line_px = round(1.45 * self._font_px)
        self._left_px = max(words_image(words.MODALITIES[m], self._font_px).shape[1] for m in MODALITIES) + 2 * _EDGE_PX
        self.right_px = width_px - 2 * _EDGE_PX
        self._title = wrapped(title(answer), self._font_px, width_px - 2 * _EDGE_PX)
        self._lanes = self._drawn(answer)  # [h, width, 3]
        self._lanes_px = (len(self._title) + 2) * self._line_px  # from the top
        self.height_px = self._lanes_px + len(self._lanes)

    def x_px(self, time_s: float) -> int:
        share = min(max(time_s / max(self._duration_s, 1e-6), 0.0), 1.0)
        return round(self._left_px + share * (self.right_px - self._left_px))

    def at(self, time_s: float, lines: Sequence[str]) -> np.ndarray:
        """[height, width, 3] uint8 at a moment, with up to two lines of what is so then."""
        strip = np.full((self.height_px, self._width_px, 3), 255, np.uint8)
        strip[self._lanes_px:] = self._lanes
        clock = words.NOW.format(time=f"{time_s:.1f}", duration=f"{self._duration_s:.1f}")
        for row, line in enumerate((*self._title, " ".join(filter(None, [clock, *lines[:1]])), *lines[1:2])):
            paste(strip, words_image(line, self._font_px), _EDGE_PX, row * self._line_px)
        self.draw_cursor(strip[self._lanes_px:-self._line_px], time_s)
        return strip

    def draw_cursor(self, picture: np.ndarray, time_s: float) -> None:
        """A black line with white edges, over the whole height of a view that lies above or in the strip."""
        x = self.x_px(time_s)
        picture[:, max(x - 2, 0):x + 3] = 255
        picture[:, max(x - 1, 0):x + 2] = 0

    def _drawn(self, answer: dict) -> np.ndarray:
        high_px = self._line_px
        lanes = np.full((high_px * (len(MODALITIES) + 1), self._width_px, 3), 255, np.uint8)
        for row, modality in enumerate(MODALITIES):
            top = row * high_px
            paste(lanes, words_image(words.MODALITIES[modality], self._font_px), _EDGE_PX, top)
            lane = lanes[top + 2:top + high_px - 2]
            for start, end in unjudged(answer, modality, self._duration_s):
                stripe(lane[:, self.x_px(start):self.x_px(end)], GREY)
            for start, end in marked_spans(answer, modality):
                stripe(lane[:, self.x_px(start):self.x_px(end)], ORANGE)
            cv2.rectangle(lanes, (self._left_px - 1, top + 1), (self.right_px, top + high_px - 2), (0, 0, 0), 1)
        paste(lanes, words_image(words.FOOTER_LEGEND, self._font_px), _EDGE_PX, len(MODALITIES) * high_px)
        return lanes


def title(answer: dict) -> str:
    """Whose answer it is, the answer, and what weights it is by."""
    told = words.VIDEO_TITLE.format(verdict=verdict_words(answer)[0])
    return f"{told} {words.VIDEO_PROVISIONAL}" if answer.get("provisional") else told


def wrapped(text: str, size_px: int, width_px: int) -> list[str]:
    """Lines that are no wider, as long as their words are not."""
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if lines[-1] and letters(size_px).getlength(longer) > width_px:
            lines.append(word)
        else:
            lines[-1] = longer
    return lines


def marked_spans(answer: dict, modality: str) -> list[tuple[float, float]]:
    """What any detector marks in one part."""
    return [(s["start_s"], s["end_s"]) for d in answer["detectors"].values() for s in marked(d, modality, None)]


def unjudged(answer: dict, modality: str, duration_s: float) -> list[tuple[float, float]]:
    """What no detector judged of one part."""
    return gaps([(start, end) for d in answer["detectors"].values()
                 for start, end, _ in judged_windows(d, modality, None)], duration_s)


def letter_px(width_px: int) -> int:
    return int(np.clip(width_px / 40, 11, 22))


def stripe(area: np.ndarray, colour: tuple[int, int, int]) -> None:
    """Diagonal stripes on white; a thin area still has one."""
    y, x = np.indices(area.shape[:2])
    area[:] = np.where(((x + y) % 8 < 4)[..., None], np.array(colour, np.uint8), np.uint8(255))
    area[:, :2] = area[:, -2:] = colour


@lru_cache(maxsize=512)
def words_image(text: str, size_px: int, ink: str = INK, ground: str = "white") -> np.ndarray:
    """A line of text as a picture [h, w, 3] uint8."""
    font = letters(size_px)
    left, _, right, _ = font.getbbox(text)
    image = Image.new("RGB", (max(int(right - left) + 4, 1), round(1.35 * size_px)), ground)
    ImageDraw.Draw(image).text((2 - left, round(0.08 * size_px)), text, fill=ink, font=font)
    return np.array(image)


def paste(onto: np.ndarray, picture: np.ndarray, x_px: int, y_px: int) -> None:
    """In place, as far as it fits."""
    target = onto[max(y_px, 0):y_px + picture.shape[0], max(x_px, 0):x_px + picture.shape[1]]
    if target.size:
        target[:] = picture[max(-y_px, 0):, max(-x_px, 0):][:target.shape[0], :target.shape[1]]
