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
# # ADMM: pruning the latent of an autoencoder
#
# This chapter shows how the alternating direction method of multipliers ({term}`ADMM`) trains an {term}`autoencoder`
# whose code has few nonzero entries. You write the method in three short functions, and you see when it converges and
# when it does not.
#
# **You will learn**
#
# - how to derive the three updates of ADMM from the {term}`augmented Lagrangian`;
# - why the {term}`projection` onto the codes with at most $\ell$ nonzero entries keeps the $\ell$ largest magnitudes;
# - why ADMM need not converge for such a set, and how the residuals show this;
# - what a sparse code costs in a file: why zeros are cheap and positions are not.
#
# **You need** the [primer](00_compression_primer), the idea of a projection from
# [the chapter on projections](20_projections), and PyTorch. No GPU and no data set. **Run it:**
# `python -m reproduce run 30_admm`, less than one minute, no download.

# %% tags=["parameters"]
preset = "smoke"  # no effect: the trainings of this chapter are always tiny; the chapter on results has the others
seed = 0  # of all random numbers of this chapter; a whole number from 0 to 99
keep = 0.1  # share of the entries of a code that may be nonzero, as in the paper; between 0.02 and 0.5

# %% tags=["hide-input"]
import itertools
import math
from dataclasses import replace

import numpy as np
import torch

from reproduce import drawings, plot, widgets
from reproduce.papers import cae_admm as numbers
from reproduce.tables import say
from sparsecomp import codecs, data, metrics
from sparsecomp.checks import in_range, one_of, whole
from sparsecomp.codecs.trained import read_symbols
from sparsecomp.coding.container import unpack
from sparsecomp.models.cae_admm import Block, CaeAdmm, Shape, calibrate
from sparsecomp.sparsify.admm import Admm, kept, projected, top_l
from sparsecomp.sparsify.projections import project_l1
from sparsecomp.training.latent_pruning import CodeTraining, stochastic_round
from sparsecomp.training.loop import run

one_of("preset", preset, numbers.PRESETS)
whole("seed", seed, 0, 99)
in_range("keep", keep, 0.02, 0.5)
at_defaults = (seed, keep) == (0, 0.1)  # the text is checked at these values
generator = torch.Generator().manual_seed(seed)
face = np.ascontiguousarray(data.bundled()["astronaut"][10:202, 130:322])


# %% [markdown]
# ## The problem: a dense network and a sparse code
#
# L0onie and Sparse CAE set weights of a network to zero. CAE-ADMM {cite:p}`cae_admm` sets entries of the *code* to
# zero. Its networks stay dense, so it saves no computation. It tries to save bits.
#
# Why should this be possible? {numref}`fig-admm-idea` shows a code that needs no training: the discrete cosine
# transform (DCT) of blocks of 8 × 8 pixels, as in JPEG. How good is the picture if most of the code is set to zero?

# %% tags=["hide-input"] mystnb={"figure": {"caption": "**A picture survives if {glue:text}`admm-idea-keep` of the entries of its DCT code are kept, those of largest magnitude.** Top: the picture from the whole code, and from the kept entries. Bottom: the kept entries. Each of the 192 small squares is a channel of the code: 8 × 8 channels for red, then for green, then for blue. In each of the three, vertical frequencies grow downwards and horizontal ones to the right. Blue is positive, orange negative, black zero. <small>The bundled astronaut, computed by this page.</small>", "name": "fig-admm-idea"}, "image": {"alt": "Two almost equal pictures of the face of an astronaut; the second is slightly less sharp. Below them a mosaic of 192 small squares in three groups of eight by eight. The top left square of each group is filled with blue, its neighbours show outlines of the face in blue and orange dots, and most of the others are nearly black."}}
dct = drawings.block_dct(face)
sparse = top_l(dct, keep)
from_kept = drawings.from_block_dct(sparse)
by_colour = sparse[0].unflatten(0, (3, 8, 8)).transpose(0, 1).flatten(0, 2)  # red, green and blue side by side
figure = plot.Figure(figsize=(7.2, 6.6), layout="constrained")
places = figure.subplot_mosaic("ab;cc", height_ratios=(3.4, 2.5))
for place, title, shown in (
    ("a", f"all {dct.numel():,} entries", face),
    ("b", f"the {kept(keep, dct.numel()):,} largest", from_kept),
    ("c", "the code that is kept: red, green, blue",
     drawings.code_map(by_colour.round().numpy().astype(int), (384, 1152))),
):  # fmt: skip
    places[place].imshow(shown, interpolation="nearest")
    places[place].set_title(title, fontsize=10)
    places[place].axis("off")
figure

# %% tags=["remove-cell"]
say("admm-idea-keep", keep, ".0%")
say("admm-idea-psnr", metrics.psnr(reference=face, reconstruction=from_kept), ".1f")
say("admm-idea-lost", float((sparse - dct).square().sum() / dct.square().sum()), ".2%")

# %% [markdown]
# The second picture has a {term}`PSNR` of {glue:text}`admm-idea-psnr` dB. The DCT is a rotation. So the squared error
# of the picture, up to the rounding to 8 bits, is the sum of the squares that were removed: {glue:text}`admm-idea-lost`
# of the total. For a fixed rotation, the largest entries are therefore the best choice, and no training is needed.
#
# For a network this is not true. The effect of one entry depends on all others, and a decoder can learn to do without
# it. So the paper trains encoder and decoder *while* the code becomes sparse.
#
# ## The network and its rounding
#
# The encoder $E$ maps a picture $x$ to the {term}`latent` $z = E(x)$, an array of real numbers. The quantiser $Q$
# rounds each of them to a whole number, which gives the code $\hat z = Q(z)$. The decoder $D$ returns the
# {term}`reconstruction` $\hat x = D(\hat z)$. The next table lists the layers in the paper's size. A residual block
# consists of three convolutions, and its input is added to its output.

# %% tags=["hide-input"]
network, rows, x = CaeAdmm(Shape()), [], torch.zeros(1, 3, 64, 64)
for half, layers in (("encoder", network.encoder), ("decoder", network.decoder)):
    for part in layers:
        convolutions = [layer for layer in part.modules() if isinstance(layer, torch.nn.Conv2d)]
        side, channels, x = x.shape[-1], x.shape[1], part(x)
        macs = sum(c.weight.numel() * (side // c.stride[0]) ** 2 for c in convolutions) / 64**2
        what = f"convolution, {channels} to {x.shape[1]} channels"
        if isinstance(part, Block):
            what = f"{network.shape.depth} residual blocks of {channels} channels"
        if convolutions and rows and rows[-1][:2] == [half, what]:
            rows[-1][3] += macs
        elif convolutions:
            rows.append([half, what, 64 // x.shape[-1], macs])
total = sum(row[-1] for row in rows)
share = [f"{100 * row[3] / total:.1f} %" if row[3] > 0.0005 * total else "< 0.1 %" for row in rows]
sides = ["1" if row[2] == 1 else f"1/{row[2]}" for row in rows]
shown = [[*row[:2], side, part] for row, side, part in zip(rows, sides, share, strict=True)]
plot.Table(shown, columns=["network", "layer", "side of its output", "share of the MACs"])

# %% tags=["remove-cell"]
blocks = sum(row[-1] for row in rows if "residual" in row[1])
say("admm-blocks", blocks / total, ".0%")
say("admm-macs", sum(row[-1] for row in rows if row[0] == "encoder") / 1000, ",.0f")
assert blocks > 0.95 * total and math.isclose(sum(r[-1] for r in rows if r[0] == "encoder"), 721_680, rel_tol=0.01)

# %% [markdown]
# The residual blocks take {glue:text}`admm-blocks` of the computation, and the encoder needs {glue:text}`admm-macs`
# thousand multiply-accumulates ({term}`MACs <MAC>`) per pixel. The decoder enlarges the picture with sub-pixel
# convolutions {cite:p}`sub_pixel`: it computes four times the channels, and then moves each group of four into 2 × 2
# pixels. The code has 32 channels of an eighth of the height and width, so half an entry per pixel. Not shown: batch
# normalisation follows every convolution, and PReLU activations follow some of them.
#
# **Rounding in training.** Rounding to the nearest number has the gradient 0. The paper, like Theis et al.
# {cite:p}`theis2017`, rounds up or down at random, so that the mean is right:
#
# $$ Q(t) = \lfloor t \rfloor + \epsilon, \qquad \epsilon \in \{0, 1\}, \qquad
#    P(\epsilon = 1) = t - \lfloor t \rfloor . $$ (eq-admm-rounding)
#
# Here $t$ is one entry of the latent, $\lfloor t \rfloor$ is the largest whole number that is at most $t$, and
# $\epsilon$ is a random bit. The mean of $Q(t)$ is $t$. The paper (equations 3 and 4) uses the gradient of this mean:
#
# $$ \frac{\partial Q(t)}{\partial t} := \frac{\partial}{\partial t} \mathbb{E}[Q(t)] = 1 . $$ (eq-admm-gradient)
#
# Here $\mathbb{E}$ is the mean over $\epsilon$. The gradient {eq}`eq-admm-gradient` is a straight-through gradient: the
# forward pass rounds, and the backward pass acts as if nothing was rounded. Both fit into one line of PyTorch:

# %%
t = torch.full((20_000,), -1.3, requires_grad=True)
uniform = torch.rand(t.shape, generator=generator)
rounded = t + (torch.floor(t + uniform) - t).detach()  # detach: no gradient through the brackets
rounded.sum().backward()
rounded = rounded.detach()
print(f"values {rounded.unique().tolist()}, mean {rounded.mean():.3f}, gradient {t.grad.unique().tolist()}")

# %% tags=["remove-cell"]
assert torch.equal(rounded, stochastic_round(t, uniform).detach()) and bool((t.grad == 1).all())
assert set(rounded.tolist()) <= {-2.0, -1.0} and abs(float(rounded.mean()) + 1.3) < 0.02

# %% [markdown]
# **The distortion.** The paper combines four measures. The released code weights them as follows:
#
# $$ d(x, \hat x) = 1000\,(1 - \text{MS-SSIM}) + 1000\,(1 - \text{SSIM}) + 10^4\,\text{MSE} + (45 - \text{PSNR}) .
#    $$ (eq-admm-distortion)
#
# All four compare $x$ with $\hat x$, with pixels in $[0, 1]$. The first steps use a scaled {term}`MSE` alone.
#
# ## The constrained problem
#
# The paper does not estimate bits. It measures the rate by the number of nonzero entries (its equation 5), and limits
# this number to $\ell$:
#
# $$ \min_{E, D} \; d(x, \hat x) \quad\text{subject to}\quad \operatorname{card}(\hat z) \le \ell . $$ (eq-admm-goal)
#
# Here $\operatorname{card}(\hat z)$ counts the nonzero entries of $\hat z$. In this book $\ell$ is a share `keep` of
# all entries. Gradient descent alone cannot solve this: the count is constant almost everywhere, so its gradient is
# zero.
#
# ADMM splits the problem in two. It introduces a second variable $Z$ of the same shape as the code. The network only
# has to lower the distortion, only $Z$ has to be sparse, and both must be equal in the end (equations 6 and 7 of the
# paper):
#
# $$ \min_{E, D, Z} \; d(x, \hat x) + g(Z) \quad\text{subject to}\quad \hat z = Z, \qquad
#    g(Z) = \begin{cases} 0 & \text{if } \operatorname{card}(Z) \le \ell, \\
#    \infty & \text{otherwise.} \end{cases} $$ (eq-admm-problem)
#
# The function $g$ is the **indicator** of the set $\mathcal{S} = \{Z : \operatorname{card}(Z) \le \ell\}$. A minimum
# never has an infinite value, so $Z$ must lie in $\mathcal{S}$, and {eq}`eq-admm-problem` is {eq}`eq-admm-goal` in
# other words.
#
# ## Deriving the three updates
#
# We add the constraint $\hat z = Z$ with a {term}`Lagrange multiplier` $Y$, and a penalty on its violation. This is the
# **augmented Lagrangian**:
#
# $$ L_\rho(E, D, Z; Y) = d(x, \hat x) + g(Z) + \langle Y, \hat z - Z \rangle
#    + \frac{\rho}{2} \lVert \hat z - Z \rVert^2 . $$ (eq-admm-lagrangian)
#
# Here $Y$ has one entry for each entry of the code, $\langle \cdot, \cdot \rangle$ is the sum of the products of all
# entries, $\lVert \cdot \rVert$ is the Euclidean norm of all entries (the Frobenius norm), and $\rho > 0$ is the
# penalty weight. At a solution of the constrained problem {eq}`eq-admm-problem`, $\hat z = Z$ and the penalty is zero.
# So it does not move the solution. Why is it there? Without it, the minimum over $Z$ of $g(Z) - \langle Y, Z \rangle$
# is $-\infty$ for every $Y \ne 0$: a sparse $Z$ can still be arbitrarily large. The penalty keeps $Z$ near the code, so
# this minimum exists.
#
# **Scaled form.** We write $U = Y / \rho$ and $r = \hat z - Z$, and complete the square:
#
# $$ \langle Y, r \rangle + \frac{\rho}{2} \lVert r \rVert^2
#    = \frac{\rho}{2} \lVert r + U \rVert^2 - \frac{\rho}{2} \lVert U \rVert^2 . $$ (eq-admm-square)
#
# The last term contains neither the network nor $Z$. So all minimisations only need $\lVert \hat z - Z + U \rVert^2$.
# ADMM minimises over the network, then over $Z$, and then takes a gradient step for the multiplier. The derivative of
# {eq}`eq-admm-lagrangian` with respect to $Y$ is $\hat z - Z$. With step size $\rho$, the step is
# $Y \leftarrow Y + \rho(\hat z - Z)$. Divided by $\rho$, this gives the third of the updates (equations 8, 9 and 11 of
# the paper):
#
# $$ E, D \leftarrow \arg\min_{E, D} \; d(x, \hat x) + \frac{\rho}{2} \lVert \hat z - Z + U \rVert^2
#    $$ (eq-admm-first)
#
# $$ Z \leftarrow \arg\min_Z \; g(Z) + \frac{\rho}{2} \lVert \hat z - Z + U \rVert^2
#    = \Pi_{\mathcal{S}}(\hat z + U) $$ (eq-admm-second)
#
# $$ U \leftarrow U + \hat z - Z $$ (eq-admm-third)
#
# Each update uses the newest values of the others, and $Z$ and $U$ start at zero. What each of them does:
#
# - The **first update** {eq}`eq-admm-first` is ordinary training with one more term in the loss. The term pulls each
#   code towards $Z - U$. A real training does not reach the minimum; it takes some steps of gradient descent.
# - The **second update** {eq}`eq-admm-second` asks for the point of $\mathcal{S}$ nearest to $\hat z + U$. This is the
#   Euclidean projection $\Pi_{\mathcal{S}}$ (equation 10 of the paper).
# - The **third update** {eq}`eq-admm-third` accumulates in $U$ the difference between the code and $Z$. An entry that
#   stays too large in every step is therefore pulled harder in every step.
#
# **Why $\rho U$ is the multiplier.** Suppose that nothing changes any more. Then $\hat z = Z$ by {eq}`eq-admm-third`,
# and the derivative of {eq}`eq-admm-first` with respect to the code is zero: $\nabla d + \rho U = 0$, where $\nabla d$
# is the gradient of the distortion with respect to the code. So $Y = \rho U = -\nabla d$ is the force that the
# constraint must exert on each entry against the distortion. It does not depend on the choice of $\rho$. This assumes
# that the minimum {eq}`eq-admm-first` is over the code itself, as in the plane below. A network has only its weights,
# which all codes share, and cannot change one entry of one code alone. For a network the equation is therefore an
# idealisation.
#
# ## The projection keeps the $\ell$ largest magnitudes
#
# **Claim.** The point of $\mathcal{S}$ nearest to $v$ keeps the $\ell$ entries of $v$ with the largest magnitudes.
# **Proof.** Fix the positions of the nonzero entries. The nearest point copies $v$ there, and its squared distance is
# the sum of $v_j^2$ over all other positions $j$. This sum is least if the other positions have the smallest $v_j^2$.
# $\square$
#
# The next cell compares this with all possible {term}`supports <support>`. The **support** is the set of positions that
# may be nonzero.


# %%
def keep_largest(v, ell):
    """The ell entries of largest magnitude in the last dimension; of equal magnitudes the first ones."""
    places = v.abs().argsort(dim=-1, descending=True, stable=True)[..., :ell]
    return torch.zeros_like(v).scatter(-1, places, v.gather(-1, places))


v = torch.randn(9, generator=generator)
supports = list(itertools.combinations(range(9), 3))
points = torch.zeros(len(supports), 9).scatter(1, torch.tensor(supports), 1.0) * v
distances = (points - v).norm(dim=1)
print(f"{len(supports)} supports, distances from {distances.min():.4f} to {distances.max():.4f}")
print(f"largest magnitudes: distance {(keep_largest(v, 3) - v).norm():.4f}")
print("equal magnitudes:", keep_largest(torch.tensor([2.0, -2.0, 1.0, 2.0]), 2).tolist())

# %% tags=["remove-cell"]
assert torch.equal(keep_largest(v, 3), points[distances.argmin()])
assert keep_largest(torch.tensor([2.0, -2.0, 1.0, 2.0]), 2).tolist() == [2, -2, 0, 0]
check = torch.Generator().manual_seed(1)
batch = torch.randn(5, 4, 6, generator=check).round()  # whole numbers have many equal magnitudes
assert torch.equal(keep_largest(batch.flatten(1), kept(keep, 24)).view_as(batch), top_l(batch, keep))

# %% [markdown]
# Equal magnitudes are frequent in a real training. The codes are whole numbers and $U$ starts at zero, so $Z$ and $U$
# stay whole numbers as long as $\rho$ does not change. Any choice among equal magnitudes is a projection; ours keeps
# the first entries, so that the result is always the same. The library's versions of the second and third update are:
#
# ```{literalinclude} ../sparsecomp/sparsify/admm.py
# :pyobject: top_l
# :language: python
# ```
# ```{literalinclude} ../sparsecomp/sparsify/admm.py
# :pyobject: Admm.update
# :language: python
# ```
#
# Here `prox` is the projection, and `_stored` converts to the type of $Z$. `history` collects two residuals, which we
# define below, divided by the square root of the number of entries. The function `kept(keep, n)` gives $\ell$: the
# whole number nearest to `keep` times $n$, and at least 1.
#
# ## ADMM in the plane: a convex set
#
# To see how the updates interact, we use a code with two entries and no network. There is no picture either, so in the
# plane we write $x = (x_1, x_2)$ for the *code* $\hat z$; its entries are real numbers. The distortion is a quadratic
# function, so the first update is one linear system:
#
# $$ d(x) = \tfrac12 x^\top H x - h^\top x, \qquad
#    (H + \rho I)\, x = h + \rho\,(Z - U) . $$ (eq-admm-plane)
#
# Here $H$ is a fixed positive definite matrix, $h$ is a fixed vector, and $I$ is the identity matrix. The second
# equation of {eq}`eq-admm-plane` sets the derivative of {eq}`eq-admm-first` to zero. This is all of ADMM; you can
# change every line:

# %%
H, h = drawings.HESSIAN, drawings.SLOPE


def admm(project, rho, steps, start=(0.0, 0.0)):
    z, u, course = torch.tensor(start, dtype=torch.float64), torch.zeros(2), []
    for _ in range(steps):
        x = torch.linalg.solve(H + rho * torch.eye(2), h + rho * (z - u))  # first update
        before, z = z, project(x + u)  # second update
        u = u + x - z  # third update
        course.append((float((x - z).norm()), float(rho * (z - before).norm())))
    return x, z, u, course


def diamond(v):
    return project_l1(v, 1.0)  # |x1| + |x2| <= 1


for rho in (0.5, 1.0, 6.0):
    x, z, u, _ = admm(diamond, rho, 200)
    print(f"rho = {rho}: Z = {z.numpy().round(4)}, rho U = {(rho * u).numpy().round(4)}")

# %% [markdown]
# The allowed set is the $\ell_1$ ball of radius 1, a diamond. All three values of $\rho$ give the same $Z$ and the same
# multiplier $\rho U$, as derived above. {numref}`fig-admm-diamond` shows the paths.

# %% tags=["hide-input"] mystnb={"figure": {"caption": "**On a convex set, every ρ leads to the same point.** Axes: the two entries of the code. Grey lines: equal distortion. Blue: the code x in each step, which starts at the lowest distortion. Orange squares: Z, which starts at 0, on the orange set. Green arrow: U after the last step. It starts at Z and ends at x plus the U of the step before, the point that was projected onto Z. <small>60 steps of ADMM, computed by this page.</small>", "name": "fig-admm-diamond"}, "image": {"alt": "Three panels, two above and one below, with an orange diamond and elliptic contour lines. In each panel a blue path leads from the centre of the ellipses to the same point on the upper right edge of the diamond, where a green arrow points away from the edge. The arrow is longest for the smallest rho."}}
drawings.alternating("diamond", 60)

# %% tags=["remove-cell"]
for where, project in (("diamond", diamond), ("cross", lambda v: keep_largest(v, 1))):
    for rho in (0.5, 1.0, 6.0):
        theirs, places = drawings.alternate(where, rho, 60)
        x, z, u, course = admm(project, rho, 60)
        assert np.allclose(places[-1], torch.stack([x, z, u]).numpy(), atol=1e-9)
        assert np.allclose(np.array(theirs.history) * math.sqrt(2), course, atol=1e-9)
gradient = H @ torch.tensor([3.0, 4.0]).double() / 7 - h
for rho in (0.5, 1.0, 6.0):
    x, z, u, _ = admm(diamond, rho, 200)
    assert torch.allclose(z, torch.tensor([3.0, 4.0]).double() / 7, atol=1e-4)
    assert torch.allclose(rho * u, -gradient, atol=1e-3)

# %% [markdown]
# Look at the green arrows. $U$ is perpendicular to the edge of the set, because $Z$ is the projection of $Z + U$. A
# small $\rho$ needs a long $U$ for the same multiplier. The shapes of the paths differ: a small $\rho$ pulls the code
# slowly, a large $\rho$ lets $Z$ move slowly.
#
# For convex $d$ and $g$ convergence is a theorem {cite:p}`boyd`. We can watch it with two numbers, the **residuals**:
#
# $$ r_\text{primal} = \lVert \hat z - Z \rVert, \qquad
#    r_\text{dual} = \rho\, \lVert Z - Z_\text{before} \rVert . $$ (eq-admm-residuals)
#
# Here $Z_\text{before}$ is $Z$ before the update. The {term}`primal residual` is the violation of the constraint. The
# {term}`dual residual` is the violation of $\nabla d + \rho U = 0$. To see this, note that the first update gives
# $\nabla d + \rho(\hat z - Z_\text{before} + U_\text{before}) = 0$, and insert {eq}`eq-admm-third`:
# $\nabla d + \rho U = -\rho\,(Z - Z_\text{before})$. This only works because the step size of the multiplier is $\rho$.
# Both residuals are zero exactly at a point of rest.
#
# ## The sparse set is not convex
#
# With two entries and $\ell = 1$, the set $\mathcal{S}$ is a cross: at least one entry is zero. The point $(1, 0)$ and
# the point $(0, 1)$ are in the set, but their midpoint is not. So the set is not convex, and the theorem does not
# apply. What happens? {numref}`fig-admm-cross` shows the ends of three runs, and {numref}`fig-admm-residuals` their
# residuals. The slider between the figures shows single steps. It begins at step 3; watch the green arrow of its first
# panel from there to step 6.

# %% tags=["hide-input"] mystnb={"figure": {"caption": "**On the cross, three values of ρ end in three ways: no rest, the best point, another point.** Axes: the two entries of the code. Grey lines: equal distortion. Blue: code x; orange: Z on the cross; green arrow: U after the last step, from Z to the point that was projected. Beyond the dotted diagonals, the projection chooses the other axis. <small>60 steps of ADMM, computed by this page.</small>", "name": "fig-admm-cross"}, "image": {"alt": "Three panels, two above and one below, with an orange cross and elliptic contour lines. For rho 0.5 the path runs back and forth between both axes. For rho 1 it ends on the vertical axis at 2.2. For rho 6 it ends on the horizontal axis at 1."}}
drawings.alternating("cross", 60)

# %%
widgets.two_sets()

# %% tags=["hide-input"] mystnb={"figure": {"caption": "**On the diamond both residuals go to zero for every ρ; on the cross they do not for ρ = 0.5.** Horizontal axis: step. Vertical axis, logarithmic: primal residual (top) and dual residual (bottom). On the diamond, the first x for ρ = 6 lies inside the set, so Z is equal to it and the first primal residual is 0. <small>Values below 10⁻⁸ are drawn at 10⁻⁸. Computed by this page.</small>", "name": "fig-admm-residuals"}, "image": {"alt": "Four panels. On the left, for the diamond, three falling curves in each panel. On the right, for the cross, the curve of rho 0.5 goes up and down for ever near 1, and the two others fall."}}
looks = {0.5: ("#D55E00", "-"), 1.0: ("#0072B2", "--"), 6.0: ("#009E73", "-.")}
sets = {"diamond": diamond, "cross": lambda v: keep_largest(v, 1)}
figure, panels = plot.panels(2, 2, size=(7.2, 5.4), sharex=True, sharey=True)
for column, (where, project) in zip(panels.T, sets.items(), strict=True):
    for rho, (colour, line) in looks.items():
        for axes, values in zip(column, np.array(admm(project, rho, 60)[-1]).T, strict=True):
            axes.semilogy(range(1, 61), values.clip(1e-8), line, color=colour, lw=1.6, label=f"ρ = {rho:g}")
    column[0].set_title(f"the {where}", fontsize=10)
    column[1].set_xlabel("step")
panels[0, 0].set_ylabel("primal residual")
panels[1, 0].set_ylabel("dual residual")
figure.legend(*panels[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=3, frameon=False)
figure

# %% [markdown]
# Compare the ends in {numref}`fig-admm-cross`. For $\rho = 1$, $Z$ rests at $(0, 2.2)$, the point of the cross with the
# least distortion. For $\rho = 6$ it rests at $(1, 0)$, the best point of the other axis. For $\rho = 0.5$ it never
# rests: $U$ grows until $x + U$ crosses the diagonal, the projection chooses the other axis, and $U$ starts to grow in
# the other direction. Step 60 is such a step: $x$, the large blue dot, is still near the vertical axis, and $Z$ has
# just jumped to the horizontal one. The residuals in {numref}`fig-admm-residuals` jump each time.
#
# **Which points can be points of rest?** Suppose that ADMM rests at $Z$. Then $\rho U = -\nabla d$, and the projection
# of $Z + U$ must give $Z$ again. The projection copies a kept entry $i$, so $Z_i + U_i = Z_i$ and $U_i = 0$. For a
# dropped entry $j$ we have $Z_j = 0$ and $U_j = -\partial_j d / \rho$. It is dropped only if its magnitude $|U_j|$ is
# at most the smallest kept magnitude $|Z_i|$:
#
# $$ \rho \;\ge\; \frac{\max_{j\,\text{dropped}} |\partial_j d|}{\min_{i\,\text{kept}} |Z_i|} . $$ (eq-admm-rest)
#
# Here $\partial_j d$ is the derivative of the distortion with respect to entry $j$, taken at $Z$. The numerator says
# how much the picture would gain from a dropped entry. If $\rho$ is too small, no support satisfies {eq}`eq-admm-rest`,
# and there is no rest at all. If $\rho$ is large, many supports satisfy it, and the start decides. We compute both
# limits:

# %%
limit = {}
for end in ((0.0, 2.2), (1.0, 0.0)):
    point = torch.tensor(end, dtype=torch.float64)
    gradient = H @ point - h
    limit[end] = float(gradient.abs().max() / point.abs().max())
    stays = torch.allclose(admm(sets["cross"], 6.0, 200, start=end)[1], point, atol=1e-6)
    print(f"{end}: distortion {point @ H @ point / 2 - h @ point:.2f}, can rest from rho = {limit[end]:.2f}; "
          f"rho = 6 stays there: {stays}")  # fmt: skip

# %% tags=["remove-cell"]
assert 0.5 < limit[0.0, 2.2] < 1 < limit[1.0, 0.0] < 6
ends = [admm(sets["cross"], rho, 400)[1].numpy() for rho in (0.5, 1.0, 6.0)]
courses = [admm(sets["cross"], rho, 400)[-1] for rho in (0.5, 1.0, 6.0)]
assert max(courses[0][-1]) > 0.1 and np.allclose(ends[1], [0, 2.2]) and np.allclose(ends[2], [1, 0])
for end in limit:
    assert np.allclose(admm(sets["cross"], 6.0, 200, start=end)[1], end, atol=1e-6)

# %% [markdown]
# This explains the three endings: 0.5 is below both limits, 1 is between them, and 6 is above both. Boyd et al.
# {cite:p}`boyd` (chapter 9) say the same in general: on a nonconvex set ADMM is a local method that need not converge.
# The paper does not print its $\rho$; the released code has 0.1. Hence we always look at the residuals.
#
# ## Two remedies
#
# Two remedies for a bad $\rho$ are common in practice.
#
# **Balancing.** Boyd et al. (section 3.4.1) let $\rho$ follow the residuals:
#
# $$ \rho \leftarrow \begin{cases}
#    2 \rho & \text{if } r_\text{primal} > 10\, r_\text{dual}, \\
#    \rho / 2 & \text{if } r_\text{dual} > 10\, r_\text{primal}, \\
#    \rho & \text{otherwise.} \end{cases} $$ (eq-admm-balance)
#
# Here the residuals are those of {eq}`eq-admm-residuals`. A large primal residual means that the pull between the code
# and $Z$ is too weak, so $\rho$ grows. A large dual residual means that $Z$ is still moving; with a smaller $\rho$ it
# moves faster. When $\rho$ changes, $U$ must change as well. The multiplier is $Y = \rho U$, and it should not jump
# only because $\rho$ jumps. So $U$ is divided by the factor that multiplies $\rho$. In the library, `balancing` returns
# the factor and `Admm.rescale` applies it to both.

# %%
best = torch.tensor([0.0, 2.2], dtype=torch.float64)  # of the cross


def balanced(project, rho, until, steps):
    """ADMM whose rho follows the residuals in the first `until` steps."""
    z, u, course = torch.zeros(2), torch.zeros(2), []
    for step in range(steps):
        x = torch.linalg.solve(H + rho * torch.eye(2), h + rho * (z - u))
        before, z = z, project(x + u)
        u = u + x - z
        primal, dual = float((x - z).norm()), float(rho * (z - before).norm())
        course.append((rho, max(primal, dual), float((z - best).norm())))
        if step < until:
            factor = 2.0 if primal > 10 * dual else 0.5 if dual > 10 * primal else 1.0
            rho, u = rho * factor, u / factor
    return x, np.array(course)


for rho in (0.01, 1.0, 100.0):
    fixed, follows = (balanced(diamond, rho, until, 3000)[1][:, 1] for until in (0, 3000))
    print(f"first rho {rho:6.2f}: {(fixed > 1e-6).sum():5d} steps if fixed, {(follows > 1e-6).sum():3d} if balanced")

# %% [markdown]
# The cell counts the steps on the diamond in which a residual is above $10^{-6}$. A bad first $\rho$ costs hundreds or
# thousands of steps if it is fixed, and only a few if it is balanced. But does balancing also find a $\rho$ for which
# ADMM rests on the *cross*? {numref}`fig-admm-remedies` answers this.
#
# **Then project.** The second remedy ends ADMM before the training ends, as in progressive ADMM
# {cite:p}`progressive_admm`. From then on, $Z$ and $U$ are not used any more, and the projection moves into the forward
# pass. The decoder receives only the $\ell$ largest entries of the code:
#
# $$ c = \hat z \odot M, \qquad M_j = \begin{cases} 1 & \text{if } |\hat z_j| \text{ is among the } \ell
#    \text{ largest magnitudes,} \\ 0 & \text{otherwise.} \end{cases} $$ (eq-admm-mask)
#
# Here $\hat z$ is the code (in the plane $x$), $M$ is the mask of the entries that stay, $\odot$ multiplies entry by
# entry, and the decoder receives $c$. The backward pass treats the mask {eq}`eq-admm-mask` as a constant. The gradient
# therefore reaches the kept entries unchanged, and it does not reach the others. The network is fine-tuned in this way,
# and the constraint holds exactly in every step.


# %%
def then_project(x, steps, lr=0.3):
    course = []
    for _ in range(steps):
        x = x.detach().requires_grad_()
        code = x * (keep_largest(x.detach(), 1) != 0)
        (code @ H @ code / 2 - h @ code).backward()
        course.append(code.detach())
        x = x - lr * x.grad
    return torch.stack(course)


for steps in (6, 20):
    x = admm(sets["cross"], 0.5, steps)[0]
    print(f"after {steps} steps of ADMM with rho = 0.5: from {x.numpy().round(2)} to "
          f"{then_project(x, 60)[-1].numpy().round(2)}")  # fmt: skip

# %% tags=["hide-input"] mystnb={"figure": {"caption": "**Balancing for 30 steps, or a projection after ADMM, ends the oscillation; balancing without end does not.** The cross, first ρ = 0.5. Top: ρ over the steps; above the dotted line, the point (0, 2.2) can be a point of rest. Middle and bottom, logarithmic: distance of Z, or of the projected code, from (0, 2.2); values below 10⁻⁸ are drawn at 10⁻⁸. <small>Computed by this page.</small>", "name": "fig-admm-remedies"}, "image": {"alt": "Top: rho alternates between 0.5 and 2 if it is balanced without end, and stays at 2 if balancing stops after 30 steps. Middle: the distance falls to zero only if balancing stops. Bottom: with ADMM alone the distance goes up and down, with a projection from step 21 on it falls to zero."}}
ways = {
    "fixed": (balanced(sets["cross"], 0.5, 0, 80)[1], "#777777", "-"),
    "balanced without end": (balanced(sets["cross"], 0.5, 80, 80)[1], "#D55E00", "-"),
    "balanced for 30 steps": (balanced(sets["cross"], 0.5, 30, 80)[1], "#0072B2", "--"),
}
figure, (top, middle, bottom) = plot.panels(3, 1, size=(7.2, 7.4), sharex=True)
for name, (course, colour, line) in ways.items():
    top.plot(range(1, 81), course[:, 0], line, color=colour, lw=1.6, label=name)
    middle.semilogy(range(1, 81), course[:, 2].clip(1e-8), line, color=colour, lw=1.6)
top.axhline(limit[0.0, 2.2], color="#000000", ls=":", lw=1, label="limit of a point of rest")
tuned = (then_project(admm(sets["cross"], 0.5, 20)[0], 60) - best).norm(dim=1)
bottom.semilogy(range(1, 81), ways["fixed"][0][:, 2].clip(1e-8), color="#777777", lw=1.6)
bottom.semilogy(range(21, 81), tuned.clip(1e-8), "-.", color="#009E73", lw=1.6, label="projection from step 21 on")
top.set(ylim=(0, 2.3), ylabel="penalty weight ρ")
middle.set_ylabel("distance from (0, 2.2),\nbalanced")
bottom.set(xlabel="step", ylabel="distance from (0, 2.2),\nthen projected")
middle.sharey(bottom)
found = [sum(two, []) for two in zip(top.get_legend_handles_labels(), bottom.get_legend_handles_labels(), strict=True)]
figure.legend(*found, loc="outside lower center", ncols=2, frameon=False, fontsize=10)
figure

# %% tags=["remove-cell"]
without_end, stopped = (ways[name][0] for name in ("balanced without end", "balanced for 30 steps"))
assert without_end[60:, 1].max() > 0.1 and stopped[-1, 2] < 1e-6 and stopped[-1, 0] > limit[0.0, 2.2]
assert balanced(sets["cross"], 0.5, 20, 300)[1][-20:, 1].max() > 0.1  # it stops below the limit
say("admm-rho-low", without_end[40:, 0].min(), "g")
say("admm-rho-high", without_end[40:, 0].max(), "g")
say("admm-rho-stopped", stopped[-1, 0], "g")
say("admm-rho-stopped-20", balanced(sets["cross"], 0.5, 20, 21)[1][-1, 0], "g")
for steps, end in ((6, [1, 0]), (20, [0, 2.2])):
    x = admm(sets["cross"], 0.5, steps)[0]
    assert np.allclose(then_project(x, 200)[-1], end, atol=1e-6)
assert (balanced(diamond, 0.01, 3000, 3000)[1][:, 1] > 1e-6).sum() < 60 < 2000
assert (balanced(diamond, 0.01, 0, 3000)[1][:, 1] > 1e-6).sum() > 2000

# %% tags=["remove-cell"]
split = Admm((1, 2), 0.5, lambda v: top_l(v, 0.5))
rho, u, z = 0.5, torch.zeros(2), torch.zeros(2)
split.update(torch.tensor([[1.0, 2.0]]))
before = split.rho * split.u
split.rescale(2.0)
assert torch.equal(split.rho * split.u, before) and split.rho == 1
own = torch.tensor([[1.0, -3.0, 2.0]], requires_grad=True)
(grad,) = torch.autograd.grad(projected(own, 0.34).sum(), own)
assert grad.tolist() == [[0, 1, 0]]

# %% [markdown]
# The orange curve is a surprise: $\rho$ alternates between {glue:text}`admm-rho-low` and {glue:text}`admm-rho-high`,
# and $Z$ never rests. When ADMM comes close to rest with a large $\rho$, the dual residual dominates and
# {eq}`eq-admm-balance` lowers $\rho$, here below the limit of {eq}`eq-admm-rest`. The rule knows nothing about this
# limit. If balancing stops after 30 steps, $\rho$ stays at {glue:text}`admm-rho-stopped` and ADMM rests. If it stops
# after 20 steps, $\rho$ stays at {glue:text}`admm-rho-stopped-20` and ADMM does not. So balancing must end, and even
# then nothing is guaranteed.
#
# The projection ends at the best point of the axis that it starts on (green curve). But it does not choose the axis.
# After 6 steps of ADMM it goes to $(1, 0)$, after 20 steps to $(0, 2.2)$. The axis, and thus the support, is the one
# that ADMM has when it ends. What the two remedies bring for real networks is measured in
# [CAE-ADMM: results](32_cae_admm).
#
# ## The training loop
#
# Now we replace the plane by a network. The three functions `loss_of`, `updates` and `train` are the complete method.
# To make it fast, we use a small network that starts as a DCT (`start="dct"`), 12 crops of 64 × 64 pixels, and a scaled
# MSE as distortion. Each crop has its own $Z$ and $U$; `which` says which crops are in a batch.


# %% tags=["hide-input"]
# Twelve crops for the training loop, (12, 3, 64, 64) in [0, 1].
photographs = data.bundled()
held = {"chelsea": photographs.pop("chelsea")}
crops = []
for number in range(12):
    photo = torch.from_numpy(list(photographs.values())[number % len(photographs)]).permute(2, 0, 1)
    top, left = (int(torch.randint(n - 63, (), generator=generator)) for n in photo.shape[1:])
    crops.append(photo[:, top : top + 64, left : left + 64] / 255)
crops = torch.stack(crops)

# %%
def codes_of(model):
    with torch.no_grad():
        return model.encoder(crops).round()  # of all crops; in use we round to the nearest


def loss_of(model, which, target, rho, draw):
    """The first update's loss: distortion, and the pull of each code towards its target Z - U."""
    latent = model.encoder(crops[which])
    code = latent + (torch.floor(latent + torch.rand(latent.shape, generator=draw)) - latent).detach()
    distortion = 1e5 * (model.decoder(code) - crops[which]).square().mean()
    return distortion + rho / 2 * (code - target[which]).square().sum((1, 2, 3)).mean()


def updates(codes, u, keep):
    """The second and third update, for all codes; returns Z and U."""
    z = keep_largest((codes + u).flatten(1), kept(keep, codes[0].numel())).view_as(codes)
    return z, u + codes - z


# %%
def train(rho, keep, steps=200, interval=20):
    model = CaeAdmm(Shape(width=16, latent=16, depth=0, outer=64), seed, start="dct")
    calibrate(model, crops)  # fixes the batch normalisations to these crops
    draw, adam = torch.Generator().manual_seed(seed), torch.optim.Adam(model.eval().parameters(), lr=5e-4)
    z, u, course = torch.zeros_like(codes_of(model)), torch.zeros_like(codes_of(model)), []
    for step in range(steps + 1):
        if step % interval == 0:
            codes, before = codes_of(model), z
            z, u = updates(codes, u, keep)
            course.append([step, (codes != 0).float().mean(), (codes - z).norm(), rho * (z - before).norm()])
        which = torch.randperm(len(crops), generator=draw)[:4]  # the crops of this batch
        adam.zero_grad()
        loss_of(model, which, z - u, rho, draw).backward()
        adam.step()
    return model, np.array(course)


# %% tags=["hide-input"] mystnb={"figure": {"caption": "**After 200 steps, {glue:text}`admm-loop-last` of the entries are nonzero with ADMM and {glue:text}`admm-loop-plain` without; ADMM has not come to rest.** Horizontal axes: step of gradient descent. Left: share of nonzero entries; the dotted line is `keep`. Right: residuals of the run with ADMM, divided by the square root of the number of entries. <small>The tiny network of this page on 12 crops.</small>", "name": "fig-admm-loop"}, "image": {"alt": "Left: both shares of nonzero entries rise at first. Then the share with ADMM falls, and the one without pruning stays about constant. A dotted line far below marks keep. Right: the primal residual rises at first and then falls slowly, the dual residual is much smaller and falls slowly; neither reaches zero."}}
trained = {"not pruned, ρ = 0": train(0.0, keep), "ADMM, ρ = 0.1": train(0.1, keep)}
figure, (left, right) = plot.panels(1, 2, size=(7.2, 3.6))
for (name, (_, course)), colour, line in zip(trained.items(), ("#777777", "#0072B2"), ("-", "--"), strict=True):
    left.plot(course[:, 0], course[:, 1], line, color=colour, lw=1.8, label=name)
left.axhline(keep, color="#000000", ls=":", lw=1, label="keep")
left.set(xlabel="step", ylim=(0, None))
left.set_title("share of nonzero entries", fontsize=10)
right.set_title("residuals of ADMM", fontsize=10)
root = math.sqrt(codes_of(trained["ADMM, ρ = 0.1"][0]).numel())
right.plot(course[:, 0], course[:, 2] / root, color="#D55E00", lw=1.8, label="primal residual")
right.plot(course[:, 0], course[:, 3] / root, "--", color="#009E73", lw=1.8, label="dual residual")
right.set(xlabel="step", ylim=(0, None))
for axes in (left, right):
    axes.legend(frameon=False, fontsize=9)
figure

# %% tags=["remove-cell"]
def psnr(model, codes):
    with torch.no_grad():
        return -10 * math.log10((model.decoder(codes) - crops).square().mean())


pruned, plain = trained["ADMM, ρ = 0.1"], trained["not pruned, ρ = 0"]
say("admm-loop-last", pruned[1][-1, 1], ".0%")
say("admm-loop-plain", plain[1][-1, 1], ".0%")
say("admm-loop-residual", pruned[1][-1, 2] / root, ".1f")
say("admm-loop-rms", float(codes_of(pruned[0]).square().mean().sqrt()), ".1f")
say("admm-loop-psnr", psnr(pruned[0], codes_of(pruned[0])) - psnr(plain[0], codes_of(plain[0])), "+.1f")
reached = [psnr(model, top_l(codes_of(model), keep)) for model, _ in (pruned, plain)]
say("admm-loop-kept", reached[0] - reached[1], "+.1f")
if at_defaults:
    assert pruned[1][-1, 1] < 0.5 < plain[1][-1, 1] and pruned[1][-1, 2] / root > 1 and reached[0] > reached[1]
    assert psnr(pruned[0], codes_of(pruned[0])) < psnr(plain[0], codes_of(plain[0]))

# %% [markdown]
# We compare the PSNR of both networks. If the decoder receives the whole code, ADMM changes it by
# {glue:text}`admm-loop-psnr` dB. If the decoder receives only the largest entries, the share `keep`, ADMM changes it by
# {glue:text}`admm-loop-kept` dB. At the default settings, the pruned network is thus worse with the whole code and
# better with a sparse one. In {numref}`fig-admm-loop` the primal residual ends at {glue:text}`admm-loop-residual`. This
# is far from zero: the root mean square of the entries of the codes is {glue:text}`admm-loop-rms`. The share stays
# above `keep`. The first update takes only 20 steps of gradient descent here, and one encoder must serve all crops. A
# run of 200 steps on 12 crops says nothing about the end of a real training.
#
# The library's `CodeTraining` adds what a real training needs: the distortion {eq}`eq-admm-distortion`, its warm-up by
# an MSE, other optimisers, {term}`checkpoints <checkpoint>`, and the two remedies. The box shows one step of it.
# Compare it with `loss_of` and `train` above:
#
# - `drawn` are the crops of the batch, and `places` says which $Z$ and $U$ belong to them (`which` in our loop);
# - `encode`, `stochastic_round` and `decode` are the network and its rounding, `mix` is the distortion, and `_penalty`
#   is the term with $\rho$, absent in the first `mse_steps` steps;
# - `rests` is true when $Z$ and $U$ no longer change, and `projects` is true when the projection has replaced ADMM;
# - `_prune` makes the second and third update, every `interval` steps;
# - `prior` is used by another training of this book, which estimates the {term}`entropy` in place of pruning;
# - `settle` is the step from which the batch normalisations are fixed, `sound` is false if a gradient is not finite,
#   and `plateau` is one of the schedules of the learning rate.
#
# :::{admonition} `CodeTraining.step`
# :class: dropdown
# ```{literalinclude} ../sparsecomp/training/latent_pruning.py
# :pyobject: CodeTraining.step
# :language: python
# ```
# :::
#
# This is how a training is started. We use the sizes of the preset `smoke`; after so few steps the pictures are still
# useless:

# %%
chosen = numbers.PRESETS["smoke"]
small, zeros = Shape(chosen.width, 32, chosen.depth), {}
for name, pruning in (("not pruned", None), ("pruned", replace(chosen.pruning, keep=keep))):
    model = CaeAdmm(small, seed)
    training = CodeTraining(model, photographs, held, chosen.descent, pruning=pruning, seed=seed)
    zeros[name] = run(training).history[-1]["zeros"]
    print(f"{name:11s}{zeros[name]:.0%} zeros after {chosen.descent.steps} steps")

# %% tags=["remove-cell"]
if at_defaults:
    assert zeros["pruned"] > zeros["not pruned"]
positions = (481 - 128 + 1) * (321 - 128 + 1)  # of the crop in a picture of the training set
variants = 4 * positions  # flipped or not, along both axes
again = 1 - (1 - 1 / variants) ** 299
say("admm-again", again, ".1%")
assert again < 0.002
say("admm-crops", variants, ",")

# %% [markdown]
# ## Codes to return to
#
# Equations {eq}`eq-admm-first` to {eq}`eq-admm-third` have a $Z$ and a $U$ for every code. They only make sense if the
# same code occurs again. The paper, however, trains on random crops of 128 × 128 pixels with random flips, and its
# released code draws one crop from each picture in every epoch. A picture of 481 × 321 pixels has 354 × 194 places for
# a crop, and each can be flipped in four ways. These are {glue:text}`admm-crops` crops. One of them is drawn again
# within 300 epochs with a probability of {glue:text}`admm-again`.
#
# So random crops cannot be pruned by these equations: $Z$ and $U$ of a crop would be written once and almost never be
# read. This project therefore draws the crops once, flips included, and gives them numbers. This is what `which` does
# in our loop. The price is a training set of fixed size. The library has a second way, `crops="fresh"`. It keeps $Z$
# and $U$ for the codes of whole pictures. In this mode every crop is new, but it starts at a multiple of 8 pixels and
# is never flipped. A code has one place for 8 × 8 pixels, so the code of such a crop corresponds to a part of the code
# of its picture, and it uses this part of $Z$ and $U$. What the released code does is the subject of
# [the next chapter](31_released_code).
#
# ## The file: what a sparse code costs
#
# The method says nothing about bytes. Our file format stores the code with a {term}`range coder`. For each channel, a
# table says how often each value occurs. The tables are counted once, on the training pictures, and belong to the
# model. The file also adapts the tables: it stores one share of zeros per channel.
#
# What should a code with $k$ nonzero entries of $n$ cost? If the positions are random, a zero has the probability $1 -
# k/n$. It needs $-\log_2(1 - k/n)$ bits, which is 0.15 bits for $k/n = 0.1$. A zero is cheap, but there are many of
# them. To say for each entry whether it is zero takes
#
# $$ n\,h(k/n) \text{ bits}, \qquad h(p) = -p \log_2 p - (1 - p) \log_2 (1 - p), $$ (eq-admm-positions)
#
# where $h$ is the binary {term}`entropy`, as in {eq}`eq-position-bits`. For $k/n = 0.1$ this is $0.47\,n$ bits, or 4.7
# bits for each nonzero entry, before its value is stored. So the positions cost bits, not the zeros. We compare this
# with files of a trained model, for the face above. The option `keep` of the {term}`codec` sets further entries to zero
# when the file is written:


# %%
def entropy(symbols):
    """Bits of all symbols together, if a table of their own frequencies is known."""
    counts = np.unique(symbols, return_counts=True)[1]
    return float(-(counts * np.log2(counts / counts.sum())).sum())


measured = {}
for share in (1.0, keep, keep / 2):
    codec = codecs.get_codec("cae-admm", model="code-keep-10-seed-0-laptop", keep=share)
    result = codecs.evaluate(codec, face)
    code = read_symbols(unpack(result.data))[1]  # whole numbers, (channels, height, width)
    places, values = entropy(code != 0) / 8, entropy(code[code != 0]) / 8
    by_channel = sum(entropy(channel != 0) + entropy(channel[channel != 0]) for channel in code) / 8
    measured[share] = [(code != 0).mean(), places, values, by_channel, len(result.data), result.ssim, code]
rows = [[share, f"{100 * m[0]:.1f} %", *(f"{n:,.0f}" for n in m[1:5]), f"{m[5]:.3f}"] for share, m in measured.items()]
names = ["keep", "nonzero", "positions, B", "values, B", "both by channel, B", "file, B", "SSIM"]
plot.Table(rows, columns=names)

# %% tags=["remove-cell"]
whole_code = measured[1.0]
say("admm-file-places", whole_code[1], ",.0f")
say("admm-file-nonzero", whole_code[0], ".1%")
say("admm-file-values", whole_code[2], ",.0f")
say("admm-file-channel", whole_code[3], ",.0f")
full = (whole_code[6] != 0).mean((1, 2))
say("admm-channel-least", full.min(), ".0%")
say("admm-channel-most", full.max(), ".0%")
say("admm-file-bytes", whole_code[4], ",.0f")
bpp = 8 * whole_code[4] / 192**2
say("admm-file-bpp", bpp)
half = measured[keep / 2]
say("admm-half-nonzero", half[0] / whole_code[0], ".0%")
say("admm-half-bytes", half[4] / whole_code[4], ".0%")
share = whole_code[0]
binary = -share * math.log2(share) - (1 - share) * math.log2(1 - share)
assert math.isclose(whole_code[1] * 8, code.size * binary, rel_tol=1e-9)
for _, places, values, by_channel, size, *_ in measured.values():
    assert by_channel < places + values and size > 0.9 * by_channel
if at_defaults:
    assert whole_code[1] > whole_code[2] and whole_code[4] < whole_code[1] + whole_code[2]

# %% [markdown]
# The first row, with `keep` 1.0, is the code as the encoder makes it; nothing was set to zero afterwards. ADMM trained
# this model with a `keep` of 10 %, but {glue:text}`admm-file-nonzero` of the entries are nonzero. The training pulls
# codes towards $Z$ and does not force them to be sparse, and this picture is not one of its crops. By
# {eq}`eq-admm-positions` the positions of this code need {glue:text}`admm-file-places` bytes, more than the values
# ({glue:text}`admm-file-values` bytes). The file has {glue:text}`admm-file-bytes` bytes, which is *less* than the sum.
# The reason is that the channels differ: the emptiest channel has {glue:text}`admm-channel-least` nonzero entries and
# the fullest {glue:text}`admm-channel-most`, and one table per channel exploits this. The entropies by channel add up
# to {glue:text}`admm-file-channel` bytes, but they assume that the receiver knows the exact tables of this picture. The
# columns with entropies are estimates; only the file is measured.
#
# In the last row, {glue:text}`admm-half-nonzero` as many entries are nonzero as in the first, and the file still has
# {glue:text}`admm-half-bytes` of its bytes. So the number of nonzero entries is not a rate. It does not say where the
# entries are, how large they are, and how predictable both are.
#
# **A budget is met by choosing `keep`.** More entries make a larger file. So the codec can search for the largest
# number of entries whose file is within the budget. In Python this is `codecs.evaluate(codec, face, 0.3)` for a codec
# without `keep`. The whole code takes {glue:text}`admm-file-bpp` {term}`bits per pixel` ({term}`bpp`). For a budget of
# 0.3 bpp, the codec returns a file of {glue:text}`admm-within` bpp with {glue:text}`admm-within-nonzero` nonzero
# entries.
#
# **Try it.** The slider keeps fewer and fewer entries of the code of the face. Watch which channels become empty first,
# and from which share on you see a difference in the picture.


# %% tags=["remove-cell"]
codec = codecs.get_codec("cae-admm", model="code-keep-10-seed-0-laptop")
within = codecs.evaluate(codec, face, 0.3)
code = read_symbols(unpack(within.data))[1]
assert within.bpp <= 0.3 and within.bpp > 0.28
say("admm-within", within.bpp, ".4f")
say("admm-within-nonzero", (code != 0).mean(), ".1%")

# %% tags=["remove-cell"]
check = torch.Generator().manual_seed(2)
def hard_threshold(v, mu, rho):
    return v * (v.abs() > math.sqrt(2 * mu / rho))


def keep_per_channel(v, keep):
    channels = v.flatten(2)
    return keep_largest(channels, kept(keep, channels.shape[-1])).view_as(v)


masks = torch.tensor(list(itertools.product([0.0, 1.0], repeat=9)))
for mu, rho in ((0.5, 1.0), (0.1, 3.0), (2.0, 1.0)):
    cost = mu * masks.sum(1) + rho / 2 * (masks * v - v).square().sum(1)
    assert torch.equal(hard_threshold(v, mu, rho), masks[cost.argmin()] * v)
code = torch.randn(3, 4, 5, 5, generator=check)
theirs, ours = top_l(code, keep), keep_per_channel(code, keep)
assert bool(((ours != 0).sum((2, 3)) == kept(keep, 25)).all())
if kept(keep, 100) >= 4 * kept(keep, 25):
    assert (ours - code).norm() >= (theirs - code).norm()
x, z, u = 0.0, 0.0, 0.0
for step in range(100):
    x = (3 + z - u) / 2
    z = min(x + u, 1.0)
    u = u + x - z
    assert step != 1 or (x, z, u) == (1.75, 1, 1.25)
assert math.isclose(x, 1) and math.isclose(u, 2)

# %%
widgets.code_shares()

# %% [markdown]
# :::{admonition} What the paper says and what we find
# ```{list-table}
# :header-rows: 1
# * - the paper says
#   - we find
#   - why they differ
# * - the projection onto $\mathcal{S}$ keeps the $\ell$ largest elements
#   - the same, if "largest" means magnitude; it is the nearest of all supports
#   - they agree
# * - three updates form one iteration; convergence is not discussed
#   - in the plane, three values of $\rho$ end in three ways
#   - $\mathcal{S}$ is not convex; {eq}`eq-admm-rest` says where ADMM can rest
# * - trains on random crops with random flips
#   - a crop returns in 300 epochs with probability {glue:text}`admm-again`
#   - the equations need a code that occurs again; we number the crops
# * - the rate is the number of nonzero entries
#   - with {glue:text}`admm-half-nonzero` of the nonzero entries, the file has {glue:text}`admm-half-bytes` of its bytes
#   - positions and values need bits; the count ignores them
# ```
# :::
#
# ## In short
#
# - CAE-ADMM minimises the distortion under a limit on the number of nonzero entries of each code.
# - ADMM alternates training with a quadratic term, a projection, and the sum $U$ of the differences. $\rho U$ is the
#   Lagrange multiplier.
# - The projection keeps the $\ell$ largest magnitudes. The set is not convex, so ADMM may rest at a bad point or never;
#   the residuals show it.
# - Balancing $\rho$ speeds ADMM up but must end. A projection in the forward pass enforces the constraint on the
#   support that ADMM has found.
# - Each code needs its own $Z$ and $U$, so crops must return. In the file, zeros are cheap and positions are not.
#
# ## Exercises
#
# 1. As in the plane, $x$ is the code. Let $d(x) = \frac12 (x - 3)^2$ with one variable, and let the set be $x \le 1$.
#    Compute two steps of ADMM with $\rho = 1$ by hand, and the values of $x$, $Z$ and $U$ at rest.
# 2. A code of two entries has the distortion $d(x) = \frac12 (x_1 - 2)^2 + \frac12 (x_2 - 1)^2$. At which points of the
#    cross can ADMM rest, and from which $\rho$ on?
# 3. (Code) A limit on the count can be replaced by a price: $g(Z) = \mu \operatorname{card}(Z)$. Write the second
#    update as a function `hard_threshold(v, mu, rho)`, and compare it with {term}`soft thresholding`.
# 4. (Code) A code has the shape `(N, C, h, w)`. Write a projection that keeps the same number of largest entries in
#    each *channel*. Is its result nearer to the code than that of `top_l`? What does it mean for the tables of the
#    file?
# 5. In a code with half an entry per pixel, 10 % of the entries are nonzero at random positions. What do the positions
#    cost in bits per pixel? Name two codes with equal count whose files differ most.
#
# :::{admonition} Solutions
# :class: dropdown
# 1. The first update is $x = (3 + Z - U) / 2$. Step 1: $x = 1.5$, $Z = 1$, $U = 0.5$. Step 2: $x = 1.75$, and
#    $x + U = 2.25$, so $Z = 1$ and $U = 1.25$. At rest $x = Z = 1$ and $U = 2$, because $\rho U = -d'(1) = 2$.
# 2. On the axes $d$ is least at $(2, 0)$ and at $(0, 1)$. At $(2, 0)$, $\partial_2 d = -1$, so $\rho \ge 1/2$. At
#    $(0, 1)$, $\partial_1 d = -2$, so $\rho \ge 2$. With $1/2 \le \rho < 2$ only the better point remains.
# 3. For each entry, the update compares two values: $\mu$ if $Z_j = v_j \ne 0$, and $\frac{\rho}{2} v_j^2$ if
#    $Z_j = 0$. So an entry stays if $|v_j| > \sqrt{2 \mu / \rho}$, and it keeps its value. Soft thresholding also moves
#    the entries that stay.
#    ```python
#    def hard_threshold(v, mu, rho):
#        return v * (v.abs() > math.sqrt(2 * mu / rho))
#    ```
# 4. Up to the rounding of the numbers, the allowed codes are a subset of $\mathcal{S}$, so the result is never nearer.
#    All channels get the same share of zeros. The tables then gain less from differences between channels.
#    ```python
#    def keep_per_channel(v, keep):
#        channels = v.flatten(2)
#        return keep_largest(channels, kept(keep, channels.shape[-1])).view_as(v)
#    ```
# 5. $h(0.1) = 0.47$ bits per entry, which is 0.23 bpp. If all nonzero entries are $+1$ in one channel that is full,
#    they cost almost nothing. If they are at random positions with values spread over $-128$ to 127, each costs 8 bits
#    for its value and 4.7 bits for its position. The count is the same.
# :::
#
# ## Further reading
#
# {cite:t}`boyd` is the standard text on ADMM: chapter 3 derives it, section 3.3 explains the residuals, section 3.4.1
# the balancing, and chapter 9 the nonconvex case. {cite:t}`theis2017` train the network that CAE-ADMM starts from, with
# an estimate of the entropy. {cite:t}`progressive_admm` prune weights with ADMM in several rounds, each followed by a
# masked training. The next chapter, [What the released code of CAE-ADMM computes](31_released_code), compares these
# equations with the published implementation. The results are in [CAE-ADMM: results](32_cae_admm).
