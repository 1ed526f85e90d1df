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
records = Records(preset="laptop")  # of all tables and figures but the experiment
varied = records if numbers.seeds_of(records, "rho 0.3") else records.at("laptop")  # other values of rho

# %% tags=["remove-cell"]
pruned_to_10 = numbers.training(records, "keep 10")
made_by, whole_training = pruned_to_10.config, numbers.training(records, "unpruned").config["descent"]
descent, shape, pruning = (made_by[part] for part in ("descent", "shape", "pruning"))
tuned = numbers.unpruned(records) == numbers.TUNED
times = "in all" if pruning.get("until") is None else f"until step {pruning['until']:,}"
for name, text in {
    "preset": made_by["profile"],
    "start": "from the same unpruned model, which was trained before" if tuned else "from the same initial values",
    "rho": f"{pruning['rho']:g}" + (" at first, then balanced" if pruning.get("balance") else ", fixed"),
    "updates": f"every {pruning['interval']} steps, {numbers.updates(pruned_to_10)} {times}",
    "then": "the projection in the forward pass" if pruning.get("then") == "projection" else "the end of the training",
}.items():
    glue(f"prune-{name}", text, display=False)
epochs = descent["batch"] / descent["codes"]
for name, value, form in (
    ("width", shape["width"], "d"), ("depth", shape["depth"], "d"), ("steps", descent["steps"], ","),
    ("batch", descent["batch"], "d"), ("codes", descent["codes"], ","), ("train", made_by["train"]["pictures"], "d"),
    ("epochs", descent["steps"] * epochs, ".1f"), ("settle", whole_training["settle"], "d"),
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
# pictures, the same random rounding in training, and the same number of steps. So the comparison changes one thing. We
# train these models:
#
# - **unpruned**: the distortion alone (*neither pruned nor estimated* in the tables);
# - **pruned by ADMM**, to 40, 20, 10 and 5 % of the entries. The paper keeps 10 %;
# - **entropy estimated**, with $\lambda$ = 50, 150, 400 and 1,000. These four prices were chosen so that the files are
#   about as long as those of the pruned models;
# - **as released**: the choices of the [released program](31_released_code) in place of the paper's equations;
# - **16 channels**: unpruned, with half the channels in the code.
#
# All of them see the same crops in the same order. All but the last start {glue:text}`prune-start`. The records have
# the preset {glue:text}`prune-preset`:
#
# ```{list-table}
# :header-rows: 1
# * -
#   - this chapter
#   - the paper and its released code
# * - filters, residual blocks
#   - {glue:text}`prune-width`, {glue:text}`prune-depth`
#   - 128, 15
# * - training pictures
#   - {glue:text}`prune-train` of BSDS500
#   - all 500 of BSDS500
# * - crops of 128 × 128
#   - {glue:text}`prune-codes`, drawn once
#   - a new one of each picture in every epoch
# * - steps, and crops in each
#   - {glue:text}`prune-steps`, {glue:text}`prune-batch`; {glue:text}`prune-epochs` epochs
#   - 4,800, 32; 300 epochs
# * - updates of $Z$ and $U$
#   - {glue:text}`prune-updates`
#   - every 20 epochs, 15 in all
# * - after the last of them
#   - {glue:text}`prune-then`
#   - the end of the training
# * - $\rho$
#   - {glue:text}`prune-rho`
#   - not in the paper; 0.1 in the released code, with another penalty
# * - optimiser
#   - Muon {cite:p}`muon`
#   - Adam
# ```
#
# Two more choices are ours. PReLU activations start as the identity. Batch normalisations use their running statistics
# after {glue:text}`prune-settle` steps. With few crops in a step, one flat crop would change the statistics, and with
# them the codes of the other crops. We made these choices on validation pictures, in short trials of the unpruned and
# the estimated training. For pruning we tried four values of $\rho$ in short trials, and kept the released code's. A
# training of the paper's size is one command, which can be paused and resumed; we have not run it:
#
# ```console
# $ python -m reproduce study cae_admm --preset paper --device cuda --max-minutes 9
# ```
#
# ## The fair comparison: equal bytes
#
# At equal bytes, does a constraint on the count beat a price on the estimated bits? {numref}`fig-prune-fair` compares
# files of the 24 Kodak pictures. The paper's measure is {term}`SSIM`.

# %% tags=["hide-input"] mystnb={"figure": {"caption": "**At every rate that both have, models with an estimated entropy are better than models pruned by ADMM.** Horizontal axis, logarithmic: rate of files. Vertical axis: SSIM. One marker for each trained model, the code as its encoder makes it; dashed: one unpruned model, of whose code the encoder keeps a share. Large hollow markers: further seeds. <small>Kodak, mean of 24 pictures; records cae_admm and baselines.</small>", "name": "fig-prune-fair"}, "image": {"alt": "Four rising curves of SSIM over rate. JPEG 2000 is highest. The curve of estimated models lies below it, and that of pruned models slightly below that; the pruned curve falls off steeply at its lowest rate. The dashed curve of the unpruned model is far below all others."}}
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
axes.set(xscale="log", xlim=(0.2, 3), ylim=(0.5, 0.98), xlabel=plot.BPP, ylabel=plot.SSIM)
axes.set_xticks([0.2, 0.3, 0.5, 1, 2, 3], ["0.2", "0.3", "0.5", "1", "2", "3"])
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
assert code.value < -0.003 and more > 10 and all(value < 0 for value in each.values()) and max(by_seed) < -0.01
assert all(0 < longer_by[label] < more < longer_by["keep 5"] for label in ("keep 40", "keep 20", "keep 10"))
assert numbers.difference(records, "estimated", "jpeg2000").value < 0 < -each["keep 5"] - 0.03
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
use = numbers.difference(records, "pruned", "unpruned").value
say("prune-use", use)
for label, key in ((keep_10, "10"), (lambda_400, "400")):
    say(f"prune-lost-{key}", numbers.lost_in_use(records, label), ".3f")
say("prune-jpeg2000", numbers.bytes_more(records, "estimated", "jpeg2000").value, ".0f")
assert use > 0.1 and numbers.lost_in_use(records, lambda_400) < numbers.lost_in_use(records, keep_10) - 0.01
assert all(numbers.bytes_more(records, family, "jpeg2000").value > 20 for family in ("pruned", "estimated"))
assert numbers.difference(records, "pruned", "estimated").value < 0

# %% [markdown]
# **Pruning needs {glue:text}`prune-fair-bytes` % more bytes than an entropy estimate at equal SSIM**, from
# {glue:text}`prune-fair-from` to {glue:text}`prune-fair-to` {term}`bpp`. This mean contains the model that keeps 5 %,
# whose training became worse in the end. One by one, the models that keep 40, 20 and 10 % need
# {glue:text}`prune-longer-40`, {glue:text}`prune-longer-20` and {glue:text}`prune-longer-10` % more bytes, and the one
# that keeps 5 % needs {glue:text}`prune-longer-5` % more. At equal bytes the mean difference in SSIM is
# {glue:text}`prune-fair-ssim`: {glue:text}`prune-above-40` at 40 %, {glue:text}`prune-above-20` at 20 %,
# {glue:text}`prune-above-10` at 10 % and {glue:text}`prune-above-5` at 5 %. Only 10 % and $\lambda = 400$ have
# {glue:text}`prune-seeds` seeds. With each of them the pruned model is worse, by {glue:text}`prune-seed-least` to
# {glue:text}`prune-seed-most`. The two small differences, at 40 and 20 %, come from one seed and are less certain.
#
# Suppose that the encoder drops further entries when it writes a file. We call this *pruning in use*. Which training
# tolerates it best? Compared with the unpruned model, pruning in training helps. In {numref}`fig-prune-fair` the dashed
# curve is far below, by {glue:text}`prune-use` in the mean. Compared with the estimated model it does not help. If 10 %
# of each code are kept in use, the model pruned to 10 % loses {glue:text}`prune-lost-10` of SSIM. The model with
# $\lambda = 400$ loses only {glue:text}`prune-lost-400`, although it was never pruned. A likely reason is that a price
# on bits also makes the network store the important information in few entries.
#
# **What does not follow.** The result is for one small network, one training schedule and one coder. It does not say
# that ADMM cannot do better: a longer training, a better $\rho$ or the paper's network may change the order. It does
# not contradict the paper's figure either, which compares with published curves of other networks. No curve of ours
# reaches JPEG 2000; the estimated models need {glue:text}`prune-jpeg2000` % more bytes.
#
# Three explanations are possible. The next two sections look at the first two:
#
# - The count is not the rate. A file pays for the places and for the sizes of the nonzero entries.
# - ADMM has not converged.
# - The estimate has a gradient for every entry in every step. ADMM pulls each entry towards a target that changes only
#   at the updates of $Z$ and $U$, and then jumps.
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
# We apply it to three models and one bundled picture, the astronaut. The model with $\lambda = 150$ is the reference.
# The model pruned to 40 % gives about the same quality, and the model pruned to 20 % about the same *number* of nonzero
# entries. All three are in the package.

# %%
picture, models, rows = data.bundled()["astronaut"], default_models(), {}
for label in ("lambda 150", "keep 40", "keep 20"):
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
# each nonzero entry.* {numref}`fig-prune-bits` shows the totals in bits per pixel, and how full the channels are.

# %% tags=["hide-input"] mystnb={"figure": {"caption": "**At about equal quality, the code pruned to 40 % pays less for places and almost twice as much for values: {glue:text}`prune-bits-full-40` of its channels are more than half full, against {glue:text}`prune-bits-full` of the estimated code.** Top: bits per pixel by the split, their sum at the end of each bar. Bottom: share of nonzero entries in each of the 32 channels, in descending order. <small>The bundled astronaut; computed on this page with models of records cae_admm, first seed.</small>", "name": "fig-prune-bits"}, "image": {"alt": "Top: three horizontal bars, each in two parts. The bar of lambda 150 is about 0.6 bits long, that of 40 per cent about 0.9 with a shorter first part and a much longer second one, that of 20 per cent about 0.55. Bottom: falling step curves over 32 channels. The curve of 40 per cent stays above 0.8 for twelve channels and is zero after the sixteenth; the two others fall from the third channel on and are nearly zero after the fourteenth."}}
figure, (top, bottom) = plot.panels(2, 1, size=(5.0, 6.0), height_ratios=(1, 1.4))
looks = {"lambda 150": ("#D55E00", "-"), "keep 40": ("#0072B2", "-"), "keep 20": ("#555555", "--")}
short = {label: numbers.NAMES[label].removeprefix("entropy ") for label in looks}
for height, (label, (code, *bits, _, _)) in enumerate(rows.items()):
    places, values = (part / picture[..., 0].size for part in bits)
    colour, line = looks[label]
    top.barh(-height, places, color=colour, alpha=0.45)
    top.barh(-height, values, left=places, color=colour)
    for middle, name in ((places / 2, "places"), (places + values / 2, "values")):
        top.annotate(name, (middle, -height), ha="center", va="center", color="black" if name == "places" else "white")
    top.annotate(f" {places + values:.2f}", (places + values, -height), va="center")
    fill = np.sort((code != 0).mean((1, 2)))[::-1]
    bottom.step(range(1, len(fill) + 1), fill, line, where="mid", color=colour, lw=1.8, label=short[label])
names = [name.replace("estimated, ", "estimated,\n").replace("pruned to ", "pruned to\n") for name in short.values()]
top.set(yticks=[0, -1, -2], yticklabels=names, xlabel="bits per pixel", xlim=(0, 1.05))
top.grid(visible=False)
bottom.set(xlabel="channel, the fullest first", ylabel="share of nonzero entries", ylim=(0, 1.02))
bottom.legend(frameon=False)
figure

# %% tags=["remove-cell"]
fills = {label: (row[0] != 0).mean((1, 2)) for label, row in rows.items()}
for label, key in (("lambda 150", ""), ("keep 40", "-40")):
    say(f"prune-bits-full{key}", int((fills[label] > 0.5).sum()), "d")
per = {label: (row[1] / row[3].size, row[2] / row[3].size) for label, row in rows.items()}
total = {label: row[1] + row[2] for label, row in rows.items()}
one, forty, twenty = (rows[label] for label in looks)
largest = np.abs(one[0]).sum((1, 2)) / np.maximum(1, (one[0] != 0).sum((1, 2)))
for name, value, form in (
    ("places", per["lambda 150"][0], ".2f"), ("places-40", per["keep 40"][0], ".2f"),
    ("value", per["lambda 150"][1], ".1f"), ("value-40", per["keep 40"][1], ".1f"),
    ("more", total["keep 40"] / total["lambda 150"] - 1, ".0%"), ("times", forty[3].size / one[3].size, ".1f"),
    ("fewer", 1 - total["keep 20"] / total["lambda 150"], ".0%"), ("lost", one[4] - twenty[4], ".3f"),
    ("less", one[4] - forty[4], ".3f"), ("ones", (one[3] == 1).mean(), ".0%"),
    ("ones-40", (forty[3] == 1).mean(), ".0%"), ("largest", largest.max(), ".0f"),
    ("used", max(int((fill > 0.05).sum()) for fill in fills.values()), "d"),
    ("mean", one[3].mean(), ".1f"), ("mean-40", forty[3].mean(), ".1f"), ("count", twenty[3].size / one[3].size, ".0%"),
):  # fmt: skip
    say(f"prune-bits-{name}", value, form)

# %% tags=["remove-cell"]
assert all(np.abs(row[0]).max() <= integer_latents.LARGEST for row in rows.values())
for label, row in rows.items():
    stored = models.find(numbers.training(records, label).result["file"])
    bits = integer_latents.bits(row[0], stored.counts, integer_latents.threshold_of(row[0]))
    assert 0 < bits - total[label] < 10 * len(row[0]), "thresholds and levels"
    file = codecs.get_codec(stored.codec, model=stored.name).encode(picture)
    assert abs(len(file) - total[label] / 8) < 100
assert abs(one[4] - forty[4]) < 0.01 < 0.015 < one[4] - twenty[4] and 0.9 < twenty[3].size / one[3].size < 1.1
assert per["keep 40"][0] < 0.5 * per["lambda 150"][0] and abs(per["keep 40"][1] - per["lambda 150"][1]) < 0.1
assert (fills["keep 40"] > 0.5).sum() > 2 * (fills["lambda 150"] > 0.5).sum()
assert max((fill > 0.05).sum() for fill in fills.values()) <= 16 and forty[2] > 1.7 * one[2] and forty[1] < one[1]
assert forty[3].mean() < one[3].mean() and (one[3] == 1).mean() > 1.5 * (forty[3] == 1).mean()

# %% [markdown]
# **Equal quality.** The code pruned to 40 % has {glue:text}`prune-bits-times` times as many nonzero entries as the
# estimated one. It needs {glue:text}`prune-bits-more` more bits, for an SSIM that is {glue:text}`prune-bits-less`
# lower. Its places are cheap: {glue:text}`prune-bits-places-40` bits for each nonzero entry, against
# {glue:text}`prune-bits-places`. The lower panel of {numref}`fig-prune-bits` shows why. In the pruned code
# {glue:text}`prune-bits-full-40` channels are more than half full, and most of the others are empty. In such channels
# it is nearly known where the nonzero entries are. If a nonzero entry moves from an emptier channel to a fuller one,
# the count stays the same, but the length of the file changes. A value costs as much as in the estimated code,
# {glue:text}`prune-bits-value-40` and {glue:text}`prune-bits-value` bits. So the extra bits come from the *number* of
# values.
#
# The magnitudes are a surprise. The count says nothing about sizes, so we expected large entries. But the mean
# magnitude is smaller in the pruned code ({glue:text}`prune-bits-mean-40` against {glue:text}`prune-bits-mean`). The
# entries of the estimated code are more unequal: {glue:text}`prune-bits-ones` of the nonzero ones are ±1 (pruned:
# {glue:text}`prune-bits-ones-40`), and one channel has a mean magnitude of {glue:text}`prune-bits-largest`. Under a
# price on bits, a code can have many cheap entries and a few expensive ones. A count gives all entries the same price.
#
# **Equal count.** The code pruned to 20 % has {glue:text}`prune-bits-count` as many nonzero entries as the estimated
# one. It needs {glue:text}`prune-bits-fewer` fewer bits, and its SSIM is {glue:text}`prune-bits-lost` lower. So codes
# of about equal count can differ in rate and in quality.
#
# **What does not follow.** These are three models and one picture, and the picture is not typical. On Kodak the model
# pruned to 40 % is the best of the pruned ones and needs {glue:text}`prune-longer-40` % more bytes than the estimated
# models at its SSIM; here it needs {glue:text}`prune-bits-more` more. The split describes where the bits are; it does
# not prove that the count is the cause of the loss.
#
# ## Did ADMM converge?
#
# At convergence both residuals {eq}`eq-admm-residuals` are zero. The {term}`primal residual` is zero if all codes are
# equal to their $Z$, and then they satisfy the constraint. The {term}`dual residual`, divided by $\rho$, is the
# distance that $Z$ moves in one update. {numref}`fig-prune-residuals` shows both for four trainings, as root mean
# squares over all entries of all codes. A distance of 1 is the difference between two neighbouring whole numbers.

# %% tags=["hide-input"] mystnb={"figure": {"caption": "**No training comes to rest: at the end the codes still differ from Z, and Z still moves in each update.** Horizontal axes: step. Top: primal residual, the distance between the codes and Z. Middle: distance that Z moves in one update. Bottom: share of zeros in the codes; dotted: the share that was asked for. Names at the right: the share of entries to keep. <small>All training crops; records cae_admm, first seed.</small>", "name": "fig-prune-residuals"}, "image": {"alt": "Three panels with four curves each, for 40, 20, 10 and 5 per cent. Top: the primal residuals fall in the first quarter, stay nearly level and rise slightly to the end; 5 per cent is highest and 40 per cent lowest. Middle: the movement of Z falls for 40 per cent; for the three others it stays near 0.8 and rises at the end, most for 5 per cent. Bottom: all shares of zeros rise, and only that of 40 per cent reaches its dotted line."}}
course = {row["series"]: row for row in numbers.residuals(records).rows}
colours = dict(zip(numbers.PRUNED, ("#56B4E9", "#0072B2", "#000000", "#D55E00"), strict=True))
figure, panels = plot.panels(3, 1, size=(5.0, 7.0), sharex=True)
ends = {axes: [] for axes in panels}
for (label, keep), colour in zip(numbers.PRUNED.items(), colours.values(), strict=True):
    of, rho = course[label], numbers.training(records, label).config["pruning"]["rho"]
    moves = np.array(of["dual"]) / of.get("rho", rho)
    for axes, y in zip(panels, (of["primal"], moves, of["zeros"]), strict=True):
        axes.plot(of["step"], y, color=colour, lw=1.6)
        ends[axes].append((y[-1], f"{100 * keep:g} %", colour))
    panels[2].axhline(1 - keep, color=colour, ls=":", lw=1.2)
for axes, title in zip(panels, ("primal residual", "movement of Z", "share of zeros"), strict=True):
    axes.set(ylabel=title, ylim=(0, None))
    plot.name_ends(axes, ends[axes])
panels[2].set_xlabel("step")
figure

# %% [markdown]
# The training pulls with the weight $\rho$ of {eq}`eq-admm-first`. The paper does not print its $\rho$, and the 0.1 of
# the released code belongs to another penalty. So we repeat the training for 10 % with two other values, and once with
# fewer updates, one in each epoch. The table shows all of them. The last three have the preset
# {glue:text}`prune-varied-preset`.

# %% tags=["hide-input"]
rested, ended = [], {}
for of, label in (*((records, label) for label in numbers.PRUNED), *((varied, label) for label in numbers.VARIED)):
    record, files = numbers.training(of, label), numbers.training(of, label, files="code")
    residuals = record.result["admm"]
    rho = residuals.get("rho", [record.config["pruning"]["rho"]])[-1]
    moves, share = residuals["dual"][-1] / rho, 1 - residuals["zeros"][-1]
    ended[label] = residuals["primal"], moves, share, files
    rested.append({
        "training": numbers.NAMES[label],
        "primal residual, lowest": f"{min(residuals['primal']):.2f}",
        "at the end": f"{residuals['primal'][-1]:.2f}",
        "Z moves by": f"{moves:.2f}",
        "nonzero, training crops": f"{share:.0%}".replace("%", " %"),
        "bpp on Kodak": f"{files.mean('bpp'):.3f}",
        "SSIM": f"{files.mean('ssim'):.4f}",
        "SSIM over the estimated models": f"{numbers.above(of, label, 'estimated'):+.4f}",
    })  # fmt: skip
plot.Table(rested)

# %% tags=["remove-cell"]
glue("prune-varied-preset", varied.some("cae_admm")[0].config["profile"], display=False)
for name, value, form in (
    ("moves-least", min(of[1] for of in ended.values()), ".1f"),
    ("moves-most", max(of[1] for of in ended.values()), ".1f"), ("got-40", ended["keep 40"][2], ".0%"),
    ("got-10", ended["keep 10"][2], ".0%"), ("got-5", ended["keep 5"][2], ".0%"),
    ("bpp-40", ended["keep 40"][3].mean("bpp"), ".2f"), ("bpp-5", ended["keep 5"][3].mean("bpp"), ".2f"),
    ("bpp-weak", ended["rho 0.03"][3].mean("bpp"), ".2f"), ("bpp-strong", ended["rho 0.3"][3].mean("bpp"), ".2f"),
    ("rho-least", max(numbers.above(varied, label, "estimated") for label in ("keep 10", *numbers.VARIED)), "+.3f"),
    ("rho-most", min(numbers.above(varied, label, "estimated") for label in ("keep 10", *numbers.VARIED)), "+.3f"),
    ("seeds-apart", np.ptp([numbers.above(varied, "keep 10", "estimated", seed=s) for s in (0, 1)]), ".3f"),
):  # fmt: skip
    say(f"prune-{name}", value, form)
assert all(primal[-1] > max(0.1, 1.05 * min(primal)) and moves > 0.2 for primal, moves, *_ in ended.values())
assert abs(ended["keep 40"][2] - 0.4) < 0.02 and ended["keep 10"][2] > 0.15 and ended["keep 5"][2] > 0.12
few, strong = ended["keep 5"][3], ended["rho 0.3"][3]
assert strong.mean("bpp") < few.mean("bpp") and strong.mean("ssim") > few.mean("ssim")
scored = numbers.training(records, "keep 5").result["history"]
say("prune-best-5", max(scored["ssim"]), ".3f")
say("prune-last-5", scored["ssim"][-1], ".3f")
assert max(scored["ssim"]) > scored["ssim"][-1] + 0.03

# %% [markdown]
# **None of these trainings converged.** At the end of all of them $Z$ moves by {glue:text}`prune-moves-least` to
# {glue:text}`prune-moves-most` in one update. The primal residual is above its lowest value in every row. A likely
# reason is that $U$ keeps growing while the learning rate falls to zero, so the encoder can no longer follow.
#
# The constraint nearly holds for the mildest request only. Asked for 40 %, the training ends at
# {glue:text}`prune-got-40` nonzero entries on its own crops. Asked for 10 % it ends at {glue:text}`prune-got-10`, and
# asked for 5 % at {glue:text}`prune-got-5`. The last training even becomes worse: on validation pictures its SSIM falls
# from {glue:text}`prune-best-5` to {glue:text}`prune-last-5`. In the plane ADMM also did not rest when $\rho$ was below
# its limit {eq}`eq-admm-rest`; the same may happen here. A second possible reason is that one encoder makes all codes,
# and cannot move each of them alone.
#
# **The weight $\rho$ changes the rate as well as the share does.** At one share, 10 %, the rate goes from
# {glue:text}`prune-bpp-weak` to {glue:text}`prune-bpp-strong` bpp as $\rho$ grows tenfold. With one $\rho$ it goes from
# {glue:text}`prune-bpp-40` to {glue:text}`prune-bpp-5` bpp as the share falls from 40 to 5 %. With $\rho = 0.3$ and 10
# %, files are smaller *and* better than with $\rho = 0.1$ and 5 %. The four trainings for 10 % differ from the
# estimated models by {glue:text}`prune-rho-least` to {glue:text}`prune-rho-most` of SSIM at equal bytes, so all four
# are worse. Two seeds of one of them are {glue:text}`prune-seeds-apart` apart. So none of the four is clearly better
# than the others. One training with fewer updates shows no difference that is larger than the one between two seeds.
#
# ## Figure 2: SSIM and MS-SSIM over the rate
#
# The paper's Figure 2 compares CAE-ADMM with other codecs on Kodak. Where are our files, and where are the paper's
# points? {numref}`fig-prune-paper` shows these points twice: as printed, and in bits if the printed rates are
# {term}`nats <nat>`, as the [released program](31_released_code) suggests.

# %% tags=["hide-input"] mystnb={"figure": {"caption": "**As printed, the paper's points lie above the curve of the original autoencoder; if their rates are nats, they lie below it.** Horizontal axis: rate. Vertical axes: SSIM (top) and MS-SSIM (bottom). Hollow: the paper's points. Grey dashed: Theis et al., as digitised by the authors. Filled: our files; in colour our networks. <small>Kodak, mean of 24 pictures; records cae_admm and baselines; the authors' data.</small>", "name": "fig-prune-paper"}, "image": {"alt": "Two panels with rising curves over the rate from 0 to 1.6 bits per pixel. In both, hollow circles of the paper as printed are highest, the same points in bits lie further right and slightly below the dashed curve of Theis et al. JPEG 2000 is near the dashed curve. Our pruned and estimated curves lie lower in SSIM and near the dashed curve in MS-SSIM; the released choices give one point at the right, far below."}}
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
    axes.set(ylabel=plot.LABELS[metric], xlim=(0, 1.6), ylim=(low, 1))
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

# %% tags=["remove-cell"]
free, as_released, half, cheap = (
    numbers.training(records, label, files="code")
    for label in (numbers.unpruned(records), "released", "16 channels", "lambda 50")
)
for other, key in ((half, "half"), (cheap, "cheap")):
    say(f"prune-{key}-saved", numbers.saved(free.mean("bpp"), other.mean("bpp")), ".0f")
    say(f"prune-{key}-lost", free.mean("ssim") - other.mean("ssim"), ".3f")
    assert numbers.saved(free.mean("bpp"), other.mean("bpp")) > 33 and free.mean("ssim") - other.mean("ssim") < 0.005
say("prune-free-ssim", free.mean("ssim"), ".3f")
say("prune-free-bpp", free.mean("bpp"))
say("prune-jpeg2000-0.7", numbers.family(records, "jpeg2000").at(0.7), ".3f")
say("prune-place", (shape.get("outer") or shape["width"]) // 4, "d")
assert free.mean("ssim") < numbers.family(records, "jpeg2000").at(0.7) and shape["width"] // 4 < 32
assert "outer" not in shape, "the layers beside the code are as wide as the rest"

# %% [markdown]
# Compare the hollow markers of {numref}`fig-prune-paper` with the dashed curve. Both are the authors' own data. As
# printed, the points are {glue:text}`prune-theis` of SSIM and {glue:text}`prune-theis-ms` of {term}`MS-SSIM` above the
# curve of the original autoencoder, as the paper claims. If the rates are nats, the differences are
# {glue:text}`prune-theis-bits` and {glue:text}`prune-theis-ms-bits`: the claim does not hold for SSIM, and the
# difference in MS-SSIM is close to zero.
#
# Our pruned models differ from the printed points by {glue:text}`prune-points` of SSIM at equal rates, and by
# {glue:text}`prune-points-bits` if the points are in bits. This says little about the paper, because our networks are
# much smaller and trained for less time.
#
# ## What limits this network: all trainings
#
# The next table lists every training, its code as the encoder makes it. ± is the standard deviation over seeds; rows
# without it have one seed.

# %% tags=["hide-input"]
plot.table(numbers.variants_table(records)).drop(columns=["nats, the released code's bpp"])

# %% tags=["remove-cell"]
gains = {label: numbers.gain(varied, label) for label in numbers.VARIANTS}
for label, key in zip(numbers.VARIANTS, ("fresh", "reflection"), strict=True):
    say(f"prune-{key}", gains[label], "+.4f")
assert all(-0.01 < value < 0 for value in gains.values())

# %% [markdown]
# The unpruned model needs {glue:text}`prune-free-bpp` bpp, because nothing limits its rate. Most of these bits are
# wasted. Half the channels save {glue:text}`prune-half-saved` % of the bytes for {glue:text}`prune-half-lost` of SSIM.
# A low price of bits, $\lambda = 50$, saves {glue:text}`prune-cheap-saved` % for {glue:text}`prune-cheap-lost`. So a
# large saving against an unpruned model says little about a method.
#
# The rate does not limit the quality here. The best SSIM, {glue:text}`prune-free-ssim`, is below that of JPEG 2000 at
# 0.7 bpp ({glue:text}`prune-jpeg2000-0.7`). A likely limit is the layer beside the code: it has
# {glue:text}`prune-place` filters where the paper has 32. So each place of the code holds at most
# {glue:text}`prune-place` independent numbers, however many channels the code has. Accordingly, each code in
# {numref}`fig-prune-bits` has at most {glue:text}`prune-bits-used` channels in which more than 5 % of the entries are
# nonzero.
#
# The paper draws a new crop of each picture in every epoch. In the released code, residual blocks pad by reflection and
# PReLUs start at 0.25. The rows for these two choices differ from the first training for 10 % by
# {glue:text}`prune-fresh` and {glue:text}`prune-reflection` of SSIM at equal bytes. This is less than the difference
# between two seeds, so one training cannot show an effect of either.
#
# ## Table 1: rate and zeros before and after pruning
#
# How much does pruning save, and how many zeros does it make? The paper counts on 233 pictures of Kodak, Urban100 and
# Manga109. The last two are not available to us. We use Kodak and {glue:text}`prune-table1-bsds` test pictures of
# BSDS500, of 481 × 321 pixels. *Before* and *after* are two trainings, without and with pruning to 10 %. Here ± is half
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
# validation pictures. For our codecs the setting is a model and the share of its code that is kept in use. Seconds are
# from picture to file to picture on one CPU thread. The paper measures its network alone, on two GPUs.

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
assert near["jpeg2000"] > near["cae-theis near 0.6"] > near["jpeg"] > near["cae-admm near 0.6"]
assert near["jpeg2000 no transform"] < paper_2000 < near["jpeg2000"]
scores = {name: numbers.near(records, name).mean("ms_ssim") for name in numbers.ROWS}
assert all(abs(scores[name] - scores["jpeg"]) < 0.004 for name in ("cae-theis near 0.6", "cae-admm near 0.6"))
assert 5 < numbers.time_over(records, "jpeg2000") < 8 and 23 < paper / ours < 25

# %% [markdown]
# The paper's order is CAE-ADMM, JPEG, JPEG 2000. Ours is JPEG 2000 ({glue:text}`prune-near-jpeg2000`), the estimated
# model ({glue:text}`prune-near-theis`), JPEG ({glue:text}`prune-near-jpeg`) and the pruned model
# ({glue:text}`prune-near-admm`). The last three are close. In MS-SSIM our networks and JPEG are about equal.
#
# Two things explain part of the difference. Without its colour transform, JPEG 2000 loses
# {glue:text}`prune-near-transform` of SSIM at the same bytes; Pillow leaves the transform off by default. The 0.793
# that the paper prints for JPEG 2000 lies between our two rows. And our network is small: it has
# {glue:text}`prune-macs` thousand {term}`MACs <MAC>` per pixel in both halves together, the paper's
# {glue:text}`prune-macs-paper` thousand, {glue:text}`prune-macs-times` times as many. No record here says what the
# larger network would bring. Ours takes {glue:text}`prune-time` times as long as JPEG 2000.
#
# ## Figure 3: details at 0.3 bpp
#
# What do these numbers look like? {numref}`fig-prune-details` shows files of at most 0.3 bpp. The paper states "JPEG
# breaks down under a bpp of 0.3".

# %% tags=["hide-input"] mystnb={"figure": {"caption": "**At 0.3 bpp JPEG shows blocks, JPEG 2000 and the pruned network do not; the network loses fine texture and colour.** Squares of 208 × 208 pixels; title: rate, SSIM and PSNR of the whole picture. <small>Kodak's kodim21, or the bundled astronaut where Kodak is missing; coded on this page with the best of the pruned models of records cae_admm.</small>", "name": "fig-prune-details"}, "image": {"alt": "Four details of one picture: the original, JPEG with visible blocks of eight by eight pixels and flat areas, JPEG 2000 with smooth and slightly blurred structures, and the pruned network with blurred texture and no blocks."}}
shown = numbers.details(records, bpp=0.3)
plot.pictures(shown, columns=2, font=12)

# %% tags=["remove-cell"]
names = {"JPEG,": "jpeg", "JPEG 2000": "jpeg2000", "pruned": "admm"}
of_detail = {key: row["title"].split("SSIM ")[1].split(",")[0] for name, key in names.items()
             for row in shown.rows if row["title"].startswith(name)}  # fmt: skip
for key, value in of_detail.items():
    say(f"prune-detail-{key}", float(value), ".3f")
if data.available("kodak"):
    assert float(of_detail["jpeg2000"]) > float(of_detail["jpeg"]) > float(of_detail["admm"])

# %% [markdown]
# Look for the borders of 8 × 8 blocks in the JPEG file of {numref}`fig-prune-details`. They are visible, as the paper
# says, and the pruned network has none. SSIM does not show this: it is {glue:text}`prune-detail-jpeg` for JPEG,
# {glue:text}`prune-detail-admm` for the pruned network and {glue:text}`prune-detail-jpeg2000` for JPEG 2000. Look at
# the roofs, too: the network has changed their colour.
#
# ## Figure 4: the code before and after pruning
#
# Which entries survive? {numref}`fig-prune-code` shows the code of one picture three times.

# %% tags=["hide-input"] mystnb={"figure": {"caption": "**After pruning, few channels are full; they look like small pictures, and the others are nearly empty.** Each square is a channel of the code: black is zero, blue positive, orange negative. Bottom: the code is also pruned in use, to the share that the training asked for. <small>Kodak's kodim21, or the bundled astronaut where Kodak is missing; computed on this page with models of records cae_admm.</small>", "name": "fig-prune-code"}, "image": {"alt": "Three mosaics of 32 small squares. Top: all channels are full of blue and orange noise-like texture. Middle: a few channels show the outlines of the picture, others have scattered points, most are nearly black. Bottom: the same with still fewer points, and some channels that were sparse are now entirely black."}}
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
# Compare the top and the middle of {numref}`fig-prune-code`. Pruning in training concentrates the code in a few
# channels, as {numref}`fig-prune-bits` shows for another picture. The bottom shows a detail of the projection. Many
# entries have magnitude 1, and among equals the first ones stay, so some channels vanish as a whole. Any choice among
# equals is a projection; ours gives the same result every time.
#
# ## What the released choices change, all at once
#
# The [last chapter](31_released_code) took the released choices one by one. One training uses three of them together:
# the choice of entries by `argsort`, one shared $Z$ and $U$, and the norm as penalty. It starts and trains like the
# model pruned to 10 %. The table of all trainings shows it in the row *pruned as the released code does*.

# %% tags=["remove-cell"]
target = as_released.result["admm"]["dual"][-1] / as_released.config["pruning"]["rho"]
lost = free.mean("ssim") - as_released.mean("ssim")
for name, value, form in (
    ("rate", numbers.released_rate(records), ".0f"), ("zeros", numbers.released_zeros(records), ".0f"),
    ("lost", lost, ".3f"), ("has", 100 * as_released.mean("zeros"), ".0f"), ("moves", target, ".2f"),
):  # fmt: skip
    say(f"prune-released-{name}", value, form)
assert numbers.released_rate(records) > 40 and 15 < numbers.released_zeros(records) < 25
assert lost < 0.006 and target < 0.05

# %% [markdown]
# Hardly anything is pruned: {glue:text}`prune-released-has` % of the code is zero, where 90 % are asked for. Still, the
# files are {glue:text}`prune-released-rate` % shorter than those of the unpruned model, for
# {glue:text}`prune-released-lost` of SSIM. The shared target is close to zero and moves by only
# {glue:text}`prune-released-moves` in the last update. So the penalty is a price on the norm of the codes, like a
# weight decay, and it makes the entries smaller.
#
# The paper's Table 1 has {glue:text}`prune-table1-paper-saved` % fewer bits and {glue:text}`prune-table1-paper-zeros`
# percentage points more zeros. The released choices give {glue:text}`prune-released-rate` % and
# {glue:text}`prune-released-zeros` points on Kodak, the equations {glue:text}`prune-table1-saved` % and
# {glue:text}`prune-table1-zeros` points on the mixed set. The released choices are nearer to the paper, although they
# save almost twice as much. We therefore suppose that Table 1 shows the effect of this price, and not of pruning. This
# is a conjecture: we do not have the authors' models. A price on bits does the same better: $\lambda = 50$ saves
# {glue:text}`prune-cheap-saved` % for about the same loss of SSIM.
#
# **Rounding at random in use.** The released program also rounds at random in tests. Here two trained models write
# their files in both ways; means over Kodak.

# %% tags=["hide-input"]
plot.table(numbers.rounding_table(records))

# %% tags=["remove-cell"]
rounded = numbers.rounding(records)
say("prune-random-bytes", numbers.random_rounding(records, "bpp"), ".0f")
say("prune-random-ssim", numbers.random_rounding_at_rate(records), "+.3f")
say("prune-random-zeros", 100 * numbers.at_random(rounded, "zeros"), ".0f")
say("prune-nearest-zeros", 100 * rounded.mean("zeros", setting="nearest"), ".0f")
assert 40 < numbers.random_rounding(records, "bpp") < 55
assert -0.05 < numbers.random_rounding_at_rate(records) < -0.025
assert abs(numbers.random_rounding(records, "bpp", "unpruned")) < 1
changed = {m: numbers.at_random(rounded, m) - rounded.mean(m, setting="nearest") for m in numbers.QUALITIES}
assert changed["ssim"] > 0 > max(changed["ms_ssim"], changed["psnr"])

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
assert min(longer) > 0 and 1 + max(longer) / 100 < numbers.BITS and 0 < min(patches) <= max(patches) < 0.0006

# %% [markdown]
# The unpruned model hardly changes. The files of the pruned model grow by {glue:text}`prune-random-bytes` %, because
# {glue:text}`prune-nearest-zeros` % of its entries are zero if they are rounded to the nearest number, and
# {glue:text}`prune-random-zeros` % if at random. The new entries say little about the picture: SSIM rises slightly,
# {term}`PSNR` and MS-SSIM fall. At equal bytes, SSIM differs by {glue:text}`prune-random-ssim` from models that were
# pruned less. All other files of this book are rounded to the nearest number.
#
# **Nats and patches.** On the mixed set of Table 1, our files are {glue:text}`prune-nats-least` to
# {glue:text}`prune-nats-most` % longer than the entropy that the released program prints, in nats. In bits, this
# entropy is larger than our files: our coder has one table for each channel, and the program has one for all channels
# of a patch. On Kodak, the mean SSIM over patches of 128 × 128 pixels is {glue:text}`prune-patches-least` to
# {glue:text}`prune-patches-most` higher than the SSIM of whole pictures, which changes no comparison.
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
# agree.

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
#   - blocks are visible; SSIM of the detail's picture is {glue:text}`prune-detail-jpeg`, of our pruned model
#     {glue:text}`prune-detail-admm`
#   - the statement is about the look, which SSIM does not describe well here
# ```
# :::
#
# ## In short
#
# - At equal bytes, an entropy estimate is better than pruning by ADMM in our network, for all four shares and for each
#   seed that we trained.
# - The number of nonzero entries is not a rate: a file pays for the places and for the values, and the price of both
#   depends on the channel.
# - No training by ADMM came to rest. Both $\rho$ and the requested share change the rate.
# - The paper's points are better than the original autoencoder as printed, and worse if their rates are nats.
# - The released choices act like a price on the size of the code. Rounding at random makes pruned files longer.
#
# ## Exercises
#
# 1. The projection keeps the $\ell$ largest entries of the whole code. Suppose that it keeps the $\ell / C$ largest of
#    each of the $C$ channels. Is $Z$ nearer to the code or further away? What would change in {numref}`fig-prune-bits`?
# 2. At random places, 10 % of the entries of a code are nonzero. What do the places cost per entry, and per pixel if
#    there is half an entry per pixel? Which two codes of the same count differ most in bytes?
# 3. (Code) By how much do tables for each channel shorten the places? Write `one_table(code)`, the bits for the places
#    if one probability of zero serves all channels, and compare it with `split` for the three models.
# 4. Keep 10 % of the code of the unpruned model in use: `codecs.get_codec("cae-admm", model=..., keep=0.1)`, with the
#    model {glue:text}`prune-unpruned-model`. Compare it with the model pruned to 10 % at equal bytes. Where does the
#    difference come from?
#
# :::{admonition} Solutions
# :class: dropdown
# 1. The allowed codes are a subset of the paper's set, up to rounding, so $Z$ is never nearer. All channels would be
#    equally full: the curve of the lower panel becomes a horizontal line at the share $\ell / n$, where $n$ is the
#    number of all entries. The places would cost nearly $h(\ell / n)$ bits per entry, because the channels no longer
#    differ. A channel that every place needs, such as the local mean, would not get more entries than the others.
# 2. $h(0.1) = -0.1 \log_2 0.1 - 0.9 \log_2 0.9 \approx 0.47$ bits per entry, so 0.23 bits per pixel. If the nonzero
#    entries fill one channel in every ten and are all $+1$, they cost almost nothing. If they are at random places with
#    values that are spread evenly over −128 to 127, each costs 4.7 bits for its place and 8 bits for its value.
# 3. One probability gives {eq}`eq-admm-positions` with the share of nonzero entries $k/n$.
#    ```python
#    def one_table(code):
#        share = (code != 0).mean()
#        return -code.size * (share * np.log2(share) + (1 - share) * np.log2(1 - share))
#    ```
#    Tables for each channel save {glue:text}`prune-table-150` of these bits at $\lambda = 150$,
#    {glue:text}`prune-table-40` for the model pruned to 40 %, and {glue:text}`prune-table-20` for the one pruned to
#    20 %. Full and empty channels save most.
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
for label, key in (("lambda 150", "150"), ("keep 40", "40"), ("keep 20", "20")):
    say(f"prune-table-{key}", kept_by[label], ".0%")
assert 0.3 < kept_by["lambda 150"] < kept_by["keep 40"] < 1
glue("prune-unpruned-model", f"{numbers.training(records, numbers.unpruned(records)).result['file']}", display=False)
assert all(record.rows for record in made)
if at_defaults:
    assert {record.config["label"] for record in made} == set(wanted)
