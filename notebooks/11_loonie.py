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
# # L0onie: sparse neural image compression with L0 gates under a bit budget
#
# In this chapter you train a network that is too large for its bit budget, and you close its weights with
# {term}`gates <gate>` until the budget is met.
#
# **You will learn**
#
# - how hard-concrete gates make the number of nonzero weights differentiable;
# - why L0onie trains on the median of each gate, and what this costs;
# - how {term}`dual ascent` with restarts enforces "at most 0.3 {term}`bits per pixel`" during the training;
# - how to write all of L0onie in two short cells of PyTorch.
#
# **You need** the chapter on [COIN](10_coin) and the last section of the [primer](00_compression_primer), no GPU and no
# data set. **Run it:** about half a minute with `python -m reproduce run 11_loonie`. The figure about the Kodak
# pictures is drawn from records in the repository.

# %% tags=["parameters"]
preset = "smoke"  # not used here: this chapter only has short fits, and its Kodak figure shows stored records
seed = 0  # a whole number of at least 0
keep = 0.5  # share of the weights that the budget of the small example pays for; between 0.3 and 0.8
dual_lr = 2e-3  # step size of the multiplier in the small example; between 1e-3 and 5e-3

# %% tags=["hide-input"]
import math

import numpy as np
import torch
from myst_nb import glue

from reproduce import plot, widgets
from reproduce.papers import loonie
from reproduce.records import Records
from reproduce.tables import say
from sparsecomp import checks, codecs, data, metrics, network_weights
from sparsecomp.coding.container import unpack
from sparsecomp.models import siren
from sparsecomp.sparsify.gates import HardConcrete
from sparsecomp.sparsify.lagrangian import Multipliers

checks.one_of("preset", preset, loonie.PRESETS)
checks.whole("seed", seed, 0)
checks.in_range("keep", keep, 0.3, 0.8)
checks.in_range("dual_lr", dual_lr, 1e-3, 5e-3)
at_defaults = (seed, keep, dual_lr) == (0, 0.5, 2e-3)
picture, records = data.bundled()["astronaut"], Records(preset="laptop")

# %% [markdown]
# ## The problem: choose the weights, not the architecture
#
# COIN fixes its rate before the training: depth and width decide the file. The last chapter showed that a bad choice
# costs more than 1 dB and that the best one is found by trying. L0onie {cite:p}`l0onie` starts from a network that is
# too large for the budget and gives every weight a gate. A constraint closes gates during the training until the bits
# of the remaining weights are within the budget. The training thus decides which weights stay. L0onie was published in
# 2022 as a paper and as a poster. Our equations and quotations are those of the poster. What we call the paper's
# settings are those of the released code. {numref}`fig-loonie-idea` shows a result.

# %% tags=["hide-input"] mystnb={"figure": {"caption": "**L0onie keeps {glue:text}`loonie-idea-alive` of the weights of a network with twice the budget.** The bundled astronaut; its reconstruction from a file, with the PSNR of the whole picture (the budget of 0.3 bpp does not count positions, the file stores them); and the nine hidden matrices of the network, row by row from the first to the last layer. A blue dot is a weight, white is a closed gate. <small>Records: gallery.</small>", "name": "fig-loonie-idea"}, "image": {"alt": "Left the face of the astronaut, in the middle a blurred reconstruction of it, right a mosaic of nine square matrices of blue and white dots; the first three are mostly blue, the last three mostly white."}}
kept = widgets.kept_file("astronaut-loonie-nonzeros-0.3.spc")
top, left, height, width = widgets.NARROW
crop = np.s_[top : top + height, left : left + width]
mosaic = widgets.alive_weights(kept, (width - 1, width - 1))  # three by three squares, without a margin
drawn = codecs.decode(kept)
scores = f"{8 * len(kept) / 512**2:.3f} bpp, {metrics.psnr(reference=picture, reconstruction=drawn):.2f} dB"
plot.pictures({"original": picture[crop], f"L0onie: {scores}": drawn[crop], "weights that are left": mosaic})

# %% tags=["remove-cell"]
sparse = network_weights.decode(unpack(kept).sections)
hidden = [matrix for matrix, _ in siren.layers(sparse.architecture, sparse.parameters()[None])[1:-1]]
for name, weights in (("alive", sparse.parameters()), ("first", hidden[0]), ("last", hidden[-1])):
    say(f"loonie-idea-{name}", float((weights != 0).float().mean()), ".0%")
for tau in loonie.LOONIE_RATES:
    first = siren.Architecture.parse(loonie.STARTS[tau][0])
    say(f"loonie-start-{tau}", 16 * first.n_parameters / (512 * 768) / tau)
assert float((hidden[0] != 0).float().mean()) > float((hidden[-1] != 0).float().mean())

# %% [markdown]
# The weights that are left are scattered within each matrix. The first hidden matrix keeps
# {glue:text}`loonie-idea-first` of its weights and the last one {glue:text}`loonie-idea-last`; the training chose these
# shares. The scatter has two consequences, and the next two chapters return to them. A scattered zero saves no
# multiplication in a dense matrix product, and the file must say where the nonzero weights are.
#
# Without gates, at 16 bits per weight, the paper's four start networks need {glue:text}`loonie-start-0.07`,
# {glue:text}`loonie-start-0.15`, {glue:text}`loonie-start-0.3` and {glue:text}`loonie-start-0.6` times their budgets.
# These networks are 5x30 (5 layers of 30 units) for 0.07 {term}`bpp`, 10x28 for 0.15, 10x40 for 0.3 and 13x40 for 0.6.
# So the last one must lose the smallest share of its weights.
#
# **Symbols.** In this chapter $z$ is a gate, $D$ is the distortion, and $R$ is the count of bits in
# {eq}`eq-loonie-problem`. In the chapters on {term}`autoencoders <autoencoder>` $z$ is the {term}`latent` and $D$ the
# decoder, and elsewhere in the book $R$ is computed from the bytes of a file. The [notation](../book/notation) lists
# all meanings.
#
# ## Hard-concrete gates
#
# L0onie multiplies every weight by a gate, $\theta = \tilde\theta \odot z$ with $z \in [0, 1]$. Here $\tilde\theta$ are
# the trained weights, $\theta$ are the weights of the network that draws the picture, and $\odot$ multiplies entry by
# entry. The bits depend on the number of nonzero gates. This number is piecewise constant, so its gradient is useless.
# Louizos et al. {cite:p}`l0` make the gate random, with a **hard-concrete** distribution. They take a sigmoid of
# logistic noise, stretch it beyond 0 and 1, and clip it:
#
# $$ s = \sigma\!\Bigl(\tfrac{1}{\beta}\bigl(\log u - \log(1-u) + \log\alpha\bigr)\Bigr), \qquad
#    z = \min\bigl(1, \max(0, s(\zeta - \gamma) + \gamma)\bigr), $$ (eq-hard-concrete)
#
# where $z$ is the gate, $s$ is its value before it is stretched, $\sigma$ is the sigmoid, $u$ is uniform in $(0, 1)$,
# $\log\alpha$ is the trained parameter of the gate, $\beta = 2/3$ is its temperature, and $(\gamma, \zeta) = (-0.1,
# 1.1)$ are the ends of the stretched interval. In the library:
#
# ```{literalinclude} ../sparsecomp/sparsify/gates.py
# :language: python
# :pyobject: HardConcrete.at
# ```
#
# **The expected number of nonzero weights.** The noise $\log u - \log(1-u)$ has the distribution function $\sigma$. So
# for any $t$ in $(0, 1)$,
#
# $$ P(s \le t) = \sigma\bigl(\beta \operatorname{logit} t - \log\alpha\bigr), \qquad
#    \operatorname{logit} t = \log\tfrac{t}{1-t} . $$ (eq-concrete-cdf)
#
# Here $P$ is the probability over the noise $u$, and $\operatorname{logit}$ is the inverse of the sigmoid. The gate is
# zero if $s \le t_0 = -\gamma / (\zeta - \gamma)$. The logit of $t_0$ is $\log\frac{-\gamma}{\zeta}$. One minus
# {eq}`eq-concrete-cdf` at $t_0$ gives the probability that the gate is open, because $1 - \sigma(v) = \sigma(-v)$:
#
# $$ P(z \neq 0) = \sigma\bigl(\log\alpha - \beta \log\tfrac{-\gamma}{\zeta}\bigr), \qquad
#    \mathbb{E}\,\lVert z \rVert_0 = \sum_i P(z_i \neq 0). $$ (eq-expected-l0)
#
# Here $i$ counts the gates, $\lVert z \rVert_0$ is the number of gates $z_i$ that are not zero, and $\mathbb{E}$ is the
# mean over the noise. This expected $L_0$ norm is smooth in every $\log\alpha_i$. The density of $s$ is the derivative
# of {eq}`eq-concrete-cdf`; {numref}`fig-loonie-gates` compares it with random draws.

# %% tags=["hide-input"] mystnb={"figure": {"caption": "**A gate is exactly 0 or exactly 1 with positive probability, and in between its density is smooth.** Bars: 200,000 draws of z (orange: exactly 0 or 1); curve: density; black triangle above each panel: median; for log α = −2, 0 and 2. <small>Computed on this page.</small>", "name": "fig-loonie-gates"}, "image": {"alt": "Three histograms of gate values, one above the other. For log alpha minus 2 most draws are exactly zero, for 0 they are spread over both ends, for 2 most are exactly one. A smooth curve follows the bars in between. A triangle marks the median at 0, at one half and at 1."}}
gates, inner = HardConcrete(temperature=2 / 3, stretch=(-0.1, 1.1)), torch.linspace(0.05, 0.95, 10)
figure, panels = plot.panels(3, 1, size=(7.2, 5.6), sharex=True, sharey=True)
for axes, log_alpha in zip(panels, torch.tensor([-2.0, 0.0, 2.0]), strict=True):
    draws = gates.sample(log_alpha.expand(200_000), torch.Generator().manual_seed(seed)).numpy()
    counts, edges = np.histogram(draws[(draws > 0) & (draws < 1)], np.linspace(0, 1, 11))
    axes.stairs(counts / len(draws), edges, color="#0072B2", fill=True, alpha=0.4)
    axes.bar([0, 1], [(draws == 0).mean(), (draws == 1).mean()], width=0.03, color="#D55E00")
    s = (inner + 0.1) / 1.2
    v = 2 / 3 * torch.logit(s) - log_alpha
    density = 2 / 3 * torch.sigmoid(v) * torch.sigmoid(-v) / (s * (1 - s)) / 1.2
    axes.plot(inner, density / 10, color="#000000", lw=1)  # a bin is 1/10 wide
    median, opened = float(gates.median(log_alpha)), float(gates.open_probability(log_alpha))
    axes.plot(median, 1.04, "kv", transform=axes.get_xaxis_transform(), clip_on=False)
    axes.set_title(f"log α = {log_alpha:g}: P(open) = {opened:.2f}, median {median:.2f}", fontsize=10, pad=12)
    assert abs((draws != 0).mean() - opened) < 0.01 and abs(counts / len(draws) - density.numpy() / 10).max() < 0.01
panels[2].set_xlabel("gate z")
panels[1].set_ylabel("share of draws (orange: exactly 0 or 1)")
figure

# %% [markdown]
# {numref}`fig-loonie-gates` confirms the formulas. It also shows what the training does: as $\log\alpha$ falls from 2
# to −2, most of the probability moves from exactly 1 to exactly 0.
#
# **Samples or medians?** Louizos et al. train on random draws. L0onie trains on the *median* of each gate, which is
# {eq}`eq-hard-concrete` at $u = \frac12$, so $s = \sigma(\log\alpha / \beta)$. There is no noise, and the trained
# network is the stored network. The median gate is 0 exactly if
# $\log\alpha \le \beta \log\frac{-\gamma}{\zeta} \approx -1.6$, that is, if $P(z \neq 0) \le \frac12$.
#
# The median has a cost. It is clipped to 0 if $\log\alpha \le -1.6$, and to 1 if $\log\alpha \ge 1.6$. In both cases
# the picture sends no gradient to $\log\alpha$. The constraint of the next section can still close a gate that is
# clipped to 1. But it never opens a gate, and so a closed gate stays closed.
#
# ## The constrained problem and dual ascent
#
# L0onie asks for the best picture within the budget, as in {eq}`eq-constrained`:
#
# $$ \min_{\tilde\theta, \log\alpha} D(\tilde\theta \odot \hat z) \;\text{ subject to }\; R(\tilde\theta \odot \hat z)
#    \le \tau, \qquad R = \frac{16}{HW} \lVert \tilde\theta \odot \hat z \rVert_0 . $$ (eq-loonie-problem)
#
# Here $\tilde\theta$ are the weights before the gates, $\log\alpha$ are the parameters of all gates, $\hat z$ is the
# vector of median gates, $D$ is the mean squared error, $H$ and $W$ are the height and width of the picture, $\tau$ is
# the budget in bits per pixel, and $R$ counts 16 bits for each nonzero weight. The count is made after the weights are
# rounded to 16-bit floats, so a weight that is rounded to 0 is free. The poster writes $D$ as a sum over all pixels,
# while the released code and we use the mean; the scale of $\lambda$ below depends on this. Problem
# {eq}`eq-loonie-problem` is equivalent to
#
# $$ \min_{\tilde\theta, \log\alpha} \; \max_{\lambda \ge 0} \; D + \lambda\,(R - \tau), $$ (eq-loonie-game)
#
# where $\lambda$ is the {term}`Lagrange multiplier` of the budget, and the other symbols are those of
# {eq}`eq-loonie-problem`. To see that the problems are equivalent, take the inner maximum for fixed weights. If
# $R \le \tau$, the best $\lambda$ makes the second term 0, and $D$ is left. If $R > \tau$, the maximum is infinite. So
# the outer minimum never chooses a network over its budget.
#
# This argument needs no convexity, and $R$ may be a count. But it needs the maximum *inside* the minimum, and the
# method below takes turns, as if the order did not matter. With a nonconvex $D$ and whole-number counts the order does
# matter in general. So we know no theorem that the method finds a solution of {eq}`eq-loonie-problem`; what it finds
# must be measured.
#
# **Dual ascent** alternates two steps. Gradient descent on $D + \lambda R$ moves the weights and gates. The gradient of
# {eq}`eq-loonie-game` with respect to $\lambda$ is $R - \tau$. So projected gradient ascent is
#
# $$ \lambda \leftarrow \max\bigl(0,\; \lambda + \eta_\lambda (R - \tau)\bigr) , $$ (eq-dual-ascent)
#
# where $\eta_\lambda$ is the step size of the multiplier $\lambda$, $R$ is the rate of the current weights, and $\tau$
# is the budget. While the rate is over the budget, $\lambda$ grows and pushes harder. L0onie adds two refinements.
#
# - **Dual restarts** {cite:p}`constraints`. As soon as the constraint holds, $\lambda$ is set to 0. By
#   {eq}`eq-dual-ascent` alone, a large $\lambda$ would fall slowly and would keep closing gates.
# - **Proxy constraint** {cite:p}`cotter`. $R$ has no useful gradient. The descent therefore uses the expected rate of
#   {eq}`eq-expected-l0`, and the ascent uses the measured rate. So the budget that is met in the end is the true one.
#
# The update of the multiplier in the library:
#
# ```{literalinclude} ../sparsecomp/sparsify/lagrangian.py
# :language: python
# :pyobject: Multipliers.ascend
# ```
#
# **A problem with one variable.** Minimise $(x - 3)^2$ subject to $x \le 1$. At the solution $x = 1$, and $\lambda = 4$
# balances the slope of the loss. Move the slider to follow $x$ and $\lambda$ over the steps, without and with restarts.

# %%
widgets.two_players()

# %% [markdown]
# Without restarts, $x$ and $\lambda$ circle the solution and converge. *With* restarts they never converge here: once
# $x \le 1$ holds, $\lambda$ is 0, the loss pulls $x$ back over the limit, and the cycle starts again. Why is this
# different in L0onie? There, too, $\lambda$ returns to 0, and only the loss is left. But a closed median gate gets no
# gradient from the loss. So closed gates stay closed when $\lambda$ returns to 0, the rate stays within the budget, and
# the cycle does not start again. You can change `restarts` and `lr` in this cell:

# %%
x, multiplier = torch.tensor([3.0]), Multipliers(1, lr=0.6, restarts=False)
for _ in range(300):
    violation = x - 1
    x = x - 0.05 * (2 * (x - 3) + multiplier.value)
    multiplier.ascend(violation)
print(f"x = {float(x):.3f}, lambda = {float(multiplier.value):.3f}")

# %% [markdown]
# ## The whole of L0onie in PyTorch
#
# Now we put the parts together on a small picture of 128 × 128 pixels. The start is a 5x20 network, and the budget pays
# for the share `keep` of its weights. `siren.forward` is the function that the last chapter shows.

# %%
small = torch.tensor(picture.reshape(128, 4, 128, 4, 3).mean((1, 3)) / 255, dtype=torch.float32)
where, colours, pixels = siren.positions(128, 128), small.reshape(-1, 3).T, 128**2
large = siren.Architecture(5, 20)
budget = keep * 16 * large.n_parameters / pixels  # tau, in bits per pixel


def start(shape, log_alpha=1.0):  # by default most gates begin nearly open
    torch.manual_seed(seed)
    weights = siren.initial_parameters(shape, seed).requires_grad_()
    log_alpha = (log_alpha + 0.1 * torch.randn(shape.n_parameters)).requires_grad_()
    groups = [{"params": weights, "lr": 2e-3}, {"params": log_alpha, "lr": 0.03}]
    return weights, log_alpha, torch.optim.Adam(groups)


def error(shape, theta, index):
    return (siren.forward(shape, theta[None], where[None, :, index])[0] - colours[:, index]).square().mean()


# %% [markdown]
# The loop follows the equations line by line. The loss and the expected rate have a gradient; the measured rate has
# none and is used by the multiplier only.


# %%
def train(shape, log_alpha=1.0, restarts=True, steps=600):
    weights, log_alpha, adam = start(shape, log_alpha)
    lam, course = 0.0, []
    for _ in range(steps):
        theta = weights * gates.median(log_alpha)
        loss = error(shape, theta, torch.randint(pixels, (2048,)))
        expected = 16 * gates.open_probability(log_alpha).sum() / pixels  # the proxy
        measured = 16 * int((theta.half() != 0).sum()) / pixels  # the constraint
        adam.zero_grad()
        (loss + lam * expected).backward()
        adam.step()
        lam = max(0.0, lam + dual_lr * (measured - budget))  # dual ascent
        lam = 0.0 if restarts and measured <= budget else lam  # dual restart
        course.append((measured, expected.item(), lam, -10 * math.log10(loss.item())))
    return (weights * gates.median(log_alpha)).detach().half().float(), np.array(course).T


# %% [markdown]
# We run it with and without restarts. As a baseline we train a COIN of the same depth, with the largest width that the
# budget allows. A width is a whole number, so COIN does not use its whole budget: one more unit per layer would exceed
# it. Its gates start at $\log\alpha = 4$, where they are 1 and stay there.

# %%
fits = [siren.Architecture(5, width) for width in range(1, 21)]
little = [shape for shape in fits if 16 * shape.n_parameters <= budget * pixels][-1]
runs = {
    "L0onie": (large, *train(large)),
    "L0onie without restarts": (large, *train(large, restarts=False)),
    f"COIN {little}": (little, *train(little, log_alpha=4.0)),
}
for name, (shape, theta, _) in runs.items():
    rate, psnr = 16 * int((theta != 0).sum()) / pixels, -10 * math.log10(error(shape, theta, slice(None)))
    print(f"{name:24s} {rate:.3f} of {budget:.3f} bpp, {psnr:.2f} dB")

# %% tags=["hide-input"] mystnb={"figure": {"caption": "**The budget is met after {glue:text}`loonie-small-met` of 600 steps; without restarts {glue:text}`loonie-small-wasted` of it stays unused.** The small example above: rate (16 bits per nonzero weight), multiplier, and PSNR of the mini-batch, over steps. The two runs of L0onie coincide until the budget is met, so the orange line hides the blue one there. <small>Computed on this page.</small>", "name": "fig-loonie-loop"}, "image": {"alt": "Three panels over 600 steps. The measured rate falls to the dashed budget and stays there with restarts, but falls on without. The multiplier rises and then drops to zero at once, or slowly without restarts. The PSNR rises, stalls while gates close, and rises again with restarts only."}}
figure, panels = plot.panels(3, 1, size=(7.2, 6.8), sharex=True)
for (name, (_, _, course)), colour in zip(runs.items(), ("#0072B2", "#D55E00", "#000000"), strict=True):
    for axes, values_ in zip(panels, course[[0, 2, 3]], strict=True):
        axes.plot(values_ if axes is not panels[2] else np.convolve(values_, np.ones(20) / 20, "valid"), color=colour)
    panels[0].plot([], [], color=colour, label=name)
panels[0].plot(runs["L0onie"][2][1], ":", color="#0072B2", label="expected rate (proxy) of L0onie")
panels[0].axhline(budget, color="#777777", ls="--", lw=1, label="budget")
for axes, label in zip(panels, ("bits per pixel\n(counted)", "multiplier λ", "PSNR in dB,\n20 steps"), strict=True):
    axes.set_ylabel(label)
figure.legend(*panels[0].get_legend_handles_labels(), loc="outside upper center", ncols=2, frameon=False, fontsize=9)
panels[2].set_xlabel("step")
figure

# %% tags=["remove-cell"]
quality = {name: -10 * math.log10(error(shape, theta, slice(None))) for name, (shape, theta, _) in runs.items()}
rate = {name: course[0] for name, (_, _, course) in runs.items()}
under = np.flatnonzero(rate["L0onie"] <= budget)
glue("loonie-small-met", str(under[0] if len(under) else "more than 600"), display=False)
say("loonie-small-wasted", 1 - rate["L0onie without restarts"][-1] / budget, ".0%")
say("loonie-small-restarts", quality["L0onie"] - quality["L0onie without restarts"], ".1f")
say("loonie-small-coin", quality["L0onie"] - quality[f"COIN {little}"], "+.1f")
say("loonie-small-gap", 100 * abs(runs["L0onie"][2][1][-1] / rate["L0onie"][-1] - 1), ".0f")
say("loonie-small-more", 100 * (rate["L0onie"][-1] / rate[f"COIN {little}"][-1] - 1), ".0f")
if at_defaults:
    assert len(under) and under[0] < 400 and rate["L0onie"][-1] <= budget
    assert rate["L0onie without restarts"][-1] < 0.8 * budget
    assert quality["L0onie"] > quality["L0onie without restarts"]
    if (multiplier.lr, multiplier.restarts) == (0.6, False):
        assert abs(float(x) - 1) < 1e-3 and abs(float(multiplier.value) - 4) < 1e-2

# %% [markdown]
# {numref}`fig-loonie-loop` shows that the mechanism works. The multiplier rises until gates close, the restart stops
# them near the budget, and the remaining weights recover the quality that was lost. Without restarts more gates close
# than necessary, which costs {glue:text}`loonie-small-restarts` dB.
#
# The example cannot rank L0onie and COIN. With this seed the {term}`PSNR` of L0onie differs from that of COIN by
# {glue:text}`loonie-small-coin` dB. But this is not a comparison at equal rates: L0onie has
# {glue:text}`loonie-small-more` % more counted bits, and its positions are not counted. It is also only one seed, with
# noisy mini-batches.
#
# Look at the dotted line, too. The proxy counts a closed gate with its small probability of being open, and an open
# gate with a probability below 1. At the end it differs from the measured rate by {glue:text}`loonie-small-gap` %. The
# proxy alone would thus meet another budget than the true one.
#
# ## The constraint on Kodak
#
# Does the same happen at full size? {numref}`fig-loonie-dynamics` shows all Kodak pictures at a budget of 0.3 bpp. As
# in the paper, the rate counts 16 bits per nonzero weight and nothing for positions. This is an estimate and not the
# length of a file. We train with the optimiser SOAP, as in the chapter on COIN, on {glue:text}`loonie-batch` pixels per
# step. The learning rate starts at {glue:text}`loonie-lr` and falls to 0 with the square of the steps that remain.
# Every {glue:text}`loonie-every` steps we *score* the network: we round its weights to 16-bit floats, draw the picture,
# and note the rate and the PSNR.

# %% tags=["hide-input"] mystnb={"figure": {"caption": "**All 24 fits meet the budget after {glue:text}`loonie-met` of 8,000 steps.** Counted rate, multiplier and PSNR over steps, one point every {glue:text}`loonie-every` steps; grey lines are Kodak pictures, blue is their mean, dashed is the budget of 0.3 bpp. <small>Records: loonie/nonzeros-0.3.</small>", "name": "fig-loonie-dynamics"}, "image": {"alt": "Three panels over 8,000 steps: the rate falls from 0.6 to just below 0.3 within the first 1,750 steps; the multiplier rises to about 0.2 and drops to zero; the mean PSNR rises steadily by about three decibels and is flat after about 6,000 steps."}}
shown = loonie.dynamics(records)
figure, panels = plot.panels(3, 1, size=(7.2, 6.6), sharex=True)
labels = {"rate": "bits per pixel\n(counted)", "lambda": "multiplier λ", "psnr": plot.PSNR}
for axes, (column, label) in zip(panels, labels.items(), strict=True):
    for row in shown.rows:
        axes.plot(row["step"], row[column], color="#bbbbbb", lw=0.7)
    mean = np.mean([row[column] for row in shown.rows], axis=0)
    axes.plot(shown.rows[0]["step"], mean, color="#0072B2", lw=2)
    axes.set_ylabel(label)
panels[0].axhline(0.3, color="#D55E00", ls="--", lw=1)
panels[2].set_xlabel("step")
plot.sign(figure, shown.records)
figure

# %% tags=["remove-cell"]
courses = [list(zip(row["step"], row["rate"], strict=True)) for row in shown.rows]
met = [next(step for step, counted in course if counted <= 0.3) for course in courses]
glue("loonie-met", f"{min(met):,} to {max(met):,}", display=False)
budget_of = shown.records[0].config["fit"]
say("loonie-batch", budget_of["batch_pixels"], ",")
say("loonie-lr", budget_of["lr"], "g")
say("loonie-every", budget_of["score_every"], "d")
assert (budget_of["optimiser"], budget_of["schedule"]) == ("soap", "quadratic")
used = [row["estimated_bits"] / (0.3 * 512 * 768) for row in loonie.loonie(records, "nonzeros").rows]
glue("loonie-used", f"{min(used):.0%} to {max(used):.0%}".replace("%", " %"), display=False)
assert all(share <= 1 for share in used) and len(met) == 24

# %% [markdown]
# The gates close while the learning rate is still high. Then $\lambda$ is 0, and the rest of the training improves the
# weights that are left. At the end the fits use {glue:text}`loonie-used` of the budget, probably because some gates
# still close around the restart. Of all scored networks that are within the budget, we store the one with the highest
# PSNR, with the gates multiplied into the weights. The released code stops testing the budget after its first restart,
# and its plots show the best PSNR at the rate of the last step. So the network behind such a point may be over the
# budget.
#
# So the constraint works: every count is within the budget, and the training chose which weights stay. This does not
# show that the pictures are better than those of other methods. The [next chapter](12_loonie_results) compares them.
#
# ## In short
#
# - A hard-concrete gate has a closed-form probability of being open, so the expected number of nonzero weights is
#   smooth.
# - L0onie trains on the medians of its gates. The stored network is the trained one, but a closed gate gets no gradient
#   from the picture.
# - Dual ascent raises a multiplier until the measured rate is within the budget. A restart then sets it to 0.
# - The weights follow the gradient of the expected rate, and the multiplier follows the measured rate. So the measured
#   rate is what meets the budget.
# - On Kodak all fits meet 0.3 bpp after {glue:text}`loonie-met` of 8,000 steps. This rate is a count of weights and
#   not the length of a file.
#
# ## Exercises
#
# 1. Derive from {eq}`eq-concrete-cdf` and {eq}`eq-expected-l0` that a median gate is 0 exactly if $P(z \neq 0) \le
#    \frac12$. How large is this probability at $\log\alpha = 1$, where the gates of the small example begin?
# 2. In the problem with one variable, replace $x \le 1$ by $x \le c$ with $c < 3$. What are $x$ and $\lambda$ at the
#    solution? How does the best loss change if $c$ grows a little?
# 3. The poster writes $D$ as a sum over pixels. Assume that this sum has $3HW$ terms, and that we trained with it. By
#    which factor must $\eta_\lambda$ change, so that the weights and gates move towards the same solution as before?
# 4. *Code.* Write {term}`magnitude pruning` for the small example: train the large network for 300 steps, keep the
#    weights of largest magnitude that the budget pays for, and train these for 300 more steps. Compare the magnitudes
#    of all layers together, biases included, and let Adam keep its state. Is it better than L0onie there?
#
# :::{admonition} Solutions
# :class: dropdown
# 1. The gate is 0 if $s \le t_0$. The median of $s$ is at most $t_0$ exactly if $P(s \le t_0) \ge \frac12$, and
#    $P(z \neq 0)$ is one minus this probability. At $\log\alpha = 1$ it is $\sigma(1 + 1.6) = 0.93$.
# 2. The solution has $x = c$ and $\lambda = 2(3 - c)$, the negative slope of the loss at $c$. The best loss is
#    $(3 - c)^2$, and its derivative in $c$ is $-2(3 - c) = -\lambda$. So the multiplier is the gain per unit of budget.
# 3. The sum is $3HW$ times the mean. $\lambda R$ must grow by the same factor to keep the balance of the two terms. So
#    $\lambda$ must be $3HW$ times as large, and by {eq}`eq-dual-ascent` $\eta_\lambda$ too.
# 4. On this page its PSNR differs from L0onie's by {glue:text}`loonie-pruning-small` dB, with
#    {glue:text}`loonie-pruning-kept` weights. One seed decides nothing; try several.
#    ```python
#    def magnitude(steps=300):
#        weights, _, adam = start(large)
#        kept, mask = int(budget * pixels / 16), torch.ones(large.n_parameters)
#        for step in range(2 * steps):
#            if step == steps:
#                mask = torch.zeros_like(mask).index_fill(0, weights.detach().abs().topk(kept).indices, 1.0)
#            loss = error(large, weights * mask, torch.randint(pixels, (2048,)))
#            adam.zero_grad()
#            loss.backward()
#            adam.step()
#        return (weights * mask).detach().half().float()
#    ```
# :::


# %% tags=["remove-cell"]
def magnitude(steps=300):
    weights, _, adam = start(large)
    kept, mask = int(budget * pixels / 16), torch.ones(large.n_parameters)
    for step in range(2 * steps):
        if step == steps:
            mask = torch.zeros_like(mask).index_fill(0, weights.detach().abs().topk(kept).indices, 1.0)
        loss = error(large, weights * mask, torch.randint(pixels, (2048,)))
        adam.zero_grad()
        loss.backward()
        adam.step()
    return (weights * mask).detach().half().float()


pruned = magnitude()
assert 0.9 * keep * large.n_parameters < int((pruned != 0).sum()) <= keep * large.n_parameters
say("loonie-pruning-small", -10 * math.log10(error(large, pruned, slice(None))) - quality["L0onie"], "+.1f")
say("loonie-pruning-kept", int((pruned != 0).sum()), ",")
grid = torch.linspace(-6, 6, 1201, dtype=torch.float64)
assert torch.equal(gates.median(grid) == 0, gates.open_probability(grid) <= 0.5)
assert round(float(gates.open_probability(torch.tensor(1.0))), 2) == 0.93
x, multiplier = torch.tensor([3.0]), Multipliers(1, lr=0.6, restarts=False)  # the second exercise, with c = 2
for _ in range(300):
    violation = x - 2
    x = x - 0.05 * (2 * (x - 3) + multiplier.value)
    multiplier.ascend(violation)
assert abs(float(x) - 2) < 1e-3 and abs(float(multiplier.value) - 2) < 1e-2

# %% [markdown]
# ## Further reading
#
# Hard-concrete gates: {cite:t}`l0`. Constraints in place of penalties, and dual restarts: {cite:t}`constraints`. Proxy
# constraints and their theory: {cite:t}`cotter`. A library for constrained optimisation in PyTorch by the authors of
# L0onie and colleagues: {cite:t}`cooper`. The next chapter, [L0onie results](12_loonie_results), compares L0onie with
# COIN and with other sparse networks of equal rates.
