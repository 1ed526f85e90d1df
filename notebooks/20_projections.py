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
# # Projections: which weights are zero
#
# **The question.** An autoencoder's encoder has more weights than it needs. Sparse CAE {cite:p}`sparse_cae` sets 83 %
# of them to zero, and wants more than a small file: fewer multiplications. A scattered zero saves none; a filter that
# is zero as a whole saves all of its own. The paper takes the trained weights and moves them to the nearest point of a
# norm ball. Which ball sends which weights to zero? And does the paper's algorithm go to the nearest point?

# %% tags=["parameters"]
preset = "smoke"  # nothing here is trained; the speed table is a record
seed = 0
sparsity = 0.83  # the share of zeros of the paper's Table I

# %% tags=["hide-input"]
import numpy as np
import torch

from reproduce import bench, drawings, plot, widgets
from reproduce.records import Records
from sparsecomp.checks import one_of
from sparsecomp.sparsify.projections import PROJECTIONS, ball_norm, radius_for_sparsity
from sparsecomp.training.configs import PRESETS

one_of("preset", preset, PRESETS)
at_defaults = (seed, sparsity) == (0, 0.83)  # the text is checked at these values
names = bench.PROJECTION_NAMES
records = Records(preset="laptop")

# %% [markdown]
# ## The nearest point of a ball
#
# The Euclidean projection of $v$ onto the ball of radius $\eta$ of a norm is
#
# $$ P(v; \eta) = \arg\min_w \lVert w - v \rVert_2 \quad\text{subject to}\quad \lVert w \rVert \le \eta . $$
#
# Inside the ball nothing happens. Outside, the answer is on the surface, and a ball with corners and edges catches
# many points there: on an edge something is zero. For the $\ell_1$ ball every magnitude loses the same $\tau$, and
# what had no more than that is zero {cite:p}`condat`:
#
# $$ w_j = \operatorname{sign}(v_j) \max(|v_j| - \tau, 0), \qquad \textstyle\sum_j \max(|v_j| - \tau, 0) = \eta . $$
#
# The sum falls with $\tau$, is convex, and made of straight pieces. Newton's method on it starts at $\tau = 0$, never
# goes too far, and ends on the root itself, not near it {cite:p}`michelot`. A step is a mean and a count; nothing is
# sorted.

# %%
v = drawings.seeded_layer(seed)
magnitudes, eta, tau, steps = v.abs().double().flatten(), 20.0, 0.0, 0
while True:
    active, steps = magnitudes > tau, steps + 1
    step = float((magnitudes[active].sum() - eta) / active.sum())
    if step <= tau:
        break
    tau = step
    print(f"step {steps}: {int(active.sum()):5,} active, tau = {tau:.6f}")
w = v.sign() * (v.abs() - tau).clamp(min=0)

# %% tags=["remove-cell"]
if at_defaults:
    assert torch.allclose(w, PROJECTIONS["l1"](v, eta), atol=1e-7) and steps < 15

# %% [markdown]
# ## Norms of groups
#
# A filter is a group of weights: all that make one output channel. With $v_i$ for the weights of filter $i$, the norms
# of the paper are sums over filters, and differ in what they take of each:
#
# $$ \ell_{1,1}: \sum_i \lVert v_i \rVert_1 \qquad \ell_{2,1}: \sum_i \lVert v_i \rVert_2 \qquad
#    \ell_{1,\infty}: \sum_i \max_j |v_{ij}| . $$
#
# The first is a sum of sums. It is the $\ell_1$ norm of all weights, and its ball knows no filters:

# %%
by_filter = v.abs().sum(1).sum()
print(f"l1,1 norm {by_filter:.4f}, l1 norm of all weights {v.abs().sum():.4f}")

# %% tags=["remove-cell"]
if at_defaults:
    assert torch.isclose(by_filter, v.abs().sum())

# %% [markdown]
# So there is no projection onto the $\ell_{1,1}$ ball that prefers whole filters: the projection is the $\ell_1$
# projection. What the paper calls so, its Algorithm 1, has two levels. It projects the vector of the filters' norms,
# and then each filter onto a ball of its own:
#
# $$ t = P_{\ell_1}\bigl((\lVert v_i \rVert_1)_i; \eta\bigr), \qquad w_i = P_{\ell_1}(v_i; t_i) . $$
#
# The result is in the $\ell_1$ ball, and a filter with a small norm has $t_i = 0$ and goes as a whole. It is not the
# nearest point. The paper's equation (2) says what it is instead: the filters' norms are as near as they can be, and
# the weights count with a factor $\varepsilon$ after them; Algorithm 1 is the answer as $\varepsilon$ goes to 0. One of
# its authors later calls such maps *bilevel* {cite:p}`bilevel`; so does this book. By hand, with two filters of two
# weights:

# %%
small = torch.tensor([[3.0, 3.0], [4.0, 0.0]])
for name in ("l1", "bilevel_l11"):
    w = PROJECTIONS[name](small, 4.0)
    print(f"{names[name]:27s}{w.tolist()}  distance {(w - small).norm():.3f}")
nearest, bilevel = (PROJECTIONS[name](small, 4.0) for name in ("l1", "bilevel_l11"))

# %% tags=["remove-cell"]
if at_defaults:
    assert nearest.tolist() == [[1, 1], [2, 0]] and bilevel.tolist() == [[1.5, 1.5], [1, 0]]
    assert (nearest - small).norm() < (bilevel - small).norm()

# %% [markdown]
# ## The balls
#
# Three weights, two filters: $\{x_1, x_2\}$ and $\{x_3\}$. Four hundred points at a distance of 2.5, in random
# directions, are moved to the unit balls. Every ball is a double cone over the curve that its norm draws in the plane
# of the first filter: a diamond, a circle, a square.

# %%
drawings.balls(seed)

# %% [markdown]
# - $\ell_1$ has corners and edges everywhere: single weights vanish as easily as filters.
# - Algorithm 1 lands on the same octahedron. It lands elsewhere: more often where a whole filter is zero.
# - $\ell_{2,1}$ has an edge only where a filter is zero: all of a filter or nothing {cite:p}`group_lasso`.
# - $\ell_{1,\infty}$ has edges where a filter is zero, and others where weights of a filter are *equal* in magnitude:
#   it clips {cite:p}`quattoni`. Its bilevel sister clips elsewhere.
#
# ## A layer
#
# Forty-eight filters of fifty-four weights, a row each. No training made them: they are drawn, with heavy tails and a
# scale of its own for every filter, as trained layers tend to have. Each projection has the radius that leaves at
# least 83 % zeros. Grey rows are filters that are gone.

# %%
found = {name: radius_for_sparsity([v], sparsity, name) for name in names}
left = {name: PROJECTIONS[name](v, found[name][0]) for name in names}

# %% tags=["hide-input"]
layers = {"the layer": v} | {names[name]: w for name, w in left.items()}
largest = max(float(w.abs().max()) for w in layers.values())
figure, panels = plot.panels(2, 3, size=(8.4, 5.8))
for axes, (title, w) in zip(panels.flat, layers.items(), strict=True):
    zeros, gone = (float(of.double().mean()) for of in (w == 0, (w == 0).all(1)))
    axes.imshow(drawings.layer_picture(w, largest), interpolation="nearest")
    axes.set_title(f"{title}\nzeros {zeros:.0%}, dead filters {gone:.0%}", fontsize=9)
    axes.axis("off")
figure

# %%
dead = {name: float((w == 0).all(1).double().mean()) for name, w in left.items()}
for name, (radius, reached) in found.items():
    print(
        f"{names[name]:27s}radius {radius:7.3f}, zeros {reached:.3f}, dead filters {dead[name]:.3f}"
    )
    assert sparsity <= reached < sparsity + 1 / 48

# %% tags=["remove-cell"]
if at_defaults:
    assert dead["l1"] + 0.2 < dead["bilevel_l11"] < sparsity
    assert all(dead[name] == found[name][1] for name in ("l21", "l1inf", "bilevel_l1inf"))

# %% [markdown]
# With the same number of zeros, $\ell_1$ leaves nearly every filter something to do, Algorithm 1 removes almost half
# of the filters and thins out the rest, and the others remove filters only. That is the paper's claim about structure,
# and it is right: for the bilevel map, not for the projection whose name it bears.
#
# ## Nearest, for a radius
#
# At one radius, the Euclidean projection is the nearest point and Algorithm 1 cannot be nearer. It gives up some
# distance for dead filters.

# %%
rows = []
for pair in (("l1", "bilevel_l11"), ("l1inf", "bilevel_l1inf")):
    for share in (0.1, 0.2, 0.4):
        radius = share * ball_norm(v, pair[0])
        w = [PROJECTIONS[name](v, radius) for name in pair]
        distance = [float((each - v).norm() / v.norm()) for each in w]
        gone = [f"{float((each == 0).all(1).double().mean()):.0%}" for each in w]
        rows.append([pair[0], f"{share:.0%}", *(f"{d:.3f}" for d in distance), *gone])
        assert distance[0] < distance[1] and float(gone[0][:-1]) < float(gone[1][:-1])
columns = ["ball", "radius, share of norm", "Euclidean: distance", "bilevel: distance"]
columns += ["Euclidean: dead", "bilevel: dead"]
plot.Table(rows, columns=columns)

# %% [markdown]
# Bilevel $\ell_{1,\infty}$ needs one pass for the maxima and one to clip. The exact projection must know, for every
# filter, how much clipping takes from it: each one that stays loses the same sum $\theta$,
#
# $$ \textstyle\sum_j \max(|v_{ij}| - \mu_i, 0) = \theta \quad\text{or}\quad
#    \mu_i = 0 \text{ and } \lVert v_i \rVert_1 \le \theta, \qquad \sum_i \mu_i = \eta . $$
#
# Here Newton's method runs for $\theta$ and all $\mu_i$ at once {cite:p}`chu`. The exact projection is gentle: it
# keeps many filters, clipped low. The bilevel one keeps few, and these nearly whole.

# %% tags=["hide-input"]
figure, panels = plot.panels(1, 3, size=(8.4, 3.4), sharey=True)
shares = np.linspace(0.01, 1, 60)
for name, title in names.items():
    landed = [PROJECTIONS[name](v, share * ball_norm(v, name)) for share in shares]
    courses = {
        "share of zeros": [float((w == 0).double().mean()) for w in landed],
        "share of dead filters": [float((w == 0).all(1).double().mean()) for w in landed],
        "distance to v, over |v|": [float((w - v).norm() / v.norm()) for w in landed],
    }
    look = plot.style(name, marker="", ls="--" if name.startswith("bilevel") else "-")
    for axes, (what, course) in zip(panels, courses.items(), strict=True):
        axes.plot(shares, course, label=title, **look)
        axes.set(title=what, xlabel="radius, share of the norm")
handles = panels[0].get_legend_handles_labels()
figure.legend(*handles, loc="outside lower center", ncols=3, frameon=False, fontsize=9)
figure

# %% [markdown]
# ## Nearest, for a number of zeros
#
# But nobody chose a radius. The radii of the paper are not printed; what its Table I holds equal is the share of
# zeros. That is another question, and no Euclidean projection promises to win it:

# %%
rows, distance = [], {}
for name, w in left.items():
    kept = v * (w != 0)
    distance[name] = float((w - v).norm() / v.norm())
    lost = float((kept - v).norm() / v.norm())
    rows.append(
        [names[name], f"{dead[name]:.0%}", f"{distance[name]:.3f}", f"{lost:.3f}"]
    )
columns = ["projection", "dead filters", "distance", "distance of v, masked"]
plot.Table(rows, columns=columns)

# %% tags=["remove-cell"]
if at_defaults:
    assert distance["bilevel_l11"] < distance["l1"]
    assert distance["bilevel_l1inf"] < min(distance["l1inf"], distance["l21"])

# %% [markdown]
# At 83 % zeros both bilevel maps are *nearer* to this layer than the projections they are not. They reach that many
# zeros with a larger ball, and shrink less of what they keep.
#
# The last column is what counts in the end. The paper's *double descent* uses only the mask, $M_{ij} = [w_{ij} \ne 0]$:
# the weights go back to their first values and train again, those outside the mask at zero. Shrinking does not matter
# then, only the choice of weights, and for single weights no choice beats the largest magnitudes. The $\ell_1$
# projection makes exactly that choice:

# %%
count = int((left["l1"] != 0).sum())
largest = v.abs().flatten().topk(count).indices
magnitude = torch.zeros(v.numel(), dtype=torch.bool)
magnitude[largest] = True
print(f"the mask of the l1 projection is the {count} largest magnitudes")

# %% tags=["remove-cell"]
if at_defaults:
    assert torch.equal(magnitude.view_as(v), left["l1"] != 0)

# %% [markdown]
# As a mask, then, the $\ell_1$ constraint is magnitude pruning, layer by layer, under another name, and $\ell_{2,1}$
# keeps the filters of largest $\ell_2$ norm. What is new in the paper's masks is Algorithm 1: filters first, then
# weights.
#
# The released code does not always do what the paper says. Its $\ell_{1,\infty}$ works along the other dimension and
# empties input taps instead of filters; it also changes weights that are inside the ball already. Its $\ell_{2,1}$
# takes $\ell_1$ norms of the filters.

# %%
for name, project in PROJECTIONS.items():
    w = project(v, 0.3 * ball_norm(v, name))
    assert torch.equal(project(v, ball_norm(v, name)), v), (
        "inside the ball nothing changes"
    )
    # What was taken away and what is left share the norm between them.
    assert abs(ball_norm(v - w, name) + ball_norm(w, name) - ball_norm(v, name)) < 1e-3
    assert not (w == 0).all(0).any(), "no input tap is emptied"

# %% [markdown]
# ## Speed
#
# A tensor of 512 × 512 × 3 × 3 normal numbers, at the radius that leaves 83 % zeros, as multiples of the time to sort
# it once with the same threads in the same run. The last but one column is what the paper's code took, timed once on
# four cores: it is shown, not counted, because it was another run. (All filters of such a tensor are alike. Algorithm
# 1 finds no weak one, and does what $\ell_1$ does.)

# %%
plot.table(bench.projections_table(records))

# %% [markdown]
# ## Verdict
#
# - *Algorithm 1 projects onto the $\ell_{1,1}$ ball*: differs. The $\ell_{1,1}$ ball is the $\ell_1$ ball, the
#   projection onto it is soft thresholding, and Algorithm 1 lands further away at every radius tried here. It is a
#   bilevel map.
# - *It makes structured zeros where $\ell_1$ does not*: holds, on the drawn layer, at equal zeros.
# - *The $\ell_{2,1}$ norm makes no structured zeros*: differs. Every zero of its projection belongs to a filter that is
#   gone as a whole; what the released code calls so is another map.
# - *$\ell_{1,\infty}$ saves more arithmetic and costs more quality*: we expect the first half, as all its zeros
#   are filters. What both halves come to in a trained encoder is the next chapters' matter.
#
# ## A widget
#
# The layer under all five, the radius of each a share of its own norm of the layer.

# %%
widgets.projection_radius()

# %% [markdown]
# ## Exercises
#
# 1. Project $(3, -1, 0.5)$ onto the $\ell_1$ ball of radius 2, by Newton's method from $\tau = 0$.
# 2. Two filters, $(1, 1, 1, 1)$ and $(2, 0, 0, 0)$, radius 2. Which one does Algorithm 1 weaken more? Which one does
#    the bilevel $\ell_{1,\infty}$ prefer? Which one the exact $\ell_{1,\infty}$?
# 3. Why can no mask of 17 % single weights be nearer to $v$ than that of the $\ell_1$ projection? And why does this say
#    little about the picture that the encoder codes after it is trained again?
#
# :::{admonition} Solutions
# :class: dropdown
# 1. All three are active: $\tau = (4.5 - 2) / 3 = 0.833$. Above that are 3 and 1: $\tau = (4 - 2) / 2 = 1$. Above that
#    is 3 alone: $\tau = (3 - 2) / 1 = 1$, and the steps have ended. The answer is $(2, 0, 0)$.
# 2. The $\ell_1$ norms are 4 and 2. Algorithm 1 takes 2 from each: $t = (2, 0)$, and the second filter dies, with the
#    largest weight of all in it; $\ell_1$ would keep it at 1.2. The maxima are 1 and 2. The bilevel map takes 0.5 from
#    each: $t = (0.5, 1.5)$, the second is preferred. The exact one takes the same *sum* $\theta$ from both, $1 -
#    \theta / 4 + 2 - \theta = 2$: $\theta = 0.8$, $\mu = (0.8, 1.2)$. What clips four weights is dear.
# 3. The squared distance is the sum of the squares of what is masked, and is least when these are the smallest. But the
#    weights train again from their first values; how far the mask was from the old ones is then no measure of what
#    the new ones can do.
# :::
