"""Drawings: what they show is what the library computes."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from reproduce import drawings
from sparsecomp import complexity
from sparsecomp.models import cae_admm


def test_layer_picture_is_grey_for_dead_rows_and_white_for_zeros():
    weights = torch.tensor([[1.0, -1.0, 0.0], [0.0, 0.0, 0.0], [0.25, -4.0, 0.0]])
    shown = drawings.layer_picture(weights, 1.0, side=2)
    assert shown.shape == (6, 6, 3) and (shown[2:4] == 205).all() and (shown[[0, 1, 4, 5], 4:] == 255).all()
    assert (shown[0, 0] == (0, 114, 178)).all() and (shown[0, 2] == (213, 94, 0)).all()
    assert (shown[4, 2] == (213, 94, 0)).all(), "what is larger than the largest is not darker"
    halfway = 255 - 0.5 * (255 - np.array((0, 114, 178)))
    assert abs(shown[4, 0] - halfway).max() <= 1


def test_autoencoder_is_drawn_with_its_macs():
    """Its shares against MACs as they are counted elsewhere."""
    model = cae_admm.CaeAdmm(cae_admm.Shape(latent=16, depth=2))
    texts = [text.get_text() for text in drawings.autoencoder(model).axes[0].texts]
    layers = [text for text in texts if "→" in text]
    shares = [0.0 if "<" in text else float(text.split(", ")[-1].removesuffix(" %")) for text in layers]
    assert layers[0].startswith("3→32, 3x3, PReLU") and layers[-1].startswith("32→3, 1x1, ")
    side = 16 * cae_admm.SCALE
    encoder = complexity.count_macs(model.encoder, (1, 3, side, side))
    total = encoder + complexity.count_macs(model.decoder, (1, 16, 16, 16))
    block = complexity.count_macs(cae_admm.Block(128), (1, 128, side // 2, side // 2)) / total
    assert [f"{100 * block:.1f} % each" in text for text in texts if "residual blocks" in text] == [True, True]
    assert abs(sum(shares) / 100 + 4 * block - 1) < 0.005
    assert abs(sum(shares[:6]) / 100 + 2 * block - encoder / total) < 0.005
    assert model.training and not any(layer._forward_hooks for layer in model.modules()), "the model is left alone"


def test_block_dct_is_orthonormal():
    rng = np.random.default_rng(0)
    picture = rng.integers(0, 256, (24, 40, 3), dtype=np.uint8)
    code = drawings.block_dct(picture)
    assert code.shape == (1, 192, 3, 5) and np.array_equal(drawings.from_block_dct(code), picture)
    assert float(code.square().sum()) == pytest.approx(float((picture.astype(float) ** 2).sum()), rel=1e-12)
    flat = drawings.block_dct(np.full((8, 8, 3), 100, np.uint8))
    assert flat[0, [0, 64, 128], 0, 0].tolist() == pytest.approx([800] * 3) and int((flat.abs() > 1e-9).sum()) == 3


@pytest.mark.parametrize(
    ("where", "answers"),
    [
        ("diamond", dict.fromkeys(drawings.RHOS, (3 / 7, 4 / 7))),  # on its edge, at right angles to the slope
        ("cross", {0.5: None, 0.7: None, 0.8: (0, 2.2), 1.5: (0, 2.2), 6.0: (1, 0), 12.0: (1, 0)}),
    ],
)
def test_alternate_comes_to_the_answers_that_depend_on_rho_on_the_cross_alone(where, answers):
    """Lowest on the cross are (1, 0) and (0, 2.2); ADMM can rest there from rho 1.6 and from 0.76 on."""
    for rho, answer in answers.items():
        admm, places = drawings.alternate(where, rho, 400)
        assert places.shape == (401, 3, 2)
        assert where == "diamond" or ((places[:, 1] == 0).sum(1) >= 1).all(), "Z is on the cross at all times"
        assert np.allclose(np.diff(places[:, 2], axis=0), (places[:, 0] - places[:, 1])[1:], atol=1e-12)
        assert (max(admm.history[-1]) < 1e-6) == (answer is not None), "at rest, or not"
        assert answer is None or places[-1, 1] == pytest.approx(answer, abs=1e-6)


def test_code_map_is_black_where_the_code_is_zero():
    code = np.zeros((6, 4, 5), np.int32)
    code[1, 2, 3], code[4, 0, 0], code[5, 3, 4] = 9, -9, 1
    shown = drawings.code_map(code, (192, 192)).astype(int)
    background, black = (shown == 205).all(2), (shown == 0).all(2)
    assert 0.9 < black.sum() / (~background).sum() < 1
    bright = shown[~background & ~black]
    assert {tuple(c) for c in bright} == {(86, 180, 233), (255, 150, 40), tuple(bright[bright.sum(1).argmin()])}
    assert bright.sum(1).min() < (86 + 180 + 233), "a small entry is darker"
    assert not drawings.code_map(np.zeros((3, 2, 2), np.int32), (40, 60))[:8, :8].any()
