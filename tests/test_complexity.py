from __future__ import annotations

import time

import pytest
import torch
from torch import nn

from sparsecomp import complexity


def sparse_cae_encoder() -> nn.Sequential:
    """The released encoder of Gille et al. 2022: 1,197,728 parameters, 1,240,203,264 MACs a 128x128 patch."""
    residual = [nn.Conv2d(128, 128, 3, padding=1) for _ in range(6)]
    ends = [nn.Conv2d(3, 64, 5, 2, 2), nn.ReLU(), nn.Conv2d(64, 128, 5, 2, 2)]
    return nn.Sequential(*ends, *residual, nn.Conv2d(128, 32, 5, padding=2), nn.Tanh())


def cae_admm_encoder(channels: int) -> nn.Sequential:
    """The released encoder of Zhao & Liao 2019: 721,608 MAC/px with 16 latent channels, 721,680 with 32."""
    layers = [nn.Conv2d(3, 32, 3, 1, 1), nn.BatchNorm2d(32), nn.PReLU(32), nn.Conv2d(32, 64, 5, 2, 2)]
    layers += [nn.Conv2d(64, 128, 3, 1, 1), nn.PReLU(128)]
    for _ in range(15):
        layers += [nn.Conv2d(128, 128, 1), nn.Conv2d(128, 128, 3, 1, 1), nn.Conv2d(128, 128, 1)]
    layers += [nn.Conv2d(128, 64, 5, 2, 2), nn.Conv2d(64, 32, 5, 2, 2), nn.Conv2d(32, channels, 3, 1, 1)]
    return nn.Sequential(*layers)


def siren(depth: int, width: int) -> nn.Sequential:
    sizes = [2] + [width] * depth + [3]
    return nn.Sequential(*(nn.Linear(a, b) for a, b in zip(sizes, sizes[1:], strict=False)))


@pytest.mark.parametrize(
    ("depth", "width", "macs", "parameters"),
    [(5, 30, 3750, 3903), (10, 28, 7196, 7479), (10, 40, 14600, 15003), (13, 40, 19400, 19923)],
)
def test_coin_has_the_counts_of_the_papers(depth, width, macs, parameters):
    network = siren(depth, width)
    assert complexity.mlp_macs_per_pixel(depth, width) == macs
    assert complexity.macs_per_pixel(network, (77, 2), pixels=77) == macs
    assert complexity.count_parameters(network) == parameters


def test_autoencoders_have_the_counts_of_the_released_code():
    encoder = sparse_cae_encoder()
    assert complexity.count_parameters(encoder) == 1_197_728
    assert complexity.count_macs(encoder, (1, 3, 128, 128)) == 1_240_203_264
    assert complexity.macs_per_pixel(encoder, (1, 3, 128, 128), pixels=128**2) == 75_696
    for channels, expected in ((16, 721_608), (32, 721_680)):
        found = complexity.macs_per_pixel(cae_admm_encoder(channels), (1, 3, 128, 128), pixels=128**2)
        assert found == expected


def test_macs_of_each_kind_of_layer_by_hand():
    grouped = nn.Conv2d(8, 6, (3, 5), stride=2, groups=2)  # 9x9 -> 4x3, each output from 8 / 2 channels
    assert complexity.count_macs(grouped, (2, 8, 9, 9)) == 2 * 6 * 4 * 3 * 4 * 15
    # every input value meets 4x4 taps of 5 output channels
    assert (
        complexity.count_macs(nn.ConvTranspose2d(3, 5, 4, stride=2, padding=1), (1, 3, 7, 7)) == 147 * 5 * 16
    )
    shared = nn.Linear(10, 10)
    assert complexity.count_macs(nn.Sequential(shared, shared), (4, 10)) == 2 * 4 * 100
    assert complexity.count_parameters(nn.Sequential(shared, shared)) == 110
    assert complexity.count_macs(nn.Sequential(nn.PReLU(3), nn.Sigmoid()), (1, 3)) == 0


def test_counting_leaves_the_module_as_it_was():
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Conv2d(4, 2, 1).eval())
    before = {name: value.clone() for name, value in network.state_dict().items()}
    first = complexity.count_macs(network, (1, 3, 8, 8))
    assert complexity.count_macs(network, (1, 3, 8, 8)) == first == 36 * 27 * 4 + 36 * 4 * 2
    assert [layer.training for layer in network] == [True, True, False]
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())
    with pytest.raises(RuntimeError):  # the input has the wrong channels: the hooks must go all the same
        complexity.count_macs(network, (1, 5, 8, 8))
    assert not any(layer._forward_hooks for layer in network)


def test_weights_that_would_not_be_counted_are_refused():
    with pytest.raises(ValueError, match="Bilinear"):
        complexity.count_macs(nn.Bilinear(2, 2, 2), (1, 2))


def test_the_papers_count_takes_every_layer_alone():
    network = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 6, 5, padding=2))
    shape, places = (1, 3, 10, 7), 70
    assert complexity.macs_paper(network, shape) == complexity.count_macs(network, shape)
    with torch.no_grad():
        network[0].weight[:5] = 0  # filters; their biases stay, and do not matter
        network[1].weight[2] = 0
    assert complexity.macs_paper(network, shape) == places * (3 * 3 * 9 + 5 * 8 * 25)
    with torch.no_grad():
        network[1].weight[:, 1:4] = 0  # input channels
        network[1].weight[:, 5, 1:] = 0  # most taps of one: it is still there
    assert complexity.macs_paper(network, shape) == places * (3 * 3 * 9 + 5 * 5 * 25)
    assert complexity.count_macs(network, shape) == places * (8 * 3 * 9 + 6 * 8 * 25)


def test_the_papers_count_of_each_kind_of_layer_by_hand():
    up = nn.ConvTranspose2d(3, 5, 4, stride=2, padding=1)  # weight (3, 5, 4, 4): filters are its second dimension
    linear, grouped = nn.Linear(6, 4), nn.Conv2d(8, 6, 3, groups=2)
    grouped_up, line = nn.ConvTranspose2d(4, 6, 2, stride=2, groups=2), nn.Conv1d(2, 3, 5)
    with torch.no_grad():
        up.weight[:, [0, 3]] = 0
        up.weight[1] = 0
        linear.weight[0], linear.weight[:, 2:] = 0, 0
        grouped.weight[:2], grouped.weight[3:, 0] = 0, 0  # of the halves: 1 filter x 4 inputs, 3 filters x 3 inputs
        grouped_up.weight[0], grouped_up.weight[2:, 1:] = 0, 0  # 1 input x 3 filters, 2 inputs x 1 filter
        line.weight.abs_().neg_()[1] = 0  # what is below zero is not zero
    assert complexity.macs_paper(up, (1, 3, 7, 7)) == 49 * 2 * 3 * 16
    assert complexity.macs_paper(linear, (10, 6)) == 10 * 3 * 2
    assert complexity.macs_paper(grouped, (1, 8, 5, 5)) == 9 * 9 * (1 * 4 + 3 * 3)
    assert complexity.macs_paper(grouped_up, (1, 4, 3, 3)) == 9 * 4 * (1 * 3 + 2 * 1)
    assert complexity.macs_paper(line, (1, 2, 9)) == 5 * 2 * 2 * 5
    with pytest.raises(ValueError, match="Bilinear"):
        complexity.macs_paper(nn.Bilinear(2, 2, 2), (1, 2))


def test_relative_latency_is_that_of_pairs(monkeypatch):
    """Over five pairs the machine becomes ten times as slow, and a always takes twice as long as b, but for once."""
    now, calls = [0.0], []

    def call(name: str, seconds: float) -> None:
        slower = 10 ** (len(calls) // 2 / 4)  # the same for both calls of a pair
        calls.append(name)
        now[0] += seconds * slower * (3 if len(calls) == 3 else 1)  # the third call is b's, in the second pair

    monkeypatch.setattr(complexity.time, "perf_counter", lambda: now[0])
    found = complexity.relative_latency(lambda: call("a", 2), lambda: call("b", 1), repeats=5, warmup=0)
    assert "".join(calls) == "abbaabbaab"
    assert found.median == pytest.approx(2) and found.upper == pytest.approx(2) and found.lower == pytest.approx(2)
    calls.clear()
    found = complexity.relative_latency(lambda: call("a", 2), lambda: call("b", 1), repeats=2, warmup=1)
    assert len(calls) == 6  # ratios 2 / 3 and 2
    assert found == pytest.approx((1, 4 / 3, 5 / 3))
    calls.clear()
    found = complexity.relative_latency(lambda: call("a", 2), lambda: call("b", 1), repeats=1, warmup=0)
    assert found == pytest.approx((2, 2, 2))


def test_relative_latency_of_waiting():
    found = complexity.relative_latency(lambda: time.sleep(0.03), lambda: time.sleep(0.01), repeats=3)
    assert found.lower <= found.median <= found.upper
    assert found.median > 1.3


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: complexity.mlp_macs_per_pixel(0, 28), "depth must be at least 1, got 0"),
        (lambda: complexity.mlp_macs_per_pixel(5, -1), "width must be at least 1, got -1"),
        (lambda: complexity.macs_per_pixel(nn.Linear(2, 3), (1, 2), pixels=0), "pixels must be at least 1"),
        (lambda: complexity.relative_latency(list, list, repeats=0), "repeats must be at least 1, got 0"),
        (lambda: complexity.relative_latency(list, list, warmup=-1), "warmup must be at least 0"),
    ],
)
def test_arguments_out_of_range_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
