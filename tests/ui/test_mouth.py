"""The mouth loop: which pictures it takes, and what it says where there is no face."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image, ImageSequence

from media import ClipInfo, FaceTrack, PreparedClip, Quality
from tests.strict_html import Page
from ui import mouth, texts
from ui.mouth import lips_loop, loop_html, offered, waiting_html


def track(track_id: int, first: int, count: int) -> FaceTrack:
    times_s = (first + np.arange(count)) / 25
    return FaceTrack(track_id, times_s, np.zeros((count, 4), np.float32), np.zeros((count, 5, 2), np.float32),
                     np.ones(count, np.float32))


def shade(k: int) -> int:
    """Far from the one before: pictures that hardly differ would become one that is shown for longer."""
    return 37 * k % 256


@pytest.fixture
def clip() -> PreparedClip:
    """4 s. Face 0 is seen in the first 3 s, in a grey of its own in each picture; face 1 in the last second, white."""
    shades = np.array([shade(k) for k in range(75)], np.uint8)[:, None, None, None]
    lips = {0: np.broadcast_to(shades, (75, 96, 96, 3)).copy(), 1: np.full((25, 96, 96, 3), 255, np.uint8)}
    return PreparedClip(ClipInfo("c", "", 0, "", 4.0), (track(0, 0, 75), track(1, 75, 25)), {}, lips, None, (),
                        Quality((), {}))


def greys(webp: bytes) -> list[int]:
    return [round(np.asarray(f.convert("L")).mean()) for f in ImageSequence.Iterator(Image.open(io.BytesIO(webp)))]


def test_two_seconds_from_the_moment_on_at_the_clip_s_speed(clip):
    loop = lips_loop(clip, 0.4)
    assert greys(loop.moving) == pytest.approx([shade(k) for k in range(10, 60)], abs=3)
    assert greys(loop.still) == pytest.approx([shade(10)], abs=3)
    assert (loop.start_s, loop.end_s) == pytest.approx((0.4, 2.4))
    picture = Image.open(io.BytesIO(loop.moving))
    assert picture.info["loop"] == 0 and picture.size == (96, 96)
    assert sum(f.load() and f.info["duration"] for f in ImageSequence.Iterator(picture)) == 2000


def test_near_the_end_the_last_two_seconds_of_who_is_seen_most(clip):
    """From 2 s on, both faces are seen for one second: the first has 25 pictures, as many as the second."""
    loop = lips_loop(clip, 3.9)
    assert greys(loop.moving) == pytest.approx([shade(k) for k in range(50, 75)], abs=3)
    assert (loop.start_s, loop.end_s) == pytest.approx((2.0, 3.0))
    assert greys(lips_loop(clip, 3.9, 1).moving)[0] == 255


def test_no_face_is_a_sentence(clip, result, error):
    assert lips_loop(clip, 0.0, track_id=1) is None
    assert texts.MOUTH_NONE in Page(loop_html(None)).words
    assert waiting_html(error) == "" and texts.MOUTH_WAITING in Page(waiting_html(result)).words
    result["media"]["faces"] = []
    assert offered(result, "/x/a.mp4") == ["/x/a.mp4", ""] and offered(None) == [None, ""]


def test_the_loop_is_told_in_words_and_can_be_paused(clip):
    parsed = Page(loop_html(lips_loop(clip, 1.0)))
    pictures = {a["class"]: a for t, a in parsed.tags if t == "img"}
    assert pictures["tt-moving"]["alt"] == "The mouth from 1.0 to 3.0 s, large, over and over."
    assert pictures["tt-still"]["alt"] == "The mouth at 1.0 s, large."
    assert "1.0 to 3.0 s, as recorded" in parsed.words and texts.MOUTH_BUTTON in parsed.words


@pytest.mark.parametrize("asked", [{}, {"time": None}, {"time": "0"}, {"time": float("nan")}, {"time": 1.0}])
def test_a_moment_from_anybody_does_no_harm(asked, monkeypatch):
    """What comes from the page may be anything; without a clip there is nothing to read."""
    monkeypatch.setattr(mouth, "prepare", lambda path: pytest.fail("nothing may be read"))
    event = type("Event", (), asked)()
    assert texts.MOUTH_NONE in mouth._answer_moment("/no/such/clip.mp4", event)
    assert texts.MOUTH_NONE in mouth._answer_moment(None, event)
