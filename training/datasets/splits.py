"""Splits that share nobody, folds that share no source, and what splits share that they should not."""

from __future__ import annotations

import logging
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import NamedTuple, TypeVar

import numpy as np

from training.datasets.record import Record

logger = logging.getLogger(__name__)

SHARES = {"train": 0.7, "val": 0.1, "test": 0.2}

Key = tuple[str, str]  # (kind, name): what must not occur in two splits
Clip = TypeVar("Clip")  # has file, source and pair
Unit = TypeVar("Unit")


class Split(NamedTuple):
    records: list[Record]  # with their new `split`
    dropped: list[Record]  # as they came: they belong to two splits at once


def split_identities(records: Sequence[Record], shares: dict[str, float] = SHARES, seed: int = 0,
                     keep_groups: bool = True) -> Split:
    """Splits without a common identity, source or target, and without a common pair.

    People who occur in one clip stay together, and so do those tied to them by further clips. Where that leaves a
    split with less than half of its share, the largest such group is divided person by person instead, and the clips
    that join people of two splits are dropped. `keep_groups=False` divides all groups so from the start: where groups
    mean something else as well, as in FakeAVCeleb (faces are swapped within a race and gender), every split then has
    somebody of each. A person who is only ever a target goes where most clips with them are. Clips without identities
    go by pair, or alone.
    Raises: ValueError for a share that is not positive.
    """
    keys = [_people_of(r) + _pair_of(r) or _file_of(r) for r in records]
    anchors = [_people_of(r)[:1] + _pair_of(r) or _file_of(r) for r in records]
    return _divide(records, keys, anchors, shares, seed, keep_groups=keep_groups)


def split_strict(records: Sequence[Record], shares: dict[str, float] = SHARES, seed: int = 0,
                 homes: dict[str, str] | None = None) -> Split:
    """Splits with no identity, pair, source or generator method in common: the test that tells whether a detector
    learnt the manipulation. Clips that would break this are dropped, which can be many.

    Sources are divided. Then each identity and each method stays in the split with most of its clips, so that a method
    found everywhere tends to the largest split; `homes` (method to split) holds methods out by hand instead.
    Raises: ValueError for a share that is not positive, or a home that is not among the shares.
    """
    homes = homes or {}
    if strange := set(homes.values()) - set(shares):
        raise ValueError(f"no share is given for {', '.join(sorted(strange))}")

    anchors = [(_source_of(r) or _people_of(r)[:1]) + _pair_of(r) or _file_of(r) for r in records]
    keys = [own + _people_of(r) + ([("method", r.method)] if r.method else []) for own, r in zip(anchors, records)]
    fixed = {("method", name): home for name, home in homes.items()}
    return _divide(records, keys, anchors, shares, seed, fixed=fixed)


def source_folds(clips: Sequence[Clip], folds: int = 5, repeats: int = 3,
                 seed: int = 0) -> list[tuple[list[Clip], list[Clip]]]:
    """Repeated source-grouped cross-validation: (training, held out) for every fold of every repeat.

    Neither a source nor a pair is on both sides. Clips without a source go by pair, or alone. Give it the clips of
    train only.
    Raises: ValueError when there are fewer groups than folds.
    """
    keys = [_source_of(clip) + _pair_of(clip) or _file_of(clip) for clip in clips]
    group_of = _join(keys)
    units = [group_of[first] for first, *_ in keys]
    if len(set(units)) < folds:
        raise ValueError(f"{folds} folds need as many sources, and there are {len(set(units))}")
    pairs = []
    for repeat in range(repeats):
        fold_of = _deal(Counter(units), dict.fromkeys(range(folds), 1.0), np.random.default_rng((seed, repeat)))
        for fold in range(folds):
            held = [fold_of[unit] == fold for unit in units]
            pairs.append(([c for c, h in zip(clips, held) if not h], [c for c, h in zip(clips, held) if h]))
    return pairs


def leaks(records: Iterable[Record]) -> dict[str, list[str]]:
    """Identities, sources, methods and pairs that occur in more than one split, each list sorted. Empty names count
    as unknown, not as equal."""
    splits: dict[Key, set[str]] = defaultdict(set)
    for record in records:
        names = {"identities": record.identities, "sources": (record.source,), "methods": (record.method,),
                 "pairs": (record.pair,)}
        for kind, found in names.items():
            for name in filter(None, found):
                splits[kind, name].add(record.split)
    return {kind: sorted(name for (k, name), found in splits.items() if k == kind and len(found) > 1)
            for kind in ("identities", "sources", "methods", "pairs")}


def _people_of(record: Record) -> list[Key]:
    return [("identity", name) for name in record.identities]


def _source_of(clip: Clip) -> list[Key]:
    return [("source", clip.source)] if clip.source else []


def _pair_of(clip: Clip) -> list[Key]:
    return [("pair", clip.pair)] if clip.pair else []


def _file_of(clip: Clip) -> list[Key]:
    """Where nothing else is known, a clip stands for itself."""
    return [("file", clip.file)]


def _join(groups: Iterable[Sequence[Key]]) -> dict[Key, Key]:
    """Union-find: every key to the smallest key that it hangs together with through the groups."""
    parent: dict[Key, Key] = {}

    def find(key: Key) -> Key:
        while parent.setdefault(key, key) != key:
            parent[key] = parent[parent[key]]
            key = parent[key]
        return key

    for first, *rest in groups:
        find(first)
        for other in rest:
            low, high = sorted((find(first), find(other)))
            parent[high] = low
    return {key: find(key) for key in list(parent)}


def _deal(weights: dict[Unit, int], shares: dict, rng: np.random.Generator) -> dict[Unit, str]:
    """Units to splits, roughly the heaviest first, each where most room is left; no split stays empty while there are
    units enough."""
    if min(shares.values()) <= 0:
        raise ValueError(f"shares must be positive: {shares}")
    total = sum(weights.values()) / sum(shares.values())
    room = {split: share * total for split, share in shares.items()}
    names = sorted(weights)
    urgency = dict(zip(names, np.array([weights[n] for n in names]) * rng.uniform(1, 2, len(names))))
    home: dict[Unit, str] = {}
    empty = list(shares)
    for done, unit in enumerate(sorted(names, key=urgency.get, reverse=True)):
        home[unit] = split = max(empty if len(names) - done <= len(empty) else shares, key=room.get)
        room[split] -= weights[unit]
        if split in empty:
            empty.remove(split)
    return home


def _divide(records: Sequence[Record], keys: list[list[Key]], anchors: list[list[Key]], shares: dict[str, float],
            seed: int, keep_groups: bool = True, fixed: dict[Key, str] | None = None) -> Split:
    """Whole components of keys are dealt; one that is too large is replaced by its parts, which hang together through
    anchors only. Every key then has one home, and clips with keys of two homes are dropped."""
    component_of, part_of = _join(keys), _join(anchors)
    parts = [part_of[first] for first, *_ in anchors]  # of each clip
    unit_of = {part: component_of[part] if keep_groups else part for part in parts}
    members: dict[Key, set[Key]] = defaultdict(set)  # the parts of each component that may be divided yet
    for part, unit in unit_of.items():
        members[unit].add(part)
    while True:
        weights = Counter(unit_of[part] for part in parts)
        dealt = _deal(weights, shares, np.random.default_rng(seed))
        filled = Counter(dealt[unit_of[part]] for part in parts)
        short = any(filled[split] < share / sum(shares.values()) * len(parts) / 2 for split, share in shares.items())
        divisible = [component for component in weights if len(members.get(component, ())) > 1]
        if not (short and divisible):
            break
        largest = max(divisible, key=lambda component: (weights[component], component))
        unit_of |= {part: part for part in members.pop(largest)}

    splits = [dealt[unit_of[part]] for part in parts]
    votes: dict[Key, Counter] = defaultdict(Counter)
    for found, split in zip(keys, splits):
        for key in found:
            votes[key][split] += 1
    home = {key: max(shares, key=counts.__getitem__) for key, counts in votes.items()}
    home |= {key: dealt[unit_of[part]] for key, part in part_of.items()} | (fixed or {})
    fits = [all(home[key] == split for key in found) for found, split in zip(keys, splits)]
    if not all(fits):
        logger.warning("%d of %d clips belong to two splits at once and were dropped", fits.count(False), len(fits))
    return Split([replace(r, split=split) for r, split, fit in zip(records, splits, fits) if fit],
                 [r for r, fit in zip(records, fits) if not fit])
