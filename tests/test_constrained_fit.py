"""Constrained fits: their rate counted again, their gradients by autograd, their multipliers by hand; and pruning."""

from __future__ import annotations

import functools
import json
import math
from dataclasses import replace

import numpy as np
import pytest
import tiny_siren
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_siren import SMALL, THREE, picture, run_to, steps

from sparsecomp import codecs, metrics
from sparsecomp import network_weights as weights
from sparsecomp.models.siren import Architecture, forward, positions, render, tensor_of
from sparsecomp.sparsify.magnitude import prune
from sparsecomp.training import kernel
from sparsecomp.training.configs import LOONIE_FILE, FitBudget, Sparsity
from sparsecomp.training.constrained_fit import ConstrainedFit, MagnitudePruning
from sparsecomp.training.fit import SirenTraining, fit, fit_set

HEIGHT, WIDTH = 24, 32
AREA = HEIGHT * WIDTH
FAST = replace(tiny_siren.FAST, steps=40, optimiser="adam", score_every=10)
FLAT = replace(FAST, warmup=0, schedule="constant")
LIVELY = {"dual_lr": 1e-3, "gate_lr": 0.05, "multiplier": 1e-3}
STUBBORN = {"gate_lr": 1e-9, "log_alpha": 2.0, "multiplier": 0.0, "dual_lr": 1e-9}  # gates that hardly move
NONZEROS = Sparsity("nonzeros", log_alpha=1.0, **LIVELY)
FILE = Sparsity("file", gates="none", **LIVELY)
GAMES = [
    pytest.param(
        Sparsity(rate, gates=gates, structured=bool(structured), log_alpha=0.0 if structured else -1.2, **LIVELY),
        id="-".join([rate, gates, *structured]),
    )
    for rate, gates, *structured in [
        ("nonzeros", "median"), ("nonzeros", "sampled"), ("nonzeros", "median", "structured"),
        ("positions", "median"), ("positions", "sampled", "structured"),
        ("file", "none"), ("file", "median"), ("file", "sampled"), ("file", "median", "structured"),
    ]
]  # fmt: skip
needs_compiler = pytest.mark.skipif(kernel.library() is None, reason="no C compiler here")
BACKENDS = [pytest.param("kernel", marks=needs_compiler), "torch"]


def sparse(bpp: float, sparsity: Sparsity):
    """The method, for `fit`."""
    return functools.partial(ConstrainedFit, bpp=bpp, sparsity=sparsity)


def method_of(bpp: float, sparsity: Sparsity, budget: FitBudget = FAST, images=None, **options) -> ConstrainedFit:
    images = THREE[:1] if images is None else images
    options = {"seeds": list(range(len(images)))} | options
    return SirenTraining(images, SMALL, budget, method=sparse(bpp, sparsity), **options).method


def parts(architecture: Architecture) -> list[slice]:
    """Where W_0, b_0, W_1, ... lie in the flat vector."""
    sizes = [size for out, inp in architecture.shapes for size in (out * inp, out)]
    ends = np.cumsum(sizes)
    return [slice(end - size, end) for end, size in zip(ends, sizes, strict=True)]


def counted(values: torch.Tensor, rate: str) -> float:
    """Bits of the nonzero values of one network, by numpy; with the entropy of their positions where that counts."""
    there = values.numpy().astype(np.float16) != 0
    bits = 16.0 * there.sum()
    for part in parts(SMALL) if rate == "positions" else []:
        share = there[part].mean()
        if 0 < share < 1:
            bits -= len(there[part]) * (share * np.log2(share) + (1 - share) * np.log2(1 - share))
    return float(bits)


def gate(sparsity: Sparsity, log_alpha: torch.Tensor, uniform: torch.Tensor | float = 0.5) -> torch.Tensor:
    """Louizos et al. 2018, eqs. 10-11, and for neurons one layer after the other: the gate of every parameter."""
    if sparsity.gates == "none":
        return torch.ones(len(log_alpha), SMALL.n_parameters, dtype=log_alpha.dtype)
    uniform = torch.as_tensor(uniform, dtype=log_alpha.dtype)
    s = 1 / (1 + (-(uniform.log() - (1 - uniform).log() + log_alpha) / sparsity.temperature).exp())
    z = (s * (1 + 2 * sparsity.stretch) - sparsity.stretch).clamp(0, 1)
    return by_layer(z) if sparsity.structured else z


def by_layer(units: torch.Tensor) -> torch.Tensor:
    """One factor a neuron, as one a parameter: a weight has those of both of its ends."""
    fits, depth, width = len(units), SMALL.depth, SMALL.width
    ends = [units.new_ones(fits, 2), *units.view(fits, depth, width).unbind(1), units.new_ones(fits, 3)]
    pairs = [((b[:, :, None] * a[:, None]).flatten(1), b) for a, b in zip(ends[:-1], ends[1:], strict=True)]
    return torch.cat([part for pair in pairs for part in pair], 1)


def stored(method: ConstrainedFit, fit: int, log_step: torch.Tensor | None = None) -> weights.Quantised:
    """The network as a file would have it now, by numpy: powers of 2^(1/16), and whole numbers of them."""
    theta = (method.training.parameters * gate(method.sparsity, method.log_alpha))[fit].double().numpy()
    log_step = method.log_step if log_step is None else log_step
    index = np.clip(np.round(-16 * log_step[fit].double().numpy() / math.log(2)), 0, 255).astype(int)
    symbols = np.zeros(SMALL.n_parameters, np.int64)
    for part, number in zip(parts(SMALL), index, strict=True):
        symbols[part] = np.round(theta[part] / 2 ** (-number / 16))
    return weights.Quantised(SMALL, torch.from_numpy(symbols), torch.from_numpy(index))


def bits_of(method: ConstrainedFit, fit: int, log_step: torch.Tensor | None = None) -> int:
    return 8 * len(weights.write(stored(method, fit, log_step), HEIGHT, WIDTH))


def on_grid(log_step: torch.Tensor) -> bool:
    """Are these steps that a file can write?"""
    exponents = -16 * log_step / math.log(2)
    return bool((exponents - exponents.round()).abs().max() < 1e-3)


# Random numbers -------------------------------------------------------------------------------------------------------


@settings(max_examples=30)
@given(st.integers(0, 10**6), st.integers(0, 2**31), st.integers(0, 2**31))
def test_uniform_depends_on_seed_step_and_stream_alone(done, seed, other_seed):
    one = method_of(2.0, FILE, images=THREE, seeds=[seed, other_seed, seed])
    other = method_of(3.0, NONZEROS, images=[picture(20, 40)], seeds=[other_seed])
    one.training.done = other.training.done = done
    like = torch.zeros(3, 500)
    drawn = one._uniform(like, 0)
    assert torch.equal(drawn[0], drawn[2]) and torch.equal(drawn[1:2], other._uniform(like[:1], 0))
    assert ((drawn > 0) & (drawn < 1)).all() and (drawn.mean(1) - 0.5).abs().max() < 0.07
    assert (seed == other_seed) == torch.equal(drawn[0], drawn[1])
    other_stream, one.training.done = one._uniform(like, 1), done + 1
    for different in (one._uniform(like, 0), other_stream):
        assert (different != drawn).float().mean() > 0.99


def test_gates_begin_near_their_first_value_and_stay_within_bounds():
    """The released code's bounds."""
    sparsity = replace(NONZEROS, log_alpha=3.7, gate_lr=1.0)
    method = method_of(0.5, sparsity, FLAT, THREE, seeds=[1, 2, 1])
    assert torch.equal(method.log_alpha[0], method.log_alpha[2])
    assert not torch.equal(method.log_alpha[0], method.log_alpha[1])
    for row in method.log_alpha:
        assert float(row.mean()) == pytest.approx(3.7, abs=0.04) and float(row.std()) == pytest.approx(0.1, abs=0.03)
    for _ in range(20):
        method.training.step()
        assert method.log_alpha.abs().max() <= 4
    assert method.log_alpha.min() == -4


# The game -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("gates", ["none", "median"])
def test_offset_is_the_length_of_the_file_over_its_expectation(gates):
    """As scorings find it; from then on the multipliers follow the expectation and this offset."""
    method = method_of(1.5, replace(FILE, gates=gates, log_alpha=1.0), FLAT, THREE[:2])
    steps(method.training, 12)
    method.training.score()
    lengths = torch.tensor([bits_of(method, index) / AREA for index in range(2)])
    expected = method._proxy(method.training.parameters, method.log_alpha, method.log_step) / AREA
    torch.testing.assert_close(method.rate, lengths)
    torch.testing.assert_close(method.offset, lengths - expected)
    assert method.offset.abs().min() > 0.01


@pytest.mark.parametrize("multiplier", [1e-3, 2.0])
def test_steps_and_multiplier_stay_from_the_step_at_which_rounding_begins(multiplier):
    """What was too long has become shorter by then; what a heavy hand has made too short, longer."""
    sparsity = replace(FILE, multiplier=multiplier, restarts=False, step_lr=0.05)
    method = method_of(2.5, sparsity, images=THREE[:2])
    training = method.training
    while training.done < 32:  # 0.8 of 40
        before, multipliers = method.log_step.clone(), method.multipliers.value.clone()
        assert not on_grid(before)
        training.step()
        assert not torch.equal(method.log_step, before), "a step size that never moves"
    assert method.round_from == 32 and not torch.equal(method.multipliers.value, multipliers)
    assert (bits_of(method, 1, before) < 0.7 * 2.5 * AREA) == (multiplier == 2.0), "nothing had to grow"
    fixed, multipliers, theta = method.log_step.clone(), method.multipliers.value.clone(), training.parameters.clone()
    assert on_grid(fixed)
    for index in range(2):
        assert 0.85 * 2.5 * AREA < bits_of(method, index) <= 0.99 * 2.5 * AREA
    steps(training, 8)
    assert torch.equal(method.log_step, fixed) and torch.equal(method.multipliers.value, multipliers)
    assert not torch.equal(training.parameters, theta)


# Gradients ------------------------------------------------------------------------------------------------------------


def expectation(sparsity: Sparsity, theta, log_alpha, log_step) -> torch.Tensor:
    """The expected rate in bits, ``(B,)``, matrix by matrix as the module's text has it."""
    if sparsity.gates == "none":
        there = torch.ones_like(theta)
    else:
        there = torch.sigmoid(log_alpha - sparsity.temperature * math.log(sparsity.stretch / (1 + sparsity.stretch)))
        there = by_layer(there) if sparsity.structured else there
    bits = torch.zeros(len(theta), dtype=theta.dtype)
    for number, part in enumerate(parts(SMALL)):
        open_, share = there[:, part].sum(1), there[:, part].mean(1).clamp(1e-6, 1 - 1e-6)
        entropy = -(share * share.log2() + (1 - share) * (1 - share).log2()) * there[:, part].shape[1]
        if sparsity.rate == "file":
            variance = (there[:, part] * theta[:, part] ** 2).sum(1) / open_
            each = torch.log2(2 * math.pi * math.e * variance) / 2 - log_step[:, number] / math.log(2)
            bits = bits + open_ * each.clamp(min=0.1)
        else:
            bits = bits + 16 * open_
        if sparsity.rate == "positions" or sparsity.rate == "file" and sparsity.gates != "none":
            bits = bits + (0 if sparsity.rate == "file" and sparsity.structured else entropy)
    return bits


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("sparsity", GAMES)
def test_step_moves_every_player_along_the_gradient_of_loss_and_rate(sparsity, backend, monkeypatch):
    """By autograd in doubles, of a loss written anew; the multipliers by what is counted. Before and after rounding."""
    sparsity = replace(sparsity, gate_lr=0.03, step_lr=0.007, restarts=sparsity.gates == "median")
    budget = replace(FAST, batch_pixels=None, schedule="cosine", warmup=10)
    lambdas, offset = torch.tensor([1.0, 2.5]), torch.tensor([0.25, -0.5])
    method = method_of(tau := 1.5, sparsity, budget, THREE[:2], backend=backend)
    training, found, rates = method.training, {}, {}
    steps(training, 6)
    method.multipliers.lr = 0.5
    method.log_alpha[1] -= 3.0  # whose gates are nearly closed: the first is over its budget, the second within it
    for name, optimiser in {"theta": training.optimiser, **method.extra}.items():

        def step(values, gradient, lr, name=name):
            found[name], rates[name] = gradient, float(lr[0])

        monkeypatch.setattr(optimiser, "step", step)
    for rounding in (False, True):
        training.done = method.round_from if rounding else 7
        method.multipliers.value[:], method.offset[:] = lambdas, offset
        theta, log_alpha, log_step = leaves = [
            tensor.double().requires_grad_() for tensor in (training.parameters, method.log_alpha, method.log_step)
        ]
        uniform = method._uniform(method.log_alpha, 1).double() if sparsity.gates == "sampled" else 0.5
        drawn = theta * gate(sparsity, log_alpha, uniform)
        if sparsity.rate == "file":
            step = torch.cat(
                [log_step[:, [n]].exp().expand(-1, p.stop - p.start) for n, p in enumerate(parts(SMALL))], 1
            )
            if rounding:
                drawn = drawn + (step * (drawn / step).round() - drawn).detach()
            else:
                noise = method._uniform(training.parameters, 0).double() - 0.5
                drawn = drawn + torch.where(drawn == 0, 0.0, step * noise)
        inputs = positions(HEIGHT, WIDTH).double().expand(2, -1, -1)
        targets = torch.stack([torch.from_numpy(p.reshape(-1, 3).T / 255) for p in THREE[:2]])
        loss = (forward(SMALL, drawn, inputs) - targets).square().mean((1, 2))
        violation = expectation(sparsity, *leaves) / AREA - tau
        price = lambdas.double() * violation
        expected = torch.autograd.grad((loss + price).sum(), leaves, allow_unused=True, retain_graph=True)
        of_loss = torch.autograd.grad(loss.sum(), leaves, allow_unused=True)
        found.clear()
        assert training.step() == pytest.approx(float(loss.detach().mean()), rel=1e-4)
        names = ["theta"] + ["log_alpha"] * (sparsity.gates != "none")
        names += ["log_step"] * (sparsity.rate == "file" and not rounding)
        assert set(found) == set(names), "who moves"
        for name, gradient, without in zip(("theta", "log_alpha", "log_step"), expected, of_loss, strict=True):
            if name not in found:
                continue
            scale = gradient.abs().max()
            torch.testing.assert_close(found[name].double() / scale, gradient / scale, atol=2e-4, rtol=1e-3)
            if name != "theta":
                assert (gradient - without).abs().max() > 0.01 * scale, "the rate has no say"
            assert without.abs().max() > 1e-4 * scale, "the picture has no say"
        share = min(1, training.done / 10) * (0.5 + 0.5 * math.cos(math.pi * (training.done - 1) / 40))
        own = {"theta": 5e-3 * share, "log_alpha": 0.03 * share, "log_step": 0.007 * (0.1 + 0.9 * share)}
        assert {name: rates[name] for name in names} == {name: pytest.approx(own[name], rel=1e-4) for name in names}
        if (
            sparsity.rate == "file"
        ):  # its length is measured at scorings: then offset is what it is over the expectation
            violation = violation.detach().float() + offset
        else:
            violation = torch.tensor([counted(row, sparsity.rate) / AREA - tau for row in drawn.detach().float()])
        moved = (lambdas + 0.5 * violation).clamp(min=0) * ((violation > 0) | (not sparsity.restarts))
        expected = lambdas if sparsity.rate == "file" and rounding else moved
        torch.testing.assert_close(method.multipliers.value, expected, atol=1e-4, rtol=1e-4)


# What a rate is expected to be ----------------------------------------------------------------------------------------


@settings(max_examples=6)
@given(st.floats(-2, 2), st.integers(0, 10**6))
def test_proxy_is_the_mean_of_what_is_counted(log_alpha, seed):
    """Over draws of all gates: exactly for nonzeros; their positions' entropy is that of the mean, a little more."""
    sparsity = Sparsity("nonzeros", gates="sampled", log_alpha=log_alpha)
    method, bits = method_of(2.0, sparsity, seeds=[seed]), []
    for method.training.done in range(150):
        uniform = method._uniform(method.log_alpha, 1)
        shown = (method.training.parameters * gate(sparsity, method.log_alpha, uniform))[0]
        bits.append([counted(shown, "nonzeros"), counted(shown, "positions")])
    nonzeros, with_positions = np.mean(bits, axis=0)
    positions_too = method_of(2.0, replace(sparsity, rate="positions"), seeds=[seed])
    found = [float(m._proxy(m.training.parameters, m.log_alpha, m.log_step)) for m in (method, positions_too)]
    assert found[0] == pytest.approx(nonzeros, rel=0.015)
    assert with_positions * 0.985 < found[1] < with_positions * 1.03


@pytest.mark.parametrize("values", ["first", "gaussian"])
@pytest.mark.parametrize("bpp", [0.5, 1.2])
def test_proxy_of_a_file_is_about_its_length(bpp, values):
    """A network of some thousand weights: the header, the tables, and at most 5 % of the rest."""
    large, side = Architecture(5, 28, n_in=14), 160
    budget = replace(FAST, batch_pixels=None)
    training = SirenTraining([picture(side, side)], large, budget, seeds=[2], method=sparse(bpp, LOONIE_FILE))
    method, area = training.method, side * side

    def proxy() -> float:
        return float(method._proxy(training.parameters, method.log_alpha, method.log_step))

    assert proxy() == pytest.approx(bpp * area, rel=1e-3), "steps begin where the first values meet the budget"
    if values == "gaussian":
        deviation = torch.rand(len(parts(large)), generator=torch.Generator().manual_seed(1)) + 0.1
        noise = torch.randn(1, large.n_parameters, generator=torch.Generator().manual_seed(5))
        training.parameters = noise * 0.1 * deviation[tensor_of(large)]
        method.log_step += math.log(2) * (proxy() - bpp * area) / large.n_parameters
    expected = proxy()
    network = method._quantised(training.parameters[0], method.log_step[0])
    size, overhead = 8 * len(weights.write(network, side, side)), 8 * (6 + 3 * 12 + 17 + 4)
    assert -0.05 * expected < size - expected < overhead + 0.05 * expected
    method.log_step -= math.log(2)
    assert proxy() - expected == pytest.approx(large.n_parameters, rel=0.02), "one bit each"


# What is kept ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bpp", [1.0, 1.5, 4.0])
@pytest.mark.parametrize("sparsity", GAMES)
def test_result_is_within_the_budget_and_drawn_as_it_is_stored(sparsity, bpp):
    (result,) = fit([THREE[1]], SMALL, FAST, method=sparse(bpp, sparsity))
    if sparsity.rate == "file":
        written = weights.write(result.network, HEIGHT, WIDTH)
        assert result.bits == 8 * len(written)
        assert torch.equal(result.parameters, result.network.parameters())
        shown = codecs.decode(written)
    else:
        assert result.network is None
        assert torch.equal(result.parameters, result.parameters.half().float()), "not what fp16 leaves"
        assert result.bits == pytest.approx(counted(result.parameters, sparsity.rate), abs=0.51)
        shown = render(SMALL, result.parameters, HEIGHT, WIDTH).numpy()
    assert 0 < result.bits <= bpp * AREA
    assert metrics.psnr(reference=THREE[1], reconstruction=shown) == pytest.approx(result.psnr, abs=0.01)
    assert (result.step, round(result.psnr, 4)) in result.history
    first = sparsity.round_from * FAST.steps if sparsity.rate == "file" else 0
    legal = [row for row in result.course if row[0] >= first and row[1] <= bpp * (1 + 1e-6)]
    assert round(result.psnr, 4) == max(row[4] for row in legal), "the best of those within the budget"


@pytest.mark.parametrize("sparsity", GAMES)
def test_repair_uses_most_of_the_budget_and_takes_the_smallest_values(sparsity):
    sparsity = replace(sparsity, **STUBBORN)
    method = method_of(2.0, sparsity)
    steps(method.training, FAST.steps)
    whole = (method.training.parameters * gate(sparsity, method.log_alpha))[0].half().float()
    method.training.score()
    (result,) = method.training.results()
    assert 0.93 * 2 * AREA < result.bits <= 2 * AREA
    if sparsity.rate == "nonzeros":
        kept = result.parameters
        assert int((kept != 0).sum()) == 2 * AREA // 16 < int((whole != 0).sum())
        assert torch.equal(kept[kept != 0], whole[kept != 0])
        assert whole[kept == 0].abs().max() <= kept[kept != 0].abs().min()


@pytest.mark.parametrize("bpp", [2.0, 6.0])
def test_state_over_its_budget_is_not_kept_before_it_is_repaired(bpp):
    method = method_of(bpp, replace(NONZEROS, dual_lr=1e-9, multiplier=0.0))
    steps(method.training, 20)
    (psnr,) = method.training.score()["psnr"]
    (made,) = method.training.fits
    assert made.best == (psnr if bpp == 6.0 else -math.inf) and method.training.done < method.round_from
    assert made.course[0][1] == pytest.approx(16 * SMALL.n_parameters / AREA), "still told as it is"


def test_state_kept_before_the_steps_are_fixed_is_forgotten():
    """A state of the noise may be good and far under the budget; the file that is written uses the budget."""
    method = method_of(2.0, FILE)
    run_to(method.training, method.round_from - 2)
    method.training.fits[0].best, method.best_rate[0] = 99.0, 0.1
    (result,) = run_to(method.training, FAST.steps).results()
    assert result.psnr < 99 and result.step >= method.round_from
    assert 0.95 * 2.0 * AREA <= result.bits <= 2.0 * AREA


def test_values_beyond_what_a_file_can_say_are_shown_as_the_file_shows_them():
    """A file's symbols end at `weights.MOST`; a value past that end at the finest step is stored as less than it is."""
    method = method_of(500.0, FILE, replace(FAST, steps=1))
    method.training.parameters[0, -3:] = torch.tensor([0.4, 0.5, 2.5])
    method.training.parameters[0, parts(SMALL)[-2]] *= 0.01
    method.log_step[:] = -20.0
    method.training.done = 1
    method.training.score()
    (result,) = method.training.results()
    shown = codecs.decode(weights.write(result.network, HEIGHT, WIDTH))
    assert metrics.psnr(reference=THREE[0], reconstruction=shown) == pytest.approx(result.psnr, abs=0.01)
    drawn = weights.decode(weights.encode(result.network))
    assert float(drawn.parameters()[-1]) == pytest.approx(float(result.parameters[-1]), rel=1e-6)


@pytest.mark.parametrize("sparsity", GAMES)
def test_course_tells_every_scoring(sparsity):
    method = method_of(1.5, sparsity, images=THREE[:2])
    for done in (10, 20, 30, 40):
        steps(method.training, 10)
        theta = (method.training.parameters * gate(sparsity, method.log_alpha)).half()
        scores = method.training.score()["psnr"]
        for index, made in enumerate(method.training.fits):
            file = sparsity.rate == "file"
            values = stored(method, index).symbols if file else theta[index]
            size = bits_of(method, index) if file else counted(theta[index], sparsity.rate)
            step, rate, multiplier, nonzeros, psnr = made.course[-1]
            assert step == done and psnr == pytest.approx(scores[index], abs=1e-4)
            assert multiplier == pytest.approx(float(method.multipliers.value[index]), rel=1e-3)
            if done < 32:
                assert nonzeros == int((values != 0).sum()) and rate == pytest.approx(size / AREA, abs=1e-4)
            else:
                assert 0 < nonzeros <= int((values != 0).sum()) and rate <= 1.5 + 1e-5, "repaired"
    for result in method.training.results():
        assert [(row[0], row[4]) for row in result.course] == result.history
        assert json.loads(json.dumps(result.course)) == result.course


# Collapses ------------------------------------------------------------------------------------------------------------

COLLAPSING = [
    pytest.param(replace(NONZEROS, gate_lr=0.01), id="nonzeros"),
    pytest.param(replace(FILE, gates="median", gate_lr=0.01, log_alpha=1.0), id="file-median"),
    pytest.param(FILE, id="file"),
]


def harmed_and_calm(sparsity: Sparsity, bpp: float, at: int = 70) -> tuple[ConstrainedFit, ConstrainedFit]:
    """Two batches just behind the scoring at which the first one's second fit was found to be 0 throughout."""
    budget = replace(FAST, steps=150, lr=0.01)
    harmed, calm = (method_of(bpp, sparsity, budget, THREE) for _ in range(2))
    for method in (harmed, calm):
        run_to(method.training, at - 1).step()
        if method is harmed:
            method.training.parameters[1] = 0.0
        method.training.score()
    return harmed, calm


@pytest.mark.parametrize("sparsity", COLLAPSING)
def test_restart_begins_gates_and_multiplier_of_that_fit_anew(sparsity):
    harmed, calm = harmed_and_calm(sparsity, 5.0)
    begun, gated = method_of(5.0, sparsity, images=THREE), sparsity.gates != "none"
    assert [len(made.restarts) for made in harmed.training.fits] == [0, 1, 0] and not calm.training.fits[1].restarts
    assert torch.equal(harmed.log_alpha[1], begun.log_alpha[1])
    assert torch.equal(calm.log_alpha[1], begun.log_alpha[1]) == (not gated)
    assert float(harmed.multipliers.value[1]) == pytest.approx(1e-3) != pytest.approx(float(calm.multipliers.value[1]))
    assert harmed.offset[1] == 0 and harmed.training.parameters.isfinite().all() and harmed.log_step.isfinite().all()
    used = ["log_alpha"] * gated + ["log_step"] * (sparsity.rate == "file")
    for optimiser in (harmed.training.optimiser, *(harmed.extra[name] for name in used)):
        assert all((tensor[1] == 0).all() for tensor in optimiser.state.values())
        assert optimiser.state["clock"][0] == 70
    for method in (harmed, calm):
        run_to(method.training, 150)
    one, other = harmed.training.state(), calm.training.state()
    for name, tensor in one.items():
        assert torch.equal(tensor[::2], other[name][::2]), name
    saved = harmed.training.results()[1]
    assert saved.parameters.isfinite().all() and 0 < saved.bits <= 5 * AREA and saved.psnr > harmed.training.constant[1]


@pytest.mark.parametrize("at", [70, 130])
@pytest.mark.parametrize("sparsity", COLLAPSING)
def test_restart_from_the_best_draws_the_best(sparsity, at):
    """The best has its gates in it: they must not be laid upon it again. Steps that are fixed are those of files."""
    harmed, _ = harmed_and_calm(sparsity, 6.0, at)
    assert [restart["from"] for restart in harmed.training.fits[1].restarts] == ["best"], "nothing is tested"
    assert sparsity.rate != "file" or on_grid(harmed.log_step) == (at >= harmed.round_from)
    drawn = harmed.training.parameters[1] * gate(sparsity, harmed.log_alpha)[1]
    torch.testing.assert_close(drawn, harmed.training.best[1], atol=1e-6, rtol=1e-3)


@pytest.mark.parametrize("value", [math.nan, 1e30])
@pytest.mark.parametrize("sparsity", COLLAPSING)
def test_restart_of_a_fit_that_diverges_whatever_is_counted(sparsity, value):
    """It must not end the others' fits, nor its own; two steps later even its gates and steps are no numbers."""
    for later in (0, 2):
        harmed, calm = (method_of(5.0, sparsity, replace(FAST, steps=40), THREE).training for _ in range(2))
        for training in (harmed, calm):
            run_to(training, 20 - later)
            if training is harmed:
                training.parameters[1] = value
            run_to(training, 20)
            if not later:
                training.score()
            run_to(training, 40)
        assert harmed.fits[1].restarts, "not noticed"
        result = harmed.results()[1]
        assert result.parameters.isfinite().all() and 0 < result.bits <= 5 * AREA
        assert torch.equal(harmed.parameters[::2], calm.parameters[::2])


@pytest.mark.parametrize("bpp", [0, -1.0, math.nan, math.inf, [1.0]])
def test_constrained_fit_refuses_impossible_budgets(bpp):
    with pytest.raises(ValueError, match="bpp must be"):
        method_of(bpp, NONZEROS)


# Pruning --------------------------------------------------------------------------------------------------------------

PRUNED = 4.5
DENSE = 2 * 10 + 10 + 10 + 10 + 10 * 3 + 3  # what stays: outer layers, biases
pruning = functools.partial(MagnitudePruning, bpp=PRUNED)


def pruner(images=None, budget: FitBudget = FAST, seed: int = 0) -> SirenTraining:
    images = THREE[:1] if images is None else images
    return SirenTraining(images, SMALL, budget, seeds=[seed + n for n in range(len(images))], method=pruning)


@pytest.mark.parametrize("optimiser", ["adam", "soap"])
def test_pruning_keeps_to_the_budget_and_what_is_pruned_stays_pruned(optimiser):
    """A share of each hidden matrix, rounded down; outer layers and biases stay dense."""
    most, training = int(PRUNED * AREA / 16), run_to(pruner(THREE, replace(FAST, optimiser=optimiser)), 21)
    mask, before = training.parameters != 0, training.parameters.clone()
    for there in mask:
        counts = [int(there[part].sum()) for part in parts(SMALL)]
        assert counts == [20, 10, (most - DENSE) // 2, 10, (most - DENSE) // 2, 10, 30, 3]
    while training.done < FAST.steps:
        run_to(training, training.done + 1)
        assert torch.equal(training.parameters != 0, mask)
    assert (training.parameters - before)[mask].abs().median() > 1e-3, "and the rest learns"
    for index, result in enumerate(training.results()):
        assert torch.equal(result.parameters != 0, mask[index]) and result.step > FAST.steps // 2
        shown = render(SMALL, result.parameters.float(), HEIGHT, WIDTH).numpy()
        assert metrics.psnr(reference=THREE[index], reconstruction=shown) == pytest.approx(result.psnr, abs=0.01)


@pytest.mark.parametrize("score_every", [10, 1000, 60])
def test_pruning_prunes_the_best_of_half_the_steps_however_seldom_it_is_scored(score_every):
    budget = replace(FAST, score_every=score_every)
    dense = SirenTraining(THREE[:1], SMALL, replace(budget, steps=20), seeds=[3])
    training = pruner(budget=budget, seed=3)
    steps(dense, 20)
    steps(training, 20)
    assert torch.equal(training.parameters, dense.parameters), "the fit of half as many steps"
    expected = prune(SMALL, training.parameters[0].half().float(), int(PRUNED * AREA / 16))
    if score_every == 10:  # what was best counts, not what is there
        training.score()
        training.parameters.normal_(generator=torch.Generator().manual_seed(0))
    training.step()
    assert torch.equal(training.method.mask[0], (expected != 0).float())
    assert (training.parameters[0] - expected).abs().max() < 0.01, "and trains on from there"


def test_pruning_begins_the_schedule_anew_at_half(monkeypatch):
    budget = FitBudget(steps=100, lr=0.01, warmup=10, schedule="cosine", optimiser="adam", score_every=10)
    training, rates, clocks = pruner(budget=budget), [], []
    real = training.optimiser.step

    def step(parameters, gradient, lr):
        rates.append(float(lr))
        real(parameters, gradient, lr)
        clocks.append(int(training.optimiser.state["clock"]))

    monkeypatch.setattr(training.optimiser, "step", step)
    run_to(training, 100)
    half = [0.01 * min(1, (n + 1) / 10) * (0.5 + 0.5 * math.cos(math.pi * n / 50)) for n in range(50)]
    assert rates == pytest.approx([*half, *half])
    assert clocks == [*range(1, 51), *range(1, 51)], "a fresh optimiser"
    assert training.fits[0].restarts == []


def test_pruning_keeps_no_dense_fit_however_good_it_was():
    (result,) = fit(THREE[:1], SMALL, replace(FAST, steps=200), method=functools.partial(MagnitudePruning, bpp=2.5))
    dense = max(psnr for step, psnr in result.history if step <= 100)
    assert result.psnr < dense - 0.5 and int((result.parameters != 0).sum()) <= 2.5 * AREA / 16
    assert result.psnr == pytest.approx(max(psnr for step, psnr in result.history if step > 100), abs=1e-4)


@pytest.mark.parametrize("value", [math.nan, 0.0])
def test_pruning_leaves_its_zeros_after_a_collapse(value):
    training = run_to(pruner(THREE[:2], replace(FAST, steps=300, lr=0.01)), 215)
    assert training.fits[1].best > training.constant[1] + 3
    training.parameters[1] = value
    run_to(training, 300)
    assert [len(made.restarts) for made in training.fits] == [0, 1]
    for index, result in enumerate(training.results()):
        assert torch.equal(result.parameters != 0, training.method.mask[index] != 0)
        assert result.parameters.isfinite().all() and result.psnr > training.constant[index] + 3


def test_pruning_refuses_a_budget_that_does_not_hold_the_outer_layers():
    least = 16 * DENSE / AREA
    with pytest.raises(ValueError, match=f"most must be at least {DENSE}, .* got {DENSE - 1}$"):
        fit(THREE[:1], SMALL, FAST, method=functools.partial(MagnitudePruning, bpp=least - 16 / AREA))
    (result,) = fit(THREE[:1], SMALL, FAST, method=functools.partial(MagnitudePruning, bpp=least))
    assert int((result.parameters != 0).sum()) == DENSE


def test_methods_reach_another_process_and_their_results_come_back(tmp_path):
    done = {}
    fit_set({"a": THREE[0]}, SMALL, FAST, folder=tmp_path, seed=4, on_done=done.__setitem__, method=sparse(2.0, FILE))
    (here,) = fit(THREE[:1], SMALL, FAST, seeds=[4], method=sparse(2.0, FILE))
    assert torch.equal(done["a"].parameters, here.parameters) and done["a"].course == here.course
    assert torch.equal(done["a"].network.symbols, here.network.symbols) and done["a"].bits == here.bits
