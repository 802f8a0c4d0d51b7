"""Images of any mode and size, against pixels worked out by hand."""

import io
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image
from refused import message

from fewstep.train.data.decode import BadImage, decode

RNG = np.random.default_rng(0)
GREY = RNG.integers(0, 256, (6, 6), dtype=np.uint8)
RGB = RNG.integers(0, 256, (6, 6, 3), dtype=np.uint8)
ALPHA = RNG.integers(0, 256, (6, 6, 1), dtype=np.uint8)
DEEP = RNG.integers(0, 65536, (6, 6), dtype=np.uint16)


def file(image, kind="PNG", **options):
    buffer = io.BytesIO()
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(buffer, kind, **options)
    return io.BytesIO(buffer.getvalue())


def over_white(colour, alpha):
    return 255 + (colour.astype(float) - 255) * alpha / 255


def palette(transparent=None):
    """An image of palette indices 0 to 35, with its colours."""
    colours = RNG.integers(0, 256, (36, 3), dtype=np.uint8)
    image = Image.fromarray(np.arange(36, dtype=np.uint8).reshape(6, 6))
    image.putpalette(colours.tobytes())
    seen = colours.reshape(6, 6, 3).copy()
    if transparent is not None:
        seen.reshape(36, 3)[transparent] = 255
    options = {} if transparent is None else {"transparency": transparent}
    return file(image, **options), seen


def cases():
    yield "grey", file(GREY), GREY[..., None], 0
    yield "colour", file(RGB), RGB, 0
    yield "palette", *palette(), 0
    yield "palette with a transparent colour", *palette(7), 0
    yield "grey with a transparent level", file(GREY, transparency=int(GREY[2, 3])), np.where(
        GREY[2, 3] == GREY, 255, GREY)[..., None], 0  # fmt: skip
    yield "colour and alpha", file(np.concatenate([RGB, ALPHA], -1)), over_white(RGB, ALPHA), 1
    yield "grey and alpha", file(Image.merge("LA", [Image.fromarray(GREY), Image.fromarray(ALPHA[..., 0])])), (
        over_white(GREY[..., None], ALPHA)), 1  # fmt: skip
    yield "16-bit grey", file(DEEP), DEEP[..., None] / 257, 0.5
    yield "16-bit grey with a transparent level", file(DEEP, transparency=int(DEEP[2, 3])), np.where(
        DEEP[2, 3] == DEEP, 255, DEEP / 257)[..., None], 0.5  # fmt: skip
    yield "16-bit grey in TIFF", file(DEEP, "TIFF"), DEEP[..., None] / 257, 0.5
    yield "16-bit big-endian", io.BytesIO(b"P5 6 6 65535\n" + DEEP.astype(">u2").tobytes()), DEEP[..., None] / 257, 0.5
    yield "32-bit integers", file(DEEP.astype(np.int32), "TIFF"), DEEP[..., None] / 257, 0.5
    yield "1 bit", file(GREY > 99), np.where(GREY > 99, 255, 0)[..., None], 0
    ink = RNG.integers(0, 256, (6, 6, 4), dtype=np.uint8)
    light = (255.0 - ink[..., :3]) * (255.0 - ink[..., 3:]) / 255
    yield "CMYK", file(Image.frombytes("CMYK", (6, 6), ink.tobytes()), "TIFF"), light, 1


CASES = {name: case for name, *case in cases()}


@pytest.mark.parametrize("name", CASES)
def test_every_mode_in_colour_and_in_grey(name):
    image, expected, slack = CASES[name]
    colour = decode(io.BytesIO(image.getvalue()), 6, 3)
    assert (colour.dtype, colour.shape) == (np.uint8, (6, 6, 3))
    assert np.abs(colour - np.broadcast_to(expected, (6, 6, 3))).max() <= slack
    grey = decode(image, 6, 1)
    assert (grey.dtype, grey.shape) == (np.uint8, (6, 6, 1))
    luma = np.broadcast_to(expected, (6, 6, 3)) @ [0.299, 0.587, 0.114]
    assert np.abs(grey[..., 0] - luma).max() <= slack + 0.51


@pytest.mark.parametrize(("orientation", "upright"), [(3, np.rot90(RGB, 2)), (6, np.rot90(RGB, -1)), (2, RGB[:, ::-1])])
def test_photographs_stand_upright(orientation, upright):
    exif = Image.Exif()
    exif[0x0112] = orientation
    np.testing.assert_array_equal(decode(file(RGB, exif=exif), 6, 3), upright)


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
@pytest.mark.parametrize("exif", [b"Exif\0\0", b"Exif\0\0II*\0\x08\0\0\0\xff\xff\x12", b"Exif\0\0MN\0*"])
def test_a_malformed_exif_block_is_no_reason_to_refuse_an_image(exif):
    assert decode(file(RGB, exif=exif), 6, 3).tolist() == RGB.tolist()


def test_the_middle_of_a_wide_or_high_image_is_kept():
    wide = RNG.integers(0, 256, (6, 12), dtype=np.uint8)
    np.testing.assert_array_equal(decode(file(wide), 6, 1)[..., 0], wide[:, 3:9])
    np.testing.assert_array_equal(decode(file(wide.T), 6, 1)[..., 0], wide.T[3:9])


def test_a_ramp_stays_a_ramp_at_half_the_size():
    ramp = np.tile(np.arange(0, 240, 3, dtype=np.uint8), (40, 1))  # 40 x 80: the middle 40 columns, two to one
    small = decode(file(ramp), 20, 1)[..., 0]
    expected = ramp[0, 20:60].reshape(20, 2).mean(1)
    assert np.abs(small[:, 2:-2] - expected[2:-2]).max() <= 1


def test_small_images_are_enlarged():
    assert (decode(file(np.full((1, 3), 77, np.uint8)), 8, 3) == 77).all()


NOISE = RNG.integers(0, 256, (64, 64, 3), dtype=np.uint8)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "BMP", "TIFF"])
def test_half_of_a_file(kind):
    whole = file(NOISE, kind).getvalue()
    assert message(lambda: decode(io.BytesIO(whole[: len(whole) // 2]), 8, 3), BadImage) == "truncated"


def test_files_that_are_no_images(tmp_path):
    (tmp_path / "notes.txt").write_text("not an image")
    damaged = bytearray(file(NOISE).getvalue())
    damaged[len(damaged) // 2] ^= 255
    for bad, reason in (
        (tmp_path / "notes.txt", "not an image"),
        (io.BytesIO(b""), "not an image"),
        (file(NOISE, "EPS"), "not an image"),
        (io.BytesIO(bytes(damaged)), "damaged"),
        (tmp_path / "none.png", "no such file or directory"),
        (file(np.full((4, 4), 1 << 20, np.int32), "TIFF"), "more than 16 bits"),
        (file(np.ones((4, 4), np.float32), "TIFF"), "floating point, with an unknown white level"),
    ):
        assert message(lambda bad=bad: decode(bad, 8, 3), BadImage) == reason


LOUD = """
import sys
from fewstep.train.data.decode import decode
from PIL import Image
Image.MAX_IMAGE_PIXELS = 30
for name in sys.argv[1:]:
    decode(name, 6, 3)
"""


def test_what_pillow_warns_of_is_read_without_a_word(tmp_path):
    (tmp_path / "a.png").write_bytes(file(RGB, exif=b"Exif\0\0II*\0\x08\0\0\0\xff\xff\x12").getvalue())
    words = [sys.executable, "-W", "always", "-c", LOUD, tmp_path / "a.png"]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    assert done.stderr == ""
