"""A still picture (JPEG, PNG, WebP) becomes a clip of one frame without a duration."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
from PIL import ExifTags, Image, ImageOps

from media.clip import ClipInfo, FaceTrack, Reason
from media.crops import Picture, face_and_lips
from media.faces import MAX_FACES, find_faces
from media.limits import Limits, refusal

FORMATS = ("JPEG", "PNG", "WEBP")
SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")
FIND_LONG_PX = 960  # long side of the picture that is searched; there is time for twice that of a video's frames
_TURNS_DEG = {3: 180, 5: 270, 6: 270, 7: 90, 8: 90}  # EXIF orientation -> anticlockwise, as of videos
_TOLD = {ExifTags.Base.Make: "make", ExifTags.Base.Model: "model", ExifTags.Base.Software: "software",
         ExifTags.Base.DateTime: "date"}
_ANOTHER_COPY = "Try the original file, or another download of it."


@dataclass(frozen=True)
class Still:
    """What was read, with the names that a decoded video has too."""

    info: ClipInfo  # without path, hash and size
    tracks: tuple[FaceTrack, ...]
    faces: dict[int, np.ndarray]  # track_id -> [1, 224, 224, 3] uint8 RGB
    lips: dict[int, np.ndarray]  # track_id -> [1, 96, 96, 3] uint8 RGB
    waveform: None = None
    errors: int = 0
    lost: frozenset[str] = frozenset()
    announced_s: float = 0.0


def is_still(path: str | Path) -> bool:
    """By the first bytes, whatever its name."""
    with open(path, "rb") as file:
        head = file.read(12)
    return head.startswith((b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n")) or (head[:4], head[8:]) == (b"RIFF", b"WEBP")


def read_still(path: str | Path, limits: Limits) -> Still:
    """The faces of a picture, turned as its EXIF tag says; transparent parts are white.

    Raises: MediaError (DECODE_FAILED, TOO_LARGE, UNSUPPORTED_FORMAT).
    """
    image, container, orientation, tags = _read(path, limits)
    picture = Picture.of(av.VideoFrame.from_ndarray(np.asarray(image), format="rgb24"))
    reduced, factor = picture.reduced(FIND_LONG_PX)
    factor *= picture.scale  # display pixels per pixel that was searched
    tracks, faces, lips = [], {}, {}
    for track_id, found in enumerate(find_faces(reduced)[:MAX_FACES]):
        landmarks = np.asarray(found.landmarks, np.float32) * factor  # [5, 2]
        tracks.append(FaceTrack(track_id, np.zeros(1), np.asarray(found.box, np.float32)[None] * factor,
                                landmarks[None], np.array([found.confidence], np.float32)))
        face, lip = face_and_lips(picture, landmarks)
        faces[track_id], lips[track_id] = face[None], lip[None]
    info = ClipInfo("", "", 0, container, 0.0, video_codec=container, width_px=image.width, height_px=image.height,
                    rotation_deg=_TURNS_DEG.get(orientation, 0), frames=1, metadata=tags, still=True)
    return Still(info, tuple(tracks), faces, lips)


def _read(path: str | Path, limits: Limits) -> tuple[Image.Image, str, int, dict[str, str]]:
    """The picture as shown, in RGB; the name of its format; its EXIF orientation; what its EXIF tells of its making."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # the limit of pixels is ours
            opened = Image.open(path, formats=FORMATS)
        with opened:
            limits.check_still_pixels(*opened.size)
            if opened.format != "MPO" and getattr(opened, "is_animated", False):  # MPO: a photo with its preview
                raise refusal(Reason.UNSUPPORTED_FORMAT, "This is an animated picture.",
                              "Save it as a video (MP4), or one moment of it as a picture.")
            container = "jpeg" if opened.format == "MPO" else opened.format.lower()
            exif = opened.getexif()
            orientation = exif.get(ExifTags.Base.Orientation, 1)
            tags = {name: str(exif[tag])[:1000] for tag, name in _TOLD.items() if exif.get(tag)}
            image = _flat(ImageOps.exif_transpose(opened))
    except Image.DecompressionBombError as error:
        raise refusal(Reason.TOO_LARGE, f"The picture has more than the {limits.still_pixels / 1e6:.0f} megapixels of "
                      "the limit.", "Try a smaller copy.") from error
    except (OSError, ValueError, SyntaxError, EOFError, MemoryError, KeyError, TypeError, IndexError,
            ArithmeticError) as error:  # what Pillow's readers raise on broken data
        raise refusal(Reason.DECODE_FAILED, "The picture cannot be read: its data is damaged or cut off.",
                      _ANOTHER_COPY) from error
    return image, container, orientation, tags


def _flat(image: Image.Image) -> Image.Image:
    if not image.has_transparency_data:
        return image.convert("RGB")
    image = image.convert("RGBA")
    white = Image.new("RGBA", image.size, "white")
    return Image.alpha_composite(white, image).convert("RGB")
