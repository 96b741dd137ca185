"""The load command: its arithmetic by hand, and three people with tiny clips on the real app. Times are not tested."""

from __future__ import annotations

import json
import math

import av
import numpy as np
import pytest

from benchmarks import load
from benchmarks.load import Request, judged, overtaken, sha256_of, slope, write_tagged_copy


def asked(sent: float, answered: float, failure: str = "", after_s: float = 0.5) -> Request:
    """Seen in the queue after_s after it was sent."""
    return Request(0, sent, sent + after_s, answered, failure)


def test_who_is_answered_after_a_later_one_was_overtaken():
    assert overtaken([asked(0, 5), asked(1, 6), asked(2, 7)]) == 0
    assert overtaken([asked(2, 7), asked(0, 8), asked(1, 6)]) == 1  # the first waited for both others
    assert overtaken([asked(0, 9), asked(1, 8), asked(2, 7)]) == 2
    assert overtaken([asked(0, 9, "lost"), asked(1, 8)]) == 0, "no answer, no turn"
    assert overtaken([asked(0, 5.03), asked(1, 5.0)]) == 0, "at the same time"
    assert overtaken([asked(0, 9, after_s=2), asked(1, 8)]) == 0, "nobody knows who was first"


def test_the_slope_leaves_out_the_first_quarter():
    assert slope([900, 0, 2, 4, 6, 8, 10, 12][:1]) == 0
    assert slope([500, 700, 10, 12, 14, 16, 18, 20]) == pytest.approx(2)
    assert slope([5.0] * 20) == pytest.approx(0)


@pytest.fixture
def sounds(make_clip) -> list:
    """1 s and 2 s of two tones."""
    return [make_clip(None, 0.1 * np.sin(np.arange(16_000 * k) * 0.06 * k).astype(np.float32), f"tone{k}.mp4")
            for k in (1, 2)]


def test_a_copy_has_bytes_of_its_own_and_the_same_packets(sounds, tmp_path):
    copies = [tmp_path / f"copy{k}.mp4" for k in range(2)]
    for k, copy in enumerate(copies):
        write_tagged_copy(sounds[0], copy, f"number {k}")
    assert len({sha256_of(p) for p in (sounds[0], *copies)}) == 3
    contents = []
    for path in (sounds[0], *copies):
        with av.open(str(path)) as container:
            contents.append([(p.pts, bytes(p)) for p in container.demux() if p.size])
    assert contents[0] == contents[1] == contents[2]


def test_times_and_memory_of_an_answer_are_not_compared():
    answer = dict.fromkeys(load.JUDGED, 1) | {"timings_s": {"score": 0.3}, "memory": {}, "clip": "a.mp4"}
    assert judged(answer) == dict.fromkeys(load.JUDGED, 1)


@pytest.mark.parametrize(("argv", "says"), [
    (["--clips", "nowhere.mp4"], "not a file"), (["--users", "0"], "at least 1"),
])
def test_bad_usage_exits_with_2(argv, says, capsys):
    with pytest.raises(SystemExit) as stop:
        load.main(argv)
    assert stop.value.code == 2 and says in capsys.readouterr().err


@pytest.mark.timeout(1200)
def test_three_people_get_their_own_answers_in_turn(sounds, capsys):
    clips = [str(path) for path in sounds]
    status = load.main(["--users", "3", "--requests", "6", "--detectors", "joint_av", "--json", "--clips", *clips])
    out = capsys.readouterr().out
    found = json.loads(out.splitlines()[-1])
    assert (found["users"], found["requests"], found["failures"], found["wrong_answers"]) == (3, 6, 0, 0), out
    assert (found["overtaken"], found["left_files"], status) == (0, 0, 0), out
    assert found["told_position"] == found["waited"] >= found["told_estimate"]
    assert 0 < found["p50_s"] <= found["p95_s"] and found["rss_mb"] > 100 and math.isfinite(found["mb_per_request"])
