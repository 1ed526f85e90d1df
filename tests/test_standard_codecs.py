"""The standard codecs: files that keep to their budget and decode from nothing but their bytes."""

from __future__ import annotations

import itertools
import struct
from contextlib import suppress
from io import BytesIO

import imagecodecs
import numpy as np
import pytest
from PIL import Image, ImageDraw

from sparsecomp import metrics
from sparsecomp.codecs import BudgetError, decode, evaluate, get_codec, headers
from sparsecomp.codecs.base import REGISTRY
from sparsecomp.codecs.standard import Jpeg, JpegXL, Standard, WebP
from sparsecomp.coding.container import BitstreamError, Container, pack, unpack
from sparsecomp.data import bundled

USED = {"jpeg": 0.94, "jpeg2000": 0.97, "webp": 0.9, "avif": 0.9, "jpegxl": 0.97}  # of a budget of 1 bpp
WORST = {
    "jpeg": {"quality": 1}, "jpeg2000": {"rate": 0.001}, "webp": {"quality": 0}, "avif": {"quality": 0},
    "jpegxl": {"distance": 25.0},
}  # fmt: skip
every = pytest.mark.parametrize("name", USED)


@pytest.fixture(scope="module")
def photograph() -> np.ndarray:
    return np.ascontiguousarray(bundled()["coffee"][:160, 100:340])


def payload_of(data: bytes) -> bytes:
    return unpack(data).sections["payload"]


def decode_payload(name: str, size: tuple[int, int], payload: bytes) -> np.ndarray:
    return decode(pack(Container(REGISTRY[name].number, *size, {"payload": payload})))


def native(image: Image.Image, kind: str, **options) -> bytes:
    written = BytesIO()
    image.save(written, kind, **options)
    return written.getvalue()


@every
@pytest.mark.parametrize("size", [(1, 1), (160, 5), (60, 90)])
def test_standard_more_bits_give_a_better_picture_of_any_size(photograph, name, size):
    image, psnr = photograph[: size[0], : size[1]], []
    least = 8 * len(get_codec(name, **WORST[name]).encode(image)) / (size[0] * size[1])
    for bpp in (0.05, 0.4, 1.3, 4.0, 5000.0):
        try:
            data = get_codec(name).at_bpp(image, bpp)
        except BudgetError as error:
            assert bpp < error.smallest <= least
            continue
        assert 8 * len(data) / (size[0] * size[1]) <= bpp
        psnr.append(metrics.psnr(reference=image, reconstruction=decode(data)))
    assert psnr and psnr == sorted(psnr)


@every
def test_standard_uses_its_budget(photograph, name):
    assert USED[name] < evaluate(get_codec(name), photograph, bpp=1.0).bpp <= 1.0


def test_standard_takes_the_last_setting_that_fits_where_a_better_one_is_shorter(photograph):
    image = photograph[:80, :100]
    files = [WebP(quality=quality).encode(image) for quality in range(101)]
    dips = [len(after) for before, after in itertools.pairwise(files) if len(after) < len(before)]
    assert dips
    for budget in dips:
        assert WebP().at_bpp(image, 8 * budget / 8000) == [data for data in files if len(data) <= budget][-1]


def test_jpeg_is_baseline_or_progressive_whichever_is_shorter(photograph):
    for image in (photograph, photograph[:9, :9]):
        kinds = [
            native(Image.fromarray(image), "JPEG", quality=5, optimize=True, progressive=on) for on in (True, False)
        ]
        assert payload_of(Jpeg(quality=5).encode(image)) == min(kinds, key=len)


def test_jpegxl_size_parser_agrees_with_the_encoder():
    """Small sides that are multiples of 8, others, and the ratios that have a short form."""
    eights, others = range(8, 257, 31), (1, 7, 9, 257, 512, 513, 1000, 8193)
    sizes = [(h, w) for sides in (eights, others) for h in sides for w in sides if h * w < 2**18]
    sizes += [(48, 40), (64, 48), (72, 48), (128, 72), (80, 64), (96, 48), (300, 300), (1201, 901)]
    for height, width in sizes:
        stream = imagecodecs.jpegxl_encode(np.zeros((height, width, 3), np.uint8), distance=3.0, effort=1)
        assert headers.jpegxl(stream) == (height, width)


@pytest.mark.parametrize(("name", "side"), [("jpeg", 65_501), ("webp", 16_384), ("avif", 32_769)])
def test_standard_refuses_sides_beyond_the_format(name, side):
    with pytest.raises(ValueError, match=f"at most {side - 1} pixels a side for {name}"):
        get_codec(name).encode(np.zeros((1, side, 3), np.uint8))
    assert decode(get_codec(name).encode(np.zeros((1, side - 1, 3), np.uint8))).shape == (1, side - 1, 3)


def foreign() -> dict[str, tuple[str, bytes]]:
    """Streams that Pillow or libjxl would read, of the right size, but not what the encoders here write."""
    rgb = Image.new("RGB", (40, 24), (90, 30, 60))
    grey, alpha, other = rgb.convert("L"), rgb.convert("RGBA"), Image.new("RGB", (40, 24), (9, 200, 60))
    alpha.putalpha(77)
    pixels = np.asarray(rgb)
    j2k = {"no_jp2": True, "irreversible": True, "quality_layers": [10]}
    return {
        "png in jpeg": ("jpeg", native(rgb, "PNG")),
        "grey jpeg": ("jpeg", native(grey, "JPEG")),
        "jpeg with a comment": ("jpeg", native(rgb, "JPEG", comment=b"hello")),
        "boxed jp2": ("jpeg2000", native(rgb, "JPEG2000", irreversible=True)),
        "grey j2k": ("jpeg2000", native(grey, "JPEG2000", **j2k)),
        "tiled j2k": ("jpeg2000", native(rgb, "JPEG2000", tile_size=(16, 16), **j2k)),
        "layered j2k": ("jpeg2000", native(rgb, "JPEG2000", no_jp2=True, quality_layers=[20, 10, 5])),
        "precinct j2k": ("jpeg2000", native(rgb, "JPEG2000", precinct_size=(64, 64), **j2k)),
        "lossless webp": ("webp", native(rgb, "WEBP", lossless=True)),
        "animated webp": ("webp", native(rgb, "WEBP", save_all=True, append_images=[other])),
        "alpha webp": ("webp", native(alpha, "WEBP")),
        "webp with metadata": ("webp", native(rgb, "WEBP", icc_profile=bytes(500))),
        "alpha avif": ("avif", native(alpha, "AVIF")),
        "animated avif": ("avif", native(rgb, "AVIF", save_all=True, append_images=[other])),
        "avif with metadata": ("avif", native(rgb, "AVIF", xmp=bytes(50))),
        "boxed jxl": ("jpegxl", imagecodecs.jpegxl_encode(pixels, distance=1.0, usecontainer=True)),
        "16-bit jxl": ("jpegxl", imagecodecs.jpegxl_encode(pixels.astype(np.uint16), distance=1.0)),
        "alpha jxl": ("jpegxl", imagecodecs.jpegxl_encode(np.asarray(alpha), distance=1.0)),
        "nothing": ("jpeg", b""),
    }


FOREIGN = foreign()


@pytest.mark.parametrize(("name", "payload"), FOREIGN.values(), ids=FOREIGN)
def test_standard_payload_must_be_of_the_declared_kind(name, payload):
    with pytest.raises(BitstreamError, match="not a plain"):
        decode_payload(name, (24, 40), payload)


@every
def test_standard_checks_the_size_before_pixels(photograph, name, monkeypatch):
    payload = payload_of(get_codec(name).encode(photograph[:24, :40]))
    for codec in (Standard, JpegXL):
        monkeypatch.setattr(codec, "_pixels", lambda *_: pytest.fail("reached the decoder"))
    for size in ((40, 24), (24, 41), (8192, 8192)):
        with pytest.raises(BitstreamError, match="the file declares"):
            decode_payload(name, size, payload)


@every
def test_standard_truncated_payload_is_an_error_or_a_picture(photograph, name):
    payload = payload_of(get_codec(name).encode(photograph[:24, :40]))
    for length in range(len(payload)):
        with suppress(BitstreamError):
            assert decode_payload(name, (24, 40), payload[:length]).shape == (24, 40, 3)
            assert length > len(payload) // 2


def test_avif_boxes_and_stream_must_state_one_size(photograph):
    payload = payload_of(get_codec("avif").encode(photograph[:24, :40]))
    boxes_say = struct.pack(">II", 40, 24)
    assert payload.count(boxes_say) == 1
    forged = payload.replace(boxes_say, struct.pack(">II", 8192, 8192))
    for size in ((24, 40), (8192, 8192)):
        with pytest.raises(BitstreamError, match="not one size"):
            decode_payload("avif", size, forged)


def test_jpegxl_patches_larger_than_the_picture_are_refused():
    page = Image.new("RGB", (128, 64), "white")
    for row in range(4):
        ImageDraw.Draw(page).text((2, 16 * row), "a text that repeats", fill="black")
    payload = imagecodecs.jpegxl_encode(np.asarray(page), distance=3.0, effort=7, numthreads=1)
    assert payload[4] & 0b1111 == 0b1100, "the first frame is one of patches"
    assert decode_payload("jpegxl", (64, 128), payload).shape == (64, 128, 3)
    # The number of columns follows the frame's first 11 bits; its selector 3 stands for at least 18,688.
    forged = payload[:5] + bytes([payload[5] | 0b11000]) + payload[6:]
    with pytest.raises(BitstreamError, match="patches larger"):
        decode_payload("jpegxl", (64, 128), forged)
