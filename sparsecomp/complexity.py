"""What a model costs: multiply-accumulates and parameters."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import nn
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd

from sparsecomp.checks import refuse, whole


def mlp_macs_per_pixel(depth: int, width: int, n_in: int = 2, n_out: int = 3) -> int:
    """Multiply-accumulates of a fully connected network at one pixel; COIN evaluates it at every pixel.

    ``n_in * width + (depth - 1) * width^2 + width * n_out``; sines and biases are not counted.

    Parameters
    ----------
    depth : number of hidden layers, >= 1 (10x28 in the papers' notation is depth 10, width 28).
    width : neurons in each, >= 1.
    n_in, n_out : coordinates in, colour channels out, >= 1.

    Raises
    ------
    ValueError : if an argument is below 1.
    """
    for name, value in (("depth", depth), ("width", width), ("n_in", n_in), ("n_out", n_out)):
        whole(name, value, 1)
    return n_in * width + (depth - 1) * width * width + width * n_out


def count_macs(module: nn.Module, input_shape: tuple[int, ...]) -> int:
    """Multiply-accumulates of one forward pass through the linear and convolution layers of a module.

    Linear: outputs x input features. Convolution: outputs x (input channels / groups) x kernel area, taps on
    the zero padding included. Transposed convolution: inputs x (output channels / groups) x kernel area. A
    layer called twice counts twice. Biases, normalisation and activations are not counted.

    Parameters
    ----------
    module : any module of one tensor argument; it is run once in evaluation mode on zeros.
    input_shape : the whole shape, batch included, such as (1, 3, 128, 128).

    Raises
    ------
    ValueError : if the module holds a weight matrix in a layer of another kind: leaving it out in silence
        would make the count too small.
    """
    return _count(module, input_shape, skip_zeros=False)


def macs_paper(module: nn.Module, input_shape: tuple[int, ...]) -> int:
    """Multiply-accumulates as Gille et al. (2022) count them: without whole zero filters and whole zero input channels.

    As `count_macs`, but a layer of n filters and m input channels counts with n' m' / (n m) of its own; n' filters
    and m' input channels have a weight that is not zero (groups each by itself; biases do not count). Every layer is
    taken alone: the next one still reads a channel that a zero filter would have made, unless its own weights for it
    are zero, too. What is left if removal is carried on is `count_macs(prune(encoder), ...)` of `sparsify.surgery`.

    Parameters, errors as `count_macs`. Source: Gille et al. 2022, Fig. 2; this rule is their released code's.
    """
    return _count(module, input_shape, skip_zeros=True)


def _count(module: nn.Module, input_shape: tuple[int, ...], *, skip_zeros: bool) -> int:
    for name, layer in module.named_modules():
        held = [parameter for parameter in layer.parameters(recurse=False) if parameter.dim() >= 2]
        if held and not isinstance(layer, (nn.Linear, _ConvNd)):
            kind = f"{type(layer).__name__} {name or 'itself'}"
            refuse("module", "one that holds its weights in linear or convolution layers", kind)
    total = 0

    def count(layer: Any, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
        nonlocal total
        if isinstance(layer, nn.Linear):
            macs: int = output.numel() * layer.in_features
        elif isinstance(layer, _ConvTransposeNd):
            macs = inputs[0].numel() * (layer.out_channels // layer.groups) * math.prod(layer.kernel_size)
        else:
            macs = output.numel() * (layer.in_channels // layer.groups) * math.prod(layer.kernel_size)
        if skip_zeros:
            macs = macs * _live_pairs(layer) // (layer.weight.shape[0] * layer.weight.shape[1])
        total += macs

    layers = [layer for layer in module.modules() if isinstance(layer, (nn.Linear, _ConvNd))]
    training = {layer: layer.training for layer in module.modules()}
    hooks = [layer.register_forward_hook(count) for layer in layers]
    like = next(module.parameters(), torch.zeros(()))
    try:
        with torch.no_grad():
            module.eval()(torch.zeros(input_shape, dtype=like.dtype, device=like.device))
    finally:
        for hook in hooks:
            hook.remove()
        for layer, flag in training.items():
            layer.training = flag
    return total


def _live_pairs(layer: Any) -> int:
    """Pairs of a filter and an input channel of its group, both with a weight that is not zero."""
    live = 0
    for weight in (layer.weight != 0).chunk(getattr(layer, "groups", 1)):  # inputs stand first if it is transposed
        taps = weight.flatten(2).any(2) if weight.dim() > 2 else weight
        live += int(taps.any(1).sum()) * int(taps.any(0).sum())
    return live


def macs_per_pixel(module: nn.Module, input_shape: tuple[int, ...], *, pixels: int) -> float:
    """`count_macs` over the number of pixels of the *picture* that the pass stands for.

    A decoder's input is a latent and its output a picture, so `pixels` (>= 1; else ValueError) is asked for:
    it is H * W of the picture, whatever the shape of the input.
    """
    whole("pixels", pixels, 1)
    return count_macs(module, input_shape) / pixels


def count_parameters(module: nn.Module) -> int:
    """Number of parameters, a shared one counted once; zeros count."""
    return sum(parameter.numel() for parameter in module.parameters())
