"""Forgeries of what belongs together: sound that is shifted, another clip's, or at another pace.

shift_sound and swap_sound move recorded sound as it is, so only "sync" is set. stretch_sound makes new samples (a
phase vocoder's, or overlapped pieces of waveform): where it does, "audio" is set as well.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from media import AUDIO_HZ
from training.forge.footage import JOIN_S, Footage, Forgery, Span, Truth, Unsuitable
from training.forge.sound import STRETCHES, paste, room_tone, voice_of, warp_time

SHIFT_S = (0.2, 1.0)
DRIFT_S = (0.2, 0.6)  # how far a stretched sound runs ahead or stays behind
RATES = (0.8, 1.25)  # slowest and fastest pace of a stretched sound
NOTICED_S = 0.08  # two frames at 25 fps: from here on a drifting sound counts as out of sync
_JOIN = round(JOIN_S * AUDIO_HZ)  # samples


def shift_sound(footage: Footage, rng: np.random.Generator) -> tuple[Footage, Truth]:
    """The sound 0.2 to 1 s too early or too late; nothing wraps round.

    What stays empty at the head or the tail is filled with the clip's own room tone and stated in the step
    ("filler_s", from and to), so that the final chain can cut it from every version of the pair (edges_to_cut): a
    pause there would tell.
    """
    sound, _ = _talking(footage)
    offset_s = float(rng.choice([-1, 1]) * rng.uniform(*SHIFT_S))
    offset = round(offset_s * AUDIO_HZ)  # > 0: the sound is late
    if abs(offset) > len(sound) // 3:
        raise Unsuitable(f"{footage.clip_id} is too short for a shift of {abs(offset_s):.2f} s")
    filler = room_tone(sound, abs(offset) + _JOIN, rng)
    if offset > 0:
        moved = _with_head(np.concatenate([np.zeros(offset, np.float32), sound[:-offset]]), filler)
        filled = (0, len(filler))
    else:
        moved = np.concatenate([sound[-offset:], np.zeros(-offset, np.float32)])
        moved = _with_head(moved[::-1], filler)[::-1].copy()
        filled = (len(sound) - len(filler), len(sound))
    drawn = {"offset_s": offset / AUDIO_HZ, "filler_s": [at / AUDIO_HZ for at in filled]}
    return replace(footage, sound=moved), _unsynced(footage, ("shift", drawn))


def edges_to_cut(footage: Footage, *truths: Truth) -> tuple[float, float]:
    """Seconds at the head and at the tail of a pair's footage that are filler in some version: for draw_chain."""
    head_s = tail_s = 0.0
    for drawn in (drawn for truth in truths for _, drawn in truth.steps if "filler_s" in drawn):
        begin_s, end_s = drawn["filler_s"]
        begin_s, end_s = max(begin_s, drawn.get("start_s", 0.0)), min(end_s, drawn.get("end_s", end_s))  # within()
        if begin_s < end_s and drawn["offset_s"] > 0:
            head_s = max(head_s, end_s)
        elif begin_s < end_s:
            tail_s = max(tail_s, footage.duration_s - begin_s)
    return head_s, tail_s


def swap_sound(donor: Footage, identity: str) -> Forgery:
    """A stretch of another clip's sound, at a random moment of it; identity is the person who speaks there.

    Raises when called: Unsuitable where the donor's sound is shorter than the clip's.
    """

    def forge(footage: Footage, rng: np.random.Generator) -> tuple[Footage, Truth]:
        sound, _ = _talking(footage)
        other, _ = voice_of(donor)
        if donor.clip_id == footage.clip_id or len(other) < len(sound):
            raise Unsuitable(f"the sound of {donor.clip_id} is too short, or the clip's own")
        first = int(rng.integers(len(other) - len(sound) + 1))
        taken = other[first:first + len(sound)].copy()
        drawn = {"donor": donor.clip_id, "from_s": first / AUDIO_HZ}
        return replace(footage, sound=taken), replace(_unsynced(footage, ("swap", drawn)), identities=(identity,))

    return forge


def stretch_sound(footage: Footage, rng: np.random.Generator) -> tuple[Footage, Truth]:
    """The sound runs ahead or falls behind by up to DRIFT_S and comes back: faster then slower, or the reverse.

    So its length stays, nothing has to be filled, and lips fit before and after. The pace stays within RATES.
    audio: the whole stretch, whose samples are made. sync: where the drift is NOTICED_S or more.
    """
    sound, voice = _talking(footage)
    first_s, last_s = voice[0][0], voice[-1][1]
    steepest = min(1 - RATES[0], RATES[1] - 1)
    drift_s = rng.uniform(DRIFT_S[0], max(DRIFT_S[0], min(DRIFT_S[1], 0.5 * steepest * (last_s - first_s))))
    shortest_s = 2 * drift_s / steepest
    if last_s - first_s < shortest_s:
        raise Unsuitable(f"{footage.clip_id} speaks for less than {shortest_s:.1f} s")
    length_s = rng.uniform(shortest_s, last_s - first_s)
    start_s = rng.uniform(first_s, last_s - length_s)
    drift_s *= int(rng.choice([-1, 1]))
    method = str(rng.choice(STRETCHES))

    start, end = (round(at_s * AUDIO_HZ) for at_s in (start_s, start_s + length_s))
    here = np.arange(start, end)
    ahead = drift_s * AUDIO_HZ * (1 - np.abs(2 * (here - start) / (end - start) - 1))  # a triangle
    moved = paste(sound, warp_time(sound, here + ahead, method), start)
    off_s = 0.5 * length_s * NOTICED_S / abs(drift_s)
    spans = (Span(start / AUDIO_HZ, end / AUDIO_HZ, "audio"), Span(start_s + off_s, start_s + length_s - off_s, "sync"))
    drawn = {"method": method, "drift_s": round(drift_s, 4), "start_s": round(start_s, 4),
             "length_s": round(length_s, 4)}
    return replace(footage, sound=moved), Truth(footage.clip_id, spans, steps=(("stretch", drawn),))


def _talking(footage: Footage) -> tuple[np.ndarray, tuple[tuple[float, float], ...]]:
    if footage.frames is None:
        raise Unsuitable(f"{footage.clip_id} has no picture")
    return voice_of(footage)


def _unsynced(footage: Footage, step: tuple[str, dict]) -> Truth:
    return Truth(footage.clip_id, (Span(0.0, footage.duration_s, "sync"),), steps=(step,))


def _with_head(sound: np.ndarray, filler: np.ndarray) -> np.ndarray:
    """The sound with filler over its first samples, the last _JOIN of which give way to it."""
    share = np.clip((np.arange(len(filler)) - len(filler) + _JOIN + 1) / _JOIN, 0, 1).astype(np.float32)
    head = sound[:len(filler)]
    return np.concatenate([filler + share * (head - filler), sound[len(filler):]])
