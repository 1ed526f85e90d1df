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
# # A compression primer
#
# This chapter introduces the ideas that all {term}`codecs <codec>` in this book share: {term}`entropy`, entropy coding,
# transforms, {term}`quantisation`, and the trade between rate and {term}`distortion`. It assumes Python and some
# probability, and nothing about compression.
#
# **You will learn**
#
# - how many bits a sequence of symbols needs, and how a {term}`range coder` comes close to that number;
# - why JPEG transforms a picture before it rounds, and what rounding costs;
# - how a network is trained through rounding, which has no useful gradient;
# - what $D + \lambda R$ means, and how it relates to "at most 0.3 {term}`bits per pixel`".
#
# **You need** this package, no GPU and no data set: the picture is bundled. **Run it:** about ten seconds.

# %% tags=["parameters"]
seed = 0
step = 0.1  # quantisation step of the examples, for pixels in [0, 1]; between 0.02 and 0.3
lam = 0.002  # price of a bit; between 0.0005 and 0.02

# %% tags=["hide-input"]
import math
from collections import Counter

import numpy as np
import torch
from scipy.fft import dctn, idctn

from reproduce import plot
from sparsecomp import codecs, data
from sparsecomp.checks import in_range

in_range("step", step, 0.02, 0.3)
in_range("lam", lam, 0.0005, 0.02)
at_defaults = (seed, step, lam) == (0, 0.1, 0.002)
rng = np.random.default_rng(seed)
picture = data.bundled()["astronaut"]
grey = picture.mean(2) / 255  # one channel, in [0, 1], is enough here

# %% [markdown]
# ## Bits and entropy
#
# A *code* assigns a string of bits to every message. If a symbol $s$ occurs with probability $p(s)$, no lossless code
# needs fewer bits per symbol, on average, than the **entropy**
#
# $$ H = -\sum_s p(s) \log_2 p(s). $$ (eq-entropy)
#
# A symbol of probability $p$ is worth $-\log_2 p$ bits: a rare symbol is expensive, a certain one is free. A fair coin
# has 1 bit per throw, a coin that shows heads 99 times in 100 has 0.08. The logarithm's base sets the unit. With the
# natural logarithm the unit is the **nat**, and 1 nat is 1.44 bits. (One of our papers prints nats and calls them
# bits.)


# %%
def entropy(symbols):
    """Bits per symbol, if symbols are independent and their frequencies are known."""
    counts = np.array(list(Counter(symbols.ravel().tolist()).values()))
    p = counts / counts.sum()
    return float(-(p * np.log2(p)).sum())


rounded = np.rint(grey / step).astype(int)
neighbours = np.diff(rounded, axis=1)
print(f"pixels rounded to steps of {step}: {entropy(rounded):.2f} bits per pixel")
print(f"differences between neighbours:   {entropy(neighbours):.2f} bits per pixel")

# %% tags=["remove-cell"]
if at_defaults:
    assert 2.5 < entropy(rounded) < 3.5 and entropy(neighbours) < 0.6 * entropy(rounded)

# %% [markdown]
# Both arrays describe the same rounded picture (the second one together with the first column). The differences need
# about a third of the bits. Equation {eq}`eq-entropy` counts symbols as if they were independent. Neighbouring pixels
# are not, and whoever describes them one by one pays for the same information twice. Most of compression is the search
# for a description whose symbols are close to independent.
#
# ## A range coder in ten lines
#
# An **entropy coder** turns symbols into bits, and comes close to {eq}`eq-entropy`. The **range coder**, or arithmetic
# coder, is the one that this book uses. It divides the interval $[0, 1)$ among the symbols, each with a share equal to
# its probability. The first symbol selects a part, the second a part of that part, and so on. After all symbols an
# interval of width $\prod_i p(s_i)$ is left, and any number inside it names the whole message. To write such a number
# takes $-\log_2 \prod_i p(s_i) = \sum_i -\log_2 p(s_i)$ bits, and at most two more.


# %%
def encode(symbols, counts):
    """The message as one whole number and its length in bits; counts[s] is how often s occurs."""
    total, below = sum(counts), np.concatenate([[0], np.cumsum(counts)]).tolist()
    low, width, scale = 0, 1, 1  # the interval [low, low + width) / scale, exact in Python's integers
    for s in symbols:
        low, width, scale = low * total + width * below[s], width * counts[s], scale * total
    bits = max(0, (scale // width).bit_length()) + 1
    return -(-(low << bits) // scale), bits  # the first number of so many bits that is inside


# %%
def decode(number, bits, length, counts):
    """The symbols that `encode` was given."""
    total, below = sum(counts), np.concatenate([[0], np.cumsum(counts)]).tolist()
    low, width, scale, symbols = 0, 1, 1, []
    for _ in range(length):
        low, scale = low * total, scale * total
        place = ((number * scale >> bits) - low) // width  # which of the `total` equal parts the number lies in
        s = int(np.searchsorted(below, place, side="right")) - 1
        symbols.append(s)
        low, width = low + width * below[s], width * counts[s]
    return symbols


# %%
counts = [90, 6, 3, 1]
message = rng.choice(4, size=1000, p=np.array(counts) / 100).tolist()
number, bits = encode(message, counts)
assert decode(number, bits, len(message), counts) == message
ideal = sum(-math.log2(counts[s] / 100) for s in message)
print(f"{bits} bits for 1000 symbols; the interval asks for {ideal:.1f}")

# %% tags=["remove-cell"]
assert ideal <= bits <= ideal + 2

# %% [markdown]
# Two bits per symbol would be enough to number four symbols: 2,000 bits. The range coder needs about 600. A
# {term}`Huffman code` gives every symbol a whole number of bits, at least one, and so cannot go below 1,000 here.
#
# A real range coder does the same with 32-bit integers and writes bits as soon as they are certain. It costs a few
# bytes per file. In this book the library [constriction](https://bamler-lab.github.io/constriction/) does that.
#
# How does the decoder know the counts? There are two ways. The encoder can write them into the file, where they cost
# bytes. JPEG files contain such a table. Or both sides know them before the first file is sent, for example from a
# training set. In both cases encoder and decoder must use *exactly* the same counts. One count that differs in its last
# bit makes the rest of the file unreadable. This is why our tables of counts are integers and never floats.
#
# ## Transform, quantise, entropy-code: JPEG
#
# JPEG divides a picture into blocks of 8 × 8 pixels and applies the **discrete cosine transform** (DCT) to each. The
# DCT is a rotation: it changes neither lengths nor distances, so an error in the coefficients is as large as the error
# it causes in the pixels. What it changes is where the energy is.


# %%
def blocks(x, side=8):
    """(rows, columns) to (blocks, side, side)."""
    rows, columns = (n // side for n in x.shape)
    return x.reshape(rows, side, columns, side).swapaxes(1, 2).reshape(-1, side, side)


def coefficients(x):
    return dctn(blocks(x), axes=(1, 2), norm="ortho")


z = coefficients(grey - 0.5)
energy = (z**2).mean(0)
share = np.sort(energy.ravel())[::-1].cumsum() / energy.sum()
print(f"of 64 coefficients 1 has {share[0]:.0%} of the energy, 6 have {share[5]:.0%}, 16 have {share[15]:.1%}")

# %% tags=["remove-cell"]
if at_defaults:
    assert np.isclose((z**2).sum(), ((grey - 0.5) ** 2).sum()) and share[5] > 0.9

# %% [markdown]
# A **quantiser** makes real numbers finite. The simplest one rounds to multiples of the **quantisation step**
# $\Delta$: the symbol is $q = \mathrm{round}(z / \Delta)$, and the decoder uses $q \Delta$. The error is at most
# $\Delta / 2$, and where the density of $z$ is flat across a step its mean square is
#
# $$ \mathbb{E}\,(z - q \Delta)^2 \approx \frac{\Delta^2}{12}. $$ (eq-delta)
#
# We measure quality by the {term}`PSNR`, $10 \log_{10}(1 / \mathrm{MSE})$ for pixels in $[0, 1]$, where {term}`MSE` is
# the mean squared error. Its unit is the decibel (dB), and higher is better. One more bit per symbol halves the step,
# so it gains $10 \log_{10} 4 = 6.02$ dB. Where the coefficients are smaller than half a step they all become zero, cost
# almost nothing, and lose what they had. The next cell does this to the pixels and to the DCT coefficients, and
# compares what comes out with JPEG files.


# %%
def rate_distortion(symbols, reconstruction):
    """Entropy of each column of symbols by itself, in bits per pixel; PSNR in dB."""
    bits = sum(entropy(column) for column in symbols.T) / symbols.shape[1]
    return bits, -10 * math.log10(((reconstruction - grey) ** 2).mean())


def transform_codec(delta):
    q = np.rint(z / delta)
    shown = idctn(q * delta, axes=(1, 2), norm="ortho") + 0.5
    back = shown.reshape(64, 64, 8, 8).swapaxes(1, 2).reshape(512, 512)
    return rate_distortion(q.reshape(-1, 64), back)


steps = np.geomspace(0.02, 0.8, 14)
dct = np.array([transform_codec(delta) for delta in steps])
pixels = np.array([rate_distortion(np.rint(grey / d).reshape(-1, 1), np.rint(grey / d) * d) for d in steps])

# %%
flat = np.repeat(np.rint(grey * 255).astype(np.uint8)[:, :, None], 3, 2)
files = []
for quality in (5, 10, 20, 35, 50, 65, 80, 90):
    measured = codecs.evaluate(codecs.get_codec("jpeg", quality=quality), flat)
    files.append((measured.bpp, measured.psnr))

# %% tags=["hide-input"] mystnb={"figure": {"caption": "**The transform is worth more than 10 dB at 1 bit per pixel; with one step for all coefficients, and one frequency table for each, it is nearly JPEG.** PSNR over rate of the bundled astronaut in grey, 512 × 512 pixels. The two entropies are estimates, the JPEG curve is of files. <small>Computed by this page.</small>", "name": "fig-transform-gain"}, "image": {"alt": "Three rising curves. The curve of rounded pixels lies far below the other two; the curve of the block DCT and the curve of JPEG are close together."}}
figure, axes = plot.panels()
axes.plot(*pixels.T, "v-", color="#777777", label="pixels, rounded one by one (entropy)")
axes.plot(*dct.T, "o-", color="#0072B2", label="DCT of blocks, one step for all (entropy)")
axes.plot(*zip(*files, strict=True), **plot.style("jpeg"), label="JPEG (length of the file)")
axes.set(xlabel="bits per pixel", ylabel=plot.PSNR, xlim=(0, 3), ylim=(8, 46))
axes.legend(frameon=False)
figure

# %% tags=["remove-cell"]
at_one = [float(np.interp(1.0, *np.array(sorted(map(tuple, of))).T)) for of in (dct, files)]
if at_defaults:
    assert abs(at_one[0] - at_one[1]) < 2.5 and at_one[0] > np.interp(1.0, *np.array(sorted(map(tuple, pixels))).T) + 8

# %% [markdown]
# In {numref}`fig-transform-gain`, rounding the pixels one by one (the grey curve) needs more than 2 bits per pixel for
# an acceptable picture. The blue curve has the same quantiser and only rounds other numbers. It is also close to JPEG,
# a codec from 1992. JPEG uses larger steps for high frequencies because the eye sees less there. These larger steps
# lower the PSNR. JPEG also codes runs of zeros, which saves bits that our entropies do not save.
#
# A **learned codec** keeps this structure and replaces the DCT by an *encoder* network, its inverse by a *decoder*
# network, and the counts by a learned **prior**. The encoder's output $z$ is called the **latent** or the **code**.
#
# ## Training through rounding
#
# Rounding has the gradient 0 almost everywhere, so a loss behind it trains nothing. Two replacements are common:
#
# - **Uniform noise.** In training, $z + \Delta u$ with $u$ uniform in $[-\frac12, \frac12)$ replaces
#   $\Delta\,\mathrm{round}(z / \Delta)$. It has a gradient, and by {eq}`eq-delta` an error of the same size.
# - **Straight-through.** Round in the forward pass, and use the gradient of the identity in the backward pass.
#
# With noise the rate has a gradient, too. The density of $z + \Delta u$ is the density of $z$, averaged over windows of
# width $\Delta$. At a multiple of $\Delta$, $\Delta$ times this density is exactly the probability of that symbol. So a
# prior that is fitted to the noisy values predicts the symbols:

# %%
column = torch.from_numpy(z[:, 0, 1]) / step  # one coefficient of all blocks, in steps
noisy = column + torch.rand(len(column), generator=torch.Generator().manual_seed(seed)) - 0.5
scale = noisy.abs().mean()  # a Laplace distribution, fitted by maximum likelihood
laplace = torch.distributions.Laplace(0.0, scale)


def nats_to_bits(values):
    """Bits per symbol by the mass of a unit interval around each value."""
    return float(-torch.log2(laplace.cdf(values + 0.5) - laplace.cdf(values - 0.5)).mean())


print(f"estimated from noisy values:  {nats_to_bits(noisy):.3f} bits per symbol")
print(f"the same prior, real symbols: {nats_to_bits(column.round()):.3f}")
print(f"entropy of the real symbols:  {entropy(column.round().numpy()):.3f}")

# %% tags=["remove-cell"]
assert abs(nats_to_bits(noisy) - nats_to_bits(column.round())) < (0.01 if at_defaults else 0.1)
assert nats_to_bits(column.round()) >= entropy(column.round().numpy()) - 1e-9

# %% [markdown]
# The first two lines differ by less than one hundredth of a bit, so the noise is a good model of rounding. The last
# line is lower, because it uses the true frequencies of this picture, which a decoder does not know. The difference is
# the **cost of the wrong prior**, the Kullback-Leibler divergence between the two distributions.
#
# ## Rate and distortion
#
# Any codec can be made smaller by making it worse. So one number never describes it: a **rate-distortion curve** does.
# To train, or to choose a setting, the two must be traded. One way puts a price on a bit,
#
# $$ \min_\theta\; D(\theta) + \lambda R(\theta), $$ (eq-lagrangian)
#
# with the rate $R$ in bits per pixel and the distortion $D$ as a mean squared error. Here $D$ is measured for pixels in
# $[0, 1]$. For pixels from 0 to 255 it is $255^2$ times as large, and so is the $\lambda$ of the same setting. In a
# plot of $D$ (vertical) over $R$ (horizontal), all points with equal cost lie on a line of slope $-\lambda$. The
# minimum of {eq}`eq-lagrangian` is where the lowest such line touches the curve:

# %%
rate, distortion = dct[:, 0], 10 ** (-dct[:, 1] / 10)
best = int(np.argmin(distortion + lam * rate))
print(f"price {lam}: step {steps[best]:.3f}, {rate[best]:.2f} bpp, {dct[best, 1]:.1f} dB")

# %% tags=["hide-input"] mystnb={"figure": {"caption": "**The price of a bit selects the point at which the curve has the slope −λ.** Mean squared error over rate; the dashed line joins points of equal cost. <small>The DCT of the figure before, computed by this page.</small>", "name": "fig-tangent"}, "image": {"alt": "A falling convex curve with round markers. A dashed straight line touches it from below at one point, which has a ring around it."}}
figure, axes = plot.panels()
axes.plot(rate, distortion, "o-", color="#0072B2", label="DCT, one point for each step")
line = np.linspace(0, 2, 2)
cost = distortion[best] + lam * rate[best]
axes.plot(line, cost - lam * line, "--", color="#D55E00", label=f"equal cost, slope −{lam:g}")
axes.plot(rate[best], distortion[best], "o", ms=11, mfc="none", color="#D55E00")
axes.set(xlabel="bits per pixel, R", ylabel="mean squared error, D", xlim=(0, 2), ylim=(0, 0.004))
axes.legend(frameon=False)
figure

# %% [markdown]
# In {numref}`fig-tangent` all points on the dashed line have the same cost, and points below it have a lower one. No
# point of the curve lies below it. Change `lam` at the top of the page: a higher price moves the point to the left.
#
# The other way states what is wanted,
#
# $$ \min_\theta\; D(\theta) \quad\text{subject to}\quad R(\theta) \le B, $$ (eq-constrained)
#
# "the best picture of at most 0.3 bits per pixel". The two are linked by the Lagrangian of {eq}`eq-constrained`,
# $D + \lambda (R - B)$: for a convex curve, every budget $B$ has a price $\lambda$ with the same solution. That price
# is unknown before training. **Dual ascent** finds it: raise $\lambda$ while the rate is over the budget, and lower it
# while it is under. This is how L0onie is trained, and the only new quantity is a step size:

# %%
budget, price, rates = 0.8, 0.0, []
for _ in range(400):
    chosen = int(np.argmin(distortion + price * rate))  # the best setting at this price
    price = max(0.0, price + 1e-4 * (rate[chosen] - budget))
    rates.append(rate[chosen])
last = rates[-200:]
print(f"budget {budget}: price {price:.4f}, rates {min(last):.2f} and {max(last):.2f} bpp, mean {np.mean(last):.2f}")

# %% tags=["remove-cell"]
assert len(set(last)) == 2 and min(last) < budget < max(last) and abs(np.mean(last) - budget) < 0.01

# %% [markdown]
# The 14 steps of `transform_codec` have 14 rates, and none of them is exactly 0.8. So the price settles where two
# neighbouring settings cost the same, and the choice alternates between them. Their mean rate is the budget. A network
# has a continuous range of rates, so its rate itself approaches the budget.

# %% [markdown]
# ## In short
#
# - A symbol of probability $p$ costs $-\log_2 p$ bits. A range coder reaches this to within a few bytes per file.
# - Entropies are estimates: they assume a prior that the decoder must share. A rate, in this book, is the length of a
#   file.
# - A transform concentrates energy. Quantisation then turns most coefficients into zeros, which are cheap.
# - Networks are trained with noise or straight-through gradients in place of rounding.
# - A price on a bit and a budget select the same points of a convex curve; dual ascent finds the price of a budget.
#
# ## Exercises
#
# 1. How many bits does a symbol of probability 1/1000 cost? And one that is certain?
# 2. In how many bits can you say which 10 of 100 weights are not zero? Compare $\log_2 \binom{100}{10}$ with
#    $100\,h(0.1)$, where $h$ is the entropy of a coin.
# 3. Write a function that finds the quantisation step whose rate is nearest to a given budget, by bisection over
#    `transform_codec`.
#
# :::{admonition} Solutions
# :class: dropdown
# 1. $\log_2 1000 = 9.97$ bits; 0 bits.
# 2. 43.98 and 46.90 bits. The entropy of a coin describes patterns with *about* 10 of 100; knowing the exact number
#    saves the difference.
# 3. The rate falls as the step grows, so the interval that contains the answer can be halved:
# ```python
# def step_for(budget, low=0.005, high=2.0):
#     for _ in range(20):
#         middle = (low * high) ** 0.5
#         low, high = (middle, high) if transform_codec(middle)[0] > budget else (low, middle)
#     return (low * high) ** 0.5
# ```
# :::


# %% tags=["remove-cell"]
def step_for(budget, low=0.005, high=2.0):
    for _ in range(20):
        middle = (low * high) ** 0.5
        low, high = (middle, high) if transform_codec(middle)[0] > budget else (low, middle)
    return (low * high) ** 0.5


assert abs(transform_codec(step_for(0.5))[0] - 0.5) < 0.01
assert round(math.log2(math.comb(100, 10)), 2) == 43.98

# %% [markdown]
# ## Further reading
#
# Information theory, with range coding and its proofs: {cite:t}`mackay`. JPEG as its author explains it:
# {cite:t}`jpeg`. End-to-end trained codecs and uniform noise: {cite:t}`noise`. The next chapter measures
# distortion, and calls the standard codecs that all later chapters are compared with.
