"""Steps, their one-byte numbers, and rounding with a gradient."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from sparsecomp.coding import quantize
from sparsecomp.coding.quantize import FINEST, index_of, round_through, step_of, tensor_of
from sparsecomp.models.siren import Architecture, layers


def test_steps_are_powers_of_the_sixteenth_root_of_two():
    steps = step_of(torch.arange(256))
    assert steps.dtype == torch.float32
    np.testing.assert_allclose(steps.numpy(), 2.0 ** (-np.arange(256) / 16), rtol=6e-8)
    assert steps[::16].tolist() == [2.0**-octave for octave in range(16)], "whole octaves are exact"


def test_every_index_comes_back_from_its_step():
    assert FINEST == 255
    index = index_of(step_of(torch.arange(256)))
    assert index.dtype == torch.int64 and index.tolist() == list(range(256))


@pytest.mark.parametrize("shift", [-0.49, -0.3, 0.3, 0.49])
def test_the_nearest_step_in_ratio_is_found(shift):
    between = torch.tensor([2.0 ** (-(number + shift) / 16) for number in range(1, 255)], dtype=torch.float64)
    assert index_of(between).tolist() == list(range(1, 255))


def test_steps_out_of_range_are_clipped():
    assert index_of(torch.tensor([1.5, 1e6, 2.0**-16, 1e-9, 0.0])).tolist() == [0, 0, 255, 255, 255]


@pytest.mark.parametrize("architecture", [Architecture(1, 1), Architecture(3, 5), Architecture(2, 7, n_in=14)])
def test_every_parameter_knows_its_matrix(architecture):
    owner = tensor_of(architecture)
    assert owner.dtype == torch.int64 and owner.shape == (architecture.n_parameters,)
    expected = []
    for out, inp in architecture.shapes:
        expected += [out * inp, out]
    assert torch.bincount(owner).tolist() == expected
    for layer, (weight, bias) in enumerate(layers(architecture, owner[None])):
        assert (weight == 2 * layer).all() and (bias == 2 * layer + 1).all()


def test_rounding_by_hand():
    theta = torch.tensor([0.0, 0.3, -0.3, 0.75, -1.26, 10.1])
    assert round_through(theta, torch.tensor(0.5)).tolist() == pytest.approx([0, 0.5, -0.5, 1.0, -1.5, 10.0], abs=1e-6)
    assert round_through(theta, torch.tensor(4.0)).tolist() == pytest.approx([0, 0, 0, 0, 0, 12.0], abs=1e-6)


def test_rounding_passes_the_gradient_straight_through_and_leaves_the_step_alone():
    generator = torch.Generator().manual_seed(0)
    theta = torch.randn(3, 200, generator=generator, dtype=torch.float64).requires_grad_()
    step = (torch.rand(3, 200, generator=generator, dtype=torch.float64) + 0.05).requires_grad_()
    upstream = torch.randn(3, 200, generator=generator, dtype=torch.float64)
    rounded = round_through(theta, step)
    t, s, u = theta.detach().numpy(), step.detach().numpy(), upstream.numpy()
    q = np.rint(t / s)
    np.testing.assert_allclose(rounded.detach().numpy(), s * q, atol=1e-14)
    assert len(np.unique(q)) > 10
    of_theta, of_step = torch.autograd.grad((upstream * rounded).sum(), (theta, step), allow_unused=True)
    np.testing.assert_array_equal(of_theta.numpy(), u)
    assert of_step is None


def test_what_the_decoder_draws_with_is_what_training_rounded_to():
    step = step_of(torch.tensor(77))
    theta = torch.randn(1000, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(round_through(theta, step), (theta / step).round().long() * step, atol=3e-7, rtol=0)


def test_rounding_afterwards_leaves_few_values_and_small_errors():
    architecture = Architecture(3, 9)
    theta = torch.randn(architecture.n_parameters, generator=torch.Generator().manual_seed(0))
    of = quantize.tensor_of(architecture)
    for bits in (2, 4, 8):
        rounded = quantize.rounded(architecture, theta, bits)
        for number in range(int(of.max()) + 1):
            before, after = theta[of == number], rounded[of == number]
            step = before.abs().max() / (2 ** (bits - 1) - 1)
            assert (before - after).abs().max() <= step / 2 * 1.001
            assert len(after.unique()) <= 2**bits - 1 and after.abs().max() == pytest.approx(float(before.abs().max()))
    with pytest.raises(ValueError, match="bits=1"):
        quantize.rounded(architecture, theta, 1)
