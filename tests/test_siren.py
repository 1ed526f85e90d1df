from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from sparsecomp.models.siren import (
    Architecture,
    forward,
    initial_parameters,
    layers,
    positions,
    render,
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
    assert at == len(parameters)
    return np.array(h)


@pytest.mark.parametrize(
    ("name", "parameters"), [("5x20", 1803), ("5x30", 3903), ("10x28", 7479), ("10x40", 15003), ("13x40", 19923)]
)
def test_number_of_parameters(name, parameters):
    architecture = Architecture.parse(name)
    assert architecture.n_parameters == parameters
    assert len(initial_parameters(architecture, 0)) == parameters
    assert str(architecture) == name


@pytest.mark.parametrize("architecture", [Architecture(1, 3), Architecture(3, 5, w0=7.5), Architecture(2, 4, 30, 5, 2)])
def test_forward_is_the_equation(architecture):
    torch.manual_seed(0)
    parameters = torch.stack([initial_parameters(architecture, seed) for seed in (1, 2)])
    inputs = torch.rand(2, architecture.n_in, 6) * 2 - 1
    colours = forward(architecture, parameters, inputs)
    assert colours.shape == (2, architecture.n_out, 6)
    for fit in range(2):
        for n in range(6):
            expected = by_hand(architecture, parameters[fit].numpy(), inputs[fit, :, n].numpy())
            np.testing.assert_allclose(colours[fit, :, n].numpy(), expected, atol=2e-5)


def test_forward_is_a_module_of_linear_layers():
    architecture = Architecture(4, 16)
    parameters = initial_parameters(architecture, 3)
    h, at = torch.rand(100, 2) * 2 - 1, 0
    inputs = h.T[None]
    for layer, (out, inp) in enumerate(architecture.shapes):
        linear = torch.nn.Linear(inp, out)
        torch.nn.utils.vector_to_parameters(parameters[at : at + out * (inp + 1)], linear.parameters())
        at += out * (inp + 1)
        h = linear(h)
        if layer < architecture.depth:
            h = torch.sin(30 * h)
    torch.testing.assert_close(forward(architecture, parameters[None], inputs)[0], h.T, atol=1e-4, rtol=0)


def test_layers_are_views():
    architecture = Architecture(2, 3)
    parameters = torch.zeros(2, architecture.n_parameters)
    for number, (weight, bias) in enumerate(layers(architecture, parameters)):
        weight[1] += 2 * number + 1
        bias[1] += 2 * number + 2
    assert not parameters[0].any()
    assert parameters[1].tolist() == [1] * 6 + [2] * 3 + [3] * 9 + [4] * 3 + [5] * 9 + [6] * 3


def rows_and_columns(height: int, width: int, coordinates: str = "per_axis"):
    y, x = positions(height, width, coordinates).view(2, height, width)
    assert torch.equal(y, y[:, :1].expand_as(y)) and torch.equal(x, x[:1].expand_as(x)), "row by row, y first"
    return y[:, 0], x[0]


def test_per_axis_positions_run_from_corner_to_corner():
    y, x = rows_and_columns(512, 768)
    assert (y[0], y[-1], x[0], x[-1]) == (-1, 1, -1, 1)
    torch.testing.assert_close(y.diff(), torch.full((511,), 2 / 511), atol=2e-7, rtol=0)
    torch.testing.assert_close(x.diff(), torch.full((767,), 2 / 767), atol=2e-7, rtol=0)


def test_released_positions_are_those_of_the_released_code():
    y, x = rows_and_columns(512, 768, "coin")
    assert (y[0], y[-1], x[0]) == (-1, 1, -1)
    assert float(x[-1]) == pytest.approx(2.002, abs=5e-4)
    # The released code: indices over height - 1, minus a half, times two.
    index = torch.ones(4, 6).nonzero().float()
    theirs = (index / 3 - 0.5) * 2
    torch.testing.assert_close(positions(4, 6, "coin"), theirs.T)


def test_unknown_coordinates_are_refused():
    with pytest.raises(ValueError, match="coordinates='polar'"):
        positions(3, 5, "polar")


@pytest.mark.parametrize("coordinates", ["per_axis", "coin"])
@pytest.mark.parametrize("size", [(17, 23), (1, 40), (40, 1), (1, 1)])
def test_render_is_the_rounded_network_whatever_the_tile(size, coordinates):
    architecture = Architecture(3, 12)
    parameters = initial_parameters(architecture, 5)
    parameters[-3:] = torch.tensor([0.2, 0.5, 0.9])  # colours on both sides of 0 and 1
    parameters[-39:-3] *= 12
    picture = render(architecture, parameters, *size, coordinates).numpy()
    assert picture.dtype == np.uint8 and picture.shape == (*size, 3)
    where = positions(*size, coordinates).numpy().T
    colours = np.array([by_hand(architecture, parameters.numpy(), x) for x in where]).reshape(*size, 3)
    off = np.abs(picture - np.clip(colours, 0, 1) * 255)
    assert off.max() < 0.51, "not the nearest of 256 levels"
    if size == (17, 23):
        assert {0, 255} < set(picture.ravel().tolist()), "nothing was clipped, so this test saw no clipping"
    for tile in (1, 7, 256):
        tiled = render(architecture, parameters, *size, coordinates, tile=tile).numpy()
        assert np.abs(tiled.astype(int) - picture).max() <= 1
        assert (tiled != picture).mean() < 0.01


def test_first_values_keep_their_limits_and_fill_them():
    architecture = Architecture(3, 40)
    (w0, b0), (w1, b1), _, (w3, b3) = layers(architecture, initial_parameters(architecture, 0)[None])
    for values, limit in (
        (w0, 1 / 2),
        (b0, 1 / math.sqrt(2)),
        (w1, math.sqrt(6 / 40) / 30),
        (b1, 1 / math.sqrt(40)),
        (w3, math.sqrt(6 / 40) / 30),
        (b3, 1 / math.sqrt(40)),
    ):
        assert values.abs().max() <= limit
        if values.numel() >= 40:
            assert values.max() > 0.8 * limit and values.min() < -0.8 * limit
            assert abs(float(values.mean())) < 0.25 * limit
    # Only the hidden weights know w0.
    other = initial_parameters(Architecture(3, 40, w0=60), 0)
    assert torch.equal(layers(architecture, other[None])[0][0], w0)
    torch.testing.assert_close(layers(architecture, other[None])[1][0], w1 / 2)


def test_first_values_are_reproducible():
    architecture = Architecture(2, 8)
    assert torch.equal(initial_parameters(architecture, 7), initial_parameters(architecture, 7))
    assert not torch.equal(initial_parameters(architecture, 7), initial_parameters(architecture, 8))
    before = torch.get_rng_state()
    initial_parameters(architecture, 7)
    assert torch.equal(torch.get_rng_state(), before), "the global generator was touched"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"depth": 0, "width": 5}, "depth=0"),
        ({"depth": 65, "width": 5}, "depth=65"),
        ({"depth": 2, "width": 0}, "width=0"),
        ({"depth": 2, "width": 513}, "width=513"),
        ({"depth": 2.0, "width": 5}, "depth=2.0"),
        ({"depth": 2, "width": 5, "w0": 0.0}, "w0=0.0"),
        ({"depth": 2, "width": 5, "w0": math.nan}, "w0=nan"),
        ({"depth": 2, "width": 5, "w0": math.inf}, "w0=inf"),
        ({"depth": 2, "width": 5, "n_in": 0}, "n_in=0"),
        ({"depth": 2, "width": 5, "n_out": 65}, "n_out=65"),
    ],
)
def test_impossible_architectures(arguments, message):
    with pytest.raises(ValueError, match=message):
        Architecture(**arguments)


@pytest.mark.parametrize("text", ["", "10", "x28", "10x", "10x28x3", "-1x5", "10X28", "10.5x3", "0x5", "5x9999"])
def test_impossible_names(text):
    with pytest.raises(ValueError):
        Architecture.parse(text)
    assert Architecture.parse(" 64x512 ") == Architecture(64, 512)
