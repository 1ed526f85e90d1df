"""What a codec is and what it may refuse, which codecs there are, and what is measured of one."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, ClassVar, cast

import numpy as np

from sparsecomp.checks import InputError, in_range, refuse, require
from sparsecomp.coding.container import MAX_PIXELS, BitstreamError, Container, unpack

if TYPE_CHECKING:
    from sparsecomp.models.pretrained import Models
    from sparsecomp.training.configs import FitBudget


bytes_ = bytes  # `Measurement` has a field of this name


class BudgetError(InputError):
    """No file of this codec is small enough; `smallest` (bits per pixel) is what it can reach."""

    def __init__(self, codec: str, bpp: float, smallest: float):
        # Rounded up, so that asking again with the printed number succeeds.
        shown = math.ceil(smallest * 1e4) / 1e4
        super().__init__(f"{codec}: bpp={bpp:g} is too small for this picture; it can reach bpp={shown:.4f}")
        self.smallest, self.asked = smallest, (codec, bpp, smallest)

    def __reduce__(self) -> tuple:
        """Pickle by the arguments: a worker's error must reach the process that waits for it."""
        return BudgetError, self.asked


class Codec(ABC):
    """Turn a picture into an ``.spc`` file and back.

    A codec is a frozen dataclass: its fields are the options of `codecs.get_codec`, and its defaults work. `register`
    makes it known. Pictures are uint8 arrays of shape (H, W, 3). A rate is that of the whole file,
    ``8 * len(file) / (H * W)``.

    Attributes
    ----------
    name : str
        As the command line knows it.
    number : int
        As a file knows it, 1 .. 255. A number never changes, and is never used again.
    note : str
        What `compare` says of the codec below its table; empty for nothing.
    budgets : dict
        For a codec that fits networks (it has an option ``budget``): how, by the names of `training.configs.PRESETS`.
    """

    name: ClassVar[str]
    number: ClassVar[int]
    note: ClassVar[str] = ""
    budgets: ClassVar[dict[str, FitBudget]] = {}
    models: Models | None = None  # a trained codec has an option of this name

    @abstractmethod
    def encode(self, image: np.ndarray) -> bytes:
        """Write the picture at this codec's own setting; `ValueError` if it is none (`check_image`)."""

    @abstractmethod
    def at_bpp(self, image: np.ndarray, bpp: float) -> bytes:
        """Write the best file of at most `bpp` bits per pixel, or raise `BudgetError`; other errors as `encode`."""

    @classmethod
    @abstractmethod
    def read(cls, container: Container, models: Models | None = None) -> np.ndarray:
        """Give the picture of a file of this codec, in the size that it declares.

        Raises
        ------
        BitstreamError
            On anything malformed, and nothing else. Nothing large is allocated before it is checked.
        """

    @classmethod
    def describe(cls, container: Container, models: Models | None = None) -> list[tuple[str, str]]:
        """Say what is in a file, as rows of a label and a text; `BitstreamError` as `read`."""
        return []

    @classmethod
    def macs_per_pixel(cls, container: Container, models: Models | None = None) -> float | None:
        """Count the multiply-accumulates of the file's network for one pixel; None where there is no network."""
        return None

    def decode(self, data: bytes) -> np.ndarray:
        """Read a file of this codec, from its bytes alone; `BitstreamError` on any other or a damaged one."""
        container = unpack(data)
        found = codec_of(container)
        if found.number != self.number:
            raise BitstreamError(f"a {found.name} file, not {self.name}")
        return self.read(container, self.models)

    @classmethod
    def options(cls) -> tuple[str, ...]:
        """Name the options."""
        return tuple(option.name for option in fields(cast(Any, cls)))


REGISTRY: dict[str, type[Codec]] = {}


def register(codec: type[Codec]) -> type[Codec]:
    """Make a codec known by its name and its number: a decorator of the class.

    Raises
    ------
    ValueError
        If another codec has the name or the number, or the number is outside 1 .. 255.
    """
    if codec.number not in range(1, 256):
        refuse(f"number of {codec.name}", "in 1 .. 255", codec.number)
    for other in REGISTRY.values():
        if other.name == codec.name or other.number == codec.number:
            raise InputError(f"{codec.name}, number {codec.number}: {other.name} has number {other.number} already")
    REGISTRY[codec.name] = codec
    return codec


def codec_of(container: Container) -> type[Codec]:
    """Find the codec of a file by its number; `BitstreamError` if there is none."""
    for codec in REGISTRY.values():
        if codec.number == container.codec:
            return codec
    raise BitstreamError(f"unknown codec number {container.codec}")


def names() -> tuple[str, ...]:
    """Name the registered codecs, in the order of their numbers."""
    return tuple(sorted(REGISTRY, key=lambda name: REGISTRY[name].number))


@dataclass(frozen=True, eq=False)
class Measurement:
    """One picture through one codec: the file, what came back, and the numbers.

    Rates are of the whole file; psnr in dB; ssim is None below 11 pixels a side and ms_ssim below 161; macs_per_pixel
    is None where there is no network.
    """

    codec: str
    bytes: int
    bpp: float
    psnr: float
    ssim: float | None
    ms_ssim: float | None
    encode_seconds: float
    decode_seconds: float
    macs_per_pixel: float | None
    data: bytes_ = field(repr=False)
    reconstruction: np.ndarray = field(repr=False)

    def row(self) -> dict[str, str | float | None]:
        """Give the plain numbers, as a run record keeps them."""
        return {f.name: getattr(self, f.name) for f in fields(self) if f.repr}


def check_image(image: np.ndarray, *, codec: str, max_side: int = MAX_PIXELS) -> None:
    """Refuse what is not a picture this codec can write.

    Raises
    ------
    ValueError
        If `image` is not uint8 of shape (H, W, 3) with 1 <= H, W <= `max_side` and H W <= `MAX_PIXELS`.
    """
    if not isinstance(image, np.ndarray) or image.dtype != np.uint8:
        refuse("image", "a uint8 array", getattr(image, "dtype", type(image).__name__))
    plain = image.ndim == 3 and image.shape[2] == 3 and image.size > 0
    require(plain, "image", "of shape (H, W, 3) with H, W at least 1", image.shape)
    height, width, _ = image.shape
    require(height * width <= MAX_PIXELS, "image", f"of at most {MAX_PIXELS} pixels", f"{height} x {width}")
    require(max(height, width) <= max_side, "image", f"of at most {max_side} pixels a side for {codec}", image.shape)


def check_bpp(bpp: float) -> None:
    """Refuse a budget that is not a finite number of bits per pixel above 0 (`ValueError`)."""
    in_range("bpp", bpp, 0, ends="(]")


@contextmanager
def memory_for(container: Container) -> Iterator[None]:
    """Within it, where memory ends it is the file's fault: `BitstreamError`."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:  # torch says RuntimeError where memory ends
        raise BitstreamError(f"no memory to draw {container.height} x {container.width} pixels") from error
