# ---
# jupyter:
#   jupytext:
#     formats: py:percent
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Projections onto norm balls for sparse networks
#
# This chapter shows how a {term}`projection` onto a {term}`norm ball` sets weights of a network to zero, and why some
# balls remove single weights while others remove whole filters.
#
# **You will learn**
#
# - how to project a vector onto the $\ell_1$ ball, and why the answer is {term}`soft thresholding`;
# - why the Euclidean projection onto the $\ell_{1,1}$ ball ignores filters, and what the algorithm of Sparse CAE
#   computes instead;
# - how the $\ell_{2,1}$ and $\ell_{1,\infty}$ balls remove whole filters;
# - which weights each projection keeps, if we use it only to choose a mask.
#
# **You need** the compression primer, convolution layers in PyTorch, and
# {term}`Lagrange multipliers <Lagrange multiplier>`. No GPU and no data set. **Run it:**
# `python -m reproduce run 20_projections`, less than one minute, no download.

# %% tags=["parameters"]
preset = "smoke"  # no effect: this chapter trains nothing, and its speed table is a record
seed = 0  # which random layer is drawn; a whole number from 0 to 99
sparsity = 0.83  # share of zeros in the comparisons, as in the paper's Table I; between 0.3 and 0.95

# %% tags=["hide-input"]
import numpy as np
import torch
from myst_nb import glue

from reproduce import bench, drawings, plot, widgets
from reproduce.records import Records
from sparsecomp.checks import in_range, one_of, whole
from sparsecomp.sparsify.magnitude import keep_largest
from sparsecomp.sparsify.projections import PROJECTIONS, ball_norm, radius_for_sparsity
from sparsecomp.training.configs import PRESETS

one_of("preset", preset, PRESETS)
whole("seed", seed, 0, 99)
in_range("sparsity", sparsity, 0.3, 0.95)
at_defaults = (seed, sparsity) == (0, 0.83)  # the text is checked at these values
names = bench.PROJECTION_NAMES
records = Records(preset="laptop")
v = drawings.seeded_layer(seed).double()  # 48 filters of 54 weights, one row each; no training made them

# %% [markdown]
# ## Training under a constraint on the weights
#
# Sparse CAE {cite:p}`sparse_cae` is a convolutional {term}`autoencoder` that compresses pictures. Its encoder may run
# on a satellite or in a camera, where memory and energy are scarce. The authors therefore want an encoder whose weights
# are mostly zero. Their equation (1) limits a norm of the weights during training:
#
# $$ \begin{aligned}
#    \min_W \;\; & \lambda\, \mathcal{H}(Z) + \psi(\hat X - X) \\
#    \text{subject to} \;\; & \lVert W \rVert_1^1 \le \eta .
#    \end{aligned} $$ (eq-cae-constraint)
#
# Here $W$ holds the weights of the autoencoder, $X$ is a picture and $\hat X$ its {term}`reconstruction`. The function
# $\psi$ is the Huber loss, $\mathcal{H}(Z)$ is the {term}`entropy` of the {term}`latent` $Z$, and $\lambda$ weights the
# rate. The symbol $\lVert W \rVert_1^1$ is not explained in the paper. We read it as the $\ell_{1,1}$ norm, which we
# define below. The number $\eta$ is called the *radius*: a smaller radius gives more zeros.
#
# In practice the paper first trains without the constraint {eq}`eq-cae-constraint`, and then moves the trained weights
# to a point that satisfies it. This move is the subject of the chapter; the next chapter trains the encoder. The set of
# all weights whose norm is at most $\eta$ is a **norm ball**. The **Euclidean projection** of $v$ onto it is the
# nearest point of the ball:
#
# $$ \begin{aligned}
#    P(v; \eta) = \arg\min_w \; & \tfrac12 \lVert w - v \rVert_2^2 \\
#    \text{subject to} \;\; & \lVert w \rVert \le \eta .
#    \end{aligned} $$ (eq-euclidean)
#
# Here $v$ and $w$ are the weights of a layer before and after the projection. The distance is always Euclidean,
# $\lVert \cdot \rVert_2$. The norm of the ball, $\lVert \cdot \rVert$, is what we choose. There is only one nearest
# point: if there were two, their midpoint would be in the ball, because a ball is convex, and it would be nearer.
#
# If $v$ is inside the ball, the projection changes nothing. If $v$ is outside, $w$ lies on the surface. Why should a
# point on the surface contain zeros? The next figure compares two balls in the plane.

# %% tags=["hide-input"] mystnb={"figure": {"caption": "**The corners of the ℓ1 ball attract points, and a corner has a zero coordinate.** Axes: two weights. Each line joins a point outside the unit ball to its Euclidean projection; orange projections have a zero. <small>60 random points, drawn by this page.</small>", "name": "fig-corners"}, "image": {"alt": "Left: a diamond; about half of 60 points around it are projected onto its four corners. Right: a circle; every point moves straight towards the centre and none lands on an axis."}}
points = torch.randn(60, 2, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
points *= (1.6 + torch.linspace(0, 0.8, 60)[:, None]) / points.norm(dim=1, keepdim=True)
on_diamond = torch.stack([PROJECTIONS["l1"](p, 1.0) for p in points])
on_circle = points / points.norm(dim=1, keepdim=True)
turn = torch.linspace(0, 2 * torch.pi, 200)
circle = torch.stack([turn.cos(), turn.sin()])
figure, panels = plot.panels(1, 2, size=(8.4, 4.2), sharey=True)
for axes, name, landed, order in zip(panels, ("ℓ1", "ℓ2"), (on_diamond, on_circle), (1, 2), strict=True):
    axes.fill(*(circle / circle.norm(order, dim=0)), color="#dddddd")
    zero = (landed == 0).any(1)
    for start, end, hit in zip(points, landed, zero, strict=True):
        axes.plot(*torch.stack([start, end]).T, color="#D55E00" if hit else "#0072B2", lw=0.6)
    axes.plot(*landed[~zero].T, "o", ms=4, color="#0072B2")
    axes.plot(*landed[zero].T, "o", ms=6, color="#D55E00")
    axes.set(title=f"{name} ball: {100 * zero.double().mean():.0f} % get a zero", xlabel="$v_1$", aspect="equal")
panels[0].set_ylabel("$v_2$")
figure

# %% [markdown]
# Look at the orange lines in {numref}`fig-corners`. A wide region of the plane is projected onto each corner of the
# diamond, so a random point often lands there. The circle has no corners and creates no zeros. The same holds for
# thousands of weights: a ball creates the zeros of its corners and edges. So the choice of the ball decides which
# zeros appear.
#
# ## The $\ell_1$ ball: soft thresholding
#
# The $\ell_1$ norm is the sum of magnitudes, $\lVert v \rVert_1 = \sum_j |v_j|$. We solve {eq}`eq-euclidean` for this
# norm when $v$ is outside the ball, and $\eta > 0$. Each $w_j$ has the sign of $v_j$ or is zero, since the opposite
# sign would be further away. So it is enough to find the magnitudes $|w_j| \ge 0$. The Lagrangian is
#
# $$ \begin{aligned}
#    \tfrac12 \sum_j \bigl(|w_j| - |v_j|\bigr)^2 & + \tau \Bigl(\sum_j |w_j| - \eta\Bigr) \\
#    & - \sum_j \beta_j |w_j| ,
#    \end{aligned} $$
#
# where $\tau \ge 0$ is the multiplier of the constraint and $\beta_j \ge 0$ is that of $|w_j| \ge 0$. The problem is
# convex, so the {term}`KKT conditions` (stationarity, and $\beta_j |w_j| = 0$) describe exactly its solution:
#
# - Stationarity gives $|w_j| = |v_j| - \tau + \beta_j$.
# - If $|w_j| > 0$, then $\beta_j = 0$ and $|w_j| = |v_j| - \tau$. This requires $|v_j| > \tau$.
# - If $|w_j| = 0$, then $\beta_j = \tau - |v_j| \ge 0$. This requires $|v_j| \le \tau$.
#
# Together, every weight is moved towards zero by the same **threshold** $\tau$, and stops at zero:
#
# $$ \begin{aligned}
#    w_j &= \operatorname{sign}(v_j) \max(|v_j| - \tau, 0), \\
#    g(\tau) &:= \sum_j \max(|v_j| - \tau, 0) = \eta .
#    \end{aligned} $$ (eq-soft-threshold)
#
# The first formula is called **soft thresholding**. The second one determines $\tau$: the result must lie on the
# surface. **A solution exists and is unique.** The function $g$ is continuous. It falls from
# $g(0) = \lVert v \rVert_1 > \eta$ to $g(\max_j |v_j|) = 0 < \eta$, so it takes the value $\eta$ somewhere between. It
# falls strictly until it reaches zero, so it takes this value only once.
#
# **How to compute it.** Take any set $A$ of $k$ weights. All terms of $g$ are at least zero, and at least
# $|v_j| - \tau$. Hence $\eta = g(\tau) \ge \sum_{j \in A} (|v_j| - \tau)$, which gives a lower bound for the threshold:
#
# $$ \tau \;\ge\; \frac1k \Bigl(\sum_{j \in A} |v_j| - \eta\Bigr) . $$ (eq-threshold-bound)
#
# The bound is an equality if $A$ is the set of weights that stay nonzero, and these are the largest ones. So $\tau$ is
# the largest of the bounds for the $k$ largest weights, $k = 1, 2, \dots$ Sorting gives all of them at once. The
# function below does this for every row of a matrix, because we need it for filters later.


# %%
def threshold(magnitudes, eta):
    """The tau of each row, at least 0; eta is a number or has one entry per row."""
    largest = magnitudes.sort(descending=True).values
    counts = torch.arange(1, magnitudes.shape[-1] + 1)
    bounds = (largest.cumsum(-1) - eta) / counts  # column k: only the k largest stay
    return bounds.amax(-1, keepdim=True).clamp(min=0)  # 0 if the row is inside its ball


def soft(v, tau):
    return v.sign() * (v.abs() - tau).clamp(min=0)


def l1_ball(v, eta):
    return soft(v, threshold(v.abs().flatten(), eta))


print(l1_ball(torch.tensor([3.0, 2.0, -2.0, 1.0]), 4.0))

# %% [markdown]
# ### Newton's method needs no sorting
#
# Sorting a layer with millions of weights takes longer than necessary. Newton's method on $g(\tau) = \eta$ starts at
# $\tau = 0$. Let $A$ be the set of the $k$ weights above the current threshold. The slope of $g$ there is $-k$, and the
# Newton step leads exactly to the bound {eq}`eq-threshold-bound` of this set. A bound is never larger than the
# solution, so no step goes too far. Since $g$ is piecewise linear, the method ends after finitely many steps on the
# exact solution {cite:p}`michelot,condat`. The next cell does this for a random layer, and {numref}`fig-newton` draws
# the steps.

# %%
magnitudes, eta = v.abs().flatten(), 0.12 * float(v.abs().sum())
taus = [0.0]
while True:
    active = magnitudes > taus[-1]
    bound = float((magnitudes[active].sum() - eta) / active.sum())
    print(f"{int(active.sum()):5,} weights above tau = {taus[-1]:.6f}")
    if bound <= taus[-1]:
        break
    taus.append(bound)
newton = soft(v, taus[-1])

# %% tags=["remove-cell"]
assert l1_ball(torch.tensor([3.0, -1.0, 0.5]), 2.0).tolist() == [2, 0, 0]
for share in (0.0, 0.01, 0.1, 0.5, 2.0):
    radius = share * ball_norm(v, "l1")
    assert torch.allclose(l1_ball(v, radius), PROJECTIONS["l1"](v, radius), atol=1e-12)
assert torch.allclose(newton, PROJECTIONS["l1"](v, eta), atol=1e-12) and len(taus) < 20
glue("newton-steps", f"{len(taus) - 1}", display=False)
glue("weights", f"{v.numel():,}", display=False)

# %% tags=["hide-input"] mystnb={"figure": {"caption": "**Newton's method approaches the threshold from the left and never passes it.** Horizontal axis: threshold τ. Vertical axis: norm g(τ) that is left after soft thresholding. The dashed line is the radius η; each orange line is the tangent of one step. There are {glue:text}`newton-steps` steps; the last ones are too short to be seen. <small>One random layer of 48 × 54 weights, drawn by this page.</small>", "name": "fig-newton"}, "image": {"alt": "A falling convex curve g of tau. Orange tangents start on the curve and end on a dashed horizontal line; each end is further right, up to the crossing of curve and line."}}
figure, axes = plot.panels(size=(7.2, 3.8))
grid = torch.linspace(0, 1.6 * taus[-1], 200, dtype=torch.float64)
axes.plot(grid, (magnitudes - grid[:, None]).clamp(min=0).sum(1), color="#0072B2", label="g(τ)")
axes.axhline(eta, color="#777777", ls="--", label="radius η")
for start, end in zip(taus, taus[1:], strict=False):
    left_norm = float((magnitudes - start).clamp(min=0).sum())
    axes.plot([start, end], [left_norm, eta], color="#D55E00", lw=1)
    axes.plot(start, left_norm, "o", ms=4, color="#D55E00")
axes.plot(taus[-1], eta, "o", ms=8, mfc="none", color="#D55E00", label="solution")
axes.set(xlabel="threshold τ", ylabel="g(τ), the norm that is left", ylim=(0, None))
axes.legend(frameon=False)
figure

# %% [markdown]
# The curve is convex, so each tangent lies below it and meets the dashed line to the left of the solution. Here
# {glue:text}`newton-steps` steps suffice for {glue:text}`weights` weights. The cell prints one line more: the last step
# leaves the same weights above the threshold as before, so the threshold no longer changes and the loop ends. A step
# costs one sum and one count. This is how the library finds the threshold of every row:
#
# ```{literalinclude} ../sparsecomp/sparsify/projections.py
# :pyobject: _threshold
# :language: python
# ```
#
# It starts from a guess, the threshold of every 16th weight. The guess can be larger than the solution. This is safe:
# the bound {eq}`eq-threshold-bound` holds for every set of weights, so the first step from the guess leads to a point
# at most as large as the solution, whichever weights are above the guess. In the picture: $g$ is convex, so a tangent
# at a point to the right of the solution also meets the dashed line to its left. From there all steps go to the right.
#
# The projection itself is then short:
#
# ```{literalinclude} ../sparsecomp/sparsify/projections.py
# :pyobject: project_l1
# :language: python
# ```
#
# ## Filters, group norms and structured sparsity
#
# A convolution layer computes its output channels with filters. A **filter** is the group of all weights that produce
# one output channel. In PyTorch, filter $i$ is `weight[i]`. We flatten it to a vector $v_i$ with entries $v_{ij}$, so
# that a layer becomes a matrix with one row per filter.
#
# A single zero inside a filter can save memory, but an ordinary convolution still multiplies by it. A filter that is
# zero as a whole can be removed with all its multiplications. We call such a filter *dead*, and zeros that come in
# whole filters **structured sparsity**. To obtain them, one uses norms that are sums over filters:
#
# $$ \begin{aligned}
#    \lVert v \rVert_{1,1} &= \sum_i \lVert v_i \rVert_1, \\
#    \lVert v \rVert_{2,1} &= \sum_i \lVert v_i \rVert_2, \\
#    \lVert v \rVert_{1,\infty} &= \sum_i \max_j |v_{ij}| .
#    \end{aligned} $$ (eq-norms)
#
# The norms {eq}`eq-norms` differ in what they take within a filter: $\ell_1$, $\ell_2$, or the largest magnitude.
#
# **The $\ell_{1,1}$ ball is the $\ell_1$ ball.** By definition $\lVert v \rVert_{1,1} = \sum_i \sum_j |v_{ij}|$. This
# is the $\ell_1$ norm of all weights of the layer, in whatever way we group them. Equal norms have equal balls, and
# equal balls have equal projections. So the Euclidean projection onto the $\ell_{1,1}$ ball is soft thresholding
# {eq}`eq-soft-threshold` with one $\tau$ for all weights. It cannot prefer whole filters, because it does not
# depend on the grouping.
#
# The next figure shows all balls of this chapter, for three weights in two filters, $\{x_1, x_2\}$ and $\{x_3\}$. Which
# zeros does each of them create? Two panels show *bilevel* maps, which the following sections explain.

# %% tags=["hide-input"] mystnb={"figure": {"caption": "**The ball decides which zeros appear: single weights, whole filters, or weights of equal magnitude.** Axes: three weights, of which the first two form a filter. Dots: where 400 random points at distance 2.5 land on the unit ball. Orange: a whole filter is zero; blue: one weight of the first filter is zero. <small>Random points, drawn by this page.</small>", "name": "fig-balls"}, "image": {"alt": "Five unit balls in three dimensions. The two l1 balls are octahedra with blue and orange dots, the l2,1 ball is a double cone with a circular base, the two l1,inf balls are double pyramids with a square base; the last three have orange and grey dots only."}}
drawings.balls(seed)

# %% tags=["remove-cell"]
start = torch.randn(400, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
share, alone = {}, {}
for name in names:  # of the figure's points: how many lose a filter, and how many lose x3, which is one weight
    landed = np.array([drawings.in_filters(name, 2.5 * point / point.norm()) for point in start])
    pair, single = (landed[:, :2] == 0).all(1), landed[:, 2] == 0
    share[name], alone[name] = 100 * (pair | single).mean(), 100 * single.mean()
    glue(f"lost-{name}", f"{share[name]:.0f} %", display=False)
glue("alone-l1", f"{alone['l1']:.0f} %", display=False)
assert not at_defaults or share["bilevel_l11"] > share["l1"] > share["l1inf"] and alone["l1"] > share["l1"] / 2

# %% [markdown]
# Every ball in {numref}`fig-balls` is a double cone. Its base is the unit ball of the first filter: a diamond, a circle
# or a square. Compare the panels:
#
# - $\ell_1$ has edges for single weights and for filters alike, so both kinds of zeros appear.
# - Bilevel $\ell_{1,1}$, the paper's Algorithm 1, ends on the same octahedron at other points. A whole filter is zero
#   more often ({glue:text}`lost-bilevel_l11` of the points against {glue:text}`lost-l1`).
# - $\ell_{2,1}$ {cite:p}`group_lasso` has a corner or an edge only where a filter is zero. There are no blue dots.
# - $\ell_{1,\infty}$ has further edges where $|x_1| = |x_2|$. They set weights equal, not to zero {cite:p}`quattoni`.
#   Its bilevel version ends on the same ball at other points.
#
# Why does $\ell_1$ lose a filter more often ({glue:text}`lost-l1`) than $\ell_{1,\infty}$ ({glue:text}`lost-l1inf`),
# although it knows no filters? There are two reasons. The filter $\{x_3\}$ has one weight, so it is a whole filter
# whenever this single weight is zero; that is the case for {glue:text}`alone-l1` of the points of $\ell_1$. And all
# balls have the same radius, but a radius of 1 is a stricter limit for $\ell_1$ than for $\ell_{1,\infty}$, whose ball
# is larger. So compare the kinds of zeros between the panels, and not the percentages of different balls. The
# experiment below compares the balls at equal sparsity, with filters of 54 weights.
#
# ## Algorithm 1 of Sparse CAE: bilevel $\ell_{1,1}$
#
# The paper wants structured zeros from the $\ell_{1,1}$ norm. Its Algorithm 1 works on two levels. It first projects
# the vector of filter norms, and then projects each filter onto an $\ell_1$ ball of its own radius $t_i$:
#
# $$ \begin{aligned}
#    t &= P_{\ell_1}\bigl((\lVert v_1 \rVert_1, \dots, \lVert v_d \rVert_1); \eta\bigr), \\
#    w_i &= P_{\ell_1}(v_i; t_i) .
#    \end{aligned} $$ (eq-algorithm1)
#
# Here $d$ is the number of filters. The first level takes the same amount $\tau_1$ from every filter norm. A filter
# with $\lVert v_i \rVert_1 \le \tau_1$ gets $t_i = 0$ and dies. The second level then thresholds each remaining filter
# until its norm is $t_i$. The result satisfies the constraint, since
# $\sum_i \lVert w_i \rVert_1 \le \sum_i t_i \le \eta$. In code, both levels are the function that we already have:


# %%
def bilevel_l11(v, eta):
    norms = v.abs().sum(1, keepdim=True)  # one row per filter
    t = l1_ball(norms, eta)
    return soft(v, threshold(v.abs(), t))


small = torch.tensor([[3.0, 3.0], [4.0, 0.0]], dtype=torch.float64)  # two filters of two weights
for title, project in (("Euclidean, l1", l1_ball), ("Algorithm 1", bilevel_l11)):
    w = project(small, 4.0)
    print(f"{title:15s}{w.tolist()}, distance {(w - small).norm():.3f}")

# %% [markdown]
# Both results have the norm 4. The Euclidean projection takes 2 from each of the three nonzero weights, so the first
# filter loses 4 and the second loses 2. Algorithm 1 takes 3 from each *filter*. Its result is further away. Hence
# Algorithm 1 is not the Euclidean projection onto the $\ell_{1,1}$ ball, although the paper calls it a projection onto
# this ball.
#
# What does it minimise? The paper's equation (2) gives a convex criterion for it:
#
# $$ \begin{aligned}
#    \min_{t, w}\;\; & \sum_i \Bigl(\sum_j |v_{ij}| - t_i\Bigr)^2 \\
#    & + \varepsilon \sum_{i,j} (v_{ij} - w_{ij})^2 \\
#    \text{subject to} \;\; & \sum_i t_i \le \eta, \;\; \sum_j |w_{ij}| \le t_i .
#    \end{aligned} $$ (eq-bilevel)
#
# Here $i$ runs over the filters and $j$ over the weights of a filter, and $\varepsilon > 0$ weights the second sum
# against the first. The first sum keeps the filter norms close to their old values, the second one keeps the weights
# close. The paper does not say how large $\varepsilon$ is. Two limits are easy:
#
# - For $\varepsilon \to 0$ the first sum decides alone. It is the squared distance between the norms and $t$, so $t$ is
#   the $\ell_1$ projection of the norms. Given $t$, the second sum is least when each $w_i$ is the projection of $v_i$
#   onto its own ball. This is Algorithm 1, {eq}`eq-algorithm1`.
# - For $\varepsilon \to \infty$ the second sum decides alone. This is the Euclidean projection, {eq}`eq-euclidean`.
#
# With two filters, $t = (t_1, 4 - t_1)$ has one free number. We can try all its values:

# %%
t1 = torch.linspace(0, 4, 401, dtype=torch.float64)
t = torch.stack([t1, 4 - t1], 1)  # 401 candidates; the best one uses the whole radius
w = soft(small, threshold(small.abs(), t[..., None]))  # the best weights for each candidate
first = ((small.abs().sum(1) - t) ** 2).sum(1)
second = ((small - w) ** 2).sum((1, 2))
limits = {}
for epsilon in (1000, 10, 1, 0.1, 0.001):
    best = int((first + epsilon * second).argmin())
    limits[epsilon] = w[best]
    print(f"epsilon {epsilon:7}: t = ({t[best, 0]:.2f}, {t[best, 1]:.2f}), distance {second[best].sqrt():.3f}")

# %% tags=["remove-cell"]
assert l1_ball(small, 4.0).tolist() == [[1, 1], [2, 0]] and bilevel_l11(small, 4.0).tolist() == [[1.5, 1.5], [1, 0]]
assert torch.allclose(limits[1000], l1_ball(small, 4.0), atol=0.01)
assert torch.allclose(limits[0.001], bilevel_l11(small, 4.0), atol=0.01)

# %% [markdown]
# The radii move from $(2, 2)$, the Euclidean projection, to $(3, 1)$, Algorithm 1. A later paper with one of the
# authors calls such maps **bilevel** {cite:p}`bilevel`, and this book uses that name. This is the library's version:
#
# ```{literalinclude} ../sparsecomp/sparsify/projections.py
# :pyobject: project_bilevel_l11
# :language: python
# ```
#
# ## The $\ell_{2,1}$ ball: group soft thresholding
#
# Suppose that we know the norm $s_i = \lVert w_i \rVert_2$ of each filter after the projection. The nearest vector of
# norm $s_i$ to $v_i$ has the same direction as $v_i$, and its distance is $\bigl| \lVert v_i \rVert_2 - s_i \bigr|$.
# It remains to choose the $s_i \ge 0$ with $\sum_i s_i \le \eta$ that minimise $\sum_i (\lVert v_i \rVert_2 - s_i)^2$.
# This is again an $\ell_1$ projection, now of the filter norms:
#
# $$ \begin{aligned}
#    w_i &= v_i \max\Bigl(1 - \frac{\tau}{\lVert v_i \rVert_2}, 0\Bigr), \\
#    \eta &= \sum_i \max(\lVert v_i \rVert_2 - \tau, 0) .
#    \end{aligned} $$ (eq-l21)
#
# A filter with norm at most $\tau$ dies. Any other filter becomes shorter and keeps its direction, so none of its
# nonzero weights becomes zero.
#
# ## The $\ell_{1,\infty}$ ball: clipping
#
# Let $\mu_i = \max_j |w_{ij}|$ be the largest magnitude of filter $i$ after the projection. Once $\mu_i$ is known, the
# nearest weights are found by clipping: $w_{ij} = \operatorname{sign}(v_{ij}) \min(|v_{ij}|, \mu_i)$. The problem in
# the $\mu_i$ is
#
# $$ \begin{aligned}
#    \min_{\mu \ge 0}\;\; & \tfrac12 \sum_{i,j} \max(|v_{ij}| - \mu_i, 0)^2 \\
#    \text{subject to} \;\; & \sum_i \mu_i \le \eta .
#    \end{aligned} $$
#
# The derivative of the objective with respect to $\mu_i$ is $-\sum_j \max(|v_{ij}| - \mu_i, 0)$, the negative sum of
# what clipping takes from the filter. With a multiplier $\theta \ge 0$ for the constraint, the KKT conditions are
#
# $$ \begin{aligned}
#    & \sum_j \max(|v_{ij}| - \mu_i, 0) = \theta && \text{if } \lVert v_i \rVert_1 > \theta, \\
#    & \mu_i = 0 && \text{if } \lVert v_i \rVert_1 \le \theta, \\
#    & \sum_i \mu_i = \eta .
#    \end{aligned} $$ (eq-l1inf)
#
# (In the chapters on COIN and L0onie, $\theta$ has another meaning: the weights of the network.) By {eq}`eq-l1inf`,
# every filter that stays loses the same sum $\theta$, and a filter whose whole $\ell_1$ norm is at most $\theta$ dies.
# **Why $\mu_i$ and $\theta$ exist.** For a given $\theta$, the first condition is equation {eq}`eq-soft-threshold`
# again, with $\mu_i$ as the threshold and $\theta$ as the radius. So each $\mu_i$ exists and is unique, and `threshold`
# computes it. As $\theta$ grows from 0 to the largest $\lVert v_i \rVert_1$, the sum $\sum_i \mu_i$ falls continuously
# and strictly from $\lVert v \rVert_{1,\infty}$ to 0. For $0 < \eta < \lVert v \rVert_{1,\infty}$ it equals $\eta$
# exactly once. The code finds this $\theta$ by bisection.


# %%
def l21_ball(v, eta):
    norms = v.norm(dim=1, keepdim=True)
    return v * l1_ball(norms, eta) / norms.clamp(min=1e-300)


def l1inf_ball(v, eta):
    low, high = 0.0, float(v.abs().sum(1).max())
    for _ in range(50):
        theta = (low + high) / 2
        mu = threshold(v.abs(), theta)
        low, high = (theta, high) if mu.sum() > eta else (low, theta)
    mu = threshold(v.abs(), high)
    return v.clamp(-mu, mu)


# %% [markdown]
# The exact $\ell_{1,\infty}$ projection needs two nested searches, because all $\mu_i$ depend on the common $\theta$. A
# bilevel map avoids this. It projects the vector of the filters' largest magnitudes onto the $\ell_1$ ball,
# and then clips each filter at its radius $t_i$ {cite:p}`bilevel`. This takes one pass for the maxima and one to clip:


# %%
def bilevel_l1inf(v, eta):
    t = l1_ball(v.abs().amax(1, keepdim=True), eta)
    return v.clamp(-t, t)


filters = torch.tensor([[1.0, 1.0, 1.0, 1.0], [2.0, 0.0, 0.0, 0.0]], dtype=torch.float64)
for title, project in (("exact l1,inf", l1inf_ball), ("bilevel l1,inf", bilevel_l1inf)):
    w = project(filters, 2.0)
    print(f"{title:15s}clipped at {[round(m, 3) for m in w.amax(1).tolist()]}, distance {(w - filters).norm():.3f}")

# %% tags=["remove-cell"]
ours = {"l1": l1_ball, "bilevel_l11": bilevel_l11, "l21": l21_ball, "l1inf": l1inf_ball, "bilevel_l1inf": bilevel_l1inf}
for name, project in ours.items():
    for share in (0.0, 0.01, 0.1, 0.3, 0.7, 0.99):
        radius = share * ball_norm(v, name)
        assert torch.allclose(project(v, radius), PROJECTIONS[name](v, radius), atol=1e-12), (name, share)
    assert torch.allclose(project(v, 1.01 * ball_norm(v, name)), v, atol=1e-12)
assert torch.allclose(l1inf_ball(filters, 2.0).amax(1), torch.tensor([0.8, 1.2], dtype=torch.float64))
assert bilevel_l1inf(filters, 2.0).amax(1).tolist() == [0.5, 1.5]
for name, project in PROJECTIONS.items():
    w = project(v, 0.3 * ball_norm(v, name))
    assert torch.equal(project(v, ball_norm(v, name)), v), "inside the ball nothing changes"
    # Each projection is along the norm: what was taken away and what is left add up to the norm of v.
    assert abs(ball_norm(v - w, name) + ball_norm(w, name) - ball_norm(v, name)) < 1e-3
    assert not at_defaults or not (w == 0).all(0).any(), "no input tap is emptied"

# %% [markdown]
# To lower the maximum of the first filter, four weights must be clipped; in the second filter only one. The exact
# projection takes this into account and clips the first filter less. The bilevel map lowers both maxima by the same
# amount, and its result is further away.
#
# A hidden cell checks that each function above agrees with the library's function. For $\ell_{1,\infty}$ the library
# replaces the bisection by Newton's method for $\theta$ and all $\mu_i$ at once {cite:p}`chu`. You can unfold the three
# functions:
#
# :::{admonition} Library functions for $\ell_{2,1}$, $\ell_{1,\infty}$ and bilevel $\ell_{1,\infty}$
# :class: dropdown
# ```{literalinclude} ../sparsecomp/sparsify/projections.py
# :pyobject: project_l21
# :language: python
# ```
# ```{literalinclude} ../sparsecomp/sparsify/projections.py
# :pyobject: project_l1inf
# :language: python
# ```
# ```{literalinclude} ../sparsecomp/sparsify/projections.py
# :pyobject: project_bilevel_l1inf
# :language: python
# ```
# :::
#
# ### The five maps compared
#
# When does a filter die, and what happens to the other filters?
#
# :::{list-table}
# :header-rows: 1
# * - map
#   - filter $i$ dies if
#   - in the other filters
# * - $\ell_1$, the same as $\ell_{1,1}$
#   - $\max_j |v_{ij}| \le \tau$
#   - every magnitude falls by $\tau$, or to zero
# * - bilevel $\ell_{1,1}$
#   - $\lVert v_i \rVert_1 \le \tau_1$
#   - every magnitude falls by the filter's own threshold, or to zero
# * - $\ell_{2,1}$
#   - $\lVert v_i \rVert_2 \le \tau$
#   - all weights shrink by one factor
# * - $\ell_{1,\infty}$
#   - $\lVert v_i \rVert_1 \le \theta$
#   - large weights are clipped
# * - bilevel $\ell_{1,\infty}$
#   - $\max_j |v_{ij}| \le \tau_1$
#   - large weights are clipped
# :::
#
# Each row has its own threshold. A $\tau$ is subtracted from weights ($\ell_1$) or from filter norms ($\ell_{2,1}$). A
# $\tau_1$ is the threshold of the first level of a bilevel map: it is subtracted from the filter norms or from the
# filters' largest magnitudes. In the last three rows, all new zeros are in dead filters.
#
# ## Experiment: one layer, equal sparsity
#
# How different are the five maps on a layer? We use a random layer of 48 filters with 54 weights. Its entries have
# heavy tails and each filter has its own scale. Each map gets the largest radius for which at least {glue:text}`asked`
# of the weights are zero. `radius_for_sparsity` finds it by bisection.

# %%
found = {name: radius_for_sparsity([v], sparsity, name) for name in names}
left = {name: PROJECTIONS[name](v, found[name][0]) for name in names}
dead = {name: float((w == 0).all(1).double().mean()) for name, w in left.items()}
for name, (radius, reached) in found.items():
    print(f"{names[name]:27s}radius {radius:7.3f}, zeros {reached:.3f}, dead filters {dead[name]:.3f}")

# %% tags=["remove-cell"]
glue("asked", f"{100 * sparsity:.0f} %", display=False)
for name, share in dead.items():
    glue(f"dead-{name}", f"{100 * share:.0f} %", display=False)
assert all(sparsity <= reached < sparsity + 1 / 48 + 1e-9 for _, reached in found.values())
if at_defaults:
    assert dead["l1"] + 0.2 < dead["bilevel_l11"] < sparsity
    assert all(dead[name] == found[name][1] for name in ("l21", "l1inf", "bilevel_l1inf"))

# %% tags=["hide-input"] mystnb={"figure": {"caption": "**At equal sparsity, ℓ1 leaves most filters alive, bilevel ℓ1,1 removes many and thins the others, and the last three remove whole filters only.** Rows: filters; columns: their weights. Blue is positive, orange negative, white zero; grey rows are dead filters. Each panel has its own colour scale. <small>One random layer of 48 × 54 weights, drawn by this page.</small>", "name": "fig-layer"}, "image": {"alt": "Six coloured matrices. The layer is dense; after l1 scattered weights are left in nearly all rows; after bilevel l1,1 many rows are grey and the others sparse; after the other three maps most rows are grey and the rest are dense."}}
layers = {"the layer": v} | {names[name]: w for name, w in left.items()}
figure, panels = plot.panels(3, 2, size=(7.6, 10.6))
for axes, (title, w) in zip(panels.flat, layers.items(), strict=True):
    zeros, gone = (float(of.double().mean()) for of in (w == 0, (w == 0).all(1)))
    axes.imshow(drawings.layer_picture(w, float(w.abs().max())), interpolation="nearest")
    axes.set_title(f"{title}\nzeros {100 * zeros:.0f} %, dead filters {100 * gone:.0f} %", fontsize=11)
    axes.axis("off")
figure

# %% [markdown]
# The first of the six panels of {numref}`fig-layer` is the layer itself; the other five have about the same number of
# zeros. After $\ell_1$, only {glue:text}`dead-l1` of the filters are dead; after Algorithm 1,
# {glue:text}`dead-bilevel_l11` are. So the paper is right that its map creates structured sparsity and $\ell_1$ does
# not. This property belongs to the bilevel map, not to the $\ell_{1,1}$ ball. The figure does not say which layer codes
# pictures best: no network was trained here.
#
# ## Distance at equal radius
#
# The Euclidean projection is the nearest point of its ball, so a bilevel map onto the same ball cannot be nearer. How
# much distance does it give up, and how many dead filters does it gain?

# %%
rows = []
for pair in (("l1", "bilevel_l11"), ("l1inf", "bilevel_l1inf")):
    for share in (0.1, 0.2, 0.4):
        radius = share * ball_norm(v, pair[0])
        both = [PROJECTIONS[name](v, radius) for name in pair]
        distance = [float((w - v).norm() / v.norm()) for w in both]
        gone = [float((w == 0).all(1).double().mean()) for w in both]
        rows.append([names[pair[0]], f"{share:.0%}", *(f"{d:.3f}" for d in distance), *(f"{g:.0%}" for g in gone)])
        assert distance[0] <= distance[1] and (not at_defaults or gone[0] < gone[1])
columns = ["ball", "radius, share of norm", "Euclidean: distance", "bilevel: distance"]
plot.Table(rows, columns=[*columns, "Euclidean: dead", "bilevel: dead"])

# %% [markdown]
# Distances are divided by $\lVert v \rVert_2$. Bilevel $\ell_{1,1}$ is a little further away than $\ell_1$ and removes
# more filters. Between the two $\ell_{1,\infty}$ maps the difference is larger: the exact projection keeps many
# filters and clips them to low values, the bilevel map keeps few filters and clips them less. {numref}`fig-radius`
# shows the same comparison for all radii.

# %% tags=["hide-input"] mystnb={"figure": {"caption": "**At equal radius, the bilevel maps (dashed) remove more filters and move further than the Euclidean projections onto the same balls.** One colour is one ball. Horizontal axis: radius as a share of the norm of the layer. Vertical axes: share of zeros, share of dead filters, distance to v divided by the norm of v. <small>One random layer of 48 × 54 weights, drawn by this page.</small>", "name": "fig-radius"}, "image": {"alt": "Three panels of five falling curves against the radius. In all panels the dashed bilevel curves lie on or above the solid curves of the same colour, most clearly in the panel of dead filters."}}
figure, panels = plot.panels(2, 2, size=(7.6, 6.8), sharey=True)
shares, curves = np.linspace(0.01, 1, 60), {}
balls = {"bilevel_l11": "l1", "bilevel_l1inf": "l1inf"}  # the ball of each bilevel map
for name, title in names.items():
    landed = [PROJECTIONS[name](v, share * ball_norm(v, name)) for share in shares]
    curves[name] = {
        "share of zeros": [float((w == 0).double().mean()) for w in landed],
        "share of dead filters": [float((w == 0).all(1).double().mean()) for w in landed],
        "distance to v, over |v|": [float((w - v).norm() / v.norm()) for w in landed],
    }
    look = plot.style(balls.get(name, name), marker="", ls="--" if name in balls else "-")
    for axes, (what, course) in zip(panels.flat, curves[name].items(), strict=False):
        axes.plot(shares, course, label=title, **look)
        axes.set(title=what, xlabel="radius, share of the norm")
panels[1, 1].axis("off")
panels[1, 1].legend(*panels[0, 0].get_legend_handles_labels(), loc="center", frameon=False, fontsize=11)
figure

# %% [markdown]
# Compare only the curves of one ball: $\ell_1$ with bilevel $\ell_{1,1}$, and $\ell_{1,\infty}$ with bilevel
# $\ell_{1,\infty}$. A radius of 20 % means something else for each norm, so other comparisons say little.
#
# ## Distance at equal sparsity
#
# The paper does not print its radii. In its Table I the share of zeros is about equal, not the radius. The nearest
# point at a given radius need not be the nearest point with a given number of zeros. The next table compares the maps
# at {glue:text}`asked` zeros. In its last column the remaining weights keep their old values:

# %%
rows, distance = [], {}
for name, w in left.items():
    masked = v * (w != 0)
    distance[name], lost = (float((of - v).norm() / v.norm()) for of in (w, masked))
    rows.append([names[name], f"{dead[name]:.0%}", f"{distance[name]:.3f}", f"{lost:.3f}"])
plot.Table(rows, columns=["projection", "dead filters", "distance", "distance if the kept weights keep their values"])

# %% [markdown]
# At equal sparsity both bilevel maps are *nearer* to this layer than the Euclidean projections onto the same balls.
# They reach this sparsity with a larger radius, and so they shrink the remaining weights less.
#
# ## Only the mask matters
#
# The last column of the table is the one that matters for the paper. Its training, called **double descent**, keeps
# only the mask $M_{ij} = 1$ if $w_{ij} \ne 0$, and $M_{ij} = 0$ otherwise. The weights return to their initial values
# and train again, and those outside the mask stay at zero. How much the projection shrank a weight has no effect then.
# Only the choice of the zeros counts.
#
# Soft thresholding removes all weights with $|v_j| \le \tau$, so the mask of the $\ell_1$ projection selects the
# largest magnitudes of the layer. This is **magnitude pruning**. No other mask with as many ones loses less in the
# Euclidean distance. The table of the five maps above gives the other masks. The last three maps rank the filters:
# $\ell_{2,1}$ by their $\ell_2$ norm, $\ell_{1,\infty}$ by their $\ell_1$ norm, and bilevel $\ell_{1,\infty}$ by their
# largest weight. Algorithm 1 ranks filters and single weights. It ranks filters by their $\ell_1$ norm, and then
# removes small weights within the filters that stay. We check this:

# %%
kept = int((left["l1"] != 0).sum())
same = torch.equal(keep_largest(v, kept) != 0, left["l1"] != 0)
print(f"the l1 mask is the {kept} largest magnitudes: {same}")
for name, order in {"bilevel_l11": 1, "l21": 2, "l1inf": 1, "bilevel_l1inf": torch.inf}.items():
    alive = (left[name] != 0).any(1)
    strongest = v.norm(order, dim=1).topk(int(alive.sum())).indices
    same = same and bool(alive[strongest].all())
    print(f"{names[name]:27s}keeps the {len(strongest)} filters of largest l{order:g} norm: {same}")

# %% tags=["remove-cell"]
assert same
for euclidean, bilevel in (("l1", "bilevel_l11"), ("l1inf", "bilevel_l1inf")):
    near, far = (np.array(list(curves[name].values())) for name in (euclidean, bilevel))
    assert not at_defaults or (far[1:] >= near[1:] - 1e-9).all(), "the caption of fig-radius"
if at_defaults:
    assert distance["bilevel_l11"] < distance["l1"] and distance["bilevel_l1inf"] < distance["l1inf"]
    assert found["bilevel_l11"][0] > found["l1"][0] and found["bilevel_l1inf"][0] > found["l1inf"][0]
speed = {row["projection"]: row for row in bench.projections_table(records).rows}
glue("slowest", f"{max(float(row['times a sort']) for row in speed.values()):.2f}", display=False)
exact, theirs = (speed["l1,inf"][key] for key in ("ms", "released code, ms (shown, not counted)"))
glue("exact-ms", f"{float(exact):.0f} ms", display=False)
glue("released-s", f"{float(theirs.replace(',', '')) / 1000:.0f} s", display=False)

# %% [markdown]
# The released code differs from the paper in two of these maps. Its $\ell_{1,\infty}$ projection works along the other
# dimension of the matrix. It sets columns of the matrix to zero. A column is one kernel position of one input channel,
# in all filters. The function also changes weights that are already inside the ball. Its $\ell_{2,1}$ function uses the
# $\ell_1$ norms of the filters.
#
# ## Speed
#
# Do the exact projections cost too much time? The table gives the time for a tensor of 512 × 512 × 3 × 3 normal
# numbers, at the radius that leaves 83 % zeros. The column "times a sort" divides it by the time of one `torch.sort` of
# the same tensor, with the same threads and in the same run. The column "released code" shows one timing of the paper's
# code on four cores. It comes from another run, so we show it and draw no conclusion from small differences. The last
# distance is divided by the distance of the Euclidean projection onto the same ball with the same radius.

# %%
columns = {
    "over the Euclidean one, same radius": "distance / Euclidean distance, same radius",
    "released code, ms (shown, not counted)": "released code, ms (another run)",
}
plot.table(bench.projections_table(records)).rename(columns=columns)

# %% [markdown]
# Each function takes at most {glue:text}`slowest` of the time of a sort. The exact $\ell_{1,\infty}$ projection takes
# {glue:text}`exact-ms`; the timing of the released code is {glue:text}`released-s`. Algorithm 1
# removes no filter here, and its result is almost that of $\ell_1$. The reason is that all filters of this tensor have
# nearly the same norm. Algorithm 1 creates structured sparsity only if the filters differ in strength.
#
# ## Try it: one radius for all maps
#
# The slider sets the radius of each map as a share of its own norm of the layer. Move it from right to left, and watch
# at which radius each map removes its first filter.

# %%
widgets.projection_radius()

# %% [markdown]
# :::{admonition} What the paper says and what we find
# ```{list-table}
# :header-rows: 1
# * - the paper says
#   - we find
#   - why they differ
# * - Algorithm 1 projects onto the $\ell_{1,1}$ ball
#   - its result is in the ball but is not the nearest point: on our layer it is further away at every radius that we
#     tried
#   - the $\ell_{1,1}$ norm is the $\ell_1$ norm of all weights; Algorithm 1 solves {eq}`eq-bilevel` for
#     $\varepsilon \to 0$
# * - $\ell_{1,1}$ creates structured sparsity, $\ell_1$ does not
#   - {glue:text}`dead-bilevel_l11` of the filters are dead, against {glue:text}`dead-l1`, at {glue:text}`asked` zeros
#   - they agree, for the bilevel map; our layer is random and not trained
# * - $\ell_{2,1}$ does not induce structured sparsity
#   - every new zero belongs to a dead filter, by {eq}`eq-l21`
#   - the paper cites another work here and shows no measurement; the $\ell_{2,1}$ function of its released code
#     computes another map
# * - $\ell_{1,\infty}$ saves more computation and costs more quality
#   - all its new zeros are in dead filters; we measure no quality in this chapter
#   - [Sparse CAE: results](22_sparse_cae_results) trains the encoders
# ```
# :::
#
# ## In short
#
# - The Euclidean projection onto the $\ell_1$ ball is soft thresholding with one threshold, which exists and is unique.
# - The $\ell_{1,1}$ ball is the $\ell_1$ ball. Algorithm 1 of Sparse CAE is a bilevel map: two $\ell_1$ projections,
#   first of the filter norms, then of each filter.
# - $\ell_{2,1}$ shrinks filters and $\ell_{1,\infty}$ clips them. Both create zeros only by removing whole filters.
# - At equal radius a bilevel map is never nearer than the Euclidean projection. At equal sparsity it can be.
# - If only the mask is used, $\ell_1$ is magnitude pruning, and the other maps rank filters by a norm.
#
# ## Exercises
#
# 1. Project $(3, -1, 0.5)$ onto the $\ell_1$ ball of radius 2 by hand, with Newton's method from $\tau = 0$.
# 2. Take two filters, $(1, 1, 1, 1)$ and $(2, 0, 0, 0)$, and the radius 2. Which filter does Algorithm 1 remove? What
#    does the $\ell_1$ projection do? Compute $\theta$ and $\mu$ of the exact $\ell_{1,\infty}$ projection.
# 3. (Code) Write a *bilevel* $\ell_{2,1}$ map: project the $\ell_2$ norms of the filters onto the $\ell_1$ ball, then
#    project each filter onto the $\ell_2$ ball of radius $t_i$. Compare it with `l21_ball`, and explain what you see.
# 4. (Code) Write a function that computes the radius at which the $\ell_1$ projection leaves exactly $m$ zeros, without
#    bisection. Assume that all magnitudes differ.
# 5. The mask of the $\ell_1$ projection loses least in the Euclidean distance. Why does this say little about the
#    quality of the encoder after the second training?
#
# :::{admonition} Solutions
# :class: dropdown
# 1. All three weights are active: $\tau = (4.5 - 2) / 3 = 0.833$. Two weights are above it, 3 and 1:
#    $\tau = (4 - 2) / 2 = 1$. One weight is above it: $\tau = (3 - 2) / 1 = 1$, and the method ends. The result is
#    $(2, 0, 0)$.
# 2. The $\ell_1$ norms are 4 and 2. Algorithm 1 takes 2 from each, so $t = (2, 0)$ and the second filter dies, although
#    it contains the largest weight. The $\ell_1$ projection has $\tau = 0.8$ and keeps this weight at 1.2. For
#    $\ell_{1,\infty}$, $\mu_1 = 1 - \theta / 4$ and $\mu_2 = 2 - \theta$ must sum to 2. So $\theta = 0.8$ and
#    $\mu = (0.8, 1.2)$.
# 3. The two maps are the same. The derivation of {eq}`eq-l21` shows why: for $\ell_2$ norms the first level minimises
#    the distance of the weights themselves, so nothing is lost by deciding on the norms first.
#    ```python
#    def bilevel_l21(v, eta):
#        norms = v.norm(dim=1, keepdim=True)
#        t = l1_ball(norms, eta)
#        return v * (t / norms).clamp(max=1)  # the nearest point of an l2 ball lies on the line to its centre
#    ```
# 4. A weight becomes zero if its magnitude is at most $\tau$. So let $\tau$ be the $m$-th smallest magnitude. The
#    radius is the norm that is left, $g(\tau)$ in {eq}`eq-soft-threshold`.
#    ```python
#    def l1_radius(v, m):
#        magnitudes = v.abs().flatten()
#        tau = magnitudes.sort().values[m - 1] if m else 0.0
#        return float((magnitudes - tau).clamp(min=0).sum())
#    ```
# 5. The distance is measured from the first trained weights. The second training starts from the initial values and can
#    reach other weights. Distance to the old weights does not measure what the new network can do.
# :::


# %% tags=["remove-cell"]
def bilevel_l21(v, eta):
    norms = v.norm(dim=1, keepdim=True)
    t = l1_ball(norms, eta)
    return v * (t / norms).clamp(max=1)


def l1_radius(v, m):
    magnitudes = v.abs().flatten()
    tau = magnitudes.sort().values[m - 1] if m else 0.0
    return float((magnitudes - tau).clamp(min=0).sum())


for share in (0.05, 0.3, 0.9):
    radius = share * ball_norm(v, "l21")
    assert torch.allclose(bilevel_l21(v, radius), PROJECTIONS["l21"](v, radius), atol=1e-12)
for m in (0, 1, 500, 2500):
    # Rounding may put tau just below the m-th magnitude, which then stays at almost zero.
    assert int((l1_ball(v, l1_radius(v, m)).abs() < 1e-12).sum()) == m
assert torch.allclose(l1_ball(filters, 2.0).max(), torch.tensor(1.2, dtype=torch.float64))
assert bilevel_l11(filters, 2.0)[1].tolist() == [0, 0, 0, 0]

# %% [markdown]
# ## Further reading
#
# Algorithms for the simplex and the $\ell_1$ ball, compared: {cite:t}`condat`; the finite method that we use:
# {cite:t}`michelot`. Group norms in statistics: {cite:t}`group_lasso`. The exact $\ell_{1,\infty}$ projection:
# {cite:t}`quattoni` and, by Newton's method, {cite:t}`chu`. Bilevel maps in linear time: {cite:t}`bilevel`. The next
# chapter, [double descent](21_double_descent), applies these maps to an encoder, and [Sparse CAE:
# results](22_sparse_cae_results) measures what the zeros save.
