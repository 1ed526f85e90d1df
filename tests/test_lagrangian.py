"""The game of weights and multiplier against solutions in closed form, and against the authors' own library."""

from __future__ import annotations

import doctest
import math
from collections.abc import Callable

import pytest
import torch

from sparsecomp.sparsify import lagrangian
from sparsecomp.sparsify.lagrangian import Multipliers

Batch = Callable[[torch.Tensor], torch.Tensor]


def play(
    x: torch.Tensor, game: Multipliers, loss: Batch, constraint: Batch, *, lr: float, steps: int,
    truth: Batch | None = None, alternating: bool = False,
) -> torch.Tensor:  # fmt: skip
    """Gradient descent against `game`, ``x (B, n)``; the ascent sees the place before the descent's step (as in
    `training.sparse`), or after it if ``alternating``. Returns all places, first to last."""
    truth, path = truth or constraint, [x]
    for _ in range(steps):
        leaf = x.clone().requires_grad_()
        (gradient,) = torch.autograd.grad((loss(leaf) + game.weigh(constraint(leaf))).sum(), leaf)
        after = (x - lr * gradient).detach()
        game.ascend(truth(after if alternating else x))
        x = after
        path.append(x)
    return torch.stack(path)


def square(x: torch.Tensor) -> torch.Tensor:
    return x.square().sum(1)


# Closed forms ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("alternating", [False, True])
@pytest.mark.parametrize(("a", "b"), [([1.0], 1.0), ([1.0, 2.0], 3.0), ([0.5, -1.0, 1.5, 0.25], 0.7)])
def test_the_shortest_vector_in_a_half_space(a, b, alternating):
    """min |x|^2 with a.x >= b: x = b a / |a|^2, lambda = 2 b / |a|^2."""
    normal = torch.tensor(a)
    game = Multipliers(1, lr=0.05, restarts=False)
    path = play(
        torch.ones(1, len(a)), game, square, lambda x: b - x @ normal, lr=0.1, steps=1500, alternating=alternating
    )
    length = sum(v * v for v in a)
    assert path[-1, 0].tolist() == pytest.approx([b * v / length for v in a], abs=1e-4)
    assert float(game.value) == pytest.approx(2 * b / length, abs=1e-4)


def test_a_batch_of_problems_with_one_that_is_met_anyway():
    """As above with one b each; where b <= 0 the constraint holds at the minimum without it, and costs nothing."""
    bounds, normal = torch.tensor([0.5, 2.0, -1.0, 0.0]), torch.tensor([1.0, -1.0])
    game = Multipliers(4, lr=0.05, restarts=False, start=0.3)
    path = play(torch.full((4, 2), 2.0), game, square, lambda x: bounds - x @ normal, lr=0.1, steps=1500)
    assert game.value.tolist() == pytest.approx([0.5, 2.0, 0.0, 0.0], abs=1e-4)
    expected = torch.outer(bounds.clamp(min=0), normal) / 2
    torch.testing.assert_close(path[-1], expected, atol=1e-4, rtol=0)


def test_every_fit_plays_alone():
    bounds = torch.tensor([0.5, 2.0, -1.0])
    game = Multipliers(3, lr=0.1, start=0.5)
    together = play(torch.ones(3, 2), game, square, lambda x: bounds - x.sum(1), lr=0.1, steps=120)
    for fit in range(3):
        own, bound = Multipliers(1, lr=0.1, start=0.5), bounds[fit]
        alone = play(torch.ones(1, 2), own, square, lambda x, bound=bound: bound - x.sum(1), lr=0.1, steps=120)
        assert torch.equal(alone[:, 0], together[:, fit]) and own.value[0] == game.value[fit]


def test_a_shared_budget_under_quadratic_costs():
    """min sum h_i (x_i - c_i)^2 / 2 with sum x_i <= t: lambda = (sum c - t) / sum(1 / h), x_i = c_i - lambda / h_i."""
    h, c, t = [1.0, 2.0, 5.0], [3.0, 1.0, 2.0], 2.5
    weight, wish = torch.tensor(h), torch.tensor(c)
    game = Multipliers(1, lr=0.05, restarts=False)
    loss = lambda x: (weight * (x - wish).square()).sum(1) / 2  # noqa: E731
    path = play(torch.zeros(1, 3), game, loss, lambda x: x.sum(1) - t, lr=0.1, steps=2000)
    price = (sum(c) - t) / sum(1 / v for v in h)
    assert float(game.value) == pytest.approx(price, abs=1e-4)
    assert path[-1, 0].tolist() == pytest.approx([ci - price / hi for ci, hi in zip(c, h, strict=True)], abs=1e-4)


def test_costs_and_constraints_that_are_not_quadratic():
    """min e^x with x >= 0.7: lambda = e^0.7. min -(x + y) on the disc of radius 2: lambda = 1 / (2 sqrt 2)."""
    game = Multipliers(1, lr=0.1, restarts=False)
    path = play(torch.zeros(1, 1), game, lambda x: x.exp().sum(1), lambda x: 0.7 - x.sum(1), lr=0.1, steps=1500)
    assert float(path[-1]) == pytest.approx(0.7, abs=1e-4)
    assert float(game.value) == pytest.approx(math.exp(0.7), abs=1e-4)
    game = Multipliers(1, lr=0.02, restarts=False)
    path = play(torch.ones(1, 2), game, lambda x: -x.sum(1), lambda x: square(x) - 4, lr=0.05, steps=4000)
    assert path[-1, 0].tolist() == pytest.approx([math.sqrt(2)] * 2, abs=1e-3)
    assert float(game.value) == pytest.approx(1 / (2 * math.sqrt(2)), abs=1e-3)


# One step -------------------------------------------------------------------------------------------------------------


def test_one_ascent_by_hand():
    violation = torch.tensor([0.5, 0.0, -0.25, -8.0])
    plain, restarting = (Multipliers(4, lr=0.5, restarts=restarts, start=1.0) for restarts in (False, True))
    plain.ascend(violation)
    restarting.ascend(violation)
    assert plain.value.tolist() == [1.25, 1.0, 0.875, 0.0]
    assert restarting.value.tolist() == [1.25, 0.0, 0.0, 0.0]
    restarting.ascend(torch.tensor([0.5, 0.5, -1.0, 2.0]))
    assert restarting.value.tolist() == [1.5, 0.25, 0.0, 1.0]


def test_the_first_multiplier_is_the_start():
    assert Multipliers(3, lr=1.0).value.tolist() == [0.0] * 3
    assert Multipliers(2, lr=1.0, start=2.5).value.tolist() == [2.5] * 2


def test_what_the_descent_adds_has_the_multiplier_as_its_gradient():
    game = Multipliers(3, lr=1.0, start=0.5)
    game.ascend(torch.tensor([1.0, 2.0, -0.25]))
    violation = torch.tensor([3.0, -2.0, 1.0], requires_grad=True)
    weighed = game.weigh(violation)
    assert weighed.tolist() == [4.5, -5.0, 0.0]
    (gradient,) = torch.autograd.grad(weighed.sum(), violation)
    assert gradient.tolist() == game.value.tolist() == [1.5, 2.5, 0.0]
    game.ascend(torch.ones(3, requires_grad=True))
    assert not game.value.requires_grad


@pytest.mark.parametrize("lr", [0, -1.0, math.nan])
def test_impossible_rates(lr):
    with pytest.raises(ValueError, match="lr="):
        Multipliers(1, lr=lr)


@pytest.mark.parametrize("start", [-0.1, math.nan])
def test_impossible_starts(start):
    with pytest.raises(ValueError, match="start="):
        Multipliers(1, lr=1.0, start=start)


# Restarts and proxies -------------------------------------------------------------------------------------------------


def test_restarts_fall_to_zero_once_the_constraint_holds_and_overshoot_less():
    """x wants to be 3 and may be 1; from 3 a slow descent piles up a multiplier that then pushes far below 1."""
    reached = {}
    for restarts in (False, True):
        game, values, x = Multipliers(1, lr=0.2, restarts=restarts), [], torch.full((1, 1), 3.0)
        places = []
        for _ in range(1000):
            x = play(x, game, lambda x: (x - 3).square().sum(1), lambda x: x.sum(1) - 1, lr=0.01, steps=1)[-1]
            places.append(float(x))
            values.append(float(game.value))
        first = next(i for i, place in enumerate(places) if place <= 1)
        assert values[first] > 2, "nothing was piled up"
        if restarts:
            assert values[first + 1] == 0
        else:
            assert values[first + 1] > 2
        reached[restarts] = min(places)
    assert reached[False] < 0.5, "without restarts it is the overshoot that they are for"
    assert 0.9 < reached[True] <= 1


def test_the_true_constraint_is_met_although_the_descent_follows_another_function():
    """(x - 3)^2 with x <= 1. The proxy 2 x - 5 thinks that 2.5 would do, but only its slope counts: 2 lambda = 4."""
    proxy, truth = (lambda x: 2 * x.sum(1) - 5), (lambda x: x.sum(1) - 1)
    loss = lambda x: (x - 3).square().sum(1)  # noqa: E731
    game = Multipliers(1, lr=0.05, restarts=False)
    path = play(torch.zeros(1, 1), game, loss, proxy, truth=truth, lr=0.05, steps=2500)
    assert float(path[-1]) == pytest.approx(1, abs=1e-4)
    assert float(game.value) == pytest.approx(2, abs=1e-4)
    game = Multipliers(1, lr=0.05, restarts=False)
    path = play(torch.zeros(1, 1), game, loss, proxy, lr=0.05, steps=2500)
    assert float(path[-1]) == pytest.approx(2.5, abs=1e-4), "the proxy alone ends elsewhere"


def test_a_count_without_a_gradient_is_brought_to_its_bound():
    """At most 6 of 20 values may be 0.1 or more; the descent follows the sum of their sizes."""
    wish, counts = torch.linspace(0.15, 2.05, 20)[None], {}
    count = lambda x: ((x.abs() >= 0.1).sum(1) - 6.0) / 20  # noqa: E731
    for restarts in (False, True):
        path = play(
            wish.clone(), Multipliers(1, lr=0.5, restarts=restarts, start=50),
            lambda x: (x - wish).square().sum(1), lambda x: x.abs().sum(1) / 20, truth=count, lr=0.02, steps=1000,
        )  # fmt: skip
        counts[restarts] = (path[:, 0].abs() >= 0.1).sum(1).tolist()
    assert counts[False][0] == 20 and 5.5 < sum(counts[False][-500:]) / 500 < 6.5, "without restarts it stays there"
    met = [step for step, number in enumerate(counts[True]) if number == 6]
    assert len(met) >= 2 and min(counts[True]) == 6, "it comes down to the bound and no further"
    assert counts[True][met[0] + 50] > 15, "and is let go"


# The authors' library -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("alternating", [False, True])
def test_the_same_steps_as_cooper(alternating):
    """Cooper's `SimultaneousOptimizer` takes both gradients at the same place, as `training.sparse` does; its
    `AlternatingPrimalDualOptimizer` measures the violation after the descent's step, as the module's example does.
    """
    cooper = pytest.importorskip("cooper")
    wish, normal, bounds = torch.tensor([[3.0, 1.0]]), torch.tensor([1.0, 2.0]), [2.0, 9.0]

    def loss(x: torch.Tensor) -> torch.Tensor:
        return (x - wish).square().sum(1) + 0.1 * x.exp().sum(1)

    def excess(x: torch.Tensor) -> torch.Tensor:
        return x.square() @ normal - torch.tensor(bounds[: len(x)])

    ours = Multipliers(2, lr=0.02, restarts=False, start=0.1)
    multipliers, x = [], torch.tensor([[2.0, 2.0], [0.5, -1.0]])
    path = [x]
    for _ in range(100):
        path.append(play(path[-1], ours, loss, excess, lr=0.01, steps=1, alternating=alternating)[-1])
        multipliers.append(ours.value.clone())

    class Problem(cooper.ConstrainedMinimizationProblem):
        def __init__(self, bound: float) -> None:
            super().__init__()
            self.bound = bound
            multiplier = cooper.multipliers.DenseMultiplier(init=torch.tensor([0.1]))
            self.budget = cooper.Constraint(
                multiplier=multiplier,
                constraint_type=cooper.ConstraintType.INEQUALITY,
                formulation_type=cooper.formulations.Lagrangian,
            )

        def compute_violations(self, leaf: torch.Tensor) -> cooper.CMPState:
            state = cooper.ConstraintState(violation=leaf.square() @ normal - self.bound)
            return cooper.CMPState(observed_constraints={self.budget: state})

        def compute_cmp_state(self, leaf: torch.Tensor) -> cooper.CMPState:
            seen = self.compute_violations(leaf).observed_constraints
            return cooper.CMPState(loss=loss(leaf).sum(), observed_constraints=seen)

    for fit, bound in enumerate(bounds):
        problem, leaf = Problem(bound), torch.nn.Parameter(x[fit : fit + 1].clone())
        kind = cooper.optim.AlternatingPrimalDualOptimizer if alternating else cooper.optim.SimultaneousOptimizer
        optimiser = kind(
            cmp=problem,
            primal_optimizers=torch.optim.SGD([leaf], lr=0.01),
            dual_optimizers=torch.optim.SGD(problem.dual_parameters(), lr=0.02, maximize=True),
        )
        again = {"compute_violations_kwargs": {"leaf": leaf}} if alternating else {}
        for step in range(100):
            optimiser.roll(compute_cmp_state_kwargs={"leaf": leaf}, **again)
            torch.testing.assert_close(path[step + 1][fit], leaf.detach()[0], atol=1e-6, rtol=1e-6)
            assert float(multipliers[step][fit]) == pytest.approx(problem.budget.multiplier.weight.item(), abs=1e-6)
    assert multipliers[-1][0] > 0.2, "a constraint that is at work"
    assert multipliers[-1][1] == 0, "and one that is not"


def test_the_example_of_the_module_is_true():
    result = doctest.testmod(lagrangian)
    assert result.failed == 0 and result.attempted > 3
