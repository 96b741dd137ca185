"""Your own clips: folders say real, fake, method and person; a table says everything."""

from __future__ import annotations

from math import inf, isnan

import pytest

from training.datasets.folder import read_folder


def test_without_real_and_fake_all_is_genuine(tree):
    film, sound = read_folder(tree("ann/a.MP4", "speech.wav", "notes.txt", ".hidden.mp4", "ann/a.jpg"))
    assert (film.file, film.identities, film.video_fake, film.audio_fake, film.family) == (
        "ann/a.MP4", ("ann",), 0, 0, "real")
    assert (sound.file, sound.identities, sound.audio_fake, sound.family) == ("speech.wav", (), 0, "real_speech")
    assert isnan(sound.video_fake)


def test_folders_give_method_and_person(tree):
    found = {r.file: r for r in read_folder(tree(
        "real/ann/1.mp4", "real/2.mp4", "fake/3.mp4", "fake/roop/4.mp4", "fake/roop/ann/5.mp4", "fake/vits/ben/6.wav",
        "elsewhere/7.mp4"))}
    assert {f: (r.method, r.identity) for f, r in found.items()} == {
        "real/ann/1.mp4": ("", "ann"), "real/2.mp4": ("", ""), "fake/3.mp4": ("", ""), "fake/roop/4.mp4": ("roop", ""),
        "fake/roop/ann/5.mp4": ("roop", "ann"), "fake/vits/ben/6.wav": ("vits", "ben")}
    fake = found["fake/roop/4.mp4"]
    assert fake.video_fake == 1 and isnan(fake.audio_fake) and fake.extent("video") == "unknown"
    speech = found["fake/vits/ben/6.wav"]
    assert isnan(speech.video_fake) and speech.audio_fake == 1 and speech.family == "fake_speech"


TABLE = """file,split,method,identities,pair,video_fake,audio_fake,spans
a.mp4,train,,ann,p1,0,0,
b.mp4,train,roop,ann; ben,p1,1,,video 1.2 2.0;video 3 inf
c.mp4,test,,,,,1,audio 0 inf
"""


def test_a_table_says_everything(tree, caplog):
    a, b, c = read_folder(tree("a.mp4", "b.mp4", "c.mp4", tables={"records.csv": "\ufeff" + TABLE}))
    assert (a.split, a.pair, a.dataset, a.source, a.video_fake) == ("train", "p1", "folder", "", 0)
    assert b.identities == ("ann", "ben") and b.spans == (("video", 1.2, 2.0), ("video", 3.0, inf))
    assert isnan(b.audio_fake) and b.extent("video") == "partial"
    assert isnan(c.video_fake) and c.identities == () and c.extent("audio") == "whole"


@pytest.mark.parametrize("table, message", [
    ("file,lable\na.mp4,1\n", "unknown columns lable; known are audio_fake"),
    ("split\ntrain\n", "column file is missing"),
    ("file,video_fake\na.mp4,yes\n", "line 2: 'yes' is not 0, 1 or empty"),
    ("file,spans\na.mp4,video 2\n", "line 2: span 'video 2' is not MODALITY"),
    ("file,spans\na.mp4,mouth 1 2\n", "needs video or audio"),
    ("file,spans\na.mp4,video 2 1\n", "0 <= start < end"),
    ("file,split\na.mp4,train,1\n", "more cells than columns"),
])
def test_a_table_that_cannot_be_understood_is_refused_in_words(tree, table, message):
    with pytest.raises(ValueError, match=message):
        read_folder(tree("a.mp4", tables={"records.csv": table}))
