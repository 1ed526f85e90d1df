"""Constrained descent against solutions in closed form, and against the authors' own library."""

from __future__ import annotations

import doctest
from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import seeds

from sparsecomp.sparsify import lagrangian
from sparsecomp.sparsify.lagrangian import Multipliers

Batch = Callable[[torch.Tensor], torch.Tensor]


def descend(
    x: torch.Tensor,
    dual: Multipliers,
    loss: Batch,
    constraint: Batch,
    *,
    lr: float,
    steps: int,
    truth: Batch | None = None,
) -> torch.Tensor:
    """Gradient descent, ``x (B, n)``, and the ascent of `dual`, both at the same place. Returns all places."""
    truth, path = truth or constraint, [x]
    for _ in range(steps):
        leaf = x.clone().requires_grad_()
        (gradient,) = torch.autograd.grad((loss(leaf) + dual.weigh(constraint(leaf))).sum(), leaf)
        dual.ascend(truth(x))
        x = (x - lr * gradient).detach()
        path.append(x)
    return torch.stack(path)


@settings(max_examples=2)
@given(seed=seeds, start=st.sampled_from([0.0, 0.5]))
def test_multipliers_solve_quadratic_problems(seed, start):
    """min sum h (x - c)^2 / 2 with a.x <= t: lambda = max(0, (a.c - t) / sum(a^2 / h)), x = c - lambda a / h.

    Twenty problems side by side; in some the constraint holds at the minimum without it, and costs nothing.
    """
    generator = torch.Generator().manual_seed(seed)
    h, c, a, t = (torch.rand(20, n, generator=generator, dtype=torch.float64) for n in (3, 3, 3, 1))
    h, c, a, t = 1 + 2 * h, 6 * c - 3, a.sign() * (0.5 + a), 3 * t[:, 0] - 0.5
    price = ((a * c).sum(1) - t).div((a * a / h).sum(1)).clamp(min=0)
    dual = Multipliers(20, lr=0.1, restarts=False, start=start)
    path = descend(
        torch.ones_like(c), dual, lambda x: (h * (x - c).square()).sum(1) / 2, lambda x: (a * x).sum(1) - t,
        lr=0.1, steps=800,
    )  # fmt: skip
    assert (price == 0).any() and (price > 0).any()
    torch.testing.assert_close(dual.value.double(), price, atol=1e-4, rtol=0)
    torch.testing.assert_close(path[-1], c - price[:, None] * a / h, atol=1e-4, rtol=0)


def test_ascend_by_hand():
    violation = torch.tensor([0.5, 0.0, -0.25, -8.0])
    plain, restarting = (Multipliers(4, lr=0.5, restarts=restarts, start=1.0) for restarts in (False, True))
    for dual in (plain, restarting):
        dual.ascend(violation.requires_grad_())
        assert not dual.value.requires_grad
    assert plain.value.tolist() == [1.25, 1.0, 0.875, 0.0]
    assert restarting.value.tolist() == [1.25, 0.0, 0.0, 0.0]
    restarting.ascend(torch.tensor([0.5, 0.5, -1.0, 2.0]))
    assert restarting.value.tolist() == [1.5, 0.25, 0.0, 1.0]
    default = Multipliers(2, lr=1.0)
    assert default.value.tolist() == [0, 0] and default.restarts


def test_multipliers_restart_once_the_constraint_holds():
    """x wants to be 3 and may be 1; from 3 a slow descent piles up a multiplier that then pushes far below 1."""
    reached = {}
    for restarts in (False, True):
        dual, values, x = Multipliers(1, lr=0.2, restarts=restarts), [], torch.full((1, 1), 3.0)
        places = []
        for _ in range(300):
            x = descend(x, dual, lambda x: (x - 3).square().sum(1), lambda x: x.sum(1) - 1, lr=0.01, steps=1)[-1]
            places.append(float(x))
            values.append(float(dual.value))
        first = next(i for i, place in enumerate(places) if place <= 1)
        assert values[first] > 2, "nothing was piled up"
        assert values[first + 1] == 0 if restarts else values[first + 1] > 2
        reached[restarts] = min(places)
    assert reached[False] < 0.5, "without restarts it is the overshoot that they are for"
    assert 0.9 < reached[True] <= 1


def test_multipliers_take_the_steps_of_cooper():
    """Its `SimultaneousOptimizer` takes both gradients at the same place, as constrained fits do."""
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
        path.append(descend(path[-1], ours, loss, excess, lr=0.01, steps=1)[-1])
        multipliers.append(ours.value.clone())

    class Problem(cooper.ConstrainedMinimizationProblem):
        def __init__(self, bound: float) -> None:
            super().__init__()
            self.bound = bound
            self.budget = cooper.Constraint(
                multiplier=cooper.multipliers.DenseMultiplier(init=torch.tensor([0.1])),
                constraint_type=cooper.ConstraintType.INEQUALITY,
                formulation_type=cooper.formulations.Lagrangian,
            )

        def compute_cmp_state(self, leaf: torch.Tensor) -> cooper.CMPState:
            state = cooper.ConstraintState(violation=leaf.square() @ normal - self.bound)
            return cooper.CMPState(loss=loss(leaf).sum(), observed_constraints={self.budget: state})

    for fit, bound in enumerate(bounds):
        problem, leaf = Problem(bound), torch.nn.Parameter(x[fit : fit + 1].clone())
        optimiser = cooper.optim.SimultaneousOptimizer(
            cmp=problem,
            primal_optimizers=torch.optim.SGD([leaf], lr=0.01),
            dual_optimizers=torch.optim.SGD(problem.dual_parameters(), lr=0.02, maximize=True),
        )
        for step in range(100):
            optimiser.roll(compute_cmp_state_kwargs={"leaf": leaf})
            torch.testing.assert_close(path[step + 1][fit], leaf.detach()[0], atol=1e-6, rtol=1e-6)
            assert float(multipliers[step][fit]) == pytest.approx(problem.budget.multiplier.weight.item(), abs=1e-6)
    assert multipliers[-1][0] > 0.2, "a constraint that is at work"
    assert multipliers[-1][1] == 0, "and one that is not"


def test_lagrangian_example_is_true():
    result = doctest.testmod(lagrangian)
    assert result.failed == 0 and result.attempted > 3
