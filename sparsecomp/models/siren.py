"""SIREN, a network fitted to one picture: the model of COIN and of L0onie.

A SIREN maps a position to a colour through ``depth`` sine layers and one linear layer (Sitzmann et al. 2020, eq. 3)::

    h_0     = position                              (n_in,)
    h_{l+1} = sin(w0 (W_l h_l + b_l))               (width,)    l = 0 .. depth - 1
    colour  = W_depth h_depth + b_depth             (n_out,)    RGB in [0, 1]

Many fits run side by side, so all parameters of one network are one flat vector, and ``B`` networks of one architecture
are one tensor ``(B, P)``. The order of the vector (W_0, b_0, W_1, b_1, ...; each W row by row) is also the order in the
file.
"""

from __future__ import annotations

import functools
import math
import re
from dataclasses import dataclass

import torch

from sparsecomp.checks import InputError, in_range, one_of, require, whole

MAX_DEPTH, MAX_WIDTH = 64, 512
COORDINATES = ("per_axis", "coin")
FEATURE_SCALE = 0.2


@dataclass(frozen=True)
class Architecture:
    """Shape of a SIREN; ``str(Architecture(10, 28))`` is the papers' ``"10x28"``.

    Parameters
    ----------
    depth : int
        Number of sine layers, 1 to 64.
    width : int
        Units in each of them, 1 to 512.
    w0 : float
        Frequency of the sines, in (0, 1000]; 30 in all papers.
    n_in, n_out : int
        Dimension of a position and of a colour.
    """

    depth: int
    width: int
    w0: float = 30.0
    n_in: int = 2
    n_out: int = 3

    def __post_init__(self) -> None:
        for name, top in (("depth", MAX_DEPTH), ("width", MAX_WIDTH), ("n_in", 64), ("n_out", 64)):
            whole(name, getattr(self, name), 1, top)
        in_range("w0", self.w0, 0, 1000, "(]")

    @classmethod
    def parse(cls, text: str) -> Architecture:
        """Read ``"10x28"`` (depth x width). Raises `ValueError` for anything else."""
        found = re.fullmatch(r"(\d{1,3})x(\d{1,4})", text.strip())
        if not found:
            raise InputError(f"architecture {text!r}: write DEPTHxWIDTH, for example 10x28")
        return cls(int(found[1]), int(found[2]))

    def __str__(self) -> str:
        return f"{self.depth}x{self.width}"

    @property
    def shapes(self) -> list[tuple[int, int]]:
        """``(outputs, inputs)`` of every layer, first to last."""
        dims = [self.n_in, *[self.width] * self.depth, self.n_out]
        return list(zip(dims[1:], dims[:-1], strict=True))

    @property
    def n_parameters(self) -> int:
        """Weights and biases together: 7,479 for 10x28, which is 0.304 bpp at 16 bits on a Kodak picture."""
        return sum(out * (inp + 1) for out, inp in self.shapes)


def spans(height: int, width: int, coordinates: str = "per_axis") -> tuple[int, int]:
    """What row and column numbers are divided by: row i lies at ``2 i / span_y - 1``, column j at ``2 j / span_x - 1``.

    ``"per_axis"`` (L0onie): each axis runs over [-1, 1]. ``"coin"`` (the released COIN): both axes are divided by
    ``height - 1``, so that y runs over [-1, 1] and x, on a 768x512 picture, from -1 to 2.002. The two give different
    networks.
    """
    one_of("coordinates", coordinates, COORDINATES)
    span_y = max(height - 1, 1)
    return span_y, span_y if coordinates == "coin" else max(width - 1, 1)


def positions(height: int, width: int, coordinates: str = "per_axis", n_in: int = 2) -> torch.Tensor:
    """What the network sees of every pixel, row by row: float32 ``(n_in, height * width)``; see `positions_of`."""
    return positions_of(torch.arange(height * width), height, width, coordinates, n_in)


def positions_of(
    index: torch.Tensor, height: int, width: int, coordinates: str = "per_axis", n_in: int = 2
) -> torch.Tensor:
    """What the network sees of the pixels ``index (N,)``, counted row by row: ``(n_in, N)``.

    With ``n_in = 2`` a position, y above x, spaced as `spans` says. With ``n_in = 2 + 4 K`` there follow, for ``k = 0
    .. K - 1``, the features ``sin(2^k pi p)`` and ``cos(2^k pi p)`` of a position p (Mildenhall et al. 2020, eq. 4),
    weakened by `FEATURE_SCALE` so that the first sines begin no faster than without them.
    """
    require(n_in >= 2 and n_in % 4 == 2, "n_in", "2, or 2 and four for each frequency", n_in)
    span_y, span_x = spans(height, width, coordinates)
    seen = [torch.stack([(index // width).float() / span_y * 2 - 1, (index % width).float() / span_x * 2 - 1])]
    for k in range((n_in - 2) // 4):
        angle = 2**k * math.pi * seen[0]
        seen += [FEATURE_SCALE * angle.sin(), FEATURE_SCALE * angle.cos()]
    return torch.cat(seen)


def initial_parameters(architecture: Architecture, seed: int, biases: str = "torch") -> torch.Tensor:
    """First values of one network, float32 ``(P,)``; the same seed gives the same values everywhere.

    Weights are uniform in +-1/n_in in the first layer and +-sqrt(6/inputs)/w0 after it (Sitzmann et al. 2020, sec.
    3.2).

    Parameters
    ----------
    biases : {"torch", "coin"}
        Uniform in +-1/sqrt(inputs), PyTorch's default, or in the range of the layer's weights, as the released COIN
        draws them. After the first layer PyTorch's are ``w0 / sqrt(6)`` times as wide, 12 times for ``w0 = 30``: with
        28 inputs the phases of the sines then spread over almost two periods.
    """
    one_of("biases", biases, ("torch", "coin"))
    generator = torch.Generator().manual_seed(seed)
    parts = []
    for layer, (out, inp) in enumerate(architecture.shapes):
        limit = 1 / inp if layer == 0 else math.sqrt(6 / inp) / architecture.w0
        parts.append((torch.rand(out * inp, generator=generator) * 2 - 1) * limit)
        drawn = torch.rand(out, generator=generator) * 2 - 1
        parts.append(drawn * limit if biases == "coin" else drawn / math.sqrt(inp))
    return torch.cat(parts)


def layers(architecture: Architecture, parameters: torch.Tensor) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Views ``W (B, out, in)`` and ``b (B, out, 1)`` of every layer into ``parameters (B, P)``; no copy is made."""
    views, start = [], 0
    for out, inp in architecture.shapes:
        weight = parameters[:, start : start + out * inp].unflatten(1, (out, inp))
        start += out * inp
        views.append((weight, parameters[:, start : start + out].unsqueeze(2)))
        start += out
    return views


def forward(architecture: Architecture, parameters: torch.Tensor, inputs: torch.Tensor) -> torch.Tensor:
    """Colours ``(B, n_out, N)`` of the positions ``inputs (B, n_in, N)`` under the networks ``parameters (B, P)``."""
    *sines, (last_weight, last_bias) = layers(architecture, parameters)
    hidden = inputs
    for weight, bias in sines:
        hidden = torch.sin(architecture.w0 * torch.baddbmm(bias, weight, hidden))
    return torch.baddbmm(last_bias, last_weight, hidden)


@torch.no_grad()
def render(
    architecture: Architecture,
    parameters: torch.Tensor,
    height: int,
    width: int,
    coordinates: str = "per_axis",
    tile: int = 16384,
) -> torch.Tensor:
    """The picture of one network ``parameters (P,)``: uint8 ``(height, width, 3)``, clipped and rounded to what a
    screen shows.

    Worked off in tiles of pixels, so that the memory for hidden layers is bounded whatever the size of the picture.
    """
    pixels = height * width
    picture = torch.empty(pixels, architecture.n_out, dtype=torch.uint8)
    for start in range(0, pixels, tile):
        index = torch.arange(start, min(start + tile, pixels))
        inputs = positions_of(index, height, width, coordinates, architecture.n_in).to(parameters.device)
        colour = forward(architecture, parameters[None], inputs[None])[0]
        picture[index] = colour.clamp(0, 1).mul(255).round().to(torch.uint8).T.cpu()
    return picture.view(height, width, architecture.n_out)


@functools.cache
def tensor_of(architecture: Architecture) -> torch.Tensor:
    """Which matrix or bias vector each parameter belongs to, int64 ``(P,)``: W_0 is 0, b_0 is 1, W_1 is 2, ..."""
    parts = []
    for layer, (out, inp) in enumerate(architecture.shapes):
        parts += [torch.full((out * inp,), 2 * layer), torch.full((out,), 2 * layer + 1)]
    return torch.cat(parts)
