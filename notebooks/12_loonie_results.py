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
# # L0onie results: pruning, COIN and the architecture search
#
# In this chapter you compare L0onie with {term}`magnitude pruning` and with COIN at equal rates, and you test what its
# poster states about quality, speed and the search for an architecture.
#
# **You will learn**
#
# - how to compare sparse and dense networks fairly: equal rates, learning rates and steps;
# - why a start that is too large needs no search over widths, but still needs enough depth;
# - how the learning rate of a {term}`baseline` decides which method is "faster";
# - how an {term}`ablation` shows what each part of L0onie contributes.
#
# **You need** the chapter on [L0onie](11_loonie), no GPU and no data set. **Run it:** less than a minute with
# `python -m reproduce run 12_loonie_results`. The figures about the Kodak pictures are drawn from records in the
# repository. Only the section "The experiment" trains networks.

# %% tags=["parameters"]
preset = "smoke"  # smoke, laptop, desktop, paper-fast or paper; smoke takes seconds, the others hours
device = "cpu"  # "cpu" or "cuda"
seed = 0  # a whole number of at least 0
pictures = "bundled"  # of the experiment; "kodak" if you have that data set
out = ""  # the folder for its records; a new one by default
only = ""  # run only the plans whose names contain this text, such as nonzeros
depth = 0  # for the experiment: layers of L0onie's start, 0 to 20; 0 runs the paper's starts and all methods
size = 2.0  # and its size at 16 bits per weight, in budgets, 1 to 10; at 1 nothing is pruned, which is COIN
bpp = 0.1  # and its budget, between 0.05 and 1; this and the size have no effect if the depth is 0

# %% tags=["hide-input"]
import math

import numpy as np
from myst_nb import glue

from reproduce import plot, sweep_report, tables, widgets
from reproduce.papers import loonie
from reproduce.records import Curve, Records, read, values_of
from reproduce.tables import say
from sparsecomp import checks, codecs, data
from sparsecomp.models import siren

checks.one_of("preset", preset, loonie.PRESETS)
checks.whole("seed", seed, 0)
checks.whole("depth", depth, 0, 20)
for name, low, high in (("size", 1, 10), ("bpp", 0.05, 1)):
    checks.in_range(name, globals()[name], low, high)
at_defaults = (preset, seed, only, depth) == ("smoke", 0, "", 0)
picture, records = data.bundled()["astronaut"], Records(preset="laptop")
RATES = loonie.LOONIE_RATES

# %% [markdown]
# ## L0onie against magnitude pruning and COIN
#
# The last chapter showed that gates under {term}`dual ascent` meet a bit budget. Is the result better than a small
# dense network of equal rate, that is, a COIN? And is it better than **magnitude pruning**, which trains the same large
# network, removes the smallest weights of every hidden layer, and fine-tunes the rest? In the released code,
# {term}`pruning` trains for twice as many steps as L0onie. Here all three methods have 8,000 steps, and half of
# pruning's are {term}`fine-tuning`. {numref}`fig-loonie-rd` shows the
# {term}`rate-distortion curves <rate-distortion curve>`, with rates as the paper counts them.

# %% tags=["hide-input"] mystnb={"figure": {"caption": "**L0onie beats magnitude pruning at all four budgets; it beats COIN clearly only at 0.15 bpp.** PSNR over the counted rate, 16 bits per nonzero weight (JPEG: files), mean of eight Kodak pictures, one seed. <small>Records: loonie, baselines.</small>", "name": "fig-loonie-rd"}, "image": {"alt": "Rate-distortion curves. The curves of L0onie, COIN and magnitude pruning lie close together, pruning lowest; COIN is highest at 0.6. JPEG starts far below and crosses all of them by 0.3 bits per pixel."}}
shown = loonie.rate_distortion(records)
figure, axes = plot.panels()
plot.lines(axes, shown)
axes.set(xlabel="16 bits per nonzero weight, per pixel (an estimate)", ylabel=plot.PSNR)
axes.legend(frameon=False, fontsize=9)
plot.sign(figure, shown.records)
figure

# %% [markdown]
# The networks of {numref}`fig-loonie-rd` do not have equal rates, and the curves are close together. So we need
# differences at equal rates, picture by picture. For each picture we interpolate the points of COIN over the logarithm
# of the rate. The gain of L0onie in dB is then
#
# $$ G = \frac1N \sum_{i=1}^{N} \bigl( P_i - Q_i(R_i) \bigr) , $$ (eq-gain-at-rate)
#
# where $N$ is the number of pictures, $P_i$ and $R_i$ are the {term}`PSNR` and the rate of L0onie on picture $i$, and
# $Q_i(R)$ is the interpolated PSNR of COIN on the same picture at the rate $R$. The rates can be counted bits or
# lengths of files. The difference between the two is the subject of the [next chapter](13_positions_and_bits). The last
# two columns of the table are {eq}`eq-gain-at-rate` with either. The columns "over pruning" and "over COIN" leave the
# rates as they are.

# %% tags=["remove-cell"]
jpeg = {row["series"]: row for row in shown.rows}["jpeg"]
eight = loonie.loonie(records, "nonzeros").only(loonie.third(records))
at_budget = float(np.interp(np.log(eight.mean("bpp")), np.log(jpeg["x"]), jpeg["y"]))
say("loonie-jpeg", at_budget - eight.mean("psnr"), ".1f")
search = {r.config["architecture"]: r.mean("psnr") for r in records.find("search", target_bpp=0.15)}
deep, shallow = (next(search[a] for a in search if a.startswith(d)) for d in ("10x", "5x"))
say("loonie-deeper", deep - shallow, ".1f")
for tau in RATES:
    say(f"loonie-bytes-{tau}", loonie.gain_at_rate(records, bpp=tau, accounting="file"), "+.2f")
    assert loonie.gain(records, "magnitude", bpp=tau) > 0
    assert (loonie.gain(records, "dense", bpp=tau) > 0) == (tau == 0.15)
    assert (loonie.gain_at_rate(records, bpp=tau, accounting="file") > 0) == (tau == 0.15)
assert abs(loonie.gain_at_rate(records)) < 0.2 < deep - shallow < 0.4 and at_budget > 26.6

# %% tags=["hide-input"]
compared = []
for tau in RATES:
    gated, dense = (loonie.counted(loonie.loonie(records, m, tau)) for m in ("nonzeros", "dense"))
    compared.append({
        "budget": f"{tau} bpp",
        "over pruning": f"{loonie.gain(records, 'magnitude', bpp=tau):+.2f} dB",
        "over COIN": f"{loonie.gain(records, 'dense', bpp=tau):+.2f} dB",
        "counted bits against COIN's": f"{100 * (gated / dense - 1):+.0f} %",
        "over COIN, equal counted bits": f"{loonie.gain_at_rate(records, bpp=tau):+.2f} dB" if tau > 0.1 else "–",
        "over COIN, equal file sizes": f"{loonie.gain_at_rate(records, bpp=tau, accounting='file'):+.2f} dB",
    })  # fmt: skip
plot.Table(compared)

# %% [markdown]
# *PSNR of L0onie less that of the other method, means over pictures: eight of Kodak (24 in the columns "over pruning"
# and "over COIN" at 0.3 bpp). COIN is interpolated where rates are made equal; at 0.07 bpp no COIN is small enough.*
#
# L0onie is better than magnitude pruning at all four budgets, and it loses against COIN at three of them. The counted
# bits are not equal, though: COIN's networks are a little over each budget, and L0onie's are under it. At 0.3 bpp and
# equal counted bits the two are equal. At equal *file* sizes, which is the fair comparison, L0onie is better at
# 0.15 bpp only. And there its start has ten layers while the paper's COIN has five: the chapter on [COIN](10_coin)
# found ten layers {glue:text}`loonie-deeper` dB better than five at this rate without any gates. At the length of
# L0onie's files for 0.3 bpp, JPEG is {glue:text}`loonie-jpeg` dB above it. Two limits apply: one {term}`seed`, and
# 8,000 mini-batch steps in place of the paper's 50,000 full-batch steps, which we have not run.
#
# A mean can hide that methods win on different pictures. {numref}`fig-loonie-histogram` shows every picture at 0.3 bpp.

# %% tags=["hide-input"] mystnb={"figure": {"caption": "**The spread between pictures, {glue:text}`loonie-spread` dB, is far larger than the differences between methods.** PSNR of the 24 Kodak pictures at a budget of 0.3 bpp: ticks are pictures, bars a histogram, lines the means. <small>Records: loonie.</small>", "name": "fig-loonie-histogram"}, "image": {"alt": "Three histograms above each other, for L0onie, magnitude pruning and COIN, with nearly the same shape from 20 to 32 dB and means within half a decibel."}}
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

# %% [markdown]
# In {numref}`fig-loonie-histogram`, COIN is better than L0onie on {glue:text}`loonie-wins` of the 24 pictures, so no
# outlier decides the mean. The difficulty of a picture matters much more than the method. Compare methods picture by
# picture, never by two means over different pictures.
#
# ## Does L0onie avoid the architecture search?
#
# The poster lists the search as a challenge of COIN, which implies that L0onie needs none. A sweep of 90 fits tests
# this: three bundled photographs, two budgets, five depths and three sizes of the start. A start of size 1 fits the
# budget without pruning, so these rows are COIN and its search over depths. At sizes 2 and 4 L0onie must close gates.
# {numref}`fig-loonie-starts` and the table below it show the results.

# %% tags=["hide-input"] mystnb={"figure": {"caption": "**The size of the start hardly matters (at most {glue:text}`loonie-size` dB), its depth does (up to {glue:text}`loonie-depth` dB).** PSNR over depth, means of three photographs, 5,000 steps, one seed; rates as counted. <small>Records: loonie_starts.</small>", "name": "fig-loonie-starts"}, "image": {"alt": "Two panels, budgets 0.15 and 0.3. The two L0onie curves nearly coincide, rise steeply from depth 3 to 7 and are flat from there. COIN's curve lies below, has a maximum at depth 7 to 10 and falls again."}}
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

# %% tags=["hide-input"]
plot.table(loonie.starts_table(records))

# %% tags=["remove-cell"]
by_start = {(row["bpp"], row["size"]): dict(zip(row["x"], row["y"], strict=True)) for row in shown.rows}
gap = max(abs(by_start[b, 2][d] - by_start[b, 4][d]) for b in (0.15, 0.3) for d in by_start[b, 2])
depth_gap = max(max(of.values()) - min(of.values()) for (_, times), of in by_start.items() if times > 1)
flat = max(max(of.values()) - min(of[d] for d in (7, 10, 13)) for (_, times), of in by_start.items() if times > 1)
say("loonie-size", gap, ".1f")
say("loonie-depth", depth_gap, ".1f")
say("loonie-flat", flat, ".1f")
say("loonie-search", loonie.start_against_search(records), "+.2f")
best = {b: max(by_start[b, 1].values()) for b in (0.15, 0.3)}
deep = [of[d] - best[b] for (b, times), of in by_start.items() if times > 1 for d in (7, 10, 13)]
glue("loonie-deep", f"{min(deep):.1f} to {max(deep):.1f}", display=False)
say("loonie-deep-bytes", (best[0.3] - best[0.15]) * math.log2(1 + loonie.position_share(records) / 100), ".1f")
every = {row["series"]: np.array(row["psnr"]) for row in loonie.psnr_of_pictures(records).rows}
glue("loonie-wins", str(int((every["dense"] > every["nonzeros"]).sum())), display=False)
say("loonie-spread", np.ptp(every["nonzeros"]), ".0f")
if at_defaults:
    assert gap < 0.35 and depth_gap > 1 and flat < 0.35 and min(deep) > 0
    assert all(max(by_start[b, 2].values()) - by_start[b, 2][3] > 1 for b in (0.15, 0.3))

# %% [markdown]
# Depth still matters. Gates remove weights and never a layer, so a start with three layers stays a network with three
# layers. A start that is too deep does less harm: from seven layers on, L0onie's curves stay within
# {glue:text}`loonie-flat` dB of their best, while COIN's deep networks, which are narrow, lose quality again. The size
# of the start needs no search.
#
# Is a search over depths then unnecessary? A start chosen blindly among these ten differs on average by
# {glue:text}`loonie-search` dB from the COIN that a search finds. A start of at least seven layers is
# {glue:text}`loonie-deep` dB above that COIN. But these rates are counted ones. By the slope of COIN's own results
# between the two budgets, the bytes of L0onie's positions are worth {glue:text}`loonie-deep-bytes` dB. So you can skip
# the search if you start deep, and you should not expect more quality at equal file sizes. We chose L0onie's settings
# on two of the three photographs, astronaut and coffee.
#
# The interactive report of this sweep is made by `python -m reproduce sweep sweeps/loonie_starts.yaml`. Choose what
# to draw:

# %% tags=["hide-input"]
varied = ("depth", "size", "bpp", "picture")
rows = loonie.start_rows(records)
sweep_report.Embedded(sweep_report.page("loonie_starts", "12_loonie_results", varied, rows, linked=False))

# %% [markdown]
# ## Is L0onie faster? The learning rate decides
#
# The poster says "faster". The released code trains L0onie at a learning rate of $10^{-3}$ and COIN at
# $2 \cdot 10^{-4}$. A fair comparison needs COIN at both rates. {numref}`fig-loonie-race` shows all three over the work
# of the training. We use Adam at a constant rate, as in the paper, with mini-batches and 5,000 steps. L0onie's gates
# and multiplier are faster than the paper's, because 5,000 steps must do for 50,000.

# %% tags=["hide-input"] mystnb={"figure": {"caption": "**COIN at 2e-4 ends best, {glue:text}`loonie-race-end` dB above L0onie.** PSNR over training work at 0.3 bpp, mean of six Kodak pictures, 5,000 steps each; dotted: some picture is still over its budget. <small>Records: loonie_race.</small>", "name": "fig-loonie-race"}, "image": {"alt": "Three rising curves. L0onie starts dotted and ends near 22.9 dB with twice the work of the others; COIN at 1e-3 flattens near 22.4 dB; COIN at 2e-4 starts lowest and ends highest near 23.5 dB."}}
shown = loonie.race_course(records)
figure, axes = plot.panels()
for row, colour in zip(shown.rows, ("#0072B2", "#000000", "#888888"), strict=True):
    over, psnr = np.array(row["over"]), np.array(row["y"])
    axes.plot(row["x"], np.where(over, np.nan, psnr), color=colour, lw=1.8, label=row["name"])
    axes.plot(row["x"], np.where(over, psnr, np.nan), ":", color=colour, lw=1.8)
axes.set(xlabel="work of training, 10¹² multiply-accumulates per picture", ylabel=plot.PSNR)
axes.legend(frameon=False)
plot.sign(figure, shown.records)
figure

# %% tags=["remove-cell"]
race = {row["name"]: row for row in shown.rows}
ends = {name: row["y"][-1] for name, row in race.items()}
say("loonie-race-end", ends["COIN at 2e-4"] - ends["L0onie at 1e-3"], ".1f")
say("loonie-race-over", ends["L0onie at 1e-3"] - ends["COIN at 1e-3"], ".1f")
for name, row in race.items():
    legal = [work for work, psnr, over in zip(row["x"], row["y"], row["over"], strict=True)
             if psnr >= ends["COIN at 1e-3"] and not over]  # fmt: skip
    short = {"L0onie at 1e-3": "gates", "COIN at 1e-3": "fast", "COIN at 2e-4": "slow"}[name]
    say(f"loonie-work-{short}", legal[0], ".1f")
say("loonie-twice", race["L0onie at 1e-3"]["x"][-1] / race["COIN at 2e-4"]["x"][-1], ".1f")
say("loonie-division", loonie.gain_of_division(records), ".1f")
assert loonie.gain_of_division(records) > 3 and loonie.gain_of_division(records, 100) > 5
if at_defaults:
    assert max(ends, key=ends.get) == "COIN at 2e-4"

# %% [markdown]
# COIN at $2 \cdot 10^{-4}$, the baseline of the released code, ends best of the three: {glue:text}`loonie-race-end` dB
# above L0onie, with less work, because a step of L0onie's larger network costs {glue:text}`loonie-twice` times as
# much. At the *same* rate of $10^{-3}$, L0onie ends {glue:text}`loonie-race-over` dB above COIN. COIN at
# $10^{-3}$ needs {glue:text}`loonie-work-fast` · 10¹² multiply-accumulates to reach its final quality. L0onie reaches
# this quality after {glue:text}`loonie-work-gates` · 10¹² and COIN at $2 \cdot 10^{-4}$ after
# {glue:text}`loonie-work-slow` · 10¹². So which method is
# "faster" depends on the learning rate of the baseline. With mini-batches, a lower constant rate also means less
# gradient noise at the end. The paper uses full batches, so this figure does not settle its claim.
#
# ## First values: divide the weights by the first gate
#
# In the released code the gates begin at $\log\alpha \approx 0$, so every median gate is $\frac12$. Ten layers of
# halved weights hardly transmit a signal. The code therefore divides the first weights by $\frac12$, which is one
# minus its "drop rate". How much does this help? We trained with the released settings on kodim15, every pixel in
# every step, with the division and without.

# %% tags=["hide-input"] mystnb={"figure": {"caption": "**The division gains {glue:text}`loonie-division` dB at step 400.** PSNR over the first 500 steps of the released settings on kodim15, start 10x40, one seed; both networks are still over the budget. <small>Records: first_values.</small>", "name": "fig-loonie-first-weights"}, "image": {"alt": "Two rising curves over 500 steps. The solid one, with the division, reaches 24 dB by step 110; the dashed one needs the whole range for that."}}
shown = loonie.loonie_first_steps(records)
figure, axes = plot.panels(size=(7.2, 3.6))
for row, look in zip(shown.rows, ("-", "--"), strict=True):
    axes.plot(row["x"], row["y"], look, color="#0072B2", lw=1.8, label=row["name"])
axes.set(xlabel="step", ylabel=plot.PSNR)
axes.legend(frameon=False)
plot.sign(figure, shown.records)
figure

# %% [markdown]
# No gate has closed in these steps, so {numref}`fig-loonie-first-weights` is about the start alone. In our records
# gates begin at $\log\alpha = 1$, nearly open, and need no division.
#
#
# ## Ablation: what does each part of L0onie contribute?
#
# The next table changes one thing in each row, at 0.3 bpp, on six Kodak pictures, with 5,000 steps. The first six rows
# are L0onie with our optimiser. In "positions counted" the positions are part of the budget. The last three rows are
# {term}`quantisation-aware COIN`, the subject of the next chapter, which the tables call "our file": as it is, without
# positional features, and then with gates in addition.

# %% tags=["hide-input"]
plot.table(loonie.parts_table(records))

# %% tags=["remove-cell"]
parts = {r.config["part"]: r.mean("psnr") for r in records.find("loonie_parts", data="kodak")}
plain = parts["our file, no frequencies"]
say("loonie-quantised", plain - parts["L0onie"], "+.1f")
say("loonie-gates-add", abs(parts["our file, no frequencies, gates"] - plain))
found = loonie.loonie(records, "file")
weights_of = siren.Architecture.parse(found.config["architecture"]).n_parameters + 40 * 12
say("loonie-bits", found.mean("bytes") * 8 / weights_of, ".1f")
assert plain - parts["L0onie"] > 1 and abs(parts["our file, no frequencies, gates"] - plain) < 0.5

# %% tags=["remove-cell"]
rows = {r.config["part"]: r.rows for r in records.find("loonie_parts")}
whole = {row["picture"]: row for row in rows["L0onie"]}
units = {row["picture"]: row for row in rows["gates of neurons"]}
lost = {name: whole[name]["psnr"] - row["psnr"] for name, row in units.items()}
most = [loss for name, loss in lost.items() if name != "kodim05"]
macs = [row["macs_per_pixel"] / whole[name]["macs_per_pixel"] for name, row in units.items() if name != "kodim05"]
glue("loonie-units", f"{min(most):.1f} to {max(most):.1f}".replace("-", "−"), display=False)
say("loonie-units-bad", lost["kodim05"], ".1f")
glue("loonie-units-macs", f"{min(macs):.0%} to {max(macs):.0%}".replace("%", " %"), display=False)
given = np.mean([row["estimated_bits"] / (0.3 * 512 * 768) for row in rows["no dual restarts"]])
say("loonie-given", 100 * given, ".0f")
say("loonie-sampled", parts["gates sampled"], ".1f")
say("loonie-no-restarts", parts["L0onie"] - parts["no dual restarts"], ".1f")
assert parts["gates sampled"] < parts["L0onie"] - 5 and given < 0.8
assert max(most) < 0.5 and max(macs) < 0.65

# %% [markdown]
# - **Sampled gates** do not train here and end at {glue:text}`loonie-sampled` dB. Independent noise on every weight,
#   through ten sine layers, destroys the signal. The training notices a constant picture and restarts, many times.
#   In this setting the medians are essential.
# - **Without dual restarts** gates close long after the budget is met. Only {glue:text}`loonie-given` % of the budget
#   is used, which costs {glue:text}`loonie-no-restarts` dB.
# - **One gate per neuron** loses {glue:text}`loonie-units` dB (negative: a gain) on five of the six pictures, needs
#   hardly any positions, and does {glue:text}`loonie-units-macs` of the multiplications. On kodim05 the budget was not
#   met in time. There the repair at the end, which removes the smallest weights, costs {glue:text}`loonie-units-bad`
#   dB.
# - **Fewer bits per weight** help far more than fewer weights: {glue:text}`loonie-quantised` dB over L0onie in smaller
#   files. At about {glue:text}`loonie-bits` bits per weight, additional gates change the mean by
#   {glue:text}`loonie-gates-add` dB; we tried one setting of them and did not tune it.
#
# The complete numbers of all methods, rates and decoders:

# %% tags=["hide-input"]
plot.table(loonie.methods_table(records))

# %% [markdown]
# The column {term}`MAC`/px shows the other cost of scattered zeros. They save no multiplication in a dense matrix
# product, so L0onie's decoder works about twice as hard as COIN's at the first three budgets.
#
# ## The experiment
#
# The cell runs four plans at each rate: quantisation-aware COIN, L0onie, magnitude pruning and dense COIN. At the
# preset of this page they are fits of one bundled photograph with 300 steps. With Kodak and a GPU the same cell runs
# the paper's networks with the paper's number of steps:
#
# ```console
# $ python -m reproduce run 12_loonie_results -p preset paper -p device cuda -p pictures kodak -p out ../results/runs
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

# %% tags=["experiment", "hide-input"] mystnb={"figure": {"caption": "**This run is a test of the code, not a result about the methods.** PSNR over the length of the files, one point for each method and rate of this page's run. <small>Computed on this page.</small>", "name": "fig-loonie-experiment"}, "image": {"alt": "A few points, one for each method, at nearly the same low rate."}}
figure, axes = plot.panels()
for label in loonie.METHODS:
    own = [record for record in made if record.config["label"] == label]
    points = Curve.of((r.mean("bpp"), r.mean("psnr")) for r in own)
    axes.plot(*points, label=loonie.NAMES[label], **plot.style(label, ms=8))
axes.set(xlabel=plot.BPP, ylabel=plot.PSNR)
axes.legend(frameon=False)
plot.sign(figure, made)
figure

# %% tags=["remove-cell"]
if at_defaults:
    assert sorted({record.config["label"] for record in made}) == sorted(loonie.METHODS)

# %% [markdown]
# The fits of {numref}`fig-loonie-experiment` are too short and their rates too different for a ranking.
#
# ## Try it: seven budgets
#
# The astronaut under seven budgets. "our file" is quantisation-aware COIN. "L0onie, as a file" stores 16-bit values
# and positions, so it is longer than the budget that the slider names. "JPEG, same bytes" means *at most* as many
# bytes; its files are up to {glue:text}`loonie-jpeg-short` % smaller than ours. In the mosaics blue is a nonzero
# weight.

# %%
widgets.loonie_budgets()

# %% [markdown]
# :::{admonition} What the paper says and what we find
# ```{list-table}
# :header-rows: 1
#
# * - the poster says
#   - we find
#   - why they differ
# * - "Better reconstructions"
#   - {glue:text}`loonie-bytes-0.07`, {glue:text}`loonie-bytes-0.15`, {glue:text}`loonie-bytes-0.3` and
#     {glue:text}`loonie-bytes-0.6` dB against COIN at equal file sizes, at 0.07, 0.15, 0.3 and 0.6 bpp
#   - 8,000 mini-batch steps in place of 50,000 full-batch ones; positions are counted; the poster prints no number
# * - "faster!"
#   - depends on COIN's learning rate, see {numref}`fig-loonie-race`
#   - the released code trains COIN at a fifth of L0onie's rate
# * - the search for an architecture is a challenge of COIN
#   - the size of L0onie's start needs no search; its depth changes the result by up to {glue:text}`loonie-depth` dB
#   - gates remove weights and never a layer
# ```
# :::
#
# The next table lists all statements about L0onie that we weighed. "Laptop only" means that the claim needs a larger
# preset than we ran.

# %% tags=["hide-input"]
tables.verdict_table("L0onie")

# %% [markdown]
# ## In short
#
# - At equal steps L0onie is better than magnitude pruning at all four budgets.
# - At equal file sizes and 8,000 steps, L0onie is better than COIN at one of four rates, where its start has twice the
#   layers.
# - The size of the start needs no search, but it must be deep enough.
# - "Faster" depends on the baseline: COIN at the learning rate of the released code ends
#   {glue:text}`loonie-race-end` dB above L0onie, with less work.
# - In this setting median gates are essential, and dual restarts gain {glue:text}`loonie-no-restarts` dB. Fewer bits
#   per weight gain more than fewer weights.
#
# ## Exercises
#
# 1. At 0.6 bpp COIN's networks have {glue:text}`loonie-exercise-bits` % more counted bits than L0onie's, and they are
#    {glue:text}`loonie-exercise-over` dB better. COIN gains {glue:text}`loonie-exercise-octave` dB when its rate
#    doubles from 0.3 to 0.6 bpp. How much of the difference do the bits explain? Compare with the table.
# 2. Gates never remove a layer. What happens to the picture if all gates of one sine layer close? Which change to the
#    network would let gates remove layers?
# 3. *Code.* Compute the mean difference between COIN and L0onie over the 24 pictures of {numref}`fig-loonie-histogram`,
#    and its standard error: the standard deviation of the differences, divided by the square root of their number. Do
#    the same without pairing the pictures. What does pairing change?
# 4. *Code.* {numref}`fig-loonie-race` gives every method 5,000 steps. Give every method as much *work* as COIN has in
#    total. Where does L0onie stand then?
#
# :::{admonition} Solutions
# :class: dropdown
# 1. The bits are worth the gain per doubling times the logarithm (base 2) of their ratio, which is
#    {glue:text}`loonie-exercise-worth` dB. So COIN stays {glue:text}`loonie-exercise-left` dB ahead. The table has
#    {glue:text}`loonie-exercise-equal` dB, because it interpolates picture by picture.
# 2. The layer then outputs the sines of its biases, the same numbers for every pixel. So the picture has one colour,
#    and the loss keeps some gates of every layer open. With a connection around each layer, as in residual networks, a
#    closed layer would pass its input on, and one gate per layer could remove it.
# 3. COIN is {glue:text}`loonie-paired` dB better with the pairs. Without them the mean is the same, but its standard
#    error is {glue:text}`loonie-unpaired` dB, because it contains the spread between pictures. This error says nothing
#    about other seeds.
#    ```python
#    def paired(ours, theirs):
#        difference = np.subtract(ours, theirs)
#        return difference.mean(), difference.std(ddof=1) / math.sqrt(len(difference))
#
#    def unpaired(ours, theirs):
#        parts = [np.var(psnr, ddof=1) / len(psnr) for psnr in (ours, theirs)]
#        return np.mean(ours) - np.mean(theirs), math.sqrt(sum(parts))
#    ```
# 4. It has {glue:text}`loonie-equal-work` dB, against {glue:text}`loonie-equal-slow` dB of COIN at
#    $2 \cdot 10^{-4}$ and {glue:text}`loonie-equal-fast` dB of COIN at $10^{-3}$.
#    ```python
#    def at_work(rows, work):
#        return {row["name"]: float(np.interp(work, row["x"], row["y"])) for row in rows}
#    ```
# :::


# %% tags=["remove-cell"]
def paired(ours, theirs):
    difference = np.subtract(ours, theirs)
    return difference.mean(), difference.std(ddof=1) / math.sqrt(len(difference))


def unpaired(ours, theirs):
    parts = [np.var(psnr, ddof=1) / len(psnr) for psnr in (ours, theirs)]
    return np.mean(ours) - np.mean(theirs), math.sqrt(sum(parts))


def at_work(rows, work):
    return {row["name"]: float(np.interp(work, row["x"], row["y"])) for row in rows}


pairs, apart = (of(every["dense"], every["nonzeros"]) for of in (paired, unpaired))
glue("loonie-paired", f"{pairs[0]:.2f} ± {pairs[1]:.2f}", display=False)
say("loonie-unpaired", apart[1])
work = min(row["x"][-1] for row in race.values())
equal = at_work(race.values(), work)
for short, name in (("work", "L0onie at 1e-3"), ("slow", "COIN at 2e-4"), ("fast", "COIN at 1e-3")):
    say(f"loonie-equal-{short}", equal[name], ".1f")
assert abs(pairs[0] - apart[0]) < 1e-9 and abs(pairs[0] + loonie.gain(records, "dense")) < 1e-9
assert pairs[1] < 0.2 * apart[1] and max(equal, key=equal.get) == "COIN at 2e-4"

# %% tags=["remove-cell"]
eight = loonie.third(records)
coin = {tau: loonie.loonie(records, "dense", tau).only(eight) for tau in (0.3, 0.6)}
gated = loonie.counted(loonie.loonie(records, "nonzeros", 0.6).only(eight))
counts = {tau: loonie.counted(record) for tau, record in coin.items()}
octave = (coin[0.6].mean("psnr") - coin[0.3].mean("psnr")) / math.log2(counts[0.6] / counts[0.3])
say("loonie-exercise-bits", 100 * (counts[0.6] / gated - 1), ".0f")
say("loonie-exercise-over", -loonie.gain(records, "dense", bpp=0.6))
say("loonie-exercise-octave", octave)
say("loonie-exercise-worth", octave * math.log2(counts[0.6] / gated))
say("loonie-exercise-equal", loonie.gain_at_rate(records, bpp=0.6), "+.2f")
left = -loonie.gain(records, "dense", bpp=0.6) - octave * math.log2(counts[0.6] / gated)
say("loonie-exercise-left", left)
assert abs(left + loonie.gain_at_rate(records, bpp=0.6)) < 0.03
short = []
for one in widgets.LOONIE_BUDGETS[2:]:  # JPEG has no file below
    ours = len(widgets.kept_file(f"astronaut-loonie-file-{one:g}.spc"))
    short.append(1 - codecs.evaluate(codecs.get_codec("jpeg"), picture, 8 * ours / 512**2).bytes / ours)
say("loonie-jpeg-short", 100 * max(short), ".0f")

# %% [markdown]
# ## Further reading
#
# Magnitude pruning against hard-concrete gates on large classifiers and translators: {cite:t}`gale`. How papers on
# pruning compare their methods, and what makes such comparisons unfair: {cite:t}`blalock`. The next chapter,
# [positions and bits per weight](13_positions_and_bits), turns the networks into files.
