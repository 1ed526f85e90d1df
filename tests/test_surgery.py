"""Pruned encoders against the dense ones: the same latent, the MACs of a hand count, less time."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from sparsecomp.complexity import count_macs, macs_paper, relative_latency
from sparsecomp.models.sparse_cae import Encoder, Shape
from sparsecomp.sparsify import surgery
from sparsecomp.sparsify.surgery import prune, report

SIZES = [(4, 4), (20, 36), (52, 4), (24, 24)]
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


def assert_same(encoder: Encoder, pruned: surgery.PrunedEncoder) -> None:
    for size in SIZES:
        x = torch.rand(2, 3, *size, generator=torch.Generator().manual_seed(sum(size)))
        z, found = encoder(x), pruned(x)
        assert found.shape == z.shape
        assert float((z - found).abs().max()) <= 1e-5, size


def hand_count(taps: list[tuple[int, int, int, int]]) -> float:
    """Sum of filters x inputs x area / pixels a place."""
    return sum(filters * inputs * area / pixels for filters, inputs, area, pixels in taps)


# The same latent ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(60))
def test_any_mask_leaves_the_latent(seed):
    """Layer by layer: some filters dead, or all, some of them with a bias left, and some inputs unread."""
    generator = torch.Generator().manual_seed(seed)

    def draw(*choices: float) -> float:
        return choices[int(torch.randint(len(choices), (), generator=generator))]

    encoder = dense(width=int(draw(8, 16, 24)), latent=int(draw(1, 5)), seed=seed)
    for conv in convs(encoder):
        dead = torch.rand(conv.out_channels, generator=generator) < draw(0, 0.3, 0.8, 1)
        kill(conv, dead, bias=False)
        conv.bias[dead] *= torch.rand(int(dead.sum()), generator=generator) < draw(0, 0, 0.5, 1)
        conv.weight[:, torch.rand(conv.in_channels, generator=generator) < draw(0, 0, 0.4, 0.9)] = 0
    before = [parameter.clone() for parameter in encoder.parameters()]
    assert_same(encoder, prune(encoder))
    assert all(torch.equal(a, b) for a, b in zip(before, encoder.parameters(), strict=True))


def test_the_masks_above_would_show_a_mistake():
    """Were borders or constants ignored, the latent would differ by far more than is allowed."""
    encoder = dense()
    kill(encoder.blocks[1].conv1, slice(0, 8), bias=False)
    pruned, x = prune(encoder), torch.rand(1, 3, 24, 24)
    constant = pruned.blocks["1"].conv1
    assert constant.out_channels == 9 and int((constant.weight.flatten(1) == 0).all(1).sum()) == 1
    ones = pruned.blocks["1"].conv2.weight[:, -1]
    folded = prune(encoder)
    folded.blocks["1"].conv2.weight[:, -1] = 0
    folded.blocks["1"].conv2.bias += ones.sum((1, 2))  # right inside the picture, wrong at its borders
    difference = (encoder(x) - folded(x)).abs().amax((0, 1))
    assert float(difference.max()) > 1e-3
    assert float((encoder(x) - pruned(x)).abs().max()) < 1e-5


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_nothing_dead_leaves_everything(layout):
    encoder = dense().to(memory_format=layout)
    pruned = prune(encoder)
    assert_same(encoder, pruned)
    assert macs(pruned) == macs(encoder) == report(encoder)[-1]["macs"]
    assert sorted(conv.weight.numel() for conv in convs(pruned)) == sorted(c.weight.numel() for c in convs(encoder))


@pytest.mark.parametrize("bias", [True, False])
def test_everything_dead_is_a_constant(bias):
    encoder = dense()
    for conv in convs(encoder):
        kill(conv, bias=bias)
    pruned = prune(encoder)
    assert_same(encoder, pruned)
    assert macs(pruned) == 0 and not convs(pruned)
    z = pruned(torch.rand(2, 3, 12, 8))
    assert torch.equal(z, torch.tanh(encoder.conv3.bias).view(1, 5, 1, 1).expand(2, 5, 3, 2))
    assert all(row["filters"] == row["macs"] == 0 for row in report(encoder))


def test_a_latent_that_only_borders_can_tell_apart():
    """The picture is cut off, but biases are not: zero padding alone makes the latent."""
    encoder = dense()
    kill(encoder.conv1, bias=False)
    pruned = prune(encoder)
    assert_same(encoder, pruned)
    x = torch.rand(1, 3, 24, 24)
    assert torch.equal(pruned(x), pruned(torch.zeros_like(x))) and pruned(x).std((2, 3)).max() > 1e-3
    assert macs(pruned) < macs(encoder)
    for conv in outer(encoder)[:1]:
        kill(conv)  # now the first block makes the stream, from its biases
    assert_same(encoder, prune(encoder))


def test_constants_cost_one_channel_and_the_stream_none_of_its_own():
    """Half of all filters dead, the same in all writers of the stream, and every bias is left."""
    encoder = dense(16, 4)
    for conv in inner(encoder):
        kill(conv, slice(0, conv.out_channels // 2), bias=False)
    for conv in outer(encoder):
        kill(conv, slice(8, 16), bias=False)
    pruned = prune(encoder)
    assert_same(encoder, pruned)
    # One filter more inside each pair, and one channel of ones in the stream, for all constants there are.
    block = [(5 + 4, 9, 9, 16), (8, 9, 9, 16)]
    expected = [(4 + 1, 3, 25, 4), (8 + 1, 5, 25, 16), *(3 * block), (4, 9, 25, 16)]
    assert macs(pruned) == hand_count(expected)


def test_a_late_channel_brings_the_constants_of_its_past():
    """A channel is a constant until the second block writes it, and again only has biases added in the third."""
    encoder = dense(8, 3)
    for conv in (encoder.conv2, encoder.blocks[0].conv2, encoder.blocks[2].conv2):
        kill(conv, slice(0, 3), bias=False)
    pruned = prune(encoder)
    assert_same(encoder, pruned)
    assert [block.conv2.out_channels for block in pruned.blocks.values()] == [5, 8, 5]
    assert pruned.conv2.out_channels == 5 + 1  # and the ones


# What is carried on ---------------------------------------------------------------------------------------------------


def test_dead_filters_inside_by_hand():
    encoder = dense(16, 5)
    for conv, left in zip(inner(encoder), (3, 5, 7, 2), strict=True):
        kill(conv, slice(left, None))
    pruned = prune(encoder)
    blocks = [row for left in (5, 7, 2) for row in ((left, 16, 9, 16), (16, left, 9, 16))]
    assert macs(pruned) == hand_count([(3, 3, 25, 4), (16, 3, 25, 16), *blocks, (5, 16, 25, 16)])
    assert_same(encoder, pruned)
    # The paper's way leaves the input channels of the next layers in.
    blocks = [row for left in (5, 7, 2) for row in ((left, 16, 9, 16), (16, 16, 9, 16))]
    counted = hand_count([(3, 3, 25, 4), (16, 8, 25, 16), *blocks, (5, 16, 25, 16)])
    assert macs_paper(encoder, (1, 3, 64, 64)) / PIXELS == counted


def test_dead_channels_of_the_stream_by_hand():
    encoder = dense(16, 5)
    for conv in outer(encoder):
        kill(conv, [1, 4, 5, 9, 15])
    pruned = prune(encoder)
    block = [(16, 11, 9, 16), (11, 16, 9, 16)]
    assert macs(pruned) == hand_count([(8, 3, 25, 4), (11, 8, 25, 16), *(3 * block), (5, 11, 25, 16)])
    assert_same(encoder, pruned)


def test_a_stream_that_grows_by_hand():
    """A channel is there from its first writer on."""
    encoder = dense(16, 5)
    for conv, left in zip(outer(encoder), ([0, 1, 2, 3], [8, 9], [2, 3, 10], [0, 11, 12, 13]), strict=True):
        kill(conv, [c for c in range(16) if c not in left])
    pruned = prune(encoder)
    expected = [(8, 3, 25, 4), (4, 8, 25, 16)]
    expected += [(16, 4, 9, 16), (2, 16, 9, 16), (16, 6, 9, 16), (3, 16, 9, 16), (16, 7, 9, 16), (4, 16, 9, 16)]
    assert macs(pruned) == hand_count([*expected, (5, 10, 25, 16)])
    assert_same(encoder, pruned)


def test_what_nothing_reads_goes_backwards():
    encoder = dense(16, 5)
    encoder.conv3.weight[:, 4:] = 0  # of the last block, four filters are read
    encoder.blocks[2].conv1.weight[:, :12] = 0
    encoder.blocks[1].conv2.weight[:, 3:] = 0  # and of the second block's inside, three
    kill(encoder.blocks[0].conv2)
    pruned = prune(encoder)
    assert list(pruned.blocks) == ["1", "2"]
    assert pruned.blocks["2"].conv2.out_channels == 4
    assert pruned.blocks["1"].conv1.out_channels == 3
    # Block 1 reads all 16 channels; block 2 reads 12 .. 15, and conv3 0 .. 3: nobody reads what block 1 does to others.
    assert pruned.blocks["1"].conv2.out_channels == 8 and pruned.conv2.out_channels == 16
    assert pruned.conv3.in_channels == 4 and pruned.blocks["2"].conv1.in_channels == 4
    assert_same(encoder, pruned)


def test_one_dead_end_empties_the_network():
    encoder = dense()
    encoder.conv3.weight[:] = 0
    pruned = prune(encoder)
    assert not convs(pruned)
    assert_same(encoder, pruned)
    for cut in range(3):  # without the stream's first writer, blocks work on constants; without biases on nothing
        encoder = dense()
        for conv in convs(encoder)[: 2 + 2 * cut]:
            kill(conv)
        for block in encoder.blocks:
            block.conv1.bias.zero_(), block.conv2.bias.zero_()
        assert not convs(prune(encoder))
        assert_same(encoder, prune(encoder))


def test_dead_channels_of_the_latent_are_filled_in():
    encoder = dense(8, 5)
    kill(encoder.conv3, [0, 2, 3], bias=False)
    pruned = prune(encoder)
    assert pruned.conv3.out_channels == 2
    z = pruned(torch.rand(1, 3, 20, 12))
    assert torch.equal(z[0, 2], torch.tanh(encoder.conv3.bias[2]).expand(5, 3))
    assert_same(encoder, pruned)


def test_one_channel_of_everything():
    encoder = dense(8, 4)
    for conv in convs(encoder):
        kill(conv, [c for c in range(conv.out_channels) if c != 2])
    pruned = prune(encoder)
    assert [conv.out_channels for conv in convs(pruned)] == [1] * 9
    assert sorted(conv.in_channels for conv in convs(pruned)) == [1] * 8 + [3]
    assert_same(encoder, pruned)


def test_the_report_adds_up():
    encoder = dense(16, 5)
    kill(encoder.conv1, slice(0, 6))
    kill(encoder.blocks[1].conv2)
    rows = report(encoder)
    assert [row["layer"] for row in rows[:3]] == ["conv1", "conv2", "blocks.0.conv1"] and len(rows) == 10
    assert rows[0] == {
        "layer": "conv1", "filters": 2, "inputs": 3, "macs": 37.5, "all_filters": 8, "all_inputs": 3, "all_macs": 150.0
    }  # fmt: skip
    gone = {row["layer"]: row["filters"] for row in rows if row["filters"] == 0}
    assert gone == {"blocks.1.conv1": 0, "blocks.1.conv2": 0}
    total = rows[-1]
    assert total["macs"] == sum(row["macs"] for row in rows[:-1]) == macs(prune(encoder))
    assert total["all_macs"] == macs(encoder)


def test_weights_that_are_not_numbers_are_refused():
    encoder = dense()
    encoder.conv2.weight[3, 1, 0, 0] = torch.nan
    with pytest.raises(ValueError, match="conv2.weight holds numbers that are not finite"):
        prune(encoder)


# Slices of the stream -------------------------------------------------------------------------------------------------


def test_gray_codes_differ_in_one_bit_and_keep_bits_together():
    codes = [tuple(bool(n >> k & 1) for k in range(4)) for n in range(16)]
    codes.sort(key=surgery._gray)
    assert [surgery._gray(code) for code in codes] == list(range(16))
    assert all(sum(a != b for a, b in zip(x, y, strict=True)) == 1 for x, y in zip(codes, codes[1:], strict=False))
    runs = [sum(code[k] and (i == 0 or not codes[i - 1][k]) for i, code in enumerate(codes)) for k in range(4)]
    assert runs == [1, 1, 2, 4]


def test_slices_join_where_the_gap_is_cheap():
    needed = torch.tensor([0, 1, 1, 0, 1, 0, 0, 1], dtype=torch.bool)
    assert surgery._runs(needed, surgery.RUN) == [(1, 3), (4, 5), (7, 8)]
    assert surgery._runs(needed, surgery.RUN - 1) == [(1, 5), (7, 8)]
    assert surgery._runs(needed, 1) == [(1, 8)]
    assert surgery._runs(torch.zeros(3, dtype=torch.bool), 9) == []


def test_few_unread_channels_are_read_all_the_same():
    needed = torch.ones(100, dtype=torch.bool)
    needed[-1] = False
    assert surgery._reads(needed, 1000) == [(0, 100)]  # 1000 saved, 20 * 99 + 500 spent
    assert surgery._reads(needed, 3000) == [(0, 99)]
    needed[10:] = False
    assert surgery._reads(needed, 100) == [(0, 10)]
    assert surgery._reads(torch.zeros(4, dtype=torch.bool), 1000) == [(0, 1)]  # a convolution needs an input


# Time -----------------------------------------------------------------------------------------------------------------


def test_a_pruned_encoder_is_quicker():
    """Three quarters of all filters dead, those of the stream at the same places."""
    encoder = dense(64, 32).to(memory_format=torch.channels_last)
    for conv in inner(encoder):
        kill(conv, torch.arange(conv.out_channels) % 4 > 0)
    for conv in outer(encoder):
        kill(conv, torch.arange(64) % 4 > 0)
    pruned = prune(encoder)
    assert macs(pruned) < macs(encoder) / 6
    x = torch.rand(1, 3, 256, 256).contiguous(memory_format=torch.channels_last)
    medians = (relative_latency(lambda: encoder(x), lambda: pruned(x), repeats=5).median for _ in range(4))
    assert any(median > 1.3 for median in medians)
