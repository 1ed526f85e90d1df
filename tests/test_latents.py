"""The integer tables of a latent, at any step, and of an integer code, at any threshold; and the lengths of both.

Round trips and damage: contracts/test_coders.py.
"""

from __future__ import annotations

import hashlib
import math
from fractions import Fraction

import numpy as np
import pytest
import torch
from coding_strategies import FLAT, counts, drawn, spiked, uneven
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from sparsecomp.coding import integer_latents, latents
from sparsecomp.coding.integer_latents import ESCAPE, LARGEST, MOST, ODDS, ZERO
from sparsecomp.coding.latents import CELLS, COARSEST, FINEST, LEAST, UNIT
from sparsecomp.coding.priors import FactorizedPrior
from sparsecomp.coding.range_coder import TOTAL


def test_encode_writes_the_bytes_of_the_files_there_are():
    """Another table or another order of the symbols would make them unreadable."""
    y, x = np.mgrid[:12, :9]
    first, own = (7 * y + 5 * x) % 31 - 15, np.stack([FLAT, spiked(256), spiked(ZERO), uneven(0)])
    written = latents.encode(np.stack([first, y - x]).astype(np.int32), own[:2], 512)
    assert hashlib.sha256(written).hexdigest()[:16] == "d728965ee5ee40ac"
    finest = latents.encode(np.stack([16 * first, 30 * (y - x)]).astype(np.int32), own[2:], FINEST)
    assert hashlib.sha256(finest).hexdigest()[:16] == "2883fba763fd97c6"
    code = np.stack([first, (y - x) * 40, (y * x) % 5 // 4 * 3, 0 * x]).astype(np.int32)
    written = integer_latents.encode(code, own[[0, 2, 3, 0]], 1)
    assert hashlib.sha256(written).hexdigest()[:16] == "2097692cb8e7c2bc"


@drawn
@given(counts, st.integers(FINEST, COARSEST))
def test_latents_table_holds_the_mass_of_each_interval(own, step):
    most, found = latents.largest_symbol(step), latents.table(own, step)
    assert found.sum() == TOTAL and found.min() >= 1 and len(found) == 2 * most + 1
    # the largest symbol's interval begins a cell below 1, and the next one's would not
    assert most == 0 or (most - 0.5) * step <= UNIT - 2 * UNIT / CELLS < (most + 0.5) * step
    below = np.concatenate([[0], np.cumsum(own)])
    edges = (np.arange(-most, most) + 0.5) * step / UNIT
    mass = np.diff(np.concatenate([[0], np.interp(edges, np.linspace(-1, 1, CELLS + 1), below), [TOTAL]]))
    assert np.abs(found - mass).max() < 1 + 1e-6


@pytest.mark.parametrize("mean", [0.0, 50.0])  # a prior with nothing in -1 .. 1, too
def test_latents_counts_are_the_histogram_and_a_little_of_the_prior(mean):
    prior, histogram = FactorizedPrior(3), torch.zeros(3, CELLS, dtype=torch.long)
    with torch.no_grad():
        prior.mean.add_(mean)
    histogram[1, 500] = 10**9
    histogram[2] = torch.randint(0, 1000, (CELLS,), generator=torch.Generator().manual_seed(0))
    found = latents.counts_of(prior, histogram)
    latents.check_counts(found, 3)
    assert found.dtype == torch.int64 and found[1, 500] > 0.97 * TOTAL
    edges = torch.linspace(-1, 1, CELLS + 1).expand(1, 3, 1, -1)
    smooth = prior.cdf(edges)[0, 2, 0].diff().double().detach()
    wanted = 0.98 * histogram[2] / histogram[2].sum() + (0 if mean else 0.02 * smooth / smooth.sum())
    wanted, others = wanted / wanted.sum(), torch.arange(CELLS) != CELLS // 2
    assert (found[2].double() / TOTAL - wanted).abs()[others].max() < 1e-6


@settings(drawn, max_examples=20)
@given(st.sampled_from([FINEST, 300, 5000, 20_000, COARSEST]), st.integers(0, 99))
def test_latents_bits_are_those_of_the_file_but_for_a_few_bytes(step, seed):
    own, rng, most = np.stack([FLAT, uneven(0), spiked(256)]), np.random.default_rng(seed), latents.largest_symbol(step)
    every, shape = np.arange(-most, most + 1), (60, 70)
    expected = np.stack([rng.choice(every, shape, p=latents.table(o, step) / TOTAL) for o in own]).astype(np.int32)
    assert abs(latents.bits(expected, own, step) / 8 - len(latents.encode(expected, own, step))) <= 6
    # The coder gives every symbol one count more than its table, so rare ones cost a little less than estimated.
    other, own = rng.integers(-most, most + 1, (3, *shape), np.int32), np.stack([FLAT, uneven(0), uneven(1)])
    estimate, length = latents.bits(other, own, step) / 8, len(latents.encode(other, own, step))
    assert 0.97 * estimate - 8 <= length <= estimate + 8


def test_quantise_and_cells_stay_within_the_table():
    ends = torch.tensor([-1.0, -1 / 512, 0.0, 1 / 512, 1.0])
    assert latents.cells_of(ends).tolist() == [0, 255, 256, 256, 511]
    z = torch.tensor([-1.0, -0.26, 0.0, 0.12, 0.13, 0.99, 1.0])
    assert latents.quantise(z, 4096).tolist() == [-4, -1, 0, 0, 1, 4, 4]
    assert latents.quantise(z, 32).abs().max() == latents.largest_symbol(32) == 510
    assert latents.quantise(z, 32).dtype == torch.int32 and latents.largest_symbol(COARSEST) == 0


def laplace(shape: tuple[int, ...], scale: float = 3.0, seed: int = 0) -> np.ndarray:
    return np.round(np.random.default_rng(seed).laplace(0, scale, shape)).astype(np.int32)


def pruned(symbols: np.ndarray, threshold: int) -> np.ndarray:
    return np.where(np.abs(symbols) >= threshold, symbols, 0).astype(np.int32)


def counted(channels: int, scale: float = 3.0) -> np.ndarray:
    """Counts of a code like those of `laplace`, but another one."""
    return integer_latents.counts_of(integer_latents.histogram_of(laplace((channels, 200, 200), scale, 1000))).numpy()


@drawn
@given(arrays(np.int32, (2, 3, 4, 5), elements=st.sampled_from([0, 1, -1, 255, -255, 256, -256, MOST, -MOST])))
def test_codes_histogram_counts_every_entry_in_its_channel(codes):
    found = integer_latents.histogram_of(codes)
    wanted = torch.zeros(3, CELLS, dtype=torch.long)
    for (_, channel, _, _), value in np.ndenumerate(codes):
        wanted[channel, ESCAPE if abs(value) > LARGEST else value + LARGEST] += 1
    assert found.dtype == torch.int64 and torch.equal(found, wanted)
    assert torch.equal(integer_latents.histogram_of(codes[0]) + integer_latents.histogram_of(codes[1]), wanted)
    for same in (torch.from_numpy(codes), torch.from_numpy(codes).float(), codes.astype(np.int16)):
        assert torch.equal(integer_latents.histogram_of(same), wanted)


@drawn
@given(st.sampled_from([0, 1, 1000, 10**9]), st.integers(0, CELLS - 1), st.sampled_from([64.0, 1024.0]))
def test_codes_counts_are_the_histogram_and_a_geometric_share(often, column, pseudo):
    histogram = integer_latents.histogram_of(laplace((2, 50, 50)))
    histogram[0] = 0
    histogram[0, column] = often
    made = integer_latents.counts_of(histogram, pseudo)
    latents.check_counts(made, 2)
    values, others = np.arange(-20_000, 20_001), np.arange(CELLS) != ZERO
    for channel, found in zip(histogram.double().numpy(), made.numpy() / TOTAL, strict=True):
        n = channel.sum()
        mean = (float((channel * np.abs(np.arange(-255, 257))).sum()) + 1) / (n + 1)
        r = mean / (1 + math.sqrt(1 + mean**2))
        smooth = (1 - r) / (1 + r) * r ** np.abs(values).astype(float)
        assert smooth.sum() == pytest.approx(1) and (smooth * np.abs(values)).sum() == pytest.approx(mean)
        inner = np.abs(values) <= LARGEST
        wanted = (channel + pseudo * np.append(smooth[inner], smooth[~inner].sum())) / (n + pseudo)
        # A cell has at least four counts, for which all others give up a little.
        assert np.abs(found - wanted)[others].max() < LEAST / TOTAL + wanted.max() * 2 * LEAST * CELLS / TOTAL


@drawn
@given(counts, st.sampled_from([1, 2, 7, 254, 255, 256, 1000, MOST]), st.integers(0, len(ODDS) - 1))
def test_codes_table_gives_what_cannot_occur_to_the_zero_and_the_zero_its_share(own, threshold, level):
    plain, magnitudes = integer_latents.table(own, threshold), np.abs(np.arange(-LARGEST, LARGEST + 1))
    stays = magnitudes >= threshold
    assert plain.sum() == TOTAL and np.array_equal(plain[:ESCAPE][stays], own[:ESCAPE][stays])
    assert plain[ESCAPE] == own[ESCAPE] and (plain[:ESCAPE][~stays & (magnitudes != 0)] == 0).all()
    assert plain[ZERO] == own[:ESCAPE][~stays].sum()
    found, (zero, other) = integer_latents.table(own, threshold, level), ODDS[level]
    assert found.dtype == np.int64 and found.sum() == TOTAL and np.array_equal(found > 0, plain > 0)
    assert abs(found[ZERO] / TOTAL - zero / (zero + other)) < 2 * CELLS / TOTAL
    others = np.arange(CELLS) != ZERO
    factor = (TOTAL * other / (zero + other)) / plain[others].sum()
    assert np.abs(found[others] - factor * plain[others]).max() < 2, "rounded twice"


@pytest.mark.parametrize("step", [17, 24, 40, 48, 1000, 4096])
def test_codes_coarser_counts_are_the_mass_of_each_interval(step):
    """Of whole numbers that are each spread evenly over their cell."""
    own = counted(2, 20.0)
    found, unit = integer_latents.coarser(own, step), Fraction(step, 16)
    assert found.dtype == np.int64 and (found.sum(1) == TOTAL).all() and found.min() >= LEAST
    for k in (-3, -1, 0, 1, 2, 10):
        low, high = (k - Fraction(1, 2)) * unit, (k + Fraction(1, 2)) * unit
        for channel, mine in zip(own, found, strict=True):
            mass = sum(
                int(channel[v + ZERO]) * max(Fraction(0), min(high, v + Fraction(1, 2)) - max(low, v - Fraction(1, 2)))
                for v in range(-LARGEST, LARGEST + 1)
            )
            assert mine[k + ZERO] == pytest.approx(float(mass), rel=2e-4, abs=2 * LEAST + (CELLS if k == 0 else 0))
    assert np.array_equal(integer_latents.coarser(own, 16), own)
    for bad in (15, 4097):
        with pytest.raises(ValueError, match="^step must be"):
            integer_latents.coarser(own, bad)


def test_codes_thresholds_are_the_smallest_magnitudes():
    code = np.array([[[0, 5, -3]], [[0, 0, 0]], [[-9, 300, 0]], [[-300, 0, 400]]], np.int32)
    assert integer_latents.threshold_of(code) == 3 and integer_latents.threshold_of(code[1:2]) == MOST
    assert integer_latents.own_thresholds(code, 3).tolist() == [3, 256, 9, 256]
    assert integer_latents.own_thresholds(code, 1).tolist() == [3, 256, 9, 256]
    assert integer_latents.own_thresholds(code[3:], 300).tolist() == [300]


@settings(drawn, max_examples=20)
@given(st.sampled_from([0.3, 1.0, 5.0, 150.0]), st.sampled_from([1, 2, 9]), st.integers(0, 99))
def test_codes_bits_are_those_of_the_file_but_for_a_few_bytes(scale, threshold, seed):
    code = pruned(laplace((4, 60, 70), scale, seed), threshold)
    own = counted(4, scale)
    estimate, length = integer_latents.bits(code, own, threshold) / 8, len(integer_latents.encode(code, own, threshold))
    assert abs(estimate - length) <= 6 + estimate / 500


ZEROS = np.zeros((1, 2, 2), np.int32)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        *((lambda step=step: latents.encode(ZEROS, FLAT[None], step), f"step must be .*got {step!r}")
          for step in (FINEST - 1, True)),
        (lambda: latents.encode(ZEROS - 17, FLAT[None], 1000), "at most 16"),
        (lambda: integer_latents.encode(ZEROS - MOST - 1, FLAT[None], 1), "magnitude 32768"),
        (lambda: integer_latents.encode(ZEROS + 2, FLAT[None], 3), "threshold must be .*got 3"),
        (lambda: integer_latents.bits(ZEROS.astype(np.int64), FLAT[None], 1), "symbols must be int32"),
        *((lambda own=own: latents.check_counts(torch.from_numpy(own), 1), r"counts must be \(1, 512\)")
          for own in (FLAT[None, :-1], spiked(3)[None] * 2, np.roll(spiked(0), 1)[None] - LEAST + 1)),
        (lambda: integer_latents.histogram_of(np.full((1, 2, 2), 0.5)), "codes must be whole"),
        (lambda: integer_latents.counts_of(torch.full((1, 512), -1)), "histogram must be"),
    ],
)  # fmt: skip
def test_latents_and_codes_refuse_what_no_file_can_hold(call, message):
    with pytest.raises(ValueError, match=message):
        call()
