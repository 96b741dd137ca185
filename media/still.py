"""A still picture (JPEG, PNG, WebP): known by its first bytes, read in a worker (media.worker), shown as one frame."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
from PIL import ExifTags, Image

from media.clip import Reason
from media.crops import WORKING_SHORT_PX, Picture
from media.isolation import Record
from media.limits import Limits, refusal

FORMATS = ("JPEG", "PNG", "WEBP")
SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")
_TURNS_DEG = {3: 180, 5: 270, 6: 270, 7: 90, 8: 90}  # EXIF orientation -> anticlockwise, as of videos
_TOLD = {ExifTags.Base.Make: "make", ExifTags.Base.Model: "model", ExifTags.Base.Software: "software",
         ExifTags.Base.DateTime: "date"}
_STRIP_ROWS = 256
_TRANSPOSED = {2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180, 4: Image.Transpose.FLIP_TOP_BOTTOM,
               5: Image.Transpose.TRANSPOSE, 6: Image.Transpose.ROTATE_270, 7: Image.Transpose.TRANSVERSE,
               8: Image.Transpose.ROTATE_90}  # EXIF orientation -> what it asks for
_ANOTHER_COPY = "Try the original file, or another download of it."


def is_still(path: str | Path) -> bool:
    """By the first bytes, whatever its name."""
    with open(path, "rb") as file:
        head = file.read(12)
    return head.startswith((b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n")) or (head[:4], head[8:]) == (b"RIFF", b"WEBP")


def decode_still(path: str, limits: Limits) -> Iterator[Record]:
    """One "still" record: `info` for ClipInfo and what Picture.received reads. The picture is turned as its EXIF tag
    says; transparent parts are white.

    Raises: MediaError (DECODE_FAILED, TOO_LARGE, UNSUPPORTED_FORMAT).
    """
    image, size_px, container, orientation, tags = _read(path, limits)
    facts, planes = Picture.of(av.VideoFrame.from_ndarray(np.asarray(image), format="rgb24")).sent()
    facts["scale"] *= size_px[0] / image.width
    info = {"container": container, "video_codec": container, "width_px": size_px[0], "height_px": size_px[1],
            "rotation_deg": _TURNS_DEG.get(orientation, 0), "metadata": tags}
    yield Record("still", facts | {"info": info}, planes)


def _read(path: str | Path, limits: Limits) -> tuple[Image.Image, tuple[int, int], str, int, dict[str, str]]:
    """The picture as shown, in RGB, a large one reduced; its full size as shown; the name of its format; its EXIF
    orientation; what its EXIF tells of its making."""
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
            image = _reduced(opened)
            size_px = opened.size
            if orientation in _TRANSPOSED:
                image = image.transpose(_TRANSPOSED[orientation])
                size_px = size_px[::-1] if orientation >= 5 else size_px
    except Image.DecompressionBombError as error:
        raise refusal(Reason.TOO_LARGE, f"The picture has more than the {limits.still_pixels / 1e6:.0f} megapixels of "
                      "the limit.", "Try a smaller copy.") from error
    # What Pillow's readers raise on broken data:
    except (OSError, ValueError, SyntaxError, EOFError, KeyError, TypeError, IndexError, ArithmeticError) as error:
        raise refusal(Reason.DECODE_FAILED, "The picture cannot be read: its data is damaged or cut off.",
                      _ANOTHER_COPY) from error
    return image, size_px, container, orientation, tags


def _reduced(image: Image.Image) -> Image.Image:
    """RGB; pictures much larger than media.crops works on by a whole factor smaller, strip by strip: flat copies of
    fifty megapixels would take half a gigabyte."""
    factor = min(image.size) // (2 * WORKING_SHORT_PX)
    if factor < 2:
        return _flat(image)
    width, height = image.size
    small = Image.new("RGB", (-(-width // factor), -(-height // factor)))
    rows = _STRIP_ROWS * factor
    for y in range(0, height, rows):
        strip = image.crop((0, y, width, min(y + rows, height)))
        small.paste(_flat(strip).reduce(factor), (0, y // factor))
    return small


def _flat(image: Image.Image) -> Image.Image:
    if not image.has_transparency_data:
        return image.convert("RGB")
    image = image.convert("RGBA")
    white = Image.new("RGBA", image.size, "white")
    return Image.alpha_composite(white, image).convert("RGB")
