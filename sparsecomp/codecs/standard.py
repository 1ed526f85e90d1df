"""The standard codecs, each at its best for the bytes: JPEG, JPEG 2000, WebP, AVIF, JPEG XL.

Encoding and decoding is the work of Pillow (libjpeg-turbo, OpenJPEG, libwebp, libavif) and of imagecodecs
(libjxl), with one thread: the same picture gives the same bytes, and seconds can be compared. The native
stream is the one section of the ``.spc`` file.

A foreign decoder never sees bytes that were not looked at first: `_SIZES` reads each format's own header and
accepts only the kind of stream that the encoder here writes (one picture of three 8-bit channels; no
metadata, alpha or tiles). The size it finds must be the container's before a pixel is allocated.
"""

from __future__ import annotations

import struct
import threading
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from io import BytesIO
from typing import ClassVar

import numpy as np
from PIL import AvifImagePlugin, Image

from sparsecomp.codecs.base import BudgetError, check_bpp, check_image
from sparsecomp.coding.bitstream import BitstreamError, Container, pack, unpack
from sparsecomp.metrics import psnr

_SUBSAMPLINGS = ("auto", "4:2:0", "4:4:4")
# Decoding changes two globals for a moment, Python's warning filters and Pillow's number of AVIF threads: one thread
# at a time may do so.
_GLOBALS = threading.Lock()


class _Standard(ABC):
    """What the five share: a subclass writes its native stream and lists its settings from worst to best."""

    name: ClassVar[str]
    max_side: ClassVar[int] = 2**26

    @abstractmethod
    def _native(self, image: np.ndarray) -> bytes:
        """The codec's own stream of the picture, at this setting."""

    @abstractmethod
    def _ladders(self) -> list[list[_Standard]]:
        """Settings from worst to best; a list for each kind of setting."""

    def encode(self, image: np.ndarray) -> bytes:
        """Write the picture at this setting.

        Raises
        ------
        ValueError
            If `image` is not uint8 (H, W, 3), is empty, or is larger than the codec takes.
        """
        check_image(image, codec=self.name, max_side=self.max_side)
        payload = self._native(image)
        _SIZES[self.name](payload)  # a stream that the reader would refuse is not written
        return pack(Container(self.name, *image.shape[:2], {"payload": payload}))

    def decode(self, data: bytes) -> np.ndarray:
        """Read a file of this codec; raises `BitstreamError` on any other or a damaged one."""
        container = unpack(data)
        if container.codec != self.name:
            raise BitstreamError(f"the file is of codec {container.codec!r}, not {self.name!r}")
        return decode_standard(container)

    def macs_per_pixel(self, data: bytes) -> None:
        """Give None: there is no network to count."""
        return None

    def at_bpp(self, image: np.ndarray, bpp: float) -> bytes:
        """Write the best file of at most `bpp` bits per pixel, the whole ``.spc`` counted.

        Within one kind of setting the best is the highest quality that fits; between kinds (chroma
        subsampled or not, ...) it is the higher PSNR.

        Raises
        ------
        ValueError
            As `encode`, or if `bpp` is not a finite number above 0.
        BudgetError
            If no setting is small enough; names the smallest rate there is.
        """
        check_bpp(bpp)
        check_image(image, codec=self.name, max_side=self.max_side)
        pixels = image.shape[0] * image.shape[1]

        def fits(data: bytes) -> bool:
            return 8 * len(data) / pixels <= bpp  # as the rate is computed: a printed smallest rate can be asked for

        found = [_largest_that_fits(ladder, image, fits) for ladder in self._ladders()]
        fitting = [data for data in found if fits(data)]
        if not fitting:
            smallest = min(len(data) for data in found)
            raise BudgetError(self.name, bpp, 8 * smallest / pixels)
        if len(fitting) == 1:
            return fitting[0]
        return max(fitting, key=lambda data: psnr(reference=image, reconstruction=self.decode(data)))


def _largest_that_fits(ladder: list[_Standard], image: np.ndarray, fits: Callable[[bytes], bool]) -> bytes:
    """Search a ladder of settings for the last whose file fits; if none does, the first.

    Size grows with quality, but not at every step: after the bisection the next two rungs are tried as well.
    """
    best, low, high = ladder[0].encode(image), 0, len(ladder)
    if not fits(best):
        return best
    while high - low > 1:
        middle = (low + high) // 2
        data = ladder[middle].encode(image)
        if fits(data):
            best, low = data, middle
        else:
            high = middle
    for rung in ladder[low + 2 : low + 4]:  # low + 1 is known to be too large
        data = rung.encode(image)
        if fits(data):
            best = data
    return best


def _check(name: str, value: float, low: float, high: float) -> None:
    """Refuse a setting outside low .. high; where the bounds are integers, so must it be."""
    kind = (int, np.integer) if isinstance(low, int) else (int, float, np.number)
    if isinstance(value, bool) or not isinstance(value, kind) or not low <= value <= high:
        what = "an integer" if isinstance(low, int) else "a number"
        raise ValueError(f"{name}={value!r} must be {what} in {low} .. {high}")


def _check_choice(name: str, value: object, choices: tuple) -> None:
    if value not in choices:
        raise ValueError(f"{name}={value!r} must be one of {', '.join(map(repr, choices))}")


def _geometric(low: float, high: float, steps: int) -> list[float]:
    """Give `steps` numbers from `low` to `high`, both exact, each the same factor from the one before."""
    return [low, *(low * (high / low) ** (i / (steps - 1)) for i in range(1, steps - 1)), high]


def _save(image: np.ndarray, kind: str, **options: object) -> bytes:
    written = BytesIO()
    Image.fromarray(image).save(written, kind, **options)
    return written.getvalue()


@dataclass(frozen=True)
class Jpeg(_Standard):
    """JPEG with optimised Huffman tables, baseline or progressive, whichever is smaller.

    Parameters
    ----------
    quality : int
        1 .. 100, libjpeg's scale.
    subsampling : {"auto", "4:2:0", "4:4:4"}
        Of the chroma. "auto" is libjpeg's own 4:2:0 for `encode`; `at_bpp` tries both.
    """

    quality: int = 75
    subsampling: str = "auto"
    name: ClassVar[str] = "jpeg"
    max_side: ClassVar[int] = 65_500

    def __post_init__(self) -> None:
        _check("quality", self.quality, 1, 100)
        _check_choice("subsampling", self.subsampling, _SUBSAMPLINGS)

    def _native(self, image: np.ndarray) -> bytes:
        subsampling = "4:2:0" if self.subsampling == "auto" else self.subsampling
        options = {"quality": self.quality, "subsampling": subsampling, "optimize": True}
        return min((_save(image, "JPEG", progressive=p, **options) for p in (False, True)), key=len)

    def _ladders(self) -> list[list[_Standard]]:
        kinds = _tried(self.subsampling)
        return [[replace(self, quality=q, subsampling=kind) for q in range(1, 101)] for kind in kinds]


@dataclass(frozen=True)
class Jpeg2000(_Standard):
    """JPEG 2000 (a bare codestream) with the irreversible 9-7 wavelet.

    Parameters
    ----------
    rate : float
        Bits per pixel to aim at, 0.001 .. 24; the encoder truncates its code-blocks to it.
    colour_transform : bool
        Code Y'CbCr (the standard's irreversible colour transform) in place of R'G'B'. Pillow's default is
        without, which costs 3 dB on photographs; here it is on.
    """

    rate: float = 1.0
    colour_transform: bool = True
    name: ClassVar[str] = "jpeg2000"

    def __post_init__(self) -> None:
        _check("rate", self.rate, 0.001, 24.0)
        _check_choice("colour_transform", self.colour_transform, (True, False))

    def _native(self, image: np.ndarray) -> bytes:
        # The comment of one character stands in for 36 bytes of advertisement that OpenJPEG writes otherwise.
        options = {"no_jp2": True, "comment": ".", "irreversible": True, "mct": int(self.colour_transform)}
        return _save(image, "JPEG2000", quality_mode="rates", quality_layers=[24 / self.rate], **options)

    def _ladders(self) -> list[list[_Standard]]:
        return [[replace(self, rate=rate) for rate in _geometric(0.001, 24.0, 4096)]]


@dataclass(frozen=True)
class WebP(_Standard):
    """Lossy WebP (VP8 intra frame; its chroma is always 4:2:0).

    Parameters
    ----------
    quality : int
        0 .. 100.
    method : int
        0 .. 6, effort; 6 is the slowest and best.
    """

    quality: int = 75
    method: int = 6
    name: ClassVar[str] = "webp"
    max_side: ClassVar[int] = 16_383

    def __post_init__(self) -> None:
        _check("quality", self.quality, 0, 100)
        _check("method", self.method, 0, 6)

    def _native(self, image: np.ndarray) -> bytes:
        return _save(image, "WEBP", lossless=False, quality=self.quality, method=self.method)

    def _ladders(self) -> list[list[_Standard]]:
        return [[replace(self, quality=q) for q in range(101)]]


@dataclass(frozen=True)
class Avif(_Standard):
    """AVIF: an AV1 intra frame (libaom).

    Parameters
    ----------
    quality : int
        0 .. 100.
    subsampling : {"auto", "4:2:0", "4:4:4"}
        Of the chroma. "auto" is libavif's own 4:2:0 for `encode`; `at_bpp` tries both.
    speed : int
        0 .. 10; 6 (libavif's own) takes 0.2 s a Kodak picture, lower is slower and better.
    tune : {"ssim", "psnr", "iq"}
        What libaom optimises. Its newest default, "iq", gives up about half a decibel and no less
        SSIM than it has with "ssim".
    """

    quality: int = 60
    subsampling: str = "auto"
    speed: int = 6
    tune: str = "ssim"
    name: ClassVar[str] = "avif"
    max_side: ClassVar[int] = 32_768

    def __post_init__(self) -> None:
        _check("quality", self.quality, 0, 100)
        _check_choice("subsampling", self.subsampling, _SUBSAMPLINGS)
        _check("speed", self.speed, 0, 10)
        _check_choice("tune", self.tune, ("ssim", "psnr", "iq"))

    def _native(self, image: np.ndarray) -> bytes:
        subsampling = "4:2:0" if self.subsampling == "auto" else self.subsampling
        options = {"quality": self.quality, "subsampling": subsampling, "speed": self.speed, "codec": "aom"}
        return _save(image, "AVIF", max_threads=1, advanced={"tune": self.tune}, **options)

    def _ladders(self) -> list[list[_Standard]]:
        kinds = _tried(self.subsampling)
        return [[replace(self, quality=q, subsampling=kind) for q in range(101)] for kind in kinds]


@dataclass(frozen=True)
class JpegXL(_Standard):
    """JPEG XL (VarDCT in XYB, a bare codestream), by imagecodecs.

    Parameters
    ----------
    distance : float
        Butteraugli distance, 0.05 .. 25.0; 1 is about invisible, larger is smaller.
    effort : int
        1 .. 9; 7 is libjxl's own.
    """

    distance: float = 1.0
    effort: int = 7
    name: ClassVar[str] = "jpegxl"

    def __post_init__(self) -> None:
        _check("distance", self.distance, 0.05, 25.0)
        _check("effort", self.effort, 1, 9)

    def _native(self, image: np.ndarray) -> bytes:
        import imagecodecs

        options = {"distance": float(self.distance), "effort": int(self.effort), "numthreads": 1}
        return imagecodecs.jpegxl_encode(np.ascontiguousarray(image), **options)

    def _ladders(self) -> list[list[_Standard]]:
        # From distance 20 on, libjxl codes the picture at half its size: the file grows there, so each side
        # of the step is a ladder of its own.
        sides = (_geometric(19.99, 0.05, 1024), _geometric(25.0, 20.0, 32))
        return [[replace(self, distance=d) for d in side] for side in sides]


def _tried(subsampling: str) -> tuple[str, ...]:
    return _SUBSAMPLINGS[1:] if subsampling == "auto" else (subsampling,)


def decode_standard(container: Container) -> np.ndarray:
    """Decode the payload of a standard codec's container to uint8 (H, W, 3).

    Raises
    ------
    BitstreamError
        If there is not exactly one section "payload", if it is not a plain stream of the declared codec and
        size, or if the codec's own decoder finds fault with it; no error of a foreign decoder passes.
    """
    codec, declared = container.codec, (container.height, container.width)
    if set(container.sections) != {"payload"}:
        raise BitstreamError(f"a {codec} file has one section, payload; not {', '.join(container.sections)}")
    payload = container.sections["payload"]
    try:
        size = _SIZES[codec](payload)
    except (struct.error, IndexError, KeyError) as error:
        raise BitstreamError(f"the {codec} payload lacks a part of its header") from error
    if size != declared:
        raise BitstreamError(f"the {codec} payload is a picture of {size}, the file declares {declared}")
    decode = _decode_jpegxl if codec == "jpegxl" else _decode_pillow
    try:
        with _GLOBALS, warnings.catch_warnings():
            warnings.simplefilter("error", UserWarning)  # how Pillow speaks of a stream that is half broken
            # Pillow warns above 2^26.4 pixels; the container's own limit has been checked by now.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            image = decode(payload, codec)
    except Exception as error:
        what = str(error) or type(error).__name__
        raise BitstreamError(f"the {codec} payload cannot be decoded: {what}") from error
    if image.dtype != np.uint8 or image.shape != (*declared, 3):
        raise BitstreamError(f"the {codec} payload decodes to {image.dtype} {image.shape}, not to a picture")
    return image


def _decode_jpegxl(payload: bytes, codec: str) -> np.ndarray:
    import imagecodecs

    return imagecodecs.jpegxl_decode(payload, numthreads=1)


def _decode_pillow(payload: bytes, codec: str) -> np.ndarray:
    # Pillow takes libavif's number of decoding threads from a module global only.
    threads, AvifImagePlugin.DEFAULT_MAX_THREADS = AvifImagePlugin.DEFAULT_MAX_THREADS, 1
    try:
        with Image.open(BytesIO(payload), formats=[codec]) as picture:
            return np.array(picture)
    finally:
        AvifImagePlugin.DEFAULT_MAX_THREADS = threads


def _require(condition: bool, codec: str, what: str) -> None:
    if not condition:
        raise BitstreamError(f"not a plain {codec} payload: {what}")


def _size_jpeg(payload: bytes) -> tuple[int, int]:
    """Read height and width from the frame header of a JPEG stream (ITU-T T.81, B.2)."""
    _require(payload[:2] == b"\xff\xd8", "jpeg", "no start of image")
    # A scan may cost a walk over the whole picture for a few bytes; libjpeg's own progression has ten.
    _require(payload.count(b"\xff\xda") <= 32, "jpeg", "too many scans")
    at, size = 2, None
    while True:
        marker, length = struct.unpack_from(">HH", payload, at)
        if marker == 0xFFDA and size is not None:
            return size
        known = (0xFFE0, 0xFFDB, 0xFFC4, 0xFFC0, 0xFFC2)
        _require(marker in known, "jpeg", f"marker {marker:04X} in its header")
        if marker in (0xFFC0, 0xFFC2):  # baseline, progressive
            precision, *size, channels = struct.unpack_from(">BHHB", payload, at + 4)
            _require((precision, channels) == (8, 3), "jpeg", "not three channels of 8 bits")
            size = tuple(size)
        at += 2 + length


def _size_jpeg2000(payload: bytes) -> tuple[int, int]:
    """Read height and width from a JPEG 2000 codestream of one tile, one layer (ITU-T T.800, annex A)."""
    _require(payload[:4] == b"\xff\x4f\xff\x51", "jpeg2000", "no start of codestream")
    length, _, width, height, *origin_and_tile, channels = struct.unpack_from(">HHIIIIIIIIH", payload, 4)
    _require(origin_and_tile == [0, 0, width, height, 0, 0], "jpeg2000", "more than one tile")
    plain = (length, channels, payload[42:51]) == (47, 3, b"\7\1\1" * 3)
    _require(plain, "jpeg2000", "not three channels of 8 bits")
    at = 51
    while True:
        marker, length = struct.unpack_from(">HH", payload, at)
        if marker == 0xFF90:
            break
        _require(marker in (0xFF52, 0xFF5C, 0xFF64), "jpeg2000", f"marker {marker:04X} in its header")
        if marker == 0xFF52:  # small code-blocks, precincts or many layers would be memory for nothing
            style, order, layers, _, _, *blocks, passes, _ = struct.unpack_from(">BBHBBBBBB", payload, at + 4)
            plain = (length, style, order, layers, *blocks, passes) == (12, 0, 0, 1, 4, 4, 0)
            _require(plain, "jpeg2000", "an unusual coding style")
        at += 2 + length
    tile, size, part, _, marker = struct.unpack_from(">HIBBH", payload, at + 4)
    whole = (tile, at + size + 2, part, marker) == (0, len(payload), 0, 0xFF93)
    _require(whole, "jpeg2000", "the one tile is not all there is")
    return height, width


def _size_webp(payload: bytes) -> tuple[int, int]:
    """Read height and width from a simple lossy WebP file (RFC 9649, 2.5; RFC 6386, 9.1)."""
    riff, length, form, chunk = struct.unpack_from("<4sI8sI", payload)
    _require((riff, form) == (b"RIFF", b"WEBPVP8 "), "webp", "no RIFF file of one VP8 chunk")
    _require(length + 8 == len(payload) == 20 + chunk + chunk % 2, "webp", "its lengths do not add up")
    start, width, height = struct.unpack_from("<3sHH", payload, 23)
    _require(payload[20] & 1 == 0 and start == b"\x9d\x01\x2a", "webp", "not a key frame")
    return height & 0x3FFF, width & 0x3FFF


def _size_avif(payload: bytes) -> tuple[int, int]:
    """Read height and width of an AVIF file of one item (ISO/IEC 14496-12, 23008-12).

    The boxes and the AV1 sequence header both state the size; they must agree, because the decoder allocates
    by the one and then scales to the other.
    """
    top = list(_boxes(payload, 0, len(payload)))
    _require([kind for kind, *_ in top] == [b"ftyp", b"meta", b"mdat"], "avif", "not one ftyp, meta and mdat")
    (_, start, stop), (_, at, end) = top[1:]
    meta = {kind: (first, last) for kind, first, last in _boxes(payload, start + 4, stop)}
    _require(set(meta) == {b"hdlr", b"pitm", b"iloc", b"iinf", b"iprp"}, "avif", "unusual boxes in meta")
    location = payload[slice(*meta[b"iloc"])]
    plain = struct.pack(">IHHHHHII", 0, 0x4400, 1, 1, 0, 1, at, end - at)
    _require(location == plain, "avif", "its one item is not the whole of mdat")
    properties = {kind: span for kind, *span in _boxes(payload, *meta[b"iprp"])}
    sizes = []
    for kind, first, _ in _boxes(payload, *properties[b"ipco"]):
        _require(kind in (b"ispe", b"pixi", b"av1C", b"colr"), "avif", "unusual properties")
        if kind == b"ispe":
            sizes.append(struct.unpack_from(">II", payload, first + 4)[::-1])
    while at < end:  # the open bitstream units of the AV1 specification, 5.3
        header, length, shift = payload[at], 0, 0
        _require(header & 0x87 == 0x02, "avif", "an unusual AV1 unit")
        while True:
            at += 1
            _require(shift < 56, "avif", "a length of more than 8 bytes")
            length, shift = length | (payload[at] & 0x7F) << shift, shift + 7
            if payload[at] < 0x80:
                break
        at += 1
        if header >> 3 == 1:
            sizes.append(_size_av1(payload[at : at + length]))
        at += length
    agree = at == end and len(sizes) == 2 and sizes[0] == sizes[1]
    _require(agree, "avif", "not one size in its boxes and its AV1 stream")
    return sizes[0]


def _boxes(payload: bytes, at: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """Walk the boxes between two places: kind, first byte of the body, the byte after it."""
    while at < end:
        length, kind = struct.unpack_from(">I4s", payload, at)
        _require(8 <= length <= end - at, "avif", "a box longer than what holds it")
        yield kind, at + 8, at + length
        at += length


def _size_av1(unit: bytes) -> tuple[int, int]:
    """Read height and width from the sequence header of an AV1 still picture (AV1 specification, 5.5)."""
    word, left = int.from_bytes(unit[:8].ljust(8, b"\0"), "big"), 64

    def take(bits: int) -> int:
        nonlocal left
        left -= bits
        return word >> left & (1 << bits) - 1

    take(3)  # profile
    _require(take(2) == 3, "avif", "not a still picture")
    take(5)  # level
    width_bits, height_bits = take(4) + 1, take(4) + 1
    width, height = take(width_bits) + 1, take(height_bits) + 1
    return height, width


def _size_jpegxl(payload: bytes) -> tuple[int, int]:
    """Read height and width from a bare JPEG XL codestream (ISO/IEC 18181-1, annexes D, F and G).

    The image metadata must be the default: XYB, 8 bits, no alpha, animation, preview or profile. Frames are as
    libjxl writes them: one that fills the picture, and at most one before it with the patches it repeats, which
    may not be much larger than the picture itself.
    """
    _require(payload[:2] == b"\xff\x0a", "jpegxl", "no bare codestream")
    at = 16

    def take(bits: int) -> int:
        nonlocal at
        word = int.from_bytes(payload[at // 8 : at // 8 + 5], "little") >> at % 8
        at += bits
        return word & (1 << bits) - 1

    def number(*kinds: tuple[int, int]) -> int:
        offset, bits = kinds[take(2)]
        return offset + take(bits)

    def side() -> int:
        return 8 * (take(5) + 1) if small else number((1, 9), (1, 13), (1, 18), (1, 30))

    small = take(1)
    height, ratio = side(), take(3)
    wide, high = ((0, 1), (1, 1), (12, 10), (4, 3), (3, 2), (16, 9), (5, 4), (2, 1))[ratio]
    width = height * wide // high if ratio else side()
    _require(take(2) == 3, "jpegxl", "metadata that is not the default")
    first = True
    while True:
        at += -at % 8
        if take(1):  # all default: fills the picture and is the last
            return height, width
        kind, flags = take(3), number((0, 0), (1, 4), (17, 8), (48, 0))
        _require(not flags & 48, "jpegxl", "splines, or a frame drawn on another")
        if kind == 0:  # regular, VarDCT: upsampling and scales; one pass, no crop, no blending, the last
            take(8)
            _require(take(6) == 0b100000, "jpegxl", "a frame that is not the whole picture")
            return height, width
        # For reference only, modular: not upsampled, cropped; saved as number 3, not filtered, sections in order.
        upsampling, group, crop = take(2), 128 << take(2), take(1)
        _require((first, kind, upsampling, crop) == (True, 6, 0, 1), "jpegxl", "an unusual frame")
        columns, rows = (number((0, 8), (256, 11), (2304, 14), (18688, 30)) for _ in range(2))
        _require(rows * columns <= 2 * height * width + 4096, "jpegxl", "patches larger than the picture")
        _require(take(14) == 0b111, "jpegxl", "an unusual frame of patches")
        at += -at % 8
        parts, whole = (-(-rows // size) * -(-columns // size) for size in (group, 8 * group))
        sections = 1 if parts == 1 else 2 + whole + parts
        length = sum(number((0, 10), (1024, 14), (17408, 22), (4211712, 30)) for _ in range(sections))
        at += -at % 8 + 8 * length
        first = False


_SIZES = {
    "jpeg": _size_jpeg,
    "jpeg2000": _size_jpeg2000,
    "webp": _size_webp,
    "avif": _size_avif,
    "jpegxl": _size_jpegxl,
}
