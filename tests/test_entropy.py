"""The integer tables of a latent, and the prior that training follows. Round trips and damage: contracts/."""

from __future__ import annotations

import hashlib
import math

import numpy as np
import pytest
import torch
from coding_strategies import FLAT, counts, drawn, spiked, uneven
from hypothesis import given
from hypothesis import strategies as st

from sparsecomp.coding import entropy
from sparsecomp.coding.bitstream import BitstreamError
from sparsecomp.coding.entropy import CELLS, COARSEST, FINEST, LEAST, TOTAL, UNIT, FactorizedPrior

# Tables ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("own", [spiked(256), uneven(0)], ids=["spiked", "uneven"])
def test_table_of_every_step_has_a_count_for_every_symbol(own):
    for step in range(FINEST, COARSEST + 1):
        most, found = entropy.largest_symbol(step), entropy.table(own, step)
        if found.sum() != TOTAL or found.min() < 1 or len(found) != 2 * most + 1 or found.dtype != np.int64:
            pytest.fail(f"step {step}")
        # the largest symbol's interval begins a cell below 1, and the next one's would not
        assert most == 0 or (most - 0.5) * step <= UNIT - 2 * UNIT / CELLS < (most + 0.5) * step, step


@drawn
@given(counts, st.integers(FINEST, COARSEST))
def test_table_holds_the_mass_of_each_interval(own, step):
    most, found = entropy.largest_symbol(step), entropy.table(own, step)
    assert found.sum() == TOTAL and found.min() >= 1
    below = np.concatenate([[0], np.cumsum(own)])
    edges = (np.arange(-most, most) + 0.5) * step / UNIT
    mass = np.diff(np.concatenate([[0], np.interp(edges, np.linspace(-1, 1, CELLS + 1), below), [TOTAL]]))
    assert np.abs(found - mass).max() < 1 + 1e-6


@pytest.mark.parametrize("step", [63, 0, -64, COARSEST + 1, True, 64.0, "64", None])
def test_encode_refuses_steps_that_no_file_can_name(step):
    for refused in (entropy.check_step, lambda step: entropy.encode(np.zeros((1, 2, 2), np.int32), FLAT[None], step)):
        with pytest.raises(ValueError, match=f"step={step!r}: .* from 64 to 65535"):
            refused(step)


@pytest.mark.parametrize("wrong", [FLAT[None, :-1], spiked(3)[None] * 2, np.roll(spiked(0), 1)[None] - LEAST + 1])
def test_check_counts_refuses_what_makes_no_tables(wrong):
    with pytest.raises(ValueError, match="counts"):
        entropy.check_counts(torch.from_numpy(wrong), 1)
    entropy.check_counts(torch.from_numpy(FLAT[None]), 1)
    with pytest.raises(ValueError, match=r"\(2, 512\)"):
        entropy.check_counts(torch.from_numpy(FLAT[None]), 2)


# Latents as bytes -----------------------------------------------------------------------------------------------------


@drawn
@given(st.sampled_from([64, 300, 5000, 20_000, COARSEST]), st.integers(0, 99))
def test_bits_are_those_of_the_file_but_for_a_few_bytes(step, seed):
    own, rng, most = np.stack([FLAT, uneven(0), spiked(256)]), np.random.default_rng(seed), entropy.largest_symbol(step)
    every, shape = np.arange(-most, most + 1), (60, 70)
    expected = np.stack([rng.choice(every, shape, p=entropy.table(o, step) / TOTAL) for o in own]).astype(np.int32)
    assert abs(entropy.bits(expected, own, step) / 8 - len(entropy.encode(expected, own, step))) <= 6
    # The coder gives every symbol one count more than its table, so rare ones cost a little less than estimated.
    other, own = rng.integers(-most, most + 1, (3, *shape), np.int32), np.stack([FLAT, uneven(0), uneven(1)])
    estimate, length = entropy.bits(other, own, step) / 8, len(entropy.encode(other, own, step))
    assert 0.97 * estimate - 8 <= length <= estimate + 8


def test_encode_writes_the_bytes_of_the_files_there_are():
    """Another table or another order of the symbols would make them unreadable."""
    y, x = np.mgrid[:12, :9]
    symbols = np.stack([(7 * y + 5 * x) % 31 - 15, y - x]).astype(np.int32)
    written = entropy.encode(symbols, np.stack([FLAT, spiked(256)]), 512)
    assert hashlib.sha256(written).hexdigest()[:16] == "d728965ee5ee40ac"


def test_encode_refuses_symbols_that_have_no_table():
    most = entropy.largest_symbol(1000)
    for value in (most + 1, -most - 1, -(2**31)):
        with pytest.raises(ValueError, match=f"at most {most}"):
            entropy.encode(np.full((1, 2, 2), value, np.int32), FLAT[None], 1000)
    with pytest.raises(BitstreamError):  # of symbols that are all 0 there is nothing to read
        entropy.decode(b"x", (1, 5, 5), FLAT[None], COARSEST)


def test_quantise_rounds_and_stays_within_the_table():
    z = torch.tensor([-1.0, -0.26, 0.0, 0.12, 0.13, 0.99, 1.0])
    assert entropy.quantise(z, 4096).tolist() == [-4, -1, 0, 0, 1, 4, 4]
    assert entropy.quantise(z, 64).abs().max() == entropy.largest_symbol(64) == 255
    assert entropy.quantise(z, 64).dtype == torch.int32 and entropy.largest_symbol(COARSEST) == 0


# The prior ------------------------------------------------------------------------------------------------------------


def prior(channels: int = 3, seed: int = 0) -> FactorizedPrior:
    made, generator = FactorizedPrior(channels), torch.Generator().manual_seed(seed)
    with torch.no_grad():
        made.weight.copy_(torch.randn(channels, 3, generator=generator))
        made.mean.copy_(0.1 * torch.randn(channels, 3, generator=generator))
        made.log_scale.copy_(-2.5 + 0.4 * torch.randn(channels, 3, generator=generator))
    return made


def exact(of: FactorizedPrior, z: np.ndarray, step: float) -> np.ndarray:
    """Bits in double precision, each mass of a component from ``exp`` and `math.expm1`, in which nothing cancels."""
    w = of.weight.double().softmax(1).detach().numpy()
    mean, scale = of.mean.double().detach().numpy(), of.log_scale.double().exp().detach().numpy()
    out = np.empty(z.shape)
    for index, value in np.ndenumerate(z):
        mass = 0.0
        for k in range(3):
            c = index[1]
            a, b = ((value + sign * step / 2 - mean[c, k]) / scale[c, k] for sign in (-1, 1))
            # sigmoid(b) - sigmoid(a) = sigmoid(b) sigmoid(-a) (1 - exp(a - b))
            mass += w[c, k] * -math.expm1(a - b) / (1 + math.exp(-b)) / (1 + math.exp(a))
        out[index] = -math.log2(mass)
    return out


def test_prior_cdf_rises_from_zero_to_one():
    z = torch.linspace(-5, 5, 2001).view(1, 1, 1, -1).expand(1, 3, 1, -1)
    cdf = prior().cdf(z)
    assert (cdf.diff(dim=-1) >= 0).all() and (cdf >= 0).all() and (cdf <= 1 + 1e-6).all()
    assert (cdf[..., 0] < 1e-4).all() and (cdf[..., -1] > 1 - 1e-4).all()


@pytest.mark.parametrize("step", [1 / 256, 1 / 32, 0.5])
def test_prior_bits_are_those_of_the_mass_in_the_tails_too(step):
    z = torch.linspace(-0.95, 0.95, 77).view(1, 1, 1, -1).repeat(1, 3, 1, 1)
    wanted = exact(prior(), z.numpy().astype(float), step)
    assert wanted.max() > 8 / max(step, 0.25) ** 0.5, "the tails are there"
    inside = wanted < 28  # beyond, the estimate is held at 2^-29.9
    found = prior().bits(z, step).detach().numpy()
    np.testing.assert_allclose(found[inside], wanted[inside], atol=2e-2)
    both = prior().bits(z.repeat(2, 1, 1, 1), torch.tensor([step, 4.0]).view(2, 1, 1, 1)).detach()
    np.testing.assert_allclose(both[0], found[0], atol=1e-5)  # steps broadcast
    assert (both[1] >= 0).all()


@pytest.mark.parametrize("log_scale", [-100.0, -9.0, -2.0, 3.0, 100.0])
def test_prior_gradients_stay_finite(log_scale):
    made = prior()
    with torch.no_grad():
        made.log_scale.fill_(log_scale)
    z = torch.linspace(-1, 1, 300).view(1, 3, 10, 10).requires_grad_()
    bits = made.bits(z, 1 / 100)
    bits.sum().backward()
    assert bits.isfinite().all() and z.grad.isfinite().all()
    assert all(p.grad.isfinite().all() for p in made.parameters())


@pytest.mark.parametrize("far", [False, True])
def test_counts_are_the_histogram_and_a_little_of_the_prior(far):
    made, histogram = prior(), torch.zeros(3, CELLS, dtype=torch.long)
    if far:  # a prior with nothing in -1 .. 1
        with torch.no_grad():
            made.mean.fill_(50.0)
    histogram[1, 500] = 10**9
    histogram[2] = torch.randint(0, 1000, (CELLS,), generator=torch.Generator().manual_seed(0))
    found = entropy.counts_of(made, histogram)
    entropy.check_counts(found, 3)
    assert found.dtype == torch.int64 and found[1, 500] > 0.97 * TOTAL
    edges = torch.linspace(-1, 1, CELLS + 1).expand(1, 3, 1, -1)
    smooth = made.cdf(edges)[0, 2, 0].diff().double().detach()
    wanted = 0.98 * histogram[2] / histogram[2].sum() + (0 if far else 0.02 * smooth / smooth.sum())
    wanted, others = wanted / wanted.sum(), torch.arange(CELLS) != CELLS // 2
    assert (found[2].double() / TOTAL - wanted).abs()[others].max() < 1e-6


def test_cells_are_from_minus_one_to_one():
    z = torch.tensor([-1.0, -0.9999, -1 / 512, 0.0, 1 / 512, 0.9999, 1.0])
    assert entropy.cells_of(z).tolist() == [0, 0, 255, 256, 256, 511, 511]
