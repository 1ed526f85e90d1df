"""The integer tables, the range-coded latent, and the prior that training follows."""

from __future__ import annotations

import hashlib
import math
import random

import numpy as np
import pytest
import torch

from sparsecomp.coding import entropy
from sparsecomp.coding.bitstream import BitstreamError
from sparsecomp.coding.entropy import CELLS, COARSEST, FINEST, LEAST, TOTAL, UNIT, FactorizedPrior

STEPS = (64, 65, 100, 255, 256, 1000, 4096, 16_384, 30_000, 32_640, 32_641, COARSEST)


def spiked(cell: int) -> np.ndarray:
    counts = np.full(CELLS, LEAST)
    counts[cell] += TOTAL - counts.sum()
    return counts


def uneven(seed: int) -> np.ndarray:
    share = np.random.default_rng(seed).dirichlet(np.full(CELLS, 0.1))
    counts = LEAST + np.floor((TOTAL - LEAST * CELLS) * share).astype(np.int64)
    counts[7] += TOTAL - counts.sum()
    return counts


FLAT = np.full(CELLS, TOTAL // CELLS)
KINDS = {"flat": FLAT, "uneven": uneven(0), "middle": spiked(256), "first": spiked(0), "last": spiked(511)}


# Tables ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["middle", "uneven"])
def test_every_step_has_a_table(kind):
    counts = KINDS[kind]
    for step in range(FINEST, COARSEST + 1):
        table = entropy.table(counts, step)
        if table.sum() != TOTAL or table.min() < 1 or len(table) != 2 * entropy.largest_symbol(step) + 1:
            pytest.fail(f"step {step}")


@pytest.mark.parametrize("counts", KINDS.values(), ids=KINDS)
def test_tables_of_some_steps(counts):
    for step in (*STEPS, *random.Random(0).sample(range(FINEST, COARSEST), 500)):
        table = entropy.table(counts, step)
        assert table.dtype == np.int64 and table.sum() == TOTAL and table.min() >= 1


@pytest.mark.parametrize("counts", KINDS.values(), ids=KINDS)
@pytest.mark.parametrize("step", [64, 100, 1000, 20_000])
def test_a_count_is_the_mass_of_its_interval(counts, step):
    most = entropy.largest_symbol(step)
    below = np.concatenate([[0], np.cumsum(counts)])
    edges = (np.arange(-most, most) + 0.5) * step / UNIT
    mass = np.diff(np.concatenate([[0], np.interp(edges, np.linspace(-1, 1, CELLS + 1), below), [TOTAL]]))
    assert np.abs(entropy.table(counts, step) - mass).max() < 1 + 1e-6


def test_the_largest_symbol_begins_a_cell_below_one():
    for step in range(FINEST, COARSEST + 1):
        most = entropy.largest_symbol(step)
        assert most == 0 or (most - 0.5) * step <= UNIT - 2 * UNIT / CELLS
        assert (most + 0.5) * step > UNIT - 2 * UNIT / CELLS
    assert entropy.largest_symbol(FINEST) == 255 and entropy.largest_symbol(COARSEST) == 0


@pytest.mark.parametrize("step", [63, 0, -64, COARSEST + 1, True, 64.0, "64", None])
def test_steps_that_no_file_can_name(step):
    with pytest.raises(ValueError, match="64 to 65535"):
        entropy.check_step(step)
    with pytest.raises(ValueError, match="step="):
        entropy.encode(np.zeros((1, 2, 2), np.int32), FLAT[None], step)


# Latents as bytes -----------------------------------------------------------------------------------------------------


def latents(kind: str, shape: tuple[int, int, int], step: int) -> np.ndarray:
    most, rng = entropy.largest_symbol(step), np.random.default_rng(1)
    match kind:
        case "zero":
            return np.zeros(shape, np.int32)
        case "highest":
            return np.full(shape, most, np.int32)
        case "lowest":
            return np.full(shape, -most, np.int32)
        case "any":
            return rng.integers(-most, most + 1, shape, np.int32)
        case "round":
            z = torch.from_numpy(np.tanh(rng.normal(0, 0.3, shape)).astype(np.float32))
            return entropy.quantise(z, step).numpy()


@pytest.mark.parametrize("kind", ["zero", "highest", "lowest", "any", "round"])
@pytest.mark.parametrize("step", STEPS)
def test_round_trip(kind, step):
    for shape in ((1, 1, 1), (2, 1, 9), (5, 17, 11)):
        counts = np.stack([*KINDS.values()])[: shape[0]]
        symbols = latents(kind, shape, step)
        written = entropy.encode(symbols, counts, step)
        read = entropy.decode(written, shape, counts, step)
        assert read.dtype == np.int32 and np.array_equal(read, symbols)
        assert not written.endswith(b"\0")


@pytest.mark.parametrize("step", [64, 300, 5000, COARSEST])
def test_the_estimate_is_the_file_but_for_a_few_bytes(step):
    counts, rng, symbols = np.stack([FLAT, uneven(0), spiked(256)]), np.random.default_rng(0), []
    most = entropy.largest_symbol(step)
    for own in counts:
        share = entropy.table(own, step) / TOTAL
        symbols.append(rng.choice(np.arange(-most, most + 1), (60, 70), p=share))
    symbols = np.stack(symbols).astype(np.int32)
    assert abs(entropy.bits(symbols, counts, step) / 8 - len(entropy.encode(symbols, counts, step))) <= 6


@pytest.mark.parametrize("kind", ["zero", "highest", "any", "round"])
@pytest.mark.parametrize("step", [64, 300, 5000, COARSEST])
def test_the_estimate_of_symbols_that_are_not_as_the_tables_expect(kind, step):
    # The coder gives every symbol one count more than its table, so rare ones cost a little less than estimated.
    counts, symbols = np.stack([FLAT, uneven(0), uneven(1)]), latents(kind, (3, 40, 50), step)
    estimate, length = entropy.bits(symbols, counts, step) / 8, len(entropy.encode(symbols, counts, step))
    assert 0.97 * estimate - 8 <= length <= estimate + 8


def test_bytes_stay_what_they_are():
    """Files are kept: another table or another order of the symbols would make them unreadable."""
    y, x = np.mgrid[:12, :9]
    symbols = np.stack([(7 * y + 5 * x) % 31 - 15, y - x]).astype(np.int32)
    written = entropy.encode(symbols, np.stack([FLAT, spiked(256)]), 512)
    assert hashlib.sha256(written).hexdigest()[:16] == "d728965ee5ee40ac"


def test_what_is_damaged_is_refused_and_nothing_else_is_raised():
    rng, step, shape = random.Random(0), 700, (3, 10, 12)
    counts = np.stack([uneven(0), uneven(1), FLAT])
    written = entropy.encode(latents("round", shape, step), counts, step)
    refused = 0
    for _ in range(1500):
        harmed, at = bytearray(written), rng.randrange(len(written))
        match rng.randrange(4):
            case 0:
                harmed[at] ^= 1 << rng.randrange(8)
            case 1:
                del harmed[at:]
            case 2:
                harmed[at:at] = rng.randbytes(rng.randrange(1, 9))
            case 3:
                harmed = bytearray(rng.randbytes(rng.randrange(200)))
        try:
            read = entropy.decode(bytes(harmed), shape, counts, step)
        except BitstreamError:
            refused += 1
            continue
        assert entropy.encode(read, counts, step) == bytes(harmed), "two files for one latent"
    assert refused > 500


def test_zeros_behind_the_code_are_no_second_file():
    symbols = latents("round", (1, 5, 5), 900)
    written = entropy.encode(symbols, FLAT[None], 900)
    for harmed in (written + b"\0", written + bytes(8), written[:-1]):
        with pytest.raises(BitstreamError, match="no encoder"):
            entropy.decode(harmed, (1, 5, 5), FLAT[None], 900)
    with pytest.raises(BitstreamError):
        entropy.decode(b"x", (1, 5, 5), FLAT[None], COARSEST)


def test_symbols_that_have_no_table_are_refused():
    most = entropy.largest_symbol(1000)
    for value in (most + 1, -most - 1, -(2**31)):
        with pytest.raises(ValueError, match=f"at most {most}"):
            entropy.encode(np.full((1, 2, 2), value, np.int32), FLAT[None], 1000)
    entropy.encode(np.full((1, 2, 2), most, np.int32), FLAT[None], 1000)


def test_quantise_rounds_and_stays_within_the_table():
    z = torch.tensor([-1.0, -0.26, 0.0, 0.12, 0.13, 0.99, 1.0])
    assert entropy.quantise(z, 4096).tolist() == [-4, -1, 0, 0, 1, 4, 4]
    assert entropy.quantise(z, 64).abs().max() == entropy.largest_symbol(64) == 255
    assert entropy.quantise(z, 64).dtype == torch.int32


@pytest.mark.parametrize("wrong", [FLAT[None, :-1], spiked(3)[None] * 2, np.roll(spiked(0), 1)[None] - LEAST + 1])
def test_counts_that_make_no_tables(wrong):
    with pytest.raises(ValueError, match="counts"):
        entropy.check_counts(torch.from_numpy(wrong), 1)
    entropy.check_counts(torch.from_numpy(FLAT[None]), 1)
    with pytest.raises(ValueError, match=r"\(2, 512\)"):
        entropy.check_counts(torch.from_numpy(FLAT[None]), 2)


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


def test_cdf_rises_from_zero_to_one():
    z = torch.linspace(-5, 5, 2001).view(1, 1, 1, -1).expand(1, 3, 1, -1)
    cdf = prior().cdf(z)
    assert (cdf.diff(dim=-1) >= 0).all() and (cdf >= 0).all() and (cdf <= 1 + 1e-6).all()
    assert (cdf[..., 0] < 1e-4).all() and (cdf[..., -1] > 1 - 1e-4).all()
    middle = (z > -0.2) & (z < 0.2)
    assert (cdf.diff(dim=-1)[middle[..., 1:]] > 0).all()


@pytest.mark.parametrize("step", [1 / 256, 1 / 32, 0.5])
def test_bits_are_those_of_the_mass_in_the_tails_too(step):
    z = torch.linspace(-0.95, 0.95, 77).view(1, 1, 1, -1).repeat(1, 3, 1, 1)
    wanted = exact(prior(), z.numpy().astype(float), step)
    assert wanted.max() > 8 / max(step, 0.25) ** 0.5, "the tails are there"
    inside = wanted < 28  # beyond, the estimate is held at 2^-29.9
    np.testing.assert_allclose(prior().bits(z, step).detach().numpy()[inside], wanted[inside], atol=2e-2)


def test_a_sharp_prior_keeps_its_digits_on_both_sides():
    sharp = FactorizedPrior(1)
    with torch.no_grad():
        sharp.mean.zero_()
        sharp.log_scale.fill_(math.log(0.05))
    z = torch.tensor([-0.85, -0.6, 0.6, 0.85]).view(1, 1, 1, 4)
    found = sharp.bits(z, 1 / 64).detach().numpy()
    np.testing.assert_allclose(found, exact(sharp, z.numpy().astype(float), 1 / 64), atol=1e-3)
    np.testing.assert_allclose(found, found[..., ::-1], atol=1e-3)


def test_steps_broadcast_and_bits_are_never_negative():
    z = torch.linspace(-1, 1, 24).view(2, 3, 2, 2)
    steps = torch.tensor([1 / 64, 1 / 16]).view(2, 1, 1, 1)
    both = prior().bits(z, steps)
    for i, step in enumerate((1 / 64, 1 / 16)):
        torch.testing.assert_close(both[i : i + 1], prior().bits(z[i : i + 1], step))
    assert (prior().bits(z, 4.0) >= 0).all()


@pytest.mark.parametrize("log_scale", [-100.0, -9.0, -2.0, 3.0, 100.0])
def test_gradients_stay_finite(log_scale):
    made = prior()
    with torch.no_grad():
        made.log_scale.fill_(log_scale)
    z = torch.linspace(-1, 1, 300).view(1, 3, 10, 10).requires_grad_()
    bits = made.bits(z, 1 / 100)
    bits.sum().backward()
    assert bits.isfinite().all() and z.grad.isfinite().all()
    assert all(p.grad.isfinite().all() for p in made.parameters())


def test_training_the_prior_shortens_the_code():
    made, generator = FactorizedPrior(2), torch.Generator().manual_seed(0)
    z = torch.tanh(0.05 * torch.randn(1, 2, 60, 60, generator=generator) + torch.tensor([0.3, -0.1]).view(1, 2, 1, 1))
    before, optimiser = made.bits(z, 1 / 64).mean().item(), torch.optim.Adam(made.parameters(), 0.05)
    for _ in range(100):
        optimiser.zero_grad()
        made.bits(z, 1 / 64).mean().backward()
        optimiser.step()
    assert made.bits(z, 1 / 64).mean().item() < before - 0.5


def histogram(kind: str) -> torch.Tensor:
    match kind:
        case "empty":
            return torch.zeros(3, CELLS, dtype=torch.long)
        case "one cell":
            return torch.zeros(3, CELLS, dtype=torch.long).index_fill_(1, torch.tensor([500]), 10**9)
        case "drawn":
            return torch.randint(0, 1000, (3, CELLS), generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("kind", ["empty", "one cell", "drawn"])
@pytest.mark.parametrize("far", [False, True])
def test_counts_are_whole_and_sum_up(kind, far):
    made = prior()
    if far:  # a prior with nothing in -1 .. 1
        with torch.no_grad():
            made.mean.fill_(50.0)
    counts = entropy.counts_of(made, histogram(kind))
    entropy.check_counts(counts, 3)
    assert counts.dtype == torch.int64 and int(counts.min()) >= LEAST
    if kind == "one cell":
        assert (counts[:, 500] > 0.97 * TOTAL).all()


def test_counts_follow_the_histogram_and_a_little_the_prior():
    drawn = histogram("drawn")
    counts = entropy.counts_of(prior(), drawn).double() / TOTAL
    edges = torch.linspace(-1, 1, CELLS + 1).expand(1, 3, 1, -1)
    smooth = prior().cdf(edges)[0, :, 0].diff(dim=1).double().detach()
    wanted = 0.98 * drawn / drawn.sum(1, keepdim=True) + 0.02 * smooth / smooth.sum(1, keepdim=True)
    assert (counts - wanted).abs()[:, torch.arange(CELLS) != CELLS // 2].max() < 1e-6


def test_cells_are_from_minus_one_to_one():
    z = torch.tensor([-1.0, -0.9999, -1 / 512, 0.0, 1 / 512, 0.9999, 1.0])
    assert entropy.cells_of(z).tolist() == [0, 0, 255, 256, 256, 511, 511]
