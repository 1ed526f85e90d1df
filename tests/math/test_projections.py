"""Projections against a convex solver, their optimality conditions, and slow loops."""

from __future__ import annotations

import functools
import math

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from strategies import FEW, normal, seeds, shares, tensors

from sparsecomp.sparsify import projections
from sparsecomp.sparsify.projections import PROJECTIONS, ball_norm, radius_for_sparsity

DEVICES = ["cpu"] + (["cuda"] if torch.cuda.is_available() else [])
every = pytest.mark.parametrize("name", PROJECTIONS)
euclidean = pytest.mark.parametrize("name", ["l1", "l1inf", "l21"])
on_every_device = pytest.mark.parametrize("device", DEVICES)


def heavy(*shape: int, seed: int = 0) -> torch.Tensor:
    """Normal numbers times a scale for each group: some groups are far weaker than others."""
    return normal(*shape, seed=seed) * normal(shape[0], *[1] * (len(shape) - 1), seed=seed + 1).exp()


def rows_of(v: torch.Tensor) -> torch.Tensor:
    return v.reshape(len(v), -1).double()


def precision(v: torch.Tensor) -> float:
    """What rounding may change: of an entry, relative to the largest one; of a norm, relative to the norm."""
    return 1e-13 if v.dtype == torch.float64 else torch.finfo(v.dtype).eps


@functools.cache
def solver(name: str, shape: tuple[int, int]):
    """The problem ``min ||w - v||  subject to  norm(w) <= radius`` for a convex solver."""
    cvxpy = pytest.importorskip("cvxpy")
    w, v, radius = cvxpy.Variable(shape), cvxpy.Parameter(shape), cvxpy.Parameter(nonneg=True)
    groups = {"l1": cvxpy.abs(w), "l1inf": cvxpy.max(cvxpy.abs(w), axis=1), "l21": cvxpy.norm(w, 2, axis=1)}
    return cvxpy.Problem(cvxpy.Minimize(cvxpy.sum_squares(w - v)), [cvxpy.sum(groups[name]) <= radius]), w, v, radius


@pytest.mark.filterwarnings("ignore:Solution may be inaccurate")
@euclidean
@FEW
@given(seed=seeds, share=st.floats(0.02, 0.99), shape=st.sampled_from([(4, 6), (6, 3), (1, 9)]))
def test_project_euclidean_agrees_with_convex_solver(name, seed, share, shape):
    problem, found, point, bound = solver(name, shape)
    v = normal(*shape, seed=seed)
    point.value, bound.value = v.numpy(), share * ball_norm(v, name)
    problem.solve(solver="CLARABEL", **{f"tol_{what}": 1e-9 for what in ("gap_abs", "gap_rel", "feas")})
    w = PROJECTIONS[name](v, float(bound.value))
    torch.testing.assert_close(w, torch.from_numpy(found.value), atol=1e-5, rtol=0)


def check_kkt(name: str, v: torch.Tensor, w: torch.Tensor) -> None:
    """No z of the ball is on the other side of w: ``max_z <v - w, z> = dual(v - w) norm(w)`` is ``<v - w, w>``."""
    scale = float(v.abs().max())
    lost, left = rows_of(v / scale - w / scale), rows_of(w / scale)
    dual = {"l1": lost.abs().max(), "l1inf": lost.abs().sum(1).max(), "l21": lost.norm(dim=1).max()}[name]
    gap = float(dual) * ball_norm(left, name) - float((lost * left).sum())
    assert abs(gap) <= 8 * precision(v) * ball_norm(rows_of(v / scale), name) ** 2


@euclidean
@given(v=tensors(), share=shares)
def test_project_euclidean_satisfies_kkt(name, v, share):
    assume(v.any())
    check_kkt(name, v, PROJECTIONS[name](v, share * ball_norm(v, name)))


@euclidean
@pytest.mark.parametrize("share", [0.01, 0.5])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_project_euclidean_satisfies_kkt_on_a_layer(name, share, dtype):
    """Many entries in a group: there the threshold is first guessed from every 16th."""
    v = (heavy(40, 130, 3, 3) ** 3).to(dtype)
    w = PROJECTIONS[name](v, share * ball_norm(v, name))
    check_kkt(name, v, w)
    if name == "l1":
        lost, room = (v - w).abs(), 2 * torch.finfo(dtype).eps * float(v.abs().max())
        tau = lost[w != 0].median()
        assert (lost[w != 0] - tau).abs().max() <= room and v[w == 0].abs().max() <= tau + room


def l1_by_sorting(values: list[float], radius: float) -> list[float]:
    """One vector onto the l1 ball, entry by entry from the largest (Held, Wolfe & Crowder 1974)."""
    if sum(map(abs, values)) <= radius:
        return values
    tau, total = math.inf, 0.0
    for count, largest in enumerate(sorted(map(abs, values), reverse=True), 1):
        total += largest
        if largest <= (total - radius) / count:
            break
        tau = (total - radius) / count
    return [math.copysign(max(abs(x) - tau, 0.0), x) for x in values]


@given(v=tensors(dtypes=(torch.float64,)), share=shares)
def test_project_bilevel_agrees_with_two_plain_steps(v, share):
    groups = rows_of(v).tolist()
    for name, norm in (("bilevel_l11", lambda g: sum(map(abs, g))), ("bilevel_l1inf", lambda g: max(map(abs, g)))):
        radius = share * ball_norm(v, name)
        radii = l1_by_sorting([norm(group) for group in groups], radius)
        if name == "bilevel_l11":
            slow = [l1_by_sorting(g, t) if t else [0.0] * len(g) for g, t in zip(groups, radii, strict=True)]
        else:
            slow = [[max(-t, min(t, x)) for x in group] for group, t in zip(groups, radii, strict=True)]
        expected = torch.tensor(slow, dtype=torch.float64).view_as(v)
        room = 1e-13 * ball_norm(v, name)
        torch.testing.assert_close(PROJECTIONS[name](v, radius), expected, atol=room, rtol=0)


def test_project_bilevel_l11_is_not_euclidean():
    """The l1,1 ball is the l1 ball, and Algorithm 1 of Gille et al. is not the projection onto it."""
    v = torch.tensor([[3.0, 3.0], [4.0, 0.0]], dtype=torch.float64)
    assert PROJECTIONS["l1"](v, 4.0).tolist() == [[1, 1], [2, 0]]
    # The groups' norms (6, 4) become (3, 1); then (3, 3) loses 1.5 each, and (4, 0) loses 3.
    assert PROJECTIONS["bilevel_l11"](v, 4.0).tolist() == [[1.5, 1.5], [1, 0]]


@every
@given(v=tensors(dtypes=(torch.float64, torch.float32, torch.float16, torch.bfloat16)), share=st.floats(0, 1.5))
def test_project_reaches_the_ball_and_is_idempotent(name, v, share):
    """On the sphere, unless v is inside; no sign turns, nothing grows; once more changes nothing."""
    assume(v.isfinite().all())
    project, size, room = PROJECTIONS[name], ball_norm(v, name), precision(v)
    radius, leaf = share * size, v.clone().requires_grad_()
    w = project(leaf, radius)
    assert torch.equal(leaf, v) and not w.requires_grad and w.data_ptr() != leaf.data_ptr()
    assert (w.dtype, w.shape) == (v.dtype, v.shape)
    if radius >= size:
        assert torch.equal(w, v)
        return
    assert abs(ball_norm(w, name) - radius) <= room * size
    assert (w.double() * v.double() >= 0).all() and (w.abs() <= v.abs()).all()
    assert ball_norm(v.double() - w.double(), name) + radius == pytest.approx(size, rel=4 * room)
    torch.testing.assert_close(project(w, radius), w, atol=4 * room * float(v.abs().max()), rtol=0)
    assert torch.equal(project(w, max(radius, ball_norm(w, name))), w)
    if v.dtype.itemsize < 4:
        assert torch.equal(w, project(v.float(), radius).to(v.dtype))


@on_every_device
@every
def test_project_keeps_strides_and_does_not_depend_on_them(name, device):
    dense = heavy(6, 5, 4, 3).to(device)
    expected = PROJECTIONS[name](dense, 0.3 * ball_norm(dense, name))
    views = {
        "channels last": dense.contiguous(memory_format=torch.channels_last),
        "transposed": dense.permute(3, 1, 2, 0).contiguous().permute(3, 1, 2, 0),
        "every second": torch.stack([dense, dense + 1], -1)[..., 0],
        "one of a batch": torch.stack([dense - 1, dense])[1],
    }
    for what, view in views.items():
        w = PROJECTIONS[name](view, 0.3 * ball_norm(dense, name))
        torch.testing.assert_close(w, expected, atol=1e-13, rtol=0, msg=what)
        assert torch.equal(view, dense) and w.device == dense.device, what
        assert w.stride() == view.stride() or what in ("every second", "one of a batch"), what


HARD = {
    "powers of two": torch.exp2(-torch.arange(900, dtype=torch.float64) % 300).view(30, 30),
    "crowded at the top": 1 - torch.exp2(-(torch.arange(900, dtype=torch.float64) % 60)).view(30, 30),
    "one giant": torch.cat([torch.full((1, 30), 1e30, dtype=torch.float64), heavy(29, 30)]),
    "heavy tails": heavy(30, 30) ** 15,
    "tiny": 1e-300 * heavy(30, 30),
}


@every
@pytest.mark.parametrize("what", HARD)
def test_project_needs_few_passes(name, what, monkeypatch):
    passes, above, v = [], projections._above, HARD[what]
    monkeypatch.setattr(projections, "_above", lambda *a: passes.append(1) or len(passes) > 60 or above(*a))
    for share in (1e-300, 1e-12, 0.3, 1 - 1e-12):
        passes.clear()
        w = PROJECTIONS[name](v, share * ball_norm(v, name))  # after 60 passes an error, not an endless loop
        assert abs(ball_norm(w, name) - share * ball_norm(v, name)) <= 1e-13 * ball_norm(v, name)


def zeros_left(layers: list[torch.Tensor], name: str, radius: float, per_layer: bool) -> float:
    radii = [radius * ball_norm(v, name) if per_layer else radius for v in layers]
    left = [PROJECTIONS[name](v, r) for v, r in zip(layers, radii, strict=True)]
    return sum(int((w == 0).sum()) for w in left) / sum(w.numel() for w in left)


@every
@pytest.mark.parametrize("per_layer", [False, True])
@settings(max_examples=4)
@given(sparsity=st.floats(0.1, 0.97), seed=seeds)
def test_radius_for_sparsity_is_the_largest(name, per_layer, sparsity, seed):
    layers = [heavy(20, 5, 3, 3, seed=seed), 5 * heavy(30, 20, seed=seed + 5), heavy(25, seed=seed + 9)]
    radius, reached = radius_for_sparsity(layers, sparsity, name, per_layer=per_layer)
    assert reached >= sparsity and reached == zeros_left(layers, name, radius, per_layer)
    most = 1.0 if per_layer else max(ball_norm(v, name) for v in layers)
    assert 0 <= radius < most and zeros_left(layers, name, radius + 2e-7 * most, per_layer) < sparsity
    assert reached < sparsity + (0.005 if name in ("l1", "bilevel_l11") else 46 / 1525), "one group too many, at most"


def test_radius_for_sparsity_at_the_ends():
    v = heavy(10, 10)
    assert radius_for_sparsity([v], 0.95, "l21") == (0.0, 1.0), "any other radius leaves a group of a tenth"
    assert radius_for_sparsity([v], 1, "l1") == (0.0, 1.0)
    assert radius_for_sparsity([v], 0, "l1") == (ball_norm(v, "l1"), 0.0)
    assert radius_for_sparsity([v], 0, "l21", per_layer=True) == (1.0, 0.0)
    exact, reached = radius_for_sparsity([torch.tensor([4.0, 3, 2, 1])], 0.5, "l1")
    assert exact == pytest.approx(3, abs=1e-5) and reached == 0.5, "a share that is reached exactly is enough"
    v[:5] = 0
    assert radius_for_sparsity([v], 0.4, "l1inf") == (ball_norm(v, "l1inf"), 0.5)
    assert radius_for_sparsity([torch.zeros(3, 3)], 0.9, "l1") == (0.0, 1.0)


ONES = torch.ones(2, 2)


@every
def test_project_refuses(name):
    for radius in (-1e-300, math.nan):
        with pytest.raises(ValueError, match="radius"):
            PROJECTIONS[name](ONES, radius)
    for v in (ONES.long(), ONES * math.nan, ONES * math.inf, torch.full((4,), 1.5e308, dtype=torch.float64)):
        with pytest.raises(ValueError, match=r"\bv\b"):
            PROJECTIONS[name](v, 1.0)
