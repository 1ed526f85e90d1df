"""Drawings: what they show is what the library computes."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from reproduce import drawings
from sparsecomp import complexity
from sparsecomp.models import cae_admm
from sparsecomp.sparsify.projections import PROJECTIONS, ball_norm


def test_figure_shows_itself_as_a_png():
    shown = drawings.front()._repr_png_()
    assert shown.startswith(b"\x89PNG") and len(shown) > 20_000


def test_seeded_layer_is_drawn_from_its_seed():
    layer = drawings.seeded_layer(3, 20, 500)
    assert layer.shape == (20, 500) and torch.equal(layer, drawings.seeded_layer(3, 20, 500))
    assert not torch.equal(layer, drawings.seeded_layer(4, 20, 500))
    scale = layer.abs().mean(1)
    assert scale.max() > 3 * scale.min(), "filters differ in scale"
    flatness = ((layer / scale[:, None]) ** 4).mean() / ((layer / scale[:, None]) ** 2).mean() ** 2
    assert flatness > 4, "heavier tails than a normal distribution's 3"


def test_balls_show_points_that_land_on_them():
    figure = drawings.balls(points=40)
    assert len(figure.axes) == len(PROJECTIONS)
    for name, axes in zip(drawings.PROJECTION_NAMES, figure.axes, strict=True):
        landed = np.concatenate([np.stack(c._offsets3d, 1) for c in axes.collections if hasattr(c, "_offsets3d")])
        assert len(landed) == 40
        for x in torch.from_numpy(landed):
            groups = torch.stack([x[:2], torch.stack([x[2], torch.zeros_like(x[2])])])
            assert ball_norm(groups, name) == pytest.approx(1, abs=1e-12)


def test_layer_picture_is_grey_for_dead_rows_and_white_for_zeros():
    weights = torch.tensor([[1.0, -1.0, 0.0], [0.0, 0.0, 0.0], [0.25, -4.0, 0.0]])
    shown = drawings.layer_picture(weights, 1.0, side=2)
    assert shown.shape == (6, 6, 3) and (shown[2:4] == 205).all() and (shown[[0, 1, 4, 5], 4:] == 255).all()
    assert (shown[0, 0] == (0, 114, 178)).all() and (shown[0, 2] == (213, 94, 0)).all()
    assert (shown[4, 2] == (213, 94, 0)).all(), "what is larger than the largest is not darker"
    halfway = 255 - 0.5 * (255 - np.array((0, 114, 178)))
    assert abs(shown[4, 0] - halfway).max() <= 1


def test_duel_is_drawn_from_its_start_to_its_answer():
    left, right = drawings.duel(0).axes
    assert "x = 3.00, λ = 0.00" in left.get_title() and "x = 3.00, λ = 0.00" in right.get_title()
    left, right = drawings.duel(160).axes
    assert "x = 1.00, λ = 4" in left.get_title() and "x = 1.00, λ = 4" not in right.get_title()


def layers_and_shares(figure: drawings.Figure) -> tuple[list[str], list[float]]:
    """What is written on a network: its layers, and the share of each in %."""
    layers = [text.get_text() for text in figure.axes[0].texts if "→" in text.get_text()]
    return layers, [0.0 if "<" in text else float(text.split(", ")[-1].removesuffix(" %")) for text in layers]


def test_autoencoder_is_drawn_from_sparse_cae():
    figure = drawings.autoencoder()
    layers, shares = layers_and_shares(figure)
    assert layers[0].startswith("3→64, 5x5 /2") and layers[-1].startswith("16→3, 3x3")
    assert len(layers) == len(figure.axes[0].patches) == 21 and abs(sum(shares) - 100) < 1
    assert abs(sum(shares[:9]) - 100 * 75.7 / (75.7 + 279.1)) < 0.5, "as complexity counts"


@pytest.mark.parametrize(("latent", "depth"), [(32, 15), (16, 2), (32, 0)])
def test_autoencoder_is_drawn_from_cae_admm(latent, depth):
    """Its shares against MACs as they are counted elsewhere; a block has as many in the encoder as in the decoder."""
    model = cae_admm.CaeAdmm(cae_admm.Shape(latent=latent, depth=depth))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    figure = drawings.autoencoder(model)
    layers, shares = layers_and_shares(figure)
    assert layers[0].startswith("3→32, 3x3, PReLU") and layers[-1].startswith("32→3, 1x1, ")
    assert layers[5].startswith(f"32→{latent}, 3x3, ") and layers[6].startswith(f"{latent}→32, 1x1, ")
    assert sum("×2" in layer for layer in layers) == 3 == sum("/2" in layer for layer in layers), "1/8, and back"
    side = 16 * cae_admm.SCALE
    encoder = complexity.count_macs(model.encoder, (1, 3, side, side))
    total = encoder + complexity.count_macs(model.decoder, (1, latent, 16, 16))
    block = complexity.count_macs(cae_admm.Block(128), (1, 128, side // 2, side // 2)) / total
    bundles = [text.get_text() for text in figure.axes[0].texts if "residual blocks" in text.get_text()]
    expected = f"{depth} residual blocks\nof 1x1, 3x3, 1x1\nat 128 channels\n"
    expected += f"{100 * block:.1f} % each, {100 * block * depth:.1f} % in all"
    assert bundles == ([expected] * 2 if depth else [])
    assert abs(sum(shares) / 100 + 2 * depth * block - 1) < 0.005
    assert abs(sum(shares[:6]) / 100 + depth * block - encoder / total) < 0.005
    edges = sorted((box.get_x(), box.get_x() + box.get_width()) for box in figure.axes[0].patches)
    assert len(edges) == len(layers) + 2 * depth == 12 + 2 * depth
    assert all(right < left for (_, right), (left, _) in zip(edges, edges[1:], strict=False)), "boxes overlap"
    assert figure.axes[0].get_xlim()[1] > edges[-1][1]
    after = model.state_dict()
    assert all(torch.equal(value, after[name]) for name, value in before.items()), "the reader's model is left alone"
    assert model.training and not any(layer._forward_hooks for layer in model.modules())


def test_block_dct_is_orthonormal():
    rng = np.random.default_rng(0)
    picture = rng.integers(0, 256, (24, 40, 3), dtype=np.uint8)
    code = drawings.block_dct(picture)
    assert code.shape == (1, 192, 3, 5) and np.array_equal(drawings.from_block_dct(code), picture)
    assert float(code.square().sum()) == pytest.approx(float((picture.astype(float) ** 2).sum()), rel=1e-12)
    flat = drawings.block_dct(np.full((8, 8, 3), 100, np.uint8))
    assert flat[0, [0, 64, 128], 0, 0].tolist() == pytest.approx([800] * 3) and int((flat.abs() > 1e-9).sum()) == 3


def valley(x: np.ndarray) -> float:
    return float(x @ drawings.HESSIAN.numpy() @ x / 2 - drawings.SLOPE.numpy() @ x)


def test_alternate_on_the_diamond_has_one_answer_for_every_rho():
    """On the edge x1 + x2 = 1 the slope of d stands at right angles to it: (3/7, 4/7)."""
    slopes = []
    for rho in drawings.RHOS:
        _, places = drawings.alternate("diamond", rho, 200)
        assert places.shape == (201, 3, 2)
        assert places[-1, 0] == pytest.approx([3 / 7, 4 / 7], abs=1e-6) == places[-1, 1]
        slopes.append(rho * places[-1, 2])
    expected = drawings.SLOPE.numpy() - drawings.HESSIAN.numpy() @ [3 / 7, 4 / 7]
    assert expected[0] == pytest.approx(expected[1])
    assert all(slope == pytest.approx(expected, abs=1e-5) for slope in slopes)
    around = np.linspace(0, 2 * np.pi, 1001)
    border = np.stack([np.cos(around), np.sin(around)], 1)
    border /= np.abs(border).sum(1, keepdims=True)
    assert min(map(valley, border)) >= valley(np.array([3 / 7, 4 / 7])) - 1e-12


def test_alternate_on_the_cross_has_answers_that_depend_on_rho():
    """The lowest points of the axes are (1, 0) and (0, 2.2), the second is lower; they can be points of rest where
    ``rho >= |slope of d across| / |x|``, from 1.6 and from 0.76 on.
    """
    best = {axis: min(valley(t * np.eye(2)[axis]) for t in np.linspace(-4, 4, 8001)) for axis in (0, 1)}
    assert best == {0: pytest.approx(valley(np.array([1, 0]))), 1: pytest.approx(valley(np.array([0, 2.2])))}
    assert best[1] < best[0]
    answers = {0.5: None, 0.7: None, 0.8: (0, 2.2), 1.0: (0, 2.2), 1.5: (0, 2.2), 6.0: (1, 0), 12.0: (1, 0)}
    for rho, answer in answers.items():
        admm, places = drawings.alternate("cross", rho, 400)
        assert ((places[:, 1] == 0).sum(1) >= 1).all(), "Z is on the cross at all times"
        assert np.allclose(np.diff(places[:, 2], axis=0), (places[:, 0] - places[:, 1])[1:], atol=1e-12)
        assert (max(admm.history[-1]) < 1e-6) == (answer is not None), "at rest, or not"
        assert answer is None or places[-1, 1] == pytest.approx(answer, abs=1e-6)


def test_alternating_draws_the_way_of_alternate():
    figure = drawings.alternating("cross", 7, (0.5, 6.0))
    for axes, rho in zip(figure.axes, (0.5, 6.0), strict=True):
        x, z, _ = drawings.alternate("cross", rho, 7)[1].transpose(1, 0, 2)
        assert axes.get_title() == f"ρ = {rho:g}, 7 steps\nZ = ({z[-1, 0]:.2f}, {z[-1, 1]:.2f})"
        drawn = [line.get_xydata() for line in axes.lines]
        assert any(np.array_equal(line, x) for line in drawn) and any(np.array_equal(line, z) for line in drawn)
    start = drawings.alternating("diamond", 0).axes
    assert len(start) == len(drawings.RHOS) and all("Z = (0.00, 0.00)" in axes.get_title() for axes in start)
    _, high = figure.axes[0].get_xlim()
    for where in drawings.SETS:
        _, places = drawings.alternate(where, 0.5, 60)
        tips = places[:, 1] + places[:, 2]
        assert (places[:, :2] >= -0.5).all() and (tips <= high).all(), "the arrows end inside the panel"


def test_code_map_is_black_where_the_code_is_zero():
    code = np.zeros((6, 4, 5), np.int32)
    code[1, 2, 3], code[4, 0, 0], code[5, 3, 4] = 9, -9, 1
    shown = drawings.code_map(code, (192, 192)).astype(int)
    background = (shown == 205).all(2)
    black = (shown == 0).all(2)
    assert 0.9 < black.sum() / (~background).sum() < 1
    bright = shown[~background & ~black]
    assert {tuple(c) for c in bright} == {(86, 180, 233), (255, 150, 40), tuple(bright[bright.sum(1).argmin()])}
    assert bright.sum(1).min() < (86 + 180 + 233), "a small entry is darker"
    assert len(bright) % 3 == 0, "all entries are drawn alike large"
    assert not drawings.code_map(np.zeros((3, 2, 2), np.int32), (40, 60))[:8, :8].any()
