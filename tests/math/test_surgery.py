"""Pruned encoders against the dense ones: the same latent, the MACs of a hand count, less time."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import seeds
from torch import nn

from reproduce.bench import relative_latency
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


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_prune_without_zeros_leaves_everything(layout):
    encoder = dense().to(memory_format=layout)
    pruned = pruned_alike(encoder)
    assert macs(pruned) == macs(encoder) == report(encoder)[-1]["macs"]
    assert not any(parameter.requires_grad for parameter in pruned.parameters())
    assert pruned.conv1.weight.is_contiguous(memory_format=torch.channels_last)


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


def test_prune_of_a_channel_that_comes_late():
    """A channel is a constant until the second block writes it, and again only has biases added in the third."""
    encoder = dense(8, 3)
    for conv in (encoder.conv2, encoder.blocks[0].conv2, encoder.blocks[2].conv2):
        kill(conv, slice(0, 3), bias=False)
    pruned = pruned_alike(encoder)
    assert [block.conv2.out_channels for block in pruned.blocks.values()] == [5, 8, 5]
    assert pruned.conv2.out_channels == 5 + 1  # and the ones


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


def test_prune_goes_backwards_from_what_nothing_reads():
    encoder = dense(16, 5)
    encoder.conv3.weight[:, 4:] = 0  # of the last block, four filters are read
    encoder.blocks[2].conv1.weight[:, :12] = 0
    encoder.blocks[1].conv2.weight[:, 3:] = 0  # and of the second block's inside, three
    kill(encoder.blocks[0].conv2)
    pruned = pruned_alike(encoder)
    assert list(pruned.blocks) == ["1", "2"]
    assert pruned.blocks["2"].conv2.out_channels == 4 and pruned.blocks["1"].conv1.out_channels == 3
    # Block 1 reads all 16 channels; block 2 reads 12 .. 15, and conv3 0 .. 3: nobody reads what block 1 does to others.
    assert pruned.blocks["1"].conv2.out_channels == 8 and pruned.conv2.out_channels == 16
    assert pruned.conv3.in_channels == 4 and pruned.blocks["2"].conv1.in_channels == 4


@pytest.mark.parametrize("cut", [None, 2, 4, 6])
def test_prune_empties_the_network_from_one_dead_end(cut):
    encoder = dense()
    if cut is None:
        encoder.conv3.weight[:] = 0
    for conv in convs(encoder)[: cut or 0]:  # without the stream's first writer, blocks work on constants;
        kill(conv)
    for conv in (c for block in encoder.blocks if cut for c in convs(block)):  # without biases on nothing
        conv.bias.zero_()
    assert not convs(pruned_alike(encoder))


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


def test_prune_refuses_weights_that_are_not_numbers():
    encoder = dense()
    encoder.conv2.weight[3, 1, 0, 0] = torch.nan
    with pytest.raises(ValueError, match=r"\bconv2\.weight\b"):
        prune(encoder)


def test_gray_codes_differ_in_one_bit_and_keep_bits_together():
    codes = [tuple(bool(n >> k & 1) for k in range(4)) for n in range(16)]
    codes.sort(key=surgery._gray)
    assert [surgery._gray(code) for code in codes] == list(range(16))
    assert all(sum(a != b for a, b in zip(x, y, strict=True)) == 1 for x, y in zip(codes, codes[1:], strict=False))
    runs = [sum(code[k] and (i == 0 or not codes[i - 1][k]) for i, code in enumerate(codes)) for k in range(4)]
    assert runs == [1, 1, 2, 4]


@settings(max_examples=100)
@given(needed=st.lists(st.booleans(), min_size=1, max_size=60).map(torch.tensor), price=st.integers(1, 2000))
def test_runs_and_reads_take_the_cheaper_slices(needed, price):
    """All that is needed is in; a gap is bridged exactly where that costs less than a slice of its own."""
    runs = surgery._runs(needed, price)
    inside = [place for first, behind in runs for place in range(first, behind)]
    assert set(needed.nonzero()[:, 0].tolist()) <= set(inside) and len(set(inside)) == len(inside)
    assert all(needed[first] and needed[behind - 1] for first, behind in runs)
    assert all((b[0] - a[1]) * price >= surgery.RUN for a, b in zip(runs, runs[1:], strict=False))
    unneeded = "".join(str(int(not needed[place])) for place in inside)
    assert all(len(gap) * price < surgery.RUN for gap in unneeded.split("0"))
    read = surgery._reads(needed, price)
    kept = runs or [(0, 1)]  # a convolution needs an input
    count = len(inside) or 1
    saves = (len(needed) - count) * price > surgery.COPY * count + surgery.RUN * len(kept)
    assert read == (kept if saves else [(0, len(needed))])


def test_prune_is_quicker():
    """Three quarters of all filters dead, those of the stream at the same places."""
    encoder = dense(64, 32).to(memory_format=torch.channels_last)
    for conv in (*inner(encoder), *outer(encoder)):
        kill(conv, torch.arange(conv.out_channels) % 4 > 0)
    pruned = prune(encoder)
    assert macs(pruned) < macs(encoder) / 6
    x = torch.rand(1, 3, 256, 256).contiguous(memory_format=torch.channels_last)
    medians = (relative_latency(lambda: encoder(x), lambda: pruned(x), repeats=5).median for _ in range(4))
    assert any(median > 1.3 for median in medians)
