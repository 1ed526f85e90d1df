"""Costs against hand counts and the papers' numbers."""

from __future__ import annotations

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import nn

from sparsecomp import complexity


@given(st.integers(1, 6), st.integers(1, 20), st.integers(1, 6), st.integers(1, 4))
@example(10, 28, 2, 3)
def test_mlp_macs_per_pixel_agrees_with_count_macs(depth, width, n_in, n_out):
    sizes = [n_in] + [width] * depth + [n_out]
    network = nn.Sequential(*(nn.Linear(a, b) for a, b in zip(sizes, sizes[1:], strict=False)))
    macs = complexity.mlp_macs_per_pixel(depth, width, n_in, n_out)
    assert complexity.count_macs(network, (1, n_in)) == macs
    assert complexity.macs_per_pixel(network, (77, n_in), pixels=77) == macs
    parameters = macs + depth * width + n_out
    assert complexity.count_parameters(network) == parameters
    if (depth, width, n_in) == (10, 28, 2):
        assert (macs, parameters) == (7196, 7479), "COIN's, as in the papers"


@st.composite
def convolutions(draw: st.DrawFn) -> tuple[nn.Module, tuple[int, ...]]:
    """A convolution in one to three dimensions, plain or transposed, in groups, and an input for it."""
    dims, groups, transposed = draw(st.integers(1, 3)), draw(st.integers(1, 3)), draw(st.booleans())
    sizes = st.integers(1, 3)
    kernel, stride = tuple(draw(sizes) for _ in range(dims)), draw(sizes)
    kind = [nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d]
    inputs, outputs = groups * draw(sizes), groups * draw(sizes)
    layer = kind[dims - 1 + 3 * transposed](inputs, outputs, kernel, stride, groups=groups)
    return layer, (draw(sizes), inputs, *(k + draw(st.integers(0, 4)) for k in kernel))


@torch.no_grad()
@settings(max_examples=100)
@given(convolutions(), st.data())
def test_count_macs_and_macs_paper_of_convolutions(convolution, data):
    """A multiply-accumulate is a weight times an input: counted by what ones make of an input of ones.

    The paper's count leaves out whole zero filters and inputs of a group, nothing else.
    """
    layer, shape = convolution
    layer.weight.fill_(1).neg_()  # what is below zero is not zero
    layer.bias.zero_()
    total = int(-layer(torch.ones(shape)).double().sum())  # without padding every tap meets an input
    assert complexity.count_macs(layer, shape) == complexity.macs_paper(layer, shape) == total
    live = 0
    for part in layer.weight.chunk(layer.groups):
        first, second = ([data.draw(st.booleans()) for _ in range(n)] for n in part.shape[:2])
        pairs = torch.outer(torch.tensor(first), torch.tensor(second))
        part *= pairs.view(*pairs.shape, *[1] * (part.dim() - 2))
        live += sum(first) * sum(second)
        part.flatten(2)[..., 1:] = 0  # most taps of a pair: it is still there
    assert complexity.macs_paper(layer, shape) == total * live // (layer.weight.shape[0] * layer.weight.shape[1])
    assert complexity.count_macs(layer, shape) == total


def test_count_macs_by_hand():
    # every input value meets 4x4 taps of 5 output channels, padding or not; taps on padded zeros count
    assert complexity.count_macs(nn.ConvTranspose2d(3, 5, 4, stride=2, padding=1), (1, 3, 7, 7)) == 147 * 5 * 16
    assert complexity.count_macs(nn.Conv2d(3, 5, 3, padding=1), (1, 3, 7, 7)) == 147 * 5 * 9
    shared = nn.Linear(10, 10)
    assert complexity.count_macs(nn.Sequential(shared, shared), (4, 10)) == 2 * 4 * 100
    assert complexity.count_parameters(nn.Sequential(shared, shared)) == 110
    assert complexity.count_macs(nn.Sequential(nn.PReLU(3), nn.Sigmoid()), (1, 3)) == 0


def test_complexity_refuses_what_it_cannot_count():
    with pytest.raises(ValueError, match="depth"):
        complexity.mlp_macs_per_pixel(0, 28)
    for count in (complexity.count_macs, complexity.macs_paper):
        with pytest.raises(ValueError, match="module.*Bilinear"):
            count(nn.Sequential(nn.Bilinear(2, 2, 2)), (1, 2))
