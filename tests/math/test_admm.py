"""ADMM against closed forms and a convex solver; the projection onto sparse codes against sorting and all supports."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import normal, seeds, tensors

from sparsecomp.sparsify.admm import Z_UPDATES, Admm, balancing, kept, projected, released, top_l
from sparsecomp.sparsify.projections import PROJECTIONS, ball_norm

Step = Callable[[torch.Tensor], torch.Tensor]
TIGHT = {"atol": 1e-9, "rtol": 0}
FEWER = settings(max_examples=3)
keeps = st.one_of(st.floats(1e-9, 1), st.sampled_from([1e-9, 0.1, 0.5, 1.0]))


def alternate(admm: Admm, step: Step, steps: int) -> torch.Tensor:
    """`step` answers the w-update for ``Z - U``; the other two are Admm's own. Returns the last code."""
    for _ in range(steps):
        code = step(admm.z - admm.u)
        admm.update(code)
    return code


def nearest_to(v: torch.Tensor, rho: float) -> Step:
    """The exact w-update of ``d(x) = ||x - v||^2 / 2``."""
    return lambda aim: (v + rho * aim) / (1 + rho)


class Lasso:
    """``min ||Ax - b||^2 / 2 + lam ||x||_1`` for a batch of b: ``d`` is the first term, g the second."""

    lam = 4.0

    def __init__(self, seed: int) -> None:
        self.a, self.b = normal(20, 12, seed=seed), 2 * normal(3, 20, seed=seed + 1)

    def d(self, x: torch.Tensor) -> torch.Tensor:
        return (x @ self.a.T - self.b).square().sum(1) / 2

    def admm(self, rho: float) -> Admm:
        """The prox of ``lam ||.||_1`` takes lam / rho from every magnitude."""
        return Admm((3, 12), rho, lambda v: v.sign() * (v.abs() - self.lam / rho).clamp(min=0))

    def check(self, x: torch.Tensor, room: float) -> None:
        """What makes x the answer: the slope of d is -lam sign(x_j), or between -lam and lam where x_j is 0."""
        slope, alive = (x @ self.a.T - self.b) @ self.a, x != 0
        assert alive.any() and not alive.all(), "a problem that decides nothing"
        assert (slope + self.lam * x.sign())[alive].abs().max() < room
        assert slope[~alive].abs().max() < self.lam + room


@settings(max_examples=2)
@given(seed=seeds, rho=st.floats(3, 20))
def test_admm_solves_the_lasso(seed, rho):
    """As in training: each w-update is one step down ``d + penalty`` from where the last one ended."""
    problem = Lasso(seed)
    admm, x = problem.admm(rho), torch.zeros(3, 12, dtype=torch.float64)
    lr = 1 / (torch.linalg.eigvalsh(problem.a.T @ problem.a).max() + admm.rho)
    for _ in range(800):
        leaf = x.clone().requires_grad_()
        (gradient,) = torch.autograd.grad((problem.d(leaf) + admm.penalty(leaf)).sum(), leaf)
        x = x - lr * gradient
        admm.update(x)
    problem.check(admm.z, 1e-4)
    torch.testing.assert_close(x, admm.z, atol=1e-4, rtol=0)


@pytest.mark.parametrize("name", ["l1", "l1inf", "l21"])
@FEWER
@given(seed=seeds, rho=st.floats(0.2, 5))
def test_admm_finds_the_nearest_point_of_a_ball(name, seed, rho):
    """``min ||x - v||^2 / 2`` in a norm ball: in the end ADMM is the projection that every one of its steps uses."""
    v = normal(6, 8, seed=seed) * torch.tensor([[0.05], [0.1], [0.5], [1.0], [2.0], [4.0]])
    radius = 0.3 * ball_norm(v, name)
    admm = Admm((6, 8), rho, lambda w: PROJECTIONS[name](w, radius))
    code = alternate(admm, nearest_to(v, rho), 400)
    answer = PROJECTIONS[name](v, radius)
    torch.testing.assert_close(admm.z, answer, **TIGHT)
    torch.testing.assert_close(code, answer, **TIGHT)
    torch.testing.assert_close(rho * admm.u, v - answer, **TIGHT)  # the multiplier is the slope, whatever rho
    assert max(admm.history[-1]) < 1e-8 < 1e-3 < min(map(max, admm.history[:3])) and len(admm.history) == 400


@pytest.mark.parametrize("rho", [1e-3, 1e4])
def test_rho_that_follows_the_residuals_ends_far_nearer(rho):
    """From a rho that is far off, with as many updates; the answer of the lasso is the same."""
    problem, away = Lasso(0), []
    for balanced in (True, False):
        admm = problem.admm(rho)
        admm.prox = lambda v, admm=admm: v.sign() * (v.abs() - problem.lam / admm.rho).clamp(min=0)
        for _ in range(100):
            matrix = problem.a.T @ problem.a + admm.rho * torch.eye(12, dtype=torch.float64)
            wanted = problem.b @ problem.a + admm.rho * (admm.z - admm.u)
            admm.update(torch.linalg.solve(matrix, wanted.T).T)
            if balanced:
                admm.rescale(balancing(*admm.history[-1]))
        away.append(max(admm.history[-1]))
        if balanced:
            problem.check(admm.z, 1e-3)
            assert 0.1 < admm.rho < 1000
    assert away[0] < 1e-4 < 1e-1 < away[1]


def test_balancing_and_rescaling_by_hand():
    """The price, rho U, stays; integers cannot be divided."""
    assert [balancing(*r) for r in ((10, 1), (10.1, 1), (1, 10), (1, 10.1), (0, 0), (1, 0))] == [1, 2, 1, 0.5, 1, 2]
    admm = Admm((1, 2), 2.0, lambda v: top_l(v, 0.5))
    admm.update(torch.tensor([[3.0, 1.0]]))
    admm.rescale(0.5)
    assert admm.rho == 1.0 and admm.u.tolist() == [[0, 2]] and admm.z.tolist() == [[3, 0]]
    with pytest.raises(ValueError, match="^dtype must be a float to rescale U"):
        Admm((1, 2), 2.0, torch.zeros_like, dtype=torch.int16).rescale(2.0)


def test_projected_is_top_l_with_the_gradient_of_a_mask():
    code = torch.tensor([[3.0, -4, 1, 0], [0.5, 0.2, -0.1, 0.7]], requires_grad=True)
    found = projected(code, 0.5)
    assert torch.equal(found, top_l(code, 0.5))
    (gradient,) = torch.autograd.grad((found * torch.tensor([1.0, 2, 3, 4])).sum(), code)
    assert gradient.tolist() == [[1, 2, 0, 0], [1, 0, 0, 4]]


def test_update_by_hand():
    admm = Admm((1, 2), 2.0, lambda v: top_l(v, 0.5))
    assert admm.z.tolist() == admm.u.tolist() == [[0, 0]]
    first = admm.update(torch.tensor([[3.0, 1.0]]))  # (3, 1) is projected
    assert admm.z.tolist() == [[3, 0]] and admm.u.tolist() == [[0, 1]]
    assert first == pytest.approx((1 / math.sqrt(2), 2 * 3 / math.sqrt(2)))
    second = admm.update(torch.tensor([[1.0, 2.5]]))  # (1, 3.5) is projected
    assert admm.z.tolist() == [[0, 3.5]] and admm.u.tolist() == [[1, 0]]
    assert second == pytest.approx((1.0, 2 * math.sqrt((9 + 12.25) / 2)))
    assert admm.history == [first, second]


@given(seed=seeds, rho=st.floats(0.01, 100), places=st.lists(st.integers(0, 4), min_size=1, max_size=6))
def test_penalty_is_the_scaled_gap(seed, rho, places):
    """``places`` says whose codes they are. The released norm is one for the batch; it pulls alike near and far."""
    admm = Admm((5, 2, 3), rho, lambda v: top_l(v, 0.4))
    admm.update(normal(5, 2, 3, seed=seed))
    code, which = normal(len(places), 2, 3, seed=seed + 1).requires_grad_(), torch.tensor(places)
    gap = torch.stack([c - admm.z[p] + admm.u[p] for c, p in zip(code.detach(), places, strict=True)]).flatten(1)
    for found, expected, slope in (
        (admm.penalty(code, which), rho / 2 * gap.square().sum(1), rho * gap),
        (admm.penalty_norm(code, which), rho / 2 * gap.norm(), rho / 2 * gap / gap.norm()),
    ):
        torch.testing.assert_close(found.detach(), expected)
        (gradient,) = torch.autograd.grad(found.sum(), code)
        torch.testing.assert_close(gradient.flatten(1), slope)
    first, count = places[0], min(2, 5 - places[0])
    of_slice = admm.penalty(code[:1].expand(count, 2, 3), slice(first, first + count))
    torch.testing.assert_close(of_slice[0], admm.penalty(code, which)[0])


@given(v=tensors(min_dims=2, max_dims=2, side=7, dtypes=(torch.float64,)), keep=keeps)
def test_top_l_finds_the_nearest_support(v, keep):
    """Of all points with l entries at most, the nearest on a given support is v there: so all supports are tried."""
    v = v / v.abs().max().clamp(min=1e-300)
    distances = []
    for support in itertools.combinations(range(v.shape[1]), kept(keep, v.shape[1])):
        there = torch.zeros_like(v)
        there[:, support] = v[:, support]
        distances.append((there - v).norm(dim=1))
    torch.testing.assert_close((top_l(v, keep) - v).norm(dim=1), torch.stack(distances).amin(0), atol=1e-15, rtol=0)


@given(v=tensors(min_dims=2, side=6), keep=keeps)
def test_z_updates_agree_with_plain_sorting(v, keep):
    """Python's sort is stable: of equal magnitudes `top_l` keeps the first. `released` takes argsort for ranks."""
    before, count = v.clone(), v[0].numel()
    for tensor in (v, v.clamp(-9e9, 9e9).round().long()):
        sparse, theirs = top_l(tensor, keep), released(tensor, keep)
        for place, row in enumerate(tensor.flatten(1).tolist()):
            largest = sorted(range(count), key=lambda i, row=row: -abs(row[i]))[: kept(keep, count)]
            assert sparse[place].flatten().tolist() == [x if i in largest else 0 for i, x in enumerate(row)]
            argsort = sorted(range(count), key=lambda i, row=row: row[i])
            stays = [x if argsort[i] < kept(keep, count) else 0 for i, x in enumerate(row)]
            assert theirs[place].flatten().tolist() == stays
        assert sparse.dtype == theirs.dtype == tensor.dtype and sparse.shape == theirs.shape == tensor.shape
    turned = v.transpose(0, 1).contiguous().transpose(0, 1)
    for update in Z_UPDATES.values():
        assert torch.equal(update(turned, keep), update(v, keep)) and update(v[:0], keep).shape == v[:0].shape
    assert torch.equal(v, before), "the argument was changed"


@pytest.mark.parametrize("shape", [(1, 3), (2, 3, 1)])
def test_admm_refuses_codes_of_another_shape(shape):
    """These would be broadcast in silence."""
    admm = Admm((2, 3), 1.0, lambda v: top_l(v, 0.5))
    for refuses in (admm.update, admm.penalty, admm.penalty_norm):
        with pytest.raises(ValueError, match=r"\bcode\b"):
            refuses(torch.ones(shape))
    assert admm.history == [] and not admm.z.any(), "nothing has moved"


def test_integers_are_the_same_numbers_and_stop_at_their_ends():
    """As 16 bits hold them: Z and U of integer codes, update by update, until U has no room left."""
    whole, half = (Admm((2, 6), 1.0, lambda v: top_l(v, 0.5), dtype=dtype) for dtype in (torch.float32, torch.int16))
    code = torch.tensor([[9.0, -7, 5, 3, -2, 1], [400, -300, 200, -150, 100, 50]])
    for _ in range(5):
        assert half.update(code) == pytest.approx(whole.update(code))
    assert half.z.dtype == half.u.dtype == torch.int16
    assert torch.equal(half.z.float(), whole.z) and torch.equal(half.u.float(), whole.u)
    full = Admm((1, 2), 1.0, torch.zeros_like, dtype=torch.int16)  # all that it gets is left to U
    for _ in range(3):
        full.update(torch.tensor([[20_000.0, -20_000.0]]))
    assert full.u.tolist() == [[32_767, -32_768]]
