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
# # Rate and distortion
#
# **The question.** A neural codec is said to beat JPEG. What would one have to see to believe it? Two numbers for
# every picture: how many bits its *file* has, and how far the picture that comes back is from the one that went in.
# This chapter makes both precise, and then calls the standard codecs the way their makers would want them called;
# every later chapter is measured against the curves drawn here.

# %% tags=["parameters"]
preset = "smoke"
seed = 0
bpp = 0.3  # the budget of this chapter's examples, bits per pixel

# %% tags=["hide-input"]
import numpy as np
from scipy.ndimage import gaussian_filter

from reproduce import plot, tables, widgets
from reproduce.papers import baselines
from reproduce.records import Records
from sparsecomp import codecs, data, metrics
from sparsecomp.checks import one_of
from sparsecomp.coding.container import layout
from sparsecomp.training.configs import PRESETS

one_of("preset", preset, PRESETS)
at_defaults = (preset, seed, bpp) == ("smoke", 0, 0.3)  # the text is checked at these values
rng = np.random.default_rng(seed)
records = Records(preset="laptop")
if not 0 < bpp <= 24:
    raise ValueError(f"bpp={bpp}: a budget in (0, 24] is needed")

# %% [markdown]
# ## The idea in a picture
#
# The astronaut has 512 × 512 pixels of 24 bits: 786,432 bytes. At 0.3 bits per pixel there are 9,830 bytes left, one
# in eighty. Here is what two codecs, 27 years apart, do with them.

# %%
picture = data.bundled()["astronaut"]
pair = {
    name: codecs.evaluate(codecs.get_codec(name), picture, bpp)
    for name in ("jpeg", "avif")
}
panel = {
    f"{m.codec}: {m.bytes:,} bytes, {m.psnr:.2f} dB": m.reconstruction
    for m in pair.values()
}
plot.pictures({"original: 786,432 bytes": picture} | panel, crop=widgets.FACE)

# %%
for measured in pair.values():
    assert (
        measured.bpp == 8 * len(measured.data) / (512 * 512) <= bpp
    )  # a rate is the length of a file, and a ceiling

# %% tags=["remove-cell"]
if at_defaults:
    assert pair["avif"].psnr > pair["jpeg"].psnr + 2

# %% [markdown]
# ## Rate
#
# A file of $n$ bytes for a picture of $H \times W$ pixels has the rate
#
# $$ R = \frac{8\,n}{H\,W} \quad\text{bits per pixel.} $$
#
# There is nothing to estimate in it. Papers on learned compression often print something else under this name: the
# entropy of a histogram, or sixteen bits for every weight that is not zero and none for saying which those are. Such
# numbers are useful while training. They are not what arrives: in this book they are called *estimates*, and stand
# beside the measured rate.
#
# Every codec here, ours and the standard ones, writes the same kind of file: an `.spc` container. It costs about
# twenty bytes, the same for all, and says everything that the decoder needs. This is the whole of the JPEG file
# above:

# %%
for part, size in layout(pair["jpeg"].data):
    print(f"{part:10s} {size:6d} bytes")

# %% tags=["remove-cell"]
if at_defaults:
    assert (
        sum(size for _, size in layout(pair["jpeg"].data)) == pair["jpeg"].bytes
    )

# %% [markdown]
# ## Distortion
#
# With 8-bit pictures $x$ and $\hat x$, over all pixels and the three channels,
#
# $$ \mathrm{MSE} = \frac{1}{3HW} \sum_{p,c} (x_{pc} - \hat x_{pc})^2, \qquad
#    \mathrm{PSNR} = 10 \log_{10} \frac{255^2}{\mathrm{MSE}} \quad\text{dB.} $$
#
# Half the error's amplitude is 6 dB. The picture is rounded to 8 bits before it is measured: that is what a screen
# shows. PSNR does not ask what kind of error it is. SSIM {cite:p}`ssim` compares, in windows of 11 × 11 pixels, mean,
# variance and correlation, and MS-SSIM {cite:p}`ms_ssim` does so at five scales. Four distortions of one PSNR:


# %%
def at_psnr(distort, target=26.0):
    """The strength at which `distort(strength)` has the wanted PSNR, by bisection."""
    low, high = 0.0, 200.0
    while high - low > 1e-3:
        middle = (low + high) / 2
        shown = metrics.to_uint8(distort(middle) / 255)
        low, high = (
            (middle, high)
            if metrics.psnr(reference=picture, reconstruction=shown) > target
            else (low, middle)
        )
    return metrics.to_uint8(distort(low) / 255)


x, noise = picture.astype(float), rng.standard_normal(picture.shape)
distorted = {
    "brighter": at_psnr(lambda s: x + s),
    "noise": at_psnr(lambda s: x + s * noise),
    "blur": at_psnr(lambda s: gaussian_filter(x, (s / 10, s / 10, 0))),
}


# %%
def psnr(shown):
    return metrics.psnr(reference=picture, reconstruction=shown)


jpegs = [
    codecs.decode(codecs.get_codec("jpeg", quality=quality).encode(picture))
    for quality in range(4, 16)
]
distorted["JPEG"] = min(jpegs, key=lambda shown: abs(psnr(shown) - 26))
ssim = {
    name: metrics.ssim(reference=picture, reconstruction=shown)
    for name, shown in distorted.items()
}
titles = {
    f"{name}: {psnr(shown):.1f} dB, SSIM {ssim[name]:.2f}": shown
    for name, shown in distorted.items()
}
plot.pictures(titles, columns=4, crop=widgets.FACE)

# %% tags=["remove-cell"]
if at_defaults:
    assert all(abs(psnr(shown) - 26) < 0.5 for shown in distorted.values())
    assert ssim["brighter"] > ssim["blur"] > ssim["noise"]

# %% [markdown]
# All four are 26 dB away from the astronaut. No eye would call them equal, and SSIM does not. Neither number is the
# eye: that is why the tables of this book hold both, and the pictures stand beside them.
#
# ## Fair baselines
#
# A new codec looks best beside a badly called old one. The commonest slip: Pillow writes JPEG 2000 *without* its
# colour transform unless it gets `mct=1`, so that the three channels are coded as if they had nothing to do with each
# other. Papers have compared with that; CAE-ADMM's scripts do.

# %% tags=["hide-input"]
shown = baselines.colour_transform(records)
figure, axes = plot.panels()
plot.lines(axes, shown)
axes.set(xlabel=plot.BPP, ylabel=plot.PSNR)
plot.zoom(axes, 2.0)
axes.legend(frameon=False)
plot.sign(figure, shown.records)
figure

# %%
on, off = (baselines.baseline(records, label) for label in ("jpeg2000", "jpeg2000-no-transform"))
gap = on.mean("psnr", setting=0.6) - off.mean("psnr", setting=0.6)
print(
    f"at 0.6 bpp the colour transform is worth {gap:.2f} dB (mean of {on.config['pictures']} Kodak pictures)"
)

# %% tags=["remove-cell"]
if at_defaults:
    assert gap > 2

# %% [markdown]
# On a picture, at the budget of this chapter (a Kodak picture where the set is at hand, a bundled one elsewhere):

# %%
shown = data.kodak()["kodim23"] if data.available("kodak") else data.bundled()["coffee"]
two = {}
for transform in (True, False):
    coded = codecs.evaluate(
        codecs.get_codec("jpeg2000", rate=bpp, colour_transform=transform), shown
    )
    two[
        f"transform {'on' if transform else 'off'}: {coded.bpp:.2f} bpp, {coded.psnr:.2f} dB"
    ] = coded.reconstruction
plot.pictures({"original": shown} | two, crop=(80, 200, 220, 300))

# %% [markdown]
# The other decisions, all in [`sparsecomp.codecs.standard`](../book/reading.md): JPEG with optimised Huffman tables,
# progressive where that is smaller; JPEG and AVIF with whichever chroma sampling gives the higher PSNR; WebP with its
# slowest search; AVIF and JPEG XL at their default effort. `at_bpp(image, bpp)` looks for the best file that is *not
# over* the budget.
#
# ## The curves
#
# Means over the Kodak pictures {cite:p}`kodak`: at each setting of a codec, the mean of the rates and the mean of the
# PSNRs.

# %% tags=["hide-input"]
shown = baselines.rate_distortion(records)
figure, axes = plot.panels()
plot.lines(axes, shown)
axes.set(xlabel=plot.BPP, ylabel=plot.PSNR)
plot.zoom(axes, 2.0)
axes.legend(frameon=False)
plot.sign(figure, shown.records)
figure

# %% [markdown]
# JPEG XL lies below WebP here, and that is no slip of ours: its encoder spends bits for the eye, not for PSNR. The
# same files measured by MS-SSIM have it above WebP and JPEG 2000 from about 0.35 bpp on. Which codec is "better"
# depends on the ruler.

# %%
at = {
    (name, metric): np.interp(0.5, *baselines.baseline(records, name).curve(metric))
    for name in ("jpegxl", "webp")
    for metric in ("psnr", "ms_ssim")
}

# %% tags=["remove-cell"]
if at_defaults:
    assert (
        at["jpegxl", "psnr"] < at["webp", "psnr"]
        and at["jpegxl", "ms_ssim"] > at["webp", "ms_ssim"]
    )

# %% tags=["hide-input"]
shown = baselines.rate_distortion(records, "ms_ssim")
figure, axes = plot.panels()
plot.lines(axes, shown)
axes.set(xlabel=plot.BPP, ylabel=plot.MS_SSIM)
plot.zoom(axes, 1.0)
axes.legend(frameon=False)
plot.sign(figure, shown.records)
figure

# %% [markdown]
# Between two curves one can read the gap in two directions {cite:p}`bjontegaard`: rate saved at equal quality
# (BD-rate), quality gained at equal rate (BD-PSNR). Both are means over the range that the curves share, which
# therefore belongs beside the number.

# %%
plot.table(baselines.bd_table(records))

# %% [markdown]
# ## Verdict

# %%
tables.verdict_table("baselines")

# %% [markdown]
# ## A widget
#
# Move the budget. Each crop is cut without loss from a picture that was decoded from a real file; where a codec has
# no file that small, it says so.

# %%
widgets.codec_budgets()

# %% [markdown]
# ## Exercises
#
# 1. A codec reports 0.25 bpp for a picture of 768 × 512 pixels. How long is its file?
# 2. Add a constant 1 to every value of a picture. What is the PSNR? Does it depend on the picture?
# 3. Our means are of per-picture PSNRs. Some papers average the MSE over pictures first and take the logarithm then.
#    Which of the two is larger?
#
# :::{admonition} Solutions
# :class: dropdown
# 1. $0.25 \cdot 768 \cdot 512 / 8 = 12{,}288$ bytes.
# 2. The MSE is 1 (as long as nothing was at 255), so $20 \log_{10} 255 = 48.13$ dB for every picture.
# 3. The mean of the PSNRs. $-\log$ is convex, so by Jensen's inequality the mean of $-\log \mathrm{MSE}$ is at least
#    $-\log$ of the mean MSE. On Kodak the difference is several tenths of a dB: compare only like with like.
# :::

# %%
grey = np.full((8, 8, 3), 100, np.uint8)

# %% tags=["remove-cell"]
if at_defaults:
    assert round(metrics.psnr(reference=grey, reconstruction=grey + 1), 2) == 48.13
