"""A block transform as the first values of convolutions: a network that begins where JPEG ends.

An autoencoder of strided convolutions can hold the DCT of a block exactly, a factor of two at a time: one layer takes
blocks of 2x2 pixels, the next takes 2x2 of those. Between two layers the coordinates are turned by a random orthogonal
matrix, so that the function is the same for every seed and no weight is.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import nn


def dct(side: int) -> torch.Tensor:
    """The orthonormal DCT of ``side x side`` blocks, of luma and two colour differences: ``(3 side^2, 3, side, side)``.

    By rising frequency; a colour difference counts as twice the frequency and comes after luma.
    """
    k, i = torch.arange(side)[:, None], torch.arange(side)
    cosines = torch.cos(math.pi * (2 * i + 1) * k / (2 * side)) * (2 / side) ** 0.5
    cosines[0] /= 2**0.5
    luma, blue, red = [1.0, 1.0, 1.0], [-1.0, -1.0, 2.0], [1.0, -1.0, 0.0]
    colours = F.normalize(torch.tensor([luma, blue, red]))
    basis = torch.einsum("ac,uy,vx->auvcyx", colours, cosines, cosines).flatten(0, 2)
    order = [((u * u + v * v) * (4 if a else 1) + (1.5 if a else 0)) for a in range(3) for u in k for v in i]
    return basis[torch.tensor(order).argsort(stable=True)]


def of_places(blocks: torch.Tensor, units: torch.Tensor) -> torch.Tensor:
    """Filters of blocks in terms of units that stand at the 2x2 places of a block.

    Parameters
    ----------
    blocks : ``(S, 3, 2n, 2n)``
    units : ``(C, 3 n^2)``
        Filters of n x n pixels, with orthonormal columns.

    Returns
    -------
    ``(S, C, 2, 2)``
    """
    half = blocks.shape[-1] // 2
    parts = blocks.unflatten(3, (2, half)).unflatten(2, (2, half))  # (S, 3, Y, y, X, x)
    return torch.einsum("scYyXx,ucyx->suYX", parts, units.view(-1, 3, half, half))


def turn(rows: int, columns: int) -> torch.Tensor:
    """A random ``(rows, columns)`` with orthonormal columns; of more columns than rows it drops the last."""
    turned = nn.init.orthogonal_(torch.empty(rows, min(rows, columns)))
    return F.pad(turned, (0, max(0, columns - rows)))
