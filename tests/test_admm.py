"""ADMM against closed forms and a convex solver; the projection onto sparse codes against sorting and all supports."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import pytest
import torch

from sparsecomp.sparsify.admm import Z_UPDATES, Admm, kept, released, top_l
from sparsecomp.sparsify.projections import PROJECTIONS, ball_norm

Step = Callable[[torch.Tensor], torch.Tensor]
TIGHT = {"atol": 1e-9, "rtol": 0}


def drawn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def alternate(admm: Admm, step: Step, steps: int) -> torch.Tensor:
    """`step` answers the w-update for ``Z - U``; the other two are Admm's own. Returns the last code."""
    for _ in range(steps):
        code = step(admm.z - admm.u)
        admm.update(code)
    return code


def nearest_to(v: torch.Tensor, rho: float) -> Step:
    """The exact w-update of ``d(x) = ||x - v||^2 / 2``."""
    return lambda aim: (v + rho * aim) / (1 + rho)


# Convex problems: the lasso -------------------------------------------------------------------------------------------


class Lasso:
    """``min ||Ax - b||^2 / 2 + lam ||x||_1`` for a batch of b: ``d`` is the first term, g the second."""

    def __init__(self, problems: int = 3, seed: int = 0) -> None:
        self.a, self.lam = drawn(20, 12, seed=seed), 4.0
        self.b = 2 * drawn(problems, 20, seed=seed + 1)

    def d(self, x: torch.Tensor) -> torch.Tensor:
        return (x @ self.a.T - self.b).square().sum(1) / 2

    def exact(self, rho: float) -> Step:
        lhs, rhs = self.a.T @ self.a + rho * torch.eye(12, dtype=torch.float64), self.b @ self.a
        return lambda aim: torch.linalg.solve(lhs, (rhs + rho * aim).T).T

    def admm(self, rho: float) -> Admm:
        """The prox of ``lam ||.||_1`` takes lam / rho from every magnitude."""
        return Admm((len(self.b), 12), rho, lambda v: v.sign() * (v.abs() - self.lam / rho).clamp(min=0))

    def check(self, x: torch.Tensor, room: float) -> None:
        """What makes x the answer: the slope of d is -lam sign(x_j), or between -lam and lam where x_j is 0."""
        slope = (x @ self.a.T - self.b) @ self.a
        alive = x != 0
        assert 0.1 < alive.double().mean() < 0.9, "a problem that decides nothing"
        assert (slope + self.lam * x.sign())[alive].abs().max() < room
        assert slope[~alive].abs().max() < self.lam


@pytest.mark.parametrize("rho", [0.5, 5.0, 50.0])
def test_the_lasso_by_exact_steps(rho):
    cvxpy = pytest.importorskip("cvxpy")
    problem = Lasso()
    admm = problem.admm(rho)
    code = alternate(admm, problem.exact(rho), 1500)
    problem.check(admm.z, 1e-8)
    torch.testing.assert_close(code, admm.z, atol=1e-8, rtol=0)
    tight = {f"tol_{what}": 1e-11 for what in ("gap_abs", "gap_rel", "feas")}
    for b, found in zip(problem.b, admm.z, strict=True):
        x = cvxpy.Variable(12)
        loss = cvxpy.sum_squares(problem.a.numpy() @ x - b.numpy()) / 2 + problem.lam * cvxpy.norm1(x)
        cvxpy.Problem(cvxpy.Minimize(loss)).solve(solver=cvxpy.CLARABEL, **tight)
        torch.testing.assert_close(found, torch.from_numpy(x.value), atol=1e-5, rtol=0)


@pytest.mark.parametrize("inner", [1, 10])
def test_the_lasso_by_gradient_descent(inner):
    """As in training: each w-update is a few steps down ``d + penalty`` from where the last one ended."""
    problem = Lasso()
    admm, x = problem.admm(5.0), torch.zeros(3, 12, dtype=torch.float64)
    lr = 1 / (torch.linalg.eigvalsh(problem.a.T @ problem.a).max() + admm.rho)
    for _ in range(2000):
        for _ in range(inner):
            leaf = x.clone().requires_grad_()
            (gradient,) = torch.autograd.grad((problem.d(leaf) + admm.penalty(leaf)).sum(), leaf)
            x = x - lr * gradient
        admm.update(x)
    problem.check(admm.z, 1e-7)
    torch.testing.assert_close(x, admm.z, atol=1e-8, rtol=0)


def test_every_code_of_a_batch_goes_its_own_way():
    problem = Lasso(4)
    together = problem.admm(5.0)
    alternate(together, problem.exact(5.0), 30)
    for place in range(4):
        alone = Lasso(4)
        alone.b = problem.b[place : place + 1]
        admm = alone.admm(5.0)
        alternate(admm, alone.exact(5.0), 30)
        for ours, theirs in ((admm.z, together.z), (admm.u, together.u)):
            torch.testing.assert_close(ours[0], theirs[place], atol=1e-12, rtol=0)
    assert together.history[-1][0] > 1e-6, "compared on the way, not at the end"


# Convex problems: the nearest point of a set --------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["l1", "l1inf", "l21"])
@pytest.mark.parametrize("rho", [0.2, 1.0, 4.0])
def test_the_nearest_point_of_a_ball(name, rho):
    """``min ||x - v||^2 / 2`` in a norm ball: in the end ADMM is the projection that every one of its steps uses."""
    v = drawn(6, 8, seed=2) * torch.tensor([[0.05], [0.1], [0.5], [1.0], [2.0], [4.0]])
    radius = 0.3 * ball_norm(v, name)
    admm = Admm((6, 8), rho, lambda w: PROJECTIONS[name](w, radius))
    code = alternate(admm, nearest_to(v, rho), 300)
    answer = PROJECTIONS[name](v, radius)
    assert (answer == 0).any() and not torch.equal(answer, v)
    torch.testing.assert_close(admm.z, answer, **TIGHT)
    torch.testing.assert_close(code, answer, **TIGHT)
    torch.testing.assert_close(rho * admm.u, v - answer, **TIGHT)  # the multiplier is the slope, whatever rho


def disc(v: torch.Tensor) -> torch.Tensor:
    """The unit disc, for each row by itself."""
    return v / v.norm(dim=1, keepdim=True).clamp(min=1)


def left(v: torch.Tensor) -> torch.Tensor:
    """The half-plane ``x1 <= 0.3``."""
    return torch.stack([v[:, 0].clamp(max=0.3), v[:, 1]], dim=1)


def test_the_nearest_point_of_two_sets_at_once():
    """x in the disc, Z in the half-plane; each by itself has another nearest point, and one is where they meet."""
    v = torch.tensor([[2.0, 2.0], [2.0, 0.1], [-3.0, 4.0], [0.1, 0.2]], dtype=torch.float64)
    admm, rho = Admm((4, 2), 1.0, left), 1.0
    # On a disc (v + rho aim) / (1 + rho) may be projected: d + penalty is round about it.
    alternate(admm, lambda aim: disc((v + rho * aim) / (1 + rho)), 300)
    corner, edge = [0.3, math.sqrt(1 - 0.09)], [0.3, 0.1]
    answer = torch.tensor([corner, edge, [-0.6, 0.8], [0.1, 0.2]], dtype=torch.float64)
    torch.testing.assert_close(admm.z, answer, atol=1e-7, rtol=0)
    assert not torch.allclose(left(disc(v))[0], answer[0], atol=0.1), "one projection after the other does not find it"


def test_a_point_that_two_sets_share():
    """Where d only says that x is on a line: any common point will do, and one is found from every start."""
    normal = torch.tensor([[1.0, 2.0]], dtype=torch.float64)
    line = lambda aim: aim - ((aim @ normal.T) - 1) / 5 * normal  # noqa: E731
    admm = Admm((50, 2), 1.0, disc)
    admm.u = 5 * drawn(50, 2, seed=3)
    code = alternate(admm, line, 500)
    assert (admm.z @ normal.T - 1).abs().max() < 1e-9 and (code.norm(dim=1) < 1 + 1e-9).all()


# Residuals and rho ----------------------------------------------------------------------------------------------------


def test_both_residuals_vanish_and_rho_changes_the_way_only():
    v, answers, after = drawn(3, 10, seed=4), [], []
    for rho in (0.1, 1.0, 10.0):
        admm = Admm((3, 10), rho, lambda w: PROJECTIONS["l1"](w, 2.0))
        alternate(admm, nearest_to(v, rho), 400)
        assert max(admm.history[-1]) < 1e-10 < 1e-3 < min(map(max, admm.history[:3])) and len(admm.history) == 400
        answers.append(admm.z)
        after.append(next(step for step, both in enumerate(admm.history) if max(both) < 1e-6))
    for answer in answers[1:]:
        torch.testing.assert_close(answer, answers[0], **TIGHT)
    assert after[1] < min(after[0], after[2]), "neither a small rho nor a large one is quick"


def test_two_updates_by_hand():
    admm = Admm((1, 2), 2.0, lambda v: top_l(v, 0.5))
    assert admm.z.tolist() == admm.u.tolist() == [[0, 0]]
    first = admm.update(torch.tensor([[3.0, 1.0]]))  # (3, 1) is projected
    assert admm.z.tolist() == [[3, 0]] and admm.u.tolist() == [[0, 1]]
    assert first == pytest.approx((1 / math.sqrt(2), 2 * 3 / math.sqrt(2)))
    second = admm.update(torch.tensor([[1.0, 2.5]]))  # (1, 3.5) is projected
    assert admm.z.tolist() == [[0, 3.5]] and admm.u.tolist() == [[1, 0]]
    assert second == pytest.approx((1.0, 2 * math.sqrt((9 + 12.25) / 2)))
    assert admm.history == [first, second]


def test_the_penalty_by_hand():
    admm = Admm((2, 2), 3.0, lambda v: top_l(v, 0.5))
    admm.update(torch.tensor([[3.0, 1.0], [0.5, -4.0]]))  # Z (3, 0), (0, -4); U (0, 1), (0.5, 0)
    code = torch.tensor([[1.0, 1.0], [0.0, 0.0]], requires_grad=True)
    penalty = admm.penalty(code)
    assert penalty.tolist() == [1.5 * (4 + 4), 1.5 * (0.25 + 16)]
    (gradient,) = torch.autograd.grad(penalty.sum(), code)
    assert gradient.tolist() == [[-6, 6], [1.5, 12]]
    # The released norm is one number for the whole batch, and pulls as hard from near as from far.
    norm = admm.penalty_norm(code)
    assert float(norm.detach()) == pytest.approx(1.5 * math.sqrt(24.25))
    for scale in (1.0, 100.0):
        far = (scale * code).detach().requires_grad_()
        (pull,) = torch.autograd.grad(admm.penalty_norm(far), far)
        assert float(pull.norm()) == pytest.approx(1.5)


def test_which_says_whose_codes_they_are():
    admm = Admm((5, 3), 0.7, lambda v: top_l(v, 0.4))
    admm.update(drawn(5, 3, seed=5))
    code, places = drawn(4, 3, seed=6), [4, 0, 2, 2]
    gap = torch.stack([c - admm.z[p] + admm.u[p] for c, p in zip(code, places, strict=True)])
    torch.testing.assert_close(admm.penalty(code, torch.tensor(places)), 0.35 * gap.square().sum(1))
    torch.testing.assert_close(admm.penalty_norm(code, torch.tensor(places)), 0.35 * gap.norm())
    assert torch.equal(admm.penalty(code[:2], slice(1, 3)), admm.penalty(code[:2], torch.tensor([1, 2])))
    assert not torch.equal(admm.penalty(code[:2], slice(1, 3)), admm.penalty(code[:2], slice(3, 5)))


def test_updates_carry_no_gradient():
    admm = Admm((2, 4), 1.0, lambda v: top_l(v, 0.5))
    weight = torch.ones(2, 4, requires_grad=True)
    admm.update(weight * drawn(2, 4))
    assert not admm.z.requires_grad and not admm.u.requires_grad
    admm.penalty(weight * 2).sum().backward()
    assert weight.grad.abs().max() > 0


@pytest.mark.parametrize("rho", [0, -1.0, math.nan, math.inf])
def test_impossible_rho(rho):
    with pytest.raises(ValueError, match="rho="):
        Admm((1, 2), rho, lambda v: v)


@pytest.mark.parametrize("shape", [(1, 3), (2, 4), (2, 3, 1), (3,)])
def test_codes_of_another_shape(shape):
    """Most of these would be broadcast in silence."""
    admm = Admm((2, 3), 1.0, lambda v: top_l(v, 0.5))
    for refuses in (admm.update, admm.penalty, admm.penalty_norm):
        with pytest.raises(ValueError, match="code: shape"):
            refuses(torch.ones(shape))
    with pytest.raises(ValueError, match="code: shape"):
        admm.penalty(torch.ones(2, 3), torch.tensor([0]))
    assert admm.history == [] and not admm.z.any(), "nothing has moved"


# The set that is not convex -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 3, 6, 11])
def test_the_nearest_sparse_point_is_found(size):
    """``min ||x - v||^2 / 2`` with at most l entries has `top_l` as its answer; with rho >= 1 ADMM rests there."""
    v = drawn(20, 12, seed=7)
    for rho in (1.0, 3.0):
        admm = Admm((20, 12), rho, lambda w: top_l(w, size / 12))
        code = alternate(admm, nearest_to(v, rho), 300)
        assert torch.equal(admm.z != 0, top_l(v, size / 12) != 0)
        torch.testing.assert_close(admm.z, top_l(v, size / 12), **TIGHT)
        torch.testing.assert_close(code, admm.z, **TIGHT)


def test_where_rho_is_too_small_nothing_comes_to_rest():
    """At rest a dropped entry has ``U = v / rho``. From ``rho < |v_2| / |v_1|`` on that is more than what is kept."""
    v = torch.tensor([[1.0, 0.8]], dtype=torch.float64)
    for rho, rests in ((0.85, True), (0.75, False)):
        admm = Admm((1, 2), rho, lambda w: top_l(w, 0.5))
        alternate(admm, nearest_to(v, rho), 2000)
        ends = admm.history[-50:]
        assert (max(map(max, ends)) < 1e-6) == rests
        if rests:
            torch.testing.assert_close(admm.z, torch.tensor([[1.0, 0.0]], dtype=v.dtype), **TIGHT)
            torch.testing.assert_close(admm.u, torch.tensor([[0.0, 0.8 / rho]], dtype=v.dtype), **TIGHT)
        else:
            assert max(primal for primal, _ in ends) > 0.1


# The projection onto sparse codes -------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 2, 4, 7])
def test_no_support_is_nearer(size):
    """Of all points with l entries at most, the nearest on a given support is v there: so all supports are tried."""
    v = drawn(30, 7, seed=8)
    projected = top_l(v, size / 7)
    distances = []
    for support in itertools.combinations(range(7), size):
        there = torch.zeros_like(v)
        there[:, support] = v[:, support]
        distances.append((there - v).norm(dim=1))
    torch.testing.assert_close((projected - v).norm(dim=1), torch.stack(distances).amin(0), atol=1e-15, rtol=0)
    assert ((projected != 0).sum(1) == size).all() and ((projected == v) | (projected == 0)).all()


@pytest.mark.parametrize("keep", [1e-9, 0.1, 0.37, 0.5, 0.99, 1.0])
def test_top_l_by_plain_sorting(keep):
    v = drawn(4, 3, 5, 6, seed=9)
    expected = torch.zeros(4, 90, dtype=torch.float64)
    for code, row in zip(expected, v.flatten(1).tolist(), strict=True):
        for place in sorted(range(90), key=lambda i: -abs(row[i]))[: kept(keep, 90)]:
            code[place] = row[place]
    assert torch.equal(top_l(v, keep), expected.view_as(v))
    assert torch.equal(top_l(v, 1.0), v) and (top_l(v, 1e-9) != 0).sum() == 4


def test_of_equal_magnitudes_the_first_stay():
    v = torch.tensor([[2.0, -2.0, 2.0, 1.0, -2.0], [1.0, 1.0, -1.0, -1.0, 1.0], [0.0, 0.0, 3.0, 0.0, 0.0]])
    expected = [[2, -2, 0, 0, 0], [1, 1, 0, 0, 0], [0, 0, 3, 0, 0]]
    assert top_l(v, 0.4).tolist() == expected
    # Many ties in long codes, where a sort that is not stable would show; and the same code anywhere in the batch.
    many = torch.randint(-3, 4, (40, 5000), generator=torch.Generator().manual_seed(0)).float()
    order = torch.randperm(40, generator=torch.Generator().manual_seed(1))
    projected = top_l(many, 0.1)
    assert torch.equal(projected, top_l(many.clone(), 0.1)) and torch.equal(projected[order], top_l(many[order], 0.1))
    for code, row in zip(projected, many, strict=True):
        threes = (row.abs() == 3).nonzero()[:, 0]
        assert len(threes) > 500 and torch.equal(code.nonzero()[:, 0], threes[:500])


def test_zeros_infinities_and_nan():
    """-0.0 is as large as 0 and stays what it is where it stays; NaN counts as larger than infinity."""
    v = torch.tensor([[-0.0, 0.0, 1.0, -0.0]])
    two = top_l(v, 0.5)
    assert two.tolist() == [[0, 0, 1, 0]]
    assert two.signbit().tolist() == [[True, False, False, False]], "the first zero is the second entry that stays"
    assert top_l(torch.tensor([[1.0, -math.inf, 9.0, math.inf]]), 0.5).tolist() == [[0, -math.inf, 0, math.inf]]
    odd = top_l(torch.tensor([[math.inf, 1.0, math.nan, 2.0]]), 0.25)
    assert odd[0, 2].isnan() and odd[0, [0, 1, 3]].tolist() == [0, 0, 0]


@pytest.mark.parametrize("update", Z_UPDATES.values(), ids=Z_UPDATES)
def test_dtypes_strides_and_what_comes_in(update):
    v = drawn(3, 8, 4, 4, seed=10)
    before, result = v.clone(), update(v, 0.3)
    assert torch.equal(v, before) and result.dtype == torch.float64 and result.shape == v.shape
    for same in (v.to(memory_format=torch.channels_last), v.transpose(2, 3).contiguous().transpose(2, 3)):
        assert torch.equal(update(same, 0.3), result)
    for place in range(3):
        assert torch.equal(update(v[place : place + 1], 0.3)[0], result[place])
    whole = (10 * v).round()
    for dtype in (torch.float32, torch.int64, torch.int16):
        assert torch.equal(update(whole.to(dtype), 0.3), update(whole, 0.3).to(dtype))
    assert update(v[:0], 0.3).shape == (0, 8, 4, 4)


@pytest.mark.parametrize("update", Z_UPDATES.values(), ids=Z_UPDATES)
def test_what_cannot_be_pruned(update):
    for keep in (0, -0.1, 1.0001, math.nan):
        with pytest.raises(ValueError, match="keep="):
            update(torch.ones(2, 3), keep)
    with pytest.raises(ValueError, match=r"v of shape \(3,\)"):
        update(torch.ones(3), 0.5)


def test_how_many_are_kept():
    assert [kept(share, 10) for share in (0.1, 0.14, 0.16, 0.99, 1)] == [1, 1, 2, 10, 10]
    assert kept(0.1, 4096) == 410 and kept(1e-9, 5) == 1, "the nearest number, and never none"
    for keep in (0, -0.1, 1.0001, math.nan):
        with pytest.raises(ValueError, match=r"keep=.*above 0 and up to 1"):
            kept(keep, 10)


# What the released code does instead ----------------------------------------------------------------------------------


def test_released_by_hand():
    """(3, -1, 2, 0.5): sorted it stands at places 1, 3, 2, 0. Of these, the second and the third are not below 2."""
    v = torch.tensor([[3.0, -1.0, 2.0, 0.5]])
    assert released(v, 0.5).tolist() == [[3, 0, 0, 0.5]]
    assert top_l(v, 0.5).tolist() == [[3, 0, 2, 0]]


@pytest.mark.parametrize("keep", [0.1, 0.5, 1.0])
def test_released_takes_argsort_for_ranks(keep):
    v = drawn(20, 40, seed=11)
    for row, result in zip(v.tolist(), released(v, keep).tolist(), strict=True):
        argsort = sorted(range(40), key=lambda i, row=row: row[i])
        assert result == [x if argsort[i] < kept(keep, 40) else 0 for i, x in enumerate(row)]


def test_released_finds_the_largest_by_chance_only():
    """The share of the true top l among what stays, over 3,000 codes, is l / n = 0.1 within 0.005.

    With pi the argsort of independent entries, a random permutation, entry pi(j) stays if pi(pi(j)) < l: for any place
    j of the sorted code, l / n up to 1 / n = 0.0025. The count varies as a hypergeometric one, by 1.8 of 40, so that
    the mean of 3,000 has a standard error of 0.0008.
    """
    v = drawn(3000, 400, seed=12)
    stays, largest = released(v, 0.1) != 0, top_l(v, 0.1) != 0
    assert (stays.sum(1) == 40).all() and (largest.sum(1) == 40).all()
    share = float((stays & largest).sum(1).double().mean()) / 40
    assert abs(share - 0.1) < 0.005
    further = (released(v, 0.1) - v).norm(dim=1) / (top_l(v, 0.1) - v).norm(dim=1)
    assert (further > 1).all()
