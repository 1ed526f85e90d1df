"""Drawings that explain: figures that show no record, made of closed forms and seeded numbers alone.

What shows a result is drawn in the chapters, from records.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence

import numpy as np
import torch
from matplotlib.patches import Rectangle
from PIL import Image
from torch import nn

from reproduce.bench import PROJECTION_NAMES
from reproduce.plot import Figure
from sparsecomp import data
from sparsecomp.models import cae_admm, sparse_cae
from sparsecomp.models.cae_admm import CaeAdmm
from sparsecomp.models.sparse_cae import SparseCAE
from sparsecomp.sparsify.admm import Admm, top_l
from sparsecomp.sparsify.lagrangian import Multipliers
from sparsecomp.sparsify.projections import PROJECTIONS, project_l1

Convolution = nn.Conv2d | nn.ConvTranspose2d

# The front page ------------------------------------------------------------------------------------------------------


def front() -> Figure:
    """Where to be sparse: each paper's place on the way from a picture to a file and back. A drawing, no result."""
    figure = Figure(figsize=(7.2, 4.6), layout="constrained", facecolor="white")
    axes = figure.subplots()
    thumbnail, rng = data.bundled()["astronaut"][10:202, 130:322], np.random.default_rng(0)
    rows = (
        ("L0onie", "sparse network", ("network", None, None), 0),
        ("Sparse CAE", "sparse encoder", ("encoder", "code", "decoder"), 0),
        ("CAE-ADMM", "sparse code", ("encoder", "code", "decoder"), 1),
    )
    for y, (name, idea, parts, sparse) in zip((2.4, 1.2, 0), rows, strict=True):
        axes.imshow(thumbnail, extent=(0, 0.8, y, y + 0.8), aspect="auto", zorder=2)
        axes.text(-0.12, y + 0.53, name, ha="right", va="center", weight="bold", fontsize=13)
        axes.text(-0.12, y + 0.23, idea, ha="right", va="center", fontsize=12, color="#555555")
        used = [(place, part) for place, part in enumerate(parts) if part]
        for place, part in used:
            left = 1.25 + 1.15 * (place + (1 if len(used) == 1 else 0))
            alive = rng.random((10, 10)) < (0.15 if place == sparse else 1)
            edge, low, high = "#D55E00" if place == sparse else "#888888", y + 0.03, y + 0.78
            colours = np.where(alive[..., None], (0.0, 0.45, 0.70), (1.0, 1.0, 1.0))
            axes.imshow(colours, extent=(left, left + 0.75, low, high), aspect="auto", zorder=2)
            axes.plot(left + np.array([0, 0.75, 0.75, 0, 0]), [low, low, high, high, low], color=edge, lw=2)
            in_file = part in ("network", "code")
            label = f"{part} = file" if in_file else part
            weight = "bold" if in_file else "normal"
            axes.text(left + 0.375, y - 0.03, label, ha="center", va="top", fontsize=11, weight=weight)
        axes.annotate(
            "", (4.75, y + 0.4), (0.83, y + 0.4), arrowprops={"arrowstyle": "->", "color": "#888888"}, zorder=1
        )
        axes.imshow(thumbnail, extent=(4.8, 5.6, y, y + 0.8), aspect="auto", zorder=2)
    axes.set(xlim=(-1.75, 5.65), ylim=(-0.3, 3.25), aspect="equal")
    axes.axis("off")
    return figure


# Chapter 11: the game --------------------------------------------------------------------------------------


def duel(steps: int) -> Figure:
    """Two players on ``min (x - 3)^2  subject to  x <= 1``, from x = 3 and lambda = 0, after so many steps.

    The answer, x = 1 and lambda = 4, is where the lines cross. Left without, right with dual restarts.
    """
    figure = Figure(figsize=(7.2, 3.4), layout="constrained", facecolor="white")
    for axes, restarts in zip(figure.subplots(1, 2, sharey=True), (False, True), strict=True):
        x, path, game = torch.tensor([3.0]), [], Multipliers(1, lr=0.6, restarts=restarts)
        for _ in range(steps + 1):
            path.append((float(x), float(game.value)))
            violation = x - 1
            x = x - 0.05 * (2 * (x - 3) + game.value)
            game.ascend(violation)
        axes.axvline(1, color="#D55E00", ls="--", lw=1)
        axes.axhline(4, color="#bbbbbb", ls="--", lw=1)
        axes.plot(*zip(*path, strict=True), "-", color="#0072B2", lw=1)
        axes.plot(*path[-1], "o", color="#0072B2")
        axes.set(xlim=(-1.2, 3.2), ylim=(-0.5, 9), xlabel="x (allowed left of the dashed line)")
        how = "with" if restarts else "without"
        axes.set_title(f"{how} restarts:\nx = {path[-1][0]:.2f}, λ = {path[-1][1]:.2f}", fontsize=10)
        axes.spines[["top", "right"]].set_visible(False)
    figure.axes[0].set_ylabel("multiplier λ")
    return figure


# Chapter 20: projections ----------------------------------------------------------------------------------------------


def seeded_layer(seed: int = 0, filters: int = 48, taps: int = 54) -> torch.Tensor:
    """Weights that no training made: Laplace entries, heavy-tailed, and a log-normal scale for each filter (row)."""
    generator = torch.Generator().manual_seed(seed)
    uniform = torch.rand(filters, taps, generator=generator) - 0.5
    laplace = -uniform.sign() * torch.log1p(-2 * uniform.abs())
    return 0.05 * laplace * torch.exp(0.7 * torch.randn(filters, 1, generator=generator))


def balls(seed: int = 0, points: int = 400) -> Figure:
    """The unit balls of the filters {x1, x2} and {x3}, and where drawn points outside land when they are projected.

    Every ball is the double cone over a curve in the plane of x1 and x2 (its norm is 1 there), with tips on the axis
    of x3. A landing point is blue if one weight is zero and its filter is not, orange if a whole filter is.
    """
    figure = Figure(figsize=(8.0, 10.6), layout="constrained", facecolor="white")
    start = torch.randn(points, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    start *= 2.5 / start.norm(dim=1, keepdim=True)
    angle, height = np.meshgrid(np.linspace(0, 2 * np.pi, 97), np.linspace(-1, 1, 41))
    plane = np.stack([np.cos(angle), np.sin(angle)])
    orders = {"l1": 1, "bilevel_l11": 1, "l21": 2, "l1inf": np.inf, "bilevel_l1inf": np.inf}
    for place, (name, title) in enumerate(PROJECTION_NAMES.items(), 1):
        axes = figure.add_subplot(3, 2, place, projection="3d", computed_zorder=False)
        base = (1 - abs(height)) * plane / np.linalg.norm(plane, orders[name], axis=0)
        axes.plot_surface(*base, height, color="#cfcfcf", alpha=0.35, rstride=4, cstride=4, linewidth=0, zorder=1)
        landed = np.array([in_filters(name, point) for point in start])
        whole = (landed[:, :2] == 0).all(1) | (landed[:, 2] == 0)
        single = ~whole & (landed[:, :2] == 0).any(1)
        for which, colour, label in (
            (~whole & ~single, "#888888", "nothing is zero"),
            (single, "#0072B2", "one weight of {$x_1$, $x_2$} is zero"),
            (whole, "#D55E00", "a whole filter is zero"),
        ):
            axes.scatter(*landed[which].T, s=9, color=colour, depthshade=False, zorder=2, label=label)
        share = f"{100 * whole.mean():.0f} % lose a filter, {100 * single.mean():.0f} % one weight"
        axes.set_title(f"{title}\n{share}", fontsize=11)
        axes.view_init(22, -62)
        axes.set(**{f"{axis}lim": (-1, 1) for axis in "xyz"}, **{f"{axis}ticks": [-1, 0, 1] for axis in "xyz"})
        axes.set_xlabel("$x_1$", labelpad=-4, fontsize=13)
        axes.set_ylabel("$x_2$", labelpad=-4, fontsize=13)
        axes.set_zlabel("$x_3$", labelpad=-4, fontsize=13)
        axes.tick_params(labelsize=10, pad=-2)
        axes.set_box_aspect(None, zoom=0.95)
    drawn = figure.axes[0].get_legend_handles_labels()
    figure.legend(*drawn, loc=(0.57, 0.14), frameon=False, fontsize=11, markerscale=2)
    return figure


def in_filters(name: str, point: torch.Tensor) -> np.ndarray:
    """A point of three weights projected onto the unit ball, in the filters {x1, x2} and {x3}."""
    groups = torch.stack([point[:2], torch.stack([point[2], torch.zeros_like(point[2])])])
    return PROJECTIONS[name](groups, 1.0).flatten()[:3].numpy()


def layer_picture(weights: torch.Tensor, largest: float, side: int = 3) -> np.ndarray:
    """A matrix of weights as a picture, ``side`` pixels an entry: blue above zero, orange below, white at zero.

    A row without any weight is grey. The colour is the root of the magnitude, so that small weights show.
    """
    strength = (weights.abs() / largest).clamp(max=1).sqrt().numpy()[..., None]
    end = np.where((weights > 0).numpy()[..., None], (0, 114, 178), (213, 94, 0))
    shown = 255 - strength * (255 - end)
    shown[(weights == 0).all(1).numpy()] = 205
    return shown.round().astype(np.uint8).repeat(side, 0).repeat(side, 1)


# Chapters 21 and 30: the networks -------------------------------------------------------------------------------------


def autoencoder(model: SparseCAE | CaeAdmm | None = None) -> Figure:
    """Figure 1 of Sparse CAE or of CAE-ADMM, drawn from the model itself: every layer's filters, resolution and share
    of the MACs. By default Sparse CAE in the paper's size.

    A box is as high as its maps are (the side of the picture is 1) and as wide as their number, by its logarithm; blue
    is the layer's share of all multiply-accumulates. A residual block of CAE-ADMM, three layers, is one thin box.
    """
    model = copy.deepcopy(SparseCAE(sparse_cae.Shape()) if model is None else model).eval()
    gille = isinstance(model, SparseCAE)
    side = 16 * (sparse_cae if gille else cae_admm).SCALE
    sizes = _sizes(model, side)

    def macs(layer: Convolution) -> float:
        # A tap of a transposed convolution whose stride is its kernel reaches one place; all others read every tap.
        taps = 1 if isinstance(layer, nn.ConvTranspose2d) else layer.kernel_size[0] ** 2
        return layer.in_channels * layer.out_channels * taps * sizes[layer] ** 2

    total, names = sum(map(macs, sizes)), ("encoder: what is made sparse" if gille else "encoder", "decoder")
    figure = Figure(figsize=(8.4, 3.6), layout="constrained", facecolor="white")
    axes, x = figure.subplots(), 0.0
    for half, name in zip((model.encoder, model.decoder), names, strict=True):
        if half is model.decoder:
            x += 0.4
            code = "z\nround(z / Δ)\nH(z)" if gille else "z\nround(z)"
            axes.text(x - 0.04, 0, code, ha="center", va="center", fontsize=8, color="#D55E00")
        start, x, blocks, after_block = x, x + (0.35 if half is model.decoder else 0), [], None
        for inside, label in _boxes(half):
            share, height, block = sum(map(macs, inside)) / total, sizes[inside[0]], len(inside) > 1
            x += 0 if after_block is None else 0.015 if block and after_block else 0.06
            width = 0.07 if block else 0.04 + 0.05 * math.log2(inside[0].out_channels)
            colour = tuple(1 - share**0.5 * (1 - c) for c in (0.0, 0.45, 0.70))
            axes.add_patch(Rectangle((x, -height / 2), width, height, facecolor=colour, edgecolor="#555555", lw=0.8))
            if block:
                blocks.append((x + width / 2, height, share, inside))
            else:
                text = f"{label}, {_percent(share)}"
                axes.text(x + width / 2, height / 2 + 0.03, text, rotation=90, ha="center", va="bottom", fontsize=7)
            x, after_block = x + width, block
        x += 0.06
        if blocks:
            middle, (_, height, share, inside) = (blocks[0][0] + blocks[-1][0]) / 2, blocks[0]
            kernels = ", ".join(f"{layer.kernel_size[0]}x{layer.kernel_size[0]}" for layer in inside)
            text = (
                f"{len(blocks)} residual blocks\nof {kernels}\nat {inside[0].out_channels} channels\n"
                f"{_percent(share)} each, {_percent(share * len(blocks))} in all"
            )
            axes.text(middle, height / 2 + 0.03, text, ha="center", va="bottom", fontsize=7)
        axes.text((start + x) / 2, -0.62, name, ha="center", fontsize=9)
    if not gille:
        words = "behind every layer batch normalisation; ×2: sub-pixel, four channels become 2x2 pixels; last a tanh"
        axes.text(x / 2, -0.75, words, ha="center", fontsize=8, color="#555555")
    axes.set(xlim=(-0.1, x), ylim=(-0.75 if gille else -0.8, 1.5), aspect="auto")
    axes.axis("off")
    return figure


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %" if share >= 0.0005 else "< 0.1 %"


@torch.no_grad()
def _sizes(model: SparseCAE | CaeAdmm, side: int) -> dict[Convolution, float]:
    """Every convolution in the order in which it computes, and the side of its maps as a share of the picture's."""
    sizes: dict[Convolution, float] = {}
    for layer in model.modules():
        if isinstance(layer, Convolution):
            layer.register_forward_hook(lambda layer, _, output: sizes.update({layer: output.shape[-1] / side}))
    model.decoder(model.encoder(torch.zeros(1, 3, side, side)))
    return sizes


def _boxes(module: nn.Module) -> list[tuple[list[Convolution], str]]:
    """The layers of every box, and what is said of it."""
    boxes: list[tuple[list[Convolution], str]] = []
    for child in module.children():
        if isinstance(child, cae_admm.Block):
            boxes.append(([layer for layer in child.modules() if isinstance(layer, nn.Conv2d)], ""))
        elif isinstance(child, Convolution):
            k, stride = child.kernel_size[0], child.stride[0]
            scale = "" if stride == 1 else (f" ×{stride}" if isinstance(child, nn.ConvTranspose2d) else f" /{stride}")
            boxes.append(([child], f"{child.in_channels}→{child.out_channels}, {k}x{k}{scale}"))
        elif isinstance(child, nn.PixelShuffle):
            boxes[-1] = (boxes[-1][0], f"{boxes[-1][1]} ×{child.upscale_factor}")
        elif isinstance(child, nn.PReLU):
            boxes[-1] = (boxes[-1][0], f"{boxes[-1][1]}, PReLU")
        else:
            boxes += _boxes(child)
    return boxes


# Chapter 30: a code with few numbers, two sets and a valley -----------------------------------------------------------


def block_dct(picture: np.ndarray) -> torch.Tensor:
    """A code that needs no training: the orthonormal DCT of every block of 8x8 pixels and channel.

    A picture uint8 ``(H, W, 3)``, sides multiples of 8, to ``(1, 192, H/8, W/8)``; its squared norm is the picture's.
    """
    x = torch.from_numpy(picture.astype(np.float64)).permute(2, 0, 1)
    blocks = x.unflatten(2, (-1, 8)).unflatten(1, (-1, 8))  # (3, h, y, w, x)
    return torch.einsum("uy,vx,chywx->cuvhw", _cosines(), _cosines(), blocks).flatten(0, 2)[None]


def from_block_dct(code: torch.Tensor) -> np.ndarray:
    """The picture of a code of `block_dct`, rounded and clipped to 8 bits."""
    blocks = torch.einsum("uy,vx,cuvhw->chywx", _cosines(), _cosines(), code[0].unflatten(0, (3, 8, 8)))
    return blocks.flatten(3).flatten(1, 2).permute(1, 2, 0).round().clamp(0, 255).byte().numpy()


def _cosines() -> torch.Tensor:
    k, i = torch.arange(8).double()[:, None], torch.arange(8).double()
    cosines = torch.cos(torch.pi * (2 * i + 1) * k / 16) / 2
    cosines[0] /= 2**0.5
    return cosines


HESSIAN = torch.tensor([[3.0, 0.6], [0.6, 1.0]], dtype=torch.float64)
SLOPE = torch.tensor([3.0, 2.2], dtype=torch.float64)
SETS = {"diamond": lambda v: project_l1(v, 1.0), "cross": lambda v: top_l(v, 0.5)}
RHOS = (0.5, 1.0, 6.0)
ORANGE, BLUE, GREEN = "#D55E00", "#0072B2", "#009E73"


def alternate(where: str, rho: float, steps: int) -> tuple[Admm, np.ndarray]:
    """ADMM in the plane: ``min d(x)  subject to  x in S``, with ``d(x) = x'Hx/2 - h'x`` and exact x-steps.

    H is `HESSIAN` and h is `SLOPE`: a valley whose lowest point is (7, 20)/11. On the axes, d is least at (0, 2.2); the
    least point of the other axis is (1, 0).

    Parameters
    ----------
    where : str
        S, of `SETS`: the *diamond* ``|x1| + |x2| <= 1``, which is convex, or the *cross*, at most one entry not zero.
    rho : float
    steps : int

    Returns
    -------
    admm : Admm
    places : (steps + 1, 3, 2)
        x, Z and U after every step. First x is the lowest point of all, Z and U are 0.
    """
    admm = Admm((1, 2), rho, SETS[where])
    lhs, x = HESSIAN + rho * torch.eye(2), torch.linalg.solve(HESSIAN, SLOPE)
    places = [torch.stack([x, *torch.zeros(2, 2)])]
    for _ in range(steps):
        x = torch.linalg.solve(lhs, SLOPE + rho * (admm.z - admm.u)[0])
        admm.update(x[None])
        places.append(torch.stack([x, admm.z[0], admm.u[0]]))
    return admm, torch.stack(places).numpy()


def alternating(where: str, steps: int, rhos: Sequence[float] = RHOS) -> Figure:
    """The way of x and Z in the plane (`alternate`) after so many steps, a panel for each rho.

    The green arrow is the U with which the step ended: it stands on Z, and its tip x + U (with the U before the step)
    is what was projected. On the cross a tip beyond the dotted diagonals would be projected onto the other axis.
    """
    figure = Figure(figsize=(7.2, 7.4), layout="constrained", facecolor="white")
    limits = (-0.5 if where == "cross" else -1.1, 3.5)
    grid = np.stack(np.meshgrid(np.linspace(*limits, 81), np.linspace(*limits, 81)))
    depth = np.einsum("iyx,ij,jyx->yx", grid, HESSIAN.numpy() / 2, grid) - np.einsum("i,iyx->yx", SLOPE.numpy(), grid)
    depth -= depth.min()
    places = figure.subplots(-(-len(rhos) // 2), 2, squeeze=False).flatten()
    for axes in places[len(rhos) :]:
        axes.axis("off")
    for axes, rho in zip(places, rhos, strict=False):
        x, z, u = alternate(where, rho, steps)[1].transpose(1, 0, 2)
        axes.contour(*grid, depth, levels=[0.1, 0.5, 1.2, 2.2, 3.5, 5, 7, 10], colors="#cccccc", linewidths=0.7)
        if where == "cross":
            axes.axhline(0, color=ORANGE, lw=2.5, alpha=0.35)
            axes.axvline(0, color=ORANGE, lw=2.5, alpha=0.35)
            axes.plot([0, 3.5], [0, 3.5], ":", color=ORANGE, lw=1)
            axes.plot([0, -3.5], [0, 3.5], ":", color=ORANGE, lw=1)
            axes.plot([0, 3.5], [0, -3.5], ":", color=ORANGE, lw=1)
        else:
            axes.fill([1, 0, -1, 0], [0, 1, 0, -1], color=ORANGE, alpha=0.25, lw=0)
        axes.plot(*x.T, ".-", color=BLUE, lw=0.8, ms=4, alpha=0.6)
        axes.plot(*z.T, "s", color=ORANGE, ms=3, alpha=0.6)
        if u[-1].any():
            axes.annotate("", z[-1] + u[-1], z[-1], arrowprops={"arrowstyle": "->", "color": GREEN, "lw": 1.4})
        axes.plot(*x[-1], "o", color=BLUE, ms=7, label="x")
        axes.plot(*z[-1], "s", color=ORANGE, ms=6, label="Z, on the set")
        arrow = "U: from Z to x + U of the step before,\nthe point that was projected onto Z"
        axes.plot([], [], color=GREEN, lw=1.4, label=arrow)
        count = f"{steps} step" if steps == 1 else f"{steps} steps"
        axes.set_title(f"ρ = {rho:g}, {count}\nZ = ({z[-1, 0]:.2f}, {z[-1, 1]:.2f})", fontsize=10)
        ticks = range(int(limits[0]), 4)
        axes.set(xlim=limits, ylim=limits, aspect="equal", xticks=ticks, yticks=ticks, xlabel="$x_1$", ylabel="$x_2$")
        axes.spines[["top", "right"]].set_visible(False)
    drawn = figure.axes[0].get_legend_handles_labels()
    if len(rhos) % 2:
        places[-1].legend(*drawn, loc="center", frameon=False, fontsize=10, labelspacing=1.2)
    else:
        figure.legend(*drawn, loc="outside lower center", ncols=2, frameon=False, fontsize=10)
    return figure


def code_map(symbols: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """A code int ``(C, h, w)``, channel beside channel, as a picture uint8 of ``size``: zeros are black.

    Blue is above zero, orange below, the brighter the larger, by the logarithm and relative to the code's largest. All
    channels are as large as fits, an entry whole pixels where there is room for one.
    """
    channels, rows, columns = symbols.shape
    across = max(
        range(1, channels + 1), key=lambda n: min(size[1] / (n * columns), size[0] / (-(-channels // n) * rows))
    )
    side = min(size[1] / (across * columns), size[0] / (-(-channels // across) * rows))
    side = int(side) if side >= 1 else side
    height, width = max(1, int(side * rows)), max(1, int(side * columns))
    strength = np.log1p(np.abs(symbols)) / max(np.log1p(np.abs(symbols).max()), 1e-9)
    bright = np.where(symbols[..., None] > 0, (86, 180, 233), (255, 150, 40)) * (0.35 + 0.65 * strength[..., None])
    coloured = np.where(symbols[..., None] == 0, 0, bright).round().astype(np.uint8)
    canvas = np.full((*size, 3), 205, np.uint8)
    for number, channel in enumerate(coloured):
        top, left = number // across * size[0] // -(-channels // across), number % across * size[1] // across
        scaled = Image.fromarray(channel).resize((width, height), Image.Resampling.NEAREST)
        canvas[top : top + height, left : left + width] = np.asarray(scaled)
    return canvas
