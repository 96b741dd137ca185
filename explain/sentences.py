"""What a map says, in words: in which region and band the evidence is strongest, and when."""

from __future__ import annotations

import numpy as np
from scipy.special import expit, logit

from explain.layout import name_band
from explain.maps import Map
from explain.regions import REGIONS, face_regions, lip_crop_regions
from explain.share import Share
from explain.sound import mel_edges_hz

SLIGHT = 0.1  # logits: evidence below it, in all cells together, is called none
MOST = 0.5  # a place with more than this part of the evidence has most of it
SPREAD = 0.6  # a span is as short as can be while holding this part of its place's evidence
REGION_WORDS = {"lips": "at the lips", "eyes": "at the eyes", "nose": "at the nose", "skin": "on the skin",
                "border": "at the face's border", "background": "in the background"}
GROUP_WORDS = {"picture": "picture", "face": "face", "lips": "close-up of the mouth", "sound": "sound",
               "audio": "sound"}
PART_WORDS = {"face": "the face", "lips": "the close-up of the mouth", "audio": "the sound"}


def tell_share(share: Share, score: float, suspicious: float) -> str:
    """One sentence on the modalities. score: of what is explained; below `suspicious` it is no sign, and no part
    speaks for manipulation: it raises a low score, beside what stood in for it."""
    for_fake = {part: v for part, v in share.values.items() if v > 0}
    if sum(for_fake.values()) < SLIGHT:
        return "No part by itself raises the score above that of its replacement."
    part = max(for_fake, key=for_fake.get)
    without = expit(logit(score) - share.values[part])
    figures = "; ".join([f"{share.values[part]:+.2f} in log-odds",
                         *(f"{PART_WORDS[p]} {v:+.2f}" for p, v in share.values.items() if p != part)])
    rise = f"from {without:.2f} to {score:.2f} ({figures})"
    name = PART_WORDS[part].capitalize()
    if score < suspicious:
        return f"{name} raises the score most, {rise}, which by itself is still no sign of manipulation."
    return f"{name} speaks most for manipulation: it raises the score {rise}."


def tell_table(table: Map, start_s: np.ndarray, share: Share) -> tuple[str, ...]:
    """Sentences on the picture and on the sound of a readable map, the one that matters more first."""
    return tuple(tell_group(table, group, start_s, share)
                 for group in sorted(table.values, key=lambda group: _worth(table, group, share), reverse=True))


def tell_group(found: Map, group: str, start_s: np.ndarray, share: Share | None) -> str:
    """One sentence on a group of any map: the region or band with the strongest evidence for manipulation, and when.

    "Most" stands only where one place holds more than half of the evidence. What does not raise the score as a whole
    (share) is not taken apart: single cells of it speak for and against.
    """
    if share is not None and _worth(found, group, share) < SLIGHT:
        return f"The {GROUP_WORDS[group]} as a whole does not raise the score."
    values, names = _by_place(found, group)
    spans_s = (start_s[:, None, None] + found.layout.groups[group].steps_s).reshape(-1, 2)  # [n * steps, 2]
    values = np.clip(values, 0, None).reshape(len(spans_s), -1)  # [n * steps, places]
    total = values.sum()
    if total <= 0 or found.in_logits and total < SLIGHT:
        return f"Nothing in the {GROUP_WORDS[group]} raises the score by much."
    is_sound = group in ("sound", "audio")
    first, last = _widest_needed(values.sum(axis=0)) if is_sound else (values.sum(axis=0).argmax(),) * 2
    column = values[:, first:last + 1].sum(axis=1)
    share_of_all = column.sum() / total
    begin, end = _widest_needed(column)
    where = f"at {_name_bands(first, last, len(names))}" if is_sound else REGION_WORDS[names[first]]
    amount = "Most of the evidence" if share_of_all > MOST else f"The largest part of the evidence ({share_of_all:.0%})"
    start, stop = spans_s[begin, 0], spans_s[end, 1]
    digits = 1 if stop - start > 0.15 else 2
    return f"{amount} in the {GROUP_WORDS[group]} is {where}, {start:.{digits}f}–{stop:.{digits}f} s."


def _worth(found: Map, group: str, share: Share) -> float:
    """What the group's modalities add to the logit."""
    return sum(share.values[part] for part, wire in found.layout.wires.items() if wire.group == group)


def _by_place(found: Map, group: str) -> tuple[np.ndarray, tuple[str, ...]]:
    """[n, steps, named places] and their names: blocks of a picture are summed up by region."""
    values, places = found.values[group], found.layout.groups[group].places
    if group not in ("face", "lips"):
        return values, places
    regions = (face_regions if group == "face" else lip_crop_regions)(round(len(places) ** 0.5)).ravel()
    sums = [np.clip(values[..., regions == r], 0, None).sum(axis=-1) for r in range(len(REGIONS))]
    return np.stack(sums, axis=-1), REGIONS


def _widest_needed(values: np.ndarray) -> tuple[int, int]:
    """First and last index of the shortest run that holds SPREAD of the sum; the fullest of equally short ones."""
    sums = np.concatenate([[0.0], np.cumsum(values)])
    for length in range(1, len(values) + 1):
        held = sums[length:] - sums[:-length]
        if held.max() >= SPREAD * sums[-1] - 1e-12:
            return int(held.argmax()), int(held.argmax()) + length - 1
    raise AssertionError("the whole run holds everything")


def _name_bands(first: int, last: int, bands: int) -> str:
    edges_hz = mel_edges_hz(bands)
    return name_band(edges_hz[first], edges_hz[last + 1])
