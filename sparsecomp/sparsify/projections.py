"""Projections onto norm balls: the nearest tensor whose norm is at most a radius, with zeros where little was.

A tensor is seen as groups along its first dimension (the filters of a layer); v_i holds all entries of group i. The
norms are sums over groups, and differ in what they take of a group ::

    l1 (which is l1,1):  sum_i ||v_i||_1        l2,1:  sum_i ||v_i||_2        l1,inf:  sum_i max_j |v_ij|

The Euclidean projection onto the ball of radius eta is ``argmin_w ||w - v||_2  subject to  norm(w) <= eta``. Sparse CAE
(Gille et al. 2022) calls its Algorithm 1 the projection onto the l1,1 ball. That is another map, a *bilevel* one: it
projects the norms of the groups, and then each group onto a ball of its own. The l1,1 norm is the l1 norm of all
entries, so the Euclidean projection onto its ball is `project_l1`, and knows no groups.

All come down to soft thresholds: the tau > 0 with ``sum_j max(|v_j| - tau, 0) = eta``. The left side is convex and
piecewise linear in tau, so Newton's method ends on the very root after a few passes, without sorting (Michelot 1986;
Condat 2016). For every set A of k entries, at the root ::

    eta >= sum_A (|v_j| - tau),   that is   tau >= (sum_A |v_j| - eta) / k

so no step goes too far, whatever set it took: thresholds only grow, and the sets of entries above them only shrink.

The released code of the paper does other things: its l1,inf empties input taps instead of filters and changes weights
that are inside the ball already, and its l2,1 takes the l1 norms of the groups.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch

from sparsecomp.checks import in_range, one_of, refuse, require


@torch.no_grad()
def project_l1(v: torch.Tensor, radius: float) -> torch.Tensor:
    """Euclidean projection onto the l1 ball, which is the l1,1 ball: ``w = sign(v) max(|v| - tau, 0)``.

    Parameters
    ----------
    v : float tensor (G, ...)
        Groups along the first dimension; finite; any strides. Half precision is computed in float32.
    radius : float
        eta, finite and at least 0.

    Returns
    -------
    torch.Tensor
        A new tensor as ``v`` in shape, dtype, device and strides. Equal to ``v`` where that is in the ball; else its
        norm is the radius up to rounding: within ``eps norm(v)``, eps of the dtype, in float64 ``1e-13 norm(v)``.

    Raises
    ------
    ValueError
        The radius is negative or not finite; ``v`` is not floating point, has no dimension, or is not finite.

    Notes
    -----
    The other projections share all this. Source: Condat 2016.
    """
    norms = _group_norms(v, radius, 1)
    if norms.sum() <= radius:
        return v.clone()
    return _soft(v, _threshold(_magnitudes(v).reshape(1, -1), radius))


@torch.no_grad()
def project_bilevel_l11(v: torch.Tensor, radius: float) -> torch.Tensor:
    """Algorithm 1 of Sparse CAE: ``t = P_l1((||v_i||_1)_i; eta)``, then ``w_i = P_l1(v_i; t_i)``.

    Its result is in the l1 ball, but it is not the nearest point of it: `project_l1` is never further from ``v``. A
    group whose norm is below the first threshold goes as a whole. Arguments and errors as in `project_l1`. Source:
    Gille et al. 2022, Algorithm 1; Barlaud et al. 2024.
    """
    norms = _group_norms(v, radius, 1)
    if norms.sum() <= radius:
        return v.clone()
    return _soft(v, _threshold(_magnitudes(v), _shrunk(norms, radius)))


@torch.no_grad()
def project_l21(v: torch.Tensor, radius: float) -> torch.Tensor:
    """Euclidean projection onto the l2,1 ball, group soft thresholding: ``w_i = v_i max(1 - tau / ||v_i||_2, 0)``.

    A group goes as a whole or keeps its direction: no single zeros. Arguments and errors as in `project_l1`. Source:
    Yuan & Lin 2006.
    """
    norms = _group_norms(v, radius, 2)
    if norms.sum() <= radius:
        return v.clone()
    work = _working(v)
    share = _shrunk(norms, radius) / norms.clamp(min=torch.finfo(norms.dtype).tiny)  # of an empty group: 0, not 0 / 0
    return (work * _per_group(share, work)).to(v.dtype)


@torch.no_grad()
def project_l1inf(v: torch.Tensor, radius: float) -> torch.Tensor:
    """Euclidean projection onto the l1,inf ball: every group is clipped, ``w_ij = sign(v_ij) min(|v_ij|, mu_i)``.

    Clipping takes the same sum from every group that stays; those that have no more than that go as a whole ::

        sum_j max(|v_ij| - mu_i, 0) = theta,   or   mu_i = 0 and ||v_i||_1 <= theta;        sum_i mu_i = eta

    Newton's method for theta and all mu_i at once, where m_i is the mean of the k_i entries above the last mu_i ::

        theta = (sum_i m_i - eta) / sum_i 1 / k_i,    mu_i = m_i - theta / k_i

    As for tau, no such theta is beyond the root: it only grows, and a group with ||v_i||_1 <= theta is gone for good.
    Arguments and errors as in `project_l1`. Source: conditions Quattoni et al. 2009; Newton's method Chu et al. 2020.
    """
    norms = _group_norms(v, radius, math.inf)
    if norms.sum() <= radius:
        return v.clone()
    rows = _magnitudes(v)
    left, totals, theta = torch.arange(len(rows), device=v.device), rows.sum(1, dtype=torch.float64), 0.0
    mu = _shrunk(norms, radius)  # the bilevel answer sums to the radius, and is a good start
    while radius > 0:
        means, counts = _above(rows, mu[left])
        grown = float((means.sum() - radius) / (1 / counts).sum())
        if not grown > theta:
            break
        theta, stays = grown, totals > grown
        mu[left] = (means - theta / counts).where(stays, 0.0)
        if not stays.all():
            left, rows, totals = left[stays], rows[stays], totals[stays]
    return _clip(v, mu)


@torch.no_grad()
def project_bilevel_l1inf(v: torch.Tensor, radius: float) -> torch.Tensor:
    """The bilevel map beside `project_l1inf`: ``t = P_l1((max_j |v_ij|)_i; eta)``, then group i is clipped at t_i.

    In the l1,inf ball, never nearer to ``v`` than `project_l1inf`, in linear time: one pass for the largest entries and
    one to clip. Arguments and errors as in `project_l1`. Source: Barlaud et al. 2024.
    """
    norms = _group_norms(v, radius, math.inf)
    if norms.sum() <= radius:
        return v.clone()
    return _clip(v, _shrunk(norms, radius))


PROJECTIONS: dict[str, Callable[[torch.Tensor, float], torch.Tensor]] = {
    "l1": project_l1,
    "bilevel_l11": project_bilevel_l11,
    "l1inf": project_l1inf,
    "l21": project_l21,
    "bilevel_l1inf": project_bilevel_l1inf,
}
ORDERS = {"l1": 1, "bilevel_l11": 1, "l1inf": math.inf, "l21": 2, "bilevel_l1inf": math.inf}  # the p of a group's norm


@torch.no_grad()
def ball_norm(v: torch.Tensor, projection: str) -> float:
    """The norm that a projection of `PROJECTIONS` bounds, summed in float64. Raises as `project_l1` does."""
    return float(_group_norms(v, 0.0, _known(ORDERS, projection)).sum())


@torch.no_grad()
def radius_for_sparsity(
    tensors: Sequence[torch.Tensor], sparsity: float, projection: str, *, per_layer: bool = False
) -> tuple[float, float]:
    """The largest radius whose projections leave at least a share of zeros, by bisection.

    Parameters
    ----------
    tensors : sequence of float tensors
        Each is projected by itself; zeros are counted over all entries of all.
    sparsity : float
        Share of zeros that is asked for, in [0, 1].
    projection : str
        A name of `PROJECTIONS`.
    per_layer : bool
        False: one radius for every tensor. True: what is returned is a share s in [0, 1], and the radius of a tensor is
        s times its own norm (`ball_norm`).

    Returns
    -------
    radius, reached : float
        The radius (or share) and the share of zeros that it leaves, at least ``sparsity``. Zeros become fewer in steps
        as the radius grows, an entry a step for l1 and a group for l2,1 and l1,inf: no radius that is larger by more
        than 1e-7 of the largest norm (or share) leaves as many as were asked for. A radius of that norm (a share of 1)
        projects nothing; it is returned where there are enough zeros without.

    Raises
    ------
    ValueError
        No entries, a sparsity outside [0, 1], an unknown projection; and as `project_l1` does.
    """
    in_range("sparsity", sparsity, 0, 1)
    project, norms = _known(PROJECTIONS, projection), [ball_norm(v, projection) for v in tensors]
    total = sum(v.numel() for v in tensors)
    require(total > 0, "tensors", "of at least 1 entry in all", total)

    def zeros(radius: float) -> float:
        radii = [radius * norm if per_layer else radius for norm in norms]
        return sum(int((project(v, r) == 0).sum()) for v, r in zip(tensors, radii, strict=True)) / total

    most = 1.0 if per_layer else max(norms)
    low, reached, high = 0.0, 1.0, most
    if (as_they_are := zeros(most)) >= sparsity:
        return most, as_they_are
    while high - low > 1e-7 * most:
        middle = (low + high) / 2
        share = zeros(middle)
        low, reached, high = (middle, share, high) if share >= sparsity else (low, reached, middle)
    return low, reached


# What they share ------------------------------------------------------------------------------------------------------


def _known(table: dict, projection: str):
    one_of("projection", projection, table)
    return table[projection]


def _working(v: torch.Tensor) -> torch.Tensor:
    return v.float() if v.dtype.itemsize < 4 else v


def _magnitudes(v: torch.Tensor) -> torch.Tensor:
    """``|v|`` with one row a group, ``(G, N)``."""
    return _working(v).abs().unsqueeze(-1).flatten(1)


def _group_norms(v: torch.Tensor, radius: float, order: float) -> torch.Tensor:
    """The norm of every group in float64, ``(G,)``, and every check of the arguments on the way."""
    in_range("radius", radius, 0)
    legal = v.is_floating_point() and v.dim() > 0
    require(legal, "v", "a float tensor with a dimension", (v.dtype, tuple(v.shape)))
    if not v.numel():
        return torch.zeros(len(v), dtype=torch.float64, device=v.device)
    norms = torch.linalg.vector_norm(_working(v).unsqueeze(-1).flatten(1), order, dim=1, dtype=torch.float64)
    if not norms.sum().isfinite():
        wrong = v[~v.isfinite()]
        held = float(wrong[0]) if len(wrong) else "entries whose norm overflows"
        refuse("v", "finite, and its norm too", held)
    return norms


def _above(rows: torch.Tensor, tau: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and number of the entries of each row above its threshold, in float64.

    Where there are none (a threshold rounded onto the largest entry), the threshold itself counts as one.
    """
    limit = tau.to(rows.dtype)[:, None]
    counts = (rows > limit).sum(1, dtype=torch.int32).clamp(min=1).double()
    return limit[:, 0] + (rows - limit).clamp_(min=0).sum(1, dtype=torch.float64) / counts, counts


def _threshold(rows: torch.Tensor, radius: torch.Tensor | float) -> torch.Tensor:
    """The tau of every row of magnitudes ``(G, N)``, whose sum is at least its radius ``(G,)``; float64 ``(G,)``."""
    radius = torch.as_tensor(radius, dtype=torch.float64, device=rows.device).expand(len(rows))
    # Every 16th entry gives a guess that saves half of the passes; a radius of 0 takes everything, and needs none.
    guess = _threshold(rows[:, ::16].contiguous(), radius / 16) if rows.shape[1] >= 1024 else 0.0
    tau, last = torch.where(radius > 0, guess, rows.amax(1).double()), None
    while True:
        means, counts = _above(rows, tau)
        bound = means - radius / counts
        tau = bound if last is None else torch.maximum(tau, bound)  # a guess can be too large, a bound only by rounding
        if last is not None and torch.equal(counts, last):
            return tau
        last = counts


def _shrunk(norms: torch.Tensor, radius: float) -> torch.Tensor:
    """The norms of groups projected onto the l1 ball."""
    return (norms - _threshold(norms[None], radius)).clamp(min=0)


def _per_group(values: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    return values.to(like.dtype).view(-1, *[1] * (like.dim() - 1))


def _clip(v: torch.Tensor, limits: torch.Tensor) -> torch.Tensor:
    work = _working(v)
    limits = _per_group(limits, work)
    return work.clamp(-limits, limits).to(v.dtype)


def _soft(v: torch.Tensor, tau: torch.Tensor) -> torch.Tensor:
    work = _working(v)
    tau = _per_group(tau, work)
    return (work - work.clamp(-tau, tau)).to(v.dtype)
