"""Still pictures: what is read, how they are turned, and what hostile ones get."""

from __future__ import annotations

import struct
import zlib

import av
import numpy as np
import pytest
from PIL import ExifTags, Image, ImageOps

from media import Limits, MediaError, Reason, forget, prepare, still
from media.prepare import _read_still
from media.provenance import read_provenance
from media.quality import judge_quality
from media.still import decode_still, is_still


@pytest.fixture(scope="module")
def frame(talking_clip) -> Image.Image:
    """A picture of the face in the demo clip, 400 x 300."""
    with av.open(str(talking_clip)) as container:
        return next(f.to_image() for k, f in enumerate(container.decode(video=0)) if k == 40)


def png(width: int, height: int, rows: bytes = b"") -> bytes:
    """A PNG file whose header may say more than its data hold."""
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def refusal_of(path) -> MediaError:
    with pytest.raises(MediaError) as refused:
        prepare(path)
    return refused.value


@pytest.mark.parametrize("kind", ["jpeg", "png", "webp"])
def test_a_picture_is_a_clip_of_one_frame(frame, tmp_path, kind):
    path = tmp_path / f"of_any_name.{kind}.mp4"  # known by its bytes
    frame.save(path, format=kind)
    clip = prepare(path)
    info = clip.info
    assert (info.container, info.frames, info.duration_s, info.still) == (kind, 1, 0.0, True)
    assert (info.width_px, info.height_px, info.audio_codec, clip.waveform) == (400, 300, None, None)
    (track,) = clip.tracks
    assert track.times_s.tolist() == [0.0] and 80 < track.face_px < 130
    assert clip.faces[0].shape == (1, 224, 224, 3) and clip.lips[0].shape == (1, 96, 96, 3)
    assert clip.faces[0].std() > 20
    assert [str(r) for r in clip.quality.reasons] == ["STILL_PICTURE"]
    assert clip.quality.blocks("audio") and not clip.quality.blocks("video")
    assert clip.quality.measures.keys() >= {"face_px", "face_light", "face_sharpness"}
    forget(info.sha256)


def test_the_exif_tag_turns_it_and_tells_of_its_making(frame, tmp_path):
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6  # to be shown a quarter turn clockwise
    exif[ExifTags.Base.Model], exif[ExifTags.Base.Software] = "Phone X", "Adobe Photoshop 25"
    upright, lying = tmp_path / "upright.png", tmp_path / "lying.jpg"
    frame.save(upright)
    frame.rotate(90, expand=True).save(lying, exif=exif, quality=95)
    straight, turned = (_read_still(p, Limits()) for p in (upright, lying))
    assert (turned.info.width_px, turned.info.height_px, turned.info.rotation_deg) == (400, 300, 270)
    difference = np.abs(turned.tracks[0].landmarks_px - straight.tracks[0].landmarks_px)
    assert difference.max() < 8  # pixels of 400
    told = read_provenance(lying, turned.info)
    assert dict(told.facts)["Recording device"] == "Phone X" and "EDITOR_NAMED" in [t.code for t in told.traces]


def test_transparent_parts_are_white_and_not_what_they_hide(tmp_path):
    Image.new("RGBA", (64, 64), (255, 0, 0, 0)).save(tmp_path / "hidden.png")
    image, *_ = still._read(tmp_path / "hidden.png", Limits())
    assert image.mode == "RGB" and image.getpixel((3, 3)) == (255, 255, 255)


def test_large_pictures_are_refused_by_their_header(tmp_path):
    path = tmp_path / "bomb.png"
    for width, height in ((10_000, 10_000), (60_000, 60_000), (2**31 - 1, 2**31 - 1)):
        path.write_bytes(png(width, height))
        assert refusal_of(path).finding.reason == Reason.TOO_LARGE


def test_a_text_bomb_in_a_png_is_refused(tmp_path):
    body = b"k\0\0" + zlib.compress(bytes(100_000_000), 9)
    chunk = struct.pack(">I", len(body)) + b"zTXt" + body + struct.pack(">I", zlib.crc32(b"zTXt" + body))
    whole = png(8, 8, bytes(8 * 25))
    (tmp_path / "text.png").write_bytes(whole[:33] + chunk + whole[33:])
    assert refusal_of(tmp_path / "text.png").finding.reason == Reason.DECODE_FAILED


@pytest.mark.parametrize("kind", ["jpeg", "png", "webp"])
def test_cut_and_broken_pictures_are_refused_in_words(frame, tmp_path, kind):
    path = tmp_path / f"x.{kind}"
    frame.save(path, format=kind)
    whole = path.read_bytes()
    path.write_bytes(whole[:len(whole) // 2])
    refused = refusal_of(path)
    assert refused.finding.reason == Reason.DECODE_FAILED and "damaged" in str(refused)
    path.write_bytes(whole[:40])
    assert refusal_of(path).finding.reason == Reason.DECODE_FAILED
    rng = np.random.default_rng(0)
    for _ in range(20):  # flipped bytes end in a picture or a refusal, nothing else
        bad = bytearray(whole)
        for place in rng.integers(12, len(bad), 30):
            bad[place] = rng.integers(256)
        path.write_bytes(bytes(bad))
        try:
            list(decode_still(str(path), Limits()))
        except MediaError as error:
            assert error.finding.reason in (Reason.DECODE_FAILED, Reason.TOO_LARGE, Reason.UNSUPPORTED_FORMAT)


@pytest.mark.parametrize("kind", ["png", "webp"])
def test_animated_pictures_are_refused(frame, tmp_path, kind):
    path = tmp_path / f"moving.{kind}"
    frame.save(path, format=kind, save_all=True, append_images=[frame.transpose(Image.Transpose.FLIP_LEFT_RIGHT)])
    refused = refusal_of(path)
    assert refused.finding.reason == Reason.UNSUPPORTED_FORMAT and "animated" in str(refused)


def test_other_kinds_of_pictures_are_refused_with_the_kinds_that_are_taken(frame, tmp_path):
    frame.save(tmp_path / "x.gif")
    frame.save(tmp_path / "x.bmp")
    for name in ("x.gif", "x.bmp"):
        assert not is_still(tmp_path / name)
        assert "JPEG, PNG, WebP" in str(refusal_of(tmp_path / name))


def test_a_picture_without_a_face_says_so(tmp_path):
    Image.new("RGB", (300, 200), (90, 120, 150)).save(tmp_path / "sky.jpg")
    clip = prepare(tmp_path / "sky.jpg")
    assert [str(r) for r in clip.quality.reasons] == ["STILL_PICTURE", "NO_FACE"] and not clip.tracks
    quality = judge_quality(clip.info, (), {}, None, (), 0)
    assert quality.blocks("video") and quality.blocks("audio")


def test_a_large_photo_is_reduced_before_it_is_copied(tmp_path):
    """Its stripes stay where they were."""
    wide, high = 5200, 4320
    rows = np.zeros((high, wide, 3), np.uint8)
    rows[:, : wide // 4] = (200, 30, 30)
    rows[: high // 4] = (30, 30, 200)
    Image.fromarray(rows).save(tmp_path / "photo.jpg", quality=85)
    del rows
    clip = prepare(tmp_path / "photo.jpg")
    assert (clip.info.width_px, clip.info.height_px) == (wide, high) and clip.info.still
    image, size_px, *_ = still._read(tmp_path / "photo.jpg", Limits())
    assert size_px == (wide, high) and image.size == (wide // 2, high // 2)
    np.testing.assert_allclose(image.getpixel((100, 2000)), (200, 30, 30), atol=4)
    np.testing.assert_allclose(image.getpixel((100, 100)), (30, 30, 200), atol=4)
    np.testing.assert_allclose(image.getpixel((2500, 2100)), (0, 0, 0), atol=4)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_orientation_is_turned_as_pillow_turns_it(tmp_path, orientation):
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    shades = (np.add.outer(np.arange(24) * 3, np.arange(40) * 2)).astype(np.uint8)
    Image.fromarray(shades).save(tmp_path / "turned.png", exif=exif)
    image, size_px, *_ = still._read(tmp_path / "turned.png", Limits())
    with Image.open(tmp_path / "turned.png") as opened:
        expected = ImageOps.exif_transpose(opened).convert("RGB")
    assert image.size == size_px == expected.size
    np.testing.assert_array_equal(np.asarray(image), np.asarray(expected))
