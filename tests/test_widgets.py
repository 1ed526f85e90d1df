"""Widgets: their frames are the kept files, and their live halves compute."""

from __future__ import annotations

import io
import re

import ipywidgets
import numpy as np
import pytest
import tiny_cae
import tiny_cae_admm
from PIL import Image

from reproduce import drawings, sparse_weights, widgets
from sparsecomp import codecs, data, metrics
from sparsecomp.codecs.trained import latent_of, pruned
from sparsecomp.models.pretrained import Models
from sparsecomp.training.configs import FitBudget
from sparsecomp.training.double_descent import Constraint, project, second_start


def inside(widget: ipywidgets.Widget, kind: type) -> list:
    found = [widget] if isinstance(widget, kind) else []
    return found + [each for child in getattr(widget, "children", ()) for each in inside(child, kind)]


def pixels(image: ipywidgets.Image) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(image.value)))


def text_of(widget: ipywidgets.Widget) -> str:
    return "".join(each.value for each in inside(widget, ipywidgets.HTML))


def frames_of(widget: ipywidgets.Widget) -> tuple:
    return inside(widget, ipywidgets.Stack)[0].children


def part(picture: np.ndarray, crop: widgets.Crop) -> np.ndarray:
    top, left, height, width = crop
    return picture[top : top + height, left : left + width].copy()


def press(widget: ipywidgets.Widget, text: str) -> None:
    next(button for button in inside(widget, ipywidgets.Button) if button.description == text).click()


def test_tiles_are_lossless_crops_under_escaped_captions():
    picture = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    grid = widgets.tiles({"a<b": picture, "none": None}, (2, 3, 10, 12))
    (image,) = inside(grid, ipywidgets.Image)
    assert np.array_equal(pixels(image), picture[2:12, 3:15])
    assert "a&lt;b" in inside(grid, ipywidgets.HTML)[0].value
    assert "cannot go so low" in inside(grid, ipywidgets.HTML)[-1].value


def test_codec_budgets_show_files_under_their_budgets(monkeypatch):
    monkeypatch.setattr(widgets, "BUDGETS", (0.1, 0.2, 0.3, 1.2))
    for budget, frame in zip(widgets.BUDGETS, frames_of(widgets.codec_budgets()), strict=True):
        rates = [float(rate) for rate in re.findall(r"([\d.]+) bpp<br>[\d.]+ dB", text_of(frame))]
        assert rates and max(rates) <= budget + 5e-4
    with pytest.raises(LookupError, match="python -m reproduce study gallery"):
        widgets.kept_file("nobody.spc")


@pytest.mark.parametrize(
    ("widget", "sizes", "file", "words"),
    [
        ("siren_sizes", ("SIZES", ["5x10"] * 4 + ["10x28"]), "astronaut-10x28.spc", ["7,479 parameters"]),
        ("loonie_budgets", ("LOONIE_BUDGETS", [0.05] * 3 + [0.3]), "astronaut-loonie-file-0.3.spc",
         ["tables", "positions", "values", "weights"]),
    ],
)  # fmt: skip
def test_frame_of_a_network_shows_what_its_kept_file_decodes_to(monkeypatch, widget, sizes, file, words):
    monkeypatch.setattr(widgets, *sizes)
    frame, written = frames_of(getattr(widgets, widget)())[-1], widgets.kept_file(file)
    decoded = codecs.decode(written)
    psnr = metrics.psnr(reference=data.bundled()["astronaut"], reconstruction=decoded)
    assert np.array_equal(pixels(inside(frame, ipywidgets.Image)[1]), part(decoded, widgets.NARROW))
    assert all(word in text_of(frame) for word in (f"{len(written):,} bytes", f"{psnr:.2f} dB", *words))


def test_live_codecs_and_fits_compute(monkeypatch):
    small = {name: data.load_picture("chelsea")[:192, :256] for name in data.BUNDLED}
    monkeypatch.setattr(data, "bundled", lambda: small)
    monkeypatch.setattr(widgets, "STANDARD", ("jpeg", "webp"))
    live = widgets._live_codecs()
    press(live, "encode")
    assert len(inside(live, ipywidgets.Image)) == 3 and "needs-kernel" in live._dom_classes
    assert inside(live, ipywidgets.IntProgress)[0].value == 2

    live = widgets._live_siren()
    sliders = {slider.description: slider for slider in inside(live, ipywidgets.IntSlider)}
    sliders["depth"].value, sliders["width"].value, sliders["steps"].value = 2, 8, 100
    press(live, "fit")
    assert "2x8" in text_of(live) and inside(live, ipywidgets.IntProgress)[0].value == 100

    live, steps = widgets._live_loonie(), []
    inside(live, ipywidgets.FloatSlider)[0].value = 0.5
    monkeypatch.setattr(widgets, "LOONIE", FitBudget(steps=60, lr=2e-3, batch_pixels=1024, schedule="quadratic"))
    monkeypatch.setattr(widgets, "replace", lambda budget, **changes: steps.append(changes["steps"]) or budget)
    press(live, "fit")
    assert 1000 < steps[0] <= 4000
    assert 0.475 <= float(re.search(r"our file<br>([\d.]+) bpp", text_of(live))[1]) <= 0.5


def test_dying_filters_are_those_of_the_projected_encoder(tmp_path, monkeypatch):
    monkeypatch.setattr(widgets, "SPARSITIES", (0.0, 0.5, 0.9))
    for seed, name in enumerate(("dense", "again")):
        tiny_cae.write(tmp_path, name, seed=seed)
    dense = Models(tmp_path).find("dense").model

    def left_of(kind: str, share: float) -> tuple[np.ndarray, str]:
        constraint = Constraint(kind, share, restart="trained")
        left = second_start(dense, project(dense, constraint), constraint, 0)
        size = len(sparse_weights.encode(dict(left.encoder.state_dict())))
        return widgets.alive_filters(left, widgets.FACE[2:]), f"{size:,} bytes as a sparse file"

    shown = widgets.dying_filters("dense", "again", models=Models(tmp_path))
    for share, frame in zip(widgets.SPARSITIES, frames_of(shown)[:-1], strict=True):
        alive, size = left_of("bilevel_l11", share)
        assert size in text_of(frame) and np.array_equal(pixels(inside(frame, ipywidgets.Image)[2]), alive)
    live = next(box for box in inside(shown, ipywidgets.VBox) if "needs-kernel" in box._dom_classes)
    inside(live, ipywidgets.FloatSlider)[0].value = 0.9
    inside(live, ipywidgets.Dropdown)[1].value = "l1,inf"
    assert left_of("l1inf", 0.9)[1] in text_of(live)


def test_encoders_at_rates_keep_to_their_rates(tmp_path, monkeypatch):
    monkeypatch.setattr(widgets, "RATES", (2.0, 3.0))
    for seed, name in enumerate(("dense", "sparse")):
        tiny_cae.write(tmp_path, name, seed=seed)
    shown = widgets.encoders_at_rates({"dense": "dense", "l1": "sparse"}, Models(tmp_path))
    for rate, frame in zip(widgets.RATES, frames_of(shown), strict=True):
        assert len(inside(frame, ipywidgets.Image)) == 3
        rates = [float(found) for found in re.findall(r"([\d.]+) bpp<br>[\d.]+ dB", text_of(frame))]
        assert len(rates) == 2 and all(0 < found <= rate for found in rates)


def test_code_shares_are_what_a_file_holds(tmp_path, monkeypatch):
    monkeypatch.setattr(widgets, "KEPT", (1.0, 0.2))
    for seed, name in enumerate(("pruned", "other")):
        tiny_cae_admm.write(tmp_path, name, seed=seed)
    models, detail = Models(tmp_path), part(data.bundled()["astronaut"], widgets.FACE)
    shown = widgets.code_shares({"pruned, 10 %": "pruned", "not pruned": "other"}, models)
    for share, frame in zip(widgets.KEPT, frames_of(shown), strict=True):
        pictures = [pixels(image) for image in inside(frame, ipywidgets.Image)]
        measured = codecs.evaluate(codecs.get_codec("cae-admm", model="pruned", models=models, keep=share), detail)
        symbols = pruned(latent_of(models.find("pruned"), detail), share)
        assert f"{measured.bytes:,} bytes" in text_of(frame) and f"SSIM {measured.ssim:.3f}" in text_of(frame)
        assert f"{np.count_nonzero(symbols):,} of {symbols.size:,} entries" in text_of(frame)
        expected = (detail, measured.reconstruction, drawings.code_map(symbols, widgets.FACE[2:]))
        assert all(map(np.array_equal, pictures, expected))
    live = next(box for box in inside(shown, ipywidgets.VBox) if "needs-kernel" in box._dom_classes)
    picture, model = inside(live, ipywidgets.Dropdown)
    seen = []
    for control, value in ((inside(live, ipywidgets.FloatSlider)[0], 0.5), (model, "not pruned"), (picture, "coffee")):
        control.value = value
        seen.append([image.value for image in inside(live, ipywidgets.Image)])
    fuller, other, coffee = seen
    assert fuller[0] == other[0] != coffee[0] and fuller[2] != other[2]
