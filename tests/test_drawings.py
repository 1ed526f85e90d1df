"""Drawings: what they show is what the library computes."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from sparsecomp import drawings
from sparsecomp.sparsify.projections import PROJECTIONS, ball_norm


def test_png_is_a_picture():
    shown = drawings.front()._repr_png_()
    assert shown.startswith(b"\x89PNG") and len(shown) > 20_000


def test_every_projection_has_a_name_and_a_colour():
    assert set(drawings.PROJECTION_NAMES) == set(drawings.COLOURS) == set(PROJECTIONS)


def test_the_layer_is_drawn_from_its_seed():
    layer = drawings.seeded_layer(3, 20, 500)
    assert layer.shape == (20, 500) and torch.equal(layer, drawings.seeded_layer(3, 20, 500))
    assert not torch.equal(layer, drawings.seeded_layer(4, 20, 500))
    scale = layer.abs().mean(1)
    assert scale.max() > 3 * scale.min(), "filters differ in scale"
    flatness = ((layer / scale[:, None]) ** 4).mean() / ((layer / scale[:, None]) ** 2).mean() ** 2
    assert flatness > 4, "heavier tails than a normal distribution's 3"


def test_points_land_on_the_balls():
    figure = drawings.balls(points=40)
    assert len(figure.axes) == len(PROJECTIONS)
    for name, axes in zip(drawings.PROJECTION_NAMES, figure.axes, strict=True):
        landed = np.concatenate([np.stack(c._offsets3d, 1) for c in axes.collections if hasattr(c, "_offsets3d")])
        assert len(landed) == 40
        for x in torch.from_numpy(landed):
            groups = torch.stack([x[:2], torch.stack([x[2], torch.zeros_like(x[2])])])
            assert ball_norm(groups, name) == pytest.approx(1, abs=1e-12)


def test_rows_without_a_weight_are_grey_and_zeros_white():
    weights = torch.tensor([[1.0, 0.0, -1.0], [0.0, 0.0, 0.0], [0.25, 0.0, -4.0]])
    shown = drawings.layer_picture(weights, 1.0, side=2)
    assert shown.shape == (6, 6, 3) and (shown[2:4] == 205).all() and (shown[:2, 2:4] == 255).all()
    assert (shown[0, 0] == (0, 114, 178)).all() and (shown[0, 4] == (213, 94, 0)).all()
    assert (shown[4, 4] == (213, 94, 0)).all(), "what is larger than the largest is not darker"
    halfway = 255 - 0.5 * (255 - np.array((0, 114, 178)))
    assert abs(shown[4, 0] - halfway).max() <= 1


def test_layers_are_titled_with_their_zeros_and_dead_filters():
    w = torch.tensor([[0.0, 0.0], [1.0, 0.0]])
    figure = drawings.layers({"this": w, "that": torch.ones(2, 2)})
    titles = [axes.get_title() for axes in figure.axes]
    assert titles[:2] == ["this\nzeros 75%, dead filters 50%", "that\nzeros 0%, dead filters 0%"]


def test_courses_are_those_of_the_projections():
    v = drawings.seeded_layer(1, 12, 10)
    figure = drawings.projection_courses(v)
    for name, title in drawings.PROJECTION_NAMES.items():
        zeros, dead, distance = (
            next(line for line in axes.lines if line.get_label() == title).get_xydata() for axes in figure.axes
        )
        share = zeros[20, 0]
        w = PROJECTIONS[name](v, share * ball_norm(v, name))
        assert zeros[20, 1] == pytest.approx(float((w == 0).double().mean()))
        assert dead[20, 1] == pytest.approx(float((w == 0).all(1).double().mean()))
        assert distance[20, 1] == pytest.approx(float((w - v).norm() / v.norm()), rel=1e-6)
        assert distance[-1, 1] == 0 and zeros[-1, 1] == 0


def test_the_game_is_drawn_from_its_start():
    left, right = drawings.duel(0).axes
    assert "x = 3.00, λ = 0.00" in left.get_title() and "x = 3.00, λ = 0.00" in right.get_title()
    left, right = drawings.duel(160).axes
    assert "x = 1.00, λ = 4" in left.get_title() and "x = 1.00, λ = 4" not in right.get_title()


def test_gates_are_drawn_with_their_probabilities():
    titles = [axes.get_title() for axes in drawings.gate_distribution().axes]
    assert [title.split(":")[0] for title in titles] == ["log α = -2", "log α = 0", "log α = 2"]
    assert "median 0.50" in titles[1]


def test_the_autoencoder_is_drawn_from_the_model():
    figure = drawings.autoencoder()
    told = [text.get_text() for text in figure.axes[0].texts]
    layers = [text for text in told if "→" in text]
    shares = [float(text.split(", ")[-1].removesuffix(" %")) for text in layers]
    assert layers[0].startswith("3→64, 5x5 /2") and layers[-1].startswith("16→3, 3x3")
    assert len(layers) == len(figure.axes[0].patches) == 21 and abs(sum(shares) - 100) < 1
    encoder = sum(shares[:9])
    assert abs(encoder - 100 * 75.7 / (75.7 + 279.1)) < 0.5, "as complexity counts"
