"""Projections against a convex solver, their optimality conditions, and slow loops."""

from __future__ import annotations

import math

import pytest
import torch

from sparsecomp.sparsify import projections
from sparsecomp.sparsify.projections import PROJECTIONS, ball_norm, radius_for_sparsity

EUCLIDEAN = ("l1", "l1inf", "l21")
BILEVEL = {"bilevel_l11": "l1", "bilevel_l1inf": "l1inf"}
DEVICES = ["cpu"] + (["cuda"] if torch.cuda.is_available() else [])
every = pytest.mark.parametrize("name", PROJECTIONS)
euclidean = pytest.mark.parametrize("name", EUCLIDEAN)
on_every_device = pytest.mark.parametrize("device", DEVICES)


def drawn(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64, tails: int = 1) -> torch.Tensor:
    """Odd powers of normal numbers (the higher, the heavier the tails), times a scale for each group."""
    generator = torch.Generator().manual_seed(seed)
    scale = torch.randn(
        len(torch.empty(shape)), *[1] * (len(shape) - 1), generator=generator, dtype=torch.float64
    ).exp()
    return (scale * torch.randn(*shape, generator=generator, dtype=torch.float64) ** tails).to(dtype)


def rows_of(v: torch.Tensor) -> torch.Tensor:
    return v.reshape(len(v), -1)


# Against a convex solver ----------------------------------------------------------------------------------------------


@euclidean
@pytest.mark.parametrize(
    ("share", "seed", "tails", "shape"),
    [(0.02, 0, 1, (4, 6)), (0.3, 1, 1, (5, 3)), (0.7, 2, 3, (3, 8)), (0.99, 3, 1, (6, 4)), (0.2, 4, 3, (1, 9))],
)
def test_is_the_point_that_a_convex_solver_finds(name, share, seed, tails, shape):
    cvxpy = pytest.importorskip("cvxpy")
    v = drawn(*shape, seed=seed, tails=tails)
    radius = share * ball_norm(v, name)
    w = cvxpy.Variable(shape)
    norm = {
        "l1": cvxpy.sum(cvxpy.abs(w)),
        "l1inf": cvxpy.sum(cvxpy.max(cvxpy.abs(w), axis=1)),
        "l21": cvxpy.sum(cvxpy.norm(w, 2, axis=1)),
    }[name]
    problem = cvxpy.Problem(cvxpy.Minimize(cvxpy.sum_squares(w - v.numpy())), [norm <= radius])
    tight = {f"tol_{what}": 1e-9 for what in ("gap_abs", "gap_rel", "feas")}
    problem.solve(solver=cvxpy.CLARABEL, **tight)
    torch.testing.assert_close(PROJECTIONS[name](v, radius), torch.from_numpy(w.value), atol=1e-6, rtol=0)


# Optimality -----------------------------------------------------------------------------------------------------------

LARGE = [(0.01, 1), (0.1, 3), (0.5, 5), (0.95, 1)]


@pytest.mark.parametrize(("share", "tails"), LARGE)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_optimality_of_l1(share, tails, dtype):
    """Entries that stay lost the same tau, the others had no more than that, and the norm is the radius."""
    v = drawn(40, 30, 3, 3, dtype=dtype, tails=tails)
    radius = share * ball_norm(v, "l1")
    w, room = PROJECTIONS["l1"](v, radius), 2 * torch.finfo(dtype).eps * float(v.abs().max())
    lost = (v - w).abs()
    tau = lost[w != 0].median()
    assert (lost[w != 0] - tau).abs().max() <= room and v[w == 0].abs().max() <= tau + room
    assert (w * v >= 0).all() and 0 < (w == 0).double().mean() < 1
    assert ball_norm(w, "l1") == pytest.approx(radius, rel=1e-5 if dtype == torch.float32 else 1e-12)


@pytest.mark.parametrize(("share", "tails"), LARGE)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_optimality_of_l1inf(share, tails, dtype):
    """Groups that stay are clipped and lost the same sum theta, the others had no more, and the norm is the radius."""
    v = drawn(40, 30, 3, 3, dtype=dtype, tails=tails)
    radius = share * ball_norm(v, "l1inf")
    w, room = PROJECTIONS["l1inf"](v, radius), 1e-4 if dtype == torch.float32 else 1e-11
    rows, left = rows_of(v).abs().double(), rows_of(w).abs().double()
    mu, lost = left.amax(1), (rows - left).sum(1)
    theta = lost[mu > 0].mean()
    assert (left == torch.minimum(rows, mu[:, None])).all() and (w * v >= 0).all()
    torch.testing.assert_close(lost[mu > 0] / theta, torch.ones_like(lost[mu > 0]), atol=room, rtol=0)
    assert (rows.sum(1)[mu == 0] <= theta * (1 + room)).all()
    assert ball_norm(w, "l1inf") == pytest.approx(radius, rel=room)
    assert share > 0.5 or 0 < (mu == 0).double().mean() < 1


@pytest.mark.parametrize(("share", "tails"), LARGE)
def test_optimality_of_l21(share, tails):
    """Groups keep their direction and lose the same length tau, or had no more than that."""
    v = drawn(40, 30, 3, 3, tails=tails)
    radius = share * ball_norm(v, "l21")
    rows, left = rows_of(v), rows_of(PROJECTIONS["l21"](v, radius))
    before, after = rows.norm(dim=1), left.norm(dim=1)
    stays = after > 0
    tau = (before - after)[stays].median()
    torch.testing.assert_close((before - after)[stays], tau.expand(int(stays.sum())), atol=1e-11, rtol=1e-11)
    assert (before[~stays] <= tau + 1e-11).all() and stays.any()
    torch.testing.assert_close(left[stays] / after[stays, None], rows[stays] / before[stays, None], rtol=1e-10, atol=0)
    assert float(after.sum()) == pytest.approx(radius, rel=1e-12)


@euclidean
def test_no_point_of_the_ball_is_on_the_other_side(name):
    """(v - w, z - w) <= 0 for all z in the ball: what makes w the nearest point of a convex set."""
    v = drawn(6, 5, seed=3)
    radius = 0.4 * ball_norm(v, name)
    w = PROJECTIONS[name](v, radius)
    for seed in range(200):
        z = drawn(6, 5, seed=100 + seed, tails=3)
        z *= radius / ball_norm(z, name)
        assert float(((v - w) * (z - w)).sum()) <= 1e-10


@euclidean
def test_two_points_are_not_further_apart_than_before(name):
    for seed in range(50):
        a, b = drawn(7, 9, seed=seed), drawn(7, 9, seed=seed + 1000)
        b = a + 0.1 * b if seed % 2 else b
        radius = (0.05 + 0.9 * seed / 50) * ball_norm(a, name)
        apart = (PROJECTIONS[name](a, radius) - PROJECTIONS[name](b, radius)).norm()
        assert apart <= (a - b).norm() * (1 + 1e-12)


# The bilevel ones -----------------------------------------------------------------------------------------------------


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


@pytest.mark.parametrize(("share", "tails"), [(0, 1), (0.05, 1), (0.3, 3), (0.6, 1), (0.98, 3), (1.5, 1)])
def test_bilevel_projections_in_two_plain_steps(share, tails):
    v = drawn(9, 4, 2, seed=5, tails=tails)
    groups = rows_of(v).tolist()
    for name, norm in (("bilevel_l11", lambda g: sum(map(abs, g))), ("bilevel_l1inf", lambda g: max(map(abs, g)))):
        radius = share * ball_norm(v, name)
        radii = l1_by_sorting([norm(group) for group in groups], radius)
        if name == "bilevel_l11":
            slow = [l1_by_sorting(group, t) if t else [0.0] * 8 for group, t in zip(groups, radii, strict=True)]
        else:
            slow = [[max(-t, min(t, x)) for x in group] for group, t in zip(groups, radii, strict=True)]
        expected = torch.tensor(slow, dtype=torch.float64).view_as(v)
        torch.testing.assert_close(PROJECTIONS[name](v, radius), expected, atol=1e-12, rtol=0)


@pytest.mark.parametrize(("name", "exact"), BILEVEL.items())
def test_bilevel_is_in_the_ball_and_never_nearer(name, exact):
    further = []
    for seed in range(30):
        v = drawn(8, 12, seed=seed, tails=1 + 2 * (seed % 2))
        radius = (0.02 + 0.9 * seed / 30) * ball_norm(v, exact)
        w, nearest = PROJECTIONS[name](v, radius), PROJECTIONS[exact](v, radius)
        assert ball_norm(w, exact) == pytest.approx(radius, rel=1e-12)
        further.append(float((w - v).norm() / (nearest - v).norm()))
    assert min(further) >= 1 - 1e-12 and max(further) > 1.01


def test_the_l11_ball_is_the_l1_ball_and_algorithm_1_does_not_project_onto_it():
    v = torch.tensor([[3.0, 3.0], [4.0, 0.0]], dtype=torch.float64)
    assert ball_norm(v, "bilevel_l11") == ball_norm(v, "l1") == 10
    assert PROJECTIONS["l1"](v, 4.0).tolist() == [[1, 1], [2, 0]]
    # The groups' norms (6, 4) become (3, 1); then (3, 3) loses 1.5 each, and (4, 0) loses 3.
    assert PROJECTIONS["bilevel_l11"](v, 4.0).tolist() == [[1.5, 1.5], [1, 0]]


@every
def test_what_goes_and_what_stays_add_up(name):
    """norm(v - w) + norm(w) = norm(v) (Barlaud et al. 2024): nothing is taken that the norm does not count."""
    v = drawn(8, 12, seed=2)
    for share in (0.1, 0.5, 0.9):
        w = PROJECTIONS[name](v, share * ball_norm(v, name))
        total = ball_norm(v - w, name) + ball_norm(w, name)
        assert total == pytest.approx(ball_norm(v, name), rel=1e-12)


# What all of them must do ---------------------------------------------------------------------------------------------


def test_norms():
    v = torch.tensor([[[3.0, -4.0]], [[0.0, 2.0]]])
    norms = {name: ball_norm(v, name) for name in PROJECTIONS}
    assert norms == {"l1": 9, "bilevel_l11": 9, "l1inf": 6, "bilevel_l1inf": 6, "l21": 7}


@on_every_device
@every
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
def test_nothing_changes_inside_the_ball(name, dtype, device):
    v = drawn(5, 7, 2, dtype=dtype).to(device)
    for radius in (ball_norm(v, name), 2 * ball_norm(v, name)):
        w = PROJECTIONS[name](v, radius)
        assert torch.equal(w, v) and w.dtype == dtype and w.data_ptr() != v.data_ptr()


@every
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_twice_is_once(name, dtype):
    v = drawn(20, 15, dtype=dtype, tails=3)
    for share in (0.01, 0.3, 0.9):
        radius = share * ball_norm(v, name)
        once = PROJECTIONS[name](v, radius)
        room = 4 * torch.finfo(dtype).eps * float(v.abs().max())
        torch.testing.assert_close(PROJECTIONS[name](once, radius), once, atol=room, rtol=0)
        assert torch.equal(PROJECTIONS[name](once, radius * (1 + 1e-5)), once)


@on_every_device
@every
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
def test_dtype_device_and_the_norm_up_to_rounding(name, dtype, device):
    v = drawn(12, 10, 3, 3, dtype=dtype).to(device)
    size = ball_norm(v, name)
    for share in (1e-6, 0.1, 0.6, 1 - 1e-6):
        w = PROJECTIONS[name](v, share * size)
        assert (w.dtype, w.device, w.shape) == (dtype, v.device, v.shape)
        room = 1e-13 if dtype == torch.float64 else torch.finfo(dtype).eps
        assert abs(ball_norm(w, name) - share * size) <= room * size
        if dtype in (torch.float16, torch.bfloat16):
            assert torch.equal(w, PROJECTIONS[name](v.float(), share * size).to(dtype))


@on_every_device
@every
def test_strides_are_kept_and_do_not_matter(name, device):
    dense = drawn(6, 5, 4, 3).to(device)
    expected = PROJECTIONS[name](dense, 0.3 * ball_norm(dense, name))
    views = {
        "channels last": dense.contiguous(memory_format=torch.channels_last),
        "transposed": dense.permute(3, 1, 2, 0).contiguous().permute(3, 1, 2, 0),
        "every second": torch.stack([dense, dense + 1], -1)[..., 0],
        "one of a batch": torch.stack([dense - 1, dense])[1],
    }
    for what, view in views.items():
        assert torch.equal(view, dense), what
        w = PROJECTIONS[name](view, 0.3 * ball_norm(dense, name))
        torch.testing.assert_close(w, expected, atol=1e-13, rtol=0, msg=what)
        if what in ("channels last", "transposed"):
            assert w.stride() == view.stride(), what
    before = views["every second"].clone()
    PROJECTIONS[name](views["every second"], 0.1)
    assert torch.equal(views["every second"], before), "the argument was changed"


@every
def test_radius_zero_empty_and_zero_tensors(name):
    project = PROJECTIONS[name]
    v = drawn(4, 6)
    for dtype in (torch.float64, torch.float32, torch.float16):
        assert torch.equal(project(v.to(dtype), 0), torch.zeros_like(v, dtype=dtype))
        assert torch.equal(project(torch.zeros(3, 4, dtype=dtype), 0.0), torch.zeros(3, 4, dtype=dtype))
    assert torch.equal(project(torch.zeros(3, 4), 1.0), torch.zeros(3, 4))
    for shape in ((0,), (0, 5), (5, 0), (2, 0, 3)):
        assert project(torch.zeros(shape), 1.0).shape == shape and project(torch.zeros(shape), 0).shape == shape
    # Not almost zero: the mean of equal entries may be rounded below them.
    for count in (3, 5, 7, 11):
        for dtype in (torch.float64, torch.float32):
            equal = drawn(50, 1, seed=count, dtype=dtype).repeat(1, count)
            assert not any(project(group[None], 0).any() for group in equal) and not project(equal, 0).any()
    # Groups of zeros beside others stay zero, and disturb nobody.
    padded = torch.cat([torch.zeros(2, 6, dtype=v.dtype), v])
    radius = 0.4 * ball_norm(v, name)
    assert torch.equal(project(padded, radius)[:2], torch.zeros(2, 6, dtype=v.dtype))
    torch.testing.assert_close(project(padded, radius)[2:], project(v, radius), atol=1e-13, rtol=0)


@every
def test_ties(name):
    """Equal entries and equal groups are treated alike, whatever the radius."""
    v = torch.tensor([[1.0, -1.0, 1.0], [1.0, 1.0, 1.0], [-1.0, 1.0, -1.0], [0.5, 0.5, 0.5]])
    for radius in (1e-30, 1e-9, 0.1, 1.0, 1.5, 3.0):
        w = PROJECTIONS[name](v, radius)
        assert ball_norm(w, name) <= radius + 1e-6 and torch.equal(w.sign() * v.sign(), w.sign().abs())
        for row in w:
            assert len(row.abs().unique()) == 1
        assert len(w[:3].abs().unique()) == 1


def test_one_group_and_groups_of_one():
    v = drawn(1, 50)
    radius = 0.3 * ball_norm(v, "l1inf")
    for name in BILEVEL:
        exact = BILEVEL[name]
        torch.testing.assert_close(PROJECTIONS[name](v, radius), PROJECTIONS[exact](v, radius), atol=1e-13, rtol=0)
    torch.testing.assert_close(PROJECTIONS["l1inf"](v, radius), v.clamp(-radius, radius), atol=1e-13, rtol=0)
    torch.testing.assert_close(PROJECTIONS["l21"](v, 0.5), v * 0.5 / v.norm())
    # A vector is groups of one entry each: every norm is the l1 norm, and every projection the same.
    vector = drawn(60, seed=4)
    expected = PROJECTIONS["l1"](vector, 5.0)
    assert 0 < (expected == 0).sum() < 60
    for name in PROJECTIONS:
        torch.testing.assert_close(PROJECTIONS[name](vector, 5.0), expected, atol=1e-13, rtol=0)
        torch.testing.assert_close(PROJECTIONS[name](vector[:, None], 5.0), expected[:, None], atol=1e-13, rtol=0)


def test_what_kind_of_zeros_each_leaves():
    v = drawn(64, 16, 3, 3, tails=3)
    for name in PROJECTIONS:
        w = rows_of(PROJECTIONS[name](v, 0.1 * ball_norm(v, name)))
        dead, scattered = (w == 0).all(1), (w == 0) & (w != 0).any(1, keepdim=True)
        assert dead.any(), name
        assert bool(scattered.any()) == (name in ("l1", "bilevel_l11")), name


@every
def test_results_have_no_gradient(name):
    leaf = drawn(3, 4).requires_grad_()
    assert not PROJECTIONS[name](leaf, 0.5).requires_grad and not PROJECTIONS[name](leaf, 1e6).requires_grad


@on_every_device
def test_millions_of_float32_entries(device):
    v = torch.randn(512, 512, 3, 3, generator=torch.Generator().manual_seed(0)).to(device)
    for name, project in PROJECTIONS.items():
        radius = 0.05 * ball_norm(v, name)
        w = project(v, radius)
        assert abs(ball_norm(w, name) - radius) <= 1e-7 * ball_norm(v, name)
        torch.testing.assert_close(w.double(), project(v.double(), radius), atol=2e-6, rtol=0)


HARD = {
    "powers of two": torch.exp2(-torch.arange(900, dtype=torch.float64) % 300).view(30, 30),
    "crowded at the top": 1 - torch.exp2(-(torch.arange(900, dtype=torch.float64) % 60)).view(30, 30),
    "integers": drawn(30, 30).mul(2).round(),
    "one giant": torch.cat([torch.full((1, 30), 1e30, dtype=torch.float64), drawn(29, 30)]),
    "heavy tails": drawn(30, 30, tails=15),
    "tiny": 1e-300 * drawn(30, 30),
}


@every
@pytest.mark.parametrize("what", HARD)
def test_few_passes_even_for_hard_numbers(name, what, monkeypatch):
    passes, above = [], projections._above
    monkeypatch.setattr(projections, "_above", lambda *a: passes.append(1) or len(passes) > 60 or above(*a))
    v = HARD[what]
    for share in (1e-300, 1e-12, 0.3, 1 - 1e-12):
        passes.clear()
        w = PROJECTIONS[name](v, share * ball_norm(v, name))
        assert w.isfinite().all()
        assert abs(ball_norm(w, name) - share * ball_norm(v, name)) <= 1e-13 * ball_norm(v, name)


# What is refused ------------------------------------------------------------------------------------------------------


@every
@pytest.mark.parametrize("radius", [-1, -1e-300, math.nan, math.inf, -math.inf])
def test_impossible_radii(name, radius):
    with pytest.raises(ValueError, match=r"radius=.*at least 0"):
        PROJECTIONS[name](torch.ones(2, 2), radius)


@every
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float16])
def test_entries_that_are_no_numbers(name, value, dtype):
    v = torch.ones(3, 4, dtype=dtype)
    v[1, 2] = value
    for radius in (0.0, 0.5, 100.0):
        with pytest.raises(ValueError, match=f"v holds {value}: finite"):
            PROJECTIONS[name](v, radius)
    with pytest.raises(ValueError, match="v holds"):
        ball_norm(v, name)


def test_a_norm_that_overflows():
    with pytest.raises(ValueError, match="norm overflows"):
        PROJECTIONS["l1"](torch.full((4,), 1e308, dtype=torch.float64), 1.0)


@every
@pytest.mark.parametrize("v", [torch.ones(2, 2, dtype=torch.int64), torch.ones(2, dtype=torch.bool), torch.tensor(1.0),
                               torch.ones(2, 2, dtype=torch.complex64)])  # fmt: skip
def test_impossible_tensors(name, v):
    with pytest.raises(ValueError, match="v of torch.*float tensor"):
        PROJECTIONS[name](v, 1.0)


# The radius for a share of zeros --------------------------------------------------------------------------------------


def zeros_left(tensors: list[torch.Tensor], name: str, radius: float, per_layer: bool) -> float:
    radii = [radius * ball_norm(v, name) if per_layer else radius for v in tensors]
    left = [PROJECTIONS[name](v, r) for v, r in zip(tensors, radii, strict=True)]
    return sum(int((w == 0).sum()) for w in left) / sum(w.numel() for w in left)


@every
@pytest.mark.parametrize("per_layer", [False, True])
@pytest.mark.parametrize("sparsity", [0.3, 0.83, 0.95])
def test_the_largest_radius_that_leaves_enough_zeros(name, per_layer, sparsity):
    tensors = [drawn(40, 5, 3, 3, seed=1), 5 * drawn(30, 40, seed=2), drawn(25, seed=3)]
    radius, reached = radius_for_sparsity(tensors, sparsity, name, per_layer=per_layer)
    assert reached >= sparsity and reached == zeros_left(tensors, name, radius, per_layer)
    most = 1.0 if per_layer else max(ball_norm(v, name) for v in tensors)
    assert 0 < radius < most
    assert zeros_left(tensors, name, radius + 2e-7 * most, per_layer) < sparsity
    if name in ("l1", "bilevel_l11"):
        assert reached < sparsity + 0.002
    else:
        assert reached < sparsity + 45 / 3025, "at most one group more than is needed"


def test_shares_of_zeros_at_the_ends():
    v = drawn(10, 10)
    assert radius_for_sparsity([v], 0.95, "l21") == (0.0, 1.0), "any other radius leaves a group of a tenth"
    assert radius_for_sparsity([v], 1, "l1") == (0.0, 1.0)
    assert radius_for_sparsity([v], 0, "l1") == (ball_norm(v, "l1"), 0.0)
    assert radius_for_sparsity([v], 0, "l21", per_layer=True) == (1.0, 0.0)
    v[:5] = 0
    assert radius_for_sparsity([v], 0.4, "l1inf") == (ball_norm(v, "l1inf"), 0.5)
    assert radius_for_sparsity([torch.zeros(3, 3)], 0.9, "l1") == (0.0, 1.0)


def test_one_radius_for_all_empties_the_weaker_layer_first():
    weak, strong = drawn(20, 20, seed=1), 10 * drawn(20, 20, seed=1)
    common, _ = radius_for_sparsity([weak, strong], 0.5, "l1")
    share, _ = radius_for_sparsity([weak, strong], 0.5, "l1", per_layer=True)
    zeros = [float((PROJECTIONS["l1"](v, common) == 0).double().mean()) for v in (weak, strong)]
    assert zeros[0] < 0.2 and zeros[1] > 0.7, "the same sum is little for the layer with the larger weights"
    equal = [float((PROJECTIONS["l1"](v, share * ball_norm(v, "l1")) == 0).double().mean()) for v in (weak, strong)]
    assert equal[0] == equal[1] == pytest.approx(0.5, abs=0.01)


def test_impossible_searches():
    v = torch.ones(2, 2)
    for sparsity in (-0.1, 1.1, math.nan):
        with pytest.raises(ValueError, match=r"sparsity=.*\[0, 1\]"):
            radius_for_sparsity([v], sparsity, "l1")
    with pytest.raises(ValueError, match="projection='l2': one of l1, "):
        radius_for_sparsity([v], 0.5, "l2")
    with pytest.raises(ValueError, match="projection='l2'"):
        ball_norm(v, "l2")
    for tensors in ([], [torch.zeros(0, 3)]):
        with pytest.raises(ValueError, match="at least one"):
            radius_for_sparsity(tensors, 0.5, "l1")
    with pytest.raises(ValueError, match="v holds nan"):
        radius_for_sparsity([v * math.nan], 0.5, "l1")
