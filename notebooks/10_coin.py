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
# # COIN: the network is the picture
#
# **The question.** A codec trained on a million pictures stores a code, and its decoder must be there already. Can
# the file do without a decoder, because it *is* one? COIN {cite:p}`coin` fits a small network to one picture, from
# positions to colours, and stores the network's weights. To decode is to ask the network for every pixel. No training
# set, no entropy coder, no latent: as simple as a neural codec can be, and where L0onie begins.

# %% tags=["parameters"]
preset = "smoke"
device = "cpu"
seed = 0
pictures = "bundled"  # of the experiment; "kodak" where it is at hand
out = ""  # the folder for its records; a new one by default
only = ""  # its plans whose names contain this, such as 5x20
architecture = "5x20"  # depth x width of this chapter's own fit

# %% tags=["hide-input"]
import numpy as np
import torch

from reproduce import bench, plot, tables, widgets
from reproduce.papers import loonie
from reproduce.records import Curve, Records, values_of
from sparsecomp import codecs, data, metrics
from sparsecomp.checks import one_of
from sparsecomp.codecs.network import Coin
from sparsecomp.coding.container import layout
from sparsecomp.models import siren
from sparsecomp.training.configs import FitBudget
from sparsecomp.training.fit import fit

one_of("preset", preset, loonie.PRESETS)
at_defaults = (preset, seed, architecture) == ("smoke", 0, "5x20")  # the text is checked at these values
budget = loonie.PRESETS[preset].fit
chosen = siren.Architecture.parse(architecture)
records = Records(preset="laptop")

# %% [markdown]
# ## The idea in a picture
#
# Four moments of a fit, before any equation. The network begins near the mean colour; every step moves it towards the
# astronaut at 4,096 of the pixels.

# %%
picture = data.bundled()["astronaut"]
panels = {}
for steps in (1, 30, 100, 300):
    few = FitBudget(steps=steps, lr=2e-3, batch_pixels=4096, score_every=steps)
    (fitted,) = fit([picture], chosen, few, seeds=[seed])
    drawn = siren.render(chosen, fitted.parameters.float(), 512, 512).numpy()
    panels[f"step {steps}: {fitted.psnr:.2f} dB"] = drawn
plot.pictures(panels, columns=4)

# %% [markdown]
# ## The equations
#
# A SIREN {cite:p}`siren` of depth $L$ and width $M$ maps a position $p \in [-1, 1]^2$ to a colour:
#
# $$ h_0 = p, \qquad h_{l+1} = \sin\bigl(\omega_0\,(A_l h_l + b_l)\bigr), \qquad f_\theta(p) = A_L h_L + b_L . $$
#
# The factor $\omega_0 = 30$ lets a first layer with small weights reach high frequencies: with ReLUs in place of the
# sines the same network draws a blur. Fitting is least squares over the pixels,
#
# $$ \min_\theta \; \frac{1}{3HW} \sum_{p} \lVert f_\theta(p) - x_p \rVert_2^2 , $$
#
# and the rate is decided before it begins: sixteen bits for each of the $P$ parameters,
#
# $$ P = 3M + (L-1)(M^2 + M) + 3M + 3, \qquad R \approx \frac{16\,P}{HW} . $$

# %%
for name in loonie.ARCHITECTURES:
    one = siren.Architecture.parse(name)
    size = Coin.file_bytes(one, 512, 768)
    print(
        f"{name:6s} {one.n_parameters:6,d} parameters  {size:6,d} bytes  {8 * size / (512 * 768):.4f} bpp on Kodak"
    )
    assert (
        0 < size - 2 * one.n_parameters <= 30
    )  # what the paper's count leaves out: header and checksum

# %% [markdown]
# ## Where a pixel is
#
# COIN's released code divides *both* coordinates by $H - 1$; L0onie normalises each axis. On a landscape Kodak
# picture the first sends $x$ to 2.002, so the two are different models, and numbers of one should not be drawn into
# the other's figure without saying so. Here it is an option, and the file remembers which.

# %%
for convention in siren.COORDINATES:
    y, x = siren.positions(512, 768, convention)
    print(
        f"{convention:9s} y {y[0]:+.3f} to {y[-1]:+.3f}, x {x[0]:+.3f} to {x[-1]:+.3f}"
    )

# %% tags=["remove-cell"]
if at_defaults:
    assert abs(x[-1] - 2.002) < 1e-3

# %% [markdown]
# ## From a picture to a file and back
#
# `evaluate` encodes, decodes from nothing but the bytes, and measures.

# %%
coin = codecs.get_codec("coin", arch=architecture, budget=budget, seed=seed)
measured = codecs.evaluate(coin, picture)
print(
    f"{measured.bpp:.4f} bpp, {measured.psnr:.2f} dB, {measured.macs_per_pixel:,.0f} MAC/px"
)
print(f"{measured.bytes:,} bytes, of which")
for part, size in layout(measured.data):
    print(f"  {part:9s} {size:6,d} bytes")

# %%
again = codecs.decode(measured.data)

# %% tags=["remove-cell"]
if at_defaults:
    assert np.array_equal(again, measured.reconstruction)
    assert measured.bpp == metrics.bpp(data=measured.data, height=512, width=512)
    assert (
        codecs.evaluate(coin, picture).data == measured.data
    )  # the same seed gives the same file

# %% [markdown]
# The file holds the architecture, $\omega_0$ and the coordinates besides the weights: a COIN file decodes with no
# knowledge beyond itself. Which state of the fit is written is decided by what will be seen: the training rounds the
# weights to fp16, draws the picture, rounds it to 8 bits, and keeps the best that it has seen so.
#
# ## Fitting it faster
#
# The paper takes 50,000 steps over every pixel with Adam at $2 \cdot 10^{-4}$. Our training keeps the network and the
# file and changes the way there, in five ways. All but the last are fields of `training.configs.FitBudget`:
#
# - **fewer pixels a step**: 16,384, about one from each cell of a grid, so that a mini-batch is spread over the
#   picture;
# - **a better direction**: SOAP, Adam in the eigenbasis of each layer's gradient covariances, for about 0.6 ms a step;
# - **a better start**: the last bias at the picture's mean colour;
# - **a falling rate**: half a cosine from $2 \cdot 10^{-3}$ to nothing;
# - **a kernel**: loss and gradient of a tile of pixels stay in one core's cache (`training/kernel.c`; PyTorch does the
#   same work where there is no compiler).
#
# What that comes to, measured in one run on one machine: seconds until the reconstruction of kodim15 scores a PSNR,
# compiling and scoring included. The bench has a budget of its own, 500 steps of 8,192 pixels, and fits with COIN's
# coordinates. The first row is an extrapolation: three steps of COIN's own way are timed here, and multiplied by the
# number of steps that a recorded course needs. `python -m reproduce bench fit` makes the table on your machine.

# %%
plot.table(bench.bench_table(records))

# %% [markdown]
# What the ingredients are worth, each taken away by itself: 10x28, 5,000 steps, three seeds, on two photographs that
# the settings were chosen on. The table explains the choice; it is no test of it.

# %%
plot.table(loonie.ingredients_table(records))

# %% tags=["hide-input"]
shown = loonie.fit_course(records)
look = {
    "picture": {"color": "#cccccc", "lw": 0.7, "zorder": 1},
    "kodim15": {"color": "#0072B2", "lw": 1.8, "zorder": 3},
    "mean": {"color": "#000000", "lw": 1.8},
    "official": {"color": "#D55E00", "marker": "o", "ms": 4},
}
figure, axes = plot.panels()
for row in shown.rows:
    kind = row["kind"]
    axes.plot(row["x"], row["y"], label=None if kind == "picture" else row["name"], **look[kind])
axes.set(xlabel="step", ylabel=plot.PSNR, xscale="log")
axes.legend(frameon=False, fontsize=9)
plot.sign(figure, shown.records)
figure

# %% [markdown]
# A step of ours sees a twenty-fourth of the pixels that a step of the official code sees. Most of the gain comes
# late, as the learning rate falls: at its full height the fit wanders, and what it has learnt shows only when the
# steps shrink.
#
# ## First values
#
# COIN draws biases from the same range as weights, $\pm\sqrt{6/n}/\omega_0$ for $n$ inputs. PyTorch's default is
# $\pm 1/\sqrt{n}$, twelve times as wide: multiplied by $\omega_0$ inside the sine, such biases spread the phases of 28
# units over almost two periods. Here is COIN's own training, every pixel in every step and Adam at
# $2 \cdot 10^{-4}$, with both:

# %% tags=["hide-input"]
shown = loonie.first_steps(records)
figure, axes = plot.panels(size=(7.2, 3.6))
for row, colour in zip(shown.rows, ("#0072B2", "#D55E00", "#000000"), strict=True):
    look = plot.printed(colour) if "printed" in row else {"color": colour, "lw": 1.8}
    axes.plot(row["x"], row["y"], label=row["name"], **look)
axes.set(xlabel="step", ylabel=plot.PSNR)
axes.legend(frameon=False)
plot.sign(figure, shown.records)
figure

# %% [markdown]
# With COIN's biases our course follows that of the official code. With PyTorch's it lags behind by more than 1 dB for
# the first 200 steps, and by step 400 it has caught up. The preset `paper` begins as COIN does; our own budgets keep
# PyTorch's biases, as in all earlier records.

# %% tags=["remove-cell"]
if at_defaults:
    course = {label: loonie.first_psnr(records, label, 200) for label in loonie.FIRST_VALUES if "COIN" in label}
    assert abs(course["COIN, biases as COIN"] - 20.10) < 0.3 and course["COIN, biases as PyTorch"] < 19.1
    late = [loonie.first_psnr(records, label, 400) for label in course]
    assert max(late) - min(late) < 0.3

# %% [markdown]
# ## The figure
#
# All of Kodak. Our points are lengths of files, with coordinates per axis; the open circles are the numbers that
# COIN's authors published, with theirs.

# %% tags=["hide-input"]
shown = loonie.coin_rate_distortion(records)
figure, axes = plot.panels()
for row in shown.rows:
    look = plot.printed() if "printed" in row else plot.style(row["series"])
    axes.plot(row["x"], row["y"], label=row["name"], **look)
axes.set(xlabel=plot.BPP, ylabel=plot.PSNR)
plot.zoom(axes, 1.3)
axes.legend(frameon=False, fontsize=9)
plot.sign(figure, shown.records)
figure

# %%
plot.table(loonie.coin_table(records))

# %%
plot.table(loonie.coin_bd(records))

# %% [markdown]
# ## Depth and width
#
# At one budget, many networks fit: deep and narrow, shallow and wide. Which is best is not known beforehand; COIN
# searched for it. Here are the widest networks of each depth whose files are not over the budget, fitted with 5,000
# steps each.

# %% tags=["hide-input"]
shown = loonie.depth_search(records)
figure, axes = plot.panels()
for row, colour, marker in zip(shown.rows, ("#0072B2", "#D55E00"), "os", strict=True):
    axes.plot(row["x"], row["y"], color=colour, marker=marker, label=row["name"])
    for network, depth, psnr in zip(row["networks"], row["x"], row["y"], strict=True):
        axes.annotate(network, (depth, psnr), (0, 7), textcoords="offset points", ha="center", fontsize=8)
axes.set(xlabel="depth (sine layers)", ylabel=plot.PSNR)
axes.margins(y=0.15)
axes.legend(frameon=False)
plot.sign(figure, shown.records)
figure

# %%
depths = {}
for record in records.find("search"):
    depth = siren.Architecture.parse(record.config["architecture"]).depth
    depths[record.config["target_bpp"], depth] = record.mean("psnr")
best = {
    bpp: max((d for b, d in depths if b == bpp), key=lambda d: depths[bpp, d])
    for bpp in (0.15, 0.3)
}
for bpp, depth in ((0.15, 5), (0.3, 10)):
    gap = depths[bpp, best[bpp]] - depths[bpp, depth]
    print(f"at {bpp} bpp depth {best[bpp]} is best; the paper's {depth} loses {gap:.2f} dB")

# %% tags=["remove-cell"]
if at_defaults:
    assert sum(depths[b, best[b]] - psnr > 0.5 for (b, _), psnr in depths.items()) == len(depths) // 2

# %% [markdown]
# On these six pictures, with our optimiser, neither of the paper's depths is the best of its row, and half of the
# depths tried lose more than half a decibel. That search is what L0onie sets out to avoid: start from a network that
# is too large, and let the budget decide which of its weights stay.

# %% [markdown]
# ## The experiment
#
# The records behind this chapter were made by plans like these: a plan says what is fitted and how it is measured, and
# the runner writes one record for each. At the preset of this page that is one small network and one bundled
# photograph. With Kodak and a GPU the same cell runs the paper's networks, and the figure below shows them beside the
# printed points:
#
# ```console
# $ python -m reproduce run 10_coin -p preset paper -p device cuda -p pictures kodak -p out ../results/runs
# ```

# %% tags=["experiment"]
import tempfile
from pathlib import Path

from reproduce.runner import Request
from reproduce.runner import run as make

request = Request(preset, Path(out or tempfile.mkdtemp()).resolve(), device, seed, pictures)
make(loonie.coin_plans(request), request.out, only=only or None)
made = Records(request.out, preset=preset).find("coin", data=pictures)
values = values_of(made)  # for a sweep

# %% tags=["experiment", "hide-input"]
figure, axes = plot.panels()
axes.plot(*zip(*loonie.coin_printed(), strict=True), **plot.printed(), label="published, Kodak")
ours = Curve.of((record.mean("bpp"), record.mean("psnr")) for record in made)
axes.plot(*ours, "s-", color="#0072B2", label=f"this run: {pictures}, preset {preset}")
axes.set(xlabel=plot.BPP, ylabel=plot.PSNR, xlim=(0, 1.3))
axes.legend(frameon=False)
plot.sign(figure, made)
figure

# %% [markdown]
# ## Verdict

# %%
tables.verdict_table("COIN")

# %% [markdown]
# COIN's way to its numbers, 50,000 full-batch steps, has not been repeated here: claims about speed or the course of
# training are judged at the preset `paper`. What the table says is that the *network and the file* hold what was
# published.
#
# ## A widget
#
# Seven networks, from 0.03 to 1.8 bits per pixel. Watch what is drawn first: large shapes, then edges, never texture.
# Beside it JPEG in as many bytes, as soon as JPEG has a file so small.

# %%
widgets.siren_sizes()

# %% [markdown]
# ## Exercises
#
# 1. How many bits per pixel does 10x28 cost on a picture of 256 × 256 pixels? What does that say about COIN and small
#    pictures?
# 2. The decoder of 10x28 does about 7,200 multiply-accumulates a pixel. A JPEG decoder does some tens of operations.
# How
#    long does a core that does $10^{10}$ of them a second take for a Kodak picture?
# 3. Permute the units of a hidden layer (rows of $A_l$ and $b_l$, columns of $A_{l+1}$). What happens to the picture?
#    What could a file format gain from that?
#
# :::{admonition} Solutions
# :class: dropdown
# 1. $16 \cdot 7{,}479 / 65{,}536 = 1.83$ bpp, six times as many as on Kodak. The file does not shrink with the
# picture, so
#    the architecture must.
# 2. $7{,}196 \cdot 393{,}216 / 10^{10} \approx 0.28$ s.
# 3. Nothing: the sum over units does not care about their order. There are $28!$ orders of each layer, so a file that
# is
#    free to choose among them could save up to $\log_2 28! \approx 98$ bits a layer. The chapter on L0onie spends that
#    freedom.
# :::

# %%
order = torch.randperm(chosen.width)
theta = fitted.parameters.float()[None].clone()
first, second = siren.layers(chosen, theta)[:2]
for tensor, dim in ((first[0], 1), (first[1], 1), (second[0], 2)):
    tensor.copy_(tensor.index_select(dim, order).clone())
permuted = siren.render(chosen, theta[0], 512, 512).numpy()

# %% tags=["remove-cell"]
if at_defaults:
    assert (
        np.abs(permuted.astype(int) - drawn).max() <= 1
    )  # the same picture, but for the order of a sum
