"""Boxes of MP4 files, built by hand after ISO/IEC 14496-12, and broken ones."""

from __future__ import annotations

import random
import struct
import time
from datetime import datetime, timezone

import pytest

from media.boxes import Edit, read_movie
from tests.media.corpus import Corpus

CREATED = datetime(2024, 5, 1, 12, 0, tzinfo=timezone.utc)
TICKS = int((CREATED - datetime(1904, 1, 1, tzinfo=timezone.utc)).total_seconds())


def box(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body) + 8) + name + body


def movie(*tracks: bytes, created: int = TICKS, modified: int = TICKS, wide: bool = False, more: bytes = b"") -> bytes:
    layout = ">B3xQQIQ" if wide else ">B3xIIII"
    header = box(b"mvhd", struct.pack(layout, wide, created, modified, 1000, 4000) + bytes(80))
    return box(b"ftyp", b"isom") + box(b"moov", header + b"".join(tracks) + more)


def track(*edits: tuple[int, int], scale: int = 16_000, length: int = 64_000) -> bytes:
    entries = b"".join(struct.pack(">Iii", played, start, 1 << 16) for played, start in edits)
    edit_list = box(b"edts", box(b"elst", struct.pack(">II", 0, len(edits)) + entries))
    header = box(b"mdhd", struct.pack(">IIIII", 0, 0, 0, scale, length) + bytes(4))
    handler = box(b"hdlr", bytes(8) + b"soun" + bytes(12) + b"SoundHandler\0")
    return box(b"trak", edit_list + box(b"mdia", header + handler))


@pytest.fixture
def write(tmp_path):
    def to_file(data: bytes):
        path = tmp_path / "clip.mp4"
        path.write_bytes(data)
        return path

    return to_file


@pytest.mark.parametrize("wide", [False, True])
def test_times_of_writing(write, wide):
    found = read_movie(write(movie(modified=TICKS + 3600, wide=wide)))
    assert found.created == CREATED and (found.modified - found.created).total_seconds() == 3600


@pytest.mark.parametrize("ticks", [0, 100, 0xFFFFFFFFFFFFFFFF])
def test_a_time_that_was_never_set_is_none(write, ticks):
    assert read_movie(write(movie(created=ticks, wide=True))).created is None


def test_edit_lists_in_seconds(write):
    """The movie counts 1000 ticks a second, the track 16,000: 1.5 s from 2 s on, a pause of 0.5 s."""
    [found] = read_movie(write(movie(track((1500, 32_000), (500, -1))))).tracks
    assert found.kind == "soun" and found.media_s == 4.0
    assert found.edits == (Edit(1.5, 2.0), Edit(0.5, None))


@pytest.mark.parametrize("where", ["uuid", "udta"])
def test_the_program_named_by_xmp(write, where):
    packet = b'<x:xmpmeta><rdf:Description xmp:CreatorTool="Adobe Premiere Pro 2024.0 (Windows)"/></x:xmpmeta>'
    if where == "uuid":
        data = movie() + box(b"uuid", bytes.fromhex("be7acfcb97a942e89c71999491e3afac") + packet)
    else:
        data = movie(more=box(b"udta", box(b"XMP_", packet.replace(b'="', b">").replace(b'"/', b"</xmp:CreatorTool"))))
    assert read_movie(write(data)).creator_tool == "Adobe Premiere Pro 2024.0 (Windows)"


def test_other_files_have_no_movie(write):
    assert read_movie(write(b"RIFF" + bytes(100))) is None
    assert read_movie(write(b"")) is None


def test_an_edit_list_that_claims_too_much_is_read_as_far_as_it_goes(write):
    whole = movie(track((1500, 0)))
    place = whole.index(b"elst") + 8
    lying = whole[:place] + struct.pack(">I", 0x7FFFFFFF) + whole[place + 4:]
    assert read_movie(write(lying)).tracks[0].edits == (Edit(1.5, 0.0),)


def test_broken_and_hostile_boxes_end_soon_and_raise_nothing(write, tmp_path):
    corpus, chance = Corpus(tmp_path / "corpus"), random.Random(7)
    begin = time.perf_counter()
    read_movie(corpus["deep_boxes"])
    read_movie(corpus["endless_box"])
    read_movie(write(box(b"moov", b"") * 50_000))
    whole = movie(track((1500, 32_000), (500, -1)), track((4000, 0)))
    for _ in range(500):
        flipped = bytearray(whole)
        for _ in range(chance.randint(1, 8)):
            flipped[chance.randrange(len(flipped))] = chance.randrange(256)
        read_movie(write(bytes(flipped[:chance.randint(8, len(flipped))])))
    assert time.perf_counter() - begin < 20
