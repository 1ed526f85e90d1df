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
# # Sparse CAE: pruning an encoder by double descent
#
# This chapter shows how Sparse CAE {cite:p}`sparse_cae` trains an {term}`autoencoder` whose encoder is mostly zero, and
# what a zero must look like before it saves computation or memory.
#
# **You will learn**
#
# - how uniform noise and a learned density turn the rate of a file into a loss that has a gradient;
# - how {term}`double descent` works: training, projection, {term}`mask`, {term}`rewinding`, second training;
# - why a zero filter can be deleted together with an input channel of the next layer;
# - how the paper counts operations, why real {term}`surgery` finds more, and what a sparse encoder costs in bytes.
#
# **You need** [the chapter on projections](20_projections), the [primer](00_compression_primer) for entropy and range
# coding, and PyTorch. No GPU and no data set. **Run it:** `python -m reproduce run 21_double_descent`, less than one
# minute, no download. The paper's tables and figures follow in [Sparse CAE: results](22_sparse_cae_results).

# %% tags=["parameters"]
preset = "smoke"  # no effect: the trainings of this chapter are always tiny; the chapter on results has the others
seed = 0  # of all random numbers of this chapter; a whole number from 0 to 99
sparsity = 0.83  # share of zeros in the encoder, as in the paper's Table I; between 0.3 and 0.95
lam = 1.0  # weight of the rate in the small example; between 0 and 10
steps = 160  # of each training of the small example; a whole number from 40 to 1000

# %% tags=["hide-input"]
import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from reproduce import drawings, plot, sparse_weights, widgets
from reproduce.papers import sparse_cae as numbers
from reproduce.records import published
from reproduce.tables import say
from sparsecomp import checks, codecs, complexity, data
from sparsecomp.coding import contexts, latents
from sparsecomp.models.inference import to_input
from sparsecomp.models.pretrained import default_models
from sparsecomp.models.sparse_cae import SCALE, Shape, SparseCAE
from sparsecomp.sparsify import surgery
from sparsecomp.sparsify.projections import PROJECTIONS, radius_for_sparsity
from sparsecomp.training.autoencoder import CaeTraining
from sparsecomp.training.double_descent import Constraint, project, second_start
from sparsecomp.training.loop import run

checks.one_of("preset", preset, numbers.PRESETS)
for name, value, low, high in (("seed", seed, 0, 99), ("steps", steps, 40, 1000)):
    checks.whole(name, value, low, high)
for name, value, low, high in (("sparsity", sparsity, 0.3, 0.95), ("lam", lam, 0, 10)):
    checks.in_range(name, value, low, high)
at_defaults = (seed, sparsity, lam, steps) == (0, 0.83, 1.0, 160)  # the text is checked at these values

# %% [markdown]
# ## The problem: a sender with little energy
#
# A satellite or a camera encodes a picture, and a data centre decodes it. One network serves all pictures, so a file
# holds no weights. The sender must store the encoder and compute it on a battery. Sparse CAE therefore makes the
# *encoder* sparse and leaves the decoder dense. {numref}`fig-dd-scheme` shows all parts.

# %% tags=["hide-input"] mystnb={"figure": {"caption": "**Only the weights of the encoder are made sparse; the latent and the decoder stay dense.** The scheme of the paper's Fig. 1, with the entropy coder that it omits. Orange: the projection, which acts between two trainings. Green: what the loss measures. <small>A drawing.</small>", "name": "fig-dd-scheme"}, "image": {"alt": "Block diagram. Upper row, left to right: picture, encoder, latent, quantiser, entropy coder, file. Lower row, right to left: file, entropy decoder, decoder, reconstruction. An orange box named projection points to the encoder. A green box, the learned density, points to the entropy coder; another, the Huber loss, stands between picture and reconstruction."}}
figure, axes = plot.panels(size=(8.4, 3.9))
picture = data.bundled()["astronaut"]
for low in (0.2, 3.2):
    axes.imshow(picture[10:202, 130:322], extent=(0, 1.5, low, low + 1.5), aspect="auto")
boxes = {
    (2.4, 3.2): ("encoder\nsparse weights", "#D55E00"), (4.8, 3.2): ("latent Z\nin (−1, 1)", "#777777"),
    (7.2, 3.2): ("quantiser\nstep Δ", "#0072B2"), (9.6, 3.2): ("entropy\ncoder", "#0072B2"),
    (9.6, 0.2): ("entropy\ndecoder", "#0072B2"), (7.2, 0.2): ("rounded\nlatent", "#777777"),
    (3.6, 0.2): ("decoder\ndense weights", "#0072B2"), (2.4, 5.5): ("projection\nof weights W", "#D55E00"),
    (7.2, 5.5): ("learned density\nrate λ H(Z)", "#009E73"), (-0.2, 1.9): ("Huber loss\nψ(X̂ − X)", "#009E73"),
}  # fmt: skip
for (x, y), (text, colour) in boxes.items():
    height = 1.1 if x < 0 else 1.5
    axes.add_patch(drawings.Rectangle((x, y), 1.9, height, facecolor="white", edgecolor=colour, lw=1.8, zorder=3))
    axes.text(x + 0.95, y + height / 2, text, ha="center", va="center", fontsize=9.5, zorder=4)
ways = [(x, 3.95, x + gap, 3.95) for x, gap in ((1.5, 0.9), (4.3, 0.5), (6.7, 0.5), (9.1, 0.5), (11.5, 0.8))]
ways += [(12.3, 0.95, 11.5, 0.95), (9.6, 0.95, 9.1, 0.95), (7.2, 0.95, 5.5, 0.95), (3.6, 0.95, 1.5, 0.95)]
ways += [(3.35, 5.5, 3.35, 4.7), (9.1, 6.0, 10.4, 4.7), (8.15, 4.7, 8.15, 5.5), (12.6, 3.6, 12.6, 1.3)]
for x, y, end, up in ways:
    axes.annotate("", (end, up), (x, y), arrowprops={"arrowstyle": "-|>", "color": "#333333", "lw": 1.2})
for x, y, text in ((12.6, 3.95, "file"), (12.6, 0.95, "file"), (0.75, 4.95, "picture X"), (0.75, -0.1, "X̂")):
    axes.text(x, y, text, ha="center", va="center", fontsize=9.5)
axes.set(xlim=(-0.3, 13.1), ylim=(-0.4, 7.1))
axes.axis("off")
figure

# %% [markdown]
# Follow the upper row of {numref}`fig-dd-scheme`. The encoder $E$ maps the picture $X$ to the {term}`latent` $Z$. The
# quantiser rounds $Z$ to multiples of a step $\Delta$, and the entropy coder writes the file. The receiver runs the
# lower row. The learned density is stored with the decoder, and both coders use it. The paper's Fig. 1 ends at the
# latent: it shows no coder, and the released code has none.
#
# The network uses convolutions only, so it accepts a picture of any size. The next table lists its layers in the
# paper's size. A residual block consists of two convolutions, and its input is added to its output. The latent has 32
# channels of a quarter of the height and width, which is two numbers per pixel. A $\tanh$ limits them to $(-1, 1)$.

# %% tags=["hide-input"]
paper_size, layers, x = SparseCAE(Shape()), [], torch.zeros(1, 3, 64, 64)
for half in ("encoder", "decoder"):
    for name, layer in getattr(paper_size, half).named_children():
        convolutions = [m for m in layer.modules() if isinstance(m, nn.Conv2d | nn.ConvTranspose2d)]
        macs = complexity.count_macs(layer, tuple(x.shape)) / 64**2
        before, x = x.shape[1], layer(x)
        kernel = convolutions[0].kernel_size[0]
        kind = "transposed convolution" if isinstance(layer, nn.ConvTranspose2d) else "convolution"
        what = f"{kind} {kernel} × {kernel}, {before} to {x.shape[1]} channels"
        if name == "blocks":
            what = f"{len(layer)} residual blocks of {before} channels, {kernel} × {kernel}"
        layers.append([half, what, "1" if x.shape[-1] == 64 else f"1/{64 // x.shape[-1]}", macs])
total = sum(row[-1] for row in layers)
shown = [[*row[:3], f"{row[3]:,.0f}", f"{100 * row[3] / total:.1f} %"] for row in layers]
plot.Table(shown, columns=["network", "layer", "side of its output", "MACs per pixel", "share"])

# %% tags=["remove-cell"]
(encoder_macs, decoder_macs) = (sum(row[-1] for row in layers if row[0] == half) for half in ("encoder", "decoder"))
say("dd-encoder", encoder_macs / 1000, ".0f")
say("dd-encoder-share", 100 * encoder_macs / total, ".0f")
assert round(encoder_macs) == 75_696 and 4 * encoder_macs > decoder_macs > 3 * encoder_macs

# %% [markdown]
# We count computation in multiply-accumulates ({term}`MACs <MAC>`) per pixel of the picture. The dense encoder needs
# {glue:text}`dd-encoder` thousand of them, which is only {glue:text}`dd-encoder-share` % of the whole network. So even
# an encoder without any computation would save {glue:text}`dd-encoder-share` % of the computation of both sides. The
# method helps the sender, not the receiver.
#
# ## Rounding, noise and a learned rate
#
# **Noise in place of rounding.** Rounding has the gradient zero almost everywhere, so it cannot be trained through.
# A common remedy {cite:p}`noise` adds uniform noise of one step's width during training:
#
# $$ \hat z = \Delta \operatorname{round}(z / \Delta) \;\text{ in a file}, \qquad
#    \tilde z = z + \Delta u, \quad u \in [-\tfrac12, \tfrac12] \;\text{ in training}. $$ (eq-dd-noise)
#
# Here $z$ is one entry of the latent and $u$ is a uniform random number. The errors $\hat z - z$ and $\tilde z - z$
# have the same range. If the density of $z$ changes little over one step, they also have the same distribution. The
# gradient of $\tilde z$ with respect to $z$ is 1.
#
# **The rate.** Let $p_c$ be a density for the entries of channel $c$, with parameters that are trained. A symbol of
# $\hat z$ has the probability that $p_c$ gives to its interval of width $\Delta$. The {term}`entropy` of the latent is
# estimated by the sum over all channels $c$ and places $i$:
#
# $$ \mathcal{H}(Z) \approx -\sum_{c, i} \log_2
#    \int_{\tilde z_{ci} - \Delta/2}^{\tilde z_{ci} + \Delta/2} p_c(t)\,dt . $$ (eq-dd-entropy)
#
# This is the number of bits that a {term}`range coder` needs if its tables come from $p_c$. A logistic density is
# convenient, because its integral is a difference of two sigmoid functions. The following class is a
# complete learned rate:


# %%
class LogisticPrior(nn.Module):
    """One logistic density per channel of a latent (N, C, h, w); an integral is a difference of two sigmoids."""

    def __init__(self, channels):
        super().__init__()
        self.mean = nn.Parameter(torch.zeros(channels, 1, 1))
        self.log_scale = nn.Parameter(torch.full((channels, 1, 1), -2.0))

    def bits(self, z, delta):
        upper, lower = ((z + edge * delta / 2 - self.mean) / self.log_scale.exp() for edge in (1, -1))
        return -torch.log2((upper.sigmoid() - lower.sigmoid()).clamp(min=1e-9))


# %% [markdown]
# The library's `FactorizedPrior` mixes three logistic densities per channel and is exact far from the mean. After
# training, it becomes integer tables for the range coder, one per channel. How well do such tables fit a picture that
# the model has never seen? {numref}`fig-dd-prior` shows two channels.

# %% tags=["hide-input"] mystnb={"figure": {"caption": "**A wide channel costs {glue:text}`dd-bits-most` bits per symbol, a narrow one {glue:text}`dd-bits-narrow`; the table comes from other pictures and does not fit this one exactly.** Horizontal axis: symbol. Vertical axis: share of the symbols (bars) and probability in the model's table (line). <small>A trained dense model at step 1/32 on the bundled astronaut, computed by this page.</small>", "name": "fig-dd-prior"}, "image": {"alt": "Two panels with grey bars and an orange line. Left, bars from about minus 13 to 15 with a high peak at the left end, and a line that is one smooth mound. Right, a narrow peak at zero, where line and bars agree."}}
dense = default_models().find("cae-high-seed-0-desktop-bfloat16")
with torch.inference_mode():
    symbols = latents.quantise(dense.model.encoder(to_input(picture, SCALE)), 512)[0].numpy()  # step 512/16384 = 1/32
most = latents.largest_symbol(512)
tables = [latents.table(counts, 512) / 2**24 for counts in dense.counts]
occurs = [np.bincount(channel.ravel() + most, minlength=2 * most + 1) / channel.size for channel in symbols]
bits = [float(-share @ np.log2(table)) for share, table in zip(occurs, tables, strict=True)]
wide, narrow = int(np.argmax(bits)), int(np.argmin(np.abs(np.array(bits) - 1)))
figure, panels = plot.panels(1, 2, size=(8.4, 3.4))
for axes, channel in zip(panels, (wide, narrow), strict=True):
    places = np.arange(-most, most + 1)
    axes.bar(places, occurs[channel], color="#777777", alpha=0.55, width=1.0, label="symbols of the astronaut")
    axes.plot(places, tables[channel], color="#D55E00", lw=1.6, label="table of the model")
    axes.set(title=f"channel {channel}: {bits[channel]:.2f} bits per symbol", xlabel="symbol", xlim=(-20, 20))
panels[0].set_ylabel("share or probability")
figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=2, frameon=False)
figure

# %% [markdown]
# Start with the left panel of {numref}`fig-dd-prior`, where bars and line differ. This picture has large bright and
# dark areas, and the table expects something in between. With a table of its own, the channel would need
# {glue:text}`dd-bits-own` bits per symbol instead of {glue:text}`dd-bits-most`. That is the price of tables that are
# the same for all pictures. In return, the file needs no table. In the right panel most symbols are zero, as the table
# expects.
#
# The coder needs about as many bytes as the estimate says. Both ignore that neighbouring symbols depend on each other:

# %%
code_of_tables = latents.encode(symbols, dense.counts, 512)
print(f"estimate {sum(b * symbols[0].size for b in bits) / 8:,.0f} bytes, file {len(code_of_tables):,} bytes")

# %% [markdown]
# ### Contexts: what the neighbours say
#
# Most channels are large at edges and almost zero in smooth areas; the widest follows the brightness. In both cases a
# symbol with large neighbours is probably large, too. A coder can use this. It keeps several tables and chooses one by
# what it already knows. What it knows is called the {term}`context` of the symbol. The next cell sorts the symbols into
# classes by the mean magnitude of their four neighbours. It compares the entropy of each channel with the entropy
# within the classes:


# %%
def entropy(symbols):
    """Bits of all symbols together, if a table of their own frequencies is known."""
    counts = np.unique(symbols, return_counts=True)[1]
    return float(-(counts * np.log2(counts / counts.sum())).sum())


sizes = np.pad(np.abs(symbols), ((0, 0), (1, 1), (1, 1)))
around = (sizes[:, :-2, 1:-1] + sizes[:, 2:, 1:-1] + sizes[:, 1:-1, :-2] + sizes[:, 1:-1, 2:]) / 4
classes = np.round(2 * np.log2(1 + around)).astype(int)  # half an octave wide
alone = sum(map(entropy, symbols)) / 8
known = sum(entropy(q[k == n]) for q, k in zip(symbols, classes, strict=True) for n in np.unique(k)) / 8
print(f"entropy: by channel {alone:,.0f} bytes, by channel and class {known:,.0f} bytes")

# %% [markdown]
# Knowing the neighbours removes {glue:text}`dd-context-entropy` % of the bits. This is not yet a code. The receiver
# must know the neighbours before it reads a symbol, and nobody knows the tables of this picture in advance. The library
# solves both problems:
#
# - **Order.** The coder first writes every 32nd row and column. Then it fills in the places between known ones, on a
#   grid that becomes finer from pass to pass. So most symbols have four known neighbours around them.
# - **Classes.** The neighbours, and the earlier channels at the same place, give a prediction of the symbol and of the
#   size of its error. The sizes are sorted into classes, and each class has a table that codes the error. Weights and
#   tables are fitted to training pictures and belong to the model.
#
# The module `coding.contexts` has the formulas. Such contexts are old: the coder of JPEG 2000 uses them, and so do
# learned codecs with larger models. What do they save in a file, and how large is the file at other steps?

# %%
code_of_contexts = contexts.encode(symbols, dense.contexts)
print(f"step 1/32: tables {len(code_of_tables):,} bytes, contexts {len(code_of_contexts):,} bytes")
for delta in (128, 256, 512):
    measured = codecs.evaluate(codecs.get_codec("cae", model=dense.name, step=delta), picture)
    print(f"step 1/{16384 // delta}: {measured.bpp:.3f} bpp, {measured.psnr:.2f} dB")

# %% tags=["remove-cell"]
say("dd-bits-most", max(bits))
say("dd-bits-narrow", bits[narrow])
own = -sum(share * np.log2(share) for share in occurs[wide] if share > 0)
say("dd-bits-own", own)
say("dd-context-entropy", 100 * (1 - known / alone), ".0f")
say("dd-context-file", 100 * (1 - len(code_of_contexts) / len(code_of_tables)), ".0f")
assert bits[wide] > own + 0.2 and bits[wide] > 2 * bits[narrow]
estimate, written = sum(b * symbols[0].size for b in bits), len(code_of_tables)
assert abs(estimate / 8 - written) < 64 and abs(estimate - latents.bits(symbols, dense.counts, 512)) < 1
assert known < 0.9 * alone and len(code_of_contexts) < 0.9 * len(code_of_tables)
assert len(measured.data) - len(code_of_contexts) in range(20, 40)

# %% [markdown]
# Contexts make this file {glue:text}`dd-context-file` % smaller. They do not change the picture; they cost time for
# coding. It does not come from the method of the paper, and a comparison of two trainings must use the same coder for
# both.
#
# The step belongs to the file, not to the model. So one trained model gives a whole {term}`rate-distortion curve`: a
# coarser step gives a smaller file and a worse picture. This is our reading of the paper, whose curves are "for the
# CAEs from Table I", one model for each curve.
#
# ## The constrained problem
#
# We can now write the paper's equation (1) with all its parts:
#
# $$ \phi(W) = \psi(\hat X - X) + \lambda\, \mathcal{H}(Z), \qquad
#    \min_W \phi(W) \quad\text{subject to}\quad \lVert W \rVert_1^1 \le \eta . $$ (eq-dd-loss)
#
# Here $W$ holds the weights, $\hat X$ is the {term}`reconstruction`, $\psi$ is the Huber loss, $\lambda$ weights the
# rate, and $\eta$ is the radius of the {term}`norm ball` of {eq}`eq-cae-constraint`. Three remarks:
#
# - The Huber loss is $\tfrac12 t^2$ for an error $|t| \le 1$, and linear beyond. Errors of pictures in $[0, 1]$ are
#   almost never larger. So $\psi$ is half the mean squared error, and not robust.
# - The entropy of rounded numbers is piecewise constant. We insert {eq}`eq-dd-noise` and {eq}`eq-dd-entropy`. The
#   released code multiplies the entropy by 0 and detaches it, so nothing limits the rate there.
# - We let $\lambda$ grow with $\Delta^2$. Halving $\Delta$ costs one bit per symbol and divides the error by four, so
#   the error that one bit removes is proportional to $\Delta^2$. Then one model can serve several steps.
#
# ## Double descent
#
# The paper does not keep the constraint in {eq}`eq-dd-loss` during training. Its Algorithm 2 trains twice:
#
# $$ W_1 = \operatorname{train}(W_\text{init}) $$ (eq-dd-first)
#
# $$ M_0 = \mathbb{1}\bigl[P(W_1; \eta) \ne 0\bigr] $$ (eq-dd-mask)
#
# $$ W = \operatorname{train}(W_\text{init} \odot M_0), \quad\text{with the gradient } \nabla\phi(W) \odot M_0 .
#    $$ (eq-dd-second)
#
# Here $W_\text{init}$ are the initial values, $P$ is one of the maps of [the last chapter](20_projections), applied to
# each layer of the encoder with the same radius, and $\odot$ multiplies entry by entry. The condition in the
# brackets is checked for each weight. In words:
#
# 1. The **first training** {eq}`eq-dd-first` is ordinary and dense.
# 2. The **projection** {eq}`eq-dd-mask` gives the mask $M_0$. It is 0 where the projected weight is 0. With the paper's
#    map for $\ell_{1,1}$, a bilevel map, the mask removes whole filters and single weights. All other properties of
#    the projected weights are discarded.
# 3. The **second training** {eq}`eq-dd-second` starts again from the initial values, and the gradient is
#    masked. So a weight outside the mask stays zero. The decoder and the density are trained again without a mask.
#
# As printed, the second training starts from $W_\text{init}$ without the mask. A masked gradient would then keep every
# pruned weight at its *initial* value, and no weight would be zero. We therefore start from $W_\text{init} \odot M_0$.
#
# The idea comes from the *lottery ticket hypothesis*: a large network contains a small one that trains well from its
# own initial values. The name "double descent" is the paper's. In learning theory it means something else.
#
# ### In PyTorch
#
# We use a small autoencoder and eight crops of 64 × 64 pixels. Its encoder has four convolutions, and its latent has
# one number per pixel. Change what you like.

# %%
SIDE, DELTA = 64, 1 / 32


def network():
    """A small autoencoder with the initial values of this page's seed: W_init."""
    torch.manual_seed(seed)
    sizes = [(3, 16, 5, 2), (16, 32, 5, 2), (32, 32, 3, 1), (32, 16, 3, 1)]  # inputs, filters, kernel, stride
    convolutions = [nn.Conv2d(n, m, k, s, k // 2) for n, m, k, s in sizes]
    encoder = [part for layer in convolutions for part in (layer, nn.LeakyReLU())]
    decoder = [nn.Conv2d(16, 32, 3, 1, 1), nn.LeakyReLU(), nn.ConvTranspose2d(32, 32, 2, 2), nn.LeakyReLU()]
    decoder = nn.Sequential(*decoder, nn.ConvTranspose2d(32, 3, 2, 2))
    parts = {"encoder": nn.Sequential(*encoder[:-1], nn.Tanh()), "decoder": decoder, "prior": LogisticPrior(16)}
    return nn.ModuleDict(parts)


# %%
def loss_of(model, x, draw):
    """The loss phi with noise in place of rounding."""
    z = model["encoder"](x - 0.5)
    noisy = z + DELTA * (torch.rand(z.shape, generator=draw) - 0.5)
    bpp = model["prior"].bits(noisy, DELTA).sum((1, 2, 3)) / SIDE**2
    return F.huber_loss(model["decoder"](noisy) + 0.5, x) + lam * DELTA**2 * bpp.mean()


# %%
def train(model, masks):
    """Train in place; a parameter with a mask has a masked gradient. Returns the PSNR every 10 steps."""
    draw, adam, course = torch.Generator().manual_seed(seed), torch.optim.Adam(model.parameters()), []
    for number in range(steps + 1):
        if number % 10 == 0:
            course.append((number, score(model)[0]))
        adam.param_groups[0]["lr"] = 4e-3 * (1 - number / (steps + 1))  # falls to almost zero
        adam.zero_grad()
        loss_of(model, crops, draw).backward()
        for name, mask in masks.items():
            model.get_parameter(name).grad *= mask
        adam.step()
    return course


# %% tags=["hide-input"]
# Eight crops of the bundled photographs, (8, 3, 64, 64) in [0, 1]; and PSNR and estimated rate of rounded latents.
generator = torch.Generator().manual_seed(seed)
photographs = list(data.bundled().values())
crops = []
for number in range(8):
    photo = torch.from_numpy(photographs[number % len(photographs)]).permute(2, 0, 1)
    top, left = (int(torch.randint(n - SIDE + 1, (), generator=generator)) for n in photo.shape[1:])
    crops.append(photo[:, top : top + SIDE, left : left + SIDE] / 255)
crops = torch.stack(crops)


@torch.no_grad()
def score(model):
    z = (model["encoder"](crops - 0.5) / DELTA).round() * DELTA
    mse = (model["decoder"](z).add(0.5).clamp(0, 1) - crops).square().mean()
    return -10 * float(mse.log10()), float(model["prior"].bits(z, DELTA).sum() / len(crops) / SIDE**2)


# %% [markdown]
# The next two cells are the method. The first makes the mask $M_0$ from the trained weights, by {eq}`eq-dd-mask`:


# %%
def mask_of(first, kind):
    """M_0: where the weights of the encoder stay nonzero, with one radius for all layers."""
    weights = {n: w.detach() for n, w in first.named_parameters() if n.startswith("encoder") and w.dim() == 4}
    rows = [w.flatten(1) for w in weights.values()]  # one row per filter
    if kind == "random":
        kept = [torch.rand(row.shape, generator=generator) >= sparsity for row in rows]
    else:
        eta, _ = radius_for_sparsity(rows, sparsity, kind)
        kept = [PROJECTIONS[kind](row, eta) != 0 for row in rows]
    return {n: k.view_as(w) for (n, w), k in zip(weights.items(), kept, strict=True)}


# %% [markdown]
# The second returns to the initial values, applies the mask, and trains again, by {eq}`eq-dd-second`:


# %%
def second_training(masks):
    model = network()  # rewind to W_init
    with torch.no_grad():
        for name, mask in masks.items():
            model.get_parameter(name).mul_(mask)  # W_init * M_0
    return model, train(model, masks)


# %% [markdown]
# One first training serves three masks. A random mask with as many ones is the control: it says what the *choice* of
# the zeros contributes.

# %%
first = network()
trained = {"dense": (first, train(first, {}), {})}
for name, kind in {"ℓ1": "l1", "ℓ1,1 (bilevel)": "bilevel_l11", "random": "random"}.items():
    masks = mask_of(first, kind)
    trained[name] = (*second_training(masks), masks)
table = {}
for name, (model, _, _) in trained.items():
    weights = [layer.weight.detach().flatten(1) for layer in model["encoder"] if isinstance(layer, nn.Conv2d)]
    zeros = sum(int((w == 0).sum()) for w in weights) / sum(w.numel() for w in weights)
    dead = sum(int((w == 0).all(1).sum()) for w in weights) / sum(len(w) for w in weights)
    loss = float(loss_of(model, crops, torch.Generator().manual_seed(1)).detach())
    table[name] = [zeros, dead, 1000 * loss, *score(model)]
form = ("{:.1%}", "{:.0%}", "{:.2f}", "{:.2f}", "{:.2f}")
rows = [[name, *(f.format(value) for f, value in zip(form, of, strict=True))] for name, of in table.items()]
plot.Table(rows, columns=["mask", "zeros", "dead filters", "1000 × loss", "PSNR, dB", "bpp, estimated"])

# %% tags=["hide-input"] mystnb={"figure": {"caption": "**At equal sparsity, the masks of the projections train better than a random mask, and none reaches the dense network.** Horizontal axis: step of the first training (dense) or of the second (others). Vertical axis: PSNR of the rounded latents. <small>The small network of this page on its own eight crops.</small>", "name": "fig-dd-small"}, "image": {"alt": "Four rising curves of PSNR against training steps. The dense curve ends highest, then the l1 mask and the bilevel l1,1 mask close together; the random mask ends lowest."}}
figure, axes = plot.panels(size=(7.2, 3.9))
looks = zip(("#777777", "#CC79A7", "#0072B2", "#D55E00"), ("-", "--", "-", ":"), strict=True)
for (name, (_, course, _)), (colour, line) in zip(trained.items(), looks, strict=True):
    axes.plot(*zip(*course, strict=True), line, color=colour, lw=1.9, label=f"{name}: {course[-1][1]:.2f} dB")
axes.set(xlabel="step", ylabel="PSNR in dB")
axes.legend(frameon=False, loc="lower right", title="mask and last value", alignment="left")
figure

# %% [markdown]
# All masks of {numref}`fig-dd-small` lose quality: with so few weights, so few steps are not enough to reach the dense
# network. The positions matter. A random mask with as many ones ends {glue:text}`dd-small-random` dB below the dense
# network, the mask of $\ell_1$ only {glue:text}`dd-small-l1` dB, and that of $\ell_{1,1}$ {glue:text}`dd-small-l11`
# dB. The gap between the last two is too small for a ranking: it changes its sign with `seed`. But
# {glue:text}`dd-small-dead` % of the filters of $\ell_{1,1}$ are dead, and {glue:text}`dd-small-dead-l1` % of those of
# $\ell_1$.
#
# What does not follow: the networks see only their own eight crops, so nothing here says how they treat other pictures.
# The dense network has no second training because a mask of ones would repeat the first training exactly.
#
# ### The library's version
#
# The library adds what a real training needs: biases (a dead filter also loses its bias), groups that span several
# layers, {term}`checkpoints <checkpoint>`, and the control experiments of the next chapter. The mask is computed by
# `project`:
#
# ```{literalinclude} ../sparsecomp/training/double_descent.py
# :pyobject: project
# :language: python
# ```
#
# The start of the second training is `second_start`. Its option `restart` is `"rewind"` for double descent; `"random"`
# takes other initial values, and `"trained"` keeps the trained weights, which is {term}`fine-tuning`.
#
# :::{admonition} `second_start`
# :class: dropdown
# ```{literalinclude} ../sparsecomp/training/double_descent.py
# :pyobject: second_start
# :language: python
# ```
# :::
#
# Together they make double descent in six lines. We use the sizes of the preset `smoke`; after so few steps the
# pictures are still useless:

# %%
others = data.bundled()
held = {"chelsea": others.pop("chelsea")}
chosen, constraint = numbers.PRESETS["smoke"], Constraint("bilevel_l11", sparsity)
before = SparseCAE(Shape(chosen.width), seed)
run(CaeTraining(before, others, held, chosen.descent, seed=seed))
projected = project(before, constraint)
after = second_start(before, projected, constraint, seed)
run(CaeTraining(after, others, held, chosen.descent, seed=seed, masks=projected.masks))
inside = [after.get_parameter(name) != 0 for name in projected.weights]
left_zero = 1 - sum(int(w.sum()) for w in inside) / sum(w.numel() for w in inside)
print(f"zeros: {projected.sparsity:.1%} in the mask, {left_zero:.1%} after the second training")

# %% tags=["remove-cell"]
z, prior = torch.tanh(torch.randn(2, 3, 5, 5, generator=generator)), LogisticPrior(3)
centres = (torch.arange(-64, 65) / 16).view(1, 1, 1, -1).expand(1, 3, 1, -1)
assert torch.allclose((2 ** -prior.bits(centres, 1 / 16)).sum(-1), torch.ones(1, 3, 1), atol=1e-3)
names = list(trained)
for name, key in zip(names[1:], ("l1", "l11", "random"), strict=True):
    say(f"dd-small-{key}", table["dense"][3] - table[name][3], ".1f")
say("dd-small-dead", 100 * table[names[2]][1], ".0f")
say("dd-small-dead-l1", 100 * table[names[1]][1], ".0f")
for name, (model, _, masks) in trained.items():
    for parameter, mask in masks.items():
        assert not model.get_parameter(parameter)[~mask].any(), "a masked weight has moved"
    assert name == "dense" or abs(table[name][0] - sparsity) < 0.03
if at_defaults:
    reached = [table[name][3] for name in names]
    assert reached[0] > max(reached[1:3]) + 0.5 and reached[3] < min(reached[1:3]) - 0.5
    assert table["dense"][2] < min(table[name][2] for name in names[1:3]) < table["random"][2]
    assert table[names[2]][1] > table[names[1]][1] + 0.1 and abs(table["dense"][0]) == 0
    assert left_zero > projected.sparsity + 0.02
assert left_zero >= projected.sparsity >= sparsity

# %% [markdown]
# There are more zeros after the second training than in the mask. Our networks start as a discrete cosine transform, so
# most of their initial values are zero. A weight inside the mask stays zero if its gradient is zero in every step, for
# instance because it reads a filter that is dead. This will matter when we count.
#
# ## Surgery: why a zero filter can be deleted
#
# A convolution multiplies by zero as slowly as by any other number. To save time, the zeros must leave the network.
# Consider two layers with biases $b_1$, $b_2$ and an activation between them:
#
# $$ h_{2,i} = \operatorname{act}\Bigl(b_{1,i} + \sum_c w_{1,ic} * h_{1,c}\Bigr), \qquad
#    h_{3,k} = b_{2,k} + \sum_i w_{2,ki} * h_{2,i} . $$ (eq-dd-surgery)
#
# Here $h_{1,c}$ is channel $c$ of the input, $w_{1,ic}$ is the kernel of filter $i$ for this channel, $*$ is the
# convolution, and $\operatorname{act}(0) = 0$. If filter $i$ is zero with its bias, then $h_{2,i} = 0$. Its term in the
# second sum of {eq}`eq-dd-surgery` is zero for *any* $w_{2,ki}$. So we may delete the filter, and with it the input
# channel $i$ of every filter $k$ of the next layer. {numref}`fig-dd-surgery` shows both deletions for the layers of the
# cell below.

# %%
torch.manual_seed(seed)
one, two = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 6, 3, padding=1)
with torch.no_grad():
    for number in (1, 4, 6):
        one.weight[number], one.bias[number] = 0, 0
alive = one.weight.flatten(1).any(1)
kept = int(alive.sum())
small_one, small_two = nn.Conv2d(3, kept, 3, padding=1), nn.Conv2d(kept, 6, 3, padding=1)
small_one.load_state_dict({"weight": one.weight[alive], "bias": one.bias[alive]})
small_two.load_state_dict({"weight": two.weight[:, alive], "bias": two.bias})
x = torch.randn(1, 3, 16, 16)
with torch.no_grad():
    whole, small = two(F.leaky_relu(one(x))), small_two(F.leaky_relu(small_one(x)))
print(f"{kept} of 8 filters; largest difference of the outputs {(whole - small).abs().max():.1e}")

# %% tags=["hide-input"] mystnb={"figure": {"caption": "**A dead filter takes a row of its own layer and a column of the next one with it.** Each square is one kernel of 3 × 3 weights; rows are filters, columns are input channels. White: zero. Orange: not zero, but never used, because it reads a dead filter. <small>The two layers of the cell above.</small>", "name": "fig-dd-surgery"}, "image": {"alt": "Two grids of squares. In the left one, with eight rows and three columns, rows 1, 4 and 6 are white and the others blue. In the right one, with six rows and eight columns, columns 1, 4 and 6 are orange and the others blue."}}
figure, panels = plot.panels(1, 2, size=(8.4, 3.6))
for axes, layer, title in zip(panels, (one, two), ("first layer", "second layer"), strict=True):
    filters, inputs = layer.weight.shape[:2]
    for row in range(filters):
        for column in range(inputs):
            dead_row, unread = layer is one and not alive[row], layer is two and not alive[column]
            colour = "white" if dead_row else "#D55E00" if unread else "#0072B2"
            corner = (column - 0.45, row - 0.45)
            axes.add_patch(drawings.Rectangle(corner, 0.9, 0.9, facecolor=colour, edgecolor="#777777", alpha=0.8))
    axes.set(xlim=(-0.6, 7.6), ylim=(7.6, -0.6), aspect="equal", xticks=range(inputs), yticks=range(filters))
    axes.set(xlabel="input channel", ylabel="filter", title=f"{title}: {filters} filters")
    axes.grid(visible=False)
for label, colour in (("stays", "#0072B2"), ("dead: zero", "white"), ("reads a dead filter", "#D55E00")):
    panels[0].scatter([], [], marker="s", s=90, color=colour, edgecolor="#777777", label=label)
panels[0].legend(frameon=False, loc="center right")
figure

# %% [markdown]
# The orange squares in {numref}`fig-dd-surgery` are easy to overlook: they are not zero, and no projection has touched
# them. They still do nothing. A real encoder has two complications:
#
# - **Biases.** A filter with zero weights and the bias $b$ gives the constant $\operatorname{act}(b)$. The next layer
#   pads with zeros at the border, so this constant cannot simply move into the next bias. The library replaces all
#   constants that a layer reads by one channel of ones, which is exact.
# - **The residual stream.** The second layer and three blocks add to the same channels. A channel disappears only if
#   *every* layer that writes to it is dead there. If we want this, we must put these filters into one group before the
#   projection. The option `coupled` does so.
#
# The library deletes in both directions until nothing changes: filters that are zero, and filters that nobody reads.
#
# :::{admonition} Library functions `_shrink_pair` and `prune`
# :class: dropdown
# ```{literalinclude} ../sparsecomp/sparsify/surgery.py
# :pyobject: _shrink_pair
# :language: python
# ```
# ```{literalinclude} ../sparsecomp/sparsify/surgery.py
# :pyobject: prune
# :language: python
# ```
# :::
#
# We apply `prune` to an encoder that was trained by double descent with 83 % zeros, and compare the latents of the
# bundled astronaut:

# %%
sparse = default_models().find("cae-bilevel-l11-seed-0-desktop-bfloat16")
pruned = surgery.prune(sparse.model.encoder)
with torch.inference_mode():
    x = to_input(picture, SCALE)
    difference = float((pruned(x) - sparse.model.encoder(x)).abs().max())
print(f"largest difference of the latent: {difference:.1e}")
plot.table(numbers.surgery_table(sparse))

# %% tags=["remove-cell"]
assert torch.allclose(whole, small, atol=1e-5) and kept == 5 and difference < 1e-5

# %% [markdown]
# The table lists what surgery leaves of each layer. The inputs of a block stay as they are if all channels of the
# stream are alive, even if no weight of the block reads some of them: picking channels apart would take longer than
# computing them.
#
# ## Counting operations: the paper's count and surgery
#
# Layer $l$ has $n_l$ filters, $m_l$ input channels and kernels of $k_l \times k_l$ weights. Its output is smaller than
# the picture by the factor $r_l$ in height and width. Per pixel of the picture, it needs
#
# $$ \text{MACs}_l = \frac{n_l\, m_l\, k_l^2}{r_l^2}, \qquad
#    \text{and the paper counts}\quad \frac{n'_l\, m'_l\, k_l^2}{r_l^2} . $$ (eq-dd-macs)
#
# Here $n'_l$ and $m'_l$ are the filters and the input channels of layer $l$ that have a nonzero weight *in this layer*.
# This rule is that of the released code. By {eq}`eq-dd-macs` the paper sees each layer alone. The orange columns of
# {numref}`fig-dd-surgery` are not zero, so the paper counts them. Surgery deletes them.
#
# The next table applies both counts to one trained encoder, in per cent of the dense *encoder*. The last column is in
# per cent of encoder *and* decoder.

# %%
constraint = Constraint("bilevel_l11", 0.83)
at_projection = project(dense.model, constraint)
left = second_start(dense.model, at_projection, Constraint("bilevel_l11", 0.83, restart="trained"), 0)
encoder = numbers.encoder_macs(dense.model)
decoder = complexity.count_macs(dense.model.decoder, (1, dense.model.shape.latent, 16, 16)) / 64**2
counts = {}
models = {"dense": dense.model, "after the projection": left, "after the second training": sparse.model}
for name, model in models.items():
    paper, real = numbers.paper_macs(model) / encoder, numbers.encoder_macs(model) / encoder
    counts[name] = [100 * paper, 100 * real, 100 * (real * encoder + decoder) / (encoder + decoder)]
rows = [[name, *(f"{share:.0f} %" for share in shares)] for name, shares in counts.items()]
plot.Table(rows, columns=["encoder", "paper's count", "after surgery", "with the decoder, after surgery"])

# %% tags=["remove-cell"]
mask_now, after_now = counts["after the projection"], counts["after the second training"]
say("dd-count-mask", mask_now[0], ".0f")
say("dd-count-after", after_now[0], ".0f")
say("dd-count-surgery", after_now[1], ".0f")
say("dd-count-all", after_now[2], ".0f")
assert mask_now[0] > after_now[0] > after_now[1] and abs(mask_now[1] - after_now[1]) < 0.5
random_start = SparseCAE(dense.model.shape, 0, "torch")
with torch.no_grad():
    for name, mask in at_projection.masks.items():
        random_start.get_parameter(name).mul_(mask)
assert abs(100 * numbers.paper_macs(random_start) / encoder - mask_now[0]) < 0.01, "the mask alone decides"

# %% [markdown]
# Three numbers describe the same encoder with the same mask: the paper's count gives {glue:text}`dd-count-mask` % for
# the mask and {glue:text}`dd-count-after` % after the second training, because our weights that read a dead filter
# start at zero and stay there, and surgery gives {glue:text}`dd-count-surgery` % in both cases, because it deletes
# these weights whatever their values are. If training starts from random values, as in the paper, the first number does
# not change. The whole network, decoder included, keeps {glue:text}`dd-count-all` %.
#
# ## Counting memory
#
# The paper's memory saving is close to its share of zeros: {glue:text}`dd-paper-memory` % at
# $S =$ {glue:text}`dd-paper-zeros` %. It does not say how the zeros are stored. A file must also describe the positions
# of the values that remain. If they are random, this takes about $h(k/n)$ bits for each weight, where $k$ of $n$
# weights are nonzero and $h$ is the binary entropy, as in {eq}`eq-position-bits`. Our file stores 16 bits for each
# value, and range-codes first which filters are alive, then which inputs, then which weights:

# %%
encoders = {"dense": dense.model}
for name, kind in {"ℓ1": "l1", "ℓ1,1 (bilevel)": "bilevel_l11", "ℓ1,∞": "l1inf"}.items():
    constraint = Constraint(kind, 0.83, restart="trained")
    encoders[name] = second_start(dense.model, project(dense.model, constraint), constraint, 0)
encoders["ℓ1,1, trained again"] = sparse.model
rows, saved = [], {}
for name, model in encoders.items():
    weights = dict(model.encoder.state_dict())
    values = [w[w.half() != 0].numel() for w in weights.values()]
    n, size = sum(w.numel() for w in weights.values()), len(sparse_weights.encode(weights))
    share = sum(values) / n
    random_places = 0.0 if share == 1 else -n * (share * np.log2(share) + (1 - share) * np.log2(1 - share)) / 8
    saved[name] = 100 * (1 - size / (2 * n)), 2 * sum(values), size - 2 * sum(values), random_places
    less, stored, places, _ = saved[name]
    rows.append([name, f"{share:.1%}", f"{stored:,}", f"{places:,}", f"{random_places:,.0f}", f"{less:.1f} %"])
columns = ["encoder", "nonzero", "values, B", "positions and header, B", "n h(k/n), B", "less memory"]
plot.Table(rows, columns=columns)

# %% tags=["remove-cell"]
for metric, key in (("memory_reduction", "memory"), ("sparsity", "zeros")):
    (row,) = published("sparse_cae", where="Table I", series="l1,1", metric=metric)
    say(f"dd-paper-{key}", row["value"], "g")
for name, key in (("ℓ1", "l1"), ("ℓ1,1 (bilevel)", "l11"), ("ℓ1,∞", "l1inf")):
    say(f"dd-places-{key}", 16 * saved[name][2] / saved[name][1], ".1f")
assert saved["ℓ1,∞"][2] < saved["ℓ1,1 (bilevel)"][2] < saved["ℓ1"][2] < saved["ℓ1"][3]
assert saved["ℓ1,1, trained again"][1] < 0.98 * saved["ℓ1,1 (bilevel)"][1]

# %% [markdown]
# Three encoders are projected and not trained again, and all have 83 % zeros. Their positions cost
# {glue:text}`dd-places-l1` bits per remaining value for $\ell_1$, {glue:text}`dd-places-l11` for $\ell_{1,1}$, and
# {glue:text}`dd-places-l1inf` for $\ell_{1,\infty}$. All are below $n\,h(k/n)$, because some layers are emptier than
# others. A dead filter needs one symbol, not one for each weight. So structured zeros are also cheaper to describe. The
# paper does not mention this advantage of {term}`structured sparsity`.
#
# The last row has fewer nonzero values than its mask allows. The reason is again our start: some weights inside the
# mask are still zero after the second training. So part of its saving is due to our initial values, not to the method.
#
# ## Try it: an encoder as the ball shrinks
#
# Move the slider to the right. The encoder is projected and *not* trained again, except in the last position. Watch
# which layers become empty first. The small squares are layers, with a row for each filter and a column for each input.

# %%
widgets.dying_filters()


# %% tags=["remove-cell"]
def masks_by_magnitude(first):
    weights = {n: w.detach() for n, w in first.named_parameters() if n.startswith("encoder") and w.dim() == 4}
    magnitudes = torch.cat([w.abs().flatten() for w in weights.values()])
    tau = magnitudes.sort().values[round(sparsity * len(magnitudes)) - 1]
    return {n: w.abs() > tau for n, w in weights.items()}


def paper_share(weight):
    alive = weight.flatten(2).any(2)  # (filters, inputs)
    return float(alive.any(1).float().mean() * alive.any(0).float().mean())
global_masks = masks_by_magnitude(first)
zeros = 1 - sum(int(m.sum()) for m in global_masks.values()) / sum(m.numel() for m in global_masks.values())
assert abs(zeros - sparsity) < 0.001
assert paper_share(two.weight) == 1 and paper_share(one.weight) == kept / 8
for layer in (m for m in sparse.model.encoder.modules() if isinstance(m, nn.Conv2d)):
    alone = complexity.macs_paper(layer, (1, layer.in_channels, 16, 16))
    assert abs(alone / complexity.count_macs(layer, (1, layer.in_channels, 16, 16)) - paper_share(layer.weight)) < 1e-6

# %% [markdown]
# :::{admonition} What the paper says and what we find
# ```{list-table}
# :header-rows: 1
# * - the paper says
#   - we find
#   - why they differ
# * - the second training starts from $W_\text{init}$ (Algorithm 2)
#   - it must start from $W_\text{init} \odot M_0$
#   - as printed, a pruned weight keeps its initial value, and no weight is zero
# * - $\psi$ is a robust loss
#   - it is half the mean squared error
#   - errors of pictures in $[0, 1]$ do not reach the linear part of the Huber loss
# * - the loss contains the entropy of the latent
#   - in the released code, its weight is 0 and it has no gradient
#   - code and equation (1) differ; we train the rate with noise and a density
# * - operations are counted layer by layer
#   - {glue:text}`dd-count-after` % are left by this count, {glue:text}`dd-count-surgery` % by real surgery
#   - weights that read a dead filter are not zero, but never used
# * - memory falls with the share of zeros
#   - it does, and positions cost {glue:text}`dd-places-l11` bits per remaining value
#   - the paper does not say how zeros are stored; structured zeros are cheaper
# ```
# :::
#
# ## In short
#
# - Uniform noise replaces rounding in training, and a learned density per channel makes the rate differentiable.
# - Double descent trains, projects, keeps only the mask, returns to the initial values and trains again under the mask.
# - In our small example the position of the zeros matters: a random mask is worse than those of the projections.
# - A filter that is zero with its bias can be deleted, and so can all weights of the next layer that read it. Channels
#   of the residual stream need every writer to be dead.
# - The paper's count sees each layer alone, and surgery sees the whole encoder. Positions cost bytes.
#
# ## Exercises
#
# 1. A layer loses half of its filters, and so does the layer after it. How much is left of the second layer's MACs
#    after surgery? Between which values is the paper's count?
# 2. (Code) Write `masks_by_magnitude(first)`, which keeps the largest weights of all layers *together*, at the share
#    `sparsity` of zeros. Use it in `second_training`. How does it distribute the zeros over the layers?
# 3. (Code) Write `paper_share(weight)`, the share of its MACs that a layer keeps by the paper's count.
# 4. An encoder has $S = 83$ % zeros at random positions. How much memory can its file save at most, with 16 bits per
#    value? Why can a structured encoder save more?
# 5. A $\tanh$ latent with two entries per pixel is rounded at $\Delta = 1$. What is the highest rate? What follows for
#    the paper's files of 4 bits per pixel?
#
# :::{admonition} Solutions
# :class: dropdown
# 1. After surgery, half of the filters read half of the channels: a quarter is left. By the paper's count, the dead
#    filters leave one half. The dead inputs count only if all weights of the second layer that read them are zero. So
#    the paper's count is between a quarter and a half.
# 2. The function sorts all magnitudes and takes one threshold. Layers with small weights become almost empty.
#    ```python
#    def masks_by_magnitude(first):
#        weights = {n: w.detach() for n, w in first.named_parameters() if n.startswith("encoder") and w.dim() == 4}
#        magnitudes = torch.cat([w.abs().flatten() for w in weights.values()])
#        tau = magnitudes.sort().values[round(sparsity * len(magnitudes)) - 1]
#        return {n: w.abs() > tau for n, w in weights.items()}
#    ```
# 3. A filter or an input counts if it has a nonzero weight.
#    ```python
#    def paper_share(weight):
#        alive = weight.flatten(2).any(2)  # (filters, inputs)
#        return float(alive.any(1).float().mean() * alive.any(0).float().mean())
#    ```
# 4. The positions need $h(0.17) \approx 0.66$ bits per weight, and the values $0.17 \cdot 16 = 2.72$ bits. Together
#    these are 3.38 of 16 bits, a saving of 79 %. The paper states 82 % for 83 % zeros. Positions of dead filters cost
#    almost nothing, so a structured encoder is closer to 83 %.
# 5. There are three symbols, $-1$, 0 and 1, with at most $\log_2 3 = 1.58$ bits each. Two of them give 3.17 bits per
#    pixel. So the paper's files of 4 bits per pixel need a step below 1. The paper does not state its step.
# :::
#
# ## Further reading
#
# {cite:t}`noise` introduce uniform noise and a learned density for a trained rate. {cite:t}`theis2017` is the source of
# the network. {cite:t}`lottery` state the lottery ticket hypothesis, and {cite:t}`supermask` study masks and initial
# values; the paper cites both for its Algorithm 2. The next chapter, [Sparse CAE: results](22_sparse_cae_results),
# measures what double descent saves and loses.
