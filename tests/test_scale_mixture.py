"""The estimate of Theis et al.: a mixture of Gaussians of mean zero for each channel of a code."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch.distributions import Categorical, MixtureSameFamily, Normal

from sparsecomp.coding.priors import ScaleMixture
from sparsecomp.training.latent_pruning import entropy_of


@torch.no_grad()
def mixture(seed: int = 0) -> ScaleMixture:
    """Of drawn weights and deviations."""
    made, generator = ScaleMixture(3, 6), torch.Generator().manual_seed(seed)
    for parameter in made.parameters():
        parameter.add_(0.7 * torch.randn(parameter.shape, generator=generator))
    return made


def by_torch(of: ScaleMixture, channel: int) -> MixtureSameFamily:
    deviations = of.log_scale[channel].detach().double().exp()
    parts = Normal(torch.zeros_like(deviations), deviations)
    return MixtureSameFamily(Categorical(logits=of.weight[channel].detach().double()), parts)


@torch.no_grad()
def test_log_density_is_that_of_torch_for_each_channel():
    of, step = mixture(), 0.01
    t = torch.arange(-400, 400, step)
    found = of.log_density(t.expand(1, 3, 1, -1))[0, :, 0]
    for channel in range(3):
        assert float(found[channel].double().exp().sum()) * step == pytest.approx(1, abs=1e-3)
        near = t.abs() < 30
        expected = by_torch(of, channel).log_prob(t[near].double()).float()
        torch.testing.assert_close(found[channel, near], expected, atol=1e-4, rtol=1e-5)
    assert not torch.allclose(found[0], found[1], atol=0.01), "each channel has its own"


def test_mixture_begins_with_equal_weights_from_a_quarter_to_sixteen():
    begun = ScaleMixture(2)
    assert begun.weight.shape == begun.log_scale.shape == (2, 6) and (begun.weight == 0).all()
    torch.testing.assert_close(begun.log_scale.exp()[1], torch.tensor([4.0 ** (-1 + 0.6 * k) for k in range(6)]))


@torch.no_grad()
@settings(max_examples=5)
@given(st.integers(0, 1000))
def test_bits_are_not_below_those_of_the_integers_in_the_mean_over_the_noise(seed):
    """Jensen: the mean of -log2 q(n + u) is at least -log2 of the mean of q(n + u), the mass of the integer."""
    of, count, gaps = mixture(seed), 2000, []
    noise = ((torch.arange(count) + 0.5) / count - 0.5).view(-1, 1, 1, 1).expand(-1, 3, 1, -1)
    for n in range(-9, 10):
        estimate = of.bits(torch.full((count, 3, 1, 1), float(n)), noise).double().mean(0).flatten()
        for channel in range(3):
            parts, weights = by_torch(of, channel).component_distribution, of.weight[channel].double().softmax(0)
            mass = weights @ (parts.cdf(torch.tensor(n + 0.5).double()) - parts.cdf(torch.tensor(n - 0.5).double()))
            gaps.append(float(estimate[channel] + mass.log2()))
    assert min(gaps) > -1e-4 and 0.01 < max(gaps) < 3


def test_bits_of_a_known_source_are_learnt_to_nearly_its_entropy():
    """Two channels, each of two Gaussians: many small values and some large ones."""
    drawn = np.random.default_rng(0)
    source = [np.where(drawn.random(8000) < 0.7, drawn.normal(0, a, 8000), drawn.normal(0, b, 8000)).round()
              for a, b in ((2, 20), (1, 6))]  # fmt: skip
    code = torch.tensor(np.stack(source), dtype=torch.float32).view(1, 2, 80, 100)
    entropy = entropy_of(code[0].flatten(1)) / code.numel()
    of, generator, rates = ScaleMixture(2), torch.Generator().manual_seed(0), []
    optimiser = torch.optim.Adam(of.parameters(), 0.03)
    for _ in range(150):
        rate = of.bits(code, torch.rand(code.shape, generator=generator) - 0.5).mean()
        optimiser.zero_grad()
        rate.backward()
        optimiser.step()
        rates.append(float(rate.detach()))
    learnt = float(np.mean(rates[-20:]))
    assert entropy - 0.01 < learnt < 1.03 * entropy and rates[0] > learnt + 0.1, (entropy, rates[0], learnt)


@settings(max_examples=30)
@given(st.floats(-1e4, 1e4), st.floats(-1e4, 1e4))
@example(weight=1e4, log_scale=1e4)
@example(weight=-1e4, log_scale=-1e4)
def test_bits_are_finite_whatever_the_parameters(weight, log_scale):
    of = ScaleMixture(1, 3)
    with torch.no_grad():
        of.weight[0, 0], of.log_scale[:] = weight, log_scale
    code = torch.tensor([0.0, 1, -40, 32767]).view(1, 1, 2, 2).requires_grad_()
    bits = of.bits(code, torch.full((1, 1, 2, 2), 0.25))
    gradients = torch.autograd.grad(bits.sum(), [code, *of.parameters()])
    assert bits.isfinite().all() and all(gradient.isfinite().all() for gradient in gradients)
    assert bits[0, 0, 1, 1] >= bits[0, 0, 0, 0]


@settings(max_examples=40)
@given(st.lists(st.lists(st.integers(-3, 3), min_size=6, max_size=6), min_size=1, max_size=4))
def test_entropy_of_is_the_bits_of_each_channels_own_symbols(channels):
    expected = 0.0
    for channel in channels:
        expected -= sum(channel.count(s) * math.log2(channel.count(s) / len(channel)) for s in set(channel))
    assert entropy_of(torch.tensor(channels, dtype=torch.float32)) == pytest.approx(expected, abs=1e-9)
