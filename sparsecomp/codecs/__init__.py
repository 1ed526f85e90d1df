"""Whole systems: a picture goes in, an ``.spc`` file comes out, the file goes back to a picture.

Every module of this folder is imported here, so that a new codec is one new file.
"""

from __future__ import annotations

import importlib
import pkgutil
import time
from typing import TYPE_CHECKING

import numpy as np

from sparsecomp import metrics
from sparsecomp.checks import InputError
from sparsecomp.codecs.base import REGISTRY, BudgetError, Codec, Measurement, codec_of, names, register
from sparsecomp.coding.container import MAX_PIXELS, BitstreamError, unpack

if TYPE_CHECKING:
    from sparsecomp.models.pretrained import Models

__all__ = [
    "NAMES", "BitstreamError", "BudgetError", "Codec", "Measurement", "decode", "evaluate", "get_codec", "measure",
    "register",
]  # fmt: skip

for _module in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{_module.name}")
NAMES = names()  # of the codecs that come with the library


def get_codec(name: str, **options: object) -> Codec:
    """Make a codec by name, with the fields of its class as options.

    Raises
    ------
    ValueError
        If the codec or an option is unknown, or an option is out of range.
    """
    if name not in REGISTRY:
        raise InputError(f"codec={name!r} is unknown; known are {', '.join(names())}")
    known = REGISTRY[name].options()
    for option in options:
        if option not in known:
            raise InputError(f"{name} has no option {option!r}; it has {', '.join(known)}")
    return REGISTRY[name](**options)


def decode(data: bytes, max_pixels: int = MAX_PIXELS, models: Models | None = None) -> np.ndarray:
    """Decode any ``.spc`` file, from its bytes alone, to a uint8 picture (H, W, 3).

    Parameters
    ----------
    data : bytes
    max_pixels : int
        A larger picture is refused.
    models : Models, optional
        Where the model of a trained codec is looked up; by default `models.pretrained.default_models`.

    Raises
    ------
    BitstreamError
        On anything malformed or larger than `max_pixels`; nothing else is ever raised.
    """
    container = unpack(data, max_pixels)
    return codec_of(container).read(container, models)


def evaluate(codec: Codec, image: np.ndarray, bpp: float | None = None, models: Models | None = None) -> Measurement:
    """Encode a picture, decode the file with nothing but its bytes, and measure both.

    Parameters
    ----------
    codec : Codec
    image : (H, W, 3) uint8
    bpp : float, optional
        A ceiling: the file is the codec's best of at most so many bits per pixel, and `encode_seconds`
        is the whole search. Without it the codec's own setting is used.
    models : Models, optional
        The models that the decoder has; by default those of the codec (`models.pretrained.Models`).

    Raises
    ------
    ValueError
        If the picture or the budget is not legal; `BudgetError` if no file is small enough.
    """
    models = codec.models if models is None else models
    started = time.perf_counter()
    data = codec.encode(image) if bpp is None else codec.at_bpp(image, bpp)
    return measure(data, image, encode_seconds=time.perf_counter() - started, models=models)


def measure(data: bytes, image: np.ndarray, *, encode_seconds: float, models: Models | None = None) -> Measurement:
    """Decode a file from its bytes alone and measure it against the picture it was made from.

    Raises
    ------
    BitstreamError
        If the file cannot be decoded.
    """
    started = time.perf_counter()
    reconstruction = decode(data, models=models)
    decode_seconds = time.perf_counter() - started
    container = unpack(data)
    codec, pair = codec_of(container), {"reference": image, "reconstruction": reconstruction}
    return Measurement(
        codec=codec.name,
        bytes=len(data),
        bpp=metrics.bpp(data=data, height=image.shape[0], width=image.shape[1]),
        psnr=metrics.psnr(**pair),
        ssim=metrics.ssim(**pair),
        ms_ssim=metrics.ms_ssim(**pair),
        encode_seconds=encode_seconds,
        decode_seconds=decode_seconds,
        macs_per_pixel=codec.macs_per_pixel(container, models),
        data=data,
        reconstruction=reconstruction,
    )
