"""Splits share nobody, folds share no source, and what cannot be kept apart is dropped and counted."""

from __future__ import annotations

from collections import Counter
from math import nan

import pytest

from training.datasets.record import Record
from training.datasets.splits import leaks, source_folds, split_identities, split_strict


def clip(file: str, people: str = "", *, method: str = "", **given: str) -> Record:
    """people: one letter each."""
    return Record(file=file, dataset="x", identities=tuple(people), method=method, video_fake=float(bool(method)),
                  audio_fake=nan, **given)


def couples(count: int) -> list[Record]:
    """Pairs of people who wear each other's faces: four clips each."""
    letters = [chr(65 + n) for n in range(2 * count)]
    return [clip(f"{a}{b}{k}", a + (b if k else ""), pair=a, method="swap" if k else "")
            for x, y in zip(letters[::2], letters[1::2]) for a, b in ((x, y), (y, x)) for k in (0, 1)]


def ring(count: int) -> list[Record]:
    """Everybody wears the next one's face: all hang together."""
    letters = [chr(65 + n) for n in range(count)]
    return [clip(f"{a}{k}", a + (b if k else ""), pair=a, method="swap" if k else "")
            for a, b in zip(letters, letters[1:] + letters[:1]) for k in (0, 1)]


def counts(records) -> dict[str, int]:
    return dict(Counter(r.split for r in records))


def test_people_who_occur_together_stay_together():
    kept, dropped = split_identities(couples(10), {"train": 0.8, "val": 0.1, "test": 0.1})
    assert counts(kept) == {"train": 32, "val": 4, "test": 4} and not dropped
    assert leaks(kept) == {"identities": [], "sources": [], "methods": ["swap"], "pairs": []}


def test_a_group_that_swallows_all_is_divided_and_clips_between_are_dropped(caplog):
    kept, dropped = split_identities(ring(12), {"train": 0.5, "test": 0.5}, seed=3)
    home = {r.identity: r.split for r in kept if len(r.identities) == 1}
    assert Counter(home.values()) == {"train": 6, "test": 6}
    assert leaks(kept)["identities"] == [] and leaks(kept)["pairs"] == []
    assert {r.file for r in dropped} == {r.file for r in ring(12) if len({home[p] for p in r.identities}) == 2}
    assert dropped and f"{len(dropped)} of 24 clips" in caplog.text
    assert all(r.split == "" for r in dropped)


def test_only_the_group_that_is_too_large_is_divided():
    small = [clip("wx", "wx"), clip("yz", "yz")]
    kept, dropped = split_identities(ring(12) + small, {"train": 0.7, "test": 0.3})
    assert not {"wx", "yz"} & {r.file for r in dropped} and leaks(kept)["identities"] == []
    assert counts(kept).keys() == {"train", "test"}


def test_groups_can_be_divided_from_the_start():
    records = couples(10)
    _, together = split_identities(records)
    kept, dropped = split_identities(records, keep_groups=False)
    assert not together and dropped and leaks(kept)["identities"] == []


def test_a_mere_target_goes_where_most_clips_with_it_are():
    """T lends its face to A three times and to B once; A and B are in different splits."""
    records = [clip("a", "A"), clip("a1", "AT"), clip("a2", "AT"), clip("a3", "AT"), clip("b", "B"), clip("b1", "BT"),
               clip("b2", "B"), clip("b3", "B")]
    kept, dropped = split_identities(records, {"train": 0.5, "test": 0.5})
    assert [r.file for r in dropped] == ["b1"] and leaks(kept)["identities"] == []


def test_clips_of_nobody_go_by_pair_or_alone():
    pairs = [clip(f"{n}{k}", pair=f"p{n}") for n in range(5) for k in "ab"]
    loose = [clip(f"x{n}") for n in range(10)]
    kept, dropped = split_identities(pairs + loose, {"train": 0.5, "test": 0.5})
    assert not dropped and leaks(kept)["pairs"] == [] and counts(kept) == {"train": 10, "test": 10}


def test_every_split_gets_somebody_while_there_are_enough():
    kept, _ = split_identities([clip(n, n) for n in "abc"], {"train": 0.9, "val": 0.05, "test": 0.05})
    assert counts(kept) == {"train": 1, "val": 1, "test": 1}


def test_a_split_follows_from_the_seed_and_not_from_the_order():
    records = couples(10)
    first, again, other = (
        {r.file: r.split for r in split_identities(given, seed=seed).records}
        for given, seed in ((records, 1), (records[::-1], 1), (records, 2)))
    assert first == again and first != other


def test_shares_must_be_positive():
    with pytest.raises(ValueError, match="positive"):
        split_identities(couples(2), {"train": 1.0, "test": 0.0})


def published(sources: int, clips: int) -> list[Record]:
    """Each source shows its own people and its own method, and one method that all use."""
    return [clip(f"{s}{k}", chr(65 + s), source=f"site{s}", pair=f"{s}.{k // 3}", method=method)
            for s in range(sources) for k, method in enumerate(("", f"own{s}", "common") * clips)]


def test_strict_splits_share_neither_person_source_method_nor_pair():
    kept, dropped = split_strict(published(10, 2), {"train": 0.6, "test": 0.4})
    assert leaks(kept) == {"identities": [], "sources": [], "methods": [], "pairs": []}
    assert counts(kept).keys() == {"train", "test"} and len(kept) + len(dropped) == 60
    # The common method stays with the larger part; what is dropped is its clips in the other.
    assert {r.split for r in kept if r.method == "common"} == {"train"}
    assert {r.method for r in dropped} == {"common"}
    assert {r.source for r in dropped} == {r.source for r in kept if r.split == "test"}


def test_a_method_can_be_held_out_by_hand():
    kept, dropped = split_strict(published(10, 2), {"train": 0.6, "test": 0.4}, homes={"common": "test"})
    assert {r.split for r in kept if r.method == "common"} == {"test"} and leaks(kept)["methods"] == []
    assert {r.method for r in dropped} == {"common"}
    with pytest.raises(ValueError, match="val"):
        split_strict(published(2, 1), {"train": 0.5, "test": 0.5}, homes={"common": "val"})


def test_strict_drops_nothing_where_all_is_apart_already():
    apart = [r for r in published(10, 2) if r.method != "common"]
    kept, dropped = split_strict(apart)
    assert not dropped and len(kept) == 40


def test_folds_hold_out_whole_sources_and_pairs():
    clips = [clip(f"{s}{k}", source=f"site{s}", pair=f"{s}{k}") for s in range(12) for k in range(s + 1)]
    clips += [clip("twin", source="site0", pair="shared"), clip("other twin", source="site5", pair="shared")]
    folds = source_folds(clips, folds=4, repeats=3, seed=5)
    assert len(folds) == 12
    for training, held in folds:
        assert len(training) + len(held) == len(clips)
        assert not {c.source for c in training} & {c.source for c in held}
        assert not {c.pair for c in training} & {c.pair for c in held}
    for repeat in range(3):  # every clip is held out once
        assert Counter(c.file for _, held in folds[4 * repeat:4 * repeat + 4] for c in held) == Counter(
            c.file for c in clips)
    groupings = {frozenset(frozenset(c.source for c in held) for _, held in folds[n:n + 4]) for n in (0, 4, 8)}
    assert len(groupings) == 3  # repeats differ
    assert folds == source_folds(clips, folds=4, repeats=3, seed=5)


def test_folds_take_clips_without_a_source_one_by_one():
    assert len(source_folds([clip(n) for n in "abcd"], folds=4, repeats=1)) == 4


def test_fewer_sources_than_folds_are_refused():
    with pytest.raises(ValueError, match="5 folds need as many sources, and there are 1"):
        source_folds([clip(n, source="one") for n in "abcdefg"])


def test_leaks_name_what_two_splits_share_and_ignore_what_is_unknown():
    records = [clip("1", "AB", source="s", pair="p", method="m", split="train"),
               clip("2", "B", source="s", split="test"), clip("3", "C", pair="p", method="m", split="val"),
               clip("4", split="test")]
    assert leaks(records) == {"identities": ["B"], "sources": ["s"], "methods": ["m"], "pairs": ["p"]}
