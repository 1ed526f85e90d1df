"""The compressive autoencoder of Zhao & Liao (2019), after Theis et al. (2017), as the released code builds it.

::

    x (B, 3, H, W) -> conv 3x3 -> conv 5x5 /2 -> conv 3x3 -> 15 residual blocks -> conv 5x5 /2 -> conv 5x5 /2
      -> conv 3x3 -> z (B, C, H/8, W/8)
    round(z) -> 1x1 -> 1x1, up x2 -> 1x1, up x2 -> 15 residual blocks -> 1x1 -> 1x1, up x2 -> 1x1 -> x_hat

Behind every convolution stands a batch normalisation, behind the outer ones a PReLU. A residual block is a bottleneck
without a neck: 1x1, 3x3, 1x1, all at the same width. Up x2 is a sub-pixel convolution (Shi et al. 2016): four times the
channels, then each four become 2x2 pixels. The last layer of the encoder sets the rate: with C = 16 or 32 channels the
code has 1/4 or 1/2 symbols for one pixel.

At ``width=128``, ``depth=15``, ``latent=16``, the paper's, the encoder takes 721.6 kMAC a pixel of the picture. Every
size whose sides are multiples of 8 will do, even 8x8.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import nn

from sparsecomp.checks import multiple, one_of, whole
from sparsecomp.options import later

SCALE = 8  # pixels of the picture, along one side, for one place of the code
MAX_WIDTH, MAX_LATENT, MAX_DEPTH = 512, 256, 32
Padding = Literal["zeros", "reflect"]
LINEAR = 1.0  # slope of a PReLU below 0 with which it is the identity


@dataclass(frozen=True)
class Shape:
    """How large an autoencoder is.

    Parameters
    ----------
    width : int
        Filters of the residual stream, a multiple of 8 from 8 to 512; the paper's 128.
    latent : int
        Channels C of the code, 1 to 256; the paper's 16 and 32.
    depth : int
        Residual blocks in the encoder, and in the decoder, 0 to 32; the paper's 15.
    padding : {"zeros", "reflect"}
        What the 3x3 convolutions of the residual blocks see beyond the border: zeros, or, as in the released code, the
        row or column inside it.
    """

    width: int = 128
    latent: int = 32
    depth: int = 15
    padding: Padding = later("zeros")

    def __post_init__(self) -> None:
        whole("width", self.width, 8, MAX_WIDTH)
        multiple("width", self.width, 8)
        whole("latent", self.latent, 1, MAX_LATENT)
        whole("depth", self.depth, 0, MAX_DEPTH)
        one_of("padding", self.padding, get_args(Padding))

    @property
    def margin(self) -> int:
        """Places of the code that neither encoder nor decoder looks beyond, on either side."""
        return -(-(self.depth + 2) // 4) + 4


def conv(inputs: int, filters: int, kernel: int, *, stride: int = 1, padding: Padding = "zeros") -> nn.Sequential:
    """A convolution and its batch normalisation, which makes a bias of its own superfluous."""
    layer = nn.Conv2d(inputs, filters, kernel, stride=stride, padding=kernel // 2, bias=False, padding_mode=padding)
    nn.init.kaiming_normal_(layer.weight, mode="fan_out")
    normalise = nn.BatchNorm2d(filters)
    normalise.num_batches_tracked = None  # with a fixed momentum nobody reads it
    return nn.Sequential(layer, normalise)


def up(inputs: int, filters: int, factor: int = 2) -> nn.Sequential:
    """A sub-pixel convolution: ``(B, inputs, h, w)`` to ``(B, filters, factor h, factor w)``."""
    return nn.Sequential(*conv(inputs, filters * factor**2, 1), nn.PixelShuffle(factor))


class Block(nn.Module):
    """``prelu(x + bn(conv 1x1(prelu(bn(conv 3x3(prelu(bn(conv 1x1(x)))))))))``; the identity, but for the PReLU, at
    first: the last batch normalisation begins with the weight 0.
    """

    def __init__(self, width: int, padding: Padding = "zeros", slope: float = LINEAR) -> None:
        super().__init__()
        self.body = nn.Sequential(
            conv(width, width, 1), nn.PReLU(init=slope),
            conv(width, width, 3, padding=padding), nn.PReLU(init=slope),
            conv(width, width, 1),
        )  # fmt: skip
        *_, normalisation = self.body.modules()
        assert isinstance(normalisation, nn.BatchNorm2d)
        nn.init.zeros_(normalisation.weight)
        self.prelu = nn.PReLU(init=slope)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """``(B, width, h, w)`` to the same."""
        return self.prelu(x + self.body(x))


class Encoder(nn.Sequential):
    """A picture ``(B, 3, H, W)`` in [0, 1], sides multiples of 8, to z ``(B, latent, H/8, W/8)``, any real numbers."""

    def __init__(self, shape: Shape, slope: float = LINEAR) -> None:
        width = shape.width
        super().__init__(
            conv(3, width // 4, 3), nn.PReLU(init=slope),
            conv(width // 4, width // 2, 5, stride=2), nn.PReLU(init=slope),
            conv(width // 2, width, 3), nn.PReLU(init=slope),
            *(Block(width, shape.padding, slope) for _ in range(shape.depth)),
            conv(width, width // 2, 5, stride=2),
            conv(width // 2, width // 4, 5, stride=2),
            conv(width // 4, shape.latent, 3),
        )  # fmt: skip


class Decoder(nn.Sequential):
    """A code ``(B, latent, h, w)`` to a picture ``(B, 3, 8 h, 8 w)`` in (0, 1)."""

    def __init__(self, shape: Shape, slope: float = LINEAR) -> None:
        width = shape.width
        super().__init__(
            conv(shape.latent, width // 4, 1), up(width // 4, width // 2), up(width // 2, width), nn.PReLU(init=slope),
            *(Block(width, shape.padding, slope) for _ in range(shape.depth)),
            conv(width, width // 2, 1), nn.PReLU(init=slope),
            up(width // 2, width // 4), nn.PReLU(init=slope),
            conv(width // 4, 3, 1),
        )  # fmt: skip

    def forward(self, code: torch.Tensor) -> torch.Tensor:
        """The picture that a code stands for: ``(tanh + 1) / 2``."""
        return (torch.tanh(super().forward(code)) + 1) / 2


class CaeAdmm(nn.Module):
    """Encoder and decoder. The quantiser stands in `coding.quantize`, the pruning in `sparsify.admm`.

    Parameters
    ----------
    shape : Shape
    seed : int
        Of the first values of all layers.
    slope : float
        First slope of the PReLUs below 0 (`training.configs.CodeDescent.slope`).
    """

    def __init__(self, shape: Shape, seed: int = 0, slope: float = LINEAR) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=()):
            torch.manual_seed(seed)  # the first values of all layers; nothing else is drawn from it
            self.encoder, self.decoder = Encoder(shape, slope), Decoder(shape, slope)
        self.shape = shape
