"""Widgets: their frames are the kept files, and their live halves compute."""

from __future__ import annotations

import io
import re

import ipywidgets
import numpy as np
import pytest
import tiny_cae
import tiny_cae_admm
import torch
from PIL import Image

from reproduce import drawings, sparse_weights, widgets
from sparsecomp import codecs, data, metrics, network_weights
from sparsecomp.codecs.trained import latent_of, pruned
from sparsecomp.coding import latents
from sparsecomp.models.inference import to_input
from sparsecomp.models.pretrained import Models, Stored
from sparsecomp.models.siren import Architecture, layers
from sparsecomp.models.sparse_cae import SCALE, SparseCAE
from sparsecomp.sparsify.projections import PROJECTIONS, ball_norm
from sparsecomp.training.configs import FitBudget
from sparsecomp.training.double_descent import Constraint, project, second_start


def inside(widget: ipywidgets.Widget, kind: type) -> list:
    found = [widget] if isinstance(widget, kind) else []
    return found + [each for child in getattr(widget, "children", ()) for each in inside(child, kind)]


def pixels(image: ipywidgets.Image) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(image.value)))


def told(widget: ipywidgets.Widget) -> str:
    return "".join(each.value for each in inside(widget, ipywidgets.HTML))


def frames_of(widget: ipywidgets.Widget) -> tuple:
    return inside(widget, ipywidgets.Stack)[0].children


def part(picture: np.ndarray, crop: widgets.Crop) -> np.ndarray:
    top, left, height, width = crop
    return picture[top : top + height, left : left + width].copy()


def press(widget: ipywidgets.Widget, text: str) -> None:
    next(button for button in inside(widget, ipywidgets.Button) if button.description == text).click()


def test_sliding_needs_one_option_a_frame():
    frames = [ipywidgets.HTML("a"), ipywidgets.HTML("b")]
    assert inside(widgets.sliding("x", ["1", "2"], frames, index=1), ipywidgets.Stack)[0].selected_index == 1
    for options, index in ((["1"], 0), (["1", "2"], 2)):
        with pytest.raises(ValueError, match="one frame an option"):
            widgets.sliding("x", options, frames, index=index)


def test_tiles_are_lossless_crops_under_escaped_captions():
    picture = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    grid = widgets.tiles({"a<b": picture, "none": None}, (2, 3, 10, 12))
    (image,) = inside(grid, ipywidgets.Image)
    assert np.array_equal(pixels(image), picture[2:12, 3:15])
    assert "a&lt;b" in inside(grid, ipywidgets.HTML)[0].value
    assert "cannot go so low" in inside(grid, ipywidgets.HTML)[-1].value


def test_codec_budgets_show_files_under_their_budgets():
    for budget, frame in zip(widgets.BUDGETS, frames_of(widgets.codec_budgets()), strict=True):
        rates = [float(rate) for rate in re.findall(r"([\d.]+) bpp<br>[\d.]+ dB", told(frame))]
        assert rates and max(rates) <= budget + 5e-4


def check_frame(frame: ipywidgets.Widget, file: bytes) -> None:
    """It shows what is decoded from the file, with its bytes and its quality."""
    decoded = codecs.decode(file)
    psnr = metrics.psnr(reference=data.bundled()["astronaut"], reconstruction=decoded)
    assert np.array_equal(pixels(inside(frame, ipywidgets.Image)[1]), part(decoded, widgets.NARROW))
    assert f"{len(file):,} bytes" in told(frame) and f"{psnr:.2f} dB" in told(frame)


def test_siren_sizes_show_the_kept_file():
    frame = frames_of(widgets.siren_sizes())[widgets.SIZES.index("10x28")]
    check_frame(frame, widgets.kept_file("astronaut-10x28.spc"))
    assert "7,479 parameters" in told(frame)


def test_kept_file_says_how_to_make_one_that_is_missing():
    with pytest.raises(LookupError, match="python -m reproduce study gallery"):
        widgets.kept_file("nobody.spc")


def test_live_codecs_encode(monkeypatch):
    monkeypatch.setattr(widgets, "STANDARD", ("jpeg", "webp"))
    live = widgets._live_codecs()
    inside(live, ipywidgets.Dropdown)[0].value = "chelsea"
    press(live, "encode")
    assert len(inside(live, ipywidgets.Image)) == 3 and "needs-kernel" in live._dom_classes
    assert inside(live, ipywidgets.IntProgress)[0].value == 2


def test_live_siren_fits():
    live = widgets._live_siren()
    inside(live, ipywidgets.Dropdown)[0].value = "chelsea"
    sliders = {slider.description: slider for slider in inside(live, ipywidgets.IntSlider)}
    sliders["depth"].value, sliders["width"].value, sliders["steps"].value = 2, 8, 100
    press(live, "fit")
    assert "2x8" in told(live) and inside(live, ipywidgets.IntProgress)[0].value == 100


def test_loonie_budgets_show_the_kept_files_within_them():
    for budget, frame in zip(widgets.LOONIE_BUDGETS, frames_of(widgets.loonie_budgets()), strict=True):
        file = widgets.kept_file(f"astronaut-loonie-file-{budget:g}.spc")
        assert 0.95 * budget <= 8 * len(file) / 512**2 <= budget
        check_frame(frame, file)
        assert all(part in told(frame) for part in ("tables", "positions", "values", "weights"))


def test_alive_weights_are_blue_and_dead_ones_white():
    architecture = Architecture(4, 10)
    parameters = torch.zeros(architecture.n_parameters)
    for number, (weight, bias) in enumerate(layers(architecture, parameters[None])):
        weight += 1
        bias += 1
        if number == 2:
            weight[:, :5, :5] = 0  # a quarter of the second hidden matrix; no neuron dies of it
    file = network_weights.write(network_weights.Halves(architecture, parameters.half()), 64, 64)
    shown = widgets.alive_weights(file, (44, 44))  # three matrices of 20 pixels, two in a row
    assert shown.shape == (44, 44, 3)
    blue = (shown == (0, 114, 178)).all(2)
    assert blue[:20, :20].all() and (shown[:10, 22:32] == 255).all() and blue[:20, 32:42].all()
    assert blue[10:20, 22:42].all() and blue[22:42, :20].all()
    assert (shown[22:, 22:] == 230).all(), "there is no fourth"


def test_live_loonie_fits_under_the_budget(monkeypatch):
    small = {name: data.load_picture("chelsea")[:192, :256] for name in data.BUNDLED}
    monkeypatch.setattr(data, "bundled", lambda: small)
    monkeypatch.setattr(widgets, "LOONIE", FitBudget(steps=60, lr=2e-3, batch_pixels=1024, schedule="quadratic"))
    live = widgets._live_loonie()
    inside(live, ipywidgets.FloatSlider)[0].value = 0.5
    steps: list[int] = []
    monkeypatch.setattr(widgets, "replace", lambda budget, **changes: steps.append(changes["steps"]) or budget)
    press(live, "fit")
    assert 1000 < steps[0] <= 4000
    assert 0.475 <= float(re.search(r"our file<br>([\d.]+) bpp", told(live))[1]) <= 0.5
    assert inside(live, ipywidgets.IntProgress)[0].description.endswith("dB")


@pytest.mark.parametrize(("widget", "count"), [(widgets.two_players, 7), (widgets.two_sets, len(widgets.UPDATES))])
def test_drawn_widgets_have_another_frame_for_every_step(widget, count):
    frames = inside(widget(), ipywidgets.Image)
    assert len(frames) == count == len({each.value for each in frames})


def test_projection_radius_says_what_is_zero():
    v = drawings.seeded_layer()
    for share, frame in zip(widgets.SHARES, frames_of(widgets.projection_radius()), strict=True):
        pictures, texts = inside(frame, ipywidgets.Image), inside(frame, ipywidgets.HTML)
        for name, picture, text in zip(drawings.PROJECTION_NAMES, pictures[1:], texts[1:], strict=True):
            w = PROJECTIONS[name](v, share * ball_norm(v, name))
            assert np.array_equal(pixels(picture), drawings.layer_picture(w, float(v.abs().max())))
            assert f"zeros {100 * float((w == 0).double().mean()):.0f} %" in text.value


def test_live_projections_follow_their_sliders():
    live = widgets._live_projections()
    (share,), (seed,) = inside(live, ipywidgets.FloatSlider), inside(live, ipywidgets.IntSlider)
    before = [image.value for image in inside(live, ipywidgets.Image)]
    share.value = 1
    texts, shown = inside(live, ipywidgets.HTML)[2:], inside(live, ipywidgets.Image)
    assert all("zeros 0 %" in text.value and "distance 0.00" in text.value for text in texts)
    assert all(np.array_equal(pixels(shown[0]), pixels(each)) for each in shown)
    share.value, seed.value = 0.2, 5
    w = PROJECTIONS["l1"](v := drawings.seeded_layer(5), 0.2 * ball_norm(v, "l1"))
    assert np.array_equal(pixels(shown[1]), drawings.layer_picture(w, float(v.abs().max())))
    assert before[1] != shown[1].value and "needs-kernel" in live._dom_classes


# Chapter 21 -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def pair(tmp_path) -> Models:
    tiny_cae.write(tmp_path, "dense", seed=0, width=16, latent=4)
    tiny_cae.write(tmp_path, "again", seed=1, width=16, latent=4)
    return Models(tmp_path)


@pytest.fixture
def trained(pair) -> Stored:
    return pair.find("dense")


def left_of(trained: Stored, kind: str, share: float) -> SparseCAE:
    constraint = Constraint(kind, share, restart="trained")
    return second_start(trained.model, project(trained.model, constraint), constraint, 0)


def bytes_of(model: SparseCAE) -> str:
    return f"{len(sparse_weights.encode(dict(model.encoder.state_dict()))):,} bytes as a sparse file"


def test_dying_filters_die_from_frame_to_frame(pair, trained):
    frames, macs = frames_of(widgets.dying_filters("dense", "again", models=pair)), []
    for share, frame in zip(widgets.SPARSITIES, frames[:-1], strict=True):
        left, (_, _, alive) = left_of(trained, "bilevel_l11", share), inside(frame, ipywidgets.Image)
        assert bytes_of(left) in told(frame)
        assert np.array_equal(pixels(alive), widgets.alive_filters(left, widgets.FACE[2:]))
        macs.append(int(re.search(r"([\d,]+) MACs", told(frame))[1].replace(",", "")))
    assert macs == sorted(macs, reverse=True) and macs[-1] < macs[0]
    detail = part(data.bundled()["astronaut"], widgets.FACE)
    with torch.inference_mode():  # the first frame is the model as it is
        symbols = latents.quantise(trained.model.encoder(to_input(detail, SCALE)), trained.step)[0].numpy()
    assert f"{len(latents.encode(symbols, trained.counts, trained.step)):,} bytes of code" in told(frames[0])


def test_live_filters_follow_their_controls(trained):
    live = widgets._live_filters(trained)
    kind = [d for d in inside(live, ipywidgets.Dropdown) if d.description == "ball"][0]
    (share,) = inside(live, ipywidgets.FloatSlider)
    before = inside(live, ipywidgets.HTML)[1].value
    share.value = 0.9
    assert inside(live, ipywidgets.HTML)[1].value != before
    kind.value = "l1,inf"
    assert "needs-kernel" in live._dom_classes and len(inside(live, ipywidgets.Image)) == 3
    assert bytes_of(left_of(trained, "l1inf", 0.9)) in told(live)


# Chapter 30 -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def coded(tmp_path) -> tuple[dict[str, str], Models]:
    tiny_cae_admm.write(tmp_path, "pruned", seed=0)
    tiny_cae_admm.write(tmp_path, "other", seed=1)
    return {"pruned, 10 %": "pruned", "not pruned": "other"}, Models(tmp_path)


def test_code_shares_are_what_a_file_holds(coded):
    detail = part(data.bundled()["astronaut"], widgets.FACE)
    for share, frame in zip(widgets.KEPT, frames_of(widgets.code_shares(*coded)), strict=True):
        original, shown, code = inside(frame, ipywidgets.Image)
        measured = codecs.evaluate(codecs.get_codec("cae-admm", model="pruned", models=coded[1], keep=share), detail)
        symbols = pruned(latent_of(coded[1].find("pruned"), detail), share)
        assert f"{measured.bytes:,} bytes" in told(frame) and f"SSIM {measured.ssim:.3f}" in told(frame)
        assert f"{np.count_nonzero(symbols):,} of {symbols.size:,} entries" in told(frame)
        assert np.array_equal(pixels(original), detail)
        assert np.array_equal(pixels(shown), measured.reconstruction)
        assert np.array_equal(pixels(code), drawings.code_map(symbols, widgets.FACE[2:]))


def test_live_codes_follow_their_controls(coded):
    live = inside(widgets.code_shares(*coded), ipywidgets.VBox)
    live = next(box for box in live if "needs-kernel" in box._dom_classes)
    picture, model = inside(live, ipywidgets.Dropdown)
    (share,) = inside(live, ipywidgets.FloatSlider)
    before = [image.value for image in inside(live, ipywidgets.Image)]
    share.value = 0.5
    fuller = [image.value for image in inside(live, ipywidgets.Image)]
    assert before[0] == fuller[0] and before[2] != fuller[2]
    model.value = "not pruned"
    other = [image.value for image in inside(live, ipywidgets.Image)]
    assert other[0] == fuller[0] and other[2] != fuller[2]
    picture.value = "coffee"
    assert inside(live, ipywidgets.Image)[0].value != other[0]
