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
# # What the released code of CAE-ADMM computes
#
# The paper on CAE-ADMM {cite:p}`cae_admm` came with software, which makes its results testable. This chapter compares
# this software with the paper's equations, and shows with one small experiment per difference what follows. To avoid
# confusion, we call the software *the program*. *The code* is the array $\hat z$ that the encoder makes; in some
# experiments random numbers take its place.
#
# **You will learn**
#
# - how `argsort` differs from ranks, and what a choice by the wrong one keeps;
# - what one shared $Z$ and $U$, and a norm in place of its square, do to the codes;
# - how random rounding in tests changes the length of a file;
# - how to recognise a rate in {term}`nats <nat>`, and what it is in bits.
#
# **You need** the chapter [ADMM: pruning the latent of an autoencoder](30_admm). No GPU and no data set. **Run it:**
# `python -m reproduce run 31_released_code`, about ten seconds, no download.

# %% tags=["parameters"]
preset = "smoke"  # no effect: this chapter trains nothing
seed = 0  # of all random numbers of this chapter; a whole number from 0 to 99
keep = 0.1  # share of the entries of a code that may be nonzero, as in the paper; between 0.02 and 0.5

# %% tags=["hide-input"]
import math

import numpy as np
import torch

from reproduce import drawings, plot
from reproduce.papers import cae_admm as numbers
from reproduce.records import published
from reproduce.tables import say
from sparsecomp import codecs, data, metrics
from sparsecomp.checks import in_range, one_of, whole
from sparsecomp.codecs.trained import read_symbols
from sparsecomp.coding.container import unpack
from sparsecomp.sparsify.admm import Admm, kept, released, top_l
from sparsecomp.training.latent_pruning import RELEASED_DIVISOR

one_of("preset", preset, numbers.PRESETS)
whole("seed", seed, 0, 99)
in_range("keep", keep, 0.02, 0.5)
at_defaults = (seed, keep) == (0, 0.1)  # the text is checked at these values
generator = torch.Generator().manual_seed(seed)
picture = data.bundled()["astronaut"]
face = np.ascontiguousarray(picture[10:202, 130:322])
MODEL = "code-keep-10-seed-0-laptop"  # a network of this project, pruned to 10 %



# %% [markdown]
# We read the repository [haimengzhao/CAE-ADMM](https://github.com/haimengzhao/CAE-ADMM) and wrote functions of our own
# that do the same. The numbers of this chapter come from these functions. Such differences are common in research
# software, and most of them are easy to overlook. They matter here because the paper's numbers were presumably computed
# with this program.
#
# ## Places, not ranks
#
# **The equation.** The second update {eq}`eq-admm-second` keeps the $\ell$ entries of $\hat z + U$ with the largest
# magnitudes.
#
# **The program** sorts the entries with `argsort` and keeps entry $i$ if the $i$-th number of the answer is below
# $\ell$. The $i$-th number of `argsort` is a *place*: it says where the $i$-th smallest entry is. It says nothing about
# entry $i$ itself. The rank of entry $i$ would be `argsort` of `argsort`. In addition, the order is ascending and uses
# the sign. An example with six entries, of which two are kept:


# %%
def released_choice(v, ell):
    place = v.argsort(stable=True)  # place[i] is the position of the i-th smallest entry
    return torch.where(place < ell, v, torch.zeros_like(v))


v = torch.tensor([5.0, -1.0, 0.5, 3.0, -4.0, 2.0])
print("entries          ", v.tolist())
print("argsort          ", v.argsort().tolist())
print("ranks            ", v.argsort().argsort().tolist())
print("the program keeps", released_choice(v, 2).tolist())
print("the equation     ", top_l(v[None], 2 / 6)[0].tolist())

# %% [markdown]
# Whether entry $i$ stays depends on the position of another entry. If the entries are in no particular order, this is a
# random choice of $\ell$ of the $n$ entries. Then each of the largest entries is kept with probability $\ell / n$:

# %%
codes = torch.randn(400, 4096, generator=generator)
largest = top_l(codes, keep) != 0
chosen = torch.stack([released_choice(code, kept(keep, 4096)) != 0 for code in codes])
share = float((chosen & largest).sum() / largest.sum())
print(f"of the largest {keep:.0%} of the entries, the program keeps {share:.1%}")

# %% tags=["hide-input"] mystnb={"figure": {"caption": "**With equally many entries, the released choice leaves about as much of the picture ({glue:text}`released-released` dB) as a random choice ({glue:text}`released-random` dB, one draw).** The face from its DCT code, of which {glue:text}`released-keep` of the entries are kept: the largest magnitudes ({glue:text}`released-largest` dB), the choice of the released program, and entries drawn at random. <small>The bundled astronaut, computed by this page.</small>", "name": "fig-released-choice"}, "image": {"alt": "Three pictures of a face. The first is clear. The second and third are mostly black with scattered blocks in red, green and blue; no face can be seen."}}
dct = drawings.block_dct(face)
anywhere = torch.rand(dct.numel(), generator=generator).argsort().argsort().view_as(dct) < kept(keep, dct.numel())
left = {"largest magnitudes": top_l(dct, keep), "released choice": released(dct, keep), "random": dct * anywhere}
shown, quality = {}, {}
for name, code in left.items():
    decoded = drawings.from_block_dct(code)
    quality[name] = metrics.psnr(reference=face, reconstruction=decoded)
    shown[f"{name}\n{quality[name]:.1f} dB"] = decoded
plot.pictures(shown)

# %% tags=["remove-cell"]
assert torch.equal(torch.stack([released_choice(code, kept(keep, 4096)) for code in codes]), released(codes, keep))
assert abs(share - keep) < 0.01
assert released_choice(v, 2).tolist() == [0, -1, 0, 0, 0, 2]
assert top_l(v[None], 2 / 6)[0].tolist() == [5, 0, 0, 0, -4, 0]
say("released-keep", keep, ".0%")
say("released-share", share, ".1%")
for name in quality:
    say(f"released-{name.split()[0]}", quality[name], ".1f")
if at_defaults:
    assert quality["largest magnitudes"] > 20 > max(quality["released choice"], quality["random"])

# %% [markdown]
# The largest entries give {glue:text}`released-largest` dB, the released choice {glue:text}`released-released` dB, and
# a random choice {glue:text}`released-random` dB in {numref}`fig-released-choice`. No one decodes $Z$ itself, so no
# decoded picture of the program looks like this. But $Z$ is the target of the training. **What follows:** the
# codes are pulled towards a random part of their entries, not towards the large ones.
#
# ## One $Z$ and one $U$ for all codes
#
# **The equations** {eq}`eq-admm-first` to {eq}`eq-admm-third` have a $Z$ and a $U$ for each code. **The program** has
# one pair for the whole data set. It updates them with the mean of all codes, divided by 20; the paper does not mention
# the division, and we know no reason for it. A mean of sparse codes is not sparse. So a code that is already sparse
# must still pay for being different from this mean. In this experiment every code has $\ell$ nonzero entries at places
# of its own, and $Z$ and $U$ are updated once:

# %%
places = torch.rand(400, 4096, generator=generator).argsort(dim=1) < kept(keep, 4096)
codes = torch.randn(400, 4096, generator=generator) * places
mean = codes.mean(0, keepdim=True)
own, shared = (Admm((n, 4096), 0.1, lambda v: top_l(v, keep)) for n in (400, 1))
own.update(codes)
shared.update(mean / RELEASED_DIVISOR)  # 20
paid = own.penalty(codes).mean(), shared.penalty(codes, torch.zeros(400, dtype=torch.long)).mean()
print(f"nonzero entries: {(codes != 0).float().mean():.0%} in each code, {(mean != 0).float().mean():.0%} in the mean")
print(f"penalty of these sparse codes: {paid[0]:.2f} with own Z and U, {paid[1]:.2f} with shared ones")

# %% [markdown]
# After this update, codes that satisfy the constraint pay nothing under the equations. With shared variables they pay,
# because they are different codes. The division by 20 makes the target $Z - U$ small as well. How small is it at the
# end of a training? The paper trains for 300 epochs and updates $Z$ and $U$ every 20 epochs, which gives 15 updates. We
# make them with the released choice and the same codes:

# %%
target = Admm((1, 4096), 0.1, lambda v: released(v, keep))
for _ in range(300 // 20):
    target.update(mean / RELEASED_DIVISOR)
size = float((target.z - target.u).square().mean().sqrt() / codes.square().mean().sqrt())
print(f"root mean square of the target: {size:.1%} of that of the codes")

# %% [markdown]
# The root mean square of the target $Z - U$ is {glue:text}`released-target` of that of the codes. **What follows:** the
# term pulls all codes towards nearly zero. This is a price on the *size* of the entries, not a limit on their *number*.
#
# ## The norm in place of its square
#
# **The equation** {eq}`eq-admm-first` has the square of the norm, for each code. **The program** has the norm itself,
# of the whole batch: $\frac{\rho}{2} \lVert \hat z - Z + U \rVert$. How hard does each of them pull a code that is far
# from, or near to, its target?

# %%
split = Admm((1, 64), 0.1, lambda v: top_l(v, keep))  # Z = U = 0
direction = torch.nn.functional.normalize(torch.randn(1, 64, generator=generator))
for distance in (0.5, 1.0, 10.0, 100.0):
    pulls = []
    for penalty in (split.penalty, split.penalty_norm):
        code = (distance * direction).requires_grad_()
        penalty(code).sum().backward()
        pulls.append(float(code.grad.norm()))
    print(f"distance {distance:5.1f}: pull of the square {pulls[0]:6.3f}, of the norm {pulls[1]:.3f}")
    assert math.isclose(pulls[0], 0.1 * distance, rel_tol=1e-4) and math.isclose(pulls[1], 0.05, rel_tol=1e-4)

# %% [markdown]
# The pull is the norm of the gradient. The square pulls with $\rho$ times the distance, the norm always with
# $\rho / 2$. **What follows:** the released $\rho = 0.1$ cannot be copied into the equation. At a distance of 100 the
# two pulls differ by a factor of 200. Also, the third update does not fit the norm: its derivation
# {eq}`eq-admm-square` completes a square.
#
# ## Rounding at random in tests
#
# **The paper** defines the random quantiser {eq}`eq-admm-rounding`. It does not say whether tests use it as well. **The
# program** rounds at random in tests, too. Our {term}`codec` can do both, with a trained model of this project:

# %%
rows = []
for title, draws in (("to the nearest", None), ("at random, first draw", seed), ("at random, second draw", seed + 100)):
    file = codecs.get_codec("cae-admm", model=MODEL, draws=draws).encode(face)
    code, decoded = read_symbols(unpack(file))[1], codecs.decode(file)
    ssim = metrics.ssim(reference=face, reconstruction=decoded)
    psnr = metrics.psnr(reference=face, reconstruction=decoded)
    rows.append([title, (code != 0).mean(), len(file), ssim, psnr])
shown = [[title, f"{100 * n:.1f} %", f"{size:,}", f"{ssim:.3f}", f"{psnr:.2f}"] for title, n, size, ssim, psnr in rows]
plot.Table(shown, columns=["rounded", "nonzero", "file, B", "SSIM", "PSNR in dB"])

# %% tags=["remove-cell"]
assert paid[0] == 0 < paid[1] and (mean != 0).float().mean() > 0.99
say("released-target", size, ".1%")
assert size < 0.1
say("released-more-bytes", rows[1][2] / rows[0][2] - 1, "+.0%")
say("released-more-nonzero", 100 * (rows[1][1] - rows[0][1]), "+.0f")
assert all(row[1] > rows[0][1] and row[2] > 1.2 * rows[0][2] for row in rows[1:])

# %% [markdown]
# For this picture, random rounding adds {glue:text}`released-more-nonzero` percentage points of nonzero entries, and
# the file is {glue:text}`released-more-bytes` longer. The reason is simple. A {term}`latent` entry of 0.2 becomes 0 if
# it is rounded to the nearest. At random it becomes 1 in one case out of five. These ones are noise, and noise costs
# bits. **What follows:** a comparison of rates needs the same rounding. All files of this book are rounded to the
# nearest.
#
# ## Nats that are called bits per pixel
#
# **The paper** gives rates in {term}`bits per pixel` ({term}`bpp`). **The program** writes no file. It computes the
# {term}`entropy` of the code of each patch of 128 × 128 pixels, all channels in one table, with the natural logarithm.
# The result is in nats. One nat is $1 / \ln 2 \approx 1.44$ bits (see {eq}`eq-entropy` for the entropy in bits).


# %%
def patch_entropy(code, side=16):
    """Nats per pixel as in the released program; a patch of 128 x 128 pixels has 16 x 16 places of the code."""
    channels, height, width = code.shape
    nats = 0.0
    for top in range(0, height, side):
        for left in range(0, width, side):
            counts = np.unique(code[:, top : top + side, left : left + side], return_counts=True)[1]
            nats -= (counts * np.log(counts / counts.sum())).sum()
    return nats / (height * width * 64)  # 64 pixels for each place


measured = codecs.evaluate(codecs.get_codec("cae-admm", model=MODEL), picture)
code = read_symbols(unpack(measured.data))[1]
nats = patch_entropy(code)
print(f"printed as bpp (nats): {nats:.3f}; in bits: {nats / math.log(2):.3f}; file: {measured.bpp:.3f} bpp")

# %% tags=["hide-input"]
rows, in_bits = [], {}
for row in published("cae_admm", metric="bpp"):
    if row["series"] in ("before pruning", "after pruning", "CAE-ADMM"):
        in_bits[row["series"]] = row["value"] / math.log(2)
        rows.append([row["where"], row["series"], f"{row['value']:.3f}", f"{in_bits[row['series']]:.3f}"])
plot.Table(rows, columns=["in the paper", "row", "bpp as printed", "bpp if the printed numbers are nats"])

# %% [markdown]
# For our model and this picture, the file is {glue:text}`released-file-over-nats` longer than the number that the
# program would print. But the file is shorter than this entropy in bits, because a table for each channel is better
# than one table for all channels of a patch. The table above assumes that the paper's numbers were made with this
# program. Then the model of Table 2 has {glue:text}`released-table-2` bpp, and its comparison with JPEG at about 0.6
# bpp is not at equal rates. **What follows:** we report the lengths of files, and show the paper's points twice, as
# printed and in bits.
#
# ## Quality as a mean over patches
#
# **The paper** reports {term}`SSIM` and {term}`MS-SSIM` on the Kodak pictures. **The program** computes them for
# patches of 128 × 128 pixels and takes the mean. SSIM averages over small windows. By patches, no window crosses a
# border between patches. We compute both for the {term}`reconstruction` above:

# %%
decoded, scores = codecs.decode(measured.data), []
for top in range(0, 512, 128):
    for left in range(0, 512, 128):
        part = np.s_[top : top + 128, left : left + 128]
        scores.append(metrics.ssim(reference=picture[part], reconstruction=decoded[part]))
print(f"SSIM of the whole picture {measured.ssim:.4f}, mean over patches {np.mean(scores):.4f}")

# %% tags=["remove-cell"]
assert math.isclose(nats, numbers.released_bpp(code)) and nats < measured.bpp < nats / math.log(2)
assert round(in_bits["before pruning"], 2) == 2.43 and round(in_bits["after pruning"], 2) == 1.81
say("released-file-over-nats", measured.bpp / nats - 1, ".0%")
say("released-table-2", in_bits["CAE-ADMM"], ".3f")
assert math.isclose(np.mean(scores), numbers.patch_ssim(picture, decoded), rel_tol=1e-6)
say("released-patches", np.mean(scores) - measured.ssim, "+.4f")
assert abs(np.mean(scores) - measured.ssim) < 0.005
penalty = kept(0.1, 32 * 16 * 16)
say("released-l", penalty, ",")
say("released-l-over-rho", penalty / 0.1, ",.0f")

# %% [markdown]
# The difference is {glue:text}`released-patches` here. **What follows:** almost nothing; we mention it for completeness
# and report SSIM of whole pictures.
#
# ## A misprint in Algorithm 1
#
# Equation 8 of the paper has the factor $\frac{\rho}{2}$, as {eq}`eq-admm-first`. Algorithm 1 prints $\frac{\ell}{2}$
# in the same place. The program uses $\rho$. A code of a patch has 32 × 16 × 16 entries, so $\ell$ is
# {glue:text}`released-l` at 10 %, and $\ell / \rho$ is {glue:text}`released-l-over-rho` with the released $\rho = 0.1$.
# **What follows:** if you implement the paper, use equation 8.
#
# :::{admonition} What the paper says and what the released program does
# ```{list-table}
# :header-rows: 1
# * - the paper says
#   - the program does
#   - what follows
# * - keep the $\ell$ largest entries
#   - keeps entries by `argsort`, about a random choice
#   - it keeps {glue:text}`released-share` of the largest {glue:text}`released-keep`
# * - $Z$ and $U$ have the shape of the code
#   - one $Z$ and $U$, from the mean code divided by 20
#   - the target of all codes is nearly zero
# * - squared norm, for each code
#   - norm, for the batch
#   - a constant pull; $\rho$ has another scale
# * - a random quantiser; tests are not mentioned
#   - random rounding in tests as well
#   - {glue:text}`released-more-bytes` bytes for our example
# * - rates in bits per pixel
#   - entropy of patches in nats
#   - printed numbers are lower than bits by the factor 1.44
# * - SSIM on Kodak
#   - mean SSIM of patches
#   - {glue:text}`released-patches` for our example
# * - $\frac{\rho}{2}$ in equation 8, $\frac{\ell}{2}$ in Algorithm 1
#   - $\frac{\rho}{2}$
#   - a misprint in Algorithm 1
# ```
# :::
#
# Each experiment above changes one thing. What all choices together do to a trained network is measured in
# [CAE-ADMM: results](32_cae_admm). This book trains with the equations; one training there uses the choices of the
# program.
#
# ## In short
#
# - `argsort` gives places. Ranks are `argsort` of `argsort`. The wrong one makes a random choice without any error
#   message.
# - A shared target near zero makes the {term}`ADMM` term a price on the size of all entries.
# - A norm pulls with constant strength, a square with a strength that grows with the distance.
# - Random rounding in tests makes longer files.
# - Entropies with `log` are nats. Check the unit of a rate, or better, write files.
#
# ## Exercises
#
# 1. Let $v = (3, -5, 1, 4)$ and $\ell = 2$. Which entries does {eq}`eq-admm-second` keep, and which does the released
#    choice keep?
# 2. (Code) Repair the released choice with ranks, in one line and without `topk` or `scatter`.
# 3. A latent entry is 0.2. Compare both ways of rounding: the expected squared error, and the entropy of the rounded
#    number.
# 4. (Code) Write a test with a single assertion that finds the error of the released choice for most random vectors,
#    but that does not contain a correct implementation.
#
# :::{admonition} Solutions
# :class: dropdown
# 1. The equation keeps $-5$ and $4$. In ascending order the entries are at the positions 1, 2, 0, 3, counted from 0.
#    The released choice keeps entry $i$ if the $i$-th of these numbers is below 2. This is true for $i = 0$ and $i =
#    2$, so it keeps 3 and 1.
# 2. The rank must be by magnitude and descending:
#    ```python
#    def repaired_choice(v, ell):
#        return torch.where(v.abs().argsort(descending=True).argsort() < ell, v, torch.zeros_like(v))
#    ```
# 3. To the nearest: the rounded number is 0, the squared error is 0.04, and the entropy is 0. At random: it is 1 with
#    probability 0.2, the expected squared error is $0.8 \cdot 0.04 + 0.2 \cdot 0.64 = 0.16$, and the entropy is
#    $h(0.2) = 0.72$ bits.
# 4. No dropped entry may be larger than a kept one. A test of a property needs no second implementation:
#    ```python
#    def test_largest_stay(choose, v, ell):
#        stays = choose(v, ell) != 0
#        assert v[stays].abs().min() >= v[~stays].abs().max()
#    ```
# :::


# %% tags=["remove-cell"]
def repaired_choice(v, ell):
    return torch.where(v.abs().argsort(descending=True).argsort() < ell, v, torch.zeros_like(v))


def test_largest_stay(choose, v, ell):
    stays = choose(v, ell) != 0
    assert v[stays].abs().min() >= v[~stays].abs().max()


v = torch.tensor([3.0, -5.0, 1.0, 4.0])
assert released_choice(v, 2).tolist() == [3, 0, 1, 0] and repaired_choice(v, 2).tolist() == [0, -5, 0, 4]
found = 0
for _ in range(20):
    v = torch.randn(50, generator=generator)
    assert torch.equal(repaired_choice(v, 5), top_l(v[None], 0.1)[0])
    test_largest_stay(repaired_choice, v, 5)
    try:
        test_largest_stay(released_choice, v, 5)
    except AssertionError:
        found += 1
assert found >= 18

# %% [markdown]
# ## Further reading
#
# The equations are derived in [the previous chapter](30_admm), and {cite:t}`boyd` is their source. Entropy, nats and
# {term}`range coders <range coder>` are explained in the [primer](00_compression_primer). {cite:t}`theis2017` train the
# same kind of network with an estimate of the entropy. The next chapter, [CAE-ADMM: results](32_cae_admm), trains with
# the equations and with the released choices, and measures files.
