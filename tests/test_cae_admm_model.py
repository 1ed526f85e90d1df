"""The network of CAE-ADMM: its size, its cost, how far it looks, and any picture through it."""

from __future__ import annotations

import math

import numpy as np
import pytest
import tiny_cae_admm
import torch
from torch import nn

from sparsecomp import complexity
from sparsecomp.models import cae_admm, sparse_cae
from sparsecomp.models.cae_admm import SCALE, CaeAdmm, Shape
from sparsecomp.models.inference import in_strips, pad, to_input, to_tensor


@pytest.fixture(scope="module")
def tiny() -> CaeAdmm:
    return tiny_cae_admm.model(seed=3).requires_grad_(False)


def noise(*size: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(size, generator=torch.Generator().manual_seed(seed))


# Size and cost --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("latent", "macs"), [(16, 721_608), (32, 721_680)])
def test_cost_of_the_papers_encoder(latent, macs):
    encoder = CaeAdmm(Shape(128, latent, 15)).encoder
    assert complexity.macs_per_pixel(encoder, (1, 3, 128, 128), pixels=128 * 128) == macs


def test_the_papers_is_the_default_and_has_5_9_million_parameters():
    model = CaeAdmm(Shape())
    assert model.shape == Shape(128, 32, 15)
    assert complexity.count_parameters(model.encoder) == 3_106_640
    assert complexity.count_parameters(model.decoder) == 2_775_382


@torch.no_grad()
def test_a_patch_becomes_a_code_and_a_picture_again():
    model = CaeAdmm(Shape(64, 16, 2)).eval()
    z = model.encoder(noise(2, 3, 128, 64))
    assert z.shape == (2, 16, 16, 8)
    picture = model.decoder(100 * z)
    assert picture.shape == (2, 3, 128, 64) and picture.min() >= 0 and picture.max() <= 1


def test_first_values_are_the_seeds_and_nothing_else_is_drawn():
    state = torch.random.get_rng_state()
    a, b, c = (CaeAdmm(Shape(8, 2, 1), seed).state_dict() for seed in (1, 1, 2))
    assert torch.equal(torch.random.get_rng_state(), state)
    assert all(torch.equal(a[name], b[name]) for name in a)
    for name in ("encoder.0.0.weight", "decoder.4.body.0.0.weight"):
        assert not torch.equal(a[name], c[name])


@torch.no_grad()
def test_in_use_a_picture_does_not_change_the_network_or_its_neighbours(tiny):
    """Batch normalisation takes its running statistics, and not those of what it is given."""
    before = {name: t.clone() for name, t in tiny.state_dict().items()}
    x, other = noise(1, 3, 16, 24), noise(1, 3, 16, 24, seed=1)
    both = tiny.encoder(torch.cat([x, other]))
    torch.testing.assert_close(both[:1], tiny.encoder(x), rtol=1e-4, atol=1e-3)
    assert all(torch.equal(before[name], t) for name, t in tiny.state_dict().items())
    training = tiny_cae_admm.model(seed=3).train()
    assert not torch.allclose(training.encoder(x), tiny.encoder(x), atol=1e-2)


@torch.no_grad()
def test_a_block_begins_as_the_identity():
    block, x = cae_admm.Block(8), noise(1, 8, 4, 5) - 0.5
    assert torch.equal(block(x), x)


@pytest.mark.parametrize(
    ("sizes", "message"),
    [((7, 4, 1), "width=7"), ((0, 4, 1), "width=0"), ((520, 4, 1), "width=520"), (("8", 4, 1), "width='8'"),
     ((8, 0, 1), "latent=0"), ((8, 257, 1), "latent=257"), ((8, True, 1), "latent=True"), ((8, 2.0, 1), "latent=2.0"),
     ((8, 4, -1), "depth=-1"), ((8, 4, 33), "depth=33"), ((8, 4, None), "depth=None")],
)  # fmt: skip
def test_shapes_that_cannot_be(sizes, message):
    with pytest.raises(ValueError, match=message):
        Shape(*sizes)


def test_the_smallest_shape():
    model = CaeAdmm(Shape(8, 1, 0)).eval()
    with torch.no_grad():
        assert model.decoder(model.encoder(noise(1, 3, 8, 8))).shape == (1, 3, 8, 8)


# Any size -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [(1, 1), (1, 7), (5, 3), (9, 17), (33, 70), (8, 16)])
@pytest.mark.parametrize("scale", [4, 8])
def test_an_input_is_the_picture_with_its_edge_repeated(size, scale):
    picture = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)[::-1]
    x, sides = to_input(picture, scale), [scale * math.ceil(n / scale) for n in size]
    wanted = np.pad(picture, [(0, side - n) for side, n in zip(sides, size, strict=True)] + [(0, 0)], mode="edge")
    assert x.shape == (1, 3, *sides) and x.dtype == torch.float32
    np.testing.assert_allclose(x[0].permute(1, 2, 0).numpy(), wanted / 255, atol=1e-7)
    same = pad(to_tensor(picture), scale)
    assert np.array_equal(same[0].permute(1, 2, 0).numpy(), wanted)


@pytest.mark.parametrize("size", [(1, 1), (3, 50), (50, 3), (41, 7), (13, 64)])
@pytest.mark.parametrize("pixels", [1, 64 * 20, 64 * 128, 2**20])
def test_strips_have_no_seam(tiny, size, pixels):
    picture, code = noise(1, 3, 8 * size[0], 8 * size[1]), 8 * noise(1, 3, *size) - 4
    for network, x, down in ((tiny.encoder, picture, True), (tiny.decoder, code, False)):
        with torch.no_grad():
            whole = network(x)
        strips = in_strips(network, x, scale=SCALE, margin=tiny.shape.margin, pixels=pixels, down=down)
        assert strips.shape == whole.shape
        torch.testing.assert_close(strips, whole, rtol=0, atol=1e-4 * float(whole.abs().max()))


def positive(depth: int) -> CaeAdmm:
    """No weight below zero, and no normalisation that does anything: whatever an output looks at moves it."""
    model = CaeAdmm(Shape(8, 2, depth))
    with torch.no_grad():
        for layer in model.modules():
            if isinstance(layer, nn.Conv2d):
                layer.weight.fill_(1 / layer.weight[0].numel())
            elif isinstance(layer, nn.BatchNorm2d):
                layer.weight.fill_(1)
    return model.double().eval().requires_grad_(False)


def reach(network, channels: int, down: bool) -> int:
    """How many places of the code away from a place that is not 0 the output is not 0, at most."""
    place, into, out = 20, *((8, 1) if down else (1, 8))
    x = torch.zeros(1, channels, into, 40 * into, dtype=torch.float64)
    x[..., place * into : (place + 1) * into] = 1
    columns = (network(x) != 0).any((0, 1, 2)).nonzero().flatten()
    return max(place - int(columns.min()) // out, int(columns.max()) // out - place)


def before_tanh(model: CaeAdmm, code: torch.Tensor) -> torch.Tensor:
    return nn.Sequential.forward(model.decoder, code)


@pytest.mark.parametrize("depth", [0, 1, 2, 3, 4, 7, 15, 16, 32])
def test_the_margin_is_enough_and_not_far_too_much(depth):
    model = positive(depth)
    encoder, decoder = reach(model.encoder, 3, True), reach(lambda z: before_tanh(model, z), 2, False)
    assert decoder <= encoder <= model.shape.margin <= encoder + 2
    assert encoder == math.ceil((2 * depth + 25) / 8), "as the kernels say"


@pytest.mark.parametrize(("network", "short"), [("encoder", 6), ("decoder", 3)])
def test_without_the_margin_there_are_seams(network, short):
    model, down = positive(15), network == "encoder"
    x = noise(1, 3, 8 * 40, 16).double() if down else noise(1, 2, 40, 2).double()
    run = model.encoder if down else lambda z: before_tanh(model, z)
    whole, options = run(x), {"scale": SCALE, "pixels": 640, "down": down}
    torch.testing.assert_close(in_strips(run, x, margin=model.shape.margin, **options), whole, rtol=1e-12, atol=0)
    assert not torch.allclose(in_strips(run, x, margin=short, **options), whole, rtol=1e-12, atol=0)


def test_both_families_say_their_margin():
    assert sparse_cae.Shape(8, 3).margin == sparse_cae.MARGIN and Shape(8, 3, 15).margin == 9
