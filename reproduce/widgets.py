"""Widgets that work twice: from frames in the rendered book, by computing in a notebook with a kernel.

A widget is a slider over frames that are made when the notebook is executed; `jslink` ties slider and frames in the
browser, so the page needs no kernel and no network. Below it stand controls that compute something new on the spot;
they carry the class ``needs-kernel``, which the book's style hides. Frames are PNG crops: what they show of a codec's
artefacts is not lossy again.
"""

from __future__ import annotations

import html
import io
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import cast

import ipywidgets
import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image

from reproduce import records, sparse_weights
from reproduce.bench import PROJECTION_NAMES
from reproduce.drawings import alternating, code_map, duel, layer_picture, seeded_layer
from reproduce.papers.baselines import NAMES, STANDARD
from sparsecomp import codecs, data, metrics, network_weights
from sparsecomp.checks import InputError
from sparsecomp.codecs import BudgetError
from sparsecomp.codecs.network import Coin, Loonie
from sparsecomp.codecs.trained import coder_of, read_symbols
from sparsecomp.coding import latents
from sparsecomp.coding.container import layout, unpack
from sparsecomp.complexity import macs_per_pixel, mlp_macs_per_pixel
from sparsecomp.models.inference import to_input
from sparsecomp.models.pretrained import Models, Stored, default_models
from sparsecomp.models.siren import Architecture, layers
from sparsecomp.models.sparse_cae import SCALE, SparseCAE
from sparsecomp.sparsify import surgery
from sparsecomp.sparsify.projections import PROJECTIONS, ball_norm
from sparsecomp.training.configs import LOONIE, FitBudget
from sparsecomp.training.double_descent import Constraint, project, second_start

Crop = tuple[int, int, int, int]  # top, left, height, width
FACE: Crop = (10, 130, 192, 192)  # of the astronaut
NARROW: Crop = (10, 146, 192, 160)  # four of them stand side by side on a page
ORIGINAL = "original\n24 bpp\nno loss"
BUDGETS = (0.1, 0.15, 0.2, 0.3, 0.5, 0.8, 1.2)
SIZES = ("5x10", "5x20", "5x30", "10x20", "10x28", "10x40", "13x49")


def kept_file(name: str) -> bytes:
    """A file of the study `gallery` at preset laptop; a `LookupError` says how to make one that is missing."""
    path = records.runs_folder() / "gallery" / "files" / "laptop" / name
    if not path.is_file():
        command = "python -m reproduce study gallery --preset laptop --out results/runs"
        raise LookupError(f"{name} is missing: make it with `{command}`")
    return path.read_bytes()


def sliding(
    label: str, options: Sequence[str], frames: Sequence[ipywidgets.Widget], *, index: int = 0
) -> ipywidgets.VBox:
    """A slider that shows one frame an option, by mouse and by keyboard, with or without a kernel."""
    if len(options) != len(frames) or not 0 <= index < len(frames):
        raise InputError(f"{len(options)} options, {len(frames)} frames, index {index}: one frame an option is needed")
    slider = ipywidgets.SelectionSlider(options=list(options), index=index, description=label)
    stack = ipywidgets.Stack(list(frames), selected_index=index)
    ipywidgets.jslink((slider, "index"), (stack, "selected_index"))
    return ipywidgets.VBox([slider, stack])


def tiles(shown: Mapping[str, np.ndarray | None], crop: Crop = FACE) -> ipywidgets.GridBox:
    """Crops side by side, each under its caption (plain text); None is a picture that there is not, and one of the
    crop's own size is shown whole.
    """
    top, left, height, width = crop
    boxes = []
    for caption, picture in shown.items():
        below = ipywidgets.HTML("<em>cannot go so low</em>")
        if picture is not None:
            part = picture if picture.shape[:2] == (height, width) else picture[top : top + height, left : left + width]
            below = ipywidgets.Image(value=_png(part), format="png", layout={"width": f"{width}px"})
        title = ipywidgets.HTML(html.escape(caption).replace("\n", "<br>"))
        boxes.append(ipywidgets.VBox([title, below], layout={"width": f"{width}px"}))
    columns = f"repeat(auto-fill, {width}px)"
    return ipywidgets.GridBox(boxes, layout={"grid_template_columns": columns, "grid_gap": "10px", "width": "100%"})


def _png(picture: np.ndarray, optimize: bool = True) -> bytes:
    """A PNG; the smallest one takes 20 ms, too long for what is made anew at every move of a slider."""
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "PNG", optimize=optimize)
    return file.getvalue()


def caption(name: str, file: bytes, original: np.ndarray, decoded: np.ndarray) -> str:
    """Name, rate of the file and PSNR of the whole picture, in three lines."""
    rate = metrics.bpp(data=file, height=original.shape[0], width=original.shape[1])
    psnr = metrics.psnr(reference=original, reconstruction=decoded)
    return f"{name}\n{rate:.3f} bpp\n{psnr:.2f} dB"


# Chapter 00: the budget of the standard codecs ------------------------------------------------------------------------


def codec_budgets() -> ipywidgets.VBox:
    """The astronaut's face through five standard codecs, at a budget that the reader moves."""
    original = data.bundled()["astronaut"]

    def frame(bpp: float) -> ipywidgets.GridBox:
        shown: dict[str, np.ndarray | None] = {ORIGINAL: original}
        for name in STANDARD:
            try:
                file = kept_file(f"astronaut-{name}-{bpp:g}.spc")
            except LookupError:
                shown[f"{NAMES[name]}\nno file of\nat most {bpp:g} bpp"] = None
                continue
            decoded = codecs.decode(file)
            shown[caption(NAMES[name], file, original, decoded)] = decoded
        return tiles(shown)

    frames = [frame(bpp) for bpp in BUDGETS]
    return ipywidgets.VBox([sliding("budget, bpp", [f"{b:g}" for b in BUDGETS], frames, index=3), _live_codecs()])


def _live_codecs() -> ipywidgets.VBox:
    """With a kernel: any bundled picture, any budget."""
    picture = ipywidgets.Dropdown(options=data.BUNDLED, description="picture")
    budget = ipywidgets.BoundedFloatText(value=0.4, min=0.02, max=8, step=0.05, description="bpp at most")
    button = ipywidgets.Button(description="encode", button_style="primary")
    bar, shown = ipywidgets.IntProgress(max=len(STANDARD), layout={"width": "12rem"}), ipywidgets.VBox()

    def encode(_: object) -> None:
        original, bar.value = data.bundled()[picture.value], 0
        pictures: dict[str, np.ndarray | None] = {}
        for name in STANDARD:
            try:
                measured = codecs.evaluate(codecs.get_codec(name), original, budget.value)
                pictures[caption(NAMES[name], measured.data, original, measured.reconstruction)] = (
                    measured.reconstruction
                )
            except BudgetError as error:
                pictures[f"{NAMES[name]}\nno file\nbelow {error.smallest:.3f} bpp"] = None
            bar.value += 1
        shown.children = [tiles({ORIGINAL: original} | pictures, _middle(original))]

    button.on_click(encode)
    return _needs_kernel([ipywidgets.HBox([picture, budget, button, bar]), shown])


# Chapter 10: the size of the SIREN ------------------------------------------------------------------------------------


def siren_sizes() -> ipywidgets.VBox:
    """The astronaut's face as networks of seven sizes, their errors, and JPEG in as many bytes."""
    original = data.bundled()["astronaut"]
    frames = [_siren_frame(kept_file(f"astronaut-{size}.spc"), original, NARROW) for size in SIZES]
    return ipywidgets.VBox([sliding("network", SIZES, frames, index=4), _live_siren()])


def _siren_frame(file: bytes, original: np.ndarray, crop: Crop) -> ipywidgets.VBox:
    decoded = codecs.decode(file)
    container = unpack(file)
    architecture, _ = Coin.read_network(container)
    macs = mlp_macs_per_pixel(architecture.depth, architecture.width)
    line = (
        f"<b>{architecture}</b>: {architecture.n_parameters:,} parameters; {len(file):,} bytes, "
        f"{len(container.sections['weights']):,} of them weights; {macs:,} multiply-accumulates to decode a pixel"
    )
    shown = {caption("COIN", file, original, decoded): decoded} | _beside(file, original, decoded)
    return ipywidgets.VBox([ipywidgets.HTML(line), tiles({ORIGINAL: original} | shown, crop)])


def _beside(file: bytes, original: np.ndarray, decoded: np.ndarray) -> dict[str, np.ndarray | None]:
    """The error of what was decoded, and JPEG in as many bytes."""
    error = np.abs(decoded.astype(int) - original).max(axis=2, keepdims=True) * 4
    shown: dict[str, np.ndarray | None] = {
        "error × 4\nlargest of\nthe channels": np.repeat(error.clip(0, 255).astype(np.uint8), 3, axis=2)
    }
    rate = metrics.bpp(data=file, height=original.shape[0], width=original.shape[1])
    try:
        other = codecs.evaluate(codecs.get_codec("jpeg"), original, rate)
    except BudgetError:
        return shown | {"JPEG, same bytes\nno file\nso small": None}
    return shown | {caption("JPEG, same bytes", other.data, original, other.reconstruction): other.reconstruction}


def _live_siren() -> ipywidgets.VBox:
    """With a kernel: fit any size to any bundled picture, for so many steps."""
    picture = ipywidgets.Dropdown(options=data.BUNDLED, description="picture")
    depth = ipywidgets.IntSlider(value=5, min=1, max=16, description="depth")
    width = ipywidgets.IntSlider(value=24, min=4, max=64, description="width")
    steps = ipywidgets.IntSlider(value=600, min=100, max=5000, step=100, description="steps")
    button = ipywidgets.Button(description="fit", button_style="primary")
    bar, shown = ipywidgets.IntProgress(layout={"width": "16rem"}), ipywidgets.VBox()

    def fit(_: object) -> None:
        original, bar.max, bar.value = data.bundled()[picture.value], steps.value, 0

        def on_score(step: int, scores: dict) -> None:
            bar.value, bar.description = step, f"{scores['psnr'][0]:.1f} dB"

        budget = FitBudget(steps=steps.value, lr=2e-3, score_every=max(50, steps.value // 20))
        coin = Coin(arch=str(Architecture(depth.value, width.value)), budget=budget, on_score=on_score)
        shown.children = [_siren_frame(coin.encode(original), original, _middle(original))]

    button.on_click(fit)
    controls = ipywidgets.VBox(
        [ipywidgets.HBox([picture, depth]), ipywidgets.HBox([width, steps]), ipywidgets.HBox([button, bar])]
    )
    return _needs_kernel([controls, shown])


# Chapters 11 and 12: the game, and the budget of L0onie ---------------------------------------------------------------

LOONIE_BUDGETS = (0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 1.0)


def two_players() -> ipywidgets.VBox:
    """The game of `sparsify.lagrangian` on a problem that can be drawn, step by step, with and without restarts."""
    moments = (0, 5, 10, 20, 40, 80, 160)
    frames = [ipywidgets.Image(value=duel(steps).png(), format="png", layout={"max_width": "100%"})
              for steps in moments]  # fmt: skip
    return sliding("steps", [str(steps) for steps in moments], frames, index=3)


def loonie_budgets() -> ipywidgets.VBox:
    """The astronaut under budgets from 0.05 to 1 bpp: our file, its error, JPEG, and which weights are alive."""
    original = data.bundled()["astronaut"]
    frames = []
    for bpp in LOONIE_BUDGETS:
        ours, gated = (kept_file(f"astronaut-loonie-{rate}-{bpp:g}.spc") for rate in ("file", "nonzeros"))
        frames.append(_loonie_frame(ours, original, NARROW, gated))
    options = [f"{bpp:g}" for bpp in LOONIE_BUDGETS]
    return ipywidgets.VBox([sliding("budget, bpp", options, frames, index=3), _live_loonie()])


def _loonie_frame(file: bytes, original: np.ndarray, crop: Crop, gated: bytes | None = None) -> ipywidgets.VBox:
    decoded = codecs.decode(file)
    lines = [_sections("our file", file)]
    shown = {caption("our file", file, original, decoded): decoded} | _beside(file, original, decoded)
    shown[f"our file\n{_alive(file)}\nof the weights alive"] = alive_weights(file, crop[2:])
    if gated is not None:
        gated_decoded = codecs.decode(gated)
        shown[caption("L0onie, as a file", gated, original, gated_decoded)] = gated_decoded
        shown[f"L0onie\n{_alive(gated)}\nof the weights alive"] = alive_weights(gated, crop[2:])
        lines.append(_sections("L0onie, fp16 values and positions", gated))
    return ipywidgets.VBox([ipywidgets.HTML("<br>".join(lines)), tiles({ORIGINAL: original} | shown, crop)])


def _sections(name: str, file: bytes) -> str:
    spent = ", ".join(f"{section} {size:,}" for section, size in layout(file))
    return f"<b>{name}</b>: {len(file):,} bytes ({spent})"


def _alive(file: bytes) -> str:
    parameters = network_weights.decode(unpack(file).sections).parameters()
    return f"{100 * float((parameters != 0).float().mean()):.0f} %"


def alive_weights(file: bytes, size: tuple[int, int]) -> np.ndarray:
    """The hidden matrices of a L0onie file, first to last: blue is a weight, white is none; uint8 of ``size``."""
    network = network_weights.decode(unpack(file).sections)
    hidden = [w[0] != 0 for w, _ in layers(network.architecture, network.parameters()[None])[1:-1]]
    columns = next(c for c in range(1, 65) if c * c >= len(hidden) * size[1] / size[0])
    side = min(size[1] // columns, size[0] // -(-len(hidden) // columns))
    canvas = np.full((*size, 3), 230, np.uint8)
    for number, matrix in enumerate(hidden):
        # One pixel shows one weight, or as many weights as fall on it, mixed.
        share = F.interpolate(matrix[None, None].float(), (side - 2, side - 2), mode="area")[0, 0].numpy()
        top, left = (number // columns) * side, (number % columns) * side
        mixed = 255 - share[..., None] * (255 - np.array((0, 114, 178)))
        canvas[top : top + side - 2, left : left + side - 2] = mixed.round().astype(np.uint8)
    return canvas


def _live_loonie() -> ipywidgets.VBox:
    """With a kernel: fit any budget to any bundled picture, in less than a minute."""
    picture = ipywidgets.Dropdown(options=data.BUNDLED, description="picture")
    budget = ipywidgets.FloatSlider(value=0.3, min=0.05, max=1, step=0.05, description="bpp at most")
    button = ipywidgets.Button(description="fit", button_style="primary")
    bar, shown = ipywidgets.IntProgress(layout={"width": "16rem"}), ipywidgets.VBox()

    def fit(_: object) -> None:
        original = data.bundled()[picture.value]
        parameters = Loonie().architecture_at(original, budget.value).n_parameters
        steps = int(min(4000, 4e7 / parameters))  # about half a minute of one core
        bar.max, bar.value = steps, 0

        def on_score(step: int, scores: dict) -> None:
            bar.value, bar.description = step, f"{scores['psnr'][0]:.1f} dB"

        few = replace(LOONIE, steps=steps, score_every=max(50, steps // 20))
        file = Loonie(budget=few, on_score=on_score).at_bpp(original, budget.value)
        shown.children = [_loonie_frame(file, original, _middle(original))]

    button.on_click(fit)
    return _needs_kernel([ipywidgets.VBox([ipywidgets.HBox([picture, budget]), ipywidgets.HBox([button, bar])]), shown])


# Chapter 20: what a radius leaves of a layer --------------------------------------------------------------------------

SHARES = (0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.6, 0.8)


def projection_radius() -> ipywidgets.VBox:
    """A drawn layer under every projection, at radii from 2 to 80 % of its own norms."""
    v = seeded_layer()
    frames = [_projection_tiles(v, share) for share in SHARES]
    options = [f"{100 * share:g} %" for share in SHARES]
    return ipywidgets.VBox([sliding("radius", options, frames, index=4), _live_projections()])


def _projected(v: torch.Tensor, share: float) -> dict[str, np.ndarray]:
    """The layer and what each projection leaves of it; the radius of each is a share of its own norm of the layer."""
    largest = float(v.abs().max())
    shown = {"the layer\n\n\n\u00a0": layer_picture(v, largest)}
    for name, title in PROJECTION_NAMES.items():
        w = PROJECTIONS[name](v, share * ball_norm(v, name))
        zeros, dead = (100 * float(mask.double().mean()) for mask in (w == 0, (w == 0).all(1)))
        below = f"zeros {zeros:.0f} %\ndead filters {dead:.0f} %\ndistance {float((w - v).norm() / v.norm()):.2f}"
        shown[f"{title.split(' (')[0]}\n{below}"] = layer_picture(w, largest)
    return shown


def _projection_tiles(v: torch.Tensor, share: float) -> ipywidgets.GridBox:
    shown = _projected(v, share)
    height, width, _ = next(iter(shown.values())).shape
    return tiles(shown, (0, 0, height, width))


def _live_projections() -> ipywidgets.VBox:
    """With a kernel: any radius, any drawn layer; every move of a slider computes all projections anew."""
    share = ipywidgets.FloatSlider(value=0.2, min=0, max=1, step=0.01, description="radius", readout_format=".0%")
    seed = ipywidgets.IntSlider(value=0, min=0, max=99, description="seed")
    grid = _projection_tiles(seeded_layer(seed.value), share.value)

    def project(_: object) -> None:
        for tile, (caption, picture) in zip(
            grid.children, _projected(seeded_layer(seed.value), share.value).items(), strict=True
        ):
            title, image = tile.children
            title.value, image.value = caption.replace("\n", "<br>"), _png(picture, optimize=False)

    for slider in (share, seed):
        slider.observe(project, "value")
    return _needs_kernel([ipywidgets.HBox([share, seed]), grid])


# Chapter 21: filters die ------------------------------------------------------------------------------------------

SPARSITIES = (0.0, 0.3, 0.5, 0.7, 0.83, 0.9, 0.95)
KINDS = {
    "l1": "l1",
    "l1,1 (bilevel)": "bilevel_l11",
    "l1,inf": "l1inf",
    "l2,1": "l21",
    "l1,inf (bilevel)": "bilevel_l1inf",
}


def dying_filters(
    model: str = "cae-high-seed-0-desktop-bfloat16",
    retrained: str = "cae-bilevel-l11-seed-0-desktop-bfloat16",
    models: Models | None = None,
) -> ipywidgets.VBox:
    """The encoder under l1,1 projections, from dense to 95 % zeros: weights, MACs, bytes, and the astronaut's face.

    Projected only, as it stands before the second descent; the last frame is the encoder that was trained again.
    """
    dense, again = map((models or default_models()).find, (model, retrained))
    frames = [
        _projected_frame(dense, Constraint("bilevel_l11", share), data.bundled()["astronaut"]) for share in SPARSITIES
    ]
    frames.append(_encoder_frame(cast(SparseCAE, again.model), again, dense.step, data.bundled()["astronaut"]))
    options = [f"{share:.0%}" for share in SPARSITIES] + ["83%, trained again"]
    return ipywidgets.VBox([sliding("zeros", options, frames, index=2), _live_filters(dense)])


def _projected_frame(dense: Stored, constraint: Constraint, original: np.ndarray, crop: Crop = FACE) -> ipywidgets.VBox:
    first = cast(SparseCAE, dense.model)
    left = second_start(first, project(first, constraint), replace(constraint, restart="trained"), 0)
    return _encoder_frame(left, dense, dense.step, original, crop)


@torch.inference_mode()
def _encoder_frame(
    model: SparseCAE, stored: Stored, step: int, original: np.ndarray, crop: Crop = FACE
) -> ipywidgets.VBox:
    """What is left of an encoder, and what it makes of a detail, coded as files of a stored model are.

    One step for all, so that their codes compare.
    """
    (_, _, height, width), detail, small = crop, _detail(original, crop), surgery.prune(model.encoder)
    symbols = latents.quantise(small(to_input(detail, SCALE)), step)
    shown = model.decoder(symbols * (step / latents.UNIT))[0, :, :height, :width].clamp(0, 1)
    shown = (shown * 255).round().byte().permute(1, 2, 0).numpy()
    coder, tables = coder_of(stored, step)
    code = coder.encode(symbols[0].numpy(), *tables)
    weights_file, side = sparse_weights.encode(dict(model.encoder.state_dict())), 16 * SCALE
    macs = macs_per_pixel(small, (1, 3, side, side), pixels=side * side)
    psnr = metrics.psnr(reference=detail, reconstruction=shown)
    text = (
        f"<b>encoder</b>: {macs:,.0f} MACs a pixel, its weights {len(weights_file):,} bytes as a sparse file; "
        f"<b>this detail</b>: {len(code):,} bytes of code, {psnr:.2f} dB"
    )
    pictures = {
        "original\n24 bpp": detail,
        f"decoded\n{psnr:.2f} dB": shown,
        "weights of the encoder\nwhite: zero": alive_filters(model, (height, width)),
    }
    return ipywidgets.VBox([ipywidgets.HTML(text), tiles(pictures, (0, 0, height, width))])


def alive_filters(model: SparseCAE, size: tuple[int, int]) -> np.ndarray:
    """The encoder's layers, first to last, a row a filter and a column an input: the more weights, the bluer."""
    layers_of = [m for m in model.encoder.modules() if isinstance(m, torch.nn.Conv2d)]
    columns = -(-len(layers_of) // 3)
    tile = (size[0] // 3, size[1] // columns)
    canvas = np.full((*size, 3), 230, np.uint8)
    for number, layer in enumerate(layers_of):
        alive = (layer.weight != 0).float().mean((2, 3))
        share = F.interpolate(alive[None, None], (tile[0] - 2, tile[1] - 2), mode="area")[0, 0].numpy()
        top, left = (number // columns) * tile[0], (number % columns) * tile[1]
        mixed = 255 - share[..., None] ** 0.5 * (255 - np.array((0, 114, 178)))
        canvas[top : top + tile[0] - 2, left : left + tile[1] - 2] = mixed.round().astype(np.uint8)
    return canvas


def _live_filters(dense: Stored) -> ipywidgets.VBox:
    """With a kernel: any projection, any sparsity, any bundled picture; well under a second."""
    picture = ipywidgets.Dropdown(options=data.BUNDLED, description="picture")
    kind = ipywidgets.Dropdown(options=list(KINDS), value="l1,1 (bilevel)", description="ball")
    share = ipywidgets.FloatSlider(value=0.5, min=0, max=0.98, step=0.01, description="zeros", continuous_update=False)
    shown = ipywidgets.VBox()

    def draw(_: object = None) -> None:
        original = data.bundled()[picture.value]
        shown.children = [
            _projected_frame(dense, Constraint(KINDS[kind.value], share.value), original, _middle(original))
        ]

    for control in (picture, kind, share):
        control.observe(draw, "value")
    draw()
    return _needs_kernel([ipywidgets.HBox([picture, kind]), share, shown])


ENCODERS = {
    "dense": "cae-high-seed-0-desktop-bfloat16",
    "l1,1 (bilevel)": "cae-bilevel-l11-seed-0-desktop-bfloat16",
    "l1,inf": "cae-l1inf-seed-0-desktop-bfloat16",
}
RATES = (0.8, 1.2, 1.8, 2.5, 3.5)


def encoders_at_rates(encoders: Mapping[str, str] = ENCODERS, models: Models | None = None) -> ipywidgets.VBox:
    """The astronaut's face in files of at most one rate, written by a dense encoder and by sparse ones.

    One frame a rate; every detail is coded alone, and its caption has the rate and PSNR of that file.
    """
    models, face = models or default_models(), _detail(data.bundled()["astronaut"], FACE)
    frames = []
    for rate in RATES:
        shown: dict[str, np.ndarray | None] = {ORIGINAL: face}
        for name, model in encoders.items():
            file = codecs.get_codec("cae", model=model, models=models).at_bpp(face, rate)
            decoded = codecs.decode(file, models=models)
            shown[caption(name, file, face, decoded)] = decoded
        frames.append(tiles(shown, (0, 0, *face.shape[:2])))
    return sliding("bpp at most", [f"{rate:g}" for rate in RATES], frames, index=len(RATES) - 1)


# Chapter 30: two sets, and a share of the code ------------------------------------------------------------------------

UPDATES = (0, 1, 2, 3, 4, 5, 6, 7, 10, 20, 60)


def two_sets() -> ipywidgets.VBox:
    """ADMM in the plane, on a valley and a cross, after so many updates; one frame a step."""
    pictures = [alternating("cross", steps).png() for steps in UPDATES]
    frames = [ipywidgets.Image(value=png, format="png", layout={"max_width": "100%"}) for png in pictures]
    return sliding("updates", [str(steps) for steps in UPDATES], frames, index=UPDATES.index(3))


KEPT = (1.0, 0.1, 0.07, 0.05, 0.03, 0.02)
TRAINED = {
    "pruned, 10 %": "code-keep-10-seed-0-laptop",  # by ADMM to the end, as in the text beside it
    "entropy estimated": "code-lambda-150-seed-0-laptop",
}


def code_shares(labels: Mapping[str, str] = TRAINED, models: Models | None = None) -> ipywidgets.VBox:
    """The code of a detail with ever fewer entries kept: bytes, SSIM, what is decoded, and the code, zeros in black."""
    models = models or default_models()
    found = {label: models.find(model) for label, model in labels.items()}
    face = _detail(data.bundled()["astronaut"], FACE)
    frames = [_code_frame(next(iter(found.values())), share, face, models) for share in KEPT]
    options = [f"{share:.0%}" for share in KEPT]
    return ipywidgets.VBox([sliding("kept", options, frames, index=0), _live_code(found, models)])


def _detail(picture: np.ndarray, crop: Crop) -> np.ndarray:
    top, left, height, width = crop
    return np.ascontiguousarray(picture[top : top + height, left : left + width])


def _code_frame(stored: Stored, share: float, detail: np.ndarray, models: Models) -> ipywidgets.VBox:
    """A file of a detail alone, of whose code a share is kept, and what is in it."""
    file = codecs.get_codec(stored.codec, model=stored.name, models=models, keep=share).encode(detail)
    symbols, decoded = read_symbols(unpack(file), models)[1], codecs.decode(file, models=models)
    pair = {"reference": detail, "reconstruction": decoded}
    text = (
        f"<b>this detail</b>: {len(file):,} bytes, "
        f"{metrics.bpp(data=file, height=detail.shape[0], width=detail.shape[1]):.3f} bpp, "
        f"SSIM {metrics.ssim(**pair):.3f}, {metrics.psnr(**pair):.2f} dB; "
        f"<b>its code</b>: {np.count_nonzero(symbols):,} of {symbols.size:,} entries are not zero"
    )
    shown = {
        "original\n24 bpp": detail,
        f"decoded\n{len(file):,} bytes": decoded,
        f"the code\nblack: zero, {np.mean(symbols == 0):.0%}": code_map(symbols, detail.shape[:2]),
    }
    return ipywidgets.VBox([ipywidgets.HTML(text), tiles(shown, (0, 0, *detail.shape[:2]))])


def _live_code(trained: Mapping[str, Stored], models: Models) -> ipywidgets.VBox:
    """With a kernel: any share, any bundled picture, any of the models; a fifth of a second."""
    picture = ipywidgets.Dropdown(options=data.BUNDLED, description="picture")
    model = ipywidgets.Dropdown(options=list(trained), description="trained")
    share = ipywidgets.FloatSlider(
        value=0.1, min=0.01, max=1, step=0.01, description="kept", continuous_update=False, readout_format=".0%"
    )
    shown = ipywidgets.VBox()

    def draw(_: object = None) -> None:
        original = data.bundled()[picture.value]
        detail = _detail(original, _middle(original))
        shown.children = [_code_frame(trained[model.value], share.value, detail, models)]

    for control in (picture, model, share):
        control.observe(draw, "value")
    draw()
    return _needs_kernel([ipywidgets.HBox([picture, model]), share, shown])


def _needs_kernel(children: Sequence[ipywidgets.Widget]) -> ipywidgets.VBox:
    box = ipywidgets.VBox([ipywidgets.HTML("<b>Live</b>: computed here and now, by this notebook's kernel"), *children])
    box.add_class("needs-kernel")
    return box


def _middle(picture: np.ndarray, side: int = 192) -> Crop:
    height, width, _ = picture.shape
    return ((height - side) // 2, (width - side) // 2, side, side)
