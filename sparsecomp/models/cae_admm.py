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

import math
from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch
from torch import nn
from torch.nn import functional

from sparsecomp.checks import multiple, one_of, whole
from sparsecomp.models.transform import dct, of_places, turn
from sparsecomp.options import later

SCALE = 8  # pixels of the picture, along one side, for one place of the code
MAX_WIDTH, MAX_LATENT, MAX_DEPTH = 512, 256, 32
Padding = Literal["zeros", "reflect"]
STARTS = ("he", "dct")
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
    outer : int, optional
        Sets the filters of the layers outside the residual blocks, which have a quarter or a half of it: a multiple of
        8 from 8 to 512, by default `width`. The layers beside the code have ``outer / 4`` filters, so a place of the
        code holds at most as many numbers, whatever `latent` is: 16 at ``width=64`` with the default.
    """

    width: int = 128
    latent: int = 32
    depth: int = 15
    padding: Padding = later("zeros")
    outer: int | None = later(None)

    def __post_init__(self) -> None:
        for name in ("width", *(("outer",) if self.outer is not None else ())):
            whole(name, getattr(self, name), 8, MAX_WIDTH)
            multiple(name, getattr(self, name), 8)
        whole("latent", self.latent, 1, MAX_LATENT)
        whole("depth", self.depth, 0, MAX_DEPTH)
        one_of("padding", self.padding, get_args(Padding))

    @property
    def margin(self) -> int:
        """Places of the code that neither encoder nor decoder looks beyond, on either side."""
        return -(-(self.depth + 2) // 4) + 4


class OneSlope(torch.autograd.Function):
    """`torch.nn.functional.prelu` with one slope, and the gradient of it that is fast on a CPU.

    PyTorch's own takes several times as long there. Here the gradient to x has the same bits, but for bfloat16
    under autocast, where PyTorch rounds the slope to 8 significant bits and this does not. The gradient to the
    slope is the same sum in another order, in float32.
    """

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, slope: torch.Tensor) -> torch.Tensor:
        """``max(x, 0) + slope min(x, 0)`` for x of any shape and a slope ``(1,)``."""
        ctx.save_for_backward(x, slope)
        return functional.prelu(x, slope)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Both gradients."""
        (gradient,), (x, slope) = gradients, ctx.saved_tensors
        to_x = torch.ops.aten.leaky_relu_backward(gradient, x, float(slope), False)
        to_slope = (gradient * x.clamp(max=0)).sum(dtype=torch.float32)
        return to_x, to_slope.to(slope.dtype).view(1)


class PReLU(nn.PReLU):
    """A `torch.nn.PReLU` with one slope; on a CPU its gradient is that of `OneSlope`, unless it is compiled."""

    def __init__(self, slope: float) -> None:
        super().__init__(init=slope)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Any shape to the same."""
        ours = x.device.type == "cpu" and not torch.compiler.is_compiling()
        return OneSlope.apply(x, self.weight) if ours else super().forward(x)


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
            conv(width, width, 1), PReLU(slope),
            conv(width, width, 3, padding=padding), PReLU(slope),
            conv(width, width, 1),
        )  # fmt: skip
        *_, normalisation = self.body.modules()
        assert isinstance(normalisation, nn.BatchNorm2d)
        nn.init.zeros_(normalisation.weight)
        self.prelu = PReLU(slope)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """``(B, width, h, w)`` to the same."""
        return self.prelu(x + self.body(x))


class Encoder(nn.Sequential):
    """A picture ``(B, 3, H, W)`` in [0, 1], sides multiples of 8, to z ``(B, latent, H/8, W/8)``, any real numbers."""

    def __init__(self, shape: Shape, slope: float = LINEAR) -> None:
        width, outer = shape.width, shape.outer or shape.width
        super().__init__(
            conv(3, outer // 4, 3), PReLU(slope),
            conv(outer // 4, outer // 2, 5, stride=2), PReLU(slope),
            conv(outer // 2, width, 3), PReLU(slope),
            *(Block(width, shape.padding, slope) for _ in range(shape.depth)),
            conv(width, outer // 2, 5, stride=2),
            conv(outer // 2, outer // 4, 5, stride=2),
            conv(outer // 4, shape.latent, 3),
        )  # fmt: skip


class Decoder(nn.Sequential):
    """A code ``(B, latent, h, w)`` to a picture ``(B, 3, 8 h, 8 w)`` in (0, 1)."""

    def __init__(self, shape: Shape, slope: float = LINEAR) -> None:
        width, outer = shape.width, shape.outer or shape.width
        super().__init__(
            conv(shape.latent, outer // 4, 1), up(outer // 4, outer // 2), up(outer // 2, width), PReLU(slope),
            *(Block(width, shape.padding, slope) for _ in range(shape.depth)),
            conv(width, outer // 2, 1), PReLU(slope),
            up(outer // 2, outer // 4), PReLU(slope),
            conv(outer // 4, 3, 1),
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
    start : {"he", "dct"}
        First values of the layers outside the residual blocks: normal, after He et al. (2015); or a transform codec's
        (`first_values`; `calibrate` makes it exact).
    """

    def __init__(self, shape: Shape, seed: int = 0, slope: float = LINEAR, start: str = "he") -> None:
        super().__init__()
        one_of("start", start, STARTS)
        with torch.random.fork_rng(devices=()):
            torch.manual_seed(seed)  # the first values of all layers; nothing else is drawn from it
            self.encoder, self.decoder = Encoder(shape, slope), Decoder(shape, slope)
            self.shape = shape
            if start == "dct":
                first_values(self)


GAIN = 8  # of the first code: rounding 32 of 192 coefficients then leaves 36.6 dB of PSNR


@torch.no_grad()
def first_values(model: CaeAdmm) -> None:
    """Begin as a transform codec: the code is `GAIN` times a DCT of 8x8 blocks, and the decoder is its inverse.

    The layers take blocks of 2x2, 4x4 and 8x8 pixels (`models.transform`); residual blocks begin as the identity
    anyway, and PReLUs of slope 1 do so, too. A narrow network keeps the lowest frequencies. Batch normalisations undo
    the scale of every layer, until `calibrate` has made them the identity.
    """
    colour, pairs, fours, eights = (dct(side).flatten(1) for side in (1, 2, 4, 8))
    eights = eights[: model.shape.latent]

    def halves(small: torch.Tensor, large: torch.Tensor) -> torch.Tensor:
        """Each function of a block in terms of those of its four quarters."""
        side = math.isqrt(large.shape[1] // 3)
        return of_places(large.view(-1, 3, side, side), small)

    # A turn's rows are a layer's filters, its columns the functions of blocks that the layer holds.
    into = [layer for layer, _ in _outer(model.encoder)]
    sizes = (3, 12, 12, 48, len(eights))
    t = [turn(layer.out_channels, size) for layer, size in zip(into[:-1], sizes, strict=True)]
    _set(into[0], (t[0] @ colour)[:, :, None, None])
    _set(into[1], torch.einsum("us,scyx,vc->uvyx", t[1], halves(colour, pairs), t[0]))
    _set(into[2], (t[2] @ t[1].T)[:, :, None, None])
    _set(into[3], torch.einsum("us,scyx,vc->uvyx", t[3], halves(pairs, fours), t[2]))
    _set(into[4], torch.einsum("us,scyx,vc->uvyx", t[4], halves(fours, eights), t[3]))
    _set(into[5], GAIN * t[4].T[:, :, None, None])
    out = [layer for layer, _ in _outer(model.decoder)]
    filters = [layer.out_channels // (4 if number in (1, 2, 4) else 1) for number, layer in enumerate(out)]
    t = [turn(filters[number], size) for number, size in enumerate((len(eights), 48, 12, 12, 3))]
    _set(out[0], t[0][:, :, None, None] / GAIN)
    _set_up(out[1], torch.einsum("uc,scyx,vs->uyxv", t[1], halves(fours, eights), t[0]))
    _set_up(out[2], torch.einsum("uc,scyx,vs->uyxv", t[2], halves(pairs, fours), t[1]))
    _set(out[3], (t[3] @ t[2].T)[:, :, None, None])
    _set_up(out[4], torch.einsum("uc,scyx,vs->uyxv", t[4], halves(colour, pairs), t[3]))
    _set(out[5], 2 * (colour.T @ t[4].T)[:, :, None, None])


def _outer(network: nn.Sequential) -> list[tuple[nn.Conv2d, nn.BatchNorm2d]]:
    """Convolution and normalisation of every layer outside the residual blocks."""
    found = []
    for part in network:
        if isinstance(part, nn.Sequential):
            layer, normalisation = part[0], part[1]
            assert isinstance(layer, nn.Conv2d) and isinstance(normalisation, nn.BatchNorm2d)
            found.append((layer, normalisation))
    return found


def _set(layer: nn.Conv2d, matrix: torch.Tensor) -> None:
    """Put ``matrix (filters, inputs, k, k)`` on the middle taps, the first of two being the centre; zeros elsewhere."""
    nn.init.zeros_(layer.weight)
    taps, first = matrix.shape[-1], layer.weight.shape[-1] // 2
    layer.weight[: len(matrix), : matrix.shape[1], first : first + taps, first : first + taps] = matrix


def _set_up(layer: nn.Conv2d, matrix: torch.Tensor) -> None:
    """Put ``matrix (filters, 2, 2, inputs)`` before a pixel shuffle, which puts filter 4 u + 2 y + x at (y, x)."""
    _set(layer, matrix.flatten(0, 2)[:, :, None, None])


@torch.no_grad()
def calibrate(model: CaeAdmm, x: torch.Tensor) -> None:
    """Make the batch normalisations outside the residual blocks the identity for pictures ``x (B, 3, H, W)``.

    Their running statistics become those of x, their weights the deviations, their biases the means; but the code is
    left without its mean, and the last bias puts the mean colour back. So first values that mean something keep it.
    (Salimans & Kingma 2016 did the opposite: they set weights from data so that every deviation is 1.)
    """

    def take(layer: nn.Module, inputs: tuple[torch.Tensor]) -> None:
        assert isinstance(layer, nn.BatchNorm2d) and layer.running_mean is not None and layer.running_var is not None
        mean, variance = inputs[0].mean((0, 2, 3)), inputs[0].var((0, 2, 3))
        for own, value in ((layer.running_mean, mean), (layer.running_var, variance), (layer.bias, mean)):
            own.copy_(value)
        layer.weight.copy_((variance + layer.eps).sqrt())

    *_, (_, of_code) = into = _outer(model.encoder)
    *_, (_, of_picture) = out = _outer(model.decoder)
    hooks = [normalisation.register_forward_pre_hook(take) for _, normalisation in (*into, *out)]
    model.eval()
    code = model.encoder(x) - of_code.bias[:, None, None]
    nn.init.zeros_(of_code.bias)
    model.decoder(code)
    of_picture.bias.copy_(2 * x.mean((0, 2, 3)) - 1)
    for hook in hooks:
        hook.remove()
