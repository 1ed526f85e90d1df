"""A whole picture, of any size, through a convolutional network.

A network takes pictures whose sides are multiples of its scale: `pad` makes one. `in_strips` bounds the memory, without
a seam. Scale and margin are the network's: `SCALE` of its module, and ``margin`` of its `Shape`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

Network = TypeVar("Network", bound=nn.Module)


def pad(x: torch.Tensor, scale: int) -> torch.Tensor:
    """A picture ``(B, 3, H, W)`` with its last row and column repeated until both sides are multiples of ``scale``."""
    height, width = x.shape[-2:]
    return F.pad(x, (0, -width % scale, 0, -height % scale), mode="replicate")


def channels_last(network: Network, device: str | torch.device = "cpu") -> Network:
    """A network where it is to run, in place, with its weights as a CPU convolves fastest: channels last."""
    return network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]  # PyTorch's stub lacks it


def to_tensor(picture: np.ndarray) -> torch.Tensor:
    """A picture uint8 ``(H, W, 3)``, of whatever strides, as ``(1, 3, H, W)`` of the same numbers."""
    return torch.from_numpy(picture.copy()).permute(2, 0, 1)[None]


def to_input(picture: np.ndarray, scale: int, device: str | torch.device = "cpu") -> torch.Tensor:
    """A picture uint8 ``(H, W, 3)`` as an encoder takes it: ``(1, 3, H', W')`` in [0, 1], sides multiples of scale."""
    x = to_tensor(picture).to(device).float() / 255
    return pad(x, scale).contiguous(memory_format=torch.channels_last)


@torch.no_grad()
def in_strips(
    network: Callable[[torch.Tensor], torch.Tensor],
    x: torch.Tensor,
    *,
    scale: int,
    margin: int,
    down: bool,
    pixels: int = 2**20,
) -> torch.Tensor:
    """``network(x)``, computed in strips of about so many pixels of the picture, so that memory is bounded.

    A strip runs across the shorter side. It is computed with ``margin`` places of the code more on both sides, farther
    than the layers look, and these are cut off: there is no seam. (Rounding may differ in the last bit of a float,
    because other sizes are summed in another order.)

    Parameters
    ----------
    network : callable
        An encoder (``down=True``: its output has fewer rows by the factor ``scale``) or a decoder (it has more).
    x : ``(1, channels, rows, columns)``
    scale : int
        Pixels of the picture, along one side, for one place of the code.
    margin : int
        Places of the code that the network does not look beyond.
    pixels : int
        At least one row of places is computed at a time, and what the margin adds.
    """
    into, out = (scale, 1) if down else (1, scale)
    along = 2 if x.shape[2] >= x.shape[3] else 3
    length, across = x.shape[along] // into, x.shape[5 - along] // into
    each = max(1, pixels // scale**2 // across)
    if each >= length:
        return network(x)
    strips = []
    for first in range(0, length, each):
        last = min(length, first + each)
        low, high = max(0, first - margin), min(length, last + margin)
        strip = network(x.narrow(along, into * low, into * (high - low)))
        strips.append(strip.narrow(along, out * (first - low), out * (last - first)))
    return torch.cat(strips, along)
