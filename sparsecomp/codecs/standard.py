"""The standard codecs, each at its best for the bytes: JPEG, JPEG 2000, WebP, AVIF, JPEG XL.

Encoding and decoding is the work of Pillow (libjpeg-turbo, OpenJPEG, libwebp, libavif) and of imagecodecs (libjxl),
with one thread: the same picture gives the same bytes, and seconds can be compared. The native stream is the one
section of the ``.spc`` file. Its size is read (`codecs.headers`) and must be the container's before a pixel is
allocated.
"""

from __future__ import annotations

import struct
import threading
import warnings
from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace
from io import BytesIO
from typing import Any, ClassVar

import numpy as np
from PIL import AvifImagePlugin, Image

from sparsecomp.checks import in_range, one_of, whole
from sparsecomp.codecs import headers
from sparsecomp.codecs.base import BudgetError, Codec, check_bpp, check_image, register
from sparsecomp.coding.container import BitstreamError, Container, pack
from sparsecomp.metrics import psnr

_SUBSAMPLINGS = ("auto", "4:2:0", "4:4:4")
# Decoding changes two globals for a moment, Python's warning filters and Pillow's number of AVIF threads: one thread
# at a time may do so.
_GLOBALS = threading.Lock()


class Standard(Codec):
    """What the five share: a subclass writes its native stream and lists its settings from worst to best.

    Attributes
    ----------
    header : callable
        Height and width of a native stream, from `codecs.headers`.
    """

    max_side: ClassVar[int] = 2**26
    header: ClassVar[Any]

    @abstractmethod
    def _native(self, image: np.ndarray) -> bytes:
        """The codec's own stream of the picture, at this setting."""

    @abstractmethod
    def _ladders(self) -> list[list[Standard]]:
        """Settings from worst to best; a list for each kind of setting."""

    @classmethod
    def _pixels(cls, payload: bytes) -> np.ndarray:
        """Decode a native stream. Pillow takes libavif's number of threads from a module global only."""
        threads, AvifImagePlugin.DEFAULT_MAX_THREADS = AvifImagePlugin.DEFAULT_MAX_THREADS, 1
        try:
            with Image.open(BytesIO(payload), formats=[cls.name]) as picture:
                return np.array(picture)
        finally:
            AvifImagePlugin.DEFAULT_MAX_THREADS = threads

    def encode(self, image: np.ndarray) -> bytes:
        """Write the picture at this setting.

        Raises
        ------
        ValueError
            If `image` is not uint8 (H, W, 3), is empty, or is larger than the codec takes.
        """
        check_image(image, codec=self.name, max_side=self.max_side)
        payload = self._native(image)
        self.header(payload)  # a stream that the reader would refuse is not written
        return pack(Container(self.number, image.shape[0], image.shape[1], {"payload": payload}))

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

    @classmethod
    def read(cls, container: Container, models: object = None) -> np.ndarray:
        """Decode the payload to uint8 (H, W, 3).

        Raises
        ------
        BitstreamError
            If there is not exactly one section "payload", if it is not a plain stream of the codec and of the declared
            size, or if the codec's own decoder finds fault with it; no error of a foreign decoder passes.
        """
        declared = container.height, container.width
        if set(container.sections) != {"payload"}:
            raise BitstreamError(f"a {cls.name} file has one section, payload; not {', '.join(container.sections)}")
        payload = container.sections["payload"]
        try:
            size = cls.header(payload)
        except (struct.error, IndexError, KeyError) as error:
            raise BitstreamError(f"the {cls.name} payload lacks a part of its header") from error
        if size != declared:
            raise BitstreamError(f"the {cls.name} payload is a picture of {size}, the file declares {declared}")
        try:
            with _GLOBALS, warnings.catch_warnings():
                warnings.simplefilter("error", UserWarning)  # how Pillow speaks of a stream that is half broken
                # Pillow warns above 2^26.4 pixels; the container's own limit has been checked by now.
                warnings.simplefilter("ignore", Image.DecompressionBombWarning)
                image = cls._pixels(payload)
        except Exception as error:
            what = str(error) or type(error).__name__
            raise BitstreamError(f"the {cls.name} payload cannot be decoded: {what}") from error
        if image.dtype != np.uint8 or image.shape != (*declared, 3):
            raise BitstreamError(f"the {cls.name} payload decodes to {image.dtype} {image.shape}, not to a picture")
        return image


def _largest_that_fits(ladder: list[Standard], image: np.ndarray, fits: Callable[[bytes], bool]) -> bytes:
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


def _geometric(low: float, high: float, steps: int) -> list[float]:
    """Give `steps` numbers from `low` to `high`, both exact, each the same factor from the one before."""
    return [low, *(low * (high / low) ** (i / (steps - 1)) for i in range(1, steps - 1)), high]


def _save(image: np.ndarray, kind: str, **options: object) -> bytes:
    written = BytesIO()
    Image.fromarray(image).save(written, kind, **options)
    return written.getvalue()


@register
@dataclass(frozen=True)
class Jpeg(Standard):
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
    number: ClassVar[int] = 1
    header: ClassVar[Any] = staticmethod(headers.jpeg)
    max_side: ClassVar[int] = 65_500

    def __post_init__(self) -> None:
        whole("quality", self.quality, 1, 100)
        one_of("subsampling", self.subsampling, _SUBSAMPLINGS)

    def _native(self, image: np.ndarray) -> bytes:
        subsampling = "4:2:0" if self.subsampling == "auto" else self.subsampling
        options = {"quality": self.quality, "subsampling": subsampling, "optimize": True}
        return min((_save(image, "JPEG", progressive=p, **options) for p in (False, True)), key=len)

    def _ladders(self) -> list[list[Standard]]:
        kinds = _tried(self.subsampling)
        return [[replace(self, quality=q, subsampling=kind) for q in range(1, 101)] for kind in kinds]


@register
@dataclass(frozen=True)
class Jpeg2000(Standard):
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
    number: ClassVar[int] = 2
    header: ClassVar[Any] = staticmethod(headers.jpeg2000)

    def __post_init__(self) -> None:
        in_range("rate", self.rate, 0.001, 24)
        one_of("colour_transform", self.colour_transform, (True, False))

    def _native(self, image: np.ndarray) -> bytes:
        # The comment of one character stands in for 36 bytes of advertisement that OpenJPEG writes otherwise.
        options = {"no_jp2": True, "comment": ".", "irreversible": True, "mct": int(self.colour_transform)}
        return _save(image, "JPEG2000", quality_mode="rates", quality_layers=[24 / self.rate], **options)

    def _ladders(self) -> list[list[Standard]]:
        return [[replace(self, rate=rate) for rate in _geometric(0.001, 24.0, 4096)]]


@register
@dataclass(frozen=True)
class WebP(Standard):
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
    number: ClassVar[int] = 3
    header: ClassVar[Any] = staticmethod(headers.webp)
    max_side: ClassVar[int] = 16_383

    def __post_init__(self) -> None:
        whole("quality", self.quality, 0, 100)
        whole("method", self.method, 0, 6)

    def _native(self, image: np.ndarray) -> bytes:
        return _save(image, "WEBP", lossless=False, quality=self.quality, method=self.method)

    def _ladders(self) -> list[list[Standard]]:
        return [[replace(self, quality=q) for q in range(101)]]


@register
@dataclass(frozen=True)
class Avif(Standard):
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
    number: ClassVar[int] = 4
    header: ClassVar[Any] = staticmethod(headers.avif)
    max_side: ClassVar[int] = 32_768

    def __post_init__(self) -> None:
        whole("quality", self.quality, 0, 100)
        one_of("subsampling", self.subsampling, _SUBSAMPLINGS)
        whole("speed", self.speed, 0, 10)
        one_of("tune", self.tune, ("ssim", "psnr", "iq"))

    def _native(self, image: np.ndarray) -> bytes:
        subsampling = "4:2:0" if self.subsampling == "auto" else self.subsampling
        options = {"quality": self.quality, "subsampling": subsampling, "speed": self.speed, "codec": "aom"}
        return _save(image, "AVIF", max_threads=1, advanced={"tune": self.tune}, **options)

    def _ladders(self) -> list[list[Standard]]:
        kinds = _tried(self.subsampling)
        return [[replace(self, quality=q, subsampling=kind) for q in range(101)] for kind in kinds]


@register
@dataclass(frozen=True)
class JpegXL(Standard):
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
    number: ClassVar[int] = 5
    header: ClassVar[Any] = staticmethod(headers.jpegxl)

    def __post_init__(self) -> None:
        in_range("distance", self.distance, 0.05, 25)
        whole("effort", self.effort, 1, 9)

    def _native(self, image: np.ndarray) -> bytes:
        import imagecodecs

        image, distance, effort = np.ascontiguousarray(image), float(self.distance), int(self.effort)
        return bytes(imagecodecs.jpegxl_encode(image, distance=distance, effort=effort, numthreads=1))

    @classmethod
    def _pixels(cls, payload: bytes) -> np.ndarray:
        import imagecodecs

        return imagecodecs.jpegxl_decode(payload, numthreads=1)

    def _ladders(self) -> list[list[Standard]]:
        # From distance 20 on, libjxl codes the picture at half its size: the file grows there, so each side
        # of the step is a ladder of its own.
        sides = (_geometric(19.99, 0.05, 1024), _geometric(25.0, 20.0, 32))
        return [[replace(self, distance=d) for d in side] for side in sides]


def _tried(subsampling: str) -> tuple[str, ...]:
    return _SUBSAMPLINGS[1:] if subsampling == "auto" else (subsampling,)
