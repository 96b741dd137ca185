"""What a map says, in words: in which region and band the evidence is strongest, and when."""

from __future__ import annotations

import numpy as np

from explain.layout import BANDS, name_band
from explain.maps import Map
from explain.share import Share
from explain.sound import mel_edges_hz

SLIGHT = 0.1  # logits: evidence below it, in all cells together, is called none
MOST = 0.5  # a place with more than this part of the evidence has most of it
SPREAD = 0.6  # a span is as short as can be while holding this part of its place's evidence
REGION_WORDS = {"lips": "at the lips", "eyes": "at the eyes", "nose": "at the nose", "skin": "on the skin",
                "border": "at the face's border", "background": "in the background"}
PART_WORDS = {"face": "the face", "lips": "the close-up of the mouth", "audio": "the sound"}


def tell_share(share: Share) -> str:
    """One sentence on the modalities."""
    for_fake = {part: v for part, v in share.values.items() if v > 0}
    if sum(for_fake.values()) < SLIGHT:
        return "No modality by itself raises the score above that of its replacement."
    part = max(for_fake, key=for_fake.get)
    told = f"{PART_WORDS[part].capitalize()} speaks most for manipulation ({share.values[part]:+.2f} in log-odds)"
    others = [f"{PART_WORDS[p]} {v:+.2f}" for p, v in share.values.items() if p != part]
    return told + (f"; {', '.join(others)}." if others else ".")


def tell_table(table: Map, start_s: np.ndarray, share: Share) -> tuple[str, ...]:
    """Sentences on the picture and on the sound of a readable map, the one that matters more first.

    "Most" stands only where one place holds more than half of the evidence for manipulation. What does not raise the
    score as a whole (share) is not taken apart: single cells of it speak for and against.
    """
    worth = {group: sum(share.values[part] for part, wire in table.layout.wires.items() if wire.group == group)
             for group in table.values}
    return tuple(
        _tell_group(table, group, start_s) if worth[group] >= SLIGHT
        else f"The {group} as a whole does not raise the score."
        for group in sorted(worth, key=worth.get, reverse=True)
    )


def _tell_group(table: Map, group: str, start_s: np.ndarray) -> str:
    steps_s = table.layout.groups[group].steps_s  # [steps, 2]
    spans_s = (start_s[:, None, None] + steps_s).reshape(-1, 2)
    values = np.clip(table.values[group], 0, None).reshape(len(spans_s), -1)  # [n * steps, places]
    total = values.sum()
    if total < SLIGHT:
        return f"Nothing in the {group} raises the score by much."
    first, last = _widest_needed(values.sum(axis=0)) if group == "sound" else (values.sum(axis=0).argmax(),) * 2
    column = values[:, first:last + 1].sum(axis=1)
    share = column.sum() / total
    begin, end = _widest_needed(column)
    where = _name_bands(first, last) if group == "sound" else REGION_WORDS[table.layout.groups[group].places[first]]
    amount = "Most of the evidence" if share > MOST else f"The largest part of the evidence ({share:.0%})"
    kind = "in the sound is at" if group == "sound" else "in the picture is"
    return f"{amount} {kind} {where}, {spans_s[begin, 0]:.1f}–{spans_s[end, 1]:.1f} s."


def _widest_needed(values: np.ndarray) -> tuple[int, int]:
    """First and last index of the shortest run that holds SPREAD of the sum; the fullest of equally short ones."""
    sums = np.concatenate([[0.0], np.cumsum(values)])
    for length in range(1, len(values) + 1):
        held = sums[length:] - sums[:-length]
        if held.max() >= SPREAD * sums[-1] - 1e-12:
            return int(held.argmax()), int(held.argmax()) + length - 1
    raise AssertionError("the whole run holds everything")


def _name_bands(first: int, last: int) -> str:
    edges_hz = mel_edges_hz(BANDS)
    return name_band(edges_hz[first], edges_hz[last + 1])
