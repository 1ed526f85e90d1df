"""Widgets that work twice: from frames in the rendered book, by computing in a notebook with a kernel.

A widget is a slider over frames that are made when the notebook is executed; `jslink` ties slider and frames in the
browser, so the page needs no kernel and no network. Below it stand controls that compute something new on the spot;
they carry the class ``needs-kernel``, which the book's style hides. Frames are PNG crops: what they show of a codec's
artefacts is not lossy again.
"""

from __future__ import annotations

import html
import io
from collections.abc import Callable, Mapping, Sequence

import ipywidgets
import numpy as np
from PIL import Image

from sparsecomp import codecs, data, metrics, results
from sparsecomp.codecs import BudgetError, inr
from sparsecomp.coding import bitstream
from sparsecomp.complexity import mlp_macs_per_pixel
from sparsecomp.figures import STANDARD, STYLE
from sparsecomp.models.siren import Architecture
from sparsecomp.profiles import FitBudget

Crop = tuple[int, int, int, int]  # top, left, height, width
FACE: Crop = (10, 130, 192, 192)  # of the astronaut
NARROW: Crop = (10, 146, 192, 160)  # four of them stand side by side on a page
ORIGINAL = "original\n24 bpp\nno loss"
BUDGETS = (0.1, 0.15, 0.2, 0.3, 0.5, 0.8, 1.2)
SIZES = ("5x10", "5x20", "5x30", "10x20", "10x28", "10x40", "13x49")


def kept_file(name: str) -> bytes:
    """A file of the study `gallery` at profile laptop; a `LookupError` says how to make one that is missing."""
    path = results.folder() / "runs" / "gallery" / "files" / "laptop" / name
    if not path.is_file():
        command = "sparsecomp study gallery --profile laptop --out results/runs"
        raise LookupError(f"{name} is missing: make it with `{command}`")
    return path.read_bytes()


def sliding(
    label: str, options: Sequence[str], frames: Sequence[ipywidgets.Widget], *, index: int = 0
) -> ipywidgets.VBox:
    """A slider that shows one frame an option, by mouse and by keyboard, with or without a kernel."""
    if len(options) != len(frames) or not 0 <= index < len(frames):
        raise ValueError(f"{len(options)} options, {len(frames)} frames, index {index}: one frame an option is needed")
    slider = ipywidgets.SelectionSlider(options=list(options), index=index, description=label)
    stack = ipywidgets.Stack(list(frames), selected_index=index)
    ipywidgets.jslink((slider, "index"), (stack, "selected_index"))
    return ipywidgets.VBox([slider, stack])


def tiles(shown: Mapping[str, np.ndarray | None], crop: Crop = FACE) -> ipywidgets.GridBox:
    """Crops side by side, each under its caption (plain text); None is a picture that there is not."""
    top, left, height, width = crop
    boxes = []
    for caption, picture in shown.items():
        below = ipywidgets.HTML("<em>cannot go so low</em>")
        if picture is not None:
            file = io.BytesIO()
            Image.fromarray(picture[top : top + height, left : left + width]).save(file, "PNG", optimize=True)
            below = ipywidgets.Image(value=file.getvalue(), format="png", layout={"width": f"{width}px"})
        title = ipywidgets.HTML(html.escape(caption).replace("\n", "<br>"))
        boxes.append(ipywidgets.VBox([title, below], layout={"width": f"{width}px"}))
    columns = f"repeat(auto-fill, {width}px)"
    return ipywidgets.GridBox(boxes, layout={"grid_template_columns": columns, "grid_gap": "10px", "width": "100%"})


def caption(name: str, file: bytes, original: np.ndarray, decoded: np.ndarray) -> str:
    """Name, rate of the file and PSNR of the whole picture, in three lines."""
    rate = metrics.bpp(data=file, height=original.shape[0], width=original.shape[1])
    psnr = metrics.psnr(reference=original, reconstruction=decoded)
    return f"{name}\n{rate:.3f} bpp\n{psnr:.2f} dB"


# Chapter 00: the budget of the standard codecs ------------------------------------------------------------------------


def codec_budgets() -> ipywidgets.VBox:
    """The astronaut's face through five standard codecs, at a budget that the reader moves."""
    original = data.bundled()["astronaut"]

    def frame(bpp: float, encode: Callable[[str], bytes]) -> ipywidgets.GridBox:
        shown: dict[str, np.ndarray | None] = {ORIGINAL: original}
        for name in STANDARD:
            try:
                file = encode(name)
            except LookupError:
                shown[f"{STYLE[name][0]}\nno file of\nat most {bpp:g} bpp"] = None
                continue
            decoded = codecs.decode(file)
            shown[caption(STYLE[name][0], file, original, decoded)] = decoded
        return tiles(shown)

    frames = [frame(bpp, lambda name, bpp=bpp: kept_file(f"astronaut-{name}-{bpp:g}.spc")) for bpp in BUDGETS]
    return ipywidgets.VBox([sliding("budget, bpp", [f"{b:g}" for b in BUDGETS], frames, index=3), _live_codecs()])


def _live_codecs() -> ipywidgets.VBox:
    """With a kernel: any bundled picture, any budget."""
    picture = ipywidgets.Dropdown(options=data.BUNDLED, description="picture")
    budget = ipywidgets.BoundedFloatText(value=0.4, min=0.02, max=8, step=0.05, description="bpp at most")
    button = ipywidgets.Button(description="encode", button_style="primary")
    bar, shown = ipywidgets.IntProgress(max=len(STANDARD), layout={"width": "12rem"}), ipywidgets.VBox()

    def encode(_: object) -> None:
        original, pictures, bar.value = data.bundled()[picture.value], {}, 0
        for name in STANDARD:
            try:
                measured = codecs.evaluate(codecs.get_codec(name), original, budget.value)
                pictures[caption(STYLE[name][0], measured.data, original, measured.reconstruction)] = (
                    measured.reconstruction
                )
            except BudgetError as error:
                pictures[f"{STYLE[name][0]}\nno file\nbelow {error.smallest:.3f} bpp"] = None
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
    container = bitstream.unpack(file)
    architecture, _ = inr.read_network(container)
    height, width, _ = original.shape
    rate = metrics.bpp(data=file, height=height, width=width)
    jpeg: dict[str, np.ndarray | None] = {"JPEG, same bytes\nno file\nso small": None}
    try:
        other = codecs.evaluate(codecs.get_codec("jpeg"), original, rate)
        jpeg = {caption("JPEG, same bytes", other.data, original, other.reconstruction): other.reconstruction}
    except BudgetError:
        pass
    error = np.abs(decoded.astype(int) - original).max(axis=2, keepdims=True) * 4
    errors = np.repeat(error.clip(0, 255).astype(np.uint8), 3, axis=2)
    macs = mlp_macs_per_pixel(architecture.depth, architecture.width)
    line = (
        f"<b>{architecture}</b>: {architecture.n_parameters:,} parameters; {len(file):,} bytes, "
        f"{len(container.sections['weights']):,} of them weights; {macs:,} multiply-accumulates to decode a pixel"
    )
    shown = {caption("COIN", file, original, decoded): decoded, "error × 4\nlargest of\nthe channels": errors}
    return ipywidgets.VBox([ipywidgets.HTML(line), tiles({ORIGINAL: original} | shown | jpeg, crop)])


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

        def on_score(step: int, scores: list[float]) -> None:
            bar.value, bar.description = step, f"{scores[0]:.1f} dB"

        budget = FitBudget(steps=steps.value, lr=2e-3, score_every=max(50, steps.value // 20))
        coin = inr.Coin(arch=str(Architecture(depth.value, width.value)), budget=budget, on_score=on_score)
        shown.children = [_siren_frame(coin.encode(original), original, _middle(original))]

    button.on_click(fit)
    controls = ipywidgets.VBox(
        [ipywidgets.HBox([picture, depth]), ipywidgets.HBox([width, steps]), ipywidgets.HBox([button, bar])]
    )
    return _needs_kernel([controls, shown])


def _needs_kernel(children: Sequence[ipywidgets.Widget]) -> ipywidgets.VBox:
    box = ipywidgets.VBox([ipywidgets.HTML("<b>Live</b>: computed here and now, by this notebook's kernel"), *children])
    box.add_class("needs-kernel")
    return box


def _middle(picture: np.ndarray, side: int = 192) -> Crop:
    height, width, _ = picture.shape
    return ((height - side) // 2, (width - side) // 2, side, side)
