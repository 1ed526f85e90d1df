"""The convolutional autoencoder of Gille et al. (2022), after the network that they took from a public implementation
of Theis et al. (2017).

::

    x (B, 3, H, W) -> conv 5x5 /2 -> conv 5x5 /2 -> three residual blocks -> conv 5x5 -> tanh -> z (B, C, H/4, W/4)
    z -> conv 3x3, up x2 -> three residual blocks -> conv 3x3, up x2 -> conv 3x3 -> conv 3x3 -> x_hat (B, 3, H, W)

At ``width=128``, ``latent=32``, the paper's, the encoder has 1,197,728 parameters and 75.7 kMAC a pixel of the picture,
the decoder 1,044,131 and 279.1 (277.2 in the released code, which leaves out some padding). All layers pad with zeros,
so the network takes a whole picture of any size whose sides are multiples of 4 (`models.inference`).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn

from sparsecomp.checks import multiple, one_of, whole
from sparsecomp.models.transform import dct, of_places, turn

SCALE = 4  # pixels of the picture, along one side, for one place of the latent
MARGIN = 12  # places of the latent; neither encoder nor decoder looks farther than that
MAX_WIDTH, MAX_LATENT = 512, 256
STARTS = ("dct", "torch")


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
            whole(name, getattr(self, name), 8, MAX_WIDTH)
            multiple(name, getattr(self, name), 8)
        whole("latent", self.latent, 1, MAX_LATENT)

    @property
    def margin(self) -> int:
        """`MARGIN`, whatever the width."""
        return MARGIN


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
    """Encoder and decoder. The quantiser and the prior stand in `coding.latents`; sparsity comes from outside.

    Parameters
    ----------
    shape : Shape
    seed : int
        Of the first values.
    start : {"dct", "torch"}
        First values: a transform codec's (`first_values`), or PyTorch's own, which are the paper's.
    """

    def __init__(self, shape: Shape, seed: int = 0, start: str = "dct") -> None:
        super().__init__()
        one_of("start", start, STARTS)
        with torch.random.fork_rng(devices=()):
            torch.manual_seed(seed)  # the first values of all layers; nothing else is drawn from it
            self.encoder, self.decoder = Encoder(shape), Decoder(shape)
            self.shape = shape
            if start == "dct":
                first_values(self)


SLOPE = 0.01  # of PyTorch's leaky ReLU
GAIN = 1 / 4  # of the first latent; the DC of white is sqrt(12), so the tanh squeezes little but the lowest frequency


@torch.no_grad()
def first_values(model: SparseCAE) -> None:
    """Begin as a transform codec: the latent is a DCT of 4x4 blocks, and the decoder is its inverse, but for the tanh.

    Nothing in this network normalises, and from random first values it spends most of a short training on what has
    been known since JPEG. In trials of 1,000 steps at width 48 (not kept as records) random orthogonal matrices came to
    the same quality at half as many bits again; PyTorch's own first values, or those of He et al. (2015), to little
    more than blurred pictures.

    The layers are linear at first: filters before a leaky ReLU come in pairs of opposite sign, and their readers
    subtract them again, which undoes it ("looks linear", Balduzzi et al. 2017). Between two layers the coordinates are
    turned by a random orthogonal matrix: the function is the same for every seed, no weight is. Residual blocks begin
    as the identity, their first layer an orthogonal matrix on the middle tap. A narrow network keeps the lowest
    frequencies.
    """
    encoder, decoder, latent = model.encoder, model.decoder, model.shape.latent
    for layer in model.modules():
        if isinstance(layer, (nn.Conv2d, nn.ConvTranspose2d)):
            for parameter in layer.parameters():
                nn.init.zeros_(parameter)
    blocks, pairs = dct(4), dct(2)  # (48, 3, 4, 4) and (12, 3, 2, 2), lowest frequencies first
    # Encoder: 2x2 blocks of pixels, of which the first layer's units see `kept`; then 2x2 of those.
    kept = turn(encoder.conv1.out_channels // 2, 12) @ pairs.flatten(1)
    units = encoder.conv2.out_channels // 2
    used = min(latent, units, len(blocks))
    turned = turn(units, used)
    wanted = of_places(blocks[:used], kept)
    _set(encoder.conv1, kept.view(-1, 3, 2, 2), behind=True)
    _set(encoder.conv2, torch.einsum("us,scyx->ucyx", turned, wanted), before=True, behind=True)
    _set(encoder.conv3, GAIN * turned.T[:, :, None, None], before=True)
    # Decoder: the way back, with turns of its own.
    passed = min(used, decoder.conv1.out_channels)
    turns = [turn(n, m) for n, m in (
        (decoder.conv1.out_channels, passed), (decoder.up1.out_channels // 2, 12), (decoder.conv2.out_channels, 12),
        (decoder.up2.out_channels // 2, 3), (decoder.conv3.out_channels // 2, 3),
    )]  # fmt: skip
    back, pixels = of_places(blocks[:passed], pairs.flatten(1)), pairs.permute(1, 0, 2, 3)
    _set(decoder.conv1, turns[0][:, :, None, None] / GAIN)
    _set(decoder.up1, torch.einsum("uc,scyx,vs->uvyx", turns[1], back, turns[0]), behind=True)
    _set(decoder.conv2, (turns[2] @ turns[1].T)[:, :, None, None], before=True)
    _set(decoder.up2, torch.einsum("uc,csyx,vs->uvyx", turns[3], pixels, turns[2]), behind=True)
    _set(decoder.conv3, (turns[4] @ turns[3].T)[:, :, None, None], before=True, behind=True)
    _set(decoder.conv4, turns[4].T[:, :, None, None], before=True)
    for block in (*encoder.blocks, *decoder.blocks):
        units = block.conv1.out_channels // 2
        _set(block.conv1, turn(units, units)[:, :, None, None], before=True, behind=True)


def _set(
    layer: nn.Conv2d | nn.ConvTranspose2d, matrix: torch.Tensor, before: bool = False, behind: bool = False
) -> None:
    """Put ``matrix (filters, inputs, k, k)`` on the middle taps; in pairs of opposite sign where a leaky ReLU stands
    before or behind the layer.
    """
    weight = layer.weight.transpose(0, 1) if isinstance(layer, nn.ConvTranspose2d) else layer.weight
    # leaky_relu(a) - leaky_relu(-a) is (1 + slope) a.
    matrix = torch.cat([matrix, -matrix], 1) / (1 + SLOPE) if before else matrix
    matrix = torch.cat([matrix, -matrix], 0) if behind else matrix
    taps = matrix.shape[-1]
    first = 0 if isinstance(layer, nn.ConvTranspose2d) else weight.shape[-1] // 2
    weight[: len(matrix), : matrix.shape[1], first : first + taps, first : first + taps] = matrix
