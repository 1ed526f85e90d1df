"""Whole systems: a picture goes in, an ``.spc`` file comes out, the file goes back to a picture."""

from __future__ import annotations

import time
from dataclasses import fields

import numpy as np

from sparsecomp import metrics
from sparsecomp.codecs.autoencoder import Cae, decode_cae
from sparsecomp.codecs.base import BudgetError, Codec, Measurement
from sparsecomp.codecs.cae_admm import CaeAdmm, CaeTheis, decode_cae_admm
from sparsecomp.codecs.inr import Coin, decode_coin
from sparsecomp.codecs.loonie import Loonie, decode_loonie
from sparsecomp.codecs.standard import Avif, Jpeg, Jpeg2000, JpegXL, WebP, decode_standard
from sparsecomp.coding.bitstream import MAX_PIXELS, unpack

__all__ = ["NAMES", "BudgetError", "Codec", "Measurement", "decode", "evaluate", "get_codec", "measure"]

_CODECS = {codec.name: codec for codec in (Jpeg, Jpeg2000, WebP, Avif, JpegXL, Coin, Loonie, Cae, CaeAdmm, CaeTheis)}
_DECODERS = {name: decode_standard for name in _CODECS}
_DECODERS |= {"coin": decode_coin, "loonie": decode_loonie, "cae": decode_cae}
_DECODERS |= {"cae-admm": decode_cae_admm, "cae-theis": decode_cae_admm}
NAMES = tuple(_CODECS)


def get_codec(name: str, **options: object) -> Codec:
    """Make a codec by name, with the fields of its class as options.

    Raises
    ------
    ValueError
        If the codec or an option is unknown, or an option is out of range.
    """
    if name not in _CODECS:
        raise ValueError(f"codec={name!r} is unknown; known are {', '.join(NAMES)}")
    known = [option.name for option in fields(_CODECS[name])]
    for option in options:
        if option not in known:
            raise ValueError(f"{name} has no option {option!r}; it has {', '.join(known)}")
    return _CODECS[name](**options)


def decode(data: bytes, max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """Decode any ``.spc`` file, from its bytes alone, to a uint8 picture (H, W, 3).

    Raises
    ------
    BitstreamError
        On anything malformed or larger than `max_pixels`; nothing else is ever raised.
    """
    container = unpack(data, max_pixels)
    return _DECODERS[container.codec](container)


def evaluate(codec: Codec, image: np.ndarray, bpp: float | None = None) -> Measurement:
    """Encode a picture, decode the file with nothing but its bytes, and measure both.

    Parameters
    ----------
    codec : Codec
    image : (H, W, 3) uint8
    bpp : float, optional
        A ceiling: the file is the codec's best of at most so many bits per pixel, and `encode_seconds`
        is the whole search. Without it the codec's own setting is used.

    Raises
    ------
    ValueError
        If the picture or the budget is not legal; `BudgetError` if no file is small enough.
    """
    started = time.perf_counter()
    data = codec.encode(image) if bpp is None else codec.at_bpp(image, bpp)
    return measure(data, image, encode_seconds=time.perf_counter() - started)


def measure(data: bytes, image: np.ndarray, *, encode_seconds: float) -> Measurement:
    """Decode a file from its bytes alone and measure it against the picture it was made from.

    Raises
    ------
    BitstreamError
        If the file cannot be decoded.
    """
    started = time.perf_counter()
    reconstruction = decode(data)
    decode_seconds = time.perf_counter() - started
    name = unpack(data).codec
    pair = {"reference": image, "reconstruction": reconstruction}
    return Measurement(
        codec=name,
        bytes=len(data),
        bpp=metrics.bpp(data=data, height=image.shape[0], width=image.shape[1]),
        psnr=metrics.psnr(**pair),
        ssim=metrics.ssim(**pair),
        ms_ssim=metrics.ms_ssim(**pair),
        encode_seconds=encode_seconds,
        decode_seconds=decode_seconds,
        macs_per_pixel=_CODECS[name]().macs_per_pixel(data),
        data=data,
        reconstruction=reconstruction,
    )
