"""Constrained fits: gradients by autograd, rates counted again, multipliers by hand, collapses; and pruning."""

from __future__ import annotations

import functools
import math
from dataclasses import replace

import pytest
import tiny_siren
import torch
from tiny_siren import SMALL, THREE, run_to, steps

from sparsecomp import codecs, metrics
from sparsecomp import network_weights as weights
from sparsecomp.coding.quantize import index_of, step_of
from sparsecomp.models.siren import forward, positions, render, tensor_of
from sparsecomp.sparsify.gates import HardConcrete, spread_units
from sparsecomp.sparsify.magnitude import prune
from sparsecomp.training import kernel
from sparsecomp.training.configs import LOONIE_FILE, FitBudget, Sparsity
from sparsecomp.training.constrained_fit import ConstrainedFit, MagnitudePruning
from sparsecomp.training.fit import SirenTraining, fit

HEIGHT, WIDTH = 24, 32
AREA = HEIGHT * WIDTH
MATRIX = tensor_of(SMALL)  # the matrix or bias vector of every parameter
FAST = replace(tiny_siren.FAST, steps=40, optimiser="adam", score_every=10)
FLAT = replace(FAST, warmup=0, schedule="constant")
LIVELY = {"dual_lr": 1e-3, "gate_lr": 0.05, "multiplier": 1e-3}
STUBBORN = {"gate_lr": 1e-9, "log_alpha": 2.0, "multiplier": 0.0, "dual_lr": 1e-9}  # gates that hardly move
NONZEROS = Sparsity("nonzeros", log_alpha=1.0, **LIVELY)
FILE = Sparsity("file", gates="none", **LIVELY)
SETTINGS = [
    pytest.param(
        Sparsity(rate, gates=gates, structured=bool(structured), log_alpha=0.0 if structured else -1.2, **LIVELY),
        id="-".join([rate, gates, *structured]),
    )
    for rate, gates, *structured in [
        ("nonzeros", "median"), ("nonzeros", "sampled"), ("positions", "sampled", "structured"),
        ("file", "none"), ("file", "median"), ("file", "sampled", "structured"),
    ]
] + [
    pytest.param(
        Sparsity("nonzeros", log_alpha=-1.2, proxy_bits=32, loss="sum", **LIVELY), id="nonzeros-sum-32-bits-a-gate"
    )
]  # fmt: skip
every_setting = pytest.mark.parametrize("sparsity", SETTINGS)
needs_compiler = pytest.mark.skipif(kernel.library() is None, reason="no C compiler here")


def sparse(bpp: float, sparsity: Sparsity):
    """The method, for `fit`."""
    return functools.partial(ConstrainedFit, bpp=bpp, sparsity=sparsity)


def method_of(bpp: float, sparsity: Sparsity, budget: FitBudget = FAST, images=THREE[:1], **options) -> ConstrainedFit:
    options = {"seeds": list(range(len(images)))} | options
    return SirenTraining(images, SMALL, budget, method=sparse(bpp, sparsity), **options).method


def uniform(method: ConstrainedFit, like: torch.Tensor, stream: int) -> torch.Tensor:
    """What a step draws, by the seed and the step alone: stream 0 for the noise, 1 for the gates."""
    training = method.training
    generators = [torch.Generator().manual_seed((s * 1_000_003 + training.done) * 2 + stream) for s in training.seeds]
    return torch.stack([torch.rand(like.shape[1], generator=g) for g in generators]).clamp(1e-6, 1 - 1e-6).double()


def gate(sparsity: Sparsity, log_alpha: torch.Tensor, drawn: torch.Tensor | None = None) -> torch.Tensor:
    """The gate of every parameter, the median unless it is drawn."""
    if sparsity.gates == "none":
        return torch.ones(len(log_alpha), SMALL.n_parameters)
    gates = HardConcrete(sparsity.temperature, (-sparsity.stretch, 1 + sparsity.stretch))
    z = gates.median(log_alpha) if drawn is None else gates.at(log_alpha, drawn)
    return spread_units(SMALL, z) if sparsity.structured else z


def absorbed(method: ConstrainedFit) -> torch.Tensor:
    """The weights of every fit times their median gates."""
    return method.training.parameters * gate(method.sparsity, method.log_alpha)


def entropy(share: torch.Tensor) -> torch.Tensor:
    share = share.clamp(1e-6, 1 - 1e-6)
    return -share * share.log2() - (1 - share) * (1 - share).log2()


def counted(values: torch.Tensor, rate: str) -> float:
    """Bits of the nonzero values of one network, for "positions" with the entropy of where they stand."""
    there = values.half() != 0
    bits = 16.0 * int(there.sum())
    for matrix in MATRIX.unique() if rate == "positions" else []:
        here = there[matrix == MATRIX].double()
        bits += len(here) * float(entropy(here.mean()))
    return bits


def stored(method: ConstrainedFit, fit: int) -> weights.Quantised:
    """The network as a file would have it now."""
    index = index_of(method.log_step[fit].exp())
    return weights.Quantised(SMALL, (absorbed(method)[fit] / step_of(index)[MATRIX]).round().long(), index)


def bits_of(method: ConstrainedFit, fit: int) -> int:
    return 8 * len(weights.write(stored(method, fit), HEIGHT, WIDTH))


def on_grid(log_step: torch.Tensor) -> bool:
    """Are these steps that a file can write?"""
    exponents = -16 * log_step / math.log(2)
    return bool((exponents - exponents.round()).abs().max() < 1e-3)


def psnr_of(result, index: int = 0) -> float:
    """Of the file, or of the parameters of a result without a file."""
    if getattr(result, "network", None) is not None:
        shown = codecs.decode(weights.write(result.network, HEIGHT, WIDTH))
    else:
        shown = render(SMALL, result.parameters.float(), HEIGHT, WIDTH).numpy()
    return metrics.psnr(reference=THREE[index], reconstruction=shown)


# One step -------------------------------------------------------------------------------------------------------------


def expectation(sparsity: Sparsity, theta, log_alpha, log_step) -> torch.Tensor:
    """The expected rate in bits, ``(B,)``, matrix by matrix as the module's text has it."""
    there = torch.ones_like(theta)
    if sparsity.gates != "none":
        there = torch.sigmoid(log_alpha - sparsity.temperature * math.log(sparsity.stretch / (1 + sparsity.stretch)))
        there = spread_units(SMALL, there) if sparsity.structured else there
    bits = torch.zeros(len(theta), dtype=theta.dtype)
    for matrix in MATRIX.unique():
        here, values = there[:, matrix == MATRIX], theta[:, matrix == MATRIX]
        expected, positions_cost = here.sum(1), entropy(here.mean(1)) * here.shape[1]
        if sparsity.rate == "file":
            variance = (here * values**2).sum(1) / expected
            each = torch.log2(2 * math.pi * math.e * variance) / 2 - log_step[:, matrix] / math.log(2)
            bits = bits + expected * each.clamp(min=0.1)
            has_positions = sparsity.gates != "none" and not sparsity.structured
        else:
            bits = bits + sparsity.proxy_bits * expected
            has_positions = sparsity.rate == "positions"
        bits = bits + positions_cost * has_positions
    return bits


def drawn_weights(method: ConstrainedFit, theta, log_alpha, log_step, rounding: bool) -> torch.Tensor:
    """What the networks draw with in this step."""
    sparsity = method.sparsity
    drawn = theta * gate(sparsity, log_alpha, uniform(method, log_alpha, 1) if sparsity.gates == "sampled" else None)
    if sparsity.rate != "file":
        return drawn
    step = log_step.exp()[:, MATRIX]
    if rounding:
        return drawn + (step * (drawn / step).round() - drawn).detach()
    return drawn + torch.where(drawn == 0, 0.0, step * (uniform(method, theta, 0) - 0.5))


@pytest.mark.parametrize("rounding", [False, True])
@pytest.mark.parametrize("backend", [pytest.param("kernel", marks=needs_compiler), "torch"])
@every_setting
def test_step_descends_in_loss_and_rate_and_ascends_in_the_multiplier(sparsity, backend, rounding, monkeypatch):
    """By autograd in doubles, of a loss written anew; the multipliers by what is counted."""
    file, gated = sparsity.rate == "file", sparsity.gates != "none"
    sparsity = replace(sparsity, gate_lr=0.03, step_lr=0.007, restarts=sparsity.gates == "median")
    budget = replace(FAST, batch_pixels=None, schedule="cosine", warmup=10)
    method = method_of(tau := 1.5, sparsity, budget, THREE[:2], backend=backend)
    training, found, rates = method.training, {}, {}
    steps(training, 6)
    training.done = method.round_from if rounding else 7
    method.log_alpha[1] -= 3.0  # whose gates are nearly closed: the first is over its budget, the second within it
    pixels = 3 * AREA if sparsity.loss == "sum" else 1
    lambdas, offset = pixels * torch.tensor([1.0, 2.5]), torch.tensor([0.25, -0.5])
    method.multipliers.lr, method.multipliers.value[:], method.offset[:] = 0.5, lambdas, offset
    for name, optimiser in {"theta": training.optimiser, **method.extra}.items():

        def step(values, gradient, lr, name=name):
            found[name], rates[name] = gradient, float(lr[0])

        monkeypatch.setattr(optimiser, "step", step)

    leaves = [t.double().requires_grad_() for t in (training.parameters, method.log_alpha, method.log_step)]
    drawn = drawn_weights(method, *leaves, rounding)
    targets = torch.stack([torch.from_numpy(p.reshape(-1, 3).T / 255) for p in THREE[:2]])
    inputs = positions(HEIGHT, WIDTH).double().expand(2, -1, -1)
    loss = (forward(SMALL, drawn, inputs) - targets).square().mean((1, 2))
    violation = expectation(sparsity, *leaves) / AREA - tau
    total = (pixels * loss + lambdas.double() * violation).sum()
    expected = torch.autograd.grad(total, leaves, allow_unused=True, retain_graph=True)
    of_loss = torch.autograd.grad(pixels * loss.sum(), leaves, allow_unused=True)
    share = min(1, (training.done + 1) / 10) * (0.5 + 0.5 * math.cos(math.pi * training.done / 40))
    own_rates = {"theta": 5e-3 * share, "log_alpha": 0.03 * share, "log_step": 0.007 * (0.1 + 0.9 * share)}

    assert training.step() == pytest.approx(float(loss.detach().mean()), rel=1e-4)
    moving = {"theta": True, "log_alpha": gated, "log_step": file and not rounding}
    assert set(found) == {name for name, moves in moving.items() if moves}
    assert rates == {name: pytest.approx(own_rates[name], rel=1e-4) for name in found}
    for name, gradient, without in zip(moving, expected, of_loss, strict=True):
        if name in found:
            scale = gradient.abs().max()
            torch.testing.assert_close(found[name].double() / scale, gradient / scale, atol=2e-4, rtol=1e-3)
            assert without.abs().max() > 1e-4 * scale, "the picture has no say"
            assert name == "theta" or (gradient - without).abs().max() > 0.01 * scale, "the rate has no say"
    if file:  # measured at scorings; offset is what the file was longer than expected
        violation = violation.detach().float() + offset
    else:
        violation = torch.tensor([counted(row, sparsity.rate) / AREA - tau for row in drawn.detach()])
    moved = (lambdas + 0.5 * violation).clamp(min=0) * ((violation > 0) | (not sparsity.restarts))
    moved = lambdas if file and rounding else moved
    torch.testing.assert_close(method.multipliers.value, moved, atol=1e-4, rtol=1e-4)


def test_drop_rate_gives_back_what_the_first_gates_take():
    """So that the network begins at the scale that SIREN asks for; after a collapse, too."""
    plain = SirenTraining(THREE[:1], SMALL, FLAT, seeds=[0]).parameters
    method = method_of(0.5, replace(NONZEROS, log_alpha=0.0, drop_rate=0.5), FLAT)
    torch.testing.assert_close(absorbed(method).std(), plain.std(), rtol=0.02, atol=0)
    training, fresh = method.training, method.training.parameters.clone()
    training.parameters.fill_(math.nan)
    training.score()
    assert training.fits[0].restarts[-1]["from"] == "new"
    assert 0.9 < float(training.parameters.std() / fresh.std()) < 1.1


def test_limit_bounds_weights_and_gates_have_their_own_betas():
    method = method_of(0.5, replace(NONZEROS, limit=0.05, gate_betas=(0.8, 0.9)), FLAT)
    assert method.extra["log_alpha"].betas == (0.8, 0.9)
    method.training.step()
    assert float(method.training.parameters.abs().max()) == pytest.approx(0.05)


@pytest.mark.parametrize("multiplier", [0.0, 100.0])
def test_without_repair_a_state_over_the_budget_is_kept_at_the_last_step_alone(multiplier):
    """With a multiplier that closes gates at once, one within the budget is found before."""
    game = replace(NONZEROS, repair=False, round_from=0.5, dual_lr=1e-9, gate_lr=0.2, multiplier=multiplier)
    training = run_to(method_of(2.5, replace(game, restarts=False), FLAT).training, 30)
    assert (training.fits[0].best > -math.inf) == (multiplier > 0)
    (result,) = run_to(training, 40).results()
    assert result.psnr > -math.inf and result.bits <= 2.5 * AREA and (result.step < 40) == (multiplier > 0)


def test_gates_begin_near_their_first_value_and_stay_within_bounds():
    method = method_of(0.5, replace(NONZEROS, log_alpha=3.7, gate_lr=1.0), FLAT, THREE, seeds=[1, 2, 1])
    assert torch.equal(method.log_alpha[0], method.log_alpha[2])
    assert not torch.equal(method.log_alpha[0], method.log_alpha[1])
    assert float(method.log_alpha.mean()) == pytest.approx(3.7, abs=0.04)
    for _ in range(20):
        method.training.step()
        assert method.log_alpha.abs().max() <= 4
    assert method.log_alpha.min() == -4


def test_steps_of_a_file_begin_where_the_first_values_meet_the_budget():
    method = method_of(1.5, LOONIE_FILE)
    method.training.score()
    assert float(method.rate - method.offset) == pytest.approx(1.5, rel=1e-3)
    assert float(method.offset) * AREA + 1.5 * AREA == pytest.approx(bits_of(method, 0), abs=1)


def test_steps_and_multiplier_stay_once_rounding_begins():
    method = method_of(2.5, replace(FILE, restarts=False, step_lr=0.05), images=THREE[:2])
    training = method.training
    while training.done < 32:  # 0.8 of 40
        before, multipliers = method.log_step.clone(), method.multipliers.value.clone()
        assert not on_grid(before)
        training.step()
        assert not torch.equal(method.log_step, before)
    assert method.round_from == 32 and not torch.equal(method.multipliers.value, multipliers)
    fixed, multipliers, theta = method.log_step.clone(), method.multipliers.value.clone(), training.parameters.clone()
    assert on_grid(fixed)
    for index in range(2):
        assert 0.85 * 2.5 * AREA < bits_of(method, index) <= 0.99 * 2.5 * AREA
    steps(training, 8)
    assert torch.equal(method.log_step, fixed) and torch.equal(method.multipliers.value, multipliers)
    assert not torch.equal(training.parameters, theta)


# What is kept ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bpp", [1.5, 4.0])
@every_setting
def test_result_is_within_the_budget_and_drawn_as_it_is_stored(sparsity, bpp):
    (result,) = fit([THREE[1]], SMALL, FAST, method=sparse(bpp, sparsity))
    if sparsity.rate == "file":
        assert result.bits == 8 * len(weights.write(result.network, HEIGHT, WIDTH))
        assert torch.equal(result.parameters, result.network.parameters())
    else:
        assert result.network is None
        assert torch.equal(result.parameters, result.parameters.half().float())
        assert result.bits == pytest.approx(counted(result.parameters, sparsity.rate), abs=0.51)
    assert 0 < result.bits <= bpp * AREA
    assert psnr_of(result, 1) == pytest.approx(result.psnr, abs=0.01)
    assert (result.step, round(result.psnr, 4)) in result.history
    first = sparsity.round_from * FAST.steps if sparsity.rate == "file" else 0
    legal = [row for row in result.course if row[0] >= first and row[1] <= bpp * (1 + 1e-6)]
    assert round(result.psnr, 4) == max(row[4] for row in legal), "the best of those within the budget"


@every_setting
def test_repair_uses_most_of_the_budget_and_takes_the_smallest_values(sparsity):
    method = method_of(2.0, replace(sparsity, **STUBBORN))
    steps(method.training, 10)
    method.training.score()
    assert method.training.fits[0].best == -math.inf, "over its budget nothing is kept, however good it is"
    steps(method.training, FAST.steps - 10)
    whole = absorbed(method)[0].half().float()
    method.training.score()
    (result,) = method.training.results()
    assert 0.93 * 2 * AREA < result.bits <= 2 * AREA
    if sparsity.rate == "nonzeros":
        kept = result.parameters
        assert int((kept != 0).sum()) == 2 * AREA // 16 < int((whole != 0).sum())
        assert torch.equal(kept[kept != 0], whole[kept != 0])
        assert whole[kept == 0].abs().max() <= kept[kept != 0].abs().min()


# Collapses ------------------------------------------------------------------------------------------------------------

every_collapse = pytest.mark.parametrize(
    "sparsity",
    [
        pytest.param(replace(NONZEROS, gate_lr=0.01), id="nonzeros"),
        pytest.param(replace(FILE, gates="median", gate_lr=0.01, log_alpha=1.0), id="file-median"),
        pytest.param(FILE, id="file"),
    ],
)


def harmed_and_calm(sparsity: Sparsity, bpp: float, at: int, value: float = 0.0):
    """Two batches after a scoring; in the first, the second fit was set to this value."""
    budget = replace(FAST, steps=100, lr=0.01)
    harmed, calm = (method_of(bpp, sparsity, budget, THREE) for _ in range(2))
    for method in (harmed, calm):
        steps(run_to(method.training, at - 10), 10)
        if method is harmed:
            method.training.parameters[1] = value
        method.training.score()
    return harmed, calm


@pytest.mark.parametrize("value", [0.0, math.nan])
@every_collapse
def test_restart_begins_gates_and_multiplier_of_that_fit_anew(sparsity, value):
    harmed, calm = harmed_and_calm(sparsity, 5.0, 50, value)
    begun, gated = method_of(5.0, sparsity, images=THREE), sparsity.gates != "none"
    assert [len(made.restarts) for made in harmed.training.fits] == [0, 1, 0] and not calm.training.fits[1].restarts
    assert torch.equal(harmed.log_alpha[1], begun.log_alpha[1])
    assert torch.equal(calm.log_alpha[1], begun.log_alpha[1]) == (not gated)
    assert float(harmed.multipliers.value[1]) == pytest.approx(1e-3) != pytest.approx(float(calm.multipliers.value[1]))
    assert harmed.offset[1] == 0 and harmed.training.parameters.isfinite().all() and harmed.log_step.isfinite().all()
    used = ["log_alpha"] * gated + ["log_step"] * (sparsity.rate == "file")
    for optimiser in (harmed.training.optimiser, *(harmed.extra[name] for name in used)):
        assert all((tensor[1] == 0).all() for tensor in optimiser.state.values())
        assert optimiser.state["clock"][0] == 50
    for method in (harmed, calm):
        run_to(method.training, 100)
    one, other = harmed.training.state(), calm.training.state()
    for name, tensor in one.items():
        assert torch.equal(tensor[::2], other[name][::2]), f"{name} of a neighbour"
    saved = harmed.training.results()[1]
    assert saved.parameters.isfinite().all() and 0 < saved.bits <= 5 * AREA and saved.psnr > harmed.training.constant[1]


@pytest.mark.parametrize("at", [50, 90])
@every_collapse
def test_restart_from_the_best_draws_the_best(sparsity, at):
    """The best has its gates in it: they must not be applied again. Steps that are fixed are those of files."""
    harmed, _ = harmed_and_calm(sparsity, 6.0, at)
    assert [restart["from"] for restart in harmed.training.fits[1].restarts] == ["best"], "nothing is tested"
    assert sparsity.rate != "file" or on_grid(harmed.log_step) == (at >= harmed.round_from)
    torch.testing.assert_close(absorbed(harmed)[1], harmed.training.best[1], atol=1e-6, rtol=1e-3)


# Pruning --------------------------------------------------------------------------------------------------------------

PRUNED = 4.5
DENSE = 2 * 10 + 10 + 10 + 10 + 10 * 3 + 3  # what stays: outer layers, biases


def pruner(images=THREE[:1], budget: FitBudget = FAST, seed: int = 0) -> SirenTraining:
    pruning = functools.partial(MagnitudePruning, bpp=PRUNED)
    return SirenTraining(images, SMALL, budget, seeds=[seed + n for n in range(len(images))], method=pruning)


@pytest.mark.parametrize(("optimiser", "value"), [("adam", math.nan), ("soap", 0.0)])
def test_pruning_keeps_to_the_budget_and_its_zeros_even_after_a_collapse(optimiser, value):
    """A share of each hidden matrix, rounded down; outer layers and biases stay dense."""
    hidden = (int(PRUNED * AREA / 16) - DENSE) // 2
    training = run_to(pruner(THREE[:2], replace(FAST, steps=300, lr=0.01, optimiser=optimiser)), 151)
    mask, before = training.parameters != 0, training.parameters.clone()
    for there in mask:
        assert MATRIX[there].bincount().tolist() == [20, 10, hidden, 10, hidden, 10, 30, 3]
    while training.done < 215:
        run_to(training, training.done + 1)
        assert torch.equal(training.parameters != 0, mask)
    assert (training.parameters - before)[mask].abs().median() > 1e-3, "and the rest learns"
    training.parameters[1] = value
    run_to(training, 300)
    assert [len(made.restarts) for made in training.fits] == [0, 1]
    for index, result in enumerate(training.results()):
        assert torch.equal(result.parameters != 0, mask[index]) and result.step > 150
        assert psnr_of(result, index) == pytest.approx(result.psnr, abs=0.01) and result.psnr > training.constant[index]


@pytest.mark.parametrize("score_every", [10, 60])
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
    assert training.fits[0].best == -math.inf, "no dense fit is kept, however good it was"


def test_methods_refuse_impossible_budgets():
    for bpp in (0, math.nan):
        with pytest.raises(ValueError, match="bpp must be"):
            fit(THREE[:1], SMALL, FAST, method=sparse(bpp, NONZEROS))
    with pytest.raises(ValueError, match=f"most must be at least {DENSE}, .* got {DENSE - 1}$"):
        fit(THREE[:1], SMALL, FAST, method=functools.partial(MagnitudePruning, bpp=16 * (DENSE - 1) / AREA))
