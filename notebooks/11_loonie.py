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
# # L0onie: a network that is too large, and a budget
#
# **The question.** COIN must choose its network before it knows how good it will be: depth and width decide the file,
# and which is best is found by trying. L0onie {cite:p}`l0onie` turns this round. It starts from a network of about
# twice the budget, gives every weight a gate, and lets a constraint close gates until the budget is met. Which weights
# stay is learnt. Does that draw a better picture for the same bits? And what are "the same bits", once they are in a
# file?

# %% tags=["parameters"]
preset = "smoke"
device = "cpu"
seed = 0
pictures = "bundled"  # of the experiment; "kodak" where it is at hand
out = ""  # the folder for its records; a new one by default
only = ""  # its plans whose names contain this, such as nonzeros-0.3
bpp = 0.1  # the budget of this chapter's own fits
depth = 0  # for the experiment: how many layers L0onie starts from; 0 runs the paper's starts and all methods
size = 2.0  # and how large that start is: its weights at 16 bits take so many budgets; 1 is a COIN

# %% tags=["hide-input"]
import numpy as np
import torch

from reproduce import plot, sweep_report, tables, widgets
from reproduce.papers import loonie
from reproduce.records import Curve, Records, read, values_of
from sparsecomp import checks, codecs, data, metrics, network_weights
from sparsecomp.coding.container import layout, unpack
from sparsecomp.models import siren
from sparsecomp.sparsify.gates import HardConcrete
from sparsecomp.sparsify.lagrangian import Multipliers

checks.one_of("preset", preset, loonie.PRESETS)
checks.in_range("bpp", bpp, 0, 10, "(]")
checks.whole("depth", depth, 0, 20)
checks.in_range("size", size, 1, 10)
at_defaults = (preset, seed, bpp) == ("smoke", 0, 0.1)  # the text is checked at these values
chosen = loonie.PRESETS[preset]
records = Records(preset="laptop")
picture = data.bundled()["astronaut"]

# %% [markdown]
# ## A gate
#
# A weight is multiplied by a gate, $\theta = \tilde\theta \odot z$, and a closed gate costs nothing. To count open
# gates is the $L_0$ norm, and it has no gradient. Louizos et al. {cite:p}`l0` make the gate random: a sigmoid of
# noise, stretched beyond 0 and 1 and clipped, so that exactly 0 and exactly 1 have probabilities of their own:
#
# $$ s = \operatorname{sigmoid}\!\Bigl(\tfrac{1}{\beta}\bigl(\log u - \log(1-u) + \log\alpha\bigr)\Bigr),
#    \qquad u \sim U(0, 1), $$
#
# $$ z = \min\bigl(1, \max(0, s(\zeta - \gamma) + \gamma)\bigr). $$

# %% tags=["hide-input"]
gates = HardConcrete()
figure, panels = plot.panels(1, 3, size=(8.4, 2.8), sharey=True)
for axes, log_alpha in zip(panels, (-2.0, 0.0, 2.0), strict=True):
    start = torch.full((200_000,), log_alpha)
    drawn = gates.sample(start, torch.Generator().manual_seed(seed)).numpy()
    counts, edges = np.histogram(drawn[(drawn > 0) & (drawn < 1)], np.linspace(0, 1, 41))
    axes.stairs(counts / len(drawn), edges, color="#0072B2", fill=True, alpha=0.4)
    axes.bar([0, 1], [(drawn == 0).mean(), (drawn == 1).mean()], width=0.03, color="#D55E00")
    median, opened = float(gates.median(start[0])), float(gates.open_probability(start[0]))
    axes.axvline(median, color="#000000", ls="--", lw=1)
    axes.set_title(f"log α = {log_alpha:g}\nP(open) = {opened:.2f}, median {median:.2f}", fontsize=9)
    axes.set_xlabel("gate z")
panels[0].set_ylabel("share of draws\n(orange: exactly 0 or 1)")
figure

# %% [markdown]
# That a gate is open has a probability in closed form, smooth in $\log\alpha$, and the sum over all gates is the
# expected number of nonzero weights:
#
# $$ P(z \neq 0) = \operatorname{sigmoid}\bigl(\log\alpha - \beta \log\tfrac{-\gamma}{\zeta}\bigr). $$
#
# Training on draws is what Louizos et al. do. L0onie trains on the *median* of each gate, $u = \tfrac12$ (the dashed
# lines): no noise, and what is trained is what is stored. The price: where the median is clipped, the picture sends
# no gradient. A closed gate opens again only if something else moves its $\log\alpha$.
# %%
gates = HardConcrete(temperature=2 / 3, stretch=(-0.1, 1.1))
log_alpha = torch.tensor([-2.0, 0.0, 2.0])
drawn = gates.sample(log_alpha.expand(100_000, 3), torch.Generator().manual_seed(seed))
print("open in 100,000 draws", (drawn != 0).float().mean(0).numpy().round(3))
print("closed form          ", gates.open_probability(log_alpha).numpy().round(3))

# %% tags=["remove-cell"]
if at_defaults:
    assert torch.allclose(
        (drawn != 0).float().mean(0), gates.open_probability(log_alpha), atol=0.01
    )

# %% [markdown]
# ## Two players
#
# The budget is a constraint, not a penalty whose weight must be found by trying:
#
# $$ \min_{\tilde\theta, \log\alpha} \mathrm{MSE}(\tilde\theta \odot z) \;\text{ subject to }\; R \le \tau
#    \qquad\Longleftrightarrow\qquad
#    \min_{\tilde\theta, \log\alpha} \max_{\lambda \ge 0} \; \mathrm{MSE} + \lambda (R - \tau). $$
#
# One player descends in the weights and gates, the other ascends in $\lambda$: as long as the budget is passed, a bit
# becomes dearer with every step. Here is the game where it can be drawn: minimise $(x - 3)^2$ subject to $x \le 1$.

# %%
widgets.two_players()

# %% [markdown]
# Without restarts the players circle the answer, $x = 1$ and $\lambda = 4$, and arrive. *Dual restarts* put $\lambda$
# back to 0 as soon as the constraint holds {cite:p}`constraints`. On this problem they spoil the game: $x$ drifts
# back over the line, and all begins again. For gates the case is another. What the multiplier has closed stays
# closed, because a closed median gate has no gradient; there is nothing to drift back, and a multiplier that was
# still large would go on closing.
#
# A second refinement: $R$, a number of nonzero weights or of bytes, has no gradient. The descent follows an
# *expected* rate, the ascent the *measured* one, a proxy constraint {cite:p}`cotter`, so what is met in the end is the
# true budget.

# %%
x, game = torch.tensor([3.0]), Multipliers(1, lr=0.6, restarts=False)
for _ in range(300):
    violation = x - 1
    x = x - 0.05 * (2 * (x - 3) + game.value)
    game.ascend(violation)
print(f"x = {float(x):.3f}, lambda = {float(game.value):.3f}")

# %% tags=["remove-cell"]
if at_defaults:
    assert abs(float(x) - 1) < 1e-3 and abs(float(game.value) - 4) < 1e-2

# %% [markdown]
# ## The constraint being met
#
# All of Kodak at a budget of 0.3, in the paper's accounting: 16 bits for every weight that is not zero, and
# nothing for where it stands. That is an estimate of a rate, not the length of a file. Grey lines are pictures, the
# blue one is their mean, the dashed one the budget.

# %% tags=["hide-input"]
shown = loonie.dynamics(records)
figure, panels = plot.panels(3, 1, size=(7.2, 6.6), sharex=True)
labels = {
    "rate": "16 bits a nonzero,\nper pixel (estimate)",
    "lambda": "multiplier λ",
    "psnr": plot.PSNR,
}
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

# %%
record = loonie.loonie(records, "nonzeros")
courses = [
    zip(row["course"]["step"], row["course"]["rate"], strict=True)
    for row in record.rows
]
met = [next(step for step, rate in course if rate <= 0.3) for course in courses]
print(
    f"met after {min(met):,} to {max(met):,} of {record.config['fit']['steps']:,} steps"
)

# %% tags=["remove-cell"]
if at_defaults:
    assert all(row["estimated_bits"] <= 0.3 * 512 * 768 for row in record.rows)

# %% [markdown]
# Gates close while the learning rate is still high, $\lambda$ falls to nothing, and the rest of the training belongs
# to the weights that are left. The scored state is the one that would be stored: fp16, median gates absorbed, within
# the budget; a state over its budget is never kept. (The released code stops asking after the first restart.)
#
# ## What the paper draws
#
# L0onie, the dense COIN of as many bits, and magnitude pruning: train the same large network, remove the smallest
# weights of every hidden layer, train on. In the paper pruning has twice L0onie's steps; here all three have as many,
# and half of pruning's are fine-tuning.

# %% tags=["hide-input"]
shown = loonie.rate_distortion(records)
figure, axes = plot.panels()
plot.lines(axes, shown)
axes.set(xlabel="16 bits a nonzero value, per pixel (an estimate)", ylabel=plot.PSNR)
axes.legend(frameon=False, fontsize=9)
plot.sign(figure, shown.records)
figure

# %% tags=["hide-input"]
shown = loonie.psnr_of_pictures(records)
figure, axes = plot.panels()
for height, row in enumerate(shown.rows):
    colour, mean = plot.style(row["series"])["color"], np.mean(row["psnr"])
    counts, edges = np.histogram(row["psnr"], bins=np.arange(19, 37, 1.0))
    axes.bar(edges[:-1] + 0.5, counts / 12, bottom=height, width=0.9, color=colour, alpha=0.35)
    axes.plot(row["psnr"], np.full(len(row["psnr"]), height - 0.06), "|", color=colour, ms=9)
    axes.plot([mean, mean], [height - 0.12, height + 0.7], color=colour, lw=2)
    axes.annotate(f"{mean:.2f}", (mean, height + 0.72), ha="center", fontsize=9)
names = [row["name"] for row in shown.rows]
axes.set(xlabel=plot.PSNR, yticks=range(len(names)), yticklabels=names)
axes.grid(visible=False, axis="y")
plot.sign(figure, shown.records)
figure

# %%
for tau in (0.07, 0.15, 0.3, 0.6):
    over_pruning, over_coin = (
        loonie.gain(records, m, bpp=tau) for m in ("magnitude", "dense")
    )
    counted = [loonie.counted(loonie.loonie(records, m, tau)) for m in ("nonzeros", "dense")]
    print(
        f"at {tau}: {over_pruning:+.2f} dB over pruning, {over_coin:+.2f} over COIN, ",
        end="",
    )
    print(f"with {counted[0]:.3f} counted bits per pixel, COIN with {counted[1]:.3f}")
    assert over_pruning > 0 and (over_coin > 0) == (tau == 0.15)
equal = loonie.gain_at_rate(records)
print(f"at 0.3 and equal counted bits {equal:+.2f} dB over COIN")

# %% tags=["remove-cell"]
if at_defaults:
    assert abs(equal) < 0.2

# %% [markdown]
# Within 8,000 steps, gates are better than pruning at all four rates. Against the dense network that never had to
# choose it depends, and the bits are not equal: COIN's networks are a little over each budget, L0onie's gates stop 3 to
# 4 % under it. At 0.3 nothing is left of COIN's lead at equal bits; at 0.07 it leads by 0.1 dB with 9 % more bits, at
# 0.6 by 0.4 dB with 5 % more. At 0.15 L0onie leads with fewer bits, but there it begins with ten layers and COIN has
# five: the last chapter found ten layers 0.3 dB better than five at 0.15 bpp with no gates at all. The poster promises
# better reconstructions after 50,000 full-batch steps, without a number; that has not been run here.
#
# Each of the four rates has a start and a dual learning rate that the authors chose by hand, the latter by trying on a
# Kodak picture. How much does the start matter?

# %% [markdown]
# ### No architecture search?
#
# COIN's network must be chosen anew for every budget, and the last chapter showed what a bad choice costs. The poster
# complains of that search, and implies that L0onie needs none. A sweep of 90 fits tests it: three photographs, two
# budgets, five depths, three sizes. A network of size 1 fits the budget as it is, so nothing is pruned: these rows are
# COIN, and their five depths are its search. At sizes 2 and 4 L0onie begins with a network that takes two or four
# budgets, and closes gates until it fits.

# %% tags=["hide-input"]
shown = loonie.start_curves(records)
figure, both = plot.panels(1, 2, size=(8.4, 3.6), sharey=True)
for axes, bpp_ in zip(both, (0.15, 0.3), strict=True):
    for row in shown.rows:
        if row["bpp"] == bpp_:
            look = plot.style(row["series"]) | ({"ls": "--", "mfc": "none"} if row["size"] == 4 else {})
            axes.plot(row["x"], row["y"], label=row["name"], **look)
    axes.set(xlabel="depth of the start (sine layers)", title=f"budget {bpp_} bpp", xticks=row["x"])
both[0].set_ylabel("PSNR in dB, mean of 3 pictures")
both[1].legend(frameon=False, fontsize=9)
plot.sign(figure, shown.records)
figure

# %%
plot.table(loonie.starts_table(records))

# %%
over = loonie.start_against_search(records)
print(f"a start that nobody chose, against the best COIN of the search: {over:+.2f} dB")

# %% tags=["remove-cell"]
if at_defaults:
    psnr = {(row["bpp"], row["size"]): dict(zip(row["x"], row["y"], strict=True)) for row in shown.rows}
    for b in (0.15, 0.3):
        twice, four = psnr[b, 2], psnr[b, 4]
        assert max(abs(twice[d] - four[d]) for d in twice) < 0.35, "size hardly matters"
        assert max(twice.values()) - twice[3] > 1, "depth does"
        assert max(twice.values()) - min(twice[d] for d in (7, 10, 13)) < 0.35

# %% [markdown]
# The answer has two parts. *Size* need not be searched: starts of two and of four budgets end within 0.3 dB of each
# other at every depth. *Depth* still matters. Gates remove weights, never a layer, so a start of three layers ends as a
# network of three layers, more than 1 dB below the best. But L0onie forgives the opposite mistake: from seven layers
# upwards its curves are nearly flat, while COIN's deep networks, which are narrow, lose quality again. If you begin
# deep, you need no search. A start taken blindly from these ten does about as well as the COIN that the search finds.
#
# Rates count L0onie's weights as the paper does: 16 bits for each nonzero one, nothing for positions. All fits have
# 5,000 steps and one seed. The settings of the game were chosen on two of the three photographs, astronaut and coffee.
#
# Here is the report of this sweep, as `python -m reproduce sweep sweeps/loonie_starts.yaml` leaves it in its folder.
# Choose what to draw:

# %% tags=["hide-input"]
varied = ("depth", "size", "bpp", "picture")
rows = loonie.start_rows(records)
sweep_report.Embedded(sweep_report.page("loonie_starts", "11_loonie", varied, rows, linked=False))

# %% [markdown]
# ### Faster?
#
# "Faster", says the poster, and the code compares L0onie at a learning rate of $10^{-3}$ with COIN at $2 \cdot
# 10^{-4}$. Here are both, and COIN at L0onie's rate: Adam at a constant rate, as in the paper, on mini-batches; gates
# and multiplier move faster than the paper's, because 5,000 steps must do for 50,000. Where the line is dotted, some
# picture is over its budget still. Speed itself is judged at the preset `paper` only.

# %% tags=["hide-input"]
shown = loonie.race_course(records)
figure, axes = plot.panels()
for row, colour in zip(shown.rows, ("#0072B2", "#000000", "#888888"), strict=True):
    over, psnr = np.array(row["over"]), np.array(row["y"])
    axes.plot(row["x"], np.where(over, np.nan, psnr), color=colour, lw=1.8, label=row["name"])
    axes.plot(row["x"], np.where(over, psnr, np.nan), ":", color=colour, lw=1.8)
axes.set(xlabel="work of training, 10¹² multiply-accumulates a picture", ylabel=plot.PSNR)
axes.legend(frameon=False)
plot.sign(figure, shown.records)
figure

# %% [markdown]
# ### First weights
#
# Gates begin half open: $\log\alpha$ is about 0, the median gate 1/2, and every weight is multiplied by its gate. Ten
# layers of halved weights hardly pass a signal on. So the released code divides its first weights by 1/2 (one minus
# the drop rate), and the network begins at the scale that a SIREN asks for. Here are the first 500 steps of the
# released settings on kodim15, every pixel in every step, with the division and without:

# %% tags=["hide-input"]
shown = loonie.loonie_first_steps(records)
figure, axes = plot.panels(size=(7.2, 3.6))
for row, look in zip(shown.rows, ("-", "--"), strict=True):
    axes.plot(row["x"], row["y"], look, color="#0072B2", lw=1.8, label=row["name"])
axes.set(xlabel="step", ylabel=plot.PSNR)
axes.legend(frameon=False)
plot.sign(figure, shown.records)
figure

# %%
print(f"at step 400 the division brings {loonie.gain_of_division(records):+.2f} dB")

# %% tags=["remove-cell"]
if at_defaults:
    assert loonie.gain_of_division(records) > 3 and loonie.gain_of_division(records, 100) > 5

# %% [markdown]
# No gate has closed yet in these steps, so both networks are still over the budget: the figure is about the start
# alone. Our own budgets begin with gates at $\log\alpha = 1$, nearly open, and need no division.

# %% [markdown]
# ## Positions must be paid for
#
# A file that holds half of the weights must say which half. The codec `loonie` writes L0onie's own network as it is
# counted, fp16 values, with the positions range-coded beside them:

# %%
counting = codecs.get_codec("loonie", rate="nonzeros", budget=chosen.gates, seed=seed)
measured = codecs.evaluate(counting, picture, bpp)
network = network_weights.decode(unpack(measured.data).sections)
alive = int((network.values != 0).sum())
whole = network.architecture.n_parameters
print(
    f"{alive:,} of {whole:,} weights alive, 16 bits each: {16 * alive / 512**2:.4f} a pixel"
)
print(f"the file: {measured.bpp:.4f} bpp, {measured.psnr:.2f} dB, of which")
for part, length in layout(measured.data):
    print(f"  {part:10s}{length:6,d} bytes")

# %% tags=["remove-cell"]
if at_defaults:
    assert 16 * alive <= bpp * 512**2 < 8 * measured.bytes

# %% [markdown]
# The star in the next figure is the file of the section after it, with twice the steps; the others are as above, each
# at the length of its file.

# %%
for tau in (0.07, 0.15, 0.3, 0.6):
    share = loonie.position_share(records, tau)
    print(f"at {tau} the files are {share:.1f} % longer than what the paper counts")
    assert share > 5

# %% tags=["hide-input"]
shown = loonie.rate_distortion(records, "file")
figure, axes = plot.panels()
plot.lines(axes, shown)
axes.set(xlabel=plot.BPP, ylabel=plot.PSNR)
axes.legend(frameon=False, fontsize=9)
plot.sign(figure, shown.records)
figure

# %% [markdown]
# ## A file that is worth its bytes
#
# Sixteen bits a value is a habit, not a need. But a SIREN cannot simply be rounded: the sines amplify what the
# rounding leaves, layer after layer. Here is the COIN of the last chapter, 10x28, its weights rounded after training,
# each matrix with a step of its own:

# %%
kept = widgets.kept_file("astronaut-10x28.spc")
stored = unpack(kept).sections["weights"]
theta = torch.from_numpy(np.frombuffer(stored, "<f2").astype(np.float32))
shape = siren.Architecture(10, 28)
psnr = {16: metrics.psnr(reference=picture, reconstruction=codecs.decode(kept))}
for bits in (10, 9, 8, 7, 6):
    rounded = network_weights.rounded(shape, theta, bits)
    shown = siren.render(shape, rounded, 512, 512).numpy()
    psnr[bits] = metrics.psnr(reference=picture, reconstruction=shown)
print("   ".join(f"{bits} bits {value:.2f} dB" for bits, value in psnr.items()))

# %% tags=["remove-cell"]
if at_defaults:
    assert psnr[16] - psnr[8] > 1

# %% [markdown]
# So quantisation belongs into the training, and into the same game. Every matrix has a step $\Delta$ that is learnt:
# in training uniform noise of one step's width stands in for the rounding {cite:p}`noise`, and the constraint is on
# the bits that the file will have. A Gaussian of the matrix's own spread costs about
#
# $$ HW\,R \approx
#    \sum_{\text{matrices}} n \Bigl( \tfrac12 \log_2 (2 \pi e\, \overline{\theta^2}) - \log_2 \Delta \Bigr) $$
#
# bits for $n$ weights: this has a gradient in the weights and in $\Delta$, the picture has one, too, and $\lambda$
# weighs them. The file is written at every scoring, and what the formula misses is carried on to the next. After four
# fifths of the steps one common factor on all steps brings the file to 99 % of the budget, the steps stay, and the
# weights train on under real rounding, its gradient passed straight through {cite:p}`straight_through`. If what is
# scored then is over the budget, its steps are made coarser until it is not: no file passes the ceiling.
#
# In the time given this game does not come to rest. It is the common factor that meets the budget; until then
# $\lambda$ only shares the bits out between matrices and weights:

# %%
rates = []
for row in loonie.loonie(records, "file").rows:
    steps, course = np.array(row["course"]["step"]), np.array(row["course"]["rate"])
    rates.append(course[steps < 0.8 * steps[-1]])
rates = np.array(rates)
print(f"while it plays: {rates.min():.2f} to {rates.max():.2f} bpp")
print(f"when the noise ends: {rates[:, -1].mean():.3f}")
stored = [row["bpp"] for row in loonie.loonie(records, "file").rows]
print(f"stored: {min(stored):.4f} to {max(stored):.4f}")

# %% tags=["remove-cell"]
if at_defaults:
    assert max(stored) <= 0.3

# %% [markdown]
# This is not the paper's method, so it has its own name: *our files*. There are no gates in them and no dual restarts;
# the network sees three octaves of sines and cosines of the position beside the position itself {cite:p}`nerf`; and
# the file spends almost nothing on the order and the signs of neurons, which a SIREN does not care about. (The settings
# were chosen on astronaut, coffee and motorcycle: this chapter's own fits are no test of them, Kodak is.)

# %%
ours = codecs.get_codec("loonie", rate="file", budget=chosen.file, seed=seed)
measured = codecs.evaluate(ours, picture, bpp)
dense = codecs.evaluate(
    codecs.get_codec("coin", budget=chosen.file, seed=seed), picture, bpp
)
print(
    f"our file {measured.bpp:.4f} bpp, {measured.psnr:.2f} dB; COIN {dense.bpp:.4f} bpp, {dense.psnr:.2f} dB"
)
for part, length in layout(measured.data):
    print(f"  {part:10s}{length:6,d} bytes")

# %% tags=["remove-cell"]
if at_defaults:
    assert 0.95 * bpp <= measured.bpp <= bpp
    assert measured.psnr > dense.psnr

# %% tags=["hide-input"]
shown = loonie.files_against_published(records)
figure, axes = plot.panels()
for row in shown.rows:
    look = plot.style(row["series"])
    if "printed" in row:
        look |= {"mfc": "none", "ls": "--", "lw": 1}
    if "whole" in row:
        look |= {"ms": 17, "ls": "none"}
    axes.plot(row["x"], row["y"], label=row["name"], **look)
axes.set(xlabel=plot.BPP, ylabel=plot.PSNR)
axes.legend(frameon=False, fontsize=8)
plot.sign(figure, shown.records)
figure

# %% [markdown]
# The eight pictures of the line are harder than all twenty-four, whose mean is the large star. From the bundled
# photograph, files side by side:

# %%
plot.pictures(loonie.reconstructions(records), crop=(10, 146, 192, 160))

# %% [markdown]
# ## What each part does
#
# At 0.3, on six pictures of Kodak, with 5,000 steps. The first six rows are L0onie with our optimiser, one thing
# changed in each; where positions are counted, they are within the budget. The last three are our files: as they are,
# without the positional features, and then with gates beside the quantisation.

# %%
plot.table(loonie.parts_table(records))

# %%
parts = {
    r.config["part"]: r.mean("psnr")
    for r in records.find("loonie_parts", data="kodak")
}
gates_add = parts["our file, no frequencies, gates"] - parts["our file, no frequencies"]
quantised = parts["our file, no frequencies"] - parts["L0onie"]
print(
    f"quantisation in training, no gates: {quantised:+.2f} dB over L0onie, and its positions are in the bytes"
)
print(f"gates beside the quantisation: {gates_add:+.2f} dB")

# %% tags=["remove-cell"]
if at_defaults:
    assert quantised > 1 and abs(gates_add) < 0.5

# %% [markdown]
# What the rows say:
#
# - *Drawn* gates do not train here at all. Independent noise on every weight, through ten layers of sines, leaves no
#   signal; the training sees a constant picture and begins anew, again and again. L0onie's medians are no detail.
# - *Without restarts* of the multiplier the gates go on closing long after the budget is met, and a third of it is
#   given away.
# - *Gates of neurons* lose at most 0.1 dB on three of the six pictures, 0.2 and 0.4 on two, with half the
#   multiplications and hardly a position to pay for. On kodim05 they had not met the budget in time, and the repair at
#   the end, which removes the smallest weights, ruins it.
# - *Fewer bits for each weight* buy far more than fewer weights. At seven or eight bits a weight, entropy coded, these
#   gates (one setting, not tuned) found next to nothing that was worth closing.

# %%
rows = {
    r.config["part"]: r.rows for r in records.find("loonie_parts")
}
whole = {row["picture"]: row for row in rows["L0onie"]}
for row in rows["gates of neurons"]:
    lost = whole[row["picture"]]["psnr"] - row["psnr"]
    assert lost < 0.5 or row["picture"] == "kodim05"
    assert row["macs_per_pixel"] < 0.65 * whole[row["picture"]]["macs_per_pixel"]
given_away = [
    row["estimated_bits"] / (0.3 * 512 * 768) for row in rows["no dual restarts"]
]
print(f"without restarts {np.mean(given_away):.0%} of the budget are used")

# %% tags=["remove-cell"]
if at_defaults:
    assert parts["gates sampled"] < parts["L0onie"] - 5
    assert np.mean(given_away) < 0.8

# %% [markdown]
# ## The numbers

# %%
plot.table(loonie.methods_table(records))

# %% [markdown]
# The column of multiply-accumulates tells what gates on single weights do not give: a scattered zero saves no
# multiplication, and L0onie's decoder works twice as hard as COIN's at the same budget.

# %% [markdown]
# ## The experiment
#
# Four plans at each rate: our file, L0onie's gates, magnitude pruning, and the dense COIN. At the preset of this page
# they are small fits of one bundled photograph, too short for any of them to be good. With Kodak and a GPU the same
# cell runs the paper's networks for as many steps as the paper:
#
# ```console
# $ python -m reproduce run 11_loonie -p preset paper -p device cuda -p pictures kodak -p out ../results/runs
# ```

# %% tags=["experiment"]
import tempfile
from pathlib import Path

from reproduce.runner import Request
from reproduce.runner import run as make

request = Request(preset, Path(out or tempfile.mkdtemp()).resolve(), device, seed, pictures)
plans = loonie.loonie_plans(request) if not depth else [loonie.start_plan(request, depth, size, bpp)]
made = [read(path) for path in make(plans, request.out, only=only or None)]
values = values_of(made)  # for a sweep

# %% tags=["experiment", "hide-input"]
figure, axes = plot.panels()
for label in loonie.METHODS:
    own = [record for record in made if record.config["label"] == label]
    points = Curve.of((r.mean("bpp"), r.mean("psnr")) for r in own)
    axes.plot(*points, label=loonie.NAMES[label], **plot.style(label, ms=8))
axes.set(xlabel=plot.BPP, ylabel=plot.PSNR)
axes.legend(frameon=False)
plot.sign(figure, made)
figure

# %% [markdown]
# ## Verdict

# %%
tables.verdict_table("L0onie")

# %%
tables.verdict_table("our files")

# %% [markdown]
# ## A widget
#
# The astronaut under seven budgets. Beside our file stands L0onie's, as a file with fp16 values and positions: it is
# longer than the budget that the slider names. The mosaics are the hidden matrices, blue where a weight is alive.

# %%
widgets.loonie_budgets()

# %% [markdown]
# ## Exercises
#
# 1. Half of 15,003 weights are alive, in random places. How many bits does it take to say which? What share is that of
#    16 bits a nonzero weight?
# 2. The multiplier is in units of squared error for one bit per pixel. Near 0.3 bpp our files have about 29.4 dB, and
#    twice the rate would gain about 2 dB. Estimate the $\lambda$ at which their game would come to rest.
# 3. A layer of 40 neurons may be written in any order. How many bits is that freedom worth, and how does sorting the
#    biases collect them?
#
# :::{admonition} Solutions
# :class: dropdown
# 1. One bit a weight: 15,003 bits for 7,500 values of 16 bits, 12.5 %.
# 2. At 29.4 dB the MSE is $1.15 \cdot 10^{-3}$; 2 dB more is a factor of 0.63, so $4.2 \cdot 10^{-4}$ over 0.3 bpp:
#    $1.4 \cdot 10^{-3}$ on average, and more at 0.3 itself. The records end at about $3 \cdot 10^{-4}$: the game was
#    stopped before it came to rest. L0onie's $\lambda$ climbs to 0.2 and more and then falls to 0: it is a force, not
#    a price.
# 3. $\log_2 40! \approx 159$ bits a layer. A sorted list has no order left to tell: its differences are small and
#    geometrically distributed, and cost that much less than the values do.
# :::
