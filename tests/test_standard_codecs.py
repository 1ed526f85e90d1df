"""The standard codecs: files that keep to their budget and decode from nothing but their bytes."""

from __future__ import annotations

import struct
import threading
import warnings
from io import BytesIO

import imagecodecs
import numpy as np
import pytest
from PIL import AvifImagePlugin, Image, ImageDraw

from sparsecomp import metrics
from sparsecomp.codecs import BudgetError, decode, evaluate, get_codec, headers
from sparsecomp.codecs.base import REGISTRY
from sparsecomp.codecs.standard import Jpeg, Jpeg2000, JpegXL, Standard
from sparsecomp.coding.container import BitstreamError, Container, pack, unpack
from sparsecomp.data import bundled

STANDARD = ("jpeg", "jpeg2000", "webp", "avif", "jpegxl")


@pytest.fixture(scope="module")
def photograph() -> np.ndarray:
    return np.ascontiguousarray(bundled()["coffee"][:160, 100:340])


def crop(photograph: np.ndarray, height: int, width: int) -> np.ndarray:
    return np.resize(photograph, (height, width, 3)) if height > 160 else photograph[:height, :width]


@pytest.mark.parametrize("name", STANDARD)
@pytest.mark.parametrize("size", [(1, 1), (17, 33), (400, 5), (160, 240)])
def test_more_bits_give_a_better_picture_of_any_size(photograph, name, size):
    image = crop(photograph, *size)
    psnr = []
    for bpp in (0.05, 0.4, 1.3, 4.0, 20.0, 5000.0):
        try:
            data = get_codec(name).at_bpp(image, bpp)
        except BudgetError as error:
            assert error.smallest > bpp
            continue
        assert 8 * len(data) / (size[0] * size[1]) <= bpp
        psnr.append(metrics.psnr(reference=image, reconstruction=decode(data)))
    assert psnr and psnr == sorted(psnr)


@pytest.mark.parametrize(
    ("name", "used"), [("jpeg", 0.94), ("jpeg2000", 0.97), ("webp", 0.9), ("avif", 0.9), ("jpegxl", 0.97)]
)
def test_at_bpp_uses_its_budget(photograph, name, used):
    measured = evaluate(get_codec(name), photograph, bpp=1.0)
    assert used < measured.bpp <= 1.0


def test_colour_transform_of_jpeg2000_is_worth_decibels(photograph):
    with_it, without = (evaluate(Jpeg2000(colour_transform=on), photograph, 0.6) for on in (True, False))
    assert with_it.psnr > without.psnr + 1.5


def test_jpeg_weighs_both_subsamplings(photograph):
    kinds = [evaluate(Jpeg(subsampling=kind), photograph, 4.0).psnr for kind in ("4:2:0", "4:4:4")]
    assert evaluate(Jpeg(), photograph, 4.0).psnr == max(kinds)


def test_evaluate_measures_the_file(photograph):
    measured = evaluate(Jpeg(quality=80), photograph)
    assert measured.data == Jpeg(quality=80).encode(photograph)
    assert measured.bytes == len(measured.data) and measured.bpp == 8 * measured.bytes / (160 * 240)
    assert measured.psnr == metrics.psnr(reference=photograph, reconstruction=decode(measured.data))
    assert measured.ms_ssim is None and measured.macs_per_pixel is None
    row = measured.row()
    assert row["codec"] == "jpeg" and not {"data", "reconstruction"} & set(row)


@pytest.mark.parametrize("small", [True, False])
def test_jpegxl_size_parser_agrees_with_the_encoder(small):
    sides = range(8, 257, 31) if small else (1, 7, 9, 257, 512, 513, 1000, 8193)
    ratios = [(48, 40), (64, 48), (72, 48), (128, 72), (80, 64), (96, 48), (300, 300), (1201, 901)]
    for height, width in [(h, w) for h in sides for w in sides if h * w < 2**18] + ratios:
        stream = imagecodecs.jpegxl_encode(np.zeros((height, width, 3), np.uint8), distance=3.0, effort=1)
        assert headers.jpegxl(stream) == (height, width)


@pytest.mark.parametrize(("name", "side"), [("jpeg", 65_501), ("webp", 16_384), ("avif", 32_769)])
def test_sides_beyond_the_format_are_refused(name, side):
    with pytest.raises(ValueError, match=f"at most {side - 1} pixels a side for {name}"):
        get_codec(name).encode(np.zeros((1, side, 3), np.uint8))
    assert decode(get_codec(name).encode(np.zeros((1, side - 1, 3), np.uint8))).shape == (1, side - 1, 3)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("jpeg", {"quality": 0}),
        ("jpeg", {"quality": 50.5}),
        ("jpeg", {"quality": True}),
        ("jpeg", {"subsampling": "4:1:1"}),
        ("jpeg2000", {"rate": 0.0}),
        ("jpeg2000", {"rate": float("nan")}),
        ("webp", {"quality": 101}),
        ("webp", {"method": 7}),
        ("avif", {"speed": 11}),
        ("avif", {"tune": "vmaf"}),
        ("jpegxl", {"distance": 0.0}),
        ("jpegxl", {"effort": 10}),
        ("jpegxl", {"quality": 50}),
        ("gif", {}),
    ],
)
def test_bad_options_are_refused(name, options):
    with pytest.raises(ValueError, match=next(iter(options), "known are jpeg, jpeg2000, webp, avif, jpegxl")):
        get_codec(name, **options)


def native(image: Image.Image, kind: str, **options) -> bytes:
    written = BytesIO()
    image.save(written, kind, **options)
    return written.getvalue()


def foreign_payloads() -> dict[str, tuple[str, bytes]]:
    """Streams that Pillow or libjxl would read, of the right size, but not what the encoders here write."""
    rgb = Image.new("RGB", (40, 24), (90, 30, 60))
    grey, alpha, other = rgb.convert("L"), rgb.convert("RGBA"), Image.new("RGB", (40, 24), (9, 200, 60))
    alpha.putalpha(77)
    pixels = np.asarray(rgb)
    j2k = {"no_jp2": True, "irreversible": True, "quality_layers": [10]}
    return {
        "png in jpeg": ("jpeg", native(rgb, "PNG")),
        "webp in jpeg": ("jpeg", native(rgb, "WEBP")),
        "grey jpeg": ("jpeg", native(grey, "JPEG")),
        "cmyk jpeg": ("jpeg", native(rgb.convert("CMYK"), "JPEG")),
        "jpeg with a profile": ("jpeg", native(rgb, "JPEG", icc_profile=bytes(500))),
        "jpeg with a comment": ("jpeg", native(rgb, "JPEG", comment=b"hello")),
        "boxed jp2": ("jpeg2000", native(rgb, "JPEG2000", irreversible=True)),
        "grey j2k": ("jpeg2000", native(grey, "JPEG2000", **j2k)),
        "alpha j2k": ("jpeg2000", native(alpha, "JPEG2000", **j2k)),
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


def test_a_payload_must_be_of_the_declared_kind():
    said = {}
    for what, (codec, payload) in foreign_payloads().items():
        try:
            decode(pack(Container(REGISTRY[codec].number, 24, 40, {"payload": payload})))
            said[what] = "accepted"
        except BitstreamError as error:
            said[what] = str(error)
    assert {what: text for what, text in said.items() if "not a plain" not in text} == {}


@pytest.mark.parametrize("name", STANDARD)
def test_size_is_checked_before_pixels(photograph, name, monkeypatch):
    payload = unpack(get_codec(name).encode(photograph[:24, :40])).sections["payload"]
    for codec in (Standard, JpegXL):
        monkeypatch.setattr(codec, "_pixels", lambda *_: pytest.fail("reached the decoder"))
    for size in ((40, 24), (24, 41), (8192, 8192)):
        with pytest.raises(BitstreamError, match="the file declares"):
            decode(pack(Container(REGISTRY[name].number, *size, {"payload": payload})))


@pytest.mark.parametrize("name", STANDARD)
def test_every_truncated_payload_is_an_error_or_a_picture(photograph, name):
    container = unpack(get_codec(name).encode(crop(photograph, 24, 40)))
    payload = container.sections["payload"]
    for length in range(len(payload)):
        try:
            picture = decode(pack(Container(container.codec, 24, 40, {"payload": payload[:length]})))
        except BitstreamError:
            continue
        assert picture.shape == (24, 40, 3) and length > len(payload) // 2


def test_sections_must_be_the_decoders_own(photograph):
    container = unpack(Jpeg().encode(photograph))
    with pytest.raises(BitstreamError, match="one section"):
        decode(pack(Container(Jpeg.number, 160, 240, {"weights": container.sections["payload"]})))


def test_avif_boxes_and_stream_must_state_one_size(photograph):
    payload = unpack(get_codec("avif").encode(crop(photograph, 24, 40))).sections["payload"]
    boxes_say = struct.pack(">II", 40, 24)
    assert payload.count(boxes_say) == 1
    forged = payload.replace(boxes_say, struct.pack(">II", 8192, 8192))
    for size in ((24, 40), (8192, 8192)):
        with pytest.raises(BitstreamError, match="not one size"):
            decode(pack(Container(REGISTRY["avif"].number, *size, {"payload": forged})))


def test_jpegxl_patches_larger_than_the_picture_are_refused():
    page = Image.new("RGB", (128, 64), "white")
    for row in range(4):
        ImageDraw.Draw(page).text((2, 16 * row), "a text that repeats", fill="black")
    payload = imagecodecs.jpegxl_encode(np.asarray(page), distance=3.0, effort=7, numthreads=1)
    assert payload[4] & 0b1111 == 0b1100, "the first frame is one of patches"
    assert decode(pack(Container(JpegXL.number, 64, 128, {"payload": payload}))).shape == (64, 128, 3)
    # The number of columns follows the frame's first 11 bits; its selector 3 stands for at least 18,688.
    forged = payload[:5] + bytes([payload[5] | 0b11000]) + payload[6:]
    with pytest.raises(BitstreamError, match="patches larger"):
        decode(pack(Container(JpegXL.number, 64, 128, {"payload": forged})))


def test_decode_in_two_threads_changes_no_global(photograph, monkeypatch):
    """Pillow takes the number of AVIF threads from a global, and Python its warning filters: the second thread begins
    while the first one decodes, and is still decoding when the first one ends."""
    data = get_codec("avif").encode(crop(photograph, 24, 40))
    before, filters = AvifImagePlugin.DEFAULT_MAX_THREADS, list(warnings.filters)
    second_began, first_ended, seen, opened = threading.Event(), threading.Event(), [], Image.open

    def slow(*arguments, **options):
        if threading.current_thread().name == "first":
            second_began.wait(0.3)
        else:
            second_began.set()
            first_ended.wait(0.3)
        seen.append((AvifImagePlugin.DEFAULT_MAX_THREADS, warnings.filters[1][0]))
        return opened(*arguments, **options)

    def first():
        decode(data)
        first_ended.set()

    monkeypatch.setattr(Image, "open", slow)
    threads = [threading.Thread(target=first, name="first"), threading.Thread(target=decode, args=(data,))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=20)
    assert seen == [(1, "error"), (1, "error")], "one AVIF thread, and a warning is an error"
    assert before == AvifImagePlugin.DEFAULT_MAX_THREADS and filters == list(warnings.filters)
