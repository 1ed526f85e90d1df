"""The estimates of a latent's entropy that training follows, against exact probabilities."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy import stats
from torch.distributions import Categorical, MixtureSameFamily, Normal

from sparsecomp.coding.priors import FactorizedPrior, ScaleMixture
from sparsecomp.training.latent_pruning import entropy_of


@torch.no_grad()
def prior(sharp: bool = False) -> FactorizedPrior:
    """Of drawn weights, means and scales; or all of them at 0 and narrow."""
    made, generator = FactorizedPrior(3), torch.Generator().manual_seed(0)
    made.weight.copy_(torch.randn(3, 3, generator=generator))
    made.mean.copy_(0.1 * torch.randn(3, 3, generator=generator))
    made.log_scale.copy_(-2.5 + 0.4 * torch.randn(3, 3, generator=generator))
    if sharp:
        made.mean.zero_()
        made.log_scale.fill_(math.log(0.05))
    return made


@torch.no_grad()
def exact(of: FactorizedPrior, z: torch.Tensor, step: float) -> np.ndarray:
    """Bits of ``z (1, C, 1, n)`` in double precision, each mass of a component on the side where it is small."""
    weight, mean, scale = (t.double().numpy()[:, :, None] for t in (of.weight.softmax(1), of.mean, of.log_scale.exp()))
    law = stats.logistic(mean, scale)
    low, high = (z[0].double().numpy() + sign * step / 2 for sign in (-1, 1))
    mass = np.where(low > mean, law.sf(low) - law.sf(high), law.cdf(high) - law.cdf(low))
    return -np.log2((weight * mass).sum(1))[None, :, None]


@pytest.mark.parametrize(
    ("of", "step", "tolerance"),
    [*((prior(), step, 2e-2) for step in (1 / 256, 1 / 32, 0.5)), (prior(sharp=True), 1 / 64, 1e-3)],
)
def test_prior_bits_are_those_of_the_mass_in_both_tails_too(of, step, tolerance):
    z = torch.linspace(-0.95, 0.95, 77).view(1, 1, 1, -1).repeat(1, 3, 1, 1)
    wanted = exact(of, z, step)
    assert wanted.max() > 8 / max(step, 0.25) ** 0.5, "the tails are there"
    inside = wanted < 28  # beyond, the estimate is held at 2^-29.9
    found = of.bits(z, step).detach().numpy()
    np.testing.assert_allclose(found[inside], wanted[inside], atol=tolerance)
    both = of.bits(z.repeat(2, 1, 1, 1), torch.tensor([step, 4.0]).view(2, 1, 1, 1)).detach()
    np.testing.assert_allclose(both[0], found[0], atol=1e-5)  # steps broadcast
    assert (both[1] >= 0).all()


@pytest.mark.parametrize("log_scale", [-100.0, -2.0, 100.0])
def test_prior_gradients_stay_finite(log_scale):
    made = prior()
    with torch.no_grad():
        made.log_scale.fill_(log_scale)
    z = torch.linspace(-1, 1, 300).view(1, 3, 10, 10).requires_grad_()
    bits = made.bits(z, 1 / 100)
    bits.sum().backward()
    assert bits.isfinite().all() and z.grad.isfinite().all()
    assert all(p.grad.isfinite().all() for p in made.parameters())


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
def test_mixture_log_density_is_that_of_torch_for_each_channel():
    of, step = mixture(), 0.01
    t = torch.arange(-400, 400, step)
    found = of.log_density(t.expand(1, 3, 1, -1))[0, :, 0]
    for channel in range(3):
        assert float(found[channel].double().exp().sum()) * step == pytest.approx(1, abs=1e-3)
        near = t.abs() < 30
        expected = by_torch(of, channel).log_prob(t[near].double()).float()
        torch.testing.assert_close(found[channel, near], expected, atol=1e-4, rtol=1e-5)
    assert not torch.allclose(found[0], found[1], atol=0.01), "each channel has its own"


@settings(max_examples=30)
@given(st.floats(-1e4, 1e4), st.floats(-1e4, 1e4))
@example(weight=1e4, log_scale=1e4)
@example(weight=-1e4, log_scale=-1e4)
def test_mixture_bits_are_finite_whatever_the_parameters(weight, log_scale):
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
    bits = sum(6 * stats.entropy(np.unique(channel, return_counts=True)[1], base=2) for channel in channels)
    assert entropy_of(torch.tensor(channels, dtype=torch.float32)) == pytest.approx(bits, abs=1e-9)
