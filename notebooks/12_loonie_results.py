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
depth = 0  # of the experiment: layers of the start network, 0 to 20; 0 runs the paper's networks and all methods
size = 2.0  # of the experiment, if depth is not 0: bits of the start network over the budget, 1 to 10; 1 is COIN
bpp = 0.1  # of the experiment, if depth is not 0: the budget in bits per pixel, 0.05 to 1

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
# {term}`pruning` trains for twice as many steps as L0onie. Here each of the three methods has 8,000 steps. Magnitude
# pruning uses the first 4,000 of them for the dense network and the other 4,000 for {term}`fine-tuning`. All three have
# the same optimiser and learning rate. This chapter compares networks in four experiments with different settings:

# %% tags=["hide-input"]
settings = []
for name, study in (
    ("results: quality at the paper's four rates", "loonie"),
    ("starts: depth and size of L0onie's start", "loonie_starts"),
    ("race: quality over the work of the training", "loonie_race"),
    ("ablation: what each part contributes", "loonie_parts"),
):
    runs = [r for r in records.find(study) if r.config.get("label") != "file"]
    fits, seen = [r.config["fit"] for r in runs], {row["picture"] for r in runs for row in r.rows}
    falls = {"quadratic": "falls to 0 as (1 − t)²", "constant": "constant"}[fits[0]["schedule"]]
    settings.append({
        "experiment": name,
        "pictures": f"{len(seen)} of {'Kodak' if study != 'loonie_starts' else 'the bundled ones'}",
        "steps": f"{fits[0]['steps']:,}",
        "pixels per step": f"{fits[0]['batch_pixels']:,}",
        "optimiser": {"soap": "SOAP", "adam": "Adam"}[fits[0]["optimiser"]],
        "learning rate": " or ".join(sorted({f"{fit['lr']:g}" for fit in fits}, reverse=True)),
        "schedule": falls,
    })  # fmt: skip
    assert len({(f["steps"], f["batch_pixels"], f["optimiser"], f["schedule"]) for f in fits}) == 1
plot.Table(settings)

# %% [markdown]
# *All methods of one experiment have the settings of its row. In the race the learning rate is what we vary, and in the
# results 24 pictures have been measured at 0.3 bpp and eight of them at the other rates. Here $t$ is the share of the
# steps that are done. [COIN](10_coin) explains SOAP. Quantisation-aware COIN, the subject of the next chapter, has
# 16,000 steps in the results.*
#
# The settings matter: never compare a PSNR of one experiment with a PSNR of another one. {numref}`fig-loonie-rd` shows
# the {term}`rate-distortion curves <rate-distortion curve>`, with rates as the paper counts them.

# %% tags=["hide-input"] mystnb={"figure": {"caption": "**L0onie beats magnitude pruning at all four budgets; it beats COIN clearly only at 0.15 bpp.** Top: PSNR over the counted rate, 16 bits per nonzero weight (JPEG: files), mean of eight Kodak pictures, one seed. Bottom: the same networks less COIN's curve at the same rate, where COIN has a curve. <small>Records: loonie, baselines.</small>", "name": "fig-loonie-rd"}, "image": {"alt": "Top: rate-distortion curves. The curves of L0onie, COIN and magnitude pruning lie close together; COIN is highest at 0.6. JPEG starts far below and crosses all of them by 0.3 bits per pixel. Bottom: differences from COIN. L0onie is half a decibel above COIN near 0.15, equal near 0.3 and below at 0.6; magnitude pruning is above COIN near 0.15 only, and lower than L0onie everywhere."}}
shown = loonie.rate_distortion(records)
figure, (axes, below) = plot.panels(2, 1, size=(7.2, 6.4), sharex=True, height_ratios=(2, 1))
plot.lines(axes, shown, mfc="none", ms=7, lw=1.2)
dense_curve = next(row for row in shown.rows if row["series"] == "dense")
for row in shown.rows:
    if row["series"] in ("nonzeros", "magnitude"):
        coin_there = np.interp(
            np.log(row["x"]), np.log(dense_curve["x"]), dense_curve["y"], left=np.nan, right=np.nan
        )
        below.plot(row["x"], row["y"] - coin_there, **plot.style(row["series"], mfc="none", ms=7, lw=1.2))
below.axhline(0, color="#000000", lw=1.2)
below.set(xlabel="16 bits per nonzero weight, per pixel (an estimate)", ylabel="dB over COIN")
axes.set_ylabel(plot.PSNR)
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
# $Q_i(R)$ is the interpolated PSNR of COIN on the same picture at the rate $R$. (In the last chapter $P$ is a
# probability.) The rates can be counted bits or
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

# %% tags=["hide-input"] mystnb={"figure": {"caption": "**The spread between pictures, {glue:text}`loonie-spread` dB, is far larger than the differences between methods.** PSNR of the 24 Kodak pictures at a budget of 0.3 bpp: ticks are pictures, bars and the numbers on them count the pictures in each decibel, long lines are the means. <small>Records: loonie.</small>", "name": "fig-loonie-histogram"}, "image": {"alt": "Three histograms above each other, for L0onie, magnitude pruning and COIN, with nearly the same shape from 20 to 32 dB and means within half a decibel."}}
shown = loonie.psnr_of_pictures(records)
figure, axes = plot.panels()
for height, row in enumerate(shown.rows):
    colour, mean = plot.style(row["series"])["color"], np.mean(row["psnr"])
    counts, edges = np.histogram(row["psnr"], bins=np.arange(19, 34, 1.0))
    axes.bar(edges[:-1] + 0.5, counts / 12, bottom=height, width=0.9, color=colour, alpha=0.35)
    for left, count in zip(edges, counts, strict=False):
        if count:
            place = (left + 0.25, height + count / 12)
            axes.annotate(count, place, ha="center", va="bottom", fontsize=9, color="#555555")
    assert counts.sum() == len(row["psnr"])
    axes.plot(row["psnr"], np.full(len(row["psnr"]), height - 0.06), "|", color=colour, ms=9)
    axes.plot([mean, mean], [height - 0.12, height + 0.7], color=colour, lw=2)
    axes.annotate(f"mean {mean:.2f}", (mean, height + 0.72), ha="center", fontsize=9)
names = [row["name"] for row in shown.rows]
axes.set(xlabel=plot.PSNR, xlim=(19.5, 32.5), yticks=range(len(names)), yticklabels=names)
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
# this: three bundled photographs, two budgets, five depths and three sizes of the start. The size is the number of bits
# of the start network, divided by the budget. A start of size 1 fits the budget without pruning, so these rows are COIN
# and its search over depths. At sizes 2 and 4 L0onie must close gates. {numref}`fig-loonie-starts` and the table below
# it show the results.

# %% tags=["hide-input"] mystnb={"figure": {"caption": "**The size of the start hardly matters (at most {glue:text}`loonie-size` dB), its depth does (up to {glue:text}`loonie-depth` dB).** PSNR over depth, means of three photographs, 5,000 steps, one seed; rates as counted. <small>Records: loonie_starts.</small>", "name": "fig-loonie-starts"}, "image": {"alt": "Two panels, budgets 0.15 and 0.3. The two L0onie curves nearly coincide, rise steeply from depth 3 to 7 and are flat from there. COIN's curve lies below, has a maximum at depth 7 to 10 and falls again."}}
shown = loonie.start_curves(records)
figure, both = plot.panels(1, 2, size=(7.2, 3.6), sharey=True)
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
say("loonie-start-best", max(max(by_start[0.3, times].values()) for times in (2, 4)) - best[0.3])
say("loonie-over-03", loonie.gain(records, "dense"), "+.2f")
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
# Is a search over depths then unnecessary? At each budget L0onie has ten starts: five depths in two sizes. On average
# over all ten, its PSNR differs by {glue:text}`loonie-search` dB from the COIN that the search over depths finds. The
# six starts with at least seven layers are {glue:text}`loonie-deep` dB above that COIN, at equal counted bits. But the
# files of L0onie also store positions. COIN's results at the two budgets say what so many bytes are worth: about
# {glue:text}`loonie-deep-bytes` dB. This cancels most of the gain. So a deep start saves the search, but it gives no
# better files.
#
# The best L0onie at 0.3 bpp is {glue:text}`loonie-start-best` dB above the best COIN here, while the table of the first
# section has {glue:text}`loonie-over-03` dB for the same rate. The two experiments differ. Here we choose the best of
# several starts by its result, for each method. The pictures are three photographs and not Kodak; we chose L0onie's
# settings on two of them, astronaut and coffee. COIN fits within the budget here, while the COIN of the first section
# is a little above it. The steps differ, too. No setting was chosen on Kodak, so the first section is the test.
#
# The interactive report of this sweep is made by `python -m reproduce sweep sweeps/loonie_starts.yaml`. Choose what
# to draw. At first it shows both budgets together; choose one budget, since a mean over both has no meaning. The size 1
# is COIN, and 2 and 4 are L0onie. The colours are not those of {numref}`fig-loonie-starts`.

# %% tags=["hide-input"]
varied = ("depth", "size", "bpp", "picture")
rows = loonie.start_rows(records)
sweep_report.Embedded(sweep_report.page("loonie_starts", "12_loonie_results", varied, rows, linked=False))

# %% [markdown]
# ## Is L0onie faster? The learning rate decides
#
# The poster says "faster". The released code trains L0onie at a learning rate of $10^{-3}$ and COIN at
# $2 \cdot 10^{-4}$. A fair comparison needs COIN at both rates. {numref}`fig-loonie-race` shows all three over the work
# of the training. We use Adam at a constant rate, as in the paper, with mini-batches and 5,000 steps. The paper has
# 50,000 steps. So that L0onie meets its budget in a tenth of them, we gave its gates and its multiplier larger learning
# rates than the paper does.

# %% tags=["hide-input"] mystnb={"figure": {"caption": "**COIN at 2e-4 ends best, {glue:text}`loonie-race-end` dB above L0onie.** PSNR over training work at 0.3 bpp, mean of six Kodak pictures, 5,000 steps each; dotted: some picture is still over its budget. <small>Records: loonie_race.</small>", "name": "fig-loonie-race"}, "image": {"alt": "Three rising curves. L0onie starts dotted and ends near 22.9 dB with twice the work of the others; COIN at 1e-3 flattens near 22.4 dB; COIN at 2e-4 starts lowest and ends highest near 23.5 dB."}}
shown = loonie.race_course(records)
figure, axes = plot.panels()
for row, colour in zip(shown.rows, ("#0072B2", "#000000", "#888888"), strict=True):
    over, psnr = np.array(row["over"]), np.array(row["y"])
    axes.plot(row["x"], np.where(over, np.nan, psnr), color=colour, lw=1.8, label=row["name"])
    axes.plot(row["x"], np.where(over, psnr, np.nan), ":", color=colour, lw=1.8)
axes.plot([], [], ":", color="#0072B2", lw=1.8, label="L0onie, while some picture is over its budget")
axes.set(xlabel="work of training, 10¹² multiply-accumulates per picture", ylabel=plot.PSNR)
axes.legend(frameon=False)
plot.sign(figure, shown.records)
figure

# %% tags=["remove-cell"]
race, works = {row["name"]: row for row in shown.rows}, {}
ends = {name: row["y"][-1] for name, row in race.items()}
say("loonie-race-end", ends["COIN at 2e-4"] - ends["L0onie at 1e-3"], ".1f")
say("loonie-race-over", ends["L0onie at 1e-3"] - ends["COIN at 1e-3"], ".1f")
for name, row in race.items():
    legal = [work for work, psnr, over in zip(row["x"], row["y"], row["over"], strict=True)
             if psnr >= ends["COIN at 1e-3"] and not over]  # fmt: skip
    short = {"L0onie at 1e-3": "gates", "COIN at 1e-3": "fast", "COIN at 2e-4": "slow"}[name]
    say(f"loonie-work-{short}", legal[0], ".1f")
    works[short] = legal[0]
say("loonie-twice", race["L0onie at 1e-3"]["x"][-1] / race["COIN at 2e-4"]["x"][-1], ".1f")
say("loonie-work-ratio", works["fast"] / works["gates"], ".1f")
say("loonie-time-ratio", loonie.race(records), ".1f")
assert works["fast"] / works["gates"] > loonie.race(records) > 1
say("loonie-race-psnr", ends["L0onie at 1e-3"], ".1f")
whole_parts = {r.config["part"]: r for r in records.find("loonie_parts", data="kodak")}["L0onie"]
say("loonie-parts-psnr", whole_parts.mean("psnr"), ".1f")
(raced,) = [r for r in shown.records if r.config["runner"] == "L0onie at 1e-3"]
assert {row["picture"] for row in raced.rows} == {row["picture"] for row in whole_parts.rows}
assert raced.config["architecture"] == whole_parts.config["architecture"]
say("loonie-division", loonie.gain_of_division(records), ".1f")
assert loonie.gain_of_division(records) > 3 and loonie.gain_of_division(records, 100) > 5
if at_defaults:
    assert max(ends, key=ends.get) == "COIN at 2e-4"

# %% [markdown]
# COIN at $2 \cdot 10^{-4}$, the baseline of the released code, ends best of the three: {glue:text}`loonie-race-end` dB
# above L0onie, with less work, because a step of L0onie's larger network costs {glue:text}`loonie-twice` times as much.
# At the *same* rate of $10^{-3}$, L0onie ends {glue:text}`loonie-race-over` dB above COIN. COIN at $10^{-3}$ needs
# {glue:text}`loonie-work-fast` · 10¹² multiply-accumulates to reach its final quality. L0onie reaches this quality
# after {glue:text}`loonie-work-gates` · 10¹² and COIN at $2 \cdot 10^{-4}$ after {glue:text}`loonie-work-slow` · 10¹².
# This is work, and L0onie's advantage over COIN at $10^{-3}$ is a factor of {glue:text}`loonie-work-ratio`. In seconds
# it is {glue:text}`loonie-time-ratio`, the number of the claims table below. Seconds also contain the work for gates
# and multiplier, and this number is a median over the pictures. So which method is "faster" depends on the learning
# rate of the baseline. With mini-batches, a lower constant rate also means less gradient noise at the end. The paper
# uses full batches, so this figure does not settle its claim.
#
# All PSNRs are low here: L0onie ends at {glue:text}`loonie-race-psnr` dB. In the ablation below the same network has
# {glue:text}`loonie-parts-psnr` dB, on the same six pictures, in as many steps. The difference is the training: the
# ablation has SOAP, a learning rate that falls to 0, and the mean colour as first value of the last bias; the race has
# Adam at a constant rate and PyTorch's first values.
#
# ## Initial weights: divide by the initial gates
#
# In the released code the gates begin at $\log\alpha \approx 0$, so every median gate is $\frac12$. Ten layers of
# halved weights hardly transmit a signal. The code therefore divides the initial weights by $\frac12$, the initial
# value of the gates. (It computes the $\frac12$ as one minus its setting "drop rate".) How much does this help? We
# trained with the released settings on kodim15, every pixel in every step, with the division and without.

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
# The next table changes one thing in each row, at 0.3 bpp, on six Kodak pictures, with 5,000 steps of SOAP. The first
# six rows are L0onie. "Positions counted" makes the positions part of the budget. "Coordinates of COIN" divides both
# coordinates of a pixel by the height, as the released COIN does, so that the longer axis exceeds 1. The last three
# rows are {term}`quantisation-aware COIN`, the subject of the next chapter, which the tables call "our file": as it is,
# without positional features, and then with gates in addition.
#
# The *difference* is the mean over the pictures, and *per picture* is its range. Rows two to six are compared with
# L0onie, the two last rows each with the row above it. *Restarts* counts how often the training noticed a constant
# picture and began again, in all six fits.

# %% tags=["hide-input"]
columns = {
    "fit": "fit", "bpp of the file": "file, bpp", "16 bits a nonzero value, per pixel (estimate)": "counted, bpp",
    "PSNR in dB": "PSNR, dB", "difference": "difference", "least to most": "per picture",
    "collapses noticed": "restarts", "MAC/px": "MAC/px",
}  # fmt: skip
plot.Table([{new: row[old] for old, new in columns.items()} for row in loonie.parts_table(records).rows])

# %% tags=["remove-cell"]
parts = {r.config["part"]: r.mean("psnr") for r in records.find("loonie_parts", data="kodak")}
plain = parts["our file, no frequencies"]
say("loonie-quantised", plain - parts["L0onie"], "+.1f")
say("loonie-gates-add", abs(parts["our file, no frequencies, gates"] - plain))
(found,) = (r for r in records.find("loonie_parts", data="kodak") if r.config["part"] == "our file, no frequencies")
weights_of = siren.Architecture.parse(found.config["architecture"]).n_parameters
say("loonie-bits", found.mean("bytes") * 8 / weights_of, ".1f")
assert plain - parts["L0onie"] > 1 and abs(parts["our file, no frequencies, gates"] - plain) < 0.5

# %% tags=["remove-cell"]
rows = {r.config["part"]: r.rows for r in records.find("loonie_parts")}
whole = {row["picture"]: row for row in rows["L0onie"]}
units = {row["picture"]: row for row in rows["gates of neurons"]}
lost = {name: whole[name]["psnr"] - row["psnr"] for name, row in units.items()}
most = [loss for name, loss in lost.items() if name != "kodim05"]
macs = [row["macs_per_pixel"] / whole[name]["macs_per_pixel"] for name, row in units.items() if name != "kodim05"]
glue("loonie-units", f"{-max(most):+.1f} to {-min(most):+.1f}".replace("-", "−"), display=False)
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
# - **One gate per neuron** changes the PSNR by {glue:text}`loonie-units` dB on five of the six pictures and needs
#   hardly any positions. A closed neuron makes the dense matrices smaller: on these five pictures the decoder needs
#   {glue:text}`loonie-units-macs` of the multiplications of L0onie with one gate per weight. On kodim05 the budget was
#   not met in time. There the repair at the end, which removes the smallest weights, costs
#   {glue:text}`loonie-units-bad` dB.
# - **Fewer bits per weight** help far more than fewer weights: {glue:text}`loonie-quantised` dB over L0onie in smaller
#   files. At about {glue:text}`loonie-bits` bits per weight, additional gates change the mean by
#   {glue:text}`loonie-gates-add` dB; we tried one setting of them and did not tune it.
#
# The complete numbers of all methods, rates and decoders follow. **Compare rates with the column of the eight pictures
# only.** The records at 0.3 bpp have all 24 pictures, of which the eight are every third, and the eight are harder. The
# rates and the {term}`MACs <MAC>` per pixel (MAC/px) are means over all pictures of a record.

# %% tags=["hide-input"]
columns = {
    "method": "method", "start": "network", "16 bits a nonzero value, per pixel (estimate)": "counted, bpp",
    "bpp of the file": "file, bpp", "PSNR in dB, the same 8 pictures": "PSNR of 8, dB", "PSNR in dB": "PSNR of 24, dB",
    "MAC/px": "MAC/px", "steps": "steps",
}  # fmt: skip
complete = [{new: row[old] for old, new in columns.items()} | {"n": row["pictures"]}
            for row in loonie.methods_table(records).rows]  # fmt: skip
for row in complete:
    row["PSNR of 24, dB"] = row["PSNR of 24, dB"] if row.pop("n") == 24 else "–"
plot.Table(complete)

# %% [markdown]
# The column MAC/px shows the other cost of scattered zeros. They save no multiplication in a dense matrix
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
    line = "-" if len(own) > 1 else "none"
    axes.plot(*points, label=loonie.NAMES[label], **plot.style(label, ms=8, ls=line))
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
# The next table lists the other statements about L0onie that we weighed. Nine statements that differ only in the rate
# and in how it is counted, whether L0onie is better than COIN, are left out: a table of the first section has their
# numbers, and [the claims](../book/claims) have all rows. "Laptop only" means that the claim needs a larger preset than
# we ran.

# %% tags=["hide-input"]
weighed = tables.verdict_table("L0onie")
over_coin = weighed["claim"].str.contains("better than COIN at a budget|^the same at")
weighed[~over_coin]

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
#    the same without pairing the pictures. What does pairing change? The numbers of each method are
#    `{row["series"]: row["psnr"] for row in loonie.psnr_of_pictures(records).rows}`; COIN is `"dense"` and L0onie
#    `"nonzeros"`.
# 4. *Code.* {numref}`fig-loonie-race` gives every method 5,000 steps. Give every method as much *work* as COIN has in
#    total. Where does L0onie stand then? The curves are `loonie.race_course(records).rows`.
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


assert over_coin.sum() == 9
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
