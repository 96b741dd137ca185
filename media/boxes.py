"""What the boxes of an MP4 or MOV file say and a decoder does not tell: times of writing, edit lists, XMP.

Layouts: ISO/IEC 14496-12, 8.2.2 (mvhd), 8.4.2 (mdhd), 8.6.6 (elst). Only a few named boxes are entered, so that no
nesting or count that a hostile file claims costs more than a moment.
"""

from __future__ import annotations

import os
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import BinaryIO

_EPOCH = datetime(1904, 1, 1, tzinfo=timezone.utc)
_EARLIEST = datetime(1990, 1, 1, tzinfo=timezone.utc)  # an earlier time was never set, or counts from another epoch
_ENTERED = {b"moov", b"trak", b"edts", b"mdia", b"udta"}
_MOST_BOXES = 4000
_MOST_BYTES = 256 * 1024  # of one box that are read
_XMP_UUID = bytes.fromhex("be7acfcb97a942e89c71999491e3afac")
_CREATOR_TOOL = re.compile(rb"CreatorTool[>=\"'\s]+([^<\"']{1,200})")


@dataclass(frozen=True)
class Edit:
    """One line of an edit list: a span of the recorded material that is played, or a pause."""

    length_s: float
    media_start_s: float | None  # None: nothing is shown


@dataclass(frozen=True)
class Track:
    kind: str  # "vide", "soun", ...
    media_s: float  # length of the recorded material
    edits: tuple[Edit, ...]


@dataclass(frozen=True)
class Movie:
    created: datetime | None
    modified: datetime | None
    tracks: tuple[Track, ...]
    creator_tool: str | None  # of the XMP packet


def read_movie(path: str | Path) -> Movie | None:
    """None for a file without a moov box. Broken boxes are left out.

    Raises: OSError.
    """
    created = modified = creator_tool = None
    scale = 1
    tracks: list[dict] = []
    found = False
    with open(path, "rb") as file:
        for name, body in _boxes(file):
            found |= name == "moov"
            try:
                if name == "moov/mvhd":
                    created, modified, scale, _ = _times(body)
                elif name == "moov/trak":
                    tracks.append({"kind": "", "scale": 1, "length": 0, "edits": ()})
                elif name == "moov/trak/mdia/mdhd":
                    *_, tracks[-1]["scale"], tracks[-1]["length"] = _times(body)
                elif name == "moov/trak/mdia/hdlr":
                    tracks[-1]["kind"] = body[8:12].decode("ascii", "replace")
                elif name == "moov/trak/edts/elst":
                    tracks[-1]["edits"] = _edits(body)
                elif name == "moov/udta/XMP_" or (name in ("uuid", "moov/uuid") and body.startswith(_XMP_UUID)):
                    tool = _CREATOR_TOOL.search(body)
                    creator_tool = tool[1].decode("utf-8", "replace") if tool else creator_tool
            except (struct.error, IndexError):
                continue
    if not found:
        return None
    return Movie(created, modified, tuple(_track(t, scale or 1) for t in tracks), creator_tool)


def _track(found: dict, movie_scale: int) -> Track:
    media_scale = found["scale"] or 1
    edits = tuple(Edit(length / movie_scale, None if start < 0 else start / media_scale)
                  for length, start in found["edits"])
    return Track(found["kind"], found["length"] / media_scale, edits)


def _boxes(file: BinaryIO) -> Iterator[tuple[str, bytes]]:
    """(path of names, first bytes of the body) of the boxes at the top and inside those that are entered."""
    spans = [(0, os.fstat(file.fileno()).st_size, "")]
    for _ in range(_MOST_BOXES):
        while spans and spans[-1][1] - spans[-1][0] < 8:
            spans.pop()
        if not spans:
            return
        start, end, parent = spans.pop()
        file.seek(start)
        size, name = struct.unpack(">I4s", file.read(8))
        head = 8
        if size == 1:
            long_size = file.read(8)
            if len(long_size) < 8:
                continue
            size, head = struct.unpack(">Q", long_size)[0], 16
        elif size == 0:  # to the end
            size = end - start
        if size < head:
            continue  # broken: what follows in this span cannot be found
        spans.append((start + size, end, parent))
        inner_end = min(start + size, end)
        path = parent + name.decode("latin-1")
        entered = name in _ENTERED and path.count("/") < 3
        wanted = 0 if entered or name == b"mdat" else min(inner_end - start - head, _MOST_BYTES)
        yield path, file.read(max(wanted, 0))
        if entered:
            spans.append((start + head, inner_end, path + "/"))


def _times(body: bytes) -> tuple[datetime | None, datetime | None, int, int]:
    """Created, modified, ticks per second, length in ticks of a mvhd or mdhd body."""
    layout = ">QQIQ" if body[0] == 1 else ">IIII"
    created, modified, scale, length = struct.unpack_from(layout, body, 4)
    return _when(created), _when(modified), scale, length


def _when(seconds: int) -> datetime | None:
    try:
        time = _EPOCH + timedelta(seconds=seconds)
    except OverflowError:
        return None
    return time if time >= _EARLIEST else None


def _edits(body: bytes) -> tuple[tuple[int, int], ...]:
    """(length in the movie's ticks, start in the track's ticks) of each entry; a start of -1 is a pause."""
    layout = struct.Struct(">Qqi" if body[0] == 1 else ">Iii")
    count = struct.unpack_from(">I", body, 4)[0]
    count = min(count, (len(body) - 8) // layout.size)
    return tuple(layout.unpack_from(body, 8 + i * layout.size)[:2] for i in range(count))
