"""Hard-concrete gates against draws, finite differences and slow loops; networks without their dead neurons."""

from __future__ import annotations

import math

import pytest
import torch

from sparsecomp.models.siren import Architecture, forward, initial_parameters, layers, positions, render
from sparsecomp.sparsify.gates import (
    HardConcrete,
    assemble,
    n_gates,
    remove_dead,
    spread_units,
)

SHAPES = [(2 / 3, (-0.1, 1.1)), (1.0, (-0.05, 1.3)), (0.3, (-0.5, 1.2))]
LOG_ALPHA = torch.tensor([-5.0, -1.0, 0.0, 0.8, 4.0])
SIGMAS = 5  # of the binomial error; about one check in two million is further off


def draws(gates: HardConcrete, log_alpha: torch.Tensor, count: int, seed: int = 0) -> torch.Tensor:
    return gates.sample(log_alpha.expand(count, -1), torch.Generator().manual_seed(seed))


def off(frequency: torch.Tensor, probability: torch.Tensor, count: int) -> torch.Tensor:
    """How many binomial deviations a frequency lies from its probability."""
    return (frequency - probability).abs() / (probability * (1 - probability) / count).sqrt()


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


# Gates ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("temperature", "stretch"), SHAPES)
def test_a_gate_is_open_as_often_as_it_says(temperature, stretch):
    gates, count = HardConcrete(temperature, stretch), 60_000
    drawn = draws(gates, LOG_ALPHA, count)
    assert (off((drawn != 0).float().mean(0), gates.open_probability(LOG_ALPHA), count) < SIGMAS).all()


@pytest.mark.parametrize(("temperature", "stretch"), SHAPES)
def test_zero_and_one_are_drawn_exactly_and_as_often_as_the_distribution_function_says(temperature, stretch):
    """P(z <= x) by inverting the draw: a sigmoid of the threshold's logit (Louizos et al. 2018, eq. 25)."""
    gates, count = HardConcrete(temperature, stretch), 60_000
    drawn = draws(gates, LOG_ALPHA, count)
    low, high = stretch

    def at_most(x: float) -> torch.Tensor:
        s = (x - low) / (high - low)
        return torch.tensor([sigmoid(temperature * math.log(s / (1 - s)) - a) for a in LOG_ALPHA.tolist()])

    assert (off((drawn == 0).float().mean(0), at_most(0), count) < SIGMAS).all()
    assert (off((drawn == 1).float().mean(0), 1 - at_most(1), count) < SIGMAS).all()
    assert (off((drawn <= 0.3).float().mean(0), at_most(0.3), count) < SIGMAS).all()
    assert ((drawn >= 0) & (drawn <= 1)).all()


@pytest.mark.parametrize(("temperature", "stretch"), SHAPES)
def test_the_median_has_half_of_the_draws_on_either_side(temperature, stretch):
    gates, count = HardConcrete(temperature, stretch), 60_000
    log_alpha = torch.cat([LOG_ALPHA, torch.tensor([-0.3, 0.3])])
    drawn, median = draws(gates, log_alpha, count), gates.median(log_alpha)
    room = SIGMAS * 0.5 / math.sqrt(count)
    assert ((drawn < median).float().mean(0) <= 0.5 + room).all()
    assert ((drawn > median).float().mean(0) <= 0.5 + room).all()
    assert median[0] == 0 and median[4] == 1 and 0 < median[2] < 1


def test_a_draw_by_hand():
    # sigmoid((logit(0.8) + 0.5) / 0.5) = sigmoid(2 ln 4 + 1) = 16 e / (16 e + 1), stretched to (-0.1, 1.3)
    gates = HardConcrete(0.5, (-0.1, 1.3))
    s = 4 * math.e / (4 * math.e + 1)
    found = gates.at(torch.tensor([1.0]), torch.tensor([2 / 3]))
    by_hand = 1.4 * (4 * math.exp(2) / (4 * math.exp(2) + 1)) - 0.1
    assert float(found) == pytest.approx(min(1.0, by_hand), abs=1e-6)
    assert float(gates.at(torch.tensor([0.5]), torch.tensor([2 / 3]))) == pytest.approx(min(1, 1.4 * s - 0.1), abs=1e-6)
    assert float(gates.at(torch.tensor([0.0]), torch.tensor([0.5]))) == pytest.approx(0.6, abs=1e-6)


def test_draws_follow_the_generator_and_the_shape():
    gates, log_alpha = HardConcrete(), torch.zeros(3, 7)
    one, same, other = (gates.sample(log_alpha, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2))
    assert one.shape == (3, 7)
    assert torch.equal(one, same) and not torch.equal(one, other)


@pytest.mark.parametrize(("temperature", "stretch"), SHAPES)
@pytest.mark.parametrize("uniform", [0.2, 0.5, 0.9])
def test_the_gradient_is_that_of_finite_differences_and_zero_where_clipped(temperature, stretch, uniform):
    gates = HardConcrete(temperature, stretch)
    log_alpha = torch.linspace(-6.03, 6.01, 25, dtype=torch.float64).requires_grad_()
    at = torch.tensor(uniform, dtype=torch.float64)
    value = gates.at(log_alpha, at)
    (gradient,) = torch.autograd.grad(value.sum(), log_alpha)
    with torch.no_grad():
        slope = (gates.at(log_alpha + 1e-6, at) - gates.at(log_alpha - 1e-6, at)) / 2e-6
    torch.testing.assert_close(gradient, slope, atol=1e-7, rtol=1e-6)
    clipped = (value == 0) | (value == 1)
    assert clipped.any() and (~clipped).any()
    assert (gradient[clipped] == 0).all() and (gradient[~clipped] > 0).all()
    if uniform == 0.5:
        (of_median,) = torch.autograd.grad(gates.median(log_alpha).sum(), log_alpha)
        assert torch.equal(of_median, gradient)


@pytest.mark.parametrize("temperature", [0, -0.5, 1.01, math.nan])
def test_impossible_temperatures(temperature):
    with pytest.raises(ValueError, match="temperature="):
        HardConcrete(temperature)


@pytest.mark.parametrize("stretch", [(0, 1.1), (-0.1, 1), (0.1, 1.1), (-0.1, 0.9), (-0.1, 1.1, 2.0), (math.nan, 1.1)])
def test_impossible_stretches(stretch):
    with pytest.raises(ValueError, match="stretch="):
        HardConcrete(stretch=stretch)


# Counts ---------------------------------------------------------------------------------------------------------------


def spread_by_hand(architecture: Architecture, units: list[float]) -> list[float]:
    """Unit by unit, in the order of the file."""
    factor = [[1.0] * architecture.n_in]
    factor += [units[i * architecture.width : (i + 1) * architecture.width] for i in range(architecture.depth)]
    factor += [[1.0] * architecture.n_out]
    found = []
    for layer in range(architecture.depth + 1):
        found += [after * before for after in factor[layer + 1] for before in factor[layer]]
        found += factor[layer + 1]
    return found


@pytest.mark.parametrize("architecture", [Architecture(1, 1), Architecture(3, 4), Architecture(2, 5, n_in=6, n_out=2)])
def test_spread_units_against_loops(architecture):
    units = torch.randint(-8, 9, (2, architecture.depth * architecture.width)).float()
    spread = spread_units(architecture, units)
    assert spread.tolist() == [spread_by_hand(architecture, row.tolist()) for row in units]


def expected_open(log_alpha: torch.Tensor, architecture: Architecture, structured: bool) -> torch.Tensor:
    """The expected L0 norm: the sum of the probabilities that a parameter is not zero."""
    probability = HardConcrete().open_probability(log_alpha)
    return (spread_units(architecture, probability) if structured else probability).sum(1)


def test_numbers_of_gates():
    architecture = Architecture(10, 28)
    assert n_gates(architecture, structured=True) == 280
    assert n_gates(architecture, structured=False) == 7479


@pytest.mark.parametrize("structured", [False, True])
def test_the_expected_count_is_the_mean_of_counts(structured):
    architecture, gates, count = Architecture(3, 4), HardConcrete(), 20_000
    generator = torch.Generator().manual_seed(5)
    log_alpha = 2 * torch.randn(2, n_gates(architecture, structured), generator=generator) - 0.5
    expected = expected_open(log_alpha, architecture, structured)
    assert expected.shape == (2,)
    for fit in range(2):
        drawn = draws(gates, log_alpha[fit], count, seed=fit)
        drawn = spread_units(architecture, drawn) if structured else drawn
        counts = (drawn != 0).sum(1).float()
        assert abs(float(counts.mean() - expected[fit])) < SIGMAS * float(counts.std()) / math.sqrt(count)
        assert counts.std() > 1


@pytest.mark.parametrize("structured", [False, True])
def test_the_expected_count_has_a_gradient_everywhere(structured):
    architecture = Architecture(2, 3)
    log_alpha = torch.linspace(-5, 5, n_gates(architecture, structured), dtype=torch.float64)[None].requires_grad_()
    assert torch.autograd.gradcheck(
        lambda leaf: expected_open(leaf, architecture, structured), log_alpha, atol=1e-6
    )
    (gradient,) = torch.autograd.grad(expected_open(log_alpha, architecture, structured).sum(), log_alpha)
    assert (gradient > 0).all()


# Smaller networks -----------------------------------------------------------------------------------------------------


def network(*matrices: tuple[list, list], dtype: torch.dtype = torch.float64) -> tuple[Architecture, torch.Tensor]:
    """A network written down matrix by matrix."""
    pairs = [(torch.tensor(weight, dtype=dtype), torch.tensor(bias, dtype=dtype)) for weight, bias in matrices]
    architecture = Architecture(len(pairs) - 1, len(pairs[0][1]), 30.0, pairs[0][0].shape[1], len(pairs[-1][1]))
    return architecture, torch.cat([tensor.flatten() for pair in pairs for tensor in pair])


def sparse(architecture: Architecture, density: float, seed: int) -> torch.Tensor:
    mask = torch.rand(architecture.n_parameters, generator=torch.Generator().manual_seed(seed)) < density
    return initial_parameters(architecture, seed) * mask


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


SPARSE = [
    (Architecture(1, 9), 0.25),
    (Architecture(3, 8), 0.25),
    (Architecture(5, 10), 0.15),
    (Architecture(4, 9, n_in=6), 0.2),
    (Architecture(6, 12), 0.1),
    (Architecture(8, 7), 0.3),
]


@pytest.mark.parametrize("fold", [True, False])
@pytest.mark.parametrize(("architecture", "density"), SPARSE)
@pytest.mark.parametrize("seed", range(4))
def test_a_network_without_its_dead_neurons_draws_the_same(architecture, density, seed, fold):
    parameters = sparse(architecture, density, seed)
    before = parameters.clone()
    matrices, alive = remove_dead(architecture, parameters, fold=fold)
    assert torch.equal(parameters, before), "the argument was changed"
    assert [left.tolist() for left in alive] == alive_by_hand(architecture, parameters, fold)
    assert sum(int(left.sum()) for left in alive) < architecture.depth * architecture.width, "nothing was dead"
    smaller, left = assemble(matrices, architecture.w0)
    assert smaller.width <= architecture.width and smaller.depth == architecture.depth
    torch.testing.assert_close(colours(smaller, left), colours(architecture, parameters), atol=1e-5, rtol=0)
    shown = [render(*pair, 9, 7).int() for pair in ((smaller, left), (architecture, parameters))]
    assert (shown[0] - shown[1]).abs().max() <= 1


@pytest.mark.parametrize(("architecture", "density"), SPARSE)
@pytest.mark.parametrize("seed", range(4))
def test_without_folding_what_is_left_keeps_its_value(architecture, density, seed):
    whole = (100 * sparse(architecture, density, seed)).round().long()
    matrices, alive = remove_dead(architecture, whole, fold=False)
    kept = [torch.ones(architecture.n_in, dtype=torch.bool), *alive, torch.ones(architecture.n_out, dtype=torch.bool)]
    for layer, (weight, bias) in enumerate(layers(architecture, whole[None])):
        assert torch.equal(matrices[layer][0], weight[0][kept[layer + 1]][:, kept[layer]])
        assert torch.equal(matrices[layer][1], bias[0, kept[layer + 1], 0])
        assert matrices[layer][0].dtype == matrices[layer][1].dtype == torch.int64
    smaller, left = assemble(matrices, architecture.w0)
    assert left.dtype == torch.int64
    again, alive_again = remove_dead(smaller, left, fold=False)
    assert [int(now.sum()) for now in alive_again] == [int(then.sum()) for then in alive]
    assert all(torch.equal(a, b) for pair in zip(again, matrices, strict=True) for a, b in zip(*pair, strict=True))
    torch.testing.assert_close(colours(smaller, left / 100), colours(architecture, whole / 100), atol=1e-9, rtol=0)


def test_nothing_dead_nothing_changed():
    architecture = Architecture(3, 5)
    parameters = initial_parameters(architecture, 0)
    matrices, alive = remove_dead(architecture, parameters)
    assert all(left.all() for left in alive) and [len(left) for left in alive] == [5, 5, 5]
    same, left = assemble(matrices, architecture.w0)
    assert same == architecture and torch.equal(left, parameters)


def test_a_neuron_whose_only_reader_dies_dies_too():
    # Unit 0 of layer 0 is read by unit 0 of layer 1 only, that by unit 0 of layer 2 only, which nothing reads.
    architecture, parameters = network(
        ([[0.1, 0.2], [0.3, 0.4]], [0.5, 0.6]),
        ([[0.1, 0], [0, 0.2]], [0.3, 0.4]),
        ([[0.7, 0], [0, 0.8]], [0.9, 1.0]),
        ([[0, 1.0], [0, 2.0], [0, 3.0]], [0.1, 0.2, 0.3]),
    )
    for fold in (True, False):
        matrices, alive = remove_dead(architecture, parameters, fold=fold)
        assert [left.tolist() for left in alive] == [[False, True]] * 3
        assert matrices[0][0].tolist() == [[0.3, 0.4]] and matrices[0][1].tolist() == [0.6]
        assert matrices[2][0].tolist() == [[0.8]] and matrices[3][0].tolist() == [[1.0], [2.0], [3.0]]
        assert matrices[3][1].tolist() == [0.1, 0.2, 0.3], "what nothing reads is no constant to be folded"


def test_a_constant_neuron_goes_into_the_next_biases():
    architecture, parameters = network(
        ([[0.1, 0.2], [0, 0]], [0.5, 0.7]),
        ([[0.3, 0.4], [0.6, 0.9]], [0.1, 0.2]),
        ([[1.0, 2.0]], [0.5]),
    )
    constant = math.sin(30 * 0.7)
    matrices, alive = remove_dead(architecture, parameters)
    assert [left.tolist() for left in alive] == [[True, False], [True, True]]
    assert matrices[1][0].tolist() == [[0.3], [0.6]]
    assert matrices[1][1].tolist() == pytest.approx([0.1 + 0.4 * constant, 0.2 + 0.9 * constant], abs=1e-12)
    matrices, alive = remove_dead(architecture, parameters, fold=False)
    assert all(left.all() for left in alive), "a constant that is not 0 stays"
    assert matrices[1][1].tolist() == [0.1, 0.2]


def test_a_chain_of_constants_is_folded_to_its_end():
    architecture, parameters = network(
        ([[0.0, 0.0]], [0.2]), ([[0.5]], [0.1]), ([[2.0], [3.0], [4.0]], [0.1, 0.2, 0.3])
    )
    inner = math.sin(30 * (0.5 * math.sin(30 * 0.2) + 0.1))
    matrices, alive = remove_dead(architecture, parameters)
    assert [left.tolist() for left in alive] == [[False], [False]]
    assert [tuple(weight.shape) for weight, _ in matrices] == [(0, 2), (0, 0), (3, 0)]
    assert matrices[2][1].tolist() == pytest.approx([0.1 + 2 * inner, 0.2 + 3 * inner, 0.3 + 4 * inner], abs=1e-12)


def test_a_layer_left_without_neurons_is_a_constant_picture():
    architecture = Architecture(3, 6)
    parameters = initial_parameters(architecture, 0)
    layers(architecture, parameters[None])[1][0].zero_()
    matrices, alive = remove_dead(architecture, parameters)
    assert [int(left.sum()) for left in alive] == [0, 0, 0]
    smaller, left = assemble(matrices, architecture.w0)
    assert smaller == Architecture(3, 1)
    seen = colours(architecture, parameters)
    torch.testing.assert_close(colours(smaller, left), seen, atol=1e-5, rtol=0)
    torch.testing.assert_close(matrices[-1][1].double(), seen[:, 0], atol=1e-5, rtol=0)
    # Without folding the layers behind it stay: their biases are not zero.
    _, alive = remove_dead(architecture, parameters, fold=False)
    assert [int(left.sum()) for left in alive] == [0, 6, 6]


def test_a_network_of_zeros_is_nothing():
    architecture = Architecture(4, 5)
    for fold in (True, False):
        matrices, alive = remove_dead(architecture, torch.zeros(architecture.n_parameters), fold=fold)
        assert not torch.cat(alive).any()
        assert [tuple(weight.shape) for weight, _ in matrices] == [(0, 2), (0, 0), (0, 0), (0, 0), (3, 0)]


def test_assembled_matrices_stand_in_the_corner_of_the_width_that_is_asked_for():
    generator = torch.Generator().manual_seed(0)
    dims = [6, 2, 4, 3, 3]
    matrices = [
        (torch.randn(out, inp, generator=generator), torch.randn(out, generator=generator))
        for inp, out in zip(dims[:-1], dims[1:], strict=True)
    ]
    assert assemble(matrices, 25.0)[0] == Architecture(3, 4, 25.0, n_in=6)
    architecture, parameters = assemble(matrices, 25.0, width=7)
    assert architecture == Architecture(3, 7, 25.0, n_in=6) and parameters.shape == (architecture.n_parameters,)
    for (weight, bias), (large, large_bias) in zip(matrices, layers(architecture, parameters[None]), strict=True):
        assert torch.equal(large[0, : weight.shape[0], : weight.shape[1]], weight)
        assert torch.equal(large_bias[0, : len(bias), 0], bias)
    assert int((parameters != 0).sum()) == sum(weight.numel() + bias.numel() for weight, bias in matrices)
    narrow, few = assemble(matrices, 25.0)
    torch.testing.assert_close(colours(architecture, parameters), colours(narrow, few), atol=1e-9, rtol=0)
    back, alive = remove_dead(architecture, parameters)
    assert [int(left.sum()) for left in alive] == [2, 4, 3]
    assert all(torch.equal(a, b) for pair in zip(back, matrices, strict=True) for a, b in zip(*pair, strict=True))
