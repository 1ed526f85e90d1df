"""Steps, their one-byte numbers, and rounding with a gradient."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from coding_strategies import drawn
from hypothesis import given
from hypothesis import strategies as st

from sparsecomp import network_weights
from sparsecomp.coding.quantize import index_of, round_through, step_of
from sparsecomp.models.siren import Architecture, tensor_of


def test_step_of_is_a_power_of_the_sixteenth_root_of_two():
    steps = step_of(torch.arange(256))
    assert steps.dtype == torch.float32
    np.testing.assert_allclose(steps.numpy(), 2.0 ** (-np.arange(256) / 16), rtol=6e-8)
    assert steps[::16].tolist() == [2.0**-octave for octave in range(16)], "whole octaves are exact"


def test_index_of_finds_the_nearest_step_in_ratio_and_clips():
    numbers = torch.arange(256)
    for shift in (-0.49, 0, 0.49):
        between = 2.0 ** (-(numbers[1:-1].double() + shift) / 16)
        assert index_of(between).tolist() == numbers[1:-1].tolist()
    assert index_of(step_of(numbers)).tolist() == numbers.tolist()
    assert index_of(torch.tensor([1.5, 1e6, 2.0**-16, 1e-9, 0.0])).tolist() == [0, 0, 255, 255, 255]


@drawn
@given(st.lists(st.tuples(st.floats(-1e3, 1e3), st.floats(1e-3, 10), st.floats(-5, 5)), min_size=1, max_size=50))
def test_round_through_rounds_and_passes_the_gradient_of_theta_alone(values):
    theta, step, upstream = torch.tensor(values, dtype=torch.float64).T
    theta, step = theta.clone().requires_grad_(), step.clone().requires_grad_()
    rounded = round_through(theta, step)
    t, s = theta.detach().numpy(), step.detach().numpy()
    np.testing.assert_allclose(rounded.detach().numpy(), s * np.rint(t / s), rtol=1e-12, atol=1e-12)
    of_theta, of_step = torch.autograd.grad((upstream * rounded).sum(), (theta, step), allow_unused=True)
    assert torch.equal(of_theta, upstream) and of_step is None


@drawn
@given(st.integers(2, 16), st.integers(0, 999))
def test_rounded_leaves_few_values_and_small_errors(bits, seed):
    architecture = Architecture(3, 9)
    theta = torch.randn(architecture.n_parameters, generator=torch.Generator().manual_seed(seed))
    theta[tensor_of(architecture) == 3] = 0
    rounded = network_weights.rounded(architecture, theta, bits)
    for number in range(8):
        before, after = (values[tensor_of(architecture) == number] for values in (theta, rounded))
        step = before.abs().max() / (2 ** (bits - 1) - 1)
        assert (before - after).abs().max() <= step / 2 * 1.001
        assert len(after.unique()) <= 2**bits - 1 and after.abs().max() == pytest.approx(float(before.abs().max()))
    with pytest.raises(ValueError, match="bits must be .*got 1"):
        network_weights.rounded(architecture, theta, 1)
