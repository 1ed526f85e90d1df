"""Measures of rate and distortion, all of them on 8-bit pictures: what a screen would show.

Every function takes keywords only: a PSNR whose two pictures were swapped went unnoticed in the released code
of one of the papers reproduced here, and swapped BD curves change sign.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from skimage.metrics import structural_similarity

from sparsecomp.checks import InputError, in_range, refuse, require, whole

SSIM_WINDOW = 11  # pixels, Gaussian window of Wang et al. 2004
MS_SSIM_SMALLEST_SIDE = 161  # five scales of an 11-pixel window: (11 - 1) * 2**4 + 1


def to_uint8(x) -> np.ndarray:
    """Round a picture in [0, 1] to the 8 bits a screen shows: ``round(255 * clip(x, 0, 1))``.

    Parameters
    ----------
    x : array of floats, any shape; values outside [0, 1] are clipped.

    Returns
    -------
    uint8 array of the same shape.

    Raises
    ------
    ValueError : if `x` is not floating point (integers would be read as 0 and 1) or holds a NaN.
    """
    x = np.asarray(x)
    if not np.issubdtype(x.dtype, np.floating):
        refuse("x", "floating point in [0, 1]", x.dtype)
    require(not np.isnan(x).any(), "x", "numbers in [0, 1]", "NaN")
    # fp16 has 11 bits of mantissa: multiplying by 255 there would round twice.
    return np.rint(np.clip(x.astype(np.float64), 0.0, 1.0) * 255.0).astype(np.uint8)


def psnr(*, reference: np.ndarray, reconstruction: np.ndarray) -> float:
    """Peak signal-to-noise ratio in dB: ``10 log10(255^2 / MSE)``, MSE over all pixels and channels.

    Parameters
    ----------
    reference, reconstruction : uint8 arrays (H, W, 3) of one shape.

    Returns
    -------
    dB, ``inf`` if the pictures are equal.

    Raises
    ------
    ValueError : if either picture is not uint8 (H, W, 3), or the shapes differ.
    """
    _check_pair(reference, reconstruction)
    error = reference.astype(np.float64) - reconstruction
    mse = np.mean(error * error)
    return float(10.0 * np.log10(255.0**2 / mse)) if mse > 0 else float("inf")


def ssim(*, reference: np.ndarray, reconstruction: np.ndarray) -> float | None:
    """Mean structural similarity of Wang et al. 2004, mean of the three colour channels.

    Gaussian window of 11 pixels, sigma 1.5, population covariance, K = (0.01, 0.03). The "MSSIM" of Gille et
    al. 2022 is this mean SSIM, not MS-SSIM.

    Parameters
    ----------
    reference, reconstruction : uint8 arrays (H, W, 3) of one shape.

    Returns
    -------
    A number in [-1, 1], 1 if equal; ``None`` if the smaller side is below 11 pixels, where it is not defined.

    Raises
    ------
    ValueError : as `psnr`.
    """
    _check_pair(reference, reconstruction)
    if min(reference.shape[:2]) < SSIM_WINDOW:
        return None
    return float(
        structural_similarity(
            reference,
            reconstruction,
            channel_axis=-1,
            data_range=255,
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
        )
    )


def ms_ssim(*, reference: np.ndarray, reconstruction: np.ndarray) -> float | None:
    """Multi-scale structural similarity of Wang et al. 2003, five scales, mean of the colour channels.

    Computed by pytorch-msssim with its default window (11 pixels, sigma 1.5) and weights.

    Parameters
    ----------
    reference, reconstruction : uint8 arrays (H, W, 3) of one shape.

    Returns
    -------
    A number in [0, 1], 1 if equal; ``None`` if the smaller side is below 161 pixels: a smaller window would
    be another measure under the same name.

    Raises
    ------
    ValueError : as `psnr`.
    """
    _check_pair(reference, reconstruction)
    if min(reference.shape[:2]) < MS_SSIM_SMALLEST_SIDE:
        return None
    import pytorch_msssim  # here, because it brings torch: seconds that the other measures do not need
    import torch

    a, b = (torch.tensor(picture).permute(2, 0, 1)[None].to(torch.float64) for picture in (reference, reconstruction))
    return float(pytorch_msssim.ms_ssim(a, b, data_range=255))


def bpp(*, data: bytes, height: int, width: int) -> float:
    """Bits per pixel of a file: ``8 * len(data) / (height * width)``; a rate is the length of a file.

    Raises
    ------
    ValueError : if `data` is not bytes, or `height` or `width` is not a positive integer.
    """
    if not isinstance(data, (bytes, bytearray)):
        refuse("data", "the bytes of a file", type(data).__name__)
    whole("height", height, 1)
    whole("width", width, 1)
    return 8.0 * len(data) / (int(height) * int(width))


@dataclass(frozen=True)
class BD:
    """A Bjøntegaard difference: `value` (percent of rate, or dB), averaged over `overlap` (dB, or bpp)."""

    value: float
    overlap: tuple[float, float]


def bd_rate(*, rate_anchor, quality_anchor, rate_test, quality_test) -> BD:
    """Mean difference in rate at equal quality, in percent; negative where the test codec needs fewer bits.

    With ``r(q)`` the log10 rate interpolated by pchip and ``[lo, hi]`` the qualities that both curves reach,
    ``100 * (10^(1 / (hi - lo) * integral of (r_test - r_anchor) over [lo, hi]) - 1)`` (Bjøntegaard 2001, with
    pchip in place of the cubic, computed by the `bjontegaard` package).

    Parameters
    ----------
    rate_anchor, quality_anchor, rate_test, quality_test : sequences, at least 4 points a curve; rates (bpp)
        positive, rates and qualities (dB, say) strictly increasing together. Curves may differ in length.

    Returns
    -------
    BD(value in percent, overlap in the unit of quality).

    Raises
    ------
    ValueError : if a curve is shorter than 4 points, not finite, not increasing, or the curves do not
        overlap.
    """
    curves = _check_curves(rate_anchor, quality_anchor, rate_test, quality_test)
    overlap = _overlap(curves[1], curves[3], "quality")
    import bjontegaard

    value = bjontegaard.bd_rate(*curves, method="pchip", require_matching_points=False, min_overlap=0)
    return BD(float(value), overlap)


def bd_psnr(*, rate_anchor, quality_anchor, rate_test, quality_test) -> BD:
    """Mean difference in quality at equal rate, in dB; positive where the test codec is better.

    ``1 / (hi - lo) * integral of (q_test - q_anchor) over [lo, hi]`` in log10 rate; conventions, parameters
    and errors as `bd_rate`. The overlap is given in the unit of rate (bpp).
    """
    curves = _check_curves(rate_anchor, quality_anchor, rate_test, quality_test)
    overlap = _overlap(curves[0], curves[2], "rate")
    import bjontegaard

    value = bjontegaard.bd_psnr(*curves, method="pchip", require_matching_points=False, min_overlap=0)
    return BD(float(value), overlap)


def _check_pair(reference: np.ndarray, reconstruction: np.ndarray) -> None:
    for name, picture in (("reference", reference), ("reconstruction", reconstruction)):
        if not isinstance(picture, np.ndarray) or picture.dtype != np.uint8:
            refuse(name, "a uint8 array (see to_uint8)", getattr(picture, "dtype", type(picture).__name__))
        plain = picture.ndim == 3 and picture.shape[2] == 3 and picture.size > 0
        require(plain, name, "of shape (H, W, 3) with H, W >= 1", picture.shape)
    same = reference.shape == reconstruction.shape
    require(same, "reconstruction", f"of the reference's shape {reference.shape}", reconstruction.shape)


def _check_curves(rate_anchor, quality_anchor, rate_test, quality_test) -> tuple[np.ndarray, ...]:
    curves = []
    for which, rate, quality in (("anchor", rate_anchor, quality_anchor), ("test", rate_test, quality_test)):
        rate, quality = np.asarray(rate, dtype=np.float64), np.asarray(quality, dtype=np.float64)
        if rate.ndim != 1 or rate.shape != quality.shape or len(rate) < 4:
            shapes = rate.shape, quality.shape
            refuse(f"rate_{which} and quality_{which}", "of one length, at least 4 points", shapes)
        for name, values in ((f"rate_{which}", rate), (f"quality_{which}", quality)):
            rising = bool(np.isfinite(values).all() and (np.diff(values) > 0).all())
            require(rising, name, "finite and increase strictly from point to point", values.tolist())
        in_range(f"rate_{which}", rate[0], 0, ends="(]")
        curves += [rate, quality]
    return tuple(curves)


def _overlap(anchor: np.ndarray, test: np.ndarray, axis: str) -> tuple[float, float]:
    low, high = float(max(anchor[0], test[0])), float(min(anchor[-1], test[-1]))
    if low >= high:
        spans = [f"[{curve[0]:g}, {curve[-1]:g}]" for curve in (anchor, test)]
        raise InputError(f"{axis}_anchor {spans[0]} and {axis}_test {spans[1]} must overlap")
    return low, high
