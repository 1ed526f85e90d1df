"""What a model costs: multiply-accumulates, parameters, bytes, seconds."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable

import torch
from torch import nn
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd


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
        if value < 1:
            raise ValueError(f"{name} must be at least 1, got {value!r}")
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
    for name, layer in module.named_modules():
        held = [parameter for parameter in layer.parameters(recurse=False) if parameter.dim() >= 2]
        if held and not isinstance(layer, (nn.Linear, _ConvNd)):
            kind = type(layer).__name__
            raise ValueError(
                f"module must hold its weights in linear or convolution layers, got {kind} {name or 'itself'}"
            )
    total = 0

    def count(layer: nn.Module, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
        nonlocal total
        if isinstance(layer, nn.Linear):
            total += output.numel() * layer.in_features
        elif isinstance(layer, _ConvTransposeNd):
            total += inputs[0].numel() * (layer.out_channels // layer.groups) * math.prod(layer.kernel_size)
        else:
            total += output.numel() * (layer.in_channels // layer.groups) * math.prod(layer.kernel_size)

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


def macs_per_pixel(module: nn.Module, input_shape: tuple[int, ...], *, pixels: int) -> float:
    """`count_macs` over the number of pixels of the *picture* that the pass stands for.

    A decoder's input is a latent and its output a picture, so `pixels` (>= 1; else ValueError) is asked for:
    it is H * W of the picture, whatever the shape of the input.
    """
    if pixels < 1:
        raise ValueError(f"pixels must be at least 1, got {pixels!r}")
    return count_macs(module, input_shape) / pixels


def count_parameters(module: nn.Module) -> int:
    """Number of parameters, a shared one counted once; zeros count."""
    return sum(parameter.numel() for parameter in module.parameters())


def weight_bytes(module: nn.Module, dtype: torch.dtype = torch.float16) -> int:
    """Bytes of all parameters stored densely as `dtype` (fp16 in all three papers), without any header."""
    return count_parameters(module) * dtype.itemsize


def median_latency(fn: Callable[[], object], *, repeats: int = 5, warmup: int = 1) -> float:
    """Median wall time of one call in seconds.

    Measured over `repeats` (>= 1) calls that follow `warmup` (>= 0) unmeasured ones. Work queued
    on a CUDA device is waited for inside each measurement.

    Raises
    ------
    ValueError : if `repeats` or `warmup` is out of range.
    """
    if repeats < 1:
        raise ValueError(f"repeats must be at least 1, got {repeats!r}")
    if warmup < 0:
        raise ValueError(f"warmup must be at least 0, got {warmup!r}")
    wait = torch.cuda.synchronize if torch.cuda.is_available() else lambda: None
    seconds = []
    for _ in range(warmup + repeats):
        wait()
        start = time.perf_counter()
        fn()
        wait()
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds[warmup:])
