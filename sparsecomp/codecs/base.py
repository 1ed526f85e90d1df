"""What a codec is, what it may refuse, and what is measured of it."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, fields
from typing import Protocol

import numpy as np

from sparsecomp.coding.bitstream import MAX_PIXELS


class BudgetError(ValueError):
    """No file of this codec is small enough; `smallest` (bits per pixel) is what it can reach."""

    def __init__(self, codec: str, bpp: float, smallest: float):
        # Rounded up, so that asking again with the printed number succeeds.
        shown = math.ceil(smallest * 1e4) / 1e4
        super().__init__(f"{codec}: bpp={bpp:g} is too small for this picture; it can reach bpp={shown:.4f}")
        self.smallest = smallest


class Codec(Protocol):
    """Anything that turns a picture into an ``.spc`` file and back.

    Pictures are uint8 arrays of shape (H, W, 3). The files are whole: a rate is ``8 * len(file) / (H * W)``.
    """

    name: str

    def encode(self, image: np.ndarray) -> bytes:
        """Write the picture at this codec's own setting."""

    def decode(self, data: bytes) -> np.ndarray:
        """Read a file of this codec, from its bytes alone."""

    def at_bpp(self, image: np.ndarray, bpp: float) -> bytes:
        """Write the best file of at most `bpp` bits per pixel, or raise `BudgetError`."""

    def macs_per_pixel(self, data: bytes) -> float | None:
        """Multiply-accumulates the network in this file spends on a pixel; None where there is no network."""


@dataclass(frozen=True, eq=False)
class Measurement:
    """One picture through one codec: the file, what came back, and the numbers.

    Rates are of the whole file; psnr in dB; ms_ssim is None below 161 pixels a side; macs_per_pixel is
    None for the standard codecs.
    """

    codec: str
    bytes: int
    bpp: float
    psnr: float
    ssim: float
    ms_ssim: float | None
    encode_seconds: float
    decode_seconds: float
    macs_per_pixel: float | None
    data: bytes = field(repr=False)
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
        kind = image.dtype if isinstance(image, np.ndarray) else type(image).__name__
        raise ValueError(f"image must be a uint8 array, not {kind}")
    if image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
        raise ValueError(f"image has shape {image.shape}; it must be (H, W, 3) with H, W at least 1")
    height, width, _ = image.shape
    if height * width > MAX_PIXELS:
        raise ValueError(f"image has {height} x {width} pixels; the limit is {MAX_PIXELS} in all")
    if max(height, width) > max_side:
        raise ValueError(f"image has {height} x {width} pixels; {codec} takes at most {max_side} a side")


def check_bpp(bpp: float) -> None:
    """Refuse a budget that is not a finite number of bits per pixel above 0 (`ValueError`)."""
    if not isinstance(bpp, (int, float)) or not (math.isfinite(bpp) and bpp > 0):
        raise ValueError(f"bpp={bpp!r} must be a finite number above 0")
