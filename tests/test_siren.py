"""The network that is a picture, against its equation unit by unit."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from strategies import FEW, seeds

from sparsecomp.models.siren import (
    COORDINATES,
    FEATURE_SCALE,
    Architecture,
    forward,
    initial_parameters,
    layers,
    positions,
    positions_of,
    render,
)

architectures = st.builds(
    Architecture, st.integers(1, 4), st.integers(1, 8), st.floats(1, 60), st.integers(1, 6), st.integers(1, 4)
)


def by_hand(architecture: Architecture, parameters: np.ndarray, x: np.ndarray) -> np.ndarray:
    """One network at one position, unit by unit, in float64."""
    at, h = 0, [float(v) for v in x]
    sizes = [architecture.n_in, *[architecture.width] * architecture.depth, architecture.n_out]
    for layer, (inp, out) in enumerate(zip(sizes[:-1], sizes[1:], strict=True)):
        weights, biases = parameters[at : at + out * inp], parameters[at + out * inp : at + out * (inp + 1)]
        at += out * (inp + 1)
        h = [float(biases[o]) + sum(float(weights[o * inp + i]) * h[i] for i in range(inp)) for o in range(out)]
        if layer < architecture.depth:
            h = [math.sin(architecture.w0 * value) for value in h]
    assert at == len(parameters) == architecture.n_parameters
    return np.array(h)


@given(architecture=architectures, seed=seeds)
def test_forward_is_the_equation(architecture, seed):
    parameters = torch.stack([initial_parameters(architecture, seed + fit) for fit in range(2)]).double()
    inputs = torch.rand(2, architecture.n_in, 3, generator=torch.Generator().manual_seed(seed)).double() * 2 - 1
    colours = forward(architecture, parameters, inputs)
    assert colours.shape == (2, architecture.n_out, 3)
    for fit in range(2):
        for n in range(3):
            expected = by_hand(architecture, parameters[fit].numpy(), inputs[fit, :, n].numpy())
            np.testing.assert_allclose(colours[fit, :, n].numpy(), expected, atol=1e-9)


@pytest.mark.parametrize(("coordinates", "last_x"), [("per_axis", 1.0), ("coin", 2.002)])
def test_positions_run_from_corner_to_corner(coordinates, last_x):
    """Row by row, y first. The released COIN divides both indices by height - 1."""
    y, x = positions(512, 768, coordinates).view(2, 512, 768)
    assert torch.equal(y, y[:, :1].expand_as(y)) and torch.equal(x, x[:1].expand_as(x))
    assert (y[0, 0], y[-1, 0], x[0, 0]) == (-1, 1, -1) and float(x[0, -1]) == pytest.approx(last_x, abs=5e-4)
    theirs = (torch.ones(4, 6).nonzero().float() / 3 - 0.5) * 2
    torch.testing.assert_close(positions(4, 6, "coin"), theirs.T)


@given(st.integers(1, 9), st.integers(1, 9), st.sampled_from(COORDINATES), st.integers(1, 4), st.data())
def test_positions_of_adds_features(height, width, coordinates, frequencies, data):
    index = torch.tensor(data.draw(st.lists(st.integers(0, height * width - 1), min_size=1)))
    found = positions_of(index, height, width, coordinates, 2 + 4 * frequencies)
    where = positions(height, width, coordinates)[:, index]
    waves = [f(2**k * math.pi * where.double()) for k in range(frequencies) for f in (torch.sin, torch.cos)]
    expected = torch.cat([where.double(), FEATURE_SCALE * torch.cat(waves)])
    torch.testing.assert_close(found.double(), expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("size", [(17, 23), (1, 40)])
@FEW
@given(coordinates=st.sampled_from(COORDINATES), tile=st.integers(1, 500))
def test_render_is_the_rounded_network_whatever_the_tile(size, coordinates, tile):
    architecture = Architecture(3, 12)
    parameters = initial_parameters(architecture, 5)
    parameters[-3:] = torch.tensor([0.2, 0.5, 0.9])  # colours on both sides of 0 and 1
    parameters[-39:-3] *= 12
    picture = render(architecture, parameters, *size, coordinates, tile=tile).numpy()
    assert picture.dtype == np.uint8 and picture.shape == (*size, 3)
    where = positions(*size, coordinates).double()
    colours = forward(architecture, parameters[None].double(), where[None])[0].T.view(*size, 3).numpy()
    assert np.abs(picture - np.clip(colours, 0, 1) * 255).max() < 0.51, "not the nearest of 256 levels"
    if size == (17, 23):
        assert {0, 255} < set(picture.ravel().tolist()), "nothing was clipped, so this test saw no clipping"


@pytest.mark.parametrize("biases", ["torch", "coin"])
def test_initial_parameters_fill_their_limits(biases):
    architecture = Architecture(3, 40)
    (w0, b0), (w1, b1), _, (w3, b3) = layers(architecture, initial_parameters(architecture, 0, biases)[None])
    hidden = math.sqrt(6 / 40) / 30
    first, after = (1 / 2, hidden) if biases == "coin" else (1 / math.sqrt(2), 1 / math.sqrt(40))
    limits = (1 / 2, first, hidden, after, hidden, after)
    for values, limit in zip((w0, b0, w1, b1, w3, b3), limits, strict=True):
        assert values.abs().max() <= limit
        if values.numel() >= 40:
            assert values.max() > 0.8 * limit and values.min() < -0.8 * limit
            assert abs(float(values.mean())) < 0.25 * limit
    # Only the hidden weights know w0.
    other = initial_parameters(Architecture(3, 40, w0=60), 0)
    assert torch.equal(layers(architecture, other[None])[0][0], w0)
    torch.testing.assert_close(layers(architecture, other[None])[1][0], w1 / 2)


@pytest.mark.parametrize(
    ("call", "wrong"),
    [
        *((lambda text=text: Architecture.parse(text), "architecture|depth|width")
          for text in ("", "10x", "10x28x3", "-1x5", "10.5x3", "5x9999")),
        (lambda: Architecture(0, 5), "depth"),
        (lambda: Architecture(2, 5, w0=math.nan), "w0"),
        (lambda: positions(3, 5, "polar"), "coordinates"),
        *((lambda n_in=n_in: positions(3, 5, n_in=n_in), "n_in") for n_in in (1, 4)),
    ],
)  # fmt: skip
def test_siren_refuses(call, wrong):
    with pytest.raises(ValueError, match=rf"\b({wrong})\b"):
        call()
