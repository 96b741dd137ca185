"""In-the-Wild: bona-fide and spoof, speakers with spaces in their names, no splits."""

from __future__ import annotations

from math import isnan

from training.datasets.in_the_wild import read_in_the_wild

META = "file,speaker,label\n0.wav,Alec Guinness,spoof\n1.wav,Alec Guinness,bona-fide\n2.wav,Barack Obama,bona-fide\n"


def test_labels_and_speakers(tree, caplog):
    fake, real = read_in_the_wild(tree("0.wav", "1.wav", tables={"meta.csv": META}))
    assert (fake.audio_fake, fake.family, fake.extent("audio")) == (1, "fake_speech", "whole")
    assert (real.audio_fake, real.family, real.extent("audio")) == (0, "real_speech", "none")
    assert fake.identities == real.identities == ("Alec Guinness",) and fake.split == ""
    assert isnan(fake.video_fake) and "1 of 3" in caplog.text
