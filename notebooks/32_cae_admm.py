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
# # CAE-ADMM: results, and pruning against an entropy estimate
#
# This chapter measures what {term}`pruning` the code saves in files. It repeats the tables and figures of CAE-ADMM
# {cite:p}`cae_admm`, and compares pruning at equal bytes with a training that estimates the {term}`entropy`.
#
# **You will learn**
#
# - whether pruning the code is better than an entropy estimate at equal bytes;
# - how to split the bits of a code into bits for places and bits for values;
# - how to see in the residuals of a real training whether {term}`ADMM` has converged;
# - which of the paper's comparisons hold for files, and what the choices of the released code change.
#
# **You need** the chapters on [ADMM](30_admm) and on [the released code](31_released_code). No GPU and no data set.
# **Run it:** `python -m reproduce run 32_cae_admm`, less than a minute, no download. The tables, and most of the
# figures, are drawn from records in the repository.

# %% tags=["parameters"]
preset = "smoke"  # of the experiment: smoke (seconds), laptop, desktop, paper-fast or paper (hours)
device = "cpu"  # "cpu" or "cuda"
seed = 0  # of the experiment; a whole number from 0 to 99
pictures = "bundled"  # of the experiment; "kodak" if you have that data set
out = ""  # the folder for its records; a new one by default
only = ""  # its one training, such as keep 10; three by default

# %% tags=["hide-input"]
import numpy as np
from myst_nb import glue

from reproduce import drawings, plot, tables
from reproduce.papers import cae_admm as numbers
from reproduce.records import Records, values_of
from reproduce.tables import say
from sparsecomp import codecs, complexity, data, metrics
from sparsecomp.checks import one_of, whole
from sparsecomp.codecs.trained import latent_of
from sparsecomp.coding import integer_latents
from sparsecomp.coding.range_coder import TOTAL
from sparsecomp.models.cae_admm import CaeAdmm, Shape
from sparsecomp.models.pretrained import default_models

one_of("preset", preset, numbers.PRESETS)
whole("seed", seed, 0, 99)
wanted = (only,) if only else ("unpruned", *numbers.HEADLINE)
one_of("only", wanted[0], numbers.PRESETS[preset].labels)
at_defaults = (preset, seed, only) == ("smoke", 0, "")  # the experiment of this page, not its records
records = Records(preset="desktop")  # of all tables and figures but the experiment
smaller = records.at("laptop")  # other values of rho, and two more of the released choices

# %% tags=["remove-cell"]
pruned_to_10, first = numbers.training(records, "keep 10"), numbers.training(records, numbers.BEFORE).config
tuning, shape, pruning = (pruned_to_10.config[part] for part in ("descent", "shape", "pruning"))
assert numbers.unpruned(records) == numbers.TUNED and pruning["balance"] and pruning["then"] == "projection"
assert first["descent"]["start"] == "dct" and pruned_to_10.config["precision"] == "bfloat16"
for name, value, form in (
    ("width", shape["width"], "d"), ("depth", shape["depth"], "d"), ("outer", shape["outer"], "d"),
    ("steps", first["descent"]["steps"], ","), ("tuning", tuning["steps"], ","), ("until", pruning["until"], ","),
    ("batch", tuning["batch"], "d"), ("codes", first["descent"]["codes"], ","), ("codes-tuning", tuning["codes"], ","),
    ("train", first["train"]["pictures"], "d"), ("updates", pruning["until"] // pruning["interval"], "d"),
    ("interval", pruning["interval"], "d"), ("settle", first["descent"]["settle"], "d"), ("rho", pruning["rho"], "g"),
    ("epochs", tuning["steps"] * tuning["batch"] / tuning["codes"], ".1f"),
    ("seeds", len(numbers.seeds_of(records, "keep 10")), "d"),
):  # fmt: skip
    say(f"prune-{name}", value, form)

# %% [markdown]
# ## Pruned, estimated, or neither: what is trained
#
# The paper limits the number of nonzero entries of each code. The older way is to estimate the bits of the code and to
# add them to the loss, with a price. Theis et al. {cite:p}`theis2017` train the original compressive
# {term}`autoencoder` like this. The paper starts from their network and states that pruning improves it. Here are both
# objectives together:
#
# $$ \begin{aligned}
#    \text{pruned:} \quad & \min_{E, D} \; d(x, \hat x) \quad\text{subject to}\quad
#    \operatorname{card}(\hat z) \le \ell \\
#    \text{estimated:} \quad & \min_{E, D, p} \; d(x, \hat x)
#    + \frac{\lambda}{HW} \sum_{c, i} -\log_2 p_c(\hat z_{c,i})
#    \end{aligned} $$ (eq-admm-objectives)
#
# The first line is the paper's problem {eq}`eq-admm-goal`: $E$ and $D$ are encoder and decoder, $d$ is the
# {term}`distortion` {eq}`eq-admm-distortion`, and $\operatorname{card}(\hat z)$ counts the nonzero entries of the code
# $\hat z$. In the second line, $\hat z_{c,i}$ is entry $i$ of channel $c$, and $p_c$ is a density that is learned for
# this channel, a mixture of Gaussians with mean zero. The sum is an {term}`estimate` of the bits of the code.
# $H \times W$ is the size of the picture in pixels, so $\lambda$ is the price of one
# {term}`bit per pixel <bits per pixel>`.
#
# Both objectives of {eq}`eq-admm-objectives` get the same network, the same coder for the files, the same training
# pictures, the same random rounding in training, and the same number of steps. So the comparison changes one thing.
#
# First we train an *unpruned* model with the distortion alone, for {glue:text}`prune-steps` steps. From it we fine-tune
# every other model for {glue:text}`prune-tuning` more steps:
#
# - **neither, fine-tuned as long**: the distortion alone, again. This model is the *unpruned* one of all comparisons,
#   because it was trained as long as the others;
# - **pruned by ADMM**, to 40, 20, 10 and 5 % of the entries. The paper keeps 10 %;
# - **entropy estimated**, with $\lambda$ = 50, 150, 400, 1,000 and 2,500. We chose these prices so that the files are
#   about as long as those of the pruned models;
# - **as released**: the choices of the [released program](31_released_code) in place of the paper's equations.
#
# All of them see the same crops in the same order. One more model, **16 channels**, is unpruned and has half the
# channels in the code; it is not fine-tuned.
#
# Pruning has two stages here. ADMM runs for {glue:text}`prune-until` steps. Then the network is trained for the other
# half of the steps *through* the projection {eq}`eq-admm-mask`: the decoder sees only codes that satisfy the
# constraint, and so does a file. Pruning of weights is done in this way {cite:p}`progressive_admm`. Below we measure
# what it changes.
#
# The records have the preset `desktop`, which is smaller than the paper:
#
# ```{list-table}
# :header-rows: 1
# * -
#   - this chapter
#   - the paper and its released code
# * - filters
#   - {glue:text}`prune-width`; the layers beside the code are as wide as at {glue:text}`prune-outer`
#   - 128
# * - residual blocks
#   - {glue:text}`prune-depth`
#   - 15
# * - training pictures
#   - {glue:text}`prune-train` of BSDS500
#   - all 500 of BSDS500
# * - crops of 128 × 128
#   - {glue:text}`prune-codes`, drawn once; {glue:text}`prune-codes-tuning` for fine-tuning
#   - a new one of each picture in every epoch
# * - steps
#   - {glue:text}`prune-steps`, and {glue:text}`prune-tuning` of fine-tuning
#   - 4,800, which are 300 epochs
# * - crops in each step
#   - {glue:text}`prune-batch`
#   - 32
# * - updates of $Z$ and $U$
#   - every {glue:text}`prune-interval` steps, {glue:text}`prune-updates` in all
#   - every 20 epochs, 15 in all
# * - after the last of them
#   - the projection in the forward pass
#   - the end of the training
# * - $\rho$
#   - {glue:text}`prune-rho`, balanced if needed
#   - not in the paper; 0.1 in the released code, with another penalty
# * - optimiser
#   - Muon {cite:p}`muon`, in `bfloat16`
#   - Adam
# ```
#
# Three more choices are ours. The layers outside the residual blocks start as a discrete cosine transform, and PReLU
# activations as the identity. Batch normalisations use their running statistics after {glue:text}`prune-settle` steps.
# With few crops in a step, one flat crop would change the statistics, and with them the codes of the other crops. We
# made these choices on validation pictures, in short trials of the unpruned and the estimated training. For pruning we
# tried four values of $\rho$ in short trials that we did not keep, and took the released code's. A training of the
# paper's size is one command, which can be paused and resumed; we have not run it:
#
# ```console
# $ python -m reproduce study cae_admm --preset paper --device cuda --max-minutes 9
# ```
#
# ## The fair comparison: equal bytes
#
# At equal bytes, does a constraint on the count beat a price on the estimated bits? {numref}`fig-prune-fair` compares
# files of the 24 Kodak pictures. The paper's measure is {term}`SSIM`.

# %% tags=["hide-input"] mystnb={"figure": {"caption": "**At every rate that both have, models with an estimated entropy are better than models pruned by ADMM.** Horizontal axis, logarithmic: rate of files. Vertical axis: SSIM. One marker for each trained model, the code as its encoder makes it (of JPEG 2000: for each setting). Dashed: one unpruned model, whose encoder keeps all, 20, 10 or 5 % of the code. Large hollow markers: further seeds. <small>Kodak, mean of 24 pictures; records cae_admm and baselines.</small>", "name": "fig-prune-fair"}, "image": {"alt": "Four rising curves of SSIM over rate. The curves of JPEG 2000 and of the estimated models cross twice: JPEG 2000 is higher below 0.5 bits per pixel, the estimated models are slightly higher between 0.6 and 1.1. The curve of the pruned models lies below both everywhere. The dashed curve of the unpruned model is far below all others."}}
figure, axes = plot.panels(size=(5.0, 4.6))
lines_of = {(row["series"], row["kind"]): row for row in numbers.rate_distortion(records).rows}
for key, name, look in (
    (("jpeg2000", "standard"), "JPEG 2000", {"ms": 4, "color": "#777777"}),
    (("estimated", "code"), "entropy estimated", {}),
    (("pruned", "code"), "pruned by ADMM", {}),
    (("unpruned", "all"), "unpruned, pruned in use only", {"ls": "--"}),
):
    axes.plot(lines_of[key]["x"], lines_of[key]["y"], label=name, **plot.style(key[0], **look))
for label, family in zip(numbers.HEADLINE, ("pruned", "estimated"), strict=True):
    for other in numbers.seeds_of(records, label)[1:]:
        again = numbers.training(records, label, other, "code")
        axes.plot(again.mean("bpp"), again.mean("ssim"), **plot.style(family, mfc="none", ms=10, ls="none"))
axes.set(xscale="log", xlim=(0.16, 4.2), ylim=(0.55, 0.98), xlabel=plot.BPP, ylabel=plot.SSIM)
axes.set_xticks([0.2, 0.3, 0.5, 1, 2, 4], ["0.2", "0.3", "0.5", "1", "2", "4"])
axes.minorticks_off()
figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=2, frameon=False)
figure

# %% tags=["remove-cell"]
code = numbers.difference(records, "pruned", "estimated", files="code")
more = numbers.bytes_more(records, "pruned", "estimated", files="code").value
say("prune-fair-ssim", code.value, "+.4f")
say("prune-fair-bytes", more, ".0f")
estimated, longer_by = numbers.family(records, "estimated", files="code"), {}
for label in numbers.PRUNED:  # at its own SSIM, by the logarithm of the rate
    files = numbers.training(records, label, files="code")
    as_good = np.exp(np.interp(files.mean("ssim"), estimated.qualities, np.log(estimated.rates)))
    longer_by[label] = 100 * (files.mean("bpp") / as_good - 1)
    say(f"prune-longer-{label.split()[1]}", longer_by[label], ".0f")
say("prune-fair-from", code.overlap[0])
say("prune-fair-to", code.overlap[1])
each = {label: numbers.above(records, label, "estimated") for label in numbers.PRUNED}
for label, value in each.items():
    say(f"prune-above-{label.split()[1]}", value, "+.4f")

# %% tags=["remove-cell"]
keep_10, lambda_400 = numbers.HEADLINE
by_seed = [
    numbers.above(records, keep_10, "estimated", seed=s) - numbers.above(records, lambda_400, "estimated", seed=s)
    for s in numbers.seeds_of(records, keep_10)
]
say("prune-seed-least", max(by_seed), "+.3f")
say("prune-seed-most", min(by_seed), "+.3f")
assert code.value < -0.01 and more > 15 and all(value < -0.01 for value in each.values()) and max(by_seed) < -0.01
assert 5 < longer_by["keep 5"] < longer_by["keep 10"] < longer_by["keep 20"] < longer_by["keep 40"]
assert numbers.difference(records, "estimated", "jpeg2000").value < 0 < numbers.difference(
    records, "estimated", "jpeg"
).value  # fmt: skip
curves = [numbers.family(records, family, files="code") for family in ("pruned", "estimated")]
assert all(curves[0].at(rate) < curves[1].at(rate) for rate in np.linspace(*code.overlap, 50))

# %% [markdown]
# The table compares pairs of curves: the mean vertical distance over the rates that both have, and the difference in
# bytes at equal SSIM. *As the encoder makes it* means that each code is written without further pruning. *Every file*
# adds files for which the encoder kept only a share of the entries. The last row compares 10 % with $\lambda = 400$,
# separately for each {term}`seed`. Here ± is the standard deviation over seeds.

# %% tags=["hide-input"]
plot.table(numbers.fair_table(records))

# %% tags=["remove-cell"]
say("prune-use", numbers.difference(records, "pruned", "unpruned").value)
say("prune-jpeg2000", numbers.bytes_more(records, "estimated", "jpeg2000").value, ".0f")
say("prune-jpeg", -numbers.bytes_more(records, "estimated", "jpeg").value, ".0f")
assert numbers.difference(records, "pruned", "unpruned").value > 0.1
assert all(numbers.bytes_more(records, family, "jpeg2000").value > 10 for family in ("pruned", "estimated"))
assert numbers.difference(records, "pruned", "estimated").value < -0.01
assert numbers.bytes_more(records, "estimated", "jpeg").value < 0 < numbers.bytes_more(records, "pruned", "jpeg").value

# %% [markdown]
# **Pruning needs {glue:text}`prune-fair-bytes` % more bytes than an entropy estimate at equal SSIM**, from
# {glue:text}`prune-fair-from` to {glue:text}`prune-fair-to` {term}`bpp`. The disadvantage grows with the rate: the
# models that keep 5, 10, 20 and 40 % need {glue:text}`prune-longer-5`, {glue:text}`prune-longer-10`,
# {glue:text}`prune-longer-20` and {glue:text}`prune-longer-40` % more bytes, each at its own SSIM. At equal bytes the
# mean difference in SSIM is {glue:text}`prune-fair-ssim`. Only 10 % and $\lambda = 400$ have
# {glue:text}`prune-seeds` seeds. With each of them the pruned model is worse, by {glue:text}`prune-seed-least` to
# {glue:text}`prune-seed-most`.
#
# Suppose that nobody prunes in training, and the encoder drops entries only when it writes a file. We call this
# *pruning in use*. It is much worse. In {numref}`fig-prune-fair` the dashed curve of the unpruned model is far below,
# by {glue:text}`prune-use` in the mean.
#
# **What does not follow.** The result is for one network, one training schedule and one coder. It does not say that
# ADMM cannot do better: a longer training, a better $\rho$ or the paper's network may change the order. It does not
# contradict the paper's figure either, which compares with published curves of other networks. Against the standards,
# the estimated models need {glue:text}`prune-jpeg` % fewer bytes than JPEG at equal SSIM, and
# {glue:text}`prune-jpeg2000` % more than JPEG 2000. The pruned models need more than either. A coarser step, below,
# improves both families.
#
# Three explanations are possible. The next sections look at the first two:
#
# - The count is not the rate. A file pays for the places and for the sizes of the nonzero entries.
# - ADMM did not converge. So the projection may remove entries that the decoder still needs.
# - The estimate has a gradient for every entry in every step. ADMM pulls each entry towards a target that changes only
#   at the updates of $Z$ and $U$, and then jumps. (We do not test this.)
#
# ## Where the bits go: places and values
#
# What does a file pay for? The coder has a table $P_c$ of probabilities for each channel $c$. We split its bits in two.
# First the file says for each entry whether it is zero. Then it says for each nonzero entry which value it has:
#
# $$ \begin{aligned} \sum_{c,i} -\log_2 P_c(\hat z_{c,i})
#    = {} & \underbrace{\sum_{c} \Bigl( -n_c \log_2 P_c(0) - k_c \log_2 \bigl(1 - P_c(0)\bigr)
#    \Bigr)}_{\text{places}} \\
#    & + \underbrace{\sum_{c,i \,:\, \hat z_{c,i} \ne 0}
#    -\log_2 \frac{P_c(\hat z_{c,i})}{1 - P_c(0)}}_{\text{values}} .
#    \end{aligned} $$ (eq-admm-split)
#
# Here $n_c$ and $k_c$ are the numbers of zero and nonzero entries of channel $c$. The fraction is the probability of a
# value if we know that it is not zero; the value includes the sign. The two terms $\log_2(1 - P_c(0))$ cancel, so the
# split is exact. The next cell is {eq}`eq-admm-split` in Python. A table adapts to each channel: its share of zeros is
# rounded to one of 37 levels. The file stores the level in a few bits, which we leave out.


# %%
def split(code, counts):
    """Bits for the places of the nonzero entries of a code, and bits for their values."""
    places = values = 0.0
    for channel, counted in zip(code, counts, strict=True):
        nonzero = channel[channel != 0]
        if nonzero.size:  # an empty channel costs next to nothing
            least, level = integer_latents.threshold_of(channel), integer_latents.level_of(channel)
            p = integer_latents.table(counted, least, level) / TOTAL  # 512 probabilities
            zero, n = p[integer_latents.ZERO], nonzero.size
            places -= (channel.size - n) * np.log2(zero) + n * np.log2(1 - zero)
            values -= np.log2(p[nonzero + integer_latents.ZERO] / (1 - zero)).sum()
    return places, values


# %% [markdown]
# We apply it to four models and one bundled picture, the astronaut. The pairs are chosen for this picture. The model
# pruned to 20 % and the one with $\lambda = 400$ have about the same *number* of nonzero entries. The model pruned to
# 10 % and the one with $\lambda = 1000$ have about the same SSIM. All four are in the package.

# %%
picture, models, rows = data.bundled()["astronaut"], default_models(), {}
for label in ("lambda 400", "keep 20", "lambda 1000", "keep 10"):
    stored = models.find(numbers.training(records, label).result["file"])
    code = latent_of(stored, picture)  # whole numbers, (channels, height, width)
    places, values = split(code, stored.counts)
    ssim = metrics.ssim(reference=picture, reconstruction=stored.decode(code, *picture.shape[:2]))
    rows[label] = [code, places, values, np.abs(code[code != 0]), ssim]
columns = ["training", "SSIM", "nonzero", "zeros", "mean magnitude", "magnitude 1", "places, bits", "values, bits"]
shown = [
    [numbers.NAMES[label], f"{ssim:.3f}", f"{n.size:,}", f"{100 * (code == 0).mean():.0f} %", f"{n.mean():.1f}",
     f"{100 * (n == 1).mean():.0f} %", f"{places / n.size:.2f}", f"{values / n.size:.2f}"]
    for label, (code, places, values, n, ssim) in rows.items()
]  # fmt: skip
plot.Table(shown, columns=columns)

# %% [markdown]
# *Magnitudes are those of the nonzero entries. "Magnitude 1" is their share of ±1. The last two columns are bits for
# each nonzero entry.* {numref}`fig-prune-bits` shows the totals in bits per pixel, and the magnitudes of the first
# pair.

# %% tags=["hide-input"] mystnb={"figure": {"caption": "**At equal count, the pruned code pays about the same for places and much more for values, because its nonzero entries are larger.** Top: bits per pixel by the split, their sum at the end of each bar. Bottom, for the first pair: how many of the nonzero entries have at most this magnitude. <small>The bundled astronaut; computed on this page with models of records cae_admm, first seed.</small>", "name": "fig-prune-bits"}, "image": {"alt": "Top: four horizontal bars, each in two parts, places and values. The bar of lambda 400 is about 0.6 bits long, that of 20 per cent about 0.8: the first parts are equally long, the second part of the pruned code is much longer. The bars of lambda 1000 and 10 per cent, about 0.36 and 0.44, differ in the same way. Bottom: two rising curves over magnitude. The estimated code has more than half of its nonzero entries at magnitude 1. The pruned code has none below 3 and half of them above 8."}}
figure, (top, bottom) = plot.panels(2, 1, size=(5.0, 6.2), height_ratios=(1.2, 1))
colours = {"estimated": "#D55E00", "pruned": "#0072B2"}
for height, (label, (_, *bits, _, _)) in enumerate(rows.items()):
    places, values = (part / picture[..., 0].size for part in bits)
    colour = colours["estimated" if label in numbers.ESTIMATED else "pruned"]
    top.barh(-height, places, color=colour, alpha=0.45)
    top.barh(-height, values, left=places, color=colour)
    for middle, name in ((places / 2, "places"), (places + values / 2, "values")):
        top.annotate(name, (middle, -height), ha="center", va="center", color="black" if name == "places" else "white")
    top.annotate(f" {places + values:.2f}", (places + values, -height), va="center")
names = [numbers.NAMES[label].removeprefix("entropy ").replace(", ", ",\n").replace(" to ", "\nto ") for label in rows]
top.set(yticks=[0, -1, -2, -3], yticklabels=names, xlabel="bits per pixel", xlim=(0, 0.95))
top.grid(visible=False)
for label, (name, x) in {"lambda 400": ("λ = 400", 1.9), "keep 20": ("pruned to 20 %", 9.5)}.items():
    sizes = np.sort(rows[label][3])
    colour = colours["estimated" if label in numbers.ESTIMATED else "pruned"]
    bottom.step(sizes, np.arange(1, sizes.size + 1) / sizes.size, where="post", color=colour, lw=1.8)
    bottom.annotate(name, (x, 0.45), color=colour)
bottom.set(xscale="log", xlabel="magnitude", ylabel="share of nonzero entries", xlim=(0.9, 200), ylim=(0, 1.02))
bottom.set_xticks([1, 2, 5, 10, 20, 50, 100, 200], ["1", "2", "5", "10", "20", "50", "100", "200"])
bottom.minorticks_off()
figure

# %% tags=["remove-cell"]
per = {label: (row[1] / row[3].size, row[2] / row[3].size) for label, row in rows.items()}
total = {label: row[1] + row[2] for label, row in rows.items()}
priced, twenty, cheap_one, ten = (rows[label] for label in rows)
for name, value, form in (
    ("places", per["lambda 400"][0], ".1f"), ("places-20", per["keep 20"][0], ".1f"),
    ("value", per["lambda 400"][1], ".1f"), ("value-20", per["keep 20"][1], ".1f"),
    ("count", abs(twenty[3].size / priced[3].size - 1), ".1%"), ("more", total["keep 20"] / total["lambda 400"] - 1, ".0%"),
    ("less", priced[4] - twenty[4], ".3f"), ("mean", priced[3].mean(), ".1f"), ("mean-20", twenty[3].mean(), ".1f"),
    ("ones", (priced[3] == 1).mean(), ".0%"), ("least-20", twenty[3].min(), "d"),
    ("fewer-10", 1 - ten[3].size / cheap_one[3].size, ".0%"),
    ("more-10", total["keep 10"] / total["lambda 1000"] - 1, ".0%"), ("apart-10", abs(ten[4] - cheap_one[4]), ".3f"),
):  # fmt: skip
    say(f"prune-bits-{name}", value, form)

# %% tags=["remove-cell"]
for label, row in rows.items():
    stored = models.find(numbers.training(records, label).result["file"])
    assert np.abs(row[0]).max() <= integer_latents.LARGEST
    bits = integer_latents.bits(row[0], stored.counts, integer_latents.threshold_of(row[0]))
    assert 0 < bits - total[label] < 10 * len(row[0]), "thresholds and levels"
    file = codecs.get_codec(stored.codec, model=stored.name).encode(picture)
    assert abs(len(file) - total[label] / 8) < 100
assert abs(twenty[3].size / priced[3].size - 1) < 0.01 and abs(ten[4] - cheap_one[4]) < 0.002
assert total["keep 20"] > 1.3 * total["lambda 400"] and priced[4] - twenty[4] > 0.015
assert abs(per["keep 20"][0] - per["lambda 400"][0]) < 0.25 and per["keep 20"][1] > 1.6 * per["lambda 400"][1]
assert 0.5 < (priced[3] == 1).mean() and twenty[3].min() > 2 and ten[3].size < 0.85 * cheap_one[3].size
assert total["keep 10"] > 1.15 * total["lambda 1000"] and twenty[3].mean() > 3 * priced[3].mean()
value_of, of_all = {}, {"lambda 400": [], "keep 20": []}
for name in ("astronaut", "chelsea", "coffee", "motorcycle_left"):
    for label, found in of_all.items():
        stored = models.find(numbers.training(records, label).result["file"])
        code = latent_of(stored, data.bundled()[name])
        found.append(split(code, stored.counts)[1] / np.count_nonzero(code))
ratio = np.array(of_all["keep 20"]) / of_all["lambda 400"]
say("prune-bits-times-least", ratio.min(), ".1f")
say("prune-bits-times-most", ratio.max(), ".1f")
assert ratio.min() > 1.6

# %% [markdown]
# **Equal count.** The numbers of nonzero entries of the two codes differ by {glue:text}`prune-bits-count`. The pruned
# one needs {glue:text}`prune-bits-more` more bits, and its SSIM is {glue:text}`prune-bits-less` lower. The places cost
# about the same: {glue:text}`prune-bits-places-20` bits for each nonzero entry, against {glue:text}`prune-bits-places`.
# The values do not: {glue:text}`prune-bits-value-20` bits against {glue:text}`prune-bits-value`.
#
# The lower panel of {numref}`fig-prune-bits` shows why. In the estimated code {glue:text}`prune-bits-ones` of the
# nonzero entries are ±1. In the pruned code none has a magnitude below {glue:text}`prune-bits-least-20`, and the mean
# is {glue:text}`prune-bits-mean-20` against {glue:text}`prune-bits-mean`. A count gives every nonzero entry the same
# price, however large it is. The projection cuts off the small entries, and the network can make the others as large as
# it likes: rounding to a whole number then changes them less. In a file, each doubling of all magnitudes costs about
# one bit more for each value. A price on the estimated bits includes this; a count does not.
#
# **Equal quality.** The code pruned to 10 % has {glue:text}`prune-bits-fewer-10` *fewer* nonzero entries than the one
# with $\lambda = 1000$, and needs {glue:text}`prune-bits-more-10` *more* bits, for an SSIM within
# {glue:text}`prune-bits-apart-10`.
#
# **What does not follow.** The table is of one picture. On the four bundled photographs, a value of the code pruned to
# 20 % costs {glue:text}`prune-bits-times-least` to {glue:text}`prune-bits-times-most` times as many bits as one of the
# code with $\lambda = 400$, so the large values are no accident of the astronaut. But the split only says where the
# bits are. It does not prove that smaller values would make the pruned code as good. The next section tests this.
#
# ## A coarser step
#
# If the values of a pruned code are finer than they need to be, then we can round them more coarsely when we write a
# file: to multiples of 2, 4 or 8, in place of whole numbers. No training is needed. The encoder's last layer is divided
# by the step and the decoder's first layer is multiplied by it, which gives a new model with files of its own. The
# estimated codes may do the same. The table compares all of them at equal bytes on Kodak. For *best step* we take, at
# each rate, the best of the files with steps 1, 2, 4 and 8.

# %% tags=["hide-input"]
plot.table(numbers.steps_table(records))

# %% tags=["remove-cell"]
every = (1, *numbers.STEPS)
fine, coarse, best, pruned_best = (
    numbers.stepped(records, *of)
    for of in (("pruned", (1,)), ("pruned", (8,)), ("estimated", every), ("pruned", every))
)
for name, value, form in (
    ("p1", fine.at(0.4), ".3f"), ("p8", coarse.at(0.4), ".3f"), ("e1", estimated.at(0.4), ".3f"),
    ("both", pruned_best.longer(best).value, ".0f"),
    ("estimated", -best.longer(estimated).value, ".0f"), ("at", best.at(0.6), ".3f"),
    ("jpeg2000", numbers.family(records, "jpeg2000").at(0.6), ".3f"),
    ("jpeg", numbers.family(records, "jpeg").at(0.6), ".3f"), ("pruned", pruned_best.at(0.6), ".3f"),
):  # fmt: skip
    say(f"prune-step-{name}", value, form)
assert abs(coarse.at(0.4) - estimated.at(0.4)) < 0.005 < 0.015 < coarse.at(0.4) - fine.at(0.4)
assert -best.longer(estimated).value > 10
assert pruned_best.longer(best).value > 20 and best.at(0.6) > numbers.family(records, "jpeg2000").at(0.6) + 0.01
ms_ssim = [numbers.stepped(records, *of, metric="ms_ssim") for of in (("pruned", (8,)), ("estimated", (1,)))]
assert ms_ssim[0].better(ms_ssim[1]).value < -0.01
fraction = np.linspace(0, 1, 100_001)
assert abs((fraction * (1 - fraction)).mean() - 1 / 6) < 1e-4
assert abs((np.minimum(fraction, 1 - fraction) ** 2).mean() - 1 / 12) < 1e-4

# %% [markdown]
# **The values of pruned codes are too fine.** At 0.4 bpp the pruned models have an SSIM of {glue:text}`prune-step-p1`
# with step 1 and of {glue:text}`prune-step-p8` with step 8. The estimated models have {glue:text}`prune-step-e1` with
# step 1. So with step 8 the pruned models are as good in SSIM, at low rates. In MS-SSIM they are not.
#
# **But a coarser step helps the estimated codes as well.** With the best step they need
# {glue:text}`prune-step-estimated` % fewer bytes than with step 1. A likely reason is the training, which rounds up or
# down at random. If a value lies at a fraction $t$ between two whole numbers, the mean squared error of this is
# $t (1 - t)$. If $t$ is evenly spread, that is 1/6 on average; rounding to the nearest has 1/12. So the decoder has
# seen more noise than a file has, and a file may be rounded more coarsely than the training was.
#
# **With the best step for both, pruning needs {glue:text}`prune-step-both` % more bytes.** So large values are not the
# whole cause of the difference, and we have measured no other cause. At 0.6 bpp, the estimated models with the best
# step have an SSIM of {glue:text}`prune-step-at`, JPEG 2000 has {glue:text}`prune-step-jpeg2000`, the pruned models
# have {glue:text}`prune-step-pruned`, and JPEG has {glue:text}`prune-step-jpeg`. The {term}`codec` `cae-theis` of this
# book therefore chooses a model and a step for every picture; the step is a multiple of 1/16. Except for Table 2, all
# other tables use step 1.
#
# ## Did ADMM converge?
#
# At convergence both residuals {eq}`eq-admm-residuals` are zero. The {term}`primal residual` is zero if all codes are
# equal to their $Z$, and then they satisfy the constraint. The {term}`dual residual`, divided by $\rho$, is the
# distance that $Z$ moves in one update. {numref}`fig-prune-residuals` shows both, as root mean squares over all entries
# of all codes. A distance of 1 is the difference between two neighbouring whole numbers. Our models leave ADMM after
# {glue:text}`prune-until` steps. For the paper's share, 10 %, two more trainings show what follows without the
# projection: ADMM to the end, and the last $Z$ and $U$ held fixed.

# %% tags=["hide-input"] mystnb={"figure": {"caption": "**ADMM does not come to rest: after 1,000 steps the codes are still about half a whole number away from Z, and they come no nearer.** Horizontal axes: step of fine-tuning. Top: primal residual, the distance between the codes and Z. Middle: distance that Z moves in one update. Bottom: share of zeros in the codes; dotted: the share that was asked for. Solid: our schedule; the lines end where the projection begins. Dashed: ADMM to the end, for 10 %; dash-dotted: Z and U fixed after half of the steps, for 10 %. <small>All training crops; records cae_admm and cae_admm_schedules, first seed.</small>", "name": "fig-prune-residuals"}, "image": {"alt": "Three panels with four solid curves up to step 1,000, for 40, 20, 10 and 5 per cent, and two black ones from there to step 2,000. Top: the solid primal residuals rise at first and then stay between 0.4 and 0.6; the dashed one rises to 0.64, and the dash-dotted one jumps to 0.65 and stays there. Middle: the movements of Z stay between 0.6 and 0.95; the dashed one rises to 1.0, the dash-dotted one is zero. Bottom: all shares of zeros stay 7 to 20 points below their dotted lines."}}
colours = dict(zip(numbers.PRUNED, ("#56B4E9", "#0072B2", "#000000", "#D55E00"), strict=True))
lines = [(of, colours[of["series"]], "-") for of in numbers.residuals(records).rows if of["series"] in colours]
by_schedule = {of["series"]: of for of in numbers.schedule_residuals(records).rows}
lines += [(by_schedule["plain"], "#000000", "--"), (by_schedule["rests"], "#000000", "-.")]
figure, panels = plot.panels(3, 1, size=(5.0, 7.4), sharex=True)
said = {"-": "{:g} %", "--": "{:g} %, ADMM to the end", "-.": "{:g} %, Z and U fixed"}
for of, colour, dashes in lines:
    moves = np.array(of["dual"]) / of.get("rho", pruning["rho"])
    name = said[dashes].format(100 * numbers.PRUNED.get(of["series"], 0.1))
    for axes, y in zip(panels, (of["primal"], moves, of["zeros"]), strict=True):
        axes.plot(of["step"], y, dashes, color=colour, lw=1.6, label=name)
for label, keep in numbers.PRUNED.items():
    panels[2].axhline(1 - keep, color=colours[label], ls=":", lw=1.2)
for axes, title in zip(panels, ("primal residual", "movement of Z", "share of zeros"), strict=True):
    axes.set(ylabel=title, ylim=(0, None), xlim=(0, tuning["steps"]))
panels[2].set_xlabel("step")
figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=2, frameon=False)
figure

# %% [markdown]
# Which part of a schedule helps? The table changes one part at a time, for the share of 10 %. All five trainings start
# from the same unpruned model, take {glue:text}`prune-tuning` steps and see the same crops. The last row has no target
# at all: $Z = U = 0$, with the norm as penalty, is a price on the size of the code.

# %% tags=["hide-input"]
plot.table(numbers.schedules_table(records))

# %% tags=["remove-cell"]
over, beside = (
    {label: numbers.above(records, label, curve) for label in numbers.SCHEDULES} for curve in ("estimated", "pruned")
)
for label in numbers.SCHEDULES:
    say(f"prune-schedule-{label.split()[0]}", over[label], "+.3f")
    say(f"prune-pruned-{label.split()[0]}", beside[label], "+.3f")
plain, rests = (numbers.training(records, label).result["admm"] for label in ("plain", "rests"))
ratios = {
    label: max(max(a / b, b / a) for a, b in zip(of["primal"], of["dual"], strict=True))
    for label in (*numbers.PRUNED, "plain")
    for of in [numbers.training(records, label).result["admm"]]
}
rhos = {label: numbers.training(records, label).result["admm"]["rho"] for label in numbers.PRUNED}
assert all(len(set(rhos[label])) == 1 for label in ("keep 40", "keep 20", "keep 10")) and max(rhos["keep 5"]) == 0.2
for name, value, form in (
    ("primal", plain["primal"][-1], ".2f"), ("lowest", min(plain["primal"]), ".2f"),
    ("moves", plain["dual"][-1] / 0.1, ".1f"), ("rests", rests["primal"][-1], ".2f"),
    ("ratio-5", ratios.pop("keep 5"), ".0f"), ("ratio", max(ratios.values()), ".1f"),
):  # fmt: skip
    say(f"prune-{name}", value, form)
assert plain["primal"][-1] > 1.2 * min(plain["primal"][1:]) and rests["primal"][-1] > 0.5
assert beside["projected at once"] < beside["plain"] - 0.02 < -0.02 and 0 < beside["price on the norm"] < 0.02
assert max(over.values()) == over["rests"] < -0.01 and beside["rests"] > beside["price on the norm"]
assert 70 < 100 * numbers.training(records, "rests", files="code").mean("zeros") < 80

# %% [markdown]
# **No training came to rest.** With ADMM to the end, the codes for 10 % end {glue:text}`prune-primal` away from their
# $Z$, more than in the middle ({glue:text}`prune-lowest`), and $Z$ still moves by {glue:text}`prune-moves` in the last
# update. A likely reason is that $U$ keeps growing while the learning rate falls to zero, so that the encoder can no
# longer follow. A second possible reason is that one encoder makes all codes, and cannot move each of them alone. In
# the plane, ADMM did not rest when $\rho$ was below its limit {eq}`eq-admm-rest`. With $Z$ and $U$ fixed after half of
# the steps, the target stands still. But this target is $Z - U$ and not $Z$, so the codes need not come nearer to $Z$:
# they end {glue:text}`prune-rests` away.
#
# **Balancing acts once.** The rule {eq}`eq-admm-balance` changes $\rho$ if one residual is more than ten times the
# other. For 5 % the ratio is {glue:text}`prune-ratio-5` at the first update, and $\rho$ is doubled. For the other
# shares it is at most {glue:text}`prune-ratio`, so $\rho$ stays what it was. (The dual residual is $\rho$ times the
# movement in the figure.)
#
# **ADMM must come first, and it must stop early.** The last column compares each schedule with the curve of our pruned
# models at its own rate. ADMM to the end differs from it by {glue:text}`prune-pruned-plain` of SSIM. With $Z$ and $U$
# fixed after half of the steps, the difference is {glue:text}`prune-pruned-rests`, the best of all. But then only three
# quarters of the code are zero, where 90 % were asked for. The projection makes the share exact and costs SSIM. Alone,
# from the first step on, it is the worst ({glue:text}`prune-pruned-projected`): a code must be prepared before most of
# it can be cut off, and ADMM does this although it does not converge.
#
# **A price on the size of the code** has no target and no share. It differs from the curve of the pruned models by
# {glue:text}`prune-pruned-price` of SSIM. So the simplest of all penalties is about as good as the whole method. This
# matters for the [released code](31_released_code), whose penalty is nearly this.
#
# **No schedule reaches the estimated models.** The best of them differs from their curve by
# {glue:text}`prune-schedule-rests` of SSIM. Each row is one training from one seed.
#
# **The weight $\rho$.** The paper does not print its $\rho$, and the 0.1 of the released code belongs to another
# penalty. Complete trainings with other values exist only for the smaller networks of the preset `laptop`, which run
# ADMM to the end:

# %% tags=["hide-input"]
rested, ended = [], {}
for label in (numbers.AFTER, *numbers.VARIED):
    record, files = numbers.training(smaller, label), numbers.training(smaller, label, files="code")
    residuals, rho = record.result["admm"], record.config["pruning"]["rho"]
    ended[label] = residuals["primal"], residuals["dual"][-1] / rho, files.mean("bpp")
    rested.append({
        "training": numbers.NAMES[label],
        "primal residual, lowest": f"{min(residuals['primal']):.2f}",
        "at the end": f"{residuals['primal'][-1]:.2f}",
        "Z moves by": f"{ended[label][1]:.2f}",
        "nonzero, training crops": f"{1 - residuals['zeros'][-1]:.0%}".replace("%", " %"),
        "bpp on Kodak": f"{files.mean('bpp'):.3f}",
        "SSIM": f"{files.mean('ssim'):.4f}",
        "SSIM over the estimated models": f"{numbers.above(smaller, label, 'estimated'):+.4f}",
    })  # fmt: skip
plot.Table(rested)

# %% tags=["remove-cell"]
apart = [numbers.above(smaller, label, "estimated") for label in (numbers.AFTER, *numbers.VARIED)]
for name, value, form in (
    ("bpp-weak", ended["rho 0.03"][2], ".2f"), ("bpp-strong", ended["rho 0.3"][2], ".2f"),
    ("rho-least", max(apart), "+.3f"), ("rho-most", min(apart), "+.3f"),
    ("seeds-apart", np.ptp([numbers.above(smaller, "keep 10", "estimated", seed=s) for s in (0, 1)]), ".3f"),
):  # fmt: skip
    say(f"prune-{name}", value, form)
assert all(primal[-1] > max(0.1, 1.05 * min(primal)) and moves > 0.2 for primal, moves, _ in ended.values())
assert max(apart) < 0 and ended["rho 0.03"][2] > 1.2 * ended["rho 0.3"][2]

# %% [markdown]
# None of these four came to rest either. As $\rho$ grows tenfold, the rate falls from {glue:text}`prune-bpp-weak` to
# {glue:text}`prune-bpp-strong` bpp, although the share that is asked for stays the same. So with ADMM to the end,
# $\rho$ sets the rate as much as the share does. At equal bytes all four lie below the estimated models, by
# {glue:text}`prune-rho-least` to {glue:text}`prune-rho-most` of SSIM. Two seeds of one of them are
# {glue:text}`prune-seeds-apart` apart, so none of the four is clearly better than the others.
#
# ## Figure 2: SSIM and MS-SSIM over the rate
#
# The paper's Figure 2 compares CAE-ADMM with other codecs on Kodak. Where are our files, and where are the paper's
# points? {numref}`fig-prune-paper` shows these points twice: as printed, and in bits if the printed rates are
# {term}`nats <nat>`, as the [released program](31_released_code) suggests.

# %% tags=["hide-input"] mystnb={"figure": {"caption": "**As printed, the paper's points lie above the curve of the original autoencoder; if their rates are nats, they lie below it in SSIM and on it in MS-SSIM.** Horizontal axis: rate. Vertical axes: SSIM (top) and MS-SSIM (bottom). Hollow: the paper's points. Grey dashed: Theis et al., as digitised by the authors. Filled: our files. <small>Kodak, mean of 24 pictures; records cae_admm and baselines; the authors' data.</small>", "name": "fig-prune-paper"}, "image": {"alt": "Two panels with rising curves over the rate from 0 to 2 bits per pixel. In both, hollow circles of the paper as printed are highest. The dashed curve of Theis et al., our estimated models and JPEG 2000 lie close together; the circles in bits lie slightly below them, and our pruned models lowest. The released choices give one point at the right, near JPEG 2000."}}
figure, panels = plot.panels(2, 1, size=(5.0, 7.4), sharex=True)
drawn = {
    ("pruned", "code"): ("ours, pruned by ADMM", {}),
    ("estimated", "code"): ("ours, entropy estimated", {}),
    ("released", "code"): ("ours, as released", {"ms": 9, "ls": "none"}),
    ("jpeg2000", "standard"): ("JPEG 2000, our files", {"color": "#009E73", "ms": 4}),
    ("Theis et al. 2017", "compared"): ("Theis et al., in the paper", {"ls": "--", "marker": "", "color": "#777777"}),
}
for axes, metric, low in zip(panels, ("ssim", "ms_ssim"), (0.70, 0.89), strict=True):
    found = {(row["series"], row["kind"]): row for row in numbers.rate_distortion(records, metric).rows}
    for key, (name, look) in drawn.items():
        axes.plot(found[key]["x"], found[key]["y"], label=name, **plot.style(key[0], **look))
    for bits, name, colour in ((False, "as printed", "#000000"), (True, "nats in bits", "#882255")):
        points = zip(*numbers.points(metric, bits), strict=True)
        axes.plot(*points, label=f"the paper, {name}", **plot.printed(colour))
    axes.set(ylabel=plot.LABELS[metric], xlim=(0, 2), ylim=(low, 1))
panels[1].set_xlabel("bits per pixel")
figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=2, frameon=False)
figure

# %% tags=["remove-cell"]
for name, value in {
    "theis": numbers.theis_points(records, "ssim", bits=False),
    "theis-bits": numbers.theis_points(records, "ssim", bits=True),
    "theis-ms": numbers.theis_points(records, "ms_ssim", bits=False),
    "theis-ms-bits": numbers.theis_points(records, "ms_ssim", bits=True),
    "points": numbers.at_points(records, "ssim", bits=False),
    "points-bits": numbers.at_points(records, "ssim", bits=True),
}.items():  # fmt: skip
    say(f"prune-{name}", value, "+.3f")
assert min(numbers.theis_points(records, metric, bits=False) for metric in ("ssim", "ms_ssim")) > 0
assert max(numbers.theis_points(records, metric, bits=True) for metric in ("ssim", "ms_ssim")) < 0
assert numbers.at_points(records, "ssim", bits=False) < numbers.at_points(records, "ssim", bits=True) < 0
on_theis = numbers.family(records, "estimated", files="code").better(numbers.comparator("Theis et al. 2017")).value
say("prune-on-theis", on_theis, "+.3f")
assert abs(on_theis) < 0.01 and numbers.at_points(records, "ssim", bits=True) > -0.02

# %% tags=["remove-cell"]
free, as_released, half, cheap = (
    numbers.training(records, label, files="code")
    for label in (numbers.unpruned(records), "released", "16 channels", "lambda 50")
)
say("prune-free-ssim", free.mean("ssim"), ".3f")
say("prune-free-bpp", free.mean("bpp"))
for other, key in ((half, "half"), (cheap, "cheap")):
    say(f"prune-{key}-saved", numbers.saved(free.mean("bpp"), other.mean("bpp")), ".0f")
    say(f"prune-{key}-lost", free.mean("ssim") - other.mean("ssim"), ".3f")
as_good = numbers.family(records, "jpeg2000")
say("prune-free-jpeg2000", np.exp(np.interp(free.mean("ssim"), as_good.qualities, np.log(as_good.rates))), ".1f")
dearer = numbers.training(records, "lambda 150", files="code")
assert free.mean("ssim") > 0.95 and numbers.saved(free.mean("bpp"), cheap.mean("bpp")) > 50
assert free.mean("ssim") - cheap.mean("ssim") < 0.01 and free.mean("ssim") - half.mean("ssim") > 0.05
assert dearer.mean("bpp") < 0.6 * half.mean("bpp") and dearer.mean("ssim") > half.mean("ssim") + 0.03

# %% [markdown]
# Compare the hollow markers of {numref}`fig-prune-paper` with the dashed curve. Both are the authors' own data. As
# printed, the points are {glue:text}`prune-theis` of SSIM and {glue:text}`prune-theis-ms` of {term}`MS-SSIM` above the
# curve of the original autoencoder, as the paper claims. If the rates are nats, the differences are
# {glue:text}`prune-theis-bits` and {glue:text}`prune-theis-ms-bits`: the claim does not hold for SSIM, and the
# difference in MS-SSIM is close to zero.
#
# The mean difference of our estimated models from the dashed curve is {glue:text}`prune-on-theis` of SSIM, although our
# network is smaller. Our pruned models differ from the printed points by {glue:text}`prune-points` of SSIM at equal
# rates, and by only {glue:text}`prune-points-bits` if the points are in bits. So if the printed rates are nats, the
# paper's figure and ours tell the same story: pruning stays below an estimate of the entropy. The paper's networks are
# larger and were trained for longer, so this is a hint and no proof.
#
# ## What limits these networks: all trainings
#
# The next table lists every training, its code as the encoder makes it. ± is the standard deviation over seeds; rows
# without it have one seed.

# %% tags=["hide-input"]
plot.table(numbers.variants_table(records)).drop(columns=["nats, the released code's bpp"])

# %% tags=["remove-cell"]
gains = {label: numbers.gain(smaller, label) for label in numbers.VARIANTS}
for label, key in zip(numbers.VARIANTS, ("fresh", "reflection"), strict=True):
    say(f"prune-{key}", gains[label], "+.4f")
assert all(-0.01 < value < 0 for value in gains.values())

# %% [markdown]
# The unpruned model has the best SSIM of all, {glue:text}`prune-free-ssim`. So a network of this size can show better
# pictures than the other models do, and what limits these is the rate. The unpruned model needs
# {glue:text}`prune-free-bpp` bpp, because nothing limits its rate. JPEG 2000 has the
# same SSIM at {glue:text}`prune-free-jpeg2000` bpp. Most of the bits are wasted: with a low price of bits,
# $\lambda = 50$, a model saves {glue:text}`prune-cheap-saved` % of them for {glue:text}`prune-cheap-lost` of SSIM. So a
# large saving against an unpruned model says little about a method.
#
# With half the channels, files are {glue:text}`prune-half-saved` % shorter, but SSIM falls by
# {glue:text}`prune-half-lost`. The model with $\lambda = 150$ has all channels; its files are smaller still, and its
# SSIM is much higher. So here a price on bits is better than fewer channels: the network decides where it uses them.
#
# The paper draws a new crop of each picture in every epoch. In the released code, residual blocks pad by reflection and
# PReLUs start at 0.25. We tried new crops, and both released choices together, with the smaller networks of the preset
# `laptop`. At equal bytes they change the SSIM of the model pruned to 10 % by {glue:text}`prune-fresh` and
# {glue:text}`prune-reflection`. This is less than the difference between two seeds, so one training cannot show an
# effect of either.
#
# ## Table 1: rate and zeros before and after pruning
#
# How much does pruning save, and how many zeros does it make? The paper counts on 233 pictures of Kodak, Urban100 and
# Manga109. The last two are not available to us. We use Kodak and {glue:text}`prune-table1-bsds` test pictures of
# BSDS500, of 481 × 321 pixels. *Before* is the unpruned model that was fine-tuned as long, *after* the model pruned to
# 10 %. Here ± is half
# of a 95 % confidence interval over pictures.

# %% tags=["hide-input"]
plot.table(numbers.table_1(records))

# %% tags=["remove-cell"]
before, after = (numbers.mixed(records, label) for label in (numbers.BEFORE, numbers.AFTER))
paper_bpp, paper_zeros = (
    [numbers.printed(series, metric, "Table 1") for series in ("before pruning", "after pruning")]
    for metric in ("bpp", "zeros")
)
for name, value, form in (
    ("saved", numbers.rate_saved(records), ".0f"),
    ("bsds", sum(row["picture"].startswith("bsds500") for row in before.rows), "d"),
    ("paper-saved", numbers.saved(*paper_bpp), ".0f"), ("zeros", numbers.zeros_gained(records), ".0f"),
    ("paper-zeros", paper_zeros[1] - paper_zeros[0], ".0f"), ("lost", before.mean("ssim") - after.mean("ssim"), ".2f"),
    ("after-zeros", 100 * after.mean("zeros"), ".0f"), ("paper-after-zeros", paper_zeros[1], ".0f"),
):  # fmt: skip
    say(f"prune-table1-{name}", value, form)
assert numbers.rate_saved(records) > 80 and numbers.rate_saved(records, "nats") > 75
assert numbers.zeros_gained(records) > 65 and before.mean("ssim") - after.mean("ssim") > 0.05

# %% [markdown]
# Our files become {glue:text}`prune-table1-saved` % shorter, against {glue:text}`prune-table1-paper-saved` % in the
# paper, and have {glue:text}`prune-table1-zeros` percentage points more zeros, against
# {glue:text}`prune-table1-paper-zeros`. This does not confirm the paper. Nothing limits our rate before pruning, and
# SSIM falls by {glue:text}`prune-table1-lost`. A comparison needs
# equal rates, as in {numref}`fig-prune-fair`.
#
# One number of the paper does not fit its method. A code that is pruned to 10 % should have about 90 % zeros. Ours has
# {glue:text}`prune-table1-after-zeros` %, and the paper's {glue:text}`prune-table1-paper-after-zeros` %. The section on
# the released choices returns to this.
#
# ## Table 2: SSIM and time near 0.6 bpp
#
# Which codec is best near 0.6 bpp, and how long does it take? Each codec has one setting for all pictures, chosen on
# validation pictures. For our codecs the setting is a model, and with it the share of a pruned code that is kept in
# use, or the step of an estimated code. Seconds are from picture to file to picture on one CPU thread. The paper
# measures its network alone, on two GPUs.

# %% tags=["hide-input"]
plot.table(numbers.table_2(records))

# %% tags=["remove-cell"]
network, parts = CaeAdmm(Shape()), {"encoder": (1, 3, 64, 64), "decoder": (1, 32, 8, 8)}
paper = sum(complexity.macs_per_pixel(getattr(network, part), of, pixels=64**2) for part, of in parts.items())
ours = pruned_to_10.result["macs"] + pruned_to_10.result["macs_decoder"]
say("prune-macs", ours / 1000, ".0f")
say("prune-macs-paper", paper / 1000, ",.0f")
say("prune-macs-times", paper / ours, ".0f")
say("prune-time", numbers.time_over(records, "jpeg2000"), ".0f")
near = {name: numbers.ssim_near(records, name) for name in numbers.ROWS}
for name in ("jpeg2000", "jpeg", "cae-theis near 0.6", "cae-admm near 0.6"):
    say(f"prune-near-{name.removeprefix('cae-').split()[0]}", near[name], ".3f")
say("prune-near-transform", near["jpeg2000"] - near["jpeg2000 no transform"])
paper_2000 = numbers.printed("JPEG 2000", "ssim", "Table 2")
assert near["cae-theis near 0.6"] > near["jpeg2000"] > near["jpeg"] > near["cae-admm near 0.6"]
assert near["jpeg2000 no transform"] < paper_2000 < near["jpeg2000"]
scores = {name: numbers.near(records, name).mean("ms_ssim") for name in numbers.ROWS}
assert scores["cae-theis near 0.6"] > scores["jpeg2000"] > scores["jpeg"] > scores["cae-admm near 0.6"]
printed_near = numbers.printed("CAE-ADMM", "ssim", "Table 2")
say("prune-near-printed", printed_near, ".3f")
assert near["cae-theis near 0.6"] > printed_near + 0.01 and 5 < numbers.time_over(records, "jpeg2000") < 11
assert paper / ours > 10

# %% [markdown]
# The paper's order is CAE-ADMM, JPEG, JPEG 2000. Ours is the estimated model ({glue:text}`prune-near-theis`), JPEG 2000
# ({glue:text}`prune-near-jpeg2000`), JPEG ({glue:text}`prune-near-jpeg`) and the pruned model
# ({glue:text}`prune-near-admm`), in SSIM and in MS-SSIM. The estimated model is above the
# {glue:text}`prune-near-printed` that the paper prints for CAE-ADMM, on other pictures. It meets the rate with its
# step, the pruned model by dropping entries. With the best step, the pruned models have {glue:text}`prune-step-pruned`
# on Kodak, as the section on the step shows, and the estimated ones {glue:text}`prune-step-at`.
#
# One thing may explain why JPEG 2000 is last in the paper. Without its colour transform it loses
# {glue:text}`prune-near-transform` of SSIM at the same bytes, and Pillow leaves the transform off by default. The 0.793
# that the paper prints for JPEG 2000 lies between our two rows.
#
# Our network has {glue:text}`prune-macs` thousand {term}`MACs <MAC>` per pixel in both halves together, the paper's
# {glue:text}`prune-macs-paper` thousand, {glue:text}`prune-macs-times` times as many. No record here says what the
# larger network would bring. Ours takes {glue:text}`prune-time` times as long as JPEG 2000.
#
# ## Figure 3: details at 0.3 bpp
#
# What do these numbers look like? {numref}`fig-prune-details` shows files of at most 0.3 bpp. The paper states "JPEG
# breaks down under a bpp of 0.3".

# %% tags=["hide-input"] mystnb={"figure": {"caption": "**At 0.3 bpp the estimated model has the highest SSIM; the pruned one loses fine texture and colour, and JPEG shows blocks.** Squares of 208 × 208 pixels; title: rate, SSIM and PSNR of the whole picture. <small>Kodak's kodim21, or the bundled astronaut where Kodak is missing; coded on this page with models of records cae_admm: the best of the pruned ones, and cae-theis.</small>", "name": "fig-prune-details"}, "image": {"alt": "Five details of one picture: the original, JPEG with visible blocks of eight by eight pixels and flat areas, JPEG 2000 with smooth and slightly blurred structures, the pruned network with blurred texture, no blocks and orange roofs in place of red ones, and the estimated network with red roofs and more texture in the rocks than all others."}}
shown = numbers.details(records, bpp=0.3)
plot.pictures(shown, columns=2, font=12)

# %% tags=["remove-cell"]
names = {"JPEG,": "jpeg", "JPEG 2000": "jpeg2000", "pruned": "admm", "entropy": "theis"}
of_detail = {key: row["title"].split("SSIM ")[1].split(",")[0] for name, key in names.items()
             for row in shown.rows if row["title"].startswith(name)}  # fmt: skip
for key, value in of_detail.items():
    say(f"prune-detail-{key}", float(value), ".3f")
if data.available("kodak"):
    assert float(of_detail["theis"]) > float(of_detail["jpeg2000"]) > float(of_detail["jpeg"]) > 0.78
    assert 0.78 < float(of_detail["admm"]) < float(of_detail["jpeg2000"]) - 0.02

# %% [markdown]
# Look for the borders of 8 × 8 blocks in the JPEG file of {numref}`fig-prune-details`. They are visible, as the paper
# says, and the pruned network has none. SSIM does not show this: it is {glue:text}`prune-detail-jpeg` for JPEG,
# {glue:text}`prune-detail-admm` for the pruned network and {glue:text}`prune-detail-jpeg2000` for JPEG 2000. Look at
# the roofs, too: the pruned network has changed their colour. The estimated network has not, and it keeps the most
# texture in the rocks. Its SSIM is {glue:text}`prune-detail-theis`, the highest of all, in a file that is no longer.
#
# ## Figure 4: the code before and after pruning
#
# Which entries survive? {numref}`fig-prune-code` shows the code of one picture three times.

# %% tags=["hide-input"] mystnb={"figure": {"caption": "**Pruning in training moves what every place needs into a few channels; pruning in use takes the largest entries wherever they are.** Each square is a channel of the code: black is zero, blue positive, orange negative. Top: the model that was not pruned. Middle: the same code, of which a file keeps the largest 10 %. Bottom: the model pruned to 10 % in training. <small>Kodak's kodim21, or the bundled astronaut where Kodak is missing; computed on this page with models of records cae_admm.</small>", "name": "fig-prune-code"}, "image": {"alt": "Three mosaics of 32 small squares. Top: all channels are full of blue and orange texture. Middle: nearly all channels have scattered points where the picture has rocks or edges, and are black elsewhere. Bottom: two channels are nearly full and show the outlines of the picture; the others are almost black, with points at the rocks."}}
shown = numbers.codes(records)
channels, height, width = shown.rows[0]["code"].shape
size = -(-channels // 8) * (height + 2), 8 * (width + 2)  # eight channels side by side
figure, panels = plot.panels(len(shown.rows), size=(5.0, 0.3 + len(shown.rows) * (0.35 + 4.9 * size[0] / size[1])))
for axes, row in zip(panels, shown.rows, strict=True):
    axes.imshow(drawings.code_map(row["code"], size), interpolation="nearest")
    axes.set_title(row["title"], fontsize=10)
    axes.axis("off")
figure

# %% [markdown]
# Compare the middle and the bottom of {numref}`fig-prune-code`: both have 10 % of their entries. In the middle these
# are spread over nearly all channels, at edges and in texture, and the sky has disappeared from most of them. At the
# bottom, two channels are nearly full and look like small pictures: they carry the brightness and the colour of every
# place. The other channels have entries only where there is detail. Pruning in training has taught the encoder to put
# what every place needs into few channels.
#
# ## What the released choices change, all at once
#
# The [last chapter](31_released_code) took the released choices one by one. One training uses three of them together:
# the choice of entries by `argsort`, one shared $Z$ and $U$, and the norm as penalty. It starts and trains like the
# model pruned to 10 %, but without a projection: ADMM runs to the end, as in the program. The table of all trainings
# shows it in the row *pruned as the released code does*.

# %% tags=["remove-cell"]
target = as_released.result["admm"]["dual"][-1] / as_released.config["pruning"]["rho"]
lost = free.mean("ssim") - as_released.mean("ssim")
for name, value, form in (
    ("rate", numbers.released_rate(records), ".0f"), ("zeros", numbers.released_zeros(records), ".0f"),
    ("lost", lost, ".3f"), ("has", 100 * as_released.mean("zeros"), ".0f"), ("moves", target, ".2f"),
):  # fmt: skip
    say(f"prune-released-{name}", value, form)
assert numbers.released_rate(records) > 40 and 10 < numbers.released_zeros(records) < 20
assert lost < 0.01 and target < 0.05 and cheap.mean("bpp") < as_released.mean("bpp")

# %% [markdown]
# Hardly anything is pruned: {glue:text}`prune-released-has` % of the code is zero, where 90 % are asked for. Still, the
# files are {glue:text}`prune-released-rate` % shorter than those of the unpruned model, for
# {glue:text}`prune-released-lost` of SSIM. The shared target is close to zero and moves by only
# {glue:text}`prune-released-moves` in the last update. So the penalty is a price on the norm of the codes, like a
# weight decay, and it makes the entries smaller.
#
# The paper's Table 1 has {glue:text}`prune-table1-paper-saved` % fewer bits and {glue:text}`prune-table1-paper-zeros`
# percentage points more zeros, {glue:text}`prune-table1-paper-after-zeros` % in all. The released choices give
# {glue:text}`prune-released-rate` %, {glue:text}`prune-released-zeros` points and {glue:text}`prune-released-has` % on
# Kodak; the equations {glue:text}`prune-table1-saved` %, {glue:text}`prune-table1-zeros` points and
# {glue:text}`prune-table1-after-zeros` % on the mixed set. The released choices are nearer to the paper, although they
# save twice as much. We therefore suppose that Table 1 shows the effect of this price, and not of pruning. This is a
# conjecture: we do not have the authors' models. A price on bits saves more: $\lambda = 50$ takes
# {glue:text}`prune-cheap-saved` % off the rate for {glue:text}`prune-cheap-lost` of SSIM.
#
# **Rounding at random in use.** The released program also rounds at random in tests. Here two trained models write
# their files in both ways; means over Kodak.

# %% tags=["hide-input"]
plot.table(numbers.rounding_table(records))

# %% tags=["remove-cell"]
rounded = numbers.rounding(smaller)
say("prune-random-here", numbers.random_rounding(records, "ssim"), "+.4f")
say("prune-random-bytes", numbers.random_rounding(smaller, "bpp"), ".0f")
say("prune-random-ssim", numbers.random_rounding_at_rate(smaller), "+.3f")
say("prune-random-zeros", 100 * numbers.at_random(rounded, "zeros"), ".0f")
say("prune-nearest-zeros", 100 * rounded.mean("zeros", setting="nearest"), ".0f")
assert 40 < numbers.random_rounding(smaller, "bpp") < 55
assert -0.05 < numbers.random_rounding_at_rate(smaller) < -0.025
for label in (numbers.BEFORE, numbers.AFTER):
    assert abs(numbers.random_rounding(records, "bpp", label)) < 1
    assert abs(numbers.random_rounding(records, "ssim", label)) < 0.002

# %% tags=["remove-cell"]
rows_of_both = (*numbers.ROWS, numbers.BEFORE, numbers.AFTER)  # of Tables 1 and 2
trained = [name for name in rows_of_both if "nats" in numbers.mixed(records, name).rows[0]]
longer = [100 * (numbers.nats_to_files(records, name) - 1) for name in trained]
patches = [numbers.patches_to_whole(records, name) for name in rows_of_both]
for name, value, form in (
    ("nats-least", min(longer), ".0f"), ("nats-most", max(longer), ".0f"),
    ("patches-least", min(patches), ".4f"), ("patches-most", max(patches), ".4f"),
):  # fmt: skip
    say(f"prune-{name}", value, form)
assert 20 < min(longer) < 100 * (numbers.BITS - 1) < max(longer) < 60 and 0 < min(patches) <= max(patches) < 0.0006

# %% [markdown]
# Both models hardly change: SSIM of the pruned one by {glue:text}`prune-random-here`. Its values are large, as
# {numref}`fig-prune-bits` shows, and its projection drops the small ones. This is not so if ADMM runs to the end
# without a projection, as in the paper. In the smaller network of the preset `laptop`,
# {glue:text}`prune-nearest-zeros` % of the entries are zero if they are rounded to the nearest number, and
# {glue:text}`prune-random-zeros` % if at random. The new entries say little about the picture. The files grow by
# {glue:text}`prune-random-bytes` %, and at equal bytes SSIM differs by {glue:text}`prune-random-ssim` from models that
# were pruned less. All other files of this book are rounded to the nearest number.
#
# **Nats and patches.** On the mixed set of Table 1, our files are {glue:text}`prune-nats-least` to
# {glue:text}`prune-nats-most` % longer than the entropy that the released program prints, in nats. A factor of 1.44
# comes from nats to bits. The rest comes from different tables: our coder has one for each channel, and the program has
# one for all channels of a patch. On Kodak, the mean SSIM over patches of 128 × 128 pixels is
# {glue:text}`prune-patches-least` to {glue:text}`prune-patches-most` higher than the SSIM of whole pictures, which
# changes no comparison.
#
# ## The experiment
#
# The next cell trains an unpruned network, one that is pruned to 10 %, and one with an estimated entropy. At the preset
# of this page they are tiny and take a few steps. With Kodak, BSDS500 and a GPU, the same cell runs the paper's size:
#
# ```console
# $ python -m reproduce run 32_cae_admm -p preset paper -p device cuda -p pictures kodak -p out ../results/runs
# ```

# %% tags=["experiment"]
import tempfile
from pathlib import Path

from reproduce.runner import Request
from reproduce.runner import run as make

request = Request(preset, Path(out or tempfile.mkdtemp()).resolve(), device, seed, pictures)
# At some presets all others are fine-tuned from the unpruned model, so that it comes first.
make([plan for plan in numbers.unpruned_plans(request) if plan.label == "unpruned" and plan.seed == seed], request.out)
make([plan for plan in numbers.code_plans(request) if plan.label in wanted and plan.seed == seed], request.out)
found = Records(request.out, preset=preset)
made = [record for study in numbers.TRAININGS for record in found.find(study, data=pictures)]
values = values_of(made)  # for a sweep

# %% tags=["experiment", "hide-input"] mystnb={"figure": {"caption": "**This run is a test of the code, not a result about CAE-ADMM.** Horizontal axis: rate of files. Vertical axis: SSIM. Each line or point is one trained model, of whose code the encoder keeps several shares. <small>Computed on this page, preset smoke unless you change it.</small>", "name": "fig-prune-experiment"}, "image": {"alt": "A few short lines of SSIM over rate at very low quality: the unpruned model, the model pruned to ten per cent and the model with an estimated entropy, after a few steps of training."}}
series = {label: name for name, labels in numbers.FAMILIES.items() for label in labels}
figure, axes = plot.panels(size=(5.0, 4.0))
for record in made:
    label = record.config["label"]
    axes.plot(*record.curve("ssim"), label=numbers.NAMES[label], **plot.style(series.get(label, label)))
axes.set(xlabel=plot.BPP, ylabel=plot.SSIM)
figure.legend(loc="outside lower center", frameon=False)
figure

# %% [markdown]
# {numref}`fig-prune-experiment` only shows that the code runs from training to files. A sweep over several trainings
# uses these cells (`sweeps/cae_admm.yaml`).
#
# ## Verdict
#
# The next table lists what the paper states, what we found at the largest preset that we ran, and whether the two
# agree. *Laptop only* means that the network was smaller than the claim needs; `desktop` is such a network, too.

# %% tags=["hide-input"]
tables.verdict_table("CAE-ADMM")

# %% [markdown]
# Some rows are our own questions and not claims of the paper:

# %% tags=["hide-input"]
tables.verdict_table("beyond the papers", keys="admm")

# %% [markdown]
# :::{admonition} What the paper says and what we find
# ```{list-table}
# :header-rows: 1
# * - the paper says
#   - we find
#   - why they differ
# * - CAE-ADMM is better than all others in SSIM and MS-SSIM, above all than the original autoencoder
#   - {glue:text}`prune-fair-ssim` of SSIM at equal bytes, and {glue:text}`prune-fair-bytes` % more bytes, in our
#     network
#   - the paper compares with a published curve of another network; its rates are probably nats. Ours is one small
#     network and one schedule
# * - pruning takes {glue:text}`prune-table1-paper-saved` % off the rate
#   - {glue:text}`prune-table1-saved` % with the equations, {glue:text}`prune-released-rate` % with the released choices
#   - the start is unlimited in rate, and the quality afterwards is not equal
# * - 10 % of the entries are kept; 17.65 % are zero after pruning
#   - {glue:text}`prune-table1-after-zeros` % zeros
#   - the released code does not keep the largest entries, and pulls all codes towards nearly zero
# * - SSIM near 0.6 bpp: above JPEG and JPEG 2000
#   - {glue:text}`prune-near-admm`; JPEG {glue:text}`prune-near-jpeg`, JPEG 2000 {glue:text}`prune-near-jpeg2000`
#   - a smaller network; files, not nats; JPEG 2000 with its colour transform
# * - convergence of ADMM is not discussed
#   - no training came to rest
#   - the set is not convex, the network cannot move one code alone, and the schedule is short
# * - "JPEG breaks down under a bpp of 0.3"
#   - blocks are visible; SSIM of the whole picture is {glue:text}`prune-detail-jpeg`, of our pruned model
#     {glue:text}`prune-detail-admm`
#   - the statement is about the look, which SSIM does not describe well here
# ```
# :::
#
# ## In short
#
# - At equal bytes, an entropy estimate is better than pruning by ADMM in our network, for all four shares and for each
#   seed that we trained. The mean difference is {glue:text}`prune-fair-bytes` % of the bytes, and
#   {glue:text}`prune-step-both` % if both families choose their step of rounding.
# - The number of nonzero entries is not a rate. A count gives small and large values the same price, so pruned codes
#   have large values, and a file pays for them.
# - A network that was trained with random rounding has finer values than a file needs. A coarser step needs no
#   training, and at equal SSIM it saves {glue:text}`prune-step-estimated` % of the bytes of the estimated models.
# - No training by ADMM came to rest. To stop it after half of the steps is better than to let it run, and only the
#   projection then gives the share that was asked for. The projection alone is the worst schedule.
# - The paper's points are better than the original autoencoder as printed, and worse if their rates are nats.
# - The released choices act like a price on the size of the code. Rounding at random makes files longer if ADMM ran to
#   the end, and changes little after a projection.
#
# ## Exercises
#
# 1. The projection keeps the $\ell$ largest entries of the whole code. Suppose that it keeps the $\ell / C$ largest of
#    each of the $C$ channels. Is $Z$ nearer to the code or further away? What would the places cost?
# 2. At random places, 10 % of the entries of a code are nonzero. What do the places cost per entry, and per pixel if
#    there is half an entry per pixel? Which two codes of the same count differ most in bytes?
# 3. (Code) By how much do tables for each channel shorten the places? Write `one_table(code)`, the bits for the places
#    if one probability of zero serves all channels, and compare it with `split` for the four models.
# 4. Keep 10 % of the code of the unpruned model in use: `codecs.get_codec("cae-admm", model=..., keep=0.1)`, with the
#    model {glue:text}`prune-unpruned-model`. Compare it with the model pruned to 10 % at equal bytes. Where does the
#    difference come from?
#
# :::{admonition} Solutions
# :class: dropdown
# 1. The allowed codes are a subset of the paper's set, up to rounding, so $Z$ is never nearer. All channels would be
#    equally full. The places would cost nearly $h(\ell / n)$ bits per entry, where $n$ is the number of all entries,
#    because the channels no longer differ. A channel that every place needs, such as the local mean, would not get more
#    entries than the others. {numref}`fig-prune-code` shows how unequal the channels are.
# 2. $h(0.1) = -0.1 \log_2 0.1 - 0.9 \log_2 0.9 \approx 0.47$ bits per entry, so 0.23 bits per pixel. If the nonzero
#    entries fill one channel in every ten and are all $+1$, they cost almost nothing. If they are at random places with
#    values that are spread evenly over −128 to 127, each costs 4.7 bits for its place and 8 bits for its value.
# 3. One probability gives {eq}`eq-admm-positions` with the share of nonzero entries $k/n$.
#    ```python
#    def one_table(code):
#        share = (code != 0).mean()
#        return -code.size * (share * np.log2(share) + (1 - share) * np.log2(1 - share))
#    ```
#    Tables for each channel save {glue:text}`prune-table-400` of these bits at $\lambda = 400$, and
#    {glue:text}`prune-table-20` for the model pruned to 20 %; {glue:text}`prune-table-1000` at $\lambda = 1000$, and
#    {glue:text}`prune-table-10` for 10 %. Full and empty channels save most.
# 4. In the unpruned training nothing kept the entries small or few, and its decoder has never seen a code with so many
#    zeros. Many entries that are dropped were important. A training with any price on the code, by pruning or by an
#    estimate, moves what matters into few entries.
# :::
#
# ## Further reading
#
# {cite:t}`theis2017` estimate the entropy of the same kind of network. {cite:t}`boyd` explain the residuals of ADMM and
# what they mean for sets that are not convex. {cite:t}`progressive_admm` prune weights with ADMM in several rounds.
# {cite:t}`toderici` describe the recurrent network that the paper's Figure 2 also shows.


# %% tags=["remove-cell"]
def one_table(code):
    share = (code != 0).mean()
    return -code.size * (share * np.log2(share) + (1 - share) * np.log2(1 - share))


kept_by = {label: 1 - row[1] / one_table(row[0]) for label, row in rows.items()}
for label in rows:
    say(f"prune-table-{label.split()[1]}", kept_by[label], ".0%")
glue("prune-unpruned-model", f"{numbers.training(records, numbers.unpruned(records)).result['file']}", display=False)
assert all(record.rows for record in made)
if at_defaults:
    assert {record.config["label"] for record in made} == set(wanted)
