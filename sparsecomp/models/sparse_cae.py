"""The convolutional autoencoder of Gille et al. (2022), after the network that they took from a public implementation
of Theis et al. (2017).

::

    x (B, 3, H, W) -> conv 5x5 /2 -> conv 5x5 /2 -> three residual blocks -> conv 5x5 -> tanh -> z (B, C, H/4, W/4)
    z -> conv 3x3, up x2 -> three residual blocks -> conv 3x3, up x2 -> conv 3x3 -> conv 3x3 -> x_hat (B, 3, H, W)

At ``width=128``, ``latent=32``, the paper's, the encoder has 1,197,728 parameters and 75.7 kMAC a pixel of the picture,
the decoder 1,044,131 and 279.1 (277.2 in the released code, which leaves out some padding). All layers pad with zeros,
so the network takes a whole picture of any size whose sides are multiples of 4; `pad` makes one, and `in_strips` bounds
the memory without a seam.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn

SCALE = 4  # pixels of the picture, along one side, for one place of the latent
MARGIN = 12  # places of the latent; neither encoder nor decoder looks farther than that
MAX_WIDTH, MAX_LATENT = 512, 256


@dataclass(frozen=True)
class Shape:
    """How large an autoencoder is.

    Parameters
    ----------
    width : int
        Filters of the residual stream, a multiple of 8 from 8 to 512; the paper's 128.
    latent : int
        Channels of the latent, 1 to 256; the paper's 32, which makes two symbols for one pixel.
    encoder_width : int, optional
        Of an encoder that is narrower than the decoder, the control of every pruned one; by default `width`.
    """

    width: int = 128
    latent: int = 32
    encoder_width: int | None = None

    def __post_init__(self) -> None:
        for name in ("width", *(("encoder_width",) if self.encoder_width is not None else ())):
            value = getattr(self, name)
            if not isinstance(value, int) or value % 8 or not 8 <= value <= MAX_WIDTH:
                raise ValueError(f"{name}={value!r}: a multiple of 8 from 8 to {MAX_WIDTH} is needed")
        if not isinstance(self.latent, int) or not 1 <= self.latent <= MAX_LATENT:
            raise ValueError(f"latent={self.latent!r}: a whole number from 1 to {MAX_LATENT} is needed")


class Block(nn.Module):
    """A residual block: ``x + conv(leaky_relu(conv(x)))``, both 3x3."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(width, width, 3, padding=1)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """``(B, width, h, w)`` to the same."""
        return x + self.conv2(F.leaky_relu(self.conv1(x)))


class Encoder(nn.Module):
    """A picture ``(B, 3, H, W)`` in [0, 1], sides multiples of 4, to a latent ``(B, latent, H/4, W/4)`` in (-1, 1)."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        width = shape.encoder_width or shape.width
        self.conv1 = nn.Conv2d(3, width // 2, 5, stride=2, padding=2)
        self.conv2 = nn.Conv2d(width // 2, width, 5, stride=2, padding=2)
        self.blocks = nn.Sequential(*(Block(width) for _ in range(3)))
        self.conv3 = nn.Conv2d(width, shape.latent, 5, padding=2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The latent z before any quantisation."""
        x = F.leaky_relu(self.conv1(x - 0.5))
        x = F.leaky_relu(self.conv2(x))
        return torch.tanh(self.conv3(self.blocks(x)))


class Decoder(nn.Module):
    """A latent ``(B, latent, h, w)`` to a picture ``(B, 3, 4 h, 4 w)``, about [0, 1] and not clipped."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        width = shape.width
        self.conv1 = nn.Conv2d(shape.latent, width // 2, 3, padding=1)
        self.up1 = nn.ConvTranspose2d(width // 2, width, 2, stride=2)
        self.blocks = nn.Sequential(*(Block(width) for _ in range(3)))
        narrow, last = max(16, width // 4), max(16, width // 8)  # less would hold fewer numbers than the picture has
        self.conv2 = nn.Conv2d(width, narrow, 3, padding=1)
        self.up2 = nn.ConvTranspose2d(narrow, 2 * width, 2, stride=2)
        self.conv3 = nn.Conv2d(2 * width, last, 3, padding=1)
        self.conv4 = nn.Conv2d(last, 3, 3, padding=1)

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        """The picture that a latent stands for."""
        x = F.leaky_relu(self.up1(self.conv1(z)))
        x = F.leaky_relu(self.up2(self.conv2(self.blocks(x))))
        return self.conv4(F.leaky_relu(self.conv3(x))) + 0.5


class SparseCAE(nn.Module):
    """Encoder and decoder. The quantiser and the prior stand in `coding.prior`; sparsity comes from outside."""

    def __init__(self, shape: Shape, seed: int = 0) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=()):
            torch.manual_seed(seed)  # the first values of all layers; nothing else is drawn from it
            self.encoder, self.decoder = Encoder(shape), Decoder(shape)
            first_values(self)
        self.shape = shape


def first_values(model: SparseCAE) -> None:
    """Draw first weights with which the whole network is linear and keeps the size of its signals; biases begin at 0.

    Nothing in this network normalises, and with PyTorch's own first values, or those of He et al. (2015), the first
    thousand steps of Adam learn little more than blurred pictures. So: filters before a leaky ReLU come in pairs of
    opposite sign and their readers subtract them again, which undoes the ReLU ("looks linear", Balduzzi et al. 2017);
    matrices are orthogonal and stand on the middle tap alone (Xiao et al. 2018), of a 5x5 layer of stride 2 on the
    middle 2x2, so that each pixel is read once; residual blocks begin as the identity.
    """
    encoder, decoder = model.encoder, model.decoder
    # Layer, whether a leaky ReLU stands before it, and whether one stands behind it.
    for layer, before, behind in (
        (encoder.conv1, False, True), (encoder.conv2, True, True), (encoder.conv3, True, False),
        (decoder.conv1, False, False), (decoder.up1, False, True), (decoder.conv2, True, False),
        (decoder.up2, False, True), (decoder.conv3, True, True), (decoder.conv4, True, False),
        *((block.conv1, True, True) for block in (*encoder.blocks, *decoder.blocks)),
        *((block.conv2, True, False) for block in (*encoder.blocks, *decoder.blocks)),
    ):  # fmt: skip
        _look_linear(layer, before, behind)
    for block in (*encoder.blocks, *decoder.blocks):
        nn.init.zeros_(block.conv2.weight)


@torch.no_grad()
def _look_linear(layer: nn.Conv2d | nn.ConvTranspose2d, before: bool, behind: bool) -> None:
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    transposed = isinstance(layer, nn.ConvTranspose2d)
    weight = layer.weight.transpose(0, 1) if transposed else layer.weight
    filters, inputs, side, _ = weight.shape
    filters, inputs = filters // (1 + behind), inputs // (1 + before)
    if transposed:  # every tap is a matrix of its own
        taps, first = side, 0
        matrix = torch.stack([nn.init.orthogonal_(torch.empty(filters, inputs)) for _ in range(taps * taps)], -1)
    else:
        taps, first = layer.stride[0], side // 2
        matrix = nn.init.orthogonal_(torch.empty(filters, inputs * taps * taps))
    matrix = matrix.view(filters, inputs, taps, taps)
    matrix = torch.cat([matrix, -matrix], 1) if before else matrix
    matrix = torch.cat([matrix, -matrix], 0) if behind else matrix
    weight[:, :, first : first + taps, first : first + taps] = matrix


def pad(x: torch.Tensor) -> torch.Tensor:
    """A picture ``(B, 3, H, W)`` with its last row and column repeated until both sides are multiples of 4."""
    height, width = x.shape[-2:]
    return F.pad(x, (0, -width % SCALE, 0, -height % SCALE), mode="replicate")


@torch.no_grad()
def in_strips(
    network: Callable[[torch.Tensor], torch.Tensor], x: torch.Tensor, *, places: int = 2**16, down: bool
) -> torch.Tensor:
    """``network(x)``, computed in strips of about ``places`` places of the latent, so that memory is bounded.

    A strip runs across the shorter side. It is computed with `MARGIN` places of the latent more on both sides, farther
    than the layers look, and these are cut off: there is no seam. (Rounding may differ in the last bit of a float,
    because other sizes are summed in another order.)

    Parameters
    ----------
    network : callable
        An encoder (``down=True``: its output has a quarter of the rows) or a decoder (four times the rows).
    x : ``(1, channels, rows, columns)``
    places : int
    """
    into, out = (SCALE, 1) if down else (1, SCALE)
    along = 2 if x.shape[2] >= x.shape[3] else 3
    length, across = x.shape[along] // into, x.shape[5 - along] // into
    each = max(1, places // across)
    if each >= length:
        return network(x)
    strips = []
    for first in range(0, length, each):
        last = min(length, first + each)
        low, high = max(0, first - MARGIN), min(length, last + MARGIN)
        strip = network(x.narrow(along, into * low, into * (high - low)))
        strips.append(strip.narrow(along, out * (first - low), out * (last - first)))
    return torch.cat(strips, along)
