"""The network of the sparse CAE: its size, its cost, and what it begins with."""

from __future__ import annotations

import pytest
import torch

from sparsecomp import complexity
from sparsecomp.models.sparse_cae import Shape, SparseCAE


def noise(*size: int) -> torch.Tensor:
    return torch.rand(size, generator=torch.Generator().manual_seed(0))


@torch.no_grad()
def test_sparse_cae_has_the_papers_size_and_cost():
    model = SparseCAE(Shape())
    assert complexity.count_parameters(model.encoder) == 1_197_728
    assert complexity.count_parameters(model.decoder) == 1_044_131
    assert complexity.count_macs(model.encoder, (1, 3, 128, 128)) == 1_240_203_264
    decoder = complexity.macs_per_pixel(model.decoder, (1, 32, 32, 32), pixels=128 * 128)
    assert round(decoder / 1e3, 1) == 279.1
    z = model.encoder(noise(2, 3, 64, 32))
    assert z.shape == (2, 32, 16, 8) and z.abs().max() < 1 and model.decoder(z).shape == (2, 3, 64, 32)
    least = SparseCAE(Shape(8, 1))
    assert least.decoder(least.encoder(noise(1, 3, 4, 4))).shape == (1, 3, 4, 4)
    narrow = SparseCAE(Shape(16, 3, encoder_width=8))
    assert narrow.encoder.conv2.out_channels == 8 and narrow.decoder.up1.out_channels == 16


@torch.no_grad()
def test_sparse_cae_begins_as_a_transform_and_its_inverse():
    """As many channels as a block of 4x4 pixels has numbers: nothing is lost but what the tanh squeezes."""
    x, model = noise(1, 3, 20, 32), SparseCAE(Shape(96, 48))
    z = model.encoder(x)
    torch.testing.assert_close(model.decoder(torch.atanh(z)), x, atol=1e-4, rtol=0)
    # A latent of orthonormal coefficients has the energy of the picture, times the gain.
    assert torch.atanh(z).norm() == pytest.approx(0.25 * float((x - 0.5).norm()), rel=1e-4)
    # The first channels are the lowest frequencies: a flat picture has luma and two colours, and no other.
    flat = torch.atanh(model.encoder(torch.tensor([0.9, 0.2, 0.6]).view(1, 3, 1, 1).expand(1, 3, 8, 8)))
    alive = (flat.abs().amax((0, 2, 3)) > 1e-4).nonzero().flatten()
    assert len(alive) == 3 and alive[0] == 0


@torch.no_grad()
def test_sparse_cae_seeds_turn_the_weights_and_not_the_function():
    state = torch.random.get_rng_state()
    x, (one, same, other) = noise(1, 3, 16, 24), (SparseCAE(Shape(48), seed) for seed in (0, 0, 1))
    assert torch.equal(torch.random.get_rng_state(), state), "the global generator was touched"
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), same.parameters(), strict=True))
    torch.testing.assert_close(one.decoder(one.encoder(x)), other.decoder(other.encoder(x)), atol=1e-5, rtol=0)
    for name in ("encoder.conv1", "encoder.blocks.1.conv1", "decoder.up1", "decoder.conv4"):
        a, b = (model.get_submodule(name).weight for model in (one, other))
        assert not torch.allclose(a, b, atol=1e-3), name


@torch.no_grad()
def test_sparse_cae_may_begin_as_the_papers_does():
    """PyTorch's own first values: uniform in +-1/sqrt(inputs), and none is zero."""
    one, other = (SparseCAE(Shape(48), seed, start="torch") for seed in (0, 1))
    for model in (one, other):
        for layer in (model.encoder.conv1, model.encoder.blocks[1].conv2, model.encoder.conv3):
            bound = layer.weight[0].numel() ** -0.5
            assert 0.98 * bound < float(layer.weight.abs().max()) <= bound and layer.weight.all()
    assert not torch.equal(one.encoder.conv1.weight, other.encoder.conv1.weight)
    with pytest.raises(ValueError, match="start must be one of dct, torch, got 'zeros'"):
        SparseCAE(Shape(48), 0, start="zeros")


@pytest.mark.parametrize(
    ("wrong", "value"), [("width", 7), ("width", 520), ("latent", 0), ("latent", 257), ("encoder_width", 7)]
)
def test_sparse_cae_shape_refuses(wrong, value):
    with pytest.raises(ValueError, match=rf"\b{wrong}\b"):
        Shape(**{"width": 8, "latent": 4} | {wrong: value})
