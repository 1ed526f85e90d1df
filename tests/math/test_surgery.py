"""Pruned encoders against the dense ones: the same latent, the MACs of a hand count."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import seeds
from torch import nn

from sparsecomp.complexity import count_macs, macs_paper
from sparsecomp.models.sparse_cae import Encoder, Shape
from sparsecomp.sparsify import surgery
from sparsecomp.sparsify.surgery import prune, report

PIXELS = 64 * 64


def dense(width: int = 16, latent: int = 5, seed: int = 0) -> Encoder:
    """An encoder of large random weights, so that a mistake shows in the latent."""
    generator = torch.Generator().manual_seed(seed)
    encoder = Encoder(Shape(width, latent)).requires_grad_(False)
    for conv in convs(encoder):
        spread = (1.5 / conv.weight[0].numel()) ** 0.5
        conv.weight.copy_(spread * torch.randn(conv.weight.shape, generator=generator))
        conv.bias.copy_(0.3 * torch.randn(conv.bias.shape, generator=generator))
    return encoder


def convs(module: nn.Module) -> list[nn.Conv2d]:
    return [layer for layer in module.modules() if isinstance(layer, nn.Conv2d)]


def inner(encoder: Encoder) -> list[nn.Conv2d]:
    return [encoder.conv1, *(block.conv1 for block in encoder.blocks)]


def outer(encoder: Encoder) -> list[nn.Conv2d]:
    return [encoder.conv2, *(block.conv2 for block in encoder.blocks)]


def kill(conv: nn.Conv2d, filters=slice(None), bias: bool = True) -> None:
    conv.weight[filters] = 0
    if bias:
        conv.bias[filters] = 0


def macs(module: nn.Module) -> float:
    return count_macs(module, (1, 3, 64, 64)) / PIXELS


def pruned_alike(encoder: Encoder) -> surgery.PrunedEncoder:
    """What `prune` makes of an encoder, once it is seen to make the same latent."""
    pruned = prune(encoder)
    for size in [(4, 4), (20, 36), (52, 4), (24, 24)]:
        x = torch.rand(2, 3, *size, generator=torch.Generator().manual_seed(sum(size)))
        z, found = encoder(x), pruned(x)
        assert found.shape == z.shape and float((z - found).abs().max()) <= 1e-5, size
    return pruned


def hand_count(taps: list[tuple[int, int, int, int]]) -> float:
    """Sum of filters x inputs x area / pixels a place."""
    return sum(filters * inputs * area / pixels for filters, inputs, area, pixels in taps)


@settings(max_examples=30)
@given(st.sampled_from([8, 16, 24]), st.sampled_from([1, 5]), seeds, st.data())
def test_prune_leaves_the_latent_under_any_mask(width, latent, seed, data):
    """Layer by layer: some filters dead, or all, some of them with a bias left, and some inputs unread."""
    encoder, generator = dense(width, latent, seed), torch.Generator().manual_seed(seed)

    def some(count: int, *rates: float) -> torch.Tensor:
        return torch.rand(count, generator=generator) < data.draw(st.sampled_from(rates))

    for conv in convs(encoder):
        dead = some(conv.out_channels, 0, 0.3, 0.8, 1)
        kill(conv, dead, bias=False)
        kill(conv, dead & ~some(conv.out_channels, 0, 0, 0.5, 1))
        conv.weight[:, some(conv.in_channels, 0, 0, 0.4, 0.9)] = 0
    before = [parameter.clone() for parameter in encoder.parameters()]
    pruned_alike(encoder)
    assert all(torch.equal(a, b) for a, b in zip(before, encoder.parameters(), strict=True))


@pytest.mark.parametrize("bias", [True, False])
def test_prune_of_zeros_is_a_constant(bias):
    encoder = dense()
    for conv in convs(encoder):
        kill(conv, bias=bias)
    pruned = pruned_alike(encoder)
    assert macs(pruned) == 0 and not convs(pruned)
    constant = torch.tanh(encoder.conv3.bias).view(1, 5, 1, 1).expand(2, 5, 3, 2)
    assert torch.equal(pruned(torch.rand(2, 3, 12, 8)), constant)
    assert all(row["filters"] == row["macs"] == 0 for row in report(encoder))


def test_prune_of_constants_costs_one_channel():
    """Half of all filters dead, the same in all writers of the stream, and every bias is left."""
    encoder = dense(16, 4)
    for conv in inner(encoder):
        kill(conv, slice(0, conv.out_channels // 2), bias=False)
    for conv in outer(encoder):
        kill(conv, slice(8, 16), bias=False)
    # One filter more inside each pair, and one channel of ones in the stream, for all constants there are.
    block = [(5 + 4, 9, 9, 16), (8, 9, 9, 16)]
    expected = [(4 + 1, 3, 25, 4), (8 + 1, 5, 25, 16), *(3 * block), (4, 9, 25, 16)]
    assert macs(pruned_alike(encoder)) == hand_count(expected)


def test_prune_inside_blocks_by_hand():
    encoder, paper = dense(16, 5), [(3, 3, 25, 4), (16, 8, 25, 16)]
    for conv, left in zip(inner(encoder), (3, 5, 7, 2), strict=True):
        kill(conv, slice(left, None))
    blocks = [row for left in (5, 7, 2) for row in ((left, 16, 9, 16), (16, left, 9, 16))]
    assert macs(pruned_alike(encoder)) == hand_count([(3, 3, 25, 4), (16, 3, 25, 16), *blocks, (5, 16, 25, 16)])
    # The paper's way leaves the input channels of the next layers in.
    blocks = [row for left in (5, 7, 2) for row in ((left, 16, 9, 16), (16, 16, 9, 16))]
    assert macs_paper(encoder, (1, 3, 64, 64)) / PIXELS == hand_count([*paper, *blocks, (5, 16, 25, 16)])


def test_prune_of_the_stream_by_hand():
    encoder = dense(16, 5)
    for conv in outer(encoder):
        kill(conv, [1, 4, 5, 9, 15])
    block = [(16, 11, 9, 16), (11, 16, 9, 16)]
    expected = [(8, 3, 25, 4), (11, 8, 25, 16), *(3 * block), (5, 11, 25, 16)]
    assert macs(pruned_alike(encoder)) == hand_count(expected)
    encoder = dense(16, 5)  # a channel is there from its first writer on
    for conv, left in zip(outer(encoder), ([0, 1, 2, 3], [8, 9], [2, 3, 10], [0, 11, 12, 13]), strict=True):
        kill(conv, [c for c in range(16) if c not in left])
    expected = [(8, 3, 25, 4), (4, 8, 25, 16)]
    expected += [(16, 4, 9, 16), (2, 16, 9, 16), (16, 6, 9, 16), (3, 16, 9, 16), (16, 7, 9, 16), (4, 16, 9, 16)]
    assert macs(pruned_alike(encoder)) == hand_count([*expected, (5, 10, 25, 16)])


def test_report_adds_up():
    encoder = dense(16, 5)
    kill(encoder.conv1, slice(0, 6))
    kill(encoder.blocks[1].conv2)
    *rows, total = report(encoder)
    assert [row["layer"] for row in rows[:3]] == ["conv1", "conv2", "blocks.0.conv1"] and len(rows) == 9
    assert rows[0] == {
        "layer": "conv1", "filters": 2, "inputs": 3, "macs": 37.5, "all_filters": 8, "all_inputs": 3, "all_macs": 150.0
    }  # fmt: skip
    assert [row["layer"] for row in rows if row["filters"] == 0] == ["blocks.1.conv1", "blocks.1.conv2"]
    assert total["macs"] == sum(row["macs"] for row in rows) == macs(prune(encoder))
    assert total["all_macs"] == macs(encoder) and total["all_filters"] == 8 + 16 * 7 + 5
