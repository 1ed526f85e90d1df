"""The released code's way of measuring: entropies of patches in nats, and SSIM of patches."""

from __future__ import annotations

from itertools import product

import numpy as np

from sparsecomp import metrics
from sparsecomp.models.cae_admm import SCALE

PATCH = 128  # pixels, along one side, of a patch


def of_code(symbols: np.ndarray) -> dict:
    """What a row says of a code: its share of zeros, and the released code's "bpp"."""
    return {"zeros": round(float((symbols == 0).mean()), 5), "nats": round(released_bpp(symbols), 5)}


def by_patches(reference: np.ndarray, reconstruction: np.ndarray) -> dict:
    """What a row says of SSIM by patches: null where it is not defined."""
    measured = patch_ssim(reference, reconstruction)
    return {"ssim_patches": None if measured is None else round(measured, 5)}


def released_bpp(symbols: np.ndarray) -> float:
    """What the released code prints as "bpp": the entropy, in nats, of a patch's symbols, over its pixels; the mean of
    all patches of 128 x 128.

    All channels of a patch go into one histogram of its own, which no file would hold. For a code int ``(C, h, w)``
    patches are 16 x 16 places; what is left at the borders makes smaller ones, weighed by their size.
    """
    side, nats = PATCH // SCALE, 0.0
    channels, rows, columns = symbols.shape
    for top, left in product(range(0, rows, side), range(0, columns, side)):
        patch = symbols[:, top : top + side, left : left + side]
        counts = np.unique(patch, return_counts=True)[1]
        nats -= float(counts @ np.log(counts / counts.sum()))
    return nats / (rows * columns * SCALE**2)


def patch_ssim(reference: np.ndarray, reconstruction: np.ndarray) -> float | None:
    """SSIM as the released code has it: of patches of 128 x 128, and their mean, so that no window crosses a border.

    Patches that the picture's borders cut are left out; a picture smaller than one patch is measured whole.
    None where SSIM is not defined (`metrics.ssim`).
    """
    height, width, _ = reference.shape
    if min(height, width) < PATCH:
        return metrics.ssim(reference=reference, reconstruction=reconstruction)
    tops, lefts = range(0, height - PATCH + 1, PATCH), range(0, width - PATCH + 1, PATCH)
    return float(np.mean([
        metrics.ssim(reference=reference[top : top + PATCH, left : left + PATCH],
                     reconstruction=reconstruction[top : top + PATCH, left : left + PATCH])
        for top, left in product(tops, lefts)
    ]))  # fmt: skip
