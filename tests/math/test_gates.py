"""Hard-concrete gates against their distribution function, draws and slow loops; networks without dead neurons."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import seeds

from sparsecomp.models.siren import Architecture, forward, initial_parameters, layers, positions, render
from sparsecomp.sparsify.gates import HardConcrete, n_gates, spread_units
from sparsecomp.sparsify.surgery import assemble, remove_dead

SIGMAS = 5  # of the binomial error; about one check in two million is further off
distributions = st.builds(
    HardConcrete, st.floats(0.2, 1), st.tuples(st.floats(-0.9, -0.01), st.floats(1.01, 1.9))
)  # fmt: skip
log_alphas = st.floats(-6, 6)


def at_most(gates: HardConcrete, log_alpha: float, x: float) -> float:
    """P(z <= x) for x in [0, 1), by inverting the draw: a sigmoid of a logit (Louizos et al. 2018, eq. 25)."""
    s = (x - gates.stretch[0]) / (gates.stretch[1] - gates.stretch[0])
    return 1 / (1 + math.exp(log_alpha - gates.temperature * math.log(s / (1 - s))))


def double(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


@given(gates=distributions, log_alpha=log_alphas, x=st.floats(0.001, 0.999))
def test_at_inverts_the_distribution_function(gates, log_alpha, x):
    """z(u) = x where u = P(z <= x); below P(z = 0) it is exactly 0, above P(z < 1) exactly 1."""
    a, closed = double(log_alpha), at_most(gates, log_alpha, 0)
    below_one = at_most(gates, log_alpha, 1)
    assert float(gates.at(a, double(at_most(gates, log_alpha, x)))) == pytest.approx(x, abs=1e-9)
    assert gates.at(a, double(closed * 0.999)) == 0 < gates.at(a, double(closed + 1e-3 * (below_one - closed)))
    assert gates.at(a, double(1 - (1 - below_one) * 0.999)) == 1 > gates.at(a, double(below_one - 1e-3 * below_one))
    assert float(gates.open_probability(a)) == pytest.approx(1 - closed, abs=1e-12)
    median = float(gates.median(a))
    if median in (0, 1):
        assert closed >= 0.5 if median == 0 else below_one <= 0.5
    else:
        assert at_most(gates, log_alpha, median) == pytest.approx(0.5, abs=1e-9)


def test_sample_has_the_frequencies_of_the_distribution():
    gates, count, log_alpha = HardConcrete(0.5, (-0.2, 1.3)), 60_000, torch.tensor([-3.0, -0.5, 0.0, 0.8, 3.0])
    drawn = gates.sample(log_alpha.expand(count, -1), torch.Generator().manual_seed(0))
    for x in (0, 0.3, 0.7, 1):
        p = double(*(at_most(gates, a, x) for a in log_alpha.tolist()))
        found = ((drawn <= x) if x < 1 else (drawn < 1)).double().mean(0)
        assert ((found - p).abs() < SIGMAS * (p * (1 - p) / count).sqrt()).all(), x
    same, other = (gates.sample(log_alpha.expand(count, -1), torch.Generator().manual_seed(seed)) for seed in (0, 1))
    assert drawn.shape == (count, 5) and torch.equal(drawn, same) and not torch.equal(drawn, other)


architectures = st.builds(Architecture, *[st.integers(1, 4)] * 2, st.just(30.0), *[st.integers(1, 6)] * 2)


@given(architecture=architectures, seed=seeds)
def test_spread_units_agrees_with_loops(architecture, seed):
    generator = torch.Generator().manual_seed(seed)
    assert n_gates(architecture, structured=False) == architecture.n_parameters
    units = torch.randint(-8, 9, (2, n_gates(architecture, structured=True)), generator=generator).float()
    for row, found in zip(units.tolist(), spread_units(architecture, units).tolist(), strict=True):
        width = architecture.width
        factor = [[1.0] * architecture.n_in, *(row[i * width :][:width] for i in range(architecture.depth))]
        factor.append([1.0] * architecture.n_out)
        by_hand = []
        for inputs, outputs in zip(factor[:-1], factor[1:], strict=True):
            by_hand += [after * before for after in outputs for before in inputs] + outputs
        assert found == by_hand


def colours(architecture: Architecture, parameters: torch.Tensor) -> torch.Tensor:
    """In float64, so that the order of sums hardly shows."""
    seen = positions(9, 7, n_in=architecture.n_in).double()
    return forward(architecture, parameters[None].double(), seen[None])[0]


def alive_by_hand(architecture: Architecture, parameters: torch.Tensor, fold: bool) -> list[list[bool]]:
    """One neuron at a time, sets and loops; a folded constant can make a bias but never a weight."""
    values = [(w[0].tolist(), b[0, :, 0].tolist()) for w, b in layers(architecture, parameters[None])]
    alive = [set(range(architecture.width)) for _ in range(architecture.depth)]

    def read_by(layer: int) -> set[int]:
        return alive[layer - 1] if layer else set(range(architecture.n_in))

    def readers(layer: int) -> set[int]:
        return alive[layer + 1] if layer + 1 < architecture.depth else set(range(len(values[layer + 1][1])))

    changed = True
    while changed:
        changed = False
        for layer in reversed(range(architecture.depth)):
            for unit in sorted(alive[layer]):
                unread = all(values[layer + 1][0][reader][unit] == 0 for reader in readers(layer))
                empty = all(values[layer][0][unit][source] == 0 for source in read_by(layer))
                if unread or (empty and (fold or values[layer][1][unit] == 0)):
                    alive[layer].discard(unit)
                    changed = True
    return [[unit in left for unit in range(architecture.width)] for left in alive]


@st.composite
def sparse_networks(draw: st.DrawFn) -> tuple[Architecture, torch.Tensor]:
    """Few weights and fewer biases, and sometimes a layer of which nothing is left."""
    depth, width = draw(st.integers(1, 6)), draw(st.integers(1, 10))
    architecture, seed = Architecture(depth, width, n_in=draw(st.sampled_from([2, 6]))), draw(seeds)
    density, generator = draw(st.sampled_from([0, 0.1, 0.2, 0.3, 1])), torch.Generator().manual_seed(seed)
    mask = torch.rand(architecture.n_parameters, generator=generator) < density
    if draw(st.booleans()):
        layers(architecture, mask[None])[draw(st.integers(0, depth))][0].zero_()
    return architecture, initial_parameters(architecture, seed) * mask


@settings(max_examples=100)
@given(net=sparse_networks(), fold=st.booleans())
def test_remove_dead_leaves_the_picture(net, fold):
    architecture, parameters = net
    before = parameters.clone()
    matrices, alive = remove_dead(architecture, parameters, fold=fold)
    assert torch.equal(parameters, before), "the argument was changed"
    assert [left.tolist() for left in alive] == alive_by_hand(architecture, parameters, fold)
    sizes = [architecture.n_in, *(int(left.sum()) for left in alive), architecture.n_out]
    assert [tuple(weight.shape) for weight, _ in matrices] == list(zip(sizes[1:], sizes[:-1], strict=True))
    smaller, left = assemble(matrices, architecture.w0)
    assert smaller.width == max(1, *sizes[1:-1]) and smaller.depth == architecture.depth
    torch.testing.assert_close(colours(smaller, left), colours(architecture, parameters), atol=1e-5, rtol=0)
    shown = [render(*pair, 5, 7).int() for pair in ((smaller, left), (architecture, parameters))]
    assert (shown[0] - shown[1]).abs().max() <= 1
