"""Sparse fits: their rate counted again, their gradients by autograd, their players by hand; pruning beside them."""

from __future__ import annotations

import functools
import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from sparsecomp.training.running import Paused
from sparsecomp.training.sparse import PruningEngine, SparseEngine

from sparsecomp import codecs, metrics
from sparsecomp.coding import quantize, weights
from sparsecomp.models.siren import Architecture, forward, positions, render
from sparsecomp.profiles import LOONIE_FILE, LOONIE_NONZEROS, FitBudget, Sparsity
from sparsecomp.sparsify.gates import HardConcrete, spread_units
from sparsecomp.sparsify.magnitude import prune
from sparsecomp.training import fit as engine_module
from sparsecomp.training import kernel
from sparsecomp.training.fit import Engine, fit

SMALL = Architecture(3, 10)
HEIGHT, WIDTH = 24, 32
AREA = HEIGHT * WIDTH
FAST = FitBudget(steps=40, lr=5e-3, optimiser="adam", batch_pixels=256, score_every=10)
LIVELY = {"dual_lr": 1e-3, "gate_lr": 0.05, "multiplier": 1e-3}
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


def picture(height: int, width: int, seed: int = 0) -> np.ndarray:
    """Smooth waves of colour: a small network can learn them."""
    generator = np.random.default_rng(seed)
    slopes = generator.uniform(0.05, 0.3, (3, 2))
    y, x = np.mgrid[:height, :width]
    waves = [127 + 90 * np.sin(a * y + b * x + seed) for a, b in slopes]
    return np.stack(waves, axis=-1).round().astype(np.uint8)


THREE = [picture(HEIGHT, WIDTH, seed) for seed in range(3)]


def sparse(bpp, sparsity: Sparsity):
    """What makes the engine, for `fit`."""
    return functools.partial(SparseEngine, bpp=bpp, sparsity=sparsity)


def engine_of(bpp, sparsity: Sparsity, budget: FitBudget = FAST, images=None, **options) -> SparseEngine:
    images = THREE[:1] if images is None else images
    options = {"seeds": list(range(len(images)))} | options
    return SparseEngine(images, SMALL, budget, bpp=bpp, sparsity=sparsity, **options)


def assert_same(one, other) -> None:
    """Two results are the same to the last bit, all but the seconds."""
    assert torch.equal(one.parameters, other.parameters)
    assert (one.psnr, one.step, one.history, one.restarts) == (other.psnr, other.step, other.history, other.restarts)
    if hasattr(one, "bits"):
        assert (one.bits, one.course) == (other.bits, other.course)
        assert (one.network is None) == (other.network is None)
        if one.network is not None:
            assert torch.equal(one.network.symbols, other.network.symbols)
            assert torch.equal(one.network.steps, other.network.steps)


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


# Same bits ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sparsity", GAMES)
def test_a_batch_with_many_budgets_is_its_fits_one_by_one(sparsity):
    budgets, seeds = [1.25, 2.0, 3.5], [5, 6, 6]
    together = fit(THREE, SMALL, FAST, seeds=seeds, make=sparse(budgets, sparsity))
    for image, seed, bpp, result in zip(THREE, seeds, budgets, together, strict=True):
        (alone,) = fit([image], SMALL, FAST, seeds=[seed], make=sparse(bpp, sparsity))
        assert_same(result, alone)
    (other,) = fit(THREE[:1], SMALL, FAST, seeds=[5], make=sparse(1.5, sparsity))
    assert not torch.equal(other.parameters, together[0].parameters), "the budget changes nothing"


@pytest.mark.parametrize("sparsity", [NONZEROS, FILE], ids=["nonzeros", "file"])
def test_a_batch_is_its_fits_one_by_one_by_soap_too(sparsity):
    soap = replace(FAST, optimiser="soap", steps=30)
    together = fit(THREE[:2], SMALL, soap, seeds=[1, 2], make=sparse([2.0, 3.0], sparsity))
    for number, result in enumerate(together):
        (alone,) = fit([THREE[number]], SMALL, soap, seeds=[number + 1], make=sparse(2.0 + number, sparsity))
        assert_same(result, alone)


@pytest.mark.parametrize("sparsity", GAMES)
def test_a_sparse_fit_paused_at_every_step_is_one_never_stopped(sparsity, tmp_path):
    """The steps at which rounding begins, and the repair, are among them."""
    budget = replace(FAST, steps=30, score_every=4)
    whole = fit(THREE[:2], SMALL, budget, seeds=[0, 1], make=sparse([1.5, 2.5], sparsity))
    path, pauses = tmp_path / "fit.safetensors", 0
    while True:
        try:
            paused = fit(
                THREE[:2], SMALL, budget, seeds=[0, 1], make=sparse([1.5, 2.5], sparsity), checkpoint=path,
                max_seconds=0,
            )  # fmt: skip
            break
        except Paused:
            pauses += 1
    assert pauses == budget.steps - 1
    for one, other in zip(paused, whole, strict=True):
        assert_same(one, other)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_state_saved_before_the_rounding_goes_on_behind_it(backend, tmp_path):
    def engine() -> SparseEngine:
        return engine_of([1.5, 2.5], FILE, images=THREE[:2], backend=backend)

    whole, first, second = engine(), engine(), engine()
    go_on(whole, 40)
    go_on(first, 25)
    first.save(tmp_path / "state")
    second.load(tmp_path / "state")
    assert second.step == 25 < second.round_from == 32
    go_on(second, 40)
    for one, other in zip(second.results(), whole.results(), strict=True):
        assert_same(one, other)
    for name, tensor in whole._tensors().items():
        assert torch.equal(tensor, second._tensors()[name]), name


@pytest.fixture
def paused(tmp_path):
    """The checkpoint of a fit that was paused after one step."""
    path = tmp_path / "fit.safetensors"
    with pytest.raises(Paused, match="step 1 of 40"):
        fit(THREE[:1], SMALL, FAST, make=sparse(2.0, FILE), checkpoint=path, max_seconds=0)
    return path


@pytest.mark.parametrize(
    "other",
    [
        sparse(2.5, FILE),
        sparse(2.0, replace(FILE, dual_lr=2e-3)),
        sparse(2.0, replace(FILE, round_from=0.9)),
        sparse(2.0, replace(FILE, gates="median")),
        sparse(2.0, NONZEROS),
        Engine,
        functools.partial(PruningEngine, bpp=2.0),
    ],
    ids=["bpp", "dual_lr", "round_from", "gates", "rate", "dense", "pruning"],
)
def test_a_checkpoint_of_another_game_is_refused(paused, other):
    before = paused.read_bytes()
    with pytest.raises(ValueError, match="another configuration"):
        fit(THREE[:1], SMALL, FAST, make=other, checkpoint=paused)
    assert paused.read_bytes() == before
    fit(THREE[:1], SMALL, FAST, make=sparse(2.0, FILE), checkpoint=paused)  # its own goes on


def test_a_whole_number_of_bits_is_a_budget_like_any_other():
    (whole,), (same,) = (fit(THREE[:1], SMALL, FAST, make=sparse(bpp, FILE)) for bpp in (2, 2.0))
    assert_same(whole, same)


# Random numbers -------------------------------------------------------------------------------------------------------


def test_noise_depends_on_seed_and_step_alone():
    engine = engine_of(2.0, FILE, images=THREE, seeds=[4, 9, 4])
    other = engine_of(3.0, NONZEROS, images=[picture(20, 40)], seeds=[9])
    like = torch.zeros(3, 500)
    engine.step = other.step = 17
    drawn = engine._uniform(like, 0)
    assert torch.equal(drawn, engine._uniform(like, 0)) and torch.equal(drawn[0], drawn[2])
    assert torch.equal(drawn[1:2], other._uniform(like[:1], 0)), "of the same seed and step"
    assert ((drawn > 0) & (drawn < 1)).all() and abs(float(drawn.mean()) - 0.5) < 0.05
    engine.step = 18
    for different in (engine._uniform(like, 0)[1], other._uniform(like[:1], 1)[0]):
        assert (different != drawn[1]).float().mean() > 0.99, "another step, another stream"
    assert (drawn[0] != drawn[1]).float().mean() > 0.99


def test_gates_begin_where_they_are_told_and_not_all_alike():
    engine = engine_of(2.0, replace(NONZEROS, log_alpha=0.7), images=THREE, seeds=[1, 2, 1])
    assert torch.equal(engine.log_alpha[0], engine.log_alpha[2])
    assert not torch.equal(engine.log_alpha[0], engine.log_alpha[1])
    for row in engine.log_alpha:
        assert float(row.mean()) == pytest.approx(0.7, abs=0.04) and float(row.std()) == pytest.approx(0.1, abs=0.03)


# Two players ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("restarts", [True, False])
@pytest.mark.parametrize("rate", ["nonzeros", "positions"])
def test_multipliers_follow_what_is_counted(rate, restarts):
    """Counted and added up by hand, while the gates close: first over the budget, later within it."""
    sparsity = Sparsity(rate, restarts=restarts, dual_lr=0.02, gate_lr=0.2, multiplier=0.03, log_alpha=-1.3)
    budget = replace(FAST, warmup=0, schedule="constant")
    taus, by_hand = [0.75, 2.5, 5.5], [0.03] * 3
    engine = engine_of(taus, sparsity, budget, images=THREE)
    grew, held = set(), set()
    for _ in range(30):
        shown = engine.parameters * gate(sparsity, engine.log_alpha)
        for index, tau in enumerate(taus):
            violation = counted(shown[index], rate) / AREA - tau
            if restarts and violation <= 0:
                by_hand[index] = 0.0
            else:
                by_hand[index] = max(0.0, by_hand[index] + 0.02 * violation)
            (held if violation <= 0 else grew).add(index)
        engine.advance()
        assert engine.multipliers.value.tolist() == pytest.approx(by_hand, abs=1e-4)
    assert grew == held == {0, 1, 2}, "each should come from above its budget to within it"


def test_multipliers_grow_while_a_budget_is_violated_and_each_has_its_own():
    engine, before = engine_of([1.0, 2.0, 5.0], NONZEROS, images=THREE), torch.full((3,), 1e-3)
    for _ in range(10):
        engine.advance()
        assert (engine.multipliers.value > before).all()
        before = engine.multipliers.value.clone()
    assert before[0] > before[1] > before[2], "the tighter the budget, the faster"


def stored(engine: SparseEngine, fit: int, log_step: torch.Tensor | None = None) -> weights.Quantised:
    """The network as a file would have it now, by numpy: powers of 2^(1/16), and whole numbers of them."""
    z = gate(engine.sparsity, engine.log_alpha)[fit] if engine.sparsity.gates != "none" else 1.0
    theta = (engine.parameters[fit] * z).double().numpy()
    log_step = engine.log_step if log_step is None else log_step
    index = np.clip(np.round(-16 * log_step[fit].double().numpy() / math.log(2)), 0, 255).astype(int)
    symbols = np.zeros(SMALL.n_parameters, np.int64)
    for part, number in zip(parts(SMALL), index, strict=True):
        symbols[part] = np.round(theta[part] / 2 ** (-number / 16))
    return weights.Quantised(SMALL, torch.from_numpy(symbols), torch.from_numpy(index))


@pytest.mark.parametrize("gates", ["none", "median"])
def test_the_multiplier_of_a_file_follows_its_length(gates):
    """Just after a scoring the length is known; a step later it is that and what the expectation has changed by."""
    sparsity = replace(FILE, gates=gates, restarts=False, dual_lr=0.01, step_lr=0.02, log_alpha=1.0)
    budget = replace(FAST, warmup=0, schedule="constant")
    engine = engine_of([1.5, 3.0], sparsity, budget, images=THREE[:2])
    for _ in range(12):
        engine.advance()
    engine.score()
    lengths = [8 * len(weights.write(stored(engine, index), HEIGHT, WIDTH)) / AREA for index in range(2)]
    assert engine.rate.tolist() == pytest.approx(lengths)

    def change() -> list[float]:
        before = engine.multipliers.value.clone()
        engine.advance()
        return ((engine.multipliers.value - before) / 0.01).tolist()

    expected = engine._proxy(engine.parameters, engine.log_alpha, engine.log_step) / AREA
    assert change() == pytest.approx([lengths[0] - 1.5, lengths[1] - 3.0], abs=1e-4)
    for _ in range(3):
        engine.advance()
    moved = (engine._proxy(engine.parameters, engine.log_alpha, engine.log_step) / AREA - expected).numpy()
    assert abs(moved).max() > 2e-3, "nothing has moved"
    assert change() == pytest.approx([lengths[0] + moved[0] - 1.5, lengths[1] + moved[1] - 3.0], abs=1e-4)


@pytest.mark.parametrize("multiplier", [1e-3, 2.0])
def test_once_steps_are_fixed_they_and_the_multiplier_stay(multiplier):
    """What was too long has become shorter by then; what a heavy hand has made too short, longer."""
    sparsity = replace(FILE, multiplier=multiplier, restarts=False, step_lr=0.05)
    engine = engine_of([1.5, 2.5], sparsity, images=THREE[:2])
    while engine.step < engine.round_from:
        before = engine.log_step.clone()
        engine.advance()
        assert not torch.equal(engine.log_step, before), "a step size that never moves"
    last = [len(weights.write(stored(engine, index, before), HEIGHT, WIDTH)) for index in range(2)]
    assert (8 * last[1] < 0.7 * 2.5 * AREA) == (multiplier == 2.0), "nothing had to grow"
    steps, multipliers, theta = engine.log_step.clone(), engine.multipliers.value.clone(), engine.parameters.clone()
    on_grid = -16 * steps / math.log(2)
    torch.testing.assert_close(on_grid, on_grid.round(), atol=1e-3, rtol=0)
    for index, bpp in enumerate([1.5, 2.5]):
        size = 8 * len(weights.write(stored(engine, index), HEIGHT, WIDTH))
        assert 0.85 * bpp * AREA < size <= 0.99 * bpp * AREA
    while engine.step < FAST.steps:
        engine.advance()
    assert torch.equal(engine.log_step, steps) and torch.equal(engine.multipliers.value, multipliers)
    assert not torch.equal(engine.parameters, theta)


def test_each_player_has_its_own_learning_rate(monkeypatch):
    """Those of gates and steps follow the fit's schedule, the latter down to a tenth."""
    sparsity = replace(FILE, gates="median", gate_lr=0.03, step_lr=0.007)
    engine = engine_of(2.0, sparsity, replace(FAST, schedule="cosine", warmup=4))
    rates = {"theta": [], "log_alpha": [], "log_step": []}
    for name, optimiser in {"theta": engine.optimiser, **engine.extra}.items():
        monkeypatch.setattr(optimiser, "step", lambda values, gradient, lr, name=name: rates[name].append(float(lr)))
    for _ in range(40):
        engine.advance()
    share = [min(1, (n + 1) / 4) * (0.5 + 0.5 * math.cos(math.pi * n / 40)) for n in range(40)]
    assert rates["theta"] == pytest.approx([5e-3 * part for part in share], rel=1e-4, abs=1e-9)
    assert rates["log_alpha"] == pytest.approx([0.03 * part for part in share], rel=1e-4, abs=1e-9)
    assert rates["log_step"] == pytest.approx([0.007 * (0.1 + 0.9 * part) for part in share[:32]], rel=1e-4)


def test_gates_stay_within_the_bounds_of_the_released_code():
    sparsity = replace(NONZEROS, gate_lr=1.0, log_alpha=3.9)
    engine = engine_of(0.5, sparsity, replace(FAST, warmup=0, schedule="constant"))
    for _ in range(20):
        engine.advance()
        assert engine.log_alpha.abs().max() <= 4
    assert engine.log_alpha.min() == -4


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
def test_every_player_moves_along_the_gradient_of_loss_and_rate(sparsity, backend, monkeypatch):
    """By autograd in doubles, of a loss written anew; before the rounding and after it."""
    taus, lambdas = [1.5, 3.0], torch.tensor([1.0, 2.5])
    engine = engine_of(taus, sparsity, replace(FAST, batch_pixels=None), images=THREE[:2], backend=backend)
    for _ in range(6):
        engine.advance()
    found = {}
    for name, optimiser in {"theta": engine.optimiser, **engine.extra}.items():
        monkeypatch.setattr(optimiser, "step", lambda values, gradient, lr, name=name: found.update({name: gradient}))
    for rounding in (False, True):
        engine.step = engine.round_from if rounding else 7
        engine.multipliers.value[:] = lambdas
        theta, log_alpha, log_step = leaves = [
            tensor.double().requires_grad_() for tensor in (engine.parameters, engine.log_alpha, engine.log_step)
        ]
        z = torch.ones_like(theta)
        if sparsity.gates == "sampled":
            z = gate(sparsity, log_alpha, engine._uniform(engine.log_alpha, 1).double())
        elif sparsity.gates == "median":
            z = gate(sparsity, log_alpha)
        drawn = theta * z
        if sparsity.rate == "file":
            step = torch.cat(
                [log_step[:, [n]].exp().expand(-1, p.stop - p.start) for n, p in enumerate(parts(SMALL))], 1
            )
            if rounding:
                drawn = drawn + (step * (drawn / step).round() - drawn).detach()
            else:
                noise = engine._uniform(engine.parameters, 0).double() - 0.5
                drawn = drawn + torch.where(drawn == 0, 0.0, step * noise)
        inputs = positions(HEIGHT, WIDTH).double().expand(2, -1, -1)
        targets = torch.stack([torch.from_numpy(p.reshape(-1, 3).T / 255) for p in THREE[:2]])
        loss = (forward(SMALL, drawn, inputs) - targets).square().mean((1, 2))
        price = lambdas.double() * (expectation(sparsity, *leaves) / AREA - torch.tensor(taus))
        expected = torch.autograd.grad((loss + price).sum(), leaves, allow_unused=True, retain_graph=True)
        of_loss = torch.autograd.grad(loss.sum(), leaves, allow_unused=True)
        found.clear()
        told = engine.advance()
        assert told == pytest.approx(float(loss.detach().mean()), rel=1e-4)
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


# What a rate is expected to be ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("structured", [False, True])
def test_nonzeros_are_sixteen_times_the_expected_l0_norm(structured):
    engine = engine_of([1.0, 2.0], replace(NONZEROS, structured=structured), images=THREE[:2])
    engine.log_alpha.normal_(0, 2, generator=torch.Generator().manual_seed(3))
    found = engine._proxy(engine.parameters, engine.log_alpha, engine.log_step)
    probability = HardConcrete().open_probability(engine.log_alpha)
    expected = 16 * (spread_units(SMALL, probability) if structured else probability).sum(1)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=0)


def test_the_expectation_is_the_mean_of_what_is_counted():
    """Over draws of all gates: exactly for nonzeros; their positions' entropy is that of the mean, a little more."""
    sparsity = replace(NONZEROS, log_alpha=-0.5, gates="sampled")
    engine = engine_of(2.0, sparsity)
    bits = []
    for engine.step in range(150):
        shown = (engine.parameters * gate(sparsity, engine.log_alpha, engine._uniform(engine.log_alpha, 1)))[0]
        bits.append([counted(shown, "nonzeros"), counted(shown, "positions")])
    nonzeros, with_positions = np.mean(bits, axis=0)
    expected = float(engine._proxy(engine.parameters, engine.log_alpha, engine.log_step))
    assert expected == pytest.approx(nonzeros, rel=0.01)
    engine = engine_of(2.0, replace(sparsity, rate="positions"))
    expected = float(engine._proxy(engine.parameters, engine.log_alpha, engine.log_step))
    assert with_positions * 0.99 < expected < with_positions * 1.02


@pytest.mark.parametrize("values", ["first", "gaussian"])
@pytest.mark.parametrize("bpp", [0.5, 1.2])
def test_what_a_file_is_expected_to_cost_is_about_its_length(bpp, values):
    """A network of some thousand weights: the header, the tables, and at most 5 % of the rest."""
    large, side = Architecture(5, 28, n_in=14), 160
    engine = SparseEngine(
        [picture(side, side)], large, replace(FAST, batch_pixels=None), seeds=[2], bpp=bpp, sparsity=LOONIE_FILE
    )
    first = float(engine._proxy(engine.parameters, engine.log_alpha, engine.log_step))
    assert first == pytest.approx(bpp * side * side, rel=1e-3), "steps begin where the first values meet the budget"
    if values == "gaussian":
        deviation = torch.rand(len(parts(large)), generator=torch.Generator().manual_seed(1)) + 0.1
        noise = torch.randn(1, large.n_parameters, generator=torch.Generator().manual_seed(5))
        engine.parameters = noise * 0.1 * deviation[quantize.tensor_of(large)]
        shift = engine._proxy(engine.parameters, engine.log_alpha, engine.log_step) - bpp * side * side
        engine.log_step += math.log(2) * shift / large.n_parameters
    expected = float(engine._proxy(engine.parameters, engine.log_alpha, engine.log_step))
    network = engine._quantised(engine.parameters[0], engine.log_step[0])
    size, overhead = 8 * len(weights.write(network, side, side)), 8 * (6 + 3 * 12 + 17 + 4)
    assert -0.05 * expected < size - expected < overhead + 0.05 * expected
    finer = engine._proxy(engine.parameters, engine.log_alpha, engine.log_step - math.log(2))
    assert float(finer) - expected == pytest.approx(large.n_parameters, rel=0.02), "one bit each"


# What is kept ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bpp", [1.0, 1.5, 4.0])
@pytest.mark.parametrize("sparsity", GAMES)
def test_what_is_kept_is_within_the_budget_and_drawn_as_it_is_stored(sparsity, bpp):
    (result,) = fit([THREE[1]], SMALL, FAST, make=sparse(bpp, sparsity))
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
def test_most_of_the_budget_is_used_where_much_is_to_be_repaired(sparsity):
    """Gates that hardly move close nothing: what fits is what the repair leaves."""
    stubborn = replace(sparsity, gate_lr=1e-9, log_alpha=2.0, multiplier=0.0, dual_lr=1e-9)
    (result,) = fit([THREE[0]], SMALL, replace(FAST, score_every=40), make=sparse(2.0, stubborn))
    assert 0.93 * 2 * AREA < result.bits <= 2 * AREA


def test_repaired_networks_have_lost_their_smallest_values():
    stubborn = replace(NONZEROS, gate_lr=1e-9, log_alpha=2.0, dual_lr=1e-9, multiplier=0.0)
    engine = engine_of(2.0, stubborn)
    while engine.step < FAST.steps:
        engine.advance()
    whole = (engine.parameters * gate(stubborn, engine.log_alpha))[0].half().float()
    engine.score()
    kept = engine.results()[0].parameters
    assert int((kept != 0).sum()) == 2 * AREA // 16 < int((whole != 0).sum())
    assert torch.equal(kept[kept != 0], whole[kept != 0])
    assert whole[kept == 0].abs().max() <= kept[kept != 0].abs().min()


def test_what_cannot_be_kept_is_left_for_what_can():
    """While nothing is repaired, a state over its budget is not kept, however good it is."""
    engine = engine_of([2.0, 6.0], replace(NONZEROS, dual_lr=1e-9, multiplier=0.0), images=[THREE[0]] * 2, seeds=[0, 0])
    for _ in range(20):
        engine.advance()
    scores = engine.score()
    assert engine.step < engine.round_from
    assert engine.fits[0].best == -math.inf and engine.fits[1].best == scores[1] > 0
    assert engine.fits[0].course[0][1] == pytest.approx(16 * SMALL.n_parameters / AREA), "still told as it is"


def test_values_beyond_what_a_file_can_say_are_shown_as_the_file_shows_them():
    """A file's symbols end at `weights.MOST`; a value past that end at the finest step is stored as less than it is."""
    engine = engine_of(500.0, FILE, replace(FAST, steps=1))
    engine.parameters[0, -3:] = torch.tensor([0.4, 0.5, 2.5])
    engine.parameters[0, parts(SMALL)[-2]] *= 0.01
    engine.log_step[:] = -20.0
    engine.step = 1
    engine.score()
    (result,) = engine.results()
    shown = codecs.decode(weights.write(result.network, HEIGHT, WIDTH))
    assert metrics.psnr(reference=THREE[0], reconstruction=shown) == pytest.approx(result.psnr, abs=0.01)
    drawn = weights.decode(weights.encode(result.network))
    assert float(drawn.parameters()[-1]) == pytest.approx(float(result.parameters[-1]), rel=1e-6)


# The course -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sparsity", GAMES)
def test_the_course_tells_every_scoring(sparsity):
    engine, seen = engine_of([1.5, 2.5], sparsity, images=THREE[:2]), []
    while engine.step < FAST.steps:
        engine.advance()
        if engine.step % 10 == 0:
            late = engine.step >= engine.round_from
            z = 1.0 if sparsity.gates == "none" else gate(sparsity, engine.log_alpha)
            theta = engine.parameters * z
            scores = engine.score()
            assert math.isfinite(sum(scores)), "a collapse would be told, too"
            for index, made in enumerate(engine.fits):
                step, rate, multiplier, nonzeros, psnr = made.course[-1]
                assert step == engine.step and psnr == pytest.approx(scores[index], abs=1e-4)
                assert multiplier == pytest.approx(float(engine.multipliers.value[index]), rel=1e-3)
                kept = stored(engine, index).symbols if sparsity.rate == "file" else theta[index].half()
                assert 0 < nonzeros <= int((kept != 0).sum()) if late else nonzeros == int((kept != 0).sum())
                if late:
                    assert rate <= [1.5, 2.5][index] + 1e-5
                elif sparsity.rate == "file":
                    size = 8 * len(weights.write(stored(engine, index), HEIGHT, WIDTH))
                    assert rate == pytest.approx(size / AREA, abs=1e-5)
                else:
                    assert rate == pytest.approx(counted(theta[index], sparsity.rate) / AREA, abs=1e-4)
            seen.append(late)
    assert seen == [False, False, False, True]
    for result in engine.results():
        assert [row[0] for row in result.course] == [10, 20, 30, 40]
        assert [(row[0], row[4]) for row in result.course] == result.history
        assert json.loads(json.dumps(result.course)) == result.course


# Collapses ------------------------------------------------------------------------------------------------------------


def harmed_and_calm(
    sparsity: Sparsity, bpp: float, steps: int = 150, at: int = 70, value: float = 0.0
) -> tuple[SparseEngine, SparseEngine]:
    """Two engines just behind the scoring at which the first one's second fit was found to be ``value`` throughout."""
    budget = replace(FAST, steps=steps, lr=0.01)
    harmed, calm = (engine_of(bpp, sparsity, budget, images=THREE) for _ in range(2))
    for engine in (harmed, calm):
        go_on(engine, at - 1)
        engine.advance()
        if engine is harmed:
            engine.parameters[1] = value
        engine.score()
    return harmed, calm


def go_on(engine: Engine, until: int) -> None:
    while engine.step < until:
        engine.advance()
        if engine.step % engine.budget.score_every == 0:
            engine.score()


COLLAPSING = [
    pytest.param(replace(NONZEROS, gate_lr=0.01), id="nonzeros"),
    pytest.param(replace(FILE, gates="median", gate_lr=0.01, log_alpha=1.0), id="file-median"),
    pytest.param(FILE, id="file"),
]


@pytest.mark.parametrize("sparsity", COLLAPSING)
def test_a_collapse_begins_gates_and_multiplier_of_that_fit_anew(sparsity):
    harmed, calm = harmed_and_calm(sparsity, 5.0)
    begun, gated = engine_of(5.0, sparsity, images=THREE), sparsity.gates != "none"
    assert [len(made.restarts) for made in harmed.fits] == [0, 1, 0] and not calm.fits[1].restarts
    assert torch.equal(harmed.log_alpha[1], begun.log_alpha[1])
    assert torch.equal(calm.log_alpha[1], begun.log_alpha[1]) == (not gated)
    assert float(harmed.multipliers.value[1]) == pytest.approx(1e-3) != pytest.approx(float(calm.multipliers.value[1]))
    assert harmed.offset[1] == 0 and harmed.parameters.isfinite().all() and harmed.log_step.isfinite().all()
    used = ["log_alpha"] * gated + ["log_step"] * (sparsity.rate == "file")
    for optimiser in (harmed.optimiser, *(harmed.extra[name] for name in used)):
        assert all((tensor[1] == 0).all() for tensor in optimiser.state.values())
        assert optimiser.state["clock"][0] == 70
    for engine in (harmed, calm):
        go_on(engine, 150)
    for index in (0, 2):
        assert_same(harmed.results()[index], calm.results()[index])
        for name, tensor in harmed._tensors().items():
            assert torch.equal(tensor[index], calm._tensors()[name][index]), name
    saved = harmed.results()[1]
    assert saved.parameters.isfinite().all() and 0 < saved.bits <= 5 * AREA and saved.psnr > harmed.constant[1]


@pytest.mark.parametrize("sparsity", COLLAPSING)
def test_a_fit_that_is_restarted_from_its_best_draws_its_best(sparsity):
    """The best has its gates in it: they must not be laid upon it a second time."""
    harmed, _ = harmed_and_calm(sparsity, 6.0)
    assert [restart["from"] for restart in harmed.fits[1].restarts] == ["best"], "nothing is tested"
    z = gate(sparsity, harmed.log_alpha)[1] if sparsity.gates != "none" else 1.0
    torch.testing.assert_close(harmed.parameters[1] * z, harmed.best[1], atol=1e-6, rtol=1e-3)


@pytest.mark.parametrize("value", [math.nan, math.inf, 1e30])
@pytest.mark.parametrize("sparsity", COLLAPSING)
def test_a_fit_that_diverges_is_restarted_whatever_is_counted(sparsity, value):
    """It must not end the others' fits, nor its own; two steps later even its gates and steps are no numbers."""
    for later in (0, 2):
        harmed, calm = (engine_of(5.0, sparsity, replace(FAST, steps=60), images=THREE) for _ in range(2))
        for engine in (harmed, calm):
            go_on(engine, 20 - later)
            if engine is harmed:
                engine.parameters[1] = value
            go_on(engine, 20)
            if not later:
                engine.score()
            go_on(engine, 60)
        assert harmed.fits[1].restarts, "not noticed"
        result = harmed.results()[1]
        assert result.parameters.isfinite().all() and 0 < result.bits <= 5 * AREA
        assert torch.equal(harmed.parameters[::2], calm.parameters[::2])


def test_a_restart_while_steps_are_fixed_has_steps_that_a_file_can_say():
    """From `round_from` on training rounds as the file does, also what was begun anew there."""
    harmed, _ = harmed_and_calm(FILE, 5.0, at=130)
    assert harmed.fits[1].restarts and harmed.step >= harmed.round_from
    on_grid = -16 * harmed.log_step / math.log(2)
    torch.testing.assert_close(on_grid[0], on_grid[0].round(), atol=1e-3, rtol=0)
    torch.testing.assert_close(on_grid[1], on_grid[1].round(), atol=1e-3, rtol=0)


# Bad arguments --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bpp", [[1.0], [1.0, 2.0, 3.0], [], 0, -1.0, [1.0, 0.0], math.nan, math.inf, [1.0, math.nan]])
def test_impossible_budgets(bpp):
    with pytest.raises(ValueError, match="bpp="):
        engine_of(bpp, NONZEROS, images=THREE[:2])


def test_no_gates_and_nothing_but_nonzeros_to_count():
    for rate in ("nonzeros", "positions"):
        with pytest.raises(ValueError, match="gates must be one of median, sampled where rate is .*, got 'none'"):
            Sparsity(rate, gates="none")


# Pruning --------------------------------------------------------------------------------------------------------------

PRUNED = 4.5
DENSE = 2 * 10 + 10 + 10 + 10 + 10 * 3 + 3  # what stays: outer layers, biases
pruning = functools.partial(PruningEngine, bpp=PRUNED)


def pruner(images=None, budget: FitBudget = FAST, bpp: float = PRUNED, **options) -> PruningEngine:
    images = THREE[:1] if images is None else images
    options = {"seeds": list(range(len(images)))} | options
    return PruningEngine(images, SMALL, budget, bpp=bpp, **options)


@pytest.mark.parametrize("optimiser", ["adam", "soap"])
def test_pruning_keeps_to_the_budget_and_spares_the_outer_layers(optimiser):
    budget, most = replace(FAST, optimiser=optimiser), int(PRUNED * AREA / 16)
    results = fit(THREE, SMALL, budget, seeds=[0, 1, 2], make=pruning)
    w0, b0, w1, b1, w2, b2, w3, b3 = parts(SMALL)
    for image, result in zip(THREE, results, strict=True):
        there = result.parameters != 0
        assert most - 2 <= int(there.sum()) <= most, "a share of each matrix, rounded down"
        assert all(there[part].all() for part in (w0, b0, b1, b2, w3, b3))
        assert int(there[w1].sum()) == int(there[w2].sum()) == (most - DENSE) // 2
        assert result.step > budget.steps // 2
        shown = render(SMALL, result.parameters.float(), HEIGHT, WIDTH).numpy()
        assert metrics.psnr(reference=image, reconstruction=shown) == pytest.approx(result.psnr, abs=0.01)


def test_the_first_half_is_the_fit_of_half_as_many_steps():
    dense, engine = Engine(THREE[:1], SMALL, replace(FAST, steps=20), seeds=[3]), pruner(seeds=[3])
    for _ in range(20):
        dense.advance()
        engine.advance()
    assert torch.equal(engine.parameters, dense.parameters)
    engine.score()
    expected = prune(SMALL, engine.parameters[0].half().float(), int(PRUNED * AREA / 16))
    engine.parameters.normal_(generator=torch.Generator().manual_seed(0))  # what was best counts, not what is there
    engine.advance()
    assert torch.equal(engine.mask[0], (expected != 0).float())
    assert (engine.parameters[0] - expected).abs().max() < 0.01, "and it goes on from there"


def test_what_is_pruned_stays_pruned_and_the_rest_learns():
    engine = pruner(THREE[:2])
    while engine.step <= 20:
        engine.advance()
        if engine.step == 20:
            engine.score()
    mask, before = engine.parameters != 0, engine.parameters.clone()
    assert 0 < int((~mask).sum())
    while engine.step < FAST.steps:
        engine.advance()
        assert torch.equal(engine.parameters != 0, mask)
    assert (engine.parameters - before)[mask].abs().median() > 1e-3
    engine.score()
    for index, result in enumerate(engine.results()):
        assert torch.equal(result.parameters != 0, mask[index])


def test_the_schedule_begins_anew_at_half(monkeypatch):
    budget = FitBudget(steps=100, lr=0.01, warmup=10, schedule="cosine", optimiser="adam", score_every=10)
    engine, rates, clocks = pruner(budget=budget), [], []
    real = engine.optimiser.step

    def step(parameters, gradient, lr):
        rates.append(float(lr))
        real(parameters, gradient, lr)
        clocks.append(int(engine.optimiser.state["clock"]))

    monkeypatch.setattr(engine.optimiser, "step", step)
    while engine.step < 100:
        engine.advance()
        if engine.step % 10 == 0:
            engine.score()
    half = [0.01 * min(1, (n + 1) / 10) * (0.5 + 0.5 * math.cos(math.pi * n / 50)) for n in range(50)]
    assert rates == pytest.approx([*half, *half])
    assert clocks == [*range(1, 51), *range(1, 51)], "a fresh optimiser"
    assert engine.fits[0].restarts == []


def test_a_pruning_fit_paused_at_every_step_is_one_never_stopped(tmp_path):
    whole = fit(THREE[:2], SMALL, FAST, seeds=[0, 1], make=pruning)
    path, pauses = tmp_path / "fit.safetensors", 0
    while True:
        try:
            paused = fit(THREE[:2], SMALL, FAST, seeds=[0, 1], make=pruning, checkpoint=path, max_seconds=0)
            break
        except Paused:
            pauses += 1
    assert pauses == FAST.steps - 1
    for one, other in zip(paused, whole, strict=True):
        assert_same(one, other)
    for image, seed, result in zip(THREE, (0, 1), whole, strict=False):
        assert_same(result, fit([image], SMALL, FAST, seeds=[seed], make=pruning)[0])


def test_the_dense_fit_is_not_kept_however_good_it_was():
    (result,) = fit(THREE[:1], SMALL, replace(FAST, steps=200), make=functools.partial(PruningEngine, bpp=2.5))
    dense = max(psnr for step, psnr in result.history if step <= 100)
    assert result.psnr < dense - 0.5 and result.step > 100
    assert int((result.parameters != 0).sum()) <= 2.5 * AREA / 16
    assert result.psnr == pytest.approx(max(psnr for step, psnr in result.history if step > 100), abs=1e-4)


@pytest.mark.parametrize("score_every", [1000, 60])
def test_what_is_pruned_is_what_was_trained_however_seldom_it_is_scored(score_every):
    budget = replace(FAST, steps=80, score_every=score_every)
    engine = pruner(budget=budget)
    for _ in range(40):
        engine.advance()
    trained, first = engine.parameters[0].clone(), pruner(budget=budget).parameters[0]
    engine.advance()
    there = engine.parameters[0] != 0
    far = (trained - first)[there].norm()
    assert (engine.parameters[0] - trained)[there].norm() < 0.3 * far, "the first values were pruned"


@pytest.mark.parametrize("value", [math.nan, 0.0])
def test_a_collapse_after_the_pruning_leaves_its_zeros(value):
    budget = replace(FAST, steps=300, lr=0.01)
    engine = pruner(THREE[:2], budget)
    while engine.step < 300:
        engine.advance()
        if engine.step == 215:
            assert engine.fits[1].best > engine.constant[1] + 3
            engine.parameters[1] = value
        if engine.step % 10 == 0:
            engine.score()
    assert [len(made.restarts) for made in engine.fits] == [0, 1]
    for index, result in enumerate(engine.results()):
        assert torch.equal(result.parameters != 0, engine.mask[index] != 0)
        assert result.parameters.isfinite().all() and result.psnr > engine.constant[index] + 3


def test_a_budget_that_does_not_hold_the_outer_layers():
    with pytest.raises(ValueError, match=f"{DENSE} parameters that are not pruned"):
        fit(THREE[:1], SMALL, FAST, make=functools.partial(PruningEngine, bpp=16 * (DENSE - 1) / AREA))
    (result,) = fit(THREE[:1], SMALL, FAST, make=functools.partial(PruningEngine, bpp=16 * DENSE / AREA))
    assert int((result.parameters != 0).sum()) == DENSE


def test_engines_in_a_set_of_processes(tmp_path):
    """What makes an engine must reach another process, and its results come back."""
    done = {}
    engine_module.fit_set(
        {"a": THREE[0]},
        SMALL,
        FAST,
        folder=tmp_path,
        seed=4,
        on_done=done.__setitem__,
        make=sparse(2.0, LOONIE_NONZEROS),
    )
    assert_same(done["a"], fit(THREE[:1], SMALL, FAST, seeds=[4], make=sparse(2.0, LOONIE_NONZEROS))[0])


def test_what_was_kept_before_the_steps_are_fixed_is_forgotten():
    """A state of the noise may be good and far under the budget; the file that is written uses the budget."""
    engine = engine_of(2.0, FILE)
    while engine.step < FAST.steps:
        engine.advance()
        if engine.step == engine.round_from - 2:
            engine.fits[0].best, engine.best_rate[0] = 99.0, 0.1
        if engine.step % FAST.score_every == 0:
            engine.score()
    (result,) = engine.results()
    assert result.psnr < 99 and result.step >= engine.round_from
    assert 0.95 * 2.0 * AREA <= result.bits <= 2.0 * AREA
