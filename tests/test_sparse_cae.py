"""The network of the sparse CAE: its size, its cost, and how far it looks."""

from __future__ import annotations

import math

import pytest
import tiny_cae
import torch

from sparsecomp import complexity
from sparsecomp.models.inference import in_strips, pad
from sparsecomp.models.sparse_cae import MARGIN, SCALE, Shape, SparseCAE

PAPER = Shape(128, 32)
OF = {"scale": SCALE, "margin": PAPER.margin}


@pytest.fixture(scope="module")
def tiny() -> SparseCAE:
    return tiny_cae.model(seed=3).requires_grad_(False)


def noise(*size: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(size, generator=torch.Generator().manual_seed(seed))


# Size and cost --------------------------------------------------------------------------------------------------------


def test_parameters_and_cost_are_the_papers():
    model = SparseCAE(PAPER)
    assert complexity.count_parameters(model.encoder) == 1_197_728
    assert complexity.count_parameters(model.decoder) == 1_044_131
    encoder = complexity.macs_per_pixel(model.encoder, (1, 3, 128, 128), pixels=128 * 128)
    decoder = complexity.macs_per_pixel(model.decoder, (1, 32, 32, 32), pixels=128 * 128)
    assert round(encoder / 1e3, 1) == 75.7 and round(decoder / 1e3, 1) == 279.1


def test_a_patch_becomes_a_latent_and_a_picture_again():
    model = SparseCAE(PAPER)
    with torch.no_grad():
        z = model.encoder(noise(2, 3, 128, 128))
        assert z.shape == (2, 32, 32, 32) and z.abs().max() < 1
        assert model.decoder(z).shape == (2, 3, 128, 128)


def test_a_grey_picture_and_an_empty_latent_are_near_the_middle(tiny):
    assert (tiny.decoder(torch.zeros(1, 3, 6, 6)) - 0.5).abs().max() < 0.5
    no_bias = SparseCAE(Shape(8, 3))
    with torch.no_grad():
        for name, parameter in no_bias.named_parameters():
            if name.endswith("bias"):
                parameter.zero_()
        assert (no_bias.encoder(torch.full((1, 3, 8, 8), 0.5)) == 0).all()
        assert (no_bias.decoder(torch.zeros(1, 3, 2, 2)) == 0.5).all()


def test_first_values_are_the_seeds_and_nothing_else_is_drawn():
    state = torch.random.get_rng_state()
    a, b, c = (SparseCAE(Shape(8, 2), seed).state_dict() for seed in (1, 1, 2))
    assert torch.equal(torch.random.get_rng_state(), state)
    assert all(torch.equal(a[name], b[name]) for name in a)
    assert not torch.equal(a["encoder.conv1.weight"], c["encoder.conv1.weight"])
    assert not torch.equal(a["decoder.conv4.weight"], c["decoder.conv4.weight"])


@torch.no_grad()
@pytest.mark.parametrize("shape", [PAPER, Shape(16, 3)], ids=str)
def test_the_network_begins_linear(shape):
    model, x, z = SparseCAE(shape).double(), noise(1, 3, 16, 24).double(), noise(1, shape.latent, 4, 6).double() - 0.5
    before_tanh = torch.atanh(model.encoder(x))
    for share in (-1, 0.25):
        torch.testing.assert_close(model.decoder(share * z) - 0.5, share * (model.decoder(z) - 0.5))
        torch.testing.assert_close(torch.atanh(model.encoder(0.5 + share * (x - 0.5))), share * before_tanh)
    assert before_tanh.std() > 0.05 and model.decoder(z).std() > 0.05, "and something comes through"


@pytest.mark.parametrize(
    ("width", "latent", "message"),
    [(7, 4, "width=7"), (0, 4, "width=0"), (520, 4, "width=520"), (8.0, 4, "width=8.0"), ("8", 4, "width='8'"),
     (8, 0, "latent=0"), (8, 257, "latent=257"), (8, 2.0, "latent=2.0"), (8, None, "latent=None")],
)  # fmt: skip
def test_shapes_that_cannot_be(width, latent, message):
    with pytest.raises(ValueError, match=message):
        Shape(width, latent)


def test_the_smallest_and_the_default_shape():
    assert Shape() == PAPER
    model = SparseCAE(Shape(8, 1))
    assert model.decoder(model.encoder(noise(1, 3, 4, 4))).shape == (1, 3, 4, 4)


# Any size -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [(1, 1), (1, 7), (5, 3), (33, 70), (8, 12)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.uint8])
def test_pad_repeats_the_last_row_and_column(size, dtype):
    x = (255 * noise(1, 3, *size)).to(dtype)
    padded = pad(x, SCALE)
    rows, columns = ([min(i, n - 1) for i in range(4 * math.ceil(n / 4))] for n in size)
    assert padded.dtype == dtype and torch.equal(padded, x[:, :, rows][:, :, :, columns])


SIZES = [(1, 1), (3, 50), (50, 3), (41, 7), (13, 64)]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("places", [1, 20, 128, 2**16])
def test_strips_have_no_seam(tiny, size, places):
    picture, latent = noise(1, 3, 4 * size[0], 4 * size[1]), 2 * noise(1, 3, *size) - 1
    for network, x, down in ((tiny.encoder, picture, True), (tiny.decoder, latent, False)):
        whole, strips = network(x), in_strips(network, x, **OF, pixels=16 * places, down=down)
        assert strips.shape == whole.shape
        torch.testing.assert_close(strips, whole, rtol=0, atol=1e-5)


@pytest.mark.parametrize("size", [(400, 2), (2, 400), (60, 50), (50, 60)])
def test_strips_are_small_whatever_the_shape_of_the_picture(tiny, size):
    """Also of a picture that is one row high and very wide: memory is what strips are for."""
    seen = []

    def watched(z: torch.Tensor) -> torch.Tensor:
        seen.append(z.shape[2] * z.shape[3])
        return tiny.decoder(z)

    in_strips(watched, noise(1, 3, *size), **OF, pixels=1600, down=False)
    assert len(seen) > 1 and max(seen) <= 100 + 2 * MARGIN * min(size)


def positive() -> SparseCAE:
    """No weight below zero: whatever an output looks at moves it."""
    model = SparseCAE(Shape(8, 2))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.fill_(1 / parameter[0].numel() if parameter.dim() > 1 else 0)
    return model.double()


def reach(network, x: torch.Tensor, down: bool) -> int:
    """How many places of the latent away from a changed place the output changes, at most."""
    at, into, out = x.shape[3] // 2 // 4 * 4, *((4, 1) if down else (1, 4))
    moved = x.clone()
    moved[:, :, :, at : at + into] += 1e-3
    columns = (network(moved) != network(x)).any((0, 1, 2)).nonzero().flatten()
    place = at // into
    return max(place - int(columns.min()) // out, int(columns.max()) // out - place)


@torch.no_grad()
def test_the_margin_is_enough_and_not_far_too_much():
    model = positive()
    encoder = reach(model.encoder, noise(1, 3, 4, 256).double() * 0.01 + 0.5, True)
    decoder = reach(model.decoder, noise(1, 2, 1, 64).double() * 0.01, False)
    assert 4 < decoder < encoder <= MARGIN < 2 * encoder


@pytest.mark.parametrize(("network", "short"), [("encoder", 6), ("decoder", 3)])
def test_without_the_margin_there_are_seams(network, short):
    model, down = positive().requires_grad_(False), network == "encoder"
    x = noise(1, 3, 160, 8).double() if down else noise(1, 2, 40, 2).double()
    whole = getattr(model, network)(x)
    strips = in_strips(getattr(model, network), x, **OF, pixels=160, down=down)
    torch.testing.assert_close(strips, whole, rtol=0, atol=1e-12)
    strips = in_strips(getattr(model, network), x, scale=SCALE, margin=short, pixels=160, down=down)
    assert not torch.allclose(strips, whole, rtol=0, atol=1e-12)


def test_it_begins_as_a_transform_and_its_inverse():
    """As many channels as a block of 4x4 pixels has numbers: nothing is lost but what the tanh squeezes."""
    x, model = torch.rand(1, 3, 20, 32), SparseCAE(Shape(96, 48))
    with torch.no_grad():
        z = model.encoder(x)
        assert torch.allclose(model.decoder(torch.atanh(z)), x, atol=1e-4)
        # A latent of orthonormal coefficients has the energy of the picture, times the gain.
        assert torch.atanh(z).norm() == pytest.approx(0.25 * float((x - 0.5).norm()), rel=1e-4)


def test_seeds_turn_the_weights_and_not_the_function():
    x, (one, other) = torch.rand(1, 3, 16, 24), (SparseCAE(Shape(48), seed) for seed in (0, 1))
    with torch.no_grad():
        assert torch.allclose(one.encoder(x), other.encoder(x), atol=1e-5)
        assert torch.allclose(one.decoder(one.encoder(x)), other.decoder(other.encoder(x)), atol=1e-5)
    for a, b in zip(one.encoder.conv2.weight, other.encoder.conv2.weight, strict=True):
        assert not torch.allclose(a, b, atol=1e-3)
